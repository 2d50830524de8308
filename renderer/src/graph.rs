//! Which outputs a change touches.
//!
//! Owns what a running renderer knows of its last render: what each output read, what each content read while it became
//! HTML, and the value that each of these things had. In the next render all values are looked at again, which costs
//! little, since they are digests of what is in memory anyway; an output is rendered only where one of them differs.
//! Content is in the middle: what changed in its text is rendered first, and where its HTML is equal nothing follows.
//! No bytes of outputs are kept.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use rayon::prelude::*;

use crate::diagnostic::Diagnostic;
use crate::images::Wish;
use crate::job::{Job, JobName};
use crate::reads::Node;
use crate::site::{Facts, Parts, Site};
use crate::view::{Contents, View};

/// Contents that are rendered before outputs, to see whether their HTML is equal. More than that, as after a change of
/// the configuration, would not stay in memory until their outputs are rendered, and be rendered twice.
const EAGER_MAX: usize = 1_000;

/// Outputs that are gone, as long as someone may ask from before they went.
const GONE_MAX: usize = 100_000;

/// Renders whose outputs a receiver may still have.
const ENDED_MAX: usize = 64;

/// The first half of a BLAKE3 digest: collisions are still out of anyone's reach by chance, and there are many.
pub(crate) type Value = u128;

/// A content by its source file, and whether its links have scheme and host.
pub(crate) type ContentName = (Arc<str>, bool);

/// A content that was rendered, for what depends on it.
#[derive(Debug)]
pub(crate) struct Content<R> {
    pub(crate) parts: Parts,
    pub(crate) facts: Arc<Facts>,
    pub(crate) reads: R,
}

struct Slot {
    node: Node,
    /// None where it is not known yet, or cannot be.
    value: Option<Value>,
    changed: bool,
    uses: u32,
}

/// An output, or a few that are made together.
struct Record {
    /// The render that made it.
    made: u64,
    /// The last render that planned it.
    planned: u64,
    /// Whether what it read is what its outputs were made from.
    valid: bool,
    reads: Box<[u32]>,
    outputs: Box<[Arc<str>]>,
}

/// An output that is no more.
struct Gone {
    path: Arc<str>,
    /// The first render that had it, and the first that had it no more.
    from: u64,
    until: u64,
}

/// What is known of the last render.
#[derive(Default)]
pub(crate) struct Graph {
    slots: Vec<Option<Slot>>,
    free: Vec<u32>,
    index: HashMap<Node, u32>,
    pub(crate) contents: Contents,
    records: HashMap<JobName, Record>,
    /// Copies of images by output, and which render made them.
    copies: HashMap<Arc<str>, u64>,
    /// All outputs of the last render that ended well, and since which render they are there.
    outputs: HashMap<Arc<str>, u64>,
    gone: Vec<Gone>,
    /// Renders that ended well, since which changes can be told.
    ended: Vec<u64>,
}

impl Graph {
    /// Whether it is known what changed since a render.
    pub(crate) fn knows(&self, render: u64) -> bool {
        self.ended.contains(&render)
    }

    /// Looks at everything that was read, and says which jobs must run: all without `since`.
    pub(crate) fn begin(
        &mut self,
        site: &Arc<Site>,
        jobs: &[Job],
        view: &View<'_>,
        render: u64,
        since: Option<u64>,
    ) -> Vec<bool> {
        look(&mut self.slots, view, &self.contents, |node| !depends_on_content(node));
        self.render_contents(site);
        look(&mut self.slots, view, &self.contents, depends_on_content);
        jobs.iter()
            .map(|job| {
                let content = job.content(&site.library);
                let content_known =
                    content.is_none_or(|(_, source)| self.contents.contains_key(&(source, false)));
                let Some(record) = self.records.get_mut(&job.name(site)) else { return true };
                record.planned = render;
                record.valid &=
                    content_known && !record.reads.iter().any(|node| is_changed(&self.slots, *node));
                !record.valid || since.is_none_or(|since| record.made > since)
            })
            .collect()
    }

    /// Renders contents that read what changed, and forgets those that are no more.
    fn render_contents(&mut self, site: &Arc<Site>) {
        let slots = &self.slots;
        let changed: Vec<ContentName> = self
            .contents
            .iter()
            .filter(|(_, content)| content.reads.iter().any(|node| is_changed(slots, *node)))
            .map(|(name, _)| name.clone())
            .collect();
        for name in &changed {
            if let Some(content) = self.contents.remove(name) {
                self.release(&content.reads);
            }
        }
        if changed.len() <= EAGER_MAX {
            // What is wrong with a content is said when its output is rendered.
            changed.par_iter().for_each(|(source, absolute)| {
                site.content_html(source, *absolute).and_then(Result::ok);
            });
        }
        self.adopt(site);
    }

    /// Takes what the site says of contents that were rendered.
    fn adopt(&mut self, site: &Site) {
        for (name, content) in site.take_fresh() {
            let reads = self.hold(&content.reads);
            let content = Content { parts: content.parts, facts: content.facts, reads };
            if let Some(before) = self.contents.insert(name, content) {
                self.release(&before.reads);
            }
        }
    }

    /// A job has run well.
    pub(crate) fn made(&mut self, job: JobName, render: u64, reads: &[Node], outputs: Box<[Arc<str>]>) {
        let reads = self.hold(reads);
        let record = Record { made: render, planned: render, valid: true, reads, outputs };
        if let Some(before) = self.records.insert(job, record) {
            self.release(&before.reads);
        }
    }

    /// All jobs have run well: forgets those that are no more. What is left is all that was read.
    pub(crate) fn settle(&mut self, site: &Site, render: u64) {
        self.adopt(site);
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

    /// The copies of images that outputs ask for, by output, which the render `since` did not make.
    pub(crate) fn wanted_copies(&mut self, since: Option<u64>) -> Vec<(Arc<str>, Arc<Wish>)> {
        let wishes = self.index.keys().filter_map(|node| match node {
            Node::Copy(wish) => Some((Arc::from(wish.path()), wish.clone())),
            _ => None,
        });
        let wishes: BTreeMap<Arc<str>, Arc<Wish>> = wishes.collect();
        self.copies.retain(|path, _| wishes.contains_key(path));
        let known = |path: &Arc<str>| {
            self.copies.get(path).is_some_and(|made| since.is_some_and(|since| *made <= since))
        };
        wishes.into_iter().filter(|(path, _)| !known(path)).collect()
    }

    /// A copy of an image was made.
    pub(crate) fn made_copy(&mut self, path: Arc<str>, render: u64) {
        self.copies.insert(path, render);
    }

    /// What was said while outputs were made that are as they were.
    pub(crate) fn warnings(&self) -> impl Iterator<Item = Diagnostic> {
        self.index.keys().filter_map(|node| match node {
            Node::Warning(warning) => Some((**warning).clone()),
            _ => None,
        })
    }

    /// The render ended well: takes the values of what was read for the first time, and says which outputs are gone
    /// since `since`. After a render that failed nothing is done, and what has no value counts as changed.
    pub(crate) fn end(&mut self, view: &View<'_>, render: u64, since: Option<u64>) -> Vec<Arc<str>> {
        let contents = &self.contents;
        self.slots.par_iter_mut().flatten().filter(|slot| slot.value.is_none()).for_each(|slot| {
            slot.value = view.value(&slot.node, contents);
        });
        let mut outputs = HashMap::with_capacity(self.outputs.len());
        let made = self.records.values().flat_map(|record| record.outputs.iter()).chain(self.copies.keys());
        for path in made {
            let from = self.outputs.remove(path).unwrap_or(render);
            outputs.insert(path.clone(), from);
        }
        let before = std::mem::replace(&mut self.outputs, outputs);
        self.gone.extend(before.into_iter().map(|(path, from)| Gone { path, from, until: render }));
        if self.gone.len() > GONE_MAX {
            self.gone.clear();
            self.ended.clear();
        }
        self.ended.push(render);
        if self.ended.len() > ENDED_MAX {
            self.ended.remove(0);
        }
        let oldest = self.ended.first().copied().unwrap_or(render);
        self.gone.retain(|gone| gone.until > oldest);
        let Some(since) = since else { return Vec::new() };
        let mut gone: Vec<Arc<str>> = self
            .gone
            .iter()
            .filter(|gone| (gone.from..gone.until).contains(&since) && !self.outputs.contains_key(&gone.path))
            .map(|gone| gone.path.clone())
            .collect();
        gone.sort_unstable();
        gone.dedup();
        gone
    }

    /// How many outputs there are.
    pub(crate) fn outputs(&self) -> usize {
        self.outputs.len()
    }

    fn hold(&mut self, reads: &[Node]) -> Box<[u32]> {
        reads
            .iter()
            .map(|node| {
                if let Some(known) = self.index.get(node).copied() {
                    if let Some(Some(slot)) = self.slots.get_mut(known as usize) {
                        slot.uses += 1;
                    }
                    return known;
                }
                let slot = Some(Slot { node: node.clone(), value: None, changed: false, uses: 1 });
                let id = match self.free.pop() {
                    Some(id) => {
                        self.slots[id as usize] = slot;
                        id
                    }
                    None => {
                        self.slots.push(slot);
                        (self.slots.len() - 1) as u32
                    }
                };
                self.index.insert(node.clone(), id);
                id
            })
            .collect()
    }

    fn release(&mut self, reads: &[u32]) {
        for id in reads {
            let place = &mut self.slots[*id as usize];
            if let Some(slot) = place {
                slot.uses -= 1;
                if slot.uses == 0 {
                    self.index.remove(&slot.node);
                    *place = None;
                    self.free.push(*id);
                }
            }
        }
    }
}

/// Takes the value of each node of a kind again.
fn look(
    slots: &mut [Option<Slot>],
    view: &View<'_>,
    contents: &Contents,
    of_kind: impl Fn(&Node) -> bool + Sync,
) {
    slots.par_iter_mut().flatten().filter(|slot| of_kind(&slot.node)).for_each(|slot| {
        let now = view.value(&slot.node, contents);
        slot.changed = now.is_none() || now != slot.value;
        slot.value = now;
    });
}

fn is_changed(slots: &[Option<Slot>], node: u32) -> bool {
    slots[node as usize].as_ref().is_none_or(|slot| slot.changed)
}

/// Whether a node's value can be told only when contents are rendered.
fn depends_on_content(node: &Node) -> bool {
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
