//! Bibliographies in BibTeX, as template values: preambles, comments, variables and entries.

use std::collections::HashMap;

use tera::{Map, Value};

use crate::data_file::Refused;
use crate::value::{self, key, owned_key};

/// Parses a bibliography.
///
/// As in Zola, names of variables and types of entries are as they are written, months are the names of English, and a tag
/// whose variable is not defined is left out.
///
/// # Errors
/// What is not closed, what has no value, and values of more than a mebibyte.
pub(crate) fn parse(text: &str) -> Result<Value, Refused> {
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
        let kind = parser.name();
        parser.skip();
        let close = match parser.peek() {
            Some('{') => '}',
            Some('(') => ')',
            _ => return Err(parser.wrong(&format!("`@{kind}` is not followed by a brace"))),
        };
        match kind.to_lowercase().as_str() {
            "comment" => comments.push(Value::from(parser.balanced(close)?.trim())),
            "preamble" => {
                parser.at += 1;
                let Some(text) = parser.value()? else {
                    return Err(parser.wrong("a variable is not defined"));
                };
                preambles.push(Value::from(text));
                parser.expect(close)?;
            }
            "string" => {
                parser.at += 1;
                parser.skip();
                let name = parser.name();
                parser.expect('=')?;
                let text = parser.value()?;
                parser.expect(close)?;
                if let Some(text) = text {
                    variables.insert(owned_key(name), Value::from(text.as_str()));
                    parser.variables.insert(name.to_owned(), text);
                }
            }
            _ => {
                parser.at += 1;
                entries.push(parser.entry(kind, close)?);
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

/// Variables are put together of others: twenty lines could make a value of any length.
const VALUE_BYTES_MAX: usize = 1024 * 1024;

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

    fn wrong(&self, problem: &str) -> Refused {
        Refused::at(problem, self.text[..self.at].matches('\n').count() + 1, 1)
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

    fn expect(&mut self, wanted: char) -> Result<(), Refused> {
        self.skip();
        if self.peek() != Some(wanted) {
            return Err(self.wrong(&format!("`{wanted}` is missing")));
        }
        self.at += wanted.len_utf8();
        Ok(())
    }

    /// What is between the brace here and the one that closes it.
    fn balanced(&mut self, close: char) -> Result<&'a str, Refused> {
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

    fn quoted(&mut self) -> Result<&'a str, Refused> {
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

    /// A number; or texts and variables, put together by `#`. None where one of these is not defined.
    fn value(&mut self) -> Result<Option<String>, Refused> {
        let mut whole = Some(String::new());
        let mut is_first = true;
        loop {
            self.skip();
            let piece = match self.peek() {
                Some('{') => Some(self.balanced('}')?),
                Some('"') => Some(self.quoted()?),
                _ => {
                    let name = self.name();
                    if name.is_empty() {
                        return Err(self.wrong("a value is missing"));
                    }
                    let is_number = is_first && name.bytes().all(|b| b.is_ascii_digit());
                    let variable = self.variables.get(name).map(String::as_str);
                    if is_number { Some(name) } else { variable.or_else(|| month(name)) }
                }
            };
            whole = whole.zip(piece).map(|(whole, piece)| whole + piece);
            if whole.as_ref().is_some_and(|whole| whole.len() > VALUE_BYTES_MAX) {
                return Err(self.wrong("a value has more than a mebibyte"));
            }
            is_first = false;
            self.skip();
            if self.peek() != Some('#') {
                return Ok(whole);
            }
            self.at += 1;
        }
    }

    fn entry(&mut self, kind: &str, close: char) -> Result<Value, Refused> {
        self.skip();
        let length = self.rest().find([',', close]).unwrap_or(self.rest().len());
        let citation = self.rest()[..length].trim_end();
        if citation.contains(['=', '{', '"']) {
            return Err(self.wrong("`,` is missing"));
        }
        self.at += length;
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
            if let Some(text) = self.value()? {
                tags.insert(owned_key(&name), Value::from(text.trim()));
            }
        }
        let mut entry = Map::new();
        entry.insert(key("entry_type"), Value::from(kind));
        entry.insert(key("citation_key"), Value::from(citation));
        entry.insert(key("tags"), value::map(tags));
        Ok(value::map(entry))
    }
}

/// What every BibTeX style defines.
fn month(name: &str) -> Option<&'static str> {
    Some(match name {
        "jan" => "January",
        "feb" => "February",
        "mar" => "March",
        "apr" => "April",
        "may" => "May",
        "jun" => "June",
        "jul" => "July",
        "aug" => "August",
        "sep" => "September",
        "oct" => "October",
        "nov" => "November",
        "dec" => "December",
        _ => return None,
    })
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
    fn variables_are_as_written_or_missing() {
        let tags = |tags: &str| {
            let parsed = parse(&format!("@string{{V = \"v\"}} @PhdThesis{{k, {tags}}}")).unwrap().to_string();
            parsed.split_once("\"bibliographies\": ").unwrap().1.to_owned()
        };
        insta::assert_snapshot!(tags("a = V # { w}, month = jan"), @r#"[{"entry_type": "PhdThesis", "citation_key": "k", "tags": {"a": "v w", "month": "January"}}]}"#);
        assert!(
            parse("@misc{key with spaces , a = {b}}").unwrap().to_string().contains("\"key with spaces\"")
        );
        insta::assert_snapshot!(tags("a = v, b = \"x\" # none, c = \"x\" # 2, month = Jan, year = 2026"), @r#"[{"entry_type": "PhdThesis", "citation_key": "k", "tags": {"year": "2026"}}]}"#);
        let doubled: String =
            (1..40).map(|n| format!("@string{{v{n} = v{m} # v{m}}}\n", m = n - 1)).collect();
        let error =
            parse(&format!("@string{{v0 = \"twenty letters or so\"}}\n{doubled}")).unwrap_err().to_string();
        assert_eq!(error, "a value has more than a mebibyte at line 17 column 1");
    }

    #[test]
    fn what_is_wrong_has_a_line() {
        assert_eq!(
            parse("\n@book{k, a = {b").unwrap_err().to_string(),
            "a brace is not closed at line 2 column 1"
        );
        assert_eq!(
            parse("@preamble{b}").unwrap_err().to_string(),
            "a variable is not defined at line 1 column 1"
        );
        assert!(parse("@book k").is_err());
        assert_eq!(parse("@book{k a = {b}}").unwrap_err().to_string(), "`,` is missing at line 1 column 1");
    }
}
