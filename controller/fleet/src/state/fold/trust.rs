//! What an event about certificates, trust documents and a rotation's phases changes: what is served, published and waited for. No client changes here.

use std::{collections::BTreeMap, sync::Arc};

use convoy_shared::{
    ack::Held,
    id::{Generation, RotationId},
};
use jiff::Timestamp;
use roaring::RoaringBitmap;

use crate::{
    event::{Imported, Publication, Purpose},
    gate,
    rotation::Phase,
    state::{Fleet, Group, GroupTrust, KeptCertificate, Published, Service, Template},
};

impl Fleet {
    pub(super) fn import(&mut self, imported: &Imported, now: Timestamp) {
        self.certificates.insert(
            imported.generation,
            KeptCertificate {
                certificate: imported.certificate.clone(),
                anchor: imported.anchor,
                imported_at: now,
                in_service: None,
                retired: false,
            },
        );
        if self.serving.is_none() {
            self.serve(imported.generation, now);
        }
    }

    pub(super) fn publish(&mut self, publication: &Publication, now: Timestamp) {
        let mut digests = BTreeMap::new();
        for (name, envelope) in publication.groups.iter().zip(&publication.documents) {
            let held = Held {
                revision: publication.revision,
                digest: envelope.digest(),
            };
            digests.insert(name.clone(), held.digest);
            let created_at = self.groups.get(name).map_or(now, |group| group.created_at);
            self.groups.insert(
                name.clone(),
                Group {
                    created_at,
                    trust: Arc::new(GroupTrust {
                        held,
                        envelope: envelope.clone(),
                        purpose: publication.purpose,
                        mode: publication.mode,
                        issued_at: publication.issued_at,
                        expires_at: publication.expires_at,
                    }),
                },
            );
        }
        self.publications.insert(
            publication.revision,
            Published {
                mode: publication.mode,
                anchors: publication.anchors.numbers(),
                purpose: publication.purpose,
                digests,
            },
        );
        self.current = Some(Template {
            mode: publication.mode,
            anchors: publication.anchors.clone(),
            purpose: publication.purpose,
        });
        if let Purpose::Prepare(id) | Purpose::Enforce(id) = publication.purpose
            && let Some(rotation) = self.rotation_mut(id)
        {
            rotation.revision = Some(publication.revision);
        }
    }

    pub(super) fn enter(
        &mut self,
        id: RotationId,
        phase: Phase,
        reason: &str,
        expected: &RoaringBitmap,
        now: Timestamp,
    ) {
        // Who has not come back stays with the rotation, whatever becomes of its clients and waivers.
        let stayed_away = self
            .rotation(id)
            .filter(|_| phase == Phase::RolledBack)
            .map(|rotation| gate::missing(self, rotation, now));
        let Some(rotation) = self.rotation_mut(id) else {
            return;
        };
        rotation.stayed_away = stayed_away.unwrap_or_default();
        rotation.phase = phase;
        rotation.phase_since = now;
        rotation.passed.push(phase);
        reason.clone_into(&mut rotation.reason);
        let (from, to) = (rotation.from, rotation.to);
        match phase {
            Phase::Swapping => {
                rotation.expected.clone_from(expected);
                rotation.swapped = false;
                self.serve(to, now);
            }
            Phase::RolledBack => self.serve(from, now),
            Phase::Planned
            | Phase::PausingReplication
            | Phase::Preparing
            | Phase::Enforcing
            | Phase::ResumingReplication
            | Phase::Completed
            | Phase::Aborted => {}
        }
    }

    /// Puts a certificate in service. One that was retired no longer is.
    pub(super) fn serve(&mut self, generation: Generation, now: Timestamp) {
        self.serving = Some(generation);
        let last = self
            .certificates
            .values()
            .filter_map(|held| held.in_service)
            .max();
        if let Some(held) = self.certificates.get_mut(&generation) {
            held.in_service = Some(Service {
                number: last.map_or(1, |last| last.number.saturating_add(1)),
                since: now,
            });
            held.retired = false;
        }
    }

    /// Keeps the most clients ever missing at a shut gate.
    pub(super) fn note_missing(&mut self, now: Timestamp) {
        let Some(rotation) = self.running() else {
            return;
        };
        if !matches!(rotation.phase, Phase::Preparing | Phase::Enforcing) {
            return;
        }
        let missing = gate::missing(self, rotation, now).len();
        if let Some(rotation) = self.running_mut() {
            rotation.waited_for = rotation.waited_for.max(missing);
        }
    }
}
