//! What the API's JSON looks like. All paths begin with `/v1/`; every call carries a bearer token.
//!
//! | call | body | answer |
//! | --- | --- | --- |
//! | `GET /v1/journal?after=…&ack=…&edge=…&wait_ms=…` | | [`Poll`] |
//! | `POST /v1/wake` | | nothing (204) |
//! | `POST /v1/purge` | [`PurgeRequest`] | [`Receipt`] |
//! | `POST /v1/publish` | [`PublishRequest`] | [`Published`] |
//! | `POST /v1/blobs/missing` | list of digests | those that the site's sources lack |
//! | `PUT /v1/blobs/<digest>` | the bytes | nothing (204) |
//! | `GET /v1/releases` | | list of [`ReleaseLine`] |
//! | `GET /v1/diff?from=…&to=…` | | [`Diff`] |
//! | `POST /v1/rollback` | [`RollbackRequest`] | [`Published`] |
//! | `POST /v1/resume` | | [`Resumed`] |
//! | `GET /v1/status` | | [`Status`] |
//! | `GET /v1/receipts/<seq>` | | [`Receipt`] |
//!
//! A call that fails answers with a 4xx or 5xx and a [`Failure`]. One with a key that is not known fails: what is misspelt,
//! such as `sofft`, would otherwise do something else than was asked.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::journal::{JournalEntry, Selector, State};
use crate::keys::Site;
use crate::record::{Counts, Trigger};
use crate::tree::Diff;
use crate::{Digest, ReleaseId};

/// A value as JSON.
///
/// # Errors
/// Where it has no form in JSON.
pub fn json(value: &impl Serialize) -> serde_json::Result<String> {
    serde_json::to_string(value).map(plain)
}

/// JSON in which nothing steers a terminal, though it means the same: what writers of JSON leave as it is, DEL and the controls
/// of C1, is escaped, too.
pub fn plain(json: String) -> String {
    // Between values, JSON has lines and tabs.
    let steers = |c: char| c.is_control() && !matches!(c, '\n' | '\t');
    if !json.contains(steers) {
        return json;
    }
    let mut plain = String::with_capacity(json.len());
    for c in json.chars() {
        if steers(c) {
            plain.push_str(&format!("\\u{:04x}", u32::from(c)));
        } else {
            plain.push(c);
        }
    }
    plain
}

/// Bytes of the largest diff that is sent along with an activation, as JSON.
pub const DIFF_BYTES_MAX: usize = 16 << 10;
/// The longest that a poll waits, in milliseconds.
pub const POLL_MS_MAX: u64 = 3_000;

/// Answer to a poll of the journal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Poll {
    /// What the origin calls itself.
    pub origin: String,
    /// Every site that the origin serves.
    pub sites: Vec<SitePoll>,
}

/// News of one site.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SitePoll {
    /// The site.
    pub site: Site,
    /// The fold of its journal, the entries below included.
    pub state: State,
    /// Milliseconds since the origin began its last look at the bucket that found this state.
    pub verified_ms: u64,
    /// Entries after the one that the poll named, in order.
    pub entries: Vec<PolledEntry>,
    /// Whether `entries` does not reach back to what the poll named: then all that is held may be
    /// wrong. A poll that named nothing gets the state alone, and `true`.
    pub reset: bool,
}

/// An entry of the journal, with what an edge needs to apply it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PolledEntry {
    /// Its number.
    pub seq: u64,
    /// Digest of its bytes.
    pub digest: Digest,
    /// What it says.
    pub entry: JournalEntry,
    /// For an activation that replaced another: what differs, unless that is too long to send.
    pub diff: Option<Diff>,
}

/// How many copies an entry dropped or marked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Dropped {
    /// So many.
    pub dropped: u64,
    /// Whether that is what was counted so far, and there may be more.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub counting: bool,
}

impl std::fmt::Display for Dropped {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let so_far = if self.counting { "at least " } else { "" };
        write!(f, "{so_far}{} dropped", self.dropped)
    }
}

/// An edge's word that it has applied everything up to an entry; `ack=<site>:<seq>:<dropped>`, with `:counting` behind it
/// where that is what was counted so far.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ack {
    /// The site.
    pub site: Site,
    /// The entry.
    pub seq: u64,
    /// What became of copies by it.
    #[serde(flatten)]
    pub dropped: Dropped,
}

/// Behind an acknowledgement: there may be more.
const COUNTING: &str = "counting";

impl std::fmt::Display for Ack {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Dropped { dropped, counting } = self.dropped;
        write!(f, "{}:{}:{dropped}", self.site, self.seq)?;
        if counting { write!(f, ":{COUNTING}") } else { Ok(()) }
    }
}

impl std::str::FromStr for Ack {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let bad = || format!("`{text}` is not SITE:SEQ:DROPPED");
        let mut parts = text.split(':');
        let site = parts.next().ok_or_else(bad)?.parse().map_err(|_| bad())?;
        let mut number = || parts.next().and_then(|n| n.parse().ok()).ok_or_else(bad);
        let (seq, dropped) = (number()?, number()?);
        Ok(Self { site, seq, dropped: Dropped { dropped, counting: parts.next() == Some(COUNTING) } })
    }
}

/// Asks for a purge.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PurgeRequest {
    /// The site; may be left out where there is one.
    #[serde(default)]
    pub site: Option<Site>,
    /// What to drop.
    pub selectors: Vec<Selector>,
    /// Whether copies may still be shown while a new one is fetched.
    #[serde(default)]
    pub soft: bool,
    /// Why; kept in the journal.
    #[serde(default)]
    pub reason: Option<String>,
    /// Whether to answer only when every edge has applied it, or has fallen silent for its lease.
    #[serde(default)]
    pub wait: bool,
}

/// Says that something is in the journal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Committed {
    /// The site.
    pub site: Site,
    /// Number of the entry.
    pub seq: u64,
    /// When it was committed.
    pub at: Timestamp,
}

/// Says that publishes may go on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resumed {
    /// That it is committed.
    #[serde(flatten)]
    pub committed: Committed,
    /// Whether a rollback held them back until then.
    pub was_held: bool,
}

/// What came of a purge.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receipt {
    /// That it is committed.
    #[serde(flatten)]
    pub committed: Committed,
    /// For each selector, what it means today.
    pub selectors: Vec<SelectorReceipt>,
    /// Every edge that polled within a lease.
    pub edges: Vec<EdgeReceipt>,
    /// Whether every edge has applied it.
    pub applied_everywhere: bool,
    /// Whether `edges` is all edges: false where a fellow origin did not answer.
    pub complete: bool,
}

/// What a selector means today.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SelectorReceipt {
    /// The selector.
    pub selector: Selector,
    /// Paths of the active release that it matches (counted up to 10,000), whatever host it names; none
    /// where that cannot be told, as for a group.
    pub paths: Option<u64>,
}

/// An edge's part in a receipt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EdgeReceipt {
    /// What the edge calls itself.
    pub edge: String,
    /// How far it is.
    pub state: EdgeProgress,
    /// What became of copies there; none until it has applied the entry.
    #[serde(flatten)]
    pub dropped: Dropped,
}

/// How far an edge is with an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EdgeProgress {
    /// It has said that it applied the entry.
    Applied,
    /// It polled within its lease, and has not said so yet.
    Pending,
    /// It has not polled for a whole lease: it no longer serves as if it were up to date.
    Lapsed,
}

/// Asks for a publish.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PublishRequest {
    /// The site; may be left out where there is one.
    #[serde(default)]
    pub site: Option<Site>,
    /// The files to render, whose bytes were sent before; without them the folder that the renderer
    /// watches, or the sources of the active release.
    #[serde(default)]
    pub sources: Option<Vec<SourceLine>>,
    /// Why.
    #[serde(default)]
    pub message: Option<String>,
    /// Who.
    #[serde(default)]
    pub author: Option<String>,
    /// Whether only to say what would change.
    #[serde(default)]
    pub plan: bool,
    /// Whether to answer only when every edge has applied it.
    #[serde(default)]
    pub wait: bool,
}

/// A file of the sources.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceLine {
    /// Its path in the site's folder.
    pub path: String,
    /// Digest of its bytes.
    pub digest: Digest,
}

/// What came of a publish or rollback.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Published {
    /// The release that is now served; none where there is none yet.
    pub release: Option<ReleaseId>,
    /// That it is committed; none where nothing changed, or nothing was to be done.
    pub committed: Option<Committed>,
    /// What differs from the release served before.
    pub diff: Diff,
    /// Objects that were uploaded.
    pub uploaded: u64,
    /// Sources that could not be read, whose last good data was used; with the reason.
    pub stale_sources: Vec<String>,
    /// Warnings of the render.
    pub warnings: Vec<String>,
    /// Every edge that polled within a lease, where the call waited.
    pub edges: Vec<EdgeReceipt>,
}

/// A line of the list of releases.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReleaseLine {
    /// Its name.
    pub id: ReleaseId,
    /// Whether it is the one that is served.
    pub active: bool,
    /// The release that was active when it was made.
    pub parent: Option<ReleaseId>,
    /// When it was made.
    pub created: Timestamp,
    /// Who made it.
    pub author: String,
    /// Why.
    pub message: String,
    /// What made it come about.
    pub trigger: Trigger,
    /// How many paths, pages, bytes.
    pub counts: Counts,
}

/// Asks for a rollback.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RollbackRequest {
    /// The site; may be left out where there is one.
    #[serde(default)]
    pub site: Option<Site>,
    /// Which release; the one served before where it is left out.
    #[serde(default)]
    pub release: Option<ReleaseId>,
    /// Why.
    #[serde(default)]
    pub message: Option<String>,
    /// Whether to answer only when every edge has applied it.
    #[serde(default)]
    pub wait: bool,
}

/// How a site is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// Every site of this origin.
    pub sites: Vec<SiteStatus>,
}

/// How one site is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SiteStatus {
    /// The site.
    pub site: Site,
    /// The fold of its journal.
    pub state: State,
    /// Milliseconds since the origin began its last look at the bucket.
    pub verified_ms: u64,
    /// Edges that polled within a lease, and the entry that each has applied.
    pub edges: Vec<EdgeReceipt>,
}

/// Why a call failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// What failed.
    pub error: String,
    /// What to do next.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_misspelt_is_not_done_otherwise() {
        fn parse<T: serde::de::DeserializeOwned>(text: &str) -> Result<T, String> {
            serde_json::from_str(text).map_err(|e| e.to_string())
        }
        assert!(parse::<PurgeRequest>(r#"{"selectors":["all"],"soft":true}"#).unwrap().soft);
        let wrong = parse::<PurgeRequest>(r#"{"selectors":["all"],"sofft":true}"#).unwrap_err();
        assert!(wrong.contains("unknown field `sofft`"), "{wrong}");
        assert!(parse::<PublishRequest>(r#"{"planned":true}"#).unwrap_err().contains("`plan`"));
        assert!(parse::<RollbackRequest>(r#"{"id":"x"}"#).unwrap_err().contains("release"));
    }

    #[test]
    fn json_steers_no_terminal_and_means_the_same() {
        let text = "a\u{7f}\u{9b}2J\u{1b}\t\nsäg \u{a0}";
        let told = json(&text).unwrap();
        assert_eq!(told, "\"a\\u007f\\u009b2J\\u001b\\t\\nsäg \u{a0}\"");
        assert_eq!(serde_json::from_str::<String>(&told).unwrap(), text);
        let whole = plain("{\n\t\"a\": \"\u{85}\"\n}".into());
        assert_eq!(whole, "{\n\t\"a\": \"\\u0085\"\n}");
    }
}
