//! `bake edge`: the cache that browsers talk to.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use edge::{Edge, EdgeConfig, Mode, OnLapse, SitesConfig};
use release::keys::Site;
use tokio_util::sync::CancellationToken;

use crate::config::{Config, OnLeaseLapse};
use crate::failure::{HintExt, Usage};
use crate::stores::{self, StoreArgs};
use crate::up;

/// Cache and serve: in front of Bakehouse origins, or of any HTTP upstream
#[derive(Debug, clap::Args)]
pub struct EdgeArgs {
    /// Where browsers find it; port 0 takes any
    #[arg(long, env = "BAKE_LISTEN", default_value = "127.0.0.1:8080", value_name = "ADDR")]
    listen: SocketAddr,
    /// URL of an HTTP upstream that knows nothing of Bakehouse; several serve the same
    #[arg(long, value_name = "URL", conflicts_with = "origin")]
    upstream: Vec<String>,
    /// URL of a Bakehouse origin; several serve the same
    #[arg(long, env = "BAKE_ORIGINS", value_delimiter = ',', value_name = "URL")]
    origin: Vec<String>,
    /// Token for origins
    #[arg(long, env = "BAKE_EDGE_TOKEN", hide_env_values = true, value_name = "TOKEN")]
    edge_token: Option<String>,
    /// Site to follow in the bucket while no origin answers
    #[arg(long, value_name = "NAME")]
    site: Vec<Site>,
    /// Bytes of memory for stored responses
    #[arg(long, env = "BAKE_EDGE_MEMORY", value_name = "BYTES")]
    memory: Option<u64>,
    /// Threads that serve [default: one for each processor]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    threads: Option<u16>,
    /// Seconds without news after which this edge counts as cut off
    #[arg(long, env = "BAKE_EDGE_LEASE_SECONDS", value_name = "SECONDS")]
    lease_seconds: Option<u64>,
    /// What it does then
    #[arg(long, env = "BAKE_EDGE_ON_LEASE_LAPSE", value_name = "WHAT")]
    on_lease_lapse: Option<OnLeaseLapse>,
    /// What this edge calls itself; unique among edges [default: host name and address]
    #[arg(long, env = "BAKE_NAME", value_name = "NAME")]
    name: Option<String>,
    /// Folder with a bakehouse.toml
    #[arg(long, value_name = "DIR")]
    config: Option<PathBuf>,
    #[command(flatten)]
    store: StoreArgs,
}

impl EdgeArgs {
    /// How many threads serve, where it is said.
    pub fn threads(&self) -> Option<usize> {
        self.threads.map(usize::from)
    }
}

/// What the edge crate calls it.
pub fn on_lapse(configured: OnLeaseLapse) -> OnLapse {
    match configured {
        OnLeaseLapse::Serve => OnLapse::Serve,
        OnLeaseLapse::Validate => OnLapse::Validate,
        OnLeaseLapse::Refuse => OnLapse::Refuse,
    }
}

/// Runs the command.
pub async fn run(args: EdgeArgs) -> anyhow::Result<()> {
    let config = Config::load(args.config.as_deref())?;
    let listener = up::bind(args.listen, "--listen").await?;
    let url = up::url(&listener)?;
    let store = args.store.merge(&config);
    let mut bucket = None;
    let mode = if !args.upstream.is_empty() {
        Mode::Upstream { urls: args.upstream }
    } else {
        if store.is_given() {
            bucket = Some(stores::open(&store, &config, false).await?.bucket);
        }
        if args.origin.is_empty() && bucket.is_none() {
            return Err(Usage("say what to serve: --upstream, --origin, or --bucket-name".into()).into());
        }
        let token = match args.edge_token {
            Some(token) => token,
            None if args.origin.is_empty() => String::new(),
            None => {
                return Err(anyhow::anyhow!("there is no token for the origins"))
                    .hint(|| "give it with --edge-token or BAKE_EDGE_TOKEN".into());
            }
        };
        Mode::Sites(SitesConfig {
            origins: args.origin,
            token,
            sites: if args.site.is_empty() { vec![config.site.clone()] } else { args.site },
            lease: Duration::from_secs(args.lease_seconds.unwrap_or(config.edge.lease_seconds)),
            on_lapse: on_lapse(args.on_lease_lapse.unwrap_or(config.edge.on_lease_lapse)),
        })
    };
    let name = args.name.unwrap_or_else(|| format!("{}-{}", host_name(), listener_port(&url)));
    let stop = CancellationToken::new();
    let threads = args.threads.map_or_else(processors, usize::from);
    let memory = args.memory.unwrap_or(config.edge.memory);
    let edge = Edge::start(
        EdgeConfig {
            threads,
            memory_bytes_max: usize::try_from(memory).unwrap_or(usize::MAX),
            ..EdgeConfig::new(mode, name)
        },
        bucket,
        stop.clone(),
    )
    .context("the edge cannot be started")?;
    println!("edge at {url}");
    ::edge::serve(listener, edge, up::stop_signal()).await.context("the edge cannot accept connections")?;
    stop.cancel();
    Ok(())
}

/// How many threads can run at once.
pub fn processors() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

fn host_name() -> String {
    let name = rustix::system::uname();
    let name = name.nodename().to_string_lossy();
    name.chars().map(|c| if c.is_ascii_alphanumeric() || c == '-' { c } else { '-' }).collect()
}

fn listener_port(url: &str) -> &str {
    url.rsplit(':').next().unwrap_or_default()
}
