//! From a render to a release that is served.
//!
//! [`Publisher::begin`] takes what is active as the base and gives a [`Draft`]. A renderer hands its
//! files to the draft's [`Sink`] from any thread, as they are made: what the base has is passed over,
//! and new content is coded and uploaded while rendering goes on. [`Draft::finish`] uploads the nodes
//! of the trees that the base lacks and the release's record, waits for all of it (that is the first
//! round trip), and commits the activation (the second).
//!
//! **The base is read no further than the render differs from it.** A process that has published before
//! remembers the nodes that it wrote and read, and compares each file as it comes. One that has just
//! started compares when all are there: what nodes serve tells which of them to read. A renderer that
//! knows what changed hands over that alone.
//!
//! In a process that has published before, that costs one request for each new blob and each new
//! node, one for the record, one for the journal entry, and one look at the journal where the last
//! is over a second old.
//!
//! **When nothing changed** no release is made: when what is served (manifest, assets, hosts) and
//! the time of the next change are the base's. A publish that someone asked for also counts a change
//! of the sources that shows nowhere yet, since another machine may render from them; a saved file
//! or a schedule does not, nor does data fetched anew ever count.

mod collect;
mod draft;
mod sources;
mod upload;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use jiff::Timestamp;
use release::bucket::Bucket;
use release::journal::{Active, State};
use release::keys::Site;
use release::reader::Reader;
use release::record::Trigger;
use release::tree::Diff;
use release::{Digest, Entry, Release, ReleaseId, wire};

use self::collect::{Collector, Of, Places};
pub use self::collect::{Sink, WAITING_BYTES_MAX};
pub use self::draft::{Draft, Vanished};
pub use self::sources::SOURCES_BYTES_MAX;
use self::upload::Uploader;
use crate::Error;
use crate::clock::Moment;
use crate::failpoint::failpoint;
use crate::journal::Journal;
use crate::policy::Policies;

/// Milliseconds after which what is known of the journal is looked at again before a publish begins.
const SEEN_MS_MAX: u64 = 1_000;
/// The cache group that marks a source as a snapshot of data.
const DATA: &str = "data";

/// Publishes one site.
#[derive(Debug)]
pub struct Publisher {
    bucket: Arc<dyn Bucket>,
    journal: Arc<Journal>,
    reader: Arc<Reader>,
    base: Mutex<Option<Arc<Base>>>,
    /// Where content was that this process has published.
    places: Arc<Places>,
}

/// The release that a publish rests on.
#[derive(Debug)]
struct Base {
    active: Active,
    release: Release,
}

impl Base {
    fn root(&self, of: Of) -> Digest {
        match of {
            Of::Manifest => self.active.root,
            Of::Sources => self.release.sources,
        }
    }
}

/// What a release says of itself.
#[derive(Debug, Clone)]
pub struct About {
    /// The render's time; at least [`Draft::now`] of the wall clock.
    pub created: Timestamp,
    /// Who.
    pub author: String,
    /// Why.
    pub message: String,
    /// Host names the site answers to; empty for any.
    pub hosts: Vec<String>,
    /// Pages and sections among the files.
    pub pages: u64,
    /// Version of the renderer.
    pub renderer: String,
    /// When a page next falls due or expires.
    pub next_change: Option<Timestamp>,
}

/// How a publish ended that did not fail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// A new release is active.
    Published(Done),
    /// Nothing changed, and no release was made; this one is active.
    Unchanged(ReleaseId),
}

/// A publish that is committed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Done {
    /// The release.
    pub release: ReleaseId,
    /// Its activation.
    pub committed: wire::Committed,
    /// Root of its manifest.
    pub root: Digest,
    /// What differs from the base.
    pub diff: Diff,
    /// Objects that were uploaded.
    pub uploaded: u64,
    /// Their bytes.
    pub uploaded_bytes: u64,
    /// From the end of the render until everything was uploaded.
    pub upload: Duration,
    /// From then until it was committed.
    pub commit: Duration,
}

/// What a publish would do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// What would differ from the base.
    pub diff: Diff,
    /// Objects that would be uploaded.
    pub uploads: u64,
    /// Their bytes.
    pub upload_bytes: u64,
    /// The active release; none where there is none.
    pub active: Option<ReleaseId>,
    /// Whether [`Draft::finish`] would make a release.
    pub changes: bool,
}

/// A file that a release was rendered from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceFile {
    /// Its path in the site's folder, or the name of a snapshot of data.
    pub path: String,
    /// Its content.
    pub bytes: Bytes,
    /// Whether it is a snapshot of data.
    pub data: bool,
}

impl Publisher {
    /// A publisher of the journal's site.
    pub fn new(journal: Arc<Journal>, reader: Arc<Reader>) -> Arc<Self> {
        let bucket = Arc::clone(reader.bucket());
        Arc::new(Self { bucket, journal, reader, base: Mutex::default(), places: Arc::default() })
    }

    /// The site.
    pub fn site(&self) -> &Site {
        self.journal.site()
    }

    /// The site's journal.
    pub fn journal(&self) -> &Arc<Journal> {
        &self.journal
    }

    /// Begins a publish on what is active now. Call it before the first source is read. Files get
    /// their cache policies from `policies`.
    ///
    /// # Errors
    /// - [`Error::Held`] where a rollback holds this trigger back.
    /// - Where the bucket gives no answer, or holds damaged objects.
    pub fn begin(
        self: &Arc<Self>,
        trigger: Trigger,
        policies: Arc<Policies>,
    ) -> BoxFuture<'static, Result<Draft, Error>> {
        Arc::clone(self).start(trigger, policies, false).boxed()
    }

    /// As [`Publisher::begin`], but uploads nothing: for [`Draft::plan`].
    ///
    /// # Errors
    /// As for [`Publisher::begin`].
    pub fn begin_plan(self: &Arc<Self>, policies: Arc<Policies>) -> BoxFuture<'static, Result<Draft, Error>> {
        Arc::clone(self).start(Trigger::Manual, policies, true).boxed()
    }

    async fn start(
        self: Arc<Self>,
        trigger: Trigger,
        policies: Arc<Policies>,
        plan: bool,
    ) -> Result<Draft, Error> {
        if let Some(error) = self.journal.stopped() {
            return Err(error);
        }
        let state = self.state().await?;
        if let (true, Some(active), false) = (state.held, &state.active, trigger == Trigger::Manual) {
            let (site, release) = (self.site().clone(), active.release.clone());
            return Err(Error::Held { site, release, trigger: trigger.to_string() });
        }
        let base = self.base_of(&state).await?;
        failpoint!("publish::begin");
        let uploader = (!plan).then(|| Uploader::start(Arc::clone(&self.bucket)));
        let queue = uploader.as_ref().map(Uploader::queue);
        let reader = Arc::clone(&self.reader);
        let (site, places) = (self.site().clone(), Arc::clone(&self.places));
        let collector = Collector::new(site, reader, base.clone(), policies, queue, places);
        Ok(Draft::new(self, base, trigger, collector, uploader))
    }

    /// What is known of the journal, at most a second old.
    async fn state(&self) -> Result<State, Error> {
        let seen = self.journal.seen();
        if Moment::now().ms_since(seen.looked) <= SEEN_MS_MAX {
            return Ok(seen.state.clone());
        }
        Ok(self.journal.look().await?.state.clone())
    }

    /// The active release, from memory where that is the last base.
    async fn base_of(&self, state: &State) -> Result<Option<Arc<Base>>, Error> {
        let Some(active) = &state.active else { return Ok(None) };
        let held = self.base.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(base) = held.filter(|b| b.active == *active) {
            return Ok(Some(base));
        }
        let release = self.reader.release(&active.release).await?;
        let base = Arc::new(Base { active: active.clone(), release });
        self.keep(Arc::clone(&base));
        Ok(Some(base))
    }

    fn keep(&self, base: Arc<Base>) {
        *self.base.lock().unwrap_or_else(PoisonError::into_inner) = Some(base);
    }
}

/// Whether a source is a snapshot of data.
fn is_data(entry: &Entry) -> bool {
    entry.groups.iter().any(|g| g == DATA)
}

#[cfg(test)]
mod tests;
