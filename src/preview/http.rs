//! The preview's HTTP service: the site as it was rendered last, and below [`OURS`] what the script in its pages needs.
//!
//! Every site that a browser visits can send requests to this machine. So a request's `Host` must be an address, a name
//! of this machine or one that was given, which no other site can have a browser say; and a POST must come from a page of
//! the preview itself.

use std::convert::Infallible;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream;
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Empty, Full, Limited, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use origin::http::range::{self, Asked};
use serde::Deserialize;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncSeekExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio_util::io::ReaderStream;

use super::board::{Board, Look};
use super::editor::Editor;
use super::insert::{self, About, OURS};
use super::output::What;

/// Bytes of the largest request head.
const HEAD_BYTES_MAX: usize = 64 << 10;
/// How long the head of a request may take, and how long a connection may be idle.
const HEAD_LIMIT: Duration = Duration::from_secs(30);
/// Connections at a time.
const CONNECTIONS_MAX: usize = 512;
/// Bytes of the largest request content: the name of a file and its line.
const CONTENT_BYTES_MAX: usize = 8 << 10;
/// How soon a page asks again for a preview that is away: it is started again in less than the seconds that browsers wait.
const AGAIN_MS: u32 = 500;
/// A word on a connection that has nothing to say, so that one that broke is noticed here, and by the script of the page:
/// it waits for two of them in vain.
const ALIVE_EVERY: Duration = Duration::from_secs(5);
/// The script.
const CLIENT: &str = include_str!("client.js");

type Body = UnsyncBoxBody<Bytes, io::Error>;

/// What the service answers from.
pub struct Preview {
    board: RwLock<Board>,
    /// The board's version, for those who wait for the next.
    version: watch::Sender<u64>,
    /// The site's folder.
    pub root: PathBuf,
    /// The author's editor, or why it cannot be started.
    pub editor: Result<Editor, String>,
    /// Names that a request's `Host` may have, beside addresses and those of this machine.
    pub hosts: Vec<String>,
}

impl Preview {
    /// Shows what the board shows.
    pub fn new(board: Board, root: PathBuf, editor: Result<Editor, String>, hosts: Vec<String>) -> Self {
        Self { board: RwLock::new(board), version: watch::Sender::new(0), root, editor, hosts }
    }

    /// The board, to read.
    pub fn board(&self) -> RwLockReadGuard<'_, Board> {
        self.board.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the board, and tells those who wait.
    pub fn update<T>(&self, change: impl FnOnce(&mut Board) -> T) -> T {
        let mut board = self.board.write().unwrap_or_else(PoisonError::into_inner);
        let result = change(&mut board);
        self.version.send_replace(board.version);
        result
    }

    /// Waits until a render has ended, well or not.
    async fn first_render(&self) {
        let mut version = self.version.subscribe();
        // The sender lives as long as this.
        while *version.borrow_and_update() == 0 && version.changed().await.is_ok() {}
    }
}

/// Serves for ever.
pub async fn serve(listener: TcpListener, preview: Arc<Preview>) {
    let permits = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    // The semaphore is never closed.
    while let Ok(permit) = Arc::clone(&permits).acquire_owned().await {
        match listener.accept().await {
            Ok((stream, peer)) => {
                let preview = Arc::clone(&preview);
                tokio::spawn(async move {
                    connection(stream, peer, preview).await;
                    drop(permit);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(Duration::from_millis(500)).await;
            }
        }
    }
}

async fn connection(stream: TcpStream, peer: SocketAddr, preview: Arc<Preview>) {
    let service = service_fn(move |request| {
        let preview = Arc::clone(&preview);
        async move { Ok::<_, Infallible>(answer(preview, request, peer).await) }
    });
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_LIMIT)
        .max_buf_size(HEAD_BYTES_MAX)
        .serve_connection(TokioIo::new(stream), service);
    if let Err(error) = connection.await {
        tracing::debug!(%error, "a connection ended early");
    }
}

async fn answer(preview: Arc<Preview>, request: Request<Incoming>, peer: SocketAddr) -> Response<Body> {
    let is_head = request.method() == Method::HEAD;
    let mut response = route(preview, request, peer).await;
    let fields = response.headers_mut();
    fields.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    // Other sites must not read drafts by including them as scripts or images.
    fields.insert("cross-origin-resource-policy", HeaderValue::from_static("same-origin"));
    if is_head {
        *response.body_mut() = Empty::new().map_err(|never| match never {}).boxed_unsync();
    }
    response
}

async fn route(preview: Arc<Preview>, request: Request<Incoming>, peer: SocketAddr) -> Response<Body> {
    let (head, content) = request.into_parts();
    let host = head.headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    if !is_ours(host, &preview.hosts) {
        return text(
            StatusCode::FORBIDDEN,
            format!(
                "`{host}` is not a name of this preview\n\
                 hint: use localhost or an address, or give the name with --base-url\n"
            ),
        );
    }
    let is_get = matches!(head.method, Method::GET | Method::HEAD);
    match head.uri.path().strip_prefix(OURS) {
        Some("open") if head.method == Method::POST => open(&preview, &head, content, peer).await,
        Some("open") => not_allowed("POST"),
        _ if !is_get => not_allowed("GET, HEAD"),
        Some("client.js") => {
            let kind = HeaderValue::from_static("text/javascript; charset=utf-8");
            respond(StatusCode::OK, [(header::CONTENT_TYPE, kind)], CLIENT)
        }
        Some(ours) => match ours.strip_prefix("events/") {
            Some(asked) => events(preview, &head.headers, asked),
            None => text(StatusCode::NOT_FOUND, "there is nothing here\n"),
        },
        None => {
            preview.first_render().await;
            let plan = plan(&preview, &head);
            carry_out(plan, &head.headers).await
        }
    }
}

/// Whether a `Host` cannot be another site's name for this machine.
fn is_ours(host: &str, given: &[String]) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) && !name.ends_with(':') => name,
        _ => host,
    };
    let bare = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(name);
    let name = name.trim_end_matches('.').to_ascii_lowercase();
    bare.parse::<IpAddr>().is_ok()
        || name == "localhost"
        || name.ends_with(".localhost")
        || given.iter().any(|given| given.eq_ignore_ascii_case(&name))
}

/// Whether a request was sent by a page of the preview itself.
fn is_own(headers: &HeaderMap) -> bool {
    let field = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let Some(host) = field("host") else { return false };
    let origin = field("origin").and_then(|origin| origin.split_once("://"));
    origin.is_some_and(|(scheme, authority)| matches!(scheme, "http" | "https") && authority == host)
        && field("sec-fetch-site").is_none_or(|site| site == "same-origin")
}

/// What a request is answered with.
enum Plan {
    Bytes { status: StatusCode, fields: Vec<(String, String)>, bytes: Bytes },
    File { path: PathBuf, fields: Vec<(String, String)> },
    Redirect(String),
    Failed(String),
}

/// Looks at the board; what takes time comes later, since renders wait for this.
fn plan(preview: &Preview, head: &Parts) -> Plan {
    let board = preview.board();
    let query = head.uri.query().map(|query| format!("?{query}")).unwrap_or_default();
    let address = head.uri.path();
    let path = board.site_path(address);
    // Requests of scripts get what the site has, for parts of pages are no pages.
    let is_page = head.headers.get("sec-fetch-dest").is_none_or(|to| to != "empty");
    let seen = board.seen(path.as_deref());
    let html = vec![("content-type".to_owned(), "text/html; charset=utf-8".to_owned())];
    let about = About { seen: &seen, file: None, line: None, template: None, mark: None, failed: false };
    let with_script = |html: &[u8], about: &About<'_>| match insert::script(html, about) {
        Ok(page) => Ok(Bytes::from(page)),
        Err(error) => Err(Plan::Failed(format!("the page cannot be shown: {error}"))),
    };
    let wrong = board.wrong_with(path.as_deref());
    let is_missing = || matches!(board.look(path.as_deref()), Look::Missing(_));
    if !board.is_rendered || (!wrong.is_empty() && is_missing()) {
        let texts: Vec<&str> = wrong.iter().map(|problem| problem.text.as_str()).collect();
        let page = insert::failed_page(&texts.join("\n\n"));
        return match with_script(page.as_bytes(), &About { failed: true, ..about }) {
            Ok(bytes) => Plan::Bytes { status: StatusCode::SERVICE_UNAVAILABLE, fields: html, bytes },
            Err(failed) => failed,
        };
    }
    // Where the base is `/docs`, the site is below that alone.
    if path.is_none() && (address == "/" || address == board.base) {
        return Plan::Redirect(format!("{}{query}", board.address("/")));
    }
    let (name, output, status) = match board.look(path.as_deref()) {
        Look::Slash(to) => return Plan::Redirect(format!("{}{query}", board.address(&to))),
        Look::Found(name, output) => (Some(name), output, output.status),
        Look::Missing(Some(output)) => (None, output, 404),
        Look::Missing(None) => {
            let page = "<!doctype html>\n<title>Not found</title>\n<body><h1>Not found</h1></body>\n";
            return match with_script(page.as_bytes(), &about) {
                Ok(bytes) => Plan::Bytes { status: StatusCode::NOT_FOUND, fields: html, bytes },
                Err(failed) => failed,
            };
        }
    };
    if let (301..=308, Some(to)) = (status, output.field("location")) {
        return Plan::Redirect(to.to_owned());
    }
    let fields = output.fields.clone();
    let body = match &output.content {
        What::Copy(source, _) => return Plan::File { path: preview.root.join(&**source), fields },
        What::Made(body) => body,
    };
    let bytes = match body.read() {
        Ok(bytes) => bytes,
        Err(error) => return Plan::Failed(format!("the page cannot be read back: {error}")),
    };
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::OK);
    if !output.is_html() || !is_page {
        return Plan::Bytes { status, fields, bytes };
    }
    let (place, mark) = name.and_then(|name| board.place(name)).unzip();
    let (file, line) = place.map(|place| (place.file.as_str(), place.line)).unzip();
    let (template, mark) = (board.template(output), mark.flatten());
    match with_script(&bytes, &About { file, line, mark, template: template.as_deref(), ..about }) {
        Ok(bytes) => Plan::Bytes { status, fields, bytes },
        Err(failed) => failed,
    }
}

async fn carry_out(plan: Plan, asked: &HeaderMap) -> Response<Body> {
    let wish = asked.get(header::RANGE).and_then(|range| range.to_str().ok());
    match plan {
        Plan::Redirect(mut to) => {
            if to.starts_with("//") {
                // `//host/` would be another host.
                to.insert(1, '.');
            }
            match HeaderValue::from_str(&to) {
                Ok(to) => respond(StatusCode::TEMPORARY_REDIRECT, [(header::LOCATION, to)], ""),
                Err(_) => text(StatusCode::BAD_GATEWAY, "the redirect's target is no address\n"),
            }
        }
        Plan::Failed(why) => text(StatusCode::INTERNAL_SERVER_ERROR, format!("{why}\n")),
        Plan::Bytes { status, fields, bytes } => {
            let length = bytes.len() as u64;
            let wish = wish.filter(|_| status == StatusCode::OK);
            match range::read(wish, length) {
                Asked::Whole => with_fields(respond(status, [], bytes), &fields),
                Asked::Unsatisfiable => unsatisfiable(length),
                Asked::Part(part) => {
                    // Both ends are within the bytes.
                    let bytes = bytes.slice(part.start as usize..part.end as usize);
                    let range = content_range(part.start, part.end, length);
                    with_fields(respond(StatusCode::PARTIAL_CONTENT, [range], bytes), &fields)
                }
            }
        }
        Plan::File { path, fields } => match file(&path, wish).await {
            Ok(response) => with_fields(response, &fields),
            Err(error) => text(StatusCode::INTERNAL_SERVER_ERROR, format!("`{}`: {error}\n", path.display())),
        },
    }
}

/// A file of the site, or a part of it.
async fn file(path: &std::path::Path, wish: Option<&str>) -> io::Result<Response<Body>> {
    let mut file = tokio::fs::File::open(path).await?;
    let length = file.metadata().await?.len();
    let (status, part) = match range::read(wish, length) {
        Asked::Whole => (StatusCode::OK, 0..length),
        Asked::Part(part) => (StatusCode::PARTIAL_CONTENT, part),
        Asked::Unsatisfiable => return Ok(unsatisfiable(length)),
    };
    file.seek(io::SeekFrom::Start(part.start)).await?;
    let chunks = ReaderStream::with_capacity(file.take(part.end - part.start), 64 << 10);
    let frames = futures_util::StreamExt::map(chunks, |chunk| chunk.map(Frame::data));
    let mut response = Response::new(BodyExt::boxed_unsync(StreamBody::new(frames)));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_LENGTH, HeaderValue::from(part.end - part.start));
    if status == StatusCode::PARTIAL_CONTENT {
        let (name, value) = content_range(part.start, part.end, length);
        response.headers_mut().insert(name, value);
    }
    Ok(response)
}

fn content_range(start: u64, end: u64, length: u64) -> (HeaderName, HeaderValue) {
    let value = format!("bytes {start}-{}/{length}", end.saturating_sub(1));
    (header::CONTENT_RANGE, HeaderValue::from_str(&value).unwrap_or(HeaderValue::from_static("bytes */*")))
}

fn unsatisfiable(length: u64) -> Response<Body> {
    let value = HeaderValue::from_str(&format!("bytes */{length}"));
    let value = value.unwrap_or(HeaderValue::from_static("bytes */*"));
    respond(StatusCode::RANGE_NOT_SATISFIABLE, [(header::CONTENT_RANGE, value)], "")
}

/// Adds the fields of an output.
fn with_fields(mut response: Response<Body>, fields: &[(String, String)]) -> Response<Body> {
    let headers = response.headers_mut();
    for (name, value) in fields {
        match (HeaderName::try_from(name.as_str()), HeaderValue::try_from(value.as_str())) {
            (Ok(name), Ok(value)) => {
                headers.append(name, value);
            }
            _ => tracing::warn!(name, value, "a response field cannot be sent"),
        }
    }
    headers.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    response
}

/// A stream of what is new to a page: once at once, and after each render. `asked` is what the page shows, and its path.
fn events(preview: Arc<Preview>, headers: &HeaderMap, asked: &str) -> Response<Body> {
    let (seen, path) = asked.split_once('/').unwrap_or((asked, ""));
    // After a connection that broke the browser says what it heard last.
    let last = headers.get("last-event-id").and_then(|id| id.to_str().ok());
    let path = preview.board().site_path(&format!("/{path}"));
    let following = Following {
        path,
        seen: last.unwrap_or(seen).to_owned(),
        version: preview.version.subscribe(),
        is_first: true,
        preview,
    };
    let news = stream::unfold(following, |mut following| async move {
        let next = following.next().await?;
        Some((Ok(Frame::data(Bytes::from(next))), following))
    });
    let mut response = Response::new(BodyExt::boxed_unsync(StreamBody::new(news)));
    let kind = HeaderValue::from_static("text/event-stream");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}

/// One page that is told what is new.
struct Following {
    preview: Arc<Preview>,
    path: Option<String>,
    seen: String,
    version: watch::Receiver<u64>,
    is_first: bool,
}

impl Following {
    /// The next event; none where there will be no more.
    async fn next(&mut self) -> Option<String> {
        if std::mem::take(&mut self.is_first) {
            self.preview.first_render().await;
        } else {
            match tokio::time::timeout(ALIVE_EVERY, self.version.changed()).await {
                Ok(changed) => changed.ok()?,
                Err(_) => return Some("event: alive\ndata: 1\n\n".to_owned()),
            }
        }
        self.version.borrow_and_update();
        let board = self.preview.board();
        let path = self.path.as_deref();
        let news = serde_json::to_string(&board.news(path, &self.seen)).ok()?;
        self.seen = board.seen(path);
        Some(format!("retry: {AGAIN_MS}\nid: {}\ndata: {news}\n\n", self.seen))
    }
}

/// What the script asks when a block is clicked.
#[derive(Debug, Deserialize)]
struct Wish {
    file: String,
    line: u32,
    column: Option<u32>,
}

/// Opens a file of the site in the author's editor.
async fn open(preview: &Preview, head: &Parts, content: Incoming, peer: SocketAddr) -> Response<Body> {
    if !is_own(&head.headers) {
        return text(StatusCode::FORBIDDEN, "only a page of this preview may ask that\n");
    }
    let Ok(content) = Limited::new(content, CONTENT_BYTES_MAX).collect().await else {
        return text(StatusCode::PAYLOAD_TOO_LARGE, "this is too long\n");
    };
    let wish: Wish = match serde_json::from_slice(&content.to_bytes()) {
        Ok(wish) => wish,
        Err(error) => return text(StatusCode::BAD_REQUEST, format!("{error}\n")),
    };
    preview.first_render().await;
    let exists = preview.board().sources.get(&wish.file).is_some();
    let (line, column) = (wish.line.max(1), wish.column.unwrap_or(1).max(1));
    let opened = match &preview.editor {
        _ if !exists => Err("the site has no such file".to_owned()),
        _ if !peer.ip().to_canonical().is_loopback() => {
            Err("an editor is opened only for a browser on the same machine".to_owned())
        }
        Ok(editor) => editor.open(&preview.root.join(&wish.file), line, column),
        Err(why) => Err(why.clone()),
    };
    let place = format!("{}:{line}", wish.file);
    let reply = json!({"opened": opened.is_ok(), "exists": exists, "place": place, "why": opened.err()});
    let status = if exists { StatusCode::OK } else { StatusCode::NOT_FOUND };
    let kind = HeaderValue::from_static("application/json");
    respond(status, [(header::CONTENT_TYPE, kind)], reply.to_string())
}

fn respond<const N: usize>(
    status: StatusCode,
    fields: [(HeaderName, HeaderValue); N],
    content: impl Into<Bytes>,
) -> Response<Body> {
    let content = content.into();
    let length = content.len();
    let mut response = Response::new(Full::new(content).map_err(|never| match never {}).boxed_unsync());
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    response.headers_mut().extend(fields);
    response
}

fn text(status: StatusCode, text: impl Into<Bytes>) -> Response<Body> {
    let kind = HeaderValue::from_static("text/plain; charset=utf-8");
    respond(status, [(header::CONTENT_TYPE, kind)], text)
}

fn not_allowed(methods: &'static str) -> Response<Body> {
    let mut response = text(StatusCode::METHOD_NOT_ALLOWED, format!("only {methods} are answered here\n"));
    response.headers_mut().insert(header::ALLOW, HeaderValue::from_static(methods));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_that_another_site_could_own_are_refused() {
        let given = ["preview.example".to_owned()];
        for good in [
            "localhost",
            "localhost:8083",
            "LOCALHOST.:1",
            "docs.localhost:8083",
            "127.0.0.1:8083",
            "192.168.1.5",
            "[::1]:8083",
            "[::1]",
            "preview.example:443",
        ] {
            assert!(is_ours(good, &given), "{good}");
        }
        for bad in [
            "",
            "evil.example",
            "evil.example:8083",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            ":1",
        ] {
            assert!(!is_ours(bad, &given), "{bad}");
        }
    }

    #[test]
    fn only_pages_of_the_preview_may_post() {
        let is_own = |fields: &[(&'static str, &'static str)]| {
            is_own(
                &fields
                    .iter()
                    .map(|(n, v)| (HeaderName::from_static(n), HeaderValue::from_static(v)))
                    .collect(),
            )
        };
        let host = ("host", "localhost:8083");
        let own = ("origin", "http://localhost:8083");
        assert!(is_own(&[host, own]));
        assert!(is_own(&[host, own, ("sec-fetch-site", "same-origin")]));
        assert!(!is_own(&[host]));
        assert!(!is_own(&[host, own, ("sec-fetch-site", "same-site")]));
        for other in ["null", "http://localhost:8084", "http://evil.example", "file://localhost:8083"] {
            assert!(!is_own(&[host, ("origin", other)]), "{other}");
        }
    }
}
