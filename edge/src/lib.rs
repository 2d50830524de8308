//! The edge: an RFC 9111 shared cache in memory, in front of Bakehouse origins or of any HTTP upstream.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used))]

pub mod policy;
