//! A GET or HEAD that may be answered from the store: look up, decide by policy, join or begin a fetch.

use std::{fmt, pin::Pin, sync::Arc};

use http::{HeaderMap, Method, StatusCode, header};
use tokio::sync::oneshot;

use crate::{
    clock,
    collapse::{Flight, Landing, Role, What},
    confirm::Confirmed,
    decide::{self, Decision, Reason},
    edge::Edge,
    error::EdgeError,
    fill::{Fill, FillReader},
    flight::InHand,
    inbound::Inbound,
    journal::{Gate, SiteHandle},
    key::Key,
    metrics::count,
    policy::{
        freshness::{Freshness, Millis, StaleRefused},
        range,
        reuse::{Failure, Forward, Reuse, Why, is_stale_if_error_status, reuse},
        status::{CacheStatus, ttl_seconds},
        storing::NoStore,
        vary::Selection,
    },
    reply::Reply,
    respond::Response,
    stand_in::stands_in,
    store::{Found, Stored},
    trace::{self, Step},
    upstream::{Informational, no_content},
    why::arithmetic,
};

/// How often a follower whose leader's response was not for it looks again before it goes alone.
const ATTEMPTS_MAX: usize = 3;

/// A whole of this size is sent to one who asked for parts of it sooner than it is asked for again.
const WHOLE_BYTES_FREE: u64 = 64 << 10;

/// What the one who asked gets.
pub(crate) enum Outcome {
    Landing(Landing),
    /// The response being received, with a reader from its first byte; and its fields as they came, for the one who
    /// asked for it, since others do not get all of them (RFC 9111 §5.2.2.4, §5.2.2.7).
    Filling(Arc<Fill>, FillReader, Option<HeaderMap>),
    /// A response for this client alone.
    Alone(Box<Reply>, NoStore),
    /// A stored response that was confirmed by one with this status.
    Renewed(Confirmed, StatusCode),
    /// A response to a request that the cache has no part in.
    Passed(Box<Reply>),
}

impl fmt::Debug for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Landing(_) => "Landing",
            Self::Filling(..) => "Filling",
            Self::Alone(..) => "Alone",
            Self::Renewed(..) => "Renewed",
            Self::Passed(_) => "Passed",
        })
    }
}

impl Outcome {
    /// What an upstream answered; in place of an answer, the status that stands for its failure.
    fn status(&self) -> StatusCode {
        match self {
            Self::Landing(Landing::Stored(_, status)) | Self::Renewed(_, status) => *status,
            Self::Landing(Landing::Stand(_, status)) => status.unwrap_or(StatusCode::GATEWAY_TIMEOUT),
            Self::Landing(Landing::Failed(error)) => error.status(),
            Self::Landing(Landing::Body(fill)) | Self::Filling(fill, ..) => fill.answered,
            Self::Alone(reply, _) | Self::Passed(reply) => reply.status,
            Self::Landing(Landing::Released) => StatusCode::BAD_GATEWAY,
        }
    }

    /// How asking failed, of what brought an error, or nothing.
    fn failure(&self) -> Option<Failure> {
        let failure = match self {
            Self::Landing(Landing::Failed(_)) => Failure::Disconnected,
            Self::Landing(Landing::Stand(_, status)) => status.map_or(Failure::Disconnected, Failure::Status),
            Self::Alone(reply, _) | Self::Passed(reply) => Failure::Status(reply.status),
            Self::Filling(fill, ..) | Self::Landing(Landing::Body(fill)) => Failure::Status(fill.status),
            Self::Landing(Landing::Stored(..) | Landing::Released) | Self::Renewed(..) => return None,
        };
        failure.status().is_none_or(is_stale_if_error_status).then_some(failure)
    }
}

/// What is told of a request on its way, beside its outcome.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Told {
    /// Why it was forwarded.
    pub(crate) forward: Option<Forward>,
    /// Whether it waited for another's response.
    pub(crate) collapsed: Option<bool>,
    /// What explains the rest.
    pub(crate) detail: Option<&'static str>,
}

impl Edge {
    /// A GET or HEAD that may be answered from the store.
    pub(crate) async fn cached(
        self: &Arc<Self>,
        inbound: &Inbound,
        key: Key,
        site: Option<Arc<SiteHandle>>,
        gate: Gate,
    ) -> Response {
        let authorized = inbound.headers.contains_key(header::AUTHORIZATION) && site.is_none();
        let wants_part = decide::wants_part(inbound, site.is_some());
        let lapsed = (gate == Gate::Lapsed).then_some("lease-expired");
        let mut told = Told { detail: lapsed, ..Told::default() };
        let (mut leaders_failed, mut is_released) = (false, false);
        for attempt in 0..ATTEMPTS_MAX {
            let now = clock::boot_ms();
            let found = self.store.find(&key, &inbound.headers, &self.log);
            told.detail = lapsed;
            if let Some(stored) = &found.live {
                trace::note(|| Step::found(arithmetic(&stored.freshness(), stored.stale_from(), now)));
            }
            let decision = self.decide(inbound, &found, site.is_some(), gate, now);
            decision.note();
            let reason = match decision {
                Decision::Hit { stored, decided, left_ms } => {
                    if let Reuse::WhileRevalidate { .. } = decided {
                        self.revalidate_behind(inbound, &key, site.as_ref(), &found);
                    }
                    let told = Told { detail: decided.detail().or(told.detail), ..told };
                    return self.answer_hit(inbound, stored, left_ms, told);
                }
                Decision::Parts(cut, left_ms) => {
                    let accepted = if left_ms > 0 { None } else { Reuse::MaxStale { left_ms }.detail() };
                    let told = Told { detail: accepted.or(told.detail), ..told };
                    return self.answer_parts(inbound, &cut, hit_status(left_ms, told));
                }
                Decision::OnlyIfCached(_) => return self.not_stored(inbound),
                Decision::Ask(reason) => reason,
            };
            if site.is_none()
                && let Some(failed) = self.hints.failed(&key, authorized, now)
                && let Some(response) = self.stale_again(inbound, &found, reason, failed, told)
            {
                return response;
            }
            let forward = reason.forward();
            told.detail = told.detail.or(reason.detail());
            // Several ranges are cut from the whole, which is fetched once for all; what will not be kept is not worth that.
            let several = wants_part && found.live.is_none() && self.range_of(inbound).is_none();
            let is_kept = !inbound.directives.no_store && !self.hints.alone(&key, authorized, now);
            if site.is_none() && (inbound.method == Method::HEAD || (several && !is_kept)) {
                return Box::pin(self.pass(inbound, &key, no_content(), forward, &found)).await;
            }
            told.forward = Some(forward);
            self.note_avoidable(inbound, reason, found.live.as_deref(), site.is_some());
            let what = What {
                selection: self.hints.selection(&key, &inbound.headers),
                key: key.clone(),
                authorized,
                // What is validated is fetched whole.
                range: self.range_of(inbound).filter(|_| wants_part && found.held().is_none()),
            };
            let last = attempt + 1 == ATTEMPTS_MAX;
            let alone =
                last || is_released || inbound.directives.no_store || self.hints.alone(&key, authorized, now);
            let outcome = if alone {
                told.collapsed = told.collapsed.or((attempt > 0).then_some(false));
                let flight = Arc::new(Flight::new(&self.log));
                flight.listen(inbound.interims.as_ref());
                self.lead(inbound, what, site.as_ref(), &found, false, flight).await
            } else {
                match self.flights.join(&what, inbound.interims.as_ref(), &self.log) {
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
                        self.lead(inbound, what, site.as_ref(), &found, true, flight).await
                    }
                    Role::Follower(mut landing) => {
                        count(|counts| counts.collapsed.add(1));
                        trace::note(|| Step::by("RFC 9111 §4", "waits for another request's response"));
                        let landed = landing.wait_for(Option::is_some).await.ok().and_then(|l| (*l).clone());
                        // Nobody waits a second time for what was not for all.
                        is_released = matches!(landed, Some(Landing::Released));
                        match landed.and_then(|landing| self.for_follower(inbound, landing)) {
                            // One of those who waited takes the leader's place, and the others wait for that one:
                            // once, since an upstream that fails twice will hardly do better for the hundredth.
                            Some(Outcome::Landing(Landing::Failed(error)))
                                if error.is_prompt() && !leaders_failed =>
                            {
                                leaders_failed = true;
                                continue;
                            }
                            Some(outcome) => {
                                told.collapsed = Some(true);
                                outcome
                            }
                            None => {
                                trace::note(|| Step::found("that response is not for this request"));
                                told.collapsed = Some(false);
                                continue;
                            }
                        }
                    }
                }
            };
            if wants_part
                && found.live.is_none()
                && let Some(failure) = outcome.failure()
                && let Some(response) = self.stale_parts(inbound, &found, failure, told)
            {
                self.hints.note_failed(&key, authorized, failure, clock::boot_ms());
                return response;
            }
            if several
                && let Outcome::Alone(reply, reason) = &outcome
                && reply.status == StatusCode::OK
                && reply.source.length().is_none_or(|length| length > WHOLE_BYTES_FREE)
            {
                trace::note(|| {
                    Step::by(reason.clause(), "not kept: asked again, for the parts that are wanted")
                });
                return Box::pin(self.pass(inbound, &key, no_content(), forward, &found)).await;
            }
            let mut response = self.conclude(inbound, outcome, &found, told);
            if response.body.begins().await {
                return response;
            }
            return self.in_place_of_a_break(inbound, &found, told);
        }
        // The last attempt goes alone and always concludes.
        self.error(inbound, StatusCode::BAD_GATEWAY, "The request could not be answered.")
    }

    fn reuse(
        &self,
        inbound: &Inbound,
        freshness: &Freshness,
        stale_from: Option<Millis>,
        now: Millis,
    ) -> Reuse {
        reuse(freshness, stale_from, inbound.directives, self.current().rules.clients, now)
    }

    fn answer_hit(&self, inbound: &Inbound, stored: &Arc<Stored>, left_ms: i64, told: Told) -> Response {
        self.answer_stored(inbound, stored, hit_status(left_ms, told))
    }

    /// Notes a request that need not have been sent on.
    fn note_avoidable(&self, inbound: &Inbound, reason: Reason, live: Option<&Stored>, of_site: bool) {
        let (host, target) = (&inbound.host, &inbound.target);
        // Only what was fresh for a while and was not purged: who sends `max-age=0` wants it validated each time.
        let is_over = |stored: &Stored| {
            let freshness = stored.freshness();
            freshness.lifetime_ms > 0
                && freshness.stale_while_revalidate_ms.is_none()
                && stored.stale_from().is_none()
        };
        match reason {
            Reason::OtherFields => {
                self.misses.note("vary-miss", host, target);
            }
            Reason::Nothing if !of_site => self.misses.note_query(host, target),
            Reason::Policy(Why::Refused(StaleRefused::SMaxage)) => {
                self.misses.note("s-maxage", host, target);
            }
            Reason::Policy(Why::Stale) if live.is_some_and(is_over) => {
                self.misses.note("expired", host, target);
            }
            _ => {}
        }
    }

    /// The fields that ask for one range. For several the whole is fetched, from which they can be cut.
    fn range_of(&self, inbound: &Inbound) -> Option<(http::HeaderValue, Option<http::HeaderValue>)> {
        let conditions = inbound.headers.get_all(header::IF_RANGE).iter().count();
        if conditions > 1 || !range::is_single(&inbound.headers) {
            return None;
        }
        let range = inbound.headers.get(header::RANGE)?.clone();
        Some((range, inbound.headers.get(header::IF_RANGE).cloned()))
    }

    /// What a landing means for one who did not ask for it: nothing, unless policy would have reused it.
    fn for_follower(&self, inbound: &Inbound, landing: Landing) -> Option<Outcome> {
        let now = clock::boot_ms();
        let reusable = |freshness: &Freshness, selection: &Selection| {
            selection.matches(&inbound.headers)
                && matches!(self.reuse(inbound, freshness, None, now), Reuse::Fresh { .. })
        };
        match landing {
            Landing::Body(fill) => {
                if !reusable(&fill.freshness, &fill.selection) {
                    return None;
                }
                let reader = fill.join()?;
                Some(Outcome::Filling(fill, reader, None))
            }
            Landing::Stored(stored, _) if !reusable(&stored.freshness(), &stored.selection()) => None,
            Landing::Stand(stored, _) if !stored.selection().matches(&inbound.headers) => None,
            // What the leader accepts in place of a failure, another need not.
            Landing::Stand(stored, status) if !stored.key().of_site => {
                let failure = status.map_or(Failure::Disconnected, Failure::Status);
                stands_in(inbound.directives, &stored, failure)?;
                Some(Outcome::Landing(Landing::Stand(stored, status)))
            }
            Landing::Released => None,
            landing => Some(Outcome::Landing(landing)),
        }
    }

    /// Begins the fetch and waits for its outcome.
    async fn lead(
        self: &Arc<Self>,
        inbound: &Inbound,
        what: What,
        site: Option<&Arc<SiteHandle>>,
        found: &Found,
        listed: bool,
        flight: Arc<Flight>,
    ) -> Outcome {
        let mut plan = self.plan(inbound, what, site, found.clone_for_flight(), !listed);
        let heard = Arc::clone(&flight);
        plan.ask.informational =
            Some(Informational::new(move |status, headers| heard.interim(status, headers)));
        let (tell, mut told) = oneshot::channel();
        let (edge, seen) = (Arc::clone(self), Arc::clone(&flight));
        let flying = trace::carried(Box::pin(edge.fly(plan, listed, flight, tell)));
        let mut in_hand = InHand::new(&self.tasks, flying);
        let told = std::future::poll_fn(|cx| {
            in_hand.poll(cx);
            // The client that they are for may take its time, which the others do not have.
            if seen.has_interims() {
                in_hand.let_go();
            }
            Pin::new(&mut told).poll(cx)
        });
        told.await.unwrap_or_else(|_| Outcome::Landing(Landing::Failed(Arc::new(EdgeError::UpstreamBroke))))
    }

    /// Validates a copy that has just been served stale, unless that is under way, or has just failed.
    fn revalidate_behind(
        self: &Arc<Self>,
        inbound: &Inbound,
        key: &Key,
        site: Option<&Arc<SiteHandle>>,
        found: &Found,
    ) {
        let (key, authorized) =
            (key.clone(), inbound.headers.contains_key(header::AUTHORIZATION) && site.is_none());
        if self.hints.failed(&key, authorized, clock::boot_ms()).is_some_and(|failed| failed.is_of(found)) {
            return;
        }
        let selection = self.hints.selection(&key, &inbound.headers);
        let what = What { selection, key: key.clone(), authorized, range: None };
        if let Role::Leader(flight) = self.flights.join(&what, None, &self.log) {
            let mut plan = self.plan(inbound, what, site, found.clone_for_flight(), false);
            plan.make_own();
            let edge = Arc::clone(self);
            // A record of its own: that of the request ends with its answer.
            let begun = self.observe(inbound);
            self.tasks.spawn(async move {
                let (tell, told) = oneshot::channel();
                let trace = begun.trace.clone();
                let flying = trace::within(&trace, async {
                    trace::note(|| Step::by("RFC 5861 §3", "validated behind an answer that was stale"));
                    Arc::clone(&edge).fly(plan, true, flight, tell).await;
                });
                // What comes is let go at once: a reader of it that does not read would hold it up.
                let came = async {
                    let nothing = (StatusCode::BAD_GATEWAY, Some(Failure::Disconnected));
                    told.await.map_or(nothing, |outcome| (outcome.status(), outcome.failure()))
                };
                let ((), (status, failure)) = tokio::join!(flying, came);
                if let Some(failure) = failure {
                    edge.hints.note_failed(&key, authorized, failure, clock::boot_ms());
                }
                begun.ended_behind(&edge, status);
            });
        }
    }
}

pub(crate) fn hit_status(left_ms: i64, told: Told) -> CacheStatus {
    CacheStatus { ttl_seconds: Some(ttl_seconds(left_ms)), detail: told.detail, ..CacheStatus::default() }
}
