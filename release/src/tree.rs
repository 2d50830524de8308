//! A manifest: path → entry for a whole release, kept as a Merkle tree.
//!
//! Items are sorted by path. A leaf ends after a path whose BLAKE3 ends in [`CUT_BITS`] zero bits, a
//! node of the next level after a path with twice as many, and so on; a run without such a path is
//! cut after [`ITEMS_MAX`] items. So the shape depends on the paths alone: two machines build the
//! same nodes from the same entries, and a change of one entry changes one node a level.
//!
//! An inner node names each child by two digests: one of the child's bytes, and one of what the child
//! serves, which leaves out content codings. Whoever has rendered a site knows the second without
//! having read anything, and finds by it which nodes of an earlier release to take as they are.

mod build;
mod diff;
mod edit;

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

pub(crate) use self::build::{Builder, Make};
pub use self::diff::{Diff, Rendered};
pub use self::edit::{Edited, Edits, Found};
use crate::{Digest, Entry, encode};

/// Zero bits at the end of a path's digest that end a leaf; each level above asks for as many more.
pub const CUT_BITS: u32 = 8;
/// Items after which a node is ended all the same.
pub const ITEMS_MAX: usize = 1_024;
/// Bytes of the largest node that is read: [`ITEMS_MAX`] entries of generous size.
pub const NODE_BYTES_MAX: u64 = 16 << 20;
/// Levels of the deepest tree that is read: 8 bits a level cover more paths than can exist.
pub const LEVELS_MAX: usize = 16;
/// First byte of a leaf: the version of the encoding.
const LEAF_VERSION: u8 = 1;
/// First byte of an inner node. In version 1 it did not say what its children serve.
const INNER_VERSION: u8 = 2;

/// A node of the tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Node {
    /// Paths and what they serve, sorted by path.
    Leaf(Leaf),
    /// Nodes one level below, sorted by path.
    Inner(Vec<Child>),
}

/// The items of a leaf. A leaf and what became of it by an edit share those that are in both.
pub type Leaf = Arc<[Arc<(String, Entry)>]>;

/// A node one level below.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Child {
    /// The last path in it.
    pub last: String,
    /// Its digest.
    pub node: Digest,
    /// Paths below it.
    pub paths: u64,
    /// Digest of what it serves: nodes with equal ones differ in content codings at most. A child in
    /// an inner node of version 1 has one that is equal only for equal nodes.
    pub served: Digest,
}

#[derive(Deserialize)]
enum NodeV1 {
    Leaf(Vec<(String, Entry)>),
    Inner(Vec<ChildV1>),
}

#[derive(Deserialize)]
struct ChildV1 {
    last: String,
    node: Digest,
    paths: u64,
}

/// Bytes that are not a node.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    /// Not one that this program reads.
    #[error("the node has version {0}, and this program reads versions up to {INNER_VERSION}")]
    Version(u8),
    /// Not the encoding that it should be.
    #[error("the node is damaged: {0}")]
    Damaged(#[from] postcard::Error),
    /// More than a node may hold, or not in order.
    #[error("the node is not well-formed: {0}")]
    Form(&'static str),
}

impl Node {
    /// Reads a node: a version byte, then postcard.
    ///
    /// # Errors
    /// Where the bytes are damaged, of a later version, or not in order.
    pub fn decode(bytes: &[u8]) -> Result<Self, NodeError> {
        let (&version, rest) = bytes.split_first().ok_or(NodeError::Form("it is empty"))?;
        let node = match version {
            LEAF_VERSION => match postcard::from_bytes(rest)? {
                NodeV1::Leaf(items) => Self::Leaf(items.into_iter().map(Arc::new).collect()),
                NodeV1::Inner(children) => Self::Inner(children.into_iter().map(Child::from).collect()),
            },
            INNER_VERSION => Self::Inner(postcard::from_bytes(rest)?),
            later => return Err(NodeError::Version(later)),
        };
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
        if matches!(&node, Self::Inner(children) if children.is_empty()) {
            return Err(NodeError::Form("it is an inner node without children"));
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

impl From<ChildV1> for Child {
    fn from(ChildV1 { last, node, paths }: ChildV1) -> Self {
        Self { last, node, paths, served: unknown(&node) }
    }
}

impl Child {
    /// Whether the inner node that it was read from did not say what it serves.
    fn is_old(&self) -> bool {
        self.served == unknown(&self.node)
    }
}

/// Stands for what a node serves where that is not known: equal for equal nodes, and no other.
fn unknown(node: &Digest) -> Digest {
    let mut bytes = *b"what this node serves is unknown................................";
    bytes[32..].copy_from_slice(node.as_bytes());
    Digest::of(&bytes)
}

/// What a leaf serves, by what each of its paths does.
pub(crate) fn leaf_serves(responses: impl Iterator<Item = Digest>) -> Digest {
    serves(b"leaf", responses)
}

/// What an inner node serves, by what each of its children does.
pub(crate) fn inner_serves(children: &[Child]) -> Digest {
    serves(b"inner", children.iter().map(|c| c.served))
}

fn serves(kind: &[u8], parts: impl Iterator<Item = Digest>) -> Digest {
    let mut hasher = blake3::Hasher::new();
    hasher.update(kind);
    for part in parts {
        hasher.update(part.as_bytes());
    }
    hasher.finalize().into()
}

/// A leaf that borrows its entries. It is encoded as [`NodeV1`] is.
#[derive(Serialize)]
enum LeafV1<'a> {
    Leaf(Vec<(&'a str, &'a Entry)>),
}

fn encode_leaf(items: Vec<(&str, &Entry)>) -> Bytes {
    encode(LEAF_VERSION, &LeafV1::Leaf(items))
}

fn encode_inner(children: &[Child]) -> Bytes {
    encode(INNER_VERSION, &children)
}

fn encode(version: u8, node: &impl Serialize) -> Bytes {
    Bytes::from(encode::append(vec![version], node))
}

/// A tree in memory: its root, and the bytes of all its nodes.
#[derive(Debug, Clone)]
pub struct Tree {
    /// Digest of the root node. An empty tree has a root too: a leaf of no items.
    pub root: Digest,
    /// Every node by its digest.
    pub nodes: BTreeMap<Digest, Bytes>,
}

impl Tree {
    /// Builds the tree of `items`, which a map has in order already.
    pub fn build<E: AsRef<Entry>>(items: &BTreeMap<String, E>) -> Self {
        Self::of(items.iter().map(|(path, entry)| (path.as_str(), entry.as_ref())))
    }

    /// Builds the tree of items that come in order of their paths.
    pub fn of<'a>(items: impl Iterator<Item = (&'a str, &'a Entry)>) -> Self {
        let mut builder = Builder::new(Writer::default());
        items.for_each(|item| builder.item(item));
        let (mut root, Writer { mut nodes }) = builder.finish();
        // A root with one child alone says nothing: the child is the root.
        while let Some(only) = nodes.get(&root).and_then(|bytes| only_child_in(bytes)) {
            nodes.remove(&root);
            root = only;
        }
        Self { root, nodes }
    }
}

/// The child of a node that has one alone.
fn only_child(node: &Node) -> Option<Digest> {
    match node {
        Node::Inner(children) if children.len() == 1 => children.first().map(|c| c.node),
        _ => None,
    }
}

/// As [`only_child`], of a node that was just encoded.
fn only_child_in(bytes: &[u8]) -> Option<Digest> {
    // A leaf is long to read, and known by its first byte.
    if bytes.first() == Some(&LEAF_VERSION) { None } else { only_child(&Node::decode(bytes).ok()?) }
}

/// Encodes the nodes of a tree, and keeps their bytes.
#[derive(Debug, Default)]
struct Writer {
    nodes: BTreeMap<Digest, Bytes>,
}

impl Writer {
    fn add(&mut self, bytes: Bytes) -> Digest {
        let digest = Digest::of(&bytes);
        self.nodes.insert(digest, bytes);
        digest
    }
}

impl<'a> Make<(&'a str, &'a Entry)> for Writer {
    fn leaf(&mut self, items: Vec<(&'a str, &'a Entry)>) -> (Digest, Digest) {
        let served = leaf_serves(items.iter().map(|(path, entry)| entry.response(path).digest()));
        (self.add(encode_leaf(items)), served)
    }

    fn inner(&mut self, children: &[Child]) -> Digest {
        self.add(encode_inner(children))
    }
}

impl build::Item for (&str, &Entry) {
    fn path(&self) -> &str {
        self.0
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
            policy: Arc::new(Policy { browser: "max-age=0".into(), edge: "max-age=60".into() }),
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
    fn both_versions_are_read_for_ever() {
        let leaf = include_bytes!("../fixtures/leaf-v1.bin");
        let items: BTreeMap<_, _> =
            [("a".to_owned(), entry("1")), ("b/index.html".to_owned(), entry("2"))].into();
        let tree = Tree::build(&items);
        assert_eq!(tree.nodes[&tree.root], leaf[..]);
        let Node::Leaf(read) = Node::decode(leaf).unwrap() else { panic!("not a leaf") };
        assert!(read.iter().map(|item| (&item.0, &item.1)).eq(items.iter().map(|(p, e)| (p, &**e))));

        let child = |name: &str, n: u64| Child {
            last: name.into(),
            node: Digest::of(name.as_bytes()),
            paths: n,
            served: Digest::of(&n.to_be_bytes()),
        };
        let children = vec![child("a", 3), child("b/index.html", 300)];
        let inner = include_bytes!("../fixtures/inner-v2.bin");
        assert_eq!(encode_inner(&children), inner[..]);
        assert_eq!(Node::decode(inner).unwrap(), Node::Inner(children.clone()));
        let Node::Inner(old) = Node::decode(include_bytes!("../fixtures/inner-v1.bin")).unwrap() else {
            panic!("not an inner node")
        };
        assert!(old.iter().all(Child::is_old) && !children.iter().any(Child::is_old));
        let known = |c: &Child| (c.last.clone(), c.node, c.paths);
        assert!(old.iter().map(known).eq(children.iter().map(known)));
    }

    #[test]
    fn what_a_node_serves_leaves_out_codings_alone() {
        let mut items = site(5_000);
        let top = |items: &BTreeMap<String, Arc<Entry>>| {
            let tree = Tree::build(items);
            let Node::Inner(children) = Node::decode(&tree.nodes[&tree.root]).unwrap() else { panic!() };
            (tree.root, inner_serves(&children))
        };
        let (root, served) = top(&items);
        let path = "section-3/page-3/index.html".to_owned();
        let mut recoded = Entry::clone(&items[&path]);
        recoded.content.coded.push(Coding::of(CodingName::Br, 1, b"x"));
        recoded.content.blob = Digest::of(b"another blob");
        items.insert(path.clone(), Arc::new(recoded.clone()));
        let (coded_root, coded_served) = top(&items);
        assert!(coded_root != root && coded_served == served);
        Arc::make_mut(&mut recoded.policy).edge.push('0');
        items.insert(path, Arc::new(recoded));
        assert_ne!(top(&items).1, served);
    }

    #[test]
    fn an_empty_tree_has_a_root() {
        let tree = Tree::build::<Arc<Entry>>(&BTreeMap::new());
        assert_eq!(Node::decode(&tree.nodes[&tree.root]).unwrap(), Node::Leaf(Arc::new([])));
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
                    Node::Leaf(leaf) => seen.extend(leaf.iter().map(|item| item.0.clone())),
                    Node::Inner(children) => stack.extend(children.iter().rev().map(|c| c.node)),
                }
            }
            prop_assert_eq!(seen, paths.into_iter().collect::<Vec<_>>());
        }
    }
}
