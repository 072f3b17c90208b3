//! Hints that this journal is older than its fleet: what clients show, signed, and what only hints at it. What follows is decided in the fleet.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use convoy_fleet::{
    event::SignedRoot,
    recovery::{Ahead, pins},
    state::{Fleet, Founded},
};
use convoy_proto::{
    documents::{BadDocument, chain_after, decode_root, open_trust, required_envelope},
    v1,
};
use convoy_shared::{
    ack::Held,
    envelope::Envelope,
    id::{AnchorNumber, ClientId, GroupName},
    trust::{Position, TrustDocument},
};
use jiff::Timestamp;
use tokio::sync::Notify;

use crate::{health::Degraded, keeper::Keeper, peer::UnknownIdentity};

/// So many unknown identities are kept; each has a certificate of the fleet's own client CA.
const MOST_UNKNOWN: usize = 10_000;
/// So many unknown anchors are kept; anybody can name some.
const MOST_ANCHORS: usize = 16;

/// What only hints that the journal is older than the fleet. It warns, and shuts nothing: a laboratory's copy can cause all of it.
#[derive(Default)]
pub struct Hints {
    hinted: Mutex<Hinted>,
    changed: Notify,
}

/// The hints so far, since the controller's start.
#[derive(Clone, Debug, Default)]
pub struct Hinted {
    /// Clients with a certificate of the fleet's client CA that the journal does not know.
    pub unknown: BTreeMap<ClientId, UnknownClient>,
    /// Anchors that connections named and the journal does not know.
    pub anchors: BTreeSet<AnchorNumber>,
}

/// A client that the journal does not know.
#[derive(Clone, Debug, PartialEq)]
pub struct UnknownClient {
    /// What its certificate says.
    pub identity: UnknownIdentity,
    /// What it calls itself.
    pub name: String,
    /// Its group, by its trust document.
    pub group: GroupName,
    /// Where that document stands.
    pub position: Position,
    /// Its agent's version.
    pub agent_version: String,
    /// When it was last seen.
    pub last_seen: Timestamp,
}

impl Hints {
    /// What is known, less what the journal has come to know since.
    #[must_use]
    pub fn hinted(&self, fleet: &Fleet) -> Hinted {
        let mut hinted = self.lock().clone();
        hinted
            .unknown
            .retain(|id, _| fleet.client_by_id(*id).is_none());
        hinted.anchors.retain(|anchor| !fleet.knows_anchor(*anchor));
        hinted
    }

    /// A client that the journal does not know has shown its trust document.
    pub fn saw_unknown(&self, client: UnknownClient) {
        let mut hints = self.lock();
        let id = client.identity.id;
        if hints.unknown.len() >= MOST_UNKNOWN && !hints.unknown.contains_key(&id) {
            return;
        }
        let (name, group) = (client.name.clone(), client.group.clone());
        if hints.unknown.insert(id, client).is_none() {
            tracing::warn!(
                client = %id, name, %group,
                "a client with a certificate of this fleet's client CA is not in the journal: is the journal an old copy? `convoy recover show`"
            );
            self.changed.notify_one();
        }
    }

    /// A connection named these anchors.
    pub fn saw_anchors(&self, fleet: &Fleet, anchors: &[AnchorNumber]) {
        let unknown = anchors
            .iter()
            .filter(|number| !fleet.knows_anchor(**number));
        for number in unknown {
            let mut hints = self.lock();
            if hints.anchors.len() < MOST_ANCHORS && hints.anchors.insert(*number) {
                tracing::warn!(
                    anchor = number.0,
                    "a connection names an anchor that the journal does not know: is the journal an old copy? `convoy recover show`"
                );
                self.changed.notify_one();
            }
        }
    }

    /// The journal goes on from here: what was noted is settled, or is seen again.
    pub fn forget(&self) {
        *self.lock() = Hinted::default();
        self.changed.notify_one();
    }

    fn lock(&self) -> MutexGuard<'_, Hinted> {
        self.hinted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Keeps operators informed of the journal's age, for ever.
pub async fn tell(keeper: Keeper, hints: Arc<Hints>) {
    let mut heads = keeper.heads();
    loop {
        heads.borrow_and_update();
        let (age, superseded, hinted) = {
            let fleet = keeper.read();
            let hinted = hints.hinted(&fleet);
            let is_hinted = !hinted.unknown.is_empty() || !hinted.anchors.is_empty();
            (fleet.age(), fleet.superseded_by().is_some(), is_hinted)
        };
        let health = keeper.health();
        let (says, other) = if superseded {
            (Degraded::Superseded, Degraded::JournalOlder)
        } else {
            (Degraded::JournalOlder, Degraded::Superseded)
        };
        health.clear(other);
        match age {
            Some(words) => health.say(says, words),
            None => health.clear(says),
        }
        if hinted {
            health.say(
                Degraded::JournalHints,
                "clients or anchors have come that the journal does not know. Was an old copy of the data folder put back, or do clients of another copy of \
                 this controller come here? `convoy recover show` names them",
            );
        } else {
            health.clear(Degraded::JournalHints);
        }
        tokio::select! {
            changed = heads.changed() => if changed.is_err() {
                return;
            },
            () = hints.changed.notified() => {}
        }
    }
}

/// A trust document that a client has shown, with the fleet's signature.
pub struct Shown {
    /// What it says.
    pub document: TrustDocument,
    /// Roots that follow the journal's newest one.
    pub roots: Vec<SignedRoot>,
    /// What the client calls itself.
    pub name: String,
}

impl Shown {
    /// Reads what a client shows, if it is the document that its hello named, and the policy key of a root in the chain has signed it.
    ///
    /// # Errors
    /// If it is not.
    pub fn read(founded: &Founded, held: Held, wire: v1::TrustShown) -> Result<Self, BadDocument> {
        let envelope = required_envelope(wire.trust)?;
        if envelope.digest() != held.digest {
            return Err(BadDocument::Missing("trust"));
        }
        let newest = founded
            .roots
            .last()
            .ok_or(BadDocument::Missing("root"))?
            .root
            .clone();
        let mut newer = Vec::with_capacity(wire.roots.len());
        for wire in wire.roots {
            let envelope = Envelope::try_from(wire)?;
            if decode_root(&envelope.payload)?.version > newest.version {
                newer.push(envelope);
            }
        }
        let roots: Vec<SignedRoot> = chain_after(&newest, newer)?
            .into_iter()
            .map(|signed| SignedRoot {
                envelope: signed.envelope,
                root: signed.root,
            })
            .collect();
        let document = founded
            .roots
            .iter()
            .chain(&roots)
            .rev()
            .map(|signed| open_trust(&envelope, &signed.root))
            .reduce(|newer, older| newer.or(older))
            .ok_or(BadDocument::Missing("root"))??;
        if document.revision != held.revision {
            return Err(BadDocument::Missing("revision"));
        }
        Ok(Self {
            document,
            roots,
            name: wire
                .name
                .chars()
                .filter(|c| !c.is_control())
                .take(253)
                .collect(),
        })
    }

    /// Where the client stands: by its document, and by its newest root, under which it may not have got a document yet.
    #[must_use]
    pub fn position(&self) -> Position {
        let document = self.document.position();
        let newest = self.roots.last().map(|signed| signed.root.version);
        Position {
            root_version: newest.map_or(document.root_version, |newest| {
                newest.max(document.root_version)
            }),
            ..document
        }
    }

    /// What it shows of a client of the roster.
    #[must_use]
    pub fn ahead(&self, client: convoy_fleet::client::ClientNumber) -> Ahead {
        Ahead {
            client,
            position: self.position(),
            anchors: pins(self.document.anchors.as_slice()),
            roots: self.roots.clone(),
        }
    }
}
