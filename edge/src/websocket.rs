//! The one protocol that a connection may change to: a WebSocket (RFC 6455), tunnelled after the upstream's 101.

use std::sync::Arc;

use http::{HeaderValue, StatusCode, header};

use crate::{
    body::OutBody,
    edge::{Edge, UNREACHABLE},
    http1::Tunnel,
    inbound::Inbound,
    metrics::Result as Counted,
    policy::{forward, reuse::Forward, status::CacheStatus},
    reply::Reply,
    respond::Response,
    upstream::{Answer, Ask},
};

impl Edge {
    /// Sends the client's wish on; where the upstream agrees, both get each other's connection.
    pub(crate) async fn websocket(self: &Arc<Self>, inbound: &Inbound) -> Response {
        let mut headers = self.onward_fields(inbound);
        headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
        headers.remove(header::TE);
        headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
        let mut ask = Ask::new(inbound.method.clone(), inbound.target.clone(), headers);
        ask.informational = inbound.informational();
        let answer = match self.send(&mut ask, None).await {
            // A 101 to anything else is no final response, and so an error.
            Ok(answer)
                if answer.status == StatusCode::SWITCHING_PROTOCOLS
                    && forward::is_to_websocket(&answer.headers) =>
            {
                return self.tunnel(inbound, answer);
            }
            answer => answer,
        };
        match answer.and_then(|answer| Reply::of(answer, &self.config.name)) {
            Ok(reply) => {
                let forward_status = Some(reply.status);
                let status =
                    CacheStatus { forward: Some(Forward::Bypass), forward_status, ..CacheStatus::default() };
                self.answer_alone(inbound, reply, status)
            }
            Err(error) => {
                tracing::warn!(url = %inbound.target, host = %inbound.host, %error, "no response");
                self.error(inbound, error.status(), UNREACHABLE)
            }
        }
    }

    fn tunnel(&self, inbound: &Inbound, answer: Answer) -> Response {
        let Some(upgraded) = answer.upgraded else {
            return self.error(inbound, StatusCode::BAD_GATEWAY, UNREACHABLE);
        };
        let mut headers = answer.headers;
        forward::strip_connection(&mut headers);
        headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
        let (status, body) = (StatusCode::SWITCHING_PROTOCOLS, OutBody::Tunnel(Tunnel::new(upgraded)));
        Response { status, headers, body, result: Counted::Forwarded(Forward::Bypass) }
    }
}
