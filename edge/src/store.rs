//! The store: complete responses in memory, bounded by bytes, evicted by S3-FIFO.
//!
//! A hit takes one short lock of one of many shards and writes nothing shared but a visited mark. S3-FIFO (a small
//! queue for newcomers, a main queue for what was asked for again, a ghost queue that remembers who left the small
//! one) keeps scans of one-time URLs from washing out what is hot, and needs no work on a hit; LRU has neither.
//!
//! What the rules of purges and activations do to a copy is decided when it is read, from the log, and by a sweep
//! that frees at once what an entry covers.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    hash::{BuildHasher, RandomState},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Ordering},
    },
};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode, header};

use crate::{
    key::Key,
    policy::{
        date::UnixSeconds,
        freshness::{Freshness, Millis},
        range::{self, ContentRange},
        validate::Tag,
        vary::Selection,
    },
    purge::{Applied, Began, Mark, PurgeLog, Subject},
};

/// Locks are short; this many make contention rare on any machine.
const SHARDS: usize = 64;
/// Variants of one URL that are kept; more would let one URL's request fields fill the memory.
const VARIANTS_MAX: usize = 32;
/// Superseded copies of one URL that are kept for their bodies.
const KEPT_MAX: usize = 4;
/// Visits that count: S3-FIFO needs no more than two bits.
const VISITS_MAX: u8 = 3;
/// What a copy costs beside its body, fields and key: structs, table and queue slots.
const OVERHEAD_BYTES: usize = 512;

const LIVE: u8 = 0;
const UNVERIFIED: u8 = 1;
const SUPERSEDED: u8 = 2;
const REMOVED: u8 = 3;
const DROPPED: u8 = 4;
/// `soft_at` of a copy that no soft purge covers.
const NEVER: u64 = u64::MAX;

/// How a copy may be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Life {
    /// As policy says.
    Live,
    /// Only after its digest was compared with the new release.
    Unverified,
    /// Only while nothing else can be had, or for its body.
    Superseded,
    /// Only for its body.
    Removed,
    /// Not at all.
    Dropped,
}

/// A complete stored response.
#[derive(Debug)]
pub(crate) struct Stored {
    pub(crate) key: Key,
    pub(crate) status: StatusCode,
    /// Fields, without those of the connection, `Age` and `Content-Length`.
    pub(crate) head: HeaderMap,
    pub(crate) body: Bytes,
    pub(crate) freshness: Freshness,
    pub(crate) selection: Selection,
    /// The wall clock when it arrived.
    pub(crate) wall: UnixSeconds,
    pub(crate) groups: Vec<Box<str>>,
    /// Which part of the content this is; `None`: all of it.
    pub(crate) part: Option<ContentRange>,
    bytes: usize,
    visits: AtomicU8,
    linked: AtomicBool,
    life: AtomicU8,
    soft_at: AtomicU64,
    checked: AtomicU64,
}

impl Stored {
    /// A copy that has been checked against the log up to `epoch`.
    #[expect(clippy::too_many_arguments, reason = "a record's fields, each of another type")]
    pub(crate) fn new(
        key: Key,
        status: StatusCode,
        head: HeaderMap,
        body: Bytes,
        freshness: Freshness,
        selection: Selection,
        wall: UnixSeconds,
        groups: Vec<Box<str>>,
        epoch: u64,
    ) -> Self {
        let fields: usize = head.iter().map(|(name, value)| name.as_str().len() + value.len() + 72).sum();
        let groups_bytes: usize = groups.iter().map(|group| group.len() + 16).sum();
        let bytes = body.len() + fields + key.bytes() + selection.bytes() + groups_bytes + OVERHEAD_BYTES;
        Self {
            key,
            status,
            head,
            body,
            freshness,
            selection,
            wall,
            groups,
            part: None,
            bytes,
            visits: AtomicU8::new(0),
            linked: AtomicBool::new(false),
            life: AtomicU8::new(LIVE),
            soft_at: AtomicU64::new(NEVER),
            checked: AtomicU64::new(epoch),
        }
    }

    /// When a soft purge ended its freshness.
    pub(crate) fn stale_from(&self) -> Option<Millis> {
        match self.soft_at.load(Ordering::Acquire) {
            NEVER => None,
            at => Some(at),
        }
    }

    /// Ends its freshness now.
    pub(crate) fn make_stale(&self, now: Millis) {
        self.soft_at.fetch_min(now, Ordering::AcqRel);
    }

    /// What it may be used for, all that was applied so far considered.
    pub(crate) fn life(&self, log: &PurgeLog) -> Life {
        self.check(log);
        match self.life.load(Ordering::Acquire) {
            LIVE => Life::Live,
            UNVERIFIED => Life::Unverified,
            SUPERSEDED => Life::Superseded,
            REMOVED => Life::Removed,
            _ => Life::Dropped,
        }
    }

    /// Brings it up to the log. Marks only ever get stronger, so two threads may do it at once.
    fn check(&self, log: &PurgeLog) {
        let checked = self.checked.load(Ordering::Acquire);
        if checked == log.epoch() {
            return;
        }
        let (now, entries) = log.since(checked);
        match entries {
            None => {
                self.life.fetch_max(DROPPED, Ordering::AcqRel);
            }
            Some(entries) => {
                for entry in entries {
                    if let Some(mark) = entry.mark(self.subject()) {
                        self.apply(mark);
                    }
                }
            }
        }
        self.checked.fetch_max(now, Ordering::AcqRel);
    }

    fn apply(&self, mark: Mark) {
        let life = match mark {
            Mark::Soft(at) => {
                self.soft_at.fetch_min(at, Ordering::AcqRel);
                return;
            }
            Mark::Unverified => UNVERIFIED,
            Mark::Superseded => SUPERSEDED,
            Mark::Removed => REMOVED,
            Mark::Dropped => DROPPED,
        };
        self.life.fetch_max(life, Ordering::AcqRel);
    }

    fn subject(&self) -> Subject<'_> {
        Subject { key: &self.key, response: Some((self.status, &self.groups)) }
    }

    /// Its strong entity tag, by which its body is found again.
    pub(crate) fn strong_tag(&self) -> Option<&HeaderValue> {
        let value = self.head.get(header::ETAG)?;
        Tag::parse(value.as_bytes()).filter(|tag| !tag.weak).map(|_| value)
    }

    fn visit(&self) {
        let visits = self.visits.load(Ordering::Relaxed);
        if visits < VISITS_MAX {
            self.visits.store(visits + 1, Ordering::Relaxed);
        }
    }
}

/// What is held for a request.
#[derive(Debug, Default)]
pub(crate) struct Found {
    /// The copy that the request selects and that policy may consider, the latest if there are several.
    pub(crate) live: Option<Arc<Stored>>,
    /// Every whole copy that the request selects and that policy may consider, the latest first.
    pub(crate) selected: Vec<Arc<Stored>>,
    /// Parts of a content that the request selects, the latest first.
    pub(crate) parts: Vec<Arc<Stored>>,
    /// A selected copy that must be compared with the new release first.
    pub(crate) unverified: Option<Arc<Stored>>,
    /// A selected copy that may stand in, marked as stale, while nothing else can be had.
    pub(crate) superseded: Option<Arc<Stored>>,
    /// Every copy of the URL whose body could be used again.
    pub(crate) bodies: Vec<Arc<Stored>>,
    /// Whether anything is held for the URL.
    pub(crate) any: bool,
}

impl Found {
    /// What a flight needs of it.
    pub(crate) fn clone_for_flight(&self) -> Self {
        Self {
            live: self.live.clone(),
            unverified: self.unverified.clone(),
            superseded: self.superseded.clone(),
            selected: self.selected.clone(),
            parts: self.parts.clone(),
            bodies: self.bodies.clone(),
            any: self.any,
        }
    }

    /// The copy with this validator.
    pub(crate) fn with_tag(&self, tag: Tag<'_>) -> Option<&Arc<Stored>> {
        self.bodies.iter().find(|stored| Tag::of(&stored.head).is_some_and(|held| held.strongly_equals(tag)))
    }
}

/// Whether a new copy makes one of the same selection superfluous.
fn replaces(new: &Stored, held: &Stored) -> bool {
    match (new.part, held.part) {
        (None, _) => true,
        (Some(_), None) => false,
        // Parts of different representations do not stand side by side (RFC 9111 §3.4).
        (Some(new_part), Some(held_part)) => {
            new_part.span.contains(held_part.span) || !range::combine(&new.head, &held.head)
        }
    }
}

#[derive(Debug)]
struct Queues {
    small: VecDeque<Weak<Stored>>,
    main: VecDeque<Weak<Stored>>,
    small_bytes: usize,
    ghost: VecDeque<u64>,
    ghosts: HashSet<u64>,
}

/// The store.
#[derive(Debug)]
pub(crate) struct Store {
    shards: Vec<Mutex<HashMap<Key, Vec<Arc<Stored>>>>>,
    queues: Mutex<Queues>,
    hasher: RandomState,
    bytes_max: usize,
    bytes: AtomicUsize,
    entries: AtomicUsize,
    evictions: AtomicU64,
}

/// Bytes that a response in flight takes; given back when dropped.
#[derive(Debug)]
pub(crate) struct Reservation {
    store: Arc<Store>,
    bytes: usize,
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.store.bytes.fetch_sub(self.bytes, Ordering::AcqRel);
    }
}

impl Reservation {
    /// Takes more; `false` where that many bytes are not to be had.
    pub(crate) fn grow(&mut self, more: usize) -> bool {
        let before = self.store.bytes.fetch_add(more, Ordering::AcqRel);
        self.bytes += more;
        if before + more > self.store.bytes_max {
            self.store.evict();
            return self.store.bytes.load(Ordering::Acquire) <= self.store.bytes_max;
        }
        true
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A panic while a lock is held leaves the tables whole: no step of ours is half done between two writes.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Store {
    pub(crate) fn new(bytes_max: usize) -> Self {
        Self {
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
            queues: Mutex::new(Queues {
                small: VecDeque::new(),
                main: VecDeque::new(),
                small_bytes: 0,
                ghost: VecDeque::new(),
                ghosts: HashSet::new(),
            }),
            hasher: RandomState::new(),
            bytes_max,
            bytes: AtomicUsize::new(0),
            entries: AtomicUsize::new(0),
            evictions: AtomicU64::new(0),
        }
    }

    /// Bytes in use, responses in flight included.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Copies held, superseded ones included.
    pub(crate) fn entries(&self) -> usize {
        self.entries.load(Ordering::Relaxed)
    }

    /// Copies evicted so far.
    pub(crate) fn evictions(&self) -> u64 {
        self.evictions.load(Ordering::Relaxed)
    }

    fn shard(&self, key: &Key) -> &Mutex<HashMap<Key, Vec<Arc<Stored>>>> {
        let hash = self.hasher.hash_one(key);
        // The upper bits, since the table inside uses a hasher of its own.
        let index = usize::try_from(hash >> 32).unwrap_or(0) % SHARDS;
        &self.shards[index]
    }

    /// Every copy under a key, the newest last, none of them visited.
    pub(crate) fn copies(&self, key: &Key) -> Vec<Arc<Stored>> {
        lock(self.shard(key)).get(key).cloned().unwrap_or_default()
    }

    /// Looks up a request. Only the copy that is used counts as visited.
    pub(crate) fn find(&self, key: &Key, request: &HeaderMap, log: &PurgeLog) -> Found {
        let mut found = Found::default();
        let shard = lock(self.shard(key));
        let Some(copies) = shard.get(key) else {
            return found;
        };
        // Newest last.
        for stored in copies.iter().rev() {
            let life = stored.life(log);
            if life == Life::Dropped {
                continue;
            }
            found.any = true;
            let selected = stored.selection.matches(request);
            if stored.part.is_some() {
                if selected && life == Life::Live {
                    stored.visit();
                    found.parts.push(Arc::clone(stored));
                }
                continue;
            }
            if selected && life == Life::Live {
                found.selected.push(Arc::clone(stored));
            }
            match life {
                Life::Live if selected && found.live.is_none() => {
                    stored.visit();
                    found.live = Some(Arc::clone(stored));
                }
                Life::Unverified if selected && found.unverified.is_none() => {
                    found.unverified = Some(Arc::clone(stored));
                }
                Life::Superseded if selected && found.superseded.is_none() => {
                    found.superseded = Some(Arc::clone(stored));
                }
                _ => {}
            }
            if stored.strong_tag().is_some() {
                found.bodies.push(Arc::clone(stored));
            }
        }
        found
    }

    /// The parts held of a variant.
    pub(crate) fn parts(&self, key: &Key, selection: &Selection, log: &PurgeLog) -> Vec<Arc<Stored>> {
        let shard = lock(self.shard(key));
        let copies = shard.get(key).map(Vec::as_slice).unwrap_or_default();
        let parts = copies.iter().filter(|stored| stored.part.is_some() && stored.selection == *selection);
        parts.filter(|stored| stored.life(log) == Life::Live).cloned().collect()
    }

    /// Takes a copy in, unless something applied since its fetch began covers it. It replaces the
    /// copies that its request fields select, and the superseded one whose body it has.
    pub(crate) fn insert(
        &self,
        stored: Stored,
        began: Began,
        log: &PurgeLog,
    ) -> Result<Arc<Stored>, Arc<Stored>> {
        stored.checked.store(began.epoch, Ordering::Release);
        let stored = Arc::new(stored);
        let life = stored.life(log);
        if life != Life::Live || stored.stale_from().is_some() || stored.bytes > self.bytes_max {
            return Err(stored);
        }
        let mut gone = Vec::new();
        {
            let mut shard = lock(self.shard(&stored.key));
            // Under the lock by which an unsafe request marks what is held.
            if log.invalidated(began, &stored.key) {
                return Err(stored.clone());
            }
            let copies = shard.entry(stored.key.clone()).or_default();
            let tag = stored.strong_tag();
            copies.retain(|held| {
                let life = held.life(log);
                let same_body = tag.is_some() && held.strong_tag() == tag;
                let same_selection = held.selection == stored.selection;
                let keep = match life {
                    // A part gives way to what holds all of it; a whole copy to a whole one alone.
                    Life::Live | Life::Unverified => !same_selection || !replaces(&stored, held),
                    Life::Superseded | Life::Removed => !same_body,
                    Life::Dropped => false,
                };
                if !keep {
                    gone.push(Arc::clone(held));
                }
                keep
            });
            copies.push(Arc::clone(&stored));
            stored.linked.store(true, Ordering::Release);
            self.bytes.fetch_add(stored.bytes, Ordering::AcqRel);
            self.entries.fetch_add(1, Ordering::AcqRel);
            let (mut live, mut kept) = (0, 0);
            // From the newest back, what exceeds the bounds goes.
            let mut index = copies.len();
            while index > 0 {
                index -= 1;
                let count = match copies[index].life(log) {
                    Life::Live | Life::Unverified => {
                        live += 1;
                        live <= VARIANTS_MAX
                    }
                    _ => {
                        kept += 1;
                        kept <= KEPT_MAX
                    }
                };
                if !count {
                    gone.push(copies.remove(index));
                }
            }
        }
        for held in gone {
            self.unlink(&held);
        }
        let mut queues = lock(&self.queues);
        let hash = self.hasher.hash_one(&stored.key);
        if queues.ghosts.remove(&hash) {
            queues.main.push_back(Arc::downgrade(&stored));
        } else {
            queues.small_bytes += stored.bytes;
            queues.small.push_back(Arc::downgrade(&stored));
        }
        self.compact(&mut queues);
        drop(queues);
        if self.bytes() > self.bytes_max {
            self.evict();
        }
        Ok(stored)
    }

    /// An unsafe request has changed what this key stands for: each copy is validated before its next use, and no fetch
    /// that began before is stored (RFC 9111 §4.4).
    pub(crate) fn invalidate(&self, key: &Key, log: &PurgeLog) {
        let shard = lock(self.shard(key));
        log.invalidate(key);
        for stored in shard.get(key).into_iter().flatten() {
            stored.apply(Mark::Unverified);
        }
    }

    /// Brings every copy up to the log.
    pub(crate) fn restamp(&self, log: &PurgeLog) {
        for shard in &self.shards {
            lock(shard).values().flatten().for_each(|stored| stored.check(log));
        }
    }

    /// A reservation of no bytes yet.
    pub(crate) fn reservation(self: &Arc<Self>) -> Reservation {
        Reservation { store: Arc::clone(self), bytes: 0 }
    }

    /// Settles the books for a copy that has left its shard.
    fn unlink(&self, stored: &Stored) {
        if stored.linked.swap(false, Ordering::AcqRel) {
            self.bytes.fetch_sub(stored.bytes, Ordering::AcqRel);
            self.entries.fetch_sub(1, Ordering::AcqRel);
        }
    }

    fn remove(&self, stored: &Arc<Stored>) {
        let mut shard = lock(self.shard(&stored.key));
        if let Some(copies) = shard.get_mut(&stored.key) {
            copies.retain(|held| !Arc::ptr_eq(held, stored));
            if copies.is_empty() {
                shard.remove(&stored.key);
            }
        }
        drop(shard);
        self.unlink(stored);
    }

    /// Evicts until the bound holds, or nothing is left.
    fn evict(&self) {
        let mut queues = lock(&self.queues);
        while self.bytes() > self.bytes_max {
            let from_small = queues.small_bytes > self.bytes_max / 10 || queues.main.is_empty();
            if from_small {
                let Some(weak) = queues.small.pop_front() else {
                    if queues.main.is_empty() {
                        return;
                    }
                    queues.small_bytes = 0;
                    continue;
                };
                let Some(stored) = weak.upgrade() else { continue };
                queues.small_bytes = queues.small_bytes.saturating_sub(stored.bytes);
                if !stored.linked.load(Ordering::Acquire) {
                    continue;
                }
                if stored.visits.load(Ordering::Relaxed) > 0
                    && stored.life.load(Ordering::Relaxed) < SUPERSEDED
                {
                    stored.visits.store(0, Ordering::Relaxed);
                    queues.main.push_back(weak);
                } else {
                    let hash = self.hasher.hash_one(&stored.key);
                    if queues.ghosts.insert(hash) {
                        queues.ghost.push_back(hash);
                    }
                    let ghosts_max = self.entries().max(1_024);
                    while queues.ghost.len() > ghosts_max {
                        if let Some(old) = queues.ghost.pop_front() {
                            queues.ghosts.remove(&old);
                        }
                    }
                    self.remove(&stored);
                    self.evictions.fetch_add(1, Ordering::Relaxed);
                }
            } else {
                let Some(weak) = queues.main.pop_front() else { continue };
                let Some(stored) = weak.upgrade() else { continue };
                if !stored.linked.load(Ordering::Acquire) {
                    continue;
                }
                let visits = stored.visits.load(Ordering::Relaxed);
                if visits > 0 && stored.life.load(Ordering::Relaxed) < SUPERSEDED {
                    stored.visits.store(visits - 1, Ordering::Relaxed);
                    queues.main.push_back(weak);
                } else {
                    self.remove(&stored);
                    self.evictions.fetch_add(1, Ordering::Relaxed);
                }
            }
        }
    }

    /// Queues hold names of what is long gone; without this they would grow with every replacement.
    fn compact(&self, queues: &mut Queues) {
        if queues.small.len() + queues.main.len() <= 2 * self.entries() + 1_024 {
            return;
        }
        let linked =
            |weak: &Weak<Stored>| weak.upgrade().is_some_and(|stored| stored.linked.load(Ordering::Acquire));
        queues.small.retain(linked);
        queues.main.retain(linked);
        queues.small_bytes = queues.small.iter().filter_map(Weak::upgrade).map(|stored| stored.bytes).sum();
    }

    /// Brings every copy up to the log and frees what is gone; returns how many copies `entry` drops or marks.
    pub(crate) fn sweep(&self, entry: &Applied, log: &PurgeLog) -> u64 {
        match entry.exact_keys() {
            Some(keys) => keys
                .iter()
                .map(|key| {
                    let mut shard = lock(self.shard(key));
                    match shard.get_mut(key) {
                        Some(copies) => {
                            let count = self.sweep_copies(copies, entry, log);
                            if copies.is_empty() {
                                shard.remove(key);
                            }
                            count
                        }
                        None => 0,
                    }
                })
                .sum(),
            None => self
                .shards
                .iter()
                .map(|shard| {
                    let mut count = 0;
                    lock(shard).retain(|_, copies| {
                        count += self.sweep_copies(copies, entry, log);
                        !copies.is_empty()
                    });
                    count
                })
                .sum(),
        }
    }

    fn sweep_copies(&self, copies: &mut Vec<Arc<Stored>>, entry: &Applied, log: &PurgeLog) -> u64 {
        let mut count = 0;
        copies.retain(|stored| {
            let was = stored.life.load(Ordering::Acquire);
            if was < SUPERSEDED && entry.mark(stored.subject()).is_some() {
                count += 1;
            }
            let keep = match stored.life(log) {
                Life::Dropped => false,
                Life::Removed => stored.strong_tag().is_some(),
                _ => true,
            };
            if !keep {
                self.unlink(stored);
            }
            keep
        });
        count
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::freshness::LifetimeSource;
    use proptest::prelude::*;
    use release::{journal::Selector, tree::Diff};

    fn copy(key: &Key, tag: &str, size: usize) -> Stored {
        let mut head = HeaderMap::new();
        head.insert(header::ETAG, HeaderValue::from_str(tag).unwrap());
        let freshness = Freshness {
            lifetime_ms: 1_000_000,
            source: LifetimeSource::MaxAge,
            initial_age_ms: 0,
            got: 0,
            no_cache: false,
            immutable: false,
            stale_refused: None,
            stale_while_revalidate_ms: None,
            stale_if_error_ms: None,
        };
        let body = Bytes::from(vec![b'x'; size]);
        Stored::new(
            key.clone(),
            StatusCode::OK,
            head,
            body,
            freshness,
            Selection::default(),
            0,
            vec!["g".into()],
            0,
        )
    }

    fn key(path: &str) -> Key {
        Key::of_site(&"main".into(), path)
    }

    fn purge(log: &PurgeLog, store: &Store, entry: Applied) -> u64 {
        let entry = Arc::new(entry);
        log.push(Arc::clone(&entry));
        store.sweep(&entry, log)
    }

    #[test]
    fn memory_is_bounded_and_the_hot_survive_a_scan() {
        let (store, log) = (Store::new(1 << 20), PurgeLog::default());
        let hot: Vec<Key> = (0..20).map(|n| key(&format!("/hot/{n}"))).collect();
        for key in &hot {
            store.insert(copy(key, "\"a\"", 8_192), Began::default(), &log).unwrap();
        }
        for n in 0..2_000 {
            for key in &hot {
                store.find(key, &HeaderMap::new(), &log);
            }
            store.insert(copy(&key(&format!("/scan/{n}")), "\"a\"", 8_192), Began::default(), &log).unwrap();
            assert!(store.bytes() <= 1 << 20);
        }
        for key in &hot {
            assert!(store.find(key, &HeaderMap::new(), &log).live.is_some(), "{key:?}");
        }
        assert!(store.evictions() > 1_800);
        // Replacing one key for ever grows nothing.
        for _ in 0..10_000 {
            store.insert(copy(&hot[0], "\"b\"", 100), Began::default(), &log).unwrap();
        }
        let queues = lock(&store.queues);
        assert!(queues.small.len() + queues.main.len() < 2_048 + 4 * store.entries());
    }

    #[test]
    fn what_is_too_large_is_not_stored_and_evicts_nothing() {
        let (store, log) = (Store::new(1 << 20), PurgeLog::default());
        store.insert(copy(&key("/a"), "\"a\"", 10), Began::default(), &log).unwrap();
        assert!(store.insert(copy(&key("/b"), "\"a\"", 1 << 20), Began::default(), &log).is_err());
        assert_eq!(store.entries(), 1);
    }

    #[test]
    fn marks_only_get_stronger() {
        let (store, log) = (Store::new(1 << 20), PurgeLog::default());
        store.insert(copy(&key("/a"), "\"a\"", 10), Began::default(), &log).unwrap();
        let url = [Selector::Url("/a".into())];
        let site = || Some("main".into());
        assert_eq!(purge(&log, &store, Applied::purge(site(), &url, Some(7))), 1);
        let soft = store.find(&key("/a"), &HeaderMap::new(), &log).live.unwrap();
        assert_eq!(soft.stale_from(), Some(7));
        assert_eq!(purge(&log, &store, Applied::purge(site(), &url, None)), 1);
        assert_eq!(purge(&log, &store, Applied::purge(site(), &url, Some(9))), 0);
        assert!(!store.find(&key("/a"), &HeaderMap::new(), &log).any);
        assert_eq!((store.entries(), store.bytes()), (0, 0));
    }

    #[test]
    fn a_fetch_that_an_entry_overtook_is_not_stored() {
        let (store, log) = (Store::new(1 << 20), PurgeLog::default());
        let started = log.now();
        purge(&log, &store, Applied::purge(Some("main".into()), &[Selector::Group("g".into())], None));
        assert!(store.insert(copy(&key("/a"), "\"a\"", 10), started, &log).is_err());
        assert!(store.insert(copy(&key("/a"), "\"a\"", 10), log.now(), &log).is_ok());
        // A soft purge does as well: the copy would be stale at once, and must not pass for fresh.
        let started = log.now();
        purge(&log, &store, Applied::purge(Some("main".into()), &[Selector::All], Some(1)));
        assert!(store.insert(copy(&key("/b"), "\"a\"", 10), started, &log).is_err());
    }

    #[test]
    fn superseded_bodies_are_found_again() {
        let (store, log) = (Store::new(1 << 20), PurgeLog::default());
        store.insert(copy(&key("/"), "\"a\"", 10), Began::default(), &log).unwrap();
        let step = |changed: &str| {
            Applied::step("main".into(), &Diff { changed: vec![changed.into()], ..Diff::default() })
        };
        assert_eq!(purge(&log, &store, step("index.html")), 1);
        let found = store.find(&key("/"), &HeaderMap::new(), &log);
        assert!(found.live.is_none() && found.superseded.is_some());
        store.insert(copy(&key("/"), "\"b\"", 10), log.now(), &log).unwrap();
        assert_eq!(purge(&log, &store, step("index.html")), 1);
        let found = store.find(&key("/"), &HeaderMap::new(), &log);
        assert!(found.with_tag(Tag { weak: false, opaque: b"a" }).is_some());
        assert!(found.with_tag(Tag { weak: false, opaque: b"b" }).is_some());
        // Back to the first: its kept copy gives way to the new one.
        store.insert(copy(&key("/"), "\"a\"", 10), log.now(), &log).unwrap();
        assert_eq!(store.entries(), 2);
        // Another page's step touches nothing, and a removed page is not shown again.
        assert_eq!(purge(&log, &store, step("x/index.html")), 0);
        let removed = Diff { removed: vec!["index.html".into()], ..Diff::default() };
        assert_eq!(purge(&log, &store, Applied::step("main".into(), &removed)), 1);
        let found = store.find(&key("/"), &HeaderMap::new(), &log);
        assert!(found.live.is_none() && found.superseded.is_none() && found.bodies.len() == 2);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        /// Whatever happens in whatever order: the bound holds, nothing that a purge covers is found, and the books
        /// balance in the end.
        #[test]
        fn the_books_balance(ops in proptest::collection::vec((0u8..6, 0usize..20, 0usize..150_000), 1..200)) {
            let (store, log) = (Store::new(1 << 20), PurgeLog::default());
            for (op, n, size) in ops {
                let key = key(&format!("/{n}/"));
                let url = [Selector::Url(format!("/{n}/"))];
                let path = format!("{n}/index.html");
                let site = || Some("main".into());
                match op {
                    0 | 1 => drop(store.insert(copy(&key, &format!("\"{size}\""), size), log.now(), &log)),
                    2 => drop(store.find(&key, &HeaderMap::new(), &log)),
                    3 => {
                        purge(&log, &store, Applied::purge(site(), &url, None));
                        prop_assert!(!store.find(&key, &HeaderMap::new(), &log).any);
                    }
                    4 => {
                        let diff = Diff { changed: vec![path], ..Diff::default() };
                        purge(&log, &store, Applied::step("main".into(), &diff));
                        prop_assert!(store.find(&key, &HeaderMap::new(), &log).live.is_none());
                    }
                    _ => {
                        store.invalidate(&key, &log);
                        prop_assert!(store.find(&key, &HeaderMap::new(), &log).live.is_none());
                    }
                }
                prop_assert!(store.bytes() <= 1 << 20);
            }
            purge(&log, &store, Applied::purge(Some("main".into()), &[Selector::All], None));
            prop_assert_eq!((store.bytes(), store.entries()), (0, 0));
        }
    }
}
