//! A response that is being received: every client that waits for it reads along, at its own pace, while the whole
//! is collected for the store. A body that grows beyond what may be stored goes on as a stream: what all readers have
//! passed is let go, and the upstream is read no faster than the slowest reader, unless that takes nothing while others wait.

use std::{
    collections::VecDeque,
    future::poll_fn,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use slab::Slab;

use crate::{
    body::Piece,
    books::Reservation,
    error::EdgeError,
    policy::{freshness::Freshness, range::Span, vary::Selection},
};

/// Bytes that are held for the slowest reader once a body is too large to store.
const WINDOW_BYTES: u64 = 1 << 20;
/// And where memory is short: thousands that read slowly would come to more than there is.
const WINDOW_BYTES_MIN: u64 = 16 << 10;
/// Longest that readers who take nothing, as somebody on a train may for some seconds, hold up others of a body that is too
/// large to store: one client could have all wait who came with it for as long as it may take nothing, and begin again. Since a
/// chunk is taken when most of what went before has left, some 10 KiB a second are needed for that.
const HELD_UP_MAX: Duration = Duration::from_secs(20);

/// What a piece takes beside its bytes: an upstream may send single ones.
pub(crate) const PIECE_BYTES: usize = 2 * size_of::<Bytes>();

/// A response in flight.
#[derive(Debug)]
pub(crate) struct Fill {
    pub(crate) status: StatusCode,
    /// What the upstream answered with: of what completes a beginning that was held, 206.
    pub(crate) answered: StatusCode,
    /// Whether something that was changed since it was asked for covers it already: the store will not take it.
    pub(crate) is_overtaken: bool,
    /// Fields as they go to clients.
    pub(crate) head: HeaderMap,
    pub(crate) freshness: Freshness,
    pub(crate) selection: Selection,
    pub(crate) wall: i64,
    /// What `Content-Length` said.
    pub(crate) length: Option<u64>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    chunks: VecDeque<Bytes>,
    /// Position of the first byte in `chunks`.
    start: u64,
    /// Position after the last.
    end: u64,
    /// Whether chunks are let go once they were read.
    streaming: bool,
    /// Whether the first chunk is of what was stored, in place of all that there were by then.
    leans: bool,
    ended: Option<Ended>,
    /// What followed the content, for those who read along; it is not stored.
    trailers: Option<HeaderMap>,
    readers: Slab<ReaderSlot>,
    /// How often the writer has begun to wait for room.
    waits: u64,
    writer: Option<Waker>,
    /// What its chunks take, where nobody else counts them.
    memory: Option<Reservation>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ended {
    Complete,
    Broken,
}

#[derive(Debug)]
struct ReaderSlot {
    position: u64,
    /// `waits` when it last took something.
    taken_at: u64,
    waker: Option<Waker>,
}

impl State {
    fn held(&self) -> u64 {
        self.end - self.start + (self.chunks.len() * PIECE_BYTES) as u64
    }

    /// Those who wait for more.
    fn wakers(&mut self) -> Vec<Waker> {
        self.readers.iter_mut().filter_map(|(_, reader)| reader.waker.take()).collect()
    }

    fn slowest(&self) -> Option<u64> {
        self.readers.iter().map(|(_, reader)| reader.position).min()
    }

    /// Lets go what all readers have passed, and wakes the writer where there is room again.
    fn trim(&mut self) -> Option<Waker> {
        if !self.streaming {
            return None;
        }
        let slowest = self.slowest().unwrap_or(self.end);
        while let Some(first) = self.chunks.front()
            && self.start + first.len() as u64 <= slowest
        {
            self.start += first.len() as u64;
            self.chunks.pop_front();
        }
        if self.held() < WINDOW_BYTES || self.slowest().is_none() { self.writer.take() } else { None }
    }
}

impl Fill {
    pub(crate) fn new(
        status: StatusCode,
        head: HeaderMap,
        freshness: Freshness,
        selection: Selection,
        wall: i64,
        length: Option<u64>,
    ) -> Self {
        Self {
            status,
            answered: status,
            is_overtaken: false,
            head,
            freshness,
            selection,
            wall,
            length,
            state: Mutex::default(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wake(wakers: Vec<Waker>) {
        for waker in wakers {
            waker.wake();
        }
    }

    /// Adds what was received.
    pub(crate) fn push(&self, chunk: Bytes) {
        if chunk.is_empty() {
            return;
        }
        let mut state = self.state();
        state.end += chunk.len() as u64;
        state.chunks.push_back(chunk);
        // What all readers begin behind is read by none: who waits for more than may be held would wait for ever.
        state.trim();
        let wakers = state.wakers();
        drop(state);
        Self::wake(wakers);
    }

    /// From now on chunks are let go once all readers have passed them. No reader can join any more.
    pub(crate) fn stream_only(&self) {
        let mut state = self.state();
        state.streaming = true;
        state.trim();
    }

    /// Waits until the slowest reader has caught up, further where memory `is_short`, or is left behind; `false`: nobody reads.
    pub(crate) async fn room(&self, is_short: bool) -> bool {
        let window = if is_short { WINDOW_BYTES_MIN } else { WINDOW_BYTES };
        loop {
            self.state().waits += 1;
            let room = poll_fn(|cx| {
                let mut state = self.state();
                if state.slowest().is_none() {
                    return Poll::Ready(false);
                }
                if state.held() < window {
                    return Poll::Ready(true);
                }
                state.writer = Some(cx.waker().clone());
                Poll::Pending
            });
            match tokio::time::timeout(HELD_UP_MAX, room).await {
                Ok(is_read) => return is_read,
                Err(_) => self.leave_behind(),
            }
        }
    }

    /// Where readers wait for more, those that have taken nothing for as long as the writer has waited get none any more.
    fn leave_behind(&self) {
        let mut state = self.state();
        let (end, waits) = (state.end, state.waits);
        // Of a client that wants several spans, the later ones have not begun to wait.
        if state.readers.iter().all(|(_, reader)| reader.waker.is_none()) {
            return;
        }
        let before = state.readers.len();
        state.readers.retain(|_, reader| reader.position >= end || reader.taken_at == waits);
        let left = before - state.readers.len();
        metrics::counter!("bakehouse_edge_left_behind_total").increment(left as u64);
        state.trim();
    }

    /// Keeps the memory that was taken for it, until its last reader is done.
    pub(crate) fn keep(&self, memory: Reservation) {
        self.state().memory = Some(memory);
    }

    /// Keeps a trailer section for those who read along; before the end.
    pub(crate) fn set_trailers(&self, trailers: HeaderMap) {
        self.state().trailers = Some(trailers);
    }

    /// The end: complete, or broken off, which readers see as an error.
    pub(crate) fn end(&self, complete: bool) {
        let mut state = self.state();
        state.ended.get_or_insert(if complete { Ended::Complete } else { Ended::Broken });
        let wakers = state.wakers();
        drop(state);
        Self::wake(wakers);
    }

    /// All bytes, in pieces. Only for a body that was never cut short by [`Fill::stream_only`].
    pub(crate) fn pieces(&self) -> Vec<Bytes> {
        self.state().chunks.iter().cloned().collect()
    }

    /// Bytes that it takes.
    pub(crate) fn held(&self) -> usize {
        usize::try_from(self.state().held()).unwrap_or(usize::MAX)
    }

    /// Has readers read on in what was stored, of which what it holds is the beginning, so that one content is not in memory
    /// twice for as long as the slowest of them takes.
    pub(crate) fn lean_on(&self, content: &Bytes) {
        let mut state = self.state();
        let end = usize::try_from(state.end).unwrap_or(usize::MAX);
        if !state.streaming && state.start == 0 && end <= content.len() && end > 0 {
            state.chunks = VecDeque::from([content.slice(..end)]);
            state.leans = true;
        }
    }

    /// A reader for one who did not ask for it. `None`: too late to join, or there is nothing but a break to come, which is for
    /// those alone who have begun to read.
    pub(crate) fn join(self: &Arc<Self>) -> Option<FillReader> {
        let reader = self.reader(0, None)?;
        let is_broken = self.state().ended == Some(Ended::Broken);
        if is_broken { None } else { Some(reader) }
    }

    /// A reader of the bytes from `from` up to `to` (exclusive; `None`: to the end). `None`: it is too late for that.
    pub(crate) fn reader(self: &Arc<Self>, from: u64, to: Option<u64>) -> Option<FillReader> {
        let mut state = self.state();
        if state.streaming {
            return None;
        }
        let id = state.readers.insert(ReaderSlot { position: from, taken_at: 0, waker: None });
        drop(state);
        Some(FillReader {
            fill: Arc::clone(self),
            id,
            position: from,
            to,
            index: 0,
            index_start: 0,
            took_trailers: false,
        })
    }
}

impl Fill {
    /// Readers of several spans that are read one after the other. `None`: too late to join, or one lies before the one
    /// that is read first: its reader would hold up what the other waits for.
    pub(crate) fn readers(self: &Arc<Self>, spans: &[Span]) -> Option<Vec<Piece>> {
        if !spans.is_sorted_by_key(|span| span.start) {
            return None;
        }
        spans.iter().map(|span| self.reader(span.start, Some(span.end)).map(Piece::Fill)).collect()
    }
}

/// One client's place in a [`Fill`].
#[derive(Debug)]
pub(crate) struct FillReader {
    fill: Arc<Fill>,
    id: usize,
    position: u64,
    to: Option<u64>,
    /// Where the last chunk was found, so that a long body is not searched from its beginning; valid while nothing
    /// is let go.
    index: usize,
    index_start: u64,
    took_trailers: bool,
}

impl FillReader {
    /// Bytes that will follow, where that is known.
    pub(crate) fn length(&self) -> Option<u64> {
        self.to.or(self.fill.length).map(|end| end.saturating_sub(self.position))
    }

    /// Waits for the first of its bytes, where others come before; `false`: what is received broke off before it.
    pub(crate) async fn begins(&mut self) -> bool {
        if self.position == 0 {
            return true;
        }
        poll_fn(|cx| {
            let mut state = self.fill.state();
            match state.ended {
                _ if self.position < state.end => Poll::Ready(true),
                Some(ended) => Poll::Ready(ended == Ended::Complete),
                None => {
                    if let Some(slot) = state.readers.get_mut(self.id) {
                        slot.waker = Some(cx.waker().clone());
                    }
                    Poll::Pending
                }
            }
        })
        .await
    }

    /// The trailer section, once, after the end of the whole content.
    pub(crate) fn take_trailers(&mut self) -> Option<HeaderMap> {
        let state = self.fill.state();
        if self.to.is_some() || self.took_trailers || state.ended != Some(Ended::Complete) {
            return None;
        }
        self.took_trailers = true;
        state.trailers.clone()
    }

    pub(crate) fn poll_chunk(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, EdgeError>>> {
        let this = &mut *self;
        if this.to.is_some_and(|to| this.position >= to) {
            return Poll::Ready(None);
        }
        let fill = Arc::clone(&this.fill);
        let mut state = fill.state();
        if !state.readers.contains(this.id) {
            return Poll::Ready(Some(Err(EdgeError::LeftBehind)));
        }
        if this.position >= state.end {
            return match state.ended {
                Some(Ended::Complete) => Poll::Ready(None),
                Some(Ended::Broken) => Poll::Ready(Some(Err(EdgeError::UpstreamBroke))),
                None => {
                    if let Some(slot) = state.readers.get_mut(this.id) {
                        slot.waker = Some(cx.waker().clone());
                    }
                    Poll::Pending
                }
            };
        }
        if state.streaming || state.leans || this.index_start < state.start {
            this.index = 0;
            this.index_start = state.start;
        }
        while let Some(chunk) = state.chunks.get(this.index) {
            let end = this.index_start + chunk.len() as u64;
            if this.position < end {
                break;
            }
            this.index += 1;
            this.index_start = end;
        }
        let Some(chunk) = state.chunks.get(this.index) else {
            return Poll::Ready(Some(Err(EdgeError::UpstreamBroke)));
        };
        let skip = usize::try_from(this.position - this.index_start).unwrap_or(0);
        let mut out = chunk.slice(skip..);
        if let Some(to) = this.to {
            out.truncate(usize::try_from(to - this.position).unwrap_or(usize::MAX));
        }
        this.position += out.len() as u64;
        let waits = state.waits;
        if let Some(slot) = state.readers.get_mut(this.id) {
            (slot.position, slot.taken_at) = (this.position, waits);
        }
        let writer = state.trim();
        drop(state);
        if let Some(waker) = writer {
            waker.wake();
        }
        Poll::Ready(Some(Ok(out)))
    }
}

impl Drop for FillReader {
    fn drop(&mut self) {
        let mut state = self.fill.state();
        state.readers.try_remove(self.id);
        let writer = state.trim();
        drop(state);
        if let Some(waker) = writer {
            waker.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::{directives::Control, freshness::Receipt, rules::SMaxage};

    fn fill(length: Option<u64>) -> Arc<Fill> {
        let (head, receipt) = (HeaderMap::new(), Receipt { asked: 0, got: 0, wall: 0 });
        let control = Control::of(&head, &[]);
        let freshness = Freshness::of(StatusCode::OK, &head, &control, receipt, SMaxage::Strict);
        Arc::new(Fill::new(StatusCode::OK, head, freshness, Selection::default(), 0, length))
    }

    #[tokio::test]
    async fn readers_go_on_in_what_was_stored() {
        let fill = fill(Some(9));
        let next = async |reader: &mut FillReader| {
            poll_fn(|cx| Pin::new(&mut *reader).poll_chunk(cx)).await.map(Result::unwrap)
        };
        let mut readers: Vec<FillReader> = (0..3).map(|_| fill.reader(0, None).unwrap()).collect();
        for chunk in ["one", "two"] {
            fill.push(Bytes::from_static(chunk.as_bytes()));
        }
        // One has read nothing, one the first, one all.
        assert_eq!(next(&mut readers[1]).await.unwrap(), "one");
        assert_eq!(
            (next(&mut readers[2]).await.unwrap(), next(&mut readers[2]).await.unwrap()),
            ("one".into(), "two".into())
        );
        let stored = Bytes::from_static(b"onetwosix");
        fill.lean_on(&stored);
        assert_eq!(fill.held(), 6 + PIECE_BYTES);
        fill.push(stored.slice(6..));
        assert_eq!(fill.held(), 9 + 2 * PIECE_BYTES, "what a piece takes is counted");
        fill.end(true);
        for (reader, expected) in readers.iter_mut().zip(["onetwosix", "twosix", "six"]) {
            let mut rest = Vec::new();
            while let Some(chunk) = next(reader).await {
                assert!(stored.as_ptr_range().contains(&chunk.as_ptr()), "no second copy is kept");
                rest.extend_from_slice(&chunk);
            }
            assert_eq!(rest, expected.as_bytes());
        }
    }

    #[test]
    fn nobody_joins_what_has_broken_off() {
        let fill = fill(Some(9));
        fill.push(Bytes::from_static(b"one"));
        let _reader = fill.join().unwrap();
        fill.end(false);
        assert!(fill.join().is_none());
        // Who reads it already may go on with a part of it.
        assert!(fill.reader(5, None).is_some());
    }

    /// Who wants what lies further on than may be held has nothing to read by then.
    #[tokio::test]
    async fn a_reader_that_is_far_ahead_holds_up_nothing() {
        for is_short in [false, true] {
            let fill = fill(None);
            let from = 2 * WINDOW_BYTES;
            let mut reader = fill.reader(from, Some(from + 1)).unwrap();
            fill.stream_only();
            let chunk = Bytes::from(vec![0; 8 << 10]);
            for _ in 0..=from / chunk.len() as u64 {
                let room = tokio::time::timeout(std::time::Duration::from_secs(9), fill.room(is_short));
                assert!(room.await.expect("room"));
                fill.push(chunk.clone());
                assert!(fill.held() <= chunk.len() + PIECE_BYTES);
            }
            let read = poll_fn(|cx| Pin::new(&mut reader).poll_chunk(cx)).await;
            assert_eq!(read.unwrap().unwrap().len(), 1);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn who_takes_nothing_holds_up_others_for_a_while() {
        let chunk = Bytes::from(vec![0; usize::try_from(WINDOW_BYTES).unwrap() / 4]);
        let read = async |reader: &mut FillReader| {
            let next = poll_fn(|cx| Pin::new(&mut *reader).poll_chunk(cx));
            tokio::time::timeout(Duration::ZERO, next).await.ok().flatten()
        };
        // Whether one who has read all waits for more, and whether the other takes something meanwhile.
        for (others_wait, takes) in [(true, false), (true, true), (false, false)] {
            let fill = fill(None);
            let (mut quick, mut slow) = (fill.reader(0, None).unwrap(), fill.reader(0, None).unwrap());
            let _later = fill.reader(9 * WINDOW_BYTES, None).unwrap();
            fill.stream_only();
            for _ in 0..6 {
                fill.push(chunk.clone());
            }
            while others_wait && read(&mut quick).await.is_some() {}
            let begun = tokio::time::Instant::now();
            let mut room = std::pin::pin!(fill.room(false));
            if takes {
                assert!(tokio::time::timeout(HELD_UP_MAX / 2, room.as_mut()).await.is_err());
                assert!(read(&mut slow).await.unwrap().is_ok());
            }
            let ended = tokio::time::timeout(HELD_UP_MAX * 5 / 4, room).await;
            let is_left = others_wait && !takes;
            assert_eq!(ended.ok(), is_left.then_some(true), "{others_wait} {takes} {:?}", begun.elapsed());
            let got = read(&mut slow).await.unwrap();
            assert_eq!(matches!(got, Err(EdgeError::LeftBehind)), is_left, "{others_wait} {takes}");
            assert_eq!(got.is_ok(), !is_left);
        }
    }
}
