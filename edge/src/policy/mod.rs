//! The rules of a shared cache acting as a gateway, as pure functions over typed values: RFC 9110, 9111, 5861, 8246,
//! 9211, 9213. No tokio, no bodies, no logging, and no clock: time is an argument. A decision is an enum whose value
//! is also the reason, so that log, metric and `Cache-Status` say the same.
//!
//! The order of reading follows a request: [`directives`] and [`date`] turn fields into values, [`vary`] selects,
//! [`freshness`] counts, [`reuse`] decides, [`validate`] and [`range`] answer, [`storing`] keeps, [`forward`] sends on,
//! [`status`] tells.

pub mod date;
pub mod directives;
pub mod forward;
pub mod freshness;
pub mod range;
pub mod reuse;
pub mod status;
pub mod storing;
pub mod validate;
pub mod vary;
