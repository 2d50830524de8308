//! Who and what a request asks for: the forms of its target and its `Host` (RFC 9112 §3.2).

use std::net::SocketAddr;

use http::{StatusCode, Version, uri};

use super::{Refusal, head::Head};
use crate::policy::same_origin::Scheme;

/// What a request asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Target {
    /// A path, with its query, byte for byte.
    Path(String),
    /// `*`: the server as such, of OPTIONS alone.
    Server,
}

const NO_PATH: Refusal = Refusal::bad("RFC 9112 §3.2", "The request's target is not a path.");

/// The scheme, the target and the host, in lower case, that a head asks for. `local` stands in for the host of HTTP/1.0.
pub(crate) fn of(head: &Head<'_, '_>, local: SocketAddr) -> Result<(Scheme, Target, String), Refusal> {
    let text = head.target;
    if text.len() > release::url::TARGET_BYTES_MAX {
        return Err(Refusal {
            status: StatusCode::URI_TOO_LONG,
            text: "The request's target is too long.",
            clause: "RFC 9110 §15.5.15",
        });
    }
    let mut hosts = head.values("host");
    let (field, second) = (hosts.next(), hosts.next());
    if second.is_some() {
        return Err(Refusal::bad("RFC 9112 §3.2", "The request names more than one host."));
    }
    if field.is_none() && head.version >= Version::HTTP_11 {
        return Err(Refusal::bad("RFC 9112 §3.2", "The request names no host."));
    }
    let field = match field {
        Some(value) => Some(valid_host(value)?),
        None => None,
    };
    let is_options = head.method == "OPTIONS";
    let (scheme, target, authority) = if text.starts_with('/') {
        (Scheme::Http, path(text)?, None)
    } else if text == "*" && is_options {
        (Scheme::Http, Target::Server, None)
    } else {
        let (scheme, rest) = text.split_once("://").ok_or(NO_PATH)?;
        let scheme = match scheme {
            _ if scheme.eq_ignore_ascii_case("http") => Scheme::Http,
            _ if scheme.eq_ignore_ascii_case("https") => Scheme::Https,
            _ => return Err(NO_PATH),
        };
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (authority, rest) = rest.split_at(end);
        let target = match rest.as_bytes().first() {
            // An absolute target without a path stands for `*` in OPTIONS (RFC 9112 §3.2.4).
            None if is_options => Target::Server,
            Some(b'/') => path(rest)?,
            _ => path(&format!("/{rest}"))?,
        };
        (scheme, target, Some(valid_host(authority.as_bytes())?))
    };
    // The target's authority counts over the field (RFC 9112 §3.2.2).
    let host = authority.or(field).unwrap_or_else(|| local.to_string());
    Ok((scheme, target, host))
}

/// An origin-form that can be sent on as it is: no fragment, nothing that a URI cannot hold.
fn path(text: &str) -> Result<Target, Refusal> {
    // What most are.
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/-._~%?=&+".contains(&byte);
    if text.starts_with('/') && text.bytes().all(is_plain) {
        return Ok(Target::Path(text.to_owned()));
    }
    if text.contains('#') {
        return Err(NO_PATH);
    }
    match text.parse::<uri::PathAndQuery>() {
        Ok(parsed) if parsed.as_str() == text => Ok(Target::Path(text.to_owned())),
        _ => Err(NO_PATH),
    }
}

fn valid_host(value: &[u8]) -> Result<String, Refusal> {
    let bad = Refusal::bad("RFC 9110 §7.2", "The request's host is not valid.");
    let text = std::str::from_utf8(value).map_err(|_| bad)?;
    // What most are: a name or an address of IPv4, perhaps with a port.
    let (name, port) = text.split_once(':').unwrap_or((text, "0"));
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-.".contains(&byte);
    let is_number = !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
    if !name.is_empty() && name.bytes().all(is_plain) && is_number && port.parse::<u16>().is_ok() {
        return Ok(text.to_ascii_lowercase());
    }
    let authority: uri::Authority = text.parse().map_err(|_| bad)?;
    let port = authority.as_str().rsplit_once(':').map(|(_, port)| port);
    let port_is_valid =
        port.is_none_or(|port| port.ends_with(']') || port.is_empty() || port.parse::<u16>().is_ok());
    if authority.as_str().contains('@') || authority.host().is_empty() || !port_is_valid {
        return Err(bad);
    }
    Ok(text.to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http1::head;
    use proptest::prelude::*;

    fn asked(line: &str, fields: &str) -> Result<(Scheme, Target, String), u16> {
        let text = format!("{line}\r\n{fields}\r\n");
        let mut room = head::room();
        let head = head::parse(text.as_bytes(), &mut room).unwrap().expect("whole");
        of(&head, ([127, 0, 0, 1], 80).into()).map_err(|refusal| refusal.status.as_u16())
    }

    proptest! {
        #[test]
        fn what_is_plain_is_what_a_parser_takes(
            host in "[A-Za-z0-9.-]{1,30}(:[0-9]{1,4})?",
            target in "/[A-Za-z0-9/._~%?=&+-]{0,60}",
        ) {
            prop_assert!(host.parse::<uri::Authority>().is_ok_and(|it| it.as_str() == host && !it.host().is_empty()));
            prop_assert!(target.parse::<uri::PathAndQuery>().is_ok_and(|it| it.as_str() == target));
            let asked = asked(&format!("GET {target} HTTP/1.1"), &format!("host: {host}\r\n"));
            prop_assert_eq!(asked, Ok((Scheme::Http, Target::Path(target), host.to_ascii_lowercase())));
        }
    }

    #[test]
    fn a_row_for_each_form() {
        let path = |path: &str, host: &str| Ok((Scheme::Http, Target::Path(path.into()), host.to_owned()));
        let server = |host: &str| Ok((Scheme::Http, Target::Server, host.to_owned()));
        let secure = Ok((Scheme::Https, Target::Path("/?c".into()), "a".to_owned()));
        let h = "Host: H:81\r\n";
        let rows = [
            ("GET /a?b=%20 HTTP/1.1", h, path("/a?b=%20", "h:81")),
            ("GET //x HTTP/1.1", h, path("//x", "h:81")),
            ("GET http://A/b?c HTTP/1.1", h, path("/b?c", "a")),
            ("GET HTTPS://A?c HTTP/1.1", h, secure),
            ("GET HTTP://A?c HTTP/1.1", h, path("/?c", "a")),
            ("GET http://a HTTP/1.1", h, path("/", "a")),
            ("OPTIONS * HTTP/1.1", h, server("h:81")),
            ("OPTIONS http://a HTTP/1.1", h, server("a")),
            ("GET / HTTP/1.0", "", path("/", "127.0.0.1:80")),
            ("GET / HTTP/1.1", "host: [::1]:80\r\n", path("/", "[::1]:80")),
            ("GET * HTTP/1.1", h, Err(400)),
            ("GET /a#b HTTP/1.1", h, Err(400)),
            ("GET a HTTP/1.1", h, Err(400)),
            ("GET h:80 HTTP/1.1", h, Err(400)),
            ("GET ftp://a/ HTTP/1.1", h, Err(400)),
            ("GET http:///a HTTP/1.1", h, Err(400)),
            ("GET http://u@a/ HTTP/1.1", h, Err(400)),
            ("GET / HTTP/1.1", "", Err(400)),
            ("GET http://a/ HTTP/1.1", "", Err(400)),
            ("GET / HTTP/1.1", "host:\r\n", Err(400)),
            ("GET / HTTP/1.1", "host: a\r\nhost: a\r\n", Err(400)),
            ("GET / HTTP/1.1", "host: a b\r\n", Err(400)),
            ("GET / HTTP/1.1", "host: u@a\r\n", Err(400)),
            ("GET / HTTP/1.1", "host: a/b\r\n", Err(400)),
            ("GET / HTTP/1.1", "host: a:b\r\n", Err(400)),
            ("GET / HTTP/1.1", "host: a, b\r\n", Err(400)),
        ];
        for (line, fields, expected) in rows {
            assert_eq!(asked(line, fields), expected, "{line} {fields:?}");
        }
    }
}
