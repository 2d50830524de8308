//! How long to wait before a source that failed is asked again.

use std::time::Duration;

/// Exponential backoff with full jitter and a cap, one for each source. Pure: the caller brings the random number, so
/// that a test brings a known one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    /// The longest wait before the second attempt.
    pub base: Duration,
    /// The longest wait at all.
    pub cap: Duration,
}

impl Default for Backoff {
    /// From one second to one minute: a restarted API is noticed soon, a dead one costs it a request a minute.
    fn default() -> Self {
        Self { base: Duration::from_secs(1), cap: Duration::from_secs(60) }
    }
}

impl Backoff {
    /// The longest wait after the failed attempt number `attempt`, counted from 0.
    #[must_use]
    pub fn ceiling(&self, attempt: u32) -> Duration {
        let factor = 1_u32.checked_shl(attempt).unwrap_or(u32::MAX);
        self.base.saturating_mul(factor).min(self.cap)
    }

    /// The wait after the failed attempt number `attempt`, counted from 0. `random` is uniform in 0..=`u32::MAX`; the
    /// wait is uniform between a tenth of the ceiling and the ceiling: fellows spread, and nobody is asked at once.
    #[must_use]
    pub fn next(&self, attempt: u32, random: u32) -> Duration {
        let ceiling = self.ceiling(attempt);
        let floor = ceiling / 10;
        floor + (ceiling - floor).mul_f64(f64::from(random) / f64::from(u32::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doubles_to_the_cap_and_stays_there() {
        let backoff = Backoff::default();
        let seconds: Vec<u64> = (0..9).map(|attempt| backoff.next(attempt, u32::MAX).as_secs()).collect();
        assert_eq!(seconds, [1, 2, 4, 8, 16, 32, 60, 60, 60]);
        assert_eq!(backoff.next(u32::MAX, u32::MAX), backoff.cap);
    }

    #[test]
    fn jitter_covers_the_range_but_never_zero() {
        let backoff = Backoff::default();
        assert_eq!(backoff.next(0, 0), Duration::from_millis(100));
        let middle = backoff.next(0, u32::MAX / 2).as_millis();
        assert!((545..=555).contains(&middle), "{middle}");
    }
}
