//! Subject alternative names as text, and when two of them are the same name. How certificates spell them is not known here.

use std::{net::IpAddr, str::FromStr};

use super::SanKind;

/// A subject alternative name. Equal where a certificate for one is a certificate for the other.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum SanName {
    /// In lower case.
    Dns(String),
    /// An address.
    Ip(IpAddr),
    /// As it stands.
    Uri(String),
}

impl SanName {
    /// What kind it is of.
    #[must_use]
    pub const fn kind(&self) -> SanKind {
        match self {
            Self::Dns(_) => SanKind::Dns,
            Self::Ip(_) => SanKind::Ip,
            Self::Uri(_) => SanKind::Uri,
        }
    }
}

impl FromStr for SanName {
    type Err = BadSanName;

    /// Lenient about DNS names: hosts have names with '_', and a wildcard is one.
    fn from_str(text: &str) -> Result<Self, BadSanName> {
        let (kind, name) = text.split_once(':').ok_or(BadSanName)?;
        match SanKind::named(kind).ok_or(BadSanName)? {
            SanKind::Dns => {
                let allowed = |b: u8| b.is_ascii_alphanumeric() || b"-_.*".contains(&b);
                if (1..=253).contains(&name.len()) && name.bytes().all(allowed) {
                    Ok(Self::Dns(name.to_ascii_lowercase()))
                } else {
                    Err(BadSanName)
                }
            }
            SanKind::Ip => name.parse().map(Self::Ip).map_err(|_| BadSanName),
            SanKind::Uri if is_uri(name) => Ok(Self::Uri(name.to_owned())),
            SanKind::Uri => Err(BadSanName),
        }
    }
}

/// With a scheme (RFC 3986 section 3.1), as RFC 5280 section 4.2.1.6 has it.
fn is_uri(text: &str) -> bool {
    let Some((scheme, rest)) = text.split_once(':') else {
        return false;
    };
    scheme.starts_with(|c: char| c.is_ascii_alphabetic())
        && scheme
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b))
        && !rest.is_empty()
        && rest.bytes().all(|b| b.is_ascii_graphic())
}

/// Not a subject alternative name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected dns:NAME, ip:ADDRESS or uri:URI")]
pub struct BadSanName;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_compared_as_their_kind_is() {
        let name = |text: &str| text.parse::<SanName>().expect(text);
        assert_eq!(name("dns:P1.Example"), name("dns:p1.example"));
        assert_eq!(name("ip:2001:DB8:0::7"), name("ip:2001:db8::7"));
        assert_ne!(name("uri:urn:printer:A"), name("uri:urn:printer:a"));
        assert_ne!(name("dns:10.0.0.1"), name("ip:10.0.0.1"));
        for good in ["dns:*.example", "dns:a_b", "ip:::1", "uri:ipps://p1/"] {
            name(good);
        }
    }

    #[test]
    fn what_is_no_name_is_refused() {
        for bad in [
            "",
            "p1",
            "dns:",
            "dns:a b",
            "dns:ä",
            "DNS:a",
            "ip:p1",
            "ip:10.0.0.1/8",
            "ip:fe80::1%eth0",
            "uri:p1",
            "uri:1:a",
            "uri:urn:",
            "uri:urn:a b",
            "email:a@b",
            &format!("dns:{}", "x".repeat(254)),
        ] {
            assert_eq!(bad.parse::<SanName>(), Err(BadSanName), "{bad}");
        }
    }
}
