//! The schedules of a worker's site: they follow its configuration, and what has fired is recorded in the bucket.

use std::collections::BTreeMap;

use anyhow::Context;
use jiff::Timestamp;
use renderer::schedule::{Fired, Firing, Runner, Schedule};
use tokio::sync::oneshot;

use super::Worker;
use super::reason::Reason;
use crate::config::Config;
use crate::failure::HintExt;

/// Bytes of the largest record of a schedule's firing.
pub(super) const FIRED_BYTES_MAX: u64 = 4 << 10;

impl Worker {
    /// Starts the schedules, or starts them anew where their configuration has changed.
    pub(super) async fn follow_schedules(&mut self, config: &Config) -> anyhow::Result<()> {
        if self.runner.is_some() && self.schedules == config.schedule {
            return Ok(());
        }
        let names: Vec<&str> = config.source.iter().map(|s| s.name.as_str()).collect();
        let schedules = Schedule::all(&config.schedule, names)
            .map_err(|e| (e.hint(), e))
            .or_else(|(hint, e)| Err(e).maybe_hint(hint).context(crate::config::FILE))?;
        let mut last_fired = BTreeMap::new();
        for schedule in &schedules {
            let name = schedule.name();
            let key = self.setup.site.schedule(name);
            let Some(object) = self.setup.bucket.get(&key, FIRED_BYTES_MAX).await? else { continue };
            match Fired::from_bytes(name, &object.bytes) {
                Ok(fired) => {
                    last_fired.insert(name.to_owned(), fired.due);
                }
                Err(error) => tracing::warn!(%error, "the record of a schedule is not used"),
            }
        }
        let handle = self.handle.clone();
        let fire = move |firing: Firing| {
            let handle = handle.clone();
            async move {
                let (done, ended) = oneshot::channel();
                if handle.give(Reason::Fired(firing, done)).await.is_ok() {
                    // The sender is dropped where the worker stops: then the run has ended too.
                    drop(ended.await);
                }
            }
        };
        let runner = Runner::start(schedules, &last_fired, fire, &self.shutdown).await?;
        if let Some(before) = self.runner.replace(runner) {
            // Its runs end with this very publish, so it cannot be waited for here.
            tokio::spawn(before.stop());
        }
        self.schedules.clone_from(&config.schedule);
        Ok(())
    }

    /// Records that a schedule has fired, so that what is missed while nothing runs is known.
    pub(super) async fn record(&self, firing: &Firing) {
        let renderer::schedule::Reason::Schedule { name, .. } = &firing.reason else { return };
        let fired = Fired { due: firing.due, done: Timestamp::now() };
        let key = self.setup.site.schedule(name);
        if let Err(error) = self.setup.bucket.put(&key, fired.to_bytes().into()).await {
            tracing::warn!(%error, schedule = name, "the firing is not recorded; it may be repeated at the next start");
        }
    }

    /// Fires when a page falls due or expires, or a failed source is to be asked again.
    pub(super) fn set_deadline(&self, next_change: Option<Timestamp>) {
        if let Some(runner) = &self.runner {
            runner.set_deadline(next_change.into_iter().chain(self.fetched.next_try()).min());
        }
    }
}
