//! The release format: what a site is once it is rendered, how it lies in a bucket, and how the
//! record of its changes is written and read.
//!
//! This crate is pure. It has no runtime, no sockets, no files, no logging and no clock: bytes come
//! and go through the [`bucket::Bucket`] trait, and time is an argument. It knows neither how
//! content is rendered nor how it is served; the crates that do know each other only through the
//! types here.
//!
//! In reading order: a [`digest`] names bytes; a [`mod@file`] is what a renderer made; an [`entry`] is what a path serves;
//! [`codings`] are made of its content; a [`tree`] holds all entries of a release; a [`record`] says who made the release
//! from what; the [`journal`] says which release is served since when, and what was purged; a [`bucket`] keeps it all under
//! the names in [`keys`]; [`reader`] and [`log`] read it back; [`url`]s are brought to one spelling; [`answer`] turns an
//! entry into a response head; [`wire`] is what the API's JSON looks like.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used))]

pub mod answer;
pub mod bucket;
pub mod codings;
pub mod digest;
mod encode;
pub mod entry;
pub mod file;
pub mod journal;
pub mod keys;
pub mod log;
pub mod reader;
pub mod record;
pub mod tree;
pub mod url;
pub mod wire;

pub use digest::Digest;
pub use entry::{Coding, CodingName, Content, Entry, Policy};
pub use file::File;
pub use record::{Release, ReleaseId};
