//! Requests that the cache has no part in, but for what they make invalid.

use std::sync::Arc;

use http::{HeaderMap, Method, StatusCode, header};
use tokio::sync::oneshot;

use crate::{
    body::{OutBody, Source},
    clock,
    collapse::Landing,
    edge::Edge,
    error::EdgeError,
    fill::Fill,
    groups::invalidated_groups,
    inbound::{Inbound, SERVER},
    key::Key,
    lookup::{Outcome, Told},
    policy::{
        directives::{Control, RequestDirectives},
        freshness::{Freshness, Receipt},
        range::{self, Onward},
        reuse::{Failure, Forward},
        same_origin::{self, Scheme},
        storing::{self, Asked, NoStore, storing},
        vary::{self, Codings, Selection},
    },
    purge::Applied,
    receive::Receiving,
    reply::Reply,
    respond::Response,
    stand_in::stands_in,
    store::Found,
    trace::{self, Step},
    upstream::{Answer, Ask, RequestBody},
};

/// What an exchange needs that goes on without its client.
struct Unsafe {
    key: Key,
    scheme: Scheme,
    request: Arc<HeaderMap>,
    directives: RequestDirectives,
    ask: Ask,
    has_content: bool,
}

impl Edge {
    /// A request that the cache has no part in, but for what it makes invalid, and for what it holds, which may stand in.
    pub(crate) async fn pass(
        self: &Arc<Self>,
        inbound: &Inbound,
        key: &Key,
        content: RequestBody,
        forward: Forward,
        found: &Found,
    ) -> Response {
        let mut headers = self.onward_fields(inbound);
        if inbound.method == Method::GET {
            match range::onward(&headers) {
                Onward::AsIs => {}
                Onward::Without => drop(headers.remove(header::RANGE)),
                Onward::Instead(range) => drop(headers.insert(header::RANGE, range)),
            }
        }
        // A HEAD tells of what a GET would bring (RFC 9110 §9.3.2), and of what is held, which was asked for so; and what a POST
        // brings may be kept for a GET (§9.3.3).
        if matches!(inbound.method, Method::HEAD | Method::POST)
            && let Some(codings) = Codings::to_send(&headers)
        {
            headers.insert(header::ACCEPT_ENCODING, codings);
        }
        let mut ask = Ask::new(inbound.method.clone(), inbound.target.clone(), headers);
        ask.informational = inbound.informational();
        ask.expects_continue = inbound.expects_continue;
        let outcome = if inbound.method.is_safe() {
            let asked = clock::boot_ms();
            let began = self.log.now();
            let reply = self.exchange(&mut ask, inbound.has_content, content).await;
            let reply = reply.and_then(|reply| solicited(inbound, reply));
            if let Ok(reply) = &reply
                && inbound.method == Method::HEAD
            {
                let receipt = Receipt { asked, got: clock::boot_ms(), wall: clock::wall() };
                self.learn_from_head(inbound, key, reply, receipt, began);
            }
            let failure = match &reply {
                Ok(reply) => Failure::Status(reply.status),
                Err(_) => Failure::Disconnected,
            };
            let stands_in = found.live.as_ref().and_then(|stored| {
                stands_in(inbound.directives, stored, failure)?;
                let authorized = inbound.headers.contains_key(header::AUTHORIZATION);
                self.hints.note_failed(key, authorized, failure, clock::boot_ms());
                Some(Landing::Stand(Arc::clone(stored), failure.status()))
            });
            match reply {
                _ if let Some(landing) = stands_in => Outcome::Landing(landing),
                Ok(mut reply) => {
                    if inbound.method == Method::HEAD {
                        // There is no content whatever Content-Length says (RFC 9110 §9.3.2).
                        reply.source = Source::Whole(None);
                    }
                    Outcome::Passed(Box::new(reply))
                }
                Err(error) => Outcome::failed(error),
            }
        } else {
            // What an unsafe request changes is changed whether or not its client waits for the answer.
            let request = Unsafe {
                key: key.clone(),
                scheme: inbound.scheme,
                request: Arc::clone(&inbound.headers),
                directives: inbound.directives,
                ask,
                has_content: inbound.has_content,
            };
            let (tell, told) = oneshot::channel();
            let edge = Arc::clone(self);
            self.tasks
                .spawn(trace::carried(Box::pin(async move { edge.change(request, content, tell).await })));
            told.await.unwrap_or_else(|_| Outcome::failed(EdgeError::UpstreamBroke))
        };
        let told = Told { forward: Some(forward), ..Told::default() };
        self.conclude(inbound, outcome, found, told)
    }

    async fn exchange(
        &self,
        ask: &mut Ask,
        has_content: bool,
        content: RequestBody,
    ) -> Result<Reply, EdgeError> {
        let answer = self.send(ask, has_content.then_some(content)).await?;
        Reply::of(answer, &self.config.name)
    }

    /// Sends a request in its turn.
    pub(crate) async fn send(
        &self,
        ask: &mut Ask,
        content: Option<RequestBody>,
    ) -> Result<Answer, EdgeError> {
        ask.turn = Some(self.turns.take(ask.head_bytes()).await?);
        match content {
            Some(content) => self.upstreams.send_once(ask, content).await,
            None => self.upstreams.send(ask).await,
        }
    }

    /// An unsafe request, or one of a method that is not known: what it says is invalid is made so before anybody hears
    /// of it (RFC 9111 §4.4).
    async fn change(
        self: Arc<Self>,
        mut request: Unsafe,
        content: RequestBody,
        tell: oneshot::Sender<Outcome>,
    ) {
        let (asked, sent) = (clock::boot_ms(), self.log.now());
        let mut reply = match self.exchange(&mut request.ask, request.has_content, content).await {
            Ok(reply) => reply,
            Err(error) => {
                let _ = tell.send(Outcome::failed(error));
                return;
            }
        };
        let receipt = Receipt { asked, got: clock::boot_ms(), wall: clock::wall() };
        let settings = self.settings();
        let authority = request.key.host().unwrap_or_default();
        let mut began = None;
        if reply.status.is_success() || reply.status.is_redirection() {
            trace::note(|| Step::by("RFC 9111 §4.4", "what is stored for this URL is invalid from now on"));
            let is_overtaken = self.log.covers_fetch(sent, &request.key, None);
            let target = &request.key.target;
            for also in same_origin::also_invalidated(&reply.headers, request.scheme, authority, target) {
                let also = settings.rules.query.target(&also);
                let also = Key::of_upstream(request.scheme, authority, &also);
                if also != request.key {
                    trace::note(|| Step::by("RFC 9111 §4.4", "so is what its response says that it is at"));
                    self.store.invalidate(&also, sent, &self.log);
                }
            }
            let groups = invalidated_groups(&reply.headers);
            if !groups.is_empty() {
                trace::note(|| {
                    Step::by("RFC 9875 §3", "so is what is in the groups that its response names")
                });
                self.mark(Applied::groups(&request.key.scope, groups));
            }
            // From here on: what began before is invalid, this is not.
            began = self.store.invalidate(&request.key, sent, &self.log).filter(|_| !is_overtaken);
        }
        let rules = &settings.rules;
        let control = Control::of(&reply.headers, &rules.targets);
        let freshness = Freshness::of(reply.status, &reply.headers, &control, receipt, rules.s_maxage);
        let asked = Asked {
            method: &request.ask.method,
            authorized: request.request.contains_key(header::AUTHORIZATION),
            directives: request.directives,
            // With parameters that do not count it has asked for something else than what is keyed.
            is_located: request.ask.target == *request.key.target
                && same_origin::is_located(&reply.headers, request.scheme, authority, &request.key.target),
        };
        let length = reply.source.length();
        let fits = length.is_none_or(|length| length <= self.object_bytes_max() as u64);
        let verdict = storing(asked, reply.status, &reply.headers, &control, &freshness, rules)
            .and_then(|()| began.ok_or(NoStore::Superseded));
        // That most of these methods store nothing is no news.
        if let Err(reason) = verdict
            && reason != NoStore::Method
        {
            self.note_not_stored(reason, authority, &request.key.target);
        }
        let stored = verdict.ok().filter(|_| fits).zip(vary::names(&reply.headers));
        let Some((began, names)) = stored else {
            let _ = tell.send(Outcome::Passed(Box::new(reply)));
            return;
        };
        let own = reply.headers.clone();
        storing::strip_for_storage(&mut reply.headers, &control);
        let selection = Selection::of(&names, &request.request);
        let fill =
            Arc::new(Fill::new(reply.status, reply.headers, freshness, selection, receipt.wall, length));
        if let Some(reader) = fill.reader(0, None) {
            let _ = tell.send(Outcome::Filling(Arc::clone(&fill), reader, Some(own)));
        }
        let receiving = Receiving {
            key: &request.key,
            fill: &fill,
            part: None,
            beginning: 0,
            digest: None,
            is_of_get: false,
            began,
        };
        self.receive(receiving, reply.source, None).await;
    }

    /// OPTIONS about this server, or that no further node is to answer (RFC 9110 §7.6.2).
    pub(crate) fn answer_options(&self, inbound: &Inbound) -> Response {
        let mut headers = HeaderMap::new();
        let allow = "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS";
        let clause = if inbound.target == SERVER { "RFC 9110 §9.3.7" } else { "RFC 9110 §7.6.2" };
        trace::note(|| Step::by(clause, "204: this is the server that is asked about"));
        headers.insert(header::ALLOW, http::HeaderValue::from_static(allow));
        self.finish(inbound, StatusCode::NO_CONTENT, headers, OutBody::empty(), None)
    }
}

/// A response to a GET or HEAD that is sent on, where it is no 304 to one without conditions: whoever sent that holds nothing
/// that it could be about (RFC 9110 §15.4.5).
fn solicited(inbound: &Inbound, reply: Reply) -> Result<Reply, EdgeError> {
    let asks = [header::IF_NONE_MATCH, header::IF_MODIFIED_SINCE];
    if reply.status == StatusCode::NOT_MODIFIED
        && matches!(inbound.method, Method::GET | Method::HEAD)
        && !asks.iter().any(|name| inbound.headers.contains_key(name))
    {
        return Err(EdgeError::unsolicited_304(&inbound.host));
    }
    Ok(reply)
}

impl Outcome {
    fn failed(error: EdgeError) -> Self {
        Self::Landing(Landing::Failed(Arc::new(error)))
    }
}
