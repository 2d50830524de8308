//! Fresh data where it can be had, the last good data where it cannot.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use jiff::Timestamp;

use super::backoff::Backoff;
use super::config::SourceConfig;
use super::error::DataError;
use super::fetch::fetch_all;
use super::snapshot::DataSet;

/// What asking the sources gave.
#[derive(Debug, Default)]
pub struct Refreshed {
    /// The data to render with: fresh where a source answered, its last good data where it did not. A source that is
    /// no longer configured is gone.
    pub data: DataSet,
    /// Sources that answered.
    pub fresh: BTreeSet<String>,
    /// Sources that failed, each with the reason, in the order of the configuration.
    pub failed: Vec<DataError>,
    /// Those of them that have no last good data either: half a site is not to be published.
    pub missing: BTreeSet<String>,
}

/// Asks the sources: all, or those of `only` and those without any data so far. `last` is the last good data.
pub async fn refresh(
    sources: &[SourceConfig],
    only: Option<&BTreeSet<String>>,
    last: &DataSet,
    root: &Path,
    env: &(dyn Fn(&str) -> Option<String> + Sync),
) -> Refreshed {
    let mut refreshed = Refreshed::default();
    let wanted = |source: &&SourceConfig| {
        only.is_none_or(|only| only.contains(&source.name)) || last.get(&source.name).is_none()
    };
    for source in sources {
        if let Some(snapshot) = last.get(&source.name) {
            refreshed.data.insert(&source.name, snapshot.clone());
        }
    }
    for (name, result) in fetch_all(sources.iter().filter(wanted), root, env).await {
        match result {
            Ok(snapshot) => {
                refreshed.data.insert(&name, snapshot);
                refreshed.fresh.insert(name);
            }
            Err(error) => {
                if refreshed.data.get(&name).is_none() {
                    refreshed.missing.insert(name);
                }
                refreshed.failed.push(error);
            }
        }
    }
    refreshed
}

/// Which sources fail, since when, and when each is asked again. Pure; one for the life of a process.
#[derive(Debug, Clone, Default)]
pub struct Retries {
    backoff: Backoff,
    failing: BTreeMap<String, Failing>,
}

/// A source that fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Failing {
    /// Its first failure after its last success.
    pub since: Timestamp,
    /// Failures since then.
    pub attempts: u32,
    /// When it is to be asked again.
    pub again: Timestamp,
}

impl Retries {
    /// Retries with another backoff than the default.
    #[must_use]
    pub fn new(backoff: Backoff) -> Self {
        Self { backoff, failing: BTreeMap::new() }
    }

    /// A source failed. `random` is uniform in 0..=`u32::MAX`. Returns how long it is left alone.
    pub fn failed(&mut self, name: &str, now: Timestamp, random: u32) -> Duration {
        let failing =
            self.failing.entry(name.to_owned()).or_insert(Failing { since: now, attempts: 0, again: now });
        let wait = self.backoff.next(failing.attempts, random);
        failing.attempts = failing.attempts.saturating_add(1);
        failing.again = now.checked_add(wait).unwrap_or(Timestamp::MAX);
        wait
    }

    /// A source answered. Returns what was wrong with it.
    pub fn succeeded(&mut self, name: &str) -> Option<Failing> {
        self.failing.remove(name)
    }

    /// Forgets sources that are no longer configured.
    pub fn retain<'a>(&mut self, configured: impl IntoIterator<Item = &'a str>) {
        let configured: BTreeSet<&str> = configured.into_iter().collect();
        self.failing.retain(|name, _| configured.contains(name.as_str()));
    }

    /// Sources to ask again by now.
    #[must_use]
    pub fn due(&self, now: Timestamp) -> BTreeSet<String> {
        self.failing
            .iter()
            .filter(|(_, failing)| failing.again <= now)
            .map(|(name, _)| name.clone())
            .collect()
    }

    /// When the next is due: a deadline for [`crate::schedule::Runner::set_deadline`], beside the content's own.
    #[must_use]
    pub fn next(&self) -> Option<Timestamp> {
        self.failing.values().map(|failing| failing.again).min()
    }

    /// All sources that fail.
    #[must_use]
    pub fn failing(&self) -> &BTreeMap<String, Failing> {
        &self.failing
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::Snapshot;

    fn sql(name: &str, query: &str) -> SourceConfig {
        toml::from_str(&format!("name = '{name}'\ntype = 'sql'\ndatabase = 'x.db'\nquery = '{query}'"))
            .unwrap()
    }

    #[tokio::test]
    async fn what_fails_keeps_its_last_good_data() {
        let folder = tempfile::tempdir().unwrap();
        let connection = rusqlite::Connection::open(folder.path().join("x.db")).unwrap();
        connection.execute_batch("CREATE TABLE t (a); INSERT INTO t VALUES (1)").unwrap();
        let sources = [
            sql("good", "SELECT a FROM t"),
            sql("bad", "SELECT nothing FROM t"),
            sql("new", "SELECT nothing FROM t"),
            sql("other", "SELECT a FROM t"),
        ];
        let row = |value: i64| Snapshot::new(vec![[("a".to_owned(), value.into())].into_iter().collect()]);
        let last: DataSet =
            ["good", "bad", "other", "gone"].map(|name| (name.to_owned(), row(7))).into_iter().collect();

        let all = refresh(&sources, None, &last, folder.path(), &|_| None).await;
        let data: Vec<_> =
            all.data.iter().map(|(name, rows)| (name, rows == &row(1), rows == &row(7))).collect();
        assert_eq!(data, [("bad", false, true), ("good", true, false), ("other", true, false)]);
        let failed: Vec<_> = all.failed.iter().map(DataError::source_name).collect();
        assert_eq!(failed, ["bad", "new"]);
        assert_eq!(all.missing, BTreeSet::from(["new".to_owned()]));

        // Only one is asked for; what has no data yet is asked as well.
        let only = BTreeSet::from(["good".to_owned()]);
        let some = refresh(&sources, Some(&only), &last, folder.path(), &|_| None).await;
        assert_eq!(some.fresh, only);
        assert_eq!(some.data.get("other"), Some(&row(7)));
        assert_eq!(some.failed.len(), 1);
    }

    #[test]
    fn each_source_has_a_backoff_of_its_own() {
        let at = |second: i64| Timestamp::from_second(second).unwrap();
        let mut retries = Retries::default();
        assert_eq!(retries.next(), None);
        assert_eq!(retries.failed("a", at(0), u32::MAX), Duration::from_secs(1));
        assert_eq!(retries.failed("a", at(1), u32::MAX), Duration::from_secs(2));
        assert_eq!(retries.failed("b", at(1), u32::MAX), Duration::from_secs(1));
        assert_eq!(retries.next(), Some(at(2)));
        assert_eq!(retries.due(at(2)), BTreeSet::from(["b".to_owned()]));
        assert_eq!(retries.due(at(3)).len(), 2);
        assert_eq!(retries.succeeded("a"), Some(Failing { since: at(0), attempts: 2, again: at(3) }));
        assert_eq!(retries.succeeded("a"), None);
        retries.retain([]);
        assert!(retries.failing().is_empty());
    }
}
