//! Whether a response may be stored (RFC 9111 §3, §3.5) and which of its fields (§3.1).

use http::{HeaderMap, HeaderName, Method, StatusCode, header};

use super::{
    directives::{Control, RequestDirectives, Scope, list_members},
    freshness::{Freshness, heuristically_cacheable},
};

/// Why a response is not stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoStore {
    /// Only responses to GET are kept.
    Method,
    /// The request said `no-store` (RFC 9111 §5.2.1.5).
    RequestNoStore,
    /// An interim, partial or 304 status, or one that is not understood under `must-understand`.
    Status,
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
}

/// May this response be stored? In the order of RFC 9111 §3.
pub fn storing(
    asked: Asked<'_>,
    status: StatusCode,
    headers: &HeaderMap,
    control: &Control,
    freshness: &Freshness,
) -> Result<(), NoStore> {
    let directives = &control.directives;
    if asked.method != Method::GET {
        return Err(NoStore::Method);
    }
    if status.is_informational()
        || status == StatusCode::PARTIAL_CONTENT
        || status == StatusCode::NOT_MODIFIED
    {
        return Err(NoStore::Status);
    }
    // must-understand overrides no-store where the status is understood (RFC 9111 §5.2.2.3).
    if directives.must_understand {
        if !understood(status) {
            return Err(NoStore::Status);
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
    let explicit_for_all = directives.public || directives.s_maxage.is_some() || control.targeted.is_some();
    if headers.contains_key(header::SET_COOKIE) && !cookie_excluded(control) && !explicit_for_all {
        return Err(NoStore::SetCookie);
    }
    if list_members(headers, &header::VARY).any(|name| name == b"*") {
        return Err(NoStore::VaryStar);
    }
    let explicit = directives.public
        || directives.max_age.is_some()
        || directives.s_maxage.is_some()
        || (control.targeted.is_none() && headers.contains_key(header::EXPIRES));
    if !explicit && !heuristically_cacheable(status) {
        return Err(NoStore::NotCacheable);
    }
    let validators = headers.contains_key(header::ETAG) || headers.contains_key(header::LAST_MODIFIED);
    let usable = freshness.left_ms(freshness.got, None) > 0 && !freshness.no_cache;
    let usable_stale = freshness.stale_refused.is_none()
        && (freshness.stale_while_revalidate_ms.is_some()
            || freshness.stale_if_error_ms.is_some_and(|ms| ms > 0));
    if !(usable || validators || usable_stale) {
        return Err(NoStore::Useless);
    }
    Ok(())
}

/// The statuses whose caching this cache understands (RFC 9110 §15).
fn understood(status: StatusCode) -> bool {
    matches!(
        status.as_u16(),
        200 | 201 | 202 | 203 | 204 | 205 | 300..=303 | 307 | 308 | 400..=417 | 421 | 422 | 426 | 500..=505
    )
}

fn cookie_excluded(control: &Control) -> bool {
    let names = |scope: &Scope| matches!(scope, Scope::Fields(names) if names.contains(&header::SET_COOKIE));
    names(&control.directives.private) || names(&control.directives.no_cache)
}

/// Removes what may not be kept: the fields named by `private` and `no-cache` (RFC 9111 §5.2.2.4, §5.2.2.7).
/// Fields of the connection were removed on arrival.
pub fn strip_for_storage(headers: &mut HeaderMap, control: &Control) {
    for scope in [&control.directives.private, &control.directives.no_cache] {
        if let Scope::Fields(names) = scope {
            for name in names {
                headers.remove(name);
            }
        }
    }
    // Age is computed anew for each answer (RFC 9111 §5.1).
    headers.remove(header::AGE);
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
    use http::HeaderValue;

    fn decide(
        method: Method,
        request: &[(&str, &str)],
        status: u16,
        fields: &[(&str, &str)],
    ) -> Result<(), NoStore> {
        let map = |fields: &[(&str, &str)]| {
            let mut map = HeaderMap::new();
            for (name, value) in fields {
                map.append(
                    HeaderName::from_bytes(name.as_bytes()).unwrap(),
                    HeaderValue::from_str(value).unwrap(),
                );
            }
            map
        };
        let (request, response) = (map(request), map(fields));
        let status = StatusCode::from_u16(status).unwrap();
        let control = Control::of(&response, &targets_of_an_upstream());
        let freshness =
            Freshness::of(status, &response, &control, Receipt { asked: 0, got: 0, wall: 1_790_000_000 });
        let asked = Asked {
            method: &method,
            authorized: request.contains_key(header::AUTHORIZATION),
            directives: RequestDirectives::parse(&request),
        };
        storing(asked, status, &response, &control, &freshness)
    }

    #[test]
    fn a_row_for_each_clause() {
        use NoStore as N;
        type Fields = &'static [(&'static str, &'static str)];
        let rows: [(Fields, u16, Fields, Result<(), N>); 40] = [
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
            (&[], 503, &[("cache-control", "max-age=9")], Ok(())),
            (&[], 503, &[("etag", "\"a\"")], Err(N::NotCacheable)),
            (&[], 599, &[("cache-control", "max-age=9")], Ok(())),
            (&[], 599, &[("cache-control", "max-age=9, must-understand")], Err(N::Status)),
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
}
