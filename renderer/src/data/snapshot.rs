//! What a source gave, recorded: the same rows always have the same bytes.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::error::DataError;

/// Version of the encoding, written first. A reader refuses what is newer than itself.
const VERSION: u32 = 1;

/// Rows of one source, in the order in which the source gave them. Each is a JSON object.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Snapshot {
    rows: Vec<Map<String, Value>>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Record<R> {
    version: u32,
    rows: R,
}

#[derive(Deserialize)]
struct VersionOnly {
    version: u32,
}

impl Snapshot {
    /// A snapshot of these rows.
    #[must_use]
    pub fn new(rows: Vec<Map<String, Value>>) -> Self {
        Self { rows }
    }

    /// The rows.
    #[must_use]
    pub fn rows(&self) -> &[Map<String, Value>] {
        &self.rows
    }

    /// How many rows there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there is no row. An empty source is a good one: a table may be empty.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The rows as templates get them: an array of objects.
    #[must_use]
    pub fn to_value(&self) -> Value {
        Value::Array(self.rows.iter().cloned().map(Value::Object).collect())
    }

    /// The canonical encoding: JSON, a line a row so that a diff of two records can be read, keys sorted.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = format!("{{\"version\":{VERSION},\"rows\":[").into_bytes();
        for (index, row) in self.rows.iter().enumerate() {
            out.extend_from_slice(if index == 0 { b"\n" } else { b",\n" });
            write_object(row, &mut out);
        }
        out.extend_from_slice(b"\n]}\n");
        out
    }

    /// Reads what [`Self::to_bytes`] wrote.
    ///
    /// # Errors
    /// [`DataError::Snapshot`] for bytes that are not such a record, or one of a newer version.
    pub fn from_bytes(name: &str, bytes: &[u8]) -> Result<Self, DataError> {
        let failed = |problem: String| DataError::Snapshot { name: name.to_owned(), problem };
        let VersionOnly { version } =
            serde_json::from_slice(bytes).map_err(|error| failed(error.to_string()))?;
        if version != VERSION {
            return Err(failed(format!(
                "version {version} is not known to this program, which reads {VERSION}"
            )));
        }
        let record: Record<Vec<Map<String, Value>>> =
            serde_json::from_slice(bytes).map_err(|error| failed(error.to_string()))?;
        Ok(Self { rows: record.rows })
    }
}

/// Keys are sorted here and not by trust in the map: another crate of the build may switch serde_json's maps to
/// insertion order, and the digest of a record must not depend on that.
fn write_object(object: &Map<String, Value>, out: &mut Vec<u8>) {
    let sorted: BTreeMap<&String, &Value> = object.iter().collect();
    out.push(b'{');
    for (index, (key, value)) in sorted.into_iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        out.extend_from_slice(Value::String(key.clone()).to_string().as_bytes());
        out.push(b':');
        write_value(value, out);
    }
    out.push(b'}');
}

fn write_value(value: &Value, out: &mut Vec<u8>) {
    match value {
        Value::Object(object) => write_object(object, out),
        Value::Array(items) => {
            out.push(b'[');
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    out.push(b',');
                }
                write_value(item, out);
            }
            out.push(b']');
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {
            out.extend_from_slice(value.to_string().as_bytes());
        }
    }
}

/// Where the data of the source `name` is recorded among a release's sources.
#[must_use]
pub fn record_path(name: &str) -> String {
    format!(".bakehouse/data/{name}.json")
}

/// All data of a render: what templates see as `data.NAME`.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct DataSet {
    snapshots: BTreeMap<String, Snapshot>,
}

impl DataSet {
    /// No data.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the data of a source and returns what it had.
    pub fn insert(&mut self, name: impl Into<String>, snapshot: Snapshot) -> Option<Snapshot> {
        self.snapshots.insert(name.into(), snapshot)
    }

    /// The data of a source.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Snapshot> {
        self.snapshots.get(name)
    }

    /// All sources, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Snapshot)> {
        self.snapshots.iter().map(|(name, snapshot)| (name.as_str(), snapshot))
    }

    /// How many sources there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.snapshots.len()
    }

    /// Whether there is no source.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.snapshots.is_empty()
    }

    /// The object that templates get as `data`: name → array of rows.
    #[must_use]
    pub fn to_value(&self) -> Value {
        Value::Object(self.iter().map(|(name, snapshot)| (name.to_owned(), snapshot.to_value())).collect())
    }
}

impl FromIterator<(String, Snapshot)> for DataSet {
    fn from_iter<I: IntoIterator<Item = (String, Snapshot)>>(items: I) -> Self {
        Self { snapshots: items.into_iter().collect() }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn snapshot() -> Snapshot {
        let rows = json!([{"b": 1, "a": "x\n\u{2028}"}, {"c": [null, 1.5, {"z": true, "y": -1}]}, {}]);
        Snapshot::new(rows.as_array().unwrap().iter().map(|row| row.as_object().unwrap().clone()).collect())
    }

    #[test]
    fn the_encoding_is_fixed_and_read_back() {
        let bytes = snapshot().to_bytes();
        assert_eq!(
            String::from_utf8(bytes.clone()).unwrap(),
            "{\"version\":1,\"rows\":[\n{\"a\":\"x\\n\u{2028}\",\"b\":1},\n{\"c\":[null,1.5,{\"y\":-1,\"z\":true}]},\n{}\n]}\n"
        );
        assert_eq!(Snapshot::from_bytes("x", &bytes).unwrap(), snapshot());
        let empty = Snapshot::default();
        assert_eq!(Snapshot::from_bytes("x", &empty.to_bytes()).unwrap(), empty);
    }

    #[test]
    fn what_is_no_record_is_refused() {
        for bad in [
            "",
            "{}",
            "[]",
            "{\"version\":1}",
            "{\"version\":1,\"rows\":[1]}",
            "{\"version\":1,\"rows\":[],\"x\":1}",
        ] {
            let error = Snapshot::from_bytes("news", bad.as_bytes()).unwrap_err();
            assert!(error.to_string().starts_with("recorded data of source `news`: "), "{bad}: {error}");
        }
        let newer = Snapshot::from_bytes("news", b"{\"version\":2,\"lines\":7}").unwrap_err();
        assert!(newer.to_string().contains("version 2 is not known"), "{newer}");
    }

    #[test]
    fn templates_get_rows_by_name() {
        let set: DataSet = [("news".to_owned(), snapshot()), ("empty".to_owned(), Snapshot::default())]
            .into_iter()
            .collect();
        assert_eq!(set.to_value()["news"][0]["b"], json!(1));
        assert_eq!(set.to_value()["empty"], json!([]));
        assert_eq!(record_path("news"), ".bakehouse/data/news.json");
    }
}
