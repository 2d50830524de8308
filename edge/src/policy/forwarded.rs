//! What proxies in front say about a request (`Forwarded`, RFC 7239, and the older `X-Forwarded-*`): believed from those
//! that an operator trusts, replaced for everybody else.

use std::{fmt::Write as _, net::IpAddr};

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue, header};

use super::{
    directives::{is_token_byte, list_members},
    same_origin::Scheme,
};

const FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
/// What all lines mostly fit into.
const LINES_BYTES: usize = 256;

/// What the proxy nearest to us says of the request that it took: the last member of each field is its own.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Believed {
    /// How the client reached it.
    pub scheme: Option<Scheme>,
    /// The host that the client asked for.
    pub host: Option<String>,
}

impl Believed {
    /// Reads `Forwarded`, or else `X-Forwarded-Proto` and `X-Forwarded-Host`.
    pub fn of(headers: &HeaderMap) -> Self {
        if headers.contains_key(header::FORWARDED) {
            let Some(member) = list_members(headers, &header::FORWARDED).last() else {
                return Self::default();
            };
            return Self {
                scheme: parameter(member, b"proto").and_then(|name| Scheme::named(&name)),
                host: parameter(member, b"host").and_then(host),
            };
        }
        Self {
            scheme: list_members(headers, &PROTO).last().and_then(Scheme::named),
            host: list_members(headers, &HOST).last().map(<[u8]>::to_vec).and_then(host),
        }
    }
}

/// The client: the last address that `Forwarded`, or else `X-Forwarded-For`, names and that is no trusted hop itself; where all are,
/// the first. What stands before an address that cannot be read is not looked at.
pub fn client(headers: &HeaderMap, is_trusted: impl Fn(IpAddr) -> bool) -> Option<IpAddr> {
    let has_standard = headers.contains_key(header::FORWARDED);
    let name = if has_standard { header::FORWARDED } else { FOR };
    let members: Vec<&[u8]> = list_members(headers, &name).collect();
    let node = |member: &&[u8]| match has_standard {
        true => address(&parameter(member, b"for")?),
        false => address(member),
    };
    nearest(members.iter().rev().map(node), is_trusted)
}

/// The same of one line of `X-Forwarded-For`, without an allocation. `None` also where it takes more than one look to tell.
pub fn client_of_line(line: &[u8], is_trusted: impl Fn(IpAddr) -> bool) -> Option<IpAddr> {
    if line.contains(&b'"') {
        return None;
    }
    let members =
        line.rsplit(|byte| *byte == b',').map(<[u8]>::trim_ascii).filter(|member| !member.is_empty());
    nearest(members.map(address), is_trusted)
}

/// Of hops from the last to the first, the first that is not trusted, or the last that can be read.
fn nearest(
    hops: impl Iterator<Item = Option<IpAddr>>,
    is_trusted: impl Fn(IpAddr) -> bool,
) -> Option<IpAddr> {
    let mut client = None;
    for hop in hops.map_while(|hop| hop) {
        client = Some(hop);
        if !is_trusted(hop) {
            break;
        }
    }
    client
}

/// The address of a node (RFC 7239 §6), with or without port.
fn address(node: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(node).ok()?;
    let whole = text.parse().ok();
    let bare = text.strip_prefix('[').and_then(|rest| rest.split_once(']')).map(|(address, _)| address);
    let address: IpAddr = match (whole, bare) {
        (Some(address), _) => address,
        (None, Some(bare)) => bare.parse().ok()?,
        (None, None) => text.split_once(':')?.0.parse().ok()?,
    };
    Some(address.to_canonical())
}

/// The parameters of one member.
fn parameters(member: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut quoted = false;
    let parameters = member.split(move |byte| {
        quoted ^= *byte == b'"';
        *byte == b';' && !quoted
    });
    parameters.map(<[u8]>::trim_ascii)
}

/// A parameter's name, and its value without quotes.
fn named(parameter: &[u8]) -> Option<(&[u8], &[u8])> {
    let at = parameter.iter().position(|byte| *byte == b'=')?;
    let value = &parameter[at + 1..];
    let bare = value.strip_prefix(b"\"").and_then(|value| value.strip_suffix(b"\""));
    Some((&parameter[..at], bare.unwrap_or(value)))
}

/// The value of a parameter of one member.
fn parameter(member: &[u8], name: &[u8]) -> Option<Vec<u8>> {
    let mut named = parameters(member).filter_map(named);
    named.find_map(|(said, value)| said.eq_ignore_ascii_case(name).then(|| value.to_vec()))
}

/// Whether a parameter says nothing but where a request passed, in whatever way it is read: some look for `host=` anywhere in the
/// line, in quotes too.
fn is_of_hop(name: &[u8], value: &[u8]) -> bool {
    let name = name.to_ascii_lowercase();
    let is_request = name.ends_with(b"host") || name.ends_with(b"proto");
    let is_plain = |byte: &u8| byte.is_ascii_graphic() && !b"\"\\;,=".contains(byte);
    !is_request && name.iter().all(|byte| is_token_byte(*byte)) && value.iter().all(is_plain)
}

/// A host with or without port, as `Host` has it.
fn host(text: Vec<u8>) -> Option<String> {
    let text = String::from_utf8(text).ok()?.to_ascii_lowercase();
    let authority: http::uri::Authority = text.parse().ok()?;
    (!text.contains('@') && !authority.host().is_empty()).then_some(text)
}

/// Says who asked, how, and for which host: this hop is added to what those in front say, of which only the words of the
/// trusted are left by now ([`super::claims::strip_claims`]). Scheme and host are those that are keyed, so that nothing
/// unkeyed is told.
pub fn tell(headers: &mut HeaderMap, peer: Option<IpAddr>, scheme: Scheme, host: &str) {
    let mut lines = Lines { headers, block: BytesMut::with_capacity(LINES_BYTES) };
    let address = peer.map(|peer| peer.to_canonical());
    let mut client = Bytes::from_static(b"unknown");
    if let Some(address) = address {
        lines.begin(&FOR);
        let at = lines.block.len();
        // Writing to memory cannot fail.
        let _ = write!(lines.block, "{address}");
        client = lines.end(FOR).slice(at..);
    }
    let (open, close) = if matches!(address, Some(IpAddr::V6(_))) { ("\"[", "]\"") } else { ("", "") };
    let quote = if host.bytes().all(is_token_byte) { "" } else { "\"" };
    let keyed_host: [&[u8]; 4] = [b"host=", quote.as_bytes(), host.as_bytes(), quote.as_bytes()];
    let keyed_proto: [&[u8]; 2] = [b"proto=", scheme.as_str().as_bytes()];
    lines.begin_forwarded(&keyed_host, &keyed_proto);
    lines.add(&[b"for=", open.as_bytes(), &client, close.as_bytes(), b";"]);
    lines.add(&keyed_host);
    lines.add(&[b";"]);
    lines.add(&keyed_proto);
    lines.end(header::FORWARDED);
    lines.add(&[host.as_bytes()]);
    lines.end(HOST);
    lines.headers.insert(PROTO, HeaderValue::from_static(scheme.as_str()));
}

/// Lines of fields as they are written: all in one block, so that neither they nor their copies are allocated one by one.
struct Lines<'a> {
    headers: &'a mut HeaderMap,
    block: BytesMut,
}

impl Lines<'_> {
    /// Begins the one line of a list with what stands in it.
    fn begin(&mut self, name: &HeaderName) {
        for held in self.headers.get_all(name) {
            self.block.extend_from_slice(held.as_bytes());
            self.block.extend_from_slice(b", ");
        }
    }

    /// Begins the line of `Forwarded` with the hops before. What those say of host and scheme may be what a client said: they say
    /// what is keyed in its place, since some believe the first and some the last.
    fn begin_forwarded(&mut self, host: &[&[u8]], proto: &[&[u8]]) {
        for member in list_members(self.headers, &header::FORWARDED) {
            let begin = self.block.len();
            for parameter in parameters(member) {
                let parts = match named(parameter) {
                    Some((name, _)) if name.eq_ignore_ascii_case(b"host") => host,
                    Some((name, _)) if name.eq_ignore_ascii_case(b"proto") => proto,
                    Some((name, value)) if is_of_hop(name, value) => &[parameter],
                    _ => continue,
                };
                if self.block.len() > begin {
                    self.block.extend_from_slice(b";");
                }
                parts.iter().for_each(|part| self.block.extend_from_slice(part));
            }
            if self.block.len() == begin {
                self.block.extend_from_slice(b"for=unknown");
            }
            self.block.extend_from_slice(b", ");
        }
    }

    fn add(&mut self, parts: &[&[u8]]) {
        parts.iter().for_each(|part| self.block.extend_from_slice(part));
    }

    /// Puts a line in the place of what there is; one that is not valid says nothing.
    fn end(&mut self, name: HeaderName) -> Bytes {
        let line = self.block.split().freeze();
        match HeaderValue::from_maybe_shared(line.clone()) {
            Ok(value) => self.headers.insert(name, value),
            Err(_) => self.headers.remove(name),
        };
        line
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::claims::strip_claims;
    use crate::policy::map;

    #[test]
    fn what_is_believed() {
        let of = |fields: &[(&'static str, &str)]| {
            let believed = Believed::of(&map(fields));
            (believed.scheme, believed.host)
        };
        let https = Some(Scheme::Https);
        type Row<'a> = (&'a [(&'static str, &'a str)], (Option<Scheme>, Option<&'a str>));
        let rows: [Row<'_>; 9] = [
            (&[], (None, None)),
            (
                &[("x-forwarded-proto", "https"), ("x-forwarded-host", "A.test:8443")],
                (https, Some("a.test:8443")),
            ),
            (&[("x-forwarded-proto", "http, HTTPS")], (https, None)),
            (&[("x-forwarded-proto", "gopher"), ("x-forwarded-host", "u@h")], (None, None)),
            (&[("x-forwarded-host", "h/evil")], (None, None)),
            (&[("forwarded", "for=1.2.3.4;Proto=https;host=\"a.test:1\"")], (https, Some("a.test:1"))),
            (&[("forwarded", "proto=http;host=x"), ("forwarded", "host=y;proto=https")], (https, Some("y"))),
            (&[("forwarded", "for=\"a;proto=https\"")], (None, None)),
            // The standard field outranks the others.
            (&[("forwarded", "for=x"), ("x-forwarded-proto", "https")], (None, None)),
        ];
        for (fields, (scheme, host)) in rows {
            assert_eq!(of(fields), (scheme, host.map(str::to_owned)), "{fields:?}");
        }
    }

    #[test]
    fn who_asks_is_whom_the_trusted_name() {
        type Row<'a> = (&'a [(&'a str, &'a str)], Option<&'a str>);
        let rows: [Row<'_>; 11] = [
            (&[], None),
            (&[("x-forwarded-for", "192.0.2.1")], Some("192.0.2.1")),
            (&[("x-forwarded-for", "6.6.6.6, 192.0.2.1, 10.0.0.1")], Some("192.0.2.1")),
            (
                &[("x-forwarded-for", "6.6.6.6"), ("x-forwarded-for", "192.0.2.1:80, 10.0.0.1")],
                Some("192.0.2.1"),
            ),
            (&[("x-forwarded-for", "10.0.0.2, 10.0.0.1")], Some("10.0.0.2")),
            (&[("x-forwarded-for", "6.6.6.6, unknown, 10.0.0.1")], Some("10.0.0.1")),
            (&[("x-forwarded-for", "unknown")], None),
            (&[("x-forwarded-for", "[2001:db8::1]:47, ::ffff:10.0.0.1")], Some("2001:db8::1")),
            (&[("forwarded", "for=6.6.6.6, for=\"[2001:db8::1]:47\";proto=https")], Some("2001:db8::1")),
            (
                &[("forwarded", "for=6.6.6.6, for=192.0.2.1"), ("x-forwarded-for", "7.7.7.7")],
                Some("192.0.2.1"),
            ),
            (&[("forwarded", "for=_hidden"), ("x-forwarded-for", "7.7.7.7")], None),
        ];
        for (fields, expected) in rows {
            let is_trusted = |hop: IpAddr| hop.to_string().starts_with("10.");
            let expected = expected.map(|address| address.parse().unwrap());
            assert_eq!(client(&map(fields), is_trusted), expected, "{fields:?}");
        }
    }

    #[test]
    fn of_hops_before_is_told_where_they_were_and_no_more() {
        let rows = [
            ("for=6.6.6.6;host=evil;proto=https", "for=6.6.6.6;host=h.test;proto=http"),
            (
                "host=evil, for=\"[2001:db8::1]:47\";Host=evil;by=_x",
                "host=h.test, for=\"[2001:db8::1]:47\";host=h.test;by=_x",
            ),
            ("for=\"a;host=evil\", for=b", "for=unknown, for=b"),
            ("for=\"a;host=evil, for=b", "for=unknown, for=b"),
            ("for=a host=evil;by=b", "by=b"),
            ("xhost=evil;for=c;host", "for=c"),
            ("for=1.2.3.4:5; PROTO=\"https", "for=1.2.3.4:5;proto=http"),
        ];
        for (said, told) in rows {
            let mut headers = map(&[("forwarded", said)]);
            tell(&mut headers, None, Scheme::Http, "h.test");
            assert_eq!(
                headers[header::FORWARDED],
                format!("{told}, for=unknown;host=h.test;proto=http"),
                "{said}"
            );
        }
    }

    #[test]
    fn what_is_told() {
        let claims = [
            ("forwarded", "for=6.6.6.6"),
            ("x-forwarded-for", "6.6.6.6"),
            ("x-real-ip", "6.6.6.6"),
            ("x-forwarded-host", "evil"),
            ("x-forwarded-proto", "https"),
        ];
        let mut headers = map(&claims);
        let peer = Some("192.0.2.1".parse().unwrap());
        strip_claims(&mut headers, false);
        tell(&mut headers, peer, Scheme::Http, "h.test");
        assert_eq!(
            headers,
            map(&[
                ("x-forwarded-host", "h.test"),
                ("x-forwarded-proto", "http"),
                ("forwarded", "for=192.0.2.1;host=h.test;proto=http"),
                ("x-forwarded-for", "192.0.2.1"),
            ])
        );
        let mut headers = map(&claims);
        let peer = Some("2001:db8::1".parse().unwrap());
        strip_claims(&mut headers, true);
        tell(&mut headers, peer, Scheme::Https, "h.test:1");
        assert_eq!(
            headers,
            map(&[
                ("forwarded", "for=6.6.6.6, for=\"[2001:db8::1]\";host=\"h.test:1\";proto=https"),
                ("x-forwarded-for", "6.6.6.6, 2001:db8::1"),
                ("x-real-ip", "6.6.6.6"),
                ("x-forwarded-host", "h.test:1"),
                ("x-forwarded-proto", "https"),
            ])
        );
    }
}
