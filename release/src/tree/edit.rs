//! A stored tree with some of its paths changed: only nodes on the way to them are read and written.

use std::collections::{BTreeMap, HashMap};
use std::iter::Peekable;
use std::ops::Deref;
use std::sync::Arc;

use bytes::Bytes;

use super::build::{Builder, Item, Make};
use super::{Child, LEVELS_MAX, Leaf, Node, Writer, only_child, only_child_in};
use crate::reader::{ReadError, Reader};
use crate::{Digest, Entry};

/// Paths and what they serve from now on; none for a path that is gone.
pub type Edits = BTreeMap<String, Option<Arc<Entry>>>;

/// A tree after some edits.
#[derive(Debug, Clone)]
pub struct Edited {
    /// Its root.
    pub root: Digest,
    /// Its nodes that the tree lacked before.
    pub nodes: BTreeMap<Digest, Bytes>,
    /// The leaves among them.
    pub leaves: HashMap<Digest, Leaf>,
}

/// An entry of a leaf.
#[derive(Debug, Clone)]
pub struct Found(Arc<(String, Entry)>);

impl Found {
    /// The entry of `path` in a leaf.
    pub(crate) fn in_leaf(leaf: &Leaf, path: &str) -> Option<Self> {
        let at = leaf.binary_search_by(|item| item.0.as_str().cmp(path)).ok()?;
        Some(Self(Arc::clone(&leaf[at])))
    }

    /// All entries of a leaf, in order.
    pub(crate) fn all(leaf: &Leaf) -> impl Iterator<Item = Self> {
        leaf.iter().cloned().map(Self)
    }

    /// Its path.
    pub(crate) fn path(&self) -> &str {
        &self.0.0
    }
}

impl Deref for Found {
    type Target = Entry;

    fn deref(&self) -> &Entry {
        &self.0.1
    }
}

/// An item of a leaf: one that was there before, or a new one.
enum Slot<'a> {
    Old(Arc<(String, Entry)>),
    New(&'a str, &'a Entry),
}

impl Item for Slot<'_> {
    fn path(&self) -> &str {
        match self {
            Self::Old(item) => &item.0,
            Self::New(path, _) => path,
        }
    }
}

/// Encodes the nodes of a tree, and keeps the leaves themselves beside their bytes.
#[derive(Default)]
struct Editor {
    writer: Writer,
    leaves: HashMap<Digest, Leaf>,
}

impl Make<Slot<'_>> for Editor {
    fn leaf(&mut self, items: Vec<Slot<'_>>) -> (Digest, Digest) {
        let shared = |slot| match slot {
            Slot::Old(item) => item,
            Slot::New(path, entry) => Arc::new((path.to_owned(), entry.clone())),
        };
        let leaf: Leaf = items.into_iter().map(shared).collect();
        let (digest, served) = self.writer.leaf(leaf.iter().map(|item| (item.0.as_str(), &item.1)).collect());
        self.leaves.insert(digest, leaf);
        (digest, served)
    }

    fn inner(&mut self, children: &[Child]) -> Digest {
        self.writer.inner(children)
    }
}

/// Nodes on the way to some paths.
struct Opened<'a, 'p> {
    nodes: HashMap<Digest, Arc<Node>>,
    leaves: Vec<(Leaf, &'a [&'p str])>,
    /// Levels above the leaves.
    height: usize,
}

impl Reader {
    /// What these paths serve in the tree with this root; those that serve nothing are left out. Reads
    /// the nodes on the way to them, level by level.
    ///
    /// # Errors
    /// As for [`Reader::node`].
    pub async fn found<'p>(
        &self,
        root: Digest,
        paths: impl IntoIterator<Item = &'p str>,
    ) -> Result<BTreeMap<&'p str, Found>, ReadError> {
        let mut paths: Vec<&str> = paths.into_iter().collect();
        paths.sort_unstable();
        paths.dedup();
        let mut found = BTreeMap::new();
        if paths.is_empty() {
            return Ok(found);
        }
        for (leaf, paths) in self.open(root, &paths).await?.leaves {
            found.extend(paths.iter().filter_map(|path| Some((*path, Found::in_leaf(&leaf, path)?))));
        }
        Ok(found)
    }

    /// The tree with this root after `edits`. It is the tree that would be built of all its items, but
    /// nodes that have no part in the edits are neither read nor made: those before an edit never, and
    /// of those after it the ones that now begin at another path.
    ///
    /// # Errors
    /// As for [`Reader::node`].
    pub async fn edit(&self, root: Digest, edits: &Edits) -> Result<Edited, ReadError> {
        if edits.is_empty() {
            return Ok(Edited { root, nodes: BTreeMap::new(), leaves: HashMap::new() });
        }
        let paths: Vec<&str> = edits.keys().map(String::as_str).collect();
        let opened = self.open(root, &paths).await?;
        let mut walk = Walk {
            edits: edits.iter().map(|(path, entry)| (path.as_str(), entry.as_deref())).peekable(),
            builder: Builder::new(Editor::default()),
            old: Vec::new(),
        };
        let mut stack = vec![(root, opened.height, None::<Child>, true)];
        while let Some((digest, height, child, is_last)) = stack.pop() {
            if let Some(child) = child
                && !walk.concerns(&child, is_last)
                && walk.builder.begins(height)
            {
                walk.builder.node(height, child);
                continue;
            }
            let node = match opened.nodes.get(&digest) {
                Some(node) => Arc::clone(node),
                None => self.node(digest).await?,
            };
            walk.old.push(digest);
            match &*node {
                Node::Leaf(leaf) => walk.leaf(leaf, is_last),
                Node::Inner(_) if height == 0 => return Err(ReadError::Uneven(root)),
                Node::Inner(children) => {
                    let last = children.len() - 1;
                    let below = children.iter().enumerate().rev();
                    stack.extend(below.map(|(i, c)| {
                        (c.node, height - 1, (!c.is_old()).then(|| c.clone()), is_last && i == last)
                    }));
                }
            }
        }
        let Walk { builder, old, .. } = walk;
        let (mut root, Editor { writer: Writer { mut nodes }, leaves }) = builder.finish();
        // A root with one child alone says nothing: the child is the root.
        for _ in 0..LEVELS_MAX {
            let only = match nodes.get(&root) {
                Some(bytes) => only_child_in(bytes),
                None => only_child(&*self.node(root).await?),
            };
            let Some(only) = only else { break };
            nodes.remove(&root);
            root = only;
        }
        for digest in old {
            nodes.remove(&digest);
        }
        Ok(Edited { root, nodes, leaves })
    }

    /// Reads the nodes on the way to `paths`, which are sorted and at least one.
    async fn open<'a, 'p>(&self, root: Digest, paths: &'a [&'p str]) -> Result<Opened<'a, 'p>, ReadError> {
        let (mut nodes, mut leaves) = (HashMap::new(), Vec::new());
        let mut level = vec![(root, paths)];
        for height in 0..LEVELS_MAX {
            let read = self.nodes(level.iter().map(|(digest, _)| *digest).collect()).await?;
            let mut below = Vec::new();
            for ((digest, mut paths), node) in level.into_iter().zip(read) {
                match &*node {
                    Node::Leaf(leaf) => leaves.push((Arc::clone(leaf), paths)),
                    Node::Inner(children) => {
                        for (i, child) in children.iter().enumerate() {
                            let upto = if i + 1 == children.len() {
                                paths.len()
                            } else {
                                paths.partition_point(|p| *p <= child.last.as_str())
                            };
                            let (here, rest) = paths.split_at(upto);
                            if !here.is_empty() {
                                below.push((child.node, here));
                            }
                            paths = rest;
                        }
                    }
                }
                nodes.insert(digest, node);
            }
            if below.is_empty() {
                return Ok(Opened { nodes, leaves, height });
            }
            level = below;
        }
        Err(ReadError::TooDeep(root))
    }
}

/// The old tree's items, in order, with the edits among them.
struct Walk<'e, E: Iterator<Item = (&'e str, Option<&'e Entry>)>> {
    edits: Peekable<E>,
    builder: Builder<Slot<'e>, Editor>,
    /// Nodes that were opened.
    old: Vec<Digest>,
}

impl<'e, E: Iterator<Item = (&'e str, Option<&'e Entry>)>> Walk<'e, E> {
    /// Whether the next edit falls into this node; the last one reaches beyond its last path.
    fn concerns(&mut self, child: &Child, is_last: bool) -> bool {
        self.edits.peek().is_some_and(|(path, _)| is_last || *path <= child.last.as_str())
    }

    fn leaf(&mut self, leaf: &Leaf, is_last: bool) {
        for item in leaf.iter() {
            let path = &item.0;
            while let Some(edit) = self.edits.next_if(|(p, _)| *p < path.as_str()) {
                self.edit(edit);
            }
            match self.edits.next_if(|(p, _)| *p == path.as_str()) {
                Some(edit) => self.edit(edit),
                None => self.builder.item(Slot::Old(Arc::clone(item))),
            }
        }
        while is_last && let Some(edit) = self.edits.next() {
            self.edit(edit);
        }
    }

    fn edit(&mut self, (path, entry): (&'e str, Option<&'e Entry>)) {
        if let Some(entry) = entry {
            self.builder.item(Slot::New(path, entry));
        }
    }
}
