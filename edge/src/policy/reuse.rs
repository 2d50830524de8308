//! Whether a stored response may answer a request (RFC 9111 §4), fresh, stale, or after validation.

use http::StatusCode;

use super::{
    directives::{MaxStale, RequestDirectives},
    freshness::{Freshness, Millis, StaleRefused},
};

/// Why a request went to the upstream (RFC 9211 §2.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Forward {
    /// The cache was told not to handle this request.
    Bypass,
    /// The method is not cached.
    Method,
    /// Nothing stored for the URI.
    UriMiss,
    /// Something stored for the URI, but not for these request fields.
    VaryMiss,
    /// Only a part of what was asked for is stored.
    Partial,
    /// The request's own directives demanded it.
    Request,
    /// What is stored is stale, or must be validated.
    Stale,
}

impl Forward {
    /// The token of RFC 9211 §2.2.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Bypass => "bypass",
            Self::Method => "method",
            Self::UriMiss => "uri-miss",
            Self::VaryMiss => "vary-miss",
            Self::Partial => "partial",
            Self::Request => "request",
            Self::Stale => "stale",
        }
    }
}

/// What may be done with a stored response that matches a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reuse {
    /// Use it as it is.
    Fresh {
        /// Milliseconds of freshness left, above 0.
        left_ms: i64,
    },
    /// Use it, because the request accepts staleness (RFC 9111 §5.2.1.2).
    MaxStale {
        /// 0 or less.
        left_ms: i64,
    },
    /// Use it and validate it behind (RFC 5861 §3).
    WhileRevalidate {
        /// 0 or less.
        left_ms: i64,
    },
    /// Validate first.
    Validate {
        /// What made it so.
        why: Why,
    },
}

impl Reuse {
    /// What `Cache-Status` says of a hit that is stale.
    pub fn detail(self) -> Option<&'static str> {
        match self {
            Self::MaxStale { .. } => Some("max-stale"),
            Self::WhileRevalidate { .. } => Some("stale-while-revalidate"),
            Self::Fresh { .. } | Self::Validate { .. } => None,
        }
    }

    /// The clause that decided.
    pub fn clause(self) -> &'static str {
        match self {
            Self::Fresh { .. } => "RFC 9111 §4.2",
            Self::MaxStale { .. } => "RFC 9111 §5.2.1.2",
            Self::WhileRevalidate { .. } => "RFC 5861 §3",
            Self::Validate { why } => why.clause(),
        }
    }
}

/// Why a stored response must be validated before it is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// The response said `no-cache` (RFC 9111 §5.2.2.4).
    NoCache,
    /// The request said `no-cache`, or `Pragma` for it.
    RequestNoCache,
    /// It is older than the request's `max-age`.
    RequestMaxAge,
    /// It will not stay fresh for the request's `min-fresh`.
    MinFresh,
    /// Its lifetime has passed, and nothing allows more.
    Stale,
    /// It is stale; it could be used so, if this did not forbid it.
    Refused(StaleRefused),
}

impl Why {
    /// As `Cache-Status` tells it.
    pub fn forward(self) -> Forward {
        match self {
            Self::RequestNoCache | Self::RequestMaxAge | Self::MinFresh => Forward::Request,
            Self::NoCache | Self::Stale | Self::Refused(_) => Forward::Stale,
        }
    }

    /// What `Cache-Status` says beside that, where it explains more.
    pub fn detail(self) -> Option<&'static str> {
        match self {
            Self::Refused(refused) => Some(refused.as_str()),
            _ => None,
        }
    }

    /// The clause that decided.
    pub fn clause(self) -> &'static str {
        match self {
            Self::NoCache => "RFC 9111 §5.2.2.4",
            Self::RequestNoCache => "RFC 9111 §5.2.1.4",
            Self::RequestMaxAge => "RFC 9111 §5.2.1.1",
            Self::MinFresh => "RFC 9111 §5.2.1.3",
            Self::Stale => "RFC 9111 §4.2",
            Self::Refused(refused) => refused.clause(),
        }
    }
}

/// Whether browsers may force validation with `no-cache` and `max-age`. A reload must not reach the origin, so
/// it is off unless an operator says otherwise; the other request directives hold always.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ClientValidation {
    /// `no-cache`, `max-age` and `Pragma` in requests are ignored.
    #[default]
    Ignored,
    /// They are obeyed (RFC 9111 §5.2.1).
    Obeyed,
}

/// Decides in the order of RFC 9111 §4. `stale_from`: when a soft purge ended its freshness.
pub fn reuse(
    freshness: &Freshness,
    stale_from: Option<Millis>,
    request: RequestDirectives,
    clients: ClientValidation,
    now: Millis,
) -> Reuse {
    let validate = |why| Reuse::Validate { why };
    if freshness.no_cache {
        return validate(Why::NoCache);
    }
    if clients == ClientValidation::Obeyed {
        if request.no_cache {
            return validate(Why::RequestNoCache);
        }
        // The age must not be greater, whatever staleness `max-stale` accepts (RFC 9111 §5.2.1.1); but for a plain reload
        // of what says that it does not change (RFC 8246 §2).
        let spared = freshness.immutable && freshness.left_ms(now, stale_from) > 0;
        let too_old = |seconds| freshness.age_ms(now) > Millis::from(seconds) * 1_000;
        if request.max_age.is_some_and(too_old) && !spared {
            return validate(Why::RequestMaxAge);
        }
    }
    let left_ms = freshness.left_ms(now, stale_from);
    if let Some(seconds) = request.min_fresh
        && left_ms < i64::from(seconds) * 1_000
    {
        return validate(if left_ms > 0 { Why::MinFresh } else { Why::Stale });
    }
    if left_ms > 0 {
        return Reuse::Fresh { left_ms };
    }
    let accepted = match request.max_stale {
        Some(MaxStale::Any) => true,
        Some(MaxStale::Seconds(seconds)) => -left_ms <= i64::from(seconds) * 1_000,
        None => false,
    };
    // What may be renewed behind is, however patient the client (RFC 5861 §3). A soft purge asks for a new copy, which patience
    // does not undo.
    let allowed = if freshness.stale_while_revalidate_ms.is_some_and(|window| within(left_ms, window)) {
        Reuse::WhileRevalidate { left_ms }
    } else if accepted && stale_from.is_none() {
        Reuse::MaxStale { left_ms }
    } else {
        return validate(Why::Stale);
    };
    match freshness.stale_refused {
        Some(refused) => validate(Why::Refused(refused)),
        None => allowed,
    }
}

/// How a fetch failed, as far as staleness depends on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// No response: refused, timed out, broken. The cache counts as disconnected (RFC 9111 §4.2.4).
    Disconnected,
    /// A response with this status.
    Status(StatusCode),
}

impl Failure {
    /// As `Cache-Status` tells it when a stale copy stands in.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Disconnected => "disconnected",
            Self::Status(_) => "stale-if-error",
        }
    }

    /// The status, of one that is a response.
    pub fn status(self) -> Option<StatusCode> {
        match self {
            Self::Disconnected => None,
            Self::Status(status) => Some(status),
        }
    }

    /// The clause by which a stale copy may stand in.
    pub fn clause(self) -> &'static str {
        match self {
            Self::Disconnected => "RFC 9111 §4.2.4",
            Self::Status(_) => "RFC 5861 §4",
        }
    }
}

/// May a stale copy stand in for a failure? (RFC 9111 §4.2.4, RFC 5861 §4.) `Err` carries what forbids it, where
/// it would be allowed otherwise.
pub fn stale_on_failure(
    freshness: &Freshness,
    stale_from: Option<Millis>,
    request: RequestDirectives,
    failure: Failure,
    now: Millis,
) -> Result<(), Option<StaleRefused>> {
    let left_ms = freshness.left_ms(now, stale_from);
    let allowed = match failure {
        Failure::Disconnected => true,
        Failure::Status(status) => {
            let response = freshness.stale_if_error_ms;
            let request = request.stale_if_error.map(|s| Millis::from(s) * 1_000);
            is_stale_if_error_status(status)
                && response.max(request).is_some_and(|window| within(left_ms, window))
        }
    };
    match (allowed, freshness.stale_refused) {
        (true, None) => Ok(()),
        (true, refused) => Err(refused),
        (false, _) => Err(None),
    }
}

/// RFC 5861 §4.
pub fn is_stale_if_error_status(status: StatusCode) -> bool {
    matches!(status.as_u16(), 500 | 502 | 503 | 504)
}

/// Stale by no more than `window`.
fn within(left_ms: i64, window: Millis) -> bool {
    left_ms.unsigned_abs() <= window || left_ms > 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::freshness::lasting;
    use proptest::prelude::*;

    #[test]
    fn a_row_for_each_clause() {
        use ClientValidation::{Ignored, Obeyed};
        let none = RequestDirectives::default();
        let validate = |why| Reuse::Validate { why };
        let refused = validate(Why::Refused(StaleRefused::MustRevalidate));
        let f = lasting(10);
        let immutable = Freshness { immutable: true, ..lasting(10) };
        let swr = Freshness { stale_while_revalidate_ms: Some(5_000), ..lasting(10) };
        let must = Freshness { stale_refused: Some(StaleRefused::MustRevalidate), ..swr.clone() };
        type Row<'a> = (&'a Freshness, Option<u64>, RequestDirectives, ClientValidation, u64, Reuse);
        let rows: [Row<'_>; 34] = [
            (&f, None, none, Ignored, 9_999, Reuse::Fresh { left_ms: 1 }),
            (&f, None, none, Ignored, 10_000, validate(Why::Stale)),
            (&Freshness { no_cache: true, ..lasting(10) }, None, none, Ignored, 0, validate(Why::NoCache)),
            (
                &f,
                None,
                RequestDirectives { no_cache: true, ..none },
                Ignored,
                0,
                Reuse::Fresh { left_ms: 10_000 },
            ),
            (
                &f,
                None,
                RequestDirectives { no_cache: true, ..none },
                Obeyed,
                0,
                validate(Why::RequestNoCache),
            ),
            (
                &f,
                None,
                RequestDirectives { max_age: Some(0), ..none },
                Ignored,
                1,
                Reuse::Fresh { left_ms: 9_999 },
            ),
            (
                &f,
                None,
                RequestDirectives { max_age: Some(0), ..none },
                Obeyed,
                0,
                Reuse::Fresh { left_ms: 10_000 },
            ),
            (
                &f,
                None,
                RequestDirectives { max_age: Some(0), ..none },
                Obeyed,
                1,
                validate(Why::RequestMaxAge),
            ),
            (
                &f,
                None,
                RequestDirectives { max_age: Some(3), ..none },
                Obeyed,
                3_000,
                Reuse::Fresh { left_ms: 7_000 },
            ),
            (
                &f,
                None,
                RequestDirectives { min_fresh: Some(1), ..none },
                Ignored,
                9_000,
                Reuse::Fresh { left_ms: 1_000 },
            ),
            (
                &f,
                None,
                RequestDirectives { min_fresh: Some(1), ..none },
                Ignored,
                9_001,
                validate(Why::MinFresh),
            ),
            (
                &f,
                None,
                RequestDirectives { min_fresh: Some(1), ..none },
                Ignored,
                10_000,
                validate(Why::Stale),
            ),
            (
                &f,
                None,
                RequestDirectives { max_stale: Some(MaxStale::Any), ..none },
                Ignored,
                99_000,
                Reuse::MaxStale { left_ms: -89_000 },
            ),
            (
                &f,
                None,
                RequestDirectives { max_stale: Some(MaxStale::Seconds(2)), ..none },
                Ignored,
                12_000,
                Reuse::MaxStale { left_ms: -2_000 },
            ),
            (
                &f,
                None,
                RequestDirectives { max_stale: Some(MaxStale::Seconds(2)), ..none },
                Ignored,
                12_001,
                validate(Why::Stale),
            ),
            (
                &must,
                None,
                RequestDirectives { max_stale: Some(MaxStale::Any), ..none },
                Ignored,
                10_000,
                refused,
            ),
            // immutable spares a reload, not a forced one, and not once it is stale.
            (
                &immutable,
                None,
                RequestDirectives { max_age: Some(0), ..none },
                Obeyed,
                9_999,
                Reuse::Fresh { left_ms: 1 },
            ),
            (
                &immutable,
                None,
                RequestDirectives { max_age: Some(0), ..none },
                Obeyed,
                10_000,
                validate(Why::RequestMaxAge),
            ),
            (
                &immutable,
                None,
                RequestDirectives { no_cache: true, ..none },
                Obeyed,
                1,
                validate(Why::RequestNoCache),
            ),
            (
                &immutable,
                Some(5_000),
                RequestDirectives { max_age: Some(0), ..none },
                Obeyed,
                5_000,
                validate(Why::RequestMaxAge),
            ),
            // max-stale widens no max-age.
            (
                &f,
                None,
                RequestDirectives { max_age: Some(3), max_stale: Some(MaxStale::Any), ..none },
                Obeyed,
                3_001,
                validate(Why::RequestMaxAge),
            ),
            // min-fresh outranks max-stale: what is stale is not fresh for any time.
            (
                &f,
                None,
                RequestDirectives { min_fresh: Some(0), max_stale: Some(MaxStale::Any), ..none },
                Ignored,
                10_001,
                validate(Why::Stale),
            ),
            (&must, None, none, Ignored, 99_000, validate(Why::Stale)),
            (&swr, None, none, Ignored, 10_000, Reuse::WhileRevalidate { left_ms: 0 }),
            (&swr, None, none, Ignored, 15_000, Reuse::WhileRevalidate { left_ms: -5_000 }),
            (&swr, None, none, Ignored, 15_001, validate(Why::Stale)),
            // A client that accepts more keeps nobody from renewing it.
            (
                &swr,
                None,
                RequestDirectives { max_stale: Some(MaxStale::Any), ..none },
                Ignored,
                15_000,
                Reuse::WhileRevalidate { left_ms: -5_000 },
            ),
            (
                &swr,
                None,
                RequestDirectives { max_stale: Some(MaxStale::Any), ..none },
                Ignored,
                15_001,
                Reuse::MaxStale { left_ms: -5_001 },
            ),
            (&must, None, none, Ignored, 12_000, refused),
            (&must, None, none, Ignored, 9_000, Reuse::Fresh { left_ms: 1_000 }),
            // Soft purges: stale from then on, with the window counted from there.
            (&f, Some(2_000), none, Ignored, 2_000, validate(Why::Stale)),
            (&swr, Some(2_000), none, Ignored, 7_000, Reuse::WhileRevalidate { left_ms: -5_000 }),
            (&swr, Some(2_000), none, Ignored, 7_001, validate(Why::Stale)),
            (
                &f,
                Some(2_000),
                RequestDirectives { max_stale: Some(MaxStale::Any), ..none },
                Ignored,
                3_000,
                validate(Why::Stale),
            ),
        ];
        for (index, (freshness, soft, request, clients, now, expected)) in rows.into_iter().enumerate() {
            assert_eq!(reuse(freshness, soft, request, clients, now), expected, "row {index}");
        }
    }

    #[test]
    fn failures() {
        let none = RequestDirectives::default();
        let status = |code| Failure::Status(StatusCode::from_u16(code).unwrap());
        let sie = Freshness { stale_if_error_ms: Some(5_000), ..lasting(10) };
        assert_eq!(stale_on_failure(&lasting(10), None, none, Failure::Disconnected, 99_000), Ok(()));
        for code in [500, 502, 503, 504] {
            assert_eq!(stale_on_failure(&sie, None, none, status(code), 15_000), Ok(()));
            assert_eq!(stale_on_failure(&sie, None, none, status(code), 15_001), Err(None));
            assert_eq!(stale_on_failure(&lasting(10), None, none, status(code), 10_000), Err(None));
        }
        for code in [400, 404, 501, 505] {
            assert_eq!(stale_on_failure(&sie, None, none, status(code), 12_000), Err(None));
        }
        let asked = RequestDirectives { stale_if_error: Some(60), ..none };
        assert_eq!(stale_on_failure(&lasting(10), None, asked, status(503), 20_000), Ok(()));
        // What is not allowed anyway is not refused by anything.
        let must = Freshness { stale_refused: Some(StaleRefused::SMaxage), ..sie.clone() };
        assert_eq!(stale_on_failure(&must, None, none, status(503), 15_001), Err(None));
        assert_eq!(
            stale_on_failure(&must, None, none, status(503), 15_000),
            Err(Some(StaleRefused::SMaxage))
        );
        for refused in [
            StaleRefused::MustRevalidate,
            StaleRefused::ProxyRevalidate,
            StaleRefused::NoCache,
            StaleRefused::SMaxage,
        ] {
            let strict = Freshness { stale_refused: Some(refused), ..sie.clone() };
            assert_eq!(
                stale_on_failure(&strict, None, asked, Failure::Disconnected, 11_000),
                Err(Some(refused))
            );
        }
    }

    proptest! {
        #[test]
        fn nothing_past_its_end_is_fresh(lifetime in 0u64..1_000_000, now in any::<u64>(), soft in proptest::option::of(any::<u64>())) {
            let f = lasting(lifetime);
            let decided = reuse(&f, soft, RequestDirectives::default(), ClientValidation::Ignored, now);
            let fresh = now < lifetime * 1_000 && soft.is_none_or(|at| now < at);
            let is_fresh = matches!(decided, Reuse::Fresh { .. });
            prop_assert_eq!(is_fresh, fresh);
        }
    }
}
