//! Pages, sections and terms, and how they stand to each other.
//!
//! Owns what follows from names and front matter alone: paths, languages, parents, order, neighbours, translations,
//! taxonomies. Bodies are not here: a site of many pages keeps only this in memory.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use ahash::AHashMap;
use blake3::Hash;
use globset::{GlobBuilder, GlobSet, GlobSetBuilder};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use unicode_segmentation::UnicodeSegmentation;

use crate::config::{BAKEHOUSE_NAME, Config, TaxonomyConfig};
use crate::data::{self, RowPage};
use crate::diagnostic::{DIAGNOSTICS_MAX, Diagnostic, Errors, line_and_column};
use crate::front_matter::{self, Date, Format, PageMatter, Place, SectionMatter, SortBy};
use crate::limits::Limits;
use crate::locales;
use crate::schemas::{self, Schemas};
use crate::slugs;
use crate::sources::Sources;
use crate::value;
use crate::view::half;

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
    /// Whether the body may have the mark that ends a summary.
    pub(crate) may_have_summary: bool,
    /// Words of the body; 0 where no template asks for them.
    pub(crate) words: u32,
    /// Its letters, likewise.
    pub(crate) characters: u32,
    /// The body of a page that no file holds.
    pub(crate) text: Option<Arc<str>>,
    /// Targets of `@/` links, as written: for backlinks.
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
    pub(crate) terms: Vec<Term>,
}

/// One term of a taxonomy.
#[derive(Debug)]
pub(crate) struct Term {
    pub(crate) name: Box<str>,
    pub(crate) slug: Box<str>,
    pub(crate) path: Box<str>,
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
    /// What links to a content.
    backlinks: HashMap<Content, Vec<Content>>,
    /// Pages that a sorted section leaves out for want of what it sorts by, and what that is.
    pub(crate) unsorted: BTreeMap<PageId, SortBy>,
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
pub(crate) struct Making<'a> {
    pub(crate) sources: &'a Sources,
    pub(crate) rows: &'a [RowPage],
    pub(crate) config: &'a Config,
    pub(crate) limits: &'a Limits,
    pub(crate) schemas: &'a Schemas,
    pub(crate) drafts: bool,
    /// Seconds since 1970, where dates publish and withdraw pages.
    pub(crate) now: Option<i64>,
    pub(crate) count_words: bool,
    pub(crate) backlinks: bool,
    pub(crate) known: &'a HashMap<Arc<str>, Arc<Parsed>>,
}

/// A parsed file and its path.
type ParsedFile = (Arc<str>, Arc<Parsed>);

/// What is wrong with a file, and what it says where that is plain all the same: its `extra` alone may be against a schema.
struct Unfit {
    errors: Errors,
    parsed: Option<Arc<Parsed>>,
}

impl From<Errors> for Unfit {
    fn from(errors: Errors) -> Self {
        Self { errors, parsed: None }
    }
}

impl From<Diagnostic> for Unfit {
    fn from(wrong: Diagnostic) -> Self {
        Errors::from(wrong).into()
    }
}

/// The sections above a folder's pages, and the one that holds them.
type Parents = (Arc<[SectionId]>, Option<SectionId>);

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

/// Whether patterns leave out a file of `content/`: by its path, its name, or a folder that it is in.
pub(crate) fn is_ignored(patterns: &GlobSet, inside: &str) -> bool {
    let name = inside.rsplit('/').next().unwrap_or(inside);
    let mut folders = inside.match_indices('/').map(|(end, _)| &inside[..end]);
    !patterns.is_empty()
        && (patterns.is_match(inside)
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
        let mut taken = Vec::new();
        let mut same_unknown = true;
        for path in files {
            let (content, source, before) = self.file(path)?;
            // What is wrong with a file is said by whoever looks at all of them.
            let (_, parsed) = parse_file(making, &skipped, path).ok()?;
            if Arc::ptr_eq(&parsed, before) {
                continue;
            }
            let same_matter = self.moves_nothing(making.backlinks, before, &parsed)?;
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
    pub(crate) fn taken(&self, backlinks: bool, before: &ParsedFiles, files: &[&str]) -> Option<Vec<Taken>> {
        let mut taken = Vec::new();
        for path in files {
            let (content, source, parsed) = self.file(path)?;
            let before = before.get(*path)?;
            if !Arc::ptr_eq(parsed, before) {
                let same_matter = self.moves_nothing(backlinks, before, parsed)?;
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
    fn moves_nothing(&self, backlinks: bool, before: &Parsed, now: &Parsed) -> Option<bool> {
        if backlinks && now.linked != before.linked {
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
        let mut others: BTreeMap<&str, Vec<Arc<str>>> = BTreeMap::new();
        for (path, _) in making.sources.under(CONTENT) {
            let inside = relative(path);
            let name = inside.rsplit('/').next().unwrap_or(inside);
            if is_ignored(&ignored, inside) {
                continue;
            }
            if name.ends_with(".md") {
                // Editors keep files of their own beside those that they edit.
                if !name.starts_with('.') {
                    files.push(path);
                }
            } else if is_asset(name) {
                let folder = &path[..path.len() - name.len()];
                others.entry(folder).or_default().push(front_matter::shared(path));
            }
        }
        let parsed: Vec<Result<ParsedFile, Unfit>> =
            files.par_iter().map(|path| parse_file(making, &skipped, path)).collect();
        let mut known = ParsedFiles::with_capacity(parsed.len());
        let mut found = Vec::with_capacity(parsed.len() + making.rows.len());
        let mut stand_ins = HashSet::new();
        for (path, result) in files.into_iter().zip(parsed) {
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
                    let parsed = parsed.or_else(|| before.cloned());
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
                            false => errors.push(of_row(making, row, wrong.clone())),
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
        let library = Builder::new(making, others, stand_ins, errors).build(found);
        (library, known)
    }
}

/// Whether a file of `content/` is a page or a section.
fn kind_of(path: &str) -> schemas::Of {
    let name = path.rsplit('/').next().unwrap_or(path);
    if name.starts_with("_index.") { schemas::Of::Section } else { schemas::Of::Page }
}

fn parse_file(making: &Making<'_>, skipped: &GlobSet, path: &str) -> Result<ParsedFile, Unfit> {
    let Some(file) = making.sources.get(path) else {
        return Err(Diagnostic::in_file(path, "the file is gone").into());
    };
    if file.bytes_len() > making.limits.page_bytes_max {
        return Err(Diagnostic::in_file(
            path,
            format!("the page has {} bytes, the limit is {}", file.bytes_len(), making.limits.page_bytes_max),
        )
        .hint("split the page, or raise page_bytes_max in bakehouse.toml")
        .into());
    }
    let unreadable = |e: std::io::Error| Diagnostic::in_file(path, format!("the file cannot be read: {e}"));
    if let Some((shared, known)) = making.known.get_key_value(path)
        && known.digest == file.digest().map_err(unreadable)?
        && (known.words > 0 || !making.count_words)
    {
        return Ok((shared.clone(), known.clone()));
    }
    let bytes = file.read().map_err(unreadable)?;
    let text = std::str::from_utf8(&bytes).map_err(|e| {
        let good = String::from_utf8_lossy(&bytes[..e.valid_up_to()]);
        Diagnostic::in_file(path, "the file is not valid UTF-8")
            .at(&good, good.len())
            .hint("save it as UTF-8")
    })?;
    let split = front_matter::split(path, text)?;
    let (format, matter, offset) = split.matter.unwrap_or((Format::Toml, "", 0));
    let matter_value = half(&blake3::hash(matter.as_bytes()));
    let place = Place { path, text, matter, offset };
    let values = front_matter::values(&place, format)?;
    let of = kind_of(path);
    let mut errors: Errors =
        making.schemas.check(of, &place, format, values.get(&value::key("extra"))).into_iter().collect();
    let typed = match of {
        schemas::Of::Section => {
            front_matter::section(&place, values).map(|matter| Matter::Section(Box::new(matter)))
        }
        schemas::Of::Page => front_matter::page(&place, values).map(|matter| Matter::Page(Box::new(matter))),
    };
    let matter = match typed {
        Ok(matter) => matter,
        Err(more) => {
            errors.append(more);
            return Err(errors.into());
        }
    };
    let body = &text[split.body..];
    let inside = relative(path);
    let templated = is_templated(body) && !skipped.is_match(inside) && !skipped.is_match(path);
    let (words, characters) = if making.count_words { count_words(body) } else { (0, 0) };
    let parsed = Parsed {
        digest: file.digest().map_err(unreadable)?,
        matter_value,
        matter,
        body: u32::try_from(split.body).unwrap_or(u32::MAX),
        templated,
        may_have_summary: templated || may_have_summary(body),
        words,
        characters,
        text: None,
        linked: linked(body),
    };
    let parsed = Arc::new(parsed);
    if errors.is_empty() {
        return Ok((Arc::from(path), parsed));
    }
    Err(Unfit { errors, parsed: Some(parsed) })
}

fn parse_row(making: &Making<'_>, row: &RowPage) -> Result<ParsedFile, Errors> {
    let path = format!("{CONTENT}{}", row.path);
    if row.body.len() as u64 > making.limits.page_bytes_max {
        return Err(Diagnostic::in_file(
            path,
            format!(
                "row {} of source `{}` has {} bytes, the limit is {}",
                row.row,
                row.source,
                row.body.len(),
                making.limits.page_bytes_max
            ),
        )
        .into());
    }
    let place = Place { path: &path, text: "", matter: "", offset: 0 };
    let values = value::from_toml_table(&row.front_matter).into_map().unwrap_or_default();
    let extra = values.get(&value::key("extra"));
    let found = making.schemas.check(schemas::Of::Page, &place, Format::Toml, extra);
    let typed = front_matter::page(&place, values);
    let matter = match typed {
        Ok(matter) if found.is_empty() => matter,
        typed => {
            let mut errors = typed.err().unwrap_or_default();
            errors.extend(found);
            return Err(errors);
        }
    };
    let written = row.front_matter.to_string();
    let matter_value = half(&blake3::hash(written.as_bytes()));
    let mut hasher = blake3::Hasher::new();
    hasher.update(written.as_bytes());
    hasher.update(&[0]);
    hasher.update(row.body.as_bytes());
    let (words, characters) = if making.count_words { count_words(&row.body) } else { (0, 0) };
    let parsed = Parsed {
        digest: hasher.finalize(),
        matter_value,
        matter: Matter::Page(Box::new(matter)),
        body: 0,
        // Data is not trusted with templates: a row that says `{{` means just that.
        templated: false,
        may_have_summary: may_have_summary(&row.body),
        words,
        characters,
        text: Some(Arc::from(row.body.as_str())),
        linked: linked(&row.body),
    };
    Ok((Arc::from(path), Arc::new(parsed)))
}

/// Says of which row something is wrong, and points at it, or at the source that has it.
fn of_row(making: &Making<'_>, row: &RowPage, wrong: Diagnostic) -> Diagnostic {
    let message = format!("row {} of source `{}`: {}", row.row, row.source, wrong.message);
    let wrong = Diagnostic { message, ..wrong };
    let Some((path, line)) = place_of_row(making.sources, row) else { return wrong };
    let wrong = Diagnostic { path: Some(path.to_string()), ..wrong };
    match making.sources.text(&path) {
        Ok((_, text)) => Diagnostic { column: None, ..wrong.at_line(&text, line, 1) },
        Err(_) => wrong,
    }
}

/// The file and the line that a row is in, or else those that name its source.
pub(crate) fn place_of_row(sources: &Sources, row: &RowPage) -> Option<(Arc<str>, usize)> {
    row.place.clone().or_else(|| {
        let (_, text) = sources.text(BAKEHOUSE_NAME).ok()?;
        let at = data::written(&text, &row.source)?;
        Some((BAKEHOUSE_NAME.into(), line_and_column(&text, at).0))
    })
}

/// Whether a body is a template at all: most are not, and are spared the engine.
fn is_templated(body: &str) -> bool {
    memchr::memchr_iter(b'{', body.as_bytes())
        .any(|i| matches!(body.as_bytes().get(i + 1), Some(b'{' | b'%')))
}

/// Whether a comment begins like the mark that ends a summary.
fn may_have_summary(body: &str) -> bool {
    memchr::memmem::find_iter(body.as_bytes(), b"<!--")
        .any(|i| body[i + 4..].trim_start().get(..4).is_some_and(|word| word.eq_ignore_ascii_case("more")))
}

/// Sorts files beside a content by their names, whatever the case of their letters.
fn sort_assets(assets: &mut [Arc<str>]) {
    assets.sort_by_cached_key(|path| path.to_ascii_lowercase());
}

/// Words, and letters of all kinds, outside of what stands between three backticks.
fn count_words(body: &str) -> (u32, u32) {
    let (mut words, mut characters) = (0, 0);
    for text in body.split("```").step_by(2) {
        words += text.unicode_words().count();
        characters += text.chars().filter(|c| c.is_alphabetic()).count();
    }
    (u32::try_from(words).unwrap_or(u32::MAX), u32::try_from(characters).unwrap_or(u32::MAX))
}

fn linked(body: &str) -> Box<[Box<str>]> {
    memchr::memmem::find_iter(body.as_bytes(), b"@/")
        .filter_map(|i| {
            // In its place, or where a reference is defined.
            let before = body[..i].trim_end_matches(['<', ' ']);
            let rest = &body[i + 2..];
            let end = rest.find([')', '#', ' ', '\n', '\r', '>']).unwrap_or(rest.len());
            (before.ends_with("](") || before.ends_with("]:")).then(|| Box::from(&rest[..end]))
        })
        .collect()
}

/// `content/blog/x.fr.md` in `fr` is `content/blog/x.md`.
fn without_language(source: &str, lang: &str) -> String {
    match source
        .strip_suffix(".md")
        .and_then(|stem| stem.strip_suffix(lang))
        .and_then(|stem| stem.strip_suffix('.'))
    {
        Some(stem) => format!("{stem}.md"),
        None => source.to_owned(),
    }
}

/// The path of a content as links and functions name it: the default language has no part in it, also where the
/// file's name says it.
pub(crate) fn canonical<'a>(relative: &'a str, config: &Config) -> std::borrow::Cow<'a, str> {
    let suffix = format!(".{}.md", config.default_language);
    match relative.strip_suffix(&suffix).filter(|_| config.names_language(&config.default_language)) {
        Some(stem) => format!("{stem}.md").into(),
        None => relative.into(),
    }
}

/// The relative path of a content in a language, whichever language's file is named: `blog/x.fr.md` in the default one is
/// `blog/x.md`.
pub(crate) fn counterpart<'a>(relative: &'a str, lang: &str, config: &'a Config) -> Cow<'a, str> {
    if config.languages.is_empty() || !relative.ends_with(".md") {
        return relative.into();
    }
    let Name { folder, stem, lang: named } = name_of(relative, config);
    let says_none = folder.len() + stem.len() + ".md".len() == relative.len();
    match config.is_default(lang) {
        true if says_none => relative.into(),
        true => format!("{folder}{stem}.md").into(),
        false if named == lang => relative.into(),
        false => format!("{folder}{stem}.{lang}.md").into(),
    }
}

struct Name<'a> {
    /// Folders below `content/`, with a slash at the end, or empty.
    folder: &'a str,
    /// The file's name without language and `.md`.
    stem: &'a str,
    lang: &'a str,
}

fn name_of<'a>(source: &'a str, config: &'a Config) -> Name<'a> {
    let inside = relative(source);
    let cut = inside.rfind('/').map_or(0, |i| i + 1);
    let (folder, file) = inside.split_at(cut);
    let stem = file.strip_suffix(".md").unwrap_or(file);
    if let Some((rest, code)) = stem.rsplit_once('.')
        && !rest.is_empty()
        && config.names_language(code)
    {
        return Name { folder, stem: rest, lang: code };
    }
    Name { folder, stem, lang: &config.default_language }
}

/// The date that the name of a page's file, without its ending, begins with, as it is written there, and the rest of the name:
/// it is the page's date, unless its front matter has another.
pub fn dated_name(stem: &str) -> Option<(Box<str>, &str)> {
    dated(stem).map(|(date, rest)| (date.text, rest))
}

/// The date at the head of a file name, and the rest of the name; all of it, where nothing or no separator follows.
fn dated(stem: &str) -> Option<(Date, &str)> {
    let head = stem.get(..10)?;
    let bytes = head.as_bytes();
    if bytes[4] != b'-' || bytes[7] != b'-' {
        return None;
    }
    let date = Date::parse(head)?;
    let rest = &stem[10..];
    if let Some(name) = rest.trim_start().strip_prefix(['-', '_']).filter(|name| !name.is_empty()) {
        return Some((date, name));
    }
    // The longest date and time that a separator follows.
    let times =
        rest.char_indices().filter(|(i, c)| rest.starts_with('T') && *i > 0 && matches!(c, '-' | '_'));
    let timed = times
        .filter_map(|(i, _)| Some((Date::parse(&stem[..10 + i])?, &rest[i + 1..])))
        .rfind(|(_, name)| !name.is_empty());
    // Where no name is left, the date is part of it.
    Some(timed.unwrap_or((date, stem)))
}

struct Builder<'a> {
    making: &'a Making<'a>,
    /// Files that are not content, by folder with a slash at the end.
    others: BTreeMap<&'a str, Vec<Arc<str>>>,
    langs: HashMap<&'a str, Arc<str>>,
    library: Library,
    errors: &'a mut Errors,
}

impl<'a> Builder<'a> {
    fn new(
        making: &'a Making<'a>,
        others: BTreeMap<&'a str, Vec<Arc<str>>>,
        stand_ins: HashSet<Arc<str>>,
        errors: &'a mut Errors,
    ) -> Self {
        let langs = making.config.language_codes().into_iter().map(|code| (code, Arc::from(code))).collect();
        Self { making, others, langs, library: Library { stand_ins, ..Library::default() }, errors }
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

    fn build(mut self, found: Vec<(Arc<str>, Arc<Parsed>, Option<&str>)>) -> Library {
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
        if self.making.backlinks {
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

    /// Folders of draft sections, which take all below them along.
    fn remove_draft_sections(&mut self) -> Vec<(String, Arc<str>)> {
        if self.making.drafts {
            return Vec::new();
        }
        let drafts: Vec<(String, Arc<str>)> = self
            .library
            .sections
            .iter()
            .filter(|s| s.matter.draft)
            .map(|s| (name_of(&s.source, self.making.config).folder.to_owned(), s.lang.clone()))
            .collect();
        if drafts.is_empty() {
            return drafts;
        }
        let config = self.making.config;
        let gone = |source: &str| {
            let name = name_of(source, config);
            drafts
                .iter()
                .any(|(folder, lang)| name.folder.starts_with(folder.as_str()) && &**lang == name.lang)
        };
        self.library.sections.retain(|s| !gone(&s.source));
        self.index_sections();
        drafts
    }

    fn add_page(
        &mut self,
        source: Arc<str>,
        parsed: Arc<Parsed>,
        made_by: Option<&str>,
        drafts: &[(String, Arc<str>)],
    ) {
        let config = self.making.config;
        let Matter::Page(matter) = &parsed.matter else { return };
        if matter.draft && !self.making.drafts {
            return;
        }
        let name = name_of(&source, config);
        if drafts
            .iter()
            .any(|(folder, lang)| name.folder.starts_with(folder.as_str()) && &**lang == name.lang)
        {
            return;
        }
        let bundle = name.stem == "index";
        // The folder that the page is in, and the name that makes its slug.
        let (folder, stem) = if bundle && !name.folder.is_empty() {
            let inner = &name.folder[..name.folder.len() - 1];
            let cut = inner.rfind('/').map_or(0, |i| i + 1);
            (&inner[..cut], &inner[cut..])
        } else {
            (name.folder, name.stem)
        };
        let from_name = dated(stem);
        let date = matter.date.clone().or_else(|| from_name.as_ref().map(|(date, _)| date.clone()));
        if let Some(now) = self.making.now {
            for (moment, visible_after) in [(date.as_ref(), true), (matter.expiry_date.as_ref(), false)] {
                let Some(moment) = moment else { continue };
                if moment.seconds > now {
                    let next = self.library.next_change.get_or_insert(moment.seconds);
                    *next = (*next).min(moment.seconds);
                }
                if (moment.seconds > now) == visible_after && !self.making.drafts {
                    return;
                }
            }
        }
        let slug = match (&matter.slug, &from_name) {
            (Some(slug), _) => slugs::path_component(slug.trim(), config.slugify.paths),
            (None, Some((_, rest))) if !config.slugify.paths_keep_dates => {
                slugs::path_component(rest, config.slugify.paths)
            }
            _ => slugs::path_component(stem, config.slugify.paths),
        };
        let mut path = String::from("/");
        match &matter.path {
            // As it is written, in any language.
            Some(own) => path.push_str(own.trim().trim_matches('/')),
            None => {
                if !config.is_default(name.lang) {
                    path.push_str(name.lang);
                    path.push('/');
                }
                path.push_str(folder);
                path.push_str(&slug);
            }
        }
        if !path.ends_with('/') {
            path.push('/');
        }
        if slug.is_empty() && matter.path.is_none() && !(bundle && name.folder.is_empty()) {
            let wrong =
                Diagnostic::in_file(source.to_string(), "the page's name leaves nothing for its address");
            let wrong = wrong.hint("set `slug` or `path` in its front matter");
            self.wrong(&source, front_matter::point(self.making.sources, wrong, "", &["slug"]));
            return;
        }
        let assets = if bundle {
            let own = format!("{CONTENT}{}", name.folder);
            let mut assets = Vec::new();
            // Those of a page further below too, which has them for itself as well.
            for (_, files) in self.others.range(own.as_str()..).take_while(|(path, _)| path.starts_with(&own))
            {
                assets.extend(files.iter().cloned());
            }
            sort_assets(&mut assets);
            assets
        } else {
            Vec::new()
        };
        let id = self.library.pages.len() as PageId;
        let matter_hidden = matter.hidden.unwrap_or(false);
        let page = Page {
            lang: self.lang(name.lang),
            slug: slug.into(),
            path: path.into(),
            date,
            ancestors: Arc::from([]),
            section: None,
            lower: None,
            higher: None,
            assets: assets.into(),
            bundle,
            made_by: made_by.map(Box::from),
            hidden: matter_hidden,
            source: source.clone(),
            parsed,
        };
        self.library
            .page_by_path
            .entry(Arc::from(canonical(relative(&source), config).as_ref()))
            .or_insert(id);
        self.library.page_by_path.insert(Arc::from(relative(&source)), id);
        self.library.pages.push(page);
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
        let mut at = Some(id);
        while let Some(id) = at {
            let section = self.library.section(id);
            match section.matter.hidden {
                Some(hidden) => return hidden,
                None => at = section.parent,
            }
        }
        false
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
                        None => format!("add {{ name = \"{kind}\" }} to `taxonomies` in zola.toml"),
                    });
                    self.errors.push(front_matter::point(self.making.sources, wrong, "", &[kind]));
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
                if let Some(root) = &config.taxonomy_root {
                    let root = slugs::path(root.trim_matches('/'), config.slugify.taxonomies);
                    if !root.is_empty() {
                        path.push_str(&root);
                        path.push('/');
                    }
                }
                path.push_str(&slug);
                path.push('/');
                let by_term = found.remove(&(lang, index)).unwrap_or_default();
                let terms = self.terms(by_term, &path);
                self.library.taxonomies.push(Taxonomy {
                    config: taxonomy.clone(),
                    lang: self.lang(code),
                    slug,
                    path,
                    terms,
                });
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
                None => terms.push(Term {
                    path: format!("{path}{slug}/").into(),
                    name,
                    slug: slug.into(),
                    pages: sorted,
                }),
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
                let Some(to) = self.library.content_id(target) else { continue };
                let list = backlinks.entry(to).or_default();
                if list.last() != Some(&from) {
                    list.push(from);
                }
            }
        }
        self.library.backlinks = backlinks;
    }
}

/// So many of some pages, or all where there are fewer.
pub(crate) fn first(pages: &[PageId], most: usize) -> &[PageId] {
    &pages[..pages.len().min(most)]
}

/// Pages in order, and those that lack what the order needs.
pub(crate) fn sort_pages(pages: &[Page], ids: &[PageId], by: SortBy) -> (Vec<PageId>, Vec<PageId>) {
    let page = |id: &PageId| &pages[*id as usize];
    let has = |id: &PageId| match by {
        SortBy::None | SortBy::Slug | SortBy::Permalink => true,
        SortBy::Date => page(id).date.is_some(),
        SortBy::UpdateDate => page(id).date.is_some() || page(id).matter().updated.is_some(),
        SortBy::Title | SortBy::TitleBytes => page(id).title().is_some(),
        SortBy::Weight => page(id).matter().weight.is_some(),
    };
    let (mut sorted, rest): (Vec<PageId>, Vec<PageId>) = ids.iter().copied().partition(has);
    if by == SortBy::None {
        return (sorted, rest);
    }
    let seconds = |id: &PageId| page(id).date.as_ref().map_or(i64::MIN, |d| d.seconds);
    let latest =
        |id: &PageId| page(id).matter().updated.as_ref().map_or(i64::MIN, |d| d.seconds).max(seconds(id));
    sorted.sort_by(|a, b| {
        let order = match by {
            SortBy::None => std::cmp::Ordering::Equal,
            SortBy::Date => seconds(b).cmp(&seconds(a)),
            SortBy::UpdateDate => latest(b).cmp(&latest(a)),
            SortBy::Title => natural(page(a).title().unwrap_or(""), page(b).title().unwrap_or("")),
            SortBy::TitleBytes => page(a).title().cmp(&page(b).title()),
            SortBy::Weight => page(a).matter().weight.cmp(&page(b).matter().weight),
            SortBy::Slug => natural(&page(a).slug, &page(b).slug),
            SortBy::Permalink => std::cmp::Ordering::Equal,
        };
        order.then_with(|| page(a).path.cmp(&page(b).path))
    });
    (sorted, rest)
}

/// Puts subsections in the order that the section above asks for: by title or address where its pages are, by weight otherwise.
/// Those without a title are not among those that are sorted by it.
fn sort_sections(sections: &[Section], ids: &mut Vec<SectionId>, by: SortBy) {
    let section = |id: &SectionId| &sections[*id as usize];
    fn title(section: &Section) -> Option<&str> {
        section.matter.title.as_deref()
    }
    if matches!(by, SortBy::Title | SortBy::TitleBytes) {
        ids.retain(|id| title(section(id)).is_some());
    }
    ids.sort_by(|a, b| {
        let (a, b) = (section(a), section(b));
        match by {
            SortBy::Title => {
                natural(title(a).unwrap_or(""), title(b).unwrap_or("")).then_with(|| a.path.cmp(&b.path))
            }
            SortBy::TitleBytes => title(a).cmp(&title(b)).then_with(|| a.path.cmp(&b.path)),
            SortBy::Permalink => a.path.cmp(&b.path),
            _ => (a.matter.weight, a.relative()).cmp(&(b.matter.weight, b.relative())),
        }
    });
}

/// The path that the number of a pager follows: below `paginate_path` where there is one.
pub(crate) fn pagers_path(path: &str, paginate_path: &str) -> String {
    if paginate_path.is_empty() { path.to_owned() } else { format!("{path}{paginate_path}/") }
}

/// The order of people: character by character, but numbers by value; letters by what they are based on, then case and
/// accents; what is neither letter nor digit comes first.
fn natural(a: &str, b: &str) -> std::cmp::Ordering {
    fn pieces(text: &str) -> Vec<(u8, u64)> {
        let plain = deunicode::deunicode(text).to_lowercase();
        let mut out = Vec::with_capacity(plain.len());
        let mut rest = plain.as_str();
        while let Some(first) = rest.chars().next() {
            let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
            let (piece, tail) = rest.split_at(digits.max(first.len_utf8()));
            out.push(match first {
                _ if digits > 0 => (1, piece.parse().unwrap_or(u64::MAX)),
                c => (if c.is_alphanumeric() { 2 } else { 0 }, u64::from(c)),
            });
            rest = tail;
        }
        out
    }
    pieces(a).cmp(&pieces(b)).then_with(|| a.cmp(b))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_in_names() {
        assert_eq!(dated("2026-03-04-dated").unwrap().1, "dated");
        assert_eq!(dated("2026-03-04_dated").unwrap().1, "dated");
        assert_eq!(dated("2026-03-04T10:00:00Z-x").unwrap().1, "x");
        assert_eq!(dated("2026-03-04 -new one").unwrap().1, "new one");
        for whole in ["2026-03-04", "2026-03-04-", "2026-03-04 z", "2026-03-04th-thing", "2026-03-04Tea-time"]
        {
            let (date, rest) = dated(whole).unwrap();
            assert_eq!((&*date.text, rest), ("2026-03-04", whole));
        }
        assert!(dated("2026-13-04-x").is_none());
        assert!(dated("über-lang-x").is_none());
    }

    #[test]
    fn natural_order() {
        let mut names = vec!["b10", "b9", "A", "a"];
        names.sort_by(|a, b| natural(a, b));
        assert_eq!(names, ["A", "a", "b9", "b10"]);
        let mut names = vec!["a b", "a - b", "ab", "a"];
        names.sort_by(|a, b| natural(a, b));
        assert_eq!(names, ["a", "a - b", "a b", "ab"]);
    }

    #[test]
    fn template_syntax_is_seen() {
        assert!(is_templated("a {{ b }}"));
        assert!(is_templated("{% raw %}"));
        assert!(!is_templated("a { b } {#id}"));
    }
}
