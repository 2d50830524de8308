//! One state of a site, as templates and content see it: addresses, values, rendered content.
//!
//! Made anew for each render from what changed; all that is costly comes from the renderer's memory.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use blake3::Hash;
use bytes::Bytes;
use jiff::Timestamp;
use tera::{Context, Map, Value};

use crate::config::{AnchorLinks, Config, MarkdownConfig};
use crate::diagnostic::{Diagnostic, nearest};
use crate::front_matter::Date;
use crate::graph::{self, ContentName};
use crate::highlight::{CodeStyle, Fence};
use crate::images::{ImageOptions, Shown, Wanted};
use crate::library::{
    self, CONTENT, Content, Library, Page, PageId, Parsed, Section, SectionId, Taxonomy, Term,
};
use crate::limits::Limits;
use crate::lines::Lines;
use crate::markdown::{self, ContentLink, Heading, Picture, Surroundings};
use crate::markup::names_the_top;
use crate::memory::Bounded;
use crate::reads::{Node, note, noted, unnoted};
use crate::remote::Remote;
use crate::scope::Scope;
use crate::search::Fragments;
use crate::slugs::Slugify;
use crate::sources::Sources;
use crate::templates::{self, Engine, Field, Fields};
use crate::value::{self, key};

/// Values of pages that are kept while a site is rendered, in bytes: lists ask for the same ones again and again.
const PAGE_VALUES_BYTES_MAX: usize = 2 << 20;

/// Values of the pages of terms that are kept, in bytes: the pagers of a term ask for the same ones one after the other.
const LISTS_BYTES_MAX: usize = 2 << 20;

/// Values of sections that are kept, in bytes, whatever the site's size.
const SECTION_VALUES_BYTES_MIN: usize = 4 << 20;

/// What is added to that for each page: navigation that walks all sections on every page must find them all, or a
/// site's time would grow with the square of its size.
const SECTION_VALUES_BYTES_A_PAGE: usize = 2_000;

/// About what the value of a page occupies beside its content, in bytes.
const PAGE_VALUE_BYTES: usize = 1_000;

/// Summaries that are kept, in bytes for each page: lists show them again and again.
const SUMMARIES_BYTES_A_PAGE: usize = 1_000;

/// What it takes to keep a summary, beside its text, in bytes.
const SUMMARY_BYTES: usize = 150;

/// Summaries that are kept in any site, in bytes.
const SUMMARIES_BYTES_MIN: usize = 1 << 20;

/// What a running renderer remembers between renders.
pub(crate) struct Memory {
    /// Rendered content.
    pub(crate) html: Bounded<Hash, Arc<Rendered>>,
    /// Highlighted blocks.
    pub(crate) code: Bounded<Hash, Arc<str>>,
    /// Bodies of files that are copied, so that they are not read again for each render.
    pub(crate) files: Bounded<Hash, Bytes>,
    /// Parsed data files, by digest and format.
    pub(crate) data: Bounded<(Hash, String), Value>,
    /// Answers of other servers.
    pub(crate) remote: Remote,
    /// What pages add to search indexes.
    pub(crate) fragments: Fragments,
}

impl Memory {
    pub(crate) fn new(bytes_max: usize) -> Self {
        Self {
            html: Bounded::new(bytes_max / 2),
            code: Bounded::new(bytes_max / 4),
            files: Bounded::new(bytes_max / 8),
            data: Bounded::new(bytes_max / 8),
            remote: Remote::default(),
            fragments: Fragments::default(),
        }
    }
}

/// The content of a page or section as templates get it, and what it used.
#[derive(Debug)]
pub(crate) struct Rendered {
    pub(crate) content: Value,
    pub(crate) summary: Value,
    pub(crate) toc: Value,
    pub(crate) facts: Arc<Facts>,
    links: Box<[ContentLink]>,
    images: Box<[String]>,
    /// Images by the address that the content gives, and what they are shown with.
    shown: Box<[(String, Shown)]>,
    /// What it read beside its own text.
    reads: Box<[Node]>,
}

/// What is known of a content for the check of links to headings.
#[derive(Debug, Default, serde::Serialize, serde::Deserialize)]
pub(crate) struct Facts {
    pub(crate) anchors: Box<[u64]>,
    /// Links to headings.
    pub(crate) links: Box<[ContentLink]>,
}

/// Half a digest of each part of a content.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(crate) struct Parts {
    pub(crate) content: u128,
    pub(crate) summary: u128,
    pub(crate) toc: u128,
}

/// Contents that were rendered, by source and kind of links.
type Fresh = HashMap<ContentName, graph::Content<Box<[Node]>>>;

/// Hash of an anchor: only equality matters, and there are many.
pub(crate) fn anchor_hash(anchor: &str) -> u64 {
    let hash = blake3::hash(anchor.as_bytes());
    let mut first = [0; 8];
    first.copy_from_slice(&hash.as_bytes()[..8]);
    u64::from_le_bytes(first)
}

/// Where links lead to.
#[derive(Debug, Clone)]
pub(crate) struct Base {
    /// With scheme and host, without a slash at the end.
    pub(crate) absolute: String,
    /// What permalinks in pages begin with: the same, or nothing.
    pub(crate) links: String,
    /// What templates see as `config.base_url`.
    pub(crate) shown: String,
    /// The same in feeds and the sitemap: as the configuration has it.
    pub(crate) written: String,
}

/// One state of a site.
pub(crate) struct Site {
    pub(crate) sources: Sources,
    pub(crate) config: Arc<Config>,
    /// Digest of all that content depends on beside its file and its links.
    pub(crate) look: Hash,
    pub(crate) library: Library,
    pub(crate) engine: Arc<Engine>,
    pub(crate) memory: Arc<Memory>,
    pub(crate) limits: Limits,
    pub(crate) base: Base,
    pub(crate) now: Timestamp,
    pub(crate) beyond_zola: bool,
    /// Whether blocks of content say where they come from.
    pub(crate) source_lines: bool,
    pub(crate) theme: Option<String>,
    pub(crate) data: Value,
    pub(crate) code_style: CodeStyle,
    /// The theme's assets: path → hashed path.
    pub(crate) assets: BTreeMap<String, String>,
    /// Files made before pages: style sheets.
    pub(crate) generated: BTreeMap<String, Bytes>,
    /// Outputs that are copied from co-located files, and these.
    pub(crate) colocated: HashMap<String, Arc<str>>,
    configs: HashMap<String, (Value, Value)>,
    made: Made,
    /// Distinguishes this render from all others of the process, for content that must not outlive it.
    render: u64,
    pub(crate) warnings: Mutex<Vec<Diagnostic>>,
    /// What images in content are shown with.
    pub(crate) image_options: ImageOptions,
    /// Whether content has formulas.
    pub(crate) math: bool,
    /// Copies of images that templates and content have asked for.
    pub(crate) images: Wanted,
    /// Half a digest of configuration, options and addresses.
    pub(crate) settings: u128,
    /// The same of each source's data.
    pub(crate) data_values: BTreeMap<String, u128>,
    /// Contents that were rendered, for a graph; none where nobody keeps one.
    fresh: Option<Mutex<Fresh>>,
}

/// Values that were made while a site is rendered, and may be asked for again.
struct Made {
    pages: Bounded<(PageId, Fields, bool), Value>,
    sections: Bounded<(SectionId, Fields, bool, bool), Value>,
    /// The pages of terms, which each pager of a term has.
    lists: Bounded<(Box<str>, Fields, bool, Pages), Value>,
    summaries: Bounded<(PageId, bool), Value>,
    taxonomies: Mutex<HashMap<(String, Fields, bool, Pages), Value>>,
}

impl Made {
    /// None yet, of a site of so many pages.
    fn none(pages: usize) -> Self {
        Self {
            pages: Bounded::new(PAGE_VALUES_BYTES_MAX),
            sections: Bounded::undivided(SECTION_VALUES_BYTES_MIN + pages * SECTION_VALUES_BYTES_A_PAGE),
            lists: Bounded::undivided(LISTS_BYTES_MAX),
            summaries: Bounded::new(SUMMARIES_BYTES_MIN + pages * SUMMARIES_BYTES_A_PAGE),
            taxonomies: Mutex::new(HashMap::new()),
        }
    }
}

/// The makings of a site: what is not derived.
pub(crate) struct Makings {
    pub(crate) sources: Sources,
    pub(crate) config: Arc<Config>,
    pub(crate) look: Hash,
    pub(crate) library: Library,
    pub(crate) engine: Arc<Engine>,
    pub(crate) memory: Arc<Memory>,
    pub(crate) limits: Limits,
    pub(crate) image_options: ImageOptions,
    pub(crate) math: bool,
    pub(crate) base: Base,
    pub(crate) now: Timestamp,
    pub(crate) beyond_zola: bool,
    pub(crate) source_lines: bool,
    pub(crate) data: Value,
    pub(crate) code_style: CodeStyle,
    pub(crate) assets: BTreeMap<String, String>,
    pub(crate) generated: BTreeMap<String, Bytes>,
    pub(crate) colocated: HashMap<String, Arc<str>>,
    pub(crate) render: u64,
    pub(crate) settings: u128,
    pub(crate) data_values: BTreeMap<String, u128>,
    /// Whether what contents read is kept.
    pub(crate) tracked: bool,
}

impl Site {
    pub(crate) fn new(parts: Makings) -> Self {
        let configs = parts
            .config
            .language_codes()
            .into_iter()
            .map(|code| {
                let pages = parts.config.to_value(code, &parts.base.shown);
                let feeds = parts.config.to_value(code, &parts.base.written);
                (code.to_owned(), (pages, feeds))
            })
            .collect();
        let theme = parts.config.theme.clone().filter(|t| !t.is_empty());
        let pages = parts.library.pages.len();
        Self {
            sources: parts.sources,
            config: parts.config,
            look: parts.look,
            library: parts.library,
            engine: parts.engine,
            memory: parts.memory,
            limits: parts.limits,
            base: parts.base,
            now: parts.now,
            beyond_zola: parts.beyond_zola,
            source_lines: parts.source_lines,
            theme,
            data: parts.data,
            code_style: parts.code_style,
            assets: parts.assets,
            generated: parts.generated,
            colocated: parts.colocated,
            configs,
            made: Made::none(pages),
            render: parts.render,
            warnings: Mutex::new(Vec::new()),
            image_options: parts.image_options,
            math: parts.math,
            images: Wanted::default(),
            settings: parts.settings,
            data_values: parts.data_values,
            fresh: parts.tracked.then(Mutex::default),
        }
    }

    /// The same state with other files and at another time, for the next render. Its library is what these files make it.
    pub(crate) fn again(self, sources: Sources, now: Timestamp, render: u64) -> Self {
        let fresh = self.fresh.is_some().then(Mutex::default);
        Self { sources, now, render, images: Wanted::default(), fresh, ..self }
    }

    /// Which render this is of.
    pub(crate) fn render(&self) -> u64 {
        self.render
    }

    /// Whether what contents read is noted.
    pub(crate) fn is_tracked(&self) -> bool {
        self.fresh.is_some()
    }

    /// Forgets values that only one render asks for.
    pub(crate) fn forget(&mut self) {
        self.made = Made::none(self.library.pages.len());
    }

    /// The address of a path such as `/blog/first/`.
    pub(crate) fn permalink(&self, path: &str, absolute: bool) -> String {
        let base = if absolute { &self.base.absolute } else { &self.base.links };
        format!("{base}{path}")
    }

    pub(crate) fn warn(&self, warning: Diagnostic) {
        note(|| Node::Warning(Arc::new(warning.clone())));
        self.warnings.lock().unwrap_or_else(PoisonError::into_inner).push(warning);
    }

    /// The `config` variable.
    pub(crate) fn config_value(&self, lang: &str, absolute: bool) -> Value {
        self.configs
            .get(lang)
            .or_else(|| self.configs.get(&self.config.default_language))
            .map_or_else(Value::none, |(pages, feeds)| if absolute { feeds.clone() } else { pages.clone() })
    }

    /// The variables that every template has.
    pub(crate) fn context(&self, lang: &str, absolute: bool) -> Context {
        note(|| Node::Config);
        let mut context = Context::new();
        context.insert_value("config", self.config_value(lang, absolute));
        context.insert_value("lang", Value::from(lang));
        context.insert_value("data", self.data.clone());
        context
    }

    /// Adds the variables that say where a page is.
    pub(crate) fn place(&self, context: &mut Context, path: &str) {
        context.insert_value("current_path", Value::from(path));
        // Canonical addresses have a host, also where links are root-relative.
        context.insert_value("current_url", Value::from(self.permalink(path, true)));
    }

    /// The permalink of content, by the path of its file below `content/`; also of a co-located file.
    pub(crate) fn resolve(&self, target: &str, absolute: bool) -> Option<String> {
        note(|| Node::Link(target.into(), absolute));
        if let Some(id) = self.library.page_id(target) {
            return Some(self.permalink(&self.library.page(id).path, absolute));
        }
        if let Some(id) = self.library.section_id(target) {
            return Some(self.permalink(&self.library.section(id).path, absolute));
        }
        self.colocated_path(target).map(|path| self.permalink(&path, absolute))
    }

    /// The output path of a co-located file, with a slash before it.
    pub(crate) fn colocated_path(&self, target: &str) -> Option<String> {
        let source = format!("{CONTENT}{target}");
        if target.ends_with(".md") || self.sources.get(&source).is_none() {
            return None;
        }
        let mut folder = target;
        while let Some(cut) = folder.rfind('/') {
            folder = &folder[..cut];
            if let Some(id) = self.library.page_id(&format!("{folder}/index.md")) {
                return Some(format!("{}{}", self.library.page(id).path, &target[cut + 1..]));
            }
            if let Some(id) = self.library.section_id(&format!("{folder}/_index.md"))
                && !target[cut + 1..].contains('/')
            {
                return Some(format!("{}{}", self.library.section(id).path, &target[cut + 1..]));
            }
        }
        let front = self.library.section_id("_index.md")?;
        (!target.contains('/')).then(|| format!("{}{target}", self.library.section(front).path))
    }

    /// What a broken link may have meant.
    fn near_target(&self, target: &str) -> Option<String> {
        nearest(target, self.library.paths()).map(|near| format!("did you mean `@/{near}`?"))
    }

    fn anchors_of(&self, page: &Page) -> AnchorLinks {
        page.section
            .and_then(|id| self.library.section(id).matter.insert_anchor_links)
            .unwrap_or(self.config.markdown.insert_anchor_links)
    }

    /// The page of that file below `content/`.
    pub(crate) fn find_page(&self, relative: &str) -> Option<PageId> {
        let found = self.library.page_id(relative);
        if found.is_none() {
            note(|| Node::Page(format!("{CONTENT}{relative}").into(), Fields::default(), false));
        }
        found
    }

    /// The section of that file below `content/`.
    pub(crate) fn find_section(&self, relative: &str) -> Option<SectionId> {
        let found = self.library.section_id(relative);
        if found.is_none() {
            note(|| Node::Section(format!("{CONTENT}{relative}").into(), Fields::default(), false));
        }
        found
    }

    /// The term of that name or slug.
    pub(crate) fn term_named(&self, taxonomy: usize, name: &str) -> Option<usize> {
        let taxonomy = &self.library.taxonomies[taxonomy];
        note(|| Node::TermNamed(taxonomy.path.as_str().into(), name.into()));
        self.find_term(taxonomy, name)
    }

    pub(crate) fn find_term(&self, taxonomy: &Taxonomy, name: &str) -> Option<usize> {
        let slug = crate::slugs::path_component(name, self.config.slugify.taxonomies);
        let terms = &taxonomy.terms;
        terms.iter().position(|t| &*t.name == name).or_else(|| terms.iter().position(|t| *t.slug == *slug))
    }

    /// Notes that these fields of a page are read.
    pub(crate) fn note_page(&self, id: PageId, fields: Fields, absolute: bool) {
        note(|| {
            let fields = fields.body();
            Node::Page(self.library.page(id).source.clone(), fields, absolute && fields.any(Fields::CONTENT))
        });
    }

    /// Notes that these fields of a section are read.
    pub(crate) fn note_section(&self, id: SectionId, fields: Fields, absolute: bool) {
        note(|| {
            let fields = fields.body();
            let source = self.library.section(id).source.clone();
            Node::Section(source, fields, absolute && fields.any(Fields::CONTENT))
        });
    }

    fn note_members(&self, id: SectionId, fields: Fields, absolute: bool) {
        note(|| {
            let fields = fields.body();
            let source = self.library.section(id).source.clone();
            Node::Members(source, fields, absolute && fields.any(Fields::CONTENT))
        });
    }

    /// The rendered content of a page.
    pub(crate) fn page_html(
        self: &Arc<Self>,
        id: PageId,
        absolute: bool,
    ) -> Result<Arc<Rendered>, Vec<Diagnostic>> {
        self.html(&self.of_page(id, absolute), &self.library.page(id).parsed)
    }

    /// The rendered content of a section.
    pub(crate) fn section_html(
        self: &Arc<Self>,
        id: SectionId,
        absolute: bool,
    ) -> Result<Arc<Rendered>, Vec<Diagnostic>> {
        match &self.library.section(id).parsed {
            Some(parsed) => self.html(&self.of_section(id, absolute), parsed),
            None => Ok(Arc::new(Rendered::empty())),
        }
    }

    /// The rendered content of a source file, if it has any.
    pub(crate) fn content_html(
        self: &Arc<Self>,
        source: &str,
        absolute: bool,
    ) -> Option<Result<Arc<Rendered>, Vec<Diagnostic>>> {
        if let Some(id) = self.library.page_of(source) {
            return Some(self.page_html(id, absolute));
        }
        self.library.section_of(source).map(|id| self.section_html(id, absolute))
    }

    /// The digest of a content's text and of what it becomes HTML by.
    pub(crate) fn text_value(&self, source: &str, absolute: bool) -> Option<Hash> {
        if let Some(id) = self.library.page_of(source) {
            return Some(self.text_digest(&self.of_page(id, absolute), &self.library.page(id).parsed));
        }
        let id = self.library.section_of(source)?;
        let parsed = self.library.section(id).parsed.as_ref()?;
        Some(self.text_digest(&self.of_section(id, absolute), parsed))
    }

    fn of_page(&self, id: PageId, absolute: bool) -> Of<'_> {
        let page = self.library.page(id);
        Of {
            content: Content::Page(id),
            source: &page.source,
            lang: &page.lang,
            path: &page.path,
            anchors: self.anchors_of(page),
            absolute,
        }
    }

    fn of_section(&self, id: SectionId, absolute: bool) -> Of<'_> {
        let section = self.library.section(id);
        Of {
            content: Content::Section(id),
            source: &section.source,
            lang: &section.lang,
            path: &section.path,
            anchors: section.matter.insert_anchor_links.unwrap_or(self.config.markdown.insert_anchor_links),
            absolute,
        }
    }

    fn text_digest(&self, of: &Of<'_>, parsed: &Parsed) -> Hash {
        let mut hasher = blake3::Hasher::new();
        hasher.update(parsed.digest.as_bytes());
        hasher.update(self.look.as_bytes());
        hasher.update(self.permalink(of.path, of.absolute).as_bytes());
        hasher.update(&[0, of.anchors as u8, u8::from(parsed.templated)]);
        hasher.update(of.lang.as_bytes());
        hasher.finalize()
    }

    fn html(self: &Arc<Self>, of: &Of<'_>, parsed: &Parsed) -> Result<Arc<Rendered>, Vec<Diagnostic>> {
        let mut name = self.text_digest(of, parsed);
        if parsed.templated {
            // What a template reads is not known here, so it is good for this render only.
            let mut hasher = blake3::Hasher::new();
            hasher.update(name.as_bytes()).update(&self.render.to_le_bytes());
            name = hasher.finalize();
        }
        if let Some(known) = self.memory.html.get(&name)
            && unnoted(|| self.still_holds(&known, of))
        {
            for wish in known.shown.iter().flat_map(|(_, shown)| &shown.copies) {
                self.images.add(wish);
            }
            self.keep(of, &known);
            return Ok(known);
        }
        let render = || self.render_content(of, parsed, &self.permalink(of.path, of.absolute));
        let (rendered, reads) = if self.is_tracked() { noted(render) } else { (render(), Box::default()) };
        let rendered = Arc::new(Rendered { reads, ..rendered? });
        self.memory.html.insert(name, rendered.clone(), rendered.bytes());
        self.keep(of, &rendered);
        Ok(rendered)
    }

    /// Keeps what a graph must know of a content.
    fn keep(&self, of: &Of<'_>, rendered: &Rendered) {
        let Some(fresh) = &self.fresh else { return };
        let name = (Arc::clone(of.source), of.absolute);
        if fresh.lock().unwrap_or_else(PoisonError::into_inner).contains_key(&name) {
            return;
        }
        let text = Node::Text(name.0.clone(), of.absolute);
        let content = graph::Content {
            parts: Parts::of(&rendered.content, &rendered.summary, &rendered.toc),
            facts: rendered.facts.clone(),
            reads: rendered.reads.iter().cloned().chain([text]).collect(),
        };
        fresh.lock().unwrap_or_else(PoisonError::into_inner).insert(name, content);
    }

    /// Gives away what was kept of contents.
    pub(crate) fn take_fresh(&self) -> Fresh {
        let Some(fresh) = &self.fresh else { return Fresh::new() };
        std::mem::take(&mut *fresh.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn still_holds(&self, rendered: &Rendered, of: &Of<'_>) -> bool {
        rendered.links.iter().all(|link| {
            link.target.is_empty()
                || self.resolve(&link.target, of.absolute).as_deref() == Some(&link.resolved)
        }) && rendered.images.iter().all(|image| self.image_exists(image, of) != Some(false))
            && rendered.shown.iter().all(|(image, shown)| {
                self.image_file(image, of) == Some((shown.source.clone(), shown.digest))
            })
    }

    fn render_content(
        self: &Arc<Self>,
        of: &Of<'_>,
        parsed: &Parsed,
        permalink: &str,
    ) -> Result<Rendered, Vec<Diagnostic>> {
        let unreadable = |e: &dyn std::fmt::Display| {
            vec![Diagnostic::in_file(&**of.source, format!("the file cannot be read: {e}"))]
        };
        let bytes = match &parsed.text {
            Some(text) => Bytes::copy_from_slice(text.as_bytes()),
            None => match self.sources.get(of.source) {
                Some(file) => file.read().map_err(|e| unreadable(&e))?,
                None => return Err(unreadable(&"it is gone")),
            },
        };
        let text = std::str::from_utf8(&bytes).map_err(|e| unreadable(&e))?;
        let body = text.get(parsed.body as usize..).unwrap_or("");
        let expanded = if parsed.templated { Some(self.expand(of, text, body)?) } else { None };
        let lines = (self.source_lines && parsed.text.is_none()).then(|| {
            let at = text.len() - body.len();
            match &expanded {
                Some(expanded) => Lines::of_expanded(of.source, text, at, expanded),
                None => Lines::of_file(of.source, text, at),
            }
        });
        let around = Around { site: self, of, permalink, lines, shown: RefCell::default() };
        let html = markdown::render(expanded.as_deref().unwrap_or(body), &around);
        if !html.problems.is_empty() {
            return Err(html
                .problems
                .into_iter()
                .map(|problem| {
                    // The place in a template's output says nothing; the link's text does.
                    let at = match (&expanded, &problem.broken) {
                        (None, _) => Some(parsed.body as usize + problem.at),
                        (Some(_), Some(target)) => text.find(&format!("@/{target}")),
                        (Some(_), None) => problem.message.split('`').nth(1).and_then(|word| text.find(word)),
                    };
                    let near = problem.broken.as_deref().and_then(|target| self.near_target(target));
                    let hint = near.or_else(|| problem.hint.map(str::to_owned));
                    let diagnostic = Diagnostic::in_file(&**of.source, problem.message);
                    match at {
                        Some(at) if parsed.text.is_none() => diagnostic.at(text, at),
                        _ => diagnostic,
                    }
                    .maybe_hint(hint)
                })
                .collect());
        }
        let mut links = html.links;
        for link in &mut links {
            link.at = if expanded.is_none() { link.at + parsed.body as usize } else { 0 };
        }
        let facts = Facts {
            anchors: html.anchors.iter().map(|a| anchor_hash(a)).collect(),
            links: links.iter().filter(|link| link.anchor.is_some()).cloned().collect(),
        };
        Ok(Rendered {
            content: Value::from(html.body),
            summary: html.summary.map_or_else(Value::none, Value::from),
            toc: toc_value(&html.toc, permalink),
            facts: Arc::new(facts),
            links: links.into(),
            images: html.images.into(),
            shown: around.shown.into_inner().into(),
            reads: Box::from([]),
        })
    }

    /// Runs content that is a template.
    fn expand(self: &Arc<Self>, of: &Of<'_>, text: &str, body: &str) -> Result<String, Vec<Diagnostic>> {
        // It may call any component, and read any data.
        note(|| Node::Engine);
        note(|| Node::Data);
        let mut context = self.context(of.lang, of.absolute);
        self.place(&mut context, of.path);
        let scope =
            Scope::new(self.clone(), Arc::clone(of.source), of.absolute, Fields::default()).for_content();
        match of.content {
            Content::Page(id) => {
                context.insert_value("page", self.page_value(id, Fields::FRONT, of.absolute))
            }
            Content::Section(id) => {
                context.insert_value("section", self.section_value(id, Fields::FRONT, of.absolute, true));
            }
        }
        let guarded = guard_heading_ids(body);
        let mut out = Capped::new(self.limits.output_bytes_max);
        let done = scope.enter(|| self.engine.tera.render_str_to(&guarded, &context, false, &mut out));
        match done {
            Ok(()) => String::from_utf8(out.bytes).map_err(|_| {
                vec![Diagnostic::in_file(
                    &**of.source,
                    "the content's templates made what is not valid UTF-8",
                )]
            }),
            Err(e) => {
                let mut diagnostic =
                    templates::explain_render(&e, of.source, &|name| self.template_file(name));
                if diagnostic.path.as_deref() == Some("__tera_one_off") || diagnostic.path.is_none() {
                    let before = text.len() - body.len();
                    let lines = text[..before].matches('\n').count() as u32;
                    diagnostic.path = Some(of.source.to_string());
                    diagnostic.line = diagnostic.line.map(|line| line + lines);
                    diagnostic.hint = Some(
                        "literal `{{` in content is written within {% raw %} and {% endraw %}".to_owned(),
                    );
                }
                Err(vec![diagnostic])
            }
        }
    }

    /// The file that a template's name stands for.
    pub(crate) fn template_file(&self, name: &str) -> String {
        let own = format!("templates/{name}");
        if self.sources.get(&own).is_some() {
            return own;
        }
        if let Some(theme) = &self.theme
            && let Some(rest) = name.strip_prefix(&format!("{theme}/"))
        {
            return format!("themes/{theme}/{rest}");
        }
        name.to_owned()
    }

    fn image_exists(&self, target: &str, of: &Of<'_>) -> Option<bool> {
        self.beyond_zola.then(|| self.has_output_file(&self.image_path(target, of)))
    }

    /// The output that an image's address in content leads to.
    fn image_path(&self, target: &str, of: &Of<'_>) -> String {
        let plain = target.split(['?', '#']).next().unwrap_or(target);
        let base = if of.absolute { &self.base.absolute } else { &self.base.links };
        let path = plain.strip_prefix(base.as_str()).filter(|_| !base.is_empty()).unwrap_or(plain);
        let path = percent_encoding::percent_decode_str(path).decode_utf8_lossy();
        if path.starts_with('/') {
            path.trim_start_matches('/').to_owned()
        } else {
            join(of.path.trim_matches('/'), &path)
        }
    }

    /// The file of an image in content, and its digest.
    fn image_file(&self, target: &str, of: &Of<'_>) -> Option<(Arc<str>, Hash)> {
        let path = self.image_path(target, of);
        note(|| Node::Output(path.as_str().into()));
        let source = self.copied_source(&path)?;
        note(|| Node::Source(source.clone()));
        let digest = self.sources.get(&source)?.digest().ok()?;
        Some((source, digest))
    }

    /// What an image in content is shown with; none where that is not asked for, or it is no file of this site.
    fn shown(&self, target: &str, of: &Of<'_>) -> Result<Option<Shown>, String> {
        if !self.image_options.is_on() {
            return Ok(None);
        }
        let Some((source, digest)) = self.image_file(target, of) else { return Ok(None) };
        let header = self.images.header(digest, || self.sources.get(&source)?.read().ok());
        let shown = Shown::new(source, digest, header.as_deref(), &self.image_options)?;
        for wish in &shown.copies {
            note(|| Node::Copy(wish.clone()));
            self.images.add(wish);
        }
        Ok(Some(shown))
    }

    /// The file that is copied to an output path: a static one takes the place of a co-located one.
    pub(crate) fn copied_source(&self, path: &str) -> Option<Arc<str>> {
        self.static_source(path).map(Arc::from).or_else(|| self.colocated.get(path).cloned())
    }

    /// Whether a file that is copied or made before pages has this output path.
    pub(crate) fn has_output_file(&self, path: &str) -> bool {
        note(|| Node::Output(path.into()));
        self.colocated.contains_key(path)
            || self.generated.contains_key(path)
            || self.static_source(path).is_some()
            || self.assets.values().any(|hashed| hashed == path)
    }

    /// The static file, the site's own or its theme's, that has this output path.
    pub(crate) fn static_source(&self, path: &str) -> Option<String> {
        note(|| Node::Static(path.into()));
        let own = format!("static/{path}");
        if self.sources.get(&own).is_some() {
            return Some(own);
        }
        let theme = self.theme.as_ref()?;
        let theirs = format!("themes/{theme}/static/{path}");
        self.sources.get(&theirs).is_some().then_some(theirs)
    }

    /// Checks the anchors of links, once all content has been rendered.
    pub(crate) fn check_anchor(
        &self,
        from: &str,
        link: &ContentLink,
        facts: impl Fn(Content) -> Option<Arc<Facts>>,
    ) -> Option<Diagnostic> {
        let anchor = link.anchor.as_deref().filter(|anchor| !names_the_top(anchor))?;
        if self
            .config
            .link_checker
            .skip_anchor_prefixes
            .iter()
            .any(|prefix| link.resolved.starts_with(prefix))
        {
            return None;
        }
        let inside = from.strip_prefix(CONTENT).unwrap_or(from);
        let target = if link.target.is_empty() { inside } else { &link.target };
        let content = self.library.content_id(target)?;
        let known = facts(content)?;
        if known.anchors.contains(&anchor_hash(anchor)) {
            return None;
        }
        let shown =
            if link.target.is_empty() { format!("#{anchor}") } else { format!("@/{target}#{anchor}") };
        let mut diagnostic =
            Diagnostic::in_file(from, format!("the link `{shown}` leads to a heading that does not exist"));
        if let Some(file) = self.sources.get(from)
            && let Ok(bytes) = file.read()
            && let Ok(text) = std::str::from_utf8(&bytes)
        {
            // Where the content is a template, only what is written tells the place.
            let at = if link.at > 0 { link.at } else { text.find(&shown).unwrap_or(0) };
            diagnostic = diagnostic.at(text, at);
        }
        Some(diagnostic)
    }

    /// The value of a page for lists: of its content only what is asked for.
    pub(crate) fn page_value(self: &Arc<Self>, id: PageId, fields: Fields, absolute: bool) -> Value {
        self.note_page(id, fields, absolute);
        let fields = fields.of_pages();
        let name = (id, fields, absolute);
        if let Some(known) = self.made.pages.get(&name) {
            return known;
        }
        const WHOLE: Fields = Fields::of(&[Field::Content, Field::Toc]);
        let rendered = if fields.any(WHOLE) { self.page_html(id, absolute).ok() } else { None };
        let mut map = self.page_map(id, rendered.as_deref(), fields, absolute);
        if rendered.is_none() && fields.has(Field::Summary) {
            map.insert(key("summary"), self.summary(id, absolute));
        }
        let made = value::map(map);
        let content = rendered.as_ref().filter(|_| fields.has(Field::Content));
        self.made.pages.insert(name, made.clone(), PAGE_VALUE_BYTES + content.map_or(0, |r| r.bytes()));
        made
    }

    /// The summary of a page: most have none, and that is seen without rendering them.
    fn summary(self: &Arc<Self>, id: PageId, absolute: bool) -> Value {
        if !self.library.page(id).parsed.may_have_summary {
            return Value::none();
        }
        let name = (id, absolute);
        if let Some(known) = self.made.summaries.get(&name) {
            return known;
        }
        let Ok(rendered) = self.page_html(id, absolute) else { return Value::none() };
        let summary = rendered.summary.clone();
        let bytes = SUMMARY_BYTES + summary.as_str().map_or(0, str::len);
        self.made.summaries.insert(name, summary.clone(), bytes);
        summary
    }

    /// The value of the page that is rendered.
    pub(crate) fn own_page_value(
        self: &Arc<Self>,
        id: PageId,
        rendered: &Rendered,
        others: Fields,
        absolute: bool,
    ) -> Value {
        let mut map = self.page_map(id, Some(rendered), self.engine.mentioned, absolute);
        let page = self.library.page(id);
        let neighbour =
            |id: Option<PageId>| id.map_or_else(Value::none, |id| self.page_value(id, others, absolute));
        map.insert(key("lower"), neighbour(page.lower));
        map.insert(key("higher"), neighbour(page.higher));
        value::map(map)
    }

    fn page_map(
        self: &Arc<Self>,
        id: PageId,
        rendered: Option<&Rendered>,
        fields: Fields,
        absolute: bool,
    ) -> Map {
        let page = self.library.page(id);
        let matter = page.matter();
        let mut map = Fielded { map: Map::with_capacity(fields.count()), fields };
        let text = |s: Option<&str>| s.map_or_else(Value::none, Value::from);
        let texts =
            |list: &[Box<str>]| Value::from(list.iter().map(|s| Value::from(&**s)).collect::<Vec<_>>());
        let date = |d: Option<&Date>| d.map_or_else(Value::none, |d| Value::from(&*d.text));
        map.insert(Field::RelativePath, || Value::from(page.relative()));
        map.insert(Field::ColocatedPath, || colocated(page.relative(), page.bundle));
        map.insert(Field::Content, || rendered.map_or_else(|| Value::from(""), |r| r.content.clone()));
        map.insert(Field::Permalink, || Value::from(self.permalink(&page.path, absolute)));
        map.insert(Field::Slug, || Value::from(&*page.slug));
        map.insert(Field::Ancestors, || self.ancestors_value(&page.ancestors));
        map.insert(Field::Title, || text(matter.title.as_deref()));
        map.insert(Field::Description, || text(matter.description.as_deref()));
        map.insert(Field::Updated, || date(matter.updated.as_ref()));
        map.insert(Field::Date, || date(page.date.as_ref()));
        let (year, month, day) = page.date.as_ref().map_or_else(
            || (Value::none(), Value::none(), Value::none()),
            |d| (Value::from(d.year), Value::from(d.month), Value::from(d.day)),
        );
        map.insert(Field::Year, || year);
        map.insert(Field::Month, || month);
        map.insert(Field::Day, || day);
        map.insert(Field::Taxonomies, || {
            let kinds = matter.taxonomies.iter();
            value::map(kinds.map(|(kind, terms)| (value::owned_key(kind), texts(terms))).collect())
        });
        map.insert(Field::Authors, || texts(&matter.authors));
        map.insert(Field::Extra, || matter.extra.clone().unwrap_or_else(value::empty));
        map.insert(Field::Path, || Value::from(&*page.path));
        map.insert(Field::Components, || components(&page.path));
        map.insert(Field::Summary, || rendered.map_or_else(Value::none, |r| r.summary.clone()));
        map.insert(Field::Toc, || {
            rendered.map_or_else(|| Value::from(Vec::<Value>::new()), |r| r.toc.clone())
        });
        map.insert(Field::WordCount, || Value::from(page.parsed.words));
        map.insert(Field::ReadingTime, || Value::from(page.parsed.minutes(&page.lang)));
        map.insert(Field::Assets, || self.asset_paths(&page.assets, &page.path, bundle_folder(&page.source)));
        map.insert(Field::Draft, || Value::from(matter.draft));
        map.insert(Field::Weight, || matter.weight.map_or_else(Value::none, Value::from));
        map.insert(Field::Lang, || Value::from(&*page.lang));
        map.insert(Field::Lower, Value::none);
        map.insert(Field::Higher, Value::none);
        map.insert(Field::Translations, || self.translations_value(&page.source, &page.lang, absolute));
        map.insert(Field::Backlinks, || self.backlinks_value(self.library.backlinks_of_page(id), absolute));
        map.insert(Field::InSearchIndex, || Value::from(matter.in_search_index));
        map.insert(Field::IncludeInFeeds, || Value::from(matter.include_in_feeds));
        map.insert(Field::Hidden, || Value::from(page.hidden));
        map.insert(Field::Aliases, || texts(&matter.aliases));
        map.map
    }

    fn ancestors_value(&self, ids: &[SectionId]) -> Value {
        Value::from(
            ids.iter().map(|id| Value::from(self.library.section(*id).relative())).collect::<Vec<_>>(),
        )
    }

    fn asset_paths(&self, assets: &[Arc<str>], path: &str, folder: &str) -> Value {
        Value::from(
            assets
                .iter()
                .map(|asset| Value::from(format!("{path}{}", asset.strip_prefix(folder).unwrap_or(asset))))
                .collect::<Vec<_>>(),
        )
    }

    fn translations_value(&self, source: &str, lang: &str, absolute: bool) -> Value {
        let all = self.library.translations_of(source, lang);
        Value::from(
            all.iter()
                .map(|content| {
                    let (lang, title, path, source) = match content {
                        Content::Page(id) => {
                            let page = self.library.page(*id);
                            (&page.lang, page.title(), &page.path, &page.source)
                        }
                        Content::Section(id) => {
                            let section = self.library.section(*id);
                            (&section.lang, section.matter.title.as_deref(), &section.path, &section.source)
                        }
                    };
                    let mut map = Map::new();
                    map.insert(key("lang"), Value::from(&**lang));
                    map.insert(key("permalink"), Value::from(self.permalink(path, absolute)));
                    map.insert(key("title"), title.map_or_else(Value::none, Value::from));
                    map.insert(key("path"), Value::from(&**source));
                    value::map(map)
                })
                .collect::<Vec<_>>(),
        )
    }

    fn backlinks_value(&self, ids: &[PageId], absolute: bool) -> Value {
        Value::from(
            ids.iter()
                .map(|id| {
                    let page = self.library.page(*id);
                    let mut map = Map::new();
                    map.insert(key("permalink"), Value::from(self.permalink(&page.path, absolute)));
                    map.insert(key("title"), page.title().map_or_else(Value::none, Value::from));
                    value::map(map)
                })
                .collect::<Vec<_>>(),
        )
    }

    /// The value of a section; without its pages where only its own data is asked for.
    pub(crate) fn section_value(
        self: &Arc<Self>,
        id: SectionId,
        fields: Fields,
        absolute: bool,
        metadata_only: bool,
    ) -> Value {
        self.note_section(id, fields, absolute);
        if !metadata_only && fields.has(Field::Pages) {
            self.note_members(id, fields, absolute);
        }
        let name = (id, fields, absolute, metadata_only);
        if let Some(known) = self.made.sections.get(&name) {
            return known;
        }
        let rendered = if fields.any(Fields::CONTENT) { self.section_html(id, absolute).ok() } else { None };
        let map = self.section_map(id, rendered.as_deref(), fields, fields, absolute, metadata_only);
        let made = value::map(map);
        // Counted as if all its pages were held by it alone.
        let pages = if metadata_only { 0 } else { self.library.section(id).pages.len() };
        let each = PAGE_VALUE_BYTES + if fields.has(Field::Content) { 8 * PAGE_VALUE_BYTES } else { 0 };
        self.made.sections.insert(name, made.clone(), PAGE_VALUE_BYTES + pages * each);
        made
    }

    /// The value of a section with only its first pages, and how many it has.
    pub(crate) fn section_start(
        self: &Arc<Self>,
        id: SectionId,
        fields: Fields,
        absolute: bool,
        most: usize,
    ) -> Value {
        let section = self.library.section(id);
        note(|| Node::First(section.source.clone(), most));
        let mut map = self.section_value(id, fields, absolute, true).into_map().unwrap_or_default();
        let pages = library::first(&section.pages, most).iter();
        let pages: Vec<Value> = pages.map(|id| self.page_value(*id, fields, absolute)).collect();
        map.insert(key("pages"), Value::from(pages));
        map.insert(key("page_count"), Value::from(section.pages.len()));
        value::map(map)
    }

    /// The value of the section that is rendered. A paginated one has its pages in `paginator` alone.
    pub(crate) fn own_section_value(
        self: &Arc<Self>,
        id: SectionId,
        rendered: &Rendered,
        others: Fields,
        absolute: bool,
    ) -> Value {
        let paginated = self.library.section(id).matter.paginate_by.is_some();
        if !paginated && self.engine.mentioned.has(Field::Pages) {
            self.note_members(id, others, absolute);
        }
        let mut map =
            self.section_map(id, Some(rendered), self.engine.mentioned, others, absolute, paginated);
        let section = self.library.section(id);
        let neighbour = |id: Option<SectionId>| {
            id.map_or_else(Value::none, |id| self.section_value(id, others, absolute, true))
        };
        map.insert(key("lower"), neighbour(section.lower));
        map.insert(key("higher"), neighbour(section.higher));
        value::map(map)
    }

    fn section_map(
        self: &Arc<Self>,
        id: SectionId,
        rendered: Option<&Rendered>,
        own: Fields,
        others: Fields,
        absolute: bool,
        metadata_only: bool,
    ) -> Map {
        let section = self.library.section(id);
        let matter = &section.matter;
        let mut map = Fielded { map: Map::new(), fields: own };
        let text = |s: Option<&str>| s.map_or_else(Value::none, Value::from);
        map.insert(Field::RelativePath, || Value::from(section.relative()));
        map.insert(Field::ColocatedPath, || colocated(section.relative(), true));
        map.insert(Field::Content, || rendered.map_or_else(|| Value::from(""), |r| r.content.clone()));
        map.insert(Field::Permalink, || Value::from(self.permalink(&section.path, absolute)));
        map.insert(Field::Ancestors, || self.ancestors_value(&section.ancestors));
        map.insert(Field::Title, || text(matter.title.as_deref()));
        map.insert(Field::Description, || text(matter.description.as_deref()));
        map.insert(Field::Extra, || matter.extra.clone().unwrap_or_else(value::empty));
        map.insert(Field::Path, || Value::from(&*section.path));
        map.insert(Field::Components, || components(&section.path));
        map.insert(Field::Summary, || rendered.map_or_else(Value::none, |r| r.summary.clone()));
        map.insert(Field::Toc, || {
            rendered.map_or_else(|| Value::from(Vec::<Value>::new()), |r| r.toc.clone())
        });
        let words = section.parsed.as_ref().map_or(0, |p| p.words);
        map.insert(Field::WordCount, || Value::from(words));
        map.insert(Field::ReadingTime, || {
            Value::from(section.parsed.as_ref().map_or(0, |parsed| parsed.minutes(&section.lang)))
        });
        map.insert(Field::Lang, || Value::from(&*section.lang));
        map.insert(Field::Weight, || Value::from(matter.weight));
        map.insert(Field::Assets, || {
            self.asset_paths(&section.assets, &section.path, bundle_folder(&section.source))
        });
        map.insert(Field::Transparent, || Value::from(matter.transparent));
        map.insert(Field::Paginated, || matter.paginate_by.map_or_else(Value::none, Value::from));
        map.insert(Field::GenerateFeeds, || Value::from(matter.generate_feeds));
        map.insert(Field::Draft, || Value::from(matter.draft));
        map.insert(Field::Subsections, || {
            let paths = section.subsections.iter();
            Value::from(paths.map(|id| Value::from(self.library.section(*id).relative())).collect::<Vec<_>>())
        });
        map.insert(Field::Pages, || {
            let ids = if metadata_only { &[][..] } else { &section.pages[..] };
            self.page_values(ids, others, absolute)
        });
        map.insert(Field::Translations, || self.translations_value(&section.source, &section.lang, absolute));
        map.insert(Field::Backlinks, || {
            self.backlinks_value(self.library.backlinks_of_section(id), absolute)
        });
        map.insert(Field::Aliases, || {
            Value::from(matter.aliases.iter().map(|alias| Value::from(&**alias)).collect::<Vec<_>>())
        });
        map.insert(Field::Hidden, || Value::from(section.hidden));
        map.insert(Field::Lower, Value::none);
        map.insert(Field::Higher, Value::none);
        map.map
    }

    /// The value of a term.
    pub(crate) fn term_value(
        self: &Arc<Self>,
        term: &Term,
        fields: Fields,
        absolute: bool,
        pages: Pages,
    ) -> Value {
        note(|| {
            let fields = if pages == Pages::All { fields.body() } else { Fields::default() };
            Node::Term((*term.path).into(), pages, fields, absolute && fields.any(Fields::CONTENT))
        });
        let mut map = Map::with_capacity(6);
        map.insert(key("name"), Value::from(&*term.name));
        map.insert(key("slug"), Value::from(&*term.slug));
        map.insert(key("path"), Value::from(&*term.path));
        map.insert(key("permalink"), Value::from(self.permalink(&term.path, absolute)));
        let list = match pages {
            Pages::None => Value::from(Vec::<Value>::new()),
            Pages::All | Pages::Counted => self.term_pages(term, fields, absolute, pages),
        };
        map.insert(key("pages"), list);
        map.insert(key("page_count"), Value::from(term.pages.len()));
        value::map(map)
    }

    /// The values of all these pages; who reads them says so for all at once.
    fn page_values(self: &Arc<Self>, ids: &[PageId], fields: Fields, absolute: bool) -> Value {
        unnoted(|| {
            Value::from(ids.iter().map(|id| self.page_value(*id, fields, absolute)).collect::<Vec<_>>())
        })
    }

    /// The pages of a term, or as many values that say nothing: kept, since each of its pagers asks.
    fn term_pages(self: &Arc<Self>, term: &Term, fields: Fields, absolute: bool, pages: Pages) -> Value {
        let name = (term.path.clone(), fields, absolute, pages);
        if let Some(known) = self.made.lists.get(&name) {
            return known;
        }
        let (made, each) = if pages == Pages::All {
            let content = if fields.has(Field::Content) { 8 * PAGE_VALUE_BYTES } else { 0 };
            (self.page_values(&term.pages, fields, absolute), PAGE_VALUE_BYTES + content)
        } else {
            (Value::from(vec![Value::none(); term.pages.len()]), size_of::<Value>())
        };
        self.made.lists.insert(name, made.clone(), term.pages.len() * each);
        made
    }

    /// A taxonomy without its terms.
    pub(crate) fn taxonomy_map(&self, taxonomy: &Taxonomy, absolute: bool) -> Map {
        let mut map = taxonomy.config.to_value().into_map().unwrap_or_default();
        map.insert(key("slug"), Value::from(taxonomy.slug.as_str()));
        map.insert(key("lang"), Value::from(&*taxonomy.lang));
        map.insert(key("path"), Value::from(taxonomy.path.as_str()));
        map.insert(key("permalink"), Value::from(self.permalink(&taxonomy.path, absolute)));
        map
    }

    /// What `get_taxonomy` answers: kept, since navigation asks for it on every page.
    pub(crate) fn taxonomy_value(
        self: &Arc<Self>,
        taxonomy: &Taxonomy,
        fields: Fields,
        absolute: bool,
        pages: Pages,
    ) -> Value {
        note_taxonomy(taxonomy, fields, absolute, pages);
        let name = (taxonomy.path.clone(), fields, absolute, pages);
        if !fields.any(Fields::CONTENT)
            && let Some(known) =
                self.made.taxonomies.lock().unwrap_or_else(PoisonError::into_inner).get(&name)
        {
            return known.clone();
        }
        let mut map = Map::new();
        map.insert(key("kind"), value::map(self.taxonomy_map(taxonomy, absolute)));
        map.insert(key("lang"), Value::from(&*taxonomy.lang));
        map.insert(key("permalink"), Value::from(self.permalink(&taxonomy.path, absolute)));
        let items: Vec<Value> = unnoted(|| {
            taxonomy.terms.iter().map(|term| self.term_value(term, fields, absolute, pages)).collect()
        });
        map.insert(key("items"), Value::from(items));
        let made = value::map(map);
        if !fields.any(Fields::CONTENT) {
            self.made.taxonomies.lock().unwrap_or_else(PoisonError::into_inner).insert(name, made.clone());
        }
        made
    }
}

/// Notes that all terms of a taxonomy are read: which there are, and what each is.
pub(crate) fn note_taxonomy(taxonomy: &Taxonomy, fields: Fields, absolute: bool, pages: Pages) {
    note(|| {
        let fields = if pages == Pages::All { fields.body() } else { Fields::default() };
        let absolute = absolute && fields.any(Fields::CONTENT);
        Node::Taxonomy(taxonomy.path.as_str().into(), pages, fields, absolute)
    });
}

/// A value in the making, of which only fields are made that a template may read.
struct Fielded {
    map: Map,
    fields: Fields,
}

impl Fielded {
    fn insert(&mut self, field: Field, make: impl FnOnce() -> Value) {
        if self.fields.has(field) {
            self.map.insert(key(field.name()), make());
        }
    }
}

/// Whether the pages of a term are wanted, or only how many they are, or not even a list of that length.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
pub(crate) enum Pages {
    All,
    Counted,
    None,
}

impl Rendered {
    fn empty() -> Self {
        Self {
            content: Value::from(""),
            summary: Value::none(),
            toc: Value::from(Vec::<Value>::new()),
            facts: Arc::default(),
            links: Box::from([]),
            images: Box::from([]),
            shown: Box::from([]),
            reads: Box::from([]),
        }
    }

    /// About what it occupies, in bytes.
    pub(crate) fn bytes(&self) -> usize {
        400 + self.content.as_str().map_or(0, str::len)
            + self.summary.as_str().map_or(0, str::len)
            + self.facts.anchors.len() * 600
            + self.links.len() * 200
            + self.shown.iter().map(|(_, shown)| 200 + shown.copies.len() * 200).sum::<usize>()
            + self.reads.len() * 50
    }
}

/// The content that is rendered.
struct Of<'a> {
    content: Content,
    source: &'a Arc<str>,
    lang: &'a str,
    path: &'a str,
    anchors: AnchorLinks,
    absolute: bool,
}

struct Around<'a> {
    site: &'a Arc<Site>,
    of: &'a Of<'a>,
    permalink: &'a str,
    lines: Option<Lines<'a>>,
    /// Images so far.
    shown: RefCell<Vec<(String, Shown)>>,
}

impl Surroundings for Around<'_> {
    fn config(&self) -> &MarkdownConfig {
        &self.site.config.markdown
    }

    fn has_math(&self) -> bool {
        self.site.math
    }

    fn slugify_anchors(&self) -> Slugify {
        self.site.config.slugify.anchors
    }

    fn anchor_links(&self) -> AnchorLinks {
        self.of.anchors
    }

    fn permalink(&self) -> &str {
        self.permalink
    }

    fn resolve(&self, target: &str) -> Option<String> {
        self.site.resolve(target, self.of.absolute)
    }

    fn anchor_link(&self, id: &str, level: u8, title: &str) -> Result<String, String> {
        let mut context = Context::new();
        context.insert_value("id", Value::from(id));
        context.insert_value("level", Value::from(level));
        context.insert_value("title", Value::from(title));
        context.insert_value("lang", Value::from(self.of.lang));
        let scope =
            Scope::new(self.site.clone(), Arc::clone(self.of.source), self.of.absolute, Fields::default())
                .for_content();
        scope
            .enter(|| self.site.engine.tera.render("anchor-link.html", &context))
            .map_err(|e| format!("the template anchor-link.html failed: {e}"))
    }

    fn summary_cutoff(&self, summary: &str) -> Result<String, String> {
        let mut context = Context::new();
        context.insert_value("summary", Value::from(summary));
        context.insert_value("lang", Value::from(self.of.lang));
        let scope =
            Scope::new(self.site.clone(), Arc::clone(self.of.source), self.of.absolute, Fields::default())
                .for_content();
        scope
            .enter(|| self.site.engine.tera.render("summary-cutoff.html", &context))
            .map_err(|e| format!("the template summary-cutoff.html failed: {e}"))
    }

    fn code(&self, fence: &Fence, code: &str) -> Result<String, String> {
        self.site.code(fence, code)
    }

    fn image_exists(&self, source: &str) -> Option<bool> {
        self.site.image_exists(source, self.of)
    }

    fn picture(&self, target: &str) -> Result<Option<Picture>, String> {
        let Some(shown) = self.site.shown(target, self.of)? else { return Ok(None) };
        let picture = shown.size.map(|(width, height)| {
            let mut choices: Vec<(String, u32)> = shown
                .copies
                .iter()
                .map(|wish| {
                    let path = format!("/{}", wish.path());
                    (self.site.permalink(&encode_path(&path), self.of.absolute), wish.width)
                })
                .collect();
            if shown.with_itself && !choices.is_empty() {
                choices.push((target.to_owned(), width));
            }
            let sizes = self.site.image_options.sizes.clone();
            let sizes = sizes.unwrap_or_else(|| format!("(max-width: {width}px) 100vw, {width}px"));
            Picture { width, height, choices, sizes }
        });
        self.shown.borrow_mut().push((target.to_owned(), shown));
        Ok(picture)
    }

    fn place(&self, at: usize) -> Option<String> {
        self.lines.as_ref().map(|lines| lines.place(at))
    }
}

impl Site {
    /// A code block as HTML, remembered where making it costs something.
    pub(crate) fn code(&self, fence: &Fence, code: &str) -> Result<String, String> {
        let style = &self.code_style;
        let name = {
            let mut hasher = blake3::Hasher::new();
            hasher.update(style.fingerprint().as_bytes());
            hasher.update(format!("\0{fence:?}\0").as_bytes());
            hasher.update(code.as_bytes());
            hasher.finalize()
        };
        if style.is_worth_remembering()
            && let Some(known) = self.memory.code.get(&name)
        {
            return Ok(known.to_string());
        }
        let block = style.block(fence, code);
        if block.unknown {
            if style.strict {
                return Err(format!("code in `{}` cannot be highlighted", fence.language));
            }
        } else if style.is_worth_remembering() {
            self.memory.code.insert(name, Arc::from(block.html.as_str()), block.html.len() + 64);
        }
        Ok(block.html)
    }
}

/// A writer with a bound: what grows beyond it is a mistake in a template.
pub(crate) struct Capped {
    pub(crate) bytes: Vec<u8>,
    max: u64,
}

impl Capped {
    pub(crate) fn new(max: u64) -> Self {
        Self { bytes: Vec::with_capacity(8 << 10), max }
    }
}

impl std::io::Write for Capped {
    fn write(&mut self, data: &[u8]) -> std::io::Result<usize> {
        if (self.bytes.len() + data.len()) as u64 > self.max {
            return Err(std::io::Error::other(format!("the output grows beyond {} bytes", self.max)));
        }
        self.bytes.extend_from_slice(data);
        Ok(data.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn toc_value(headings: &[Heading], permalink: &str) -> Value {
    Value::from(
        headings
            .iter()
            .map(|heading| {
                let mut map = Map::with_capacity(5);
                map.insert(key("level"), Value::from(heading.level));
                map.insert(key("id"), Value::from(heading.id.as_str()));
                map.insert(key("title"), Value::from(heading.title.as_str()));
                map.insert(key("permalink"), Value::from(format!("{permalink}#{}", heading.id)));
                map.insert(key("children"), toc_value(&heading.children, permalink));
                value::map(map)
            })
            .collect::<Vec<_>>(),
    )
}

/// `/blog/first/` as `["blog", "first"]`.
fn components(path: &str) -> Value {
    Value::from(path.split('/').filter(|part| !part.is_empty()).map(Value::from).collect::<Vec<_>>())
}

fn bundle_folder(source: &str) -> &str {
    &source[..source.rfind('/').map_or(0, |i| i + 1)]
}

fn colocated(relative: &str, own: bool) -> Value {
    if own { Value::from(bundle_folder(relative)) } else { Value::none() }
}

/// `{#id}` after a heading is no comment of the template language.
fn guard_heading_ids(body: &str) -> std::borrow::Cow<'_, str> {
    if !body.contains("{#") {
        return body.into();
    }
    let mut out = String::with_capacity(body.len() + 16);
    for line in body.split_inclusive('\n') {
        let trimmed = line.trim_end();
        match trimmed.rfind("{#") {
            Some(at) if line.starts_with('#') && trimmed.ends_with('}') && !trimmed.ends_with("#}") => {
                out.push_str(&line[..at]);
                out.push_str("{{ \"{#\" }}");
                out.push_str(&line[at + 2..]);
            }
            _ => out.push_str(line),
        }
    }
    out.into()
}

/// A relative reference within a folder, without leaving the site.
fn join(folder: &str, reference: &str) -> String {
    let mut parts: Vec<&str> = folder.split('/').filter(|p| !p.is_empty()).collect();
    for part in reference.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    parts.join("/")
}

/// A path as it stands in a URL: letters beyond ASCII and spaces are percent-encoded.
pub(crate) fn encode_path(path: &str) -> std::borrow::Cow<'_, str> {
    use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
    const PATH: &AsciiSet = &CONTROLS
        .add(b' ')
        .add(b'"')
        .add(b'<')
        .add(b'>')
        .add(b'`')
        .add(b'#')
        .add(b'?')
        .add(b'{')
        .add(b'}')
        .add(b'%');
    utf8_percent_encode(path, PATH).into()
}

impl Section {
    pub(crate) fn pagers(&self) -> usize {
        match self.matter.paginate_by {
            Some(by) => self.pages.len().div_ceil(by).max(1),
            None => 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heading_ids_are_no_comments() {
        assert_eq!(guard_heading_ids("## A {#b}\n{# c #}\n"), "## A {{ \"{#\" }}b}\n{# c #}\n");
    }

    #[test]
    fn references_stay_in_the_site() {
        assert_eq!(join("a/b", "../c.png"), "a/c.png");
        assert_eq!(join("a", "../../../c.png"), "c.png");
    }
}
