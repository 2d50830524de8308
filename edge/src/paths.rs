//! In which lists of the store the copies of a path lie, whatever their host and query: a purge of a URL covers all of them,
//! and need not go through the whole store to count and free them.
//!
//! Whether a copy is covered is never asked here. This says where to look, and where it does not know, that.

use std::sync::{Mutex, MutexGuard, PoisonError};

use ahash::RandomState;
use hashbrown::HashTable;

/// Each has a lock of its own, and grows alone: a table of a million grown at once would hold up who waits for it.
const SHARDS: usize = 1 << u8::BITS;
/// Lists that are remembered of a path. Of one with more hosts and queries it is only counted how many copies lie elsewhere.
const LISTS_MAX: usize = 16;
/// No list: the copies that are only counted.
const ELSEWHERE: u32 = u32::MAX;

/// What one copy takes here, in bytes: a place, and a byte to find it by, in a table that is two thirds full.
pub(crate) const BYTES_EACH: usize = (size_of::<Place>() + 1) * 3 / 2;

/// Copies of a path in one list.
#[derive(Debug)]
struct Place {
    /// The keyed hash of the path. Two paths of one hash count as one.
    path: u64,
    list: u32,
    copies: u32,
}

/// Where the copies of each path are.
#[derive(Debug)]
pub(crate) struct Paths {
    shards: Box<[Mutex<HashTable<Place>>]>,
    hasher: RandomState,
}

impl Default for Paths {
    fn default() -> Self {
        Self { shards: (0..SHARDS).map(|_| Mutex::default()).collect(), hasher: RandomState::new() }
    }
}

fn number(list: usize) -> u32 {
    u32::try_from(list).unwrap_or(ELSEWHERE)
}

impl Paths {
    fn shard(&self, path: u64) -> MutexGuard<'_, HashTable<Place>> {
        // The table itself goes by the highest and the lowest bits.
        let shard = usize::from((path >> 32) as u8);
        // Each change is whole before anything can panic.
        self.shards[shard].lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes a copy of a path, in the spelling of purges, before it can be found in this list.
    pub(crate) fn enter(&self, path: &str, list: usize) {
        let path = self.hasher.hash_one(path);
        let mut shard = self.shard(path);
        let of_path = shard.iter_hash(path).filter(|place| place.path == path);
        let (mut lists, mut is_known) = (0, false);
        for place in of_path {
            lists += usize::from(place.list != ELSEWHERE);
            is_known |= place.list == number(list);
        }
        let list = if is_known || lists < LISTS_MAX { number(list) } else { ELSEWHERE };
        match shard.find_mut(path, |place| place.path == path && place.list == list) {
            Some(place) => place.copies += 1,
            None => drop(shard.insert_unique(path, Place { path, list, copies: 1 }, |place| place.path)),
        }
    }

    /// Forgets a copy that has left its list, or did not come there.
    pub(crate) fn leave(&self, path: &str, list: usize) {
        let path = self.hasher.hash_one(path);
        let mut shard = self.shard(path);
        // Which of a list's copies are counted elsewhere is not known, and makes no difference to the sum.
        for list in [number(list), ELSEWHERE] {
            let found = shard.find_entry(path, |place| place.path == path && place.list == list);
            let Ok(mut place) = found else { continue };
            place.get_mut().copies -= 1;
            if place.get().copies == 0 {
                place.remove();
            }
            break;
        }
        if shard.capacity() > 8 * (shard.len() + 1) {
            let few = 2 * shard.len();
            shard.shrink_to(few, |place| place.path);
        }
    }

    /// The lists in which all copies of a path lie; `None`: there are more than are remembered.
    pub(crate) fn lists(&self, path: &str) -> Option<Vec<usize>> {
        let path = self.hasher.hash_one(path);
        let shard = self.shard(path);
        shard
            .iter_hash(path)
            .filter(|place| place.path == path)
            .map(|place| (place.list != ELSEWHERE).then(|| usize::try_from(place.list).unwrap_or(usize::MAX)))
            .collect()
    }

    /// How many copies there are, for tests.
    #[cfg(test)]
    pub(crate) fn copies(&self) -> usize {
        let of_shard = |shard: &Mutex<HashTable<Place>>| -> usize {
            shard.lock().unwrap().iter().map(|place| place.copies as usize).sum()
        };
        self.shards.iter().map(of_shard).sum()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn lists(paths: &Paths, path: &str) -> Option<BTreeSet<usize>> {
        paths.lists(path).map(|lists| lists.into_iter().collect())
    }

    #[test]
    fn a_path_is_found_in_few_lists_and_not_known_in_many() {
        let paths = Paths::default();
        for list in 0..LISTS_MAX {
            paths.enter("/a", list);
        }
        assert_eq!(lists(&paths, "/a"), Some((0..LISTS_MAX).collect()));
        assert_eq!(lists(&paths, "/b"), Some(BTreeSet::new()));
        paths.enter("/a", 100);
        assert_eq!(lists(&paths, "/a"), None);
        paths.leave("/a", 100);
        assert_eq!(lists(&paths, "/a"), Some((0..LISTS_MAX).collect()));
    }

    #[test]
    fn what_has_left_takes_no_memory() {
        let paths = Paths::default();
        let all = || (0..100_000).map(|n| (format!("/{n}"), n));
        let capacity = || paths.shards.iter().map(|shard| shard.lock().unwrap().capacity()).sum::<usize>();
        all().for_each(|(path, list)| paths.enter(&path, list));
        assert!(capacity() * size_of::<Place>() / 100_000 < 2 * BYTES_EACH);
        all().for_each(|(path, list)| paths.leave(&path, list));
        assert_eq!(paths.copies(), 0);
        assert!(capacity() < 16 * SHARDS, "{}", capacity());
    }

    proptest! {
        /// Whatever comes and goes: the lists are those of a path's copies, or not known; and known where there were never many.
        #[test]
        fn no_copy_is_missed(steps in proptest::collection::vec((0..2_u8, 0..24_usize, any::<bool>()), 0..300)) {
            let paths = Paths::default();
            let mut held: Vec<(String, usize)> = Vec::new();
            for (path, list, enters) in steps {
                let copy = (format!("/{path}"), list);
                if enters {
                    paths.enter(&copy.0, list);
                    held.push(copy);
                } else if let Some(at) = held.iter().position(|one| *one == copy) {
                    paths.leave(&copy.0, list);
                    held.swap_remove(at);
                }
                prop_assert_eq!(paths.copies(), held.len());
                for path in 0..2 {
                    let path = format!("/{path}");
                    let of_path: BTreeSet<usize> =
                        held.iter().filter(|(held, _)| *held == path).map(|(_, list)| *list).collect();
                    match lists(&paths, &path) {
                        Some(found) => prop_assert_eq!(found, of_path),
                        None => prop_assert!(!of_path.is_empty()),
                    }
                }
            }
        }
    }
}
