//! Dates as authors write them.

use std::sync::LazyLock;

use jiff::tz::TimeZone;
use regex::Regex;
use serde::{Deserialize, Serialize};

/// A date as it was written, and the instant it means.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Date {
    /// As templates show it.
    pub(crate) text: Box<str>,
    /// Seconds since 1970; what has no offset is UTC.
    pub(crate) seconds: i64,
    /// The calendar day that was written.
    pub(crate) year: i16,
    pub(crate) month: i8,
    pub(crate) day: i8,
}

impl Date {
    /// Reads `YYYY-MM-DD`, RFC 3339 with or without offset, and the other ways in which YAML writes a timestamp.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        let written = if text.len() == 10 { None } else { timestamp(text) };
        let text = written.as_deref().unwrap_or(text);
        let head = text.get(..10)?;
        let day: jiff::civil::Date = head.parse().ok()?;
        let seconds = if text.len() == 10 {
            day.to_zoned_datetime(TimeZone::UTC).ok()?.timestamp().as_second()
        } else if let Ok(instant) = text.parse::<jiff::Timestamp>() {
            instant.as_second()
        } else {
            let written: jiff::civil::DateTime = text.parse().ok()?;
            written.to_zoned_datetime(TimeZone::UTC).ok()?.timestamp().as_second()
        };
        Some(Self { text: text.into(), seconds, year: day.year(), month: day.month(), day: day.day() })
    }

    /// Its time, as RFC 3339 writes it: that of a day is where it begins.
    pub(crate) fn time(&self) -> String {
        if self.text.len() > 10 { self.instant() } else { format!("{}T00:00:00Z", self.text) }
    }

    /// The date for machines: a day as it is, a time as RFC 3339 writes it. Without an offset it is UTC.
    pub(crate) fn instant(&self) -> String {
        let text = &*self.text;
        let Some((_, time)) = text.split_once(['T', 't']) else { return text.to_owned() };
        match time.find(['Z', 'z', '+', '-']) {
            None => format!("{text}Z"),
            Some(at) if matches!(&time[at..], "z" | "+00:00" | "-00:00") => {
                format!("{}Z", &text[..text.len() - time[at..].len()])
            }
            Some(_) => text.to_owned(),
        }
    }
}

/// A timestamp of YAML as RFC 3339 writes it; none where it is written so, or where it is none.
fn timestamp(text: &str) -> Option<String> {
    static FORM: LazyLock<Option<Regex>> = LazyLock::new(|| {
        let form = r"^(\d{4})-(\d\d?)-(\d\d?)(?:([Tt]|[ \t]+)(\d\d?):(\d\d):(\d\d)(\.\d+)?[ \t]*(?:(Z)|([-+])(\d\d?)(?::?(\d\d))?)?)?$";
        Regex::new(form).ok()
    });
    let found = FORM.as_ref()?.captures(text)?;
    let part = |i: usize| found.get(i).map_or("", |part| part.as_str());
    let (year, minute, second) = (part(1), part(6), part(7));
    let fraction = part(8).trim_end_matches('0').trim_end_matches('.');
    // TOML writes it so too, and there it may have no offset.
    let is_toml = [2, 3, 4, 5].map(|i| part(i).len()) == [2, 2, 1, 2];
    let offset = match part(10) {
        "" if part(9).is_empty() && is_toml => String::new(),
        "" => "Z".to_owned(),
        sign => format!("{sign}{:0>2}:{:0>2}", part(11), part(12)),
    };
    let [month, day, hour] = [2, 3, 5].map(part);
    let written =
        format!("{year}-{month:0>2}-{day:0>2}T{hour:0>2}:{minute:0>2}:{second:0>2}{fraction}{offset}");
    (written != text).then_some(written)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates() {
        assert_eq!(Date::parse("2026-01-05").unwrap().seconds, 1_767_571_200);
        assert_eq!(Date::parse("2026-01-05T01:00:00+01:00").unwrap().seconds, 1_767_571_200);
        assert_eq!(Date::parse("2026-01-05 00:00:00").unwrap().seconds, 1_767_571_200);
        for (yaml, written) in [
            ("2001-12-15T02:59:43.1Z", "2001-12-15T02:59:43.1Z"),
            ("2001-12-14t21:59:43.10-05:00", "2001-12-14T21:59:43.1-05:00"),
            ("2001-12-14 21:59:43.10 -5", "2001-12-14T21:59:43.1-05:00"),
            ("2001-12-15 2:59:43.00", "2001-12-15T02:59:43Z"),
            ("2001-12-15 02:59:43", "2001-12-15T02:59:43"),
            ("2001-12-5", "2001-12-05T00:00:00Z"),
            ("2001-2-5 02:59:43 +02:00", "2001-02-05T02:59:43+02:00"),
        ] {
            assert_eq!(&*Date::parse(yaml).unwrap().text, written);
        }
        assert!(Date::parse("2002/10/12").is_none());
        assert!(Date::parse("2026-13-05").is_none());
        assert!(Date::parse("über").is_none());
    }
}
