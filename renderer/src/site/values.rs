//! The values of pages, sections and terms, as templates see them.

use std::sync::{Arc, PoisonError};

use tera::{Map, Value};

use super::content::toc_value;
use super::{PAGE_VALUE_BYTES, Rendered, SECTION_VALUE_BYTES, SUMMARY_BYTES, Site, bundle_folder};
use crate::front_matter::Date;
use crate::library::{self, CONTENT, Content, PageId, Section, SectionId, Taxonomy, Term};
use crate::reads::{Node, note, unnoted};
use crate::templates::{Field, Fields, Needs};
use crate::value::{self, key};

/// Without its path, one page could equal another, and a section that is there be nothing to `if`.
const ALWAYS: Fields = Fields::of(&[Field::RelativePath]);

impl Site {
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
        let mut map = self.page_map(id, rendered.as_deref(), fields.or(ALWAYS), absolute);
        if rendered.is_none() && fields.has(Field::Summary) {
            map.insert(key("summary"), self.summary(id, absolute));
        }
        if fields.any(Fields::BESIDE) {
            let page = self.library.page(id);
            let value = |id| unnoted(|| self.page_value(id, fields.alone(), absolute));
            beside(&mut map, fields, page.lower.map(value), page.higher.map(value));
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
        needs: &Needs,
        absolute: bool,
    ) -> Value {
        let mut map = self.page_map(id, Some(rendered), self.engine.mentioned, absolute);
        if needs.beside {
            let page = self.library.page(id);
            let value = |id| self.page_value(id, needs.fields.alone(), absolute);
            beside(&mut map, Fields::BESIDE, page.lower.map(value), page.higher.map(value));
        }
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
            let headings = rendered.map_or(&[][..], |r| &r.toc);
            toc_value(headings, &self.permalink(&page.path, absolute))
        });
        map.insert(Field::WordCount, || Value::from(page.parsed.word_count(&page.lang)));
        map.insert(Field::ReadingTime, || Value::from(page.parsed.minutes(&page.lang)));
        map.insert(Field::Assets, || asset_paths(&page.assets, "/", CONTENT));
        map.insert(Field::Draft, || Value::from(matter.draft));
        map.insert(Field::Weight, || matter.weight.map_or_else(Value::none, Value::from));
        map.insert(Field::Lang, || Value::from(&*page.lang));
        map.insert(Field::Lower, Value::none);
        map.insert(Field::Higher, Value::none);
        map.insert(Field::Translations, || self.translations_value(&page.source, &page.lang, absolute));
        map.insert(Field::Backlinks, || self.backlinks_value(Content::Page(id), absolute));
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

    fn backlinks_value(&self, of: Content, absolute: bool) -> Value {
        Value::from(
            self.library
                .backlinks(of)
                .iter()
                .map(|from| {
                    let (path, title) = self.library.address_and_title(*from);
                    let mut map = Map::new();
                    map.insert(key("permalink"), Value::from(self.permalink(path, absolute)));
                    map.insert(key("title"), title.map_or_else(Value::none, Value::from));
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
        let alone = |id| self.section_alone(id, fields, absolute, metadata_only);
        if !fields.any(Fields::BESIDE) {
            return alone(id);
        }
        let section = self.library.section(id);
        note(|| Node::Around(section.source.clone()));
        let mut map = alone(id).into_map().unwrap_or_default();
        beside(&mut map, fields, section.lower.map(alone), section.higher.map(alone));
        value::map(map)
    }

    /// The value of a section, which does not say what is beside it.
    fn section_alone(
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
        if let Some(known) = self.made.sections().get(&name) {
            return known;
        }
        let rendered = if fields.any(Fields::CONTENT) { self.section_html(id, absolute).ok() } else { None };
        let own = fields.or(ALWAYS);
        let map = self.section_map(id, rendered.as_deref(), own, fields, absolute, metadata_only);
        let made = value::map(map);
        let content = rendered.as_ref().map_or(0, |rendered| rendered.bytes());
        self.made.sections().insert(name, made.clone(), SECTION_VALUE_BYTES + content);
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

    /// The value of the section that is rendered.
    pub(crate) fn own_section_value(
        self: &Arc<Self>,
        id: SectionId,
        rendered: &Rendered,
        needs: &Needs,
        absolute: bool,
        metadata_only: bool,
    ) -> Value {
        let others = needs.fields;
        if !metadata_only && self.engine.mentioned.has(Field::Pages) {
            self.note_members(id, others, absolute);
        }
        let mut map =
            self.section_map(id, Some(rendered), self.engine.mentioned, others, absolute, metadata_only);
        if needs.beside {
            let section = self.library.section(id);
            note(|| Node::Around(section.source.clone()));
            let value = |id| self.section_alone(id, others, absolute, false);
            beside(&mut map, Fields::BESIDE, section.lower.map(value), section.higher.map(value));
        }
        value::map(map)
    }

    /// The path of a section as templates see it. That of a front page which another language has without a file begins with
    /// no slash in Zola.
    pub(crate) fn shown_path<'a>(&self, section: &'a Section) -> &'a str {
        let shown = section.path.strip_prefix('/').filter(|path| !path.is_empty());
        shown.filter(|_| section.parsed.is_none() && !self.beyond_zola).unwrap_or(&section.path)
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
        map.insert(Field::Path, || Value::from(self.shown_path(section)));
        map.insert(Field::Components, || match section.parsed {
            None if !self.beyond_zola => Value::from(Vec::<Value>::new()),
            _ => components(&section.path),
        });
        map.insert(Field::Summary, || rendered.map_or_else(Value::none, |r| r.summary.clone()));
        map.insert(Field::Toc, || {
            let headings = rendered.map_or(&[][..], |r| &r.toc);
            toc_value(headings, &self.permalink(&section.path, absolute))
        });
        map.insert(Field::WordCount, || {
            Value::from(section.parsed.as_ref().map_or(0, |parsed| parsed.word_count(&section.lang)))
        });
        map.insert(Field::ReadingTime, || {
            Value::from(section.parsed.as_ref().map_or(0, |parsed| parsed.minutes(&section.lang)))
        });
        map.insert(Field::Lang, || Value::from(&*section.lang));
        map.insert(Field::Weight, || Value::from(matter.weight));
        map.insert(Field::Assets, || {
            asset_paths(&section.assets, &section.path, bundle_folder(&section.source))
        });
        map.insert(Field::Transparent, || Value::from(matter.transparent));
        map.insert(Field::PaginateBy, || matter.paginate_by.map_or_else(Value::none, Value::from));
        map.insert(Field::PaginateReversed, || Value::from(matter.paginate_reversed));
        map.insert(Field::GenerateFeeds, || Value::from(matter.generate_feeds));
        map.insert(Field::Draft, || Value::from(matter.draft));
        map.insert(Field::Subsections, || {
            let paths = section.subsections.iter();
            Value::from(paths.map(|id| Value::from(self.library.section(*id).relative())).collect::<Vec<_>>())
        });
        map.insert(Field::Pages, || {
            if metadata_only { Value::from(Vec::<Value>::new()) } else { self.members(id, others, absolute) }
        });
        map.insert(Field::Translations, || self.translations_value(&section.source, &section.lang, absolute));
        map.insert(Field::Backlinks, || self.backlinks_value(Content::Section(id), absolute));
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
            let fields = if pages == Pages::All { fields.told_apart() } else { Fields::default() };
            Node::Term(term.id.clone(), pages, fields, absolute && fields.any(Fields::CONTENT))
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

    /// The pages of a section.
    fn members(self: &Arc<Self>, id: SectionId, fields: Fields, absolute: bool) -> Value {
        let name = (id, fields, absolute);
        if let Some(known) = self.made.members.get(&name) {
            return known;
        }
        let pages = &self.library.section(id).pages;
        let made = self.page_values(pages, fields, absolute);
        // Counted as if all of them were held by this list alone.
        let each = PAGE_VALUE_BYTES + if fields.has(Field::Content) { 8 * PAGE_VALUE_BYTES } else { 0 };
        self.made.members.insert(name, made.clone(), pages.len() * each);
        made
    }

    /// The values of all these pages; who reads them says so for all at once.
    fn page_values(self: &Arc<Self>, ids: &[PageId], fields: Fields, absolute: bool) -> Value {
        unnoted(|| {
            Value::from(ids.iter().map(|id| self.page_value(*id, fields, absolute)).collect::<Vec<_>>())
        })
    }

    /// The pages of a term, or as many values that say nothing: kept, since each of its pagers asks.
    fn term_pages(self: &Arc<Self>, term: &Term, fields: Fields, absolute: bool, pages: Pages) -> Value {
        let name = (term.id.clone(), fields, absolute, pages);
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
        let name = (taxonomy.id.clone(), fields, absolute, pages);
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
        let fields = if pages == Pages::All { fields.told_apart() } else { Fields::default() };
        let absolute = absolute && fields.any(Fields::CONTENT);
        Node::Taxonomy(taxonomy.id.clone(), pages, fields, absolute)
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

/// Adds what is beside a content, or that nothing is.
fn beside(map: &mut Map, fields: Fields, lower: Option<Value>, higher: Option<Value>) {
    for (field, value) in [(Field::Lower, lower), (Field::Higher, higher)] {
        if fields.has(field) {
            map.insert(key(field.name()), value.unwrap_or_else(Value::none));
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

/// `/blog/first/` as `["blog", "first"]`.
fn components(path: &str) -> Value {
    Value::from(path.split('/').filter(|part| !part.is_empty()).map(Value::from).collect::<Vec<_>>())
}

/// The files beside a content: those of a page by the paths that they have below `content/`, those of a section by the
/// paths at which they are published.
fn asset_paths(assets: &[Arc<str>], path: &str, folder: &str) -> Value {
    let paths = assets.iter().map(|asset| format!("{path}{}", asset.strip_prefix(folder).unwrap_or(asset)));
    Value::from(paths.map(Value::from).collect::<Vec<_>>())
}

fn colocated(relative: &str, own: bool) -> Value {
    if own { Value::from(bundle_folder(relative)) } else { Value::none() }
}
