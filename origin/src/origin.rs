//! A node that answers edges from the bucket, and offers the API.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, RwLock};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::{join_all, select_all};
use release::bucket::{Bucket, BucketError};
use release::journal::{Effect, Purge, check_selectors};
use release::keys::{SITES_PREFIX, Site, site_of};
use release::log;
use release::reader::Reader;
use release::url::same_host;
use release::wire::{
    self, Committed, EdgeProgress, EdgeReceipt, Failure, Poll, PublishRequest, Published, Resumed,
};
use release::wire::{PurgeRequest, Receipt, RollbackRequest, SelectorReceipt, SiteStatus, Status};
use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;

use crate::Error;
use crate::clock::Moment;
use crate::edges::{Edges, merge};
use crate::fellows::Fellows;
use crate::journal::Journal;
use crate::publish::{Publisher, SourceFile};
use crate::rollback::{resume, rollback};
use crate::site::ServedSite;

/// How often the bucket is looked at; the contract promises once a second.
const LOOK_EVERY: Duration = Duration::from_millis(800);
/// How long a look may take before the next one is due all the same.
const LOOK_LIMIT: Duration = Duration::from_secs(5);
/// How often the bucket is searched for new sites.
const DISCOVER_EVERY: Duration = Duration::from_secs(10);
/// Sites that one origin serves at most.
pub const SITES_MAX: usize = 1_000;
/// How long `--wait` waits for edges that go on polling without saying that they applied an entry.
const APPLIED_LIMIT: Duration = Duration::from_secs(30);
/// How long the receipt of a purge waits for them without it: edges that are well have applied it by then.
const APPLIED_GLANCE: Duration = Duration::from_millis(500);
/// How often fellows are asked while someone waits.
const FELLOWS_EVERY: Duration = Duration::from_millis(200);
/// Milliseconds without a look at the bucket after which an origin is not ready.
const READY_MS_MAX: u64 = 5_000;
/// Bytes of the longest reason of a purge.
const REASON_BYTES_MAX: usize = 4 << 10;

/// Which sites an origin serves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sites {
    /// These.
    Named(Vec<Site>),
    /// All that the bucket has, looked for again and again.
    All,
}

/// How an origin is set up.
#[derive(Clone)]
pub struct OriginConfig {
    /// What it calls itself.
    pub name: String,
    /// Where releases lie.
    pub bucket: Arc<dyn Bucket>,
    /// Where journals lie, if not in the same bucket.
    pub journal_bucket: Option<Arc<dyn Bucket>>,
    /// Which sites.
    pub sites: Sites,
    /// The site that is meant by a first publish which names none.
    pub new_site: Option<Site>,
    /// Opens the whole API.
    pub operator_token: String,
    /// Opens polling and fetching alone. May be the operator's.
    pub edge_token: String,
    /// Whether requests without a token get the active release; with false they get 401.
    pub is_public: bool,
    /// Addresses of other origins (`http://host:port`), which must know the operator's token.
    pub fellows: Vec<String>,
    /// How long an edge counts as alive after a poll.
    pub lease: Duration,
    /// Why nothing may be written to the journal, where that is so (see [`crate::bucket`]).
    pub read_only: Option<String>,
    /// Bytes of nodes of trees that are kept in memory, for each site.
    pub nodes_bytes_max: u64,
    /// Gives the text of `GET /metrics`.
    pub metrics: Option<Arc<dyn Fn() -> String + Send + Sync>>,
}

impl OriginConfig {
    /// The defaults: all sites of this bucket, not public, no fellows, a lease of 10 s, 64 MiB of nodes.
    pub fn new(name: impl Into<String>, bucket: Arc<dyn Bucket>, token: impl Into<String>) -> Self {
        let token = token.into();
        Self {
            name: name.into(),
            bucket,
            journal_bucket: None,
            sites: Sites::All,
            new_site: None,
            operator_token: token.clone(),
            edge_token: token,
            is_public: false,
            fellows: Vec::new(),
            lease: Duration::from_secs(10),
            read_only: None,
            nodes_bytes_max: 64 << 20,
            metrics: None,
        }
    }
}

impl std::fmt::Debug for OriginConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Tokens stay out of logs.
        f.debug_struct("OriginConfig")
            .field("name", &self.name)
            .field("bucket", &self.bucket)
            .field("sites", &self.sites)
            .field("fellows", &self.fellows)
            .finish_non_exhaustive()
    }
}

/// Renders and publishes when the API is asked to. The shell has one to give, since this crate does
/// not know how content is rendered.
#[async_trait]
pub trait Render: Send + Sync {
    /// Publishes a site: from these sources, or where there are none from what the renderer knows.
    /// `wait` is not its concern.
    ///
    /// # Errors
    /// What failed, for people.
    async fn publish(
        &self,
        site: &Site,
        request: PublishRequest,
        sources: Option<Vec<SourceFile>>,
    ) -> Result<Published, Failure>;
}

/// A node that answers edges from the bucket, and offers the API.
pub struct Origin {
    config: OriginConfig,
    sites: RwLock<BTreeMap<Site, Arc<ServedSite>>>,
    /// Held while a site is opened, so that each has one journal.
    opening: tokio::sync::Mutex<()>,
    edges: Edges,
    fellows: Fellows,
    render: OnceLock<Arc<dyn Render>>,
    wake: Notify,
    /// When the last look began that reached the bucket.
    reached: Mutex<Option<Moment>>,
    is_following: AtomicBool,
    stop: CancellationToken,
}

impl std::fmt::Debug for Origin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Origin").field("config", &self.config).finish_non_exhaustive()
    }
}

impl Origin {
    /// An origin that has not looked at the bucket yet.
    ///
    /// # Errors
    /// [`Error::BadFellow`] where a fellow's address is none.
    pub fn new(config: OriginConfig) -> Result<Arc<Self>, Error> {
        let fellows = Fellows::new(&config.fellows, config.operator_token.clone())?;
        let lease_ms = u64::try_from(config.lease.as_millis()).unwrap_or(u64::MAX);
        Ok(Arc::new(Self {
            config,
            sites: RwLock::default(),
            opening: tokio::sync::Mutex::default(),
            edges: Edges::new(lease_ms),
            fellows,
            render: OnceLock::new(),
            wake: Notify::new(),
            reached: Mutex::default(),
            is_following: AtomicBool::new(false),
            stop: CancellationToken::new(),
        }))
    }

    /// How it is set up.
    pub fn config(&self) -> &OriginConfig {
        &self.config
    }

    /// The edges that have polled it.
    pub fn edges(&self) -> &Edges {
        &self.edges
    }

    /// Gives it a renderer for `POST /v1/publish`. The first one counts.
    pub fn set_render(&self, render: Arc<dyn Render>) {
        if self.render.set(render).is_err() {
            tracing::error!("a second renderer was given to the origin, and is not used");
        }
    }

    /// Ends when the origin is told to stop.
    pub(crate) fn stop(&self) -> &CancellationToken {
        &self.stop
    }

    fn all(&self) -> Vec<Arc<ServedSite>> {
        self.sites.read().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    /// Opens a site: reads its journal, and follows it from then on. A site that is open already is
    /// that site.
    ///
    /// # Errors
    /// Where the bucket gives no answer, or the journal is damaged.
    pub async fn open(self: &Arc<Self>, name: &Site) -> Result<Arc<ServedSite>, Error> {
        let _opening = self.opening.lock().await;
        if let Some(site) = self.sites.read().unwrap_or_else(PoisonError::into_inner).get(name) {
            return Ok(Arc::clone(site));
        }
        let config = &self.config;
        let bucket = config.journal_bucket.as_ref().unwrap_or(&config.bucket);
        let journal =
            Journal::open(Arc::clone(bucket), name.clone(), config.name.clone(), config.read_only.clone());
        let journal = journal.await?;
        let reader = Reader::new(Arc::clone(&config.bucket), name.clone(), config.nodes_bytes_max);
        let reader = Arc::new(reader);
        let publisher = Publisher::new(Arc::clone(&journal), Arc::clone(&reader));
        self.wake_fellows_after_commits(&journal);
        let site = Arc::new(ServedSite::new(journal, reader, publisher));
        self.sites.write().unwrap_or_else(PoisonError::into_inner).insert(name.clone(), Arc::clone(&site));
        Ok(site)
    }

    fn wake_fellows_after_commits(&self, journal: &Arc<Journal>) {
        if self.fellows.is_empty() {
            return;
        }
        let (fellows, mut wrote, stop) = (self.fellows.clone(), journal.wrote(), self.stop.clone());
        tokio::spawn(async move {
            let follow = async {
                while wrote.changed().await.is_ok() {
                    fellows.wake().await;
                }
            };
            tokio::select! { () = follow => {}, () = stop.cancelled() => {} }
        });
    }

    /// Looks at the bucket at once.
    pub fn wake(&self) {
        self.wake.notify_one();
    }

    /// Begins to follow the journals in the background; a second call does nothing.
    pub fn follow(self: &Arc<Self>) {
        if self.is_following.swap(true, Ordering::SeqCst) {
            return;
        }
        let origin = Arc::clone(self);
        tokio::spawn(async move {
            let stop = origin.stop.clone();
            tokio::select! { () = origin.follow_for_ever() => {}, () = stop.cancelled() => {} }
        });
    }

    async fn follow_for_ever(self: &Arc<Self>) {
        let mut is_failing = false;
        let mut discovered: Option<Instant> = None;
        loop {
            let began = Moment::now();
            let due = discovered.is_none_or(|at| at.elapsed() >= DISCOVER_EVERY) || self.all().is_empty();
            let found = if due { self.discover().await } else { Ok(()) };
            if due && found.is_ok() {
                discovered = Some(Instant::now());
            }
            let looks = self.all().into_iter().map(|site| async move {
                let look = tokio::time::timeout(LOOK_LIMIT, site.journal().look());
                look.await.unwrap_or(Err(Error::Gone("the bucket's answer")))
            });
            let looks = join_all(looks).await.into_iter().map(|look| look.map(drop));
            match std::iter::once(found).chain(looks).find_map(Result::err) {
                None => {
                    *self.reached.lock().unwrap_or_else(PoisonError::into_inner) = Some(began);
                    if is_failing {
                        tracing::info!("the bucket answers again");
                    }
                    is_failing = false;
                }
                Some(error) => {
                    metrics::counter!("bakehouse_look_failures_total").increment(1);
                    if !is_failing {
                        tracing::warn!(%error, hint = error.hint(), "the journal cannot be read; trying again");
                    }
                    is_failing = true;
                }
            }
            tokio::select! {
                () = self.wake.notified() => {}
                () = tokio::time::sleep(LOOK_EVERY) => {}
            }
        }
    }

    /// Opens the sites that are to be served and are not open yet.
    async fn discover(self: &Arc<Self>) -> Result<(), Error> {
        let names = match &self.config.sites {
            Sites::Named(names) => names.clone(),
            Sites::All => {
                let bucket = self.config.journal_bucket.as_ref().unwrap_or(&self.config.bucket);
                names(&**bucket).await?
            }
        };
        for name in names {
            self.open(&name).await?;
        }
        Ok(())
    }

    /// The site of that name; without one, the only site.
    ///
    /// # Errors
    /// [`Error::NoSite`], [`Error::WhichSite`].
    pub fn site(&self, name: Option<&Site>) -> Result<Arc<ServedSite>, Error> {
        let sites = self.sites.read().unwrap_or_else(PoisonError::into_inner);
        let found = match name {
            Some(name) => sites.get(name).ok_or_else(|| Error::NoSite(name.clone()))?,
            None if sites.len() == 1 => sites.values().next().ok_or(Error::WhichSite(0))?,
            None => return Err(Error::WhichSite(sites.len())),
        };
        Ok(Arc::clone(found))
    }

    /// As [`Origin::site`], but opens a site that is not open: one that is published to for the first
    /// time, by its name or as [`OriginConfig::new_site`]. Only where sites are not a fixed list.
    ///
    /// # Errors
    /// As for [`Origin::site`] and [`Origin::open`].
    pub async fn site_or_new(self: &Arc<Self>, name: Option<&Site>) -> Result<Arc<ServedSite>, Error> {
        let new = match self.site(name) {
            Err(Error::NoSite(_)) => name,
            Err(Error::WhichSite(0)) => self.config.new_site.as_ref(),
            found => return found,
        };
        match (new, &self.config.sites) {
            (Some(new), Sites::All) if self.all().len() < SITES_MAX => self.open(new).await,
            _ => self.site(name),
        }
    }

    /// The site that answers to a host: the one that names it, or the only one, where that has no
    /// hosts or there is no other.
    pub fn site_of_host(&self, host: &str) -> Option<Arc<ServedSite>> {
        let sites = self.all();
        if let [only] = sites.as_slice() {
            return Some(Arc::clone(only));
        }
        let answers = |site: &&Arc<ServedSite>| {
            let seen = site.journal().seen();
            seen.state.active.as_ref().is_some_and(|a| a.hosts.iter().any(|own| same_host(own, host)))
        };
        sites.iter().find(answers).cloned()
    }

    /// Whether the bucket was looked at lately with success.
    pub fn is_ready(&self) -> bool {
        let reached = *self.reached.lock().unwrap_or_else(PoisonError::into_inner);
        reached.is_some_and(|at| Moment::now().ms_since(at) <= READY_MS_MAX)
    }

    /// Answers a poll: waits until there is news after `after`, but no longer than `wait`.
    pub async fn poll(&self, after: &[(Site, u64)], wait: Duration) -> Poll {
        let deadline = Instant::now() + wait;
        if after.is_empty() {
            // A starting edge needs a look that began after its start.
            let looks = self.all().into_iter().map(|s| async move { s.journal().look().await.map(drop) });
            let looked = tokio::time::timeout(Duration::from_secs(1), join_all(looks)).await;
            if looked.is_err() {
                tracing::debug!("the bucket did not answer in time for a starting edge");
            }
        }
        let known = |name: &Site| after.iter().find(|(n, _)| n == name).map(|(_, seq)| *seq);
        loop {
            let sites = self.all();
            let mut watches: Vec<_> = sites.iter().map(|s| s.journal().watch()).collect();
            let has_news = watches
                .iter_mut()
                .zip(&sites)
                .any(|(watch, site)| known(site.name()) != Some(watch.borrow_and_update().state.seq));
            let is_over = has_news || Instant::now() >= deadline || self.stop.is_cancelled();
            if is_over || watches.is_empty() && wait.is_zero() {
                let news = sites.iter().map(|site| async move {
                    let seen = site.journal().seen();
                    site.news(&seen, known(site.name())).await
                });
                return Poll { origin: self.config.name.clone(), sites: join_all(news).await };
            }
            let changes = watches.iter_mut().map(|watch| Box::pin(watch.changed()));
            let change = async {
                if sites.is_empty() { std::future::pending().await } else { drop(select_all(changes).await) }
            };
            tokio::select! {
                // Whatever ended the wait, the loop looks again.
                _ = timeout_at(deadline, change) => {}
                () = self.stop.cancelled() => {}
            }
        }
    }

    /// Purges, and says what came of it.
    ///
    /// # Errors
    /// [`Error::BadRequest`] where a selector makes no sense; otherwise that it could not be
    /// committed, or that this is unknown.
    pub async fn purge(&self, request: PurgeRequest) -> Result<Receipt, Error> {
        let site = self.site(request.site.as_ref())?;
        check_selectors(&request.selectors).map_err(|error| Error::BadRequest(error.to_string()))?;
        if request.reason.as_ref().is_some_and(|r| r.len() > REASON_BYTES_MAX) {
            return Err(Error::BadRequest(format!("the reason has more than {REASON_BYTES_MAX} bytes")));
        }
        let mut selectors = Vec::with_capacity(request.selectors.len());
        for selector in &request.selectors {
            // What it means is for people: a purge must not fail because a manifest cannot be read.
            let counted = site.count(selector).await.unwrap_or_else(|error| {
                tracing::warn!(%error, %selector, "what a purge means could not be told");
                SelectorReceipt { selector: selector.clone(), paths: None }
            });
            selectors.push(counted);
        }
        let expected = self.edges.alive(Moment::now());
        let purge = Purge { selectors: request.selectors, soft: request.soft, reason: request.reason };
        let receipt = site.journal().commit(vec![Effect::Purge(purge)]).await?;
        metrics::counter!("bakehouse_purges_total").increment(1);
        let committed = receipt.committed(site.name());
        let limit = if request.wait { APPLIED_LIMIT } else { APPLIED_GLANCE };
        let (edges, complete) = self.applied(&committed, expected, limit).await;
        Ok(receipt_of(committed, selectors, edges, complete))
    }

    /// How far the edges are with an entry: once each has applied it or fallen silent for its lease, and no later than
    /// after `limit`. Also whether that is all edges.
    pub async fn applied(
        &self,
        committed: &Committed,
        expected: Vec<String>,
        limit: Duration,
    ) -> (Vec<EdgeReceipt>, bool) {
        let deadline = Instant::now() + limit;
        let mut polls = self.edges.watch();
        loop {
            polls.borrow_and_update();
            let own = self.edges.progress(&committed.site, committed.seq, &expected, Moment::now());
            let (theirs, complete) = self.fellows.progress(&committed.site, committed.seq).await;
            let edges = merge(own.into_iter().chain(theirs));
            let is_over = edges.iter().all(|e| e.state != EdgeProgress::Pending);
            let left = deadline.saturating_duration_since(Instant::now());
            if is_over || left.is_zero() || self.stop.is_cancelled() {
                return (edges, complete);
            }
            let pause =
                if self.fellows.is_empty() { Duration::from_secs(1) } else { FELLOWS_EVERY }.min(left);
            tokio::select! {
                // A lease can also end without a poll.
                _ = tokio::time::timeout(pause, polls.changed()) => {}
                () = self.stop.cancelled() => {}
            }
        }
    }

    /// The receipt of an entry that is in the journal.
    ///
    /// # Errors
    /// [`Error::BadRequest`] where there is no such entry.
    pub async fn receipt(&self, site: Option<&Site>, seq: u64, local: bool) -> Result<Receipt, Error> {
        let site = self.site(site)?;
        let read = log::read_entry(site.journal().bucket(), site.name(), seq).await?;
        let missing = || Error::BadRequest(format!("the journal has no entry {seq}"));
        let entry = read.ok_or_else(missing)?.entry;
        let mut selectors = Vec::new();
        if !local {
            for effect in &entry.effects {
                let Effect::Purge(purge) = effect else { continue };
                for selector in &purge.selectors {
                    selectors.push(site.count(selector).await?);
                }
            }
        }
        let committed = Committed { site: site.name().clone(), seq, at: entry.at };
        let (edges, complete) = if local {
            (self.edges.progress(site.name(), seq, &[], Moment::now()), true)
        } else {
            self.applied(&committed, Vec::new(), Duration::ZERO).await
        };
        Ok(receipt_of(committed, selectors, edges, complete))
    }

    /// Goes back to an earlier release.
    ///
    /// # Errors
    /// As for [`rollback`].
    pub async fn rollback(&self, request: RollbackRequest) -> Result<Published, Error> {
        let site = self.site(request.site.as_ref())?;
        let expected = self.edges.alive(Moment::now());
        let done = rollback(site.journal(), site.reader(), request.release).await?;
        metrics::counter!("bakehouse_rollbacks_total").increment(1);
        tracing::info!(site = %site.name(), release = %done.release, why = request.message, "rolled back");
        let committed = done.receipt.committed(site.name());
        let edges = match request.wait {
            true => self.applied(&committed, expected, APPLIED_LIMIT).await.0,
            false => Vec::new(),
        };
        Ok(Published {
            release: Some(done.release),
            committed: Some(committed),
            diff: done.diff,
            uploaded: 0,
            stale_sources: Vec::new(),
            warnings: Vec::new(),
            edges,
        })
    }

    /// Lets publishes that a rollback held back go on.
    ///
    /// # Errors
    /// As for [`resume`].
    pub async fn resume(&self, site: Option<&Site>) -> Result<Resumed, Error> {
        let site = self.site(site)?;
        let (receipt, was_held) = resume(site.journal()).await?;
        Ok(Resumed { committed: receipt.committed(site.name()), was_held })
    }

    /// Renders and publishes through the renderer that was given.
    ///
    /// # Errors
    /// What failed, for people, and the status code that says so.
    pub async fn publish(self: &Arc<Self>, request: PublishRequest) -> Result<Published, (u16, Failure)> {
        let failed = |error: Error| (error.status(), Failure::from(&error));
        let Some(render) = self.render.get() else {
            let hint = "start a `bake renderer`, or publish with the bucket's credentials".to_owned();
            let error = "this origin has no renderer".to_owned();
            return Err((501, Failure { error, hint: Some(hint) }));
        };
        let site = self.site_or_new(request.site.as_ref()).await.map_err(failed)?;
        let sources = match &request.sources {
            Some(lines) => Some(site.publisher().received(lines).await.map_err(failed)?),
            None => None,
        };
        let (wait, expected) = (request.wait, self.edges.alive(Moment::now()));
        let published = render.publish(site.name(), request, sources).await;
        let mut published = published.map_err(|failure| (422, failure))?;
        if let Some(committed) = published.committed.as_ref().filter(|_| wait) {
            published.edges = self.applied(committed, expected, APPLIED_LIMIT).await.0;
        }
        Ok(published)
    }

    /// How all sites are.
    pub fn status(&self) -> Status {
        let now = Moment::now();
        let of_site = |site: Arc<ServedSite>| {
            let seen = site.journal().seen();
            SiteStatus {
                site: site.name().clone(),
                state: seen.state.clone(),
                verified_ms: now.ms_since(seen.looked),
                edges: self.edges.last(site.name(), now),
            }
        };
        Status { sites: self.all().into_iter().map(of_site).collect() }
    }
}

fn receipt_of(
    committed: Committed,
    selectors: Vec<SelectorReceipt>,
    edges: Vec<EdgeReceipt>,
    complete: bool,
) -> Receipt {
    let applied_everywhere = complete && edges.iter().all(|e| e.state == EdgeProgress::Applied);
    wire::Receipt { committed, selectors, edges, applied_everywhere, complete }
}

/// The names of all sites in a bucket, by one request for each.
async fn names(bucket: &dyn Bucket) -> Result<Vec<Site>, BucketError> {
    let mut names = Vec::new();
    let mut after: Option<String> = None;
    while names.len() < SITES_MAX {
        let listing = bucket.list(SITES_PREFIX, after.as_deref(), 1).await?;
        let Some(key) = listing.keys.first() else { break };
        let folder = key[SITES_PREFIX.len()..].split('/').next().unwrap_or_default();
        names.extend(site_of(key));
        // The first key after all that begin with `sites/<name>/`: `0` follows on `/`.
        after = Some(format!("{SITES_PREFIX}{folder}0"));
    }
    names.dedup();
    Ok(names)
}
