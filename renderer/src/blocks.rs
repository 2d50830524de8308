//! What is coloured in blocks of code, so that no block is highlighted twice: within a process, and from one to the next.
//!
//! A block's name is a digest of its language, its text, and of the highlighter: a block under its name is never wrong, and
//! without it the highlighter makes it again. What is kept are tags and lengths, not text and not colours. Owns which packs
//! are written, merged and dropped; where they are is for whoever builds or publishes (a [`BlockStore`]).

mod pack;

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::{self, Write};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use release::Digest;

use crate::highlight::{HIGHLIGHT_BYTES_MAX, Token};
use crate::view::half;

pub use pack::{Pack, Stored};

/// What the highlighter is made of: another one may find other tokens.
const HIGHLIGHTER: &[u8] = env!("BAKEHOUSE_HIGHLIGHTER").as_bytes();
/// Bytes of all packs together: some three million lines of code.
pub const PACKS_BYTES_MAX: u64 = 64 << 20;

/// The name of a block.
type Key = u128;

/// Where blocks are kept from one process to the next, in packs.
pub trait BlockStore: Send + Sync {
    /// The packs that are there. Called once at most, when the first block is asked for; from any thread.
    fn packs(&self) -> Vec<Pack>;

    /// A file for what is new until it is in a pack.
    ///
    /// # Errors
    /// That there is none: then it is kept in memory.
    fn scratch(&self) -> io::Result<File>;

    /// Adds a pack: `write` gives its bytes, and a digest that no other pack has.
    ///
    /// # Errors
    /// Where it cannot be stored.
    fn put(&self, write: &dyn Fn(&mut dyn Write) -> io::Result<Digest>) -> io::Result<Pack>;

    /// Removes a pack whose blocks are in another, or used no more. Somebody else may have done it.
    ///
    /// # Errors
    /// Where it stays.
    fn remove(&self, name: &str) -> io::Result<()>;
}

/// Blocks of which the tokens are known.
pub(crate) struct Blocks {
    store: OnceLock<Arc<dyn BlockStore>>,
    packs: OnceLock<RwLock<Vec<Pack>>>,
    fresh: RwLock<Fresh>,
    /// Bytes that are held without a store.
    bytes_max: u64,
    /// Blocks that were highlighted since that was asked last.
    highlighted: AtomicUsize,
    /// Whether all outputs of a site were made by this process, so that blocks that were not used are used by none.
    saw_all: AtomicBool,
}

/// Blocks that are in no pack.
struct Fresh {
    places: HashMap<Key, (u64, usize)>,
    bytes: Stored,
    end: u64,
}

impl Default for Fresh {
    fn default() -> Self {
        Self { places: HashMap::new(), bytes: Stored::Memory(Vec::new()), end: 0 }
    }
}

impl Fresh {
    fn get(&self, key: Key) -> Option<Vec<u8>> {
        let (at, length) = *self.places.get(&key)?;
        self.bytes.read(at..at + length as u64).ok()
    }

    /// Adds a block; `false`: it is there.
    fn add(&mut self, key: Key, block: &[u8]) -> bool {
        if self.places.contains_key(&key) {
            return false;
        }
        if self.bytes.append(block, self.end).is_ok() {
            self.places.insert(key, (self.end, block.len()));
            self.end += block.len() as u64;
        }
        true
    }

    /// What it takes in a pack.
    fn packed_bytes(&self) -> u64 {
        self.places.values().map(|(_, length)| pack::bytes_of(*length)).sum()
    }
}

fn read<T>(lock: &RwLock<T>) -> RwLockReadGuard<'_, T> {
    lock.read().unwrap_or_else(PoisonError::into_inner)
}

fn write<T>(lock: &RwLock<T>) -> RwLockWriteGuard<'_, T> {
    lock.write().unwrap_or_else(PoisonError::into_inner)
}

fn key_of(language: &str, code: &str) -> Key {
    let mut hasher = blake3::Hasher::new();
    hasher.update(HIGHLIGHTER).update(&(language.len() as u64).to_le_bytes());
    half(&hasher.update(language.as_bytes()).update(code.as_bytes()).finalize())
}

impl Blocks {
    pub(crate) fn new(bytes_max: usize) -> Self {
        Self {
            store: OnceLock::new(),
            packs: OnceLock::new(),
            fresh: RwLock::default(),
            bytes_max: bytes_max as u64,
            highlighted: AtomicUsize::new(0),
            saw_all: AtomicBool::new(false),
        }
    }

    /// Begins with what is in a store, and keeps what is new there. There is one store at most: the first.
    pub(crate) fn keep_in(&self, store: Arc<dyn BlockStore>) {
        self.store.get_or_init(|| store);
    }

    /// The tokens of a block; none where its language is unknown, or it is too long to be coloured.
    pub(crate) fn tokens(&self, language: &str, code: &str) -> Option<Vec<Token>> {
        if code.len() > HIGHLIGHT_BYTES_MAX {
            return None;
        }
        let language = language.to_ascii_lowercase();
        let key = key_of(&language, code);
        if let Some(tokens) = self.get(key).and_then(|block| Token::unpack(&block, code)) {
            return Some(tokens);
        }
        let tokens = Token::all(&language, code)?;
        // Two threads may do it at once, which counts once: how many threads there are is nobody's concern.
        if Token::pack(&tokens).is_none_or(|block| self.add(key, &block)) {
            self.highlighted.fetch_add(1, Ordering::Relaxed);
        }
        Some(tokens)
    }

    /// How many blocks were highlighted since this was asked last.
    pub(crate) fn highlighted(&self) -> usize {
        self.highlighted.swap(0, Ordering::Relaxed)
    }

    /// Says that all outputs of a site were made since this process began.
    pub(crate) fn see_all(&self) {
        self.saw_all.store(true, Ordering::Relaxed);
    }

    fn packs(&self) -> RwLockReadGuard<'_, Vec<Pack>> {
        let packs = || self.store.get().map(|store| store.packs()).unwrap_or_default();
        read(self.packs.get_or_init(|| RwLock::new(packs())))
    }

    fn get(&self, key: Key) -> Option<Vec<u8>> {
        let fresh = read(&self.fresh).get(key);
        fresh.or_else(|| self.packs().iter().find_map(|pack| pack.get(key)))
    }

    /// Adds a block; `false`: somebody else has.
    fn add(&self, key: Key, block: &[u8]) -> bool {
        let bytes_max = if self.store.get().is_some() { PACKS_BYTES_MAX } else { self.bytes_max };
        let mut fresh = write(&self.fresh);
        if fresh.end + block.len() as u64 > bytes_max {
            // What is asked for is most often what was asked for lately.
            *fresh = Fresh::default();
        }
        if fresh.places.is_empty()
            && let Some(Ok(file)) = self.store.get().map(|store| store.scratch())
        {
            fresh.bytes = Stored::File(file);
        }
        block.len() as u64 > bytes_max || fresh.add(key, block)
    }

    /// Puts what is new into the store, and merges and drops packs where that is worth it. Does nothing where nothing is new,
    /// nor where there is no store.
    pub(crate) fn keep(&self) -> io::Result<()> {
        self.keep_within(PACKS_BYTES_MAX)
    }

    fn keep_within(&self, bytes_max: u64) -> io::Result<()> {
        let (Some(store), Some(packs)) = (self.store.get(), self.packs.get()) else { return Ok(()) };
        let (mut packs, mut fresh) = (write(packs), write(&self.fresh));
        packs.sort_by_key(Pack::bytes);
        let saw_all = self.saw_all.load(Ordering::Relaxed);
        let Some(count) = merged(&packs, fresh.packed_bytes(), saw_all, bytes_max) else { return Ok(()) };
        let merged: Vec<Pack> = packs.drain(..count).collect();
        let mut moved: BTreeMap<Key, Moved<'_>> = BTreeMap::new();
        for pack in &merged {
            for (row, (key, bytes, used)) in pack.rows().enumerate().filter(|(_, row)| row.2 || !saw_all) {
                let from = Some((pack, row));
                moved.entry(key).or_insert(Moved { from, bytes, used }).used |= used;
            }
        }
        for (key, (_, length)) in &fresh.places {
            moved.insert(*key, Moved { from: None, bytes: pack::bytes_of(*length), used: true });
        }
        // In the order of their keys, so that of a site that has more it is always the same ones that are kept.
        let mut room = bytes_max.saturating_sub(packs.iter().map(Pack::bytes).sum());
        moved.retain(|_, Moved { bytes, .. }| {
            let fits = *bytes <= room;
            room -= if fits { *bytes } else { 0 };
            fits
        });
        let block = |(key, Moved { from, .. }): (&Key, &Moved<'_>)| {
            let block = match from {
                Some((pack, row)) => pack.block(*row),
                None => fresh.get(*key),
            };
            Some((*key, block?))
        };
        let put = store.put(&|out| pack::write(moved.iter().filter_map(block), out));
        let pack = match put {
            Ok(pack) => pack,
            Err(error) => {
                drop(moved);
                packs.extend(merged);
                return Err(error);
            }
        };
        moved.iter().filter(|(_, moved)| moved.used).for_each(|(key, _)| pack.mark(*key));
        *fresh = Fresh::default();
        let gone = merged.iter().map(Pack::name).filter(|name| *name != pack.name());
        let removed = gone.map(|name| store.remove(name)).collect::<Vec<_>>().into_iter().collect();
        packs.push(pack);
        removed
    }
}

/// A block that goes into another pack.
struct Moved<'a> {
    /// The pack and row that it is in; none where it is new.
    from: Option<(&'a Pack, usize)>,
    bytes: u64,
    used: bool,
}

/// How many of the packs, which are in the order of their sizes, become one with `fresh` bytes of new blocks; none where nothing is
/// to be written.
///
/// Where much is used no more, too large or damaged, all do. Otherwise those that are no larger than what becomes one with
/// them: there are few packs then, and no block is written often.
fn merged(packs: &[Pack], fresh: u64, saw_all: bool, bytes_max: u64) -> Option<usize> {
    let rows = || packs.iter().flat_map(Pack::rows);
    let all: u64 = rows().map(|(_, bytes, _)| bytes).sum();
    let unused: u64 = rows().filter(|(_, _, used)| saw_all && !used).map(|(_, bytes, _)| bytes).sum();
    if unused > all / 2 || all + fresh > bytes_max || packs.iter().any(Pack::is_damaged) {
        return Some(packs.len());
    }
    if fresh == 0 {
        return None;
    }
    let mut sum = fresh;
    let small = packs.iter().map(Pack::bytes).take_while(|bytes| {
        let is_small = *bytes <= sum;
        sum += bytes;
        is_small
    });
    Some(small.count())
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    /// Packs that stay in memory.
    #[derive(Default)]
    struct Kept(Mutex<BTreeMap<String, Vec<u8>>>);

    impl BlockStore for Kept {
        fn packs(&self) -> Vec<Pack> {
            let kept = self.0.lock().unwrap();
            kept.iter().map(|(name, bytes)| Pack::open(name.clone(), Stored::Memory(bytes.clone()))).collect()
        }

        fn scratch(&self) -> io::Result<File> {
            Err(io::ErrorKind::ReadOnlyFilesystem.into())
        }

        fn put(&self, write: &dyn Fn(&mut dyn Write) -> io::Result<Digest>) -> io::Result<Pack> {
            let mut bytes = Vec::new();
            let name = write(&mut bytes)?.to_string();
            self.0.lock().unwrap().insert(name.clone(), bytes.clone());
            Ok(Pack::open(name, Stored::Memory(bytes)))
        }

        fn remove(&self, name: &str) -> io::Result<()> {
            self.0.lock().unwrap().remove(name);
            Ok(())
        }
    }

    #[test]
    fn packs_stay_within_their_bytes() {
        const BYTES_MAX: u64 = 2_000;
        let store = Arc::new(Kept::default());
        for round in 0..20 {
            let blocks = Blocks::new(0);
            blocks.keep_in(store.clone());
            for number in 0..12 {
                let code = format!("fn f{round}_{number}() {{}}");
                assert_eq!(blocks.tokens("rust", &code), Token::all("rust", &code));
            }
            blocks.keep_within(BYTES_MAX).unwrap();
            let bytes: usize = store.0.lock().unwrap().values().map(Vec::len).sum();
            assert!((bytes as u64) < BYTES_MAX + 500, "{bytes} bytes after {round}");
        }
        assert!(store.packs().iter().map(Pack::bytes).sum::<u64>() > BYTES_MAX / 2);
    }

    #[test]
    fn what_is_held_without_a_store_stays_within_its_bytes() {
        let blocks = Blocks::new(500);
        for number in 0..100 {
            let code = format!("fn f{number}() {{}}");
            for _ in 0..2 {
                assert_eq!(blocks.tokens("rust", &code), Token::all("rust", &code));
            }
            assert!(read(&blocks.fresh).end <= 500);
        }
        assert_eq!(blocks.highlighted(), 100);
        assert_eq!(blocks.tokens("klingon", "x"), None);
        assert_eq!(blocks.tokens("rust", &"x".repeat(HIGHLIGHT_BYTES_MAX + 1)), None);
    }

    /// Where a pack cannot be written, what it was to hold is kept for the next one.
    #[test]
    fn a_store_that_takes_nothing_loses_nothing() {
        struct Full(Kept);
        impl BlockStore for Full {
            fn packs(&self) -> Vec<Pack> {
                self.0.packs()
            }
            fn scratch(&self) -> io::Result<File> {
                self.0.scratch()
            }
            fn put(&self, _: &dyn Fn(&mut dyn Write) -> io::Result<Digest>) -> io::Result<Pack> {
                Err(io::ErrorKind::StorageFull.into())
            }
            fn remove(&self, name: &str) -> io::Result<()> {
                self.0.remove(name)
            }
        }
        let (one, two) = ("fn one() {}", "fn two() {}");
        let full = Arc::new(Full(Kept::default()));
        full.0.put(&|out| pack::write(std::iter::once((key_of("rust", two), vec![0])), out)).unwrap();
        let blocks = Blocks::new(0);
        blocks.keep_in(full);
        blocks.tokens("rust", one).unwrap();
        assert!(blocks.keep().is_err());
        assert!(blocks.tokens("rust", one).is_some() && blocks.tokens("rust", two).is_some());
        assert_eq!(blocks.highlighted(), 1, "what was known is still known");
    }
}
