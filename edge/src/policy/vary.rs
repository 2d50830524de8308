//! Which stored variant a request selects (RFC 9111 §4.1), with fields compared in a normal form.

use http::{HeaderMap, HeaderName, header};

use super::directives::list_members;

/// The request fields that a response was chosen by, normalised, with the names in order. Two requests with
/// equal values select the same variant.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Selection(Vec<(HeaderName, Option<Vec<u8>>)>);

impl Selection {
    /// The values that `request` has for `names`.
    pub fn of(names: &[HeaderName], request: &HeaderMap) -> Self {
        Self(names.iter().map(|name| (name.clone(), normal(name, request))).collect())
    }

    /// Whether `request` selects the variant that was stored with these values.
    pub fn matches(&self, request: &HeaderMap) -> bool {
        self.0.iter().all(|(name, value)| normal(name, request) == *value)
    }

    /// Whether the response varied at all.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Bytes this takes in memory, for the cache's accounting.
    pub fn bytes(&self) -> usize {
        self.0.iter().map(|(name, value)| 64 + name.as_str().len() + value.as_ref().map_or(0, Vec::len)).sum()
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

/// The normal form of a request field: lines combined, white space around commas gone (RFC 9111 §4.1). For
/// `Accept-Encoding`, whose order means nothing, also sorted, lower case and without `;q=1`.
fn normal(name: &HeaderName, request: &HeaderMap) -> Option<Vec<u8>> {
    if !request.contains_key(name) {
        return None;
    }
    if name == header::ACCEPT_ENCODING {
        return Some(accept_encoding(request));
    }
    let mut out = Vec::new();
    for (index, member) in list_members(request, name).enumerate() {
        if index > 0 {
            out.push(b',');
        }
        out.extend_from_slice(member);
    }
    Some(out)
}

fn accept_encoding(request: &HeaderMap) -> Vec<u8> {
    let mut codings: Vec<Vec<u8>> = list_members(request, &header::ACCEPT_ENCODING)
        .map(|member| {
            let mut text: Vec<u8> = member.iter().filter(|b| !b.is_ascii_whitespace()).copied().collect();
            text.make_ascii_lowercase();
            for one in [&b";q=1.000"[..], b";q=1.00", b";q=1.0", b";q=1"] {
                if text.ends_with(one) {
                    text.truncate(text.len() - one.len());
                    break;
                }
            }
            match text.strip_prefix(b"x-") {
                // x-gzip and x-compress are gzip and compress (RFC 9110 §8.4.1).
                Some(rest) if rest.starts_with(b"gzip") || rest.starts_with(b"compress") => rest.to_vec(),
                _ => text,
            }
        })
        .collect();
    codings.sort();
    codings.dedup();
    codings.join(&b","[..])
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    fn map(fields: &[(&str, &str)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in fields {
            map.append(
                HeaderName::from_bytes(name.as_bytes()).unwrap(),
                HeaderValue::from_str(value).unwrap(),
            );
        }
        map
    }

    #[test]
    fn a_row_for_each_clause() {
        type Fields = &'static [(&'static str, &'static str)];
        let rows: [(Fields, Fields, Fields, bool); 16] = [
            (&[], &[("accept", "a")], &[("accept", "b")], true),
            (&[("vary", "accept")], &[("accept", "a")], &[("accept", "a")], true),
            (&[("vary", "accept")], &[("accept", "a")], &[("accept", "b")], false),
            (&[("vary", "accept")], &[("accept", "a")], &[], false),
            (&[("vary", "accept")], &[], &[], true),
            (&[("vary", "accept")], &[], &[("accept", "")], false),
            (&[("vary", "ACCEPT")], &[("accept", "a, b")], &[("accept", "a"), ("accept", "b")], true),
            (&[("vary", "accept")], &[("accept", "a ,b")], &[("accept", "a,  b")], true),
            (&[("vary", "accept")], &[("accept", "a,b")], &[("accept", "b,a")], false),
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
        ];
        for (response, first, second, same) in rows {
            let names = names(&map(response)).unwrap();
            let selection = Selection::of(&names, &map(first));
            assert_eq!(selection.matches(&map(second)), same, "{response:?} {first:?} {second:?}");
        }
        assert_eq!(names(&map(&[("vary", "a, *")])), None);
        assert_eq!(names(&map(&[("vary", "a b")])), None);
    }
}
