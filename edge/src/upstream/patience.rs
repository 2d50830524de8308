//! How long a connection to an upstream is waited for.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::time::{Instant, Sleep};

/// How long a connection is waited for: set anew with each step, and hardly ever at an end. So its timer is not: it stays where
/// it was set first, and looks, when that comes, how long there is still to wait.
pub(super) struct Patience {
    timer: Pin<Box<Sleep>>,
    end: Instant,
}

impl Patience {
    pub(super) fn new() -> Self {
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

    /// Ready when it is over.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
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

    /// Whether it is over now.
    pub(super) fn is_over(&self) -> bool {
        Instant::now() >= self.end
    }
}
