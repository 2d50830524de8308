//! What the kernel takes of the memory for connections: what it has received and nobody has read, what was sent and not
//! acknowledged, the gaps in both, and its own records. A control group counts all that as its processes'.

use std::{
    os::fd::{AsRawFd, BorrowedFd, RawFd},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use slab::Slab;

/// What a connection takes beside its buffers; 4 KiB were seen.
pub(crate) const RECORD_BYTES: usize = 4 << 10;
/// Connections that are looked at in one go: who makes or closes one meanwhile waits for that.
const LOOKED_AT_ONCE: usize = 256;

/// Connections that are open, to be looked at.
#[derive(Debug, Default)]
pub(crate) struct Sockets(Mutex<Slab<RawFd>>);

/// One of them. To be dropped before it is closed.
#[derive(Debug)]
pub(crate) struct Watched {
    all: Arc<Sockets>,
    index: usize,
}

impl Sockets {
    fn list(&self) -> MutexGuard<'_, Slab<RawFd>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks at one more.
    pub(crate) fn watch(self: &Arc<Self>, socket: &impl AsRawFd) -> Watched {
        let index = self.list().insert(socket.as_raw_fd());
        Watched { all: Arc::clone(self), index }
    }

    /// What all of them take, in bytes.
    pub(crate) fn bytes(&self) -> usize {
        let (mut bytes, mut next) = (0, 0);
        loop {
            let list = self.list();
            let end = list.capacity().min(next + LOOKED_AT_ONCE);
            for socket in (next..end).filter_map(|index| list.get(index)) {
                #[expect(
                    unsafe_code,
                    reason = "the socket belongs to its task, which may close it at any time"
                )]
                // SAFETY: it is taken out of here before it is closed, and that waits for our lock.
                let socket = unsafe { BorrowedFd::borrow_raw(*socket) };
                bytes += RECORD_BYTES + buffers(socket).bytes;
            }
            if end == list.capacity() {
                return bytes;
            }
            next = end;
        }
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.all.list().try_remove(self.index);
    }
}

/// What the buffers of a TCP connection take, in bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Buffers {
    /// All of them.
    pub(crate) bytes: usize,
    /// Of what was received and not read.
    pub(crate) received: usize,
    /// Of what was sent and not acknowledged: none exactly while there is nothing such.
    pub(crate) sent: usize,
}

/// They, as the kernel has them (`SO_MEMINFO`, socket(7)).
#[cfg(target_os = "linux")]
pub(crate) fn buffers(socket: BorrowedFd<'_>) -> Buffers {
    const SOL_SOCKET: i32 = 1;
    const SO_MEMINFO: i32 = 55;
    /// Of the numbers that are told (`linux/sock_diag.h`): received, reserved, and to be sent.
    const COUNTED: [usize; 3] = [RECEIVED, 4, SENT];
    const RECEIVED: usize = 0;
    const SENT: usize = 5;
    #[expect(unsafe_code, reason = "no library used here knows the option")]
    unsafe extern "C" {
        fn getsockopt(socket: i32, level: i32, name: i32, value: *mut i32, length: *mut u32) -> i32;
    }
    // What is reserved may be less than nothing for a moment.
    let mut told = [0i32; 16];
    let mut length = u32::try_from(size_of_val(&told)).unwrap_or(0);
    #[expect(unsafe_code, reason = "see above")]
    // SAFETY: no more than `length` bytes are written to `told`.
    let result =
        unsafe { getsockopt(socket.as_raw_fd(), SOL_SOCKET, SO_MEMINFO, told.as_mut_ptr(), &raw mut length) };
    // A socket that has gone takes nothing.
    if result != 0 {
        return Buffers::default();
    }
    let bytes = |index: usize| usize::try_from(told[index]).unwrap_or(0);
    Buffers { bytes: COUNTED.into_iter().map(bytes).sum(), received: bytes(RECEIVED), sent: bytes(SENT) }
}

#[cfg(not(target_os = "linux"))]
pub(crate) fn buffers(_: BorrowedFd<'_>) -> Buffers {
    Buffers::default()
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::{
        io::{Read as _, Write as _},
        net::{TcpListener, TcpStream},
        os::fd::AsFd as _,
    };

    use super::*;

    #[test]
    fn what_is_not_read_and_not_taken_is_counted() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let mut server = listener.accept().unwrap().0;
        let sockets = Arc::new(Sockets::default());
        let watched = sockets.watch(&client);
        assert!(sockets.bytes() < RECORD_BYTES + (16 << 10), "{}", sockets.bytes());
        // All that the two of them take.
        server.set_nonblocking(true).unwrap();
        let mut sent = 0;
        while let Ok(bytes) = server.write(&[0; 64 << 10]) {
            sent += bytes;
        }
        let (received, unsent) = (sockets.bytes(), buffers(server.as_fd()).bytes);
        assert!(received > RECORD_BYTES && received + unsent >= sent, "{received} + {unsent}, {sent}");
        drop(server);
        client.read_to_end(&mut Vec::new()).unwrap();
        assert!(sockets.bytes() < received);
        drop(watched);
        assert_eq!(sockets.bytes(), 0);
    }
}
