//! Data files of a site, by format, as template values.

use tera::{Map, Value};

use crate::value::{self, key, owned_key};

/// The formats that a template may name.
pub(crate) const FORMATS: &[&str] =
    &["toml", "json", "yaml", "yml", "csv", "xml", "bibtex", "bib", "plain", "text", "txt"];

/// How deep elements of an XML file may nest.
const XML_DEPTH_MAX: usize = 128;

/// Parses a data file. Unknown formats are text.
///
/// # Errors
/// What the format refuses.
pub(crate) fn parse(bytes: &[u8], format: &str) -> Result<Value, String> {
    let text = || {
        std::str::from_utf8(bytes)
            .map(|t| t.trim_start_matches('\u{feff}'))
            .map_err(|_| "it is not valid UTF-8".to_owned())
    };
    match format {
        "toml" => {
            let table: toml::Table = toml::from_str(text()?).map_err(|e| one_line(&e.to_string()))?;
            Ok(value::from_toml_table(&table))
        }
        "json" => {
            // Read straight into a value, since serde_json's own maps may not keep the order of keys.
            let parsed: serde_json::Value = serde_json::from_str(text()?).map_err(|e| e.to_string())?;
            Ok(value::from_json(&parsed))
        }
        "yaml" | "yml" => {
            let parsed: serde_norway::Value = serde_norway::from_str(text()?).map_err(|e| e.to_string())?;
            value::from_yaml(&parsed)
        }
        "csv" => csv(bytes),
        "xml" => xml(text()?),
        "bibtex" | "bib" => crate::bibtex::parse(text()?),
        _ => Ok(Value::from(text()?)),
    }
}

fn one_line(message: &str) -> String {
    message.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn csv(bytes: &[u8]) -> Result<Value, String> {
    let mut reader = csv::ReaderBuilder::new().trim(csv::Trim::None).from_reader(bytes);
    let row = |record: &csv::StringRecord| Value::from(record.iter().map(Value::from).collect::<Vec<_>>());
    let headers = row(reader.headers().map_err(|e| e.to_string())?);
    let mut records = Vec::new();
    for record in reader.records() {
        records.push(row(&record.map_err(|e| e.to_string())?));
    }
    let mut map = Map::new();
    map.insert(key("headers"), headers);
    map.insert(key("records"), Value::from(records));
    Ok(value::map(map))
}

/// An element: attributes as `@name`, text beside them as `#text`, children by name, several of one name as a list. What has
/// text has no children, and the names of elements are without their namespace.
#[derive(Default)]
struct Element {
    attributes: Vec<(String, Vec<Value>)>,
    children: Vec<(String, Vec<Value>)>,
    text: String,
}

impl Element {
    fn add(&mut self, name: String, value: Value) {
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

/// The name of an element without its namespace.
fn local(name: &str) -> String {
    name.rsplit_once(':').map_or(name, |(_, local)| local).to_owned()
}

fn xml(text: &str) -> Result<Value, String> {
    use quick_xml::events::Event;
    let mut reader = quick_xml::Reader::from_str(text);
    let mut open: Vec<(String, Element)> = vec![(String::new(), Element::default())];
    loop {
        let event = reader.read_event().map_err(|e| format!("at byte {}: {e}", reader.error_position()))?;
        match event {
            Event::Start(start) | Event::Empty(start) if open.len() > XML_DEPTH_MAX => {
                return Err(format!(
                    "`{}` is nested deeper than {XML_DEPTH_MAX} elements",
                    start.name().as_ref().to_owned()
                ));
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
                    element.text.push_str(&part);
                }
            }
            Event::GeneralRef(reference) => {
                let name: &str = &reference;
                let resolved = match reference.resolve_char_ref().map_err(|e| e.to_string())? {
                    Some(c) => c.to_string(),
                    None => quick_xml::escape::resolve_xml_entity(name).unwrap_or_default().to_owned(),
                };
                if let Some((_, element)) = open.last_mut() {
                    element.text.push_str(&resolved);
                }
            }
            Event::CData(part) => {
                if let Some((_, element)) = open.last_mut() {
                    element.text.push_str(&part);
                }
            }
            Event::Eof => break,
            _ => {}
        }
    }
    match (open.pop(), open.is_empty()) {
        (Some((_, root)), true) => Ok(root.finish()),
        (Some((name, _)), false) => Err(format!("the element `{name}` is not closed")),
        (None, _) => Err("there is no element".to_owned()),
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
        element.attributes.push((format!("@{name}"), vec![typed(&text)]));
    }
    Ok(element)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_format() {
        assert_eq!(parse(b"a = 2026-01-02", "toml").unwrap().to_string(), r#"{"a": "2026-01-02"}"#);
        assert_eq!(parse(br#"{"b": [1, null]}"#, "json").unwrap().to_string(), r#"{"b": [1, ]}"#);
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
        assert!(parse(b"{", "json").is_err());
        assert!(parse(b"<a>", "xml").is_err());
    }
}
