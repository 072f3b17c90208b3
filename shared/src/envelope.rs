//! Signatures over exact bytes (DSSE v1 framing, Ed25519). What the bytes mean is none of its business.

use std::fmt;

use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey};

use crate::id::Digest;

/// Which document an envelope holds, so that one can never be taken for another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PayloadType {
    /// The fleet's root of trust.
    Root,
    /// A trust document.
    Trust,
    /// A channel proof.
    Channel,
    /// A device's SCEP settings.
    Scep,
}

impl PayloadType {
    /// The media type that is signed with the payload.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Root => "application/vnd.convoy.root.v1",
            Self::Trust => "application/vnd.convoy.trust.v1",
            Self::Channel => "application/vnd.convoy.channel.v1",
            Self::Scep => "application/vnd.convoy.scep.v1",
        }
    }
}

/// A payload and who signed it. Nothing in it is to be believed before [`Envelope::verify`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Envelope {
    /// As received; compared with the expected type by [`Envelope::verify`].
    pub payload_type: String,
    /// The exact bytes that were signed.
    pub payload: Vec<u8>,
    /// Who signed.
    pub signatures: Vec<Signature>,
}

/// One signature of an envelope.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signature {
    /// Whose it is.
    pub key_id: KeyId,
    /// Ed25519, 64 bytes (RFC 8032).
    pub signature: Vec<u8>,
}

/// The most signatures that an envelope may carry.
pub const MAX_SIGNATURES: usize = 16;

impl Envelope {
    /// Signs a payload with each of the keys.
    #[must_use]
    pub fn sign(payload_type: PayloadType, payload: Vec<u8>, keys: &[&SigningKey]) -> Self {
        let message = framed(payload_type.as_str(), &payload);
        let signatures = keys
            .iter()
            .map(|key| Signature {
                key_id: key.public().id(),
                signature: key.sign(&message),
            })
            .collect();
        Self {
            payload_type: payload_type.as_str().to_owned(),
            payload,
            signatures,
        }
    }

    /// The payload, if at least the role's threshold of its keys signed it as this type.
    ///
    /// # Errors
    /// If the type is another, or too few of the role's keys signed these bytes.
    pub fn verify(&self, expected: PayloadType, role: &Role) -> Result<&[u8], BadEnvelope> {
        if self.payload_type != expected.as_str() {
            return Err(BadEnvelope::OtherType {
                expected: expected.as_str(),
            });
        }
        if self.signatures.len() > MAX_SIGNATURES {
            return Err(BadEnvelope::TooManySignatures);
        }
        let message = framed(expected.as_str(), &self.payload);
        // Counted over the role's distinct keys, so that a signature given twice counts once.
        let signed = role
            .keys
            .iter()
            .filter(|key| {
                self.signatures
                    .iter()
                    .any(|s| s.key_id == key.id() && key.verify(&message, &s.signature))
            })
            .count();
        if signed >= role.threshold {
            Ok(&self.payload)
        } else {
            Err(BadEnvelope::TooFewSignatures {
                signed,
                threshold: role.threshold,
            })
        }
    }

    /// SHA-256 of the payload: the document's digest.
    #[must_use]
    pub fn digest(&self) -> Digest {
        Digest::of(&self.payload)
    }
}

/// Which keys may act, and how many must.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Role {
    keys: Vec<PublicKey>,
    threshold: usize,
}

impl Role {
    /// A role of distinct keys.
    ///
    /// # Errors
    /// If a key stands twice, or the threshold is not between 1 and the number of keys.
    pub fn new(keys: Vec<PublicKey>, threshold: usize) -> Result<Self, BadRole> {
        let mut ids: Vec<_> = keys.iter().map(PublicKey::id).collect();
        ids.sort();
        ids.dedup();
        if ids.len() != keys.len() {
            return Err(BadRole::RepeatedKey);
        }
        if threshold == 0 || threshold > keys.len() {
            return Err(BadRole::Threshold {
                threshold,
                keys: keys.len(),
            });
        }
        Ok(Self { keys, threshold })
    }

    /// Its keys.
    #[must_use]
    pub fn keys(&self) -> &[PublicKey] {
        &self.keys
    }

    /// How many of them must sign.
    #[must_use]
    pub const fn threshold(&self) -> usize {
        self.threshold
    }
}

/// SHA-256 of the raw public key.
pub type KeyId = Digest;

/// An Ed25519 public key.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct PublicKey([u8; 32]);

impl PublicKey {
    /// Parses 32 raw bytes. Whether they are a point on the curve shows when a signature is checked.
    ///
    /// # Errors
    /// If there are not exactly 32.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, BadKey> {
        bytes.try_into().map(Self).map_err(|_| BadKey)
    }

    /// The 32 raw bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Its id.
    #[must_use]
    pub fn id(&self) -> KeyId {
        Digest::of(&self.0)
    }

    /// Whether this is the key's signature of the message.
    #[must_use]
    pub fn verify(&self, message: &[u8], signature: &[u8]) -> bool {
        UnparsedPublicKey::new(&ED25519, &self.0)
            .verify(message, signature)
            .is_ok()
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({})", hex::encode(self.0))
    }
}

/// An Ed25519 key pair. Has no `Debug` and is never printed.
pub struct SigningKey(Ed25519KeyPair);

impl SigningKey {
    /// The key pair of a 32-byte seed.
    ///
    /// # Errors
    /// If there are not exactly 32 bytes.
    pub fn from_seed(seed: &[u8]) -> Result<Self, BadKey> {
        Ed25519KeyPair::from_seed_unchecked(seed)
            .map(Self)
            .map_err(|_| BadKey)
    }

    /// The public half.
    #[must_use]
    pub fn public(&self) -> PublicKey {
        let mut raw = [0; 32];
        raw.copy_from_slice(self.0.public_key().as_ref());
        PublicKey(raw)
    }

    /// Signs a message (RFC 8032, pure Ed25519). 64 bytes.
    #[must_use]
    pub fn sign(&self, message: &[u8]) -> Vec<u8> {
        self.0.sign(message).as_ref().to_vec()
    }
}

/// DSSE v1 pre-authentication encoding.
fn framed(payload_type: &str, payload: &[u8]) -> Vec<u8> {
    let mut message = format!(
        "DSSEv1 {} {payload_type} {} ",
        payload_type.len(),
        payload.len()
    )
    .into_bytes();
    message.extend_from_slice(payload);
    message
}

/// Why an envelope is not to be believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadEnvelope {
    /// It is another kind of document.
    #[error("the envelope is not of type {expected}")]
    OtherType {
        /// What it was to be.
        expected: &'static str,
    },
    /// Too few of the role's keys signed these bytes.
    #[error("{signed} of the {threshold} signatures needed are valid")]
    TooFewSignatures {
        /// How many of the role's keys signed.
        signed: usize,
        /// How many must.
        threshold: usize,
    },
    /// It carries more signatures than any role needs.
    #[error("the envelope carries more than {MAX_SIGNATURES} signatures")]
    TooManySignatures,
}

/// Bytes that are no key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an Ed25519 key has 32 bytes")]
pub struct BadKey;

/// A role that cannot be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadRole {
    /// One key would count twice.
    #[error("a key stands twice in a role")]
    RepeatedKey,
    /// Nobody or too many would have to sign.
    #[error("a threshold of {threshold} does not fit {keys} keys")]
    Threshold {
        /// As given.
        threshold: usize,
        /// How many keys there are.
        keys: usize,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(seed: u8) -> SigningKey {
        SigningKey::from_seed(&[seed; 32]).expect("32 bytes")
    }

    fn role(seeds: &[u8], threshold: usize) -> Role {
        Role::new(seeds.iter().map(|s| key(*s).public()).collect(), threshold).expect("a role")
    }

    #[test]
    fn a_signed_payload_verifies_only_as_its_own_type() {
        let signed = Envelope::sign(PayloadType::Trust, b"x".to_vec(), &[&key(1)]);
        assert_eq!(
            signed.verify(PayloadType::Trust, &role(&[1], 1)),
            Ok(&b"x"[..])
        );
        assert!(matches!(
            signed.verify(PayloadType::Root, &role(&[1], 1)),
            Err(BadEnvelope::OtherType { .. })
        ));
        let mut relabelled = signed;
        relabelled.payload_type = PayloadType::Root.as_str().to_owned();
        assert!(matches!(
            relabelled.verify(PayloadType::Root, &role(&[1], 1)),
            Err(BadEnvelope::TooFewSignatures { .. })
        ));
    }

    #[test]
    fn a_changed_byte_or_a_stranger_signs_nothing() {
        let mut signed = Envelope::sign(PayloadType::Trust, b"x".to_vec(), &[&key(1)]);
        assert!(signed.verify(PayloadType::Trust, &role(&[2], 1)).is_err());
        signed.payload[0] ^= 1;
        assert!(signed.verify(PayloadType::Trust, &role(&[1], 1)).is_err());
    }

    #[test]
    fn one_key_does_not_count_twice() {
        let two = role(&[1, 2], 2);
        let one = Envelope::sign(PayloadType::Root, b"x".to_vec(), &[&key(1), &key(1)]);
        assert_eq!(
            one.verify(PayloadType::Root, &two),
            Err(BadEnvelope::TooFewSignatures {
                signed: 1,
                threshold: 2
            })
        );
        let both = Envelope::sign(PayloadType::Root, b"x".to_vec(), &[&key(2), &key(1)]);
        assert!(both.verify(PayloadType::Root, &two).is_ok());
        assert_eq!(
            Role::new(vec![key(1).public(), key(1).public()], 1),
            Err(BadRole::RepeatedKey)
        );
    }

    #[test]
    fn the_framing_is_that_of_dsse() {
        assert_eq!(
            framed("http://example.com/HelloWorld", b"hello world"),
            b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"
        );
    }
}
