//! What parses bytes, each as a function of bytes alone, for the fuzzers in `fuzz/`. A property that does not hold is a
//! panic.

use std::net::SocketAddr;

use bytes::BytesMut;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};

use crate::{
    groups::{Groups, groups_of, invalidated_groups},
    head_block::{Commons, HeadBlock},
    http1::{
        decoder::{Decoder, Part},
        head::{self, Framing},
        target,
    },
    key::Key,
    policy::{
        date,
        directives::{Control, RequestDirectives},
        forward,
        forwarded::{self, Believed},
        freshness::{Freshness, Receipt},
        query::QueryKey,
        range::{self, ContentRange, Onward, Ranged, ranged},
        reuse::{ClientValidation, reuse},
        rules::Rules,
        same_origin::{self, Scheme},
        storing::{Asked, storing, strip_for_storage},
        validate::{self, Tag},
        vary::{self, Selection},
    },
    proxy_protocol,
    purge::{Applied, Subject},
    upstream::message::{self, Ending},
};

/// The longest content that is asked for in a range.
const LENGTH_MAX: u64 = 1 << 40;
const WALL: i64 = 1_790_000_000;

/// A request's head: however it is cut, the same comes of it, and what is taken can be judged.
pub fn request_head(bytes: &[u8]) {
    let whole = head_length(bytes);
    for cut in 0..bytes.len().min(512) {
        match (whole, head_length(&bytes[..cut])) {
            (_, Ok(None)) | (Err(()), Err(())) => {}
            (Ok(Some(length)), Ok(Some(early))) => assert!(length == early && cut >= length),
            (whole, early) => panic!("{whole:?} but {early:?} at {cut}"),
        }
    }
    let mut room = head::room();
    let Ok(Some(head)) = head::parse(bytes, &mut room) else { return };
    let local: SocketAddr = ([127, 0, 0, 1], 80).into();
    let asked = target::of(&head, local);
    let (Ok(_), Ok(fields), Ok((_, asked, host))) = (head.wire(), head.map(), asked) else { return };
    assert!(fields.len() == head.fields.len() && host == host.to_ascii_lowercase());
    if let target::Target::Path(path) = asked {
        assert!(path.starts_with('/') && path.bytes().all(|b| b > b' ' && b != 0x7f));
    }
    forward::is_loop(&fields, "edge");
    forward::max_forwards(&Method::OPTIONS, &fields);
    Believed::of(&fields);
    forwarded::client(&fields, |_| true);
    tell_hops(fields);
}

/// No hop says another host than the one that is keyed.
fn tell_hops(mut fields: HeaderMap) {
    forwarded::tell(&mut fields, None, Scheme::Http, "h");
    let told = fields.get(header::FORWARDED).map_or(&[][..], HeaderValue::as_bytes).to_ascii_lowercase();
    let ends = [&b"h;"[..], b"h,"];
    for at in memchr::memmem::find_iter(&told, b"host=") {
        let rest = &told[at + 5..];
        assert!(rest == b"h" || ends.iter().any(|end| rest.starts_with(end)), "{told:?}");
    }
}

/// The head of an upstream's response: however it is cut, the same comes of it, and none that ends with its connection is followed by
/// another.
pub fn response_head(bytes: &[u8]) {
    for method in [Method::GET, Method::HEAD] {
        let parsed = |bytes: &[u8]| message::parse(&mut bytes.to_vec(), &method);
        let whole = parsed(bytes);
        for cut in 0..bytes.len().min(512) {
            match (&whole, parsed(&bytes[..cut])) {
                (_, Ok(None)) | (Err(_), Err(_)) => {}
                (Ok(Some(head)), Ok(Some(early))) => assert!(head.bytes == early.bytes && cut >= head.bytes),
                (whole, early) => panic!("{whole:?} but {early:?} at {cut}"),
            }
        }
        if let Ok(Some(head)) = whole {
            assert!(head.bytes <= bytes.len() && !(head.keep_alive && head.ending == Ending::Close));
            forward::misframed(&head.headers);
        }
    }
}

fn head_length(bytes: &[u8]) -> Result<Option<usize>, ()> {
    let mut room = head::room();
    head::parse(bytes, &mut room).map(|head| head.map(|head| head.bytes)).map_err(drop)
}

/// Chunks: fed at once or byte by byte, the same content comes of them, and the same rest is left.
pub fn chunked_content(bytes: &[u8]) {
    let decode = |step: usize| {
        let (mut decoder, mut buffer) = (Decoder::new(Framing::Chunked), BytesMut::new());
        let (mut content, mut trailers) = (Vec::new(), HeaderMap::new());
        for (index, part) in bytes.chunks(step).enumerate() {
            buffer.extend_from_slice(part);
            loop {
                match decoder.decode(&mut buffer) {
                    Ok(Part::Data(data)) => content.extend_from_slice(&data),
                    Ok(Part::Trailers(fields)) => trailers = fields,
                    Ok(Part::Wait) => break,
                    Ok(Part::End) => {
                        let used = (index * step + part.len()) - buffer.len();
                        return Some(Ok((content, trailers, used)));
                    }
                    Err(_) => return Some(Err(())),
                }
            }
        }
        None
    };
    assert_eq!(decode(bytes.len().max(1)), decode(1));
}

/// A response's fields, lines of `name: value`: all that policy reads of them, and how they are stored.
pub fn response_fields(bytes: &[u8]) {
    let fields = fields_of(bytes);
    let rules = Rules::default();
    let control = Control::of(&fields, &rules.targets);
    for status in [StatusCode::OK, StatusCode::PARTIAL_CONTENT, StatusCode::NOT_FOUND] {
        let receipt = Receipt { asked: 1_000, got: 2_000, wall: WALL };
        let freshness = Freshness::of(status, &fields, &control, receipt, rules.s_maxage);
        let asked = Asked {
            method: &Method::GET,
            authorized: false,
            directives: RequestDirectives::default(),
            is_located: false,
        };
        let may_store = storing(asked, status, &fields, &control, &freshness, &rules);
        let decided = reuse(&freshness, None, RequestDirectives::default(), ClientValidation::Ignored, 3_000);
        assert!(may_store.is_err() || !decided.clause().is_empty());
        assert!(u64::from(freshness.age_seconds(u64::MAX)) <= 1 << 31);
    }
    let mut stored = fields.clone();
    strip_for_storage(&mut stored, &control);
    let key = Key::of_upstream(Scheme::Http, "h", "/");
    let common = Commons::default().of(&key, &stored, false);
    let mut own = Vec::new();
    let places = HeadBlock::write(&stored, false, &mut own);
    assert_eq!(HeadBlock::new(&own, places, &common).map(), stored);
    let groups = groups_of(&stored, false);
    let joined = Groups::join(&groups);
    assert!(groups.iter().all(|group| group.is_empty() || Groups::joined(&joined).contains(group)));
    invalidated_groups(&fields);
    validate::update(&stored, &fields);
    validate::selected(&fields, &fields, &[&stored]);
    Tag::of(&fields);
    same_origin::also_invalidated(&fields, Scheme::Http, "h", "/a");
    if let Some(part) = ContentRange::of(&fields) {
        assert!(part.span.start < part.span.end);
        if let Some(value) = part.to_value() {
            let again = HeaderMap::from_iter([(header::CONTENT_RANGE, value)]);
            assert_eq!(ContentRange::of(&again), Some(part));
        }
    }
}

/// A request's fields against a stored response with the same: conditions, directives, ranges, variants.
pub fn request_fields(bytes: &[u8]) {
    let fields = fields_of(bytes);
    RequestDirectives::parse(&fields);
    validate::conditional(&fields, &fields, WALL, WALL);
    if let Some(names) = vary::names(&fields) {
        assert!(Selection::of(&names, &fields).matches(&fields));
    }
    let length = bytes.iter().fold(0u64, |sum, byte| (sum * 31 + u64::from(*byte)) % LENGTH_MAX);
    let within = |span: &crate::policy::range::Span| assert!(span.start < span.end && span.end <= length);
    let mut lines = fields.get_all(header::RANGE).iter();
    if let (Some(line), None, false) = (lines.next(), lines.next(), fields.contains_key(header::IF_RANGE))
        && let Some(span) = range::only(line.as_bytes(), length)
    {
        assert_eq!(ranged(&fields, &HeaderMap::new(), length), Ranged::Part(span));
    }
    if let Onward::Instead(value) = range::onward(&fields) {
        let again = HeaderMap::from_iter([(header::RANGE, value)]);
        assert_eq!(range::onward(&again), Onward::AsIs);
    }
    match ranged(&fields, &HeaderMap::new(), length) {
        Ranged::Whole | Ranged::Unsatisfiable => {}
        Ranged::Part(span) => within(&span),
        Ranged::Parts(spans) => {
            spans.iter().for_each(within);
            assert!(spans.iter().map(|span| span.bytes()).sum::<u64>() <= length);
        }
    }
}

/// A PROXY protocol header: no beginning of one is another.
pub fn proxy_header(bytes: &[u8]) {
    if let proxy_protocol::Parsed::Header { bytes: length, .. } = proxy_protocol::parse(bytes) {
        assert!(length <= bytes.len());
        for cut in 0..length.min(512) {
            let early = proxy_protocol::parse(&bytes[..cut]);
            assert!(matches!(early, proxy_protocol::Parsed::Partial), "{early:?} at {cut}");
        }
    }
}

/// A purge's selector, and the key that it is compared with: two texts, one after the other.
pub fn selectors(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let (selector, target) = text.split_once('\n').unwrap_or((text, "/"));
    let key = Key::of_upstream(Scheme::Http, "h", target);
    for kind in [
        release::journal::Selector::Url(selector.to_owned()),
        release::journal::Selector::Prefix(selector.to_owned()),
        release::journal::Selector::Group(selector.to_owned()),
    ] {
        Applied::purge(None, &[kind], None).mark(&Subject::new(key.borrowed(), None));
    }
    // What is spelled as a path covers itself.
    if target.starts_with('/') && !target.contains(['?', '#']) {
        let own = release::journal::Selector::Url(target.to_owned());
        assert!(Applied::purge(None, &[own], None).mark(&Subject::new(key.borrowed(), None)).is_some());
    }
    same_origin::same_origin(selector, Scheme::Http, "h", target);
    date::parse(bytes, WALL);
}

/// A key of queries, its first line, and a target: what is left is nothing that was not there, and is keyed the same again.
pub fn query_key(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let (names, target) = text.split_once('\n').unwrap_or(("", text));
    let names: Vec<String> = names.split(',').map(str::to_owned).collect();
    let parameters = |target: &str| -> Vec<String> {
        let query = target.split_once('?').map(|(_, query)| query);
        query.into_iter().flat_map(|query| query.split('&')).map(str::to_owned).collect()
    };
    let (without, only) = (QueryKey::Without(names.clone()), QueryKey::Only(names));
    let mut kept = 0;
    for key in [&without, &only] {
        let once = key.target(target);
        assert_eq!(key.target(&once), once);
        assert_eq!(once.split('?').next(), target.split('?').next());
        let (all, left) = (parameters(target), parameters(&once));
        let mut rest = all.iter();
        assert!(left.iter().all(|parameter| rest.any(|other| other == parameter)), "{target} to {once}");
        // A query that nothing is left of may stay as an empty one.
        kept += left.iter().filter(|parameter| !parameter.is_empty()).count();
    }
    // Each parameter counts by one of the two.
    assert_eq!(kept, parameters(target).iter().filter(|parameter| !parameter.is_empty()).count());
    assert_eq!(QueryKey::Whole.target(target), target);
}

fn fields_of(bytes: &[u8]) -> HeaderMap {
    let mut fields = HeaderMap::new();
    for line in bytes.split(|byte| *byte == b'\n').take(head::FIELDS_MAX) {
        let Some(colon) = line.iter().position(|byte| *byte == b':') else { continue };
        let (name, value) = (HeaderName::from_bytes(&line[..colon]), line[colon + 1..].trim_ascii());
        if let (Ok(name), Ok(value)) = (name, HeaderValue::from_bytes(value)) {
            fields.append(name, value);
        }
    }
    fields
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ALL: [fn(&[u8]); 8] = [
        request_head,
        response_head,
        chunked_content,
        response_fields,
        request_fields,
        proxy_header,
        selectors,
        query_key,
    ];

    proptest! {
        #[test]
        fn nothing_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            for parse in ALL {
                parse(&bytes);
            }
        }

        #[test]
        fn responses_are_framed(
            text in "HTTP/1[.][0-9] [1-5]0[0-9]( [a-z]?)?\r?\n((content-length|transfer-encoding|connection|x) ?: ?(0|3|3, 3|chunked|close|gzip)\r?\n){0,4}\r\nabc"
        ) {
            response_head(text.as_bytes());
        }

        #[test]
        fn queries_are_keyed(text in "([ab*]{0,2},){0,2}[ab*]{0,2}\n/[?]?(([ab]{0,2}(=[ab?]?)?)&){0,4}[ab]?") {
            query_key(text.as_bytes());
        }

        #[test]
        fn nothing_panics_on_text(text in "([a-z-]{1,20}: [ -~]{0,40}\n){0,6}") {
            for parse in ALL {
                parse(text.as_bytes());
            }
        }
    }
}
