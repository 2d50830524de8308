//! Reading a site's journal from the bucket.
//!
//! A reader begins at the checkpoint and probes past it, one number after another: numbers are
//! dense, so the first that is missing is the end. A checkpoint is checked against the entry that it
//! names; one that is lost or wrong costs a fold from the first entry, and nothing else.

use crate::bucket::{Bucket, BucketError};
use crate::journal::{Checkpoint, ENTRY_BYTES_MAX, FoldError, JournalEntry, State};
use crate::keys::Site;
use crate::record::RecordError;
use crate::{Digest, bucket};

/// Entries that one look at the journal reads at most, before it reports what it has.
pub const ENTRIES_MAX: usize = 256;

/// Why a journal cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The bucket gave no answer.
    #[error(transparent)]
    Bucket(#[from] BucketError),
    /// An entry is not what it should be.
    #[error("journal entry {seq} of site `{site}`: {source}")]
    Entry {
        /// The site.
        site: Site,
        /// The entry.
        seq: u64,
        /// What is wrong.
        source: RecordError,
    },
    /// History was rewritten or lost: nothing may be written any more.
    #[error("site `{site}`: {source}")]
    Forked {
        /// The site.
        site: Site,
        /// Where.
        source: FoldError,
    },
}

/// An entry as it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Numbered {
    /// Its number.
    pub seq: u64,
    /// Digest of its bytes.
    pub digest: Digest,
    /// What it says.
    pub entry: JournalEntry,
}

/// Reads the entry `seq`; none where it is not written yet.
///
/// # Errors
/// Where the bucket gave no answer, or the entry is damaged.
pub async fn read_entry(bucket: &dyn Bucket, site: &Site, seq: u64) -> Result<Option<Numbered>, LogError> {
    let Some(object) = bucket.get(&site.journal(seq), ENTRY_BYTES_MAX).await? else { return Ok(None) };
    let entry = JournalEntry::decode(&object.bytes).map_err(|source| LogError::Entry {
        site: site.clone(),
        seq,
        source,
    })?;
    Ok(Some(Numbered { seq, digest: Digest::of(&object.bytes), entry }))
}

/// The state as of the checkpoint, if there is one that its entry bears out; otherwise the beginning.
///
/// # Errors
/// Where the bucket gave no answer, or the checkpoint's entry is damaged.
pub async fn checkpoint(bucket: &dyn Bucket, site: &Site) -> Result<State, LogError> {
    let Some(object) = bucket.get(&site.head(), bucket::OBJECT_BYTES_MAX).await? else {
        return Ok(State::default());
    };
    let Ok(Checkpoint { fold, .. }) = Checkpoint::decode(&object.bytes) else { return Ok(State::default()) };
    match read_entry(bucket, site, fold.seq).await? {
        Some(found) if Some(found.digest) == fold.last => Ok(fold),
        _ => Ok(State::default()),
    }
}

/// Reads on from `state`, at most [`ENTRIES_MAX`] entries, and folds them into it.
///
/// # Errors
/// Where the bucket gave no answer, an entry is damaged, or the journal has forked; `state` then
/// holds what was read before.
pub async fn advance(bucket: &dyn Bucket, site: &Site, state: &mut State) -> Result<Vec<Numbered>, LogError> {
    let mut read = Vec::new();
    while read.len() < ENTRIES_MAX {
        let Some(numbered) = read_entry(bucket, site, state.seq + 1).await? else { break };
        state
            .apply(&numbered.entry, numbered.digest)
            .map_err(|source| LogError::Forked { site: site.clone(), source })?;
        read.push(numbered);
    }
    Ok(read)
}

/// The state as of now: the checkpoint and everything after it.
///
/// # Errors
/// As for [`advance`].
pub async fn latest(bucket: &dyn Bucket, site: &Site) -> Result<State, LogError> {
    let mut state = checkpoint(bucket, site).await?;
    while advance(bucket, site, &mut state).await?.len() == ENTRIES_MAX {}
    Ok(state)
}
