//! One fetch: asked, decided by policy, told to all who wait, received.

use std::{sync::Arc, task::Context};

use futures_util::future::BoxFuture;
use http::{HeaderMap, HeaderValue, Method, StatusCode, Version, header};
use tokio::{runtime::Handle, sync::oneshot};
use tokio_util::task::TaskTracker;

use crate::{
    body::Source,
    clock,
    collapse::{Flight, Landing, What},
    confirm::Confirmed,
    edge::Edge,
    error::EdgeError,
    fill::Fill,
    groups::{Groups, groups_of},
    lookup::Outcome,
    plan::Plan,
    policy::{
        directives::Control,
        forward,
        freshness::{Freshness, Millis, Receipt},
        range::{self, ContentRange},
        reuse::{Failure, is_stale_if_error_status},
        storing::{self, NoStore, storing},
        vary::{self, Selection},
    },
    purge::{Began, Mark},
    receive::Receiving,
    reply::Reply,
    store::Stored,
    trace::{self, Step},
    upstream::Ask,
    why::arithmetic,
};

/// What comes of a fetch.
#[expect(
    clippy::large_enum_variant,
    reason = "there is one for a moment, and what most fetches come to is the largest"
)]
enum Ending {
    /// What those who wait are told, and what the one who asked is.
    Landed(Landing, Outcome),
    /// Content, which is to be stored.
    Body(Coming),
}

impl Ending {
    /// The same for all.
    fn all(landing: Landing) -> Self {
        Self::Landed(landing.clone(), Outcome::Landing(landing))
    }

    /// Something for the one who asked; the others ask for themselves.
    fn one(outcome: Outcome) -> Self {
        Self::Landed(Landing::Released, outcome)
    }
}

/// Content that comes, for all who wait.
struct Coming {
    fill: Arc<Fill>,
    /// The fields of the response itself, for the one who asked.
    own: HeaderMap,
    /// Which part of the content it is; `None`: all of it.
    part: Option<ContentRange>,
    /// Bytes at its beginning that were held, and are in the fill already.
    beginning: usize,
    /// What the whole must come to.
    digest: Option<release::Digest>,
    source: Source,
}

impl Edge {
    /// One fetch: asks, decides what may be stored and shared, tells all who wait, and receives to the end.
    pub(crate) async fn fly(
        self: Arc<Self>,
        mut plan: Plan,
        listed: bool,
        flight: Arc<Flight>,
        tell: oneshot::Sender<Outcome>,
    ) {
        // Whatever happens, the flight leaves the list; a panic included.
        let what = plan.what.clone();
        let listing = Listing { edge: &self, listed: listed.then_some(&what), flight: &flight };
        let coming = match self.ask_for(&mut plan, flight.began).await {
            Ending::Body(coming) => coming,
            Ending::Landed(landing, outcome) => {
                drop(listing);
                flight.land(landing);
                if tell.send(outcome).is_err() {
                    tracing::debug!("nobody is left who wanted this response");
                }
                return;
            }
        };
        let Coming { fill, own, part, beginning, digest, source } = coming;
        // There is no reader yet that could have made it a stream, so this one can join.
        if let Some(reader) = fill.reader(0, None) {
            flight.land(Landing::Body(Arc::clone(&fill)));
            let _ = tell.send(Outcome::Filling(Arc::clone(&fill), reader, Some(own)));
        }
        let receiving = Receiving {
            key: plan.key(),
            fill: &fill,
            part,
            beginning,
            digest,
            is_of_get: true,
            began: flight.began,
        };
        self.receive(receiving, source, Some(listing)).await;
    }

    /// Asks, and once more for the whole where what comes does not fit what is held.
    async fn ask_for(&self, plan: &mut Plan, began: Began) -> Ending {
        let turn = self.turns.take(plan.ask.head_bytes()).await;
        let mut asked = clock::boot_ms();
        let mut fetched = match turn {
            Ok(turn) => {
                plan.ask.turn = Some(turn);
                self.fetch(plan).await
            }
            Err(error) => Err(error),
        };
        let held = plan.found.live.clone();
        if let Ok(reply) = &fetched {
            let fits = if reply.status == StatusCode::NOT_MODIFIED && !plan.is_for_client {
                let receipt = Receipt { asked, got: clock::boot_ms(), wall: clock::wall() };
                if let Some(confirmed) = self.confirmed(plan, reply, receipt, began) {
                    return self.of_confirmed(plan, confirmed, reply.status, receipt.got);
                }
                // It speaks of something that is not held.
                false
            } else {
                // A whole is as good as the rest of what is held; a part that does not fit, or its absence, is no answer to
                // one who asked for all.
                plan.beginning.take_if(|held| !continues(held, reply)).is_none()
                    || !matches!(
                        reply.status,
                        StatusCode::PARTIAL_CONTENT | StatusCode::RANGE_NOT_SATISFIABLE
                    )
            };
            if !fits {
                plan.ask_whole();
                asked = clock::boot_ms();
                fetched = Box::pin(self.fetch(plan)).await;
            }
        }
        let receipt = Receipt { asked, got: clock::boot_ms(), wall: clock::wall() };
        match fetched {
            Ok(reply) => self.dispose(plan, reply, receipt, began, held.as_ref()).await,
            Err(error) => self.of_failure(plan, error, held.as_ref()),
        }
    }

    /// No response came, or none that can be used.
    fn of_failure(&self, plan: &Plan, error: EdgeError, held: Option<&Arc<Stored>>) -> Ending {
        Ending::all(match self.stand_in(plan, held, Failure::Disconnected) {
            Some(stored) => Landing::Stand(stored, None),
            None => Landing::Failed(Arc::new(error)),
        })
    }

    /// What is held was confirmed by a 304.
    fn of_confirmed(&self, plan: &Plan, confirmed: Confirmed, status: StatusCode, now: Millis) -> Ending {
        trace::note(|| Step::by("RFC 9111 §4.3.4", "304: what is stored is confirmed and updated"));
        let Confirmed { stored, refused, .. } = &confirmed;
        let landing = match refused {
            Some(reason) => {
                self.note_refused(plan, *reason, now);
                Landing::Released
            }
            None => {
                if !stored.freshness().is_fresh(now, stored.stale_from()) {
                    self.hints.note_alone(plan.key(), plan.what.authorized, now);
                }
                Landing::Stored(Arc::clone(stored), status)
            }
        };
        Ending::Landed(landing, Outcome::Renewed(confirmed, status))
    }

    /// What a response means for those who wait.
    async fn dispose(
        &self,
        plan: &mut Plan,
        reply: Reply,
        receipt: Receipt,
        began: Began,
        held: Option<&Arc<Stored>>,
    ) -> Ending {
        if reply.status == StatusCode::NOT_MODIFIED {
            if plan.is_for_client {
                trace::note(|| Step::by("RFC 9110 §15.4.5", "304: the client has it already"));
                return Ending::one(Outcome::Passed(Box::new(reply)));
            }
            return self.of_failure(plan, EdgeError::unsolicited_304(&plan.host), held);
        }
        if is_stale_if_error_status(reply.status)
            && let Some(stored) = self.stand_in(plan, held, Failure::Status(reply.status))
        {
            return Ending::all(Landing::Stand(stored, Some(reply.status)));
        }
        self.store_or_pass(plan, reply, receipt, began, held).await
    }

    /// Has a response stored as it comes, for all, if policy allows; for the one who asked alone if not.
    async fn store_or_pass(
        &self,
        plan: &mut Plan,
        reply: Reply,
        receipt: Receipt,
        began: Began,
        held: Option<&Arc<Stored>>,
    ) -> Ending {
        let settings = self.settings();
        let rules = &settings.rules;
        let part = ContentRange::of(&reply.headers).filter(|_| reply.status == StatusCode::PARTIAL_CONTENT);
        let held_heads = plan.found.parts.iter().map(|held| held.head());
        let is_kin =
            if plan.ask.headers.contains_key(header::IF_RANGE) { range::completes } else { range::combine };
        let kin: Vec<HeaderMap> =
            held_heads.filter(|held| part.is_some() && is_kin(held, &reply.headers)).collect();
        // What is stored has the fields that were held, too (RFC 9111 §3.4).
        let mut fields =
            kin.iter().fold(reply.headers.clone(), |fields, held| range::combined(held, &fields));
        let control = Control::of(&fields, &rules.targets);
        let freshness = Freshness::of(reply.status, &fields, &control, receipt, rules.s_maxage);
        let beginning = plan.beginning.take().map(|held| held.content()).unwrap_or_default();
        let length = reply.source.length().map(|length| length + beginning.len() as u64);
        let too_large = length.is_some_and(|length| length > self.object_bytes_max() as u64);
        let is_misspelt =
            part.zip(reply.source.length()).is_some_and(|(part, length)| part.span.bytes() != length);
        let verdict = plan
            .of_range(reply.status, !kin.is_empty())
            .and(if is_misspelt { Err(NoStore::Range) } else { Ok(()) })
            .and(storing(plan.asked(), reply.status, &fields, &control, &freshness, rules))
            .and(if too_large { Err(NoStore::TooLarge) } else { Ok(()) })
            .and_then(|()| vary::names(&fields).ok_or(NoStore::VaryStar));
        let names = match verdict {
            Ok(names) => names,
            Err(reason) if beginning.is_empty() => {
                self.note_refused(plan, reason, receipt.got);
                if let Some(held) = held
                    && storing::ends_held(reply.status, reason)
                {
                    held.apply(Mark::Unverified);
                }
                return Ending::one(Outcome::Alone(Box::new(reply), reason));
            }
            // A rest that may not be kept is not put to what is held, nor sent to one who asked for all.
            Err(reason) => {
                plan.ask_whole();
                return Ending::one(match Box::pin(self.fetch(plan)).await {
                    Ok(reply) => Outcome::Alone(Box::new(reply), reason),
                    Err(error) => Outcome::Landing(Landing::Failed(Arc::new(error))),
                });
            }
        };
        self.hints.note_vary(plan.key(), plan.what.authorized, &names);
        if !freshness.is_fresh(receipt.got, None) {
            // Each of those who wait would have to validate it for itself (RFC 9111 §5.2.2.4, §4.2).
            self.hints.note_alone(plan.key(), plan.what.authorized, receipt.got);
        }
        if held.is_some_and(|held| {
            held.fields().get(&header::ETAG).is_none() && held.fields().get(&header::LAST_MODIFIED).is_none()
        }) {
            self.misses.note("no-validator", &plan.host, &plan.ask.target);
        }
        // As a rule nothing was changed meanwhile, and its groups are looked for once, when it is stored.
        let is_overtaken = self.log.now() != began && {
            let groups = Groups::join(&groups_of(&fields, plan.key().of_site));
            let response = (reply.status, Groups::joined(&groups));
            self.log.covers_fetch(began, plan.key(), Some(response))
        };
        if is_overtaken {
            self.note_not_stored(NoStore::Superseded, &plan.host, &plan.ask.target);
        } else {
            trace::note(|| Step::by("RFC 9111 §3", "to be stored once it is complete"));
        }
        trace::note(|| Step::found(arithmetic(&freshness, None, receipt.got)));
        let selection = Selection::of(&names, &plan.request);
        let (mut status, mut part, mut own) = (reply.status, part, reply.headers);
        if !beginning.is_empty() {
            // Both together are the whole (RFC 9111 §3.4).
            range::strip_of_content(&mut fields);
            fields.remove(header::TRAILER);
            (status, part, own) = (StatusCode::OK, None, fields.clone());
        }
        storing::strip_for_storage(&mut fields, &control);
        // It is told by whoever sends the content, or a part of it.
        fields.remove(header::CONTENT_LENGTH);
        let mut fill = Fill::new(status, fields, freshness, selection, receipt.wall, length);
        fill.answered = reply.status;
        fill.is_overtaken = is_overtaken;
        let fill = Arc::new(fill);
        fill.push(beginning.clone());
        let beginning = beginning.len();
        Ending::Body(Coming { fill, own, part, beginning, digest: reply.digest, source: reply.source })
    }

    /// Notes that a response is not stored, and why; and that others who ask alike need not wait for each other.
    fn note_refused(&self, plan: &Plan, reason: NoStore, now: Millis) {
        self.note_not_stored(reason, &plan.host, &plan.ask.target);
        if reason.is_of_all_alike() {
            self.hints.note_alone(plan.key(), plan.what.authorized, now);
        }
    }

    /// Counts and tells why a response is not stored.
    pub(crate) fn note_not_stored(&self, reason: NoStore, host: &str, target: &str) {
        let is_news = self.misses.note(reason.as_str(), host, target);
        metrics::counter!("bakehouse_edge_not_stored_total", "reason" => reason.as_str()).increment(1);
        trace::note(|| Step::by(reason.clause(), format!("not stored: {}", reason.as_str())));
        if reason == NoStore::SetCookie {
            metrics::counter!("bakehouse_edge_set_cookie_total").increment(1);
            // Each would fill the log of a site that sets cookies everywhere.
            if is_news {
                tracing::warn!(host, url = target, "not stored: the response sets a cookie");
            } else {
                tracing::info!(host, url = target, "not stored: the response sets a cookie");
            }
        }
    }

    async fn fetch(&self, plan: &Plan) -> Result<Reply, EdgeError> {
        match &plan.site {
            Some(site) => {
                let via = self.via(plan.ask.headers.get(forward::REQUEST_ID));
                let ask = Ask { turn: plan.ask.turn.clone(), ..Ask::new(Method::GET, String::new(), via) };
                // Larger than the rest together, and for sites alone.
                let (key, codings) = (plan.key(), plan.accept_encoding.as_deref());
                Box::pin(self.fetch_of_site(site, &key.target, codings, &plan.host, &plan.tags, ask)).await
            }
            None => {
                let answer = self.upstreams.send(&plan.ask).await?;
                Reply::of(answer, &self.config.name)
            }
        }
    }

    /// Fields that name this edge and the request.
    fn via(&self, id: Option<&HeaderValue>) -> HeaderMap {
        let mut headers = HeaderMap::new();
        forward::add_via(&mut headers, Version::HTTP_11, &self.config.name);
        forward::add_cdn_loop(&mut headers, &self.config.name);
        if let Some(id) = id {
            headers.insert(forward::REQUEST_ID, id.clone());
        }
        headers
    }
}

/// Whether a reply is exactly what is missing after a beginning that is held.
fn continues(held: &Stored, reply: &Reply) -> bool {
    let (Some(part), Some(rest)) = (held.part(), ContentRange::of(&reply.headers)) else { return false };
    reply.status == StatusCode::PARTIAL_CONTENT
        && rest.span.start == part.span.end
        && part.joined(rest).is_some_and(ContentRange::is_whole)
        && reply.source.length().is_none_or(|length| length == rest.span.bytes())
        && range::completes(&held.head(), &reply.headers)
}

/// A flight that the one who asked for it leads: what comes at once needs no task of its own. When that one has what it waits for,
/// or has left, the flight goes on in one.
pub(crate) struct InHand<'a> {
    tasks: &'a TaskTracker,
    flying: Option<BoxFuture<'static, ()>>,
}

impl<'a> InHand<'a> {
    pub(crate) fn new(tasks: &'a TaskTracker, flying: BoxFuture<'static, ()>) -> Self {
        Self { tasks, flying: Some(flying) }
    }

    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) {
        // One that panics is not there any more.
        if let Some(mut flying) = self.flying.take()
            && flying.as_mut().poll(cx).is_pending()
        {
            self.flying = Some(flying);
        }
    }

    /// Has it go on by itself.
    pub(crate) fn let_go(&mut self) {
        // At the end of the runtime there is nothing to go on in.
        if let Some(flying) = self.flying.take()
            && Handle::try_current().is_ok()
        {
            self.tasks.spawn(flying);
        }
    }
}

impl Drop for InHand<'_> {
    fn drop(&mut self) {
        self.let_go();
    }
}

/// Takes a flight off the list when dropped.
pub(crate) struct Listing<'a> {
    edge: &'a Edge,
    listed: Option<&'a What>,
    flight: &'a Arc<Flight>,
}

impl Drop for Listing<'_> {
    fn drop(&mut self) {
        if let Some(what) = self.listed {
            self.edge.flights.leave(what, self.flight);
        }
    }
}
