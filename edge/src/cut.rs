//! What a `Range` cuts from what is held of a content, whole or in parts, and the fields that go with it.

use std::{collections::VecDeque, sync::Arc};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};

use crate::{
    body::{OutBody, Piece},
    policy::range::{self, ContentRange, Multipart, Ranged, Span},
    respond::usize_of,
    store::Stored,
};

/// What is asked for, and where it lies.
#[derive(Debug)]
pub(crate) struct Cut<'a> {
    /// Whose fields it gets.
    pub(crate) of: &'a Arc<Stored>,
    /// Bytes of the whole, where that is known.
    pub(crate) length: Option<u64>,
    pub(crate) asked: Ranged,
    /// For each span of `asked` what holds it, and which bytes of the content that is.
    pub(crate) pieces: Vec<(&'a Arc<Stored>, Span)>,
}

impl<'a> Cut<'a> {
    /// From a whole of `length` bytes.
    pub(crate) fn of_whole(stored: &'a Arc<Stored>, length: u64, asked: Ranged) -> Self {
        let spans = if let Ranged::Parts(spans) = &asked { spans.len() } else { 1 };
        let pieces = vec![(stored, Span { start: 0, end: length }); spans];
        Self { of: stored, length: Some(length), asked, pieces }
    }

    /// From parts, of those for which `left` says how long they stay fresh (0 or less: they are stale); with how long they
    /// do together. `None`: they do not hold all that is asked for.
    pub(crate) fn of_parts(
        request: &HeaderMap,
        parts: &'a [Arc<Stored>],
        left: impl Fn(&Stored) -> Option<i64>,
    ) -> Option<(Self, i64)> {
        struct Held<'a> {
            stored: &'a Arc<Stored>,
            head: HeaderMap,
            part: ContentRange,
            left_ms: i64,
        }
        let held = parts.iter().filter_map(|stored| {
            let left_ms = left(stored)?;
            Some(Held { stored, head: stored.head(), part: stored.part()?, left_ms })
        });
        let held: Vec<Held<'_>> = held.collect();
        held.iter().find_map(|first| {
            let asked = range::ranged_of_part(request, &first.head, first.part);
            // Parts of one representation answer together (RFC 9111 §3.4).
            let goes_with = |other: &&Held<'_>| {
                Arc::ptr_eq(other.stored, first.stored)
                    || (other.part.length == first.part.length && range::combine(&first.head, &other.head))
            };
            let holder =
                |span: &Span| held.iter().filter(goes_with).find(|other| other.part.span.contains(*span));
            let wanted: &[Span] = match &asked {
                Ranged::Whole => return None,
                Ranged::Unsatisfiable => &[],
                Ranged::Part(span) => std::slice::from_ref(span),
                Ranged::Parts(spans) => spans,
            };
            let holders = wanted.iter().map(holder).collect::<Option<Vec<_>>>()?;
            let left_ms = holders.iter().map(|held| held.left_ms).fold(first.left_ms, i64::min);
            let pieces = holders.iter().map(|held| (held.stored, held.part.span)).collect();
            Some((Self { of: first.stored, length: first.part.length, asked, pieces }, left_ms))
        })
    }

    /// The status and content, with the fields that go with them; `None`: the whole.
    pub(crate) fn make(&self, headers: &mut HeaderMap) -> Option<(StatusCode, OutBody)> {
        let slice = |index: usize, span: &Span| {
            let (stored, held) = self.pieces.get(index)?;
            let (start, end) = (span.start.checked_sub(held.start)?, span.end.checked_sub(held.start)?);
            Some(stored.content().slice(usize_of(start)..usize_of(end)))
        };
        match &self.asked {
            Ranged::Whole => None,
            Ranged::Part(span) => {
                let content = slice(0, span)?;
                part_fields(headers, ContentRange { span: *span, length: self.length });
                Some((StatusCode::PARTIAL_CONTENT, OutBody::whole(content)))
            }
            Ranged::Parts(spans) => {
                let slices = spans.iter().enumerate().map(|(index, span)| slice(index, span));
                let slices: Vec<Piece> =
                    slices.map(|bytes| bytes.map(Piece::Bytes)).collect::<Option<_>>()?;
                Some((StatusCode::PARTIAL_CONTENT, several(headers, spans, self.length?, slices)))
            }
            Ranged::Unsatisfiable => {
                unsatisfiable_fields(headers, self.length?);
                Some((StatusCode::RANGE_NOT_SATISFIABLE, OutBody::empty()))
            }
        }
    }
}

/// Several parts of a content of `length` bytes in their frame.
pub(crate) fn several(headers: &mut HeaderMap, spans: &[Span], length: u64, contents: Vec<Piece>) -> OutBody {
    // Random enough to stand nowhere in the content.
    let boundary = format!("{:032x}", rand::random::<u128>());
    let frame = Multipart::new(spans, length, headers.get(header::CONTENT_TYPE), &boundary);
    let mut pieces = VecDeque::with_capacity(spans.len() * 2 + 1);
    for (head, content) in frame.heads.into_iter().zip(contents) {
        pieces.push_back(Piece::Bytes(Bytes::from(head)));
        pieces.push_back(content);
    }
    pieces.push_back(Piece::Bytes(Bytes::from(frame.end)));
    range::strip_of_content(headers);
    if let Ok(kind) = HeaderValue::from_str(&frame.content_type) {
        headers.insert(header::CONTENT_TYPE, kind);
    }
    OutBody::Pieces(pieces)
}

pub(crate) fn part_fields(headers: &mut HeaderMap, range: ContentRange) {
    range::strip_of_content(headers);
    if let Some(value) = range.to_value() {
        headers.insert(header::CONTENT_RANGE, value);
    }
}

pub(crate) fn unsatisfiable_fields(headers: &mut HeaderMap, length: u64) {
    // Nothing of these is about this answer, and no cache on the way may keep it in place of the content.
    range::strip_of_content(headers);
    for name in [
        header::CONTENT_TYPE,
        header::CONTENT_ENCODING,
        header::CONTENT_LANGUAGE,
        header::ETAG,
        header::LAST_MODIFIED,
        header::CACHE_CONTROL,
        header::EXPIRES,
        HeaderName::from_static("repr-digest"),
        HeaderName::from_static("digest"),
        HeaderName::from_static("cdn-cache-control"),
    ] {
        headers.remove(name);
    }
    if let Ok(value) = HeaderValue::from_str(&format!("bytes */{length}")) {
        headers.insert(header::CONTENT_RANGE, value);
    }
}
