//! The journal: the ordered record of everything that makes a cached copy wrong.
//!
//! An entry is created under its number with `If-None-Match: *` and is never overwritten: that write
//! is the only commit there is. Each entry carries the digest of the one before it, so that a store
//! that loses or forks history is found out. The state of a site is the fold of its journal.

use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::record::{RecordError, Trigger, check_version};
use crate::url::Target;
use crate::{Digest, ReleaseId};

/// Bytes of the largest entry that is read or written.
pub const ENTRY_BYTES_MAX: u64 = 1 << 20;
/// Entries between two checkpoints.
pub const CHECKPOINT_EVERY: u64 = 64;
/// Selectors that one purge may have.
const SELECTORS_MAX: usize = 1_000;
/// Bytes of a cache group's name.
const GROUP_BYTES_MAX: usize = 1_024;

/// An entry of the journal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JournalEntry {
    /// Version of this encoding: 1.
    pub version: u32,
    /// Random, so that a writer whose reply was lost knows its own entry again.
    pub id: EntryId,
    /// Digest of the predecessor's bytes; none for the first.
    pub prev: Option<Digest>,
    /// When the writer made it.
    pub at: Timestamp,
    /// Who wrote it.
    pub by: String,
    /// What it does, in order; nothing for a no-op. At most one is an activation.
    pub effects: Vec<Effect>,
}

/// 128 random bits, as 32 hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct EntryId(pub u128);

impl From<EntryId> for String {
    fn from(id: EntryId) -> Self {
        format!("{:032x}", id.0)
    }
}

impl TryFrom<String> for EntryId {
    type Error = std::num::ParseIntError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        u128::from_str_radix(&text, 16).map(Self)
    }
}

/// One thing that an entry does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// A release is served from now on.
    Activate(Activation),
    /// Copies are dropped, or stale from now on.
    Purge(Purge),
    /// Something to know that drops nothing.
    Notice(Notice),
    /// Written by a later version. It may mean anything, so it covers everything.
    Unknown(serde_json::Value),
}

#[derive(Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
enum KnownEffect {
    Activate(Activation),
    Purge(Purge),
    Notice(Notice),
}

impl Serialize for Effect {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let known = match self.clone() {
            Self::Activate(a) => KnownEffect::Activate(a),
            Self::Purge(p) => KnownEffect::Purge(p),
            Self::Notice(n) => KnownEffect::Notice(n),
            Self::Unknown(value) => return value.serialize(serializer),
        };
        known.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Effect {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = serde_json::Value::deserialize(deserializer)?;
        Ok(match KnownEffect::deserialize(&value) {
            Ok(KnownEffect::Activate(a)) => Self::Activate(a),
            Ok(KnownEffect::Purge(p)) => Self::Purge(p),
            Ok(KnownEffect::Notice(n)) => Self::Notice(n),
            Err(_) => Self::Unknown(value),
        })
    }
}

/// A release is served from now on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Activation {
    /// Which.
    pub release: ReleaseId,
    /// Root of its manifest.
    pub root: Digest,
    /// Root of the tree of hashed assets of all kept releases.
    pub assets: Digest,
    /// Host names the site answers to; empty for any.
    pub hosts: Vec<String>,
    /// Number of the activation that was in force before the first source was read; none before the
    /// first. The entry counts only while that is still the last activation.
    pub base: Option<u64>,
    /// How it came about.
    pub cause: Cause,
}

/// How an activation came about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// A publish, for this reason.
    Publish(Trigger),
    /// Back to an earlier release: holds back publishes that nobody asked for.
    Rollback,
}

/// Copies are dropped, or stale from now on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Purge {
    /// Which.
    pub selectors: Vec<Selector>,
    /// Whether copies may still be shown while a new one is fetched.
    pub soft: bool,
    /// Why, in the operator's words.
    pub reason: Option<String>,
}

/// Which copies a purge means.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Selector {
    /// One URL (absolute, or a path of the site): all its query variants unless it has a query.
    Url(String),
    /// All whose normalised path begins with these bytes; with scheme and host in front, of that host.
    Prefix(String),
    /// All members of a cache group of the site.
    Group(String),
    /// All of the site.
    All,
}

impl Selector {
    /// Whether it can mean anything of a site of these hosts: a URL of another host does not.
    pub fn is_of(&self, hosts: &[String]) -> bool {
        match self {
            Self::Url(text) | Self::Prefix(text) => {
                text.parse::<Target>().map_or(true, |target| target.is_of(hosts))
            }
            Self::Group(_) | Self::All => true,
        }
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Url(url) => write!(f, "url {url}"),
            Self::Prefix(prefix) => write!(f, "prefix {prefix}"),
            Self::Group(group) => write!(f, "group {group}"),
            Self::All => f.write_str("all"),
        }
    }
}

/// Selectors that no edge could understand: all that is wrong with them.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct BadSelectors(String);

/// Looks at what a purge names, before anything is done about it.
///
/// # Errors
/// Each selector that can mean nothing; that there are none, or too many.
pub fn check_selectors(selectors: &[Selector]) -> Result<(), BadSelectors> {
    if selectors.is_empty() {
        return Err(BadSelectors("the purge names nothing: a selector is expected".to_owned()));
    }
    if selectors.len() > SELECTORS_MAX {
        let count = selectors.len();
        return Err(BadSelectors(format!(
            "the purge has {count} selectors, and {SELECTORS_MAX} are allowed"
        )));
    }
    let wrong = selectors.iter().filter_map(|selector| match selector {
        Selector::Prefix(text) if text.contains(['?', '#']) => {
            Some(format!("`{text}` has a query or a fragment, and a prefix is the beginning of a path"))
        }
        Selector::Url(text) | Selector::Prefix(text) => {
            text.parse::<Target>().err().map(|error| error.to_string())
        }
        Selector::Group(group) if group.is_empty() || group.len() > GROUP_BYTES_MAX => {
            Some(format!("a cache group has 1 to {GROUP_BYTES_MAX} bytes, not {}", group.len()))
        }
        Selector::Group(_) | Selector::All => None,
    });
    let wrong: Vec<String> = wrong.collect();
    if wrong.is_empty() { Ok(()) } else { Err(BadSelectors(wrong.join("; "))) }
}

/// Something to know that drops nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "notice", rename_all = "snake_case")]
pub enum Notice {
    /// Publishes that a rollback held back may go on (`bake resume`).
    Resume,
}

impl JournalEntry {
    /// The version that is written.
    pub const VERSION: u32 = 1;

    /// The entry's bytes.
    pub fn encode(&self) -> Vec<u8> {
        // Strings, numbers and lists only: nothing in it can fail to be JSON.
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// Reads an entry.
    ///
    /// # Errors
    /// Where it is damaged, or of a later version.
    pub fn decode(bytes: &[u8]) -> Result<Self, RecordError> {
        check_version(bytes)?;
        Ok(serde_json::from_slice(bytes)?)
    }

    /// The activation in it.
    pub fn activation(&self) -> Option<&Activation> {
        self.effects.iter().find_map(|e| match e {
            Effect::Activate(a) => Some(a),
            _ => None,
        })
    }
}

/// What a site's journal comes to, up to an entry.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// Number of the last entry; 0 where there is none.
    pub seq: u64,
    /// Digest of that entry's bytes.
    pub last: Option<Digest>,
    /// What is served.
    pub active: Option<Active>,
    /// What was served before that, if it was another release.
    pub previous: Option<Active>,
    /// Whether a rollback holds back publishes that nobody asked for.
    pub held: bool,
}

/// An activation in force, now or before.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Active {
    /// Number of the entry.
    pub seq: u64,
    /// When it was written.
    pub at: Timestamp,
    /// The release.
    pub release: ReleaseId,
    /// Root of its manifest.
    pub root: Digest,
    /// Root of the tree of hashed assets.
    pub assets: Digest,
    /// Host names the site answers to; empty for any.
    pub hosts: Vec<String>,
}

/// An entry that cannot follow on the state.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FoldError {
    /// A predecessor is another than the one that was read: history was rewritten or lost.
    #[error(
        "journal entry {seq} follows on {}, but the entry before it is {}: the journal has forked",
        named(found.as_ref()),
        named(expected.as_ref())
    )]
    Forked {
        /// The entry.
        seq: u64,
        /// Its `prev`.
        found: Option<Digest>,
        /// What was read.
        expected: Option<Digest>,
    },
}

/// An entry as a message names it.
fn named(entry: Option<&Digest>) -> String {
    entry.map_or_else(|| "nothing".to_owned(), Digest::to_string)
}

impl State {
    /// The base that a publish beginning now must name.
    pub fn base(&self) -> Option<u64> {
        self.active.as_ref().map(|a| a.seq)
    }

    /// Whether an activation with this base would count if it came next.
    pub fn accepts(&self, base: Option<u64>) -> bool {
        self.base() == base
    }

    /// Adds the next entry, whose bytes have this digest.
    ///
    /// An activation whose base is not the last activation is passed over, as its writer would never
    /// have committed it: a reader must not be led back by a writer's mistake. A rollback has a base
    /// too, namely the activation that it replaces.
    ///
    /// # Errors
    /// [`FoldError::Forked`] where the entry names another predecessor.
    pub fn apply(&mut self, entry: &JournalEntry, digest: Digest) -> Result<(), FoldError> {
        let seq = self.seq + 1;
        if entry.prev != self.last {
            return Err(FoldError::Forked { seq, found: entry.prev, expected: self.last });
        }
        for effect in &entry.effects {
            match effect {
                Effect::Activate(a) if self.accepts(a.base) => {
                    let next = Active {
                        seq,
                        at: entry.at,
                        release: a.release.clone(),
                        root: a.root,
                        assets: a.assets,
                        hosts: a.hosts.clone(),
                    };
                    match self.active.take() {
                        Some(before) if before.release != next.release => self.previous = Some(before),
                        _ => {}
                    }
                    self.active = Some(next);
                    self.held = a.cause == Cause::Rollback;
                }
                Effect::Notice(Notice::Resume) => self.held = false,
                Effect::Activate(_) | Effect::Purge(_) | Effect::Unknown(_) => {}
            }
        }
        self.seq = seq;
        self.last = Some(digest);
        Ok(())
    }
}

/// The checkpoint `head`: where a reader begins.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checkpoint {
    /// Version of this encoding: 1.
    pub version: u32,
    /// The fold, which names its last entry and that entry's digest.
    pub fold: State,
}

impl Checkpoint {
    /// A checkpoint of `fold`.
    pub fn new(fold: State) -> Self {
        Self { version: 1, fold }
    }

    /// The checkpoint's bytes.
    pub fn encode(&self) -> Vec<u8> {
        // Strings, numbers and lists only: nothing in it can fail to be JSON.
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// Reads a checkpoint.
    ///
    /// # Errors
    /// Where it is damaged, or of a later version.
    pub fn decode(bytes: &[u8]) -> Result<Self, RecordError> {
        check_version(bytes)?;
        Ok(serde_json::from_slice(bytes)?)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn entry(prev: Option<Digest>, effects: Vec<Effect>) -> JournalEntry {
        JournalEntry {
            version: 1,
            id: EntryId(7),
            prev,
            at: "2026-11-23T18:15:00Z".parse().unwrap(),
            by: "test".into(),
            effects,
        }
    }

    pub(crate) fn activation(n: u32, base: Option<u64>, cause: Cause) -> Effect {
        Effect::Activate(Activation {
            release: format!("20261123-181500-{n:08x}").parse().unwrap(),
            root: Digest::of(&n.to_be_bytes()),
            assets: Digest::of(b"assets"),
            hosts: vec![],
            base,
            cause,
        })
    }

    fn push(state: &mut State, effects: Vec<Effect>) {
        let entry = entry(state.last, effects);
        state.apply(&entry, Digest::of(&entry.encode())).unwrap();
    }

    #[test]
    fn the_first_version_is_read_for_ever() {
        let text = include_str!("../fixtures/journal-v1.json").trim_end();
        let purge = Purge {
            selectors: vec![
                Selector::Url("/a/".into()),
                Selector::Prefix("/b".into()),
                Selector::Group("g".into()),
                Selector::All,
            ],
            soft: true,
            reason: Some("typo".into()),
        };
        let sample = entry(
            Some(Digest::of(b"prev")),
            vec![
                activation(1, Some(3), Cause::Publish(Trigger::Watch)),
                Effect::Purge(purge),
                Effect::Notice(Notice::Resume),
            ],
        );
        assert_eq!(String::from_utf8(sample.encode()).unwrap(), text);
        assert_eq!(JournalEntry::decode(text.as_bytes()).unwrap(), sample);
    }

    #[test]
    fn an_unknown_effect_is_kept_as_it_is() {
        let text = r#"{"kind":"sweep","digests":[1]}"#;
        let effect: Effect = serde_json::from_str(text).unwrap();
        assert!(matches!(effect, Effect::Unknown(_)));
        assert_eq!(
            serde_json::to_value(&effect).unwrap(),
            serde_json::from_str::<serde_json::Value>(text).unwrap()
        );
    }

    #[test]
    fn an_activation_counts_only_on_its_base() {
        let mut state = State::default();
        let publish = Cause::Publish(Trigger::Manual);
        push(&mut state, vec![activation(1, None, publish.clone())]);
        push(&mut state, vec![activation(2, Some(1), publish.clone())]);
        push(&mut state, vec![activation(3, Some(1), publish.clone())]);
        assert_eq!(state.seq, 3);
        assert_eq!(state.base(), Some(2));
        push(&mut state, vec![activation(1, Some(2), Cause::Rollback)]);
        assert!(state.held);
        assert_eq!(state.previous.as_ref().unwrap().seq, 2);
        push(&mut state, vec![Effect::Notice(Notice::Resume)]);
        assert!(!state.held);
    }

    #[test]
    fn a_fork_stops_the_fold() {
        let mut state = State::default();
        push(&mut state, vec![]);
        let stranger = entry(Some(Digest::of(b"other")), vec![]);
        let error = state.apply(&stranger, Digest::of(b"x")).unwrap_err();
        let (other, last) = (Digest::of(b"other"), state.last.unwrap());
        let said = "journal entry 2 follows on";
        assert_eq!(
            error.to_string(),
            format!("{said} {other}, but the entry before it is {last}: the journal has forked")
        );
        assert_eq!(state.seq, 1);
    }
}
