//! One connection, from request to request: read a head, have it answered, write the answer, go on or end.

use std::{
    cell::RefCell,
    io::{self, IoSlice},
    net::SocketAddr,
    pin::{Pin, pin},
    sync::Arc,
    task::Poll,
};

use bytes::{Buf, BytesMut};
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode, Version, header};
use http_body::{Body as _, Frame};
use http_body_util::BodyExt;
use tokio::{
    io::{AsyncRead as _, AsyncReadExt, ReadBuf},
    net::{TcpStream, tcp::ReadHalf},
};

use super::{
    Refusal, Tunnel,
    content::{self, Pump, Received},
    deadlines::{Place, Reading},
    decoder::{Decoder, Part},
    encoder::{self, Ending},
    head::{self, Framing, Wire},
    interim,
    target::{self, Target},
    writer::Writer,
};
use crate::{
    Edge,
    body::OutBody,
    clock,
    error_page::error_page,
    hit::Rest,
    inbound::Inbound,
    metrics::count,
    observe::Observation,
    policy::{directives::RequestDirectives, forward},
    proxy_protocol::{self, PROXY_HEADER_BYTES_MAX, Parsed},
    upstream::{RequestBody, no_content},
};

/// Bytes of one read of heads.
const READ_BYTES: usize = 16 << 10;
/// What is read of a client that still sends after its connection was closed to it, so that it sees the answer and
/// not a reset (RFC 9112 §9.6).
const LINGER_BYTES_MAX: usize = 256 << 10;
/// Who is at the other end.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Client {
    pub(crate) peer: SocketAddr,
    pub(crate) local: SocketAddr,
}

/// What follows a response.
#[derive(Debug)]
enum Next {
    /// Another request.
    Request,
    /// The end, after what the client still sends has been passed over.
    Linger,
    /// Bytes both ways.
    Tunnel(Tunnel),
}

/// A request as it was read, with what its connection needs to know of it.
#[derive(Debug)]
struct Request {
    method: Method,
    version: Version,
    target: Target,
    host: String,
    headers: HeaderMap,
    wire: Wire,
}

/// What came of bytes that were read.
#[derive(Debug)]
enum Event {
    /// More are needed.
    More,
    /// A request that goes the long way, or is refused.
    Request(Result<Request, Refusal>),
    /// A response that the client has not taken whole; whether another request may follow.
    Rest(Rest, bool),
    /// The connection ends after the last response.
    Close,
}

thread_local! {
    /// What one read brings. Nearly always that is one whole request, which is answered at once: then a connection needs
    /// no buffer of its own, and one that idles has none.
    static SCRATCH: RefCell<Vec<u8>> = RefCell::new(vec![0; READ_BYTES]);
}

/// Serves a connection to its end.
///
/// # Errors
/// Where it breaks, or a response does: the client sees the connection close.
pub(crate) async fn serve(
    mut stream: TcpStream,
    place: Place,
    client: Client,
    edge: Arc<Edge>,
) -> io::Result<()> {
    let mut buffer = BytesMut::new();
    let mut client = client;
    if edge.current().speaks_proxy(client.peer.ip()) {
        match Box::pin(real_client(&mut stream, &mut buffer, client)).await? {
            Some(real) => client = real,
            None => return Ok(()),
        }
    }
    let mut served = 0;
    loop {
        let (mut reader, half) = stream.split();
        let mut writer = Writer::new(half, &place.slot);
        let mut reading = Incoming { edge: &edge, place: &place, client, served: &mut served };
        let next = match reading.next(&mut reader, &writer, &mut buffer).await? {
            None => return Ok(()),
            Some(Event::More) => continue,
            Some(Event::Close) => Next::Linger,
            Some(Event::Rest(rest, keep_alive)) => {
                place.slot.rests();
                match &rest.file {
                    Some((file, offset)) => {
                        writer.write(&mut [IoSlice::new(&rest.head)]).await?;
                        writer.write_file(file, *offset, rest.body.len()).await?;
                    }
                    None => writer.write(&mut [IoSlice::new(&rest.head), IoSlice::new(&rest.body)]).await?,
                }
                place.slot.reads(Reading::Idle);
                if keep_alive { Next::Request } else { Next::Linger }
            }
            Some(Event::Request(Ok(request))) => {
                place.slot.rests();
                let is_last = served >= edge.current().limits.requests_per_connection_max;
                let mut exchange = Exchange {
                    edge: &edge,
                    client,
                    place: &place,
                    reader: &mut reader,
                    writer: &mut writer,
                    buffer: &mut buffer,
                    is_last,
                };
                // On the heap, so that an idle connection does not keep room for it.
                Box::pin(exchange.run(request)).await?
            }
            Some(Event::Request(Err(refusal))) => {
                place.slot.rests();
                Box::pin(refuse(&mut writer, refusal)).await?;
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
                return Box::pin(linger(&mut reader, &place)).await;
            }
            Next::Tunnel(tunnel) => return Box::pin(tunnel.run(&mut stream, buffer, &place.slot)).await,
        }
    }
}

/// The client that a load balancer names; `None`: it names none as it should, and the connection ends.
async fn real_client(
    stream: &mut TcpStream,
    buffer: &mut BytesMut,
    balancer: Client,
) -> io::Result<Option<Client>> {
    loop {
        let problem = match proxy_protocol::parse(buffer) {
            Parsed::Header { bytes, source } => {
                buffer.advance(bytes);
                return Ok(Some(Client { peer: source.unwrap_or(balancer.peer), ..balancer }));
            }
            Parsed::Partial if buffer.len() < PROXY_HEADER_BYTES_MAX => {
                if stream.read_buf(buffer).await? == 0 {
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

/// After a request that was not understood, nothing on its connection can be.
async fn refuse(writer: &mut Writer<'_>, refusal: Refusal) -> io::Result<()> {
    metrics::counter!("bakehouse_edge_refused_total", "status" => refusal.status.as_str().to_owned())
        .increment(1);
    let (parts, body) = refused(refusal, &request_id()).into_parts();
    let bytes = body.collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
    let frame = encoder::Frame {
        version: Version::HTTP_11,
        ending: Ending::Sized(bytes.len() as u64),
        keep_alive: false,
        is_head: false,
    };
    let mut head = BytesMut::new();
    encoder::head(&mut head, parts.status, &parts.headers, frame);
    writer.write(&mut [IoSlice::new(&head), IoSlice::new(&bytes)]).await
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
    /// left, or is asked to, between two requests.
    async fn next(
        &mut self,
        reader: &mut ReadHalf<'_>,
        writer: &Writer<'_>,
        buffer: &mut BytesMut,
    ) -> io::Result<Option<Event>> {
        let mut looked_at = 0;
        let mut waits_for_head = false;
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
                return Ok(Some(Event::Request(Err(TOO_LARGE))));
            }
            if buffer.is_empty() {
                // Who has just connected is about to ask.
                if *self.served > 0 && self.place.is_draining() {
                    return Ok(None);
                }
                waits_for_head = false;
                let read = std::future::poll_fn(|cx| {
                    SCRATCH.with_borrow_mut(|scratch| {
                        let mut into = ReadBuf::new(scratch);
                        std::task::ready!(Pin::new(&mut *reader).poll_read(cx, &mut into))?;
                        let bytes = into.filled();
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
                    Some(event) => return Ok(Some(event)),
                }
                looked_at = buffer.len();
                continue;
            }
            if !waits_for_head {
                waits_for_head = true;
                self.place.slot.reads(Reading::Head);
            }
            buffer.reserve(READ_BYTES);
            if reader.read_buf(buffer).await? == 0 {
                return Ok(None);
            }
        }
    }

    /// Takes requests from the beginning of `bytes` and answers those that can be answered at once; says how many bytes
    /// it took.
    fn take(&mut self, bytes: &[u8], writer: &Writer<'_>) -> io::Result<(usize, Event)> {
        let settings = self.edge.current();
        let bytes_max = settings.limits.header_bytes_max;
        let mut taken = 0;
        loop {
            taken += head::blank(&bytes[taken..]);
            let rest = &bytes[taken..];
            if rest.is_empty() {
                return Ok((taken, Event::More));
            }
            let mut room = head::room();
            let head = match head::parse(rest, &mut room) {
                Ok(None) => return Ok((taken, Event::More)),
                Ok(Some(head)) if head.bytes <= bytes_max => Ok(head),
                Ok(Some(_)) => Err(TOO_LARGE),
                Err(refusal) => Err(refusal),
            };
            *self.served += 1;
            let head = match head {
                Ok(head) => head,
                Err(refusal) => return Ok((taken, Event::Request(Err(refusal)))),
            };
            let is_last =
                *self.served >= settings.limits.requests_per_connection_max || self.place.is_draining();
            let now = clock::boot_ms();
            let sent = self.edge.hit(&settings, &head, self.client.peer.ip(), is_last, now, |hit| {
                let written = writer.try_write(&hit.slices())?;
                io::Result::Ok((hit.rest(written), hit.closes))
            });
            match sent.transpose()? {
                None => {
                    count(|counts| counts.requests.add(1));
                    let request = Request::of(&head, self.client);
                    return Ok((taken + head.bytes, Event::Request(request)));
                }
                Some((Some(rest), closes)) => return Ok((taken + head.bytes, Event::Rest(rest, !closes))),
                Some((None, true)) => return Ok((taken + head.bytes, Event::Close)),
                Some((None, false)) => {
                    taken += head.bytes;
                    self.place.slot.reads_at(Reading::Idle, now);
                }
            }
        }
    }
}

const TOO_LARGE: Refusal =
    Refusal { status: StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, text: "The request's head is too large." };

impl Request {
    /// Of a head that goes the long way.
    fn of(head: &head::Head<'_, '_>, client: Client) -> Result<Self, Refusal> {
        let method = head.method()?;
        if matches!(method, Method::CONNECT | Method::TRACE) {
            return Err(Refusal {
                status: StatusCode::METHOD_NOT_ALLOWED,
                text: "This method is not served here.",
            });
        }
        let (target, host) = target::of(head, client.local)?;
        let wire = head.wire()?;
        Ok(Self { method, version: head.version, target, host, headers: head.map()?, wire })
    }
}

/// A page for a request that is not served.
fn refused(refusal: Refusal, id: &HeaderValue) -> Response<OutBody> {
    let mut response = error_page(refusal.status, refusal.text, false, Some(id));
    if refusal.status == StatusCode::METHOD_NOT_ALLOWED {
        let allow = HeaderValue::from_static("GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS");
        response.headers_mut().insert(header::ALLOW, allow);
    }
    response
}

/// 64 random bits in hexadecimal: enough to find a request in a log.
fn request_id() -> HeaderValue {
    HeaderValue::from_str(&format!("{:016x}", rand::random::<u64>()))
        .unwrap_or_else(|_| HeaderValue::from_static("0"))
}

/// Passes over what the client still sends, for a while.
async fn linger(reader: &mut ReadHalf<'_>, place: &Place) -> io::Result<()> {
    place.slot.reads(Reading::Linger);
    let mut passed = 0;
    let mut scrap = BytesMut::with_capacity(READ_BYTES);
    while passed < LINGER_BYTES_MAX {
        match reader.read_buf(&mut scrap).await? {
            0 => break,
            read => passed += read,
        }
        scrap.clear();
    }
    Ok(())
}

/// One request and its response.
struct Exchange<'a, 'io> {
    edge: &'a Arc<Edge>,
    client: Client,
    place: &'a Place,
    reader: &'a mut ReadHalf<'io>,
    writer: &'a mut Writer<'io>,
    buffer: &'a mut BytesMut,
    is_last: bool,
}

impl Exchange<'_, '_> {
    async fn run(&mut self, request: Request) -> io::Result<Next> {
        let Request { method, version, target, host, mut headers, wire } = request;
        let path = match target {
            Target::Path(path) => path,
            Target::Server => String::from("*"),
        };
        forward::strip_connection(&mut headers);
        // The client's own 100-continue is answered here, when the content is first asked for.
        headers.remove(header::EXPECT);
        let has_content = wire.framing != Framing::Sized(0);
        if !has_content {
            headers.remove(header::CONTENT_LENGTH);
        }
        let (content, pump): (RequestBody, _) = if has_content {
            let (content, pump) = content::channel(wire.framing);
            (content.boxed_unsync(), Some(pump))
        } else {
            (no_content(), None)
        };
        let (interims, waiting) = interim::channel();
        let is_server = path == "*";
        let inbound = Inbound {
            method: method.clone(),
            version,
            scheme: forward::Scheme::Http,
            target: path,
            host,
            directives: RequestDirectives::parse(&headers),
            headers,
            id: request_id(),
            peer: Some(self.client.peer.ip()),
            is_trusted: false,
            has_content,
            interims: (version >= Version::HTTP_11).then_some(interims),
            takes_trailers: wire.takes_trailers,
            websocket: wire.websocket,
        };
        let mut transfer =
            Transfer { decoder: Decoder::new(wire.framing), pump, runs: false, received: None };
        let response = if is_server {
            let mut response = Response::new(OutBody::empty());
            *response.status_mut() = StatusCode::NO_CONTENT;
            response
        } else {
            let handled = self.edge.handle(inbound, content);
            self.answer(handled, waiting, &mut transfer, wire.expects_continue).await?
        };
        let (mut parts, body) = response.into_parts();
        // Counts as finished when this is dropped.
        let observation = parts.extensions.remove::<Observation>();
        if parts.status == StatusCode::SWITCHING_PROTOCOLS
            && let OutBody::Tunnel(tunnel) = body
        {
            let mut head = BytesMut::new();
            encoder::interim(&mut head, parts.status, &parts.headers);
            self.writer.write(&mut [IoSlice::new(&head)]).await?;
            return Ok(Next::Tunnel(tunnel));
        }
        let content_ended = transfer.settle(self.buffer);
        let ending =
            encoder::ending(&method, version, parts.status, &parts.headers, body.size_hint().exact());
        let keep_alive = wire.keep_alive
            && !self.is_last
            && ending != Ending::Close
            && (content_ended || transfer.runs)
            && !self.place.is_draining();
        let mut head = BytesMut::with_capacity(1 << 10);
        let frame = encoder::Frame { version, ending, keep_alive, is_head: method == Method::HEAD };
        encoder::head(&mut head, parts.status, &parts.headers, frame);
        let (reader, buffer, place) = (&mut *self.reader, &mut *self.buffer, self.place);
        {
            // The upstream may answer before it has all of the request.
            let observed = observation.as_ref();
            let mut writing = pin!(write(self.writer, head, body, ending, wire.takes_trailers, observed));
            let mut receiving = pin!(transfer.run(reader, buffer, place));
            loop {
                tokio::select! {
                    biased;
                    written = &mut writing => break written?,
                    () = &mut receiving => {}
                }
            }
        }
        // Idle begins when the response has been written.
        self.place.slot.reads(Reading::Idle);
        Ok(if keep_alive && transfer.settle(self.buffer) { Next::Request } else { Next::Linger })
    }

    /// Waits for the response, while content goes one way and interim responses the other.
    async fn answer(
        &mut self,
        handled: impl Future<Output = Response<OutBody>>,
        mut waiting: interim::Waiting,
        transfer: &mut Transfer,
        expects_continue: bool,
    ) -> io::Result<Response<OutBody>> {
        let mut handled = pin!(handled);
        let Some(pump) = transfer.pump.take() else {
            loop {
                tokio::select! {
                    biased;
                    // What has arrived before the response goes out before it.
                    interim = waiting.next() => write_interim(self.writer, &interim).await?,
                    response = &mut handled => return Ok(response),
                }
            }
        };
        let mut wanted = false;
        while !wanted {
            tokio::select! {
                biased;
                interim = waiting.next() => write_interim(self.writer, &interim).await?,
                response = &mut handled => return Ok(response),
                () = pump.wanted() => wanted = true,
            }
        }
        // A client that has begun to send does not wait (RFC 9110 §10.1.1).
        if expects_continue && self.buffer.is_empty() {
            self.writer.write(&mut [IoSlice::new(b"HTTP/1.1 100 Continue\r\n\r\n")]).await?;
        }
        transfer.pump = Some(pump);
        transfer.runs = true;
        let mut receiving = pin!(transfer.run(self.reader, self.buffer, self.place));
        loop {
            tokio::select! {
                biased;
                interim = waiting.next() => write_interim(self.writer, &interim).await?,
                response = &mut handled => return Ok(response),
                () = &mut receiving => {}
            }
        }
    }
}

async fn write_interim(writer: &mut Writer<'_>, interim: &interim::Interim) -> io::Result<()> {
    let mut head = BytesMut::new();
    encoder::interim(&mut head, interim.status, &interim.headers);
    writer.write(&mut [IoSlice::new(&head)]).await
}

/// A request's content on its way.
#[derive(Debug)]
struct Transfer {
    decoder: Decoder,
    pump: Option<Pump>,
    /// Whether somebody has asked for it.
    runs: bool,
    received: Option<Received>,
}

impl Transfer {
    /// Hands on what comes, to its end; then pending for ever.
    async fn run(&mut self, reader: &mut ReadHalf<'_>, buffer: &mut BytesMut, place: &Place) {
        if self.runs
            && self.received.is_none()
            && let Some(pump) = &self.pump
        {
            self.received = Some(pump.run(reader, buffer, &mut self.decoder, &place.slot).await);
        }
        std::future::pending().await
    }

    /// Whether the content is out of the stream, once what has arrived of it is passed over. Not while somebody
    /// still takes it.
    fn settle(&mut self, buffer: &mut BytesMut) -> bool {
        if self.decoder.is_end() {
            return true;
        }
        if matches!(self.received, Some(Received::Broken)) || (self.runs && self.received.is_none()) {
            return false;
        }
        loop {
            match self.decoder.decode(buffer) {
                Ok(Part::Data(_) | Part::Trailers(_)) => {}
                Ok(Part::End) => return true,
                Ok(Part::Wait) | Err(_) => return false,
            }
        }
    }
}

/// Writes a response: its head together with the first of its content where that is at hand.
async fn write(
    writer: &mut Writer<'_>,
    head: BytesMut,
    body: OutBody,
    ending: Ending,
    takes_trailers: bool,
    observation: Option<&Observation>,
) -> io::Result<()> {
    let sent = |bytes: u64| observation.into_iter().for_each(|observation| observation.sent(bytes));
    let mut total = 0;
    sent(total);
    let mut body = pin!(body);
    let mut head = head;
    let mut left = match ending {
        Ending::Sized(length) => length,
        Ending::None => return writer.write(&mut [IoSlice::new(&head)]).await,
        Ending::Chunked | Ending::Close => u64::MAX,
    };
    let mut trailers = None;
    loop {
        let frame = if head.is_empty() {
            std::future::poll_fn(|cx| body.as_mut().poll_frame(cx)).await
        } else {
            match std::future::poll_fn(|cx| Poll::Ready(body.as_mut().poll_frame(cx))).await {
                Poll::Ready(frame) => frame,
                Poll::Pending => {
                    writer.write(&mut [IoSlice::new(&head)]).await?;
                    head.clear();
                    continue;
                }
            }
        };
        let data = match frame.transpose().map_err(io::Error::other)?.map(Frame::into_data) {
            None => break,
            Some(Ok(data)) if data.is_empty() => continue,
            Some(Ok(data)) => data,
            Some(Err(frame)) => {
                trailers = frame.into_trailers().ok().filter(|_| takes_trailers);
                continue;
            }
        };
        let length = data.len() as u64;
        if length > left {
            // More than was promised never goes out: it would begin the next response.
            return Err(io::ErrorKind::InvalidData.into());
        }
        left -= length;
        if ending == Ending::Chunked {
            encoder::chunk_size(&mut head, data.len());
            writer.write(&mut [IoSlice::new(&head), IoSlice::new(&data), IoSlice::new(b"\r\n")]).await?;
        } else {
            writer.write(&mut [IoSlice::new(&head), IoSlice::new(&data)]).await?;
        }
        head.clear();
        total += length;
        sent(total);
    }
    match ending {
        Ending::Sized(_) if left > 0 => return Err(io::ErrorKind::UnexpectedEof.into()),
        Ending::Chunked => encoder::last_chunk(&mut head, trailers.as_ref()),
        _ => {}
    }
    if head.is_empty() { Ok(()) } else { writer.write(&mut [IoSlice::new(&head)]).await }
}
