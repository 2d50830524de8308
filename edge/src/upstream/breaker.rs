//! What an upstream's failures mean for the next request: pure, with the time as an argument.
//!
//! One that fails is passed over for a while, longer with each failure in a row. One that keeps failing has its circuit
//! opened: until it answers, one request at a time tries it and all others go elsewhere at once, so that a service
//! that is falling over is not held down by its own clients. One that is back takes its share slowly.
//!
//! A failure that took long has cost a client that time. From the first on, one request at a time finds out whether the
//! next would, after pauses that grow further; that a health check passes says nothing about it.

use std::time::Duration;

use super::balance::SHARE_WHOLE;
use crate::policy::freshness::Millis;

/// How long an upstream is passed over after its first failure in a row; doubled with each.
const BACKOFF_MS: Millis = 250;
/// At most this long: well within a lease, so that an origin that is back is heard before it lapses.
const BACKOFF_MS_MAX: Millis = 3_000;
/// The same after failures that took long. What is given up meanwhile costs those clients nothing who have somebody else
/// to ask.
const SLOW_BACKOFF_MS: Millis = 1_000;
const SLOW_BACKOFF_MS_MAX: Millis = 60_000;

/// When a circuit opens, and how an upstream comes back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BreakerRules {
    /// Failures in a row that open the circuit; 0: it never opens.
    pub failures: u32,
    /// For how long an upstream that is back gets less than its part, growing evenly.
    pub slow_start: Duration,
}

/// Whether a request may go to an upstream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Admission {
    /// It may.
    Pass,
    /// It is the one that finds out whether the upstream is back.
    Trial,
    /// It may not.
    Refuse,
}

/// An upstream's record.
#[derive(Debug, Clone, Default)]
pub(super) struct Breaker {
    /// Requests in a row that it did not answer.
    failures: u32,
    /// Answers in a row whose content broke off or stalled: one that begins well says nothing about these.
    broken: u32,
    /// Trials in a row, and the request before the first, whose failure took long.
    slow: u32,
    /// Failures that were counted since the start.
    counted: u64,
    passed_over_until: Millis,
    /// The same for all but questions of this edge's own.
    slow_until: Millis,
    /// Until when one request tries it alone, unless that ends before; 0: none does.
    trial_until: Millis,
    /// When it came back; 0: it was never gone.
    back_since: Millis,
}

impl Breaker {
    /// Whether it should be asked before those that are in trouble.
    pub(super) fn is_up(&self, now: Millis) -> bool {
        self.answers(now) && self.slow_until <= now && !(self.slow > 0 && self.is_tried(now))
    }

    /// The same for a question of this edge's own, which another deadline bounds and no client waits for.
    pub(super) fn answers(&self, now: Millis) -> bool {
        self.passed_over_until <= now
    }

    /// Whether the circuit is open: it failed so often that only a trial may go there.
    pub(super) fn is_open(&self, rules: BreakerRules) -> bool {
        rules.failures > 0 && self.in_a_row() >= rules.failures
    }

    /// Whether a request would be refused now.
    pub(super) fn refuses(&self, now: Millis, rules: BreakerRules) -> bool {
        self.is_open(rules) && self.is_tried(now)
    }

    fn is_tried(&self, now: Millis) -> bool {
        now < self.trial_until
    }

    /// Failures that were counted so far. Those of requests that began before the last of them are a part of it: what ends all
    /// that is under way at once, as a restart does, is one failure.
    pub(super) fn counted(&self) -> u64 {
        self.counted
    }

    fn in_a_row(&self) -> u32 {
        self.failures.saturating_add(self.broken)
    }

    /// Asks for one request. A trial must be followed by [`Breaker::succeeded`], [`Breaker::failed`],
    /// [`Breaker::failed_slowly`] or [`Breaker::abandoned`]; after so long another one may begin.
    pub(super) fn admit(&mut self, now: Millis, rules: BreakerRules, trial_max: Millis) -> Admission {
        if self.refuses(now, rules) {
            return Admission::Refuse;
        }
        // Whoever has nobody else to ask is let through beside the trial.
        if self.is_tried(now) || !(self.slow > 0 || self.is_open(rules)) {
            return Admission::Pass;
        }
        self.trial_until = now.saturating_add(trial_max);
        Admission::Trial
    }

    /// It answered, with content that has begun or with none; `true` where it had failed before. Ends a trial even where
    /// that does not close the circuit: content may take for ever, and others must be able to try.
    pub(super) fn succeeded(&mut self, now: Millis) -> bool {
        self.trial_until = 0;
        (self.passed_over_until, self.slow_until) = (0, 0);
        let had_failed = self.failures > 0;
        (self.failures, self.slow) = (0, 0);
        self.is_back_if(had_failed, now)
    }

    /// Its content came to its end; `true` where it had failed before.
    pub(super) fn completed(&mut self, now: Millis) -> bool {
        let had_broken = self.broken > 0;
        self.broken = 0;
        self.is_back_if(had_broken, now)
    }

    fn is_back_if(&mut self, was_gone: bool, now: Millis) -> bool {
        let is_back = was_gone && self.in_a_row() == 0;
        if is_back {
            self.back_since = now.max(1);
        }
        is_back
    }

    /// It did not answer.
    pub(super) fn failed(&mut self, now: Millis) {
        self.pass_over(now);
        self.failures = self.failures.saturating_add(1);
    }

    /// It did not answer, and to find that out took long. Of requests that were under way at the same time, one counts.
    pub(super) fn failed_slowly(&mut self, now: Millis, is_trial: bool) {
        if is_trial || self.slow == 0 {
            let backoff = (SLOW_BACKOFF_MS << self.slow.min(16)).min(SLOW_BACKOFF_MS_MAX);
            self.slow = self.slow.saturating_add(1);
            self.slow_until = now + backoff;
            self.trial_until = 0;
        }
        self.counted += 1;
        self.failures = self.failures.saturating_add(1);
    }

    /// It answered, and its content broke off or stalled.
    pub(super) fn broke(&mut self, now: Millis) {
        self.pass_over(now);
        self.broken = self.broken.saturating_add(1);
    }

    fn pass_over(&mut self, now: Millis) {
        self.counted += 1;
        self.trial_until = 0;
        let backoff = (BACKOFF_MS << self.in_a_row().min(16)).min(BACKOFF_MS_MAX);
        self.passed_over_until = now + backoff;
    }

    /// A trial ended without anything learnt, such as a client that left.
    pub(super) fn abandoned(&mut self) {
        self.trial_until = 0;
    }

    /// Health checks found it back. They say nothing of what took long.
    pub(super) fn is_back(&mut self, now: Millis) {
        let Self { counted, slow, slow_until, trial_until, .. } = *self;
        let trial_until = if slow > 0 { trial_until } else { 0 };
        *self = Self { counted, slow, slow_until, trial_until, back_since: now.max(1), ..Self::default() };
    }

    /// It answered a question of this edge's own, which says nothing of what took long either.
    pub(super) fn answered(&mut self, now: Millis) -> bool {
        if self.slow == 0 {
            return self.succeeded(now);
        }
        self.passed_over_until = 0;
        false
    }

    /// How much of its part it takes now, in [`SHARE_WHOLE`]ths.
    pub(super) fn share(&self, now: Millis, rules: BreakerRules) -> u32 {
        let slow = u64::try_from(rules.slow_start.as_millis()).unwrap_or(u64::MAX);
        let since = now.saturating_sub(self.back_since);
        if self.back_since == 0 || since >= slow {
            return SHARE_WHOLE;
        }
        let share = since.saturating_mul(u64::from(SHARE_WHOLE)) / slow;
        // From the start a little, or nothing would ever be learnt.
        u32::try_from(share).unwrap_or(SHARE_WHOLE).max(SHARE_WHOLE / 16)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULES: BreakerRules = BreakerRules { failures: 3, slow_start: Duration::from_secs(10) };

    /// When those of these tests ask that are not about time: a trial lasts until something ends it.
    const NOW: Millis = 3;

    fn admit(breaker: &mut Breaker) -> Admission {
        breaker.admit(NOW, RULES, Millis::MAX)
    }

    #[test]
    fn failures_in_a_row_are_passed_over_longer() {
        let mut breaker = Breaker::default();
        for (failure, wait) in [(1, 250), (2, 500), (3, 1_000), (4, 2_000), (5, 3_000), (6, 3_000)] {
            breaker.failed(1_000);
            assert!(!breaker.is_up(1_000 + wait - 1) && breaker.is_up(1_000 + wait), "{failure}");
        }
    }

    #[test]
    fn an_open_circuit_lets_one_trial_through() {
        let mut breaker = Breaker::default();
        breaker.failed(0);
        breaker.failed(0);
        assert_eq!(admit(&mut breaker), Admission::Pass);
        breaker.failed(0);
        assert_eq!([admit(&mut breaker), admit(&mut breaker)], [Admission::Trial, Admission::Refuse]);
        breaker.abandoned();
        assert!(!breaker.refuses(NOW, RULES));
        assert_eq!(admit(&mut breaker), Admission::Trial);
        assert!(breaker.refuses(NOW, RULES));
        breaker.failed(0);
        assert_eq!([admit(&mut breaker), admit(&mut breaker)], [Admission::Trial, Admission::Refuse]);
        assert!(breaker.succeeded(5), "it is back");
        assert_eq!([admit(&mut breaker), admit(&mut breaker)], [Admission::Pass, Admission::Pass]);
        assert!(!breaker.succeeded(6), "that is no news");
    }

    #[test]
    fn a_trial_that_takes_long_by_its_client_keeps_nobody_out() {
        let mut breaker = Breaker::default();
        (0..3).for_each(|_| breaker.failed(0));
        let mut admit = |now| breaker.admit(now, RULES, 2_000);
        assert_eq!(
            [admit(5), admit(6), admit(2_004)],
            [Admission::Trial, Admission::Refuse, Admission::Refuse]
        );
        assert_eq!([admit(2_005), admit(2_006)], [Admission::Trial, Admission::Refuse]);
    }

    #[test]
    fn content_that_breaks_off_opens_it_however_well_it_begins() {
        let mut breaker = Breaker::default();
        for n in 1..=3 {
            assert_eq!(admit(&mut breaker), Admission::Pass);
            assert!(!breaker.succeeded(n), "the content is not there yet");
            breaker.broke(n);
            assert!(!breaker.is_up(n + 249));
        }
        // Trials one after the other; an answer that has begun makes room for the next, and closes nothing.
        assert_eq!([admit(&mut breaker), admit(&mut breaker)], [Admission::Trial, Admission::Refuse]);
        assert!(!breaker.succeeded(4) && breaker.is_open(RULES));
        assert_eq!([admit(&mut breaker), admit(&mut breaker)], [Admission::Trial, Admission::Refuse]);
        assert!(!breaker.succeeded(5) && breaker.completed(6), "it is back");
        assert_eq!([admit(&mut breaker), admit(&mut breaker)], [Admission::Pass, Admission::Pass]);
        assert!(!breaker.completed(7), "that is no news");
        assert!(breaker.share(6, RULES) < SHARE_WHOLE);
        // Both kinds count together, since neither was followed by anything good.
        breaker.broke(8);
        breaker.failed(8);
        breaker.failed(8);
        assert!(breaker.is_open(RULES));
        assert!(!breaker.succeeded(9) && !breaker.is_open(RULES), "one is left");
        assert!(breaker.completed(10));
    }

    #[test]
    fn what_fails_slowly_is_tried_by_one_at_a_time_after_pauses_that_grow() {
        let mut breaker = Breaker::default();
        let mut now = 5_000;
        // Three that were under way at once are one failure.
        for _ in 0..3 {
            breaker.failed_slowly(now, false);
        }
        for pause in [1, 2, 4, 8, 16, 32, 60, 60] {
            assert!(!breaker.is_up(now + pause * 1_000 - 1) && breaker.is_up(now + pause * 1_000), "{pause}");
            // No check, and no answer to another kind of question, shortens it.
            breaker.is_back(now);
            assert!(!breaker.answered(now));
            assert!(!breaker.is_up(now + pause * 1_000 - 1), "{pause}");
            now += pause * 1_000;
            let never = BreakerRules { failures: 0, ..RULES };
            assert_eq!(breaker.admit(now, never, Millis::MAX), Admission::Trial);
            assert!(!breaker.is_up(now + 60_000) && breaker.answers(now), "others go elsewhere meanwhile");
            assert_eq!(
                breaker.admit(now, never, Millis::MAX),
                Admission::Pass,
                "but who has nobody else may ask"
            );
            breaker.failed_slowly(now, false);
            breaker.is_back(now);
            assert!(!breaker.is_up(now), "the trial is still under way");
            now += 5_000;
            breaker.failed_slowly(now, true);
        }
        assert_eq!(admit(&mut breaker), Admission::Trial);
        breaker.succeeded(now);
        assert!(breaker.is_up(now));
        assert_eq!([admit(&mut breaker), admit(&mut breaker)], [Admission::Pass, Admission::Pass]);
        breaker.failed_slowly(now, false);
        assert!(breaker.is_up(now + 1_000), "the pauses begin anew");
    }

    #[test]
    fn without_a_number_of_failures_it_never_opens() {
        let mut breaker = Breaker::default();
        for _ in 0..100 {
            breaker.failed(0);
        }
        assert_eq!(breaker.admit(0, BreakerRules { failures: 0, ..RULES }, Millis::MAX), Admission::Pass);
    }

    #[test]
    fn who_is_back_starts_slowly() {
        let mut breaker = Breaker::default();
        assert_eq!(breaker.share(0, RULES), SHARE_WHOLE, "a new one is trusted");
        breaker.failed(0);
        breaker.succeeded(1_000);
        let shares: Vec<u32> =
            [1_000, 3_500, 6_000, 11_000, 90_000].iter().map(|now| breaker.share(*now, RULES)).collect();
        assert_eq!(shares, [64, 256, 512, 1_024, 1_024]);
        let at_once = BreakerRules { slow_start: Duration::ZERO, ..RULES };
        assert_eq!(breaker.share(1_000, at_once), SHARE_WHOLE);
    }
}
