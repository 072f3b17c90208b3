//! The fleet's state and its fold. Nothing is decided here, and nothing in here changes but by an event.

mod fold;

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    sync::Arc,
};

use convoy_shared::{
    ack::Held,
    address::{Address, Addresses},
    envelope::{Envelope, PublicKey},
    id::{
        AnchorNumber, ClientId, Digest, Epoch, FleetId, Generation, GroupName, Revision,
        RootVersion, RotationId, TokenId,
    },
    root::Root,
    trust::{Anchor, AnchorKind, Anchors, Mode},
};
use jiff::{SignedDuration, Timestamp};
use roaring::RoaringBitmap;

use crate::{
    client::{Client, ClientNumber},
    clock::Clock,
    enrolment::Enrolment,
    event::{Certificate, Purpose, Request, SignedRoot},
    issuance::{ChallengeId, Issuance},
    recovery::Recovery,
    refusal::Refusal,
    rotation::{Phase, Rotation},
};

pub use fold::outcome;

/// Everything that the journal says.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Fleet {
    founded: Option<Founded>,
    server_names: Vec<String>,
    addresses: Option<Addresses>,
    /// Who has held a session over each listed address.
    ways: BTreeMap<Address, RoaringBitmap>,
    groups: BTreeMap<GroupName, Group>,
    tokens: BTreeMap<TokenId, Token>,
    clients: BTreeMap<ClientNumber, Client>,
    by_id: HashMap<ClientId, ClientNumber>,
    by_key: HashMap<Digest, ClientNumber>,
    roster: RoaringBitmap,
    certificates: BTreeMap<Generation, KeptCertificate>,
    serving: Option<Generation>,
    publications: BTreeMap<Revision, Published>,
    current: Option<Template>,
    rotations: Vec<Rotation>,
    requests: HashMap<String, Done>,
    request_order: VecDeque<(Timestamp, String)>,
    clock: Clock,
    enrolment: Enrolment,
    issuance: Issuance,
    recovery: Recovery,
}

/// How the fleet began.
#[derive(Clone, Debug, PartialEq)]
pub struct Founded {
    /// Its id.
    pub fleet: FleetId,
    /// Every root, from version 1.
    pub roots: Vec<SignedRoot>,
    /// The client CA's certificate, DER.
    pub client_ca: Vec<u8>,
}

/// A client group.
#[derive(Clone, Debug, PartialEq)]
pub struct Group {
    /// When it was created.
    pub created_at: Timestamp,
    /// Its trust document.
    pub trust: Arc<GroupTrust>,
}

/// A group's trust document.
#[derive(Clone, Debug, PartialEq)]
pub struct GroupTrust {
    /// Revision and digest.
    pub held: Held,
    /// The signed bytes.
    pub envelope: Envelope,
    /// What it is for.
    pub purpose: Purpose,
    /// Whether it orders verification off.
    pub mode: Mode,
    /// When it was issued.
    pub issued_at: Timestamp,
    /// Until when it is fresh.
    pub expires_at: Timestamp,
}

/// A join token.
#[derive(Clone, Debug, PartialEq)]
pub struct Token {
    /// The group that it admits to.
    pub group: GroupName,
    /// How many clients it admits.
    pub uses: u32,
    /// How many it has admitted.
    pub used: u32,
    /// When it was created.
    pub created_at: Timestamp,
    /// When it stops.
    pub expires_at: Timestamp,
    /// The public half of its key.
    pub public_key: PublicKey,
    /// It was revoked.
    pub revoked: bool,
}

/// A server certificate that the controller holds.
#[derive(Clone, Debug, PartialEq)]
pub struct KeptCertificate {
    /// What it says.
    pub certificate: Certificate,
    /// The anchor that vouches for it.
    pub anchor: AnchorNumber,
    /// When it came.
    pub imported_at: Timestamp,
    /// When it was last put in service. `None`: never.
    pub in_service: Option<Service>,
    /// It is served to nobody any more, until it is put in service again.
    pub retired: bool,
}

/// One time that a certificate was put in service. The later one is the greater.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Service {
    /// The how-manieth of the fleet. Clocks go back; this does not.
    pub number: u64,
    /// When.
    pub since: Timestamp,
}

#[derive(Clone, Debug, PartialEq)]
struct Published {
    mode: Mode,
    anchors: Vec<AnchorNumber>,
    purpose: Purpose,
    digests: BTreeMap<GroupName, Digest>,
}

#[derive(Clone, Debug, PartialEq)]
struct Template {
    mode: Mode,
    anchors: Anchors,
    purpose: Purpose,
}

/// What a request that was served led to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// A root.
    Root(RootVersion),
    /// A token.
    Token(TokenId),
    /// A group.
    Group(GroupName),
    /// A certificate.
    Certificate(Generation),
    /// Another chain of a certificate.
    Chain(Generation),
    /// A rotation.
    Rotation(RotationId),
    /// A client.
    Client(ClientNumber),
    /// A challenge of the built-in CA.
    Challenge(ChallengeId),
}

#[derive(Clone, Debug, PartialEq)]
struct Done {
    time: Timestamp,
    body: Digest,
    outcome: Option<Outcome>,
}

/// Requests are remembered for so long.
pub const REQUEST_MEMORY: SignedDuration = SignedDuration::from_hours(24);

impl KeptCertificate {
    /// Whether it is served to clients that trust nothing that was in service later.
    #[must_use]
    pub const fn is_bridged(&self) -> bool {
        self.in_service.is_some() && !self.retired
    }
}

/// Which certificate a connection is served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Choice {
    /// Its generation.
    pub generation: Generation,
    /// It is an old one, for a client that trusts nothing newer: such a connection may fetch trust, ack and probe, and no more.
    pub bridged: bool,
}

impl Fleet {
    /// How it began, if it has.
    #[must_use]
    pub const fn founded(&self) -> Option<&Founded> {
        self.founded.as_ref()
    }

    /// The root in force.
    #[must_use]
    pub fn root(&self) -> Option<&Root> {
        self.founded
            .as_ref()?
            .roots
            .last()
            .map(|signed| &signed.root)
    }

    /// The life of the journal.
    #[must_use]
    pub const fn epoch(&self) -> Epoch {
        self.recovery.epoch
    }

    /// What is known of the journal's own age.
    #[must_use]
    pub const fn recovery(&self) -> &Recovery {
        &self.recovery
    }

    /// Names and addresses that the controller's certificates must carry.
    #[must_use]
    pub fn server_names(&self) -> &[String] {
        &self.server_names
    }

    /// Where clients are to reach the controller. `None`: there is no fleet yet.
    #[must_use]
    pub const fn addresses(&self) -> Option<&Addresses> {
        self.addresses.as_ref()
    }

    /// Names and addresses that the controller's certificates must carry, those of the addresses by which clients come among them.
    #[must_use]
    pub fn names_to_carry(&self) -> Vec<String> {
        let hosts = self.addresses.as_ref().map(Addresses::hosts);
        names_with(&self.server_names, hosts.unwrap_or_default())
    }

    /// Who has held a session over a listed address, ever since it was listed.
    #[must_use]
    pub fn came_by(&self, address: &Address) -> Option<&RoaringBitmap> {
        self.ways.get(address)
    }

    /// The listed addresses over which a client ever held a session, best first.
    pub fn ways_of(&self, client: ClientNumber) -> impl Iterator<Item = &Address> {
        let listed = self.addresses.iter().flat_map(Addresses::as_slice);
        listed.map(|listed| &listed.address).filter(move |address| {
            self.came_by(address)
                .is_some_and(|clients| clients.contains(client))
        })
    }

    /// Groups by name.
    pub fn groups(&self) -> impl Iterator<Item = (&GroupName, &Group)> {
        self.groups.iter()
    }

    /// One group.
    #[must_use]
    pub fn group(&self, name: &GroupName) -> Option<&Group> {
        self.groups.get(name)
    }

    /// Tokens by id.
    pub fn tokens(&self) -> impl Iterator<Item = (TokenId, &Token)> {
        self.tokens.iter().map(|(id, token)| (*id, token))
    }

    /// One token.
    #[must_use]
    pub fn token(&self, id: TokenId) -> Option<&Token> {
        self.tokens.get(&id)
    }

    /// Clients in the order in which they joined.
    pub fn clients(&self) -> impl Iterator<Item = (ClientNumber, &Client)> {
        self.clients
            .iter()
            .map(|(number, client)| (*number, client))
    }

    /// One client.
    #[must_use]
    pub fn client(&self, number: ClientNumber) -> Option<&Client> {
        self.clients.get(&number)
    }

    /// The number of a client id.
    #[must_use]
    pub fn client_by_id(&self, id: ClientId) -> Option<ClientNumber> {
        self.by_id.get(&id).copied()
    }

    /// The client with this identity key (SHA-256 of its SubjectPublicKeyInfo).
    #[must_use]
    pub fn client_by_key(&self, key: &Digest) -> Option<ClientNumber> {
        self.by_key.get(key).copied()
    }

    /// The number of the next client to join.
    #[must_use]
    pub fn next_client(&self) -> ClientNumber {
        self.clients
            .last_key_value()
            .map_or(0, |(number, _)| number.saturating_add(1))
            .max(match self.recovery.client {
                0 => 0,
                floor => floor.saturating_add(1),
            })
    }

    /// Every enrolled client that is not decommissioned. Who is connected plays no part.
    #[must_use]
    pub const fn roster(&self) -> &RoaringBitmap {
        &self.roster
    }

    /// Certificates by generation.
    pub fn certificates(&self) -> impl DoubleEndedIterator<Item = (Generation, &KeptCertificate)> {
        self.certificates
            .iter()
            .map(|(generation, held)| (*generation, held))
    }

    /// One certificate.
    #[must_use]
    pub fn certificate(&self, generation: Generation) -> Option<&KeptCertificate> {
        self.certificates.get(&generation)
    }

    /// The certificate with this fingerprint, and its number.
    #[must_use]
    pub fn certificate_of(&self, fingerprint: &Digest) -> Option<(Generation, &KeptCertificate)> {
        self.certificates()
            .find(|(_, held)| held.certificate.fingerprint == *fingerprint)
    }

    /// The generation that is served.
    #[must_use]
    pub const fn serving(&self) -> Option<Generation> {
        self.serving
    }

    /// The generation that probes may see.
    #[must_use]
    pub fn candidate(&self) -> Option<Generation> {
        self.running()
            .filter(|rotation| rotation.phase >= Phase::Preparing)
            .map(|rotation| rotation.to)
    }

    /// The certificate that was last in service of those that one of these anchors vouches for; else one that is held and was never in service here: an
    /// older journal may not know that it was. What is served if none does, or if `None`: any is accepted.
    #[must_use]
    pub fn certificate_for(&self, anchors: Option<&[AnchorNumber]>) -> Option<Choice> {
        let serving = self.serving?;
        let choice = Choice {
            generation: serving,
            bridged: false,
        };
        let Some(anchors) = anchors else {
            return Some(choice);
        };
        let newest = self
            .vouched(anchors)
            .max_by_key(|(generation, held)| (held.in_service, *generation));
        Some(newest.map_or(choice, |(generation, _)| Choice {
            generation,
            bridged: generation != serving,
        }))
    }

    /// Whether a certificate is served that one of these anchors vouches for.
    #[must_use]
    pub fn serves(&self, anchors: &[AnchorNumber]) -> bool {
        self.vouched(anchors).next().is_some()
    }

    fn vouched(
        &self,
        anchors: &[AnchorNumber],
    ) -> impl Iterator<Item = (Generation, &KeptCertificate)> {
        self.certificates()
            .filter(|(_, held)| !held.retired && self.vouches(anchors, held))
    }

    /// What to try in turn on a client of whose anchors none is known here: an older journal may hold the right certificate under another number. What is
    /// served comes first, then the newest. Empty: an anchor is known, and [`certificate_for`](Self::certificate_for) says which it is.
    #[must_use]
    pub fn guesses(&self, anchors: &[AnchorNumber]) -> Vec<Choice> {
        if anchors.is_empty() || anchors.iter().any(|number| self.knows_anchor(*number)) {
            return vec![];
        }
        let others = self
            .certificates()
            .rev()
            .filter(|(generation, held)| !held.retired && Some(*generation) != self.serving)
            .map(|(generation, _)| Choice {
                generation,
                bridged: true,
            });
        self.certificate_for(None)
            .into_iter()
            .chain(others)
            .collect()
    }

    /// Whether one of these anchors, as a client names them, vouches for a certificate. A client that is ahead of an older journal names anchors that only
    /// its own document explains.
    fn vouches(&self, anchors: &[AnchorNumber], held: &KeptCertificate) -> bool {
        anchors.iter().any(|number| {
            *number == held.anchor
                || self.recovery.foreign.get(number) == Some(&held.certificate.spki)
        })
    }

    /// How many clients of the roster, by what they are known to hold, are served this certificate because they trust nothing newer that is served.
    #[must_use]
    pub fn bridged_by(&self, generation: Generation) -> u64 {
        let served = |client: &Client| {
            self.certificate_for(Some(self.anchors_of(client.revision())))
                .map(|choice| choice.generation)
        };
        let clients = self
            .clients()
            .filter(|(number, client)| {
                self.roster.contains(*number) && served(client) == Some(generation)
            })
            .count();
        u64::try_from(clients).unwrap_or(u64::MAX)
    }

    /// Newest last.
    #[must_use]
    pub fn rotations(&self) -> &[Rotation] {
        &self.rotations
    }

    /// One rotation.
    #[must_use]
    pub fn rotation(&self, id: RotationId) -> Option<&Rotation> {
        self.rotations
            .iter()
            .rev()
            .find(|rotation| rotation.id == id)
    }

    /// The one that runs.
    #[must_use]
    pub fn running(&self) -> Option<&Rotation> {
        self.rotations
            .last()
            .filter(|rotation| !rotation.phase.is_terminal())
    }

    /// The newest revision. 0: none yet.
    #[must_use]
    pub fn revision(&self) -> Revision {
        self.publications
            .last_key_value()
            .map_or(Revision(0), |(revision, _)| *revision)
            .max(self.recovery.revision)
    }

    /// The digest of the document that was published to a group at a revision.
    #[must_use]
    pub fn published(&self, group: &GroupName, revision: Revision) -> Option<Digest> {
        self.publications
            .get(&revision)?
            .digests
            .get(group)
            .copied()
    }

    /// The anchors of a revision.
    #[must_use]
    pub fn anchors_of(&self, revision: Revision) -> &[AnchorNumber] {
        self.publications
            .get(&revision)
            .map_or(&[], |published| &published.anchors)
    }

    /// The mode that a revision orders.
    #[must_use]
    pub fn mode_of(&self, revision: Revision) -> Option<Mode> {
        self.publications
            .get(&revision)
            .map(|published| published.mode)
    }

    /// What a revision was published for.
    pub(crate) fn purpose_of(&self, revision: Revision) -> Option<Purpose> {
        self.publications
            .get(&revision)
            .map(|published| published.purpose)
    }

    /// SCEP settings and devices' requests.
    #[must_use]
    pub const fn enrolment(&self) -> &Enrolment {
        &self.enrolment
    }

    /// The built-in CA.
    #[must_use]
    pub const fn issuance(&self) -> &Issuance {
        &self.issuance
    }

    /// What the journal knows of the controller's clock.
    #[must_use]
    pub const fn clock(&self) -> &Clock {
        &self.clock
    }

    /// The anchor that vouches for a certificate.
    #[must_use]
    pub fn anchor(&self, generation: Generation) -> Option<Anchor> {
        self.certificate(generation).map(|held| Anchor {
            number: held.anchor,
            kind: AnchorKind::Pin(held.certificate.spki),
        })
    }

    /// The anchor of a public key: the one that vouches for it already, or the next free number.
    #[must_use]
    pub fn anchor_for(&self, spki: &Digest) -> AnchorNumber {
        let known = self
            .certificates
            .values()
            .find(|held| held.certificate.spki == *spki)
            .map(|held| held.anchor);
        let foreign = || {
            let mut foreign = self.recovery.foreign.iter();
            foreign.find_map(|(number, pin)| (pin == spki).then_some(*number))
        };
        known.or_else(foreign).unwrap_or_else(|| {
            self.certificates
                .values()
                .map(|held| held.anchor)
                .chain(self.recovery.foreign.keys().copied())
                .max()
                .unwrap_or(AnchorNumber(0))
                .max(self.recovery.anchor)
                .next()
        })
    }

    /// Mode, anchors and purpose of the newest publication: what a group that is created now must have.
    pub(crate) fn template(&self) -> Option<(Mode, Anchors, Purpose)> {
        self.current
            .as_ref()
            .map(|template| (template.mode, template.anchors.clone(), template.purpose))
    }

    /// What came of a request that was served within the last 24 hours. `None`: it was not.
    ///
    /// # Errors
    /// If the id was used with another body.
    pub fn repeated(
        &self,
        request: &Request,
        now: Timestamp,
    ) -> Result<Option<Option<Outcome>>, Refusal> {
        match self.requests.get(&request.id) {
            Some(done) if now.duration_since(done.time) >= REQUEST_MEMORY => Ok(None),
            Some(done) if done.body == request.body => Ok(Some(done.outcome.clone())),
            Some(_) => Err(Refusal::RequestReused(request.id.clone())),
            None => Ok(None),
        }
    }
}

/// These names and then those hosts, each once.
pub(crate) fn names_with(names: &[String], hosts: Vec<String>) -> Vec<String> {
    let mut all = names.to_vec();
    all.extend(hosts.into_iter().filter(|host| !names.contains(host)));
    all
}
