//! A render: sources and data in, files out.
//!
//! Owns the order of things: configuration, templates, content, then all outputs in parallel, streamed to a [`Sink`].
//! No rendered page is kept but in the bounded memory; what a site of many pages costs is its front matter.

mod input;
mod making;
mod output;
mod prepare;

use std::cell::LazyCell;
use std::collections::HashSet;
use std::io::{self, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};

use blake3::Hash;
use jiff::Timestamp;
use rayon::prelude::*;

use self::making::{Made, Making};
use self::prepare::{Basis, Data, KnownFiles, warn_of_whole};
use crate::blocks::BlockStore;
use crate::config::{self, Config};
use crate::data::DataSet;
use crate::diagnostic::{Diagnostic, Errors};
use crate::graph::{Explanation, Graph, Planned};
use crate::headings::Checks;
use crate::highlight::CodeStyle;
use crate::job::{self, Job, Plan};
use crate::kept::{Before, Kept, Touched};
use crate::library::{Content, ParsedFiles, Taken};
use crate::memo::{self, Readers};
use crate::places::{Place, places};
use crate::reads;
use crate::sass::Sheets;
use crate::schemas::Schemas;
use crate::site::{Memory, Site};
use crate::sources::Stamp;
use crate::templates::Engine;
use crate::view::{Values, View};

pub use self::input::{BaseUrl, Input, Options};
pub use self::output::{Handed, RenderId, Sink, SinkClosed, Summary};
pub(crate) use self::prepare::{ignored_static, is_template};

/// Pages of a site up to which its search indexes are made in the render of a save.
const SEARCHED_AT_ONCE_MAX: usize = 500;

/// Whether a render leaves what takes long to the next one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Pace {
    Whole,
    Soon,
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

    /// Which of these files of the sources the last render asked for by their paths.
    pub fn asked_for<'a>(&self, files: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
        let Some(graph) = &self.graph else { return Vec::new() };
        let graph = lock(graph);
        files.filter(|path| graph.asked_for(path)).collect()
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
        let mut explanation = explained.1;
        if !explanation.rendered && (explanation.known.is_none() || !explanation.changed.is_empty()) {
            explanation.page = self.page_behind(input, output);
        }
        Ok((summary, explanation))
    }

    /// The page that would make an output if builds did not leave it out, or whose file is named in place of its output.
    fn page_behind(&self, input: &Input, output: &str) -> Option<Place> {
        let mut input = input.clone();
        input.options.drafts = true;
        let (site, _) = self.prepare(&input, &mut Errors::default()).ok()?;
        let is_withheld = |place: &Place| place.mark.is_some_and(|mark| mark.withheld);
        let is_meant =
            |place: &Place| place.source == output || (place.output == output && is_withheld(place));
        places(&site, &input.row_pages).into_iter().find(is_meant)
    }

    /// What outputs read. Of two renders at a time the second gets none: it begins anew, and is not remembered.
    fn claim_graph(&self) -> Option<MutexGuard<'_, Late<Graph>>> {
        match self.graph.as_ref()?.try_lock() {
            Ok(graph) => Some(graph),
            Err(TryLockError::Poisoned(broken)) => {
                let mut graph = broken.into_inner();
                *graph = late(Graph::new);
                Some(graph)
            }
            Err(TryLockError::WouldBlock) => None,
        }
    }

    fn render_explained(
        &self,
        input: &Input,
        since: Option<RenderId>,
        sink: &dyn Sink,
        pace: Pace,
        explained: Option<&mut (Arc<str>, Explanation)>,
    ) -> Result<Summary, Errors> {
        match self.render_unplaced(input, since, sink, pace, explained) {
            Ok(mut summary) => {
                summary.errors = input.at_rows(summary.errors);
                let failed = summary.failed.values_mut().flatten();
                input.point_at_rows(failed.chain(&mut summary.warnings));
                Ok(summary)
            }
            Err(errors) => Err(input.at_rows(errors)),
        }
    }

    fn render_unplaced(
        &self,
        input: &Input,
        since: Option<RenderId>,
        sink: &dyn Sink,
        pace: Pace,
        mut explained: Option<&mut (Arc<str>, Explanation)>,
    ) -> Result<Summary, Errors> {
        let render = self.renders.fetch_add(1, Ordering::Relaxed) + 1;
        let mut guard = self.claim_graph();
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
        let is_soon = pace == Pace::Soon && since.is_some();
        let postponed = is_soon && postpone_indexes(&site, jobs, graph.as_deref(), &mut wanted);
        let explained_output = explained.as_ref().map(|(output, _)| output.clone());
        let making = Making::new(&site, sink, graph, known, render, keep_going, explained_output);
        making.run_all(jobs, &wanted);
        making.copy_images(since);
        if making.is_closed() {
            return Err(closed());
        }
        let Made { mut graph, mut errors, failed, checks, rendered, made_explained } = making.end();
        let mut warnings = std::mem::take(&mut *lock(&site.warnings));
        warnings.extend_from_slice(&plan.warnings);
        let found = broken_headings(&site, jobs, &wanted, graph.as_deref(), checks);
        match site.config.link_checker.internal_level {
            config::Level::Warn => warnings.extend(found),
            config::Level::Error => errors.extend(found),
        }
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
        let mut outputs = rendered;
        if let Some((_, explanation)) = &mut explained {
            explanation.rendered = made_explained;
        }
        if let (Some(graph), Some(view)) = (&mut graph, &view) {
            for path in graph.end(view, render, since) {
                if let Some((output, explanation)) = &mut explained {
                    explanation.removed |= **output == *path;
                }
                sink.remove(&path).map_err(|SinkClosed| closed())?;
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
            failed,
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

/// Leaves the search indexes of a large site that were made before as they are; whether it had to.
fn postpone_indexes(site: &Site, jobs: &[Job], graph: Option<&Graph>, wanted: &mut [bool]) -> bool {
    let Some(graph) = graph.filter(|_| site.library.pages.len() > SEARCHED_AT_ONCE_MAX) else { return false };
    let mut postponed = false;
    for (job, wanted) in jobs.iter().zip(wanted).filter(|(job, _)| job.is_index()) {
        if *wanted && graph.has_made(&job.name(site)) {
            *wanted = false;
            postponed = true;
        }
    }
    postponed
}

/// Links to headings that are not there. Contents that were not made are looked at where a heading of another may be gone.
fn broken_headings(
    site: &Arc<Site>,
    jobs: &[Job],
    wanted: &[bool],
    graph: Option<&Graph>,
    mut checks: Checks,
) -> Vec<Diagnostic> {
    let only_warns = site.config.link_checker.internal_level == config::Level::Warn;
    if let Some(graph) = graph.filter(|graph| only_warns || graph.headings_differ()) {
        for (job, _) in jobs.iter().zip(wanted).filter(|(_, wanted)| !**wanted) {
            if let Some((content, source)) = job.content(&site.library)
                && let Some(known) = graph.facts(&source)
            {
                checks.add(site, content, known);
            }
        }
    }
    // Of a page that failed no heading is known, and none is missed.
    checks.broken(site, |content| graph?.facts(site.source_of(content)))
}

fn closed() -> Errors {
    Diagnostic::new(SinkClosed.to_string()).into()
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
            Some(Err(more)) => {
                let facts = site.facts_despite(&source);
                lock(&checks).add_failed(site, content, facts);
                lock(&errors).extend(more);
            }
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
    use release::File;

    use super::*;
    use crate::data::Faults;
    use crate::sources::Sources;

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
