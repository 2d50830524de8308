//! A GET or HEAD that may be answered from the store: look up, decide by policy, join or begin a fetch.

use std::{fmt, sync::Arc};

use http::{Method, Response, StatusCode, header};
use tokio::sync::oneshot;

use crate::{
    body::OutBody,
    clock,
    collapse::{Flight, Landing, Role},
    edge::Edge,
    error::EdgeError,
    fill::{Fill, FillReader},
    inbound::Inbound,
    journal::{Gate, SiteHandle},
    key::Key,
    metrics::Result as Counted,
    policy::{
        freshness::Freshness,
        reuse::{Forward, Reuse, reuse},
        status::{CacheStatus, ttl_seconds},
        storing::NoStore,
        vary::Selection,
    },
    reply::Reply,
    store::Found,
};

/// How often a follower whose leader's response was not for it looks again before it goes alone.
const ATTEMPTS_MAX: usize = 3;

/// What the one who asked gets.
pub(crate) enum Outcome {
    Landing(Landing),
    /// The response being received, with a reader from its first byte.
    Filling(Arc<Fill>, FillReader),
    /// A response for this client alone.
    Alone(Box<Reply>, NoStore),
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

impl Edge {
    /// A GET or HEAD that may be answered from the store.
    pub(crate) async fn cached(
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
                return self.pass(inbound, &key, crate::upstream::no_content(), forward).await;
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
}
