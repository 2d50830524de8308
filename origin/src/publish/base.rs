//! The release that a publish rests on, with everything that it reaches.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt, stream};
use release::journal::Active;
use release::reader::{ReadError, Reader};
use release::tree::{LEVELS_MAX, Node};
use release::{Content, Digest, Entry, Release};

use super::READS_MAX;
use crate::Error;
use crate::codings::compressible;

/// Paths and what they serve.
pub(super) type Items = BTreeMap<String, Arc<Entry>>;
/// Nodes of a tree.
pub(super) type Nodes = Arc<HashSet<Digest>>;
/// Nodes that the folder may lack, with their bytes.
pub(super) type Fresh = Vec<(Digest, Bytes)>;
/// Content is told apart by its bytes and by whether codings were to be made of it, so that what a
/// release comes to does not depend on what was released before.
pub(super) type ContentKey = (Digest, bool);

#[derive(Debug)]
pub(super) struct Base {
    pub(super) active: Active,
    pub(super) release: Release,
    pub(super) manifest: Items,
    pub(super) assets: Items,
    pub(super) sources: Items,
    /// Of the manifest, the assets and the sources.
    pub(super) nodes: [Nodes; 3],
    pub(super) contents: HashMap<ContentKey, Content>,
    pub(super) blobs: HashSet<Digest>,
}

impl Base {
    pub(super) fn new(active: Active, release: Release, items: [Items; 3], nodes: [Nodes; 3]) -> Self {
        let [manifest, assets, sources] = items;
        let mut contents = HashMap::new();
        for entry in manifest.values().chain(assets.values()) {
            let key = (entry.content.identity.digest, entry.field("content-type").is_some_and(compressible));
            contents.entry(key).or_insert_with(|| entry.content.clone());
        }
        for entry in sources.values() {
            let key = (entry.content.identity.digest, false);
            contents.entry(key).or_insert_with(|| entry.content.clone());
        }
        let blobs = contents.values().map(|c| c.blob).collect();
        Self { active, release, manifest, assets, sources, nodes, contents, blobs }
    }

    /// Reads the release that is active, all three trees at once.
    pub(super) async fn read(reader: &Reader, active: Active, folder: Option<&Path>) -> Result<Self, Error> {
        let release = reader.release(&active.release).await?;
        let (manifest, assets, sources) = futures_util::try_join!(
            walk(reader, active.root, folder),
            walk(reader, active.assets, folder),
            walk(reader, release.sources, folder),
        )?;
        let [manifest, assets, sources] = [manifest, assets, sources].map(|w| (w.items, w.nodes, w.fresh));
        let items = [manifest.0, assets.0, sources.0];
        let base = Self::new(active, release, items, [manifest.1, assets.1, sources.1].map(Arc::new));
        base.store(folder.map(Path::to_owned), [manifest.2, assets.2, sources.2].concat());
        Ok(base)
    }

    /// Whether the base reaches this node.
    pub(super) fn has_node(&self, digest: &Digest) -> bool {
        self.nodes.iter().any(|nodes| nodes.contains(digest))
    }

    /// Brings the folder to hold exactly the base's nodes, in the background. What goes wrong costs
    /// the next process some reads of the bucket.
    pub(super) fn store(&self, folder: Option<PathBuf>, fresh: Fresh) {
        let Some(folder) = folder else { return };
        let nodes = self.nodes.clone();
        tokio::task::spawn_blocking(move || {
            if let Err(error) = store(&folder, &nodes, &fresh) {
                tracing::warn!(folder = %folder.display(), %error, "nodes of trees were not kept");
            }
        });
    }
}

fn store(folder: &Path, nodes: &[Nodes; 3], fresh: &Fresh) -> std::io::Result<()> {
    std::fs::create_dir_all(folder)?;
    for file in std::fs::read_dir(folder)? {
        let file = file?;
        let digest = file.file_name().to_str().and_then(|n| n.parse::<Digest>().ok());
        if digest.is_none_or(|d| !nodes.iter().any(|n| n.contains(&d))) && file.file_type()?.is_file() {
            std::fs::remove_file(file.path())?;
        }
    }
    for (digest, bytes) in fresh {
        // A file cut short is found out by its digest, and read from the bucket instead.
        std::fs::write(folder.join(digest.to_string()), bytes)?;
    }
    Ok(())
}

/// A tree that was read whole.
#[derive(Default)]
struct Walked {
    items: Items,
    nodes: HashSet<Digest>,
    fresh: Fresh,
}

/// Reads a whole tree, level by level, many nodes at a time.
async fn walk(reader: &Reader, root: Digest, folder: Option<&Path>) -> Result<Walked, Error> {
    let mut walked = Walked::default();
    let mut level = vec![root];
    for _ in 0..LEVELS_MAX {
        let reads = level.clone().into_iter().map(|digest| load(reader, digest, folder));
        let read: Vec<(Arc<Node>, bool)> = stream::iter(reads).buffered(READS_MAX).try_collect().await?;
        let mut below = Vec::new();
        for (digest, (node, is_fresh)) in level.into_iter().zip(read) {
            walked.nodes.insert(digest);
            if is_fresh {
                walked.fresh.push((digest, node.encode()));
            }
            match &*node {
                Node::Leaf(leaf) => {
                    walked.items.extend(leaf.iter().map(|(p, e)| (p.clone(), Arc::new(e.clone()))));
                }
                Node::Inner(children) => below.extend(children.iter().map(|c| c.node)),
            }
        }
        if below.is_empty() {
            return Ok(walked);
        }
        level = below;
    }
    Err(ReadError::TooDeep(root).into())
}

/// Reads a node, and says whether the folder lacks it.
async fn load(reader: &Reader, digest: Digest, folder: Option<&Path>) -> Result<(Arc<Node>, bool), Error> {
    let Some(folder) = folder else { return Ok((reader.node(digest).await?, false)) };
    let kept = tokio::fs::read(folder.join(digest.to_string())).await.ok();
    let kept = kept.filter(|bytes| Digest::of(bytes) == digest && reader.keep(digest, bytes).is_ok());
    // One that is damaged or was never there is read from the bucket.
    Ok((reader.node(digest).await?, kept.is_none()))
}
