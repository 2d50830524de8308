//! `bake origin`: answers edges and the API from the bucket.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::builder::NonEmptyStringValueParser;
use origin::{Origin, OriginConfig};

use crate::config::Config;
use crate::failure::HintExt;
use crate::jobs::Jobs;
use crate::print::say;
use crate::stores::{self, StoreArgs};
use crate::{listen, logs, stop};

/// Answer edges from the bucket, and offer the API
///
/// Stateless: any number of origins serve the same bucket.
#[derive(Debug, clap::Args)]
pub struct OriginArgs {
    /// Where to listen; port 0 takes any
    #[arg(long, env = "BAKE_API_LISTEN", default_value = "127.0.0.1:8081", value_name = "ADDR", value_parser = listen::address)]
    listen: SocketAddr,
    /// Token for the API
    #[arg(long, env = "BAKE_TOKEN", hide_env_values = true, value_name = "TOKEN", value_parser = NonEmptyStringValueParser::new())]
    token: String,
    /// Token for edges
    #[arg(long, env = "BAKE_EDGE_TOKEN", hide_env_values = true, value_name = "TOKEN", value_parser = NonEmptyStringValueParser::new())]
    edge_token: String,
    /// URL of another origin, which is woken at each commit and asked for its edges
    #[arg(long, env = "BAKE_FELLOWS", value_delimiter = ',', value_name = "URL")]
    fellow: Vec<String>,
    /// What this origin calls itself [default: its address]
    #[arg(long, env = "BAKE_NAME", value_name = "NAME")]
    name: Option<String>,
    /// Folder with a bakehouse.toml
    #[arg(long, value_name = "DIR")]
    config: Option<PathBuf>,
    #[command(flatten)]
    store: StoreArgs,
}

/// Runs the command.
pub async fn run(args: OriginArgs) -> anyhow::Result<()> {
    if args.token == args.edge_token {
        return Err(anyhow::anyhow!("the token for edges is the token for the API"))
            .hint(|| "give edges a token of their own: theirs must not allow to publish".into());
    }
    let config = Config::load(args.config.as_deref())?;
    listen::raise_open_files();
    let metrics = logs::metrics()?;
    let listener = listen::bind(args.listen, "--listen")?;
    let stores = stores::open(&args.store.merge(&config), &config, true).await?;
    let url = listen::url(&listener)?;
    let jobs = Jobs::new(stores.bucket.clone());
    let name = args.name.unwrap_or_else(|| url.clone());
    let origin = Origin::new(OriginConfig {
        journal_bucket: Some(stores.journal),
        new_site: Some(config.site.clone()),
        edge_token: args.edge_token,
        fellows: args.fellow,
        lease: Duration::from_secs(config.edge.lease_seconds.get()),
        metrics: Some(Arc::new(move || metrics.render())),
        ..OriginConfig::new(name, stores.bucket, args.token)
    })?;
    origin.set_render(Arc::new(jobs));
    origin.follow();
    say!("origin at {url}");
    ::origin::http::serve(listener, origin, Box::pin(stop::asked())).await;
    Ok(())
}
