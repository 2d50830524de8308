//! What a hit costs, counted: no allocation, one read, and one write.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod support;

use std::{
    alloc::{GlobalAlloc, Layout, System},
    cell::Cell,
    mem::MaybeUninit,
    os::fd::BorrowedFd,
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
};

use rustix::net::RecvFlags;
use support::{Upstream, front, read_response, send};
use tokio::io::AsyncWriteExt;

/// Counts what threads other than the test's own allocate: those that serve.
struct Counting;

static ON: AtomicBool = AtomicBool::new(false);
static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

thread_local! {
    static IS_CLIENT: Cell<bool> = const { Cell::new(false) };
}

fn note() {
    if ON.load(Ordering::Relaxed) && !IS_CLIENT.try_with(Cell::get).unwrap_or(true) {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
    }
}

#[expect(
    unsafe_code,
    reason = "allocations can be counted by an allocator alone; it hands all on to the system's"
)]
// SAFETY: every call goes to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        note();
        // SAFETY: the caller's promises are passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller's promises are passed on.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        note();
        // SAFETY: the caller's promises are passed on.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

/// Calls of threads other than the test's own that read from a socket.
static READS: AtomicU64 = AtomicU64::new(0);

#[expect(unsafe_code, reason = "where the C library keeps a thread's last error")]
unsafe extern "C" {
    fn __errno_location() -> *mut i32;
}

#[expect(
    unsafe_code,
    reason = "reads can be counted in the place of the function that makes them alone; it does what that does"
)]
// SAFETY: the C library's `recv`, by the kernel's call of that name; nothing else in this program has the name.
#[unsafe(no_mangle)]
unsafe extern "C" fn recv(socket: i32, buffer: *mut u8, length: usize, flags: i32) -> isize {
    if ON.load(Ordering::Relaxed) && !IS_CLIENT.try_with(Cell::get).unwrap_or(true) {
        READS.fetch_add(1, Ordering::Relaxed);
    }
    // SAFETY: the caller promises an open socket, and that many bytes that may be written.
    let (socket, buffer) = unsafe {
        (
            BorrowedFd::borrow_raw(socket),
            std::slice::from_raw_parts_mut(buffer.cast::<MaybeUninit<u8>>(), length),
        )
    };
    match rustix::net::recv(socket, buffer, RecvFlags::from_bits_retain(flags.cast_unsigned())) {
        Ok((_, read)) => isize::try_from(read).unwrap_or(isize::MAX),
        Err(error) => {
            // SAFETY: where this thread's last error is kept.
            unsafe { *__errno_location() = error.raw_os_error() };
            -1
        }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Calls that wrote something, by the thread that serves.
fn writes() -> u64 {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap();
    let serving = tasks
        .map(|task| task.unwrap().path())
        .find(|task| std::fs::read_to_string(task.join("comm")).unwrap().trim() == "serve-0")
        .expect("a thread that serves");
    let text = std::fs::read_to_string(serving.join("io")).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix("syscw: ")).unwrap();
    line.trim().parse().unwrap()
}

const BROWSER: &str = "user-agent: Mozilla/5.0 (X11; Linux x86_64)\r\naccept: text/html,*/*;q=0.8\r\n\
    accept-encoding: gzip, deflate, br, zstd\r\naccept-language: en-GB,en;q=0.9\r\ncookie: a=b\r\n\
    sec-fetch-mode: navigate\r\ncache-control: max-age=0\r\nconnection: keep-alive\r\n";

#[tokio::test]
async fn a_hit_allocates_nothing_reads_once_and_writes_once() {
    const HITS: u64 = 500;
    IS_CLIENT.set(true);
    let body = "x".repeat(8_192);
    let upstream = Upstream::start(move |_| {
        send(200, &[("cache-control", "max-age=600"), ("vary", "accept-encoding"), ("etag", "\"a\"")], &body)
    })
    .await;
    let edge = front(&[&upstream]).await;
    let plain = "GET /page HTTP/1.1\r\nhost: site.test\r\n".to_owned();
    for (fields, status) in [("", 200), (BROWSER, 200), ("if-none-match: \"a\"\r\n", 304)] {
        let request = format!("{plain}{fields}\r\n");
        let mut stream = edge.connect().await;
        let mut ask = async || {
            stream.write_all(request.as_bytes()).await.unwrap();
            read_response(&mut stream, false).await
        };
        // The first is stored, and buffers of sockets grow with the next.
        for _ in 0..20 {
            assert_eq!(ask().await.status, status);
        }
        let before = writes();
        ALLOCATIONS.store(0, Ordering::Relaxed);
        READS.store(0, Ordering::Relaxed);
        ON.store(true, Ordering::Relaxed);
        for _ in 0..HITS {
            let seen = ask().await;
            assert!(seen.cache_status().starts_with("Bakehouse; hit; ttl="), "{}", seen.head);
        }
        ON.store(false, Ordering::Relaxed);
        assert_eq!(ALLOCATIONS.load(Ordering::Relaxed), 0, "{fields}");
        assert_eq!(writes() - before, HITS, "{fields}");
        assert_eq!(READS.load(Ordering::Relaxed), HITS, "{fields}");
    }
}
