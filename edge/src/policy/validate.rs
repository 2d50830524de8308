//! Validation: the client's conditions answered from the store (RFC 9110 §13), our own conditions towards the
//! upstream, and what a 304 changes (RFC 9111 §3.2, §4.3).

use http::{HeaderMap, HeaderName, HeaderValue, header};

use super::{
    date::{self, UnixSeconds},
    directives::{list_members, split_outside_quotes},
    freshness::date_of,
};

/// An entity tag, as the field carries it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tag<'a> {
    /// Whether it was marked `W/`.
    pub weak: bool,
    /// What stands between the quotes.
    pub opaque: &'a [u8],
}

impl<'a> Tag<'a> {
    /// RFC 9110 §8.8.3. `None`: not an entity tag.
    pub fn parse(text: &'a [u8]) -> Option<Self> {
        let text = text.trim_ascii();
        let (weak, rest) = match text.strip_prefix(b"W/") {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        let opaque = rest.strip_prefix(b"\"")?.strip_suffix(b"\"")?;
        let valid = opaque.iter().all(|b| *b == 0x21 || (0x23..=0x7e).contains(b) || *b >= 0x80);
        valid.then_some(Self { weak, opaque })
    }

    /// The tag of a response, if it has one.
    pub fn of(headers: &'a HeaderMap) -> Option<Self> {
        Self::parse(headers.get(header::ETAG)?.as_bytes())
    }

    /// RFC 9110 §8.8.3.2.
    pub fn strongly_equals(self, other: Tag<'_>) -> bool {
        !self.weak && !other.weak && self.opaque == other.opaque
    }

    /// RFC 9110 §8.8.3.2.
    pub fn weakly_equals(self, other: Tag<'_>) -> bool {
        self.opaque == other.opaque
    }
}

/// How to answer a GET or HEAD with conditions from a stored response that may be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Conditional {
    /// Send the response.
    Send,
    /// Send 304.
    NotModified,
}

impl Conditional {
    /// The clause that decided.
    pub fn clause(self) -> &'static str {
        match self {
            Self::Send => "RFC 9110 §13.2.2",
            Self::NotModified => "RFC 9111 §4.3.2",
        }
    }
}

/// Evaluates `If-None-Match`, or else `If-Modified-Since` (RFC 9110 §13.2.2, RFC 9111 §4.3.2), for a stored 200.
pub fn conditional(
    request: &HeaderMap,
    stored: &HeaderMap,
    stored_wall: UnixSeconds,
    now: UnixSeconds,
) -> Conditional {
    if request.contains_key(header::IF_NONE_MATCH) {
        let held = Tag::of(stored);
        let matched = request.get_all(header::IF_NONE_MATCH).iter().any(|line| {
            split_outside_quotes(line.as_bytes()).any(|member| match member.trim_ascii() {
                b"*" => true,
                tag => match (Tag::parse(tag), held) {
                    (Some(tag), Some(held)) => tag.weakly_equals(held),
                    _ => false,
                },
            })
        });
        return if matched { Conditional::NotModified } else { Conditional::Send };
    }
    let mut since = request.get_all(header::IF_MODIFIED_SINCE).iter();
    if let (Some(value), None) = (since.next(), since.next())
        && let Some(since) = date::parse(value.as_bytes(), now)
    {
        // Without Last-Modified the time of the response counts (RFC 9111 §4.3.2).
        let modified = match stored.get(header::LAST_MODIFIED).map(|value| date::parse(value.as_bytes(), now))
        {
            Some(Some(at)) => at,
            _ => date_of(stored, stored_wall),
        };
        if modified <= since {
            return Conditional::NotModified;
        }
    }
    Conditional::Send
}

/// The same for a response that came for this client and is not stored. Without `Last-Modified` there is nothing for
/// `If-Modified-Since` to be compared with (RFC 9110 §13.1.3): that a copy is as old as the response is for stored ones.
pub fn conditional_alone(request: &HeaderMap, response: &HeaderMap, now: UnixSeconds) -> Conditional {
    if !request.contains_key(header::IF_NONE_MATCH) && !response.contains_key(header::LAST_MODIFIED) {
        return Conditional::Send;
    }
    conditional(request, response, now, now)
}

/// Whether a request carries conditions that only an origin can judge (RFC 9111 §4.3.2).
pub fn for_origin_only(request: &HeaderMap) -> bool {
    request.contains_key(header::IF_MATCH) || request.contains_key(header::IF_UNMODIFIED_SINCE)
}

/// Replaces a request's conditions by our own, with both validators of what is held (RFC 9111 §4.3.1). `tags` are
/// further tags for which the body is at hand.
pub fn make_conditional(request: &mut HeaderMap, stored: &HeaderMap, tags: &[HeaderValue]) {
    strip_conditions(request);
    let mut all: Vec<&HeaderValue> = stored.get(header::ETAG).into_iter().collect();
    all.extend(tags.iter().filter(|tag| Some(*tag) != stored.get(header::ETAG)));
    let joined = all.iter().map(|tag| tag.as_bytes()).collect::<Vec<_>>().join(&b", "[..]);
    if !joined.is_empty()
        && let Ok(value) = HeaderValue::from_bytes(&joined)
    {
        request.insert(header::IF_NONE_MATCH, value);
    }
    if let Some(modified) = stored.get(header::LAST_MODIFIED) {
        request.insert(header::IF_MODIFIED_SINCE, modified.clone());
    }
}

/// Gives a request the conditions of another that are about what a client holds; `false`: that has none.
pub fn copy_conditions(request: &mut HeaderMap, client: &HeaderMap) -> bool {
    let mut is_conditional = false;
    for name in [header::IF_NONE_MATCH, header::IF_MODIFIED_SINCE] {
        for line in client.get_all(&name) {
            request.append(name.clone(), line.clone());
            is_conditional = true;
        }
    }
    is_conditional
}

/// Removes the conditions of a request: what is stored answers any.
pub fn strip_conditions(request: &mut HeaderMap) {
    for name in [header::IF_NONE_MATCH, header::IF_MODIFIED_SINCE, header::IF_RANGE, header::RANGE] {
        request.remove(name);
    }
}

/// Which of the stored responses a 304 speaks of (RFC 9111 §4.3.4), as indexes. `stored` are those that the request
/// could have been answered with, freshness aside, the latest first; `asked` has our conditions.
///
/// With a strong tag it is all that have it, and none if none has. With weaker validators it is the latest that agrees.
/// Without any it is the only one there is, if our conditions were about no other. The clause wants that one to be without
/// validators as well; but common servers leave them out of a 304, and there is nothing else that it could speak of.
pub fn selected(not_modified: &HeaderMap, asked: &HeaderMap, stored: &[&HeaderMap]) -> Vec<usize> {
    let all = stored.iter().enumerate();
    if let Some(tag) = Tag::of(not_modified) {
        let mut same = all.filter(|(_, stored)| {
            Tag::of(stored).is_some_and(|held| {
                if tag.weak { tag.weakly_equals(held) } else { tag.strongly_equals(held) }
            })
        });
        let indexes = same.by_ref().map(|(index, _)| index);
        return if tag.weak { indexes.take(1).collect() } else { indexes.collect() };
    }
    if let Some(modified) = not_modified.get(header::LAST_MODIFIED) {
        let mut same = all.filter(|(_, stored)| stored.get(header::LAST_MODIFIED) == Some(modified));
        return same.next().map(|(index, _)| index).into_iter().collect();
    }
    let is_asked_about = |stored: &HeaderMap| {
        asked.get(header::IF_NONE_MATCH) == stored.get(header::ETAG)
            && asked.get(header::IF_MODIFIED_SINCE) == stored.get(header::LAST_MODIFIED)
    };
    match stored {
        [only] if is_asked_about(only) => vec![0],
        _ => Vec::new(),
    }
}

/// Whether the 200 that answered a HEAD agrees with a stored GET response, whole or in part, of `length` bytes in all, where
/// that is known, so that its fields update that one; otherwise the stored one is stale (RFC 9111 §4.3.5). Without a validator
/// nothing tells that they are of the same content: an equal length is none.
pub fn agrees(head: &HeaderMap, stored: &HeaderMap, length: Option<u64>) -> bool {
    let same = |name| head.get(&name).map(|value| stored.get(&name) == Some(value));
    let same_validators = match (same(header::ETAG), same(header::LAST_MODIFIED)) {
        (Some(tag), Some(modified)) => tag && modified,
        (one, other) => one.or(other).unwrap_or(false),
    };
    let said = head.get(header::CONTENT_LENGTH).zip(length);
    let same_length = said.is_none_or(|(value, length)| {
        value.to_str().ok().and_then(|text| text.parse::<u64>().ok()) == Some(length)
    });
    same_validators && same_length
}

/// The digest of a message's own content; `Repr-Digest` is one of the representation.
pub const CONTENT_DIGEST: HeaderName = HeaderName::from_static("content-digest");
/// What it was before, of a content that a HEAD or a 304 may tell of.
pub const CONTENT_MD5: HeaderName = HeaderName::from_static("content-md5");

/// The digests of no content, as `Content-Digest` carries them (RFC 9530 §5).
const EMPTY_DIGESTS: [&[u8]; 2] = [
    b"sha-256=:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=:",
    b"sha-512=:z4PhNX7vuL3xVChQ1m2AB9Yg5AULVxXcg/SpIdNs6c5H0NE8XYXysP+DGNKHfuwvY7kxvUdBeoGlODJ6+SfaPg==:",
];

/// Whether a message tells the digest of its own content, which is none, and not that of the content which it is about.
fn digests_itself(message: &HeaderMap) -> bool {
    list_members(message, &CONTENT_DIGEST).any(|member| EMPTY_DIGESTS.contains(&member))
}

/// The stored fields after a 304: each field it carries replaces the stored ones of that name, but for
/// `Content-Length` (RFC 9111 §3.2) and a digest of its own content (RFC 9530 §2). Fields of the connection were removed on
/// arrival.
pub fn update(stored: &HeaderMap, not_modified: &HeaderMap) -> HeaderMap {
    let mut updated = stored.clone();
    let is_of_itself = digests_itself(not_modified);
    let kept =
        |name: &HeaderName| *name == header::CONTENT_LENGTH || (is_of_itself && *name == CONTENT_DIGEST);
    for name in not_modified.keys().filter(|name| !kept(name)) {
        updated.remove(name);
    }
    for (name, value) in not_modified.iter().filter(|(name, _)| !kept(name)) {
        updated.append(name.clone(), value.clone());
    }
    updated
}

/// The fields after a 304 that carries all of them, as one for a release's content does: what it lacks is no more.
pub fn replace(stored: &HeaderMap, not_modified: &HeaderMap) -> HeaderMap {
    let mut replaced = not_modified.clone();
    replaced.remove(header::CONTENT_LENGTH);
    if let Some(length) = stored.get(header::CONTENT_LENGTH) {
        replaced.insert(header::CONTENT_LENGTH, length.clone());
    }
    replaced
}

/// The fields of a 304 made from a stored 200 (RFC 9110 §15.4.5): all but those that describe the content, which it does
/// not have (RFC 9530 §2).
pub fn strip_for_304(headers: &mut HeaderMap) {
    for name in [
        header::CONTENT_LENGTH,
        header::CONTENT_TYPE,
        header::CONTENT_ENCODING,
        header::CONTENT_LANGUAGE,
        header::CONTENT_RANGE,
        CONTENT_DIGEST,
        CONTENT_MD5,
    ] {
        headers.remove(name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::map;

    const EARLY: &str = "Sun, 06 Nov 1994 08:49:37 GMT";
    const LATE: &str = "Sun, 06 Nov 1994 08:49:38 GMT";

    #[test]
    fn conditions() {
        use Conditional::{NotModified, Send};
        type Fields = &'static [(&'static str, &'static str)];
        let rows: [(Fields, Fields, Conditional); 18] = [
            (&[], &[("etag", "\"a\"")], Send),
            (&[("if-none-match", "\"a\"")], &[("etag", "\"a\"")], NotModified),
            (&[("if-none-match", "W/\"a\"")], &[("etag", "\"a\"")], NotModified),
            (&[("if-none-match", "\"a\"")], &[("etag", "W/\"a\"")], NotModified),
            (&[("if-none-match", "\"b\"")], &[("etag", "\"a\"")], Send),
            (&[("if-none-match", "\"b\" , \"a\"")], &[("etag", "\"a\"")], NotModified),
            (&[("if-none-match", "\"b\""), ("if-none-match", "\"a\"")], &[("etag", "\"a\"")], NotModified),
            (&[("if-none-match", "\"a,b\"")], &[("etag", "\"a,b\"")], NotModified),
            (&[("if-none-match", "*")], &[], NotModified),
            (&[("if-none-match", "a")], &[("etag", "\"a\"")], Send),
            (
                &[("if-none-match", "\"b\""), ("if-modified-since", LATE)],
                &[("etag", "\"a\""), ("last-modified", EARLY)],
                Send,
            ),
            (&[("if-modified-since", EARLY)], &[("last-modified", EARLY)], NotModified),
            (&[("if-modified-since", LATE)], &[("last-modified", EARLY)], NotModified),
            (&[("if-modified-since", EARLY)], &[("last-modified", LATE)], Send),
            (&[("if-modified-since", "junk")], &[("last-modified", EARLY)], Send),
            (&[("if-modified-since", LATE), ("if-modified-since", LATE)], &[("last-modified", EARLY)], Send),
            (&[("if-modified-since", EARLY)], &[("date", EARLY)], NotModified),
            (&[("if-modified-since", EARLY)], &[("date", LATE)], Send),
        ];
        for (request, stored, expected) in rows {
            assert_eq!(
                conditional(&map(request), &map(stored), 0, 1_790_000_000),
                expected,
                "{request:?} {stored:?}"
            );
        }
    }

    #[test]
    fn conditions_where_nothing_is_stored() {
        use Conditional::{NotModified, Send};
        type Fields = &'static [(&'static str, &'static str)];
        let rows: [(Fields, Fields, Conditional); 7] = [
            (&[], &[("etag", "\"a\"")], Send),
            (&[("if-none-match", "W/\"a\"")], &[("etag", "\"a\"")], NotModified),
            (&[("if-none-match", "\"b\"")], &[("etag", "\"a\"")], Send),
            (&[("if-none-match", "*")], &[], NotModified),
            (&[("if-modified-since", EARLY)], &[("last-modified", EARLY)], NotModified),
            (&[("if-modified-since", EARLY)], &[("last-modified", LATE)], Send),
            // Date is when it was made, not when it last changed.
            (&[("if-modified-since", LATE)], &[("date", EARLY)], Send),
        ];
        for (request, response, expected) in rows {
            let decided = conditional_alone(&map(request), &map(response), 1_790_000_000);
            assert_eq!(decided, expected, "{request:?} {response:?}");
        }
    }

    #[test]
    fn a_304_selects() {
        let held = |tag: &str, modified: &str| map(&[("etag", tag), ("last-modified", modified)]);
        let (a, b, weak) = (held("\"a\"", EARLY), held("\"b\"", EARLY), held("W/\"a\"", LATE));
        let bare = map(&[]);
        type Fields<'a> = &'a [(&'a str, &'a str)];
        type Row<'a> = (Fields<'a>, &'a [&'a HeaderMap], &'a [usize]);
        let rows: [Row<'_>; 12] = [
            // A strong tag: all that have it.
            (&[("etag", "\"a\"")], &[&b, &a, &weak, &a], &[1, 3]),
            (&[("etag", "\"a\"")], &[&weak], &[]),
            (&[("etag", "\"c\"")], &[&a, &b], &[]),
            (&[("etag", "\"a\""), ("last-modified", LATE)], &[&a], &[0]),
            // A weak one: the latest that agrees.
            (&[("etag", "W/\"a\"")], &[&b, &weak, &a], &[1]),
            (&[("etag", "W/\"a\"")], &[&a], &[0]),
            (&[("etag", "W/\"c\"")], &[&a], &[]),
            (&[("last-modified", EARLY)], &[&weak, &b, &a], &[1]),
            (&[("last-modified", EARLY)], &[&weak], &[]),
            // None: the only one, by what was asked.
            (&[], &[&a, &b], &[]),
            (&[], &[], &[]),
            (&[("etag", "\"a\"")], &[], &[]),
        ];
        for (fields, stored, expected) in rows {
            assert_eq!(selected(&map(fields), &bare, stored), expected, "{fields:?} {stored:?}");
        }
        let rows: [(Fields<'_>, &HeaderMap, &[usize]); 7] = [
            (&[], &bare, &[0]),
            (&[("if-none-match", "\"a\""), ("if-modified-since", EARLY)], &a, &[0]),
            // It may speak of another that was asked about as well, or of none.
            (&[("if-none-match", "\"a\", \"b\""), ("if-modified-since", EARLY)], &a, &[]),
            (&[("if-none-match", "\"b\""), ("if-modified-since", EARLY)], &a, &[]),
            (&[("if-modified-since", EARLY)], &a, &[]),
            (&[("if-none-match", "\"b\"")], &bare, &[]),
            (&[], &a, &[]),
        ];
        for (asked, stored, expected) in rows {
            assert_eq!(selected(&bare, &map(asked), &[stored]), expected, "{asked:?} {stored:?}");
        }
    }

    #[test]
    fn a_head_agrees() {
        let stored = map(&[("etag", "\"a\""), ("last-modified", EARLY)]);
        let rows: [(&[(&str, &str)], bool); 12] = [
            (&[("etag", "\"a\""), ("last-modified", EARLY), ("content-length", "4")], true),
            (&[("etag", "\"a\"")], true),
            (&[("last-modified", EARLY), ("x", "1")], true),
            (&[("etag", "\"a\""), ("last-modified", LATE)], false),
            (&[("etag", "\"a\""), ("content-length", "5")], false),
            (&[("etag", "\"b\"")], false),
            (&[("etag", "W/\"a\"")], false),
            (&[("last-modified", LATE)], false),
            (&[("etag", "\"a\""), ("content-length", "x")], false),
            // Nothing that it could be told by.
            (&[], false),
            (&[("x", "1")], false),
            (&[("content-length", "4")], false),
        ];
        for (head, expected) in rows {
            assert_eq!(agrees(&map(head), &stored, Some(4)), expected, "{head:?}");
        }
        assert!(!agrees(&map(&[("etag", "\"a\"")]), &map(&[]), Some(4)));
    }

    #[test]
    fn a_304_with_all_fields_takes_away_what_it_lacks() {
        let stored =
            map(&[("content-type", "text/html"), ("content-length", "5"), ("x-frame-options", "DENY")]);
        let new = map(&[("content-type", "text/html"), ("content-length", "0"), ("x-a", "1")]);
        let whole = map(&[("content-type", "text/html"), ("content-length", "5"), ("x-a", "1")]);
        assert_eq!(replace(&stored, &new), whole);
    }

    #[test]
    fn what_a_304_changes() {
        let stored = map(&[
            ("etag", "\"a\""),
            ("content-length", "3"),
            ("x", "1"),
            ("x", "2"),
            ("content-type", "a/b"),
        ]);
        let updated = update(
            &stored,
            &map(&[("x", "3"), ("content-length", "0"), ("content-type", "c/d"), ("y", "4")]),
        );
        assert_eq!(
            updated,
            map(&[
                ("etag", "\"a\""),
                ("content-length", "3"),
                ("x", "3"),
                ("content-type", "c/d"),
                ("y", "4")
            ])
        );
    }

    #[test]
    fn a_304_may_tell_the_digest_of_what_it_is_about() {
        let digest = |value| map(&[("content-digest", value)]);
        let stored = digest("sha-256=:AAAA:");
        for (told, expected) in [
            ("sha-256=:BBBB:", "sha-256=:BBBB:"),
            // Of its own content, which is none.
            ("sha-256=:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=:", "sha-256=:AAAA:"),
            (
                "md5=:1B2M2Y8AsgTpgAmY7PhCfg==:, sha-512=:z4PhNX7vuL3xVChQ1m2AB9Yg5AULVxXcg/SpIdNs6c5H0NE8XYXysP+DGNKHfuwvY7kxvUdBeoGlODJ6+SfaPg==:",
                "sha-256=:AAAA:",
            ),
        ] {
            assert_eq!(update(&stored, &digest(told)), digest(expected), "{told}");
        }
    }

    #[test]
    fn our_own_conditions() {
        let mut request = map(&[("if-none-match", "\"client\""), ("range", "bytes=0-1"), ("accept", "x")]);
        let stored = map(&[("etag", "\"a\""), ("last-modified", EARLY)]);
        let tags = [HeaderValue::from_static("\"a\""), HeaderValue::from_static("\"old\"")];
        make_conditional(&mut request, &stored, &tags);
        assert_eq!(
            request,
            map(&[("accept", "x"), ("if-none-match", "\"a\", \"old\""), ("if-modified-since", EARLY)])
        );
    }
}
