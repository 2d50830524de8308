//! Heads of messages on their way to and from upstreams (RFC 9112 §2 to §6).

use bytes::{BufMut, BytesMut};
use http::{HeaderMap, HeaderValue, Method, StatusCode, Version, header};
use httparse::{ParserConfig, Status};

use super::Ask;
use crate::{
    http1::{
        encoder,
        head::{self, Framing},
    },
    policy::directives::list_members,
};

/// Writes a request's head. `host` counts over its own, and `authority` stands in where it has none.
///
/// # Errors
/// Where its target would be something else on the wire.
pub(super) fn write(
    out: &mut BytesMut,
    ask: &Ask,
    host: Option<&HeaderValue>,
    authority: &str,
    is_chunked: bool,
) -> Result<(), &'static str> {
    let is_sent_as_it_is = |byte: u8| byte > b' ' && byte != 0x7f && byte != b'#';
    if !ask.target.starts_with('/') || !ask.target.bytes().all(is_sent_as_it_is) {
        return Err("the target is no path");
    }
    for part in [ask.method.as_str(), " ", &ask.target, " HTTP/1.1\r\n"] {
        out.put_slice(part.as_bytes());
    }
    let mut names_host = false;
    for (name, value) in &ask.headers {
        let mut value = value;
        if *name == header::HOST {
            value = host.unwrap_or(value);
            names_host = true;
        }
        encoder::field(out, name, value);
    }
    if !names_host {
        let host = host.map_or(authority.as_bytes(), HeaderValue::as_bytes);
        for part in [b"host: ", host, b"\r\n"] {
            out.put_slice(part);
        }
    }
    if ask.expects_continue {
        out.put_slice(b"expect: 100-continue\r\n");
    }
    if is_chunked {
        out.put_slice(b"transfer-encoding: chunked\r\n");
    }
    out.put_slice(b"\r\n");
    Ok(())
}

/// The length that fields say, where all of them say the same.
///
/// # Errors
/// Where they do not, or it is no length.
pub(super) fn length(headers: &HeaderMap) -> Result<Option<u64>, &'static str> {
    let mut said = None;
    for member in list_members(headers, &header::CONTENT_LENGTH) {
        let length = head::digits(member);
        match (length, said) {
            (None, _) => return Err("its length is no number"),
            (Some(length), Some(before)) if length != before => return Err("it has two lengths"),
            _ => said = length,
        }
    }
    if said.is_none() && headers.contains_key(header::CONTENT_LENGTH) {
        return Err("its length is no number");
    }
    Ok(said)
}

/// Whether a response ends with its head, whatever that says (RFC 9112 §6.3).
fn has_no_content(status: StatusCode, method: &Method) -> bool {
    status.is_informational()
        || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED)
        || *method == Method::HEAD
}

/// The length of what a GET would bring goes on as one number or not at all (RFC 9110 §8.6): nothing here is framed by it, but
/// whoever reads it next may be confused.
fn settle_length(headers: &mut HeaderMap) {
    match length(headers) {
        Ok(None) => {}
        Ok(Some(length)) => drop(headers.insert(header::CONTENT_LENGTH, length.into())),
        Err(_) => drop(headers.remove(header::CONTENT_LENGTH)),
    }
}

/// How a response's content ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ending {
    /// By itself.
    Framed(Framing),
    /// With the connection.
    Close,
}

/// A response's head.
#[derive(Debug)]
pub(crate) struct Head {
    pub(super) status: StatusCode,
    pub(super) version: Version,
    pub(crate) headers: HeaderMap,
    pub(crate) ending: Ending,
    /// Whether another request may follow.
    pub(crate) keep_alive: bool,
    /// Its bytes on the wire.
    pub(crate) bytes: usize,
}

/// Finds the head of a response to `method` at the beginning of `bytes`; `None`: it has not ended yet. One of a later HTTP/1 is
/// read as one of HTTP/1.1, the latest that is known here (RFC 9110 §2.5), by the same parser, which knows no later one.
///
/// # Errors
/// Where it is none.
pub(crate) fn parse(bytes: &mut [u8], method: &Method) -> Result<Option<Head>, String> {
    if let [b'H', b'T', b'T', b'P', b'/', b'1', b'.', minor @ b'2'..=b'9', ..] = bytes {
        *minor = b'1';
    }
    let bytes = &*bytes;
    let mut room = head::room();
    let mut response = httparse::Response::new(&mut []);
    let mut parser = ParserConfig::default();
    // White space before a colon goes, and is no reason to refuse what an upstream sends (RFC 9112 §5.1).
    parser.allow_spaces_after_header_name_in_responses(true);
    let parsed = parser.parse_response_with_uninit_headers(&mut response, bytes, &mut room);
    let Status::Complete(length) = parsed.map_err(|error| error.to_string())? else { return Ok(None) };
    let status = response.code.and_then(|code| StatusCode::from_u16(code).ok()).ok_or("it has no status")?;
    let version = if response.version == Some(1) { Version::HTTP_11 } else { Version::HTTP_10 };
    let mut headers = head::map(response.headers, 0).ok_or("it has a field that is not valid")?;
    let says = |word: &[u8]| {
        list_members(&headers, &header::CONNECTION).any(|member| member.eq_ignore_ascii_case(word))
    };
    let keep_alive = !says(b"close") && (version == Version::HTTP_11 || says(b"keep-alive"));
    let ending = ending(status, version, &headers, method)?;
    // Content that is promised where there can be none may come all the same (RFC 9110 §8.6).
    let promises = |name| headers.get(name).is_some_and(|value: &HeaderValue| value != "0");
    let is_misframed = status == StatusCode::NO_CONTENT
        && (promises(header::CONTENT_LENGTH) || promises(header::TRANSFER_ENCODING));
    let keep_alive = keep_alive && ending != Ending::Close && !is_misframed;
    if has_no_content(status, method) {
        settle_length(&mut headers);
    }
    Ok(Some(Head { status, version, headers, ending, keep_alive, bytes: length }))
}

/// RFC 9112 §6.3.
fn ending(
    status: StatusCode,
    version: Version,
    headers: &HeaderMap,
    method: &Method,
) -> Result<Ending, &'static str> {
    if has_no_content(status, method) {
        return Ok(Ending::Framed(Framing::Sized(0)));
    }
    if headers.contains_key(header::TRANSFER_ENCODING) {
        if version == Version::HTTP_10 {
            return Err("a transfer coding in HTTP/1.0");
        }
        let last = list_members(headers, &header::TRANSFER_ENCODING).last();
        let is_chunked = last.is_some_and(|coding| coding.eq_ignore_ascii_case(b"chunked"));
        return Ok(if is_chunked { Ending::Framed(Framing::Chunked) } else { Ending::Close });
    }
    Ok(length(headers)?.map_or(Ending::Close, |length| Ending::Framed(Framing::Sized(length))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_for_each_ending() {
        let sized = |length| Ok((Ending::Framed(Framing::Sized(length)), true));
        let (chunked, close) = (Ok((Ending::Framed(Framing::Chunked), true)), Ok((Ending::Close, false)));
        let rows = [
            ("GET", "1.1 200 OK", "content-length: 3", sized(3)),
            ("GET", "1.1 200", "content-length: 3\r\ncontent-length: 3, 3", sized(3)),
            ("GET", "1.1 200 OK", "content-length \t: 3", sized(3)),
            ("GET", "1.1 200 OK", "transfer-encoding : chunked", chunked),
            ("GET", "1.1 200 OK", "content-length: 3\r\ncontent-length: 4", Err(())),
            ("GET", "1.1 200 OK", "content-length: +3", Err(())),
            ("GET", "1.1 200 OK", "content-length:", Err(())),
            ("GET", "1.1 200 OK", "content-length: 99999999999999999999", Err(())),
            ("GET", "1.1 200 OK", "transfer-encoding: Chunked", chunked),
            ("GET", "1.1 200 OK", "transfer-encoding: identity", close),
            ("GET", "1.0 200 OK", "transfer-encoding: chunked", Err(())),
            ("GET", "1.1 200 OK", "x: y", close),
            ("HEAD", "1.1 200 OK", "content-length: 3", sized(0)),
            ("HEAD", "1.1 200 OK", "x: y", sized(0)),
            ("GET", "1.1 204 No Content", "content-length: 0", sized(0)),
            (
                "GET",
                "1.1 204 No Content",
                "content-length: 3",
                Ok((Ending::Framed(Framing::Sized(0)), false)),
            ),
            ("GET", "1.1 304 Not Modified", "content-length: 3", sized(0)),
            ("GET", "1.1 103 Early Hints", "link: </a>", sized(0)),
            (
                "GET",
                "1.1 200 OK",
                "connection: x, Close\r\ncontent-length: 3",
                Ok((Ending::Framed(Framing::Sized(3)), false)),
            ),
            ("GET", "1.0 200 OK", "connection: keep-alive\r\ncontent-length: 3", sized(3)),
            ("GET", "1.0 200 OK", "content-length: 3", Ok((Ending::Framed(Framing::Sized(3)), false))),
            ("GET", "1.1 99 No", "x: y", Err(())),
            ("GET", "2.0 200 OK", "x: y", Err(())),
            ("GET", "1.2 200 OK", "content-length: 3", sized(3)),
            ("GET", "1.9 200 OK", "transfer-encoding: chunked", chunked),
            ("GET", "1.12 200 OK", "x: y", Err(())),
            ("GET", "0.9 200 OK", "x: y", Err(())),
            ("GET", "1.1 200 OK", "x : y", close),
            ("GET", "1.1 200 OK", "x: a\r\n b", Err(())),
        ];
        for (method, line, fields, expected) in rows {
            let text = format!("HTTP/{line}\r\n{fields}\r\n\r\nrest");
            let parsed = parse(&mut text.clone().into_bytes(), &method.parse().unwrap());
            let seen = parsed.map(|head| head.map(|head| (head.ending, head.keep_alive)).unwrap());
            assert_eq!(seen.map_err(drop), expected, "{method} {line} {fields}");
            for cut in 0..text.len() - 5 {
                let early = parse(&mut text.as_bytes()[..cut].to_vec(), &Method::GET);
                assert!(early.is_err() || early.is_ok_and(|head| head.is_none()), "{line} {cut}");
            }
        }
    }

    #[test]
    fn a_length_without_content_is_one_number_or_none() {
        let rows = [
            ("content-length: 3", Some("3")),
            ("content-length: 3\r\ncontent-length: 3", Some("3")),
            ("content-length: 3, 3", Some("3")),
            ("content-length: 3\r\ncontent-length: 4", None),
            ("content-length: 3, 4", None),
            ("content-length: junk", None),
            ("content-length: -1", None),
            ("content-length:", None),
            ("content-length: 99999999999999999999", None),
            ("x: y", None),
        ];
        for (fields, expected) in rows {
            for (method, line) in [(Method::HEAD, "200 OK"), (Method::GET, "304 Not Modified")] {
                let text = format!("HTTP/1.1 {line}\r\n{fields}\r\n\r\n");
                let head = parse(&mut text.into_bytes(), &method).unwrap().unwrap();
                let said: Vec<_> = head.headers.get_all(header::CONTENT_LENGTH).iter().collect();
                assert_eq!(said, expected.as_slice(), "{method} {line} {fields}");
            }
        }
        // What it says of its connection counts all the same.
        let text = b"HTTP/1.1 204 No Content\r\ncontent-length: junk\r\n\r\n";
        assert!(!parse(&mut text.to_vec(), &Method::GET).unwrap().unwrap().keep_alive);
    }

    #[test]
    fn requests() {
        let mut ask = Ask::new(Method::GET, "/a?b".into(), HeaderMap::new());
        let text = |ask: &Ask, host: Option<&HeaderValue>, is_chunked| {
            let mut out = BytesMut::new();
            write(&mut out, ask, host, "up:1", is_chunked).map(|()| String::from_utf8(out.to_vec()).unwrap())
        };
        let lines = |lines: &str| Ok(format!("GET /a?b HTTP/1.1\r\n{lines}\r\n"));
        let other = HeaderValue::from_static("other");
        assert_eq!(text(&ask, None, false), lines("host: up:1\r\n"));
        assert_eq!(text(&ask, Some(&other), false), lines("host: other\r\n"));
        ask.headers.insert("x", HeaderValue::from_static("y"));
        ask.headers.insert(header::HOST, HeaderValue::from_static("site"));
        assert_eq!(text(&ask, None, true), lines("x: y\r\nhost: site\r\ntransfer-encoding: chunked\r\n"));
        assert_eq!(text(&ask, Some(&other), false), lines("x: y\r\nhost: other\r\n"));
        for target in ["", "*", "a", "/a b", "/a\r\nx: y", "/\x7f", "/a#b"] {
            ask.target = target.into();
            assert!(text(&ask, None, false).is_err(), "{target:?}");
        }
    }
}
