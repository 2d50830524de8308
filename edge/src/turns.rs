//! How many requests to upstreams are under way at once: as many as the memory has room for. The others wait for their turn,
//! in the order in which they came, and so do those that come faster than memory is measured. Where all that is stored has made
//! room for what was measured, and it is not enough, nobody waits for a turn: who does takes memory, too.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use arc_swap::ArcSwap;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Instant, timeout_at},
};

use crate::{books::Reservation, error::EdgeError, store::Store};

/// What a request to an upstream takes of the memory until its response has come, in bytes: what it asks with and what is
/// told of the answer, and the buffers of its connection. One that waits for its response was seen to take 25 KiB, one whose
/// response a slow client holds up as much, and up to 64 KiB that the kernel has received meanwhile.
pub(crate) const TURN_BYTES: usize = 96 << 10;
/// What a request takes that is not answered at once, in bytes, beside its turn and what the kernel holds of its response: 13 KiB were
/// seen, and what came behind it.
pub(crate) const ADMITTED_BYTES: usize = 16 << 10;
/// What a head takes until it has been sent, as often as it is large: as it came, as it goes out, and in the kernel.
const HEAD_COPIES: usize = 3;
/// The part of the memory that all turns may take.
const TURNS_PART: usize = 2;
/// As many may be taken with however little memory.
const TURNS_MIN: usize = 16;
/// How long a request waits for its turn.
const WAIT_MAX: Duration = Duration::from_secs(6);

/// Turns of requests to upstreams.
#[derive(Debug)]
pub(crate) struct Turns {
    store: Arc<Store>,
    free: ArcSwap<Semaphore>,
    under_way: Arc<AtomicUsize>,
    waiting: Arc<AtomicUsize>,
    wait_max: Duration,
}

/// One request's, until its response has come to its end.
#[derive(Debug)]
pub(crate) struct Turn {
    _permit: OwnedSemaphorePermit,
    _memory: Reservation,
    _counted: Counted,
}

impl Turns {
    /// As many as `store_bytes_max` bytes allow.
    pub(crate) fn new(store: &Arc<Store>, store_bytes_max: usize) -> Self {
        let free = ArcSwap::from_pointee(Semaphore::new(turns_max(store_bytes_max)));
        let store = Arc::clone(store);
        Self { store, free, under_way: Arc::default(), waiting: Arc::default(), wait_max: WAIT_MAX }
    }

    /// Allows as many as `store_bytes_max` bytes do from now on, beside those that are under way.
    pub(crate) fn resize(&self, store_bytes_max: usize) {
        self.free.store(Arc::new(Semaphore::new(turns_max(store_bytes_max))));
    }

    /// Those who wait.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }

    /// Waits for a turn for a request with a head of so many bytes. A large one counts as several.
    ///
    /// # Errors
    /// Where none comes in time, or there is no memory for one more.
    pub(crate) async fn take(&self, head_bytes: usize) -> Result<Arc<Turn>, EdgeError> {
        let (books, end) = (self.store.books(), Instant::now() + self.wait_max);
        let count = 1 + HEAD_COPIES * head_bytes / TURN_BYTES;
        let bytes = count * TURN_BYTES;
        while self.under_way.load(Ordering::Relaxed) >= TURNS_MIN && !books.allowance().take(bytes) {
            if books.short_bytes() > 0 {
                return Err(no_turn(Duration::ZERO));
            }
            let _one = Counted::one(&self.waiting);
            self.renewed(end).await?;
        }
        let free = self.free.load_full();
        let permits = u32::try_from(count.min(TURNS_MIN)).unwrap_or(1);
        let permit = match Arc::clone(&free).try_acquire_many_owned(permits) {
            Ok(permit) => permit,
            Err(_) => self.wait(free, permits, end).await?,
        };
        let mut memory = self.store.reservation();
        memory.grow(bytes);
        let counted = Counted::one(&self.under_way);
        Ok(Arc::new(Turn { _permit: permit, _memory: memory, _counted: counted }))
    }

    /// Waits until there is memory for one more request that is not answered at once, whoever answers it.
    ///
    /// # Errors
    /// Where there is none in time.
    pub(crate) async fn admit(&self) -> Result<(), EdgeError> {
        let end = Instant::now() + self.wait_max;
        while !self.store.books().allowance().take(ADMITTED_BYTES) {
            self.renewed(end).await?;
        }
        Ok(())
    }

    /// Waits until more memory is allowed, until `end`.
    async fn renewed(&self, end: Instant) -> Result<(), EdgeError> {
        let renewed = timeout_at(end, self.store.books().allowance().renewed()).await;
        renewed.map_err(|_| no_turn(self.wait_max))
    }

    async fn wait(
        &self,
        free: Arc<Semaphore>,
        permits: u32,
        end: Instant,
    ) -> Result<OwnedSemaphorePermit, EdgeError> {
        let _one = Counted::one(&self.waiting);
        match timeout_at(end, free.acquire_many_owned(permits)).await {
            Ok(Ok(permit)) => Ok(permit),
            // It is never closed.
            Ok(Err(_)) | Err(_) => Err(no_turn(self.wait_max)),
        }
    }
}

/// None came in the time for which it was waited.
fn no_turn(waited: Duration) -> EdgeError {
    metrics::counter!("bakehouse_edge_turns_refused_total").increment(1);
    EdgeError::NoTurn { seconds: waited.as_secs() }
}

/// One of those who are counted.
#[derive(Debug)]
pub(crate) struct Counted(Arc<AtomicUsize>);

impl Counted {
    pub(crate) fn one(all: &Arc<AtomicUsize>) -> Self {
        all.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(all))
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

fn turns_max(store_bytes_max: usize) -> usize {
    (store_bytes_max / TURNS_PART / TURN_BYTES).max(TURNS_MIN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn who_comes_too_late_waits_for_a_turn_and_not_for_ever() {
        let store = Arc::new(Store::new(8 << 20));
        let turns = Turns::new(&store, 8 << 20);
        let turns = Arc::new(Turns { wait_max: Duration::from_millis(200), ..turns });
        let mut taken = Vec::new();
        for _ in 0..turns_max(8 << 20) {
            taken.push(turns.take(0).await.unwrap());
        }
        assert!(store.bytes() >= taken.len() * TURN_BYTES);
        let late = tokio::spawn({
            let turns = Arc::clone(&turns);
            async move { turns.take(0).await }
        });
        while turns.waiting() == 0 {
            tokio::task::yield_now().await;
        }
        taken.pop();
        let late = late.await.unwrap().unwrap();
        assert!(matches!(turns.take(0).await, Err(EdgeError::NoTurn { .. })));
        // One with a large head takes several.
        taken.truncate(taken.len() - 2);
        assert!(matches!(turns.take(TURN_BYTES).await, Err(EdgeError::NoTurn { .. })));
        drop((taken.pop(), taken.pop()));
        taken.push(turns.take(TURN_BYTES).await.unwrap());
        // More memory, more turns.
        turns.resize(16 << 20);
        taken.push(turns.take(0).await.unwrap());
        drop((late, taken));
        assert_eq!((store.bytes(), turns.waiting()), (0, 0));
    }

    #[tokio::test]
    async fn nobody_waits_where_nothing_is_left() {
        let store = Arc::new(Store::new(8 << 20));
        let turns = Turns::new(&store, 8 << 20);
        store.books().measure(1, 0);
        let mut taken = Vec::new();
        for _ in 0..TURNS_MIN {
            taken.push(turns.take(0).await.unwrap());
        }
        assert!(matches!(turns.take(0).await, Err(EdgeError::NoTurn { seconds: 0 })));
        taken.pop();
        taken.push(turns.take(0).await.unwrap());
        store.books().measure(0, 8 << 20);
        turns.take(0).await.unwrap();
    }
}
