//! The values of everything that can be read of one state of a site, as digests.
//!
//! Each value covers all that a template can get to see when it reads the node, so that equal values mean equal outputs.
//! Most come from digests that are made when a file is parsed.

mod front;

use std::collections::HashMap;
use std::sync::Arc;

use blake3::Hasher;
use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::graph::{Content, ContentName, Key, Reads, Value};
use crate::job::{self, Entries, Job};
use crate::library::{self, PageId, Parsed, SectionId, Taxonomy, Term};
use crate::markdown::Heading;
use crate::reads::Node;
use crate::search;
use crate::site::{Pages, Parts, Site};
use crate::templates::{Field, Fields};

pub(crate) use front::Values;

pub(crate) type Contents = HashMap<ContentName, Content<Reads>>;

/// One state of a site, looked at.
pub(crate) struct View<'a> {
    site: &'a Arc<Site>,
    values: Values,
    terms: HashMap<&'a str, (&'a Taxonomy, &'a Term)>,
    feeds: HashMap<&'a str, &'a Entries>,
    /// Of the graph that the values are for.
    key: Key,
}

/// A digest in the making; parts cannot run into each other.
struct Mark(Hasher);

impl Mark {
    fn new() -> Self {
        Self(Hasher::new())
    }

    fn bytes(&mut self, bytes: &[u8]) -> &mut Self {
        self.0.update(&(bytes.len() as u64).to_le_bytes());
        self.0.update(bytes);
        self
    }

    fn text(&mut self, text: &str) -> &mut Self {
        self.bytes(text.as_bytes())
    }

    fn maybe(&mut self, text: Option<&str>) -> &mut Self {
        match text {
            Some(text) => self.number(1).text(text),
            None => self.number(0),
        }
    }

    fn texts(&mut self, texts: &[Box<str>]) -> &mut Self {
        self.number(texts.len() as u64);
        texts.iter().fold(self, |mark, text| mark.text(text))
    }

    fn number(&mut self, number: u64) -> &mut Self {
        self.0.update(&number.to_le_bytes());
        self
    }

    fn value(&mut self, value: Value) -> &mut Self {
        self.0.update(&value.to_le_bytes());
        self
    }

    fn end(&self) -> Value {
        half(&self.0.finalize())
    }
}

/// The first half of a digest.
pub(crate) fn half(hash: &blake3::Hash) -> Value {
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&hash.as_bytes()[..16]);
    Value::from_le_bytes(bytes)
}

/// The value of what is not there.
const ABSENT: Value = 0;

impl<'a> View<'a> {
    pub(crate) fn new(site: &'a Arc<Site>, jobs: &'a [Job], key: Key, values: Values) -> Self {
        let library = &site.library;
        let terms = library.taxonomies.iter().flat_map(|t| t.terms.iter().map(move |term| (t, term)));
        let feeds = jobs.iter().filter_map(|job| match job {
            Job::Feed(_, path, entries) => Some((path.as_str(), entries)),
            _ => None,
        });
        Self {
            site,
            values,
            terms: terms.map(|(taxonomy, term)| (&*term.id, (taxonomy, term))).collect(),
            feeds: feeds.collect(),
            key,
        }
    }

    /// The values of pages and sections, for the view of the next state.
    pub(crate) fn into_values(self) -> Values {
        self.values
    }

    /// The value of a node; none where it rests on content that is not among `contents`.
    pub(crate) fn value(&self, node: &Node, contents: &Contents) -> Option<Value> {
        let site = self.site;
        let library = &site.library;
        Some(match node {
            Node::Config => site.settings,
            Node::Engine => half(&site.engine.digest),
            Node::Template(name) => {
                if site.engine.tera.contains_template(name) {
                    half(&site.engine.needs(name).digest)
                } else {
                    ABSENT
                }
            }
            Node::Data => site
                .data_values
                .values()
                .fold(Mark::new(), |mut mark, v| {
                    mark.value(*v);
                    mark
                })
                .end(),
            Node::DataOf(name) => site.data_values.get(&**name).copied().unwrap_or(ABSENT),
            Node::Page(source, fields, absolute) => match library.page_of(source) {
                Some(id) => self.page(contents, id, *fields, *absolute)?,
                None => ABSENT,
            },
            Node::Around(source) => match (library.page_of(source), library.section_of(source)) {
                (Some(id), _) => around(site, id),
                (None, Some(id)) => around_section(site, id),
                (None, None) => ABSENT,
            },
            Node::Section(source, fields, absolute) => match library.section_of(source) {
                Some(id) => self.section(contents, id, *fields, *absolute)?,
                None => ABSENT,
            },
            Node::Members(source, fields, absolute) => match library.section_of(source) {
                Some(id) => self.list(contents, &library.section(id).pages, *fields, *absolute)?,
                None => ABSENT,
            },
            Node::Term(id, pages, fields, absolute) => match self.terms.get(&**id) {
                Some((_, term)) => self.term(contents, term, *pages, *fields, *absolute)?,
                None => ABSENT,
            },
            Node::Taxonomy(id, pages, fields, absolute) => {
                let found = library.taxonomies.iter().find(|taxonomy| taxonomy.id == *id);
                let Some(taxonomy) = found else { return Some(ABSENT) };
                let mut mark = Mark::new();
                mark.number(taxonomy.terms.len() as u64);
                for term in &taxonomy.terms {
                    mark.value(self.term(contents, term, *pages, *fields, *absolute)?);
                }
                mark.end()
            }
            Node::TermNamed(id, name) => {
                let found = library
                    .taxonomies
                    .iter()
                    .find(|taxonomy| taxonomy.id == *id)
                    .and_then(|taxonomy| Some(&*taxonomy.terms[site.find_term(taxonomy, name)?].path));
                Mark::new().maybe(found).end()
            }
            Node::Pager(of, n) => self.pager(of, *n),
            Node::Names => {
                let mut names: Vec<&str> = library.paths().collect();
                names.sort_unstable();
                let mut mark = Mark::new();
                for name in names {
                    mark.text(name);
                }
                mark.end()
            }
            Node::Feed(path) => match self.feeds.get(&**path) {
                Some(entries) => {
                    let pages = self.sources(&entries.pages);
                    Mark::new().value(pages).maybe(entries.updated.as_deref()).end()
                }
                None => ABSENT,
            },
            Node::Sitemap => self.sitemap(),
            Node::Search(lang) => self.search(contents, lang)?,
            Node::Text(source, absolute) => {
                site.text_value(source, *absolute).map_or(ABSENT, |hash| half(&hash))
            }
            Node::Link(target, absolute) => {
                Mark::new().maybe(site.resolve(target, *absolute).as_deref()).end()
            }
            Node::File(path) => match site.data_digest(path) {
                Some((source, digest)) => Mark::new().text(&source).bytes(digest.as_bytes()).end(),
                None => ABSENT,
            },
            Node::Elsewhere => return None,
            // What they say is in their names.
            Node::Copy(_) | Node::Warning(_) => ABSENT,
            Node::Source(path) => site
                .sources
                .get(path)
                .and_then(|file| file.digest().ok())
                .map_or(ABSENT, |digest| half(&digest)),
            Node::Output(path) => Mark::new()
                .number(site.has_output_file(path).into())
                .maybe(site.copied_source(path).as_deref())
                .end(),
            Node::Static(path) => Mark::new().maybe(site.static_source(path).as_deref()).end(),
            Node::Generated(path) => {
                site.generated.get(&**path).map_or(ABSENT, |bytes| half(&blake3::hash(bytes)))
            }
            Node::Assets => {
                let mut mark = Mark::new();
                for (path, hashed) in &site.assets {
                    mark.text(path).text(hashed);
                }
                mark.end()
            }
            Node::Environment(name) => environment(name, &self.key),
            Node::Day(zone) => day(zone, site.now),
            Node::First(source, n) => match library.section_of(source) {
                Some(id) => {
                    let pages = &library.section(id).pages;
                    Mark::new()
                        .number(pages.len() as u64)
                        .value(self.sources(library::first(pages, *n)))
                        .end()
                }
                None => ABSENT,
            },
        })
    }

    fn content(
        &self,
        contents: &Contents,
        parsed: Option<&Parsed>,
        source: &Arc<str>,
        fields: Fields,
        absolute: bool,
    ) -> Option<Value> {
        let mut mark = Mark::new();
        if fields.has(Field::WordCount) || fields.has(Field::ReadingTime) {
            mark.number(parsed.map_or(0, |p| p.words).into());
            mark.number(parsed.map_or(0, |p| p.characters).into());
        }
        if fields.any(Fields::CONTENT) && parsed.is_some() {
            let Parts { content, summary, toc } = contents.get(&(source.clone(), absolute))?.parts;
            for (field, part) in [(Field::Content, content), (Field::Summary, summary), (Field::Toc, toc)] {
                if fields.has(field) {
                    mark.value(part);
                }
            }
        }
        Some(mark.end())
    }

    fn page(&self, contents: &Contents, id: PageId, fields: Fields, absolute: bool) -> Option<Value> {
        let front = self.values.front(self.site, library::Content::Page(id), fields);
        if fields.beyond_front() == Fields::default() {
            return Some(front);
        }
        let page = self.site.library.page(id);
        // A summary that is not there costs nothing to know.
        let parsed = &page.parsed;
        let own = if parsed.may_have_summary { fields } else { fields.without(Field::Summary) };
        let content = self.content(contents, Some(parsed), &page.source, own, absolute)?;
        let mut mark = Mark::new();
        mark.value(front).value(content);
        for (_, id) in [(Field::Lower, page.lower), (Field::Higher, page.higher)]
            .into_iter()
            .filter(|(field, _)| fields.has(*field))
        {
            mark.value(match id {
                Some(id) => self.page(contents, id, fields.alone(), absolute)?,
                None => ABSENT,
            });
        }
        Some(mark.end())
    }

    fn section(&self, contents: &Contents, id: SectionId, fields: Fields, absolute: bool) -> Option<Value> {
        let front = self.values.front(self.site, library::Content::Section(id), fields);
        if fields.beyond_front() == Fields::default() {
            return Some(front);
        }
        let section = self.site.library.section(id);
        let content = self.content(contents, section.parsed.as_deref(), &section.source, fields, absolute)?;
        Some(Mark::new().value(front).value(content).end())
    }

    fn list(&self, contents: &Contents, ids: &[PageId], fields: Fields, absolute: bool) -> Option<Value> {
        let mut mark = Mark::new();
        mark.number(ids.len() as u64);
        for id in ids {
            mark.value(self.page(contents, *id, fields, absolute)?);
        }
        Some(mark.end())
    }

    fn sources(&self, ids: &[PageId]) -> Value {
        let mut mark = Mark::new();
        for id in ids {
            mark.text(&self.site.library.page(*id).source);
        }
        mark.end()
    }

    fn term(
        &self,
        contents: &Contents,
        term: &Term,
        pages: Pages,
        fields: Fields,
        absolute: bool,
    ) -> Option<Value> {
        let mut mark = Mark::new();
        mark.text(&term.name).text(&term.slug).text(&term.path).number(term.pages.len() as u64);
        if pages == Pages::All {
            mark.value(self.list(contents, &term.pages, fields, absolute)?);
        }
        Some(mark.end())
    }

    fn pager(&self, of: &str, n: usize) -> Value {
        let library = &self.site.library;
        let pager = match (library.section_of(of), self.terms.get(of)) {
            (Some(id), _) => job::section_pager(library.section(id), n),
            (None, Some((taxonomy, term))) => job::term_pager(taxonomy, term, n),
            (None, None) => None,
        };
        let Some(pager) = pager else { return ABSENT };
        Mark::new()
            .number(pager.ids.len() as u64)
            .number(pager.size as u64)
            .value(self.sources(&pager.slice()))
            .end()
    }

    fn sitemap(&self) -> Value {
        let site = self.site;
        let whole = site.engine.needs("sitemap.xml").extra;
        let mut mark = Mark::new();
        for page in site.library.pages.iter().filter(|p| p.matter().render && !p.hidden) {
            let updated = page.matter().updated.as_ref().or(page.date.as_ref());
            mark.text(&page.path).maybe(updated.map(|date| &*date.text));
            if whole {
                mark.value(page.parsed.matter_value);
            }
        }
        for section in site.library.sections.iter().filter(|s| s.matter.render && !s.hidden) {
            // The pager of a list without pages is not among them.
            let has_pagers = section.matter.paginate_by.is_some() && !section.pages.is_empty();
            let pagers = if has_pagers { section.pagers() } else { 0 };
            mark.text(&section.path).number(pagers as u64).text(&section.matter.paginate_path);
            if whole {
                mark.value(section.parsed.as_ref().map_or(ABSENT, |p| p.matter_value));
            }
        }
        for taxonomy in &site.library.taxonomies {
            mark.text(&taxonomy.path).number(taxonomy.terms.len() as u64);
            for term in &taxonomy.terms {
                mark.text(&term.path).number(term.pages.len() as u64);
            }
        }
        mark.end()
    }

    fn search(&self, contents: &Contents, lang: &str) -> Option<Value> {
        let library = &self.site.library;
        let (matter, words) = (Fields::MATTER, Fields::MATTER.or(Fields::of(&[Field::Content])));
        let mut mark = Mark::new();
        for (id, section) in library.sections.iter().enumerate().filter(|(_, s)| *s.lang == *lang) {
            let searched = section.matter.in_search_index && section.parsed.is_some() && !section.hidden;
            let fields = if searched && section.matter.redirect_to.is_none() { words } else { matter };
            mark.value(self.section(contents, id as SectionId, fields, false)?);
        }
        for id in search::pages(library, lang) {
            mark.value(self.page(contents, id, words, false)?);
        }
        Some(mark.end())
    }
}

/// The value of a variable of the environment.
pub(crate) fn environment(name: &str, key: &Key) -> Value {
    match std::env::var_os(name) {
        Some(value) => half(&blake3::keyed_hash(key, value.as_encoded_bytes())),
        None => ABSENT,
    }
}

/// The value of the day in a time zone.
pub(crate) fn day(zone: &str, now: Timestamp) -> Value {
    match TimeZone::get(zone) {
        Ok(zone) => Mark::new().text(&now.to_zoned_datetime(zone).date().to_string()).end(),
        Err(_) => ABSENT,
    }
}

/// What a page's output takes from around it.
fn around(site: &Site, id: PageId) -> Value {
    let library = &site.library;
    let page = library.page(id);
    let source = |id: Option<PageId>| id.map(|id| &*library.page(id).source);
    Mark::new()
        .text(job::page_template(&site.library, id))
        .maybe(page.section.map(|id| &*library.section(id).path))
        .maybe(source(page.lower))
        .maybe(source(page.higher))
        .end()
}

fn around_section(site: &Site, id: SectionId) -> Value {
    let library = &site.library;
    let section = library.section(id);
    let source = |id: Option<SectionId>| id.map(|id| &*library.section(id).source);
    Mark::new().maybe(source(section.lower)).maybe(source(section.higher)).end()
}

impl Parts {
    /// The digests of a content's parts.
    pub(crate) fn of(content: &tera::Value, summary: &tera::Value, toc: &[Heading]) -> Self {
        let text = |value: &tera::Value| match value.as_str() {
            Some(text) => Mark::new().text(text).end(),
            None => ABSENT,
        };
        let mut headings = Mark::new();
        mark_headings(&mut headings, toc);
        Self { content: text(content), summary: text(summary), toc: headings.end() }
    }
}

/// Their addresses are the page's.
fn mark_headings(mark: &mut Mark, headings: &[Heading]) {
    mark.number(headings.len() as u64);
    for Heading { level, id, title, children } in headings {
        mark.number((*level).into()).text(id).text(title);
        mark_headings(mark, children);
    }
}
