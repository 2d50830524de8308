//! Which stored variant a request selects (RFC 9111 §4.1), with fields compared in a normal form.

use std::fmt;

use http::{HeaderMap, HeaderName, HeaderValue, header};

use super::{
    claims::is_as_sent,
    directives::{list_members, members_of},
};

/// Members of a list that are compared one by one with those of another; of longer lists a normal form is made.
const FEW_MEMBERS: usize = 16;

/// Other fields that are lists by definition, so that white space around their commas, empty members and how many lines they
/// take mean nothing. Of any other field a comma may be part of the value (RFC 9110 §5.3, RFC 9111 §4.1).
static LISTS: [HeaderName; 10] = [
    header::ACCEPT_CHARSET,
    header::ACCESS_CONTROL_REQUEST_HEADERS,
    header::CACHE_CONTROL,
    header::FORWARDED,
    HeaderName::from_static("prefer"),
    HeaderName::from_static("sec-ch-ua"),
    HeaderName::from_static("sec-ch-ua-full-version-list"),
    header::TE,
    header::VIA,
    HeaderName::from_static("x-forwarded-for"),
];

/// The request fields that a response was chosen by, normalised, with the names in order. Two requests with
/// equal values select the same variant.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Selection(Vec<(HeaderName, Option<Normal>)>);

/// The normal form of a request field.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Normal {
    Codings(Codings),
    /// Of a list its members, of any other field its lines, as one text.
    Text(Vec<u8>),
}

/// A selection in short: what the common ones come to, to be compared without looking at a field again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// Every request selects it.
    Any,
    /// Those with these codings, or (`None`) without the field.
    Codings(Option<Codings>),
    /// It takes a closer look.
    Other,
}

impl Selection {
    /// The class that this falls into.
    pub fn class(&self) -> Class {
        match self.0.as_slice() {
            [] => Class::Any,
            [(name, None)] if *name == header::ACCEPT_ENCODING => Class::Codings(None),
            [(_, Some(Normal::Codings(codings)))] => Class::Codings(Some(*codings)),
            _ => Class::Other,
        }
    }

    /// The selection of a class; nothing of [`Class::Other`], which does not say it.
    pub fn of_class(class: Class) -> Self {
        match class {
            Class::Any | Class::Other => Self::default(),
            Class::Codings(codings) => Self(vec![(header::ACCEPT_ENCODING, codings.map(Normal::Codings))]),
        }
    }

    /// The values that `request` has for `names`.
    pub fn of(names: &[HeaderName], request: &HeaderMap) -> Self {
        Self(names.iter().map(|name| (name.clone(), Normal::of(name, request))).collect())
    }

    /// Whether `request` selects the variant that was stored with these values.
    pub fn matches(&self, request: &HeaderMap) -> bool {
        self.matches_lines(|name| request.get_all(name).iter().map(HeaderValue::as_bytes))
    }

    /// The same for a request of which `lines` gives the lines of a field. Allocates only where
    /// `Accept` or `Accept-Language` have very many members, or odd ones.
    pub fn matches_lines<'a, L: Iterator<Item = &'a [u8]>>(
        &'a self,
        lines: impl Fn(&'a HeaderName) -> L,
    ) -> bool {
        self.0.iter().all(|(name, value)| match value {
            None => lines(name).next().is_none(),
            Some(value) => lines(name).next().is_some() && value.is_of(name, || lines(name)),
        })
    }

    /// Whether all of its fields reach upstreams as clients send them.
    pub fn is_as_sent(&self) -> bool {
        self.0.iter().all(|(name, _)| is_as_sent(name))
    }

    /// The fields and their values, for a request of our own that is to select the same variant (RFC 9111 §4.3.1).
    pub fn fields(&self) -> impl Iterator<Item = (&HeaderName, Option<HeaderValue>)> {
        self.0.iter().map(|(name, value)| {
            let text = value.as_ref().map(|value| match value {
                Normal::Codings(codings) => codings.to_string().into_bytes(),
                Normal::Text(bytes) => bytes.clone(),
            });
            (name, text.and_then(|text| HeaderValue::from_bytes(&text).ok()))
        })
    }

    /// Whether the response varied at all.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Bytes this takes in memory, for the cache's accounting.
    pub fn bytes(&self) -> usize {
        let value = |value: &Option<Normal>| match value {
            Some(Normal::Text(bytes)) => bytes.len(),
            Some(Normal::Codings(_)) | None => 0,
        };
        self.0.iter().map(|(name, held)| 64 + name.as_str().len() + value(held)).sum()
    }
}

/// The names in `Vary`, in lower case, sorted, once each. `None`: `*` or something that is no field name, which
/// nothing matches (RFC 9110 §12.5.5).
pub fn names(response: &HeaderMap) -> Option<Vec<HeaderName>> {
    let mut names = Vec::new();
    for member in list_members(response, &header::VARY) {
        if member == b"*" {
            return None;
        }
        names.push(HeaderName::from_bytes(member).ok()?);
    }
    names.sort_by(|a, b| a.as_str().cmp(b.as_str()));
    names.dedup();
    Some(names)
}

impl Normal {
    /// Lines combined, in lists white space around commas gone (RFC 9111 §4.1); beyond that what the field's own definition
    /// says does not matter, so that variants do not multiply.
    fn of(name: &HeaderName, request: &HeaderMap) -> Option<Self> {
        if !request.contains_key(name) {
            return None;
        }
        if *name == header::ACCEPT_ENCODING {
            return Some(Self::Codings(Codings::of(request)));
        }
        Some(Self::of_lines(name, request.get_all(name).iter().map(HeaderValue::as_bytes)))
    }

    /// Of another field than `Accept-Encoding`.
    fn of_lines<'a>(name: &HeaderName, lines: impl Iterator<Item = &'a [u8]>) -> Self {
        let ranges = if *name == header::ACCEPT {
            // The order of media ranges means nothing (RFC 9110 §12.5.1).
            let mut ranges: Vec<Vec<u8>> = members_of(lines).map(lower_before_parameters).collect();
            ranges.sort();
            ranges.dedup();
            ranges
        } else if *name == header::ACCEPT_LANGUAGE {
            // Tags are case-insensitive; by quality their order means nothing, and among equals some servers take it
            // as a preference (RFC 9110 §12.5.4).
            let mut ranges: Vec<Vec<u8>> =
                members_of(lines).map(|member| tight(member).to_ascii_lowercase()).collect();
            ranges.sort_by_key(|range| std::cmp::Reverse(quality(range)));
            ranges
        } else if LISTS.contains(name) {
            members_of(lines).map(<[u8]>::to_vec).collect()
        } else {
            return Self::Text(lines.map(<[u8]>::trim_ascii).collect::<Vec<_>>().join(&b", "[..]));
        };
        Self::Text(ranges.join(&b","[..]))
    }

    /// Whether it is that of these lines, which are those of a field that is present.
    fn is_of<'a, L: Iterator<Item = &'a [u8]>>(&self, name: &HeaderName, lines: impl Fn() -> L) -> bool {
        match self {
            Self::Codings(codings) => *codings == Codings::of_members(members_of(lines())),
            Self::Text(held) if *name == header::ACCEPT => {
                let asked = || members_of(lines());
                let held = || members_of(std::iter::once(&**held));
                if asked().nth(FEW_MEMBERS).is_some() || held().nth(FEW_MEMBERS).is_some() {
                    return Self::of_lines(name, lines()) == *self;
                }
                asked().all(|range| held().any(|held| is_range(range, held)))
                    && held().all(|held| asked().any(|range| is_range(range, held)))
            }
            Self::Text(held) if *name == header::ACCEPT_LANGUAGE => {
                let mut asked: [(u16, &[u8]); FEW_MEMBERS] = [(0, &[]); FEW_MEMBERS];
                let mut count = 0;
                for member in members_of(lines()) {
                    // What is more, or written with white space inside, takes the form that is stored.
                    if count == FEW_MEMBERS || member.iter().any(u8::is_ascii_whitespace) {
                        return Self::of_lines(name, lines()) == *self;
                    }
                    // The order of equals stays.
                    let quality = quality(member);
                    let at = asked[..count].iter().position(|(other, _)| *other < quality).unwrap_or(count);
                    asked.copy_within(at..count, at + 1);
                    asked[at] = (quality, member);
                    count += 1;
                }
                let commas = (0..count).map(|index| if index == 0 { &b""[..] } else { b"," });
                let asked = commas.zip(&asked[..count]);
                let asked = asked.flat_map(|(comma, (_, member))| comma.iter().chain(member.iter()));
                asked.map(u8::to_ascii_lowercase).eq(held.iter().copied())
            }
            Self::Text(held) if LISTS.contains(name) => is_joined(held, members_of(lines()), b","),
            Self::Text(held) => is_joined(held, lines().map(<[u8]>::trim_ascii), b", "),
        }
    }
}

/// Whether a text is these parts with that between them.
fn is_joined<'a>(text: &[u8], parts: impl Iterator<Item = &'a [u8]>, between: &[u8]) -> bool {
    let mut rest = text;
    for (index, part) in parts.enumerate() {
        let before = if index == 0 { &b""[..] } else { between };
        match rest.strip_prefix(before).and_then(|rest| rest.strip_prefix(part)) {
            Some(after) => rest = after,
            None => return false,
        }
    }
    rest.is_empty()
}

/// Whether a media range is this one in its normal form.
fn is_range(range: &[u8], normal: &[u8]) -> bool {
    let end = range.iter().position(|b| *b == b';').unwrap_or(range.len());
    range.len() == normal.len()
        && range[..end].eq_ignore_ascii_case(&normal[..end])
        && range[end..] == normal[end..]
}

/// `Accept-Encoding` in the form that is keyed and forwarded: which of the known codings are acceptable, and which of the
/// common ones are preferred to which. How much more says nothing that a response depends on (RFC 9110 §12.5.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Codings {
    /// A bit for each of [`CODINGS`], and [`NO_IDENTITY`].
    accepted: u16,
    /// Two bits for each of [`RANKED`], the first lowest: 0 is preferred most. Of what is not acceptable: 0.
    ranks: u8,
}

/// The content codings that are told apart, in alphabetical order. Others count as absent: no upstream sends what it
/// does not know, and a made-up name must not make a variant.
const CODINGS: [&str; 7] = ["br", "compress", "dcb", "dcz", "deflate", "gzip", "zstd"];
/// All of [`CODINGS`].
const ALL_CODINGS: u16 = (1 << CODINGS.len()) - 1;
/// Where two of the [`RANKED`] stand in [`CODINGS`]; br is the first.
const GZIP: usize = 5;
const ZSTD: usize = 6;
/// The quality of what has none (RFC 9110 §12.4.2), in thousandths.
const QUALITY_MAX: u16 = 1_000;
/// The codings whose order is kept, and the plain content: what servers have to choose from. With the order of all seven
/// one client could make ten thousands of variants.
const RANKED: [&str; 4] = ["br", "gzip", "zstd", "identity"];
/// The place of the plain content in [`RANKED`].
const IDENTITY: usize = 3;
/// The rank of plain content that is preferred to nothing, as it is unless a request says otherwise.
const RANK_LAST: u8 = 3;
/// Set where not even the plain content is acceptable.
const NO_IDENTITY: u16 = 1 << CODINGS.len();

impl Codings {
    /// Reads all lines of a request.
    pub fn of(request: &HeaderMap) -> Self {
        Self::of_members(list_members(request, &header::ACCEPT_ENCODING))
    }

    /// The normal form of a request's field, if it has one.
    pub fn to_send(request: &HeaderMap) -> Option<HeaderValue> {
        request.get(header::ACCEPT_ENCODING)?;
        HeaderValue::from_str(&Self::of(request).to_string()).ok()
    }

    /// Reads the only line of a request.
    pub fn of_line(line: &[u8]) -> Self {
        Self::of_members(members_of(std::iter::once(line)))
    }

    fn of_members<'a>(members: impl Iterator<Item = &'a [u8]>) -> Self {
        let (mut accepted, mut refused) = (0u16, 0u16);
        let (mut any, mut identity) = (None, None);
        let mut qualities = [None; CODINGS.len()];
        for member in members {
            let coding = member.split(|b| *b == b';').next().unwrap_or_default().trim_ascii();
            let is = |name: &str| coding.eq_ignore_ascii_case(name.as_bytes());
            let quality = quality(member);
            if is("*") {
                any = any.or(Some(quality));
            } else if is("identity") {
                identity = identity.or(Some(quality));
            } else {
                // x-gzip and x-compress are gzip and compress (RFC 9110 §8.4.1).
                let known = CODINGS.iter().position(|known| {
                    is(known)
                        || (is("x-gzip") && *known == "gzip")
                        || (is("x-compress") && *known == "compress")
                });
                let Some(index) = known else { continue };
                *if quality > 0 { &mut accepted } else { &mut refused } |= 1 << index;
                qualities[index] = qualities[index].or(Some(quality).filter(|quality| *quality > 0));
            }
        }
        if any.is_some_and(|quality| quality > 0) {
            accepted = ALL_CODINGS;
        }
        accepted &= !refused;
        let mut ranked = [0; RANKED.len()];
        for (place, index) in [0, GZIP, ZSTD].into_iter().enumerate() {
            if accepted & (1 << index) != 0 {
                ranked[place] = qualities[index].or(any).unwrap_or(QUALITY_MAX);
            }
        }
        if identity.or(any) == Some(0) {
            accepted |= NO_IDENTITY;
        }
        let plain = identity.unwrap_or_default();
        if ranked.iter().any(|quality| (1..plain).contains(quality)) {
            ranked[IDENTITY] = plain;
        }
        Self { accepted, ranks: ranks_of(ranked) }
    }

    fn rank(self, place: usize) -> u8 {
        (self.ranks >> (2 * place)) & 3
    }

    fn accepts(self, index: usize) -> bool {
        self.accepted & (1 << index) != 0
    }
}

/// The places of those qualities among each other; 0 stands for what is not acceptable.
fn ranks_of(qualities: [u16; RANKED.len()]) -> u8 {
    let is_first = |at: usize| !qualities[..at].contains(&qualities[at]);
    let mut ranks = 0;
    for (place, quality) in qualities.iter().enumerate() {
        let above =
            (0..qualities.len()).filter(|at| qualities[*at] > *quality && is_first(*at)).count() as u8;
        let rank = match (*quality, place) {
            (0, IDENTITY) => RANK_LAST,
            (0, _) => 0,
            _ => above,
        };
        ranks |= rank << (2 * place);
    }
    ranks
}

impl Codings {
    /// Whether a response with this `Content-Encoding` may be sent. Several codings are only where all are acceptable, one
    /// that is not known never.
    pub fn accept(self, response: &HeaderMap) -> bool {
        list_members(response, &header::CONTENT_ENCODING).all(|coding| {
            let known = CODINGS.iter().position(|known| coding.eq_ignore_ascii_case(known.as_bytes()));
            known.is_some_and(|index| self.accepts(index))
        })
    }
}

impl fmt::Display for Codings {
    /// As a field's value.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let prefers =
            (0..RANKED.len()).any(|place| self.rank(place) != if place == IDENTITY { RANK_LAST } else { 0 });
        let weighed = |f: &mut fmt::Formatter<'_>, separator: &str, name: &str| {
            f.write_str(separator)?;
            f.write_str(name)?;
            match RANKED.iter().position(|ranked| *ranked == name) {
                _ if !prefers => Ok(()),
                Some(place) if self.rank(place) == 0 => Ok(()),
                Some(place) => write!(f, ";q=0.{}", 10 - self.rank(place)),
                None => f.write_str(";q=0.5"),
            }
        };
        let mut separator = "";
        for (_, name) in CODINGS.iter().enumerate().filter(|(index, _)| self.accepts(*index)) {
            weighed(f, separator, name)?;
            separator = ",";
        }
        if self.accepted & NO_IDENTITY != 0 {
            f.write_str(separator)?;
            f.write_str("identity;q=0")
        } else if separator.is_empty() || self.rank(IDENTITY) != RANK_LAST {
            weighed(f, separator, "identity")
        } else {
            Ok(())
        }
    }
}

/// Without any white space; none is significant in the fields that this is used for.
fn tight(member: &[u8]) -> Vec<u8> {
    member.iter().filter(|b| !b.is_ascii_whitespace()).copied().collect()
}

/// A media range's type is case-insensitive, its parameters' values may not be.
fn lower_before_parameters(member: &[u8]) -> Vec<u8> {
    let mut text = member.to_vec();
    let end = text.iter().position(|b| *b == b';').unwrap_or(text.len());
    text[..end].make_ascii_lowercase();
    text
}

/// The quality of a member in thousandths (RFC 9110 §12.4.2); [`QUALITY_MAX`] where it is absent or invalid.
fn quality(member: &[u8]) -> u16 {
    let weight = member
        .split(|b| *b == b';')
        .skip(1)
        .map(<[u8]>::trim_ascii)
        .find_map(|parameter| parameter.strip_prefix(b"q=").or_else(|| parameter.strip_prefix(b"Q=")));
    let Some(text) = weight else { return QUALITY_MAX };
    let (whole, fraction) = match text.iter().position(|b| *b == b'.') {
        Some(dot) => (&text[..dot], &text[dot + 1..]),
        None => (text, &[][..]),
    };
    let digits = fraction.len() <= 3 && fraction.iter().all(u8::is_ascii_digit);
    match whole {
        b"0" if digits => {
            let thousandths = [100, 10, 1].iter().zip(fraction);
            thousandths.map(|(place, digit)| place * u16::from(digit - b'0')).sum()
        }
        _ => QUALITY_MAX,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::map;
    use proptest::prelude::*;

    #[test]
    fn a_row_for_each_clause() {
        type Fields = &'static [(&'static str, &'static str)];
        let rows: [(Fields, Fields, Fields, bool); 30] = [
            (&[], &[("accept", "a")], &[("accept", "b")], true),
            (&[("vary", "accept")], &[("accept", "a")], &[("accept", "a")], true),
            (&[("vary", "accept")], &[("accept", "a")], &[("accept", "b")], false),
            (&[("vary", "accept")], &[("accept", "a")], &[], false),
            (&[("vary", "accept")], &[], &[], true),
            (&[("vary", "accept")], &[], &[("accept", "")], false),
            (&[("vary", "ACCEPT")], &[("accept", "a, b")], &[("accept", "a"), ("accept", "b")], true),
            (&[("vary", "accept")], &[("accept", "a ,b")], &[("accept", "a,  b")], true),
            (&[("vary", "accept")], &[("accept", "a,b")], &[("accept", "b,a")], true),
            (&[("vary", "accept")], &[("accept", "A/B;c=D")], &[("accept", "a/b;c=D")], true),
            (&[("vary", "accept")], &[("accept", "a/b;c=D")], &[("accept", "a/b;c=d")], false),
            (&[("vary", "x-a")], &[("x-a", "a,b")], &[("x-a", "b,a")], false),
            (&[("vary", "x-a")], &[("x-a", "a")], &[("x-a", "A")], false),
            (
                &[("vary", "accept-language")],
                &[("accept-language", "en, de;q=0.5")],
                &[("accept-language", "DE; q=0.5,en")],
                true,
            ),
            (
                &[("vary", "accept-language")],
                &[("accept-language", "en, de")],
                &[("accept-language", "de, en")],
                false,
            ),
            (
                &[("vary", "x-a"), ("vary", "x-b")],
                &[("x-a", "1"), ("x-b", "2")],
                &[("x-a", "1"), ("x-b", "3")],
                false,
            ),
            (
                &[("vary", "accept-encoding")],
                &[("accept-encoding", "gzip, br")],
                &[("accept-encoding", "BR,gzip;q=1.0")],
                true,
            ),
            (
                &[("vary", "accept-encoding")],
                &[("accept-encoding", "x-gzip")],
                &[("accept-encoding", "gzip")],
                true,
            ),
            (
                &[("vary", "accept-encoding")],
                &[("accept-encoding", "gzip")],
                &[("accept-encoding", "gzip;q=0")],
                false,
            ),
            (&[("vary", "accept-encoding")], &[("accept-encoding", "gzip")], &[], false),
            (&[("vary", "x-a, x-a")], &[("x-a", "1")], &[("x-a", "1")], true),
            (&[("vary", "x-a")], &[("x-a", "\"a, b\"")], &[("x-a", "\"a,b\"")], false),
            // What is no list by definition is compared byte for byte, lines joined (RFC 9110 §5.3).
            (&[("vary", "x-a")], &[("x-a", "a, b")], &[("x-a", "a,b")], false),
            (&[("vary", "x-a")], &[("x-a", "a,, b")], &[("x-a", "a, b")], false),
            (&[("vary", "x-a")], &[("x-a", "a, b")], &[("x-a", "a"), ("x-a", "b")], true),
            (&[("vary", "x-a")], &[("x-a", "")], &[("x-a", ","), ("x-a", "")], false),
            (
                &[("vary", "user-agent")],
                &[("user-agent", "A (KHTML,  like Gecko,, x)")],
                &[("user-agent", "A (KHTML,like Gecko,x)")],
                false,
            ),
            (&[("vary", "cookie")], &[("cookie", "a=b,c")], &[("cookie", "a=b, c")], false),
            // What is one, without white space and empty members.
            (&[("vary", "prefer")], &[("prefer", "a,, b")], &[("prefer", "a"), ("prefer", "b")], true),
            (&[("vary", "prefer")], &[("prefer", "a=\"b, c\"")], &[("prefer", "a=\"b,c\"")], false),
        ];
        for (response, first, second, same) in rows {
            let names = names(&map(response)).unwrap();
            let selection = Selection::of(&names, &map(first));
            assert_eq!(selection.matches(&map(second)), same, "{response:?} {first:?} {second:?}");
            assert_eq!(
                selection == Selection::of(&names, &map(second)),
                same,
                "{response:?} {first:?} {second:?}"
            );
        }
        assert_eq!(names(&map(&[("vary", "a"), ("vary", "b, A,, c")])).map(|names| names.len()), Some(3));
        assert_eq!(names(&map(&[("vary", "a, *")])), None);
        assert_eq!(names(&map(&[("vary", "a b")])), None);
    }
    #[test]
    fn encodings_that_are_told_apart() {
        for (sent, normal) in [
            ("gzip, deflate, br, zstd", "br,deflate,gzip,zstd"),
            (
                "br;q=1.0, gzip;q=0.8, *;q=0.1",
                "br,compress;q=0.5,dcb;q=0.5,dcz;q=0.5,deflate;q=0.5,gzip;q=0.9,zstd;q=0.8",
            ),
            ("gzip;q=1, br;q=0.1", "br;q=0.9,gzip"),
            ("gzip;q=0.9, br;q=0.2", "br;q=0.9,gzip"),
            ("gzip;q=0.5, br;q=0.5", "br,gzip"),
            ("gzip;q=0.5, deflate;q=0.1", "deflate,gzip"),
            ("gzip, identity", "gzip"),
            ("gzip, identity;q=0.5", "gzip"),
            ("gzip;q=0.5, identity", "gzip;q=0.9,identity"),
            ("br, gzip;q=0.1, identity;q=0.5", "br,gzip;q=0.8,identity;q=0.9"),
            ("gzip;q=0, zstd;q=0.5, identity;q=0.1", "zstd"),
            ("gzip;q=0.001", "gzip"),
            ("gzip;q=0.000, br", "br"),
            ("GZIP ; Q=0", "identity"),
            ("x-gzip", "gzip"),
            ("made-up-123", "identity"),
            ("gzip, made-up", "gzip"),
            ("identity", "identity"),
            ("", "identity"),
            ("gzip, identity;q=0", "gzip,identity;q=0"),
            ("gzip, *;q=0", "gzip,identity;q=0"),
            ("*;q=0, identity", "identity"),
            ("*", "br,compress,dcb,dcz,deflate,gzip,zstd"),
            ("*, gzip;q=0", "br,compress,dcb,dcz,deflate,zstd"),
            ("*;q=0", "identity;q=0"),
        ] {
            assert_eq!(Codings::of(&map(&[("accept-encoding", sent)])).to_string(), normal, "{sent}");
        }
    }

    #[test]
    fn what_is_acceptable() {
        let accept = |sent: &str, coded: &[(&str, &str)]| {
            Codings::of(&map(&[("accept-encoding", sent)])).accept(&map(coded))
        };
        assert!(accept("gzip", &[]) && accept("gzip", &[("content-encoding", "GZIP")]));
        assert!(!accept("gzip", &[("content-encoding", "br")]));
        assert!(!accept("gzip", &[("content-encoding", "br, gzip")]));
        assert!(!accept("x-own", &[("content-encoding", "x-own")]));
        assert!(!Codings::of(&map(&[])).accept(&map(&[("content-encoding", "gzip")])));
    }

    #[test]
    fn qualities() {
        for (member, expected) in [
            ("a", 1_000),
            ("a;q=1", 1_000),
            ("a;q=1.000", 1_000),
            ("a;q=0", 0),
            ("a;Q=0.5", 500),
            ("a;q=0.05", 50),
            ("a;q=0.999", 999),
            ("a;q=0.", 0),
            ("a;q=2", 1_000),
            ("a;q=0.1234", 1_000),
            ("a;q=", 1_000),
        ] {
            assert_eq!(quality(member.as_bytes()), expected, "{member}");
        }
    }

    proptest! {
        /// Comparing finds what comparing the normal forms would find.
        #[test]
        fn comparing_makes_no_difference(
            first in "((a/b|A/b|c)(;q=0\\.[12]|;X=y)?,? ?){0,5}", second in "((a/b|A/b|c)(;q=0\\.[12]|;X=y)?,? ?){0,20}",
        ) {
            for name in [header::ACCEPT, header::ACCEPT_LANGUAGE, header::FORWARDED, header::ORIGIN] {
                let fields = |text: &str| map(&[(name.as_str(), text)]);
                let names = std::slice::from_ref(&name);
                let (held, asked) =
                    (Selection::of(names, &fields(&first)), Selection::of(names, &fields(&second)));
                prop_assert_eq!(held.matches(&fields(&second)), held == asked, "{}", name);
                prop_assert!(held.matches(&fields(&first)), "{}", name);
            }
        }

        /// The normal form selects what the field selects: it is its own normal form, and there are few of them.
        #[test]
        fn a_normal_form_stays(text in "((gzip|br|zstd|x|identity|\\*)(;q=(0|1|0\\.[258]))?, ?){0,5}") {
            let once = Codings::of(&map(&[("accept-encoding", &text)]));
            prop_assert_eq!(Codings::of(&map(&[("accept-encoding", &once.to_string())])), once);
        }
    }
}
