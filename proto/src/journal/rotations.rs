//! Certificates, publications and rotations, as the journal writes them. Signatures are not looked at here.

use convoy_fleet::{
    event::{Certificate, Imported, Publication, Purpose},
    rotation::RotationOptions,
};
use convoy_shared::{
    envelope::Envelope,
    id::{AnchorNumber, Digest, Generation, Revision, RootVersion, RotationId},
    trust::{Anchors, Mode},
};

use super::{BadEntry, copied, read_length, wire};
use crate::{
    documents::{read_addresses, read_anchor, read_epoch, write_addresses, write_anchor},
    time::{duration, read_timestamp, timestamp},
};

impl From<&Imported> for wire::CertificateImported {
    fn from(imported: &Imported) -> Self {
        let Imported {
            generation,
            anchor,
            certificate,
        } = imported;
        Self {
            generation: generation.0,
            anchor: anchor.0,
            certificate: Some(certificate.into()),
        }
    }
}

impl TryFrom<wire::CertificateImported> for Imported {
    type Error = BadEntry;

    fn try_from(wire: wire::CertificateImported) -> Result<Self, BadEntry> {
        Ok(Self {
            generation: Generation(wire.generation),
            anchor: AnchorNumber(wire.anchor),
            certificate: wire
                .certificate
                .ok_or(BadEntry::Missing("certificate"))?
                .try_into()?,
        })
    }
}

impl From<&Certificate> for wire::Certificate {
    fn from(certificate: &Certificate) -> Self {
        let Certificate {
            chain,
            fingerprint,
            spki,
            subject,
            issuer,
            names,
            not_before,
            not_after,
            key_algorithm,
        } = certificate;
        Self {
            chain: chain.iter().map(|der| copied(der)).collect(),
            fingerprint_sha256: copied(fingerprint.as_bytes()),
            spki_sha256: copied(spki.as_bytes()),
            subject: subject.clone(),
            issuer: issuer.clone(),
            names: names.clone(),
            not_before: Some(timestamp(*not_before)),
            not_after: Some(timestamp(*not_after)),
            key_algorithm: key_algorithm.clone(),
        }
    }
}

impl TryFrom<wire::Certificate> for Certificate {
    type Error = BadEntry;

    fn try_from(wire: wire::Certificate) -> Result<Self, BadEntry> {
        Ok(Self {
            chain: wire.chain.iter().map(|der| der.to_vec()).collect(),
            fingerprint: Digest::from_bytes(&wire.fingerprint_sha256)?,
            spki: Digest::from_bytes(&wire.spki_sha256)?,
            subject: wire.subject,
            issuer: wire.issuer,
            names: wire.names,
            not_before: read_timestamp(wire.not_before, "not_before")?,
            not_after: read_timestamp(wire.not_after, "not_after")?,
            key_algorithm: wire.key_algorithm,
        })
    }
}

impl From<&Publication> for wire::TrustPublished {
    fn from(publication: &Publication) -> Self {
        let Publication {
            revision,
            root_version,
            epoch,
            mode,
            anchors,
            server_names,
            addresses,
            issued_at,
            expires_at,
            purpose,
            groups,
            documents,
        } = publication;
        debug_assert_eq!(groups.len(), documents.len(), "an unsigned publication");
        let (mode, off_lease) = match mode {
            Mode::Verify => (wire::VerificationMode::Verify, None),
            Mode::Off { lease } => (wire::VerificationMode::Off, Some(duration(*lease))),
        };
        Self {
            revision: revision.0,
            root_version: root_version.0,
            mode: mode.into(),
            off_lease,
            anchors: anchors.as_slice().iter().map(write_anchor).collect(),
            server_names: server_names.clone(),
            issued_at: Some(timestamp(*issued_at)),
            expires_at: Some(timestamp(*expires_at)),
            purpose: Some(write_purpose(*purpose)),
            groups: groups.iter().map(ToString::to_string).collect(),
            documents: documents.iter().cloned().map(Into::into).collect(),
            epoch: epoch.0,
            addresses: write_addresses(addresses),
        }
    }
}

impl TryFrom<wire::TrustPublished> for Publication {
    type Error = BadEntry;

    fn try_from(wire: wire::TrustPublished) -> Result<Self, BadEntry> {
        let mode = match (wire.mode(), wire.off_lease) {
            (wire::VerificationMode::Verify, None) => Mode::Verify,
            (wire::VerificationMode::Off, lease @ Some(_)) => Mode::Off {
                lease: read_length(lease, "off_lease")?,
            },
            (wire::VerificationMode::Verify, Some(_))
            | (wire::VerificationMode::Off, None)
            | (wire::VerificationMode::Unspecified, _) => return Err(BadEntry::Missing("mode")),
        };
        if wire.groups.len() != wire.documents.len() {
            return Err(BadEntry::Missing("documents"));
        }
        let anchors = wire
            .anchors
            .into_iter()
            .map(read_anchor)
            .collect::<Result<_, _>>()?;
        let groups = wire.groups.iter().map(|group| group.parse());
        let documents = wire.documents.into_iter().map(Envelope::try_from);
        Ok(Self {
            revision: Revision(wire.revision),
            root_version: RootVersion(wire.root_version),
            epoch: read_epoch(wire.epoch)?,
            mode,
            anchors: Anchors::new(anchors)?,
            server_names: wire.server_names,
            addresses: read_addresses(wire.addresses)?,
            issued_at: read_timestamp(wire.issued_at, "issued_at")?,
            expires_at: read_timestamp(wire.expires_at, "expires_at")?,
            purpose: read_purpose(wire.purpose)?,
            groups: groups.collect::<Result<_, _>>()?,
            documents: documents.collect::<Result<_, _>>()?,
        })
    }
}

fn write_purpose(purpose: Purpose) -> wire::Purpose {
    use wire::purpose::Kind;
    wire::Purpose {
        kind: Some(match purpose {
            Purpose::Steady => Kind::Steady(wire::Steady {}),
            Purpose::Prepare(rotation) => Kind::Prepare(copied(rotation.as_bytes())),
            Purpose::Enforce(rotation) => Kind::Enforce(copied(rotation.as_bytes())),
        }),
    }
}

fn read_purpose(wire: Option<wire::Purpose>) -> Result<Purpose, BadEntry> {
    use wire::purpose::Kind;
    let missing = BadEntry::Missing("purpose");
    Ok(match wire.and_then(|wire| wire.kind).ok_or(missing)? {
        Kind::Steady(wire::Steady {}) => Purpose::Steady,
        Kind::Prepare(rotation) => Purpose::Prepare(RotationId::from_bytes(&rotation)?),
        Kind::Enforce(rotation) => Purpose::Enforce(RotationId::from_bytes(&rotation)?),
    })
}

impl From<RotationOptions> for wire::RotationOptions {
    fn from(options: RotationOptions) -> Self {
        let RotationOptions {
            return_window,
            max_missing,
            off_lease,
        } = options;
        Self {
            return_window: Some(duration(return_window)),
            max_missing,
            off_lease: Some(duration(off_lease)),
        }
    }
}

impl TryFrom<wire::RotationOptions> for RotationOptions {
    type Error = BadEntry;

    fn try_from(wire: wire::RotationOptions) -> Result<Self, BadEntry> {
        Ok(Self {
            return_window: read_length(wire.return_window, "return_window")?,
            max_missing: wire.max_missing,
            off_lease: read_length(wire.off_lease, "off_lease")?,
        })
    }
}
