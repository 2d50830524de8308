//! The PROXY protocol, versions 1 and 2, as load balancers put it before a connection's first request: who the client
//! really is. Pure: bytes in, a verdict out. Only peers that the operator names may speak it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Bytes of a header, the type-length-values of version 2 included; real ones are far smaller.
pub(crate) const PROXY_HEADER_BYTES_MAX: usize = 4 << 10;
/// Bytes of a header of version 1, its line end included (§2.1 of the protocol's text).
const V1_BYTES_MAX: usize = 107;
/// What version 2 begins with.
const V2_SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";
/// What version 1 begins with.
const V1_SIGNATURE: &[u8] = b"PROXY ";

/// What the first bytes of a connection are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Parsed {
    /// The beginning of a header: read on.
    Partial,
    /// No header, or one that is damaged: close the connection.
    Invalid(&'static str),
    /// A header.
    Header {
        /// Its length; the first request begins after it.
        bytes: usize,
        /// The client; none where the header does not say (a health check of the balancer itself, or a protocol without
        /// addresses): then it is who connected.
        source: Option<SocketAddr>,
    },
}

/// Reads a header from the first bytes of a connection.
pub(crate) fn parse(bytes: &[u8]) -> Parsed {
    if begins(bytes, &V2_SIGNATURE) {
        return if bytes.len() < V2_SIGNATURE.len() { Parsed::Partial } else { version_2(bytes) };
    }
    if begins(bytes, V1_SIGNATURE) {
        return version_1(bytes);
    }
    Parsed::Invalid("it does not begin with a PROXY header")
}

/// Whether what is there of it matches.
fn begins(bytes: &[u8], signature: &[u8]) -> bool {
    let length = bytes.len().min(signature.len());
    bytes[..length] == signature[..length]
}

fn version_1(bytes: &[u8]) -> Parsed {
    let window = &bytes[..bytes.len().min(V1_BYTES_MAX)];
    let Some(end) = window.windows(2).position(|pair| pair == b"\r\n") else {
        return if window.len() == V1_BYTES_MAX {
            Parsed::Invalid("a PROXY line is longer than 107 bytes")
        } else {
            Parsed::Partial
        };
    };
    let Ok(line) = std::str::from_utf8(&window[..end]) else {
        return Parsed::Invalid("a PROXY line is not ASCII");
    };
    let length = end + 2;
    // Single spaces, nothing before, between or after.
    let mut words = line.split(' ');
    let [_, family] = [words.next(), words.next()];
    let is_v6 = match family {
        Some("UNKNOWN") => return Parsed::Header { bytes: length, source: None },
        Some("TCP4") => false,
        Some("TCP6") => true,
        _ => return Parsed::Invalid("a PROXY line names an unknown protocol"),
    };
    let address = |text: Option<&str>| {
        let text = text?;
        if is_v6 {
            text.parse::<Ipv6Addr>().ok().map(IpAddr::V6)
        } else {
            text.parse::<Ipv4Addr>().ok().map(IpAddr::V4)
        }
    };
    let port = |text: Option<&str>| {
        let text = text.filter(|text| text.bytes().all(|b| b.is_ascii_digit()))?;
        (text.len() == 1 || !text.starts_with('0')).then(|| text.parse::<u16>().ok()).flatten()
    };
    let (source, target) = (address(words.next()), address(words.next()));
    let (source_port, target_port) = (port(words.next()), port(words.next()));
    match (source, target, source_port, target_port, words.next()) {
        (Some(ip), Some(_), Some(port), Some(_), None) => {
            Parsed::Header { bytes: length, source: Some(SocketAddr::new(ip, port)) }
        }
        _ => Parsed::Invalid("a PROXY line's addresses are not valid"),
    }
}

fn version_2(bytes: &[u8]) -> Parsed {
    let Some(head) = bytes.first_chunk::<16>() else { return Parsed::Partial };
    let (version, command) = (head[12] >> 4, head[12] & 0xF);
    let (family, transport) = (head[13] >> 4, head[13] & 0xF);
    if version != 2 {
        return Parsed::Invalid("a PROXY header has an unknown version");
    }
    if command > 1 {
        return Parsed::Invalid("a PROXY header has an unknown command");
    }
    let length = 16 + usize::from(u16::from_be_bytes([head[14], head[15]]));
    if length > PROXY_HEADER_BYTES_MAX {
        return Parsed::Invalid("a PROXY header is too long");
    }
    let addresses_bytes = match (family, transport) {
        // The balancer speaks for itself: whatever the family is, it is passed over.
        _ if command == 0 => 0,
        (0, _) => 0,
        (1, 1 | 2) => 12,
        (2, 1 | 2) => 36,
        (3, 1 | 2) => 216,
        _ => return Parsed::Invalid("a PROXY header names an unknown protocol"),
    };
    if length < 16 + addresses_bytes {
        return Parsed::Invalid("a PROXY header is too short for its addresses");
    }
    let Some(addresses) = bytes.get(16..length) else { return Parsed::Partial };
    let source = match (command, family) {
        (1, 1) => addresses
            .first_chunk::<4>()
            .and_then(|ip| with_port(Ipv4Addr::from(*ip).into(), addresses.get(8..10)?)),
        (1, 2) => addresses
            .first_chunk::<16>()
            .and_then(|ip| with_port(Ipv6Addr::from(*ip).into(), addresses.get(32..34)?)),
        _ => None,
    };
    Parsed::Header { bytes: length, source }
}

fn with_port(ip: IpAddr, port: &[u8]) -> Option<SocketAddr> {
    port.first_chunk::<2>().map(|port| SocketAddr::new(ip, u16::from_be_bytes(*port)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn header(bytes: usize, source: &str) -> Parsed {
        Parsed::Header { bytes, source: Some(source.parse().unwrap()) }
    }

    fn v2(command: u8, family: u8, addresses: &[u8]) -> Vec<u8> {
        let mut bytes = V2_SIGNATURE.to_vec();
        bytes.extend([0x20 | command, family]);
        bytes.extend(u16::try_from(addresses.len()).unwrap().to_be_bytes());
        bytes.extend(addresses);
        bytes
    }

    #[test]
    fn version_1_lines() {
        let rows: [(&[u8], Parsed); 5] = [
            (b"PROXY TCP4 192.0.2.1 198.51.100.9 56324 443\r\nGET", header(45, "192.0.2.1:56324")),
            (b"PROXY TCP6 2001:db8::1 2001:db8::2 1 65535\r\n", header(44, "[2001:db8::1]:1")),
            (b"PROXY UNKNOWN\r\n", Parsed::Header { bytes: 15, source: None }),
            (b"PROXY UNKNOWN ffff::1 ffff::2 1 2\r\n", Parsed::Header { bytes: 35, source: None }),
            (b"PROXY TCP4 0.0.0.0 0.0.0.0 0 0\r\n", header(32, "0.0.0.0:0")),
        ];
        for (bytes, expected) in rows {
            assert_eq!(parse(bytes), expected, "{}", String::from_utf8_lossy(bytes));
        }
        for bytes in [
            &b"GET / HTTP/1.1\r\n"[..],
            b"PROXY TCP4 192.0.2.1 198.51.100.9 56324\r\n",
            b"PROXY TCP4 192.0.2.1 198.51.100.9 56324 443 \r\n",
            b"PROXY TCP4  192.0.2.1 198.51.100.9 56324 443\r\n",
            b"PROXY TCP4 192.0.2.256 198.51.100.9 56324 443\r\n",
            b"PROXY TCP4 2001:db8::1 2001:db8::2 1 2\r\n",
            b"PROXY TCP6 192.0.2.1 198.51.100.9 56324 443\r\n",
            b"PROXY TCP4 192.0.2.1 198.51.100.9 +1 443\r\n",
            b"PROXY TCP4 192.0.2.1 198.51.100.9 01 443\r\n",
            b"PROXY TCP4 192.0.2.1 198.51.100.9 70000 443\r\n",
            b"PROXY UDP4 192.0.2.1 198.51.100.9 1 2\r\n",
            b"proxy TCP4 192.0.2.1 198.51.100.9 1 2\r\n",
            b"PROXY TCP4 \xff\r\n",
        ] {
            assert!(matches!(parse(bytes), Parsed::Invalid(_)), "{}", String::from_utf8_lossy(bytes));
        }
        let endless = [V1_SIGNATURE, &[b'A'; 200]].concat();
        assert!(matches!(parse(&endless), Parsed::Invalid(_)));
        assert_eq!(parse(&endless[..100]), Parsed::Partial);
    }

    #[test]
    fn version_2_headers() {
        let mut v4 = vec![192, 0, 2, 1, 198, 51, 100, 9];
        v4.extend([0xDC, 0x04, 0x01, 0xBB]);
        assert_eq!(parse(&v2(1, 0x11, &v4)), header(28, "192.0.2.1:56324"));
        // A type-length-value after the addresses.
        let with_tlv = [&v4[..], &[0x04, 0, 1, 0]].concat();
        assert_eq!(parse(&v2(1, 0x11, &with_tlv)), header(32, "192.0.2.1:56324"));
        let mut v6 = [0u8; 36];
        (v6[15], v6[33]) = (1, 80);
        assert_eq!(parse(&v2(1, 0x21, &v6)), header(52, "[::1]:80"));
        // LOCAL: the balancer's own check; whatever is said of addresses is passed over.
        for addresses in [&v4[..], &[]] {
            let bytes = 16 + addresses.len();
            for family in [0x11, 0x10, 0x41, 0xff] {
                assert_eq!(parse(&v2(0, family, addresses)), Parsed::Header { bytes, source: None });
            }
        }
        assert_eq!(parse(&v2(1, 0, &[])), Parsed::Header { bytes: 16, source: None });
        assert_eq!(parse(&v2(1, 0x31, &[0; 216])), Parsed::Header { bytes: 232, source: None });
        for bytes in [v2(1, 0x11, &v4[..8]), v2(1, 0x41, &v4), v2(2, 0x11, &v4), v2(1, 0x11, &[0; 5_000])] {
            assert!(matches!(parse(&bytes), Parsed::Invalid(_)), "{bytes:?}");
        }
        let mut version = v2(1, 0x11, &v4);
        version[12] = 0x11;
        assert!(matches!(parse(&version), Parsed::Invalid(_)));
    }

    proptest! {
        #[test]
        fn nothing_panics_and_more_bytes_change_no_verdict(
            bytes in proptest::collection::vec(any::<u8>(), 0..300),
            prefix in 0usize..3,
            cut in 0usize..300,
        ) {
            let prefix: &[u8] = [&[], V1_SIGNATURE, &V2_SIGNATURE][prefix];
            let bytes = [prefix, &bytes].concat();
            let whole = parse(&bytes);
            match parse(&bytes[..cut.min(bytes.len())]) {
                Parsed::Partial => {}
                verdict => prop_assert_eq!(verdict, whole),
            }
            if let Parsed::Header { bytes: length, .. } = whole {
                prop_assert!(length <= bytes.len());
            }
        }

        #[test]
        fn what_a_balancer_sends_is_read_back(ip: [u8; 4], six: [u8; 16], port: u16, rest: Vec<u8>) {
            let v4 = SocketAddr::new(Ipv4Addr::from(ip).into(), port);
            let v6 = SocketAddr::new(Ipv6Addr::from(six).into(), port);
            let line = format!("PROXY TCP4 {} 127.0.0.1 {port} 80\r\n", v4.ip());
            prop_assert_eq!(
                parse(&[line.as_bytes(), &rest].concat()),
                Parsed::Header { bytes: line.len(), source: Some(v4) }
            );
            let mut addresses = six.to_vec();
            addresses.extend([0; 16]);
            addresses.extend(port.to_be_bytes());
            addresses.extend([0, 80]);
            prop_assert_eq!(
                parse(&[&v2(1, 0x21, &addresses)[..], &rest].concat()),
                Parsed::Header { bytes: 52, source: Some(v6) }
            );
        }
    }
}
