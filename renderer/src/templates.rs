//! The template engine of a site, and what its templates ask for.
//!
//! Built only when a template changed. Names are looked up in the site's `templates/`, then its theme's, then the
//! built-in ones. Tera cannot say which fields a template reads, so the sources are searched for the few that cost
//! something: the content of *other* pages, their summaries, tables of contents and word counts.

pub(crate) mod arguments;
mod explain;
pub(crate) mod pieces;
mod scan;
mod slips;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use blake3::Hash;
use tera::{Tera, TeraResult};

use crate::diagnostic::{Diagnostic, Errors};
use crate::theme;
use crate::{filters, functions};

use explain::explain_build;
pub(crate) use explain::{explain_content, explain_render};
pub(crate) use scan::{BY_NAME, assigned};
use scan::{Scan, digest, mentioned_fields, reachable};

/// Templates that are rendered within contents, whether or not these are templates themselves.
pub(crate) const WITHIN_CONTENT: [&str; 2] = ["anchor-link.html", "summary-cutoff.html"];

/// The Zola whose sites are built.
const ZOLA_VERSION: &str = "0.23.6";

/// Names the fields of the values of pages and sections, so that a set of them is a number.
macro_rules! value_fields {
    ($($field:ident = $name:literal,)*) => {
        /// A field of the value of a page or a section.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(crate) enum Field { $($field,)* }

        impl Field {
            pub(crate) const ALL: &'static [Self] = &[$(Self::$field,)*];

            /// The name that templates use.
            pub(crate) const fn name(self) -> &'static str {
                match self { $(Self::$field => $name,)* }
            }
        }
    };
}

value_fields! {
    RelativePath = "relative_path",
    ColocatedPath = "colocated_path",
    Content = "content",
    Permalink = "permalink",
    Slug = "slug",
    Ancestors = "ancestors",
    Title = "title",
    Description = "description",
    Updated = "updated",
    Date = "date",
    Year = "year",
    Month = "month",
    Day = "day",
    Taxonomies = "taxonomies",
    Authors = "authors",
    Extra = "extra",
    Path = "path",
    Components = "components",
    Summary = "summary",
    Toc = "toc",
    WordCount = "word_count",
    ReadingTime = "reading_time",
    Assets = "assets",
    Draft = "draft",
    Weight = "weight",
    Lang = "lang",
    Lower = "lower",
    Higher = "higher",
    Translations = "translations",
    Backlinks = "backlinks",
    InSearchIndex = "in_search_index",
    IncludeInFeeds = "include_in_feeds",
    Hidden = "hidden",
    Aliases = "aliases",
    Transparent = "transparent",
    PaginateBy = "paginate_by",
    PaginateReversed = "paginate_reversed",
    GenerateFeeds = "generate_feeds",
    Subsections = "subsections",
    Pages = "pages",
}

/// A set of fields of pages and sections.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, serde::Serialize, serde::Deserialize)]
pub(crate) struct Fields(u64);

impl Fields {
    pub(crate) const ALL: Self = Self(u64::MAX);
    /// Those that cost a look at the content.
    pub(crate) const CONTENT: Self = Self::of(&[Field::Content, Field::Summary, Field::Toc]);
    /// What content that is a template sees of other content: two pages cannot wait for each other's text.
    pub(crate) const FRONT: Self = Self(Self::ALL.0 & !Self::CONTENT.0);
    /// Those that only sections have.
    const OF_SECTIONS: Self = Self::of(&[
        Field::Transparent,
        Field::PaginateBy,
        Field::PaginateReversed,
        Field::GenerateFeeds,
        Field::Subsections,
        Field::Pages,
    ]);
    /// Those that change with the text below the front matter.
    const BODY: Self = Self::CONTENT.or(Self::of(&[Field::WordCount, Field::ReadingTime]));
    /// Of the front matter what others seldom show, or change often, told apart from the rest.
    pub(crate) const APART: Self = Self::of(&[
        Field::Title,
        Field::Date,
        Field::Taxonomies,
        Field::Description,
        Field::Authors,
        Field::Extra,
    ]);
    const DATES: Self = Self::of(&[Field::Date, Field::Updated, Field::Year, Field::Month, Field::Day]);
    /// Stands for a whole front matter.
    pub(crate) const MATTER: Self = Self::of(&[Field::Extra]);
    /// The pages and sections beside one.
    pub(crate) const BESIDE: Self = Self::of(&[Field::Lower, Field::Higher]);

    pub(crate) const fn of(fields: &[Field]) -> Self {
        let mut bits = 0;
        let mut i = 0;
        while i < fields.len() {
            bits |= 1 << fields[i] as u64;
            i += 1;
        }
        Self(bits)
    }

    pub(crate) const fn has(self, field: Field) -> bool {
        self.0 & (1 << field as u64) != 0
    }

    /// Whether any of these is in the set.
    pub(crate) const fn any(self, of: Self) -> bool {
        self.0 & of.0 != 0
    }

    /// Of the set what changes with other things than the front matter and the names of one content.
    pub(crate) const fn beyond_front(self) -> Self {
        self.and(Self::BODY.or(Self::BESIDE))
    }

    /// Of the set what tells which changes of a content matter to who reads it: those of its text, those of what is beside it, and
    /// of its front matter the parts told apart. Who reads `extra` reads all of that, and who reads a part of a date all dates.
    pub(crate) const fn told_apart(self) -> Self {
        let beyond = self.beyond_front();
        if self.any(Self::MATTER) {
            return beyond.or(Self::MATTER);
        }
        let dates = if self.any(Self::DATES) { Self::of(&[Field::Date]) } else { Self(0) };
        beyond.or(dates).or(self.without(Field::Date).and(Self::APART))
    }

    /// All but those of the contents beside it: what these have of themselves.
    pub(crate) const fn alone(self) -> Self {
        Self(self.0 & !Self::BESIDE.0)
    }

    /// Those that pages have.
    pub(crate) const fn of_pages(self) -> Self {
        Self(self.0 & !Self::OF_SECTIONS.0)
    }

    /// How many there are.
    pub(crate) const fn count(self) -> usize {
        let bits = self.0.count_ones() as usize;
        if bits < Field::ALL.len() { bits } else { Field::ALL.len() }
    }

    pub(crate) const fn without(self, field: Field) -> Self {
        Self(self.0 & !(1 << field as u64))
    }

    pub(crate) const fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    pub(crate) const fn or(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// What a template, with all it extends, includes and calls, asks of a site.
#[derive(Debug, Clone)]
pub(crate) struct Needs {
    /// Fields of pages and sections other than the one that is rendered.
    pub(crate) fields: Fields,
    /// The templates it consists of, by the names they are cached under.
    pub(crate) closure: Vec<String>,
    /// Whether `.pages` is only ever counted.
    pub(crate) pages_counted_only: bool,
    /// Whether the pages of `terms`, which the list of a taxonomy is given, are only ever counted.
    pub(crate) terms_counted_only: bool,
    /// Whether it may read the pages of the term that is rendered, rather than those of its pager.
    pub(crate) term_pages: bool,
    /// The same of the section that is rendered.
    pub(crate) section_pages: bool,
    /// Whether it may read the text of that section.
    pub(crate) section_text: bool,
    /// Whether it compares the page or the section that is rendered as a whole with others: then all have all fields.
    pub(crate) compares: bool,
    /// The dynamic sources it names.
    pub(crate) data: Vec<String>,
    /// Whether it may read data without a name.
    pub(crate) all_data: bool,
    /// Whether it says `extra`.
    pub(crate) extra: bool,
    /// Whether it may ask a function, or a filter, for what is not handed to it.
    pub(crate) asks: bool,
    /// Whether it says `lower` or `higher`.
    pub(crate) beside: bool,
    /// What it is made of, with all it extends, includes and calls.
    pub(crate) digest: Hash,
}

impl Needs {
    /// What a template may ask for that is not known.
    fn unknown(digest: Hash) -> Self {
        Self {
            fields: Fields::ALL,
            closure: Vec::new(),
            pages_counted_only: false,
            terms_counted_only: false,
            term_pages: true,
            section_pages: true,
            section_text: true,
            compares: true,
            data: Vec::new(),
            all_data: true,
            extra: true,
            asks: true,
            beside: true,
            digest,
        }
    }
}

/// What takes long to know of contents, and is not made where no template and no content asks for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
pub(crate) struct Wants {
    /// How many words each has.
    pub(crate) words: bool,
    /// What links to each.
    pub(crate) backlinks: bool,
}

impl Wants {
    /// What a text that is a template may ask for.
    pub(crate) fn of(text: &str) -> Self {
        let reads_any = scan::reads_any(text);
        let mentions = |word: &str| reads_any || text.contains(word);
        Self { words: mentions("word_count") || mentions("reading_time"), backlinks: mentions("backlinks") }
    }

    pub(crate) fn or(self, other: Self) -> Self {
        Self { words: self.words || other.words, backlinks: self.backlinks || other.backlinks }
    }
}

/// A site's templates, parsed.
pub(crate) struct Engine {
    pub(crate) tera: Tera,
    needs: HashMap<String, Arc<Needs>>,
    /// Where a name is looked for that no template of the site itself has, in this order.
    prefixes: Vec<String>,
    /// What any template asks for.
    pub(crate) wants: Wants,
    /// Arguments that nothing takes, in the templates of the site and its theme.
    pub(crate) warnings: Vec<Diagnostic>,
    /// Variables that any template sets.
    pub(crate) assigned: HashSet<String>,
    /// The fields of pages and sections that any template may read.
    pub(crate) mentioned: Fields,
    /// Whether what the templates within contents give may be another with the same text.
    pub(crate) asks_within_content: bool,
    /// Whether pages without templates of their own look like the built-in theme.
    pub(crate) built_in_look: bool,
    /// What all templates are made of.
    pub(crate) digest: Hash,
}

/// One source of templates: a prefix, and texts by name.
pub(crate) struct Sheaf {
    /// Site-relative folder, for messages; empty for built-in ones.
    pub(crate) folder: String,
    pub(crate) prefix: String,
    pub(crate) templates: BTreeMap<String, String>,
}

/// An engine that has no templates yet, but all that they may call.
fn empty(prefixes: &[String]) -> TeraResult<Tera> {
    let mut tera = Tera::new();
    tera.global_context().insert("zola_version", ZOLA_VERSION);
    filters::register(&mut tera);
    functions::register(&mut tera);
    tera.autoescape_on([".html", ".xml", ".htm"]);
    tera.set_fallback_prefixes(prefixes.to_vec())?;
    Ok(tera)
}

impl Engine {
    /// Parses the templates of a site and its theme together with the built-in ones.
    ///
    /// # Errors
    /// Every template that does not parse, each unknown name, cycles and missing parents.
    pub(crate) fn build(mut sheaves: Vec<Sheaf>, beyond_zola: bool) -> Result<Self, Errors> {
        let has = |name: &str| sheaves.iter().any(|sheaf| sheaf.templates.contains_key(name));
        let own_look = ["index.html", "page.html", "section.html"].iter().any(|name| has(name));
        let built_in_look = !own_look;
        let small = Sheaf {
            folder: String::new(),
            prefix: theme::SMALL_PREFIX.to_owned(),
            templates: theme::small_templates()
                .into_iter()
                .map(|(n, t)| (n.to_owned(), t.to_owned()))
                .collect(),
        };
        let full = Sheaf {
            folder: String::new(),
            prefix: theme::THEME_PREFIX.to_owned(),
            templates: theme::templates().into_iter().map(|(n, t)| (n.to_owned(), t.to_owned())).collect(),
        };
        // Where a site looks its own way, or is Zola's alone, the small templates come first: they say what Zola's say.
        if own_look || !beyond_zola {
            let mut small = small;
            if built_in_look {
                small.templates.remove("404.html");
            }
            sheaves.push(small);
            sheaves.push(full);
        } else {
            sheaves.push(full);
            sheaves.push(small);
        }
        let texts = reachable(&sheaves, beyond_zola);
        let prefixes: Vec<String> =
            sheaves.iter().map(|s| s.prefix.clone()).filter(|p| !p.is_empty()).collect();
        let empty = || empty(&prefixes);
        let built = empty().and_then(|mut tera| {
            tera.add_raw_templates(texts.iter().map(|(name, text)| (name.as_str(), text.as_str())))?;
            Ok(tera)
        });
        let tera = built.map_err(|e| explain_build(&e, &texts, &sheaves, &empty))?;
        let written = sheaves.iter().filter(|sheaf| !sheaf.folder.is_empty()).flat_map(|sheaf| {
            let read = sheaf
                .templates
                .iter()
                .filter(|(name, _)| texts.contains_key(&format!("{}{name}", sheaf.prefix)));
            read.map(|(name, text)| (format!("{}{name}", sheaf.folder), &**text, 0))
        });
        let warnings = arguments::warnings(written);
        let scan = Scan::new(&texts, &prefixes);
        let needs = texts.keys().map(|name| (name.clone(), Arc::new(scan.needs(name)))).collect();
        let asks = |name: &&str| scan.needs(name).asks;
        let asks_within_content = WITHIN_CONTENT.iter().any(asks);
        Ok(Self {
            needs,
            warnings,
            asks_within_content,
            wants: texts.values().map(|text| Wants::of(text)).fold(Wants::default(), Wants::or),
            assigned: texts.values().flat_map(|text| assigned(text)).map(str::to_owned).collect(),
            mentioned: mentioned_fields(texts.values().map(String::as_str)).or(Fields::CONTENT),
            built_in_look,
            digest: digest(texts.iter().flat_map(|(name, text)| [name.as_str(), text.as_str()])),
            prefixes,
            tera,
        })
    }

    /// The first of these names that a template has.
    pub(crate) fn first<'n>(&self, names: &[&'n str]) -> Option<&'n str> {
        names.iter().copied().find(|name| self.tera.contains_template(name))
    }

    /// What a template asks for, by the name it is rendered under.
    pub(crate) fn needs(&self, name: &str) -> Arc<Needs> {
        let within = || self.prefixes.iter().find_map(|prefix| self.needs.get(&format!("{prefix}{name}")));
        let found = self.needs.get(name).or_else(within);
        found.map_or_else(|| Arc::new(Needs::unknown(self.digest)), Arc::clone)
    }

    /// Whether a template, with all it extends, includes and calls, is one of the built-in theme's or rests on one.
    pub(crate) fn rests_on_theme(&self, name: &str) -> bool {
        self.needs(name).closure.iter().any(|part| part.starts_with(theme::THEME_PREFIX))
    }

    /// All names that a page may ask for, for hints.
    pub(crate) fn names(&self) -> Vec<&str> {
        let is_built_in =
            |name: &str| [theme::THEME_PREFIX, theme::SMALL_PREFIX].iter().any(|p| name.starts_with(p));
        let mut names: Vec<&str> = self.tera.get_template_names().filter(|name| !is_built_in(name)).collect();
        names.sort_unstable();
        names
    }
}
