//! What clients state in their sessions, and what the controller saw of them: each becomes events that touch that client alone, so that
//! statements of distinct clients can be decided on one state and appended as one entry.

use convoy_shared::{
    ack::{Evidence, Held},
    address::Address,
    id::{Generation, Incarnation, InstanceId},
    trust::{Mode, ModeInForce},
};

use crate::{
    client::{Client, ClientNumber, ClientState, RETURNS_OF_COPIES, Stated, Suspicion},
    enrolment::{self, EnrolmentStatement},
    event::{Connected, Event, Purpose},
    rotation::{Phase, Rotation, Strategy},
    state::Fleet,
};

/// What a client states, or was seen to do. Who it is was decided by its certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Statement {
    /// It opened a session.
    Connected {
        /// How often its agent has started.
        incarnation: Incarnation,
        /// This start of its agent.
        instance: InstanceId,
        /// The trust document on its disk.
        held: Held,
        /// It has shown the fleet's signature over that document.
        signed: bool,
        /// The mode in force.
        mode: ModeInForce,
        /// Its agent's version.
        agent_version: String,
        /// The certificate that it accepted for this session.
        served: Generation,
    },
    /// It dialled this address for its session.
    CameBy(Address),
    /// It has received its group's trust document.
    Received(Held),
    /// It has stored that, and it is in force.
    Applied(Held),
    /// Both sides saw it accept the candidate of this generation and refuse a decoy, with that document in force.
    Proved(Held, Generation),
    /// Both sides saw it accept a decoy, as ordered.
    Relaxed(Held),
    /// It came back by a full handshake on this generation with that document in force, and both sides saw it refuse a decoy.
    Confirmed(Held, Generation),
    /// It was caught.
    Suspected(Suspicion),
    /// Something of its certificate requests.
    Enrolment(EnrolmentStatement),
}

/// Decides a statement. Repetition and staleness give no events.
#[must_use]
pub fn decide(fleet: &Fleet, number: ClientNumber, statement: Statement) -> Vec<Event> {
    let Some(client) = fleet
        .client(number)
        .filter(|client| client.state != ClientState::Decommissioned)
    else {
        return vec![];
    };
    match statement {
        Statement::Connected {
            incarnation,
            instance,
            held,
            signed,
            mode,
            agent_version,
            served,
        } => {
            let known = fleet.published(&client.group, held.revision) == Some(held.digest);
            let connected = Connected {
                client: number,
                incarnation,
                instance,
                held: known.then_some(held.revision),
                mode,
                agent_version,
                served,
            };
            connect(fleet, client, connected, signed)
        }
        Statement::CameBy(address) => came_by(fleet, number, address),
        Statement::Received(held) => acknowledged(fleet, number, client, held, Evidence::Received),
        Statement::Applied(held) => acknowledged(fleet, number, client, held, Evidence::Applied),
        Statement::Proved(held, generation) => match subject(fleet, client, held, generation) {
            Some((rotation, Purpose::Prepare(_)))
                if rotation.strategy == Strategy::Overlap
                    && (!rotation.proved.contains(number) || client.suspicion.is_some()) =>
            {
                given(number, held, Evidence::Proved)
            }
            Some(_) | None => vec![],
        },
        Statement::Relaxed(held) => match rotation_of(fleet, client, held) {
            Some((rotation, Purpose::Prepare(_)))
                if rotation.strategy == Strategy::Toggle && !rotation.relaxed.contains(number) =>
            {
                vec![Event::RelaxationShown {
                    client: number,
                    revision: held.revision,
                }]
            }
            Some(_) | None => vec![],
        },
        // A suspect has shown otherwise while no rotation is about its document.
        Statement::Confirmed(held, _) if clears_suspicion(fleet, client, held) => {
            given(number, held, Evidence::Confirmed)
        }
        Statement::Confirmed(held, generation) => match subject(fleet, client, held, generation) {
            Some((rotation, Purpose::Enforce(_)))
                if !rotation.confirmed.contains(number) || client.suspicion.is_some() =>
            {
                given(number, held, Evidence::Confirmed)
            }
            Some(_) | None => vec![],
        },
        Statement::Suspected(suspicion) => suspected(number, client, suspicion),
        Statement::Enrolment(statement) => enrolment::report(fleet, number, statement),
    }
}

fn connect(fleet: &Fleet, client: &Client, connected: Connected, signed: bool) -> Vec<Event> {
    let number = connected.client;
    let mut events = Vec::with_capacity(2);
    let backwards = client
        .instances
        .goes_backwards(connected.instance, connected.incarnation);
    let instances = client
        .instances
        .after(connected.instance, connected.incarnation);
    if client.state == ClientState::Active && instances.returns >= RETURNS_OF_COPIES {
        events.push(Event::ClientDuplicated { client: number });
    } else if backwards {
        events.push(Event::EvidenceCleared { client: number });
    }
    let ordered = connected.held.and_then(|held| fleet.mode_of(held));
    let suspicion = match (connected.mode, ordered) {
        // The fleet's key has signed it: it is the journal that does not know.
        (_, None) if signed => None,
        (_, None) => Some(Suspicion::UnknownDocument),
        (ModeInForce::Off, Some(Mode::Verify)) => Some(Suspicion::OffUnasked),
        (ModeInForce::Off, Some(Mode::Off { .. })) | (ModeInForce::Verify, Some(_)) => None,
    };
    if let Some(suspicion) = suspicion {
        events.extend(suspected(number, client, suspicion));
    }
    if !events.is_empty() || is_news(fleet, client, &connected) {
        events.push(Event::ClientConnected(connected));
    }
    events
}

/// Whether what a client states when it connects changes anything: all that the fold of [`Event::ClientConnected`] does.
fn is_news(fleet: &Fleet, client: &Client, connected: &Connected) -> bool {
    let stated = Stated {
        revision: connected.held,
        mode: connected.mode,
        served: connected.served,
    };
    if client.stated != Some(stated)
        || client.agent_version != connected.agent_version
        || client.instances
            != client
                .instances
                .after(connected.instance, connected.incarnation)
    {
        return true;
    }
    changes_running(fleet, connected) || is_first_applied(fleet, client, connected)
}

/// Whether a client is back after the swap, or no longer holds what it has shown.
fn changes_running(fleet: &Fleet, connected: &Connected) -> bool {
    let Some(rotation) = fleet.running() else {
        return false;
    };
    let number = connected.client;
    let is_back = rotation.phase == Phase::Swapping
        && connected.served == rotation.to
        && !rotation.returned.contains(number);
    let purpose = connected.held.and_then(|held| fleet.purpose_of(held));
    let loses = if purpose == Some(Purpose::Enforce(rotation.id)) {
        false
    } else if purpose == Some(Purpose::Prepare(rotation.id)) {
        rotation.confirmed.contains(number)
    } else {
        rotation.evidence(number).is_some()
    };
    is_back || loses
}

/// Whether a client that counts shows for the first time that it holds the present document of its group.
fn is_first_applied(fleet: &Fleet, client: &Client, connected: &Connected) -> bool {
    let Some(trust) = fleet.group(&client.group).map(|group| &group.trust) else {
        return false;
    };
    let about = match trust.purpose {
        Purpose::Steady => None,
        Purpose::Prepare(id) | Purpose::Enforce(id) => fleet.rotation(id),
    };
    connected.held == Some(trust.held.revision)
        && client.state == ClientState::Active
        && client.suspicion.is_none()
        && about.is_some_and(|rotation| !rotation.applied.contains(connected.client))
}

/// An address that is not listed says nothing: it will not be kept.
fn came_by(fleet: &Fleet, client: ClientNumber, address: Address) -> Vec<Event> {
    let news = fleet
        .came_by(&address)
        .is_some_and(|clients| !clients.contains(client));
    if news {
        vec![Event::AddressUsed { client, address }]
    } else {
        vec![]
    }
}

fn acknowledged(
    fleet: &Fleet,
    number: ClientNumber,
    client: &Client,
    held: Held,
    evidence: Evidence,
) -> Vec<Event> {
    if fleet.published(&client.group, held.revision) != Some(held.digest) {
        return suspected(number, client, Suspicion::UnknownDocument);
    }
    let current = fleet
        .group(&client.group)
        .is_some_and(|group| group.trust.held == held);
    let stated = client
        .stated
        .is_some_and(|stated| stated.revision == Some(held.revision));
    let counts = client.state == ClientState::Active && client.suspicion.is_none();
    let news = match rotation_of(fleet, client, held) {
        Some((rotation, _)) if rotation.evidence(number) < Some(evidence) => true,
        Some(_) | None => evidence == Evidence::Applied && !stated,
    };
    if current && counts && news {
        given(number, held, evidence)
    } else {
        vec![]
    }
}

fn given(client: ClientNumber, held: Held, evidence: Evidence) -> Vec<Event> {
    vec![Event::EvidenceGiven {
        client,
        revision: held.revision,
        evidence,
    }]
}

fn suspected(number: ClientNumber, client: &Client, suspicion: Suspicion) -> Vec<Event> {
    if client.suspicion == Some(suspicion) {
        vec![]
    } else {
        vec![Event::ClientSuspected {
            client: number,
            suspicion,
        }]
    }
}

/// The rotation that this document is about, if it is the present one of the client's group and the client is not duplicated.
fn rotation_of<'a>(
    fleet: &'a Fleet,
    client: &Client,
    held: Held,
) -> Option<(&'a Rotation, Purpose)> {
    let trust = &fleet.group(&client.group)?.trust;
    if trust.held != held || client.state != ClientState::Active {
        return None;
    }
    match trust.purpose {
        Purpose::Steady => None,
        Purpose::Prepare(id) | Purpose::Enforce(id) => {
            fleet.rotation(id).map(|rotation| (rotation, trust.purpose))
        }
    }
}

fn clears_suspicion(fleet: &Fleet, client: &Client, held: Held) -> bool {
    client.suspicion.is_some()
        && client.state == ClientState::Active
        && fleet
            .group(&client.group)
            .is_some_and(|group| group.trust.purpose == Purpose::Steady && group.trust.held == held)
}

/// The same, if the rotation goes to this generation.
fn subject<'a>(
    fleet: &'a Fleet,
    client: &Client,
    held: Held,
    generation: Generation,
) -> Option<(&'a Rotation, Purpose)> {
    rotation_of(fleet, client, held).filter(|(rotation, _)| rotation.to == generation)
}
