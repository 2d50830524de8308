//! The origin: buckets, publishing, the journal's writer, and the HTTP service that edges and people
//! talk to.
//!
//! An origin is stateless: everything that lasts is in the bucket, so any number of origins serve
//! the same sites, and each can be killed at any time.
//!
//! In reading order: a [`bucket`] keeps everything; a [`policy`] says how long a response may be kept; [`publish`] brings a
//! render into the bucket; the [`journal`] commits it; [`rollback`] goes back; a [`site`] is what this process knows of
//! each site; [`edges`] and [`fellows`] say who has heard; an [`origin`](mod@origin) holds all of these together, and
//! [`http`](mod@http) serves it.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

pub mod bucket;
pub mod clock;
mod connection;
pub mod edges;
pub mod error;
pub mod failpoint;
pub mod fellows;
pub mod http;
pub mod http_client;
pub mod journal;
pub mod origin;
pub mod policy;
pub mod publish;
pub mod rollback;
pub mod site;

pub use error::Error;
pub use origin::{Origin, OriginConfig, Render, Sites};
