//! The data of a site's dynamic sources in a process that runs on: what each gave when it was last read well, and when
//! those that fail are asked again.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Duration;

use jiff::Timestamp;
use renderer::data::{self, Backoff, DataSet, Fingerprint, Retries, Snapshot};

use crate::config::Config;
use crate::{failure, render};

/// First and longest wait before what failed is tried again.
pub const BACKOFF: Backoff = Backoff { base: Duration::from_secs(1), cap: Duration::from_secs(60) };

/// Which sources to ask, beside those that are due: all, some, or none.
pub enum Ask {
    /// Every one.
    All,
    /// These.
    Some(BTreeSet<String>),
}

impl Ask {
    /// Asks these too; none stand for all.
    pub fn add(&mut self, sources: Option<BTreeSet<String>>) {
        match (&mut *self, sources) {
            (Self::All, _) => {}
            (_, None) => *self = Self::All,
            (Self::Some(names), Some(more)) => names.extend(more),
        }
    }
}

/// The last good data of each source.
pub struct Fetched {
    /// Where relative paths of sources begin.
    root: PathBuf,
    good: DataSet,
    retries: Retries,
    /// What the databases' files were like when they were read last.
    fingerprints: BTreeMap<String, Fingerprint>,
}

impl Fetched {
    /// Nothing yet, of a site in this folder.
    pub fn new(root: PathBuf) -> Self {
        Self { root, good: DataSet::new(), retries: Retries::new(BACKOFF), fingerprints: BTreeMap::new() }
    }

    /// Takes over what another process read.
    pub fn seed(&mut self, name: &str, snapshot: Snapshot) {
        self.good.insert(name, snapshot);
    }

    /// Asks the sources that are called for, those whose next try is due, those whose file was written, and those
    /// without data. What fails keeps its last good data, and a text says so.
    ///
    /// # Errors
    /// Where a source fails and there is no earlier data of it: half a site is worse than none.
    pub async fn refresh(&mut self, config: &Config, ask: &Ask) -> anyhow::Result<Vec<String>> {
        self.retries.retain(config.source.iter().map(|s| s.name.as_str()));
        let prints =
            config.source.iter().filter_map(|s| Some((s.name.clone(), data::fingerprint(s, &self.root)?)));
        let prints: BTreeMap<String, Fingerprint> = prints.collect();
        let written = prints.iter().filter(|(name, print)| self.fingerprints.get(*name) != Some(print));
        let only: Option<BTreeSet<String>> = match ask {
            Ask::All => None,
            Ask::Some(names) => {
                let due = self.retries.due(Timestamp::now());
                Some(names.iter().chain(&due).chain(written.map(|(name, _)| name)).cloned().collect())
            }
        };
        let refreshed =
            data::refresh(&config.source, only.as_ref(), &self.good, &self.root, &render::environment).await;
        for name in &refreshed.fresh {
            if let Some(print) = prints.get(name) {
                self.fingerprints.insert(name.clone(), print.clone());
            }
            if let Some(failing) = self.retries.succeeded(name) {
                tracing::info!(source = name, attempts = failing.attempts, "the source can be read again");
            }
        }
        for error in &refreshed.failed {
            self.retries.failed(error.source_name(), Timestamp::now(), rand::random());
        }
        self.good = refreshed.data;
        if refreshed.missing.is_empty() {
            return Ok(refreshed.failed.iter().map(ToString::to_string).collect());
        }
        let lacking = refreshed.failed.iter().filter(|e| refreshed.missing.contains(e.source_name()));
        let texts: Vec<String> = lacking.clone().map(ToString::to_string).collect();
        let hint = lacking.clone().find_map(data::DataError::hint);
        let error = anyhow::anyhow!("{}; there is no earlier data to fall back on", texts.join("; "));
        Err(failure::hinted(error, hint))
    }

    /// The data of the sources that are configured now.
    pub fn data_of(&self, config: &Config) -> DataSet {
        let known = |s: &data::SourceConfig| Some((s.name.clone(), self.good.get(&s.name)?.clone()));
        config.source.iter().filter_map(known).collect()
    }

    /// When the next failed source is asked again.
    pub fn next_try(&self) -> Option<Timestamp> {
        self.retries.next()
    }
}
