//! One HTTP/1.1 connection of a server of this crate: served, drained, and told in words what hyper refuses by itself.
//!
//! A head that hyper cannot read never reaches a service: hyper answers with a bare status and ends the connection. What is
//! written while every request that the service was asked is answered can only be that, so an answer that says what was
//! wrong takes its place.

use std::error::Error;
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, Bytes};
use http::{Request, Response, StatusCode};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::Sleep;

/// How long, and how much, a client that was refused may go on sending, so that it sees the answer and not a reset
/// (RFC 9112 §9.6).
const LINGER: Duration = Duration::from_secs(1);
const LINGER_BYTES_MAX: usize = 256 << 10;
/// After a failed accept, for want of file descriptors for instance: others must end before it goes on.
pub(crate) const ACCEPT_RETRY: Duration = Duration::from_millis(500);
/// Counts requests whose head is malformed or too large, by server.
pub(crate) const UNREADABLE: &str = "bakehouse_unreadable_requests_total";
/// What hyper writes of content that there is not.
const NO_CONTENT: &str = "content-length: 0\r\n";

/// How a server tells of requests that cannot be read.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Refusals {
    /// What the server is called in metrics and logs.
    pub(crate) server: &'static str,
    /// Media type and content of the answer with a status.
    pub(crate) words: fn(StatusCode) -> (&'static str, String),
}

/// Serves a connection to its end; once `closing` is ready, to that of the request that it is at, if it is at one.
pub(crate) async fn serve<S, B>(
    stream: TcpStream,
    http: &http1::Builder,
    service: S,
    refusals: Refusals,
    closing: impl Future<Output = ()>,
) where
    S: Service<Request<Incoming>, Response = Response<B>>,
    S::Error: Into<Box<dyn Error + Send + Sync>>,
    B: http_body::Body + 'static,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    let requests = Arc::new(Requests::default());
    let wire = Wire {
        stream,
        words: refusals.words,
        requests: Arc::clone(&requests),
        flushed: 0,
        read: 0,
        is_head: false,
        answer: None,
        linger: None,
    };
    let asked = Arc::clone(&requests);
    let service = service_fn(move |request| {
        asked.asked.fetch_add(1, Ordering::Relaxed);
        let (response, answering) = (service.call(request), Answering(Arc::clone(&asked)));
        async move {
            let keep = move |error| {
                let _for_as_long_as_the_body = &answering;
                error
            };
            Ok::<_, S::Error>(response.await?.map(|body| body.map_err(keep)))
        }
    });
    let mut connection = pin!(http.serve_connection(TokioIo::new(wire), service));
    let ended = tokio::select! {
        // First, so that what has come is taken.
        biased;
        ended = connection.as_mut() => ended,
        () = closing => {
            // hyper would wait for the rest of a first head, which may never come.
            if requests.asked.load(Ordering::Relaxed) == 0 {
                return;
            }
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    match ended {
        Err(error) if error.is_parse() => {
            metrics::counter!(UNREADABLE, "server" => refusals.server).increment(1);
            tracing::info!(server = refusals.server, %error, "a request could not be read, and was refused");
        }
        Err(error) => tracing::debug!(server = refusals.server, %error, "a connection ended early"),
        Ok(()) => {}
    }
}

/// How many requests of a connection the service was asked, and of how many hyper has all of the answer.
#[derive(Default)]
struct Requests {
    asked: AtomicU64,
    answered: AtomicU64,
}

/// Goes with the body of a response, which hyper drops when it has taken all of it.
struct Answering(Arc<Requests>);

impl Drop for Answering {
    fn drop(&mut self) {
        self.0.answered.fetch_add(1, Ordering::Relaxed);
    }
}

/// The socket, as hyper sees it.
struct Wire {
    stream: TcpStream,
    words: fn(StatusCode) -> (&'static str, String),
    requests: Arc<Requests>,
    /// How many answers have gone out whole.
    flushed: u64,
    /// Bytes that were read since the last answer, or from the beginning.
    read: usize,
    /// Whether these begin with a request for a head, so that no content may follow. Of one that came together with the
    /// request before it, this is not known: it gets content, which does no harm where the connection ends.
    is_head: bool,
    /// What is left of our answer in place of hyper's.
    answer: Option<Bytes>,
    linger: Option<Pin<Box<Sleep>>>,
}

impl Wire {
    /// Whether no request is being answered, so that what is written is hyper's own.
    fn is_idle(&self) -> bool {
        self.flushed == self.requests.asked.load(Ordering::Relaxed)
    }

    /// hyper's answer with content.
    fn answer_for(&self, bare: &[u8]) -> Bytes {
        let head = String::from_utf8_lossy(bare);
        let status = head.get(9..12).and_then(|status| status.parse().ok());
        let Some(status) = status.filter(|_| head.contains(NO_CONTENT)) else {
            return Bytes::copy_from_slice(bare);
        };
        let (media_type, text) = (self.words)(status);
        let fields = format!(
            "content-type: {media_type}\r\ncontent-length: {}\r\ncache-control: no-store\r\n",
            text.len()
        );
        let head = head.replacen(NO_CONTENT, &fields, 1);
        if self.is_head { head.into() } else { (head + &text).into() }
    }
}

impl AsyncRead for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buf))?;
        let new = &buf.filled()[before..];
        if self.read == 0 {
            self.is_head = new.starts_with(b"HEAD ");
        }
        self.read += new.len();
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Wire {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        if !self.is_idle() {
            return Pin::new(&mut self.stream).poll_write(cx, buf);
        }
        let mut answer = self.answer.take().unwrap_or_else(|| self.answer_for(buf));
        while !answer.is_empty() {
            match Pin::new(&mut self.stream).poll_write(cx, &answer) {
                Poll::Ready(Ok(0)) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Poll::Ready(Ok(written)) => answer.advance(written),
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => {
                    self.answer = Some(answer);
                    return Poll::Pending;
                }
            }
        }
        self.answer = Some(answer);
        self.read = 0;
        Poll::Ready(Ok(buf.len()))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if !self.is_idle() {
            return Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        }
        self.poll_write(cx, bufs.iter().find(|buf| !buf.is_empty()).map_or(&[], |buf| buf))
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    /// hyper flushes once it has written all that it has.
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.stream).poll_flush(cx))?;
        let answered = self.requests.answered.load(Ordering::Relaxed);
        if self.flushed != answered {
            self.flushed = answered;
            self.read = 0;
            self.is_head = false;
        }
        Poll::Ready(Ok(()))
    }

    /// After an answer of ours, what the client still sends is passed over for a while.
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.stream).poll_shutdown(cx))?;
        if self.answer.is_none() {
            return Poll::Ready(Ok(()));
        }
        let mut end = self.linger.take().unwrap_or_else(|| Box::pin(tokio::time::sleep(LINGER)));
        let mut scrap = [0; 16 << 10];
        while self.read < LINGER_BYTES_MAX && end.as_mut().poll(cx).is_pending() {
            let before = self.read;
            match self.as_mut().poll_read(cx, &mut ReadBuf::new(&mut scrap)) {
                Poll::Ready(Ok(())) if self.read > before => {}
                // It has left.
                Poll::Ready(_) => break,
                Poll::Pending => {
                    self.linger = Some(end);
                    return Poll::Pending;
                }
            }
        }
        Poll::Ready(Ok(()))
    }
}
