//! The command line of `convoy-controller`. What the options mean is decided where they are used.

use std::{
    collections::HashSet,
    net::{IpAddr, SocketAddr},
    path::PathBuf,
};

use clap::{ArgAction, Parser};
use ipnet::IpNet;
use jiff::{SignedDuration, Span, SpanRelativeTo};
use rustls_pki_types::ServerName;

use crate::{
    listener::addresses::{Counting, shared},
    scep::authority::CaKey,
};

/// The controller of a Convoy fleet. It needs no configuration file: at its first start it makes its keys and a self-signed server certificate.
#[derive(Debug, Parser)]
#[command(name = "convoy-controller", version)]
pub struct Args {
    /// Folder of the journal, the keys and the local socket. Made if it is missing.
    #[arg(long, value_name = "DIR", default_value = "/var/lib/convoy")]
    pub data_dir: PathBuf,

    /// Where agents connect. May be repeated: an address to which the controller moves is listened on before clients are told of it.
    #[arg(long, value_name = "ADDR", default_value = "0.0.0.0:7443")]
    pub agents_addr: Vec<SocketAddr>,

    /// Where operators connect.
    #[arg(long, value_name = "ADDR", default_value = "0.0.0.0:8443")]
    pub api_addr: SocketAddr,

    /// Where metrics (`/metrics`), liveness (`/livez`) and readiness (`/readyz`) are served over plain HTTP, for example `127.0.0.1:9443`. Nowhere
    /// unless given.
    #[arg(long, value_name = "ADDR")]
    pub metrics_addr: Option<SocketAddr>,

    /// Where the built-in SCEP server is served over plain HTTP, for example `0.0.0.0:8080`; its CA is made at the first start with it. Nowhere unless
    /// given.
    #[arg(long, value_name = "ADDR")]
    pub scep_addr: Option<SocketAddr>,

    /// What the SCEP server's first CA signs with. `ecdsa-p256` is faster and makes smaller certificates, and has an RA with an RSA key for messages;
    /// old devices want `rsa-2048`. A CA that exists keeps its key; `convoy scep ca rollover --key` makes one with another.
    #[arg(
        long,
        value_name = "KEY",
        requires = "scep_addr",
        value_enum,
        default_value_t
    )]
    pub scep_ca_key: CaKey,

    /// Requests to the SCEP server from one address per second, ten times as many at once. As many as come unless given; refused ones are limited
    /// all the same.
    #[arg(long, value_name = "REQUESTS", requires = "scep_addr")]
    pub scep_rate: Option<u32>,

    /// Accept SCEP requests that are encrypted with DES, and answer in it: some old devices know nothing else. Whoever reads the network can read
    /// their challenges.
    #[arg(long, requires = "scep_addr")]
    pub scep_allow_legacy: bool,

    /// DNS name or IP address under which hosts reach this controller. May be repeated. Every server certificate must carry all of them, and with the
    /// first agents' port they are the addresses of a new fleet; later `convoy addresses` sets those. [default: the host name and `localhost`]
    #[arg(long = "name", value_name = "DNS-OR-IP", value_parser = name)]
    pub names: Vec<String>,

    /// How long client identities are valid, for example `30d` or `12h`; agents renew at half of it. At least 2 seconds.
    #[arg(long, value_name = "DURATION", default_value = "30d", value_parser = duration)]
    pub identity_validity: SignedDuration,

    /// A NAT, proxy or VPN behind which many hosts are, for example `203.0.113.7` or `203.0.113.0/24`: an address of it may have 32 times the
    /// connections of another. May be repeated.
    #[arg(long = "nat", value_name = "ADDR-OR-NETWORK", value_parser = shared)]
    pub nats: Vec<IpNet>,

    /// Count loopback as any other address. For tests.
    #[arg(long, hide = true)]
    pub count_loopback: bool,

    /// Believe the clock although it is not what the journal leads to expect, for example because the controller was off for more than 90 days.
    #[arg(long)]
    pub accept_clock: bool,

    /// Start although the journal has lost its newest entries: an older copy was put back, and there is no newer one. Clients may hold trust that it
    /// does not know.
    #[arg(long)]
    pub accept_older_journal: bool,

    /// Say more (-v: debug, -vv: trace). `RUST_LOG` says it precisely.
    #[arg(short, long, action = ArgAction::Count)]
    pub verbose: u8,
}

impl Args {
    /// How addresses are counted.
    #[must_use]
    pub fn counting(&self) -> Counting {
        Counting {
            loopback: self.count_loopback,
            shared: self.nats.clone(),
        }
    }

    /// The names that server certificates must carry.
    #[must_use]
    pub fn server_names(&self) -> Vec<String> {
        if !self.names.is_empty() {
            let mut names = self.names.clone();
            // Two spellings of one name are one.
            let mut seen = HashSet::new();
            names.retain(|name| seen.insert(name.clone()));
            return names;
        }
        let mut names: Vec<String> = gethostname::gethostname()
            .into_string()
            .ok()
            .and_then(|host| name(&host).ok())
            .into_iter()
            .collect();
        if names.iter().all(|name| name != "localhost") {
            names.push("localhost".to_owned());
        }
        names
    }
}

/// A name as certificates, tokens and clients spell it.
fn name(text: &str) -> Result<String, String> {
    if !text.is_ascii() {
        return Err(
            "a name with other letters than ASCII is given in its ASCII form, which begins with xn--"
                .to_owned(),
        );
    }
    match ServerName::try_from(text) {
        // The dot at its end says that a name is complete. Certificates leave it out.
        Ok(ServerName::DnsName(name)) => {
            Ok(name.as_ref().trim_end_matches('.').to_ascii_lowercase())
        }
        Ok(ServerName::IpAddress(address)) => {
            let address = IpAddr::from(address).to_canonical();
            match unreachable(address) {
                None => Ok(address.to_string()),
                Some(why) => Err(format!(
                    "no host can connect to {address}: {why}; give the address or the name that hosts use"
                )),
            }
        }
        Ok(_) | Err(_) => Err("neither a DNS name nor an IP address".to_owned()),
    }
}

/// Why hosts cannot connect to this address, if they cannot.
fn unreachable(address: IpAddr) -> Option<&'static str> {
    let link_local = match address {
        IpAddr::V4(address) => address.is_link_local(),
        IpAddr::V6(address) => address.is_unicast_link_local(),
    };
    if address.is_unspecified() {
        Some("it stands for all addresses of this machine")
    } else if address.is_multicast() {
        Some("it is a multicast address")
    } else if address == IpAddr::from([255; 4]) {
        Some("it is the broadcast address")
    } else if link_local {
        Some("it is link-local, and means another machine on each link")
    } else {
        None
    }
}

fn duration(text: &str) -> Result<SignedDuration, String> {
    text.parse::<Span>()
        .and_then(|span| span.to_duration(SpanRelativeTo::days_are_24_hours()))
        .ok()
        .filter(|length| *length >= SignedDuration::from_secs(2))
        .ok_or_else(|| "not a duration of at least 2 seconds, such as 30d, 12h or 1h30m".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_durations_are_checked_at_the_door() {
        let parse = |args: &[&str]| Args::try_parse_from([&["convoy-controller"], args].concat());
        let args = parse(&[
            "--name",
            "A.example",
            "--name",
            "192.0.2.1",
            "--identity-validity",
            "7d",
        ]);
        let args = args.map_err(|error| error.to_string()).expect("good");
        assert_eq!(args.server_names(), ["a.example", "192.0.2.1"]);
        assert_eq!(args.identity_validity, SignedDuration::from_hours(7 * 24));
        let spelled = parse(&[
            "--name",
            "A.example.",
            "--name",
            "a.example",
            "--name",
            "2001:DB8:0::1",
            "--name",
            "::ffff:192.0.2.1",
        ]);
        assert_eq!(
            spelled
                .map_err(|error| error.to_string())
                .map(|args| args.server_names()),
            Ok(vec![
                "a.example".to_owned(),
                "2001:db8::1".to_owned(),
                "192.0.2.1".to_owned()
            ])
        );
        for bad in [
            ["--name", "a b"],
            ["--name", "."],
            ["--name", "a.."],
            ["--name", "192.0.2.1."],
            ["--name", "0.0.0.0"],
            ["--name", "::"],
            ["--name", "::ffff:0.0.0.0"],
            ["--name", "224.0.0.1"],
            ["--name", "ff02::1"],
            ["--name", "255.255.255.255"],
            ["--name", "169.254.1.1"],
            ["--name", "fe80::1"],
            ["--name", "b\u{fc}cher.example"],
            ["--identity-validity", "1s"],
            ["--identity-validity", "x"],
            ["--nat", "gateway.example"],
            ["--nat", "203.0.113.0/33"],
        ] {
            assert!(parse(&bad).is_err(), "{bad:?}");
        }
        let default = parse(&[]).map_err(|error| error.to_string()).expect("good");
        assert!(default.server_names().contains(&"localhost".to_owned()));
    }
}
