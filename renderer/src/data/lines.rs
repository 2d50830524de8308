//! In which lines of a file its rows begin, as far as its format tells: for messages, and for editors.

use serde::de::{DeserializeOwned, IgnoredAny};
use serde_json::Deserializer;
use toml::de::{DeTable, DeValue};

use super::config::FileFormat;

/// The lines, from 1, in which the rows at `pointer` of a text begin that could be read; none where that cannot be told.
pub(super) fn of_rows(format: FileFormat, text: &str, pointer: &str, rows: usize) -> Vec<usize> {
    let starts = match format {
        FileFormat::Csv | FileFormat::Tsv => None,
        FileFormat::Json => Json { text, at: 0 }.items(pointer),
        FileFormat::Toml => tables(text, pointer),
        FileFormat::Yaml => dashes(text, rows),
    };
    let (mut line, mut counted) = (1, 0);
    let lines = starts.filter(|starts| starts.len() == rows).into_iter().flatten().map(|start| {
        line += memchr::memchr_iter(b'\n', &text.as_bytes()[counted..start]).count();
        counted = start;
        line
    });
    lines.collect()
}

/// The parts of a JSON pointer, as keys are written.
fn keys(pointer: &str) -> impl Iterator<Item = String> {
    pointer.split('/').skip(1).map(|key| key.replace("~1", "/").replace("~0", "~"))
}

/// A place in a text that is JSON.
struct Json<'t> {
    text: &'t str,
    at: usize,
}

impl Json<'_> {
    /// What is next, behind white space.
    fn peek(&mut self) -> Option<u8> {
        let rest = &self.text[self.at..];
        self.at += rest.len() - rest.trim_start().len();
        self.text.as_bytes().get(self.at).copied()
    }

    /// Takes a mark, if it is next.
    fn take(&mut self, mark: u8) -> bool {
        let is_next = self.peek() == Some(mark);
        self.at += usize::from(is_next);
        is_next
    }

    fn value<T: DeserializeOwned>(&mut self) -> Option<T> {
        let mut values = Deserializer::from_str(&self.text[self.at..]).into_iter();
        let value = values.next()?.ok()?;
        self.at += values.byte_offset();
        Some(value)
    }

    /// Where the items of the list at a pointer begin.
    fn items(mut self, pointer: &str) -> Option<Vec<usize>> {
        for key in keys(pointer) {
            self.enter(&key)?;
        }
        let mut starts = Vec::new();
        let mut more = self.take(b'[') && self.peek()? != b']';
        while more {
            self.peek()?;
            starts.push(self.at);
            self.value::<IgnoredAny>()?;
            more = self.take(b',');
        }
        Some(starts)
    }

    /// Goes to the value of a key, or of a number in a list.
    fn enter(&mut self, key: &str) -> Option<()> {
        let is_object = self.take(b'{');
        if !is_object && !self.take(b'[') {
            return None;
        }
        let mut number = 0_usize;
        loop {
            self.peek()?;
            let name = if is_object { self.value()? } else { number.to_string() };
            if is_object && !self.take(b':') {
                return None;
            }
            if name == key {
                return Some(());
            }
            self.peek()?;
            self.value::<IgnoredAny>()?;
            if !self.take(b',') {
                return None;
            }
            number += 1;
        }
    }
}

/// Where the tables of a list in TOML begin.
fn tables(text: &str, pointer: &str) -> Option<Vec<usize>> {
    let document = DeTable::parse(text).ok()?;
    let mut keys = keys(pointer);
    let mut at = document.get_ref().get(&*keys.next()?)?;
    for key in keys {
        at = match at.get_ref() {
            DeValue::Table(table) => table.get(&*key)?,
            DeValue::Array(list) => list.get(key.parse::<usize>().ok()?)?,
            _ => return None,
        };
    }
    match at.get_ref() {
        DeValue::Array(list) => Some(list.iter().map(|item| item.span().start).collect()),
        _ => None,
    }
}

/// Where the dashes of a list in YAML stand: those least indented of which there are as many as rows.
fn dashes(text: &str, rows: usize) -> Option<Vec<usize>> {
    let mut lists: Vec<(usize, Vec<usize>)> = Vec::new();
    let mut at = 0;
    for line in text.split_inclusive('\n') {
        let indent = line.len() - line.trim_start_matches(' ').len();
        let begins_item =
            line[indent..].strip_prefix('-').is_some_and(|rest| rest.starts_with([' ', '\n', '\r']));
        if begins_item {
            match lists.iter_mut().find(|(known, _)| *known == indent) {
                Some((_, starts)) => starts.push(at),
                None => lists.push((indent, vec![at])),
            }
        }
        at += line.len();
    }
    lists.sort_by_key(|(indent, _)| *indent);
    lists.into_iter().map(|(_, starts)| starts).find(|starts| starts.len() == rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_found_in_every_format() {
        let json =
            "{\"a\": [1, {\"x\": \"]\"}],\n\"b/c\": {\"d\": [\n  {\"id\": 1},\n\n  {\"id\": [2,\n3]}, {}]}}";
        assert_eq!(of_rows(FileFormat::Json, json, "/b~1c/d", 3), [3, 5, 6]);
        assert_eq!(of_rows(FileFormat::Json, json, "/a", 2), [1, 1]);
        assert_eq!(of_rows(FileFormat::Json, "\n[\n]", "", 0), [0_usize; 0]);
        assert_eq!(of_rows(FileFormat::Json, "[[], [{},\n{}]]", "/1", 2), [1, 2]);
        let toml = "x = 1\n[[a.b]]\nid = 1\n\n[[a.b]]\nid = 2\n";
        assert_eq!(of_rows(FileFormat::Toml, toml, "/a/b", 2), [2, 5]);
        let yaml = "# rows\n- id: 1\n  tags:\n    - a\n- id: 2\n";
        assert_eq!(of_rows(FileFormat::Yaml, yaml, "", 2), [2, 5]);
        assert_eq!(of_rows(FileFormat::Yaml, "items:\n  - id: 1\n", "/items", 1), [2]);
    }

    #[test]
    fn what_cannot_be_told_is_not() {
        for (format, text, pointer) in [
            (FileFormat::Json, "{\"a\": 1}", "/b"),
            (FileFormat::Json, "{\"a\": [", "/a"),
            (FileFormat::Json, "é", ""),
            (FileFormat::Toml, "a = 1", "/a"),
            (FileFormat::Yaml, "[{id: 1}]", ""),
        ] {
            assert_eq!(of_rows(format, text, pointer, 1), [0_usize; 0], "{text}");
        }
    }
}
