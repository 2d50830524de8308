//! What finds the few nodes, contents and outputs that a save touches, without a look at all of them.
//!
//! Made once, when the first save comes to a running renderer, and kept up to date while nothing but saves follows. What it
//! finds may be more than is there, never less: whoever asks looks at what was found. So nothing is ever taken out of it,
//! and when much was added it is made anew.

use std::collections::{BTreeSet, HashMap};

use super::nodes::Nodes;
use super::{ContentName, Reads};
use crate::kept::{self, Touched};
use crate::reads::Node;

/// Readers of a node that are listed. Where one of more is different a look at all of them costs less than what follows.
const READERS_MAX: u32 = 64;

/// Additions before an index may be made anew; as many as it had when it was made, where that is more.
const ADDED_MIN: usize = 100_000;

/// See the module's words.
pub(super) struct Index {
    /// Nodes by tag; not those whose values no save touches.
    tagged: Lists,
    /// Places of outputs, and numbers of contents, by the node that they read.
    outputs: Lists,
    contents: Lists,
    names: Vec<ContentName>,
    /// Whether the readers of a node are listed; those of nodes with later numbers are.
    listed: Vec<bool>,
    /// Nodes that have no value.
    pub(super) unvalued: Vec<u32>,
    /// Nodes that were different when they were looked at last.
    pub(super) changed: Vec<u32>,
    /// Places of outputs that are to be made again.
    pub(super) invalid: BTreeSet<u32>,
}

/// Who read a node.
#[derive(Clone, Copy)]
pub(super) enum Reader<'a> {
    /// The output in this place of the plan.
    Output(u32),
    Content(&'a ContentName),
}

impl Index {
    /// That of these nodes, none of which counts as different any more, of what each output in its place read, and each
    /// content.
    pub(super) fn of<'a>(
        nodes: &mut Nodes,
        outputs: impl Iterator<Item = (u32, &'a Reads)> + Clone,
        contents: impl Iterator<Item = (&'a ContentName, &'a Reads)> + Clone,
    ) -> Self {
        nodes.forget_changes();
        let kinds = || nodes.iter().filter(|(_, slot)| slot.tag != kept::ELSE);
        let mut listed = vec![false; nodes.end()];
        kinds().for_each(|(id, slot)| listed[id as usize] = slot.uses() <= READERS_MAX);
        // From each node to the next one that is listed: a run of many others takes no longer than one of few.
        let mut next = vec![nodes.end() as u32; nodes.end() + 1];
        for id in (0..nodes.end()).rev() {
            next[id] = if listed[id] { id as u32 } else { next[id + 1] };
        }
        let listed_in = |reads: &'a Reads| {
            let next = &next;
            reads.0.iter().flat_map(move |(first, count)| {
                let begin = next[*first as usize];
                let all = std::iter::successors(Some(begin), |id| next.get(*id as usize + 1).copied());
                all.take_while(move |id| *id < first + count)
            })
        };
        let of_outputs =
            || outputs.clone().flat_map(|(place, reads)| listed_in(reads).map(move |id| (id, place)));
        let numbered = (0_u32..).zip(contents.clone());
        let of_contents = || {
            let numbered = numbered.clone();
            numbered.flat_map(|(number, (_, reads))| listed_in(reads).map(move |id| (id, number)))
        };
        Self {
            tagged: Lists::of(1 << 16, || kinds().map(|(id, slot)| (u32::from(slot.tag), id))),
            outputs: Lists::of(nodes.end(), of_outputs),
            contents: Lists::of(nodes.end(), of_contents),
            names: contents.map(|(name, _)| name.clone()).collect(),
            unvalued: nodes.iter().filter(|(_, slot)| slot.value().is_none()).map(|(id, _)| id).collect(),
            changed: Vec::new(),
            invalid: BTreeSet::new(),
            listed,
        }
    }

    /// Whether so much was added that it is to be made anew.
    pub(super) fn is_worn(&self) -> bool {
        let lists = [&self.tagged, &self.outputs, &self.contents];
        let (made, added) =
            lists.iter().fold((0, 0), |(made, added), l| (made + l.items.len(), added + l.added));
        added > made.max(ADDED_MIN)
    }

    /// There is a new node.
    pub(super) fn add(&mut self, id: u32, node: &Node) {
        let tag = kept::tag(node);
        if tag != kept::ELSE {
            self.tagged.add(tag.into(), id);
        }
        if let Some(listed) = self.listed.get_mut(id as usize) {
            *listed = true;
        }
        self.unvalued.push(id);
    }

    /// Something has read these nodes.
    pub(super) fn note(&mut self, reads: &[u32], reader: Reader<'_>) {
        let (lists, reader) = match reader {
            Reader::Output(place) => (&mut self.outputs, place),
            Reader::Content(name) => {
                self.names.push(name.clone());
                self.contents.added += 1;
                (&mut self.contents, (self.names.len() - 1) as u32)
            }
        };
        let listed = |id: &&u32| self.listed.get(**id as usize).is_none_or(|listed| *listed);
        reads.iter().filter(listed).for_each(|id| lists.add(*id, reader));
    }

    /// Nodes whose value may be another one, in order.
    pub(super) fn touched(&self, touched: &Touched) -> Vec<u32> {
        let tagged = touched.tags().flat_map(|tag| self.tagged.of_key(tag.into()));
        sorted(tagged.chain(self.unvalued.iter().copied()))
    }

    /// Nodes that say something to whoever renders.
    pub(super) fn said(&self) -> Vec<u32> {
        sorted(self.tagged.of_key(kept::SAID.into()))
    }

    /// Outputs that may have read a node that is different, by place; none where these are not listed.
    pub(super) fn outputs(&self) -> Option<Vec<u32>> {
        self.readers(&self.outputs)
    }

    /// Contents that may have read a node that is different; none where these are not listed.
    pub(super) fn contents(&self) -> Option<Vec<ContentName>> {
        let numbers = self.readers(&self.contents)?;
        let mut names: Vec<_> = numbers.into_iter().map(|n| self.names[n as usize].clone()).collect();
        names.sort_unstable();
        names.dedup();
        Some(names)
    }

    fn readers(&self, lists: &Lists) -> Option<Vec<u32>> {
        let listed = |id: &u32| self.listed.get(*id as usize).is_none_or(|listed| *listed);
        let all_listed = self.changed.iter().all(listed);
        all_listed.then(|| sorted(self.changed.iter().flat_map(|id| lists.of_key(*id))))
    }
}

fn sorted(ids: impl Iterator<Item = u32>) -> Vec<u32> {
    let mut ids: Vec<u32> = ids.collect();
    ids.sort_unstable();
    ids.dedup();
    ids
}

/// A list of numbers for each of many keys.
struct Lists {
    /// Where the list of each key begins among the items.
    begins: Vec<u32>,
    items: Vec<u32>,
    /// What came later, and how much.
    later: HashMap<u32, Vec<u32>>,
    added: usize,
}

impl Lists {
    /// Lists of keys below `keys`, of pairs of a key and an item that are gone through twice.
    fn of<I: Iterator<Item = (u32, u32)>>(keys: usize, pairs: impl Fn() -> I) -> Self {
        let mut begins = vec![0_u32; keys + 2];
        pairs().for_each(|(key, _)| begins[key as usize + 2] += 1);
        for key in 2..begins.len() {
            begins[key] += begins[key - 1];
        }
        let mut items = vec![0; begins[keys + 1] as usize];
        for (key, item) in pairs() {
            // Where the next item of this key goes; in the end that is where the next key's begin.
            let place = &mut begins[key as usize + 1];
            items[*place as usize] = item;
            *place += 1;
        }
        begins.pop();
        Self { begins, items, later: HashMap::new(), added: 0 }
    }

    fn add(&mut self, key: u32, item: u32) {
        self.later.entry(key).or_default().push(item);
        self.added += 1;
    }

    fn of_key(&self, key: u32) -> impl Iterator<Item = u32> {
        let begin = self.begins.get(key as usize).zip(self.begins.get(key as usize + 1));
        let early = begin.map_or(&[][..], |(begin, end)| &self.items[*begin as usize..*end as usize]);
        early.iter().chain(self.later.get(&key).into_iter().flatten()).copied()
    }
}
