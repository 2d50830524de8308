//! A manifest: path → entry for a whole release, kept as a Merkle tree.
//!
//! Items are sorted by path. A leaf ends after a path whose BLAKE3 ends in [`CUT_BITS`] zero bits, a
//! node of the next level after a path with twice as many, and so on; a run without such a path is
//! cut after [`ITEMS_MAX`] items. So the shape depends on the paths alone: two machines build the
//! same nodes from the same entries, and a change of one entry changes one node a level.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::{Digest, Entry};

/// Zero bits at the end of a path's digest that end a leaf; each level above asks for as many more.
pub const CUT_BITS: u32 = 8;
/// Items after which a node is ended all the same.
pub const ITEMS_MAX: usize = 1_024;
/// Bytes of the largest node that is read: [`ITEMS_MAX`] entries of generous size.
pub const NODE_BYTES_MAX: u64 = 16 << 20;
/// Levels of the deepest tree that is read: 8 bits a level cover more paths than can exist.
pub const LEVELS_MAX: usize = 16;
/// First byte of every node: the version of the encoding.
const VERSION: u8 = 1;

/// A node of the tree.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Node {
    /// Paths and what they serve, sorted by path.
    Leaf(Vec<(String, Entry)>),
    /// Nodes one level below, sorted by path.
    Inner(Vec<Child>),
}

/// A node one level below.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Child {
    /// The last path in it.
    pub last: String,
    /// Its digest.
    pub node: Digest,
    /// Paths below it.
    pub paths: u64,
}

/// Bytes that are not a node.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    /// Not one that this program reads.
    #[error("the node has version {0}, and this program reads version {VERSION}")]
    Version(u8),
    /// Not the encoding that it should be.
    #[error("the node is damaged: {0}")]
    Damaged(#[from] postcard::Error),
    /// More than a node may hold, or not in order.
    #[error("the node is not well-formed: {0}")]
    Form(&'static str),
}

impl Node {
    /// The node's bytes: one version byte, then postcard. The same node always has the same bytes.
    pub fn encode(&self) -> Bytes {
        encode(self)
    }

    /// Reads a node.
    ///
    /// # Errors
    /// Where the bytes are damaged, of a later version, or not in order.
    pub fn decode(bytes: &[u8]) -> Result<Self, NodeError> {
        let (&version, rest) = bytes.split_first().ok_or(NodeError::Form("it is empty"))?;
        if version != VERSION {
            return Err(NodeError::Version(version));
        }
        let node: Self = postcard::from_bytes(rest)?;
        let (ordered, count) = match &node {
            Self::Leaf(items) => (items.is_sorted_by(|a, b| a.0 < b.0), items.len()),
            Self::Inner(children) => (children.is_sorted_by(|a, b| a.last < b.last), children.len()),
        };
        if !ordered {
            return Err(NodeError::Form("its paths are not in order"));
        }
        if count > ITEMS_MAX {
            return Err(NodeError::Form("it has too many items"));
        }
        Ok(node)
    }

    /// Paths at or below the node.
    pub fn paths(&self) -> u64 {
        match self {
            Self::Leaf(items) => items.len() as u64,
            Self::Inner(children) => children.iter().map(|c| c.paths).sum(),
        }
    }
}

fn encode(node: &impl Serialize) -> Bytes {
    // Serialising into memory cannot fail: every length is known and nothing is a map or a float.
    let bytes = postcard::to_extend(node, vec![VERSION]).unwrap_or_default();
    Bytes::from(bytes)
}

/// A tree in memory: its root, and the bytes of all its nodes.
#[derive(Debug, Clone)]
pub struct Tree {
    /// Digest of the root node. An empty tree has a root too: a leaf of no items.
    pub root: Digest,
    /// Every node by its digest.
    pub nodes: BTreeMap<Digest, Bytes>,
    /// Digests of the nodes below each inner node, for walking without decoding.
    pub below: BTreeMap<Digest, Vec<Digest>>,
}

/// A node that borrows its entries. It is encoded as a [`Node`] is: the names and the order of the
/// variants are the same.
#[derive(Serialize)]
enum Borrowed<'a> {
    Leaf(Vec<(&'a str, &'a Entry)>),
    Inner(Vec<Child>),
}

impl Tree {
    /// Builds the tree of `items`, which a map has in order already.
    pub fn build<E: AsRef<Entry>>(items: &BTreeMap<String, E>) -> Self {
        let mut tree =
            Self { root: Digest::from_bytes([0; 32]), nodes: BTreeMap::new(), below: BTreeMap::new() };
        let mut level: Vec<(Child, u32)> = Vec::new();
        let mut leaf: Vec<(&str, &Entry)> = Vec::new();
        for (path, entry) in items {
            let bits = Digest::of(path.as_bytes()).trailing_zero_bits();
            leaf.push((path, entry.as_ref()));
            if bits >= CUT_BITS || leaf.len() == ITEMS_MAX {
                level.push((tree.add(Borrowed::Leaf(std::mem::take(&mut leaf)), path), bits));
            }
        }
        if let Some((last, _)) = leaf.last() {
            let last = *last;
            level.push((tree.add(Borrowed::Leaf(leaf), last), 0));
        }
        if level.is_empty() {
            level.push((tree.add(Borrowed::Leaf(Vec::new()), ""), 0));
        }
        let mut cut = CUT_BITS;
        while level.len() > 1 {
            cut += CUT_BITS;
            let mut above = Vec::new();
            let mut children: Vec<Child> = Vec::new();
            let count = level.len();
            for (i, (child, bits)) in level.into_iter().enumerate() {
                let last = child.last.clone();
                children.push(child);
                if bits >= cut || children.len() == ITEMS_MAX || i + 1 == count {
                    above.push((tree.add(Borrowed::Inner(std::mem::take(&mut children)), &last), bits));
                }
            }
            level = above;
        }
        if let Some((top, _)) = level.pop() {
            tree.root = top.node;
        }
        tree
    }

    fn add(&mut self, node: Borrowed<'_>, last: &str) -> Child {
        let bytes = encode(&node);
        let digest = Digest::of(&bytes);
        let paths = match &node {
            Borrowed::Leaf(items) => items.len() as u64,
            Borrowed::Inner(children) => children.iter().map(|c| c.paths).sum(),
        };
        if let Borrowed::Inner(children) = &node {
            self.below.insert(digest, children.iter().map(|c| c.node).collect());
        }
        self.nodes.insert(digest, bytes);
        Child { last: last.to_owned(), node: digest, paths }
    }
}

/// What differs between two releases.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Diff {
    /// Paths that only the later one has.
    pub added: Vec<String>,
    /// Paths whose entries differ in more than their content codings.
    pub changed: Vec<String>,
    /// Paths that only the earlier one has.
    pub removed: Vec<String>,
}

impl Diff {
    /// Whether both serve the same.
    pub fn is_empty(&self) -> bool {
        self.added.is_empty() && self.changed.is_empty() && self.removed.is_empty()
    }

    /// All paths that differ.
    pub fn paths(&self) -> impl Iterator<Item = &str> {
        self.added.iter().chain(&self.changed).chain(&self.removed).map(String::as_str)
    }

    /// How many differ.
    pub fn len(&self) -> usize {
        self.added.len() + self.changed.len() + self.removed.len()
    }

    /// Compares entries that are all in memory.
    pub fn between(before: &BTreeMap<String, Arc<Entry>>, after: &BTreeMap<String, Arc<Entry>>) -> Self {
        let mut diff = Self::default();
        let mut old = before.iter().peekable();
        for (path, entry) in after {
            while let Some((gone, _)) = old.next_if(|(p, _)| *p < path) {
                diff.removed.push(gone.clone());
            }
            match old.next_if(|(p, _)| *p == path) {
                Some((_, earlier)) if Arc::ptr_eq(earlier, entry) || earlier.same_response(entry) => {}
                Some(_) => diff.changed.push(path.clone()),
                None => diff.added.push(path.clone()),
            }
        }
        diff.removed.extend(old.map(|(p, _)| p.clone()));
        diff
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::{Coding, CodingName, Content, Policy};
    use proptest::prelude::*;

    pub(crate) fn entry(text: &str) -> Arc<Entry> {
        let identity = Coding::of(CodingName::Identity, 0, text.as_bytes());
        Arc::new(Entry {
            status: 200,
            fields: vec![("content-type".into(), "text/plain".into())],
            content: Content { blob: identity.digest, identity, coded: vec![] },
            groups: vec![],
            policy: Policy { browser: "max-age=0".into(), edge: "max-age=60".into() },
        })
    }

    pub(crate) fn site(paths: usize) -> BTreeMap<String, Arc<Entry>> {
        (0..paths)
            .map(|i| (format!("section-{}/page-{i}/index.html", i % 7), entry(&i.to_string())))
            .collect()
    }

    #[test]
    fn a_change_of_one_entry_changes_one_node_a_level() {
        let mut items = site(5_000);
        let before = Tree::build(&items);
        items.insert("section-3/page-3/index.html".into(), entry("changed"));
        let after = Tree::build(&items);
        let new = after.nodes.keys().filter(|d| !before.nodes.contains_key(*d)).count();
        assert!(before.nodes.len() > 10, "{}", before.nodes.len());
        assert!(new <= 3, "{new} new nodes");
    }

    #[test]
    fn nodes_that_borrow_are_encoded_as_nodes_that_own() {
        let tree = Tree::build(&site(3_000));
        for bytes in tree.nodes.values() {
            assert_eq!(Node::decode(bytes).unwrap().encode(), bytes);
        }
    }

    #[test]
    fn an_empty_tree_has_a_root() {
        let tree = Tree::build::<Arc<Entry>>(&BTreeMap::new());
        assert_eq!(Node::decode(&tree.nodes[&tree.root]).unwrap(), Node::Leaf(vec![]));
    }

    #[test]
    fn damage_and_later_versions_are_errors() {
        let tree = Tree::build(&site(3));
        let bytes = tree.nodes[&tree.root].to_vec();
        assert!(matches!(Node::decode(&[]), Err(NodeError::Form(_))));
        assert!(matches!(Node::decode(&[9, 0]), Err(NodeError::Version(9))));
        for cut in 1..bytes.len() {
            assert!(Node::decode(&bytes[..cut]).is_err(), "cut at {cut}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn hostile_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = Node::decode(&bytes);
        }

        #[test]
        fn every_item_is_found_in_order(paths in proptest::collection::btree_set("[a-d]{1,6}", 0..600)) {
            let items: BTreeMap<_, _> = paths.iter().map(|p| (p.clone(), entry(p))).collect();
            let tree = Tree::build(&items);
            let mut seen = Vec::new();
            let mut stack = vec![tree.root];
            while let Some(digest) = stack.pop() {
                match Node::decode(&tree.nodes[&digest]).unwrap() {
                    Node::Leaf(leaf) => seen.extend(leaf.into_iter().map(|(p, _)| p)),
                    Node::Inner(children) => stack.extend(children.iter().rev().map(|c| c.node)),
                }
            }
            prop_assert_eq!(seen, paths.into_iter().collect::<Vec<_>>());
        }
    }
}
