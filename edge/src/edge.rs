//! The edge as a whole: what it is made of, and which way a request takes through it.
//!
//! No lock is held across an await. A fetch that may be shared goes on in a task of its own as soon as the client that asked
//! leaves, or has what it waited for, so that it neither aborts the fetch nor slows the others.

use std::{
    sync::{Arc, atomic::AtomicBool},
    time::Duration,
};

use arc_swap::{ArcSwap, Guard};
use http::{HeaderValue, Method, StatusCode, header};
use release::{bucket::Bucket, journal::Selector, keys::Site, wire::Dropped};
use tokio::sync::watch;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    access_log::AccessLog,
    avoidable::Misses,
    clock,
    collapse::{Flights, Hints},
    config::{EdgeConfig, Mode, Settings},
    decide::{self, Bypass},
    error::EdgeError,
    http1::{unread::Unread, unsent::Unsent},
    inbound::{Inbound, SERVER},
    journal::{Gate, Sites},
    key::Key,
    observe::{Observation, is_request_id},
    policy::{
        forward::{self, MaxForwards},
        forwarded::{self, Believed},
        same_origin::Scheme,
    },
    purge::{Applied, PurgeLog},
    respond::Response,
    store::{Found, Store},
    sweep::Sweeper,
    trace::{self, Step, Tracer},
    turns::Turns,
    upstream::{Deadlines, RequestBody, UpstreamOptions, UpstreamState, Upstreams},
};

/// One object takes at most this part of the memory, so that a few large ones do not evict everything.
const OBJECT_PART: usize = 8;

/// How long a purge that is in force waits for the count of what it has dropped.
const COUNT_WAIT: Duration = Duration::from_millis(250);

/// What a reader is told when no upstream answers.
pub(crate) const UNREACHABLE: &str = "The site could not be reached. Please try again.";

/// How an edge is, for the shell and for tests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EdgeState {
    /// For each followed site: its name, the last applied entry, whether its lease is in force.
    pub sites: Vec<SiteProgress>,
    /// Copies held, superseded ones included.
    pub entries: usize,
    /// Bytes in use.
    pub bytes: usize,
    /// Fetches under way.
    pub flights: usize,
    /// Requests that wait for another's fetch.
    pub waiting: usize,
}

/// How far an edge is with a site.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SiteProgress {
    /// The site.
    pub site: Site,
    /// The last applied entry.
    pub seq: u64,
    /// The release that is served.
    pub release: Option<release::ReleaseId>,
    /// Whether the lease is in force.
    pub leased: bool,
}

/// An edge: one cache with its upstreams.
#[derive(Debug)]
pub struct Edge {
    pub(crate) config: EdgeConfig,
    settings: ArcSwap<Settings>,
    /// Told when the settings have changed.
    pub(crate) resettled: watch::Sender<()>,
    pub(crate) store: Arc<Store>,
    pub(crate) log: Arc<PurgeLog>,
    pub(crate) sweeper: Arc<Sweeper>,
    /// The field that every response gets, as a line.
    pub(crate) via_line: String,
    pub(crate) upstreams: Upstreams,
    pub(crate) turns: Turns,
    pub(crate) access_log: Option<AccessLog>,
    pub(crate) tracer: Tracer,
    pub(crate) misses: Misses,
    pub(crate) sites: Option<Sites>,
    pub(crate) flights: Flights,
    pub(crate) hints: Hints,
    pub(crate) tasks: TaskTracker,
    pub(crate) stop: CancellationToken,
    /// Whether it takes no more connections.
    pub(crate) is_ending: AtomicBool,
    /// Cancelled where a drain has to end at once.
    pub(crate) cut: CancellationToken,
    /// What new connections may bring by themselves.
    pub(crate) unread: Unread,
    /// What the kernel holds of responses.
    pub(crate) unsent: Arc<Unsent>,
}

impl Edge {
    /// Makes an edge and, where it has a journal to follow, begins to follow it. `bucket` is read where no origin
    /// can answer. Ends with `shutdown`.
    ///
    /// # Errors
    /// Where the name or an upstream URL cannot be used, or there is nothing to get content from.
    pub fn start(
        config: EdgeConfig,
        bucket: Option<Arc<dyn Bucket>>,
        shutdown: CancellationToken,
    ) -> Result<Arc<Self>, EdgeError> {
        if !forward::is_name(&config.name) {
            return Err(EdgeError::BadName { name: config.name });
        }
        let (urls, sites, options) = match &config.mode {
            Mode::Upstream { urls } => {
                if urls.is_empty() {
                    return Err(EdgeError::NoUpstream);
                }
                (urls.clone(), None, config.upstream.clone())
            }
            Mode::Sites(sites) => {
                if sites.origins.is_empty() && bucket.is_none() {
                    return Err(EdgeError::NoUpstream);
                }
                let followed = Some(Sites::new(sites.clone(), bucket));
                (sites.origins.clone(), followed, UpstreamOptions::of_origins())
            }
        };
        let settings = Arc::new(config.settings.clone());
        let store_bytes_max = settings.store_bytes_max();
        let store = Arc::new(Store::new(store_bytes_max));
        let upstreams = Upstreams::new(&urls, config.deadlines, options, store.books())?;
        let turns = Turns::new(&store, store_bytes_max);
        let log = Arc::new(PurgeLog::default());
        let edge = Arc::new(Self {
            sweeper: Sweeper::new(Arc::clone(&store), Arc::clone(&log)),
            settings: ArcSwap::new(settings),
            resettled: watch::Sender::default(),
            store,
            log,
            via_line: format!("via: 1.1 {}\r\n", config.name),
            upstreams,
            turns,
            access_log: match &config.access_log {
                Some((target, format)) => Some(
                    AccessLog::open(target.clone(), *format)
                        .map_err(|reason| EdgeError::AccessLog { target: target.to_string(), reason })?,
                ),
                None => None,
            },
            tracer: Tracer::default(),
            misses: Misses::default(),
            sites,
            flights: Flights::default(),
            hints: Hints::default(),
            tasks: TaskTracker::new(),
            stop: shutdown,
            is_ending: AtomicBool::new(false),
            cut: CancellationToken::new(),
            unread: Unread::default(),
            unsent: Arc::default(),
            config,
        });
        edge.follow();
        Ok(edge)
    }

    /// How the edge is now.
    pub fn state(&self) -> EdgeState {
        EdgeState {
            sites: self.sites.as_ref().map(|sites| sites.progress(clock::boot_ms())).unwrap_or_default(),
            entries: self.store.entries(),
            bytes: self.store.bytes(),
            flights: self.flights.len(),
            waiting: self.flights.waiting(),
        }
    }

    /// How each upstream is.
    pub fn upstreams(&self) -> Vec<UpstreamState> {
        self.upstreams.states()
    }

    /// Puts other upstreams, or the same used in another way, in the place of those in front of which this edge is.
    /// Requests under way end where they are. Only for [`Mode::Upstream`].
    ///
    /// # Errors
    /// Where one cannot be used; then all stays as it was.
    pub fn replace_upstreams(
        &self,
        urls: &[String],
        deadlines: Deadlines,
        options: UpstreamOptions,
    ) -> Result<(), EdgeError> {
        if urls.is_empty() || self.sites.is_some() {
            return Err(EdgeError::NoUpstream);
        }
        self.upstreams.replace(urls, deadlines, options)
    }

    /// Changes what may change while the edge runs, for requests from now on. Connections that are open keep their deadlines,
    /// and stored responses the lifetimes that they have. With less memory than before, what is stored makes room by and by.
    pub fn set(&self, settings: Settings) {
        let store_bytes_max = settings.store_bytes_max();
        self.settings.store(Arc::new(settings));
        self.resettled.send_replace(());
        self.turns.resize(store_bytes_max);
        self.store.books().plan(store_bytes_max);
        self.sweeper.resize(store_bytes_max);
    }

    /// What holds now, for one request.
    pub(crate) fn settings(&self) -> Arc<Settings> {
        self.settings.load_full()
    }

    /// The same, for a moment: without a write to anything that another thread writes.
    pub(crate) fn current(&self) -> Guard<Arc<Settings>> {
        self.settings.load()
    }

    /// Purges this cache alone: in force in all threads when this returns. Returns how many copies were dropped or marked, as
    /// far as they were counted within a quarter of a second. With `soft` they are stale from now on. For an edge in front of
    /// upstreams without a journal.
    pub async fn purge_local(&self, selectors: &[Selector], soft: bool) -> Dropped {
        let soft_at = soft.then(clock::boot_ms);
        let entry = Applied::purge(None, selectors, soft_at).keyed_by(&self.current().rules.query);
        self.apply(entry).await
    }

    /// Puts an entry in force, and has freed what it covers; returns how many copies that were by then.
    pub(crate) async fn apply(&self, entry: Applied) -> Dropped {
        let entry = self.mark(entry);
        self.settle(&[entry]).await
    }

    /// Puts an entry in force and frees nothing: whoever reads a copy finds out.
    pub(crate) fn mark(&self, entry: Applied) -> Arc<Applied> {
        let entry = Arc::new(entry);
        let epoch = self.log.push(Arc::clone(&entry));
        if PurgeLog::wants_sweep(epoch) {
            self.sweeper.want(epoch);
        }
        entry
    }

    /// Has freed what entries in force cover; returns how many copies that were, as far as they are counted soon.
    pub(crate) async fn settle(&self, entries: &[Arc<Applied>]) -> Dropped {
        let mut is_exact = true;
        for entry in entries {
            match entry.lists(&self.store) {
                Some(lists) => self.sweeper.sweep_lists(&lists).await,
                None => is_exact = false,
            }
        }
        let epoch = self.log.epoch();
        let counting = !is_exact && {
            self.sweeper.want(epoch);
            tokio::time::timeout(COUNT_WAIT, self.sweeper.swept(epoch)).await.is_err()
        };
        let total = metrics::counter!("bakehouse_edge_dropped_total");
        let worsened = |entries: &[Arc<Applied>]| entries.iter().map(|entry| entry.worsened()).sum();
        let dropped: u64 = worsened(entries);
        total.increment(dropped);
        if counting {
            let (sweeper, entries) = (Arc::clone(&self.sweeper), entries.to_vec());
            tokio::spawn(async move {
                sweeper.swept(epoch).await;
                total.increment(worsened(&entries) - dropped);
            });
        }
        Dropped { dropped, counting }
    }

    pub(crate) fn object_bytes_max(&self) -> usize {
        self.current().memory_bytes_max / OBJECT_PART
    }

    /// Opens the access log's file again, after it was moved away; `false`: there is none.
    ///
    /// # Errors
    /// Where it cannot be opened; lines go on to where they went.
    pub fn reopen_access_log(&self) -> Result<bool, EdgeError> {
        let Some(log) = &self.access_log else { return Ok(false) };
        let failed = |reason| EdgeError::AccessLog { target: log.target().to_string(), reason };
        log.reopen().map_err(failed).map(|()| true)
    }

    /// Writes what is left of the access log: the last call before a process ends.
    pub fn close_access_log(&self) {
        if let Some(log) = &self.access_log {
            log.close();
        }
    }

    /// What this edge calls itself.
    pub fn name(&self) -> &str {
        &self.config.name
    }

    /// Whether purges belong into a journal that it follows.
    pub fn follows_a_journal(&self) -> bool {
        self.sites.is_some()
    }

    /// Entries applied so far: purges, in front of upstreams without a journal.
    pub fn purges(&self) -> u64 {
        self.log.epoch()
    }

    /// Answers a request.
    pub(crate) async fn handle(
        self: &Arc<Self>,
        inbound: Inbound,
        content: RequestBody,
    ) -> (Response, Observation) {
        let asked = inbound.scheme;
        let mut inbound = inbound;
        self.believe(&mut inbound);
        let begun = self.observe(&inbound);
        let trace = begun.trace.clone();
        // On the heap, as all that is seldom waited for: futures that are handed on by value are kept twice, and one that waits
        // for an upstream took 46 KiB.
        let answering = Box::pin(self.answer(inbound, asked, content));
        let response = trace::within(&trace, answering).await;
        let observation = begun.answered(self, &response);
        (response, observation)
    }

    /// Takes the word of a peer that is trusted about who asks, how, and for which host, and what it calls the request.
    fn believe(&self, inbound: &mut Inbound) {
        let settings = self.current();
        inbound.is_trusted = inbound.peer.is_some_and(|peer| settings.trusts(peer));
        if inbound.is_trusted {
            let Believed { scheme, host } = Believed::of(&inbound.headers);
            inbound.scheme = scheme.unwrap_or(inbound.scheme);
            if let Some(host) = host {
                inbound.host = host;
            }
            inbound.client = forwarded::client(&inbound.headers, |hop| settings.trusts(hop)).or(inbound.peer);
            let mut ids = inbound.headers.get_all(forward::REQUEST_ID).iter();
            if let (Some(id), None) = (ids.next(), ids.next())
                && is_request_id(id.as_bytes())
            {
                inbound.id = id.clone();
            }
        }
    }

    /// `asked`: the scheme that its target said, or that it came by.
    async fn answer(self: &Arc<Self>, inbound: Inbound, asked: Scheme, content: RequestBody) -> Response {
        let mut inbound = inbound;
        if forward::is_loop(&inbound.headers, &self.config.name) {
            trace::note(|| {
                Step::by("RFC 8586 §2", "refused: a loop, this edge has forwarded the request before")
            });
            return self.error(&inbound, StatusCode::LOOP_DETECTED, "This request has been here before.");
        }
        if asked == Scheme::Https && !(inbound.is_trusted && inbound.scheme == Scheme::Https) {
            // What is asked for by https must have come so (RFC 9110 §7.4), or by one who took it so.
            trace::note(|| Step::by("RFC 9110 §7.4", "421: an https target came without TLS"));
            return self.error(
                &inbound,
                StatusCode::MISDIRECTED_REQUEST,
                "This address is not served over TLS here.",
            );
        }
        match forward::max_forwards(&inbound.method, &inbound.headers) {
            MaxForwards::Unlimited => {}
            MaxForwards::Left(left) => {
                let headers = Arc::make_mut(&mut inbound.headers);
                headers.insert(header::MAX_FORWARDS, HeaderValue::from(left));
            }
            MaxForwards::AnswerHere => return self.answer_options(&inbound),
        }
        if inbound.target == SERVER {
            // This is the server that is asked about, whichever stand behind it (RFC 9110 §9.3.7).
            return self.answer_options(&inbound);
        }
        inbound.settle();
        match &self.sites {
            None => self.handle_upstream(inbound, content).await,
            Some(sites) => self.handle_site(sites, inbound).await,
        }
    }

    async fn handle_upstream(self: &Arc<Self>, inbound: Inbound, content: RequestBody) -> Response {
        let bypass = Bypass::of(&inbound);
        if let Some(bypass) = bypass {
            trace::note(|| bypass.step());
            if bypass.is_refused(&inbound) {
                trace::note(decide::only_stored);
                return self.not_stored(&inbound);
            }
        }
        if bypass == Some(Bypass::Upgrade) {
            return Box::pin(self.websocket(&inbound)).await;
        }
        let mut inbound = inbound;
        let settings = self.settings();
        let target = settings.rules.query.target(&inbound.target);
        let key = Key::of_upstream(inbound.scheme, &inbound.host, &target);
        if let Some(bypass) = bypass {
            return Box::pin(self.pass(&inbound, &key, content, bypass.forward(), &Found::default())).await;
        }
        // What is keyed is what is asked for.
        inbound.target = target.into_owned();
        self.cached(&inbound, key, None, Gate::Open).await
    }

    async fn handle_site(self: &Arc<Self>, sites: &Sites, inbound: Inbound) -> Response {
        if !matches!(inbound.method, Method::GET | Method::HEAD) {
            trace::note(|| Step::by("RFC 9110 §15.5.6", "405: a site answers GET and HEAD"));
            let mut response =
                self.error(&inbound, StatusCode::METHOD_NOT_ALLOWED, "This site answers GET and HEAD only.");
            response.headers.insert(header::ALLOW, HeaderValue::from_static("GET, HEAD"));
            return response;
        }
        let now = clock::boot_ms();
        let Some(site) = sites.of_host(&inbound.host) else {
            if sites.is_ready(now) {
                trace::note(|| Step::by("RFC 9110 §15.5.20", "421: no site of that name is served here"));
                return self.error(
                    &inbound,
                    StatusCode::MISDIRECTED_REQUEST,
                    "No site of that name is served here.",
                );
            }
            trace::note(|| Step::found("503: this edge is starting"));
            return self.not_ready(&inbound, "This edge is starting.");
        };
        let gate = site.gate(now);
        match gate {
            Gate::Starting => {
                trace::note(|| Step::found("503: this edge is starting"));
                return self.not_ready(&inbound, "This edge is starting.");
            }
            Gate::Refuse => {
                trace::note(|| Step::found("503: the lease has lapsed"));
                return self.not_ready(&inbound, "This edge has lost touch with its origin.");
            }
            Gate::Open | Gate::Lapsed | Gate::Validate => {}
        }
        let path = inbound.target.split('?').next().unwrap_or_default();
        let Some(path) = release::url::site_path(path) else {
            trace::note(|| Step::found("400: the path is not text"));
            return self.error(&inbound, StatusCode::BAD_REQUEST, "This path is not text.");
        };
        let key = Key::of_site(&site.scope, &path);
        self.cached(&inbound, key, Some(site), gate).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{config::Mode, store::tests::copy};

    #[tokio::test(start_paused = true)]
    async fn a_count_that_takes_long_is_told_as_what_it_is() {
        const COPIES: u64 = 50_000;
        let mode = Mode::Upstream { urls: vec!["http://127.0.0.1:1".into()] };
        let edge = Edge::start(EdgeConfig::new(mode, "test"), None, CancellationToken::new()).unwrap();
        for n in 0..COPIES {
            let key = Key::of_upstream(Scheme::Http, "h", &format!("/{n}"));
            edge.store.insert(copy(&edge.store, &key, "\"a\"", 10), edge.log.now(), &edge.log).unwrap();
        }
        // The wait passes at once.
        let began = tokio::time::Instant::now();
        let told = edge.purge_local(&[Selector::All], false).await;
        assert!(began.elapsed() <= Duration::from_millis(250), "{:?}", began.elapsed());
        assert!(told.counting || told.dropped == COPIES, "{told}");
        edge.sweeper.swept(edge.log.epoch()).await;
        assert_eq!(edge.store.entries(), 0);
        let again = edge.purge_local(&[Selector::All], false).await;
        assert_eq!(again.dropped, 0);
    }
}
