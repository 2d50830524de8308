//! One request to one upstream, and what its failure means.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use http::{HeaderValue, StatusCode};

use super::{
    Answer, Ask, Deadlines,
    body::{RequestBody, TimedBody},
    breaker::BreakerRules,
    message::Head,
    pool::{Lease, SendError, Which},
    upstream::{Permit, UnderWay, Upstream},
};
use crate::{
    error::EdgeError,
    policy::forward,
    trace::{self, Step},
};

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
        let deadlines = Deadlines { first_byte, ..self.deadlines };
        let again = ask.is_repeatable(body.as_ref());
        let mut body = body;
        // A client may take as long as it likes to send content, and for that time this one has no answer to give.
        let trial_max = if body.is_some() { self.deadlines.connect } else { Duration::MAX };
        let mut permit = upstream.enter(self.breaker, ask, trial_max)?;
        let began = Instant::now();
        let mut line = Which::Any;
        loop {
            let failure = match self.attempt(upstream, ask, body.take(), &deadlines, line, permit).await {
                Ok(answer) => return Ok(answer),
                Err(failure) => failure,
            };
            trace::note(|| Step::found(failure.error.to_string()));
            if again && failure.connection_was_dead {
                // Where one that was kept is dead, others may be as well.
                (line, permit) = (Which::New, failure.permit);
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
        let answer = match self.ask(upstream, ask, None, &self.deadlines, Which::Any).await {
            Err(SendError::Broke { was_used: true, .. }) => {
                self.ask(upstream, ask, None, &self.deadlines, Which::New).await
            }
            answer => answer,
        };
        let (head, lease) = answer.ok()?;
        lease.line().take();
        let body = TimedBody::new(&head, self.deadlines.idle, lease);
        body.collect(CHECK_BYTES_MAX).await.ok()?;
        Some(head.status)
    }

    async fn ask(
        &self,
        upstream: &Upstream,
        ask: &Ask,
        content: Option<RequestBody>,
        deadlines: &Deadlines,
        line: Which,
    ) -> Result<(Head, Lease), SendError> {
        let authority = &upstream.address.authority;
        upstream.pool.send(ask, self.host.as_ref(), authority, content, deadlines, line).await
    }

    async fn attempt(
        &self,
        upstream: &Arc<Upstream>,
        ask: &Ask,
        body: Option<RequestBody>,
        deadlines: &Deadlines,
        line: Which,
        mut permit: Permit,
    ) -> Result<Answer, Box<Failure>> {
        let bad = |reason: String| EdgeError::BadResponse { upstream: upstream.label().to_owned(), reason };
        upstream.meters.requests.increment(1);
        let started = Instant::now();
        let (head, lease) = match self.ask(upstream, ask, body, deadlines, line).await {
            Ok(answered) => answered,
            Err(SendError::Late) => {
                let ms = u64::try_from(deadlines.first_byte.as_millis()).unwrap_or(u64::MAX);
                let error = EdgeError::FirstByte { upstream: upstream.label().to_owned(), ms };
                return Err(Failure::of_upstream(permit, error));
            }
            Err(SendError::Connect(error)) => {
                let (upstream, reason) = (upstream.label().to_owned(), chain(&error));
                return Err(Failure::of_upstream(permit, EdgeError::Connect { upstream, reason }));
            }
            Err(SendError::Request(reason)) => {
                return Err(Failure::of_request(permit, bad(reason.to_owned())));
            }
            Err(SendError::Content(error)) => {
                let reason = chain(&*error);
                return Err(Failure::of_request(permit, EdgeError::RequestBroke { reason }));
            }
            Err(SendError::Broke { reason, was_used }) => {
                let failure = Failure::of_upstream(permit, bad(reason));
                return Err(Box::new(Failure { connection_was_dead: was_used, ..*failure }));
            }
        };
        if let Some(problem) = forward::misframed(&head.headers) {
            // Nobody knows where the next response begins: the connection ends here.
            return Err(Failure::of_upstream(permit, bad(problem.to_owned())));
        }
        if !lease.line().take() {
            upstream.note_reuse();
        }
        let (mut body, upgraded) = if head.status == StatusCode::SWITCHING_PROTOCOLS {
            (TimedBody::none(), Some(lease.into_upgraded(UnderWay::begin(upstream))))
        } else {
            (TimedBody::new(&head, self.deadlines.idle, lease), None)
        };
        if let Err(error) = body.begin().await {
            let is_requests = matches!(error, EdgeError::RequestBroke { .. });
            return Err(if is_requests { Failure::of_request } else { Failure::of_upstream }(permit, error));
        }
        permit.succeeded();
        trace::note(|| {
            let (label, status, ms) = (upstream.label(), head.status, started.elapsed().as_millis());
            Step::found(format!("{label} answered {} after {ms} ms", status.as_u16()))
        });
        upstream.meters.first_byte.add_among_others(started.elapsed());
        Ok(Answer {
            status: head.status,
            version: head.version,
            headers: head.headers,
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

/// The whole chain of causes.
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
