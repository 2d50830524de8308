//! Where the lines of the file of redirects lead.

use std::collections::BTreeMap;

use super::judge::{Judge, Judgement, Wrong};
use super::links::Home;
use super::{Check, FINDINGS_MAX, Finding, Rule, Severity, finding, outside};
use crate::diagnostic::{Diagnostic, Errors};
use crate::redirects::{self, REDIRECTS};

impl Check<'_> {
    /// Looks where each line leads, and says how many there are. What leads to other hosts is added to `outside`.
    pub(super) fn listed(
        &self,
        home: &Home,
        mut judge: Judge<'_>,
        outside: &mut BTreeMap<String, outside::Outside>,
        found: &mut Vec<Finding>,
    ) -> u64 {
        let site = self.site;
        let Some(file) = site.sources.get(REDIRECTS).filter(|_| redirects::are_read(site)) else { return 0 };
        // What cannot be read was said when outputs were planned.
        let Ok(bytes) = file.read() else { return 0 };
        let lines = redirects::parse(&bytes, &mut Errors::default());
        let text = String::from_utf8_lossy(&bytes);
        let mut said = 0;
        for line in &lines {
            // Each place is found by counting lines: a file that is wrong throughout must not take long.
            if said >= FINDINGS_MAX {
                break;
            }
            let meant = if line.to.starts_with('/') { home.path(&line.to) } else { line.to.parse().ok() };
            let Some(meant) = meant else { continue };
            let written = line.target_in(&text);
            let (at, written) = (written.start, &text[written]);
            let say = |severity, rule, message: String, hint| {
                let place = Diagnostic::in_file(REDIRECTS, message).at(&text, at);
                finding(severity, rule, place.maybe_hint(hint))
            };
            match judge.of(meant.as_str(), written, &[]) {
                Judgement::Good => {}
                Judgement::Wrong(wrong, severity, hint) => {
                    let end = match wrong {
                        Wrong::Fragment => "a place that is not on its page",
                        Wrong::Missing => "which is nothing",
                        Wrong::Beside => "on this host, but outside of the site",
                        Wrong::Malformed => "which leads to no address",
                        // Each was said when outputs were planned.
                        Wrong::Circle => continue,
                    };
                    let rule = if wrong == Wrong::Fragment { Rule::Fragment } else { Rule::Link };
                    let message = format!("the redirect of `{}` leads to `{written}`, {end}", line.from);
                    found.push(say(severity, rule, message, hint));
                    said += 1;
                }
                Judgement::Ask(url, fragment) => {
                    let place = say(Severity::Error, Rule::ExternalLink, String::new(), None);
                    let asked = outside::Outside::among(outside, url);
                    asked.places.entry(fragment).or_default().push(place);
                }
            }
        }
        lines.len() as u64
    }
}
