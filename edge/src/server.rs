//! The HTTP/1.1 server: connections, deadlines and bounds; from hyper's request to ours and back.

use std::{
    convert::Infallible,
    future::Future,
    io,
    net::{IpAddr, SocketAddr},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Version, header};
use http_body::Body as _;
use http_body_util::BodyExt;
use hyper::{body::Incoming, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    time::Sleep,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    Edge,
    body::OutBody,
    error_page::error_page,
    inbound::Inbound,
    policy::{directives::RequestDirectives, forward},
    upstream::{TimedBody, no_content},
};

/// Fields of a request; more are refused with 431.
const FIELDS_MAX: usize = 100;
/// After a failed accept (too many open files), so that the loop does not spin.
const ACCEPT_RETRY: Duration = Duration::from_millis(50);

/// Serves an edge on a listener until `shutdown`; then takes no more connections, lets requests in flight end, and
/// closes what is left after [`Limits::drain`](crate::Limits::drain).
///
/// # Errors
/// Where the listener cannot be used at all.
pub async fn serve(
    listener: TcpListener,
    edge: Arc<Edge>,
    shutdown: impl Future<Output = ()> + Send,
) -> io::Result<()> {
    let local = listener.local_addr()?;
    let limits = edge.config.limits;
    let slots = Arc::new(Semaphore::new(limits.connections_max));
    let connections = TaskTracker::new();
    let (drain, kill) = (CancellationToken::new(), CancellationToken::new());
    let mut shutdown = std::pin::pin!(shutdown);
    loop {
        let slot = tokio::select! {
            () = &mut shutdown => break,
            slot = Arc::clone(&slots).acquire_owned() => slot,
        };
        let Ok(slot) = slot else { break };
        let (stream, peer) = tokio::select! {
            () = &mut shutdown => break,
            accepted = listener.accept() => match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(ACCEPT_RETRY).await;
                    continue;
                }
            },
        };
        let (edge, drain, kill) = (Arc::clone(&edge), drain.clone(), kill.clone());
        connections.spawn(async move {
            let gauge = metrics::gauge!("bakehouse_edge_connections");
            gauge.increment(1.0);
            tokio::select! {
                () = kill.cancelled() => {}
                () = connection(stream, peer, local, edge, drain) => {}
            }
            gauge.decrement(1.0);
            drop(slot);
        });
    }
    drop(listener);
    drain.cancel();
    connections.close();
    if tokio::time::timeout(limits.drain, connections.wait()).await.is_err() {
        tracing::warn!(
            connections = connections.len(),
            "requests in flight were cut off at the end of the drain"
        );
        kill.cancel();
        connections.wait().await;
    }
    Ok(())
}

async fn connection(
    stream: TcpStream,
    peer: SocketAddr,
    local: SocketAddr,
    edge: Arc<Edge>,
    drain: CancellationToken,
) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "TCP_NODELAY could not be set");
    }
    let limits = edge.config.limits;
    let io = StallGuard { io: TokioIo::new(stream), stall: limits.write_stall, timer: None };
    let service = service_fn(move |request: Request<Incoming>| {
        let edge = Arc::clone(&edge);
        async move { Ok::<_, Infallible>(respond(&edge, request, peer.ip(), local).await) }
    });
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.header_read)
        .max_buf_size(limits.header_bytes_max)
        .max_headers(FIELDS_MAX)
        .serve_connection(io, service);
    let mut connection = std::pin::pin!(connection);
    let result = tokio::select! {
        result = connection.as_mut() => result,
        () = drain.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = result {
        // A client that breaks off, or a response that does; both ends see the connection close.
        tracing::debug!(%peer, %error, "a connection ended early");
    }
}

async fn respond(
    edge: &Arc<Edge>,
    request: Request<Incoming>,
    peer: IpAddr,
    local: SocketAddr,
) -> Response<OutBody> {
    metrics::counter!("bakehouse_edge_requests_total").increment(1);
    let (parts, body) = request.into_parts();
    let id = request_id();
    let is_head = parts.method == Method::HEAD;
    let refuse = |code: StatusCode, text: &str| {
        let mut response = error_page(code, text, is_head, Some(&id));
        // After a request that was not understood, nothing on the connection can be.
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        response
    };
    // The parser's own bound is on its buffer, which one large read may exceed.
    let fields: usize = parts.headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum();
    let target_bytes = parts.uri.path_and_query().map_or(0, |target| target.as_str().len());
    if fields + target_bytes > edge.config.limits.header_bytes_max {
        return refuse(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, "The request's head is too large.");
    }
    if matches!(parts.method, Method::CONNECT | Method::TRACE) {
        let mut response = refuse(StatusCode::METHOD_NOT_ALLOWED, "This method is not served here.");
        let allow = HeaderValue::from_static("GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS");
        response.headers_mut().insert(header::ALLOW, allow);
        return response;
    }
    let host = match host_of(&parts.uri, &parts.headers, parts.version, local) {
        Ok(host) => host,
        Err(text) => return refuse(StatusCode::BAD_REQUEST, text),
    };
    if parts.headers.contains_key(header::TRANSFER_ENCODING)
        && (parts.headers.contains_key(header::CONTENT_LENGTH) || parts.version < Version::HTTP_11)
    {
        // RFC 9112 §6.1: two framings are an attempt to smuggle.
        return refuse(StatusCode::BAD_REQUEST, "The request's length is ambiguous.");
    }
    let target = match parts.uri.path_and_query() {
        Some(target) if target.as_str().starts_with('/') => target.as_str().to_owned(),
        Some(target) if target.as_str() == "*" && parts.method == Method::OPTIONS => {
            let mut response = Response::new(OutBody::empty());
            *response.status_mut() = StatusCode::NO_CONTENT;
            return response;
        }
        _ => return refuse(StatusCode::BAD_REQUEST, "The request's target is not a path."),
    };
    if target.len() > release::url::TARGET_BYTES_MAX {
        return refuse(StatusCode::URI_TOO_LONG, "The request's target is too long.");
    }
    let has_content = !body.is_end_stream();
    let mut headers = parts.headers;
    forward::strip_connection(&mut headers);
    let content = if has_content {
        TimedBody::new(body, edge.config.deadlines.idle).map_err(Into::into).boxed_unsync()
    } else {
        headers.remove(header::CONTENT_LENGTH);
        no_content()
    };
    // The client's own 100-continue is answered here, when the content is first read.
    headers.remove(header::EXPECT);
    let inbound = Inbound {
        method: parts.method,
        version: parts.version,
        scheme: forward::Scheme::Http,
        target,
        host,
        directives: RequestDirectives::parse(&headers),
        headers,
        id,
        peer: Some(peer),
        is_trusted: false,
        has_content,
    };
    edge.handle(inbound, content).await
}

/// The host that is asked for: of an absolute target, or of exactly one valid `Host` (RFC 9112 §3.2).
fn host_of(
    uri: &http::Uri,
    headers: &HeaderMap,
    version: Version,
    local: SocketAddr,
) -> Result<String, &'static str> {
    let mut hosts = headers.get_all(header::HOST).iter();
    let (first, second) = (hosts.next(), hosts.next());
    if second.is_some() {
        return Err("The request names more than one host.");
    }
    let text = match (uri.authority(), first) {
        (Some(authority), _) => authority.as_str().to_owned(),
        (None, Some(host)) => host.to_str().map_err(|_| "The request's host is not valid.")?.to_owned(),
        (None, None) if version < Version::HTTP_11 => local.to_string(),
        (None, None) => return Err("The request names no host."),
    };
    let valid = text
        .parse::<http::uri::Authority>()
        .is_ok_and(|authority| !authority.as_str().contains('@') && !authority.host().is_empty());
    if valid { Ok(text.to_ascii_lowercase()) } else { Err("The request's host is not valid.") }
}

/// 64 random bits in hexadecimal: enough to find a request in a log.
fn request_id() -> HeaderValue {
    HeaderValue::from_str(&format!("{:016x}", rand::random::<u64>()))
        .unwrap_or_else(|_| HeaderValue::from_static("0"))
}

/// A connection whose client must take what is sent to it: a write that makes no progress for too long ends it.
#[derive(Debug)]
struct StallGuard {
    io: TokioIo<TcpStream>,
    stall: Duration,
    timer: Option<Pin<Box<Sleep>>>,
}

impl StallGuard {
    fn guard<T>(&mut self, cx: &mut Context<'_>, result: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if result.is_ready() {
            self.timer = None;
            return result;
        }
        let stall = self.stall;
        let timer = self.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep(stall)));
        match timer.as_mut().poll(cx) {
            Poll::Ready(()) => Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
            Poll::Pending => Poll::Pending,
        }
    }
}

impl hyper::rt::Read for StallGuard {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: hyper::rt::ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(cx, buffer)
    }
}

impl hyper::rt::Write for StallGuard {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.io).poll_write(cx, bytes);
        self.guard(cx, result)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let result = Pin::new(&mut self.io).poll_flush(cx);
        self.guard(cx, result)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let result = Pin::new(&mut self.io).poll_shutdown(cx);
        self.guard(cx, result)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.io).poll_write_vectored(cx, slices);
        self.guard(cx, result)
    }
}
