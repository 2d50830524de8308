//! What is different now: the values of nodes, which contents and outputs have read one that differs.
//!
//! After most saves an index finds what is to be looked at. Where there is none, or where it says no more than all, all is.

use rayon::prelude::*;

use super::index::Index;
use super::nodes::{Nodes, Slot};
use super::{ContentName, Graph, Reads};
use crate::job::Job;
use crate::kept::{Tags, Touched};
use crate::reads::Node;
use crate::site::Site;
use crate::view::{Contents, View};

impl Graph {
    /// Which jobs must run of a plan that is the one of before: each has a record, and is in its place.
    pub(super) fn wanted_again(&mut self, jobs: usize, since: Option<u64>) -> Vec<bool> {
        let differing = Differing::of(&self.nodes);
        let mut wanted = vec![true; jobs];
        for record in self.records.values_mut() {
            record.valid &= !differing.any(&record.reads);
            if let Some(index) = self.index.as_mut().filter(|_| !record.valid) {
                index.invalid.insert(record.place);
            }
            if let Some(wanted) = wanted.get_mut(record.place as usize) {
                *wanted = record.is_wanted(since);
            }
        }
        wanted
    }

    /// As [`Graph::wanted_again`], with a look at those alone that may have read what is different; none where that is not
    /// known, or where more than what differs is wanted.
    pub(super) fn few_wanted_again(
        &mut self,
        site: &Site,
        jobs: &[Job],
        since: Option<u64>,
    ) -> Option<Vec<bool>> {
        // What was not valid when the index was made is among what it finds.
        let index = self.index.as_mut().filter(|_| since.is_some() && self.past.last() == since)?;
        for place in index.outputs()? {
            let record = self.records.get_mut(&jobs.get(place as usize)?.name(site))?;
            if record.place == place && record.reads.any_of(&index.changed) {
                record.valid = false;
                index.invalid.insert(place);
            }
        }
        let mut wanted = vec![false; jobs.len()];
        for place in &index.invalid {
            *wanted.get_mut(*place as usize)? = true;
        }
        Some(wanted)
    }

    /// What finds what a save touches.
    pub(super) fn indexed(&mut self) -> Index {
        let outputs = self.records.values().map(|record| (record.place, &record.reads));
        let contents = self.contents.iter().map(|(name, content)| (name, &content.reads));
        let mut index = Index::of(&mut self.nodes, outputs, contents);
        let invalid = self.records.values().filter(|record| !record.valid);
        index.invalid = invalid.map(|record| record.place).collect();
        index
    }

    pub(super) fn forget_changes(&mut self) {
        for id in self.index.iter_mut().flat_map(|index| index.changed.drain(..)) {
            if let Some(slot) = self.nodes.get_mut(id) {
                slot.changed = false;
            }
        }
    }

    /// Takes the value of each node of a kind again, where it may differ.
    pub(super) fn look(
        &mut self,
        view: &View<'_>,
        touched: Option<&Touched>,
        of_kind: impl Fn(&Node) -> bool + Sync,
    ) {
        let Some((index, touched)) = self.index.as_mut().zip(touched) else {
            return look(&mut self.nodes, view, &self.contents, touched, of_kind);
        };
        let (nodes, contents) = (&self.nodes, &self.contents);
        let look = |id: u32| {
            let slot = nodes.get(id).filter(|slot| of_kind(&slot.node))?;
            let may_differ = slot.value().is_none() || touched.may_differ(&slot.node);
            may_differ.then(|| (id, view.value(&slot.node, contents)))
        };
        let looked: Vec<_> = index.touched(touched).into_par_iter().filter_map(look).collect();
        for (id, now) in looked {
            let Some(slot) = self.nodes.get_mut(id) else { continue };
            if now.is_none() || now != slot.value() {
                slot.changed = true;
                index.changed.push(id);
            }
            slot.set_value(now);
            index.unvalued.extend(now.is_none().then_some(id));
        }
        index.changed.sort_unstable();
        if cfg!(debug_assertions) {
            let slots = self.nodes.iter().map(|(_, slot)| slot);
            for slot in slots.filter(|slot| of_kind(&slot.node) && slot.value().is_some()) {
                debug_assert_eq!(
                    slot.value(),
                    view.value(&slot.node, &self.contents),
                    "{} differs",
                    slot.node
                );
            }
        }
    }

    /// Contents that read what changed.
    pub(super) fn changed_contents(&self) -> Vec<ContentName> {
        if let Some(index) = &self.index
            && let Some(mut names) = index.contents()
        {
            let known = |name: &ContentName| self.contents.get(name);
            names.retain(|name| known(name).is_some_and(|content| content.reads.any_of(&index.changed)));
            return names;
        }
        let differing = Differing::of(&self.nodes);
        let contents = self.contents.iter().filter(|(_, content)| differing.any(&content.reads));
        contents.map(|(name, _)| name.clone()).collect()
    }

    /// Takes the values of nodes that have none.
    pub(super) fn value_new(&mut self, view: &View<'_>) {
        let contents = &self.contents;
        let Some(index) = &mut self.index else {
            self.nodes.par_iter_mut().filter(|slot| slot.value().is_none()).for_each(|slot| {
                slot.set_value(view.value(&slot.node, contents));
            });
            return;
        };
        index.unvalued.sort_unstable();
        index.unvalued.dedup();
        index.unvalued.retain(|id| {
            self.nodes.get_mut(*id).is_some_and(|slot| {
                slot.set_value(slot.value().or_else(|| view.value(&slot.node, contents)));
                slot.value().is_none()
            })
        });
    }
}

/// Takes the value of each node of a kind again, where it may differ.
fn look(
    nodes: &mut Nodes,
    view: &View<'_>,
    contents: &Contents,
    touched: Option<&Touched>,
    of_kind: impl Fn(&Node) -> bool + Sync,
) {
    let touched = touched.map(|touched| (touched, Tags::from_iter(touched.tags())));
    nodes.par_iter_mut().filter(|slot| of_kind(&slot.node)).for_each(|slot| {
        let may_differ = |slot: &Slot| match &touched {
            Some((touched, tags)) => tags.has(slot.tag) && touched.may_differ(&slot.node),
            None => true,
        };
        if slot.value().is_some() && !may_differ(slot) {
            debug_assert_eq!(slot.value(), view.value(&slot.node, contents), "{} differs", slot.node);
            slot.changed = false;
            return;
        }
        let now = view.value(&slot.node, contents);
        slot.changed = now.is_none() || now != slot.value();
        slot.set_value(now);
    });
}

/// Which nodes are different: how many of those before each number, so that a run of numbers takes one look.
pub(super) struct Differing(Vec<u32>);

impl Differing {
    pub(super) fn of(nodes: &Nodes) -> Self {
        let mut before = Vec::with_capacity(nodes.end() + 1);
        let mut count = 0;
        before.push(count);
        for id in 0..nodes.end() as u32 {
            count += u32::from(nodes.get(id).is_none_or(|slot| slot.changed));
            before.push(count);
        }
        Self(before)
    }

    /// Whether any of these is different.
    pub(super) fn any(&self, reads: &Reads) -> bool {
        let differ = |from: u32, to: u32| self.0[from as usize] != self.0[to as usize];
        reads.0.iter().any(|(first, count)| differ(*first, first + count))
    }
}

/// Whether a node's value can be told only when contents are rendered.
pub(super) fn depends_on_content(node: &Node) -> bool {
    use crate::templates::Fields;
    match node {
        Node::Page(_, fields, _)
        | Node::Section(_, fields, _)
        | Node::Members(_, fields, _)
        | Node::Term(_, _, fields, _)
        | Node::Taxonomy(_, _, fields, _) => fields.any(Fields::CONTENT),
        Node::Search(_) => true,
        _ => false,
    }
}
