//! What an agent knows, in one file: read all or nothing, with every signature checked again, and written in one durable step. The key
//! is elsewhere.

use convoy_proto::{
    documents::{BadDocument, SignedRoot, chain_from, open_trust, required_envelope},
    time::{BadTime, duration, read_length, read_timestamp, timestamp},
    v1,
};
use convoy_shared::{
    ack::Held,
    certificate::{BadCertificate, client_of},
    envelope::Envelope,
    id::{BadId, ClientId, Digest, FleetId, GroupName, Incarnation},
    root::Root,
    trust::{ModeInForce, Trust, TrustDocument},
};
use jiff::{SignedDuration, Timestamp};
use prost::Message as _;
use rustls_pki_types::CertificateDer;

use crate::{
    address::{Address, BadAddress},
    clock::{Clock, Mark},
    disk::{DiskError, StateDir},
    verifier::TrustSnapshot,
};

/// The file.
pub const FILE: &str = "state";

/// A client: who it is, and what it trusts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct State {
    /// Its id.
    pub client_id: ClientId,
    /// Its group: the audience of its documents.
    pub group: GroupName,
    /// What people call the host.
    pub name: String,
    /// The controller's addresses in the order in which they are tried, at least one: those of the trust document, and those that were known before
    /// it, until a session over one of its own has held.
    pub addresses: Vec<Address>,
    /// The roots before the one in force, oldest first. The first one is that of the join token, or its successor.
    pub earlier_roots: Vec<SignedRoot>,
    /// The root in force.
    pub root: SignedRoot,
    /// The trust document.
    pub trust: SignedTrust,
    /// The identity certificate and its issuers, leaf first. At least one.
    pub identity: Vec<CertificateDer<'static>>,
    /// When the channel proof of a session last held, by the believed time: a lease begins here.
    pub last_proof: Timestamp,
    /// The believed time when this was stored: what the next process goes on from.
    pub mark: Mark,
    /// How often the agent has started.
    pub incarnation: Incarnation,
}

/// A trust document and the envelope that holds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedTrust {
    /// The exact signed bytes.
    pub envelope: Envelope,
    /// What they say.
    pub document: TrustDocument,
}

impl SignedTrust {
    /// Its revision and digest.
    #[must_use]
    pub fn held(&self) -> Held {
        Held {
            revision: self.document.revision,
            digest: self.envelope.digest(),
        }
    }
}

impl State {
    /// Reads the state of a folder.
    ///
    /// # Errors
    /// If there is none, or it is not exactly what was written.
    pub fn load(dir: &StateDir) -> Result<Self, StateError> {
        let bytes = dir.read(FILE)?.ok_or(StateError::Absent)?;
        Self::from_bytes(&bytes).map_err(|why| StateError::Damaged {
            path: dir.file(FILE).display().to_string(),
            why,
        })
    }

    /// Writes it to a folder, durably.
    ///
    /// # Errors
    /// If it cannot be written. The older state is then still there.
    pub fn store(&self, dir: &StateDir) -> Result<(), DiskError> {
        dir.write(FILE, &self.to_bytes())
    }

    /// The fleet.
    #[must_use]
    pub const fn fleet_id(&self) -> FleetId {
        self.root.root.fleet_id
    }

    /// The trust document's revision and digest.
    #[must_use]
    pub fn held(&self) -> Held {
        self.trust.held()
    }

    /// The trust at this moment, to be kept.
    #[must_use]
    pub fn snapshot(&self, clock: &Clock) -> TrustSnapshot {
        TrustSnapshot {
            document: self.trust.document.clone(),
            root: self.root.root.clone(),
            last_proof: self.last_proof,
            clock: clock.clone(),
        }
    }

    /// The clock of a process that has read this state and heard nothing since.
    #[must_use]
    pub fn clock(&self) -> Clock {
        Clock::resume(self.mark.clone())
    }

    /// The trust by this clock.
    #[must_use]
    pub fn trust(&self, clock: &Clock) -> Trust<'_> {
        Trust {
            document: &self.trust.document,
            root: &self.root.root,
            last_proof: clock.is_measured().then_some(self.last_proof),
        }
    }

    /// The mode in force now.
    #[must_use]
    pub fn mode(&self, clock: &Clock) -> ModeInForce {
        self.trust(clock).mode(clock.now())
    }

    /// Whether the trust document or the root has expired at `now`. They are kept.
    #[must_use]
    pub fn is_stale(&self, now: Timestamp) -> bool {
        now > self.trust.document.expires_at || now > self.root.root.expires_at
    }

    /// The identity certificate.
    #[must_use]
    pub fn leaf(&self) -> &[u8] {
        self.identity.first().map_or(&[], |leaf| leaf.as_ref())
    }

    /// Takes roots that follow the one in force, and what a clock says after this proof ([`Clock::after`]).
    /// A proof of a controller that doubts its own clock renews no lease.
    pub fn prove(&mut self, newer: Vec<SignedRoot>, mark: Mark, renews_lease: bool) {
        self.last_proof = if renews_lease {
            mark.time
        } else {
            self.last_proof.min(mark.time)
        };
        self.mark = mark;
        for next in newer {
            self.earlier_roots
                .push(std::mem::replace(&mut self.root, next));
        }
    }

    /// Obeys another trust document. The addresses that were known are kept beside its own.
    pub fn take(&mut self, trust: SignedTrust) {
        self.addresses = trust.document.addresses.to_try(&self.addresses);
        self.trust = trust;
    }

    /// A session over this address holds. If the trust document lists it, those that it does not list are needed no more.
    pub fn held_over(&mut self, address: &Address) {
        let listed = &self.trust.document.addresses;
        if listed.contains(address) {
            self.addresses = listed.to_try(&[]);
        }
    }

    /// What its file holds.
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let payload = StateFile {
            client_id: self.client_id.as_bytes().to_vec(),
            group: self.group.to_string(),
            name: self.name.clone(),
            addresses: self.addresses.iter().map(Address::to_string).collect(),
            roots: self
                .earlier_roots
                .iter()
                .chain([&self.root])
                .map(|signed| signed.envelope.clone().into())
                .collect(),
            trust: Some(self.trust.envelope.clone().into()),
            identity: self.identity.iter().map(|der| der.to_vec()).collect(),
            last_proof_seconds: self.last_proof.as_second(),
            last_proof_nanoseconds: self.last_proof.subsec_nanosecond(),
            incarnation: self.incarnation.0,
            mark: Some(MarkFile::of(&self.mark)),
        }
        .encode_to_vec();
        let mut bytes = format!("{MAGIC}{FORMAT}\n").into_bytes();
        bytes.extend_from_slice(Digest::of(&payload).as_bytes());
        bytes.extend_from_slice(&payload);
        bytes
    }

    fn from_bytes(bytes: &[u8]) -> Result<Self, Damage> {
        let rest = bytes
            .strip_prefix(MAGIC.as_bytes())
            .ok_or(Damage::NoState)?;
        let end = rest
            .iter()
            .position(|byte| *byte == b'\n')
            .ok_or(Damage::NoState)?;
        let (format, rest) = (&rest[..end], &rest[end + 1..]);
        if format != FORMAT.as_bytes() {
            let format = String::from_utf8_lossy(format).chars().take(20).collect();
            return Err(Damage::OtherFormat(format));
        }
        let (sum, payload) = rest.split_at_checked(32).ok_or(Damage::Checksum)?;
        if sum != Digest::of(payload).as_bytes() {
            return Err(Damage::Checksum);
        }
        Self::from_file(StateFile::decode(payload).map_err(BadDocument::from)?)
    }

    fn from_file(file: StateFile) -> Result<Self, Damage> {
        let envelopes = file
            .roots
            .into_iter()
            .map(Envelope::try_from)
            .collect::<Result<Vec<_>, _>>()?;
        let first = envelopes.first().ok_or(Damage::Missing("roots"))?.digest();
        let mut earlier_roots = chain_from(envelopes, first)?;
        let root = earlier_roots.pop().ok_or(Damage::Missing("roots"))?;
        let envelope = required_envelope(file.trust)?;
        let document = open_by_any(&envelope, &earlier_roots, &root.root)?;
        let group: GroupName = file.group.parse()?;
        if document.audience != group {
            return Err(Damage::Missing("a trust document for its group"));
        }
        let addresses = file
            .addresses
            .iter()
            .map(|address| address.parse())
            .collect::<Result<Vec<Address>, _>>()?;
        if addresses.is_empty() {
            return Err(Damage::Missing("addresses"));
        }
        let client_id = ClientId::from_bytes(&file.client_id)?;
        let leaf = file.identity.first().ok_or(Damage::Missing("identity"))?;
        if client_of(leaf, root.root.fleet_id)? != client_id {
            return Err(Damage::Missing("an identity certificate of this client"));
        }
        Ok(Self {
            client_id,
            group,
            name: file.name,
            addresses,
            earlier_roots,
            root,
            trust: SignedTrust { envelope, document },
            identity: file
                .identity
                .into_iter()
                .map(CertificateDer::from)
                .collect(),
            last_proof: Timestamp::new(file.last_proof_seconds, file.last_proof_nanoseconds)
                .map_err(|_| Damage::Missing("last proof"))?,
            mark: file.mark.ok_or(Damage::Missing("clock"))?.read()?,
            incarnation: Incarnation(file.incarnation),
        })
    }
}

/// The document, if the root that was in force when it was issued, or a later one, vouches for it. A root that came later may have
/// replaced the key that signed a document which nothing has replaced yet.
fn open_by_any(
    envelope: &Envelope,
    earlier: &[SignedRoot],
    newest: &Root,
) -> Result<TrustDocument, BadDocument> {
    let newest_says = open_trust(envelope, newest);
    let fits = |document: &TrustDocument, root: &Root| document.root_version <= root.version;
    match newest_says {
        Ok(document) if fits(&document, newest) => Ok(document),
        said => earlier
            .iter()
            .rev()
            .find_map(|signed| {
                open_trust(envelope, &signed.root)
                    .ok()
                    .filter(|document| fits(document, &signed.root))
            })
            .ok_or_else(|| said.err().unwrap_or(BadDocument::Missing("root_version"))),
    }
}

const MAGIC: &str = "convoy-agent state ";
const FORMAT: &str = "1";

#[derive(Clone, PartialEq, prost::Message)]
struct StateFile {
    #[prost(bytes = "vec", tag = "1")]
    client_id: Vec<u8>,
    #[prost(string, tag = "2")]
    group: String,
    #[prost(string, tag = "3")]
    name: String,
    #[prost(string, repeated, tag = "4")]
    addresses: Vec<String>,
    #[prost(message, repeated, tag = "5")]
    roots: Vec<v1::Envelope>,
    #[prost(message, optional, tag = "6")]
    trust: Option<v1::Envelope>,
    #[prost(bytes = "vec", repeated, tag = "7")]
    identity: Vec<Vec<u8>>,
    #[prost(int64, tag = "8")]
    last_proof_seconds: i64,
    #[prost(int32, tag = "9")]
    last_proof_nanoseconds: i32,
    #[prost(uint64, tag = "10")]
    incarnation: u64,
    #[prost(message, optional, tag = "11")]
    mark: Option<MarkFile>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct MarkFile {
    #[prost(message, optional, tag = "1")]
    time: Option<prost_types::Timestamp>,
    #[prost(string, tag = "2")]
    boot: String,
    #[prost(message, optional, tag = "3")]
    uptime: Option<prost_types::Duration>,
    #[prost(sint64, tag = "4")]
    ahead_seconds: i64,
}

impl MarkFile {
    fn of(mark: &Mark) -> Self {
        Self {
            time: Some(timestamp(mark.time)),
            boot: mark.boot.clone(),
            uptime: SignedDuration::try_from(mark.uptime).ok().map(duration),
            ahead_seconds: mark.ahead.as_secs(),
        }
    }

    fn read(self) -> Result<Mark, Damage> {
        let uptime = read_length(self.uptime, "uptime")?;
        Ok(Mark {
            time: read_timestamp(self.time, "time")?,
            boot: self.boot,
            // It is not negative.
            uptime: uptime.unsigned_abs(),
            ahead: SignedDuration::from_secs(self.ahead_seconds),
        })
    }
}

/// Why there is no state.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// Never written.
    #[error("this host has not joined a fleet: run `convoy-agent join TOKEN --state-dir …` first")]
    Absent,
    /// Not what was written.
    #[error(
        "{path} is damaged, and nothing is done with it: restore it from a backup, or move it away and run `convoy-agent join TOKEN`, which gives the same identity to the key beside it"
    )]
    Damaged {
        /// The file.
        path: String,
        /// What is wrong with it.
        #[source]
        why: Damage,
    },
    /// The folder.
    #[error(transparent)]
    Disk(#[from] DiskError),
}

/// What is wrong with a state file.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Damage {
    /// Something else altogether.
    #[error("it does not begin like a state file")]
    NoState,
    /// Of another agent.
    #[error(
        "it has format {0}, and this agent reads format {FORMAT} only: was a newer agent here?"
    )]
    OtherFormat(String),
    /// Torn, or changed.
    #[error("its checksum does not fit its content")]
    Checksum,
    /// Incomplete.
    #[error("it lacks {0}")]
    Missing(&'static str),
    /// A document that is not to be believed.
    #[error(transparent)]
    Document(#[from] BadDocument),
    /// A malformed identifier.
    #[error(transparent)]
    Id(#[from] BadId),
    /// A malformed address.
    #[error(transparent)]
    Address(#[from] BadAddress),
    /// A malformed time.
    #[error(transparent)]
    Time(#[from] BadTime),
    /// A malformed identity certificate.
    #[error(transparent)]
    Certificate(#[from] BadCertificate),
}

#[cfg(test)]
mod tests;
