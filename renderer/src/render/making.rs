//! The outputs of one render, made on all cores.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use rayon::prelude::*;
use release::File;

use super::{Sink, lock};
use crate::diagnostic::{Diagnostic, Errors};
use crate::graph::Graph;
use crate::headings::Checks;
use crate::job::{self, Job};
use crate::reads;
use crate::site::Site;

/// Outputs that a thread takes at once: what it has taken no other can, and at the end all others wait for the last.
const JOBS_AT_ONCE: usize = 32;

/// What the threads of a render share.
pub(super) struct Making<'a> {
    site: &'a Arc<Site>,
    sink: &'a dyn Sink,
    render: u64,
    /// Whether outputs are handed over although something is wrong with others.
    keep_going: bool,
    /// Whether outputs are handed over at all: else they are made for what is wrong with them alone.
    hands_over: bool,
    /// Whether it matters what an output reads: for the graph, or for which errors only follow from others.
    notes_reads: bool,
    /// The output that is to be explained.
    explained: Option<Arc<str>>,
    made_explained: AtomicBool,
    is_closed: AtomicBool,
    rendered: AtomicUsize,
    graph: Mutex<Option<&'a mut Graph>>,
    errors: Mutex<Errors>,
    failed: Mutex<BTreeMap<String, Vec<Diagnostic>>>,
    checks: Mutex<Checks>,
}

/// What is left of it.
pub(super) struct Made<'a> {
    pub(super) graph: Option<&'a mut Graph>,
    pub(super) errors: Errors,
    /// What kept an output from being made, by output.
    pub(super) failed: BTreeMap<String, Vec<Diagnostic>>,
    pub(super) checks: Checks,
    /// Files that were handed over.
    pub(super) rendered: usize,
    /// Whether the output that is to be explained was among them.
    pub(super) made_explained: bool,
}

impl<'a> Making<'a> {
    /// `known` is what is wrong with the site already.
    pub(super) fn new(
        site: &'a Arc<Site>,
        sink: &'a dyn Sink,
        graph: Option<&'a mut Graph>,
        known: Errors,
        render: u64,
        keep_going: bool,
        explained: Option<Arc<str>>,
    ) -> Self {
        let is_good = known.is_empty();
        Self {
            site,
            sink,
            render,
            keep_going,
            hands_over: is_good || keep_going,
            notes_reads: graph.is_some() || !is_good,
            explained,
            made_explained: AtomicBool::new(false),
            is_closed: AtomicBool::new(false),
            rendered: AtomicUsize::new(0),
            graph: Mutex::new(graph),
            errors: Mutex::new(known),
            failed: Mutex::default(),
            checks: Mutex::default(),
        }
    }

    /// Whether the receiver of files has gone.
    pub(super) fn is_closed(&self) -> bool {
        self.is_closed.load(Ordering::Relaxed)
    }

    /// Whether what is made of all outputs is made.
    fn goes_on(&self) -> bool {
        self.keep_going || lock(&self.errors).is_empty()
    }

    /// Makes all outputs that are wanted, but the copies of images.
    pub(super) fn run_all(&self, jobs: &[Job], wanted: &[bool]) {
        let is_made = |job: &Job| self.hands_over || !matches!(job, Job::Copy { .. });
        let wanted = jobs.iter().enumerate().filter(|(place, job)| wanted[*place] && is_made(job));
        let (indexes, others): (Vec<_>, Vec<_>) = wanted.partition(|(_, job)| job.is_index());
        others.into_par_iter().with_max_len(JOBS_AT_ONCE).for_each(|(place, job)| self.run(place, job));
        // Indexes are put together from what pages have left.
        if self.goes_on() {
            indexes.into_par_iter().for_each(|(place, job)| self.run(place, job));
        }
    }

    fn run(&self, place: usize, job: &Job) {
        if self.is_closed() {
            return;
        }
        let (result, reads) = if self.notes_reads {
            reads::noted(|| job::run(self.site, job))
        } else {
            (job::run(self.site, job), Box::default())
        };
        match result {
            Ok(done) => {
                if let Some((content, rendered)) = &done.content {
                    lock(&self.checks).add(self.site, *content, rendered.facts.clone());
                }
                if let Some(graph) = lock(&self.graph).as_mut() {
                    let outputs = done.files.iter().map(|file| Arc::from(file.path.as_str())).collect();
                    graph.made(self.site, (place as u32, job.name(self.site)), self.render, &reads, outputs);
                }
                let copy_of = match job {
                    Job::Copy { source, .. } => Some(source.as_str()),
                    _ => None,
                };
                done.files.into_iter().for_each(|file| self.put(file, copy_of));
            }
            Err(more) => self.fail(job, more),
        }
    }

    fn fail(&self, job: &Job, errors: Vec<Diagnostic>) {
        if let Some((content, source)) = job.content(&self.site.library) {
            let facts = self.site.facts_despite(&source);
            lock(&self.checks).add_failed(self.site, content, facts);
        }
        if let Some(graph) = lock(&self.graph).as_mut() {
            graph.failed(&job.name(self.site));
        }
        if self.keep_going
            && let Some(output) = job.output(self.site)
        {
            lock(&self.failed).insert(output, errors.clone());
        }
        lock(&self.errors).extend(errors);
    }

    /// Makes the copies of images that templates and contents asked for, which are known when all have run.
    pub(super) fn copy_images(&self, since: Option<u64>) {
        let copies: Vec<_> = match lock(&self.graph).as_mut() {
            Some(graph) if self.goes_on() => {
                graph.settle(self.site, self.render);
                graph.wanted_copies(since, self.site.beyond_zola)
            }
            _ => self.site.images.take().into_iter().map(|(path, wish)| (path.into(), wish)).collect(),
        };
        // They take longer than all else together, and of an image that none can be made of, its header mostly tells.
        if !self.hands_over {
            return;
        }
        copies.into_par_iter().for_each(|(path, wish)| match job::image(self.site, &path, &wish) {
            Ok(file) => {
                if let Some(graph) = lock(&self.graph).as_mut() {
                    graph.made_copy(path, &wish, self.render);
                }
                self.put(file, None);
            }
            Err(diagnostic) => lock(&self.errors).push(diagnostic),
        });
    }

    fn put(&self, file: File, copy_of: Option<&str>) {
        if !self.hands_over {
            return;
        }
        self.rendered.fetch_add(1, Ordering::Relaxed);
        if self.explained.as_deref() == Some(file.path.as_str()) {
            self.made_explained.store(true, Ordering::Relaxed);
        }
        let taken = match copy_of {
            Some(source) => self.sink.put_copy(file, source),
            None => self.sink.put(file),
        };
        if taken.is_err() {
            self.is_closed.store(true, Ordering::Relaxed);
        }
    }

    /// What the threads have left.
    pub(super) fn end(self) -> Made<'a> {
        Made {
            graph: owned(self.graph),
            errors: owned(self.errors),
            failed: owned(self.failed),
            checks: owned(self.checks),
            rendered: self.rendered.into_inner(),
            made_explained: self.made_explained.into_inner(),
        }
    }
}

fn owned<T>(mutex: Mutex<T>) -> T {
    mutex.into_inner().unwrap_or_else(PoisonError::into_inner)
}
