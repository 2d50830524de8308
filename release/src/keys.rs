//! Where everything lies in a bucket.

use crate::{Digest, ReleaseId};

/// The name of a site: a segment of keys, and of cache keys.
///
/// 1 to 63 of lower-case letters, digits, `-` and `.`, beginning with a letter or digit.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Site(String);

/// A text that cannot be the name of a site.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` cannot be a site's name: 1 to 63 of a-z, 0-9, `-` and `.` are expected, beginning with a letter or digit"
)]
pub struct BadSite(String);

impl TryFrom<String> for Site {
    type Error = BadSite;

    fn try_from(name: String) -> Result<Self, BadSite> {
        let allowed = |b: u8| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.');
        let good = (1..=63).contains(&name.len())
            && name.bytes().all(allowed)
            && name.as_bytes()[0].is_ascii_alphanumeric();
        if good { Ok(Self(name)) } else { Err(BadSite(name.chars().take(80).collect())) }
    }
}

impl std::str::FromStr for Site {
    type Err = BadSite;

    fn from_str(name: &str) -> Result<Self, BadSite> {
        name.to_owned().try_into()
    }
}

impl From<Site> for String {
    fn from(site: Site) -> Self {
        site.0
    }
}

impl std::fmt::Display for Site {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl Site {
    /// The name as it stands in keys.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Prefix of the keys of journal entries.
    pub fn journal_prefix(&self) -> String {
        format!("sites/{}/journal/", self.0)
    }

    /// A journal entry: its number, zero-padded so that keys sort as numbers do.
    pub fn journal(&self, seq: u64) -> String {
        format!("sites/{}/journal/{seq:020}", self.0)
    }

    /// The checkpoint of the journal.
    pub fn head(&self) -> String {
        format!("sites/{}/head", self.0)
    }

    /// Prefix of the keys of releases.
    pub fn releases_prefix(&self) -> String {
        format!("sites/{}/releases/", self.0)
    }

    /// The record of a release.
    pub fn release(&self, id: &ReleaseId) -> String {
        format!("sites/{}/releases/{id}", self.0)
    }

    /// A node of a manifest.
    pub fn node(&self, digest: &Digest) -> String {
        format!("sites/{}/trees/{digest}", self.0)
    }

    /// An entry's content with all its codings.
    pub fn blob(&self, digest: &Digest) -> String {
        format!("sites/{}/blobs/{digest}", self.0)
    }

    /// Prefix of the keys of jobs.
    pub fn jobs_prefix(&self) -> String {
        format!("sites/{}/jobs/", self.0)
    }

    /// A part of a job: what is asked, who takes it, what came of it.
    pub fn job(&self, id: &str, part: &str) -> String {
        format!("sites/{}/jobs/{id}/{part}", self.0)
    }

    /// Prefix of the keys of what renderers know.
    pub fn memo_prefix(&self) -> String {
        format!("sites/{}/memo/", self.0)
    }

    /// A part, from 0, of what a renderer knew of the release that journal entry `seq` made active.
    pub fn memo(&self, seq: u64, part: usize) -> String {
        format!("sites/{}/memo/{seq:020}/{part:04}", self.0)
    }

    /// Prefix of the keys of packs of highlighted code. It is among those of what renderers know.
    pub fn blocks_prefix(&self) -> String {
        format!("sites/{}/memo/blocks/", self.0)
    }

    /// A pack of highlighted code.
    pub fn blocks(&self, digest: &Digest) -> String {
        format!("sites/{}/memo/blocks/{digest}", self.0)
    }

    /// The record of a schedule's firings.
    pub fn schedule(&self, name: &str) -> String {
        format!("sites/{}/schedule/{name}", self.0)
    }
}

/// Prefix of all sites' keys.
pub const SITES_PREFIX: &str = "sites/";

/// The site that a key belongs to.
pub fn site_of(key: &str) -> Option<Site> {
    key.strip_prefix(SITES_PREFIX)?.split('/').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_would_leave_their_place_are_refused() {
        for bad in ["", "..", "a/b", "A", "-a", &"a".repeat(64)] {
            assert!(bad.parse::<Site>().is_err(), "{bad:?}");
        }
        assert_eq!("www.example.org".parse::<Site>().unwrap().head(), "sites/www.example.org/head");
    }

    #[test]
    fn journal_keys_sort_as_numbers() {
        let site: Site = "main".parse().unwrap();
        assert!(site.journal(9) < site.journal(10) && site.journal(u64::MAX - 1) < site.journal(u64::MAX));
        assert_eq!(site_of(&site.journal(1)), Some(site));
    }
}
