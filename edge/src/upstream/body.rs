//! Content on its way to and from upstreams.

use std::{
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame};
use http_body_util::{BodyExt, Empty, combinators::BoxBody};

use super::{
    link::Broke,
    message::{Ending, Head},
    pool::Lease,
    upstream::Permit,
};
use crate::{
    error::EdgeError,
    http1::{decoder::Part, head::Framing},
};

/// Any error of a body.
pub(crate) type BoxError = Box<dyn std::error::Error + Send + Sync>;
/// Content of a request to an upstream.
pub(crate) type RequestBody = BoxBody<Bytes, BoxError>;

/// No content.
pub(crate) fn no_content() -> RequestBody {
    Empty::new().map_err(|never| match never {}).boxed()
}

/// Content that can be offered to several upstreams, and is read by one.
pub(super) struct OnceBody {
    shared: Arc<Mutex<Option<RequestBody>>>,
    taken: Option<RequestBody>,
}

impl OnceBody {
    /// One more offer of the same content.
    pub(super) fn offer(shared: &Arc<Mutex<Option<RequestBody>>>) -> RequestBody {
        Self { shared: Arc::clone(shared), taken: None }.boxed()
    }
}

impl Body for OnceBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = self.get_mut();
        if this.taken.is_none() {
            this.taken = this.shared.lock().unwrap_or_else(PoisonError::into_inner).take();
        }
        match &mut this.taken {
            Some(body) => Pin::new(body).poll_frame(cx),
            None => Poll::Ready(Some(Err("the content was sent to another upstream already".into()))),
        }
    }
}

/// The content of an upstream's response, which may not stall longer than the deadline.
#[derive(Debug)]
pub(crate) struct TimedBody {
    /// The connection that it comes on, until it has ended.
    lease: Option<Lease>,
    /// Bytes that have yet to come on it, where that is known.
    left: Option<u64>,
    /// The first part, where it was waited for.
    first: Option<Bytes>,
    idle: Duration,
    /// Whether the upstream is being waited for.
    waits: bool,
    trailers: Option<HeaderMap>,
    /// Counts as a request under way until the content has ended.
    permit: Option<Permit>,
}

impl TimedBody {
    /// The content of the response with this head, which has just come.
    pub(super) fn new(head: &Head, idle: Duration, lease: Lease) -> Self {
        let left = match head.ending {
            Ending::Framed(Framing::Sized(length)) => Some(length),
            Ending::Framed(Framing::Chunked) | Ending::Close => None,
        };
        Self { lease: Some(lease), left, idle, ..Self::none() }
    }

    /// No content.
    pub(super) fn none() -> Self {
        Self {
            lease: None,
            left: Some(0),
            first: None,
            idle: Duration::ZERO,
            waits: false,
            trailers: None,
            permit: None,
        }
    }

    /// Waits for the first part of content that has a length: a response that breaks before is no response, and whoever asked
    /// can still be told so, or ask another upstream. What has no length may be a stream of events, whose head is news; of that
    /// counts what has come with the head.
    ///
    /// # Errors
    /// Where it breaks before, or does not come in time.
    pub(super) async fn begin(&mut self) -> Result<(), EdgeError> {
        if self.exact() == Some(0) || self.is_end() {
            return Ok(());
        }
        let has_length = self.exact().is_some();
        let first = std::future::poll_fn(|cx| match self.poll_chunk(cx) {
            Poll::Pending if !has_length => Poll::Ready(None),
            first => first,
        });
        self.first = first.await.transpose()?;
        Ok(())
    }

    /// The same, keeping its upstream's permit until it has ended, and telling it how.
    pub(super) fn holding(mut self, permit: Permit) -> Self {
        self.permit = Some(permit);
        if self.lease.as_mut().is_none_or(|lease| lease.link().is_end()) {
            self.completed();
        }
        self
    }

    fn completed(&mut self) {
        if let Some(lease) = self.lease.take() {
            lease.keep();
        }
        if let Some(permit) = self.permit.take() {
            permit.completed();
        }
    }

    fn broke(&mut self, broke: Broke) -> EdgeError {
        tracing::debug!(%broke, "a response broke off");
        let is_late = matches!(broke, Broke::Late);
        if let Broke::Request(error) = broke {
            // That says nothing about the upstream.
            self.permit = None;
            return EdgeError::RequestBroke { reason: error.to_string() };
        }
        let error = match is_late {
            true => EdgeError::Stalled { ms: u64::try_from(self.idle.as_millis()).unwrap_or(u64::MAX) },
            false => EdgeError::UpstreamBroke,
        };
        if let Some(permit) = self.permit.take() {
            permit.broke(&error, is_late);
        }
        error
    }

    /// The trailer section, once the content has ended, if there was one (RFC 9110 §6.5).
    pub(crate) fn take_trailers(&mut self) -> Option<HeaderMap> {
        self.trailers.take()
    }

    /// What `Content-Length` promises, or the fact that there is none.
    pub(crate) fn exact(&self) -> Option<u64> {
        let first = self.first.as_ref().map_or(0, |first| first.len() as u64);
        self.left.map(|left| left + first)
    }

    /// Whether it has ended already.
    pub(crate) fn is_end(&self) -> bool {
        self.first.is_none() && self.lease.is_none()
    }

    /// The next part; trailers are kept aside.
    pub(crate) fn poll_chunk(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, EdgeError>>> {
        if let Some(first) = self.first.take() {
            return Poll::Ready(Some(Ok(first)));
        }
        loop {
            let Some(lease) = &mut self.lease else { return Poll::Ready(None) };
            let link = lease.link();
            let Poll::Ready(part) = link.poll_part(cx) else {
                if link.has_its_time_anew() || !self.waits {
                    self.waits = true;
                    link.patience().lasts(self.idle);
                }
                return link.poll_late(cx).map(|()| Some(Err(self.broke(Broke::Late))));
            };
            self.waits = false;
            match part {
                Ok(Part::Data(data)) => {
                    self.left = self.left.map(|left| left.saturating_sub(data.len() as u64));
                    if link.is_end() {
                        self.completed();
                    }
                    return Poll::Ready(Some(Ok(data)));
                }
                Ok(Part::Trailers(fields)) => self.trailers = Some(fields),
                Ok(Part::End | Part::Wait) => {
                    self.completed();
                    return Poll::Ready(None);
                }
                Err(broke) => return Poll::Ready(Some(Err(self.broke(broke)))),
            }
        }
    }

    /// The next part.
    pub(crate) async fn chunk(&mut self) -> Option<Result<Bytes, EdgeError>> {
        std::future::poll_fn(|cx| self.poll_chunk(cx)).await
    }

    /// The whole, unless it is larger than `bytes_max` (`Ok(None)`).
    pub(crate) async fn collect(mut self, bytes_max: u64) -> Result<Option<Bytes>, EdgeError> {
        let mut whole = bytes::BytesMut::with_capacity(
            usize::try_from(self.exact().unwrap_or(0).min(bytes_max)).unwrap_or(0),
        );
        while let Some(chunk) = self.chunk().await {
            let chunk = chunk?;
            if whole.len() as u64 + chunk.len() as u64 > bytes_max {
                return Ok(None);
            }
            whole.extend_from_slice(&chunk);
        }
        Ok(Some(whole.freeze()))
    }
}

impl Body for TimedBody {
    type Data = Bytes;
    type Error = EdgeError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, EdgeError>>> {
        self.get_mut().poll_chunk(cx).map(|chunk| chunk.map(|result| result.map(Frame::data)))
    }

    fn is_end_stream(&self) -> bool {
        self.is_end()
    }

    fn size_hint(&self) -> http_body::SizeHint {
        self.exact().map(http_body::SizeHint::with_exact).unwrap_or_default()
    }
}
