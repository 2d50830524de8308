//! The API: paths below `/v1/`, as [`release::wire`] lists them.

use std::collections::HashMap;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Path, Query, RawQuery, Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post, put};
use bytes::Bytes;
use release::bucket::OBJECT_BYTES_MAX;
use release::keys::Site;
use release::wire::{self, Ack, Failure, POLL_MS_MAX, PublishRequest, PurgeRequest, RollbackRequest};
use release::{Digest, ReleaseId};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::access::{Role, role};
use crate::clock::Moment;
use crate::{Error, Origin};

/// Bytes of the largest request body but blobs and lists of files.
const BODY_BYTES_MAX: usize = 1 << 20;
/// Bytes of the largest list of files or digests: 100,000 with long paths.
const LIST_BYTES_MAX: usize = 32 << 20;
/// How long a body may take.
const BODY_LIMIT: Duration = Duration::from_secs(120);
/// Releases that are listed unless the call says how many.
const RELEASES_DEFAULT: usize = 100;
/// Releases that are listed at most.
const RELEASES_MAX: usize = 1_000;
/// Bytes of the longest name of an edge.
const EDGE_NAME_BYTES_MAX: usize = 255;
/// Sites and acknowledgements that one poll names at most.
const NAMED_MAX: usize = 10_000;

/// A call that failed.
pub(super) struct Refusal(StatusCode, Failure);

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        let status = StatusCode::from_u16(error.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        if status.is_server_error() {
            tracing::error!(%error, hint = error.hint(), "a call failed");
        }
        Self(status, (&error).into())
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let mut response = json(self.0, &self.1);
        if self.0 == StatusCode::UNAUTHORIZED {
            response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if self.0 == StatusCode::SERVICE_UNAVAILABLE {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        response
    }
}

type Answer = Result<Response, Refusal>;
type Params = HashMap<String, String>;

pub(super) fn router(origin: Arc<Origin>) -> Router {
    Router::new()
        .route("/journal", get(journal))
        .route("/wake", post(wake))
        .route("/purge", post(purge))
        .route("/publish", post(publish))
        .route("/blobs/missing", post(missing))
        .route("/blobs/{digest}", put(blob))
        .route("/releases", get(releases))
        .route("/diff", get(diff))
        .route("/rollback", post(rollback))
        .route("/resume", post(resume))
        .route("/status", get(status))
        .route("/receipts/{seq}", get(receipt))
        .fallback(|| async { refuse(StatusCode::NOT_FOUND, "there is no such call", None) })
        .method_not_allowed_fallback(|| async {
            refuse(StatusCode::METHOD_NOT_ALLOWED, "this call has another method", None)
        })
        .with_state(origin)
}

fn refuse(status: StatusCode, error: impl Into<String>, hint: Option<&str>) -> Refusal {
    Refusal(status, Failure { error: error.into(), hint: hint.map(str::to_owned) })
}

fn bad(error: impl Into<String>) -> Refusal {
    refuse(StatusCode::BAD_REQUEST, error, None)
}

/// Lets those pass whose token opens at least `least`.
fn admit(origin: &Origin, headers: &HeaderMap, least: Role) -> Result<(), Refusal> {
    match role(origin.config(), headers) {
        Some(role) if role >= least => Ok(()),
        Some(_) => Err(refuse(
            StatusCode::FORBIDDEN,
            "an edge's token does not open this call",
            Some("use the operator's token"),
        )),
        None => Err(refuse(
            StatusCode::UNAUTHORIZED,
            "the bearer token is missing or wrong",
            Some("give the token with BAKE_TOKEN; `bake up` keeps it in its data folder"),
        )),
    }
}

fn json(status: StatusCode, value: &impl Serialize) -> Response {
    match wire::json(value) {
        Ok(json) => {
            let mut response = Response::new(Body::from(json));
            *response.status_mut() = status;
            let headers = response.headers_mut();
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
            headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
            response
        }
        Err(error) => {
            tracing::error!(%error, "an answer could not be written as JSON");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

fn ok(value: &impl Serialize) -> Answer {
    Ok(json(StatusCode::OK, value))
}

fn done() -> Answer {
    Ok(StatusCode::NO_CONTENT.into_response())
}

async fn bytes(request: Request, bytes_max: usize) -> Result<Bytes, Refusal> {
    let length = request.headers().get(header::CONTENT_LENGTH).and_then(|v| v.to_str().ok()?.parse().ok());
    let too_large =
        || refuse(StatusCode::PAYLOAD_TOO_LARGE, format!("the body has more than {bytes_max} bytes"), None);
    if length.is_some_and(|l: u64| l > bytes_max as u64) {
        return Err(too_large());
    }
    let read = tokio::time::timeout(BODY_LIMIT, to_bytes(request.into_body(), bytes_max)).await;
    match read {
        Ok(Ok(bytes)) => Ok(bytes),
        Ok(Err(error)) => {
            let source = std::error::Error::source(&error);
            let is_limit = source.is_some_and(|s| s.is::<http_body_util::LengthLimitError>());
            Err(if is_limit { too_large() } else { bad(format!("the body ended early: {error}")) })
        }
        Err(_) => Err(refuse(StatusCode::REQUEST_TIMEOUT, "the body took too long", None)),
    }
}

async fn body<T: DeserializeOwned>(request: Request, bytes_max: usize) -> Result<T, Refusal> {
    let bytes = bytes(request, bytes_max).await?;
    serde_json::from_slice(&bytes).map_err(|e| bad(format!("the body is not what it should be: {e}")))
}

/// As [`body`], for calls that can be made without one.
async fn body_or_default<T: DeserializeOwned + Default>(request: Request) -> Result<T, Refusal> {
    let bytes = bytes(request, BODY_BYTES_MAX).await?;
    if bytes.is_empty() {
        return Ok(T::default());
    }
    serde_json::from_slice(&bytes).map_err(|e| bad(format!("the body is not what it should be: {e}")))
}

fn param<T: FromStr>(params: &Params, name: &str) -> Result<Option<T>, Refusal>
where
    T::Err: std::fmt::Display,
{
    let Some(text) = params.get(name).filter(|t| !t.is_empty()) else { return Ok(None) };
    text.parse().map(Some).map_err(|e| bad(format!("`{name}`: {e}")))
}

async fn journal(State(origin): State<Arc<Origin>>, headers: HeaderMap, RawQuery(query): RawQuery) -> Answer {
    admit(&origin, &headers, Role::Edge)?;
    let (mut after, mut acks) = (Vec::new(), Vec::new());
    let (mut edge, mut wait_ms) = (None, POLL_MS_MAX);
    for pair in query.as_deref().unwrap_or_default().split('&') {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let value = percent_encoding::percent_decode_str(value).decode_utf8_lossy();
        let items = || value.split(',').filter(|i| !i.is_empty());
        match name {
            "after" => {
                for item in items() {
                    after.push(
                        site_seq(item).ok_or_else(|| bad(format!("`after`: `{item}` is not SITE:SEQ")))?,
                    );
                }
            }
            "ack" => {
                for item in items() {
                    acks.push(item.parse::<Ack>().map_err(|e| bad(format!("`ack`: {e}")))?);
                }
            }
            "edge" => edge = Some(value.into_owned()).filter(|e| !e.is_empty()),
            "wait_ms" => wait_ms = value.parse::<u64>().map_err(|e| bad(format!("`wait_ms`: {e}")))?,
            // A later edge may say more than this origin understands.
            _ => {}
        }
        if after.len() > NAMED_MAX || acks.len() > NAMED_MAX {
            return Err(bad(format!("a poll names {NAMED_MAX} sites at most")));
        }
    }
    if let Some(edge) = edge {
        if edge.len() > EDGE_NAME_BYTES_MAX || edge.chars().any(char::is_control) {
            return Err(bad("an edge's name has at most 255 bytes and no control characters"));
        }
        origin.edges().polled(&edge, Moment::now(), &after, &acks);
    }
    let wait = Duration::from_millis(wait_ms.min(POLL_MS_MAX));
    ok(&origin.poll(&after, wait).await)
}

fn site_seq(text: &str) -> Option<(Site, u64)> {
    let (site, seq) = text.split_once(':')?;
    Some((site.parse().ok()?, seq.parse().ok()?))
}

async fn wake(State(origin): State<Arc<Origin>>, headers: HeaderMap) -> Answer {
    admit(&origin, &headers, Role::Edge)?;
    origin.wake();
    done()
}

async fn purge(State(origin): State<Arc<Origin>>, request: Request) -> Answer {
    admit(&origin, request.headers(), Role::Operator)?;
    let request: PurgeRequest = body(request, BODY_BYTES_MAX).await?;
    ok(&origin.purge(request).await?)
}

async fn publish(State(origin): State<Arc<Origin>>, request: Request) -> Answer {
    admit(&origin, request.headers(), Role::Operator)?;
    let request: PublishRequest = body(request, LIST_BYTES_MAX).await?;
    let published = origin.publish(request).await.map_err(|(status, failure)| {
        Refusal(StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR), failure)
    })?;
    ok(&published)
}

async fn missing(
    State(origin): State<Arc<Origin>>,
    Query(params): Query<Params>,
    request: Request,
) -> Answer {
    admit(&origin, request.headers(), Role::Operator)?;
    let digests: Vec<Digest> = body(request, LIST_BYTES_MAX).await?;
    let site = origin.site_or_new(param::<Site>(&params, "site")?.as_ref()).await?;
    ok(&site.publisher().missing(&digests).await?)
}

async fn blob(
    State(origin): State<Arc<Origin>>,
    Path(digest): Path<String>,
    Query(params): Query<Params>,
    request: Request,
) -> Answer {
    admit(&origin, request.headers(), Role::Operator)?;
    let digest: Digest = digest.parse().map_err(|e: release::digest::NotADigest| bad(e.to_string()))?;
    let site = origin.site_or_new(param::<Site>(&params, "site")?.as_ref()).await?;
    let bytes = bytes(request, OBJECT_BYTES_MAX as usize).await?;
    site.publisher().receive(digest, bytes).await?;
    done()
}

async fn releases(
    State(origin): State<Arc<Origin>>,
    Query(params): Query<Params>,
    headers: HeaderMap,
) -> Answer {
    admit(&origin, &headers, Role::Operator)?;
    let site = origin.site(param::<Site>(&params, "site")?.as_ref())?;
    let max = param::<usize>(&params, "max")?.unwrap_or(RELEASES_DEFAULT).min(RELEASES_MAX);
    ok(&site.releases(max).await?)
}

async fn diff(State(origin): State<Arc<Origin>>, Query(params): Query<Params>, headers: HeaderMap) -> Answer {
    admit(&origin, &headers, Role::Operator)?;
    let site = origin.site(param::<Site>(&params, "site")?.as_ref())?;
    let release = |name: &str| {
        param::<ReleaseId>(&params, name)?
            .ok_or_else(|| bad(format!("`{name}` is missing: a release is expected")))
    };
    let (from, to) = (release("from")?, release("to")?);
    ok(&site.diff(&from, &to).await?)
}

async fn rollback(State(origin): State<Arc<Origin>>, request: Request) -> Answer {
    admit(&origin, request.headers(), Role::Operator)?;
    let request: RollbackRequest = body_or_default(request).await?;
    ok(&origin.rollback(request).await?)
}

async fn resume(
    State(origin): State<Arc<Origin>>,
    Query(params): Query<Params>,
    headers: HeaderMap,
) -> Answer {
    admit(&origin, &headers, Role::Operator)?;
    ok(&origin.resume(param::<Site>(&params, "site")?.as_ref()).await?)
}

async fn status(State(origin): State<Arc<Origin>>, headers: HeaderMap) -> Answer {
    admit(&origin, &headers, Role::Operator)?;
    ok(&origin.status())
}

async fn receipt(
    State(origin): State<Arc<Origin>>,
    Path(seq): Path<String>,
    Query(params): Query<Params>,
    headers: HeaderMap,
) -> Answer {
    admit(&origin, &headers, Role::Operator)?;
    let seq: u64 = seq.parse().map_err(|_| bad(format!("`{seq}` is no number of a journal entry")))?;
    let local = param::<bool>(&params, "local")?.unwrap_or(false);
    ok(&origin.receipt(param::<Site>(&params, "site")?.as_ref(), seq, local).await?)
}
