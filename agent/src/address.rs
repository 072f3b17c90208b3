//! Where the controller is: `host:port`. Nothing is resolved or dialled here.

use std::{fmt, str::FromStr};

use rustls_pki_types::{DnsName, IpAddr, ServerName};

/// A host (a DNS name, an IPv4 address, or an IPv6 address in brackets) and a port.
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
                .parse::<std::net::Ipv6Addr>()
                .map(|ip| ServerName::IpAddress(IpAddr::from(ip)))
                .map_err(|_| bad())?,
            None => match host.parse::<std::net::Ipv4Addr>() {
                Ok(ip) => ServerName::IpAddress(IpAddr::from(ip)),
                Err(_) => DnsName::try_from(host.to_owned())
                    .map(ServerName::DnsName)
                    .map_err(|_| bad())?,
            },
        };
        Ok(Self {
            text: text.to_owned(),
            host,
            port,
        })
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
}
