//! Following the journal: long polls of an origin, or the bucket itself where no origin answers; what an entry does to
//! this cache; and the lease, which says for how long what was last heard may be relied upon.

use std::{
    sync::{
        Arc, Mutex, PoisonError, RwLock,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use arc_swap::{ArcSwap, ArcSwapOption, Guard};
use http::{HeaderMap, HeaderValue, Method, header};
use release::{
    Digest,
    bucket::Bucket,
    journal::{Active, Effect, JournalEntry, State},
    keys::Site,
    log,
    reader::Reader,
    tree::Diff,
    url::same_host,
    wire::{Ack, Dropped, POLL_MS_MAX, Poll, SitePoll},
};
use tokio::sync::watch;

use crate::{
    Edge, clock,
    config::{OnLapse, SitesConfig},
    edge::SiteProgress,
    policy::freshness::Millis,
    purge::{Applied, Mark},
    upstream::Ask,
};

/// Bytes of manifest nodes that are kept for reading the bucket.
const NODES_BYTES_MAX: u64 = 16 << 20;
/// Bytes of a poll's answer.
const POLL_BYTES_MAX: u64 = 16 << 20;
/// Acknowledgements of one poll.
const ACKS_MAX: usize = 64;
/// After a first look that told nothing yet; doubled with each.
const LOOK_AGAIN: Duration = Duration::from_millis(25);
/// At most this long between looks that tell nothing: no site yet, or an origin that is behind.
const LOOK_AGAIN_MAX: Duration = Duration::from_millis(500);
/// Between two looks at the bucket while no origin answers: within the second that origins keep to.
const BUCKET_LOOK_EVERY: Duration = Duration::from_millis(500);
/// After a look that failed everywhere.
const RETRY_AFTER: Duration = Duration::from_millis(200);
/// How long a comparison of two releases may hold up the journal before everything held counts as unverified.
const DIFF_DEADLINE: Duration = Duration::from_secs(1);
/// How long a look at the bucket may take.
const BUCKET_DEADLINE: Duration = Duration::from_secs(5);
/// How old an origin's own look at the bucket may be, and a little more: each looks once a second.
const LOOK_AGE: Duration = Duration::from_millis(1_500);
/// The least that a poll waits, however short the lease is: origins are not asked without a pause.
const POLL_MS_MIN: u64 = 200;
/// What a poll may take beyond the time that it was asked to wait.
const POLL_SLACK: Duration = Duration::from_secs(2);

/// Whether, and how, a request may be served now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Gate {
    /// No look at the journal has begun since the start.
    Starting,
    /// As policy says.
    Open,
    /// As policy says, and saying that the lease has lapsed.
    Lapsed,
    /// Each copy is validated first.
    Validate,
    /// Not at all.
    Refuse,
}

/// A followed site.
#[derive(Debug)]
pub(crate) struct SiteHandle {
    pub(crate) site: Site,
    /// Its name as it stands in cache keys.
    pub(crate) scope: Arc<str>,
    pub(crate) reader: Option<Arc<Reader>>,
    fold: RwLock<State>,
    /// The hosts of the release in force; `None`: there is none. Kept beside it for those who may not wait for a lock.
    hosts: ArcSwapOption<Vec<String>>,
    /// The last entry whose drops are done, once a look has begun after the start.
    applied: watch::Sender<Option<u64>>,
    started: AtomicBool,
    lease_until: AtomicU64,
    on_lapse: OnLapse,
}

/// All followed sites.
#[derive(Debug)]
pub(crate) struct Sites {
    pub(crate) config: SitesConfig,
    bucket: Option<Arc<dyn Bucket>>,
    handles: ArcSwap<Vec<Arc<SiteHandle>>>,
    adding: Mutex<()>,
    start: Millis,
    lease_ms: Millis,
}

impl SiteHandle {
    fn fold(&self) -> State {
        self.fold.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The release in force.
    pub(crate) fn active(&self) -> Option<Active> {
        self.fold.read().unwrap_or_else(PoisonError::into_inner).active.clone()
    }

    fn set(&self, fold: State) {
        let hosts = fold.active.as_ref().map(|active| Arc::new(active.hosts.clone()));
        *self.fold.write().unwrap_or_else(PoisonError::into_inner) = fold;
        self.hosts.store(hosts);
    }

    /// How a request may be served at `now`, which was read for it.
    pub(crate) fn gate(&self, now: Millis) -> Gate {
        if !self.started.load(Ordering::Acquire) {
            return Gate::Starting;
        }
        if self.lease_until.load(Ordering::Acquire) > now {
            return Gate::Open;
        }
        match self.on_lapse {
            OnLapse::Serve => Gate::Lapsed,
            OnLapse::Validate => Gate::Validate,
            OnLapse::Refuse => Gate::Refuse,
        }
    }
}

impl Sites {
    pub(crate) fn new(config: SitesConfig, bucket: Option<Arc<dyn Bucket>>) -> Self {
        let lease_ms = Millis::try_from(config.lease.as_millis()).unwrap_or(Millis::MAX);
        let this = Self {
            config,
            bucket,
            handles: ArcSwap::default(),
            adding: Mutex::default(),
            start: clock::boot_ms(),
            lease_ms,
        };
        for site in &this.config.sites {
            this.handle(site);
        }
        this
    }

    /// Those that there are now.
    pub(crate) fn handles(&self) -> Guard<Arc<Vec<Arc<SiteHandle>>>> {
        self.handles.load()
    }

    /// The site's handle, made where it is new.
    fn handle(&self, site: &Site) -> Arc<SiteHandle> {
        let known = |handles: &[Arc<SiteHandle>]| handles.iter().find(|handle| handle.site == *site).cloned();
        if let Some(handle) = known(&self.handles()) {
            return handle;
        }
        let _adding = self.adding.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(handle) = known(&self.handles()) {
            return handle;
        }
        let reader = self
            .bucket
            .as_ref()
            .map(|bucket| Arc::new(Reader::new(Arc::clone(bucket), site.clone(), NODES_BYTES_MAX)));
        let handle = Arc::new(SiteHandle {
            site: site.clone(),
            scope: site.as_str().into(),
            reader,
            fold: RwLock::default(),
            hosts: ArcSwapOption::empty(),
            applied: watch::Sender::default(),
            started: AtomicBool::new(false),
            lease_until: AtomicU64::new(0),
            on_lapse: self.config.on_lapse,
        });
        let mut all = Vec::clone(&self.handles());
        all.push(Arc::clone(&handle));
        self.handles.store(Arc::new(all));
        handle
    }

    /// The site that answers to a host: the only one, the one whose release names the host, or the one that names
    /// none.
    pub(crate) fn of_host(&self, host: &str) -> Option<Arc<SiteHandle>> {
        self.find(&self.handles(), host).cloned()
    }

    /// The same among given ones. Neither allocates nor locks.
    pub(crate) fn find<'a>(&self, handles: &'a [Arc<SiteHandle>], host: &str) -> Option<&'a Arc<SiteHandle>> {
        if let [only] = handles {
            return Some(only);
        }
        let is_named = |handle: &&Arc<SiteHandle>| {
            let is_host = |own: &String| same_host(own, host);
            same_host(handle.site.as_str(), host)
                || handle.hosts.load().as_deref().is_some_and(|hosts| hosts.iter().any(is_host))
        };
        let names_none =
            |handle: &&Arc<SiteHandle>| handle.hosts.load().as_deref().is_some_and(|hosts| hosts.is_empty());
        handles.iter().find(is_named).or_else(|| handles.iter().find(names_none))
    }

    /// Whether every known site may be served.
    pub(crate) fn is_ready(&self, now: Millis) -> bool {
        let handles = self.handles();
        !handles.is_empty() && handles.iter().all(|handle| handle.gate(now) != Gate::Starting)
    }

    pub(crate) fn progress(&self, now: Millis) -> Vec<SiteProgress> {
        self.handles()
            .iter()
            .map(|handle| {
                let fold = handle.fold();
                SiteProgress {
                    site: handle.site.clone(),
                    seq: fold.seq,
                    release: fold.active.map(|active| active.release),
                    leased: handle.gate(now) == Gate::Open,
                }
            })
            .collect()
    }

    /// What a look that began at `looked` has found to be true: the lease runs from there.
    fn verified(&self, handle: &SiteHandle, looked: Millis) {
        if looked >= self.start {
            handle.started.store(true, Ordering::Release);
            handle.applied.send_replace(Some(handle.fold().seq));
        }
        handle.lease_until.fetch_max(looked.saturating_add(self.lease_ms), Ordering::AcqRel);
    }
}

/// Of more acknowledgements than can be told at once, the last say most.
fn keep_last(acks: &mut Vec<Ack>) {
    let excess = acks.len().saturating_sub(ACKS_MAX);
    acks.drain(..excess);
}

impl Edge {
    /// Whether the edge takes connections and may answer requests: in front of upstreams always, and behind origins once it has
    /// looked at the journal, until it is told to stop.
    pub fn is_ready(&self) -> bool {
        !self.is_ending.load(Ordering::Relaxed)
            && self.sites.as_ref().is_none_or(|sites| sites.is_ready(clock::boot_ms()))
    }

    /// Waits until the edge has applied entry `seq` of a site's journal, and may serve the site. Never ends in front
    /// of upstreams, which have no journal.
    pub async fn applied(&self, site: &Site, seq: u64) {
        let Some(sites) = &self.sites else { return std::future::pending().await };
        let handle = sites.handle(site);
        let mut applied = handle.applied.subscribe();
        // The sender lives as long as the handle, which is held here.
        drop(applied.wait_for(|applied| applied.is_some_and(|applied| applied >= seq)).await);
    }

    /// Begins to follow the journal, until the edge is told to stop.
    pub(crate) fn follow(self: &Arc<Self>) {
        if self.sites.is_none() {
            return;
        }
        let edge = Arc::clone(self);
        self.tasks.spawn(async move {
            let stop = edge.stop.clone();
            tokio::select! {
                () = stop.cancelled() => {}
                () = edge.follow_for_ever() => {}
            }
        });
    }

    async fn follow_for_ever(&self) {
        let Some(sites) = &self.sites else { return };
        let mut acks: Vec<Ack> = Vec::new();
        let mut was_failing = false;
        let mut again = LOOK_AGAIN;
        let mut caught_up = Vec::new();
        loop {
            let ready = sites.is_ready(clock::boot_ms());
            // The next poll says that all is applied that is known, for whoever answers clients under this name.
            if ready && let Some(predecessor) = &self.config.predecessor {
                let at: Vec<(Site, u64)> =
                    sites.handles().iter().map(|handle| (handle.site.clone(), handle.fold().seq)).collect();
                if at != caught_up {
                    predecessor.catch_up(&at).await;
                    caught_up = at;
                }
            }
            let polled = if self.upstreams.is_empty() { None } else { self.poll(sites, &acks, ready).await };
            let pause = match polled {
                Some((new, told)) => {
                    acks = new;
                    was_failing = false;
                    // An origin that told what is true now has waited as long as it was asked to.
                    if ready && told { Duration::ZERO } else { again }
                }
                None => match self.look_at_bucket(sites, &mut acks).await {
                    Ok(()) if ready => BUCKET_LOOK_EVERY,
                    Ok(()) => again,
                    Err(error) => {
                        if !was_failing {
                            tracing::warn!(error, "the journal cannot be read; trying again");
                        }
                        was_failing = true;
                        RETRY_AFTER
                    }
                },
            };
            again = if pause.is_zero() { LOOK_AGAIN } else { (again * 2).min(LOOK_AGAIN_MAX) };
            if !pause.is_zero() {
                tokio::time::sleep(pause).await;
            }
        }
    }

    /// One poll of an origin; `None` where none answers. Returns the acknowledgements for the next, and whether the
    /// origin told what is true now.
    async fn poll(&self, sites: &Sites, acks: &[Ack], ready: bool) -> Option<(Vec<Ack>, bool)> {
        let wait_ms = if ready { wait_ms(sites.lease_ms) } else { 0 };
        let after: Vec<String> = sites
            .handles()
            .iter()
            // A poll that names nothing makes the origin look at once, which is what a starting edge needs.
            .filter(|handle| ready && handle.lease_until.load(Ordering::Acquire) > 0)
            .map(|handle| format!("{}:{}", handle.site, handle.fold().seq))
            .collect();
        let acks_text: Vec<String> = acks.iter().map(Ack::to_string).collect();
        let name: String =
            percent_encoding::utf8_percent_encode(&self.config.name, percent_encoding::NON_ALPHANUMERIC)
                .to_string();
        let mut target = format!("/v1/journal?edge={name}&wait_ms={wait_ms}");
        if !after.is_empty() {
            target.push_str(&format!("&after={}", after.join(",")));
        }
        if !acks_text.is_empty() {
            target.push_str(&format!("&ack={}", acks_text.join(",")));
        }
        let mut headers = HeaderMap::new();
        headers.insert(header::HOST, HeaderValue::from_static("journal"));
        headers.insert(header::AUTHORIZATION, self.bearer()?);
        let ask = Ask { is_own: true, ..Ask::new(Method::GET, target, headers) };
        let sent = clock::boot_ms();
        let deadline = Duration::from_millis(wait_ms) + POLL_SLACK;
        let answer = self.upstreams.send_sticky(&ask, self.has_bucket(), deadline).await.ok()?;
        let body = tokio::time::timeout(deadline, answer.body.collect(POLL_BYTES_MAX)).await.ok()?.ok()??;
        let poll: Poll = match serde_json::from_slice(&body) {
            Ok(poll) => poll,
            Err(error) => {
                tracing::error!(origin = %answer.upstream, %error, "the origin's answer to a poll cannot be read");
                return None;
            }
        };
        let mut new = Vec::new();
        let mut told = !poll.sites.is_empty();
        for news in poll.sites {
            told &= self.take_news(sites, news, sent, &mut new).await;
        }
        keep_last(&mut new);
        Some((new, told))
    }

    fn has_bucket(&self) -> bool {
        self.sites.as_ref().is_some_and(|sites| sites.bucket.is_some())
    }

    pub(crate) fn bearer(&self) -> Option<HeaderValue> {
        let token = &self.sites.as_ref()?.config.token;
        let mut value = HeaderValue::from_str(&format!("Bearer {token}")).ok()?;
        value.set_sensitive(true);
        Some(value)
    }

    /// Takes what an origin tells of a site; `false`: it is behind, or not to be believed.
    async fn take_news(&self, sites: &Sites, news: SitePoll, sent: Millis, acks: &mut Vec<Ack>) -> bool {
        let handle = sites.handle(&news.site);
        let ours = handle.fold();
        let looked = sent.saturating_sub(news.verified_ms);
        if news.state.seq < ours.seq {
            // This origin has not seen what another told us. An edge never goes back, and this says nothing about
            // now.
            return false;
        }
        let first = handle.lease_until.load(Ordering::Acquire) == 0;
        if first {
            // Nothing is held yet.
            handle.set(news.state);
        } else if news.reset {
            self.lose_track(&handle, news.state, acks).await;
        } else {
            for polled in news.entries {
                let seq = handle.fold().seq;
                if polled.seq <= seq {
                    continue;
                }
                if polled.seq != seq + 1 {
                    break;
                }
                match self.take_entry(&handle, &polled.entry, polled.digest, polled.diff).await {
                    Some(dropped) => acks.push(Ack { site: handle.site.clone(), seq: polled.seq, dropped }),
                    None => return false,
                }
            }
            if handle.fold().seq < news.state.seq {
                self.lose_track(&handle, news.state, acks).await;
            } else if handle.fold().last != news.state.last {
                tracing::error!(site = %handle.site, seq = ours.seq, "the origin tells another history; not believed");
                return false;
            }
        }
        sites.verified(&handle, looked);
        true
    }

    /// The entries since ours cannot be had: everything held may be wrong.
    async fn lose_track(&self, handle: &SiteHandle, state: State, acks: &mut Vec<Ack>) {
        let seq = state.seq;
        if seq == handle.fold().seq && state.last == handle.fold().last {
            return;
        }
        tracing::warn!(site = %handle.site, seq, "entries of the journal were missed; everything held is dropped");
        handle.set(state);
        let dropped = self.apply(Applied::all(Some(Arc::clone(&handle.scope)), Mark::Dropped)).await;
        acks.push(Ack { site: handle.site.clone(), seq, dropped });
    }

    /// Applies the next entry; returns how many copies it dropped or marked. `None`: it does not follow on what is
    /// known.
    async fn take_entry(
        &self,
        handle: &SiteHandle,
        entry: &JournalEntry,
        digest: Digest,
        diff: Option<Diff>,
    ) -> Option<Dropped> {
        let before = handle.fold();
        let mut fold = before.clone();
        if let Err(error) = fold.apply(entry, digest) {
            tracing::error!(site = %handle.site, %error, "the journal cannot be followed");
            return None;
        }
        let seq = fold.seq;
        let after = fold.active.clone();
        let steps = after.as_ref().is_some_and(|active| active.seq == seq);
        let site = || Arc::clone(&handle.scope);
        let step = match (&before.active, &after) {
            (Some(old), Some(new)) if steps => Some(if old.root == new.root {
                Applied::step(site(), &Diff::default())
            } else {
                match diff {
                    Some(diff) => Applied::step(site(), &diff),
                    None => match self.compare(handle, old.root, new.root).await {
                        Some(diff) => Applied::step(site(), &diff),
                        None => Applied::all(Some(site()), Mark::Unverified),
                    },
                }
            }),
            _ if steps => Some(Applied::all(Some(site()), Mark::Dropped)),
            _ => None,
        };
        // First the release that fetches name, then the entry in force: a fetch that began after the entry names the
        // new release, and one that began before is held against it.
        handle.set(fold);
        let purges = entry.effects.iter().filter_map(|effect| match effect {
            Effect::Purge(purge) => {
                let soft_at = purge.soft.then(clock::boot_ms);
                let hosts = after.as_ref().map_or(&[][..], |active| &active.hosts);
                let of_site = purge.selectors.iter().filter(|selector| selector.is_of(hosts));
                Some(Applied::purge(Some(site()), of_site, soft_at))
            }
            Effect::Unknown(_) => Some(Applied::all(Some(site()), Mark::Dropped)),
            Effect::Activate(_) | Effect::Notice(_) => None,
        });
        let applied: Vec<Arc<Applied>> = step.into_iter().chain(purges).map(|each| self.mark(each)).collect();
        let dropped = self.settle(&applied).await;
        tracing::debug!(site = %handle.site, seq, %dropped, "applied an entry of the journal");
        Some(dropped)
    }

    /// What differs between two releases, from the bucket, if that can be said soon.
    async fn compare(&self, handle: &SiteHandle, before: Digest, after: Digest) -> Option<Diff> {
        let reader = handle.reader.as_ref()?;
        tokio::time::timeout(DIFF_DEADLINE, reader.diff(before, after)).await.ok()?.ok()
    }

    /// Reads the journal of every known site from the bucket.
    async fn look_at_bucket(&self, sites: &Sites, acks: &mut Vec<Ack>) -> Result<(), String> {
        let Some(bucket) = &sites.bucket else {
            return Err("no origin answers, and there is no bucket to read".into());
        };
        let handles = Arc::clone(&sites.handles());
        if handles.is_empty() {
            return Err("no origin answers, and no site is named".into());
        }
        for handle in handles.iter() {
            let looked = clock::boot_ms();
            let look = self.look_at_site(&**bucket, handle, acks);
            match tokio::time::timeout(BUCKET_DEADLINE, look).await {
                Ok(result) => result?,
                Err(_) => {
                    return Err(format!("the bucket gave no answer within {} s", BUCKET_DEADLINE.as_secs()));
                }
            }
            sites.verified(handle, looked);
        }
        Ok(())
    }

    /// What is applied is acknowledged when an origin answers again.
    async fn look_at_site(
        &self,
        bucket: &dyn Bucket,
        handle: &SiteHandle,
        acks: &mut Vec<Ack>,
    ) -> Result<(), String> {
        if handle.lease_until.load(Ordering::Acquire) == 0 {
            let state = log::latest(bucket, &handle.site).await.map_err(|error| error.to_string())?;
            handle.set(state);
            return Ok(());
        }
        loop {
            let mut ahead = handle.fold();
            let read =
                log::advance(bucket, &handle.site, &mut ahead).await.map_err(|error| error.to_string())?;
            let more = read.len() == log::ENTRIES_MAX;
            for numbered in read {
                let applied = self.take_entry(handle, &numbered.entry, numbered.digest, None).await;
                let Some(dropped) = applied else {
                    return Err(format!("entry {} does not follow on what is known", numbered.seq));
                };
                acks.push(Ack { site: handle.site.clone(), seq: numbered.seq, dropped });
                keep_last(acks);
            }
            if !more {
                return Ok(());
            }
        }
    }
}

/// How long a poll waits at an origin where there is no news: the lease, which runs from when a poll is sent, must last until the
/// next one has been answered.
fn wait_ms(lease_ms: Millis) -> u64 {
    let look_ms = Millis::try_from(LOOK_AGE.as_millis()).unwrap_or(Millis::MAX);
    (lease_ms.saturating_sub(look_ms) / 2).clamp(POLL_MS_MIN, POLL_MS_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_lasts_until_the_next_poll_is_answered() {
        for lease_ms in (2_000..=20_000).step_by(100) {
            let looked_ms = 1_000;
            assert!(looked_ms + 2 * wait_ms(lease_ms) < lease_ms, "{lease_ms}");
        }
        assert_eq!([1_000, 10_000, 86_400_000].map(wait_ms), [POLL_MS_MIN, POLL_MS_MAX, POLL_MS_MAX]);
    }
}
