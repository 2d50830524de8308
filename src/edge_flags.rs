//! Flags of `bake edge`, and the typed values that they mean.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use edge::policy::query::QueryKey;
use edge::policy::reuse::ClientValidation;
use edge::policy::rules::{SMaxage, SetCookie};
use edge::{
    Balance, BreakerRules, Deadlines, EdgeConfig, HealthCheck, LogFormat, LogTarget, Network, UpstreamOptions,
};

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
    /// Milliseconds from a request to the head of its response
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
    #[arg(long, value_name = "SECONDS", default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..))]
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

/// What clients may do, and where the RFCs leave a choice.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Clients and caching")]
pub struct ClientFlags {
    /// Open connections; beyond, new ones wait
    #[arg(long, value_name = "N", default_value_t = 20_000, value_parser = clap::value_parser!(u32).range(1..))]
    connections: u32,
    /// Open connections of one client (an IPv4 address, or the first 64 bits of an IPv6 address); beyond, new ones are closed
    #[arg(long, value_name = "N", default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..))]
    connections_per_client: u32,
    /// Requests on one connection; the last is answered with `Connection: close`
    #[arg(long, value_name = "N", default_value_t = 1_000_000, value_parser = clap::value_parser!(u32).range(1..))]
    requests_per_connection: u32,
    /// Seconds that a connection may rest between two requests
    #[arg(long, value_name = "SECONDS", default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..))]
    client_idle_seconds: u64,
    /// Seconds between two parts of a request's content
    #[arg(long, value_name = "SECONDS", default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..))]
    content_seconds: u64,
    /// Network of load balancers that speak the PROXY protocol, version 1 or 2; others are served as they are
    #[arg(long, value_name = "NETWORK")]
    proxy_protocol_from: Vec<Network>,
    /// Bytes of a request's head; beyond, it is refused
    #[arg(long, value_name = "BYTES", default_value_t = 64 << 10, value_parser = clap::value_parser!(u32).range(1024..=1 << 20))]
    head_bytes: u32,
    /// Seconds that a request's head may take
    #[arg(long, value_name = "SECONDS", default_value_t = 15, value_parser = clap::value_parser!(u64).range(1..))]
    head_seconds: u64,
    /// Seconds that a client may take no data
    #[arg(long, value_name = "SECONDS", default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..))]
    stall_seconds: u64,
    /// Seconds that requests under way get once the edge is told to stop
    #[arg(long, value_name = "SECONDS", default_value_t = 4)]
    drain_seconds: u64,
    /// Whether clients may force validation with `no-cache`, `max-age` and `Pragma`: ignore or obey
    #[arg(long, value_name = "WHAT", default_value = "ignore")]
    client_validation: Obey,
    /// Responses with `Set-Cookie`: for-all (stored where they say that they are for all) or store (with any explicit
    /// freshness)
    #[arg(long, value_name = "WHAT", default_value = "for-all")]
    set_cookie: Cookies,
    /// Whether `s-maxage` forbids stale use: strict (as RFC 9111 says) or lifetime (it is a lifetime and no more)
    #[arg(long, value_name = "WHAT", default_value = "strict")]
    s_maxage: Strictness,
    /// Targeted field to obey, in order of precedence [default: CDN-Cache-Control]
    #[arg(long, value_name = "NAME")]
    targeted_field: Vec<http::HeaderName>,
    /// Query parameters left out of the key and of the URL sent on; a name may end in *
    #[arg(long, value_delimiter = ',', value_name = "NAME", conflicts_with = "query_only")]
    query_without: Vec<String>,
    /// Query parameters that alone are in the key and in the URL sent on
    #[arg(long, value_delimiter = ',', value_name = "NAME")]
    query_only: Vec<String>,
    /// Network whose `Forwarded` and `X-Forwarded-*` are believed, such as 10.0.0.0/8
    #[arg(long, value_name = "NETWORK")]
    trust_forwarded: Vec<Network>,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Obey {
    Ignore,
    Obey,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Cookies {
    ForAll,
    Store,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Strictness {
    Strict,
    Lifetime,
}

impl ClientFlags {
    /// Puts what they say into a configuration.
    pub fn apply(&self, config: &mut EdgeConfig) {
        let limits = &mut config.limits;
        limits.connections_max = usize::try_from(self.connections).unwrap_or(usize::MAX);
        limits.header_bytes_max = usize::try_from(self.head_bytes).unwrap_or(usize::MAX);
        limits.connections_per_client_max =
            usize::try_from(self.connections_per_client).unwrap_or(usize::MAX);
        limits.requests_per_connection_max =
            usize::try_from(self.requests_per_connection).unwrap_or(usize::MAX);
        limits.idle = Duration::from_secs(self.client_idle_seconds);
        limits.content_idle = Duration::from_secs(self.content_seconds);
        limits.header_read = Duration::from_secs(self.head_seconds);
        limits.write_stall = Duration::from_secs(self.stall_seconds);
        limits.drain = Duration::from_secs(self.drain_seconds);
        let rules = &mut config.rules;
        rules.clients = match self.client_validation {
            Obey::Ignore => ClientValidation::Ignored,
            Obey::Obey => ClientValidation::Obeyed,
        };
        rules.set_cookie = match self.set_cookie {
            Cookies::ForAll => SetCookie::ForAll,
            Cookies::Store => SetCookie::Store,
        };
        rules.s_maxage = match self.s_maxage {
            Strictness::Strict => SMaxage::Strict,
            Strictness::Lifetime => SMaxage::LifetimeOnly,
        };
        if !self.targeted_field.is_empty() {
            rules.targets = self.targeted_field.clone();
        }
        if !self.query_without.is_empty() {
            rules.query = QueryKey::Without(self.query_without.clone());
        } else if !self.query_only.is_empty() {
            rules.query = QueryKey::Only(self.query_only.clone());
        }
        config.trusted = self.trust_forwarded.clone();
        config.proxy_protocol_from = self.proxy_protocol_from.clone();
    }
}
