//! What is due, what runs, when to look again: the runner's decisions, without clock, tasks or waiting. Pure.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};

use super::cron::Schedule;

/// A clock set back by more than this is believed, and the times to come are computed anew: what was computed by the
/// wrong time may lie days ahead. A smaller step is the clock's own correction, and must not fire a second time.
const CLOCK_STEP_BACK_MAX: SignedDuration = SignedDuration::from_secs(60);

/// Something is due: render, now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Firing {
    /// Why.
    pub reason: Reason,
    /// The moment at which it was due; of several that are one run now, the last.
    pub due: Timestamp,
}

/// Why something is due.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reason {
    /// A schedule.
    Schedule {
        /// Its name.
        name: String,
        /// The sources to ask; `None`: all.
        sources: Option<BTreeSet<String>>,
        /// It was due while no process ran, or while its last run still went on.
        late: bool,
    },
    /// The moment set by [`super::Runner::set_deadline`]: a page's `date` or `expiry_date` has come.
    Content,
}

/// Which run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Slot {
    Schedule(usize),
    Content,
}

#[derive(Debug)]
struct Entry {
    schedule: Schedule,
    next: Option<Timestamp>,
    running: bool,
    /// Due while its run goes on: one run after it.
    waiting: Option<Timestamp>,
}

#[derive(Debug)]
pub(super) struct Plan {
    entries: Vec<Entry>,
    deadline: Option<Timestamp>,
    content_running: bool,
    seen: Timestamp,
}

impl Plan {
    /// What `last_fired` says was missed is due at once, once a schedule.
    pub(super) fn new(
        schedules: Vec<Schedule>,
        last_fired: &BTreeMap<String, Timestamp>,
        now: Timestamp,
    ) -> Self {
        let entries = schedules
            .into_iter()
            .map(|schedule| {
                let missed =
                    last_fired.get(schedule.name()).filter(|last| schedule.missed_between(**last, now));
                Entry {
                    next: schedule.next_after(now),
                    waiting: missed.map(|_| now),
                    running: false,
                    schedule,
                }
            })
            .collect();
        Self { entries, deadline: None, content_running: false, seen: now }
    }

    pub(super) fn set_deadline(&mut self, deadline: Option<Timestamp>) {
        self.deadline = deadline;
    }

    /// What is to run now. Each run is one until [`Self::done`] says that it ended.
    pub(super) fn due(&mut self, now: Timestamp) -> Vec<(Slot, Firing)> {
        let set_back = self.seen.duration_since(now) > CLOCK_STEP_BACK_MAX;
        self.seen = if set_back { now } else { self.seen.max(now) };
        let mut firings = Vec::new();
        for (index, entry) in self.entries.iter_mut().enumerate() {
            if set_back {
                entry.next = entry.schedule.next_after(now);
            }
            let due = entry.next.filter(|next| *next <= now);
            if due.is_some() {
                // Those that were passed over (a suspended machine, a clock set forward) are this one run.
                entry.next = entry.schedule.next_after(now);
            }
            if entry.running {
                entry.waiting = due.or(entry.waiting);
                continue;
            }
            let late = entry.waiting.take();
            if let Some(due) = due.or(late) {
                entry.running = true;
                firings.push((
                    Slot::Schedule(index),
                    Firing {
                        reason: Reason::Schedule {
                            name: entry.schedule.name().to_owned(),
                            sources: entry.schedule.sources().cloned(),
                            late: late.is_some(),
                        },
                        due,
                    },
                ));
            }
        }
        if !self.content_running
            && let Some(due) = self.deadline.filter(|deadline| *deadline <= now)
        {
            self.deadline = None;
            self.content_running = true;
            firings.push((Slot::Content, Firing { reason: Reason::Content, due }));
        }
        firings
    }

    pub(super) fn done(&mut self, slot: Slot) {
        match slot {
            Slot::Schedule(index) => {
                if let Some(entry) = self.entries.get_mut(index) {
                    entry.running = false;
                }
            }
            Slot::Content => self.content_running = false,
        }
    }

    /// When to call [`Self::due`] again, if no run ends before.
    pub(super) fn next(&self) -> Option<Timestamp> {
        let deadline = self.deadline.filter(|_| !self.content_running);
        self.entries.iter().filter_map(|entry| entry.next).chain(deadline).min()
    }

    /// The next firing of each schedule, for people.
    pub(super) fn upcoming(&self) -> BTreeMap<String, Timestamp> {
        self.entries
            .iter()
            .filter_map(|entry| Some((entry.schedule.name().to_owned(), entry.next?)))
            .collect()
    }
}
