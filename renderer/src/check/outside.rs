//! Links to other hosts, asked for politely.
//!
//! Few requests at a time, fewer to one host; `HEAD` where that is enough; who asks us to wait is waited for, and who
//! refuses to answer a program is not called broken. Addresses that are not of the public network are never asked, not
//! by a redirect either.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::StreamExt;
use reqwest::header::{ACCEPT, CONTENT_TYPE, LOCATION, RETRY_AFTER, SET_COOKIE};
use reqwest::{Client, Method, Response, StatusCode, Url};
use serde::{Deserialize, Serialize};
use tokio::sync::Semaphore;
use tokio::time::Instant;

use super::cache::Cache;
use super::{Finding, Report, Severity, page};
use crate::data::http::{CONNECT_MAX, chain, tls};

/// What servers see as our name.
const USER_AGENT: &str = concat!("bakehouse/", env!("CARGO_PKG_VERSION"), " (link check)");
/// Hosts that are asked at a time.
const HOSTS_MAX: usize = 8;
/// Requests to one host at a time.
const REQUESTS_A_HOST_MAX: usize = 2;
/// Addresses that one check asks for.
const ADDRESSES_MAX: usize = 20_000;
/// For one request.
const REQUEST_MAX: Duration = Duration::from_secs(20);
/// For all of them.
const CHECK_MAX: Duration = Duration::from_secs(30 * 60);
/// The longest that a host is waited for where it asks for that.
const WAIT_MAX: Duration = Duration::from_secs(60);
/// How long is waited where it does not say.
const WAIT: Duration = Duration::from_secs(5);
/// How often one address is waited for.
const WAITS_MAX: u32 = 2;
/// Requests to one host that fail one after the other, until the rest of its links is left alone: some links, each asked twice.
const FAILURES_MAX: u32 = 6;
/// Redirects that are followed.
const REDIRECTS_MAX: usize = 10;
/// Bytes of a page that are read to look for an id.
const PAGE_BYTES_MAX: usize = 4 << 20;

/// An address on another host, and where links to it stand.
#[derive(Debug, Clone)]
pub struct Outside {
    /// The address, without a fragment.
    pub url: String,
    /// By fragment: findings that lack but their message.
    pub(super) places: BTreeMap<Option<String>, Vec<Finding>>,
}

impl Outside {
    pub(super) fn new(url: String) -> Self {
        Self { url, places: BTreeMap::new() }
    }

    /// That of an address, which is added where it is not `known`.
    pub(super) fn among(known: &mut BTreeMap<String, Self>, url: String) -> &mut Self {
        known.entry(url).or_insert_with_key(|url| Self::new(url.clone()))
    }
}

/// What is known of an address.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Verdict {
    /// It answers.
    Good {
        /// Where it has moved to for good.
        moved: Option<String>,
        /// Ids that were looked for and found, and those that were not.
        has: Vec<String>,
        lacks: Vec<String>,
    },
    /// It answers, though not to a program.
    Refused(u16),
    /// It does not.
    Broken(String),
    /// It could not be asked.
    Unknown(String),
}

impl Report {
    /// Asks other hosts whether the links to them are good. Answers are kept in the file `cache`, if one is given, for
    /// days where they are good and for minutes where they are not. Returns how many addresses were not asked, because
    /// they are of no public host.
    ///
    /// # Errors
    /// That no request can be made at all.
    pub async fn ask_outside(&mut self, cache: Option<&Path>) -> Result<usize, String> {
        let severity = self.severity_outside.unwrap_or(Severity::Error);
        let all = std::mem::take(&mut self.external);
        let (asked, unasked): (Vec<_>, Vec<_>) = all.into_iter().partition(|link| is_public(&link.url));
        let now = jiff::Timestamp::now().as_second();
        let mut known = cache.map(Cache::read).unwrap_or_default();
        let mut found = Vec::new();
        let mut open: BTreeMap<String, Vec<Outside>> = BTreeMap::new();
        for (number, link) in asked.into_iter().enumerate() {
            match known.get(&link.url, now).filter(|verdict| verdict.covers(&link)) {
                Some(verdict) => found.extend(verdict.findings(&link, severity)),
                None if number < ADDRESSES_MAX => {
                    let host = Url::parse(&link.url).ok().and_then(|url| url.host_str().map(str::to_owned));
                    open.entry(host.unwrap_or_default()).or_default().push(link);
                }
                None => {
                    let why = format!("was not looked at: there are more than {ADDRESSES_MAX} links");
                    found.extend(Verdict::Unknown(why).findings(&link, severity));
                }
            }
        }
        if !open.is_empty() {
            let asking = Asking::new()?;
            let asking = &asking;
            let mut answers = futures_util::stream::iter(open.into_values().map(|links| {
                futures_util::stream::iter(links)
                    .map(async |link| (asking.ask(&link).await, link))
                    .buffer_unordered(REQUESTS_A_HOST_MAX)
            }))
            .flatten_unordered(HOSTS_MAX);
            while let Some((verdict, link)) = answers.next().await {
                found.extend(verdict.findings(&link, severity));
                if !matches!(verdict, Verdict::Unknown(_)) {
                    known.put(&link.url, verdict, now);
                }
            }
            if let Some(path) = cache
                && let Err(error) = known.write(path, now)
            {
                tracing::warn!(file = %path.display(), %error, "what other hosts answered was not kept");
            }
        }
        self.add(found);
        Ok(unasked.len())
    }
}

impl Verdict {
    /// Whether it says all that is asked of a link.
    fn covers(&self, link: &Outside) -> bool {
        match self {
            Self::Good { has, lacks, .. } => {
                link.places.keys().flatten().all(|id| has.contains(id) || lacks.contains(id))
            }
            _ => true,
        }
    }

    fn findings(&self, link: &Outside, severity: Severity) -> Vec<Finding> {
        let url = &link.url;
        let mut out = Vec::new();
        let mut say = |severity: Severity, fragment: &Option<String>, what: &str, hint: Option<String>| {
            let shown = fragment.as_ref().map_or_else(|| url.clone(), |fragment| format!("{url}#{fragment}"));
            for finding in link.places.get(fragment).into_iter().flatten() {
                let mut finding = finding.clone();
                finding.severity = severity;
                finding.diagnostic.message =
                    format!("the link `{shown}` {what}{}", finding.diagnostic.message);
                finding.diagnostic.hint.clone_from(&hint);
                out.push(finding);
            }
        };
        for fragment in link.places.keys() {
            match self {
                Self::Good { lacks, .. } if fragment.as_ref().is_some_and(|id| lacks.contains(id)) => {
                    let hint = "if a script makes that place, name the address in `skip_anchor_prefixes`";
                    say(severity, fragment, "names a place that is not on its page", Some(hint.to_owned()));
                }
                Self::Good { moved: Some(to), .. } => {
                    say(Severity::Warning, fragment, "has moved for good", Some(format!("write {to}")));
                }
                Self::Good { .. } => {}
                Self::Refused(status) => {
                    let what = format!("is answered with {status}: the server does not answer programs");
                    let hint = "open it yourself, and name it in `skip_prefixes` if it is good";
                    say(Severity::Warning, fragment, &what, Some(hint.to_owned()));
                }
                Self::Broken(why) => say(severity, fragment, why, None),
                Self::Unknown(why) => say(Severity::Warning, fragment, why, None),
            }
        }
        out
    }
}

/// A host that is asked.
struct Host {
    free: Semaphore,
    standing: Mutex<Standing>,
}

/// How a host has answered so far.
#[derive(Default)]
struct Standing {
    /// Until when it wants to be left alone.
    quiet: Option<Instant>,
    /// How many requests have failed since one did not.
    failures: u32,
    /// Why nothing more is asked of it.
    given_up: Option<&'static str>,
}

impl Host {
    fn standing(&self) -> MutexGuard<'_, Standing> {
        self.standing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Who asks.
struct Asking {
    client: Client,
    hosts: Mutex<HashMap<String, Arc<Host>>>,
    end: Instant,
}

impl Asking {
    fn new() -> Result<Self, String> {
        let client = Client::builder()
            .tls_backend_preconfigured(tls()?)
            .user_agent(USER_AGENT)
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(CONNECT_MAX)
            .timeout(REQUEST_MAX)
            .pool_max_idle_per_host(REQUESTS_A_HOST_MAX)
            .build()
            .map_err(|error| format!("no request can be made: {}", chain(error)))?;
        Ok(Self { client, hosts: Mutex::default(), end: Instant::now() + CHECK_MAX })
    }

    fn host(&self, url: &Url) -> Arc<Host> {
        let name = url.host_str().unwrap_or_default().to_owned();
        let mut hosts = self.hosts.lock().unwrap_or_else(PoisonError::into_inner);
        let new = || Arc::new(Host { free: Semaphore::new(REQUESTS_A_HOST_MAX), standing: Mutex::default() });
        hosts.entry(name).or_insert_with(new).clone()
    }

    async fn ask(&self, link: &Outside) -> Verdict {
        let ids: BTreeSet<&String> = link.places.keys().flatten().collect();
        let Ok(mut url) = Url::parse(&link.url) else { return Verdict::Broken("is no address".to_owned()) };
        let mut method = if ids.is_empty() { Method::HEAD } else { Method::GET };
        let (mut hops, mut waits, mut failed, mut is_given_cookies) = (0, 0, false, false);
        // Where all redirects so far are for good.
        let mut moved: Option<Option<String>> = Some(None);
        loop {
            let host = self.host(&url);
            let response = match self.send(&host, &method, &url).await {
                Ok(response) => response,
                Err(verdict) if failed => return verdict,
                Err(_) => {
                    // Networks fail now and then, and servers that do not know `HEAD` may just close the connection.
                    (method, failed) = (Method::GET, true);
                    continue;
                }
            };
            let status = response.status();
            if status.is_success() {
                let (has, lacks) = look_for(response, &ids).await;
                return Verdict::Good { moved: moved.flatten(), has, lacks };
            }
            if matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308) {
                is_given_cookies |= response.headers().contains_key(SET_COOKIE);
                let to = response.headers().get(LOCATION).and_then(|to| to.to_str().ok());
                let Some(next) = to.and_then(|to| url.join(to).ok()) else {
                    return Verdict::Broken(format!("is answered with {status} and without an address"));
                };
                if !matches!(next.scheme(), "http" | "https") || !is_public(next.as_str()) {
                    return Verdict::Broken("is redirected to where no public host is".to_owned());
                }
                hops += 1;
                if hops > REDIRECTS_MAX && is_given_cookies {
                    let why = "was not looked at: its server redirects who brings no cookies without an end";
                    return Verdict::Unknown(why.to_owned());
                }
                if hops > REDIRECTS_MAX {
                    return Verdict::Broken(format!("is redirected more than {REDIRECTS_MAX} times"));
                }
                let for_good = matches!(status.as_u16(), 301 | 308);
                moved = moved.filter(|_| for_good).map(|_| Some(next.to_string()));
                url = next;
                continue;
            }
            let wait = response.headers().get(RETRY_AFTER).and_then(|value| wait_of(value.to_str().ok()?));
            let busy = status == StatusCode::TOO_MANY_REQUESTS
                || (status == StatusCode::SERVICE_UNAVAILABLE && wait.is_some());
            if busy {
                let wait = wait.unwrap_or(WAIT);
                let mut standing = host.standing();
                if waits >= WAITS_MAX || wait > WAIT_MAX {
                    // Neither for this link nor for the next ones.
                    let why = "was not looked at: its server asks for fewer requests";
                    standing.given_up = Some(why);
                    return Verdict::Unknown(why.to_owned());
                }
                waits += 1;
                standing.quiet = Some(Instant::now() + wait);
                continue;
            }
            if method == Method::HEAD {
                method = Method::GET;
                continue;
            }
            return match status.as_u16() {
                code @ (401 | 402 | 403 | 407 | 451 | 999) => Verdict::Refused(code),
                _ => Verdict::Broken(format!("is answered with {status}")),
            };
        }
    }

    /// One request, when its host wants one.
    async fn send(&self, host: &Host, method: &Method, url: &Url) -> Result<Response, Verdict> {
        let late = || Verdict::Unknown("was not looked at: there was no time left".to_owned());
        let permit = host.free.acquire().await.map_err(|_| late())?;
        loop {
            let quiet = {
                let standing = host.standing();
                if let Some(why) = standing.given_up {
                    return Err(Verdict::Unknown(why.to_owned()));
                }
                standing.quiet
            };
            match quiet.filter(|until| *until > Instant::now()) {
                Some(until) if until < self.end => tokio::time::sleep_until(until).await,
                Some(_) => return Err(late()),
                None => break,
            }
        }
        if Instant::now() >= self.end {
            return Err(late());
        }
        let asking = self.client.request(method.clone(), url.clone()).header(ACCEPT, "text/html,*/*;q=0.8");
        let result = asking.send().await;
        drop(permit);
        let mut standing = host.standing();
        standing.failures = if result.is_ok() { 0 } else { standing.failures + 1 };
        if standing.failures >= FAILURES_MAX {
            standing.given_up = Some("was not looked at: its host does not answer");
        }
        result.map_err(|error| {
            if error.is_timeout() {
                return Verdict::Broken(format!("is not answered within {} seconds", REQUEST_MAX.as_secs()));
            }
            Verdict::Broken(format!("cannot be reached: {}", chain(error.without_url())))
        })
    }
}

/// Which of these ids a page has. Where that cannot be told, because it is no HTML or too long, it has them all.
async fn look_for(mut response: Response, ids: &BTreeSet<&String>) -> (Vec<String>, Vec<String>) {
    let all = || (ids.iter().map(ToString::to_string).collect(), Vec::new());
    let kind = response.headers().get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    if ids.is_empty() || !kind.contains("html") {
        return all();
    }
    let mut body = Vec::new();
    loop {
        match response.chunk().await {
            Ok(Some(chunk)) if body.len() + chunk.len() <= PAGE_BYTES_MAX => body.extend_from_slice(&chunk),
            Ok(None) => break,
            _ => return all(),
        }
    }
    let page = page::html(&String::from_utf8_lossy(&body));
    let has = |id: &str| {
        let decoded = percent_encoding::percent_decode_str(id).decode_utf8_lossy();
        // GitHub puts words before the ids of its readers' texts, and makes lines of code and routes by script.
        let known = |id: &str| page.ids.contains(id) || page.ids.contains(&format!("user-content-{id}"));
        known(id) || known(&decoded) || id.starts_with(['/', '!']) || is_line(id)
    };
    let (has, lacks): (Vec<&String>, Vec<&String>) = ids.iter().copied().partition(|id| has(id));
    (has.into_iter().cloned().collect(), lacks.into_iter().cloned().collect())
}

/// `L10`, `L10-L20`: lines of a source file, which its page marks by script.
fn is_line(id: &str) -> bool {
    id.split('-').all(|part| {
        part.strip_prefix('L')
            .is_some_and(|n| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit() || b == b'C'))
    })
}

/// `Retry-After` (RFC 9110 §10.2.3): seconds or a date.
fn wait_of(value: &str) -> Option<Duration> {
    if let Ok(seconds) = value.trim().parse() {
        return Some(Duration::from_secs(seconds));
    }
    let at = jiff::fmt::rfc2822::parse(value.trim()).ok()?.timestamp();
    let seconds = at.as_second().saturating_sub(jiff::Timestamp::now().as_second());
    Some(Duration::from_secs(u64::try_from(seconds).unwrap_or(0)))
}

/// Whether an address is of a host that anyone can reach. Names that are reserved for examples and private networks
/// (RFC 2606, 6761, 6762, 8375) are not.
fn is_public(url: &str) -> bool {
    const RESERVED: [&str; 10] = [
        "test",
        "example",
        "invalid",
        "localhost",
        "local",
        "internal",
        "onion",
        "example.com",
        "example.net",
        "example.org",
    ];
    let Ok(url) = Url::parse(url) else { return true };
    let Some(host) = url.host_str() else { return true };
    if let Ok(address) = host.parse::<Ipv4Addr>() {
        return is_public_v4(address);
    }
    if let Ok(address) = host.trim_matches(['[', ']']).parse::<Ipv6Addr>() {
        let first = address.segments()[0];
        return match address.to_ipv4_mapped() {
            Some(address) => is_public_v4(address),
            None => {
                !(address.is_loopback()
                    || address.is_unspecified()
                    || (first & 0xfe00) == 0xfc00
                    || (first & 0xffc0) == 0xfe80)
            }
        };
    }
    let host = host.trim_end_matches('.');
    host.contains('.')
        && !RESERVED.iter().any(|name| {
            host.strip_suffix(name).is_some_and(|before| before.is_empty() || before.ends_with('.'))
        })
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    !(address.is_loopback()
        || address.is_private()
        || address.is_link_local()
        || address.is_unspecified()
        || address.is_broadcast()
        || address.is_documentation())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_public_hosts_are_asked() {
        for url in [
            "https://rust-lang.org/",
            "http://1.1.1.1/",
            "https://[2606:4700::1]/",
            "https://notexample.com/",
        ] {
            assert!(is_public(url), "{url}");
        }
        for url in [
            "http://localhost:8080/",
            "http://127.0.0.1/",
            "http://0x7f.1/",
            "http://10.0.0.1/",
            "http://169.254.169.254/latest",
            "http://[::1]/",
            "http://[::ffff:10.0.0.1]/",
            "http://[fd00::1]/",
            "http://[fe80::1]/",
            "https://a.example/",
            "https://www.example.com/",
            "http://printer/",
            "http://nas.local./",
        ] {
            assert!(!is_public(url), "{url}");
        }
    }

    #[test]
    fn waiting_is_read_in_both_forms() {
        assert_eq!(wait_of(" 12 "), Some(Duration::from_secs(12)));
        assert_eq!(wait_of("Wed, 21 Oct 2015 07:28:00 GMT"), Some(Duration::ZERO));
        assert_eq!(wait_of("soon"), None);
        assert!(is_line("L10") && is_line("L10-L20") && !is_line("L") && !is_line("Lines"));
    }
}
