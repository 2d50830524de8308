//! Arguments that no function and no filter takes. The engine passes over them as Zola does, so that an optional one that is
//! misspelt does nothing without a word: they are looked for in the texts of templates, once each time these change.

use super::pieces::{Piece, offset, pieces};
use crate::diagnostic::{DIAGNOSTICS_MAX, Diagnostic, nearest};

/// What each function takes.
const FUNCTIONS: &[(&str, &[&str])] = &[
    ("range", &["start", "end", "step_by"]),
    ("throw", &["message"]),
    ("get_page", &["path", "lang", "allow_missing"]),
    ("get_section", &["path", "lang", "metadata_only", "allow_missing", "first"]),
    ("get_url", &["path", "lang", "trailing_slash", "cachebust"]),
    ("get_taxonomy", &["kind", "lang", "required"]),
    ("get_taxonomy_url", &["kind", "term", "name", "lang", "required"]),
    ("get_taxonomy_term", &["kind", "term", "lang", "include_pages", "required"]),
    ("get_hash", &["path", "literal", "sha_type", "base64"]),
    ("get_image_metadata", &["path", "allow_missing"]),
    ("resize_image", &["path", "width", "height", "op", "format", "quality", "speed", "filter"]),
    (
        "load_data",
        &["path", "url", "literal", "format", "required", "method", "headers", "body", "content_type"],
    ),
    ("trans", &["key", "lang"]),
    ("now", &["timestamp", "timezone"]),
    ("get_env", &["name", "default"]),
    ("get_random", &["start", "end", "seed"]),
    ("text_direction", &["lang"]),
    ("asset", &["path"]),
    ("get_data", &["name"]),
];

/// What each test takes that takes something.
const TESTS: &[(&str, &[&str])] = &[
    ("divisible_by", &["divisor"]),
    ("starting_with", &["pat"]),
    ("ending_with", &["pat"]),
    ("containing", &["pat"]),
    ("matching", &["pat"]),
    ("before", &["other", "inclusive"]),
    ("after", &["other", "inclusive"]),
];

/// What each filter takes; those that are not here take nothing.
const FILTERS: &[(&str, &[&str])] = &[
    ("default", &["value", "boolean"]),
    ("pluralize", &["singular", "plural"]),
    ("trim", &["pat"]),
    ("trim_start", &["pat"]),
    ("trim_end", &["pat"]),
    ("replace", &["from", "to"]),
    ("truncate", &["length", "end"]),
    ("indent", &["width", "indentation", "first", "blank"]),
    ("int", &["base"]),
    ("split", &["pat"]),
    ("round", &["method", "precision"]),
    ("nth", &["n"]),
    ("join", &["sep"]),
    ("sort", &["attribute"]),
    ("get", &["key", "default"]),
    ("group_by", &["attribute"]),
    ("markdown", &["inline"]),
    ("base64_encode", &["url_safe", "padded"]),
    ("base64_decode", &["url_safe"]),
    ("b64_encode", &["url_safe", "padded"]),
    ("b64_decode", &["url_safe"]),
    ("regex_replace", &["pattern", "rep"]),
    ("num_format", &["locale"]),
    ("date", &["format", "timezone", "locale"]),
    ("shuffle", &["seed"]),
    ("json_encode", &["pretty"]),
    ("filesizeformat", &["binary"]),
    ("filesize_format", &["binary"]),
    ("format", &["spec"]),
];

/// A word that no call takes.
struct Unknown<'t> {
    at: usize,
    word: &'t str,
    callee: &'t str,
    known: &'static [&'static str],
}

/// What is to be said of arguments that nothing takes in parts of templates or a content, which are given by their path, the
/// text of all of it, and where in that they begin. Of many the first are told, and then how many more there are.
pub(crate) fn warnings<'t>(
    parts: impl IntoIterator<Item = (impl AsRef<str>, &'t str, usize)>,
) -> Vec<Diagnostic> {
    let mut found: Vec<Diagnostic> = Vec::new();
    let mut more = 0;
    for (file, text, from) in parts {
        for Unknown { at, word, callee, known } in unknown(&text[from..]) {
            if found.len() > DIAGNOSTICS_MAX {
                more += 1;
                continue;
            }
            let message = format!("`{callee}` has no argument `{word}`, and passes over it");
            let hint = match nearest(word, known.iter().copied()) {
                Some(near) => format!("did you mean `{near}`?"),
                None if known.is_empty() => "it takes none: leave it out".to_owned(),
                None => format!("known are {}", known.join(", ")),
            };
            found.push(Diagnostic::in_file(file.as_ref(), message).at(text, from + at).hint(hint));
        }
    }
    if let Some(last) = found.last_mut().filter(|_| more > 0) {
        last.message = format!("from here on, nothing takes {} more arguments", more + 1);
        last.hint = Some("mend the ones that are named, and the next are told".to_owned());
    }
    found
}

fn unknown(text: &str) -> Vec<Unknown<'_>> {
    let mut found = Vec::new();
    for piece in pieces(text) {
        if let Piece::Print(code, ..) | Piece::Tag(code, ..) = piece {
            in_code(code, offset(text, code), &mut found);
        }
    }
    found
}

/// Looks at a piece of code that begins at `begin`.
fn in_code<'t>(text: &'t str, begin: usize, found: &mut Vec<Unknown<'t>>) {
    let bytes = text.as_bytes();
    // What is open: of a call what it takes, or nothing of which names are arguments.
    let mut open: Vec<Option<(&'t str, &'static [&'static str])>> = Vec::new();
    let (mut at, mut before, mut word_before) = (0, b' ', "");
    while let Some(&byte) = bytes.get(at) {
        let start = at;
        at += 1;
        match byte {
            b'"' | b'\'' | b'`' => {
                at = memchr::memchr(byte, &bytes[at..]).map_or(bytes.len(), |i| at + i + 1)
            }
            b'(' | b'[' | b'{' => open.push(None),
            b')' | b']' | b'}' => {
                open.pop();
            }
            b'_' | b'a'..=b'z' | b'A'..=b'Z' => {
                let is_part = |byte: &u8| *byte == b'_' || byte.is_ascii_alphanumeric();
                at += bytes[at..].iter().take_while(|byte| is_part(byte)).count();
                let word = &text[start..at];
                let rest = text[at..].trim_start();
                if let (b'(' | b',', Some(Some((callee, known)))) = (before, open.last())
                    && rest.starts_with('=')
                    && !rest.starts_with("==")
                    && !known.contains(&word)
                {
                    found.push(Unknown { at: begin + start, word, callee, known });
                }
                if rest.starts_with('(') {
                    at = text.len() - rest.len() + 1;
                    let is_filter = before == b'|' || word_before == "filter";
                    let taken = if is_filter { of_filter(word) } else { of_function(word) };
                    let is_call = before != b'.' && word_before != "component" && word_before != "is";
                    open.push(taken.filter(|_| is_call).map(|known| (word, known)));
                    (before, word_before) = (b'(', "");
                    continue;
                }
                (before, word_before) = (b'a', word);
                continue;
            }
            _ => {}
        }
        if !byte.is_ascii_whitespace() {
            (before, word_before) = (byte, "");
        }
    }
}

/// What a function, a filter or a test of this name takes.
pub(super) fn of(name: &str) -> Option<&'static [&'static str]> {
    let of_test = || TESTS.iter().find(|(known, _)| *known == name).map(|(_, taken)| *taken);
    of_function(name).or_else(|| of_filter(name)).or_else(of_test)
}

fn of_function(name: &str) -> Option<&'static [&'static str]> {
    FUNCTIONS.iter().find(|(known, _)| *known == name).map(|(_, taken)| *taken)
}

fn of_filter(name: &str) -> Option<&'static [&'static str]> {
    let taken = FILTERS.iter().find(|(known, _)| *known == name).map(|(_, taken)| *taken);
    taken.or_else(|| crate::filters::NAMES.contains(&name).then_some(&[][..]))
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use regex::Regex;

    use super::*;
    use crate::{functions, theme};

    fn words(text: &str) -> Vec<&str> {
        unknown(text).iter().map(|unknown| unknown.word).collect()
    }

    #[test]
    fn arguments_that_nothing_takes_are_found_where_they_are() {
        let text = "é {{ get_url(path=\"a, b=1\", traling_slash=true) | truncate(length = 3, ned='x') }}\
                    {%- set x = get_section(path=[get_page(pth=1), 2][0], frist=2) -%}{% if x(a=1) == y %}{% endif %}\
                    {% filter indent(wdth=2) %}{% endfilter %}{{ x | upper(a=1) }}";
        assert_eq!(words(text), ["traling_slash", "ned", "pth", "frist", "wdth", "a"]);
        assert_eq!(words("## A heading {#id}\n{{ asset(pth=1) }}"), ["pth"], "an id begins no comment");
        let warning = &warnings([("templates/a.html", text, 0)])[0];
        assert_eq!((warning.line, warning.column), (Some(1), Some(29)));
        assert_eq!(warning.hint.as_deref(), Some("did you mean `trailing_slash`?"));
    }

    #[test]
    fn of_many_the_first_are_told_and_the_others_counted() {
        let text = "{{ asset(pth=1) }}\n".repeat(150);
        let told = |parts: usize| warnings(vec![("templates/a.html", &*text, 0); parts]);
        assert_eq!(told(1).len(), 150);
        let many = told(3);
        assert_eq!((many.len(), many[DIAGNOSTICS_MAX].line), (DIAGNOSTICS_MAX + 1, Some(51)));
        assert_eq!(many[DIAGNOSTICS_MAX].message, "from here on, nothing takes 250 more arguments");
        assert!(many[..DIAGNOSTICS_MAX].iter().all(|warning| warning.message.contains("`pth`")));
    }

    #[test]
    fn what_is_no_call_of_ours_is_left_alone() {
        for text in [
            "{# {{ get_url(pth=1) }} #}",
            "{% raw %}{{ get_url(pth=1) }}{% endraw %}",
            "get_url(pth=1)",
            "{{ 'get_url(pth=1)' }}",
            "{{ a.get_url(pth=1) }}",
            "{% component asset(pth=1) %}{% endcomponent asset %}",
            "{{ get_url(path=a == b) }}",
            "{{ get_url(path={\"a\": 1}, lang=x) }}",
            "{% if x is before(other=y) %}{% endif %}",
            "{{ <card range=1 /> }}",
            "{{ get_url(",
            "# A heading {#id} {{ {\"get_url(pth=1)\": {}} }}",
            "{{ \"",
            "{",
        ] {
            assert!(words(text).is_empty(), "{text}: {:?}", words(text));
        }
        for (name, text) in theme::templates().into_iter().chain(theme::small_templates()) {
            assert!(words(text).is_empty(), "{name}: {:?}", words(text));
        }
    }

    #[test]
    fn every_argument_is_known() {
        for name in functions::NAMES {
            assert!(of_function(name).is_some(), "{name}");
        }
        let known: HashSet<&str> = FUNCTIONS
            .iter()
            .chain(FILTERS)
            .chain(TESTS)
            .flat_map(|(_, taken)| taken.iter().copied())
            .collect();
        let asked = Regex::new(r#"(?:get::<[^(]*>|get|beside::<[^(]*>)\((?:&?kwargs, )?"(\w+)"\)"#).unwrap();
        let sources = [
            include_str!("../functions.rs"),
            include_str!("../functions/content.rs"),
            include_str!("../functions/files.rs"),
            include_str!("../filters.rs"),
        ];
        let names: Vec<&str> = sources
            .into_iter()
            .flat_map(|text| asked.captures_iter(text))
            .map(|c| c.extract::<1>().1[0])
            .collect();
        assert!(names.len() > 30, "{names:?}");
        for name in names.into_iter().filter(|name| *name != "page") {
            assert!(known.contains(name), "{name}");
        }
    }
}
