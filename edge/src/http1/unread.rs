//! What the kernel holds of requests: what has come and nobody has read. By itself it lets each client send 64 KiB before anything of
//! that is looked at, and ten thousand clients that do so at once bring 640 MB, sooner than it can be measured.
//!
//! So where there are many connections the kernel takes little for each, and tells its client so from the beginning: of what it
//! has once said that it takes it takes nothing back. Until that is so, a new connection counts as if it brought all of it until
//! it has asked for something.

use std::{
    io,
    os::fd::AsRawFd,
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
};

use socket2::SockRef;
use tokio::net::{TcpListener, TcpStream};

/// What a new connection may bring by itself, in bytes: what the kernel has told its client that it takes.
pub(super) const FRESH_BYTES: usize = 64 << 10;
/// What the kernel takes of a client where there are many.
const NARROW_BYTES: usize = 4 << 10;
/// What it uses for that, and so what a new connection may bring that was told so.
const NARROW_FRESH_BYTES: usize = 2 * NARROW_BYTES;
/// Bytes of one read of heads there.
pub(super) const READ_BYTES_NARROW: usize = 4 << 10;
/// What the kernel takes while the client sends content that is wanted.
const WIDE_BYTES: usize = 32 << 10;
/// What it takes by itself at first.
const USUAL_BYTES: usize = 64 << 10;

/// What those may bring by themselves who were accepted and have not asked for anything.
#[derive(Debug, Default)]
pub(crate) struct Unread {
    fresh_bytes: AtomicUsize,
    /// Whether somebody is not accepted before one of them has asked or ended.
    is_waited_for: AtomicBool,
}

impl Unread {
    /// There is one more, who may bring so much.
    pub(super) fn comes(&self, bytes: usize) {
        self.fresh_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// One who might bring so much has asked, or ended.
    pub(super) fn came(&self, bytes: usize) {
        self.fresh_bytes.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// Whether all of them may bring more than so many bytes; then those that are silent are to end.
    pub(crate) fn is_beyond(&self, bytes: usize) -> bool {
        let is_beyond = self.fresh_bytes.load(Ordering::Relaxed) > bytes;
        if is_beyond {
            self.is_waited_for.store(true, Ordering::Relaxed);
        }
        is_beyond
    }

    /// Whether somebody waited for them to ask or end, since this was asked last.
    pub(super) fn was_waited_for(&self) -> bool {
        self.is_waited_for.swap(false, Ordering::Relaxed)
    }
}

/// Has the kernel take little of who connects to a listener from now on, or as much as it sees fit. A connection that begins so can
/// never be told of more than 64 KiB.
pub(crate) fn settle(listener: &TcpListener, is_crowded: bool) {
    let socket = SockRef::from(listener);
    tell(match (is_narrow(&socket), is_crowded) {
        (false, true) => socket.set_recv_buffer_size(NARROW_BYTES),
        (true, false) => socket.set_recv_buffer_size(USUAL_BYTES).and_then(|()| lock(listener, 0)),
        _ => Ok(()),
    });
}

/// Has the kernel choose the size of buffers again, but of those that are named (`SO_BUF_LOCK`, socket(7)).
#[cfg(target_os = "linux")]
pub(super) fn lock(socket: &impl AsRawFd, which: libc::c_int) -> io::Result<()> {
    let length = size_of_val(&which) as libc::socklen_t;
    #[expect(unsafe_code, reason = "no library used here knows the option")]
    // SAFETY: `length` bytes are read of `which`, which lives as long as this call.
    let result = unsafe {
        let which = (&raw const which).cast();
        libc::setsockopt(socket.as_raw_fd(), libc::SOL_SOCKET, libc::SO_BUF_LOCK, which, length)
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(not(target_os = "linux"))]
pub(super) fn lock(_: &impl AsRawFd, _: libc::c_int) -> io::Result<()> {
    Ok(())
}

/// Has the kernel take little from now on.
pub(super) fn narrow(stream: &TcpStream) {
    tell(SockRef::from(stream).set_recv_buffer_size(NARROW_BYTES));
}

/// Has it take more.
pub(super) fn widen(stream: &TcpStream) {
    tell(SockRef::from(stream).set_recv_buffer_size(WIDE_BYTES));
}

/// What a new client may bring, as far as the system says what it was told.
pub(super) fn fresh_bytes(stream: &TcpStream) -> usize {
    if is_narrow(&SockRef::from(stream)) { NARROW_FRESH_BYTES } else { FRESH_BYTES }
}

fn is_narrow(socket: &SockRef<'_>) -> bool {
    socket.recv_buffer_size().is_ok_and(|bytes| bytes <= NARROW_FRESH_BYTES)
}

/// Says where the system refuses.
fn tell(result: io::Result<()>) {
    if let Err(error) = result {
        tracing::debug!(%error, "what the kernel takes of clients could not be bounded");
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::{os::fd::AsFd as _, time::Duration};

    use super::*;
    use crate::sockets::buffers;

    #[tokio::test]
    async fn a_client_of_many_can_send_little_before_it_is_read() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        for is_crowded in [false, true, false] {
            settle(&listener, is_crowded);
            let client = TcpStream::connect(address).await.unwrap();
            let (edge, _) = listener.accept().await.unwrap();
            assert_eq!(fresh_bytes(&edge) == NARROW_FRESH_BYTES, is_crowded);
            client.writable().await.unwrap();
            let is_little = || buffers(edge.as_fd()).received <= 2 * NARROW_FRESH_BYTES;
            let sending = async {
                while is_little() {
                    while client.try_write(&[0; 16 << 10]).is_ok() {}
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
            };
            let patience = Duration::from_secs(if is_crowded { 1 } else { 20 });
            assert_eq!(tokio::time::timeout(patience, sending).await.is_err(), is_crowded);
        }
    }

    #[test]
    fn those_are_waited_for_who_may_bring_more_than_there_is_room_for() {
        let unread = Unread::default();
        unread.comes(FRESH_BYTES);
        unread.comes(NARROW_FRESH_BYTES);
        assert!(!unread.is_beyond(FRESH_BYTES + NARROW_FRESH_BYTES) && !unread.was_waited_for());
        assert!(unread.is_beyond(FRESH_BYTES) && unread.was_waited_for() && !unread.was_waited_for());
        unread.came(NARROW_FRESH_BYTES);
        assert!(!unread.is_beyond(FRESH_BYTES));
    }
}
