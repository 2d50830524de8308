//! `bake publish`: what is in the folder goes live.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use release::Digest;
use release::record::Trigger;
use release::wire::{PublishRequest, Published, SourceLine};
use renderer::BaseUrl;
use tokio_util::sync::CancellationToken;

use crate::config::Config;
use crate::failure::{self, HintExt, Usage};
use crate::memo::Beside;
use crate::print::{self, say, tell};
use crate::render::{self, Folder};
use crate::stores::{self, StoreArgs};
use crate::system::{Client, DATA, SystemArgs};
use crate::worker::{self, Event, From, Setup, Tell, Worker};

/// Render the folder, upload what is new, and serve it
///
/// With a bucket (in bakehouse.toml, by flags or environment) the folder is rendered here. Otherwise
/// its files are sent to the running `bake up`, or to the origin that --api names, and rendered there.
///
/// The release is recorded under the name in the variable BAKE_AUTHOR, or else that of the user.
#[derive(Debug, clap::Args)]
pub struct PublishArgs {
    /// Folder that holds `content/`
    #[arg(default_value = ".", value_name = "SITE")]
    folder: PathBuf,
    /// Only say what would change
    #[arg(long)]
    plan: bool,
    /// Wait until every edge serves it; exit with 1 if one does not
    #[arg(long)]
    wait: bool,
    /// Why
    #[arg(long, short, value_name = "TEXT")]
    message: Option<String>,
    /// Address that links begin with, in place of the configured `base_url`; where it is rendered here
    #[arg(long, env = "BAKE_BASE_URL", value_name = "URL")]
    base_url: Option<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    system: SystemArgs,
    #[command(flatten)]
    store: StoreArgs,
}

/// Runs the command.
pub async fn run(args: PublishArgs) -> anyhow::Result<()> {
    let config = render::config_in(&args.folder, None)?;
    let store = args.store.merge(&config);
    let request = PublishRequest {
        site: args.system.site.clone(),
        sources: None,
        message: args.message.clone(),
        author: Some(worker::author()),
        plan: args.plan,
        wait: args.wait,
    };
    let published = if args.system.api.is_none() && store.is_given() {
        if args.wait {
            let text = "--wait needs an origin to ask: give its API with --api and --token".to_owned();
            return Err(Usage(text).into());
        }
        here(&args, &config, &store, request).await?
    } else {
        there(&args, request).await?
    };
    show(&args, &published)?;
    print::all_applied(args.wait, &published.edges)?;
    if published.stale_sources.is_empty() {
        return Ok(());
    }
    Err(anyhow::anyhow!(published.stale_sources.join("\n"))).hint(|| {
        "the last good data of these sources is served; publish again when they can be reached".into()
    })
}

/// Renders here, with credentials of the bucket.
async fn here(
    args: &PublishArgs,
    config: &Config,
    store: &crate::config::Store,
    request: PublishRequest,
) -> anyhow::Result<Published> {
    let stores = stores::open(store, config, !request.plan).await?;
    let site = request.site.clone().unwrap_or_else(|| config.site.clone());
    let publisher = stores.publisher(&site).await?;
    let stop = CancellationToken::new();
    let (worker, handle) = Worker::new(
        Setup {
            beside: Some(Beside::of(&args.folder, &site)),
            site,
            from: From::Folder(args.folder.clone()),
            root: args.folder.clone(),
            base_url: args.base_url.clone().map_or(BaseUrl::Configured, BaseUrl::Given),
            publisher,
            bucket: stores.bucket.clone(),
            tell: Arc::new(Silent),
            memory_bytes_max: render::ONE_RENDER_BYTES_MAX,
        },
        stop.clone(),
    );
    let work = tokio::spawn(worker.run());
    let result = handle.publish(request, None).await;
    stop.cancel();
    work.await?;
    result.map_err(|failure| failure::hinted(anyhow::anyhow!(failure.error), failure.hint))
}

/// Sends the files to a running system.
async fn there(args: &PublishArgs, mut request: PublishRequest) -> anyhow::Result<Published> {
    let client = match args.system.running(&args.folder)? {
        Some(up) => Client::new(&up.api, args.system.token.clone().unwrap_or(up.token))?,
        None if args.system.api.is_some() => args.system.client()?,
        None => {
            return Err(anyhow::anyhow!("there is nowhere to publish to")).hint(|| {
                format!(
                    "start `bake up` (it writes {}/{DATA}/up.json), name a bucket with --bucket-name, or an origin with --api",
                    args.folder.display()
                )
            });
        }
    };
    let folder = Folder::open(&args.folder, None)?;
    let mut lines = Vec::new();
    for (path, file) in worker::published_sources(&folder.sources, &folder.config) {
        let digest: Digest = file.digest().with_context(|| format!("`{path}` cannot be read"))?.into();
        lines.push(SourceLine { path: path.to_owned(), digest });
    }
    let site = request.site.as_ref().map(|s| format!("?site={s}")).unwrap_or_default();
    let digests: Vec<Digest> = lines.iter().map(|l| l.digest).collect();
    let missing: Vec<Digest> = client.post(&format!("/v1/blobs/missing{site}"), &digests).await?;
    for line in &lines {
        if missing.contains(&line.digest)
            && let Some(file) = folder.sources.get(&line.path)
        {
            let bytes = file.read().with_context(|| format!("`{}` cannot be read", line.path))?;
            client.put(&format!("/v1/blobs/{}{site}", line.digest), bytes).await?;
        }
    }
    request.sources = Some(lines);
    client.post("/v1/publish", &request).await
}

fn show(args: &PublishArgs, published: &Published) -> anyhow::Result<()> {
    if args.json {
        return print::json(published);
    }
    for warning in &published.warnings {
        tell!("{warning}");
    }
    let release = print::release(published.release.as_ref());
    match &published.committed {
        _ if args.plan => {
            say!("a publish would replace {release} ({} objects to upload)", published.uploaded)
        }
        Some(committed) => say!("published {release} as journal entry {}", committed.seq),
        None => say!("nothing changed: {release} stays"),
    }
    print::changes(&published.diff);
    print::edges(&published.edges);
    Ok(())
}

/// The command prints what came of it by itself.
struct Silent;

#[async_trait::async_trait]
impl Tell for Silent {
    async fn published(&self, _: &Event) {}
    fn failed(&self, _: &Trigger, _: &anyhow::Error, _: Option<Duration>) {}
    fn stale(&self, _: &str) {}
    fn held(&self, _: &Trigger) {}
}
