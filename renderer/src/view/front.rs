//! Front matter of pages and sections and what follows from names, as digests.

use std::sync::{Arc, OnceLock};

use super::{ABSENT, Mark};
use crate::graph::Value;
use crate::library::{self, PageId, SectionId};
use crate::site::Site;
use crate::templates::{Field, Fields};

/// Front matter and what follows from names, of each page and section that was asked for: with all front matter, and without
/// what is told apart of it.
pub(crate) struct Values {
    pages: Vec<OnceLock<[Value; 2]>>,
    sections: Vec<OnceLock<[Value; 2]>>,
}

impl Values {
    /// Those of a site, of which nothing was asked yet.
    pub(crate) fn of(site: &Site) -> Self {
        Self {
            pages: std::iter::repeat_with(OnceLock::new).take(site.library.pages.len()).collect(),
            sections: std::iter::repeat_with(OnceLock::new).take(site.library.sections.len()).collect(),
        }
    }

    /// Forgets the values of some, which are others now.
    pub(crate) fn update<'a>(&mut self, contents: impl IntoIterator<Item = &'a library::Content>) {
        for content in contents {
            match *content {
                library::Content::Page(id) => self.pages[id as usize] = OnceLock::new(),
                library::Content::Section(id) => self.sections[id as usize] = OnceLock::new(),
            }
        }
    }

    /// A value but for the content, with those parts of the front matter that are among the fields.
    pub(super) fn front(&self, site: &Site, of: library::Content, fields: Fields) -> Value {
        let library = &site.library;
        let [whole, rest] = *match of {
            library::Content::Page(id) => self.pages[id as usize].get_or_init(|| page(site, id)),
            library::Content::Section(id) => self.sections[id as usize].get_or_init(|| section(site, id)),
        };
        if fields.any(Fields::MATTER) {
            return whole;
        }
        if !fields.any(Fields::APART) {
            return rest;
        }
        let mut mark = Mark::new();
        mark.value(rest);
        let (title, description) = match of {
            library::Content::Page(id) => {
                let page = library.page(id);
                let matter = page.matter();
                if fields.has(Field::Date) {
                    for date in [page.date.as_ref(), matter.updated.as_ref()] {
                        mark.maybe(date.map(|date| &*date.text));
                    }
                }
                if fields.has(Field::Taxonomies) {
                    mark.number(matter.taxonomies.len() as u64);
                    for (kind, terms) in &matter.taxonomies {
                        mark.text(kind).texts(terms);
                    }
                }
                if fields.has(Field::Authors) {
                    mark.texts(&matter.authors);
                }
                (&matter.title, &matter.description)
            }
            library::Content::Section(id) => {
                let matter = &library.section(id).matter;
                (&matter.title, &matter.description)
            }
        };
        for (field, text) in [(Field::Title, title), (Field::Description, description)] {
            if fields.has(field) {
                mark.maybe(text.as_deref());
            }
        }
        mark.end()
    }
}

/// All of a page's value but its content, and what its own output says of it beside; then the same without the parts of its
/// front matter that are told apart.
fn page(site: &Site, id: PageId) -> [Value; 2] {
    let library = &site.library;
    let page = library.page(id);
    let matter = page.matter();
    let mut mark = Mark::new();
    mark.text(&page.source).text(&page.path).text(&page.slug).text(&page.lang);
    mark.number(page.bundle.into()).number(page.hidden.into()).maybe(page.made_by.as_deref());
    relatives(site, &mut mark, &page.ancestors, &page.assets, &page.source, &page.lang);
    linking(site, &mut mark, library::Content::Page(id));
    mark.maybe(matter.weight.map(|weight| weight.to_string()).as_deref());
    mark.number(matter.draft.into()).texts(&matter.aliases);
    mark.number(matter.in_search_index.into()).number(matter.include_in_feeds.into());
    let rest = mark.end();
    mark.value(page.parsed.matter_value).maybe(page.date.as_ref().map(|date| &*date.text));
    [mark.end(), rest]
}

/// The same of a section; its pages are a value of their own.
fn section(site: &Site, id: SectionId) -> [Value; 2] {
    let library = &site.library;
    let section = library.section(id);
    let matter = &section.matter;
    let mut mark = Mark::new();
    mark.text(&section.source).text(&section.path).text(&section.lang);
    // What its path and components are says whether a file has it, too.
    mark.number(section.parsed.is_some().into());
    mark.number(section.hidden.into()).number(section.subsections.len() as u64);
    for id in &section.subsections {
        mark.text(&library.section(*id).source);
    }
    relatives(site, &mut mark, &section.ancestors, &section.assets, &section.source, &section.lang);
    linking(site, &mut mark, library::Content::Section(id));
    mark.number(matter.weight.cast_unsigned()).number(matter.draft.into()).texts(&matter.aliases);
    mark.number(matter.transparent.into()).number(matter.generate_feeds.into());
    mark.number(matter.paginate_by.map_or(0, |by| by as u64)).number(matter.paginate_reversed.into());
    let rest = mark.end();
    mark.value(section.parsed.as_ref().map_or(ABSENT, |parsed| parsed.matter_value));
    [mark.end(), rest]
}

fn relatives(
    site: &Site,
    mark: &mut Mark,
    ancestors: &[SectionId],
    assets: &[Arc<str>],
    source: &str,
    lang: &str,
) {
    let library = &site.library;
    mark.number(ancestors.len() as u64);
    for id in ancestors {
        mark.text(&library.section(*id).source);
    }
    mark.number(assets.len() as u64);
    for asset in assets {
        mark.text(asset);
    }
    let translations = library.translations_of(source, lang);
    mark.number(translations.len() as u64);
    for content in translations {
        let (lang, title, path, source) = match content {
            library::Content::Page(id) => {
                let page = library.page(*id);
                (&page.lang, page.title(), &page.path, &page.source)
            }
            library::Content::Section(id) => {
                let section = library.section(*id);
                (&section.lang, section.matter.title.as_deref(), &section.path, &section.source)
            }
        };
        mark.text(lang).maybe(title).text(path).text(source);
    }
}

fn linking(site: &Site, mark: &mut Mark, of: library::Content) {
    let links = site.library.backlinks(of);
    mark.number(links.len() as u64);
    for from in links {
        let (path, title) = site.library.address_and_title(*from);
        mark.text(path).maybe(title);
    }
}
