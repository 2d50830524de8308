//! The cache groups of a response (RFC 9875), and the fields by which others name them.

use http::{HeaderMap, HeaderName};
use release::answer;

use crate::inbound::joined;

/// The cache groups of a response: `Cache-Groups` (RFC 9875 §2); of an upstream's also `Surrogate-Key` (by spaces)
/// and `Cache-Tag` (by commas).
pub(crate) fn groups_of(head: &HeaderMap, of_site: bool) -> Vec<Box<str>> {
    /// Groups of one response that are kept; RFC 9875 §2.1 asks for at least 32.
    const GROUPS_MAX: usize = 256;
    let mut groups: Vec<Box<str>> = Vec::new();
    let text = joined(head, &HeaderName::from_static(answer::CACHE_GROUPS)).unwrap_or_default();
    if let Ok(list) = sfv::Parser::new(&text).parse::<sfv::List>() {
        for member in list {
            if let sfv::ListEntry::Item(item) = member
                && let sfv::BareItem::String(name) = item.bare_item
            {
                groups.push(name.as_str().into());
            }
        }
    }
    if !of_site {
        let keys = joined(head, &HeaderName::from_static("surrogate-key")).unwrap_or_default();
        groups.extend(keys.split_ascii_whitespace().map(|key| key.trim_end_matches(',').into()));
        let tags = joined(head, &HeaderName::from_static("cache-tag")).unwrap_or_default();
        groups.extend(tags.split(',').map(str::trim).filter(|tag| !tag.is_empty()).map(Into::into));
    }
    groups.truncate(GROUPS_MAX);
    groups
}
