//! A request on its way out on one connection, with its content as that comes.

use std::{
    io::{self, IoSlice},
    mem,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::{Buf, Bytes, BytesMut};
use http::HeaderValue;
use http_body::Body as _;
use tokio::{
    io::AsyncWrite as _,
    time::{Sleep, sleep},
};

use super::{Ask, body::RequestBody, connect::Io, link::Broke, message};
use crate::http1::encoder;

/// What an idle connection keeps of its buffer for requests.
const KEPT_BYTES_MAX: usize = 4 << 10;

/// What of a request has yet to go out.
#[derive(Default)]
pub(super) struct Outgoing {
    /// Its head, or the size of a chunk.
    head: BytesMut,
    data: Bytes,
    tail: &'static [u8],
    content: Option<RequestBody>,
    /// Until when the content waits for the upstream's word.
    held: Option<Pin<Box<Sleep>>>,
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
    /// Begins with a request. Content that waits for the upstream's word does so for `word`.
    ///
    /// # Errors
    /// Where it cannot be written.
    pub(super) fn begin(
        &mut self,
        ask: &Ask,
        host: Option<&HeaderValue>,
        authority: &str,
        content: Option<RequestBody>,
        word: Duration,
    ) -> Result<(), &'static str> {
        let left = if content.is_some() { message::length(&ask.headers)? } else { Some(0) };
        message::write(&mut self.head, ask, host, authority, left.is_none())?;
        self.held = (ask.expects_continue && content.is_some()).then(|| Box::pin(sleep(word)));
        (self.content, self.left) = (content, left);
        Ok(())
    }

    /// The upstream wants the content.
    pub(super) fn go_on(&mut self) {
        self.held = None;
    }

    /// Whether the content waits for the upstream's word.
    pub(super) fn is_held(&self) -> bool {
        self.held.is_some()
    }

    /// Whether all of it is out.
    pub(super) fn is_done(&self) -> bool {
        self.content.is_none() && self.is_written() && !self.is_held
    }

    fn is_written(&self) -> bool {
        self.head.is_empty() && self.data.is_empty() && self.tail.is_empty()
    }

    /// Whether there is more of the content to come, and nothing else to send.
    pub(super) fn waits(&self) -> bool {
        self.waits
    }

    /// Whether more of the content has gone out since this was asked.
    pub(super) fn has_moved(&mut self) -> bool {
        mem::take(&mut self.has_moved)
    }

    /// Lets go of what it needs only while a request goes out.
    pub(super) fn rests(&mut self) {
        if self.head.capacity() > KEPT_BYTES_MAX {
            self.head = BytesMut::new();
        }
    }

    /// Sends what can be sent now; ready once that is all.
    pub(super) fn poll(&mut self, io: &mut Io, cx: &mut Context<'_>) -> Poll<Result<(), Broke>> {
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
            // Its room is for the next, where it is usual.
            self.head.clear();
            self.rests();
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
        if let Some(held) = &mut self.held {
            ready!(held.as_mut().poll(cx));
            self.held = None;
        }
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
