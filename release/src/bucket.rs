//! The bucket as the rest of the system sees it: a flat store of immutable and of contended objects.
//!
//! The trait asks for no more than every S3-compatible store has, plus one thing that not all have:
//! [`Bucket::create`] must be refused when the key exists, even if sixteen writers come at once.
//! Implementations live with the parts that have a network (S3) or a test to serve.

#[cfg(feature = "testing")]
pub mod memory;

use std::ops::Range;

use async_trait::async_trait;
use bytes::Bytes;

/// Bytes of the largest object that is read whole; larger ones are read in ranges.
pub const OBJECT_BYTES_MAX: u64 = 64 << 20;

/// An object that was read whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Object {
    /// The content.
    pub bytes: Bytes,
    /// The store's own tag for this version, for [`Bucket::replace`]; opaque.
    pub tag: String,
}

/// How a conditional write ended, where the store said so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Written {
    /// The condition held, and the object is durable.
    Yes,
    /// The condition did not hold (412, or 409 while another write was under way); nothing was
    /// written by this request. The object there may still be our own, from a request whose reply
    /// was lost.
    Refused,
}

/// Part of a listing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Listing {
    /// Keys in the order of their bytes.
    pub keys: Vec<String>,
    /// Whether there are more after the last.
    pub more: bool,
}

/// Why a request to a bucket has no answer.
#[derive(Debug, thiserror::Error)]
pub enum BucketError {
    /// The store could not be reached, or did not answer in time, or answered with a 5xx: whether
    /// a write was carried out is not known.
    #[error("the bucket did not answer {op} of `{key}`: {source}")]
    Unknown {
        /// What was asked.
        op: &'static str,
        /// Of which object.
        key: String,
        /// What the client says.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The store has no room left. Nothing was done.
    #[error("the bucket has no room for {op} of `{key}`: {reason}")]
    Full {
        /// What was asked.
        op: &'static str,
        /// Of which object.
        key: String,
        /// The store's code and message.
        reason: String,
    },
    /// The store refused: credentials, missing bucket, quota. Nothing was done.
    #[error("the bucket refused {op} of `{key}`: {reason}")]
    Denied {
        /// What was asked.
        op: &'static str,
        /// Of which object.
        key: String,
        /// The store's code and message.
        reason: String,
    },
    /// An object is larger than it may be.
    #[error("the object `{key}` has more than {max} bytes")]
    TooLarge {
        /// The object.
        key: String,
        /// The bound that it breaks, in bytes.
        max: u64,
    },
}

/// A bucket of an S3-compatible store. Every call has a deadline of the implementation's.
#[async_trait]
pub trait Bucket: Send + Sync + std::fmt::Debug {
    /// Reads an object whole; `None` where there is none.
    ///
    /// # Errors
    /// [`BucketError::TooLarge`] beyond `bytes_max`; otherwise that the store gave no answer.
    async fn get(&self, key: &str, bytes_max: u64) -> Result<Option<Object>, BucketError>;

    /// Reads the bytes of `range` (not empty, within the object); `None` where there is no such object.
    ///
    /// # Errors
    /// Where the store gave no answer, or other bytes than asked for.
    async fn get_range(&self, key: &str, range: Range<u64>) -> Result<Option<Bytes>, BucketError>;

    /// Writes an object, whatever is there. For objects that are named by their content, or that
    /// anyone may overwrite. Durable when it returns; may be repeated.
    ///
    /// # Errors
    /// Where the store did not say that it is written.
    async fn put(&self, key: &str, bytes: Bytes) -> Result<(), BucketError>;

    /// Writes an object if there is none (`If-None-Match: *`). Sent at most once: an implementation
    /// must not repeat it by itself, since a second 412 would hide that the first had succeeded.
    ///
    /// # Errors
    /// [`BucketError::Unknown`] means just that: read the key to learn what happened.
    async fn create(&self, key: &str, bytes: Bytes) -> Result<Written, BucketError>;

    /// Writes an object if the one there still has `tag` (`If-Match`). Sent at most once.
    ///
    /// # Errors
    /// As for [`Bucket::create`].
    async fn replace(&self, key: &str, bytes: Bytes, tag: &str) -> Result<Written, BucketError>;

    /// Lists keys that begin with `prefix` and are greater than `after`, at most `max` (1 to 1,000).
    ///
    /// # Errors
    /// Where the store gave no answer.
    async fn list(&self, prefix: &str, after: Option<&str>, max: usize) -> Result<Listing, BucketError>;

    /// Deletes an object, if it is there.
    ///
    /// # Errors
    /// Where the store did not say that it is gone.
    async fn delete(&self, key: &str) -> Result<(), BucketError>;
}
