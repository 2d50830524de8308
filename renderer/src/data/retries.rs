//! Which sources fail, and when each is asked again.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::Timestamp;

use super::backoff::Backoff;

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
