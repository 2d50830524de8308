//! Keys of a bucket in byte order, from any key on.
//!
//! A listing asks again and again for the first key at or after a bound, and each answer descends from the
//! bucket's folder. That reads each folder on the way once a request. A big folder (a million blobs) is kept sorted
//! in memory between the pages of a listing, and used again only if its time of change proves that it is the same.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use super::folder::{FolderStore, StoreError};
use super::keys::{self, Kind};
use super::object::{Meta, Object};

/// Smaller folders are read faster than they are worth keeping.
const KEPT_ENTRIES_MIN: usize = 256;
/// Holds the names of well over a million blobs.
const KEPT_BYTES_MAX: usize = 192 << 20;
/// File systems stamp changes with a clock that may stand still for some milliseconds: a folder that changed
/// this recently may change again under the same stamp.
const SETTLED: Duration = Duration::from_millis(500);

/// Names of one folder, as the bytes they add to a key, sorted. Packed: a million names in two allocations.
#[derive(Debug, Default)]
struct Names {
    bytes: Vec<u8>,
    /// Start and length of each name in `bytes`.
    spans: Vec<(u32, u16)>,
}

impl Names {
    fn read(folder: &Path) -> Result<Self, StoreError> {
        let failed = || StoreError::io("list", folder);
        let mut names = Self::default();
        let entries = match fs::read_dir(folder) {
            Ok(entries) => entries,
            // Emptied and removed since its parent was read.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(names),
            Err(error) => return Err(failed()(error)),
        };
        for entry in entries {
            let entry = entry.map_err(failed())?;
            let is_folder = entry.file_type().map_err(failed())?.is_dir();
            let Some(added) = keys::from_name(&entry.file_name(), is_folder) else { continue };
            let start =
                u32::try_from(names.bytes.len()).map_err(|_| failed()(io::Error::other("too many names")))?;
            names.spans.push((start, added.len() as u16));
            names.bytes.extend(added);
        }
        let Self { bytes, spans } = &mut names;
        spans.sort_unstable_by(|a, b| slice(bytes, *a).cmp(slice(bytes, *b)));
        Ok(names)
    }

    fn len(&self) -> usize {
        self.spans.len()
    }

    fn get(&self, at: usize) -> &[u8] {
        slice(&self.bytes, self.spans[at])
    }

    /// The first name that is not before `name`.
    fn lower_bound(&self, name: &[u8]) -> usize {
        self.spans.partition_point(|span| slice(&self.bytes, *span) < name)
    }

    fn memory_bytes(&self) -> usize {
        self.bytes.capacity() + self.spans.capacity() * size_of::<(u32, u16)>()
    }
}

fn slice(bytes: &[u8], (start, length): (u32, u16)) -> &[u8] {
    &bytes[start as usize..start as usize + usize::from(length)]
}

/// Identity and times of a folder.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Stamp {
    device: u64,
    inode: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Stamp {
    fn of(folder: &Path) -> Option<Self> {
        let meta = fs::metadata(folder).ok()?;
        Some(Self {
            device: meta.dev(),
            inode: meta.ino(),
            modified: (meta.mtime(), meta.mtime_nsec()),
            changed: (meta.ctime(), meta.ctime_nsec()),
        })
    }

    fn is_settled(&self, now: SystemTime) -> bool {
        let (seconds, nanoseconds) = self.modified.max(self.changed);
        let changed =
            Duration::new(u64::try_from(seconds).unwrap_or(0), u32::try_from(nanoseconds).unwrap_or(0));
        now.duration_since(SystemTime::UNIX_EPOCH).is_ok_and(|now| now > changed + SETTLED)
    }
}

/// Sorted names of big folders, kept from one request to the next.
#[derive(Debug, Default)]
pub(super) struct Cache {
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    folders: HashMap<PathBuf, (Stamp, Arc<Names>, u64)>,
    bytes: usize,
    uses: u64,
}

impl Cache {
    fn names(&self, folder: &Path) -> Result<Arc<Names>, StoreError> {
        let now = SystemTime::now();
        let stamp = Stamp::of(folder);
        {
            let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
            kept.uses += 1;
            let uses = kept.uses;
            if let Some((known, names, used)) = kept.folders.get_mut(folder)
                && Some(*known) == stamp
            {
                *used = uses;
                return Ok(Arc::clone(names));
            }
        }
        let names = Arc::new(Names::read(folder)?);
        if let Some(stamp) = stamp
            && stamp.is_settled(now)
            && names.len() >= KEPT_ENTRIES_MIN
        {
            self.keep(folder, stamp, &names);
        }
        Ok(names)
    }

    fn keep(&self, folder: &Path, stamp: Stamp, names: &Arc<Names>) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let uses = kept.uses;
        if let Some((_, old, _)) = kept.folders.insert(folder.to_path_buf(), (stamp, Arc::clone(names), uses))
        {
            kept.bytes -= old.memory_bytes();
        }
        kept.bytes += names.memory_bytes();
        while kept.bytes > KEPT_BYTES_MAX {
            let oldest =
                kept.folders.iter().min_by_key(|(_, (_, _, used))| *used).map(|(path, _)| path.clone());
            let Some((_, old, _)) = oldest.and_then(|oldest| kept.folders.remove(&oldest)) else { break };
            kept.bytes -= old.memory_bytes();
        }
    }
}

/// One request's way through a bucket.
struct Walk<'a> {
    cache: &'a Cache,
    read: HashMap<PathBuf, Arc<Names>>,
}

impl Walk<'_> {
    fn names(&mut self, folder: &Path) -> Result<Arc<Names>, StoreError> {
        if let Some(names) = self.read.get(folder) {
            return Ok(Arc::clone(names));
        }
        let names = self.cache.names(folder)?;
        self.read.insert(folder.to_path_buf(), Arc::clone(&names));
        Ok(names)
    }

    /// The first key at or after `bound` among those that begin with `path`, the bytes that lead to `folder`.
    fn first(&mut self, folder: &Path, path: &[u8], bound: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        let names = self.names(folder)?;
        // Either the bound lies within this folder, or all of the folder lies after it.
        let rest = bound.strip_prefix(path).unwrap_or_default();
        let start = names.lower_bound(keys::first_step(rest));
        for at in start..names.len() {
            let added = names.get(at);
            let here = [path, added].concat();
            if keys::kind(added) == Kind::Object {
                if here.as_slice() >= bound {
                    return Ok(Some(here));
                }
            } else if let Some(found) =
                self.first(&folder.join(OsStr::new(&keys::to_name(added))), &here, bound)?
            {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }
}

/// What to list.
#[derive(Clone, Debug, Default)]
pub(super) struct Query<'a> {
    pub(super) prefix: &'a str,
    pub(super) delimiter: &'a str,
    /// Nothing before these bytes is listed.
    pub(super) from: Vec<u8>,
    pub(super) max: usize,
}

/// A page of a listing.
#[derive(Debug, Default)]
pub(super) struct Page {
    pub(super) items: Vec<Item>,
    /// Where the next page begins, if there is one.
    pub(super) next: Option<Vec<u8>>,
}

/// One line of a listing.
#[derive(Debug)]
pub(super) enum Item {
    Object {
        key: String,
        size: u64,
        etag: String,
        modified_ms: i64,
    },
    /// All keys that begin so.
    Prefix(String),
}

/// The bound at which the keys after `key` begin.
pub(super) fn after_key(key: &str) -> Vec<u8> {
    [key.as_bytes(), &[0]].concat()
}

/// The bound at which the keys begin that come after all those with this prefix.
pub(super) fn after_prefix(prefix: &str) -> Vec<u8> {
    let mut bound = prefix.as_bytes().to_vec();
    // UTF-8 has no byte 0xff, so the last one can always be counted up.
    if let Some(last) = bound.last_mut() {
        *last = last.saturating_add(1);
    }
    bound
}

impl FolderStore {
    /// One page of the bucket's keys.
    pub(super) fn list(&self, bucket: &str, query: &Query<'_>) -> Result<Page, StoreError> {
        let folder = self.bucket(bucket)?;
        let mut walk = Walk { cache: self.cache(), read: HashMap::new() };
        let mut page = Page::default();
        let mut bound = query.from.clone().max(query.prefix.as_bytes().to_vec());
        if query.max == 0 {
            return Ok(page);
        }
        while let Some(key) = walk.first(&folder, b"", &bound)? {
            if !key.starts_with(query.prefix.as_bytes()) {
                break;
            }
            bound = [key.as_slice(), &[0]].concat();
            // Only a file that we did not write can have a name that is not UTF-8.
            let Ok(key) = String::from_utf8(key) else { continue };
            let cut = match query.delimiter {
                "" => None,
                delimiter => key[query.prefix.len()..].find(delimiter).map(|at| at + delimiter.len()),
            };
            let item = match cut {
                Some(cut) => {
                    let prefix = key[..query.prefix.len() + cut].to_owned();
                    bound = after_prefix(&prefix);
                    Item::Prefix(prefix)
                }
                None => match self.get(bucket, &key, 0) {
                    Ok(Object { size, meta: Meta { etag, modified_ms, .. }, .. }) => {
                        Item::Object { key, size, etag, modified_ms }
                    }
                    // Deleted since the folder was read.
                    Err(StoreError::NoSuchKey(_)) => continue,
                    Err(error) => return Err(error),
                },
            };
            if page.items.len() == query.max {
                page.next = Some(match &item {
                    Item::Object { key, .. } => key.clone().into_bytes(),
                    Item::Prefix(prefix) => prefix.clone().into_bytes(),
                });
                break;
            }
            page.items.push(item);
        }
        Ok(page)
    }
}

#[cfg(test)]
mod tests {
    use super::super::folder::Condition;
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    fn put(store: &FolderStore, key: &str) {
        let temp = store.temp().unwrap();
        store.commit(temp, &Meta::default(), "bucket", key, &Condition::None).unwrap();
    }

    /// What S3 says: keys in byte order; those that have the delimiter after the prefix count as one.
    fn model(keys: &BTreeSet<String>, prefix: &str, delimiter: &str) -> Vec<String> {
        let mut lines = Vec::new();
        for key in keys.iter().filter(|key| key.starts_with(prefix)) {
            let cut = (!delimiter.is_empty()).then(|| key[prefix.len()..].find(delimiter)).flatten();
            let line = cut.map_or(&key[..], |at| &key[..prefix.len() + at + delimiter.len()]);
            if lines.last().map(String::as_str) != Some(line) {
                lines.push(line.to_owned());
            }
        }
        lines
    }

    fn listed(store: &FolderStore, prefix: &str, delimiter: &str, max: usize) -> Vec<String> {
        let mut lines = Vec::new();
        let mut from = Vec::new();
        loop {
            let page = store.list("bucket", &Query { prefix, delimiter, from, max }).unwrap();
            assert!(page.items.len() <= max);
            lines.extend(page.items.into_iter().map(|item| match item {
                Item::Object { key, .. } | Item::Prefix(key) => key,
            }));
            match page.next {
                Some(next) => from = next,
                None => return lines,
            }
        }
    }

    fn key() -> impl Strategy<Value = String> {
        let long = prop_oneof![Just(78_usize), Just(79), Just(80), Just(81), Just(160), Just(161)];
        let part = prop_oneof![
            4 => "[ab./~!-]{1,3}",
            1 => long.prop_map(|length| "b".repeat(length)),
            1 => Just("é".to_owned()),
            1 => Just("\u{10ffff}".to_owned()),
        ];
        prop::collection::vec(part, 1..4).prop_map(|parts| parts.concat())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]
        #[test]
        fn listings_are_those_of_a_sorted_set(
            keys in prop::collection::btree_set(key(), 0..40),
            removed in prop::collection::vec(any::<prop::sample::Index>(), 0..5),
            prefix in prop_oneof![Just(String::new()), key()],
            delimiter in prop_oneof![Just(""), Just("/"), Just("b"), Just("./")],
            max in 1_usize..8,
        ) {
            let dir = tempfile::tempdir().unwrap();
            let store = FolderStore::open(dir.path(), ["bucket"]).unwrap();
            let mut keys = keys;
            for key in &keys {
                put(&store, key);
            }
            for index in removed {
                if keys.is_empty() {
                    break;
                }
                let key = index.get(&keys.iter().cloned().collect::<Vec<_>>()).clone();
                store.delete("bucket", &key, &Condition::None, |_| true).unwrap();
                keys.remove(&key);
            }
            prop_assert_eq!(listed(&store, "", "", max), model(&keys, "", ""));
            prop_assert_eq!(listed(&store, &prefix, delimiter, max), model(&keys, &prefix, delimiter));
        }
    }

    #[test]
    fn a_kept_folder_is_read_again_once_it_changed() {
        let dir = tempfile::tempdir().unwrap();
        let store = FolderStore::open(dir.path(), ["bucket"]).unwrap();
        let mut keys = BTreeSet::new();
        for at in 0..300 {
            keys.insert(format!("many/{at:04}"));
        }
        keys.iter().for_each(|key| put(&store, key));
        // Make the folder look settled, as it will be in half a second.
        let folder = dir.path().join("bucket/many");
        let stamp = Stamp::of(&folder).unwrap();
        let names = Arc::new(Names::read(&folder).unwrap());
        store.cache().keep(&folder.canonicalize().unwrap(), stamp, &names);
        assert_eq!(listed(&store, "", "", 100), model(&keys, "", ""));
        // Beyond the granularity of the file system's clock, any change shows.
        while Stamp::of(&folder) == Some(stamp) {
            put(&store, "many/0001a");
        }
        keys.insert("many/0001a".to_owned());
        assert_eq!(listed(&store, "", "", 100), model(&keys, "", ""));
        assert!(!stamp.is_settled(SystemTime::UNIX_EPOCH));
        assert!(stamp.is_settled(SystemTime::now() + Duration::from_secs(10)));
    }

    #[test]
    fn bounds_follow_what_they_follow() {
        assert_eq!(after_key("a"), b"a\0");
        assert_eq!(after_prefix("a/"), b"a0");
    }
}
