//! What a device knows of itself: from its configuration, else from its system. Nothing is asked over the network.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket},
    path::Path,
};

use convoy_shared::settings::Facts;

use super::Configuration;

/// Firmware writes these where it has no serial number.
const NO_SERIAL: &[&str] = &[
    "0",
    "0123456789",
    "default string",
    "n/a",
    "none",
    "not applicable",
    "not specified",
    "system serial number",
    "to be filled by o.e.m.",
    "unknown",
];

/// The facts of this device. Its address is the one from which it reaches `towards`, which costs no packet.
#[must_use]
pub fn facts(configuration: &Configuration, towards: Option<SocketAddr>) -> Facts {
    let device = &configuration.device;
    let node = gethostname::gethostname().into_string().ok();
    let read = |path: &str| std::fs::read_to_string(Path::new(path)).unwrap_or_default();
    let hostname = device
        .hostname
        .clone()
        .or_else(|| node.as_deref().and_then(first_label));
    let fqdn = device.fqdn.clone().or_else(|| {
        let sources = Sources {
            node: node.as_deref().unwrap_or_default(),
            hostname_file: &read("/etc/hostname"),
            hosts: &read("/etc/hosts"),
            resolver: &read("/etc/resolv.conf"),
        };
        sources.fqdn(hostname.as_deref()?)
    });
    let serial = device.serial.clone().or_else(|| {
        [
            "/sys/class/dmi/id/product_serial",
            "/proc/device-tree/serial-number",
        ]
        .into_iter()
        .find_map(|path| serial(&read(path)))
    });
    Facts {
        hostname,
        fqdn,
        ip: device.ip.or_else(|| towards.and_then(local_address)),
        serial,
    }
}

/// Where a fully qualified name may be found.
struct Sources<'a> {
    /// The kernel's node name.
    node: &'a str,
    /// hostname(5).
    hostname_file: &'a str,
    /// hosts(5).
    hosts: &'a str,
    /// resolv.conf(5).
    resolver: &'a str,
}

impl Sources<'_> {
    /// The first of: the node name, the name in /etc/hostname, a name in /etc/hosts, each if it is this host's and has a domain; the host name with the
    /// resolver's first search domain.
    fn fqdn(&self, hostname: &str) -> Option<String> {
        let own = |name: &str| {
            let (label, domain) = name.trim_end_matches('.').split_once('.')?;
            (label.eq_ignore_ascii_case(hostname) && !domain.is_empty())
                .then(|| format!("{label}.{domain}"))
        };
        let in_hosts = || {
            self.hosts
                .lines()
                .filter_map(|line| line.split('#').next())
                .flat_map(|line| line.split_whitespace().skip(1))
                // "localhost.localdomain" says where nothing is.
                .filter(|name| !name.to_ascii_lowercase().contains("localdomain"))
                .find_map(own)
        };
        own(self.node)
            .or_else(|| own(self.hostname_file.trim()))
            .or_else(in_hosts)
            .or_else(|| Some(format!("{hostname}.{}", self.search_domain()?)))
    }

    /// The last of `domain` and `search` counts.
    fn search_domain(&self) -> Option<&str> {
        let domain = self
            .resolver
            .lines()
            .filter_map(|line| {
                let mut words = line.split_whitespace();
                matches!(words.next(), Some("domain" | "search")).then(|| words.next())?
            })
            .next_back()?
            .trim_end_matches('.');
        (!domain.is_empty()).then_some(domain)
    }
}

fn first_label(node: &str) -> Option<String> {
    let label = node.split('.').next()?;
    (!label.is_empty()).then(|| label.to_owned())
}

fn serial(text: &str) -> Option<String> {
    // A device tree's texts end in NUL.
    let text = text.trim_matches(|c: char| c.is_whitespace() || c == '\0');
    let known = !text.is_empty()
        && !text.chars().any(char::is_control)
        && !NO_SERIAL.contains(&text.to_ascii_lowercase().as_str());
    known.then(|| text.to_owned())
}

/// Connecting a UDP socket chooses a route, and sends nothing.
fn local_address(towards: SocketAddr) -> Option<IpAddr> {
    let any: IpAddr = match towards {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = UdpSocket::bind((any, 0)).ok()?;
    socket.connect(towards).ok()?;
    let own = socket.local_addr().ok()?.ip();
    (!own.is_unspecified()).then_some(own)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sources<'a>(
        node: &'a str,
        hostname_file: &'a str,
        hosts: &'a str,
        resolver: &'a str,
    ) -> Sources<'a> {
        Sources {
            node,
            hostname_file,
            hosts,
            resolver,
        }
    }

    #[test]
    fn the_surest_source_of_a_full_name_is_taken_first() {
        let hosts = "127.0.0.1 localhost\n127.0.1.1 p1.hosts.example p1 # p1.comment.example\n";
        let resolver = "search first.example\nsearch dom.example other.example\n";
        let full = |node, file, hosts, resolver| sources(node, file, hosts, resolver).fqdn("p1");
        let is = |name: &str| Some(name.to_owned());
        assert_eq!(
            full("p1.node.example", "p1.file.example\n", hosts, resolver),
            is("p1.node.example")
        );
        assert_eq!(
            full("p1", "p1.file.example\n", hosts, resolver),
            is("p1.file.example")
        );
        assert_eq!(full("p1", "p1\n", hosts, resolver), is("p1.hosts.example"));
        assert_eq!(full("p1", "", "", resolver), is("p1.dom.example"));
        assert_eq!(
            full("p1", "", "127.0.1.1 p1.localdomain", "search .\n"),
            None
        );
        // Another host's name is not this one's.
        assert_eq!(full("p1", "p2.file.example", "10.0.0.2 p2.x", ""), None);
    }

    #[test]
    fn what_firmware_writes_for_want_of_a_serial_number_is_none() {
        assert_eq!(serial("CN7XK1 \n"), Some("CN7XK1".to_owned()));
        assert_eq!(
            serial("10000000abcdef\0"),
            Some("10000000abcdef".to_owned())
        );
        for none in [
            "",
            "\n",
            "To Be Filled By O.E.M.\n",
            "None",
            "Default string",
        ] {
            assert_eq!(serial(none), None, "{none:?}");
        }
    }

    #[test]
    fn the_address_is_the_one_that_the_server_sees() {
        let found = facts(
            &Configuration::default(),
            Some("127.0.0.1:9".parse().expect("an address")),
        );
        assert_eq!(found.ip, Some(Ipv4Addr::LOCALHOST.into()));
        assert_eq!(facts(&Configuration::default(), None).ip, None);
        let mut configured = Configuration::default();
        configured.device.ip = Some(Ipv4Addr::new(192, 0, 2, 17).into());
        configured.device.fqdn = Some("p1.set.example".to_owned());
        configured.device.hostname = Some("p1".to_owned());
        configured.device.serial = Some("S1".to_owned());
        let found = facts(
            &configured,
            Some("127.0.0.1:9".parse().expect("an address")),
        );
        assert_eq!(
            found.fill("{hostname} {fqdn} {ip} {serial}").as_deref(),
            Ok("p1 p1.set.example 192.0.2.17 S1")
        );
    }
}
