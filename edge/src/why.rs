//! Why a request is answered as it is: the key, what is stored under it, and the arithmetic of each copy, from the
//! running store. Looking changes nothing: no copy counts as visited.

use http::{HeaderMap, Uri, header};
use serde::Serialize;

use crate::{
    Edge, clock,
    key::Key,
    policy::{
        directives::RequestDirectives,
        forward::Scheme,
        freshness::{Freshness, Millis},
        reuse::{Forward, Reuse, Why, reuse},
    },
    store::{Life, Stored},
};

/// An explanation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Explanation {
    /// What the response is stored under: the site or host, and the target.
    pub key: String,
    /// What a request with these fields gets now.
    pub verdict: String,
    /// The clause that decides.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clause: Option<&'static str>,
    /// What is stored, the newest first.
    pub variants: Vec<Variant>,
}

/// A stored copy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Variant {
    /// Its status.
    pub status: u16,
    /// Bytes of content.
    pub bytes: u64,
    /// The request fields that it was chosen by, from `Vary`.
    pub vary: String,
    /// Whether a request with these fields selects it (RFC 9111 §4.1).
    pub selected: bool,
    /// `live`, or what a purge or publish made of it.
    pub life: &'static str,
    /// Its cache groups.
    pub groups: Vec<String>,
    /// Its entity tag.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub etag: Option<String>,
    /// How long it is fresh, how old it is and what is left, in one line.
    pub freshness: String,
    /// What may be done with it for this request.
    pub decision: String,
    /// The clause that says so.
    pub clause: &'static str,
}

impl Edge {
    /// Explains what a GET of this URL with these fields gets.
    ///
    /// # Errors
    /// Where it is no URL, or names no site that is served here.
    pub fn why(&self, url: &str, fields: &HeaderMap) -> Result<Explanation, String> {
        let uri: Uri = url.parse().map_err(|_| format!("`{url}` is no URL"))?;
        let authority = uri.authority().ok_or_else(|| format!("`{url}` has no host"))?;
        let host = authority.as_str().to_ascii_lowercase();
        let target = uri.path_and_query().map_or("/", |target| target.as_str());
        let key = match &self.sites {
            None => {
                let scheme = if uri.scheme_str() == Some("https") { Scheme::Https } else { Scheme::Http };
                Key::of_upstream(scheme, &host, &self.current().rules.query.target(target))
            }
            Some(sites) => {
                let site = sites.of_host(&host).ok_or_else(|| format!("no site `{host}` is served here"))?;
                let path = release::url::site_path(uri.path())
                    .ok_or_else(|| format!("the path of `{url}` is not text"))?;
                Key::of_site(&site.scope, &path)
            }
        };
        let directives = RequestDirectives::parse(fields);
        let variants: Vec<Variant> =
            self.store.copies(&key).iter().map(|stored| self.variant(stored, fields, directives)).collect();
        let (verdict, clause) =
            match variants.iter().find(|variant| variant.selected && variant.life == "live") {
                Some(variant) => (variant.decision.clone(), Some(variant.clause)),
                None if variants.iter().any(|variant| variant.selected) => {
                    ("fetched: the copy was purged or superseded".to_owned(), Some("RFC 9111 §4.4"))
                }
                None if variants.is_empty() => {
                    ("fetched: nothing is stored under this key".to_owned(), Some("RFC 9111 §4"))
                }
                None => {
                    let text = "fetched: what is stored was chosen by other request fields".to_owned();
                    (text, Some("RFC 9111 §4.1"))
                }
            };
        Ok(Explanation { key: format!("{} {}", key.scope, key.target), verdict, clause, variants })
    }

    fn variant(&self, stored: &Stored, fields: &HeaderMap, directives: RequestDirectives) -> Variant {
        let now = clock::boot_ms();
        let head = &stored.head();
        let text = |name| head.get(name).map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
        let freshness = &stored.freshness();
        let line = arithmetic(freshness, stored.stale_from(), now);
        let decided = reuse(freshness, stored.stale_from(), directives, self.current().rules.clients, now);
        let (decision, clause) = (decision(decided), decided.clause());
        Variant {
            status: stored.status.as_u16(),
            bytes: stored.body().len() as u64,
            vary: text(header::VARY).unwrap_or_default(),
            selected: stored.selection().matches(fields),
            life: match stored.life(&self.log) {
                Life::Live => "live",
                Life::Unverified => "to be compared with the new release",
                Life::Superseded => "superseded",
                Life::Removed => "removed",
                Life::Dropped => "purged",
            },
            groups: stored.groups().iter().map(ToString::to_string).collect(),
            etag: text(header::ETAG),
            freshness: line,
            decision: decision.to_owned(),
            clause,
        }
    }
}

/// How fresh a response is, as a sum: lifetime less age.
pub(crate) fn arithmetic(freshness: &Freshness, stale_from: Option<Millis>, now: Millis) -> String {
    let source = freshness.source.as_str();
    let clause = freshness.source.clause();
    let seconds = |ms: u64| format!("{}.{:03}", ms / 1_000, ms % 1_000);
    let left = freshness.left_ms(now, stale_from);
    let mut line = format!(
        "lifetime {} s ({source}, {clause}) - age {} s ({} on arrival + {} here, RFC 9111 §4.2.3) = {}{} s left",
        seconds(freshness.lifetime_ms),
        seconds(freshness.age_ms(now)),
        seconds(freshness.initial_age_ms),
        seconds(now.saturating_sub(freshness.got)),
        if left < 0 { "-" } else { "" },
        seconds(left.unsigned_abs()),
    );
    if stale_from.is_some() {
        line.push_str("; a soft purge ended it");
    }
    if let Some(refused) = freshness.stale_refused {
        line.push_str("; never stale: ");
        line.push_str(refused.as_str());
    }
    line
}

/// What may be done with a stored response, in words.
pub(crate) fn decision(decided: Reuse) -> &'static str {
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

/// Why there is nothing to decide about, in words.
pub(crate) fn missing(forward: Forward) -> &'static str {
    match forward {
        Forward::VaryMiss => "what is stored was chosen by other request fields",
        Forward::Partial => "only parts are stored",
        Forward::Stale => "what is stored was purged or superseded",
        _ => "nothing is stored",
    }
}
