//! Pages of listings, as S3 wants them.

use s3s::dto::{CommonPrefix, ETag, EncodingType, Object, ObjectStorageClass};
use s3s::{S3Result, s3_error};

use super::answer::{blocking, owner, timestamp, to_s3};
use super::folder::FolderStore;
use super::listing::{self, Item, Query};

/// S3's bound of a page.
const PAGE_KEYS_MAX: i32 = 1000;

pub(super) fn url_encoded(encoding: bool, text: String) -> String {
    if !encoding {
        return text;
    }
    const KEPT: &percent_encoding::AsciiSet = &percent_encoding::NON_ALPHANUMERIC
        .remove(b'-')
        .remove(b'_')
        .remove(b'.')
        .remove(b'~')
        .remove(b'/')
        .remove(b'*');
    percent_encoding::utf8_percent_encode(&text, KEPT).to_string()
}

pub(super) fn is_url(encoding: Option<&EncodingType>) -> S3Result<bool> {
    match encoding.map(EncodingType::as_str) {
        None => Ok(false),
        Some(EncodingType::URL) => Ok(true),
        Some(_) => Err(s3_error!(InvalidArgument, "the only encoding-type is url")),
    }
}

pub(super) fn page_max(max: Option<i32>) -> S3Result<i32> {
    match max {
        Some(max) if max < 0 => Err(s3_error!(InvalidArgument, "the size of a page is not negative")),
        max => Ok(max.unwrap_or(PAGE_KEYS_MAX).min(PAGE_KEYS_MAX)),
    }
}

pub(super) fn to_token(bound: &[u8]) -> String {
    bound.iter().map(|byte| format!("{byte:02x}")).collect()
}

pub(super) fn from_token(token: &str) -> S3Result<Vec<u8>> {
    let wrong = || s3_error!(InvalidArgument, "the continuation token is not one of this store");
    if !token.is_ascii() || !token.len().is_multiple_of(2) {
        return Err(wrong());
    }
    (0..token.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&token[at..at + 2], 16).map_err(|_| wrong()))
        .collect()
}

/// The lines of a page as S3 wants them, and the last one.
pub(super) struct Lines {
    pub(super) contents: Vec<Object>,
    pub(super) prefixes: Vec<CommonPrefix>,
    pub(super) last: Option<String>,
    pub(super) next: Option<Vec<u8>>,
}

pub(super) async fn lines(
    store: FolderStore,
    bucket: String,
    query: OwnedQuery,
    with_owner: bool,
) -> S3Result<Lines> {
    let url = query.url;
    let page = blocking(move || {
        let query =
            Query { prefix: &query.prefix, delimiter: &query.delimiter, from: query.from, max: query.max };
        store.list(&bucket, &query).map_err(to_s3)
    })
    .await?;
    let mut lines = Lines { contents: Vec::new(), prefixes: Vec::new(), last: None, next: page.next };
    for item in page.items {
        match item {
            Item::Object { key, size, etag, modified_ms } => {
                lines.last = Some(key.clone());
                lines.contents.push(Object {
                    key: Some(url_encoded(url, key)),
                    e_tag: Some(ETag::Strong(etag)),
                    last_modified: Some(timestamp(modified_ms)),
                    size: Some(i64::try_from(size).unwrap_or(i64::MAX)),
                    storage_class: Some(ObjectStorageClass::from_static(ObjectStorageClass::STANDARD)),
                    owner: with_owner.then(owner).flatten(),
                    ..Default::default()
                });
            }
            Item::Prefix(prefix) => {
                lines.last = Some(prefix.clone());
                lines.prefixes.push(CommonPrefix { prefix: Some(url_encoded(url, prefix)) });
            }
        }
    }
    Ok(lines)
}

pub(super) struct OwnedQuery {
    pub(super) prefix: String,
    pub(super) delimiter: String,
    pub(super) from: Vec<u8>,
    pub(super) max: usize,
    pub(super) url: bool,
}

/// Where a listing after a marker begins. A marker that is a common prefix (the last line of the page before)
/// stands for all keys that begin so.
pub(super) fn after_marker(marker: &str, prefix: &str, delimiter: &str) -> Vec<u8> {
    let is_prefix = !delimiter.is_empty()
        && marker
            .strip_prefix(prefix)
            .is_some_and(|rest| rest.find(delimiter).is_some_and(|at| at + delimiter.len() == rest.len()));
    if is_prefix { listing::after_prefix(marker) } else { listing::after_key(marker) }
}
