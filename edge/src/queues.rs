//! Which copies make room: S3-FIFO over bytes. A small queue for newcomers, a main queue for what was asked for again,
//! and a ghost queue that remembers who left the small one. Scans of one-time URLs do not wash out what is hot, and a
//! hit has nothing to do but to mark its copy.

use std::{
    collections::{HashSet, VecDeque},
    hash::{BuildHasherDefault, Hasher},
    sync::{Arc, Weak},
};

use crate::stored::Stored;

/// The part of the memory that newcomers may take.
const SMALL_PART: usize = 10;
/// Names in the queues beyond twice what is held: queues are cleaned when they exceed both.
const SLACK: usize = 1_024;

/// The queues.
#[derive(Debug, Default)]
pub(crate) struct Queues {
    small: VecDeque<Weak<Stored>>,
    main: VecDeque<Weak<Stored>>,
    small_bytes: usize,
    ghost: VecDeque<u64>,
    ghosts: HashSet<u64, BuildHasherDefault<Hashed>>,
}

/// The hasher of what is a keyed hash already.
#[derive(Debug, Default)]
struct Hashed(u64);

impl Hasher for Hashed {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }
}

impl Queues {
    /// Takes a new copy in; `hash` is that of its key.
    pub(crate) fn push(&mut self, stored: &Arc<Stored>, hash: u64) {
        if self.ghosts.remove(&hash) {
            self.main.push_back(Arc::downgrade(stored));
        } else {
            self.small_bytes += stored.bytes();
            self.small.push_back(Arc::downgrade(stored));
        }
    }

    /// The next copy to go; `None`: there is none. `bytes_max` bounds all, `held` is how many there are.
    pub(crate) fn pop(
        &mut self,
        bytes_max: usize,
        held: usize,
        hash: impl Fn(&Stored) -> u64,
    ) -> Option<Arc<Stored>> {
        loop {
            let from_small = self.small_bytes > bytes_max / SMALL_PART || self.main.is_empty();
            if from_small {
                let Some(weak) = self.small.pop_front() else {
                    if self.main.is_empty() {
                        return None;
                    }
                    self.small_bytes = 0;
                    continue;
                };
                let Some(stored) = weak.upgrade() else { continue };
                self.small_bytes = self.small_bytes.saturating_sub(stored.bytes());
                if !stored.is_linked() {
                    continue;
                }
                if stored.is_wanted() {
                    stored.forget_visits();
                    self.main.push_back(weak);
                    continue;
                }
                self.remember(hash(&stored), held);
                return Some(stored);
            }
            let Some(weak) = self.main.pop_front() else { continue };
            let Some(stored) = weak.upgrade() else { continue };
            if !stored.is_linked() {
                continue;
            }
            if stored.is_wanted() {
                stored.spend_visit();
                self.main.push_back(weak);
                continue;
            }
            return Some(stored);
        }
    }

    /// Notes who left the small queue: twice as many as are held. S3-FIFO has as many as the main queue holds, and so
    /// misses everything of a loop over somewhat more than fits; a name costs a few bytes, a copy hundreds.
    fn remember(&mut self, hash: u64, held: usize) {
        if self.ghosts.insert(hash) {
            self.ghost.push_back(hash);
        }
        while self.ghost.len() > (2 * held).max(SLACK) {
            if let Some(old) = self.ghost.pop_front() {
                self.ghosts.remove(&old);
            }
        }
    }

    /// Queues hold names of what is long gone; without this they would grow with every replacement.
    pub(crate) fn compact(&mut self, held: usize) {
        if self.names() <= 2 * held + SLACK {
            return;
        }
        let linked = |weak: &Weak<Stored>| weak.upgrade().is_some_and(|stored| stored.is_linked());
        self.small.retain(linked);
        self.main.retain(linked);
        self.small_bytes = self.small.iter().filter_map(Weak::upgrade).map(|stored| stored.bytes()).sum();
    }

    /// Names in the queues.
    pub(crate) fn names(&self) -> usize {
        self.small.len() + self.main.len()
    }
}
