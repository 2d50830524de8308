//! What is stale and stands in for a failure (RFC 9111 §4.2.4, RFC 5861 §4): copies and parts, after an attempt, or for a while
//! in place of another one.

use std::sync::Arc;

use crate::{
    clock,
    collapse::{Failed, Landing},
    cut::Cut,
    decide::Reason,
    edge::Edge,
    error::EdgeError,
    inbound::Inbound,
    lookup::{Outcome, Told, hit_status},
    plan::Plan,
    policy::{
        directives::RequestDirectives,
        reuse::{Failure, Why, stale_on_failure},
        status::CacheStatus,
    },
    respond::Response,
    store::{Found, Stored},
    trace::{self, Step},
};

impl Edge {
    /// A copy that is served in place of a failure.
    pub(crate) fn stand_in(
        &self,
        plan: &Plan,
        held: Option<&Arc<Stored>>,
        failure: Failure,
    ) -> Option<Arc<Stored>> {
        let may_be_stale = |stored: &&Arc<Stored>| stands_in(plan.directives, stored, failure).is_some();
        // A site's old copy is better than an error, as long as it was neither removed nor purged.
        let of_site = || {
            let old = plan.site.as_ref().and(plan.found.held().or(plan.found.superseded.as_ref()));
            old.filter(|stored| stored.freshness().stale_refused.is_none())
        };
        let stored = held.filter(may_be_stale).or_else(of_site)?;
        let why = match failure {
            Failure::Disconnected => "no upstream answers: the old copy stands in",
            Failure::Status(_) => "an error: the old copy stands in",
        };
        trace::note(|| Step::by(failure.clause(), why));
        if plan.site.is_none() {
            self.hints.note_failed(plan.key(), plan.what.authorized, failure, clock::boot_ms());
        }
        Some(Arc::clone(stored))
    }

    /// What stale parts answer in place of a failure.
    pub(crate) fn stale_parts(
        &self,
        inbound: &Inbound,
        found: &Found,
        failure: Failure,
        told: Told,
    ) -> Option<Response> {
        let left = |stored: &Stored| stands_in(inbound.directives, stored, failure);
        let (cut, left_ms) = Cut::of_parts(&inbound.headers, &found.parts, left)?;
        trace::note(|| Step::by(failure.clause(), "a failure: the old parts stand in"));
        let told = Told { detail: Some(failure.as_str()), ..told };
        let (forward, collapsed) = (told.forward, told.collapsed);
        let forward_status = forward.and(failure.status());
        let status = CacheStatus { forward, forward_status, collapsed, ..hit_status(left_ms, told) };
        Some(self.answer_parts(inbound, &cut, status))
    }

    /// What is stale answers without another attempt, since one has just failed.
    pub(crate) fn stale_again(
        &self,
        inbound: &Inbound,
        found: &Found,
        reason: Reason,
        failed: Failed,
        told: Told,
    ) -> Option<Response> {
        let (again, left_ms) = Again::of(inbound, found, reason, failed)?;
        let status = hit_status(left_ms, Told { detail: Some(failed.failure.as_str()), ..told });
        trace::note(|| failed.step());
        Some(match again {
            Again::Copy(stored) => self.answer_stored(inbound, stored, status),
            Again::Parts(cut) => self.answer_parts(inbound, &cut, status),
        })
    }

    /// What answers in place of a part of a response that broke off before it.
    pub(crate) fn in_place_of_a_break(
        self: &Arc<Self>,
        inbound: &Inbound,
        found: &Found,
        told: Told,
    ) -> Response {
        let failure = Failure::Disconnected;
        let landing = match &found.live {
            Some(stored) if stands_in(inbound.directives, stored, failure).is_some() => {
                Landing::Stand(Arc::clone(stored), None)
            }
            _ => match self.stale_parts(inbound, found, failure, told) {
                Some(response) => return response,
                None => Landing::Failed(Arc::new(EdgeError::UpstreamBroke)),
            },
        };
        self.conclude(inbound, Outcome::Landing(landing), found, told)
    }
}

/// What is stale and answers once more, since an attempt has just failed.
#[derive(Debug)]
pub(crate) enum Again<'a> {
    Copy(&'a Arc<Stored>),
    Parts(Cut<'a>),
}

impl<'a> Again<'a> {
    /// With how long it stays fresh; 0 or less: it is stale. `None`: another attempt is made.
    pub(crate) fn of(
        inbound: &Inbound,
        found: &'a Found,
        reason: Reason,
        failed: Failed,
    ) -> Option<(Self, i64)> {
        // Nothing but that it is stale may be against it: who wants more has that tried.
        let wants_more = reason != Reason::Policy(Why::Stale) || inbound.directives.min_fresh.is_some();
        if wants_more || !failed.is_of(found) {
            return None;
        }
        let left = |stored: &Stored| stands_in(inbound.directives, stored, failed.failure);
        match &found.live {
            Some(stored) => Some((Self::Copy(stored), left(stored)?)),
            None => {
                let (cut, left_ms) = Cut::of_parts(&inbound.headers, &found.parts, left)?;
                Some((Self::Parts(cut), left_ms))
            }
        }
    }
}

/// For how long a copy that may stand in for a failure stays fresh, in milliseconds; 0 or less: it is stale.
pub(crate) fn stands_in(asked: RequestDirectives, stored: &Stored, failure: Failure) -> Option<i64> {
    let (freshness, stale_from, now) = (stored.freshness(), stored.stale_from(), clock::boot_ms());
    stale_on_failure(&freshness, stale_from, asked, failure, now).ok()?;
    Some(freshness.left_ms(now, stale_from))
}
