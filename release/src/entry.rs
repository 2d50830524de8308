//! What a path serves.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::{Digest, encode};

/// The size of the pieces in which large content is verified, in bytes: content up to this size is
/// verified whole before its first byte is sent, larger content piece by piece.
pub const CHUNK_BYTES: u64 = 1 << 20;

/// What a path serves: everything of a response but what depends on the request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Status code of the response.
    pub status: u16,
    /// Fields of the response that belong to the content; lower-case names, sorted.
    pub fields: Vec<(String, String)>,
    /// The content with its codings.
    pub content: Content,
    /// Cache groups (RFC 9875), sorted.
    pub groups: Vec<String>,
    /// How long the response may be kept; most of a site's have the same.
    pub policy: Arc<Policy>,
}

/// How long a response may be kept, and by whom.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Policy {
    /// `Cache-Control` for browsers and foreign caches (RFC 9111 §5.2).
    pub browser: String,
    /// `Bakehouse-Cache-Control` for our own edges, which hear the journal (RFC 9213).
    pub edge: String,
}

/// The bytes of an entry: one blob that holds every coding, one after another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Content {
    /// Names the blob: the digest of all its codings together.
    pub blob: Digest,
    /// The codings. The first is `identity`, and always there.
    pub identity: Coding,
    /// Codings that save something, smallest first.
    pub coded: Vec<Coding>,
}

/// Content under one content coding (RFC 9110 §8.4.1).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Coding {
    /// Which coding.
    pub name: CodingName,
    /// Where it begins in the blob, in bytes.
    pub offset: u64,
    /// How many bytes it has.
    pub length: u64,
    /// Digest of these bytes; in quotes it is the strong `ETag`.
    pub digest: Digest,
    /// Digests of its pieces of [`CHUNK_BYTES`] (the last may be shorter); empty where the whole is
    /// no longer than that.
    pub chunks: Vec<Digest>,
}

/// The content codings we make.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CodingName {
    /// The bytes as they are.
    Identity,
    /// Brotli (RFC 7932).
    Br,
    /// Zstandard (RFC 8878).
    Zstd,
    /// Gzip (RFC 1952).
    Gzip,
}

impl CodingName {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Identity, Self::Br, Self::Zstd, Self::Gzip];

    /// The registered name (RFC 9110 §8.4.1).
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Identity => "identity",
            Self::Br => "br",
            Self::Zstd => "zstd",
            Self::Gzip => "gzip",
        }
    }
}

impl fmt::Display for CodingName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for CodingName {
    type Err = ();

    /// Reads a registered name, in any case; `x-gzip` means `gzip` (RFC 9110 §8.4.1.3).
    fn from_str(text: &str) -> Result<Self, ()> {
        if text.eq_ignore_ascii_case("x-gzip") {
            return Ok(Self::Gzip);
        }
        Self::ALL.into_iter().find(|name| text.eq_ignore_ascii_case(name.as_str())).ok_or(())
    }
}

impl Coding {
    /// Describes `bytes`, which lie at `offset` of their blob.
    pub fn of(name: CodingName, offset: u64, bytes: &[u8]) -> Self {
        let length = bytes.len() as u64;
        let chunks = if length > CHUNK_BYTES {
            bytes.chunks(CHUNK_BYTES as usize).map(Digest::of).collect()
        } else {
            Vec::new()
        };
        Self { name, offset, length, digest: Digest::of(bytes), chunks }
    }

    /// The strong `ETag`: the digest in quotes (RFC 9110 §8.8.3).
    pub fn etag(&self) -> String {
        format!("\"{}\"", self.digest)
    }
}

impl Content {
    /// All codings, `identity` first.
    pub fn codings(&self) -> impl Iterator<Item = &Coding> {
        std::iter::once(&self.identity).chain(&self.coded)
    }

    /// Bytes of the whole blob.
    pub fn length(&self) -> u64 {
        self.codings().map(|c| c.length).sum()
    }
}

/// What an entry answers at a path. Content codings are no part of it: they are a way of sending the
/// same content, and depend on the version of a compressor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Response<'a> {
    /// The path.
    pub path: &'a str,
    /// Status code.
    pub status: u16,
    /// Fields that belong to the content; lower-case names, sorted.
    pub fields: &'a [(String, String)],
    /// Digest of the content without any coding.
    pub content: Digest,
    /// Cache groups, sorted.
    pub groups: &'a [String],
    /// How long it may be kept.
    pub policy: &'a Policy,
}

impl Response<'_> {
    /// Digest of all of it: what a manifest's nodes say that they serve rests on this.
    pub fn digest(&self) -> Digest {
        Digest::of(&encode::append(Vec::with_capacity(512), self))
    }
}

impl Entry {
    /// What the entry answers at `path`.
    pub fn response<'a>(&'a self, path: &'a str) -> Response<'a> {
        Response {
            path,
            status: self.status,
            fields: &self.fields,
            content: self.content.identity.digest,
            groups: &self.groups,
            policy: &self.policy,
        }
    }

    /// Whether both answer a request alike, whatever content codings they have.
    pub fn same_response(&self, other: &Self) -> bool {
        self.response("") == other.response("")
    }

    /// The first value of the field `name` (lower-case).
    pub fn field(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_content_has_a_digest_for_each_piece() {
        let bytes = vec![7u8; CHUNK_BYTES as usize + 1];
        let coding = Coding::of(CodingName::Identity, 0, &bytes);
        assert_eq!(coding.chunks, [Digest::of(&bytes[1..]), Digest::of(&bytes[..1])]);
        assert!(Coding::of(CodingName::Identity, 0, &bytes[1..]).chunks.is_empty());
    }

    #[test]
    fn names_are_read_in_any_case() {
        assert_eq!("GZip".parse(), Ok(CodingName::Gzip));
        assert_eq!("x-gzip".parse(), Ok(CodingName::Gzip));
        assert_eq!("deflate".parse::<CodingName>(), Err(()));
    }
}
