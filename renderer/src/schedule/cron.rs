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
        lowest = lowest.max(self.passed(start)?);
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
                lowest = wall(start, offset)?.max(self.passed(start)?);
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

    /// What the wall clock had shown before it was set last: inside the second pass of a repeated hour, times up to
    /// that have fired in the first.
    fn passed(&self, at: Timestamp) -> Option<i64> {
        match self.last_change(at).filter(|_| !self.every_hour) {
            Some(change) => wall(change.at, change.before),
            None => Some(i64::MIN),
        }
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
    // Rounded down: `as_second` rounds towards 1970.
    let second = moment.as_nanosecond().div_euclid(1_000_000_000);
    i64::try_from(second).ok()?.checked_add(i64::from(offset.seconds()))
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

#[cfg(test)]
mod tests {
    use jiff::civil::DateTime;
    use jiff::tz::AmbiguousOffset;
    use proptest::prelude::*;

    use super::*;

    fn config(cron: &str, timezone: &str) -> ScheduleConfig {
        ScheduleConfig { name: "test".into(), cron: cron.into(), timezone: timezone.into(), sources: None }
    }

    fn schedule(cron: &str, timezone: &str) -> Schedule {
        Schedule::new(&config(cron, timezone)).unwrap()
    }

    /// The firings after a moment, as RFC 3339 with the zone's offset.
    fn firings(cron: &str, timezone: &str, after: &str, count: usize) -> Vec<String> {
        let schedule = schedule(cron, timezone);
        let mut moment: Timestamp = after.parse().unwrap();
        let mut found = Vec::new();
        for _ in 0..count {
            moment = schedule.next_after(moment).unwrap();
            found.push(moment.display_with_offset(schedule.zone.to_offset(moment)).to_string());
        }
        found
    }

    #[test]
    fn berlin_in_spring() {
        // 2026-03-29: at 02:00 the clock goes to 03:00.
        assert_eq!(
            firings("30 2 * * *", "Europe/Berlin", "2026-03-28T00:00:00+01:00", 3),
            ["2026-03-28T02:30:00+01:00", "2026-03-29T03:00:00+02:00", "2026-03-30T02:30:00+02:00"]
        );
        // Four times inside the gap are one firing at its end.
        assert_eq!(
            firings("*/15 2 * * *", "Europe/Berlin", "2026-03-29T01:59:59+01:00", 2),
            ["2026-03-29T03:00:00+02:00", "2026-03-30T02:00:00+02:00"]
        );
        // A time at the end of the gap is itself, once.
        assert_eq!(
            firings("0 2,3 * * *", "Europe/Berlin", "2026-03-29T00:00:00+01:00", 2),
            ["2026-03-29T03:00:00+02:00", "2026-03-30T02:00:00+02:00"]
        );
        // The rhythm goes on by the time that passes.
        assert_eq!(
            firings("*/30 * * * *", "Europe/Berlin", "2026-03-29T01:00:00+01:00", 3),
            ["2026-03-29T01:30:00+01:00", "2026-03-29T03:00:00+02:00", "2026-03-29T03:30:00+02:00"]
        );
        assert_eq!(
            firings("30 * * * *", "Europe/Berlin", "2026-03-29T01:00:00+01:00", 2),
            ["2026-03-29T01:30:00+01:00", "2026-03-29T03:30:00+02:00"]
        );
    }

    #[test]
    fn berlin_in_autumn() {
        // 2026-10-25: at 03:00 the clock goes back to 02:00.
        assert_eq!(
            firings("30 2 * * *", "Europe/Berlin", "2026-10-25T00:00:00+02:00", 2),
            ["2026-10-25T02:30:00+02:00", "2026-10-26T02:30:00+01:00"]
        );
        assert_eq!(
            firings("*/30 * * * *", "Europe/Berlin", "2026-10-25T01:30:00+02:00", 6),
            [
                "2026-10-25T02:00:00+02:00",
                "2026-10-25T02:30:00+02:00",
                "2026-10-25T02:00:00+01:00",
                "2026-10-25T02:30:00+01:00",
                "2026-10-25T03:00:00+01:00",
                "2026-10-25T03:30:00+01:00",
            ]
        );
        // Started inside the second pass: it has been.
        assert_eq!(
            firings("45 2 * * *", "Europe/Berlin", "2026-10-25T02:10:00+01:00", 1),
            ["2026-10-26T02:45:00+01:00"]
        );
        // Seconds.
        assert_eq!(
            firings("*/20 59 2 * * *", "Europe/Berlin", "2026-10-25T02:59:15+02:00", 3),
            ["2026-10-25T02:59:20+02:00", "2026-10-25T02:59:40+02:00", "2026-10-26T02:59:00+01:00"]
        );
    }

    #[test]
    fn new_york_in_spring_and_autumn() {
        assert_eq!(
            firings("30 2 * * *", "America/New_York", "2026-03-07T12:00:00-05:00", 2),
            ["2026-03-08T03:00:00-04:00", "2026-03-09T02:30:00-04:00"]
        );
        assert_eq!(
            firings("30 1 * * *", "America/New_York", "2026-11-01T00:00:00-04:00", 2),
            ["2026-11-01T01:30:00-04:00", "2026-11-02T01:30:00-05:00"]
        );
        assert_eq!(
            firings("0 * * * *", "America/New_York", "2026-11-01T00:30:00-04:00", 3),
            ["2026-11-01T01:00:00-04:00", "2026-11-01T01:00:00-05:00", "2026-11-01T02:00:00-05:00"]
        );
        // Winter and summer, with the same wall clock: what went wrong elsewhere.
        assert_eq!(
            firings("0 9 1 1,7 *", "America/New_York", "2026-02-01T00:00:00Z", 2),
            ["2026-07-01T09:00:00-04:00", "2027-01-01T09:00:00-05:00"]
        );
    }

    #[test]
    fn south_of_the_equator() {
        // Sydney: forward on 2026-10-04 at 02:00, back on 2026-04-05 at 03:00.
        assert_eq!(
            firings("15 2 * * *", "Australia/Sydney", "2026-10-03T12:00:00+10:00", 2),
            ["2026-10-04T03:00:00+11:00", "2026-10-05T02:15:00+11:00"]
        );
        assert_eq!(
            firings("15 2 * * *", "Australia/Sydney", "2026-04-04T12:00:00+11:00", 2),
            ["2026-04-05T02:15:00+11:00", "2026-04-06T02:15:00+10:00"]
        );
    }

    #[test]
    fn a_clock_that_changes_by_half_an_hour() {
        // Lord Howe: 2026-10-04 at 02:00 (+10:30) to 02:30 (+11); 2026-04-05 at 02:00 (+11) back to 01:30 (+10:30).
        assert_eq!(
            firings("10 2 * * *", "Australia/Lord_Howe", "2026-10-03T12:00:00+10:30", 2),
            ["2026-10-04T02:30:00+11:00", "2026-10-05T02:10:00+11:00"]
        );
        assert_eq!(
            firings("45 1 * * *", "Australia/Lord_Howe", "2026-04-05T00:00:00+11:00", 2),
            ["2026-04-05T01:45:00+11:00", "2026-04-06T01:45:00+10:30"]
        );
        assert_eq!(
            firings("*/15 * * * *", "Australia/Lord_Howe", "2026-04-05T01:15:00+11:00", 5),
            [
                "2026-04-05T01:30:00+11:00",
                "2026-04-05T01:45:00+11:00",
                "2026-04-05T01:30:00+10:30",
                "2026-04-05T01:45:00+10:30",
                "2026-04-05T02:00:00+10:30",
            ]
        );
    }

    #[test]
    fn a_clock_that_changes_at_midnight_and_one_that_lost_a_day() {
        // Cairo: 2026-04-24 at 00:00 goes to 01:00.
        assert_eq!(
            firings("@daily", "Africa/Cairo", "2026-04-23T12:00:00+02:00", 2),
            ["2026-04-24T01:00:00+03:00", "2026-04-25T00:00:00+03:00"]
        );
        // Apia had no 30 December 2011.
        assert_eq!(
            firings("0 12 * * *", "Pacific/Apia", "2011-12-29T13:00:00-10:00", 2),
            ["2011-12-31T00:00:00+14:00", "2011-12-31T12:00:00+14:00"]
        );
    }

    #[test]
    fn leaps_over_years() {
        assert_eq!(firings("0 0 29 2 *", "UTC", "2096-03-01T00:00:00Z", 1), ["2104-02-29T00:00:00+00:00"]);
        assert_eq!(
            firings("30 2 29 2 *", "Europe/Berlin", "2026-01-01T00:00:00Z", 1),
            ["2028-02-29T02:30:00+01:00"]
        );
    }

    #[test]
    fn is_strictly_after_also_between_seconds() {
        assert_eq!(firings("* * * * * *", "UTC", "2026-01-01T00:00:00.5Z", 1), ["2026-01-01T00:00:01+00:00"]);
        assert_eq!(firings("* * * * * *", "UTC", "2026-01-01T00:00:00Z", 1), ["2026-01-01T00:00:01+00:00"]);
        assert_eq!(firings("* * * * *", "UTC", "1969-12-31T23:59:59.5Z", 1), ["1970-01-01T00:00:00+00:00"]);
    }

    #[test]
    fn tells_what_was_missed() {
        let daily = schedule("0 6 * * *", "Europe/Berlin");
        let at = |text: &str| text.parse::<Timestamp>().unwrap();
        assert!(daily.missed_between(at("2026-11-20T05:00:00Z"), at("2026-11-21T05:00:00Z")));
        assert!(!daily.missed_between(at("2026-11-20T05:00:00Z"), at("2026-11-21T04:59:59Z")));
        assert!(!daily.missed_between(at("2026-11-22T05:00:00Z"), at("2026-11-20T05:00:00Z")));
    }

    #[test]
    fn errors_name_the_key_and_the_nearest_right_value() {
        let error = |cron: &str, zone: &str| {
            let error = Schedule::new(&config(cron, zone)).unwrap_err();
            (error.to_string(), error.hint().unwrap())
        };
        let (message, hint) = error("* * * * *", "Europe/Berln");
        assert_eq!(message, "schedule `test`: `timezone` = \"Europe/Berln\" is not a known time zone");
        assert_eq!(hint, "did you mean \"Europe/Berlin\"?");
        assert!(error("* * * * *", "../etc/passwd").1.contains("IANA"));
        for cron in [
            "",
            "* * * *",
            "* * * * * * *",
            "61 * * * *",
            "* * * * FOO",
            "* * 0 * *",
            "*/0 * * * *",
            "@never",
        ] {
            let (message, hint) = error(cron, "UTC");
            assert!(
                message.contains("`cron`") && message.contains("is not a cron expression"),
                "{cron}: {message}"
            );
            assert!(hint.contains("five fields"), "{hint}");
        }
        assert!(error(&"*,".repeat(200), "UTC").0.contains("longer than 256 bytes"));
        assert!(error("0 0 30 2 *", "UTC").0.contains("never comes"));
    }

    #[test]
    fn all_checks_names_and_sources() {
        let mut one = config("* * * * *", "UTC");
        one.sources = Some(vec!["nwes".into()]);
        let error = Schedule::all(std::slice::from_ref(&one), ["news", "rates"]).unwrap_err();
        assert_eq!(error.to_string(), "schedule `test`: `sources` names \"nwes\", which is no [[source]]");
        assert_eq!(error.hint().unwrap(), "did you mean \"news\"?");
        one.sources = None;
        let twice = Schedule::all(&[one.clone(), one.clone()], []).unwrap_err();
        assert_eq!(twice.to_string(), "two schedules are named `test`");
        one.name = "a/b".into();
        assert!(matches!(Schedule::new(&one).unwrap_err(), ScheduleError::Name { .. }));
    }

    /// All firings in (after, until], found by walking through every minute instead of by searching.
    fn walked(schedule: &Schedule, after: Timestamp, until: Timestamp) -> BTreeSet<Timestamp> {
        let matches = |wall: DateTime| {
            let seconds = Offset::UTC.to_timestamp(wall).unwrap().as_second();
            let time = chrono::DateTime::<chrono::Utc>::from_timestamp(seconds, 0).unwrap();
            schedule.cron.is_time_matching(&time).unwrap()
        };
        let mut found = BTreeSet::new();
        if schedule.every_hour {
            let mut moment = Timestamp::from_second(after.as_second().div_euclid(60) * 60).unwrap();
            while moment <= until {
                if matches(schedule.zone.to_datetime(moment)) {
                    found.insert(moment);
                }
                moment = moment.checked_add(SignedDuration::from_secs(60)).unwrap();
            }
        } else {
            let day = SignedDuration::from_hours(36);
            let mut wall =
                TimeZone::UTC.to_datetime(after.checked_sub(day).unwrap()).round(jiff::Unit::Minute).unwrap();
            let end = TimeZone::UTC.to_datetime(until.checked_add(day).unwrap());
            while wall <= end {
                if matches(wall) {
                    found.insert(match schedule.zone.to_ambiguous_timestamp(wall).offset() {
                        AmbiguousOffset::Unambiguous { offset } => offset.to_timestamp(wall).unwrap(),
                        AmbiguousOffset::Fold { before, .. } => before.to_timestamp(wall).unwrap(),
                        AmbiguousOffset::Gap { before, .. } => {
                            // The end of the gap is the change before the moment that the old offset gives.
                            let inside = before.to_timestamp(wall).unwrap();
                            let past = inside.checked_add(SignedDuration::from_nanos(1)).unwrap();
                            schedule.zone.preceding(past).next().unwrap().timestamp()
                        }
                    });
                }
                wall = wall.checked_add(SignedDuration::from_secs(60)).unwrap();
            }
        }
        found.retain(|moment| *moment > after && *moment <= until);
        found
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

        #[test]
        fn finds_what_walking_finds(
            zone in prop::sample::select(vec![
                "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Australia/Sydney", "America/St_Johns",
                "Africa/Casablanca", "Asia/Kathmandu", "Africa/Cairo", "America/Santiago", "UTC",
            ]),
            minute in prop::sample::select(vec!["*", "*/7", "0", "30", "59", "5,35"]),
            hour in prop::sample::select(vec!["*", "*/2", "0", "1", "2", "3", "1-3", "23", "0,12"]),
            day in prop::sample::select(vec!["*", "*/2", "1", "L"]),
            change in 0_usize..24,
            around in -100_000_i64..100_000,
        ) {
            let schedule = schedule(&format!("{minute} {hour} {day} * *"), zone);
            let base: Timestamp = "2025-01-01T00:00:00Z".parse().unwrap();
            // Most changes of a clock are somewhere near one of these; the others are ordinary days.
            let near = schedule.zone.following(base).nth(change % 6).map_or(base, |next| next.timestamp());
            let after = near.checked_add(SignedDuration::from_secs(around)).unwrap();
            let until = after.checked_add(SignedDuration::from_hours(60)).unwrap();
            let mut found = BTreeSet::new();
            let mut moment = after;
            while let Some(next) = schedule.next_after(moment) {
                prop_assert!(next > moment);
                if next > until { break; }
                found.insert(next);
                moment = next;
            }
            prop_assert_eq!(found, walked(&schedule, after, until));
        }

        #[test]
        fn no_expression_panics(text in "[-*/,0-9@#LW?+A-Za-zß ]{0,30}") {
            if let Ok(schedule) = Schedule::new(&config(&text, "Europe/Berlin")) {
                let now: Timestamp = "2026-11-23T18:00:00Z".parse().unwrap();
                if let Some(next) = schedule.next_after(now) { prop_assert!(next > now); }
            }
        }
    }
}
