//! A small blocking HTTP/1.1 client: one request a connection, every byte under the test's control.

use std::fmt::Write as _;
use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// Longest silence of a server.
const SILENCE_MAX: Duration = Duration::from_secs(30);

/// A request to be sent.
#[derive(Clone, Debug)]
pub struct Request {
    method: String,
    target: String,
    fields: Vec<(String, String)>,
    body: Vec<u8>,
}

impl Request {
    /// With this method and target, as they stand on the wire.
    pub fn new(method: &str, target: &str) -> Self {
        Self { method: method.into(), target: target.into(), fields: Vec::new(), body: Vec::new() }
    }

    /// A GET.
    pub fn get(target: &str) -> Self {
        Self::new("GET", target)
    }

    /// Adds a field.
    pub fn field(mut self, name: &str, value: &str) -> Self {
        self.fields.push((name.into(), value.into()));
        self
    }

    /// Sets the content.
    pub fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self
    }

    /// Sends it to the server at `base` (`http://host:port`) and reads the reply to its end.
    pub fn send(&self, base: &str) -> io::Result<Reply> {
        let authority = base.strip_prefix("http://").unwrap_or(base).trim_end_matches('/');
        let mut head = format!("{} {} HTTP/1.1\r\n", self.method, self.target);
        let named = |name: &str| self.fields.iter().any(|(n, _)| n.eq_ignore_ascii_case(name));
        if !named("host") {
            write!(head, "Host: {authority}\r\n").map_err(io::Error::other)?;
        }
        if !self.body.is_empty() || matches!(self.method.as_str(), "POST" | "PUT") {
            write!(head, "Content-Length: {}\r\n", self.body.len()).map_err(io::Error::other)?;
        }
        for (name, value) in &self.fields {
            write!(head, "{name}: {value}\r\n").map_err(io::Error::other)?;
        }
        head.push_str("Connection: close\r\n\r\n");
        let mut bytes = head.into_bytes();
        bytes.extend_from_slice(&self.body);
        let reply = raw(base, &bytes)?;
        Reply::parse(&reply, self.method == "HEAD")
    }
}

/// Sends bytes as they are, and reads until the server closes.
pub fn raw(base: &str, bytes: &[u8]) -> io::Result<Vec<u8>> {
    let mut stream = connect(base)?;
    // A server may answer and close before it has read everything.
    let sent = stream.write_all(bytes);
    let mut reply = Vec::new();
    match stream.read_to_end(&mut reply) {
        Ok(_) => {}
        Err(_) if !reply.is_empty() => {}
        Err(e) => return Err(sent.err().unwrap_or(e)),
    }
    Ok(reply)
}

/// A connection to `http://host:port`, with deadlines.
pub fn connect(base: &str) -> io::Result<TcpStream> {
    let authority = base.strip_prefix("http://").unwrap_or(base).trim_end_matches('/');
    let address: SocketAddr = authority.parse().map_err(|e| io::Error::other(format!("{authority}: {e}")))?;
    let stream = TcpStream::connect_timeout(&address, SILENCE_MAX)?;
    stream.set_read_timeout(Some(SILENCE_MAX))?;
    stream.set_write_timeout(Some(SILENCE_MAX))?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// A response.
#[derive(Clone, Debug)]
pub struct Reply {
    /// Status code.
    pub status: u16,
    /// Fields in order, names in lower case.
    pub fields: Vec<(String, String)>,
    /// Content, without transfer coding.
    pub body: Vec<u8>,
}

impl Reply {
    fn parse(bytes: &[u8], head_only: bool) -> io::Result<Self> {
        let bad = |what: &str| io::Error::new(io::ErrorKind::InvalidData, what.to_owned());
        let end = bytes.windows(4).position(|w| w == b"\r\n\r\n").ok_or_else(|| {
            io::Error::new(
                io::ErrorKind::UnexpectedEof,
                format!("no end of the head: {:?}", String::from_utf8_lossy(bytes)),
            )
        })?;
        let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
        let mut lines = head.split("\r\n");
        let status = lines.next().and_then(|l| l.split(' ').nth(1)).and_then(|s| s.parse().ok());
        let status = status.ok_or_else(|| bad("no status"))?;
        let mut fields = Vec::new();
        for line in lines {
            let (name, value) = line.split_once(':').ok_or_else(|| bad("a field without a colon"))?;
            fields.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
        let reply = Self { status, fields, body: bytes[end + 4..].to_vec() };
        if head_only || matches!(status, 204 | 304) {
            if reply.body.is_empty() {
                return Ok(reply);
            }
            return Err(bad("content where there may be none"));
        }
        let body = if reply.field("transfer-encoding").is_some_and(|t| t.ends_with("chunked")) {
            unchunk(&reply.body).ok_or_else(|| bad("chunks are cut off"))?
        } else {
            match reply.field("content-length").map(str::parse::<usize>) {
                Some(Ok(length)) if length == reply.body.len() => reply.body.clone(),
                Some(_) => return Err(bad("content is not as long as it says")),
                None => reply.body.clone(),
            }
        };
        Ok(Self { body, ..reply })
    }

    /// The first field of this name, in lower case.
    pub fn field(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str())
    }

    /// The content as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// Whether the content holds this.
    pub fn has(&self, text: &str) -> bool {
        self.text().contains(text)
    }

    /// The content as JSON.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|e| panic!("no JSON: {e}: {self:?}"))
    }
}

fn unchunk(mut rest: &[u8]) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let line = rest.windows(2).position(|w| w == b"\r\n")?;
        let size = std::str::from_utf8(&rest[..line]).ok()?.split(';').next()?;
        let size = usize::from_str_radix(size.trim(), 16).ok()?;
        rest = &rest[line + 2..];
        if size == 0 {
            return Some(body);
        }
        body.extend_from_slice(rest.get(..size)?);
        rest = rest.get(size + 2..)?;
    }
}
