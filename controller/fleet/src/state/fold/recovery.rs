//! What an event about the journal itself changes: a recovery begins a new epoch, and voids what may have come back to life.

use jiff::Timestamp;

use crate::{
    client::{Client, ClientState, Instances, Suspicion},
    recovery::{Older, Readmitted, RecoveryEvent},
    state::Fleet,
};

impl Fleet {
    pub(super) fn recover(&mut self, event: &RecoveryEvent, now: Timestamp) {
        match event {
            RecoveryEvent::PutBack => {
                self.recovery.older.get_or_insert(Older {
                    since: now,
                    ahead: None,
                });
            }
            RecoveryEvent::AheadSeen(ahead) => {
                for (number, spki) in &ahead.anchors {
                    // A number that the journal has given itself means what the journal says.
                    if self
                        .certificates
                        .values()
                        .all(|kept| kept.anchor != *number)
                    {
                        self.recovery.foreign.insert(*number, *spki);
                    }
                }
                let since = self
                    .recovery
                    .older
                    .as_ref()
                    .map_or(now, |older| older.since);
                self.recovery.older = Some(Older {
                    since,
                    ahead: Some(ahead.clone()),
                });
            }
            RecoveryEvent::FastForwarded(forward) => {
                if let Some(founded) = &mut self.founded {
                    founded.roots.extend(forward.roots.iter().cloned());
                }
                let recovery = &mut self.recovery;
                recovery.older = None;
                recovery.epoch = forward.epoch;
                recovery.revision = forward.revision;
                recovery.generation = forward.generation;
                recovery.anchor = forward.anchor;
                recovery.client = forward.client;
                self.serve(forward.serving, now);
                for token in self.tokens.values_mut() {
                    token.revoked = true;
                }
                self.issuance.recovered();
                self.enrolment.recovered();
                for client in self.clients.values_mut() {
                    if client.suspicion == Some(Suspicion::UnknownDocument) {
                        client.suspicion = None;
                    }
                }
            }
            RecoveryEvent::Readmitted(client) => self.readmit(client, now),
            RecoveryEvent::RevocationKept(kept) => self.issuance.keep_revocation(kept),
        }
    }

    fn readmit(&mut self, readmitted: &Readmitted, now: Timestamp) {
        let client = Client {
            id: readmitted.id,
            name: readmitted.name.clone(),
            group: readmitted.group.clone(),
            key: readmitted.key,
            state: ClientState::Active,
            joined_at: now,
            joined_with: self
                .groups
                .get(&readmitted.group)
                .map(|group| group.trust.held.revision)
                .unwrap_or_default(),
            stated: None,
            agent_version: readmitted.agent_version.clone(),
            // When it really was is not known any more.
            identity_issued_at: now,
            identity_expires_at: readmitted.identity_expires_at,
            rejoined: None,
            suspicion: None,
            instances: Instances::default(),
        };
        self.enrol(readmitted.number, client);
    }
}
