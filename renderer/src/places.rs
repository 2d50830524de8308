//! Which file each page's output comes from, and which pages a build would leave out: for previews.

use std::collections::HashMap;
use std::sync::Arc;

use jiff::Timestamp;

use crate::data::RowPage;
use crate::job::{output_of, section_pager};
use crate::library::{Page, Section, place_of_row};
use crate::site::Site;

/// The output of a page or a section, and its file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The output: `blog/first/index.html`.
    pub output: String,
    /// What it is known by: its file, site-relative, such as `content/blog/first.md`; of a page made of a row the name that a
    /// file would have.
    pub source: String,
    /// Where it is written: its file, or that of its row; of a row that no file has, the file that names its source.
    pub file: String,
    /// The line there, from 1.
    pub line: usize,
    /// What sets it apart from pages that simply are published.
    pub mark: Option<Mark>,
}

/// Why a page is not, not yet or no longer to be seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mark {
    /// What its front matter says, or that of a section above it.
    pub reason: Reason,
    /// Whether a build leaves it out: without a `bakehouse.toml` dates withhold nothing.
    pub withheld: bool,
}

/// What a page's front matter says of its being published.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// It is a draft, or in a section that is.
    Draft,
    /// Its date is in the future.
    Future(Timestamp),
    /// Its `expiry_date` is over.
    Expired(Timestamp),
}

/// The outputs of pages and sections, pagers included; `rows` are those that make pages.
pub(crate) fn places(site: &Site, rows: &[RowPage]) -> Vec<Place> {
    let rows: HashMap<&str, &RowPage> = rows.iter().map(|row| (row.path.as_str(), row)).collect();
    // Where sources are named that no file holds, each looked for once.
    let mut named: HashMap<&str, Option<(Arc<str>, usize)>> = HashMap::new();
    let mut written = |page: &Page| {
        let row = *rows.get(page.relative()).filter(|_| page.made_by.is_some())?;
        match &row.place {
            Some(place) => Some(place.clone()),
            None => named.entry(&row.source).or_insert_with(|| place_of_row(&site.sources, row)).clone(),
        }
    };
    let drafts: Vec<(&str, &str)> = site
        .library
        .sections
        .iter()
        .filter(|s| s.matter.draft)
        .map(|s| (folder(&s.source), &*s.lang))
        .collect();
    let is_draft = |source: &str, lang: &str| {
        drafts.iter().any(|(folder, of)| *of == lang && source.starts_with(folder))
    };
    let draft = Mark { reason: Reason::Draft, withheld: true };
    let pages = site.library.pages.iter().filter(|page| page.matter().render).map(|page| {
        let own = page.matter().draft || is_draft(&page.source, &page.lang);
        let (file, line) = written(page).unwrap_or_else(|| (page.source.clone(), 1));
        Place {
            output: output_of(&page.path),
            source: page.source.to_string(),
            file: file.to_string(),
            line,
            mark: if own { Some(draft) } else { dated(site, page) },
        }
    });
    let rendered = |section: &&Section| section.matter.render && section.parsed.is_some();
    let sections = site.library.sections.iter().filter(rendered).flat_map(|section| {
        let mark = is_draft(&section.source, &section.lang).then_some(draft);
        let pagers = if section.matter.paginate_by.is_some() { section.pagers() } else { 0 };
        let paths = (2..=pagers).filter_map(|n| Some(section_pager(section, n)?.path_of(n)));
        std::iter::once(section.path.to_string()).chain(paths).map(move |path| Place {
            output: output_of(&path),
            source: section.source.to_string(),
            file: section.source.to_string(),
            line: 1,
            mark,
        })
    });
    pages.chain(sections).collect()
}

/// The folder of a file, with the slash at its end.
fn folder(source: &str) -> &str {
    &source[..source.rfind('/').map_or(0, |i| i + 1)]
}

fn dated(site: &Site, page: &Page) -> Option<Mark> {
    let now = site.now.as_second();
    let instant = |seconds: i64| Timestamp::from_second(seconds).ok();
    let future = page.date.as_ref().filter(|date| date.seconds > now);
    let expired = page.matter().expiry_date.as_ref().filter(|date| date.seconds <= now);
    let reason = match (future, expired) {
        (_, Some(date)) => Reason::Expired(instant(date.seconds)?),
        (Some(date), None) => Reason::Future(instant(date.seconds)?),
        (None, None) => return None,
    };
    Some(Mark { reason, withheld: site.beyond_zola })
}
