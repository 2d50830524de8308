//! Values of TOML, YAML and JSON as template values, keys in the order they were written.

use std::borrow::Cow;
use std::fmt;
use std::sync::{Arc, LazyLock};

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use tera::value::Key;
use tera::{Map, Value};

/// How deep data may nest: templates walk it recursively, and the stack is finite.
pub(crate) const DEPTH_MAX: usize = 128;

/// A map as a value.
pub(crate) fn map(map: Map) -> Value {
    Value::from(map)
}

/// A key that is known when we are compiled: costs no allocation.
pub(crate) const fn key(name: &'static str) -> Key<'static> {
    Key::Str(name)
}

/// A key from data.
pub(crate) fn owned_key(name: &str) -> Key<'static> {
    Key::String(Arc::from(name))
}

/// TOML; dates become text, as templates expect them.
pub(crate) fn from_toml(value: &toml::Value) -> Value {
    match value {
        toml::Value::String(s) => Value::from(s.as_str()),
        toml::Value::Integer(i) => Value::from(*i),
        toml::Value::Float(f) => Value::from(*f),
        toml::Value::Boolean(b) => Value::from(*b),
        toml::Value::Datetime(d) => Value::from(d.to_string()),
        toml::Value::Array(list) => Value::from(list.iter().map(from_toml).collect::<Vec<_>>()),
        toml::Value::Table(table) => from_toml_table(table),
    }
}

/// A TOML table.
pub(crate) fn from_toml_table(table: &toml::Table) -> Value {
    map(table.iter().map(|(k, v)| (owned_key(k), from_toml(v))).collect())
}

/// The text of a JSON file: `serde_json`'s own values would sort its keys.
pub(crate) fn parse_json(text: &str) -> serde_json::Result<Value> {
    serde_json::from_str(text).map(|Json(value)| value)
}

struct Json(Value);

impl<'de> Deserialize<'de> for Json {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(JsonVisitor).map(Self)
    }
}

struct JsonVisitor;

impl<'de> Visitor<'de> for JsonVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::none())
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(i64::try_from(value).map_or_else(|_| Value::from(value), Value::from))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Value, A::Error> {
        let mut out = Vec::new();
        while let Some(Json(value)) = list.next_element()? {
            out.push(value);
        }
        Ok(Value::from(out))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut out = Map::new();
        while let Some((name, Json(value))) = entries.next_entry::<Cow<'de, str>, Json>()? {
            out.insert(owned_key(&name), value);
        }
        Ok(map(out))
    }
}

/// JSON that is parsed.
pub(crate) fn from_json(value: &serde_json::Value) -> Value {
    from_json_at(value, 0)
}

fn from_json_at(value: &serde_json::Value, depth: usize) -> Value {
    match value {
        serde_json::Value::Null => Value::none(),
        serde_json::Value::Bool(b) => Value::from(*b),
        serde_json::Value::Number(n) => match (n.as_i64(), n.as_u64(), n.as_f64()) {
            (Some(i), _, _) => Value::from(i),
            (_, Some(u), _) => Value::from(u),
            (_, _, Some(f)) => Value::from(f),
            _ => Value::from(n.to_string()),
        },
        serde_json::Value::String(s) => Value::from(s.as_str()),
        // serde_json itself stops at 128 levels; this holds for values made in other ways.
        _ if depth > DEPTH_MAX => Value::none(),
        serde_json::Value::Array(list) => {
            Value::from(list.iter().map(|v| from_json_at(v, depth + 1)).collect::<Vec<_>>())
        }
        serde_json::Value::Object(object) => {
            map(object.iter().map(|(k, v)| (owned_key(k), from_json_at(v, depth + 1))).collect())
        }
    }
}

/// YAML; keys that are no text are written as text.
///
/// # Errors
/// Maps with keys that are maps or lists, and nesting beyond any use.
pub(crate) fn from_yaml(value: &serde_norway::Value) -> Result<Value, String> {
    from_yaml_at(value, 0)
}

fn from_yaml_at(value: &serde_norway::Value, depth: usize) -> Result<Value, String> {
    use serde_norway::Value as Yaml;
    if depth > DEPTH_MAX {
        return Err(format!("data is nested deeper than {DEPTH_MAX} levels"));
    }
    Ok(match value {
        Yaml::Null => Value::none(),
        Yaml::Bool(b) => Value::from(*b),
        Yaml::Number(n) => match (n.as_i64(), n.as_u64(), n.as_f64()) {
            (Some(i), _, _) => Value::from(i),
            (_, Some(u), _) => Value::from(u),
            (_, _, Some(f)) => Value::from(f),
            _ => Value::from(n.to_string()),
        },
        Yaml::String(s) => Value::from(s.as_str()),
        Yaml::Sequence(list) => {
            Value::from(list.iter().map(|v| from_yaml_at(v, depth + 1)).collect::<Result<Vec<_>, _>>()?)
        }
        Yaml::Mapping(mapping) => {
            let mut out = Map::new();
            for (k, v) in mapping {
                let name = match k {
                    Yaml::String(s) => s.clone(),
                    Yaml::Bool(b) => b.to_string(),
                    Yaml::Number(n) => n.to_string(),
                    Yaml::Null => "null".to_owned(),
                    _ => return Err("a key is a list or a map".to_owned()),
                };
                out.insert(owned_key(&name), from_yaml_at(v, depth + 1)?);
            }
            map(out)
        }
        Yaml::Tagged(tagged) => from_yaml_at(&tagged.value, depth + 1)?,
    })
}

/// A field of a map value.
pub(crate) fn field<'a>(value: &'a Value, name: &'a str) -> Option<&'a Value> {
    value.as_map()?.get(&Key::Str(name))
}

/// An empty map: the same for all, as most pages have one.
pub(crate) fn empty() -> Value {
    static EMPTY: LazyLock<Value> = LazyLock::new(|| map(Map::new()));
    EMPTY.clone()
}
