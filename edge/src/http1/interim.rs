//! Interim responses (1xx) on their way from an upstream to a client: passed on at once, never stored, bounded in
//! number (RFC 9110 §15.2).

use http::{HeaderMap, StatusCode};
use tokio::sync::mpsc;

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
pub(crate) struct Interims(mpsc::Sender<Box<Interim>>);

/// The connection's end.
#[derive(Debug)]
pub(crate) struct Waiting {
    /// On the heap: a channel begins with room for thirty-two, and hardly ever carries one.
    receiver: mpsc::Receiver<Box<Interim>>,
    left: usize,
}

/// Both ends.
pub(crate) fn channel() -> (Interims, Waiting) {
    let (sender, receiver) = mpsc::channel(INTERIM_MAX);
    (Interims(sender), Waiting { receiver, left: INTERIM_MAX })
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
        if self.0.try_send(Box::new(Interim { status, headers })).is_err() {
            Self::count_dropped();
        }
    }
}

impl Waiting {
    /// The next one. Pending for ever once nobody can send any, or enough were sent.
    pub(crate) async fn next(&mut self) -> Box<Interim> {
        if self.left > 0
            && let Some(interim) = self.receiver.recv().await
        {
            self.left -= 1;
            if self.left == 0 {
                // What comes from now on is dropped by who would send it.
                self.receiver.close();
            }
            return interim;
        }
        self.left = 0;
        std::future::pending().await
    }
}
