//! Which edges there are, and how far each is.
//!
//! An edge is known by its polls. The poll after an entry was applied is its acknowledgement. An
//! edge that has not polled for a lease does not serve as if it were up to date any more, so nobody
//! needs to wait for it.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};

use release::keys::Site;
use release::wire::{Ack, Dropped, EdgeProgress, EdgeReceipt};
use tokio::sync::watch;

use crate::clock::Moment;

/// Edges that are remembered: beyond, those that were silent longest are forgotten.
pub const EDGES_MAX: usize = 10_000;
/// Entries for which the number of dropped copies is remembered, for each edge and site.
const DROPPED_MAX: usize = 256;
/// Leases after which an edge that is silent is forgotten.
const SILENT_LEASES_MAX: u64 = 20;

/// The edges that have polled this origin.
#[derive(Debug)]
pub struct Edges {
    lease_ms: u64,
    known: Mutex<HashMap<String, Known>>,
    changed: watch::Sender<()>,
}

#[derive(Debug)]
struct Known {
    polled: Moment,
    sites: HashMap<Site, Progress>,
}

#[derive(Debug, Default)]
struct Progress {
    seq: u64,
    dropped: BTreeMap<u64, Dropped>,
}

impl Edges {
    /// None yet. An edge counts as alive for `lease_ms` after each poll.
    pub fn new(lease_ms: u64) -> Self {
        Self { lease_ms, known: Mutex::default(), changed: watch::Sender::new(()) }
    }

    /// Milliseconds of a lease.
    pub fn lease_ms(&self) -> u64 {
        self.lease_ms
    }

    /// A way to wait for polls.
    pub fn watch(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Known>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An edge has polled, at `now`: it is at these entries, and dropped so much for those.
    pub fn polled(&self, edge: &str, now: Moment, at: &[(Site, u64)], acks: &[Ack]) {
        let mut known = self.lock();
        if !known.contains_key(edge) && known.len() >= EDGES_MAX {
            let longest = known.iter().min_by_key(|(_, k)| k.polled).map(|(name, _)| name.clone());
            longest.map(|name| known.remove(&name));
        }
        known.retain(|_, k| now.ms_since(k.polled) <= self.lease_ms * SILENT_LEASES_MAX);
        let entry = known.entry(edge.to_owned());
        let known_edge = entry.or_insert_with(|| Known { polled: now, sites: HashMap::new() });
        known_edge.polled = now;
        for (site, seq) in at {
            let progress = known_edge.sites.entry(site.clone()).or_default();
            // An edge that was started again begins anew; it holds nothing then.
            progress.seq = *seq;
        }
        for ack in acks {
            let progress = known_edge.sites.entry(ack.site.clone()).or_default();
            progress.seq = progress.seq.max(ack.seq);
            progress.dropped.insert(ack.seq, ack.dropped);
            while progress.dropped.len() > DROPPED_MAX {
                progress.dropped.pop_first();
            }
        }
        drop(known);
        self.changed.send_replace(());
    }

    /// Edges that polled within a lease, as of `now`.
    pub fn alive(&self, now: Moment) -> Vec<String> {
        let known = self.lock();
        let alive = known.iter().filter(|(_, k)| now.ms_since(k.polled) <= self.lease_ms);
        alive.map(|(name, _)| name.clone()).collect()
    }

    /// How far each edge is that polled within a lease, or that is `expected`.
    pub fn progress(&self, site: &Site, seq: u64, expected: &[String], now: Moment) -> Vec<EdgeReceipt> {
        let known = self.lock();
        let mut receipts: Vec<EdgeReceipt> = known
            .iter()
            .filter(|(name, k)| now.ms_since(k.polled) <= self.lease_ms || expected.contains(name))
            .map(|(name, k)| {
                let progress = k.sites.get(site);
                let state = if progress.is_some_and(|p| p.seq >= seq) {
                    EdgeProgress::Applied
                } else if now.ms_since(k.polled) <= self.lease_ms {
                    EdgeProgress::Pending
                } else {
                    EdgeProgress::Lapsed
                };
                let dropped = progress.and_then(|p| p.dropped.get(&seq)).copied().unwrap_or_default();
                EdgeReceipt { edge: name.clone(), state, dropped }
            })
            .collect();
        let forgotten = expected.iter().filter(|name| !known.contains_key(*name));
        receipts.extend(forgotten.map(|name| EdgeReceipt {
            edge: name.clone(),
            state: EdgeProgress::Lapsed,
            dropped: Dropped::default(),
        }));
        receipts.sort_by(|a, b| a.edge.cmp(&b.edge));
        receipts
    }

    /// The last entry that each living edge has applied.
    pub fn last(&self, site: &Site, now: Moment) -> Vec<EdgeReceipt> {
        self.progress(site, 0, &[], now)
    }
}

/// Puts together what several origins know: an edge may poll now this one and now that.
pub fn merge(all: impl IntoIterator<Item = EdgeReceipt>) -> Vec<EdgeReceipt> {
    let rank = |state| match state {
        EdgeProgress::Lapsed => 0,
        EdgeProgress::Pending => 1,
        EdgeProgress::Applied => 2,
    };
    let mut merged: BTreeMap<String, EdgeReceipt> = BTreeMap::new();
    for receipt in all {
        match merged.get_mut(&receipt.edge) {
            Some(there) => {
                if receipt.dropped.dropped > there.dropped.dropped {
                    there.dropped = receipt.dropped;
                }
                if rank(receipt.state) > rank(there.state) {
                    there.state = receipt.state;
                }
            }
            None => {
                merged.insert(receipt.edge.clone(), receipt);
            }
        }
    }
    merged.into_values().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_edge_applies_lapses_and_is_forgotten() {
        let site: Site = "main".parse().unwrap();
        let edges = Edges::new(1_000);
        let start = Moment::now();
        let at = |ms| start.later(ms);
        edges.polled("a", at(0), &[(site.clone(), 4)], &[]);
        let ack: Ack = "main:5:3:counting".parse().unwrap();
        assert_eq!(ack.to_string(), "main:5:3:counting");
        edges.polled("b", at(500), &[(site.clone(), 5)], &[ack]);
        let states = |ms, expected: &[String]| {
            let progress = edges.progress(&site, 5, expected, at(ms));
            progress.into_iter().map(|r| (r.edge, r.state, r.dropped.to_string())).collect::<Vec<_>>()
        };
        let none = || "0 dropped".to_owned();
        let b = || ("b".to_owned(), EdgeProgress::Applied, "at least 3 dropped".to_owned());
        assert_eq!(states(600, &[]), [("a".into(), EdgeProgress::Pending, none()), b()]);
        assert_eq!(states(1_200, &[]), [b()]);
        let expected = ["a".to_owned(), "c".to_owned()];
        assert_eq!(
            states(1_200, &expected),
            [("a".into(), EdgeProgress::Lapsed, none()), b(), ("c".into(), EdgeProgress::Lapsed, none())]
        );
        assert_eq!(edges.alive(at(1_200)), ["b"]);
    }

    #[test]
    fn what_several_origins_know_is_put_together() {
        let receipt = |state, dropped| {
            let dropped = Dropped { dropped, counting: false };
            EdgeReceipt { edge: "a".into(), state, dropped }
        };
        let merged = merge([receipt(EdgeProgress::Lapsed, 0), receipt(EdgeProgress::Applied, 2)]);
        assert_eq!(merged, [receipt(EdgeProgress::Applied, 2)]);
    }
}
