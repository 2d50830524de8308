//! The folder of a worker's sources, as it was looked at last.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use renderer::{Limits, Sources};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::sink::is_published;
use super::sleep_until;
use super::stop::{Stop, blocking};
use crate::{render, watch};

/// How long after a save the whole folder is looked at.
const LISTED_AFTER: Duration = Duration::from_secs(1);

/// What is known of a folder, so that unchanged files are not read again.
#[derive(Default)]
pub(super) struct Folder {
    /// The folder as it was listed last; nothing before it was, and while that is under way.
    listed: Option<Sources>,
    /// When all of it is to be looked at, since some of it was last.
    unlisted: Option<Instant>,
    /// The look at all of it that is under way.
    looking: Option<JoinHandle<Option<Looked>>>,
    /// The folder as it was when something in it was found that the system had not told of: it may not be finished.
    doubted: Option<Sources>,
}

/// The folder, in which something differs that the system had not told of, and whether that has stayed as it is.
type Looked = (Sources, bool);

impl Folder {
    /// The files of `root`; where `changed` is known, nothing else of it is looked at until a second later.
    pub(super) async fn list(
        &mut self,
        root: &Path,
        changed: Option<&BTreeSet<String>>,
    ) -> Result<Sources, Stop> {
        // Listing has no bound that the configuration could change.
        let limits = Limits::default();
        let (root, listed, known) = (root.to_owned(), self.listed.take(), changed.cloned());
        let list = move || {
            let Some(listed) = listed else { return (Sources::from_folder(&root, &limits), true) };
            match known.and_then(|changed| listed.look_again(&changed, &limits)) {
                Some(sources) => (sources, false),
                None => (listed.from_folder_again(&limits), true),
            }
        };
        let (sources, all) = blocking(list).await?;
        let sources = render::content(sources).map_err(Stop::lasting)?;
        self.listed = Some(sources.clone());
        let looked = !all && changed.is_some_and(|changed| !changed.is_empty());
        self.unlisted = looked.then(|| Instant::now() + LISTED_AFTER);
        // A look that is under way began before.
        (self.looking, self.doubted) = (None, None);
        Ok(sources)
    }

    /// Waits until something in the folder differs from what was listed, though the system had not told of it. What differs is
    /// in what is listed then. May be dropped and called again.
    pub(super) async fn differs(&mut self) {
        loop {
            tokio::select! {
                () = sleep_until(self.unlisted) => self.look_at_all(),
                looked = ended(&mut self.looking) => if self.takes(looked) {
                    return;
                },
            }
        }
    }

    /// Begins to list all of the folder, which must have happened some time after a listing of what the system said had
    /// changed: it does not tell of everything. A save does not wait for it.
    fn look_at_all(&mut self) {
        self.unlisted = None;
        let (Some(listed), doubted) = (self.listed.clone(), self.doubted.take()) else { return };
        self.looking = Some(tokio::task::spawn_blocking(move || {
            let again = doubted.as_ref().unwrap_or(&listed).from_folder_again(&Limits::default()).ok()?;
            let differs = |before: &Sources| {
                let mut changes = again.changes_since(before).into_iter();
                changes.any(|(path, _)| is_published(path) && !watch::is_of_database(path))
            };
            let stays = doubted.is_some_and(|doubted| !differs(&doubted));
            differs(&listed).then_some((again, stays))
        }));
    }

    /// Takes over what a look at all of the folder has found, where it differs and has stayed as it is since it was found: a
    /// file may be half written. What is wrong with the folder is said by the publish after the next save.
    fn takes(&mut self, looked: Option<Looked>) -> bool {
        match looked {
            Some((again, true)) => {
                self.listed = Some(again);
                true
            }
            Some((again, false)) => {
                self.doubted = Some(again);
                self.unlisted = Some(Instant::now() + LISTED_AFTER);
                false
            }
            None => false,
        }
    }
}

/// What work says when it has ended, once; nothing where it ended badly.
async fn ended<T>(work: &mut Option<JoinHandle<Option<T>>>) -> Option<T> {
    let Some(under_way) = work else { return std::future::pending().await };
    let result = under_way.await;
    *work = None;
    result.ok().flatten()
}
