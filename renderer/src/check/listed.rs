//! Where the lines of the file of redirects lead.

use std::collections::BTreeMap;

use super::links::{End, Home, Links};
use super::resolve::{NEAREST_MAX, nearest};
use super::{Check, FINDINGS_MAX, Finding, Rule, Severity, finding, outside};
use crate::diagnostic::Diagnostic;
use crate::markup::names_the_top;
use crate::redirects::{self, REDIRECTS};

impl Check<'_> {
    /// Looks where each line leads, and says how many there are. What leads to other hosts is added to `outside`.
    pub(super) fn listed(
        &self,
        (home, links): (&Home, &Links),
        (inside, failed): (Severity, &[String]),
        outside: &mut BTreeMap<String, outside::Outside>,
        found: &mut Vec<Finding>,
    ) -> u64 {
        let site = self.site;
        let Some(file) = site.sources.get(REDIRECTS).filter(|_| redirects::are_read(site)) else { return 0 };
        // What cannot be read was said when outputs were planned.
        let Ok(bytes) = file.read() else { return 0 };
        let Ok(lines) = redirects::parse(&bytes) else { return 0 };
        let text = String::from_utf8_lossy(&bytes);
        let checker = &site.config.link_checker;
        let exempt = |address: &str| {
            checker.skip_anchor_prefixes.iter().any(|prefix| address.starts_with(prefix.as_str()))
        };
        let (mut said, mut hints) = (0, 0);
        for line in &lines {
            // Each place is found by counting lines: a file that is wrong throughout must not take long.
            if said >= FINDINGS_MAX {
                break;
            }
            let rest = &text[line.offset..];
            let written = rest.split_whitespace().nth(1).unwrap_or(rest);
            let at = written.as_ptr() as usize - text.as_ptr() as usize;
            let say = |severity, rule, message: String, hint: Option<String>| {
                let place = Diagnostic::in_file(REDIRECTS, message).at(&text, at);
                finding(severity, rule, place.maybe_hint(hint))
            };
            let what = format!("the redirect of `{}` leads to `{written}`", line.from);
            let meant = if line.to.starts_with('/') { home.path(&line.to) } else { line.to.parse().ok() };
            let Some(meant) = meant else { continue };
            let rule = Rule::Link;
            let new = match links.end(home, meant.as_str(), exempt) {
                End::Output(output) => {
                    self.usage.output(output);
                    continue;
                }
                End::NoId(output) => {
                    let hint = format!("no element of `{output}` has that id");
                    say(
                        inside,
                        Rule::Fragment,
                        format!("{what}, a place that is not on its page"),
                        Some(hint),
                    )
                }
                End::Nothing(path) => {
                    let file = release::url::manifest_path(&path);
                    if failed.iter().any(|prefix| file.starts_with(prefix.as_str())) {
                        continue;
                    }
                    hints += 1;
                    let near = if hints <= NEAREST_MAX { nearest(&path, links.paths()) } else { None };
                    let hint = near.map(|near| format!("did you mean `{near}`?"));
                    say(inside, rule, format!("{what}, which is nothing"), hint)
                }
                End::Beside => {
                    let hint = format!("all of the site is below {}", site.base.absolute);
                    let message = format!("{what}, on this host, but outside of the site");
                    say(Severity::Warning, rule, message, Some(hint))
                }
                End::Malformed => say(inside, rule, format!("{what}, which leads to no address"), None),
                End::Circle => say(inside, rule, format!("{what}, and from there in a circle"), None),
                End::Elsewhere(mut url) => {
                    if checker.skip_prefixes.iter().any(|prefix| meant.as_str().starts_with(prefix.as_str()))
                    {
                        continue;
                    }
                    let fragment = url.fragment().map(str::to_owned);
                    url.set_fragment(None);
                    let entry = outside
                        .entry(String::from(url))
                        .or_insert_with_key(|url| outside::Outside::new(url.clone()));
                    let fragment = fragment.filter(|f| !names_the_top(f) && !exempt(meant.as_str()));
                    let place = say(Severity::Error, Rule::ExternalLink, String::new(), None);
                    entry.places.entry(fragment).or_default().push(place);
                    continue;
                }
                End::Aside => continue,
            };
            said += 1;
            found.push(new);
        }
        lines.len() as u64
    }
}
