//! HTTP dates (RFC 9110 §5.6.7): all three formats, names and zone in any case, everything else invalid.

/// Seconds since the Unix epoch.
pub type UnixSeconds = i64;

const MONTHS: [&[u8; 3]; 12] =
    [b"jan", b"feb", b"mar", b"apr", b"may", b"jun", b"jul", b"aug", b"sep", b"oct", b"nov", b"dec"];
const DAYS: [&str; 7] = ["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"];

/// Reads an HTTP date. `now` settles the century of the obsolete two-digit year: a date that appears to be
/// more than 50 years ahead is in the past (RFC 9110 §5.6.7).
pub fn parse(value: &[u8], now: UnixSeconds) -> Option<UnixSeconds> {
    let text = value.trim_ascii();
    imf_fixdate(text).or_else(|| rfc850(text, now)).or_else(|| asctime(text))
}

/// Formats as IMF-fixdate, the only format that is generated.
pub fn format(at: UnixSeconds) -> String {
    let at = u64::try_from(at).unwrap_or(0).min(LAST_SECOND);
    httpdate::fmt_http_date(std::time::UNIX_EPOCH + std::time::Duration::from_secs(at))
}

/// The last second of the year 9999: the format has four digits for a year.
const LAST_SECOND: u64 = 253_402_300_799;

/// `Sun, 06 Nov 1994 08:49:37 GMT`
fn imf_fixdate(text: &[u8]) -> Option<UnixSeconds> {
    if text.len() != 29 || &text[3..5] != b", " || text[7] != b' ' || text[11] != b' ' || text[16] != b' ' {
        return None;
    }
    if !is_short_day(&text[..3]) || !text[25..].eq_ignore_ascii_case(b" GMT") {
        return None;
    }
    let day = number(&text[5..7])?;
    let month = month(&text[8..11])?;
    let year = number(&text[12..16])?;
    seconds(year, month, day, &text[17..25])
}

/// `Sunday, 06-Nov-94 08:49:37 GMT`
fn rfc850(text: &[u8], now: UnixSeconds) -> Option<UnixSeconds> {
    let comma = text.iter().position(|b| *b == b',')?;
    let name = std::str::from_utf8(&text[..comma]).ok()?;
    if !DAYS.iter().any(|day| day.eq_ignore_ascii_case(name)) {
        return None;
    }
    let rest = &text[comma + 1..];
    if rest.len() != 23 || rest[0] != b' ' || rest[3] != b'-' || rest[7] != b'-' || rest[10] != b' ' {
        return None;
    }
    if !rest[19..].eq_ignore_ascii_case(b" GMT") {
        return None;
    }
    let day = number(&rest[1..3])?;
    let month = month(&rest[4..7])?;
    let short_year = number(&rest[8..10])?;
    let century = year_of(now) / 100 * 100;
    let this = seconds(century + short_year, month, day, &rest[11..19])?;
    let years_ahead = century + short_year - year_of(now);
    if years_ahead > 50 {
        return seconds(century - 100 + short_year, month, day, &rest[11..19]);
    }
    if years_ahead == 50 && this - now > 50 * 365 * 86_400 + 13 * 86_400 {
        return seconds(century - 100 + short_year, month, day, &rest[11..19]);
    }
    if years_ahead <= -50 {
        // Nearer in the next century than in this one.
        return seconds(century + 100 + short_year, month, day, &rest[11..19]);
    }
    Some(this)
}

/// `Sun Nov  6 08:49:37 1994`
fn asctime(text: &[u8]) -> Option<UnixSeconds> {
    if text.len() != 24 || text[3] != b' ' || text[7] != b' ' || text[10] != b' ' || text[19] != b' ' {
        return None;
    }
    if !is_short_day(&text[..3]) {
        return None;
    }
    let month = month(&text[4..7])?;
    let day = if text[8] == b' ' { number(&text[9..10])? } else { number(&text[8..10])? };
    let year = number(&text[20..24])?;
    seconds(year, month, day, &text[11..19])
}

fn is_short_day(name: &[u8]) -> bool {
    DAYS.iter().any(|day| day.as_bytes()[..3].eq_ignore_ascii_case(name))
}

fn month(name: &[u8]) -> Option<i64> {
    let index = MONTHS.iter().position(|month| month.eq_ignore_ascii_case(name))?;
    i64::try_from(index + 1).ok()
}

fn number(digits: &[u8]) -> Option<i64> {
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    Some(digits.iter().fold(0, |n, d| n * 10 + i64::from(d - b'0')))
}

fn seconds(year: i64, month: i64, day: i64, clock: &[u8]) -> Option<UnixSeconds> {
    if clock.len() != 8 || clock[2] != b':' || clock[5] != b':' {
        return None;
    }
    let (hour, minute, second) = (number(&clock[..2])?, number(&clock[3..5])?, number(&clock[6..8])?);
    let month_days = match month {
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    };
    // A leap second is valid (RFC 9110 §5.6.7: second = 2DIGIT, 00 to 60).
    if day < 1 || day > month_days || hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    Some(days_from_civil(year, month, day) * 86_400 + hour * 3_600 + minute * 60 + second)
}

/// Days since 1970-01-01 in the proleptic Gregorian calendar.
fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let y = if month <= 2 { year - 1 } else { year };
    let era = y.div_euclid(400);
    let year_of_era = y.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

fn year_of(at: UnixSeconds) -> i64 {
    let days = at.div_euclid(86_400) + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    // March is the first month of the civil year used here.
    year_of_era + era * 400 + i64::from(day_of_year >= 306)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const NOW: UnixSeconds = 1_790_000_000; // September 2026

    #[test]
    fn a_row_for_each_form() {
        let rows: [(&str, Option<i64>); 17] = [
            ("Sun, 06 Nov 1994 08:49:37 GMT", Some(784_111_777)),
            ("Sunday, 06-Nov-94 08:49:37 GMT", Some(784_111_777)),
            ("Sun Nov  6 08:49:37 1994", Some(784_111_777)),
            ("sun, 06 nov 1994 08:49:37 gmt", Some(784_111_777)),
            ("SUNDAY, 06-NOV-94 08:49:37 GMT", Some(784_111_777)),
            ("Thu, 01 Jan 1970 00:00:00 GMT", Some(0)),
            ("Wed, 31 Dec 1969 23:59:59 GMT", Some(-1)),
            ("Sat, 31 Dec 2016 23:59:60 GMT", Some(1_483_228_800)),
            ("Thu, 29 Feb 2024 00:00:00 GMT", Some(1_709_164_800)),
            ("Wed, 29 Feb 2023 00:00:00 GMT", None),
            ("Sun, 06 Nov 1994 08:49:37 UTC", None),
            ("Sun, 06 Nov 1994 08:49:37 +0000", None),
            ("Sun, 6 Nov 1994 08:49:37 GMT", None),
            ("Sun, 06 Nov 1994 24:00:00 GMT", None),
            ("Xyz, 06 Nov 1994 08:49:37 GMT", None),
            ("0", None),
            ("", None),
        ];
        for (text, expected) in rows {
            assert_eq!(parse(text.as_bytes(), NOW), expected, "{text}");
        }
        // Two digits: up to 50 years ahead are ahead (RFC 9110 §5.6.7).
        assert_eq!(
            parse(b"Friday, 01-Jan-27 00:00:00 GMT", NOW),
            parse(b"Fri, 01 Jan 2027 00:00:00 GMT", NOW)
        );
        assert_eq!(
            parse(b"Friday, 01-Jan-76 00:00:00 GMT", NOW),
            parse(b"Fri, 01 Jan 2076 00:00:00 GMT", NOW)
        );
        assert_eq!(
            parse(b"Friday, 01-Jan-77 00:00:00 GMT", NOW),
            parse(b"Fri, 01 Jan 1977 00:00:00 GMT", NOW)
        );
    }

    proptest! {
        #[test]
        fn what_is_formatted_is_read_back(at in 0i64..253_402_300_799) {
            prop_assert_eq!(parse(format(at).as_bytes(), NOW), Some(at));
        }

        #[test]
        fn no_input_panics(text in proptest::collection::vec(any::<u8>(), 0..40)) {
            let _ = parse(&text, NOW);
        }
    }
}
