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
    /// The moment at which it was due; of several that are one run now, one of them, or now for what was missed while
    /// no process ran. What was due up to it is done with this run.
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
    /// The moment set by [`super::Runner::set_deadline`]: a page's `date` or `expiry_date` has come, or a source that
    /// failed is to be asked again.
    Deadline,
}

impl Reason {
    /// The schedule's name, or `(deadline)`: for logs and metrics.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::Schedule { name, .. } => name,
            Self::Deadline => "(deadline)",
        }
    }
}

/// Which run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Slot {
    Schedule(usize),
    Deadline,
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
    deadline_running: bool,
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
        Self { entries, deadline: None, deadline_running: false, seen: now }
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
        if !self.deadline_running
            && let Some(due) = self.deadline.filter(|deadline| *deadline <= now)
        {
            self.deadline = None;
            self.deadline_running = true;
            firings.push((Slot::Deadline, Firing { reason: Reason::Deadline, due }));
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
            Slot::Deadline => self.deadline_running = false,
        }
    }

    /// When to call [`Self::due`] again, if no run ends before.
    pub(super) fn next(&self) -> Option<Timestamp> {
        let deadline = self.deadline.filter(|_| !self.deadline_running);
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schedule::ScheduleConfig;

    fn at(text: &str) -> Timestamp {
        format!("2026-11-23T{text}Z").parse().unwrap()
    }

    fn schedule(name: &str, cron: &str) -> Schedule {
        let config =
            ScheduleConfig { name: name.into(), cron: cron.into(), timezone: "UTC".into(), sources: None };
        Schedule::new(&config).unwrap()
    }

    fn plan(now: &str) -> Plan {
        Plan::new(vec![schedule("minute", "* * * * *")], &BTreeMap::new(), at(now))
    }

    /// (due, late) of each firing.
    fn due(plan: &mut Plan, now: &str) -> Vec<(Timestamp, bool)> {
        plan.due(at(now))
            .into_iter()
            .map(|(_, firing)| (firing.due, matches!(firing.reason, Reason::Schedule { late: true, .. })))
            .collect()
    }

    const FIRST: Slot = Slot::Schedule(0);

    #[test]
    fn fires_when_due_and_says_when_next() {
        let mut plan = plan("12:00:30");
        assert_eq!(plan.next(), Some(at("12:01:00")));
        assert_eq!(due(&mut plan, "12:00:59"), []);
        assert_eq!(due(&mut plan, "12:01:00"), [(at("12:01:00"), false)]);
        assert_eq!(plan.next(), Some(at("12:02:00")));
        assert_eq!(plan.upcoming()["minute"], at("12:02:00"));
    }

    #[test]
    fn never_overlaps_with_itself_and_runs_once_more_after() {
        let mut plan = plan("12:00:30");
        assert_eq!(due(&mut plan, "12:01:00").len(), 1);
        // Due twice while the run goes on: one run after it, for the later of the two.
        assert_eq!(due(&mut plan, "12:02:00"), []);
        assert_eq!(due(&mut plan, "12:03:10"), []);
        plan.done(FIRST);
        assert_eq!(due(&mut plan, "12:03:20"), [(at("12:03:00"), true)]);
        plan.done(FIRST);
        assert_eq!(due(&mut plan, "12:03:30"), []);
    }

    #[test]
    fn what_was_missed_while_down_runs_once() {
        let last = |text: &str| BTreeMap::from([("minute".to_owned(), at(text))]);
        let mut missed = Plan::new(vec![schedule("minute", "* * * * *")], &last("08:00:00"), at("12:00:30"));
        assert_eq!(due(&mut missed, "12:00:30"), [(at("12:00:30"), true)]);
        missed.done(FIRST);
        assert_eq!(due(&mut missed, "12:00:31"), []);
        let mut none = Plan::new(vec![schedule("minute", "* * * * *")], &last("12:00:00"), at("12:00:30"));
        assert_eq!(due(&mut none, "12:00:30"), []);
        // Never fired: the start renders anyway.
        assert_eq!(due(&mut plan("12:00:30"), "12:00:30"), []);
    }

    #[test]
    fn a_machine_that_slept_fires_once() {
        let mut plan = plan("12:00:30");
        assert_eq!(due(&mut plan, "18:00:30").len(), 1);
        plan.done(FIRST);
        assert_eq!(due(&mut plan, "18:00:31"), []);
        assert_eq!(plan.next(), Some(at("18:01:00")));
    }

    #[test]
    fn a_clock_that_was_wrong_is_believed_when_set_right() {
        let mut plan = plan("18:00:30");
        // Six hours too far; set back, the next firing is the right one.
        assert_eq!(due(&mut plan, "12:00:30"), []);
        assert_eq!(plan.next(), Some(at("12:01:00")));
        // A correction of a second does not fire the same time again.
        assert_eq!(due(&mut plan, "12:01:00").len(), 1);
        plan.done(FIRST);
        assert_eq!(due(&mut plan, "12:00:59"), []);
        assert_eq!(due(&mut plan, "12:01:00"), []);
    }

    #[test]
    fn a_deadline_fires_once_and_not_over_itself() {
        let mut plan = Plan::new(Vec::new(), &BTreeMap::new(), at("12:00:00"));
        assert_eq!(plan.next(), None);
        plan.set_deadline(Some(at("12:05:00")));
        assert_eq!(plan.next(), Some(at("12:05:00")));
        assert!(plan.due(at("12:04:59")).is_empty());
        let fired = plan.due(at("12:05:00"));
        assert_eq!(fired.len(), 1);
        assert_eq!(fired[0].1, Firing { reason: Reason::Deadline, due: at("12:05:00") });
        plan.set_deadline(Some(at("12:05:01")));
        assert_eq!((plan.due(at("12:06:00")).len(), plan.next()), (0, None));
        plan.done(Slot::Deadline);
        assert_eq!(plan.due(at("12:06:00")).len(), 1);
        plan.done(Slot::Deadline);
        plan.set_deadline(Some(at("12:07:00")));
        plan.set_deadline(None);
        assert!(plan.due(at("12:08:00")).is_empty());
    }
}
