//! `bake up`: everything in one process, with nothing to set up.

mod says;

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime};

use anyhow::Context;
use edge::{AdminConfig, Edge, EdgeConfig, Mode, SitesConfig};
use futures_util::{FutureExt, TryFutureExt};
use origin::bucket::embedded::{self, Credentials};
use origin::site::ServedSite;
use origin::{Origin, OriginConfig, Sites};
use renderer::BaseUrl;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::config::{Config, Secret, Store};
use crate::data_folder::{DataFolder, Keys};
use crate::edge_flags::ClientFlags;
use crate::edge_role::not_reloaded;
use crate::parts::Parts;
use crate::stores::{self, Stores};
use crate::system::{DATA, UpBucket, UpFile};
use crate::watch::{Change, Watch};
use crate::worker::{self, From, Handle, Reason, Setup, Worker};
use crate::{edge_role, failure, listen, logs, render, stop};
use says::{Out, Teller};

/// Name of the bucket that `bake up` brings.
const BUCKET: &str = "bakehouse";
/// Its region, which means nothing and has to be something.
const REGION: &str = "us-east-1";
/// Longest that stopping takes: what is in flight may end, within the 5 s that are promised.
const STOP_MAX: Duration = Duration::from_secs(4);

/// Render, store and serve the site, all in one process; publish whenever a file is saved
///
/// Needs no account and no other server. Stop it with Ctrl-C.
#[derive(Debug, clap::Args)]
pub struct UpArgs {
    /// Folder that holds `content/`
    #[arg(default_value = ".", value_name = "SITE")]
    folder: PathBuf,
    /// Where browsers find the site; port 0 takes any
    #[arg(long, env = "BAKE_LISTEN", default_value = "127.0.0.1:8080", value_name = "ADDR", value_parser = listen::address)]
    listen: SocketAddr,
    /// Where the API listens
    #[arg(long, env = "BAKE_API_LISTEN", default_value = "127.0.0.1:8081", value_name = "ADDR", value_parser = listen::address)]
    api: SocketAddr,
    /// Where the embedded bucket listens
    #[arg(long, env = "BAKE_BUCKET_LISTEN", default_value = "127.0.0.1:8082", value_name = "ADDR", value_parser = listen::address)]
    bucket_listen: SocketAddr,
    /// Folder for the embedded bucket and the keys [default: SITE/.bakehouse]
    #[arg(long, env = "BAKE_DATA", value_name = "DIR")]
    data: Option<PathBuf>,
    /// Address that links begin with; without it they begin with a slash, and work at any address
    #[arg(long, env = "BAKE_BASE_URL", value_name = "URL")]
    base_url: Option<String>,
    /// Print each event as a line of JSON
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub async fn run(args: UpArgs) -> anyhow::Result<()> {
    let config = render::config_in(&args.folder, None)?;
    let root = std::fs::canonicalize(&args.folder)
        .with_context(|| format!("`{}` cannot be opened", args.folder.display()))?;
    let data = DataFolder::open(&args.data.clone().unwrap_or_else(|| root.join(DATA)))?;
    data.remove_up_file()?;
    let keys = data.keys()?;
    listen::raise_open_files();
    let metrics = Metrics::new()?;
    let out = Arc::new(Out { json: args.json });

    // Every address is taken before anything is started, so that a port in use costs nothing.
    let edge_listener = listen::bind(args.listen, "--listen")?;
    let api_listener = listen::bind(args.api, "--api")?;
    // For commands of this machine alone, which find it in `up.json`.
    let admin_listener = listen::bind((Ipv4Addr::LOCALHOST, 0).into(), "--listen")?;

    // What others need is begun before them, and stops after them.
    let mut parts = Parts::new();
    let (bucket, stores) = open_bucket(&args, &config, &data, &keys, &mut parts).await?;
    let up = UpFile {
        pid: std::process::id(),
        edge: listen::url(&edge_listener)?,
        api: listen::url(&api_listener)?,
        admin: listen::url(&admin_listener)?,
        bucket,
        token: keys.token.clone(),
    };

    let origin = Origin::new(OriginConfig {
        journal_bucket: Some(stores.journal.clone()),
        sites: Sites::Named(vec![config.site.clone()]),
        edge_token: keys.edge_token.clone(),
        lease: Duration::from_secs(config.edge.lease_seconds.get()),
        metrics: Some(metrics.text()),
        ..OriginConfig::new("up", stores.bucket.clone(), keys.token.clone())
    })?;
    let served = origin.open(&config.site).await.map_err(|e| failure::hinted(e.clone(), e.hint()))?;
    origin.follow();
    let stop = CancellationToken::new();
    let until = Box::pin(stop.clone().cancelled_owned());
    parts.begin("the origin", stop, ::origin::http::serve(api_listener, origin.clone(), until).map(Ok));

    let stop = CancellationToken::new();
    let (edge, settings) = start_edge(&config, &up, &keys, &stores, stop.clone())?;
    metrics.of_edge(&edge);
    let admin = AdminConfig {
        token: keys.token.clone(),
        metrics: metrics.text(),
        reload: Arc::new({
            let (edge, root) = (edge.clone(), root.clone());
            move || {
                edge.set(settings(&Config::of_site(&root).map_err(|error| not_reloaded(&error))?));
                Ok("memory, limits and rules of the edge are set".into())
            }
        }),
    };
    let serving = ::edge::serve_admin(admin_listener, edge.clone(), admin, stop.clone());
    parts.begin("the edge's admin server", stop.clone(), serving.err_into());
    let until = Box::pin(stop.clone().cancelled_owned());
    parts.begin("the edge", stop, ::edge::serve(edge_listener, edge.clone(), until).err_into());

    // What is saved from here on is seen.
    let watch = Watch::start(&root);
    let (first, mut first_render) = watch::channel(None);
    let stop = CancellationToken::new();
    let (worker, handle) = Worker::new(
        Setup {
            site: config.site.clone(),
            from: From::Folder(root.clone()),
            root,
            base_url: args.base_url.clone().map_or(BaseUrl::RootRelative, BaseUrl::Given),
            publisher: served.publisher().clone(),
            bucket: stores.bucket.clone(),
            tell: Arc::new(Teller::new(out.clone(), edge.clone(), config.site.clone(), first)),
            beside: None,
            memory_bytes_max: worker::RENDER_MEMORY_BYTES_MAX,
        },
        stop.clone(),
    );
    origin.set_render(Arc::new(handle.clone()));
    parts.begin("the renderer", stop, worker.run().map(Ok));
    parts.begin_endless(
        "what publishes after a rollback",
        publish_when_resumed(served.clone(), handle.clone()),
    );
    handle.give(Reason::Start).await?;
    parts.begin_endless("what watches the folder", publish_when_saved(watch, handle));

    let serve = async {
        // The first render has ended, well or not, and there is a release that the edge serves.
        first_render.wait_for(Option::is_some).await?;
        let mut journal = served.journal().watch();
        journal.wait_for(|seen| seen.state.active.is_some()).await?;
        edge.applied(&config.site, served.journal().seen().state.seq).await;
        data.write_private("up.json", &serde_json::to_vec_pretty(&up)?)?;
        out.ready(&args.folder, &up);
        std::future::pending::<anyhow::Result<()>>().await
    };
    let result = tokio::select! {
        result = serve => result,
        error = parts.failure() => Err(error),
        () = stop::asked() => Ok(()),
    };

    out.stopping();
    // From now on commands find nobody, however this ends.
    let removed = data.remove_up_file();
    if tokio::time::timeout(STOP_MAX, parts.end()).await.is_err() {
        tracing::warn!("what did not end in time was broken off");
    }
    removed?;
    result
}

/// What is measured: by the edge, too, once there is one.
struct Metrics {
    edge: Arc<OnceLock<Arc<Edge>>>,
    text: Arc<dyn Fn() -> String + Send + Sync>,
}

impl Metrics {
    fn new() -> anyhow::Result<Self> {
        let recorded = logs::metrics()?;
        edge::describe_metrics();
        let edge: Arc<OnceLock<Arc<Edge>>> = Arc::default();
        let text = Arc::new({
            let edge = edge.clone();
            move || {
                if let Some(edge) = edge.get() {
                    edge.refresh_gauges();
                }
                format!("{}{}", recorded.render(), edge::metrics_text())
            }
        });
        Ok(Self { edge, text })
    }

    fn of_edge(&self, edge: &Arc<Edge>) {
        self.edge.get_or_init(|| edge.clone());
    }

    /// In the text format of Prometheus.
    fn text(&self) -> Arc<dyn Fn() -> String + Send + Sync> {
        self.text.clone()
    }
}

/// The edge, and what it can be set to while it runs, from a configuration.
fn start_edge(
    config: &Config,
    up: &UpFile,
    keys: &Keys,
    stores: &Stores,
    stop: CancellationToken,
) -> anyhow::Result<(Arc<Edge>, impl Fn(&Config) -> edge::Settings + Send + Sync + 'static)> {
    let mut edge_config = EdgeConfig {
        threads: edge_role::processors(),
        ..EdgeConfig::new(
            Mode::Sites(SitesConfig {
                origins: vec![up.api.clone()],
                token: keys.edge_token.clone(),
                sites: vec![config.site.clone()],
                lease: Duration::from_secs(config.edge.lease_seconds.get()),
                on_lapse: edge_role::on_lapse(config.edge.on_lease_lapse),
            }),
            "up",
        )
    };
    let settings = edge_role::settings(None, ClientFlags::default(), edge_config.settings.clone());
    edge_config.settings = settings(config);
    let edge =
        Edge::start(edge_config, Some(stores.bucket.clone()), stop).context("the edge cannot be started")?;
    Ok((edge, settings))
}

/// The bucket that the configuration names, or one of our own over a folder.
async fn open_bucket(
    args: &UpArgs,
    config: &Config,
    data: &DataFolder,
    keys: &Keys,
    parts: &mut Parts,
) -> anyhow::Result<(UpBucket, Stores)> {
    if config.bucket.is_given() {
        let stores = stores::open(&config.bucket, config, true).await?;
        let text = |value: &Option<String>| value.clone().unwrap_or_default();
        let bucket = UpBucket {
            endpoint: text(&config.bucket.endpoint),
            name: text(&config.bucket.name),
            region: text(&config.bucket.region),
            access_key_id: text(&config.bucket.access_key_id),
            secret_access_key: config.bucket.secret_access_key.clone().map(|s| s.0).unwrap_or_default(),
        };
        return Ok((bucket, stores));
    }
    let listener = listen::bind(args.bucket_listen, "--bucket-listen")?;
    let endpoint = listen::url(&listener)?;
    let folder = data.path().join("bucket");
    let store = crate::bucket::open_folder(&folder, BUCKET)?;
    let credentials = Credentials {
        access_key_id: keys.access_key_id.clone(),
        secret_access_key: keys.secret_access_key.clone(),
    };
    let stop = CancellationToken::new();
    let until = Box::pin(stop.clone().cancelled_owned());
    parts.begin("the bucket", stop, embedded::serve(listener, store, credentials, until).map(Ok));
    let own = Store {
        endpoint: Some(endpoint.clone()),
        region: Some(REGION.to_owned()),
        name: Some(BUCKET.to_owned()),
        access_key_id: Some(keys.access_key_id.clone()),
        secret_access_key: Some(Secret(keys.secret_access_key.clone())),
        // Our own store keeps its promises: tests race for it, and no start-up has to.
        ..Store::default()
    };
    let stores = stores::open(&own, config, false).await?;
    let bucket = UpBucket {
        endpoint,
        name: BUCKET.to_owned(),
        region: REGION.to_owned(),
        access_key_id: keys.access_key_id.clone(),
        secret_access_key: keys.secret_access_key.clone(),
    };
    Ok((bucket, stores))
}

/// Gives the worker a reason for each change of the folder.
async fn publish_when_saved(mut watch: Watch, handle: Handle) -> anyhow::Result<()> {
    loop {
        handle.give(Reason::Saved(watch.changed().await)).await?;
    }
}

/// What was saved while a rollback was in force goes live when someone says `bake resume`.
async fn publish_when_resumed(site: Arc<ServedSite>, handle: Handle) -> anyhow::Result<()> {
    let mut journal = site.journal().watch();
    loop {
        let active = journal.wait_for(|seen| seen.state.held).await?.state.base();
        let now = journal.wait_for(|seen| !seen.state.held).await?.state.base();
        // A publish that ended the rollback brought the folder along.
        if now == active {
            handle.give(Reason::Saved(Change { saved: SystemTime::now(), paths: None })).await?;
        }
    }
}
