//! What becomes of a GET or HEAD, as far as the request and the store tell: the one decision that `lookup` carries out, the
//! trace records, and `why` explains.

use std::{cell::Cell, sync::Arc};

use http::{HeaderMap, Method, StatusCode};

use crate::{
    clock,
    cut::Cut,
    edge::Edge,
    inbound::Inbound,
    journal::Gate,
    policy::{
        date::UnixSeconds,
        freshness::Millis,
        range::{self, Ranged, ranged},
        reuse::{Forward, Reuse, Why, reuse},
        validate::{self, Conditional},
    },
    store::{Found, Life, Stored},
    trace::{self, Step},
};

/// What becomes of a request that the cache has a part in.
#[derive(Debug)]
pub(crate) enum Decision<'a> {
    /// A copy answers.
    Hit {
        /// Which one.
        stored: &'a Arc<Stored>,
        /// Why it may.
        decided: Reuse,
        /// How long it stays fresh; 0 or less: it is stale.
        left_ms: i64,
    },
    /// Parts that may be used hold all that is asked for; how long they stay fresh: with 0 or less the request accepts that they
    /// are stale.
    Parts(Cut<'a>, i64),
    /// An upstream would have to be asked, which the request does not want (RFC 9111 §5.2.1.7).
    OnlyIfCached(Reason),
    /// An upstream is asked.
    Ask(Reason),
}

/// Why an upstream is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reason {
    /// The copy has to be validated.
    Policy(Why),
    /// The lease has lapsed, and copies are validated then.
    Lease,
    /// An unsafe request or a group's invalidation covers the copy.
    Invalidated,
    /// The copy is to be compared with the new release.
    Unverified,
    /// Another content is published.
    Superseded,
    /// What was published is gone.
    Removed,
    /// A purge covers the copy.
    Purged,
    /// No copy was chosen by the same request fields.
    OtherFields,
    /// What is stored is not all that is asked for.
    Parts,
    /// There is nothing.
    Nothing,
}

impl Reason {
    /// Why a copy may not be used for what became of it; `None`: nothing did.
    pub(crate) fn of_life(life: Life, of_site: bool) -> Option<Self> {
        Some(match life {
            Life::Live => return None,
            Life::Unverified if of_site => Self::Unverified,
            Life::Unverified => Self::Invalidated,
            Life::Superseded => Self::Superseded,
            Life::Removed => Self::Removed,
            Life::Dropped => Self::Purged,
        })
    }

    /// Why there is no copy that policy may consider.
    fn missing(found: &Found, of_site: bool) -> Self {
        match found {
            Found { unverified, .. } if !unverified.is_empty() && of_site => Self::Unverified,
            Found { unverified, .. } if !unverified.is_empty() => Self::Invalidated,
            Found { parts, .. } if !parts.is_empty() => Self::Parts,
            Found { has_invalid_parts: true, .. } => Self::Invalidated,
            Found { any: false, .. } => Self::Nothing,
            Found { superseded: Some(_), .. } if of_site => Self::Superseded,
            Found { .. } => Self::OtherFields,
        }
    }

    /// As `Cache-Status` tells it.
    pub(crate) fn forward(self) -> Forward {
        match self {
            Self::Policy(why) => why.forward(),
            Self::Lease | Self::Invalidated | Self::Unverified | Self::Superseded => Forward::Stale,
            Self::Removed | Self::OtherFields => Forward::VaryMiss,
            Self::Parts => Forward::Partial,
            Self::Purged | Self::Nothing => Forward::UriMiss,
        }
    }

    /// What `Cache-Status` says beside that.
    pub(crate) fn detail(self) -> Option<&'static str> {
        if let Self::Policy(why) = self { why.detail() } else { None }
    }

    /// The clause that decides.
    pub(crate) fn clause(self) -> &'static str {
        match self {
            Self::Policy(why) => why.clause(),
            Self::Invalidated | Self::Unverified | Self::Superseded | Self::Removed | Self::Purged => {
                "RFC 9111 §4.4"
            }
            Self::Lease => "RFC 9111 §4.2",
            Self::OtherFields => "RFC 9111 §4.1",
            Self::Parts => "RFC 9111 §3.3",
            Self::Nothing => "RFC 9111 §4 (target URI)",
        }
    }

    /// In words.
    pub(crate) fn text(self) -> &'static str {
        match self {
            Self::Policy(why) => text(Reuse::Validate { why }),
            Self::Lease => "validated: the lease has lapsed",
            Self::Invalidated => {
                "validated: an unsafe request, the invalidation of its group, or a later response made it invalid"
            }
            Self::Unverified => "validated: it is to be compared with the new release",
            Self::Superseded => "fetched: another content is published",
            Self::Removed => "fetched: what was published here is gone",
            Self::Purged => "fetched: it was purged",
            Self::OtherFields => "fetched: what is stored was chosen by other request fields",
            Self::Parts => "fetched: only parts are stored",
            Self::Nothing => "fetched: nothing is stored",
        }
    }
}

/// What may be done with a copy, in words.
pub(crate) fn text(decided: Reuse) -> &'static str {
    match decided {
        Reuse::Fresh { .. } => "hit: it is fresh",
        Reuse::MaxStale { .. } => "hit: the request accepts that it is stale",
        Reuse::WhileRevalidate { .. } => "hit, and validated behind",
        Reuse::Validate { why } => match why {
            Why::NoCache => "validated: the response says no-cache",
            Why::RequestNoCache => "validated: the request says no-cache",
            Why::RequestMaxAge => "validated: it is older than the request accepts",
            Why::MinFresh => "validated: it will not stay fresh for as long as the request wants",
            Why::Stale => "validated: it is stale",
            Why::Refused(_) => "validated: it is stale, and may not be used so",
        },
    }
}

impl Decision<'_> {
    /// What is decided and by which clause, the last step deciding.
    pub(crate) fn steps(&self) -> Vec<Step> {
        let by = |reason: &Reason| Step::by(reason.clause(), reason.text());
        match self {
            Self::Hit { decided, .. } => vec![Step::by(decided.clause(), text(*decided))],
            Self::Parts(_, left_ms) => {
                let accepted = Reuse::MaxStale { left_ms: *left_ms };
                let is_stale = (*left_ms <= 0).then(|| Step::by(accepted.clause(), text(accepted)));
                let held =
                    Step::by("RFC 9111 §3.3", "hit: the parts that are stored hold all that is asked for");
                is_stale.into_iter().chain([held]).collect()
            }
            Self::OnlyIfCached(reason) => {
                vec![by(reason), only_stored()]
            }
            Self::Ask(reason) => vec![by(reason)],
        }
    }

    /// Notes what is decided, where anybody reads.
    pub(crate) fn note(&self) {
        if trace::is_on() {
            self.steps().into_iter().for_each(|step| trace::note(|| step));
        }
    }
}

/// Why the cache has no part in a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Bypass {
    /// Its method is not cached.
    Method,
    /// Content gives it a meaning that its key does not have.
    Content,
    /// Only an upstream can judge its condition.
    Condition,
    /// It asks for another protocol.
    Upgrade,
}

impl Bypass {
    /// Of a request; `None`: the cache has a part in it.
    pub(crate) fn of(inbound: &Inbound) -> Option<Self> {
        if inbound.websocket {
            Some(Self::Upgrade)
        } else if !matches!(inbound.method, Method::GET | Method::HEAD) {
            Some(Self::Method)
        } else if inbound.has_content {
            Some(Self::Content)
        } else {
            validate::for_origin_only(&inbound.headers).then_some(Self::Condition)
        }
    }

    /// Whether the request does not want what only an upstream could answer (RFC 9111 §5.2.1.7).
    pub(crate) fn is_refused(self, inbound: &Inbound) -> bool {
        matches!(inbound.method, Method::GET | Method::HEAD) && inbound.directives.only_if_cached
    }

    /// As `Cache-Status` tells it.
    pub(crate) fn forward(self) -> Forward {
        if self == Self::Method { Forward::Method } else { Forward::Bypass }
    }

    /// What is decided, and by which clause.
    pub(crate) fn step(self) -> Step {
        match self {
            Self::Method => Step::by("RFC 9111 §4 (method)", "sent on: its method is not cached"),
            Self::Content => Step::by("RFC 9110 §9.3.1", "sent on: the request has content"),
            Self::Condition => {
                Step::by("RFC 9111 §4.3.2", "sent on: only an upstream can judge its condition")
            }
            Self::Upgrade => Step::by("RFC 9110 §7.8", "sent on: it asks for another protocol"),
        }
    }
}

/// Why a request that wants what is stored, and nothing else, is answered with 504.
pub(crate) fn only_stored() -> Step {
    Step::by("RFC 9111 §5.2.1.7", "504: the request accepts only what is stored")
}

/// Whether parts of a content may answer.
pub(crate) fn wants_part(inbound: &Inbound, of_site: bool) -> bool {
    !of_site && inbound.method == Method::GET && range::is_ranged(&inbound.headers)
}

impl Edge {
    /// Decides about a GET or HEAD by what was found for it.
    pub(crate) fn decide<'a>(
        &self,
        inbound: &Inbound,
        found: &'a Found,
        of_site: bool,
        gate: Gate,
        now: Millis,
    ) -> Decision<'a> {
        let clients = self.current().rules.clients;
        let reuse = |stored: &Stored| {
            reuse(&stored.freshness(), stored.stale_from(), inbound.directives, clients, now)
        };
        let reason = match &found.live {
            Some(_) if gate == Gate::Validate => Reason::Lease,
            Some(stored) => match reuse(stored) {
                Reuse::Validate { why } => Reason::Policy(why),
                decided @ (Reuse::Fresh { left_ms }
                | Reuse::MaxStale { left_ms }
                | Reuse::WhileRevalidate { left_ms }) => return Decision::Hit { stored, decided, left_ms },
            },
            None => {
                let parts = if wants_part(inbound, of_site) { &*found.parts } else { &[] };
                let left = |stored: &Stored| match reuse(stored) {
                    Reuse::Fresh { left_ms } | Reuse::MaxStale { left_ms } => Some(left_ms),
                    // A validation behind would be one of the whole.
                    Reuse::WhileRevalidate { .. } | Reuse::Validate { .. } => None,
                };
                if let Some((cut, left_ms)) = Cut::of_parts(&inbound.headers, parts, left) {
                    return Decision::Parts(cut, left_ms);
                }
                // Parts that would have answered, were they fresh.
                let against = Cell::new(None);
                let any = |stored: &Stored| {
                    let why = match reuse(stored) {
                        Reuse::Fresh { .. } | Reuse::MaxStale { .. } => None,
                        Reuse::WhileRevalidate { .. } => Some(Why::Stale),
                        Reuse::Validate { why } => Some(why),
                    };
                    against.set(against.get().or(why));
                    Some(0)
                };
                let would = Cut::of_parts(&inbound.headers, parts, any).and_then(|_| against.get());
                would.map_or_else(|| Reason::missing(found, of_site), Reason::Policy)
            }
        };
        if inbound.directives.only_if_cached { Decision::OnlyIfCached(reason) } else { Decision::Ask(reason) }
    }
}

/// How a response answers a request: by the client's conditions first, then by its ranges (RFC 9110 §13.2.2).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Shape {
    /// As it is.
    AsIs,
    /// With 304.
    NotModified,
    /// With what this cuts of it.
    Cut(Ranged),
}

impl Shape {
    /// Of a response with these fields, whose content, where its length is known, can be cut.
    pub(crate) fn of(
        inbound: &Inbound,
        status: StatusCode,
        head: &HeaderMap,
        wall: UnixSeconds,
        length: Option<u64>,
    ) -> Self {
        let request = &inbound.headers;
        // Conditions and ranges are for what would be a success (RFC 9110 §13.2.1, §14.2); those of an unsafe request were the
        // upstream's to judge.
        if status.is_success()
            && matches!(inbound.method, Method::GET | Method::HEAD)
            && validate::conditional(request, head, wall, clock::wall()) == Conditional::NotModified
        {
            return Self::NotModified;
        }
        match length {
            Some(length)
                if inbound.method == Method::GET && status == StatusCode::OK && range::is_ranged(request) =>
            {
                Self::Cut(ranged(request, head, length))
            }
            _ => Self::AsIs,
        }
    }

    /// The status that goes out in place of `own`.
    pub(crate) fn status(&self, own: StatusCode) -> StatusCode {
        match self {
            Self::AsIs | Self::Cut(Ranged::Whole) => own,
            Self::NotModified => StatusCode::NOT_MODIFIED,
            Self::Cut(Ranged::Part(_) | Ranged::Parts(_)) => StatusCode::PARTIAL_CONTENT,
            Self::Cut(Ranged::Unsatisfiable) => StatusCode::RANGE_NOT_SATISFIABLE,
        }
    }

    /// What is decided, and by which clause; `None`: there was nothing to decide.
    pub(crate) fn step(&self) -> Option<Step> {
        match self {
            Self::AsIs => None,
            Self::NotModified => {
                Some(Step::by(Conditional::NotModified.clause(), "304: the client has it already"))
            }
            Self::Cut(asked) => {
                let what = match asked {
                    Ranged::Whole => "the whole: the range does not apply",
                    Ranged::Part(_) => "206: the range is cut from it",
                    Ranged::Parts(_) => "206: the ranges are cut from it",
                    Ranged::Unsatisfiable => "416: the range lies outside of it",
                };
                Some(Step::by(asked.clause(), what))
            }
        }
    }

    /// Notes what is decided, where anybody reads.
    pub(crate) fn note(&self) {
        if trace::is_on()
            && let Some(step) = self.step()
        {
            trace::note(|| step);
        }
    }
}
