//! From a render to a release that is served.
//!
//! [`Publisher::begin`] takes what is active as the base and gives a [`Draft`]. A renderer hands its
//! files to the draft's [`Sink`] from any thread, as they are made: what the base has is taken from
//! there, and new content is coded and uploaded while rendering goes on. [`Draft::finish`] uploads
//! the nodes of the trees that the base lacks and the release's record, waits for all of it (that is
//! the first round trip), and commits the activation (the second).
//!
//! In a process that has published before, that costs one request for each new blob and each new
//! node, one for the record, one for the journal entry, and one look at the journal where the last
//! is over a second old.
//!
//! **When nothing changed** no release is made: when what is served (manifest, assets, hosts) and
//! the time of the next change are the base's. A publish that someone asked for also counts a change
//! of the sources that shows nowhere yet, since another machine may render from them; a saved file
//! or a schedule does not, nor does data fetched anew ever count.

mod base;
mod collect;
mod upload;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt, stream};
use jiff::Timestamp;
use release::bucket::Bucket;
use release::journal::{Activation, Cause, Effect, State};
use release::keys::Site;
use release::reader::Reader;
use release::record::{Counts, Trigger};
use release::tree::{Diff, Tree};
use release::{Digest, Entry, Release, ReleaseId, wire};

use self::base::{Base, Items};
use self::collect::Collector;
pub use self::collect::Sink;
use self::upload::{Uploader, What};
use crate::Error;
use crate::clock::Moment;
use crate::failpoint::failpoint;
use crate::journal::Journal;
use crate::policy::Policies;

/// Milliseconds after which what is known of the journal is looked at again before a publish begins.
const SEEN_MS_MAX: u64 = 1_000;
/// Bytes of all sources that are read into memory to render from them.
pub const SOURCES_BYTES_MAX: u64 = 2 << 30;
/// Objects that are read at a time.
const READS_MAX: usize = 32;
/// The cache group that marks a source as a snapshot of data.
const DATA: &str = "data";

/// Publishes one site.
#[derive(Debug)]
pub struct Publisher {
    bucket: Arc<dyn Bucket>,
    journal: Arc<Journal>,
    reader: Arc<Reader>,
    folder: Option<PathBuf>,
    base: Mutex<Option<Arc<Base>>>,
}

/// What a release says of itself.
#[derive(Debug, Clone)]
pub struct About {
    /// The render's time; at least [`Draft::now`] of the wall clock.
    pub created: Timestamp,
    /// Who.
    pub author: String,
    /// Why.
    pub message: String,
    /// Host names the site answers to; empty for any.
    pub hosts: Vec<String>,
    /// Pages and sections among the files.
    pub pages: u64,
    /// Version of the renderer.
    pub renderer: String,
    /// When a page next falls due or expires.
    pub next_change: Option<Timestamp>,
}

/// How a publish ended that did not fail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// A new release is active.
    Published(Done),
    /// Nothing changed, and no release was made; this one is active.
    Unchanged(ReleaseId),
}

/// A publish that is committed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Done {
    /// The release.
    pub release: ReleaseId,
    /// Its activation.
    pub committed: wire::Committed,
    /// What differs from the base.
    pub diff: Diff,
    /// Objects that were uploaded.
    pub uploaded: u64,
    /// Their bytes.
    pub uploaded_bytes: u64,
    /// From the end of the render until everything was uploaded.
    pub upload: Duration,
    /// From then until it was committed.
    pub commit: Duration,
}

/// What a publish would do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// What would differ from the base.
    pub diff: Diff,
    /// Objects that would be uploaded.
    pub uploads: u64,
    /// Their bytes.
    pub upload_bytes: u64,
    /// The active release; none where there is none.
    pub active: Option<ReleaseId>,
    /// Whether [`Draft::finish`] would make a release.
    pub changes: bool,
}

/// A file that a release was rendered from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceFile {
    /// Its path in the site's folder, or the name of a snapshot of data.
    pub path: String,
    /// Its content.
    pub bytes: Bytes,
    /// Whether it is a snapshot of data.
    pub data: bool,
}

/// A publish under way. Dropping it stops its uploads; what was uploaded does no harm.
#[derive(Debug)]
pub struct Draft {
    publisher: Arc<Publisher>,
    base: Option<Arc<Base>>,
    trigger: Trigger,
    collector: Arc<Collector>,
    uploader: Option<Uploader>,
}

/// The three trees of a release that differ from the base's.
struct Trees {
    manifest: Tree,
    assets: Option<Tree>,
    sources: Option<Tree>,
    all_assets: Option<Items>,
    diff: Diff,
}

impl Publisher {
    /// A publisher of the journal's site. `folder` may keep nodes of trees between processes; it may
    /// be deleted at any time.
    pub fn new(journal: Arc<Journal>, reader: Arc<Reader>, folder: Option<PathBuf>) -> Arc<Self> {
        let bucket = Arc::clone(reader.bucket());
        Arc::new(Self { bucket, journal, reader, folder, base: Mutex::default() })
    }

    /// The site.
    pub fn site(&self) -> &Site {
        self.journal.site()
    }

    /// The site's journal.
    pub fn journal(&self) -> &Arc<Journal> {
        &self.journal
    }

    /// Begins a publish on what is active now. Call it before the first source is read. Files get
    /// their cache policies from `policies`.
    ///
    /// # Errors
    /// - [`Error::Held`] where a rollback holds this trigger back.
    /// - Where the bucket gives no answer, or holds damaged objects.
    pub async fn begin(self: &Arc<Self>, trigger: Trigger, policies: Arc<Policies>) -> Result<Draft, Error> {
        self.start(trigger, policies, false).await
    }

    /// As [`Publisher::begin`], but uploads nothing: for [`Draft::plan`].
    ///
    /// # Errors
    /// As for [`Publisher::begin`].
    pub async fn begin_plan(self: &Arc<Self>, policies: Arc<Policies>) -> Result<Draft, Error> {
        self.start(Trigger::Manual, policies, true).await
    }

    async fn start(
        self: &Arc<Self>,
        trigger: Trigger,
        policies: Arc<Policies>,
        plan: bool,
    ) -> Result<Draft, Error> {
        if let Some(error) = self.journal.stopped() {
            return Err(error);
        }
        let state = self.state().await?;
        if let (true, Some(active), false) = (state.held, &state.active, trigger == Trigger::Manual) {
            let (site, release) = (self.site().clone(), active.release.clone());
            return Err(Error::Held { site, release, trigger: trigger.to_string() });
        }
        let base = self.base_of(&state).await?;
        failpoint!("publish::begin");
        let uploader = (!plan).then(|| Uploader::start(Arc::clone(&self.bucket)));
        let queue = uploader.as_ref().map(Uploader::queue);
        let collector = Arc::new(Collector::new(self.site().clone(), base.clone(), policies, queue));
        Ok(Draft { publisher: Arc::clone(self), base, trigger, collector, uploader })
    }

    /// What is known of the journal, at most a second old.
    async fn state(&self) -> Result<State, Error> {
        let seen = self.journal.seen();
        if Moment::now().ms_since(seen.looked) <= SEEN_MS_MAX {
            return Ok(seen.state.clone());
        }
        Ok(self.journal.look().await?.state.clone())
    }

    /// The active release with all its entries, from memory where that is the last base.
    async fn base_of(&self, state: &State) -> Result<Option<Arc<Base>>, Error> {
        let Some(active) = &state.active else { return Ok(None) };
        let held = self.base.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(base) = held.filter(|b| b.active == *active) {
            return Ok(Some(base));
        }
        let base = Arc::new(Base::read(&self.reader, active.clone(), self.folder.as_deref()).await?);
        self.keep(Arc::clone(&base));
        Ok(Some(base))
    }

    fn keep(&self, base: Arc<Base>) {
        *self.base.lock().unwrap_or_else(PoisonError::into_inner) = Some(base);
    }

    /// Reads files that the active release was rendered from, those that are `wanted`; none where
    /// nothing is active. What `known` has by its digest is not read again.
    ///
    /// # Errors
    /// Where they cannot be read, or are more than [`SOURCES_BYTES_MAX`] bytes.
    pub async fn sources(
        &self,
        wanted: fn(&str) -> bool,
        known: &BTreeMap<Digest, Bytes>,
    ) -> Result<Option<Vec<SourceFile>>, Error> {
        let state = self.state().await?;
        let Some(base) = self.base_of(&state).await? else { return Ok(None) };
        let chosen = base.sources.iter().filter(|(path, _)| wanted(path)).map(|(path, entry)| {
            let data = entry.groups.iter().any(|g| g == DATA);
            (path.clone(), Arc::clone(entry), data)
        });
        self.read_all(chosen.collect(), known).await.map(Some)
    }

    /// Which of these digests the active release's sources lack.
    ///
    /// # Errors
    /// Where the release cannot be read.
    pub async fn missing(&self, digests: &[Digest]) -> Result<Vec<Digest>, Error> {
        let state = self.state().await?;
        let base = self.base_of(&state).await?;
        let has = |digest: &Digest| base.as_ref().is_some_and(|b| b.blobs.contains(digest));
        Ok(digests.iter().filter(|d| !has(d)).copied().collect())
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

    async fn read_all(
        &self,
        wanted: Vec<(String, Arc<Entry>, bool)>,
        known: &BTreeMap<Digest, Bytes>,
    ) -> Result<Vec<SourceFile>, Error> {
        let total = wanted.iter().map(|(_, e, _)| e.content.identity.length).sum();
        if total > SOURCES_BYTES_MAX {
            return Err(too_many_sources(total));
        }
        let reads = wanted.into_iter().map(|(path, entry, data)| async move {
            let identity = &entry.content.identity;
            let bytes = match known.get(&identity.digest) {
                Some(bytes) => bytes.clone(),
                None => self.reader.content(&entry.content, identity).await?,
            };
            Ok::<_, Error>(SourceFile { path, bytes, data })
        });
        stream::iter(reads).buffered(READS_MAX).try_collect().await
    }
}

fn too_many_sources(total: u64) -> Error {
    Error::BadRequest(format!("the sources have {total} bytes, and {SOURCES_BYTES_MAX} are allowed"))
}

impl Draft {
    /// Where the renderer hands its files over.
    pub fn sink(&self) -> Sink {
        Sink(Arc::clone(&self.collector))
    }

    /// The render's time: `wall`, but never before the base was made.
    pub fn now(&self, wall: Timestamp) -> Timestamp {
        self.base.as_ref().map_or(wall, |b| b.release.created.max(wall))
    }

    /// The release that the publish rests on.
    pub fn base(&self) -> Option<&Release> {
        self.base.as_ref().map(|b| &b.release)
    }

    /// Number of the activation that the publish rests on.
    pub fn base_seq(&self) -> Option<u64> {
        self.base.as_ref().map(|b| b.active.seq)
    }

    /// Says what [`Draft::finish`] would do.
    ///
    /// # Errors
    /// Where a file was refused.
    pub async fn plan(self, about: About) -> Result<Plan, Error> {
        let collected = Arc::new(self.collector.take()?);
        let trees = self.trees(Arc::clone(&collected)).await?;
        let new: Vec<usize> = self.new_nodes(&trees).map(|(_, bytes)| bytes.len()).collect();
        let changes = self.changes(&trees, &collected, &about);
        Ok(Plan {
            diff: trees.diff,
            uploads: collected.uploads + new.len() as u64,
            upload_bytes: collected.upload_bytes + new.iter().sum::<usize>() as u64,
            active: self.base.as_ref().map(|b| b.active.release.clone()),
            changes,
        })
    }

    /// Uploads what is left, and makes the release active.
    ///
    /// # Errors
    /// - [`Error::Outdated`] where another activation came first: begin anew.
    /// - [`Error::Unknown`] where it may be active or not.
    /// - Otherwise the old release is active as before.
    pub async fn finish(mut self, about: About) -> Result<Outcome, Error> {
        let began = Instant::now();
        let uploader = self.uploader.take().ok_or(Error::Gone("the upload"))?;
        let collected = Arc::new(self.collector.take()?);
        let trees = self.trees(Arc::clone(&collected)).await?;
        if !self.changes(&trees, &collected, &about)
            && let Some(base) = &self.base
        {
            return Ok(Outcome::Unchanged(base.active.release.clone()));
        }
        let site = self.publisher.site();
        for (digest, bytes) in self.new_nodes(&trees) {
            uploader.offer(What::Node, site.node(digest), bytes.clone());
        }
        let release = self.release(&trees, &collected, about);
        let id = release.id();
        uploader.offer(What::Record, site.release(&id), release.encode().into());
        let uploaded = uploader.finish().await?;
        failpoint!("publish::uploaded");
        let upload = began.elapsed();

        for (digest, bytes) in self.new_nodes(&trees) {
            if let Err(error) = self.publisher.reader.keep(*digest, bytes) {
                tracing::error!(%digest, %error, "a node that was just written cannot be read");
            }
        }
        let effect = Effect::Activate(Activation {
            release: id.clone(),
            root: release.root,
            assets: release.assets,
            hosts: release.hosts.clone(),
            base: self.base_seq(),
            cause: Cause::Publish(self.trigger.clone()),
        });
        let began = Instant::now();
        let receipt = self.publisher.journal.commit(vec![effect]).await?;
        let commit = began.elapsed();
        let committed = receipt.committed(site);
        let diff = trees.diff.clone();
        if let Some(active) = receipt.state.active.filter(|a| a.seq == receipt.seq) {
            let fresh = self.new_nodes(&trees).map(|(d, b)| (*d, b.clone())).collect();
            let base = self.next_base(active, release, trees, &collected);
            base.store(self.publisher.folder.clone(), fresh);
            self.publisher.keep(Arc::new(base));
        }
        metrics::counter!("bakehouse_publishes_total").increment(1);
        metrics::counter!("bakehouse_uploaded_bytes_total").increment(uploaded.bytes);
        Ok(Outcome::Published(Done {
            release: id,
            committed,
            diff,
            uploaded: uploaded.objects,
            uploaded_bytes: uploaded.bytes,
            upload,
            commit,
        }))
    }

    /// Builds the trees that differ from the base's.
    async fn trees(&self, collected: Arc<collect::Collected>) -> Result<Trees, Error> {
        let base = self.base.clone();
        let build = move || {
            let empty = BTreeMap::new();
            let (old, old_assets, old_sources) =
                base.as_ref().map_or((&empty, &empty, &empty), |b| (&b.manifest, &b.assets, &b.sources));
            let mut all_assets: Option<Items> = base.is_none().then(BTreeMap::new);
            for path in &collected.immutable {
                let Some(entry) = collected.files.get(path) else { continue };
                if old_assets.get(path).is_none_or(|e| e != entry) {
                    all_assets
                        .get_or_insert_with(|| old_assets.clone())
                        .insert(path.clone(), Arc::clone(entry));
                }
            }
            let sources = base.is_none() || *old_sources != collected.sources;
            Trees {
                manifest: Tree::build(&collected.files),
                assets: all_assets.as_ref().map(Tree::build),
                sources: sources.then(|| Tree::build(&collected.sources)),
                all_assets,
                diff: Diff::between(old, &collected.files),
            }
        };
        tokio::task::spawn_blocking(build).await.map_err(|_| Error::Gone("the builder of trees"))
    }

    /// Nodes that the base does not reach.
    fn new_nodes<'t>(&'t self, trees: &'t Trees) -> impl Iterator<Item = (&'t Digest, &'t Bytes)> {
        let all = [Some(&trees.manifest), trees.assets.as_ref(), trees.sources.as_ref()];
        let mut seen = std::collections::HashSet::new();
        all.into_iter()
            .flatten()
            .flat_map(|tree| &tree.nodes)
            .filter(move |(digest, _)| !self.base.as_ref().is_some_and(|b| b.has_node(digest)))
            .filter(move |(digest, _)| seen.insert(**digest))
    }

    /// Whether there is something to release; see the module's words on that.
    fn changes(&self, trees: &Trees, collected: &collect::Collected, about: &About) -> bool {
        let Some(base) = &self.base else { return true };
        let served = trees.manifest.root != base.release.root && !trees.diff.is_empty()
            || trees.assets.is_some()
            || hosts(&about.hosts) != base.release.hosts
            || about.next_change != base.release.next_change;
        let asked_for = self.trigger == Trigger::Manual;
        served || asked_for && !same_sources(&base.sources, &collected.sources)
    }

    fn release(&self, trees: &Trees, collected: &collect::Collected, about: About) -> Release {
        let base = self.base.as_ref();
        let root = |tree: &Option<Tree>, of: fn(&Base) -> Digest| {
            // A tree that was not built is the base's.
            tree.as_ref().map(|t| t.root).or(base.map(|b| of(b))).unwrap_or(trees.manifest.root)
        };
        Release {
            version: Release::VERSION,
            root: trees.manifest.root,
            assets: root(&trees.assets, |b| b.active.assets),
            sources: root(&trees.sources, |b| b.release.sources),
            parent: base.map(|b| b.active.release.clone()),
            hosts: hosts(&about.hosts),
            created: self.now(about.created),
            author: about.author,
            message: about.message,
            trigger: self.trigger.clone(),
            counts: Counts {
                paths: collected.files.len() as u64,
                pages: about.pages,
                bytes: collected.files.values().map(|e| e.content.identity.length).sum(),
            },
            renderer: about.renderer,
            next_change: about.next_change,
        }
    }

    fn next_base(
        &self,
        active: release::journal::Active,
        release: Release,
        trees: Trees,
        collected: &collect::Collected,
    ) -> Base {
        let old = self.base.as_deref();
        let of = |tree: Option<Tree>, old: Option<&base::Nodes>| match tree {
            Some(tree) => Arc::new(tree.nodes.into_keys().collect()),
            None => old.cloned().unwrap_or_default(),
        };
        let assets = trees.all_assets.or_else(|| old.map(|b| b.assets.clone())).unwrap_or_default();
        Base::new(
            active,
            release,
            [collected.files.clone(), assets, collected.sources.clone()],
            [
                of(Some(trees.manifest), None),
                of(trees.assets, old.map(|b| &b.nodes[1])),
                of(trees.sources, old.map(|b| &b.nodes[2])),
            ],
        )
    }
}

/// Host names as they are compared: lower-case, sorted, each once.
fn hosts(hosts: &[String]) -> Vec<String> {
    let mut hosts: Vec<String> = hosts.iter().map(|h| h.to_ascii_lowercase()).collect();
    hosts.sort();
    hosts.dedup();
    hosts
}

/// Whether the files are the same but for snapshots of data.
fn same_sources(old: &Items, new: &Items) -> bool {
    fn files(items: &Items) -> impl Iterator<Item = (&String, &Arc<Entry>)> {
        items.iter().filter(|(_, e)| !e.groups.iter().any(|g| g == DATA))
    }
    files(old).eq(files(new))
}

#[cfg(test)]
mod tests;
