//! Where a value is written in a front matter.
//!
//! TOML says it itself. YAML's parser does not: there the text is looked through for one key behind the other, which
//! finds the line in what people write.

use toml::de::{DeTable, DeValue};

use super::Step;
use crate::front_matter::Format;

/// The byte of `matter` at which the value at `steps` within `extra` is written, or what is nearest above it.
pub(crate) fn offset_of(matter: &str, format: Format, steps: &[Step]) -> Option<usize> {
    match format {
        Format::Toml => in_toml(matter, steps),
        Format::Yaml => in_yaml(matter, steps),
    }
}

fn in_toml(matter: &str, steps: &[Step]) -> Option<usize> {
    let document = DeTable::parse(matter).ok()?;
    let (name, mut value) = document.get_ref().iter().find(|(name, _)| **name.get_ref() == *"extra")?;
    let mut offset = name.span().start;
    for step in steps {
        match (step, value.get_ref()) {
            (Step::Key(wanted), DeValue::Table(table)) => {
                let Some((name, inner)) = table.iter().find(|(name, _)| **name.get_ref() == **wanted) else {
                    break;
                };
                (offset, value) = (name.span().start, inner);
            }
            (Step::Item(n), DeValue::Array(list)) => {
                let Some(inner) = list.get(*n) else { break };
                // The span of a table under a header is that of its header.
                (offset, value) = (inner.span().start, inner);
            }
            _ => break,
        }
    }
    Some(offset)
}

fn in_yaml(matter: &str, steps: &[Step]) -> Option<usize> {
    let mut begin = 0;
    let top = matter.split_inclusive('\n').find(|line| {
        begin += line.len();
        line.trim_start_matches(['"', '\'']).starts_with("extra")
    })?;
    let mut offset = begin - top.len();
    for step in steps {
        let found = match step {
            Step::Key(name) => key_after(matter, offset, name),
            Step::Item(n) => item_after(matter, offset, *n),
        };
        match found {
            Some(found) => offset = found,
            None => break,
        }
    }
    Some(offset)
}

/// The next place at which `name:` begins a key.
fn key_after(text: &str, from: usize, name: &str) -> Option<usize> {
    let begins = |before: Option<char>| {
        before.is_none_or(|c| c.is_whitespace() || matches!(c, '{' | ',' | '"' | '\'' | '-'))
    };
    text[from..].match_indices(name).map(|(i, _)| from + i).find(|at| {
        let rest = text[at + name.len()..].trim_start_matches(['"', '\'']);
        begins(text[..*at].chars().next_back()) && rest.trim_start_matches(' ').starts_with(':')
    })
}

/// The `n`th item of the list that begins next, where each has a line of its own.
fn item_after(text: &str, from: usize, n: usize) -> Option<usize> {
    let line_end = from + text[from..].find('\n')?;
    if text[from..line_end].contains('[') {
        return None;
    }
    let mut indent = None;
    let mut items = 0;
    let mut offset = line_end + 1;
    for line in text[offset..].split_inclusive('\n') {
        let trimmed = line.trim_start_matches(' ');
        let depth = line.len() - trimmed.len();
        if trimmed.starts_with("- ") && indent.is_none_or(|indent| indent == depth) {
            indent = Some(depth);
            if items == n {
                return Some(offset + depth + 2);
            }
            items += 1;
        }
        offset += line.len();
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_found() {
        let toml = "title = \"extra\"\n[extra]\na = 1\nlist = [\n  1,\n  2,\n]\nt = { x = 1 }\n[extra.deep]\nkey = 1\n[[extra.all]]\nn = 1\n[[extra.all]]\nn = 2\n";
        let yaml = "title: 'extra: a'\nextra:\n  a: 1\n  list:\n    - 1\n    - 2\n  t: {x: 1}\n  deep:\n    key: 1\n  all:\n    - n: 1\n    - n: 2\n";
        let key = |name: &str| Step::Key(name.to_owned());
        for (steps, in_toml, in_yaml) in [
            (vec![], 2, 2),
            (vec![key("a")], 3, 3),
            (vec![key("list"), Step::Item(1)], 6, 6),
            (vec![key("t"), key("x")], 8, 7),
            (vec![key("deep"), key("key")], 10, 9),
            (vec![key("all"), Step::Item(1), key("n")], 14, 12),
            (vec![key("missing")], 2, 2),
        ] {
            let line = |text: &str, format| {
                let offset = offset_of(text, format, &steps).unwrap();
                text[..offset].lines().count() + usize::from(text[..offset].ends_with('\n') || offset == 0)
            };
            assert_eq!(line(toml, Format::Toml), in_toml, "{steps:?}");
            assert_eq!(line(yaml, Format::Yaml), in_yaml, "{steps:?}");
        }
    }
}
