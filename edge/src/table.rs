//! The table of what is stored: small lists of copies, as a rule the newest first, each of which knows the next.
//!
//! Whoever changes a list does so under a lock that only such writers take, one link at a time, a new copy before the old
//! one goes. A reader follows the links without a lock and without writing to anything that another thread writes, and finds
//! a copy that is replaced meanwhile, or the one that replaces it. A copy that was taken out is freed at once when its last
//! reader is done, so that what is evicted gives its memory back.

use std::{
    ops::ControlFlow,
    sync::{Arc, Mutex, PoisonError},
};

use ahash::RandomState;
use arc_swap::ArcSwapOption;

use crate::{key::KeyRef, stored::Stored};

/// Writers of different lists seldom meet with this many locks.
const LOCKS: usize = 64;
/// One list for this many bytes of memory: with smaller objects than this, lists grow longer.
const BYTES_A_LIST: usize = 2 << 10;
/// Lists of the smallest table.
const LISTS_MIN: usize = 1 << 10;
/// Lists of the largest table: 128 MiB of them.
const LISTS_MAX: usize = 1 << 24;

/// The first copy of a list, which knows the next.
type Link = ArcSwapOption<Stored>;

/// Lists of copies, found by their keys. Each hit reads where they are, so nothing that is written may lie beside that.
#[derive(Debug)]
#[repr(align(128))]
pub(crate) struct Table {
    lists: Box<[Link]>,
    locks: Box<[Mutex<()>]>,
    hasher: RandomState,
}

impl Table {
    /// One for so many bytes of copies.
    pub(crate) fn new(bytes_max: usize) -> Self {
        let lists = (bytes_max / BYTES_A_LIST).next_power_of_two().clamp(LISTS_MIN, LISTS_MAX);
        Self {
            lists: (0..lists).map(|_| ArcSwapOption::empty()).collect(),
            locks: (0..LOCKS).map(|_| Mutex::default()).collect(),
            hasher: RandomState::new(),
        }
    }

    /// How many lists there are.
    pub(crate) fn lists(&self) -> usize {
        self.lists.len()
    }

    /// Bytes that it takes itself.
    pub(crate) fn bytes(&self) -> usize {
        self.lists.len() * size_of::<Link>()
    }

    /// The keyed hash of a key.
    pub(crate) fn hash(&self, key: KeyRef<'_>) -> u64 {
        key.hash(&self.hasher)
    }

    /// Where copies under a key lie.
    pub(crate) fn index(&self, key: KeyRef<'_>) -> usize {
        // The number of lists is a power of two.
        usize::try_from(self.hash(key)).unwrap_or(0) & (self.lists.len() - 1)
    }

    /// Shows the copies of a list, the newest first, until one is enough.
    pub(crate) fn look<B>(
        &self,
        index: usize,
        mut at: impl FnMut(&Arc<Stored>) -> ControlFlow<B>,
    ) -> Option<B> {
        let mut held = self.lists[index].load();
        while let Some(stored) = &*held {
            if let ControlFlow::Break(found) = at(stored) {
                return Some(found);
            }
            let next = stored.next.load();
            held = next;
        }
        None
    }

    /// The same for all copies under a key.
    pub(crate) fn each(&self, key: KeyRef<'_>, mut at: impl FnMut(&Arc<Stored>)) {
        self.look::<()>(self.index(key), |stored| {
            if stored.key() == key {
                at(stored);
            }
            ControlFlow::Continue(())
        });
    }

    /// Changes the list at an index, the newest last, under its lock. Copies are only ever taken out, or one of them put in,
    /// anywhere. Those that `change` takes out must be unlinked by the caller.
    pub(crate) fn change<T>(&self, index: usize, change: impl FnOnce(&mut Vec<Arc<Stored>>) -> T) -> T {
        // A panic while it is held leaves the list whole: each link is set in one step.
        let _lock = self.locks[index % LOCKS].lock().unwrap_or_else(PoisonError::into_inner);
        let mut list = Vec::new();
        self.look::<()>(index, |stored| {
            list.push(Arc::clone(stored));
            ControlFlow::Continue(())
        });
        list.reverse();
        let before: Vec<*const Stored> = list.iter().map(Arc::as_ptr).collect();
        let result = change(&mut list);
        let first = &self.lists[index];
        if let Some(at) = list.iter().position(|held| !before.contains(&Arc::as_ptr(held))) {
            let (new, link) = (&list[at], list.get(at + 1).map_or(first, |newer| &newer.next));
            // Most lists have one copy, and to set a link costs more than to look at it.
            if let Some(older) = link.load_full() {
                new.next.store(Some(older));
            }
            link.store(Some(Arc::clone(new)));
        }
        let mut link = first;
        for stored in list.iter().rev() {
            if !link.load().as_ref().is_some_and(|held| Arc::ptr_eq(held, stored)) {
                link.store(Some(Arc::clone(stored)));
            }
            link = &stored.next;
        }
        if link.load().is_some() {
            link.store(None);
        }
        result
    }
}
