//! Upstreams: who is asked, in which order, how long, and what is asked of the next when one fails.
//!
//! Knows nothing of caching. An upstream that fails is passed over for a while, longer with each failure in a row;
//! it is tried again when that has passed, or when no other is left.

use std::{
    pin::Pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, StatusCode, Uri, uri};
use http_body::{Body, Frame};
use http_body_util::{BodyExt, Empty, combinators::UnsyncBoxBody};
use hyper::body::Incoming;
use hyper_rustls::HttpsConnector;
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::{TokioExecutor, TokioTimer},
};

use crate::{
    clock,
    error::EdgeError,
    policy::{forward, freshness::Millis, reuse},
};

/// Idle connections that are kept to one upstream.
const IDLE_CONNECTIONS_MAX: usize = 256;
/// Shorter than the keep-alive of common servers, so that a reused connection is rarely a dead one.
const IDLE_CONNECTION: Duration = Duration::from_secs(20);
/// Bytes of a response's head; beyond, it is refused.
const RESPONSE_HEAD_BYTES_MAX: usize = 256 << 10;
/// How long an upstream is passed over after its first failure in a row; doubled with each.
const BACKOFF_MS: Millis = 250;
/// At most this long: well within a lease, so that an origin that is back is heard before it lapses.
const BACKOFF_MS_MAX: Millis = 3_000;

/// How long parts of a fetch may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Deadlines {
    /// To a connection, TLS included.
    pub connect: Duration,
    /// From the request to the head of the response, the connection included.
    pub first_byte: Duration,
    /// Between two parts of the content.
    pub idle: Duration,
}

impl Default for Deadlines {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(2),
            first_byte: Duration::from_secs(30),
            idle: Duration::from_secs(30),
        }
    }
}

/// Any error of a body, as hyper takes it.
pub(crate) type BoxError = Box<dyn std::error::Error + Send + Sync>;
/// Content of a request to an upstream.
pub(crate) type RequestBody = UnsyncBoxBody<Bytes, BoxError>;

/// No content.
pub(crate) fn no_content() -> RequestBody {
    Empty::new().map_err(|never| match never {}).boxed_unsync()
}

/// What is asked of an upstream.
#[derive(Debug, Clone)]
pub(crate) struct Ask {
    pub(crate) method: Method,
    /// Path and query as they go on the wire.
    pub(crate) target: String,
    pub(crate) headers: HeaderMap,
}

/// A response with the deadline for its content, and who sent it.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: TimedBody,
    pub(crate) upstream: String,
}

#[derive(Debug)]
struct Upstream {
    scheme: uri::Scheme,
    authority: uri::Authority,
    label: String,
    failures: AtomicU32,
    down_until: AtomicU64,
}

/// All upstreams of an edge.
#[derive(Debug)]
pub(crate) struct Upstreams {
    list: Vec<Upstream>,
    turn: AtomicUsize,
    sticky: AtomicUsize,
    client: Client<HttpsConnector<HttpConnector>, RequestBody>,
    deadlines: Deadlines,
}

impl Upstreams {
    pub(crate) fn new(urls: &[String], deadlines: Deadlines) -> Result<Self, EdgeError> {
        let list = urls.iter().map(|url| Upstream::parse(url)).collect::<Result<Vec<_>, _>>()?;
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        tcp.set_connect_timeout(Some(deadlines.connect));
        let tls = hyper_rustls::HttpsConnectorBuilder::new();
        let tls = if list.iter().any(|upstream| upstream.scheme == uri::Scheme::HTTPS) {
            tls.with_provider_and_native_roots(ring()).map_err(EdgeError::Certificates)?
        } else {
            // Without an https upstream no certificate is ever looked at.
            tls.with_tls_config(without_roots()?)
        };
        let connector = tls.https_or_http().enable_http1().wrap_connector(tcp);
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE_CONNECTION)
            .pool_max_idle_per_host(IDLE_CONNECTIONS_MAX)
            .http1_max_buf_size(RESPONSE_HEAD_BYTES_MAX)
            .build(connector);
        Ok(Self { list, turn: AtomicUsize::new(0), sticky: AtomicUsize::new(0), client, deadlines })
    }

    /// Whether there are any.
    pub(crate) fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// How many are not being passed over.
    pub(crate) fn up(&self) -> usize {
        let now = clock::boot_ms();
        self.list.iter().filter(|upstream| upstream.is_up(now)).count()
    }

    /// The order in which to try: those that are up, by turns, then the others.
    fn order(&self, only_up: bool) -> Vec<&Upstream> {
        let now = clock::boot_ms();
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let count = self.list.len().max(1);
        let rotated = (0..self.list.len()).map(|i| &self.list[(turn + i) % count]);
        let (up, down): (Vec<_>, Vec<_>) = rotated.partition(|upstream| upstream.is_up(now));
        if only_up { up } else { up.into_iter().chain(down).collect() }
    }

    /// Sends a request with content once, to the first upstream that a connection can be made to.
    pub(crate) async fn send_once(&self, ask: &Ask, body: RequestBody) -> Result<Answer, EdgeError> {
        let body = Arc::new(Mutex::new(Some(body)));
        let mut last = EdgeError::NoUpstream;
        for upstream in self.order(false) {
            let once = OnceBody { shared: Arc::clone(&body), taken: None };
            match self.exchange(upstream, ask, once.boxed_unsync(), None).await {
                // Without a connection nothing of the content was read, so the next may have it.
                Err(error @ EdgeError::Connect { .. }) => last = error,
                other => return other,
            }
        }
        Err(last)
    }

    /// Sends a request without content. An idempotent one is sent to the next upstream where one fails; a safe one
    /// also where it answers 502, 503 or 504. The last answer or failure counts.
    pub(crate) async fn send(&self, ask: &Ask) -> Result<Answer, EdgeError> {
        self.send_where(ask, false, None, |answer| {
            forward::is_safe(&ask.method)
                && reuse::is_stale_if_error_status(answer.status)
                && answer.status != StatusCode::INTERNAL_SERVER_ERROR
        })
        .await
    }

    /// As [`Upstreams::send`], with the caller's own idea of an answer that the next upstream may better, and of
    /// whether those that are down are tried at all.
    pub(crate) async fn send_where(
        &self,
        ask: &Ask,
        only_up: bool,
        first_byte: Option<Duration>,
        unsatisfying: impl Fn(&Answer) -> bool,
    ) -> Result<Answer, EdgeError> {
        let mut last = Err(EdgeError::NoUpstream);
        for upstream in self.order(only_up) {
            let answer = self.exchange(upstream, ask, no_content(), first_byte).await;
            match answer {
                Ok(answer) if unsatisfying(&answer) => last = Ok(answer),
                Ok(answer) => return Ok(answer),
                Err(error) => {
                    let again =
                        forward::is_idempotent(&ask.method) || matches!(error, EdgeError::Connect { .. });
                    if !again {
                        return Err(error);
                    }
                    // An answer, however bad, says more than a failure.
                    if last.is_err() {
                        last = Err(error);
                    }
                }
            }
        }
        last
    }

    /// Sends a request that should go to the same upstream as the last such, while that one answers.
    pub(crate) async fn send_sticky(
        &self,
        ask: &Ask,
        only_up: bool,
        first_byte: Duration,
    ) -> Result<Answer, EdgeError> {
        let now = clock::boot_ms();
        let count = self.list.len().max(1);
        let start = self.sticky.load(Ordering::Relaxed);
        let mut indexes: Vec<usize> = (0..self.list.len()).map(|i| (start + i) % count).collect();
        indexes.sort_by_key(|index| !self.list[*index].is_up(now));
        let mut last = EdgeError::NoUpstream;
        for index in indexes {
            if only_up && !self.list[index].is_up(now) {
                continue;
            }
            match self.exchange(&self.list[index], ask, no_content(), Some(first_byte)).await {
                Ok(answer) if answer.status == StatusCode::OK => {
                    self.sticky.store(index, Ordering::Relaxed);
                    return Ok(answer);
                }
                Ok(answer) => {
                    last =
                        EdgeError::NoOrigin { last: format!("{} said {}", answer.upstream, answer.status) };
                }
                Err(error) => last = error,
            }
        }
        tracing::debug!(error = %last, "no origin answered a poll");
        Err(last)
    }

    async fn exchange(
        &self,
        upstream: &Upstream,
        ask: &Ask,
        body: RequestBody,
        first_byte: Option<Duration>,
    ) -> Result<Answer, EdgeError> {
        let first_byte = first_byte.unwrap_or(self.deadlines.first_byte);
        let bad = |reason: String| EdgeError::BadResponse { upstream: upstream.label.clone(), reason };
        let target: uri::PathAndQuery =
            ask.target.parse().map_err(|_| bad("the target is no path".into()))?;
        let uri = Uri::builder()
            .scheme(upstream.scheme.clone())
            .authority(upstream.authority.clone())
            .path_and_query(target)
            .build()
            .map_err(|error| bad(error.to_string()))?;
        let mut request = Request::new(body);
        *request.method_mut() = ask.method.clone();
        *request.uri_mut() = uri;
        *request.headers_mut() = ask.headers.clone();
        metrics::counter!("bakehouse_edge_upstream_requests_total", "upstream" => upstream.label.clone())
            .increment(1);
        let sent = tokio::time::timeout(first_byte, self.client.request(request)).await;
        let failed = |error: EdgeError| {
            upstream.failed(clock::boot_ms());
            metrics::counter!("bakehouse_edge_upstream_errors_total", "upstream" => upstream.label.clone())
                .increment(1);
            tracing::warn!(upstream = %upstream.label, %error, "upstream failed");
            Err(error)
        };
        let response = match sent {
            Err(_) => {
                let ms = u64::try_from(first_byte.as_millis()).unwrap_or(u64::MAX);
                return failed(EdgeError::FirstByte { upstream: upstream.label.clone(), ms });
            }
            Ok(Err(error)) => {
                let reason = chain(&error);
                if error.is_connect() {
                    return failed(EdgeError::Connect { upstream: upstream.label.clone(), reason });
                }
                if is_body_error(&error) {
                    return Err(EdgeError::RequestBroke { reason });
                }
                return failed(bad(reason));
            }
            Ok(Ok(response)) => response,
        };
        upstream.succeeded();
        let (parts, body) = Response::into_parts(response);
        Ok(Answer {
            status: parts.status,
            headers: parts.headers,
            body: TimedBody::new(body, self.deadlines.idle),
            upstream: upstream.label.clone(),
        })
    }
}

fn ring() -> rustls::crypto::CryptoProvider {
    rustls::crypto::ring::default_provider()
}

fn without_roots() -> Result<rustls::ClientConfig, EdgeError> {
    let builder = rustls::ClientConfig::builder_with_provider(Arc::new(ring()))
        .with_safe_default_protocol_versions()
        .map_err(|error| EdgeError::Certificates(std::io::Error::other(error)))?;
    Ok(builder.with_root_certificates(rustls::RootCertStore::empty()).with_no_client_auth())
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

/// Whether a failure came from the content that we were sending on.
fn is_body_error(error: &dyn std::error::Error) -> bool {
    let mut source = error.source();
    while let Some(cause) = source {
        if let Some(hyper) = cause.downcast_ref::<hyper::Error>()
            && hyper.is_user()
        {
            return true;
        }
        source = cause.source();
    }
    false
}

impl Upstream {
    fn parse(url: &str) -> Result<Self, EdgeError> {
        let bad = |reason| EdgeError::BadUpstream { url: url.to_owned(), reason };
        let uri: Uri = url.parse().map_err(|_| bad("it is not a URL"))?;
        let scheme = uri.scheme().cloned().ok_or_else(|| bad("it has no scheme"))?;
        if scheme != uri::Scheme::HTTP && scheme != uri::Scheme::HTTPS {
            return Err(bad("its scheme is neither http nor https"));
        }
        let authority = uri.authority().cloned().ok_or_else(|| bad("it has no host"))?;
        if authority.as_str().contains('@') {
            return Err(bad("it holds credentials"));
        }
        if uri.path() != "/" || uri.query().is_some() {
            return Err(bad("it has a path or query"));
        }
        let label = format!("{scheme}://{authority}");
        Ok(Self { scheme, authority, label, failures: AtomicU32::new(0), down_until: AtomicU64::new(0) })
    }

    fn is_up(&self, now: Millis) -> bool {
        self.down_until.load(Ordering::Relaxed) <= now
    }

    fn failed(&self, now: Millis) {
        let failures = self.failures.fetch_add(1, Ordering::Relaxed).min(16);
        let backoff = (BACKOFF_MS << failures).min(BACKOFF_MS_MAX);
        self.down_until.store(now + backoff, Ordering::Relaxed);
    }

    fn succeeded(&self) {
        if self.failures.swap(0, Ordering::Relaxed) > 0 {
            self.down_until.store(0, Ordering::Relaxed);
            tracing::info!(upstream = %self.label, "upstream answers again");
        }
    }
}

/// Content that can be offered to several upstreams, and is read by one.
struct OnceBody {
    shared: Arc<Mutex<Option<RequestBody>>>,
    taken: Option<RequestBody>,
}

impl Body for OnceBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = self.get_mut();
        if this.taken.is_none() {
            this.taken = this.shared.lock().unwrap_or_else(PoisonError::into_inner).take();
        }
        match &mut this.taken {
            Some(body) => Pin::new(body).poll_frame(cx),
            None => Poll::Ready(Some(Err("the content was sent to another upstream already".into()))),
        }
    }
}

/// The content of an upstream's response, which may not stall longer than the deadline.
#[derive(Debug)]
pub(crate) struct TimedBody {
    body: Incoming,
    idle: Duration,
    timer: Option<Pin<Box<tokio::time::Sleep>>>,
}

impl TimedBody {
    pub(crate) fn new(body: Incoming, idle: Duration) -> Self {
        Self { body, idle, timer: None }
    }

    /// What `Content-Length` promises, or the fact that there is none.
    pub(crate) fn exact(&self) -> Option<u64> {
        self.body.size_hint().exact()
    }

    /// Whether it has ended already.
    pub(crate) fn is_end(&self) -> bool {
        self.body.is_end_stream()
    }

    /// The next part; trailers are passed over, as RFC 9110 §6.5.1 allows.
    pub(crate) fn poll_chunk(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, EdgeError>>> {
        loop {
            match Pin::new(&mut self.body).poll_frame(cx) {
                Poll::Ready(Some(Ok(frame))) => {
                    self.timer = None;
                    if let Ok(data) = Frame::into_data(frame) {
                        return Poll::Ready(Some(Ok(data)));
                    }
                }
                Poll::Ready(Some(Err(_))) => return Poll::Ready(Some(Err(EdgeError::UpstreamBroke))),
                Poll::Ready(None) => return Poll::Ready(None),
                Poll::Pending => {
                    let idle = self.idle;
                    let timer = self.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep(idle)));
                    return match timer.as_mut().poll(cx) {
                        Poll::Ready(()) => Poll::Ready(Some(Err(EdgeError::UpstreamBroke))),
                        Poll::Pending => Poll::Pending,
                    };
                }
            }
        }
    }

    /// The next part.
    pub(crate) async fn chunk(&mut self) -> Option<Result<Bytes, EdgeError>> {
        std::future::poll_fn(|cx| self.poll_chunk(cx)).await
    }

    /// The whole, unless it is larger than `bytes_max` (`Ok(None)`).
    pub(crate) async fn collect(mut self, bytes_max: u64) -> Result<Option<Bytes>, EdgeError> {
        let mut whole = bytes::BytesMut::with_capacity(
            usize::try_from(self.exact().unwrap_or(0).min(bytes_max)).unwrap_or(0),
        );
        while let Some(chunk) = self.chunk().await {
            let chunk = chunk?;
            if whole.len() as u64 + chunk.len() as u64 > bytes_max {
                return Ok(None);
            }
            whole.extend_from_slice(&chunk);
        }
        Ok(Some(whole.freeze()))
    }
}

impl Body for TimedBody {
    type Data = Bytes;
    type Error = EdgeError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, EdgeError>>> {
        self.get_mut().poll_chunk(cx).map(|chunk| chunk.map(|result| result.map(Frame::data)))
    }

    fn is_end_stream(&self) -> bool {
        self.is_end()
    }

    fn size_hint(&self) -> http_body::SizeHint {
        self.body.size_hint()
    }
}
