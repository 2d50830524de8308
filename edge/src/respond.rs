//! From what was found or fetched to the response.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode, Version, header};
use release::answer;

use crate::{
    body::{OutBody, Source},
    clock,
    collapse::Landing,
    edge::{Edge, UNREACHABLE},
    error::EdgeError,
    error_page::error_page,
    fill::{Fill, FillReader},
    inbound::Inbound,
    lookup::Outcome,
    metrics::Result as Counted,
    policy::{
        forward,
        freshness::{Millis, StaleRefused},
        range::{Ranged, ranged},
        reuse::Forward,
        status::{CacheStatus, ttl_seconds},
        validate::{self, Conditional},
    },
    reply::Reply,
    store::{Found, Stored},
};

/// The name in `Cache-Status` (RFC 9211 §2).
const CACHE_NAME: &str = "Bakehouse";
/// What a client is told to wait before it asks an edge that is not ready again, in seconds.
const RETRY_AFTER_SECONDS: u32 = 1;

impl Edge {
    /// From the outcome of a fetch to the response.
    pub(crate) fn conclude(
        self: &Arc<Self>,
        inbound: &Inbound,
        outcome: Outcome,
        found: &Found,
        forward: Forward,
        collapsed: Option<bool>,
        gate_detail: Option<&'static str>,
    ) -> Response<OutBody> {
        let now = clock::boot_ms();
        let status =
            CacheStatus { forward: Some(forward), collapsed, detail: gate_detail, ..CacheStatus::default() };
        match outcome {
            Outcome::Filling(fill, reader) => {
                let left = fill.freshness.left_ms(now, None);
                let status = CacheStatus {
                    forward_status: Some(fill.status),
                    stored: collapsed != Some(true),
                    ttl_seconds: Some(ttl_seconds(left)),
                    ..status
                };
                self.answer_fill(inbound, &fill, reader, status)
            }
            Outcome::Landing(Landing::Stored(stored, code)) => {
                let left = stored.freshness.left_ms(now, stored.stale_from());
                let status = CacheStatus {
                    forward_status: Some(code),
                    stored: collapsed != Some(true),
                    ttl_seconds: Some(ttl_seconds(left)),
                    ..status
                };
                self.answer_stored(inbound, &stored, status, now)
            }
            Outcome::Landing(Landing::Stand(stored, code)) => {
                Counted::Stale.count();
                let left = stored.freshness.left_ms(now, stored.stale_from());
                let status = CacheStatus {
                    forward_status: code,
                    ttl_seconds: Some(ttl_seconds(left)),
                    detail: Some(if code.is_some() { "stale-if-error" } else { "disconnected" }),
                    ..status
                };
                self.answer_stored(inbound, &stored, status, now)
            }
            Outcome::Landing(Landing::Failed(error)) => {
                Counted::Failed.count();
                let stale_refused = found
                    .live
                    .as_ref()
                    .and_then(|stored| stored.freshness.stale_refused)
                    .map(StaleRefused::as_str);
                tracing::warn!(url = %inbound.target, host = %inbound.host, %error, stale_refused, "no response");
                match &*error {
                    EdgeError::Unpublished => self.not_ready(inbound, "Nothing is published here yet."),
                    error => self.error(inbound, error.status(), UNREACHABLE),
                }
            }
            Outcome::Alone(reply, reason) => {
                let status = CacheStatus {
                    forward_status: Some(reply.status),
                    detail: Some(reason.as_str()),
                    ..status
                };
                self.answer_alone(inbound, *reply, status)
            }
            Outcome::Landing(Landing::Body(_) | Landing::Released) => {
                self.error(inbound, StatusCode::BAD_GATEWAY, "The request could not be answered.")
            }
        }
    }

    pub(crate) fn answer_stored(
        &self,
        inbound: &Inbound,
        stored: &Arc<Stored>,
        status: CacheStatus,
        now: Millis,
    ) -> Response<OutBody> {
        let mut headers = stored.head.clone();
        let age = stored.freshness.age_seconds(now);
        headers.insert(header::AGE, HeaderValue::from(age));
        let mut code = stored.status;
        let mut body = stored.body.clone();
        if stored.status == StatusCode::OK {
            match validate::conditional(&inbound.headers, &stored.head, stored.wall, clock::wall()) {
                Conditional::NotModified => {
                    code = StatusCode::NOT_MODIFIED;
                    body = Bytes::new();
                }
                Conditional::Send if inbound.method == Method::GET => {
                    let length = body.len() as u64;
                    match ranged(&inbound.headers, &stored.head, length) {
                        Ranged::Whole => {}
                        Ranged::Part { start, end } => {
                            code = StatusCode::PARTIAL_CONTENT;
                            // Both lie within the body, whose length is a usize.
                            body = body.slice(usize_of(start)..usize_of(end));
                            part_fields(&mut headers, start, end, length);
                        }
                        Ranged::Unsatisfiable => {
                            code = StatusCode::RANGE_NOT_SATISFIABLE;
                            body = Bytes::new();
                            unsatisfiable_fields(&mut headers, length);
                        }
                    }
                }
                Conditional::Send => {}
            }
        }
        if code == StatusCode::NOT_MODIFIED {
            validate::strip_for_304(&mut headers);
        } else if code != StatusCode::NO_CONTENT {
            headers.insert(header::CONTENT_LENGTH, HeaderValue::from(body.len()));
        }
        metrics::counter!("bakehouse_edge_sent_bytes_total").increment(body.len() as u64);
        let body = if inbound.method == Method::HEAD { OutBody::empty() } else { OutBody::whole(body) };
        self.finish(inbound, code, headers, body, Some(status))
    }

    fn answer_fill(
        &self,
        inbound: &Inbound,
        fill: &Arc<Fill>,
        reader: FillReader,
        status: CacheStatus,
    ) -> Response<OutBody> {
        let mut headers = fill.head.clone();
        let mut code = fill.status;
        let mut reader = reader;
        if code == StatusCode::OK {
            let conditional = validate::conditional(&inbound.headers, &fill.head, fill.wall, clock::wall());
            if conditional == Conditional::NotModified {
                validate::strip_for_304(&mut headers);
                return self.finish(
                    inbound,
                    StatusCode::NOT_MODIFIED,
                    headers,
                    OutBody::empty(),
                    Some(status),
                );
            }
            if inbound.method == Method::GET
                && let Some(length) = fill.length
            {
                match ranged(&inbound.headers, &fill.head, length) {
                    Ranged::Whole => {}
                    Ranged::Part { start, end } => {
                        if let Some(part) = fill.reader(start, Some(end)) {
                            reader = part;
                            code = StatusCode::PARTIAL_CONTENT;
                            part_fields(&mut headers, start, end, length);
                        }
                    }
                    Ranged::Unsatisfiable => {
                        unsatisfiable_fields(&mut headers, length);
                        headers.insert(header::CONTENT_LENGTH, HeaderValue::from(0));
                        let code = StatusCode::RANGE_NOT_SATISFIABLE;
                        return self.finish(inbound, code, headers, OutBody::empty(), Some(status));
                    }
                }
            }
        }
        match reader.length() {
            Some(length) if code != StatusCode::NO_CONTENT => {
                headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
            }
            _ => {
                headers.remove(header::CONTENT_LENGTH);
            }
        }
        let body = if inbound.method == Method::HEAD { OutBody::empty() } else { OutBody::Fill(reader) };
        self.finish(inbound, code, headers, body, Some(status))
    }

    pub(crate) fn answer_alone(
        self: &Arc<Self>,
        inbound: &Inbound,
        reply: Reply,
        status: CacheStatus,
    ) -> Response<OutBody> {
        let body = match reply.source {
            _ if inbound.method == Method::HEAD => OutBody::empty(),
            Source::Whole(bytes) => OutBody::Whole(bytes),
            Source::Stream(body) if reply.digest.is_none() => OutBody::Upstream(body),
            source => self.stream_for_one(&reply.headers, reply.status, source, reply.digest),
        };
        self.finish(inbound, reply.status, reply.headers, body, Some(status))
    }

    /// What every response gets on its way out.
    fn finish(
        &self,
        inbound: &Inbound,
        code: StatusCode,
        mut headers: HeaderMap,
        body: OutBody,
        status: Option<CacheStatus>,
    ) -> Response<OutBody> {
        if self.sites.is_some() {
            headers.remove(answer::EDGE_CACHE_CONTROL);
            headers.remove(answer::CHUNKS_FIELD);
            repeat_query(inbound, code, &mut headers);
        }
        forward::add_via(&mut headers, Version::HTTP_11, &self.config.name);
        if let Some(status) = status {
            headers.append("cache-status", status.to_value(CACHE_NAME));
        }
        headers.insert(HeaderName::from_static("x-request-id"), inbound.id.clone());
        let mut response = Response::new(body);
        *response.status_mut() = code;
        *response.headers_mut() = headers;
        response
    }

    /// A page of our own. Never stored, and without `Cache-Status` (RFC 9211 §2).
    pub(crate) fn error(&self, inbound: &Inbound, code: StatusCode, text: &str) -> Response<OutBody> {
        error_page(code, text, inbound.method == Method::HEAD, Some(&inbound.id))
    }

    pub(crate) fn not_ready(&self, inbound: &Inbound, text: &str) -> Response<OutBody> {
        let mut response = self.error(inbound, StatusCode::SERVICE_UNAVAILABLE, text);
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(RETRY_AFTER_SECONDS));
        response
    }
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

fn part_fields(headers: &mut HeaderMap, start: u64, end: u64, length: u64) {
    // Both dates and digests of the whole do not describe a part (RFC 9530 §2).
    headers.remove("content-digest");
    if let Ok(value) = HeaderValue::from_str(&format!("bytes {start}-{}/{length}", end.saturating_sub(1))) {
        headers.insert(header::CONTENT_RANGE, value);
    }
}

fn unsatisfiable_fields(headers: &mut HeaderMap, length: u64) {
    for name in [header::CONTENT_TYPE, header::CONTENT_ENCODING, header::CONTENT_LANGUAGE, header::ETAG] {
        headers.remove(name);
    }
    headers.remove("content-digest");
    if let Ok(value) = HeaderValue::from_str(&format!("bytes */{length}")) {
        headers.insert(header::CONTENT_RANGE, value);
    }
}

fn usize_of(n: u64) -> usize {
    usize::try_from(n).unwrap_or(usize::MAX)
}
