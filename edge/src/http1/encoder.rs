//! Heads of responses as bytes, and how their content ends (RFC 9112 §6.3).

use bytes::{BufMut, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Version, header};

use crate::{clock, policy::date};

/// How a response's content ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ending {
    /// There is none.
    None,
    /// After this many bytes.
    Sized(u64),
    /// With the last chunk; with trailers where the client takes them.
    Chunked,
    /// With the connection.
    Close,
}

/// How the content of a response to `method` ends.
pub(crate) fn ending(
    method: &Method,
    version: Version,
    status: StatusCode,
    headers: &HeaderMap,
    exact: Option<u64>,
) -> Ending {
    if method == Method::HEAD
        || status.is_informational()
        || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED)
    {
        return Ending::None;
    }
    let said = || headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok();
    match exact.or_else(said) {
        Some(length) => Ending::Sized(length),
        None if version >= Version::HTTP_11 => Ending::Chunked,
        None => Ending::Close,
    }
}

/// What stands in a final head beside the response's own fields.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Frame {
    pub(crate) version: Version,
    pub(crate) ending: Ending,
    pub(crate) keep_alive: bool,
    pub(crate) is_head: bool,
}

/// Writes a final head.
pub(crate) fn head(out: &mut BytesMut, status: StatusCode, headers: &HeaderMap, frame: Frame) {
    status_line(out, status);
    for (name, value) in headers {
        // Framing and the connection are ours to tell. Content-Length of what has no content tells what GET would get.
        let is_ours = matches!(*name, header::TRANSFER_ENCODING | header::CONNECTION)
            || (*name == header::CONTENT_LENGTH
                && (frame.ending != Ending::None || !(frame.is_head || status == StatusCode::NOT_MODIFIED)));
        if !is_ours {
            field(out, name, value);
        }
    }
    match frame.ending {
        Ending::Sized(length) => field(out, &header::CONTENT_LENGTH, &HeaderValue::from(length)),
        Ending::Chunked => out.put_slice(b"transfer-encoding: chunked\r\n"),
        Ending::None | Ending::Close => {}
    }
    if !headers.contains_key(header::DATE)
        && let Ok(value) = HeaderValue::from_str(&date::format(clock::wall()))
    {
        field(out, &header::DATE, &value);
    }
    let persistence = if !frame.keep_alive {
        "close"
    } else if frame.version < Version::HTTP_11 {
        "keep-alive"
    } else {
        ""
    };
    // A protocol to change to is one for this connection (RFC 9110 §7.8).
    let upgrade = if headers.contains_key(header::UPGRADE) { "upgrade" } else { "" };
    if !(persistence.is_empty() && upgrade.is_empty()) {
        let between = if persistence.is_empty() || upgrade.is_empty() { "" } else { ", " };
        for part in ["connection: ", persistence, between, upgrade, "\r\n"] {
            out.put_slice(part.as_bytes());
        }
    }
    out.put_slice(b"\r\n");
}

/// Writes an interim head; of a 101 with what the protocol changes to.
pub(crate) fn interim(out: &mut BytesMut, status: StatusCode, headers: &HeaderMap) {
    status_line(out, status);
    for (name, value) in headers {
        let is_ours =
            matches!(*name, header::TRANSFER_ENCODING | header::CONTENT_LENGTH | header::CONNECTION);
        if !is_ours {
            field(out, name, value);
        }
    }
    if status == StatusCode::SWITCHING_PROTOCOLS {
        out.put_slice(b"connection: upgrade\r\n");
    }
    out.put_slice(b"\r\n");
}

/// Writes a chunk's beginning (RFC 9112 §7.1).
pub(crate) fn chunk_size(out: &mut BytesMut, length: usize) {
    out.put_slice(format!("{length:x}\r\n").as_bytes());
}

/// Writes the last chunk and the trailer section, as policy has left it.
pub(crate) fn last_chunk(out: &mut BytesMut, trailers: Option<&HeaderMap>) {
    out.put_slice(b"0\r\n");
    for (name, value) in trailers.into_iter().flatten() {
        field(out, name, value);
    }
    out.put_slice(b"\r\n");
}

fn status_line(out: &mut BytesMut, status: StatusCode) {
    out.put_slice(b"HTTP/1.1 ");
    out.put_slice(status.as_str().as_bytes());
    out.put_u8(b' ');
    out.put_slice(status.canonical_reason().unwrap_or_default().as_bytes());
    out.put_slice(b"\r\n");
}

/// Writes a field.
pub(crate) fn field(out: &mut BytesMut, name: &HeaderName, value: &HeaderValue) {
    out.put_slice(name.as_str().as_bytes());
    out.put_slice(b": ");
    out.put_slice(value.as_bytes());
    out.put_slice(b"\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_for_each_ending() {
        let sized = HeaderMap::from_iter([(header::CONTENT_LENGTH, HeaderValue::from(7))]);
        let none = HeaderMap::new();
        let rows = [
            (Method::GET, 200, Version::HTTP_11, &none, Some(3), Ending::Sized(3)),
            (Method::GET, 200, Version::HTTP_11, &sized, None, Ending::Sized(7)),
            (Method::GET, 200, Version::HTTP_11, &sized, Some(3), Ending::Sized(3)),
            (Method::GET, 200, Version::HTTP_11, &none, None, Ending::Chunked),
            (Method::GET, 200, Version::HTTP_10, &none, None, Ending::Close),
            (Method::HEAD, 200, Version::HTTP_11, &sized, Some(0), Ending::None),
            (Method::GET, 204, Version::HTTP_11, &none, Some(0), Ending::None),
            (Method::GET, 304, Version::HTTP_11, &sized, Some(0), Ending::None),
            (Method::GET, 205, Version::HTTP_11, &none, Some(0), Ending::Sized(0)),
        ];
        for (method, status, version, headers, exact, expected) in rows {
            let status = StatusCode::from_u16(status).unwrap();
            assert_eq!(ending(&method, version, status, headers, exact), expected, "{method} {status}");
        }
    }

    #[test]
    fn heads() {
        let text = |status: StatusCode, fields: &[(&'static str, &'static str)], frame| {
            let mut out = BytesMut::new();
            let map = fields
                .iter()
                .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)));
            head(&mut out, status, &map.collect(), frame);
            String::from_utf8(out.to_vec()).unwrap()
        };
        let frame =
            Frame { version: Version::HTTP_11, ending: Ending::Chunked, keep_alive: true, is_head: false };
        let date = ("date", "Mon, 23 Nov 2026 12:00:00 GMT");
        let dated = "date: Mon, 23 Nov 2026 12:00:00 GMT\r\n";
        assert_eq!(
            text(StatusCode::OK, &[date, ("content-length", "3"), ("transfer-encoding", "x")], frame),
            format!("HTTP/1.1 200 OK\r\n{dated}transfer-encoding: chunked\r\n\r\n")
        );
        let closing = Frame { ending: Ending::Sized(3), keep_alive: false, ..frame };
        assert_eq!(
            text(StatusCode::from_u16(299).unwrap(), &[date, ("connection", "x")], closing),
            format!("HTTP/1.1 299 \r\n{dated}content-length: 3\r\nconnection: close\r\n\r\n")
        );
        let old = Frame { version: Version::HTTP_10, ending: Ending::None, keep_alive: true, is_head: true };
        assert_eq!(
            text(StatusCode::OK, &[date, ("content-length", "3")], old),
            format!("HTTP/1.1 200 OK\r\n{dated}content-length: 3\r\nconnection: keep-alive\r\n\r\n")
        );
        let upgrade = [date, ("upgrade", "websocket")];
        for (frame, options) in
            [(frame, "upgrade"), (closing, "close, upgrade"), (old, "keep-alive, upgrade")]
        {
            let text = text(StatusCode::UPGRADE_REQUIRED, &upgrade, frame);
            assert!(text.ends_with(&format!("connection: {options}\r\n\r\n")), "{text}");
        }
        let none = Frame { ending: Ending::None, ..frame };
        assert!(!text(StatusCode::NO_CONTENT, &[("content-length", "0")], none).contains("length"));
        assert!(text(StatusCode::OK, &[], none).contains("\r\ndate: "));
    }
}
