//! Which copies make room: S3-FIFO over bytes. A small queue for newcomers, a main queue for what was asked for again,
//! and a ghost queue that remembers who left the small one. Scans of one-time URLs do not wash out what is hot, and a
//! hit has nothing to do but to mark its copy.

use std::{
    collections::{HashSet, VecDeque},
    hash::{BuildHasherDefault, Hasher},
    sync::{
        Arc, Weak,
        atomic::{AtomicUsize, Ordering},
    },
};

use crate::stored::Stored;

/// The part of the memory that newcomers may take.
const SMALL_PART: usize = 10;
/// Names in the queues beyond what is held: queues that exceed this and a quarter are cleaned.
const SLACK: usize = 1_024;
/// Copies that are passed over at once because somebody is being sent them.
const READ_MAX: usize = 64;
/// Names of a piece of a queue: what is cleaned at once, so that nobody waits long for the lock.
const PIECE: usize = 256;

/// The queues.
#[derive(Debug, Default)]
pub(crate) struct Queues {
    small: Names,
    main: Names,
    small_bytes: Arc<SmallBytes>,
    /// The piece that is cleaned next.
    next: usize,
    ghost: VecDeque<u64>,
    ghosts: HashSet<u64, BuildHasherDefault<Hashed>>,
}

/// Bytes of the copies in the small queue. Whoever takes a copy out of the store subtracts it at once, without the
/// queues' lock.
#[derive(Debug, Default)]
pub(crate) struct SmallBytes(AtomicUsize);

impl SmallBytes {
    fn get(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }

    fn enter(&self, stored: &Stored) {
        self.0.fetch_add(stored.bytes(), Ordering::Relaxed);
        stored.enter_small();
        // It may have left the store before it came here.
        if !stored.is_linked() {
            self.leave(stored);
        }
    }

    /// Subtracts a copy that leaves the queue or the store, whichever it leaves first.
    pub(crate) fn leave(&self, stored: &Stored) {
        if stored.leave_small() {
            self.0.fetch_sub(stored.bytes(), Ordering::Relaxed);
        }
    }
}

/// Names of copies in order, in pieces. A name keeps the place of a copy that is gone, but not what it held.
#[derive(Debug, Default)]
struct Names {
    pieces: VecDeque<VecDeque<Weak<Stored>>>,
    count: usize,
}

impl Names {
    fn push_back(&mut self, name: Weak<Stored>) {
        self.count += 1;
        match self.pieces.back_mut() {
            Some(piece) if piece.len() < PIECE => piece.push_back(name),
            _ => {
                let mut piece = VecDeque::with_capacity(PIECE);
                piece.push_back(name);
                self.pieces.push_back(piece);
            }
        }
    }

    fn pop_front(&mut self) -> Option<Weak<Stored>> {
        while let Some(piece) = self.pieces.front_mut() {
            if let Some(name) = piece.pop_front() {
                self.count -= 1;
                return Some(name);
            }
            self.pieces.pop_front();
        }
        None
    }

    /// Takes the names of what is gone out of a piece; `false`: there is no such piece. An empty one stays until it is the
    /// first.
    fn clean(&mut self, index: usize) -> bool {
        let Some(piece) = self.pieces.get_mut(index) else { return false };
        let before = piece.len();
        piece.retain(|name| name.upgrade().is_some_and(|stored| stored.is_linked()));
        if piece.len() < before {
            piece.shrink_to_fit();
        }
        self.count -= before - piece.len();
        true
    }
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
    /// The count that those who take copies out of the store keep.
    pub(crate) fn small_bytes(&self) -> Arc<SmallBytes> {
        Arc::clone(&self.small_bytes)
    }

    /// Takes a new copy in; `hash` is that of its key, `held` is how many there are.
    pub(crate) fn push(&mut self, stored: &Arc<Stored>, hash: u64, held: usize) {
        if self.ghosts.remove(&hash) {
            self.main.push_back(Arc::downgrade(stored));
        } else {
            self.small_bytes.enter(stored);
            self.small.push_back(Arc::downgrade(stored));
        }
        if self.small.count + self.main.count > held + held / 4 + SLACK {
            self.next = if self.clean(self.next) { self.next + 1 } else { 0 };
        }
    }

    /// Whether a copy under a key of this hash left as a newcomer, not long ago.
    pub(crate) fn remembers(&self, hash: u64) -> bool {
        self.ghosts.contains(&hash)
    }

    /// The next copy to go; `None`: there is none, or those in question are being sent to somebody, and would give nothing
    /// back. `bytes_max` bounds all, `held` is how many there are.
    pub(crate) fn pop(
        &mut self,
        bytes_max: usize,
        held: usize,
        hash: impl Fn(&Stored) -> u64,
    ) -> Option<Arc<Stored>> {
        let mut read = 0;
        while read < READ_MAX {
            let from_small = self.small_bytes.get() > bytes_max / SMALL_PART || self.main.count == 0;
            if from_small && let Some(name) = self.small.pop_front() {
                let Some(stored) = name.upgrade() else { continue };
                self.small_bytes.leave(&stored);
                if !stored.is_linked() {
                    continue;
                }
                if stored.is_wanted() || stored.is_read() {
                    stored.forget_visits();
                    self.main.push_back(name);
                    continue;
                }
                self.remember(hash(&stored), held);
                return Some(stored);
            }
            let name = self.main.pop_front()?;
            let Some(stored) = name.upgrade() else { continue };
            if !stored.is_linked() {
                continue;
            }
            if stored.is_wanted() || stored.is_read() {
                read += usize::from(stored.is_read());
                stored.spend_visit();
                self.main.push_back(name);
                continue;
            }
            return Some(stored);
        }
        None
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

    /// Takes the names of what is gone out of a piece of the queues, and gives back their memory; `false`: there is no such
    /// piece.
    pub(crate) fn clean(&mut self, piece: usize) -> bool {
        let of_small = self.small.pieces.len();
        match piece.checked_sub(of_small) {
            None => self.small.clean(piece),
            Some(piece) => self.main.clean(piece),
        }
    }

    /// Names in the queues.
    #[cfg(test)]
    pub(crate) fn names(&self) -> usize {
        self.small.count + self.main.count
    }
}
