//! A request as it came in, and its fields as they go on to an upstream.

use http::{HeaderMap, HeaderName, HeaderValue, Method, Version, header};

use crate::{
    edge::Edge,
    policy::{directives::RequestDirectives, forward},
};

/// A request as the server hands it in: hop-by-hop fields removed, framing settled.
#[derive(Debug)]
pub(crate) struct Inbound {
    pub(crate) method: Method,
    pub(crate) version: Version,
    /// Path and query, as received.
    pub(crate) target: String,
    /// `Host`, or the authority of an absolute target.
    pub(crate) host: String,
    pub(crate) headers: HeaderMap,
    pub(crate) directives: RequestDirectives,
    pub(crate) id: HeaderValue,
    pub(crate) peer: Option<std::net::IpAddr>,
    pub(crate) has_content: bool,
}

impl Edge {
    /// The client's fields as they go to an upstream.
    pub(crate) fn onward_fields(&self, inbound: &Inbound) -> HeaderMap {
        let mut headers = inbound.headers.clone();
        forward::strip_overrides(&mut headers);
        // What a client says about itself is replaced by what we know.
        for name in [header::FORWARDED, HeaderName::from_static("x-real-ip")] {
            headers.remove(name);
        }
        let peer = inbound.peer.and_then(|ip| HeaderValue::from_str(&ip.to_string()).ok());
        let facts =
            [("x-forwarded-for", peer), ("x-forwarded-proto", Some(HeaderValue::from_static("http")))];
        for (name, value) in facts {
            match value {
                Some(value) => headers.insert(HeaderName::from_static(name), value),
                None => headers.remove(name),
            };
        }
        let host = HeaderValue::from_str(&inbound.host).ok();
        if let Some(host) = host {
            headers.insert(HeaderName::from_static("x-forwarded-host"), host.clone());
            headers.insert(header::HOST, host);
        }
        headers.insert(HeaderName::from_static("x-request-id"), inbound.id.clone());
        forward::add_via(&mut headers, inbound.version, &self.config.name);
        headers
    }
}

/// All lines of a field as one.
pub(crate) fn joined(headers: &HeaderMap, name: &HeaderName) -> Option<String> {
    let mut lines = headers.get_all(name).iter().filter_map(|value| value.to_str().ok()).peekable();
    lines.peek()?;
    Some(lines.collect::<Vec<_>>().join(", "))
}
