//! What answers are made of: errors as AWS names them, times, tags, owners.

use std::io;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::SystemTime;

use http::StatusCode;
use s3s::dto::{ETag, Owner, Timestamp, TimestampFormat};
use s3s::{S3Error, S3ErrorCode, S3Result, s3_error};

use super::folder::StoreError;
use super::object::Meta;

/// The owner of everything, where a client insists on one.
const OWNER: &str = "bakehouse";

/// Runs what blocks on a thread that may.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> S3Result<T> + Send + 'static,
) -> S3Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(S3Error::internal_error)?
}

/// The answer to a failure of the store.
pub(super) fn to_s3(error: StoreError) -> S3Error {
    let (code, status) = match &error {
        StoreError::NoSuchBucket(_) => (S3ErrorCode::NoSuchBucket, None),
        StoreError::NoSuchKey(_) => (S3ErrorCode::NoSuchKey, None),
        StoreError::NoSuchUpload(_) => (S3ErrorCode::NoSuchUpload, None),
        StoreError::PreconditionFailed => (S3ErrorCode::PreconditionFailed, None),
        StoreError::BucketName(_) => (S3ErrorCode::InvalidBucketName, None),
        StoreError::RootTooLong { .. } => (S3ErrorCode::InternalError, None),
        StoreError::Io { source, .. } => match source.kind() {
            // Not 500 or 503: another attempt at once would not fare better.
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => {
                (S3ErrorCode::Custom("InsufficientStorage".into()), Some(StatusCode::INSUFFICIENT_STORAGE))
            }
            io::ErrorKind::ReadOnlyFilesystem | io::ErrorKind::PermissionDenied => {
                (S3ErrorCode::AccessDenied, None)
            }
            _ => (S3ErrorCode::InternalError, None),
        },
    };
    if status == Some(StatusCode::INSUFFICIENT_STORAGE) {
        // Many are written at a time, each writer is told, and one word to the operator says it all.
        if seldom() {
            tracing::error!(%error, "the embedded bucket has no room left");
        }
    } else if let StoreError::Io { .. } = &error {
        tracing::error!(%error, "the embedded bucket failed");
    }
    let message = match error.hint() {
        Some(hint) => format!("{error}; {hint}"),
        None => error.to_string(),
    };
    let mut answer = S3Error::with_message(code, message);
    if let Some(status) = status {
        answer.set_status_code(status);
    }
    answer
}

/// True once in a while.
fn seldom() -> bool {
    const WHILE_MS: i64 = 10_000;
    static LAST_MS: AtomicI64 = AtomicI64::new(i64::MIN / 2);
    let (now, last) = (now_ms(), LAST_MS.load(Ordering::Relaxed));
    now.abs_diff(last) > WHILE_MS.unsigned_abs()
        && LAST_MS.compare_exchange(last, now, Ordering::Relaxed, Ordering::Relaxed).is_ok()
}

pub(super) fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

pub(super) fn timestamp(milliseconds: i64) -> Timestamp {
    let since = std::time::Duration::from_millis(u64::try_from(milliseconds).unwrap_or(0));
    Timestamp::from(SystemTime::UNIX_EPOCH + since)
}

pub(super) fn seconds(timestamp: &Timestamp) -> i64 {
    milliseconds(timestamp).div_euclid(1000)
}

pub(super) fn milliseconds(timestamp: &Timestamp) -> i64 {
    let mut text = Vec::new();
    // "1700000000" or "1700000000.25": s3s offers no number.
    if timestamp.format(TimestampFormat::EpochSeconds, &mut text).is_err() {
        return 0;
    }
    let text = String::from_utf8_lossy(&text);
    let (whole, fraction) = text.split_once('.').unwrap_or((&text, ""));
    let fraction: String = fraction.chars().chain("000".chars()).take(3).collect();
    whole.parse::<i64>().unwrap_or(0).saturating_mul(1000).saturating_add(fraction.parse().unwrap_or(0))
}

pub(super) fn etag(meta: &Meta) -> Option<ETag> {
    Some(ETag::Strong(meta.etag.clone()))
}

pub(super) fn owner() -> Option<Owner> {
    Some(Owner { display_name: Some(OWNER.to_owned()), id: Some(OWNER.to_owned()) })
}

pub(super) fn not_implemented(what: &str) -> S3Error {
    s3_error!(NotImplemented, "{what} is not implemented by this store")
}
