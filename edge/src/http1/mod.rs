//! HTTP/1.1 towards clients (RFC 9112): one machine for every connection, and one parser for every byte.
//!
//! In reading order: `head` finds and judges a request's head; `target` says who and what is asked for; `decoder` cuts
//! content out of the stream; `content` hands it to whoever sends it on; `encoder` writes response heads;
//! `connection` leads a connection from one request to the next, by way of an `exchange` where one look at the store is not
//! enough; `tunnel` is what is left of it after a 101;
//! `deadlines` ends what takes too long, by what `held` knows of its client, and `unread` and `unsent` bound what the kernel holds of requests
//! and of responses.
//!
//! Two parsers that disagree are a hole for smuggled requests: there is no other way in than this. What is ambiguous is
//! refused, and after a request that was not understood nothing on its connection is.

mod connection;
mod content;
mod deadlines;
pub(crate) mod decoder;
#[cfg(test)]
mod differential;
pub(crate) mod encoder;
mod exchange;
pub(crate) mod head;
mod held;
mod interim;
pub(crate) mod target;
mod tunnel;
pub(crate) mod unread;
pub(crate) mod unsent;
mod writer;

pub(crate) use connection::{Client, serve};
pub(crate) use deadlines::Deadlines;
pub(crate) use head::Head;
pub(crate) use interim::Interims;
pub(crate) use tunnel::Tunnel;

use http::StatusCode;

/// A request that is not served: what the client is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) status: StatusCode,
    pub(crate) text: &'static str,
    /// The clause that says so.
    pub(crate) clause: &'static str,
}

impl Refusal {
    /// 400: it is not HTTP, or can be read in two ways.
    pub(crate) const fn bad(clause: &'static str, text: &'static str) -> Self {
        Self { status: StatusCode::BAD_REQUEST, text, clause }
    }

    /// Counts one.
    pub(crate) fn count(self) {
        metrics::counter!("bakehouse_edge_refused_total", "status" => self.status.as_str().to_owned())
            .increment(1);
    }
}
