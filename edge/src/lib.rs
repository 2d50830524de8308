//! The edge: an RFC 9111 shared cache in memory, in front of Bakehouse origins or of any HTTP upstream.
//!
//! In reading order: [`policy`] is the rules, as pure functions; `key` names what is stored; `purge` says what makes it
//! wrong; `store` holds it in a `table` that readers never lock, large bodies as a `stored_body` that the kernel sends
//! itself; `memory` sees that all together takes no more than it may; `fill` is a response that is being received; `collapse` brings requests for the same together; `upstream`
//! asks upstreams; `site` asks origins, and the bucket behind them; `journal` follows what was published and purged;
//! `edge` is all of these together, `config` how they are set; `inbound` is a request, which `lookup` answers from the
//! store or with a `flight`, whose body `receive` takes in, or which `pass` or `websocket` sends on; `respond` makes
//! the response, with what `cut` takes of it for a `Range`; `hit` is the short way for plain requests; `http1` is what
//! is spoken with clients, and `server` accepts them, as many as `clients` lets in. `observe` keeps what is known of each response for the
//! `access_log`, the `metrics` and the `trace`; `admin` shows all that to operators, with `top`, `avoidable` and `why`; `predecessor` is the process
//! that ran before, while it drains.
//!
//! Deliberately absent: files (all is in memory), TLS and HTTP/2 towards browsers, and any knowledge of how content
//! is rendered or kept beyond the release format.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used))]

#[doc(hidden)]
pub mod fuzz;
pub mod policy;

mod access_log;
mod admin;
mod allowance;
mod avoidable;
mod body;
mod books;
mod clients;
mod clock;
mod collapse;
mod config;
mod confirm;
mod cut;
mod decide;
mod edge;
mod error;
mod error_page;
mod fill;
mod flight;
mod groups;
mod head_block;
mod hit;
mod http1;
mod inbound;
mod journal;
mod key;
mod lookup;
mod memory;
mod metrics;
mod network;
mod observe;
mod pass;
mod paths;
mod plan;
mod predecessor;
mod proxy_protocol;
mod purge;
mod queues;
mod receive;
mod reply;
mod respond;
mod scheduling;
mod server;
mod site;
mod sockets;
mod stand_in;
mod store;
mod stored;
mod stored_body;
mod sweep;
mod table;
mod top;
mod trace;
mod turns;
mod upstream;
mod websocket;
mod why;

pub use access_log::{AccessLog, LogFormat, LogTarget};
pub use admin::{AdminConfig, NotReloaded, serve_admin};
pub use avoidable::Avoidable;
pub use config::{EdgeConfig, Limits, Mode, OnLapse, Settings, SitesConfig};
pub use edge::{Edge, EdgeState, SiteProgress};
pub use error::EdgeError;
pub use metrics::{describe as describe_metrics, metrics_text};
pub use network::Network;
pub use predecessor::Predecessor;
pub use server::serve;
pub use sweep::give_back;
pub use top::{Live, Top, UrlCount};
pub use trace::{Query, Record, Step};
pub use upstream::{Balance, BreakerRules, Deadlines, HealthCheck, UpstreamOptions, UpstreamState};
pub use why::{Explanation, Variant};
