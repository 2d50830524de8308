//! Byte ranges (RFC 9110 §14): what a request asks of a stored response, what a 206 says it holds, and which parts
//! make a larger one. What a client may cost is bounded: so many ranges, and never more bytes than the whole.

use http::{HeaderMap, HeaderValue, header};

use super::{
    date,
    directives::list_members,
    validate::{self, Tag},
};

/// Ranges of one request that are looked at; with more, `Range` is ignored (RFC 9110 §14.2 allows it).
pub const RANGES_MAX: usize = 16;

/// What one part costs beside its bytes: delimiter, two fields, line ends. Gaps smaller than this are sent along
/// (RFC 9110 §15.3.7.2).
const PART_OVERHEAD_BYTES: u64 = 128;

/// Bytes from `start` up to `end`, exclusive, and at least one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// First byte.
    pub start: u64,
    /// One past the last byte.
    pub end: u64,
}

impl Span {
    /// How many bytes.
    pub fn bytes(self) -> u64 {
        self.end.saturating_sub(self.start)
    }

    /// Whether all of `other` lies within.
    pub fn contains(self, other: Span) -> bool {
        self.start <= other.start && other.end <= self.end
    }

    /// Both as one, where they touch or are no more than `gap` bytes apart.
    pub fn joined(self, other: Span, gap: u64) -> Option<Span> {
        let (first, second) = if self.start <= other.start { (self, other) } else { (other, self) };
        (second.start <= first.end.saturating_add(gap))
            .then(|| Span { start: first.start, end: first.end.max(second.end) })
    }
}

/// What a `Range` asks of a content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ranged {
    /// The whole, with 200.
    Whole,
    /// These bytes, with 206.
    Part(Span),
    /// These, in the order asked for, as `multipart/byteranges` with 206.
    Parts(Vec<Span>),
    /// Nothing of it exists: 416.
    Unsatisfiable,
}

impl Ranged {
    /// The clause that decided.
    pub fn clause(&self) -> &'static str {
        match self {
            Self::Whole => "RFC 9110 §14.2",
            Self::Part(_) => "RFC 9110 §15.3.7.1",
            Self::Parts(_) => "RFC 9110 §15.3.7.2",
            Self::Unsatisfiable => "RFC 9110 §15.5.17",
        }
    }
}

/// Reads `Range` and `If-Range` of a GET against a stored 200, or its part, of `length` bytes in all.
pub fn ranged(request: &HeaderMap, stored: &HeaderMap, length: u64) -> Ranged {
    let Some(specs) = specs(request) else { return Ranged::Whole };
    if !if_range_holds(request, stored) {
        return Ranged::Whole;
    }
    let spans: Vec<Span> = specs.iter().filter_map(|spec| spec.within(length)).collect();
    let spans = coalesced(spans);
    match spans[..] {
        // The last bytes of nothing are all of it (RFC 9110 §14.1.2), of which no `Content-Range` could tell a part.
        [] if length == 0 && specs.iter().any(|spec| matches!(spec, Spec::Suffix(1..))) => Ranged::Whole,
        [] => Ranged::Unsatisfiable,
        [span] => Ranged::Part(span),
        _ => {
            let total = spans
                .iter()
                .fold(0u64, |sum, span| sum.saturating_add(span.bytes()).saturating_add(PART_OVERHEAD_BYTES));
            if total >= length { Ranged::Whole } else { Ranged::Parts(spans) }
        }
    }
}

/// The same against a part that is held of a content. Without the length of the whole only one range that names its end can
/// be found in it.
pub fn ranged_of_part(request: &HeaderMap, stored: &HeaderMap, part: ContentRange) -> Ranged {
    if let Some(length) = part.length {
        return ranged(request, stored, length);
    }
    match specs(request).as_deref() {
        Some([Spec::From(start, Some(last))]) if if_range_holds(request, stored) => {
            Ranged::Part(Span { start: *start, end: last.saturating_add(1) })
        }
        _ => Ranged::Whole,
    }
}

/// What becomes of the `Range` of a GET that is sent on and whose answer nobody here will cut.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Onward {
    /// It goes on as it came.
    AsIs,
    /// So many or such ranges mean the whole here, and do so there (RFC 9110 §14.2).
    Without,
    /// The same bytes, none of them asked for more than twice: overlaps must not multiply what an upstream sends.
    Instead(HeaderValue),
}

/// Bounds what a `Range` can have an upstream do (RFC 9110 §17.15).
pub fn onward(request: &HeaderMap) -> Onward {
    let mut lines = request.get_all(header::RANGE).iter();
    let Some(line) = lines.next() else { return Onward::AsIs };
    // Other units are for the upstream to know.
    let is_bytes = line.as_bytes().to_ascii_lowercase().starts_with(b"bytes");
    let specs = match specs(request) {
        Some(specs) => specs,
        None if is_bytes || lines.next().is_some() => return Onward::Without,
        None => return Onward::AsIs,
    };
    let suffix =
        specs.iter().filter_map(|spec| if let Spec::Suffix(n) = spec { Some(*n) } else { None }).max();
    let spans = specs.iter().filter_map(|spec| match *spec {
        Spec::From(start, last) => {
            Some(Span { start, end: last.map_or(u64::MAX, |last| last.saturating_add(1)) })
        }
        Spec::Suffix(_) => None,
    });
    let spans = coalesced(spans.collect());
    if spans.len() + usize::from(suffix.is_some()) == specs.len() {
        return Onward::AsIs;
    }
    let mut members: Vec<String> = spans
        .iter()
        .map(|span| match span.end {
            u64::MAX => format!("{}-", span.start),
            end => format!("{}-{}", span.start, end.saturating_sub(1)),
        })
        .collect();
    members.extend(suffix.map(|suffix| format!("-{suffix}")));
    HeaderValue::from_str(&format!("bytes={}", members.join(","))).map_or(Onward::Without, Onward::Instead)
}

/// Whether a request asks for exactly one range.
pub fn is_single(request: &HeaderMap) -> bool {
    specs(request).is_some_and(|specs| specs.len() == 1)
}

/// Whether a request has a `Range` that is understood.
pub fn is_ranged(request: &HeaderMap) -> bool {
    specs(request).is_some()
}

/// One member of a range set, valid but not yet measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Spec {
    From(u64, Option<u64>),
    Suffix(u64),
}

impl Spec {
    /// Reads one; `None`: it is not valid.
    fn of(member: &[u8]) -> Option<Self> {
        let dash = member.iter().position(|b| *b == b'-')?;
        match (&member[..dash], &member[dash + 1..]) {
            ([], suffix) => Some(Self::Suffix(number(suffix)?)),
            (first, []) => Some(Self::From(number(first)?, None)),
            (first, last) => {
                let (first, last) = (number(first)?, number(last)?);
                (first <= last).then_some(Self::From(first, Some(last)))
            }
        }
    }

    /// RFC 9110 §14.1.2.
    fn within(self, length: u64) -> Option<Span> {
        match self {
            Self::From(start, last) => {
                let end = last.map_or(length, |last| last.saturating_add(1).min(length));
                (start < length).then_some(Span { start, end })
            }
            Self::Suffix(suffix) => {
                (suffix > 0 && length > 0).then(|| Span { start: length.saturating_sub(suffix), end: length })
            }
        }
    }
}

/// The ranges of a request; `None`: there are none, or they are to be ignored (RFC 9110 §14.2).
fn specs(request: &HeaderMap) -> Option<Vec<Spec>> {
    let mut lines = request.get_all(header::RANGE).iter();
    let (Some(line), None) = (lines.next(), lines.next()) else { return None };
    let mut specs = Vec::new();
    for member in members(line.as_bytes())? {
        if specs.len() == RANGES_MAX {
            return None;
        }
        // One that is invalid makes all invalid (RFC 9110 §14.1.1).
        specs.push(Spec::of(member)?);
    }
    (!specs.is_empty()).then_some(specs)
}

/// The one range that the only `Range` line of a request asks for, as far as a content of `length` bytes has it; `None`:
/// there is no such range, or several are asked for.
pub fn only(line: &[u8], length: u64) -> Option<Span> {
    let mut members = members(line)?;
    let spec = Spec::of(members.next()?)?;
    if members.next().is_some() { None } else { spec.within(length) }
}

/// The members of a range set of bytes.
fn members(line: &[u8]) -> Option<impl Iterator<Item = &[u8]>> {
    let at = line.iter().position(|b| *b == b'=')?;
    let (unit, set) = (&line[..at], &line[at + 1..]);
    unit.eq_ignore_ascii_case(b"bytes")
        .then(|| set.split(|b| *b == b',').map(<[u8]>::trim_ascii).filter(|member| !member.is_empty()))
}

/// Spans that overlap, or lie so near that the gap costs less than another part, become one, where the first stood.
fn coalesced(spans: Vec<Span>) -> Vec<Span> {
    let mut out: Vec<Span> = Vec::with_capacity(spans.len());
    for span in spans {
        let mut span = span;
        let mut place = out.len();
        let mut index = 0;
        while index < out.len() {
            match out[index].joined(span, PART_OVERHEAD_BYTES) {
                Some(both) => {
                    span = both;
                    out.remove(index);
                    place = place.min(index);
                    // The larger one may touch what the smaller did not.
                    index = 0;
                }
                None => index += 1,
            }
        }
        out.insert(place.min(out.len()), span);
    }
    out
}

/// What the `Content-Range` of a 206 says (RFC 9110 §14.4).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ContentRange {
    /// The bytes that it holds.
    pub span: Span,
    /// Bytes of the whole, where that is known.
    pub length: Option<u64>,
}

impl ContentRange {
    /// Reads it; `None`: missing, several, or invalid.
    pub fn of(headers: &HeaderMap) -> Option<Self> {
        let mut lines = headers.get_all(header::CONTENT_RANGE).iter();
        let (Some(line), None) = (lines.next(), lines.next()) else { return None };
        let line = line.as_bytes();
        let space = line.iter().position(|b| *b == b' ')?;
        if !line[..space].eq_ignore_ascii_case(b"bytes") {
            return None;
        }
        let rest = &line[space + 1..];
        let slash = rest.iter().position(|b| *b == b'/')?;
        let (range, length) = (&rest[..slash], &rest[slash + 1..]);
        let dash = range.iter().position(|b| *b == b'-')?;
        let (first, last) = (number(&range[..dash])?, number(&range[dash + 1..])?);
        let length = if length == b"*" { None } else { Some(number(length)?) };
        let valid = first <= last && last < u64::MAX && length.is_none_or(|length| last < length);
        valid.then(|| Self { span: Span { start: first, end: last + 1 }, length })
    }

    /// As the field carries it.
    pub fn to_value(self) -> Option<HeaderValue> {
        let (first, last) = (self.span.start, self.span.end.saturating_sub(1));
        let text = match self.length {
            Some(length) => format!("bytes {first}-{last}/{length}"),
            None => format!("bytes {first}-{last}/*"),
        };
        HeaderValue::from_str(&text).ok()
    }

    /// Whether nothing is missing.
    pub fn is_whole(self) -> bool {
        self.length == Some(self.span.bytes())
    }

    /// Both as one part, where they touch and speak of the same length.
    pub fn joined(self, other: Self) -> Option<Self> {
        if let (Some(a), Some(b)) = (self.length, other.length)
            && a != b
        {
            return None;
        }
        let span = self.span.joined(other.span, 0)?;
        let length = self.length.or(other.length);
        length.is_none_or(|length| span.end <= length).then_some(Self { span, length })
    }
}

/// Whether two parts are of one representation: the same strong entity tag (RFC 9111 §3.4, RFC 9110 §15.3.7.3), and the same
/// coding, since there are upstreams that give one tag to a content and to what codings make of it.
pub fn combine(one: &HeaderMap, other: &HeaderMap) -> bool {
    let coding = |part| list_members(part, &header::CONTENT_ENCODING).map(<[u8]>::to_ascii_lowercase);
    has_tag_of(one, other) && coding(one).eq(coding(other))
}

/// The same of a part that answers `If-Range` and one that is held: it need not repeat of what it is a part (RFC 9110 §15.3.7).
pub fn completes(held: &HeaderMap, part: &HeaderMap) -> bool {
    if part.contains_key(header::CONTENT_ENCODING) { combine(held, part) } else { has_tag_of(held, part) }
}

fn has_tag_of(one: &HeaderMap, other: &HeaderMap) -> bool {
    matches!((Tag::of(one), Tag::of(other)), (Some(one), Some(other)) if one.strongly_equals(other))
}

/// The fields of a part together with those of a held one of the same representation: what it does not say, as one that
/// answers `If-Range` need not (RFC 9110 §15.3.7), is as it was (RFC 9111 §3.4). Not so what is of one message or one part.
pub fn combined(held: &HeaderMap, part: &HeaderMap) -> HeaderMap {
    let mut fields = held.clone();
    fields.remove(header::DATE);
    strip_of_content(&mut fields);
    let mut fields = validate::update(&fields, part);
    // Nor is what comes of both what either has a digest of.
    fields.remove(validate::CONTENT_DIGEST);
    fields
}

/// Removes what is about one content, for another: which part it is, and its digests (RFC 9530 §2). `Repr-Digest` is of the
/// representation, and stays.
pub fn strip_of_content(headers: &mut HeaderMap) {
    headers.remove(header::CONTENT_RANGE);
    headers.remove(validate::CONTENT_DIGEST);
    headers.remove(validate::CONTENT_MD5);
}

/// The frame around the parts of a `multipart/byteranges`: what stands before each, and what ends it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Multipart {
    /// The `Content-Type`.
    pub content_type: String,
    /// Before each part, in order.
    pub heads: Vec<String>,
    /// After the last.
    pub end: String,
}

impl Multipart {
    /// Around `spans` of a content of `length` bytes; `boundary` occurs nowhere in it (random is enough).
    pub fn new(spans: &[Span], length: u64, content_type: Option<&HeaderValue>, boundary: &str) -> Self {
        let kind = content_type
            .and_then(|value| value.to_str().ok())
            .map(|kind| format!("Content-Type: {kind}\r\n"))
            .unwrap_or_default();
        let heads = spans.iter().enumerate().map(|(index, span)| {
            let line_end = if index == 0 { "" } else { "\r\n" };
            let last = span.end.saturating_sub(1);
            format!(
                "{line_end}--{boundary}\r\n{kind}Content-Range: bytes {}-{last}/{length}\r\n\r\n",
                span.start
            )
        });
        Self {
            content_type: format!("multipart/byteranges; boundary={boundary}"),
            heads: heads.collect(),
            end: format!("\r\n--{boundary}--\r\n"),
        }
    }
}

fn number(text: &[u8]) -> Option<u64> {
    if text.is_empty() || !text.iter().all(u8::is_ascii_digit) {
        return None;
    }
    Some(text.iter().fold(0u64, |n, d| n.saturating_mul(10).saturating_add(u64::from(d - b'0'))))
}

/// `If-Range` compares strongly; a date must be the stored `Last-Modified` exactly, and that must be a strong
/// validator: at least a second before `Date` (RFC 9110 §13.1.5, §8.8.2.2).
pub fn if_range_holds(request: &HeaderMap, stored: &HeaderMap) -> bool {
    let mut lines = request.get_all(header::IF_RANGE).iter();
    let value = match (lines.next(), lines.next()) {
        (None, _) => return true,
        (Some(value), None) => value,
        // Two are none that is valid.
        (Some(_), Some(_)) => return false,
    };
    if let Some(tag) = Tag::parse(value.as_bytes()) {
        return Tag::of(stored).is_some_and(|held| tag.strongly_equals(held));
    }
    let (Some(modified), Some(generated)) = (stored.get(header::LAST_MODIFIED), stored.get(header::DATE))
    else {
        return false;
    };
    // Both dates are ours to compare; the century of a two-digit year does not matter for equality.
    match (date::parse(modified.as_bytes(), 0), date::parse(generated.as_bytes(), 0)) {
        (Some(modified_at), Some(generated_at)) => {
            date::parse(value.as_bytes(), 0) == Some(modified_at) && modified_at < generated_at
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::map;
    use http::HeaderValue;
    use proptest::prelude::*;

    fn span(start: u64, end: u64) -> Span {
        Span { start, end }
    }

    #[test]
    fn fields_of_what_is_combined() {
        let held = map(&[
            ("etag", "\"a\""),
            ("content-type", "a/b"),
            ("x", "1"),
            ("x", "2"),
            ("date", "then"),
            ("content-digest", "one"),
            ("repr-digest", "all"),
        ]);
        let part = map(&[
            ("etag", "\"a\""),
            ("x", "3"),
            ("content-range", "bytes 0-0/9"),
            ("content-digest", "other"),
            ("content-length", "1"),
        ]);
        let mut fields = combined(&held, &part);
        let of_part = [("content-range", "bytes 0-0/9")];
        let of_all = [("etag", "\"a\""), ("content-type", "a/b"), ("x", "3"), ("repr-digest", "all")];
        assert_eq!(fields, map(&[&of_part[..], &of_all].concat()));
        strip_of_content(&mut fields);
        assert_eq!(fields, map(&of_all));
    }

    #[test]
    fn a_row_for_each_form() {
        use Ranged::{Part, Parts, Unsatisfiable, Whole};
        let many = format!("bytes={}", vec!["0-0"; RANGES_MAX + 1].join(","));
        let most = format!("bytes={}", vec!["0-0"; RANGES_MAX].join(","));
        let rows: [(&str, u64, Ranged); 35] = [
            ("bytes=0-0", 10, Part(span(0, 1))),
            ("bytes=2-4", 10, Part(span(2, 5))),
            ("bytes=2-99", 10, Part(span(2, 10))),
            ("bytes=9-", 10, Part(span(9, 10))),
            ("bytes=10-", 10, Unsatisfiable),
            ("bytes=10-12", 10, Unsatisfiable),
            ("bytes=-3", 10, Part(span(7, 10))),
            ("bytes=-99", 10, Part(span(0, 10))),
            ("bytes=-0", 10, Unsatisfiable),
            ("bytes=0-", 0, Unsatisfiable),
            ("bytes=-1", 0, Whole),
            ("bytes=0-0,-1", 0, Whole),
            ("bytes=-0", 0, Unsatisfiable),
            ("BYTES=0-0", 10, Part(span(0, 1))),
            ("bytes= 0-0 ", 10, Part(span(0, 1))),
            ("bytes=4-2", 10, Whole),
            ("bytes=a-b", 10, Whole),
            ("bytes=-", 10, Whole),
            ("bytes=", 10, Whole),
            ("bytes=+1-2", 10, Whole),
            ("lines=0-1", 10, Whole),
            ("bytes", 10, Whole),
            ("bytes=0-99999999999999999999999", 10, Part(span(0, 10))),
            // Several: in the order asked for; near ones become one; with one left it is a plain part.
            ("bytes=0-0,500-509", 1_000, Parts(vec![span(0, 1), span(500, 510)])),
            ("bytes=500-509, 0-0", 1_000, Parts(vec![span(500, 510), span(0, 1)])),
            ("bytes=-10,,0-9", 1_000, Parts(vec![span(990, 1_000), span(0, 10)])),
            ("bytes=0-9,5-20", 1_000, Part(span(0, 21))),
            ("bytes=0-9,138-140", 1_000, Part(span(0, 141))),
            ("bytes=0-9,139-140", 1_000, Parts(vec![span(0, 10), span(139, 141)])),
            ("bytes=0-0,400-400,800-800,10-790", 9_000, Part(span(0, 801))),
            ("bytes=0-0,2000-", 1_000, Part(span(0, 1))),
            ("bytes=2000-,3000-", 1_000, Unsatisfiable),
            // One that is invalid, or too many, or no gain: the whole.
            ("bytes=0-0,9-8", 1_000, Whole),
            (&many, 1_000, Whole),
            ("bytes=0-400,600-999", 1_000, Whole),
        ];
        for (range, length, expected) in rows {
            assert_eq!(ranged(&map(&[("range", range)]), &map(&[]), length), expected, "{range}");
            // The one look says the same as the closer one, or nothing.
            if let Some(span) = only(range.as_bytes(), length) {
                assert_eq!(Part(span), expected, "{range}");
            }
        }
        assert_eq!(only(b"bytes=2-4", 10), Some(span(2, 5)));
        assert_eq!(ranged(&map(&[("range", &most)]), &map(&[]), 1_000), Part(span(0, 1)));
        let twice = map(&[("range", "bytes=0-0"), ("range", "bytes=1-1")]);
        assert_eq!(ranged(&twice, &map(&[]), 10), Whole);
    }

    #[test]
    fn what_parts_are_asked_for() {
        use Ranged::{Part, Parts, Unsatisfiable, Whole};
        let rows: [(&str, Option<u64>, Ranged); 12] = [
            ("bytes=2-4", Some(10), Part(span(2, 5))),
            ("bytes=2-4", None, Part(span(2, 5))),
            ("bytes=2-", Some(10), Part(span(2, 10))),
            ("bytes=2-", None, Whole),
            ("bytes=-2", Some(10), Part(span(8, 10))),
            ("bytes=-2", None, Whole),
            ("bytes=10-", Some(10), Unsatisfiable),
            ("bytes=10-12", None, Part(span(10, 13))),
            ("bytes=0-1,5-6", Some(1_000), Part(span(0, 7))),
            ("bytes=0-1,500-501", Some(1_000), Parts(vec![span(0, 2), span(500, 502)])),
            ("bytes=0-1,500-501", None, Whole),
            ("bytes=1-0", Some(10), Whole),
        ];
        for (range, length, expected) in rows {
            let part = ContentRange { span: span(0, 5), length };
            let asked = ranged_of_part(&map(&[("range", range)]), &map(&[]), part);
            assert_eq!(asked, expected, "{range} {length:?}");
            let other = map(&[("range", range), ("if-range", "\"b\"")]);
            assert_eq!(ranged_of_part(&other, &map(&[("etag", "\"a\"")]), part), Whole, "{range} {length:?}");
        }
    }

    #[test]
    fn what_goes_on_asks_for_nothing_again_and_again() {
        use Onward::{AsIs, Without};
        let instead = |text: &'static str| Onward::Instead(HeaderValue::from_static(text));
        let many = format!("bytes={}", vec!["0-"; RANGES_MAX + 1].join(","));
        let rows: [(&str, Onward); 14] = [
            ("bytes=0-1", AsIs),
            ("bytes=5-, 0-1", instead("bytes=0-")),
            ("bytes=500-509, 0-1", AsIs),
            ("bytes=0-,0-,0-", instead("bytes=0-")),
            ("bytes=0-9,5-20", instead("bytes=0-20")),
            ("bytes=900-,0-9,5-20", instead("bytes=900-,0-20")),
            ("bytes=-1,-5,-3", instead("bytes=-5")),
            ("bytes=0-0,-1,0-0", instead("bytes=0-0,-1")),
            ("bytes=0-,-1", AsIs),
            ("bytes=5-4", Without),
            ("BYTES", Without),
            ("bytes=0-0,x", Without),
            ("lines=0-1,0-1", AsIs),
            (&many, Without),
        ];
        for (range, expected) in rows {
            assert_eq!(onward(&map(&[("range", range)])), expected, "{range}");
        }
        assert_eq!(onward(&map(&[])), AsIs);
        assert_eq!(onward(&map(&[("range", "bytes=0-0"), ("range", "bytes=0-0")])), Without);
    }

    #[test]
    fn content_ranges() {
        let of = |text: &str| ContentRange::of(&map(&[("content-range", text)]));
        let part = |start, end, length| Some(ContentRange { span: span(start, end), length });
        let rows: [(&str, Option<ContentRange>); 10] = [
            ("bytes 0-4/10", part(0, 5, Some(10))),
            ("bytes 9-9/10", part(9, 10, Some(10))),
            ("Bytes 0-4/*", part(0, 5, None)),
            ("bytes 5-10/10", None),
            ("bytes 5-4/10", None),
            ("bytes */10", None),
            ("bytes 0-4", None),
            ("bytes 0-4/x", None),
            ("lines 0-4/10", None),
            ("bytes 0-99999999999999999999/*", None),
        ];
        for (text, expected) in rows {
            assert_eq!(of(text), expected, "{text}");
        }
        let join = |a: &str, b: &str| of(a)?.joined(of(b)?);
        assert_eq!(join("bytes 0-4/10", "bytes 5-9/10"), part(0, 10, Some(10)));
        assert_eq!(join("bytes 5-9/*", "bytes 0-6/10"), part(0, 10, Some(10)));
        assert_eq!(join("bytes 0-3/10", "bytes 5-9/10"), None);
        assert_eq!(join("bytes 0-4/10", "bytes 5-9/11"), None);
        assert_eq!(join("bytes 0-4/10", "bytes 5-19/*"), None);
        assert!(part(0, 10, Some(10)).unwrap().is_whole() && !part(1, 10, Some(10)).unwrap().is_whole());
        assert_eq!(part(0, 5, Some(10)).unwrap().to_value().unwrap(), "bytes 0-4/10");
        assert_eq!(part(0, 5, None).unwrap().to_value().unwrap(), "bytes 0-4/*");
    }

    #[test]
    fn parts_combine_under_a_strong_tag_alone() {
        let tag = |tag: &str| map(&[("etag", tag), ("last-modified", "Sun, 06 Nov 1994 08:49:37 GMT")]);
        assert!(combine(&tag("\"a\""), &tag("\"a\"")));
        assert!(!combine(&tag("\"a\""), &tag("\"b\"")));
        assert!(!combine(&tag("W/\"a\""), &tag("W/\"a\"")));
        assert!(!combine(&tag("x"), &tag("x")));
        let coded = |tag, coding| map(&[("etag", tag), ("content-encoding", coding)]);
        let (plain, gzip) = (tag("\"a\""), coded("\"a\"", "gzip"));
        assert!(
            combine(&gzip, &coded("\"a\"", "GZIP")) && completes(&gzip, &gzip) && completes(&plain, &plain)
        );
        for (held, part) in [(&plain, &gzip), (&gzip, &plain), (&gzip, &coded("\"a\"", "br"))] {
            assert!(!combine(held, part));
            // That it is plain is not said.
            assert_eq!(completes(held, part), part == &plain);
        }
        assert!(!completes(&gzip, &tag("\"b\"")));
    }

    #[test]
    fn a_multipart_frame() {
        let kind = HeaderValue::from_static("text/plain");
        let frame = Multipart::new(&[span(0, 1), span(500, 510)], 1_000, Some(&kind), "B");
        assert_eq!(frame.content_type, "multipart/byteranges; boundary=B");
        assert_eq!(
            frame.heads,
            [
                "--B\r\nContent-Type: text/plain\r\nContent-Range: bytes 0-0/1000\r\n\r\n",
                "\r\n--B\r\nContent-Type: text/plain\r\nContent-Range: bytes 500-509/1000\r\n\r\n",
            ]
        );
        assert_eq!(frame.end, "\r\n--B--\r\n");
    }

    #[test]
    fn if_range() {
        let date = "Sun, 06 Nov 1994 08:49:37 GMT";
        let later = "Sun, 06 Nov 1994 08:49:38 GMT";
        let holds = |value: &str, stored: &[(&str, &str)]| {
            ranged(&map(&[("range", "bytes=0-0"), ("if-range", value)]), &map(stored), 10) != Ranged::Whole
        };
        assert!(holds("\"a\"", &[("etag", "\"a\"")]));
        assert!(!holds("\"a\"", &[("etag", "\"b\"")]));
        assert!(!holds("W/\"a\"", &[("etag", "W/\"a\"")]));
        assert!(!holds("\"a\"", &[]));
        assert!(holds(date, &[("last-modified", date), ("date", later)]));
        assert!(!holds(date, &[("last-modified", date), ("date", date)]));
        assert!(!holds(later, &[("last-modified", date), ("date", later)]));
        assert!(!holds(date, &[("last-modified", date)]));
    }

    proptest! {
        /// Whatever is asked: parts lie within, hold bytes, do not overlap, and all together are less than the whole.
        #[test]
        fn parts_lie_within_and_never_cost_more_than_the_whole(
            specs in proptest::collection::vec("[0-9]{0,4}-[0-9]{0,4}", 1..RANGES_MAX), length in 0u64..5_000,
        ) {
            let text = format!("bytes={}", specs.join(","));
            match ranged(&map(&[("range", &text)]), &map(&[]), length) {
                Ranged::Part(part) => prop_assert!(part.start < part.end && part.end <= length),
                Ranged::Parts(parts) => {
                    prop_assert!(parts.len() > 1 && parts.iter().map(|part| part.bytes()).sum::<u64>() < length);
                    for (index, part) in parts.iter().enumerate() {
                        prop_assert!(part.start < part.end && part.end <= length);
                        prop_assert!(parts[..index].iter().all(|other| other.joined(*part, 0).is_none()));
                    }
                }
                Ranged::Whole | Ranged::Unsatisfiable => {}
            }
        }

        /// Joining parts in any order neither invents nor loses a byte.
        #[test]
        fn joined_parts_hold_exactly_both(a in 0u64..50, b in 1u64..50, c in 0u64..50, d in 1u64..50) {
            let (one, two) = (span(a, a + b), span(c, c + d));
            prop_assert_eq!(one.joined(two, 0), two.joined(one, 0));
            match one.joined(two, 0) {
                Some(both) => {
                    for byte in both.start..both.end {
                        prop_assert!(one.contains(span(byte, byte + 1)) || two.contains(span(byte, byte + 1)));
                    }
                    prop_assert!(both.contains(one) && both.contains(two));
                }
                None => prop_assert!(one.end < two.start || two.end < one.start),
            }
        }
    }
}
