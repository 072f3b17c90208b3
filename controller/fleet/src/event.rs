//! What happened: the only things that change a fleet's state. How they are written down lives in the proto crate.

use convoy_shared::{
    ack::Evidence,
    address::{Address, Addresses},
    envelope::{Envelope, PublicKey},
    id::{
        AnchorNumber, ClientId, Digest, Epoch, FleetId, Generation, GroupName, Incarnation,
        InstanceId, Revision, RootVersion, RotationId, TokenId,
    },
    root::Root,
    trust::{Anchors, Mode, ModeInForce, TrustDocument},
};
use jiff::Timestamp;
use roaring::RoaringBitmap;

use crate::{
    client::{ClientNumber, Suspicion},
    clock::ClockEvent,
    enrolment::EnrolmentEvent,
    issuance::IssuanceEvent,
    recovery::RecoveryEvent,
    rotation::{Phase, RotationOptions, Strategy},
};

/// Events that stand or fall together, and who caused them.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// When it was decided, by the controller's clock.
    pub time: Timestamp,
    /// Who caused it.
    pub actor: Actor,
    /// The request that asked for it, if the caller named it.
    pub request: Option<Request>,
    /// The controller replica that decided it.
    pub replica: String,
    /// At least one.
    pub events: Vec<Event>,
}

/// Who caused an entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Actor {
    /// The controller itself: a duty.
    Controller,
    /// An administrator on the local socket, by user id.
    LocalAdmin(u32),
    /// Clients, by their certificates.
    Clients,
    /// A host that is not a client yet.
    Stranger,
}

/// A caller's idempotency key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// At most 64 characters.
    pub id: String,
    /// SHA-256 of the method's name and the request.
    pub body: Digest,
}

/// One thing that happened.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// The fleet began.
    FleetFounded {
        /// Its id.
        fleet: FleetId,
        /// Root version 1.
        root: SignedRoot,
        /// The client CA's certificate, DER.
        client_ca: Vec<u8>,
    },
    /// A new root took the place of the one in force.
    RootRenewed {
        /// The next version.
        root: SignedRoot,
    },
    /// A controller process began: what it holds in memory is to be loaded again.
    ReplicaStarted,
    /// A request changed nothing, because all was so already. Keeps its id from being used with another body.
    AlreadySo,
    /// The names and addresses that the controller's certificates must carry.
    ServerNamesSet {
        /// In the order given.
        names: Vec<String>,
    },
    /// Where clients are to reach the controller.
    AddressesSet {
        /// Best first.
        addresses: Addresses,
    },
    /// A client has held a session over an address, for the first time since that was listed.
    AddressUsed {
        /// Whose.
        client: ClientNumber,
        /// Which.
        address: Address,
    },
    /// A group was created.
    GroupCreated {
        /// Its name.
        group: GroupName,
    },
    /// A join token was created.
    TokenCreated {
        /// Its id.
        token: TokenId,
        /// The group that it admits to.
        group: GroupName,
        /// How many clients it admits.
        uses: u32,
        /// When it stops.
        expires_at: Timestamp,
        /// The public half of its key.
        public_key: PublicKey,
    },
    /// A join token was revoked.
    TokenRevoked {
        /// Its id.
        token: TokenId,
    },
    /// A client joined.
    ClientJoined(Joined),
    /// A client joined again in place: the same key, so the same client. It was given the present trust and a new identity certificate.
    ClientRejoined(Rejoined),
    /// A client received a new identity certificate.
    IdentityIssued {
        /// Whose.
        client: ClientNumber,
        /// When it expires.
        expires_at: Timestamp,
    },
    /// A client opened a session, and what it stated was news. That it is connected is in [`Presence`](crate::presence::Presence), and no event.
    ClientConnected(Connected),
    /// A client has shown something about its group's present trust document.
    EvidenceGiven {
        /// Whose.
        client: ClientNumber,
        /// The document's revision.
        revision: Revision,
        /// At least this.
        evidence: Evidence,
    },
    /// A client has shown that its verification is off, as ordered.
    RelaxationShown {
        /// Whose.
        client: ClientNumber,
        /// The document's revision.
        revision: Revision,
    },
    /// What a client has shown no longer counts.
    EvidenceCleared {
        /// Whose.
        client: ClientNumber,
    },
    /// A client was caught saying what is not so.
    ClientSuspected {
        /// Whose.
        client: ClientNumber,
        /// At what.
        suspicion: Suspicion,
    },
    /// Two live copies of one identity alternate.
    ClientDuplicated {
        /// Whose.
        client: ClientNumber,
    },
    /// An operator says that only one copy is left.
    ClientResolved {
        /// Whose.
        client: ClientNumber,
    },
    /// A client was removed for good.
    ClientDecommissioned {
        /// Which.
        client: ClientNumber,
    },
    /// A server certificate came to the controller. The first one is served.
    CertificateImported(Imported),
    /// A certificate that is known came with another chain: that one is shown from now on.
    CertificateChainTaken {
        /// Which certificate.
        generation: Generation,
        /// The certificate and its new chain, DER, end entity first.
        chain: Vec<Vec<u8>>,
    },
    /// An old certificate is served to nobody any more, until it is put in service again.
    CertificateRetired {
        /// Which.
        generation: Generation,
    },
    /// A replica holds a certificate with its key, ready to be served.
    CertificateLoaded {
        /// Which certificate.
        generation: Generation,
    },
    /// Trust documents were issued.
    TrustPublished(Publication),
    /// A rotation began, in the phase `Planned`.
    RotationStarted {
        /// Its id.
        rotation: RotationId,
        /// The generation that is served.
        from: Generation,
        /// The generation that is to be served.
        to: Generation,
        /// How.
        strategy: Strategy,
        /// As asked for.
        options: RotationOptions,
    },
    /// A rotation entered a phase. Entering `Swapping` is the opening of gate A, and changes the certificate that is served.
    PhaseEntered {
        /// Which rotation.
        rotation: RotationId,
        /// The phase.
        phase: Phase,
        /// Why it ended early. Empty otherwise.
        reason: String,
        /// `Swapping`: who was connected when it began, and is expected back. Empty otherwise.
        expected: RoaringBitmap,
    },
    /// No phase begins any more.
    RotationPaused {
        /// Which rotation.
        rotation: RotationId,
    },
    /// Phases begin again.
    RotationResumed {
        /// Which rotation.
        rotation: RotationId,
    },
    /// The gates need not wait for a client.
    ClientWaived {
        /// Which rotation.
        rotation: RotationId,
        /// Which client.
        client: ClientNumber,
        /// Why.
        reason: String,
        /// Until when.
        until: Timestamp,
    },
    /// Something about SCEP settings or devices' requests.
    Enrolment(EnrolmentEvent),
    /// Something about the clock.
    Clock(ClockEvent),
    /// Something about the built-in CA.
    Issuance(IssuanceEvent),
    /// Something about the journal itself.
    Recovery(RecoveryEvent),
}

/// A root and the exact bytes that say so.
#[derive(Clone, Debug, PartialEq)]
pub struct SignedRoot {
    /// Signed.
    pub envelope: Envelope,
    /// What it says.
    pub root: Root,
}

/// A client's beginning.
#[derive(Clone, Debug, PartialEq)]
pub struct Joined {
    /// Its id.
    pub id: ClientId,
    /// Dense, never reused.
    pub number: ClientNumber,
    /// What people call it.
    pub name: String,
    /// Its group.
    pub group: GroupName,
    /// SHA-256 of its identity key's SubjectPublicKeyInfo.
    pub key: Digest,
    /// The token that admitted it.
    pub token: TokenId,
    /// Its agent's version.
    pub agent_version: String,
    /// When its identity certificate expires.
    pub identity_expires_at: Timestamp,
}

/// A client's return after it could connect no more.
#[derive(Clone, Debug, PartialEq)]
pub struct Rejoined {
    /// Which client.
    pub client: ClientNumber,
    /// The token that it came with. None of its uses is used.
    pub token: TokenId,
    /// Its agent's version.
    pub agent_version: String,
    /// When its new identity certificate expires.
    pub identity_expires_at: Timestamp,
}

/// What a client stated when it opened a session.
#[derive(Clone, Debug, PartialEq)]
pub struct Connected {
    /// Whose.
    pub client: ClientNumber,
    /// How often its agent has started.
    pub incarnation: Incarnation,
    /// This start of its agent.
    pub instance: InstanceId,
    /// Revision of the trust document on its disk. `None`: it was never published to its group.
    pub held: Option<Revision>,
    /// The mode in force.
    pub mode: ModeInForce,
    /// Its agent's version.
    pub agent_version: String,
    /// The certificate that it accepted for this session.
    pub served: Generation,
}

/// A server certificate.
#[derive(Clone, Debug, PartialEq)]
pub struct Imported {
    /// Its number.
    pub generation: Generation,
    /// The anchor that vouches for it.
    pub anchor: AnchorNumber,
    /// What it says.
    pub certificate: Certificate,
}

/// What a server certificate says. Its key is not here: it lies in a file that is named by `spki`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate {
    /// The certificate and its chain, DER, end entity first.
    pub chain: Vec<Vec<u8>>,
    /// SHA-256 of the end entity.
    pub fingerprint: Digest,
    /// SHA-256 of its SubjectPublicKeyInfo.
    pub spki: Digest,
    /// Distinguished name.
    pub subject: String,
    /// Distinguished name.
    pub issuer: String,
    /// DNS names and IP addresses.
    pub names: Vec<String>,
    /// First instant of its validity.
    pub not_before: Timestamp,
    /// Last instant of its validity.
    pub not_after: Timestamp,
    /// For people.
    pub key_algorithm: String,
}

/// One issue of trust documents, a document per group.
#[derive(Clone, Debug, PartialEq)]
pub struct Publication {
    /// The revision of every document in it.
    pub revision: Revision,
    /// The root in force.
    pub root_version: RootVersion,
    /// The life of the journal.
    pub epoch: Epoch,
    /// Whether certificates are verified.
    pub mode: Mode,
    /// What is accepted.
    pub anchors: Anchors,
    /// Names of the controller.
    pub server_names: Vec<String>,
    /// Where the controller is.
    pub addresses: Addresses,
    /// When.
    pub issued_at: Timestamp,
    /// Until when.
    pub expires_at: Timestamp,
    /// What it is for.
    pub purpose: Purpose,
    /// The groups that it is for.
    pub groups: Vec<GroupName>,
    /// The signed documents, in the order of `groups`. A decision leaves this empty, and the shell fills it in before the entry is appended: the
    /// exact bytes are kept, so that a later version that writes documents otherwise does not change a digest.
    pub documents: Vec<Envelope>,
}

impl Publication {
    /// The document for one of its groups, to be signed.
    #[must_use]
    pub fn document(&self, fleet: FleetId, group: &GroupName) -> TrustDocument {
        TrustDocument {
            fleet_id: fleet,
            audience: group.clone(),
            root_version: self.root_version,
            epoch: self.epoch,
            revision: self.revision,
            mode: self.mode,
            anchors: self.anchors.clone(),
            server_names: self.server_names.clone(),
            addresses: self.addresses.clone(),
            issued_at: self.issued_at,
            expires_at: self.expires_at,
        }
    }
}

/// What a publication is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Trust in what is served, outside of the gates of a rotation.
    Steady,
    /// Covers the swap: gate A is about it.
    Prepare(RotationId),
    /// The new certificate alone: gate B is about it.
    Enforce(RotationId),
}
