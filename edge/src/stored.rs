//! A complete stored response, and what has become of it since.

use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};

use http::{HeaderMap, HeaderValue, StatusCode, header};

use crate::{
    head_block::HeadBlock,
    key::Key,
    policy::{
        date::UnixSeconds,
        freshness::{Freshness, Millis},
        range::ContentRange,
        validate::Tag,
        vary::{Class, Selection},
    },
    purge::{Mark, PurgeLog, Subject},
    stored_body::StoredBody,
};

/// Visits that count: S3-FIFO needs no more than two bits.
const VISITS_MAX: u8 = 3;
/// What a copy costs beside its body, fields, key, selection and groups, in bytes: itself, its list (48), its names in
/// the queues and among the ghosts (50), and what the allocator adds to six allocations (96).
const OVERHEAD_BYTES: usize = size_of::<Stored>() + 194;

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
    pub(crate) block: HeadBlock,
    pub(crate) body: StoredBody,
    pub(crate) freshness: Freshness,
    pub(crate) selection: Selection,
    /// The wall clock when it arrived.
    pub(crate) wall: UnixSeconds,
    /// On the heap: few copies are parts.
    part: Option<Box<ContentRange>>,
    /// Which requests select it, in short.
    pub(crate) class: Class,
    /// `None`: there are none.
    groups: Option<Box<[Box<str>]>>,
    bytes: usize,
    visits: AtomicU8,
    linked: AtomicBool,
    in_small: AtomicBool,
    life: AtomicU8,
    soft_at: AtomicU64,
    checked: AtomicU64,
}

impl Stored {
    /// A copy that has been checked against the log up to `epoch`. `head` is without fields of the connection, `Age` and
    /// `Content-Length`.
    #[expect(clippy::too_many_arguments, reason = "a record's fields, each of another type")]
    pub(crate) fn new(
        key: Key,
        status: StatusCode,
        head: &HeaderMap,
        body: StoredBody,
        freshness: Freshness,
        selection: Selection,
        wall: UnixSeconds,
        groups: Vec<Box<str>>,
        epoch: u64,
    ) -> Self {
        let block = HeadBlock::new(head, key.of_site);
        let groups_bytes: usize = groups.iter().map(|group| group.len() + 24).sum();
        let bytes =
            body.len() + block.len() + key.bytes() + selection.bytes() + groups_bytes + OVERHEAD_BYTES;
        let class = selection.class();
        Self {
            key,
            status,
            block,
            body,
            freshness,
            selection,
            wall,
            part: None,
            class,
            groups: (!groups.is_empty()).then(|| groups.into_boxed_slice()),
            bytes,
            visits: AtomicU8::new(0),
            linked: AtomicBool::new(false),
            in_small: AtomicBool::new(false),
            life: AtomicU8::new(LIVE),
            soft_at: AtomicU64::new(NEVER),
            checked: AtomicU64::new(epoch),
        }
    }

    /// The fields, without those of the connection, `Age` and `Content-Length`; made anew each time.
    pub(crate) fn head(&self) -> HeaderMap {
        self.block.map()
    }

    /// Which part of the content this is; `None`: all of it.
    pub(crate) fn part(&self) -> Option<ContentRange> {
        self.part.as_deref().copied()
    }

    /// Makes it a part, before it is stored.
    pub(crate) fn make_part(&mut self, part: Option<ContentRange>) {
        self.part = part.map(Box::new);
    }

    /// The cache groups.
    pub(crate) fn groups(&self) -> &[Box<str>] {
        self.groups.as_deref().unwrap_or_default()
    }

    /// What it takes in memory, in bytes.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
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
    pub(crate) fn check(&self, log: &PurgeLog) {
        let checked = self.checked.load(Ordering::Acquire);
        if checked == log.epoch() {
            return;
        }
        let subject = self.subject();
        let (now, remembered) = log.since(checked, |entry| {
            if entry.mark(&subject).is_some_and(|mark| self.apply(mark)) {
                entry.count();
            }
            false
        });
        if !remembered {
            self.life.fetch_max(DROPPED, Ordering::AcqRel);
        }
        self.checked.fetch_max(now, Ordering::AcqRel);
    }

    /// It was checked up to `epoch`, and not since.
    pub(crate) fn checked_at(&self, epoch: u64) {
        self.checked.store(epoch, Ordering::Release);
    }

    /// Makes it no better than `mark` says; whether it was better. Of threads that do it at once, one is told so.
    pub(crate) fn apply(&self, mark: Mark) -> bool {
        let life = match mark {
            Mark::Soft(at) => {
                let was_usable = self.life.load(Ordering::Acquire) < SUPERSEDED;
                return self.soft_at.fetch_min(at, Ordering::AcqRel) > at && was_usable;
            }
            Mark::Unverified => UNVERIFIED,
            Mark::Superseded => SUPERSEDED,
            Mark::Removed => REMOVED,
            Mark::Dropped => DROPPED,
        };
        let before = self.life.fetch_max(life, Ordering::AcqRel);
        before < life && before < SUPERSEDED
    }

    fn subject(&self) -> Subject<'_> {
        Subject::new(&self.key, Some((self.status, self.groups())))
    }

    /// Its strong entity tag, by which its body is found again.
    pub(crate) fn strong_tag(&self) -> Option<HeaderValue> {
        let value = self.block.get(&header::ETAG)?;
        Tag::parse(value).filter(|tag| !tag.weak)?;
        HeaderValue::from_bytes(value).ok()
    }

    /// Whether its strong entity tag is this one.
    pub(crate) fn has_strong_tag(&self, tag: Tag<'_>) -> bool {
        self.block.get(&header::ETAG).and_then(Tag::parse).is_some_and(|held| held.strongly_equals(tag))
    }

    /// Notes that it was used. The first uses write; those of a hot copy only read.
    pub(crate) fn visit(&self) {
        let visits = self.visits.load(Ordering::Relaxed);
        if visits < VISITS_MAX {
            self.visits.store(visits + 1, Ordering::Relaxed);
        }
    }

    /// Whether it was used since it was last looked at, and may be used again.
    pub(crate) fn is_wanted(&self) -> bool {
        self.visits.load(Ordering::Relaxed) > 0 && self.life.load(Ordering::Relaxed) < SUPERSEDED
    }

    pub(crate) fn forget_visits(&self) {
        self.visits.store(0, Ordering::Relaxed);
    }

    pub(crate) fn spend_visit(&self) {
        self.visits.store(self.visits.load(Ordering::Relaxed).saturating_sub(1), Ordering::Relaxed);
    }

    /// Whether it is in the store.
    pub(crate) fn is_linked(&self) -> bool {
        self.linked.load(Ordering::SeqCst)
    }

    pub(crate) fn link(&self) {
        self.linked.store(true, Ordering::SeqCst);
    }

    /// Takes it out of the books; `false`: it was out already.
    pub(crate) fn unlink(&self) -> bool {
        self.linked.swap(false, Ordering::SeqCst)
    }

    pub(crate) fn enter_small(&self) {
        self.in_small.store(true, Ordering::SeqCst);
    }

    /// Notes that it does not count as one of the small queue any more; `false`: it did not.
    pub(crate) fn leave_small(&self) -> bool {
        self.in_small.swap(false, Ordering::SeqCst)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// At a million small objects each byte here is a megabyte.
    #[test]
    fn a_copy_is_small() {
        assert!(size_of::<Stored>() <= 256, "{}", size_of::<Stored>());
    }
}
