//! The operators' side of an edge: purge, metrics, health, the live trace. On an address of its own, never on the one
//! that browsers use, and behind a token.

use std::{convert::Infallible, fmt, io, sync::Arc, time::Duration};

use axum::{
    Router,
    body::{Body, Bytes},
    extract::{
        DefaultBodyLimit, Query as UrlQuery, Request, State,
        rejection::{BytesRejection, QueryRejection},
    },
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use futures_util::{FutureExt, Stream, StreamExt, future::BoxFuture, stream};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use release::journal::check_selectors;
use release::wire::{self, Committed, EdgeProgress, PurgeRequest, Receipt, SelectorReceipt};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use tokio::{net::TcpListener, sync::Semaphore, time::Instant};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    Edge,
    http1::head::FIELDS_MAX,
    server::{ACCEPT_RETRY, FullTold},
    trace::{Query, Reader},
};

/// Connections of operators and their scrapers.
const CONNECTIONS_MAX: usize = 64;
/// From a connection, or the last request on it, to the end of a request's head.
const HEADER_READ: Duration = Duration::from_secs(10);
/// Until a peer has taken what was sent to it, in milliseconds.
const UNSENT_MS_MAX: u32 = 20_000;
/// Bytes of a request's content.
const CONTENT_BYTES_MAX: usize = 1 << 20;
/// How long `top` may look.
const TOP_SECONDS_MAX: u64 = 60;
/// How long it looks unless told otherwise.
const TOP_SECONDS: u64 = 3;
/// A trace that has nothing to tell says so this often, so that its reader's departure is noticed.
const KEEP_ALIVE: Duration = Duration::from_secs(10);
/// The name under which purges of an edge without a journal are receipted.
const LOCAL_SITE: &str = "upstream";

/// What the admin address offers beside what the edge itself knows.
#[derive(Clone)]
pub struct AdminConfig {
    /// The bearer token that opens all but health.
    pub token: String,
    /// Renders all metrics of the process.
    pub metrics: Arc<dyn Fn() -> String + Send + Sync>,
    /// Reads the configuration again; says what was done, or what was wrong.
    pub reload: Arc<dyn Fn() -> Result<String, NotReloaded> + Send + Sync>,
}

/// Why a configuration was not taken over.
#[derive(Debug)]
pub struct NotReloaded {
    /// What is wrong.
    pub error: String,
    /// What to do about it.
    pub hint: Option<String>,
}

impl fmt::Debug for AdminConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AdminConfig")
    }
}

type Content = Result<Bytes, BytesRejection>;

struct Admin {
    edge: Arc<Edge>,
    config: AdminConfig,
    stop: CancellationToken,
}

/// Serves operators until `stop`.
///
/// # Errors
/// Where the listener cannot be used at all.
pub fn serve_admin(
    listener: TcpListener,
    edge: Arc<Edge>,
    config: AdminConfig,
    stop: CancellationToken,
) -> BoxFuture<'static, io::Result<()>> {
    serve_until(listener, edge, config, stop).boxed()
}

async fn serve_until(
    listener: TcpListener,
    edge: Arc<Edge>,
    config: AdminConfig,
    stop: CancellationToken,
) -> io::Result<()> {
    listener.local_addr()?;
    let admin = Arc::new(Admin { edge, config, stop: stop.clone() });
    let guarded = Router::new()
        .route("/metrics", get(metrics))
        .route("/v1/purge", post(purge))
        .route("/v1/reload", post(reload))
        .route("/v1/live", get(live))
        .route("/v1/log", post(log))
        .route("/v1/top", get(top))
        .route("/v1/why", post(why))
        .layer(middleware::from_fn_with_state(Arc::clone(&admin), authorized));
    let router = Router::new()
        .route("/healthz", get(async || "alive\n"))
        .route("/readyz", get(ready))
        .merge(guarded)
        .fallback(async || failed(StatusCode::NOT_FOUND, "there is no such call", None))
        .method_not_allowed_fallback(async || {
            failed(StatusCode::METHOD_NOT_ALLOWED, "this call has another method", None)
        })
        .layer(DefaultBodyLimit::max(CONTENT_BYTES_MAX))
        .with_state(admin);
    let slots = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let mut told = FullTold::default();
    let connections = TaskTracker::new();
    loop {
        let accepted = tokio::select! {
            // First: from then on another process may take them.
            biased;
            () = stop.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "a connection of an operator could not be accepted");
                tokio::time::sleep(ACCEPT_RETRY).await;
                continue;
            }
        };
        let Ok(slot) = Arc::clone(&slots).try_acquire_owned() else {
            if told.is_due() {
                tracing::warn!("too many connections to the admin address; new ones are closed");
            }
            continue;
        };
        if let Err(error) = rustix::net::sockopt::set_tcp_user_timeout(&stream, UNSENT_MS_MAX) {
            tracing::debug!(%error, "a connection of an operator has no end if it takes nothing");
        }
        let service = TowerToHyperService::new(router.clone());
        let stop = stop.clone();
        connections.spawn(async move {
            let connection = hyper::server::conn::http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEADER_READ)
                .serve_connection(TokioIo::new(stream), service);
            let mut connection = std::pin::pin!(connection);
            let ended = tokio::select! {
                ended = connection.as_mut() => ended,
                () = stop.cancelled() => {
                    connection.as_mut().graceful_shutdown();
                    connection.await
                }
            };
            if let Err(error) = ended {
                tracing::debug!(%error, "a connection of an operator ended early");
            }
            drop(slot);
        });
    }
    connections.close();
    connections.wait().await;
    Ok(())
}

/// An error, as all our APIs tell it.
fn failed(status: StatusCode, error: &str, hint: Option<&str>) -> Response {
    let mut body = serde_json::json!({ "error": error });
    if let Some(hint) = hint {
        body["hint"] = hint.into();
    }
    answer(status, &body)
}

/// A value as JSON.
fn json(value: &impl Serialize) -> Response {
    answer(StatusCode::OK, value)
}

fn answer(status: StatusCode, value: &impl Serialize) -> Response {
    match wire::json(value) {
        Ok(json) => (status, [(header::CONTENT_TYPE, "application/json")], json).into_response(),
        Err(error) => {
            tracing::error!(%error, "an answer to an operator could not be written as JSON");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

/// What an operator sends, which should be one of `what`.
fn read<T: DeserializeOwned>(content: Content, what: &str) -> Result<T, Box<Response>> {
    let refused = |status, error: &str| Err(Box::new(failed(status, error, None)));
    match content {
        Ok(content) => match serde_json::from_slice(&content) {
            Ok(value) => Ok(value),
            Err(error) => refused(StatusCode::BAD_REQUEST, &format!("this is no {what}: {error}")),
        },
        Err(rejection) if rejection.status() == StatusCode::PAYLOAD_TOO_LARGE => {
            refused(rejection.status(), &format!("a {what} has at most {CONTENT_BYTES_MAX} bytes"))
        }
        Err(rejection) => refused(rejection.status(), &format!("the {what} ended early")),
    }
}

async fn authorized(State(admin): State<Arc<Admin>>, request: Request, next: Next) -> Response {
    let given = request
        .headers()
        .get(header::AUTHORIZATION)
        .and_then(|value| value.as_bytes().split_first_chunk::<7>())
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case(b"bearer "))
        .map(|(_, token)| blake3::hash(token));
    // Digests are compared in constant time.
    if given != Some(blake3::hash(admin.config.token.as_bytes())) {
        let mut response = failed(
            StatusCode::UNAUTHORIZED,
            "the token is missing or wrong",
            Some("give it with --token or BAKE_TOKEN"),
        );
        response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        return response;
    }
    next.run(request).await
}

async fn ready(State(admin): State<Arc<Admin>>) -> Response {
    if admin.stop.is_cancelled() || !admin.edge.is_ready() {
        return (StatusCode::SERVICE_UNAVAILABLE, "not ready\n").into_response();
    }
    "ready\n".into_response()
}

async fn metrics(State(admin): State<Arc<Admin>>) -> Response {
    admin.edge.refresh_gauges();
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], (admin.config.metrics)()).into_response()
}

async fn purge(State(admin): State<Arc<Admin>>, content: Content) -> Response {
    let request: PurgeRequest = match read(content, "purge") {
        Ok(request) => request,
        Err(response) => return *response,
    };
    if admin.edge.follows_a_journal() {
        return failed(
            StatusCode::CONFLICT,
            "this edge follows a journal, and purges belong into it",
            Some("send the purge to an origin's API"),
        );
    }
    if let Err(error) = check_selectors(&request.selectors) {
        return failed(StatusCode::BAD_REQUEST, &error.to_string(), None);
    }
    let Ok(site) = request.site.map_or_else(|| LOCAL_SITE.parse(), Ok) else {
        return failed(StatusCode::BAD_REQUEST, "this is no site", None);
    };
    let edges = admin.edge.purge(&request.selectors, request.soft).await;
    let dropped: u64 = edges.iter().map(|edge| edge.dropped.dropped).sum();
    tracing::info!(selectors = ?request.selectors, soft = request.soft, reason = request.reason, dropped, "purged");
    if admin.stop.is_cancelled() {
        // Another process answers clients by now, and has not heard of it.
        return failed(
            StatusCode::SERVICE_UNAVAILABLE,
            "the purge came while another process took over",
            Some("send it again"),
        );
    }
    let receipt = Receipt {
        committed: Committed { site, seq: admin.edge.purges(), at: jiff::Timestamp::now() },
        selectors: request
            .selectors
            .into_iter()
            .map(|selector| SelectorReceipt { selector, paths: None })
            .collect(),
        applied_everywhere: edges.iter().all(|edge| edge.state == EdgeProgress::Applied),
        edges,
        complete: true,
    };
    json(&receipt)
}

async fn reload(State(admin): State<Arc<Admin>>) -> Response {
    match (admin.config.reload)() {
        Ok(done) => json(&serde_json::json!({ "done": done })),
        Err(NotReloaded { error, hint }) => failed(StatusCode::UNPROCESSABLE_ENTITY, &error, hint.as_deref()),
    }
}

async fn live(State(admin): State<Arc<Admin>>) -> Response {
    json(&admin.edge.live())
}

/// Begins to read the trace, or says that too many do.
fn reader(admin: &Admin) -> Result<Reader, Box<Response>> {
    admin.edge.tracer.read().ok_or_else(|| {
        Box::new(failed(
            StatusCode::TOO_MANY_REQUESTS,
            "the trace has too many readers",
            Some("end another `bake edge log` or `bake edge top` first"),
        ))
    })
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct LogRequest {
    /// Terms, all of which must hold.
    #[serde(default)]
    query: Vec<String>,
}

/// Records as lines of JSON, until the reader leaves or the edge ends.
async fn log(State(admin): State<Arc<Admin>>, content: Content) -> Response {
    let request: LogRequest = match read(content, "query") {
        Ok(request) => request,
        Err(response) => return *response,
    };
    let query = match Query::parse(request.query.iter().map(String::as_str)) {
        Ok(query) => query,
        Err(error) => return failed(StatusCode::BAD_REQUEST, &error, Some("see `bake edge log --help`")),
    };
    let reader = match reader(&admin) {
        Ok(reader) => reader,
        Err(response) => return *response,
    };
    let lines = lines(reader, query, admin.stop.clone()).map(Ok::<_, Infallible>);
    ([(header::CONTENT_TYPE, "application/x-ndjson")], Body::from_stream(lines)).into_response()
}

/// What the log tells, until `stop`.
fn lines(reader: Reader, query: Query, stop: CancellationToken) -> impl Stream<Item = String> {
    stream::unfold((reader, query, stop), |(mut reader, query, stop)| async move {
        let asked = Instant::now();
        let line = loop {
            let next = tokio::select! {
                () = stop.cancelled() => return None,
                next = tokio::time::timeout_at(asked + KEEP_ALIVE, reader.next()) => next,
            };
            match next {
                Err(_) => break "\n".to_owned(),
                Ok(None) => return None,
                Ok(Some(Err(missed))) => break format!("{{\"missed\":{missed}}}\n"),
                Ok(Some(Ok(record))) if query.takes(&record) => {
                    if let Ok(json) = wire::json(&*record) {
                        break json + "\n";
                    }
                }
                // However many there are that are not wanted.
                Ok(Some(Ok(_))) if asked.elapsed() >= KEEP_ALIVE => break "\n".to_owned(),
                Ok(Some(Ok(_))) => {}
            }
        };
        Some((line, (reader, query, stop)))
    })
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct TopRequest {
    seconds: Option<u64>,
}

async fn top(
    State(admin): State<Arc<Admin>>,
    request: Result<UrlQuery<TopRequest>, QueryRejection>,
) -> Response {
    let UrlQuery(request) = match request {
        Ok(request) => request,
        Err(rejection) => return failed(rejection.status(), &rejection.body_text(), None),
    };
    let seconds = request.seconds.unwrap_or(TOP_SECONDS).clamp(1, TOP_SECONDS_MAX);
    match reader(&admin) {
        Ok(reader) => json(&admin.edge.top(reader, Duration::from_secs(seconds)).await),
        Err(response) => *response,
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct WhyRequest {
    url: String,
    /// Request fields, each as `Name: value`.
    #[serde(default)]
    fields: Vec<String>,
}

async fn why(State(admin): State<Arc<Admin>>, content: Content) -> Response {
    let request: WhyRequest = match read(content, "question") {
        Ok(request) => request,
        Err(response) => return *response,
    };
    if request.fields.len() > FIELDS_MAX {
        let error = format!("a request has at most {FIELDS_MAX} fields");
        return failed(StatusCode::BAD_REQUEST, &error, None);
    }
    let mut fields = HeaderMap::new();
    for line in &request.fields {
        let field = line.split_once(':').and_then(|(name, value)| {
            let name = HeaderName::from_bytes(name.trim().as_bytes()).ok()?;
            Some((name, HeaderValue::from_str(value.trim()).ok()?))
        });
        let Some((name, value)) = field else {
            return failed(
                StatusCode::BAD_REQUEST,
                &format!("`{line}` is no request field"),
                Some("write it as `Name: value`"),
            );
        };
        fields.append(name, value);
    }
    match admin.edge.why(&request.url, &fields) {
        Ok(why) => json(&why),
        Err(error) => {
            failed(StatusCode::BAD_REQUEST, &error, Some("give a URL such as http://example.com/page"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trace::{Record, Tracer};

    /// Else a reader of little among much that has gone is noticed never, and keeps its place.
    #[tokio::test(start_paused = true)]
    async fn a_reader_of_little_hears_that_the_edge_is_there() {
        let tracer = Arc::new(Tracer::default());
        let query = Query::parse(["status=500"]).unwrap();
        let mut lines = std::pin::pin!(lines(tracer.read().unwrap(), query, CancellationToken::new()));
        let busy = tokio::spawn(async move {
            loop {
                tracer.send(Record { status: 200, ..Record::default() });
                tokio::time::sleep(KEEP_ALIVE / 100).await;
            }
        });
        for _ in 0..3 {
            let told = tokio::time::timeout(2 * KEEP_ALIVE, lines.next()).await;
            assert_eq!(told.unwrap().unwrap(), "\n");
        }
        busy.abort();
    }
}
