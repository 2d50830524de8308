//! A proxy before a bucket that passes requests on, lets the bucket do the work, and may then lose the reply.

use std::io::{self, BufReader, Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use super::LOOK_EVERY;
use super::http::connect;

/// What becomes of an exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// The client gets the reply.
    Pass,
    /// The bucket does the work; the client sees its connection close.
    LoseReply,
    /// The bucket never hears of it; the client sees its connection close.
    LoseRequest,
    /// The bucket never hears of it; the client is told this status.
    Refuse(u16),
    /// The bucket does the work; the client gets the head of the reply and half of its content.
    HalfReply,
    /// Nothing happens until the proxy ends.
    Hold,
}

type Decide = dyn FnMut(&str, &str) -> Fate + Send;

struct Shared {
    upstream: String,
    decide: Mutex<Box<Decide>>,
    seen: Mutex<Vec<(String, Fate)>>,
    forgetful: AtomicBool,
    stop: AtomicBool,
}

/// A running proxy; ends when dropped.
pub struct Proxy {
    address: String,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl Proxy {
    /// Before `upstream` (`http://host:port`); `decide` is given method and target of each request.
    pub fn start(upstream: &str, decide: impl FnMut(&str, &str) -> Fate + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let shared = Arc::new(Shared {
            upstream: upstream.to_owned(),
            decide: Mutex::new(Box::new(decide)),
            seen: Mutex::default(),
            forgetful: AtomicBool::new(false),
            stop: AtomicBool::new(false),
        });
        let theirs = Arc::clone(&shared);
        let thread = std::thread::spawn(move || {
            for client in listener.incoming() {
                if theirs.stop.load(Ordering::SeqCst) {
                    return;
                }
                let shared = Arc::clone(&theirs);
                std::thread::spawn(move || {
                    // A connection that breaks is what this is for.
                    client.and_then(|client| serve(&client, &shared)).ok();
                });
            }
        });
        Self { address, shared, thread: Some(thread) }
    }

    /// Its address.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Changes what becomes of requests from now on.
    pub fn decide(&self, decide: impl FnMut(&str, &str) -> Fate + Send + 'static) {
        *self.shared.decide.lock().unwrap() = Box::new(decide);
    }

    /// From now on a refused condition (412) looks like a success, as at a store that ignores conditions.
    pub fn forget_conditions(&self) {
        self.shared.forgetful.store(true, Ordering::SeqCst);
    }

    /// What went through, as `METHOD target`, and what became of it.
    pub fn seen(&self) -> Vec<(String, Fate)> {
        self.shared.seen.lock().unwrap().clone()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        // Wakes the thread that accepts.
        connect(&self.address).ok();
        if let Some(thread) = self.thread.take() {
            thread.join().ok();
        }
    }
}

fn serve(client: &TcpStream, shared: &Shared) -> io::Result<()> {
    let mut reader = BufReader::new(client.try_clone()?);
    loop {
        let Some((head, body)) = message(&mut reader, None)? else { return Ok(()) };
        let text = String::from_utf8_lossy(&head).into_owned();
        let mut words = text.split(' ');
        let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let fate = (shared.decide.lock().unwrap())(method, target);
        shared.seen.lock().unwrap().push((format!("{method} {target}"), fate));
        if fate == Fate::LoseRequest {
            return client.shutdown(Shutdown::Both);
        }
        if fate == Fate::Hold {
            while !shared.stop.load(Ordering::SeqCst) {
                std::thread::sleep(LOOK_EVERY);
            }
            return client.shutdown(Shutdown::Both);
        }
        if let Fate::Refuse(status) = fate {
            let mut client = client;
            let said = format!("HTTP/1.1 {status} Refused\r\nContent-Length: 0\r\n\r\n");
            client.write_all(said.as_bytes())?;
            continue;
        }
        let mut upstream = connect(&shared.upstream)?;
        upstream.write_all(&head)?;
        upstream.write_all(&body)?;
        let mut replies = BufReader::new(upstream);
        let Some((head, body)) = message(&mut replies, Some(method))? else {
            return client.shutdown(Shutdown::Both);
        };
        if fate == Fate::LoseReply {
            return client.shutdown(Shutdown::Both);
        }
        let mut client = client;
        if shared.forgetful.load(Ordering::SeqCst) && head.starts_with(b"HTTP/1.1 412") {
            client.write_all(
                b"HTTP/1.1 200 OK\r\nETag: \"00000000000000000000000000000000\"\r\nContent-Length: 0\r\n\r\n",
            )?;
            continue;
        }
        client.write_all(&head)?;
        if fate == Fate::HalfReply {
            client.write_all(&body[..body.len() / 2])?;
            return client.shutdown(Shutdown::Both);
        }
        client.write_all(&body)?;
    }
}

/// Reads a message, raw: head and content. `request` is the method that a response answers.
fn message(reader: &mut impl io::BufRead, request: Option<&str>) -> io::Result<Option<(Vec<u8>, Vec<u8>)>> {
    let mut head = Vec::new();
    let (mut length, mut chunked) = (None, false);
    loop {
        let from = head.len();
        if reader.read_until(b'\n', &mut head)? == 0 {
            return Ok(None);
        }
        let line = String::from_utf8_lossy(&head[from..]).to_ascii_lowercase();
        let line = line.trim_end();
        if let Some(value) = line.strip_prefix("content-length:") {
            length = value.trim().parse::<u64>().ok();
        } else if line.strip_prefix("transfer-encoding:").is_some_and(|v| v.contains("chunked")) {
            chunked = true;
        } else if line == "expect: 100-continue" {
            return Err(io::Error::other("the proxy cannot say 100"));
        } else if line.is_empty() {
            break;
        }
    }
    let status = request.and_then(|_| head.get(9..12)).map(<[u8]>::to_vec);
    let empty = request == Some("HEAD") || matches!(status.as_deref(), Some(b"204" | b"304"));
    let mut body = Vec::new();
    if empty {
        return Ok(Some((head, body)));
    }
    if chunked {
        loop {
            let from = body.len();
            reader.read_until(b'\n', &mut body)?;
            let line = String::from_utf8_lossy(&body[from..]).into_owned();
            let size = line.trim().split(';').next().and_then(|s| u64::from_str_radix(s, 16).ok());
            let size = size.ok_or_else(|| io::Error::other("no size of a chunk"))?;
            if size == 0 {
                break;
            }
            if reader.by_ref().take(size + 2).read_to_end(&mut body)? as u64 != size + 2 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        // Trailer fields, up to the empty line.
        loop {
            let from = body.len();
            if reader.read_until(b'\n', &mut body)? == 0 || body[from..] == *b"\r\n" {
                break;
            }
        }
    } else if let Some(length) = length {
        if reader.by_ref().take(length).read_to_end(&mut body)? as u64 != length {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    } else if request.is_some() {
        reader.read_to_end(&mut body)?;
    }
    Ok(Some((head, body)))
}
