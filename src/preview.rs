//! `bake preview`: the site as it would be, while it is written. Nothing is stored, released or sent anywhere.

mod board;
mod editor;
mod http;
mod insert;
mod output;
mod problem;
mod store;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use anyhow::Context;
use jiff::Timestamp;
use release::File;
use release::tree::Diff;
use release::url::Target;
use renderer::{
    BaseUrl, Diagnostic, Handed, Limits, Options, RenderId, Renderer, Sink, SinkClosed, Sources, Summary,
};
use tokio::sync::mpsc;

use self::board::{Batch, Board};
use self::editor::Editor;
use self::http::Preview;
use self::output::Output;
use self::store::Store;
use crate::fetched::{Ask, Fetched};
use crate::print::{counted, say, tell};
use crate::watch::{Change, Watch};
use crate::{config, failure, listen, print, render, stop};

/// The port, beside those of `bake up`.
const PORT: u16 = 8083;
/// Bytes of rendered content that are kept in memory; what is beyond that lies in a file without a name.
const OUTPUTS_BYTES_MAX: usize = 256 << 20;
/// Bytes that the renderer may keep of rendered content and files: templates are edited here, and every page has them.
const RENDER_MEMORY_BYTES_MAX: usize = 256 << 20;
/// Changes that wait while a render is under way; they are one render after it.
const CHANGES_MAX: usize = 64;
/// Paths that a line names.
const PATHS_SHOWN: usize = 3;
/// The longest wait for a date before the clock is looked at again: clocks are set, and machines sleep.
const WAIT_MAX: Duration = Duration::from_secs(60);

/// Show the site while it is written: drafts, errors and every save at once; nothing is published
///
/// Pages reload by themselves and keep their place; Alt+click opens the source. Stop it with Ctrl-C.
#[derive(Debug, clap::Args)]
pub struct PreviewArgs {
    /// Folder that holds `content/`
    #[arg(default_value = ".", value_name = "SITE")]
    folder: PathBuf,
    /// Port on this machine; 0 takes any [default: 8083]
    #[arg(long, short, conflicts_with = "listen", value_name = "N")]
    port: Option<u16>,
    /// Where to listen, for browsers on other machines too
    #[arg(long, value_name = "ADDR", value_parser = listen::address)]
    listen: Option<SocketAddr>,
    /// Open the site in the browser
    #[arg(long)]
    open: bool,
    /// Address that links begin with; without it they begin with a slash, and work at any address
    #[arg(long, value_name = "URL")]
    base_url: Option<String>,
    /// Leave out what a build leaves out: drafts, and pages whose time has not come or is over
    #[arg(long)]
    published: bool,
}

/// Runs the command.
pub async fn run(args: PreviewArgs) -> anyhow::Result<()> {
    render::check_folder(&args.folder)?;
    let root = std::fs::canonicalize(&args.folder)
        .with_context(|| format!("`{}` cannot be opened", args.folder.display()))?;
    let (base, host) = base(args.base_url.as_deref())?;
    let (address, flag) = match (args.listen, args.port) {
        (Some(address), _) => (address, "--listen"),
        (None, port) => (SocketAddr::new(Ipv4Addr::LOCALHOST.into(), port.unwrap_or(PORT)), "--port"),
    };
    let listener = listen::bind(address, flag)?;
    let at = listener.local_addr()?;
    // What is saved from here on is seen.
    let watch = Watch::start(&root);
    let boot = format!("{:x}", rand::random::<u64>());
    let editor = Editor::find(render::environment);
    let preview = Arc::new(Preview::new(Board::new(boot, base), root.clone(), editor, host));
    let url = format!("http://{}{}", reachable(at), preview.board().address("/"));
    say!(
        "\nYour preview is at {url}\n\n  Every save is shown at once; drafts and pages to come are marked; \
         Alt+click opens the source.\n  Nothing is published. Ctrl-C stops.\n"
    );
    let server = tokio::spawn(http::serve(listener, Arc::clone(&preview)));
    if args.open {
        open_browser(&url);
    }
    let mut author = Author {
        renderer: Arc::new(Renderer::new(RENDER_MEMORY_BYTES_MAX)),
        store: Store::new(OUTPUTS_BYTES_MAX),
        fetched: Fetched::new(root),
        preview,
        base_url: args.base_url.map_or(BaseUrl::RootRelative, BaseUrl::Given),
        drafts: !args.published,
        listed: None,
        since: None,
        next: None,
        warned: Vec::new(),
        failed: None,
    };
    tokio::select! {
        result = author.follow(watch) => result,
        () = stop::asked() => Ok(()),
        ended = server => ended.context("the preview's server ended badly"),
    }
}

/// The path below which the site is, and the names that requests may give this machine.
fn base(url: Option<&str>) -> anyhow::Result<(String, Vec<String>)> {
    let Some(url) = url else { return Ok((String::new(), Vec::new())) };
    let target: Target = url.parse().context("--base-url")?;
    let Some(authority) = target.authority else {
        return Err(failure::Usage(format!("--base-url: `{url}` has no scheme and host")).into());
    };
    let host = authority.split_once("://").map_or(authority.as_str(), |(_, host)| host);
    let host = host.rsplit_once(':').map_or(host, |(name, _)| name);
    let base = release::url::site_path(&target.path).context("--base-url")?;
    Ok((base.trim_end_matches('/').to_owned(), vec![host.to_owned()]))
}

/// An address that a browser on this machine can open.
fn reachable(at: SocketAddr) -> SocketAddr {
    match at.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => SocketAddr::new(Ipv4Addr::LOCALHOST.into(), at.port()),
        IpAddr::V6(ip) if ip.is_unspecified() => {
            SocketAddr::new(std::net::Ipv6Addr::LOCALHOST.into(), at.port())
        }
        _ => at,
    }
}

/// Opens the browser that the user has chosen.
fn open_browser(url: &str) {
    let own = render::environment("BROWSER").filter(|name| !name.contains([' ', ':', '%']));
    let program =
        own.unwrap_or_else(|| if cfg!(target_os = "macos") { "open" } else { "xdg-open" }.to_owned());
    let mut command = tokio::process::Command::new(&program);
    command.arg(url).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).process_group(0);
    let started = command.spawn().map(|mut child| {
        tokio::spawn(async move { child.wait().await });
    });
    if let Err(error) = started {
        tell!("warning: the browser cannot be opened with `{program}`: {error}");
        tell!("hint: open {url} yourself, or name a program in BROWSER");
    }
}

/// Renders what its author saves.
struct Author {
    preview: Arc<Preview>,
    renderer: Arc<Renderer>,
    store: Arc<Store>,
    fetched: Fetched,
    base_url: BaseUrl,
    drafts: bool,
    /// The folder as it was listed last, so that unchanged files are not read again.
    listed: Option<Sources>,
    /// The render that the board shows.
    since: Option<RenderId>,
    /// When a date makes the next render differ, or a source that failed is asked again.
    next: Option<Timestamp>,
    /// What was warned of last: it is said once.
    warned: Vec<Diagnostic>,
    /// What failed last: where nobody saved anything it is said once, too.
    failed: Option<String>,
}

impl Author {
    /// Renders now, and then after each save.
    async fn follow(&mut self, mut watch: Watch) -> anyhow::Result<()> {
        let (sender, mut changes) = mpsc::channel::<Change>(CHANGES_MAX);
        let mut watching =
            tokio::spawn(async move { while sender.send(watch.changed().await).await.is_ok() {} });
        let mut saved = None;
        loop {
            self.render(saved).await;
            saved = loop {
                let (is_new, problem) = tokio::select! {
                    Some(change) = changes.recv() => break Some(change.saved),
                    () = until(self.next) => break None,
                    ended = &mut watching => return ended.context("what watches the folder ended badly"),
                    answer = self.fetched.next() => answer,
                };
                if let Some(problem) = problem {
                    tell!("warning: {problem}; its last good data is used");
                    self.next = self.next.into_iter().chain(self.fetched.next_try()).min();
                }
                if is_new {
                    break None;
                }
            };
            while let Ok(change) = changes.try_recv() {
                saved = saved.max(Some(change.saved));
            }
        }
    }

    /// Renders what has changed, shows it, and says so.
    async fn render(&mut self, saved: Option<SystemTime>) {
        let began = Instant::now();
        let before = self.listed.clone();
        let (what, error, shown) = match self.try_render().await {
            Ok((summary, diff)) => {
                for warning in summary.warnings.iter().filter(|warning| !self.warned.contains(warning)) {
                    tell!("{}", warning.as_warning());
                }
                self.warned.clone_from(&summary.warnings);
                let ms =
                    saved.and_then(|at| at.elapsed().ok()).unwrap_or_else(|| began.elapsed()).as_millis();
                let is_first = self.since.replace(summary.render).is_none();
                let shown = match before.filter(|_| !is_first) {
                    Some(before) => {
                        let after = if saved.is_some() { "after the save" } else { "to render" };
                        format!(
                            "{}, {ms} ms {after}",
                            rendered(changed(&before, self.listed.as_ref()), &diff)
                        )
                    }
                    None => {
                        let pages = counted(summary.pages as u64, "page");
                        format!("rendered {pages}, {} in {ms} ms", counted(summary.outputs as u64, "file"))
                    }
                };
                say!("{shown}");
                if summary.errors.is_empty() {
                    self.failed = None;
                    return;
                }
                let error = failure::Content(summary.errors).into();
                ("not all is rendered", error, "what it concerns stays as it was")
            }
            Err(error) => {
                self.preview.update(|board| board.fail(&error));
                let shown = match self.since {
                    Some(_) => "what was rendered before is still shown",
                    None => "every page shows this",
                };
                ("not rendered", error, shown)
            }
        };
        let text = failure::text(&error);
        if saved.is_none() && self.failed.as_ref() == Some(&text) {
            return;
        }
        tell!("{text}");
        self.failed = Some(text);
        let (problems, more) = problem::problems(&error);
        let count = problems.len() + more;
        let errors = if count == 1 { "1 error".to_owned() } else { format!("{count} errors") };
        tell!("{what}, {errors}: {shown}; the next save tries again");
    }

    async fn try_render(&mut self) -> anyhow::Result<(Summary, Diff)> {
        self.next = None;
        let root = self.preview.root.clone();
        let listed = self.listed.clone();
        let sources = tokio::task::spawn_blocking(move || match listed {
            Some(listed) => listed.from_folder_again(&Limits::default()),
            None => Sources::from_folder(&root, &Limits::default()),
        });
        let sources = render::content(sources.await?)?;
        let is_configured_anew =
            self.listed.as_ref().is_none_or(|listed| differs(listed, &sources, config::FILE));
        self.listed = Some(sources.clone());
        // Files can be opened also while they are broken.
        self.preview.update(|board| board.sources = sources.clone());
        let config = render::config_of(&sources)?;
        let ask = if is_configured_anew { Ask::All } else { Ask::NONE };
        let called = self.fetched.refresh(&config, &ask).await;
        self.next = self.fetched.next_try();
        for problem in self.fetched.problems(&config, &called)? {
            tell!("warning: {problem}; its last good data is used");
        }
        let options = Options {
            drafts: self.drafts,
            base_url: self.base_url.clone(),
            keep_going: true,
            source_lines: true,
            ..render::options(&config)
        };
        let data = self.fetched.data_of(&config);
        let input = render::input(sources, &config, data, Timestamp::now(), options);
        let (renderer, since) = (Arc::clone(&self.renderer), self.since);
        let sink = BatchSink { store: Arc::clone(&self.store), taken: Mutex::default() };
        let rendered = tokio::task::spawn_blocking(move || {
            let result = renderer.render(&input, since, &sink);
            let (batch, failed) = sink.taken.into_inner().unwrap_or_else(PoisonError::into_inner);
            match failed {
                Some(error) => Err(error).context("what was rendered cannot be kept"),
                None => Ok((render::content(result)?, batch)),
            }
        });
        let (mut summary, mut batch) = rendered.await.context("the render ended badly")??;
        batch.is_all = summary.handed == Handed::All;
        batch.places = std::mem::take(&mut summary.places);
        batch.failed = std::mem::take(&mut summary.failed);
        batch.errors = summary.errors.clone();
        self.next = self.next.into_iter().chain(summary.next_change).min();
        let diff = self.preview.update(|board| board.show(batch));
        Ok((summary, diff))
    }
}

/// Ready at a moment; never without one.
async fn until(at: Option<Timestamp>) {
    let Some(at) = at else { return std::future::pending().await };
    loop {
        let left = Duration::try_from(at.duration_since(Timestamp::now())).unwrap_or_default();
        if left.is_zero() {
            return;
        }
        tokio::time::sleep(left.min(WAIT_MAX)).await;
    }
}

fn differs(before: &Sources, now: &Sources, path: &str) -> bool {
    match (before.get(path), now.get(path)) {
        (Some(before), Some(now)) => !std::ptr::eq(before, now),
        (before, now) => before.is_some() != now.is_some(),
    }
}

/// What a save did: the files that were saved, and what differs for it.
fn rendered(saved: Option<String>, diff: &Diff) -> String {
    let what = saved.unwrap_or_else(|| "a date, or data".to_owned());
    if diff.is_empty() {
        return format!("{what}: no file of the site differs");
    }
    format!("{what}: {} ({})", print::counts(diff), some(diff.paths()))
}

/// The files that differ between two listings.
fn changed(before: &Sources, now: Option<&Sources>) -> Option<String> {
    let now = now?;
    let new = now.iter().map(|(path, _)| path).filter(|path| differs(before, now, path));
    let gone = before.iter().map(|(path, _)| path).filter(|path| now.get(path).is_none());
    let mut paths = new.chain(gone).peekable();
    paths.peek()?;
    Some(some(paths))
}

/// The first of these, and how many more there are.
fn some<'a>(mut paths: impl Iterator<Item = &'a str>) -> String {
    let shown: Vec<&str> = paths.by_ref().take(PATHS_SHOWN).collect();
    match paths.count() {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}

/// Keeps what is rendered until the render has ended.
struct BatchSink {
    store: Arc<Store>,
    taken: Mutex<(Batch, Option<std::io::Error>)>,
}

impl BatchSink {
    fn take(&self, file: File, copy_of: Option<&str>) -> Result<(), SinkClosed> {
        let path = file.path.clone();
        let output = Output::new(&self.store, file, copy_of);
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        match output {
            Ok(output) => {
                taken.0.made.insert(path, output);
                Ok(())
            }
            Err(error) => {
                taken.1.get_or_insert(error);
                Err(SinkClosed)
            }
        }
    }
}

impl Sink for BatchSink {
    fn put(&self, file: File) -> Result<(), SinkClosed> {
        self.take(file, None)
    }

    fn put_copy(&self, file: File, source: &str) -> Result<(), SinkClosed> {
        self.take(file, Some(source))
    }

    fn remove(&self, path: &str) -> Result<(), SinkClosed> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner).0.gone.push(path.to_owned());
        Ok(())
    }
}
