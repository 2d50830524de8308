//! `bake renderer`: renders sites from their releases' sources, on their schedules.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use release::keys::Site;
use release::record::Trigger;
use renderer::BaseUrl;
use tokio_util::sync::CancellationToken;

use crate::config::Config;
use crate::jobs::Jobs;
use crate::parts::Parts;
use crate::print::say;
use crate::stores::{self, StoreArgs};
use crate::system::Client;
use crate::worker::{self, Event, From, Reason, Setup, Tell, Worker};
use crate::{failure, print, stop};

/// Render a site on its schedule, from the sources of its active release
///
/// Needs no checkout: what was published last is in the bucket, and only data is fetched anew.
#[derive(Debug, clap::Args)]
pub struct RendererArgs {
    /// The site's name in the bucket
    #[arg(long, env = "BAKE_SITE", value_name = "NAME")]
    site: Option<Site>,
    /// Folder in which relative paths of databases begin
    #[arg(long, default_value = ".", value_name = "DIR")]
    root: PathBuf,
    /// Address that links begin with, in place of the configured `base_url`
    #[arg(long, env = "BAKE_BASE_URL", value_name = "URL")]
    base_url: Option<String>,
    /// URL of an origin, which is woken at each commit
    #[arg(long, env = "BAKE_ORIGINS", value_delimiter = ',', value_name = "URL")]
    origin: Vec<String>,
    /// Token for origins
    #[arg(long, env = "BAKE_TOKEN", hide_env_values = true, value_name = "TOKEN")]
    token: Option<String>,
    #[command(flatten)]
    store: StoreArgs,
}

/// Runs the command.
pub async fn run(args: RendererArgs) -> anyhow::Result<()> {
    let config = Config::load(None)?;
    let stores = stores::open(&args.store.merge(&config), &config, true).await?;
    let site = args.site.unwrap_or(config.site);
    let publisher = stores.publisher(&site).await?;
    let token = args.token.unwrap_or_default();
    let wake = args.origin.iter().map(|url| Client::new(url, token.clone())).collect::<Result<_, _>>()?;
    let stop = CancellationToken::new();
    let (worker, handle) = Worker::new(
        Setup {
            site: site.clone(),
            from: From::Release,
            root: args.root,
            base_url: args.base_url.map_or(BaseUrl::Configured, BaseUrl::Given),
            publisher: publisher.clone(),
            bucket: stores.bucket.clone(),
            tell: Arc::new(Lines { wake }),
            beside: None,
            memory_bytes_max: worker::RENDER_MEMORY_BYTES_MAX,
        },
        stop.clone(),
    );
    say!("renderer of site `{site}`");
    let mut parts = Parts::new();
    parts.begin("the renderer", stop, worker.run().map(Ok));
    handle.give(Reason::Start).await?;
    let jobs = Jobs::new(stores.bucket);
    let result = tokio::select! {
        () = stop::asked() => Ok(()),
        () = jobs.serve(&site, &publisher, &handle) => Ok(()),
        error = parts.failure() => Err(error),
    };
    parts.end().await;
    result
}

/// A line for each publish; and origins hear of it at once.
struct Lines {
    wake: Vec<Client>,
}

#[async_trait::async_trait]
impl Tell for Lines {
    async fn published(&self, event: &Event) {
        if event.committed.is_some() {
            let release = print::release(event.release.as_ref());
            say!("published {release} ({}): {}", event.trigger, print::counts(&event.diff));
            for origin in &self.wake {
                // An origin that is not woken looks by itself within a second.
                if let Err(error) = origin.poke("/v1/wake").await {
                    tracing::warn!(error = format!("{error:#}"), "an origin was not woken");
                }
            }
        }
    }

    fn failed(&self, trigger: &Trigger, error: &anyhow::Error, retry: Option<Duration>) {
        tracing::error!(%trigger, ?retry, error = failure::words(error), "not published");
    }

    fn stale(&self, problem: &str) {
        tracing::warn!(problem, "a source failed; its last good data is used");
    }

    fn held(&self, trigger: &Trigger) {
        tracing::info!(%trigger, "a rollback holds this publish back");
    }
}
