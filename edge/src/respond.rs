//! From what was found or fetched to the response.

use std::{cell::Cell, sync::Arc};

use http::{HeaderMap, HeaderValue, Method, StatusCode, Version, header};
use release::answer;

use crate::{
    body::{OutBody, Source},
    clock,
    collapse::Landing,
    confirm::Confirmed,
    cut::{Cut, part_fields, several, unsatisfiable_fields},
    decide::Shape,
    edge::{Edge, UNREACHABLE},
    error::EdgeError,
    error_page::error_page,
    fill::{Fill, FillReader},
    inbound::Inbound,
    lookup::{Outcome, Told},
    metrics::{Result as Counted, count},
    policy::{
        forward,
        freshness::StaleRefused,
        range::{ContentRange, Ranged},
        reuse::{Failure, stale_on_failure},
        status::{CACHE_STATUS, CacheStatus, ttl_seconds},
        storing::NoStore,
        validate::{self, Conditional},
    },
    reply::Reply,
    store::{Found, Stored},
};

/// The name in `Cache-Status` (RFC 9211 §2).
pub(crate) const CACHE_NAME: &str = "Bakehouse";
/// Fields that a response gets here: its age and length, our names, what became of it, and its id. To make room for all of them at once
/// costs less than for one after the other.
const FIELDS_TOLD: usize = 5;
/// What a client is told to wait before it asks an edge that is not ready again, in seconds.
pub(crate) const RETRY_AFTER_SECONDS: u32 = 1;

/// A response on its way to a client.
#[derive(Debug)]
pub(crate) struct Response {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: OutBody,
    /// How its request was answered.
    pub(crate) result: Counted,
}

impl Edge {
    /// From the outcome of a fetch to the response.
    pub(crate) fn conclude(
        self: &Arc<Self>,
        inbound: &Inbound,
        outcome: Outcome,
        found: &Found,
        told: Told,
    ) -> Response {
        let now = clock::boot_ms();
        let Told { forward, collapsed, detail } = told;
        let status = CacheStatus { forward, collapsed, detail, ..CacheStatus::default() };
        match outcome {
            Outcome::Filling(fill, reader, own) => {
                let left = fill.freshness.left_ms(now, None);
                let status = CacheStatus {
                    forward_status: Some(fill.answered),
                    stored: collapsed != Some(true) && !fill.is_overtaken,
                    ttl_seconds: Some(ttl_seconds(left)),
                    detail: detail.or(fill.is_overtaken.then_some(NoStore::Superseded.as_str())),
                    ..status
                };
                self.answer_fill(inbound, &fill, reader, own, status)
            }
            Outcome::Landing(Landing::Stored(stored, code)) => {
                let left = stored.freshness().left_ms(now, stored.stale_from());
                let status = CacheStatus {
                    forward_status: Some(code),
                    stored: collapsed != Some(true) && stored.is_linked(),
                    ttl_seconds: Some(ttl_seconds(left)),
                    ..status
                };
                self.answer_stored(inbound, &stored, status)
            }
            Outcome::Landing(Landing::Stand(stored, code)) => {
                let left = stored.freshness().left_ms(now, stored.stale_from());
                let status = CacheStatus {
                    forward_status: code,
                    ttl_seconds: Some(ttl_seconds(left)),
                    detail: Some(code.map_or(Failure::Disconnected, Failure::Status).as_str()),
                    ..status
                };
                self.answer_stored(inbound, &stored, status)
            }
            Outcome::Landing(Landing::Failed(error)) => {
                let refused = self.refused(inbound, found, Failure::Disconnected);
                let (url, host) = (&inbound.target, &inbound.host);
                if let EdgeError::RequestBroke { .. } = &*error {
                    // Clients go as they like.
                    tracing::info!(%url, %host, %error, "no response");
                } else {
                    let stale_refused = refused.map(StaleRefused::as_str);
                    tracing::warn!(%url, %host, %error, stale_refused, "no response");
                }
                match &*error {
                    EdgeError::Unpublished => self.not_ready(inbound, "Nothing is published here yet."),
                    EdgeError::NoTurn { .. } => self.not_ready(inbound, "Too many are waiting."),
                    // What could not be validated may not be used (RFC 9111 §5.2.2.2).
                    _ if refused.is_some() => self.error(inbound, StatusCode::GATEWAY_TIMEOUT, UNREACHABLE),
                    error if error.status() == StatusCode::SERVICE_UNAVAILABLE => {
                        self.not_ready(inbound, UNREACHABLE)
                    }
                    error => self.error(inbound, error.status(), UNREACHABLE),
                }
            }
            Outcome::Alone(reply, reason) => {
                let refused = self.refused(inbound, found, Failure::Status(reply.status));
                let detail = refused.map(StaleRefused::as_str).or(detail).unwrap_or(reason.as_str());
                let status =
                    CacheStatus { forward_status: Some(reply.status), detail: Some(detail), ..status };
                let mut reply = *reply;
                if matches!(inbound.method, Method::GET | Method::HEAD)
                    && reply.status.is_success()
                    && validate::conditional_alone(&inbound.headers, &reply.headers, clock::wall())
                        == Conditional::NotModified
                {
                    Shape::NotModified.note();
                    validate::strip_for_304(&mut reply.headers);
                    reply.status = StatusCode::NOT_MODIFIED;
                    reply.source = Source::Whole(None);
                }
                self.answer_alone(inbound, reply, status)
            }
            Outcome::Renewed(Confirmed { stored, refused, own, is_aged }, code) => {
                let left = stored.freshness().left_ms(now, stored.stale_from());
                let status = CacheStatus {
                    forward_status: Some(code),
                    stored: refused.is_none() && stored.is_linked(),
                    ttl_seconds: refused.is_none().then(|| ttl_seconds(left)),
                    detail: detail.or(refused.map(NoStore::as_str)),
                    ..status
                };
                let mut response = self.answer_stored(inbound, &stored, status);
                if !is_aged {
                    // It would say that the upstream has not just confirmed it for this request (RFC 9111 §5.1).
                    response.headers.remove(header::AGE);
                }
                for (name, value) in &own {
                    response.headers.append(name.clone(), value.clone());
                }
                response
            }
            Outcome::Passed(reply) => {
                let status = CacheStatus { forward_status: Some(reply.status), ..status };
                self.answer_alone(inbound, *reply, status)
            }
            Outcome::Landing(Landing::Body(_) | Landing::Released) => {
                self.error(inbound, StatusCode::BAD_GATEWAY, "The request could not be answered.")
            }
        }
    }

    /// What forbade a stale copy to stand in for a failure.
    fn refused(&self, inbound: &Inbound, found: &Found, failure: Failure) -> Option<StaleRefused> {
        let now = clock::boot_ms();
        let Some(stored) = &found.live else {
            // Parts that would have answered, were they not as stale as a whole may not be.
            let forbidden = Cell::new(None);
            Cut::of_parts(&inbound.headers, &found.parts, |stored| {
                let (freshness, stale_from) = (stored.freshness(), stored.stale_from());
                let left_ms = freshness.left_ms(now, stale_from);
                if left_ms <= 0 {
                    let allowed = stale_on_failure(&freshness, stale_from, inbound.directives, failure, now);
                    forbidden.set(forbidden.get().or(allowed.err().flatten()));
                }
                Some(left_ms)
            })?;
            return forbidden.get();
        };
        stale_on_failure(&stored.freshness(), stored.stale_from(), inbound.directives, failure, now).err()?
    }

    pub(crate) fn answer_stored(
        &self,
        inbound: &Inbound,
        stored: &Arc<Stored>,
        status: CacheStatus,
    ) -> Response {
        self.answer_held(inbound, stored, None, status)
    }

    /// What is asked of a content of which only parts are held.
    pub(crate) fn answer_parts(&self, inbound: &Inbound, cut: &Cut<'_>, status: CacheStatus) -> Response {
        self.answer_held(inbound, cut.of, Some(cut), status)
    }

    fn answer_held(
        &self,
        inbound: &Inbound,
        stored: &Arc<Stored>,
        parts: Option<&Cut<'_>>,
        status: CacheStatus,
    ) -> Response {
        let head = stored.head();
        let mut headers = head.clone();
        let age = stored.freshness().age_seconds(clock::boot_ms());
        headers.insert(header::AGE, HeaderValue::from(age));
        let mut code = stored.status;
        let mut body = OutBody::whole(stored.content());
        let length = stored.body().len() as u64;
        // What parts hold of a content is told apart already.
        let shape =
            Shape::of(inbound, stored.status, &head, stored.wall(), parts.is_none().then_some(length));
        let cut = match (shape, parts) {
            (Shape::AsIs, Some(parts)) => {
                Shape::Cut(parts.asked.clone()).note();
                parts.make(&mut headers)
            }
            (shape, _) => {
                shape.note();
                match shape {
                    Shape::AsIs => None,
                    Shape::NotModified => Some((StatusCode::NOT_MODIFIED, OutBody::empty())),
                    Shape::Cut(asked) => Cut::of_whole(stored, length, asked).make(&mut headers),
                }
            }
        };
        if let Some((status, content)) = cut {
            (code, body) = (status, content);
        }
        let length = body.exact_bytes().unwrap_or(0);
        if code == StatusCode::NOT_MODIFIED {
            validate::strip_for_304(&mut headers);
        } else if code != StatusCode::NO_CONTENT {
            headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
        }
        count(|counts| counts.sent_bytes.add(length));
        let body = without_content(inbound, &mut headers, body);
        self.finish(inbound, code, headers, body, Some(status))
    }

    fn answer_fill(
        &self,
        inbound: &Inbound,
        fill: &Arc<Fill>,
        reader: FillReader,
        own: Option<HeaderMap>,
        status: CacheStatus,
    ) -> Response {
        let mut headers = own.unwrap_or_else(|| {
            let mut headers = fill.head.clone();
            headers.reserve(FIELDS_TOLD);
            let age = fill.freshness.age_seconds(clock::boot_ms());
            headers.insert(header::AGE, HeaderValue::from(age));
            headers
        });
        let mut code = fill.status;
        let mut body = OutBody::Fill(reader);
        let shape = Shape::of(inbound, code, &fill.head, fill.wall, fill.length);
        shape.note();
        match (shape, fill.length) {
            (Shape::NotModified, _) => {
                validate::strip_for_304(&mut headers);
                let code = StatusCode::NOT_MODIFIED;
                return self.finish(inbound, code, headers, OutBody::empty(), Some(status));
            }
            (Shape::Cut(Ranged::Parts(spans)), Some(length)) => {
                if let Some(parts) = fill.readers(&spans) {
                    body = several(&mut headers, &spans, length, parts);
                    code = StatusCode::PARTIAL_CONTENT;
                }
            }
            (Shape::Cut(Ranged::Part(span)), length) => {
                if let Some(part) = fill.reader(span.start, Some(span.end)) {
                    body = OutBody::Fill(part);
                    code = StatusCode::PARTIAL_CONTENT;
                    part_fields(&mut headers, ContentRange { span, length });
                }
            }
            (Shape::Cut(Ranged::Unsatisfiable), Some(length)) => {
                unsatisfiable_fields(&mut headers, length);
                headers.insert(header::CONTENT_LENGTH, HeaderValue::from(0));
                let code = StatusCode::RANGE_NOT_SATISFIABLE;
                return self.finish(inbound, code, headers, OutBody::empty(), Some(status));
            }
            _ => {}
        }
        match body.exact_bytes() {
            Some(length) if code != StatusCode::NO_CONTENT => {
                // Of content that goes out the length is told by whoever sends it.
                if inbound.method == Method::HEAD {
                    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
                }
            }
            _ => {
                headers.remove(header::CONTENT_LENGTH);
            }
        }
        let body = without_content(inbound, &mut headers, body);
        self.finish(inbound, code, headers, body, Some(status))
    }

    pub(crate) fn answer_alone(
        self: &Arc<Self>,
        inbound: &Inbound,
        reply: Reply,
        status: CacheStatus,
    ) -> Response {
        let body = match reply.source {
            _ if inbound.method == Method::HEAD => OutBody::empty(),
            Source::Whole(bytes) => OutBody::Whole(bytes),
            Source::Stream(body) if reply.digest.is_none() => OutBody::Upstream(body),
            source => self.stream_for_one(&reply.headers, reply.status, source, reply.digest),
        };
        self.finish(inbound, reply.status, reply.headers, body, Some(status))
    }

    /// What every response gets on its way out.
    pub(crate) fn finish(
        &self,
        inbound: &Inbound,
        code: StatusCode,
        mut headers: HeaderMap,
        body: OutBody,
        status: Option<CacheStatus>,
    ) -> Response {
        if self.sites.is_some() {
            headers.remove(answer::EDGE_CACHE_CONTROL);
            headers.remove(answer::CHUNKS_FIELD);
            repeat_query(inbound, code, &mut headers);
        }
        if !forward::is_via_http_1_0(&headers, &self.config.name) {
            forward::add_via(&mut headers, Version::HTTP_11, &self.config.name);
        }
        let result = status.as_ref().map_or(Counted::Local, Counted::of);
        if let Some(status) = status {
            headers.append(CACHE_STATUS, status.to_value(CACHE_NAME));
        }
        headers.insert(forward::REQUEST_ID, inbound.id.clone());
        Response { status: code, headers, body, result }
    }

    /// A page of our own. Never stored, and without `Cache-Status` (RFC 9211 §2).
    pub(crate) fn error(&self, inbound: &Inbound, code: StatusCode, text: &str) -> Response {
        error_page(code, text, inbound.method == Method::HEAD, Some(&inbound.id))
    }

    /// To a request that accepts only what is stored (RFC 9111 §5.2.1.7).
    pub(crate) fn not_stored(&self, inbound: &Inbound) -> Response {
        self.error(inbound, StatusCode::GATEWAY_TIMEOUT, "There is no stored response to use.")
    }

    pub(crate) fn not_ready(&self, inbound: &Inbound, text: &str) -> Response {
        let mut response = self.error(inbound, StatusCode::SERVICE_UNAVAILABLE, text);
        response.headers.insert(header::RETRY_AFTER, HeaderValue::from(RETRY_AFTER_SECONDS));
        response
    }
}

/// The content of what a GET has brought, as the method of a request has it: a HEAD gets none, and no digest of it (RFC 9530
/// §B.2).
fn without_content(inbound: &Inbound, headers: &mut HeaderMap, body: OutBody) -> OutBody {
    if inbound.method != Method::HEAD {
        return body;
    }
    headers.remove(validate::CONTENT_DIGEST);
    OutBody::empty()
}

/// A redirect from a folder to its slash keeps the query, which is not part of a site's keys.
fn repeat_query(inbound: &Inbound, code: StatusCode, headers: &mut HeaderMap) {
    let Some((path, query)) = inbound.target.split_once('?') else { return };
    if code != StatusCode::PERMANENT_REDIRECT {
        return;
    }
    let Some(location) = headers.get(header::LOCATION).and_then(|value| value.to_str().ok()) else { return };
    let to_slash = release::url::site_path(path).is_some_and(|path| {
        location.strip_suffix('/').and_then(release::url::site_path).is_some_and(|to| to == path)
    });
    if to_slash && let Ok(value) = HeaderValue::from_str(&format!("{location}?{query}")) {
        headers.insert(header::LOCATION, value);
    }
}

/// For positions within what is held in memory.
pub(crate) fn usize_of(n: u64) -> usize {
    usize::try_from(n).unwrap_or(usize::MAX)
}
