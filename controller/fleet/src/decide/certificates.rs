//! What is decided about server certificates. What they say was checked at the door.

use convoy_shared::id::Generation;

use crate::{
    event::{Certificate, Event, Imported},
    refusal::Refusal,
    rotation::Phase,
    state::{Fleet, KeptCertificate},
};

pub(super) fn import(fleet: &Fleet, certificate: Certificate) -> Vec<Event> {
    let same = fleet
        .certificates()
        .rev()
        .find(|(_, kept)| kept.certificate.fingerprint == certificate.fingerprint);
    match same {
        Some((generation, kept)) if unused(fleet, generation, kept) => vec![],
        Some((generation, kept)) => vec![Event::CertificateImported(restored(
            fleet, generation, kept,
        ))],
        None => vec![Event::CertificateImported(Imported {
            generation: next_generation(fleet),
            anchor: fleet.anchor_for(&certificate.spki),
            certificate,
            restored_from: None,
        })],
    }
}

/// Whether a certificate can be rotated to under its own number, or is served.
pub(super) fn unused(fleet: &Fleet, generation: Generation, kept: &KeptCertificate) -> bool {
    fleet.serving() == Some(generation) || (!kept.was_served && !kept.retired)
}

pub(super) fn restored(fleet: &Fleet, generation: Generation, kept: &KeptCertificate) -> Imported {
    Imported {
        generation: next_generation(fleet),
        anchor: kept.anchor,
        certificate: kept.certificate.clone(),
        restored_from: Some(generation),
    }
}

fn next_generation(fleet: &Fleet) -> Generation {
    fleet
        .certificates()
        .next_back()
        .map_or(Generation(1), |(generation, _)| generation.next())
}

pub(super) fn retire(
    fleet: &Fleet,
    generation: Generation,
    force: bool,
) -> Result<Vec<Event>, Refusal> {
    let kept = fleet
        .certificate(generation)
        .ok_or(Refusal::NoSuchGeneration(generation))?;
    let in_rotation = fleet
        .running()
        .is_some_and(|rotation| [rotation.from, rotation.to].contains(&generation));
    if fleet.serving() == Some(generation) || in_rotation {
        return Err(Refusal::CertificateInUse(generation));
    }
    let clients = fleet.bridged_by(generation);
    if clients > 0 && !force && !kept.retired {
        return Err(Refusal::CutsOff {
            generation,
            clients,
        });
    }
    Ok(if kept.retired {
        vec![]
    } else {
        vec![Event::CertificateRetired { generation }]
    })
}

pub(super) fn attest(fleet: &Fleet, generation: Generation) -> Vec<Event> {
    let news = fleet.running().is_some_and(|rotation| {
        rotation.to == generation
            && match rotation.phase {
                Phase::Preparing => !rotation.candidate_held,
                Phase::Swapping => !rotation.swapped,
                Phase::Planned
                | Phase::PausingReplication
                | Phase::Enforcing
                | Phase::ResumingReplication
                | Phase::Completed
                | Phase::Aborted
                | Phase::RolledBack => false,
            }
    });
    if news {
        vec![Event::CertificateLoaded { generation }]
    } else {
        vec![]
    }
}
