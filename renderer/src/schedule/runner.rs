//! The loop: waits for what is due, runs it, never twice at once.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::watch;
use tokio::task::{Id, JoinHandle, JoinSet};
use tokio_util::sync::CancellationToken;

use super::clock::{Alarm, Clock, CronAlarm, SystemClock};
use super::cron::Schedule;
use super::error::ScheduleError;
use super::plan::{Firing, Plan, Slot};

/// Longest wait without a look at the clock: it may have been set, and the machine may have slept.
const LOOK_MAX: Duration = Duration::from_secs(60);
/// How much later than set an alarm is given up and the clock is looked at all the same.
const ALARM_LATE_MAX: Duration = Duration::from_secs(5);

/// Fires schedules until it is stopped.
#[derive(Debug)]
pub struct Runner {
    deadline: watch::Sender<Option<Timestamp>>,
    upcoming: watch::Receiver<BTreeMap<String, Timestamp>>,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Runner {
    /// Starts on the machine's clock and tokio-cron-scheduler.
    ///
    /// `last_fired` (name → when it was due last, [`super::Fired::due`]) tells what was missed: that runs at once. A
    /// schedule without a record has missed nothing. `on_fire` is called for each firing, as a task; a schedule that is
    /// due while its task goes on gets one more when it ends. `shutdown` ends the loop; tasks that run are awaited, so
    /// they should watch it as well.
    ///
    /// # Errors
    /// [`ScheduleError::Scheduler`] where the scheduler does not start.
    pub async fn start<F, R>(
        schedules: Vec<Schedule>,
        last_fired: &BTreeMap<String, Timestamp>,
        on_fire: F,
        shutdown: &CancellationToken,
    ) -> Result<Self, ScheduleError>
    where
        F: Fn(Firing) -> R + Send + 'static,
        R: Future<Output = ()> + Send + 'static,
    {
        let alarm = CronAlarm::start().await?;
        Ok(Self::start_with(schedules, last_fired, on_fire, shutdown, Arc::new(SystemClock), alarm))
    }

    /// Starts on a clock and an alarm of the caller's.
    pub fn start_with<F, R>(
        schedules: Vec<Schedule>,
        last_fired: &BTreeMap<String, Timestamp>,
        on_fire: F,
        shutdown: &CancellationToken,
        clock: Arc<dyn Clock>,
        alarm: impl Alarm,
    ) -> Self
    where
        F: Fn(Firing) -> R + Send + 'static,
        R: Future<Output = ()> + Send + 'static,
    {
        let plan = Plan::new(schedules, last_fired, clock.now());
        let (deadline, deadline_changes) = watch::channel(None);
        let (upcoming_sender, upcoming) = watch::channel(plan.upcoming());
        let stop = shutdown.child_token();
        let work = Loop {
            plan,
            clock,
            alarm,
            on_fire,
            runs: JoinSet::new(),
            slots: BTreeMap::new(),
            armed: None,
            deadline: deadline_changes,
            upcoming: upcoming_sender,
            stop: stop.clone(),
        };
        Self { deadline, upcoming, stop, task: tokio::spawn(work.run()) }
    }

    /// Sets the moment of the next change of the content by time alone (the least future `date` or `expiry_date`), or
    /// that there is none. It fires once; the next render sets the next.
    pub fn set_deadline(&self, deadline: Option<Timestamp>) {
        // Sent also where it is the same: it may have fired since.
        self.deadline.send_replace(deadline);
    }

    /// The next firing of each schedule, as it changes.
    #[must_use]
    pub fn upcoming(&self) -> watch::Receiver<BTreeMap<String, Timestamp>> {
        self.upcoming.clone()
    }

    /// Stops, and waits for the runs that go on: afterwards nothing fires, and another runner can start.
    pub async fn stop(self) {
        self.stop.cancel();
        if let Err(error) = self.task.await {
            tracing::error!(%error, "the schedules' loop ended badly");
        }
    }
}

struct Loop<F, A> {
    plan: Plan,
    clock: Arc<dyn Clock>,
    alarm: A,
    on_fire: F,
    runs: JoinSet<()>,
    slots: BTreeMap<Id, Slot>,
    /// When the alarm is set to ring, by tokio's clock.
    armed: Option<tokio::time::Instant>,
    deadline: watch::Receiver<Option<Timestamp>>,
    upcoming: watch::Sender<BTreeMap<String, Timestamp>>,
    stop: CancellationToken,
}

impl<F, R, A> Loop<F, A>
where
    F: Fn(Firing) -> R + Send + 'static,
    R: Future<Output = ()> + Send + 'static,
    A: Alarm,
{
    async fn run(mut self) {
        while !self.stop.is_cancelled() {
            for (slot, firing) in self.plan.due(self.clock.now()) {
                let task = self.runs.spawn((self.on_fire)(firing));
                self.slots.insert(task.id(), slot);
            }
            self.upcoming.send_if_modified(|shown| {
                let upcoming = self.plan.upcoming();
                let changed = *shown != upcoming;
                *shown = upcoming;
                changed
            });
            self.arm().await;
            let late = self.armed.map(|at| at + ALARM_LATE_MAX);
            tokio::select! {
                () = self.stop.cancelled() => {}
                () = self.alarm.rang() => self.armed = None,
                () = sleep_until(late) => {
                    tracing::warn!("the scheduler's alarm did not ring; the clock is looked at without it");
                    self.armed = None;
                }
                Some(ended) = self.runs.join_next_with_id(), if !self.runs.is_empty() => self.ended(ended),
                Ok(()) = self.deadline.changed() => {
                    let deadline = *self.deadline.borrow_and_update();
                    self.plan.set_deadline(deadline);
                }
            }
        }
        while let Some(ended) = self.runs.join_next_with_id().await {
            self.ended(ended);
        }
    }

    /// Sets the alarm, unless it rings before the next look anyway. An alarm too many does no harm.
    async fn arm(&mut self) {
        let Some(next) = self.plan.next() else { return };
        let wait =
            Duration::try_from(next.duration_since(self.clock.now())).unwrap_or(Duration::ZERO).min(LOOK_MAX);
        let at = tokio::time::Instant::now() + wait;
        if self.armed.is_some_and(|armed| armed <= at) {
            return;
        }
        if let Err(error) = self.alarm.set(wait).await {
            tracing::error!(%error, "the scheduler's alarm could not be set; the clock is looked at without it");
        }
        self.armed = Some(at);
    }

    fn ended(&mut self, ended: Result<(Id, ()), tokio::task::JoinError>) {
        let id = match ended {
            Ok((id, ())) => id,
            Err(error) => {
                tracing::error!(%error, "a scheduled run ended badly");
                error.id()
            }
        };
        if let Some(slot) = self.slots.remove(&id) {
            self.plan.done(slot);
        }
    }
}

async fn sleep_until(at: Option<tokio::time::Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}
