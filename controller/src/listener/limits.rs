//! How much of a port peers may take before anybody knows who they are. What is done with a connection is decided elsewhere.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv6Addr},
    sync::{Arc, Mutex, PoisonError},
};

use tokio::sync::Semaphore;

/// Handshakes that may be under way at a time.
const PENDING: usize = 1024;
/// Of these, from one address.
const PENDING_PER_ADDRESS: usize = 16;
/// Connections of peers that nobody knows, per port.
const STRANGERS: usize = 512;
/// Of these, from one address.
const STRANGERS_PER_ADDRESS: usize = 64;

/// What strangers may take of a port.
pub(super) struct Limits {
    pub(super) pending: Arc<Semaphore>,
    pub(super) pending_by_address: Arc<ByAddress>,
    pub(super) strangers: Arc<Semaphore>,
    pub(super) strangers_by_address: Arc<ByAddress>,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            pending: Arc::new(Semaphore::new(PENDING)),
            pending_by_address: Arc::new(ByAddress::new(PENDING_PER_ADDRESS)),
            strangers: Arc::new(Semaphore::new(STRANGERS)),
            strangers_by_address: Arc::new(ByAddress::new(STRANGERS_PER_ADDRESS)),
        }
    }
}

/// How many places each address has taken.
pub(crate) struct ByAddress {
    most: usize,
    taken: Mutex<HashMap<IpAddr, usize>>,
}

impl ByAddress {
    pub(crate) fn new(most: usize) -> Self {
        Self {
            most,
            taken: Mutex::default(),
        }
    }

    /// A place for an address, if it has one left. Loopback always has: whoever is there is on this machine already.
    pub(crate) fn place(self: &Arc<Self>, address: IpAddr) -> Option<Place> {
        let address = network(address);
        if let Some(address) = address {
            let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
            let count = taken.entry(address).or_default();
            if *count >= self.most {
                return None;
            }
            *count += 1;
        }
        Some(Place {
            of: Arc::clone(self),
            address,
        })
    }
}

/// What is counted as one address: an IPv6 host has a whole /64. `None`: not counted.
pub(crate) fn network(address: IpAddr) -> Option<IpAddr> {
    match address.to_canonical() {
        address if address.is_loopback() => None,
        IpAddr::V4(address) => Some(address.into()),
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            Some(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into())
        }
    }
}

/// A place that an address has taken; given back when dropped.
pub(crate) struct Place {
    of: Arc<ByAddress>,
    address: Option<IpAddr>,
}

impl Drop for Place {
    fn drop(&mut self) {
        let Some(address) = self.address else {
            return;
        };
        let mut taken = self.of.taken.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = taken.get_mut(&address) {
            *count -= 1;
            if *count == 0 {
                taken.remove(&address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_so_many_places_and_an_ipv6_host_no_more() {
        let places = Arc::new(ByAddress::new(2));
        let at = |text: &str| places.place(text.parse().expect("an address"));
        let (one, two) = (at("192.0.2.1"), at("192.0.2.1"));
        assert!(one.is_some() && two.is_some());
        assert!(at("192.0.2.1").is_none());
        assert!(at("192.0.2.2").is_some());
        drop(one);
        assert!(at("192.0.2.1").is_some());
        let (_one, _two) = (at("2001:db8::1"), at("2001:db8::ffff:2"));
        assert!(at("2001:db8::3").is_none());
        assert!(at("2001:db8:0:1::3").is_some());
        let loopback: Vec<_> = (0..10).map(|_| at("127.0.0.1")).collect();
        assert!(loopback.iter().all(Option::is_some));
    }
}
