//! The content of a response to a client.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use release::reader::Reader;
use std::sync::Arc;

use crate::{error::EdgeError, fetch::TimedBody, fill::FillReader};

/// Content on its way to a client.
#[derive(Debug)]
pub(crate) enum OutBody {
    /// At hand.
    Whole(Option<Bytes>),
    /// Being received, and shared.
    Fill(FillReader),
    /// Being received for this client alone.
    Upstream(TimedBody),
}

impl OutBody {
    pub(crate) fn empty() -> Self {
        Self::Whole(None)
    }

    pub(crate) fn whole(bytes: Bytes) -> Self {
        Self::Whole(Some(bytes))
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
            Self::Fill(reader) => Pin::new(reader).poll_chunk(cx),
            Self::Upstream(body) => body.poll_chunk(cx),
        };
        chunk.map(|chunk| chunk.map(|result| result.map(Frame::data)))
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Whole(bytes) => bytes.as_ref().is_none_or(Bytes::is_empty),
            Self::Upstream(body) => body.is_end(),
            Self::Fill(_) => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        let exact = match self {
            Self::Whole(bytes) => Some(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64)),
            Self::Fill(reader) => reader.length(),
            Self::Upstream(body) => body.exact(),
        };
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
    /// From the bucket, in verified pieces.
    Pieces(Pieces),
}

/// Large content in the bucket.
#[derive(Debug)]
pub(crate) struct Pieces {
    pub(crate) reader: Arc<Reader>,
    pub(crate) content: release::Content,
    pub(crate) coding: release::Coding,
    pub(crate) next: usize,
}

impl Source {
    /// Bytes to come, where that is known.
    pub(crate) fn length(&self) -> Option<u64> {
        match self {
            Self::Whole(bytes) => Some(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64)),
            Self::Stream(body) => body.exact(),
            Self::Pieces(pieces) => Some(pieces.coding.length),
        }
    }

    /// The next part.
    pub(crate) async fn chunk(&mut self) -> Option<Result<Bytes, EdgeError>> {
        match self {
            Self::Whole(bytes) => bytes.take().map(Ok),
            Self::Stream(body) => body.chunk().await,
            Self::Pieces(pieces) => {
                if pieces.next >= pieces.coding.chunks.len().max(1) {
                    return None;
                }
                let chunk = pieces.reader.chunk(&pieces.content, &pieces.coding, pieces.next).await;
                pieces.next += 1;
                Some(chunk.map_err(EdgeError::from))
            }
        }
    }
}
