//! A request's content, cut out of the stream (RFC 9112 §6.2 and §7.1).

use bytes::{Buf, Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue};

use super::{
    Refusal,
    head::{FIELDS_MAX, Framing},
};

/// A chunk's size with its extensions; nobody needs extensions, and each is a byte that carries nothing.
const CHUNK_LINE_BYTES_MAX: usize = 256;
/// Extensions of one content in all.
const EXTENSION_BYTES_MAX: usize = 16 << 10;
/// A trailer section.
const TRAILER_BYTES_MAX: usize = 16 << 10;
/// Hexadecimal digits of a chunk's size: 60 bits, so that no sum overflows.
const SIZE_DIGITS_MAX: usize = 15;

/// What comes next in a content.
#[derive(Debug, PartialEq)]
pub(crate) enum Part {
    /// Some of it.
    Data(Bytes),
    /// The fields after it.
    Trailers(HeaderMap),
    /// Nothing more.
    End,
    /// Nothing yet: more bytes are needed.
    Wait,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Bytes of a sized content to come.
    Sized(u64),
    /// Before a chunk's size.
    Size,
    /// Bytes of a chunk to come.
    Chunk(u64),
    /// Before the CR LF after a chunk.
    ChunkEnd,
    /// Before the trailer section.
    Trailer,
    /// Past the end.
    End,
}

/// Where a content is.
#[derive(Debug)]
pub(crate) struct Decoder {
    state: State,
    extension_bytes: usize,
}

const BAD_CHUNK: Refusal = Refusal::bad("RFC 9112 §7.1", "A chunk of the request is not valid.");
const LONG_CHUNK: Refusal =
    Refusal::bad("RFC 9112 §7.1.1", "A chunk of the request has too many extensions.");
const BAD_TRAILER: Refusal = Refusal::bad("RFC 9112 §7.1.2", "The request's trailer is not valid.");

impl Decoder {
    pub(crate) fn new(framing: Framing) -> Self {
        let state = match framing {
            Framing::Sized(0) => State::End,
            Framing::Sized(length) => State::Sized(length),
            Framing::Chunked => State::Size,
        };
        Self { state, extension_bytes: 0 }
    }

    /// Whether all was taken out of the stream.
    pub(crate) fn is_end(&self) -> bool {
        self.state == State::End
    }

    /// Takes the next part out of `buffer`.
    pub(crate) fn decode(&mut self, buffer: &mut BytesMut) -> Result<Part, Refusal> {
        loop {
            match self.state {
                State::End => return Ok(Part::End),
                State::Sized(left) | State::Chunk(left) if buffer.is_empty() && left > 0 => {
                    return Ok(Part::Wait);
                }
                State::Sized(left) => {
                    let data = take(buffer, left);
                    let left = left - data.len() as u64;
                    self.state = if left == 0 { State::End } else { State::Sized(left) };
                    return Ok(Part::Data(data));
                }
                State::Chunk(left) => {
                    let data = take(buffer, left);
                    let left = left - data.len() as u64;
                    self.state = if left == 0 { State::ChunkEnd } else { State::Chunk(left) };
                    return Ok(Part::Data(data));
                }
                State::ChunkEnd => {
                    if !b"\r\n".starts_with(&buffer[..buffer.len().min(2)]) {
                        return Err(BAD_CHUNK);
                    }
                    if buffer.len() < 2 {
                        return Ok(Part::Wait);
                    }
                    buffer.advance(2);
                    self.state = State::Size;
                }
                State::Size => {
                    let Some(end) = memchr::memchr(b'\n', buffer) else {
                        return if buffer.len() > CHUNK_LINE_BYTES_MAX {
                            Err(LONG_CHUNK)
                        } else {
                            Ok(Part::Wait)
                        };
                    };
                    if end > CHUNK_LINE_BYTES_MAX {
                        return Err(LONG_CHUNK);
                    }
                    let line = buffer[..end].strip_suffix(b"\r").ok_or(BAD_CHUNK)?;
                    let (size, extensions) = chunk_size(line)?;
                    self.extension_bytes += extensions;
                    if self.extension_bytes > EXTENSION_BYTES_MAX {
                        return Err(LONG_CHUNK);
                    }
                    buffer.advance(end + 1);
                    self.state = if size == 0 { State::Trailer } else { State::Chunk(size) };
                }
                State::Trailer => return self.trailer(buffer),
            }
        }
    }

    fn trailer(&mut self, buffer: &mut BytesMut) -> Result<Part, Refusal> {
        if buffer.starts_with(b"\r\n") {
            buffer.advance(2);
            self.state = State::End;
            return Ok(Part::End);
        }
        let Some(end) = memchr::memmem::find(buffer, b"\r\n\r\n") else {
            return if buffer.len() > TRAILER_BYTES_MAX {
                Err(Refusal::bad("RFC 9112 §7.1.2", "The request's trailer is too large."))
            } else if buffer.len() >= 2 && buffer[0] == b'\n' {
                Err(BAD_TRAILER)
            } else {
                Ok(Part::Wait)
            };
        };
        if end > TRAILER_BYTES_MAX {
            return Err(Refusal::bad("RFC 9112 §7.1.2", "The request's trailer is too large."));
        }
        let section = buffer.split_to(end + 4);
        let mut fields = [httparse::EMPTY_HEADER; FIELDS_MAX];
        let parsed = match httparse::parse_headers(&section, &mut fields) {
            Ok(httparse::Status::Complete((length, fields))) if length == section.len() => fields,
            _ => return Err(BAD_TRAILER),
        };
        if memchr::memchr_iter(b'\n', &section).count() != parsed.len() + 1 {
            return Err(BAD_TRAILER);
        }
        let mut map = HeaderMap::new();
        for field in parsed {
            let name = HeaderName::from_bytes(field.name.as_bytes()).map_err(|_| BAD_TRAILER)?;
            let value = HeaderValue::from_bytes(field.value.trim_ascii()).map_err(|_| BAD_TRAILER)?;
            map.append(name, value);
        }
        self.state = State::End;
        Ok(Part::Trailers(map))
    }
}

fn take(buffer: &mut BytesMut, most: u64) -> Bytes {
    let length = usize::try_from(most).unwrap_or(usize::MAX).min(buffer.len());
    buffer.split_to(length).freeze()
}

/// The size, and how many bytes of extensions stand behind it.
fn chunk_size(line: &[u8]) -> Result<(u64, usize), Refusal> {
    let digits = line.iter().take_while(|b| b.is_ascii_hexdigit()).count();
    if digits == 0 || digits > SIZE_DIGITS_MAX {
        return Err(BAD_CHUNK);
    }
    let extensions = &line[digits..];
    // Only what begins with a semicolon, after white space or none; no control characters (RFC 9112 §7.1.1).
    let rest = extensions.trim_ascii_start();
    let is_text = rest.iter().all(|b| *b == b'\t' || (*b >= b' ' && *b != 0x7f));
    if !extensions.is_empty() && (rest.first() != Some(&b';') || !is_text) {
        return Err(BAD_CHUNK);
    }
    let size = std::str::from_utf8(&line[..digits]).ok().and_then(|text| u64::from_str_radix(text, 16).ok());
    Ok((size.ok_or(BAD_CHUNK)?, extensions.len()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// All of a content, its trailers, and what is left in the stream.
    type All = Result<(Vec<u8>, HeaderMap, Vec<u8>), u16>;

    /// Feeds `parts` one after the other; `None`: it has not ended.
    fn feed(framing: Framing, parts: &[&[u8]]) -> Option<All> {
        let mut decoder = Decoder::new(framing);
        let (mut buffer, mut data, mut trailers) = (BytesMut::new(), Vec::new(), HeaderMap::new());
        for (at, part) in parts.iter().enumerate() {
            buffer.extend_from_slice(part);
            loop {
                match decoder.decode(&mut buffer) {
                    Ok(Part::Data(bytes)) => data.extend_from_slice(&bytes),
                    Ok(Part::Trailers(map)) => trailers = map,
                    Ok(Part::End) => {
                        let mut left = buffer.to_vec();
                        left.extend(parts[at + 1..].iter().flat_map(|part| part.iter()));
                        return Some(Ok((data, trailers, left)));
                    }
                    Ok(Part::Wait) => break,
                    Err(refusal) => return Some(Err(refusal.status.as_u16())),
                }
            }
        }
        None
    }

    fn chunked(text: &str) -> Option<Result<(String, String), u16>> {
        let string = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        let all = feed(Framing::Chunked, &[text.as_bytes()]);
        all.map(|all| all.map(|(data, _, left)| (string(data), string(left))))
    }

    #[test]
    fn a_row_for_each_chunk() {
        let all = |data: &str, left: &str| Some(Ok((data.to_owned(), left.to_owned())));
        let long = format!("1;{}\r\na\r\n0\r\n\r\n", "x".repeat(300));
        let many = "1;aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\r\na\r\n"
            .repeat(300);
        let rows = [
            ("0\r\n\r\nGET", all("", "GET")),
            ("3\r\nabc\r\n0\r\n\r\n", all("abc", "")),
            ("A\r\n0123456789\r\n0a\r\n0123456789\r\n00\r\n\r\nx", all("01234567890123456789", "x")),
            ("1;a=b;c=\"d\"\r\nx\r\n0;e\r\n\r\n", all("x", "")),
            ("1 ;a\r\nx\r\n0\r\n\r\n", all("x", "")),
            ("0\r\na: b\r\nc: d\r\n\r\nx", all("", "x")),
            ("3\r\nab", None),
            ("3\r\nabc\r\n0\r\n", None),
            ("3", None),
            ("\r\n", Some(Err(400))),
            ("g\r\n", Some(Err(400))),
            ("-1\r\n", Some(Err(400))),
            ("+1\r\n", Some(Err(400))),
            ("0x1\r\n", Some(Err(400))),
            (" 1\r\n", Some(Err(400))),
            ("1 \r\na\r\n", Some(Err(400))),
            ("1\na\r\n", Some(Err(400))),
            ("1\r\nab\r\n", Some(Err(400))),
            ("1\r\na\n0\r\n\r\n", Some(Err(400))),
            ("1;a\0\r\n", Some(Err(400))),
            ("1;a\rb\r\n", Some(Err(400))),
            ("ffffffffffffffff\r\n", Some(Err(400))),
            ("10000000000000000\r\n", Some(Err(400))),
            ("0\r\na : b\r\n\r\n", Some(Err(400))),
            ("0\r\na: b\n\r\n\r\n", Some(Err(400))),
            ("0\r\n a: b\r\n\r\n", Some(Err(400))),
            (&long, Some(Err(400))),
            (&many, Some(Err(400))),
        ];
        for (text, expected) in rows {
            assert_eq!(chunked(text), expected, "{:?}", &text[..text.len().min(60)]);
        }
    }

    proptest! {
        /// However the stream is cut, the same comes of it.
        #[test]
        fn cuts_change_nothing(
            chunks in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 1..40), 0..6),
            junk in proptest::option::of((0usize..200, any::<u8>())),
            cuts in proptest::collection::vec(1usize..12, 0..120),
        ) {
            let mut stream = Vec::new();
            for chunk in &chunks {
                stream.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
                stream.extend_from_slice(chunk);
                stream.extend_from_slice(b"\r\n");
            }
            stream.extend_from_slice(b"0\r\nx: y\r\n\r\nGET / HTTP/1.1\r\n");
            if let Some((at, byte)) = junk {
                let at = at % stream.len();
                stream[at] = byte;
            }
            let whole = feed(Framing::Chunked, &[&stream]);
            let mut parts: Vec<&[u8]> = Vec::new();
            let mut rest = &stream[..];
            for cut in cuts {
                let (part, more) = rest.split_at(cut.min(rest.len()));
                parts.push(part);
                rest = more;
            }
            parts.push(rest);
            prop_assert_eq!(&whole, &feed(Framing::Chunked, &parts));
            if junk.is_none() {
                let (data, _, left) = whole.unwrap().unwrap();
                prop_assert_eq!(data, chunks.concat());
                prop_assert_eq!(left, b"GET / HTTP/1.1\r\n");
            }
        }
    }
}
