//! `static/_redirects`: addresses that lead elsewhere, one a line.
//!
//! Owns the file's syntax, which is that of Netlify and Cloudflare Pages as far as it can be answered by path alone, and
//! finds redirects that lead round in a circle. Whether an address is taken already is for `job` to say.

use std::collections::HashMap;
use std::ops::Range;

use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use release::file::check_path;
use release::url::site_path;
use reqwest::Url;

use crate::diagnostic::{Diagnostic, Errors};
use crate::job::output_of;
use crate::render::ignored_static;
use crate::site::Site;

/// Where the file is. Without a `bakehouse.toml` it is a static file like any other.
pub(crate) const REDIRECTS: &str = "static/_redirects";

/// The status of a redirect where nothing else is said: for good, and the method stays.
pub(crate) const MOVED: u16 = 308;

/// The statuses that a line may name (RFC 9110 §15.4).
const STATUSES: [u16; 5] = [301, 302, 303, 307, MOVED];

/// Bytes of the largest file: each render reads it.
const FILE_BYTES_MAX: usize = 16 << 20;

/// Lines that lead somewhere: each makes an output.
const REDIRECTS_MAX: usize = 100_000;

/// Bytes of the longest target: `Location` has to fit into what clients take of a response's head.
const TARGET_BYTES_MAX: usize = 2_048;

/// Addresses of a circle that a message shows.
const SHOWN_MAX: usize = 4;

/// A line that leads somewhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Redirect {
    /// The address as it is written.
    pub(crate) from: String,
    /// The output that stands there.
    pub(crate) output: String,
    /// Where it leads, as a response field may have it: an http or https URL, or a path of the site, with its query and
    /// fragment.
    pub(crate) to: String,
    /// The status of the response.
    pub(crate) status: u16,
    /// Where the line's first word is in the file, in bytes.
    pub(crate) offset: usize,
}

impl Redirect {
    /// Where its target stands in the text of the file, in bytes.
    pub(crate) fn target_in(&self, text: &str) -> Range<usize> {
        let target = text[self.offset..].split_whitespace().nth(1).unwrap_or_default();
        let start = target.as_ptr() as usize - text.as_ptr() as usize;
        start..start + target.len()
    }
}

/// What is wrong with a word, and what to do.
type Wrong = (String, &'static str);

/// The output of an address that leads elsewhere, a site path without its first slash: a page of its own, or the index of
/// a folder.
pub(crate) fn output_at(plain: &str) -> String {
    if plain.ends_with(".html") { plain.to_owned() } else { output_of(plain) }
}

/// An address as a response field may have it: what its author encoded stays as it is.
pub(crate) fn in_field(address: &str) -> String {
    const OUTSIDE: &AsciiSet = &CONTROLS.add(b' ').add(b'"').add(b'<').add(b'>');
    utf8_percent_encode(address, OUTSIDE).to_string()
}

/// Whether a site's file is read, and not copied like other static files.
pub(crate) fn are_read(site: &Site) -> bool {
    site.beyond_zola
        && ignored_static(&site.config).is_ok_and(|ignored| !ignored.is_match(&REDIRECTS["static/".len()..]))
}

/// Reads the file. Adds to `errors` each line that is not `FROM TO` or `FROM TO STATUS`, and each address that is there
/// twice.
pub(crate) fn parse(bytes: &[u8], errors: &mut Errors) -> Vec<Redirect> {
    let mut redirects: Vec<Redirect> = Vec::new();
    if bytes.len() > FILE_BYTES_MAX {
        let message = format!("the file has {} bytes, the limit is {FILE_BYTES_MAX}", bytes.len());
        errors.push(Diagnostic::in_file(REDIRECTS, message));
        return redirects;
    }
    let text = match std::str::from_utf8(bytes) {
        Ok(text) => text,
        Err(e) => {
            let good = String::from_utf8_lossy(&bytes[..e.valid_up_to()]);
            let wrong = Diagnostic::in_file(REDIRECTS, "the file is not valid UTF-8");
            errors.push(wrong.at(&good, good.len()).hint("save it as UTF-8"));
            return redirects;
        }
    };
    let mut known: HashMap<String, usize> = HashMap::new();
    let mut at = text.len() - text.trim_start_matches('\u{feff}').len();
    for (number, line) in text[at..].split_inclusive('\n').enumerate() {
        let offset = at;
        at += line.len();
        let redirect = match read(line) {
            Ok(None) => continue,
            Ok(Some(redirect)) => Redirect { offset: offset + redirect.offset, ..redirect },
            Err((within, (message, hint))) => {
                tell(errors, text, offset + within, (message, hint));
                continue;
            }
        };
        if redirects.len() == REDIRECTS_MAX {
            let message = format!("the file has more than {REDIRECTS_MAX} redirects");
            let hint = "where a page has moved, its `aliases` can name the old addresses";
            tell(errors, text, redirect.offset, (message, hint));
            break;
        }
        if let Some(first) = known.get(&redirect.output) {
            let message = format!("`{}` is on line {first} already", redirect.from);
            tell(errors, text, redirect.offset, (message, "remove one of the two lines"));
            continue;
        }
        known.insert(redirect.output.clone(), number + 1);
        redirects.push(redirect);
    }
    redirects
}

/// Adds what is wrong at a byte of the file. Each place is found by counting lines: in a file that is wrong throughout, only
/// as many as are shown.
pub(crate) fn tell(errors: &mut Errors, text: &str, offset: usize, (message, hint): Wrong) {
    match errors.is_full() {
        true => errors.count(),
        false => errors.push(Diagnostic::in_file(REDIRECTS, message).at(text, offset).hint(hint)),
    }
}

/// Reads a line; none where it says nothing. Of what is wrong with it comes the place in bytes.
fn read(line: &str) -> Result<Option<Redirect>, (usize, Wrong)> {
    let start = |word: &str| word.as_ptr() as usize - line.as_ptr() as usize;
    let mut words = line.split_whitespace().take_while(|word| !word.starts_with('#'));
    let Some(from) = words.next() else { return Ok(None) };
    let output = source(from).map_err(|wrong| (start(from), wrong))?;
    let Some(to) = words.next() else {
        let message = format!("the line says of `{from}` not where it leads");
        return Err((start(from), (message, "a line is FROM TO, or FROM TO STATUS: /old /new 301")));
    };
    target(to).map_err(|wrong| (start(to), wrong))?;
    let status = match words.next() {
        None => MOVED,
        Some(word) => status(word).map_err(|wrong| (start(word), wrong))?,
    };
    if let Some(word) = words.next() {
        let hint = "a line is FROM TO STATUS; conditions on country, language or cookies cannot be answered by path alone";
        return Err((start(word), (format!("`{word}` is more than a line may say"), hint)));
    }
    Ok(Some(Redirect { from: from.to_owned(), output, to: in_field(to), status, offset: start(from) }))
}

/// The output that an address has.
fn source(word: &str) -> Result<String, Wrong> {
    let wrong = |what: &str, hint| Err((format!("`{word}` {what}"), hint));
    if !word.starts_with('/') || word.starts_with("//") {
        return wrong(
            "is no path of the site",
            "begin it with one slash: it counts on all hosts of the site",
        );
    }
    if word.contains(['?', '#']) {
        return wrong(
            "has a query or a fragment",
            "write the path alone: it answers for all queries, and browsers keep fragments to themselves",
        );
    }
    if word.contains('*') || word.contains("/:") {
        return wrong(
            "stands for more than one address",
            "write a line for each address: a release holds exact paths",
        );
    }
    let Some(path) = site_path(word) else {
        return wrong("is no path of the site", "write it as browsers show it, without control characters");
    };
    let output = output_at(&path[1..]);
    match check_path(&output) {
        Ok(()) => Ok(output),
        Err(bad) => Err((bad.to_string(), "write it as browsers show it")),
    }
}

/// Checks where a line leads.
fn target(word: &str) -> Result<(), Wrong> {
    if word.len() > TARGET_BYTES_MAX {
        let message = format!("the target has {} bytes, and {TARGET_BYTES_MAX} are allowed", word.len());
        return Err((message, "lead to a shorter address"));
    }
    let lower = word.get(..8).unwrap_or(word).to_ascii_lowercase();
    let good = if lower.starts_with("http://") || lower.starts_with("https://") {
        Url::parse(word).is_ok_and(|url| url.has_host())
    } else {
        // Browsers take `//host` and `/\host` for another host.
        word.starts_with('/') && !word.starts_with("//") && !word.contains('\\')
    };
    if good && !word.chars().any(char::is_control) {
        return Ok(());
    }
    let hint = "a target is a path that begins with one slash, or a whole address with https://";
    Err((format!("`{word}` is nowhere to lead to"), hint))
}

fn status(word: &str) -> Result<u16, Wrong> {
    let known = word.parse().ok().filter(|status| STATUSES.contains(status));
    let hint = if word.ends_with('!') {
        "leave the `!` away: a redirect never stands where a page or a file is"
    } else {
        "it may be 301, 302, 303, 307 or 308; without one it is 308"
    };
    known.ok_or_else(|| (format!("`{word}` is no status of a redirect"), hint))
}

/// Where all that leads elsewhere leads to, by output.
#[derive(Debug, Default)]
pub(crate) struct Ways(HashMap<String, String>);

impl Ways {
    /// Adds that `output` leads to the address `to`. What leads away from the site, whose pages begin with `base`, leads
    /// nowhere in it. Queries and fragments change nothing: what a path answers depends on neither.
    pub(crate) fn add(&mut self, output: &str, to: &str, base: &str) {
        let path = to.strip_prefix(base).unwrap_or(to);
        let path = &path[..path.find(['?', '#']).unwrap_or(path.len())];
        if (path.is_empty() || path.starts_with('/'))
            && let Some(path) = site_path(path)
        {
            self.0.insert(output.to_owned(), output_at(&path[1..]));
        }
    }

    /// One diagnostic for each circle that a line is part of, at the first such line; or else at the first that leads there.
    pub(crate) fn circles(&self, redirects: &[Redirect], text: &str, errors: &mut Errors) {
        let lines: HashMap<&str, &Redirect> = redirects.iter().map(|r| (r.output.as_str(), r)).collect();
        let mut seen: HashMap<&str, usize> = HashMap::new();
        for (walk, redirect) in redirects.iter().enumerate() {
            let mut way: Vec<&str> = Vec::new();
            let mut at = redirect.output.as_str();
            while !seen.contains_key(at)
                && let Some((output, next)) = self.0.get_key_value(at)
            {
                seen.insert(output, walk);
                way.push(output);
                at = next;
            }
            // Where another walk has been, its circle has been told.
            if seen.get(at) != Some(&walk) {
                continue;
            }
            let circle = &way[way.iter().position(|output| *output == at).unwrap_or(0)..];
            let line = |output: &&str| lines.get(*output).copied();
            let member = circle.iter().filter_map(line).min_by_key(|line| line.offset);
            let turn = member.map_or(0, |first| circle.iter().position(|o| *o == first.output).unwrap_or(0));
            let members = circle.iter().cycle().skip(turn).take(circle.len().min(SHOWN_MAX));
            let name = |output| line(output).map_or_else(|| format!("/{output}"), |line| line.from.clone());
            let mut shown: Vec<String> = members.map(name).collect();
            let back = shown.first().cloned();
            shown.extend((circle.len() > SHOWN_MAX).then(|| "…".to_owned()));
            shown.extend(back);
            let shown = shown.join(" → ");
            let message = match member {
                Some(_) => format!("the redirect leads back to itself: {shown}"),
                None => format!("the redirect leads into a circle: {} → {shown}", redirect.from),
            };
            let first = member.unwrap_or(redirect);
            errors.push(
                Diagnostic::in_file(REDIRECTS, message)
                    .at(text, first.offset)
                    .hint("let one of them lead to a page"),
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sound(bytes: &[u8]) -> Vec<Redirect> {
        let mut errors = Errors::default();
        let redirects = parse(bytes, &mut errors);
        assert!(errors.is_empty(), "{errors}");
        redirects
    }

    fn refused(bytes: &[u8]) -> Errors {
        let mut errors = Errors::default();
        parse(bytes, &mut errors);
        errors
    }

    fn read_all(text: &str) -> Vec<(String, String, u16)> {
        let redirects = sound(text.as_bytes());
        redirects.into_iter().map(|r| (r.output, r.to, r.status)).collect()
    }

    fn wrong(text: &str) -> (Option<u32>, Option<u32>, String, String) {
        let errors = refused(text.as_bytes());
        assert_eq!(errors.list().len(), 1, "{errors}");
        let one = errors.list()[0].clone();
        assert_eq!(one.path.as_deref(), Some(REDIRECTS));
        (one.line, one.column, one.message, one.hint.unwrap_or_default())
    }

    fn circles(text: &str) -> Vec<(Option<u32>, String)> {
        let redirects = sound(text.as_bytes());
        let mut ways = Ways::default();
        redirects.iter().for_each(|r| ways.add(&r.output, &r.to, "https://x.example"));
        let mut errors = Errors::default();
        ways.circles(&redirects, text, &mut errors);
        errors.list().iter().map(|d| (d.line, d.message.clone())).collect()
    }

    #[test]
    fn lines_are_read_as_elsewhere() {
        let text = "\u{feff}# moved\r\n\r\n/old /new\r\n  /a/b/\t https://y.example/?q=1#x 301 # why\n/x.html / 302\n\
                    /feed.xml /atom.xml 307\n/caf%C3%A9 /é 303\n/ /en/ 308";
        let row = |output: &str, to: &str, status| (output.to_owned(), to.to_owned(), status);
        assert_eq!(
            read_all(text),
            [
                row("old/index.html", "/new", 308),
                row("a/b/index.html", "https://y.example/?q=1#x", 301),
                row("x.html", "/", 302),
                row("feed.xml/index.html", "/atom.xml", 307),
                row("café/index.html", "/%C3%A9", 303),
                row("index.html", "/en/", 308),
            ]
        );
        assert_eq!(read_all("# nothing\n\n"), []);
    }

    #[test]
    fn what_cannot_be_answered_is_refused_where_it_stands() {
        for (text, column, message, hint) in [
            ("/a", 1, "not where it leads", "FROM TO"),
            ("a /b", 1, "no path", "one slash"),
            ("https://x.example/a /b", 1, "no path", "all hosts"),
            ("//a /b", 1, "no path", "one slash"),
            ("/a?x=1 /b", 1, "query", "path alone"),
            ("/news/* /blog/:splat", 1, "more than one address", "a line for each"),
            (" /news/:year /b", 2, "more than one address", "a line for each"),
            ("/a//b /c", 1, "empty", "browsers"),
            ("/a%00 /c", 1, "no path", "control"),
            ("/a id=:id /b", 4, "nowhere to lead to", "one slash"),
            ("/a //evil.example", 4, "nowhere to lead to", "https://"),
            ("/a /\\evil.example", 4, "nowhere to lead to", "https://"),
            ("/a javascript:alert(1)", 4, "nowhere to lead to", "https://"),
            ("/a https://", 4, "nowhere to lead to", "https://"),
            ("/a /b 200", 7, "no status", "301, 302, 303, 307 or 308"),
            ("/a /b 301!", 7, "no status", "leave the `!` away"),
            ("/a /b moved", 7, "no status", "308"),
            ("/a /b 301 Country=de", 11, "more than a line", "by path alone"),
        ] {
            let (line, at, said, advice) = wrong(&format!("# first\n{text}\n/fine /there\n"));
            assert_eq!((line, at), (Some(2), Some(column)), "{text}: {said}");
            assert!(said.contains(message) && advice.contains(hint), "{text}: {said}; {advice}");
        }
        let (line, _, said, _) = wrong("/a /b\n/c /d\n/a/ /e\n");
        assert_eq!((line, said.as_str()), (Some(3), "`/a/` is on line 1 already"));
    }

    #[test]
    fn what_is_too_long_or_too_much_is_refused() {
        assert!(wrong(&format!("/{} /b", "a".repeat(1_020))).2.contains("bytes long"));
        assert!(wrong(&format!("/a /{}", "b".repeat(TARGET_BYTES_MAX))).2.contains("2049 bytes"));
        let many: String = (0..=REDIRECTS_MAX).map(|n| format!("/{n} /\n")).collect();
        assert!(wrong(&many).2.contains("more than 100000"));
        assert!(wrong(&" ".repeat(FILE_BYTES_MAX + 1)).2.contains("the limit is"));
        let errors = refused("nonsense\n".repeat(500_000).as_bytes());
        let told = errors.list().len();
        assert_eq!((told, errors.more()), (crate::DIAGNOSTICS_MAX, 500_000 - told));
        let not_text = refused(b"/a /b\n/\xff /c");
        assert_eq!((not_text.list()[0].line, not_text.list()[0].column), (Some(2), Some(2)));
    }

    #[test]
    fn a_circle_is_told_once_where_it_begins() {
        let told = |line, way: &str| (Some(line), format!("the redirect leads back to itself: {way}"));
        assert_eq!(circles("/a /b\n/b /c\n/c https://elsewhere.example/a\n"), []);
        assert_eq!(circles("/a /a/?x#y\n"), [told(1, "/a → /a")]);
        assert_eq!(circles("/in /b\n/a https://x.example/b\n/b /a\n/too /in\n"), [told(2, "/a → /b → /a")]);
        // Pages that lead round have no line of their own here.
        let redirects = sound(b"/in /x\n");
        let mut ways = Ways::default();
        for (output, to) in [("in/index.html", "/x"), ("x/index.html", "/y/"), ("y/index.html", "/x/")] {
            ways.add(output, to, "https://x.example");
        }
        let mut errors = Errors::default();
        ways.circles(&redirects, "/in /x\n", &mut errors);
        let said = "the redirect leads into a circle: /in → /x/index.html → /y/index.html → /x/index.html";
        assert_eq!(errors.list()[0].message, said);
        let long: String = (0..50_000).map(|n| format!("/{n} /{}\n", (n + 1) % 50_000)).collect();
        assert_eq!(circles(&long), [told(1, "/0 → /1 → /2 → /3 → … → /0")]);
    }
}
