//! What a session owes its client just now: a question to the state, asked again after every change. Nothing is sent here.

use convoy_fleet::{
    client::{ClientNumber, ClientState},
    event::Purpose,
    rotation::{Phase, Rotation, Strategy},
    state::Fleet,
};
use convoy_shared::{
    ack::Held,
    envelope::Envelope,
    id::{Revision, RootVersion},
    trust::Position,
};

use crate::{checks::Wanted, peer::Peer};

/// What a session knows of itself.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stand<'a> {
    pub(super) client: ClientNumber,
    pub(super) peer: &'a Peer,
    /// The client's certificate has expired.
    pub(super) expired: bool,
    /// The document that the client named when it opened the session.
    pub(super) began_with: Held,
    /// The newest that it said to have in force.
    pub(super) held: Held,
    /// The newest root that it has.
    pub(super) root: RootVersion,
    /// The newest that was sent to it.
    pub(super) sent: Option<Held>,
    /// Where the document stands that the client has shown because the journal did not know it.
    pub(super) shown: Option<Position>,
}

/// What is owed.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Owed {
    /// The client was removed from the roster.
    Farewell,
    /// There is a newer root, which the welcome of the next session brings.
    ReconnectForRoot,
    /// It is served another certificate now.
    ReconnectAfterSwap,
    /// Only a full handshake says anything.
    ReconnectInFull,
    /// Its group's trust document.
    Trust(Held, Envelope),
    /// A check, with this document in force.
    Check(Held, Wanted),
    /// Nothing.
    Nothing,
}

pub(super) fn owed(fleet: &Fleet, stand: &Stand<'_>) -> Owed {
    let Some(record) = fleet.client(stand.client) else {
        return Owed::Farewell;
    };
    if record.state == ClientState::Decommissioned {
        return Owed::Farewell;
    }
    if fleet.root().is_some_and(|root| root.version > stand.root) {
        return Owed::ReconnectForRoot;
    }
    let Some(group) = fleet.group(&record.group) else {
        return Owed::Nothing;
    };
    let trust = &group.trust;
    // A client that is ahead of an older journal would refuse every document. What follows a recovery is beyond it.
    if stand.held == stand.began_with && stand.shown.is_some_and(|shown| shown >= fleet.position())
    {
        return Owed::Nothing;
    }
    if trust.held != stand.held && stand.sent != Some(trust.held) {
        return Owed::Trust(trust.held, trust.envelope.clone());
    }
    let choice = fleet.certificate_for(stand.peer.anchors.as_deref());
    // It was found by trying.
    let guessed = stand
        .peer
        .anchors
        .as_deref()
        .is_some_and(|anchors| !fleet.guesses(anchors).is_empty());
    // One that was bridged and is served to everyone again shows nothing over the old connection either.
    if !guessed
        && choice.is_some_and(|choice| {
            choice.generation != stand.peer.served || choice.bridged != stand.peer.bridged
        })
    {
        return Owed::ReconnectAfterSwap;
    }
    // After it has applied a document the agent comes back by itself: only a session that began with it shows anything.
    if stand.began_with != trust.held
        || stand.held != trust.held
        || stand.expired
        || record.state != ClientState::Active
    {
        return Owed::Nothing;
    }
    let suspected = record.suspicion.is_some();
    let (Purpose::Prepare(id) | Purpose::Enforce(id)) = trust.purpose else {
        // No rotation asks for anything, but a suspect may show otherwise.
        return match (suspected, stand.peer.full) {
            (true, true) => Owed::Check(trust.held, Wanted::Refusal),
            (true, false) => Owed::ReconnectInFull,
            (false, _) => Owed::Nothing,
        };
    };
    let Some(rotation) = fleet.rotation(id) else {
        return Owed::Nothing;
    };
    if matches!(trust.purpose, Purpose::Prepare(_)) {
        return match to_prove(rotation, stand.client, suspected) {
            Some(wanted) => Owed::Check(trust.held, wanted),
            None => Owed::Nothing,
        };
    }
    if (rotation.confirmed.contains(stand.client) && !suspected)
        || stand.peer.bridged
        || stand.peer.served != rotation.to
    {
        Owed::Nothing
    } else if stand.peer.full {
        Owed::Check(trust.held, Wanted::Refusal)
    } else {
        Owed::ReconnectInFull
    }
}

/// What a client's SCEP document is made of: another one is owed when this is another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Basis {
    /// The newest change that concerns the client.
    revision: Revision,
    /// The built-in CA in force: its certificate is in the document.
    authority: Option<u32>,
}

/// What the client's SCEP document is made of just now, if it is owed one. Trust comes first, who has an expired certificate gets none, and
/// nobody over an old server certificate.
pub(super) fn owed_scep(fleet: &Fleet, stand: &Stand<'_>, owed: &Owed) -> Option<Basis> {
    let after_trust = matches!(owed, Owed::Nothing | Owed::Check(..));
    if !after_trust || stand.peer.bridged || stand.expired {
        return None;
    }
    let record = fleet
        .client(stand.client)
        .filter(|record| record.state != ClientState::Decommissioned)?;
    let revision = fleet.enrolment().revision_of(stand.client, &record.group);
    (revision > Revision(0)).then(|| Basis {
        revision,
        authority: fleet.issuance().current().map(|ca| ca.number),
    })
}

fn to_prove(rotation: &Rotation, client: ClientNumber, suspected: bool) -> Option<Wanted> {
    if !rotation.candidate_held || !matches!(rotation.phase, Phase::Preparing | Phase::Swapping) {
        return None;
    }
    let (shown, wanted) = match rotation.strategy {
        Strategy::Overlap => (rotation.proved.contains(client), Wanted::Proof(rotation.to)),
        Strategy::Toggle => (
            rotation.applied.contains(client) && rotation.relaxed.contains(client),
            Wanted::Relaxation,
        ),
    };
    (!shown || suspected).then_some(wanted)
}
