//! An old copy of the journal that was put back: what shows that it is one, and how its fleet goes on from it. Signatures were checked at the door.

use std::collections::BTreeMap;

use convoy_shared::{
    id::{AnchorNumber, ClientId, Digest, Epoch, Generation, GroupName, Revision},
    trust::{Anchor, Anchors, Mode, Position},
};
use jiff::Timestamp;
use roaring::RoaringBitmap;

use crate::{
    client::{ClientNumber, ClientState},
    event::{Event, Publication, Purpose, SignedRoot},
    issuance::{CrlReason, IssuanceEvent},
    refusal::Refusal,
    rotation::{Phase, TRUST_VALIDITY},
    state::Fleet,
};

/// Numbers are moved on by so much beyond what was seen. A client refuses a revision that jumps by more than 2^20, so that some clients may be this
/// far ahead of those that were seen.
pub const JUMP: u64 = 1 << 16;

/// What happened to the journal itself.
#[derive(Clone, Debug, PartialEq)]
pub enum RecoveryEvent {
    /// What lies beside the journal is newer than the journal, or an operator said that an older journal is meant.
    PutBack,
    /// A client of the roster has shown a trust document that the fleet's policy key signed, and that is beyond the journal.
    AheadSeen(Ahead),
    /// The journal goes on beyond everything that was seen.
    FastForwarded(FastForward),
    /// A client that the journal did not know is a client again.
    Readmitted(Readmitted),
    /// A SCEP certificate that the journal does not know was revoked.
    RevocationKept(KeptRevocation),
}

/// What a client that is ahead of the journal has shown.
#[derive(Clone, Debug, PartialEq)]
pub struct Ahead {
    /// Which client.
    pub client: ClientNumber,
    /// Where its trust document stands.
    pub position: Position,
    /// What that document pins.
    pub anchors: Vec<(AnchorNumber, Digest)>,
    /// Roots that follow the journal's newest one, in order.
    pub roots: Vec<SignedRoot>,
}

/// Where the journal goes on. No number up to these is given again.
#[derive(Clone, Debug, PartialEq)]
pub struct FastForward {
    /// The journal's new life.
    pub epoch: Epoch,
    /// Trust documents, and SCEP documents by as much more.
    pub revision: Revision,
    /// Server certificates.
    pub generation: Generation,
    /// Anchors.
    pub anchor: AnchorNumber,
    /// Clients.
    pub client: ClientNumber,
    /// The certificate that is served from now on.
    pub serving: Generation,
    /// Roots that clients have shown, in order.
    pub roots: Vec<SignedRoot>,
}

/// A client that was not in the journal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Readmitted {
    /// Its id.
    pub id: ClientId,
    /// Never given before.
    pub number: ClientNumber,
    /// What people call it.
    pub name: String,
    /// Its group.
    pub group: GroupName,
    /// SHA-256 of its identity key's SubjectPublicKeyInfo.
    pub key: Digest,
    /// Its agent's version.
    pub agent_version: String,
    /// When its identity certificate expires.
    pub identity_expires_at: Timestamp,
}

/// The revocation of a SCEP certificate that the journal does not know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeptRevocation {
    /// Big-endian, without leading zeros.
    pub serial: Vec<u8>,
    /// The CA that issued it.
    pub authority: u32,
    /// SHA-256 of its SubjectPublicKeyInfo.
    pub spki: Digest,
    /// Last instant of its validity.
    pub not_after: Timestamp,
    /// When it was revoked.
    pub at: Timestamp,
    /// Why.
    pub reason: CrlReason,
}

/// What an audit file says that came after the copy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mark {
    /// A client was removed for good.
    Decommissioned(ClientId),
    /// A server certificate (SHA-256 of it) is served to nobody any more.
    Retired(Digest),
    /// A SCEP certificate was revoked.
    Revoked(KeptRevocation),
}

/// How to go on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recover {
    /// How many clients the roster is to have afterwards, as the operator has confirmed.
    pub clients: u64,
    /// Also if another copy has gone on in a later epoch: that one stops then.
    pub take_over: bool,
    /// Clients that the journal does not know, and that are to be in the roster.
    pub readmit: Vec<Readmitted>,
    /// What came after the copy.
    pub marks: Vec<Mark>,
}

/// What is known of the journal's own age.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Recovery {
    pub(crate) epoch: Epoch,
    pub(crate) older: Option<Older>,
    pub(crate) revision: Revision,
    pub(crate) generation: Generation,
    pub(crate) anchor: AnchorNumber,
    pub(crate) client: ClientNumber,
    pub(crate) foreign: BTreeMap<AnchorNumber, Digest>,
}

/// The journal is older than the fleet.
#[derive(Clone, Debug, PartialEq)]
pub struct Older {
    /// Since when that is known.
    pub since: Timestamp,
    /// The furthest that a client has shown. `None`: the journal's own folder shows it.
    pub ahead: Option<Ahead>,
}

impl Recovery {
    /// Set while the journal is known to be older than the fleet: the gates are shut, and no document is signed.
    #[must_use]
    pub const fn older(&self) -> Option<&Older> {
        self.older.as_ref()
    }
}

impl Fleet {
    /// Where the newest trust document stands.
    #[must_use]
    pub fn position(&self) -> Position {
        Position {
            root_version: self.root().map(|root| root.version).unwrap_or_default(),
            epoch: self.epoch(),
            revision: self.revision(),
        }
    }

    /// Whether the journal, or what clients of an older journal have shown, explains an anchor.
    #[must_use]
    pub fn knows_anchor(&self, number: AnchorNumber) -> bool {
        self.recovery().foreign.contains_key(&number)
            || self.certificates().any(|(_, kept)| kept.anchor == number)
    }

    /// The epoch of another copy of this controller that has gone on without this one.
    #[must_use]
    pub fn superseded_by(&self) -> Option<Epoch> {
        let ahead = self.recovery().older.as_ref()?.ahead.as_ref()?;
        (ahead.position.epoch > self.epoch()).then_some(ahead.position.epoch)
    }

    /// What is wrong with the journal's age, for people. `None`: nothing that is known.
    #[must_use]
    pub fn age(&self) -> Option<String> {
        let older = self.recovery().older()?;
        let own = self.position();
        let ahead = older.ahead.as_ref();
        if let Some(epoch) = self.superseded_by() {
            return Some(format!(
                "another copy of this controller has gone on: a client holds a trust document of epoch {epoch}, and this journal is of epoch {}. Nothing \
                 is signed here any more. Stop this controller; `convoy recover show` says more",
                own.epoch
            ));
        }
        let shown = ahead.map_or_else(
            || "what lies beside it is newer".to_owned(),
            |ahead| {
                format!(
                    "a client holds trust document {} under root {}, and the journal has come to {} under root {}",
                    ahead.position.revision,
                    ahead.position.root_version,
                    own.revision,
                    own.root_version
                )
            },
        );
        Some(format!(
            "this journal is older than the fleet: {shown}. An old copy was put back? The gates are shut until `convoy recover fast-forward`; \
             `convoy recover show` says more"
        ))
    }

    /// Refuses what an older journal must not do: issue documents, let hosts join, begin or end a rotation.
    pub(crate) fn is_newest(&self) -> Result<(), Refusal> {
        match (self.superseded_by(), self.recovery().older()) {
            (Some(epoch), _) => Err(Refusal::Superseded {
                own: self.epoch(),
                epoch,
            }),
            (None, Some(_)) => Err(Refusal::JournalOlder),
            (None, None) => Ok(()),
        }
    }
}

/// What lies beside the journal is newer.
pub(crate) fn put_back(fleet: &Fleet) -> Vec<Event> {
    if fleet.recovery().older.is_some() {
        vec![]
    } else {
        vec![Event::Recovery(RecoveryEvent::PutBack)]
    }
}

/// A client has shown a document that is signed as it must be.
pub(crate) fn note_ahead(fleet: &Fleet, mut ahead: Ahead) -> Vec<Event> {
    let own = fleet.position();
    let furthest = fleet
        .recovery()
        .older
        .as_ref()
        .and_then(|older| older.ahead.as_ref())
        .map_or(own, |known| known.position.max(own));
    if ahead.position <= furthest {
        return vec![];
    }
    // Others may have been taken since they were read.
    ahead
        .roots
        .retain(|root| root.root.version > own.root_version);
    vec![Event::Recovery(RecoveryEvent::AheadSeen(ahead))]
}

/// The roster after a recovery: who stays, and who is removed by the marks.
#[must_use]
pub fn roster_after(fleet: &Fleet, recover: &Recover) -> (RoaringBitmap, RoaringBitmap) {
    let gone: RoaringBitmap = recover
        .marks
        .iter()
        .filter_map(|mark| match mark {
            Mark::Decommissioned(id) => fleet.client_by_id(*id),
            Mark::Retired(_) | Mark::Revoked(_) => None,
        })
        .filter(|number| fleet.roster().contains(*number))
        .collect();
    (fleet.roster() - &gone, gone)
}

/// Goes on beyond everything that was seen.
pub(crate) fn fast_forward(
    fleet: &Fleet,
    recover: Recover,
    now: Timestamp,
) -> Result<Vec<Event>, Refusal> {
    if let Some(epoch) = fleet.superseded_by()
        && !recover.take_over
    {
        return Err(Refusal::Superseded {
            own: fleet.epoch(),
            epoch,
        });
    }
    let (stays, gone) = roster_after(fleet, &recover);
    let readmitted = readmit(fleet, &recover)?;
    let clients = stays
        .len()
        .saturating_add(u64::try_from(readmitted.len()).unwrap_or(u64::MAX));
    if clients != recover.clients {
        return Err(Refusal::ConfirmClients {
            given: recover.clients,
            clients,
        });
    }
    let forward = forward(fleet, &recover)?;
    let mut events = Vec::new();
    if let Some(rotation) = fleet.running() {
        events.push(Event::PhaseEntered {
            rotation: rotation.id,
            phase: Phase::Aborted,
            reason: "ended by `convoy recover fast-forward`: the journal was older than the fleet"
                .to_owned(),
            expected: RoaringBitmap::new(),
        });
    }
    let serving = forward.serving;
    let (revision, epoch) = (forward.revision.next(), forward.epoch);
    let root_version = forward
        .roots
        .last()
        .map(|signed| &signed.root)
        .or_else(|| fleet.root())
        .ok_or(Refusal::NotFounded)?
        .version;
    let mut next = forward.client;
    events.push(Event::Recovery(RecoveryEvent::FastForwarded(forward)));
    let mut groups: Vec<GroupName> = fleet.groups().map(|(name, _)| name.clone()).collect();
    for mut client in readmitted {
        if !groups.contains(&client.group) {
            groups.push(client.group.clone());
            events.push(Event::GroupCreated {
                group: client.group.clone(),
            });
        }
        next = next.saturating_add(1);
        client.number = next;
        events.push(Event::Recovery(RecoveryEvent::Readmitted(client)));
    }
    groups.sort();
    events.extend(
        gone.into_iter()
            .map(|client| Event::ClientDecommissioned { client }),
    );
    events.extend(recover.marks.into_iter().filter_map(|mark| {
        match mark {
            Mark::Decommissioned(_) => None,
            Mark::Retired(fingerprint) => fleet
                .certificates()
                .find(|(_, kept)| kept.certificate.fingerprint == fingerprint && !kept.retired)
                .map(|(generation, _)| Event::CertificateRetired { generation }),
            Mark::Revoked(kept) => match fleet.issuance().certificate(&kept.serial) {
                Some(known) if known.revocation.is_some() => None,
                Some(_) => Some(Event::Issuance(IssuanceEvent::CertificateRevoked {
                    serial: kept.serial,
                    reason: kept.reason,
                })),
                None => Some(Event::Recovery(RecoveryEvent::RevocationKept(kept))),
            },
        }
    }));
    events.push(Event::TrustPublished(Publication {
        revision,
        root_version,
        epoch,
        mode: Mode::Verify,
        anchors: fleet
            .anchor(serving)
            .and_then(|anchor| Anchors::new(vec![anchor]).ok())
            .ok_or(Refusal::NothingToServe)?,
        server_names: fleet.names_to_carry(),
        addresses: fleet.addresses().ok_or(Refusal::NotFounded)?.clone(),
        issued_at: now,
        expires_at: now
            .checked_add(TRUST_VALIDITY)
            .map_err(|_| Refusal::NothingToServe)?,
        purpose: Purpose::Steady,
        groups,
        documents: vec![],
    }));
    Ok(events)
}

/// Those that are to be clients again and are not.
fn readmit(fleet: &Fleet, recover: &Recover) -> Result<Vec<Readmitted>, Refusal> {
    let mut readmitted: Vec<Readmitted> = Vec::new();
    for client in &recover.readmit {
        let marked = recover.marks.contains(&Mark::Decommissioned(client.id));
        let known = fleet
            .client_by_id(client.id)
            .and_then(|number| fleet.client(number));
        match known {
            _ if marked => return Err(Refusal::ClientDecommissioned),
            Some(known) if known.state == ClientState::Decommissioned => {
                return Err(Refusal::ClientDecommissioned);
            }
            Some(_) => {}
            None if fleet.client_by_key(&client.key).is_some() => {
                return Err(Refusal::KeyTaken(client.id));
            }
            None if readmitted.iter().any(|other| other.id == client.id) => {}
            None => readmitted.push(client.clone()),
        }
    }
    Ok(readmitted)
}

fn forward(fleet: &Fleet, recover: &Recover) -> Result<FastForward, Refusal> {
    let ahead = fleet
        .recovery()
        .older
        .as_ref()
        .and_then(|older| older.ahead.as_ref());
    let seen = ahead.map_or_else(|| fleet.position(), |ahead| ahead.position);
    let known = fleet.recovery();
    let generation = fleet
        .certificates()
        .next_back()
        .map_or(Generation(0), |(generation, _)| generation);
    let anchor = fleet
        .certificates()
        .map(|(_, kept)| kept.anchor)
        .chain(known.foreign.keys().copied())
        .max()
        .unwrap_or_default();
    let moved = |number: u64, floor: u64| number.max(floor).saturating_add(JUMP);
    Ok(FastForward {
        epoch: fleet.epoch().max(seen.epoch).next(),
        revision: Revision(moved(
            fleet.revision().max(seen.revision).0,
            known.revision.0,
        )),
        generation: Generation(moved(generation.0, known.generation.0)),
        anchor: AnchorNumber(moved(anchor.0, known.anchor.0)),
        client: ClientNumber::try_from(moved(
            u64::from(fleet.next_client()),
            u64::from(known.client),
        ))
        .map_err(|_| Refusal::NothingToServe)?,
        serving: serving_after(fleet, ahead, recover).ok_or(Refusal::NothingToServe)?,
        roots: ahead.map_or_else(Vec::new, |ahead| ahead.roots.clone()),
    })
}

/// What the furthest client trusts, if it is held: most are likely to trust it too. Else what is served now.
fn serving_after(fleet: &Fleet, ahead: Option<&Ahead>, recover: &Recover) -> Option<Generation> {
    let usable = |generation: Generation| {
        fleet.certificate(generation).is_some_and(|kept| {
            !kept.retired
                && !recover
                    .marks
                    .contains(&Mark::Retired(kept.certificate.fingerprint))
        })
    };
    let of = |spki: &Digest| {
        fleet
            .certificates()
            .rev()
            .find(|(generation, kept)| kept.certificate.spki == *spki && usable(*generation))
            .map(|(generation, _)| generation)
    };
    let trusted = ahead
        .into_iter()
        .flat_map(|ahead| ahead.anchors.iter().rev())
        .find_map(|(_, spki)| of(spki));
    trusted
        .or_else(|| fleet.serving().filter(|serving| usable(*serving)))
        .or_else(|| {
            fleet
                .certificates()
                .rev()
                .map(|(generation, _)| generation)
                .find(|generation| usable(*generation))
        })
}

/// What a document pins, in the order of the anchors' numbers.
#[must_use]
pub fn pins(anchors: &[Anchor]) -> Vec<(AnchorNumber, Digest)> {
    anchors
        .iter()
        .filter_map(|anchor| match &anchor.kind {
            convoy_shared::trust::AnchorKind::Pin(spki) => Some((anchor.number, *spki)),
            convoy_shared::trust::AnchorKind::Ca(_) => None,
        })
        .collect()
}
