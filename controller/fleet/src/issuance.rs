//! The built-in CA: what it has issued, to whom, and what it may issue. Nothing is signed here, and no message is read.

mod challenge;
mod decide;
mod judge;
mod name;
mod profile;
mod state;

use convoy_shared::id::Digest;
use jiff::{SignedDuration, Timestamp};

use crate::client::ClientNumber;

pub use challenge::{BadChallengeId, Binding, Challenge, ChallengeId};
pub(crate) use decide::decide;
pub use decide::order;
pub use judge::{Asked, IssuanceRefusal, Judgement, Kind, MOST_SUBJECT, Permit};
pub use name::{BadSanName, SanName};
pub use profile::{BadProfile, Profile, SanKind};
pub use state::{AuthorityState, Ca, HeldChallenge, Issuance, IssuedCert, Revocation, Transaction};

/// What happened.
#[derive(Clone, Debug, PartialEq)]
pub enum IssuanceEvent {
    /// A CA was made. The first one is in force at once, another is the next one.
    AuthorityMade {
        /// 1, 2, 3 …
        number: u32,
        /// DER.
        certificate: Vec<u8>,
        /// SHA-256 of its SubjectPublicKeyInfo: names its key on disk.
        spki: Digest,
        /// Last instant of its validity.
        not_after: Timestamp,
        /// Its RA's certificate, DER, where devices do not encrypt to the CA itself.
        ra: Option<Vec<u8>>,
    },
    /// The next CA is in force.
    AuthorityActivated {
        /// Which.
        number: u32,
    },
    /// How requests with a valid challenge are decided.
    ApprovalSet(Approval),
    /// A profile was created or changed.
    ProfileSet(Profile),
    /// A challenge was created.
    ChallengeCreated(Challenge),
    /// A challenge was revoked.
    ChallengeRevoked {
        /// Which.
        id: ChallengeId,
    },
    /// A request waits for an operator. Uses its challenge up.
    RequestReceived(Waiting),
    /// An operator refused a request.
    RequestDenied {
        /// SCEP transaction id.
        transaction: String,
        /// Why.
        reason: String,
    },
    /// A certificate was issued.
    CertificateIssued(Issued),
    /// A certificate was revoked.
    CertificateRevoked {
        /// Big-endian, without leading zeros.
        serial: Vec<u8>,
        /// CRLReason (RFC 5280 section 5.3.1).
        reason: CrlReason,
    },
}

/// How requests with a valid challenge are decided.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Approval {
    /// At once.
    #[default]
    Automatic,
    /// By an operator.
    Manual,
}

/// CRLReason (RFC 5280 section 5.3.1), without those that only delta CRLs and attribute certificates have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CrlReason {
    /// 0.
    Unspecified,
    /// 1.
    KeyCompromise,
    /// 2.
    CaCompromise,
    /// 3.
    AffiliationChanged,
    /// 4.
    Superseded,
    /// 5.
    CessationOfOperation,
}

impl CrlReason {
    /// Every reason and its name in RFC 5280.
    pub const ALL: [(Self, &'static str, u8); 6] = [
        (Self::Unspecified, "unspecified", 0),
        (Self::KeyCompromise, "keyCompromise", 1),
        (Self::CaCompromise, "cACompromise", 2),
        (Self::AffiliationChanged, "affiliationChanged", 3),
        (Self::Superseded, "superseded", 4),
        (Self::CessationOfOperation, "cessationOfOperation", 5),
    ];

    /// Its number.
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            Self::Unspecified => 0,
            Self::KeyCompromise => 1,
            Self::CaCompromise => 2,
            Self::AffiliationChanged => 3,
            Self::Superseded => 4,
            Self::CessationOfOperation => 5,
        }
    }
}

/// A request that waits for an operator.
#[derive(Clone, Debug, PartialEq)]
pub struct Waiting {
    /// SCEP transaction id.
    pub transaction: String,
    /// Subject, a Name in DER.
    pub subject_der: Vec<u8>,
    /// Distinguished name (RFC 4514).
    pub subject: String,
    /// SubjectPublicKeyInfo, DER.
    pub spki_der: Vec<u8>,
    /// Subject alternative names that the certificate will have, "dns:…", "ip:…", "uri:…".
    pub sans: Vec<String>,
    /// The challenge that it came with.
    pub challenge: ChallengeId,
    /// The profile's name.
    pub profile: String,
    /// The client that it is of.
    pub client: Option<ClientNumber>,
}

/// A certificate that was issued.
#[derive(Clone, Debug, PartialEq)]
pub struct Issued {
    /// Big-endian, without leading zeros.
    pub serial: Vec<u8>,
    /// DER.
    pub certificate: Vec<u8>,
    /// Distinguished name (RFC 4514).
    pub subject: String,
    /// SHA-256 of its SubjectPublicKeyInfo.
    pub spki: Digest,
    /// First instant of its validity.
    pub not_before: Timestamp,
    /// Last instant of its validity.
    pub not_after: Timestamp,
    /// Number of the CA that signed it.
    pub authority: u32,
    /// SCEP transaction id.
    pub transaction: String,
    /// The challenge that brought it. `None`: a renewal.
    pub challenge: Option<ChallengeId>,
    /// The serial of the certificate that it renews.
    pub renews: Option<Vec<u8>>,
    /// The profile's name.
    pub profile: String,
    /// The client that it is of.
    pub client: Option<ClientNumber>,
    /// Its subject alternative names, "dns:…", "ip:…", "uri:…": a renewal may ask for no others.
    pub sans: Vec<String>,
}

/// What an operator or the controller asks for.
#[derive(Clone, Debug, PartialEq)]
pub enum IssuanceCommand {
    /// A CA was made: its key is on disk already.
    MakeAuthority {
        /// DER.
        certificate: Vec<u8>,
        /// SHA-256 of its SubjectPublicKeyInfo.
        spki: Digest,
        /// Last instant of its validity.
        not_after: Timestamp,
        /// Its RA's certificate, DER, where devices do not encrypt to the CA itself.
        ra: Option<Vec<u8>>,
        /// The first one: changes nothing if there is one already. Otherwise it is the next one.
        first: bool,
    },
    /// Put the next CA in force.
    ActivateAuthority,
    /// Set how requests are decided.
    SetApproval(Approval),
    /// Set a profile.
    SetProfile(Profile),
    /// Create a challenge. The same id again is the same challenge.
    CreateChallenge(Challenge),
    /// Revoke one.
    RevokeChallenge(ChallengeId),
    /// Issue what waits: the certificate is signed already.
    Approve(Issued),
    /// Refuse what waits.
    Deny {
        /// SCEP transaction id.
        transaction: String,
        /// Why.
        reason: String,
    },
    /// Revoke a certificate.
    Revoke {
        /// Big-endian, without leading zeros.
        serial: Vec<u8>,
        /// Why.
        reason: CrlReason,
    },
}

/// What a device's request comes to, once it has been permitted. Orders of distinct challenges and transactions are decided on one state and
/// appended as one entry.
#[derive(Clone, Debug, PartialEq)]
pub enum Order {
    /// Record a certificate that is signed already.
    Issue(Issued),
    /// Let a request wait for an operator.
    Wait(Waiting),
}

impl Order {
    /// The transaction.
    #[must_use]
    pub fn transaction(&self) -> &str {
        match self {
            Self::Issue(issued) => &issued.transaction,
            Self::Wait(waiting) => &waiting.transaction,
        }
    }

    /// The challenge that it uses.
    #[must_use]
    pub const fn challenge(&self) -> Option<ChallengeId> {
        match self {
            Self::Issue(issued) => issued.challenge,
            Self::Wait(waiting) => Some(waiting.challenge),
        }
    }
}

/// How long a CA lives.
pub const AUTHORITY_VALIDITY: SignedDuration = SignedDuration::from_hours(10 * 365 * 24);
