//! The journal's entries: bytes to events and back, all or nothing. How entries are framed and stored lives with the engines.

mod clients;
mod clock;
mod enrolment;
mod issuance;
mod recovery;
mod rotations;
mod words;

use bytes::Bytes;
use convoy_fleet::event::{Actor, Entry, Event, Request, SignedRoot};
use convoy_shared::{
    address::BadAddresses,
    envelope::{BadKey, PublicKey},
    id::{BadId, Digest, FleetId, Generation, Revision, RotationId, TokenId},
    trust::BadAnchors,
};
use jiff::SignedDuration;
use prost::Message as _;
use roaring::RoaringBitmap;

use self::wire::{actor, event::Kind};
use crate::{
    documents::{BadDocument, decode_root, read_addresses, required_envelope, write_addresses},
    scep::BadScep,
    time::{BadTime, read_timestamp, timestamp},
    v1,
};

/// The journal's messages, `convoy.journal.v1`.
pub mod wire {
    #![allow(
        missing_docs,
        clippy::all,
        clippy::allow_attributes_without_reason,
        clippy::as_conversions,
        unreachable_pub,
        unused_qualifications,
        reason = "generated code"
    )]
    tonic::include_proto!("convoy.journal.v1");
}

/// An entry's bytes. It holds at least one event, and each publication in it a document for each of its groups, or it will not be read again.
#[must_use]
pub fn encode_entry(entry: &Entry) -> Vec<u8> {
    let Entry {
        time,
        actor,
        request,
        replica,
        events,
    } = entry;
    debug_assert!(!events.is_empty(), "an entry without events");
    wire::Entry {
        time: Some(timestamp(*time)),
        actor: Some(write_actor(actor)),
        request: request.as_ref().map(|Request { id, body }| wire::Request {
            id: id.clone(),
            body: copied(body.as_bytes()),
        }),
        replica: replica.clone(),
        events: events.iter().map(write_event).collect(),
    }
    .encode_to_vec()
}

/// Reads an entry.
///
/// # Errors
/// If anything in it is missing, malformed, or not known to this version: then nothing of it is given.
pub fn decode_entry(bytes: &[u8]) -> Result<Entry, BadEntry> {
    let wire = wire::Entry::decode(bytes)?;
    // prost drops fields that it does not know; then the message does not give back its own bytes.
    let complete = wire.encode_to_vec() == bytes;
    let events: Vec<_> = wire
        .events
        .into_iter()
        .enumerate()
        .map(|(index, event)| read_event(event.kind.ok_or(BadEntry::UnknownEvent { index })?))
        .collect::<Result<_, _>>()?;
    if events.is_empty() {
        return Err(BadEntry::Missing("events"));
    }
    let entry = Entry {
        time: read_timestamp(wire.time, "time")?,
        actor: read_actor(wire.actor)?,
        request: wire.request.map(read_request).transpose()?,
        replica: wire.replica,
        events,
    };
    if complete {
        Ok(entry)
    } else {
        Err(BadEntry::UnknownField)
    }
}

fn write_actor(actor: &Actor) -> wire::Actor {
    wire::Actor {
        kind: Some(match actor {
            Actor::Controller => actor::Kind::Controller(wire::Nothing {}),
            Actor::LocalAdmin(uid) => actor::Kind::LocalAdmin(*uid),
            Actor::Clients => actor::Kind::Clients(wire::Nothing {}),
            Actor::Stranger => actor::Kind::Stranger(wire::Nothing {}),
        }),
    }
}

fn read_actor(wire: Option<wire::Actor>) -> Result<Actor, BadEntry> {
    let wire = wire.ok_or(BadEntry::Missing("actor"))?;
    Ok(match wire.kind.ok_or(BadEntry::UnknownActor)? {
        actor::Kind::Controller(wire::Nothing {}) => Actor::Controller,
        actor::Kind::LocalAdmin(uid) => Actor::LocalAdmin(uid),
        actor::Kind::Clients(wire::Nothing {}) => Actor::Clients,
        actor::Kind::Stranger(wire::Nothing {}) => Actor::Stranger,
    })
}

fn read_request(wire: wire::Request) -> Result<Request, BadEntry> {
    Ok(Request {
        id: wire.id,
        body: Digest::from_bytes(&wire.body)?,
    })
}

fn write_event(event: &Event) -> wire::Event {
    let kind = match event {
        Event::FleetFounded {
            fleet,
            root: SignedRoot { envelope, root: _ },
            client_ca,
        } => Kind::FleetFounded(wire::FleetFounded {
            fleet_id: copied(fleet.as_bytes()),
            root: Some(envelope.clone().into()),
            client_ca: copied(client_ca),
        }),
        Event::RootRenewed {
            root: SignedRoot { envelope, root: _ },
        } => Kind::RootRenewed(wire::RootRenewed {
            root: Some(envelope.clone().into()),
        }),
        Event::ReplicaStarted => Kind::ReplicaStarted(wire::Nothing {}),
        Event::AlreadySo => Kind::AlreadySo(wire::Nothing {}),
        Event::Enrolment(event) => Kind::Enrolment(enrolment::write_enrolment(event)),
        Event::Clock(event) => Kind::Clock(clock::write_clock(event)),
        Event::Issuance(event) => Kind::Issuance(issuance::write_issuance(event)),
        Event::Recovery(event) => Kind::Recovery(recovery::write_recovery(event)),
        Event::ServerNamesSet { names } => Kind::ServerNamesSet(wire::ServerNamesSet {
            names: names.clone(),
        }),
        Event::AddressesSet { addresses } => Kind::AddressesSet(wire::AddressesSet {
            addresses: write_addresses(addresses),
        }),
        Event::AddressUsed { client, address } => Kind::AddressUsed(wire::AddressUsed {
            client: *client,
            address: address.to_string(),
        }),
        Event::GroupCreated { group } => Kind::GroupCreated(wire::GroupCreated {
            group: group.to_string(),
        }),
        Event::TokenCreated {
            token,
            group,
            uses,
            expires_at,
            public_key,
        } => Kind::TokenCreated(wire::TokenCreated {
            token_id: copied(token.as_bytes()),
            group: group.to_string(),
            uses: *uses,
            expires_at: Some(timestamp(*expires_at)),
            public_key: copied(public_key.as_bytes()),
        }),
        Event::TokenRevoked { token } => Kind::TokenRevoked(wire::TokenRevoked {
            token_id: copied(token.as_bytes()),
        }),
        Event::ClientJoined(joined) => Kind::ClientJoined(joined.into()),
        Event::ClientRejoined(rejoined) => Kind::ClientRejoined(rejoined.into()),
        Event::IdentityIssued { client, expires_at } => {
            Kind::IdentityIssued(wire::IdentityIssued {
                client: *client,
                expires_at: Some(timestamp(*expires_at)),
            })
        }
        Event::ClientConnected(connected) => Kind::ClientConnected(connected.into()),
        Event::EvidenceGiven {
            client,
            revision,
            evidence,
        } => Kind::EvidenceGiven(wire::EvidenceGiven {
            client: *client,
            revision: revision.0,
            evidence: wire::Evidence::from(*evidence).into(),
        }),
        Event::RelaxationShown { client, revision } => {
            Kind::RelaxationShown(wire::RelaxationShown {
                client: *client,
                revision: revision.0,
            })
        }
        Event::EvidenceCleared { client } => {
            Kind::EvidenceCleared(wire::EvidenceCleared { client: *client })
        }
        Event::ClientSuspected { client, suspicion } => {
            Kind::ClientSuspected(wire::ClientSuspected {
                client: *client,
                suspicion: wire::Suspicion::from(*suspicion).into(),
            })
        }
        Event::ClientDuplicated { client } => {
            Kind::ClientDuplicated(wire::ClientDuplicated { client: *client })
        }
        Event::ClientResolved { client } => {
            Kind::ClientResolved(wire::ClientResolved { client: *client })
        }
        Event::ClientDecommissioned { client } => {
            Kind::ClientDecommissioned(wire::ClientDecommissioned { client: *client })
        }
        Event::CertificateImported(imported) => Kind::CertificateImported(imported.into()),
        Event::CertificateChainTaken { generation, chain } => {
            Kind::CertificateChainTaken(wire::CertificateChainTaken {
                generation: generation.0,
                chain: chain.iter().map(|der| copied(der)).collect(),
            })
        }
        Event::CertificateRetired { generation } => {
            Kind::CertificateRetired(wire::CertificateRetired {
                generation: generation.0,
            })
        }
        Event::CertificateLoaded { generation } => {
            Kind::CertificateLoaded(wire::CertificateLoaded {
                generation: generation.0,
            })
        }
        Event::TrustPublished(publication) => Kind::TrustPublished(publication.into()),
        Event::RotationStarted {
            rotation,
            from,
            to,
            strategy,
            options,
        } => Kind::RotationStarted(wire::RotationStarted {
            rotation_id: copied(rotation.as_bytes()),
            from: from.0,
            to: to.0,
            strategy: wire::Strategy::from(*strategy).into(),
            options: Some((*options).into()),
        }),
        Event::PhaseEntered {
            rotation,
            phase,
            reason,
            expected,
        } => Kind::PhaseEntered(wire::PhaseEntered {
            rotation_id: copied(rotation.as_bytes()),
            phase: wire::Phase::from(*phase).into(),
            reason: reason.clone(),
            expected: write_clients(expected),
        }),
        Event::RotationPaused { rotation } => Kind::RotationPaused(wire::RotationPaused {
            rotation_id: copied(rotation.as_bytes()),
        }),
        Event::RotationResumed { rotation } => Kind::RotationResumed(wire::RotationResumed {
            rotation_id: copied(rotation.as_bytes()),
        }),
        Event::ClientWaived {
            rotation,
            client,
            reason,
            until,
        } => Kind::ClientWaived(wire::ClientWaived {
            rotation_id: copied(rotation.as_bytes()),
            client: *client,
            reason: reason.clone(),
            until: Some(timestamp(*until)),
        }),
    };
    wire::Event { kind: Some(kind) }
}

fn read_root(wire: Option<v1::Envelope>) -> Result<SignedRoot, BadEntry> {
    let envelope = required_envelope(wire)?;
    let root = decode_root(&envelope.payload)?;
    Ok(SignedRoot { envelope, root })
}

fn read_event(kind: Kind) -> Result<Event, BadEntry> {
    Ok(match kind {
        Kind::FleetFounded(wire) => Event::FleetFounded {
            fleet: FleetId::from_bytes(&wire.fleet_id)?,
            root: read_root(wire.root)?,
            client_ca: wire.client_ca.to_vec(),
        },
        Kind::RootRenewed(wire) => Event::RootRenewed {
            root: read_root(wire.root)?,
        },
        Kind::ReplicaStarted(wire::Nothing {}) => Event::ReplicaStarted,
        Kind::AlreadySo(wire::Nothing {}) => Event::AlreadySo,
        Kind::Enrolment(wire) => Event::Enrolment(enrolment::read_enrolment(wire)?),
        Kind::Clock(wire) => Event::Clock(clock::read_clock(wire)?),
        Kind::Issuance(wire) => Event::Issuance(issuance::read_issuance(wire)?),
        Kind::Recovery(wire) => Event::Recovery(recovery::read_recovery(wire)?),
        Kind::ServerNamesSet(wire) => Event::ServerNamesSet { names: wire.names },
        Kind::AddressesSet(wire) => Event::AddressesSet {
            addresses: read_addresses(wire.addresses)?,
        },
        Kind::AddressUsed(wire) => Event::AddressUsed {
            client: wire.client,
            address: wire.address.parse().map_err(BadAddresses::from)?,
        },
        Kind::GroupCreated(wire) => Event::GroupCreated {
            group: wire.group.parse()?,
        },
        Kind::TokenCreated(wire) => Event::TokenCreated {
            token: TokenId::from_bytes(&wire.token_id)?,
            group: wire.group.parse()?,
            uses: wire.uses,
            expires_at: read_timestamp(wire.expires_at, "expires_at")?,
            public_key: PublicKey::from_bytes(&wire.public_key)?,
        },
        Kind::TokenRevoked(wire) => Event::TokenRevoked {
            token: TokenId::from_bytes(&wire.token_id)?,
        },
        Kind::ClientJoined(wire) => Event::ClientJoined(wire.try_into()?),
        Kind::ClientRejoined(wire) => Event::ClientRejoined(wire.try_into()?),
        Kind::IdentityIssued(wire) => Event::IdentityIssued {
            client: wire.client,
            expires_at: read_timestamp(wire.expires_at, "expires_at")?,
        },
        Kind::ClientConnected(wire) => Event::ClientConnected(wire.try_into()?),
        Kind::EvidenceGiven(wire) => Event::EvidenceGiven {
            client: wire.client,
            revision: Revision(wire.revision),
            evidence: wire.evidence().try_into()?,
        },
        Kind::RelaxationShown(wire) => Event::RelaxationShown {
            client: wire.client,
            revision: Revision(wire.revision),
        },
        Kind::EvidenceCleared(wire) => Event::EvidenceCleared {
            client: wire.client,
        },
        Kind::ClientSuspected(wire) => Event::ClientSuspected {
            client: wire.client,
            suspicion: wire.suspicion().try_into()?,
        },
        Kind::ClientDuplicated(wire) => Event::ClientDuplicated {
            client: wire.client,
        },
        Kind::ClientResolved(wire) => Event::ClientResolved {
            client: wire.client,
        },
        Kind::ClientDecommissioned(wire) => Event::ClientDecommissioned {
            client: wire.client,
        },
        Kind::CertificateImported(wire) => Event::CertificateImported(wire.try_into()?),
        Kind::CertificateChainTaken(wire) => Event::CertificateChainTaken {
            generation: Generation(wire.generation),
            chain: wire.chain.iter().map(|der| der.to_vec()).collect(),
        },
        Kind::CertificateRetired(wire) => Event::CertificateRetired {
            generation: Generation(wire.generation),
        },
        Kind::CertificateLoaded(wire) => Event::CertificateLoaded {
            generation: Generation(wire.generation),
        },
        Kind::TrustPublished(wire) => Event::TrustPublished(wire.try_into()?),
        Kind::RotationStarted(wire) => Event::RotationStarted {
            rotation: RotationId::from_bytes(&wire.rotation_id)?,
            from: Generation(wire.from),
            to: Generation(wire.to),
            strategy: wire.strategy().try_into()?,
            options: wire
                .options
                .ok_or(BadEntry::Missing("options"))?
                .try_into()?,
        },
        Kind::PhaseEntered(wire) => Event::PhaseEntered {
            rotation: RotationId::from_bytes(&wire.rotation_id)?,
            phase: wire.phase().try_into()?,
            reason: wire.reason,
            expected: read_clients(&wire.expected)?,
        },
        Kind::RotationPaused(wire) => Event::RotationPaused {
            rotation: RotationId::from_bytes(&wire.rotation_id)?,
        },
        Kind::RotationResumed(wire) => Event::RotationResumed {
            rotation: RotationId::from_bytes(&wire.rotation_id)?,
        },
        Kind::ClientWaived(wire) => Event::ClientWaived {
            rotation: RotationId::from_bytes(&wire.rotation_id)?,
            client: wire.client,
            reason: wire.reason,
            until: read_timestamp(wire.until, "until")?,
        },
    })
}

/// Clients' numbers, as the Roaring format has them; none as no bytes.
fn write_clients(clients: &RoaringBitmap) -> Bytes {
    if clients.is_empty() {
        return Bytes::new();
    }
    let mut bytes = Vec::with_capacity(clients.serialized_size());
    let written = clients.serialize_into(&mut bytes);
    debug_assert!(written.is_ok(), "memory takes every byte");
    bytes.into()
}

fn read_clients(mut bytes: &[u8]) -> Result<RoaringBitmap, BadEntry> {
    if bytes.is_empty() {
        return Ok(RoaringBitmap::new());
    }
    match RoaringBitmap::deserialize_from(&mut bytes) {
        Ok(clients) if bytes.is_empty() => Ok(clients),
        Ok(_) | Err(_) => Err(BadEntry::Missing("clients")),
    }
}

fn copied(bytes: &[u8]) -> Bytes {
    Bytes::copy_from_slice(bytes)
}

/// Reads a duration that must be there. Every duration that can be written can be read.
fn read_length(
    wire: Option<prost_types::Duration>,
    field: &'static str,
) -> Result<SignedDuration, BadEntry> {
    let wire = wire.ok_or(BadEntry::Missing(field))?;
    let signs_agree = wire.seconds.signum() * i64::from(wire.nanos.signum()) >= 0;
    if signs_agree && (-999_999_999..=999_999_999).contains(&wire.nanos) {
        Ok(SignedDuration::new(wire.seconds, wire.nanos))
    } else {
        Err(BadTime { field }.into())
    }
}

/// Why bytes are no entry that this version can read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadEntry {
    /// Not protobuf.
    #[error("the entry is damaged")]
    Damaged(#[from] prost::DecodeError),
    /// An event of a newer version, or none.
    #[error("the entry's event {index} is of no kind that this version knows")]
    UnknownEvent {
        /// Its place in the entry, from 0.
        index: usize,
    },
    /// An actor of a newer version, or none.
    #[error("the entry's actor is of no kind that this version knows")]
    UnknownActor,
    /// A field of a newer version.
    #[error("the entry holds a field that this version does not know")]
    UnknownField,
    /// Missing, or not of its form.
    #[error("the field {0} is missing or malformed")]
    Missing(&'static str),
    /// A malformed signed document.
    #[error(transparent)]
    Document(#[from] BadDocument),
    /// A malformed identifier.
    #[error(transparent)]
    Id(#[from] BadId),
    /// A malformed time.
    #[error(transparent)]
    Time(#[from] BadTime),
    /// A malformed key.
    #[error(transparent)]
    Key(#[from] BadKey),
    /// Impossible anchors.
    #[error(transparent)]
    Anchors(#[from] BadAnchors),
    /// Impossible addresses.
    #[error(transparent)]
    Addresses(#[from] BadAddresses),
    /// Malformed SCEP settings, or a malformed record of a request.
    #[error(transparent)]
    Scep(#[from] BadScep),
}

#[cfg(test)]
mod tests;
