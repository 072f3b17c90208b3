//! What must never be forgotten, between the fleet and the wire. Nothing is decided here.

use convoy_fleet::{
    client::ClientState,
    issuance::CrlReason,
    recovery::{KeptRevocation, Mark},
    state::Fleet,
};
use convoy_proto::{
    time::{read_timestamp, timestamp},
    v1::{AuditMark, DecommissionedMark, RetiredMark, RevokedMark, audit_mark::Kind},
};
use convoy_shared::id::Digest;
use tonic::Status;

use super::status;

/// Everything of that kind that the journal knows.
pub(super) fn written(fleet: &Fleet) -> Vec<AuditMark> {
    let of = fleet
        .founded()
        .map_or_else(String::new, |founded| founded.fleet.to_string());
    let decommissioned = fleet
        .clients()
        .filter(|(_, client)| client.state == ClientState::Decommissioned)
        .map(|(_, client)| {
            Kind::Decommissioned(DecommissionedMark {
                client: client.id.to_string(),
                name: client.name.clone(),
            })
        });
    let retired =
        fleet
            .certificates()
            .filter(|(_, kept)| kept.retired)
            .map(|(generation, kept)| {
                Kind::Retired(RetiredMark {
                    fingerprint: kept.certificate.fingerprint.to_string(),
                    generation: generation.0,
                })
            });
    let issued = fleet.issuance().certificates().filter_map(|certificate| {
        let revocation = certificate.revocation?;
        Some(revoked(&KeptRevocation {
            serial: certificate.issued.serial.clone(),
            authority: certificate.issued.authority,
            spki: certificate.issued.spki,
            not_after: certificate.issued.not_after,
            at: revocation.at,
            reason: revocation.reason,
        }))
    });
    decommissioned
        .chain(retired)
        .chain(issued)
        .chain(fleet.issuance().kept_revocations().map(revoked))
        .map(|kind| AuditMark {
            fleet: of.clone(),
            kind: Some(kind),
        })
        .collect()
}

fn revoked(kept: &KeptRevocation) -> Kind {
    Kind::Revoked(RevokedMark {
        serial: hex::encode(&kept.serial),
        authority: kept.authority,
        spki_sha256: kept.spki.to_string(),
        not_after: Some(timestamp(kept.not_after)),
        at: Some(timestamp(kept.at)),
        reason: CrlReason::ALL
            .into_iter()
            .find(|(reason, _, _)| *reason == kept.reason)
            .map_or("unspecified", |(_, name, _)| name)
            .to_owned(),
    })
}

/// Reads marks, all or none.
pub(super) fn read(fleet: &Fleet, wire: &[AuditMark]) -> Result<Vec<Mark>, Status> {
    let own = fleet
        .founded()
        .map_or_else(String::new, |founded| founded.fleet.to_string());
    wire.iter()
        .enumerate()
        .map(|(index, mark)| {
            let bad = |what: &str| {
                status::invalid(
                    "marks",
                    &format!("mark {}: {what}", index.saturating_add(1)),
                )
            };
            if mark.fleet != own {
                return Err(bad(&format!(
                    "it is of fleet {:?}, and this one is {own}",
                    mark.fleet
                )));
            }
            Ok(match mark.kind.as_ref() {
                Some(Kind::Decommissioned(mark)) => Mark::Decommissioned(
                    mark.client
                        .parse()
                        .map_err(|_| bad("`client` is no UUID"))?,
                ),
                Some(Kind::Retired(mark)) => Mark::Retired(
                    digest(&mark.fingerprint)
                        .ok_or_else(|| bad("`fingerprint` is not 64 hex digits"))?,
                ),
                Some(Kind::Revoked(mark)) => Mark::Revoked(KeptRevocation {
                    serial: hex::decode(&mark.serial)
                        .ok()
                        .filter(|serial| (1..=20).contains(&serial.len()))
                        .ok_or_else(|| bad("`serial` is no serial number in hex"))?,
                    authority: mark.authority,
                    spki: digest(&mark.spki_sha256)
                        .ok_or_else(|| bad("`spki_sha256` is not 64 hex digits"))?,
                    not_after: read_timestamp(mark.not_after, "not_after")
                        .map_err(|_| bad("`not_after` is missing"))?,
                    at: read_timestamp(mark.at, "at").map_err(|_| bad("`at` is missing"))?,
                    reason: CrlReason::ALL
                        .into_iter()
                        .find(|(_, name, _)| *name == mark.reason)
                        .map(|(reason, _, _)| reason)
                        .ok_or_else(|| bad("`reason` is no CRLReason of RFC 5280"))?,
                }),
                None => return Err(bad("it is of no kind that this controller knows")),
            })
        })
        .collect()
}

fn digest(hex: &str) -> Option<Digest> {
    Digest::from_bytes(&hex::decode(hex).ok()?).ok()
}
