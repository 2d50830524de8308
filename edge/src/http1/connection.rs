//! One connection, from request to request: read a head, answer it at once or have it answered, go on or end.

use std::{
    cell::RefCell,
    io::{self, IoSlice},
    mem::MaybeUninit,
    net::SocketAddr,
    pin::{Pin, pin},
    sync::Arc,
    task::Poll,
};

use bytes::{Buf, Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, Method, StatusCode, Version, header};
use http_body_util::BodyExt;
use tokio::{
    io::{AsyncRead as _, AsyncReadExt, AsyncWriteExt as _, ReadBuf},
    net::{TcpStream, tcp::ReadHalf},
};

use super::{
    Refusal, Tunnel,
    deadlines::{Place, Reading},
    encoder::{self, Ending},
    exchange::Exchange,
    head::{self, Wire},
    target::{self, Target},
    unsent,
    writer::Writer,
};
use crate::{
    Edge,
    clients::{Clients, Seat},
    clock,
    error_page::error_page,
    hit::{Rest, Sent},
    inbound,
    metrics::count,
    observe::{Kept, Observation, request_id_value},
    policy::same_origin::Scheme,
    proxy_protocol::{self, PROXY_HEADER_BYTES_MAX, Parsed},
    respond::{RETRY_AFTER_SECONDS, Response},
};

/// Bytes of one read of heads.
pub(super) const READ_BYTES: usize = 16 << 10;
/// What a request takes of the memory while it goes the long way, in bytes: its fields as they came and as they go on, and all
/// who wait for its response.
const REQUEST_BYTES: usize = 12 << 10;
/// Bytes of a head that has not ended which are counted with its connection.
const HEAD_BYTES_FREE: usize = 4 << 10;
/// What is read of a client that still sends after its connection was closed to it, so that it sees the answer and
/// not a reset (RFC 9112 §9.6).
const LINGER_BYTES_MAX: usize = 256 << 10;

/// Who is at the other end.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Client {
    pub(crate) peer: SocketAddr,
    pub(crate) local: SocketAddr,
}

impl Client {
    /// An IPv4 address that came as an IPv6 address, by a socket for both or by a load balancer's word, is meant as what it is.
    pub(crate) fn new(peer: SocketAddr, local: SocketAddr) -> Self {
        Self { peer: SocketAddr::new(peer.ip().to_canonical(), peer.port()), local }
    }
}

/// What follows a response.
#[derive(Debug)]
pub(super) enum Next {
    /// Another request.
    Request,
    /// The end, after what the client still sends has been passed over.
    Linger,
    /// Bytes both ways.
    Tunnel(Tunnel),
}

/// A request as it was read, with what its connection needs to know of it.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) method: Method,
    pub(super) version: Version,
    pub(super) scheme: Scheme,
    pub(super) target: Target,
    pub(super) host: String,
    pub(super) headers: HeaderMap,
    pub(super) wire: Wire,
    /// Bytes of its head.
    bytes: usize,
}

/// What came of bytes that were read.
#[derive(Debug)]
enum Event {
    /// More are needed.
    More,
    /// Something has come that there is no memory for.
    Wait,
    /// A request that goes the long way.
    Request(Request),
    /// One that is refused, and what was understood of it.
    Refused(Refusal, Box<Understood>),
    /// A response that the client has not taken whole; whether another request may follow.
    Rest(Rest, Observation, bool),
    /// The connection ends after the last response.
    Close,
}

thread_local! {
    /// What one read brings. Nearly always that is one whole request, which is answered at once: then a connection needs
    /// no buffer of its own, and one that idles has none. One that waits for the rest of a head has one for what has come.
    pub(super) static SCRATCH: RefCell<Vec<u8>> = RefCell::new(vec![0; READ_BYTES]);
}

/// Serves a connection to its end.
///
/// # Errors
/// Where it breaks, or a response does: the client sees the connection close.
pub(crate) async fn serve(
    mut stream: TcpStream,
    place: Place,
    client: Client,
    clients: Arc<Clients>,
    edge: Arc<Edge>,
) -> io::Result<()> {
    // It is dropped before the socket, which is looked at for as long as it is there.
    let place = place;
    std::future::poll_fn(|cx| {
        place.wakes(cx.waker());
        Poll::Ready(())
    })
    .await;
    if let Err(error) = place.take(&stream) {
        tracing::debug!(%error, "what the kernel takes for a connection could not be bounded");
    }
    let ended = converse(&mut stream, &place, client, &clients, &edge).await;
    if unsent::is_held(&stream) {
        // The kernel would go on without us, and nobody would count what it holds or see that nothing is taken of it.
        place.slot.rests();
        stream.shutdown().await?;
        Box::pin(unsent::taken(&stream)).await;
    }
    ended
}

/// From the first request to what follows the last.
async fn converse(
    stream: &mut TcpStream,
    place: &Place,
    client: Client,
    clients: &Arc<Clients>,
    edge: &Arc<Edge>,
) -> io::Result<()> {
    let mut buffer = BytesMut::new();
    let (client, _seat) = if edge.current().speaks_proxy(client.peer.ip()) {
        match Box::pin(named(stream, &mut buffer, client, clients, edge, place)).await? {
            Some(named) => named,
            None => return Ok(()),
        }
    } else {
        (client, None)
    };
    let mut served = 0;
    loop {
        let (mut reader, half) = stream.split();
        let mut writer = Writer::new(half, place);
        let mut reading = Incoming { edge, place, client, served: &mut served };
        let Some(event) = reading.next(&mut reader, &writer, &mut buffer).await? else { return Ok(()) };
        let next = match event {
            Event::More | Event::Wait => continue,
            Event::Close => Next::Linger,
            Event::Rest(rest, observation, keep_alive) => {
                place.slot.rests();
                write_rest(&mut writer, &rest, &observation).await?;
                drop(observation);
                place.slot.reads(Reading::Idle);
                if keep_alive { Next::Request } else { Next::Linger }
            }
            Event::Request(request) => {
                place.slot.rests();
                if place.is_narrow() || buffer.is_empty() {
                    // It may wait for long, and room for more than what has come behind it is not needed.
                    buffer = BytesMut::from(&buffer[..]);
                }
                let mut memory = edge.store.reservation();
                memory.grow(request.bytes + buffer.capacity());
                if place.is_narrow() && edge.turns.admit().await.is_err() {
                    let understood = Understood::of_request(&request);
                    Box::pin(refuse(edge, client, &mut writer, TOO_MANY, &understood)).await?;
                    Next::Linger
                } else {
                    count(|counts| counts.requests.add(1));
                    memory.grow(REQUEST_BYTES);
                    let is_last = served >= edge.current().limits.requests_per_connection_max;
                    let mut exchange = Exchange {
                        edge,
                        client,
                        place,
                        reader: &mut reader,
                        writer: &mut writer,
                        buffer: &mut buffer,
                        is_last,
                    };
                    // On the heap, so that an idle connection does not keep room for it.
                    Box::pin(exchange.run(request)).await?
                }
            }
            Event::Refused(refusal, understood) => {
                place.slot.rests();
                Box::pin(refuse(edge, client, &mut writer, refusal, &understood)).await?;
                Next::Linger
            }
        };
        match next {
            Next::Request => {
                if buffer.is_empty() && buffer.capacity() > 0 {
                    buffer = BytesMut::new();
                }
            }
            Next::Linger => {
                writer.finish().await?;
                return Box::pin(linger(&mut reader, place)).await;
            }
            Next::Tunnel(tunnel) => return Box::pin(tunnel.run(stream, buffer, place)).await,
        }
    }
}

/// The client that a load balancer names, and its seat; the balancer itself, where it speaks for itself, has none. `None`: it does
/// neither as it should, or that client has too many connections, and this one ends.
async fn named(
    stream: &mut TcpStream,
    buffer: &mut BytesMut,
    balancer: Client,
    clients: &Arc<Clients>,
    edge: &Edge,
    place: &Place,
) -> io::Result<Option<(Client, Option<Seat>)>> {
    loop {
        let problem = match proxy_protocol::parse(buffer) {
            Parsed::Header { bytes, source } => {
                buffer.advance(bytes);
                let Some(peer) = source else { return Ok(Some((balancer, None))) };
                let seat = clients.admit(peer.ip(), edge.current().connections_per_client_max());
                return Ok(seat.map(|seat| (Client::new(peer, balancer.local), Some(seat))));
            }
            Parsed::Partial if buffer.len() < PROXY_HEADER_BYTES_MAX => {
                let mut reading = pin!(stream.read_buf(buffer));
                let read = std::future::poll_fn(|cx| match reading.as_mut().poll(cx) {
                    Poll::Pending if place.may_end() => Poll::Ready(Ok(0)),
                    poll => poll,
                });
                if read.await? == 0 {
                    return Ok(None);
                }
                continue;
            }
            Parsed::Partial => "its PROXY header is too long",
            Parsed::Invalid(problem) => problem,
        };
        metrics::counter!("bakehouse_edge_proxy_header_invalid_total").increment(1);
        tracing::warn!(peer = %balancer.peer, problem, "a load balancer's connection was closed");
        return Ok(None);
    }
}

/// Writes what is left of a hit.
async fn write_rest(writer: &mut Writer<'_>, rest: &Rest, observation: &Observation) -> io::Result<()> {
    let mut head = rest.head.len();
    let mut note = |bytes: usize| {
        let of_head = bytes.min(head);
        head -= of_head;
        observation.sent_more((bytes - of_head) as u64);
    };
    let Some((file, span)) = rest.file.as_ref().and_then(|(read, span)| Some((read.file()?, span))) else {
        return writer
            .write_noting(&mut [IoSlice::new(&rest.head), IoSlice::new(&rest.body)], &mut note)
            .await;
    };
    writer.write_noting(&mut [IoSlice::new(&rest.head)], &mut note).await?;
    writer.write_file(file, span.start as u64, span.len(), &mut note).await
}

/// After a request that was not understood, nothing on its connection can be.
async fn refuse(
    edge: &Arc<Edge>,
    client: Client,
    writer: &mut Writer<'_>,
    refusal: Refusal,
    understood: &Understood,
) -> io::Result<()> {
    let id = request_id_value();
    let observation = edge.observe_refused(refusal, understood.kept(client, &id));
    let Response { status, headers, body, .. } = refused(refusal, &id);
    let is_head = understood.method == Method::HEAD.as_str();
    let bytes = match body.collect().await {
        Ok(all) if !is_head => all.to_bytes(),
        _ => Bytes::new(),
    };
    let length = headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
    let frame = encoder::Frame {
        version: Version::HTTP_11,
        ending: Ending::Sized(length.unwrap_or(0)),
        keep_alive: false,
        is_head,
    };
    let mut head = BytesMut::new();
    encoder::head(&mut head, status, &headers, frame);
    writer.write(&mut [IoSlice::new(&head), IoSlice::new(&bytes)]).await?;
    observation.sent(bytes.len() as u64);
    Ok(())
}

/// What was understood of a request that is refused; `-` stands for what was not.
#[derive(Debug)]
struct Understood {
    method: String,
    host: String,
    target: String,
    version: Version,
}

impl Understood {
    /// Of bytes that are no head.
    fn of(bytes: &[u8]) -> Box<Self> {
        let (method, target) = head::begins(bytes).unzip();
        Box::new(Self {
            method: method.map_or_else(|| "-".into(), |method| method.as_str().to_owned()),
            host: "-".into(),
            target: target.unwrap_or("-").to_owned(),
            version: Version::HTTP_11,
        })
    }

    /// Of a head that cannot be served.
    fn of_head(head: &head::Head<'_, '_>) -> Box<Self> {
        let host = head.values("host").next().unwrap_or(b"-");
        Box::new(Self {
            method: head.method.to_owned(),
            host: String::from_utf8_lossy(host).into_owned(),
            target: head.target.to_owned(),
            version: head.version,
        })
    }

    /// Of one that cannot be answered.
    fn of_request(request: &Request) -> Box<Self> {
        let target = match &request.target {
            Target::Path(path) => path,
            Target::Server => inbound::SERVER,
        };
        Box::new(Self {
            method: request.method.as_str().to_owned(),
            host: request.host.clone(),
            target: target.to_owned(),
            version: request.version,
        })
    }

    fn kept(&self, client: Client, id: &HeaderValue) -> Kept {
        Kept {
            client: client.peer.ip(),
            method: self.method.clone(),
            host: self.host.clone(),
            target: self.target.clone(),
            version: self.version,
            referer: None,
            user_agent: None,
            id: id.clone(),
        }
    }
}

/// Requests as they come in.
struct Incoming<'a> {
    edge: &'a Arc<Edge>,
    place: &'a Place,
    client: Client,
    served: &'a mut usize,
}

impl Incoming<'_> {
    /// Reads, and answers what can be answered at once, until something else is to be done. `None`: the client has
    /// left.
    async fn next(
        &mut self,
        reader: &mut ReadHalf<'_>,
        writer: &Writer<'_>,
        buffer: &mut BytesMut,
    ) -> io::Result<Option<Event>> {
        let mut looked_at = 0;
        let mut waits_for_head = false;
        let mut memory = None;
        loop {
            // A head ends with a line: without a new one there is nothing new to find.
            if memchr::memchr(b'\n', &buffer[looked_at..]).is_some() {
                let (taken, event) = self.take(buffer, writer)?;
                buffer.advance(taken);
                if !matches!(event, Event::More) {
                    return Ok(Some(event));
                }
            }
            looked_at = buffer.len();
            if looked_at > self.edge.current().limits.header_bytes_max {
                return Ok(Some(Event::Refused(TOO_LARGE, Understood::of(buffer))));
            }
            if buffer.is_empty() {
                if waits_for_head {
                    // Who rests between two requests needs no buffer.
                    (*buffer, memory, waits_for_head) = (BytesMut::new(), None, false);
                }
                let read = std::future::poll_fn(|cx| {
                    if self.is_beyond() && reader.as_ref().poll_read_ready(cx)?.is_ready() {
                        return Poll::Ready(Ok(Some(Event::Wait)));
                    }
                    SCRATCH.with_borrow_mut(|scratch| {
                        let mut into = ReadBuf::new(&mut scratch[..self.place.read_bytes_max()]);
                        if Pin::new(&mut *reader).poll_read(cx, &mut into)?.is_pending() {
                            let ends = self.place.may_end() && !has_unread(reader.as_ref());
                            return if ends { Poll::Ready(Ok(Some(Event::Close))) } else { Poll::Pending };
                        }
                        let bytes = into.filled_mut();
                        if bytes.is_empty() {
                            return Poll::Ready(Ok(None));
                        }
                        let (taken, event) = self.take(bytes, writer)?;
                        buffer.extend_from_slice(&bytes[taken..]);
                        Poll::Ready(io::Result::Ok(Some(event)))
                    })
                });
                match read.await? {
                    None => return Ok(None),
                    Some(Event::More) => {}
                    Some(Event::Wait) => {
                        while self.is_beyond() {
                            self.edge.store.books().allowance().renewed().await;
                        }
                    }
                    Some(event) => return Ok(Some(event)),
                }
                looked_at = buffer.len();
                continue;
            }
            if !waits_for_head {
                waits_for_head = true;
                self.place.slot.reads(Reading::Head);
            }
            let beyond = buffer.capacity().saturating_sub(HEAD_BYTES_FREE);
            self.place.slot.holds(beyond);
            if beyond > 0 {
                let memory = memory.get_or_insert_with(|| self.edge.store.reservation());
                let more = beyond.saturating_sub(memory.bytes());
                if !memory.grow(more) {
                    self.place.slot.is_too_much();
                    return Ok(None);
                }
                if more > 0 && !self.waits_for(more).await {
                    return Ok(None);
                }
            }
            let read = std::future::poll_fn(|cx| {
                SCRATCH.with_borrow_mut(|scratch| {
                    let mut into = ReadBuf::new(&mut scratch[..self.place.read_bytes_max()]);
                    if Pin::new(&mut *reader).poll_read(cx, &mut into)?.is_pending() {
                        // The rest may never come.
                        return if self.place.may_end() { Poll::Ready(Ok(0)) } else { Poll::Pending };
                    }
                    buffer.extend_from_slice(into.filled());
                    Poll::Ready(io::Result::Ok(into.filled().len()))
                })
            });
            if read.await? == 0 {
                return Ok(None);
            }
        }
    }

    /// Whether there are many connections and more memory is taken than may be: whatever is asked takes more.
    fn is_beyond(&self) -> bool {
        self.place.is_narrow() && self.edge.store.books().short_bytes() > 0
    }

    /// Waits until so many bytes of a head may be taken; `false`: the connection is to end meanwhile.
    async fn waits_for(&self, bytes: usize) -> bool {
        let allowance = self.edge.store.books().allowance();
        while !allowance.take(bytes) {
            let mut renewed = pin!(allowance.renewed());
            let ends = std::future::poll_fn(|cx| match renewed.as_mut().poll(cx) {
                Poll::Pending if self.place.may_end() => Poll::Ready(true),
                poll => poll.map(|()| false),
            });
            if ends.await {
                return false;
            }
        }
        true
    }

    /// Takes requests from the beginning of `bytes` and answers those that can be answered at once; says how many bytes
    /// it took.
    fn take(&mut self, bytes: &mut [u8], writer: &Writer<'_>) -> io::Result<(usize, Event)> {
        let settings = self.edge.current();
        let bytes_max = settings.limits.header_bytes_max;
        let mut taken = 0;
        loop {
            taken += head::blank(&bytes[taken..]);
            if bytes.len() == taken {
                return Ok((taken, Event::More));
            }
            let mut room = head::room();
            let head = match head::parse(&bytes[taken..], &mut room) {
                Err(refusal) if refusal.status == StatusCode::HTTP_VERSION_NOT_SUPPORTED => {
                    if head::as_known_version(&mut bytes[taken..]) {
                        continue;
                    }
                    Err(refusal)
                }
                Ok(None) => return Ok((taken, Event::More)),
                Ok(Some(head)) if head.bytes <= bytes_max => Ok(head),
                Ok(Some(_)) => Err(TOO_LARGE),
                Err(refusal) => Err(refusal),
            };
            *self.served += 1;
            if *self.served == 1 {
                self.place.has_come();
            }
            let head = match head {
                Ok(head) => head,
                Err(refusal) => {
                    return Ok((taken, Event::Refused(refusal, Understood::of(&bytes[taken..]))));
                }
            };
            let is_last =
                *self.served >= settings.limits.requests_per_connection_max || self.place.is_draining();
            let now = clock::boot_ms();
            let sent = self.edge.hit(&settings, &head, self.client.peer.ip(), is_last, now, |hit| {
                writer.try_write(&hit.slices())
            });
            match sent.transpose()? {
                None => {
                    let event = match Request::of(&head, self.client) {
                        Ok(request) => Event::Request(request),
                        Err(refusal) => Event::Refused(refusal, Understood::of_head(&head)),
                    };
                    return Ok((taken + head.bytes, event));
                }
                Some(Sent { rest: Some((rest, observation)), closes }) => {
                    return Ok((taken + head.bytes, Event::Rest(rest, observation, !closes)));
                }
                Some(Sent { rest: None, closes: true }) => return Ok((taken + head.bytes, Event::Close)),
                Some(Sent { rest: None, closes: false }) => {
                    taken += head.bytes;
                    self.place.slot.reads_at(Reading::Idle, now);
                }
            }
        }
    }
}

/// For want of memory.
const TOO_MANY: Refusal = Refusal {
    status: StatusCode::SERVICE_UNAVAILABLE,
    text: "Too many are waiting.",
    clause: "RFC 9110 §15.6.4",
};

const TOO_LARGE: Refusal = Refusal {
    status: StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
    text: "The request's head is too large.",
    clause: "RFC 6585 §5",
};

impl Request {
    /// Of a head that goes the long way.
    fn of(head: &head::Head<'_, '_>, client: Client) -> Result<Self, Refusal> {
        let method = head.method()?;
        if matches!(method, Method::CONNECT | Method::TRACE) {
            return Err(Refusal {
                status: StatusCode::METHOD_NOT_ALLOWED,
                text: "This method is not served here.",
                clause: "RFC 9110 §15.5.6",
            });
        }
        let (scheme, target, host) = target::of(head, client.local)?;
        let wire = head.wire()?;
        Ok(Self {
            method,
            version: head.version,
            scheme,
            target,
            host,
            headers: head.map()?,
            wire,
            bytes: head.bytes,
        })
    }
}

/// A page for a request that is not served.
fn refused(refusal: Refusal, id: &HeaderValue) -> Response {
    let mut response = error_page(refusal.status, refusal.text, false, Some(id));
    if refusal.status == StatusCode::SERVICE_UNAVAILABLE {
        response.headers.insert(header::RETRY_AFTER, HeaderValue::from(RETRY_AFTER_SECONDS));
    }
    if refusal.status == StatusCode::METHOD_NOT_ALLOWED {
        let allow = HeaderValue::from_static("GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS");
        response.headers.insert(header::ALLOW, allow);
    }
    response
}

/// Whether a request lies in the socket that this task has not been told of: to close it then would reset the connection.
fn has_unread(stream: &TcpStream) -> bool {
    let mut byte = [MaybeUninit::uninit()];
    socket2::SockRef::from(stream).peek(&mut byte).is_ok_and(|bytes| bytes > 0)
}

/// Passes over what the client still sends, for a while; at the end of the edge, of a client that has been silent, for as long
/// as a request may have been on its way.
async fn linger(reader: &mut ReadHalf<'_>, place: &Place) -> io::Result<()> {
    place.slot.reads(if place.may_end() { Reading::Crossing } else { Reading::Linger });
    let mut passed = 0;
    while passed < LINGER_BYTES_MAX {
        let read = std::future::poll_fn(|cx| {
            SCRATCH.with_borrow_mut(|scratch| {
                let mut into = ReadBuf::new(scratch);
                Pin::new(&mut *reader).poll_read(cx, &mut into).map_ok(|()| into.filled().len())
            })
        });
        match read.await? {
            0 => break,
            read => passed += read,
        }
    }
    Ok(())
}
