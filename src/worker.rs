//! The worker of one site: takes reasons to publish one after another, and publishes.
//!
//! Whatever comes while a publish is under way is one publish after it. The worker decides which
//! dynamic sources are asked and what stands in for one that fails or is slow; it renders again where another
//! publisher was faster; and it tries again, later and later, what failed for reasons that may pass.

mod attempt;
mod folder;
mod known;
mod reason;
mod schedules;
mod sink;
mod stop;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use jiff::Timestamp;
use origin::policy::Rules;
use origin::publish::{Publisher, SourceFile};
use release::bucket::Bucket;
use release::keys::Site;
use release::record::Trigger;
use release::tree::Diff;
use release::wire::{Committed, Failure, PublishRequest, Published};
use release::{Digest, ReleaseId};
use renderer::schedule::{Firing, Runner};
use renderer::{BaseUrl, Diagnostic, Renderer};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use self::folder::Folder;
use self::known::{Known, Unwritten};
pub use self::reason::Reason;
use self::reason::{Asked, Batch, Postponed, is_of_schedule, trigger_label};
pub use self::sink::published_sources;
use self::stop::Stop;
use crate::failure;
use crate::fetched::{Ask, BACKOFF, Fetched};
use crate::memo::{Beside, BucketBlocks};
use crate::vanished::Loss;
use crate::watch::Change;

/// Reasons that wait while a publish is under way; more than that only say the same again.
const REASONS_MAX: usize = 1_024;

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
    /// Where what it knows is kept too, beside the bucket.
    pub beside: Option<Beside>,
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
    folder: Folder,
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
    /// When that may be written: some time after the last publish.
    memo_due: Option<tokio::time::Instant>,
    /// Under way while the renderer is made ready for the next save.
    ready: Option<JoinHandle<()>>,
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

/// How long nothing must have been published before what the renderer knows is kept for others: while saves come one after the
/// other, that is not begun.
const MEMO_AFTER: Duration = Duration::from_secs(1);

/// Bytes that the renderer of a worker may keep of rendered content and files: that of lists and feeds, which a save asks for
/// again. After an edit of a template, to compress what is new takes longer by far than to render its content.
pub const RENDER_MEMORY_BYTES_MAX: usize = 64 << 20;

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
            folder: Folder::default(),
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
            memo_due: None,
            ready: None,
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
                () = sleep_until(self.memo_due) => {
                    self.memo_due = None;
                    if let Some(Unwritten { least, .. }) = self.unwritten {
                        self.write_memo(least, true).await;
                    }
                    continue;
                }
                () = sleep_until(self.postponed.map(|postponed| postponed.due)) => {
                    self.postponed.take().map(|postponed| Reason::Postponed(postponed.saved))
                }
                () = self.folder.differs() => {
                    Some(Reason::Saved(Change { saved: SystemTime::now(), paths: Some(BTreeSet::new()) }))
                }
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
            self.write_memo(summary.outputs / 20, false).await;
        }
        self.aside = None;
        if let Some(runner) = self.runner.take() {
            // Runs in flight wait for an answer that no one gives any more.
            self.reasons.close();
            while self.reasons.try_recv().is_ok() {}
            runner.stop().await;
        }
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
        self.memo_due = Some(tokio::time::Instant::now() + MEMO_AFTER);
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
                Err(Failure { error: failure::words(&error), hint })
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

async fn sleep_until(at: Option<tokio::time::Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

/// Who publishes: whom `BAKE_AUTHOR` names, or else the user of this process (`USER`, `LOGNAME`).
pub fn author() -> String {
    let name = ["BAKE_AUTHOR", "USER", "LOGNAME"].iter().find_map(|v| std::env::var(v).ok());
    name.filter(|n| !n.is_empty()).unwrap_or_else(|| "unknown".into())
}
