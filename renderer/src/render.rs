//! A render: sources and data in, files out.
//!
//! Owns the order of things: configuration, templates, content, then all outputs in parallel, streamed to a [`Sink`].
//! No rendered page is kept but in the bounded memory; what a site of many pages costs is its front matter.

mod prepare;

use std::cell::LazyCell;
use std::collections::{BTreeMap, HashSet};
use std::io::{self, Write};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};

use blake3::Hash;
use jiff::Timestamp;
use rayon::prelude::*;
use release::File;

use self::prepare::{Basis, Data, KnownFiles, warn_of_whole};
use crate::blocks::BlockStore;
use crate::config::{self, Config};
use crate::data::{DataSet, Faults, RowPage};
use crate::diagnostic::{Diagnostic, Errors};
use crate::graph::{Explanation, Graph, Planned};
use crate::headings::Checks;
use crate::highlight::CodeStyle;
use crate::images::ImageOptions;
use crate::job::{self, Job, Plan};
use crate::kept::{Before, Kept, Touched};
use crate::library::{Content, ParsedFiles, Taken};
use crate::limits::Limits;
use crate::memo::{self, Readers};
use crate::places::{Place, places};
use crate::reads;
use crate::sass::Sheets;
use crate::schemas::Schemas;
use crate::site::{Memory, Site};
use crate::sources::{Sources, Stamp};
use crate::templates::Engine;
use crate::view::{Values, View};

pub(crate) use self::prepare::{ignored_static, is_template};

/// What a render is a function of.
#[derive(Debug, Clone)]
pub struct Input {
    /// The site's files.
    pub sources: Sources,
    /// The recorded data of dynamic sources.
    pub data: Arc<DataSet>,
    /// The pages that rows of these sources make.
    pub row_pages: Arc<Vec<RowPage>>,
    /// What is wrong with the data, or with rows.
    pub faults: Faults,
    /// The render's time: `now()` in templates, and what dates of pages are compared with.
    pub now: Timestamp,
    /// How to render.
    pub options: Options,
}

/// How to render.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Whether drafts are rendered, and pages whose time has not come or is over.
    pub drafts: bool,
    /// What links begin with.
    pub base_url: BaseUrl,
    /// Whether outputs are handed over although something is wrong with others, which then stay as they were:
    /// [`Summary::errors`] says what. For previews.
    pub keep_going: bool,
    /// Whether blocks of content say which line of which file they come from, in the attribute `data-bake-source`,
    /// and the summary where the outputs of pages do. For previews; nothing else of an output depends on it.
    pub source_lines: bool,
    /// The configuration's name, if not `zola.toml` or `config.toml`.
    pub config: Option<String>,
    /// Bounds.
    pub limits: Limits,
    /// What images in content are shown with; only where there is a `bakehouse.toml`.
    pub images: ImageOptions,
    /// Whether `$` and `$$` in content are around formulas in TeX; only where there is a `bakehouse.toml`.
    pub math: bool,
}

/// What links begin with.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum BaseUrl {
    /// The configuration's `base_url`.
    #[default]
    Configured,
    /// Nothing: links in pages are root-relative; feeds, the sitemap and canonical addresses keep `base_url`.
    RootRelative,
    /// This address.
    Given(String),
}

/// Names a render of a [`Renderer`]: 1, 2, 3, …, those that failed included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct RenderId(u64);

/// Outputs that a thread takes at once: what it has taken no other can, and at the end all others wait for the last.
const JOBS_AT_ONCE: usize = 32;

/// Pages of a site up to which its search indexes are made in the render of a save.
const SEARCHED_AT_ONCE_MAX: usize = 500;

/// Whether a render leaves what takes long to the next one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Pace {
    Whole,
    Soon,
}

/// What a render handed to its sink.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Handed {
    /// Every output.
    #[default]
    All,
    /// Outputs that may differ from those of the render that was named, and the paths that are gone.
    Changes,
}

/// Where files go. Called from several threads, in no particular order; every path comes once.
pub trait Sink: Sync {
    /// Takes a file.
    ///
    /// # Errors
    /// That no more files are wanted; the render stops.
    fn put(&self, file: File) -> Result<(), SinkClosed>;

    /// Takes a file that is a copy of the site's file `source`.
    ///
    /// # Errors
    /// As for [`Sink::put`].
    fn put_copy(&self, file: File, source: &str) -> Result<(), SinkClosed> {
        let _ = source;
        self.put(file)
    }

    /// The output at `path`, which the render that was named had, is no more. Called only where
    /// [`Handed::Changes`] comes of it, and never for a path that is put in the same render.
    ///
    /// # Errors
    /// As for [`Sink::put`].
    fn remove(&self, path: &str) -> Result<(), SinkClosed>;
}

/// The receiver of files has gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the receiver of rendered files has gone")]
pub struct SinkClosed;

/// What a render made.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Summary {
    /// This render, for a later one to say what has changed since.
    pub render: RenderId,
    /// What the sink was given.
    pub handed: Handed,
    /// Pages.
    pub pages: usize,
    /// Sections.
    pub sections: usize,
    /// Files of all kinds.
    pub outputs: usize,
    /// Of these, files that were made in this render, whether or not they differ.
    pub rendered: usize,
    /// Blocks of code that were highlighted in this render: not those that were known.
    pub highlighted: usize,
    /// Whether search indexes were left for a render to come: those that were handed over earlier are out of date.
    pub postponed: bool,
    /// Files that were copied: static ones, co-located ones, the theme's.
    pub assets: usize,
    /// When a date in the future makes the next render differ; only where there is a `bakehouse.toml`.
    pub next_change: Option<Timestamp>,
    /// What is not wrong enough to stop.
    pub warnings: Vec<Diagnostic>,
    /// Where the outputs of pages come from; only with [`Options::source_lines`].
    pub places: Vec<Place>,
    /// All that is wrong; only with [`Options::keep_going`].
    pub errors: Errors,
    /// Of that, what kept an output from being made, by output.
    pub failed: BTreeMap<String, Vec<Diagnostic>>,
}

/// Renders sites, and remembers what the next render can use.
pub struct Renderer {
    memory: Arc<Memory>,
    /// What outputs read; none where there is no second render.
    graph: Option<Mutex<Late<Graph>>>,
    parsed: Mutex<Late<KnownFiles>>,
    config: Mutex<Option<(Hash, Arc<Config>)>>,
    data: Mutex<Option<(Arc<DataSet>, Data)>>,
    style: Mutex<Option<(Hash, bool, CodeStyle)>>,
    engine: Mutex<Option<(Hash, Arc<Engine>)>>,
    schemas: Mutex<Option<(Hash, Arc<Schemas>)>>,
    sass: Mutex<Sheets>,
    /// The state of the render that the graph is of.
    kept: Mutex<Option<Kept>>,
    /// What that render was made from, where another process made it.
    before: Mutex<Option<Before<Vec<Stamp>>>>,
    renders: AtomicU64,
}

/// What is made when it is first asked for.
type Late<T> = LazyCell<T, Box<dyn FnOnce() -> T + Send>>;

/// What a render begins with.
struct State {
    site: Arc<Site>,
    plan: Plan,
    /// What is known of them from the render before.
    values: Option<Values>,
    touched: Option<Touched>,
    /// What is wrong so far.
    errors: Errors,
    /// Whether nothing can be made for it.
    is_hopeless: bool,
}

impl Renderer {
    /// A renderer that remembers its renders: what they read, and of rendered content what `memory_bytes_max` holds.
    pub fn new(memory_bytes_max: usize) -> Self {
        Self { graph: Some(Mutex::new(late(Graph::new))), ..Self::for_one_render(memory_bytes_max) }
    }

    /// A renderer that knows what another knew after its last render.
    pub(crate) fn restored(
        memory_bytes_max: usize,
        graph: impl FnOnce() -> Graph + Send + 'static,
        parsed: impl FnOnce() -> KnownFiles + Send + 'static,
        before: Before<Vec<Stamp>>,
    ) -> Self {
        Self {
            graph: Some(Mutex::new(late(graph))),
            parsed: Mutex::new(late(parsed)),
            before: Mutex::new(Some(before)),
            ..Self::for_one_render(memory_bytes_max)
        }
    }

    /// What this renderer knows after a render of `input` that ended well with `summary`, its last, for another process
    /// to begin with (see [`Memo`](crate::Memo)). Writes nothing where it remembers nothing, or renders at this moment.
    ///
    /// # Errors
    /// What `out` says.
    pub fn write_memo(
        &self,
        input: &Input,
        summary: &Summary,
        readers: Readers,
        out: &mut (dyn Write + Send),
    ) -> io::Result<()> {
        memo::write(self, input, summary, readers, out)
    }

    /// Makes ready what the first save after many changes would make: an index of what reads what. Nothing is done where a
    /// render is under way.
    pub fn expect_saves(&self) {
        let graph = self.graph.as_ref().and_then(|graph| graph.try_lock().ok());
        if let Some(mut graph) = graph.filter(|_| lock(&self.kept).is_some()) {
            graph.expect_saves();
        }
    }

    /// The same renderer, which begins with the highlighted code that is in `store`; [`Renderer::keep_blocks`] keeps there
    /// what is new.
    #[must_use]
    pub fn with_blocks(self, store: Arc<dyn BlockStore>) -> Self {
        self.memory.blocks.keep_in(store);
        self
    }

    /// Keeps what was highlighted for the next process. Where nothing is new nothing is written.
    ///
    /// # Errors
    /// What the store says.
    pub fn keep_blocks(&self) -> io::Result<()> {
        self.memory.blocks.keep()
    }

    /// Shows what is known of the last render, if there is any.
    pub(crate) fn with_knowledge<T>(
        &self,
        show: impl FnOnce(&Graph, Option<Hash>, &ParsedFiles) -> T,
    ) -> Option<T> {
        let graph = self.graph.as_ref()?.try_lock().ok()?;
        let (config, parsed) = (**lock(&self.parsed)).clone();
        Some(show(&graph, config, &parsed))
    }

    /// Says that whoever has the outputs of render `since` does not have these of them as they were made, or has these
    /// beside them: they are made again, or said to be gone, by the next render since that one.
    pub fn distrust<'a>(&self, since: RenderId, outputs: impl IntoIterator<Item = &'a str>) {
        let outputs: HashSet<&str> = outputs.into_iter().collect();
        // What another process knew is not read before it must be.
        if let Some(graph) = self.graph.as_ref().filter(|_| !outputs.is_empty()) {
            lock(graph).distrust(since.0, &outputs);
        }
    }

    /// A renderer of which no second render is asked; it remembers nothing but content, within one.
    pub fn for_one_render(memory_bytes_max: usize) -> Self {
        Self {
            memory: Arc::new(Memory::new(memory_bytes_max)),
            graph: None,
            parsed: Mutex::new(late(KnownFiles::default)),
            config: Mutex::new(None),
            data: Mutex::new(None),
            style: Mutex::new(None),
            engine: Mutex::new(None),
            schemas: Mutex::new(None),
            sass: Mutex::default(),
            kept: Mutex::new(None),
            before: Mutex::new(None),
            renders: AtomicU64::new(0),
        }
    }

    /// Renders a site: outputs go to `sink`, from rayon's threads, while the render is going on.
    ///
    /// With `since`, an earlier render of this renderer whose outputs the receiver has all, only outputs that may
    /// differ from these are handed over, if that render is still remembered; otherwise all are. The summary says which.
    ///
    /// Equal inputs give equal files, whatever the number of threads, the hour and the machine. After an error some
    /// files may have been put; they are of no release.
    ///
    /// # Errors
    /// All that is wrong with the site.
    pub fn render(&self, input: &Input, since: Option<RenderId>, sink: &dyn Sink) -> Result<Summary, Errors> {
        self.render_explained(input, since, sink, Pace::Whole, None)
    }

    /// Renders as [`Renderer::render`] does, and leaves the search indexes of a large site for a render to come, where the
    /// receiver has earlier ones: pages do not wait for what holds all of them. The summary says whether it did.
    ///
    /// # Errors
    /// All that is wrong with the site.
    pub fn render_soon(
        &self,
        input: &Input,
        since: Option<RenderId>,
        sink: &dyn Sink,
    ) -> Result<Summary, Errors> {
        self.render_explained(input, since, sink, Pace::Soon, None)
    }

    /// Renders as [`Renderer::render`] does, and explains what becomes of an output: what it read in the last render that
    /// is known, and what of that is different.
    ///
    /// # Errors
    /// All that is wrong with the site.
    pub fn explain(
        &self,
        input: &Input,
        since: Option<RenderId>,
        sink: &dyn Sink,
        output: &str,
    ) -> Result<(Summary, Explanation), Errors> {
        let mut explained = (Arc::from(output), Explanation::default());
        let summary = self.render_explained(input, since, sink, Pace::Whole, Some(&mut explained))?;
        Ok((summary, explained.1))
    }

    fn render_explained(
        &self,
        input: &Input,
        since: Option<RenderId>,
        sink: &dyn Sink,
        pace: Pace,
        mut explained: Option<&mut (Arc<str>, Explanation)>,
    ) -> Result<Summary, Errors> {
        let render = self.renders.fetch_add(1, Ordering::Relaxed) + 1;
        // Of two renders at a time the second begins anew, and is not remembered.
        let mut guard = self.graph.as_ref().and_then(|graph| match graph.try_lock() {
            Ok(graph) => Some(graph),
            Err(TryLockError::Poisoned(broken)) => {
                let mut graph = broken.into_inner();
                *graph = late(Graph::new);
                Some(graph)
            }
            Err(TryLockError::WouldBlock) => None,
        });
        let graph = guard.as_deref_mut();
        let tracked = graph.is_some();
        // What an explanation is about is looked at whether it can differ or not.
        let kept = lock(&self.kept).take_if(|_| tracked).filter(|_| explained.is_none());
        let before = lock(&self.before).take_if(|_| tracked).filter(|_| explained.is_none());
        let begin = || self.begin(input, render, tracked, kept, before);
        // What another process knew is read meanwhile.
        let (state, mut graph) = rayon::join(begin, || graph.map(|graph| &mut **graph));
        let State { site, plan, values, touched, errors: known, is_hopeless } = state?;
        let jobs = &*plan.jobs;
        if is_hopeless {
            return Err(and_in_contents(&site, jobs, known));
        }
        // Pages that go and come again would be worse than those of before.
        let keep_going = input.options.keep_going && input.faults.is_empty();
        let is_good = known.is_empty();
        // Then outputs are made only for what else is wrong with them.
        let hands_over = is_good || keep_going;
        let since = since.map(|id| id.0).filter(|id| graph.as_ref().is_some_and(|graph| graph.knows(*id)));
        let is_again = values.is_some();
        let view = graph.as_ref().map(|graph| {
            let values = values.unwrap_or_else(|| Values::of(&site));
            View::new(&site, jobs, graph.key, values)
        });
        let mut wanted = match (&mut graph, &view) {
            (Some(graph), Some(view)) => {
                let planned = Planned { site: &site, jobs, view, touched, is_again };
                graph.begin(planned, render, since, explained.as_deref_mut())
            }
            _ => vec![true; jobs.len()],
        };
        if !hands_over {
            for (job, wanted) in jobs.iter().zip(&mut wanted) {
                *wanted &= !matches!(job, Job::Copy { .. });
            }
        }
        let is_index = |job: &Job| matches!(job, Job::Search(_));
        let mut postponed = false;
        if let Some(graph) = graph.as_ref().filter(|_| pace == Pace::Soon && since.is_some())
            && site.library.pages.len() > SEARCHED_AT_ONCE_MAX
        {
            for (job, wanted) in jobs.iter().zip(&mut wanted).filter(|(job, _)| is_index(job)) {
                let postpones = *wanted && graph.has_made(&job.name(&site));
                postponed |= postpones;
                *wanted &= !postpones;
            }
        }
        let closed = AtomicBool::new(false);
        let put_files = AtomicU64::new(0);
        let errors = Mutex::new(known);
        let failed = Mutex::new(BTreeMap::new());
        let checks: Mutex<Checks> = Mutex::new(Checks::default());
        let asked = explained.as_ref().map(|(output, _)| output.clone());
        let asked_for = AtomicBool::new(false);
        let put = |file: File, copy_of: Option<&str>| {
            if !hands_over {
                return;
            }
            put_files.fetch_add(1, Ordering::Relaxed);
            if asked.as_deref() == Some(file.path.as_str()) {
                asked_for.store(true, Ordering::Relaxed);
            }
            let taken = match copy_of {
                Some(source) => sink.put_copy(file, source),
                None => sink.put(file),
            };
            if taken.is_err() {
                closed.store(true, Ordering::Relaxed);
            }
        };
        let shared = Mutex::new(graph);
        let run = |(place, job): (usize, &Job)| {
            if closed.load(Ordering::Relaxed) {
                return;
            }
            // What is read tells what may be wrong only for what else is.
            let (result, reads) = if tracked || !is_good {
                reads::noted(|| job::run(&site, job))
            } else {
                (job::run(&site, job), Box::default())
            };
            match result {
                Ok(done) => {
                    if let Some((content, rendered)) = &done.content {
                        lock(&checks).add(&site, *content, rendered.facts.clone());
                    }
                    if let Some(graph) = lock(&shared).as_mut() {
                        let outputs = done.files.iter().map(|file| Arc::from(file.path.as_str())).collect();
                        graph.made(&site, (place as u32, job.name(&site)), render, &reads, outputs);
                    }
                    let copy_of = match job {
                        Job::Copy { source, .. } => Some(source.as_str()),
                        _ => None,
                    };
                    done.files.into_iter().for_each(|file| put(file, copy_of));
                }
                Err(more) => {
                    if let Some((content, _)) = job.content(&site.library) {
                        lock(&checks).failed.insert(content);
                    }
                    if let Some(graph) = lock(&shared).as_mut() {
                        graph.failed(&job.name(&site));
                    }
                    if keep_going && let Some(output) = job.output(&site) {
                        lock(&failed).insert(output, more.clone());
                    }
                    lock(&errors).extend(more);
                }
            }
        };
        let wanted_jobs = jobs.iter().enumerate().filter(|(place, _)| wanted[*place]);
        let (indexes, others): (Vec<_>, Vec<_>) = wanted_jobs.partition(|(_, job)| is_index(job));
        others.into_par_iter().with_max_len(JOBS_AT_ONCE).for_each(run);
        // Indexes are put together from what pages have left.
        if keep_going || lock(&errors).is_empty() {
            indexes.into_par_iter().for_each(run);
        }
        let mut graph = shared.into_inner().unwrap_or_else(PoisonError::into_inner);
        // Copies of images are known when all templates have run.
        let copies: Vec<_> = match &mut graph {
            Some(graph) if keep_going || lock(&errors).is_empty() => {
                graph.settle(&site, render);
                graph.wanted_copies(since, site.beyond_zola)
            }
            _ => site.images.take().into_iter().map(|(path, wish)| (path.into(), wish)).collect(),
        };
        // Copies take longer than all else together, and of an image that none can be made of, its header mostly tells.
        let copies = if hands_over { copies } else { Vec::new() };
        let shared = Mutex::new(graph);
        copies.into_par_iter().for_each(|(path, wish)| match job::image(&site, &path, &wish) {
            Ok(file) => {
                if let Some(graph) = lock(&shared).as_mut() {
                    graph.made_copy(path, render);
                }
                put(file, None);
            }
            Err(diagnostic) => lock(&errors).push(diagnostic),
        });
        let mut graph = shared.into_inner().unwrap_or_else(PoisonError::into_inner);
        let closed_now = || Err(Diagnostic::new(SinkClosed.to_string()).into());
        if closed.load(Ordering::Relaxed) {
            return closed_now();
        }
        let mut errors = errors.into_inner().unwrap_or_else(PoisonError::into_inner);
        let mut warnings = std::mem::take(&mut *lock(&site.warnings));
        warnings.extend_from_slice(&plan.warnings);
        let mut checks = checks.into_inner().unwrap_or_else(PoisonError::into_inner);
        let only_warns = site.config.link_checker.internal_level == config::Level::Warn;
        if let Some(graph) = graph.as_ref().filter(|graph| only_warns || graph.headings_differ()) {
            for (job, _) in jobs.iter().zip(&wanted).filter(|(_, wanted)| !**wanted) {
                if let Some((content, source)) = job.content(&site.library)
                    && let Some(known) = graph.facts(&source)
                {
                    checks.add(&site, content, known);
                }
            }
        }
        // Of a page that failed no heading is known, and none is missed.
        let found = checks.broken(&site, |content| graph.as_ref()?.facts(site.source_of(content)));
        if only_warns {
            warnings.extend(found);
        } else {
            errors.extend(found);
        }
        let errors = errors;
        if !keep_going {
            errors.clone().into_result()?;
        }
        if let Some(graph) = &graph {
            warnings.extend(graph.warnings());
        }
        warnings.sort();
        warnings.dedup();
        if jobs.iter().zip(&wanted).all(|(job, wanted)| *wanted || job.content(&site.library).is_none()) {
            self.memory.blocks.see_all();
        }
        let rendered = usize::try_from(put_files.into_inner()).unwrap_or(usize::MAX);
        let mut outputs = rendered;
        if let Some((_, explanation)) = explained {
            explanation.rendered = asked_for.into_inner();
        }
        if let (Some(graph), Some(view)) = (&mut graph, &view) {
            for path in graph.end(view, render, since) {
                if sink.remove(&path).is_err() {
                    return closed_now();
                }
            }
            outputs = graph.outputs();
        }
        let summary = Summary {
            render: RenderId(render),
            handed: if since.is_some() { Handed::Changes } else { Handed::All },
            pages: site.library.pages.len(),
            sections: site.library.sections.len(),
            outputs,
            rendered,
            highlighted: self.memory.blocks.highlighted(),
            postponed,
            assets: plan.assets,
            next_change: site.library.next_change.and_then(|s| Timestamp::from_second(s).ok()),
            warnings,
            places: if site.source_lines { places(&site, &input.row_pages) } else { Vec::new() },
            failed: failed.into_inner().unwrap_or_else(PoisonError::into_inner),
            errors,
        };
        if let Some(values) = view.map(View::into_values).filter(|_| summary.errors.is_empty())
            && let Some(mut site) = Arc::into_inner(site)
        {
            site.forget();
            let (data, rows) = (input.data.clone(), input.row_pages.clone());
            *lock(&self.kept) = Some(Kept { site, plan, values, data, rows });
        }
        Ok(summary)
    }

    /// What a render begins with: the state that the last one left, if it can, or another, and what that touches in the one
    /// of before.
    fn begin(
        &self,
        input: &Input,
        render: u64,
        tracked: bool,
        kept: Option<Kept>,
        before: Option<Before<Vec<Stamp>>>,
    ) -> Result<State, Errors> {
        let mut basis = self.basis(input)?;
        let kept = kept.filter(|_| basis.errors.is_empty());
        if let Some((state, taken)) = kept.and_then(|kept| self.again(kept, input, &basis, render)) {
            drop(basis);
            let mut parsed = lock(&self.parsed);
            let files = Arc::make_mut(&mut parsed.1);
            files.extend(taken.into_iter().map(|taken| (taken.source, taken.parsed)));
            return Ok(state);
        }
        let parsed = before.is_some().then(|| basis.known.clone());
        let (mut errors, is_hopeless) = (std::mem::take(&mut basis.errors), basis.lacks_templates);
        let site = Arc::new(self.make(input, basis, render, tracked, &mut errors));
        let plan = job::plan(&site, &mut errors);
        let known = before.zip(parsed).filter(|_| errors.is_empty());
        let touched = known.and_then(|(before, parsed)| before.touched(input, &site, &parsed));
        Ok(State { site, plan, values: None, touched, errors, is_hopeless })
    }

    /// The state that the last render left, with what differs now taken over; none where that is not all there is to it.
    fn again(
        &self,
        mut kept: Kept,
        input: &Input,
        basis: &Basis,
        render: u64,
    ) -> Option<(State, Vec<Taken>)> {
        let site = &kept.site;
        let same_look = Arc::ptr_eq(&site.config, &basis.config) && Arc::ptr_eq(&site.engine, &basis.engine);
        if !same_look || site.settings != basis.settings {
            return None;
        }
        let (touched, taken) = kept.take(input, &basis.making(input))?;
        let Kept { site, plan, values, .. } = kept;
        let site = site.again(input.sources.clone(), input.now, render);
        warn_of_whole(&site, &basis.schemas, input);
        let site = Arc::new(site);
        let (values, touched, errors) = (Some(values), Some(touched), Errors::default());
        Some((State { site, plan, values, touched, errors, is_hopeless: false }, taken))
    }
}

fn late<T>(make: impl FnOnce() -> T + Send + 'static) -> Late<T> {
    LazyCell::new(Box::new(make))
}

/// What is wrong with a site that lacks its templates, and beside that with its contents: nothing is made. Content that is a
/// template itself is not looked at, since what it may call is not there.
pub(crate) fn and_in_contents(site: &Arc<Site>, jobs: &[Job], known: Errors) -> Errors {
    let errors = Mutex::new(known);
    let checks: Mutex<Checks> = Mutex::new(Checks::default());
    let contents = jobs.par_iter().filter_map(|job| job.content(&site.library));
    let is_templated = |content: Content| match content {
        Content::Page(id) => site.library.page(id).parsed.templated,
        Content::Section(id) => site.library.section(id).parsed.as_ref().is_some_and(|p| p.templated),
    };
    contents.filter(|(content, _)| !is_templated(*content)).for_each(|(content, source)| {
        let (rendered, _) = reads::noted(|| site.content_html(&source, false));
        match rendered {
            Some(Ok(rendered)) => lock(&checks).add(site, content, rendered.facts.clone()),
            Some(Err(more)) => lock(&errors).extend(more),
            None => {}
        }
    });
    let mut errors = errors.into_inner().unwrap_or_else(PoisonError::into_inner);
    if site.config.link_checker.internal_level == config::Level::Error {
        errors.extend(lock(&checks).broken(site, |_| None));
    }
    errors
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What is in these locks is whole between any two statements that can panic.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Nowhere;

    impl Sink for Nowhere {
        fn put(&self, _: File) -> Result<(), SinkClosed> {
            Ok(())
        }

        fn remove(&self, _: &str) -> Result<(), SinkClosed> {
            Ok(())
        }
    }

    /// A site of two pages, of which the second is not due before 2030.
    fn input(page: &str, section: &str, now: &str) -> Input {
        let files = [
            ("zola.toml", "base_url = \"https://example.org\"\ntaxonomies = [{ name = \"tags\" }]\n"),
            ("bakehouse.toml", ""),
            ("content/_index.md", section),
            ("content/a.md", page),
            ("content/b.md", "+++\ntitle = \"B\"\ndate = 2030-01-01\n+++\n"),
        ];
        Input {
            sources: Sources::from_files(files.map(|(path, text)| (path.to_owned(), text.to_owned().into()))),
            data: Arc::default(),
            row_pages: Arc::default(),
            faults: Faults::default(),
            now: now.parse().unwrap(),
            options: Options::default(),
        }
    }

    /// Whether a render of `second` takes over what one of `first` left, and knows what is touched where only its memo is left.
    fn takes_over(first: &Input, second: &Input) -> bool {
        let renderer = Renderer::new(1 << 20);
        let summary = renderer.render(first, None, &Nowhere).unwrap();
        let mut memo = Vec::new();
        renderer.write_memo(first, &summary, Readers::Own, &mut memo).unwrap();
        let (restored, _) = memo::Memo::open(memo.into()).unwrap().renderer(1 << 20);
        let before = lock(&restored.before).take();
        let state = restored.begin(second, 1, true, None, before);
        let kept = lock(&renderer.kept).take().unwrap();
        let takes_over = renderer.again(kept, second, &renderer.basis(second).unwrap(), 2).is_some();
        assert_eq!(state.is_ok_and(|state| state.touched.is_some()), takes_over);
        takes_over
    }

    #[test]
    fn texts_and_titles_are_taken_over() {
        const NOW: &str = "2026-06-01T00:00:00Z";
        const LATER: &str = "2026-06-02T00:00:00Z";
        let first = input("+++\ntitle = \"A\"\n+++\ntext", "+++\n+++\n", NOW);
        for (page, section, now, taken_over) in [
            ("+++\ntitle = \"A\"\n+++\nother text", "+++\n+++\n", LATER, true),
            ("+++\ntitle = \"Other\"\n+++\ntext", "+++\n+++\nA text.", LATER, true),
            ("+++\ntitle = \"A\"\nslug = \"other\"\n+++\ntext", "+++\n+++\n", LATER, false),
            ("+++\ntitle = \"A\"\n[taxonomies]\ntags = [\"x\"]\n+++\ntext", "+++\n+++\n", LATER, false),
            ("+++\ntitle = \"A\"\n+++\ntext", "+++\ntitle = \"Home\"\n+++\n", LATER, false),
            ("+++\ntitle =\n+++\ntext", "+++\n+++\n", LATER, false),
            ("+++\ntitle = \"A\"\n+++\ntext", "+++\n+++\n", "2030-01-01T00:00:00Z", false),
            ("+++\ntitle = \"A\"\n+++\ntext", "+++\n+++\n", "2026-05-31T00:00:00Z", false),
        ] {
            let second = input(page, section, now);
            assert_eq!(takes_over(&first, &second), taken_over, "{page} {section} {now}");
        }
        let sorted = "+++\nsort_by = \"title\"\n+++\n";
        let first = input("+++\ntitle = \"A\"\n+++\n", sorted, NOW);
        assert!(takes_over(&first, &input("+++\ntitle = \"A\"\n+++\ntext", sorted, NOW)));
        assert!(!takes_over(&first, &input("+++\ntitle = \"Other\"\n+++\n", sorted, NOW)));
    }
}
