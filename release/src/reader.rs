//! Reading manifests, releases and content from the bucket, every byte checked against its name.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt, stream};
use quick_cache::Weighter;
use quick_cache::sync::Cache;

use crate::Digest;
use crate::bucket::{Bucket, BucketError, OBJECT_BYTES_MAX};
use crate::entry::{CHUNK_BYTES, Coding, Content, Entry};
use crate::keys::Site;
use crate::record::{RELEASE_BYTES_MAX, RecordError, Release, ReleaseId};
use crate::tree::{Found, LEVELS_MAX, Leaf, NODE_BYTES_MAX, Node, NodeError};

/// Nodes that are read at a time.
const READS_MAX: usize = 32;

/// Why something that should be in the bucket cannot be had from it.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The bucket gave no answer.
    #[error(transparent)]
    Bucket(#[from] BucketError),
    /// An object that others name is not there.
    #[error("the object `{0}` is missing from the bucket")]
    Missing(String),
    /// An object's bytes are not those that its name stands for. They are not used.
    #[error("the object `{key}` is corrupted: its digest is {found}")]
    Corrupted {
        /// The object.
        key: String,
        /// Digest of the bytes that were read.
        found: Digest,
    },
    /// A node that has the right digest and is no node.
    #[error("the object `{key}` cannot be read: {source}")]
    Node {
        /// The object.
        key: String,
        /// What is wrong.
        source: NodeError,
    },
    /// A tree with more levels than can be.
    #[error("the tree below `{0}` is deeper than {LEVELS_MAX} levels")]
    TooDeep(Digest),
    /// A tree whose leaves are not all as deep.
    #[error("the tree below `{0}` has leaves of different depths")]
    Uneven(Digest),
    /// A release record that cannot be read.
    #[error("the object `{key}` cannot be read: {source}")]
    Record {
        /// The object.
        key: String,
        /// What is wrong.
        source: RecordError,
    },
}

/// A node with the bytes that it took to store it, which stand for its size in memory.
#[derive(Debug)]
struct Held {
    node: Arc<Node>,
    bytes: u64,
}

impl Clone for Held {
    fn clone(&self) -> Self {
        Self { node: Arc::clone(&self.node), bytes: self.bytes }
    }
}

#[derive(Debug, Clone)]
struct ByBytes;

impl Weighter<Digest, Held> for ByBytes {
    fn weight(&self, _: &Digest, held: &Held) -> u64 {
        // A decoded entry takes about three times its encoding.
        held.bytes * 3 + 64
    }
}

/// Reads one site's objects. Nodes that were read are kept, up to a bound.
#[derive(Debug)]
pub struct Reader {
    bucket: Arc<dyn Bucket>,
    site: Site,
    nodes: Cache<Digest, Held, ByBytes>,
}

impl Reader {
    /// A reader that keeps at most `nodes_bytes_max` bytes of nodes.
    pub fn new(bucket: Arc<dyn Bucket>, site: Site, nodes_bytes_max: u64) -> Self {
        Self { bucket, site, nodes: Cache::with_weighter(1_024, nodes_bytes_max, ByBytes) }
    }

    /// The bucket.
    pub fn bucket(&self) -> &Arc<dyn Bucket> {
        &self.bucket
    }

    /// The site.
    pub fn site(&self) -> &Site {
        &self.site
    }

    /// Reads a release's record.
    ///
    /// # Errors
    /// [`ReadError::Missing`] where there is no such release; otherwise that it cannot be read.
    pub async fn release(&self, id: &ReleaseId) -> Result<Release, ReadError> {
        let key = self.site.release(id);
        let object = self.bucket.get(&key, RELEASE_BYTES_MAX).await?;
        let bytes = object.ok_or_else(|| ReadError::Missing(key.clone()))?.bytes;
        Release::decode(&bytes).map_err(|source| ReadError::Record { key, source })
    }

    /// Takes a node that is known already, for instance because it was just written.
    pub fn keep(&self, digest: Digest, bytes: &[u8]) -> Result<(), NodeError> {
        let node = Arc::new(Node::decode(bytes)?);
        self.nodes.insert(digest, Held { node, bytes: bytes.len() as u64 });
        Ok(())
    }

    /// Takes a leaf that was just written, as so many bytes.
    pub fn keep_leaf(&self, digest: Digest, leaf: &Leaf, bytes: u64) {
        let node = Arc::new(Node::Leaf(Arc::clone(leaf)));
        self.nodes.insert(digest, Held { node, bytes });
    }

    /// Reads a node.
    ///
    /// # Errors
    /// Where it is missing, corrupted or no node, or the bucket gave no answer.
    pub async fn node(&self, digest: Digest) -> Result<Arc<Node>, ReadError> {
        if let Some(held) = self.nodes.get(&digest) {
            return Ok(held.node);
        }
        let key = self.site.node(&digest);
        let object = self.bucket.get(&key, NODE_BYTES_MAX).await?;
        let bytes = object.ok_or_else(|| ReadError::Missing(key.clone()))?.bytes;
        let found = Digest::of(&bytes);
        if found != digest {
            return Err(ReadError::Corrupted { key, found });
        }
        let node = Node::decode(&bytes).map_err(|source| ReadError::Node { key, source })?;
        let node = Arc::new(node);
        self.nodes.insert(digest, Held { node: Arc::clone(&node), bytes: bytes.len() as u64 });
        Ok(node)
    }

    /// Reads nodes, many at a time, and gives them in order.
    pub(crate) async fn nodes(&self, digests: Vec<Digest>) -> Result<Vec<Arc<Node>>, ReadError> {
        let reads = digests.into_iter().map(|digest| self.node(digest));
        stream::iter(reads).buffered(READS_MAX).try_collect().await
    }

    /// What `path` serves in the manifest with this root, as far as memory says; none where it does
    /// not.
    pub fn remembered(&self, root: Digest, path: &str) -> Option<Option<Found>> {
        let mut digest = root;
        for _ in 0..LEVELS_MAX {
            match &*self.nodes.get(&digest)?.node {
                Node::Leaf(leaf) => return Some(Found::in_leaf(leaf, path)),
                Node::Inner(children) => {
                    match children.get(children.partition_point(|c| c.last.as_str() < path)) {
                        Some(child) => digest = child.node,
                        None => return Some(None),
                    }
                }
            }
        }
        None
    }

    /// What `path` serves in the manifest with this root.
    ///
    /// # Errors
    /// As for [`Reader::node`].
    pub async fn entry(&self, root: Digest, path: &str) -> Result<Option<Entry>, ReadError> {
        let mut digest = root;
        for _ in 0..LEVELS_MAX {
            match &*self.node(digest).await? {
                Node::Leaf(items) => {
                    let found = items.binary_search_by(|item| item.0.as_str().cmp(path));
                    return Ok(found.ok().map(|i| items[i].1.clone()));
                }
                Node::Inner(children) => {
                    let next = children.partition_point(|c| c.last.as_str() < path);
                    match children.get(next) {
                        Some(child) => digest = child.node,
                        None => return Ok(None),
                    }
                }
            }
        }
        Err(ReadError::TooDeep(root))
    }

    /// Every path of the manifest with this root, and what it serves.
    ///
    /// # Errors
    /// As for [`Reader::node`].
    pub async fn entries(&self, root: Digest) -> Result<BTreeMap<String, Arc<Entry>>, ReadError> {
        let mut all = BTreeMap::new();
        let mut level = vec![root];
        for _ in 0..LEVELS_MAX {
            let mut below = Vec::new();
            for node in self.nodes(level).await? {
                match &*node {
                    Node::Leaf(leaf) => {
                        all.extend(leaf.iter().map(|item| (item.0.clone(), Arc::new(item.1.clone()))));
                    }
                    Node::Inner(children) => below.extend(children.iter().map(|c| c.node)),
                }
            }
            if below.is_empty() {
                return Ok(all);
            }
            level = below;
        }
        Err(ReadError::TooDeep(root))
    }

    /// Entries of the manifest whose paths begin with `prefix`, at most `max` of them, in order.
    ///
    /// # Errors
    /// As for [`Reader::node`].
    pub async fn under(&self, root: Digest, prefix: &str, max: usize) -> Result<Vec<String>, ReadError> {
        let mut found = Vec::new();
        let mut stack = vec![(root, 0)];
        while let Some((digest, depth)) = stack.pop() {
            if depth == LEVELS_MAX {
                return Err(ReadError::TooDeep(root));
            }
            match &*self.node(digest).await? {
                Node::Leaf(items) => {
                    let from = items.partition_point(|item| item.0.as_str() < prefix);
                    let matching = items[from..].iter().take_while(|item| item.0.starts_with(prefix));
                    found.extend(matching.map(|item| item.0.clone()).take(max - found.len()));
                }
                Node::Inner(children) => {
                    let from = children.partition_point(|c| c.last.as_str() < prefix);
                    let mut upto = from;
                    // The first child whose last path is past the prefix may still begin with it.
                    while upto < children.len() {
                        upto += 1;
                        let last = &children[upto - 1].last;
                        if !last.starts_with(prefix) && last.as_str() > prefix {
                            break;
                        }
                    }
                    stack.extend(children[from..upto].iter().rev().map(|c| (c.node, depth + 1)));
                }
            }
            if found.len() >= max {
                break;
            }
        }
        Ok(found)
    }

    /// Reads one coding of some content whole, and checks it.
    ///
    /// # Errors
    /// [`ReadError::Corrupted`] where the bytes are others than the digest says; otherwise that they
    /// cannot be had. Beyond [`OBJECT_BYTES_MAX`], use [`Reader::chunk`].
    pub async fn content(&self, content: &Content, coding: &Coding) -> Result<Bytes, ReadError> {
        let key = self.site.blob(&content.blob);
        if coding.length > OBJECT_BYTES_MAX {
            return Err(BucketError::TooLarge { key, max: OBJECT_BYTES_MAX }.into());
        }
        self.range(key, coding.offset, coding.length, coding.digest).await
    }

    /// Reads the `index`th piece of one coding, and checks it. A coding without pieces of its own is
    /// one piece.
    ///
    /// # Errors
    /// As for [`Reader::content`].
    pub async fn chunk(&self, content: &Content, coding: &Coding, index: usize) -> Result<Bytes, ReadError> {
        let key = self.site.blob(&content.blob);
        let Some(digest) = coding.chunks.get(index) else { return self.content(content, coding).await };
        let from = index as u64 * CHUNK_BYTES;
        let length = CHUNK_BYTES.min(coding.length.saturating_sub(from));
        self.range(key, coding.offset + from, length, *digest).await
    }

    async fn range(&self, key: String, offset: u64, length: u64, digest: Digest) -> Result<Bytes, ReadError> {
        let bytes = if length == 0 {
            Bytes::new()
        } else {
            let range = offset..offset + length;
            self.bucket.get_range(&key, range).await?.ok_or_else(|| ReadError::Missing(key.clone()))?
        };
        let found = Digest::of(&bytes);
        if found == digest { Ok(bytes) } else { Err(ReadError::Corrupted { key, found }) }
    }
}
