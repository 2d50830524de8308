//! How an edge is configured: typed values with their defaults. Flags and files are the business of the shell.

use std::{
    net::IpAddr,
    sync::{Arc, LazyLock},
    time::Duration,
};

use release::keys::Site;
use rustix::process::{Resource, getrlimit};

use crate::{
    access_log::{LogFormat, LogTarget},
    network::Network,
    policy::{rules::Rules, storing},
    predecessor::Predecessor,
    sockets::RECORD_BYTES,
    upstream::{Deadlines, UpstreamOptions},
};

/// Where an edge gets its content from.
#[derive(Debug, Clone)]
pub enum Mode {
    /// Any HTTP upstreams, which know nothing of us; URLs of scheme and host. Purges are this edge's own.
    Upstream {
        /// All serve the same.
        urls: Vec<String>,
    },
    /// Bakehouse origins, whose journal is followed.
    Sites(SitesConfig),
}

/// How an edge follows its origins.
#[derive(Debug, Clone)]
pub struct SitesConfig {
    /// URLs of scheme and host; may be empty where there is a bucket.
    pub origins: Vec<String>,
    /// The edges' token.
    pub token: String,
    /// The sites to follow where no origin can name them.
    pub sites: Vec<Site>,
    /// For how long what was last verified may be served as up to date.
    pub lease: Duration,
    /// What happens when that has passed.
    pub on_lapse: OnLapse,
}

/// What an edge does that has not heard of the journal for a whole lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnLapse {
    /// Serves, and says so in `Cache-Status`.
    #[default]
    Serve,
    /// Validates each copy before use.
    Validate,
    /// Answers 503.
    Refuse,
}

/// Bounds of what clients may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of a request's head; beyond: 431.
    pub header_bytes_max: usize,
    /// From the first byte of a request, or a new connection, to the end of its head.
    pub header_read: Duration,
    /// From a response to the first byte of the next request.
    pub idle: Duration,
    /// Between two parts of a request's content.
    pub content_idle: Duration,
    /// How long both sides of a tunnel may be silent.
    pub tunnel_idle: Duration,
    /// How long a client may go on sending on a connection that is closed to it.
    pub linger: Duration,
    /// Open connections; beyond, new ones wait to be accepted.
    pub connections_max: usize,
    /// Open connections of one client (an IPv4 address, or the first 64 bits of an IPv6 address); beyond, new ones
    /// are closed.
    pub connections_per_client_max: usize,
    /// Requests on one connection; the last is answered with `Connection: close`.
    pub requests_per_connection_max: usize,
    /// How long a client may take no data, or next to none.
    pub write_stall: Duration,
    /// How long requests in flight may take once the edge is told to stop.
    pub drain: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            header_bytes_max: 64 << 10,
            header_read: Duration::from_secs(15),
            idle: Duration::from_secs(60),
            content_idle: Duration::from_secs(30),
            tunnel_idle: Duration::from_secs(300),
            linger: Duration::from_secs(2),
            connections_max: 20_000,
            // Whole offices share an address.
            connections_per_client_max: 10_000,
            requests_per_connection_max: 1_000_000,
            write_stall: Duration::from_secs(60),
            drain: Duration::from_secs(4),
        }
    }
}

/// What the process takes before it serves anything, in bytes.
const PROCESS_BYTES: usize = 48 << 20;
/// The part of the memory that is left to connections, their buffers, and the gaps that an allocator leaves.
const BESIDES_PART: usize = 8;

/// What an open connection takes of the memory, in bytes: its task, its deadlines, its buffers between two requests.
pub(crate) const CONNECTION_BYTES: usize = 7 << 10;
/// The part of the open files, in eighths, that connections of clients may be: a quarter is for bodies, the rest for upstreams.
const CONNECTIONS_EIGHTHS: usize = 5;
/// The part of all connections that one client leaves to others.
const OTHERS_PART: usize = 20;

/// What of an edge may change while it runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Bytes that the edge may take: stored responses, responses in flight, connections and the process itself.
    pub memory_bytes_max: usize,
    /// What clients may do.
    pub limits: Limits,
    /// Where the RFCs leave a choice.
    pub rules: Rules,
    /// Peers whose `Forwarded` and `X-Forwarded-*` are believed.
    pub trusted: Vec<Network>,
    /// Peers, load balancers, whose connections begin with a PROXY protocol header that says who the client is; without
    /// one, such a connection is closed. Nobody else's header is believed.
    pub proxy_protocol_from: Vec<Network>,
}

impl Settings {
    fn new(rules: Rules) -> Self {
        Self {
            memory_bytes_max: 256 << 20,
            limits: Limits::default(),
            rules,
            trusted: Vec::new(),
            proxy_protocol_from: Vec::new(),
        }
    }

    /// Bytes that stored responses and responses in flight may take.
    pub(crate) fn store_bytes_max(&self) -> usize {
        let rest = PROCESS_BYTES + self.memory_bytes_max / BESIDES_PART;
        self.memory_bytes_max.saturating_sub(rest).max(self.memory_bytes_max / 2)
    }

    /// Connections that may be open: however many are allowed, they leave memory for what they are for, and open files for
    /// connections to upstreams and of operators.
    pub(crate) fn connections_max(&self) -> usize {
        static FILES: LazyLock<usize> = LazyLock::new(|| {
            let files = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
            usize::try_from(files).unwrap_or(usize::MAX)
        });
        let of_memory = self.store_bytes_max() / 4 * 3 / (CONNECTION_BYTES + RECORD_BYTES);
        let most = of_memory.min(*FILES / 8 * CONNECTIONS_EIGHTHS).max(1);
        self.limits.connections_max.min(most)
    }

    /// Connections that may be open of one client: where there is no room for all that are allowed, some are left to others.
    pub(crate) fn connections_per_client_max(&self) -> usize {
        let (most, one) = (self.connections_max(), self.limits.connections_per_client_max);
        if most < self.limits.connections_max { one.min(most - most / OTHERS_PART) } else { one }
    }

    /// Whether what a peer says about its clients is believed.
    pub(crate) fn trusts(&self, peer: IpAddr) -> bool {
        self.trusted.iter().any(|network| network.contains(peer))
    }

    /// Whether a peer's connections begin with a PROXY protocol header.
    pub(crate) fn speaks_proxy(&self, peer: IpAddr) -> bool {
        self.proxy_protocol_from.iter().any(|network| network.contains(peer))
    }
}

/// How an edge works.
#[derive(Debug, Clone)]
pub struct EdgeConfig {
    /// Where content comes from.
    pub mode: Mode,
    /// Threads that serve clients; at least one.
    pub threads: usize,
    /// What this edge calls itself, in `Via`, `CDN-Loop` and towards origins; unique among edges, a token (RFC 9110 §5.6.2),
    /// and perhaps a port.
    pub name: String,
    /// How long upstreams may take.
    pub deadlines: Deadlines,
    /// How upstreams are used that know nothing of us.
    pub upstream: UpstreamOptions,
    /// Where a line for each response goes, and how it looks; nowhere unless given.
    pub access_log: Option<(LogTarget, LogFormat)>,
    /// The process that it takes over from.
    pub predecessor: Option<Arc<dyn Predecessor>>,
    /// What may change later.
    pub settings: Settings,
}

impl EdgeConfig {
    /// The defaults around a mode.
    pub fn new(mode: Mode, name: impl Into<String>) -> Self {
        let rules = match mode {
            Mode::Upstream { .. } => Rules::default(),
            Mode::Sites(_) => Rules { targets: storing::targets_of_a_site(), ..Rules::default() },
        };
        Self {
            mode,
            threads: 1,
            name: name.into(),
            deadlines: Deadlines::default(),
            upstream: UpstreamOptions::default(),
            access_log: None,
            predecessor: None,
            settings: Settings::new(rules),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::rules::Rules;

    #[test]
    fn connections_leave_room() {
        let mut settings = Settings { memory_bytes_max: 1 << 20, ..Settings::new(Rules::default()) };
        assert_eq!((settings.connections_max(), settings.connections_per_client_max()), (34, 33));
        settings.limits.connections_max = 9;
        assert_eq!((settings.connections_max(), settings.connections_per_client_max()), (9, 10_000));
    }
}
