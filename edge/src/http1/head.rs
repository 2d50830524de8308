//! A request's head: found in the stream, cut into tokens, and refused where it can be read in two ways
//! (RFC 9112 §2 to §6).
//!
//! httparse finds the tokens. It knows no obs-fold, no space before a colon, no control characters and no other
//! versions than 1.0 and 1.1, as which later ones are read; that lines end in CR LF and nothing else is held here.

use std::mem::MaybeUninit;

use bytes::BytesMut;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Version};
use httparse::{Header, Status};

use super::Refusal;

/// Fields of a request; more are refused with 431. A browser sends twenty.
pub(crate) const FIELDS_MAX: usize = 100;
/// Fields that are told of each request that goes on: who asks, how, and its id. Room for them spares the map to grow.
const FIELDS_ADDED: usize = 5;
/// Digits of a length: more do not fit in 64 bits.
const LENGTH_DIGITS_MAX: usize = 19;

/// Room for the fields of one head, on the stack.
pub(crate) type Room<'b> = [MaybeUninit<Header<'b>>; FIELDS_MAX];

/// Room for [`parse`].
pub(crate) const fn room<'b>() -> Room<'b> {
    [const { MaybeUninit::uninit() }; FIELDS_MAX]
}

/// A head as it lies in the buffer.
#[derive(Debug)]
pub(crate) struct Head<'h, 'b> {
    pub(crate) method: &'b str,
    pub(crate) target: &'b str,
    pub(crate) version: Version,
    pub(crate) fields: &'h [Header<'b>],
    /// Bytes up to its end.
    pub(crate) bytes: usize,
}

/// How a request's content ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Framing {
    /// After this many bytes; 0: there is none.
    Sized(u64),
    /// With the last chunk.
    Chunked,
}

/// What a head says about its connection and content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Wire {
    pub(crate) framing: Framing,
    /// Whether another request may follow.
    pub(crate) keep_alive: bool,
    /// Whether the client waits for a 100 before it sends content.
    pub(crate) expects_continue: bool,
    /// Whether the client takes trailers.
    pub(crate) takes_trailers: bool,
    /// Whether the client asks for a WebSocket.
    pub(crate) websocket: bool,
}

/// The length of the empty lines before a request, which are passed over (RFC 9112 §2.2).
pub(crate) fn blank(bytes: &[u8]) -> usize {
    let mut at = 0;
    while bytes[at..].starts_with(b"\r\n") {
        at += 2;
    }
    at
}

/// Method and target of what begins like a request, whether or not it is one: for those who read of it.
pub(crate) fn begins(bytes: &[u8]) -> Option<(Method, &str)> {
    let line = bytes.split(|b| matches!(b, b'\r' | b'\n')).next()?;
    let mut words = line.split(|b| *b == b' ');
    let (method, target) = (Method::from_bytes(words.next()?).ok()?, words.next()?);
    let shown = std::str::from_utf8(target).ok()?;
    Some((method, shown))
}

/// Finds a head at the beginning of `bytes`; `None`: it has not ended yet.
pub(crate) fn parse<'h, 'b>(
    bytes: &'b [u8],
    room: &'h mut Room<'b>,
) -> Result<Option<Head<'h, 'b>>, Refusal> {
    let mut request = httparse::Request::new(&mut []);
    let length = match request.parse_with_uninit_headers(bytes, room) {
        Ok(Status::Complete(length)) => length,
        Ok(Status::Partial) => return Ok(None),
        Err(httparse::Error::TooManyHeaders) => {
            return Err(Refusal {
                status: StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
                text: "The request has too many fields.",
                clause: "RFC 6585 §5",
            });
        }
        Err(httparse::Error::Version) if version_of(bytes).is_some() => {
            return Err(Refusal {
                status: StatusCode::HTTP_VERSION_NOT_SUPPORTED,
                text: "Only HTTP/1 is served here.",
                clause: "RFC 9110 §15.6.6",
            });
        }
        Err(_) => return Err(Refusal::bad("RFC 9112 §2.2", "The request is not HTTP.")),
    };
    let (Some(method), Some(target), Some(minor)) = (request.method, request.path, request.version) else {
        return Err(Refusal::bad("RFC 9112 §2.2", "The request is not HTTP."));
    };
    let fields: &'h [Header<'b>] = request.headers;
    // The parser takes a lone LF for a line's end, and what others take for one line may be two (RFC 9112 §2.2).
    // Nothing else within a head can hold one.
    let lines = fields.len() + 2;
    let whole = &bytes[..length];
    let pairs = memchr::memchr_iter(b'\n', whole).filter(|at| *at > 0 && whole[at - 1] == b'\r').count();
    if pairs != lines || memchr::memchr_iter(b'\n', whole).count() != lines {
        return Err(Refusal::bad("RFC 9112 §2.2", "The request's lines do not end in CR LF."));
    }
    let version = if minor == 0 { Version::HTTP_10 } else { Version::HTTP_11 };
    Ok(Some(Head { method, target, version, fields, bytes: length }))
}

/// Major and minor version that a request line names, if it is one.
fn version_of(bytes: &[u8]) -> Option<(u8, u8)> {
    let mut words = request_line(bytes).split(|b| *b == b' ');
    let version = words.nth(2)?.strip_prefix(b"HTTP/")?;
    match version {
        [major, b'.', minor] if words.next().is_none() => {
            (major.is_ascii_digit() && minor.is_ascii_digit()).then_some((*major, *minor))
        }
        _ => None,
    }
}

fn request_line(bytes: &[u8]) -> &[u8] {
    &bytes[..memchr::memchr(b'\r', bytes).unwrap_or(bytes.len())]
}

/// Has a request of a later HTTP/1 read as one of HTTP/1.1, the latest that is known here (RFC 9110 §2.5), by the parser that
/// reads all others: it knows no later one, and so is asked first. `false`: it is none.
pub(crate) fn as_known_version(bytes: &mut [u8]) -> bool {
    let is_later = matches!(version_of(bytes), Some((b'1', b'2'..=b'9')));
    if is_later {
        let end = request_line(bytes).len();
        bytes[end - 1] = b'1';
    }
    is_later
}

impl Head<'_, '_> {
    /// The values of a field, in order.
    pub(crate) fn values<'a>(&'a self, name: &'static str) -> impl Iterator<Item = &'a [u8]> {
        self.fields
            .iter()
            .filter(move |field| field.name.eq_ignore_ascii_case(name))
            .map(|field| field.value.trim_ascii())
    }

    /// The members of a list field, in order, empty ones left out.
    fn members<'a>(&'a self, name: &'static str) -> impl Iterator<Item = &'a [u8]> {
        self.values(name)
            .flat_map(|value| value.split(|b| *b == b','))
            .map(<[u8]>::trim_ascii)
            .filter(|member| !member.is_empty())
    }

    fn lists(&self, name: &'static str, token: &[u8]) -> bool {
        self.members(name).any(|member| member.eq_ignore_ascii_case(token))
    }

    /// Framing (RFC 9112 §6), persistence (§9.3) and expectations (RFC 9110 §10.1.1).
    pub(crate) fn wire(&self) -> Result<Wire, Refusal> {
        let is_11 = self.version == Version::HTTP_11;
        let framing = self.framing()?;
        let keep_alive =
            !self.lists("connection", b"close") && (is_11 || self.lists("connection", b"keep-alive"));
        let mut expects_continue = false;
        for expectation in self.members("expect").filter(|_| is_11) {
            if !expectation.eq_ignore_ascii_case(b"100-continue") {
                return Err(Refusal {
                    status: StatusCode::EXPECTATION_FAILED,
                    text: "The request expects what is not known here.",
                    clause: "RFC 9110 §10.1.1",
                });
            }
            expects_continue = framing != Framing::Sized(0);
        }
        let websocket = is_11
            && self.method == "GET"
            && framing == Framing::Sized(0)
            && self.lists("connection", b"upgrade")
            && self.lists("upgrade", b"websocket");
        let takes_trailers = is_11 && self.lists("te", b"trailers");
        Ok(Wire { framing, keep_alive, expects_continue, takes_trailers, websocket })
    }

    fn framing(&self) -> Result<Framing, Refusal> {
        let mut lengths = self.values("content-length");
        let length = lengths.next();
        if lengths.next().is_some() {
            // Equal ones could be taken for one (RFC 9110 §8.6); no honest client sends two.
            return Err(Refusal::bad("RFC 9112 §6.3", "The request has more than one length."));
        }
        let mut codings = self.members("transfer-encoding");
        let coding = codings.next();
        if self.values("transfer-encoding").next().is_none() {
            return match length {
                None => Ok(Framing::Sized(0)),
                Some(text) => sized(text),
            };
        }
        // RFC 9112 §6.1: two framings, or chunks in HTTP/1.0, are an attempt to smuggle.
        if length.is_some() || self.version < Version::HTTP_11 {
            return Err(Refusal::bad("RFC 9112 §6.1", "The request's length is ambiguous."));
        }
        match (coding, codings.last()) {
            (Some(only), None) if only.eq_ignore_ascii_case(b"chunked") => Ok(Framing::Chunked),
            (Some(first), Some(last))
                if last.eq_ignore_ascii_case(b"chunked") && !first.eq_ignore_ascii_case(b"chunked") =>
            {
                Err(Refusal {
                    status: StatusCode::NOT_IMPLEMENTED,
                    text: "The request's transfer coding is not known here.",
                    clause: "RFC 9112 §6.1",
                })
            }
            _ => Err(Refusal::bad("RFC 9112 §6.3", "The request's length is not known.")),
        }
    }

    /// The fields as a map.
    pub(crate) fn map(&self) -> Result<HeaderMap, Refusal> {
        map(self.fields, FIELDS_ADDED)
            .ok_or(Refusal::bad("RFC 9110 §5.5", "The request has a field that is not valid."))
    }

    /// The method.
    pub(crate) fn method(&self) -> Result<Method, Refusal> {
        Method::from_bytes(self.method.as_bytes())
            .map_err(|_| Refusal::bad("RFC 9110 §9.1", "The request's method is not valid."))
    }
}

/// Fields as a map with room for `more`; `None`: one of them is not valid.
pub(crate) fn map(fields: &[Header<'_>], more: usize) -> Option<HeaderMap> {
    let mut map = HeaderMap::with_capacity(fields.len() + more);
    // All values share one block, so that neither they nor their copies are allocated one by one.
    let mut values = BytesMut::with_capacity(fields.iter().map(|field| field.value.len()).sum());
    for field in fields {
        let name = HeaderName::from_bytes(field.name.as_bytes()).ok()?;
        values.extend_from_slice(field.value.trim_ascii());
        let value = HeaderValue::from_maybe_shared(values.split().freeze()).ok()?;
        map.append(name, value);
    }
    Some(map)
}

/// The number that `1*DIGIT` says; `None`: it is something else, or too large.
pub(crate) fn digits(text: &[u8]) -> Option<u64> {
    let is_digits = text.iter().all(u8::is_ascii_digit);
    std::str::from_utf8(text).ok().filter(|_| is_digits)?.parse().ok()
}

/// `1*DIGIT`, no sign, no list (RFC 9110 §8.6).
fn sized(text: &[u8]) -> Result<Framing, Refusal> {
    digits(text)
        .filter(|_| text.len() <= LENGTH_DIGITS_MAX)
        .map(Framing::Sized)
        .ok_or(Refusal::bad("RFC 9110 §8.6", "The request's length is not a number."))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn wire(text: &str) -> Result<Wire, u16> {
        let mut room = room();
        let head = parse(text.as_bytes(), &mut room).map_err(|r| r.status.as_u16())?.expect("whole");
        head.wire().map_err(|r| r.status.as_u16())
    }

    fn framing(fields: &str) -> Result<Framing, u16> {
        wire(&format!("POST / HTTP/1.1\r\nhost: h\r\n{fields}\r\n")).map(|wire| wire.framing)
    }

    #[test]
    fn a_row_for_each_way_to_be_read_twice() {
        let rows: [(&str, Result<Framing, u16>); 26] = [
            ("", Ok(Framing::Sized(0))),
            ("content-length: 0\r\n", Ok(Framing::Sized(0))),
            ("Content-Length:\t12 \r\n", Ok(Framing::Sized(12))),
            ("content-length: 9223372036854775807\r\n", Ok(Framing::Sized(i64::MAX.unsigned_abs()))),
            ("content-length: 99999999999999999999\r\n", Err(400)),
            ("content-length: +1\r\n", Err(400)),
            ("content-length: -1\r\n", Err(400)),
            ("content-length: 0x1\r\n", Err(400)),
            ("content-length: 1 1\r\n", Err(400)),
            ("content-length:\r\n", Err(400)),
            ("content-length: 1, 1\r\n", Err(400)),
            ("content-length: 1\r\ncontent-length: 1\r\n", Err(400)),
            ("content-length: 1\r\ncontent-length: 2\r\n", Err(400)),
            ("transfer-encoding: chunked\r\n", Ok(Framing::Chunked)),
            ("Transfer-Encoding: , CHUNKED ,\r\n", Ok(Framing::Chunked)),
            ("transfer-encoding: chunked\r\ncontent-length: 3\r\n", Err(400)),
            ("content-length: 3\r\ntransfer-encoding: chunked\r\n", Err(400)),
            ("transfer-encoding: chunked, chunked\r\n", Err(400)),
            ("transfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n", Err(400)),
            ("transfer-encoding: gzip, chunked\r\n", Err(501)),
            ("transfer-encoding: chunked, gzip\r\n", Err(400)),
            ("transfer-encoding: identity\r\n", Err(400)),
            ("transfer-encoding: xchunked\r\n", Err(400)),
            ("transfer-encoding: \"chunked\"\r\n", Err(400)),
            ("transfer-encoding:\r\n", Err(400)),
            ("transfer-encoding: chunked;q=1\r\n", Err(400)),
        ];
        for (fields, expected) in rows {
            assert_eq!(framing(fields), expected, "{fields:?}");
        }
        assert_eq!(wire("POST / HTTP/1.0\r\ntransfer-encoding: chunked\r\n\r\n"), Err(400));
    }

    #[test]
    fn a_row_for_each_malformed_head() {
        let rows = [
            ("GET / HTTP/1.1\nhost: h\r\n\r\n", 400),
            ("GET / HTTP/1.1\r\nhost: h\n\r\n", 400),
            ("GET / HTTP/1.1\r\nhost: h\r\n\n", 400),
            ("GET / HTTP/1.1\r\nhost: h\rx: y\r\n\r\n", 400),
            ("GET / HTTP/1.1\r\nhost: h\r\n folded\r\n\r\n", 400),
            ("GET / HTTP/1.1\r\n host: h\r\n\r\n", 400),
            ("GET / HTTP/1.1\r\nhost : h\r\n\r\n", 400),
            ("GET / HTTP/1.1\r\nhost\r\n\r\n", 400),
            ("GET / HTTP/1.1\r\n: h\r\n\r\n", 400),
            ("GET / HTTP/1.1\r\nh\0: h\r\n\r\n", 400),
            ("GET / HTTP/1.1\r\nhost: a\0b\r\n\r\n", 400),
            ("GET / HTTP/1.1\r\nhost: a\x07b\r\n\r\n", 400),
            ("GET  / HTTP/1.1\r\nhost: h\r\n\r\n", 400),
            ("GET /  HTTP/1.1\r\nhost: h\r\n\r\n", 400),
            ("GET\t/ HTTP/1.1\r\nhost: h\r\n\r\n", 400),
            ("GET / x HTTP/1.1\r\nhost: h\r\n\r\n", 400),
            ("GET /\r\nhost: h\r\n\r\n", 400),
            ("GET / HTTP/2.0\r\nhost: h\r\n\r\n", 505),
            ("GET / HTTP/0.9\r\nhost: h\r\n\r\n", 505),
            ("GET / HTTP/1.2\r\nhost: h\r\n\r\n", 505),
            ("GET / HTTP/1.10\r\nhost: h\r\n\r\n", 400),
            ("GET / http/1.1\r\nhost: h\r\n\r\n", 400),
            ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
            ("G@T / HTTP/1.1\r\nhost: h\r\n\r\n", 400),
            ("\x16\x03\x01\x02\0\x01\0\x01\u{fc}\x03\x03", 400),
        ];
        for (text, expected) in rows {
            let mut room = room();
            let status = parse(text.as_bytes(), &mut room).err().map(|refusal| refusal.status.as_u16());
            assert_eq!(status, Some(expected), "{text:?}");
        }
    }

    #[test]
    fn a_later_version_is_read_as_the_one_that_is_known() {
        let rows = [
            ("GET / HTTP/1.2\r\nhost: h\r\n\r\n", Some("GET / HTTP/1.1\r\nhost: h\r\n\r\n")),
            ("GET /HTTP/1.9 HTTP/1.9\r\n", Some("GET /HTTP/1.9 HTTP/1.1\r\n")),
            ("GET / HTTP/1.2", Some("GET / HTTP/1.1")),
            ("GET / HTTP/1.0\r\n", None),
            ("GET / HTTP/1.1\r\n", None),
            ("GET / HTTP/2.2\r\n", None),
            ("GET / HTTP/1.12\r\n", None),
            ("GET / HTTP/1.2 \r\n", None),
            ("GET  / HTTP/1.2\r\n", None),
            ("GET / x HTTP/1.2\r\n", None),
            ("GET / HTTP/1.2\nhost: h\r\n", None),
            ("GET\r\n / HTTP/1.2\r\n", None),
            ("", None),
        ];
        for (text, expected) in rows {
            let mut bytes = text.as_bytes().to_vec();
            assert_eq!(as_known_version(&mut bytes), expected.is_some(), "{text:?}");
            assert_eq!(std::str::from_utf8(&bytes).unwrap(), expected.unwrap_or(text));
        }
    }

    #[test]
    fn what_begins_like_a_request_is_told() {
        let rows = [
            ("GET /a HTTP/1.1\r\n", Some("/a")),
            ("GET /a HTTP/9.1\nhost", Some("/a")),
            ("GET /a", Some("/a")),
            ("GET", None),
            ("G(T /a HTTP/1.1\r\n", None),
            ("\x16\x03\x01\x02 \x01", None),
        ];
        for (bytes, target) in rows {
            assert_eq!(begins(bytes.as_bytes()).map(|(_, target)| target), target, "{bytes:?}");
        }
        assert_eq!(begins(b"GET /\xff HTTP/1.1"), None);
    }

    proptest! {
        /// However a head is cut, the same comes of it: no beginning of one that is whole is anything but unfinished, and
        /// no beginning of what is refused is taken for a request.
        #[test]
        fn cuts_change_nothing(
            fields in proptest::collection::vec(("[A-Za-z0-9-]{1,12}", "[ -~\t\\x80-\\xff]{0,20}"), 0..6),
            target in "/[!-~]{0,20}",
            junk in proptest::option::of((any::<usize>(), any::<u8>())),
        ) {
            let mut bytes = format!("GET {target} HTTP/1.1\r\n").into_bytes();
            for (name, value) in &fields {
                bytes.extend_from_slice(format!("{name}: {value}\r\n").as_bytes());
            }
            bytes.extend_from_slice(b"\r\n");
            if let Some((at, byte)) = junk {
                let at = at % bytes.len();
                bytes[at] = byte;
            }
            let outcome = |bytes: &[u8]| {
                let mut room = room();
                parse(bytes, &mut room).map(|head| head.map(|head| head.bytes)).map_err(|refusal| refusal.status)
            };
            let whole = outcome(&bytes);
            for cut in 0..bytes.len() {
                match (whole, outcome(&bytes[..cut])) {
                    (_, Ok(None)) => {}
                    (Ok(Some(length)), Ok(Some(cut_length))) => prop_assert!(length == cut_length && cut >= length),
                    (Err(_), Err(_)) => {}
                    (whole, cut_outcome) => prop_assert!(false, "{whole:?} {cut_outcome:?} at {cut}"),
                }
            }
        }
    }

    #[test]
    fn connections_stay_or_end() {
        let rows = [
            ("HTTP/1.1", "", true),
            ("HTTP/1.1", "connection: close\r\n", false),
            ("HTTP/1.1", "connection: x, Close\r\n", false),
            ("HTTP/1.1", "connection: x\r\nconnection: close\r\n", false),
            ("HTTP/1.1", "connection: closed\r\n", true),
            ("HTTP/1.0", "", false),
            ("HTTP/1.0", "connection: Keep-Alive\r\n", true),
            ("HTTP/1.0", "connection: keep-alive, close\r\n", false),
        ];
        for (version, fields, keep_alive) in rows {
            let wire = wire(&format!("GET / {version}\r\n{fields}\r\n")).unwrap();
            assert_eq!(wire.keep_alive, keep_alive, "{version} {fields:?}");
        }
        let upgrade = "GET / HTTP/1.1\r\nconnection: keep-alive, Upgrade\r\nupgrade: WebSocket\r\n\r\n";
        assert!(wire(upgrade).unwrap().websocket);
        assert!(!wire(&upgrade.replace("WebSocket", "h2c")).unwrap().websocket);
        assert!(!wire(&upgrade.replace("1.1", "1.0")).unwrap().websocket);
        let expects = "POST / HTTP/1.1\r\ncontent-length: 1\r\nexpect: 100-Continue\r\n\r\n";
        assert!(wire(expects).unwrap().expects_continue);
        assert!(!wire(&expects.replace("1.1", "1.0")).unwrap().expects_continue);
        assert_eq!(wire(&expects.replace("100-Continue", "more")), Err(417));
    }
}
