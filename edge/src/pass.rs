//! Requests that the cache has no part in, but for what they make invalid.

use std::sync::Arc;

use http::{HeaderName, Method, Response, StatusCode, header};

use crate::{
    body::{OutBody, Source},
    clock,
    edge::{Edge, UNREACHABLE},
    inbound::Inbound,
    key::Key,
    metrics::Result as Counted,
    policy::{forward, reuse::Forward, status::CacheStatus},
    reply::Reply,
    upstream::{Ask, RequestBody},
};

impl Edge {
    /// A request that the cache has no part in, but for what it makes invalid.
    pub(crate) async fn pass(
        self: &Arc<Self>,
        inbound: &Inbound,
        key: &Key,
        content: RequestBody,
        forward: Forward,
    ) -> Response<OutBody> {
        Counted::Forwarded(forward).count();
        let headers = self.onward_fields(inbound);
        let ask = Ask::new(inbound.method.clone(), inbound.target.clone(), headers);
        let answer = if inbound.has_content {
            self.upstreams.send_once(&ask, content).await
        } else {
            self.upstreams.send(&ask).await
        };
        let answer = match answer {
            Ok(answer) => answer,
            Err(error) => {
                Counted::Failed.count();
                tracing::warn!(url = %inbound.target, host = %inbound.host, %error, "no response");
                return self.error(inbound, error.status(), UNREACHABLE);
            }
        };
        let mut reply = Reply::of(answer);
        if inbound.method == Method::HEAD {
            self.learn_from_head(inbound, key, &reply);
        }
        // RFC 9111 §4.4: after a non-error reply to an unsafe or unknown method.
        let non_error = reply.status.is_success() || reply.status.is_redirection();
        if !forward::is_safe(&inbound.method) && non_error {
            let mut keys = vec![key.clone()];
            for target in forward::also_invalidated(&reply.headers, "http", &inbound.host) {
                keys.push(Key::of_upstream(&inbound.host, &target));
            }
            for key in &keys {
                self.store.invalidate(key, &self.log);
            }
        }
        let status = CacheStatus {
            forward: Some(forward),
            forward_status: Some(reply.status),
            ..CacheStatus::default()
        };
        if inbound.method == Method::HEAD {
            // There is no content whatever Content-Length says (RFC 9110 §9.3.2).
            reply.source = Source::Whole(None);
        }
        self.answer_alone(inbound, reply, status)
    }

    /// A HEAD response that contradicts the stored GET makes it stale (RFC 9111 §4.3.5).
    fn learn_from_head(&self, inbound: &Inbound, key: &Key, reply: &Reply) {
        if reply.status != StatusCode::OK {
            return;
        }
        let found = self.store.find(key, &inbound.headers, &self.log);
        let Some(stored) = found.live else { return };
        let differs = |name: &HeaderName| {
            let new = reply.headers.get(name);
            new.is_some() && new != stored.head.get(name)
        };
        let length = reply.headers.get(header::CONTENT_LENGTH).and_then(|v| v.to_str().ok());
        let other_length = length.is_some_and(|text| text.parse() != Ok(stored.body.len()));
        if differs(&header::ETAG) || differs(&header::LAST_MODIFIED) || other_length {
            stored.make_stale(clock::boot_ms());
        }
    }
}
