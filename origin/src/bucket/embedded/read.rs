//! Reads of objects: their conditions, ranges and content.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue};
use s3s::dto::{ETagCondition, IfMatch, IfNoneMatch, Range, StreamingBlob, Timestamp};
use s3s::{Body, S3Error, S3ErrorCode, S3Result, s3_error};

use super::answer::seconds;
use super::object::{Meta, Object};

/// Larger ones are sent in pieces of this size.
const PIECE_BYTES: u64 = 256 * 1024;

/// RFC 9110 §13.2.2, in its order.
pub(super) fn check_read(
    meta: &Meta,
    if_match: Option<&IfMatch>,
    if_unmodified_since: Option<&Timestamp>,
    if_none_match: Option<&IfNoneMatch>,
    if_modified_since: Option<&Timestamp>,
) -> S3Result<()> {
    let is = |condition: &ETagCondition| match condition {
        ETagCondition::Any => true,
        ETagCondition::ETag(etag) => etag.value() == meta.etag,
    };
    let modified = meta.modified_ms.div_euclid(1000);
    let failed = || S3Error::from(S3ErrorCode::PreconditionFailed);
    match (if_match, if_unmodified_since) {
        (Some(condition), _) if !is(condition) => return Err(failed()),
        (None, Some(since)) if modified > seconds(since) => return Err(failed()),
        _ => {}
    }
    let unchanged = match (if_none_match, if_modified_since) {
        (Some(condition), _) => is(condition),
        (None, Some(since)) => modified <= seconds(since),
        (None, None) => false,
    };
    if unchanged {
        let mut answer = S3Error::from(S3ErrorCode::NotModified);
        let mut headers = HeaderMap::new();
        if let Ok(etag) = HeaderValue::from_str(&format!("\"{}\"", meta.etag)) {
            headers.insert(http::header::ETAG, etag);
        }
        answer.set_headers(headers);
        return Err(answer);
    }
    Ok(())
}

/// The conditions of a copy: what would be 304 for a read is 412 here.
pub(super) fn check_copy(
    meta: &Meta,
    if_match: Option<&ETagCondition>,
    if_unmodified_since: Option<&Timestamp>,
    if_none_match: Option<&ETagCondition>,
    if_modified_since: Option<&Timestamp>,
) -> S3Result<()> {
    check_read(meta, if_match, if_unmodified_since, if_none_match, if_modified_since)
        .map_err(|_| S3ErrorCode::PreconditionFailed.into())
}

/// The bytes that a range means, of `size`.
pub(super) fn range(range: Option<Range>, size: u64) -> S3Result<Option<std::ops::Range<u64>>> {
    let Some(range) = range else { return Ok(None) };
    match range.check(size) {
        Ok(bytes) if bytes.start < bytes.end => Ok(Some(bytes)),
        _ => {
            let mut error = s3_error!(InvalidRange, "the object has {size} bytes");
            let mut headers = HeaderMap::new();
            if let Ok(value) = HeaderValue::from_str(&format!("bytes */{size}")) {
                headers.insert(http::header::CONTENT_RANGE, value);
            }
            error.set_headers(headers);
            Err(error)
        }
    }
}

/// Part of an object's bytes, read as they are sent.
pub(super) fn stream(file: File, bytes: std::ops::Range<u64>) -> StreamingBlob {
    let state = (Arc::new(file), bytes);
    StreamingBlob::wrap(futures_util::stream::try_unfold(state, |(file, mut bytes)| async move {
        if bytes.is_empty() {
            return Ok::<_, io::Error>(None);
        }
        let length = (bytes.end - bytes.start).min(PIECE_BYTES);
        let (reader, start) = (Arc::clone(&file), bytes.start);
        let piece = tokio::task::spawn_blocking(move || {
            let mut piece = vec![0; usize::try_from(length).map_err(io::Error::other)?];
            reader.read_exact_at(&mut piece, start)?;
            Ok::<_, io::Error>(Bytes::from(piece))
        })
        .await
        .map_err(io::Error::other)??;
        bytes.start += length;
        Ok(Some((piece, (file, bytes))))
    }))
}

pub(super) fn body(object: Object, bytes: std::ops::Range<u64>) -> StreamingBlob {
    match object.body {
        Some(body) => {
            let body = Bytes::from(body).slice(bytes.start as usize..bytes.end as usize);
            StreamingBlob::from(Body::from(body))
        }
        None => stream(object.file, bytes),
    }
}
