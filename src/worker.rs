//! The worker of one site: takes reasons to publish one after another, and publishes.
//!
//! Whatever comes while a publish is under way is one publish after it. The worker decides which
//! dynamic sources are asked and what stands in for one that fails or is slow; it renders again where another
//! publisher was faster; and it tries again, later and later, what failed for reasons that may pass.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use anyhow::Context;
use bytes::Bytes;
use jiff::Timestamp;
use origin::policy::{Policies, Rules};
use origin::publish::{About, Draft, Outcome, Publisher, SourceFile};
use release::bucket::Bucket;
use release::keys::Site;
use release::record::Trigger;
use release::tree::Diff;
use release::wire::{Committed, Failure, PublishRequest, Published};
use release::{Digest, ReleaseId};
use renderer::data::{self, DataSet, Snapshot};
use renderer::schedule::{Fired, Firing, Runner, Schedule};
use renderer::{BaseUrl, Diagnostic, Handed, Limits, Options, Readers, RenderId, Renderer, Sources};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::config::{Config, Vanished};
use crate::failure::HintExt;
use crate::fetched::{Ask, BACKOFF, Fetched};
use crate::memo::{BucketBlocks, Memos};
use crate::vanished::{self, Loss};
use crate::watch::{self, Change};
use crate::{failure, render};

/// Reasons that wait while a publish is under way; more than that only say the same again.
const REASONS_MAX: usize = 1_024;
/// Renders of one publish, where other publishers are faster each time.
const ATTEMPTS_MAX: u32 = 8;

/// Why to publish.
#[derive(Debug)]
pub enum Reason {
    /// The process started.
    Start,
    /// Files were saved.
    Saved(Change),
    /// What publishes have left out since a save at this moment.
    Postponed(SystemTime),
    /// A schedule fired; the sender is told when its run has ended.
    Fired(Firing, oneshot::Sender<()>),
    /// Someone asked.
    Asked(Box<Asked>),
}

/// Someone asked to publish.
#[derive(Debug)]
pub struct Asked {
    /// How.
    request: PublishRequest,
    /// What; what the worker knows, where nothing was sent.
    sources: Option<Vec<SourceFile>>,
    answer: oneshot::Sender<Result<Published, Failure>>,
}

/// Where the sources come from when nobody sends them.
#[derive(Debug, Clone)]
pub enum From {
    /// A folder on this machine.
    Folder(PathBuf),
    /// The active release.
    Release,
}

/// What a worker is made of.
pub struct Setup {
    /// The site.
    pub site: Site,
    /// Where the sources come from.
    pub from: From,
    /// Where relative paths of dynamic sources begin.
    pub root: PathBuf,
    /// How links begin.
    pub base_url: BaseUrl,
    /// Publishes.
    pub publisher: Arc<Publisher>,
    /// Holds the record of what schedules have fired.
    pub bucket: Arc<dyn Bucket>,
    /// Told of everything that happens.
    pub tell: Arc<dyn Tell>,
    /// Bytes of rendered content that its renderer may keep.
    pub memory_bytes_max: usize,
}

/// Is told what a worker does.
#[async_trait::async_trait]
pub trait Tell: Send + Sync {
    /// A publish is over: something is live, or nothing had changed. Returns when those who serve it
    /// have it, or after a while.
    async fn published(&self, event: &Event);
    /// A publish failed; what was live before still is.
    fn failed(&self, trigger: &Trigger, error: &anyhow::Error, retry: Option<Duration>);
    /// A source failed; its last good data was used.
    fn stale(&self, problem: &str);
    /// A rollback holds back a publish that nobody asked for.
    fn held(&self, trigger: &Trigger);
}

/// A publish that is over.
#[derive(Debug, Clone)]
pub struct Event {
    /// What made it come about.
    pub trigger: Trigger,
    /// The release that is now served.
    pub release: Option<ReleaseId>,
    /// That it is committed; none where nothing had changed.
    pub committed: Option<Committed>,
    /// What differs.
    pub diff: Diff,
    /// Objects that were uploaded.
    pub uploaded: u64,
    /// Addresses of the release before that lead to nothing any more, unless the configuration allows that.
    pub vanished: Loss,
    /// When the save was, or else when the worker began.
    pub saved: SystemTime,
    /// From the save until the worker began.
    pub notice: Duration,
    /// Rendering, uploads alongside included.
    pub render: Duration,
    /// Uploads that rendering did not cover.
    pub upload: Duration,
    /// The journal entry.
    pub commit: Duration,
}

/// A way to give a worker reasons.
#[derive(Debug, Clone)]
pub struct Handle {
    reasons: mpsc::Sender<Reason>,
}

impl Handle {
    /// Gives a reason, and waits while there are too many.
    pub async fn give(&self, reason: Reason) -> anyhow::Result<()> {
        self.reasons.send(reason).await.map_err(|_| anyhow::anyhow!("the worker has stopped"))
    }

    /// Publishes as someone asks.
    pub async fn publish(
        &self,
        request: PublishRequest,
        sources: Option<Vec<SourceFile>>,
    ) -> Result<Published, Failure> {
        let stopped = || Failure { error: "the renderer is stopping".into(), hint: None };
        let (answer, answered) = oneshot::channel();
        let asked = Reason::Asked(Box::new(Asked { request, sources, answer }));
        self.give(asked).await.map_err(|_| stopped())?;
        answered.await.map_err(|_| stopped())?
    }
}

#[async_trait::async_trait]
impl origin::Render for Handle {
    async fn publish(
        &self,
        _: &Site,
        request: PublishRequest,
        sources: Option<Vec<SourceFile>>,
    ) -> Result<Published, Failure> {
        // A worker has one site, and the origin that asks it serves no other.
        Self::publish(self, request, sources).await
    }
}

/// The worker of one site.
pub struct Worker {
    setup: Setup,
    renderer: Arc<Renderer>,
    /// Where highlighted code is kept.
    blocks: Arc<BucketBlocks>,
    reasons: mpsc::Receiver<Reason>,
    handle: Handle,
    shutdown: CancellationToken,
    /// The folder as it was listed last, so that unchanged files are not read again.
    listed: Option<Sources>,
    /// When all of it is to be looked at, since some of it was last.
    unlisted: Option<tokio::time::Instant>,
    /// The look at all of it that is under way.
    looking: Option<JoinHandle<Option<Looked>>>,
    /// The folder as it was when something in it was found that the system had not told of: it may not be finished.
    doubted: Option<Sources>,
    /// What the last publish has left out, for a moment without saves.
    postponed: Option<Postponed>,
    /// Files of the bucket that were read, by digest.
    read: BTreeMap<Digest, Bytes>,
    fetched: Fetched,
    seeded: bool,
    /// What waits for the answers of sources, while saves are published.
    aside: Option<Aside>,
    /// When pages fall due or expire, by the last render.
    next_change: Option<Timestamp>,
    /// What the last render warned of, and need not be said again.
    warned: Vec<Diagnostic>,
    /// Rules of the configuration that was read last.
    rules: Rules,
    /// What the active release was made of, where this worker made it.
    known: Option<Known>,
    /// Whether the bucket was asked what other renderers know.
    recalled: bool,
    unwritten: Option<Unwritten>,
    attempt: u32,
    retry: Option<(tokio::time::Instant, Trigger)>,
    schedules: Vec<renderer::schedule::ScheduleConfig>,
    runner: Option<Runner>,
}

/// Reasons to publish that want the answers of these sources.
struct Aside {
    reasons: Vec<Reason>,
    called: BTreeSet<String>,
}

/// What a release was made of. The next publish on it hands over what differs from that, and no more.
#[derive(Clone)]
struct Known {
    /// Number of the activation, and root of its manifest.
    seq: u64,
    root: Digest,
    /// The render that has just these outputs, and the rules by which they are kept and have their fields.
    render: RenderId,
    rules: Rules,
    /// What is recorded as its sources; none where that is not known.
    recorded: Option<Recorded>,
}

/// What is recorded with a release.
#[derive(Clone, Default)]
struct Recorded {
    sources: Sources,
    /// Names of the data of sources that were asked.
    data: BTreeSet<String>,
    /// Files of the sources that are files.
    files: BTreeSet<String>,
}

/// What a memo would be of.
struct Unwritten {
    /// What was rendered last, and what came of it.
    input: renderer::Input,
    summary: renderer::Summary,
    /// Outputs that were rendered since a memo was written.
    rendered: usize,
    /// More than so many make another one worth it.
    least: usize,
}

/// Outputs that were rendered since a memo was written before another one is: writing it costs more than it spares
/// where few are.
const MEMO_RENDERED_MIN: usize = 1_000;

/// What a publish has left out: search indexes of a large site.
#[derive(Debug, Clone, Copy)]
struct Postponed {
    /// The oldest save that they lack.
    saved: SystemTime,
    /// The latest moment to publish them, and the moment at which that is to be done.
    latest: tokio::time::Instant,
    due: tokio::time::Instant,
}

impl Postponed {
    /// After another save that they lack: a while later, so that saves that come one after the other are live first.
    fn after(before: Option<Self>, saved: Option<SystemTime>) -> Self {
        let now = tokio::time::Instant::now();
        let (saved, latest) = match before {
            Some(before) => (before.saved, before.latest),
            None => (saved.unwrap_or_else(SystemTime::now), now + POSTPONED_MAX),
        };
        Self { saved, latest, due: latest.min(now + POSTPONED) }
    }
}

/// How long after a save search indexes that were left out are published, and how long at most where saves go on.
const POSTPONED: Duration = Duration::from_millis(300);
const POSTPONED_MAX: Duration = Duration::from_secs(1);

/// How long after a save the whole folder is looked at.
const LISTED_AFTER: Duration = Duration::from_secs(1);

/// Bytes that the renderer of a worker may keep of rendered content.
pub const RENDER_MEMORY_BYTES_MAX: usize = 256 << 20;

impl Worker {
    /// A worker, and a way to give it reasons.
    pub fn new(setup: Setup, shutdown: CancellationToken) -> (Self, Handle) {
        let (sender, reasons) = mpsc::channel(REASONS_MAX);
        let handle = Handle { reasons: sender };
        let fetched = Fetched::new(setup.root.clone());
        let blocks = Arc::new(BucketBlocks::new(Arc::clone(&setup.bucket), setup.site.clone()));
        let renderer = Renderer::new(setup.memory_bytes_max).with_blocks(blocks.clone());
        let worker = Self {
            renderer: Arc::new(renderer),
            blocks,
            setup,
            reasons,
            handle: handle.clone(),
            shutdown,
            listed: None,
            unlisted: None,
            looking: None,
            doubted: None,
            postponed: None,
            read: BTreeMap::new(),
            fetched,
            seeded: false,
            aside: None,
            next_change: None,
            warned: Vec::new(),
            rules: Rules::default(),
            known: None,
            recalled: false,
            unwritten: None,
            attempt: 0,
            retry: None,
            schedules: Vec::new(),
            runner: None,
        };
        (worker, handle)
    }

    /// Publishes until it is told to stop.
    pub async fn run(mut self) {
        loop {
            // The last answer may have come while something else was published.
            if let Some(Aside { reasons, called }) =
                self.aside.take_if(|aside| !self.fetched.is_asking(&aside.called))
            {
                self.serve(Batch::of(reasons, None).with_answers(called)).await;
                continue;
            }
            let retry = self.retry.as_ref().map(|(at, _)| *at);
            let first = tokio::select! {
                biased;
                () = self.shutdown.cancelled() => break,
                reason = self.reasons.recv() => reason,
                () = sleep_until(retry) => None,
                () = sleep_until(self.postponed.map(|postponed| postponed.due)) => {
                    self.postponed.take().map(|postponed| Reason::Postponed(postponed.saved))
                }
                () = sleep_until(self.unlisted) => {
                    self.look_at_all();
                    continue;
                }
                looked = ended(&mut self.looking) => match self.looked(looked) {
                    Some(reason) => Some(reason),
                    None => continue,
                },
                (is_new, problem) = self.fetched.next() => {
                    self.answered(is_new, problem).await;
                    continue;
                }
            };
            let mut reasons: Vec<Reason> = first.into_iter().collect();
            while let Ok(more) = self.reasons.try_recv() {
                reasons.push(more);
            }
            let retry = self.retry.take().map(|(_, trigger)| trigger);
            self.serve(Batch::of(reasons, retry)).await;
        }
        if let Some(Unwritten { summary, .. }) = &self.unwritten {
            self.write_memo(summary.outputs / 20).await;
        }
        self.aside = None;
        if let Some(runner) = self.runner.take() {
            // Runs in flight wait for an answer that no one gives any more.
            self.reasons.close();
            while self.reasons.try_recv().is_ok() {}
            runner.stop().await;
        }
    }

    /// Begins to list all of the folder, which must have happened some time after a listing of what the system said had
    /// changed: it does not tell of everything. A save does not wait for it.
    fn look_at_all(&mut self) {
        self.unlisted = None;
        let (Some(listed), doubted) = (self.listed.clone(), self.doubted.take()) else { return };
        self.looking = Some(tokio::task::spawn_blocking(move || {
            let again = doubted.as_ref().unwrap_or(&listed).from_folder_again(&Limits::default()).ok()?;
            let differs = |before: &Sources| {
                let mut changes = again.changes_since(before).into_iter();
                changes.any(|(path, _)| is_published(path) && !watch::is_of_database(path))
            };
            let stays = doubted.is_some_and(|doubted| !differs(&doubted));
            differs(&listed).then_some((again, stays))
        }));
    }

    /// A look at all of the folder has ended. A reason to publish where something differs, and has stayed as it is since it
    /// was found: a file may be half written. What is wrong with the folder is said by the publish after the next save.
    fn looked(&mut self, looked: Option<Looked>) -> Option<Reason> {
        let (again, stays) = looked?;
        if !stays {
            self.doubted = Some(again);
            self.unlisted = Some(tokio::time::Instant::now() + LISTED_AFTER);
            return None;
        }
        self.listed = Some(again);
        Some(Reason::Saved(Change { saved: SystemTime::now(), paths: Some(BTreeSet::new()) }))
    }

    /// A source has answered or failed while nothing was published. Publishes what is new, unless something waits for it.
    async fn answered(&mut self, is_new: bool, problem: Option<String>) {
        if self.aside.as_ref().is_some_and(|aside| !self.fetched.is_asking(&aside.called)) {
            // The problem is told with what waits for the answer.
            return;
        }
        if let Some(problem) = problem {
            self.setup.tell.stale(&problem);
            self.set_deadline(self.next_change);
        }
        if is_new && self.aside.is_none() {
            self.serve(Batch::of(Vec::new(), Some(Trigger::Due)).with_answers(BTreeSet::new())).await;
        }
    }

    /// One publish for all of these reasons.
    async fn serve(&mut self, mut batch: Batch) {
        let mut asked = std::mem::take(&mut batch.asked).into_iter();
        let mut slow = None;
        if asked.len() == 0 {
            // What failed was told, and is tried again where that makes sense.
            slow = self.publish(&batch, &PublishRequest::default(), None).await.err();
        }
        while slow.is_none()
            && let Some(Asked { request, sources, answer }) = asked.next()
        {
            match self.publish(&batch, &request, sources.as_deref()).await {
                // Whoever asked may have gone.
                Ok(result) => drop(answer.send(result)),
                Err(called) => {
                    let rest = std::iter::once(Asked { request, sources, answer }).chain(asked);
                    asked = rest.collect::<Vec<_>>().into_iter();
                    slow = Some(called);
                }
            }
        }
        if let Some(called) = slow {
            let aside =
                self.aside.get_or_insert_with(|| Aside { reasons: Vec::new(), called: BTreeSet::new() });
            aside.called.extend(called);
            aside.reasons.extend(asked.map(|asked| Reason::Asked(Box::new(asked))));
            let of_schedule = |(firing, _): &mut (Firing, _)| is_of_schedule(firing);
            let fired = batch.fired.extract_if(.., of_schedule);
            aside.reasons.extend(fired.map(|(firing, done)| Reason::Fired(firing, done)));
            let Some(trigger) = batch.hasty.take() else { return };
            batch.trigger = trigger;
            batch.ask = Ask::NONE;
            // Nothing that waits is left in it.
            let _told = self.publish(&batch, &PublishRequest::default(), None).await;
        }
        if self.retry.is_none() {
            self.attempt = 0;
        }
        for (firing, done) in batch.fired {
            self.record(&firing).await;
            let _gone = done.send(());
        }
        // Nobody waits for this: whoever asked has the answer.
        if let Some(Unwritten { least, .. }) = self.unwritten {
            self.write_memo(least).await;
        }
    }

    /// Publishes, tells of it, and plans the next try where that makes sense. The error are the sources that are too slow
    /// to be waited for.
    async fn publish(
        &mut self,
        batch: &Batch,
        request: &PublishRequest,
        sent: Option<&[SourceFile]>,
    ) -> Result<Result<Published, Failure>, BTreeSet<String>> {
        let trigger = batch.trigger.clone();
        Ok(match self.try_publish(batch, request, sent).await {
            Ok((published, stale)) => {
                for problem in &stale {
                    self.setup.tell.stale(problem);
                }
                Ok(Published { stale_sources: stale, ..published })
            }
            Err(Stop::Slow(called)) => return Err(called),
            Err(Stop::Held(failure)) => {
                self.setup.tell.held(&trigger);
                Err(failure)
            }
            Err(stop) => {
                let (error, passing) = stop.into_error();
                let retry = passing.then(|| self.plan_retry(&trigger));
                metrics::counter!("bakehouse_publish_failures_total", "trigger" => trigger_label(&trigger))
                    .increment(1);
                self.setup.tell.failed(&trigger, &error, retry);
                let hint = failure::hint_of(&error).map(str::to_owned);
                Err(Failure { error: format!("{error:#}"), hint })
            }
        })
    }

    fn plan_retry(&mut self, trigger: &Trigger) -> Duration {
        let wait = BACKOFF.next(self.attempt, rand::random());
        self.attempt = self.attempt.saturating_add(1);
        self.retry = Some((tokio::time::Instant::now() + wait, trigger.clone()));
        wait
    }
}

/// The folder, in which something differs that the system had not told of, and whether that has stayed as it is.
type Looked = (Sources, bool);

/// What work says when it has ended, once; nothing where it ended badly.
async fn ended<T>(work: &mut Option<JoinHandle<Option<T>>>) -> Option<T> {
    let Some(under_way) = work else { return std::future::pending().await };
    let result = under_way.await;
    *work = None;
    result.ok().flatten()
}

async fn sleep_until(at: Option<tokio::time::Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

fn trigger_label(trigger: &Trigger) -> &'static str {
    match trigger {
        Trigger::Manual => "manual",
        Trigger::Watch => "watch",
        Trigger::Start => "start",
        Trigger::Schedule(_) => "schedule",
        Trigger::Due => "due",
    }
}

/// Why a publish did not come about.
enum Stop {
    /// A rollback holds it back.
    Held(Failure),
    /// Another publish was faster.
    Outdated,
    /// These sources have not answered yet, and nothing in the batch goes without them.
    Slow(BTreeSet<String>),
    /// Something failed; `passing` where it may go by itself.
    Failed { error: anyhow::Error, passing: bool },
}

/// Reasons that have come together.
struct Batch {
    trigger: Trigger,
    /// When the newest save was.
    saved: Option<SystemTime>,
    began: SystemTime,
    /// Whether nothing is to be left for later.
    whole: bool,
    /// What of the folder may have changed; none where that may be anything.
    paths: Option<BTreeSet<String>>,
    /// Which sources to ask: all, some, or none but those that failed before.
    ask: Ask,
    /// Sources that were asked for it already.
    called: BTreeSet<String>,
    /// Why it would come about without the reasons that wait for sources: schedules and people who ask.
    hasty: Option<Trigger>,
    fired: Vec<(Firing, oneshot::Sender<()>)>,
    asked: Vec<Asked>,
}

impl Batch {
    fn of(reasons: Vec<Reason>, retry: Option<Trigger>) -> Self {
        let of_save = |reason: &Reason| matches!(reason, Reason::Saved(_) | Reason::Postponed(_));
        let only_saves = retry.is_none() && reasons.iter().all(of_save);
        let mut batch = Self {
            hasty: retry.clone().filter(|trigger| !is_patient(trigger)),
            trigger: retry.unwrap_or(Trigger::Watch),
            saved: None,
            whole: false,
            paths: only_saves.then(BTreeSet::new),
            began: SystemTime::now(),
            ask: Ask::NONE,
            called: BTreeSet::new(),
            fired: Vec::new(),
            asked: Vec::new(),
        };
        let (mut rank, mut hasty_rank) = (0, 0);
        for reason in reasons {
            let (trigger, weight) = match reason {
                Reason::Saved(change) => {
                    batch.saved = batch.saved.max(Some(change.saved));
                    batch.paths = batch.paths.zip(change.paths).map(|(mut all, more)| {
                        all.extend(more);
                        all
                    });
                    (Trigger::Watch, 1)
                }
                Reason::Postponed(saved) => {
                    batch.saved = batch.saved.max(Some(saved));
                    batch.whole = true;
                    (Trigger::Watch, 1)
                }
                Reason::Fired(firing, done) => {
                    let trigger = match &firing.reason {
                        renderer::schedule::Reason::Schedule { name, sources, .. } => {
                            batch.ask.add(sources.clone());
                            (Trigger::Schedule(name.clone()), 3)
                        }
                        // Sources whose next try is due are asked whatever the reason.
                        _ => (Trigger::Due, 2),
                    };
                    batch.fired.push((firing, done));
                    trigger
                }
                Reason::Start => {
                    batch.ask = Ask::All;
                    (Trigger::Start, 4)
                }
                Reason::Asked(asked) => {
                    batch.ask = Ask::All;
                    batch.asked.push(*asked);
                    (Trigger::Manual, 5)
                }
            };
            if !is_patient(&trigger) && weight > hasty_rank {
                hasty_rank = weight;
                batch.hasty = Some(trigger.clone());
            }
            if weight > rank {
                rank = weight;
                batch.trigger = trigger;
            }
        }
        batch
    }

    /// Asks no sources but those that cannot be gone without: these have answered.
    fn with_answers(self, called: BTreeSet<String>) -> Self {
        Self { ask: Ask::NONE, called, ..self }
    }
}

fn is_of_schedule(firing: &Firing) -> bool {
    matches!(firing.reason, renderer::schedule::Reason::Schedule { .. })
}

/// Whether what comes about by this waits for sources that are slow.
fn is_patient(trigger: &Trigger) -> bool {
    matches!(trigger, Trigger::Schedule(_) | Trigger::Manual)
}

impl Worker {
    /// Renders and publishes, again where another publisher was faster. The texts are problems of
    /// sources whose last good data stood in.
    async fn try_publish(
        &mut self,
        batch: &Batch,
        request: &PublishRequest,
        sent: Option<&[SourceFile]>,
    ) -> Result<(Published, Vec<String>), Stop> {
        for _ in 0..ATTEMPTS_MAX {
            match self.attempt(batch, request, sent).await {
                Err(Stop::Outdated) => {
                    tracing::info!(site = %self.setup.site, "another publish was faster; rendering again on top of it");
                }
                result => return result,
            }
        }
        Err(Stop::passing(anyhow::anyhow!("other publishers were faster {ATTEMPTS_MAX} times in a row")))
    }

    async fn attempt(
        &mut self,
        batch: &Batch,
        request: &PublishRequest,
        sent: Option<&[SourceFile]>,
    ) -> Result<(Published, Vec<String>), Stop> {
        let began = Instant::now();
        let notice = batch.saved.map_or(Duration::ZERO, |at| at.elapsed().unwrap_or_default());
        let publisher = Arc::clone(&self.setup.publisher);
        let policies = Arc::new(Policies::new(&self.rules).map_err(Stop::of)?);
        let draft = if request.plan {
            publisher.begin_plan(policies).await
        } else {
            publisher.begin(batch.trigger.clone(), policies).await
        };
        let mut draft = draft.map_err(Stop::of)?;
        let (config, sources) = self.sources(sent, batch.paths.as_ref()).await?;
        let rules = config.rules();
        if rules != self.rules {
            // The draft was begun with other rules than these files have.
            self.rules = rules;
            return Err(Stop::Outdated);
        }
        if !self.seeded {
            self.seed(&config).await?;
        }
        self.follow_schedules(&config).await.map_err(Stop::lasting)?;
        let answers = self.answers(&config, batch).await;
        self.set_deadline(None);
        let stale = answers?;
        let data = self.fetched.data_of(&config);
        let now = draft.now(Timestamp::now());
        let (base, base_root) = (draft.base_seq(), draft.base_root());
        let known = self.base_known(&draft).await?;
        let recording = Recorded {
            sources: sources.clone(),
            data: data.iter().map(|(name, _)| name.to_owned()).collect(),
            files: files_of(&config),
        };
        let input = self.input(now, &config, &sources, data)?;
        let soon = batch.trigger == Trigger::Watch && !batch.whole;
        let summary = self.render(&draft, &input, known.as_ref(), &recording, soon).await;
        self.known.clone_from(&known);
        let summary = summary?;
        for warning in summary.warnings.iter().filter(|warning| !self.warned.contains(warning)) {
            tracing::warn!("{}", warning.to_string().trim_start_matches("error: "));
        }
        self.warned.clone_from(&summary.warnings);
        self.next_change = summary.next_change;
        self.set_deadline(self.next_change);
        self.postponed = summary.postponed.then(|| Postponed::after(self.postponed.take(), batch.saved));
        let rendered = began.elapsed();
        let about = About {
            created: now,
            author: request.author.clone().unwrap_or_else(author),
            message: request.message.clone().unwrap_or_default(),
            hosts: config.hosts.clone(),
            pages: (summary.pages + summary.sections) as u64,
            renderer: format!("bake {}", env!("CARGO_PKG_VERSION")),
            next_change: summary.next_change,
        };
        let vanished = match batch.trigger {
            // What a date makes vanish was to.
            Trigger::Due => Loss::default(),
            _ => vanished::look(&mut draft, &publisher, &config, &sources).await.map_err(Stop::of)?,
        };
        if config.publish.vanished == Vanished::Fail && !request.plan {
            vanished::refuse(&vanished).map_err(Stop::lasting)?;
        }
        let warnings = summary.warnings.iter().map(|w| w.as_warning().to_string());
        let warnings = warnings.chain(vanished.warnings()).collect();
        let mut published = Published {
            release: None,
            committed: None,
            diff: Diff::default(),
            uploaded: 0,
            stale_sources: Vec::new(),
            warnings,
            edges: Vec::new(),
        };
        if request.plan {
            let plan = draft.plan(about).await.map_err(Stop::of)?;
            (published.release, published.diff, published.uploaded) = (plan.active, plan.diff, plan.uploads);
            return Ok((published, stale));
        }
        let mut event = Event {
            trigger: batch.trigger.clone(),
            release: None,
            committed: None,
            diff: Diff::default(),
            uploaded: 0,
            vanished,
            saved: batch.saved.unwrap_or(batch.began),
            notice,
            render: rendered,
            upload: Duration::ZERO,
            commit: Duration::ZERO,
        };
        match draft.finish(about).await.map_err(Stop::of)? {
            Outcome::Unchanged(release) => {
                // What is recorded as the release's sources has stayed what it was.
                let recorded = known.and_then(|k| k.recorded);
                let base = base.zip(base_root);
                self.known = base.map(|(seq, root)| self.knows(seq, root, summary.render, recorded));
                event.release = Some(release.clone());
                published.release = Some(release);
            }
            Outcome::Published(done) => {
                let (committed, root) = (&done.committed, done.root);
                self.known = Some(self.knows(committed.seq, root, summary.render, Some(recording)));
                event.release = Some(done.release.clone());
                event.committed = Some(done.committed.clone());
                event.diff = done.diff.clone();
                event.uploaded = done.uploaded;
                (event.upload, event.commit) = (done.upload, done.commit);
                published.release = Some(done.release);
                published.committed = Some(done.committed);
                published.diff = done.diff;
                published.uploaded = done.uploaded;
            }
        }
        self.setup.tell.published(&event).await;
        self.remember(input, summary);
        Ok((published, stale))
    }

    /// Asks the sources that a publish calls for. Waits for all where it is patient, a moment otherwise, but always for
    /// those without which there is no site. What is wrong with them.
    async fn answers(&mut self, config: &Config, batch: &Batch) -> Result<Vec<String>, Stop> {
        let asking = self.fetched.refresh(config, &batch.ask);
        let Some(mut called) = self.shutdown.run_until_cancelled(asking).await else {
            return Err(Stop::passing(anyhow::anyhow!("stopped while sources were asked")));
        };
        if is_patient(&batch.trigger) && self.fetched.is_asking(&called) {
            return Err(Stop::Slow(called));
        }
        called.extend(batch.called.iter().cloned());
        self.fetched.problems(config, &called).map_err(Stop::passing)
    }

    fn knows(&self, seq: u64, root: Digest, render: RenderId, recorded: Option<Recorded>) -> Known {
        Known { seq, root, render, rules: self.rules.clone(), recorded }
    }

    /// What is known of the draft's base: by this worker, or else by a renderer that was here before. Where others
    /// have published since, what they changed is rendered again.
    async fn base_known(&mut self, draft: &Draft) -> Result<Option<Known>, Stop> {
        let Some((seq, root)) = draft.base_seq().zip(draft.base_root()) else { return Ok(None) };
        if !std::mem::replace(&mut self.recalled, true) && self.known.is_none() {
            self.recall(seq).await;
        }
        let Some(known) = self.known.take() else { return Ok(None) };
        if known.seq == seq {
            return Ok(Some(known));
        }
        let differing = draft.differing(known.root).await.map_err(Stop::of)?;
        self.renderer.distrust(known.render, differing.iter().map(String::as_str));
        Ok(Some(Known { seq, root, recorded: None, ..known }))
    }

    /// Takes over what another renderer knew of release `seq`, or of one before it.
    async fn recall(&mut self, seq: u64) {
        let memos = Memos { bucket: &self.setup.bucket, site: &self.setup.site };
        match memos.load(seq, &self.rules, self.setup.memory_bytes_max).await {
            Ok(Some(memo)) => {
                self.renderer = Arc::new(memo.renderer.with_blocks(self.blocks.clone()));
                self.known = Some(self.knows(memo.seq, memo.root, memo.render, None));
            }
            Ok(None) => {}
            Err(error) => {
                tracing::warn!(%error, "what other renderers know cannot be read; everything is rendered")
            }
        }
    }

    /// Notes what was rendered, for the next memo.
    fn remember(&mut self, input: renderer::Input, summary: renderer::Summary) {
        let first = self.unwritten.is_none() && summary.handed == Handed::All;
        let rendered = self.unwritten.take().map_or(0, |before| before.rendered) + summary.rendered;
        let least = if first { 0 } else { MEMO_RENDERED_MIN.max(summary.outputs / 4) };
        self.unwritten = Some(Unwritten { input, summary, rendered, least });
    }

    /// Writes what the renderer knows of the active release to the bucket, if more than `least` outputs were rendered
    /// since that was done last.
    async fn write_memo(&mut self, least: usize) {
        let (Some(unwritten), Some(known)) = (&mut self.unwritten, &self.known) else { return };
        if unwritten.rendered <= least || known.render != unwritten.summary.render {
            return;
        }
        unwritten.rendered = 0;
        let (input, summary) = (unwritten.input.clone(), unwritten.summary.clone());
        let renderer = Arc::clone(&self.renderer);
        let keep = tokio::task::spawn_blocking(move || renderer.keep_blocks());
        if let Err(error) = keep.await.unwrap_or_else(|ended| Err(io::Error::other(ended))) {
            tracing::warn!(%error, "highlighted code was not kept; the next one to start highlights it again");
        }
        let renderer = Arc::clone(&self.renderer);
        let write =
            move |out: &mut (dyn Write + Send)| renderer.write_memo(&input, &summary, Readers::All, out);
        let memos = Memos { bucket: &self.setup.bucket, site: &self.setup.site };
        if let Err(error) = memos.store(known.seq, known.root, &known.rules, write).await {
            tracing::warn!(%error, "what the renderer knows was not kept; the next one to start renders everything");
        }
    }

    /// Fires when a page falls due or expires, or a failed source is to be asked again.
    fn set_deadline(&self, next_change: Option<Timestamp>) {
        if let Some(runner) = &self.runner {
            runner.set_deadline(next_change.into_iter().chain(self.fetched.next_try()).min());
        }
    }

    /// Takes over the last good data of the active release, once.
    async fn seed(&mut self, config: &Config) -> Result<(), Stop> {
        if !config.source.is_empty() {
            let recorded = self.setup.publisher.data(DATA_PREFIX).await.map_err(Stop::of)?;
            for file in recorded {
                let name = file.path.strip_prefix(DATA_PREFIX).and_then(|n| n.strip_suffix(".json"));
                let Some(name) = name else { continue };
                match Snapshot::from_bytes(name, &file.bytes) {
                    Ok(snapshot) => self.fetched.seed(name, snapshot),
                    Err(error) => tracing::warn!(%error, "recorded data is not used"),
                }
            }
        }
        self.seeded = true;
        Ok(())
    }

    /// The files to render and their configuration; where `changed` is known, nothing else of a folder is looked at.
    async fn sources(
        &mut self,
        sent: Option<&[SourceFile]>,
        changed: Option<&BTreeSet<String>>,
    ) -> Result<(Config, Sources), Stop> {
        let sources = match (sent, &self.setup.from) {
            (Some(files), _) => Sources::from_files(files.iter().map(|f| (f.path.clone(), f.bytes.clone()))),
            (None, From::Folder(root)) => {
                // Listing has no bound that the configuration could change.
                let limits = Limits::default();
                let (root, listed, known) = (root.clone(), self.listed.take(), changed.cloned());
                let list = move || {
                    let Some(listed) = listed else { return (Sources::from_folder(&root, &limits), true) };
                    match known.and_then(|changed| listed.look_again(&changed, &limits)) {
                        Some(sources) => (sources, false),
                        None => (listed.from_folder_again(&limits), true),
                    }
                };
                let (sources, all) = blocking(list).await?;
                let sources = render::content(sources).map_err(Stop::lasting)?;
                self.listed = Some(sources.clone());
                let looked = !all && changed.is_some_and(|changed| !changed.is_empty());
                self.unlisted = looked.then(|| tokio::time::Instant::now() + LISTED_AFTER);
                // A look that is under way began before.
                (self.looking, self.doubted) = (None, None);
                sources
            }
            (None, From::Release) => self.released().await?,
        };
        let config = render::config_of(&sources).map_err(Stop::lasting)?;
        Ok((config, sources))
    }

    /// The files of the active release; each is read once while it stays the same.
    async fn released(&mut self) -> Result<Sources, Stop> {
        let files = self.setup.publisher.sources(&self.read).await.map_err(Stop::of)?;
        let Some(files) = files else {
            let error = anyhow::anyhow!("site `{}` has no release to take sources from yet", self.setup.site);
            return Err(Stop::passing(error));
        };
        self.read = files.iter().map(|f| (Digest::of(&f.bytes), f.bytes.clone())).collect();
        Ok(Sources::from_files(files.into_iter().map(|f| (f.path, f.bytes))))
    }

    /// All that a render reads.
    fn input(
        &self,
        now: Timestamp,
        config: &Config,
        sources: &Sources,
        data: DataSet,
    ) -> Result<renderer::Input, Stop> {
        let options = Options { base_url: self.setup.base_url.clone(), ..render::options(config) };
        render::input(sources.clone(), config, data, now, options).map_err(Stop::lasting)
    }

    /// Renders into the draft, and records what was rendered from.
    async fn render(
        &self,
        draft: &Draft,
        input: &renderer::Input,
        known: Option<&Known>,
        recording: &Recorded,
        soon: bool,
    ) -> Result<renderer::Summary, Stop> {
        let (input, renderer) = (input.clone(), Arc::clone(&self.renderer));
        let sink = DraftSink { sink: draft.sink(), refused: std::sync::Mutex::default() };
        let since = known.filter(|k| k.rules == self.rules).map(|k| k.render);
        let recorded = known.and_then(|k| k.recorded.clone());
        let keeps_sources = recorded.is_some();
        let recording = recording.clone();
        let work = move || {
            let result = match soon {
                true => renderer.render_soon(&input, since, &sink),
                false => renderer.render(&input, since, &sink),
            };
            // A draft that takes no more files knows better why than the renderer does.
            sink.refused()?;
            let summary = render::content(result).map_err(Stop::lasting)?;
            hand_over(&sink.sink, &input, &recording, recorded.unwrap_or_default())?;
            Ok(summary)
        };
        let summary = blocking(work).await??;
        if summary.handed == Handed::Changes {
            draft.keep_other_files().map_err(Stop::of)?;
        }
        if keeps_sources {
            draft.keep_other_sources().map_err(Stop::of)?;
        }
        metrics::counter!("bakehouse_outputs_rendered_total").increment(summary.rendered as u64);
        metrics::counter!("bakehouse_code_blocks_highlighted_total").increment(summary.highlighted as u64);
        let renderer::Summary { rendered, outputs, highlighted, .. } = summary;
        tracing::info!(rendered, outputs, highlighted, "rendered");
        Ok(summary)
    }

    /// Starts the schedules, or starts them anew where their configuration has changed.
    async fn follow_schedules(&mut self, config: &Config) -> anyhow::Result<()> {
        if self.runner.is_some() && self.schedules == config.schedule {
            return Ok(());
        }
        let names: Vec<&str> = config.source.iter().map(|s| s.name.as_str()).collect();
        let schedules = Schedule::all(&config.schedule, names)
            .map_err(|e| (e.hint(), e))
            .or_else(|(hint, e)| Err(e).maybe_hint(hint).context(crate::config::FILE))?;
        let mut last_fired = BTreeMap::new();
        for schedule in &schedules {
            let name = schedule.name();
            let key = self.setup.site.schedule(name);
            let Some(object) = self.setup.bucket.get(&key, FIRED_BYTES_MAX).await? else { continue };
            match Fired::from_bytes(name, &object.bytes) {
                Ok(fired) => {
                    last_fired.insert(name.to_owned(), fired.due);
                }
                Err(error) => tracing::warn!(%error, "the record of a schedule is not used"),
            }
        }
        let handle = self.handle.clone();
        let fire = move |firing: Firing| {
            let handle = handle.clone();
            async move {
                let (done, ended) = oneshot::channel();
                if handle.give(Reason::Fired(firing, done)).await.is_ok() {
                    // The sender is dropped where the worker stops: then the run has ended too.
                    drop(ended.await);
                }
            }
        };
        let runner = Runner::start(schedules, &last_fired, fire, &self.shutdown).await?;
        if let Some(before) = self.runner.replace(runner) {
            // Its runs end with this very publish, so it cannot be waited for here.
            tokio::spawn(before.stop());
        }
        self.schedules.clone_from(&config.schedule);
        Ok(())
    }

    /// Records that a schedule has fired, so that what is missed while nothing runs is known.
    async fn record(&self, firing: &Firing) {
        let renderer::schedule::Reason::Schedule { name, .. } = &firing.reason else { return };
        let fired = Fired { due: firing.due, done: Timestamp::now() };
        let key = self.setup.site.schedule(name);
        if let Err(error) = self.setup.bucket.put(&key, fired.to_bytes().into()).await {
            tracing::warn!(%error, schedule = name, "the firing is not recorded; it may be repeated at the next start");
        }
    }
}

/// Bytes of the largest record of a schedule's firing.
const FIRED_BYTES_MAX: u64 = 4 << 10;
/// Where snapshots of data lie among a release's sources.
const DATA_PREFIX: &str = ".bakehouse/data/";

impl Stop {
    fn of(error: origin::Error) -> Self {
        match &error {
            origin::Error::Held { .. } => Self::Held(Failure::from(&error)),
            origin::Error::Outdated { .. } => Self::Outdated,
            _ => {
                let (hint, passing) = (error.hint(), error.is_transient());
                Self::failed(error, hint, passing)
            }
        }
    }

    fn failed(error: impl Into<anyhow::Error>, hint: Option<String>, passing: bool) -> Self {
        Self::Failed { error: failure::hinted(error, hint), passing }
    }

    fn into_error(self) -> (anyhow::Error, bool) {
        match self {
            Self::Failed { error, passing } => (error, passing),
            Self::Held(failure) => (anyhow::anyhow!(failure.error), false),
            Self::Outdated => (anyhow::anyhow!("another publish was faster"), true),
            Self::Slow(called) => (anyhow::anyhow!("sources have not answered yet: {called:?}"), true),
        }
    }

    fn passing(error: impl Into<anyhow::Error>) -> Self {
        Self::Failed { error: error.into(), passing: true }
    }

    fn lasting(error: impl Into<anyhow::Error>) -> Self {
        Self::Failed { error: error.into(), passing: false }
    }
}

/// Runs what keeps a processor busy where it holds nobody up.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Stop> {
    let ended = tokio::task::spawn_blocking(work).await;
    ended.map_err(|e| Stop::lasting(anyhow::anyhow!("the render ended badly: {e}")))
}

/// Hands over what was rendered from: all of it, or what differs from what is recorded already.
fn hand_over(
    sink: &origin::publish::Sink,
    input: &renderer::Input,
    recording: &Recorded,
    before: Recorded,
) -> Result<(), Stop> {
    let Recorded { sources, data, files } = recording;
    let changes = sources.changes_since(&before.sources);
    let changes = changes.into_iter().filter(|(path, _)| is_published(path));
    // Files elsewhere are recorded because the configuration names them, which may be new.
    let elsewhere = files.union(&before.files).filter(|path| !is_published(path));
    let elsewhere = elsewhere.map(|path| {
        let file = sources.get(path).filter(|_| files.contains(path));
        (path.as_str(), file)
    });
    for (path, file) in changes.chain(elsewhere) {
        let Some(file) = file else {
            sink.remove_source(path).map_err(Stop::of)?;
            continue;
        };
        let failed = |e| Stop::passing(anyhow::anyhow!("`{path}` cannot be read: {e}"));
        let digest = file.digest().map_err(failed)?;
        let (sources, name) = (sources.clone(), path.to_owned());
        let read = move || sources.get(&name).ok_or(std::io::ErrorKind::NotFound)?.read();
        sink.source_with(path, digest.into(), read).map_err(Stop::of)?;
    }
    for (name, snapshot) in input.data.iter().filter(|(name, _)| data.contains(*name)) {
        sink.data(&data::record_path(name), snapshot.to_bytes().into()).map_err(Stop::of)?;
    }
    for name in before.data.difference(data) {
        sink.remove_source(&data::record_path(name)).map_err(Stop::of)?;
    }
    Ok(())
}

/// Hands rendered files to a draft, and keeps the reason why it took one no more.
struct DraftSink {
    sink: origin::publish::Sink,
    refused: std::sync::Mutex<Option<origin::Error>>,
}

impl DraftSink {
    fn note(&self, result: Result<(), origin::Error>) -> Result<(), renderer::SinkClosed> {
        result.map_err(|error| {
            self.refused.lock().unwrap_or_else(std::sync::PoisonError::into_inner).get_or_insert(error);
            renderer::SinkClosed
        })
    }

    fn refused(&self) -> Result<(), Stop> {
        let mut refused = self.refused.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        refused.take().map_or(Ok(()), |error| Err(Stop::of(error)))
    }
}

impl renderer::Sink for DraftSink {
    fn put(&self, file: release::File) -> Result<(), renderer::SinkClosed> {
        self.note(self.sink.file(file))
    }

    fn remove(&self, path: &str) -> Result<(), renderer::SinkClosed> {
        self.note(self.sink.remove(path))
    }
}

/// The files that a release is rendered from, and is recorded with: what lies in a site's own folders,
/// the configuration beside them, and the files that it names as sources of data.
pub fn published_sources<'a>(
    sources: &'a Sources,
    config: &Config,
) -> impl Iterator<Item = (&'a str, &'a renderer::SourceFile)> {
    let files = files_of(config);
    sources.iter().filter(move |(path, _)| is_published(path) || files.contains(*path))
}

/// The files that sources of data are.
fn files_of(config: &Config) -> BTreeSet<String> {
    config.source.iter().filter_map(|source| Some(source.file()?.path.clone())).collect()
}

fn is_published(path: &str) -> bool {
    const FOLDERS: [&str; 8] =
        ["content", "templates", "static", "sass", "themes", "data", "i18n", "schemas"];
    match path.split_once('/') {
        Some((folder, _)) => FOLDERS.contains(&folder),
        None => path.ends_with(".toml") && !path.starts_with("Cargo"),
    }
}

/// Who publishes: whom `BAKE_AUTHOR` names, or else the user of this process (`USER`, `LOGNAME`).
pub fn author() -> String {
    let name = ["BAKE_AUTHOR", "USER", "LOGNAME"].iter().find_map(|v| std::env::var(v).ok());
    name.filter(|n| !n.is_empty()).unwrap_or_else(|| "unknown".into())
}
