//! The head of a content file: TOML between `+++` lines or YAML between `---` lines.
//!
//! Owns what a page and a section may say. Beside it `split` finds the head of a file and reads its values, `typed` makes
//! of them what they mean, and `date` reads dates. Both formats become one set of values first, so that a key means the
//! same in either. Unknown keys are errors in sections and ignored in pages, as in Zola.

mod date;
mod split;
mod typed;

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tera::Value;

use crate::config::AnchorLinks;

pub(crate) use date::Date;
pub(crate) use split::{Format, Place, point, split, values, written};
pub(crate) use typed::{in_words, page, section, unknown_key};

/// The text of a content's front matter; none where there is none, or it does not end.
pub fn front_matter(text: &str) -> Option<&str> {
    let (_, matter, _) = split("", text).ok()?.matter?;
    Some(matter)
}

/// The front matter of a page.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct PageMatter {
    pub(crate) title: Option<Box<str>>,
    pub(crate) description: Option<Box<str>>,
    pub(crate) updated: Option<Date>,
    pub(crate) date: Option<Date>,
    pub(crate) expiry_date: Option<Date>,
    pub(crate) draft: bool,
    pub(crate) render: bool,
    pub(crate) slug: Option<Box<str>>,
    pub(crate) path: Option<Box<str>>,
    /// In the order written.
    pub(crate) taxonomies: Vec<(Box<str>, Vec<Box<str>>)>,
    pub(crate) weight: Option<i64>,
    pub(crate) authors: Vec<Box<str>>,
    pub(crate) aliases: Vec<Box<str>>,
    pub(crate) template: Option<Box<str>>,
    pub(crate) in_search_index: bool,
    pub(crate) include_in_feeds: bool,
    /// Not said: as the section that holds it.
    pub(crate) hidden: Option<bool>,
    pub(crate) cache_groups: Vec<Box<str>>,
    /// `None` stands for an empty map: most pages have no extra, and there are many pages.
    #[serde(with = "crate::memo::values")]
    pub(crate) extra: Option<Value>,
    /// Keys that mean nothing.
    pub(crate) unknown: Vec<Box<str>>,
}

impl PageMatter {
    /// Whether the page stands where it would stand with this one: its address, which lists have it and where, which
    /// outputs there are beside it. What it says of itself may differ.
    pub(crate) fn stands_as(&self, other: &Self) -> bool {
        let Self {
            title: _,
            description: _,
            updated,
            date,
            expiry_date,
            draft,
            render,
            slug,
            path,
            taxonomies,
            weight,
            authors: _,
            aliases,
            template,
            in_search_index,
            include_in_feeds,
            hidden,
            cache_groups: _,
            extra: _,
            unknown: _,
        } = self;
        (updated, date, expiry_date) == (&other.updated, &other.date, &other.expiry_date)
            && (slug, path, taxonomies) == (&other.slug, &other.path, &other.taxonomies)
            && (weight, aliases, template) == (&other.weight, &other.aliases, &other.template)
            && (draft, render, hidden) == (&other.draft, &other.render, &other.hidden)
            && (in_search_index, include_in_feeds) == (&other.in_search_index, &other.include_in_feeds)
    }
}

/// How a section orders its pages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(crate) enum SortBy {
    #[default]
    None,
    Date,
    UpdateDate,
    Title,
    TitleBytes,
    Weight,
    Slug,
    Permalink,
}

impl SortBy {
    /// What a page must have to be sorted.
    pub(crate) fn needed(self) -> &'static str {
        match self {
            Self::None => "nothing",
            Self::Date => "`date`",
            Self::UpdateDate => "`updated` or `date`",
            Self::Title | Self::TitleBytes => "`title`",
            Self::Weight => "`weight`",
            Self::Slug => "`slug`",
            Self::Permalink => "address",
        }
    }
}

/// The front matter of a section.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct SectionMatter {
    pub(crate) title: Option<Box<str>>,
    pub(crate) description: Option<Box<str>>,
    pub(crate) sort_by: SortBy,
    pub(crate) weight: i64,
    pub(crate) template: Option<Box<str>>,
    pub(crate) paginate_by: Option<usize>,
    pub(crate) paginate_reversed: bool,
    pub(crate) paginate_path: Box<str>,
    pub(crate) insert_anchor_links: Option<AnchorLinks>,
    pub(crate) render: bool,
    pub(crate) draft: bool,
    pub(crate) redirect_to: Option<Box<str>>,
    pub(crate) in_search_index: bool,
    pub(crate) transparent: bool,
    /// Not said: as the section that holds it.
    pub(crate) hidden: Option<bool>,
    pub(crate) page_template: Option<Box<str>>,
    pub(crate) aliases: Vec<Box<str>>,
    pub(crate) generate_feeds: bool,
    pub(crate) cache_groups: Vec<Box<str>>,
    #[serde(with = "crate::memo::values")]
    pub(crate) extra: Option<Value>,
}

impl Default for SectionMatter {
    fn default() -> Self {
        Self {
            title: None,
            description: None,
            sort_by: SortBy::None,
            weight: 0,
            template: None,
            paginate_by: None,
            paginate_reversed: false,
            paginate_path: "page".into(),
            insert_anchor_links: None,
            render: true,
            draft: false,
            redirect_to: None,
            in_search_index: true,
            transparent: false,
            hidden: None,
            page_template: None,
            aliases: Vec::new(),
            generate_feeds: false,
            cache_groups: Vec::new(),
            extra: None,
        }
    }
}

/// Shared text for an `Arc<str>`.
pub(crate) fn shared(text: &str) -> Arc<str> {
    Arc::from(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnostic::Errors;

    fn parse_page(text: &str) -> Result<PageMatter, Errors> {
        let split = split("content/x.md", text)?;
        let (format, matter, offset) = split.matter.unwrap_or((Format::Toml, "", 0));
        let place = Place { path: "content/x.md", text, matter, offset };
        page(&place, values(&place, format)?)
    }

    #[test]
    fn toml_and_yaml_mean_the_same() {
        let a = parse_page("+++\ntitle = \"T\"\ndate = 2026-01-09T10:30:00Z\n[taxonomies]\ntags = [\"a\"]\n[extra]\nx = 1\n+++\nbody").unwrap();
        let b = parse_page(
            "---\ntitle: T\ndate: 2026-01-09T10:30:00Z\ntaxonomies:\n  tags: [a]\nextra: {x: 1}\n---\nbody",
        )
        .unwrap();
        assert_eq!(a.title, b.title);
        assert_eq!(a.date, b.date);
        assert_eq!(a.taxonomies, b.taxonomies);
        assert_eq!(a.extra, b.extra);
        assert_eq!(a.date.unwrap().seconds, 1_767_954_600);
        let indented = parse_page("\n  +++\n  title = \"T\"\n  +++\n  body").unwrap();
        assert_eq!(indented.title, b.title);
    }

    #[test]
    fn errors_have_lines() {
        let errors = parse_page("+++\ntitle = \"T\"\ndate = \n+++\n").unwrap_err();
        assert_eq!(errors.list()[0].line, Some(3));
        let errors = parse_page("+++\ntitle = 1\ndraft = \"x\"\n+++\n").unwrap_err();
        assert_eq!(errors.list().iter().map(|d| d.line).collect::<Vec<_>>(), [Some(2), Some(3)]);
        let errors = parse_page("---\ntitle: [\n---\n").unwrap_err();
        assert!(errors.list()[0].line.unwrap() >= 2);
        let errors = parse_page("+++\ntitle = 1\n").unwrap_err();
        assert!(errors.list()[0].message.contains("not closed"));
    }
}
