//! The fields of a stored response, as the bytes that go out: written once, when it is stored, and never changed.
//!
//! Fields that describe the content come last, so that the head of a 304 is the same bytes, cut short.

use bytes::BufMut;
use http::{HeaderMap, HeaderName, HeaderValue, header};
use release::answer;

/// Fields that a 304 leaves out (RFC 9110 §15.4.5).
const DESCRIBING: [HeaderName; 5] = [
    header::CONTENT_TYPE,
    header::CONTENT_ENCODING,
    header::CONTENT_LANGUAGE,
    header::CONTENT_RANGE,
    header::CONTENT_LENGTH,
];
/// Fields of our origins that clients do not see.
const HIDDEN: [&str; 2] = [answer::EDGE_CACHE_CONTROL, answer::CHUNKS_FIELD];

/// Lines of fields: first those that clients do not see, then those that every response has, then those that
/// describe the content.
#[derive(Debug, Clone, Copy)]
pub(crate) struct HeadBlock<'a> {
    bytes: &'a [u8],
    seen: usize,
    describing: usize,
}

impl<'a> HeadBlock<'a> {
    /// Bytes that fields take.
    pub(crate) fn bytes(head: &HeaderMap) -> usize {
        head.iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum()
    }

    /// Writes fields without those of the connection, `Age` and `Content-Length`; returns where those begin that clients see,
    /// and those that describe. Those of a site hide what our origins tell us alone.
    pub(crate) fn write(head: &HeaderMap, of_site: bool, bytes: &mut Vec<u8>) -> (u32, u32) {
        let is_hidden = |name: &HeaderName| of_site && HIDDEN.contains(&name.as_str());
        let mut lines = |wanted: &dyn Fn(&HeaderName) -> bool| {
            for (name, value) in head.iter().filter(|(name, _)| wanted(name)) {
                bytes.put_slice(name.as_str().as_bytes());
                bytes.put_slice(b": ");
                bytes.put_slice(value.as_bytes());
                bytes.put_slice(b"\r\n");
            }
            u32::try_from(bytes.len()).unwrap_or(u32::MAX)
        };
        let seen = lines(&|name| is_hidden(name));
        let describing = lines(&|name| !is_hidden(name) && !DESCRIBING.contains(name));
        lines(&|name| !is_hidden(name) && DESCRIBING.contains(name));
        (seen, describing)
    }

    /// What was written, with the places in it.
    pub(crate) fn new(bytes: &'a [u8], seen: usize, describing: usize) -> Self {
        Self { bytes, seen, describing }
    }

    /// What clients see.
    pub(crate) fn seen(self) -> &'a [u8] {
        self.bytes.get(self.seen..).unwrap_or_default()
    }

    /// What clients see in a 304.
    pub(crate) fn seen_in_304(self) -> &'a [u8] {
        self.bytes.get(self.seen..self.describing).unwrap_or_default()
    }

    /// Names and values, in order.
    fn lines(self) -> impl Iterator<Item = (&'a [u8], &'a [u8])> {
        let mut rest = self.bytes;
        std::iter::from_fn(move || {
            // A value holds neither CR nor LF, and a name no colon.
            let end = memchr::memchr(b'\r', rest)?;
            let line = &rest[..end];
            rest = rest.get(end + 2..).unwrap_or_default();
            let colon = memchr::memchr(b':', line)?;
            Some((&line[..colon], line.get(colon + 2..).unwrap_or_default()))
        })
    }

    /// The first value of a field; `name` in lower case.
    pub(crate) fn get(self, name: &HeaderName) -> Option<&'a [u8]> {
        self.lines().find(|(held, _)| *held == name.as_str().as_bytes()).map(|(_, value)| value)
    }

    /// The fields as a map.
    pub(crate) fn map(self) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in self.lines() {
            if let (Ok(name), Ok(value)) = (HeaderName::from_bytes(name), HeaderValue::from_bytes(value)) {
                map.append(name, value);
            }
        }
        map
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_seen_by_whom() {
        let fields = [
            ("content-type", "text/html"),
            ("etag", "\"a\""),
            (answer::EDGE_CACHE_CONTROL, "max-age=9"),
            ("x-a", "b: c"),
            ("x-a", ""),
            ("content-encoding", "br"),
        ];
        let mut map = HeaderMap::new();
        for (name, value) in fields {
            map.append(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        let mut bytes = Vec::new();
        let (seen, describing) = HeadBlock::write(&map, true, &mut bytes);
        assert_eq!(bytes.len(), HeadBlock::bytes(&map));
        let block = HeadBlock::new(&bytes, seen as usize, describing as usize);
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        let kept = "etag: \"a\"\r\nx-a: b: c\r\nx-a: \r\n";
        assert_eq!(text(block.seen_in_304()), kept);
        assert_eq!(text(block.seen()), format!("{kept}content-type: text/html\r\ncontent-encoding: br\r\n"));
        assert_eq!(block.map(), map);
        assert_eq!(block.get(&header::ETAG), Some(&b"\"a\""[..]));
        let mut bytes = Vec::new();
        HeadBlock::write(&map, false, &mut bytes);
        assert!(text(HeadBlock::new(&bytes, 0, 0).seen()).contains(answer::EDGE_CACHE_CONTROL));
        assert!(HeadBlock::new(&[], 0, 0).map().is_empty());
    }
}
