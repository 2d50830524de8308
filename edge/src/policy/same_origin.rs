//! References that lead to another resource of the same origin: what an unsafe request makes invalid beside its target.

use http::{HeaderMap, header};
use release::url;

/// Where a request's URI begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Scheme {
    /// `http`
    #[default]
    Http,
    /// `https`, as a trusted proxy says that it took the request.
    Https,
}

impl Scheme {
    /// Its name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }

    /// By name, in any case.
    pub fn named(name: &[u8]) -> Option<Self> {
        [Self::Http, Self::Https].into_iter().find(|it| name.eq_ignore_ascii_case(it.as_str().as_bytes()))
    }

    /// A host in lower case, without this scheme's default port.
    pub fn authority(self, host: &str) -> String {
        self.bare(host).to_ascii_lowercase()
    }

    /// The same behind the scheme: `scheme://authority`.
    pub fn origin(self, host: &str) -> String {
        let mut origin = [self.as_str(), "://", self.bare(host)].concat();
        origin.make_ascii_lowercase();
        origin
    }

    /// A host without this scheme's default port, which changes nothing (RFC 9110 §4.2.3).
    pub fn bare(self, host: &str) -> &str {
        let port = match self {
            Self::Http => ":80",
            Self::Https => ":443",
        };
        host.strip_suffix(port).or_else(|| host.strip_suffix(':')).unwrap_or(host)
    }
}

/// The target (path and query) that a reference leads to from a request's own, where that is of the same origin: scheme,
/// host and port (RFC 9110 §4.3.1, RFC 3986 §5.2). `authority` is normal (see [`Scheme::authority`]).
pub fn same_origin(reference: &str, scheme: Scheme, authority: &str, target: &str) -> Option<String> {
    let reference = reference.split('#').next().unwrap_or_default();
    let path = target.split('?').next().unwrap_or_default();
    let with_colon = reference.find(':').filter(|colon| {
        let before = &reference.as_bytes()[..*colon];
        before.first().is_some_and(u8::is_ascii_alphabetic)
            && before.iter().all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(b))
    });
    let rest = match with_colon {
        Some(colon) => {
            if Scheme::named(&reference.as_bytes()[..colon]) != Some(scheme) {
                return None;
            }
            let rest = &reference[colon + 1..];
            if !rest.starts_with("//") {
                return None;
            }
            rest
        }
        None => reference,
    };
    let relative = if let Some(after) = rest.strip_prefix("//") {
        let end = after.find(['/', '?']).unwrap_or(after.len());
        if scheme.authority(&after[..end]) != authority {
            return None;
        }
        &after[end..]
    } else if rest.is_empty() {
        return Some(target.to_owned());
    } else if let Some(query) = rest.strip_prefix('?') {
        return Some(format!("{path}?{query}"));
    } else if rest.starts_with('/') {
        rest
    } else {
        let folder = path.rfind('/').map_or("/", |at| &path[..=at]);
        return Some(without_dots(&format!("{folder}{rest}")));
    };
    if relative.starts_with('/') {
        Some(without_dots(relative))
    } else {
        Some(without_dots(&format!("/{relative}")))
    }
}

/// A target without the dot segments of its path.
fn without_dots(target: &str) -> String {
    let (path, query) = target.split_at(target.find('?').unwrap_or(target.len()));
    format!("{}{query}", url::without_dots(path))
}

/// The targets, beside the request's own, that a successful unsafe request makes invalid: `Location` and
/// `Content-Location` of the same origin (RFC 9111 §4.4).
pub fn also_invalidated(response: &HeaderMap, scheme: Scheme, authority: &str, target: &str) -> Vec<String> {
    [header::LOCATION, header::CONTENT_LOCATION]
        .iter()
        .flat_map(|name| response.get_all(name))
        .filter_map(|value| value.to_str().ok())
        .filter_map(|reference| same_origin(reference, scheme, authority, target))
        .collect()
}

/// Whether a response says that it is what a GET of the request's own URI would bring (RFC 9110 §8.7, §9.3.3), and of no other.
pub fn is_located(response: &HeaderMap, scheme: Scheme, authority: &str, target: &str) -> bool {
    let mut locations = response.get_all(header::CONTENT_LOCATION).iter();
    locations
        .next()
        .filter(|_| locations.next().is_none())
        .and_then(|value| value.to_str().ok())
        .and_then(|reference| same_origin(reference, scheme, authority, target))
        .is_some_and(|located| located == target)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::policy::map;

    #[test]
    fn references_resolve_within_the_origin() {
        let rows: [(&str, Option<&str>); 29] = [
            ("/a?b", Some("/a?b")),
            ("/a#f", Some("/a")),
            ("", Some("/dir/page?q")),
            ("#f", Some("/dir/page?q")),
            ("?r", Some("/dir/page?r")),
            ("x", Some("/dir/x")),
            ("x/y?z", Some("/dir/x/y?z")),
            ("./x", Some("/dir/x")),
            ("../x", Some("/x")),
            ("../../x", Some("/x")),
            (".", Some("/dir/")),
            ("..", Some("/")),
            ("/a/./b/../c", Some("/a/c")),
            ("/a/..", Some("/")),
            ("/a?x=../y", Some("/a?x=../y")),
            ("//h/a", Some("/a")),
            ("//h:80/a", Some("/a")),
            ("//H", Some("/")),
            ("//h?x", Some("/?x")),
            ("//h:81/a", None),
            ("http://h/a", Some("/a")),
            ("HTTP://H:80/a", Some("/a")),
            ("http://h:/a", Some("/a")),
            ("https://h/a", None),
            ("http://evil/a", None),
            ("http://h@evil/a", None),
            ("http:a", None),
            ("mailto:a@h", None),
            ("x:y", None),
        ];
        for (reference, expected) in rows {
            let got = same_origin(reference, Scheme::Http, "h", "/dir/page?q");
            assert_eq!(got.as_deref(), expected, "{reference}");
        }
        assert_eq!(same_origin("https://h:443/a", Scheme::Https, "h", "/").as_deref(), Some("/a"));
        assert_eq!(same_origin("http://h/a", Scheme::Https, "h", "/"), None);
    }

    #[test]
    fn invalidation_stays_within_the_origin() {
        let also = |fields: &[(&str, &str)]| also_invalidated(&map(fields), Scheme::Http, "h", "/d/p");
        assert_eq!(also(&[("location", "http://h:80/a"), ("content-location", "c")]), ["/a", "/d/c"]);
        assert!(also(&[("location", "https://h/a"), ("content-location", "//evil/c")]).is_empty());
        assert_eq!(
            also(&[("location", "/a"), ("location", "/b"), ("content-location", "c")]),
            ["/a", "/b", "/d/c"]
        );
        let twice = map(&[("content-location", "/d/p?q"), ("content-location", "/c")]);
        assert!(!is_located(&twice, Scheme::Http, "h", "/d/p?q"));
        let located = |at: &str| is_located(&map(&[("content-location", at)]), Scheme::Http, "h", "/d/p?q");
        assert!(located("/d/p?q") && located("http://h/d/p?q") && located("p?q"));
        assert!(
            !located("/d/p") && !located("https://h/d/p?q") && !is_located(&map(&[]), Scheme::Http, "h", "/")
        );
    }

    proptest! {
        /// What a reference leads to is a path of this origin without dot segments, whatever the reference.
        #[test]
        fn no_reference_leads_outside(reference in "[a-c./?#:]{0,12}") {
            if let Some(target) = same_origin(&reference, Scheme::Http, "h", "/a/b") {
                prop_assert!(target.starts_with('/'));
                let path = target.split('?').next().unwrap_or_default();
                let from_path = !path.is_empty();
                prop_assert!(from_path && !path.split('/').any(|segment| segment == "." || segment == ".."));
            }
        }
    }
}
