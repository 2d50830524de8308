//! What a gateway changes in the fields it forwards: fields of the connection (RFC 9110 §7.6.1), `Via` (§7.6.3),
//! loops (RFC 8586), and client claims that nobody has verified.

use http::{HeaderMap, HeaderName, HeaderValue, Method, Version, header};

use super::directives::list_members;

/// Fields that belong to one connection and end there (RFC 9110 §7.6.1, RFC 9112).
const HOP_BY_HOP: [HeaderName; 8] = [
    header::CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    header::PROXY_AUTHENTICATE,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];

/// Fields that `Connection` cannot name: removing them would change who is asked or who asks.
const NEVER_BY_CONNECTION: [HeaderName; 8] = [
    header::HOST,
    header::AUTHORIZATION,
    header::COOKIE,
    header::CACHE_CONTROL,
    header::FORWARDED,
    header::CONTENT_LENGTH,
    header::VIA,
    HeaderName::from_static("cdn-loop"),
];

/// Client fields that some frameworks believe over the request line: unkeyed, so they could poison the cache.
const OVERRIDES: [&str; 12] = [
    "x-original-url",
    "x-rewrite-url",
    "x-original-host",
    "x-forwarded-path",
    "x-forwarded-prefix",
    "x-forwarded-server",
    "x-forwarded-scheme",
    "x-forwarded-port",
    "x-http-method-override",
    "x-http-method",
    "x-method-override",
    "x-host",
];

/// Removes the fields of the connection and those that `Connection` names.
pub fn strip_connection(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = list_members(headers, &header::CONNECTION)
        .filter_map(|name| HeaderName::from_bytes(name).ok())
        .filter(|name| !NEVER_BY_CONNECTION.contains(name))
        .collect();
    for name in HOP_BY_HOP.iter().chain(&named) {
        headers.remove(name);
    }
}

/// Removes client fields that claim another URL, method or host than the request line says.
pub fn strip_overrides(headers: &mut HeaderMap) {
    for name in OVERRIDES {
        headers.remove(name);
    }
}

/// Appends this node to `Via`.
pub fn add_via(headers: &mut HeaderMap, version: Version, name: &str) {
    let protocol = match version {
        Version::HTTP_09 => "0.9",
        Version::HTTP_10 => "1.0",
        Version::HTTP_2 => "2",
        Version::HTTP_3 => "3",
        _ => "1.1",
    };
    if let Ok(value) = HeaderValue::from_str(&format!("{protocol} {name}")) {
        headers.append(header::VIA, value);
    }
}

/// Whether this node has already forwarded the request (RFC 9110 §7.6.3, RFC 8586 §2).
pub fn is_loop(headers: &HeaderMap, name: &str) -> bool {
    let via = list_members(headers, &header::VIA)
        .filter_map(|member| member.split(|b| b.is_ascii_whitespace()).filter(|part| !part.is_empty()).nth(1))
        .any(|by| by.eq_ignore_ascii_case(name.as_bytes()));
    let cdn = list_members(headers, &HeaderName::from_static("cdn-loop"))
        .filter_map(|member| member.split(|b| *b == b';').next())
        .any(|id| id.trim_ascii().eq_ignore_ascii_case(name.as_bytes()));
    via || cdn
}

/// Safe methods ask for nothing to change (RFC 9110 §9.2.1).
pub fn is_safe(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS | Method::TRACE)
}

/// Idempotent methods may be sent again after a failure (RFC 9110 §9.2.2).
pub fn is_idempotent(method: &Method) -> bool {
    is_safe(method) || matches!(*method, Method::PUT | Method::DELETE)
}

/// The paths, beside the request's own, that a successful unsafe request makes invalid: `Location` and
/// `Content-Location` of the same origin (RFC 9111 §4.4). `scheme` and `authority` are those of the request's URI.
/// Returned are absolute URIs or absolute paths, as the field gave them.
pub fn also_invalidated(response: &HeaderMap, scheme: &str, authority: &str) -> Vec<String> {
    [header::LOCATION, header::CONTENT_LOCATION]
        .iter()
        .filter_map(|name| response.get(name))
        .filter_map(|value| value.to_str().ok())
        .filter_map(|text| {
            let uri: http::Uri = text.parse().ok()?;
            let path = uri.path_and_query()?.as_str().to_owned();
            match (uri.scheme_str(), uri.authority()) {
                (None, None) => path.starts_with('/').then_some(path),
                (Some(theirs), Some(host)) => (theirs.eq_ignore_ascii_case(scheme)
                    && host.as_str().eq_ignore_ascii_case(authority))
                .then_some(path),
                _ => None,
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

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
    fn connection_fields() {
        let mut headers = map(&[
            ("connection", "close, X-Mine, host, authorization"),
            ("x-mine", "1"),
            ("host", "h"),
            ("authorization", "a"),
            ("keep-alive", "timeout=5"),
            ("transfer-encoding", "chunked"),
            ("te", "trailers"),
            ("upgrade", "h2c"),
            ("accept", "*/*"),
        ]);
        strip_connection(&mut headers);
        assert_eq!(headers, map(&[("host", "h"), ("authorization", "a"), ("accept", "*/*")]));
    }

    #[test]
    fn via_and_loops() {
        let mut headers = map(&[("via", "1.0 other")]);
        assert!(!is_loop(&headers, "edge-1"));
        add_via(&mut headers, Version::HTTP_11, "edge-1");
        assert_eq!(headers, map(&[("via", "1.0 other"), ("via", "1.1 edge-1")]));
        assert!(is_loop(&headers, "edge-1"));
        assert!(is_loop(&map(&[("cdn-loop", "a, edge-1; v=1")]), "edge-1"));
        assert!(!is_loop(&map(&[("via", "1.1 edge-11")]), "edge-1"));
    }

    #[test]
    fn invalidation_stays_within_the_origin() {
        let also = |fields: &[(&str, &str)]| also_invalidated(&map(fields), "http", "h:80");
        assert_eq!(also(&[("location", "/a?b")]), ["/a?b"]);
        assert_eq!(also(&[("location", "http://h:80/a"), ("content-location", "/c")]), ["/a", "/c"]);
        assert!(also(&[("location", "https://h:80/a")]).is_empty());
        assert!(also(&[("location", "http://evil/a")]).is_empty());
        assert!(also(&[("location", "http://h:81/a")]).is_empty());
    }
}
