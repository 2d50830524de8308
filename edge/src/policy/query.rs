//! Which parts of a query belong to the key (RFC 9111 §2 leaves more than the URI to the cache; less only an operator
//! may say). What is left out of the key is left out of the URI that is forwarded, so that no response depends on what
//! did not choose it.

use std::borrow::Cow;

/// Which query parameters count.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum QueryKey {
    /// The whole query, byte for byte.
    #[default]
    Whole,
    /// All but parameters of these names; a name may end in `*`.
    Without(Vec<String>),
    /// Only parameters of these names; a name may end in `*`.
    Only(Vec<String>),
}

impl QueryKey {
    /// The target (path and query) that is keyed and forwarded. Parameters keep their order and spelling; a query that
    /// loses all of them loses its `?`. An empty query that was sent stays.
    pub fn target<'a>(&self, target: &'a str) -> Cow<'a, str> {
        let (names, keep) = match self {
            Self::Whole => return Cow::Borrowed(target),
            Self::Without(names) => (names, false),
            Self::Only(names) => (names, true),
        };
        let Some((path, query)) = target.split_once('?') else { return Cow::Borrowed(target) };
        let counts = |parameter: &&str| {
            let name = parameter.split('=').next().unwrap_or_default();
            names.iter().any(|wanted| named(wanted, name)) == keep
        };
        if query.split('&').all(|parameter| counts(&parameter)) {
            return Cow::Borrowed(target);
        }
        let kept: Vec<&str> = query.split('&').filter(counts).collect();
        if kept.is_empty() { Cow::Borrowed(path) } else { Cow::Owned(format!("{path}?{}", kept.join("&"))) }
    }
}

fn named(wanted: &str, name: &str) -> bool {
    match wanted.strip_suffix('*') {
        Some(beginning) => name.starts_with(beginning),
        None => name == wanted,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_row_for_each_kind() {
        let without = QueryKey::Without(vec!["utm_*".into(), "fbclid".into()]);
        let only = QueryKey::Only(vec!["page".into()]);
        let rows: [(&QueryKey, &str, &str); 12] = [
            (&QueryKey::Whole, "/a?utm_source=x", "/a?utm_source=x"),
            (&without, "/a", "/a"),
            (&without, "/a?", "/a?"),
            (&without, "/a?page=2", "/a?page=2"),
            (&without, "/a?utm_source=x", "/a"),
            (&without, "/a?utm_source=x&page=2&fbclid", "/a?page=2"),
            (&without, "/a?FBCLID=x", "/a?FBCLID=x"),
            (&without, "/a?b?fbclid=x&c", "/a?b?fbclid=x&c"),
            (&only, "/a?page=2&x=1&page=3", "/a?page=2&page=3"),
            (&only, "/a?x=1", "/a"),
            (&only, "/a?pages=1", "/a"),
            (&only, "/a", "/a"),
        ];
        for (key, target, expected) in rows {
            assert_eq!(key.target(target), expected, "{key:?} {target}");
        }
    }

    proptest! {
        #[test]
        fn what_is_keyed_is_keyed_again_the_same(target in "/[a-z]{0,3}(\\?([ab]{0,2}(=[a-z]?)?&?){0,5})?") {
            for key in [QueryKey::Without(vec!["a*".into()]), QueryKey::Only(vec!["b".into()])] {
                let once = key.target(&target).into_owned();
                prop_assert_eq!(key.target(&once).into_owned(), once.clone());
                prop_assert!(once.len() <= target.len());
            }
        }
    }
}
