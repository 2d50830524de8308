//! The HTTP server of the embedded bucket: bounded in connections and in every wait, and drained at the end.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use http::{Request, Response, StatusCode};
use http_body::Frame;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioTimer;
use s3s::auth::{S3Auth, SecretKey};
use s3s::service::{S3Service, S3ServiceBuilder};
use s3s::{Body, S3Result, s3_error};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, Sleep};
use tracing::instrument::WithSubscriber as _;
use tracing::subscriber::NoSubscriber;

use super::api::Api;
use super::folder::FolderStore;
use crate::connection::{self, ACCEPT_RETRY, Refusals};

/// From a connection's being free to the last byte of the next request's header. Longer than clients keep a
/// connection in their pools, so that the server seldom closes one in which a request is on its way.
const HEADER_MS_MAX: u64 = 120_000;
/// Between two pieces of a request's body.
const BODY_IDLE_MS_MAX: u64 = 30_000;
/// Until a peer has taken what was sent to it.
const UNSENT_MS_MAX: u32 = 60_000;
/// For requests in flight once shutdown has begun.
const DRAIN_MS_MAX: u64 = 3_000;
/// Keys of 1,024 bytes (3,072 escaped), twice for a copy, user metadata and a signature.
const HEADER_BYTES_MAX: usize = 64 * 1024;
/// Fields of a request: hyper's own bound.
const HEADERS_MAX: usize = 100;
/// A listing or a deletion of a thousand keys.
const XML_BYTES_MAX: usize = 4 << 20;

/// The one pair of keys that may use the server.
#[derive(Clone)]
pub struct Credentials {
    /// Sent in the clear, in every request.
    pub access_key_id: String,
    /// Never sent: it signs.
    pub secret_access_key: String,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").field("access_key_id", &self.access_key_id).finish_non_exhaustive()
    }
}

struct Auth {
    access_key_id: String,
    secret_key: SecretKey,
}

#[async_trait::async_trait]
impl S3Auth for Auth {
    async fn get_secret_key(&self, access_key: &str) -> S3Result<SecretKey> {
        // The access key is public: comparing it may take as long as it likes.
        if access_key == self.access_key_id {
            Ok(self.secret_key.clone())
        } else {
            Err(s3_error!(InvalidAccessKeyId, "this access key is unknown here"))
        }
    }
}

/// Serves the store to those who sign with `credentials`, until `shutdown` is ready and requests in flight are done
/// (or three seconds have passed).
pub fn serve(
    listener: TcpListener,
    store: FolderStore,
    credentials: Credentials,
    shutdown: BoxFuture<'static, ()>,
) -> BoxFuture<'static, ()> {
    // Boxed, as all that the shell polls: a bare future would be compiled there, without optimisation.
    serve_until(listener, store, credentials, shutdown).boxed()
}

async fn serve_until(
    listener: TcpListener,
    store: FolderStore,
    credentials: Credentials,
    mut shutdown: BoxFuture<'static, ()>,
) {
    let service = service(store.clone(), credentials);
    let permits = Arc::new(Semaphore::new(store.limits().connections_max.max(1)));
    let (closing, closed) = watch::channel(false);
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        let accepted = tokio::select! {
            () = &mut shutdown => break,
            accepted = accept(&listener, &permits) => accepted,
        };
        match accepted {
            Ok((stream, permit)) => {
                let (service, closed) = (service.clone(), closed.clone());
                connections.spawn(async move {
                    connection(stream, service, closed).await;
                    drop(permit);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "the embedded bucket cannot accept a connection");
                tokio::select! {
                    () = &mut shutdown => break,
                    () = tokio::time::sleep(ACCEPT_RETRY) => {}
                }
            }
        }
    }
    drop(listener);
    closing.send_replace(true);
    let drained = async { while connections.join_next().await.is_some() {} };
    if tokio::time::timeout(Duration::from_millis(DRAIN_MS_MAX), drained).await.is_err() {
        tracing::warn!("the embedded bucket closes connections whose requests did not end in time");
    }
    connections.shutdown().await;
}

async fn accept(
    listener: &TcpListener,
    permits: &Arc<Semaphore>,
) -> std::io::Result<(TcpStream, tokio::sync::OwnedSemaphorePermit)> {
    let permit = Arc::clone(permits).acquire_owned().await.map_err(std::io::Error::other)?;
    let (stream, _) = listener.accept().await?;
    Ok((stream, permit))
}

fn service(store: FolderStore, credentials: Credentials) -> S3Service {
    let mut config = s3s::config::S3Config::default();
    config.xml_max_body_size = XML_BYTES_MAX;
    let mut builder = S3ServiceBuilder::new(Api { store });
    builder.set_config(Arc::new(s3s::config::StaticConfigProvider::new(Arc::new(config))));
    builder.set_auth(Auth {
        access_key_id: credentials.access_key_id,
        secret_key: SecretKey::from(credentials.secret_access_key),
    });
    builder.build()
}

async fn connection(stream: TcpStream, service: S3Service, mut closed: watch::Receiver<bool>) {
    // Both options only improve on the default; a socket that refuses them is served all the same.
    if stream.set_nodelay(true).is_err()
        || rustix::net::sockopt::set_tcp_user_timeout(&stream, UNSENT_MS_MAX).is_err()
    {
        tracing::debug!("cannot set the options of a connection");
    }
    let answer = service_fn(move |request| {
        let service = service.clone();
        async move { answer(service, request).await }
    });
    let mut http = hyper::server::conn::http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(Duration::from_millis(HEADER_MS_MAX))
        .max_buf_size(HEADER_BYTES_MAX);
    let closing = async {
        // An error means that the server is gone, which is closing too.
        let _ = closed.wait_for(|closed| *closed).await;
    };
    let refusals = Refusals { server: "bucket", words: refusal };
    connection::serve(stream, &http, answer, refusals, closing).await;
}

/// What is said of a request that cannot be read, in the XML of S3 and with its codes.
fn refusal(status: StatusCode) -> (&'static str, String) {
    let (code, message) = match status {
        StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE => (
            "RequestHeaderSectionTooLarge",
            format!("The head of the request is larger than {HEADER_BYTES_MAX} bytes or has more than {HEADERS_MAX} fields: send less metadata."),
        ),
        StatusCode::URI_TOO_LONG => ("KeyTooLongError", "The target of the request is too long: keys have at most 1,024 bytes.".to_owned()),
        _ => (
            "BadRequest",
            "The request is not HTTP/1.1 as RFC 9112 has it: its first line or a field is malformed. This address speaks HTTP without TLS: see that the endpoint begins with http://.".to_owned(),
        ),
    };
    let text = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>{code}</Code><Message>{message}</Message></Error>\n"
    );
    ("application/xml", text)
}

async fn answer(service: S3Service, request: Request<Incoming>) -> Result<Response<Body>, s3s::HttpError> {
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let response = match refused(&request) {
        Some(why) => s3_error!(AccessDenied, "{why}")
            .to_http_response()
            .map_err(|e| s3s::HttpError::new(Box::new(e)))?,
        None => {
            let request = request.map(|body| Body::http_body_unsync(Timed::new(body)));
            // s3s reports each 404 and 412 as an error, and both are part of the protocol; we report what matters below.
            service.call(request).with_subscriber(NoSubscriber::default()).await?
        }
    };
    let status = response.status();
    if status.is_server_error() && status != StatusCode::INSUFFICIENT_STORAGE {
        tracing::error!(%method, path, status = status.as_u16(), "the embedded bucket failed a request");
    } else {
        tracing::trace!(%method, path, status = status.as_u16(), "bucket request");
    }
    Ok(response)
}

/// Ways of signing that s3s knows and this server does not offer: Signature Version 2, but for reads that are
/// presigned (awscli 1 still makes them so, and there it is only one URL that is at stake), and forms.
fn refused(request: &Request<Incoming>) -> Option<&'static str> {
    let text = |name| request.headers().get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let mut parameters = request.uri().query().unwrap_or_default().split('&');
    let has_v2_query = parameters.any(|parameter| {
        let name = parameter.split_once('=').map_or(parameter, |(name, _)| name);
        percent_encoding::percent_decode_str(name).eq(*b"Signature")
    });
    let is_read = matches!(*request.method(), http::Method::GET | http::Method::HEAD);
    if (has_v2_query && !is_read) || text(http::header::AUTHORIZATION).trim_start().starts_with("AWS ") {
        Some("requests are signed with Signature Version 4")
    } else if text(http::header::CONTENT_TYPE).to_ascii_lowercase().contains("multipart/form-data") {
        Some("uploads by form are not offered")
    } else {
        None
    }
}

/// A request's body that ends in an error when nothing comes for too long.
struct Timed {
    inner: Incoming,
    deadline: Pin<Box<Sleep>>,
}

impl Timed {
    fn new(inner: Incoming) -> Self {
        Self { inner, deadline: Box::pin(tokio::time::sleep(Duration::from_millis(BODY_IDLE_MS_MAX))) }
    }
}

#[derive(Debug, thiserror::Error)]
enum BodyError {
    #[error("no byte came for {BODY_IDLE_MS_MAX} ms")]
    Idle,
    #[error(transparent)]
    Broken(#[from] hyper::Error),
}

impl http_body::Body for Timed {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match Pin::new(&mut self.inner).poll_frame(cx) {
            Poll::Ready(frame) => {
                let deadline = Instant::now() + Duration::from_millis(BODY_IDLE_MS_MAX);
                self.deadline.as_mut().reset(deadline);
                Poll::Ready(frame.map(|frame| frame.map_err(BodyError::from)))
            }
            Poll::Pending => {
                ready!(self.deadline.as_mut().poll(cx));
                Poll::Ready(Some(Err(BodyError::Idle)))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> http_body::SizeHint {
        self.inner.size_hint()
    }
}
