//! The origin's HTTP service: content for edges and browsers, and the API.
//!
//! A request that names a release is an edge's, and gets content whatever its path; otherwise
//! `/v1/…`, `/healthz`, `/readyz` and `/metrics` are ours, and everything else is content of the
//! site that answers to the request's `Host`.

mod access;
mod api;
mod condition;
mod content;
pub mod range;

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Router, middleware};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use hyper_util::rt::TokioTimer;
use hyper_util::service::TowerToHyperService;
use release::answer::RELEASE_FIELD;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::Origin;
use crate::connection::{self, ACCEPT_RETRY, Refusals};

/// What this server is called beside others of the process.
const SERVER: &str = "origin";
/// Bytes of the largest request head; a larger one gets 431.
pub const HEADER_BYTES_MAX: usize = 64 << 10;
/// Fields of a request at most; more get 431.
const HEADERS_MAX: usize = 256;
/// How long the head of a request may take, and how long a connection may be idle.
const HEADER_LIMIT: Duration = Duration::from_secs(30);
/// Connections at a time: each may hold two pieces of content of 1 MiB.
pub const CONNECTIONS_MAX: usize = 1_024;
/// How long requests under way may go on after the service was told to stop.
pub const DRAIN_LIMIT: Duration = Duration::from_secs(5);

/// Serves until `shutdown` ends, then drains for at most [`DRAIN_LIMIT`]. The origin begins to
/// follow its journals.
pub fn serve(
    listener: TcpListener,
    origin: Arc<Origin>,
    shutdown: BoxFuture<'static, ()>,
) -> BoxFuture<'static, ()> {
    // Boxed, as all that the shell polls: a bare future would be compiled there, without optimisation.
    serve_until(listener, origin, shutdown).boxed()
}

async fn serve_until(listener: TcpListener, origin: Arc<Origin>, mut shutdown: BoxFuture<'static, ()>) {
    origin.follow();
    let router = router(Arc::clone(&origin));
    let permits = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let (drain, cut) = (CancellationToken::new(), CancellationToken::new());
    let connections = TaskTracker::new();
    loop {
        let accept = async {
            // The semaphore is never closed.
            let permit = Arc::clone(&permits).acquire_owned().await.ok()?;
            Some((listener.accept().await, permit))
        };
        let accepted = tokio::select! {
            () = &mut shutdown => break,
            accepted = accept => accepted,
        };
        match accepted {
            Some((Ok((stream, _)), permit)) => {
                let (router, drain, cut) = (router.clone(), drain.clone(), cut.clone());
                connections.spawn(async move {
                    let connection = connection(stream, router, drain);
                    tokio::select! { () = connection => {}, () = cut.cancelled() => {} }
                    drop(permit);
                });
            }
            Some((Err(error), _)) => {
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(ACCEPT_RETRY).await;
            }
            None => break,
        }
    }
    drop(listener);
    origin.stop().cancel();
    drain.cancel();
    connections.close();
    if tokio::time::timeout(DRAIN_LIMIT, connections.wait()).await.is_err() {
        tracing::warn!(connections = connections.len(), "requests under way were cut off");
        cut.cancel();
        connections.wait().await;
    }
}

async fn connection(stream: TcpStream, router: Router, drain: CancellationToken) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "a connection ended at once");
        return;
    }
    let mut http = hyper::server::conn::http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(HEADER_LIMIT)
        .max_buf_size(HEADER_BYTES_MAX)
        .max_headers(HEADERS_MAX);
    let refusals = Refusals { server: SERVER, words: refusal };
    connection::serve(stream, &http, TowerToHyperService::new(router), refusals, drain.cancelled()).await;
}

/// What is said of a request that cannot be read, in the JSON of the API.
fn refusal(status: StatusCode) -> (&'static str, String) {
    let (error, hint) = match status {
        StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE => (
            format!(
                "the head of the request is larger than {HEADER_BYTES_MAX} bytes or has more than {HEADERS_MAX} fields"
            ),
            "send fewer or shorter fields",
        ),
        StatusCode::URI_TOO_LONG => (
            "the target of the request is too long".to_owned(),
            "send what is long as the content of a request",
        ),
        _ => (
            "the request is not HTTP/1.1 as RFC 9112 has it: its first line or a field is malformed"
                .to_owned(),
            "this address speaks HTTP without TLS: see that the URL begins with http://, and what sends the request",
        ),
    };
    ("application/json", serde_json::json!({ "error": error, "hint": hint }).to_string())
}

/// The service without a listener: for tests, and for programs that bring their own server.
pub fn router(origin: Arc<Origin>) -> Router {
    let api = api::router(Arc::clone(&origin));
    let ours = Router::new()
        .route(access::HEALTH, get(|| async { "alive\n" }))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .with_state(Arc::clone(&origin))
        .nest("/v1", api);
    let fallback = Arc::clone(&origin);
    ours.fallback(move |request: Request| content::serve(Arc::clone(&fallback), request))
        .layer(middleware::from_fn_with_state(Arc::clone(&origin), edges_first))
        .layer(middleware::from_fn(access::log))
}

/// Requests of edges are for content, whatever paths a site has.
async fn edges_first(
    State(origin): State<Arc<Origin>>,
    request: Request,
    next: middleware::Next,
) -> Result<Response, Infallible> {
    if request.headers().contains_key(RELEASE_FIELD) {
        return Ok(content::serve(origin, request).await);
    }
    Ok(next.run(request).await)
}

async fn readyz(State(origin): State<Arc<Origin>>) -> Response {
    if origin.is_ready() {
        return "ready\n".into_response();
    }
    (StatusCode::SERVICE_UNAVAILABLE, "the bucket was not reached lately\n").into_response()
}

async fn metrics(State(origin): State<Arc<Origin>>) -> Response {
    let Some(text) = &origin.config().metrics else {
        return (StatusCode::NOT_FOUND, "metrics are not kept here\n").into_response();
    };
    for status in origin.status().sites {
        let site = status.site.to_string();
        #[expect(clippy::cast_precision_loss, reason = "a gauge is a float")]
        let (seq, age) = (status.state.seq as f64, status.verified_ms as f64 / 1_000.0);
        metrics::gauge!("bakehouse_journal_seq", "site" => site.clone()).set(seq);
        metrics::gauge!("bakehouse_journal_age_seconds", "site" => site).set(age);
    }
    let mut response = Response::new(Body::from(text()));
    let content_type = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, content_type);
    response
}

#[cfg(test)]
mod tests;
