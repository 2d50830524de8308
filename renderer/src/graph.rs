//! Which outputs a change touches.
//!
//! Owns what a running renderer knows of its last render: what each output read, what each content read while it became
//! HTML, and the value that each of these things had. In the next render all values are looked at again, which costs
//! little, since they are digests of what is in memory anyway; an output is rendered only where one of them differs.
//! Content is in the middle: what changed in its text is rendered first, and where its HTML is equal nothing follows.
//! No bytes of outputs are kept.

mod index;
mod look;
mod nodes;
mod past;
mod told;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;

use blake3::Hash;
use rayon::prelude::*;
use serde::ser::SerializeSeq;
use serde::{Deserialize, Serialize, Serializer};

use self::index::{Index, Reader};
use self::look::{Differing, depends_on_content};
use self::nodes::{Nodes, Slot};
use self::past::Past;
pub(crate) use self::told::Told;
use crate::diagnostic::Diagnostic;
use crate::images::Wish;
use crate::job::{Job, JobName};
use crate::kept::Touched;
use crate::memo::Whole;
use crate::places::Place;
use crate::reads::Node;
use crate::site::{Facts, Parts, Site};
use crate::view::{Contents, View};

/// Contents that are rendered before outputs, to see whether their HTML is equal. More than that, as after a change of
/// the configuration, would not stay in memory until their outputs are rendered, and be rendered twice.
const EAGER_MAX: usize = 1_000;

/// The first half of a BLAKE3 digest: collisions are still out of anyone's reach by chance, and there are many.
pub(crate) type Value = u128;

/// What digests of secrets are keyed with.
pub(crate) type Key = [u8; 32];

/// A content by its source file, and whether its links have scheme and host.
pub(crate) type ContentName = (Arc<str>, bool);

/// A content that was rendered, for what depends on it.
#[derive(Debug)]
pub(crate) struct Content<R> {
    pub(crate) parts: Parts,
    pub(crate) facts: Arc<Facts>,
    pub(crate) reads: R,
}

/// An output, or a few that are made together.
struct Record {
    /// Its place in the last plan.
    place: u32,
    /// The render that made it.
    made: u64,
    /// The last render with another plan than the one before that planned it.
    planned: u64,
    /// Whether what it read is what its outputs were made from.
    valid: bool,
    reads: Reads,
    outputs: Box<[Arc<str>]>,
}

/// Numbers of nodes, each once, as runs of numbers that follow each other: the first, and how many. What many outputs read
/// got its numbers when the first of them was made, and is one run or a few, however much it is.
#[derive(Debug, Default, Clone, Serialize, Deserialize)]
pub(crate) struct Reads(Box<[(u32, u32)]>);

impl Reads {
    fn new(mut ids: Vec<u32>) -> Self {
        ids.sort_unstable();
        let runs = ids.chunk_by(|one, next| one + 1 == *next);
        Self(runs.map(|run| (run[0], run.len() as u32)).collect())
    }

    fn iter(&self) -> impl Iterator<Item = u32> {
        self.0.iter().flat_map(|(first, count)| *first..first + count)
    }

    /// Whether any of these numbers, which are in order, is among them.
    fn any_of(&self, ids: &[u32]) -> bool {
        let next = |first: u32| ids.get(ids.partition_point(|id| *id < first));
        self.0.iter().any(|(first, count)| next(*first).is_some_and(|id| *id < first + count))
    }

    /// Whether all of the numbers are below `end`.
    fn are_below(&self, end: usize) -> bool {
        self.0.iter().all(|(first, count)| first.checked_add(*count).is_some_and(|next| next as usize <= end))
    }
}

/// A graph as it is kept outside of the process: nodes by number, with their values; contents; records, with their places in
/// the plan; copies.
pub(crate) type KeptGraph = (
    Vec<Option<(Node, Option<Whole<16>>)>>,
    Vec<(ContentName, Parts, Arc<Facts>, Reads)>,
    Vec<(JobName, u32, Reads, Vec<Arc<str>>)>,
    (Vec<(Arc<str>, Whole<32>)>, bool),
);

/// Why an output was rendered, or was not.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Explanation {
    /// What the last render knew of it: whether it was made then, and what that read, sorted.
    pub known: Option<Vec<String>>,
    /// Of that, what is different now, sorted; what became of content is followed by why.
    pub changed: Vec<String>,
    /// Whether it is rendered now.
    pub rendered: bool,
    /// Whether it was there and is no more.
    pub removed: bool,
    /// Whether the plan has nothing of before that made it: something else makes it now, or it leads elsewhere.
    pub replanned: bool,
    /// Of what is no output, the page that would make it, where builds leave that out, or the page whose file it is.
    pub page: Option<Place>,
}

/// What is known of the last render.
#[derive(Default)]
pub(crate) struct Graph {
    /// What values of the environment are hashed with, so that nobody can guess them from digests.
    pub(crate) key: Key,
    nodes: Nodes,
    pub(crate) contents: Contents,
    records: HashMap<JobName, Record>,
    /// What finds what a save touches; only while nothing but saves follows.
    index: Option<Index>,
    /// Copies of images by output, what they are made from, and which render made them; and whether these are immutable.
    copies: HashMap<Arc<str>, (Hash, u64)>,
    immutable_copies: bool,
    past: Past,
    /// Whether the render under way has another plan than the one before.
    plan_differs: bool,
    /// Whether it has, or made other outputs.
    outputs_differ: bool,
    /// Whether it found other headings in a content.
    headings_differ: bool,
}

/// A plan of outputs, looked at.
pub(crate) struct Planned<'a> {
    pub(crate) site: &'a Arc<Site>,
    pub(crate) jobs: &'a [Job],
    pub(crate) view: &'a View<'a>,
    /// What differs from the render before; where that is not known, anything may. With it the plan is the one of before.
    pub(crate) touched: Option<Touched>,
    /// Whether the state of that render was taken over.
    pub(crate) is_again: bool,
}

impl Record {
    /// Whether its job must run for who has the outputs of render `since`.
    fn is_wanted(&self, since: Option<u64>) -> bool {
        !self.valid || since.is_none_or(|since| self.made > since)
    }
}

impl Graph {
    /// One that knows nothing yet.
    pub(crate) fn new() -> Self {
        // Nobody can guess it: the keys of hash maps come from the system's randomness.
        let mut key = blake3::Hasher::new();
        for place in 0..4_u64 {
            key.update(&RandomState::new().hash_one(place).to_le_bytes());
        }
        Self { key: *key.finalize().as_bytes(), ..Self::default() }
    }

    /// Whether it is known what changed since a render.
    pub(crate) fn knows(&self, render: u64) -> bool {
        self.past.knows(render)
    }

    /// Looks at everything that was read, and says which jobs must run: all without `since`.
    pub(crate) fn begin(
        &mut self,
        planned: Planned<'_>,
        render: u64,
        since: Option<u64>,
        explained: Option<&mut (Arc<str>, Explanation)>,
    ) -> Vec<bool> {
        let Planned { site, jobs, view, mut touched, is_again } = planned;
        // They do not grow by doubling while the most is in memory.
        self.records.reserve(jobs.len().saturating_sub(self.records.len()));
        self.contents.reserve(site.library.pages.len().saturating_sub(self.contents.len()));
        (self.outputs_differ, self.headings_differ) = (touched.is_none(), touched.is_none());
        self.index = self.index.take().filter(|index| is_again && !index.is_worn());
        if is_again {
            self.expect_saves();
        }
        self.forget_changes();
        self.look(view, touched.as_ref(), |node| !depends_on_content(node));
        let causes = if explained.is_some() { self.causes() } else { HashMap::new() };
        let rendered = self.render_contents(site);
        let all_known = rendered.iter().all(|name| self.contents.contains_key(name));
        if let Some(touched) = &mut touched {
            rendered.iter().for_each(|(source, _)| touched.add_source(site, source));
        }
        self.look(view, touched.as_ref(), depends_on_content);
        if let Some((output, explanation)) = explained {
            let planned = jobs.iter().map(|job| job.name(site)).collect();
            self.explain(output, &causes, &planned, explanation);
        }
        self.plan_differs = !(touched.is_some() && all_known && self.records.len() == jobs.len());
        if !self.plan_differs {
            let few = self.few_wanted_again(site, jobs, since);
            return few.unwrap_or_else(|| self.wanted_again(jobs.len(), since));
        }
        // Outputs may get other places.
        self.index = None;
        let differing = Differing::of(&self.nodes);
        let mut wanted = Vec::with_capacity(jobs.len());
        for (place, job) in jobs.iter().enumerate() {
            let content = job.content(&site.library);
            let content_known =
                content.is_none_or(|(_, source)| self.contents.contains_key(&(source, false)));
            let Some(record) = self.records.get_mut(&job.name(site)) else {
                wanted.push(true);
                continue;
            };
            (record.place, record.planned) = (place as u32, render);
            record.valid &= content_known && !differing.any(&record.reads);
            wanted.push(record.is_wanted(since));
        }
        // Should this render fail, they may be planned by the next, which knows only what differs from this one.
        for record in self.records.values_mut().filter(|record| record.planned != render) {
            record.valid = false;
        }
        wanted
    }

    /// Makes what finds what a save touches, if there is none.
    pub(crate) fn expect_saves(&mut self) {
        if self.index.is_none() {
            self.index = Some(self.indexed());
        }
    }

    /// What each content read that is different now.
    fn causes(&self) -> HashMap<Arc<str>, BTreeSet<String>> {
        let mut causes: HashMap<Arc<str>, BTreeSet<String>> = HashMap::new();
        for ((source, _), content) in &self.contents {
            let changed = self.names(&content.reads, |slot| slot.changed);
            if !changed.is_empty() {
                causes.entry(source.clone()).or_default().extend(changed);
            }
        }
        causes
    }

    /// The names of what was read, of which `wanted` holds.
    fn names(&self, reads: &Reads, wanted: impl Fn(&Slot) -> bool) -> BTreeSet<String> {
        let slots = reads.iter().filter_map(|id| self.nodes.get(id));
        slots.filter(|slot| wanted(slot)).map(|slot| slot.node.to_string()).collect()
    }

    /// Says what the jobs that made an output read, and what of it is different.
    fn explain(
        &self,
        output: &str,
        causes: &HashMap<Arc<str>, BTreeSet<String>>,
        planned: &HashSet<JobName>,
        explanation: &mut Explanation,
    ) {
        let (mut known, mut changed) = (BTreeSet::new(), BTreeSet::new());
        let mut makers = self
            .records
            .iter()
            .filter(|(_, record)| record.outputs.iter().any(|path| **path == *output))
            .map(|(name, _)| name)
            .peekable();
        explanation.replanned = makers.peek().is_some() && makers.all(|name| !planned.contains(name));
        let mut found = self.copies.contains_key(output);
        let copied = self.nodes().find_map(|node| match node {
            Node::Copy(wish) if wish.path() == *output => Some(Node::Source(Arc::from(&*wish.source))),
            _ => None,
        });
        known.extend(copied.map(|image| image.to_string()));
        for record in
            self.records.values().filter(|record| record.outputs.iter().any(|path| **path == *output))
        {
            found = true;
            known.extend(self.names(&record.reads, |_| true));
            changed.extend(self.names(&record.reads, |slot| slot.changed));
            for id in record.reads.iter() {
                let Some(slot) = self.nodes.get(id).filter(|slot| slot.changed) else {
                    continue;
                };
                let source = match &slot.node {
                    Node::Page(source, _, _) | Node::Section(source, _, _) => source,
                    _ => continue,
                };
                let causes = causes.get(source).into_iter().flatten();
                changed.extend(causes.map(|cause| format!("{}: {cause}", slot.node)));
            }
        }
        explanation.known = found.then(|| known.into_iter().collect());
        explanation.changed = changed.into_iter().collect();
    }

    /// Makes the jobs run again that make any of these outputs; what is there and is not known goes, unless it is made.
    pub(crate) fn distrust(&mut self, since: u64, outputs: &HashSet<&str>) {
        self.index = None;
        for record in self.records.values_mut() {
            record.valid &= !record.outputs.iter().any(|path| outputs.contains(&**path));
        }
        self.copies.retain(|path, _| !outputs.contains(&**path));
        self.past.add(since, outputs);
    }

    /// Whether something asked for this file of the sources by its path.
    pub(crate) fn asked_for(&self, path: &str) -> bool {
        let asked = |name: String| self.nodes.has(&Node::File(name.into()));
        asked(path.to_owned()) || asked(format!("/{path}")) || self.nodes.has(&Node::Source(path.into()))
    }

    /// Everything that was read.
    pub(crate) fn nodes(&self) -> impl Iterator<Item = &Node> {
        self.nodes.iter().map(|(_, slot)| &slot.node)
    }

    /// What of it can be `told`, as [`KeptGraph`] is read back.
    pub(crate) fn keep(&self, told: &Told) -> impl Serialize {
        let nodes = Rows(self.nodes.end(), move || {
            (0..self.nodes.end() as u32).map(move |id| {
                let slot = self.nodes.get(id).filter(|_| told.has(id))?;
                let value = slot.value().filter(|_| !told.is_secret(id));
                Some((&slot.node, value.map(|value| Whole(value.to_le_bytes()))))
            })
        });
        let contents = Rows(self.contents.len(), move || {
            let contents = self.contents.iter();
            contents.map(|(name, content)| (name, content.parts, &content.facts, told.of(&content.reads)))
        });
        let valid = self.records.values().filter(|record| record.valid).count();
        let records = Rows(valid, move || {
            let records = self.records.iter().filter(|(_, record)| record.valid);
            records.map(|(name, record)| (name, record.place, told.of(&record.reads), &record.outputs))
        });
        let copies = Rows(self.copies.len(), || {
            self.copies.iter().map(|(path, (name, _))| (path, Whole(*name.as_bytes())))
        });
        (nodes, contents, records, (copies, self.immutable_copies))
    }

    /// A graph as it was kept: the render that it knows has the number 0. None where it contradicts itself.
    pub(crate) fn restore(kept: KeptGraph, key: Key) -> Option<Self> {
        let (nodes, contents, records, (copies, immutable_copies)) = kept;
        // By how much each node is held more often than the one before it: a run of many then takes no longer than one of few.
        let mut uses = vec![0_u32; nodes.len() + 1];
        let mut hold = |reads: Reads| {
            let reads = Some(reads).filter(|reads| reads.are_below(nodes.len()))?;
            for (first, count) in &reads.0 {
                let (first, next) = (*first as usize, (first + count) as usize);
                uses[first] = uses[first].wrapping_add(1);
                uses[next] = uses[next].wrapping_sub(1);
            }
            Some(reads)
        };
        let mut graph = Self {
            key,
            immutable_copies,
            contents: HashMap::with_capacity(contents.len()),
            records: HashMap::with_capacity(records.len()),
            ..Self::default()
        };
        for (name, parts, facts, reads) in contents {
            graph.contents.insert(name, Content { parts, facts, reads: hold(reads)? });
        }
        for (name, place, reads, outputs) in records {
            let (reads, outputs) = (hold(reads)?, outputs.into());
            let record = Record { place, made: 0, planned: 0, valid: true, reads, outputs };
            graph.records.insert(name, record);
        }
        let copies = copies.into_iter().map(|(path, Whole(name))| (path, (Hash::from_bytes(name), 0)));
        graph.copies = copies.collect();
        let made = graph.records.values().flat_map(|record| record.outputs.iter()).chain(graph.copies.keys());
        graph.past = Past::of(made.cloned());
        let mut held = 0_u32;
        for uses in &mut uses {
            held = held.wrapping_add(*uses);
            *uses = held;
        }
        graph.nodes = Nodes::restore(nodes, &uses)?;
        Some(graph)
    }

    /// Renders contents that read what changed, and forgets those that are no more. Says which these are.
    fn render_contents(&mut self, site: &Arc<Site>) -> Vec<ContentName> {
        let changed = self.changed_contents();
        let mut before = HashMap::with_capacity(changed.len());
        for name in &changed {
            if let Some(content) = self.contents.remove(name) {
                self.release(&content.reads);
                before.insert(name.clone(), content.facts);
            }
        }
        if changed.len() <= EAGER_MAX {
            // What is wrong with a content is said when its output is rendered.
            changed.par_iter().for_each(|(source, absolute)| {
                site.content_html(source, *absolute).and_then(Result::ok);
            });
        }
        self.adopt(site, &before);
        changed
    }

    /// Takes what the site says of contents that were rendered; `before` is what was known of some of them.
    fn adopt(&mut self, site: &Site, before: &HashMap<ContentName, Arc<Facts>>) {
        for (name, content) in site.take_fresh() {
            let reads = self.hold(&content.reads, Reader::Content(&name));
            let facts = content.facts.clone();
            let known = before.get(&name).cloned();
            let content = Content { parts: content.parts, facts: content.facts, reads };
            let replaced = self.contents.insert(name, content);
            if let Some(before) = &replaced {
                self.release(&before.reads);
            }
            let known = replaced.map(|before| before.facts).or(known);
            self.headings_differ |= known.is_none_or(|before| before.anchors != facts.anchors);
        }
    }

    /// What is known of a content's headings and links.
    pub(crate) fn facts(&self, source: &Arc<str>) -> Option<Arc<Facts>> {
        self.contents.get(&(source.clone(), false)).map(|content| content.facts.clone())
    }

    /// Whether a link that led to a heading may lead to none now.
    pub(crate) fn headings_differ(&self) -> bool {
        self.headings_differ
    }

    /// A job has run well.
    pub(crate) fn made(
        &mut self,
        site: &Site,
        (place, job): (u32, JobName),
        render: u64,
        reads: &[Node],
        mut outputs: Box<[Arc<str>]>,
    ) {
        self.adopt(site, &HashMap::new());
        for output in &mut outputs {
            // Most outputs looked for a static file in their place, and have their path in memory already.
            let looked_for = reads.iter().find_map(|node| match node {
                Node::Static(path) if path == output => Some(path),
                _ => None,
            });
            *output = looked_for.unwrap_or(output).clone();
        }
        let reads = self.hold(reads, Reader::Output(place));
        if let Some(index) = &mut self.index {
            index.invalid.remove(&place);
        }
        let record = Record { place, made: render, planned: render, valid: true, reads, outputs };
        match self.records.get_mut(&job) {
            Some(known) => {
                self.outputs_differ |= known.outputs != record.outputs;
                let before = std::mem::replace(known, record);
                self.release(&before.reads);
            }
            None => {
                self.outputs_differ = true;
                self.records.insert(job, record);
            }
        }
    }

    /// A job has failed: what it made earlier stays, and it runs again in the next render.
    pub(crate) fn failed(&mut self, job: &JobName) {
        if let Some(record) = self.records.get_mut(job) {
            record.valid = false;
            self.index = None;
        }
    }

    /// All jobs have run: forgets those that are no more. What is left is all that was read.
    pub(crate) fn settle(&mut self, site: &Site, render: u64) {
        self.adopt(site, &HashMap::new());
        if !self.plan_differs {
            return;
        }
        let unplanned: Vec<JobName> = self
            .records
            .iter()
            .filter(|(_, record)| record.planned != render)
            .map(|(name, _)| name.clone())
            .collect();
        for name in unplanned {
            if let Some(record) = self.records.remove(&name) {
                self.release(&record.reads);
            }
        }
    }

    /// The copies of images that outputs ask for, by output, which the render `since` did not make; all, where they are
    /// immutable now and were not, or the other way round.
    pub(crate) fn wanted_copies(
        &mut self,
        since: Option<u64>,
        immutable: bool,
    ) -> Vec<(Arc<str>, Arc<Wish>)> {
        if std::mem::replace(&mut self.immutable_copies, immutable) != immutable {
            self.copies.clear();
            self.outputs_differ = true;
        }
        let wishes = self.said().filter_map(|node| match node {
            Node::Copy(wish) => Some((Arc::from(wish.path()), wish.clone())),
            _ => None,
        });
        let wishes: BTreeMap<Arc<str>, Arc<Wish>> = wishes.collect();
        let before = self.copies.len();
        self.copies.retain(|path, _| wishes.contains_key(path));
        self.outputs_differ |= self.copies.len() != before;
        let known = |path: &Arc<str>, wish: &Wish| {
            let known = self.copies.get(path).filter(|(name, _)| *name == wish.name());
            known.is_some_and(|(_, made)| since.is_some_and(|since| *made <= since))
        };
        wishes.into_iter().filter(|(path, wish)| !known(path, wish)).collect()
    }

    /// A copy of an image was made.
    pub(crate) fn made_copy(&mut self, path: Arc<str>, wish: &Wish, render: u64) {
        self.outputs_differ |= self.copies.insert(path, (wish.name(), render)).is_none();
    }

    /// What was said while outputs were made that are as they were.
    pub(crate) fn warnings(&self) -> impl Iterator<Item = Diagnostic> {
        self.said().filter_map(|node| match node {
            Node::Warning(warning) => Some((**warning).clone()),
            _ => None,
        })
    }

    /// The render ended well: takes the values of what was read for the first time, and says which outputs are gone
    /// since `since`. After a render that failed nothing is done, and what has no value counts as changed.
    pub(crate) fn end(&mut self, view: &View<'_>, render: u64, since: Option<u64>) -> Vec<Arc<str>> {
        self.value_new(view);
        if self.outputs_differ {
            let made = self.records.values().flat_map(|record| record.outputs.iter());
            self.past.take(made.chain(self.copies.keys()), render);
        }
        self.past.end(render, since)
    }

    /// Whether a job has made its outputs, now or earlier.
    pub(crate) fn has_made(&self, job: &JobName) -> bool {
        self.records.contains_key(job)
    }

    /// How many outputs there are.
    pub(crate) fn outputs(&self) -> usize {
        self.past.outputs()
    }

    fn hold(&mut self, reads: &[Node], reader: Reader<'_>) -> Reads {
        let mut ids = Vec::with_capacity(reads.len());
        for node in reads {
            let (id, is_new) = self.nodes.hold(node);
            ids.push(id);
            if let Some(index) = self.index.as_mut().filter(|_| is_new) {
                index.add(id, node);
            }
        }
        if let Some(index) = &mut self.index {
            index.note(&ids, reader);
        }
        Reads::new(ids)
    }

    /// Nodes that say something to whoever renders.
    fn said(&self) -> impl Iterator<Item = &Node> {
        let found = self.index.as_ref().map(|index| index.said().into_iter());
        let all = found.is_none().then(|| self.nodes());
        let found = found.into_iter().flatten().filter_map(|id| Some(&self.nodes.get(id)?.node));
        found.chain(all.into_iter().flatten())
    }

    fn release(&mut self, reads: &Reads) {
        reads.iter().for_each(|id| self.nodes.release(id));
    }
}

/// So many rows that are made while they are written, and never all at once.
pub(crate) struct Rows<F>(pub(crate) usize, pub(crate) F);

impl<F: Fn() -> I, I: Iterator<Item: Serialize>> Serialize for Rows<F> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut rows = serializer.serialize_seq(Some(self.0))?;
        for row in (self.1)() {
            rows.serialize_element(&row)?;
        }
        rows.end()
    }
}
