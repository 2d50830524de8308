//! Where an upstream is: the URL as it was given, and what is dialled for it.

use std::path::PathBuf;

use http::{Uri, uri};
use rustls::pki_types::ServerName;

use crate::error::EdgeError;

/// How an upstream is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Place {
    /// By name or address, over TCP.
    Tcp { host: String, port: u16 },
    /// Through a Unix socket.
    Unix(PathBuf),
}

/// An upstream's address.
#[derive(Debug, Clone)]
pub(super) struct Address {
    pub(super) place: Place,
    /// The name that its certificate must have, where it speaks TLS.
    pub(super) tls: Option<ServerName<'static>>,
    /// What `Host` is where a request has none of its own.
    pub(super) authority: String,
    /// The URL, normalised; names the upstream in metrics and messages.
    pub(super) label: String,
}

impl Address {
    /// `http://host[:port]`, `https://host[:port]` or `unix:/path/to/socket`.
    pub(super) fn parse(url: &str) -> Result<Self, EdgeError> {
        let bad = |reason| EdgeError::BadUpstream { url: url.to_owned(), reason };
        if let Some(path) = url.strip_prefix("unix:") {
            let path = path.strip_prefix("//").unwrap_or(path);
            if !path.starts_with('/') || path.contains('\0') {
                return Err(bad("a Unix socket is named by an absolute path"));
            }
            return Ok(Self {
                place: Place::Unix(PathBuf::from(path)),
                tls: None,
                authority: "localhost".into(),
                label: format!("unix:{path}"),
            });
        }
        let uri: Uri = url.parse().map_err(|_| bad("it is not a URL"))?;
        let scheme = uri.scheme().ok_or_else(|| bad("it has no scheme"))?;
        let is_tls = *scheme == uri::Scheme::HTTPS;
        if !is_tls && *scheme != uri::Scheme::HTTP {
            return Err(bad("its scheme is neither http, https nor unix"));
        }
        let authority = uri.authority().ok_or_else(|| bad("it has no host"))?;
        if authority.as_str().contains('@') {
            return Err(bad("it holds credentials"));
        }
        if uri.path() != "/" || uri.query().is_some() {
            return Err(bad("it has a path or query"));
        }
        if authority.as_str().len() > authority.host().len() && authority.port_u16().is_none() {
            return Err(bad("its port is not a number up to 65535"));
        }
        let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_ascii_lowercase();
        if host.is_empty() {
            return Err(bad("it has no host"));
        }
        let tls = if is_tls {
            Some(
                ServerName::try_from(host.clone())
                    .map_err(|_| bad("no certificate can have its host name"))?,
            )
        } else {
            None
        };
        let port = authority.port_u16().unwrap_or(if is_tls { 443 } else { 80 });
        Ok(Self {
            place: Place::Tcp { host, port },
            tls,
            authority: authority.as_str().to_ascii_lowercase(),
            label: format!("{scheme}://{authority}").to_ascii_lowercase(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn label(url: &str) -> Option<String> {
        Address::parse(url).ok().map(|address| address.label)
    }

    #[test]
    fn urls() {
        let address = Address::parse("HTTPS://Example.com").unwrap();
        assert_eq!(address.place, Place::Tcp { host: "example.com".into(), port: 443 });
        assert_eq!((address.label.as_str(), address.tls.is_some()), ("https://example.com", true));
        let address = Address::parse("http://[::1]:3000/").unwrap();
        assert_eq!(address.place, Place::Tcp { host: "::1".into(), port: 3000 });
        assert_eq!(label("http://a:81").as_deref(), Some("http://a:81"));
        assert_eq!(label("unix:/run/app.sock").as_deref(), Some("unix:/run/app.sock"));
        assert_eq!(label("unix:///run/app.sock").as_deref(), Some("unix:/run/app.sock"));
        for url in [
            "a",
            "a:80",
            "ftp://a",
            "http://",
            "http://u@a",
            "http://a/b",
            "http://a?b",
            "http://a:99999",
            "unix:",
            "unix:run/app.sock",
        ] {
            assert_eq!(label(url), None, "{url}");
        }
    }
}
