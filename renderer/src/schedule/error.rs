//! What can be wrong with a schedule.

/// Why a schedule cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ScheduleError {
    /// The name cannot be a key of the bucket.
    #[error("schedule {name:?}: `name` must be 1 to 64 letters, digits, `-` or `_`")]
    Name {
        /// The name.
        name: String,
    },
    /// Two schedules have one name.
    #[error("two schedules are named `{name}`")]
    DuplicateName {
        /// The name.
        name: String,
    },
    /// The expression cannot be read.
    #[error("schedule `{name}`: `cron` = {expression:?} is not a cron expression: {problem}")]
    Expression {
        /// The schedule.
        name: String,
        /// The expression.
        expression: String,
        /// The parser's reason.
        problem: String,
    },
    /// The expression matches no time at all, such as 30 February.
    #[error("schedule `{name}`: `cron` = {expression:?} never comes")]
    Never {
        /// The schedule.
        name: String,
        /// The expression.
        expression: String,
    },
    /// The time zone is not known.
    #[error("schedule `{name}`: `timezone` = {timezone:?} is not a known time zone")]
    TimeZone {
        /// The schedule.
        name: String,
        /// What was given.
        timezone: String,
        /// The known name that is nearest to it.
        nearest: Option<String>,
    },
    /// `sources` names a source that is not configured.
    #[error("schedule `{name}`: `sources` names {source_name:?}, which is no [[source]]")]
    Source {
        /// The schedule.
        name: String,
        /// The name in `sources`.
        source_name: String,
        /// The configured name that is nearest to it.
        nearest: Option<String>,
    },
    /// A record of a firing cannot be read.
    #[error("the record of schedule `{name}` cannot be read: {problem}")]
    Record {
        /// The schedule.
        name: String,
        /// What is wrong with it.
        problem: String,
    },
    /// The scheduler beneath could not be started or told.
    #[error("the scheduler failed: {0}")]
    Scheduler(#[from] tokio_cron_scheduler::JobSchedulerError),
}

impl ScheduleError {
    /// What to do next.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::DuplicateName { .. } => Some("give each [[schedule]] a name of its own".into()),
            Self::Expression { .. } => Some(
                "five fields (minute hour day month weekday) or six with seconds first, such as \"*/5 * * * *\"".into(),
            ),
            Self::Never { .. } => Some("check the day and the month".into()),
            Self::TimeZone { nearest: Some(nearest), .. } | Self::Source { nearest: Some(nearest), .. } => {
                Some(format!("did you mean {nearest:?}?"))
            }
            Self::TimeZone { .. } => Some("use a name of the IANA database, such as \"Europe/Berlin\" or \"UTC\"".into()),
            Self::Record { .. } => Some("the schedule counts as never fired; the next firing replaces the record".into()),
            Self::Name { .. } => Some("give the schedule another name".into()),
            Self::Source { .. } => Some("name a [[source]], or leave `sources` out for all".into()),
            Self::Scheduler(_) => None,
        }
    }
}
