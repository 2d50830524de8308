//! Configurations in TOML: all that is wrong with one, in words for those who write it, with places and what to do about it.

use std::collections::BTreeMap;
use std::ops::Range;

use serde::de::DeserializeOwned;
use toml::de::{DeArray, DeTable, DeValue, Deserializer, Error, ValueDeserializer};

use crate::diagnostic::{Diagnostic, Errors, nearest};

/// Mistakes of one file that are told.
const MISTAKES_MAX: usize = 50;

/// Reads a configuration. `instead` says what to do about a message of serde, where that is known better than here.
///
/// # Errors
/// All that is no TOML, or else each key and each value that is none of `T`.
pub fn from_toml<T: DeserializeOwned>(
    path: &str,
    text: &str,
    instead: &dyn Fn(&str) -> Option<String>,
) -> Result<T, Errors> {
    match read_partly(path, text, instead) {
        (Some(read), errors) if errors.is_empty() => Ok(read),
        (_, errors) => Err(errors),
    }
}

/// Reads a configuration as [`from_toml`] does, and what it says without the keys and values that are none of `T`; none where
/// that is nothing.
pub(crate) fn read_partly<T: DeserializeOwned>(
    path: &str,
    text: &str,
    instead: &dyn Fn(&str) -> Option<String>,
) -> (Option<T>, Errors) {
    let (mut document, mut errors) = match document(path, text) {
        Ok(document) => (document, Errors::default()),
        Err(errors) => return (None, errors),
    };
    let mut taken: Vec<Written> = Vec::new();
    // Reading ends at what is wrong first: without that it gets to what is wrong next.
    loop {
        let error = match T::deserialize(Deserializer::from(document.clone())) {
            Ok(read) => return (Some(read), errors),
            Err(error) => error,
        };
        if errors.list().len() == MISTAKES_MAX {
            let message =
                format!("there are more mistakes in the file than the {MISTAKES_MAX} that are shown");
            errors.push(Diagnostic::in_file(path, message).hint("correct those first"));
            return (None, errors);
        }
        let at = item_at_fault::<T>(&document, &error).or_else(|| error.span());
        let place = at.as_ref().and_then(|at| take(document.get_mut(), at, ""));
        let missing = error.message().strip_prefix("missing field `").and_then(|rest| rest.split('`').next());
        // What is there under a wrong name, or with a wrong value, is not missing.
        let inside = place.as_ref().map(Written::path).unwrap_or_default();
        let others = taken.iter().filter(|taken| taken.within == inside).map(|taken| taken.key.as_str());
        if missing.is_none_or(|key| nearest(key, others).is_none()) {
            errors.push(told(path, text, &error, at, place.as_ref(), instead));
        }
        match place {
            Some(place) => taken.push(place),
            None => return (None, errors),
        }
    }
}

/// Where the table of a list is written that an error is of, if all that the error says is where the list begins: so it is with
/// what a table's own check finds.
fn item_at_fault<T: DeserializeOwned>(
    document: &toml::Spanned<DeTable<'_>>,
    error: &Error,
) -> Option<Range<usize>> {
    let at = error.span()?;
    let is_here = |(_, value): &(&_, &toml::Spanned<DeValue<'_>>)| value.span() == at;
    let (key, value) = document.get_ref().iter().find(is_here)?;
    let DeValue::Array(list) = value.get_ref() else { return None };
    let is_at_fault = |item: &&toml::Spanned<DeValue<'_>>| {
        let mut alone = document.clone();
        let list = DeValue::Array(std::iter::once((*item).clone()).collect());
        alone.get_mut().insert(key.clone(), toml::Spanned::new(at.clone(), list));
        T::deserialize(Deserializer::from(alone)).is_err_and(|of_item| of_item.message() == error.message())
    };
    list.iter().find(is_at_fault).map(toml::Spanned::span)
}

/// Of what a configuration has under a key, a table or a list of them, those tables that are a `T` each; none where the text is
/// no TOML.
pub fn right_tables<T: DeserializeOwned>(text: &str, key: &str) -> Vec<T> {
    let (mut document, broken) = DeTable::parse_recoverable(text);
    let tables = match document.get_mut().remove(key).map(toml::Spanned::into_inner) {
        _ if !broken.is_empty() => Vec::new(),
        Some(DeValue::Array(list)) => list.into_iter().collect(),
        Some(DeValue::Table(table)) => vec![toml::Spanned::new(0..0, DeValue::Table(table))],
        _ => Vec::new(),
    };
    tables.into_iter().filter_map(|table| T::deserialize(ValueDeserializer::from(table)).ok()).collect()
}

/// Parses TOML.
///
/// # Errors
/// Each line that is none. What is said of a list is said once, where it begins if it has no end.
fn document<'t>(path: &str, text: &'t str) -> Result<toml::Spanned<DeTable<'t>>, Errors> {
    let (document, broken) = DeTable::parse_recoverable(text);
    let mut errors = Errors::default();
    for (at, message) in syntax_errors(&document, &broken) {
        let TomlWords { message, hint } = TomlWords::of(message);
        errors.push(Diagnostic::in_file(path, message).at(text, at).hint(hint));
    }
    errors.into_result()?;
    Ok(document)
}

/// What is wrong with a text as TOML: the place of each mistake in bytes, and what the parser says.
pub(crate) fn mistakes(text: &str) -> Vec<(usize, String)> {
    let (document, broken) = DeTable::parse_recoverable(text);
    let found = syntax_errors(&document, &broken);
    found.into_iter().map(|(at, message)| (at, message.to_owned())).collect()
}

/// The text of a key outside of all tables, whatever else is wrong.
pub(crate) fn text_at_root(text: &str, key: &str) -> Option<String> {
    let (document, _) = DeTable::parse_recoverable(text);
    match document.get_ref().get(key)?.get_ref() {
        DeValue::String(found) => Some(found.clone().into_owned()),
        _ => None,
    }
}

fn syntax_errors<'e>(document: &toml::Spanned<DeTable<'_>>, broken: &'e [Error]) -> BTreeMap<usize, &'e str> {
    let mut lists = Vec::new();
    spans(document.get_ref(), &mut lists);
    let mut found = BTreeMap::new();
    for error in broken {
        let at = error.span().map_or(0, |span| span.start);
        match lists.iter().find(|list| list.start < at && at <= list.end) {
            // After an end that is missing, all that follows is taken for a part of the list.
            Some(list) if error.message().starts_with("unclosed ") => {
                found.retain(|at, _| !(list.start..=list.end).contains(at));
                found.insert(list.start, error.message());
            }
            Some(list) if found.range(list.start..=list.end).next().is_some() => {}
            _ => {
                found.entry(at).or_insert(error.message());
            }
        }
    }
    found
}

/// Where lists and inline tables are written, without those in others.
fn spans(table: &DeTable<'_>, out: &mut Vec<Range<usize>>) {
    for (_, value) in table {
        match value.get_ref() {
            DeValue::Array(_) => out.push(value.span()),
            DeValue::Table(inner) => {
                out.push(value.span());
                spans(inner, out);
            }
            _ => {}
        }
    }
}

/// A key, and the table that it is in: empty for the file itself.
struct Written {
    within: String,
    key: String,
}

impl Written {
    /// The table that it is itself.
    fn path(&self) -> String {
        joined(&self.within, &self.key)
    }
}

/// The path of a key in a table, or of a table of a list.
fn joined(within: &str, key: &str) -> String {
    if within.is_empty() || key.is_empty() { format!("{within}{key}") } else { format!("{within}.{key}") }
}

/// Takes out the key or the value that is written at `at`.
fn take(table: &mut DeTable<'_>, at: &Range<usize>, within: &str) -> Option<Written> {
    let inside = |key: &str| joined(within, key);
    // A table is written where its header is, and so is what the header names on the way.
    let deeper = table.iter_mut().find_map(|(key, value)| match value.get_mut() {
        DeValue::Table(table) => take(table, at, &inside(key.get_ref())),
        DeValue::Array(list) => take_item(list, at, &inside(key.get_ref())),
        _ => None,
    });
    let here = || {
        let is_here = |(key, value): &(&_, &toml::Spanned<_>)| {
            let key: &toml::Spanned<_> = key;
            key.span() == *at || value.span() == *at
        };
        let key = table.iter().find(is_here)?.0.clone();
        table.remove(&key);
        Some(Written { within: within.to_owned(), key: key.into_inner().into_owned() })
    };
    deeper.or_else(here)
}

fn take_item(list: &mut DeArray<'_>, at: &Range<usize>, within: &str) -> Option<Written> {
    let deeper = list.iter_mut().find_map(|item| match item.get_mut() {
        DeValue::Table(table) => take(table, at, within),
        DeValue::Array(list) => take_item(list, at, within),
        _ => None,
    });
    let here = || {
        let place = list.iter().position(|item| item.span() == *at)?;
        let items = std::mem::replace(list, DeArray::new()).into_iter().enumerate();
        *list = items.filter(|(i, _)| *i != place).map(|(_, item)| item).collect();
        Some(Written { within: within.to_owned(), key: String::new() })
    };
    deeper.or_else(here)
}

fn told(
    path: &str,
    text: &str,
    error: &Error,
    at: Option<Range<usize>>,
    place: Option<&Written>,
    instead: &dyn Fn(&str) -> Option<String>,
) -> Diagnostic {
    let TomlWords { mut message, mut hint } = TomlWords::of(error.message());
    let is_key = message.starts_with("unknown field ");
    if is_key || message.starts_with("unknown variant ") {
        let mut names = message.split('`').skip(1).step_by(2);
        let wrong = names.next().unwrap_or_default().to_owned();
        let known: Vec<&str> = names.collect();
        hint = match nearest(&wrong, known.iter().copied()) {
            Some(near) => format!("did you mean `{near}`?"),
            None if known.is_empty() => "remove the key".to_owned(),
            None => format!("known are {}", known.join(", ")),
        };
        if is_key {
            let within = place.map(|place| &place.within).filter(|within| !within.is_empty());
            let within = within.map(|within| format!(" in [{within}]")).unwrap_or_default();
            message = format!("unknown key `{wrong}`{within}");
        }
    }
    let diagnostic = Diagnostic::in_file(path, message).hint(instead(error.message()).unwrap_or(hint));
    match at {
        Some(span) => {
            let at = key_in_table(text, span.start, error.message()).unwrap_or(span.start);
            diagnostic.at(text, at)
        }
        None => diagnostic,
    }
}

/// Where the table that begins at `start` has the key that a message names of it.
fn key_in_table(text: &str, start: usize, message: &str) -> Option<usize> {
    if !text[start..].starts_with('[') {
        return None;
    }
    let names: Vec<&str> = message.split('`').skip(1).step_by(2).collect();
    let mut at = start;
    for (n, line) in text[start..].split_inclusive('\n').enumerate() {
        if n > 0 && line.starts_with("[[") {
            return None;
        }
        let is_of =
            |name: &&str| line.strip_prefix(*name).is_some_and(|rest| rest.trim_start().starts_with('='));
        if names.iter().any(is_of) {
            return Some(at);
        }
        at += line.len();
    }
    None
}

/// A message, and what to do next.
#[derive(Debug, PartialEq, Eq)]
pub struct TomlWords {
    /// What is wrong, on one line.
    pub message: String,
    /// What to write instead.
    pub hint: String,
}

/// How serde names what it expected, what that is called here (just so, where there is nothing), and how it is written.
const EXPECTED: [(&str, &str, &str); 11] = [
    ("a boolean", "true or false", "write `true` or `false`, without quotes"),
    ("a string", "a text", "write a text in quotes, such as \"bread\""),
    ("path string", "a text", "write a path in quotes"),
    ("a sequence", "a list", "write a list in brackets, such as [\"bread\", \"rolls\"]"),
    ("a map", "a table", TABLE),
    ("struct ", "a table", TABLE),
    ("a whole number", "", "write a number within these bounds, without quotes"),
    ("bytes from ", "", "write a number within these bounds, or one with its unit in quotes"),
    ("a length of time", "", "write seconds without quotes, or a text in quotes, such as \"10m\""),
    ("any v", "a whole number below 2⁶³", "write a smaller number"),
    ("u", "a whole number from 0 on", "write a whole number without quotes, such as 300"),
];
const TABLE: &str =
    "write a table: its name in brackets on a line, its keys on lines below; or { key = \"value\" }";

impl TomlWords {
    /// Reads a message of `toml`.
    pub fn of(message: &str) -> Self {
        // Integers of 128 bits are how the parser says that one is too large for TOML.
        let message = message.split_whitespace().collect::<Vec<_>>().join(" ").replace("` as i128,", "`,");
        let mistyped = ["invalid type: ", "invalid value: "].iter().any(|kind| message.starts_with(kind));
        if mistyped
            && let Some((found, expected)) = message.rsplit_once(", expected ")
            && let Some((_, name, hint)) = EXPECTED.iter().find(|(by, ..)| expected.starts_with(by))
        {
            let name = if name.is_empty() { expected } else { name };
            return Self { message: format!("{found}, expected {name}"), hint: (*hint).to_owned() };
        }
        let key = message.split('`').nth(1).unwrap_or_default();
        let hint = if message.starts_with("missing field ") {
            &format!("add `{key} = …` to this table")
        } else if message.starts_with("unknown field ") {
            "remove the key, or write one of those"
        } else if message.starts_with("unknown variant ") {
            "write one of those, in quotes"
        } else if message.starts_with("duplicate key") {
            "remove one of the two"
        } else if message.contains("` is missing") {
            "add that key"
        } else if message.contains(" is not in ") {
            "write a number within these bounds"
        } else if message.contains('`') && !message.contains("expected `") {
            // Of a value's own check, which names what it wants.
            "correct that key; the reference of the configuration says what it may be"
        } else {
            "TOML is `key = value` or `[table]` on a line; texts are in quotes, lists in brackets"
        };
        Self { hint: hint.to_owned(), message }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    #[expect(dead_code, reason = "what is read is of no interest")]
    struct Oven {
        bread: u64,
        hot: Option<bool>,
        name: Option<String>,
        loaves: Option<Vec<String>>,
        door: Option<Door>,
        kind: Option<Kind>,
        batch: Option<crate::whole::Whole<u8, 1, 8>>,
    }

    #[derive(Debug, serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Door {}

    #[derive(Debug, serde::Deserialize)]
    #[serde(rename_all = "lowercase")]
    enum Kind {
        Deck,
    }

    #[test]
    fn all_that_is_wrong_is_told() {
        #[derive(Debug, Default, serde::Deserialize)]
        #[serde(deny_unknown_fields, default)]
        struct Bakery {
            oven: Vec<Oven>,
            hosts: Vec<String>,
            front: Option<Oven>,
        }
        let text = "hosts = [\"a\", 2, 3]\nhost = 1\n[front]\nbread = \"x\"\nhto = true\ndoor = { lock = 1 }\n\
                    [[oven]]\nbread = 1\nkind = \"dekc\"\n[[oven]]\nhot = 1\n[[oven]]\nbread = 2\nloaves = [1]\n";
        let said = from_toml::<Bakery>("b.toml", text, &|message| {
            message.starts_with("unknown field `host`").then(|| "ask the host".to_owned())
        });
        let said = said.unwrap_err();
        let said: Vec<_> = said
            .list()
            .iter()
            .map(|d| format!("{:?} {:?}: {} ({:?})", d.line, d.column, d.message, d.hint))
            .collect();
        insta::assert_snapshot!(said.join("\n"), @r#"
        Some(1) Some(15): invalid type: integer `2`, expected a text (Some("write a text in quotes, such as \"bread\""))
        Some(1) Some(18): invalid type: integer `3`, expected a text (Some("write a text in quotes, such as \"bread\""))
        Some(2) Some(1): unknown key `host` (Some("ask the host"))
        Some(4) Some(9): invalid type: string "x", expected a whole number from 0 on (Some("write a whole number without quotes, such as 300"))
        Some(5) Some(1): unknown key `hto` in [front] (Some("known are bread, hot, name, loaves, door, kind, batch"))
        Some(6) Some(10): unknown key `lock` in [front.door] (Some("remove the key"))
        Some(9) Some(8): unknown variant `dekc`, expected `deck` (Some("did you mean `deck`?"))
        Some(10) Some(1): missing field `bread` (Some("add `bread = …` to this table"))
        Some(11) Some(7): invalid type: integer `1`, expected true or false (Some("write `true` or `false`, without quotes"))
        Some(14) Some(11): invalid type: integer `1`, expected a text (Some("write a text in quotes, such as \"bread\""))
        "#);
        assert!(from_toml::<Bakery>("b.toml", "hosts = [\"a\"]\noven = []", &|_| None).is_ok());
    }

    #[test]
    fn of_very_many_mistakes_it_is_said_that_there_are_more() {
        #[derive(Debug, serde::Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Nothing {}
        let said = |mistakes: usize| {
            let text: String = (0..mistakes).map(|n| format!("key{n} = 1\n")).collect();
            from_toml::<Nothing>("b.toml", &text, &|_| None).unwrap_err()
        };
        assert_eq!(said(MISTAKES_MAX).list().len(), MISTAKES_MAX);
        let many = said(MISTAKES_MAX + 1);
        assert!(many.list()[0].message.contains("more mistakes in the file than the 50"), "{many}");
    }

    #[test]
    fn every_message_says_what_to_do_and_none_has_names_of_rust() {
        for (text, message, hint) in [
            ("bread = \"3\"", "expected a whole number", "without quotes"),
            ("bread = -3", "expected a whole number from 0 on", "300"),
            (
                "bread = 1\nbatch = 9",
                "integer `9`, expected a whole number from 1 to 8",
                "within these bounds",
            ),
            ("bread = 99999999999999999999", "integer `99999999999999999999`, expected a whole", "300"),
            ("bread = 1\nhot = 1", "expected true or false", "`true`"),
            ("bread = 1\nname = 1", "expected a text", "in quotes"),
            ("bread = 1\nloaves = 1", "expected a list", "in brackets"),
            ("bread = 1\ndoor = 1", "expected a table", "its keys"),
            ("hot = true", "missing field `bread`", "add `bread = …`"),
            ("bread = 1\nbraed = 1", "unknown field `braed`", "remove the key"),
            ("bread = 1\nkind = \"x\"", "unknown variant `x`", "one of those"),
            ("bread = 1\nbread = 2", "duplicate key", "one of the two"),
            ("bread = ", "must be quoted", "`key = value`"),
            ("bread", "expected `=`", "`key = value`"),
        ] {
            let words = TomlWords::of(toml::from_str::<Oven>(text).unwrap_err().message());
            assert!(words.message.contains(message) && words.hint.contains(hint), "{text}: {words:?}");
        }
    }
}
