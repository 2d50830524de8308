//! Puts contents together: sections with their pages, neighbours, translations, terms, backlinks.

mod page;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use ahash::AHashMap;

use super::names::{Name, canonical, name_of, without_language};
use super::order::{sort_pages, sort_sections};
use super::{CONTENT, Content, Library, Making, Matter, PageId, Parsed, Section, SectionId, Taxonomy, Term};
use crate::diagnostic::{Diagnostic, Errors};
use crate::front_matter::{self, SectionMatter, SortBy};
use crate::slugs;

/// The sections above a folder's pages, and the one that holds them.
type Parents = (Arc<[SectionId]>, Option<SectionId>);

/// Folders of draft sections, which take all below them along, each in its language.
#[derive(Default)]
struct Drafts(Vec<(String, Arc<str>)>);

impl Drafts {
    fn hold(&self, name: &Name<'_>) -> bool {
        self.0.iter().any(|(folder, lang)| name.folder.starts_with(folder.as_str()) && **lang == *name.lang)
    }
}

pub(super) struct Builder<'a> {
    making: &'a Making<'a>,
    /// Files that are not content, by folder with a slash at the end.
    others: BTreeMap<&'a str, Vec<Arc<str>>>,
    langs: HashMap<&'a str, Arc<str>>,
    library: Library,
    errors: &'a mut Errors,
}

impl<'a> Builder<'a> {
    pub(super) fn new(
        making: &'a Making<'a>,
        others: BTreeMap<&'a str, Vec<Arc<str>>>,
        stand_ins: HashSet<Arc<str>>,
        errors: &'a mut Errors,
    ) -> Self {
        let langs = making.config.language_codes().into_iter().map(|code| (code, Arc::from(code))).collect();
        Self {
            making,
            others,
            langs,
            library: Library { stand_ins, wants: making.wants, ..Library::default() },
            errors,
        }
    }

    /// Says what is wrong with a content, unless another stands in for it: then what it says now is not known.
    fn wrong(&mut self, source: &str, diagnostic: Diagnostic) {
        if !self.library.stand_ins.contains(source) {
            self.errors.push(diagnostic);
        }
    }

    fn lang(&self, code: &str) -> Arc<str> {
        self.langs.get(code).cloned().unwrap_or_else(|| Arc::from(code))
    }

    pub(super) fn build(mut self, found: Vec<(Arc<str>, Arc<Parsed>, Option<&str>)>) -> Library {
        let (sections, pages): (Vec<_>, Vec<_>) =
            found.into_iter().partition(|(_, parsed, _)| matches!(parsed.matter, Matter::Section(_)));
        self.add_sections(sections.into_iter().map(|(path, parsed, _)| (path, parsed)));
        let drafts = self.remove_draft_sections();
        for (path, parsed, source) in pages {
            self.add_page(path, parsed, source, &drafts);
        }
        self.relate_sections();
        self.fill_sections();
        self.index_translations();
        self.add_taxonomies();
        if self.making.wants.backlinks {
            self.add_backlinks();
        }
        self.library.count_unknown();
        self.library
    }

    fn add_sections(&mut self, found: impl Iterator<Item = (Arc<str>, Arc<Parsed>)>) {
        let config = self.making.config;
        let mut all: BTreeMap<Arc<str>, Option<Arc<Parsed>>> = found.map(|(p, s)| (p, Some(s))).collect();
        for code in config.language_codes() {
            let named = format!("{CONTENT}_index.{code}.md");
            let front = if config.is_default(code) { format!("{CONTENT}_index.md") } else { named.clone() };
            if !(config.names_language(code) && all.contains_key(named.as_str())) {
                all.entry(Arc::from(front)).or_insert(None);
            }
        }
        for (source, parsed) in all {
            let name = name_of(&source, config);
            let mut path = String::from("/");
            if !config.is_default(name.lang) {
                path.push_str(name.lang);
                path.push('/');
            }
            // Folders keep their names; only those of files become slugs.
            path.push_str(name.folder);
            let matter = match parsed.as_deref().map(|p| &p.matter) {
                Some(Matter::Section(matter)) => Arc::new((**matter).clone()),
                _ => Arc::new(SectionMatter::default()),
            };
            let folder = format!("{CONTENT}{}", name.folder);
            let mut assets = self.others.get(folder.as_str()).cloned().unwrap_or_default();
            sort_assets(&mut assets);
            let section = Section {
                lang: self.lang(name.lang),
                path: path.into(),
                matter,
                parsed,
                ancestors: Arc::from([]),
                parent: None,
                lower: None,
                higher: None,
                subsections: Vec::new(),
                pages: Vec::new(),
                assets: assets.into(),
                hidden: false,
                source: source.clone(),
            };
            self.library.sections.push(section);
        }
        self.index_sections();
    }

    /// Sections by the paths that name them.
    fn index_sections(&mut self) {
        let config = self.making.config;
        let mut by_path = AHashMap::new();
        for (i, section) in self.library.sections.iter().enumerate() {
            by_path.insert(Arc::from(canonical(section.relative(), config).as_ref()), i as SectionId);
            by_path.insert(Arc::from(section.relative()), i as SectionId);
        }
        self.library.section_by_path = by_path;
    }

    fn remove_draft_sections(&mut self) -> Drafts {
        if self.making.drafts {
            return Drafts::default();
        }
        let config = self.making.config;
        let drafts = self.library.sections.iter().filter(|section| section.matter.draft);
        let drafts =
            Drafts(drafts.map(|s| (name_of(&s.source, config).folder.to_owned(), s.lang.clone())).collect());
        if !drafts.0.is_empty() {
            self.library.sections.retain(|section| !drafts.hold(&name_of(&section.source, config)));
            self.index_sections();
        }
        drafts
    }

    fn section_at(&self, folder: &str, lang: &str) -> Option<SectionId> {
        let config = self.making.config;
        let name = if config.is_default(lang) {
            format!("{folder}_index.md")
        } else {
            format!("{folder}_index.{lang}.md")
        };
        self.library.section_id(&name)
    }

    /// The sections on the way to a folder, the front page first.
    fn ancestors(&self, folder: &str, lang: &str) -> Vec<SectionId> {
        let mut out = Vec::new();
        let mut end = 0;
        loop {
            out.extend(self.section_at(&folder[..end], lang));
            match folder[end..].find('/') {
                Some(i) => end += i + 1,
                None => return out,
            }
        }
    }

    /// The sections above a page of this one: it itself too, unless it is transparent. Then they are those of its
    /// parent's pages.
    fn above(&self, mut id: SectionId) -> Arc<[SectionId]> {
        while self.library.section(id).matter.transparent
            && let Some(parent) = self.library.section(id).parent
        {
            id = parent;
        }
        self.library.section(id).ancestors.iter().copied().chain([id]).collect()
    }

    fn parent_folder(folder: &str) -> Option<&str> {
        let inner = folder.strip_suffix('/')?;
        Some(&inner[..inner.rfind('/').map_or(0, |i| i + 1)])
    }

    fn relate_sections(&mut self) {
        let config = self.making.config;
        for index in 0..self.library.sections.len() {
            let source = self.library.sections[index].source.clone();
            let name = name_of(&source, config);
            let Some(parent_folder) = Self::parent_folder(name.folder) else { continue };
            let ancestors: Arc<[SectionId]> = self.ancestors(parent_folder, name.lang).into();
            let parent = self.section_at(parent_folder, name.lang);
            self.library.sections[index].ancestors = ancestors;
            self.library.sections[index].parent = parent;
            if let Some(parent) = parent {
                self.library.sections[parent as usize].subsections.push(index as SectionId);
            }
        }
        let hidden: Vec<bool> = (0..self.library.sections.len())
            .map(|index| self.is_section_hidden(index as SectionId))
            .collect();
        let mut neighbours = vec![(None, None); hidden.len()];
        for index in 0..hidden.len() {
            let mut subsections = std::mem::take(&mut self.library.sections[index].subsections);
            subsections.retain(|id| !hidden[*id as usize]);
            sort_sections(
                &self.library.sections,
                &mut subsections,
                self.library.sections[index].matter.sort_by,
            );
            let section = &mut self.library.sections[index];
            section.hidden = hidden[index];
            section.subsections = subsections;
            if section.matter.transparent {
                continue;
            }
            for pair in section.subsections.windows(2) {
                neighbours[pair[0] as usize].1 = Some(pair[1]);
                neighbours[pair[1] as usize].0 = Some(pair[0]);
            }
        }
        for (section, (lower, higher)) in self.library.sections.iter_mut().zip(neighbours) {
            section.lower = lower;
            section.higher = higher;
        }
    }

    /// What a section says, or else the nearest one above it that says anything.
    fn is_section_hidden(&self, id: SectionId) -> bool {
        let above = self.library.section(id).ancestors.iter().rev().copied();
        let mut said =
            std::iter::once(id).chain(above).filter_map(|id| self.library.section(id).matter.hidden);
        said.next().unwrap_or(false)
    }

    fn fill_sections(&mut self) {
        let config = self.making.config;
        let mut shared: HashMap<(Box<str>, Arc<str>), Parents> = HashMap::new();
        let mut members: Vec<Vec<PageId>> = vec![Vec::new(); self.library.sections.len()];
        for index in 0..self.library.pages.len() {
            let page = &self.library.pages[index];
            let name = name_of(&page.source, config);
            let folder =
                if page.bundle { Self::parent_folder(name.folder).unwrap_or("") } else { name.folder };
            let (ancestors, section) = match shared.get(&(Box::from(folder), page.lang.clone())) {
                Some(known) => known.clone(),
                None => {
                    let section = self.section_at(folder, name.lang);
                    let above = section.map_or_else(|| Arc::from([]), |id| self.above(id));
                    let made = (above, section);
                    shared.insert((Box::from(folder), page.lang.clone()), made.clone());
                    made
                }
            };
            let hidden =
                page.matter().hidden.unwrap_or(section.is_some_and(|id| self.library.section(id).hidden));
            let page = &mut self.library.pages[index];
            page.ancestors = ancestors;
            page.section = section;
            page.hidden = hidden;
            // What has no page of its own is in no list: templates ask for it by name.
            if hidden || !page.matter().render {
                continue;
            }
            let mut at = section;
            while let Some(id) = at {
                members[id as usize].push(index as PageId);
                let holder = self.library.section(id);
                at = if holder.matter.transparent { holder.parent } else { None };
            }
        }
        let mut unsorted = BTreeMap::new();
        // Deeper sections first: a page that several cannot sort is told of for the nearest.
        let mut order: Vec<usize> = (0..members.len()).collect();
        order.sort_by_key(|i| std::cmp::Reverse(self.library.sections[*i].path.matches('/').count()));
        for index in order {
            let sort = self.library.sections[index].matter.sort_by;
            let (sorted, left_out) = sort_pages(&self.library.pages, &members[index], sort);
            for id in left_out {
                unsorted.entry(id).or_insert(sort);
            }
            // A page stands beside those of the section whose list it is in at last.
            if sort != SortBy::None && !self.library.sections[index].matter.transparent {
                for (i, id) in sorted.iter().enumerate() {
                    self.library.pages[*id as usize].lower = i.checked_sub(1).map(|j| sorted[j]);
                    self.library.pages[*id as usize].higher = sorted.get(i + 1).copied();
                }
            }
            self.library.sections[index].pages = sorted;
        }
        self.library.unsorted = unsorted;
    }

    fn index_translations(&mut self) {
        let config = self.making.config;
        if config.languages.is_empty() {
            return;
        }
        let mut groups: HashMap<Box<str>, Vec<(Arc<str>, Content)>> = HashMap::new();
        for (i, page) in self.library.pages.iter().enumerate().filter(|(_, page)| page.matter().render) {
            let key = without_language(&page.source, &page.lang).into_boxed_str();
            groups.entry(key).or_default().push((page.lang.clone(), Content::Page(i as PageId)));
        }
        for (i, section) in self.library.sections.iter().enumerate() {
            let key = without_language(&section.source, &section.lang).into_boxed_str();
            groups.entry(key).or_default().push((section.lang.clone(), Content::Section(i as SectionId)));
        }
        self.library.translations = groups
            .into_iter()
            .map(|(key, mut group)| {
                group.sort_by(|(a, _), (b, _)| a.cmp(b));
                (key, group.into_iter().map(|(_, content)| content).collect())
            })
            .collect();
    }

    fn add_taxonomies(&mut self) {
        let config = self.making.config;
        // (taxonomy, language) → term as written → pages
        let mut found: BTreeMap<(usize, usize), BTreeMap<Box<str>, Vec<PageId>>> = BTreeMap::new();
        let codes = config.language_codes();
        for (id, page) in self.library.pages.iter().enumerate() {
            for (kind, terms) in &page.matter().taxonomies {
                let lang = codes.iter().position(|code| **code == *page.lang).unwrap_or(0);
                let defined = config.taxonomies_for(&page.lang);
                let Some(index) = defined.iter().position(|t| *t.name == **kind) else {
                    if self.library.stand_ins.contains(&page.source) {
                        continue;
                    }
                    let near = crate::diagnostic::nearest(kind, defined.iter().map(|t| t.name.as_str()));
                    let message =
                        format!("the taxonomy `{kind}` is not defined for the language `{}`", page.lang);
                    let wrong = Diagnostic::in_file(page.source.to_string(), message).hint(match near {
                        Some(near) => format!("did you mean `{near}`?"),
                        None if config.is_default(&page.lang) => {
                            format!("add {{ name = \"{kind}\" }} to `taxonomies` in zola.toml")
                        }
                        None => {
                            format!(
                                "add {{ name = \"{kind}\" }} to `taxonomies` in [languages.{}]",
                                page.lang
                            )
                        }
                    });
                    self.errors.push(front_matter::point(
                        self.making.sources,
                        wrong,
                        "",
                        &[kind, "taxonomies"],
                    ));
                    self.library.lacks_terms = true;
                    continue;
                };
                // What is in no list is in no term either.
                if !page.matter().render || page.hidden {
                    continue;
                }
                let by_term = found.entry((lang, index)).or_default();
                for term in terms {
                    let pages = match by_term.get_mut(&**term) {
                        Some(pages) => pages,
                        None => by_term.entry(term.clone()).or_default(),
                    };
                    if pages.last() != Some(&(id as PageId)) {
                        pages.push(id as PageId);
                    }
                }
            }
        }
        for (lang, code) in codes.iter().enumerate() {
            for (index, taxonomy) in config.taxonomies_for(code).iter().enumerate() {
                let slug = slugs::path_component(&taxonomy.name, config.slugify.taxonomies);
                let mut path = String::from("/");
                if !config.is_default(code) {
                    path.push_str(code);
                    path.push('/');
                }
                // As it is written.
                let root = config.taxonomy_root.as_deref().unwrap_or_default().trim_matches('/');
                if !root.is_empty() {
                    path.push_str(root);
                    path.push('/');
                }
                path.push_str(&slug);
                path.push('/');
                let by_term = found.remove(&(lang, index)).unwrap_or_default();
                let terms = self.terms(by_term, &path);
                self.library.taxonomies.push(Taxonomy {
                    config: taxonomy.clone(),
                    lang: self.lang(code),
                    slug,
                    id: path.as_str().into(),
                    path,
                    terms,
                });
            }
        }
        self.tell_taxonomies_apart();
    }

    /// Two taxonomies may have one slug, or one begin as the address of the other's term: then each of them gets its number.
    /// That hangs on the configuration alone, so that no edit of contents gives one's name to another.
    fn tell_taxonomies_apart(&mut self) {
        let taxonomies = &mut self.library.taxonomies;
        let paths: Vec<String> = taxonomies.iter().map(|taxonomy| taxonomy.path.clone()).collect();
        for (number, taxonomy) in taxonomies.iter_mut().enumerate() {
            let own = &paths[number];
            let mut others = paths.iter().enumerate().filter(|(other, _)| *other != number);
            if others.any(|(_, path)| path.starts_with(own) || own.starts_with(path)) {
                let numbered = |path: &str| format!("{path} (taxonomy {})", number + 1).into();
                taxonomy.id = numbered(own);
                taxonomy.terms.iter_mut().for_each(|term| term.id = numbered(&term.path));
            }
        }
    }

    fn terms(&mut self, by_term: BTreeMap<Box<str>, Vec<PageId>>, path: &str) -> Vec<Term> {
        let strategy = self.making.config.slugify.taxonomies;
        let mut named: Vec<(String, Box<str>, Vec<PageId>)> = by_term
            .into_iter()
            .map(|(name, pages)| (slugs::path_component(&name, strategy), name, pages))
            .collect();
        named.sort_by(|a, b| a.0.cmp(&b.0).then_with(|| a.1.cmp(&b.1)));
        let mut terms: Vec<Term> = Vec::new();
        for (slug, name, pages) in named {
            let (mut sorted, rest) = sort_pages(&self.library.pages, &pages, SortBy::Date);
            sorted.extend(rest);
            if slug.is_empty() {
                let source =
                    pages.first().map_or_else(String::new, |id| self.library.page(*id).source.to_string());
                let wrong =
                    Diagnostic::in_file(source, format!("the term `{name}` leaves nothing for its address"))
                        .hint("give it a letter or a digit, or set `taxonomies = \"safe\"` in [slugify]");
                self.errors.push(front_matter::point(self.making.sources, wrong, &name, &["taxonomies"]));
                self.library.lacks_terms = true;
                continue;
            }
            match terms.last_mut().filter(|last| *last.slug == *slug) {
                // Names that differ in writing alone are one term, under the name that sorts first.
                Some(last) => {
                    let known: HashSet<PageId> = last.pages.iter().copied().collect();
                    last.pages.extend(sorted.into_iter().filter(|id| !known.contains(id)));
                }
                None => {
                    let path: Arc<str> = format!("{path}{slug}/").into();
                    let id = path.clone();
                    terms.push(Term { name, slug: slug.into(), path, id, pages: sorted });
                }
            }
        }
        terms
    }

    fn add_backlinks(&mut self) {
        let pages = self.library.pages.iter().enumerate();
        let pages = pages.map(|(id, page)| (Content::Page(id as PageId), Some(&page.parsed)));
        let sections = self.library.sections.iter().enumerate();
        let sections =
            sections.map(|(id, section)| (Content::Section(id as SectionId), section.parsed.as_ref()));
        let mut backlinks: HashMap<Content, Vec<Content>> = HashMap::new();
        for (from, parsed) in pages.chain(sections) {
            for target in parsed.iter().flat_map(|parsed| &parsed.linked) {
                // In Zola, which knows no `now`, a link to a heading beside it is one to the content that both are in.
                let own = (target.is_empty() && self.making.now.is_none()).then_some(from);
                let Some(to) = own.or_else(|| self.library.content_id(target)) else { continue };
                let list = backlinks.entry(to).or_default();
                if list.last() != Some(&from) {
                    list.push(from);
                }
            }
        }
        let address = |content: &Content| self.library.address_and_title(*content).0;
        for list in backlinks.values_mut() {
            list.sort_by(|one, other| address(one).cmp(address(other)));
        }
        self.library.backlinks = backlinks;
    }
}

/// Sorts files beside a content by their names, whatever the case of their letters.
fn sort_assets(assets: &mut [Arc<str>]) {
    assets.sort_by_cached_key(|path| path.to_ascii_lowercase());
}
