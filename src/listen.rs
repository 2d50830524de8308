//! Addresses to listen at: as they are written, taken, and shown.

use std::net::{Ipv4Addr, SocketAddr};

use anyhow::Context;
use tokio::net::TcpListener;

use crate::failure::HintExt;

/// Reads an address; `localhost` is this machine alone, by IPv4.
///
/// # Errors
/// What is no IP address with a port.
pub fn address(text: &str) -> Result<SocketAddr, String> {
    let by_name = text.strip_prefix("localhost:").and_then(|port| port.parse().ok());
    match by_name {
        Some(port) => Ok(SocketAddr::new(Ipv4Addr::LOCALHOST.into(), port)),
        None => text.parse().map_err(|_| {
            "an IP address and a port are expected, such as 127.0.0.1:8080; 0.0.0.0:8080 is every address of this machine"
                .to_owned()
        }),
    }
}

/// Takes an address.
pub async fn bind(address: SocketAddr, flag: &str) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address)
        .await
        .with_context(|| format!("cannot listen on {address}"))
        .hint(|| format!("another program may use it: choose another address with {flag}, or port 0 for any"))
}

/// The URL of a listener.
pub fn url(listener: &TcpListener) -> anyhow::Result<String> {
    Ok(format!("http://{}", listener.local_addr()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_as_people_write_them() {
        for (text, expected) in
            [("127.0.0.1:0", "127.0.0.1:0"), ("localhost:80", "127.0.0.1:80"), ("[::1]:80", "[::1]:80")]
        {
            assert_eq!(address(text), Ok(expected.parse().unwrap()), "{text}");
        }
        for wrong in [
            "",
            "8080",
            ":8080",
            "localhost",
            "localhost:",
            "localhost:65536",
            "localhost:+1x",
            "::1",
            "h:80",
        ] {
            assert!(address(wrong).unwrap_err().contains("127.0.0.1:8080"), "{wrong}");
        }
    }
}
