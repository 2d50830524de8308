//! What the memory allows, however many clients there are and however slowly they read.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod support;

use std::time::Duration;

use support::{
    Reply, Upstream, eventually, front, meters, read_response, response, run, send, upstream_config,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    sync::Mutex,
};

/// Those take turns that look at the files in memory of the whole process.
static TURN: Mutex<()> = Mutex::const_new(());

/// The port of an address.
fn port(address: &str) -> u16 {
    address.parse::<std::net::SocketAddr>().unwrap().port()
}

/// What the kernel holds of what an edge of this process has sent, in bytes; to one client, where its port is given.
fn held(edge: &support::Running, client: Option<u16>) -> usize {
    let edge = port(&edge.address);
    held_between(|from, to| from == edge && client.is_none_or(|client| client == to))
}

/// What the kernel has received at this port of this process that was not read, in bytes.
fn unread(own: u16) -> usize {
    sockets(|fd, from, _| {
        let bytes = (from == own).then(|| rustix::io::ioctl_fionread(fd).ok())??;
        usize::try_from(bytes).ok()
    })
}

/// What it holds of what was sent between such ports of this process. What `/proc/net/tcp` says is of all processes, and lacks
/// lines while others come and go.
fn held_between(is_meant: impl Fn(u16, u16) -> bool) -> usize {
    use rustix::ioctl::{Getter, Opcode, ioctl};
    const OUT_QUEUE: Opcode = 0x5411;
    sockets(|fd, from, to| {
        if !is_meant(from, to) {
            return None;
        }
        #[expect(unsafe_code, reason = "there is no other way to ask for it")]
        // SAFETY: this call writes one `int`, and nothing else.
        let bytes = unsafe { ioctl(fd, Getter::<OUT_QUEUE, i32>::new()) };
        usize::try_from(bytes.ok()?).ok()
    })
}

/// The sum of what is looked at in each connection of this process, by its ports.
fn sockets(look: impl Fn(std::os::fd::BorrowedFd<'_>, u16, u16) -> Option<usize>) -> usize {
    use std::os::fd::BorrowedFd;
    let port = |address: rustix::net::SocketAddrAny| {
        std::net::SocketAddr::try_from(address).ok().map(|address| address.port())
    };
    let fds = std::fs::read_dir("/proc/self/fd").unwrap();
    let fds = fds.filter_map(|fd| fd.ok()?.file_name().to_str()?.parse().ok());
    let queues = fds.filter_map(|fd| {
        #[expect(unsafe_code, reason = "the edge's own sockets are looked at")]
        // SAFETY: what was closed meanwhile, or is another by now, is only asked what it is.
        let fd = unsafe { BorrowedFd::borrow_raw(fd) };
        let ends = (port(rustix::net::getsockname(fd).ok()?)?, port(rustix::net::getpeername(fd).ok()??)?);
        look(fd, ends.0, ends.1)
    });
    queues.sum()
}

/// What the kernel has received of content that an upstream does not take is counted.
#[tokio::test]
async fn content_that_nobody_takes_is_counted() {
    meters::install();
    let upstream = Upstream::start(|_| Reply::Silence).await;
    let edge = front(&[&upstream]).await;
    let mut stream = edge.connect().await;
    stream.write_all(b"POST / HTTP/1.1\r\nhost: h\r\ntransfer-encoding: chunked\r\n\r\n").await.unwrap();
    let chunk = format!("10000\r\n{}\r\n", "x".repeat(0x10000));
    // Until nothing of it is taken any more.
    let sending = async {
        loop {
            stream.write_all(chunk.as_bytes()).await.unwrap();
        }
    };
    assert!(tokio::time::timeout(Duration::from_secs(2), sending).await.is_err());
    let end = tokio::time::Instant::now() + support::DEADLINE;
    while meters::gauge("unsent_bytes") < f64::from(16 << 10) {
        assert!(tokio::time::Instant::now() < end, "it is not counted");
        tokio::time::sleep(Duration::from_millis(20)).await;
        edge.edge.refresh_gauges();
    }
}

/// And however much of it there is, the kernel takes little for an upstream that reads nothing.
#[tokio::test]
async fn a_slow_upstream_holds_little_of_the_kernels_memory() {
    const HELD_MAX: usize = 1 << 20;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let upstream = listener.local_addr().unwrap();
    let urls = vec![format!("http://{upstream}")];
    let edge = run(edge::EdgeConfig::new(edge::Mode::Upstream { urls }, "test-edge")).await;
    let mut stream = edge.connect().await;
    stream.write_all(b"POST / HTTP/1.1\r\nhost: h\r\ncontent-length: 1000000000\r\n\r\n").await.unwrap();
    let (mut accepted, _) = listener.accept().await.unwrap();
    // As fast as it can at first, so that the kernel would take much.
    let sending = async { while stream.write_all(&[b'x'; 64 << 10]).await.is_ok() {} };
    let reading = async {
        let mut bytes = vec![0; 256 << 10];
        let mut left = 64 << 20;
        while left > 0 {
            left -= accepted.read(&mut bytes).await.unwrap().min(left);
        }
    };
    tokio::pin!(sending);
    tokio::select! {
        () = &mut sending => panic!("it broke off"),
        () = reading => {}
    }
    assert!(tokio::time::timeout(Duration::from_secs(2), sending).await.is_err());
    let held = held_between(|_, to| to == upstream.port());
    assert!(held > 0 && held <= HELD_MAX, "{held}");
}

/// And of many clients, the kernel takes so little that none of them has to end.
#[tokio::test]
async fn content_that_nobody_takes_is_bounded() {
    const MEMORY: usize = 8 << 20;
    const UPLOADS: usize = 40;
    let upstream = Upstream::start(|_| Reply::Silence).await;
    let mut config = upstream_config(&[&upstream]);
    config.settings.memory_bytes_max = MEMORY;
    let edge = run(config).await;
    let mut uploads = tokio::task::JoinSet::new();
    for _ in 0..UPLOADS {
        let mut stream = edge.connect().await;
        uploads.spawn(async move {
            let head = b"POST / HTTP/1.1\r\nhost: h\r\ncontent-length: 1000000000\r\n\r\n";
            stream.write_all(head).await.unwrap();
            while stream.write_all(&[b'x'; 64 << 10]).await.is_ok() {}
        });
    }
    let unread = || unread(port(&edge.address));
    eventually("content", || unread() > UPLOADS * (4 << 10)).await;
    for _ in 0..50 {
        tokio::time::sleep(Duration::from_millis(20)).await;
        let held = unread();
        assert!(held <= MEMORY / 4, "{held}");
    }
    assert!(uploads.try_join_next().is_none(), "one is ended");
}

/// However much there is for a client that reads nothing, the kernel takes little of it.
#[tokio::test]
async fn a_slow_reader_holds_little_of_the_kernels_memory() {
    const BODY_BYTES: usize = 32 << 20;
    // The bound on what is unsent, a packet more, and what a client's own buffer takes before its window closes.
    const HELD_BYTES_MAX: usize = (256 << 10) + (64 << 10) + CLIENT_BYTES;
    const CLIENT_BYTES: usize = 256 << 10;
    let body = "x".repeat(BODY_BYTES);
    let upstream = Upstream::start(move |_| send(200, &[("cache-control", "no-store")], &body)).await;
    let edge = front(&[&upstream]).await;
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size((CLIENT_BYTES / 2) as u32).unwrap();
    let mut stream = socket.connect(edge.address.parse().unwrap()).await.unwrap();
    let port = stream.local_addr().unwrap().port();
    stream.write_all(b"GET / HTTP/1.1\r\nhost: h\r\n\r\n").await.unwrap();
    // Once it has stayed the same for a while, nothing more is taken.
    let held = settled(|| {
        // What is sent and not acknowledged lies in the client's queue, or is on its way there.
        let received = rustix::io::ioctl_fionread(&stream).unwrap();
        held(&edge, Some(port)) + usize::try_from(received).unwrap()
    })
    .await;
    assert!(held <= HELD_BYTES_MAX, "{held}");
    let whole = read_response(&mut stream, false).await;
    assert_eq!((whole.status, whole.body.len()), (200, BODY_BYTES));
}

/// A client with next to no buffer, which asks for something and reads nothing.
async fn slow_reader(edge: &support::Running, path: &str, fields: &str) -> tokio::net::TcpStream {
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(2_048).unwrap();
    let mut stream = socket.connect(edge.address.parse().unwrap()).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nhost: site.test\r\n{fields}\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    stream
}

/// Waits until it has stayed the same for a while, and returns it.
async fn settled(mut number: impl FnMut() -> usize) -> usize {
    let (mut last, mut same) = (0, 0);
    while same < 50 {
        tokio::time::sleep(Duration::from_millis(2)).await;
        let now = number();
        same = if now == last && now > 0 { same + 1 } else { 0 };
        last = now;
    }
    last
}

/// Also of what is stored in files, whose pages the kernel takes as they are: they stay in memory after what is stored has let go
/// of them.
#[tokio::test]
async fn slow_readers_hold_little_of_large_stored_bodies() {
    const BODY_BYTES: usize = 1 << 20;
    const READERS: usize = 150;
    const MEMORY: usize = 64 << 20;
    // Half of an eighth for bounds, as much for what is lifted, and for each connection the least bound and a packet.
    const HELD_BYTES_MAX: usize = MEMORY / 8 + READERS * ((16 << 10) + (64 << 10));
    let _turn = TURN.lock().await;
    let body = "x".repeat(BODY_BYTES);
    let upstream = Upstream::start(move |_| send(200, &[("cache-control", "max-age=60")], &body)).await;
    let mut config = upstream_config(&[&upstream]);
    config.settings.memory_bytes_max = MEMORY;
    let edge = run(config).await;
    let mut readers = Vec::new();
    for reader in 0..READERS {
        let path = format!("/{reader}");
        assert_eq!(edge.get(&path).await.body.len(), BODY_BYTES);
        readers.push(slow_reader(&edge, &path, "").await);
    }
    let most = settled(|| held(&edge, None)).await;
    assert!(most <= HELD_BYTES_MAX, "{most}");
    // Who reads on gets all of its own.
    for reader in readers.iter_mut().step_by(READERS / 3) {
        let whole = read_response(reader, false).await;
        assert_eq!((whole.status, whole.body.len(), whole.complete), (200, BODY_BYTES, true));
    }
}

#[tokio::test]
async fn who_takes_nothing_of_what_the_kernel_took_is_ended() {
    let body = "x".repeat(100 << 10);
    let upstream = Upstream::start(move |_| send(200, &[("cache-control", "max-age=60")], &body)).await;
    let mut config = upstream_config(&[&upstream]);
    config.settings.limits.write_stall = Duration::from_millis(500);
    let edge = run(config).await;
    edge.get("/").await;
    // As far as the edge goes, all of it has gone out; and where it was told to close, it has nothing more to do.
    for close in ["", "connection: close\r\n"] {
        let mut stream = slow_reader(&edge, "/", close).await;
        settled(|| held(&edge, None)).await;
        eventually("the end of what is held", || held(&edge, None) == 0).await;
        // It was not left to the kernel, which would go on for minutes.
        let mut all = Vec::new();
        let ended = tokio::time::timeout(support::DEADLINE, stream.read_to_end(&mut all)).await.unwrap();
        assert!(ended.is_err() && all.len() < 100 << 10, "{ended:?}");
    }
}

#[tokio::test]
async fn where_the_kernel_holds_too_much_those_end_who_take_nothing() {
    const MEMORY: usize = 16 << 20;
    const READERS: usize = 250;
    let body = "x".repeat(200 << 10);
    let upstream = Upstream::start(move |_| send(200, &[("cache-control", "max-age=60")], &body)).await;
    let mut config = upstream_config(&[&upstream]);
    config.settings.memory_bytes_max = MEMORY;
    let edge = run(config).await;
    edge.get("/").await;
    let mut readers = Vec::new();
    for _ in 0..READERS {
        readers.push(slow_reader(&edge, "/", "").await);
    }
    eventually("room", || held(&edge, None) <= MEMORY / 2).await;
    let still = settled(|| held(&edge, None)).await;
    assert!((MEMORY / 4..=MEMORY / 2).contains(&still), "{still}: no more than had to go");
    assert_eq!(edge.get("/").await.body.len(), 200 << 10);
}

/// What bodies in files take in this process, in bytes.
fn files_bytes() -> u64 {
    let fds = std::fs::read_dir("/proc/self/fd").unwrap().filter_map(|fd| Some(fd.ok()?.path()));
    let is_body = |fd: &std::path::PathBuf| {
        std::fs::read_link(fd).is_ok_and(|to| to.to_string_lossy().starts_with("/memfd:bakehouse-body"))
    };
    fds.filter(is_body).filter_map(|fd| Some(std::fs::metadata(fd).ok()?.len())).sum()
}

#[tokio::test]
async fn slow_readers_do_not_keep_what_others_need() {
    const BODY_BYTES: usize = 512 << 10;
    const MEMORY: usize = 64 << 20;
    const READERS: usize = 200;
    let _turn = TURN.lock().await;
    let body = "x".repeat(BODY_BYTES);
    let upstream = Upstream::start(move |head| {
        let body = if head.starts_with("GET /small") { "small" } else { &body };
        send(200, &[("cache-control", "max-age=60")], body)
    })
    .await;
    let mut config = upstream_config(&[&upstream]);
    config.settings.memory_bytes_max = MEMORY;
    let edge = run(config).await;
    let mut readers = Vec::new();
    for reader in 0..READERS {
        readers.push(slow_reader(&edge, &format!("/{reader}"), "").await);
        upstream.wait_for(reader + 1).await;
        // What has left the store and is still read is in memory as well.
        let bytes = files_bytes();
        assert!(bytes <= MEMORY as u64 / 2, "{reader}: {bytes}");
    }
    // They are ended by and by, so that what is asked for now finds room.
    let mut small = 0;
    let began = std::time::Instant::now();
    while !edge.get("/small").await.cache_status().contains("hit") {
        assert!(began.elapsed() < support::DEADLINE, "{:?}", edge.edge.state());
        small += 1;
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(small > 0, "there was room all the time");
    // Not all of them: only so many as had to go.
    eventually("room", || edge.edge.state().bytes <= MEMORY / 2).await;
    let open = edge.edge.state().bytes / BODY_BYTES;
    assert!(open > READERS / 20, "{open}");
}

/// Heads that never end are what it costs least to send.
#[tokio::test]
async fn heads_that_do_not_end_are_counted_and_bounded() {
    const MEMORY: usize = 8 << 20;
    const HEADS: usize = 200;
    meters::install();
    let upstream = Upstream::start(|_| send(200, &[("cache-control", "max-age=60")], "x")).await;
    let mut config = upstream_config(&[&upstream]);
    config.settings.memory_bytes_max = MEMORY;
    config.settings.limits.header_read = Duration::from_secs(3_600);
    let edge = run(config).await;
    let mut open = Vec::new();
    for _ in 0..HEADS {
        let mut stream = edge.connect().await;
        let head = format!("GET / HTTP/1.1\r\nhost: site.test\r\nx: {}", "x".repeat(60_000));
        // It may be ended while it sends.
        let _sent = stream.write_all(head.as_bytes()).await;
        open.push(stream);
    }
    let ended = || meters::counter("late_total{what=\"memory\"}");
    eventually("some to end", || ended() > HEADS as u64 / 2).await;
    eventually("room", || edge.edge.state().bytes <= MEMORY / 2 / 4 * 3).await;
    assert!(ended() < HEADS as u64, "not all of them, only so many as had to go");
    assert_eq!(edge.get("/").await.status, 200);
}

/// An edge with memory for [`TURNS`] requests to upstreams at once.
async fn with_few_turns(upstream: &Upstream) -> support::Running {
    let mut config = upstream_config(&[upstream]);
    config.settings.memory_bytes_max = 8 << 20;
    run(config).await
}

const TURNS: usize = (2 << 20) / (96 << 10);

/// So many connections, on each of which something else was asked for.
async fn askers(edge: &support::Running, count: usize) -> Vec<tokio::net::TcpStream> {
    let mut streams = Vec::new();
    for n in 0..count {
        let mut stream = edge.connect().await;
        stream.write_all(format!("GET /{n} HTTP/1.1\r\nhost: site.test\r\n\r\n").as_bytes()).await.unwrap();
        streams.push(stream);
    }
    streams
}

#[tokio::test]
async fn requests_that_there_is_no_memory_for_wait_for_their_turn() {
    let upstream = Upstream::start(|head| {
        let whole = response(200, &[("cache-control", "max-age=60")], "x");
        if head.starts_with("GET /now") { Reply::Send(whole) } else { Reply::Parts(vec![whole]) }
    })
    .await;
    let edge = with_few_turns(&upstream).await;
    edge.get("/now").await;
    let mut streams = askers(&edge, TURNS + 5).await;
    upstream.wait_for(1 + TURNS).await;
    // What is stored needs no turn.
    for _ in 0..20 {
        assert!(edge.get("/now").await.cache_status().contains("hit"));
    }
    assert_eq!(upstream.requests().len(), 1 + TURNS);
    upstream.permit(streams.len());
    for stream in &mut streams {
        assert_eq!(read_response(stream, false).await.status, 200);
    }
    assert_eq!(upstream.requests().len(), 1 + TURNS + 5);
}

#[tokio::test]
async fn who_waits_too_long_for_a_turn_is_told_to_come_again() {
    let upstream = Upstream::start(|_| Reply::Silence).await;
    let edge = with_few_turns(&upstream).await;
    let _streams = askers(&edge, TURNS).await;
    upstream.wait_for(TURNS).await;
    let late = edge.get("/late").await;
    assert_eq!((late.status, late.field("retry-after").as_deref()), (503, Some("1")));
    // Also what is only sent on.
    let late = edge.ask("POST", "/late", &[("content-length", "0")]).await;
    assert_eq!(late.status, 503);
    assert_eq!(upstream.requests().len(), TURNS);
}

#[tokio::test]
async fn who_takes_a_stream_too_slowly_gives_way_to_those_who_wait() {
    let body = "x".repeat(1 << 20);
    let upstream = Upstream::start(move |head| {
        let body = if head.starts_with("GET /now") { "now" } else { &body };
        send(200, &[("cache-control", "no-store")], body)
    })
    .await;
    let edge = with_few_turns(&upstream).await;
    let mut readers = Vec::new();
    for n in 0..TURNS {
        readers.push(slow_reader(&edge, &format!("/{n}"), "").await);
    }
    upstream.wait_for(TURNS).await;
    let late = edge.get("/now").await;
    assert_eq!((late.status, late.text()), (200, "now"));
}
