//! Issuing profiles: what certificates are like. Which profile applies is a challenge's.

use std::collections::HashSet;

use convoy_shared::id::GroupName;
use jiff::SignedDuration;

use super::SanName;

/// The profile that is always there.
pub(super) const DEFAULT: &str = "default";

/// What certificates are like that a challenge brings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Profile {
    /// 1 to 63 of a-z, 0-9, '-', '_', '.'.
    pub name: String,
    /// How long certificates are valid. 1 hour to 10 years.
    pub lifetime: SignedDuration,
    /// "serverAuth", "clientAuth", "ipsecIKE", or dotted object identifiers.
    pub extended_key_usages: Vec<String>,
    /// Which kinds of names are taken from requests.
    pub san_kinds: Vec<SanKind>,
    /// Names that every certificate gets besides: "dns:…", "ip:…", "uri:…".
    pub sans: Vec<String>,
}

impl Default for Profile {
    fn default() -> Self {
        Self {
            name: DEFAULT.to_owned(),
            lifetime: SignedDuration::from_hours(365 * 24),
            extended_key_usages: vec!["serverAuth".to_owned(), "clientAuth".to_owned()],
            san_kinds: vec![SanKind::Dns, SanKind::Ip, SanKind::Uri],
            sans: vec![],
        }
    }
}

/// A kind of subject alternative name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SanKind {
    /// dNSName.
    Dns,
    /// iPAddress.
    Ip,
    /// uniformResourceIdentifier.
    Uri,
}

impl SanKind {
    /// The kind that stands before the colon.
    #[must_use]
    pub fn named(word: &str) -> Option<Self> {
        [Self::Dns, Self::Ip, Self::Uri]
            .into_iter()
            .find(|kind| kind.as_str() == word)
    }

    /// As it stands before the colon.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Dns => "dns",
            Self::Ip => "ip",
            Self::Uri => "uri",
        }
    }
}

/// A profile that cannot be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {value:?} is not {expected}")]
pub struct BadProfile {
    /// The field.
    pub field: &'static str,
    /// As given.
    pub value: String,
    /// What would be right.
    pub expected: &'static str,
}

/// Extended key usages that have a name here (RFC 5280 section 4.2.1.12, RFC 4945 section 5.1.3.12).
const USAGES: [&str; 3] = ["serverAuth", "clientAuth", "ipsecIKE"];

/// What marks a CA's or RA's certificate to SCEP clients: anyExtendedKeyUsage (RFC 5280 section 4.2.1.12), id-kp-cmcCA and id-kp-cmcRA (RFC 6402
/// section 2.10), and Microsoft's Certificate Request Agent.
const OF_SERVERS: [&str; 4] = [
    "2.5.29.37.0",
    "1.3.6.1.5.5.7.3.27",
    "1.3.6.1.5.5.7.3.28",
    "1.3.6.1.4.1.311.20.2.1",
];

impl Profile {
    /// Whether it can be at all.
    ///
    /// # Errors
    /// Says which field cannot be, and what would be right.
    pub fn check(&self) -> Result<(), BadProfile> {
        let bad = |field, value: &str, expected| {
            Err(BadProfile {
                field,
                value: value.to_owned(),
                expected,
            })
        };
        if let Err(error) = self.name.parse::<GroupName>() {
            return bad("name", &self.name, error.expected);
        }
        let hour = SignedDuration::from_hours(1);
        if !(hour..=hour * (3660 * 24)).contains(&self.lifetime) {
            let lifetime = format!("{:#}", self.lifetime);
            return bad("lifetime", &lifetime, "between 1h and 3660d");
        }
        let mut usages = HashSet::new();
        for usage in &self.extended_key_usages {
            if !USAGES.contains(&&**usage) && !is_object_identifier(usage) {
                let expected = "serverAuth, clientAuth, ipsecIKE or a dotted object identifier";
                return bad("extended_key_usages", usage, expected);
            }
            if OF_SERVERS.contains(&&**usage) {
                let expected = "no purpose of a CA or RA: a device could pose as the SCEP server";
                return bad("extended_key_usages", usage, expected);
            }
            if !usages.insert(usage) {
                return bad("extended_key_usages", usage, "named once");
            }
        }
        let mut kinds = HashSet::new();
        for kind in &self.san_kinds {
            if !kinds.insert(kind) {
                return bad("san_kinds", kind.as_str(), "named once");
            }
        }
        for name in &self.sans {
            if name.parse::<SanName>().is_err() {
                return bad("sans", name, "dns:NAME, ip:ADDRESS or uri:URI");
            }
        }
        Ok(())
    }

    /// The names of a certificate for which these are asked: those of a kind that is taken, then the profile's own, each once.
    #[must_use]
    pub fn names(&self, asked: &[String]) -> Vec<String> {
        let mut known = HashSet::new();
        asked
            .iter()
            .filter(|name| self.takes(name))
            .chain(&self.sans)
            .filter(|name| name.parse().is_ok_and(|name: SanName| known.insert(name)))
            .cloned()
            .collect()
    }

    /// Whether a name is of a kind that is taken from requests.
    pub(super) fn takes(&self, name: &str) -> bool {
        name.parse()
            .is_ok_and(|name: SanName| self.san_kinds.contains(&name.kind()))
    }
}

/// Of three arcs or more, and such that it fits into 39 bytes: longer ones are not encoded, nor those whose second arc is above 39.
fn is_object_identifier(text: &str) -> bool {
    let arcs: Option<Vec<u32>> = text
        .split('.')
        .map(|arc| {
            let number: u32 = arc.parse().ok()?;
            // Neither "+1" nor "01".
            (number.to_string() == arc).then_some(number)
        })
        .collect();
    let Some([first, second, rest @ ..]) = arcs.as_deref() else {
        return false;
    };
    let bytes: u32 = rest
        .iter()
        .map(|arc| (38 - arc.leading_zeros()).max(7) / 7)
        .sum();
    *first <= 2 && *second <= 39 && !rest.is_empty() && bytes < 39
}
