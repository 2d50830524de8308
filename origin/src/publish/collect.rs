//! What a renderer hands over: compared with the base at once where memory knows the base there, and
//! otherwise kept until everything is there.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::fmt;
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use http::{HeaderName, HeaderValue};
use quick_cache::sync::Cache;
use rayon::prelude::*;
use release::codings::{self, Coded, compressible};
use release::entry::Response;
use release::file::check_path;
use release::keys::Site;
use release::reader::Reader;
use release::tree::Found;
use release::{Content, Digest, Entry, File, Policy};
use tokio::runtime::Handle;

use super::upload::Queue;
use super::{Base, DATA};
use crate::Error;
use crate::policy::Policies;

/// Bytes of content that wait to be compared with the base at most; then the base is read.
pub const WAITING_BYTES_MAX: u64 = 64 << 20;
/// Bytes of new content that wait at most until it is known whether the base has it under another
/// path; then it is uploaded all the same.
const HELD_BYTES_MAX: u64 = 8 << 20;

/// Places of content that are remembered: some megabytes.
const PLACES_MAX: usize = 50_000;

/// Content is told apart by its bytes and by whether codings were to be made of it, so that what a
/// release comes to does not depend on what was released before.
pub(super) type ContentKey = (Digest, bool);

/// The two trees that files are handed over for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Of {
    Manifest,
    Sources,
}

impl Of {
    pub(super) const ALL: [Self; 2] = [Self::Manifest, Self::Sources];

    fn key(self, entry: &Entry) -> ContentKey {
        let coded = self == Self::Manifest && entry.field("content-type").is_some_and(compressible);
        (entry.content.identity.digest, coded)
    }
}

/// The policy of sources, which are not served.
static NO_POLICY: LazyLock<Arc<Policy>> =
    LazyLock::new(|| Arc::new(Policy { browser: String::new(), edge: String::new() }));

/// Where content was that this process has published, so that a copy of it is not uploaded again. What
/// is remembered here is looked at in the base before it is believed.
#[derive(Debug)]
pub(super) struct Places(Cache<ContentKey, (Of, Arc<str>)>);

impl Default for Places {
    fn default() -> Self {
        Self(Cache::new(PLACES_MAX))
    }
}

impl Places {
    /// Remembers where an entry is.
    pub(super) fn note(&self, of: Of, path: &str, entry: &Entry) {
        self.0.insert(of.key(entry), (of, path.into()));
    }
}

/// Something that was handed over.
pub(super) struct Item {
    pub(super) path: String,
    status: u16,
    fields: Vec<(String, String)>,
    groups: Vec<String>,
    policy: Arc<Policy>,
    key: ContentKey,
    immutable: bool,
    body: Body,
}

enum Body {
    Here(Bytes),
    Elsewhere(Box<dyn FnOnce() -> std::io::Result<Bytes> + Send + Sync>),
}

impl fmt::Debug for Item {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Item").field("path", &self.path).finish_non_exhaustive()
    }
}

impl Item {
    fn response(&self) -> Response<'_> {
        Response {
            path: &self.path,
            status: self.status,
            fields: &self.fields,
            content: self.key.0,
            groups: &self.groups,
            policy: &self.policy,
        }
    }

    fn bytes(&self) -> u64 {
        match &self.body {
            Body::Here(bytes) => bytes.len() as u64,
            Body::Elsewhere(_) => 0,
        }
    }
}

/// What was handed over for one tree.
#[derive(Debug, Default)]
pub(super) struct Side {
    /// Every path with the digest of what it answers.
    pub(super) responses: BTreeMap<String, Digest>,
    /// What the base does not serve so.
    pub(super) changed: BTreeMap<String, Arc<Entry>>,
    /// What is still to be compared with the base.
    pub(super) waiting: Vec<Item>,
    /// Paths that are no more.
    pub(super) removed: BTreeSet<String>,
    /// Whether what was not handed over stays as it is.
    pub(super) keeps_others: bool,
}

#[derive(Debug, Default)]
pub(super) struct Collected {
    pub(super) manifest: Side,
    pub(super) sources: Side,
    /// Changed paths that are hashed assets.
    pub(super) immutable: HashSet<String>,
    waiting_bytes: u64,
    /// Entries whose content was made for this publish, or that the base has.
    contents: HashMap<ContentKey, Arc<Entry>>,
    /// Blobs that were made for this publish, and their lengths.
    blobs: HashMap<Digest, u64>,
    /// Those that are not uploaded yet.
    held: HashMap<Digest, Bytes>,
    held_bytes: u64,
}

impl Collected {
    pub(super) fn side(&mut self, of: Of) -> &mut Side {
        match of {
            Of::Manifest => &mut self.manifest,
            Of::Sources => &mut self.sources,
        }
    }

    /// Blobs that were uploaded for this publish, or would be, and their bytes.
    pub(super) fn uploads(&self) -> (u64, u64) {
        (self.blobs.len() as u64, self.blobs.values().sum())
    }
}

/// Takes files from any thread.
#[derive(Debug)]
pub(super) struct Collector {
    site: Site,
    reader: Arc<Reader>,
    base: Option<Arc<Base>>,
    policies: Arc<Policies>,
    /// None for a plan.
    queue: Option<Queue>,
    places: Arc<Places>,
    runtime: Handle,
    /// None once the draft is finished or given up.
    collected: Mutex<Option<Collected>>,
}

/// Where a renderer hands files over: from any thread, in any order. A call may block while too
/// much waits for its upload, so it does not belong on a thread that runs tasks.
#[derive(Debug, Clone)]
pub struct Sink(pub(super) Arc<Collector>);

impl Sink {
    /// Takes a file.
    ///
    /// # Errors
    /// - [`Error::DuplicatePath`] where the path has a file already.
    /// - [`Error::BadPath`], [`Error::BadField`] where it cannot be served.
    /// - The error of an upload that failed: rendering on is useless.
    pub fn file(&self, file: File) -> Result<(), Error> {
        check_path(&file.path)?;
        let policy = self.0.policies.of(&file);
        let fields = fields(&file.path, self.0.policies.fields(&file))?;
        let content_type = fields.iter().find(|(n, _)| n == "content-type").map(|(_, v)| v.as_str());
        let key = (Digest::of(&file.body), content_type.is_some_and(compressible));
        let File { path, body, status, groups, immutable, .. } = file;
        let (groups, body) = (sorted(groups), Body::Here(body));
        self.0.take(Of::Manifest, Item { path, status, fields, groups, policy, key, immutable, body })
    }

    /// Hears that a path of the base serves nothing any more; only for a draft that is told to
    /// [keep others](super::Draft::keep_other_files).
    ///
    /// # Errors
    /// [`Error::Gone`] where the publish is over.
    pub fn remove(&self, path: &str) -> Result<(), Error> {
        self.0.with(|c| c.manifest.removed.insert(path.to_owned())).map(drop)
    }

    /// Takes a file that the render reads: content, template, static file, configuration.
    ///
    /// # Errors
    /// As for [`Sink::file`].
    pub fn source(&self, path: &str, bytes: Bytes) -> Result<(), Error> {
        self.0.source(path, Digest::of(&bytes), Vec::new(), Body::Here(bytes))
    }

    /// Takes a file that the render reads and whose digest is known; its bytes are read only where the
    /// base lacks them.
    ///
    /// # Errors
    /// As for [`Sink::file`], and what `read` says.
    pub fn source_with(
        &self,
        path: &str,
        digest: Digest,
        read: impl FnOnce() -> std::io::Result<Bytes> + Send + Sync + 'static,
    ) -> Result<(), Error> {
        self.0.source(path, digest, Vec::new(), Body::Elsewhere(Box::new(read)))
    }

    /// Takes a snapshot of data that the render reads; a change of it alone makes no release.
    ///
    /// # Errors
    /// As for [`Sink::file`].
    pub fn data(&self, path: &str, bytes: Bytes) -> Result<(), Error> {
        self.0.source(path, Digest::of(&bytes), vec![DATA.to_owned()], Body::Here(bytes))
    }

    /// Hears that a source of the base is no more; only for a draft that is told to
    /// [keep others](super::Draft::keep_other_sources).
    ///
    /// # Errors
    /// [`Error::Gone`] where the publish is over.
    pub fn remove_source(&self, path: &str) -> Result<(), Error> {
        self.0.with(|c| c.sources.removed.insert(path.to_owned())).map(drop)
    }
}

impl Collector {
    pub(super) fn new(
        site: Site,
        reader: Arc<Reader>,
        base: Option<Arc<Base>>,
        policies: Arc<Policies>,
        queue: Option<Queue>,
        places: Arc<Places>,
    ) -> Self {
        let collected = Mutex::new(Some(Collected::default()));
        Self { site, reader, base, policies, queue, places, runtime: Handle::current(), collected }
    }

    /// Everything that was handed over. Nothing is taken any more.
    pub(super) fn close(&self) -> Result<Collected, Error> {
        self.lock().take().ok_or(Error::Gone("the publish"))
    }

    fn lock(&self) -> MutexGuard<'_, Option<Collected>> {
        self.collected.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn with<T>(&self, work: impl FnOnce(&mut Collected) -> T) -> Result<T, Error> {
        self.lock().as_mut().map(work).ok_or(Error::Gone("the publish"))
    }

    fn source(&self, path: &str, digest: Digest, groups: Vec<String>, body: Body) -> Result<(), Error> {
        check_path(path)?;
        let policy = Arc::clone(&NO_POLICY);
        let (path, key) = (path.to_owned(), (digest, false));
        let item = Item { path, status: 200, fields: vec![], groups, policy, key, immutable: false, body };
        self.take(Of::Sources, item)
    }

    fn take(&self, of: Of, item: Item) -> Result<(), Error> {
        let response = item.response().digest();
        let before = match &self.base {
            Some(base) => self.reader.remembered(base.root(of), &item.path),
            None => Some(None),
        };
        let full = self.with(|collected| {
            let side = collected.side(of);
            if side.responses.insert(item.path.clone(), response).is_some() {
                return Err(Error::DuplicatePath(item.path.clone()));
            }
            if before.is_some() {
                return Ok(Err(item));
            }
            let bytes = item.bytes();
            side.waiting.push(item);
            collected.waiting_bytes += bytes;
            Ok(Ok(collected.waiting_bytes > WAITING_BYTES_MAX))
        })??;
        match full {
            Err(item) => self.settle(of, item, before.flatten().as_deref()),
            Ok(false) => Ok(()),
            Ok(true) => self.read_base(),
        }
    }

    /// Reads the base wherever something waits to be compared with it.
    fn read_base(&self) -> Result<(), Error> {
        let Some(base) = &self.base else { return Ok(()) };
        for of in Of::ALL {
            let items = self.with(|collected| {
                collected.waiting_bytes = 0;
                std::mem::take(&mut collected.side(of).waiting)
            })?;
            let paths = items.iter().map(|i| i.path.as_str());
            let found = self.runtime.block_on(self.reader.found(base.root(of), paths))?;
            let found: HashMap<String, Found> = found.into_iter().map(|(p, f)| (p.to_owned(), f)).collect();
            self.settle_all(of, items, &found)?;
        }
        Ok(())
    }

    /// Compares items with what the base serves at their paths, on all cores.
    pub(super) fn settle_all(
        &self,
        of: Of,
        items: Vec<Item>,
        before: &HashMap<String, Found>,
    ) -> Result<(), Error> {
        items.into_par_iter().try_for_each(|item| {
            let before = before.get(&item.path).map(|f| &**f);
            self.settle(of, item, before)
        })
    }

    /// Makes an entry of an item, unless the base answers so already.
    fn settle(&self, of: Of, item: Item, before: Option<&Entry>) -> Result<(), Error> {
        if before.is_some_and(|e| e.response(&item.path) == item.response()) {
            return Ok(());
        }
        let Item { path, status, fields, groups, policy, key, immutable, body } = item;
        let content = match before.filter(|e| of.key(e) == key) {
            Some(entry) => entry.content.clone(),
            None => self.content(of, key, &path, &fields, body)?,
        };
        let entry = Arc::new(Entry { status, fields, content, groups, policy });
        self.with(|collected| {
            if immutable {
                collected.immutable.insert(path.clone());
            }
            collected.contents.entry(key).or_insert_with(|| Arc::clone(&entry));
            collected.side(of).changed.insert(path, entry);
        })
    }

    /// The content of a body: one that is known, or else it is made.
    fn content(
        &self,
        of: Of,
        key: ContentKey,
        path: &str,
        fields: &[(String, String)],
        body: Body,
    ) -> Result<Content, Error> {
        if let Some(content) = self.with(|c| c.contents.get(&key).map(|entry| entry.content.clone()))? {
            return Ok(content);
        }
        if let Some(content) = self.elsewhere(key) {
            return Ok(content);
        }
        let failed =
            |error: std::io::Error| Error::Source { path: path.to_owned(), reason: error.to_string() };
        let body = match body {
            Body::Here(bytes) => bytes,
            Body::Elsewhere(read) => read().map_err(failed)?,
        };
        let Coded { content, blob } = match of {
            Of::Manifest => {
                let content_type = fields.iter().find(|(n, _)| n == "content-type");
                codings::code(content_type.map(|(_, v)| v.as_str()), body)
                    .map_err(|error| Error::Coding { path: path.to_owned(), error })?
            }
            Of::Sources => codings::plain(body),
        };
        let has_base = self.base.is_some();
        let ready = self.with(|collected| {
            let length = blob.len() as u64;
            if collected.blobs.insert(content.blob, length).is_none() {
                collected.held.insert(content.blob, blob);
                collected.held_bytes += length;
            }
            let is_full = !has_base || collected.held_bytes > HELD_BYTES_MAX;
            if is_full { collected.release() } else { Vec::new() }
        })?;
        self.push(ready)?;
        Ok(content)
    }

    /// Content that the base has at another path, as far as memory says.
    fn elsewhere(&self, key: ContentKey) -> Option<Content> {
        let (of, path) = self.places.0.get(&key)?;
        let found = self.reader.remembered(self.base.as_ref()?.root(of), &path)??;
        (of.key(&found) == key).then(|| found.content.clone())
    }

    /// Hears of the base's content at paths that differ: it need not be uploaded under other paths.
    pub(super) fn know(&self, of: Of, before: &HashMap<String, Found>) -> Result<(), Error> {
        self.with(|collected| {
            for entry in before.values() {
                if collected.held.remove(&entry.content.blob).is_some() {
                    collected.blobs.remove(&entry.content.blob);
                }
                collected.contents.entry(of.key(entry)).or_insert_with(|| Arc::new((**entry).clone()));
            }
        })
    }

    fn push(&self, blobs: Vec<(Digest, Bytes)>) -> Result<(), Error> {
        let Some(queue) = &self.queue else { return Ok(()) };
        blobs.into_iter().try_for_each(|(digest, blob)| queue.push(self.site.blob(&digest), blob))
    }
}

impl Collected {
    /// The blobs that were held; they are held no more.
    pub(super) fn release(&mut self) -> Vec<(Digest, Bytes)> {
        self.held_bytes = 0;
        self.held.drain().collect()
    }
}

fn sorted(mut groups: Vec<String>) -> Vec<String> {
    groups.sort();
    groups.dedup();
    groups
}

/// Fields as the entry at `path` has them: valid, lower-case, sorted.
fn fields(path: &str, given: Vec<(String, String)>) -> Result<Vec<(String, String)>, Error> {
    let mut fields = Vec::with_capacity(given.len());
    for (name, value) in given {
        let Some(valid) =
            HeaderName::from_bytes(name.as_bytes()).ok().filter(|_| HeaderValue::from_str(&value).is_ok())
        else {
            return Err(Error::BadField { path: path.to_owned(), name });
        };
        fields.push((valid.as_str().to_owned(), value));
    }
    fields.sort();
    Ok(fields)
}
