//! Buckets: where everything that lasts is kept.
//!
//! Owned here: the client of any S3-compatible store ([`s3`]), a store of our own over a folder ([`embedded`]), and the
//! test whether a foreign store keeps the promises that the journal rests on ([`probe`]).

pub mod embedded;
pub mod probe;
pub mod s3;
