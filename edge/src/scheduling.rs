//! How the kernel schedules a thread that serves. One that is woken may take the processor from whoever has it, which is
//! right where it has little to do: its client waits. Of a thread that works much of the time, each request would then be
//! two switches of the processor, while a client on the same machine (who ends TLS there, or balances load) was about to
//! send more. So while a thread is busy with several connections it is scheduled as `SCHED_BATCH`, sched(7): it takes
//! turns with others, interrupts nobody, and finds more than one request when its turn comes.

use std::{
    io,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
};

use crate::{clock, policy::freshness::Millis};

/// Between two looks at what a thread used.
const LOOK_MS: Millis = 100;
/// It is busy from this share of a processor on, and no longer where it used less than the second.
const BUSY_PERCENT: u64 = 25;
const QUIET_PERCENT: u64 = 12;
/// With fewer connections there is nothing to gather.
const CONNECTIONS_MIN: usize = 4;

/// What a thread knows of how it is scheduled.
#[derive(Debug)]
pub(crate) struct Scheduling {
    /// Those that the thread serves.
    connections: Arc<AtomicUsize>,
    /// When it last looked at itself.
    looked_ms: AtomicU64,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// What the thread had used of processors then.
    used_ms: Millis,
    is_batch: bool,
    /// It was started with a policy of somebody's choice, or may not choose one.
    is_fixed: bool,
}

impl Scheduling {
    pub(crate) fn new(connections: Arc<AtomicUsize>) -> Self {
        Self { connections, looked_ms: AtomicU64::new(clock::coarse_ms()), state: Mutex::default() }
    }

    /// To be called by the thread whenever it has nothing to do for now: mostly the reading of a coarse clock.
    pub(crate) fn rests(&self) {
        let now = clock::coarse_ms();
        let since = now.saturating_sub(self.looked_ms.load(Ordering::Relaxed));
        if since >= LOOK_MS {
            self.looked_ms.store(now, Ordering::Relaxed);
            self.look(since, clock::thread_ms());
        }
    }

    /// Of `since_ms` the thread has worked until it had used `used_ms` since it began.
    fn look(&self, since_ms: Millis, used_ms: Millis) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let percent = used_ms.saturating_sub(state.used_ms).saturating_mul(100) / since_ms.max(1);
        state.used_ms = used_ms;
        let wanted = is_batch(state.is_batch, percent, self.connections.load(Ordering::Relaxed));
        if wanted == state.is_batch || state.is_fixed {
            return;
        }
        match schedule(wanted) {
            Ok(is_changed) => (state.is_batch, state.is_fixed) = (wanted && is_changed, !is_changed),
            Err(error) => {
                state.is_fixed = true;
                tracing::info!(%error, "a serving thread stays scheduled as it is, however busy");
            }
        }
    }
}

fn is_batch(is_batch: bool, percent: u64, connections: usize) -> bool {
    connections >= CONNECTIONS_MIN && percent >= if is_batch { QUIET_PERCENT } else { BUSY_PERCENT }
}

/// Has this thread scheduled as `SCHED_BATCH`, or as most are; not where it was started with another policy than these,
/// which is then somebody's choice. Returns whether it is as was asked.
#[expect(unsafe_code, reason = "the libraries used here have no safe call for it")]
fn schedule(as_batch: bool) -> io::Result<bool> {
    let (from, to) = match as_batch {
        true => (libc::SCHED_OTHER, libc::SCHED_BATCH),
        false => (libc::SCHED_BATCH, libc::SCHED_OTHER),
    };
    let (mut policy, mut parameters) = (0, libc::sched_param { sched_priority: 0 });
    // SAFETY: the thread is the one that asks, and both places live until the calls return.
    let error = unsafe {
        let thread = libc::pthread_self();
        match libc::pthread_getschedparam(thread, &raw mut policy, &raw mut parameters) {
            0 if policy == from => libc::pthread_setschedparam(thread, to, &raw const parameters),
            0 => return Ok(policy == to),
            error => error,
        }
    };
    if error == 0 { Ok(true) } else { Err(io::Error::from_raw_os_error(error)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the kernel says of this thread, proc_pid_stat(5).
    fn kernels_policy() -> i32 {
        let stat = std::fs::read_to_string("/proc/thread-self/stat").unwrap();
        // The name of the thread, in parentheses, is the second of the fields and may hold spaces.
        stat.rsplit_once(')').unwrap().1.split_whitespace().nth(38).unwrap().parse().unwrap()
    }

    #[test]
    fn a_thread_is_busy_by_what_it_uses_and_by_how_many_it_serves() {
        for (was, percent, connections, wanted) in [
            (false, 24, 100, false),
            (false, 25, 100, true),
            (false, 100, 3, false),
            (false, 100, 4, true),
            (true, 12, 4, true),
            (true, 11, 4, false),
            (true, 100, 3, false),
        ] {
            assert_eq!(is_batch(was, percent, connections), wanted, "{was} {percent} % {connections}");
        }
    }

    #[test]
    fn a_busy_thread_is_scheduled_as_batch_until_it_is_quiet() {
        std::thread::spawn(|| {
            let connections = Arc::new(AtomicUsize::new(8));
            let scheduling = Scheduling::new(Arc::clone(&connections));
            assert_eq!(kernels_policy(), libc::SCHED_OTHER);
            scheduling.look(100, 10);
            assert_eq!(kernels_policy(), libc::SCHED_OTHER);
            scheduling.look(100, 60);
            assert_eq!(kernels_policy(), libc::SCHED_BATCH);
            scheduling.look(100, 80);
            assert_eq!(kernels_policy(), libc::SCHED_BATCH);
            scheduling.look(10_000, 90);
            assert_eq!(kernels_policy(), libc::SCHED_OTHER);
        })
        .join()
        .unwrap();
    }

    #[test]
    fn a_policy_that_somebody_chose_stays() {
        std::thread::spawn(|| {
            let idle = libc::sched_param { sched_priority: 0 };
            #[expect(unsafe_code, reason = "as in `schedule`")]
            // SAFETY: as there.
            let error = unsafe {
                libc::pthread_setschedparam(libc::pthread_self(), libc::SCHED_IDLE, &raw const idle)
            };
            assert_eq!(error, 0);
            let scheduling = Scheduling::new(Arc::new(AtomicUsize::new(8)));
            scheduling.look(100, 100);
            assert_eq!(kernels_policy(), libc::SCHED_IDLE);
            scheduling.look(100, 100);
            assert_eq!(kernels_policy(), libc::SCHED_IDLE);
        })
        .join()
        .unwrap();
    }
}
