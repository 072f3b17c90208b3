//! The names of things: identifiers, numbers that only grow, digests. No meaning beyond identity lives here.

use std::{fmt, str::FromStr};

use aws_lc_rs::digest::{SHA256, digest};
use uuid::Uuid;

macro_rules! uuid_id {
    ($(#[$doc:meta])* $name:ident, $what:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(Uuid);

        impl $name {
            /// Wraps a UUID.
            #[must_use]
            pub const fn new(uuid: Uuid) -> Self {
                Self(uuid)
            }

            /// The UUID's 16 bytes, big endian.
            #[must_use]
            pub const fn as_bytes(&self) -> &[u8; 16] {
                self.0.as_bytes()
            }

            /// Parses 16 bytes.
            ///
            /// # Errors
            /// If there are not exactly 16.
            pub fn from_bytes(bytes: &[u8]) -> Result<Self, BadId> {
                Uuid::from_slice(bytes)
                    .map(Self)
                    .map_err(|_| BadId { what: $what, expected: "16 bytes" })
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl FromStr for $name {
            type Err = BadId;

            fn from_str(text: &str) -> Result<Self, BadId> {
                Uuid::parse_str(text)
                    .map(Self)
                    .map_err(|_| BadId { what: $what, expected: "a UUID" })
            }
        }
    };
}

uuid_id!(
    /// A fleet: one controller (or one set of replicas) and its clients.
    FleetId, "fleet id"
);
uuid_id!(
    /// A client of the fleet.
    ClientId, "client id"
);
uuid_id!(
    /// A join token.
    TokenId, "token id"
);
uuid_id!(
    /// A rotation.
    RotationId, "rotation id"
);
uuid_id!(
    /// One start of one agent process: tells a restart from a copy.
    InstanceId, "instance id"
);

macro_rules! number {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(pub u64);

        impl $name {
            /// The next one.
            #[must_use]
            pub const fn next(self) -> Self {
                Self(self.0.saturating_add(1))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

number!(
    /// One counter for the whole fleet, over all documents; only grows. 0 stands before the first document.
    Revision
);
number!(
    /// Number of a server certificate: 1, 2, 3 … never reused.
    Generation
);
number!(
    /// Number of an anchor: 1, 2, 3 … never reused.
    AnchorNumber
);
number!(
    /// Version of the root of trust: 1, 2, 3 … without gaps.
    RootVersion
);
number!(
    /// One life of a controller's journal: 1, and one more each time that a copy of it was recovered. Never 0.
    Epoch
);
number!(
    /// Counts the starts of one agent, durably, from 1.
    Incarnation
);

impl Epoch {
    /// The first life of a journal.
    pub const FIRST: Self = Self(1);
}

/// A SHA-256 digest.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Digest([u8; 32]);

impl Digest {
    /// The digest of these bytes.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        let mut out = [0; 32];
        out.copy_from_slice(digest(&SHA256, bytes).as_ref());
        Self(out)
    }

    /// Wraps 32 bytes that are a digest already.
    #[must_use]
    pub const fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Parses 32 bytes.
    ///
    /// # Errors
    /// If there are not exactly 32.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, BadId> {
        bytes.try_into().map(Self).map_err(|_| BadId {
            what: "digest",
            expected: "32 bytes",
        })
    }

    /// The 32 bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Display for Digest {
    /// Lower-case hex.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A client group's name: 1 to 63 of `a-z`, `0-9`, `-`, `_`, `.`, beginning with a letter or digit.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct GroupName(String);

impl GroupName {
    /// The group that exists from the start.
    #[must_use]
    pub fn default_group() -> Self {
        Self("default".to_owned())
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for GroupName {
    type Err = BadId;

    fn from_str(text: &str) -> Result<Self, BadId> {
        let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "-_.".contains(c);
        let begins = text
            .chars()
            .next()
            .is_some_and(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
        if begins && text.len() <= 63 && text.chars().all(allowed) {
            Ok(Self(text.to_owned()))
        } else {
            Err(BadId {
                what: "group name",
                expected: "1 to 63 of a-z, 0-9, '-', '_', '.', beginning with a letter or digit",
            })
        }
    }
}

impl fmt::Display for GroupName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Something that is no identifier.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a {what}: expected {expected}")]
pub struct BadId {
    /// What it was to be.
    pub what: &'static str,
    /// What would be right.
    pub expected: &'static str,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_name_is_checked_at_the_door() {
        for good in ["default", "printers-2", "0", "a.b_c"] {
            assert_eq!(good.parse::<GroupName>().expect(good).as_str(), good);
        }
        for bad in ["", "-x", "Printers", "a b", "ä", &"x".repeat(64)] {
            assert!(bad.parse::<GroupName>().is_err(), "{bad:?} was accepted");
        }
    }

    #[test]
    fn a_digest_is_sha256() {
        assert_eq!(
            Digest::of(b"abc").to_string(),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
        assert!(Digest::from_bytes(&[0; 31]).is_err());
    }
}
