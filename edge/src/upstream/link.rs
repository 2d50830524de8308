//! One connection to an upstream, led by whoever asks on it: no task of its own, no channels. A request goes out, its content
//! as it comes, and the response comes in, both at once.

use std::{
    fmt,
    io::{self, IoSlice},
    mem,
    pin::Pin,
    task::{Context, Poll, Waker, ready},
    time::Duration,
};

use bytes::{Buf, Bytes, BytesMut};
use http::Method;
use http_body::Body as _;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    runtime::{self, Handle},
    time::{Instant, Sleep},
};
use tokio_util::io::poll_read_buf;

use super::{
    Ask, Informational,
    body::{BoxError, RequestBody},
    connect::{Io, Line},
    message::{self, Ending, Head},
};
use crate::http1::{
    decoder::{Decoder, Part},
    encoder,
    head::Framing,
};

/// Bytes of a response's head; beyond, it is refused.
const HEAD_BYTES_MAX: usize = 64 << 10;
/// Bytes of one read, and of one after a read that brought as much as it could.
const READ_BYTES: usize = 16 << 10;
const READ_BYTES_MAX: usize = 64 << 10;
/// What an idle connection keeps of its buffer for requests.
const KEPT_OUT_BYTES_MAX: usize = 4 << 10;

/// A connection and where it is in what is said on it. Dropped, it ends.
pub(super) struct Link {
    io: Io,
    line: Line,
    /// In which it was made.
    runtime: runtime::Id,
    /// What was read and not yet taken.
    read: BytesMut,
    /// Whether the last read brought as much as it could.
    is_full: bool,
    out: Outgoing,
    /// Why no more of the request goes out; there may be a response for all that.
    refused: Option<io::Error>,
    content: Content,
    keep_alive: bool,
    patience: Patience,
}

/// Why there is no response, or no more of one.
#[derive(Debug)]
pub(super) enum Broke {
    /// The connection broke.
    Line(io::Error),
    /// What was said on it cannot be understood.
    Response(String),
    /// The content of the request broke off.
    Request(BoxError),
    /// It takes too long.
    Late,
}

impl fmt::Display for Broke {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Line(error) => write!(f, "the connection broke: {error}"),
            Self::Response(reason) => write!(f, "its response is not HTTP: {reason}"),
            Self::Request(error) => error.fmt(f),
            Self::Late => f.write_str("it takes too long"),
        }
    }
}

/// Where a response's content is.
#[derive(Debug)]
enum Content {
    Framed(Decoder),
    Close,
    Closed,
}

impl Link {
    pub(super) fn new(io: Io) -> Self {
        Self {
            line: io.line().clone(),
            io,
            runtime: Handle::current().id(),
            read: BytesMut::new(),
            is_full: false,
            out: Outgoing::default(),
            refused: None,
            content: Content::Framed(Decoder::new(Framing::Sized(0))),
            keep_alive: true,
            patience: Patience::new(),
        }
    }

    /// Its record.
    pub(super) fn line(&self) -> &Line {
        &self.line
    }

    /// Whose its socket and its timer are: in another, each of its events would be handed on from thread to thread, and at the end
    /// of this one it would be of no use.
    pub(super) fn runtime(&self) -> runtime::Id {
        self.runtime
    }

    /// Begins to ask.
    ///
    /// # Errors
    /// Where the request cannot be written.
    pub(super) fn begin(
        &mut self,
        ask: &Ask,
        host: Option<&http::HeaderValue>,
        authority: &str,
        content: Option<RequestBody>,
    ) -> Result<(), &'static str> {
        let left = if content.is_some() { message::length(&ask.headers)? } else { Some(0) };
        message::write(&mut self.out.head, ask, host, authority, left.is_none())?;
        (self.out.content, self.out.left) = (content, left);
        Ok(())
    }

    /// The head of the final response; those before it are told. It may take `first_byte` from the last of the content that went
    /// out.
    pub(super) fn poll_head(
        &mut self,
        method: &Method,
        informational: Option<&Informational>,
        first_byte: Duration,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Head, Broke>> {
        self.send(cx)?;
        if self.has_its_time_anew() {
            self.patience.lasts(first_byte);
        }
        let mut looked_at = 0;
        loop {
            // A head ends with a line: without a new one there is nothing new to find.
            if memchr::memchr(b'\n', &self.read[looked_at..]).is_some()
                && let Some(head) = message::parse(&self.read, method).map_err(Broke::Response)?
            {
                self.read.advance(head.bytes);
                looked_at = 0;
                if head.status.is_informational() && head.status != http::StatusCode::SWITCHING_PROTOCOLS {
                    if let Some(informational) = informational {
                        informational.call(head.status, &head.headers);
                    }
                    // There may be no end to them, and then nothing is waited for.
                    if self.patience.is_over() {
                        return Poll::Ready(Err(Broke::Late));
                    }
                    continue;
                }
                self.keep_alive = head.keep_alive;
                self.content = match head.ending {
                    Ending::Framed(framing) => Content::Framed(Decoder::new(framing)),
                    Ending::Close => Content::Close,
                };
                return Poll::Ready(Ok(head));
            }
            if self.read.len() > HEAD_BYTES_MAX {
                return Poll::Ready(Err(Broke::Response("its head is too large".into())));
            }
            looked_at = self.read.len();
            match self.poll_fill(cx) {
                Poll::Ready(Ok(0)) => {
                    let error = self.refused.take().unwrap_or_else(|| io::ErrorKind::UnexpectedEof.into());
                    return Poll::Ready(Err(Broke::Line(error)));
                }
                Poll::Ready(Ok(_)) => {}
                Poll::Ready(Err(error)) => return Poll::Ready(Err(Broke::Line(error))),
                Poll::Pending => return self.poll_late(cx).map(|()| Err(Broke::Late)),
            }
        }
    }

    /// Whether more of the request's content has gone out, or has yet to come: what a client takes to send it is not the
    /// upstream's fault, and who takes it is alive.
    pub(super) fn has_its_time_anew(&mut self) -> bool {
        mem::take(&mut self.out.has_moved) || self.out.waits
    }

    /// Ready when it takes the upstream too long. The client whose content is waited for has a deadline of its own.
    pub(super) fn poll_late(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.out.waits { Poll::Pending } else { self.patience.poll(cx) }
    }

    /// What comes next in the content, without an end to patience.
    pub(super) fn poll_part(&mut self, cx: &mut Context<'_>) -> Poll<Result<Part, Broke>> {
        self.send(cx)?;
        loop {
            match &mut self.content {
                Content::Framed(decoder) => match decoder.decode(&mut self.read) {
                    Ok(Part::Wait) => {}
                    Ok(part) => return Poll::Ready(Ok(part)),
                    Err(refusal) => return Poll::Ready(Err(Broke::Response(refusal.text.into()))),
                },
                Content::Close if self.read.is_empty() => {}
                Content::Close => return Poll::Ready(Ok(Part::Data(self.read.split().freeze()))),
                Content::Closed => return Poll::Ready(Ok(Part::End)),
            }
            match (ready!(self.poll_fill(cx)), &self.content) {
                (Err(error), _) => return Poll::Ready(Err(Broke::Line(error))),
                (Ok(0), Content::Close) => self.content = Content::Closed,
                (Ok(0), _) => return Poll::Ready(Err(Broke::Line(io::ErrorKind::UnexpectedEof.into()))),
                (Ok(_), _) => {}
            }
        }
    }

    /// Whether the content has come to its end.
    pub(super) fn is_end(&self) -> bool {
        match &self.content {
            Content::Framed(decoder) => decoder.is_end(),
            Content::Close => false,
            Content::Closed => true,
        }
    }

    /// Whether another request may follow, once this one is out.
    pub(super) fn may_be_kept(&self) -> bool {
        // Bytes behind a content are no response to what has yet to be asked.
        self.keep_alive && self.refused.is_none() && self.read.is_empty() && self.is_end()
    }

    /// Whether all of the request is out.
    pub(super) fn is_sent(&self) -> bool {
        self.out.is_done()
    }

    /// Sends the rest of the request.
    pub(super) fn poll_sent(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Broke>> {
        self.out.poll(&mut self.io, cx)
    }

    /// Lets go of what it needs only while something is said on it.
    pub(super) fn rests(&mut self) {
        if self.read.capacity() > READ_BYTES {
            self.read = BytesMut::new();
        }
        if self.out.head.capacity() > KEPT_OUT_BYTES_MAX {
            self.out.head = BytesMut::new();
        }
        self.is_full = false;
    }

    /// Whether it is as it was left: an upstream that has closed it, or says something that nobody asked for, is found out.
    pub(super) fn is_alive(&mut self) -> bool {
        let mut byte = [0];
        let mut cx = Context::from_waker(Waker::noop());
        Pin::new(&mut self.io).poll_read(&mut cx, &mut ReadBuf::new(&mut byte)).is_pending()
    }

    /// How long whoever asks waits.
    pub(super) fn patience(&mut self) -> &mut Patience {
        &mut self.patience
    }

    /// After a 101: the connection itself, and what has come on it already.
    pub(super) fn into_upgraded(self) -> Upgraded {
        Upgraded { io: Box::new(self.io), early: self.read.freeze() }
    }

    /// Sends what can be sent of the request now. What the upstream does not take is no reason not to hear it.
    fn send(&mut self, cx: &mut Context<'_>) -> Result<(), Broke> {
        if self.out.is_done() {
            return Ok(());
        }
        match self.out.poll(&mut self.io, cx) {
            Poll::Ready(Err(Broke::Line(error))) => {
                self.out = Outgoing::default();
                self.refused = Some(error);
                Ok(())
            }
            Poll::Ready(result) => result,
            Poll::Pending => Ok(()),
        }
    }

    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        self.read.reserve(if self.is_full { READ_BYTES_MAX } else { READ_BYTES });
        let read = ready!(poll_read_buf(Pin::new(&mut self.io), cx, &mut self.read))?;
        self.is_full = self.read.len() == self.read.capacity();
        Poll::Ready(Ok(read))
    }
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Link").field("line", &self.line).finish_non_exhaustive()
    }
}

/// What of a request has yet to go out.
#[derive(Default)]
struct Outgoing {
    /// Its head, or the size of a chunk.
    head: BytesMut,
    data: Bytes,
    tail: &'static [u8],
    content: Option<RequestBody>,
    /// Bytes of the content to come; `None`: it goes out in chunks.
    left: Option<u64>,
    /// Whether TLS may still hold some of what was written.
    is_held: bool,
    /// Whether all that there is has gone out, and there is more of the content to come.
    waits: bool,
    /// Whether some of a request with content went out.
    has_moved: bool,
}

impl Outgoing {
    fn is_done(&self) -> bool {
        self.content.is_none() && self.is_written() && !self.is_held
    }

    fn is_written(&self) -> bool {
        self.head.is_empty() && self.data.is_empty() && self.tail.is_empty()
    }

    fn poll(&mut self, io: &mut Io, cx: &mut Context<'_>) -> Poll<Result<(), Broke>> {
        self.waits = false;
        loop {
            // The first of the content goes out together with the head.
            let is_waiting =
                self.data.is_empty() && self.tail.is_empty() && self.poll_content(cx)?.is_pending();
            if self.is_written() {
                if !is_waiting && self.content.is_some() {
                    continue;
                }
                ready!(Pin::new(io).poll_flush(cx)).map_err(Broke::Line)?;
                self.is_held = false;
                self.waits = is_waiting;
                return if is_waiting { Poll::Pending } else { Poll::Ready(Ok(())) };
            }
            let parts = [IoSlice::new(&self.head), IoSlice::new(&self.data), IoSlice::new(self.tail)];
            let written = ready!(Pin::new(&mut *io).poll_write_vectored(cx, &parts)).map_err(Broke::Line)?;
            if written == 0 {
                return Poll::Ready(Err(Broke::Line(io::ErrorKind::WriteZero.into())));
            }
            self.is_held = true;
            self.has_moved |= self.content.is_some();
            self.advance(written);
        }
    }

    fn advance(&mut self, written: usize) {
        let of_head = written.min(self.head.len());
        if of_head == self.head.len() {
            // Its room is for the next.
            self.head.clear();
        } else {
            self.head.advance(of_head);
        }
        let of_data = (written - of_head).min(self.data.len());
        self.data.advance(of_data);
        self.tail = &self.tail[written - of_head - of_data..];
    }

    /// Takes the next part of the content; ready at its end, too.
    fn poll_content(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Broke>> {
        let Some(content) = &mut self.content else { return Poll::Ready(Ok(())) };
        let frame = ready!(Pin::new(content).poll_frame(cx)).transpose().map_err(Broke::Request)?;
        let Some(frame) = frame else {
            self.content = None;
            return Poll::Ready(match self.left {
                Some(0) => Ok(()),
                Some(_) => Err(Broke::Request("it is shorter than it says".into())),
                None => {
                    encoder::last_chunk(&mut self.head, None);
                    Ok(())
                }
            });
        };
        match (frame.into_data(), &mut self.left) {
            (Ok(data), Some(left)) => match left.checked_sub(data.len() as u64) {
                Some(rest) => (*left, self.data) = (rest, data),
                None => return Poll::Ready(Err(Broke::Request("it is longer than it says".into()))),
            },
            (Ok(data), None) if !data.is_empty() => {
                encoder::chunk_size(&mut self.head, data.len());
                (self.data, self.tail) = (data, b"\r\n");
            }
            (Err(frame), None) => {
                encoder::last_chunk(&mut self.head, frame.into_trailers().ok().as_ref());
                self.content = None;
            }
            // Nothing follows a content whose length was told.
            (Ok(_), None) | (Err(_), Some(_)) => {}
        }
        Poll::Ready(Ok(()))
    }
}

/// How long a connection is waited for: set anew with each step, and hardly ever at an end. So its timer is not: it stays where
/// it was set first, and looks, when that comes, how long there is still to wait.
pub(super) struct Patience {
    timer: Pin<Box<Sleep>>,
    end: Instant,
}

impl Patience {
    fn new() -> Self {
        let end = Instant::now();
        Self { timer: Box::pin(tokio::time::sleep_until(end)), end }
    }

    /// Ends then.
    pub(super) fn ends(&mut self, end: Instant) {
        self.end = end;
    }

    /// Ends after so long.
    pub(super) fn lasts(&mut self, time: Duration) {
        self.ends(Instant::now() + time);
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.timer.deadline() > self.end {
            self.timer.as_mut().reset(self.end);
        }
        loop {
            ready!(self.timer.as_mut().poll(cx));
            if self.is_over() {
                return Poll::Ready(());
            }
            self.timer.as_mut().reset(self.end);
        }
    }

    fn is_over(&self) -> bool {
        Instant::now() >= self.end
    }
}

/// A connection after a 101.
pub(crate) struct Upgraded {
    pub(crate) io: Box<Io>,
    /// What has come on it already.
    pub(crate) early: Bytes,
}

impl fmt::Debug for Upgraded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Upgraded")
    }
}
