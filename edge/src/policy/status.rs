//! `Cache-Status` (RFC 9211): one value per response that says what this cache did and why.

use std::fmt::Write as _;

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};

use super::{directives::structured, reuse::Forward};

/// The field's name.
pub const CACHE_STATUS: HeaderName = HeaderName::from_static("cache-status");

/// Removes from a response what no reader could make out, so that they make out what is appended here: a line of a structured
/// list that is wrong, or empty, is so for all of it (RFC 9651 §4.2).
pub fn settle(headers: &mut HeaderMap) {
    if !headers.contains_key(CACHE_STATUS) {
        return;
    }
    let is_list =
        |text: &[u8]| sfv::Parser::new(text).parse::<sfv::List>().is_ok_and(|list| !list.is_empty());
    if headers.get_all(CACHE_STATUS).iter().all(|line| is_list(line.as_bytes())) {
        return;
    }
    let text = Some(structured(headers, &CACHE_STATUS)).filter(|text| is_list(text));
    headers.remove(CACHE_STATUS);
    if let Some(value) = text.and_then(|text| HeaderValue::from_bytes(&text).ok()) {
        headers.insert(CACHE_STATUS, value);
    }
}

/// What is told in `Cache-Status`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CacheStatus {
    /// Why the request was forwarded; `None` is a hit.
    pub forward: Option<Forward>,
    /// The status that the upstream answered with.
    pub forward_status: Option<StatusCode>,
    /// Whether the response was stored.
    pub stored: bool,
    /// Whether the request was collapsed with another: `Some(false)` says that it waited in vain.
    pub collapsed: Option<bool>,
    /// Freshness left, in seconds; below 0 is stale.
    pub ttl_seconds: Option<i64>,
    /// A token of ours with more.
    pub detail: Option<&'static str>,
}

impl CacheStatus {
    /// The list member with this cache's name.
    pub fn to_value(self, name: &str) -> HeaderValue {
        let mut text = String::with_capacity(96);
        text.push_str(name);
        match self.forward {
            None => text.push_str("; hit"),
            Some(forward) => {
                text.push_str("; fwd=");
                text.push_str(forward.as_str());
            }
        }
        // Writing to a String cannot fail.
        if let Some(status) = self.forward_status {
            let _ = write!(text, "; fwd-status={}", status.as_u16());
        }
        if let Some(ttl) = self.ttl_seconds {
            let _ = write!(text, "; ttl={ttl}");
        }
        if self.stored {
            text.push_str("; stored");
        }
        match self.collapsed {
            Some(true) => text.push_str("; collapsed"),
            Some(false) => text.push_str("; collapsed=?0"),
            None => {}
        }
        if let Some(detail) = self.detail {
            let _ = write!(text, "; detail={detail}");
        }
        HeaderValue::from_str(&text).unwrap_or_else(|_| HeaderValue::from_static("Bakehouse; fwd=miss"))
    }
}

/// Seconds of freshness for `ttl`, rounded up, so that it is above 0 exactly while the response is fresh.
pub fn ttl_seconds(left_ms: i64) -> i64 {
    -(-left_ms).div_euclid(1_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nobody_could_read_goes() {
        let settled = |lines: &[&str]| {
            let mut headers = HeaderMap::new();
            for line in lines {
                headers.append(CACHE_STATUS, HeaderValue::from_bytes(line.as_bytes()).unwrap());
            }
            settle(&mut headers);
            let lines = headers.get_all(CACHE_STATUS).iter().map(|line| line.to_str().unwrap().to_owned());
            lines.collect::<Vec<_>>()
        };
        let none: [&str; 0] = [];
        assert_eq!(settled(&[]), none);
        assert_eq!(settled(&["a; hit", "\"b\"; fwd=miss, c"]), ["a; hit", "\"b\"; fwd=miss, c"]);
        assert_eq!(settled(&["a; hit", "", "b"]), ["a; hit, b"]);
        for broken in ["", "HIT from a", "a; hit,", "a; Hit", "\"a", "a;;", "é"] {
            assert_eq!(settled(&[broken]), none, "{broken}");
            if !broken.is_empty() {
                assert_eq!(settled(&["a; hit", broken]), none, "{broken}");
            }
        }
    }

    #[test]
    fn values() {
        let text = |status: CacheStatus| status.to_value("Bakehouse").to_str().unwrap().to_owned();
        let none = CacheStatus::default();
        assert_eq!(text(CacheStatus { ttl_seconds: Some(60), ..none }), "Bakehouse; hit; ttl=60");
        assert_eq!(
            text(CacheStatus {
                forward: Some(Forward::UriMiss),
                forward_status: Some(StatusCode::OK),
                stored: true,
                collapsed: Some(true),
                ..none
            }),
            "Bakehouse; fwd=uri-miss; fwd-status=200; stored; collapsed"
        );
        assert_eq!(
            text(CacheStatus {
                forward: Some(Forward::Stale),
                forward_status: Some(StatusCode::SERVICE_UNAVAILABLE),
                ttl_seconds: Some(-3),
                collapsed: Some(false),
                detail: Some("stale-if-error"),
                ..none
            }),
            "Bakehouse; fwd=stale; fwd-status=503; ttl=-3; collapsed=?0; detail=stale-if-error"
        );
        assert_eq!((ttl_seconds(1), ttl_seconds(1_000), ttl_seconds(0), ttl_seconds(-999)), (1, 1, 0, 0));
        assert_eq!(ttl_seconds(-1_000), -1);
    }
}
