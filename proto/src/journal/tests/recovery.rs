//! One sample of every event about the journal itself.

use convoy_fleet::{
    issuance::CrlReason,
    recovery::{Ahead, FastForward, KeptRevocation, Readmitted, RecoveryEvent},
};
use convoy_shared::trust::Position;

use super::*;

/// A sample of the variant that follows this one's; `None` after the last.
fn following(event: &RecoveryEvent) -> Option<RecoveryEvent> {
    Some(match event {
        RecoveryEvent::PutBack => RecoveryEvent::AheadSeen(Ahead {
            client: 7,
            position: Position {
                root_version: RootVersion(2),
                epoch: Epoch(3),
                revision: Revision(70_000),
            },
            anchors: vec![
                (AnchorNumber(1), Digest::of(b"one")),
                (AnchorNumber(9), Digest::of(b"nine")),
            ],
            roots: roots(),
        }),
        RecoveryEvent::AheadSeen(_) => RecoveryEvent::FastForwarded(FastForward {
            epoch: Epoch(4),
            revision: Revision(1),
            generation: Generation(2),
            anchor: AnchorNumber(3),
            client: 4,
            serving: Generation(5),
            roots: roots(),
        }),
        RecoveryEvent::FastForwarded(_) => RecoveryEvent::Readmitted(Readmitted {
            id: joined().id,
            number: 70_000,
            name: "pc-1".to_owned(),
            group: group(),
            key: Digest::of(b"key"),
            agent_version: "0.1.0".to_owned(),
            identity_expires_at: at(60),
        }),
        RecoveryEvent::Readmitted(_) => RecoveryEvent::RevocationKept(KeptRevocation {
            serial: vec![1, 0, 2],
            authority: 3,
            spki: Digest::of(b"spki"),
            not_after: at(90),
            at: at(5),
            reason: CrlReason::KeyCompromise,
        }),
        RecoveryEvent::RevocationKept(_) => return None,
    })
}

fn roots() -> Vec<SignedRoot> {
    let Event::FleetFounded { root, .. } = founded() else {
        return vec![];
    };
    vec![root]
}

pub(super) fn samples() -> Vec<Event> {
    std::iter::successors(Some(RecoveryEvent::PutBack), following)
        .map(Event::Recovery)
        .collect()
}
