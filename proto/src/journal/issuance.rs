//! Events about the built-in SCEP CA: bytes to events and back. What they mean is the fleet's.

use convoy_fleet::issuance::{
    Approval, Binding, Challenge, ChallengeId, CrlReason, IssuanceEvent, Issued, Profile, SanKind,
    Waiting,
};
use convoy_shared::id::Digest;

use super::{
    BadEntry, copied, read_length,
    wire::{self, issuance_event::Kind},
};
use crate::time::{duration, read_timestamp, timestamp};

pub(super) fn write_issuance(event: &IssuanceEvent) -> wire::IssuanceEvent {
    let kind = match event {
        IssuanceEvent::AuthorityMade {
            number,
            certificate,
            spki,
            not_after,
            ra,
        } => Kind::AuthorityMade(wire::ScepAuthorityMade {
            number: *number,
            certificate: copied(certificate),
            spki: copied(spki.as_bytes()),
            not_after: Some(timestamp(*not_after)),
            ra_certificate: copied(ra.as_deref().unwrap_or_default()),
        }),
        IssuanceEvent::AuthorityActivated { number } => Kind::AuthorityActivated(*number),
        IssuanceEvent::ApprovalSet(approval) => Kind::ApprovalManual(match approval {
            Approval::Automatic => false,
            Approval::Manual => true,
        }),
        IssuanceEvent::ProfileSet(profile) => Kind::ProfileSet(profile.into()),
        IssuanceEvent::ChallengeCreated(challenge) => Kind::ChallengeCreated(challenge.into()),
        IssuanceEvent::ChallengeRevoked { id } => Kind::ChallengeRevoked(copied(&id.0)),
        IssuanceEvent::RequestReceived(waiting) => Kind::RequestReceived(waiting.into()),
        IssuanceEvent::RequestDenied {
            transaction,
            reason,
        } => Kind::RequestDenied(wire::ScepRequestDenied {
            transaction: transaction.clone(),
            reason: reason.clone(),
        }),
        IssuanceEvent::CertificateIssued(issued) => Kind::CertificateIssued(issued.into()),
        IssuanceEvent::CertificateRevoked { serial, reason } => {
            Kind::CertificateRevoked(wire::ScepCertificateRevoked {
                serial: copied(serial),
                reason: reason.code().into(),
            })
        }
    };
    wire::IssuanceEvent { kind: Some(kind) }
}

pub(super) fn read_issuance(wire: wire::IssuanceEvent) -> Result<IssuanceEvent, BadEntry> {
    Ok(match wire.kind.ok_or(BadEntry::Missing("issuance"))? {
        Kind::AuthorityMade(wire) => IssuanceEvent::AuthorityMade {
            number: wire.number,
            certificate: wire.certificate.to_vec(),
            spki: Digest::from_bytes(&wire.spki)?,
            not_after: read_timestamp(wire.not_after, "not_after")?,
            ra: (!wire.ra_certificate.is_empty()).then(|| wire.ra_certificate.to_vec()),
        },
        Kind::AuthorityActivated(number) => IssuanceEvent::AuthorityActivated { number },
        Kind::ApprovalManual(false) => IssuanceEvent::ApprovalSet(Approval::Automatic),
        Kind::ApprovalManual(true) => IssuanceEvent::ApprovalSet(Approval::Manual),
        Kind::ProfileSet(wire) => IssuanceEvent::ProfileSet(wire.try_into()?),
        Kind::ChallengeCreated(wire) => IssuanceEvent::ChallengeCreated(wire.try_into()?),
        Kind::ChallengeRevoked(id) => IssuanceEvent::ChallengeRevoked {
            id: read_challenge_id(&id)?,
        },
        Kind::RequestReceived(wire) => IssuanceEvent::RequestReceived(wire.try_into()?),
        Kind::RequestDenied(wire) => IssuanceEvent::RequestDenied {
            transaction: wire.transaction,
            reason: wire.reason,
        },
        Kind::CertificateIssued(wire) => IssuanceEvent::CertificateIssued(wire.try_into()?),
        Kind::CertificateRevoked(wire) => IssuanceEvent::CertificateRevoked {
            serial: read_serial(&wire.serial, "serial")?,
            reason: CrlReason::ALL
                .into_iter()
                .find_map(|(reason, _, code)| (u32::from(code) == wire.reason).then_some(reason))
                .ok_or(BadEntry::Missing("reason"))?,
        },
    })
}

fn read_challenge_id(bytes: &[u8]) -> Result<ChallengeId, BadEntry> {
    let id = bytes.try_into().map_err(|_| BadEntry::Missing("challenge"));
    Ok(ChallengeId(id?))
}

fn read_serial(bytes: &[u8], field: &'static str) -> Result<Vec<u8>, BadEntry> {
    match bytes {
        [first, ..] if *first != 0 && bytes.len() <= 20 => Ok(bytes.to_vec()),
        _ => Err(BadEntry::Missing(field)),
    }
}

impl From<&Profile> for wire::ScepProfileSet {
    fn from(profile: &Profile) -> Self {
        let Profile {
            name,
            lifetime,
            extended_key_usages,
            san_kinds,
            sans,
        } = profile;
        Self {
            name: name.clone(),
            lifetime: Some(duration(*lifetime)),
            extended_key_usages: extended_key_usages.clone(),
            san_kinds: san_kinds
                .iter()
                .map(|kind| kind.as_str().to_owned())
                .collect(),
            sans: sans.clone(),
        }
    }
}

impl TryFrom<wire::ScepProfileSet> for Profile {
    type Error = BadEntry;

    fn try_from(wire: wire::ScepProfileSet) -> Result<Self, BadEntry> {
        let kind = |word: &String| SanKind::named(word).ok_or(BadEntry::Missing("san_kinds"));
        Ok(Self {
            name: wire.name,
            lifetime: read_length(wire.lifetime, "lifetime")?,
            extended_key_usages: wire.extended_key_usages,
            san_kinds: wire.san_kinds.iter().map(kind).collect::<Result<_, _>>()?,
            sans: wire.sans,
        })
    }
}

impl From<&Challenge> for wire::ScepChallengeCreated {
    fn from(challenge: &Challenge) -> Self {
        let Challenge {
            id,
            digest,
            uses,
            binding,
            not_before,
            expires_at,
            profile,
            client,
            group,
            is_static,
        } = challenge;
        Self {
            id: copied(&id.0),
            digest: copied(digest.as_bytes()),
            uses: *uses,
            binding: binding
                .as_ref()
                .map(|Binding { common_name, sans }| wire::ScepBinding {
                    common_name: common_name.clone(),
                    sans: sans.clone(),
                }),
            not_before: Some(timestamp(*not_before)),
            expires_at: expires_at.map(timestamp),
            profile: profile.clone(),
            client: *client,
            group: group.as_ref().map(ToString::to_string).unwrap_or_default(),
            is_static: *is_static,
        }
    }
}

impl TryFrom<wire::ScepChallengeCreated> for Challenge {
    type Error = BadEntry;

    fn try_from(wire: wire::ScepChallengeCreated) -> Result<Self, BadEntry> {
        let expires_at = wire
            .expires_at
            .map(|time| read_timestamp(Some(time), "expires_at"));
        let group = Some(wire.group).filter(|group| !group.is_empty());
        Ok(Self {
            id: read_challenge_id(&wire.id)?,
            digest: Digest::from_bytes(&wire.digest)?,
            uses: wire.uses,
            binding: wire
                .binding
                .map(|wire::ScepBinding { common_name, sans }| Binding { common_name, sans }),
            not_before: read_timestamp(wire.not_before, "not_before")?,
            expires_at: expires_at.transpose()?,
            profile: wire.profile,
            client: wire.client,
            group: group.map(|group| group.parse()).transpose()?,
            is_static: wire.is_static,
        })
    }
}

impl From<&Waiting> for wire::ScepRequestReceived {
    fn from(waiting: &Waiting) -> Self {
        let Waiting {
            transaction,
            subject_der,
            subject,
            spki_der,
            sans,
            challenge,
            profile,
            client,
        } = waiting;
        Self {
            transaction: transaction.clone(),
            subject_der: copied(subject_der),
            subject: subject.clone(),
            spki_der: copied(spki_der),
            sans: sans.clone(),
            challenge: copied(&challenge.0),
            profile: profile.clone(),
            client: *client,
        }
    }
}

impl TryFrom<wire::ScepRequestReceived> for Waiting {
    type Error = BadEntry;

    fn try_from(wire: wire::ScepRequestReceived) -> Result<Self, BadEntry> {
        Ok(Self {
            transaction: wire.transaction,
            subject_der: wire.subject_der.to_vec(),
            subject: wire.subject,
            spki_der: wire.spki_der.to_vec(),
            sans: wire.sans,
            challenge: read_challenge_id(&wire.challenge)?,
            profile: wire.profile,
            client: wire.client,
        })
    }
}

impl From<&Issued> for wire::ScepCertificateIssued {
    fn from(issued: &Issued) -> Self {
        let Issued {
            serial,
            certificate,
            subject,
            spki,
            not_before,
            not_after,
            authority,
            transaction,
            challenge,
            renews,
            profile,
            client,
            sans,
        } = issued;
        Self {
            serial: copied(serial),
            certificate: copied(certificate),
            subject: subject.clone(),
            spki: copied(spki.as_bytes()),
            not_before: Some(timestamp(*not_before)),
            not_after: Some(timestamp(*not_after)),
            authority: *authority,
            transaction: transaction.clone(),
            challenge: challenge.map(|id| copied(&id.0)).unwrap_or_default(),
            renews: renews.as_deref().map(copied).unwrap_or_default(),
            profile: profile.clone(),
            client: *client,
            sans: sans.clone(),
        }
    }
}

impl TryFrom<wire::ScepCertificateIssued> for Issued {
    type Error = BadEntry;

    fn try_from(wire: wire::ScepCertificateIssued) -> Result<Self, BadEntry> {
        let challenge = Some(wire.challenge).filter(|id| !id.is_empty());
        let renews = Some(wire.renews).filter(|serial| !serial.is_empty());
        Ok(Self {
            serial: read_serial(&wire.serial, "serial")?,
            certificate: wire.certificate.to_vec(),
            subject: wire.subject,
            spki: Digest::from_bytes(&wire.spki)?,
            not_before: read_timestamp(wire.not_before, "not_before")?,
            not_after: read_timestamp(wire.not_after, "not_after")?,
            authority: wire.authority,
            transaction: wire.transaction,
            challenge: challenge.map(|id| read_challenge_id(&id)).transpose()?,
            renews: renews
                .map(|serial| read_serial(&serial, "renews"))
                .transpose()?,
            profile: wire.profile,
            client: wire.client,
            sans: wire.sans,
        })
    }
}
