//! Pages, sections and terms, and how they stand to each other.
//!
//! Owns what follows from names and front matter alone: paths, languages, parents, order, neighbours, translations,
//! taxonomies. Bodies are not here: a site of many pages keeps only this in memory.

mod build;
mod names;
mod order;
mod parse;

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use ahash::AHashMap;
use blake3::Hash;
use globset::{GlobBuilder, GlobSet, GlobSetBuilder};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use self::build::Builder;
use self::names::without_language;
use self::parse::{ParsedFile, Unfit, kind_of, of_row, parse_file, parse_row};
use crate::config::{Config, TaxonomyConfig};
use crate::data::RowPage;
use crate::diagnostic::{DIAGNOSTICS_MAX, Diagnostic, Errors};
use crate::front_matter::{self, Date, PageMatter, SectionMatter, SortBy};
use crate::limits::Limits;
use crate::locales;
use crate::schemas::{self, Schemas};
use crate::sources::Sources;
use crate::templates::Wants;

pub use self::names::dated_name;
pub(crate) use self::names::{canonical, counterpart, index_language};
pub(crate) use self::order::{first, sort_pages};
pub(crate) use self::parse::{at_rows, comment, guard_heading_ids, is_templated, place_of_row};

/// The folder of content.
pub(crate) const CONTENT: &str = "content/";

pub(crate) type PageId = u32;
pub(crate) type SectionId = u32;

/// What a content file says, kept as long as its digest stays.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Parsed {
    #[serde(with = "crate::memo::digest")]
    pub(crate) digest: Hash,
    /// Half a digest of the front matter alone.
    pub(crate) matter_value: u128,
    pub(crate) matter: Matter,
    /// Where the body begins, in bytes.
    pub(crate) body: u32,
    /// Whether the body holds template syntax.
    pub(crate) templated: bool,
    /// What it asks for as a template.
    pub(crate) wants: Wants,
    /// Whether the body may have the mark that ends a summary.
    pub(crate) may_have_summary: bool,
    /// Words of the body; 0 where no template asks for them.
    pub(crate) words: u32,
    /// Its letters, likewise.
    pub(crate) characters: u32,
    /// The body of a page that no file holds.
    pub(crate) text: Option<Arc<str>>,
    /// Targets of `@/` links: for backlinks. Empty for the content itself.
    pub(crate) linked: Box<[Box<str>]>,
}

impl Parsed {
    /// Stands in for a file that never could be parsed. No list has it, since nothing is known to be shown there.
    fn stand_in(path: &str) -> Self {
        let matter = match kind_of(path) {
            schemas::Of::Section => Matter::Section(Box::default()),
            schemas::Of::Page => Matter::Page(Box::new(PageMatter {
                render: true,
                hidden: Some(true),
                ..PageMatter::default()
            })),
        };
        Self {
            // Of no file.
            digest: Hash::from_bytes([0; 32]),
            matter_value: 0,
            matter,
            body: 0,
            templated: false,
            wants: Wants::default(),
            may_have_summary: false,
            words: 0,
            characters: 0,
            text: None,
            linked: Box::default(),
        }
    }

    /// Keys that mean nothing; those of a section are errors.
    fn unknown(&self) -> &[Box<str>] {
        match &self.matter {
            Matter::Page(matter) => &matter.unknown,
            Matter::Section(_) => &[],
        }
    }

    /// How many words it has. Where words are not set apart by spaces, letters are counted.
    pub(crate) fn word_count(&self, lang: &str) -> u32 {
        if matches!(locales::language(lang), "zh" | "ja") { self.characters } else { self.words }
    }

    /// Minutes to read it.
    pub(crate) fn minutes(&self, lang: &str) -> u32 {
        self.word_count(lang).div_ceil(match locales::language(lang) {
            "en" => 238,
            "ko" => 202,
            "zh" => 439,
            "ja" => 653,
            _ => 200,
        })
    }
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Matter {
    Page(Box<PageMatter>),
    Section(Box<SectionMatter>),
}

/// One page.
#[derive(Debug)]
pub(crate) struct Page {
    /// Its file, site-relative, or the name that its row would have.
    pub(crate) source: Arc<str>,
    pub(crate) parsed: Arc<Parsed>,
    pub(crate) lang: Arc<str>,
    pub(crate) slug: Box<str>,
    /// `/blog/first/`.
    pub(crate) path: Box<str>,
    pub(crate) date: Option<Date>,
    pub(crate) ancestors: Arc<[SectionId]>,
    /// The section that holds it, unless it is an orphan.
    pub(crate) section: Option<SectionId>,
    pub(crate) lower: Option<PageId>,
    pub(crate) higher: Option<PageId>,
    /// Co-located files, by source path.
    pub(crate) assets: Box<[Arc<str>]>,
    /// Whether it is the `index.md` of a folder of its own.
    pub(crate) bundle: bool,
    /// The dynamic source that made it.
    pub(crate) made_by: Option<Box<str>>,
    /// Whether lists leave it out: what it says itself, or else its section.
    pub(crate) hidden: bool,
}

impl Page {
    pub(crate) fn matter(&self) -> &PageMatter {
        match &self.parsed.matter {
            Matter::Page(matter) => matter,
            // A page is only ever made of a page's matter.
            Matter::Section(_) => unreachable!("a page with the front matter of a section"),
        }
    }

    /// The path below `content/`.
    pub(crate) fn relative(&self) -> &str {
        relative(&self.source)
    }

    pub(crate) fn title(&self) -> Option<&str> {
        self.matter().title.as_deref()
    }
}

/// One section.
#[derive(Debug)]
pub(crate) struct Section {
    pub(crate) source: Arc<str>,
    /// None for a front page that no file describes.
    pub(crate) parsed: Option<Arc<Parsed>>,
    pub(crate) matter: Arc<SectionMatter>,
    pub(crate) lang: Arc<str>,
    pub(crate) path: Box<str>,
    pub(crate) ancestors: Arc<[SectionId]>,
    pub(crate) parent: Option<SectionId>,
    /// Its neighbours among the subsections of its parent.
    pub(crate) lower: Option<SectionId>,
    pub(crate) higher: Option<SectionId>,
    pub(crate) subsections: Vec<SectionId>,
    pub(crate) pages: Vec<PageId>,
    pub(crate) assets: Box<[Arc<str>]>,
    /// Whether lists leave it out: what it says itself, or else its parent.
    pub(crate) hidden: bool,
}

impl Section {
    pub(crate) fn relative(&self) -> &str {
        relative(&self.source)
    }

    /// Whether it is the front page of its language.
    pub(crate) fn is_index(&self) -> bool {
        !self.relative().contains('/')
    }
}

fn relative(source: &str) -> &str {
    source.strip_prefix(CONTENT).unwrap_or(source)
}

/// One taxonomy of one language.
#[derive(Debug)]
pub(crate) struct Taxonomy {
    pub(crate) config: TaxonomyConfig,
    pub(crate) lang: Arc<str>,
    pub(crate) slug: String,
    pub(crate) path: String,
    /// What tells it from all others: its path, with its number where others may have that.
    pub(crate) id: Arc<str>,
    pub(crate) terms: Vec<Term>,
}

/// One term of a taxonomy.
#[derive(Debug)]
pub(crate) struct Term {
    pub(crate) name: Box<str>,
    pub(crate) slug: Box<str>,
    pub(crate) path: Arc<str>,
    /// What tells it from the terms of all taxonomies, in the same way.
    pub(crate) id: Arc<str>,
    pub(crate) pages: Vec<PageId>,
}

/// All of a site's content, without bodies.
#[derive(Debug, Default)]
pub(crate) struct Library {
    pub(crate) pages: Vec<Page>,
    pub(crate) sections: Vec<Section>,
    pub(crate) taxonomies: Vec<Taxonomy>,
    page_by_path: AHashMap<Arc<str>, PageId>,
    section_by_path: AHashMap<Arc<str>, SectionId>,
    /// Files of one content in several languages, by path without the language; only where there are several.
    translations: HashMap<Box<str>, Vec<Content>>,
    /// What templates and contents ask for.
    wants: Wants,
    /// What links to a content.
    backlinks: HashMap<Content, Vec<Content>>,
    /// Pages that a sorted section leaves out for want of what it sorts by, and what that is.
    pub(crate) unsorted: BTreeMap<PageId, SortBy>,
    /// Sections in what is no language of the site, which are left out.
    pub(crate) foreign: Vec<Arc<str>>,
    /// The earliest moment at which a page appears or disappears by its dates.
    pub(crate) next_change: Option<i64>,
    /// Sources with whose front matter something is wrong. What of it is plain stands in for them, what they said last, or a
    /// content of which nothing is known but its name: others still lead to it.
    pub(crate) stand_ins: HashSet<Arc<str>>,
    /// Whether a page names a taxonomy or a term that is left out.
    lacks_terms: bool,
    /// Keys of pages that mean nothing, in order and no more than are told of: the first page that has each, and how many
    /// others.
    pub(crate) unknown: Vec<(Box<str>, PageId, usize)>,
}

/// A page or a section.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Content {
    Page(PageId),
    Section(SectionId),
}

/// A content whose file was taken over.
pub(crate) struct Taken {
    pub(crate) content: Content,
    pub(crate) source: Arc<str>,
    pub(crate) parsed: Arc<Parsed>,
    /// Whether its front matter is, letter for letter, what it was.
    pub(crate) same_matter: bool,
}

/// What a library is made from, beside files.
#[derive(Clone, Copy)]
pub(crate) struct Making<'a> {
    pub(crate) sources: &'a Sources,
    pub(crate) rows: &'a [RowPage],
    pub(crate) config: &'a Config,
    pub(crate) limits: &'a Limits,
    pub(crate) schemas: &'a Schemas,
    pub(crate) drafts: bool,
    /// Seconds since 1970, where dates publish and withdraw pages.
    pub(crate) now: Option<i64>,
    /// What templates ask for; contents that are templates may ask for more.
    pub(crate) wants: Wants,
    pub(crate) known: &'a HashMap<Arc<str>, Arc<Parsed>>,
    /// Whether a content that cannot be parsed is what it was when it last could be. Else it is what its name says, so that all
    /// that is wrong with a site does not depend on what it was before.
    pub(crate) keeps_last: bool,
}

/// Parsed files by path: what the next render need not parse again.
pub(crate) type ParsedFiles = HashMap<Arc<str>, Arc<Parsed>>;

/// Patterns of paths.
pub(crate) fn globs(path: &str, patterns: &[String]) -> Result<GlobSet, Diagnostic> {
    let mut builder = GlobSetBuilder::new();
    for pattern in patterns {
        match GlobBuilder::new(pattern).build() {
            Ok(glob) => {
                builder.add(glob);
            }
            Err(e) => {
                return Err(Diagnostic::in_file(path, format!("`{pattern}` is no pattern: {}", e.kind())));
            }
        }
    }
    builder.build().map_err(|e| Diagnostic::in_file(path, format!("the patterns cannot be used: {e}")))
}

/// Whether a page takes along a file of that name beside it: it has an ending, and no program left it there for itself.
pub(crate) fn is_asset(name: &str) -> bool {
    name.rsplit_once('.').is_some_and(|(stem, ending)| {
        let is_left = matches!(ending, "" | "swp" | "swx" | "tmp" | "kate-swp")
            || ["~", "jb_old___", "jb_tmp___", "jb_bak___"].iter().any(|end| ending.ends_with(end));
        !stem.is_empty() && !stem.starts_with('#') && !stem.starts_with(".#") && !is_left
    })
}

/// Whether patterns leave out a file of `content/`: by its path, with the folders above the site too, its name, or a folder
/// that it is in.
pub(crate) fn is_ignored(patterns: &GlobSet, inside: &str) -> bool {
    let name = inside.rsplit('/').next().unwrap_or(inside);
    let mut folders = inside.match_indices('/').map(|(end, _)| &inside[..end]);
    !patterns.is_empty()
        && (patterns.is_match(inside)
            || patterns.is_match(format!("/{CONTENT}{inside}"))
            || patterns.is_match(name)
            || folders.any(|folder| patterns.is_match(folder)))
}

impl Library {
    /// Whether anything is left out that contents would say if nothing were wrong with them.
    pub(crate) fn lacks_content(&self) -> bool {
        !self.stand_ins.is_empty() || self.lacks_terms
    }

    pub(crate) fn page_id(&self, relative: &str) -> Option<PageId> {
        self.page_by_path.get(relative).copied()
    }

    pub(crate) fn section_id(&self, relative: &str) -> Option<SectionId> {
        self.section_by_path.get(relative).copied()
    }

    /// The page or section of that path below `content/`.
    pub(crate) fn content_id(&self, relative: &str) -> Option<Content> {
        let page = self.page_id(relative).map(Content::Page);
        page.or_else(|| self.section_id(relative).map(Content::Section))
    }

    /// The page of a source file.
    pub(crate) fn page_of(&self, source: &str) -> Option<PageId> {
        self.page_id(source.strip_prefix(CONTENT)?)
    }

    /// The section of a source file.
    pub(crate) fn section_of(&self, source: &str) -> Option<SectionId> {
        self.section_id(source.strip_prefix(CONTENT)?)
    }

    pub(crate) fn page(&self, id: PageId) -> &Page {
        &self.pages[id as usize]
    }

    pub(crate) fn section(&self, id: SectionId) -> &Section {
        &self.sections[id as usize]
    }

    pub(crate) fn paths(&self) -> impl Iterator<Item = &str> {
        self.page_by_path.keys().chain(self.section_by_path.keys()).map(|path| &**path)
    }

    /// The same content in all languages, itself included; in the order of languages.
    pub(crate) fn translations_of(&self, source: &str, lang: &str) -> &[Content] {
        self.translations.get(without_language(source, lang).as_str()).map_or(&[], Vec::as_slice)
    }

    pub(crate) fn backlinks(&self, of: Content) -> &[Content] {
        self.backlinks.get(&of).map_or(&[], Vec::as_slice)
    }

    /// The address and the title of a content.
    pub(crate) fn address_and_title(&self, content: Content) -> (&str, Option<&str>) {
        match content {
            Content::Page(id) => (&self.page(id).path, self.page(id).title()),
            Content::Section(id) => (&self.section(id).path, self.section(id).matter.title.as_deref()),
        }
    }

    /// The relative path of a content in another language: `blog/_index.md` in `fr` is `blog/_index.fr.md`.
    pub(crate) fn in_language<'a>(&self, relative: &'a str, lang: &str, config: &Config) -> Cow<'a, str> {
        if config.is_default(lang) {
            return Cow::Borrowed(relative);
        }
        let suffix = format!(".{lang}.md");
        match relative.strip_suffix(".md") {
            Some(stem) if !relative.ends_with(&suffix) => Cow::Owned(format!("{stem}{suffix}")),
            _ => Cow::Borrowed(relative),
        }
    }

    /// Takes over the contents of these files, where that moves nothing: each is a page or a section already, and every
    /// address, list and order stays as it is. Otherwise nothing is done. Says what differs now.
    pub(crate) fn take(&mut self, making: &Making<'_>, files: &[&str]) -> Option<Vec<Taken>> {
        let skipped = globs("zola.toml", &making.config.skip_content_templating).ok()?;
        let making = &Making { wants: self.wants, ..*making };
        let mut taken = Vec::new();
        let mut same_unknown = true;
        for path in files {
            let (content, source, before) = self.file(path)?;
            // What is wrong with a file is said by whoever looks at all of them.
            let (_, parsed) = parse_file(making, &skipped, path).ok()?;
            if Arc::ptr_eq(&parsed, before) {
                continue;
            }
            let same_matter = self.moves_nothing(before, &parsed)?;
            same_unknown &= same_matter || before.unknown() == parsed.unknown();
            taken.push(Taken { content, source: source.clone(), parsed, same_matter });
        }
        for Taken { content, parsed, .. } in &taken {
            match content {
                Content::Page(id) => self.pages[*id as usize].parsed = parsed.clone(),
                Content::Section(id) => self.sections[*id as usize].parsed = Some(parsed.clone()),
            }
        }
        if !same_unknown {
            self.count_unknown();
        }
        Some(taken)
    }

    /// Takes note of the keys of pages that mean nothing.
    fn count_unknown(&mut self) {
        let mut unknown: BTreeMap<&str, (PageId, usize)> = BTreeMap::new();
        for (id, page) in (0..).zip(&self.pages) {
            for name in page.parsed.unknown() {
                unknown.entry(name).and_modify(|(_, others)| *others += 1).or_insert((id, 0));
            }
        }
        let told = unknown.into_iter().take(DIAGNOSTICS_MAX);
        self.unknown = told.map(|(name, (first, others))| (name.into(), first, others)).collect();
    }

    /// What of these files this library has taken, if it stands as the one did that was made of `before`, which knows them
    /// as they were; none where one of them may have moved an address, a list or an order.
    pub(crate) fn taken(&self, before: &ParsedFiles, files: &[&str]) -> Option<Vec<Taken>> {
        let mut taken = Vec::new();
        for path in files {
            let (content, source, parsed) = self.file(path)?;
            let before = before.get(*path)?;
            if !Arc::ptr_eq(parsed, before) {
                let same_matter = self.moves_nothing(before, parsed)?;
                taken.push(Taken { content, source: source.clone(), parsed: parsed.clone(), same_matter });
            }
        }
        Some(taken)
    }

    /// The content of a file, the name of that, and what it says.
    fn file(&self, path: &str) -> Option<(Content, &Arc<str>, &Arc<Parsed>)> {
        let content = self.content_id(path.strip_prefix(CONTENT)?)?;
        let (source, parsed) = match content {
            Content::Page(id) => (&self.page(id).source, &self.page(id).parsed),
            Content::Section(id) => (&self.section(id).source, self.section(id).parsed.as_ref()?),
        };
        (**source == *path).then_some((content, source, parsed))
    }

    /// Whether the front matter is the same, letter for letter, where a file says `now` what it did not `before`; none where
    /// that may move an address, a list or an order.
    fn moves_nothing(&self, before: &Parsed, now: &Parsed) -> Option<bool> {
        if now.wants != before.wants || (self.wants.backlinks && now.linked != before.linked) {
            return None;
        }
        let same_matter = now.matter_value == before.matter_value;
        if !same_matter {
            let (Matter::Page(old), Matter::Page(new)) = (&before.matter, &now.matter) else {
                return None;
            };
            let by_title = |s: &Section| matches!(s.matter.sort_by, SortBy::Title | SortBy::TitleBytes);
            if !new.stands_as(old) || (new.title != old.title && self.sections.iter().any(by_title)) {
                return None;
            }
        }
        Some(same_matter)
    }

    /// Builds the library, and the parsed files for the next one. Adds to `errors` everything that is wrong with the site's
    /// content files, and goes on without what is.
    pub(crate) fn make(making: &Making<'_>, errors: &mut Errors) -> (Self, ParsedFiles) {
        let mut patterns = |given: &[String]| {
            globs("zola.toml", given).unwrap_or_else(|wrong| {
                errors.push(wrong);
                GlobSet::empty()
            })
        };
        let ignored = patterns(&making.config.ignored_content);
        let skipped = patterns(&making.config.skip_content_templating);
        let mut files = Vec::new();
        let mut foreign = Vec::new();
        let mut others: BTreeMap<&str, Vec<Arc<str>>> = BTreeMap::new();
        for (path, _) in making.sources.under(CONTENT) {
            let inside = relative(path);
            let name = inside.rsplit('/').next().unwrap_or(inside);
            if is_ignored(&ignored, inside) {
                continue;
            }
            if name.ends_with(".md") {
                // Editors keep files of their own beside those that they edit.
                if name.starts_with('.') {
                    continue;
                }
                match index_language(name) {
                    Some(code) if !making.config.names_language(code) => foreign.push(Arc::from(path)),
                    _ => files.push(path),
                }
            } else if is_asset(name) {
                let folder = &path[..path.len() - name.len()];
                others.entry(folder).or_default().push(front_matter::shared(path));
            }
        }
        let parse = |making: &Making<'_>| -> Vec<Result<ParsedFile, Unfit>> {
            files.par_iter().map(|path| parse_file(making, &skipped, path)).collect()
        };
        let mut parsed = parse(making);
        let asked = parsed.iter().flatten().map(|(_, parsed)| parsed.wants);
        let wants = asked.fold(making.wants, Wants::or);
        let counts = !making.wants.words && wants.words;
        let making = &Making { wants, ..*making };
        if counts {
            parsed = parse(making);
        }
        let mut known = ParsedFiles::with_capacity(parsed.len());
        let mut found = Vec::with_capacity(parsed.len() + making.rows.len());
        let mut stand_ins = HashSet::new();
        for (path, result) in files.iter().copied().zip(parsed) {
            match result {
                Ok((path, parsed)) => {
                    known.insert(path.clone(), parsed.clone());
                    found.push((path, parsed, None));
                }
                Err(Unfit { errors: more, parsed }) => {
                    errors.append(more);
                    let path: Arc<str> = Arc::from(path);
                    let before = making.known.get(&path);
                    known.extend(before.map(|parsed| (path.clone(), parsed.clone())));
                    let parsed = parsed.or_else(|| before.filter(|_| making.keeps_last).cloned());
                    let parsed = parsed.unwrap_or_else(|| Arc::new(Parsed::stand_in(&path)));
                    stand_ins.insert(path.clone());
                    found.push((path, parsed, None));
                }
            }
        }
        for row in making.rows {
            match parse_row(making, row) {
                Ok((path, parsed)) => {
                    if making.sources.get(&path).is_some() {
                        errors.push(
                            Diagnostic::in_file(
                                path.to_string(),
                                format!(
                                    "row {} of source `{}` makes a page where a file is",
                                    row.row, row.source
                                ),
                            )
                            .hint("rename the file, or give the row another slug"),
                        );
                        continue;
                    }
                    found.push((path, parsed, Some(row.source.as_str())));
                }
                Err(more) => {
                    for wrong in more.list() {
                        // The text of all rows is read for each.
                        match errors.is_full() {
                            true => errors.count(),
                            false => errors.push(of_row(making.sources, row, wrong.clone())),
                        }
                    }
                    let path: Arc<str> = format!("{CONTENT}{}", row.path).into();
                    if making.sources.get(&path).is_none() && stand_ins.insert(path.clone()) {
                        let parsed = Arc::new(Parsed::stand_in(&path));
                        found.push((path, parsed, Some(row.source.as_str())));
                    }
                }
            }
        }
        let mut library = Builder::new(making, others, stand_ins, errors).build(found);
        library.foreign = foreign;
        (library, known)
    }
}

/// The path that the number of a pager follows: below `paginate_path` where there is one.
pub(crate) fn pagers_path(path: &str, paginate_path: &str) -> String {
    if paginate_path.is_empty() { path.to_owned() } else { format!("{path}{paginate_path}/") }
}
