//! The content of a response to a client.

use std::{
    collections::VecDeque,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use release::{Coding, Content, Digest, answer, entry::CHUNK_BYTES, reader::Reader};

use crate::{
    error::EdgeError, fill::FillReader, http1::Tunnel, metrics::corrupted, policy::forward,
    upstream::TimedBody,
};

/// Content on its way to a client.
#[derive(Debug)]
pub(crate) enum OutBody {
    /// At hand.
    Whole(Option<Bytes>),
    /// One after the other, none of them empty.
    Pieces(VecDeque<Piece>),
    /// Being received, and shared.
    Fill(FillReader),
    /// Being received for this client alone.
    Upstream(TimedBody),
    /// None: a 101, after which the connection belongs to these two.
    Tunnel(Tunnel),
}

/// A piece of what goes out.
#[derive(Debug)]
pub(crate) enum Piece {
    /// At hand.
    Bytes(Bytes),
    /// Being received, and shared.
    Fill(FillReader),
}

impl Piece {
    fn bytes(&self) -> Option<u64> {
        match self {
            Self::Bytes(bytes) => Some(bytes.len() as u64),
            Self::Fill(reader) => reader.length(),
        }
    }
}

fn poll_piece(pieces: &mut VecDeque<Piece>, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, EdgeError>>> {
    loop {
        let reader = match pieces.pop_front() {
            None => return Poll::Ready(None),
            Some(Piece::Bytes(bytes)) => return Poll::Ready(Some(Ok(bytes))),
            Some(Piece::Fill(reader)) => reader,
        };
        let mut reader = reader;
        let chunk = Pin::new(&mut reader).poll_chunk(cx);
        if !matches!(chunk, Poll::Ready(None)) {
            pieces.push_front(Piece::Fill(reader));
            return chunk;
        }
    }
}

impl OutBody {
    pub(crate) fn empty() -> Self {
        Self::Whole(None)
    }

    pub(crate) fn whole(bytes: Bytes) -> Self {
        Self::Whole(Some(bytes))
    }

    /// Waits until there is some of a part of what is being received, so that its head promises nothing that never comes; `false`:
    /// that broke off before the part. What begins with the content has begun.
    pub(crate) async fn begins(&mut self) -> bool {
        let reader = match self {
            Self::Fill(reader) => Some(reader),
            Self::Pieces(pieces) => pieces.iter_mut().find_map(|piece| match piece {
                Piece::Fill(reader) => Some(reader),
                Piece::Bytes(_) => None,
            }),
            Self::Whole(_) | Self::Upstream(_) | Self::Tunnel(_) => None,
        };
        match reader {
            Some(reader) => reader.begins().await,
            None => true,
        }
    }

    /// Bytes to come, where that is known.
    pub(crate) fn exact_bytes(&self) -> Option<u64> {
        match self {
            Self::Whole(bytes) => Some(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64)),
            Self::Pieces(pieces) => pieces.iter().map(Piece::bytes).sum(),
            Self::Fill(reader) => reader.length(),
            Self::Upstream(body) => body.exact(),
            Self::Tunnel(_) => Some(0),
        }
    }
}

impl Body for OutBody {
    type Data = Bytes;
    type Error = EdgeError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, EdgeError>>> {
        let chunk = match self.get_mut() {
            Self::Whole(bytes) => Poll::Ready(bytes.take().filter(|bytes| !bytes.is_empty()).map(Ok)),
            Self::Pieces(pieces) => poll_piece(pieces, cx),
            Self::Fill(reader) => match Pin::new(&mut *reader).poll_chunk(cx) {
                Poll::Ready(None) => {
                    let trailers = reader.take_trailers();
                    return Poll::Ready(trailers.map(|fields| Ok(Frame::trailers(fields))));
                }
                chunk => chunk,
            },
            Self::Tunnel(_) => Poll::Ready(None),
            Self::Upstream(body) => match body.poll_chunk(cx) {
                Poll::Ready(None) => {
                    let trailers = body.take_trailers().and_then(forward::trailers);
                    return Poll::Ready(trailers.map(|fields| Ok(Frame::trailers(fields))));
                }
                chunk => chunk,
            },
        };
        chunk.map(|chunk| chunk.map(|result| result.map(Frame::data)))
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Whole(bytes) => bytes.as_ref().is_none_or(Bytes::is_empty),
            Self::Pieces(pieces) => pieces.is_empty(),
            Self::Upstream(body) => body.is_end(),
            Self::Fill(_) => false,
            Self::Tunnel(_) => true,
        }
    }

    fn size_hint(&self) -> SizeHint {
        let exact = self.exact_bytes();
        exact.map(SizeHint::with_exact).unwrap_or_default()
    }
}

/// Content as it comes in.
#[derive(Debug)]
pub(crate) enum Source {
    /// Whole, and verified where it has a digest.
    Whole(Option<Bytes>),
    /// From an upstream.
    Stream(TimedBody),
    /// From an origin, large, each piece checked before it is handed on.
    Checked(Box<Checked>),
    /// From the bucket, in verified pieces.
    Pieces(Box<Pieces>),
}

/// Large content in the bucket.
#[derive(Debug)]
pub(crate) struct Pieces {
    pub(crate) reader: Arc<Reader>,
    pub(crate) content: Content,
    pub(crate) coding: Coding,
    pub(crate) next: usize,
}

/// Large content from an origin, with the digests of its pieces.
#[derive(Debug)]
pub(crate) struct Checked {
    pub(crate) body: TimedBody,
    pub(crate) chunks: Vec<Digest>,
    pub(crate) next: usize,
    pub(crate) buffer: BytesMut,
    pub(crate) upstream: String,
    pub(crate) rescue: Rescue,
}

/// Where the rest of a content can be had when its origin fails midway.
#[derive(Debug)]
pub(crate) struct Rescue {
    pub(crate) reader: Option<Arc<Reader>>,
    pub(crate) root: Digest,
    pub(crate) assets: Digest,
    pub(crate) path: String,
    pub(crate) accept_encoding: Option<String>,
    pub(crate) digest: Digest,
}

impl Rescue {
    /// The pieces from `next` on, if the bucket has the very same content.
    pub(crate) async fn pieces(&self, next: usize) -> Option<Pieces> {
        let reader = self.reader.as_ref()?;
        let resolution = answer::resolve(reader, self.root, self.assets, &self.path).await.ok()?;
        let coding = resolution.head(self.accept_encoding.as_deref(), None).coding?;
        let content = resolution.entry()?.content.clone();
        (coding.digest == self.digest).then(|| Pieces { reader: Arc::clone(reader), content, coding, next })
    }
}

impl Checked {
    /// The next piece, checked; `None`: all were handed on.
    async fn piece(&mut self) -> Option<Result<Bytes, EdgeError>> {
        let expected = *self.chunks.get(self.next)?;
        let whole = usize::try_from(CHUNK_BYTES).unwrap_or(usize::MAX);
        while self.buffer.len() < whole {
            match self.body.chunk().await {
                Some(Ok(bytes)) => self.buffer.extend_from_slice(&bytes),
                Some(Err(error)) => return Some(Err(error)),
                None => break,
            }
        }
        let piece = self.buffer.split_to(self.buffer.len().min(whole)).freeze();
        if Digest::of(&piece) != expected {
            corrupted(&self.rescue.path, &self.upstream);
            let (path, upstream) = (self.rescue.path.clone(), self.upstream.clone());
            return Some(Err(EdgeError::Corrupted { path, upstream }));
        }
        self.next += 1;
        Some(Ok(piece))
    }
}

impl Source {
    /// Bytes to come, where that is known.
    pub(crate) fn length(&self) -> Option<u64> {
        match self {
            Self::Whole(bytes) => Some(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64)),
            Self::Stream(body) => body.exact(),
            Self::Checked(checked) => checked.body.exact(),
            Self::Pieces(pieces) => Some(pieces.coding.length),
        }
    }

    /// What followed the content, as far as it may go on (RFC 9110 §6.5.1).
    pub(crate) fn trailers(&mut self) -> Option<HeaderMap> {
        match self {
            Self::Stream(body) => body.take_trailers().and_then(forward::trailers),
            Self::Whole(_) | Self::Checked(_) | Self::Pieces(_) => None,
        }
    }

    /// The next part. Where an origin fails midway, the rest comes from the bucket.
    pub(crate) async fn chunk(&mut self) -> Option<Result<Bytes, EdgeError>> {
        loop {
            match self {
                Self::Whole(bytes) => return bytes.take().map(Ok),
                Self::Stream(body) => return body.chunk().await,
                Self::Checked(checked) => match checked.piece().await {
                    Some(Err(error)) => match checked.rescue.pieces(checked.next).await {
                        Some(pieces) => *self = Self::Pieces(Box::new(pieces)),
                        None => return Some(Err(error)),
                    },
                    piece => return piece,
                },
                Self::Pieces(pieces) => {
                    if pieces.next >= pieces.coding.chunks.len().max(1) {
                        return None;
                    }
                    let chunk = pieces.reader.chunk(&pieces.content, &pieces.coding, pieces.next).await;
                    pieces.next += 1;
                    return Some(chunk.map_err(EdgeError::from));
                }
            }
        }
    }
}
