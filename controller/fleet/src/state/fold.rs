//! The fold: how each event changes the state, live and at a restart alike. Nothing is decided here.

use std::{collections::BTreeMap, sync::Arc};

use convoy_shared::{
    ack::{Evidence, Held},
    id::{Generation, Revision, RotationId},
};
use jiff::Timestamp;
use roaring::RoaringBitmap;

use super::{
    Done, Fleet, Founded, Group, GroupTrust, KeptCertificate, Outcome, Published, REQUEST_MEMORY,
    Template, Token,
};
use crate::{
    client::{Client, ClientNumber, ClientState, Instances, Stated},
    event::{Actor, Connected, Entry, Event, Imported, Joined, Publication, Purpose},
    gate,
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
        self.note_missing(entry.time);
        self.last_time = Some(entry.time);
        if let Some(request) = &entry.request {
            while let Some((time, id)) = self.request_order.front() {
                if entry.time.duration_since(*time) < REQUEST_MEMORY {
                    break;
                }
                self.requests.remove(id);
                self.request_order.pop_front();
            }
            self.request_order.retain(|(_, id)| *id != request.id);
            self.request_order
                .push_back((entry.time, request.id.clone()));
            self.requests.insert(
                request.id.clone(),
                Done {
                    body: request.body,
                    outcome,
                },
            );
        }
    }

    fn apply(&mut self, event: &Event, entry: &Entry) {
        match event {
            Event::FleetFounded {
                fleet,
                root,
                client_ca,
            } => {
                self.founded = Some(Founded {
                    fleet: *fleet,
                    roots: vec![root.clone()],
                    client_ca: client_ca.clone(),
                });
            }
            Event::ReplicaStarted => {
                // Who was connected before a crash is expected back after a swap all the same.
                if let Some(rotation) = self.running_mut() {
                    rotation.candidate_held = false;
                    rotation.swapped = false;
                }
            }
            Event::ServerNamesSet { names } => self.server_names.clone_from(names),
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
            Event::IdentityIssued { client, expires_at } => {
                if let Some(client) = self.client_mut(*client) {
                    client.identity_expires_at = *expires_at;
                }
            }
            Event::ClientConnected(connected) => self.connect(connected, entry.time),
            Event::ClientDisconnected { client } => {
                self.connected.remove(*client);
                self.seen(*client, entry.time);
            }
            Event::ClientsSeen { clients } => {
                for client in clients {
                    self.seen(client, entry.time);
                }
            }
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
                self.connected.remove(*client);
                if let Some(client) = self.client_mut(*client) {
                    client.state = ClientState::Decommissioned;
                }
            }
            Event::CertificateImported(imported) => self.import(imported, entry.time),
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
            } => self.enter(*rotation, *phase, reason, entry.time),
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

    fn join(&mut self, joined: &Joined, now: Timestamp) {
        self.clients.push(Client {
            id: joined.id,
            name: joined.name.clone(),
            group: joined.group.clone(),
            key: joined.key,
            state: ClientState::Active,
            joined_at: now,
            joined_with: self
                .groups
                .get(&joined.group)
                .map_or(Revision(0), |group| group.trust.held.revision),
            last_seen: now,
            stated: None,
            agent_version: joined.agent_version.clone(),
            identity_expires_at: joined.identity_expires_at,
            suspicion: None,
            instances: Instances::default(),
        });
        self.enrolment.joined(&joined.group);
        self.by_id.insert(joined.id, joined.number);
        self.by_key.insert(joined.key, joined.number);
        self.roster.insert(joined.number);
        if let Some(token) = self.tokens.get_mut(&joined.token) {
            token.used = token.used.saturating_add(1);
        }
    }

    fn connect(&mut self, connected: &Connected, now: Timestamp) {
        let number = connected.client;
        let Some(client) = self.client_mut(number) else {
            return;
        };
        client.last_seen = now;
        client.agent_version.clone_from(&connected.agent_version);
        client.instances = client
            .instances
            .after(connected.instance, connected.incarnation);
        client.stated = Some(Stated {
            revision: connected.held,
            mode: connected.mode,
            served: connected.served,
        });
        let counts = client.state == ClientState::Active && client.suspicion.is_none();
        let group = client.group.clone();
        self.connected.insert(number);
        if let Some(rotation) = self.running_mut()
            && rotation.phase == Phase::Swapping
            && connected.served == rotation.to
        {
            rotation.returned.insert(number);
        }
        // The latest statement wins: what it no longer holds it has no longer shown.
        let purpose = connected
            .held
            .and_then(|revision| self.publications.get(&revision))
            .map(|published| published.purpose);
        if let Some(rotation) = self.rotations.last_mut() {
            let confirmed = purpose == Some(Purpose::Enforce(rotation.id));
            let prepared = confirmed || purpose == Some(Purpose::Prepare(rotation.id));
            if rotation.phase.is_terminal() {
                // What was shown in a rotation that is over stays as it was.
            } else if !prepared {
                rotation.clear(number);
            } else if !confirmed {
                rotation.confirmed.remove(number);
            }
        }
        let current = self
            .groups
            .get(&group)
            .map(|group| group.trust.held.revision);
        if counts && let Some(held) = connected.held.filter(|held| Some(*held) == current) {
            self.take_evidence(number, held, Evidence::Applied);
        }
    }

    /// The rotation that a document of a client's group is about, if it is the group's present one.
    fn rotation_about(
        &mut self,
        client: ClientNumber,
        revision: Revision,
    ) -> Option<&mut Rotation> {
        let group = &self.client(client)?.group;
        let trust = &self.groups.get(group)?.trust;
        if trust.held.revision != revision {
            return None;
        }
        match trust.purpose {
            Purpose::Steady => None,
            Purpose::Prepare(id) | Purpose::Enforce(id) => self.rotation_mut(id),
        }
    }

    fn take_evidence(&mut self, client: ClientNumber, revision: Revision, evidence: Evidence) {
        if let Some(rotation) = self.rotation_about(client, revision) {
            rotation.give(client, evidence);
        }
        if evidence >= Evidence::Proved {
            self.unsuspect(client);
        }
        if evidence >= Evidence::Applied
            && let Some(stated) = self.client_mut(client).and_then(|c| c.stated.as_mut())
        {
            stated.revision = Some(revision);
        }
    }

    fn unsuspect(&mut self, client: ClientNumber) {
        if let Some(client) = self.client_mut(client) {
            client.suspicion = None;
        }
    }

    fn clear_evidence(&mut self, client: ClientNumber) {
        if let Some(rotation) = self.running_mut() {
            rotation.clear(client);
        }
    }

    fn seen(&mut self, client: ClientNumber, now: Timestamp) {
        if let Some(client) = self.client_mut(client) {
            client.last_seen = client.last_seen.max(now);
        }
    }

    fn import(&mut self, imported: &Imported, now: Timestamp) {
        let first = self.serving.is_none();
        self.certificates.insert(
            imported.generation,
            KeptCertificate {
                certificate: imported.certificate.clone(),
                anchor: imported.anchor,
                restored_from: imported.restored_from,
                imported_at: now,
                was_served: first,
                retired: false,
            },
        );
        if first {
            self.serving = Some(imported.generation);
        }
    }

    fn publish(&mut self, publication: &Publication, now: Timestamp) {
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

    fn enter(&mut self, id: RotationId, phase: Phase, reason: &str, now: Timestamp) {
        let connected = &self.connected & &self.roster;
        let Some(rotation) = self.rotation_mut(id) else {
            return;
        };
        rotation.phase = phase;
        rotation.phase_since = now;
        rotation.passed.push(phase);
        reason.clone_into(&mut rotation.reason);
        let (from, to) = (rotation.from, rotation.to);
        match phase {
            Phase::Swapping => {
                rotation.expected = connected;
                rotation.swapped = false;
                self.serve(to);
            }
            Phase::RolledBack => self.serve(from),
            Phase::Planned
            | Phase::PausingReplication
            | Phase::Preparing
            | Phase::Enforcing
            | Phase::ResumingReplication
            | Phase::Completed
            | Phase::Aborted => {}
        }
    }

    fn serve(&mut self, generation: Generation) {
        self.serving = Some(generation);
        if let Some(held) = self.certificates.get_mut(&generation) {
            held.was_served = true;
        }
    }

    /// Keeps the most clients ever missing at a shut gate.
    fn note_missing(&mut self, now: Timestamp) {
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

    fn client_mut(&mut self, number: ClientNumber) -> Option<&mut Client> {
        self.clients.get_mut(usize::try_from(number).ok()?)
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
        Event::CertificateRetired { generation } => Some(Outcome::Certificate(*generation)),
        Event::ClientResolved { client } | Event::ClientDecommissioned { client } => {
            Some(Outcome::Client(*client))
        }
        Event::Issuance(IssuanceEvent::ChallengeCreated(challenge)) => {
            Some(Outcome::Challenge(challenge.id))
        }
        Event::Enrolment(_)
        | Event::Issuance(_)
        | Event::FleetFounded { .. }
        | Event::ReplicaStarted
        | Event::AlreadySo
        | Event::ServerNamesSet { .. }
        | Event::ClientJoined(_)
        | Event::IdentityIssued { .. }
        | Event::ClientConnected(_)
        | Event::ClientDisconnected { .. }
        | Event::ClientsSeen { .. }
        | Event::EvidenceGiven { .. }
        | Event::RelaxationShown { .. }
        | Event::EvidenceCleared { .. }
        | Event::ClientSuspected { .. }
        | Event::ClientDuplicated { .. }
        | Event::CertificateLoaded { .. }
        | Event::TrustPublished(_) => None,
    }
}
