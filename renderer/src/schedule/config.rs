//! The `[[schedule]]` tables of `bakehouse.toml`.

use serde::Deserialize;

/// One `[[schedule]]` table, as written. [`super::Schedule::new`] checks it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScheduleConfig {
    /// Its name, in logs and in the record of what fired.
    pub name: String,
    /// Five fields (minute, hour, day, month, weekday), or six with seconds first; `@hourly`, `@daily`, `@weekly`,
    /// `@monthly`, `@yearly`.
    pub cron: String,
    /// The zone whose wall clock counts, by its IANA name.
    #[serde(default = "utc")]
    pub timezone: String,
    /// The sources to ask; all of them, unless given.
    #[serde(default)]
    pub sources: Option<Vec<String>>,
}

fn utc() -> String {
    "UTC".to_owned()
}
