//! Connections to one upstream: each carries one request at a time and is kept for the next, the one that was used last
//! first, so that those beyond what is needed grow old and end.

use std::{
    fmt, io,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use http::{Request, Response};
use hyper::{
    body::Incoming,
    client::conn::http1::{Builder, SendRequest},
};

use super::{
    body::RequestBody,
    connect::{Dialer, Line},
};
use crate::{clock, policy::freshness::Millis};

/// Connections that are kept.
const KEPT_MAX: usize = 256;
/// Bytes of a response's head; beyond, it is refused. So much is read of content at once, too, and there may be as many responses
/// as clients.
const RESPONSE_HEAD_BYTES_MAX: usize = 64 << 10;

/// The connections to one upstream.
#[derive(Debug)]
pub(super) struct Pool {
    pub(super) dialer: Dialer,
    idle: Duration,
    kept: Mutex<Vec<Kept>>,
    /// Whether somebody ends those that are kept for too long.
    is_tended: AtomicBool,
}

#[derive(Debug)]
struct Kept {
    link: Box<Link>,
    since: Millis,
}

/// A connection and its record; on the heap, since it is handed from one response to the next.
struct Link {
    sender: SendRequest<RequestBody>,
    line: Line,
}

/// A connection that carries a request. Dropped, it ends.
#[derive(Debug)]
pub(super) struct Lease {
    link: Box<Link>,
    pool: Arc<Pool>,
}

/// Why a request brought no response.
#[derive(Debug)]
pub(super) enum SendError {
    /// There is no connection.
    Connect(io::Error),
    /// There was one, and it broke, or what was said on it cannot be understood.
    Broke {
        error: hyper::Error,
        /// Whether it had carried a response before.
        was_used: bool,
    },
}

impl Pool {
    pub(super) fn new(dialer: Dialer, idle: Duration) -> Arc<Self> {
        Arc::new(Self { dialer, idle, kept: Mutex::default(), is_tended: AtomicBool::new(false) })
    }

    fn kept(&self) -> MutexGuard<'_, Vec<Kept>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends a request. Where a kept connection turns out to be closed before the request was on its way, it goes out on
    /// another.
    pub(super) async fn send(
        self: &Arc<Self>,
        mut request: Request<RequestBody>,
    ) -> Result<(Response<Incoming>, Lease), SendError> {
        loop {
            let mut lease = match self.take() {
                Some(lease) => lease,
                // On the heap, since it is rare: whatever waits for a response would be larger by it.
                None => Box::pin(self.connect()).await?,
            };
            let was_used = lease.link.line.was_used();
            match lease.link.sender.try_send_request(request).await {
                Ok(response) => return Ok((response, lease)),
                Err(mut error) => match error.take_message() {
                    Some(unsent) if was_used => request = unsent,
                    _ => return Err(SendError::Broke { error: error.into_error(), was_used }),
                },
            }
        }
    }

    fn take(self: &Arc<Self>) -> Option<Lease> {
        let mut kept = self.kept();
        let now = clock::boot_ms();
        while let Some(Kept { link, since }) = kept.pop() {
            if link.sender.is_ready() && !self.is_old(since, now) {
                return Some(Lease { link, pool: Arc::clone(self) });
            }
        }
        None
    }

    async fn connect(self: &Arc<Self>) -> Result<Lease, SendError> {
        let io = self.dialer.connect().await.map_err(SendError::Connect)?;
        let line = io.line().clone();
        let (sender, connection) = Builder::new()
            .max_buf_size(RESPONSE_HEAD_BYTES_MAX)
            .handshake(io)
            .await
            .map_err(|error| SendError::Broke { error, was_used: false })?;
        tokio::spawn(async move {
            // Whoever waits for something on it is told by itself.
            if let Err(error) = connection.with_upgrades().await {
                tracing::debug!(%error, "a connection to an upstream broke");
            }
        });
        Ok(Lease { link: Box::new(Link { sender, line }), pool: Arc::clone(self) })
    }

    fn is_old(&self, since: Millis, now: Millis) -> bool {
        u128::from(now.saturating_sub(since)) >= self.idle.as_millis()
    }

    fn keep(self: &Arc<Self>, link: Box<Link>) {
        {
            let mut kept = self.kept();
            if kept.len() < KEPT_MAX {
                kept.push(Kept { link, since: clock::boot_ms() });
            }
        }
        if self.is_tended.load(Ordering::Relaxed) || self.is_tended.swap(true, Ordering::AcqRel) {
            return;
        }
        let (pool, idle) = (Arc::downgrade(self), self.idle);
        tokio::spawn(async move {
            loop {
                tokio::time::sleep(idle).await;
                let Some(pool) = pool.upgrade() else { return };
                let now = clock::boot_ms();
                let mut kept = pool.kept();
                kept.retain(|kept| !kept.link.sender.is_closed() && !pool.is_old(kept.since, now));
                if kept.is_empty() {
                    pool.is_tended.store(false, Ordering::Release);
                    return;
                }
            }
        });
    }
}

impl Lease {
    /// Its record.
    pub(super) fn line(&self) -> &Line {
        &self.link.line
    }

    /// Its response has come to its end: it is for the next request, unless it should not be used again.
    pub(super) fn keep(self) {
        let Self { mut link, pool } = self;
        if pool.dialer.is_outdated(&link.line) || link.sender.is_closed() {
            return;
        }
        if link.sender.is_ready() {
            return pool.keep(link);
        }
        // The rest of the request is still on its way.
        tokio::spawn(async move {
            if link.sender.ready().await.is_ok() {
                pool.keep(link);
            }
        });
    }
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Link").field("line", &self.line).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use http::HeaderValue;
    use http_body_util::BodyExt as _;
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        net::TcpListener,
    };

    use super::*;
    use crate::upstream::{address::Address, body::no_content};

    #[tokio::test]
    async fn connections_are_kept_for_a_while_and_no_longer() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let serving = tokio::spawn(async move {
            let mut stream = listener.accept().await.unwrap().0;
            let mut asked = [0; 1 << 10];
            while stream.read(&mut asked).await.unwrap() > 0 {
                stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await.unwrap();
            }
        });
        let dialer =
            Dialer::new(&Address::parse(&url).unwrap(), None, Duration::from_secs(5), Arc::default());
        let pool = Pool::new(dialer, Duration::from_secs(3));
        for used in [false, true] {
            let mut request = Request::new(no_content());
            request.headers_mut().insert(http::header::HOST, HeaderValue::from_static("h"));
            let (response, lease) = pool.send(request).await.unwrap();
            assert_eq!((lease.line().was_used(), lease.line().take()), (used, !used));
            assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "ok");
            lease.keep();
            // At once, or as soon as it can be used again.
            while pool.kept().is_empty() {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        }
        assert_eq!(pool.dialer.made(), 1);
        // The upstream sees it end.
        tokio::time::timeout(Duration::from_secs(20), serving).await.unwrap().unwrap();
        assert!(pool.kept().is_empty());
    }
}
