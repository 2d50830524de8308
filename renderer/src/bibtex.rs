//! Bibliographies in BibTeX, as template values: preambles, comments, variables and entries.

use std::collections::HashMap;

use tera::{Map, Value};

use crate::value::{self, key, owned_key};

/// Parses a bibliography.
///
/// # Errors
/// What is not closed, what has no value, and variables that are not defined.
pub(crate) fn parse(text: &str) -> Result<Value, String> {
    let mut parser = Parser { text, at: 0, variables: HashMap::new() };
    let (mut preambles, mut comments, mut entries, mut variables) = (vec![], vec![], vec![], Map::new());
    loop {
        let free = parser.until('@');
        if !free.trim().is_empty() {
            comments.push(Value::from(free.trim()));
        }
        if parser.at >= text.len() {
            break;
        }
        parser.at += 1;
        let kind = parser.name().to_lowercase();
        parser.skip();
        let close = match parser.peek() {
            Some('{') => '}',
            Some('(') => ')',
            _ => return Err(parser.wrong(&format!("`@{kind}` is not followed by a brace"))),
        };
        match kind.as_str() {
            "comment" => comments.push(Value::from(parser.balanced(close)?.trim())),
            "preamble" => {
                parser.at += 1;
                preambles.push(Value::from(parser.value()?));
                parser.expect(close)?;
            }
            "string" => {
                parser.at += 1;
                parser.skip();
                let name = parser.name().to_lowercase();
                parser.expect('=')?;
                let text = parser.value()?;
                parser.expect(close)?;
                variables.insert(owned_key(&name), Value::from(text.as_str()));
                parser.variables.insert(name, text);
            }
            _ => {
                parser.at += 1;
                entries.push(parser.entry(&kind, close)?);
            }
        }
    }
    let mut map = Map::new();
    map.insert(key("preambles"), Value::from(preambles));
    map.insert(key("comments"), Value::from(comments));
    map.insert(key("variables"), value::map(variables));
    map.insert(key("bibliographies"), Value::from(entries));
    Ok(value::map(map))
}

struct Parser<'a> {
    text: &'a str,
    at: usize,
    variables: HashMap<String, String>,
}

impl<'a> Parser<'a> {
    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    fn skip(&mut self) {
        self.at += self.rest().len() - self.rest().trim_start().len();
    }

    fn wrong(&self, problem: &str) -> String {
        format!("{problem} in line {}", self.text[..self.at].matches('\n').count() + 1)
    }

    fn until(&mut self, end: char) -> &'a str {
        let length = self.rest().find(end).unwrap_or(self.rest().len());
        let found = &self.rest()[..length];
        self.at += length;
        found
    }

    fn name(&mut self) -> &'a str {
        let ends = |c: char| c.is_whitespace() || matches!(c, '{' | '}' | '(' | ')' | ',' | '=' | '#' | '"');
        let length = self.rest().find(ends).unwrap_or(self.rest().len());
        let found = &self.rest()[..length];
        self.at += length;
        found
    }

    fn expect(&mut self, wanted: char) -> Result<(), String> {
        self.skip();
        if self.peek() != Some(wanted) {
            return Err(self.wrong(&format!("`{wanted}` is missing")));
        }
        self.at += wanted.len_utf8();
        Ok(())
    }

    /// What is between the brace here and the one that closes it.
    fn balanced(&mut self, close: char) -> Result<&'a str, String> {
        let open = if close == ')' { '(' } else { '{' };
        let mut depth = 0_usize;
        for (i, c) in self.rest().char_indices() {
            if c == open {
                depth += 1;
            } else if c == close {
                depth -= 1;
                if depth == 0 {
                    let found = &self.rest()[1..i];
                    self.at += i + 1;
                    return Ok(found);
                }
            }
        }
        Err(self.wrong("a brace is not closed"))
    }

    fn quoted(&mut self) -> Result<&'a str, String> {
        let mut depth = 0_usize;
        for (i, c) in self.rest().char_indices().skip(1) {
            match c {
                '{' => depth += 1,
                '}' => depth = depth.saturating_sub(1),
                '"' if depth == 0 => {
                    let found = &self.rest()[1..i];
                    self.at += i + 1;
                    return Ok(found);
                }
                _ => {}
            }
        }
        Err(self.wrong("a quote is not closed"))
    }

    /// Texts, numbers and variables, put together by `#`.
    fn value(&mut self) -> Result<String, String> {
        let mut whole = String::new();
        loop {
            self.skip();
            match self.peek() {
                Some('{') => whole.push_str(self.balanced('}')?),
                Some('"') => whole.push_str(self.quoted()?),
                _ => {
                    let name = self.name();
                    if name.is_empty() {
                        return Err(self.wrong("a value is missing"));
                    }
                    match self.variables.get(&name.to_lowercase()) {
                        Some(text) => whole.push_str(text),
                        None if name.chars().all(|c| c.is_ascii_digit()) || is_month(name) => {
                            whole.push_str(name)
                        }
                        None => return Err(self.wrong(&format!("there is no variable `{name}`"))),
                    }
                }
            }
            self.skip();
            if self.peek() != Some('#') {
                return Ok(whole);
            }
            self.at += 1;
        }
    }

    fn entry(&mut self, kind: &str, close: char) -> Result<Value, String> {
        self.skip();
        let citation = self.name();
        let mut tags = Map::new();
        loop {
            self.skip();
            if self.peek() == Some(close) {
                self.at += 1;
                break;
            }
            self.expect(',')?;
            self.skip();
            if self.peek() == Some(close) {
                continue;
            }
            let name = self.name().to_lowercase();
            self.expect('=')?;
            let text = self.value()?;
            tags.insert(owned_key(&name), Value::from(text.trim()));
        }
        let mut entry = Map::new();
        entry.insert(key("entry_type"), Value::from(kind));
        entry.insert(key("citation_key"), Value::from(citation));
        entry.insert(key("tags"), value::map(tags));
        Ok(value::map(entry))
    }
}

/// Names that every BibTeX style defines.
fn is_month(name: &str) -> bool {
    ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"]
        .contains(&name.to_lowercase().as_str())
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn every_part() {
        let text = r#"@preamble{"A preamble" # " this is."}
@Comment{ Here is a comment. }
Another comment!
@string(name = "A. Baker")
@string(home = "https://x.example")
@misc {key_1, author = name, title = {A {B}}, year = 1999, note = "home: " # home,
}
"#;
        insta::assert_snapshot!(parse(text).unwrap().to_string(), @r#"{"preambles": ["A preamble this is."], "comments": ["Here is a comment.", "Another comment!"], "variables": {"name": "A. Baker", "home": "https://x.example"}, "bibliographies": [{"entry_type": "misc", "citation_key": "key_1", "tags": {"author": "A. Baker", "title": "A {B}", "year": "1999", "note": "home: https://x.example"}}]}"#);
    }

    #[test]
    fn what_is_wrong_has_a_line() {
        assert_eq!(parse("\n@book{k, a = {b").unwrap_err(), "a brace is not closed in line 2");
        assert_eq!(parse("@book{k, a = b}").unwrap_err(), "there is no variable `b` in line 1");
        assert!(parse("@book k").is_err());
        assert!(parse("@book{k a = {b}}").is_err());
    }
}
