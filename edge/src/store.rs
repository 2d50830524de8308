//! The store: complete responses in memory, bounded by bytes.
//!
//! Where copies lie, and how readers find them without a lock, is the business of `table`; what goes when memory is short
//! that of `queues`. What the rules of purges and activations do to a copy is decided when it is read, from the log;
//! `sweep` frees what is gone.

use std::{
    ops::ControlFlow,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use http::HeaderMap;

use crate::{
    books::{Books, Reservation},
    head_block::{Common, Commons},
    key::{Key, KeyRef},
    paths::Paths,
    policy::{range, validate::Tag, vary::Selection},
    purge::{Began, Mark, PurgeLog},
    queues::{Queues, SmallBytes},
    table::Table,
};

pub(crate) use crate::stored::{Life, Stored};

/// Variants of one URL that are kept; more would let one URL's request fields fill the memory.
const VARIANTS_MAX: usize = 32;
/// Superseded copies of one URL that are kept for their bodies.
const KEPT_MAX: usize = 4;

/// What is held for a request.
#[derive(Debug, Default)]
pub(crate) struct Found {
    /// The copy that the request selects and that policy may consider, the latest if there are several.
    pub(crate) live: Option<Arc<Stored>>,
    /// Every whole copy that the request selects and that policy may consider, the latest first.
    pub(crate) selected: Vec<Arc<Stored>>,
    /// Parts of a content that the request selects, the latest first.
    pub(crate) parts: Vec<Arc<Stored>>,
    /// Whether parts that the request selects were made invalid.
    pub(crate) has_invalid_parts: bool,
    /// Selected copies that must be validated or compared with the new release first, the latest first.
    pub(crate) unverified: Vec<Arc<Stored>>,
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
            has_invalid_parts: self.has_invalid_parts,
            bodies: self.bodies.clone(),
            any: self.any,
        }
    }

    /// The whole copy that the request is about, fresh or not.
    pub(crate) fn held(&self) -> Option<&Arc<Stored>> {
        self.live.as_ref().or(self.unverified.first())
    }

    /// The copy with this validator.
    pub(crate) fn with_tag(&self, tag: Tag<'_>) -> Option<&Arc<Stored>> {
        self.bodies.iter().find(|stored| stored.has_strong_tag(tag))
    }
}

/// Where in a list, the newest last, a new copy belongs: before those that are fresh and of a later `Date`, since of several
/// that a request selects it is the latest that answers (RFC 9111 §4).
fn place(new: &Stored, list: &[Arc<Stored>], log: &PurgeLog) -> usize {
    if list.is_empty() {
        return 0;
    }
    let (key, date, now) = (new.key(), new.date(), new.freshness().got);
    let is_later = |held: &Arc<Stored>| {
        held.key() == key
            && held.life(log) == Life::Live
            && held.freshness().is_fresh(now, held.stale_from())
            && held.date() > date
    };
    list.iter().position(is_later).unwrap_or(list.len())
}

/// Whether a new copy makes one of the same selection superfluous.
fn replaces(new: &Stored, held: &Stored) -> bool {
    match (new.part(), held.part()) {
        (None, _) => true,
        (Some(_), None) => false,
        // Parts of different representations do not stand side by side (RFC 9111 §3.4).
        (Some(new_part), Some(held_part)) => {
            new_part.span.contains(held_part.span) || !range::combine(&new.head(), &held.head())
        }
    }
}

/// The store.
#[derive(Debug)]
pub(crate) struct Store {
    table: Table,
    /// Of upstreams' copies alone: what covers a site's names its paths exactly.
    paths: Paths,
    queues: Mutex<Queues>,
    small_bytes: Arc<SmallBytes>,
    commons: Commons,
    books: Arc<Books>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A panic while a lock is held leaves the queues whole: no step of ours is half done between two writes.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Store {
    pub(crate) fn new(bytes_max: usize) -> Self {
        let table = Table::new(bytes_max);
        let queues = Queues::default();
        let books = Arc::new(Books::default());
        books.set_bytes_max(bytes_max.saturating_sub(table.bytes()));
        books.plan(bytes_max);
        Self {
            small_bytes: queues.small_bytes(),
            queues: Mutex::new(queues),
            commons: Commons::new(Arc::clone(&books)),
            table,
            paths: Paths::default(),
            books,
        }
    }

    /// What is in use of the memory.
    pub(crate) fn books(&self) -> &Arc<Books> {
        &self.books
    }

    /// Bytes in use, responses in flight and connections included.
    pub(crate) fn bytes(&self) -> usize {
        self.books.bytes()
    }

    fn bytes_max(&self) -> usize {
        self.books.bytes_max()
    }

    /// Sets what may be used, or goes a step of `step_bytes` towards it where less is in use by then; `false`: it is not there
    /// yet.
    pub(crate) fn resize(&self, bytes_max: usize, step_bytes: usize) -> bool {
        let wanted = bytes_max.saturating_sub(self.table.bytes());
        let step = wanted.max(self.bytes().min(self.bytes_max()).saturating_sub(step_bytes));
        self.books.set_bytes_max(step);
        self.evict();
        step == wanted
    }

    /// Copies held, superseded ones included.
    pub(crate) fn entries(&self) -> usize {
        self.books.entries()
    }

    /// Copies evicted so far.
    pub(crate) fn evictions(&self) -> u64 {
        self.books.evictions()
    }

    /// Every copy under a key, the newest first, none of them visited.
    pub(crate) fn copies(&self, key: &Key) -> Vec<Arc<Stored>> {
        let mut copies = Vec::new();
        self.table.each(key.borrowed(), |stored| copies.push(Arc::clone(stored)));
        copies
    }

    /// The copy that answers a plain request as it is, if one look can tell: whole, live, and selected, as `selects` says;
    /// `None` from it, or from here, says nothing: [`Store::find`] looks closer. A copy that was checked against all that was
    /// applied costs neither an allocation nor a lock, and the only write is the mark of the first visits.
    pub(crate) fn hit<T>(
        &self,
        key: KeyRef<'_>,
        mut selects: impl FnMut(&Stored) -> Option<bool>,
        log: &PurgeLog,
        answer: impl FnOnce(&Arc<Stored>) -> Option<T>,
    ) -> Option<T> {
        let mut answer = Some(answer);
        self.table
            .look(self.table.index(key), |stored| {
                if stored.key() != key || stored.part().is_some() {
                    return ControlFlow::Continue(());
                }
                if stored.life(log) != Life::Live {
                    return ControlFlow::Break(None);
                }
                match selects(stored) {
                    None => return ControlFlow::Break(None),
                    Some(false) => return ControlFlow::Continue(()),
                    Some(true) => {}
                }
                let answered = answer.take().and_then(|answer| answer(stored));
                if answered.is_some() {
                    stored.visit();
                }
                ControlFlow::Break(answered)
            })
            .flatten()
    }

    /// Looks up a request. Only what is used counts as visited.
    pub(crate) fn find(&self, key: &Key, request: &HeaderMap, log: &PurgeLog) -> Found {
        let found = self.look(key, request, log);
        found.live.iter().chain(&found.parts).for_each(|stored| stored.visit());
        found
    }

    /// The same, and nothing counts as visited.
    pub(crate) fn look(&self, key: &Key, request: &HeaderMap, log: &PurgeLog) -> Found {
        let mut found = Found::default();
        self.table.each(key.borrowed(), |stored| {
            let life = stored.life(log);
            if life == Life::Dropped {
                return;
            }
            found.any = true;
            let selected = stored.selection().matches(request);
            if stored.part().is_some() {
                match life {
                    Life::Live if selected => found.parts.push(Arc::clone(stored)),
                    Life::Unverified if selected => found.has_invalid_parts = true,
                    _ => {}
                }
                return;
            }
            if selected && life == Life::Live {
                found.selected.push(Arc::clone(stored));
            }
            match life {
                // Of several the latest answers, or none (RFC 9111 §4): not an older one because that is to be validated.
                Life::Live if selected && found.live.is_none() && found.unverified.is_empty() => {
                    found.live = Some(Arc::clone(stored));
                }
                Life::Unverified if selected => found.unverified.push(Arc::clone(stored)),
                Life::Superseded if selected && found.superseded.is_none() => {
                    found.superseded = Some(Arc::clone(stored));
                }
                _ => {}
            }
            if stored.strong_tag().is_some() {
                found.bodies.push(Arc::clone(stored));
            }
        });
        found
    }

    /// The parts held of a variant.
    pub(crate) fn parts(&self, key: &Key, selection: &Selection, log: &PurgeLog) -> Vec<Arc<Stored>> {
        let mut parts = self.copies(key);
        parts.retain(|stored| {
            stored.part().is_some() && *stored.selection() == *selection && stored.life(log) == Life::Live
        });
        parts
    }

    /// Takes a copy in, unless something applied since its fetch began covers it. It replaces the
    /// copies that its request fields select, and the superseded one whose body it has.
    pub(crate) fn insert(
        &self,
        stored: Stored,
        began: Began,
        log: &PurgeLog,
    ) -> Result<Arc<Stored>, Arc<Stored>> {
        stored.checked_at(began.epoch);
        let stored = Arc::new(stored);
        let life = stored.life(log);
        if life != Life::Live || stored.stale_from().is_some() || stored.bytes() > self.bytes_max() {
            return Err(stored);
        }
        let mut gone = Vec::new();
        let key = stored.key();
        self.enter_path(&stored);
        let taken = self.table.change(self.table.index(key), |list| {
            // Under the lock by which an unsafe request marks what is held.
            if log.invalidated(began, key) {
                return false;
            }
            list.retain(|held| {
                let same_selection = held.selects_as(&stored);
                let keep = held.key() != key
                    || match held.life(log) {
                        // A part gives way to what holds all of it; a whole copy to a whole one alone.
                        Life::Live | Life::Unverified => !same_selection || !replaces(&stored, held),
                        Life::Superseded | Life::Removed => {
                            let tag = stored.strong_tag();
                            tag.is_none() || held.strong_tag() != tag
                        }
                        Life::Dropped => false,
                    };
                if !keep {
                    gone.push(Arc::clone(held));
                }
                keep
            });
            list.insert(place(&stored, list, log), Arc::clone(&stored));
            stored.link();
            let (mut live, mut kept) = (1, 0);
            // From the newest back, what exceeds the bounds beside the new one goes.
            let mut index = list.len();
            while index > 0 {
                index -= 1;
                if list[index].key() != key || Arc::ptr_eq(&list[index], &stored) {
                    continue;
                }
                let counts = match list[index].life(log) {
                    Life::Live | Life::Unverified => {
                        live += 1;
                        live <= VARIANTS_MAX
                    }
                    _ => {
                        kept += 1;
                        kept <= KEPT_MAX
                    }
                };
                if !counts {
                    gone.push(list.remove(index));
                }
            }
            true
        });
        for held in gone {
            self.unlink(&held);
        }
        if !taken {
            self.leave_path(&stored);
            return Err(stored);
        }
        lock(&self.queues).push(&stored, self.table.hash(key), self.entries());
        self.make_room();
        Ok(stored)
    }

    /// An unsafe request, sent when `began` says, has changed what this key stands for: each copy is validated before its next
    /// use, and no fetch that began before is stored (RFC 9111 §4.4). Returns when that was, as what its own response may be
    /// stored with; `None`: another one has done so meanwhile, and nobody knows which of the two was the last.
    pub(crate) fn invalidate(&self, key: &Key, began: Began, log: &PurgeLog) -> Option<Began> {
        self.table.change(self.table.index(key.borrowed()), |list| {
            let is_alone = !log.invalidated(began, key.borrowed());
            log.invalidate(key);
            for stored in list.iter().filter(|stored| stored.key() == key.borrowed()) {
                stored.apply(Mark::Unverified);
            }
            is_alone.then(|| log.now())
        })
    }

    /// Whether a copy under this key had to make room before it was asked for again.
    pub(crate) fn was_evicted(&self, key: &Key) -> bool {
        lock(&self.queues).remembers(self.table.hash(key.borrowed()))
    }

    /// A reservation of no bytes yet.
    pub(crate) fn reservation(self: &Arc<Self>) -> Reservation {
        Reservation::new(self)
    }

    /// Settles the books for a copy that has left its list.
    fn unlink(&self, stored: &Stored) {
        if stored.unlink() {
            self.small_bytes.leave(stored);
            self.leave_path(stored);
        }
    }

    fn enter_path(&self, stored: &Stored) {
        let key = stored.key();
        if !key.of_site {
            self.paths.enter(&key.normal_path(), self.table.index(key));
        }
    }

    fn leave_path(&self, stored: &Stored) {
        let key = stored.key();
        if !key.of_site {
            self.paths.leave(&key.normal_path(), self.table.index(key));
        }
    }

    /// Evicts where more is in use than may be; `false`: that was not enough.
    pub(crate) fn make_room(&self) -> bool {
        if self.books.is_over() {
            self.evict();
        }
        !self.books.is_over()
    }

    /// Evicts until the bound holds, or nothing is left. What somebody still reads gives its memory back when it was read.
    fn evict(&self) {
        let mut queues = lock(&self.queues);
        while self.books.is_over() {
            let hash = |stored: &Stored| self.table.hash(stored.key());
            let Some(stored) = queues.pop(self.bytes_max(), self.entries(), hash) else { return };
            self.table.change(self.table.index(stored.key()), |list| {
                list.retain(|held| !Arc::ptr_eq(held, &stored));
            });
            self.unlink(&stored);
            self.books.count_eviction();
        }
    }

    /// Lists that there are, for those who go through all of them.
    pub(crate) fn lists(&self) -> usize {
        self.table.lists()
    }

    /// The list in which copies under this key lie.
    pub(crate) fn list(&self, key: &Key) -> usize {
        self.table.index(key.borrowed())
    }

    /// The lists in which upstreams' copies of a path lie, in the spelling of purges, whatever their host and query; `None`:
    /// there are too many to be remembered.
    pub(crate) fn lists_of_path(&self, path: &str) -> Option<Vec<usize>> {
        self.paths.lists(path)
    }

    /// What a copy under `key` with these fields shares with others.
    pub(crate) fn common(&self, key: &Key, head: &HeaderMap, names_us: bool) -> Arc<Common> {
        self.commons.of(key, head, names_us)
    }

    /// Brings the copies of a list up to the log, and takes out what is gone; returns how many there were, and how many of
    /// them are gone.
    pub(crate) fn sweep_list(&self, index: usize, log: &PurgeLog) -> (usize, usize) {
        let (mut count, mut is_gone) = (0, false);
        self.table.look::<()>(index, |stored| {
            count += 1;
            is_gone |= !keeps(stored, log);
            ControlFlow::Continue(())
        });
        let mut gone = 0;
        if is_gone {
            self.table.change(index, |list| {
                list.retain(|stored| {
                    let keep = keeps(stored, log);
                    if !keep {
                        gone += 1;
                        self.unlink(stored);
                    }
                    keep
                });
            });
        }
        (count, gone)
    }

    /// Names in the queues.
    #[cfg(test)]
    pub(crate) fn names(&self) -> usize {
        lock(&self.queues).names()
    }

    /// Takes names of what is gone out of a piece of the queues, and with them the last of its memory; `false`: there is no
    /// such piece.
    pub(crate) fn sweep_names(&self, piece: usize) -> bool {
        lock(&self.queues).clean(piece)
    }
}

/// Whether a copy is of any use.
fn keeps(stored: &Stored, log: &PurgeLog) -> bool {
    match stored.life(log) {
        Life::Dropped => false,
        Life::Removed => stored.strong_tag().is_some(),
        _ => true,
    }
}

#[cfg(test)]
pub(crate) mod tests;
