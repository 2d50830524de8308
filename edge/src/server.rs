//! Accepting connections: limits, and the drain at the end. What is said on them is the business of `http1`.

use std::{
    future::poll_fn,
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use futures_util::{FutureExt, future::BoxFuture};
use metrics::Gauge;
use tokio::{
    net::{TcpListener, TcpStream},
    runtime::Handle,
    sync::Semaphore,
};
use tokio_util::{
    sync::{CancellationToken, DropGuard},
    task::TaskTracker,
};

use crate::{
    Edge,
    clients::Clients,
    config::CONNECTION_BYTES,
    http1::{self, Client, Deadlines, unread},
    scheduling::Scheduling,
};

/// After a failed accept (too many open files), so that the loop does not spin.
pub(crate) const ACCEPT_RETRY: Duration = Duration::from_millis(500);
/// That there is no room for more connections is told so often at most: it may come and go with each of them.
const FULL_TOLD_EVERY: Duration = Duration::from_secs(60);
/// What a connection soon takes, in bytes, beside what its client may send, what that asks for, and what the kernel holds of responses:
/// 9 KiB were seen.
const ACCEPTED_BYTES: usize = 12 << 10;
/// The part of the connections that may be open which are accepted however little memory is left.
const ACCEPTED_PART: usize = 32;
/// While there is none, between two looks whether there is.
const SHORT_LOOK_EVERY: Duration = Duration::from_millis(20);
/// Steps of a thread's own connections to one for what others bring it: with tokio's 31, new connections of a busy thread waited
/// for seconds.
const OWN_STEPS: u32 = 4;

/// When it was last told that there is no room.
#[derive(Debug, Default)]
pub(crate) struct FullTold(Option<Instant>);

impl FullTold {
    /// Whether it is to be told now; then it counts as told.
    pub(crate) fn is_due(&mut self) -> bool {
        let is_due = self.0.is_none_or(|at| at.elapsed() >= FULL_TOLD_EVERY);
        if is_due {
            self.0 = Some(Instant::now());
        }
        is_due
    }
}

/// Serves an edge on a listener until `shutdown`; then takes no more connections, lets requests in flight end, and
/// closes what is left after [`Limits::drain`](crate::Limits::drain).
///
/// # Errors
/// Where the listener cannot be used at all.
pub fn serve(
    listener: TcpListener,
    edge: Arc<Edge>,
    shutdown: BoxFuture<'static, ()>,
) -> BoxFuture<'static, io::Result<()>> {
    // Boxed, as all that the shell polls: a bare future would be compiled there, without optimisation.
    serve_until(listener, edge, shutdown).boxed()
}

async fn serve_until(
    listener: TcpListener,
    edge: Arc<Edge>,
    mut shutdown: BoxFuture<'static, ()>,
) -> io::Result<()> {
    let local = listener.local_addr()?;
    let open = metrics::gauge!("bakehouse_edge_connections");
    let mut resettled = edge.resettled.subscribe();
    let slots = Arc::new(Semaphore::new(0));
    let mut slots_made = 0;
    let clients = Arc::new(Clients::default());
    let connections = TaskTracker::new();
    let deadlines = Deadlines::new(Arc::clone(&edge));
    let workers = Workers::start(edge.config.threads.max(1))?;
    let mut looking = std::pin::pin!(deadlines.run());
    let (mut is_full, mut told, mut is_crowded) = (false, FullTold::default(), None);
    loop {
        let settings = edge.settings();
        let limits = settings.limits;
        slots_made = fit(&slots, slots_made, settings.connections_max());
        if slots.available_permits() == 0 {
            is_full = true;
            if told.is_due() {
                tracing::warn!(
                    connections = slots_made,
                    "as many as may be are open, by --connections, --memory or the limit of open files; new ones wait"
                );
            }
        }
        let slot = tokio::select! {
            () = &mut shutdown => break,
            () = &mut looking => continue,
            Ok(()) = resettled.changed() => continue,
            slot = Arc::clone(&slots).acquire_owned() => slot,
        };
        let Ok(slot) = slot else { break };
        let books = edge.store.books();
        if slots_made - slots.available_permits() > (slots_made / ACCEPTED_PART).max(1)
            && (books.short_bytes() > 0
                || !books.allowance().is_left()
                || edge.unread.is_beyond(books.allowance().left()))
        {
            is_full = true;
            tokio::select! {
                () = &mut shutdown => break,
                () = &mut looking => {}
                () = tokio::time::sleep(SHORT_LOOK_EVERY) => {}
            }
            continue;
        }
        let crowded = edge.unsent.is_crowded(settings.memory_bytes_max);
        if is_crowded.replace(crowded) != Some(crowded) {
            unread::settle(&listener, crowded);
        }
        // What is there at once has waited while there was no room.
        let waited = if is_full { workers.accept(&listener).now_or_never() } else { None };
        match &waited {
            Some(_) => metrics::counter!("bakehouse_edge_connections_waited_total").increment(1),
            None => is_full = false,
        }
        let accepted = match waited {
            Some(accepted) => accepted,
            None => tokio::select! {
                () = &mut shutdown => break,
                () = &mut looking => continue,
                Ok(()) = resettled.changed() => continue,
                accepted = workers.accept(&listener) => accepted,
            },
        };
        let (worker, stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(ACCEPT_RETRY).await;
                continue;
            }
        };
        // Behind a load balancer's address there are many clients; each is counted once it is named.
        let seat = if edge.current().speaks_proxy(peer.ip()) {
            None
        } else {
            let seat = clients.admit(peer.ip(), settings.connections_per_client_max());
            if seat.is_none() {
                continue;
            }
            seat
        };
        // Nobody is refused for want of memory: what is stored makes room, and the slots are the bound.
        let mut memory = edge.store.reservation();
        memory.grow(CONNECTION_BYTES);
        let place = deadlines.place(limits);
        // What it has sent by now is counted once it is accepted, and not before.
        let received = place.begins(&stream);
        edge.store.books().allowance().take(ACCEPTED_BYTES + received);
        let (index, its_slot) = (place.index(), Arc::clone(&place.slot));
        let (edge, clients) = (Arc::clone(&edge), Arc::clone(&clients));
        let counted = Counted::one(Arc::clone(&worker.connections), open.clone());
        let serving = async move {
            // Dropped in this order: who comes in its place may be the same client.
            let _held = (seat, memory, counted, slot);
            if let Err(error) = stream.set_nodelay(true) {
                tracing::debug!(%error, "an option of the connection could not be set");
            }
            let client = Client::new(peer, local);
            if let Err(error) = http1::serve(stream, place, client, clients, edge).await {
                // A client that breaks off, or a response that does; both ends see the connection close.
                tracing::debug!(%peer, %error, "a connection ended early");
            }
        };
        let task = connections.spawn_on(serving, &worker.runtime);
        deadlines.watch(index, &its_slot, task.abort_handle());
    }
    edge.is_ending.store(true, Ordering::Relaxed);
    drop(listener);
    deadlines.drain();
    connections.close();
    let drained = tokio::time::timeout(edge.current().limits.drain, async {
        tokio::select! {
            () = connections.wait() => true,
            () = &mut looking => true,
            () = edge.cut.cancelled() => false,
        }
    });
    if drained.await != Ok(true) {
        tracing::warn!(
            connections = connections.len(),
            "requests in flight were cut off at the end of the drain"
        );
        deadlines.end();
        connections.wait().await;
    }
    Ok(())
}

/// Brings the number of slots from `made` to `wanted`, or as near as those in use allow; returns how many there are.
fn fit(slots: &Semaphore, made: usize, wanted: usize) -> usize {
    if made < wanted {
        slots.add_permits(wanted - made);
        return wanted;
    }
    made - slots.forget_permits(made - wanted)
}

/// Threads with a runtime each. A connection stays on the one that it was given to, so that nothing that it touches
/// for a hit is shared; connections are accepted in one place and go to the thread that has the fewest.
#[derive(Debug)]
struct Workers {
    list: Vec<Worker>,
    /// Ends the threads when dropped.
    _stop: DropGuard,
}

#[derive(Debug)]
struct Worker {
    runtime: Handle,
    connections: Arc<AtomicUsize>,
}

impl Workers {
    fn start(count: usize) -> io::Result<Self> {
        let stop = CancellationToken::new();
        let mut list = Vec::with_capacity(count);
        for index in 0..count {
            let connections = Arc::default();
            let scheduling = Scheduling::new(Arc::clone(&connections));
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .global_queue_interval(OWN_STEPS)
                .on_thread_park(move || scheduling.rests())
                .build()?;
            list.push(Worker { runtime: runtime.handle().clone(), connections });
            let stop = stop.clone();
            std::thread::Builder::new()
                .name(format!("serve-{index}"))
                .spawn(move || runtime.block_on(stop.cancelled()))?;
        }
        Ok(Self { list, _stop: stop.drop_guard() })
    }

    /// Accepts a connection for one of them, whose runtime alone knows of it: to tell another first takes longer than to accept.
    async fn accept(&self, listener: &TcpListener) -> io::Result<(&Worker, TcpStream, SocketAddr)> {
        poll_fn(|cx| {
            let worker = self.least_busy();
            let _runtime = worker.runtime.enter();
            listener.poll_accept(cx).map_ok(|(stream, peer)| (worker, stream, peer))
        })
        .await
    }

    fn least_busy(&self) -> &Worker {
        let least = self.list.iter().min_by_key(|worker| worker.connections.load(Ordering::Relaxed));
        // There is at least one.
        least.unwrap_or(&self.list[0])
    }
}

/// An open connection, in the gauge and among those of its thread.
struct Counted {
    of_thread: Arc<AtomicUsize>,
    open: Gauge,
}

impl Counted {
    fn one(of_thread: Arc<AtomicUsize>, open: Gauge) -> Self {
        open.increment(1.0);
        of_thread.fetch_add(1, Ordering::Relaxed);
        Self { of_thread, open }
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.open.decrement(1.0);
        self.of_thread.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;
    use crate::{EdgeConfig, Mode};

    const SOON: Duration = Duration::from_secs(20);

    /// An edge that serves.
    struct Serving {
        edge: Arc<Edge>,
        address: SocketAddr,
        stop: CancellationToken,
        served: tokio::task::JoinHandle<io::Result<()>>,
    }

    impl Serving {
        async fn start(upstream: SocketAddr, change: impl FnOnce(&mut EdgeConfig)) -> Self {
            let urls = vec![format!("http://{upstream}")];
            let mut config = EdgeConfig::new(Mode::Upstream { urls }, "test");
            change(&mut config);
            let stop = CancellationToken::new();
            let edge = Edge::start(config, None, stop.clone()).unwrap();
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap();
            let shutdown = Box::pin(stop.clone().cancelled_owned());
            let served = tokio::spawn(serve(listener, Arc::clone(&edge), shutdown));
            Self { edge, address, stop, served }
        }

        /// One of so little memory that each connection counts as one of many.
        async fn crowded(upstream: &TcpListener) -> Self {
            Self::start(upstream.local_addr().unwrap(), |config| config.settings.memory_bytes_max = 8 << 20)
                .await
        }

        /// Waits until somebody wants more memory than is left.
        async fn wanted(&self) {
            let waiting = async {
                while !self.edge.store.books().allowance().was_wanted() {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
            };
            tokio::time::timeout(SOON, waiting).await.unwrap();
        }

        async fn end(self) {
            self.stop.cancel();
            self.served.await.unwrap().unwrap();
        }
    }

    #[tokio::test]
    async fn where_memory_is_short_who_is_silent_goes_and_who_comes_waits() {
        let most = 16;
        let nowhere = ([127, 0, 0, 1], 1).into();
        let serving = Serving::start(nowhere, |config| config.settings.limits.connections_max = most).await;
        let (edge, address) = (Arc::clone(&serving.edge), serving.address);
        let connections = async |count: usize| {
            while edge.unsent.connections() != count {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let mut silent = Vec::new();
        for _ in 0..most / 2 {
            silent.push(TcpStream::connect(address).await.unwrap());
        }
        tokio::time::timeout(SOON, connections(most / 2)).await.unwrap();
        edge.store.books().measure(usize::MAX, 0);
        let late = TcpStream::connect(address).await.unwrap();
        for mut client in silent {
            let mut none = [0];
            let ended = tokio::time::timeout(SOON, client.read(&mut none));
            assert_eq!(ended.await.unwrap().unwrap(), 0);
        }
        // However little is left, some are served.
        tokio::time::timeout(SOON, connections(1)).await.unwrap();
        edge.store.books().measure(0, 1 << 30);
        let more = TcpStream::connect(address).await.unwrap();
        tokio::time::timeout(SOON, connections(2)).await.unwrap();
        drop((late, more));
        serving.end().await;
    }

    #[tokio::test]
    async fn large_heads_wait_for_memory_and_content_does_not() {
        let upstream = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let serving = Serving::crowded(&upstream).await;
        let edge = Arc::clone(&serving.edge);
        edge.store.books().measure(0, 0);
        let mut client = TcpStream::connect(serving.address).await.unwrap();
        let large = "y".repeat(20 << 10);
        let content = vec![b'z'; 300 << 10];
        let head =
            format!("POST / HTTP/1.1\r\nhost: a\r\nx: {large}\r\ncontent-length: {}\r\n\r\n", content.len());
        let asking = tokio::spawn(async move {
            client.write_all(head.as_bytes()).await.unwrap();
            client.write_all(&content).await.unwrap();
            client
        });
        serving.wanted().await;
        assert_eq!(edge.turns.waiting(), 0);
        edge.store.books().measure(0, 1 << 30);
        let (mut asked, _) = tokio::time::timeout(SOON, upstream.accept()).await.unwrap().unwrap();
        let mut got = Vec::new();
        while !got.ends_with(&[b'z'; 300 << 10]) {
            let read = tokio::time::timeout(SOON, asked.read_buf(&mut got)).await.unwrap().unwrap();
            assert!(read > 0);
        }
        asked.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await.unwrap();
        let mut client = asking.await.unwrap();
        let mut answer = [0; 12];
        tokio::time::timeout(SOON, client.read_exact(&mut answer)).await.unwrap().unwrap();
        assert_eq!(&answer, b"HTTP/1.1 204");
        drop(client);
        serving.end().await;
    }

    #[tokio::test]
    async fn among_many_a_request_that_is_not_stored_waits_for_memory() {
        let upstream = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let serving = Serving::crowded(&upstream).await;
        let edge = Arc::clone(&serving.edge);
        edge.store.books().measure(0, 0);
        let mut client = TcpStream::connect(serving.address).await.unwrap();
        client.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
        serving.wanted().await;
        edge.store.books().measure(0, 1 << 30);
        let (mut asked, _) = tokio::time::timeout(SOON, upstream.accept()).await.unwrap().unwrap();
        asked.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await.unwrap();
        let mut answer = [0; 12];
        tokio::time::timeout(SOON, client.read_exact(&mut answer)).await.unwrap().unwrap();
        assert_eq!(&answer, b"HTTP/1.1 204");
        drop((client, asked));
        serving.end().await;
    }

    #[tokio::test]
    async fn where_nothing_is_left_who_reads_gets_all() {
        const BODY_BYTES: usize = 1 << 20;
        let upstream = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let serving = Serving::crowded(&upstream).await;
        let edge = Arc::clone(&serving.edge);
        let mut client = TcpStream::connect(serving.address).await.unwrap();
        client.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
        let (mut asked, _) = tokio::time::timeout(SOON, upstream.accept()).await.unwrap().unwrap();
        edge.store.books().measure(0, 0);
        let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {BODY_BYTES}\r\n\r\n");
        let answering = tokio::spawn(async move {
            asked.write_all(head.as_bytes()).await.unwrap();
            asked.write_all(&[b'x'; BODY_BYTES]).await.unwrap();
            asked
        });
        let mut got = Vec::new();
        while !got.ends_with(&[b'x'; BODY_BYTES]) {
            let read = tokio::time::timeout(SOON, client.read_buf(&mut got)).await.unwrap().unwrap();
            assert!(read > 0, "the response broke off");
        }
        drop((client, answering.await.unwrap()));
        serving.end().await;
    }

    #[tokio::test]
    async fn where_memory_is_short_who_sends_what_nobody_takes_goes() {
        let upstream = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let serving = Serving::start(upstream.local_addr().unwrap(), |_| {}).await;
        let mut client = TcpStream::connect(serving.address).await.unwrap();
        client.write_all(b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 1000000000\r\n\r\n").await.unwrap();
        let sending = async { while client.write_all(&[b'z'; 64 << 10]).await.is_ok() {} };
        let mut sending = std::pin::pin!(sending);
        let taken = tokio::time::timeout(Duration::from_secs(2), &mut sending);
        assert!(taken.await.is_err(), "it ends though there is memory");
        serving.edge.store.books().measure(usize::MAX, 0);
        tokio::time::timeout(SOON, sending).await.unwrap();
        serving.end().await;
    }

    #[tokio::test]
    async fn connections_that_come_at_once_are_spread_over_the_threads() {
        const CONNECTIONS: usize = 10;
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let workers = Workers::start(2).unwrap();
        let mut open = Vec::new();
        for _ in 0..CONNECTIONS {
            let client = TcpStream::connect(address).await.unwrap();
            // None of them is served yet.
            let (worker, stream, _) = workers.accept(&listener).await.unwrap();
            let counted = Counted::one(Arc::clone(&worker.connections), Gauge::noop());
            open.push((client, stream, counted));
        }
        let each = |worker: &Worker| worker.connections.load(Ordering::Relaxed);
        assert!(workers.list.iter().all(|worker| each(worker) == CONNECTIONS / 2));
        drop(open);
        assert!(workers.list.iter().all(|worker| each(worker) == 0));
    }
}
