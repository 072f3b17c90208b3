//! What is decided about server certificates. What they say was checked at the door.

use convoy_shared::id::Generation;

use crate::{
    event::{Certificate, Event, Imported},
    recovery,
    refusal::Refusal,
    rotation::Phase,
    state::{Fleet, KeptCertificate},
};

pub(super) fn import(fleet: &Fleet, certificate: Certificate) -> Vec<Event> {
    // A certificate has one number for life.
    if let Some((generation, kept)) = fleet.certificate_of(&certificate.fingerprint) {
        return if kept.certificate.chain == certificate.chain {
            vec![]
        } else {
            vec![Event::CertificateChainTaken {
                generation,
                chain: certificate.chain,
            }]
        };
    }
    let generation = fleet
        .certificates()
        .next_back()
        .map_or(Generation(0), |(generation, _)| generation)
        .max(fleet.recovery().generation)
        .next();
    vec![Event::CertificateImported(Imported {
        generation,
        anchor: fleet.anchor_for(&certificate.spki),
        certificate,
    })]
}

/// A certificate that came to this controller before an older journal was put back: it keeps its number, which names it for life.
pub(super) fn adopt(fleet: &Fleet, imported: Imported) -> Vec<Event> {
    let same_key = |kept: &KeptCertificate| kept.certificate.spki == imported.certificate.spki;
    let anchor_taken = |kept: &KeptCertificate| (kept.anchor == imported.anchor) != same_key(kept);
    let known = fleet
        .certificate_of(&imported.certificate.fingerprint)
        .is_some();
    let taken = fleet.certificate(imported.generation).is_some()
        || fleet.certificates().any(|(_, kept)| anchor_taken(kept));
    if known || taken {
        return vec![];
    }
    let mut events = vec![Event::CertificateImported(imported)];
    events.extend(recovery::put_back(fleet));
    events
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
