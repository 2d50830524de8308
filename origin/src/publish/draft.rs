//! A publish under way, from the last file to the journal entry.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use jiff::Timestamp;
use release::journal::{Activation, Cause, Effect};
use release::record::{Counts, Trigger};
use release::tree::{Diff, Edits, Found, Leaf, Rendered, Tree};
use release::{Digest, Entry, Release};
use tokio::runtime::Handle;

use super::collect::{Collected, Collector, Item, Of, Side};
use super::upload::{Uploader, What};
use super::{About, Base, Done, Outcome, Plan, Publisher, Sink, is_data};
use crate::Error;
use crate::failpoint::failpoint;

/// A publish under way. Dropping it stops its uploads; what was uploaded does no harm.
#[derive(Debug)]
pub struct Draft {
    publisher: Arc<Publisher>,
    base: Option<Arc<Base>>,
    trigger: Trigger,
    collector: Arc<Collector>,
    uploader: Option<Uploader>,
    /// How it differs from the base, once that was asked for.
    changes: Option<Changes>,
}

/// Addresses of the base that lead to nothing any more, and what may say why.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Vanished {
    /// Paths of pages, redirects included, in order; not those of the further pages of a list.
    pub pages: Vec<String>,
    /// Paths of pages that the base has not, in order.
    pub added: Vec<String>,
    /// Sources of the base that are changed or gone, in order.
    pub old_sources: Vec<String>,
    /// Sources that are changed or new, in order.
    pub new_sources: Vec<String>,
}

/// How one tree differs from the base's.
#[derive(Debug, Default)]
struct Change {
    diff: Diff,
    edits: Edits,
    /// What the base serves at the paths that differ.
    before: HashMap<String, Found>,
}

/// How a release differs from its base.
#[derive(Debug)]
struct Changes {
    manifest: Change,
    sources: Change,
    /// Hashed assets that the base's tree of them lacks.
    assets: Edits,
    uploads: (u64, u64),
    /// Blobs whose upload has not begun.
    held: Vec<(Digest, Bytes)>,
}

/// The roots of a release's trees, and the nodes that the base lacks.
#[derive(Debug)]
struct Trees {
    manifest: Digest,
    sources: Digest,
    assets: Digest,
    nodes: BTreeMap<Digest, Bytes>,
    /// The leaves among them that were made of other leaves.
    leaves: HashMap<Digest, Leaf>,
}

impl Draft {
    pub(super) fn new(
        publisher: Arc<Publisher>,
        base: Option<Arc<Base>>,
        trigger: Trigger,
        collector: Collector,
        uploader: Option<Uploader>,
    ) -> Self {
        Self { publisher, base, trigger, collector: Arc::new(collector), uploader, changes: None }
    }

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

    /// Root of the manifest that the publish rests on.
    pub fn base_root(&self) -> Option<Digest> {
        self.base.as_ref().map(|b| b.active.root)
    }

    /// Paths where the base serves something else than the manifest with this root does, and those that only one of the
    /// two has; reads only the nodes that differ.
    ///
    /// # Errors
    /// Where the bucket gives no answer, or holds damaged objects.
    pub async fn differing(&self, root: Digest) -> Result<Vec<String>, Error> {
        let Some(base) = &self.base else { return Ok(Vec::new()) };
        let diff = self.publisher.reader.diff(root, base.active.root).await?;
        Ok(diff.paths().map(str::to_owned).collect())
    }

    /// Says that files which are not handed over stay as the base has them. Otherwise they are gone.
    ///
    /// # Errors
    /// [`Error::Gone`] where the publish is over.
    pub fn keep_other_files(&self) -> Result<(), Error> {
        self.collector.with(|c| c.side(Of::Manifest).keeps_others = true)
    }

    /// Says that sources which are not handed over stay as the base has them. Otherwise they are gone.
    ///
    /// # Errors
    /// [`Error::Gone`] where the publish is over.
    pub fn keep_other_sources(&self) -> Result<(), Error> {
        self.collector.with(|c| c.side(Of::Sources).keeps_others = true)
    }

    /// Says which addresses of the base this release would not have. Nothing more can be handed over after that.
    ///
    /// # Errors
    /// Where a file was refused, or the base cannot be read.
    pub fn vanished(&mut self) -> BoxFuture<'_, Result<Vanished, Error>> {
        async {
            let changes = self.changes().await?;
            let vanished = changes.vanished();
            self.changes = Some(changes);
            Ok(vanished)
        }
        .boxed()
    }

    async fn taken(&mut self) -> Result<Changes, Error> {
        match self.changes.take() {
            Some(changes) => Ok(changes),
            None => self.changes().await,
        }
    }

    /// Says what [`Draft::finish`] would do.
    ///
    /// # Errors
    /// Where a file was refused.
    pub fn plan(self, about: About) -> BoxFuture<'static, Result<Plan, Error>> {
        self.planned(about).boxed()
    }

    async fn planned(mut self, about: About) -> Result<Plan, Error> {
        let changes = Arc::new(self.taken().await?);
        let trees = self.trees(&changes).await?;
        let (uploads, bytes) = changes.uploads;
        Ok(Plan {
            uploads: uploads + trees.nodes.len() as u64,
            upload_bytes: bytes + trees.nodes.values().map(|b| b.len() as u64).sum::<u64>(),
            active: self.base.as_ref().map(|b| b.active.release.clone()),
            changes: self.is_release(&changes, &about),
            diff: changes.manifest.diff.clone(),
        })
    }

    /// Uploads what is left, and makes the release active.
    ///
    /// # Errors
    /// - [`Error::Outdated`] where another activation came first: begin anew.
    /// - [`Error::Unknown`] where it may be active or not.
    /// - Otherwise the old release is active as before.
    pub fn finish(self, about: About) -> BoxFuture<'static, Result<Outcome, Error>> {
        self.finished(about).boxed()
    }

    async fn finished(mut self, about: About) -> Result<Outcome, Error> {
        let began = Instant::now();
        let uploader = self.uploader.take().ok_or(Error::Gone("the upload"))?;
        let mut changes = self.taken().await?;
        if !self.is_release(&changes, &about)
            && let Some(base) = &self.base
        {
            return Ok(Outcome::Unchanged(base.active.release.clone()));
        }
        let site = self.publisher.site();
        for (digest, blob) in std::mem::take(&mut changes.held) {
            uploader.offer(What::Blob, site.blob(&digest), blob);
        }
        let changes = Arc::new(changes);
        let trees = self.trees(&changes).await?;
        for (digest, bytes) in &trees.nodes {
            uploader.offer(What::Node, site.node(digest), bytes.clone());
        }
        let release = self.release(&trees, &changes, about);
        let id = release.id();
        uploader.offer(What::Record, site.release(&id), release.encode().into());
        let uploaded = uploader.finish().await?;
        failpoint!("publish::uploaded");
        let upload = began.elapsed();

        for (digest, bytes) in &trees.nodes {
            let reader = &self.publisher.reader;
            if let Some(leaf) = trees.leaves.get(digest) {
                reader.keep_leaf(*digest, leaf, bytes.len() as u64);
            } else if let Err(error) = reader.keep(*digest, bytes) {
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
        for (of, change) in [(Of::Manifest, &changes.manifest), (Of::Sources, &changes.sources)] {
            let entries = change.edits.iter().filter_map(|(path, entry)| Some((path, entry.as_deref()?)));
            entries.for_each(|(path, entry)| self.publisher.places.note(of, path, entry));
        }
        if let Some(active) = receipt.state.active.filter(|a| a.seq == receipt.seq) {
            self.publisher.keep(Arc::new(Base { active, release }));
        }
        metrics::counter!("bakehouse_publishes_total").increment(1);
        metrics::counter!("bakehouse_uploaded_bytes_total").increment(uploaded.bytes);
        Ok(Outcome::Published(Done {
            release: id,
            committed,
            root: trees.manifest,
            diff: changes.manifest.diff.clone(),
            uploaded: uploaded.objects,
            uploaded_bytes: uploaded.bytes,
            upload,
            commit,
        }))
    }

    /// Compares what was handed over with the base, reading it where they differ.
    async fn changes(&self) -> Result<Changes, Error> {
        let has_base = self.base.is_some();
        let take = |of| self.collector.with(|c| Compared::begin(c.side(of), has_base));
        let (manifest, sources) = (take(Of::Manifest)?, take(Of::Sources)?);
        let (manifest, sources) = futures_util::try_join!(
            self.compare(Of::Manifest, manifest),
            self.compare(Of::Sources, sources)
        )?;
        self.collector.know(Of::Manifest, &manifest.before)?;
        self.collector.know(Of::Sources, &sources.before)?;
        let collector = Arc::clone(&self.collector);
        let settle = move || {
            let manifest = manifest.settle(&collector, Of::Manifest)?;
            let sources = sources.settle(&collector, Of::Sources)?;
            Ok::<_, Error>((manifest, sources, collector.close()?))
        };
        let settled = tokio::task::spawn_blocking(settle).await;
        let (manifest, sources, mut collected) = settled.map_err(|_| Error::Gone("the publish"))??;
        let (uploads, held) = (collected.uploads(), collected.release());
        let manifest = manifest.change(&mut collected.manifest);
        let sources = sources.change(&mut collected.sources);
        let assets = self.assets(&manifest.edits, &collected).await?;
        Ok(Changes { manifest, sources, assets, uploads, held })
    }

    /// Finds out which paths of a tree may differ from the base's, and what the base serves there.
    async fn compare(&self, of: Of, mut compared: Compared) -> Result<Compared, Error> {
        let responses = std::mem::take(&mut compared.responses);
        let Some(base) = &self.base else {
            compared.touched = responses.into_keys().collect();
            return Ok(compared);
        };
        let (reader, root) = (&self.publisher.reader, base.root(of));
        if !compared.keeps_others {
            let diff = reader.diff_rendered(root, &Rendered::new(responses)).await?;
            compared.touched = diff.paths().map(str::to_owned).collect();
        }
        let found = reader.found(root, compared.touched.iter().map(String::as_str)).await?;
        compared.before = found.into_iter().map(|(path, found)| (path.to_owned(), found)).collect();
        Ok(compared)
    }

    /// The hashed assets among `edits` that the base's tree of assets lacks. Others than these are in it
    /// already: it grows with each release.
    async fn assets(&self, edits: &Edits, collected: &Collected) -> Result<Edits, Error> {
        let changed = edits.iter().filter(|(path, _)| collected.immutable.contains(*path));
        let mut assets: Edits = changed.map(|(path, entry)| (path.clone(), entry.clone())).collect();
        if let Some(base) = &self.base {
            let paths = assets.keys().map(String::as_str);
            let found = self.publisher.reader.found(base.active.assets, paths).await?;
            let known: HashSet<String> = found
                .into_iter()
                .filter(|(path, found)| assets[*path].as_deref() == Some(&**found))
                .map(|(path, _)| path.to_owned())
                .collect();
            assets.retain(|path, _| !known.contains(path));
        }
        Ok(assets)
    }

    /// Makes the nodes that the base's trees lack.
    async fn trees(&self, changes: &Arc<Changes>) -> Result<Trees, Error> {
        let (base, changes) = (self.base.clone(), Arc::clone(changes));
        let reader = Arc::clone(&self.publisher.reader);
        let runtime = Handle::current();
        let make = move || {
            let (mut nodes, mut leaves) = (BTreeMap::new(), HashMap::new());
            let mut edit = |root: Option<Digest>, edits: &Edits| {
                let (root, new) = match root {
                    Some(root) => {
                        let edited = runtime.block_on(reader.edit(root, edits))?;
                        leaves.extend(edited.leaves);
                        (edited.root, edited.nodes)
                    }
                    None => {
                        let items = edits.iter().filter_map(|(path, e)| Some((path.as_str(), e.as_deref()?)));
                        let tree = Tree::of(items);
                        (tree.root, tree.nodes)
                    }
                };
                nodes.extend(new);
                Ok::<_, Error>(root)
            };
            let base = base.as_deref();
            let manifest = edit(base.map(|b| b.root(Of::Manifest)), &changes.manifest.edits)?;
            let sources = edit(base.map(|b| b.root(Of::Sources)), &changes.sources.edits)?;
            let assets = edit(base.map(|b| b.active.assets), &changes.assets)?;
            Ok(Trees { manifest, sources, assets, nodes, leaves })
        };
        tokio::task::spawn_blocking(make).await.map_err(|_| Error::Gone("the builder of trees"))?
    }

    /// Whether there is something to release; see the words of [`publish`](super) on that.
    fn is_release(&self, changes: &Changes, about: &About) -> bool {
        let Some(base) = &self.base else { return true };
        let served = !changes.manifest.diff.is_empty()
            || !changes.assets.is_empty()
            || hosts(&about.hosts) != base.release.hosts
            || about.next_change != base.release.next_change;
        served || self.trigger == Trigger::Manual && changes.sources.is_of_files()
    }

    fn release(&self, trees: &Trees, changes: &Changes, about: About) -> Release {
        let base = self.base.as_ref().map(|b| &b.release);
        let before = base.map(|b| b.counts).unwrap_or_default();
        let bytes = |entry: &Entry| entry.content.identity.length;
        let (edits, diff) = (&changes.manifest.edits, &changes.manifest.diff);
        let more: u64 = edits.values().flatten().map(|entry| bytes(entry)).sum();
        let less: u64 = changes.manifest.before.values().map(|entry| bytes(entry)).sum();
        Release {
            version: Release::VERSION,
            root: trees.manifest,
            assets: trees.assets,
            sources: trees.sources,
            parent: self.base.as_ref().map(|b| b.active.release.clone()),
            hosts: hosts(&about.hosts),
            created: self.now(about.created),
            author: about.author,
            message: about.message,
            trigger: self.trigger.clone(),
            counts: Counts {
                paths: (before.paths + diff.added.len() as u64).saturating_sub(diff.removed.len() as u64),
                pages: about.pages,
                bytes: (before.bytes + more).saturating_sub(less),
            },
            renderer: about.renderer,
            next_change: about.next_change,
        }
    }
}

/// One tree while it is compared with the base's.
struct Compared {
    responses: BTreeMap<String, Digest>,
    waiting: Vec<Item>,
    keeps_others: bool,
    /// Paths that may differ from the base's; all where there is none.
    touched: HashSet<String>,
    /// What the base serves there.
    before: HashMap<String, Found>,
}

impl Compared {
    fn begin(side: &mut Side, has_base: bool) -> Self {
        let waiting = std::mem::take(&mut side.waiting);
        let changed = side.changed.keys().chain(&side.removed);
        let touched = changed.chain(waiting.iter().map(|i| &i.path)).filter(|_| has_base);
        let touched = touched.cloned().collect();
        let responses = std::mem::take(&mut side.responses);
        Self { responses, waiting, keeps_others: side.keeps_others, touched, before: HashMap::new() }
    }

    /// Makes entries of what waited and differs.
    fn settle(mut self, collector: &Collector, of: Of) -> Result<Self, Error> {
        let mut items = std::mem::take(&mut self.waiting);
        items.retain(|item| self.touched.contains(&item.path));
        collector.settle_all(of, items, &self.before)?;
        Ok(self)
    }

    fn change(mut self, side: &mut Side) -> Change {
        let mut change = Change::default();
        for path in self.touched {
            let (old, new) = (self.before.remove_entry(&path), side.changed.remove(&path));
            match (&old, &new) {
                (Some(_), Some(_)) => change.diff.changed.push(path.clone()),
                (None, Some(_)) => change.diff.added.push(path.clone()),
                // What waited and was the same after all.
                (Some(_), None) if self.keeps_others && !side.removed.contains(&path) => continue,
                (Some(_), None) => change.diff.removed.push(path.clone()),
                (None, None) => continue,
            }
            change.before.extend(old);
            change.edits.insert(path, new);
        }
        for paths in [&mut change.diff.added, &mut change.diff.changed, &mut change.diff.removed] {
            paths.sort_unstable();
        }
        change
    }
}

impl Changes {
    fn vanished(&self) -> Vanished {
        let is_page = |path: &&String| path.ends_with(".html");
        let gone = self.manifest.diff.removed.iter().filter(is_page).filter(|path| {
            let entry = self.manifest.before.get(*path);
            entry.is_some_and(|entry| (200..400).contains(&entry.status)) && !is_pager(path)
        });
        let sources = &self.sources.diff;
        let changed = |others: &[String]| {
            let mut all: Vec<String> = sources.changed.iter().chain(others).cloned().collect();
            all.sort_unstable();
            all
        };
        Vanished {
            pages: gone.cloned().collect(),
            added: self.manifest.diff.added.iter().filter(is_page).cloned().collect(),
            old_sources: changed(&sources.removed),
            new_sources: changed(&sources.added),
        }
    }
}

/// Whether a path is that of a further page of a list, `blog/page/3/index.html`: it comes and goes with what is listed.
fn is_pager(path: &str) -> bool {
    let mut folders = path.strip_suffix("/index.html").unwrap_or_default().rsplit('/');
    let number =
        folders.next().is_some_and(|name| !name.is_empty() && name.bytes().all(|b| b.is_ascii_digit()));
    number && folders.next().is_some()
}

impl Change {
    /// Whether anything but snapshots of data differs.
    fn is_of_files(&self) -> bool {
        let old = self.before.values().map(|found| &**found);
        let new = self.edits.values().flatten().map(|entry| &**entry);
        old.chain(new).any(|entry| !is_data(entry))
    }
}

/// Host names as they are compared: lower-case, sorted, each once.
fn hosts(hosts: &[String]) -> Vec<String> {
    let mut hosts: Vec<String> = hosts.iter().map(|h| h.to_ascii_lowercase()).collect();
    hosts.sort();
    hosts.dedup();
    hosts
}
