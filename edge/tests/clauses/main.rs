//! What the RFCs ask of a shared cache, bytes checked on both sides of the edge.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

#[path = "../support/mod.rs"]
mod support;

mod avoidable;
mod collapsing;
mod forwarding;
mod hits;
mod invalidation;
mod ranges;
mod staleness;
mod storing;
mod trace;
mod validation;
mod why;
