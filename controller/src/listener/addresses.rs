//! What counts as one address, and which addresses are many hosts behind one. How much an address may take is decided where it is taken.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv6Addr},
    sync::{Mutex, PoisonError},
};

use ipnet::IpNet;
use tokio::time::Instant;

/// An address that stands for many hosts has so many times the places of another.
const MANY: usize = 32;
/// Counting that are remembered.
const REMEMBERED: usize = 65_536;

/// How addresses are counted.
#[derive(Clone, Debug, Default)]
pub struct Counting {
    /// Loopback counts as any other address. Without it, it is not counted: whoever is there is on this machine already.
    pub loopback: bool,
    /// Networks whose every address stands for many hosts.
    pub shared: Vec<IpNet>,
}

impl Counting {
    /// What is counted as one address: an IPv6 host has a whole /64. `None`: not counted.
    #[must_use]
    pub fn counted(&self, address: IpAddr) -> Option<IpAddr> {
        match address.to_canonical() {
            address if address.is_loopback() && !self.loopback => None,
            address => Some(network(address)),
        }
    }

    /// How many times the places of another address this one has.
    #[must_use]
    pub fn times(&self, address: IpAddr) -> usize {
        let address = address.to_canonical();
        let shared = self.shared.iter().any(|net| net.contains(&address));
        if shared { MANY } else { 1 }
    }
}

/// An IPv4 address, or the /64 of an IPv6 host.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => address.into(),
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into()
        }
    }
}

/// Counting from which a client of the fleet has come since this process began.
#[derive(Default)]
pub(super) struct Acquainted(Mutex<HashMap<IpAddr, Instant>>);

impl Acquainted {
    /// A client has come from here.
    pub(super) fn met(&self, address: IpAddr) {
        let mut met = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        met.insert(network(address), Instant::now());
        if met.len() > REMEMBERED {
            let mut times: Vec<Instant> = met.values().copied().collect();
            let middle = times.len() / 2;
            let (_, middle, _) = times.select_nth_unstable(middle);
            let middle = *middle;
            met.retain(|_, time| *time > middle);
        }
    }

    pub(super) fn knows(&self, address: IpAddr) -> bool {
        let met = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        met.contains_key(&network(address))
    }
}

/// Reads an address or a network from the command line.
///
/// # Errors
/// If it is neither.
pub fn shared(text: &str) -> Result<IpNet, String> {
    text.parse::<IpNet>()
        .or_else(|_| text.parse::<IpAddr>().map(IpNet::from))
        .map(|net| net.trunc())
        .map_err(|_| {
            "neither an IP address nor a network such as 203.0.113.0/24 or 2001:db8::/48".to_owned()
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn an_ipv6_host_is_one_address_and_loopback_none_unless_it_is_said() {
        let addresses = Counting::default();
        assert_eq!(addresses.counted(ip("192.0.2.1")), Some(ip("192.0.2.1")));
        assert_eq!(
            addresses.counted(ip("2001:db8::1")),
            addresses.counted(ip("2001:db8::ffff:2"))
        );
        assert_ne!(
            addresses.counted(ip("2001:db8::1")),
            addresses.counted(ip("2001:db8:0:1::1"))
        );
        assert_eq!(
            addresses.counted(ip("::ffff:192.0.2.1")),
            Some(ip("192.0.2.1"))
        );
        assert_eq!(addresses.counted(ip("127.0.0.1")), None);
        assert_eq!(addresses.counted(ip("::1")), None);
        let counting = Counting {
            loopback: true,
            ..Counting::default()
        };
        assert_eq!(counting.counted(ip("127.0.0.1")), Some(ip("127.0.0.1")));
    }

    #[test]
    fn an_address_that_is_named_stands_for_many() {
        let addresses = Counting {
            shared: ["203.0.113.0/24", "192.0.2.7", "2001:db8::/48"]
                .map(|text| shared(text).expect("a network"))
                .to_vec(),
            ..Counting::default()
        };
        for many in [
            "203.0.113.9",
            "192.0.2.7",
            "2001:db8::1",
            "::ffff:192.0.2.7",
        ] {
            assert_eq!(addresses.times(ip(many)), MANY, "{many}");
        }
        for one in ["203.0.114.9", "192.0.2.8", "2001:db9::1"] {
            assert_eq!(addresses.times(ip(one)), 1, "{one}");
        }
        for bad in ["", "a", "192.0.2.1/33", "192.0.2.0/"] {
            assert!(shared(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn who_was_met_is_remembered_up_to_a_number() {
        let acquainted = Acquainted::default();
        assert!(!acquainted.knows(ip("192.0.2.1")));
        acquainted.met(ip("192.0.2.1"));
        assert!(acquainted.knows(ip("192.0.2.1")));
        assert!(!acquainted.knows(ip("192.0.2.2")));
        for number in 0..u32::try_from(REMEMBERED).expect("small") {
            acquainted.met(IpAddr::from(number.to_be_bytes()));
        }
        let remembered = acquainted.0.lock().expect("a lock").len();
        assert!(remembered <= REMEMBERED, "{remembered}");
    }
}
