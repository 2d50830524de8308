//! What a running renderer remembers from one render to the next, bounded by bytes.
//!
//! Everything in here is addressed by what it was made from, so that forgetting costs time and never correctness.

use std::hash::Hash;
use std::sync::{Mutex, MutexGuard, PoisonError};

use ahash::RandomState;
use lru::LruCache;

/// Locks, so that threads seldom wait for each other.
const SHARDS: usize = 16;

/// A map that forgets what was not used for longest.
pub(crate) struct Bounded<K: Hash + Eq, V> {
    shards: Vec<Mutex<Shard<K, V>>>,
    hasher: RandomState,
    shard_bytes_max: usize,
}

// No other lies beside it: each may be one thread's.
#[repr(align(128))]
struct Shard<K: Hash + Eq, V> {
    entries: LruCache<K, (V, usize), RandomState>,
    bytes: usize,
}

impl<K: Hash + Eq, V: Clone> Bounded<K, V> {
    pub(crate) fn new(bytes_max: usize) -> Self {
        Self::with_shards(bytes_max, SHARDS)
    }

    /// In one piece, for values that may each be a large part of the whole.
    pub(crate) fn undivided(bytes_max: usize) -> Self {
        Self::with_shards(bytes_max, 1)
    }

    fn with_shards(bytes_max: usize, shards: usize) -> Self {
        let shard_bytes_max = bytes_max / shards;
        let hasher = RandomState::new();
        let entries = || LruCache::unbounded_with_hasher(hasher.clone());
        let shards = (0..shards).map(|_| Mutex::new(Shard { entries: entries(), bytes: 0 })).collect();
        Self { shards, hasher, shard_bytes_max }
    }

    fn shard(&self, key: &K) -> MutexGuard<'_, Shard<K, V>> {
        let index = match self.shards.len() {
            1 => 0,
            // By the upper half: where a key lies within its shard follows from the lower.
            shards => ((self.hasher.hash_one(key) >> 32) % shards as u64) as usize,
        };
        // A shard is whole between any two statements that can panic, so a poisoned lock says nothing.
        self.shards[index].lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn get(&self, key: &K) -> Option<V> {
        self.shard(key).entries.get(key).map(|(value, _)| value.clone())
    }

    /// Remembers a value of about `bytes`; what is too large for its share is not kept.
    pub(crate) fn insert(&self, key: K, value: V, bytes: usize) {
        if bytes > self.shard_bytes_max {
            return;
        }
        let mut shard = self.shard(&key);
        if let Some((_, before)) = shard.entries.put(key, (value, bytes)) {
            shard.bytes -= before;
        }
        shard.bytes += bytes;
        while shard.bytes > self.shard_bytes_max {
            match shard.entries.pop_lru() {
                Some((_, (_, freed))) => shard.bytes -= freed,
                None => break,
            }
        }
    }

    #[cfg(test)]
    fn bytes(&self) -> usize {
        self.shards.iter().map(|s| s.lock().unwrap().bytes).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stays_within_its_bytes() {
        let memory = Bounded::new(16 * 100);
        for i in 0..10_000_u32 {
            memory.insert(i, i, 10);
            assert!(memory.bytes() <= 1600);
        }
        assert_eq!(memory.get(&9_999), Some(9_999));
        memory.insert(1, 1, 101);
        assert_eq!(memory.get(&1), None);
    }
}
