//! What the kernel holds for one connection, as it is looked at now and then, and so how its client takes what it is sent.

use super::writer::PROGRESS_BYTES_MIN;
use crate::policy::freshness::Millis;

/// A client that has taken nothing for so long may be ended where memory is short, and so may one of whose content nothing was taken,
pub(super) const STALLED_MS: Millis = 1_000;
/// where this much of that has come;
pub(super) const UNREAD_BYTES: usize = 16 << 10;
/// both after so long where nothing else can make room.
pub(super) const STALLED_SHORT_MS: Millis = 300;
/// So may one that has taken less than this in a second, for so long at least, and for which this much is kept.
const SLOW_BYTES_A_SECOND: u64 = 64 << 10;
const SLOW_MS: Millis = 3_000;
const SLOW_KEPT_BYTES: usize = 4 << 10;

/// What the kernel holds for a connection.
#[derive(Debug, Default)]
pub(super) struct Held {
    /// What was sent and not acknowledged.
    pub(super) bytes: usize,
    /// Since when the client has not taken what it was due to take, or, where nothing is held, has taken all.
    pub(super) since: Millis,
    /// What it had taken then.
    taken: u64,
    /// What it was to take from then on: some of it, or all there was.
    due: u64,
    /// The deadline for reading at the last look: while it stays the same, nothing was written.
    pub(super) read: u64,
    /// What has come and is not wanted yet, in bytes of memory, and since when nothing of it was taken.
    unread: (usize, Millis),
    /// Since when much is kept for the client without a break, and what it had taken then.
    pub(super) kept: Option<(Millis, u64)>,
}

impl Held {
    /// Notes that of what was `written` so many bytes are held at `now`.
    pub(super) fn note(&mut self, written: u64, bytes: usize, now: Millis) {
        let held = bytes as u64;
        let taken = written.saturating_sub(held);
        let begins = self.bytes == 0 && bytes > 0;
        let ends = self.bytes > 0 && bytes == 0;
        if begins || ends || taken >= self.taken.saturating_add(self.due) {
            let due = held.min(PROGRESS_BYTES_MIN as u64);
            (self.since, self.taken, self.due) = (now, taken, due);
        }
        self.bytes = bytes;
    }

    /// Notes that beside it `kept` bytes are kept at `now`, of a client that has taken `taken` bytes so far. What it takes in a
    /// second, in bytes, where that is too little.
    pub(super) fn pace(&mut self, kept: usize, taken: u64, now: Millis) -> Option<u64> {
        if kept < SLOW_KEPT_BYTES {
            self.kept = None;
            return None;
        }
        let (since, before) = *self.kept.get_or_insert((now, taken));
        let ms = now.saturating_sub(since);
        let pace = taken.saturating_sub(before).saturating_mul(1_000).checked_div(ms)?;
        (ms >= SLOW_MS && pace < SLOW_BYTES_A_SECOND).then_some(pace)
    }

    /// For how long the client has taken nothing, or next to none, of what is held for it.
    pub(super) fn stalled_ms(&self, now: Millis) -> Millis {
        if self.bytes == 0 { 0 } else { now.saturating_sub(self.since) }
    }

    /// Notes what has come and is not wanted yet. Of content on its way it is never the same for long.
    pub(super) fn note_unread(&mut self, bytes: usize, now: Millis) {
        if bytes != self.unread.0 {
            self.unread = (bytes, now);
        }
    }

    /// Since when what is held stays as it is, where that is long and its end may be had: the client takes nothing of it, or the
    /// upstream nothing of its content.
    pub(super) fn stuck_since(&self, now: Millis, stalled_ms: Millis) -> Option<Millis> {
        let unsent = (self.bytes > 0).then_some(self.since);
        let unread = (self.unread.0 >= UNREAD_BYTES).then_some(self.unread.1);
        let since = unsent.into_iter().chain(unread).min()?;
        (now.saturating_sub(since) >= stalled_ms).then_some(since)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What was written in all and what of that is held, at the end of a second.
    type Seen = (u64, usize);

    #[test]
    fn a_client_is_slow_that_takes_little_of_much_for_long() {
        const LITTLE: u64 = SLOW_BYTES_A_SECOND / 2;
        // What is kept and what was taken, each second.
        let pace = |kept: usize, a_second: u64| {
            let mut held = Held::default();
            (0..=SLOW_MS / 1_000)
                .map(|second| held.pace(kept, second * a_second, second * 1_000))
                .collect::<Vec<_>>()
        };
        let slow = |pace| [vec![None; 3], vec![pace]].concat();
        assert_eq!(pace(SLOW_KEPT_BYTES, LITTLE), slow(Some(LITTLE)));
        assert_eq!(pace(SLOW_KEPT_BYTES, 0), slow(Some(0)));
        assert_eq!(pace(SLOW_KEPT_BYTES, SLOW_BYTES_A_SECOND), slow(None));
        assert_eq!(pace(SLOW_KEPT_BYTES - 1, LITTLE), slow(None));
    }

    #[test]
    fn content_is_stuck_of_which_nothing_is_taken() {
        let mut held = Held::default();
        let mut stuck = |bytes: usize, now: Millis| {
            held.note_unread(bytes, now);
            held.stuck_since(now, STALLED_MS)
        };
        assert_eq!(stuck(UNREAD_BYTES, 1), None);
        assert_eq!(stuck(UNREAD_BYTES, STALLED_MS), None);
        assert_eq!(stuck(UNREAD_BYTES, 1 + STALLED_MS), Some(1));
        // Some more has come.
        assert_eq!(stuck(UNREAD_BYTES + 1, 2 + STALLED_MS), None);
        assert_eq!(stuck(UNREAD_BYTES + 1, 2 + 2 * STALLED_MS), Some(2 + STALLED_MS));
        // To end those of little would free nothing.
        assert_eq!(stuck(UNREAD_BYTES - 1, 3 + 2 * STALLED_MS), None);
        assert_eq!(stuck(UNREAD_BYTES - 1, 9 * STALLED_MS), None);
    }

    #[test]
    fn a_client_stalls_that_takes_less_than_it_is_due_to() {
        // For how long nothing was taken, then.
        let rows: [(&[Seen], &[Millis]); 5] = [
            (&[(9_000, 9_000), (9_000, 9_000), (9_000, 8_999)], &[0, 1, 2]),
            (&[(9_000, 9_000), (9_000, 4_904), (9_000, 4_904)], &[0, 0, 1]),
            // What is left is less than a step.
            (&[(9_000, 100), (9_000, 1), (9_000, 0), (9_000, 0)], &[0, 1, 0, 0]),
            // A little again and again, and some of it always on its way.
            (&[(100, 100), (200, 100), (300, 100)], &[0, 0, 0]),
            // More is written, and nothing taken.
            (&[(100, 100), (9_000, 9_000), (9_000, 9_000)], &[0, 1, 2]),
        ];
        for (seen, expected) in rows {
            let mut held = Held::default();
            let stalls: Vec<Millis> = seen
                .iter()
                .zip(1..)
                .map(|(&(written, bytes), now)| {
                    held.note(written, bytes, now);
                    held.stalled_ms(now)
                })
                .collect();
            assert_eq!(stalls, expected, "{seen:?}");
        }
    }
}
