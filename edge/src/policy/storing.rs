//! Whether a response may be stored (RFC 9111 §3, §3.5) and which of its fields (§3.1).

use http::{HeaderMap, HeaderName, Method, StatusCode, header};

use super::{
    directives::{Control, RequestDirectives, Scope, list_members},
    forward::REQUEST_ID,
    freshness::{Freshness, LifetimeSource, heuristically_cacheable},
    range::ContentRange,
    rules::{Rules, SetCookie},
};

/// Why a response is not stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoStore {
    /// Only responses to GET are kept, and to a POST that says that it is one (RFC 9110 §9.3.3).
    Method,
    /// The request said `no-store` (RFC 9111 §5.2.1.5).
    RequestNoStore,
    /// An interim or 304 status, or a 206 whose part is not told or was not asked for.
    Status,
    /// A status that is for one client or its network, and may not be stored (RFC 6585).
    OneClient,
    /// An answer about a range that says too little to stand by itself, nothing about the rest, or what cannot be.
    Range,
    /// A status that this cache does not understand, under `must-understand` (RFC 9111 §5.2.2.3).
    NotUnderstood,
    /// `no-store` (RFC 9111 §5.2.2.5).
    NoStore,
    /// `private` (RFC 9111 §5.2.2.7).
    Private,
    /// The request carried `Authorization` and nothing allows sharing (RFC 9111 §3.5).
    Authorization,
    /// The response sets a cookie and nothing says that it is for all.
    SetCookie,
    /// `Vary: *` matches nothing (RFC 9111 §4.1).
    VaryStar,
    /// Neither explicit freshness nor a heuristically cacheable status (RFC 9111 §3).
    NotCacheable,
    /// Stale from the start with no validator: a copy could never be used.
    Useless,
    /// Larger than what one object may take.
    TooLarge,
    /// A journal entry applied since the fetch began covers it.
    Superseded,
}

impl NoStore {
    /// For `Cache-Status` details, logs and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Method => "method",
            Self::RequestNoStore => "request-no-store",
            Self::Status => "status",
            Self::OneClient => "one-client",
            Self::Range => "range",
            Self::NotUnderstood => "not-understood",
            Self::NoStore => "no-store",
            Self::Private => "private",
            Self::Authorization => "authorization",
            Self::SetCookie => "set-cookie",
            Self::VaryStar => "vary-star",
            Self::NotCacheable => "not-cacheable",
            Self::Useless => "no-freshness",
            Self::TooLarge => "too-large",
            Self::Superseded => "superseded",
        }
    }

    /// The clause that decided; where the RFC leaves the choice to the cache, the clause that does.
    pub fn clause(self) -> &'static str {
        match self {
            Self::Method => "RFC 9110 §9.3.3",
            Self::RequestNoStore => "RFC 9111 §5.2.1.5",
            Self::Status | Self::NotCacheable | Self::TooLarge => "RFC 9111 §3",
            Self::OneClient => "RFC 6585",
            Self::Range => "RFC 9111 §3.3",
            Self::NotUnderstood => "RFC 9111 §5.2.2.3",
            Self::NoStore => "RFC 9111 §5.2.2.5",
            Self::Private => "RFC 9111 §5.2.2.7",
            Self::Authorization => "RFC 9111 §3.5",
            Self::SetCookie => "RFC 9111 §7.3",
            Self::VaryStar => "RFC 9111 §4.1",
            Self::Useless => "RFC 9111 §4.2.2",
            Self::Superseded => "RFC 9111 §4.4",
        }
    }

    /// Whether the response alone decided, so that other requests for the same will fare no better. What one client
    /// says must not keep others from sharing.
    pub fn is_of_response(self) -> bool {
        !matches!(
            self,
            Self::Method
                | Self::RequestNoStore
                | Self::OneClient
                | Self::Range
                | Self::Authorization
                | Self::Superseded
        )
    }

    /// Whether other requests will fare no better that carry `Authorization` where this one did.
    pub fn is_of_all_alike(self) -> bool {
        self.is_of_response() || self == Self::Authorization
    }
}

/// What the decision needs to know of the request.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'a> {
    /// Its method.
    pub method: &'a Method,
    /// Whether it carried `Authorization`.
    pub authorized: bool,
    /// Its directives.
    pub directives: RequestDirectives,
    /// Whether the response's `Content-Location` is the request's own URI; counts for POST alone.
    pub is_located: bool,
}

/// May this response be stored? In the order of RFC 9111 §3.
pub fn storing(
    asked: Asked<'_>,
    status: StatusCode,
    headers: &HeaderMap,
    control: &Control,
    freshness: &Freshness,
    rules: &Rules,
) -> Result<(), NoStore> {
    let directives = &control.directives;
    match *asked.method {
        Method::GET => {}
        Method::POST if asked.is_located && freshness.source.is_explicit() && status == StatusCode::OK => {}
        _ => return Err(NoStore::Method),
    }
    if status.is_informational() || status == StatusCode::NOT_MODIFIED {
        return Err(NoStore::Status);
    }
    if is_never_stored(status) {
        return Err(NoStore::OneClient);
    }
    if status == StatusCode::PARTIAL_CONTENT && ContentRange::of(headers).is_none() {
        return Err(NoStore::Status);
    }
    // must-understand overrides no-store where the status is understood (RFC 9111 §5.2.2.3).
    if directives.must_understand {
        if !understood(status) {
            return Err(NoStore::NotUnderstood);
        }
    } else if directives.no_store {
        return Err(NoStore::NoStore);
    }
    if asked.directives.no_store {
        return Err(NoStore::RequestNoStore);
    }
    if directives.private == Scope::Whole {
        return Err(NoStore::Private);
    }
    if asked.authorized && !(directives.must_revalidate || directives.public || directives.s_maxage.is_some())
    {
        return Err(NoStore::Authorization);
    }
    if headers.contains_key(header::SET_COOKIE)
        && !cookie_excluded(control)
        && !cookie_for_all(control, freshness, rules.set_cookie)
    {
        return Err(NoStore::SetCookie);
    }
    if list_members(headers, &header::VARY).any(|name| name == b"*") {
        return Err(NoStore::VaryStar);
    }
    let explicit = directives.public || freshness.source.is_explicit();
    if !explicit && !heuristically_cacheable(status) {
        return Err(NoStore::NotCacheable);
    }
    let validators = headers.contains_key(header::ETAG) || headers.contains_key(header::LAST_MODIFIED);
    let usable = freshness.is_fresh(freshness.got, None);
    // What came with a lifetime that has passed on the way may still be accepted, or stand in while nothing else is to
    // be had. What never had one may as well, but is not worth the memory.
    let had_lifetime = freshness.source.is_explicit() && freshness.lifetime_ms > 0;
    let usable_stale = freshness.stale_refused.is_none()
        && (had_lifetime
            || freshness.stale_while_revalidate_ms.is_some()
            || freshness.stale_if_error_ms.is_some_and(|ms| ms > 0));
    if !(usable || validators || usable_stale) {
        return Err(NoStore::Useless);
    }
    Ok(())
}

/// Whether a response that is not stored ends the use of the one that is held for its request: it says what became of the
/// resource, for others as well, so that none of them gets the old one without asking (RFC 9111 §4.3.3). An error, or the
/// refusal of one client, says nothing about it.
pub fn ends_held(status: StatusCode, reason: NoStore) -> bool {
    let is_about_resource = status.is_success()
        || status.is_redirection()
        || matches!(status, StatusCode::NOT_FOUND | StatusCode::GONE);
    is_about_resource && reason.is_of_response()
}

/// Whether a response with `Set-Cookie` says that it is for all. What is merely assumed to be fresh never does.
fn cookie_for_all(control: &Control, freshness: &Freshness, set_cookie: SetCookie) -> bool {
    let directives = &control.directives;
    match set_cookie {
        _ if freshness.source == LifetimeSource::Heuristic => false,
        SetCookie::ForAll => directives.public || directives.s_maxage.is_some() || control.targeted.is_some(),
        SetCookie::Store => directives.public || freshness.source.is_explicit(),
    }
}

/// The statuses that say something to one client or about its network, whose definitions forbid to store them (RFC 6585 §3 to
/// §6).
fn is_never_stored(status: StatusCode) -> bool {
    matches!(status.as_u16(), 428 | 429 | 431 | 511)
}

/// The statuses whose caching this cache understands (RFC 9110 §15).
fn understood(status: StatusCode) -> bool {
    matches!(
        status.as_u16(),
        200..=206 | 300..=303 | 307 | 308 | 400..=417 | 421 | 422 | 426 | 500..=505
    )
}

fn cookie_excluded(control: &Control) -> bool {
    let names = |scope: &Scope| matches!(scope, Scope::Fields(names) if names.contains(&header::SET_COOKIE));
    names(&control.directives.private) || names(&control.directives.no_cache)
}

/// The fields that are for the one who asked alone: those named by `private` and `no-cache` (RFC 9111 §5.2.2.4, §5.2.2.7).
fn for_one(control: &Control) -> impl Iterator<Item = &HeaderName> {
    [&control.directives.private, &control.directives.no_cache].into_iter().flat_map(|scope| match scope {
        Scope::Fields(names) => names.as_slice(),
        Scope::Absent | Scope::Whole => &[],
    })
}

/// Which of these fields are for the one who asked alone.
pub fn fields_for_one(headers: &HeaderMap, control: &Control) -> HeaderMap {
    let mut own = HeaderMap::new();
    for name in for_one(control).filter(|name| headers.contains_key(*name)) {
        // One that is named twice is still the same.
        own.remove(name);
        for value in headers.get_all(name) {
            own.append(name.clone(), value.clone());
        }
    }
    own
}

/// Removes what may not be kept: the fields that are for the one who asked alone. Fields of the connection were removed on
/// arrival.
pub fn strip_for_storage(headers: &mut HeaderMap, control: &Control) {
    for name in for_one(control) {
        headers.remove(name);
    }
    // Age is computed anew for each answer (RFC 9111 §5.1), and trailers are not kept (§3.1 leaves that open).
    headers.remove(header::AGE);
    headers.remove(header::TRAILER);
    // Each answer carries the id of the request that it answers.
    headers.remove(REQUEST_ID);
}

/// The targeted fields a Bakehouse edge obeys: its own first, then the CDNs' common one (RFC 9213 §3.1).
pub fn targets_of_a_site() -> Vec<HeaderName> {
    vec![HeaderName::from_static("bakehouse-cache-control"), HeaderName::from_static("cdn-cache-control")]
}

/// The targeted fields obeyed in front of any other upstream (RFC 9213 §3.1).
pub fn targets_of_an_upstream() -> Vec<HeaderName> {
    vec![HeaderName::from_static("cdn-cache-control")]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::freshness::Receipt;
    use crate::policy::map;

    fn decide(
        method: Method,
        request: &[(&str, &str)],
        status: u16,
        fields: &[(&str, &str)],
    ) -> Result<(), NoStore> {
        decide_by(&Rules::default(), method, request, status, fields)
    }

    fn decide_by(
        rules: &Rules,
        method: Method,
        request: &[(&str, &str)],
        status: u16,
        fields: &[(&str, &str)],
    ) -> Result<(), NoStore> {
        let (request, response) = (map(request), map(fields));
        let status = StatusCode::from_u16(status).unwrap();
        let control = Control::of(&response, &targets_of_an_upstream());
        let receipt = Receipt { asked: 0, got: 0, wall: 1_790_000_000 };
        let freshness = Freshness::of(status, &response, &control, receipt, rules.s_maxage);
        let asked = Asked {
            method: &method,
            authorized: request.contains_key(header::AUTHORIZATION),
            directives: RequestDirectives::parse(&request),
            is_located: response.get(header::CONTENT_LOCATION).is_some_and(|at| at == "/self"),
        };
        storing(asked, status, &response, &control, &freshness, rules)
    }

    #[test]
    fn a_row_for_each_clause() {
        use NoStore as N;
        type Fields = &'static [(&'static str, &'static str)];
        let rows: [(Fields, u16, Fields, Result<(), N>); 56] = [
            (&[], 200, &[("cache-control", "max-age=1")], Ok(())),
            (&[("cookie", "a=b")], 200, &[("cache-control", "max-age=1")], Ok(())),
            (&[], 200, &[("cache-control", "max-age=0")], Err(N::Useless)),
            (&[], 200, &[("cache-control", "max-age=0"), ("etag", "\"a\"")], Ok(())),
            (&[], 200, &[("cache-control", "no-cache"), ("etag", "\"a\"")], Ok(())),
            (&[], 200, &[("cache-control", "no-cache, max-age=9")], Err(N::Useless)),
            (&[], 200, &[("cache-control", "max-age=0, stale-while-revalidate=9")], Ok(())),
            (
                &[],
                200,
                &[("cache-control", "max-age=0, must-revalidate, stale-while-revalidate=9")],
                Err(N::Useless),
            ),
            (&[], 200, &[("etag", "\"a\"")], Ok(())),
            (&[], 200, &[("last-modified", "Sun, 06 Nov 1994 08:49:37 GMT")], Ok(())),
            (&[], 200, &[], Err(N::Useless)),
            (&[], 200, &[("cache-control", "no-store, max-age=9")], Err(N::NoStore)),
            (&[], 200, &[("cache-control", "private, max-age=9")], Err(N::Private)),
            (&[], 200, &[("cache-control", "private=\"x-id\", max-age=9")], Ok(())),
            (&[], 200, &[("cache-control", "private=\"\", max-age=9")], Err(N::Private)),
            (
                &[("cache-control", "no-store")],
                200,
                &[("cache-control", "max-age=9")],
                Err(N::RequestNoStore),
            ),
            (&[], 200, &[("cdn-cache-control", "max-age=9"), ("cache-control", "no-store")], Ok(())),
            (&[], 200, &[("cdn-cache-control", "no-store"), ("cache-control", "max-age=9")], Err(N::NoStore)),
            (&[("authorization", "x")], 200, &[("cache-control", "max-age=9")], Err(N::Authorization)),
            (&[("authorization", "x")], 200, &[("cache-control", "max-age=9, public")], Ok(())),
            (&[("authorization", "x")], 200, &[("cache-control", "s-maxage=9")], Ok(())),
            (&[("authorization", "x")], 200, &[("cache-control", "max-age=9, must-revalidate")], Ok(())),
            (
                &[("authorization", "x")],
                200,
                &[("cache-control", "max-age=9, proxy-revalidate")],
                Err(N::Authorization),
            ),
            (&[], 200, &[("cache-control", "max-age=9"), ("set-cookie", "a=b")], Err(N::SetCookie)),
            (&[], 200, &[("cache-control", "max-age=9, public"), ("set-cookie", "a=b")], Ok(())),
            (&[], 200, &[("cache-control", "s-maxage=9"), ("set-cookie", "a=b")], Ok(())),
            (&[], 200, &[("cdn-cache-control", "max-age=9"), ("set-cookie", "a=b")], Ok(())),
            (
                &[],
                200,
                &[("cache-control", "max-age=9, no-cache=\"set-cookie\""), ("set-cookie", "a=b")],
                Ok(()),
            ),
            (&[], 200, &[("etag", "\"a\""), ("set-cookie", "a=b")], Err(N::SetCookie)),
            (&[], 200, &[("cache-control", "max-age=9"), ("vary", "accept, *")], Err(N::VaryStar)),
            (&[], 206, &[("cache-control", "max-age=9")], Err(N::Status)),
            (&[], 304, &[("cache-control", "max-age=9")], Err(N::Status)),
            (&[], 404, &[("cache-control", "max-age=9")], Ok(())),
            (&[], 429, &[("cache-control", "public, max-age=9"), ("etag", "\"a\"")], Err(N::OneClient)),
            (&[], 511, &[("cdn-cache-control", "max-age=9")], Err(N::OneClient)),
            (&[], 503, &[("cache-control", "max-age=9")], Ok(())),
            (&[], 503, &[("etag", "\"a\"")], Err(N::NotCacheable)),
            (&[], 599, &[("cache-control", "max-age=9")], Ok(())),
            (&[], 206, &[("cache-control", "max-age=9"), ("content-range", "bytes 0-1/9")], Ok(())),
            (&[], 206, &[("cache-control", "max-age=9"), ("content-range", "bytes 2-1/9")], Err(N::Status)),
            (&[], 599, &[("cache-control", "max-age=9, must-understand")], Err(N::NotUnderstood)),
            (
                &[],
                200,
                &[
                    ("cache-control", "public"),
                    ("set-cookie", "a=b"),
                    ("last-modified", "Sun, 06 Nov 1994 08:49:37 GMT"),
                ],
                Err(N::SetCookie),
            ),
            (&[], 200, &[("cache-control", "max-age=5"), ("age", "9")], Ok(())),
            (&[], 200, &[("cache-control", "max-age=5, must-revalidate"), ("age", "9")], Err(N::Useless)),
            (&[], 200, &[("cache-control", "max-age=5, no-cache"), ("age", "9")], Err(N::Useless)),
            (&[], 200, &[("expires", "0")], Err(N::Useless)),
            (&[], 200, &[("expires", "0"), ("etag", "\"a\"")], Ok(())),
            (&[], 503, &[("expires", "0"), ("etag", "\"a\"")], Ok(())),
            (&[], 200, &[("cache-control", "max-age=9"), ("content-encoding", "x-unknown")], Ok(())),
            (&[], 200, &[("cache-control", "max-age=9"), ("content-range", "bytes 0-1/9")], Ok(())),
            // A targeted field decides alone, and must-understand within it as well.
            (&[], 599, &[("cdn-cache-control", "max-age=9, must-understand")], Err(N::NotUnderstood)),
            (&[], 200, &[("cdn-cache-control", "no-store, must-understand, max-age=9")], Ok(())),
            (
                &[],
                503,
                &[("cdn-cache-control", "foo"), ("expires", "Sun, 06 Nov 2094 08:49:37 GMT")],
                Err(N::NotCacheable),
            ),
            (&[], 200, &[("cache-control", "max-age=9, must-understand, no-store")], Ok(())),
            (&[], 302, &[("expires", "Sun, 06 Nov 2094 08:49:37 GMT")], Ok(())),
            (&[], 302, &[("etag", "\"a\"")], Err(N::NotCacheable)),
        ];
        for (request, status, fields, expected) in rows {
            assert_eq!(
                decide(Method::GET, request, status, fields),
                expected,
                "{request:?} {status} {fields:?}"
            );
        }
        for method in [Method::POST, Method::HEAD, Method::OPTIONS] {
            assert_eq!(decide(method, &[], 200, &[("cache-control", "max-age=9")]), Err(N::Method));
        }
    }

    #[test]
    fn a_post_is_kept_only_as_what_a_get_would_bring() {
        let located = |fields: &[(&str, &str)]| {
            let mut all = vec![("content-location", "/self")];
            all.extend_from_slice(fields);
            decide(Method::POST, &[], 200, &all)
        };
        assert_eq!(located(&[("cache-control", "max-age=9")]), Ok(()));
        assert_eq!(located(&[("cache-control", "public")]), Err(NoStore::Method));
        assert_eq!(located(&[("last-modified", "Sun, 06 Nov 1994 08:49:37 GMT")]), Err(NoStore::Method));
        assert_eq!(located(&[("cache-control", "max-age=9, private")]), Err(NoStore::Private));
        let other = [("cache-control", "max-age=9"), ("content-location", "/other")];
        assert_eq!(decide(Method::POST, &[], 200, &other), Err(NoStore::Method));
        let created = [("cache-control", "max-age=9"), ("content-location", "/self")];
        assert_eq!(decide(Method::POST, &[], 201, &created), Err(NoStore::Method));
        assert_eq!(decide(Method::PUT, &[], 200, &created), Err(NoStore::Method));
    }

    #[test]
    fn cookies_by_the_switch() {
        let rules = Rules { set_cookie: SetCookie::Store, ..Rules::default() };
        let store = |fields: &[(&str, &str)]| {
            let mut all = vec![("set-cookie", "a=b")];
            all.extend_from_slice(fields);
            decide_by(&rules, Method::GET, &[], 200, &all)
        };
        assert_eq!(store(&[("cache-control", "max-age=9")]), Ok(()));
        assert_eq!(store(&[("expires", "Sun, 06 Nov 2094 08:49:37 GMT")]), Ok(()));
        assert_eq!(store(&[("last-modified", "Sun, 06 Nov 1994 08:49:37 GMT")]), Err(NoStore::SetCookie));
        assert_eq!(store(&[("etag", "\"a\"")]), Err(NoStore::SetCookie));
        assert_eq!(store(&[("cache-control", "max-age=9, private")]), Err(NoStore::Private));
    }
}
