//! The folder behind the embedded server: objects as files, written so that each is whole or absent, at any
//! instruction and from any number of processes.
//!
//! ```text
//! DIR/<bucket>/…                      objects, one file each (`keys`, `object`)
//! DIR/.bakehouse/temp/<random>/       what one process is writing; its `lock` is held as long as it lives
//! DIR/.bakehouse/uploads/<id>/        multipart uploads that are neither completed nor aborted
//! DIR/.bakehouse/locks/<00…ff>        held during check-then-rename, shared by plain writes, alone by conditional ones
//! ```
//! A write: a temporary file, its bytes and meta, fsync, `link` (which fails where the name exists: that is
//! `If-None-Match: *`) or `rename`, fsync of the folder. Until then the file itself stays locked and readers wait, so
//! nobody sees what a power failure could take back. Locks are `flock`s: the kernel releases those of a killed process.
//! This module blocks; `api` calls it on threads that may.

use std::collections::HashSet;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use super::keys;
use super::listing::Cache;
use super::object::{Meta, Object};

/// Beyond this a key's path might not fit in the 4,096 bytes of a path any more.
const ROOT_BYTES_MAX: usize = 768;
/// A write whose folder is removed by a deletion again and again gives up after as many attempts.
const ATTEMPTS_MAX: u32 = 100;
/// Folders known to be durable, so that not each write syncs all of its parents; forgotten all at once beyond this.
const DURABLE_FOLDERS_MAX: usize = 16 * 1024;
/// An upload nobody completed in this time is removed when a server starts.
const UPLOAD_AGE_MAX: Duration = Duration::from_secs(7 * 24 * 3600);
/// Enough that writes to different keys seldom wait for each other.
const LOCKS: u64 = 256;

/// What the store may be asked to hold.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Largest object, in bytes (S3's own limit for one PUT is 5 GiB).
    pub object_bytes_max: u64,
    /// Connections served at a time; further ones wait to be accepted.
    pub connections_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { object_bytes_max: 5 << 30, connections_max: 256 }
    }
}

/// Why the store could not do what was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The bucket's folder is not there.
    #[error("no bucket {0}")]
    NoSuchBucket(String),
    /// Nothing has this key.
    #[error("no object {0:?}")]
    NoSuchKey(String),
    /// No such multipart upload, or it was completed or aborted.
    #[error("no upload {0:?}")]
    NoSuchUpload(String),
    /// The object is not what the condition of the write says.
    #[error("at least one of the preconditions did not hold")]
    PreconditionFailed,
    /// A bucket's name is not one (3 to 63 of `a-z0-9.-`).
    #[error("{0:?} is not a bucket name: 3 to 63 lower-case letters, digits, dots and hyphens")]
    BucketName(String),
    /// The folder's own path leaves no room for keys.
    #[error("the path {path} is longer than {ROOT_BYTES_MAX} bytes")]
    RootTooLong {
        /// The folder.
        path: PathBuf,
    },
    /// The operating system refused.
    #[error("cannot {action} {path}: {source}")]
    Io {
        /// What was attempted.
        action: &'static str,
        /// On which path.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
}

impl StoreError {
    pub(super) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_path_buf();
        move |source| Self::Io { action, path, source }
    }

    /// What to do next.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Io { source, path, .. } => match source.kind() {
                io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Some(format!(
                    "free space on the disk of {}, or choose another data folder",
                    path.display()
                )),
                io::ErrorKind::ReadOnlyFilesystem | io::ErrorKind::PermissionDenied => {
                    Some(format!("make {} writable, or choose another data folder", path.display()))
                }
                _ => None,
            },
            Self::RootTooLong { .. } => Some("choose a data folder with a shorter path".to_owned()),
            _ => None,
        }
    }
}

/// What must be true of the present object for a write or a deletion to happen.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Condition {
    None,
    /// `If-None-Match: *`
    Absent,
    /// `If-Match: *`
    Present,
    /// `If-Match: "etag"`
    Etag(String),
}

/// Buckets in a folder of the local file system. A clone is the same store; so is another process on the same folder.
#[derive(Clone, Debug)]
pub struct FolderStore {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    root: PathBuf,
    limits: Limits,
    temp: PathBuf,
    /// Held as long as this store lives: tells another process that `temp` is in use.
    _alive: File,
    counter: AtomicU64,
    durable: Mutex<HashSet<PathBuf>>,
    cache: Cache,
}

impl Drop for Inner {
    fn drop(&mut self) {
        // What stays behind is removed by the next start, so a failure here loses nothing.
        let _ = fs::remove_dir_all(&self.temp);
    }
}

impl FolderStore {
    /// Opens (or makes) the folder and the named buckets in it, and removes what killed processes left unfinished.
    ///
    /// # Errors
    /// A bucket name that is none, a path that is too long, or what the file system refuses.
    pub fn open<'a>(
        dir: impl AsRef<Path>,
        buckets: impl IntoIterator<Item = &'a str>,
    ) -> Result<Self, StoreError> {
        Self::open_with(dir, buckets, Limits::default())
    }

    /// As [`FolderStore::open`], with other limits.
    ///
    /// # Errors
    /// As [`FolderStore::open`].
    pub fn open_with<'a>(
        dir: impl AsRef<Path>,
        buckets: impl IntoIterator<Item = &'a str>,
        limits: Limits,
    ) -> Result<Self, StoreError> {
        let dir = dir.as_ref();
        fs::create_dir_all(dir).map_err(StoreError::io("create the folder", dir))?;
        let root = fs::canonicalize(dir).map_err(StoreError::io("open the folder", dir))?;
        if root.as_os_str().len() > ROOT_BYTES_MAX {
            return Err(StoreError::RootTooLong { path: root });
        }
        let own = root.join(".bakehouse");
        for name in ["temp", "uploads", "locks"] {
            let folder = own.join(name);
            fs::create_dir_all(&folder).map_err(StoreError::io("create the folder", &folder))?;
        }
        for lock in 0..LOCKS {
            let path = own.join("locks").join(format!("{lock:02x}"));
            OpenOptions::new()
                .create(true)
                .append(true)
                .open(&path)
                .map_err(StoreError::io("create the lock", &path))?;
        }
        let temps = own.join("temp");
        remove_dead(&temps)?;
        remove_old_uploads(&own.join("uploads"))?;
        let temp = temps.join(random_id());
        fs::create_dir(&temp).map_err(StoreError::io("create the folder", &temp))?;
        let lock = temp.join("lock");
        let alive = File::create(&lock).map_err(StoreError::io("create the lock", &lock))?;
        alive.lock().map_err(StoreError::io("lock", &lock))?;
        for folder in [&own, &root] {
            sync_folder(folder)?;
        }
        let store = Self {
            inner: Arc::new(Inner {
                root,
                limits,
                temp,
                _alive: alive,
                counter: AtomicU64::new(0),
                durable: Mutex::default(),
                cache: Cache::default(),
            }),
        };
        for bucket in buckets {
            store.create_bucket(bucket)?;
        }
        Ok(store)
    }

    /// The folder, as an absolute path.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.inner.root
    }

    /// What the store was opened with.
    #[must_use]
    pub fn limits(&self) -> Limits {
        self.inner.limits
    }

    pub(super) fn cache(&self) -> &Cache {
        &self.inner.cache
    }

    pub(super) fn uploads(&self) -> PathBuf {
        self.inner.root.join(".bakehouse/uploads")
    }

    /// The folder of a bucket that exists.
    pub(super) fn bucket(&self, bucket: &str) -> Result<PathBuf, StoreError> {
        let path = self.bucket_path(bucket)?;
        if path.is_dir() { Ok(path) } else { Err(StoreError::NoSuchBucket(bucket.to_owned())) }
    }

    fn bucket_path(&self, bucket: &str) -> Result<PathBuf, StoreError> {
        // The names S3 allows hold no `/` and begin with no `.`: none leaves the folder or meets our own.
        if s3s::path::check_bucket_name(bucket) {
            Ok(self.inner.root.join(bucket))
        } else {
            Err(StoreError::BucketName(bucket.to_owned()))
        }
    }

    /// Makes a bucket. `false`: it was there.
    pub(super) fn create_bucket(&self, bucket: &str) -> Result<bool, StoreError> {
        let path = self.bucket_path(bucket)?;
        let made = match fs::create_dir(&path) {
            Ok(()) => true,
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => false,
            Err(source) => return Err(StoreError::Io { action: "create the bucket", path, source }),
        };
        sync_folder(&self.inner.root)?;
        Ok(made)
    }

    /// Removes a bucket. `false`: it holds something.
    pub(super) fn delete_bucket(&self, bucket: &str) -> Result<bool, StoreError> {
        let path = self.bucket(bucket)?;
        match fs::remove_dir(&path) {
            Ok(()) => sync_folder(&self.inner.root).map(|()| true),
            Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => Ok(false),
            Err(source) => Err(StoreError::Io { action: "remove the bucket", path, source }),
        }
    }

    /// The buckets by name, with the time each folder was last changed.
    pub(super) fn buckets(&self) -> Result<Vec<(String, SystemTime)>, StoreError> {
        let root = &self.inner.root;
        let failed = || StoreError::io("list", root);
        let mut buckets = Vec::new();
        for entry in fs::read_dir(root).map_err(failed())? {
            let entry = entry.map_err(failed())?;
            let Ok(name) = entry.file_name().into_string() else { continue };
            let Ok(meta) = entry.metadata() else { continue };
            if meta.is_dir() && s3s::path::check_bucket_name(&name) {
                buckets.push((name, meta.modified().map_err(failed())?));
            }
        }
        buckets.sort();
        Ok(buckets)
    }

    /// The open object, with its body if the file is not above `whole_bytes_max`.
    pub(super) fn get(&self, bucket: &str, key: &str, whole_bytes_max: u64) -> Result<Object, StoreError> {
        let folder = self.bucket_path(bucket)?;
        let path = folder.join(keys::to_path(key));
        match File::open(&path) {
            Ok(file) => {
                // Waits for a writer that has made the name but not yet its durability.
                file.lock_shared().map_err(StoreError::io("lock the object", &path))?;
                Object::read(file, whole_bytes_max).map_err(StoreError::io("read the object", &path))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.bucket(bucket)?;
                Err(StoreError::NoSuchKey(key.to_owned()))
            }
            Err(source) => Err(StoreError::Io { action: "open the object", path, source }),
        }
    }

    /// A new file in the folder of unfinished things; gone when dropped.
    pub(super) fn temp(&self) -> Result<Temp, StoreError> {
        let path = self.temp_path();
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(true)
            .open(&path)
            .map_err(StoreError::io("create the file", &path))?;
        let temp = Temp { file, path };
        temp.file.lock().map_err(StoreError::io("lock", &temp.path))?;
        Ok(temp)
    }

    /// A name in the folder of unfinished things that nothing else uses.
    pub(super) fn temp_path(&self) -> PathBuf {
        self.inner.temp.join(self.inner.counter.fetch_add(1, Ordering::Relaxed).to_string())
    }

    /// Makes the file the object of that key, durably, if the condition holds.
    pub(super) fn commit(
        &self,
        temp: Temp,
        meta: &Meta,
        bucket: &str,
        key: &str,
        condition: &Condition,
    ) -> Result<(), StoreError> {
        let folder = self.bucket(bucket)?;
        let path = folder.join(keys::to_path(key));
        if *condition == Condition::Absent && path.exists() {
            // Known before anything is synced; `link` below is what decides.
            return Err(exists(&path));
        }
        temp.finish(meta)?;
        let mut attempt = 0;
        loop {
            let placed = match condition {
                Condition::Absent => fs::hard_link(&temp.path, &path),
                Condition::None => {
                    let _lock = self.lock(&path, false)?;
                    fs::rename(&temp.path, &path)
                }
                Condition::Present | Condition::Etag(_) => {
                    let _lock = self.lock(&path, true)?;
                    self.check(bucket, key, condition)?;
                    fs::rename(&temp.path, &path)
                }
            };
            match placed {
                Ok(()) => break,
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Err(exists(&path)),
                Err(error) if error.kind() == io::ErrorKind::NotFound && attempt < ATTEMPTS_MAX => {
                    attempt += 1;
                    self.make_folders(bucket, &folder, &path)?;
                }
                Err(source) => return Err(StoreError::Io { action: "write the object", path, source }),
            }
        }
        self.sync_parents(&folder, &path)
    }

    /// Removes the object of that key, durably. A key that names nothing is no error without a condition.
    pub(super) fn delete(
        &self,
        bucket: &str,
        key: &str,
        condition: &Condition,
        matches: impl FnOnce(&Object) -> bool,
    ) -> Result<(), StoreError> {
        let folder = self.bucket(bucket)?;
        let path = folder.join(keys::to_path(key));
        {
            let _lock = self.lock(&path, true)?;
            if *condition != Condition::None {
                let object = self.check(bucket, key, condition)?;
                if !matches(&object) {
                    return Err(StoreError::PreconditionFailed);
                }
            }
            match fs::remove_file(&path) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
                Err(source) => return Err(StoreError::Io { action: "remove the object", path, source }),
            }
        }
        let parents = keys::folders(&folder, &path);
        let parent = parents.last().unwrap_or(&folder);
        match sync_folder(parent) {
            // Another deletion removed the folder, after ours.
            Err(StoreError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {}
            synced => synced?,
        }
        // Empty folders are not listed; removing them keeps listings short. One that a write just needed stays or
        // is made again by that write.
        for parent in parents.iter().rev() {
            self.durable().remove(parent);
            if fs::remove_dir(parent).is_err() {
                break;
            }
        }
        Ok(())
    }

    fn check(&self, bucket: &str, key: &str, condition: &Condition) -> Result<Object, StoreError> {
        let object = self.get(bucket, key, 0)?;
        match condition {
            Condition::Etag(etag) if *etag != object.meta.etag => Err(StoreError::PreconditionFailed),
            Condition::Absent => Err(StoreError::PreconditionFailed),
            _ => Ok(object),
        }
    }

    fn lock(&self, path: &Path, alone: bool) -> Result<File, StoreError> {
        // FNV-1a: whatever its build, another process must arrive at the same lock.
        let hash =
            path.as_os_str().as_encoded_bytes().iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
                (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
            });
        let lock = self.inner.root.join(format!(".bakehouse/locks/{:02x}", hash % LOCKS));
        // A lock belongs to the open file: opened anew each time, it also parts the threads of one process.
        let file = File::open(&lock).map_err(StoreError::io("open the lock", &lock))?;
        if alone { file.lock() } else { file.lock_shared() }.map_err(StoreError::io("lock", &lock))?;
        Ok(file)
    }

    fn make_folders(&self, bucket: &str, folder: &Path, path: &Path) -> Result<(), StoreError> {
        for parent in keys::folders(folder, path) {
            self.durable().remove(&parent);
            match fs::create_dir(&parent) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    // A deletion removed the one above in between (the caller tries again), or the bucket is gone.
                    self.bucket(bucket)?;
                    return Ok(());
                }
                Err(source) => {
                    return Err(StoreError::Io { action: "create the folder", path: parent, source });
                }
            }
        }
        Ok(())
    }

    /// Syncs the folder of `path`, and those above it that this process has not yet seen synced.
    fn sync_parents(&self, folder: &Path, path: &Path) -> Result<(), StoreError> {
        let parents = keys::folders(folder, path);
        let mut innermost = true;
        for parent in parents.iter().rev() {
            let known = self.durable().contains(parent);
            if innermost || !known {
                match sync_folder(parent) {
                    // The object was deleted since, and its folder with it.
                    Err(StoreError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {}
                    synced => synced?,
                }
            }
            if known {
                return Ok(());
            }
            innermost = false;
        }
        sync_folder(folder)?;
        let mut durable = self.durable();
        if durable.len() > DURABLE_FOLDERS_MAX {
            durable.clear();
        }
        durable.extend(parents);
        Ok(())
    }

    fn durable(&self) -> std::sync::MutexGuard<'_, HashSet<PathBuf>> {
        self.inner.durable.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A file that is not yet an object; removed when dropped, unless it was renamed to what it should become.
#[derive(Debug)]
pub(super) struct Temp {
    pub(super) file: File,
    path: PathBuf,
}

impl Temp {
    pub(super) fn write(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        self.file.write_all(bytes).map_err(StoreError::io("write", &self.path))
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Appends the meta and syncs the file.
    pub(super) fn finish(&self, meta: &Meta) -> Result<(), StoreError> {
        let tail = meta.to_tail().map_err(StoreError::io("write", &self.path))?;
        (&self.file).write_all(&tail).map_err(StoreError::io("write", &self.path))?;
        self.file.sync_data().map_err(StoreError::io("sync", &self.path))
    }
}

impl Drop for Temp {
    fn drop(&mut self) {
        // After a rename there is nothing left to remove; otherwise the next start removes what cannot be removed now.
        let _ = fs::remove_file(&self.path);
    }
}

/// The answer to a creation whose name is taken: given once the one who took it has made that durable, or else the
/// caller might act on something that a power failure takes back.
fn exists(path: &Path) -> StoreError {
    match File::open(path).and_then(|file| file.lock_shared()) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => {
            StoreError::Io { action: "lock the object", path: path.to_path_buf(), source }
        }
        _ => StoreError::PreconditionFailed,
    }
}

/// 32 hexadecimal digits that nobody guesses.
pub(super) fn random_id() -> String {
    format!("{:032x}", rand::random::<u128>())
}

pub(super) fn sync_folder(path: &Path) -> Result<(), StoreError> {
    let folder = File::open(path).map_err(StoreError::io("open the folder", path))?;
    folder.sync_all().map_err(StoreError::io("sync the folder", path))
}

/// Removes the unfinished files of processes that are gone: those whose lock can be had.
fn remove_dead(temps: &Path) -> Result<(), StoreError> {
    for entry in fs::read_dir(temps).map_err(StoreError::io("list", temps))? {
        let path = entry.map_err(StoreError::io("list", temps))?.path();
        let lock = path.join("lock");
        let dead = match File::open(&lock) {
            Ok(file) => file.try_lock().is_ok(),
            // Being made at this moment, or left by a process that died before it had a lock.
            Err(_) => older_than(&path, Duration::from_secs(60)),
        };
        if dead && let Err(error) = fs::remove_dir_all(&path) {
            tracing::warn!(path = %path.display(), %error, "cannot remove what a killed process left behind");
        }
    }
    Ok(())
}

fn remove_old_uploads(uploads: &Path) -> Result<(), StoreError> {
    for entry in fs::read_dir(uploads).map_err(StoreError::io("list", uploads))? {
        let path = entry.map_err(StoreError::io("list", uploads))?.path();
        if older_than(&path, UPLOAD_AGE_MAX)
            && let Err(error) = fs::remove_dir_all(&path)
        {
            tracing::warn!(path = %path.display(), %error, "cannot remove an abandoned upload");
        }
    }
    Ok(())
}

fn older_than(path: &Path, age: Duration) -> bool {
    let modified = fs::metadata(path).and_then(|meta| meta.modified());
    modified.is_ok_and(|modified| modified.elapsed().is_ok_and(|elapsed| elapsed > age))
}
