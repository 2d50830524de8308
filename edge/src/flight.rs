//! One fetch: asked, decided by policy, told to all who wait, received.

use std::sync::Arc;

use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Version, header};
use tokio::sync::oneshot;

use crate::{
    clock,
    collapse::{Flight, Landing},
    edge::Edge,
    error::EdgeError,
    fill::Fill,
    inbound::{Inbound, joined},
    journal::SiteHandle,
    key::Key,
    lookup::Outcome,
    policy::{
        directives::{Control, RequestDirectives},
        forward,
        freshness::{Freshness, Receipt},
        reuse::{Failure, is_stale_if_error_status, stale_on_failure},
        storing::{self, Asked, NoStore, storing},
        validate::{self, Tag},
        vary::{self, Selection},
    },
    purge::Began,
    reply::Reply,
    store::{Found, Stored},
    upstream::Ask,
};

/// Tags of held bodies that are sent along with a fetch.
const TAGS_MAX: usize = 8;

/// A fetch and all that it needs.
pub(crate) struct Plan {
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
    pub(crate) fn plan(
        &self,
        inbound: &Inbound,
        key: &Key,
        site: Option<&Arc<SiteHandle>>,
        found: Found,
    ) -> Plan {
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
        let ask = Ask::new(Method::GET, inbound.target.clone(), headers);
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

    /// One fetch: asks, decides what may be stored and shared, tells all who wait, and receives to the end.
    pub(crate) async fn fly(
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
}

/// Takes a flight off the list when dropped.
pub(crate) struct Listing<'a> {
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
