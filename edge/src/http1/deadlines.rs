//! What takes too long ends. Each connection says in two numbers until when it may go on reading and writing; four
//! times a second all of them are looked at, and those that are late are dropped with their socket. To set a deadline
//! is one store, and there are no timers: looking at ten thousand numbers takes some microseconds.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use slab::Slab;
use tokio::task::AbortHandle;

use crate::{clock, config::Limits, policy::freshness::Millis};

/// Between two looks, and so how late a deadline can be.
const TICK: Duration = Duration::from_millis(250);
/// No deadline.
const NEVER: u64 = u64::MAX;

/// What a connection waits to read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reading {
    /// A new connection's first byte.
    Start,
    /// The next request's first byte.
    Idle,
    /// The rest of a head.
    Head,
    /// More of a request's content.
    Content,
    /// Bytes of a tunnel, in either direction.
    Tunnel,
    /// What a client still sends after its connection was closed to it.
    Linger,
}

impl Reading {
    const ALL: [Self; 6] = [Self::Start, Self::Idle, Self::Head, Self::Content, Self::Tunnel, Self::Linger];

    fn as_str(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Idle => "idle",
            Self::Head => "head",
            Self::Content => "content",
            Self::Tunnel => "tunnel",
            Self::Linger => "linger",
        }
    }
}

/// One connection's deadlines. Its thread writes them with each request, so no other connection's may lie beside them: that
/// may be another thread's.
#[derive(Debug)]
#[repr(align(128))]
pub(crate) struct Slot {
    /// When reading is late, in milliseconds times eight, and what is read.
    read: AtomicU64,
    /// When writing is late, in milliseconds.
    write: AtomicU64,
    limits: Limits,
}

fn millis(limit: Duration) -> Millis {
    Millis::try_from(limit.as_millis()).unwrap_or(Millis::MAX / 16)
}

fn late(now: Millis, limit: Duration) -> Millis {
    now.saturating_add(millis(limit))
}

/// How long a connection is new: while it is, its first request is waited for even at the end. Connections that were taken
/// in the moment of a restart would be lost otherwise.
const NEWCOMER_MS: Millis = 1_000;

impl Slot {
    /// From now on this is waited for.
    pub(crate) fn reads(&self, what: Reading) {
        self.reads_at(what, clock::boot_ms());
    }

    /// The same, by a clock that was read already.
    pub(crate) fn reads_at(&self, what: Reading, now: Millis) {
        let limit = match what {
            Reading::Idle => self.limits.idle,
            Reading::Start | Reading::Head => self.limits.header_read,
            Reading::Content => self.limits.content_idle,
            Reading::Tunnel => self.limits.tunnel_idle,
            Reading::Linger => self.limits.linger,
        };
        self.read.store(late(now, limit).saturating_mul(8) | what as u64, Ordering::Relaxed);
    }

    /// Nothing is waited for.
    pub(crate) fn rests(&self) {
        self.read.store(NEVER, Ordering::Relaxed);
    }

    /// The client must take something from now on.
    pub(crate) fn writes(&self) {
        self.write.store(late(clock::boot_ms(), self.limits.write_stall), Ordering::Relaxed);
    }

    /// The client has.
    pub(crate) fn written(&self) {
        self.write.store(NEVER, Ordering::Relaxed);
    }

    fn waits_for(&self) -> Option<(Millis, Reading)> {
        let read = self.read.load(Ordering::Relaxed);
        let what = Reading::ALL.get(usize::try_from(read % 8).unwrap_or(usize::MAX))?;
        Some((read / 8, *what))
    }

    /// What is late at `now`.
    fn late(&self, now: Millis) -> Option<&'static str> {
        if self.write.load(Ordering::Relaxed) <= now {
            return Some("write");
        }
        self.waits_for().filter(|(at, _)| *at <= now).map(|(_, what)| what.as_str())
    }

    /// Whether it can be closed without taking an answer from anybody who has asked. Who has just connected is about to.
    fn is_idle(&self, now: Millis) -> bool {
        match self.waits_for() {
            Some((_, Reading::Idle)) => true,
            Some((at, Reading::Start)) => {
                at.saturating_sub(millis(self.limits.header_read)).saturating_add(NEWCOMER_MS) <= now
            }
            _ => false,
        }
    }
}

#[derive(Debug)]
struct Entry {
    slot: Arc<Slot>,
    task: Option<AbortHandle>,
}

/// The deadlines of all connections of a listener.
#[derive(Debug, Clone, Default)]
pub(crate) struct Deadlines {
    entries: Arc<Mutex<Slab<Entry>>>,
    draining: Arc<AtomicBool>,
}

/// A connection's place; it ends with the connection.
#[derive(Debug)]
pub(crate) struct Place {
    pub(crate) slot: Arc<Slot>,
    index: usize,
    all: Deadlines,
}

impl Deadlines {
    fn entries(&self) -> MutexGuard<'_, Slab<Entry>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A place for a new connection, which has to send a head.
    pub(crate) fn place(&self, limits: Limits) -> Place {
        let slot = Arc::new(Slot { read: AtomicU64::new(NEVER), write: AtomicU64::new(NEVER), limits });
        slot.reads(Reading::Start);
        let index = self.entries().insert(Entry { slot: Arc::clone(&slot), task: None });
        Place { slot, index, all: self.clone() }
    }

    /// Names the task that is dropped when this place is late. The task may have ended already.
    pub(crate) fn watch(&self, index: usize, slot: &Arc<Slot>, task: AbortHandle) {
        if let Some(entry) = self.entries().get_mut(index)
            && Arc::ptr_eq(&entry.slot, slot)
        {
            entry.task = Some(task);
        }
    }

    /// Whether connections are to end with the request that they are at.
    pub(crate) fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }

    /// From now on connections end with the request that they are at, idle ones at once.
    pub(crate) fn drain(&self) {
        self.draining.store(true, Ordering::Relaxed);
        self.look();
    }

    /// Drops what is late.
    fn look(&self) {
        let now = clock::boot_ms();
        let draining = self.is_draining();
        let entries = self.entries();
        for (_, entry) in entries.iter() {
            let late = entry.slot.late(now);
            if let Some(task) = &entry.task
                && (late.is_some() || (draining && entry.slot.is_idle(now)))
            {
                task.abort();
                if let Some(what) = late {
                    metrics::counter!("bakehouse_edge_late_total", "what" => what).increment(1);
                }
            }
        }
    }

    /// Looks again and again, for as long as it is polled.
    pub(crate) async fn run(&self) {
        let mut ticks = tokio::time::interval(TICK);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            self.look();
        }
    }
}

impl Place {
    pub(crate) fn index(&self) -> usize {
        self.index
    }

    pub(crate) fn is_draining(&self) -> bool {
        self.all.is_draining()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.all.entries().try_remove(self.index);
    }
}
