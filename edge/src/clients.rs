//! How many connections each client has, and that none has too many.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv6Addr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// What one customer of an IPv6 network usually has: all of its addresses count as one client.
const IPV6_CLIENT_BITS: u32 = 64;

/// How many connections each client has.
#[derive(Debug, Default)]
pub(crate) struct Clients(Mutex<HashMap<IpAddr, usize>>);

/// One connection of a client.
#[derive(Debug)]
pub(crate) struct Seat {
    clients: Arc<Clients>,
    client: IpAddr,
}

impl Clients {
    fn counts(&self) -> MutexGuard<'_, HashMap<IpAddr, usize>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a connection; `None`: its client has `most` already, and it is to be closed.
    pub(crate) fn admit(self: &Arc<Self>, address: IpAddr, most: usize) -> Option<Seat> {
        let client = client_of(address);
        let mut counts = self.counts();
        let count = counts.entry(client).or_default();
        if *count >= most {
            metrics::counter!("bakehouse_edge_connections_refused_total").increment(1);
            tracing::debug!(%address, "a client has too many connections; this one is closed");
            return None;
        }
        *count += 1;
        Some(Seat { clients: Arc::clone(self), client })
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut counts = self.clients.counts();
        if let Some(count) = counts.get_mut(&self.client) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.client);
            }
        }
    }
}

/// The address that stands for a client.
fn client_of(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => {
            let kept = u128::MAX << (u128::BITS - IPV6_CLIENT_BITS);
            IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & kept))
        }
        v4 => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_are_counted_by_client() {
        let clients = Arc::new(Clients::default());
        let address = |text: &str| text.parse::<IpAddr>().unwrap();
        let first = clients.admit(address("10.0.0.1"), 2).unwrap();
        let _second = clients.admit(address("::ffff:10.0.0.1"), 2).unwrap();
        assert!(clients.admit(address("10.0.0.1"), 2).is_none());
        assert!(clients.admit(address("10.0.0.2"), 2).is_some());
        drop(first);
        assert!(clients.admit(address("10.0.0.1"), 2).is_some());
        let one = clients.admit(address("2001:db8::1"), 1);
        assert!(one.is_some() && clients.admit(address("2001:db8::ffff:2"), 1).is_none());
        assert!(clients.admit(address("2001:db8:0:1::1"), 1).is_some());
        drop(one);
        assert_eq!(clients.counts().len(), 1);
    }
}
