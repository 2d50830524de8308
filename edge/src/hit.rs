//! The short way: a plain request for what is stored and fresh, answered where it was parsed. It allocates nothing,
//! takes no lock, and writes nothing that another thread writes but the mark of a copy's first visits. There are two exceptions,
//! neither of which threads that serve meet at: with an access log, a thread locks its own lines, which their writer takes five
//! times a second; and what is left of a response that a client does not take at once is counted as in use.
//!
//! It is a part of the long way (`lookup`), not another opinion: the same parser, the same key, the same policy. A request
//! field that could make any other answer right sends the request the long way, and so does a copy about which
//! one look does not tell all.

use std::{
    io::{self, IoSlice},
    net::IpAddr,
    ops::Range,
    sync::Arc,
    time::Instant,
};

use bytes::{Bytes, BytesMut};
use http::{HeaderName, HeaderValue, StatusCode, Version, header};

use crate::{
    access_log::Line,
    clock,
    config::Settings,
    edge::Edge,
    http1::Head,
    journal::Gate,
    key::KeyRef,
    metrics::{Result as Counted, count},
    observe::{Kept, Observation, is_request_id, request_id},
    policy::{
        date,
        directives::RequestDirectives,
        forwarded,
        freshness::Millis,
        query::QueryKey,
        range,
        reuse::{ClientValidation, Reuse, reuse},
        same_origin::Scheme,
        status::ttl_seconds,
        validate::{CONTENT_DIGEST, CONTENT_MD5, Tag},
        vary::{Class, Codings},
    },
    respond::CACHE_NAME,
    stored::{Read, Stored},
    trace,
};

/// A longer host goes the long way; names of hosts have at most 253 bytes.
const HOST_BYTES_MAX: usize = 262;
/// The schemes of what comes in, or of what a trusted proxy says that it took, as they stand in keys.
const HTTP: &[u8] = b"http://";
const HTTPS: &[u8] = b"https://";
/// What goes out with the head of a body that has a file; the kernel sends the rest of its pages without a copy.
const BEGINNING_BYTES: usize = 16 << 10;
/// The part of a head that is made for each response.
const TAIL_BYTES_MAX: usize = 320;

/// What a plain request says, from one look at each of its fields.
#[derive(Debug, Default)]
struct Plain<'a> {
    host: &'a [u8],
    accept_encoding: Option<&'a [u8]>,
    if_none_match: Option<&'a [u8]>,
    if_modified_since: Option<&'a [u8]>,
    range: Option<&'a [u8]>,
    if_range: Option<&'a [u8]>,
    referer: Option<&'a [u8]>,
    user_agent: Option<&'a [u8]>,
    forwarded_for: Option<&'a [u8]>,
    forwarded_host: Option<&'a [u8]>,
    forwarded_proto: Option<&'a [u8]>,
    request_id: Option<&'a [u8]>,
    closes: bool,
    reloads: bool,
}

impl<'a> Plain<'a> {
    /// `None`: a field that the long way has to judge. `is_trusted`: what it says of other hops is believed.
    fn of(head: &Head<'_, 'a>, is_trusted: bool) -> Option<Self> {
        let mut plain = Self::default();
        let (mut hosts, mut repeats) = (0, false);
        for field in head.fields {
            let is = |name: &str| field.name.eq_ignore_ascii_case(name);
            let value = field.value;
            match field.name.len() {
                3 if is("via") => return None,
                4 if is("host") => {
                    hosts += 1;
                    plain.host = value;
                }
                5 if is("range") => repeats |= plain.range.replace(value).is_some(),
                6 if is("expect") => return None,
                6 if is("pragma") => plain.reloads = true,
                7 if is("upgrade") => return None,
                7 if is("referer") => plain.referer = Some(value),
                8 if is("if-match") || is("cdn-loop") => return None,
                8 if is("if-range") => repeats |= plain.if_range.replace(value).is_some(),
                9 if is_trusted && is("forwarded") => return None,
                10 if is("connection") => {
                    if value.eq_ignore_ascii_case(b"close") {
                        plain.closes = true;
                    } else if !value.eq_ignore_ascii_case(b"keep-alive") {
                        return None;
                    }
                }
                10 if is("user-agent") => plain.user_agent = Some(value),
                12 if is_trusted && is("x-request-id") => {
                    repeats |= plain.request_id.replace(value).is_some();
                }
                13 if is("if-none-match") => repeats |= plain.if_none_match.replace(value).is_some(),
                13 if is("cache-control") => {
                    // What a reload sends.
                    if value != b"max-age=0" && value != b"no-cache" {
                        return None;
                    }
                    plain.reloads = true;
                }
                14 if is("content-length") => return None,
                15 if is("accept-encoding") => repeats |= plain.accept_encoding.replace(value).is_some(),
                15 if is_trusted && is("x-forwarded-for") => {
                    repeats |= plain.forwarded_for.replace(value).is_some();
                }
                16 if is_trusted && is("x-forwarded-host") => {
                    repeats |= plain.forwarded_host.replace(value).is_some();
                }
                17 if is_trusted && is("x-forwarded-proto") => {
                    repeats |= plain.forwarded_proto.replace(value).is_some();
                }
                17 if is("transfer-encoding") => return None,
                17 if is("if-modified-since") => repeats |= plain.if_modified_since.replace(value).is_some(),
                19 if is("if-unmodified-since") => return None,
                _ => {}
            }
        }
        (hosts == 1 && !repeats).then_some(plain)
    }
}

/// Bytes on the stack. What does not fit makes it incomplete.
#[derive(Debug)]
struct Tail {
    bytes: [u8; TAIL_BYTES_MAX],
    length: usize,
    is_complete: bool,
}

impl Tail {
    fn new() -> Self {
        Self { bytes: [0; TAIL_BYTES_MAX], length: 0, is_complete: true }
    }

    fn put(&mut self, bytes: &[u8]) {
        match self.bytes.get_mut(self.length..self.length + bytes.len()) {
            Some(room) => {
                room.copy_from_slice(bytes);
                self.length += bytes.len();
            }
            None => self.is_complete = false,
        }
    }

    fn number(&mut self, number: impl itoa::Integer) {
        self.put(itoa::Buffer::new().format(number).as_bytes());
    }

    fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.length]
    }
}

/// A response as it goes out, borrowed: nothing of it was copied but what is made for each response.
#[derive(Debug)]
pub(crate) struct Hit<'a> {
    parts: [&'a [u8]; 6],
    stored: &'a Arc<Stored>,
    /// Which bytes of its body go out.
    span: Range<usize>,
}

/// What of a response the client has not yet taken.
#[derive(Debug)]
pub(crate) struct Rest {
    pub(crate) head: BytesMut,
    pub(crate) body: Bytes,
    /// In the place of `body`, where that has a file.
    pub(crate) file: Option<(Read, Range<usize>)>,
}

impl Rest {
    /// Bytes of content in it.
    fn content_bytes(&self) -> usize {
        self.file.as_ref().map_or(self.body.len(), |(_, span)| span.len())
    }
}

/// What was sent of a hit.
#[derive(Debug)]
pub(crate) struct Sent {
    /// What the client has not taken yet, and what is kept of the response until it has; `None`: it has taken all.
    pub(crate) rest: Option<(Rest, Observation)>,
    /// Whether the client asks for the end of the connection.
    pub(crate) closes: bool,
}

impl<'a> Hit<'a> {
    /// The whole, for one call; of a body with a file only the beginning, since the rest need not be copied.
    pub(crate) fn slices(&self) -> [IoSlice<'a>; 7] {
        let [status, own, common, tail, via, end] = self.parts;
        let body = self.stored.body().get(self.span.clone()).unwrap_or_default();
        let body = match self.stored.file() {
            Some(_) => &body[..body.len().min(BEGINNING_BYTES)],
            None => body,
        };
        [status, own, common, tail, via, end, body].map(IoSlice::new)
    }

    /// What is left after `written` bytes; `None`: nothing.
    fn rest(&self, written: usize) -> Option<Rest> {
        let mut head = BytesMut::new();
        let mut skip = written;
        for part in self.parts {
            let skipped = skip.min(part.len());
            head.extend_from_slice(&part[skipped..]);
            skip -= skipped;
        }
        let Range { start, end } = self.span;
        let offset = start + skip.min(end - start);
        if head.is_empty() && offset == end {
            return None;
        }
        // Who waits for a slow client keeps what it sends: the one count of a hit that threads share.
        let (body, file) = match self.stored.file() {
            _ if offset == end => (Bytes::new(), None),
            Some(_) => (Bytes::new(), Some((self.stored.read(), offset..end))),
            None => (self.stored.content().slice(offset..end), None),
        };
        Some(Rest { head, body, file })
    }
}

impl Edge {
    /// Answers a plain request with what is stored. `send` is called at most once, and returns how many bytes it wrote. `None`:
    /// the request has to go the long way.
    pub(crate) fn hit(
        self: &Arc<Self>,
        settings: &Settings,
        head: &Head<'_, '_>,
        peer: IpAddr,
        is_last: bool,
        now: Millis,
        send: impl FnOnce(&Hit<'_>) -> io::Result<usize>,
    ) -> Option<io::Result<Sent>> {
        let is_head = head.method == "HEAD";
        if !(is_head || head.method == "GET")
            || head.version != Version::HTTP_11
            || !head.target.starts_with('/')
            || trace::is_on()
        {
            return None;
        }
        let is_trusted = !settings.trusted.is_empty() && settings.trusts(peer);
        let mut plain = Plain::of(head, is_trusted)?;
        if plain.reloads && settings.rules.clients != ClientValidation::Ignored {
            return None;
        }
        let client = match plain.forwarded_for {
            Some(line) => forwarded::client_of_line(line, |hop| settings.trusts(hop))?,
            None => peer,
        };
        plain.host = plain.forwarded_host.unwrap_or(plain.host);
        let (scheme, port) = match plain.forwarded_proto.map_or(Some(Scheme::Http), Scheme::named)? {
            Scheme::Http => (HTTP, ":80"),
            Scheme::Https => (HTTPS, ":443"),
        };
        let mut scope = [0; HTTPS.len() + HOST_BYTES_MAX];
        scope[..scheme.len()].copy_from_slice(scheme);
        let host = scope.get_mut(scheme.len()..scheme.len() + plain.host.len())?;
        host.copy_from_slice(plain.host);
        host.make_ascii_lowercase();
        // What is written otherwise is for the long way to judge.
        let is_plain =
            |b: &u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'.' | b'-' | b'_' | b':');
        let colons = host.iter().filter(|byte| **byte == b':').count();
        if host.is_empty() || colons > 1 || !host.iter().all(is_plain) {
            return None;
        }
        let scope = std::str::from_utf8(&scope[..scheme.len() + plain.host.len()]).ok()?;
        let clients = settings.rules.clients;
        let answer = Answering { edge: self, clients, head, plain: &plain, client, is_head, is_last, now };
        match &self.sites {
            None => {
                if settings.rules.query != QueryKey::Whole && head.target.contains('?') {
                    return None;
                }
                let scope = scope.strip_suffix(port).unwrap_or(scope);
                answer.with(KeyRef { scope, target: head.target, of_site: false }, None, send)
            }
            Some(sites) => {
                let path = head.target.split('?').next().unwrap_or_default();
                // What is not the site's own spelling is for the long way to bring to it.
                if path.contains(['%', '#']) || path.contains("/.") {
                    return None;
                }
                let handles = sites.handles();
                let site = sites.find(&handles, &scope[scheme.len()..])?;
                let detail = match site.gate(now) {
                    Gate::Open => None,
                    Gate::Lapsed => Some("lease-expired"),
                    Gate::Starting | Gate::Validate | Gate::Refuse => return None,
                };
                answer.with(KeyRef { scope: &site.scope, target: path, of_site: true }, detail, send)
            }
        }
    }
}

/// A plain request that is being answered.
struct Answering<'a> {
    edge: &'a Arc<Edge>,
    clients: ClientValidation,
    head: &'a Head<'a, 'a>,
    plain: &'a Plain<'a>,
    client: IpAddr,
    is_head: bool,
    is_last: bool,
    now: Millis,
}

impl Answering<'_> {
    fn with(
        &self,
        key: KeyRef<'_>,
        detail: Option<&'static str>,
        send: impl FnOnce(&Hit<'_>) -> io::Result<usize>,
    ) -> Option<io::Result<Sent>> {
        let mut asked = None;
        let selects = |stored: &Stored| match stored.class {
            Class::Any => Some(true),
            Class::Codings(wanted) => {
                let codings = || self.plain.accept_encoding.map(Codings::of_line);
                Some(*asked.get_or_insert_with(codings) == wanted)
            }
            Class::Other => {
                let selection = stored.selection();
                // What upstreams are told otherwise than it was sent is for the long way to tell.
                selection.is_as_sent().then(|| selection.matches_lines(|name| self.lines(name.as_str())))
            }
        };
        self.edge.store.hit(key, selects, &self.edge.log, |stored| self.answer(stored, detail, send))
    }

    /// The lines of a field.
    fn lines<'n>(&'n self, name: &'n str) -> impl Iterator<Item = &'n [u8]> {
        let fields = self.head.fields.iter().filter(move |field| field.name.eq_ignore_ascii_case(name));
        fields.map(|field| field.value.trim_ascii())
    }

    fn answer(
        &self,
        stored: &Arc<Stored>,
        detail: Option<&'static str>,
        send: impl FnOnce(&Hit<'_>) -> io::Result<usize>,
    ) -> Option<io::Result<Sent>> {
        let clients = self.clients;
        let directives = RequestDirectives::default();
        let Reuse::Fresh { left_ms } =
            reuse(&stored.freshness(), stored.stale_from(), directives, clients, self.now)
        else {
            return None;
        };
        // Of no content and of a part the digest is another.
        let is_digested =
            || [CONTENT_DIGEST, CONTENT_MD5].iter().any(|name| stored.fields().get(name).is_some());
        if (self.is_head || self.plain.range.is_some()) && is_digested() {
            return None;
        }
        let length = stored.body().len();
        let (status, span) = match self.status(stored)? {
            StatusCode::OK => match self.span(stored)? {
                Some(span) => (StatusCode::PARTIAL_CONTENT, span),
                None => (StatusCode::OK, 0..length),
            },
            StatusCode::NOT_MODIFIED => (StatusCode::NOT_MODIFIED, 0..0),
            status => (status, 0..length),
        };
        let is_304 = status == StatusCode::NOT_MODIFIED;
        let started = Instant::now();
        let made = request_id();
        let id = self.plain.request_id.filter(|id| is_request_id(id)).unwrap_or(&made);
        let mut tail = Tail::new();
        if !is_304 {
            tail.put(b"content-length: ");
            tail.number(span.len());
            tail.put(b"\r\n");
        }
        if status == StatusCode::PARTIAL_CONTENT {
            tail.put(b"content-range: bytes ");
            tail.number(span.start);
            tail.put(b"-");
            tail.number(span.end.saturating_sub(1));
            tail.put(b"/");
            tail.number(length);
            tail.put(b"\r\n");
        }
        tail.put(b"age: ");
        tail.number(stored.freshness().age_seconds(self.now));
        tail.put(b"\r\ncache-status: ");
        tail.put(CACHE_NAME.as_bytes());
        tail.put(b"; hit; ttl=");
        tail.number(ttl_seconds(left_ms));
        if let Some(detail) = detail {
            tail.put(b"; detail=");
            tail.put(detail.as_bytes());
        }
        tail.put(b"\r\nx-request-id: ");
        tail.put(id);
        tail.put(b"\r\n");
        if !tail.is_complete {
            return None;
        }
        let closes = self.plain.closes || self.is_last;
        let fields = stored.fields();
        let [own, common] = if is_304 { fields.seen_in_304() } else { fields.seen() };
        let hit = Hit {
            parts: [
                status_line(status)?,
                own,
                common,
                tail.as_bytes(),
                if stored.names_us() { b"" } else { self.edge.via_line.as_bytes() },
                if closes { b"connection: close\r\n\r\n" } else { b"\r\n" },
            ],
            stored,
            span: if self.is_head { 0..0 } else { span },
        };
        let written = match send(&hit) {
            Ok(written) => written,
            Err(error) => return Some(Err(error)),
        };
        let rest = hit.rest(written);
        let sent = (hit.span.len() - rest.as_ref().map_or(0, Rest::content_bytes)) as u64;
        count(|counts| {
            counts.requests.add(1);
            counts.hits.add(1);
            counts.sent_bytes.add(sent);
        });
        // What is left is waited for, and counts once it has gone out.
        let rest = rest.map(|rest| {
            let kept = || self.kept(id);
            (rest, self.edge.observe_rest(started, status, sent, kept))
        });
        if rest.is_none() {
            let duration = started.elapsed();
            count(|counts| counts.latency(Counted::Hit, duration));
            if let Some(log) = &self.edge.access_log {
                log.write(&Line {
                    client: self.client,
                    wall_ms: clock::wall_ms(),
                    method: self.head.method.as_bytes(),
                    host: self.plain.host,
                    target: self.head.target.as_bytes(),
                    version: self.head.version,
                    status: status.as_u16(),
                    sent,
                    referer: self.plain.referer,
                    user_agent: self.plain.user_agent,
                    result: Counted::Hit.as_str(),
                    duration,
                    id,
                });
            }
        }
        Some(Ok(Sent { rest, closes }))
    }

    /// The request, for a log that is written later.
    fn kept(&self, id: &[u8]) -> Kept {
        let value = |bytes: &[u8]| HeaderValue::from_bytes(bytes).ok();
        Kept {
            client: self.client,
            method: self.head.method.to_owned(),
            host: String::from_utf8_lossy(self.plain.host).into_owned(),
            target: self.head.target.to_owned(),
            version: self.head.version,
            referer: self.plain.referer.and_then(value),
            user_agent: self.plain.user_agent.and_then(value),
            id: value(id).unwrap_or_else(|| HeaderValue::from_static("0")),
        }
    }

    /// The status that goes out; `None`: it takes the long way to tell.
    fn status(&self, stored: &Stored) -> Option<StatusCode> {
        if stored.status != StatusCode::OK {
            // Conditions are for what would be a success, and some redirects repeat the query.
            let plain = matches!(
                stored.status,
                StatusCode::NOT_FOUND | StatusCode::MOVED_PERMANENTLY | StatusCode::FOUND
            );
            let conditions = self.plain.if_none_match.is_some() || self.plain.if_modified_since.is_some();
            return (plain && !conditions).then_some(stored.status);
        }
        let is_held = |wanted: &[u8], name: &HeaderName, is_valid: fn(&[u8]) -> bool| {
            let held = stored.fields().get(name)?;
            (wanted == held && is_valid(held)).then_some(StatusCode::NOT_MODIFIED)
        };
        match (self.plain.if_none_match, self.plain.if_modified_since) {
            (None, None) => Some(StatusCode::OK),
            // The one tag that we have; a date beside it does not count (RFC 9110 §13.2.2).
            (Some(wanted), _) => is_held(wanted, &header::ETAG, |tag| Tag::parse(tag).is_some()),
            // The date that we have; another may be later or earlier.
            (None, Some(wanted)) => {
                is_held(wanted, &header::LAST_MODIFIED, |at| date::parse(at, clock::wall()).is_some())
            }
        }
    }

    /// The bytes that are asked for, `Some(None)`: all; `None`: it takes the long way to tell.
    fn span(&self, stored: &Stored) -> Option<Option<Range<usize>>> {
        let Some(line) = self.plain.range.filter(|_| !self.is_head) else { return Some(None) };
        if let Some(wanted) = self.plain.if_range {
            let held = stored.fields().get(&header::ETAG)?;
            if wanted != held || Tag::parse(held).is_none_or(|tag| tag.weak) {
                return None;
            }
        }
        if stored.fields().get(&header::CONTENT_RANGE).is_some() {
            return None;
        }
        let span = range::only(line, stored.body().len() as u64)?;
        Some(Some(usize::try_from(span.start).ok()?..usize::try_from(span.end).ok()?))
    }
}

fn status_line(status: StatusCode) -> Option<&'static [u8]> {
    Some(match status {
        StatusCode::OK => b"HTTP/1.1 200 OK\r\n",
        StatusCode::PARTIAL_CONTENT => b"HTTP/1.1 206 Partial Content\r\n",
        StatusCode::NOT_MODIFIED => b"HTTP/1.1 304 Not Modified\r\n",
        StatusCode::NOT_FOUND => b"HTTP/1.1 404 Not Found\r\n",
        StatusCode::MOVED_PERMANENTLY => b"HTTP/1.1 301 Moved Permanently\r\n",
        StatusCode::FOUND => b"HTTP/1.1 302 Found\r\n",
        _ => return None,
    })
}
