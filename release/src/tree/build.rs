//! Cutting items that come in order into nodes.

use super::{CUT_BITS, Child, ITEMS_MAX, inner_serves};
use crate::Digest;

/// Something with a path that lies in a leaf.
pub(crate) trait Item {
    fn path(&self) -> &str;
}

/// Makes nodes of what belongs together.
pub(crate) trait Make<I> {
    /// Makes a leaf. The digests are the node's and of what it serves.
    fn leaf(&mut self, items: Vec<I>) -> (Digest, Digest);
    /// Makes an inner node.
    fn inner(&mut self, children: &[Child]) -> Digest;
}

/// Items that come in order, cut into nodes by their paths alone.
pub(crate) struct Builder<I, M> {
    make: M,
    /// Items of the leaf that has not ended.
    leaf: Vec<I>,
    /// Children of the inner nodes that have not ended, the lowest first.
    inner: Vec<Vec<Child>>,
}

impl<I: Item, M: Make<I>> Builder<I, M> {
    pub(crate) fn new(make: M) -> Self {
        Self { make, leaf: Vec::new(), inner: Vec::new() }
    }

    /// Takes the next item.
    pub(crate) fn item(&mut self, item: I) {
        let bits = bits(item.path());
        self.leaf.push(item);
        if bits >= CUT_BITS || self.leaf.len() == ITEMS_MAX {
            self.end_leaf(bits);
        }
    }

    /// Whether a node of this height (0 for a leaf) would begin with the next item.
    pub(crate) fn begins(&self, height: usize) -> bool {
        self.leaf.is_empty() && self.inner.iter().take(height).all(Vec::is_empty)
    }

    /// Takes a node of this height as it is, where one would begin anyway.
    pub(crate) fn node(&mut self, height: usize, node: Child) {
        let bits = bits(&node.last);
        self.push(height, node, bits);
    }

    /// Ends all nodes. The digest is the root's, which may have one child alone.
    pub(crate) fn finish(mut self) -> (Digest, M) {
        if !self.leaf.is_empty() || self.inner.is_empty() {
            self.end_leaf(0);
        }
        let mut height = 0;
        loop {
            match &self.inner[height][..] {
                [top] if height + 1 == self.inner.len() => return (top.node, self.make),
                [] => {}
                _ => self.end_inner(height, 0),
            }
            height += 1;
        }
    }

    fn end_leaf(&mut self, bits: u32) {
        let items = std::mem::take(&mut self.leaf);
        let (last, paths) = (items.last().map_or("", Item::path).to_owned(), items.len() as u64);
        let (node, served) = self.make.leaf(items);
        self.push(0, Child { last, node, paths, served }, bits);
    }

    /// Ends the node above those of `height`.
    fn end_inner(&mut self, height: usize, bits: u32) {
        let children = std::mem::take(&mut self.inner[height]);
        let Some(last) = children.last() else { return };
        let child = Child {
            last: last.last.clone(),
            node: self.make.inner(&children),
            paths: children.iter().map(|c| c.paths).sum(),
            served: inner_serves(&children),
        };
        self.push(height + 1, child, bits);
    }

    fn push(&mut self, height: usize, node: Child, bits: u32) {
        if self.inner.len() <= height {
            self.inner.resize_with(height + 1, Vec::new);
        }
        self.inner[height].push(node);
        if bits >= CUT_BITS * (height as u32 + 2) || self.inner[height].len() == ITEMS_MAX {
            self.end_inner(height, bits);
        }
    }
}

fn bits(path: &str) -> u32 {
    Digest::of(path.as_bytes()).trailing_zero_bits()
}
