//! Data files of a site, by format, as template values.

use std::fmt;

use tera::{Map, Value};

use crate::diagnostic::line_and_column;
use crate::value::{self, key, owned_key};

/// The formats that a template may name.
pub(crate) const FORMATS: &[&str] =
    &["toml", "json", "yaml", "yml", "csv", "xml", "bibtex", "plain", "text", "txt"];

/// How deep elements of an XML file may nest.
const XML_DEPTH_MAX: usize = 128;

/// What is wrong with a data file, and the line and column of it, from 1, where its parser knows them.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Refused {
    pub(crate) message: String,
    pub(crate) place: Option<(usize, usize)>,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        match self.place {
            Some((line, column)) => write!(f, " at line {line} column {column}"),
            None => Ok(()),
        }
    }
}

impl From<String> for Refused {
    fn from(message: String) -> Self {
        Self { message, place: None }
    }
}

impl Refused {
    pub(crate) fn at(message: impl Into<String>, line: usize, column: usize) -> Self {
        Self { message: message.into(), place: Some((line, column)) }
    }

    /// A byte of `text`.
    fn at_byte(message: impl Into<String>, text: &str, offset: usize) -> Self {
        let (line, column) = line_and_column(text, offset);
        Self::at(message, line, column)
    }

    /// A message that says its place itself, as its end.
    fn without_place(message: &str, place: Option<(usize, usize)>) -> Self {
        let message = message.rsplit_once(" at line ").map_or(message, |(message, _)| message);
        Self { message: message.to_owned(), place }
    }
}

/// Parses a data file. Unknown formats are text.
///
/// # Errors
/// What the format refuses.
pub(crate) fn parse(bytes: &[u8], format: &str) -> Result<Value, Refused> {
    match format {
        "toml" => {
            let text = text(bytes)?;
            let refused = |error: toml::de::Error| {
                Refused::at_byte(error.message(), text, error.span().map_or(0, |span| span.start))
            };
            let table: toml::Table = toml::from_str(text).map_err(refused)?;
            Ok(value::from_toml_table(&table))
        }
        "json" => {
            let refused = |error: serde_json::Error| {
                Refused::without_place(&error.to_string(), Some((error.line(), error.column())))
            };
            Ok(value::parse_json(text(bytes)?).map_err(refused)?)
        }
        "yaml" | "yml" => {
            let refused = |error: serde_norway::Error| {
                let place = error.location().map(|at| (at.line(), at.column()));
                Refused::without_place(&error.to_string(), place)
            };
            let parsed: serde_norway::Value = serde_norway::from_str(text(bytes)?).map_err(refused)?;
            Ok(value::from_yaml(&parsed)?)
        }
        "csv" => {
            let Table { columns, records } = table(bytes, b',', &mut Err)?;
            let texts = |record: &csv::StringRecord| record.iter().map(Value::from).collect::<Vec<_>>();
            let mut map = Map::new();
            map.insert(key("headers"), Value::from(texts(&columns)));
            let records = records.iter().map(|(_, record)| Value::from(texts(record)));
            map.insert(key("records"), Value::from(records.collect::<Vec<_>>()));
            Ok(value::map(map))
        }
        "xml" => xml(text(bytes)?),
        "bibtex" => crate::bibtex::parse(text(bytes)?),
        _ => Ok(Value::from(text(bytes)?)),
    }
}

/// The text of a file, without the mark that some programs begin it with.
fn text(bytes: &[u8]) -> Result<&str, Refused> {
    let text = std::str::from_utf8(bytes).map_err(|error| {
        let line = memchr::memchr_iter(b'\n', &bytes[..error.valid_up_to()]).count() + 1;
        Refused::at("it is not valid UTF-8", line, 1)
    })?;
    Ok(text.trim_start_matches('\u{feff}'))
}

/// A file with a record a line.
pub(crate) struct Table {
    /// The first record.
    pub(crate) columns: csv::StringRecord,
    /// The others, each with the line that it begins in. Of one that is not as it must be there are no cells.
    pub(crate) records: Vec<(usize, csv::StringRecord)>,
}

/// Reads a table whose cells are apart by `separator`. Of records that are no UTF-8, or longer or shorter than the first,
/// `told` says whether to go on without them.
///
/// # Errors
/// What `told` says, and a first record that cannot be read.
pub(crate) fn table(
    bytes: &[u8],
    separator: u8,
    told: &mut dyn FnMut(Refused) -> Result<(), Refused>,
) -> Result<Table, Refused> {
    let refused = |error: csv::Error| {
        let line = error.position().map_or(1, |at| usize::try_from(at.line()).unwrap_or(usize::MAX));
        let message = match error.kind() {
            csv::ErrorKind::Utf8 { .. } => "it is not valid UTF-8".to_owned(),
            csv::ErrorKind::UnequalLengths { expected_len, len, .. } => match wrong_quote(bytes, separator) {
                Some(why) => return why,
                None => format!("expected {expected_len} cells as in the first line, found {len}"),
            },
            _ => error.to_string(),
        };
        Refused::at(message, line, 1)
    };
    let mut reader = csv::ReaderBuilder::new().delimiter(separator).trim(csv::Trim::None).from_reader(bytes);
    let columns = reader.headers().map_err(refused)?.clone();
    let mut records = Vec::new();
    for record in reader.records() {
        let record = match record {
            Ok(record) => record,
            Err(error) => {
                told(refused(error))?;
                csv::StringRecord::new()
            }
        };
        let line = record.position().map_or(1, |at| usize::try_from(at.line()).unwrap_or(usize::MAX));
        records.push((line, record));
    }
    Ok(Table { columns, records })
}

/// The first quote of a table that nothing closes, or that closes a cell which goes on: what follows would be in the wrong
/// cells, and may still be as many as there must be.
pub(crate) fn wrong_quote(bytes: &[u8], separator: u8) -> Option<Refused> {
    let refused = |message: &str, at: usize| {
        let line = bytes[..at].iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        let column =
            String::from_utf8_lossy(&bytes[line..at]).trim_start_matches('\u{feff}').chars().count() + 1;
        Refused::at(message, memchr::memchr_iter(b'\n', &bytes[..line]).count() + 1, column)
    };
    let mut at = if bytes.starts_with("\u{feff}".as_bytes()) { '\u{feff}'.len_utf8() } else { 0 };
    loop {
        if bytes.get(at) == Some(&b'"') {
            let open = at;
            at += 1;
            loop {
                let Some(length) = memchr::memchr(b'"', &bytes[at..]) else {
                    return Some(refused("nothing closes this quote", open));
                };
                at += length + 1;
                if bytes.get(at) != Some(&b'"') {
                    break;
                }
                at += 1;
            }
            at += bytes[at..].iter().take_while(|byte| **byte == b' ').count();
            match bytes.get(at) {
                None | Some(b'\r' | b'\n') => {}
                Some(byte) if *byte == separator => {}
                Some(_) => {
                    return Some(refused(
                        "a quote has closed the cell before this: one within it is written twice",
                        at,
                    ));
                }
            }
        }
        at += memchr::memchr3(separator, b'\r', b'\n', &bytes[at..])? + 1;
    }
}

/// An element: attributes as `@name`, text beside them as `#text`, children by name, several of one name as a list. What
/// begins with text has no children, its text ends where anything else follows, and names are without their namespace.
#[derive(Default)]
struct Element {
    attributes: Vec<(String, Vec<Value>)>,
    children: Vec<(String, Vec<Value>)>,
    text: String,
    /// Whether there was anything but text.
    text_ended: bool,
}

impl Element {
    fn say(&mut self, text: &str) {
        if !self.text_ended {
            self.text.push_str(text);
        }
    }

    fn add(&mut self, name: String, value: Value) {
        self.text_ended = true;
        match self.children.iter_mut().find(|(known, _)| *known == name) {
            Some((_, values)) => values.push(value),
            None => self.children.push((name, vec![value])),
        }
    }

    fn finish(self) -> Value {
        let text = self.text.trim();
        if !text.is_empty() && self.attributes.is_empty() {
            return typed(text);
        }
        let mut fields = self.attributes;
        if text.is_empty() {
            fields.extend(self.children);
        } else {
            fields.push(("#text".to_owned(), vec![typed(text)]));
        }
        let one = |mut values: Vec<Value>| match values.pop() {
            Some(last) if values.is_empty() => last,
            last => Value::from(values.into_iter().chain(last).collect::<Vec<_>>()),
        };
        value::map(fields.into_iter().map(|(name, values)| (owned_key(&name), one(values))).collect())
    }
}

/// Text that is a number or a truth value, as that.
fn typed(text: &str) -> Value {
    let text = text.trim();
    if let Ok(number) = text.parse::<u64>() {
        return Value::from(number);
    }
    let is_code = text.starts_with('0') && !text.starts_with("0.");
    match (text.parse::<f64>(), text.parse::<bool>()) {
        (Ok(number), _) if number.is_finite() && !is_code => Value::from(number),
        (_, Ok(flag)) => Value::from(flag),
        _ => Value::from(text),
    }
}

/// A name without its namespace.
fn local(name: &str) -> String {
    name.rsplit_once(':').map_or(name, |(_, local)| local).to_owned()
}

fn xml(text: &str) -> Result<Value, Refused> {
    use quick_xml::events::Event;
    let mut reader = quick_xml::Reader::from_str(text);
    let mut open: Vec<(String, Element)> = vec![(String::new(), Element::default())];
    loop {
        let event = reader.read_event().map_err(|e| {
            Refused::at_byte(e.to_string(), text, usize::try_from(reader.error_position()).unwrap_or(0))
        })?;
        match event {
            Event::Start(start) | Event::Empty(start) if open.len() > XML_DEPTH_MAX => {
                let name = start.name().as_ref().to_owned();
                return Err(format!("`{name}` is nested deeper than {XML_DEPTH_MAX} elements").into());
            }
            Event::Start(start) => open.push((local(start.name().as_ref()), attributes(&start)?)),
            Event::Empty(start) => {
                let value = attributes(&start)?.finish();
                if let Some((_, parent)) = open.last_mut() {
                    parent.add(local(start.name().as_ref()), value);
                }
            }
            Event::End(_) => {
                if let Some((name, element)) = open.pop()
                    && let Some((_, parent)) = open.last_mut()
                {
                    parent.add(name, element.finish());
                }
            }
            Event::Text(part) => {
                if let Some((_, element)) = open.last_mut() {
                    element.say(&part);
                }
            }
            Event::GeneralRef(reference) => {
                let name: &str = &reference;
                let resolved = match reference.resolve_char_ref().map_err(|e| e.to_string())? {
                    Some(c) => c.to_string(),
                    None => quick_xml::escape::resolve_xml_entity(name).unwrap_or_default().to_owned(),
                };
                if let Some((_, element)) = open.last_mut() {
                    element.say(&resolved);
                }
            }
            Event::CData(part) => {
                if let Some((_, element)) = open.last_mut() {
                    element.say(&part);
                }
            }
            Event::Comment(_) | Event::PI(_) => {
                if let Some((_, element)) = open.last_mut() {
                    element.text_ended = true;
                }
            }
            Event::Eof => break,
            _ => {}
        }
    }
    match (open.pop(), open.is_empty()) {
        (Some((_, root)), true) => Ok(root.finish()),
        (Some((name, _)), false) => Err(format!("the element `{name}` is not closed").into()),
        (None, _) => Err("there is no element".to_owned().into()),
    }
}

fn attributes(start: &quick_xml::events::BytesStart<'_>) -> Result<Element, String> {
    let mut element = Element::default();
    for attribute in start.attributes() {
        let attribute = attribute.map_err(|e| e.to_string())?;
        let name: &str = attribute.key.as_ref();
        // What declares a namespace says nothing of the element.
        if name == "xmlns" || name.starts_with("xmlns:") {
            continue;
        }
        let text = quick_xml::escape::unescape(&attribute.value).map_err(|e| e.to_string())?;
        element.attributes.push((format!("@{}", local(name)), vec![typed(&text)]));
    }
    Ok(element)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_format() {
        assert_eq!(parse(b"a = 2026-01-02", "toml").unwrap().to_string(), r#"{"a": "2026-01-02"}"#);
        assert_eq!(
            parse(
                br#"{"b": [1, null, 1.0, -2, 18446744073709551615], "a\u0062": {"c": true, "b": ""}}"#,
                "json"
            )
            .unwrap()
            .to_string(),
            r#"{"b": [1, , 1.0, -2, 18446744073709551615], "ab": {"c": true, "b": ""}}"#
        );
        assert_eq!(parse(b"x: [a]", "yaml").unwrap().to_string(), r#"{"x": ["a"]}"#);
        assert_eq!(
            parse(b"n,s\n1,2\n", "csv").unwrap().to_string(),
            r#"{"headers": ["n", "s"], "records": [["1", "2"]]}"#
        );
        assert_eq!(
            parse(b"<a x=\"1\"><b>t &amp; u</b><b/></a>", "xml").unwrap().to_string(),
            r#"{"a": {"@x": 1, "b": ["t & u", {}]}}"#
        );
        assert_eq!(
            parse(
                b"<a:r xmlns:a=\"u\"><a:n y=\"true\">7</a:n><n>007</n><n>1.50</n><n>08:30</n> </a:r>",
                "xml"
            )
            .unwrap()
            .to_string(),
            r##"{"r": {"n": [{"@y": true, "#text": 7}, 7, 1.5, "08:30"]}}"##
        );
        let mixed = "<a xml:lang=\"en\"><b>one<i>two</i>three</b><c><i>1</i>two</c><d>x<!-- y -->z</d><e><!-- y -->z</e></a>";
        assert_eq!(
            parse(mixed.as_bytes(), "xml").unwrap().to_string(),
            r#"{"a": {"@lang": "en", "b": "one", "c": {"i": 1}, "d": "x", "e": {}}}"#
        );
        assert!(parse(b"<a>", "xml").is_err());
    }

    #[test]
    fn what_is_refused_says_where() {
        for (bytes, format, expected) in [
            (b"{\n \"a\": }".as_slice(), "json", "expected value at line 2 column 7"),
            (
                b"a = 1\nb = \n",
                "toml",
                "string values must be quoted, expected literal string at line 2 column 5",
            ),
            (b"a: 1\nb: [", "yaml", "did not find expected node content at line 3 column 1"),
            (
                b"a,b\n1,2\n\"x\ny\",2\n3\n",
                "csv",
                "expected 2 cells as in the first line, found 1 at line 5 column 1",
            ),
            (b"a,b\n\"1,x\n2,y\n", "csv", "nothing closes this quote at line 2 column 1"),
            (b"a\nb\n\xff\n", "csv", "it is not valid UTF-8 at line 3 column 1"),
            (b"a\n\xff", "txt", "it is not valid UTF-8 at line 2 column 1"),
        ] {
            assert_eq!(parse(bytes, format).unwrap_err().to_string(), expected, "{format}");
        }
    }
}
