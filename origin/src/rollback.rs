//! Going back to an earlier release: one write.

use release::ReleaseId;
use release::journal::{Activation, Cause, Effect, Notice};
use release::reader::{ReadError, Reader};
use release::tree::Diff;

use crate::Error;
use crate::journal::{Journal, Receipt};
use std::sync::Arc;

/// How often a rollback to a named release goes on where other activations come between.
const TRIES_MAX: u32 = 50;

/// A rollback that is committed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RolledBack {
    /// The release that is served now.
    pub release: ReleaseId,
    /// Its activation.
    pub receipt: Receipt,
    /// What differs from what was served before.
    pub diff: Diff,
}

/// Makes an earlier release active again. The hashed assets of today stay reachable, and publishes
/// that nobody asked for are held back from then on.
///
/// Without `to` it goes to the release that was active before the present one, and fails if another
/// activation comes between: "before" would mean another one then. With `to` it goes on until it
/// succeeds.
///
/// # Errors
/// - [`Error::NoRelease`], [`Error::NoPrevious`], [`Error::NothingActive`] where there is no such release.
/// - [`Error::Outdated`] where another activation came between.
/// - Where it could not be committed, or that is unknown.
pub async fn rollback(
    journal: &Arc<Journal>,
    reader: &Reader,
    to: Option<ReleaseId>,
) -> Result<RolledBack, Error> {
    let site = journal.site();
    for _ in 0..TRIES_MAX {
        let state = journal.look().await?.state.clone();
        let active = state.active.ok_or_else(|| Error::NothingActive(site.clone()))?;
        let release = match (&to, state.previous) {
            (Some(release), _) => release.clone(),
            (None, Some(previous)) => previous.release,
            (None, None) => return Err(Error::NoPrevious(site.clone())),
        };
        let record = reader.release(&release).await.map_err(|error| match error {
            ReadError::Missing(_) => Error::NoRelease { site: site.clone(), release: release.clone() },
            error => error.into(),
        })?;
        let diff = reader.diff(active.root, record.root).await?;
        let effect = Effect::Activate(Activation {
            release: release.clone(),
            root: record.root,
            assets: active.assets,
            hosts: record.hosts,
            base: Some(active.seq),
            cause: Cause::Rollback,
        });
        match journal.commit(vec![effect]).await {
            Ok(receipt) => return Ok(RolledBack { release, receipt, diff }),
            Err(Error::Outdated { .. }) if to.is_some() => {}
            Err(error) => return Err(error),
        }
    }
    let winner = journal.seen().state.active.clone().map(Box::new);
    Err(Error::Outdated { site: site.clone(), winner })
}

/// Lets publishes that a rollback held back go on; also says whether one did.
///
/// # Errors
/// Where it could not be committed, or that is unknown.
pub async fn resume(journal: &Arc<Journal>) -> Result<(Receipt, bool), Error> {
    let was_held = journal.look().await?.state.held;
    Ok((journal.commit(vec![Effect::Notice(Notice::Resume)]).await?, was_held))
}
