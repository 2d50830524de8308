//! The arithmetic: the moments at which an expression fires. Pure.
//!
//! The expression is matched by `croner` on a calendar without jumps; the zone's jumps are handled here, one period of
//! constant offset after the other. Libraries that do both in one step were tried and refused: they lose or repeat
//! firings around changes of the clock, most of all where it changes by half an hour.

use std::collections::BTreeSet;

use croner::Cron;
use croner::parser::{CronParser, Seconds, Year};
use jiff::tz::{Offset, TimeZone};
use jiff::{SignedDuration, Timestamp};

use super::config::ScheduleConfig;
use super::error::ScheduleError;

/// Longest expression; the longest useful ones list every minute.
const EXPRESSION_BYTES_MAX: usize = 256;
/// Longest name: it is a part of a key in the bucket and a metric's label.
const NAME_BYTES_MAX: usize = 64;
/// Periods of constant offset that are searched for one firing. Each step leaps to the next match, so two are common;
/// the bound only keeps a zone that changes daily (none does) from holding the loop.
const PERIODS_MAX: usize = 10_000;
/// More than any zone's clock has ever been from another's at one time (26 h), and from itself across a change.
const OFFSETS_APART_MAX: SignedDuration = SignedDuration::from_hours(48);

/// A checked schedule.
#[derive(Debug, Clone)]
pub struct Schedule {
    name: String,
    cron: Cron,
    zone: TimeZone,
    /// The expression selects every hour: it goes by the time that passes, not by the wall clock's face.
    every_hour: bool,
    sources: Option<BTreeSet<String>>,
}

impl Schedule {
    /// Checks a `[[schedule]]` table.
    ///
    /// # Errors
    /// [`ScheduleError`] with the key, its value and, where there is one, the nearest right value.
    pub fn new(config: &ScheduleConfig) -> Result<Self, ScheduleError> {
        let name = config.name.clone();
        let word = !name.is_empty()
            && name.len() <= NAME_BYTES_MAX
            && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-');
        if !word {
            return Err(ScheduleError::Name { name });
        }
        let malformed = |problem: String| ScheduleError::Expression {
            name: name.clone(),
            expression: config.cron.chars().take(80).collect(),
            problem,
        };
        if config.cron.len() > EXPRESSION_BYTES_MAX {
            return Err(malformed(format!("it is longer than {EXPRESSION_BYTES_MAX} bytes")));
        }
        let cron = CronParser::builder()
            .seconds(Seconds::Optional)
            .year(Year::Disallowed)
            .build()
            .parse(&config.cron)
            .map_err(|error| malformed(reason(&error)))?;
        let zone = TimeZone::get(&config.timezone).map_err(|_| ScheduleError::TimeZone {
            name: name.clone(),
            timezone: config.timezone.clone(),
            nearest: nearest(
                &config.timezone,
                jiff::tz::db().available().map(|known| known.as_str().to_owned()),
            ),
        })?;
        let every_hour = cron.pattern.hours.is_all_set();
        let sources = config.sources.as_ref().map(|names| names.iter().cloned().collect());
        let schedule = Self { name, cron, zone, every_hour, sources };
        // The calendar repeats after 400 years: what does not come from here on never comes.
        if schedule.next_after(Timestamp::UNIX_EPOCH).is_none() {
            return Err(ScheduleError::Never { name: schedule.name, expression: config.cron.clone() });
        }
        Ok(schedule)
    }

    /// Checks all tables, and that the sources that they name are among `sources`.
    ///
    /// # Errors
    /// The first error, in the order of the tables.
    pub fn all<'a>(
        configs: &[ScheduleConfig],
        sources: impl IntoIterator<Item = &'a str>,
    ) -> Result<Vec<Self>, ScheduleError> {
        let known: BTreeSet<&str> = sources.into_iter().collect();
        let mut names = BTreeSet::new();
        let mut schedules = Vec::with_capacity(configs.len());
        for config in configs {
            let schedule = Self::new(config)?;
            if !names.insert(config.name.as_str()) {
                return Err(ScheduleError::DuplicateName { name: config.name.clone() });
            }
            if let Some(unknown) =
                schedule.sources.iter().flatten().find(|name| !known.contains(name.as_str()))
            {
                return Err(ScheduleError::Source {
                    name: config.name.clone(),
                    source_name: unknown.clone(),
                    nearest: nearest(unknown, known.iter().map(|name| (*name).to_owned())),
                });
            }
            schedules.push(schedule);
        }
        Ok(schedules)
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The sources to ask; `None`: all.
    #[must_use]
    pub fn sources(&self) -> Option<&BTreeSet<String>> {
        self.sources.as_ref()
    }

    /// The first moment after `after` at which it fires; `None` where there is none within the calendar.
    #[must_use]
    pub fn next_after(&self, after: Timestamp) -> Option<Timestamp> {
        // The first whole second of the wall clock that has not been yet.
        let mut start = after;
        let mut offset = self.zone.to_offset(start);
        let mut lowest = wall(start, offset)?.checked_add(1)?;
        if !self.every_hour
            && let Some(change) = self.last_change(start)
        {
            // Inside the second pass of a repeated hour: its times have fired in the first.
            lowest = lowest.max(wall(change.at, change.before)?);
        }
        let mut earliest = start;
        for _ in 0..PERIODS_MAX {
            let face = self.matching(lowest)?;
            let moment = Timestamp::from_second(face.checked_sub(i64::from(offset.seconds()))?).ok()?;
            // A time inside a gap comes when the gap ends.
            let moment = moment.max(earliest);
            let Some(change) = self.next_change(start) else { return Some(moment) };
            if moment < change {
                return Some(moment);
            }
            // The next period. Where the match is far beyond it, leap: nothing in between can match.
            let before = offset;
            let far = Timestamp::from_second(face).ok()?.checked_sub(OFFSETS_APART_MAX).ok()?;
            if far > change {
                start = far;
                offset = self.zone.to_offset(start);
                lowest = wall(start, offset)?;
                earliest = start;
            } else {
                start = change;
                offset = self.zone.to_offset(start);
                lowest = wall(start, if self.every_hour { offset } else { before })?;
                earliest = start;
            }
        }
        None
    }

    /// Whether it should have fired after `last` and up to `now`.
    #[must_use]
    pub fn missed_between(&self, last: Timestamp, now: Timestamp) -> bool {
        self.next_after(last).is_some_and(|due| due <= now)
    }

    /// The first matching second of the wall clock that is not before `lowest`; both as if the wall clock showed UTC.
    fn matching(&self, lowest: i64) -> Option<i64> {
        let lowest = chrono::DateTime::<chrono::Utc>::from_timestamp(lowest, 0)?;
        self.cron.find_next_occurrence(&lowest, true).ok().map(|found| found.timestamp())
    }

    fn next_change(&self, after: Timestamp) -> Option<Timestamp> {
        // Zones also change their abbreviation without changing the clock; those are no changes here.
        self.zone
            .following(after)
            .take(16)
            .find(|next| {
                let before = next.timestamp().checked_sub(SignedDuration::from_nanos(1));
                before.is_ok_and(|before| self.zone.to_offset(before) != next.offset())
            })
            .map(|next| next.timestamp())
    }

    fn last_change(&self, until: Timestamp) -> Option<Change> {
        let change = self.zone.preceding(until.checked_add(SignedDuration::from_nanos(1)).ok()?).next()?;
        let before = change.timestamp().checked_sub(SignedDuration::from_nanos(1)).ok()?;
        Some(Change { at: change.timestamp(), before: self.zone.to_offset(before) })
    }
}

struct Change {
    at: Timestamp,
    before: Offset,
}

/// What the wall clock shows, as seconds, as if it showed UTC.
fn wall(moment: Timestamp, offset: Offset) -> Option<i64> {
    moment.as_second().checked_add(i64::from(offset.seconds()))
}

fn reason(error: &croner::errors::CronError) -> String {
    use croner::errors::CronError as E;
    match error {
        E::InvalidPattern(text) | E::IllegalCharacters(text) | E::ComponentError(text) => {
            text.trim_end_matches('.').replace("CronPattern", "it")
        }
        E::EmptyPattern => "it is empty".to_owned(),
        other => other.to_string().trim_end_matches('.').to_owned(),
    }
}

/// The known name that is most like `given`, if any is like it at all.
fn nearest(given: &str, known: impl IntoIterator<Item = String>) -> Option<String> {
    const LIKENESS_MIN: f64 = 0.8;
    let folded = given.to_lowercase().replace(' ', "_");
    known
        .into_iter()
        .map(|name| (strsim::jaro_winkler(&folded, &name.to_lowercase()), name))
        .filter(|(likeness, _)| *likeness >= LIKENESS_MIN)
        .max_by(|a, b| a.0.total_cmp(&b.0).then_with(|| b.1.cmp(&a.1)))
        .map(|(_, name)| name)
}
