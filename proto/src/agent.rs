//! The agent protocol's small parts: wire to model and back. Whole messages are read where they are used.

use convoy_shared::{
    ack::{AckOutcome, HandshakeOutcome, Held},
    id::{Digest, Revision},
    label::CheckToken,
    trust::ModeInForce,
};

use crate::{documents::BadDocument, v1};

/// The version of the agent protocol that this code speaks.
pub const PROTOCOL_VERSION: u32 = 1;

impl From<Held> for v1::HeldDocument {
    fn from(held: Held) -> Self {
        Self {
            revision: held.revision.0,
            digest: held.digest.as_bytes().to_vec().into(),
        }
    }
}

/// Reads a held document that must be there.
///
/// # Errors
/// If it is missing or malformed.
pub fn read_held(wire: Option<v1::HeldDocument>) -> Result<Held, BadDocument> {
    let wire = wire.ok_or(BadDocument::Missing("trust"))?;
    Ok(Held {
        revision: Revision(wire.revision),
        digest: Digest::from_bytes(&wire.digest)?,
    })
}

impl From<ModeInForce> for v1::VerificationMode {
    fn from(mode: ModeInForce) -> Self {
        match mode {
            ModeInForce::Verify => Self::Verify,
            ModeInForce::Off => Self::Off,
        }
    }
}

impl TryFrom<v1::VerificationMode> for ModeInForce {
    type Error = BadDocument;

    fn try_from(wire: v1::VerificationMode) -> Result<Self, BadDocument> {
        match wire {
            v1::VerificationMode::Verify => Ok(Self::Verify),
            v1::VerificationMode::Off => Ok(Self::Off),
            v1::VerificationMode::Unspecified => Err(BadDocument::Missing("mode")),
        }
    }
}

impl From<HandshakeOutcome> for v1::HandshakeOutcome {
    fn from(outcome: HandshakeOutcome) -> Self {
        match outcome {
            HandshakeOutcome::NotRun => Self::NotRun,
            HandshakeOutcome::Accepted => Self::Accepted,
            HandshakeOutcome::Refused => Self::Refused,
            HandshakeOutcome::Unreachable => Self::Unreachable,
        }
    }
}

impl TryFrom<v1::HandshakeOutcome> for HandshakeOutcome {
    type Error = BadDocument;

    fn try_from(wire: v1::HandshakeOutcome) -> Result<Self, BadDocument> {
        match wire {
            v1::HandshakeOutcome::NotRun => Ok(Self::NotRun),
            v1::HandshakeOutcome::Accepted => Ok(Self::Accepted),
            v1::HandshakeOutcome::Refused => Ok(Self::Refused),
            v1::HandshakeOutcome::Unreachable => Ok(Self::Unreachable),
            v1::HandshakeOutcome::Unspecified => Err(BadDocument::Missing("handshake outcome")),
        }
    }
}

/// An acknowledgment for the wire.
#[must_use]
pub fn trust_ack(held: Held, outcome: AckOutcome) -> v1::TrustAck {
    let disk_full = matches!(outcome, AckOutcome::DiskFull(_));
    let (outcome, reason) = match outcome {
        AckOutcome::Received => (v1::AckOutcome::Received, String::new()),
        AckOutcome::Applied => (v1::AckOutcome::Applied, String::new()),
        AckOutcome::Refused(reason) | AckOutcome::DiskFull(reason) => {
            (v1::AckOutcome::Refused, reason)
        }
    };
    v1::TrustAck {
        trust: Some(held.into()),
        outcome: outcome.into(),
        reason,
        disk_full,
    }
}

/// Reads an acknowledgment.
///
/// # Errors
/// If it is malformed.
pub fn read_trust_ack(wire: v1::TrustAck) -> Result<(Held, AckOutcome), BadDocument> {
    let outcome = match wire.outcome() {
        v1::AckOutcome::Received => AckOutcome::Received,
        v1::AckOutcome::Applied => AckOutcome::Applied,
        v1::AckOutcome::Refused if wire.disk_full => {
            AckOutcome::DiskFull(words_of_peer(&wire.reason))
        }
        v1::AckOutcome::Refused => AckOutcome::Refused(words_of_peer(&wire.reason)),
        v1::AckOutcome::Unspecified => return Err(BadDocument::Missing("outcome")),
    };
    Ok((read_held(wire.trust)?, outcome))
}

/// What a peer says for people: one line, and not too long.
#[must_use]
pub fn words_of_peer(words: &str) -> String {
    words
        .chars()
        .filter(|char| !char.is_control())
        .take(MOST_WORDS)
        .collect()
}

/// The longest that a peer may say for people, in characters.
const MOST_WORDS: usize = 500;

/// Reads a check's token.
///
/// # Errors
/// If it has not 16 bytes.
pub fn read_check_token(wire: &[u8]) -> Result<CheckToken, BadDocument> {
    wire.try_into()
        .map(CheckToken)
        .map_err(|_| BadDocument::Missing("token"))
}
