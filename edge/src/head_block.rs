//! The fields of a stored response, as the bytes that go out: written once, when it is stored, and never changed.
//!
//! Fields that are alike in many responses lie in one place for all of them. Those that describe the content stand at the
//! ends, so that the head of a 304 is the same bytes, cut short.

use std::{
    collections::HashSet,
    sync::{Arc, Mutex, PoisonError},
};

use ahash::RandomState;
use bytes::BufMut;
use http::{HeaderMap, HeaderName, HeaderValue, header};
use release::answer;

use crate::{books::Books, key::Key};

/// Fields of our origins that clients do not see.
const HIDDEN: [&str; 2] = [answer::EDGE_CACHE_CONTROL, answer::CHUNKS_FIELD];
/// What is alike that is remembered, for copies to share.
const COMMONS_MAX: usize = 4_096;

/// What many copies have in common.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(crate) struct Common {
    /// The scope of their keys.
    pub(crate) scope: Arc<str>,
    pub(crate) of_site: bool,
    /// Whether this edge stands in their `Via` already.
    pub(crate) names_us: bool,
    /// Lines of fields; those that describe the content come last.
    fields: Box<[u8]>,
    describing: u32,
    /// In which they are counted.
    pub(crate) books: Arc<Books>,
}

/// Whether a 304 leaves it out (RFC 9110 §15.4.5).
fn is_describing(name: &HeaderName) -> bool {
    // By patterns, which for names that all know is one look: each field is asked about several times.
    matches!(
        *name,
        header::CONTENT_TYPE
            | header::CONTENT_ENCODING
            | header::CONTENT_LANGUAGE
            | header::CONTENT_RANGE
            | header::CONTENT_LENGTH
    ) || matches!(name.as_str(), "content-digest" | "content-md5")
}

/// Whether it has few values in all responses of a server.
fn is_alike(name: &HeaderName) -> bool {
    matches!(
        *name,
        header::ACCEPT_RANGES
            | header::ACCESS_CONTROL_ALLOW_ORIGIN
            | header::ALT_SVC
            | header::CACHE_CONTROL
            | header::CONTENT_ENCODING
            | header::CONTENT_LANGUAGE
            | header::CONTENT_TYPE
            | header::REFERRER_POLICY
            | header::SERVER
            | header::STRICT_TRANSPORT_SECURITY
            | header::VARY
            | header::X_CONTENT_TYPE_OPTIONS
            | header::X_FRAME_OPTIONS
            | header::X_XSS_PROTECTION
    )
}

impl Common {
    fn of(key: &Key, head: &HeaderMap, names_us: bool, books: &Arc<Books>) -> Self {
        let mut fields = Vec::with_capacity(written_bytes(head, is_alike));
        write(head, &mut fields, |name| is_alike(name) && !is_describing(name));
        let describing = place(&fields);
        write(head, &mut fields, |name| is_alike(name) && is_describing(name));
        Self {
            scope: Arc::clone(&key.scope),
            of_site: key.of_site,
            names_us,
            fields: fields.into_boxed_slice(),
            describing,
            books: Arc::clone(books),
        }
    }

    /// Bytes in memory.
    #[cfg(test)]
    fn len(&self) -> usize {
        self.fields.len()
    }
}

/// What was common to copies of late. Copies keep what they share; this only finds it.
#[derive(Debug, Default)]
pub(crate) struct Commons {
    known: Mutex<HashSet<Arc<Common>, RandomState>>,
    books: Arc<Books>,
}

impl Commons {
    /// Of copies that are counted in `books`.
    pub(crate) fn new(books: Arc<Books>) -> Self {
        Self { known: Mutex::default(), books }
    }

    /// What a copy under `key` with these fields shares with others.
    pub(crate) fn of(&self, key: &Key, head: &HeaderMap, names_us: bool) -> Arc<Common> {
        let common = Common::of(key, head, names_us, &self.books);
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(held) = known.get(&common) {
            return Arc::clone(held);
        }
        if known.len() >= COMMONS_MAX {
            known.clear();
        }
        let common = Arc::new(common);
        known.insert(Arc::clone(&common));
        common
    }
}

fn place(bytes: &[u8]) -> u32 {
    u32::try_from(bytes.len()).unwrap_or(u32::MAX)
}

fn at(place: u32) -> usize {
    usize::try_from(place).unwrap_or(usize::MAX)
}

/// Bytes of fields as lines.
fn written_bytes(head: &HeaderMap, wanted: impl Fn(&HeaderName) -> bool) -> usize {
    let wanted = head.iter().filter(|(name, _)| wanted(name));
    wanted.map(|(name, value)| name.as_str().len() + value.len() + 4).sum()
}

fn write(head: &HeaderMap, bytes: &mut Vec<u8>, wanted: impl Fn(&HeaderName) -> bool) {
    for (name, value) in head.iter().filter(|(name, _)| wanted(name)) {
        bytes.put_slice(name.as_str().as_bytes());
        bytes.put_slice(b": ");
        bytes.put_slice(value.as_bytes());
        bytes.put_slice(b"\r\n");
    }
}

/// Fields of a copy: its own (those that clients do not see, those that describe the content, the others), and those that
/// it has in common with others.
#[derive(Debug, Clone, Copy)]
pub(crate) struct HeadBlock<'a> {
    own: &'a [u8],
    places: Places,
    common: &'a Common,
}

/// Where in a copy's own fields those begin that clients see, and those that a 304 has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Places {
    seen: u32,
    kept: u32,
}

impl<'a> HeadBlock<'a> {
    /// Bytes of what [`HeadBlock::write`] writes.
    pub(crate) fn own_bytes(head: &HeaderMap) -> usize {
        written_bytes(head, |name| !is_alike(name))
    }

    /// Writes a copy's own fields, without those of the connection, `Age` and `Content-Length`, to the end of `bytes`. Those of a
    /// site hide what our origins tell us alone.
    pub(crate) fn write(head: &HeaderMap, of_site: bool, bytes: &mut Vec<u8>) -> Places {
        let is_hidden = |name: &HeaderName| of_site && HIDDEN.contains(&name.as_str());
        let is_own = |name: &HeaderName| !is_alike(name) && !is_hidden(name);
        let begin = place(bytes);
        write(head, bytes, is_hidden);
        let seen = place(bytes) - begin;
        write(head, bytes, |name| is_own(name) && is_describing(name));
        let kept = place(bytes) - begin;
        write(head, bytes, |name| is_own(name) && !is_describing(name));
        Places { seen, kept }
    }

    /// What was written.
    pub(crate) fn new(own: &'a [u8], places: Places, common: &'a Common) -> Self {
        Self { own, places, common }
    }

    /// What clients see.
    pub(crate) fn seen(self) -> [&'a [u8]; 2] {
        [self.own.get(at(self.places.seen)..).unwrap_or_default(), &self.common.fields]
    }

    /// What clients see in a 304.
    pub(crate) fn seen_in_304(self) -> [&'a [u8]; 2] {
        let common = self.common.fields.get(..at(self.common.describing)).unwrap_or_default();
        [self.own.get(at(self.places.kept)..).unwrap_or_default(), common]
    }

    /// Names and values, in order.
    fn lines(self) -> impl Iterator<Item = (&'a [u8], &'a [u8])> {
        [self.own, &*self.common.fields].into_iter().flat_map(|mut rest| {
            std::iter::from_fn(move || {
                // A value holds neither CR nor LF, and a name no colon.
                let end = memchr::memchr(b'\r', rest)?;
                let line = &rest[..end];
                rest = rest.get(end + 2..).unwrap_or_default();
                let colon = memchr::memchr(b':', line)?;
                Some((&line[..colon], line.get(colon + 2..).unwrap_or_default()))
            })
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
            ("content-range", "bytes 0-1/2"),
            ("vary", "a"),
            ("content-encoding", "br"),
        ];
        let mut map = HeaderMap::new();
        for (name, value) in fields {
            map.append(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        let (commons, scope): (Commons, Arc<str>) = (Commons::default(), "main".into());
        let key = Key::of_site(&scope, "/");
        let common = commons.of(&key, &map, false);
        let text = |parts: [&[u8]; 2]| String::from_utf8(parts.concat()).unwrap();
        let write = |map: &HeaderMap, of_site| {
            let mut own = Vec::new();
            let places = HeadBlock::write(map, of_site, &mut own);
            assert_eq!(own.len(), HeadBlock::own_bytes(map));
            (own, places)
        };
        let (own, places) = write(&map, true);
        let block = HeadBlock::new(&own, places, &common);
        let kept = "etag: \"a\"\r\nx-a: b: c\r\nx-a: \r\nvary: a\r\n";
        assert_eq!(text(block.seen_in_304()), kept);
        let described = "content-type: text/html\r\ncontent-encoding: br\r\n";
        assert_eq!(text(block.seen()), format!("content-range: bytes 0-1/2\r\n{kept}{described}"));
        assert_eq!(block.map(), map);
        assert_eq!(block.get(&header::ETAG), Some(&b"\"a\""[..]));
        assert_eq!(block.get(&header::VARY), Some(&b"a"[..]));
        let (own, places) = write(&map, false);
        assert!(text(HeadBlock::new(&own, places, &common).seen()).contains(answer::EDGE_CACHE_CONTROL));
        let none = commons.of(&key, &HeaderMap::new(), false);
        let (own, places) = write(&HeaderMap::new(), true);
        assert!(HeadBlock::new(&own, places, &none).map().is_empty() && none.len() == 0);
    }

    #[test]
    fn what_is_alike_lies_in_one_place() {
        let (commons, scope): (Commons, Arc<str>) = (Commons::default(), "main".into());
        let of = |path: &str, kind: &'static str, tag: &'static str| {
            let mut map = HeaderMap::new();
            map.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
            map.insert(header::ETAG, HeaderValue::from_static(tag));
            commons.of(&Key::of_site(&scope, path), &map, false)
        };
        let first = of("/a", "text/html", "\"a\"");
        assert!(Arc::ptr_eq(&first, &of("/b", "text/html", "\"b\"")));
        assert!(!Arc::ptr_eq(&first, &of("/b", "text/css", "\"b\"")));
    }
}
