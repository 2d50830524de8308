//! Upstreams: who is asked, in which order, how long, and what is asked of the next when one fails.
//!
//! Knows nothing of caching. `address` is where one is, `names`, `connect` and `tls` reach it, `link` is one connection, `outgoing` a
//! request on its way out on it, `patience` how long it is waited for, and `message` what is said on it, `pool` keeps them, `exchange` sends one request to one upstream, `breaker` and `health` say which are in
//! trouble, `balance` which comes first; `set` is all of them by one configuration; here requests go to as many as it takes.

mod address;
mod balance;
mod body;
mod breaker;
mod connect;
mod exchange;
mod health;
mod link;
pub(crate) mod message;
mod names;
mod outgoing;
mod patience;
mod pool;
mod set;
mod tls;
#[expect(clippy::module_inception, reason = "the folder is about all of them, the file about one")]
mod upstream;

use std::{
    borrow::Cow,
    fmt, mem,
    path::PathBuf,
    sync::{
        Arc, Mutex, PoisonError, RwLock,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use http::{HeaderMap, HeaderValue, Method, StatusCode, Version, header};

pub use self::{balance::Balance, breaker::BreakerRules, health::HealthCheck, upstream::UpstreamState};
use self::{balance::Draw, body::OnceBody, set::Set, upstream::Upstream};
pub(crate) use self::{
    body::{BoxError, RequestBody, TimedBody, no_content},
    link::Upgraded,
};
use crate::{books::Books, clock, error::EdgeError, policy::reuse, turns::Turn};

/// Requests that a retry must be matched by: retries are at most a fifth of all, so that they never make an overload
/// worse.
const REQUESTS_A_RETRY: u64 = 5;
/// Retries that may come at once, saved up while all went well.
const RETRIES_SAVED_MAX: u64 = 100;

/// How long parts of a fetch may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Deadlines {
    /// To a connection, TLS included.
    pub connect: Duration,
    /// From the request to the head of the response, the connection included.
    pub first_byte: Duration,
    /// Between two parts of the content.
    pub idle: Duration,
    /// To a word on a request whose client waits for that before it sends the content (RFC 9110 §10.1.1). Without one the content is
    /// sent all the same: not all know of it.
    pub word: Duration,
}

impl Default for Deadlines {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(2),
            first_byte: Duration::from_secs(30),
            idle: Duration::from_secs(30),
            word: Duration::from_secs(1),
        }
    }
}

/// How upstreams are used, beside who they are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UpstreamOptions {
    /// How requests are spread.
    pub balance: Balance,
    /// What `Host` is set to; a client's own is kept where this is not given.
    pub host: Option<String>,
    /// Other upstreams that an idempotent request is sent to, where the first fails.
    pub retries_max: usize,
    /// When one that fails is left alone, and how it comes back.
    pub breaker: BreakerRules,
    /// Active checks; none unless given.
    pub health: Option<HealthCheck>,
    /// Certificates (PEM) to trust in place of the system's.
    pub ca: Option<PathBuf>,
    /// For how long an idle connection is kept. Shorter than the keep-alive of common servers, so that one that is used
    /// again is rarely dead.
    pub idle_connection: Duration,
}

impl Default for UpstreamOptions {
    fn default() -> Self {
        Self {
            balance: Balance::default(),
            host: None,
            retries_max: 3,
            breaker: BreakerRules { failures: 5, slow_start: Duration::from_secs(10) },
            health: None,
            ca: None,
            idle_connection: Duration::from_secs(20),
        }
    }
}

impl UpstreamOptions {
    /// For Bakehouse origins: all are tried, none is ever given up, and whoever is back is trusted at once, since the
    /// content says by itself whether it is right. Each is asked every second whether it is alive: one that takes connections
    /// and says nothing would otherwise cost every request that tries it the whole of its deadline.
    pub(crate) fn of_origins() -> Self {
        let health = HealthCheck {
            interval: Duration::from_secs(1),
            passes: 1,
            failures: 1,
            ..HealthCheck::new("/healthz")
        };
        Self {
            retries_max: usize::MAX,
            breaker: BreakerRules { failures: 0, slow_start: Duration::ZERO },
            health: Some(health),
            ..Self::default()
        }
    }
}

/// Takes responses that come before the final one.
#[derive(Clone)]
pub(crate) struct Informational(Arc<TakeInformational>);

type TakeInformational = dyn Fn(StatusCode, &HeaderMap) + Send + Sync;

impl Informational {
    pub(crate) fn new(take: impl Fn(StatusCode, &HeaderMap) + Send + Sync + 'static) -> Self {
        Self(Arc::new(take))
    }

    fn call(&self, status: StatusCode, headers: &HeaderMap) {
        (self.0)(status, headers);
    }
}

impl fmt::Debug for Informational {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Informational")
    }
}

/// What is asked of an upstream.
#[derive(Debug, Clone)]
pub(crate) struct Ask {
    pub(crate) method: Method,
    /// Path and query as they go on the wire.
    pub(crate) target: String,
    pub(crate) headers: HeaderMap,
    /// Whether an upstream is to be heard before its content goes out (RFC 9110 §10.1.1).
    pub(crate) expects_continue: bool,
    /// Told of each 1xx as it arrives.
    pub(crate) informational: Option<Informational>,
    /// Its turn, which it has until its response has come to its end.
    pub(crate) turn: Option<Arc<Turn>>,
    /// Whether it is this edge's own question, for which no client waits: its answer does not say that clients get one.
    pub(crate) is_own: bool,
}

impl Ask {
    pub(crate) fn new(method: Method, target: String, headers: HeaderMap) -> Self {
        Self {
            method,
            target,
            headers,
            expects_continue: false,
            informational: None,
            turn: None,
            is_own: false,
        }
    }

    /// Bytes of its head, but for some punctuation.
    pub(crate) fn head_bytes(&self) -> usize {
        let fields = self.headers.iter().map(|(name, value)| name.as_str().len() + value.len());
        self.target.len() + fields.sum::<usize>()
    }

    /// Whether the request may be sent again after a failure: it is idempotent (RFC 9110 §9.2.2), and has no content that is
    /// gone by then.
    fn is_repeatable(&self, content: Option<&RequestBody>) -> bool {
        content.is_none() && self.method.is_idempotent()
    }

    /// A number of the URL, the same on every edge.
    fn hash(&self) -> u64 {
        let mut hasher = blake3::Hasher::new();
        hasher.update(self.headers.get(header::HOST).map_or(&[][..], HeaderValue::as_bytes));
        hasher.update(self.target.as_bytes());
        hasher.finalize().as_bytes().first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes))
    }
}

/// A response with the deadline for its content, and who sent it.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) version: Version,
    pub(crate) headers: HeaderMap,
    pub(crate) body: TimedBody,
    pub(crate) upstream: String,
    /// After a 101: the connection itself.
    pub(crate) upgraded: Option<Upgraded>,
}

/// All upstreams of an edge.
#[derive(Debug)]
pub(crate) struct Upstreams {
    set: RwLock<Arc<Set>>,
    turn: AtomicUsize,
    sticky: Mutex<String>,
    /// Those whose gauges were told last.
    told: Mutex<Vec<String>>,
    /// Retries that may be made, in parts of which one takes [`REQUESTS_A_RETRY`].
    saved: AtomicU64,
}

impl Upstreams {
    /// Begins to check them, where that is asked for: within a runtime only.
    pub(crate) fn new(
        urls: &[String],
        deadlines: Deadlines,
        options: UpstreamOptions,
        books: &Arc<Books>,
    ) -> Result<Self, EdgeError> {
        let set = Set::new(urls, deadlines, options, books, None)?;
        set.check();
        Ok(Self {
            set: RwLock::new(Arc::new(set)),
            turn: AtomicUsize::new(0),
            sticky: Mutex::default(),
            told: Mutex::default(),
            saved: AtomicU64::new(RETRIES_SAVED_MAX * REQUESTS_A_RETRY),
        })
    }

    /// Puts others in their place. Requests under way end where they are, and who stays keeps connections and record.
    pub(crate) fn replace(
        &self,
        urls: &[String],
        deadlines: Deadlines,
        options: UpstreamOptions,
    ) -> Result<(), EdgeError> {
        let before = self.set();
        let set = Arc::new(Set::new(urls, deadlines, options, &before.books, Some(&before))?);
        *self.set.write().unwrap_or_else(PoisonError::into_inner) = Arc::clone(&set);
        // Requests under way have the one before for as long as they take; its checks must say nothing of those who stay.
        before.checks.cancel();
        set.check();
        Ok(())
    }

    fn set(&self) -> Arc<Set> {
        Arc::clone(&self.set.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Whether there are any.
    pub(crate) fn is_empty(&self) -> bool {
        self.set().list.is_empty()
    }

    /// How many are not being passed over.
    pub(crate) fn up(&self) -> usize {
        let now = clock::boot_ms();
        self.set().list.iter().filter(|upstream| upstream.is_up(now)).count()
    }

    /// How each of them is.
    pub(crate) fn states(&self) -> Vec<UpstreamState> {
        let (set, now) = (self.set(), clock::boot_ms());
        set.list.iter().map(|upstream| upstream.state(now, set.options.breaker)).collect()
    }

    /// Those that were among `states` the last time and are not now: what they were must not be told for ever.
    pub(crate) fn told_before(&self, states: &[UpstreamState]) -> Vec<String> {
        let now = states.iter().map(|state| state.url.clone()).collect();
        let before = mem::replace(&mut *self.told.lock().unwrap_or_else(PoisonError::into_inner), now);
        before.into_iter().filter(|url| !states.iter().any(|state| state.url == *url)).collect()
    }

    /// The order in which to try: those that are up, as the balancing says, then the others.
    fn order<'a>(&self, set: &'a Set, ask: &Ask, only_up: bool) -> Cow<'a, [Arc<Upstream>]> {
        if set.list.len() == 1 && !only_up {
            return Cow::Borrowed(&set.list);
        }
        let now = clock::boot_ms();
        let balance = set.options.balance;
        let draw = Draw {
            turn: self.turn.fetch_add(1, Ordering::Relaxed),
            random: rand::random(),
            hash: if balance == Balance::Hash { ask.hash() } else { 0 },
        };
        let candidates: Vec<_> =
            set.list.iter().map(|upstream| upstream.candidate(now, set.options.breaker)).collect();
        balance::order(balance, &candidates, draw)
            .into_iter()
            .filter(|index| !only_up || candidates[*index].usable)
            .map(|index| Arc::clone(&set.list[index]))
            .collect()
    }

    /// Notes a request, which saves up for retries.
    fn note_request(&self) {
        let more = |saved: u64| Some((saved + 1).min(RETRIES_SAVED_MAX * REQUESTS_A_RETRY));
        let _full = self.saved.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more);
    }

    /// Whether one more upstream, this one, may be asked for the same request. Counts it.
    fn may_retry(&self, set: &Set, upstream: &Upstream, retries: usize) -> bool {
        if set.options.retries_max == usize::MAX {
            return true;
        }
        let less = |saved: u64| saved.checked_sub(REQUESTS_A_RETRY);
        let may = retries < set.options.retries_max
            && self.saved.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less).is_ok();
        if may {
            upstream.meters.retries.increment(1);
        }
        may
    }

    /// Sends a request with content once, to the first upstream that a connection can be made to.
    pub(crate) async fn send_once(&self, ask: &Ask, body: RequestBody) -> Result<Answer, EdgeError> {
        let (set, body) = (self.set(), Arc::new(Mutex::new(Some(body))));
        self.note_request();
        let mut last = EdgeError::NoUpstream;
        let mut tried = 0;
        for upstream in &*self.order(&set, ask, false) {
            if tried > 0 {
                if upstream.refuses(set.options.breaker) {
                    continue;
                }
                if !self.may_retry(&set, upstream, tried - 1) {
                    break;
                }
            }
            match set.exchange.send(upstream, ask, Some(OnceBody::offer(&body)), None).await {
                Err(error @ EdgeError::CircuitOpen { .. }) => last = error,
                // Without a connection nothing of the content was read, so the next may have it.
                Err(error @ EdgeError::Connect { .. }) => (last, tried) = (error, tried + 1),
                other => return other,
            }
        }
        Err(last)
    }

    /// Sends a request without content. An idempotent one is sent to the next upstream where one fails; a safe one
    /// also where it answers 502, 503 or 504. The last answer or failure counts.
    pub(crate) async fn send(&self, ask: &Ask) -> Result<Answer, EdgeError> {
        self.send_where(ask, false, None, |answer| {
            ask.method.is_safe()
                && reuse::is_stale_if_error_status(answer.status)
                && answer.status != StatusCode::INTERNAL_SERVER_ERROR
        })
        .await
    }

    /// As [`Upstreams::send`], with the caller's own idea of an answer that the next upstream may better, and of
    /// whether those that are down are tried at all.
    pub(crate) async fn send_where(
        &self,
        ask: &Ask,
        only_up: bool,
        first_byte: Option<Duration>,
        unsatisfying: impl Fn(&Answer) -> bool,
    ) -> Result<Answer, EdgeError> {
        let set = self.set();
        self.note_request();
        let mut last = Err(EdgeError::NoUpstream);
        let mut tried = 0;
        for upstream in &*self.order(&set, ask, only_up) {
            if tried > 0 {
                // While the one before was waited for, this one may have been found to be down.
                let is_down = only_up && !upstream.is_up(clock::boot_ms());
                if is_down || upstream.refuses(set.options.breaker) {
                    continue;
                }
                if !self.may_retry(&set, upstream, tried - 1) {
                    break;
                }
            }
            let answer = set.exchange.send(upstream, ask, None, first_byte).await;
            if !matches!(answer, Err(EdgeError::CircuitOpen { .. })) {
                tried += 1;
            }
            match answer {
                Ok(answer) if unsatisfying(&answer) => last = Ok(answer),
                Ok(answer) => return Ok(answer),
                Err(error) => {
                    let again = ask.method.is_idempotent()
                        || matches!(error, EdgeError::Connect { .. } | EdgeError::CircuitOpen { .. });
                    if !again {
                        return Err(error);
                    }
                    // An answer, however bad, says more than a failure.
                    if last.is_err() {
                        last = Err(error);
                    }
                }
            }
        }
        last
    }

    /// Sends a question of this edge's own that should go to the same upstream as the last such, while that one answers.
    pub(crate) async fn send_sticky(
        &self,
        ask: &Ask,
        only_up: bool,
        first_byte: Duration,
    ) -> Result<Answer, EdgeError> {
        let (set, now) = (self.set(), clock::boot_ms());
        let last_one = self.sticky.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let start = set.list.iter().position(|upstream| upstream.label() == last_one).unwrap_or(0);
        let mut order: Vec<&Arc<Upstream>> = set.list.iter().collect();
        order.rotate_left(start);
        order.sort_by_key(|upstream| !upstream.answers(now));
        let mut last = EdgeError::NoUpstream;
        for upstream in order {
            if only_up && !upstream.answers(now) {
                continue;
            }
            match set.exchange.send(upstream, ask, None, Some(first_byte)).await {
                Ok(answer) if answer.status == StatusCode::OK => {
                    upstream
                        .label()
                        .clone_into(&mut self.sticky.lock().unwrap_or_else(PoisonError::into_inner));
                    return Ok(answer);
                }
                Ok(answer) => {
                    last =
                        EdgeError::NoOrigin { last: format!("{} said {}", answer.upstream, answer.status) };
                }
                Err(error) => last = error,
            }
        }
        tracing::debug!(error = %last, "no origin answered a poll");
        Err(last)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn checks_end_with_a_reload_whoever_still_asks() {
        let urls = ["http://127.0.0.1:1".to_owned()];
        let health = Some(HealthCheck::new("/healthz"));
        let options = UpstreamOptions { health, ..UpstreamOptions::default() };
        let deadlines = Deadlines::default();
        let upstreams = Upstreams::new(&urls, deadlines, options, &Arc::default()).unwrap();
        let under_way = upstreams.set();
        under_way.list[0].set_healthy(false);
        upstreams.replace(&urls, deadlines, UpstreamOptions::default()).unwrap();
        assert!(under_way.checks.is_cancelled());
        assert!(Arc::ptr_eq(&under_way.list[0], &upstreams.set().list[0]), "it stays");
        assert!(upstreams.set().list[0].is_healthy());
    }
}
