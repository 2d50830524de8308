//! What differs between two manifests, found by reading only the nodes that differ.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::build::{Builder, Item, Make};
use super::{Child, Found, LEVELS_MAX, Node, inner_serves, leaf_serves};
use crate::reader::{ReadError, Reader};
use crate::{Digest, Entry};

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

/// What a render serves, path by path, before it is known which content codings an earlier release has
/// of it: the inner side of a manifest that may never be written.
#[derive(Debug)]
pub struct Rendered {
    root: Digest,
    nodes: HashMap<Digest, Served>,
}

/// A node by what it serves.
#[derive(Debug, Clone)]
enum Served {
    /// Paths, and the digests of what they answer.
    Leaf(Vec<(String, Digest)>),
    Inner(Vec<Digest>),
}

impl Rendered {
    /// Builds it of the digests of what paths answer ([`Response::digest`](crate::entry::Response::digest)).
    pub fn new(responses: BTreeMap<String, Digest>) -> Self {
        let mut builder = Builder::new(Nodes::default());
        responses.into_iter().for_each(|item| builder.item(item));
        let (mut root, Nodes(nodes)) = builder.finish();
        // A root with one child alone says nothing: the child is the root.
        while let Some(Served::Inner(below)) = nodes.get(&root)
            && let [only] = below[..]
        {
            root = only;
        }
        Self { root, nodes }
    }
}

#[derive(Default)]
struct Nodes(HashMap<Digest, Served>);

impl Make<(String, Digest)> for Nodes {
    fn leaf(&mut self, items: Vec<(String, Digest)>) -> (Digest, Digest) {
        let served = leaf_serves(items.iter().map(|(_, response)| *response));
        self.0.insert(served, Served::Leaf(items));
        (served, served)
    }

    fn inner(&mut self, children: &[Child]) -> Digest {
        let served = inner_serves(children);
        self.0.insert(served, Served::Inner(children.iter().map(|c| c.served).collect()));
        served
    }
}

impl Item for (String, Digest) {
    fn path(&self) -> &str {
        &self.0
    }
}

/// A node on one side of a comparison.
#[derive(Clone, Copy)]
struct Side {
    node: Digest,
    /// What it serves; not known of a stored root.
    served: Option<Digest>,
}

/// The nodes of one level on one side, opened.
enum Level<'r> {
    Leaves(Vec<Answer<'r>>),
    Inner(Vec<Side>),
}

/// What a path answers.
enum Answer<'r> {
    Stored(Found),
    Rendered(&'r (String, Digest)),
}

impl Answer<'_> {
    fn path(&self) -> &str {
        match self {
            Self::Stored(found) => found.path(),
            Self::Rendered((path, _)) => path,
        }
    }

    fn digest(&self) -> Digest {
        match self {
            Self::Stored(found) => found.response(found.path()).digest(),
            Self::Rendered((_, response)) => *response,
        }
    }

    /// Whether another one at the same path is the same.
    fn is(&self, other: &Self) -> bool {
        match (self, other) {
            // Cheaper than digests of both.
            (Self::Stored(own), Self::Stored(others)) => own.same_response(others),
            _ => self.digest() == other.digest(),
        }
    }
}

impl Reader {
    /// What differs between two manifests; reads only the nodes that differ in more than content
    /// codings.
    ///
    /// # Errors
    /// As for [`Reader::node`].
    pub async fn diff(&self, before: Digest, after: Digest) -> Result<Diff, ReadError> {
        if before == after {
            return Ok(Diff::default());
        }
        self.compare(before, after, None).await
    }

    /// What differs between a manifest and what was rendered; reads only the nodes that differ in more
    /// than content codings.
    ///
    /// # Errors
    /// As for [`Reader::node`].
    pub async fn diff_rendered(&self, before: Digest, after: &Rendered) -> Result<Diff, ReadError> {
        self.compare(before, after.root, Some(after)).await
    }

    async fn compare(
        &self,
        before: Digest,
        after: Digest,
        rendered: Option<&Rendered>,
    ) -> Result<Diff, ReadError> {
        let mut old = vec![Side { node: before, served: None }];
        let mut new = vec![Side { node: after, served: rendered.map(|_| after) }];
        for _ in 0..LEVELS_MAX {
            // What both have is done with. A level that only one side has is opened until both are
            // at their leaves.
            (old, new) = unshared(&old, &new);
            let (a, b) = futures_util::try_join!(self.stored(&old), async {
                match rendered {
                    Some(rendered) => Ok(rendered.level(&new)),
                    None => self.stored(&new).await,
                }
            })?;
            match (a, b) {
                (Level::Leaves(a), Level::Leaves(b)) => return Ok(leaves(a, b)),
                (Level::Inner(a), Level::Inner(b)) => (old, new) = (a, b),
                (Level::Inner(a), Level::Leaves(_)) => old = a,
                (Level::Leaves(_), Level::Inner(b)) => new = b,
            }
        }
        Err(ReadError::TooDeep(after))
    }

    /// Reads nodes of one level.
    async fn stored(&self, sides: &[Side]) -> Result<Level<'static>, ReadError> {
        let mut paths = Vec::new();
        let mut inner = Vec::new();
        for node in self.nodes(sides.iter().map(|s| s.node).collect()).await? {
            match &*node {
                Node::Leaf(leaf) => paths.extend(Found::all(leaf).map(Answer::Stored)),
                Node::Inner(children) => {
                    inner.extend(children.iter().map(|c| Side { node: c.node, served: Some(c.served) }));
                }
            }
        }
        Ok(if inner.is_empty() { Level::Leaves(paths) } else { Level::Inner(inner) })
    }
}

impl Rendered {
    fn level(&self, sides: &[Side]) -> Level<'_> {
        let mut paths = Vec::new();
        let mut inner = Vec::new();
        for served in sides.iter().filter_map(|side| self.nodes.get(&side.node)) {
            match served {
                Served::Leaf(items) => paths.extend(items.iter().map(Answer::Rendered)),
                Served::Inner(below) => {
                    inner.extend(below.iter().map(|d| Side { node: *d, served: Some(*d) }));
                }
            }
        }
        if inner.is_empty() { Level::Leaves(paths) } else { Level::Inner(inner) }
    }
}

/// The nodes that only one side has.
fn unshared(old: &[Side], new: &[Side]) -> (Vec<Side>, Vec<Side>) {
    let only = |these: &[Side], those: &[Side]| {
        let those: HashSet<Digest> = those.iter().filter_map(|s| s.served).collect();
        these.iter().filter(|s| s.served.is_none_or(|served| !those.contains(&served))).copied().collect()
    };
    (only(old, new), only(new, old))
}

fn leaves<'r>(mut before: Vec<Answer<'r>>, mut after: Vec<Answer<'r>>) -> Diff {
    // They are in order, unless whoever wrote the tree was not one of us.
    for side in [&mut before, &mut after] {
        side.sort_by(|a, b| a.path().cmp(b.path()));
    }
    let mut diff = Diff::default();
    let mut old = before.iter().peekable();
    for new in &after {
        while let Some(gone) = old.next_if(|old| old.path() < new.path()) {
            diff.removed.push(gone.path().to_owned());
        }
        match old.next_if(|old| old.path() == new.path()) {
            Some(old) if old.is(new) => {}
            Some(_) => diff.changed.push(new.path().to_owned()),
            None => diff.added.push(new.path().to_owned()),
        }
    }
    diff.removed.extend(old.map(|gone| gone.path().to_owned()));
    diff
}
