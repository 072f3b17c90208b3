//! What is decided about server certificates. What they say was checked at the door.

use convoy_shared::id::Generation;

use crate::{
    event::{Certificate, Event, Imported},
    refusal::Refusal,
    rotation::Phase,
    state::Fleet,
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
        .map_or(Generation(1), |(generation, _)| generation.next());
    vec![Event::CertificateImported(Imported {
        generation,
        anchor: fleet.anchor_for(&certificate.spki),
        certificate,
    })]
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
