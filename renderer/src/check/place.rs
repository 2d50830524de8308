//! Where in the sources something stands that an output shows.
//!
//! Outputs do not say which line made them. What is looked for is searched in the page's own source, then in the
//! templates that the output consists of or the style sheets that it is made of, then in the configuration.

use std::collections::HashMap;
use std::sync::Arc;

use super::links::Origin;
use crate::config;
use crate::diagnostic::Diagnostic;
use crate::library::CONTENT;
use crate::site::Site;

/// What stands before the target of a link, in markdown and in HTML.
const TARGETS: &[&str] = &["](", "](<", "]: ", "=\"", "='"];

/// A place in a source file.
#[derive(Debug, Clone)]
pub(super) struct Place {
    pub(super) path: Arc<str>,
    text: Arc<str>,
    at: usize,
}

impl Place {
    pub(super) fn point(&self, message: String) -> Diagnostic {
        Diagnostic::in_file(self.path.to_string(), message).at(&self.text, self.at)
    }

    /// Whether it is in the text of a page, and so in no other output's.
    pub(super) fn is_content(&self) -> bool {
        self.path.starts_with(CONTENT)
    }
}

/// Looks for places.
pub(super) struct Places<'a> {
    site: &'a Site,
    /// Templates and configuration, which are asked for again and again.
    kept: HashMap<String, Option<Arc<str>>>,
}

impl<'a> Places<'a> {
    pub(super) fn new(site: &'a Site) -> Self {
        Self { site, kept: HashMap::new() }
    }

    fn read(&self, path: &str) -> Option<Arc<str>> {
        let bytes = self.site.sources.get(path)?.read().ok()?;
        Some(Arc::from(std::str::from_utf8(&bytes).ok()?))
    }

    fn keep(&mut self, path: &str) -> Option<Arc<str>> {
        if let Some(known) = self.kept.get(path) {
            return known.clone();
        }
        let text = self.read(path);
        self.kept.insert(path.to_owned(), text.clone());
        text
    }

    /// The place of the first of these spellings that stands in the page's own source.
    pub(super) fn in_source(&self, source: &str, spellings: &[String]) -> Option<Place> {
        let text = self.read(source)?;
        let at = spellings.iter().find_map(|spelling| find(&text, spelling))?;
        Some(Place { path: Arc::from(source), text, at })
    }

    /// The place where an output gets it from.
    pub(super) fn of(&mut self, origin: &Origin, spellings: &[String]) -> Option<Place> {
        if let Some(place) = origin.source.as_ref().and_then(|source| self.in_source(source, spellings)) {
            return Some(place);
        }
        let site = self.site;
        let mut files: Vec<String> = Vec::new();
        if let Some(template) = &origin.template {
            let needs = site.engine.needs(template);
            files.extend(needs.closure.iter().map(|name| site.template_file(name)));
        }
        // Components are called by names that say nothing of their files.
        files.extend(site.sources.under("templates/").map(|(path, _)| path.to_owned()));
        if let Some(theme) = &site.theme {
            let folder = format!("themes/{theme}/templates/");
            files.extend(site.sources.under(&folder).map(|(path, _)| path.to_owned()));
        }
        if origin.output.ends_with(".css") {
            files.extend(site.sources.under("sass/").map(|(path, _)| path.to_owned()));
        }
        files.extend(config::CONFIG_NAMES.map(str::to_owned));
        for path in files {
            let Some(text) = self.keep(&path) else { continue };
            if let Some(at) = spellings.iter().find_map(|spelling| find(&text, spelling)) {
                return Some(Place { path: Arc::from(path), text, at });
            }
        }
        None
    }

    /// The place of a heading in the page's own source.
    pub(super) fn heading(&self, origin: &Origin, level: u8, title: &str) -> Option<Place> {
        let source = origin.source.as_deref()?;
        let text = self.read(source)?;
        let wanted = letters(title);
        let mut fence: Option<&str> = None;
        let mut at = 0;
        for line in text.split_inclusive('\n') {
            let bare = line.trim();
            let mark = ["```", "~~~"].into_iter().find(|mark| bare.starts_with(mark));
            match (fence, mark) {
                (None, Some(mark)) => fence = Some(mark),
                (Some(open), Some(mark)) if open == mark => fence = None,
                (None, None) => {
                    let hashes = bare.len() - bare.trim_start_matches('#').len();
                    let written = letters(bare[hashes..].split("{#").next().unwrap_or_default());
                    // A template may put a sign or a link beside it.
                    if hashes == level as usize && !written.is_empty() && wanted.contains(&written) {
                        return Some(Place { path: Arc::from(source), text: text.clone(), at });
                    }
                }
                _ => {}
            }
            at += line.len();
        }
        None
    }
}

/// Letters and digits alone: what a heading has in common with its source.
fn letters(text: &str) -> String {
    text.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect()
}

/// Where a text has a spelling as a whole, not as a part of something longer: where it is the target of a link, if it is.
fn find(text: &str, spelling: &str) -> Option<usize> {
    if spelling.is_empty() {
        return None;
    }
    let edge = |c: char| c.is_whitespace() || "\"'()<>[]`,;|".contains(c);
    let is_whole = |at: &usize| {
        let before = text[..*at].chars().next_back();
        let after = text[at + spelling.len()..].chars().next();
        let opens =
            spelling.starts_with('#') || before.is_none_or(|c| edge(c) || matches!(c, '=' | ':' | '{'));
        opens && after.is_none_or(|c| edge(c) || matches!(c, '#' | '?' | '}'))
    };
    let is_target = |at: &usize| TARGETS.iter().any(|before| text[..*at].ends_with(before));
    let finder = memchr::memmem::Finder::new(spelling);
    let mut found = finder.find_iter(text.as_bytes()).filter(is_whole);
    let first = found.next()?;
    if is_target(&first) { Some(first) } else { found.find(is_target).or(Some(first)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_whole_is_found() {
        let text = "see /a/b/ and [x](/a/), <img src=/a/?q> #frag";
        assert_eq!(find(text, "/a/"), Some(18));
        assert_eq!(find(text, "/b/"), None);
        assert_eq!(find(text, "#frag"), Some(40));
        assert_eq!(find(text, ""), None);
        // What only mentions it does not lead there.
        assert_eq!(find("title = \"on /a/\"\n`/a/` [x](/a/)", "/a/"), Some(27));
        assert_eq!(find("/a/ twice: /a/", "/a/"), Some(0));
        assert_eq!(letters("Two  *words* & 1"), letters("two words 1"));
    }
}
