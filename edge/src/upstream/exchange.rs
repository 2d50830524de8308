//! One request to one upstream, and what its failure means.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use http::{HeaderValue, Request, Response, StatusCode, header, uri};

use super::{
    Answer, Ask, Deadlines,
    body::{RequestBody, TimedBody, no_content},
    breaker::BreakerRules,
    pool::SendError,
    upstream::{Permit, Upstream},
};
use crate::{
    error::EdgeError,
    policy::forward,
    trace::{self, Step},
};

/// Connections found dead only when used, in a row, before that counts as the upstream's failure: it may have closed all
/// idle ones at once.
const DEAD_CONNECTIONS_MAX: usize = 3;
/// Bytes of a health check's answer that are read, so that its connection can be used again.
const CHECK_BYTES_MAX: u64 = 64 << 10;
/// What all exchanges of a set of upstreams have in common.
#[derive(Debug, Clone)]
pub(super) struct Exchange {
    pub(super) deadlines: Deadlines,
    pub(super) breaker: BreakerRules,
    /// What `Host` becomes, where it is not kept.
    pub(super) host: Option<HeaderValue>,
}

impl Exchange {
    /// Sends a request. One without content is sent again where only the connection was at fault.
    pub(super) async fn send(
        &self,
        upstream: &Arc<Upstream>,
        ask: &Ask,
        body: Option<RequestBody>,
        first_byte: Option<Duration>,
    ) -> Result<Answer, EdgeError> {
        let first_byte = first_byte.unwrap_or(self.deadlines.first_byte);
        let again = body.is_none() && forward::is_idempotent(&ask.method);
        let mut body = body;
        let mut permit = upstream.enter(self.breaker, ask)?;
        let began = Instant::now();
        let mut tries = 0;
        loop {
            tries += 1;
            let content = body.take().unwrap_or_else(no_content);
            let failure = match self.attempt(upstream, ask, content, first_byte, permit).await {
                Ok(answer) => return Ok(answer),
                Err(failure) => failure,
            };
            trace::note(|| Step::found(failure.error.to_string()));
            if again && failure.connection_was_dead && tries < DEAD_CONNECTIONS_MAX {
                permit = failure.permit;
                continue;
            }
            if failure.is_upstreams {
                failure.permit.failed(&failure.error, began.elapsed());
            }
            return Err(failure.error);
        }
    }

    /// Asks for the status alone, past the circuit breaker.
    pub(super) async fn check(&self, upstream: &Arc<Upstream>, ask: &Ask) -> Option<StatusCode> {
        let request = self.request(ask, no_content()).ok()?;
        let (response, lease) = upstream.pool.send(request).await.ok()?;
        lease.line().take();
        let status = response.status();
        let body = TimedBody::new(response.into_body(), self.deadlines.idle, lease);
        body.collect(CHECK_BYTES_MAX).await.ok()?;
        Some(status)
    }

    fn request(&self, ask: &Ask, body: RequestBody) -> Result<Request<RequestBody>, String> {
        let target: uri::PathAndQuery = ask.target.parse().map_err(|_| "the target is no path".to_owned())?;
        let mut request = Request::new(body);
        *request.method_mut() = ask.method.clone();
        *request.uri_mut() = target.into();
        *request.headers_mut() = ask.headers.clone();
        if let Some(host) = &self.host {
            request.headers_mut().insert(header::HOST, host.clone());
        }
        if let Some(informational) = &ask.informational {
            let informational = informational.clone();
            hyper::ext::on_informational(&mut request, move |response| {
                informational.call(response.status(), response.headers());
            });
        }
        Ok(request)
    }

    async fn attempt(
        &self,
        upstream: &Arc<Upstream>,
        ask: &Ask,
        body: RequestBody,
        first_byte: Duration,
        mut permit: Permit,
    ) -> Result<Answer, Box<Failure>> {
        let bad = |reason: String| EdgeError::BadResponse { upstream: upstream.label().to_owned(), reason };
        let mut request = match self.request(ask, body) {
            Ok(request) => request,
            Err(reason) => return Err(Failure::of_request(permit, bad(reason))),
        };
        if !request.headers().contains_key(header::HOST)
            && let Ok(host) = HeaderValue::from_str(&upstream.address.authority)
        {
            request.headers_mut().insert(header::HOST, host);
        }
        upstream.meters.requests.increment(1);
        let started = Instant::now();
        let sent = tokio::time::timeout(first_byte, upstream.pool.send(request)).await;
        let (mut response, lease) = match sent {
            Err(_) => {
                let ms = u64::try_from(first_byte.as_millis()).unwrap_or(u64::MAX);
                let error = EdgeError::FirstByte { upstream: upstream.label().to_owned(), ms };
                return Err(Failure::of_upstream(permit, error));
            }
            Ok(Err(SendError::Connect(error))) => {
                let (upstream, reason) = (upstream.label().to_owned(), chain(&error));
                return Err(Failure::of_upstream(permit, EdgeError::Connect { upstream, reason }));
            }
            Ok(Err(SendError::Broke { error, was_used })) => {
                let reason = chain(&error);
                if error.is_user() {
                    return Err(Failure::of_request(permit, EdgeError::RequestBroke { reason }));
                }
                let failure = Failure::of_upstream(permit, bad(reason));
                return Err(Box::new(Failure { connection_was_dead: was_used, ..*failure }));
            }
            Ok(Ok(answered)) => answered,
        };
        if let Some(problem) = forward::misframed(response.headers()) {
            // Nobody knows where the next response begins: the connection ends here.
            return Err(Failure::of_upstream(permit, bad(problem.to_owned())));
        }
        let upgraded =
            (response.status() == StatusCode::SWITCHING_PROTOCOLS).then(|| hyper::upgrade::on(&mut response));
        let (parts, body) = Response::into_parts(response);
        if !lease.line().take() {
            upstream.note_reuse();
        }
        let mut body = TimedBody::new(body, self.deadlines.idle, lease);
        if let Err(error) = body.begin().await {
            return Err(Failure::of_upstream(permit, error));
        }
        permit.succeeded();
        trace::note(|| {
            let (label, status, ms) = (upstream.label(), parts.status, started.elapsed().as_millis());
            Step::found(format!("{label} answered {} after {ms} ms", status.as_u16()))
        });
        upstream.meters.first_byte.record(started.elapsed().as_secs_f64());
        Ok(Answer {
            status: parts.status,
            version: parts.version,
            headers: parts.headers,
            body: body.holding(permit),
            upstream: upstream.label().to_owned(),
            upgraded,
        })
    }
}

/// Why an attempt brought no response.
struct Failure {
    permit: Permit,
    error: EdgeError,
    /// Whether the upstream is to blame.
    is_upstreams: bool,
    /// Whether it came from a connection that had served before, and so may say nothing about the upstream.
    connection_was_dead: bool,
}

impl Failure {
    fn of_upstream(permit: Permit, error: EdgeError) -> Box<Self> {
        Box::new(Self { permit, error, is_upstreams: true, connection_was_dead: false })
    }

    fn of_request(permit: Permit, error: EdgeError) -> Box<Self> {
        Box::new(Self { permit, error, is_upstreams: false, connection_was_dead: false })
    }
}

/// The whole chain of causes, which hyper's own message leaves out.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}
