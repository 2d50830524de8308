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
#[cfg(doc)]
use super::plan::Reason;
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

    /// Sets the next moment at which the caller has something to do ([`Reason::Deadline`]), or that there is none: the
    /// least of the content's future `date` and `expiry_date` and of [`crate::data::Retries::next`]. It fires once; the
    /// run that it starts sets the next.
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
                metrics::counter!("bakehouse_schedule_firings_total", "schedule" => firing.reason.name().to_owned())
                    .increment(1);
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

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use tokio::sync::{Notify, Semaphore, mpsc};

    use super::*;
    use crate::schedule::ScheduleConfig;

    /// A clock that the test turns, and an alarm that rings when it does.
    #[derive(Clone)]
    struct Hand {
        now: Arc<Mutex<Timestamp>>,
        bell: Arc<Notify>,
        set: mpsc::UnboundedSender<Duration>,
    }

    impl Hand {
        fn new(now: &str) -> (Self, mpsc::UnboundedReceiver<Duration>) {
            let (set, was_set) = mpsc::unbounded_channel();
            (Self { now: Arc::new(Mutex::new(at(now))), bell: Arc::new(Notify::new()), set }, was_set)
        }

        fn turn(&self, to: &str) {
            *self.now.lock().unwrap() = at(to);
            self.bell.notify_one();
        }
    }

    impl Clock for Hand {
        fn now(&self) -> Timestamp {
            *self.now.lock().unwrap()
        }
    }

    impl Alarm for Hand {
        async fn set(&mut self, after: Duration) -> Result<(), ScheduleError> {
            let _ = self.set.send(after);
            Ok(())
        }

        async fn rang(&mut self) {
            self.bell.notified().await;
        }
    }

    fn at(text: &str) -> Timestamp {
        format!("2026-11-23T{text}Z").parse().unwrap()
    }

    fn schedules(of: &[(&str, &str)]) -> Vec<Schedule> {
        let config = |(name, cron): &(&str, &str)| ScheduleConfig {
            name: (*name).into(),
            cron: (*cron).into(),
            timezone: "UTC".into(),
            sources: None,
        };
        of.iter().map(|of| Schedule::new(&config(of)).unwrap()).collect()
    }

    fn start(
        of: &[(&str, &str)],
        hand: &Hand,
        shutdown: &CancellationToken,
    ) -> (Runner, mpsc::UnboundedReceiver<Firing>, Arc<Semaphore>) {
        let (sender, fired) = mpsc::unbounded_channel();
        // A run goes on until it gets a permit.
        let go_on = Arc::new(Semaphore::new(0));
        let wait = Arc::clone(&go_on);
        let on_fire = move |firing: Firing| {
            let (sender, wait) = (sender.clone(), Arc::clone(&wait));
            async move {
                sender.send(firing).unwrap();
                wait.acquire().await.unwrap().forget();
            }
        };
        let clock: Arc<dyn Clock> = Arc::new(hand.clone());
        let runner =
            Runner::start_with(schedules(of), &BTreeMap::new(), on_fire, shutdown, clock, hand.clone());
        (runner, fired, go_on)
    }

    fn name(firing: &Firing) -> String {
        firing.reason.name().to_owned()
    }

    #[tokio::test(start_paused = true)]
    async fn fires_waits_at_most_a_minute_and_merges_what_comes_while_it_runs() {
        let (hand, mut was_set) = Hand::new("12:00:30");
        let shutdown = CancellationToken::new();
        let (runner, mut fired, go_on) = start(&[("hour", "0 * * * *")], &hand, &shutdown);
        assert_eq!(was_set.recv().await, Some(LOOK_MAX));
        hand.turn("12:59:50");
        assert_eq!(was_set.recv().await, Some(Duration::from_secs(10)));
        // Rang early: nothing fires, the alarm is set again.
        hand.turn("12:59:59.5");
        assert_eq!(was_set.recv().await, Some(Duration::from_millis(500)));
        hand.turn("13:00:00.1");
        assert_eq!(fired.recv().await.map(|firing| firing.due), Some(at("13:00:00")));
        was_set.recv().await;
        hand.turn("14:00:00");
        was_set.recv().await;
        hand.turn("15:00:00");
        was_set.recv().await;
        assert!(fired.try_recv().is_err(), "it overlapped with itself");
        go_on.add_permits(1);
        assert_eq!(fired.recv().await.map(|firing| firing.due), Some(at("15:00:00")));
        go_on.add_permits(1);
        runner.stop().await;
        assert!(fired.recv().await.is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_runs_holds_no_other_back() {
        let (hand, _was_set) = Hand::new("12:00:30");
        let shutdown = CancellationToken::new();
        let (runner, mut fired, go_on) = start(&[("a", "* * * * *"), ("b", "* * * * *")], &hand, &shutdown);
        hand.turn("12:01:00");
        let mut names = [name(&fired.recv().await.unwrap()), name(&fired.recv().await.unwrap())];
        names.sort();
        assert_eq!(names, ["a", "b"]);
        assert_eq!(runner.upcoming().borrow()["a"], at("12:02:00"));
        runner.set_deadline(Some(at("12:01:00")));
        assert_eq!(name(&fired.recv().await.unwrap()), "(deadline)");
        go_on.add_permits(3);
        runner.stop().await;
    }

    #[tokio::test(start_paused = true)]
    async fn looks_at_the_clock_also_when_the_alarm_is_lost() {
        let (hand, _was_set) = Hand::new("12:00:30");
        let shutdown = CancellationToken::new();
        let (runner, mut fired, go_on) = start(&[("minute", "* * * * *")], &hand, &shutdown);
        *hand.now.lock().unwrap() = at("12:01:00");
        assert_eq!(fired.recv().await.map(|firing| firing.due), Some(at("12:01:00")));
        go_on.add_permits(1);
        shutdown.cancel();
        runner.stop().await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_run_that_panics_is_ended() {
        let (hand, mut was_set) = Hand::new("12:00:30");
        let (sender, mut fired) = mpsc::unbounded_channel();
        let on_fire = move |firing: Firing| {
            let sender = sender.clone();
            async move {
                sender.send(firing.due).unwrap();
                assert!(firing.due > at("12:01:00"), "on purpose");
            }
        };
        let clock: Arc<dyn Clock> = Arc::new(hand.clone());
        let shutdown = CancellationToken::new();
        let runner = Runner::start_with(
            schedules(&[("minute", "* * * * *")]),
            &BTreeMap::new(),
            on_fire,
            &shutdown,
            clock,
            hand.clone(),
        );
        was_set.recv().await;
        hand.turn("12:01:00");
        assert_eq!(fired.recv().await, Some(at("12:01:00")));
        hand.turn("12:02:00");
        assert_eq!(fired.recv().await, Some(at("12:02:00")));
        runner.stop().await;
    }

    /// The real clock, the real scheduler: every second, three times, never early.
    #[tokio::test(flavor = "multi_thread")]
    async fn fires_on_tokio_cron_scheduler() {
        let (sender, mut fired) = mpsc::unbounded_channel();
        let on_fire = move |firing: Firing| {
            let sender = sender.clone();
            async move { sender.send((firing.due, Timestamp::now())).unwrap() }
        };
        let shutdown = CancellationToken::new();
        let schedules = schedules(&[("second", "* * * * * *")]);
        let runner = Runner::start(schedules, &BTreeMap::new(), on_fire, &shutdown).await.unwrap();
        let mut last = Timestamp::MIN;
        for _ in 0..3 {
            let wait = tokio::time::timeout(Duration::from_secs(30), fired.recv()).await;
            let (due, now) = wait.expect("nothing fired within 30 s").unwrap();
            assert!(due > last && now >= due, "due {due}, last {last}, now {now}");
            last = due;
        }
        runner.stop().await;
    }
}
