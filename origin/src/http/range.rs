//! Range requests (RFC 9110 §14): one range of bytes. A request for several gets the whole, as
//! §14.2 allows.

use std::ops::Range;

/// What a `Range` field comes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Asked {
    /// Nothing that is understood: send the whole.
    Whole,
    /// These bytes; never empty.
    Part(Range<u64>),
    /// A range that begins past the end: 416.
    Unsatisfiable,
}

/// Reads a `Range` field for content of `length` bytes.
pub fn read(field: Option<&str>, length: u64) -> Asked {
    let Some(set) = field.and_then(|f| f.trim().split_once('=')) else { return Asked::Whole };
    let (unit, spec) = (set.0.trim(), set.1.trim());
    if !unit.eq_ignore_ascii_case("bytes") || spec.contains(',') {
        return Asked::Whole;
    }
    let Some((first, last)) = spec.split_once('-') else { return Asked::Whole };
    let number = |text: &str| -> Option<u64> {
        let is_number = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        // A number beyond all bounds is past every end.
        is_number.then(|| text.parse().unwrap_or(u64::MAX))
    };
    match (first.is_empty(), number(first), last.is_empty(), number(last)) {
        (true, _, _, Some(0)) => Asked::Unsatisfiable,
        (true, _, _, Some(_)) if length == 0 => Asked::Unsatisfiable,
        (true, _, _, Some(suffix)) => Asked::Part(length.saturating_sub(suffix)..length),
        (_, Some(first), true, _) if first < length => Asked::Part(first..length),
        (_, Some(first), _, Some(last)) if last < first => Asked::Whole,
        (_, Some(first), _, Some(last)) if first < length => {
            Asked::Part(first..last.saturating_add(1).min(length))
        }
        (_, Some(_), true, _) | (_, Some(_), _, Some(_)) => Asked::Unsatisfiable,
        _ => Asked::Whole,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_read_to_the_letter() {
        for (field, asked) in [
            ("bytes=0-4", Asked::Part(0..5)),
            ("bytes=5-", Asked::Part(5..10)),
            ("bytes=-3", Asked::Part(7..10)),
            ("bytes=-99", Asked::Part(0..10)),
            ("bytes=0-99999999999999999999999", Asked::Part(0..10)),
            ("BYTES = 2-2", Asked::Part(2..3)),
            ("bytes=10-", Asked::Unsatisfiable),
            ("bytes=10-12", Asked::Unsatisfiable),
            ("bytes=-0", Asked::Unsatisfiable),
            ("bytes=4-2", Asked::Whole),
            ("bytes=0-1,3-4", Asked::Whole),
            ("bytes=a-b", Asked::Whole),
            ("bytes=-", Asked::Whole),
            ("bytes=+1-2", Asked::Whole),
            ("lines=0-4", Asked::Whole),
            ("", Asked::Whole),
        ] {
            assert_eq!(read(Some(field), 10), asked, "{field}");
        }
        assert_eq!(read(Some("bytes=0-"), 0), Asked::Unsatisfiable);
        assert_eq!(read(Some("bytes=-1"), 0), Asked::Unsatisfiable);
        assert_eq!(read(None, 10), Asked::Whole);
    }
}
