//! What can go wrong at the edge, whose fault it is, and which status follows from that.

use http::StatusCode;

/// Errors of this crate.
#[derive(Debug, thiserror::Error)]
pub enum EdgeError {
    /// An upstream URL that cannot be used.
    #[error("the upstream `{url}` cannot be used: {reason}")]
    BadUpstream {
        /// As it was given.
        url: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// An upstream that is named more than once: as another one it would be no help where it fails.
    #[error("the upstream `{url}` is named twice")]
    SameUpstream {
        /// Its URL, normalised.
        url: String,
    },
    /// A name that `Via` and `CDN-Loop` cannot carry, so that the edge would not know itself again.
    #[error("`{name}` cannot be the name of an edge")]
    BadName {
        /// As it was given.
        name: String,
    },
    /// Upstreams are missing.
    #[error("an edge needs at least one upstream, origin or bucket")]
    NoUpstream,
    /// The operating system's certificates cannot be loaded, so no https upstream could be verified.
    #[error("the system's root certificates cannot be loaded: {0}")]
    Certificates(std::io::Error),
    /// A file of certificates that cannot be used.
    #[error("the certificates in `{path}` cannot be used: {reason}")]
    CaFile {
        /// The file.
        path: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A `Host` for upstreams that is none.
    #[error("`{host}` cannot be a `Host`")]
    BadHost {
        /// As it was given.
        host: String,
    },
    /// A path for health checks that is none.
    #[error("`{path}` cannot be asked for by health checks")]
    BadHealthPath {
        /// As it was given.
        path: String,
    },
    /// An upstream that failed so often in a row that it is left alone.
    #[error("{upstream} keeps failing, and is left alone until it answers again")]
    CircuitOpen {
        /// Which.
        upstream: String,
    },
    /// An access log that cannot be written to.
    #[error("the access log `{target}` cannot be opened: {reason}")]
    AccessLog {
        /// Where it was to be.
        target: String,
        /// What the system said.
        reason: std::io::Error,
    },
    /// No connection to an upstream.
    #[error("no connection to {upstream}: {reason}")]
    Connect {
        /// Which.
        upstream: String,
        /// What the system said.
        reason: String,
    },
    /// An upstream's response did not begin in time.
    #[error("{upstream} sent no response within {ms} ms")]
    FirstByte {
        /// Which.
        upstream: String,
        /// The deadline.
        ms: u64,
    },
    /// An upstream's response broke off.
    #[error("the upstream's response broke off")]
    UpstreamBroke,
    /// The client took nothing of a response that others waited for.
    #[error("the client took nothing while others waited for the same")]
    LeftBehind,
    /// Of an upstream's response nothing came for too long.
    #[error("nothing more of the upstream's response came within {ms} ms")]
    Stalled {
        /// The deadline.
        ms: u64,
    },
    /// An upstream's response is not HTTP as it should be.
    #[error("{upstream} did not answer properly: {reason}")]
    BadResponse {
        /// Which.
        upstream: String,
        /// What the parser said.
        reason: String,
    },
    /// The client's request body broke off, so the upstream's answer is not known.
    #[error("the request's content broke off: {reason}")]
    RequestBroke {
        /// What the connection said.
        reason: String,
    },
    /// Every origin refused or failed.
    #[error("no origin could answer: {last}")]
    NoOrigin {
        /// What the last one said.
        last: String,
    },
    /// The bucket could not answer.
    #[error("the bucket could not answer: {0}")]
    Bucket(#[from] release::reader::ReadError),
    /// Content that is not what its digest says; it was neither sent nor stored.
    #[error("content of `{path}` from {upstream} does not match its digest")]
    Corrupted {
        /// The path.
        path: String,
        /// Who sent it.
        upstream: String,
    },
    /// As many requests to upstreams are under way as the memory has room for, and none of them ended in time.
    #[error(
        "as many requests to upstreams are under way as there is memory for, and none ended within {seconds} s"
    )]
    NoTurn {
        /// For how long it was waited.
        seconds: u64,
    },
    /// The site has no release yet.
    #[error("nothing is published on this site yet")]
    Unpublished,
}

impl EdgeError {
    /// The status with which the edge answers for it (RFC 9110 §15.6).
    pub fn status(&self) -> StatusCode {
        match self {
            Self::FirstByte { .. } | Self::Stalled { .. } | Self::Connect { .. } => {
                StatusCode::GATEWAY_TIMEOUT
            }
            Self::Unpublished | Self::NoOrigin { .. } | Self::CircuitOpen { .. } | Self::NoTurn { .. } => {
                StatusCode::SERVICE_UNAVAILABLE
            }
            Self::RequestBroke { .. } => StatusCode::BAD_REQUEST,
            _ => StatusCode::BAD_GATEWAY,
        }
    }

    /// A 304 that nobody can use: no condition led to it (RFC 9110 §15.4.5).
    pub(crate) fn unsolicited_304(host: &str) -> Self {
        let reason = "304 to a request without conditions".into();
        Self::BadResponse { upstream: host.to_owned(), reason }
    }

    /// Whether it came at once, so that another attempt costs those who wait little.
    pub fn is_prompt(&self) -> bool {
        matches!(self, Self::Connect { .. } | Self::BadResponse { .. } | Self::UpstreamBroke)
    }

    /// What to do next.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::BadUpstream { .. } => Some(
                "give scheme and host only, such as http://127.0.0.1:3000, or unix:/path/to/socket".into(),
            ),
            Self::SameUpstream { .. } => Some("name each upstream once".into()),
            Self::BadHost { .. } => {
                Some("give a host name and perhaps a port, such as app.internal:3000".into())
            }
            Self::BadHealthPath { .. } => Some("give a path, and perhaps a query, such as /healthz".into()),
            Self::BadName { .. } => Some(
                "use letters, digits, - . and _, and perhaps a port, such as edge-1 or edge.example:8080"
                    .into(),
            ),
            Self::NoUpstream => {
                Some("name one with --upstream URL, or as `upstream` of [edge] in bakehouse.toml".into())
            }
            Self::CaFile { .. } => Some("give a file of certificates in PEM with --upstream-ca".into()),
            Self::Certificates(_) => {
                Some("install the system's CA certificates (package ca-certificates)".into())
            }
            Self::AccessLog { .. } => {
                Some("see that its folder is there, that the edge may write to it, and, of a pipe, that it is read".into())
            }
            Self::NoTurn { .. } => Some("give the edge more with --memory".into()),
            Self::Unpublished => Some("publish a release with `bake publish`".into()),
            _ => None,
        }
    }
}
