//! Addresses to listen at: as they are written, taken, and shown.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};

use rustix::process::{Resource, getrlimit, setrlimit};
use tokio::net::{TcpListener, TcpSocket};

use crate::failure::hinted;

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

/// Connections that may wait to be accepted; the kernel has a bound of its own (`net.core.somaxconn`). With fewer, the crowd that
/// a cold object draws would have to ask again after a second.
const BACKLOG: u32 = 4_096;

/// Takes an address.
pub fn bind(address: SocketAddr, flag: &str) -> anyhow::Result<TcpListener> {
    let listen = || {
        let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
        // Connections of the process before may not be over for the kernel.
        socket.set_reuseaddr(true)?;
        socket.bind(address)?;
        socket.listen(BACKLOG)
    };
    listen().map_err(|error: io::Error| {
        let hint = match error.kind() {
            io::ErrorKind::AddrInUse => {
                format!("another program uses it: choose another address with {flag}, or port 0 for any")
            }
            io::ErrorKind::PermissionDenied => {
                format!("ports below 1024 are for root and who has CAP_NET_BIND_SERVICE: choose another with {flag}")
            }
            io::ErrorKind::AddrNotAvailable => {
                format!("this machine has no such address: choose another with {flag}; 0.0.0.0 is every one")
            }
            _ => format!("choose another address with {flag}"),
        };
        hinted(anyhow::Error::new(error).context(format!("cannot listen on {address}")), Some(hint))
    })
}

/// Lets as many connections be open as the system allows: each is an open file.
pub fn raise_open_files() {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    if let Err(error) = setrlimit(Resource::Nofile, limit) {
        tracing::warn!(%error, "the number of open files cannot be raised");
    }
}

/// The URL of a listener.
pub fn url(listener: &TcpListener) -> anyhow::Result<String> {
    Ok(format!("http://{}", listener.local_addr()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::failure;

    #[tokio::test]
    async fn what_cannot_be_taken_says_why() {
        let taken = bind(SocketAddr::new(Ipv4Addr::LOCALHOST.into(), 0), "--listen").unwrap();
        let elsewhere = "192.0.2.1:0".parse().unwrap();
        for (address, hint) in [
            (taken.local_addr().unwrap(), "another program uses it"),
            (elsewhere, "this machine has no such"),
        ] {
            let text = failure::text(&bind(address, "--listen").unwrap_err());
            assert!(text.contains(&format!("cannot listen on {address}")) && text.contains(hint), "{text}");
        }
    }

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
