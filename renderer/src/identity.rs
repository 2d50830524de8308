//! Which page of now a page of before has become: by its file, its text, its title or its name.

use blake3::Hash;

use crate::config::{self, Config};
use crate::diagnostic::Errors;
use crate::library::{Library, Making, ParsedFiles};
use crate::limits::Limits;
use crate::schemas::Schemas;
use crate::sources::Sources;
use crate::templates::Wants;

/// Bytes of the shortest text by which a page is recognised: many pages say next to nothing.
const TEXT_BYTES_MIN: usize = 40;
/// How alike two names of pages are that may be one's (Jaro-Winkler).
const ALIKE_MIN: f64 = 0.9;

/// What a page or a section is known by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// Its file, site-relative.
    pub source: String,
    /// Its address within the site: `/blog/first/`.
    pub path: String,
    title: Option<String>,
    /// None where the text is too short to tell pages apart.
    text: Option<Hash>,
}

/// What the content among these files is known by. The files need not be a whole site, but for its configuration; of files
/// that cannot be read as content nothing is said.
pub fn identities(sources: &Sources) -> Vec<Identity> {
    let read = |path: &str| {
        let bytes = sources.get(path)?.read().ok()?;
        String::from_utf8(bytes.to_vec()).ok()
    };
    let Some(path) = config::config_path(sources, None) else { return Vec::new() };
    let Some(config) = read(&path).and_then(|text| Config::parse(&path, &text, false).ok()) else {
        return Vec::new();
    };
    let making = Making {
        sources,
        rows: &[],
        config: &config,
        limits: &Limits::default(),
        schemas: &Schemas::default(),
        drafts: true,
        now: None,
        wants: Wants::default(),
        known: &ParsedFiles::new(),
        keeps_last: false,
    };
    let mut errors = Errors::default();
    let (library, _) = Library::make(&making, &mut errors);
    if !errors.is_empty() {
        return Vec::new();
    }
    let identity = |source: &str, path: &str, title: Option<&str>, body: usize| {
        let text = read(source).unwrap_or_default();
        let text = text.get(body..).unwrap_or_default().trim();
        Identity {
            source: source.to_owned(),
            path: path.to_owned(),
            title: title.map(str::to_owned),
            text: (text.len() >= TEXT_BYTES_MIN).then(|| blake3::hash(text.as_bytes())),
        }
    };
    let pages = library
        .pages
        .iter()
        .map(|page| identity(&page.source, &page.path, page.title(), page.parsed.body as usize));
    let sections = library.sections.iter().filter_map(|section| {
        let body = section.parsed.as_ref()?.body as usize;
        Some(identity(&section.source, &section.path, section.matter.title.as_deref(), body))
    });
    pages.chain(sections).collect()
}

/// Which of `after` the content at `path` has become, of whose past `before` tells; none where that cannot be told.
pub fn moved<'a>(path: &str, before: &[Identity], after: &'a [Identity]) -> Option<&'a Identity> {
    let was = before.iter().find(|known| known.path == path);
    let only = |is: &dyn Fn(&Identity) -> bool| {
        let mut found = after.iter().filter(|now| is(now));
        found.next().filter(|_| found.next().is_none())
    };
    let name = |path: &str| path.trim_end_matches('/').rsplit('/').next().unwrap_or_default().to_owned();
    was.and_then(|was| {
        only(&|now| now.source == was.source)
            .or_else(|| only(&|now| was.text.is_some() && now.text == was.text))
            .or_else(|| only(&|now| was.title.is_some() && now.title == was.title))
    })
    .or_else(|| only(&|now| name(&now.path) == name(path)))
    .or_else(|| only(&|now| strsim::jaro_winkler(&name(&now.path), &name(path)) >= ALIKE_MIN))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known(files: &[(&str, &str)]) -> Vec<Identity> {
        let config = ("zola.toml", "base_url = \"https://x.example\"\n");
        let files = std::iter::once(config).chain(files.iter().copied());
        identities(&Sources::from_files(files.map(|(path, text)| (path.to_owned(), text.to_owned().into()))))
    }

    #[test]
    fn a_page_is_recognised_by_what_it_kept() {
        let long = "A text that is long enough to tell this page from any other page.";
        let before = known(&[
            ("content/a.md", "+++\nslug = \"one\"\n+++\n"),
            ("content/b.md", &format!("+++\ntitle = \"B\"\n+++\n{long}")),
            ("content/c.md", "+++\ntitle = \"C\"\n+++\nshort"),
            ("content/d.md", "+++\ntitle = \"Same\"\n+++\n"),
        ]);
        let after = known(&[
            ("content/a.md", "+++\nslug = \"uno\"\n+++\n"),
            ("content/x.md", &format!("+++\ntitle = \"Other\"\n+++\n\n{long}\n")),
            ("content/y.md", "+++\ntitle = \"C\"\n+++\nshort, and more"),
            ("content/e.md", "+++\ntitle = \"Same\"\n+++\n"),
            ("content/f.md", "+++\ntitle = \"Same\"\n+++\n"),
            ("content/deep/our-sourdough.md", "+++\n+++\n"),
        ]);
        for (path, source) in [
            ("/one/", Some("content/a.md")),
            ("/b/", Some("content/x.md")),
            ("/c/", Some("content/y.md")),
            // Two have its title, and none its name.
            ("/d/", None),
            ("/bread/our-sourdough/", Some("content/deep/our-sourdough.md")),
            ("/our-sourdoughs/", Some("content/deep/our-sourdough.md")),
            ("/elsewhere/", None),
        ] {
            assert_eq!(moved(path, &before, &after).map(|now| now.source.as_str()), source, "{path}");
        }
        assert_eq!(identities(&Sources::default()), []);
    }
}
