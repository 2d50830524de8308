//! The tree of files that a site is rendered from: a snapshot of names, read lazily.
//!
//! A folder is listed and stated once; bytes are read when a render needs them, and a file whose size, times and
//! inode are those of the previous snapshot keeps the digest it had. Owns reading and digests; what a file means
//! is for others to say.

mod files;
mod list;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use blake3::Hash;
use bytes::Bytes;
use serde::{Deserialize, Serialize};

use self::files::Files;
use self::list::Lister;
pub(crate) use self::list::is_listed;
use crate::diagnostic::{Diagnostic, Errors};
use crate::limits::Limits;
use crate::memo::Whole;

/// An immutable tree of files by site-relative path (`/`-separated, UTF-8). Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Sources {
    files: Files,
    root: Option<Arc<Path>>,
    /// When the folder was listed.
    listed: Option<SystemTime>,
}

/// One file of a [`Sources`].
#[derive(Debug)]
pub struct SourceFile {
    place: Place,
    digest: OnceLock<Hash>,
}

#[derive(Debug)]
enum Place {
    /// Below `root`. The path is that of the key until the file is renamed, and shared with it.
    Disk {
        root: Arc<Path>,
        path: Arc<str>,
        stat: Stat,
    },
    Memory(Bytes),
}

/// What tells an unchanged file from a changed one without reading it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Stat {
    bytes: u64,
    modified: (i64, i64),
    changed: (i64, i64),
    inode: u64,
    device: u64,
}

/// A file as it was when it was listed, for another process to tell whether it is the same.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Stamp {
    path: Arc<str>,
    /// None of a file in memory.
    stat: Option<Stat>,
    /// Its digest; of a file of a folder only where it was read.
    digest: Option<Whole<32>>,
}

impl Stamp {
    /// Whether that file is the same.
    fn is_of(&self, path: &str, file: &SourceFile) -> bool {
        *self.path == *path
            && match &file.place {
                Place::Disk { stat, .. } => self.stat == Some(*stat),
                Place::Memory(_) => {
                    self.stat.is_none()
                        && file.digest().is_ok_and(|digest| self.digest == Some(Whole(*digest.as_bytes())))
                }
            }
    }
}

/// How long before a listing a file must have changed last for its times to tell a later change: what is written within
/// one tick of the kernel's clock has one time.
const TICK_MAX: Duration = Duration::from_millis(20);

impl Stat {
    /// Whether a change after `listed` would show in the times.
    fn is_settled(&self, listed: SystemTime) -> bool {
        let settled = listed.checked_sub(TICK_MAX).and_then(|at| at.duration_since(UNIX_EPOCH).ok());
        let settled = settled.map(|at| (at.as_secs() as i64, i64::from(at.subsec_nanos())));
        settled.is_some_and(|settled| self.changed < settled && self.modified < settled)
    }

    pub(crate) fn of(meta: &fs::Metadata) -> Self {
        Self {
            bytes: meta.len(),
            modified: (meta.mtime(), meta.mtime_nsec()),
            changed: (meta.ctime(), meta.ctime_nsec()),
            inode: meta.ino(),
            device: meta.dev(),
        }
    }
}

impl Sources {
    /// Lists the site in folder `root`.
    ///
    /// Left out are hidden entries, `target`, `public` and `node_modules` at the top, and what editors write
    /// beside a file while they save it.
    ///
    /// # Errors
    /// All names that are not UTF-8, all that could not be listed, and files or counts over the limits.
    pub fn from_folder(root: &Path, limits: &Limits) -> Result<Self, Errors> {
        Self::list(root, limits, None)
    }

    /// Lists the same folder again; files that did not change are not read again.
    ///
    /// # Errors
    /// As [`Sources::from_folder`]; also where `self` was not made from a folder.
    pub fn from_folder_again(&self, limits: &Limits) -> Result<Self, Errors> {
        let Some(root) = &self.root else {
            return Err(Diagnostic::new("these sources are not a folder and cannot be listed again").into());
        };
        Self::list(root, limits, Some(self))
    }

    /// The same folder, of which these paths are looked at again and no others: whoever asks knows that nothing else has
    /// changed. None where that cannot be told path by path, as of a folder that has come or gone.
    ///
    /// # Errors
    /// As [`Sources::from_folder`], of these paths.
    pub fn look_again(&self, paths: &BTreeSet<String>, limits: &Limits) -> Option<Result<Self, Errors>> {
        let root = self.root.clone()?;
        let mut lister = Lister::new(root.clone(), limits, Some(self));
        let mut gone = Vec::new();
        for path in paths.iter().filter(|path| is_listed(path)) {
            match fs::metadata(root.join(path)) {
                Ok(meta) if meta.is_dir() => return None,
                Ok(meta) if meta.is_file() => lister.file(path.clone(), Stat::of(&meta)),
                Ok(_) => gone.push(path),
                Err(e) if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
                    gone.push(path);
                }
                Err(e) => lister.errors.push(Diagnostic::unreadable(path.clone(), &e)),
            }
        }
        if gone.iter().any(|path| self.under(&format!("{path}/")).next().is_some()) {
            return None;
        }
        let Lister { files: looked_at, errors, .. } = lister;
        if let Err(errors) = errors.into_result() {
            return Some(Err(errors));
        }
        let gone = gone.into_iter().map(|path| (Arc::from(path.as_str()), None));
        let changes = looked_at.into_iter().map(|(path, file)| (path, Some(file))).chain(gone);
        let files = self.files.with(changes.collect());
        // How many there may be is asked by whoever looks at all.
        Some(Ok(Self { files, root: Some(root), listed: self.listed }))
    }

    /// Sources that are already in memory, such as those of a release.
    pub fn from_files(files: impl IntoIterator<Item = (String, Bytes)>) -> Self {
        let files = files
            .into_iter()
            .map(|(path, bytes)| {
                let file = SourceFile { place: Place::Memory(bytes), digest: OnceLock::new() };
                (Arc::from(path), Arc::new(file))
            })
            .collect();
        Self { files, root: None, listed: None }
    }

    /// What is known of these files; those are left out that may change without showing it.
    pub(crate) fn stamps(&self) -> impl Iterator<Item = Stamp> {
        let listed = self.listed;
        let stamp = move |(path, file): &(Arc<str>, Arc<SourceFile>)| {
            let (stat, digest) = match &file.place {
                Place::Disk { stat, .. } if listed.is_some_and(|listed| stat.is_settled(listed)) => {
                    (Some(*stat), file.digest.get().copied())
                }
                Place::Disk { .. } => return None,
                Place::Memory(_) => (None, file.digest().ok()),
            };
            Some(Stamp { path: path.clone(), stat, digest: digest.map(|digest| Whole(*digest.as_bytes())) })
        };
        self.files.iter().filter_map(stamp)
    }

    /// A listing of the folder `root` as an earlier process left it, to be listed again.
    pub(crate) fn from_stamps(root: &Path, stamps: &[Stamp]) -> Self {
        let root: Arc<Path> = Arc::from(root);
        let file = |stamp: &Stamp| {
            let stat = stamp.stat?;
            let digest = OnceLock::new();
            if let Some(Whole(known)) = stamp.digest {
                digest.get_or_init(|| Hash::from_bytes(known));
            }
            let place = Place::Disk { root: root.clone(), path: stamp.path.clone(), stat };
            Some((stamp.path.clone(), Arc::new(SourceFile { place, digest })))
        };
        let files = stamps.iter().filter_map(file).collect();
        Self { files, root: Some(root), listed: None }
    }

    /// Whether these are just the files of `stamps`, unchanged.
    pub(crate) fn are(&self, stamps: &[Stamp]) -> bool {
        self.files.len() == stamps.len()
            && self.files.iter().zip(stamps).all(|((path, file), stamp)| stamp.is_of(path, file))
    }

    /// The paths of files that are others than those of `stamps`, or that are not among them; none where one of them is
    /// no more, or where there are more than `most`.
    pub(crate) fn differing_from(&self, stamps: &[Stamp], most: usize) -> Option<Vec<&str>> {
        let mut differing = Vec::new();
        let mut stamps = stamps.iter().peekable();
        for (path, file) in self.files.iter() {
            let known = stamps.next_if(|stamp| stamp.path == *path);
            if known.is_none_or(|stamp| !stamp.is_of(path, file)) {
                differing.push(&**path);
                if differing.len() > most {
                    return None;
                }
            }
        }
        stamps.peek().is_none().then_some(differing)
    }

    /// The same files with some under other paths, and some with other text. What is to be renamed and is not there is
    /// passed over.
    #[must_use]
    pub(crate) fn changed(
        &self,
        renames: &[(String, String)],
        texts: impl IntoIterator<Item = (String, Bytes)>,
    ) -> Self {
        let mut files: BTreeMap<_, _> = self.files.iter().cloned().collect();
        let taken: Vec<_> =
            renames.iter().filter_map(|(from, to)| Some((to, files.remove(from.as_str())?))).collect();
        files.extend(taken.into_iter().map(|(to, file)| (Arc::from(to.as_str()), file)));
        for (path, bytes) in texts {
            let file = SourceFile { place: Place::Memory(bytes), digest: OnceLock::new() };
            files.insert(Arc::from(path), Arc::new(file));
        }
        Self { files: files.into(), root: self.root.clone(), listed: None }
    }

    /// Files that are new or others than in `before`, and none for those that are no more, by path. Files that were
    /// listed again and have not changed are the same.
    pub fn changes_since<'a>(&'a self, before: &'a Self) -> Vec<(&'a str, Option<&'a SourceFile>)> {
        let changes = self.files.changes_since(&before.files);
        changes.map(|(path, _, file)| (&**path, file.map(|file| &**file))).collect()
    }

    /// The paths of files that are others than in `before`; none where a path is there in only one of the two, or where
    /// there are more than `most`.
    pub(crate) fn differing<'a>(&'a self, before: &'a Self, most: usize) -> Option<Vec<&'a str>> {
        let mut differing = Vec::new();
        for (path, was, file) in self.files.changes_since(&before.files) {
            if !file?.is_same_memory(was?) {
                differing.push(&**path);
                if differing.len() > most {
                    return None;
                }
            }
        }
        Some(differing)
    }

    fn list(root: &Path, limits: &Limits, previous: Option<&Self>) -> Result<Self, Errors> {
        let listed = Some(SystemTime::now());
        let root = previous.and_then(|previous| previous.root.clone()).unwrap_or_else(|| Arc::from(root));
        let mut lister = Lister::new(root.clone(), limits, previous);
        lister.all();
        lister.errors.into_result()?;
        Ok(Self { files: lister.files.into(), root: Some(root), listed })
    }

    /// All files, by path.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &SourceFile)> {
        self.files.iter().map(|(path, file)| (&**path, &**file))
    }

    /// The files whose path begins with `prefix`, by path.
    pub fn under<'a>(&'a self, prefix: &'a str) -> impl Iterator<Item = (&'a str, &'a SourceFile)> {
        self.files
            .since(prefix)
            .take_while(move |(path, _)| path.starts_with(prefix))
            .map(|(path, file)| (&**path, &**file))
    }

    /// The text of a file without a mark of its byte order, and the file's digest.
    ///
    /// # Errors
    /// That it is not there, cannot be read, or is no text.
    pub(crate) fn text(&self, path: &str) -> Result<(Hash, String), Diagnostic> {
        let Some(file) = self.get(path) else { return Err(Diagnostic::in_file(path, "the file is gone")) };
        let unreadable = |e| Diagnostic::unreadable(path, &e);
        let bytes = file.read().map_err(unreadable)?;
        let digest = file.digest().map_err(unreadable)?;
        match std::str::from_utf8(&bytes) {
            Ok(text) => Ok((digest, text.strip_prefix('\u{feff}').unwrap_or(text).to_owned())),
            Err(e) => {
                let good = String::from_utf8_lossy(&bytes[..e.valid_up_to()]);
                let wrong = Diagnostic::in_file(path, "the file is not valid UTF-8");
                Err(wrong.at(&good, good.len()).hint("save it as UTF-8"))
            }
        }
    }

    /// The file at a path.
    pub fn get(&self, path: &str) -> Option<&SourceFile> {
        self.files.get(path).map(|(_, file)| &**file)
    }

    /// How many files there are.
    pub fn len(&self) -> usize {
        self.files.len()
    }

    /// Whether there is no file.
    pub fn is_empty(&self) -> bool {
        self.files.len() == 0
    }

    /// The folder these were listed from.
    pub fn root(&self) -> Option<&Path> {
        self.root.as_deref()
    }
}

impl SourceFile {
    /// Whether both are in memory, with the same bytes.
    fn is_same_memory(&self, other: &Self) -> bool {
        matches!((&self.place, &other.place), (Place::Memory(own), Place::Memory(others)) if own == others)
    }

    /// The size when the file was listed, in bytes.
    pub fn bytes_len(&self) -> u64 {
        match &self.place {
            Place::Disk { stat, .. } => stat.bytes,
            Place::Memory(bytes) => bytes.len() as u64,
        }
    }

    /// Reads the file.
    ///
    /// # Errors
    /// What the file system says; also where the file changed since it was listed, so that a render never mixes
    /// two states of a folder.
    pub fn read(&self) -> io::Result<Bytes> {
        let bytes = match &self.place {
            Place::Memory(bytes) => bytes.clone(),
            Place::Disk { root, path, .. } => Bytes::from(fs::read(root.join(&**path))?),
        };
        let hash = blake3::hash(&bytes);
        if *self.digest.get_or_init(|| hash) != hash {
            return Err(io::Error::other("the file changed while it was read"));
        }
        Ok(bytes)
    }

    /// The BLAKE3 digest; reads the file where it was not read before.
    ///
    /// # Errors
    /// As [`SourceFile::read`].
    pub fn digest(&self) -> io::Result<Hash> {
        match self.digest.get() {
            Some(digest) => Ok(*digest),
            None => {
                let bytes = self.read()?;
                Ok(*self.digest.get_or_init(|| blake3::hash(&bytes)))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_a_folder_and_reads_only_what_changed() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        fs::create_dir_all(root.join("content/.hidden")).unwrap();
        fs::create_dir_all(root.join(".git")).unwrap();
        fs::write(root.join("content/a.md"), "a").unwrap();
        fs::write(root.join("content/a.md~"), "old").unwrap();
        fs::write(root.join("content/.a.md.swp"), "swap").unwrap();
        fs::write(root.join("content/4913"), "").unwrap();
        fs::write(root.join(".git/x"), "").unwrap();
        fs::create_dir_all(root.join("static/.well-known")).unwrap();
        fs::write(root.join("static/.well-known/x"), "w").unwrap();
        let limits = Limits::default();
        let first = Sources::from_folder(root, &limits).unwrap();
        let names: Vec<_> = first.iter().map(|(path, _)| path.to_owned()).collect();
        assert_eq!(names, ["content/a.md", "static/.well-known/x"]);
        let digest = first.get("content/a.md").unwrap().digest().unwrap();
        let again = first.from_folder_again(&limits).unwrap();
        assert!(std::ptr::eq(first.get("content/a.md").unwrap(), again.get("content/a.md").unwrap()));
        fs::write(root.join("content/a.md"), "bb").unwrap();
        let third = again.from_folder_again(&limits).unwrap();
        assert_ne!(third.get("content/a.md").unwrap().digest().unwrap(), digest);
    }

    #[test]
    fn links_that_lead_back_or_multiply_come_to_an_end() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        let link = |to: &str, at: &str| std::os::unix::fs::symlink(to, root.join(at)).unwrap();
        fs::create_dir_all(root.join("content/a")).unwrap();
        link("b", "content/aside");
        fs::create_dir(root.join("content/b")).unwrap();
        Sources::from_folder(root, &Limits::default()).unwrap();
        for (to, at) in [(".", "content/a/x"), (".", "content/a/y"), ("../..", "content/a/z")] {
            link(to, at);
        }
        let errors = Sources::from_folder(root, &Limits::default()).unwrap_err();
        let mut said: Vec<_> = errors.list().iter().map(ToString::to_string).collect();
        said.sort();
        assert_eq!(said.len(), 3, "{said:?}");
        assert!(
            said[0].contains("leads back to `content/a`, which it is in\n --> content/a/x\n"),
            "{said:?}"
        );
        assert!(said[2].contains("leads back to the site itself"), "{said:?}");
        fs::remove_dir_all(root.join("content/a")).unwrap();
        // Each folder has the next one twice, and none leads back.
        for n in 0..40 {
            fs::create_dir(root.join(format!("content/{n}"))).unwrap();
            ["x", "y"].iter().for_each(|name| link(&format!("../{}", n + 1), &format!("content/{n}/{name}")));
        }
        fs::create_dir(root.join("content/40")).unwrap();
        let limits = Limits { files_max: 1_000, ..Limits::default() };
        let error = Sources::from_folder(root, &limits).unwrap_err().to_string();
        assert!(error.contains("more than 1000 folders"), "{error}");
    }

    #[test]
    fn looking_at_some_paths_is_like_listing_all() {
        let folder = tempfile::tempdir().unwrap();
        let (root, limits) = (folder.path(), Limits::default());
        fs::create_dir_all(root.join("content/blog")).unwrap();
        for name in ["content/a.md", "content/b.md", "content/blog/c.md"] {
            fs::write(root.join(name), "before").unwrap();
        }
        let first = Sources::from_folder(root, &limits).unwrap();
        fs::write(root.join("content/a.md"), "another text").unwrap();
        fs::remove_file(root.join("content/b.md")).unwrap();
        fs::write(root.join("content/new.md"), "").unwrap();
        fs::write(root.join("content/.new.md.swp"), "").unwrap();
        fs::write(root.join(".hidden"), "").unwrap();
        let paths = ["content/a.md", "content/b.md", "content/new.md", "content/.new.md.swp", ".hidden"];
        let look =
            |paths: &[&str]| first.look_again(&paths.iter().map(|p| (*p).to_owned()).collect(), &limits);
        let looked = look(&paths).unwrap().unwrap();
        let listed = first.from_folder_again(&limits).unwrap();
        let shown = |sources: &Sources| -> Vec<_> {
            sources.iter().map(|(path, file)| (path.to_owned(), file.digest().unwrap())).collect()
        };
        assert_eq!(shown(&looked), shown(&listed));
        let changes = looked.changes_since(&first);
        let changes: Vec<_> = changes.into_iter().map(|(path, file)| (path, file.is_some())).collect();
        assert_eq!(changes, [("content/a.md", true), ("content/b.md", false), ("content/new.md", true)]);
        assert!(look(&["content/blog"]).is_none());
        fs::remove_dir_all(root.join("content/blog")).unwrap();
        assert!(look(&["content/blog"]).is_none());
    }

    #[test]
    fn a_file_over_the_limit_is_named() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("big"), "12345").unwrap();
        let limits = Limits { file_bytes_max: 4, ..Limits::default() };
        let errors = Sources::from_folder(folder.path(), &limits).unwrap_err();
        assert_eq!(errors.list()[0].path.as_deref(), Some("big"));
    }
}
