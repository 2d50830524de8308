//! One state of a site, as templates and content see it: addresses, values, rendered content.
//!
//! Made anew for each render from what changed; all that is costly comes from the renderer's memory.

mod blame;
mod content;
mod values;

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use blake3::Hash;
use bytes::Bytes;
use jiff::Timestamp;
use tera::{Context, TeraResult, Value};

use crate::blocks::Blocks;
use crate::config::{AnchorLinks, Config};
use crate::data::Faults;
use crate::diagnostic::{Diagnostic, nearest};
use crate::graph::{self, ContentName};
use crate::highlight::CodeStyle;
use crate::images::{ImageOptions, Wanted};
use crate::library::{CONTENT, Library, Page, PageId, Section, SectionId, Taxonomy};
use crate::limits::Limits;
use crate::markup::place_in;
use crate::memory::Bounded;
use crate::reads::{Node, note};
use crate::remote::Remote;
use crate::search::Fragments;
use crate::sources::Sources;
use crate::templates::{Engine, Fields};

pub(crate) use content::{Facts, Rendered};
pub(crate) use values::{Pages, note_taxonomy};

/// Values of pages that are kept while a site is rendered, in bytes: lists ask for the same ones again and again.
const PAGE_VALUES_BYTES_MAX: usize = 2 << 20;

/// Values of the pages of terms that are kept, in bytes: the pagers of a term ask for the same ones one after the other.
const LISTS_BYTES_MAX: usize = 2 << 20;

/// Lists of the pages of sections that are kept, in bytes, whatever the site's size.
const MEMBERS_BYTES_MIN: usize = 4 << 20;

/// What is added to that for each page: navigation that walks all sections on every page must find them all, or a
/// site's time would grow with the square of its size.
const MEMBERS_BYTES_A_PAGE: usize = 2_000;

/// Values of sections that each thread keeps, in bytes, whatever the site's size; and what is added for each section, for the
/// same reason.
const SECTION_VALUES_BYTES_MIN: usize = 256 << 10;
const SECTION_VALUES_BYTES_A_SECTION: usize = 4_000;

/// About what the value of a section occupies beside its pages and its content, in bytes.
const SECTION_VALUE_BYTES: usize = 2_000;

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
    /// What is coloured in blocks of code.
    pub(crate) blocks: Blocks,
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
            blocks: Blocks::new(bytes_max / 4),
            files: Bounded::new(bytes_max / 8),
            data: Bounded::undivided(bytes_max / 8),
            remote: Remote::default(),
            fragments: Fragments::default(),
        }
    }
}

/// Half a digest of each part of a content.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(crate) struct Parts {
    #[serde(with = "crate::memo::half")]
    pub(crate) content: u128,
    #[serde(with = "crate::memo::half")]
    pub(crate) summary: u128,
    #[serde(with = "crate::memo::half")]
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

/// Whether one of these ids, by their hashes, is what a fragment means, as it is written or without its escapes.
pub(crate) fn has_id(ids: &[u64], fragment: &str) -> bool {
    let plain = place_in(fragment);
    let decoded = percent_encoding::percent_decode_str(plain).decode_utf8_lossy();
    ids.contains(&anchor_hash(plain)) || ids.contains(&anchor_hash(&decoded))
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
    pub(crate) faults: Faults,
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
    /// What is wrong with contents whose outputs are looked at all the same; none where such contents are not shown.
    pub(crate) found: Option<Mutex<Vec<Diagnostic>>>,
    /// What is known of contents with which something is wrong, by source: the rest of them is looked at all the same.
    broken: Mutex<HashMap<Arc<str>, Arc<Facts>>>,
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

/// A taxonomy or a term by its id, and what is shown of its pages.
type ListName = (Arc<str>, Fields, bool, Pages);

/// A digest of a language's search index: of which SHA-2, and whether it is in base64.
type IndexDigest = (Arc<str>, u64, bool);

/// Sections, each with or without its pages.
type SectionValues = Bounded<(SectionId, Fields, bool, bool), Value>;

/// Values that were made while a site is rendered, and may be asked for again.
struct Made {
    pages: Bounded<(PageId, Fields, bool), Value>,
    /// The pages of sections.
    members: Bounded<(SectionId, Fields, bool), Value>,
    /// Sections, for each thread its own: navigation asks for hundreds on each page, and even to count who holds a value is to
    /// write what another thread reads.
    sections: Box<[SectionValues]>,
    /// The pages of terms, which each pager of a term has.
    lists: Bounded<ListName, Value>,
    summaries: Bounded<(PageId, bool), Value>,
    taxonomies: Mutex<HashMap<ListName, Value>>,
    /// Digests of search indexes.
    indexes: Mutex<HashMap<IndexDigest, String>>,
}

impl Made {
    /// None yet, of a site with this library.
    fn none(library: &Library) -> Self {
        let (pages, sections) = (library.pages.len(), library.sections.len());
        let section_values =
            || Bounded::undivided(SECTION_VALUES_BYTES_MIN + sections * SECTION_VALUES_BYTES_A_SECTION);
        // The last is for who is none of the threads that render.
        let threads = rayon::current_num_threads() + 1;
        Self {
            pages: Bounded::new(PAGE_VALUES_BYTES_MAX),
            members: Bounded::undivided(MEMBERS_BYTES_MIN + pages * MEMBERS_BYTES_A_PAGE),
            sections: std::iter::repeat_with(section_values).take(threads).collect(),
            lists: Bounded::undivided(LISTS_BYTES_MAX),
            summaries: Bounded::new(SUMMARIES_BYTES_MIN + pages * SUMMARIES_BYTES_A_PAGE),
            taxonomies: Mutex::default(),
            indexes: Mutex::default(),
        }
    }

    /// The sections that this thread keeps.
    fn sections(&self) -> &SectionValues {
        let last = self.sections.len() - 1;
        &self.sections[rayon::current_thread_index().unwrap_or(last).min(last)]
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
    pub(crate) faults: Faults,
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
        let made = Made::none(&parts.library);
        Self {
            sources: parts.sources,
            config: parts.config,
            look: parts.look,
            library: parts.library,
            engine: parts.engine,
            memory: parts.memory,
            limits: parts.limits,
            faults: parts.faults,
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
            made,
            render: parts.render,
            warnings: Mutex::new(Vec::new()),
            found: None,
            broken: Mutex::default(),
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
        let (images, broken) = (Wanted::default(), Mutex::default());
        Self { sources, now, render, images, fresh, broken, ..self }
    }

    /// The same state for a check: what is wrong with a content hides nothing else of its pages. What is rendered so is not
    /// taken for what a render makes.
    pub(crate) fn for_check(self) -> Self {
        let mut hasher = blake3::Hasher::new();
        hasher.update(self.look.as_bytes()).update(b"check");
        Self { look: hasher.finalize(), found: Some(Mutex::default()), ..self }
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
        self.made = Made::none(&self.library);
    }

    /// A digest of a search index, which `make` makes where none has been asked for in this render. Others wait for it.
    pub(crate) fn index_digest(
        &self,
        name: IndexDigest,
        make: impl FnOnce() -> TeraResult<String>,
    ) -> TeraResult<String> {
        let mut known = self.made.indexes.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(digest) = known.get(&name) {
            return Ok(digest.clone());
        }
        let digest = make()?;
        known.insert(name, digest.clone());
        Ok(digest)
    }

    /// The address of a path such as `/blog/first/`.
    pub(crate) fn permalink(&self, path: &str, absolute: bool) -> String {
        let base = if absolute { &self.base.absolute } else { &self.base.links };
        format!("{base}{path}")
    }

    /// Whether an address ends with a slash: all do but those of feeds and of parts of pages.
    pub(crate) fn ends_with_slash(&self, path: &str) -> bool {
        !path.contains('#') && !self.config.feed_filenames.iter().any(|name| path.ends_with(name.as_str()))
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
            let page = self.in_any_language(&format!("{folder}/index.md"), |name| self.library.page_id(name));
            if let Some(id) = page {
                return Some(format!("{}{}", self.library.page(id).path, &target[cut + 1..]));
            }
            let section =
                self.in_any_language(&format!("{folder}/_index.md"), |name| self.library.section_id(name));
            if let Some(id) = section
                && !target[cut + 1..].contains('/')
            {
                return Some(format!("{}{}", self.library.section(id).path, &target[cut + 1..]));
            }
        }
        let front = self.library.section_id("_index.md")?;
        (!target.contains('/')).then(|| format!("{}{target}", self.library.section(front).path))
    }

    /// What is found of a content in the default language, or else in the first that has it.
    fn in_any_language<T>(&self, relative: &str, find: impl Fn(&str) -> Option<T>) -> Option<T> {
        find(relative).or_else(|| {
            let mut languages = self.config.language_codes().into_iter();
            languages.find_map(|lang| find(&self.library.in_language(relative, lang, &self.config)))
        })
    }

    /// What a broken link may have meant.
    pub(crate) fn near_target(&self, target: &str) -> Option<String> {
        note(|| Node::Names);
        let languages = self.config.language_codes().into_iter();
        let others = languages.map(|lang| self.library.in_language(target, lang, &self.config));
        if let Some(other) =
            others.filter(|other| **other != *target).find(|other| self.library.content_id(other).is_some())
        {
            return Some(format!("it is there in another language: `@/{other}`"));
        }
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
        note(|| Node::TermNamed(taxonomy.id.clone(), name.into()));
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
            let fields = fields.told_apart();
            Node::Page(self.library.page(id).source.clone(), fields, absolute && fields.any(Fields::CONTENT))
        });
    }

    /// Notes that these fields of a section are read.
    pub(crate) fn note_section(&self, id: SectionId, fields: Fields, absolute: bool) {
        note(|| {
            let fields = fields.alone().told_apart();
            let source = self.library.section(id).source.clone();
            Node::Section(source, fields, absolute && fields.any(Fields::CONTENT))
        });
    }

    fn note_members(&self, id: SectionId, fields: Fields, absolute: bool) {
        note(|| {
            let fields = fields.told_apart();
            let source = self.library.section(id).source.clone();
            Node::Members(source, fields, absolute && fields.any(Fields::CONTENT))
        });
    }

    /// Gives away what was kept of contents.
    pub(crate) fn take_fresh(&self) -> Fresh {
        let Some(fresh) = &self.fresh else { return Fresh::new() };
        std::mem::take(&mut *fresh.lock().unwrap_or_else(PoisonError::into_inner))
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

    fn write_all(&mut self, data: &[u8]) -> std::io::Result<()> {
        self.write(data).map(drop)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn bundle_folder(source: &str) -> &str {
    &source[..source.rfind('/').map_or(0, |i| i + 1)]
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
