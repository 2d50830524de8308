//! A scriptable upstream and a raw client on loopback: bytes in, bytes out, on both sides of the edge.
#![allow(dead_code, clippy::unwrap_used, clippy::expect_used, missing_docs, unreachable_pub)]

pub mod meters;

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex},
    time::Duration,
};

use edge::{Edge, EdgeConfig, Mode};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::{Notify, watch},
};
use tokio_util::sync::CancellationToken;

/// No wait of a test takes longer.
pub const DEADLINE: Duration = Duration::from_secs(10);

/// What the upstream does with a request.
#[derive(Clone)]
pub enum Reply {
    /// These bytes, then the connection stays open.
    Send(Vec<u8>),
    /// These bytes, then the connection is closed.
    SendAndClose(Vec<u8>),
    /// These bytes, then the connection is reset, once it is permitted.
    SendAndReset(Vec<u8>),
    /// These parts, each after a permit of [`Upstream::permit`]; then the connection stays open.
    Parts(Vec<Vec<u8>>),
    /// Nothing, and the connection is closed.
    Close,
    /// Nothing, for ever.
    Silence,
    /// What comes of this.
    Later(Arc<Making>),
}

/// Makes a response in its own time.
pub type Making = dyn Fn() -> std::pin::Pin<Box<dyn Future<Output = Vec<u8>> + Send>> + Send + Sync;
type Handler = dyn Fn(&str) -> Reply + Send + Sync;

/// An upstream on loopback.
pub struct Upstream {
    pub url: String,
    pub authority: String,
    seen: watch::Sender<Vec<String>>,
    permits: Arc<tokio::sync::Semaphore>,
    stop: CancellationToken,
}

impl Upstream {
    /// Answers each request (its head, as text) by `handler`.
    pub async fn start(handler: impl Fn(&str) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let authority = listener.local_addr().unwrap().to_string();
        let handler: Arc<Handler> = Arc::new(handler);
        let (seen, _) = watch::channel(Vec::new());
        let permits = Arc::new(tokio::sync::Semaphore::new(0));
        let stop = CancellationToken::new();
        let this = Self { url: format!("http://{authority}"), authority, seen, permits, stop };
        let (seen, permits, stop) = (this.seen.clone(), Arc::clone(&this.permits), this.stop.clone());
        tokio::spawn(async move {
            loop {
                let accepted = tokio::select! {
                    () = stop.cancelled() => return,
                    accepted = listener.accept() => accepted,
                };
                let (stream, _) = accepted.unwrap();
                let (handler, seen, permits, stop) =
                    (Arc::clone(&handler), seen.clone(), Arc::clone(&permits), stop.clone());
                tokio::spawn(async move {
                    tokio::select! {
                        () = stop.cancelled() => {}
                        () = talk(stream, &handler, &seen, &permits) => {}
                    }
                });
            }
        });
        this
    }

    /// Answers requests by turns from a list, then 500.
    pub async fn script(replies: Vec<Reply>) -> Self {
        let replies = Mutex::new(VecDeque::from(replies));
        Self::start(move |_| {
            replies.lock().unwrap().pop_front().unwrap_or_else(|| send(500, &[], "unscripted"))
        })
        .await
    }

    /// Heads of the requests so far.
    pub fn requests(&self) -> Vec<String> {
        self.seen.borrow().clone()
    }

    /// Waits until there were this many requests.
    pub async fn wait_for(&self, count: usize) {
        let mut seen = self.seen.subscribe();
        let waited = tokio::time::timeout(DEADLINE, seen.wait_for(|seen| seen.len() >= count)).await;
        assert!(waited.is_ok(), "only {} of {count} requests arrived", self.requests().len());
    }

    /// Lets parts of [`Reply::Parts`] go.
    pub fn permit(&self, parts: usize) {
        self.permits.add_permits(parts);
    }

    /// Closes the listener and all connections.
    pub fn stop(&self) {
        self.stop.cancel();
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

async fn talk(
    mut stream: TcpStream,
    handler: &Arc<Handler>,
    seen: &watch::Sender<Vec<String>>,
    permits: &tokio::sync::Semaphore,
) {
    let mut buffer = Vec::new();
    loop {
        let head_end = loop {
            if let Some(at) = find(&buffer, b"\r\n\r\n") {
                break at + 4;
            }
            let mut chunk = vec![0; 4096];
            match stream.read(&mut chunk).await {
                Ok(0) | Err(_) => return,
                Ok(n) => buffer.extend_from_slice(&chunk[..n]),
            }
        };
        let head = String::from_utf8_lossy(&buffer[..head_end]).into_owned();
        buffer.drain(..head_end);
        let length = field(&head, "content-length").and_then(|v| v.parse::<usize>().ok()).unwrap_or(0);
        while buffer.len() < length {
            let mut chunk = vec![0; 4096];
            match stream.read(&mut chunk).await {
                Ok(0) | Err(_) => return,
                Ok(n) => buffer.extend_from_slice(&chunk[..n]),
            }
        }
        let content = String::from_utf8_lossy(&buffer[..length]).into_owned();
        buffer.drain(..length);
        let reply = handler(&head);
        seen.send_modify(|seen| seen.push(format!("{head}{content}")));
        match reply {
            Reply::Send(bytes) => {
                if stream.write_all(&bytes).await.is_err() {
                    return;
                }
            }
            Reply::SendAndClose(bytes) => {
                let _ = stream.write_all(&bytes).await;
                return;
            }
            Reply::SendAndReset(bytes) => {
                let _ = stream.write_all(&bytes).await;
                permits.acquire().await.unwrap().forget();
                let _ = stream.set_zero_linger();
                return;
            }
            Reply::Parts(parts) => {
                for part in parts {
                    permits.acquire().await.unwrap().forget();
                    if stream.write_all(&part).await.is_err() {
                        return;
                    }
                }
            }
            Reply::Close => return,
            Reply::Later(make) => {
                let bytes = make().await;
                if stream.write_all(&bytes).await.is_err() {
                    return;
                }
            }
            Reply::Silence => std::future::pending().await,
        }
    }
}

pub fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|window| window == needle)
}

/// The value of a field in a head, names in any case; several lines are joined.
pub fn field(head: &str, name: &str) -> Option<String> {
    let values: Vec<&str> = head
        .lines()
        .take_while(|line| !line.is_empty())
        .filter_map(|line| line.split_once(':'))
        .filter(|(n, _)| n.eq_ignore_ascii_case(name))
        .map(|(_, value)| value.trim())
        .collect();
    if values.is_empty() { None } else { Some(values.join(", ")) }
}

/// A response with `Content-Length`.
pub fn send(status: u16, fields: &[(&str, &str)], body: &str) -> Reply {
    Reply::Send(response(status, fields, body))
}

/// Its bytes.
pub fn response(status: u16, fields: &[(&str, &str)], body: &str) -> Vec<u8> {
    let mut text = format!("HTTP/1.1 {status} X\r\n");
    for (name, value) in fields {
        text.push_str(&format!("{name}: {value}\r\n"));
    }
    if status == 304 {
        text.push_str("\r\n");
    } else {
        text.push_str(&format!("content-length: {}\r\n\r\n{body}", body.len()));
    }
    text.into_bytes()
}

/// A running edge.
pub struct Running {
    pub edge: Arc<Edge>,
    pub address: String,
    pub stop: CancellationToken,
    pub served: tokio::task::JoinHandle<std::io::Result<()>>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

pub fn upstream_config(upstreams: &[&Upstream]) -> EdgeConfig {
    let urls = upstreams.iter().map(|upstream| upstream.url.clone()).collect();
    EdgeConfig::new(Mode::Upstream { urls }, "test-edge")
}

/// Starts an edge in front of these upstreams.
pub async fn front(upstreams: &[&Upstream]) -> Running {
    run(upstream_config(upstreams)).await
}

pub async fn run(config: EdgeConfig) -> Running {
    run_with(config, None).await
}

pub async fn run_with(config: EdgeConfig, bucket: Option<Arc<dyn release::bucket::Bucket>>) -> Running {
    let stop = CancellationToken::new();
    let edge = Edge::start(config, bucket, stop.clone()).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let shutdown = stop.clone();
    let served = tokio::spawn(edge::serve(listener, Arc::clone(&edge), Box::pin(shutdown.cancelled_owned())));
    Running { edge, address, stop, served }
}

/// A response as a client sees it.
#[derive(Debug, Clone)]
pub struct Seen {
    pub status: u16,
    pub head: String,
    pub body: Vec<u8>,
    /// Whether the body ended as its framing said.
    pub complete: bool,
}

impl Seen {
    pub fn field(&self, name: &str) -> Option<String> {
        field(&self.head, name)
    }

    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    pub fn cache_status(&self) -> String {
        self.field("cache-status").unwrap_or_default()
    }
}

impl Running {
    pub async fn connect(&self) -> TcpStream {
        TcpStream::connect(&self.address).await.unwrap()
    }

    /// One GET on a connection of its own.
    pub async fn get(&self, path: &str) -> Seen {
        self.ask("GET", path, &[]).await
    }

    pub async fn ask(&self, method: &str, path: &str, fields: &[(&str, &str)]) -> Seen {
        let mut text = format!("{method} {path} HTTP/1.1\r\nhost: site.test\r\n");
        for (name, value) in fields {
            text.push_str(&format!("{name}: {value}\r\n"));
        }
        text.push_str("\r\n");
        self.raw(text.as_bytes(), method == "HEAD").await
    }

    /// Sends bytes on a connection of its own and reads one response.
    pub async fn raw(&self, bytes: &[u8], is_head: bool) -> Seen {
        let mut stream = self.connect().await;
        stream.write_all(bytes).await.unwrap();
        read_response(&mut stream, is_head).await
    }
}

/// The token of operators.
pub const TOKEN: &str = "a-token-of-the-tests";

impl Running {
    /// Begins to serve operators, and sends one request of theirs; the response has yet to be read.
    pub async fn operate(&self, method: &str, path: &str, content: &str) -> TcpStream {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let config = edge::AdminConfig {
            token: TOKEN.to_owned(),
            metrics: Arc::new(String::new),
            reload: Arc::new(|| Ok(String::new())),
        };
        tokio::spawn(edge::serve_admin(listener, Arc::clone(&self.edge), config, self.stop.clone()));
        let mut stream = TcpStream::connect(address).await.unwrap();
        let length = content.len();
        let request = format!(
            "{method} {path} HTTP/1.1\r\nhost: h\r\nauthorization: Bearer {TOKEN}\r\n\
             content-length: {length}\r\n\r\n{content}"
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        stream
    }

    /// Begins to read the live trace.
    pub async fn trace(&self) -> Trace {
        let mut stream = self.operate("POST", "/v1/log", "{}").await;
        let (head, buffer) = read_head(&mut stream).await;
        assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
        Trace { stream, buffer }
    }
}

/// The live trace.
pub struct Trace {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Trace {
    /// The next record.
    pub async fn next(&mut self) -> serde_json::Value {
        loop {
            while let Some(end) = find(&self.buffer, b"\n") {
                let line: Vec<u8> = self.buffer.drain(..=end).collect();
                // Between the records stand sizes of chunks.
                if line.starts_with(b"{") {
                    return serde_json::from_slice(&line).unwrap();
                }
            }
            let read = tokio::time::timeout(DEADLINE, self.stream.read_buf(&mut self.buffer));
            assert!(read.await.expect("no record in time").unwrap() > 0);
        }
    }
}

/// Reads one response.
pub async fn read_response(stream: &mut TcpStream, is_head: bool) -> Seen {
    tokio::time::timeout(DEADLINE, read(stream, is_head)).await.expect("no whole response in time")
}

/// Reads up to and with the head; returns it and what came after.
pub async fn read_head(stream: &mut TcpStream) -> (String, Vec<u8>) {
    let mut buffer = Vec::new();
    let head_end = loop {
        if let Some(at) = find(&buffer, b"\r\n\r\n") {
            break at + 4;
        }
        let mut chunk = vec![0; 4096];
        let n = tokio::time::timeout(DEADLINE, stream.read(&mut chunk)).await.unwrap().unwrap_or(0);
        assert!(n > 0, "the connection ended within a head: {:?}", String::from_utf8_lossy(&buffer));
        buffer.extend_from_slice(&chunk[..n]);
    };
    let rest = buffer.split_off(head_end);
    (String::from_utf8(buffer).unwrap(), rest)
}

async fn read(stream: &mut TcpStream, is_head: bool) -> Seen {
    let (head, mut rest) = read_head(stream).await;
    let status: u16 = head[9..12].parse().unwrap();
    let mut more = async |rest: &mut Vec<u8>| {
        let mut chunk = vec![0; 65536];
        match stream.read(&mut chunk).await {
            Ok(0) | Err(_) => false,
            Ok(n) => {
                rest.extend_from_slice(&chunk[..n]);
                true
            }
        }
    };
    if is_head || status == 304 || status == 204 {
        return Seen { status, head, body: Vec::new(), complete: true };
    }
    if let Some(length) = field(&head, "content-length") {
        let length: usize = length.parse().unwrap();
        while rest.len() < length {
            if !more(&mut rest).await {
                return Seen { status, head, body: rest, complete: false };
            }
        }
        rest.truncate(length);
        return Seen { status, head, body: rest, complete: true };
    }
    if field(&head, "transfer-encoding").is_some() {
        let mut body = Vec::new();
        loop {
            let line = loop {
                if let Some(at) = find(&rest, b"\r\n") {
                    break at;
                }
                if !more(&mut rest).await {
                    return Seen { status, head, body, complete: false };
                }
            };
            let size = usize::from_str_radix(std::str::from_utf8(&rest[..line]).unwrap(), 16).unwrap();
            rest.drain(..line + 2);
            while rest.len() < size + 2 {
                if !more(&mut rest).await {
                    return Seen { status, head, body, complete: false };
                }
            }
            if size == 0 {
                return Seen { status, head, body, complete: true };
            }
            body.extend_from_slice(&rest[..size]);
            rest.drain(..size + 2);
        }
    }
    while more(&mut rest).await {}
    Seen { status, head, body: rest, complete: true }
}

/// Waits until `condition` holds.
pub async fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let end = tokio::time::Instant::now() + DEADLINE;
    let tick = Notify::new();
    while !condition() {
        assert!(tokio::time::Instant::now() < end, "{what} did not happen in time");
        let _ = tokio::time::timeout(Duration::from_millis(2), tick.notified()).await;
    }
}
