//! The addresses behind an upstream's name: looked up again and again, by one at a time, and which of them do not answer.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{sync::watch, time::Instant};

use crate::{clock, policy::freshness::Millis};

/// For how long the addresses of a name count as known. The system's resolver does not tell the record's own time; this
/// is what clusters commonly set.
const NAME_MS: Millis = 10_000;
/// After a look-up that failed.
const LOOK_AGAIN_MS: Millis = 1_000;
/// So long a look-up is waited for where there are addresses of before: a resolver that is lost says nothing for much longer.
const LOOK_UP_WAIT: Duration = Duration::from_millis(250);
/// Addresses of one name that are used; a name with more is misconfigured, or hostile.
const ADDRESSES_MAX: usize = 64;
/// For how long one that did not answer is tried after the others.
const FAILED_MS: Millis = 10_000;

/// A name and its addresses.
#[derive(Debug)]
pub(super) struct Names {
    host: String,
    port: u16,
    /// Of a host that is an address there is nothing to look up.
    is_literal: bool,
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    addresses: Arc<[SocketAddr]>,
    /// When they are to be looked up again.
    due: Millis,
    looking: Option<Looking>,
    /// Those that did not answer, and until when they are tried last.
    failed: Vec<(SocketAddr, Millis)>,
}

type Found = Result<Arc<[SocketAddr]>, Arc<io::Error>>;

/// A look-up.
#[derive(Debug, Clone)]
struct Looking {
    since: Instant,
    found: watch::Receiver<Option<Found>>,
}

impl Looking {
    async fn found(mut self) -> io::Result<Arc<[SocketAddr]>> {
        let found = self.found.wait_for(Option::is_some).await.ok().and_then(|found| found.clone());
        let ended = || Err(Arc::new(io::Error::other("the look-up of its name was ended")));
        found.unwrap_or_else(ended).map_err(|error| io::Error::new(error.kind(), error))
    }
}

impl Names {
    pub(super) fn new(host: &str, port: u16) -> Arc<Self> {
        let mut known = Known::default();
        let literal = host.parse::<IpAddr>().ok();
        if let Some(ip) = literal {
            known.addresses = [SocketAddr::new(ip, port)].into();
        }
        Arc::new(Self {
            host: host.to_owned(),
            port,
            is_literal: literal.is_some(),
            known: Mutex::new(known),
        })
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The addresses, looked up if they are not known or too old. Old ones serve on where the resolver fails, or takes too long.
    pub(super) async fn addresses(self: &Arc<Self>) -> io::Result<Arc<[SocketAddr]>> {
        let (known, looking) = self.look();
        let Some(looking) = looking else { return Ok(known) };
        if known.is_empty() {
            return looking.found().await;
        }
        let waited = tokio::time::timeout_at(looking.since + LOOK_UP_WAIT, looking.found()).await;
        Ok(waited.ok().and_then(Result::ok).unwrap_or(known))
    }

    /// Whether an address is one of the name's, as far as that is known. Has it looked up again, in the background, when that is
    /// due.
    pub(super) fn has(self: &Arc<Self>, ip: IpAddr) -> bool {
        self.is_literal || self.look().0.iter().any(|address| address.ip() == ip)
    }

    /// What is known, and the look-up that goes on or begins where it is due.
    fn look(self: &Arc<Self>) -> (Arc<[SocketAddr]>, Option<Looking>) {
        let mut known = self.known();
        let addresses = Arc::clone(&known.addresses);
        if !addresses.is_empty() && (self.is_literal || clock::boot_ms() < known.due) {
            return (addresses, None);
        }
        // Without its sender it has ended.
        let going_on = known.looking.as_ref().filter(|looking| looking.found.has_changed().is_ok());
        if let Some(looking) = going_on {
            return (addresses, Some(looking.clone()));
        }
        let (tell, found) = watch::channel(None);
        let names = Arc::clone(self);
        // Whoever waits for it may leave, and others wait, too: a resolver that says nothing holds one thread and not many.
        tokio::spawn(async move { tell.send_replace(Some(names.look_up().await.map_err(Arc::new))) });
        let looking = Looking { since: Instant::now(), found };
        known.looking = Some(looking.clone());
        (addresses, Some(looking))
    }

    async fn look_up(&self) -> io::Result<Arc<[SocketAddr]>> {
        let found = tokio::net::lookup_host((self.host.as_str(), self.port)).await.and_then(|found| {
            let addresses: Arc<[SocketAddr]> = found.take(ADDRESSES_MAX).collect();
            let is_none = || io::Error::new(io::ErrorKind::NotFound, "the name has no address");
            (!addresses.is_empty()).then_some(addresses).ok_or_else(is_none)
        });
        let (mut known, now) = (self.known(), clock::boot_ms());
        match &found {
            Ok(addresses) => (known.addresses, known.due) = (Arc::clone(addresses), now + NAME_MS),
            Err(error) => {
                known.due = now + LOOK_AGAIN_MS;
                if !known.addresses.is_empty() {
                    tracing::warn!(host = self.host, %error, "a name cannot be looked up; its last addresses are used");
                }
            }
        }
        found
    }

    /// The order in which to try addresses: by turns, after those that did not answer the others. When it is time to find out
    /// about one of them again, one caller tries it first.
    pub(super) fn order(&self, addresses: &[SocketAddr], turn: usize) -> Vec<SocketAddr> {
        let mut order = addresses.to_vec();
        let turn = turn.checked_rem(order.len()).unwrap_or(0);
        order.rotate_left(turn);
        let (mut known, now) = (self.known(), clock::boot_ms());
        known.failed.retain(|(failed, _)| addresses.contains(failed));
        let trial = known.failed.iter_mut().find(|(_, until)| *until <= now).map(|(failed, until)| {
            *until = now + FAILED_MS;
            *failed
        });
        let has_failed = |address| known.failed.iter().any(|(failed, _)| *failed == address);
        order.sort_by_key(|address| (Some(*address) != trial, has_failed(*address)));
        order
    }

    /// Notes whether one that was tried is there.
    pub(super) fn tried(&self, address: SocketAddr, is_there: bool) {
        let mut known = self.known();
        known.failed.retain(|(failed, _)| *failed != address);
        if !is_there {
            known.failed.push((address, clock::boot_ms() + FAILED_MS));
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// Forgets when a name was looked up, and takes it to have had these addresses.
    pub(in super::super) fn had(names: &Names, addresses: &[SocketAddr]) {
        *names.known() = Known { addresses: addresses.into(), ..Known::default() };
    }

    #[test]
    fn the_last_addresses_serve_on_where_the_resolver_says_nothing() {
        // A runtime whose one thread for what blocks, as a look-up does, is taken.
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .max_blocking_threads(1)
            .build()
            .unwrap();
        let (end, ends) = std::sync::mpsc::channel::<()>();
        runtime.block_on(async {
            tokio::task::spawn_blocking(move || ends.recv());
            let here = SocketAddr::from(([127, 0, 0, 9], 80));
            let names = Names::new("localhost", 80);
            had(&names, &[here]);
            let began = Instant::now();
            assert_eq!(*names.addresses().await.unwrap(), [here]);
            assert!(began.elapsed() >= LOOK_UP_WAIT, "a resolver that answers would have been heard");
            // It is the same that all wait for, and those who come later not at all.
            for _ in 0..20 {
                assert_eq!(*names.addresses().await.unwrap(), [here]);
            }
            assert!(began.elapsed() < LOOK_UP_WAIT * 16, "{:?}", began.elapsed());
            drop(end);
            // It is heard after all.
            let end = Instant::now() + Duration::from_secs(20);
            while names.has(here.ip()) {
                assert!(Instant::now() < end, "the name was not looked up again");
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        });
    }

    #[test]
    fn what_does_not_answer_is_tried_last_and_by_one_again() {
        let names = Names::new("name", 80);
        let [a, b, c] = [1, 2, 3].map(|n| SocketAddr::from(([10, 0, 0, n], 80)));
        assert_eq!(names.order(&[a, b, c], 1), [b, c, a]);
        names.tried(b, false);
        assert_eq!([0, 1, 2].map(|turn| names.order(&[a, b, c], turn)), [[a, c, b], [c, a, b], [c, a, b]]);
        names.tried(a, false);
        names.tried(c, false);
        assert_eq!(names.order(&[a, b, c], 4), [b, c, a], "all are as bad");
        names.tried(a, true);
        names.tried(c, true);
        // Its time is over.
        names.known().failed[0].1 = 0;
        assert_eq!([0, 0].map(|turn| names.order(&[a, b, c], turn)), [[b, a, c], [a, c, b]]);
        names.tried(b, true);
        assert_eq!(names.order(&[a, b, c], 1), [b, c, a]);
        names.tried(b, false);
        // What left the name and comes back is not blamed for what was.
        names.order(&[a, c], 0);
        assert_eq!(names.order(&[a, b, c], 1), [b, c, a]);
        assert!(names.order(&[], 3).is_empty());
    }
}
