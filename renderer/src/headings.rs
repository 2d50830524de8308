//! Links to headings: whether these are there, which is known when all contents have been rendered.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use rayon::prelude::*;

use crate::diagnostic::{DIAGNOSTICS_MAX, Diagnostic, nearest};
use crate::front_matter;
use crate::library::{CONTENT, Content};
use crate::markdown::{ContentLink, Heading};
use crate::markup::names_the_top;
use crate::site::{Facts, Site, has_id};

/// Headings of a page that a message lists, where none is near the one that is meant.
const LISTED_MAX: usize = 8;

/// Links to headings, and the headings that there are.
#[derive(Default)]
pub(crate) struct Checks {
    facts: HashMap<Content, Arc<Facts>>,
    linking: Vec<(Arc<str>, Arc<Facts>)>,
    /// Contents whose headings nobody knows.
    failed: HashSet<Content>,
}

/// A link to a heading that is not there.
struct Broken<'a> {
    from: &'a str,
    link: &'a ContentLink,
    anchor: &'a str,
    content: Content,
}

impl Checks {
    pub(crate) fn add(&mut self, site: &Site, content: Content, facts: Arc<Facts>) {
        if !facts.links.is_empty() {
            self.linking.push((site.source_of(content).clone(), facts.clone()));
        }
        self.facts.insert(content, facts);
    }

    /// Adds what is known of a content whose output could not be made.
    pub(crate) fn add_failed(&mut self, site: &Site, content: Content, facts: Option<Arc<Facts>>) {
        match facts {
            Some(facts) => self.add(site, content, facts),
            None => {
                self.failed.insert(content);
            }
        }
    }

    /// Links that lead to no heading; `others` knows contents that were not added.
    pub(crate) fn broken(
        &self,
        site: &Arc<Site>,
        others: impl Fn(Content) -> Option<Arc<Facts>> + Sync,
    ) -> Vec<Diagnostic> {
        let known = |to: Content| {
            let facts = self.facts.get(&to).cloned().or_else(|| others(to))?;
            let is_whole = !self.failed.contains(&to) && !site.library.stand_ins.contains(site.source_of(to));
            is_whole.then_some(facts)
        };
        let linking = self.linking.par_iter();
        let mut broken: Vec<Broken<'_>> = linking
            .flat_map_iter(|(from, facts)| {
                facts.links.iter().filter_map(|link| site.broken_heading(from, link, known))
            })
            .collect();
        broken.sort_by_key(|broken| (broken.from, broken.link.at, broken.anchor));
        // Only the digests of headings are kept: to name them, a content is rendered once more.
        let told = broken.into_par_iter().enumerate().map(|(n, broken)| {
            let hint = if n < DIAGNOSTICS_MAX { site.near_heading(&broken) } else { None };
            site.tell_of(&broken).maybe_hint(hint)
        });
        told.collect()
    }
}

impl Broken<'_> {
    /// The link as it would be to another heading.
    fn to(&self, anchor: &str) -> String {
        match &*self.link.target {
            "" => format!("#{anchor}"),
            target => format!("@/{target}#{anchor}"),
        }
    }
}

impl Site {
    /// The heading that a link leads to, if it is not there.
    fn broken_heading<'a>(
        &self,
        from: &'a str,
        link: &'a ContentLink,
        facts: impl Fn(Content) -> Option<Arc<Facts>>,
    ) -> Option<Broken<'a>> {
        let anchor = link.anchor.as_deref().filter(|anchor| !names_the_top(anchor))?;
        let skipped = &self.config.link_checker.skip_anchor_prefixes;
        if skipped.iter().any(|prefix| link.resolved.starts_with(prefix)) {
            return None;
        }
        let inside = from.strip_prefix(CONTENT).unwrap_or(from);
        let content = self.library.content_id(if link.target.is_empty() { inside } else { &link.target })?;
        let is_there = has_id(&facts(content)?.anchors, anchor);
        (!is_there).then_some(Broken { from, link, anchor, content })
    }

    fn tell_of(&self, broken: &Broken<'_>) -> Diagnostic {
        let shown = broken.to(broken.anchor);
        let message = format!("the link `{shown}` leads to a heading that does not exist");
        let diagnostic = Diagnostic::in_file(broken.from, message);
        let file = self.sources.get(broken.from).and_then(|file| file.read().ok());
        match file.as_deref().map(std::str::from_utf8) {
            // Where the content is a template, only what is written tells the place.
            Some(Ok(text)) if broken.link.at > 0 => diagnostic.at(text, broken.link.at),
            Some(Ok(text)) => diagnostic.at(text, front_matter::written(text, &shown).unwrap_or(0)),
            _ => diagnostic,
        }
    }

    /// The heading that was probably meant, or those that there are.
    fn near_heading(self: &Arc<Self>, broken: &Broken<'_>) -> Option<String> {
        let source = self.source_of(broken.content);
        let rendered = self.content_html(source, false)?.ok()?;
        let mut ids = Vec::new();
        collect_ids(&rendered.toc, &mut ids);
        let near = nearest(broken.anchor, ids.iter().copied());
        Some(match (near, &*ids) {
            (Some(near), _) => format!("did you mean `{}`?", broken.to(near)),
            (None, []) => format!("{source} has no headings"),
            (None, ids) if ids.len() <= LISTED_MAX => {
                format!("the headings of {source} are `#{}`", ids.join("`, `#"))
            }
            _ => return None,
        })
    }
}

/// Adds the ids of headings, as a table of contents has them.
fn collect_ids<'a>(toc: &'a [Heading], ids: &mut Vec<&'a str>) {
    for heading in toc {
        ids.push(&heading.id);
        collect_ids(&heading.children, ids);
    }
}
