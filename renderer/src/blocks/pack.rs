//! A pack: many blocks in one immutable object, found by key without reading the others.
//!
//! First bytes that say what it is; the blocks in the order of their keys, each followed by half a checksum (8 bytes); the
//! index: for each block its key (16 bytes) and where it ends (4 bytes); their number (4 bytes); the digest of the index and
//! the number (32 bytes). Numbers are little-endian. Opening a pack reads its index alone.

use std::fs::File;
use std::io::{self, Write};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicBool, Ordering};

use release::Digest;

use super::Key;

const MAGIC: &[u8; 16] = b"bakehouse code 1";
const KEY_BYTES: usize = 16;
const CHECK_BYTES: usize = 8;
/// A row of the index.
const ROW_BYTES: usize = KEY_BYTES + 4;
/// What follows the index: the number of rows, and a digest.
const TAIL_BYTES: usize = 4 + blake3::OUT_LEN;

/// Where the bytes of a pack are.
#[derive(Debug)]
pub enum Stored {
    /// In a file: read where they lie.
    File(File),
    /// In memory.
    Memory(Vec<u8>),
}

impl Stored {
    pub(super) fn len(&self) -> io::Result<u64> {
        match self {
            Self::File(file) => Ok(file.metadata()?.len()),
            Self::Memory(bytes) => Ok(bytes.len() as u64),
        }
    }

    pub(super) fn read(&self, range: Range<u64>) -> io::Result<Vec<u8>> {
        let length = usize::try_from(range.end.saturating_sub(range.start)).map_err(io::Error::other)?;
        let mut bytes = vec![0; length];
        match self {
            Self::File(file) => file.read_exact_at(&mut bytes, range.start)?,
            Self::Memory(all) => {
                let start = usize::try_from(range.start).map_err(io::Error::other)?;
                let found = all.get(start..).and_then(|rest| rest.get(..length));
                bytes.copy_from_slice(found.ok_or(io::ErrorKind::UnexpectedEof)?);
            }
        }
        Ok(bytes)
    }

    /// Adds bytes at the end, which is at `end`.
    pub(super) fn append(&mut self, bytes: &[u8], end: u64) -> io::Result<()> {
        match self {
            Self::File(file) => file.write_all_at(bytes, end),
            Self::Memory(all) => {
                all.extend_from_slice(bytes);
                Ok(())
            }
        }
    }
}

/// A pack that can be read from. One that is damaged has no blocks, or lacks some.
#[derive(Debug)]
pub struct Pack {
    name: String,
    bytes: Stored,
    /// Keys, in order, and where each block with its checksum ends.
    rows: Vec<(Key, u32)>,
    /// The rows that were asked for.
    used: Vec<AtomicBool>,
    damaged: AtomicBool,
}

impl Pack {
    /// Opens a pack; of one that is damaged is said so.
    pub fn open(name: String, bytes: Stored) -> Self {
        let index = index(&bytes);
        let is_whole = index.is_some();
        let rows = index.unwrap_or_default();
        let used = rows.iter().map(|_| AtomicBool::new(false)).collect();
        let pack = Self { name, bytes, rows, used, damaged: AtomicBool::new(false) };
        if !is_whole {
            pack.tell_damage();
        }
        pack
    }

    /// Its name where it is stored.
    pub fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn is_damaged(&self) -> bool {
        self.damaged.load(Ordering::Relaxed)
    }

    /// Once for a pack: the next one that is written takes its place.
    fn tell_damage(&self) {
        if !self.damaged.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                pack = self.name,
                "what was kept of highlighted code is damaged; what it lacks is highlighted again"
            );
        }
    }

    /// A block, which is used from now on.
    pub(super) fn get(&self, key: Key) -> Option<Vec<u8>> {
        let row = self.rows.binary_search_by_key(&key, |(key, _)| *key).ok()?;
        let block = self.block(row)?;
        self.used[row].store(true, Ordering::Relaxed);
        Some(block)
    }

    /// Says that a block is used.
    pub(super) fn mark(&self, key: Key) {
        if let Ok(row) = self.rows.binary_search_by_key(&key, |(key, _)| *key) {
            self.used[row].store(true, Ordering::Relaxed);
        }
    }

    /// The block of a row; none where it is damaged.
    pub(super) fn block(&self, row: usize) -> Option<Vec<u8>> {
        let range = self.range(row);
        let read = self.bytes.read(u64::from(range.start)..u64::from(range.end)).ok();
        let whole = read.and_then(|mut bytes| {
            let sum = bytes.split_off(bytes.len().checked_sub(CHECK_BYTES)?);
            (sum == check(self.rows[row].0, &bytes)).then_some(bytes)
        });
        if whole.is_none() {
            self.tell_damage();
        }
        whole
    }

    fn range(&self, row: usize) -> Range<u32> {
        let start = row.checked_sub(1).map_or(MAGIC.len() as u32, |before| self.rows[before].1);
        start..self.rows[row].1
    }

    /// The rows: key, bytes, and whether it is used.
    pub(super) fn rows(&self) -> impl Iterator<Item = (Key, u64, bool)> {
        self.rows.iter().enumerate().map(|(row, (key, _))| {
            let bytes = (self.range(row).len() + ROW_BYTES) as u64;
            (*key, bytes, self.used[row].load(Ordering::Relaxed))
        })
    }

    /// Bytes of all rows.
    pub(super) fn bytes(&self) -> u64 {
        self.rows().map(|(_, bytes, _)| bytes).sum()
    }
}

/// What a block takes in a pack.
pub(super) fn bytes_of(block: usize) -> u64 {
    (block + CHECK_BYTES + ROW_BYTES) as u64
}

fn check(key: Key, block: &[u8]) -> [u8; CHECK_BYTES] {
    let mut hasher = blake3::Hasher::new();
    let digest = hasher.update(&key.to_le_bytes()).update(block).finalize();
    let mut check = [0; CHECK_BYTES];
    check.copy_from_slice(&digest.as_bytes()[..CHECK_BYTES]);
    check
}

/// The index of a pack; none where it is damaged, or of another format.
fn index(bytes: &Stored) -> Option<Vec<(Key, u32)>> {
    let length = bytes.len().ok()?;
    let tail_at = length.checked_sub(TAIL_BYTES as u64)?;
    let tail = bytes.read(tail_at..length).ok()?;
    let (count, digest) = tail.split_first_chunk()?;
    let rows_bytes = u64::from(u32::from_le_bytes(*count)) * ROW_BYTES as u64;
    let rows_at = tail_at.checked_sub(rows_bytes)?;
    let index = bytes.read(rows_at..tail_at + 4).ok()?;
    if blake3::hash(&index).as_bytes() != digest || bytes.read(0..MAGIC.len() as u64).ok()? != MAGIC {
        return None;
    }
    let row = |row: &[u8]| {
        let (key, end) = row.split_first_chunk()?;
        Some((Key::from_le_bytes(*key), u32::from_le_bytes(*end.first_chunk()?)))
    };
    let rows: Vec<_> = index.chunks_exact(ROW_BYTES).map(row).collect::<Option<_>>()?;
    let ends = || rows.iter().map(|(_, end)| u64::from(*end));
    let in_order = std::iter::once(MAGIC.len() as u64).chain(ends()).is_sorted();
    (in_order && ends().next_back().is_none_or(|end| end == rows_at)).then_some(rows)
}

/// Writes a pack of these blocks, which are in the order of their keys. The digest of its index comes back.
pub(super) fn write(blocks: impl Iterator<Item = (Key, Vec<u8>)>, out: &mut dyn Write) -> io::Result<Digest> {
    out.write_all(MAGIC)?;
    let mut end = MAGIC.len();
    let (mut index, mut count) = (Vec::new(), 0_u32);
    for (key, block) in blocks {
        out.write_all(&block)?;
        out.write_all(&check(key, &block))?;
        end += block.len() + CHECK_BYTES;
        index.extend_from_slice(&key.to_le_bytes());
        index.extend_from_slice(&u32::try_from(end).map_err(io::Error::other)?.to_le_bytes());
        count += 1;
    }
    index.extend_from_slice(&count.to_le_bytes());
    let digest = Digest::of(&index);
    out.write_all(&index)?;
    out.write_all(digest.as_bytes())?;
    Ok(digest)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packed() -> Vec<u8> {
        let mut bytes = Vec::new();
        let blocks = [(1, b"one".to_vec()), (7, Vec::new()), (9, vec![9; 300])];
        write(blocks.into_iter(), &mut bytes).unwrap();
        bytes
    }

    #[test]
    fn blocks_are_found_by_key() {
        let pack = Pack::open("p".to_owned(), Stored::Memory(packed()));
        assert_eq!(pack.get(1), Some(b"one".to_vec()));
        assert_eq!(pack.get(7), Some(Vec::new()));
        assert_eq!(pack.get(8), None);
        assert!(!pack.is_damaged());
        let rows: Vec<_> = pack.rows().collect();
        assert_eq!(rows, [(1, 31, true), (7, 28, true), (9, 328, false)]);
        assert_eq!(rows[2].1, bytes_of(300));
    }

    #[test]
    fn no_byte_of_a_pack_can_be_another_unnoticed() {
        let whole = packed();
        let blocks = |bytes: &[u8]| {
            let pack = Pack::open("p".to_owned(), Stored::Memory(bytes.to_vec()));
            ([1, 7, 9].map(|key| pack.get(key)), pack.is_damaged())
        };
        let (right, _) = blocks(&whole);
        for at in 0..whole.len() {
            let mut broken = whole.clone();
            broken[at] ^= 0x10;
            for (found, damaged) in [blocks(&broken), blocks(&whole[..at])] {
                assert!(damaged, "byte {at}");
                assert!(found.iter().zip(&right).all(|(found, right)| found.is_none() || found == right));
            }
        }
    }
}
