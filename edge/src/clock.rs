//! The only place where time is read. Ages and leases run on a clock that never goes back and counts suspension
//! (`CLOCK_BOOTTIME`); HTTP dates need the wall clock.

use crate::policy::{date::UnixSeconds, freshness::Millis};

/// Milliseconds since the machine started, suspension included.
pub(crate) fn boot_ms() -> Millis {
    millis(rustix::time::ClockId::Boottime)
}

/// Milliseconds of a clock that never goes back, some milliseconds late, and cheaper to read.
pub(crate) fn coarse_ms() -> Millis {
    millis(rustix::time::ClockId::MonotonicCoarse)
}

/// Milliseconds for which this thread has had a processor.
pub(crate) fn thread_ms() -> Millis {
    millis(rustix::time::ClockId::ThreadCPUTime)
}

fn millis(clock: rustix::time::ClockId) -> Millis {
    let now = rustix::time::clock_gettime(clock);
    let seconds = u64::try_from(now.tv_sec).unwrap_or(0);
    let nanos = u64::try_from(now.tv_nsec).unwrap_or(0);
    seconds * 1_000 + nanos / 1_000_000
}

/// Seconds since the Unix epoch.
pub(crate) fn wall() -> UnixSeconds {
    rustix::time::clock_gettime(rustix::time::ClockId::Realtime).tv_sec
}

/// Milliseconds since the Unix epoch.
pub(crate) fn wall_ms() -> i64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Realtime);
    now.tv_sec.saturating_mul(1_000).saturating_add(now.tv_nsec / 1_000_000)
}
