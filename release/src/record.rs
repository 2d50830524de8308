//! The record of a release: what it is made of, and who made it from what.

use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::Digest;

/// Bytes of the largest release record that is read.
pub const RELEASE_BYTES_MAX: u64 = 256 << 10;

/// Names a release: its time to the second and a few digits of a digest, so that names sort by age:
/// `20261123-181500-3f2a9c01`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ReleaseId(String);

/// A text that is not the name of a release.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a release: a name such as `20261123-181500-3f2a9c01` is expected")]
pub struct NotARelease(String);

impl TryFrom<String> for ReleaseId {
    type Error = NotARelease;

    fn try_from(text: String) -> Result<Self, NotARelease> {
        let shape = |(i, b): (usize, u8)| match i {
            8 | 15 => b == b'-',
            0..15 => b.is_ascii_digit(),
            _ => matches!(b, b'0'..=b'9' | b'a'..=b'f'),
        };
        if text.len() == 24 && text.bytes().enumerate().all(shape) {
            Ok(Self(text))
        } else {
            Err(NotARelease(text.chars().take(80).collect()))
        }
    }
}

impl FromStr for ReleaseId {
    type Err = NotARelease;

    fn from_str(text: &str) -> Result<Self, NotARelease> {
        text.to_owned().try_into()
    }
}

impl From<ReleaseId> for String {
    fn from(id: ReleaseId) -> Self {
        id.0
    }
}

impl fmt::Display for ReleaseId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl ReleaseId {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// How many there are of what, for people.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Paths in the manifest.
    pub paths: u64,
    /// Of these, pages and sections.
    pub pages: u64,
    /// Bytes of all content without codings.
    pub bytes: u64,
}

/// What made a release come about. A rollback holds back all but [`Trigger::Manual`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind", content = "name")]
pub enum Trigger {
    /// Someone said so: `bake publish`, or the API.
    Manual,
    /// A file was saved.
    Watch,
    /// The process started.
    Start,
    /// A schedule fired; its name.
    Schedule(String),
    /// A page's `date` or `expiry_date` came.
    Due,
}

impl fmt::Display for Trigger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Manual => f.write_str("publish"),
            Self::Watch => f.write_str("watch"),
            Self::Start => f.write_str("start"),
            Self::Schedule(name) => write!(f, "schedule {name}"),
            Self::Due => f.write_str("due page"),
        }
    }
}

/// The record of a release, `releases/<id>`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Release {
    /// Version of this encoding: 1.
    pub version: u32,
    /// Root of the manifest.
    pub root: Digest,
    /// Root of the tree of hashed assets of this and earlier releases.
    pub assets: Digest,
    /// Root of the tree of files that the release was rendered from, its data among them.
    pub sources: Digest,
    /// The release that was active when this one was made.
    pub parent: Option<ReleaseId>,
    /// Host names the site answers to; empty where it answers to any.
    pub hosts: Vec<String>,
    /// The render's time, which is what `now()` gave.
    pub created: Timestamp,
    /// Who made it.
    pub author: String,
    /// Why.
    pub message: String,
    /// What made it come about.
    pub trigger: Trigger,
    /// How many paths, pages, bytes.
    pub counts: Counts,
    /// Version of the renderer.
    pub renderer: String,
    /// When it should be rendered again because a page falls due or expires.
    pub next_change: Option<Timestamp>,
}

/// A release record that cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// Not the JSON that it should be.
    #[error("the record is damaged: {0}")]
    Damaged(#[from] serde_json::Error),
    /// Written by a later version.
    #[error("the record has version {0}, and this program reads version 1")]
    Version(u32),
}

impl Release {
    /// The version that is written.
    pub const VERSION: u32 = 1;

    /// The record's bytes.
    pub fn encode(&self) -> Vec<u8> {
        // Strings, numbers and lists only: nothing in it can fail to be JSON.
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// Reads a record.
    ///
    /// # Errors
    /// Where it is damaged, or of a later version.
    pub fn decode(bytes: &[u8]) -> Result<Self, RecordError> {
        check_version(bytes)?;
        Ok(serde_json::from_slice(bytes)?)
    }

    /// The release's name: a function of the record, so that writing it twice is writing it once.
    pub fn id(&self) -> ReleaseId {
        let created = self.created.strftime("%Y%m%d-%H%M%S");
        let digest = Digest::of(&self.encode()).to_string();
        ReleaseId(format!("{created}-{}", &digest[..8]))
    }
}

/// Reads the `version` of a JSON object before anything else of it.
pub(crate) fn check_version(bytes: &[u8]) -> Result<(), RecordError> {
    #[derive(Deserialize)]
    struct Versioned {
        version: u32,
    }
    let Versioned { version } = serde_json::from_slice(bytes)?;
    if version == 1 { Ok(()) } else { Err(RecordError::Version(version)) }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn sample() -> Release {
        Release {
            version: 1,
            root: Digest::of(b"root"),
            assets: Digest::of(b"assets"),
            sources: Digest::of(b"sources"),
            parent: None,
            hosts: vec![],
            created: "2026-11-23T18:15:00.25Z".parse().unwrap(),
            author: "someone".into(),
            message: String::new(),
            trigger: Trigger::Schedule("hourly".into()),
            counts: Counts { paths: 3, pages: 1, bytes: 100 },
            renderer: "bake 0.1.0".into(),
            next_change: None,
        }
    }

    #[test]
    fn the_first_version_is_read_for_ever() {
        let text = include_str!("../fixtures/release-v1.json");
        assert_eq!(String::from_utf8(sample().encode()).unwrap(), text.trim_end());
        assert_eq!(Release::decode(text.trim_end().as_bytes()).unwrap(), sample());
    }

    #[test]
    fn later_versions_are_refused_by_name() {
        let error = Release::decode(br#"{"version":2}"#).unwrap_err();
        assert_eq!(error.to_string(), "the record has version 2, and this program reads version 1");
    }

    #[test]
    fn names_come_from_time_and_content() {
        let id = sample().id();
        assert!(id.as_str().starts_with("20261123-181500-"), "{id}");
        assert_eq!(id.as_str().parse::<ReleaseId>(), Ok(id));
        assert!("../../etc/passwd".parse::<ReleaseId>().is_err());
    }
}
