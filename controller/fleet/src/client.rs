//! A client's durable record. What it has shown in a rotation is kept there, not here.

use convoy_shared::{
    id::{ClientId, Digest, Generation, GroupName, Incarnation, InstanceId, Revision, TokenId},
    trust::ModeInForce,
};
use jiff::Timestamp;

/// A client's place in the bitmaps. Dense, never reused.
pub type ClientNumber = u32;

/// A client of the fleet.
#[derive(Clone, Debug, PartialEq)]
pub struct Client {
    /// Its id.
    pub id: ClientId,
    /// What people call it.
    pub name: String,
    /// Its group.
    pub group: GroupName,
    /// SHA-256 of its identity key's SubjectPublicKeyInfo: this decides who it is.
    pub key: Digest,
    /// Whether it is in the roster.
    pub state: ClientState,
    /// When it joined.
    pub joined_at: Timestamp,
    /// Revision of the trust document that it was given when it joined.
    pub joined_with: Revision,
    /// What it last stated. `None`: it has not had a session yet.
    pub stated: Option<Stated>,
    /// Its agent's version.
    pub agent_version: String,
    /// When its newest identity certificate was issued.
    pub identity_issued_at: Timestamp,
    /// When that expires.
    pub identity_expires_at: Timestamp,
    /// When it last joined again in place, and with which token.
    pub rejoined: Option<(Timestamp, TokenId)>,
    /// What it was caught at. Nothing that it says counts until it shows otherwise.
    pub suspicion: Option<Suspicion>,
    /// Which agent processes spoke for it.
    pub instances: Instances,
}

impl Client {
    /// The newest trust document that it is known to hold.
    #[must_use]
    pub fn revision(&self) -> Revision {
        self.stated
            .and_then(|stated| stated.revision)
            .unwrap_or(self.joined_with)
    }
}

/// What a client last stated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stated {
    /// Revision of the trust document on its disk. `None`: one that was never published to its group.
    pub revision: Option<Revision>,
    /// The mode in force.
    pub mode: ModeInForce,
    /// The certificate that it accepted for its newest session.
    pub served: Generation,
}

/// Whether a client is in the roster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ClientState {
    /// In the roster.
    Active,
    /// In the roster; two live copies alternate, and neither counts.
    Duplicated,
    /// Removed for good.
    Decommissioned,
}

/// The agent processes that spoke for a client, enough to tell copies from restarts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Instances {
    /// The newest.
    pub last: Option<(InstanceId, Incarnation)>,
    /// Those before it, newest first.
    pub earlier: [Option<InstanceId>; 7],
    /// How often one that had been followed by another spoke again: a process that was restarted never does.
    pub returns: u8,
}

/// So many returns make live copies. Two can be one message that was overtaken: it speaks late, and the newer process speaks after it.
pub const RETURNS_OF_COPIES: u8 = 3;

impl Instances {
    /// The record after this process has spoken.
    #[must_use]
    pub fn after(self, instance: InstanceId, incarnation: Incarnation) -> Self {
        let Some((last, count)) = self.last else {
            return Self {
                last: Some((instance, incarnation)),
                ..self
            };
        };
        if last == instance {
            return self;
        }
        let came_back = self.earlier.contains(&Some(instance));
        let mut earlier = [None; 7];
        let others = self
            .earlier
            .into_iter()
            .filter(|known| *known != Some(instance));
        for (place, known) in earlier
            .iter_mut()
            .zip([Some(last)].into_iter().chain(others))
        {
            *place = known;
        }
        let returns = if came_back {
            self.returns.saturating_add(1)
        } else if incarnation > count {
            // A restart. Copies of one state begin with the same number.
            0
        } else {
            self.returns
        };
        Self {
            last: Some((instance, incarnation)),
            earlier,
            returns,
        }
    }

    /// Whether the number of starts does not grow although another process speaks: a snapshot was put back, or this is a copy.
    #[must_use]
    pub fn goes_backwards(self, instance: InstanceId, incarnation: Incarnation) -> bool {
        self.last
            .is_some_and(|(last, count)| last != instance && incarnation <= count)
    }
}

/// What a client was caught at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Suspicion {
    /// It names a document that was never published to its group.
    #[error("it says that it holds a trust document that was never published to it")]
    UnknownDocument,
    /// It is to verify, and completed a handshake with a decoy.
    #[error(
        "it accepts any certificate: it completed a handshake with a decoy although it is to verify"
    )]
    AcceptsDecoy,
    /// Its report and the controller's own sight differ.
    #[error(
        "it reports a handshake that the controller did not see, or saw end otherwise: it does not say what is so, or somebody stands between"
    )]
    ContradictsSight,
    /// It says that verification is off although it was never told so.
    #[error("it says that verification is off although its trust document orders verification")]
    OffUnasked,
}
