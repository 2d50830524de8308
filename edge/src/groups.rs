//! The cache groups of a response (RFC 9875), and the fields by which others name them.

use std::borrow::Cow;

use http::{HeaderMap, HeaderName};
use release::answer;

use crate::policy::directives::structured;

const CACHE_GROUPS: HeaderName = HeaderName::from_static(answer::CACHE_GROUPS);
const CACHE_GROUP_INVALIDATION: HeaderName = HeaderName::from_static("cache-group-invalidation");
const SURROGATE_KEY: HeaderName = HeaderName::from_static("surrogate-key");
const CACHE_TAG: HeaderName = HeaderName::from_static("cache-tag");

/// The groups of a stored response, as they are kept.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Groups<'a>(&'a str);

/// What stands between two groups, and in none: no field has one.
const BETWEEN: char = '\n';

impl<'a> Groups<'a> {
    /// As one text.
    pub(crate) fn join(groups: &[Box<str>]) -> String {
        let mut text = String::new();
        for group in groups.iter().filter(|group| !group.is_empty()) {
            if !text.is_empty() {
                text.push(BETWEEN);
            }
            text.push_str(group);
        }
        text
    }

    /// From that text.
    pub(crate) fn joined(text: &'a str) -> Self {
        Self(text)
    }

    pub(crate) fn iter(self) -> impl Iterator<Item = &'a str> {
        self.0.split(BETWEEN).filter(|group| !group.is_empty())
    }

    pub(crate) fn contains(self, wanted: &str) -> bool {
        self.iter().any(|group| group == wanted)
    }
}

/// The groups that a response to an unsafe request invalidates (RFC 9875 §3).
pub(crate) fn invalidated_groups(head: &HeaderMap) -> Vec<Box<str>> {
    strings(head, &CACHE_GROUP_INVALIDATION)
}

/// The strings of a structured list; one that cannot be read counts as absent (RFC 9651 §4.2).
fn strings(head: &HeaderMap, name: &HeaderName) -> Vec<Box<str>> {
    let mut strings: Vec<Box<str>> = Vec::new();
    let text = structured(head, name);
    if text.is_empty() {
        return strings;
    }
    if let Ok(list) = sfv::Parser::new(&text).parse::<sfv::List>() {
        for member in list {
            if let sfv::ListEntry::Item(item) = member
                && let sfv::BareItem::String(name) = item.bare_item
            {
                strings.push(name.as_str().into());
            }
        }
    }
    strings
}

/// The cache groups of a response: `Cache-Groups` (RFC 9875 §2); of an upstream's also `Surrogate-Key` (by spaces)
/// and `Cache-Tag` (by commas). However many a head has room for: a purge of one that is not kept would do nothing.
pub(crate) fn groups_of(head: &HeaderMap, of_site: bool) -> Vec<Box<str>> {
    let mut groups = strings(head, &CACHE_GROUPS);
    if !of_site {
        for keys in texts(head, &SURROGATE_KEY) {
            groups.extend(keys.split_ascii_whitespace().map(|key| key.trim_end_matches(',').into()));
        }
        for tags in texts(head, &CACHE_TAG) {
            groups.extend(tags.split(',').map(str::trim).filter(|tag| !tag.is_empty()).map(Into::into));
        }
    }
    groups
}

/// The lines of a field as texts. What is no UTF-8 is Latin-1, which fields once were (RFC 9110 §5.5).
fn texts<'a>(head: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = Cow<'a, str>> {
    head.get_all(name).iter().map(|line| match std::str::from_utf8(line.as_bytes()) {
        Ok(text) => Cow::Borrowed(text),
        Err(_) => line.as_bytes().iter().copied().map(char::from).collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    #[test]
    fn a_row_for_each_field() {
        let of = |fields: &[(&'static str, &str)], of_site: bool| {
            let mut map = HeaderMap::new();
            for (name, value) in fields {
                map.append(*name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
            }
            groups_of(&map, of_site).iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        assert_eq!(of(&[("cache-groups", "\"a\", \"B c\";x=1")], true), ["a", "B c"]);
        assert_eq!(of(&[("cache-groups", "\"a\""), ("cache-groups", "\"b\"")], false), ["a", "b"]);
        // What is no string is no group, and a broken list has none.
        assert_eq!(of(&[("cache-groups", "a, \"b\", 3, (\"c\")")], false), ["b"]);
        assert!(of(&[("cache-groups", "\"a\", ,")], false).is_empty());
        assert!(of(&[("cache-groups", "\"a\""), ("cache-groups", "\"é\"")], false).is_empty());
        assert!(of(&[("cache-groups", "\"a\""), ("cache-groups", "\"b")], false).is_empty());
        assert_eq!(
            of(&[("surrogate-key", "a  b, c"), ("cache-tag", "d, e f,")], false),
            ["a", "b", "c", "d", "e f"]
        );
        assert!(of(&[("surrogate-key", "a"), ("cache-tag", "b")], true).is_empty());
        // A tag in another script keeps its neighbours, and itself, from nobody.
        assert_eq!(
            of(&[("cache-tag", "café, home"), ("surrogate-key", "ключ a")], false),
            ["ключ", "a", "café", "home"]
        );
        let mut map = HeaderMap::new();
        map.insert("cache-tag", HeaderValue::from_bytes(b"caf\xe9, home").unwrap());
        assert_eq!(*groups_of(&map, false), ["café".into(), "home".into()]);
        // As many as a head has room for.
        let many = (0..1_500).map(|n| format!("\"{n:032}\"")).collect::<Vec<_>>().join(", ");
        let groups = of(&[("cache-groups", &many)], false);
        assert_eq!((groups.len(), groups[31].len()), (1_500, 32));
        let mut map = HeaderMap::new();
        map.insert("cache-group-invalidation", HeaderValue::from_str(&many).unwrap());
        assert_eq!(invalidated_groups(&map).len(), 1_500);
    }
}
