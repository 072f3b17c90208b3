//! What a client says of a document, and what that is worth. How it is said on the wire lives in the proto crate.

use crate::id::{Digest, Revision};

/// A document that a client holds on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Held {
    /// Its revision.
    pub revision: Revision,
    /// SHA-256 of its payload.
    pub digest: Digest,
}

/// What became of a document at a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AckOutcome {
    /// Received and verified, not yet stored.
    Received,
    /// Stored durably, and in force for every connection from now on.
    Applied,
    /// Not stored; why, for people.
    Refused(String),
    /// Not stored, because the disk is full; what failed, for people. It is stored when there is room.
    DiskFull(String),
}

/// What a client has shown in a rotation. Each includes those before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Evidence {
    /// It has the rotation's trust document.
    Received,
    /// The document is stored and in force.
    Applied,
    /// It accepted the new certificate and refused a decoy; both sides saw it.
    Proved,
    /// With the final trust in force it came back by a full handshake on the new certificate, and refused a decoy.
    Confirmed,
}

/// How a handshake ended, as the client reports it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum HandshakeOutcome {
    /// None was asked for.
    NotRun,
    /// The certificate was accepted.
    Accepted,
    /// The client refused the certificate.
    Refused,
    /// Nothing can be said.
    Unreachable,
}
