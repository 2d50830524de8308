//! Who may do what, and what was done.

use std::time::Instant;

use axum::extract::Request;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use tracing::Instrument;

use super::{HEADER_BYTES_MAX, SERVER, refusal};
use crate::OriginConfig;
use crate::connection::UNREADABLE;

/// Where it is asked whether an origin is alive.
pub(super) const HEALTH: &str = "/healthz";
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// Bytes of the longest request id that is taken over.
const REQUEST_ID_BYTES_MAX: usize = 64;

/// What a token opens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Role {
    /// Polling and fetching.
    Edge,
    /// Everything.
    Operator,
}

/// The role of whoever sent these fields.
pub(super) fn role(config: &OriginConfig, headers: &HeaderMap) -> Option<Role> {
    let mut lines = headers.get_all(header::AUTHORIZATION).iter();
    let (line, None) = (lines.next()?, lines.next()) else { return None };
    let (scheme, token) = line.to_str().ok()?.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("bearer") {
        return None;
    }
    let token = token.trim();
    // Both are compared always, so that the time says nothing.
    let (operator, edge) = (same(token, &config.operator_token), same(token, &config.edge_token));
    if operator {
        Some(Role::Operator)
    } else if edge {
        Some(Role::Edge)
    } else {
        None
    }
}

/// Compares in a time that depends on neither: digests of both are compared, so that even where they
/// differ first says nothing about the token. An empty token opens nothing.
fn same(said: &str, token: &str) -> bool {
    let (a, b) = (release::Digest::of(said.as_bytes()), release::Digest::of(token.as_bytes()));
    let differs = a.as_bytes().iter().zip(b.as_bytes()).fold(0, |acc, (a, b)| acc | (a ^ b));
    differs == 0 && !token.is_empty()
}

/// Gives each request an id, and logs it when it was answered.
pub(super) async fn log(request: Request, next: Next) -> Response {
    let began = Instant::now();
    let id = request_id(request.headers());
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let span = tracing::info_span!("request", id);
    // The server's own bound holds for what it has not read yet, so a little more may come through.
    let mut response = if head_bytes(&request) > HEADER_BYTES_MAX {
        metrics::counter!(UNREADABLE, "server" => SERVER).increment(1);
        let status = StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE;
        let (media_type, text) = refusal(status);
        (status, [(header::CONTENT_TYPE, media_type)], text).into_response()
    } else {
        next.run(request).instrument(span).await
    };
    let status = response.status().as_u16();
    let ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
    // Each edge asks every second.
    if path == HEALTH && status == 200 {
        tracing::debug!(target: "origin::access", id, %method, path, status, ms, "answered");
    } else {
        tracing::info!(target: "origin::access", id, %method, path, status, ms, "answered");
    }
    let class = ["1xx", "2xx", "3xx", "4xx", "5xx"][usize::from(status / 100 - 1).min(4)];
    metrics::counter!("bakehouse_origin_requests_total", "status" => class).increment(1);
    metrics::histogram!("bakehouse_origin_request_seconds").record(began.elapsed().as_secs_f64());
    if let Ok(value) = HeaderValue::from_str(&id) {
        response.headers_mut().insert(REQUEST_ID, value);
    }
    response
}

/// Bytes of the request's head, about: its fields and target.
fn head_bytes(request: &Request) -> usize {
    let fields = request.headers().iter().map(|(n, v)| n.as_str().len() + v.len() + ": \r\n".len());
    fields.sum::<usize>() + request.uri().path_and_query().map_or(0, |p| p.as_str().len())
}

/// The id that the request brings, if it is short and plain; otherwise a new one.
fn request_id(headers: &HeaderMap) -> String {
    let brought = headers.get(REQUEST_ID).and_then(|v| v.to_str().ok());
    let is_plain = |id: &&str| {
        (1..=REQUEST_ID_BYTES_MAX).contains(&id.len())
            && id.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
    };
    brought.filter(is_plain).map_or_else(|| format!("{:016x}", rand::random::<u64>()), str::to_owned)
}
