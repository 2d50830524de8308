//! What a hit costs, counted: no allocation, one read, and one write. And a miss, within bounds.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod support;

use std::{
    alloc::{GlobalAlloc, Layout, System},
    io::IoSlice,
    mem::MaybeUninit,
    os::fd::BorrowedFd,
    sync::atomic::{AtomicBool, AtomicI32, AtomicU64, Ordering},
};

use edge::{LogFormat, LogTarget};
use rustix::net::{RecvFlags, SendFlags};
use support::{Upstream, eventually, read_response, run, send, upstream_config};
use tokio::io::AsyncWriteExt;

/// Counts what the thread that serves allocates.
struct Counting;

static ON: AtomicBool = AtomicBool::new(false);
/// That thread's number.
static SERVING: AtomicI32 = AtomicI32::new(0);
static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);
static ALLOCATED_BYTES: AtomicU64 = AtomicU64::new(0);

fn is_counted() -> bool {
    if !ON.load(Ordering::Relaxed) {
        return false;
    }
    #[expect(unsafe_code, reason = "the C library's call for it")]
    // SAFETY: it takes nothing and cannot fail.
    let thread = unsafe { gettid() };
    thread == SERVING.load(Ordering::Relaxed)
}

fn note(bytes: usize) {
    if is_counted() {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        ALLOCATED_BYTES.fetch_add(bytes as u64, Ordering::Relaxed);
    }
}

#[expect(
    unsafe_code,
    reason = "allocations can be counted by an allocator alone; it hands all on to the system's"
)]
// SAFETY: every call goes to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        note(layout.size());
        // SAFETY: the caller's promises are passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller's promises are passed on.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        note(size);
        // SAFETY: the caller's promises are passed on.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

/// Calls of that thread that read from a socket, and that wrote to one.
static READS: AtomicU64 = AtomicU64::new(0);
static WRITES: AtomicU64 = AtomicU64::new(0);

#[expect(unsafe_code, reason = "where the C library keeps a thread's last error, and a thread's number")]
unsafe extern "C" {
    fn __errno_location() -> *mut i32;
    fn gettid() -> i32;
}

/// What a call of the C library returns for a result.
fn returned(result: rustix::io::Result<usize>) -> isize {
    result.map_or_else(
        |error| {
            #[expect(unsafe_code, reason = "where the C library keeps a thread's last error")]
            // SAFETY: it points to this thread's own.
            unsafe {
                *__errno_location() = error.raw_os_error();
            }
            -1
        },
        |bytes| isize::try_from(bytes).unwrap_or(isize::MAX),
    )
}

#[expect(
    unsafe_code,
    reason = "reads can be counted in the place of the function that makes them alone; it does what that does"
)]
// SAFETY: the C library's `recv`, by the kernel's call of that name; nothing else in this program has the name.
#[unsafe(no_mangle)]
unsafe extern "C" fn recv(socket: i32, buffer: *mut u8, length: usize, flags: i32) -> isize {
    if is_counted() {
        READS.fetch_add(1, Ordering::Relaxed);
    }
    // SAFETY: the caller promises an open socket, and that many bytes that may be written.
    let (socket, buffer) = unsafe {
        (
            BorrowedFd::borrow_raw(socket),
            std::slice::from_raw_parts_mut(buffer.cast::<MaybeUninit<u8>>(), length),
        )
    };
    let flags = RecvFlags::from_bits_retain(flags.cast_unsigned());
    returned(rustix::net::recv(socket, buffer, flags).map(|(_, read)| read))
}

#[expect(unsafe_code, reason = "as for reads; a stream writes by this one and `writev`")]
// SAFETY: the C library's `send`, by the kernel's call of that name; nothing else in this program has the name.
#[unsafe(export_name = "send")]
unsafe extern "C" fn send_bytes(socket: i32, bytes: *const u8, length: usize, flags: i32) -> isize {
    if is_counted() {
        WRITES.fetch_add(1, Ordering::Relaxed);
    }
    // SAFETY: the caller promises an open socket, and that many bytes.
    let (socket, bytes) =
        unsafe { (BorrowedFd::borrow_raw(socket), std::slice::from_raw_parts(bytes, length)) };
    returned(rustix::net::send(socket, bytes, SendFlags::from_bits_retain(flags.cast_unsigned())))
}

#[expect(unsafe_code, reason = "as for reads")]
// SAFETY: the C library's `writev`, by the kernel's call of that name; nothing else in this program has the name.
#[unsafe(no_mangle)]
unsafe extern "C" fn writev(file: i32, parts: *const IoSlice<'_>, count: i32) -> isize {
    if is_counted() {
        WRITES.fetch_add(1, Ordering::Relaxed);
    }
    // SAFETY: the caller promises an open file, and that many parts; an `IoSlice` is laid out as the C library's.
    let (file, parts) = unsafe {
        (BorrowedFd::borrow_raw(file), std::slice::from_raw_parts(parts, usize::try_from(count).unwrap_or(0)))
    };
    returned(rustix::io::writev(file, parts))
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Tests that count take turns where one process runs them all.
static TURN: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

/// The thread that serves, among this process's: the newest, since that of another test may not be gone yet.
fn serving() -> std::path::PathBuf {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap();
    tasks
        .map(|task| task.unwrap().path())
        // One that has ended meanwhile has no name.
        .filter(|task| std::fs::read_to_string(task.join("comm")).is_ok_and(|name| name.trim() == "serve-0"))
        .max_by_key(|task| task.file_name().and_then(|name| name.to_str()?.parse::<u64>().ok()))
        .expect("a thread that serves")
}

/// Begins to count.
fn count() {
    let thread = serving();
    let number = thread.file_name().unwrap().to_str().unwrap().parse().unwrap();
    SERVING.store(number, Ordering::Relaxed);
    for counter in [&ALLOCATIONS, &ALLOCATED_BYTES, &READS, &WRITES] {
        counter.store(0, Ordering::Relaxed);
    }
    ON.store(true, Ordering::Relaxed);
}

const BROWSER: &str = "user-agent: Mozilla/5.0 (X11; Linux x86_64)\r\naccept: text/html,*/*;q=0.8\r\n\
    accept-encoding: gzip, deflate, br, zstd\r\naccept-language: en-GB,en;q=0.9\r\ncookie: a=b\r\n\
    sec-fetch-mode: navigate\r\ncache-control: max-age=0\r\nconnection: keep-alive\r\n";
const MODIFIED: &str = "Sun, 06 Nov 1994 08:49:37 GMT";

/// With the access log on, which all of this must do without a cost of its own.
#[tokio::test]
async fn a_hit_allocates_nothing_reads_once_and_writes_once() {
    let _turn = TURN.lock().await;
    const HITS: u64 = 250;
    let body = "x".repeat(8_192);
    let upstream = Upstream::start(move |head| {
        let path = head.split(' ').nth(1).unwrap();
        let vary = match path {
            "/cors" => "accept-encoding, origin",
            "/images" => "accept",
            "/languages" => "accept-language",
            _ => "accept-encoding",
        };
        let fields = [
            ("cache-control", "max-age=600"),
            ("vary", vary),
            ("etag", "\"a\""),
            ("last-modified", MODIFIED),
        ];
        send(200, &fields, &body)
    })
    .await;
    for proxied in ["", PROXIED] {
        hits_of(&upstream, proxied, HITS).await;
    }
}

/// What a proxy says of whom it asks for.
const PROXIED: &str = "x-forwarded-for: 198.51.100.1, 203.0.113.9, 127.0.0.1\r\nx-forwarded-proto: https\r\n\
    x-forwarded-host: Site.test:443\r\nx-request-id: 0b9b9a5e-8c8d-4c3f-9d5b-3a1f0c6d2e7f\r\n";

/// Of clients, or of a proxy that is trusted and says more of each request.
async fn hits_of(upstream: &Upstream, proxied: &str, hits: u64) {
    let log = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("hits.log");
    drop(std::fs::remove_file(&log));
    let mut config = upstream_config(&[upstream]);
    config.access_log = Some((LogTarget::File(log.clone()), LogFormat::Json));
    if !proxied.is_empty() {
        config.settings.trusted = vec!["127.0.0.0/8".parse().unwrap()];
    }
    let edge = run(config).await;
    let range = format!("{BROWSER}range: bytes=1024-\r\nif-range: \"a\"\r\n");
    let since = format!("{BROWSER}if-modified-since: {MODIFIED}\r\n");
    let both = format!("if-none-match: \"a\"\r\nif-modified-since: {MODIFIED}\r\nrange: bytes=0-1\r\n");
    let cors = format!("{BROWSER}origin: https://site.test\r\n");
    let rows: [(&str, &str, u16, usize); 10] = [
        ("/page", "", 200, 8_192),
        ("/page", BROWSER, 200, 8_192),
        ("/page", "if-none-match: \"a\"\r\n", 304, 0),
        ("/page", &since, 304, 0),
        ("/page", &both, 304, 0),
        ("/page", &range, 206, 7_168),
        ("/page", "range: bytes=-100\r\n", 206, 100),
        ("/cors", &cors, 200, 8_192),
        ("/languages", "accept-language: de;q=0.5, en-GB,en;q=0.9, fr\r\n", 200, 8_192),
        ("/images", "accept: image/AVIF, image/webp,*/*;q=0.8\r\n", 200, 8_192),
    ];
    let lines = || std::fs::read_to_string(&log).unwrap().lines().count();
    let all = usize::try_from(hits).unwrap() + 20;
    for (row, (path, fields, status, length)) in rows.into_iter().enumerate() {
        // There is room for the lines of one row, however late their writer is.
        eventually("the log", || lines() == row * all).await;
        let host = if proxied.is_empty() { "site.test" } else { "of-the-proxy.test" };
        let request = format!("GET {path} HTTP/1.1\r\nhost: {host}\r\n{fields}{proxied}\r\n");
        let mut stream = edge.connect().await;
        let mut ask = async || {
            stream.write_all(request.as_bytes()).await.unwrap();
            read_response(&mut stream, false).await
        };
        // The first is stored, and buffers of sockets grow with the next.
        for _ in 0..20 {
            ask().await;
        }
        count();
        for _ in 0..hits {
            let seen = ask().await;
            assert!(seen.cache_status().starts_with("Bakehouse; hit; ttl="), "{}", seen.head);
            assert_eq!((seen.status, seen.body.len()), (status, length), "{path} {fields}");
        }
        ON.store(false, Ordering::Relaxed);
        assert_eq!(ALLOCATIONS.load(Ordering::Relaxed), 0, "{path} {fields}");
        assert_eq!(WRITES.load(Ordering::Relaxed), hits, "{path} {fields}");
        assert_eq!(READS.load(Ordering::Relaxed), hits, "{path} {fields}");
    }
    // The last line is written when its response has gone out.
    eventually("the log", || lines() == rows.len() * all).await;
    let text = std::fs::read_to_string(&log).unwrap();
    let client = if proxied.is_empty() { "127.0.0.1" } else { "203.0.113.9" };
    assert!(text.lines().all(|line| line.contains(&format!("\"client\":\"{client}\""))), "{text:.900}");
}

/// Its body is copied once on its way into the store; what waits for the upstream is small beside it.
#[tokio::test]
async fn a_miss_takes_little_memory_and_one_write_to_each_side() {
    let _turn = TURN.lock().await;
    const MISSES: u64 = 200;
    let body = "x".repeat(8_192);
    let fields = [("cache-control", "max-age=600"), ("content-type", "text/html"), ("etag", "\"a\"")];
    let upstream = Upstream::start(move |_| send(200, &fields, &body)).await;
    let edge = run(upstream_config(&[&upstream])).await;
    let mut stream = edge.connect().await;
    let mut ask = async |n: u64| {
        let request = format!("GET /{n} HTTP/1.1\r\nhost: site.test\r\n{BROWSER}\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        read_response(&mut stream, false).await
    };
    for n in 0..50 {
        ask(n).await;
    }
    count();
    for n in 50..50 + MISSES {
        let seen = ask(n).await;
        assert!(seen.cache_status().contains("fwd=uri-miss") && seen.body.len() == 8_192, "{}", seen.head);
    }
    ON.store(false, Ordering::Relaxed);
    let each = |counter: &AtomicU64| counter.load(Ordering::Relaxed) / MISSES;
    let (bytes, allocations) = (each(&ALLOCATED_BYTES), each(&ALLOCATIONS));
    // What is stored takes 8 KiB of it; what is read from the upstream lies in the connection's buffer.
    assert!(bytes < 40_000, "{bytes} bytes for a miss");
    assert!(allocations < 80, "{allocations} allocations for a miss");
    // A response that comes in two parts may go out in two.
    let written = WRITES.load(Ordering::Relaxed);
    assert!(written <= 2 * MISSES + MISSES / 10, "{written} writes for {MISSES} misses");
    assert!(each(&READS) <= 2, "{} reads for {MISSES} misses", READS.load(Ordering::Relaxed));
}
