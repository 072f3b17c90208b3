//! What must hold after every entry, each as a function. Who has shown what is kept in a ledger of its own, from what clients stated and not from the
//! events that it led to.

use std::collections::BTreeMap;

use convoy_shared::{
    ack::Held,
    id::{Epoch, Generation, Incarnation, InstanceId},
    trust::{Mode, ModeInForce},
};
use roaring::RoaringBitmap;

use super::Host;
use crate::{
    client::{ClientNumber, ClientState},
    event::{Entry, Event, Purpose},
    rotation::{Phase, Rotation, Strategy},
    state::Fleet,
    statement::Statement,
};

/// What each client's statements amount to.
#[derive(Default)]
pub(super) struct Ledger {
    shown: BTreeMap<ClientNumber, Shown>,
    instances: BTreeMap<ClientNumber, (InstanceId, Incarnation)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Shown {
    held: Held,
    what: What,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum What {
    AcceptsNew,
    IsOff,
    CameBack,
}

impl Ledger {
    /// Takes in a statement, before it is decided.
    pub(super) fn note(&mut self, fleet: &Fleet, number: ClientNumber, statement: &Statement) {
        let Some(client) = fleet.client(number) else {
            return;
        };
        let known =
            |held: &Held| fleet.published(&client.group, held.revision) == Some(held.digest);
        match statement {
            Statement::Connected {
                incarnation,
                instance,
                held,
                mode,
                ..
            } => {
                let now = (*instance, *incarnation);
                let last = self.instances.insert(number, now).unwrap_or(now);
                let backwards = last.0 != now.0 && now.1 <= last.1;
                let off_unasked =
                    *mode == ModeInForce::Off && fleet.mode_of(held.revision) == Some(Mode::Verify);
                let same = self.shown.get(&number).is_some_and(|s| s.held == *held);
                if backwards || off_unasked || !same || !known(held) {
                    self.shown.remove(&number);
                }
            }
            Statement::Received(held) | Statement::Applied(held) => {
                if !known(held) {
                    self.shown.remove(&number);
                }
            }
            Statement::CameBy(_) => {}
            Statement::Suspected(_) => {
                self.shown.remove(&number);
            }
            Statement::Proved(held, to) => {
                self.give(fleet, number, *held, Some(*to), What::AcceptsNew)
            }
            Statement::Relaxed(held) => self.give(fleet, number, *held, None, What::IsOff),
            Statement::Confirmed(held, to) => {
                self.give(fleet, number, *held, Some(*to), What::CameBack)
            }
            Statement::Enrolment(_) => {}
        }
    }

    fn give(
        &mut self,
        fleet: &Fleet,
        number: ClientNumber,
        held: Held,
        to: Option<Generation>,
        what: What,
    ) {
        let (Some(rotation), Some(client)) = (fleet.running(), fleet.client(number)) else {
            return;
        };
        let right = fleet.group(&client.group).map(|group| group.trust.held) == Some(held)
            && client.state == ClientState::Active
            && to.is_none_or(|to| to == rotation.to);
        if right {
            self.shown.insert(number, Shown { held, what });
        }
    }
}

/// What must hold of an entry that is about to be folded.
pub(super) fn before_entry(before: &Fleet, ledger: &Ledger, entry: &Entry) {
    revisions_only_grow(before, entry);
    an_open_gate_means_that_everyone_has_shown_it(before, ledger, entry);
}

/// What must hold whenever an entry has been folded.
pub(super) fn after_entry(fleet: &Fleet) {
    what_is_served_is_what_the_phase_says(fleet);
    what_is_published_vouches_for_what_is_served(fleet);
    counts_are_in_order(fleet);
}

fn revisions_only_grow(before: &Fleet, entry: &Entry) {
    let mut newest = before.revision();
    for event in &entry.events {
        if let Event::TrustPublished(publication) = event {
            assert!(
                publication.revision > newest,
                "revision {} after {newest}",
                publication.revision
            );
            newest = publication.revision;
        }
    }
}

fn an_open_gate_means_that_everyone_has_shown_it(before: &Fleet, ledger: &Ledger, entry: &Entry) {
    let opens = entry.events.iter().find_map(|event| match event {
        Event::PhaseEntered { phase, .. } => Some(*phase),
        _ => None,
    });
    let Some(rotation) = before.running() else {
        return;
    };
    let asked = match (opens, rotation.strategy) {
        (Some(Phase::Swapping), Strategy::Overlap) => What::AcceptsNew,
        (Some(Phase::Swapping), Strategy::Toggle) => What::IsOff,
        (Some(Phase::ResumingReplication), _) => What::CameBack,
        _ => return,
    };
    for number in before.roster() {
        let waived = rotation
            .waivers
            .get(&number)
            .is_some_and(|waiver| waiver.until > entry.time);
        assert!(
            waived || has_shown(before, ledger, rotation, number, asked),
            "{opens:?} was entered although client {number} has not shown {asked:?}: {:?}",
            ledger.shown.get(&number)
        );
    }
}

fn has_shown(
    fleet: &Fleet,
    ledger: &Ledger,
    rotation: &Rotation,
    number: ClientNumber,
    asked: What,
) -> bool {
    let client = fleet.client(number).expect("it is in the roster");
    let trust = &fleet.group(&client.group).expect("its group").trust;
    let purpose = match asked {
        What::AcceptsNew | What::IsOff => Purpose::Prepare(rotation.id),
        What::CameBack => Purpose::Enforce(rotation.id),
    };
    let shown = Shown {
        held: trust.held,
        what: asked,
    };
    trust.purpose == purpose
        && client.state == ClientState::Active
        && ledger.shown.get(&number) == Some(&shown)
}

fn what_is_served_is_what_the_phase_says(fleet: &Fleet) {
    let Some(rotation) = fleet.rotations().last() else {
        return;
    };
    // A recovery ends a rotation wherever it is, and says by itself what is served.
    if rotation.phase.is_terminal() && fleet.epoch() > Epoch::FIRST {
        return;
    }
    let expected = match rotation.phase {
        Phase::Planned
        | Phase::PausingReplication
        | Phase::Preparing
        | Phase::Aborted
        | Phase::RolledBack => rotation.from,
        Phase::Swapping | Phase::Enforcing | Phase::ResumingReplication | Phase::Completed => {
            rotation.to
        }
    };
    assert_eq!(fleet.serving(), Some(expected), "in {}", rotation.phase);
}

fn what_is_published_vouches_for_what_is_served(fleet: &Fleet) {
    let Some(serving) = fleet.serving() else {
        return;
    };
    let mut needed = vec![serving];
    if let Some(rotation) = fleet.running()
        && matches!(rotation.phase, Phase::Preparing | Phase::Swapping)
    {
        needed.extend([rotation.from, rotation.to]);
    }
    for (name, group) in fleet.groups() {
        let anchors = fleet.anchors_of(group.trust.held.revision);
        for generation in &needed {
            let anchor = fleet.anchor(*generation).expect("it is kept").number;
            assert!(
                anchors.contains(&anchor),
                "group {name} trusts {anchors:?}, and generation {generation} has anchor {anchor}"
            );
        }
        assert!(
            group.trust.mode == Mode::Verify || needed.len() == 3,
            "verification is off outside of a toggle's swap"
        );
    }
}

fn counts_are_in_order(fleet: &Fleet) {
    let Some(rotation) = fleet.running() else {
        return;
    };
    let sets = [
        &rotation.confirmed,
        &rotation.proved,
        &rotation.applied,
        &rotation.received,
        fleet.roster(),
    ];
    for pair in sets.windows(2) {
        assert!(pair[0].is_subset(pair[1]), "{:?} of {:?}", pair[0], pair[1]);
    }
    let missing: RoaringBitmap =
        crate::gate::missing(fleet, rotation, fleet.clock().newest().expect("an entry"));
    assert!(
        rotation.phase == Phase::Swapping || missing.len() <= rotation.waited_for,
        "{} are missing, and waited_for is {}",
        missing.len(),
        rotation.waited_for
    );
}

/// A host that reboots now is shown a certificate that the document on its disk vouches for, also when its lease has run out.
pub(super) fn nobody_is_orphaned(fleet: &Fleet, host: &Host) {
    let choice = fleet
        .certificate_for(Some(&host.anchors))
        .expect("one is served");
    let shown = fleet.anchor(choice.generation).expect("it is kept").number;
    assert!(
        host.anchors.contains(&shown),
        "{host:?} is shown generation {}, whose anchor is {shown}",
        choice.generation
    );
}
