//! Conditional requests (RFC 9110 §13). Our validators are strong entity tags; nothing has a
//! modification date, so conditions on dates never hold and are ignored (§13.1.3, §13.1.4).

use axum::http::{HeaderMap, HeaderName, header};

/// What the conditions of a GET or HEAD request come to, evaluated as in §13.2.2.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Answer as without conditions.
    Go,
    /// The client's copy is the same: 304.
    NotModified,
    /// `If-Match` does not hold: 412.
    Failed,
}

/// Evaluates the conditions against the tag of the representation that would be sent.
pub(super) fn evaluate(headers: &HeaderMap, etag: &str) -> Verdict {
    if let Some(list) = joined(headers, &header::IF_MATCH)
        && !matches(&list, etag, true)
    {
        return Verdict::Failed;
    }
    match joined(headers, &header::IF_NONE_MATCH) {
        Some(list) if matches(&list, etag, false) => Verdict::NotModified,
        _ => Verdict::Go,
    }
}

/// Whether `If-Range` lets a range be sent: strong comparison with one tag (§13.1.5).
pub(super) fn range_applies(headers: &HeaderMap, etag: &str) -> bool {
    headers.get(header::IF_RANGE).is_none_or(|value| value.as_bytes() == etag.as_bytes())
}

/// All lines of a field as one list (§5.3).
pub(super) fn joined(headers: &HeaderMap, name: &HeaderName) -> Option<String> {
    let lines: Vec<_> = headers.get_all(name).iter().map(|v| String::from_utf8_lossy(v.as_bytes())).collect();
    (!lines.is_empty()).then(|| lines.join(", "))
}

/// Whether a list of tags holds this one. A tag may contain commas, so the list is read tag by tag.
fn matches(list: &str, etag: &str, strong: bool) -> bool {
    if list.trim() == "*" {
        return true;
    }
    let mut rest = list;
    loop {
        rest = rest.trim_start_matches([' ', '\t', ',']);
        let (weak, opaque) = match rest.strip_prefix("W/") {
            Some(opaque) => (true, opaque),
            None => (false, rest),
        };
        let Some(inner) = opaque.strip_prefix('"') else { return false };
        let Some(end) = inner.find('"') else { return false };
        if opaque[..end + 2] == *etag && !(strong && weak) {
            return true;
        }
        rest = &inner[end + 1..];
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conditions_are_evaluated_in_order() {
        let etag = "\"abc\"";
        for (if_match, if_none_match, verdict) in [
            (None, None, Verdict::Go),
            (None, Some("\"abc\""), Verdict::NotModified),
            (None, Some("W/\"abc\""), Verdict::NotModified),
            (None, Some("\"x\" , W/\"a,b\",\"abc\""), Verdict::NotModified),
            (None, Some("*"), Verdict::NotModified),
            (None, Some("\"x\""), Verdict::Go),
            (None, Some("abc"), Verdict::Go),
            (None, Some("\"abc"), Verdict::Go),
            (None, Some(""), Verdict::Go),
            (Some("*"), None, Verdict::Go),
            (Some("\"abc\""), Some("\"abc\""), Verdict::NotModified),
            (Some("W/\"abc\""), None, Verdict::Failed),
            (Some("\"x\""), Some("\"abc\""), Verdict::Failed),
        ] {
            let mut headers = HeaderMap::new();
            let mut set = |name, value: Option<&str>| value.map(|v| headers.insert(name, v.parse().unwrap()));
            set(header::IF_MATCH, if_match);
            set(header::IF_NONE_MATCH, if_none_match);
            assert_eq!(evaluate(&headers, etag), verdict, "{if_match:?} {if_none_match:?}");
        }
    }
}
