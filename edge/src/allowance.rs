//! What those may take of the memory who come before it is measured again. Connections and requests take theirs by and by: of
//! thousands that come in a tenth of a second, most would be seen once it is too late.

use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicBool, AtomicIsize, AtomicUsize, Ordering},
};

use tokio::sync::Notify;

use crate::turns::{ADMITTED_BYTES, Counted};

/// Of what was allowed, this part is thought to have been taken each time that the memory is measured: half of it after a seventh of
/// a second.
const PENDING_PART: usize = 5;

/// An allowance, renewed each time that the memory is measured; without an end where nobody does.
#[derive(Debug)]
pub(crate) struct Allowance {
    left: AtomicIsize,
    /// What is known to have been taken since, by those who had not to ask, in bytes.
    drawn: AtomicIsize,
    last: Mutex<Last>,
    renewed: Notify,
    waiting: Arc<AtomicUsize>,
    /// Whether somebody wanted some when none was left.
    is_wanted: AtomicBool,
}

/// What was known when the memory was measured last.
#[derive(Debug)]
struct Last {
    allowed: isize,
    /// What was allowed to those who may not have taken it yet, in bytes.
    pending: usize,
}

impl Default for Allowance {
    fn default() -> Self {
        Self {
            left: AtomicIsize::new(isize::MAX),
            drawn: AtomicIsize::new(0),
            last: Mutex::new(Last { allowed: isize::MAX, pending: 0 }),
            renewed: Notify::new(),
            waiting: Arc::default(),
            is_wanted: AtomicBool::new(false),
        }
    }
}

impl Allowance {
    /// Whether something is left of it; otherwise it is wanted.
    pub(crate) fn is_left(&self) -> bool {
        let is_left = self.left() > 0;
        if !is_left {
            self.is_wanted.store(true, Ordering::Relaxed);
        }
        is_left
    }

    /// Bytes that are left of it.
    pub(crate) fn left(&self) -> usize {
        // What is given back was counted by the measurement.
        let drawn = self.drawn.load(Ordering::Relaxed).max(0);
        let left = self.left.load(Ordering::Relaxed).saturating_sub(drawn);
        usize::try_from(left).unwrap_or(0)
    }

    /// Somebody was known to take `before` bytes of the memory, and takes so many now: until it is measured, that is not left to
    /// others.
    pub(crate) fn draws(&self, before: usize, bytes: usize) {
        let more =
            isize::try_from(bytes).unwrap_or(isize::MAX) - isize::try_from(before).unwrap_or(isize::MAX);
        self.drawn.fetch_add(more, Ordering::Relaxed);
    }

    /// Takes so many bytes, as the last one more than are left; `false`: none are.
    pub(crate) fn take(&self, bytes: usize) -> bool {
        let is_left = self.is_left();
        if is_left {
            self.left.fetch_sub(isize::try_from(bytes).unwrap_or(isize::MAX), Ordering::Relaxed);
        }
        is_left
    }

    /// Waits until there is more, for those who have waited longest, each for its turn. It may be taken by then.
    pub(crate) async fn renewed(&self) {
        let _one = Counted::one(&self.waiting);
        self.renewed.notified().await;
    }

    /// Whether more was wanted than there was, since this was asked last.
    pub(crate) fn was_wanted(&self) -> bool {
        self.is_wanted.swap(false, Ordering::Relaxed)
    }

    /// Renews it where `room` bytes were measured to be left. What was allowed lately may not have been taken yet: of the rest,
    /// half is for those who come before the next time.
    pub(crate) fn renew(&self, room: usize) {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let taken = last.allowed.saturating_sub(self.left.load(Ordering::Relaxed));
        last.pending = last.pending - last.pending / PENDING_PART + usize::try_from(taken).unwrap_or(0);
        self.drawn.store(0, Ordering::Relaxed);
        let allowed = room.saturating_sub(last.pending) / 2;
        last.allowed = isize::try_from(allowed).unwrap_or(isize::MAX);
        self.left.store(last.allowed, Ordering::Relaxed);
        for _ in 0..self.waiting.load(Ordering::Relaxed).min(allowed.div_ceil(ADMITTED_BYTES)) {
            self.renewed.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_of_what_is_left_is_for_those_who_come_until_the_next_time() {
        let allowance = Allowance::default();
        let taken = || (0..1_000).take_while(|_| allowance.take(10)).count();
        assert_eq!(taken(), 1_000, "nobody has measured anything");
        allowance.renew(1 << 40);
        for (room, expected) in [
            // What was taken by then counts at first, and a fifth less each time after.
            (12_000, 200),
            (12_000, 180),
            (12_000, 174),
            (0, 0),
            (12_000, 258),
        ] {
            allowance.renew(room);
            assert_eq!(taken(), expected, "{room}");
        }
    }

    #[test]
    fn what_is_seen_to_be_taken_is_left_to_nobody_until_it_is_measured() {
        let allowance = Allowance::default();
        allowance.renew(2_000);
        assert_eq!(allowance.left(), 1_000);
        allowance.draws(0, 900);
        assert_eq!(allowance.left(), 100);
        allowance.draws(900, 1_200);
        assert!(allowance.left() == 0 && !allowance.take(1));
        allowance.draws(1_200, 400);
        assert!(allowance.left() == 600 && allowance.take(1));
        // The measurement knows of it.
        allowance.renew(2_000);
        assert_eq!(allowance.left(), 999);
        allowance.draws(400, 0);
        assert_eq!(allowance.left(), 999);
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_is_told_of_more() {
        let allowance = Allowance::default();
        allowance.renew(0);
        assert!(!allowance.was_wanted() && !allowance.is_left() && !allowance.take(1));
        assert!(allowance.was_wanted() && !allowance.was_wanted());
        let mut first = Box::pin(allowance.renewed());
        let mut second = Box::pin(allowance.renewed());
        let now = std::time::Duration::ZERO;
        assert!(tokio::time::timeout(now, &mut first).await.is_err());
        assert!(tokio::time::timeout(now, &mut second).await.is_err());
        allowance.renew(20);
        assert!(tokio::time::timeout(now, &mut first).await.is_ok());
        assert!(tokio::time::timeout(now, &mut second).await.is_err());
    }
}
