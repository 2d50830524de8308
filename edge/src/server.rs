//! Accepting connections: limits, and the drain at the end. What is said on them is the business of `http1`.

use std::{
    collections::HashMap,
    io,
    net::{IpAddr, Ipv6Addr},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures_util::{FutureExt, future::BoxFuture};
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
    http1::{self, Client, Deadlines},
};

/// After a failed accept (too many open files), so that the loop does not spin.
const ACCEPT_RETRY: Duration = Duration::from_millis(50);
/// What an open connection takes of the memory, in bytes: its task, its deadlines, its buffers between two requests.
const CONNECTION_BYTES: usize = 7 << 10;
/// What one customer of an IPv6 network usually has: all of its addresses count as one client.
const IPV6_CLIENT_BITS: u32 = 64;

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
    let mut resettled = edge.resettled.subscribe();
    let slots = Arc::new(Semaphore::new(0));
    let mut slots_made = 0;
    let clients = Arc::new(Clients::default());
    let connections = TaskTracker::new();
    let deadlines = Deadlines::new(Arc::clone(&edge));
    let kill = CancellationToken::new();
    let workers = Workers::start(edge.config.threads.max(1))?;
    let mut looking = std::pin::pin!(deadlines.run());
    loop {
        let limits = edge.current().limits;
        slots_made = fit(&slots, slots_made, limits.connections_max);
        let slot = tokio::select! {
            () = &mut shutdown => break,
            () = &mut looking => continue,
            Ok(()) = resettled.changed() => continue,
            slot = Arc::clone(&slots).acquire_owned() => slot,
        };
        let Ok(slot) = slot else { break };
        let (stream, peer) = tokio::select! {
            () = &mut shutdown => break,
            () = &mut looking => continue,
            Ok(()) = resettled.changed() => continue,
            accepted = listener.accept() => match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(ACCEPT_RETRY).await;
                    continue;
                }
            },
        };
        // Behind a load balancer's address there are many clients.
        let is_balancer = edge.current().speaks_proxy(peer.ip());
        let most = if is_balancer { usize::MAX } else { limits.connections_per_client_max };
        let Some(seat) = clients.admit(peer.ip(), most) else {
            metrics::counter!("bakehouse_edge_connections_refused_total").increment(1);
            tracing::debug!(%peer, "a client has too many connections; this one is closed");
            continue;
        };
        // Nobody is refused for want of memory: what is stored makes room, and `connections_max` is the bound.
        let mut memory = edge.store.reservation();
        memory.grow(CONNECTION_BYTES);
        let place = deadlines.place(limits);
        let (index, its_slot) = (place.index(), Arc::clone(&place.slot));
        let (edge, kill) = (Arc::clone(&edge), kill.clone());
        let stream = match stream.into_std() {
            Ok(stream) => stream,
            Err(error) => {
                tracing::debug!(%peer, %error, "a connection could not be handed over");
                continue;
            }
        };
        let worker = workers.least_busy();
        let busy = Arc::clone(&worker.connections);
        let serving = async move {
            let _held = (slot, seat, memory, Counted::one(busy));
            let stream = match TcpStream::from_std(stream) {
                Ok(stream) => stream,
                Err(error) => {
                    tracing::debug!(%peer, %error, "a connection could not be taken over");
                    return;
                }
            };
            if let Err(error) = stream.set_nodelay(true) {
                tracing::debug!(%error, "an option of the connection could not be set");
            }
            let client = Client { peer, local };
            let ended = tokio::select! {
                () = kill.cancelled() => Ok(()),
                ended = http1::serve(stream, place, client, edge) => ended,
            };
            if let Err(error) = ended {
                // A client that breaks off, or a response that does; both ends see the connection close.
                tracing::debug!(%peer, %error, "a connection ended early");
            }
        };
        let task = connections.spawn_on(serving, &worker.runtime);
        deadlines.watch(index, &its_slot, task.abort_handle());
    }
    drop(listener);
    deadlines.drain();
    connections.close();
    let drained = tokio::time::timeout(edge.current().limits.drain, async {
        tokio::select! {
            () = connections.wait() => {}
            () = &mut looking => {}
        }
    });
    if drained.await.is_err() {
        tracing::warn!(
            connections = connections.len(),
            "requests in flight were cut off at the end of the drain"
        );
        kill.cancel();
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
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            list.push(Worker { runtime: runtime.handle().clone(), connections: Arc::default() });
            let stop = stop.clone();
            std::thread::Builder::new()
                .name(format!("serve-{index}"))
                .spawn(move || runtime.block_on(stop.cancelled()))?;
        }
        Ok(Self { list, _stop: stop.drop_guard() })
    }

    fn least_busy(&self) -> &Worker {
        let least = self.list.iter().min_by_key(|worker| worker.connections.load(Ordering::Relaxed));
        // There is at least one.
        least.unwrap_or(&self.list[0])
    }
}

/// An open connection, in the gauge and among those of its thread.
struct Counted(Arc<AtomicUsize>);

impl Counted {
    fn one(connections: Arc<AtomicUsize>) -> Self {
        metrics::gauge!("bakehouse_edge_connections").increment(1.0);
        connections.fetch_add(1, Ordering::Relaxed);
        Self(connections)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        metrics::gauge!("bakehouse_edge_connections").decrement(1.0);
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// How many connections each client has.
#[derive(Debug, Default)]
struct Clients(Mutex<HashMap<IpAddr, usize>>);

/// One connection of a client.
#[derive(Debug)]
struct Seat {
    clients: Arc<Clients>,
    client: IpAddr,
}

impl Clients {
    fn counts(&self) -> MutexGuard<'_, HashMap<IpAddr, usize>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a connection; `None`: its client has `most` already.
    fn admit(self: &Arc<Self>, address: IpAddr, most: usize) -> Option<Seat> {
        let client = client_of(address);
        let mut counts = self.counts();
        let count = counts.entry(client).or_default();
        if *count >= most {
            return None;
        }
        *count += 1;
        Some(Seat { clients: Arc::clone(self), client })
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut counts = self.clients.counts();
        if let Some(count) = counts.get_mut(&self.client) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.client);
            }
        }
    }
}

/// The address that stands for a client.
fn client_of(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => {
            let kept = u128::MAX << (u128::BITS - IPV6_CLIENT_BITS);
            IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & kept))
        }
        v4 => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_are_counted_by_client() {
        let clients = Arc::new(Clients::default());
        let address = |text: &str| text.parse::<IpAddr>().unwrap();
        let first = clients.admit(address("10.0.0.1"), 2).unwrap();
        let _second = clients.admit(address("::ffff:10.0.0.1"), 2).unwrap();
        assert!(clients.admit(address("10.0.0.1"), 2).is_none());
        assert!(clients.admit(address("10.0.0.2"), 2).is_some());
        drop(first);
        assert!(clients.admit(address("10.0.0.1"), 2).is_some());
        let one = clients.admit(address("2001:db8::1"), 1);
        assert!(one.is_some() && clients.admit(address("2001:db8::ffff:2"), 1).is_none());
        assert!(clients.admit(address("2001:db8:0:1::1"), 1).is_some());
        drop(one);
        assert_eq!(clients.counts().len(), 1);
    }
}
