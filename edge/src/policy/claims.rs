//! What clients claim of their requests that nobody has verified, and that is no part of the key.

use http::{HeaderMap, HeaderName, header};

use super::forward::{REQUEST_ID, is_hop_by_hop};

/// Fields that some frameworks believe over the request line, or over the scheme and host that are keyed: unkeyed, so they
/// could poison the cache, also by way of a proxy that passes on what its clients send. `Proxy` is a variable of CGI; those from
/// `x-invoke-path` on are of Next.js, which says them to itself.
const OVERRIDES: [&str; 40] = [
    "x-original-url",
    "x-original-uri",
    "x-original-host",
    "x-original-method",
    "x-original-proto",
    "x-original-scheme",
    "x-rewrite-url",
    "x-rewrite-uri",
    "x-forwarded-path",
    "x-forwarded-prefix",
    "x-forwarded-uri",
    "x-forwarded-method",
    "x-forwarded-server",
    "x-forwarded-scheme",
    "x-forwarded-protocol",
    "x-forwarded-ssl",
    "x-forwarded-port",
    "x-http-method-override",
    "x-http-method",
    "x-method-override",
    "x-http-host-override",
    "x-host",
    "x-scheme",
    "x-url-scheme",
    "x-script-name",
    "x-envoy-original-path",
    "x-envoy-original-host",
    "x-arr-ssl",
    "front-end-https",
    "fastly-ssl",
    "cf-visitor",
    "cloudfront-forwarded-proto",
    "base-url",
    "proxy",
    "x-override-url",
    "x-http-destinationurl",
    "x-invoke-path",
    "x-invoke-status",
    "x-middleware-subrequest",
    "x-now-route-matches",
];

/// Fields in which those in front say who asks, and how, beside [`FORWARDED_PREFIX`].
const WORDS_OF_PROXIES: [&str; 19] = [
    "forwarded",
    "forwarded-for",
    "x-forwarded",
    "x-real-ip",
    "client-ip",
    "x-client-ip",
    "true-client-ip",
    "x-cluster-client-ip",
    "x-originating-ip",
    "x-remote-ip",
    "x-remote-addr",
    "x-original-forwarded-for",
    "x-envoy-external-address",
    "x-azure-clientip",
    "cf-connecting-ip",
    "cf-connecting-ipv6",
    "fastly-client-ip",
    "proxy-client-ip",
    "wl-proxy-client-ip",
];

/// How the names of more such fields begin.
const FORWARDED_PREFIX: &str = "x-forwarded-";

/// Whether those in front say in a field of this name who asks, and how.
pub(super) fn is_word_of_proxies(name: &str) -> bool {
    name.starts_with(FORWARDED_PREFIX) || WORDS_OF_PROXIES.contains(&name)
}

/// Whether a field claims something of its request that is not part of the key: what it asks for, whoever sent it, or, from
/// those who are not trusted, who asks. CGI and its kin take `X_Host` for `X-Host`, and no proxy looks for it under that
/// name, so a name with an underscore is a claim whoever sent it.
fn is_claim(name: &str, trusted: bool) -> bool {
    name.contains('_') || OVERRIDES.contains(&name) || (!trusted && is_word_of_proxies(name))
}

/// Removes the fields by which a sender claims what nobody has verified, and says how many. The words of one who is
/// `trusted` about its clients stay.
pub fn strip_claims(headers: &mut HeaderMap, trusted: bool) -> usize {
    let claims: Vec<HeaderName> =
        headers.keys().filter(|name| is_claim(name.as_str(), trusted)).cloned().collect();
    for name in &claims {
        headers.remove(name);
    }
    claims.len()
}

/// Whether a client's field of this name reaches upstreams as it came, unless `Connection` names it: it is neither of the
/// connection nor removed, replaced or added to on the way.
pub fn is_as_sent(name: &HeaderName) -> bool {
    const TOLD: [HeaderName; 4] =
        [header::HOST, header::EXPECT, header::CONTENT_LENGTH, header::MAX_FORWARDS];
    !(is_hop_by_hop(name) || TOLD.contains(name) || is_claim(name.as_str(), false) || *name == REQUEST_ID)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::map;

    #[test]
    fn what_is_told_otherwise_than_sent() {
        for name in ["accept", "origin", "cookie", "x-own", "user-agent"] {
            assert!(is_as_sent(&HeaderName::from_static(name)), "{name}");
        }
        for name in [
            "te",
            "host",
            "forwarded",
            "x-forwarded-for",
            "x-forwarded-anything",
            "x-real-ip",
            "true-client-ip",
            "x-request-id",
            "x-original-url",
            "x_own",
        ] {
            assert!(!is_as_sent(&HeaderName::from_static(name)), "{name}");
        }
    }

    #[test]
    fn what_is_claimed() {
        let sent = map(&[
            ("accept", "*/*"),
            ("x-forwarded-for", "6.6.6.6"),
            ("x-forwarded-for", "7.7.7.7"),
            ("x-forwarded-user", "root"),
            ("true-client-ip", "6.6.6.6"),
            ("front-end-https", "on"),
            ("x-forwarded-ssl", "on"),
            ("cloudfront-forwarded-proto", "https"),
            ("x-middleware-subrequest", "middleware"),
            ("x_forwarded_host", "evil"),
            ("x-own", "1"),
        ]);
        let mut stripped = sent.clone();
        assert_eq!(strip_claims(&mut stripped, false), 8);
        assert_eq!(stripped, map(&[("accept", "*/*"), ("x-own", "1")]));
        let mut stripped = sent;
        assert_eq!(strip_claims(&mut stripped, true), 5);
        let kept = [
            ("accept", "*/*"),
            ("x-forwarded-for", "6.6.6.6"),
            ("x-forwarded-for", "7.7.7.7"),
            ("x-forwarded-user", "root"),
            ("true-client-ip", "6.6.6.6"),
            ("x-own", "1"),
        ];
        assert_eq!(stripped, map(&kept));
        assert_eq!(strip_claims(&mut stripped, true), 0);
    }
}
