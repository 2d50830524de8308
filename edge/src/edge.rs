//! A request's way through the cache: look up, decide by policy, join or begin a fetch, store, answer.
//!
//! No lock is held across an await. A fetch that may be shared runs in a task of its own, so that a client that
//! leaves neither aborts it nor slows the others.

use std::{fmt, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode, Version, header};
use release::{answer, bucket::Bucket, journal::Selector, keys::Site};
use tokio::sync::oneshot;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    body::{OutBody, Source},
    clock,
    collapse::{Flight, Flights, Hints, Landing, Role},
    error::EdgeError,
    fetch::{Answer, Ask, Deadlines, RequestBody, Upstreams},
    fill::{Fill, FillReader},
    journal::{Gate, SiteHandle, Sites},
    key::Key,
    metrics::{Result as Counted, corrupted},
    policy::{
        date,
        directives::{Control, RequestDirectives},
        forward,
        freshness::{Freshness, Millis, Receipt, StaleRefused},
        range::{Ranged, ranged},
        reuse::{
            ClientValidation, Failure, Forward, Reuse, is_stale_if_error_status, reuse, stale_on_failure,
        },
        status::{CacheStatus, ttl_seconds},
        storing::{self, Asked, NoStore, storing},
        validate::{self, Conditional, Tag},
        vary::{self, Selection},
    },
    purge::{Applied, Began, PurgeLog},
    store::{Found, Store, Stored},
};

/// The name in `Cache-Status` (RFC 9211 §2).
const CACHE_NAME: &str = "Bakehouse";
/// One object takes at most this part of the memory, so that a few large ones do not evict everything.
const OBJECT_PART: usize = 8;
/// How often a follower whose leader's response was not for it looks again before it goes alone.
const ATTEMPTS_MAX: usize = 3;
/// Tags of held bodies that are sent along with a fetch.
const TAGS_MAX: usize = 8;
/// What a client is told to wait before it asks an edge that is not ready again, in seconds.
const RETRY_AFTER_SECONDS: u32 = 1;

/// What a reader is told when no upstream answers.
const UNREACHABLE: &str = "The site could not be reached. Please try again.";

/// Where an edge gets its content from.
#[derive(Debug, Clone)]
pub enum Mode {
    /// Any HTTP upstreams, which know nothing of us; URLs of scheme and host. Purges are this edge's own.
    Upstream {
        /// All serve the same.
        urls: Vec<String>,
    },
    /// Bakehouse origins, whose journal is followed.
    Sites(SitesConfig),
}

/// How an edge follows its origins.
#[derive(Debug, Clone)]
pub struct SitesConfig {
    /// URLs of scheme and host; may be empty where there is a bucket.
    pub origins: Vec<String>,
    /// The edges' token.
    pub token: String,
    /// The sites to follow where no origin can name them.
    pub sites: Vec<Site>,
    /// For how long what was last verified may be served as up to date.
    pub lease: Duration,
    /// What happens when that has passed.
    pub on_lapse: OnLapse,
}

/// What an edge does that has not heard of the journal for a whole lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnLapse {
    /// Serves, and says so in `Cache-Status`.
    #[default]
    Serve,
    /// Validates each copy before use.
    Validate,
    /// Answers 503.
    Refuse,
}

/// Bounds of what clients may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of a request's head; beyond: 431.
    pub header_bytes_max: usize,
    /// From the first byte of a request, or a new connection, to the end of its head.
    pub header_read: Duration,
    /// Open connections; beyond, new ones wait to be accepted.
    pub connections_max: usize,
    /// How long a client may take no data.
    pub write_stall: Duration,
    /// How long requests in flight may take once the edge is told to stop.
    pub drain: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            header_bytes_max: 64 << 10,
            header_read: Duration::from_secs(15),
            connections_max: 20_000,
            write_stall: Duration::from_secs(60),
            drain: Duration::from_secs(4),
        }
    }
}

/// How an edge works.
#[derive(Debug, Clone)]
pub struct EdgeConfig {
    /// Where content comes from.
    pub mode: Mode,
    /// Bytes that stored responses and responses in flight may take.
    pub memory_bytes_max: usize,
    /// What this edge calls itself, in `Via` and towards origins; unique among edges, a token (RFC 9110 §5.6.2).
    pub name: String,
    /// How long upstreams may take.
    pub deadlines: Deadlines,
    /// What clients may do.
    pub limits: Limits,
    /// Whether browsers may force validation.
    pub client_validation: ClientValidation,
}

impl EdgeConfig {
    /// The defaults around a mode.
    pub fn new(mode: Mode, name: impl Into<String>) -> Self {
        Self {
            mode,
            memory_bytes_max: 256 << 20,
            name: name.into(),
            deadlines: Deadlines::default(),
            limits: Limits::default(),
            client_validation: ClientValidation::default(),
        }
    }
}

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
    pub(crate) store: Arc<Store>,
    pub(crate) log: PurgeLog,
    pub(crate) upstreams: Upstreams,
    pub(crate) sites: Option<Sites>,
    flights: Flights,
    hints: Hints,
    targets: Vec<HeaderName>,
    pub(crate) tasks: TaskTracker,
    pub(crate) stop: CancellationToken,
}

/// A request as the server hands it in: hop-by-hop fields removed, framing settled.
#[derive(Debug)]
pub(crate) struct Inbound {
    pub(crate) method: Method,
    pub(crate) version: Version,
    /// Path and query, as received.
    pub(crate) target: String,
    /// `Host`, or the authority of an absolute target.
    pub(crate) host: String,
    pub(crate) headers: HeaderMap,
    pub(crate) directives: RequestDirectives,
    pub(crate) id: HeaderValue,
    pub(crate) peer: Option<std::net::IpAddr>,
    pub(crate) has_content: bool,
}

/// What the one who asked gets.
enum Outcome {
    Landing(Landing),
    /// The response being received, with a reader from its first byte.
    Filling(Arc<Fill>, FillReader),
    /// A response for this client alone.
    Alone(Box<Reply>, NoStore),
}

/// A response from wherever it came.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) source: Source,
    /// What the content must come to.
    pub(crate) digest: Option<release::Digest>,
}

/// A fetch and all that it needs.
struct Plan {
    key: Key,
    ask: Ask,
    site: Option<Arc<SiteHandle>>,
    accept_encoding: Option<String>,
    host: String,
    request: HeaderMap,
    directives: RequestDirectives,
    found: Found,
    tags: Vec<HeaderValue>,
}

impl Edge {
    /// Makes an edge and, where it has a journal to follow, begins to follow it. `bucket` is read where no origin
    /// can answer. Ends with `shutdown`.
    ///
    /// # Errors
    /// Where an upstream URL cannot be used, or there is nothing to get content from.
    pub fn start(
        config: EdgeConfig,
        bucket: Option<Arc<dyn Bucket>>,
        shutdown: CancellationToken,
    ) -> Result<Arc<Self>, EdgeError> {
        let (urls, sites, targets) = match &config.mode {
            Mode::Upstream { urls } => {
                if urls.is_empty() {
                    return Err(EdgeError::NoUpstream);
                }
                (urls.clone(), None, storing::targets_of_an_upstream())
            }
            Mode::Sites(sites) => {
                if sites.origins.is_empty() && bucket.is_none() {
                    return Err(EdgeError::NoUpstream);
                }
                (sites.origins.clone(), Some(Sites::new(sites.clone(), bucket)), storing::targets_of_a_site())
            }
        };
        let edge = Arc::new(Self {
            store: Arc::new(Store::new(config.memory_bytes_max)),
            log: PurgeLog::default(),
            upstreams: Upstreams::new(&urls, config.deadlines)?,
            sites,
            flights: Flights::default(),
            hints: Hints::default(),
            targets,
            tasks: TaskTracker::new(),
            stop: shutdown,
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
        }
    }

    /// Purges this cache alone, at once; returns how many copies were dropped or marked. With `soft` they are stale
    /// from now on. For an edge in front of upstreams without a journal.
    pub fn purge_local(&self, selectors: &[Selector], soft: bool) -> u64 {
        let soft_at = soft.then(clock::boot_ms);
        self.apply(Applied::purge(None, selectors, soft_at))
    }

    /// Puts an entry in force, then frees what it covers.
    pub(crate) fn apply(&self, entry: Applied) -> u64 {
        let entry = Arc::new(entry);
        let epoch = self.log.push(Arc::clone(&entry));
        if PurgeLog::wants_sweep(epoch) {
            self.store.restamp(&self.log);
        }
        let dropped = self.store.sweep(&entry, &self.log);
        metrics::counter!("bakehouse_edge_dropped_total").increment(dropped);
        dropped
    }

    fn object_bytes_max(&self) -> usize {
        self.config.memory_bytes_max / OBJECT_PART
    }

    /// Answers a request.
    pub(crate) async fn handle(
        self: &Arc<Self>,
        inbound: Inbound,
        content: RequestBody,
    ) -> Response<OutBody> {
        if forward::is_loop(&inbound.headers, &self.config.name) {
            return self.error(&inbound, StatusCode::LOOP_DETECTED, "This request has been here before.");
        }
        match &self.sites {
            None => self.handle_upstream(inbound, content).await,
            Some(sites) => self.handle_site(sites, inbound).await,
        }
    }

    async fn handle_upstream(self: &Arc<Self>, inbound: Inbound, content: RequestBody) -> Response<OutBody> {
        let key = Key::of_upstream(&inbound.host, &inbound.target);
        let cacheable = matches!(inbound.method, Method::GET | Method::HEAD);
        if !cacheable {
            return self.pass(&inbound, &key, content, Forward::Method).await;
        }
        // Content gives a GET a meaning that the key does not have (RFC 9110 §9.3.1).
        if inbound.has_content || validate::for_origin_only(&inbound.headers) {
            return self.pass(&inbound, &key, content, Forward::Bypass).await;
        }
        self.cached(&inbound, key, None, Gate::Open).await
    }

    async fn handle_site(self: &Arc<Self>, sites: &Sites, inbound: Inbound) -> Response<OutBody> {
        if !matches!(inbound.method, Method::GET | Method::HEAD) {
            let mut response =
                self.error(&inbound, StatusCode::METHOD_NOT_ALLOWED, "This site answers GET and HEAD only.");
            response.headers_mut().insert(header::ALLOW, HeaderValue::from_static("GET, HEAD"));
            return response;
        }
        let now = clock::boot_ms();
        let Some(site) = sites.of_host(&inbound.host) else {
            if sites.is_ready(now) {
                return self.error(
                    &inbound,
                    StatusCode::MISDIRECTED_REQUEST,
                    "No site of that name is served here.",
                );
            }
            return self.not_ready(&inbound, "This edge is starting.");
        };
        let gate = site.gate(now);
        match gate {
            Gate::Starting => return self.not_ready(&inbound, "This edge is starting."),
            Gate::Refuse => return self.not_ready(&inbound, "This edge has lost touch with its origin."),
            Gate::Open | Gate::Lapsed | Gate::Validate => {}
        }
        let path = inbound.target.split('?').next().unwrap_or_default();
        let Some(path) = release::url::site_path(path) else {
            return self.error(&inbound, StatusCode::BAD_REQUEST, "This path is not text.");
        };
        let key = Key::of_site(&site.scope, &path);
        self.cached(&inbound, key, Some(site), gate).await
    }

    /// A GET or HEAD that may be answered from the store.
    async fn cached(
        self: &Arc<Self>,
        inbound: &Inbound,
        key: Key,
        site: Option<Arc<SiteHandle>>,
        gate: Gate,
    ) -> Response<OutBody> {
        let mut collapsed = None;
        let gate_detail = if gate == Gate::Lapsed { Some("lease-expired") } else { None };
        for attempt in 0..ATTEMPTS_MAX {
            let now = clock::boot_ms();
            let found = self.store.find(&key, &inbound.headers, &self.log);
            let mut forward = match (&found.live, &found.unverified, found.any) {
                (Some(_), _, _) | (None, Some(_), _) => Forward::Stale,
                (None, None, true) if site.is_none() => Forward::VaryMiss,
                (None, None, true) if found.superseded.is_some() => Forward::Stale,
                (None, None, true) => Forward::VaryMiss,
                (None, None, false) => Forward::UriMiss,
            };
            if let Some(stored) = &found.live {
                let decided = reuse(
                    &stored.freshness,
                    stored.stale_from(),
                    inbound.directives,
                    self.config.client_validation,
                    now,
                );
                let hit = |left_ms: i64, detail: Option<&'static str>| {
                    let status = CacheStatus {
                        ttl_seconds: Some(ttl_seconds(left_ms)),
                        detail: detail.or(gate_detail),
                        collapsed,
                        ..CacheStatus::default()
                    };
                    Counted::Hit.count();
                    self.answer_stored(inbound, stored, status, now)
                };
                match decided {
                    _ if gate == Gate::Validate => forward = Forward::Stale,
                    Reuse::Fresh { left_ms } => return hit(left_ms, None),
                    Reuse::MaxStale { left_ms } => return hit(left_ms, Some("max-stale")),
                    Reuse::WhileRevalidate { left_ms } => {
                        self.revalidate_behind(inbound, &key, site.as_ref(), &found);
                        return hit(left_ms, Some("stale-while-revalidate"));
                    }
                    Reuse::Validate { why } => forward = why,
                }
            }
            if inbound.directives.only_if_cached {
                // RFC 9111 §5.2.1.7.
                return self.error(
                    inbound,
                    StatusCode::GATEWAY_TIMEOUT,
                    "There is no stored response to use.",
                );
            }
            let partial = inbound.method == Method::HEAD || inbound.headers.contains_key(header::RANGE);
            if site.is_none() && partial {
                return self.pass(inbound, &key, crate::fetch::no_content(), forward).await;
            }
            Counted::Forwarded(forward).count();
            let last = attempt + 1 == ATTEMPTS_MAX;
            let alone = last || self.hints.alone(&key, now);
            let outcome = if alone {
                collapsed = collapsed.or(if attempt > 0 { Some(false) } else { None });
                let flight = Arc::new(Flight::new(&self.log));
                self.lead(inbound, &key, site.as_ref(), found.clone_for_flight(), None, flight).await
            } else {
                let what = (key.clone(), self.hints.selection(&key, &inbound.headers));
                match self.flights.join(&what, &self.log) {
                    Role::Leader(flight) => {
                        let again = self.store.find(&key, &inbound.headers, &self.log).live;
                        let same = match (&again, &found.live) {
                            (Some(again), Some(live)) => Arc::ptr_eq(again, live),
                            (None, _) => true,
                            (Some(_), None) => false,
                        };
                        if !same {
                            // Another flight has landed between the look and the listing.
                            self.flights.leave(&what, &flight);
                            flight.land(Landing::Released);
                            continue;
                        }
                        self.lead(inbound, &key, site.as_ref(), found.clone_for_flight(), Some(what), flight)
                            .await
                    }
                    Role::Follower(mut landing) => {
                        metrics::counter!("bakehouse_edge_collapsed_total").increment(1);
                        let landed = landing.wait_for(Option::is_some).await.ok().and_then(|l| (*l).clone());
                        match landed.and_then(|landing| self.for_follower(inbound, landing)) {
                            Some(outcome) => {
                                collapsed = Some(true);
                                outcome
                            }
                            None => {
                                collapsed = Some(false);
                                continue;
                            }
                        }
                    }
                }
            };
            return self.conclude(inbound, outcome, &found, forward, collapsed, gate_detail);
        }
        // The last attempt goes alone and always concludes.
        self.error(inbound, StatusCode::BAD_GATEWAY, "The request could not be answered.")
    }

    /// What a landing means for one who did not ask for it: nothing, unless policy would have reused it.
    fn for_follower(&self, inbound: &Inbound, landing: Landing) -> Option<Outcome> {
        let now = clock::boot_ms();
        let reusable = |freshness: &Freshness, selection: &Selection| {
            selection.matches(&inbound.headers)
                && matches!(
                    reuse(freshness, None, inbound.directives, self.config.client_validation, now),
                    Reuse::Fresh { .. }
                )
        };
        match landing {
            Landing::Body(fill) => {
                if !reusable(&fill.freshness, &fill.selection) {
                    return None;
                }
                let reader = fill.reader(0, None)?;
                Some(Outcome::Filling(fill, reader))
            }
            Landing::Stored(stored, _) if !reusable(&stored.freshness, &stored.selection) => None,
            Landing::Stand(stored, _) if !stored.selection.matches(&inbound.headers) => None,
            Landing::Released => None,
            landing => Some(Outcome::Landing(landing)),
        }
    }

    /// Begins the fetch and waits for its outcome.
    async fn lead(
        self: &Arc<Self>,
        inbound: &Inbound,
        key: &Key,
        site: Option<&Arc<SiteHandle>>,
        found: Found,
        listed: Option<(Key, Selection)>,
        flight: Arc<Flight>,
    ) -> Outcome {
        let plan = self.plan(inbound, key, site, found);
        let (tell, told) = oneshot::channel();
        let edge = Arc::clone(self);
        self.tasks.spawn(async move { edge.fly(plan, listed, flight, tell).await });
        told.await.unwrap_or_else(|_| Outcome::Landing(Landing::Failed(Arc::new(EdgeError::UpstreamBroke))))
    }

    /// Validates a copy that has just been served stale, unless that is under way.
    fn revalidate_behind(
        self: &Arc<Self>,
        inbound: &Inbound,
        key: &Key,
        site: Option<&Arc<SiteHandle>>,
        found: &Found,
    ) {
        let what = (key.clone(), self.hints.selection(key, &inbound.headers));
        if let Role::Leader(flight) = self.flights.join(&what, &self.log) {
            let plan = self.plan(inbound, key, site, found.clone_for_flight());
            let (tell, _) = oneshot::channel();
            let edge = Arc::clone(self);
            self.tasks.spawn(async move { edge.fly(plan, Some(what), flight, tell).await });
        }
    }

    fn plan(&self, inbound: &Inbound, key: &Key, site: Option<&Arc<SiteHandle>>, found: Found) -> Plan {
        let accept_encoding = joined(&inbound.headers, &header::ACCEPT_ENCODING);
        let mut headers = self.onward_fields(inbound);
        validate::strip_conditions(&mut headers);
        let held = found.live.as_ref().or(found.unverified.as_ref());
        let mut tags: Vec<HeaderValue> = Vec::new();
        if site.is_some() {
            // Every body at hand can answer, whichever coding or release it was fetched for.
            for stored in &found.bodies {
                // An origin answers 304 only in place of 200 (RFC 9110 §13.2.1).
                if stored.status == StatusCode::OK
                    && let Some(tag) = stored.strong_tag()
                    && !tags.contains(tag)
                    && tags.len() < TAGS_MAX
                {
                    tags.push(tag.clone());
                }
            }
        }
        if let Some(held) = held {
            validate::make_conditional(&mut headers, &held.head, &tags);
        } else if !tags.is_empty() {
            validate::make_conditional(&mut headers, &HeaderMap::new(), &tags);
        }
        let ask = Ask { method: Method::GET, target: inbound.target.clone(), headers };
        Plan {
            key: key.clone(),
            ask,
            site: site.cloned(),
            accept_encoding,
            host: inbound.host.clone(),
            request: inbound.headers.clone(),
            directives: inbound.directives,
            found,
            tags,
        }
    }

    /// The client's fields as they go to an upstream.
    fn onward_fields(&self, inbound: &Inbound) -> HeaderMap {
        let mut headers = inbound.headers.clone();
        forward::strip_overrides(&mut headers);
        // What a client says about itself is replaced by what we know.
        for name in [header::FORWARDED, HeaderName::from_static("x-real-ip")] {
            headers.remove(name);
        }
        let peer = inbound.peer.and_then(|ip| HeaderValue::from_str(&ip.to_string()).ok());
        let facts =
            [("x-forwarded-for", peer), ("x-forwarded-proto", Some(HeaderValue::from_static("http")))];
        for (name, value) in facts {
            match value {
                Some(value) => headers.insert(HeaderName::from_static(name), value),
                None => headers.remove(name),
            };
        }
        let host = HeaderValue::from_str(&inbound.host).ok();
        if let Some(host) = host {
            headers.insert(HeaderName::from_static("x-forwarded-host"), host.clone());
            headers.insert(header::HOST, host);
        }
        headers.insert(HeaderName::from_static("x-request-id"), inbound.id.clone());
        forward::add_via(&mut headers, inbound.version, &self.config.name);
        headers
    }

    /// One fetch: asks, decides what may be stored and shared, tells all who wait, and receives to the end.
    async fn fly(
        self: Arc<Self>,
        mut plan: Plan,
        listed: Option<(Key, Selection)>,
        flight: Arc<Flight>,
        tell: oneshot::Sender<Outcome>,
    ) {
        // Whatever happens, the flight leaves the list; a panic included.
        let listing = Listing { edge: &self, listed: listed.as_ref(), flight: &flight };
        let land = |landing: Landing, tell: oneshot::Sender<Outcome>| {
            flight.land(landing.clone());
            // The client may have left; the others have been told.
            let _ = tell.send(Outcome::Landing(landing));
        };
        let mut asked = clock::boot_ms();
        let mut fetched = self.fetch(&plan).await;
        let held = plan.found.live.clone();
        if matches!(&fetched, Ok(reply) if reply.status == StatusCode::NOT_MODIFIED) {
            let Ok(reply) = fetched else { return };
            let receipt = Receipt { asked, got: clock::boot_ms(), wall: clock::wall() };
            if let Some((stored, status)) = self.confirmed(&plan, &reply, receipt, flight.began) {
                drop(listing);
                return land(Landing::Stored(stored, status), tell);
            }
            // It speaks of something that is not held: ask again, for the whole.
            plan.found = Found::default();
            plan.tags.clear();
            validate::strip_conditions(&mut plan.ask.headers);
            asked = clock::boot_ms();
            fetched = self.fetch(&plan).await;
        }
        let receipt = Receipt { asked, got: clock::boot_ms(), wall: clock::wall() };
        let reply = match fetched {
            Ok(reply) if reply.status == StatusCode::NOT_MODIFIED => {
                let error = EdgeError::BadResponse {
                    upstream: plan.host.clone(),
                    reason: "304 to a request without conditions".into(),
                };
                drop(listing);
                return land(Landing::Failed(Arc::new(error)), tell);
            }
            Ok(reply) => reply,
            Err(error) => {
                drop(listing);
                let landing = match self.stand_in(&plan, held.as_ref(), Failure::Disconnected) {
                    Some(stored) => Landing::Stand(stored, None),
                    None => Landing::Failed(Arc::new(error)),
                };
                return land(landing, tell);
            }
        };
        if is_stale_if_error_status(reply.status)
            && let Some(stored) = self.stand_in(&plan, held.as_ref(), Failure::Status(reply.status))
        {
            drop(listing);
            return land(Landing::Stand(stored, Some(reply.status)), tell);
        }
        let control = Control::of(&reply.headers, &self.targets);
        let freshness = Freshness::of(reply.status, &reply.headers, &control, receipt);
        let asked_for = Asked {
            method: &plan.ask.method,
            authorized: plan.request.contains_key(header::AUTHORIZATION) && plan.site.is_none(),
            directives: plan.directives,
        };
        let names = vary::names(&reply.headers);
        let too_large = reply.source.length().is_some_and(|length| length > self.object_bytes_max() as u64);
        let verdict = storing(asked_for, reply.status, &reply.headers, &control, &freshness)
            .and(if too_large { Err(NoStore::TooLarge) } else { Ok(()) });
        let names = match (verdict, names) {
            (Ok(()), Some(names)) => names,
            (verdict, _) => {
                let reason = verdict.err().unwrap_or(NoStore::VaryStar);
                self.hints.note_alone(&plan.key, receipt.got);
                drop(listing);
                if reason == NoStore::SetCookie {
                    metrics::counter!("bakehouse_edge_set_cookie_total").increment(1);
                    tracing::info!(url = %plan.key.target, "not stored: the response sets a cookie");
                }
                flight.land(Landing::Released);
                if let Err(Outcome::Alone(reply, _)) = tell.send(Outcome::Alone(Box::new(reply), reason)) {
                    tracing::debug!(status = %reply.status, "nobody is left who wanted this response");
                }
                return;
            }
        };
        self.hints.note_vary(&plan.key, &names);
        let selection = Selection::of(&names, &plan.request);
        let length = reply.source.length();
        let fill =
            Arc::new(Fill::new(reply.status, reply.headers, freshness, selection, receipt.wall, length));
        // There is no reader yet that could have made it a stream, so this one can join.
        if let Some(reader) = fill.reader(0, None) {
            flight.land(Landing::Body(Arc::clone(&fill)));
            let _ = tell.send(Outcome::Filling(Arc::clone(&fill), reader));
        }
        self.receive(&plan.key, &fill, reply.source, reply.digest, &control, flight.began, listing).await;
    }

    /// A copy that may be served in place of a failure.
    fn stand_in(&self, plan: &Plan, held: Option<&Arc<Stored>>, failure: Failure) -> Option<Arc<Stored>> {
        let now = clock::boot_ms();
        if let Some(stored) = held
            && stale_on_failure(&stored.freshness, stored.stale_from(), plan.directives, failure, now).is_ok()
        {
            return Some(Arc::clone(stored));
        }
        // A site's old copy is better than an error, as long as it was neither removed nor purged.
        if plan.site.is_some() {
            let old = plan
                .found
                .live
                .as_ref()
                .or(plan.found.unverified.as_ref())
                .or(plan.found.superseded.as_ref());
            return old.filter(|stored| stored.freshness.stale_refused.is_none()).cloned();
        }
        None
    }

    async fn fetch(&self, plan: &Plan) -> Result<Reply, EdgeError> {
        match &plan.site {
            Some(site) => {
                let via = self.via(plan.ask.headers.get("x-request-id"));
                self.fetch_of_site(
                    site,
                    &plan.key.target,
                    plan.accept_encoding.as_deref(),
                    &plan.host,
                    &plan.tags,
                    via,
                )
                .await
            }
            None => self.upstreams.send(&plan.ask).await.map(Reply::of),
        }
    }

    /// Fields that name this edge and the request.
    fn via(&self, id: Option<&HeaderValue>) -> HeaderMap {
        let mut headers = HeaderMap::new();
        forward::add_via(&mut headers, Version::HTTP_11, &self.config.name);
        if let Some(id) = id {
            headers.insert(HeaderName::from_static("x-request-id"), id.clone());
        }
        headers
    }

    /// Makes a new copy of what a 304 confirms (RFC 9111 §4.3.4).
    fn confirmed(
        &self,
        plan: &Plan,
        reply: &Reply,
        receipt: Receipt,
        began: Began,
    ) -> Option<(Arc<Stored>, StatusCode)> {
        let of_status = |stored: &&Arc<Stored>| plan.site.is_none() || stored.status == StatusCode::OK;
        let asked = plan.found.live.as_ref().or(plan.found.unverified.as_ref()).filter(of_status);
        let stored = match Tag::of(&reply.headers).filter(|tag| !tag.weak) {
            Some(tag) => plan
                .found
                .with_tag(tag)
                .filter(of_status)
                .or(asked.filter(|held| validate::selects(&reply.headers, &held.head)))?,
            None => asked.filter(|held| validate::selects(&reply.headers, &held.head))?,
        };
        let mut head = validate::update(&stored.head, &reply.headers);
        let control = Control::of(&head, &self.targets);
        // Age and Date are those of the 304 (RFC 9111 §4.3.4); Age is not kept in what is stored.
        let mut dated = head.clone();
        match reply.headers.get(header::AGE) {
            Some(age) => dated.insert(header::AGE, age.clone()),
            None => dated.remove(header::AGE),
        };
        if !reply.headers.contains_key(header::DATE) {
            dated.remove(header::DATE);
            head.remove(header::DATE);
        }
        let freshness = Freshness::of(stored.status, &dated, &control, receipt);
        storing::strip_for_storage(&mut head, &control);
        let asked_for = Asked {
            method: &Method::GET,
            authorized: plan.request.contains_key(header::AUTHORIZATION) && plan.site.is_none(),
            directives: plan.directives,
        };
        let may_store = storing(asked_for, stored.status, &dated, &control, &freshness);
        let names = vary::names(&head);
        let selection = Selection::of(names.as_deref().unwrap_or_default(), &plan.request);
        let status = reply.status;
        metrics::counter!("bakehouse_edge_body_bytes_reused_total").increment(stored.body.len() as u64);
        let copy = self.copy(
            &plan.key,
            stored.status,
            head,
            stored.body.clone(),
            freshness,
            selection,
            receipt.wall,
            began,
        );
        if may_store.is_err() || names.is_none() {
            // It may not be used again; this one answer was confirmed.
            stored.make_stale(receipt.got);
            return Some((Arc::new(copy), status));
        }
        match self.store.insert(copy, began, &self.log) {
            Ok(copy) | Err(copy) => Some((copy, status)),
        }
    }

    #[expect(clippy::too_many_arguments, reason = "the parts of one record")]
    fn copy(
        &self,
        key: &Key,
        status: StatusCode,
        mut head: HeaderMap,
        body: Bytes,
        freshness: Freshness,
        selection: Selection,
        wall: i64,
        began: Began,
    ) -> Stored {
        let groups = groups_of(&head, key.of_site);
        if !head.contains_key(header::DATE)
            && let Ok(date) = HeaderValue::from_str(&date::format(wall))
        {
            // A recipient with a clock supplies a missing Date (RFC 9110 §6.6.1).
            head.insert(header::DATE, date);
        }
        head.remove(header::CONTENT_LENGTH);
        Stored::new(key.clone(), status, head, body, freshness, selection, wall, groups, began.epoch)
    }

    /// Receives a body to its end, for all readers and for the store.
    #[expect(clippy::too_many_arguments, reason = "what is received, by whose rules, on whose behalf")]
    async fn receive(
        &self,
        key: &Key,
        fill: &Arc<Fill>,
        mut source: Source,
        digest: Option<release::Digest>,
        control: &Control,
        began: Began,
        listing: Listing<'_>,
    ) {
        let guard = EndOnDrop(fill);
        let object_bytes_max = self.object_bytes_max();
        let mut reservation = Some(self.store.reservation());
        let mut listing = Some(listing);
        let mut hasher = digest.map(|_| blake3::Hasher::new());
        let mut total = 0u64;
        // The last part of a body of known length is held back until the body is stored: who has it all and asks
        // again finds it, and who was sent wrong bytes sees the response break off.
        let mut last = Bytes::new();
        while let Some(chunk) = source.chunk().await {
            let Ok(chunk) = chunk else {
                tracing::warn!(url = %key.target, "the upstream's response broke off");
                return;
            };
            if chunk.is_empty() {
                continue;
            }
            if let Some(hasher) = &mut hasher {
                hasher.update(&chunk);
            }
            total += chunk.len() as u64;
            let fits = total <= object_bytes_max as u64
                && reservation.as_mut().is_some_and(|reservation| reservation.grow(chunk.len()));
            if !fits && reservation.take().is_some() {
                fill.stream_only();
                listing = None;
            }
            if reservation.is_none() && !fill.room().await {
                return;
            }
            if fill.length == Some(total) {
                last = chunk;
            } else {
                fill.push(chunk);
            }
        }
        if fill.length.is_some_and(|length| length != total) {
            return;
        }
        if let (Some(digest), Some(hasher)) = (digest, hasher)
            && release::Digest::from(hasher.finalize()) != digest
        {
            corrupted(&key.target, "the origin");
            return;
        }
        if reservation.is_some() {
            let body = match (fill.whole(), last.is_empty()) {
                (whole, true) => whole,
                (whole, false) if whole.is_empty() => Bytes::copy_from_slice(&last),
                (whole, false) => [whole, last.clone()].concat().into(),
            };
            let mut head = fill.head.clone();
            storing::strip_for_storage(&mut head, control);
            drop(reservation.take());
            let copy = self.copy(
                key,
                fill.status,
                head,
                body,
                fill.freshness.clone(),
                fill.selection.clone(),
                fill.wall,
                began,
            );
            if self.store.insert(copy, began, &self.log).is_err() {
                tracing::debug!(url = %key.target, reason = NoStore::Superseded.as_str(), "not stored");
            }
        }
        drop(listing);
        fill.push(last);
        fill.end(true);
        drop(guard);
    }

    /// From the outcome of a fetch to the response.
    fn conclude(
        self: &Arc<Self>,
        inbound: &Inbound,
        outcome: Outcome,
        found: &Found,
        forward: Forward,
        collapsed: Option<bool>,
        gate_detail: Option<&'static str>,
    ) -> Response<OutBody> {
        let now = clock::boot_ms();
        let status =
            CacheStatus { forward: Some(forward), collapsed, detail: gate_detail, ..CacheStatus::default() };
        match outcome {
            Outcome::Filling(fill, reader) => {
                let left = fill.freshness.left_ms(now, None);
                let status = CacheStatus {
                    forward_status: Some(fill.status),
                    stored: collapsed != Some(true),
                    ttl_seconds: Some(ttl_seconds(left)),
                    ..status
                };
                self.answer_fill(inbound, &fill, reader, status)
            }
            Outcome::Landing(Landing::Stored(stored, code)) => {
                let left = stored.freshness.left_ms(now, stored.stale_from());
                let status = CacheStatus {
                    forward_status: Some(code),
                    stored: collapsed != Some(true),
                    ttl_seconds: Some(ttl_seconds(left)),
                    ..status
                };
                self.answer_stored(inbound, &stored, status, now)
            }
            Outcome::Landing(Landing::Stand(stored, code)) => {
                Counted::Stale.count();
                let left = stored.freshness.left_ms(now, stored.stale_from());
                let status = CacheStatus {
                    forward_status: code,
                    ttl_seconds: Some(ttl_seconds(left)),
                    detail: Some(if code.is_some() { "stale-if-error" } else { "disconnected" }),
                    ..status
                };
                self.answer_stored(inbound, &stored, status, now)
            }
            Outcome::Landing(Landing::Failed(error)) => {
                Counted::Failed.count();
                let stale_refused = found
                    .live
                    .as_ref()
                    .and_then(|stored| stored.freshness.stale_refused)
                    .map(StaleRefused::as_str);
                tracing::warn!(url = %inbound.target, host = %inbound.host, %error, stale_refused, "no response");
                match &*error {
                    EdgeError::Unpublished => self.not_ready(inbound, "Nothing is published here yet."),
                    error => self.error(inbound, error.status(), UNREACHABLE),
                }
            }
            Outcome::Alone(reply, reason) => {
                let status = CacheStatus {
                    forward_status: Some(reply.status),
                    detail: Some(reason.as_str()),
                    ..status
                };
                self.answer_alone(inbound, *reply, status)
            }
            Outcome::Landing(Landing::Body(_) | Landing::Released) => {
                self.error(inbound, StatusCode::BAD_GATEWAY, "The request could not be answered.")
            }
        }
    }

    /// A request that the cache has no part in, but for what it makes invalid.
    async fn pass(
        self: &Arc<Self>,
        inbound: &Inbound,
        key: &Key,
        content: RequestBody,
        forward: Forward,
    ) -> Response<OutBody> {
        Counted::Forwarded(forward).count();
        let headers = self.onward_fields(inbound);
        let ask = Ask { method: inbound.method.clone(), target: inbound.target.clone(), headers };
        let answer = if inbound.has_content {
            self.upstreams.send_once(&ask, content).await
        } else {
            self.upstreams.send(&ask).await
        };
        let answer = match answer {
            Ok(answer) => answer,
            Err(error) => {
                Counted::Failed.count();
                tracing::warn!(url = %inbound.target, host = %inbound.host, %error, "no response");
                return self.error(inbound, error.status(), UNREACHABLE);
            }
        };
        let mut reply = Reply::of(answer);
        if inbound.method == Method::HEAD {
            self.learn_from_head(inbound, key, &reply);
        }
        // RFC 9111 §4.4: after a non-error reply to an unsafe or unknown method.
        let non_error = reply.status.is_success() || reply.status.is_redirection();
        if !forward::is_safe(&inbound.method) && non_error {
            let mut keys = vec![key.clone()];
            for target in forward::also_invalidated(&reply.headers, "http", &inbound.host) {
                keys.push(Key::of_upstream(&inbound.host, &target));
            }
            for key in &keys {
                self.store.invalidate(key, &self.log);
            }
        }
        let status = CacheStatus {
            forward: Some(forward),
            forward_status: Some(reply.status),
            ..CacheStatus::default()
        };
        if inbound.method == Method::HEAD {
            // There is no content whatever Content-Length says (RFC 9110 §9.3.2).
            reply.source = Source::Whole(None);
        }
        self.answer_alone(inbound, reply, status)
    }

    /// A HEAD response that contradicts the stored GET makes it stale (RFC 9111 §4.3.5).
    fn learn_from_head(&self, inbound: &Inbound, key: &Key, reply: &Reply) {
        if reply.status != StatusCode::OK {
            return;
        }
        let found = self.store.find(key, &inbound.headers, &self.log);
        let Some(stored) = found.live else { return };
        let differs = |name: &HeaderName| {
            let new = reply.headers.get(name);
            new.is_some() && new != stored.head.get(name)
        };
        let length = reply.headers.get(header::CONTENT_LENGTH).and_then(|v| v.to_str().ok());
        let other_length = length.is_some_and(|text| text.parse() != Ok(stored.body.len()));
        if differs(&header::ETAG) || differs(&header::LAST_MODIFIED) || other_length {
            stored.make_stale(clock::boot_ms());
        }
    }

    fn answer_stored(
        &self,
        inbound: &Inbound,
        stored: &Arc<Stored>,
        status: CacheStatus,
        now: Millis,
    ) -> Response<OutBody> {
        let mut headers = stored.head.clone();
        let age = stored.freshness.age_seconds(now);
        headers.insert(header::AGE, HeaderValue::from(age));
        let mut code = stored.status;
        let mut body = stored.body.clone();
        if stored.status == StatusCode::OK {
            match validate::conditional(&inbound.headers, &stored.head, stored.wall, clock::wall()) {
                Conditional::NotModified => {
                    code = StatusCode::NOT_MODIFIED;
                    body = Bytes::new();
                }
                Conditional::Send if inbound.method == Method::GET => {
                    let length = body.len() as u64;
                    match ranged(&inbound.headers, &stored.head, length) {
                        Ranged::Whole => {}
                        Ranged::Part { start, end } => {
                            code = StatusCode::PARTIAL_CONTENT;
                            // Both lie within the body, whose length is a usize.
                            body = body.slice(usize_of(start)..usize_of(end));
                            part_fields(&mut headers, start, end, length);
                        }
                        Ranged::Unsatisfiable => {
                            code = StatusCode::RANGE_NOT_SATISFIABLE;
                            body = Bytes::new();
                            unsatisfiable_fields(&mut headers, length);
                        }
                    }
                }
                Conditional::Send => {}
            }
        }
        if code == StatusCode::NOT_MODIFIED {
            validate::strip_for_304(&mut headers);
        } else if code != StatusCode::NO_CONTENT {
            headers.insert(header::CONTENT_LENGTH, HeaderValue::from(body.len()));
        }
        metrics::counter!("bakehouse_edge_sent_bytes_total").increment(body.len() as u64);
        let body = if inbound.method == Method::HEAD { OutBody::empty() } else { OutBody::whole(body) };
        self.finish(inbound, code, headers, body, Some(status))
    }

    fn answer_fill(
        &self,
        inbound: &Inbound,
        fill: &Arc<Fill>,
        reader: FillReader,
        status: CacheStatus,
    ) -> Response<OutBody> {
        let mut headers = fill.head.clone();
        let mut code = fill.status;
        let mut reader = reader;
        if code == StatusCode::OK {
            let conditional = validate::conditional(&inbound.headers, &fill.head, fill.wall, clock::wall());
            if conditional == Conditional::NotModified {
                validate::strip_for_304(&mut headers);
                return self.finish(
                    inbound,
                    StatusCode::NOT_MODIFIED,
                    headers,
                    OutBody::empty(),
                    Some(status),
                );
            }
            if inbound.method == Method::GET
                && let Some(length) = fill.length
            {
                match ranged(&inbound.headers, &fill.head, length) {
                    Ranged::Whole => {}
                    Ranged::Part { start, end } => {
                        if let Some(part) = fill.reader(start, Some(end)) {
                            reader = part;
                            code = StatusCode::PARTIAL_CONTENT;
                            part_fields(&mut headers, start, end, length);
                        }
                    }
                    Ranged::Unsatisfiable => {
                        unsatisfiable_fields(&mut headers, length);
                        headers.insert(header::CONTENT_LENGTH, HeaderValue::from(0));
                        let code = StatusCode::RANGE_NOT_SATISFIABLE;
                        return self.finish(inbound, code, headers, OutBody::empty(), Some(status));
                    }
                }
            }
        }
        match reader.length() {
            Some(length) if code != StatusCode::NO_CONTENT => {
                headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
            }
            _ => {
                headers.remove(header::CONTENT_LENGTH);
            }
        }
        let body = if inbound.method == Method::HEAD { OutBody::empty() } else { OutBody::Fill(reader) };
        self.finish(inbound, code, headers, body, Some(status))
    }

    fn answer_alone(
        self: &Arc<Self>,
        inbound: &Inbound,
        reply: Reply,
        status: CacheStatus,
    ) -> Response<OutBody> {
        let body = match reply.source {
            _ if inbound.method == Method::HEAD => OutBody::empty(),
            Source::Whole(bytes) => OutBody::Whole(bytes),
            Source::Stream(body) if reply.digest.is_none() => OutBody::Upstream(body),
            source => self.stream_for_one(&reply.headers, reply.status, source, reply.digest),
        };
        self.finish(inbound, reply.status, reply.headers, body, Some(status))
    }

    /// Content of a release for one client alone, checked on its way.
    fn stream_for_one(
        self: &Arc<Self>,
        headers: &HeaderMap,
        status: StatusCode,
        source: Source,
        digest: Option<release::Digest>,
    ) -> OutBody {
        let control = Control::of(headers, &self.targets);
        let now = clock::boot_ms();
        let receipt = Receipt { asked: now, got: now, wall: clock::wall() };
        let freshness = Freshness::of(status, headers, &control, receipt);
        let length = source.length();
        let fill = Arc::new(Fill::new(
            status,
            HeaderMap::new(),
            freshness,
            Selection::default(),
            receipt.wall,
            length,
        ));
        let Some(reader) = fill.reader(0, None) else { return OutBody::empty() };
        fill.stream_only();
        self.tasks.spawn(async move { pump(&fill, source, digest).await });
        OutBody::Fill(reader)
    }

    /// What every response gets on its way out.
    fn finish(
        &self,
        inbound: &Inbound,
        code: StatusCode,
        mut headers: HeaderMap,
        body: OutBody,
        status: Option<CacheStatus>,
    ) -> Response<OutBody> {
        if self.sites.is_some() {
            headers.remove(answer::EDGE_CACHE_CONTROL);
            headers.remove(answer::CHUNKS_FIELD);
            repeat_query(inbound, code, &mut headers);
        }
        forward::add_via(&mut headers, Version::HTTP_11, &self.config.name);
        if let Some(status) = status {
            headers.append("cache-status", status.to_value(CACHE_NAME));
        }
        headers.insert(HeaderName::from_static("x-request-id"), inbound.id.clone());
        let mut response = Response::new(body);
        *response.status_mut() = code;
        *response.headers_mut() = headers;
        response
    }

    /// A page of our own. Never stored, and without `Cache-Status` (RFC 9211 §2).
    pub(crate) fn error(&self, inbound: &Inbound, code: StatusCode, text: &str) -> Response<OutBody> {
        error_page(code, text, inbound.method == Method::HEAD, Some(&inbound.id))
    }

    fn not_ready(&self, inbound: &Inbound, text: &str) -> Response<OutBody> {
        let mut response = self.error(inbound, StatusCode::SERVICE_UNAVAILABLE, text);
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(RETRY_AFTER_SECONDS));
        response
    }
}

impl Reply {
    fn of(answer: Answer) -> Self {
        let mut headers = answer.headers;
        forward::strip_connection(&mut headers);
        Self { status: answer.status, headers, source: Source::Stream(answer.body), digest: None }
    }
}

impl Found {
    /// What a flight needs of it.
    fn clone_for_flight(&self) -> Self {
        Self {
            live: self.live.clone(),
            unverified: self.unverified.clone(),
            superseded: self.superseded.clone(),
            bodies: self.bodies.clone(),
            any: self.any,
        }
    }
}

/// Receives a body that is not stored. The last part is held back until the whole is checked.
async fn pump(fill: &Arc<Fill>, mut source: Source, digest: Option<release::Digest>) {
    let guard = EndOnDrop(fill);
    let mut hasher = blake3::Hasher::new();
    let mut last = Bytes::new();
    while let Some(chunk) = source.chunk().await {
        let Ok(chunk) = chunk else { return };
        if !fill.room().await {
            return;
        }
        if digest.is_some() {
            hasher.update(&chunk);
        }
        fill.push(std::mem::replace(&mut last, chunk));
    }
    if digest.is_some_and(|digest| release::Digest::from(hasher.finalize()) != digest) {
        corrupted("content for one client", "the origin");
        return;
    }
    fill.push(last);
    fill.end(true);
    drop(guard);
}

/// Takes a flight off the list when dropped.
struct Listing<'a> {
    edge: &'a Edge,
    listed: Option<&'a (Key, Selection)>,
    flight: &'a Arc<Flight>,
}

impl Drop for Listing<'_> {
    fn drop(&mut self) {
        if let Some(what) = self.listed {
            self.edge.flights.leave(what, self.flight);
        }
    }
}

/// A fill that is dropped unfinished is broken, and its readers see that.
struct EndOnDrop<'a>(&'a Arc<Fill>);

impl Drop for EndOnDrop<'_> {
    fn drop(&mut self) {
        self.0.end(false);
    }
}

impl fmt::Debug for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Landing(_) => "Landing",
            Self::Filling(..) => "Filling",
            Self::Alone(..) => "Alone",
        })
    }
}

/// An error page, readable and small.
pub(crate) fn error_page(
    code: StatusCode,
    text: &str,
    is_head: bool,
    id: Option<&HeaderValue>,
) -> Response<OutBody> {
    let reason = code.canonical_reason().unwrap_or("Error");
    let page = format!(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><meta name=\"viewport\" \
         content=\"width=device-width\"><title>{code} {reason}</title><style>body{{font:1.1rem/1.6 \
         system-ui,sans-serif;max-width:36rem;margin:20vh auto;padding:0 1rem;color-scheme:light dark}}</style>\
         <h1>{reason}</h1><p>{text}</p></html>\n",
        code = code.as_u16(),
    );
    let length = page.len();
    let mut response = Response::new(if is_head { OutBody::empty() } else { OutBody::whole(page.into()) });
    *response.status_mut() = code;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if let Some(id) = id {
        headers.insert(HeaderName::from_static("x-request-id"), id.clone());
    }
    response
}

/// A redirect from a folder to its slash keeps the query, which is not part of a site's keys.
fn repeat_query(inbound: &Inbound, code: StatusCode, headers: &mut HeaderMap) {
    let Some((path, query)) = inbound.target.split_once('?') else { return };
    if code != StatusCode::PERMANENT_REDIRECT {
        return;
    }
    let Some(location) = headers.get(header::LOCATION).and_then(|value| value.to_str().ok()) else { return };
    let to_slash = release::url::site_path(path).is_some_and(|path| {
        location.strip_suffix('/').and_then(release::url::site_path).is_some_and(|to| to == path)
    });
    if to_slash && let Ok(value) = HeaderValue::from_str(&format!("{location}?{query}")) {
        headers.insert(header::LOCATION, value);
    }
}

fn part_fields(headers: &mut HeaderMap, start: u64, end: u64, length: u64) {
    // Both dates and digests of the whole do not describe a part (RFC 9530 §2).
    headers.remove("content-digest");
    if let Ok(value) = HeaderValue::from_str(&format!("bytes {start}-{}/{length}", end.saturating_sub(1))) {
        headers.insert(header::CONTENT_RANGE, value);
    }
}

fn unsatisfiable_fields(headers: &mut HeaderMap, length: u64) {
    for name in [header::CONTENT_TYPE, header::CONTENT_ENCODING, header::CONTENT_LANGUAGE, header::ETAG] {
        headers.remove(name);
    }
    headers.remove("content-digest");
    if let Ok(value) = HeaderValue::from_str(&format!("bytes */{length}")) {
        headers.insert(header::CONTENT_RANGE, value);
    }
}

fn usize_of(n: u64) -> usize {
    usize::try_from(n).unwrap_or(usize::MAX)
}

/// All lines of a field as one.
fn joined(headers: &HeaderMap, name: &HeaderName) -> Option<String> {
    let mut lines = headers.get_all(name).iter().filter_map(|value| value.to_str().ok()).peekable();
    lines.peek()?;
    Some(lines.collect::<Vec<_>>().join(", "))
}

/// The cache groups of a response: `Cache-Groups` (RFC 9875 §2); of an upstream's also `Surrogate-Key` (by spaces)
/// and `Cache-Tag` (by commas).
fn groups_of(head: &HeaderMap, of_site: bool) -> Vec<Box<str>> {
    /// Groups of one response that are kept; RFC 9875 §2.1 asks for at least 32.
    const GROUPS_MAX: usize = 256;
    let mut groups: Vec<Box<str>> = Vec::new();
    let text = joined(head, &HeaderName::from_static(answer::CACHE_GROUPS)).unwrap_or_default();
    if let Ok(list) = sfv::Parser::new(&text).parse::<sfv::List>() {
        for member in list {
            if let sfv::ListEntry::Item(item) = member
                && let sfv::BareItem::String(name) = item.bare_item
            {
                groups.push(name.as_str().into());
            }
        }
    }
    if !of_site {
        let keys = joined(head, &HeaderName::from_static("surrogate-key")).unwrap_or_default();
        groups.extend(keys.split_ascii_whitespace().map(|key| key.trim_end_matches(',').into()));
        let tags = joined(head, &HeaderName::from_static("cache-tag")).unwrap_or_default();
        groups.extend(tags.split(',').map(str::trim).filter(|tag| !tag.is_empty()).map(Into::into));
    }
    groups.truncate(GROUPS_MAX);
    groups
}
