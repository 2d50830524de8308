//! The file of one object: its bytes, then what is known about them, in one file, so that one `link` or `rename`
//! publishes both and no crash can part them.
//!
//! ```text
//! body │ meta (JSON) │ length of meta (u32, little endian) │ "BAKEOBJ1"
//! ```
//! The meta comes last because the digest of the body is known only when the body has passed. Readers of this
//! layout stay when another one comes; the last eight bytes say which it is.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::fs::FileExt as _;

use serde::{Deserialize, Serialize};

const MAGIC: &[u8; 8] = b"BAKEOBJ1";
const FOOTER_BYTES: usize = 4 + MAGIC.len();
/// Above any meta that a request's header can carry (64 KiB, escaped as JSON).
const META_BYTES_MAX: usize = 512 * 1024;
/// Read at the end of a file in the hope that the meta is all in it: it mostly is some 200 bytes.
const TAIL_BYTES: usize = 2048;

/// What an object is, beside its bytes.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Meta {
    /// Without quotes: MD5 in hex, with `-N` after it for an object of N parts.
    pub(super) etag: String,
    /// When the write was committed, in milliseconds since 1970.
    pub(super) modified_ms: i64,
    #[serde(flatten)]
    pub(super) fields: Fields,
    /// Base64, by algorithm in lower case (`crc32`, `sha256`, …): what the writer sent and we verified.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) checksums: BTreeMap<String, String>,
}

/// What the writer said about an object, and gets back as it was.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Fields {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) content_type: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) cache_control: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) content_disposition: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) content_encoding: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) content_language: Option<String>,
    /// Milliseconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) expires_ms: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) website_redirect_location: Option<String>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) user: BTreeMap<String, String>,
}

impl Meta {
    /// The bytes that follow the body.
    pub(super) fn to_tail(&self) -> io::Result<Vec<u8>> {
        let mut tail = serde_json::to_vec(self).map_err(io::Error::other)?;
        let length = u32::try_from(tail.len()).map_err(io::Error::other)?;
        tail.extend_from_slice(&length.to_le_bytes());
        tail.extend_from_slice(MAGIC);
        Ok(tail)
    }
}

/// An object that was opened: it stays what it was when opened, whatever happens to its name.
#[derive(Debug)]
pub(super) struct Object {
    pub(super) file: File,
    /// Bytes of the body.
    pub(super) size: u64,
    pub(super) meta: Meta,
    /// The body, if it came along with the meta.
    pub(super) body: Option<Vec<u8>>,
}

impl Object {
    /// Reads the meta of an open file, and the body with it where the whole is not above `whole_bytes_max`.
    pub(super) fn read(mut file: File, whole_bytes_max: u64) -> io::Result<Self> {
        let length = file.metadata()?.len();
        if length <= whole_bytes_max.max(TAIL_BYTES as u64) {
            let mut whole = Vec::with_capacity(length as usize + 1);
            file.read_to_end(&mut whole)?;
            let (size, meta) =
                parse_tail(&whole, whole.len() as u64)?.map_err(|_| damaged("is cut short"))?;
            whole.truncate(size as usize);
            return Ok(Self { file, size, meta, body: Some(whole) });
        }
        let mut tail = vec![0; TAIL_BYTES];
        file.read_exact_at(&mut tail, length - TAIL_BYTES as u64)?;
        let (size, meta) = match parse_tail(&tail, length)? {
            Ok(found) => found,
            Err(needed) => {
                let needed = needed.min(length as usize);
                tail.resize(needed, 0);
                file.read_exact_at(&mut tail, length - needed as u64)?;
                parse_tail(&tail, length)?.map_err(|_| damaged("is cut short"))?
            }
        };
        Ok(Self { file, size, meta, body: None })
    }
}

fn damaged(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("not an object's file: {what}"))
}

/// The size of the body and the meta, or how many bytes of the tail are needed for that.
fn parse_tail(tail: &[u8], file_bytes: u64) -> io::Result<Result<(u64, Meta), usize>> {
    let Some((before, footer)) = tail.split_last_chunk::<FOOTER_BYTES>() else {
        return Err(damaged("shorter than its footer"));
    };
    let (length, magic) = footer.split_at(4);
    if magic != MAGIC {
        return Err(damaged("its last bytes are not ours"));
    }
    let length = u32::from_le_bytes(length.try_into().map_err(io::Error::other)?) as usize;
    if length > META_BYTES_MAX || (length + FOOTER_BYTES) as u64 > file_bytes {
        return Err(damaged("its meta is longer than possible"));
    }
    if length > before.len() {
        return Ok(Err(length + FOOTER_BYTES));
    }
    let meta = serde_json::from_slice(&before[before.len() - length..]).map_err(io::Error::other)?;
    Ok(Ok((file_bytes - (length + FOOTER_BYTES) as u64, meta)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Seek as _, Write as _};

    fn file(body: &[u8], meta: &Meta) -> File {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(body).unwrap();
        file.write_all(&meta.to_tail().unwrap()).unwrap();
        file.rewind().unwrap();
        file
    }

    #[test]
    fn what_was_written_is_read() {
        for body in [0_usize, 1, 2000, 100_000] {
            for user in [0_usize, 10, 3000] {
                let mut meta = Meta { etag: "e".to_owned(), modified_ms: 5, ..Meta::default() };
                meta.fields.user.insert("k".to_owned(), "v".repeat(user));
                let body = vec![7; body];
                for whole_max in [0, 1 << 20] {
                    let object = Object::read(file(&body, &meta), whole_max).unwrap();
                    assert_eq!(object.meta, meta);
                    assert_eq!(object.size, body.len() as u64);
                    if let Some(read) = object.body {
                        assert_eq!(read, body);
                    }
                }
            }
        }
    }

    #[test]
    fn another_file_is_refused() {
        for content in
            [&b""[..], b"short", b"a long enough file of another program", b"\xff\xff\xff\xffBAKEOBJ1"]
        {
            let mut file = tempfile::tempfile().unwrap();
            file.write_all(content).unwrap();
            file.rewind().unwrap();
            assert!(Object::read(file, 1 << 20).is_err());
        }
    }
}
