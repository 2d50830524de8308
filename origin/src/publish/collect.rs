//! What a renderer hands over, brought into entries.

use std::collections::btree_map::Entry as Place;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use http::{HeaderName, HeaderValue};
use release::file::check_path;
use release::keys::Site;
use release::{Content, Digest, Entry, File, Policy};

use super::DATA;
use super::base::{Base, ContentKey, Items};
use super::upload::Queue;
use crate::Error;
use crate::codings::{self, Coded, compressible};
use crate::policy::Policies;

/// What was handed over, once it is all there.
#[derive(Debug, Default)]
pub(super) struct Collected {
    pub(super) files: Items,
    pub(super) sources: Items,
    /// Paths of hashed assets.
    pub(super) immutable: Vec<String>,
    /// Blobs that are or would be uploaded.
    pub(super) uploads: u64,
    pub(super) upload_bytes: u64,
    /// Content that was made for this publish.
    fresh: HashMap<ContentKey, Content>,
    fresh_blobs: HashSet<Digest>,
}

/// Takes files from any thread.
#[derive(Debug)]
pub(super) struct Collector {
    site: Site,
    base: Option<Arc<Base>>,
    policies: Arc<Policies>,
    /// None for a plan.
    queue: Option<Queue>,
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
        self.0.file(file)
    }

    /// Takes a file that the render reads: content, template, static file, configuration.
    ///
    /// # Errors
    /// As for [`Sink::file`].
    pub fn source(&self, path: &str, bytes: Bytes) -> Result<(), Error> {
        self.0.source(path, bytes, Vec::new())
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
        read: impl FnOnce() -> std::io::Result<Bytes>,
    ) -> Result<(), Error> {
        if self.0.source_of_base(path, digest)? {
            return Ok(());
        }
        let failed =
            |error: std::io::Error| Error::Source { path: path.to_owned(), reason: error.to_string() };
        self.source(path, read().map_err(failed)?)
    }

    /// Takes a snapshot of data that the render reads; a change of it alone makes no release.
    ///
    /// # Errors
    /// As for [`Sink::file`].
    pub fn data(&self, path: &str, bytes: Bytes) -> Result<(), Error> {
        self.0.source(path, bytes, vec![DATA.to_owned()])
    }
}

impl Collector {
    pub(super) fn new(
        site: Site,
        base: Option<Arc<Base>>,
        policies: Arc<Policies>,
        queue: Option<Queue>,
    ) -> Self {
        Self { site, base, policies, queue, collected: Mutex::new(Some(Collected::default())) }
    }

    /// Everything that was handed over. Nothing is taken any more.
    pub(super) fn take(&self) -> Result<Collected, Error> {
        self.lock().take().ok_or(Error::Gone("the publish"))
    }

    fn lock(&self) -> MutexGuard<'_, Option<Collected>> {
        self.collected.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn with<T>(&self, work: impl FnOnce(&mut Collected) -> T) -> Result<T, Error> {
        self.lock().as_mut().map(work).ok_or(Error::Gone("the publish"))
    }

    fn file(&self, file: File) -> Result<(), Error> {
        check_path(&file.path)?;
        let policy = self.policies.of(&file);
        let fields = fields(&file)?;
        let mut groups = file.groups;
        groups.sort();
        groups.dedup();
        let digest = Digest::of(&file.body);
        let before = self.base.as_ref().and_then(|b| b.manifest.get(&file.path));
        let same = |e: &&Arc<Entry>| {
            e.content.identity.digest == digest
                && e.status == file.status
                && e.fields == fields
                && e.groups == groups
                && e.policy == policy
        };
        let entry = match before.filter(same) {
            Some(entry) => Arc::clone(entry),
            None => {
                let content_type = fields.iter().find(|(n, _)| n == "content-type").map(|(_, v)| v.as_str());
                let coded = content_type.is_some_and(compressible);
                let content = self.content(
                    (digest, coded),
                    |body| codings::code(&file.path, content_type, body),
                    file.body,
                )?;
                Arc::new(Entry { status: file.status, fields, content, groups, policy })
            }
        };
        let immutable = file.immutable;
        self.with(|collected| {
            if immutable {
                collected.immutable.push(file.path.clone());
            }
            put(&mut collected.files, file.path, entry)
        })?
    }

    /// Takes the base's source at this path over, if it has this digest.
    fn source_of_base(&self, path: &str, digest: Digest) -> Result<bool, Error> {
        let held = self.base.as_ref().and_then(|b| b.sources.get(path));
        match held.filter(|e| e.content.identity.digest == digest && e.groups.is_empty()) {
            Some(entry) => {
                let entry = Arc::clone(entry);
                self.with(|collected| put(&mut collected.sources, path.to_owned(), entry))??;
                Ok(true)
            }
            None => Ok(false),
        }
    }

    fn source(&self, path: &str, bytes: Bytes, groups: Vec<String>) -> Result<(), Error> {
        check_path(path)?;
        let digest = Digest::of(&bytes);
        let before = self.base.as_ref().and_then(|b| b.sources.get(path));
        let entry = match before.filter(|e| e.content.identity.digest == digest && e.groups == groups) {
            Some(entry) => Arc::clone(entry),
            None => {
                let content = self.content((digest, false), |body| Ok(codings::plain(body)), bytes)?;
                let policy = Policy { browser: String::new(), edge: String::new() };
                Arc::new(Entry { status: 200, fields: Vec::new(), content, groups, policy })
            }
        };
        self.with(|collected| put(&mut collected.sources, path.to_owned(), entry))?
    }

    /// The content of these bytes: the base's, or one that was made just now; otherwise it is made
    /// and uploaded.
    fn content(
        &self,
        key: ContentKey,
        make: impl FnOnce(Bytes) -> Result<Coded, Error>,
        body: Bytes,
    ) -> Result<Content, Error> {
        if let Some(content) = self.base.as_ref().and_then(|b| b.contents.get(&key)) {
            return Ok(content.clone());
        }
        if let Some(content) = self.with(|c| c.fresh.get(&key).cloned())? {
            return Ok(content);
        }
        let Coded { content, blob } = make(body)?;
        let in_base = self.base.as_ref().is_some_and(|b| b.blobs.contains(&content.blob));
        let is_first = self.with(|collected| {
            collected.fresh.insert(key, content.clone());
            let is_first = !in_base && collected.fresh_blobs.insert(content.blob);
            if is_first {
                collected.uploads += 1;
                collected.upload_bytes += blob.len() as u64;
            }
            is_first
        })?;
        if is_first && let Some(queue) = &self.queue {
            queue.push(self.site.blob(&content.blob), blob)?;
        }
        Ok(content)
    }
}

fn put(items: &mut BTreeMap<String, Arc<Entry>>, path: String, entry: Arc<Entry>) -> Result<(), Error> {
    match items.entry(path) {
        Place::Vacant(place) => {
            place.insert(entry);
            Ok(())
        }
        Place::Occupied(place) => Err(Error::DuplicatePath(place.key().clone())),
    }
}

/// The fields of a file as an entry has them: valid, lower-case, sorted.
fn fields(file: &File) -> Result<Vec<(String, String)>, Error> {
    let mut fields = Vec::with_capacity(file.fields.len());
    for (name, value) in &file.fields {
        let bad = || Error::BadField { path: file.path.clone(), name: name.clone() };
        let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| bad())?;
        HeaderValue::from_str(value).map_err(|_| bad())?;
        fields.push((name.as_str().to_owned(), value.clone()));
    }
    fields.sort();
    Ok(fields)
}
