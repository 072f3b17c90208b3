//! The fold: how each event changes the state, live and at a restart alike. Nothing is decided here.

mod addresses;
mod clients;
mod recovery;
mod trust;

use std::collections::BTreeMap;

use convoy_shared::{
    ack::Evidence,
    id::{Epoch, RotationId},
};
use roaring::RoaringBitmap;

use super::{Done, Fleet, Founded, Outcome, REQUEST_MEMORY, Token};
use crate::{
    client::{Client, ClientNumber, ClientState, Instances},
    clock::ClockEvent,
    event::{Actor, Entry, Event},
    issuance::IssuanceEvent,
    rotation::{Phase, Rotation, Waiver},
};

impl Fleet {
    /// Takes in what was appended. The same for a live controller and for one that starts.
    pub fn fold(&mut self, entry: &Entry) {
        // The last one is what was asked for; what stands before it was needed for it.
        let outcome = entry.events.iter().rev().find_map(outcome);
        for event in &entry.events {
            self.apply(event, entry);
        }
        if self.may_wait_for_more(&entry.events) {
            self.note_missing(entry.time);
        }
        self.clock.fold(entry);
        if let Some(request) = &entry.request {
            while let Some((time, id)) = self.request_order.front() {
                if entry.time.duration_since(*time) < REQUEST_MEMORY {
                    break;
                }
                // One that came again since stands further back in line, too.
                if self.requests.get(id).is_some_and(|done| done.time <= *time) {
                    self.requests.remove(id);
                }
                self.request_order.pop_front();
            }
            self.request_order
                .push_back((entry.time, request.id.clone()));
            self.requests.insert(
                request.id.clone(),
                Done {
                    time: entry.time,
                    body: request.body,
                    outcome,
                },
            );
        }
    }

    /// Whether more clients may be missing at a gate than before. What clients show is most of what a journal holds, and makes it only fewer; a waiver
    /// may have run out meanwhile.
    fn may_wait_for_more(&self, events: &[Event]) -> bool {
        let shown = events.iter().all(|event| {
            matches!(
                event,
                Event::EvidenceGiven { .. }
                    | Event::RelaxationShown { .. }
                    | Event::IdentityIssued { .. }
                    | Event::TokenCreated { .. }
                    | Event::TokenRevoked { .. }
                    | Event::AlreadySo
                    | Event::Enrolment(_)
                    | Event::Issuance(_)
            )
        });
        !shown
            || self
                .running()
                .is_some_and(|rotation| !rotation.waivers.is_empty())
    }

    fn apply(&mut self, event: &Event, entry: &Entry) {
        match event {
            Event::FleetFounded {
                fleet,
                root,
                client_ca,
            } => {
                self.recovery.epoch = Epoch::FIRST;
                self.founded = Some(Founded {
                    fleet: *fleet,
                    roots: vec![root.clone()],
                    client_ca: client_ca.clone(),
                });
            }
            Event::RootRenewed { root } => {
                if let Some(founded) = &mut self.founded {
                    founded.roots.push(root.clone());
                }
            }
            Event::ReplicaStarted => {
                // Who was connected before a crash is expected back after a swap all the same.
                if let Some(rotation) = self.running_mut() {
                    rotation.candidate_held = false;
                    rotation.swapped = false;
                }
            }
            Event::Clock(ClockEvent::Interrupted) => {
                if let Some(rotation) = self.running_mut() {
                    rotation.swapped_since = entry.time;
                }
            }
            // Kept in the clock's own part.
            Event::Clock(_) => {}
            Event::ServerNamesSet { names } => self.server_names.clone_from(names),
            Event::AddressesSet { addresses } => self.set_addresses(addresses),
            Event::AddressUsed { client, address } => self.use_address(*client, address),
            // A group exists from the publication of its trust on: there is none without.
            Event::GroupCreated { .. } | Event::AlreadySo => {}
            Event::TokenCreated {
                token,
                group,
                uses,
                expires_at,
                public_key,
            } => {
                self.tokens.insert(
                    *token,
                    Token {
                        group: group.clone(),
                        uses: *uses,
                        used: 0,
                        created_at: entry.time,
                        expires_at: *expires_at,
                        public_key: *public_key,
                        revoked: false,
                    },
                );
            }
            Event::TokenRevoked { token } => {
                if let Some(token) = self.tokens.get_mut(token) {
                    token.revoked = true;
                }
            }
            Event::ClientJoined(joined) => self.join(joined, entry.time),
            Event::ClientRejoined(rejoined) => self.rejoin(rejoined, entry.time),
            Event::IdentityIssued { client, expires_at } => {
                if let Some(client) = self.client_mut(*client) {
                    client.identity_issued_at = entry.time;
                    client.identity_expires_at = *expires_at;
                }
            }
            Event::ClientConnected(connected) => self.connect(connected),
            Event::EvidenceGiven {
                client,
                revision,
                evidence,
            } => self.take_evidence(*client, *revision, *evidence),
            Event::RelaxationShown { client, revision } => {
                self.take_evidence(*client, *revision, Evidence::Applied);
                if let Some(rotation) = self.rotation_about(*client, *revision) {
                    rotation.relaxed.insert(*client);
                }
                self.unsuspect(*client);
            }
            Event::EvidenceCleared { client } => self.clear_evidence(*client),
            Event::ClientSuspected { client, suspicion } => {
                self.clear_evidence(*client);
                if let Some(client) = self.client_mut(*client) {
                    client.suspicion = Some(*suspicion);
                }
            }
            Event::ClientDuplicated { client } => {
                self.clear_evidence(*client);
                if let Some(client) = self.client_mut(*client) {
                    client.state = ClientState::Duplicated;
                }
            }
            Event::ClientResolved { client } => {
                if let Some(client) = self.client_mut(*client) {
                    client.state = ClientState::Active;
                    client.suspicion = None;
                    client.instances = Instances::default();
                }
            }
            Event::ClientDecommissioned { client } => {
                self.clear_evidence(*client);
                self.roster.remove(*client);
                if let Some(client) = self.client_mut(*client) {
                    client.state = ClientState::Decommissioned;
                }
            }
            Event::CertificateImported(imported) => self.import(imported, entry.time),
            Event::CertificateChainTaken { generation, chain } => {
                if let Some(held) = self.certificates.get_mut(generation) {
                    held.certificate.chain.clone_from(chain);
                }
            }
            Event::CertificateRetired { generation } => {
                if let Some(held) = self.certificates.get_mut(generation) {
                    held.retired = true;
                }
            }
            Event::CertificateLoaded { generation } => {
                if let Some(rotation) = self.running_mut().filter(|r| r.to == *generation) {
                    rotation.candidate_held = true;
                    if rotation.phase >= Phase::Swapping {
                        rotation.swapped = true;
                        rotation.swapped_since = entry.time;
                    }
                }
            }
            Event::Enrolment(event) => self.enrolment.fold(event),
            Event::Issuance(event) => self.issuance.fold(event, entry.time),
            Event::Recovery(event) => self.recover(event, entry.time),
            Event::TrustPublished(publication) => self.publish(publication, entry.time),
            Event::RotationStarted {
                rotation,
                from,
                to,
                strategy,
                options,
            } => self.rotations.push(Rotation {
                id: *rotation,
                from: *from,
                to: *to,
                strategy: *strategy,
                options: *options,
                phase: Phase::Planned,
                phase_since: entry.time,
                started_at: entry.time,
                paused: false,
                reason: String::new(),
                passed: vec![Phase::Planned],
                revision: None,
                received: RoaringBitmap::new(),
                applied: RoaringBitmap::new(),
                relaxed: RoaringBitmap::new(),
                proved: RoaringBitmap::new(),
                confirmed: RoaringBitmap::new(),
                expected: RoaringBitmap::new(),
                returned: RoaringBitmap::new(),
                stayed_away: RoaringBitmap::new(),
                candidate_held: false,
                swapped: false,
                swapped_since: entry.time,
                waivers: BTreeMap::new(),
                waited_for: 0,
            }),
            Event::PhaseEntered {
                rotation,
                phase,
                reason,
                expected,
            } => self.enter(*rotation, *phase, reason, expected, entry.time),
            Event::RotationPaused { rotation } => {
                if let Some(rotation) = self.rotation_mut(*rotation) {
                    rotation.paused = true;
                }
            }
            Event::RotationResumed { rotation } => {
                if let Some(rotation) = self.rotation_mut(*rotation) {
                    rotation.paused = false;
                }
            }
            Event::ClientWaived {
                rotation,
                client,
                reason,
                until,
            } => {
                let waiver = Waiver {
                    reason: reason.clone(),
                    until: *until,
                    actor: match &entry.actor {
                        Actor::LocalAdmin(uid) => format!("local user {uid}"),
                        Actor::Controller | Actor::Clients | Actor::Stranger => {
                            "controller".to_owned()
                        }
                    },
                };
                if let Some(rotation) = self.rotation_mut(*rotation) {
                    rotation.waivers.insert(*client, waiver);
                }
            }
        }
    }

    fn client_mut(&mut self, number: ClientNumber) -> Option<&mut Client> {
        self.clients.get_mut(&number)
    }

    fn rotation_mut(&mut self, id: RotationId) -> Option<&mut Rotation> {
        self.rotations
            .iter_mut()
            .rev()
            .find(|rotation| rotation.id == id)
    }

    fn running_mut(&mut self) -> Option<&mut Rotation> {
        self.rotations
            .last_mut()
            .filter(|rotation| !rotation.phase.is_terminal())
    }
}

/// What an event is to the caller whose request caused it.
#[must_use]
pub fn outcome(event: &Event) -> Option<Outcome> {
    match event {
        Event::RootRenewed { root } => Some(Outcome::Root(root.root.version)),
        Event::TokenCreated { token, .. } | Event::TokenRevoked { token } => {
            Some(Outcome::Token(*token))
        }
        Event::GroupCreated { group } => Some(Outcome::Group(group.clone())),
        Event::RotationStarted { rotation, .. }
        | Event::RotationPaused { rotation }
        | Event::RotationResumed { rotation }
        | Event::ClientWaived { rotation, .. }
        | Event::PhaseEntered { rotation, .. } => Some(Outcome::Rotation(*rotation)),
        Event::CertificateImported(imported) => Some(Outcome::Certificate(imported.generation)),
        Event::CertificateChainTaken { generation, .. } => Some(Outcome::Chain(*generation)),
        Event::CertificateRetired { generation } => Some(Outcome::Certificate(*generation)),
        Event::ClientResolved { client } | Event::ClientDecommissioned { client } => {
            Some(Outcome::Client(*client))
        }
        Event::Issuance(IssuanceEvent::ChallengeCreated(challenge)) => {
            Some(Outcome::Challenge(challenge.id))
        }
        Event::Enrolment(_)
        | Event::Clock(_)
        | Event::Issuance(_)
        | Event::Recovery(_)
        | Event::FleetFounded { .. }
        | Event::ReplicaStarted
        | Event::AlreadySo
        | Event::ServerNamesSet { .. }
        | Event::AddressesSet { .. }
        | Event::AddressUsed { .. }
        | Event::ClientJoined(_)
        | Event::ClientRejoined(_)
        | Event::IdentityIssued { .. }
        | Event::ClientConnected(_)
        | Event::EvidenceGiven { .. }
        | Event::RelaxationShown { .. }
        | Event::EvidenceCleared { .. }
        | Event::ClientSuspected { .. }
        | Event::ClientDuplicated { .. }
        | Event::CertificateLoaded { .. }
        | Event::TrustPublished(_) => None,
    }
}
