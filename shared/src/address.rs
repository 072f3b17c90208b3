//! Where the controller is: `host:port`, and the list of such addresses in a trust document. Nothing is resolved or dialled here.

use std::{fmt, str::FromStr};

use rustls_pki_types::{DnsName, IpAddr, ServerName};

/// A host (a DNS name, an IPv4 address, or an IPv6 address in brackets) and a port. Names are in lower case and without a dot at their end, so that
/// one address has one text.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Address {
    text: String,
    host: ServerName<'static>,
    port: u16,
}

impl Address {
    /// The host, without brackets, for the resolver.
    #[must_use]
    pub fn host(&self) -> String {
        self.host.to_str().into_owned()
    }

    /// The port.
    #[must_use]
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// The name for TLS.
    #[must_use]
    pub const fn server_name(&self) -> &ServerName<'static> {
        &self.host
    }

    /// As it is written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether a client could ever reach a controller there: not multicast, link-local or unspecified.
    fn is_usable(&self) -> bool {
        let ServerName::IpAddress(ip) = &self.host else {
            return true;
        };
        let ip = match core::net::IpAddr::from(*ip) {
            core::net::IpAddr::V6(ip) => ip.to_canonical(),
            ip @ core::net::IpAddr::V4(_) => ip,
        };
        let link_local = match ip {
            core::net::IpAddr::V4(ip) => ip.is_link_local() || ip.is_broadcast(),
            core::net::IpAddr::V6(ip) => ip.is_unicast_link_local(),
        };
        !(ip.is_multicast() || ip.is_unspecified() || link_local)
    }
}

impl PartialOrd for Address {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Address {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.text.cmp(&other.text)
    }
}

impl FromStr for Address {
    type Err = BadAddress;

    fn from_str(text: &str) -> Result<Self, BadAddress> {
        let bad = || BadAddress(text.to_owned());
        let (host, port) = text.rsplit_once(':').ok_or_else(bad)?;
        let port = port
            .parse()
            .ok()
            .filter(|port| *port != 0)
            .ok_or_else(bad)?;
        let bracketed = host
            .strip_prefix('[')
            .and_then(|inner| inner.strip_suffix(']'));
        let host = match bracketed {
            Some(inner) => inner
                .parse::<core::net::Ipv6Addr>()
                .map(|ip| ServerName::IpAddress(IpAddr::from(ip)))
                .map_err(|_| bad())?,
            None => match host.parse::<core::net::Ipv4Addr>() {
                Ok(ip) => ServerName::IpAddress(IpAddr::from(ip)),
                Err(_) => {
                    let host = host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase();
                    DnsName::try_from(host)
                        .map(ServerName::DnsName)
                        .map_err(|_| bad())?
                }
            },
        };
        Ok(Self {
            text: written(&host, port),
            host,
            port,
        })
    }
}

fn written(host: &ServerName<'static>, port: u16) -> String {
    let host = host.to_str();
    if host.contains(':') {
        format!("[{host}]:{port}")
    } else {
        format!("{host}:{port}")
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Something that is no address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("\"{0}\" is no address: expected host:port, an IPv6 address in brackets")]
pub struct BadAddress(String);

/// An address in a trust document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// Where.
    pub address: Address,
    /// The controller is not there yet: to be tried only after all others have failed.
    pub ahead: bool,
}

/// The controller's addresses, best first: 1 to [`MAX_ADDRESSES`], none twice, each such that a client could reach a controller there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Addresses(Vec<Listed>);

/// The most addresses of a controller.
pub const MAX_ADDRESSES: usize = 8;

impl Addresses {
    /// Takes a list, if it can be one.
    ///
    /// # Errors
    /// If it is empty or too long, an address stands twice, or one is multicast, link-local or unspecified.
    pub fn new(listed: Vec<Listed>) -> Result<Self, BadAddresses> {
        if listed.is_empty() {
            return Err(BadAddresses::None);
        }
        if listed.len() > MAX_ADDRESSES {
            return Err(BadAddresses::TooMany(listed.len()));
        }
        for (index, one) in listed.iter().enumerate() {
            if !one.address.is_usable() {
                return Err(BadAddresses::Unusable(one.address.clone()));
            }
            if listed[..index].iter().any(|it| it.address == one.address) {
                return Err(BadAddresses::Repeated(one.address.clone()));
            }
        }
        Ok(Self(listed))
    }

    /// Addresses at which the controller is.
    ///
    /// # Errors
    /// As for [`Addresses::new`].
    pub fn of(addresses: Vec<Address>) -> Result<Self, BadAddresses> {
        let listed = |address| Listed {
            address,
            ahead: false,
        };
        Self::new(addresses.into_iter().map(listed).collect())
    }

    /// Best first.
    #[must_use]
    pub fn as_slice(&self) -> &[Listed] {
        &self.0
    }

    /// Whether this address is among them.
    #[must_use]
    pub fn contains(&self, address: &Address) -> bool {
        self.0.iter().any(|listed| listed.address == *address)
    }

    /// Their hosts, without brackets, each once: what a server's certificate must carry.
    #[must_use]
    pub fn hosts(&self) -> Vec<String> {
        let mut hosts: Vec<String> = Vec::with_capacity(self.0.len());
        for host in self.0.iter().map(|listed| listed.address.host()) {
            if !hosts.contains(&host) {
                hosts.push(host);
            }
        }
        hosts
    }

    /// The order in which a client tries them: those where the controller is, then those that it knew `before` and that are not listed, then those
    /// where the controller is not yet.
    #[must_use]
    pub fn to_try(&self, before: &[Address]) -> Vec<Address> {
        let listed = |ahead: bool| {
            let those = self.0.iter().filter(move |listed| listed.ahead == ahead);
            those.map(|listed| listed.address.clone())
        };
        let known = before.iter().filter(|address| !self.contains(address));
        listed(false)
            .chain(known.cloned())
            .chain(listed(true))
            .collect()
    }
}

/// Addresses that cannot be a controller's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadAddresses {
    /// One is none.
    #[error(transparent)]
    Malformed(#[from] BadAddress),
    /// Clients could go nowhere.
    #[error("at least one address is needed")]
    None,
    /// Too many.
    #[error("{0} addresses were given, and there may be {MAX_ADDRESSES} at most")]
    TooMany(usize),
    /// It stands twice.
    #[error("the address {0} stands twice")]
    Repeated(Address),
    /// Nobody is there.
    #[error(
        "{0} is no address of a controller: multicast, link-local and unspecified addresses lead nowhere. Give one that clients can reach"
    )]
    Unusable(Address),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_and_a_port_are_told_apart() {
        for (text, host, port) in [
            ("convoy.example:7443", "convoy.example", 7443),
            ("192.0.2.1:1", "192.0.2.1", 1),
            ("[::1]:7443", "::1", 7443),
        ] {
            let address: Address = text.parse().expect(text);
            assert_eq!((address.host().as_str(), address.port()), (host, port));
            assert_eq!(address.to_string(), text);
        }
        for bad in [
            "", "a", "a:", "a:0", "a:99999", "::1:7443", "[a]:1", "a b:1", ":1",
        ] {
            assert!(bad.parse::<Address>().is_err(), "{bad:?} was accepted");
        }
    }

    #[test]
    fn one_address_has_one_text() {
        for (given, written) in [
            ("Convoy.Example.:7443", "convoy.example:7443"),
            ("[2001:DB8:0:0::1]:1", "[2001:db8::1]:1"),
        ] {
            let address: Address = given.parse().expect(given);
            assert_eq!(address.as_str(), written);
            assert_eq!(written.parse(), Ok(address));
        }
    }

    fn addresses(texts: &[&str]) -> Result<Addresses, BadAddresses> {
        Addresses::of(
            texts
                .iter()
                .map(|text| text.parse().expect("good"))
                .collect(),
        )
    }

    #[test]
    fn a_list_is_short_and_leads_somewhere() {
        assert!(addresses(&["a:1", "a:2", "[::1]:1", "127.0.0.1:1"]).is_ok());
        assert_eq!(addresses(&[]), Err(BadAddresses::None));
        assert!(matches!(
            addresses(&["a:1", "A:1"]),
            Err(BadAddresses::Repeated(_))
        ));
        let many: Vec<_> = (1..=9).map(|port| format!("a:{port}")).collect();
        let many: Vec<_> = many.iter().map(String::as_str).collect();
        assert!(addresses(&many[..8]).is_ok());
        assert_eq!(addresses(&many), Err(BadAddresses::TooMany(9)));
        for nowhere in [
            "0.0.0.0:1",
            "[::]:1",
            "224.0.0.1:1",
            "[ff02::1]:1",
            "169.254.1.1:1",
            "255.255.255.255:1",
            "[fe80::1]:1",
            "[::ffff:0.0.0.0]:1",
            "[::ffff:169.254.0.1]:1",
        ] {
            assert!(
                matches!(addresses(&[nowhere]), Err(BadAddresses::Unusable(_))),
                "{nowhere}"
            );
        }
    }

    #[test]
    fn what_is_ahead_is_tried_last_and_what_was_known_is_kept() {
        let parse = |text: &str| text.parse::<Address>().expect("good");
        let listed = |text, ahead| Listed {
            address: parse(text),
            ahead,
        };
        let new = Addresses::new(vec![listed("c:1", true), listed("b:1", false)]).expect("good");
        let before = [parse("a:1"), parse("b:1")];
        assert_eq!(
            new.to_try(&before),
            [parse("b:1"), parse("a:1"), parse("c:1")]
        );
        assert_eq!(new.to_try(&[]), [parse("b:1"), parse("c:1")]);
        assert_eq!(new.hosts(), ["c", "b"]);
    }
}
