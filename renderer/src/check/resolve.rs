//! Where all links lead, said at each place in the sources that has them.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use super::judge::{Judge, Judgement, Wrong};
use super::links::Named;
use super::page::Use;
use super::place::Places;
use super::{Check, Finding, Report, Rule, Severity, finding, lock, on, outside};
use crate::diagnostic::Diagnostic;
use crate::library;

/// What a render has said: files, and fragments or links in them.
#[derive(Default)]
struct Said {
    fragments: HashSet<(String, String)>,
    of_render: HashSet<(String, String)>,
}

impl Said {
    fn has(&self, source: &str, written: &str) -> bool {
        let fragment = written.split_once('#').map(|(_, fragment)| (source.to_owned(), fragment.to_owned()));
        fragment.is_some_and(|known| self.fragments.contains(&known))
            || self.of_render.contains(&(source.to_owned(), written.to_owned()))
    }
}

impl Check<'_> {
    /// Looks where all links lead.
    pub(super) fn links(
        &self,
        inside: Severity,
        failed: &[String],
        report: &mut Report,
        found: &mut Vec<Finding>,
    ) {
        let links = lock(&self.links);
        report.links = links.references;
        if links.full {
            let message = "the site has more different links than are looked at".to_owned();
            found.push(finding(Severity::Warning, Rule::Link, Diagnostic::new(message)));
        }
        let Some(home) = &self.home else {
            let message = format!("`{}` is no address: links cannot be looked at", self.site.base.absolute);
            found.push(finding(Severity::Error, Rule::Link, Diagnostic::new(message)));
            return;
        };
        // What a render has said of a link to a heading need not be said again.
        let said: HashSet<(String, String)> = found
            .iter()
            .filter(|f| f.rule == Rule::Fragment)
            .filter_map(|f| {
                let link = f.diagnostic.message.split('`').nth(1)?;
                Some((f.diagnostic.path.clone()?, link.split_once('#')?.1.to_owned()))
            })
            .collect();
        // Nor what it has said of links and images.
        let of_render: HashSet<(String, String)> = found
            .iter()
            .filter(|f| f.rule == Rule::Render)
            .filter_map(|f| {
                Some((f.diagnostic.path.clone()?, f.diagnostic.message.split('`').nth(1)?.to_owned()))
            })
            .collect();
        let said = Said { fragments: said, of_render };
        let mut places = Places::new(self.site);
        let mut judge = Judge::new(self, home, &links, inside, failed);
        let mut outside: BTreeMap<String, outside::Outside> = BTreeMap::new();
        let ignored = &self.site.config.link_checker.ignored_files;
        let ignored = library::globs("zola.toml", ignored).unwrap_or_default();
        for (address, named) in links.sorted() {
            let written = named.first.values().next().map_or(address, |written| &**written);
            let pages: Vec<String> = named.first.keys().map(|origin| origin.path()).collect();
            let what = if named.of == Use::Link { "link" } else { "file" };
            let (wrong, severity, hint) = match judge.of(address, written, &pages) {
                Judgement::Good => continue,
                Judgement::Wrong(wrong, severity, hint) => (wrong, severity, hint),
                Judgement::Ask(url, fragment) => {
                    let template = finding(Severity::Error, Rule::ExternalLink, Diagnostic::new(""));
                    let mut asked = Vec::new();
                    self.everywhere(&mut places, named, &Said::default(), template, &mut asked);
                    asked.retain(|f| f.diagnostic.path.as_ref().is_none_or(|path| !ignored.is_match(path)));
                    if !asked.is_empty() {
                        let outside = outside::Outside::among(&mut outside, url);
                        outside.places.entry(fragment).or_default().extend(asked);
                    }
                    continue;
                }
            };
            let message = match wrong {
                Wrong::Fragment => format!("the link `{written}` names a place that is not on its page"),
                Wrong::Missing if named.of == Use::File => format!("the file `{written}` does not exist"),
                Wrong::Missing => format!("the link `{written}` leads to nothing"),
                Wrong::Beside => format!("the {what} `{written}` is on this host, but outside of the site"),
                Wrong::Malformed => format!("the {what} `{written}` is no address"),
                Wrong::Circle => format!("the {what} `{written}` is redirected in a circle"),
            };
            let rule = match named.of {
                _ if wrong == Wrong::Fragment => Rule::Fragment,
                Use::Link => Rule::Link,
                Use::File => Rule::MissingFile,
            };
            let said_once = finding(severity, rule, Diagnostic::new(message).maybe_hint(hint));
            self.everywhere(&mut places, named, &said, said_once, found);
        }
        report.links += self.listed(home, judge, &mut outside, found);
        report.external = outside.into_values().collect();
    }

    /// A finding at each place in the sources that the outputs have it from, or once for those that are not found.
    fn everywhere(
        &self,
        places: &mut Places<'_>,
        named: &Named,
        said: &Said,
        template: Finding,
        found: &mut Vec<Finding>,
    ) {
        let mut lost: Vec<String> = Vec::new();
        let mut shared: BTreeMap<Diagnostic, Vec<String>> = BTreeMap::new();
        for (origin, written) in &named.first {
            let spellings = self.spellings(origin, written);
            let is_said = |source: &Arc<str>| spellings.iter().any(|spelling| said.has(source, spelling));
            if origin.source.as_ref().is_some_and(is_said) {
                continue;
            }
            match places.of(origin, &spellings) {
                Some(place) => {
                    let mut diagnostic = place.point(template.diagnostic.message.clone());
                    diagnostic.hint.clone_from(&template.diagnostic.hint);
                    let outputs = shared.entry(diagnostic).or_default();
                    if !place.is_content() {
                        outputs.push(origin.path());
                    }
                }
                None => lost.push(origin.path()),
            }
        }
        let unnamed = named.outputs - named.first.len().min(named.outputs);
        for (mut diagnostic, outputs) in shared {
            let number = if outputs.is_empty() { 0 } else { outputs.len() + unnamed };
            on(&mut diagnostic, outputs.iter().map(String::as_str), number);
            found.push(Finding { diagnostic, ..template.clone() });
        }
        if !lost.is_empty() {
            let mut diagnostic = template.diagnostic.clone();
            on(&mut diagnostic, lost.iter().map(String::as_str), lost.len() + unnamed);
            found.push(Finding { diagnostic, ..template });
        }
    }
}

/// The path that was probably meant: of the same name elsewhere, or else the one with the fewest different letters.
pub(super) fn nearest<'o>(path: &str, outputs: impl Iterator<Item = &'o str>) -> Option<String> {
    let name = |path: &str| path.trim_end_matches('/').rsplit('/').next().unwrap_or_default().to_owned();
    let own = name(path);
    let edits_max = (own.chars().count() / 3).clamp(1, 4);
    let mut best: Option<(usize, String)> = None;
    for output in outputs {
        let folder = output.strip_suffix("index.html").filter(|f| f.is_empty() || f.ends_with('/'));
        let shown = format!("/{}", folder.unwrap_or(output));
        let apart = if shown.to_lowercase() == path.to_lowercase() {
            0
        } else if name(&shown) == own && !own.is_empty() {
            1
        } else if shown.len().abs_diff(path.len()) <= edits_max {
            strsim::osa_distance(path, &shown)
        } else {
            continue;
        };
        if apart <= edits_max && best.as_ref().is_none_or(|known| (apart, &shown) < (known.0, &known.1)) {
            best = Some((apart, shown));
        }
    }
    best.map(|(_, shown)| shown)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_path_is_near() {
        let outputs = ["index.html", "docs/start/index.html", "docs/stop/index.html", "img/loaf.png"];
        for (path, near) in [
            ("/docs/strat/", Some("/docs/start/")),
            ("/start/", Some("/docs/start/")),
            ("/loaf.png", Some("/img/loaf.png")),
            ("/img/loaf.jpg", Some("/img/loaf.png")),
            ("/IMG/Loaf.PNG", Some("/img/loaf.png")),
            ("/elsewhere/", None),
        ] {
            assert_eq!(nearest(path, outputs.into_iter()).as_deref(), near, "{path}");
        }
    }
}
