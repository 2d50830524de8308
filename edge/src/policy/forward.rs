//! What a gateway changes in the fields it forwards: fields of the connection (RFC 9110 §7.6.1), `Max-Forwards` (§7.6.2),
//! `Via` (§7.6.3), and loops (RFC 8586).

use std::borrow::Cow;

use http::{HeaderMap, HeaderName, HeaderValue, Method, Version, header};

use super::{
    claims::{is_as_sent, is_word_of_proxies},
    directives::{is_token_byte, list_members},
};

/// What a request is called, here, in its response, and at upstreams.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const CDN_LOOP: HeaderName = HeaderName::from_static("cdn-loop");

/// Whether a field belongs to one connection and ends there (RFC 9110 §7.6.1), or is of a proxy, which this is not
/// (RFC 9111 §3.1).
pub(super) fn is_hop_by_hop(name: &HeaderName) -> bool {
    matches!(
        *name,
        header::CONNECTION
            | header::PROXY_AUTHENTICATE
            | header::PROXY_AUTHORIZATION
            | header::TE
            | header::TRANSFER_ENCODING
            | header::UPGRADE
    ) || matches!(name.as_str(), "keep-alive" | "proxy-connection" | "proxy-authentication-info")
}

/// Fields that `Connection` cannot name: removing them would change who is asked or who asks. Nor can it name those in which a
/// proxy in front says so: there are some that pass on what their clients say in `Connection`.
const NEVER_BY_CONNECTION: [HeaderName; 12] = [
    header::HOST,
    header::AUTHORIZATION,
    header::COOKIE,
    header::CACHE_CONTROL,
    header::CONTENT_LENGTH,
    header::CONTENT_TYPE,
    header::CONTENT_ENCODING,
    header::SET_COOKIE,
    header::VARY,
    header::VIA,
    CDN_LOOP,
    HeaderName::from_static("max-forwards"),
];

/// Removes the fields of the connection and those that `Connection` names.
pub fn strip_connection(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = list_members(headers, &header::CONNECTION)
        // It goes in any case, and need not be made a name for each of those who say so.
        .filter(|member| !member.eq_ignore_ascii_case(b"keep-alive"))
        .filter_map(|name| HeaderName::from_bytes(name).ok())
        .filter(|name| !NEVER_BY_CONNECTION.contains(name) && !is_word_of_proxies(name.as_str()))
        .collect();
    // One look at all that there are costs less than to look for each that could be: mostly there is one of them, or none.
    while let Some(hop) = headers.keys().find(|name| is_hop_by_hop(name)).cloned() {
        headers.remove(hop);
    }
    for name in &named {
        headers.remove(name);
    }
}

/// Whether a 101 changes to the one protocol that is asked for here: nothing but `websocket` in `Upgrade`, and `Connection` says
/// that this field is meant (RFC 9110 §7.8, RFC 6455 §4.1).
pub fn is_to_websocket(response: &HeaderMap) -> bool {
    let is = |wanted: &'static str| move |member: &[u8]| member.eq_ignore_ascii_case(wanted.as_bytes());
    let mut protocols = list_members(response, &header::UPGRADE).peekable();
    protocols.peek().is_some()
        && protocols.all(is("websocket"))
        && list_members(response, &header::CONNECTION).any(is("upgrade"))
}

/// Whether a response names `websocket` among the protocols that its connection could change to (RFC 9110 §7.8).
pub fn offers_websocket(response: &HeaderMap) -> bool {
    list_members(response, &header::UPGRADE).any(|protocol| protocol.eq_ignore_ascii_case(b"websocket"))
}

/// What is wrong with the framing of a response that two readers could end at different places (RFC 9112 §6.1, §6.3). No
/// request of ours takes another transfer coding than chunks; `identity`, which is none any more, changes nothing.
pub fn misframed(response: &HeaderMap) -> Option<&'static str> {
    if !response.contains_key(header::TRANSFER_ENCODING) {
        return None;
    }
    if response.contains_key(header::CONTENT_LENGTH) {
        return Some("both a length and a transfer coding");
    }
    let mut codings = list_members(response, &header::TRANSFER_ENCODING);
    let is_known =
        |coding: &[u8]| [&b"chunked"[..], b"identity"].iter().any(|it| coding.eq_ignore_ascii_case(it));
    match (codings.next(), codings.next()) {
        (Some(only), None) if is_known(only) => None,
        _ => Some("a transfer coding that nobody asked for"),
    }
}

/// Fields that a trailer section may not hold: of framing, routing, authentication, request modifiers, cache control, and
/// what says how to read the content (RFC 9110 §6.5.1).
const NEVER_IN_TRAILERS: [HeaderName; 26] = [
    header::AGE,
    header::AUTHORIZATION,
    header::CACHE_CONTROL,
    header::CONTENT_ENCODING,
    header::CONTENT_LENGTH,
    header::CONTENT_RANGE,
    header::CONTENT_TYPE,
    header::COOKIE,
    header::DATE,
    header::EXPECT,
    header::EXPIRES,
    header::HOST,
    header::IF_MATCH,
    header::IF_MODIFIED_SINCE,
    header::IF_NONE_MATCH,
    header::IF_RANGE,
    header::IF_UNMODIFIED_SINCE,
    header::LOCATION,
    header::MAX_FORWARDS,
    header::PRAGMA,
    header::RANGE,
    header::RETRY_AFTER,
    header::SET_COOKIE,
    header::TRAILER,
    header::VARY,
    header::WWW_AUTHENTICATE,
];

/// A trailer section as it may go on: never merged into the fields, and without what does not belong there.
pub fn trailers(mut fields: HeaderMap) -> Option<HeaderMap> {
    strip_connection(&mut fields);
    for name in NEVER_IN_TRAILERS {
        fields.remove(name);
    }
    (!fields.is_empty()).then_some(fields)
}

/// The same for a request: what upstreams are told of its way and its client comes from here, before the content, and a
/// client cannot say otherwise after it.
pub fn request_trailers(fields: HeaderMap) -> Option<HeaderMap> {
    let mut fields = trailers(fields)?;
    let told: Vec<HeaderName> = fields
        .keys()
        .filter(|name| !is_as_sent(name) || **name == header::VIA || **name == CDN_LOOP)
        .cloned()
        .collect();
    for name in told {
        fields.remove(name);
    }
    (!fields.is_empty()).then_some(fields)
}

/// Whether a node may call itself so in `Via` and in `CDN-Loop`: a token, and perhaps a port (RFC 9110 §7.6.3, RFC 8586 §2).
/// Anything else would be read back as something else, and a loop never found.
pub fn is_name(name: &str) -> bool {
    let (host, port) = name.split_once(':').unwrap_or((name, "0"));
    let is_port = !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
    !host.is_empty() && host.bytes().all(is_token_byte) && is_port
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
    if let Ok(value) = HeaderValue::try_from([protocol, " ", name].concat()) {
        headers.append(header::VIA, value);
    }
}

/// Whether this node has already appended itself to the `Via` of a response, as one that came by HTTP/1.0: that is done when it
/// comes, since a stored one does not tell how it came.
pub fn is_via_http_1_0(headers: &HeaderMap, name: &str) -> bool {
    let last = headers.get_all(header::VIA).iter().next_back();
    last.and_then(|line| line.as_bytes().strip_prefix(b"1.0 ")).is_some_and(|by| by == name.as_bytes())
}

/// Appends this node to `CDN-Loop` (RFC 8586 §2), where no client can remove it by naming it in `Connection`.
pub fn add_cdn_loop(headers: &mut HeaderMap, name: &str) {
    if let Ok(value) = HeaderValue::from_str(name) {
        headers.append(CDN_LOOP, value);
    }
}

/// What `Max-Forwards` demands of an OPTIONS request (RFC 9110 §7.6.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MaxForwards {
    /// Nothing: it is absent, invalid, or for another method.
    Unlimited,
    /// Send it on with this value.
    Left(u64),
    /// Answer here.
    AnswerHere,
}

/// Reads `Max-Forwards`.
pub fn max_forwards(method: &Method, headers: &HeaderMap) -> MaxForwards {
    if *method != Method::OPTIONS {
        return MaxForwards::Unlimited;
    }
    let mut lines = headers.get_all("max-forwards").iter();
    let (Some(line), None) = (lines.next(), lines.next()) else { return MaxForwards::Unlimited };
    let text = line.as_bytes();
    if text.is_empty() || !text.iter().all(u8::is_ascii_digit) {
        return MaxForwards::Unlimited;
    }
    let left = text.iter().fold(0u64, |n, d| n.saturating_mul(10).saturating_add(u64::from(d - b'0')));
    match left.checked_sub(1) {
        Some(left) => MaxForwards::Left(left),
        None => MaxForwards::AnswerHere,
    }
}

/// Whether this node has already forwarded the request (RFC 9110 §7.6.3, RFC 8586 §2).
pub fn is_loop(headers: &HeaderMap, name: &str) -> bool {
    let via = headers
        .get_all(header::VIA)
        .iter()
        .flat_map(|line| via_members(line.as_bytes()))
        .filter_map(|member| member.split(|b| b.is_ascii_whitespace()).filter(|part| !part.is_empty()).nth(1))
        .any(|by| by.eq_ignore_ascii_case(name.as_bytes()));
    let cdn = list_members(headers, &CDN_LOOP)
        .filter_map(|member| member.split(|b| *b == b';').next())
        .any(|id| id.trim_ascii().eq_ignore_ascii_case(name.as_bytes()));
    via || cdn
}

/// The members of a line of `Via`. A comma or a quote in a comment is a part of that (RFC 9110 §5.6.5).
fn via_members(line: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = Some(line);
    // One without an end is none, and there is none behind it.
    let mut has_comments = true;
    std::iter::from_fn(move || {
        let text = rest?;
        let mut end = 0;
        while text.get(end).is_some_and(|byte| *byte != b',') {
            let comment =
                if has_comments && text[end] == b'(' { comment_bytes(&text[end..]) } else { Some(1) };
            has_comments &= comment.is_some();
            end += comment.unwrap_or(1);
        }
        rest = text.get(end + 1..);
        Some(&text[..end])
    })
}

/// The length of a comment at the beginning of a text, comments in it included; `None`: it has no end.
fn comment_bytes(text: &[u8]) -> Option<usize> {
    let mut depth = 0usize;
    let mut bytes = text.iter().enumerate();
    while let Some((at, byte)) = bytes.next() {
        match byte {
            b'(' => depth += 1,
            b')' => depth = depth.checked_sub(1)?,
            // What it stands before is text.
            b'\\' => drop(bytes.next()),
            _ => {}
        }
        if depth == 0 {
            return Some(at + 1);
        }
    }
    None
}

/// Whether some servers take the path of this target for another one, by which rules can be got around: it has dot segments, an
/// empty segment that is not the last, a backslash or a NUL, or any of these or a slash encoded (RFC 3986 §6.2.2, CWE-22).
pub fn is_path_ambiguous(target: &str) -> bool {
    let path = target.split('?').next().unwrap_or_default();
    let decoded: Cow<'_, [u8]> = percent_encoding::percent_decode_str(path).into();
    let slashes = |bytes: &[u8]| memchr::memchr_iter(b'/', bytes).count();
    let mut segments = decoded.split(|byte| *byte == b'/').skip(1).peekable();
    while let Some(segment) = segments.next() {
        if matches!(segment, b"." | b"..") || (segment.is_empty() && segments.peek().is_some()) {
            return true;
        }
    }
    memchr::memchr2(b'\\', 0, &decoded).is_some() || slashes(&decoded) != slashes(path.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::map;

    #[test]
    fn connection_fields() {
        let mut headers = map(&[
            ("connection", "close, X-Mine, host, authorization, Cookie"),
            ("connection", "cache-control,forwarded"),
            ("connection", "X-Forwarded-For, x-forwarded-proto, x-real-ip"),
            ("x-forwarded-for", "192.0.2.1"),
            ("x-forwarded-proto", "https"),
            ("x-real-ip", "192.0.2.1"),
            ("x-mine", "1"),
            ("host", "h"),
            ("authorization", "a"),
            ("cookie", "c"),
            ("cache-control", "no-store"),
            ("forwarded", "for=a"),
            ("keep-alive", "timeout=5"),
            ("transfer-encoding", "chunked"),
            ("te", "trailers"),
            ("upgrade", "h2c"),
            ("proxy-authorization", "Basic eA=="),
            ("accept", "*/*"),
        ]);
        strip_connection(&mut headers);
        // What it cannot name stays.
        let kept = [
            ("x-forwarded-for", "192.0.2.1"),
            ("x-forwarded-proto", "https"),
            ("x-real-ip", "192.0.2.1"),
            ("host", "h"),
            ("authorization", "a"),
            ("cookie", "c"),
            ("cache-control", "no-store"),
            ("forwarded", "for=a"),
            ("accept", "*/*"),
        ];
        assert_eq!(headers, map(&kept));
    }

    #[test]
    fn responses_that_end_in_two_places() {
        let rows: [(&[(&str, &str)], bool); 9] = [
            (&[], true),
            (&[("content-length", "2")], true),
            (&[("transfer-encoding", "Chunked")], true),
            (&[("transfer-encoding", "identity")], true),
            (&[("transfer-encoding", "chunked"), ("content-length", "2")], false),
            (&[("transfer-encoding", "gzip, chunked")], false),
            (&[("transfer-encoding", "chunked"), ("transfer-encoding", "chunked")], false),
            (&[("transfer-encoding", "xchunked")], false),
            (&[("transfer-encoding", "")], false),
        ];
        for (fields, is_good) in rows {
            assert_eq!(misframed(&map(fields)).is_none(), is_good, "{fields:?}");
        }
    }

    #[test]
    fn protocols_that_a_101_changes_to() {
        let rows: [(&[(&str, &str)], bool); 9] = [
            (&[("connection", "upgrade"), ("upgrade", "websocket")], true),
            (&[("connection", "keep-alive, Upgrade"), ("upgrade", "WebSocket")], true),
            (&[("connection", "upgrade"), ("upgrade", "h2c")], false),
            (&[("connection", "upgrade"), ("upgrade", "websocket, h2c")], false),
            (&[("connection", "upgrade"), ("upgrade", "websocket"), ("upgrade", "h2c")], false),
            (&[("connection", "upgrade"), ("upgrade", "websocket/13")], false),
            (&[("connection", "upgrade"), ("upgrade", "")], false),
            (&[("connection", "upgrade")], false),
            (&[("upgrade", "websocket")], false),
        ];
        for (fields, expected) in rows {
            assert_eq!(is_to_websocket(&map(fields)), expected, "{fields:?}");
        }
    }

    #[test]
    fn what_trailers_hold() {
        let sent = map(&[
            ("x-checksum", "1"),
            ("content-length", "9"),
            ("set-cookie", "a=b"),
            ("connection", "x-hop"),
            ("x-hop", "1"),
            ("cache-control", "max-age=9"),
            ("retry-after", "9"),
            ("www-authenticate", "Basic"),
            ("transfer-encoding", "chunked"),
            ("etag", "\"a\""),
        ]);
        assert_eq!(trailers(sent), Some(map(&[("x-checksum", "1"), ("etag", "\"a\"")])));
        assert_eq!(trailers(map(&[("host", "h")])), None);
        let sent = map(&[
            ("x-checksum", "1"),
            ("x-original-url", "/e"),
            ("x-http-method-override", "DELETE"),
            ("x-forwarded-for", "6.6.6.6"),
            ("x-forwarded-own", "1"),
            ("x-real-ip", "6.6.6.6"),
            ("x-request-id", "1"),
            ("forwarded", "for=6.6.6.6"),
            ("via", "1.1 z"),
            ("cdn-loop", "z"),
            ("cookie", "a=b"),
            ("if-match", "\"x\""),
            ("connection", "x-hop"),
            ("x-hop", "1"),
        ]);
        assert_eq!(request_trailers(sent), Some(map(&[("x-checksum", "1")])));
        assert_eq!(request_trailers(map(&[("via", "1.1 z")])), None);
        assert_eq!(trailers(map(&[])), None);
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
        assert!(!is_via_http_1_0(&headers, "edge-1"));
        add_via(&mut headers, Version::HTTP_10, "edge-1");
        assert!(is_via_http_1_0(&headers, "edge-1") && !is_via_http_1_0(&headers, "edge"));
    }

    #[test]
    fn comments_of_via_name_nobody() {
        for line in [
            "1.1 other (for a, 1.1 edge-1)",
            "1.1 other (a (b) c, 1.1 edge-1 , d)",
            r"1.1 other (a \), 1.1 edge-1 \() , 1.0 another",
            "1.1 other (\", 1.1 edge-1 \")",
        ] {
            assert!(!is_loop(&map(&[("via", line)]), "edge-1"), "{line}");
        }
        for line in [
            "1.1 other (a, b), 1.1 edge-1 (c, d)",
            r"1.1 other (a \) b),1.1 edge-1",
            // A quote in a comment begins no quoted string that could hide one.
            "1.1 other (k=\"v), 1.1 edge-1 (k=\"v)",
            // What has no end is no comment.
            "1.1 other (a, 1.1 edge-1",
            "1.1 other a), 1.1 edge-1",
        ] {
            assert!(is_loop(&map(&[("via", line)]), "edge-1"), "{line}");
        }
        let endless = format!("1.1 other {}, 1.1 edge-1", "(".repeat(60_000));
        assert!(is_loop(&map(&[("via", &endless)]), "edge-1"));
    }

    #[test]
    fn names_that_can_be_told() {
        for name in ["edge-1", "a", "edge.example:8080", "127.0.0.1:80", "x_y~z"] {
            assert!(is_name(name), "{name}");
            let mut headers = HeaderMap::new();
            add_via(&mut headers, Version::HTTP_11, name);
            assert!(is_loop(&headers, name), "{name}");
            let mut headers = HeaderMap::new();
            add_cdn_loop(&mut headers, name);
            assert!(is_loop(&headers, name), "{name}");
        }
        let names = [
            "", "x,y", "a b", "a(b", "a;b", "a\"b", "é", "a\n", ":80", "a:", "a:b", "a:1:2", "http://a",
            "[::1]:80",
        ];
        for name in names {
            assert!(!is_name(name), "{name}");
        }
    }

    #[test]
    fn loops_are_named() {
        let mut headers = map(&[("cdn-loop", "other")]);
        add_cdn_loop(&mut headers, "edge-1");
        assert_eq!(headers, map(&[("cdn-loop", "other"), ("cdn-loop", "edge-1")]));
        assert!(is_loop(&headers, "edge-1") && !is_loop(&headers, "edge"));
        headers.append(header::CONNECTION, HeaderValue::from_static("cdn-loop, max-forwards"));
        strip_connection(&mut headers);
        assert!(is_loop(&headers, "edge-1"));
    }

    #[test]
    fn forwards_are_counted() {
        use MaxForwards::{AnswerHere, Left, Unlimited};
        for (method, value, expected) in [
            (Method::OPTIONS, "0", AnswerHere),
            (Method::OPTIONS, "1", Left(0)),
            (Method::OPTIONS, "010", Left(9)),
            (Method::OPTIONS, "99999999999999999999", Left(u64::MAX - 1)),
            (Method::OPTIONS, "-1", Unlimited),
            (Method::OPTIONS, "", Unlimited),
            (Method::GET, "0", Unlimited),
        ] {
            assert_eq!(max_forwards(&method, &map(&[("max-forwards", value)])), expected, "{method} {value}");
        }
    }

    #[test]
    fn a_path_that_servers_read_in_two_ways_is_ambiguous() {
        for target in [
            "/..",
            "/a/../b",
            "/a/./b",
            "/a/.",
            "//a",
            "/a//b",
            "/a//",
            "/%2e%2E/a",
            "/a%2Fb",
            "/a%5cb",
            "/a\\b",
            "/a%00",
            "/.%2e",
        ] {
            assert!(is_path_ambiguous(target), "{target}");
        }
        for target in [
            "/",
            "/a",
            "/a/",
            "/...",
            "/.well-known/a",
            "/a..b",
            "/%73",
            "/a%252fb",
            "/a?b=../%2f//",
            "*",
            "",
        ] {
            assert!(!is_path_ambiguous(target), "{target}");
        }
    }
}
