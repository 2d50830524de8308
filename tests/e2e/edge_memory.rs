//! `bake edge --memory`: what bounds the process, and what is stored within that.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use crate::harness::{SOON, World, http};

const MEMORY: u64 = 160 << 20;
/// Bodies that go through the edge, in bytes.
const CHURNED: u64 = 10 * MEMORY;
const SMALLEST: u64 = 1 << 10;
const LARGEST: u64 = 4 << 20;
/// Clients that ask at once for something of their own, and then stay connected.
const IDLE: usize = 500;
/// Clients that ask for one thing after the other.
const ACTIVE: u64 = 6;
/// What the last of each are at most: what a large one evicted as it came in is filled again.
const LAST_LARGEST: u64 = 64 << 10;
const LAST: u64 = 600;
/// Between two of these: ten seconds after somebody has waited for memory, less is left free, and more is stored.
const LAST_EVERY: Duration = Duration::from_millis(20);
/// What is left to the process, its buffers and gaps, and to each open connection, as the documentation says.
const REST: u64 = (48 << 20) + MEMORY / 8 + IDLE as u64 * (7 << 10);
/// Between two looks at what the process takes: each goes through all of its open files.
const LOOK_EVERY: Duration = Duration::from_millis(30);
const LIMIT: Duration = Duration::from_secs(60);

/// What takes memory of a process: its own, its program, the tables for both, and files in memory that it has open. No control
/// group is needed to see that, which a test cannot count on.
fn taken(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let kilobytes = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap()
    };
    let own = kilobytes("RssAnon:") + kilobytes("RssFile:") + kilobytes("VmPTE:");
    own * 1024 + files(pid)
}

/// Bytes of its files in memory.
fn files(pid: u32) -> u64 {
    use std::os::unix::fs::MetadataExt as _;
    // They come and go meanwhile.
    let fds = std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap().filter_map(Result::ok);
    let files = fds.filter(|fd| {
        std::fs::read_link(fd.path()).is_ok_and(|to| to.to_string_lossy().starts_with("/memfd:"))
    });
    files.filter_map(|file| Some(std::fs::metadata(file.path()).ok()?.blocks() * 512)).sum()
}

/// An upstream that sends as many bytes as the end of a target says, as fast as it can.
fn upstream() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        while let Ok((stream, _)) = listener.accept() {
            // Its client closes it when it is done with it.
            std::thread::Builder::new()
                .stack_size(128 << 10)
                .spawn(move || send_bodies(stream).ok())
                .unwrap();
        }
    });
    url
}

fn send_bodies(mut stream: TcpStream) -> std::io::Result<()> {
    let block = [b'x'; 32 << 10];
    let mut seen = Vec::new();
    let mut chunk = [0; 4 << 10];
    loop {
        while !seen.ends_with(b"\r\n\r\n") {
            match stream.read(&mut chunk)? {
                0 => return Ok(()),
                read => seen.extend_from_slice(&chunk[..read]),
            }
        }
        let head = String::from_utf8_lossy(&seen).into_owned();
        let mut left: usize = size(head.split(' ').nth(1).unwrap_or_default());
        seen.clear();
        let head = format!("HTTP/1.1 200 OK\r\ncache-control: max-age=600\r\ncontent-length: {left}\r\n\r\n");
        stream.write_all(head.as_bytes())?;
        while left > 0 {
            let part = &block[..left.min(block.len())];
            stream.write_all(part)?;
            left -= part.len();
        }
    }
}

fn size(target: &str) -> usize {
    target.rsplit('-').next().and_then(|size| size.parse().ok()).unwrap_or(0)
}

fn ask(stream: &mut TcpStream, method: &str, target: &str, fields: &str) {
    let request = format!("{method} {target} HTTP/1.1\r\nHost: site.test\r\n{fields}\r\n");
    stream.write_all(request.as_bytes()).unwrap();
}

/// Reads a response whose content is so long, and returns its head.
fn answer(stream: &mut TcpStream, length: Option<usize>) -> String {
    let mut seen = Vec::new();
    let mut chunk = vec![0; 64 << 10];
    let mut read = |seen: &mut Vec<u8>| {
        let read = stream.read(&mut chunk).unwrap();
        assert!(read > 0, "closed after {:?}", String::from_utf8_lossy(seen));
        seen.extend_from_slice(&chunk[..read]);
    };
    let end = loop {
        if let Some(at) = seen.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
            break at + 4;
        }
        read(&mut seen);
    };
    let head = String::from_utf8_lossy(&seen[..end]).into_owned();
    let said = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok()).unwrap_or(0);
    let mut left = length.unwrap_or(said) + end - seen.len();
    while left > 0 {
        let part = left.min(chunk.len());
        stream.read_exact(&mut chunk[..part]).unwrap();
        left -= part;
    }
    head
}

/// Ends the looking, also where a test fails meanwhile.
struct Done<'a>(&'a AtomicBool);

impl Drop for Done<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn connect(address: &str) -> TcpStream {
    let stream = http::connect(address).unwrap();
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    stream
}

/// Bytes both ways through each of many WebSockets, which then say nothing.
const TUNNELS: usize = 1_000;
const MESSAGE: usize = 15_000;
/// What the edge's own side of a silent one takes at most; the buffers of both ways would be 32 KiB.
const TUNNEL: u64 = 16 << 10;

/// An upstream that sends back what comes through WebSockets.
fn echo() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let accepting = "HTTP/1.1 101 X\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n";
    std::thread::spawn(move || {
        while let Ok((mut stream, _)) = listener.accept() {
            let talk = move || {
                answer(&mut stream, Some(0));
                stream.write_all(accepting.as_bytes())?;
                let mut bytes = [0; MESSAGE];
                while stream.read_exact(&mut bytes).is_ok() {
                    stream.write_all(&bytes)?;
                }
                std::io::Result::Ok(())
            };
            std::thread::Builder::new().stack_size(64 << 10).spawn(talk).unwrap();
        }
    });
    url
}

#[test]
fn a_silent_websocket_takes_little() {
    let world = World::new();
    let upstream = echo();
    let args = ["edge", "--listen", "127.0.0.1:0", "--threads", "1", "--upstream", &upstream];
    let mut process = world.bake(".", &args).start();
    process.wait_for_text("edge at ", SOON);
    let said = process.stdout();
    let address = said.lines().find_map(|line| line.strip_prefix("edge at ")).unwrap();
    let before = taken(process.pid());
    let tunnels: Vec<TcpStream> = (0..TUNNELS)
        .map(|_| {
            let mut client = connect(address);
            ask(&mut client, "GET", "/", "Connection: upgrade\r\nUpgrade: websocket\r\n");
            let head = answer(&mut client, Some(0));
            assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
            client
        })
        .collect();
    for mut client in &tunnels {
        client.write_all(&[b'x'; MESSAGE]).unwrap();
        client.read_exact(&mut [0; MESSAGE]).unwrap();
    }
    let each = (taken(process.pid()) - before) / TUNNELS as u64;
    println!("{each} bytes each");
    assert!(each <= TUNNEL, "{each} bytes each");
}

/// The peak of the process is at most what `--memory` says, whatever goes through it, and nearly all of what may be stored within
/// that is stored: with a gigabyte, of which the 48 MiB are a small part, more than four fifths of the memory.
#[test]
fn memory_bounds_the_process_and_is_used() {
    let world = World::new();
    let upstream = upstream();
    let memory = MEMORY.to_string();
    let args =
        ["edge", "--listen", "127.0.0.1:0", "--threads", "2", "--upstream", &upstream, "--memory", &memory];
    let mut process = world.bake(".", &args).start();
    process.wait_for_text("edge at ", SOON);
    let said = process.stdout();
    let address = said.lines().find_map(|line| line.strip_prefix("edge at ")).unwrap();
    let pid = process.pid();
    let (peak, done) = (AtomicU64::new(0), AtomicBool::new(false));
    let (count, churned) = (AtomicUsize::new(0), AtomicU64::new(0));
    let target = |size: u64| format!("/{}-{size}", count.fetch_add(1, Ordering::Relaxed));
    let mut asked: Vec<String> = Vec::new();
    let idle: Vec<TcpStream> = std::thread::scope(|scope| {
        let _done = Done(&done);
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                peak.fetch_max(taken(pid), Ordering::Relaxed);
                std::thread::sleep(LOOK_EVERY);
            }
        });
        let mut idle: Vec<TcpStream> = (0..IDLE).map(|_| connect(address)).collect();
        for client in &mut idle {
            ask(client, "GET", &target(SMALLEST), "");
        }
        for client in &mut idle {
            answer(client, None);
        }
        let clients: Vec<_> = (0..ACTIVE)
            .map(|seed| {
                let (target, churned) = (&target, &churned);
                scope.spawn(move || {
                    let mut stream = connect(address);
                    let mut asked = Vec::new();
                    let mut random = seed + 1;
                    let mut last = 0;
                    while last < LAST {
                        // As many of each order of magnitude (xorshift).
                        random ^= random << 13;
                        random ^= random >> 7;
                        random ^= random << 17;
                        let is_last = churned.load(Ordering::Relaxed) >= CHURNED;
                        if is_last {
                            last += 1;
                            std::thread::sleep(LAST_EVERY);
                        }
                        let orders = (if is_last { LAST_LARGEST } else { LARGEST } / SMALLEST).ilog2();
                        let order = SMALLEST << (random % u64::from(orders));
                        let size = order + (random >> 32) % order;
                        churned.fetch_add(size, Ordering::Relaxed);
                        let one = target(size);
                        ask(&mut stream, "GET", &one, "");
                        answer(&mut stream, None);
                        asked.push(one);
                    }
                    asked
                })
            })
            .collect();
        for client in clients {
            asked.extend(client.join().unwrap());
        }
        idle
    });
    let peak = peak.into_inner();
    // What is stored, asked one by one.
    let mut stream = connect(address);
    let mut stored = 0;
    for one in &asked {
        ask(&mut stream, "HEAD", one, "Cache-Control: only-if-cached\r\n");
        let head = answer(&mut stream, Some(0));
        assert!(head.starts_with("HTTP/1.1 200") || head.starts_with("HTTP/1.1 504"), "{head}");
        stored += if head.starts_with("HTTP/1.1 200") { size(one) as u64 } else { 0 };
    }
    drop(idle);
    let told = format!(
        "peak {:.3} of the memory, stored {:.3}, {} requests",
        peak as f64 / MEMORY as f64,
        stored as f64 / MEMORY as f64,
        asked.len()
    );
    println!("{told}");
    assert!(peak <= MEMORY, "{told}");
    assert!(stored >= (MEMORY - REST) * 9 / 10, "{told}");
}
