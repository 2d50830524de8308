//! How much memory something may take, as people write it.

use std::str::FromStr;

use bytesize::ByteSize;
use serde::de::{Deserialize, Deserializer, Error, Unexpected, Visitor};

/// What is less holds nothing: it was meant as MiB.
const MIN: u64 = 1 << 20;
const MAX: u64 = 1 << 50;
const EXPECTED: &str = "bytes from 1 MiB to 1 PiB, or a text such as `512MiB`";

/// Bytes from a MiB to a PiB: a whole number, or a text with a unit: `512MiB` (1024 each) or `512MB` (1000).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MemoryBytes(u64);

impl MemoryBytes {
    /// So many bytes, if they are within the bounds.
    pub fn new(bytes: u64) -> Option<Self> {
        (MIN..=MAX).contains(&bytes).then_some(Self(bytes))
    }

    /// The bytes.
    pub fn get(self) -> u64 {
        self.0
    }
}

impl Default for MemoryBytes {
    /// What an edge may take that is not told: 256 MiB.
    fn default() -> Self {
        Self(256 << 20)
    }
}

impl FromStr for MemoryBytes {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        // In the environment it may be written as in TOML.
        text.replace('_', "")
            .parse::<ByteSize>()
            .ok()
            .and_then(|size| Self::new(size.as_u64()))
            .ok_or_else(|| format!("{EXPECTED}, are expected"))
    }
}

impl<'de> Deserialize<'de> for MemoryBytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Reader)
    }
}

struct Reader;

impl Visitor<'_> for Reader {
    type Value = MemoryBytes;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(EXPECTED)
    }

    fn visit_u64<E: Error>(self, bytes: u64) -> Result<MemoryBytes, E> {
        MemoryBytes::new(bytes).ok_or_else(|| E::invalid_value(Unexpected::Unsigned(bytes), &self))
    }

    fn visit_i64<E: Error>(self, bytes: i64) -> Result<MemoryBytes, E> {
        match u64::try_from(bytes) {
            Ok(bytes) => self.visit_u64(bytes),
            Err(_) => Err(E::invalid_value(Unexpected::Signed(bytes), &self)),
        }
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<MemoryBytes, E> {
        text.parse().map_err(|_| E::invalid_value(Unexpected::Str(text), &self))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_has_a_unit_or_is_of_bytes() {
        let rows = [
            ("1048576", Some(1 << 20)),
            ("1GiB", Some(1 << 30)),
            ("1G", Some(1_000_000_000)),
            ("268_435_456", Some(256 << 20)),
            ("512 MiB", Some(512 << 20)),
            ("1.5gib", Some(3 << 29)),
            ("2GB", Some(2_000_000_000)),
            ("1048575", None),
            ("256", None),
            ("2PiB", None),
            ("99999999999999999999999", None),
            ("-1GiB", None),
            ("NaN", None),
            ("infMiB", None),
            ("GiB", None),
            ("1 giraffe", None),
            ("", None),
        ];
        for (text, bytes) in rows {
            assert_eq!(text.parse().map(MemoryBytes::get).ok(), bytes, "{text}");
            let read = toml::Value::String(text.into()).try_into().map(MemoryBytes::get);
            assert_eq!(read.ok(), bytes, "{text}");
        }
        let read = |number| toml::Value::Integer(number).try_into().map(MemoryBytes::get);
        assert_eq!(read(1 << 30).unwrap(), 1 << 30);
        for wrong in [-1, 0, 256, i64::MAX] {
            assert!(read(wrong).unwrap_err().to_string().contains("such as `512MiB`"), "{wrong}");
        }
    }
}
