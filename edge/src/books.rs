//! What is in use of the memory, counted: by copies for as long as anybody has them, by responses in flight, by connections.

use std::sync::{
    Arc,
    atomic::{AtomicU64, AtomicUsize, Ordering},
};

use crate::{allowance::Allowance, sockets::Sockets, store::Store};

/// The part of the memory that may be in passing before less is taken for each who passes.
const SHORT_PART: usize = 4;
/// The part of it, in quarters, beyond which clients are ended that take what they are sent too slowly.
const RELIEF_QUARTERS: usize = 3;
/// And the part at which large bodies are no longer stored, but only streamed.
const CROWDED_PART: usize = 2;

/// The part of the memory that is made free where somebody waits for some.
const WANTED_PART: usize = 16;

/// What those who store and who wait write again and again: apart from what a hit reads, which would be taken from its
/// processor each time.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(crate) struct Books {
    bytes: AtomicUsize,
    /// Those of them that cannot be had back at once: of responses in flight, of connections, and of copies that somebody is
    /// being sent, stored or not any more.
    passing: AtomicUsize,
    bytes_max: AtomicUsize,
    /// What they would be if nothing else took more than is left to it.
    planned: AtomicUsize,
    /// What of that which was measured to be too much nothing that is stored can make room for.
    short: AtomicUsize,
    /// The same, with what is to be free for those who wait.
    wanted: AtomicUsize,
    allowance: Allowance,
    entries: AtomicUsize,
    evictions: AtomicU64,
    /// Connections to upstreams.
    upstreams: Arc<Sockets>,
}

/// Books are the same only if they are one.
impl PartialEq for Books {
    fn eq(&self, other: &Self) -> bool {
        std::ptr::eq(self, other)
    }
}

impl Eq for Books {}

impl std::hash::Hash for Books {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        std::ptr::hash(self, state);
    }
}

impl Books {
    /// Bytes in use.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Bytes that may be in use.
    pub(crate) fn bytes_max(&self) -> usize {
        self.bytes_max.load(Ordering::Relaxed)
    }

    pub(crate) fn set_bytes_max(&self, bytes_max: usize) {
        self.bytes_max.store(bytes_max, Ordering::Relaxed);
    }

    /// Notes how many may be in use as long as nothing else takes more than is left to it.
    pub(crate) fn plan(&self, bytes: usize) {
        self.planned.store(bytes, Ordering::Relaxed);
    }

    /// Connections to upstreams, of which the kernel says what it takes for them.
    pub(crate) fn upstreams(&self) -> &Arc<Sockets> {
        &self.upstreams
    }

    /// Whether more is in use than may be.
    pub(crate) fn is_over(&self) -> bool {
        self.bytes.load(Ordering::Acquire) > self.bytes_max()
    }

    /// Those of them that cannot be had back at once.
    pub(crate) fn passing(&self) -> usize {
        self.passing.load(Ordering::Relaxed)
    }

    fn passes(&self, part: usize) -> bool {
        self.passing() > self.bytes_max() / part
    }

    /// Whether so much is in passing that each who passes should do with little.
    pub(crate) fn is_short(&self) -> bool {
        self.passes(SHORT_PART)
    }

    /// The same, or nothing is left to those who come until the memory is measured again.
    pub(crate) fn is_tight(&self) -> bool {
        self.is_short() || self.allowance.left() == 0
    }

    /// Whether so much is in passing that large bodies had better not be stored: those of slow clients would take the place of
    /// all else, and be of use to nobody.
    pub(crate) fn is_crowded(&self) -> bool {
        self.passes(CROWDED_PART)
    }

    /// Bytes in passing beyond what may ever be.
    pub(crate) fn passing_beyond(&self) -> usize {
        let planned = self.planned.load(Ordering::Relaxed);
        self.passing().saturating_sub(planned / 4 * RELIEF_QUARTERS)
    }

    /// Bytes that were measured to be too much, beside all that is stored and can make room: who passes has to.
    pub(crate) fn short_bytes(&self) -> usize {
        self.short.load(Ordering::Relaxed)
    }

    /// What those may take who come before it is measured again.
    pub(crate) fn allowance(&self) -> &Allowance {
        &self.allowance
    }

    /// Bytes that those who take what they are sent too slowly, or ask for nothing, have to give back: what is short, and some for
    /// those who wait for memory.
    pub(crate) fn wanted_bytes(&self) -> usize {
        self.wanted.load(Ordering::Relaxed)
    }

    /// Notes that of `most` bytes so many were measured to be `taken`. What is merely stored makes room.
    pub(crate) fn measure(&self, taken: usize, most: usize) {
        let stored = self.bytes().saturating_sub(self.passing());
        let room = most.saturating_add(stored);
        let wanted = if self.allowance.was_wanted() { most / WANTED_PART } else { 0 };
        self.short.store(taken.saturating_sub(room), Ordering::Relaxed);
        self.wanted.store(taken.saturating_add(wanted).saturating_sub(room), Ordering::Relaxed);
        self.allowance.renew(room.saturating_sub(taken));
    }

    /// Copies that are stored.
    pub(crate) fn entries(&self) -> usize {
        self.entries.load(Ordering::Relaxed)
    }

    /// Copies evicted so far.
    pub(crate) fn evictions(&self) -> u64 {
        self.evictions.load(Ordering::Relaxed)
    }

    pub(crate) fn count_eviction(&self) {
        self.evictions.fetch_add(1, Ordering::Relaxed);
    }

    /// A copy of so many bytes is stored.
    pub(crate) fn enters(&self, bytes: usize) {
        self.bytes.fetch_add(bytes, Ordering::AcqRel);
        self.entries.fetch_add(1, Ordering::AcqRel);
    }

    /// One is stored no more, and somebody may still read it.
    pub(crate) fn leaves(&self) {
        self.entries.fetch_sub(1, Ordering::AcqRel);
    }

    /// One that was stored is no more.
    pub(crate) fn ends(&self, bytes: usize) {
        self.bytes.fetch_sub(bytes, Ordering::AcqRel);
    }

    /// Somebody is being sent the content of a copy of so many bytes.
    pub(crate) fn is_read(&self, bytes: usize) {
        self.passing.fetch_add(bytes, Ordering::AcqRel);
        self.allowance.draws(0, bytes);
    }

    /// The last who was has it.
    pub(crate) fn is_unread(&self, bytes: usize) {
        self.passing.fetch_sub(bytes, Ordering::AcqRel);
        self.allowance.draws(bytes, 0);
    }

    fn take(&self, bytes: usize) {
        self.passing.fetch_add(bytes, Ordering::AcqRel);
        self.bytes.fetch_add(bytes, Ordering::AcqRel);
    }

    fn give(&self, bytes: usize) {
        self.passing.fetch_sub(bytes, Ordering::AcqRel);
        self.bytes.fetch_sub(bytes, Ordering::AcqRel);
    }
}

/// Bytes that a response in flight or a connection takes; given back when dropped.
#[derive(Debug)]
pub(crate) struct Reservation {
    store: Arc<Store>,
    bytes: usize,
    /// Whether what it takes is in use already: until the memory is measured, it is not left to others.
    is_used: bool,
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.hold(0);
    }
}

impl Reservation {
    /// None yet.
    pub(crate) fn new(store: &Arc<Store>) -> Self {
        Self { store: Arc::clone(store), bytes: 0, is_used: false }
    }

    /// None yet, of what is used as it is taken.
    pub(crate) fn of_used(store: &Arc<Store>) -> Self {
        Self { store: Arc::clone(store), bytes: 0, is_used: true }
    }

    /// Bytes that it has taken.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether it had better do with little.
    pub(crate) fn is_tight(&self) -> bool {
        self.store.books().is_tight()
    }

    /// Whether a large body had better not be stored.
    pub(crate) fn is_crowded(&self) -> bool {
        self.store.books().is_crowded()
    }

    /// Takes so many bytes in all, whether they are to be had or not: they are in use already, or no longer.
    pub(crate) fn hold(&mut self, bytes: usize) {
        if bytes > self.bytes {
            self.grow(bytes - self.bytes);
        } else {
            self.store.books().give(self.bytes - bytes);
            self.becomes(bytes);
        }
    }

    /// Takes more; `false` where that many bytes are not to be had.
    pub(crate) fn grow(&mut self, more: usize) -> bool {
        self.store.books().take(more);
        self.becomes(self.bytes + more);
        self.store.make_room()
    }

    fn becomes(&mut self, bytes: usize) {
        if self.is_used {
            self.store.books().allowance().draws(self.bytes, bytes);
        }
        self.bytes = bytes;
    }
}
