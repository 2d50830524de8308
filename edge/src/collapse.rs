//! Requests for the same thing at the same time: one goes to the upstream, the others wait for what it brings.
//!
//! A flight that a journal entry covers is detached: it goes on for those who wait for it, and later requests start
//! anew.

use std::{
    borrow::Cow,
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
};

use ahash::RandomState;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use tokio::sync::watch;

use crate::{
    error::EdgeError,
    fill::Fill,
    http1::Interims,
    key::Key,
    policy::{freshness::Millis, reuse::Failure, vary::Selection},
    purge::{Began, PurgeLog},
    store::{Found, Stored},
    trace::Step,
};

/// For how long a response that could not be shared keeps requests for its URL from waiting for each other.
const HIT_FOR_MISS_MS: Millis = 5_000;
/// For how long nobody asks again for what a stale copy answers, once asking has failed: each answer would ask an upstream that is
/// in trouble.
const FAILED_MS: Millis = 1_000;
/// URLs about which something is remembered beside what is stored.
const HINTS_MAX: usize = 65_536;
/// Fields of a `Vary` that are remembered; with more, requests may wait for a response that is not for them.
const VARY_MAX: usize = 16;

/// What a flight brought, for all who wait.
#[derive(Debug, Clone)]
pub(crate) enum Landing {
    /// A response that is being received, and will be stored if it is complete.
    Body(Arc<Fill>),
    /// A copy that the upstream has confirmed, or that arrived whole.
    Stored(Arc<Stored>, StatusCode),
    /// The upstream failed or answered with an error, and this copy may stand in.
    Stand(Arc<Stored>, Option<StatusCode>),
    /// A response that only the one who asked may have.
    Released,
    /// No response.
    Failed(Arc<EdgeError>),
}

/// A request on its way to the upstream.
#[derive(Debug)]
pub(crate) struct Flight {
    /// What was applied when it began.
    pub(crate) began: Began,
    pub(crate) landing: watch::Sender<Option<Landing>>,
    /// Who hears of interim responses on the way.
    listeners: Mutex<Vec<Interims>>,
    interims: AtomicU32,
}

/// What a flight is for. Requests share one only if all of this is the same.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct What {
    pub(crate) key: Key,
    pub(crate) selection: Selection,
    /// Whether the requests carry `Authorization`; most responses to those are for one client alone.
    pub(crate) authorized: bool,
    /// `Range` and `If-Range`, where a part is asked for.
    pub(crate) range: Option<(HeaderValue, Option<HeaderValue>)>,
}

/// What flies, by what was asked for and how.
#[derive(Debug, Default)]
pub(crate) struct Flights {
    map: Mutex<HashMap<What, Arc<Flight>, RandomState>>,
}

/// A request's part in a flight.
#[derive(Debug)]
pub(crate) enum Role {
    /// It makes the flight.
    Leader(Arc<Flight>),
    /// It waits for it.
    Follower(watch::Receiver<Option<Landing>>),
}

impl Flights {
    fn map(&self) -> MutexGuard<'_, HashMap<What, Arc<Flight>, RandomState>> {
        self.map.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Joins the flight for this, or begins one; `interims` hears of interim responses that may be for it.
    pub(crate) fn join(&self, what: &What, interims: Option<&Interims>, log: &PurgeLog) -> Role {
        let mut map = self.map();
        if let Some(flight) = map.get(what)
            && !log.covers_fetch(flight.began, &what.key, None)
        {
            // Most responses to `Authorization` are for one client alone, and so is what comes before them.
            flight.listen(interims.filter(|_| !what.authorized));
            return Role::Follower(flight.landing.subscribe());
        }
        let flight = Arc::new(Flight::new(log));
        flight.listen(interims);
        map.insert(what.clone(), Arc::clone(&flight));
        Role::Leader(flight)
    }

    /// Takes a flight off the list, so that the next request begins another.
    pub(crate) fn leave(&self, what: &What, flight: &Arc<Flight>) {
        let mut map = self.map();
        if map.get(what).is_some_and(|held| Arc::ptr_eq(held, flight)) {
            map.remove(what);
        }
    }

    /// How many requests wait for others.
    pub(crate) fn waiting(&self) -> usize {
        self.map().values().map(|flight| flight.landing.receiver_count()).sum()
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.map().len()
    }
}

impl Flight {
    /// A flight that nobody can join until it is on the list.
    pub(crate) fn new(log: &PurgeLog) -> Self {
        Self {
            began: log.now(),
            landing: watch::Sender::new(None),
            listeners: Mutex::default(),
            interims: AtomicU32::new(0),
        }
    }

    /// From now on this client hears of interim responses, if it takes any.
    pub(crate) fn listen(&self, interims: Option<&Interims>) {
        if let Some(interims) = interims {
            self.listeners.lock().unwrap_or_else(PoisonError::into_inner).push(interims.clone());
        }
    }

    /// Passes an interim response on to all who wait (RFC 9110 §15.2); but no cookie, which is for the one who asked if it is for
    /// anybody: a client may ignore it (RFC 6265 §3).
    pub(crate) fn interim(&self, status: StatusCode, headers: &HeaderMap) {
        if self.interims.fetch_add(1, Ordering::Relaxed) as usize >= Interims::MAX {
            return Interims::count_dropped();
        }
        let mut headers = Cow::Borrowed(headers);
        if headers.contains_key(header::SET_COOKIE) {
            headers.to_mut().remove(header::SET_COOKIE);
        }
        for interims in self.listeners.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            interims.pass(status, &headers);
        }
    }

    /// Whether there were interim responses.
    pub(crate) fn has_interims(&self) -> bool {
        self.interims.load(Ordering::Relaxed) > 0
    }

    /// Tells all who wait.
    pub(crate) fn land(&self, landing: Landing) {
        self.landing.send_if_modified(|landed| {
            *landed = Some(landing);
            // Who comes to wait from now on looks at it first.
            self.landing.receiver_count() > 0
        });
    }
}

/// A failure that a stale copy stood in for, or would have.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Failed {
    pub(crate) failure: Failure,
    pub(crate) at: Millis,
}

impl Failed {
    /// Why nobody is asked.
    pub(crate) fn step(&self) -> Step {
        Step::by(self.failure.clause(), "nobody is asked: that has just failed")
    }

    /// Whether what is held was purged by nobody since, which asks for an answer of its own.
    pub(crate) fn is_of(&self, found: &Found) -> bool {
        let held = found.live.iter().chain(&found.parts);
        held.filter_map(|stored| stored.stale_from()).all(|from| from < self.at)
    }
}

/// What is remembered about a URL from its last response.
#[derive(Debug, Clone, Default)]
struct Hint {
    vary: Arc<[HeaderName]>,
    alone_until: Millis,
    failed: Option<Failed>,
}

/// Hints, by the keyed hash of their URL: two URLs that share one cost needless waits, or a second of what may be stale, and
/// nothing else. Bounded; when full they are forgotten.
#[derive(Debug, Default)]
pub(crate) struct Hints {
    hasher: RandomState,
    map: Mutex<HashMap<u64, Hint, RandomState>>,
}

impl Hints {
    fn map(&self) -> MutexGuard<'_, HashMap<u64, Hint, RandomState>> {
        self.map.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What one client's `Authorization` brings says nothing about what the others get.
    fn hash(&self, key: &Key, authorized: bool) -> u64 {
        self.hasher.hash_one((key, authorized))
    }

    /// The values by which a request for `key` is told from others.
    pub(crate) fn selection(&self, key: &Key, request: &HeaderMap) -> Selection {
        let hash = self.hash(key, request.contains_key(header::AUTHORIZATION));
        let vary = self.map().get(&hash).map(|hint| Arc::clone(&hint.vary));
        vary.map(|names| Selection::of(&names, request)).unwrap_or_default()
    }

    /// Whether requests for `key`, with `Authorization` or without, should not wait for each other now.
    pub(crate) fn alone(&self, key: &Key, authorized: bool, now: Millis) -> bool {
        let hash = self.hash(key, authorized);
        self.map().get(&hash).is_some_and(|hint| hint.alone_until > now)
    }

    /// Remembers what a response was chosen by.
    pub(crate) fn note_vary(&self, key: &Key, authorized: bool, names: &[HeaderName]) {
        if names.len() > VARY_MAX {
            return;
        }
        let hash = self.hash(key, authorized);
        let mut map = self.map();
        match map.get_mut(&hash) {
            Some(hint) => {
                hint.alone_until = 0;
                hint.failed = None;
                if *hint.vary != *names {
                    hint.vary = names.into();
                }
            }
            None if names.is_empty() => {}
            None => Self::add(&mut map, hash, Hint { vary: names.into(), ..Hint::default() }),
        }
    }

    /// Remembers that a response could not be shared.
    pub(crate) fn note_alone(&self, key: &Key, authorized: bool, now: Millis) {
        self.note(key, authorized, |hint| hint.alone_until = now + HIT_FOR_MISS_MS);
    }

    /// Remembers that asking for what is held has failed.
    pub(crate) fn note_failed(&self, key: &Key, authorized: bool, failure: Failure, now: Millis) {
        self.note(key, authorized, |hint| hint.failed = Some(Failed { failure, at: now }));
    }

    /// How asking has just failed.
    pub(crate) fn failed(&self, key: &Key, authorized: bool, now: Millis) -> Option<Failed> {
        let hash = self.hash(key, authorized);
        let failed = self.map().get(&hash)?.failed?;
        (now < failed.at + FAILED_MS).then_some(failed)
    }

    fn note(&self, key: &Key, authorized: bool, what: impl FnOnce(&mut Hint)) {
        let hash = self.hash(key, authorized);
        let mut map = self.map();
        if let Some(hint) = map.get_mut(&hash) {
            return what(hint);
        }
        let mut hint = Hint::default();
        what(&mut hint);
        Self::add(&mut map, hash, hint);
    }

    fn add(map: &mut HashMap<u64, Hint, RandomState>, hash: u64, hint: Hint) {
        if map.len() >= HINTS_MAX {
            map.clear();
        }
        map.insert(hash, hint);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::same_origin::Scheme;

    #[test]
    fn what_is_remembered_is_so_for_a_while_and_of_whom_it_is_about() {
        let (hints, key) = (Hints::default(), Key::of_upstream(Scheme::Http, "h", "/"));
        let other = Key::of_upstream(Scheme::Http, "h", "/other");
        hints.note_alone(&key, false, 1_000);
        hints.note_failed(&key, false, Failure::Disconnected, 1_000);
        let is_alone = |now| hints.alone(&key, false, now);
        let has_failed = |now| hints.failed(&key, false, now).is_some();
        assert!(is_alone(999 + HIT_FOR_MISS_MS) && !is_alone(1_000 + HIT_FOR_MISS_MS));
        assert!(has_failed(999 + FAILED_MS) && !has_failed(1_000 + FAILED_MS));
        for (key, authorized) in [(&key, true), (&other, false)] {
            assert!(!hints.alone(key, authorized, 1_000));
            assert!(hints.failed(key, authorized, 1_000).is_none());
        }
        // What can be shared again, or has come, ends both.
        hints.note_vary(&key, false, &[]);
        assert!(!is_alone(1_000) && !has_failed(1_000));
    }
}
