//! The files that a release was rendered from, read from the bucket or sent to an origin.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Deref;

use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt, stream};
use release::{Digest, Entry, wire};

use super::{Publisher, SourceFile, is_data};
use crate::Error;

/// Bytes of all sources that are read into memory to render from them.
pub const SOURCES_BYTES_MAX: u64 = 2 << 30;
/// Snapshots of data that a release may have.
const DATA_MAX: usize = 10_000;
/// Objects that are read at a time.
const READS_MAX: usize = 32;

impl Publisher {
    /// Reads the files that the active release was rendered from, without its data; none where nothing
    /// is active. What `known` has by its digest is not read again.
    ///
    /// # Errors
    /// Where they cannot be read, or are more than [`SOURCES_BYTES_MAX`] bytes.
    pub async fn sources(&self, known: &BTreeMap<Digest, Bytes>) -> Result<Option<Vec<SourceFile>>, Error> {
        let Some(root) = self.sources_root().await? else { return Ok(None) };
        let all = self.reader.entries(root).await?;
        let files = all.into_iter().filter(|(_, entry)| !is_data(entry)).collect();
        self.read_all(files, known).await.map(Some)
    }

    /// Reads the data that the active release was rendered with, which lies under `prefix`.
    ///
    /// # Errors
    /// As for [`Publisher::sources`].
    pub async fn data(&self, prefix: &str) -> Result<Vec<SourceFile>, Error> {
        let Some(root) = self.sources_root().await? else { return Ok(Vec::new()) };
        let paths = self.reader.under(root, prefix, DATA_MAX).await?;
        let found = self.reader.found(root, paths.iter().map(String::as_str)).await?;
        let found = found.into_iter().map(|(path, entry)| (path.to_owned(), entry));
        self.read_all(found.filter(|(_, entry)| is_data(entry)).collect(), &BTreeMap::new()).await
    }

    /// Whether any file that the active release was rendered from is under `prefix`.
    ///
    /// # Errors
    /// Where the release cannot be read.
    pub async fn has_sources(&self, prefix: &str) -> Result<bool, Error> {
        let Some(root) = self.sources_root().await? else { return Ok(false) };
        Ok(!self.reader.under(root, prefix, 1).await?.is_empty())
    }

    /// Reads some of the files that the active release was rendered from; what it has not is left out.
    ///
    /// # Errors
    /// As for [`Publisher::sources`].
    pub async fn sources_at(&self, paths: &[String]) -> Result<Vec<SourceFile>, Error> {
        let Some(root) = self.sources_root().await? else { return Ok(Vec::new()) };
        let found = self.reader.found(root, paths.iter().map(String::as_str)).await?;
        let found = found.into_iter().map(|(path, entry)| (path.to_owned(), entry));
        self.read_all(found.collect(), &BTreeMap::new()).await
    }

    /// Which of these digests the active release's sources lack.
    ///
    /// # Errors
    /// Where the release cannot be read.
    pub async fn missing(&self, digests: &[Digest]) -> Result<Vec<Digest>, Error> {
        let entries = match self.sources_root().await? {
            Some(root) => self.reader.entries(root).await?,
            None => BTreeMap::new(),
        };
        let has: BTreeSet<Digest> = entries.values().map(|e| e.content.blob).collect();
        Ok(digests.iter().filter(|d| !has.contains(d)).copied().collect())
    }

    async fn sources_root(&self) -> Result<Option<Digest>, Error> {
        let state = self.state().await?;
        Ok(self.base_of(&state).await?.map(|base| base.release.sources))
    }

    /// Takes the bytes of a source, so that [`Publisher::received`] finds them.
    ///
    /// # Errors
    /// [`Error::WrongDigest`] where they are others than `digest` says; otherwise that the bucket
    /// did not take them.
    pub async fn receive(&self, digest: Digest, bytes: Bytes) -> Result<(), Error> {
        let found = Digest::of(&bytes);
        if found != digest {
            return Err(Error::WrongDigest { expected: digest, found });
        }
        Ok(self.bucket.put(&self.site().blob(&digest), bytes).await?)
    }

    /// Reads files whose bytes were sent before, or are among the active release's sources.
    ///
    /// # Errors
    /// Where one cannot be read, or all are more than [`SOURCES_BYTES_MAX`] bytes.
    pub async fn received(&self, lines: &[wire::SourceLine]) -> Result<Vec<SourceFile>, Error> {
        let mut total = 0;
        let reads = lines.iter().cloned().map(|line| async move {
            let key = self.site().blob(&line.digest);
            let object = self.bucket.get(&key, release::bucket::OBJECT_BYTES_MAX).await?;
            let missing = || Error::BadRequest(format!("the bytes of `{}` were not sent", line.path));
            let bytes = object.ok_or_else(missing)?.bytes;
            let found = Digest::of(&bytes);
            if found != line.digest {
                return Err(Error::WrongDigest { expected: line.digest, found });
            }
            Ok(SourceFile { path: line.path, bytes, data: false })
        });
        let mut reads = stream::iter(reads).buffered(READS_MAX);
        let mut all = Vec::with_capacity(lines.len());
        while let Some(file) = reads.try_next().await? {
            total += file.bytes.len() as u64;
            if total > SOURCES_BYTES_MAX {
                return Err(too_many_sources(total));
            }
            all.push(file);
        }
        Ok(all)
    }

    async fn read_all<E: Deref<Target = Entry>>(
        &self,
        wanted: Vec<(String, E)>,
        known: &BTreeMap<Digest, Bytes>,
    ) -> Result<Vec<SourceFile>, Error> {
        let total = wanted.iter().map(|(_, e)| e.content.identity.length).sum();
        if total > SOURCES_BYTES_MAX {
            return Err(too_many_sources(total));
        }
        let reads = wanted.into_iter().map(|(path, entry)| async move {
            let identity = &entry.content.identity;
            let bytes = match known.get(&identity.digest) {
                Some(bytes) => bytes.clone(),
                None => self.reader.content(&entry.content, identity).await?,
            };
            Ok::<_, Error>(SourceFile { path, bytes, data: is_data(&entry) })
        });
        stream::iter(reads).buffered(READS_MAX).try_collect().await
    }
}

fn too_many_sources(total: u64) -> Error {
    Error::BadRequest(format!("the sources have {total} bytes, and {SOURCES_BYTES_MAX} are allowed"))
}
