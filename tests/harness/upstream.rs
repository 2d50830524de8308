//! An upstream whose every byte a test says: over TCP, TLS or a Unix socket.

use std::io::{self, Read, Write};
use std::net::TcpListener;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

/// Longest that a part of an answer waits to be let go.
const HELD_MAX: Duration = Duration::from_secs(300);

/// What an upstream does about a request.
pub enum Answer {
    /// Sends these bytes and waits for another request.
    Send(Vec<u8>),
    /// Sends the first, waits for [`Upstream::release`], sends the second.
    Held(Vec<u8>, Vec<u8>),
}

/// A request as it arrived.
#[derive(Clone, Debug)]
pub struct Asked {
    /// Its head and content.
    pub text: String,
}

impl Asked {
    /// Path and query.
    pub fn target(&self) -> &str {
        self.text.split(' ').nth(1).unwrap_or_default()
    }

    /// A field's value.
    pub fn field(&self, name: &str) -> Option<&str> {
        let lines = self.text.lines().skip(1).take_while(|line| !line.is_empty());
        lines
            .filter_map(|line| line.split_once(':'))
            .find_map(|(n, value)| n.eq_ignore_ascii_case(name).then_some(value.trim()))
    }
}

type Handler = dyn Fn(&Asked) -> Answer + Send + Sync;

struct Shared {
    handler: Box<Handler>,
    asked: Mutex<Vec<Asked>>,
    connections: AtomicUsize,
    released: (Mutex<bool>, Condvar),
    stop: AtomicBool,
}

/// A running upstream.
pub struct Upstream {
    /// As `--upstream` takes it.
    pub url: String,
    shared: Arc<Shared>,
    named: Arc<Mutex<Vec<Option<String>>>>,
}

/// One certificate for whatever name, which is noted.
#[derive(Debug)]
struct NotesName {
    key: Arc<CertifiedKey>,
    named: Arc<Mutex<Vec<Option<String>>>>,
}

impl ResolvesServerCert for NotesName {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.named.lock().unwrap().push(hello.server_name().map(str::to_owned));
        Some(Arc::clone(&self.key))
    }
}

trait Stream: Read + Write {}
impl<T: Read + Write> Stream for T {}

impl Upstream {
    /// Over TCP.
    pub fn start(handler: impl Fn(&Asked) -> Answer + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        Self::serve(url, handler, move || Ok(Box::new(listener.accept()?.0)))
    }

    /// Over TLS, with a certificate for `localhost` by the authority in `tests/fixtures/tls/ca.pem`.
    pub fn start_tls(handler: impl Fn(&Asked) -> Answer + Send + Sync + 'static) -> Self {
        Self::start_tls_with(["cert.pem", "key.pem"], handler)
    }

    /// Over TLS, with this certificate and key of `tests/fixtures/tls`.
    pub fn start_tls_with(
        files: [&str; 2],
        handler: impl Fn(&Asked) -> Answer + Send + Sync + 'static,
    ) -> Self {
        let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/tls");
        let [certificate, key] = files.map(|file| fixtures.join(file));
        let certificate = CertificateDer::from_pem_file(certificate).unwrap();
        let key = PrivateKeyDer::from_pem_file(key).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let key = provider.key_provider.load_private_key(key).unwrap();
        let key = Arc::new(CertifiedKey::new(vec![certificate], key));
        let named = Arc::default();
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(NotesName { key, named: Arc::clone(&named) }));
        let config = Arc::new(config);
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("https://localhost:{}", listener.local_addr().unwrap().port());
        let serving = Self::serve(url, handler, move || {
            let (stream, _) = listener.accept()?;
            let connection = rustls::ServerConnection::new(Arc::clone(&config)).map_err(io::Error::other)?;
            Ok(Box::new(rustls::StreamOwned::new(connection, stream)))
        });
        Self { named, ..serving }
    }

    /// Over a Unix socket at this path.
    pub fn start_unix(path: &Path, handler: impl Fn(&Asked) -> Answer + Send + Sync + 'static) -> Self {
        let listener = UnixListener::bind(path).unwrap();
        Self::serve(format!("unix:{}", path.display()), handler, move || Ok(Box::new(listener.accept()?.0)))
    }

    fn serve(
        url: String,
        handler: impl Fn(&Asked) -> Answer + Send + Sync + 'static,
        accept: impl Fn() -> io::Result<Box<dyn Stream + Send>> + Send + 'static,
    ) -> Self {
        let shared = Arc::new(Shared {
            handler: Box::new(handler),
            asked: Mutex::default(),
            connections: AtomicUsize::new(0),
            released: (Mutex::new(false), Condvar::new()),
            stop: AtomicBool::new(false),
        });
        let theirs = Arc::clone(&shared);
        // It ends with the test's process: each test has its own.
        std::thread::spawn(move || {
            while let Ok(stream) = accept() {
                let shared = Arc::clone(&theirs);
                shared.connections.fetch_add(1, Ordering::SeqCst);
                // A connection that breaks is part of many tests.
                std::thread::spawn(move || talk(stream, &shared).ok());
            }
        });
        Self { url, shared, named: Arc::default() }
    }

    /// All requests so far.
    pub fn asked(&self) -> Vec<Asked> {
        self.shared.asked.lock().unwrap().clone()
    }

    /// The name that each TLS handshake asked for (SNI).
    pub fn named(&self) -> Vec<Option<String>> {
        self.named.lock().unwrap().clone()
    }

    /// How many connections were made to it.
    pub fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::SeqCst)
    }

    /// From now on connections are closed at once, as if it had fallen over; or it is back.
    pub fn fall_over(&self, down: bool) {
        self.shared.stop.store(down, Ordering::SeqCst);
    }

    /// Lets all held answers go on.
    pub fn release(&self) {
        *self.shared.released.0.lock().unwrap() = true;
        self.shared.released.1.notify_all();
    }
}

fn talk(mut stream: Box<dyn Stream + Send>, shared: &Shared) -> io::Result<()> {
    let mut buffer = Vec::new();
    let mut chunk = vec![0; 16 << 10];
    loop {
        let head_end = loop {
            if let Some(at) = buffer.windows(4).position(|window| window == b"\r\n\r\n") {
                break at + 4;
            }
            match stream.read(&mut chunk)? {
                0 => return Ok(()),
                read => buffer.extend_from_slice(&chunk[..read]),
            }
        };
        if shared.stop.load(Ordering::SeqCst) {
            return Ok(());
        }
        let mut asked = Asked { text: String::from_utf8_lossy(&buffer[..head_end]).into_owned() };
        let length = asked.field("content-length").and_then(|n| n.parse::<usize>().ok()).unwrap_or(0);
        while buffer.len() < head_end + length {
            match stream.read(&mut chunk)? {
                0 => return Ok(()),
                read => buffer.extend_from_slice(&chunk[..read]),
            }
        }
        asked.text = String::from_utf8_lossy(&buffer[..head_end + length]).into_owned();
        buffer.drain(..head_end + length);
        shared.asked.lock().unwrap().push(asked.clone());
        match (shared.handler)(&asked) {
            Answer::Send(bytes) => stream.write_all(&bytes)?,
            Answer::Held(first, second) => {
                stream.write_all(&first)?;
                stream.flush()?;
                let (lock, wake) = &shared.released;
                let released = lock.lock().unwrap();
                let (released, _) =
                    wake.wait_timeout_while(released, HELD_MAX, |released| !*released).unwrap();
                drop(released);
                stream.write_all(&second)?;
            }
        }
        stream.flush()?;
    }
}

/// A response with `Content-Length`.
pub fn response(status: u16, fields: &[(&str, &str)], body: &str) -> Vec<u8> {
    let mut text = format!("HTTP/1.1 {status} Any\r\n");
    for (name, value) in fields {
        text.push_str(&format!("{name}: {value}\r\n"));
    }
    text.push_str(&format!("content-length: {}\r\n\r\n{body}", body.len()));
    text.into_bytes()
}
