//! Connections to one upstream: each carries one request at a time and is kept for the next of its thread, the one that was used
//! last first, so that those beyond what is needed grow old and end.

use std::{
    future::poll_fn,
    io,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use http::HeaderValue;
use tokio::{runtime::Handle, time::Instant};

use super::{
    Ask, Deadlines,
    body::{BoxError, RequestBody},
    connect::{Dialer, Line},
    link::{Broke, Link, Upgraded},
    message::Head,
    upstream::UnderWay,
};
use crate::{clock, policy::freshness::Millis};

/// Connections that are kept.
const KEPT_MAX: usize = 256;
/// Between two looks at those, for what their upstream has ended or said unasked, or that is too old.
const LOOK_EVERY: Duration = Duration::from_secs(1);

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
    /// On the heap, since it is handed from one response to the next.
    link: Box<Link>,
    since: Millis,
}

/// A connection that carries a request. Dropped, it ends.
#[derive(Debug)]
pub(super) struct Lease {
    link: Box<Link>,
    pool: Arc<Pool>,
}

/// Which connection a request goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Which {
    /// One that is kept, or else a new one.
    Any,
    /// A new one.
    New,
}

/// Why a request brought no response.
#[derive(Debug)]
pub(super) enum SendError {
    /// There is no connection.
    Connect(io::Error),
    /// There was one, and it broke, or what was said on it cannot be understood.
    Broke {
        reason: String,
        /// Whether it had carried a response before.
        was_used: bool,
    },
    /// The request cannot be sent.
    Request(&'static str),
    /// Its content broke off.
    Content(BoxError),
    /// It took too long.
    Late,
}

impl Pool {
    pub(super) fn new(dialer: Dialer, idle: Duration) -> Arc<Self> {
        Arc::new(Self { dialer, idle, kept: Mutex::default(), is_tended: AtomicBool::new(false) })
    }

    fn kept(&self) -> MutexGuard<'_, Vec<Kept>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends a request, and waits for the head of its response, within these deadlines.
    pub(super) async fn send(
        self: &Arc<Self>,
        ask: &Ask,
        host: Option<&HeaderValue>,
        authority: &str,
        content: Option<RequestBody>,
        deadlines: &Deadlines,
        line: Which,
    ) -> Result<(Head, Lease), SendError> {
        let Deadlines { first_byte, word, .. } = *deadlines;
        let end = Instant::now() + first_byte;
        let kept = || self.take(ask.is_repeatable(content.as_ref()));
        let mut lease = match (line == Which::Any).then(kept).flatten() {
            Some(lease) => lease,
            // On the heap, since it is rare: whatever waits for a response would be larger by it.
            None => match Box::pin(tokio::time::timeout_at(end, self.dialer.connect())).await {
                Ok(Ok(io)) => Lease { link: Box::new(Link::new(io)), pool: Arc::clone(self) },
                Ok(Err(error)) => return Err(SendError::Connect(error)),
                Err(_) => return Err(SendError::Late),
            },
        };
        let was_used = lease.link.line().was_used();
        lease.link.begin(ask, host, authority, content, word).map_err(SendError::Request)?;
        lease.link.patience().ends(end);
        let informational = ask.informational.as_ref();
        let head = poll_fn(|cx| lease.link.poll_head(&ask.method, informational, first_byte, cx)).await;
        match head {
            Ok(head) => Ok((head, lease)),
            Err(Broke::Late) => Err(SendError::Late),
            Err(Broke::Request(error)) => Err(SendError::Content(error)),
            Err(broke) => Err(SendError::Broke { reason: broke.to_string(), was_used }),
        }
    }

    /// One that is kept. A request that cannot be repeated gets none whose end has come by now, whether its thread was told or not.
    fn take(self: &Arc<Self>, is_repeatable: bool) -> Option<Lease> {
        let (now, here) = (clock::boot_ms(), Handle::current().id());
        let mut kept = self.kept();
        while let Some(index) = kept.iter().rposition(|kept| kept.link.runtime() == here) {
            let Kept { mut link, since } = kept.remove(index);
            if !self.is_old(since, now) && link.is_alive() && (is_repeatable || link.is_silent()) {
                return Some(Lease { link, pool: Arc::clone(self) });
            }
        }
        None
    }

    fn is_old(&self, since: Millis, now: Millis) -> bool {
        u128::from(now.saturating_sub(since)) >= self.idle.as_millis()
    }

    fn keep(self: &Arc<Self>, mut link: Box<Link>) {
        link.rests();
        let mut kept = self.kept();
        let oldest = (kept.len() >= KEPT_MAX).then(|| kept.remove(0));
        kept.push(Kept { link, since: clock::boot_ms() });
        drop(kept);
        drop(oldest);
        if self.is_tended.load(Ordering::Relaxed) || self.is_tended.swap(true, Ordering::AcqRel) {
            return;
        }
        let pool = Arc::downgrade(self);
        tokio::spawn(async move {
            loop {
                tokio::time::sleep(LOOK_EVERY).await;
                let Some(pool) = pool.upgrade() else { return };
                let now = clock::boot_ms();
                let mut kept = pool.kept();
                kept.retain_mut(|kept| !pool.is_old(kept.since, now) && kept.link.is_alive());
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
        self.link.line()
    }

    pub(super) fn link(&mut self) -> &mut Link {
        &mut self.link
    }

    /// Its response has come to its end: it is for the next request, unless it should not be used again.
    pub(super) fn keep(self) {
        let Self { mut link, pool } = self;
        if !link.may_be_kept() || pool.dialer.is_outdated(link.line()) {
            return;
        }
        if link.is_sent() {
            return pool.keep(link);
        }
        // The rest of the request is still on its way.
        tokio::spawn(async move {
            let sent = tokio::time::timeout(pool.idle, poll_fn(|cx| link.poll_sent(cx)));
            if matches!(sent.await, Ok(Ok(()))) {
                pool.keep(link);
            }
        });
    }

    /// After a 101: the connection itself.
    pub(super) fn into_upgraded(self, under_way: UnderWay) -> Upgraded {
        self.link.into_upgraded(under_way)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use http::{HeaderMap, Method};
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        net::TcpListener,
    };

    use super::*;
    use crate::{
        books::Books,
        upstream::{address::Address, body::TimedBody},
    };

    const PATIENCE: Duration = Duration::from_secs(5);

    async fn send(pool: &Arc<Pool>, ask: &Ask, line: Which) -> Result<(Head, Lease), SendError> {
        let deadlines = Deadlines { first_byte: PATIENCE, word: PATIENCE, ..Deadlines::default() };
        pool.send(ask, None, "h", None, &deadlines, line).await
    }

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
            let ask = Ask::new(Method::GET, "/".into(), HeaderMap::new());
            let patience = PATIENCE;
            let (head, lease) = send(&pool, &ask, Which::Any).await.unwrap();
            assert_eq!((lease.line().was_used(), lease.line().take()), (used, !used));
            let body = TimedBody::new(&head, patience, lease);
            assert_eq!(body.collect(9).await.unwrap().unwrap(), "ok");
            assert_eq!(pool.kept().len(), 1);
        }
        assert_eq!(pool.dialer.made(), 1);
        // The upstream sees it end.
        tokio::time::timeout(Duration::from_secs(20), serving).await.unwrap().unwrap();
        assert!(pool.kept().is_empty());
    }

    #[tokio::test]
    async fn connections_for_little_memory_are_kept_for_as_long_as_there_is_little() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move {
            let mut stream = listener.accept().await.unwrap().0;
            while stream.read(&mut [0; 1 << 10]).await.unwrap() > 0 {
                stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await.unwrap();
            }
        });
        let (patience, books) = (PATIENCE, Arc::<Books>::default());
        let dialer = Dialer::new(&Address::parse(&url).unwrap(), None, patience, Arc::clone(&books));
        let pool = Pool::new(dialer, Duration::from_secs(600));
        books.is_read(1);
        for kept in [1, 0] {
            let ask = Ask::new(Method::GET, "/".into(), HeaderMap::new());
            let (head, lease) = send(&pool, &ask, Which::Any).await.unwrap();
            if kept == 0 {
                books.is_unread(1);
            }
            assert_eq!(TimedBody::new(&head, patience, lease).collect(9).await.unwrap().unwrap(), "ok");
            assert_eq!((pool.dialer.made(), pool.kept().len()), (1, kept));
        }
    }

    #[test]
    fn a_connection_stays_with_the_thread_that_made_it() {
        use std::io::{Read as _, Write as _};
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (mut stream, mut asked) = (stream.unwrap(), [0; 1 << 10]);
                std::thread::spawn(move || {
                    while stream.read(&mut asked).is_ok_and(|bytes| bytes > 0) {
                        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").unwrap();
                    }
                });
            }
        });
        let patience = PATIENCE;
        let dialer = Dialer::new(&Address::parse(&url).unwrap(), None, patience, Arc::default());
        let pool = Pool::new(dialer, Duration::from_secs(20));
        let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let is_first = |runtime: &tokio::runtime::Runtime| {
            runtime.block_on(async {
                let ask = Ask::new(Method::GET, "/".into(), HeaderMap::new());
                let (head, lease) = send(&pool, &ask, Which::Any).await.unwrap();
                let is_first = lease.line().take();
                TimedBody::new(&head, patience, lease).collect(9).await.unwrap();
                is_first
            })
        };
        let (one, other) = (runtime(), runtime());
        assert_eq!([&one, &other, &one, &other].map(is_first), [true, true, false, false]);
        // What is left of a thread that has ended is no matter for another.
        drop(one);
        assert!(!is_first(&other) && pool.dialer.made() == 2);
    }

    #[tokio::test]
    async fn what_an_upstream_has_ended_carries_nothing_that_cannot_be_repeated() {
        use std::io::{Read as _, Write as _};
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (end, ends) = std::sync::mpsc::channel::<()>();
        let (tell, told) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (mut stream, mut asked) = (stream.unwrap(), [0; 1 << 10]);
                assert!(stream.read(&mut asked).unwrap() > 0);
                stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").unwrap();
                ends.recv().unwrap();
                drop(stream);
                tell.send(()).unwrap();
            }
        });
        let patience = PATIENCE;
        let dialer = Dialer::new(&Address::parse(&url).unwrap(), None, patience, Arc::default());
        let pool = Pool::new(dialer, Duration::from_secs(600));
        for made in 1..=3 {
            let ask = Ask::new(Method::POST, "/".into(), HeaderMap::new());
            let (head, lease) = send(&pool, &ask, Which::Any).await.unwrap();
            lease.line().take();
            TimedBody::new(&head, patience, lease).collect(9).await.unwrap();
            assert_eq!((pool.dialer.made(), pool.kept().len()), (made, 1));
            // It ends while this thread, which would be told, does something else.
            end.send(()).unwrap();
            told.recv().unwrap();
        }
        // And it does not stay for as long as one may be kept.
        let end = Instant::now() + patience;
        while !pool.kept().is_empty() {
            assert!(Instant::now() < end, "it is still there");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}
