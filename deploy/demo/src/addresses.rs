//! Where a controller serves, as it writes it to a file. The file is read elsewhere.

use std::net::SocketAddr;

/// Where a controller serves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Addresses {
    pub(crate) agents: SocketAddr,
    pub(crate) api: SocketAddr,
    /// None where it serves no SCEP.
    pub(crate) scep: Option<SocketAddr>,
}

impl Addresses {
    /// None while the file is not whole. Whoever reads it knows whether SCEP is served.
    pub(crate) fn read(text: &str, with_scep: bool) -> Option<Self> {
        let of = |name: &str| {
            text.lines()
                .find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok())
        };
        Some(Self {
            agents: of("agents")?,
            api: of("api")?,
            scep: if with_scep { Some(of("scep")?) } else { None },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WHOLE: &str = "agents 127.0.0.1:41001\napi 127.0.0.1:41002\nscep 127.0.0.1:41003\n";

    #[test]
    fn addresses_are_read_whole_or_not_at_all() {
        let addresses = Addresses::read(WHOLE, true).unwrap();
        assert_eq!(addresses.agents.port(), 41001);
        assert_eq!(addresses.api.port(), 41002);
        assert_eq!(addresses.scep.map(|scep| scep.port()), Some(41003));
        for partial in [
            "",
            "agents 127.0.0.1:41001\n",
            "agents 127.0.0.1:41001\napi 127",
            "agents 127.0.0.1:41001\napi 127.0.0.1:41002\n",
        ] {
            assert_eq!(Addresses::read(partial, true), None, "{partial:?}");
        }
    }

    #[test]
    fn without_scep_its_address_is_not_waited_for() {
        let addresses = "agents 127.0.0.1:41001\napi 127.0.0.1:41002\n";
        let addresses = Addresses::read(addresses, false).unwrap();
        assert_eq!(addresses.scep, None);
    }
}
