//! One request that takes the long way, and its response: content one way, interim responses and the answer the other.

use std::{
    io::{self, IoSlice},
    pin::pin,
    sync::Arc,
    task::Poll,
};

use bytes::BytesMut;
use http::{HeaderValue, Method, StatusCode, Version, header};
use http_body::{Body as _, Frame};
use http_body_util::BodyExt;
use tokio::net::tcp::ReadHalf;

use super::{
    connection::{Client, Next, Request},
    content::{self, Pump, Received},
    deadlines::{Place, Reading},
    decoder::{Decoder, Part},
    encoder::{self, Ending},
    head::Framing,
    interim,
    target::Target,
    writer::Writer,
};
use crate::{
    Edge,
    body::OutBody,
    inbound::{self, Inbound},
    observe::{Observation, request_id_value},
    policy::{directives::RequestDirectives, forward},
    respond::Response,
    trace::Step,
    upstream::{RequestBody, no_content},
};

/// One request and its response.
pub(super) struct Exchange<'a, 'io> {
    pub(super) edge: &'a Arc<Edge>,
    pub(super) client: Client,
    pub(super) place: &'a Place,
    pub(super) reader: &'a mut ReadHalf<'io>,
    pub(super) writer: &'a mut Writer<'io>,
    pub(super) buffer: &'a mut BytesMut,
    pub(super) is_last: bool,
}

impl Exchange<'_, '_> {
    /// Has it answered, and writes the answer; says what follows.
    ///
    /// # Errors
    /// Where the connection breaks, or the response does.
    pub(super) async fn run(&mut self, request: Request) -> io::Result<Next> {
        let Request { method, version, scheme, target, host, mut headers, wire, .. } = request;
        let target = match target {
            Target::Path(path) => path,
            Target::Server => inbound::SERVER.to_owned(),
        };
        forward::strip_connection(&mut headers);
        // Whoever is asked is told in its own right.
        headers.remove(header::EXPECT);
        // A client that has begun to send does not wait (RFC 9110 §10.1.1).
        let expects_continue = wire.expects_continue && self.buffer.is_empty();
        let has_content = wire.framing != Framing::Sized(0);
        // That there is no content is worth saying where a method has a meaning for some (RFC 9110 §8.6).
        if !has_content && let header::Entry::Occupied(mut said) = headers.entry(header::CONTENT_LENGTH) {
            if method.is_safe() && method != Method::QUERY {
                said.remove();
            } else {
                said.insert(HeaderValue::from(0));
            }
        }
        let (content, pump): (RequestBody, _) = if has_content {
            let (content, pump) = content::channel(wire.framing);
            (content.boxed(), Some(pump))
        } else {
            (no_content(), None)
        };
        let (interims, mut waiting) = interim::channel();
        let inbound = Inbound {
            method: method.clone(),
            version,
            scheme,
            target,
            host,
            directives: RequestDirectives::parse(&headers),
            headers: Arc::new(headers),
            id: request_id_value(),
            peer: Some(self.client.peer.ip()),
            client: Some(self.client.peer.ip()),
            is_trusted: false,
            has_content,
            expects_continue,
            interims: (version >= Version::HTTP_11).then_some(interims),
            takes_trailers: wire.takes_trailers,
            websocket: wire.websocket,
        };
        let mut transfer =
            Transfer { decoder: Decoder::new(wire.framing), pump, runs: false, received: None };
        let handled = Box::pin(self.edge.handle(inbound, content));
        // The response counts as finished when the observation is dropped.
        let (response, observation) =
            self.answer(handled, &mut waiting, &mut transfer, expects_continue).await?;
        // What arrived with the response goes out before it, too.
        while let Some(interim) = waiting.arrived() {
            write_interim(self.writer, &interim).await?;
        }
        let Response { status, headers, body, .. } = response;
        if status == StatusCode::SWITCHING_PROTOCOLS
            && let OutBody::Tunnel(tunnel) = body
        {
            let mut head = BytesMut::new();
            encoder::interim(&mut head, status, &headers);
            self.writer.write(&mut [IoSlice::new(&head)]).await?;
            return Ok(Next::Tunnel(tunnel));
        }
        let content_ended = transfer.settle(self.buffer);
        if let Some(Received::Refused(refusal)) = &transfer.received {
            observation.note(Step::by(refusal.clause, format!("refused: {}", refusal.text)));
        }
        let ending = encoder::ending(&method, version, status, &headers, body.size_hint().exact());
        let keep_alive = wire.keep_alive
            && !self.is_last
            && ending != Ending::Close
            && (content_ended || transfer.is_under_way())
            && !self.place.is_draining();
        let mut head = BytesMut::with_capacity(1 << 10);
        let frame = encoder::Frame { version, ending, keep_alive, is_head: method == Method::HEAD };
        encoder::head(&mut head, status, &headers, frame);
        let (reader, buffer, place) = (&mut *self.reader, &mut *self.buffer, self.place);
        {
            // The upstream may answer before it has all of the request.
            place.slot.streams(matches!(body, OutBody::Fill(_) | OutBody::Upstream(_)));
            let mut writing = pin!(write(self.writer, head, body, ending, wire.takes_trailers, &observation));
            let mut receiving = pin!(transfer.run(reader, buffer, place));
            loop {
                tokio::select! {
                    biased;
                    written = &mut writing => break written?,
                    () = &mut receiving => {}
                }
            }
        }
        self.place.slot.streams(false);
        drop(observation);
        if keep_alive {
            // An upstream may answer and still take the rest.
            transfer.finish(self.reader, self.buffer, self.place).await;
        }
        self.place.narrow(self.reader.as_ref());
        // Idle begins when the response has been written.
        self.place.slot.reads(Reading::Idle);
        Ok(if keep_alive && transfer.settle(self.buffer) { Next::Request } else { Next::Linger })
    }

    /// Waits for the response, while content goes one way and interim responses the other.
    async fn answer<T>(
        &mut self,
        handled: impl Future<Output = T>,
        waiting: &mut interim::Waiting,
        transfer: &mut Transfer,
        expects_continue: bool,
    ) -> io::Result<T> {
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
        // That somebody takes it is the answer to the client's 100-continue.
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
        self.finish(reader, buffer, place).await;
        std::future::pending().await
    }

    /// Hands on what comes, to its end.
    async fn finish(&mut self, reader: &mut ReadHalf<'_>, buffer: &mut BytesMut, place: &Place) {
        if self.runs
            && self.received.is_none()
            && let Some(pump) = &self.pump
        {
            self.received = Some(pump.run(reader, buffer, &mut self.decoder, place).await);
        }
    }

    /// Whether more of it is taken.
    fn is_under_way(&self) -> bool {
        let is_wanted = self.pump.as_ref().is_some_and(|pump| !pump.is_unwanted());
        self.runs && self.received.is_none() && is_wanted
    }

    /// Whether the content is out of the stream, once what has arrived of it is passed over. Not while somebody
    /// still takes it.
    fn settle(&mut self, buffer: &mut BytesMut) -> bool {
        if self.decoder.is_end() {
            return true;
        }
        let is_broken = matches!(self.received, Some(Received::Broken | Received::Refused(_)));
        if is_broken || self.is_under_way() {
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
    observation: &Observation,
) -> io::Result<()> {
    let mut total = 0;
    observation.sent(total);
    let mut body = pin!(body);
    let mut head = head;
    let mut left = match ending {
        Ending::Sized(length) => length,
        Ending::None => return writer.write(&mut [IoSlice::new(&head)]).await,
        Ending::Chunked | Ending::Close => u64::MAX,
    };
    let ends_with_connection = ending == Ending::Close;
    if ends_with_connection {
        // Until all is written: whatever ends it before, a broken response, a deadline or the end of a drain.
        writer.resets_when_dropped(true)?;
    }
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
        observation.sent(total);
    }
    match ending {
        Ending::Sized(_) if left > 0 => return Err(io::ErrorKind::UnexpectedEof.into()),
        Ending::Chunked => encoder::last_chunk(&mut head, trailers.as_ref()),
        _ => {}
    }
    if !head.is_empty() {
        writer.write(&mut [IoSlice::new(&head)]).await?;
    }
    if ends_with_connection {
        writer.resets_when_dropped(false)?;
    }
    Ok(())
}
