//! Byte ranges cut from a complete stored 200 (RFC 9110 §14). One range is answered with 206; several, whose
//! amplification needs bounds of its own, are answered with the whole, as §14.2 allows.

use http::{HeaderMap, header};

use super::{date, validate::Tag};

/// What a `Range` asks of a content of known length.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ranged {
    /// The whole, with 200.
    Whole,
    /// These bytes, end exclusive, with 206.
    Part {
        /// First byte.
        start: u64,
        /// One past the last byte.
        end: u64,
    },
    /// Nothing of it exists: 416.
    Unsatisfiable,
}

/// Reads `Range` and `If-Range` of a GET against a stored 200 of `length` bytes.
pub fn ranged(request: &HeaderMap, stored: &HeaderMap, length: u64) -> Ranged {
    let mut lines = request.get_all(header::RANGE).iter();
    let (Some(line), None) = (lines.next(), lines.next()) else {
        return Ranged::Whole;
    };
    if !if_range_holds(request, stored) {
        return Ranged::Whole;
    }
    let Some((unit, set)) =
        line.as_bytes().iter().position(|b| *b == b'=').map(|at| line.as_bytes().split_at(at))
    else {
        return Ranged::Whole;
    };
    if !unit.eq_ignore_ascii_case(b"bytes") || set.contains(&b',') {
        return Ranged::Whole;
    }
    let set = set[1..].trim_ascii();
    let Some(dash) = set.iter().position(|b| *b == b'-') else {
        return Ranged::Whole;
    };
    let (first, last) = (&set[..dash], &set[dash + 1..]);
    match (number(first), number(last)) {
        (Some(first), Some(last)) if first > last => Ranged::Whole, // Invalid, so ignored (§14.1.1).
        (Some(first), _) if first >= length && (last.is_empty() || number(last).is_some()) => {
            Ranged::Unsatisfiable
        }
        (Some(start), Some(last)) => Ranged::Part { start, end: last.saturating_add(1).min(length) },
        (Some(start), None) if last.is_empty() => Ranged::Part { start, end: length },
        (None, Some(suffix)) if first.is_empty() => {
            if suffix == 0 || length == 0 {
                Ranged::Unsatisfiable
            } else {
                Ranged::Part { start: length.saturating_sub(suffix), end: length }
            }
        }
        _ => Ranged::Whole,
    }
}

fn number(text: &[u8]) -> Option<u64> {
    if text.is_empty() || !text.iter().all(u8::is_ascii_digit) {
        return None;
    }
    Some(text.iter().fold(0u64, |n, d| n.saturating_mul(10).saturating_add(u64::from(d - b'0'))))
}

/// `If-Range` compares strongly; a date must be the stored `Last-Modified` exactly, and that must be a strong
/// validator: at least a second before `Date` (RFC 9110 §13.1.5, §8.8.2.2).
fn if_range_holds(request: &HeaderMap, stored: &HeaderMap) -> bool {
    let Some(value) = request.get(header::IF_RANGE) else {
        return true;
    };
    if let Some(tag) = Tag::parse(value.as_bytes()) {
        return Tag::of(stored).is_some_and(|held| tag.strongly_equals(held));
    }
    let (Some(modified), Some(generated)) = (stored.get(header::LAST_MODIFIED), stored.get(header::DATE))
    else {
        return false;
    };
    // Both dates are ours to compare; the century of a two-digit year does not matter for equality.
    match (date::parse(modified.as_bytes(), 0), date::parse(generated.as_bytes(), 0)) {
        (Some(modified_at), Some(generated_at)) => {
            date::parse(value.as_bytes(), 0) == Some(modified_at) && modified_at < generated_at
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::{HeaderName, HeaderValue};
    use proptest::prelude::*;

    fn map(fields: &[(&str, &str)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in fields {
            map.append(
                HeaderName::from_bytes(name.as_bytes()).unwrap(),
                HeaderValue::from_str(value).unwrap(),
            );
        }
        map
    }

    #[test]
    fn a_row_for_each_form() {
        use Ranged::{Part, Unsatisfiable, Whole};
        let rows: [(&str, u64, Ranged); 18] = [
            ("bytes=0-0", 10, Part { start: 0, end: 1 }),
            ("bytes=2-4", 10, Part { start: 2, end: 5 }),
            ("bytes=2-99", 10, Part { start: 2, end: 10 }),
            ("bytes=9-", 10, Part { start: 9, end: 10 }),
            ("bytes=10-", 10, Unsatisfiable),
            ("bytes=10-12", 10, Unsatisfiable),
            ("bytes=-3", 10, Part { start: 7, end: 10 }),
            ("bytes=-99", 10, Part { start: 0, end: 10 }),
            ("bytes=-0", 10, Unsatisfiable),
            ("bytes=0-", 0, Unsatisfiable),
            ("BYTES=0-0", 10, Part { start: 0, end: 1 }),
            ("bytes=4-2", 10, Whole),
            ("bytes=a-b", 10, Whole),
            ("bytes=-", 10, Whole),
            ("bytes=0-1,3-4", 10, Whole),
            ("lines=0-1", 10, Whole),
            ("bytes", 10, Whole),
            ("bytes=0-99999999999999999999999", 10, Part { start: 0, end: 10 }),
        ];
        for (range, length, expected) in rows {
            assert_eq!(ranged(&map(&[("range", range)]), &map(&[]), length), expected, "{range}");
        }
    }

    #[test]
    fn if_range() {
        let date = "Sun, 06 Nov 1994 08:49:37 GMT";
        let later = "Sun, 06 Nov 1994 08:49:38 GMT";
        let holds = |value: &str, stored: &[(&str, &str)]| {
            ranged(&map(&[("range", "bytes=0-0"), ("if-range", value)]), &map(stored), 10) != Ranged::Whole
        };
        assert!(holds("\"a\"", &[("etag", "\"a\"")]));
        assert!(!holds("\"a\"", &[("etag", "\"b\"")]));
        assert!(!holds("W/\"a\"", &[("etag", "W/\"a\"")]));
        assert!(!holds("\"a\"", &[]));
        assert!(holds(date, &[("last-modified", date), ("date", later)]));
        assert!(!holds(date, &[("last-modified", date), ("date", date)]));
        assert!(!holds(later, &[("last-modified", date), ("date", later)]));
        assert!(!holds(date, &[("last-modified", date)]));
    }

    proptest! {
        #[test]
        fn a_part_lies_within(text in "bytes=[0-9]{0,12}-[0-9]{0,12}", length in 0u64..1_000_000) {
            if let Ranged::Part { start, end } = ranged(&map(&[("range", &text)]), &map(&[]), length) {
                prop_assert!(start < end && end <= length);
            }
        }
    }
}
