//! What an event about a client changes: who is enrolled, and what each has shown. What a statement is worth is not judged here.

use convoy_shared::{ack::Evidence, id::Revision};
use jiff::Timestamp;

use crate::{
    client::{Client, ClientNumber, ClientState, Instances, Stated},
    event::{Connected, Joined, Purpose, Rejoined},
    rotation::{Phase, Rotation},
    state::Fleet,
};

impl Fleet {
    pub(super) fn join(&mut self, joined: &Joined, now: Timestamp) {
        let client = Client {
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
            stated: None,
            agent_version: joined.agent_version.clone(),
            identity_issued_at: now,
            identity_expires_at: joined.identity_expires_at,
            rejoined: None,
            suspicion: None,
            instances: Instances::default(),
        };
        self.enrol(joined.number, client);
        if let Some(token) = self.tokens.get_mut(&joined.token) {
            token.used = token.used.saturating_add(1);
        }
    }

    /// A client is in the roster from now on.
    pub(super) fn enrol(&mut self, number: ClientNumber, client: Client) {
        self.enrolment.joined(number, &client.group);
        self.by_id.insert(client.id, number);
        self.by_key.insert(client.key, number);
        self.roster.insert(number);
        self.clients.insert(number, client);
    }

    /// What it was given is not known to be on its disk before it says so: an answer can be lost. So it is cut off until it has connected.
    pub(super) fn rejoin(&mut self, rejoined: &Rejoined, now: Timestamp) {
        self.clear_evidence(rejoined.client);
        if let Some(client) = self.client_mut(rejoined.client) {
            client.rejoined = Some((now, rejoined.token));
            client.agent_version.clone_from(&rejoined.agent_version);
            client.identity_expires_at = rejoined.identity_expires_at;
        }
    }

    /// What this changes is news in [`statement::decide`](crate::statement::decide): the two go together.
    pub(super) fn connect(&mut self, connected: &Connected) {
        let number = connected.client;
        let Some(client) = self.client_mut(number) else {
            return;
        };
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
        if let Some(rotation) = self.running_mut()
            && rotation.phase == Phase::Swapping
            && connected.served == rotation.to
        {
            rotation.returned.insert(number);
        }
        // The latest statement wins: what it no longer holds it has no longer shown.
        let purpose = connected
            .held
            .and_then(|revision| self.purpose_of(revision));
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
    pub(super) fn rotation_about(
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

    pub(super) fn take_evidence(
        &mut self,
        client: ClientNumber,
        revision: Revision,
        evidence: Evidence,
    ) {
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

    pub(super) fn unsuspect(&mut self, client: ClientNumber) {
        if let Some(client) = self.client_mut(client) {
            client.suspicion = None;
        }
    }

    pub(super) fn clear_evidence(&mut self, client: ClientNumber) {
        if let Some(rotation) = self.running_mut() {
            rotation.clear(client);
        }
    }
}
