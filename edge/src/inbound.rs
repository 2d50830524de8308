//! A request as it came in, and its fields as they go on to an upstream.

use std::{net::IpAddr, sync::Arc};

use http::{HeaderMap, HeaderValue, Method, Version, header};

use crate::{
    edge::Edge,
    http1::Interims,
    policy::{claims, directives::RequestDirectives, forward, forwarded, same_origin::Scheme},
    upstream::Informational,
};

/// The target that stands for the server as such, of OPTIONS alone (RFC 9112 §3.2.4).
pub(crate) const SERVER: &str = "*";

/// A request as the server hands it in: hop-by-hop fields removed, framing settled.
#[derive(Debug)]
pub(crate) struct Inbound {
    pub(crate) method: Method,
    pub(crate) version: Version,
    /// What an absolute target says, or how it came, or how a trusted proxy says that it took it.
    pub(crate) scheme: Scheme,
    /// Path and query, as received; or [`SERVER`].
    pub(crate) target: String,
    /// `Host`, or the authority of an absolute target, or what a trusted proxy says.
    pub(crate) host: String,
    /// Shared with the fetch that it leads to.
    pub(crate) headers: Arc<HeaderMap>,
    pub(crate) directives: RequestDirectives,
    pub(crate) id: HeaderValue,
    pub(crate) peer: Option<IpAddr>,
    /// Who asks: the peer, or whom one that is trusted names.
    pub(crate) client: Option<IpAddr>,
    /// Whether the peer's word about its clients is believed; the edge finds out.
    pub(crate) is_trusted: bool,
    pub(crate) has_content: bool,
    /// Whether the client wants to be told before it sends that (RFC 9110 §10.1.1).
    pub(crate) expects_continue: bool,
    /// Where interim responses go; `None` for a client that takes none.
    pub(crate) interims: Option<Interims>,
    /// Whether the client takes trailers.
    pub(crate) takes_trailers: bool,
    /// Whether the client asks for a WebSocket: a 101 of the upstream is then answered with `OutBody::Tunnel`.
    pub(crate) websocket: bool,
}

impl Inbound {
    /// Where an upstream's interim responses to this request go.
    pub(crate) fn informational(&self) -> Option<Informational> {
        let interims = self.interims.clone()?;
        Some(Informational::new(move |status, headers| interims.pass(status, headers)))
    }

    /// Brings its fields to what upstreams are told of who asks, how, and for what. A response that says that it was chosen
    /// by one of these was chosen by what its upstream was told, not by what the client claims.
    pub(crate) fn settle(&mut self) {
        // What is keyed is what is told, here too.
        self.host.truncate(self.scheme.bare(&self.host).len());
        let headers = Arc::make_mut(&mut self.headers);
        let claims = claims::strip_claims(headers, self.is_trusted);
        if claims > 0 {
            metrics::counter!("bakehouse_edge_claims_removed_total").increment(claims as u64);
        }
        if forward::is_path_ambiguous(&self.target) {
            metrics::counter!("bakehouse_edge_ambiguous_paths_total").increment(1);
        }
        forwarded::tell(headers, self.peer, self.scheme, &self.host);
        if let Ok(host) = HeaderValue::from_str(&self.host) {
            headers.insert(header::HOST, host);
        }
        headers.insert(forward::REQUEST_ID, self.id.clone());
        if self.takes_trailers {
            // They go through to the client (RFC 9110 §10.1.4).
            headers.insert(header::TE, HeaderValue::from_static("trailers"));
            headers.insert(header::CONNECTION, HeaderValue::from_static("te"));
        }
    }
}

impl Edge {
    /// The fields of a settled request as they go to an upstream.
    pub(crate) fn onward_fields(&self, inbound: &Inbound) -> HeaderMap {
        let mut headers = HeaderMap::clone(&inbound.headers);
        forward::add_via(&mut headers, inbound.version, &self.config.name);
        forward::add_cdn_loop(&mut headers, &self.config.name);
        headers
    }
}
