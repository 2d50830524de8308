//! The edge: an RFC 9111 shared cache in memory, in front of Bakehouse origins or of any HTTP upstream.
//!
//! In reading order: [`policy`] is the rules, as pure functions; `key` names what is stored; `purge` says what makes it
//! wrong; `store` holds it; `fill` is a response that is being received; `collapse` brings requests for the same
//! together; `fetch` asks upstreams; `site` asks origins, and the bucket behind them; `journal` follows what was
//! published and purged; `edge` leads a request through all of these; `server` is HTTP/1.1 around it.
//!
//! Deliberately absent: files (all is in memory), TLS and HTTP/2 towards browsers, and any knowledge of how content
//! is rendered or kept beyond the release format.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used))]

pub mod policy;

mod body;
mod clock;
mod collapse;
mod edge;
mod error;
mod fetch;
mod fill;
mod journal;
mod key;
mod metrics;
mod purge;
mod server;
mod site;
mod store;

pub use edge::{Edge, EdgeConfig, EdgeState, Limits, Mode, OnLapse, SiteProgress, SitesConfig};
pub use error::EdgeError;
pub use fetch::Deadlines;
pub use metrics::describe as describe_metrics;
pub use server::serve;
