//! Challenge passwords, without their secrets. How secrets are made and recognised is the shell's.

use std::{fmt, str::FromStr};

use convoy_shared::id::{Digest, GroupName};
use jiff::Timestamp;

use crate::client::ClientNumber;

/// A challenge's id: 8 bytes, 16 upper-case hex digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ChallengeId(pub [u8; 8]);

impl fmt::Display for ChallengeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02X}"))
    }
}

impl FromStr for ChallengeId {
    type Err = BadChallengeId;

    fn from_str(text: &str) -> Result<Self, BadChallengeId> {
        if text.len() == 16 && text.bytes().all(|b| b.is_ascii_hexdigit()) {
            u64::from_str_radix(text, 16)
                .map(|number| Self(number.to_be_bytes()))
                .map_err(|_| BadChallengeId)
        } else {
            Err(BadChallengeId)
        }
    }
}

/// Not an id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a challenge's id has 16 hex digits; `convoy scep challenge list` shows them")]
pub struct BadChallengeId;

/// A challenge password, without its secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Challenge {
    /// Its id.
    pub id: ChallengeId,
    /// HMAC-SHA-256 of the secret under a key that is not in the journal.
    pub digest: Digest,
    /// How often it admits a request. `None`: any number of times.
    pub uses: Option<u32>,
    /// What it is bound to. `None`: any subject.
    pub binding: Option<Binding>,
    /// First instant at which it admits.
    pub not_before: Timestamp,
    /// When it stops. `None`: never.
    pub expires_at: Option<Timestamp>,
    /// The profile's name.
    pub profile: String,
    /// The client that it was made for: its certificates are recorded as the client's.
    pub client: Option<ClientNumber>,
    /// The group that it was made for.
    pub group: Option<GroupName>,
    /// An operator chose its secret.
    pub is_static: bool,
}

/// What a challenge is bound to: a request may have this common name, and of these names as many as it likes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Binding {
    /// Compared without case. Empty: none may be asked for.
    pub common_name: String,
    /// "dns:…", "ip:…", "uri:…"; DNS names compared without case.
    pub sans: Vec<String>,
}
