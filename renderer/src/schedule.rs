//! When to render without being asked.
//!
//! Owns the `[[schedule]]` tables of `bakehouse.toml` ([`ScheduleConfig`]), the arithmetic of their times
//! ([`Schedule`]), the record of what fired ([`Fired`]) and the loop that fires them ([`Runner`]), which also fires at
//! the moment at which a page's future `date` or `expiry_date` arrives. Leaves out: what a firing does (the caller's
//! callback), and where the record is stored.
//!
//! # Times in zones
//! An expression is matched against the wall clock of its zone. Where that clock jumps:
//! - An expression that selects every hour (`*`, such as `*/10 * * * *`) goes by the time that passes: what the clock
//!   skips is no firing, what it repeats fires again. Its rhythm never stops.
//! - Any other (`30 2 * * *`) fires once a day however the clock is set: a time inside a gap fires at the moment the
//!   gap ends (several such times: once), a repeated one the first time only.

mod clock;
mod config;
mod cron;
mod error;
mod fired;
mod plan;
mod runner;

pub use clock::{Alarm, Clock, CronAlarm, SystemClock};
pub use config::ScheduleConfig;
pub use cron::Schedule;
pub use error::ScheduleError;
pub use fired::Fired;
pub use plan::{Firing, Reason};
pub use runner::Runner;
