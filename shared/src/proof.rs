//! What is signed to bind a message to one TLS channel. The channel's exporter comes from outside.

use jiff::Timestamp;

use crate::id::{Digest, Epoch, FleetId, TokenId};

/// Label of the TLS exporter (RFC 9266, section 2); no context, 32 bytes.
pub const EXPORTER_LABEL: &[u8] = b"EXPORTER-Channel-Binding";

/// A TLS channel's exporter.
pub type Exporter = [u8; 32];

/// An agent's fresh random bytes.
pub type Nonce = [u8; 32];

/// The controller's statement that a channel ends at it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChannelProof {
    /// Its fleet.
    pub fleet_id: FleetId,
    /// As the agent gave it.
    pub nonce: Nonce,
    /// As the controller sees the channel.
    pub exporter: Exporter,
    /// The controller's time.
    pub time: Timestamp,
    /// The life of the controller's journal.
    pub epoch: Epoch,
    /// The controller doubts its wall clock: the time is the last believed one, carried on, and no lease of "off" is renewed by this proof.
    pub doubted: bool,
}

/// What a channel proof that holds says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Proved {
    /// The controller's time.
    pub time: Timestamp,
    /// The life of the controller's journal.
    pub epoch: Epoch,
    /// No lease of "off" is renewed by it.
    pub doubted: bool,
}

impl ChannelProof {
    /// Whether the statement is about this channel, and the answer to this nonce. Returns what is signed with it.
    ///
    /// # Errors
    /// If it is about another fleet, nonce or channel: somebody stands in between.
    pub fn check(
        &self,
        fleet_id: FleetId,
        nonce: &Nonce,
        exporter: &Exporter,
    ) -> Result<Proved, BadProof> {
        if self.fleet_id != fleet_id {
            Err(BadProof::OtherFleet)
        } else if self.nonce != *nonce {
            Err(BadProof::OtherNonce)
        } else if self.exporter != *exporter {
            Err(BadProof::OtherChannel)
        } else {
            Ok(Proved {
                time: self.time,
                epoch: self.epoch,
                doubted: self.doubted,
            })
        }
    }
}

/// What the holder of a join token signs: binds the token to one key and one TLS channel.
#[must_use]
pub fn join_message(
    fleet: FleetId,
    token: TokenId,
    certificate_request: &[u8],
    exporter: &Exporter,
) -> Vec<u8> {
    let mut message = b"convoy join v1\0".to_vec();
    message.extend_from_slice(fleet.as_bytes());
    message.extend_from_slice(token.as_bytes());
    message.extend_from_slice(Digest::of(certificate_request).as_bytes());
    message.extend_from_slice(exporter);
    message
}

/// Why a channel proof does not hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadProof {
    /// Another fleet's controller.
    #[error("the channel proof is of another fleet")]
    OtherFleet,
    /// Replayed.
    #[error("the channel proof answers another nonce: it was replayed")]
    OtherNonce,
    /// Relayed.
    #[error(
        "the channel proof is about another TLS channel: somebody stands between this host and the controller"
    )]
    OtherChannel,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proof_holds_for_its_own_channel_only() {
        let fleet = FleetId::from_bytes(&[1; 16]).expect("16 bytes");
        let other = FleetId::from_bytes(&[2; 16]).expect("16 bytes");
        let proof = ChannelProof {
            fleet_id: fleet,
            nonce: [3; 32],
            exporter: [4; 32],
            time: Timestamp::UNIX_EPOCH,
            epoch: Epoch::FIRST,
            doubted: true,
        };
        assert_eq!(
            proof.check(fleet, &[3; 32], &[4; 32]),
            Ok(Proved {
                time: Timestamp::UNIX_EPOCH,
                epoch: Epoch::FIRST,
                doubted: true,
            })
        );
        assert_eq!(
            proof.check(other, &[3; 32], &[4; 32]),
            Err(BadProof::OtherFleet)
        );
        assert_eq!(
            proof.check(fleet, &[0; 32], &[4; 32]),
            Err(BadProof::OtherNonce)
        );
        assert_eq!(
            proof.check(fleet, &[3; 32], &[0; 32]),
            Err(BadProof::OtherChannel)
        );
    }
}
