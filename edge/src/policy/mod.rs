//! The rules of a shared cache acting as a gateway, as pure functions over typed values: RFC 9110, 9111, 5861, 8246,
//! 8586, 9211, 9213, 9875. No tokio, no bodies, no logging, and no clock: time is an argument. A decision is an enum whose value
//! is also the reason, so that log, metric and `Cache-Status` say the same.
//!
//! The order of reading follows a request: [`directives`] and [`date`] turn fields into values, [`vary`] selects,
//! [`freshness`] counts, [`reuse`] decides, [`validate`] and [`range`] answer, [`storing`] keeps, [`forward`], [`claims`] and [`forwarded`]
//! send on, [`same_origin`] finds what else a request makes invalid, [`status`] tells. [`rules`] is what an operator may set, [`query`] a part of it.
//! Each decision names its clause, for the trace.

pub mod claims;
pub mod date;
pub mod directives;
pub mod forward;
pub mod forwarded;
pub mod freshness;
pub mod query;
pub mod range;
pub mod reuse;
pub mod rules;
pub mod same_origin;
pub mod status;
pub mod storing;
pub mod validate;
pub mod vary;

/// Fields as a message has them, for tests.
#[cfg(test)]
fn map(fields: &[(&str, &str)]) -> http::HeaderMap {
    let field = |(name, value): &(&str, &str)| {
        (http::HeaderName::from_bytes(name.as_bytes()).unwrap(), http::HeaderValue::from_str(value).unwrap())
    };
    let mut map = http::HeaderMap::new();
    for (name, value) in fields.iter().map(field) {
        map.append(name, value);
    }
    map
}
