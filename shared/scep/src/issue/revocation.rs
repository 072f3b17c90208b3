//! Entries of a revocation list (RFC 5280 section 5.3). Which certificates are revoked is known elsewhere.

use std::fmt;

use jiff::Timestamp;

use super::{IssueError, structure};
use crate::extension;

/// Why a certificate was revoked (RFC 5280 section 5.3.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum CrlReason {
    /// 0: nobody said.
    #[default]
    Unspecified,
    /// 1: its private key is in other hands.
    KeyCompromise,
    /// 2: the CA's private key is in other hands.
    CaCompromise,
    /// 3: its holder's name is no longer right.
    AffiliationChanged,
    /// 4: another certificate has replaced it.
    Superseded,
    /// 5: it is not needed any more.
    CessationOfOperation,
    /// 6: it is on hold.
    CertificateHold,
    /// 9: its holder may no longer do what it says.
    PrivilegeWithdrawn,
}

impl CrlReason {
    /// CRLReason's number.
    #[must_use]
    pub fn number(self) -> u8 {
        match self {
            Self::Unspecified => 0,
            Self::KeyCompromise => 1,
            Self::CaCompromise => 2,
            Self::AffiliationChanged => 3,
            Self::Superseded => 4,
            Self::CessationOfOperation => 5,
            Self::CertificateHold => 6,
            Self::PrivilegeWithdrawn => 9,
        }
    }
}

impl fmt::Display for CrlReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unspecified => "unspecified",
            Self::KeyCompromise => "keyCompromise",
            Self::CaCompromise => "cACompromise",
            Self::AffiliationChanged => "affiliationChanged",
            Self::Superseded => "superseded",
            Self::CessationOfOperation => "cessationOfOperation",
            Self::CertificateHold => "certificateHold",
            Self::PrivilegeWithdrawn => "privilegeWithdrawn",
        })
    }
}

/// A certificate that is revoked.
#[derive(Clone, Copy, Debug)]
pub struct Revoked<'a> {
    /// Its serial number, big-endian.
    pub serial: &'a [u8],
    /// Since when.
    pub at: Timestamp,
    /// Why; [`CrlReason::Unspecified`] is left out of the list, as RFC 5280 asks for.
    pub reason: CrlReason,
}

impl Revoked<'_> {
    pub(super) fn encode(&self) -> Result<structure::Entry, IssueError> {
        let extensions = match self.reason {
            CrlReason::Unspecified => None,
            reason => {
                const ENUMERATED: u8 = 0x0a;
                Some(vec![extension::extension(
                    extension::REASON_CODE,
                    false,
                    vec![ENUMERATED, 1, reason.number()],
                )?])
            }
        };
        Ok(structure::Entry {
            serial: structure::serial(self.serial)?,
            at: structure::time(self.at)?,
            extensions,
        })
    }
}
