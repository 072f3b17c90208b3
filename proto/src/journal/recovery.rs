//! What happened to the journal itself, as the journal writes it. Signatures are not looked at here.

use convoy_fleet::{
    event::SignedRoot,
    issuance::CrlReason,
    recovery::{Ahead, FastForward, KeptRevocation, Readmitted, RecoveryEvent},
};
use convoy_shared::{
    envelope::Envelope,
    id::{AnchorNumber, ClientId, Digest, Generation, Revision, RootVersion},
    trust::Position,
};

use super::{BadEntry, copied, wire};
use crate::{
    documents::{decode_root, read_epoch},
    time::{read_timestamp, timestamp},
    v1,
};

pub(super) fn write_recovery(event: &RecoveryEvent) -> wire::RecoveryEvent {
    use wire::recovery_event::Kind;
    let kind = match event {
        RecoveryEvent::PutBack => Kind::PutBack(wire::PutBack {}),
        RecoveryEvent::AheadSeen(Ahead {
            client,
            position,
            anchors,
            roots,
        }) => Kind::AheadSeen(wire::AheadSeen {
            client: *client,
            root_version: position.root_version.0,
            epoch: position.epoch.0,
            revision: position.revision.0,
            pins: anchors
                .iter()
                .map(|(anchor, spki)| wire::Pin {
                    anchor: anchor.0,
                    spki_sha256: copied(spki.as_bytes()),
                })
                .collect(),
            roots: write_roots(roots),
        }),
        RecoveryEvent::FastForwarded(FastForward {
            epoch,
            revision,
            generation,
            anchor,
            client,
            serving,
            roots,
        }) => Kind::FastForwarded(wire::FastForwarded {
            epoch: epoch.0,
            revision: revision.0,
            generation: generation.0,
            anchor: anchor.0,
            client: *client,
            serving: serving.0,
            roots: write_roots(roots),
        }),
        RecoveryEvent::Readmitted(Readmitted {
            id,
            number,
            name,
            group,
            key,
            agent_version,
            identity_expires_at,
        }) => Kind::Readmitted(wire::Readmitted {
            client_id: copied(id.as_bytes()),
            client: *number,
            name: name.clone(),
            group: group.to_string(),
            key_sha256: copied(key.as_bytes()),
            agent_version: agent_version.clone(),
            identity_expires_at: Some(timestamp(*identity_expires_at)),
        }),
        RecoveryEvent::RevocationKept(KeptRevocation {
            serial,
            authority,
            spki,
            not_after,
            at,
            reason,
        }) => Kind::RevocationKept(wire::RevocationKept {
            serial: copied(serial),
            authority: *authority,
            spki_sha256: copied(spki.as_bytes()),
            not_after: Some(timestamp(*not_after)),
            at: Some(timestamp(*at)),
            reason: u32::from(reason.code()),
        }),
    };
    wire::RecoveryEvent { kind: Some(kind) }
}

pub(super) fn read_recovery(wire: wire::RecoveryEvent) -> Result<RecoveryEvent, BadEntry> {
    use wire::recovery_event::Kind;
    Ok(match wire.kind.ok_or(BadEntry::Missing("recovery"))? {
        Kind::PutBack(wire::PutBack {}) => RecoveryEvent::PutBack,
        Kind::AheadSeen(wire) => RecoveryEvent::AheadSeen(Ahead {
            client: wire.client,
            position: Position {
                root_version: RootVersion(wire.root_version),
                epoch: read_epoch(wire.epoch)?,
                revision: Revision(wire.revision),
            },
            anchors: wire
                .pins
                .iter()
                .map(|pin| {
                    Ok((
                        AnchorNumber(pin.anchor),
                        Digest::from_bytes(&pin.spki_sha256)?,
                    ))
                })
                .collect::<Result<_, BadEntry>>()?,
            roots: read_roots(wire.roots)?,
        }),
        Kind::FastForwarded(wire) => RecoveryEvent::FastForwarded(FastForward {
            epoch: read_epoch(wire.epoch)?,
            revision: Revision(wire.revision),
            generation: Generation(wire.generation),
            anchor: AnchorNumber(wire.anchor),
            client: wire.client,
            serving: Generation(wire.serving),
            roots: read_roots(wire.roots)?,
        }),
        Kind::Readmitted(wire) => RecoveryEvent::Readmitted(Readmitted {
            id: ClientId::from_bytes(&wire.client_id)?,
            number: wire.client,
            name: wire.name,
            group: wire.group.parse()?,
            key: Digest::from_bytes(&wire.key_sha256)?,
            agent_version: wire.agent_version,
            identity_expires_at: read_timestamp(wire.identity_expires_at, "identity_expires_at")?,
        }),
        Kind::RevocationKept(wire) => RecoveryEvent::RevocationKept(KeptRevocation {
            serial: wire.serial.to_vec(),
            authority: wire.authority,
            spki: Digest::from_bytes(&wire.spki_sha256)?,
            not_after: read_timestamp(wire.not_after, "not_after")?,
            at: read_timestamp(wire.at, "at")?,
            reason: CrlReason::ALL
                .into_iter()
                .find(|(_, _, code)| u32::from(*code) == wire.reason)
                .map(|(reason, _, _)| reason)
                .ok_or(BadEntry::Missing("reason"))?,
        }),
    })
}

fn write_roots(roots: &[SignedRoot]) -> Vec<v1::Envelope> {
    roots
        .iter()
        .map(|root| root.envelope.clone().into())
        .collect()
}

fn read_roots(wire: Vec<v1::Envelope>) -> Result<Vec<SignedRoot>, BadEntry> {
    wire.into_iter()
        .map(|wire| {
            let envelope = Envelope::try_from(wire)?;
            let root = decode_root(&envelope.payload)?;
            Ok(SignedRoot { envelope, root })
        })
        .collect()
}
