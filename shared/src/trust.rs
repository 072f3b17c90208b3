//! The trust document and the verdict on a certificate chain. Nothing here connects, stores or signs.

use jiff::{SignedDuration, Timestamp};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use webpki::{EndEntityCert, KeyUsage, anchor_from_trusted_cert};

use crate::{
    address::Addresses,
    certificate::{BadCertificate, spki_digest},
    id::{AnchorNumber, Digest, Epoch, FleetId, GroupName, Revision, RootVersion},
    root::Root,
};

/// What a client accepts as its controller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrustDocument {
    /// The fleet.
    pub fleet_id: FleetId,
    /// The client group that it is for.
    pub audience: GroupName,
    /// The root in force when it was issued.
    pub root_version: RootVersion,
    /// The life of the journal in which it was issued.
    pub epoch: Epoch,
    /// Only grows.
    pub revision: Revision,
    /// Whether certificates are verified.
    pub mode: Mode,
    /// What is accepted.
    pub anchors: Anchors,
    /// Names and addresses that the controller's certificates carry.
    pub server_names: Vec<String>,
    /// Where the controller is.
    pub addresses: Addresses,
    /// When it was issued.
    pub issued_at: Timestamp,
    /// After this it is called stale, and kept.
    pub expires_at: Timestamp,
}

/// A trust document's place among all of its fleet: by root version, then epoch, then revision.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    /// The root in force when it was issued.
    pub root_version: RootVersion,
    /// The life of the journal in which it was issued.
    pub epoch: Epoch,
    /// Its revision.
    pub revision: Revision,
}

impl TrustDocument {
    /// Its place among all of its fleet.
    #[must_use]
    pub const fn position(&self) -> Position {
        Position {
            root_version: self.root_version,
            epoch: self.epoch,
            revision: self.revision,
        }
    }
}

/// Whether certificates are verified, as a document orders.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// A certificate must match an anchor.
    Verify,
    /// Any is accepted while the lease lasts.
    Off {
        /// How long after the last session whose channel proof held.
        lease: SignedDuration,
    },
}

/// Whether certificates are verified just now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ModeInForce {
    /// A certificate must match an anchor.
    Verify,
    /// Any is accepted.
    Off,
}

/// At least one anchor, in the order of their distinct numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Anchors(Vec<Anchor>);

/// The most anchors that a document may hold.
pub const MAX_ANCHORS: usize = 64;

impl Anchors {
    /// Orders them.
    ///
    /// # Errors
    /// If there is none, there are too many, or a number stands twice.
    pub fn new(mut anchors: Vec<Anchor>) -> Result<Self, BadAnchors> {
        anchors.sort_by_key(|anchor| anchor.number);
        if anchors.is_empty() {
            Err(BadAnchors::None)
        } else if anchors.len() > MAX_ANCHORS {
            Err(BadAnchors::TooMany)
        } else if anchors
            .windows(2)
            .any(|pair| pair[0].number == pair[1].number)
        {
            Err(BadAnchors::Repeated)
        } else {
            Ok(Self(anchors))
        }
    }

    /// In the order of their numbers.
    #[must_use]
    pub fn as_slice(&self) -> &[Anchor] {
        &self.0
    }

    /// Their numbers, ascending.
    #[must_use]
    pub fn numbers(&self) -> Vec<AnchorNumber> {
        self.0.iter().map(|anchor| anchor.number).collect()
    }
}

/// Something that a client accepts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Anchor {
    /// Never reused.
    pub number: AnchorNumber,
    /// What it is.
    pub kind: AnchorKind,
}

/// What is accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AnchorKind {
    /// A server certificate with this public key: SHA-256 of its SubjectPublicKeyInfo. The document's validity governs; the certificate's dates
    /// and names are advisory.
    Pin(Digest),
    /// A server certificate that chains to this CA (DER), is valid now, and carries one of the document's server names.
    Ca(Vec<u8>),
}

/// A client's trust at one moment: the document on its disk, the root in force and the last proven session.
#[derive(Clone, Copy, Debug)]
pub struct Trust<'a> {
    /// The document.
    pub document: &'a TrustDocument,
    /// The root in force.
    pub root: &'a Root,
    /// When the channel proof of a session last held. `None`: nobody knows how long ago that was, so that a lease from then on is over.
    pub last_proof: Option<Timestamp>,
}

impl Trust<'_> {
    /// The mode in force at `now`.
    #[must_use]
    pub fn mode(&self, now: Timestamp) -> ModeInForce {
        match self.off_until() {
            Some(until) if now <= until => ModeInForce::Off,
            Some(_) | None => ModeInForce::Verify,
        }
    }

    /// When "off" ends: with its lease, or `max_off` after the document was issued, whichever is first. `None` if it is not ordered, the root
    /// forbids it, or the lease cannot be measured.
    #[must_use]
    pub fn off_until(&self) -> Option<Timestamp> {
        let Mode::Off { lease } = self.document.mode else {
            return None;
        };
        let lease = self.last_proof?.checked_add(lease).ok()?;
        let limit = self
            .document
            .issued_at
            .checked_add(self.root.max_off)
            .ok()?;
        self.root.off_allowed.then_some(lease.min(limit))
    }
}

/// Why a chain was accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Accepted {
    /// This anchor vouches for it.
    By(AnchorNumber),
    /// Verification is off.
    Unverified,
}

/// Judges the chain that a server showed, end entity first.
///
/// # Errors
/// If verification is in force and no anchor vouches for the chain.
pub fn verdict(
    trust: &Trust<'_>,
    chain: &[CertificateDer<'_>],
    now: Timestamp,
) -> Result<Accepted, Rejected> {
    let (end_entity, intermediates) = chain.split_first().ok_or(Rejected::Empty)?;
    if trust.mode(now) == ModeInForce::Off {
        return Ok(Accepted::Unverified);
    }
    let pin = spki_digest(end_entity)?;
    for anchor in trust.document.anchors.as_slice() {
        let vouched = match &anchor.kind {
            AnchorKind::Pin(digest) => *digest == pin,
            AnchorKind::Ca(ca) => chains_to(
                ca,
                end_entity,
                intermediates,
                &trust.document.server_names,
                now,
            ),
        };
        if vouched {
            return Ok(Accepted::By(anchor.number));
        }
    }
    Err(Rejected::NoAnchor { pin })
}

fn chains_to(
    ca: &[u8],
    end_entity: &CertificateDer<'_>,
    intermediates: &[CertificateDer<'_>],
    names: &[String],
    now: Timestamp,
) -> bool {
    let ca = CertificateDer::from(ca);
    let (Ok(anchor), Ok(end_entity), Ok(seconds)) = (
        anchor_from_trusted_cert(&ca),
        EndEntityCert::try_from(end_entity),
        u64::try_from(now.as_second()),
    ) else {
        return false;
    };
    let time = UnixTime::since_unix_epoch(std::time::Duration::from_secs(seconds));
    end_entity
        .verify_for_usage(
            webpki::ALL_VERIFICATION_ALGS,
            &[anchor],
            intermediates,
            time,
            KeyUsage::server_auth(),
            None,
            None,
        )
        .is_ok()
        && names.iter().any(|name| {
            ServerName::try_from(name.as_str())
                .is_ok_and(|name| end_entity.verify_is_valid_for_subject_name(&name).is_ok())
        })
}

/// A jump of more revisions than this is refused: no controller publishes so often, so that it is damage or malice.
pub const MAX_REVISION_JUMP: u64 = 1 << 20;

/// Whether `next` may take the place of `held` on a client's disk. Order is that of [`Position`].
///
/// # Errors
/// If it is another fleet's or group's, older, not the same at the same revision, too far ahead, or an order that the root forbids.
pub fn check_replacement(
    held: &TrustDocument,
    held_digest: Digest,
    next: &TrustDocument,
    next_digest: Digest,
    root: &Root,
) -> Result<Replacement, BadReplacement> {
    if next.fleet_id != held.fleet_id {
        return Err(BadReplacement::OtherFleet);
    }
    if next_digest == held_digest {
        return Ok(Replacement::Same);
    }
    if next.root_version > root.version {
        return Err(BadReplacement::UnknownRoot(next.root_version));
    }
    if next.epoch < held.epoch {
        return Err(BadReplacement::OlderCopy {
            held: held.epoch,
            offered: next.epoch,
        });
    }
    if next.position() <= held.position() {
        return Err(BadReplacement::Older {
            held: held.revision,
            offered: next.revision,
        });
    }
    if next.revision.0.saturating_sub(held.revision.0) > MAX_REVISION_JUMP {
        return Err(BadReplacement::Jump);
    }
    if matches!(next.mode, Mode::Off { .. }) && !root.off_allowed {
        return Err(BadReplacement::OffForbidden);
    }
    Ok(Replacement::Newer)
}

/// What a document that may be stored is to the one on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Replacement {
    /// The same bytes.
    Same,
    /// Newer.
    Newer,
}

/// Why a document may not be stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadReplacement {
    /// Of another fleet.
    #[error("the trust document is of another fleet")]
    OtherFleet,
    /// Issued under a root that this client does not have.
    #[error(
        "the trust document was issued under root version {0}, which this client does not have"
    )]
    UnknownRoot(RootVersion),
    /// Not newer.
    #[error("revision {offered} does not follow revision {held}: a trust document never goes back")]
    Older {
        /// On disk.
        held: Revision,
        /// Offered.
        offered: Revision,
    },
    /// Issued by a copy of the controller that was superseded.
    #[error(
        "the trust document is of epoch {offered}, and this client has one of epoch {held}: an older copy of the controller issued it"
    )]
    OlderCopy {
        /// On disk.
        held: Epoch,
        /// Offered.
        offered: Epoch,
    },
    /// Too far ahead.
    #[error("the revision jumps by more than {MAX_REVISION_JUMP}")]
    Jump,
    /// The root forbids "off".
    #[error("the fleet's root forbids switching verification off")]
    OffForbidden,
}

/// Anchors that cannot be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadAnchors {
    /// Nothing would be accepted.
    #[error("a trust document needs at least one anchor")]
    None,
    /// Too many.
    #[error("a trust document holds at most {MAX_ANCHORS} anchors")]
    TooMany,
    /// A number stands twice.
    #[error("an anchor's number stands twice")]
    Repeated,
}

/// Why a chain was rejected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Rejected {
    /// No certificate was shown.
    #[error("the server showed no certificate")]
    Empty,
    /// What was shown cannot be read.
    #[error("the server's certificate cannot be read: {0}")]
    Unreadable(#[from] BadCertificate),
    /// No anchor vouches for it.
    #[error("no anchor vouches for the server's certificate (public key SHA-256 {pin})")]
    NoAnchor {
        /// Of what was shown.
        pin: Digest,
    },
}

#[cfg(test)]
mod tests;
