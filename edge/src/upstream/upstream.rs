//! One upstream: its connections, its record, and how many requests are under way.

use std::{
    mem,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use metrics::Counter;
use serde::Serialize;

use super::{
    Ask,
    address::Address,
    balance::Candidate,
    breaker::{Admission, Breaker, BreakerRules},
    connect::Dialer,
    pool::Pool,
};
use crate::{
    books::Books,
    clock,
    error::EdgeError,
    metrics::{Histogram, first_bytes},
    policy::freshness::Millis,
    turns::Turn,
};

/// A failure that was found out so late has cost whoever asked more than to ask another.
const SLOW_FAILURE_MIN: Duration = Duration::from_secs(1);

/// What is counted of one upstream: handles, since to look one up by its label costs more than to count.
#[derive(Debug)]
pub(super) struct Meters {
    pub(super) requests: Counter,
    pub(super) retries: Counter,
    errors: Counter,
    reused: Counter,
    pub(super) first_byte: Arc<Histogram>,
}

impl Meters {
    fn of(label: &str) -> Self {
        let counter = |name: &'static str| metrics::counter!(name, "upstream" => label.to_owned());
        Self {
            requests: counter("bakehouse_edge_upstream_requests_total"),
            retries: counter("bakehouse_edge_upstream_retries_total"),
            errors: counter("bakehouse_edge_upstream_errors_total"),
            reused: counter("bakehouse_edge_upstream_reused_total"),
            first_byte: first_bytes(label),
        }
    }
}

/// An upstream.
#[derive(Debug)]
pub(super) struct Upstream {
    pub(super) address: Address,
    pub(super) pool: Arc<Pool>,
    pub(super) meters: Meters,
    identity: u64,
    breaker: Mutex<Breaker>,
    /// What active checks say; true where there are none.
    healthy: AtomicBool,
    in_flight: AtomicUsize,
    requests: AtomicU64,
    reused: AtomicU64,
    failures: AtomicU64,
}

/// How an upstream is, for operators.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct UpstreamState {
    /// Its URL.
    pub url: String,
    /// Whether it is asked before others that are in trouble: it is healthy and has not just failed.
    pub up: bool,
    /// What active health checks say; true where there are none.
    pub healthy: bool,
    /// Whether it failed so often in a row that one request at a time tries it.
    pub circuit_open: bool,
    /// Percent of its full part that it takes: less than 100 while it starts slowly.
    pub share_percent: u32,
    /// Requests under way.
    pub in_flight: usize,
    /// Requests sent.
    pub requests: u64,
    /// Requests that it did not answer, or whose content broke off or stalled.
    pub failures: u64,
    /// Connections made to it.
    pub connections: u64,
    /// Requests that were answered on a connection that had been used before.
    pub reused: u64,
}

impl Upstream {
    pub(super) fn new(
        address: Address,
        tls: Option<&Arc<rustls::ClientConfig>>,
        connect: Duration,
        idle_connection: Duration,
        books: &Arc<Books>,
    ) -> Self {
        let dialer = Dialer::new(&address, tls, connect, Arc::clone(books));
        let digest = blake3::hash(address.label.as_bytes());
        let identity = digest.as_bytes().first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes));
        Self {
            meters: Meters::of(&address.label),
            address,
            pool: Pool::new(dialer, idle_connection),
            identity,
            breaker: Mutex::default(),
            healthy: AtomicBool::new(true),
            in_flight: AtomicUsize::new(0),
            requests: AtomicU64::new(0),
            reused: AtomicU64::new(0),
            failures: AtomicU64::new(0),
        }
    }

    pub(super) fn label(&self) -> &str {
        &self.address.label
    }

    /// Notes an answer on a connection that had been used before.
    pub(super) fn note_reuse(&self) {
        self.reused.fetch_add(1, Ordering::Relaxed);
        self.meters.reused.increment(1);
    }

    fn breaker(&self) -> MutexGuard<'_, Breaker> {
        self.breaker.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether it is asked before those in trouble.
    pub(super) fn is_up(&self, now: Millis) -> bool {
        self.healthy.load(Ordering::Relaxed) && self.breaker().is_up(now)
    }

    /// The same for a question of this edge's own.
    pub(super) fn answers(&self, now: Millis) -> bool {
        self.healthy.load(Ordering::Relaxed) && self.breaker().answers(now)
    }

    pub(super) fn candidate(&self, now: Millis, rules: BreakerRules) -> Candidate {
        let breaker = self.breaker();
        Candidate {
            // One whose circuit is open is tried in its turn, or it would never be found to be back.
            usable: self.healthy.load(Ordering::Relaxed)
                && breaker.is_up(now)
                && !breaker.refuses(now, rules),
            in_flight: self.in_flight.load(Ordering::Relaxed),
            share: breaker.share(now, rules),
            identity: self.identity,
        }
    }

    /// Whether its circuit is open and somebody tries it already.
    pub(super) fn refuses(&self, rules: BreakerRules) -> bool {
        self.breaker().refuses(clock::boot_ms(), rules)
    }

    /// Takes part in it for one request, which as a trial keeps others out for so long at most.
    pub(super) fn enter(
        self: &Arc<Self>,
        rules: BreakerRules,
        ask: &Ask,
        trial_max: Duration,
    ) -> Result<Permit, EdgeError> {
        let trial_max = Millis::try_from(trial_max.as_millis()).unwrap_or(Millis::MAX);
        let (admission, counted_before) = {
            let mut breaker = self.breaker();
            let counted = breaker.counted();
            // An answer to it would not end what a trial is for.
            let admission = if ask.is_own && !breaker.is_open(rules) {
                Admission::Pass
            } else {
                breaker.admit(clock::boot_ms(), rules, trial_max)
            };
            (admission, counted)
        };
        if admission == Admission::Refuse {
            return Err(EdgeError::CircuitOpen { upstream: self.label().to_owned() });
        }
        self.requests.fetch_add(1, Ordering::Relaxed);
        let (is_trial, is_own) = (admission == Admission::Trial, ask.is_own);
        let under_way = UnderWay::begin(self);
        Ok(Permit { under_way, is_trial, is_own, counted_before, _turn: ask.turn.clone() })
    }

    /// What a health check has found.
    pub(super) fn set_healthy(&self, healthy: bool) {
        match (self.note_health(healthy), healthy) {
            (true, false) => tracing::warn!(upstream = self.label(), "upstream fails its health checks"),
            (false, true) => {
                tracing::info!(upstream = self.label(), "upstream passes its health checks again")
            }
            _ => {}
        }
    }

    /// Nobody checks it any more.
    pub(super) fn is_unchecked(&self) {
        if !self.note_health(true) {
            tracing::info!(
                upstream = self.label(),
                "upstream is not checked any more, and counts as healthy"
            );
        }
    }

    /// Returns whether it was healthy before.
    fn note_health(&self, healthy: bool) -> bool {
        let before = self.healthy.swap(healthy, Ordering::Relaxed);
        if healthy && !before {
            self.breaker().is_back(clock::boot_ms());
        }
        before
    }

    pub(super) fn is_healthy(&self) -> bool {
        self.healthy.load(Ordering::Relaxed)
    }

    pub(super) fn state(&self, now: Millis, rules: BreakerRules) -> UpstreamState {
        let (circuit_open, share) = {
            let breaker = self.breaker();
            (breaker.is_open(rules), breaker.share(now, rules))
        };
        UpstreamState {
            url: self.label().to_owned(),
            up: self.is_up(now) && !circuit_open,
            healthy: self.is_healthy(),
            circuit_open,
            share_percent: share * 100 / super::balance::SHARE_WHOLE,
            in_flight: self.in_flight.load(Ordering::Relaxed),
            requests: self.requests.load(Ordering::Relaxed),
            failures: self.failures.load(Ordering::Relaxed),
            connections: self.pool.dialer.made(),
            reused: self.reused.load(Ordering::Relaxed),
        }
    }
}

/// One of the requests that are under way at an upstream, or a tunnel that one has become.
#[derive(Debug)]
pub(crate) struct UnderWay(Arc<Upstream>);

impl UnderWay {
    pub(super) fn begin(upstream: &Arc<Upstream>) -> Self {
        upstream.in_flight.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(upstream))
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

/// One request's part in an upstream, until its response has ended.
#[derive(Debug)]
pub(super) struct Permit {
    under_way: UnderWay,
    is_trial: bool,
    /// Whether it is this edge's own question, for which no client waits.
    is_own: bool,
    /// Failures of its upstream that were counted when it began.
    counted_before: u64,
    _turn: Option<Arc<Turn>>,
}

impl Permit {
    fn upstream(&self) -> &Upstream {
        &self.under_way.0
    }

    /// It answered, as far as that is known by now.
    pub(super) fn succeeded(&mut self) {
        self.is_trial = false;
        let (mut breaker, now) = (self.upstream().breaker(), clock::boot_ms());
        let is_back = if self.is_own { breaker.answered(now) } else { breaker.succeeded(now) };
        drop(breaker);
        self.tell(is_back);
    }

    /// The content of its answer came to its end.
    pub(super) fn completed(self) {
        let is_back = self.upstream().breaker().completed(clock::boot_ms());
        self.tell(is_back);
    }

    fn tell(&self, is_back: bool) {
        if is_back {
            tracing::info!(upstream = self.upstream().label(), "upstream answers again");
        }
    }

    /// It did not answer, and that was its own fault, found out after so long.
    pub(super) fn failed(mut self, error: &EdgeError, after: Duration) {
        let is_trial = mem::take(&mut self.is_trial);
        let (mut breaker, now) = (self.upstream().breaker(), clock::boot_ms());
        let is_slow = after >= SLOW_FAILURE_MIN || matches!(error, EdgeError::FirstByte { .. });
        if is_slow && !self.is_own {
            breaker.failed_slowly(now, is_trial);
        } else if is_trial || breaker.counted() == self.counted_before {
            breaker.failed(now);
        }
        drop(breaker);
        self.count(error);
    }

    /// It answered, and the content broke off or, if it is late, stalled.
    pub(super) fn broke(mut self, error: &EdgeError, is_late: bool) {
        self.is_trial = false;
        let mut breaker = self.upstream().breaker();
        if is_late || breaker.counted() == self.counted_before {
            breaker.broke(clock::boot_ms());
        }
        drop(breaker);
        self.count(error);
    }

    fn count(&self, error: &EdgeError) {
        self.upstream().failures.fetch_add(1, Ordering::Relaxed);
        self.upstream().meters.errors.increment(1);
        tracing::warn!(upstream = self.upstream().label(), %error, "upstream failed");
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if self.is_trial {
            self.upstream().breaker().abandoned();
        }
    }
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, Method};

    use super::*;

    #[test]
    fn what_a_restart_ends_at_once_is_one_failure() {
        const RULES: BreakerRules = BreakerRules { failures: 3, slow_start: Duration::ZERO };
        let address = Address::parse("http://127.0.0.1:1").unwrap();
        let upstream = Upstream::new(address, None, Duration::ZERO, Duration::ZERO, &Arc::default());
        let upstream = Arc::new(upstream);
        let ask = Ask::new(Method::GET, "/".into(), HeaderMap::new());
        let begin = || upstream.enter(RULES, &ask, Duration::MAX).unwrap();
        let state = || {
            let state = upstream.state(clock::boot_ms(), RULES);
            (state.circuit_open, state.failures)
        };
        let fail = |permit: Permit| permit.failed(&EdgeError::UpstreamBroke, Duration::ZERO);
        let [under_way, mut answered]: [Vec<Permit>; 2] = [9, 9].map(|n| (0..n).map(|_| begin()).collect());
        under_way.into_iter().for_each(fail);
        answered.iter_mut().for_each(Permit::succeeded);
        answered.into_iter().for_each(|permit| permit.broke(&EdgeError::UpstreamBroke, false));
        assert_eq!(state(), (false, 18));
        // One after the other they are three.
        (0..3).for_each(|_| fail(begin()));
        assert_eq!(state(), (true, 21));
        // What took long to find out counts for each: so long a client has waited.
        begin().succeeded();
        let under_way: Vec<Permit> = (0..3).map(|_| begin()).collect();
        under_way.into_iter().for_each(|permit| permit.failed(&EdgeError::UpstreamBroke, SLOW_FAILURE_MIN));
        assert_eq!(state(), (true, 24));
    }
}
