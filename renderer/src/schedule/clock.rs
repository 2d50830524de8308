//! The runner's two connections to real time: a clock to read, an alarm to wait for. Tests bring their own.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::Notify;
use tokio_cron_scheduler::{Job, JobScheduler};

use super::error::ScheduleError;

/// Tells the time.
pub trait Clock: Send + Sync + 'static {
    /// The time now.
    fn now(&self) -> Timestamp;
}

/// The machine's clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }
}

/// Rings after a while. It may ring early, late or without need: the runner looks at its clock each time.
pub trait Alarm: Send + 'static {
    /// Has it ring after `after`, too.
    fn set(&mut self, after: Duration) -> impl Future<Output = Result<(), ScheduleError>> + Send;

    /// Waits until it rings.
    fn rang(&mut self) -> impl Future<Output = ()> + Send;
}

/// An alarm made of one-shot jobs of tokio-cron-scheduler. Its own cron jobs are not used: they go wrong in zones and
/// across changes of the clock. It looks every 500 ms and counts whole seconds, so that it rings up to 2 s early (the
/// runner sets it again) and up to 0.5 s late.
pub struct CronAlarm {
    scheduler: JobScheduler,
    bell: Arc<Notify>,
}

impl CronAlarm {
    /// Starts the scheduler beneath.
    ///
    /// # Errors
    /// [`ScheduleError::Scheduler`].
    pub async fn start() -> Result<Self, ScheduleError> {
        let scheduler = JobScheduler::new().await?;
        scheduler.start().await?;
        Ok(Self { scheduler, bell: Arc::new(Notify::new()) })
    }
}

impl std::fmt::Debug for CronAlarm {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CronAlarm").finish_non_exhaustive()
    }
}

impl Alarm for CronAlarm {
    async fn set(&mut self, after: Duration) -> Result<(), ScheduleError> {
        let bell = Arc::clone(&self.bell);
        let job = Job::new_one_shot_async(after, move |_, _| {
            let bell = Arc::clone(&bell);
            Box::pin(async move { bell.notify_one() })
        })?;
        self.scheduler.add(job).await?;
        Ok(())
    }

    async fn rang(&mut self) {
        self.bell.notified().await;
    }
}

impl Drop for CronAlarm {
    fn drop(&mut self) {
        // Its ticker would go on for the life of the runtime. Without a runtime there is no ticker.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            let mut scheduler = self.scheduler.clone();
            runtime.spawn(async move {
                if let Err(error) = scheduler.shutdown().await {
                    tracing::warn!(%error, "the scheduler did not shut down");
                }
            });
        }
    }
}
