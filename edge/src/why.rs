//! Why a request is answered as it is: the key, what is stored under it, and the arithmetic of each copy, from the
//! running store. Looking changes nothing: no copy counts as visited.

use std::sync::Arc;

use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, Version, header};
use serde::Serialize;

use crate::{
    Edge, clock,
    cut::Cut,
    decide::{self, Bypass, Decision, Reason, Shape},
    inbound::Inbound,
    journal::Gate,
    key::Key,
    metrics::Result as Counted,
    policy::{
        directives::RequestDirectives,
        forward,
        freshness::{Freshness, Millis},
        range::ContentRange,
        reuse::reuse,
        same_origin::Scheme,
        vary::Selection,
    },
    stand_in::Again,
    store::Stored,
    trace::Step,
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
    /// The same in one word, as in the live trace and in `Cache-Status`: `hit`, `failed`, or why it would be forwarded.
    pub result: &'static str,
    /// The status that goes out, where no upstream is asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
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
    /// Where it is a part: which, as `Content-Range` says it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub part: Option<String>,
    /// The request fields that it was chosen by, from `Vary`, and what they said.
    pub vary: String,
    /// Whether a request with these fields selects it (RFC 9111 §4.1).
    pub selected: bool,
    /// `live`, or what a purge, a publish or an unsafe request made of it.
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
        let port = authority.as_str().strip_prefix(authority.host());
        let is_port = port.is_some_and(|port| port.is_empty() || authority.port_u16().is_some());
        let scheme = match uri.scheme_str().filter(|_| is_port) {
            Some("http") => Scheme::Http,
            Some("https") => Scheme::Https,
            _ => return Err(format!("`{url}` is nothing that a browser asks for")),
        };
        let host = authority.as_str().to_ascii_lowercase();
        let target = uri.path_and_query().map_or("/", |target| target.as_str());
        let inbound = asked(scheme, host, target, fields);
        let now = clock::boot_ms();
        let (key, gate) = match &self.sites {
            None => {
                let target = self.current().rules.query.target(target).into_owned();
                (Key::of_upstream(scheme, &inbound.host, &target), Gate::Open)
            }
            Some(sites) => {
                let site = sites
                    .of_host(&inbound.host)
                    .ok_or_else(|| format!("no site `{}` is served here", inbound.host))?;
                let path = release::url::site_path(uri.path())
                    .ok_or_else(|| format!("the path of `{url}` is not text"))?;
                (Key::of_site(&site.scope, &path), site.gate(now))
            }
        };
        let Told { verdict, result, status } = self.told(&inbound, &key, gate, now);
        let variants =
            self.store.copies(&key).iter().map(|stored| self.variant(stored, &inbound, now)).collect();
        let text: Vec<&str> = verdict.iter().map(|step| &*step.what).collect();
        Ok(Explanation {
            key: format!("{} {}", key.scope, key.target),
            verdict: text.join("; "),
            clause: verdict.last().and_then(|step| step.clause),
            result,
            status: status.map(|status| status.as_u16()),
            variants,
        })
    }

    /// What is decided about a request, by the same functions as when it is answered.
    fn told(&self, inbound: &Inbound, key: &Key, gate: Gate, now: Millis) -> Told {
        let failed = |step: Step, status| Told {
            verdict: vec![step],
            result: Counted::Failed.as_str(),
            status: Some(status),
        };
        if forward::is_loop(&inbound.headers, &self.config.name) {
            let step = Step::by("RFC 8586 §2", "refused: a loop, this edge has forwarded the request before");
            return failed(step, StatusCode::LOOP_DETECTED);
        }
        match gate {
            Gate::Starting | Gate::Refuse => {
                let what =
                    if gate == Gate::Starting { "this edge is starting" } else { "the lease has lapsed" };
                return failed(Step::found(format!("503: {what}")), StatusCode::SERVICE_UNAVAILABLE);
            }
            Gate::Open | Gate::Lapsed | Gate::Validate => {}
        }
        if self.sites.is_none()
            && let Some(bypass) = Bypass::of(inbound)
        {
            if bypass.is_refused(inbound) {
                let verdict = vec![bypass.step(), decide::only_stored()];
                return Told { verdict, ..failed(bypass.step(), StatusCode::GATEWAY_TIMEOUT) };
            }
            return Told { verdict: vec![bypass.step()], result: bypass.forward().as_str(), status: None };
        }
        let found = self.store.look(key, &inbound.headers, &self.log);
        let decision = self.decide(inbound, &found, key.of_site, gate, now);
        let mut verdict = decision.steps();
        let hit = Counted::Hit.as_str();
        let of_copy = |stored: &Stored| {
            let length = Some(stored.body().len() as u64);
            let shape = Shape::of(inbound, stored.status, &stored.head(), stored.wall(), length);
            (shape.step(), shape.status(stored.status))
        };
        let of_cut = |cut: Cut<'_>| {
            let mut shape = Shape::of(inbound, cut.of.status, &cut.of.head(), cut.of.wall(), None);
            if shape == Shape::AsIs {
                shape = Shape::Cut(cut.asked);
            }
            (shape.step(), shape.status(cut.of.status))
        };
        let (step, status) = match decision {
            Decision::Hit { stored, .. } => of_copy(stored),
            Decision::Parts(cut, _) => of_cut(cut),
            Decision::OnlyIfCached(_) => {
                let (result, status) = (Counted::Failed.as_str(), Some(StatusCode::GATEWAY_TIMEOUT));
                return Told { verdict, result, status };
            }
            Decision::Ask(reason) => {
                let authorized = inbound.headers.contains_key(header::AUTHORIZATION);
                let failed = self.hints.failed(key, authorized, now).filter(|_| !key.of_site);
                let again =
                    failed.and_then(|failed| Some((failed, Again::of(inbound, &found, reason, failed)?.0)));
                let Some((failed, again)) = again else {
                    return Told { verdict, result: reason.forward().as_str(), status: None };
                };
                verdict.push(failed.step());
                match again {
                    Again::Copy(stored) => of_copy(stored),
                    Again::Parts(cut) => of_cut(cut),
                }
            }
        };
        verdict.extend(step);
        Told { verdict, result: hit, status: Some(status) }
    }

    fn variant(&self, stored: &Stored, inbound: &Inbound, now: Millis) -> Variant {
        let head = &stored.head();
        let text = |name| head.get(name).map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
        let freshness = &stored.freshness();
        let gone = Reason::of_life(stored.life(&self.log), stored.key().of_site);
        let (decision, clause) = match gone {
            Some(reason) => (reason.text(), reason.clause()),
            None => {
                let clients = self.current().rules.clients;
                let decided = reuse(freshness, stored.stale_from(), inbound.directives, clients, now);
                (decide::text(decided), decided.clause())
            }
        };
        Variant {
            status: stored.status.as_u16(),
            bytes: stored.body().len() as u64,
            part: stored
                .part()
                .and_then(ContentRange::to_value)
                .and_then(|part| Some(part.to_str().ok()?.to_owned())),
            vary: chosen_by(&stored.selection()),
            selected: stored.selection().matches(&inbound.headers),
            life: match gone {
                Some(Reason::Unverified) => "to be compared with the new release",
                Some(Reason::Invalidated) => "invalidated",
                Some(Reason::Superseded) => "superseded",
                Some(Reason::Removed) => "removed",
                Some(_) => "purged",
                None => "live",
            },
            groups: stored.groups().iter().map(ToString::to_string).collect(),
            etag: text(header::ETAG),
            freshness: arithmetic(freshness, stored.stale_from(), now),
            decision: decision.to_owned(),
            clause,
        }
    }
}

/// The fields of a selection, with values in their normal form. Those that say who somebody is are not for terminals.
fn chosen_by(selection: &Selection) -> String {
    let field = |(name, value): (&HeaderName, Option<HeaderValue>)| match value {
        None => format!("{name} (none)"),
        Some(_) if [header::AUTHORIZATION, header::COOKIE].contains(name) => format!("{name} (not shown)"),
        Some(value) => format!("{name}: {}", String::from_utf8_lossy(value.as_bytes())),
    };
    selection.fields().map(field).collect::<Vec<_>>().join("; ")
}

/// What is decided about a request: the steps, the last of which decides, and what comes of them.
struct Told {
    verdict: Vec<Step>,
    result: &'static str,
    status: Option<StatusCode>,
}

/// A GET as it would come in, by one whose word about scheme and client is believed.
fn asked(scheme: Scheme, host: String, target: &str, fields: &HeaderMap) -> Inbound {
    let mut headers = fields.clone();
    forward::strip_connection(&mut headers);
    headers.remove(header::EXPECT);
    let is_empty = headers.get(header::CONTENT_LENGTH).is_none_or(|length| length == "0");
    let has_content = !is_empty || fields.contains_key(header::TRANSFER_ENCODING);
    let mut inbound = Inbound {
        method: Method::GET,
        version: Version::HTTP_11,
        scheme,
        target: target.to_owned(),
        host,
        directives: RequestDirectives::parse(&headers),
        headers: Arc::new(headers),
        id: HeaderValue::from_static("0"),
        peer: None,
        client: None,
        is_trusted: true,
        has_content,
        expects_continue: false,
        interims: None,
        takes_trailers: false,
        websocket: false,
    };
    inbound.settle();
    inbound
}

/// How fresh a response is, as a sum: lifetime less age.
pub(crate) fn arithmetic(freshness: &Freshness, stale_from: Option<Millis>, now: Millis) -> String {
    let source = freshness.source.as_str();
    let clause = freshness.source.clause();
    let seconds = |ms: u64| format!("{}.{:03}", ms / 1_000, ms % 1_000);
    let left = freshness.left_ms(now, None);
    let mut line = format!(
        "lifetime {} s ({source}, {clause}) - age {} s ({} on arrival + {} here, RFC 9111 §4.2.3) = {}{} s left",
        seconds(freshness.lifetime_ms),
        seconds(freshness.age_ms(now)),
        seconds(freshness.initial_age_ms),
        seconds(now.saturating_sub(freshness.got)),
        if left < 0 { "-" } else { "" },
        seconds(left.unsigned_abs()),
    );
    if let Some(from) = stale_from {
        line.push_str(&format!("; a soft purge ended it {} s ago", seconds(now.saturating_sub(from))));
    }
    if let Some(refused) = freshness.stale_refused {
        line.push_str("; never stale: ");
        line.push_str(refused.as_str());
    }
    line
}
