//! A stored response, and what has become of it since.
//!
//! It is packed: at a million small objects each byte here is a megabyte. What has a length lies in one block of bytes;
//! what few responses have lies elsewhere.

use std::{
    borrow::Cow,
    ops::Range,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering},
    },
};

use arc_swap::ArcSwapOption;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode, header};

use crate::{
    groups::Groups,
    head_block::{Common, HeadBlock, Places},
    key::KeyRef,
    paths,
    policy::{
        date::{self, UnixSeconds},
        freshness::{Freshness, Millis, Packed},
        range::ContentRange,
        validate::Tag,
        vary::{Class, Selection},
    },
    purge::{Mark, PurgeLog, Subject},
    stored_body::{MemoryFile, StoredBody},
};

/// Visits that count: S3-FIFO needs no more than two bits.
const VISITS_MAX: u8 = 3;
/// What a copy costs beside its block, in bytes: itself, its counters (16), its names in the queues and among the ghosts (60),
/// what the allocator adds to two allocations (32), and its place among those of its path.
const OVERHEAD_BYTES: usize = size_of::<Stored>() + 108 + paths::BYTES_EACH;

/// Where a copy is: not yet stored, stored, or no more.
const NEW: u8 = 0;
const LINKED: u8 = 1;
const LEFT: u8 = 2;

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

/// A stored response.
#[derive(Debug)]
pub(crate) struct Stored {
    /// What it shares with others.
    common: Arc<Common>,
    /// One after the other: the target of its key, its groups, its own fields, its content unless that has a file.
    block: Box<[u8]>,
    rare: Option<Box<Rare>>,
    /// The copy after this one in its list, which came before it.
    pub(crate) next: ArcSwapOption<Self>,
    soft_at: AtomicU64,
    checked: AtomicU64,
    freshness: Packed,
    /// Where the groups, the fields, and the content begin.
    groups: u32,
    fields: u32,
    content: u32,
    places: Places,
    /// Which requests select it, in short.
    pub(crate) class: Class,
    pub(crate) status: StatusCode,
    visits: AtomicU8,
    place: AtomicU8,
    readers: AtomicU32,
    in_small: AtomicBool,
    life: AtomicU8,
}

/// What few responses have.
#[derive(Debug, Default)]
struct Rare {
    /// Where the class does not say it.
    selection: Option<Selection>,
    part: Option<ContentRange>,
    /// The content, where it is large.
    file: Option<Arc<MemoryFile>>,
}

/// A copy whose content somebody is being sent, which keeps it in memory for as long as that takes.
#[derive(Debug)]
pub(crate) struct Read(Arc<Stored>);

impl Drop for Read {
    fn drop(&mut self) {
        if self.0.readers.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.0.common.books.is_unread(self.0.bytes());
        }
    }
}

impl AsRef<[u8]> for Read {
    fn as_ref(&self) -> &[u8] {
        self.0.body()
    }
}

impl Read {
    /// The file that holds the content and nothing else, where there is one.
    pub(crate) fn file(&self) -> Option<&MemoryFile> {
        self.0.file().map(Arc::as_ref)
    }
}

/// A place in a block.
fn at(place: u32) -> usize {
    usize::try_from(place).unwrap_or(usize::MAX)
}

impl Stored {
    /// A copy that has been checked against the log up to `epoch`. `head` is without fields of the connection, `Age` and
    /// `Content-Length`.
    #[expect(clippy::too_many_arguments, reason = "a record's fields, each of another type")]
    pub(crate) fn new(
        target: &str,
        common: Arc<Common>,
        status: StatusCode,
        head: &HeaderMap,
        body: StoredBody,
        freshness: &Freshness,
        selection: Selection,
        wall: UnixSeconds,
        groups: &[Box<str>],
        epoch: u64,
    ) -> Self {
        let (inline, file) = match body {
            StoredBody::Heap(bytes) => (bytes, None),
            StoredBody::File(file) => (Bytes::new(), Some(file)),
        };
        let groups = Groups::join(groups);
        let own_bytes = HeadBlock::own_bytes(head);
        let mut block = Vec::with_capacity(target.len() + groups.len() + own_bytes + inline.len());
        let place = |block: &Vec<u8>| u32::try_from(block.len()).unwrap_or(u32::MAX);
        block.extend_from_slice(target.as_bytes());
        let groups_at = place(&block);
        block.extend_from_slice(groups.as_bytes());
        let fields = place(&block);
        let places = HeadBlock::write(head, common.of_site, &mut block);
        let content = place(&block);
        block.extend_from_slice(&inline);
        let class = selection.class();
        let selection = (class == Class::Other).then_some(selection);
        Self {
            common,
            block: block.into_boxed_slice(),
            rare: (selection.is_some() || file.is_some())
                .then(|| Box::new(Rare { selection, part: None, file })),
            next: ArcSwapOption::empty(),
            soft_at: AtomicU64::new(NEVER),
            checked: AtomicU64::new(epoch),
            freshness: Packed::of(freshness, wall),
            groups: groups_at,
            fields,
            content,
            places,
            class,
            status,
            visits: AtomicU8::new(0),
            place: AtomicU8::new(NEW),
            readers: AtomicU32::new(0),
            in_small: AtomicBool::new(false),
            life: AtomicU8::new(LIVE),
        }
    }

    fn slice(&self, range: Range<u32>) -> &[u8] {
        self.block.get(at(range.start)..at(range.end)).unwrap_or_default()
    }

    /// What it was put together from as text is text.
    fn text(&self, range: Range<u32>) -> &str {
        std::str::from_utf8(self.slice(range)).unwrap_or_default()
    }

    /// What it is found by.
    pub(crate) fn key(&self) -> KeyRef<'_> {
        KeyRef { scope: &self.common.scope, target: self.text(0..self.groups), of_site: self.common.of_site }
    }

    /// Whether its `Via` names this edge already.
    pub(crate) fn names_us(&self) -> bool {
        self.common.names_us
    }

    /// Fields, without those of the connection, `Age` and `Content-Length`.
    pub(crate) fn fields(&self) -> HeadBlock<'_> {
        HeadBlock::new(self.slice(self.fields..self.content), self.places, &self.common)
    }

    /// The same as a map, made anew each time.
    pub(crate) fn head(&self) -> HeaderMap {
        self.fields().map()
    }

    /// The content.
    pub(crate) fn body(&self) -> &[u8] {
        match self.file() {
            Some(file) => file.bytes(),
            None => self.block.get(at(self.content)..).unwrap_or_default(),
        }
    }

    /// The file that holds the content and nothing else, where there is one.
    pub(crate) fn file(&self) -> Option<&Arc<MemoryFile>> {
        self.rare.as_deref()?.file.as_ref()
    }

    /// The content, not copied.
    pub(crate) fn content(self: &Arc<Self>) -> Bytes {
        if self.body().is_empty() { Bytes::new() } else { Bytes::from_owner(self.read()) }
    }

    /// Keeps it for somebody who is being sent its content.
    pub(crate) fn read(self: &Arc<Self>) -> Read {
        if self.readers.fetch_add(1, Ordering::AcqRel) == 0 {
            self.common.books.is_read(self.bytes());
        }
        Read(Arc::clone(self))
    }

    /// Whether somebody is being sent its content: to evict it would give nothing back.
    pub(crate) fn is_read(&self) -> bool {
        self.readers.load(Ordering::Relaxed) > 0
    }

    /// The content for another copy of it.
    pub(crate) fn stored_body(self: &Arc<Self>) -> StoredBody {
        match self.file() {
            Some(file) => StoredBody::File(Arc::clone(file)),
            None => StoredBody::Heap(self.content()),
        }
    }

    /// What decides about its reuse over time.
    pub(crate) fn freshness(&self) -> Freshness {
        self.freshness.unpacked()
    }

    /// The wall clock when it arrived.
    pub(crate) fn wall(&self) -> UnixSeconds {
        self.freshness.wall()
    }

    /// Its `Date`, or when it arrived where that is invalid (RFC 9110 §6.6.1).
    pub(crate) fn date(&self) -> UnixSeconds {
        let date = self.fields().get(&header::DATE);
        date.and_then(|value| date::parse(value, self.wall())).unwrap_or(self.wall())
    }

    /// The request fields that it was chosen by.
    pub(crate) fn selection(&self) -> Cow<'_, Selection> {
        match self.rare.as_deref().and_then(|rare| rare.selection.as_ref()) {
            Some(selection) => Cow::Borrowed(selection),
            None => Cow::Owned(Selection::of_class(self.class)),
        }
    }

    /// Whether the same requests select both.
    pub(crate) fn selects_as(&self, other: &Self) -> bool {
        self.class == other.class && (self.class != Class::Other || self.selection() == other.selection())
    }

    /// Which part of the content this is; `None`: all of it.
    pub(crate) fn part(&self) -> Option<ContentRange> {
        self.rare.as_deref().and_then(|rare| rare.part)
    }

    /// Makes it a part, before it is stored.
    pub(crate) fn make_part(&mut self, part: Option<ContentRange>) {
        if part.is_some() || self.rare.is_some() {
            self.rare.get_or_insert_default().part = part;
        }
    }

    /// The cache groups.
    pub(crate) fn groups(&self) -> Groups<'_> {
        Groups::joined(self.text(self.groups..self.fields))
    }

    /// What it takes in memory, in bytes.
    pub(crate) fn bytes(&self) -> usize {
        let rare = self
            .rare
            .as_deref()
            .map_or(0, |rare| size_of::<Rare>() + rare.selection.as_ref().map_or(0, Selection::bytes));
        let file = self.file().map_or(0, |file| file.bytes().len());
        self.block.len() + file + rare + OVERHEAD_BYTES
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
        Subject::new(self.key(), Some((self.status, self.groups())))
    }

    /// Its strong entity tag, by which its body is found again.
    pub(crate) fn strong_tag(&self) -> Option<HeaderValue> {
        let value = self.fields().get(&header::ETAG)?;
        Tag::parse(value).filter(|tag| !tag.weak)?;
        HeaderValue::from_bytes(value).ok()
    }

    /// Whether its strong entity tag is this one.
    pub(crate) fn has_strong_tag(&self, tag: Tag<'_>) -> bool {
        self.fields().get(&header::ETAG).and_then(Tag::parse).is_some_and(|held| held.strongly_equals(tag))
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
        self.place.load(Ordering::SeqCst) == LINKED
    }

    /// It is in the store, and in the books from now until nobody has it any more.
    pub(crate) fn link(&self) {
        self.place.store(LINKED, Ordering::SeqCst);
        self.common.books.enters(self.bytes());
    }

    /// It is in the store no more; `false`: it was not before.
    pub(crate) fn unlink(&self) -> bool {
        let was_linked =
            self.place.compare_exchange(LINKED, LEFT, Ordering::SeqCst, Ordering::SeqCst).is_ok();
        if was_linked {
            self.common.books.leaves();
        }
        was_linked
    }

    pub(crate) fn enter_small(&self) {
        self.in_small.store(true, Ordering::SeqCst);
    }

    /// Notes that it does not count as one of the small queue any more; `false`: it did not.
    pub(crate) fn leave_small(&self) -> bool {
        self.in_small.swap(false, Ordering::SeqCst)
    }
}

impl Drop for Stored {
    fn drop(&mut self) {
        // One that goes with the store, which nobody has any more.
        self.unlink();
        if *self.place.get_mut() == LEFT {
            self.common.books.ends(self.bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// At a million small objects each byte here is a megabyte.
    #[test]
    fn a_copy_is_small() {
        assert!(size_of::<Stored>() <= 136, "{}", size_of::<Stored>());
    }
}
