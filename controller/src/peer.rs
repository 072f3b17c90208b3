//! Who is at the other end of a TLS connection: facts of its handshake, carried with each of its requests. Nothing a message says belongs here.

use std::net::IpAddr;

use convoy_fleet::{
    client::{Client, ClientNumber, ClientState},
    event::Actor,
    refusal::Refusal,
    state::Fleet,
};
use convoy_shared::{
    certificate::{client_of, not_after, spki_digest},
    id::{AnchorNumber, ClientId, Digest, Generation},
    proof::Exporter,
};
use jiff::Timestamp;
use rustls_pki_types::CertificateDer;

/// The peer of a connection on the agents' port.
#[derive(Clone, Debug)]
pub struct Peer {
    /// The client that its certificate names and whose key it holds, if it showed one.
    pub identity: Option<Identity>,
    /// Where it connects from.
    pub address: IpAddr,
    /// What its certificate says, if the fleet's client CA issued it and the journal does not know the client.
    pub unknown: Option<UnknownIdentity>,
    /// The channel's exporter (RFC 9266).
    pub exporter: Exporter,
    /// The certificate that it was served, and accepted.
    pub served: Generation,
    /// That was an old one, for a client that trusts nothing newer.
    pub bridged: bool,
    /// The handshake was a full one: the peer's verifier was asked.
    pub full: bool,
    /// What it said to trust. `None`: anything, or nothing was said.
    pub anchors: Option<Vec<AnchorNumber>>,
}

/// A client's identity, shown by its certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Which client.
    pub client: ClientNumber,
    /// Its id, for people.
    pub id: ClientId,
    /// SHA-256 of its key's SubjectPublicKeyInfo.
    pub key: Digest,
    /// Its certificate has expired: it may renew, fetch trust and ack, and no more.
    pub expired: bool,
}

impl Identity {
    /// Its record, if it may act as a client now: the connection may be older than what has become of the client.
    ///
    /// # Errors
    /// If it was removed from the roster, or has another key.
    pub fn admitted(self, fleet: &Fleet) -> Result<&Client, Refusal> {
        let record = fleet
            .client(self.client)
            .filter(|record| record.key == self.key)
            .ok_or(Refusal::NoSuchClient)?;
        match record.state {
            ClientState::Active | ClientState::Duplicated => Ok(record),
            ClientState::Decommissioned => Err(Refusal::ClientDecommissioned),
        }
    }
}

/// A client that the journal does not know, by its certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnknownIdentity {
    /// Its id.
    pub id: ClientId,
    /// SHA-256 of its identity key's SubjectPublicKeyInfo.
    pub key: Digest,
    /// When its certificate expires.
    pub expires_at: Timestamp,
}

/// What a certificate of the fleet's client CA says, if the journal does not know its client.
#[must_use]
pub fn unknown(fleet: &Fleet, certificate: &CertificateDer<'_>) -> Option<UnknownIdentity> {
    let id = client_of(certificate, fleet.founded()?.fleet).ok()?;
    if fleet.client_by_id(id).is_some() {
        return None;
    }
    Some(UnknownIdentity {
        id,
        key: spki_digest(certificate).ok()?,
        expires_at: Timestamp::from_second(not_after(certificate).ok()?).ok()?,
    })
}

/// The client that holds this certificate's key, by the roster: the record decides. That the peer holds the key, and that the client CA signed the
/// certificate, was checked in the handshake.
#[must_use]
pub fn identify(
    fleet: &Fleet,
    certificate: &CertificateDer<'_>,
    now: Timestamp,
) -> Option<Identity> {
    let founded = fleet.founded()?;
    let id = client_of(certificate, founded.fleet).ok()?;
    let key = spki_digest(certificate).ok()?;
    let client = fleet.client_by_id(id)?;
    fleet.client(client).filter(|record| record.key == key)?;
    Some(Identity {
        client,
        id,
        key,
        expired: not_after(certificate).is_ok_and(|end| now.as_second() > end),
    })
}

/// The peer of a connection on the local socket.
#[derive(Clone, Copy, Debug)]
pub struct LocalPeer {
    /// Its user id.
    pub uid: u32,
}

impl From<LocalPeer> for Actor {
    fn from(peer: LocalPeer) -> Self {
        Self::LocalAdmin(peer.uid)
    }
}
