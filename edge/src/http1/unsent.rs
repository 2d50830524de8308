//! What the kernel holds of responses: what it was given and no client has yet acknowledged. By itself it takes up to 4 MiB
//! for a client that reads slowly, which nobody counts: with ten thousand of them, 40 GiB. And of a body in a file it holds the
//! very pages, also once what is stored has let go of them.
//!
//! So each connection has a bound on what lies there unsent, and all bounds together are a small part of the memory. What is on
//! its way to a client is no part of this, so that a fast one far away is sent as much as its connection carries; it is counted
//! where all of it is ([`queued`]), now and then, and what is stored makes room for it.

use std::{
    io,
    os::fd::{AsFd, BorrowedFd},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tokio::net::TcpStream;

use super::unread;
use crate::allowance::Allowance;

/// Bytes that the kernel takes of a response before they have been sent, at most.
const BOUND_BYTES_MAX: usize = 256 << 10;
/// And at least: with less, a large response would take a call for each packet.
const BOUND_BYTES_MIN: usize = 16 << 10;
/// What it takes at once while no memory is left, and only once its client has most of all else.
pub(super) const TIGHT_BYTES: usize = 4 << 10;
/// What it takes by itself at first.
const USUAL_BYTES: usize = 64 << 10;
/// With a bound from here on, responses are written in calls as large as they are.
const WRITTEN_WHOLE_MIN: usize = 64 << 10;
/// The part of the memory that the bounds of all connections come to, but for the least that each has.
const BOUNDS_PART: usize = 16;
/// Of what is left of that, a connection gets this part.
const BOUND_PART: usize = 16;
/// Bytes that the kernel takes of a file in place of the bound, a MiB and its head at once: in small parts they would cost
/// a third more.
const LIFTED_BYTES: usize = (1 << 20) + (64 << 10);
/// The part of the memory that all that is lifted may come to in any case.
const LIFTED_PART: usize = 16;
/// The part that it may take of what was free at the last look, which others take from meanwhile,
const LIFTED_FREE_PART: usize = 2;
/// And the part of the memory that it comes to at most.
const LIFTED_PART_MAX: usize = 3;
/// The part of the memory that the kernel may hold in all. Beyond, connections are ended whose clients take nothing.
const HELD_PART: usize = 2;
/// Between two looks at what a connection that has ended still holds.
const HELD_LOOK_EVERY: Duration = Duration::from_millis(100);

/// What the kernel holds of the responses of an edge, and may hold.
#[derive(Debug, Default)]
pub(crate) struct Unsent {
    connections: AtomicUsize,
    /// The bounds of all connections.
    bounds: AtomicUsize,
    /// What is lifted beyond them.
    lifted: AtomicUsize,
    /// What it was at the last look.
    held: AtomicUsize,
    /// What all that is lifted may come to, by what of the memory was free then.
    liftable: AtomicUsize,
}

/// One connection's bound, in bytes; given back when dropped.
#[derive(Debug)]
pub(crate) struct Bound {
    all: Arc<Unsent>,
    bytes: usize,
}

impl Unsent {
    /// A bound for one more connection, where this much memory may be taken.
    pub(crate) fn bound(self: &Arc<Self>, memory_bytes_max: usize) -> Bound {
        let bytes = self.next_bound(memory_bytes_max);
        self.bounds.fetch_add(bytes, Ordering::Relaxed);
        self.connections.fetch_add(1, Ordering::Relaxed);
        Bound { all: Arc::clone(self), bytes }
    }

    fn next_bound(&self, memory_bytes_max: usize) -> usize {
        let left = (memory_bytes_max / BOUNDS_PART).saturating_sub(self.bounds.load(Ordering::Relaxed));
        (left / BOUND_PART).clamp(BOUND_BYTES_MIN, BOUND_BYTES_MAX)
    }

    /// Whether there are so many connections that the kernel had better take little for one more.
    pub(crate) fn is_crowded(&self, memory_bytes_max: usize) -> bool {
        self.next_bound(memory_bytes_max) < WRITTEN_WHOLE_MIN
    }

    /// Lifts the bound of one connection, at the cost of an allowance; `false`: too many are.
    pub(super) fn lift(&self, memory_bytes_max: usize, allowance: &Allowance) -> bool {
        let before = self.lifted.fetch_add(LIFTED_BYTES, Ordering::Relaxed);
        let most = self.liftable.load(Ordering::Relaxed).min(memory_bytes_max / LIFTED_PART_MAX);
        let is_lifted = before + LIFTED_BYTES <= most.max(memory_bytes_max / LIFTED_PART);
        if is_lifted {
            allowance.draws(0, LIFTED_BYTES);
        } else {
            self.lifted.fetch_sub(LIFTED_BYTES, Ordering::Relaxed);
        }
        is_lifted
    }

    /// A bound that was lifted is one again.
    pub(super) fn lower(&self, allowance: &Allowance) {
        self.lifted.fetch_sub(LIFTED_BYTES, Ordering::Relaxed);
        allowance.draws(LIFTED_BYTES, 0);
    }

    /// Notes what of the memory is free, beside what is lifted already.
    pub(crate) fn is_free(&self, bytes: usize) {
        let lifted = self.lifted.load(Ordering::Relaxed);
        self.liftable.store(lifted + bytes / LIFTED_FREE_PART, Ordering::Relaxed);
    }

    /// What the kernel may hold in all, where this much memory may be taken.
    pub(super) fn held_bytes_max(memory_bytes_max: usize) -> usize {
        memory_bytes_max / HELD_PART
    }

    /// Those who look found so much where they had found `before`.
    pub(super) fn found(&self, before: usize, bytes: usize) {
        self.held.fetch_add(bytes, Ordering::Relaxed);
        self.held.fetch_sub(before, Ordering::Relaxed);
    }

    /// Connections of clients.
    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }

    /// What that takes of the memory: what it did at the last look, or what was lifted by now, which the kernel may have taken
    /// since.
    pub(crate) fn taken(&self) -> usize {
        self.held().max(self.lifted.load(Ordering::Relaxed))
    }

    /// What the kernel held at the last look, in bytes of memory.
    pub(crate) fn held(&self) -> usize {
        self.held.load(Ordering::Relaxed)
    }
}

impl Drop for Bound {
    fn drop(&mut self) {
        self.all.bounds.fetch_sub(self.bytes, Ordering::Relaxed);
        self.all.connections.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Bound {
    /// Bounds what the kernel takes of what is written to a client.
    ///
    /// # Errors
    /// Where the system does not know the option.
    pub(crate) fn set(&self, stream: &TcpStream) -> io::Result<()> {
        set(stream, self.bytes)
    }

    /// Bytes that may be written at once. The kernel looks at its bound only after each packet, of up to 64 KiB: where the bound
    /// is small, that would be most of what it holds.
    pub(super) fn write_bytes_max(&self) -> usize {
        if self.is_narrow() { self.bytes } else { usize::MAX }
    }

    /// Whether there are so many connections that the kernel had better take little for each.
    pub(super) fn is_narrow(&self) -> bool {
        self.bytes < WRITTEN_WHOLE_MIN
    }

    /// Whether so much is what a bound allows at most.
    pub(super) fn allows(&self, bytes: usize) -> bool {
        bytes <= self.bytes
    }
}

/// Whether the kernel takes more by the bound that it was set. Of itself it looks at that only before it begins a new packet, of up to
/// 64 KiB; where it has no room, `EPOLLOUT` comes once it has.
pub(crate) fn has_room(stream: &TcpStream) -> bool {
    let mut asked = [PollFd::new(stream, PollFlags::OUT)];
    // What cannot be asked is to be written to, and says why.
    poll(&mut asked, Some(&Timespec::default())).is_err() || !asked[0].revents().is_empty()
}

/// Has the kernel hold next to nothing, what is on its way included: of a client whose window is open it would send, and keep until
/// that is acknowledged, as much as the window takes.
///
/// # Errors
/// Where the system does not know an option.
pub(super) fn set_tight(stream: &TcpStream, is_tight: bool) -> io::Result<()> {
    /// `SOCK_RCVBUF_LOCK`: where there are many connections, what is received has a bound of its own.
    const RECEIVED: i32 = 2;
    let socket = socket2::SockRef::from(stream);
    if is_tight {
        return socket.set_send_buffer_size(TIGHT_BYTES);
    }
    socket.set_send_buffer_size(USUAL_BYTES)?;
    unread::lock(stream, RECEIVED)
}

/// Has the kernel take more, where that was granted.
///
/// # Errors
/// Where the system does not know the option.
pub(super) fn set_lifted(stream: &TcpStream) -> io::Result<()> {
    set(stream, LIFTED_BYTES)
}

/// Bounds what the kernel takes of what is written before it is sent.
///
/// # Errors
/// Where the system does not know the option.
#[cfg(target_os = "linux")]
pub(crate) fn set(stream: &TcpStream, bytes_max: usize) -> io::Result<()> {
    let bytes_max = u32::try_from(bytes_max).unwrap_or(u32::MAX);
    socket2::SockRef::from(stream).set_tcp_notsent_lowat(bytes_max)
}

#[cfg(not(target_os = "linux"))]
pub(crate) fn set(_: &TcpStream, _: usize) -> io::Result<()> {
    Ok(())
}

/// Bytes that were given to a socket and that its peer has not acknowledged.
#[cfg(target_os = "linux")]
pub(crate) fn queued(socket: BorrowedFd<'_>) -> usize {
    use rustix::ioctl::{Getter, Opcode, ioctl};
    /// `SIOCOUTQ` (tcp(7)).
    const OUT_QUEUE: Opcode = 0x5411;
    #[expect(unsafe_code, reason = "there is no other way to ask for it")]
    // SAFETY: this call writes one `int`, and nothing else.
    let bytes = unsafe { ioctl(socket, Getter::<OUT_QUEUE, i32>::new()) };
    // A socket that has gone holds nothing.
    bytes.ok().and_then(|bytes| usize::try_from(bytes).ok()).unwrap_or(0)
}

#[cfg(not(target_os = "linux"))]
pub(crate) fn queued(_: BorrowedFd<'_>) -> usize {
    0
}

/// Whether the kernel holds something that this connection's peer may still take.
pub(super) fn is_held(stream: &TcpStream) -> bool {
    // Of a connection that was reset, nobody takes anything.
    queued(stream.as_fd()) > 0 && stream.peer_addr().is_ok()
}

/// Waits until it has.
pub(super) async fn taken(stream: &TcpStream) {
    while is_held(stream) {
        tokio::time::sleep(HELD_LOOK_EVERY).await;
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, Interest};

    use super::*;

    #[test]
    fn bounds_are_a_part_of_the_memory_however_many_there_are() {
        const MEMORY: usize = 256 << 20;
        let all = Arc::new(Unsent::default());
        let bounds: Vec<Bound> = (0..10_000).map(|_| all.bound(MEMORY)).collect();
        assert_eq!(bounds[0].bytes, BOUND_BYTES_MAX);
        assert_eq!(bounds[9_999].bytes, BOUND_BYTES_MIN);
        let beyond_the_least: usize = bounds.iter().map(|bound| bound.bytes - BOUND_BYTES_MIN).sum();
        assert!(beyond_the_least <= MEMORY / BOUNDS_PART, "{beyond_the_least}");
        drop(bounds);
        assert_eq!(all.bound(MEMORY).bytes, BOUND_BYTES_MAX);
    }

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn there_is_no_room_beyond_the_bound_until_it_is_sent() {
        const PART: usize = 4 << 10;
        const BOUND: usize = 2 * PART;
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (edge, _) = listener.accept().await.unwrap();
        set(&edge, BOUND).unwrap();
        let part = [b'x'; PART];
        let mut written = 0;
        let hand = || {
            edge.try_io(Interest::WRITABLE, || match has_room(&edge) {
                true => Ok(rustix::io::write(&edge, &part)?),
                false => Err(io::ErrorKind::WouldBlock.into()),
            })
        };
        // What the client's window takes goes out; of the rest, the kernel alone would take a packet.
        let patience = std::time::Duration::from_secs(20);
        let full = async {
            let mut refused = 0;
            while refused < 20 {
                match hand() {
                    Ok(bytes) => (written, refused) = (written + bytes, 0),
                    Err(_) => refused += 1,
                }
                tokio::time::sleep(std::time::Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(patience, full).await.unwrap();
        assert!(unsent_bytes(&edge) <= BOUND + PART, "{}", unsent_bytes(&edge));
        // The client reads, and there is room again.
        let reads = tokio::spawn(async move { client.read_exact(&mut vec![0; written]).await.map(drop) });
        tokio::time::timeout(patience, edge.writable()).await.unwrap().unwrap();
        tokio::time::timeout(patience, reads).await.unwrap().unwrap().unwrap();
        assert_eq!(hand().unwrap(), PART);
    }

    /// What of `SIOCOUTQ` was not sent at all (`SIOCOUTQNSD`, tcp(7)).
    #[cfg(target_os = "linux")]
    fn unsent_bytes(stream: &TcpStream) -> usize {
        use rustix::ioctl::{Getter, Opcode, ioctl};
        const OUT_QUEUE_UNSENT: Opcode = 0x894b;
        #[expect(unsafe_code, reason = "there is no other way to ask for it")]
        // SAFETY: this call writes one `int`, and nothing else.
        let bytes = unsafe { ioctl(stream, Getter::<OUT_QUEUE_UNSENT, i32>::new()) };
        usize::try_from(bytes.unwrap()).unwrap()
    }

    #[test]
    fn what_is_lifted_is_a_part_of_the_memory() {
        let (all, allowance) = (Unsent::default(), Allowance::default());
        let lifted = (0..100).filter(|_| all.lift(256 << 20, &allowance)).count();
        assert_eq!(lifted, 15);
        all.lower(&allowance);
        assert!(all.lift(256 << 20, &allowance) && !all.lift(256 << 20, &allowance));
        assert!(!all.lift(32 << 20, &allowance));
        assert_eq!(all.taken(), 15 * LIFTED_BYTES);
        // And half of what is free beside, up to a third.
        all.is_free(20 << 20);
        assert_eq!((0..100).filter(|_| all.lift(256 << 20, &allowance)).count(), 9);
        all.is_free(256 << 20);
        assert_eq!((0..100).filter(|_| all.lift(256 << 20, &allowance)).count(), 80 - 15 - 9);
    }
}
