//! The one place where this crate reads clocks.

use jiff::Timestamp;

/// A moment on a clock that goes on while the machine is suspended, in milliseconds: what ages and
/// leases are measured by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment(u64);

impl Moment {
    /// Now.
    pub fn now() -> Self {
        let time = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
        Self(time.tv_sec.unsigned_abs() * 1_000 + time.tv_nsec.unsigned_abs() / 1_000_000)
    }

    /// So many milliseconds later.
    pub fn later(self, ms: u64) -> Self {
        Self(self.0.saturating_add(ms))
    }

    /// Milliseconds from `earlier` to this; 0 if that is later.
    pub fn ms_since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

/// What people's clocks show, for records.
pub fn wall() -> Timestamp {
    Timestamp::now()
}
