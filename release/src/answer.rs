//! From an entry to a response head. The origin answers by this, and an edge that reads the bucket
//! itself, so that both say the same.

use std::cmp::Reverse;

use crate::reader::{ReadError, Reader};
use crate::{Coding, CodingName, Digest, Entry, url};

/// Field by which our origin tells our edges how long to keep a response (RFC 9213); an edge removes
/// it.
pub const EDGE_CACHE_CONTROL: &str = "bakehouse-cache-control";
/// Field by which an edge names the release to answer from.
pub const RELEASE_FIELD: &str = "bakehouse-release";
/// Response field with a response's cache groups (RFC 9875).
pub const CACHE_GROUPS: &str = "cache-groups";
/// Response field with the digests of large content's pieces of [`CHUNK_BYTES`](crate::entry::CHUNK_BYTES), by commas,
/// so that an edge can check each before it sends it on; an edge removes it.
pub const CHUNKS_FIELD: &str = "bakehouse-chunks";
/// Pieces whose digests are sent: 64 MiB of content, and 4 KiB of field. An edge checks longer content as a whole.
const CHUNKS_MAX: usize = 64;
/// Bytes of the longest `Accept-Encoding` that is read; what is beyond is ignored.
const ACCEPT_BYTES_MAX: usize = 1_024;

/// What a path of a release comes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Resolution {
    /// The path serves this.
    Found {
        /// Where it lies in the manifest.
        path: String,
        /// What it serves.
        entry: Entry,
    },
    /// The path is that of a folder, without its slash.
    Slash {
        /// The site path with the slash.
        to: String,
        /// The folder's index, whose groups, policy and fields the redirect has, but for those that speak of content.
        index: Entry,
    },
    /// There is nothing; the site's 404 page, if it has one.
    Missing(Option<Entry>),
}

/// Finds what a site path (see [`url::site_path`]) comes to in a release with this manifest and this
/// tree of assets.
///
/// # Errors
/// Where the manifest cannot be read.
pub async fn resolve(
    reader: &Reader,
    root: Digest,
    assets: Digest,
    site_path: &str,
) -> Result<Resolution, ReadError> {
    let path = url::manifest_path(site_path);
    if let Some(entry) = reader.entry(root, &path).await? {
        return Ok(Resolution::Found { path, entry });
    }
    if !site_path.ends_with('/') {
        let inside = format!("{path}/index.html");
        if let Some(index) = reader.entry(root, &inside).await? {
            // What only leads on need not be asked for twice.
            if index.field("location").is_some() {
                return Ok(Resolution::Found { path: inside, entry: index });
            }
            return Ok(Resolution::Slash { to: format!("{site_path}/"), index });
        }
        if let Some(entry) = reader.entry(assets, &path).await? {
            return Ok(Resolution::Found { path, entry });
        }
    }
    Ok(Resolution::Missing(reader.entry(root, "404.html").await?))
}

/// A response but for its body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    /// Status code.
    pub status: u16,
    /// Fields, lower-case names; all but `date` and connection fields.
    pub fields: Vec<(String, String)>,
    /// The coding to send, of the entry that the resolution holds; none for an empty body.
    pub coding: Option<Coding>,
}

impl Resolution {
    /// The entry whose content, groups and policy the response has.
    pub fn entry(&self) -> Option<&Entry> {
        match self {
            Self::Found { entry, .. } => Some(entry),
            Self::Slash { index, .. } => Some(index),
            Self::Missing(page) => page.as_ref(),
        }
    }

    /// The head of the response to a request with this `Accept-Encoding` (all its lines, joined).
    ///
    /// `query` is repeated in the location of a redirect to a folder.
    pub fn head(&self, accept_encoding: Option<&str>, query: Option<&str>) -> Head {
        match self {
            Self::Found { entry, .. } => of_entry(entry, entry.status, accept_encoding),
            Self::Missing(Some(page)) => of_entry(page, 404, accept_encoding),
            Self::Missing(None) => Head {
                status: 404,
                fields: vec![
                    ("content-length".into(), "0".into()),
                    ("cache-control".into(), "max-age=0, must-revalidate".into()),
                    (EDGE_CACHE_CONTROL.into(), "max-age=31536000".into()),
                ],
                coding: None,
            },
            Self::Slash { to, index } => {
                let mut location = url::escape(to);
                if location.starts_with("//") {
                    // `//host/` would be another host.
                    location.insert(1, '.');
                }
                if let Some(query) = query {
                    location.push('?');
                    location.push_str(query);
                }
                let mut fields = vec![("location".into(), location), ("content-length".into(), "0".into())];
                fields.extend(index.fields.iter().filter(|(name, _)| !is_of_content(name)).cloned());
                fields.extend(policy_fields(index));
                Head { status: 308, fields, coding: None }
            }
        }
    }
}

/// Whether a field of an entry says something of its content, and nothing of a response without it.
fn is_of_content(name: &str) -> bool {
    matches!(name, "content-type" | "content-language" | "content-location" | "content-disposition" | "link")
}

fn of_entry(entry: &Entry, status: u16, accept_encoding: Option<&str>) -> Head {
    let coding = choose(entry, accept_encoding);
    let mut fields = entry.fields.clone();
    fields.push(("content-length".into(), coding.length.to_string()));
    fields.push(("etag".into(), coding.etag()));
    if coding.name != CodingName::Identity {
        fields.push(("content-encoding".into(), coding.name.to_string()));
    }
    if !entry.content.coded.is_empty() {
        fields.push(("vary".into(), "accept-encoding".into()));
    }
    if (1..=CHUNKS_MAX).contains(&coding.chunks.len()) {
        let digests: Vec<String> = coding.chunks.iter().map(ToString::to_string).collect();
        fields.push((CHUNKS_FIELD.into(), digests.join(",")));
    }
    fields.extend(policy_fields(entry));
    Head { status, fields, coding: Some(coding.clone()) }
}

fn policy_fields(entry: &Entry) -> Vec<(String, String)> {
    let mut fields = vec![
        ("cache-control".to_owned(), entry.policy.browser.clone()),
        (EDGE_CACHE_CONTROL.to_owned(), entry.policy.edge.clone()),
    ];
    if !entry.groups.is_empty() {
        fields.push((CACHE_GROUPS.to_owned(), group_list(&entry.groups)));
    }
    fields
}

/// Cache groups as a structured list of strings (RFC 9875 §2, RFC 9651 §3.1). A structured string is
/// printable ASCII: other characters are percent-encoded, as are `%` and `"` and `\`, so that two
/// groups never become one.
pub fn group_list(groups: &[String]) -> String {
    groups.iter().map(|g| format!("\"{}\"", group_name(g))).collect::<Vec<_>>().join(", ")
}

/// A cache group as it stands in the field, and as edges know it.
pub fn group_name(group: &str) -> String {
    const GROUP: &percent_encoding::AsciiSet = &percent_encoding::CONTROLS.add(b'%').add(b'"').add(b'\\');
    percent_encoding::utf8_percent_encode(group, GROUP).to_string()
}

/// Chooses a coding (RFC 9110 §12.5.3): the heaviest that the request accepts, of several the
/// smallest. Where the request accepts none that we have, identity: it is better than a 406.
pub fn choose<'e>(entry: &'e Entry, accept_encoding: Option<&str>) -> &'e Coding {
    let identity = &entry.content.identity;
    let Some(text) = accept_encoding else { return identity };
    let accepted = weights(text);
    let best = entry
        .content
        .codings()
        .map(|coding| (weight(&accepted, coding.name), coding))
        .filter(|(weight, _)| *weight > 0)
        .max_by_key(|(weight, coding)| (*weight, Reverse(coding.length)));
    best.map_or(identity, |(_, coding)| coding)
}

/// Weights in thousandths by coding; none stands for `*`.
fn weights(text: &str) -> Vec<(Option<CodingName>, u16)> {
    let end =
        text.char_indices().map(|(i, c)| i + c.len_utf8()).take_while(|e| *e <= ACCEPT_BYTES_MAX).last();
    let text = &text[..end.unwrap_or(0)];
    text.split(',')
        .filter_map(|item| {
            let mut parts = item.split(';').map(str::trim);
            let name = parts.next()?;
            let name = if name == "*" { None } else { Some(name.parse().ok()?) };
            let q = parts.find_map(|p| {
                let (name, value) = p.split_once('=')?;
                name.trim().eq_ignore_ascii_case("q").then(|| thousandths(value.trim()))
            });
            // A weight that is none of RFC 9110 §12.4.2 makes its item unusable.
            Some((name, q.unwrap_or(Some(1_000))?))
        })
        .collect()
}

fn thousandths(text: &str) -> Option<u16> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    if fraction.len() > 3 || !fraction.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let thousandths = format!("{fraction:0<3}").parse::<u16>().ok()?;
    match (whole, thousandths) {
        ("0", t) => Some(t),
        ("1", 0) => Some(1_000),
        _ => None,
    }
}

fn weight(accepted: &[(Option<CodingName>, u16)], name: CodingName) -> u16 {
    let of = |wanted: Option<CodingName>| accepted.iter().find(|(n, _)| *n == wanted).map(|(_, q)| *q);
    // Identity is acceptable unless it, or `*` without it, has weight 0; it is the last choice.
    let otherwise =
        if name == CodingName::Identity { of(None).map_or(1, |q| q.min(1)) } else { of(None).unwrap_or(0) };
    of(Some(name)).unwrap_or(otherwise)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::tests::entry;

    fn coded() -> Entry {
        let mut entry = (*entry("text")).clone();
        let coding =
            |name, length| Coding { name, offset: 0, length, digest: Digest::of(b"x"), chunks: vec![] };
        entry.content.coded =
            vec![coding(CodingName::Br, 1), coding(CodingName::Zstd, 2), coding(CodingName::Gzip, 3)];
        entry
    }

    #[test]
    fn codings_are_chosen_by_weight_then_size() {
        let entry = coded();
        for (accept, chosen) in [
            (None, CodingName::Identity),
            (Some(""), CodingName::Identity),
            (Some("gzip, deflate, br, zstd"), CodingName::Br),
            (Some("gzip;q=1.0, br;q=0.5"), CodingName::Gzip),
            (Some("GZIP"), CodingName::Gzip),
            (Some("br;q=0, *"), CodingName::Zstd),
            (Some("br;q=0.001"), CodingName::Br),
            (Some("identity, br"), CodingName::Br),
            (Some("identity;q=1, gzip;q=0.9"), CodingName::Identity),
            (Some("*;q=0"), CodingName::Identity),
            (Some("br;q=nonsense, gzip"), CodingName::Gzip),
            (Some("br;q=1.001, gzip;q=0.2, identity;q=0"), CodingName::Gzip),
        ] {
            assert_eq!(choose(&entry, accept).name, chosen, "{accept:?}");
        }
    }

    #[test]
    fn a_redirect_to_a_folder_stays_on_its_host() {
        let mut index = coded();
        index.fields.push(("x-frame-options".into(), "DENY".into()));
        let slash = Resolution::Slash { to: "//evil.example/".into(), index };
        let head = slash.head(None, Some("a=1"));
        assert_eq!(head.fields[0].1, "/./evil.example/?a=1");
        let names: Vec<&str> = head.fields.iter().map(|(name, _)| name.as_str()).collect();
        assert!(names.contains(&"x-frame-options") && !names.contains(&"content-type"), "{names:?}");
        assert_eq!(head.status, 308);
    }

    #[test]
    fn groups_are_structured_strings() {
        assert_eq!(group_list(&["page:a".into(), "é\"".into()]), "\"page:a\", \"%C3%A9%22\"");
    }
}
