//! What is decided about rotations and the trust that they publish. Who is waited for is the gate's question.

use convoy_shared::{
    id::{Generation, GroupName, RotationId},
    trust::{Anchors, Mode},
};
use jiff::Timestamp;
use roaring::RoaringBitmap;

use super::active;
use crate::{
    client::ClientNumber,
    event::{Event, Publication, Purpose},
    gate,
    refusal::Refusal,
    rotation::{self, Phase, Rotation, RotationOptions, Strategy, TRUST_VALIDITY},
    state::Fleet,
};

pub(super) fn start(
    fleet: &Fleet,
    id: RotationId,
    to: Generation,
    strategy: Strategy,
    options: RotationOptions,
    allow_empty: bool,
    now: Timestamp,
) -> Result<Vec<Event>, Refusal> {
    if let Some(running) = fleet.running() {
        return Err(Refusal::RotationRunning {
            running: running.id,
            phase: running.phase,
        });
    }
    let kept = fleet.certificate(to).ok_or(Refusal::NoSuchGeneration(to))?;
    let from = fleet.serving().ok_or(Refusal::NotFounded)?;
    if from == to {
        return Err(Refusal::AlreadyServed(from));
    }
    if kept.certificate.not_after <= now {
        return Err(Refusal::CertificateExpired {
            generation: to,
            not_after: kept.certificate.not_after,
        });
    }
    if kept.certificate.not_before > now {
        return Err(Refusal::CertificateNotYetValid {
            generation: to,
            not_before: kept.certificate.not_before,
        });
    }
    if fleet.roster().is_empty() && !allow_empty {
        return Err(Refusal::NobodyToWaitFor);
    }
    if strategy == Strategy::Toggle
        && let Some(root) = fleet.root()
    {
        if !root.off_allowed {
            return Err(Refusal::OffForbidden);
        }
        if options.off_lease > root.max_off {
            return Err(Refusal::LeaseTooLong {
                max_off_seconds: root.max_off.as_secs(),
            });
        }
    }
    Ok(vec![Event::RotationStarted {
        rotation: id,
        from,
        to,
        strategy,
        options,
    }])
}

pub(super) fn running(fleet: &Fleet, id: Option<RotationId>) -> Result<&Rotation, Refusal> {
    match id {
        None => fleet.running().ok_or(Refusal::NoRotationRunning),
        Some(id) => {
            let rotation = fleet.rotation(id).ok_or(Refusal::NoSuchRotation(id))?;
            if rotation.phase.is_terminal() {
                Err(Refusal::RotationOver {
                    rotation: id,
                    phase: rotation.phase,
                })
            } else {
                Ok(rotation)
            }
        }
    }
}

pub(super) fn abort(
    fleet: &Fleet,
    id: Option<RotationId>,
    now: Timestamp,
) -> Result<Vec<Event>, Refusal> {
    let rotation = match id.and_then(|id| fleet.rotation(id)) {
        Some(rotation) if rotation.phase == Phase::Aborted => return Ok(vec![]),
        Some(_) | None => running(fleet, id)?,
    };
    if rotation.phase >= Phase::Swapping {
        return Err(Refusal::TooLateToAbort {
            rotation: rotation.id,
            phase: rotation.phase,
            from: rotation.from,
        });
    }
    let mut events = vec![Event::PhaseEntered {
        rotation: rotation.id,
        phase: Phase::Aborted,
        reason: "aborted by an operator".to_owned(),
        expected: RoaringBitmap::new(),
    }];
    if rotation.phase >= Phase::Preparing {
        events.extend(steady(fleet, now));
    }
    Ok(events)
}

pub(super) fn roll_back(
    fleet: &Fleet,
    id: Option<RotationId>,
    now: Timestamp,
) -> Result<Vec<Event>, Refusal> {
    let rotation = match id.and_then(|id| fleet.rotation(id)) {
        Some(rotation) if rotation.phase == Phase::RolledBack => return Ok(vec![]),
        Some(_) | None => running(fleet, id)?,
    };
    // Before, nothing has changed; afterwards, clients may have dropped the old anchor.
    if rotation.phase != Phase::Swapping {
        return Err(Refusal::NotSwapping {
            rotation: rotation.id,
            phase: rotation.phase,
            from: rotation.from,
        });
    }
    let reason = "rolled back by an operator".to_owned();
    Ok(rolled_back(fleet, rotation, reason, now))
}

fn rolled_back(fleet: &Fleet, rotation: &Rotation, reason: String, now: Timestamp) -> Vec<Event> {
    let mut events = vec![Event::PhaseEntered {
        rotation: rotation.id,
        phase: Phase::RolledBack,
        reason,
        expected: RoaringBitmap::new(),
    }];
    events.extend(fleet.anchor(rotation.from).and_then(|old| {
        let anchors = Anchors::new(vec![old]).ok()?;
        everyone(fleet, now, Mode::Verify, anchors, Purpose::Steady)
    }));
    events
}

/// The present trust again, for as long as what it is for.
pub(super) fn refresh(fleet: &Fleet, now: Timestamp) -> Vec<Event> {
    if rotation::due(fleet, now) != Some(rotation::Duty::RefreshTrust) {
        return vec![];
    }
    let again = fleet
        .template()
        .and_then(|(mode, anchors, purpose)| everyone(fleet, now, mode, anchors, purpose));
    again.into_iter().collect()
}

pub(super) fn waive(
    fleet: &Fleet,
    id: Option<RotationId>,
    client: ClientNumber,
    reason: String,
    until: Timestamp,
    now: Timestamp,
) -> Result<Vec<Event>, Refusal> {
    let rotation = running(fleet, id)?;
    active(fleet, client)?;
    if until <= now {
        return Err(Refusal::WaiverBornExpired);
    }
    let repeated = rotation
        .waivers
        .get(&client)
        .is_some_and(|waiver| waiver.reason == reason && waiver.until == until);
    if repeated {
        return Ok(vec![]);
    }
    let others = rotation
        .waivers
        .iter()
        .filter(|(other, waiver)| {
            **other != client && waiver.until > now && fleet.roster().contains(**other)
        })
        .count();
    let waived = u64::try_from(others).unwrap_or(u64::MAX);
    let cap = gate::waiver_cap(fleet);
    if waived >= cap {
        return Err(Refusal::WaiverCap { waived, cap });
    }
    Ok(vec![Event::ClientWaived {
        rotation: rotation.id,
        client,
        reason,
        until,
    }])
}

pub(super) fn advance(fleet: &Fleet, connected: RoaringBitmap, now: Timestamp) -> Vec<Event> {
    let Some(rotation) = fleet.running() else {
        return vec![];
    };
    let Some(phase) = rotation::next_phase(fleet, rotation, now) else {
        return vec![];
    };
    if phase == Phase::RolledBack {
        let missing = gate::missing(fleet, rotation, now).len();
        let reason = format!(
            "{missing} of {} clients did not come back on the new certificate within {:#}; at most {} may stay away",
            rotation.expected.len(),
            rotation.options.return_window,
            rotation.max_missing(),
        );
        return rolled_back(fleet, rotation, reason, now);
    }
    let mut events = vec![Event::PhaseEntered {
        rotation: rotation.id,
        phase,
        reason: String::new(),
        expected: if phase == Phase::Swapping {
            connected & fleet.roster()
        } else {
            RoaringBitmap::new()
        },
    }];
    events.extend(match phase {
        Phase::Preparing => prepare(fleet, rotation, now),
        Phase::Enforcing => fleet.anchor(rotation.to).and_then(|new| {
            let anchors = Anchors::new(vec![new]).ok()?;
            let purpose = Purpose::Enforce(rotation.id);
            everyone(fleet, now, Mode::Verify, anchors, purpose)
        }),
        Phase::Planned
        | Phase::PausingReplication
        | Phase::Swapping
        | Phase::ResumingReplication
        | Phase::Completed
        | Phase::Aborted
        | Phase::RolledBack => None,
    });
    events
}

fn prepare(fleet: &Fleet, rotation: &Rotation, now: Timestamp) -> Option<Event> {
    let mut anchors = vec![fleet.anchor(rotation.from)?];
    let new = fleet.anchor(rotation.to)?;
    // A certificate with the same key has the same anchor.
    if anchors.iter().all(|anchor| anchor.number != new.number) {
        anchors.push(new);
    }
    let mode = match rotation.strategy {
        Strategy::Overlap => Mode::Verify,
        Strategy::Toggle => Mode::Off {
            lease: rotation.options.off_lease,
        },
    };
    let purpose = Purpose::Prepare(rotation.id);
    everyone(fleet, now, mode, Anchors::new(anchors).ok()?, purpose)
}

/// Trust in what is served, for everyone.
fn steady(fleet: &Fleet, now: Timestamp) -> Option<Event> {
    let anchors = Anchors::new(vec![fleet.anchor(fleet.serving()?)?]).ok()?;
    everyone(fleet, now, Mode::Verify, anchors, Purpose::Steady)
}

pub(super) fn everyone(
    fleet: &Fleet,
    now: Timestamp,
    mode: Mode,
    anchors: Anchors,
    purpose: Purpose,
) -> Option<Event> {
    let groups = fleet.groups().map(|(name, _)| name.clone()).collect();
    publication(fleet, now, mode, anchors, purpose, groups)
}

pub(super) fn publication(
    fleet: &Fleet,
    now: Timestamp,
    mode: Mode,
    anchors: Anchors,
    purpose: Purpose,
    groups: Vec<GroupName>,
) -> Option<Event> {
    Some(Event::TrustPublished(Publication {
        revision: fleet.revision().next(),
        root_version: fleet.root()?.version,
        epoch: fleet.epoch(),
        mode,
        anchors,
        server_names: fleet.names_to_carry(),
        addresses: fleet.addresses()?.clone(),
        issued_at: now,
        expires_at: now.checked_add(TRUST_VALIDITY).ok()?,
        purpose,
        groups,
        documents: vec![],
    }))
}
