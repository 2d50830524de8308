//! What can be told from one page alone: its headings, its images, its ids.

use super::links::Origin;
use super::page::{Page, Title};
use super::place::{Place, Places};
use super::{Check, FINDINGS_MAX, Rule, Severity, finding, lock};
use crate::diagnostic::Diagnostic;

impl Check<'_> {
    /// What can be told from a page alone.
    pub(super) fn look(&self, origin: &Origin, page: &Page) {
        let mut places = Places::new(self.site);
        let say = |rule: Rule, place: Option<Place>, message: String, hint: &str| {
            let is_own = place.as_ref().is_some_and(Place::is_content);
            let diagnostic = match place {
                Some(place) => place.point(message),
                None => Diagnostic::new(message),
            }
            .hint(hint);
            let found = finding(Severity::Warning, rule, diagnostic);
            let mut shared = lock(&self.shared);
            if shared.len() < FINDINGS_MAX || shared.contains_key(&found) {
                let outputs = shared.entry(found).or_default();
                if !is_own {
                    outputs.insert(origin.path());
                }
            }
        };
        for id in &page.repeated {
            let [double, single, bare] = ["\"", "'", ""].map(|quote| format!("id={quote}{id}{quote}"));
            let spellings = [double, single, bare, format!("{{#{id}}}"), format!("#{id}"), id.clone()];
            let place = places.of(origin, &spellings);
            let message = format!("the id `{id}` is there more than once");
            say(
                Rule::DuplicateId,
                place,
                message,
                "a link to it leads to the first; give the others ids of their own",
            );
        }
        for source in &page.wordless {
            // Markdown may show the same image with words.
            let spellings = self.spellings(origin, source);
            let in_html = spellings.iter().flat_map(|s| [format!("src=\"{s}\""), format!("src='{s}'")]);
            let place = places.of(origin, &in_html.chain(spellings.iter().cloned()).collect::<Vec<_>>());
            let message = format!("the image `{source}` has no `alt`");
            say(
                Rule::AltText,
                place,
                message,
                "say in `alt` what it shows, or alt=\"\" if it only decorates",
            );
        }
        for source in page.decorative.iter().filter(|_| origin.source.is_some()) {
            // Markdown has no other way to say that there are no words; in HTML an empty `alt` is a decision.
            let written: Vec<String> =
                self.spellings(origin, source).iter().map(|spelling| format!("![]({spelling}")).collect();
            let place = origin.source.as_ref().and_then(|source| places.in_source(source, &written));
            if place.is_some() {
                let message = format!("the image `{source}` has no words");
                let hint =
                    "write what it shows between the brackets; what only decorates is <img alt=\"\" src=…>";
                say(Rule::AltText, place, message, hint);
            }
        }
        let mut before: Option<&Title> = None;
        let mut first: Option<&Title> = None;
        for title in &page.headings {
            if let Some(first) = first.filter(|_| title.level == 1) {
                let place =
                    places.heading(origin, 1, &title.text).or_else(|| places.heading(origin, 1, &first.text));
                let message = format!("`{}` is a second heading of the first level", title.text);
                let hint = format!(
                    "`{}` is the first; headings in the text begin with the second level",
                    first.text
                );
                say(Rule::HeadingOrder, place, message, &hint);
            }
            if let Some(before) = before.filter(|before| title.level > before.level + 1) {
                let place = places.heading(origin, title.level, &title.text);
                let message = format!(
                    "the heading `{}` is of level {} and follows one of level {}",
                    title.text, title.level, before.level
                );
                let hint =
                    format!("make it level {}: tools that read pages aloud go by levels", before.level + 1);
                say(Rule::HeadingOrder, place, message, &hint);
            }
            if title.level == 1 {
                first = first.or(Some(title));
            }
            before = Some(title);
        }
    }

    /// How an address may be written where it comes from.
    pub(super) fn spellings(&self, origin: &Origin, written: &str) -> Vec<String> {
        let base = &self.site.base;
        let mut out = vec![written.to_owned()];
        let path = written.strip_prefix(base.absolute.as_str()).filter(|_| !base.absolute.is_empty());
        let path = path.unwrap_or(written);
        let plain = path.split(['?', '#']).next().unwrap_or(path);
        for spelling in [path, plain] {
            out.push(spelling.to_owned());
            if let Some(beside) = spelling.strip_prefix(&origin.path()) {
                out.push(beside.to_owned());
                out.push(format!("./{beside}"));
            }
            out.push(spelling.trim_start_matches('/').to_owned());
        }
        let decoded: Vec<String> = out
            .iter()
            .filter(|spelling| spelling.contains('%'))
            .map(|spelling| percent_encoding::percent_decode_str(spelling).decode_utf8_lossy().into_owned())
            .collect();
        out.extend(decoded);
        if let Some((_, fragment)) = written.split_once('#') {
            out.push(format!("#{fragment}"));
        }
        out.retain(|spelling| !spelling.is_empty() && spelling != "/" && spelling != "./");
        out
    }
}
