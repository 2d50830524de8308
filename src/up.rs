//! `bake up`: everything in one process, with nothing to set up.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use anyhow::Context;
use edge::{AdminConfig, Edge, EdgeConfig, Mode, SitesConfig};
use origin::bucket::embedded::{self, Credentials};
use origin::site::ServedSite;
use origin::{Origin, OriginConfig, Sites};
use release::keys::Site;
use release::record::Trigger;
use renderer::BaseUrl;
use serde_json::json;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::config::{Config, Secret, Store};
use crate::data_folder::{DataFolder, Keys};
use crate::print::{say, tell};
use crate::stores::{self, Stores};
use crate::system::{DATA, UpBucket, UpFile};
use crate::watch::{Change, Watch};
use crate::worker::{self, Event, From, Handle, Reason, Setup, Tell, Worker};
use crate::{edge_role, failure, listen, logs, print, render};

/// Name of the bucket that `bake up` brings.
const BUCKET: &str = "bakehouse";
/// Its region, which means nothing and has to be something.
const REGION: &str = "us-east-1";
/// Longest that stopping takes: what is in flight may end, within the 5 s that are promised.
const STOP_MAX: Duration = Duration::from_millis(4_500);
/// Longest that a publish waits for the edge before its line is printed all the same.
const FRESH: Duration = Duration::from_secs(5);

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
    let metrics = logs::metrics()?;
    edge::describe_metrics();
    let measured: Arc<OnceLock<Arc<Edge>>> = Arc::default();
    let out = Arc::new(Out { json: args.json });

    // Every address is taken before anything is started, so that a port in use costs nothing.
    let edge_listener = listen::bind(args.listen, "--listen").await?;
    let api_listener = listen::bind(args.api, "--api").await?;
    // For commands of this machine alone, which find it in `up.json`.
    let admin_listener = listen::bind((Ipv4Addr::LOCALHOST, 0).into(), "--listen").await?;
    let urls = Urls {
        edge: listen::url(&edge_listener)?,
        api: listen::url(&api_listener)?,
        admin: listen::url(&admin_listener)?,
    };

    // What others need stops after them.
    let [stop_work, stop_edge, stop_origin, stop_bucket] = [(); 4].map(|()| CancellationToken::new());
    let bucket_server = TaskTracker::new();

    let (bucket, stores) =
        open_bucket(&args, &config, &data, &keys, &bucket_server, stop_bucket.clone()).await?;

    let all_metrics: Arc<dyn Fn() -> String + Send + Sync> = Arc::new({
        let measured = measured.clone();
        move || {
            if let Some(edge) = measured.get() {
                edge.refresh_gauges();
            }
            format!("{}{}", metrics.render(), edge::metrics_text())
        }
    });
    let origin = Origin::new(OriginConfig {
        journal_bucket: Some(stores.journal.clone()),
        sites: Sites::Named(vec![config.site.clone()]),
        edge_token: keys.edge_token.clone(),
        lease: Duration::from_secs(config.edge.lease_seconds.get()),
        metrics: Some(Arc::clone(&all_metrics)),
        ..OriginConfig::new("up", stores.bucket.clone(), keys.token.clone())
    })?;
    let served = origin.open(&config.site).await.map_err(|e| failure::hinted(e.clone(), e.hint()))?;
    origin.follow();

    let mut edge_config = EdgeConfig {
        threads: edge_role::processors(),
        ..EdgeConfig::new(
            Mode::Sites(SitesConfig {
                origins: vec![urls.api.clone()],
                token: keys.edge_token.clone(),
                sites: vec![config.site.clone()],
                lease: Duration::from_secs(config.edge.lease_seconds.get()),
                on_lapse: edge_role::on_lapse(config.edge.on_lease_lapse),
            }),
            "up",
        )
    };
    let settings = {
        let defaults = edge_config.settings.clone();
        move |config: &Config| {
            let mut settings = defaults.clone();
            settings.memory_bytes_max = usize::try_from(config.edge.memory.get()).unwrap_or(usize::MAX);
            config.edge.clients.apply(&mut settings);
            settings
        }
    };
    edge_config.settings = settings(&config);
    let edge = Edge::start(edge_config, Some(stores.bucket.clone()), stop_edge.clone())
        .context("the edge cannot be started")?;

    // It is set once, right here.
    let _first = measured.set(edge.clone());

    let (first, mut first_render) = watch::channel(None);
    let (worker, handle) = Worker::new(
        Setup {
            site: config.site.clone(),
            from: From::Folder(root.clone()),
            root: root.clone(),
            base_url: args.base_url.clone().map_or(BaseUrl::RootRelative, BaseUrl::Given),
            publisher: served.publisher().clone(),
            bucket: stores.bucket.clone(),
            tell: Arc::new(Teller {
                out: out.clone(),
                edge: edge.clone(),
                site: config.site.clone(),
                first,
                failed: Mutex::default(),
            }),
            memory_bytes_max: worker::RENDER_MEMORY_BYTES_MAX,
        },
        stop_work.clone(),
    );
    origin.set_render(Arc::new(handle.clone()));

    let origin_server = tokio::spawn(::origin::http::serve(
        api_listener,
        origin.clone(),
        Box::pin(stop_origin.clone().cancelled_owned()),
    ));
    let edge_server = tokio::spawn(::edge::serve(
        edge_listener,
        edge.clone(),
        Box::pin(stop_edge.clone().cancelled_owned()),
    ));
    let admin = AdminConfig {
        token: keys.token.clone(),
        metrics: all_metrics,
        reload: Arc::new({
            let (edge, root) = (edge.clone(), root.clone());
            move || {
                edge.set(settings(&Config::of_site(&root).map_err(|error| format!("{error:#}"))?));
                Ok("memory, limits and rules of the edge are set".into())
            }
        }),
    };
    let admin_server =
        tokio::spawn(::edge::serve_admin(admin_listener, edge.clone(), admin, stop_edge.clone()));
    let work = tokio::spawn(worker.run());
    let resuming = tokio::spawn(publish_when_resumed(served.clone(), handle.clone()));
    let watching = tokio::spawn(watch_folder(root.clone(), handle.clone()));
    handle.give(Reason::Start).await?;

    let up = UpFile {
        pid: std::process::id(),
        edge: urls.edge.clone(),
        api: urls.api.clone(),
        admin: urls.admin.clone(),
        bucket,
        token: keys.token.clone(),
    };
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
        () = stop_signal() => Ok(()),
    };

    out.stopping();
    let stopping = async {
        watching.abort();
        resuming.abort();
        stop_work.cancel();
        ended(work).await;
        stop_edge.cancel();
        ended(edge_server).await;
        ended(admin_server).await;
        stop_origin.cancel();
        ended(origin_server).await;
        stop_bucket.cancel();
        bucket_server.close();
        bucket_server.wait().await;
    };
    if tokio::time::timeout(STOP_MAX, stopping).await.is_err() {
        tracing::warn!("what did not end in time was broken off");
    }
    data.remove_up_file()?;
    result
}

/// Waits for a task, and says if it ended badly.
async fn ended<T>(task: tokio::task::JoinHandle<T>) {
    if let Err(error) = task.await {
        tracing::error!(%error, "a part ended badly");
    }
}

/// The bucket that the configuration names, or one of our own over a folder.
async fn open_bucket(
    args: &UpArgs,
    config: &Config,
    data: &DataFolder,
    keys: &Keys,
    servers: &TaskTracker,
    stop: CancellationToken,
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
    let listener = listen::bind(args.bucket_listen, "--bucket-listen").await?;
    let endpoint = listen::url(&listener)?;
    let folder = data.path().join("bucket");
    let store = crate::bucket::open_folder(&folder, BUCKET)?;
    let credentials = Credentials {
        access_key_id: keys.access_key_id.clone(),
        secret_access_key: keys.secret_access_key.clone(),
    };
    servers.spawn(embedded::serve(listener, store, credentials, Box::pin(stop.cancelled_owned())));
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

/// Ready when the process is asked to stop: Ctrl-C, or SIGTERM.
pub async fn stop_signal() {
    let terminate = async {
        match tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()) {
            Ok(mut signal) => {
                signal.recv().await;
            }
            Err(error) => {
                tracing::warn!(%error, "SIGTERM cannot be waited for");
                std::future::pending::<()>().await;
            }
        }
    };
    tokio::select! {
        result = tokio::signal::ctrl_c() => {
            if let Err(error) = result {
                tracing::warn!(%error, "Ctrl-C cannot be waited for");
                std::future::pending::<()>().await;
            }
        }
        () = terminate => {}
    }
}

/// Gives the worker a reason for each change of the folder.
async fn watch_folder(root: PathBuf, handle: Handle) -> anyhow::Result<()> {
    let mut watch = Watch::start(&root)?;
    loop {
        let change = watch.changed().await?;
        handle.give(Reason::Saved(change)).await?;
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

struct Urls {
    edge: String,
    api: String,
    admin: String,
}

/// What `up` says: lines for people on standard output, or JSON.
struct Out {
    json: bool,
}

impl Out {
    fn line(&self, text: &str, event: &serde_json::Value) {
        if self.json { say!("{event}") } else { say!("{text}") }
    }

    fn ready(&self, folder: &Path, up: &UpFile) {
        let text = format!(
            "\nYour site is up.\n\n  site    {edge}/\n  api     {api}\n  bucket  {bucket} (S3, bucket `{name}`)\n\n\
             Try next:\n  - open {edge}/ in a browser\n  - change a file below {content} and save it: it is live at once\n  \
             - bake releases          every version so far\n  - bake rollback          the one before, again\n  \
             - bake purge --url /     a receipt for a dropped copy\n\nCtrl-C stops.\n",
            edge = up.edge,
            api = up.api,
            bucket = up.bucket.endpoint,
            name = up.bucket.name,
            content = folder.join("content").display(),
        );
        self.line(
            &text,
            &json!({"event": "ready", "edge": up.edge, "api": up.api, "bucket": up.bucket.endpoint, "pid": up.pid}),
        );
    }

    fn stopping(&self) {
        self.line("stopping", &json!({"event": "stopping"}));
    }
}

/// Tells people of publishes, and waits until the edge has them.
struct Teller {
    out: Arc<Out>,
    edge: Arc<Edge>,
    site: Site,
    first: watch::Sender<Option<bool>>,
    /// What failed last: a schedule that meets the same again and again says so in one line.
    failed: Mutex<Option<String>>,
}

impl Teller {
    /// Whether this is what failed last time too.
    fn is_known(&self, failed: Option<&anyhow::Error>) -> bool {
        let text = failed.map(|error| format!("{error:#}"));
        let mut last = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
        let is_known = *last == text;
        *last = text;
        is_known
    }

    fn first_is_over(&self, well: bool) {
        self.first.send_if_modified(|first| first.is_none() && first.replace(well).is_none());
    }
}

#[async_trait::async_trait]
impl Tell for Teller {
    async fn published(&self, event: &Event) {
        self.is_known(None);
        let Some(committed) = &event.committed else {
            self.first_is_over(true);
            let quiet = matches!(event.trigger, Trigger::Schedule(_) | Trigger::Due);
            if !quiet {
                let text = format!(
                    "nothing changed ({}); {} stays",
                    event.trigger,
                    print::release(event.release.as_ref())
                );
                self.out.line(&text, &json!({"event": "unchanged", "release": event.release, "trigger": event.trigger.to_string()}));
            }
            return;
        };
        let began = Instant::now();
        let fresh = tokio::time::timeout(FRESH, self.edge.applied(&self.site, committed.seq)).await.is_ok();
        let edge = began.elapsed();
        self.first_is_over(true);
        let total = event.saved.elapsed().unwrap_or_default();
        let ms = |d: Duration| u64::try_from(d.as_millis()).unwrap_or(u64::MAX);
        let parts = [
            ("notice", ms(event.notice)),
            ("render", ms(event.render)),
            ("upload", ms(event.upload)),
            ("commit", ms(event.commit)),
            ("edge", ms(edge)),
            ("total", ms(total)),
        ];
        let shown: Vec<&str> = event.diff.paths().take(3).collect();
        let more = match event.diff.len().saturating_sub(shown.len()) {
            0 => String::new(),
            n => format!(" and {n} more"),
        };
        let late = if fresh { "" } else { "; the edge has not heard of it yet" };
        // A release also tells when pages come or go, and which hosts the site has.
        let what = match shown.is_empty() {
            true => "no path differs yet; a page's time is still to come, or `hosts` differ".to_owned(),
            false => format!("{} ({}{more})", print::counts(&event.diff), shown.join(", ")),
        };
        let text = format!(
            "published {}: {what}, fresh {} ms after the {}{late}",
            print::release(event.release.as_ref()),
            ms(total),
            if event.trigger == Trigger::Watch { "save" } else { "start of the render" },
        );
        self.out.line(
            &text,
            &json!({
                "event": "published",
                "release": event.release,
                "seq": committed.seq,
                "trigger": event.trigger.to_string(),
                "added": event.diff.added,
                "changed": event.diff.changed,
                "removed": event.diff.removed,
                "uploaded": event.uploaded,
                "vanished": event.vanished.gone,
                "fresh": fresh,
                "ms": parts.into_iter().collect::<std::collections::BTreeMap<_, _>>(),
            }),
        );
        if !self.out.json {
            event.vanished.warnings().for_each(|warning| tell!("{warning}"));
        }
    }

    fn failed(&self, trigger: &Trigger, error: &anyhow::Error, retry: Option<Duration>) {
        let next = match retry {
            Some(wait) => format!("trying again in {:.1} s", wait.as_secs_f32()),
            None => "the next save tries again".to_owned(),
        };
        if logs::are_json() {
            tracing::error!(%trigger, error = format!("{error:#}"), next, "not published");
        } else if self.is_known(Some(error)) && *trigger != Trigger::Watch {
            tell!("still not published ({trigger}), for the same reason; {next}");
        } else {
            failure::report(error);
            tell!("not published ({trigger}): what was live before still is; {next}");
        }
        if self.out.json {
            self.out.line(
                "",
                &json!({"event": "failed", "trigger": trigger.to_string(), "error": format!("{error:#}")}),
            );
        }
        self.first_is_over(false);
    }

    fn stale(&self, problem: &str) {
        tracing::warn!(problem, "a source failed; its last good data is used");
        if self.out.json {
            self.out.line("", &json!({"event": "stale", "problem": problem}));
        }
    }

    fn held(&self, trigger: &Trigger) {
        let text =
            format!("held back ({trigger}): a rollback is in force; `bake publish` or `bake resume` ends it");
        self.out.line(&text, &json!({"event": "held", "trigger": trigger.to_string()}));
        self.first_is_over(false);
    }
}
