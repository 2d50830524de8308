//! What is told of a graph to who will read it.
//!
//! Others learn nothing of the environment, not even as digests, nor of what was read beside it: a name can be made of a
//! value. Who has asked the environment is rendered again by them anyway, so that costs nothing.

use std::borrow::Cow;

use super::{Graph, Reads};
use crate::reads::Node;

/// What of a graph is told.
pub(crate) struct Told {
    /// The variables of the environment that are not, in order.
    secret: Vec<u32>,
    /// By number, whether a node is; none where all are.
    has: Option<Vec<bool>>,
}

impl Told {
    /// To the owner, of whom the environment is.
    pub(crate) const ALL: Self = Self { secret: Vec::new(), has: None };

    /// To all who may read the site's bucket.
    pub(crate) fn to_others(graph: &Graph) -> Self {
        let variables = graph.nodes.iter().filter(|(_, slot)| matches!(slot.node, Node::Environment(_)));
        let secret: Vec<u32> = variables.map(|(id, _)| id).collect();
        if secret.is_empty() {
            return Self::ALL;
        }
        let told = Self { secret, has: None };
        let mut has = vec![false; graph.nodes.end()];
        let contents = graph.contents.values().map(|content| &content.reads);
        for reads in contents.chain(graph.records.values().map(|record| &record.reads)) {
            for (first, count) in &told.of(reads).0 {
                has[*first as usize..(first + count) as usize].fill(true);
            }
        }
        Self { has: Some(has), ..told }
    }

    /// Whether a node is told.
    pub(super) fn has(&self, id: u32) -> bool {
        self.has.as_ref().is_none_or(|has| has[id as usize])
    }

    /// Whether its value is not.
    pub(super) fn is_secret(&self, id: u32) -> bool {
        self.secret.binary_search(&id).is_ok()
    }

    /// What is told of reads: of those with a variable of the environment, only that.
    pub(super) fn of<'a>(&self, reads: &'a Reads) -> Cow<'a, Reads> {
        if !reads.any_of(&self.secret) {
            return Cow::Borrowed(reads);
        }
        Cow::Owned(Reads::new(self.secret.iter().copied().filter(|id| reads.any_of(&[*id])).collect()))
    }
}
