//! Connections to one upstream: TCP to an address of its name, or a Unix socket, TLS around it.

use std::{
    io,
    mem::MaybeUninit,
    net::IpAddr,
    os::fd::AsFd as _,
    path::PathBuf,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use metrics::Counter;
use rustls::pki_types::ServerName;
use socket2::SockRef;
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, Interest, ReadBuf},
    net::{TcpStream, UnixStream},
};
use tokio_rustls::{TlsConnector, client::TlsStream};

use super::{
    address::{Address, Place},
    names::Names,
};
use crate::{books::Books, clock, http1::unsent, policy::freshness::Millis, sockets::Watched};

/// Bytes that are read at once where memory is short; thousands of connections may have as much in hand.
const READ_BYTES_SHORT: u64 = 16 << 10;
/// And that the kernel may hold of a response which is not read, and of content that has yet to be sent.
const HELD_BYTES_SHORT: usize = 32 << 10;
/// What the kernel takes in any case of content that has yet to be sent. By itself it takes 4 MiB for an upstream that reads slowly,
/// whatever clients send it.
const UNSENT_BYTES_MAX: usize = 128 << 10;
/// A connection is not used again after this, so that load moves to machines that have joined behind an address.
const CONNECTION_MS_MAX: Millis = 5 * 60_000;
/// An address that does not answer leaves the others at least this long.
const ATTEMPT_MIN: Duration = Duration::from_millis(250);

/// A connection's own record.
#[derive(Debug, Clone)]
pub(super) struct Line {
    /// The address; none for a Unix socket.
    peer: Option<IpAddr>,
    made: Millis,
    uses: Arc<AtomicU64>,
}

impl Line {
    fn new(peer: Option<IpAddr>) -> Self {
        Self { peer, made: clock::boot_ms(), uses: Arc::default() }
    }

    /// Counts a use; whether it is the first.
    pub(super) fn take(&self) -> bool {
        self.uses.fetch_add(1, Ordering::Relaxed) == 0
    }

    /// Whether it has carried a response before.
    pub(super) fn was_used(&self) -> bool {
        self.uses.load(Ordering::Relaxed) > 0
    }
}

/// Makes connections to one upstream.
#[derive(Clone)]
pub(super) struct Dialer(Arc<Dial>);

struct Dial {
    to: To,
    tls: Option<(TlsConnector, ServerName<'static>)>,
    deadline: Duration,
    turn: AtomicUsize,
    made: AtomicU64,
    meter: Counter,
    books: Arc<Books>,
}

/// Where they lead.
#[derive(Debug)]
enum To {
    Unix(PathBuf),
    Tcp(Arc<Names>),
}

impl Dialer {
    pub(super) fn new(
        address: &Address,
        tls: Option<&Arc<rustls::ClientConfig>>,
        deadline: Duration,
        books: Arc<Books>,
    ) -> Self {
        let tls =
            tls.zip(address.tls.clone()).map(|(config, name)| (TlsConnector::from(Arc::clone(config)), name));
        let to = match &address.place {
            Place::Unix(path) => To::Unix(path.clone()),
            Place::Tcp { host, port } => To::Tcp(Names::new(host, *port)),
        };
        Self(Arc::new(Dial {
            to,
            tls,
            deadline,
            turn: AtomicUsize::new(0),
            made: AtomicU64::new(0),
            meter: metrics::counter!("bakehouse_edge_upstream_connections_total", "upstream" => address.label.clone()),
            books,
        }))
    }

    /// A new connection.
    ///
    /// # Errors
    /// Where there is none in time.
    pub(super) async fn connect(&self) -> io::Result<Io> {
        let deadline = self.0.deadline;
        tokio::time::timeout(deadline, self.0.dial()).await.unwrap_or_else(|_| {
            let text = format!("not within {} ms", deadline.as_millis());
            Err(io::Error::new(io::ErrorKind::TimedOut, text))
        })
    }

    /// Connections made so far.
    pub(super) fn made(&self) -> u64 {
        self.0.made.load(Ordering::Relaxed)
    }

    /// Whether a connection should not be used again: it is old, or its address is no longer one of the name's. Looks
    /// the name up again, in the background, when that is due.
    pub(super) fn is_outdated(&self, line: &Line) -> bool {
        let now = clock::boot_ms();
        if now.saturating_sub(line.made) > CONNECTION_MS_MAX {
            return true;
        }
        match (&self.0.to, line.peer) {
            (To::Tcp(names), Some(peer)) => !names.has(peer),
            _ => false,
        }
    }
}

impl Dial {
    async fn dial(&self) -> io::Result<Io> {
        let (stream, peer): (Box<dyn Stream>, _) = match &self.to {
            To::Unix(path) => (Box::new(UnixStream::connect(path).await?), None),
            To::Tcp(names) => {
                let stream = self.dial_tcp(names).await?;
                stream.set_nodelay(true)?;
                bound_unsent(&stream, UNSENT_BYTES_MAX);
                let peer = stream.peer_addr()?.ip();
                (Box::new(stream), Some(peer))
            }
        };
        let stream = match &self.tls {
            None => stream,
            Some((connector, name)) => {
                Box::new(connector.connect(name.clone(), stream).await.map_err(explained)?)
            }
        };
        self.made.fetch_add(1, Ordering::Relaxed);
        self.meter.increment(1);
        let books = Arc::clone(&self.books);
        let watched = stream.tcp().map(|tcp| books.upstreams().watch(tcp));
        Ok(Io { _watched: watched, stream, line: Line::new(peer), books, is_bounded: false, is_over: false })
    }

    /// Tries a name's addresses by turns, each for its part of the deadline.
    async fn dial_tcp(&self, names: &Arc<Names>) -> io::Result<TcpStream> {
        let addresses = names.addresses().await?;
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let part = u32::try_from(addresses.len()).map_or(self.deadline, |count| self.deadline / count.max(1));
        let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
        for address in names.order(&addresses, turn) {
            let tried = tokio::time::timeout(part.max(ATTEMPT_MIN), TcpStream::connect(address)).await;
            names.tried(address, matches!(tried, Ok(Ok(_))));
            match tried {
                Ok(Ok(stream)) => return Ok(stream),
                Ok(Err(error)) => last = error,
                Err(_) => last = io::ErrorKind::TimedOut.into(),
            }
        }
        Err(last)
    }
}

/// Of what rustls refuses, what common tools accept, and make: the library has a name of its own for it.
fn explained(error: io::Error) -> io::Error {
    if !error.to_string().contains("CaUsedAsEndEntity") {
        return error;
    }
    let text = "its certificate is an authority's (CA:TRUE), which proves no server: give it one that is not (CA:FALSE)";
    io::Error::new(error.kind(), text)
}

fn bound_unsent(stream: &TcpStream, bytes_max: usize) {
    if let Err(error) = unsent::set(stream, bytes_max) {
        tracing::debug!(%error, "what the kernel takes of content for an upstream could not be bounded");
    }
}

/// What all kinds of connections can do.
trait Stream: AsyncRead + AsyncWrite + Send + Sync + Unpin {
    /// What it goes through.
    fn socket(&self) -> SockRef<'_>;

    /// The same, if it is a TCP connection.
    fn tcp(&self) -> Option<&TcpStream>;
}

impl Stream for TcpStream {
    fn socket(&self) -> SockRef<'_> {
        self.into()
    }

    fn tcp(&self) -> Option<&TcpStream> {
        Some(self)
    }
}

impl Stream for UnixStream {
    fn socket(&self) -> SockRef<'_> {
        self.into()
    }

    fn tcp(&self) -> Option<&TcpStream> {
        None
    }
}

impl Stream for TlsStream<Box<dyn Stream>> {
    fn socket(&self) -> SockRef<'_> {
        self.get_ref().0.socket()
    }

    fn tcp(&self) -> Option<&TcpStream> {
        self.get_ref().0.tcp()
    }
}

/// A connection.
pub(crate) struct Io {
    _watched: Option<Watched>,
    stream: Box<dyn Stream>,
    line: Line,
    books: Arc<Books>,
    /// Whether the kernel holds little of what is not read.
    is_bounded: bool,
    /// Whether what was written is to arrive even though nobody waits for an answer.
    is_over: bool,
}

impl Drop for Io {
    fn drop(&mut self) {
        // Of a request that was given up, the kernel would hold what its upstream does not take for minutes, and nobody would count it.
        let Some(stream) = self.stream.tcp().filter(|_| !self.is_over) else { return };
        if unsent::queued(stream.as_fd()) > 0
            && let Err(error) = SockRef::from(stream).set_linger(Some(Duration::ZERO))
        {
            tracing::debug!(%error, "a connection to an upstream could not be reset");
        }
    }
}

impl Io {
    /// Before something is asked: of the answer, which may wait for a slow client, the kernel would hold megabytes.
    fn bound_where_short(&mut self) {
        if self.is_bounded || !self.books.is_short() {
            return;
        }
        self.bound(HELD_BYTES_SHORT);
    }

    /// Has the kernel hold so many bytes in either direction, for good.
    pub(crate) fn bound(&mut self, bytes_max: usize) {
        self.is_bounded = true;
        let Some(stream) = self.stream.tcp() else { return };
        bound_unsent(stream, bytes_max);
        if let Err(error) = SockRef::from(stream).set_recv_buffer_size(bytes_max) {
            tracing::debug!(%error, "what the kernel holds of an upstream's response could not be bounded");
        }
    }

    /// Waits until the kernel takes more by its bound.
    fn poll_room(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Some(stream) = self.stream.tcp().filter(|_| self.is_bounded) else { return Poll::Ready(Ok(())) };
        while !unsent::has_room(stream) {
            // Until the runtime is told so, it thinks that there is room.
            let _: io::Result<()> =
                stream.try_io(Interest::WRITABLE, || Err(io::ErrorKind::WouldBlock.into()));
            ready!(stream.poll_write_ready(cx))?;
        }
        Poll::Ready(Ok(()))
    }

    /// What was written is to arrive, though nobody waits for an answer.
    pub(crate) fn is_over(&mut self) {
        self.is_over = true;
    }

    /// Whether the kernel holds little for it although there is memory again: what its upstream sends would be slow for good.
    pub(super) fn is_cramped(&self) -> bool {
        self.is_bounded && !self.books.is_short()
    }

    /// Its record.
    pub(super) fn line(&self) -> &Line {
        &self.line
    }

    /// Whether nothing has come on it, not even its end. The system is asked, since the runtime knows what it was told last.
    pub(super) fn is_silent(&self) -> bool {
        let peeked = self.stream.socket().peek(&mut [MaybeUninit::uninit()]);
        peeked.is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
    }
}

impl AsyncRead for Io {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.books.is_short() {
            return Pin::new(&mut (&mut self.stream).take(READ_BYTES_SHORT)).poll_read(cx, buffer);
        }
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Io {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.bound_where_short();
        ready!(self.poll_room(cx))?;
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.bound_where_short();
        ready!(self.poll_room(cx))?;
        Pin::new(&mut self.stream).poll_write_vectored(cx, slices)
    }
}

impl std::fmt::Debug for Dialer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Dialer").field("to", &self.0.to).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::{super::names::tests::had, *};
    use futures_util::FutureExt as _;
    use tokio::{io::AsyncWriteExt as _, net::TcpListener};

    /// A dialer that looked the name up long ago, and found `known`.
    fn dialer(url: &str, deadline: Duration, known: &[SocketAddr]) -> Dialer {
        let dialer = Dialer::new(&Address::parse(url).unwrap(), None, deadline, Arc::default());
        let To::Tcp(names) = &dialer.0.to else { unreachable!("it is no path") };
        had(names, known);
        dialer
    }

    const PATIENCE: Duration = Duration::from_secs(5);

    #[tokio::test]
    async fn a_name_is_looked_up_again_and_what_left_it_is_left() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let here = listener.local_addr().unwrap();
        let gone: SocketAddr = ([192, 0, 2, 1], here.port()).into();
        let url = format!("http://localhost:{}", here.port());
        // A new connection goes where the name leads now.
        let by_dialling = dialer(&url, PATIENCE, &[gone]);
        let io = by_dialling.0.dial().await.unwrap();
        assert_eq!((io.line.peer, by_dialling.made()), (Some(here.ip()), 1));
        assert!(!by_dialling.is_outdated(&io.line) && by_dialling.is_outdated(&Line::new(Some(gone.ip()))));
        // One that is in use has it looked up behind its back.
        let by_use = dialer(&url, PATIENCE, &[gone]);
        let line = Line::new(Some(gone.ip()));
        assert!(!by_use.is_outdated(&line));
        let end = tokio::time::Instant::now() + Duration::from_secs(20);
        while !by_use.is_outdated(&line) {
            assert!(tokio::time::Instant::now() < end, "the name was not looked up again");
            tokio::task::yield_now().await;
        }
        // What is old is not used again, wherever it leads.
        let old = Line { made: 0, ..Line::new(Some(here.ip())) };
        assert!(clock::boot_ms() <= CONNECTION_MS_MAX || by_use.is_outdated(&old));
    }

    #[tokio::test]
    async fn the_last_addresses_serve_on_where_the_resolver_fails() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let here = listener.local_addr().unwrap();
        // No resolver has a name without a first label.
        let url = format!("http://..:{}", here.port());
        assert!(dialer(&url, PATIENCE, &[]).0.dial().await.is_err());
        assert_eq!(dialer(&url, PATIENCE, &[here]).0.dial().await.unwrap().line.peer, Some(here.ip()));
        // By an address there is nothing to look up.
        let url = format!("http://{here}");
        let literal = Dialer::new(&Address::parse(&url).unwrap(), None, PATIENCE, Arc::default());
        assert!(!literal.is_outdated(&Line::new(Some(here.ip()))));
        assert_eq!(literal.0.dial().await.unwrap().line.peer, Some(here.ip()));
    }

    #[tokio::test]
    async fn what_an_upstream_does_not_take_of_a_request_that_was_given_up_goes_at_once() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        for is_over in [false, true] {
            let mut io = dialer(&url, PATIENCE, &[]).0.dial().await.unwrap();
            let (mut upstream, _) = listener.accept().await.unwrap();
            let mut sent = 0;
            while let Some(written) = io.write(&[0; 64 << 10]).now_or_never() {
                sent += written.unwrap();
            }
            if is_over {
                io.is_over();
            }
            drop(io);
            let read = upstream.read_to_end(&mut Vec::new()).await;
            let broke = io::ErrorKind::ConnectionReset;
            assert_eq!(read.map_err(|error| error.kind()), if is_over { Ok(sent) } else { Err(broke) });
        }
    }

    #[tokio::test]
    async fn an_address_that_does_not_answer_costs_one_connection_its_part() {
        const DIALS: usize = 8;
        let deadline = Duration::from_secs(2);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let here = listener.local_addr().unwrap();
        // Its queue has room for one connection, and is full.
        let silent = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        silent.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
        silent.listen(0).unwrap();
        let there = silent.local_addr().unwrap().as_socket().unwrap();
        let _waits = TcpStream::connect(there).await.unwrap();
        let dialer = dialer(&format!("http://..:{}", here.port()), deadline, &[there, here]);
        let mut slow = 0;
        for _ in 0..DIALS {
            let began = tokio::time::Instant::now();
            assert!(dialer.0.dial().await.is_ok());
            slow += usize::from(began.elapsed() >= deadline / 2);
        }
        assert_eq!(slow, 1);
    }
}
