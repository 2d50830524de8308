//! Flags of `bake edge`, and the typed values that they mean.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use edge::policy::query::QueryKey;
use edge::policy::reuse::ClientValidation;
use edge::policy::rules::{SMaxage, SetCookie};
use edge::{
    Balance, BreakerRules, Deadlines, HealthCheck, LogFormat, LogTarget, Network, Settings, UpstreamOptions,
};

use http::HeaderName;
use renderer::Whole;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};

use crate::config::Config;

/// Upstreams, and how they are used.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Upstreams")]
pub struct UpstreamFlags {
    /// URL of an HTTP upstream that knows nothing of Bakehouse: http, https, or unix:/path; several serve the same
    #[arg(long, value_name = "URL", conflicts_with = "origin")]
    upstream: Vec<String>,
    /// What `Host` is set to for upstreams; otherwise the client's is kept
    #[arg(long, value_name = "HOST")]
    upstream_host: Option<String>,
    /// File of certificates (PEM) to trust for https upstreams, in place of the system's
    #[arg(long, value_name = "FILE")]
    upstream_ca: Option<PathBuf>,
    /// How requests are spread: round-robin, least-connections, hash (by URL), random-two, first (the others are spares)
    /// [default: round-robin]
    #[arg(long, value_name = "HOW")]
    balance: Option<Balance>,
    /// Other upstreams that an idempotent request is sent to after one has failed
    #[arg(long, value_name = "N", default_value_t = 3)]
    retries: usize,
    /// Milliseconds to a connection, TLS included
    #[arg(long, value_name = "MS", default_value_t = 2_000, value_parser = clap::value_parser!(u64).range(1..))]
    connect_ms: u64,
    /// Milliseconds from a request, or the last of its content, to the head of its response
    #[arg(long, value_name = "MS", default_value_t = 30_000, value_parser = clap::value_parser!(u64).range(1..))]
    first_byte_ms: u64,
    /// Milliseconds between two parts of a response
    #[arg(long, value_name = "MS", default_value_t = 30_000, value_parser = clap::value_parser!(u64).range(1..))]
    idle_ms: u64,
    /// Seconds that an idle connection to an upstream is kept
    #[arg(long, value_name = "SECONDS", default_value_t = 20)]
    keep_seconds: u64,
    /// Failures in a row after which an upstream gets one request at a time until it answers; 0: never
    #[arg(long, value_name = "N", default_value_t = 5)]
    breaker_failures: u32,
    /// Seconds over which an upstream that is back gets its full part again
    #[arg(long, value_name = "SECONDS", default_value_t = 10)]
    slow_start_seconds: u64,
    /// Path that each upstream is asked for now and then; one that does not answer 2xx or 3xx is passed over
    #[arg(long, value_name = "PATH")]
    health_path: Option<String>,
    /// Seconds between two such checks
    #[arg(long, value_name = "SECONDS", default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    health_seconds: u64,
    /// Milliseconds that a check may take
    #[arg(long, value_name = "MS", default_value_t = 2_000, value_parser = clap::value_parser!(u64).range(1..))]
    health_ms: u64,
}

impl UpstreamFlags {
    /// Whom to ask: the flags', or else the configuration's.
    pub fn urls(&self, config: &Config) -> Vec<String> {
        if self.upstream.is_empty() { config.edge.upstream.clone() } else { self.upstream.clone() }
    }

    /// How long they may take.
    pub fn deadlines(&self) -> Deadlines {
        Deadlines {
            connect: Duration::from_millis(self.connect_ms),
            first_byte: Duration::from_millis(self.first_byte_ms),
            idle: Duration::from_millis(self.idle_ms),
            ..Deadlines::default()
        }
    }

    /// How they are used.
    pub fn options(&self, config: &Config) -> UpstreamOptions {
        let health_path = self.health_path.clone().or_else(|| config.edge.health_path.clone());
        UpstreamOptions {
            balance: self.balance.or(config.edge.balance).unwrap_or_default(),
            host: self.upstream_host.clone().or_else(|| config.edge.upstream_host.clone()),
            retries_max: self.retries.min(RETRIES_MAX),
            breaker: BreakerRules {
                failures: self.breaker_failures,
                slow_start: Duration::from_secs(self.slow_start_seconds),
            },
            health: health_path.map(|path| HealthCheck {
                interval: Duration::from_secs(self.health_seconds),
                deadline: Duration::from_millis(self.health_ms),
                ..HealthCheck::new(path)
            }),
            ca: self.upstream_ca.clone(),
            idle_connection: Duration::from_secs(self.keep_seconds),
        }
    }
}

/// More would only multiply a client's patience by a deadline.
const RETRIES_MAX: usize = 16;

/// The access log.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Logs")]
pub struct LogFlags {
    /// File that gets a line for each response; - is standard output. SIGHUP opens it again
    #[arg(long, value_name = "PATH")]
    access_log: Option<String>,
    /// How a line looks: combined or json
    #[arg(long, value_name = "FORMAT", default_value = "combined")]
    access_log_format: LogFormat,
}

impl LogFlags {
    /// Where lines go.
    pub fn target(&self) -> Option<(LogTarget, LogFormat)> {
        let target = self.access_log.as_deref()?;
        Some((LogTarget::from(target), self.access_log_format))
    }
}

/// A number of things or of seconds, at least one.
type Count = Whole<u32, 1, 4_294_967_295>;

/// What clients may do, and where the RFCs leave a choice: flags, or `[edge.clients]` of the configuration.
#[derive(Debug, Clone, Default, PartialEq, Eq, Args, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[command(next_help_heading = "Clients and caching")]
pub struct ClientFlags {
    /// Open connections; beyond, new ones wait [default: 20000]
    #[arg(long, value_name = "N")]
    connections: Option<Count>,
    /// Open connections of one client (an IPv4 address, or the first 64 bits of an IPv6 address); beyond, new ones are closed
    /// [default: 10000]
    #[arg(long, value_name = "N")]
    connections_per_client: Option<Count>,
    /// Requests on one connection; the last is answered with `Connection: close` [default: 1000000]
    #[arg(long, value_name = "N")]
    requests_per_connection: Option<Count>,
    /// Seconds that a connection may rest between two requests [default: 60]
    #[arg(long, value_name = "SECONDS")]
    client_idle_seconds: Option<Count>,
    /// Seconds between two parts of a request's content [default: 30]
    #[arg(long, value_name = "SECONDS")]
    content_seconds: Option<Count>,
    /// Network of load balancers that speak the PROXY protocol, version 1 or 2; others are served as they are
    #[arg(long, value_name = "NETWORK")]
    #[serde(deserialize_with = "networks")]
    proxy_protocol_from: Vec<Network>,
    /// Bytes of a request's head, between 1024 and 1048576; beyond, it is refused [default: 65536]
    #[arg(long, value_name = "BYTES")]
    head_bytes: Option<Whole<u32, 1_024, { 1 << 20 }>>,
    /// Seconds that a request's head may take [default: 15]
    #[arg(long, value_name = "SECONDS")]
    head_seconds: Option<Count>,
    /// Seconds that a client may take no data [default: 60]
    #[arg(long, value_name = "SECONDS")]
    stall_seconds: Option<Count>,
    /// Seconds that requests under way get once the edge is told to stop [default: 4]
    #[arg(long, value_name = "SECONDS")]
    drain_seconds: Option<Whole<u32, 0, 4_294_967_295>>,
    /// Whether clients may force validation with `no-cache`, `max-age` and `Pragma`: ignore or obey [default: ignore]
    #[arg(long, value_name = "WHAT")]
    client_validation: Option<Obey>,
    /// Responses with `Set-Cookie`: for-all (stored where they say that they are for all) or store (with any explicit
    /// freshness) [default: for-all]
    #[arg(long, value_name = "WHAT")]
    set_cookie: Option<Cookies>,
    /// Whether `s-maxage` forbids stale use: strict (as RFC 9111 says) or lifetime (it is a lifetime and no more)
    /// [default: strict]
    #[arg(long, value_name = "WHAT")]
    s_maxage: Option<Strictness>,
    /// Targeted field to obey, in order of precedence [default: CDN-Cache-Control]
    #[arg(long, value_name = "NAME")]
    #[serde(deserialize_with = "field_names")]
    targeted_field: Vec<HeaderName>,
    /// Query parameters left out of the key and of the URL sent on; a name may end in *
    #[arg(long, value_delimiter = ',', value_name = "NAME", conflicts_with = "query_only")]
    query_without: Vec<String>,
    /// Query parameters that alone are in the key and in the URL sent on
    #[arg(long, value_delimiter = ',', value_name = "NAME")]
    query_only: Vec<String>,
    /// Network whose `Forwarded` and `X-Forwarded-*` are believed, such as 10.0.0.0/8
    #[arg(long, value_name = "NETWORK")]
    #[serde(deserialize_with = "networks")]
    trust_forwarded: Vec<Network>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Obey {
    Ignore,
    Obey,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Cookies {
    ForAll,
    Store,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Strictness {
    Strict,
    Lifetime,
}

fn networks<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Network>, D::Error> {
    let texts = Vec::<String>::deserialize(deserializer)?;
    texts.iter().map(|text| text.parse().map_err(D::Error::custom)).collect()
}

fn field_names<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<HeaderName>, D::Error> {
    let texts = Vec::<String>::deserialize(deserializer)?;
    let read =
        |text: &String| text.parse().map_err(|_| D::Error::custom(format!("`{text}` is no name of a field")));
    texts.iter().map(read).collect()
}

/// The first list that says something.
fn either<T: Clone>(first: &[T], second: &[T]) -> Vec<T> {
    if first.is_empty() { second.to_vec() } else { first.to_vec() }
}

impl ClientFlags {
    /// These, and where they say nothing, what others say.
    pub fn or(&self, other: &Self) -> Self {
        let (query_without, query_only) = if self.query_without.is_empty() && self.query_only.is_empty() {
            (other.query_without.clone(), other.query_only.clone())
        } else {
            (self.query_without.clone(), self.query_only.clone())
        };
        Self {
            connections: self.connections.or(other.connections),
            connections_per_client: self.connections_per_client.or(other.connections_per_client),
            requests_per_connection: self.requests_per_connection.or(other.requests_per_connection),
            client_idle_seconds: self.client_idle_seconds.or(other.client_idle_seconds),
            content_seconds: self.content_seconds.or(other.content_seconds),
            proxy_protocol_from: either(&self.proxy_protocol_from, &other.proxy_protocol_from),
            head_bytes: self.head_bytes.or(other.head_bytes),
            head_seconds: self.head_seconds.or(other.head_seconds),
            stall_seconds: self.stall_seconds.or(other.stall_seconds),
            drain_seconds: self.drain_seconds.or(other.drain_seconds),
            client_validation: self.client_validation.or(other.client_validation),
            set_cookie: self.set_cookie.or(other.set_cookie),
            s_maxage: self.s_maxage.or(other.s_maxage),
            targeted_field: either(&self.targeted_field, &other.targeted_field),
            query_without,
            query_only,
            trust_forwarded: either(&self.trust_forwarded, &other.trust_forwarded),
        }
    }

    /// Whether they say of one query which parameters count in two ways.
    pub fn says_twice_what_counts(&self) -> bool {
        !self.query_without.is_empty() && !self.query_only.is_empty()
    }

    /// Puts what they say in the place of defaults.
    pub fn apply(&self, settings: &mut Settings) {
        let count = |to: &mut usize, from: Option<u32>| {
            if let Some(from) = from {
                *to = usize::try_from(from).unwrap_or(usize::MAX);
            }
        };
        let seconds = |to: &mut Duration, from: Option<u32>| {
            if let Some(from) = from {
                *to = Duration::from_secs(from.into());
            }
        };
        let limits = &mut settings.limits;
        count(&mut limits.connections_max, self.connections.map(Whole::get));
        count(&mut limits.connections_per_client_max, self.connections_per_client.map(Whole::get));
        count(&mut limits.requests_per_connection_max, self.requests_per_connection.map(Whole::get));
        count(&mut limits.header_bytes_max, self.head_bytes.map(Whole::get));
        seconds(&mut limits.idle, self.client_idle_seconds.map(Whole::get));
        seconds(&mut limits.content_idle, self.content_seconds.map(Whole::get));
        seconds(&mut limits.header_read, self.head_seconds.map(Whole::get));
        seconds(&mut limits.write_stall, self.stall_seconds.map(Whole::get));
        seconds(&mut limits.drain, self.drain_seconds.map(Whole::get));
        let rules = &mut settings.rules;
        match self.client_validation {
            None => {}
            Some(Obey::Ignore) => rules.clients = ClientValidation::Ignored,
            Some(Obey::Obey) => rules.clients = ClientValidation::Obeyed,
        }
        match self.set_cookie {
            None => {}
            Some(Cookies::ForAll) => rules.set_cookie = SetCookie::ForAll,
            Some(Cookies::Store) => rules.set_cookie = SetCookie::Store,
        }
        match self.s_maxage {
            None => {}
            Some(Strictness::Strict) => rules.s_maxage = SMaxage::Strict,
            Some(Strictness::Lifetime) => rules.s_maxage = SMaxage::LifetimeOnly,
        }
        if !self.targeted_field.is_empty() {
            rules.targets = self.targeted_field.clone();
        }
        if !self.query_without.is_empty() {
            rules.query = QueryKey::Without(self.query_without.clone());
        } else if !self.query_only.is_empty() {
            rules.query = QueryKey::Only(self.query_only.clone());
        }
        settings.trusted = self.trust_forwarded.clone();
        settings.proxy_protocol_from = self.proxy_protocol_from.clone();
    }
}
