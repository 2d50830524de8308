//! `bake edge`: the cache that browsers talk to.

use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use clap::builder::NonEmptyStringValueParser;
use edge::{AdminConfig, Edge, EdgeConfig, EdgeError, Mode, NotReloaded, OnLapse, Settings, SitesConfig};
use release::bucket::Bucket;
use release::keys::Site;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::config::{Config, LeaseSeconds, OnLeaseLapse};
use crate::edge_flags::{ClientFlags, LogFlags, UpstreamFlags};
use crate::edge_handover::{Before, Handover, Offer, Sockets};
use crate::edge_watch::{self, WatchCommand};
use crate::failure::{HintExt, Usage, hint_of, hinted};
use crate::memory_bytes::MemoryBytes;
use crate::print::say;
use crate::stores::{self, StoreArgs};
use crate::{listen, logs, stop};

/// How long the last answers to operators may take: whoever reads the trace is told that it has ended.
const OPERATORS_END: Duration = Duration::from_millis(500);

/// Cache and serve: in front of Bakehouse origins, or of any HTTP upstream
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct EdgeArgs {
    #[command(subcommand)]
    watch: Option<WatchCommand>,
    /// Where browsers find it; port 0 takes any
    #[arg(long, env = "BAKE_LISTEN", default_value = "127.0.0.1:8080", value_name = "ADDR", value_parser = listen::address)]
    listen: SocketAddr,
    #[command(flatten)]
    upstreams: UpstreamFlags,
    /// URL of a Bakehouse origin; several serve the same
    #[arg(long, env = "BAKE_ORIGINS", value_delimiter = ',', value_name = "URL")]
    origin: Vec<String>,
    /// Token for origins
    #[arg(long, env = "BAKE_EDGE_TOKEN", hide_env_values = true, value_name = "TOKEN", value_parser = NonEmptyStringValueParser::new())]
    edge_token: Option<String>,
    /// Site to follow, beside those that origins name; until it is heard of, the edge is not ready [default: that of the configuration, or main]
    #[arg(long, value_name = "NAME")]
    site: Vec<Site>,
    /// Bytes that the edge may take, such as 1GiB: stored responses, connections and itself [default: 256MiB]
    #[arg(long, env = "BAKE_EDGE_MEMORY", value_name = "BYTES")]
    memory: Option<MemoryBytes>,
    /// Threads that serve [default: one for each processor]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    threads: Option<u16>,
    /// Seconds without news after which this edge counts as cut off [default: 10]
    #[arg(long, env = "BAKE_EDGE_LEASE_SECONDS", value_name = "SECONDS")]
    lease_seconds: Option<LeaseSeconds>,
    /// What it does then [default: serve]
    #[arg(long, env = "BAKE_EDGE_ON_LEASE_LAPSE", value_name = "WHAT")]
    on_lease_lapse: Option<OnLeaseLapse>,
    /// What this edge calls itself: a word, perhaps with a port, unique among edges [default: host name and address]
    #[arg(long, env = "BAKE_NAME", value_name = "NAME")]
    name: Option<String>,
    /// Folder with a bakehouse.toml
    #[arg(long, value_name = "DIR")]
    config: Option<PathBuf>,
    /// Where operators find it: purge, metrics, health, trace; never the address of --listen
    #[arg(long, env = "BAKE_ADMIN", value_name = "ADDR", value_parser = listen::address)]
    admin: Option<SocketAddr>,
    /// Token for --admin; without one, on loopback only, one is made and printed
    #[arg(long, env = "BAKE_ADMIN_TOKEN", hide_env_values = true, value_name = "TOKEN", value_parser = NonEmptyStringValueParser::new())]
    admin_token: Option<String>,
    /// Unix socket over which a new process takes the listening sockets of the one that runs, which then ends
    #[arg(long, value_name = "PATH")]
    handover: Option<PathBuf>,
    #[command(flatten)]
    log: LogFlags,
    #[command(flatten)]
    clients: ClientFlags,
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
pub async fn run(mut args: EdgeArgs) -> anyhow::Result<()> {
    if let Some(command) = args.watch {
        return edge_watch::run(command).await;
    }
    let config = Config::load(args.config.as_deref())?;
    if args.admin.is_some_and(|admin| !admin.ip().is_loopback()) && args.admin_token.is_none() {
        let text =
            "an admin address that is not loopback needs a token: give --admin-token or BAKE_ADMIN_TOKEN";
        return Err(Usage(text.into()).into());
    }
    // From now on it ends nobody: one that comes early is heard once there is something to read again.
    let hangups = signal(SignalKind::hangup());
    listen::raise_open_files();
    let metrics = logs::metrics()?;
    edge::describe_metrics();

    let (taken, sockets) = sockets(&args)?;
    let url = format!("http://{}", sockets.listener.local_addr()?);
    let (mode, bucket) = mode(&mut args, &config).await?;
    let is_in_front_of_upstreams = matches!(mode, Mode::Upstream { .. });
    let name = args.name.clone().unwrap_or_else(|| format!("{}-{}", host_name(), listener_port(&url)));
    let stop = CancellationToken::new();
    let taken = taken.map(|taken| (taken, Arc::new(Before::of(&name))));
    let mut edge_config = EdgeConfig {
        predecessor: taken.as_ref().map(|(_, before)| Arc::clone(before) as _),
        threads: args.threads.map_or_else(processors, usize::from),
        deadlines: args.upstreams.deadlines(),
        upstream: args.upstreams.options(&config),
        access_log: args.log.target(),
        ..EdgeConfig::new(mode, name)
    };
    let settings = settings(args.memory, args.clients.clone(), edge_config.settings.clone());
    edge_config.settings = settings(&config);
    let drain = edge_config.settings.limits.drain;
    let edge = Edge::start(edge_config, bucket, stop.clone()).map_err(|error| {
        let hint = error.hint();
        hinted(anyhow::Error::new(error).context("the edge cannot be started"), hint)
    })?;

    let _closing = Closing(edge.clone());
    if let Err(error) = edge.watch_memory() {
        tracing::warn!(%error, "no thread could be started to watch the memory");
    }
    let reload: Reload = {
        let edge = edge.clone();
        let (folder, upstreams) = (args.config.clone(), args.upstreams.clone());
        Arc::new(move || {
            reload(&edge, folder.as_deref(), &upstreams, is_in_front_of_upstreams, &settings)
                .map_err(|error| not_reloaded(&error))
        })
    };
    // Before anything is said: whoever reads it may start a successor at once.
    let handed_over = CancellationToken::new();
    let offer = match &args.handover {
        Some(path) => Some(Offer::prepare(path, sockets.try_clone()?, edge.clone(), handed_over.clone())?),
        None => None,
    };
    let Sockets { listener, admin: admin_listener } = sockets;
    let listener = tokio_listener(listener)?;
    let admin_listener = admin_listener.map(tokio_listener).transpose()?;
    // Nothing that may fail comes after the process before has let go.
    let before = match taken {
        Some((taken, before)) => {
            taken.finish(&edge, &before).await?;
            Some(before)
        }
        None => None,
    };
    let offered = offer.map(Offer::begin).transpose()?;
    say!("edge at {url}");
    let operators = handed_over.child_token();
    let serving_operators = match admin_listener {
        Some(listener) => {
            let admin = AdminConfig {
                token: admin_token(args.admin_token.take(), &listener)?,
                metrics: Arc::new(move || format!("{}{}", metrics.render(), edge::metrics_text())),
                reload: Arc::clone(&reload),
            };
            // Until the end, or the successor takes these connections too.
            Some(tokio::spawn(edge::serve_admin(listener, edge.clone(), admin, operators.clone())))
        }
        None => None,
    };
    tokio::spawn(reload_on_hangup(hangups, reload));

    let taken_over = handed_over.clone();
    let until = async move {
        tokio::select! {
            () = stop::asked() => {}
            () = taken_over.cancelled() => {
                tracing::info!("another process has taken over");
                stop::begins();
            }
        }
    };
    ::edge::serve(listener, edge.clone(), Box::pin(until))
        .await
        .context("the edge cannot accept connections")?;
    if let Some(offered) = offered.filter(|_| handed_over.is_cancelled()) {
        offered.answered().await;
        if let Some(before) = before {
            // It began to drain before this one did.
            if tokio::time::timeout(drain, before.ended()).await.is_err() {
                tracing::warn!(
                    "the process before this one has not ended in time: no purge reaches it any more"
                );
            }
        }
    }
    operators.cancel();
    if let Some(serving) = serving_operators
        && tokio::time::timeout(OPERATORS_END, serving).await.is_err()
    {
        tracing::debug!("what an operator asked for is cut off");
    }
    stop.cancel();
    Ok(())
}

/// The sockets of the process that runs, where there is one to take over from, or new ones.
fn sockets(args: &EdgeArgs) -> anyhow::Result<(Option<Handover>, Sockets)> {
    if let Some(path) = &args.handover
        && let Some((taken, sockets)) = Handover::take(path)?
    {
        warn_of_ignored(args, &sockets)?;
        return Ok((Some(taken), sockets));
    }
    let listener = listen::bind(args.listen, "--listen")?.into_std()?;
    let admin = match args.admin {
        Some(admin) => Some(listen::bind(admin, "--admin")?.into_std()?),
        None => None,
    };
    Ok((None, Sockets { listener, admin }))
}

/// What the edge is in front of, and the bucket that it may read.
async fn mode(args: &mut EdgeArgs, config: &Config) -> anyhow::Result<(Mode, Option<Arc<dyn Bucket>>)> {
    let urls = args.upstreams.urls(config);
    if !urls.is_empty() && args.origin.is_empty() {
        return Ok((Mode::Upstream { urls }, None));
    }
    let store = args.store.merge(config);
    let bucket = match store.is_given() {
        true => Some(stores::open(&store, config, false).await?.bucket),
        false => None,
    };
    if args.origin.is_empty() && bucket.is_none() {
        return Err(Usage("say what to serve: --upstream, --origin, or --bucket-name".into()).into());
    }
    let token = match args.edge_token.take() {
        Some(token) => token,
        None if args.origin.is_empty() => String::new(),
        None => {
            return Err(anyhow::anyhow!("there is no token for the origins"))
                .hint(|| "give it with --edge-token or BAKE_EDGE_TOKEN".into());
        }
    };
    let sites = SitesConfig {
        origins: args.origin.clone(),
        token,
        sites: if args.site.is_empty() { vec![config.site.clone()] } else { args.site.clone() },
        lease: Duration::from_secs(args.lease_seconds.unwrap_or(config.edge.lease_seconds).get()),
        on_lapse: on_lapse(args.on_lease_lapse.unwrap_or(config.edge.on_lease_lapse)),
    };
    Ok((Mode::Sites(sites), bucket))
}

/// What may change while the edge runs, from a configuration: flags count for more.
pub fn settings(
    memory: Option<MemoryBytes>,
    clients: ClientFlags,
    defaults: Settings,
) -> impl Fn(&Config) -> Settings + Send + Sync {
    move |config| {
        let mut settings = defaults.clone();
        let memory = memory.unwrap_or(config.edge.memory).get();
        settings.memory_bytes_max = usize::try_from(memory).unwrap_or(usize::MAX);
        clients.or(&config.edge.clients).apply(&mut settings);
        settings
    }
}

/// The token for operators, and where they are answered, which is said: one that is made is said too.
fn admin_token(given: Option<String>, listener: &tokio::net::TcpListener) -> anyhow::Result<String> {
    let url = format!("http://{}", listener.local_addr()?);
    Ok(match given {
        Some(token) => {
            say!("admin at {url}");
            token
        }
        None => {
            let token = format!("{:032x}", rand::random::<u128>());
            say!("admin at {url} with the token {token}");
            token
        }
    })
}

/// Writes what is left of the access log, however the process ends.
struct Closing(Arc<Edge>);

impl Drop for Closing {
    fn drop(&mut self) {
        self.0.close_access_log();
    }
}

/// The sockets of the process before stay where they are, whatever the flags say.
fn warn_of_ignored(args: &EdgeArgs, sockets: &Sockets) -> anyhow::Result<()> {
    let is_at = |wanted: SocketAddr, has: SocketAddr| {
        wanted.ip() == has.ip() && (wanted.port() == 0 || wanted.port() == has.port())
    };
    let taken = sockets.listener.local_addr()?;
    if !is_at(args.listen, taken) {
        tracing::warn!(wanted = %args.listen, %taken, "--listen is ignored: the address is taken over");
    }
    match (args.admin, sockets.admin.as_ref().map(TcpListener::local_addr).transpose()?) {
        (Some(wanted), Some(taken)) if !is_at(wanted, taken) => {
            tracing::warn!(%wanted, %taken, "--admin is ignored: the address is taken over");
        }
        (Some(wanted), None) => {
            tracing::warn!(%wanted, "--admin is ignored: the process that ran before had no admin address");
        }
        (None, Some(taken)) => {
            tracing::warn!(%taken, "the admin address is taken over, though there is no --admin");
        }
        _ => {}
    }
    Ok(())
}

/// A listener of the runtime.
fn tokio_listener(listener: TcpListener) -> anyhow::Result<tokio::net::TcpListener> {
    listener.set_nonblocking(true).context("a listening socket cannot be used")?;
    tokio::net::TcpListener::from_std(listener).context("a listening socket cannot be used")
}

type Reload = Arc<dyn Fn() -> Result<String, NotReloaded> + Send + Sync>;

/// What operators are told of a configuration that is not taken over.
pub fn not_reloaded(error: &anyhow::Error) -> NotReloaded {
    NotReloaded { error: format!("{error:#}"), hint: hint_of(error).map(str::to_owned) }
}

/// Reads the configuration again. What flags say stays.
fn reload(
    edge: &Edge,
    folder: Option<&std::path::Path>,
    flags: &UpstreamFlags,
    is_in_front_of_upstreams: bool,
    settings: &dyn Fn(&Config) -> Settings,
) -> anyhow::Result<String> {
    let told = |error: EdgeError| {
        let hint = error.hint();
        hinted(error, hint)
    };
    // Whatever the configuration says: who moved the file away has lines go on into it otherwise.
    let is_reopened = edge.reopen_access_log().map_err(told)?;
    let config = Config::load(folder)?;
    let mut done = String::new();
    if is_reopened {
        done.push_str("the access log was opened again; ");
    }
    done.push_str("memory, limits and rules are set");
    if is_in_front_of_upstreams {
        let urls = flags.urls(&config);
        edge.replace_upstreams(&urls, flags.deadlines(), flags.options(&config)).map_err(told)?;
        done.push_str(&format!("; upstreams: {}", urls.join(", ")));
    }
    // None of it is done before all is known to be right.
    edge.set(settings(&config));
    Ok(done)
}

/// SIGHUP reads the configuration again.
async fn reload_on_hangup(signal: std::io::Result<Signal>, reload: Reload) {
    let mut signal = match signal {
        Ok(signal) => signal,
        Err(error) => {
            tracing::warn!(%error, "SIGHUP cannot be waited for");
            return;
        }
    };
    while signal.recv().await.is_some() {
        match reload() {
            Ok(done) => tracing::info!(done, "configuration read again"),
            Err(NotReloaded { error, hint }) => {
                tracing::error!(error, hint, "the configuration is not taken over; it stays as it was")
            }
        }
    }
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
