//! Signed documents and channel proofs: wire to model and back. Signatures are checked by the model; nothing is stored here.

use convoy_shared::{
    address::{Addresses, BadAddresses, Listed},
    envelope::{BadEnvelope, BadKey, BadRole, Envelope, PayloadType, PublicKey, Role, Signature},
    id::{AnchorNumber, BadId, Digest, Epoch, FleetId, GroupName, Revision, RootVersion},
    proof::{BadProof, ChannelProof, Exporter, Nonce, Proved},
    root::{BadSuccession, Root},
    trust::{Anchor, AnchorKind, Anchors, BadAnchors, Mode, TrustDocument},
};
use prost::Message as _;

use crate::{
    time::{BadTime, duration, read_duration, read_timestamp, timestamp},
    v1,
};

impl From<Envelope> for v1::Envelope {
    fn from(envelope: Envelope) -> Self {
        Self {
            payload_type: envelope.payload_type,
            payload: envelope.payload.into(),
            signatures: envelope
                .signatures
                .into_iter()
                .map(|signature| v1::Signature {
                    key_id: signature.key_id.as_bytes().to_vec().into(),
                    signature: signature.signature.into(),
                })
                .collect(),
        }
    }
}

impl TryFrom<v1::Envelope> for Envelope {
    type Error = BadDocument;

    fn try_from(wire: v1::Envelope) -> Result<Self, BadDocument> {
        let signatures = wire
            .signatures
            .into_iter()
            .map(|signature| {
                Ok(Signature {
                    key_id: Digest::from_bytes(&signature.key_id)?,
                    signature: signature.signature.to_vec(),
                })
            })
            .collect::<Result<_, BadDocument>>()?;
        Ok(Self {
            payload_type: wire.payload_type,
            payload: wire.payload.to_vec(),
            signatures,
        })
    }
}

/// Reads an envelope that a message must hold.
///
/// # Errors
/// If it is missing or malformed.
pub fn required_envelope(wire: Option<v1::Envelope>) -> Result<Envelope, BadDocument> {
    wire.ok_or(BadDocument::Missing("envelope"))?.try_into()
}

/// A root and the envelope that holds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedRoot {
    /// The exact signed bytes.
    pub envelope: Envelope,
    /// What they say.
    pub root: Root,
}

/// Walks a chain of roots from the one whose payload has this digest to the newest.
///
/// # Errors
/// If no root has the digest, or a later one may not follow.
pub fn chain_from(
    envelopes: Vec<Envelope>,
    digest: Digest,
) -> Result<Vec<SignedRoot>, BadDocument> {
    let mut rest = envelopes
        .into_iter()
        .skip_while(|envelope| envelope.digest() != digest);
    let envelope = rest.next().ok_or(BadDocument::NoSuchRoot(digest))?;
    let root = decode_root(&envelope.payload)?;
    root.check_own(&envelope)?;
    let first = SignedRoot { envelope, root };
    let mut chain = chain_after(&first.root, rest.collect())?;
    chain.insert(0, first);
    Ok(chain)
}

/// Walks from a root that is trusted already to the newest: N → N+1 → …
///
/// # Errors
/// If one may not follow the one before.
pub fn chain_after(
    trusted: &Root,
    envelopes: Vec<Envelope>,
) -> Result<Vec<SignedRoot>, BadDocument> {
    let mut chain: Vec<SignedRoot> = Vec::with_capacity(envelopes.len());
    for envelope in envelopes {
        let root = decode_root(&envelope.payload)?;
        let before = chain.last().map_or(trusted, |signed| &signed.root);
        before.check_next(&root, &envelope)?;
        chain.push(SignedRoot { envelope, root });
    }
    Ok(chain)
}

/// The trust document in an envelope, if the root's policy role signed it for this root's fleet.
///
/// # Errors
/// If it did not, or the document is malformed.
pub fn open_trust(envelope: &Envelope, root: &Root) -> Result<TrustDocument, BadDocument> {
    let payload = envelope.verify(PayloadType::Trust, &root.policy)?;
    let document = decode_trust(payload)?;
    if document.fleet_id == root.fleet_id {
        Ok(document)
    } else {
        Err(BadDocument::OtherFleet)
    }
}

/// What a channel proof says, if the root's policy role signed it about this very channel and nonce.
///
/// # Errors
/// If it did not: somebody stands in between.
pub fn open_channel_proof(
    envelope: &Envelope,
    root: &Root,
    nonce: &Nonce,
    exporter: &Exporter,
) -> Result<Proved, BadDocument> {
    let payload = envelope.verify(PayloadType::Channel, &root.policy)?;
    let proof = decode_channel_proof(payload)?;
    Ok(proof.check(root.fleet_id, nonce, exporter)?)
}

/// A root's bytes, to be signed.
#[must_use]
pub fn encode_root(root: &Root) -> Vec<u8> {
    let mut keys: Vec<&PublicKey> = root.root.keys().iter().chain(root.policy.keys()).collect();
    keys.sort_by_key(|key| key.id());
    keys.dedup();
    v1::Root {
        fleet_id: root.fleet_id.as_bytes().to_vec().into(),
        version: root.version.0,
        keys: keys
            .into_iter()
            .map(|key| key.as_bytes().to_vec().into())
            .collect(),
        root: Some(write_role(&root.root)),
        policy: Some(write_role(&root.policy)),
        issued_at: Some(timestamp(root.issued_at)),
        expires_at: Some(timestamp(root.expires_at)),
        off_allowed: root.off_allowed,
        max_off: Some(duration(root.max_off)),
    }
    .encode_to_vec()
}

/// Reads a root.
///
/// # Errors
/// If a field is missing or wrong.
pub fn decode_root(payload: &[u8]) -> Result<Root, BadDocument> {
    let wire = v1::Root::decode(payload)?;
    let keys = wire
        .keys
        .iter()
        .map(|key| PublicKey::from_bytes(key))
        .collect::<Result<Vec<_>, BadKey>>()?;
    let role = |role: Option<v1::Role>, name| {
        let role = role.ok_or(BadDocument::Missing(name))?;
        let members = role
            .key_ids
            .iter()
            .map(|id| {
                let id = Digest::from_bytes(id)?;
                keys.iter()
                    .find(|key| key.id() == id)
                    .copied()
                    .ok_or(BadDocument::Missing("keys"))
            })
            .collect::<Result<Vec<_>, BadDocument>>()?;
        let threshold = usize::try_from(role.threshold).map_err(|_| BadDocument::Missing(name))?;
        Ok::<_, BadDocument>(Role::new(members, threshold)?)
    };
    Ok(Root {
        fleet_id: FleetId::from_bytes(&wire.fleet_id)?,
        version: RootVersion(wire.version),
        root: role(wire.root, "root")?,
        policy: role(wire.policy, "policy")?,
        issued_at: read_timestamp(wire.issued_at, "issued_at")?,
        expires_at: read_timestamp(wire.expires_at, "expires_at")?,
        off_allowed: wire.off_allowed,
        max_off: read_duration(wire.max_off, "max_off")?,
    })
}

fn write_role(role: &Role) -> v1::Role {
    v1::Role {
        key_ids: role
            .keys()
            .iter()
            .map(|key| key.id().as_bytes().to_vec().into())
            .collect(),
        threshold: u32::try_from(role.threshold()).unwrap_or(u32::MAX),
    }
}

/// A trust document's bytes, to be signed.
#[must_use]
pub fn encode_trust(document: &TrustDocument) -> Vec<u8> {
    let (mode, off_lease) = match document.mode {
        Mode::Verify => (v1::VerificationMode::Verify, None),
        Mode::Off { lease } => (v1::VerificationMode::Off, Some(duration(lease))),
    };
    v1::TrustDocument {
        fleet_id: document.fleet_id.as_bytes().to_vec().into(),
        audience: document.audience.to_string(),
        root_version: document.root_version.0,
        revision: document.revision.0,
        mode: mode.into(),
        anchors: document
            .anchors
            .as_slice()
            .iter()
            .map(write_anchor)
            .collect(),
        server_names: document.server_names.clone(),
        issued_at: Some(timestamp(document.issued_at)),
        expires_at: Some(timestamp(document.expires_at)),
        off_lease,
        epoch: document.epoch.0,
        addresses: write_addresses(&document.addresses),
    }
    .encode_to_vec()
}

/// Reads a trust document. Its signature is not looked at: see [`open_trust`].
///
/// # Errors
/// If a field is missing or wrong; an anchor of an unknown kind is an error, never left out.
pub fn decode_trust(payload: &[u8]) -> Result<TrustDocument, BadDocument> {
    let wire = v1::TrustDocument::decode(payload)?;
    let mode = match (wire.mode(), wire.off_lease) {
        (v1::VerificationMode::Verify, None) => Mode::Verify,
        (v1::VerificationMode::Off, lease @ Some(_)) => Mode::Off {
            lease: read_duration(lease, "off_lease")?,
        },
        (v1::VerificationMode::Verify, Some(_))
        | (v1::VerificationMode::Off, None)
        | (v1::VerificationMode::Unspecified, _) => return Err(BadDocument::Missing("mode")),
    };
    let anchors = wire
        .anchors
        .into_iter()
        .map(read_anchor)
        .collect::<Result<Vec<_>, _>>()?;
    Ok(TrustDocument {
        fleet_id: FleetId::from_bytes(&wire.fleet_id)?,
        audience: wire.audience.parse::<GroupName>()?,
        root_version: RootVersion(wire.root_version),
        epoch: read_epoch(wire.epoch)?,
        revision: Revision(wire.revision),
        mode,
        anchors: Anchors::new(anchors)?,
        server_names: wire.server_names,
        addresses: read_addresses(wire.addresses)?,
        issued_at: read_timestamp(wire.issued_at, "issued_at")?,
        expires_at: read_timestamp(wire.expires_at, "expires_at")?,
    })
}

pub(crate) fn write_addresses(addresses: &Addresses) -> Vec<v1::ControllerAddress> {
    addresses
        .as_slice()
        .iter()
        .map(|listed| v1::ControllerAddress {
            address: listed.address.to_string(),
            ahead: listed.ahead,
        })
        .collect()
}

pub(crate) fn read_addresses(wire: Vec<v1::ControllerAddress>) -> Result<Addresses, BadAddresses> {
    let listed = wire.into_iter().map(|wire| {
        Ok(Listed {
            address: wire.address.parse()?,
            ahead: wire.ahead,
        })
    });
    Addresses::new(listed.collect::<Result<_, BadAddresses>>()?)
}

pub(crate) fn write_anchor(anchor: &Anchor) -> v1::Anchor {
    v1::Anchor {
        number: anchor.number.0,
        kind: Some(match &anchor.kind {
            AnchorKind::Pin(digest) => {
                v1::anchor::Kind::SpkiSha256(digest.as_bytes().to_vec().into())
            }
            AnchorKind::Ca(der) => v1::anchor::Kind::CaCertificate(der.clone().into()),
        }),
    }
}

pub(crate) fn read_anchor(wire: v1::Anchor) -> Result<Anchor, BadDocument> {
    let kind = match wire.kind.ok_or(BadDocument::Missing("anchor kind"))? {
        v1::anchor::Kind::SpkiSha256(digest) => AnchorKind::Pin(Digest::from_bytes(&digest)?),
        v1::anchor::Kind::CaCertificate(der) => AnchorKind::Ca(der.to_vec()),
    };
    Ok(Anchor {
        number: AnchorNumber(wire.number),
        kind,
    })
}

/// A channel proof's bytes, to be signed.
#[must_use]
pub fn encode_channel_proof(proof: &ChannelProof) -> Vec<u8> {
    v1::ChannelProof {
        fleet_id: proof.fleet_id.as_bytes().to_vec().into(),
        nonce: proof.nonce.to_vec().into(),
        exporter: proof.exporter.to_vec().into(),
        time: Some(timestamp(proof.time)),
        epoch: proof.epoch.0,
        doubted: proof.doubted,
    }
    .encode_to_vec()
}

fn decode_channel_proof(payload: &[u8]) -> Result<ChannelProof, BadDocument> {
    let wire = v1::ChannelProof::decode(payload)?;
    Ok(ChannelProof {
        fleet_id: FleetId::from_bytes(&wire.fleet_id)?,
        nonce: read_32(&wire.nonce, "nonce")?,
        exporter: read_32(&wire.exporter, "exporter")?,
        time: read_timestamp(wire.time, "time")?,
        epoch: read_epoch(wire.epoch)?,
        doubted: wire.doubted,
    })
}

/// Reads an epoch: the first one is 1.
///
/// # Errors
/// If it is missing.
pub fn read_epoch(wire: u64) -> Result<Epoch, BadDocument> {
    if wire == 0 {
        Err(BadDocument::Missing("epoch"))
    } else {
        Ok(Epoch(wire))
    }
}

/// Reads 32 bytes.
///
/// # Errors
/// If there are not exactly 32.
pub fn read_32(bytes: &[u8], field: &'static str) -> Result<[u8; 32], BadDocument> {
    bytes.try_into().map_err(|_| BadDocument::Missing(field))
}

/// Why a document is not to be believed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadDocument {
    /// Not protobuf.
    #[error("the document is damaged: {0}")]
    Damaged(String),
    /// Missing, or not of its form.
    #[error("the field {0} is missing or malformed")]
    Missing(&'static str),
    /// Of another fleet.
    #[error("the document is of another fleet")]
    OtherFleet,
    /// No root of this digest is in the chain.
    #[error(
        "the controller's root chain does not contain the root {0} that was expected: this is not the fleet's controller"
    )]
    NoSuchRoot(Digest),
    /// A malformed identifier.
    #[error(transparent)]
    Id(#[from] BadId),
    /// A malformed time.
    #[error(transparent)]
    Time(#[from] BadTime),
    /// A malformed key.
    #[error(transparent)]
    Key(#[from] BadKey),
    /// An impossible role.
    #[error(transparent)]
    Role(#[from] BadRole),
    /// Impossible anchors.
    #[error(transparent)]
    Anchors(#[from] BadAnchors),
    /// Impossible addresses.
    #[error(transparent)]
    Addresses(#[from] BadAddresses),
    /// Not signed as it must be.
    #[error(transparent)]
    Signature(#[from] BadEnvelope),
    /// A root that may not follow.
    #[error(transparent)]
    Succession(#[from] BadSuccession),
    /// A proof of another channel.
    #[error(transparent)]
    Proof(#[from] BadProof),
}

impl From<prost::DecodeError> for BadDocument {
    fn from(error: prost::DecodeError) -> Self {
        Self::Damaged(error.to_string())
    }
}

#[cfg(test)]
mod tests;
