//! Interim responses (1xx) on their way from an upstream to a client: passed on at once, never stored, bounded in
//! number (RFC 9110 §15.2).

use std::{
    collections::VecDeque,
    future::poll_fn,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Poll, Waker},
};

use http::{HeaderMap, StatusCode};

use crate::policy::forward;

/// Interim responses to one request, all of which may come in a burst and wait to be sent; what comes beyond is passed over.
const INTERIM_MAX: usize = 32;

/// An interim response.
#[derive(Debug, Clone)]
pub(crate) struct Interim {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
}

/// Where interim responses for one client go. A client of HTTP/1.0 takes none: it has no such thing.
#[derive(Debug, Clone)]
pub(crate) struct Interims(Arc<Mutex<Queue>>);

/// The connection's end.
#[derive(Debug)]
pub(crate) struct Waiting(Arc<Mutex<Queue>>);

/// What waits to be sent. Hardly ever there is any, and then it takes nothing.
#[derive(Debug)]
struct Queue {
    interims: VecDeque<Interim>,
    /// How many may yet come.
    left: usize,
    waker: Option<Waker>,
}

fn lock(queue: &Mutex<Queue>) -> MutexGuard<'_, Queue> {
    queue.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Both ends.
pub(crate) fn channel() -> (Interims, Waiting) {
    let queue = Queue { interims: VecDeque::new(), left: INTERIM_MAX, waker: None };
    let queue = Arc::new(Mutex::new(queue));
    (Interims(Arc::clone(&queue)), Waiting(queue))
}

impl Interims {
    /// The most that are passed on to one client, or from one flight to all who wait: each costs as much as there are of these.
    pub(crate) const MAX: usize = INTERIM_MAX;

    /// Counts one beyond that.
    pub(crate) fn count_dropped() {
        metrics::counter!("bakehouse_edge_interim_dropped_total").increment(1);
    }

    /// Passes one on, without fields of the connection. No upstream is asked for a 100, so one that comes is the client's
    /// (RFC 9110 §15.2). What changes the protocol (101) and what is more than the client takes is dropped.
    pub(crate) fn pass(&self, status: StatusCode, headers: &HeaderMap) {
        if !status.is_informational() || status == StatusCode::SWITCHING_PROTOCOLS {
            return;
        }
        let mut headers = headers.clone();
        forward::strip_connection(&mut headers);
        let mut queue = lock(&self.0);
        let Some(left) = queue.left.checked_sub(1) else { return Self::count_dropped() };
        queue.left = left;
        queue.interims.push_back(Interim { status, headers });
        let waker = queue.waker.take();
        drop(queue);
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

impl Waiting {
    /// The next one, where it has come.
    pub(crate) fn arrived(&mut self) -> Option<Interim> {
        lock(&self.0).interims.pop_front()
    }

    /// The next one; pending for ever where none comes.
    pub(crate) async fn next(&mut self) -> Interim {
        poll_fn(|cx| {
            let mut queue = lock(&self.0);
            match queue.interims.pop_front() {
                Some(interim) => Poll::Ready(interim),
                None => {
                    if !queue.waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
                        queue.waker = Some(cx.waker().clone());
                    }
                    Poll::Pending
                }
            }
        })
        .await
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        // What comes from now on is dropped by who would send it.
        lock(&self.0).left = 0;
    }
}
