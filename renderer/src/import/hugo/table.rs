//! Settings and front matter in the three formats that Hugo reads, as one: tables without what is empty.

use std::collections::BTreeSet;
use std::fmt;

use serde::de::{
    Deserialize, Deserializer, EnumAccess, Error, IgnoredAny, MapAccess, SeqAccess, VariantAccess, Visitor,
};
use toml::{Table, Value};

/// A table by the end of a file's name; the error is in the words of the format's parser.
pub(super) fn read(extension: &str, text: &str) -> Result<Table, String> {
    match extension {
        "yaml" | "yml" => match serde_norway::from_str(text).map_err(|e| e.to_string())? {
            Loose(None) => Ok(Table::new()),
            value => value.table(),
        },
        "json" => serde_json::from_str::<Loose>(text).map_err(|e| e.to_string())?.table(),
        _ => toml::from_str(text).map_err(|e| e.message().to_owned()),
    }
}

/// A value of YAML or JSON, or `None`: a key without a value means nothing to Hugo, and TOML has none.
pub(super) struct Loose(Option<Value>);

impl Loose {
    pub(super) fn table(self) -> Result<Table, String> {
        match self.0 {
            Some(Value::Table(table)) => Ok(table),
            _ => Err("it is no table".to_owned()),
        }
    }
}

impl<'de> Deserialize<'de> for Loose {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(LooseVisitor).map(Self)
    }
}

struct LooseVisitor;

impl<'de> Visitor<'de> for LooseVisitor {
    type Value = Option<Value>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(None)
    }

    /// A file of YAML without anything in it.
    fn visit_none<E>(self) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_bool<E>(self, flag: bool) -> Result<Self::Value, E> {
        Ok(Some(flag.into()))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Self::Value, E> {
        Ok(Some(number.into()))
    }

    #[expect(clippy::cast_precision_loss, reason = "TOML has no larger integers")]
    fn visit_u64<E>(self, number: u64) -> Result<Self::Value, E> {
        Ok(Some(i64::try_from(number).map_or_else(|_| Value::from(number as f64), Value::from)))
    }

    #[expect(clippy::cast_precision_loss, reason = "TOML has no larger integers")]
    fn visit_u128<E>(self, number: u128) -> Result<Self::Value, E> {
        Ok(Some(Value::from(number as f64)))
    }

    #[expect(clippy::cast_precision_loss, reason = "TOML has no larger integers")]
    fn visit_i128<E>(self, number: i128) -> Result<Self::Value, E> {
        Ok(Some(Value::from(number as f64)))
    }

    fn visit_f64<E>(self, number: f64) -> Result<Self::Value, E> {
        Ok(Some(number.into()))
    }

    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Some(text.into()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
        let mut values = Vec::new();
        while let Some(Loose(value)) = list.next_element()? {
            values.extend(value);
        }
        Ok(Some(Value::Array(values)))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let (mut table, mut seen) = (Table::new(), BTreeSet::new());
        while let Some((Loose(key), Loose(value))) = map.next_entry()? {
            let Some(key) = key.as_ref().and_then(text) else { continue };
            if !seen.insert(key.clone()) {
                return Err(A::Error::custom(format_args!("the key `{key}` is there twice")));
            }
            if let Some(value) = value {
                table.insert(key, value);
            }
        }
        Ok(Some(Value::Table(table)))
    }

    /// A value with a tag of YAML.
    fn visit_enum<A: EnumAccess<'de>>(self, tagged: A) -> Result<Self::Value, A::Error> {
        let (_, value) = tagged.variant::<IgnoredAny>()?;
        value.newtype_variant().map(|Loose(value)| value)
    }
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
        for number in ["18446744073709551615", "99999999999999999999", "-99999999999999999999"] {
            let read = read("yaml", &format!("a: {number}\n")).unwrap();
            assert_eq!(read["a"].as_float(), number.parse().ok(), "{number}");
        }
        assert_eq!(read("yaml", "a: !tag 1\nb: !tag [x]\n").unwrap().len(), 2);
        assert!(read("yaml", "- a\n").is_err() && read("toml", "a").is_err());
        assert_eq!(find(&expected, "C.D"), Some(&Value::Boolean(true)));
    }

    #[test]
    fn no_key_is_there_twice() {
        for (format, text) in [
            ("toml", "[a]\nb = 1\nb = 2\n"),
            ("yaml", "a:\n  b: 1\n  b: 2\n"),
            ("yaml", "1: x\n\"1\": y\n"),
            ("yaml", "a: {b: 1, b: }\n"),
            ("json", r#"{"a": {"b": 1, "b": 2}}"#),
            ("json", r#"{"a": null, "a": 2}"#),
        ] {
            let problem = read(format, text).unwrap_err();
            assert!(["twice", "duplicate"].iter().any(|word| problem.contains(word)), "{format}: {problem}");
        }
        // YAML and JSON say where.
        let problem = read("json", "{\"a\": 1,\n\"a\": 2}").unwrap_err();
        assert_eq!(problem, "the key `a` is there twice at line 2 column 7");
    }
}
