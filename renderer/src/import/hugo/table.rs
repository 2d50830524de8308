//! Settings and front matter in the three formats that Hugo reads, as one: tables without what is empty.

use serde_norway::Value as Yaml;
use toml::{Table, Value};

/// A table by the end of a file's name; the error is in the words of the format's parser.
pub(super) fn read(extension: &str, text: &str) -> Result<Table, String> {
    match extension {
        "yaml" | "yml" => match serde_norway::from_str(text).map_err(|e| e.to_string())? {
            Yaml::Null => Ok(Table::new()),
            value => table(from_yaml(value)),
        },
        "json" => table(from_json(serde_json::from_str(text).map_err(|e| e.to_string())?)),
        _ => toml::from_str(text).map_err(|e| e.message().to_owned()),
    }
}

fn table(value: Option<Value>) -> Result<Table, String> {
    match value {
        Some(Value::Table(table)) => Ok(table),
        _ => Err("it is no table".to_owned()),
    }
}

/// A key without a value means nothing to Hugo, and TOML has none.
fn from_yaml(value: Yaml) -> Option<Value> {
    Some(match value {
        Yaml::Null => return None,
        Yaml::Bool(flag) => flag.into(),
        Yaml::Number(number) => match (number.as_i64(), number.as_f64()) {
            (Some(integer), _) => integer.into(),
            (None, Some(float)) => float.into(),
            (None, None) => number.to_string().into(),
        },
        Yaml::String(text) => text.into(),
        Yaml::Sequence(list) => Value::Array(list.into_iter().filter_map(from_yaml).collect()),
        Yaml::Mapping(mapping) => {
            let entry = |(key, value): (Yaml, Yaml)| Some((text(&from_yaml(key)?)?, from_yaml(value)?));
            Value::Table(mapping.into_iter().filter_map(entry).collect())
        }
        Yaml::Tagged(tagged) => return from_yaml(tagged.value),
    })
}

pub(super) fn from_json(value: serde_json::Value) -> Option<Value> {
    use serde_json::Value as Json;
    Some(match value {
        Json::Null => return None,
        Json::Bool(flag) => flag.into(),
        Json::Number(number) => match (number.as_i64(), number.as_f64()) {
            (Some(integer), _) => integer.into(),
            (None, Some(float)) => float.into(),
            (None, None) => number.to_string().into(),
        },
        Json::String(text) => text.into(),
        Json::Array(list) => Value::Array(list.into_iter().filter_map(from_json).collect()),
        Json::Object(object) => {
            let entry = |(key, value)| Some((key, from_json(value)?));
            Value::Table(object.into_iter().filter_map(entry).collect())
        }
    })
}

/// One value as a text, as Hugo reads a number where it wants a text.
pub(super) fn text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Integer(number) => Some(number.to_string()),
        Value::Float(number) => Some(number.to_string()),
        Value::Boolean(flag) => Some(flag.to_string()),
        Value::Datetime(date) => Some(date.to_string()),
        Value::Array(_) | Value::Table(_) => None,
    }
}

/// Texts of a list, or of one value that stands for a list of one.
pub(super) fn texts(value: &Value) -> Vec<String> {
    match value {
        Value::Array(list) => list.iter().filter_map(text).collect(),
        one => text(one).into_iter().collect(),
    }
}

/// Takes a key, whatever the case of its letters: they have none for Hugo.
pub(super) fn take(table: &mut Table, name: &str) -> Option<Value> {
    let key = table.keys().find(|key| key.eq_ignore_ascii_case(name))?.clone();
    table.remove(&key)
}

/// Looks up a key in tables within tables: `markup.goldmark.renderer.unsafe`.
pub(super) fn find<'a>(table: &'a Table, path: &str) -> Option<&'a Value> {
    let (name, rest) = path.split_once('.').map_or((path, None), |(name, rest)| (name, Some(rest)));
    let (_, value) = table.iter().find(|(key, _)| key.eq_ignore_ascii_case(name))?;
    match rest {
        None => Some(value),
        Some(rest) => find(value.as_table()?, rest),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_empty_is_left_out() {
        let expected: Table = toml::from_str("a = 1\nb = [\"x\"]\nc = { d = true }\n2024 = \"y\"").unwrap();
        let yaml = "a: 1\nb: [x, ~]\nc: {d: true, e: }\nnone:\n2024: y\n";
        assert_eq!(read("yaml", yaml).unwrap(), expected);
        let json = r#"{"a": 1, "b": ["x", null], "c": {"d": true, "e": null}, "none": null, "2024": "y"}"#;
        assert_eq!(read("json", json).unwrap(), expected);
        assert_eq!(read("yml", "").unwrap(), Table::new());
        assert!(read("yaml", "- a\n").is_err() && read("toml", "a").is_err());
        assert_eq!(find(&expected, "C.D"), Some(&Value::Boolean(true)));
    }
}
