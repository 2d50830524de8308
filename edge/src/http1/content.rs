//! A request's content on its way from the connection to whoever sends it on. It is read no faster than it is taken,
//! and not at all before somebody asks for it: that is when a client that waits for a 100 gets one.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::{Bytes, BytesMut};
use http_body::{Body, Frame, SizeHint};
use tokio::{
    io::AsyncReadExt,
    net::tcp::ReadHalf,
    sync::{Notify, mpsc},
};

use super::{
    Refusal,
    deadlines::{Place, Reading},
    decoder::{Decoder, Part},
    head::Framing,
};
use crate::{
    clock,
    policy::{forward, freshness::Millis},
    upstream::BoxError,
};

/// Parts that wait to be taken.
const PARTS_MAX: usize = 1;
/// Bytes of one read.
const READ_BYTES: usize = 16 << 10;
/// A client must send this much, or all there is, before its deadline begins anew; one that sends single bytes would
/// otherwise hold an upstream for ever.
const PROGRESS_BYTES_MIN: usize = 4 << 10;

type Item = Result<Option<Frame<Bytes>>, BoxError>;

/// A request's content, for whoever sends it on.
#[derive(Debug)]
pub(crate) struct Content {
    parts: mpsc::Receiver<Item>,
    wanted: Arc<Notify>,
    is_wanted: bool,
    ended: bool,
    left: Option<u64>,
}

/// The connection's end of it.
#[derive(Debug)]
pub(crate) struct Pump {
    parts: mpsc::Sender<Item>,
    wanted: Arc<Notify>,
}

/// How receiving a content ended.
#[derive(Debug)]
pub(crate) enum Received {
    /// It was handed on to its end.
    Whole,
    /// Nobody wants the rest.
    Unwanted,
    /// The client broke off.
    Broken,
    /// The client sent what cannot be read.
    Refused(Refusal),
}

/// Both ends.
pub(crate) fn channel(framing: Framing) -> (Content, Pump) {
    let (sender, receiver) = mpsc::channel(PARTS_MAX);
    let wanted = Arc::new(Notify::new());
    let left = match framing {
        Framing::Sized(length) => Some(length),
        Framing::Chunked => None,
    };
    let content =
        Content { parts: receiver, wanted: Arc::clone(&wanted), is_wanted: false, ended: false, left };
    (content, Pump { parts: sender, wanted })
}

impl Body for Content {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = self.get_mut();
        if this.ended {
            return Poll::Ready(None);
        }
        if !this.is_wanted {
            this.is_wanted = true;
            this.wanted.notify_one();
        }
        let item = match this.parts.poll_recv(cx) {
            Poll::Pending => return Poll::Pending,
            Poll::Ready(item) => item.unwrap_or_else(|| Err("the client's connection ended".into())),
        };
        match item {
            Ok(Some(frame)) => {
                if let (Some(left), Some(data)) = (&mut this.left, frame.data_ref()) {
                    *left = left.saturating_sub(data.len() as u64);
                }
                Poll::Ready(Some(Ok(frame)))
            }
            Ok(None) => {
                this.ended = true;
                Poll::Ready(None)
            }
            Err(error) => {
                this.ended = true;
                Poll::Ready(Some(Err(error)))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.ended
    }

    fn size_hint(&self) -> SizeHint {
        self.left.map(SizeHint::with_exact).unwrap_or_default()
    }
}

/// How much of its time a client has left to send some more. Only waiting for it counts, not what whoever takes its content
/// takes.
#[derive(Debug)]
struct Pace {
    limit_ms: Millis,
    left_ms: Millis,
    bytes: usize,
}

impl Pace {
    fn new(limit_ms: Millis) -> Self {
        Self { limit_ms, left_ms: limit_ms, bytes: 0 }
    }

    /// So many bytes came after so long.
    fn took(&mut self, bytes: usize, ms: Millis) {
        self.bytes += bytes;
        self.left_ms = self.left_ms.saturating_sub(ms);
        if self.bytes >= PROGRESS_BYTES_MIN {
            (self.bytes, self.left_ms) = (0, self.limit_ms);
        }
    }
}

impl Pump {
    /// Ready when somebody asks for the content.
    pub(crate) async fn wanted(&self) {
        self.wanted.notified().await;
    }

    /// Whether nobody takes what is handed on any more.
    pub(crate) fn is_unwanted(&self) -> bool {
        self.parts.is_closed()
    }

    /// Reads and hands on to the end. Dropped on the way and run anew, it goes on where it was: nothing is taken out of the
    /// stream before there is room to hand it on.
    pub(crate) async fn run(
        &self,
        reader: &mut ReadHalf<'_>,
        buffer: &mut BytesMut,
        decoder: &mut Decoder,
        place: &Place,
    ) -> Received {
        let mut pace = Pace::new(place.slot.content_ms());
        loop {
            let Ok(room) = self.parts.reserve().await else { return Received::Unwanted };
            let mut refusal = None;
            let item = match decoder.decode(buffer) {
                Ok(Part::Data(bytes)) => Ok(Some(Frame::data(bytes))),
                Ok(Part::Trailers(fields)) => match forward::request_trailers(fields) {
                    Some(fields) => Ok(Some(Frame::trailers(fields))),
                    None => continue,
                },
                Ok(Part::End) => Ok(None),
                Ok(Part::Wait) => {
                    let begun = clock::boot_ms();
                    place.widen(reader.as_ref());
                    place.slot.reads_within(Reading::Content, begun, pace.left_ms);
                    buffer.reserve(READ_BYTES);
                    let read = reader.read_buf(buffer).await;
                    place.slot.rests();
                    match read {
                        Ok(bytes @ 1..) => {
                            pace.took(bytes, clock::boot_ms().saturating_sub(begun));
                            continue;
                        }
                        Ok(0) => Err("the client ended its connection".into()),
                        Err(error) => Err(error.into()),
                    }
                }
                Err(refused) => {
                    refused.count();
                    refusal = Some(refused);
                    Err(refused.text.into())
                }
            };
            let (is_end, is_broken) = (matches!(item, Ok(None)), item.is_err());
            room.send(item);
            match (is_end, is_broken) {
                (true, _) => return Received::Whole,
                (_, true) => return refusal.map_or(Received::Broken, Received::Refused),
                _ => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_has_its_time_for_each_step() {
        let mut pace = Pace::new(1_000);
        let rows = [
            // Bytes, after so long, and what is left.
            (1, 300, 700),
            (1, 300, 400),
            (PROGRESS_BYTES_MIN - 3, 300, 100),
            (1, 50, 1_000),
            (1, 999, 1),
            (1, 5, 0),
            (PROGRESS_BYTES_MIN, 0, 1_000),
        ];
        for (bytes, ms, left) in rows {
            pace.took(bytes, ms);
            assert_eq!(pace.left_ms, left, "{bytes} {ms}");
        }
    }
}
