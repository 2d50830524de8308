//! What is to be said of where an address leads, whoever names it: a link, a file that a page is made of, or a line of the
//! file of redirects.

use std::collections::HashSet;

use release::url::site_path;
use reqwest::Url;

use super::links::{End, Home, Links};
use super::resolve::nearest;
use super::{Check, Severity};
use crate::markup::{names_the_top, place_in};

/// Hints of which a finding's nearest name is looked for: it is compared with every output.
const NEAREST_MAX: usize = 200;

/// Bytes at the head of a content in which it may give itself an address.
const HEAD_BYTES_MAX: usize = 16 << 10;

/// What to do where another program makes what is at an address of the site.
const ELSEWHERE: &str = "if something else is at that address, name it in `skip_prefixes` of [link_checker]";

/// What is to be said of an address.
#[derive(Debug)]
pub(super) enum Judgement {
    /// Nothing.
    Good,
    /// It is wrong in this way, and this helps.
    Wrong(Wrong, Severity, Option<String>),
    /// Its host is another, to be asked for this address and the place in it.
    Ask(String, Option<String>),
}

/// In which way an address is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wrong {
    /// Its page has no such place.
    Fragment,
    /// Nothing is there.
    Missing,
    /// It is on this host, but not in the site.
    Beside,
    /// It is no address.
    Malformed,
    /// It is redirected in a circle.
    Circle,
}

/// Judges addresses one after the other.
pub(super) struct Judge<'c> {
    check: &'c Check<'c>,
    home: &'c Home,
    links: &'c Links,
    /// How bad a wrong link within the site is.
    inside: Severity,
    /// Beginnings of paths that are missing since their making failed, which was said.
    failed: &'c [String],
    /// Words at the head of contents with whose front matter something is wrong: an address may be theirs.
    unread: HashSet<String>,
    /// Nearest names that were looked for.
    hints: usize,
}

impl<'c> Judge<'c> {
    pub(super) fn new(
        check: &'c Check<'c>,
        home: &'c Home,
        links: &'c Links,
        inside: Severity,
        failed: &'c [String],
    ) -> Self {
        let is_part = |c: char| c.is_alphanumeric() || matches!(c, '-' | '_' | '.');
        let stand_ins = check.site.library.stand_ins.iter();
        let texts = stand_ins.filter_map(|source| Some(check.site.sources.text(source).ok()?.1));
        let words = |text: String| -> Vec<String> {
            let head = &text[..text.floor_char_boundary(HEAD_BYTES_MAX)];
            head.split(|c| !is_part(c)).map(str::to_owned).collect()
        };
        let unread = texts.flat_map(words).collect();
        Self { check, home, links, inside, failed, unread, hints: 0 }
    }

    /// Whether an address may be one that a content gives itself which cannot be parsed: its `slug`, `path` or alias.
    fn may_be_unread(&self, path: &str) -> bool {
        let name = path.trim_end_matches('/').rsplit('/').next().unwrap_or_default();
        self.unread.contains(name) && !name.is_empty()
    }

    /// Of an address with its host, as it is `written` on these pages, or on none by the site itself. An
    /// output that it leads to counts as used.
    pub(super) fn of(&mut self, address: &str, written: &str, pages: &[String]) -> Judgement {
        let site = self.check.site;
        let checker = &site.config.link_checker;
        let begins_with = |prefixes: &[String]| prefixes.iter().any(|p| address.starts_with(p.as_str()));
        let exempt = begins_with(&checker.skip_anchor_prefixes);
        match self.links.end(self.home, address, exempt) {
            End::Aside => Judgement::Good,
            End::Output(output) => {
                self.check.usage.output(output);
                Judgement::Good
            }
            _ if begins_with(&checker.skip_prefixes) => Judgement::Good,
            End::NoId(output) => {
                let hint = format!("no element of `{output}` has that id");
                Judgement::Wrong(Wrong::Fragment, self.inside, Some(hint))
            }
            End::Nothing(path) => {
                let file = release::url::manifest_path(&path);
                // `/bread` leads to `/bread/`.
                let index = format!("{file}/index.html");
                let is_failed = |prefix: &String| file.starts_with(prefix.as_str()) || index == *prefix;
                let is_failed = self.failed.iter().any(is_failed);
                if is_failed || self.may_be_unread(&path) {
                    return Judgement::Good;
                }
                self.hints += 1;
                let near = if self.hints <= NEAREST_MAX { nearest(&path, self.links.paths()) } else { None };
                // A page that is only there to lead elsewhere has the name of what it leads to.
                let near = near.filter(|near| !pages.contains(near));
                let is_whole = written.contains("://");
                let hint = match near {
                    Some(near) => Some(format!(
                        "did you mean `{}`?",
                        self.home.spelled(&near, is_whole, pages.is_empty())
                    )),
                    None => is_whole.then(|| ELSEWHERE.to_owned()),
                };
                Judgement::Wrong(Wrong::Missing, self.inside, hint)
            }
            End::Beside => {
                let inside = Url::parse(address).ok().and_then(|url| site_path(url.path()));
                let hint = match inside.filter(|path| self.links.has(path)) {
                    Some(path) => format!("did you mean `{}`?", self.home.spelled(&path, false, false)),
                    None => format!("all of the site is below {}", site.base.absolute),
                };
                Judgement::Wrong(Wrong::Beside, Severity::Warning, Some(hint))
            }
            End::Malformed => Judgement::Wrong(Wrong::Malformed, self.inside, None),
            End::Circle => Judgement::Wrong(Wrong::Circle, self.inside, None),
            End::Elsewhere(mut url) => {
                let fragment = url.fragment().filter(|f| !names_the_top(f) && !exempt);
                let fragment = fragment.map(|fragment| place_in(fragment).to_owned());
                url.set_fragment(None);
                Judgement::Ask(String::from(url), fragment)
            }
        }
    }
}
