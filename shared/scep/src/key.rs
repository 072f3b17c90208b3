//! Private keys: RSA keys that sign and decrypt, and what every signing key can do. Public keys of others are never kept here.

use std::fmt;

use aws_lc_rs::{
    encoding::{AsDer, Pkcs8V1Der, PublicKeyX509Der},
    rand::SystemRandom,
    rsa::{KeyPair, KeySize, Pkcs1PrivateDecryptingKey, PrivateDecryptingKey},
    signature::{KeyPair as _, RSA_PKCS1_SHA256, RSA_PKCS1_SHA384, RSA_PKCS1_SHA512},
};
use zeroize::Zeroizing;

use crate::{
    algorithm::{Hash, SignatureAlgorithm},
    certificate::pem,
};

mod ecdsa;
#[cfg(test)]
mod tests;

pub use ecdsa::EcdsaKey;

/// A key that signs certificates, lists and messages.
pub trait SigningKey: fmt::Debug + Send + Sync {
    /// The public key, a SubjectPublicKeyInfo (DER).
    fn spki(&self) -> &[u8];

    /// The key as PEM, block `PRIVATE KEY` (RFC 7468 section 10).
    fn to_pem(&self) -> Zeroizing<String>;

    /// What it signs with where the caller would like this hash: a key may know one hash only.
    ///
    /// # Errors
    /// [`KeyError::Hash`] for SHA-1 and MD5.
    fn algorithm(&self, hash: Hash) -> Result<SignatureAlgorithm, KeyError>;

    /// Signs `message` with [`Self::algorithm`]. The octets are those of a certificate's BIT STRING and a SignerInfo's OCTET STRING.
    ///
    /// # Errors
    /// [`KeyError::Hash`] for SHA-1 and MD5, [`KeyError::Provider`].
    fn sign(&self, hash: Hash, message: &[u8]) -> Result<Vec<u8>, KeyError>;
}

/// An RSA key pair of 2048 to 8192 bits.
///
/// The private key is kept as PKCS#8, which is wiped when the value is dropped, and inside the provider, which wipes its own
/// copy. `Debug` shows the size only.
pub struct RsaKey {
    signing: KeyPair,
    decrypting: Pkcs1PrivateDecryptingKey,
    pkcs8: Zeroizing<Vec<u8>>,
    spki: Vec<u8>,
    bits: u32,
}

/// Why a key could not be made, read or used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// Keys are made with 2048, 3072 or 4096 bits.
    #[error("RSA keys of {0} bits are not made: 2048, 3072 or 4096")]
    Size(u32),
    /// Not a PKCS#8 PrivateKeyInfo with a consistent RSA key of 2048 to 8192 bits.
    #[error("not a PKCS#8 RSA key of 2048 to 8192 bits: {0}")]
    Rejected(String),
    /// Not a PKCS#8 PrivateKeyInfo with a consistent key on the curve P-256.
    #[error("not a PKCS#8 key on the curve P-256: {0}")]
    RejectedCurve(String),
    /// The PEM text has no block `PRIVATE KEY`.
    #[error("no PEM block \"PRIVATE KEY\"{0}")]
    NoPem(&'static str),
    /// Nothing is signed with SHA-1 or MD5: the provider has no such signature.
    #[error("signing with {0} is not supported")]
    Hash(Hash),
    /// The provider failed, which it does when it is out of memory or entropy.
    #[error("the cryptographic provider failed")]
    Provider,
}

impl RsaKey {
    /// A new key of `bits` bits: 2048, 3072 or 4096. Takes from 60 ms to seconds of computation.
    ///
    /// # Errors
    /// [`KeyError::Size`] for any other size, [`KeyError::Provider`].
    pub fn generate(bits: u32) -> Result<Self, KeyError> {
        let size = match bits {
            2048 => KeySize::Rsa2048,
            3072 => KeySize::Rsa3072,
            4096 => KeySize::Rsa4096,
            other => return Err(KeyError::Size(other)),
        };
        let signing = KeyPair::generate(size).map_err(|_| KeyError::Provider)?;
        let pkcs8 = AsDer::<Pkcs8V1Der<'_>>::as_der(&signing).map_err(|_| KeyError::Provider)?;
        Self::from_pkcs8(pkcs8.as_ref())
    }

    /// Reads a PKCS#8 PrivateKeyInfo (RFC 5208, DER).
    ///
    /// # Errors
    /// [`KeyError::Rejected`] where it is malformed, inconsistent, not RSA, or not of 2048 to 8192 bits.
    pub fn from_pkcs8(der: &[u8]) -> Result<Self, KeyError> {
        let rejected = |why: aws_lc_rs::error::KeyRejected| KeyError::Rejected(why.to_string());
        let signing = KeyPair::from_pkcs8(der).map_err(rejected)?;
        let private = PrivateDecryptingKey::from_pkcs8(der).map_err(rejected)?;
        let bits = u32::try_from(private.key_size_bits()).map_err(|_| KeyError::Provider)?;
        let spki = AsDer::<PublicKeyX509Der<'_>>::as_der(signing.public_key())
            .map_err(|_| KeyError::Provider)?;
        Ok(Self {
            spki: spki.as_ref().to_vec(),
            decrypting: Pkcs1PrivateDecryptingKey::new(private).map_err(|_| KeyError::Provider)?,
            pkcs8: Zeroizing::new(der.to_vec()),
            signing,
            bits,
        })
    }

    /// The key as PKCS#8 PrivateKeyInfo (DER).
    #[must_use]
    pub fn to_pkcs8(&self) -> Zeroizing<Vec<u8>> {
        self.pkcs8.clone()
    }

    /// The key as PEM, block `PRIVATE KEY` (RFC 7468 section 10).
    #[must_use]
    pub fn to_pem(&self) -> Zeroizing<String> {
        pem::encode("PRIVATE KEY", &self.pkcs8)
    }

    /// Reads the first block `PRIVATE KEY` of a PEM text; other blocks are passed over.
    ///
    /// # Errors
    /// [`KeyError::NoPem`], or as [`Self::from_pkcs8`].
    pub fn from_pem(text: &str) -> Result<Self, KeyError> {
        Self::from_pkcs8(&pkcs8_of(text)?)
    }

    /// The SubjectPublicKeyInfo (DER): rsaEncryption with NULL parameters (RFC 3279 section 2.3.1).
    #[must_use]
    pub fn spki(&self) -> &[u8] {
        &self.spki
    }

    /// The length of the modulus in bits.
    #[must_use]
    pub const fn bits(&self) -> u32 {
        self.bits
    }

    /// Signs `message` by RSASSA-PKCS1-v1_5 (RFC 8017 section 8.2) with SHA-256, SHA-384 or SHA-512. The signature is as
    /// long as the modulus, and the same for the same message.
    ///
    /// # Errors
    /// [`KeyError::Hash`] for SHA-1 and MD5, [`KeyError::Provider`].
    pub fn sign(&self, hash: Hash, message: &[u8]) -> Result<Vec<u8>, KeyError> {
        let padding = match hash {
            Hash::Md5 | Hash::Sha1 => return Err(KeyError::Hash(hash)),
            Hash::Sha256 => &RSA_PKCS1_SHA256,
            Hash::Sha384 => &RSA_PKCS1_SHA384,
            Hash::Sha512 => &RSA_PKCS1_SHA512,
        };
        let mut signature = vec![0; self.signing.public_modulus_len()];
        self.signing
            .sign(padding, &SystemRandom::new(), message, &mut signature)
            .map_err(|_| KeyError::Provider)?;
        Ok(signature)
    }

    /// Decrypts a content key by RSAES-PKCS1-v1_5 (RFC 8017 section 7.2.2); `None` where that fails for any reason.
    ///
    /// The caller goes on with a random key on `None` and on a key of the wrong length, so that nobody learns which it was.
    pub(crate) fn decrypt_key(&self, encrypted: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
        let mut buffer = Zeroizing::new(vec![0; self.decrypting.min_output_size()]);
        let len = self.decrypting.decrypt(encrypted, &mut buffer).ok()?.len();
        buffer.truncate(len);
        Some(buffer)
    }
}

impl SigningKey for RsaKey {
    fn spki(&self) -> &[u8] {
        self.spki()
    }

    fn to_pem(&self) -> Zeroizing<String> {
        self.to_pem()
    }

    fn algorithm(&self, hash: Hash) -> Result<SignatureAlgorithm, KeyError> {
        match hash {
            Hash::Md5 | Hash::Sha1 => Err(KeyError::Hash(hash)),
            Hash::Sha256 | Hash::Sha384 | Hash::Sha512 => Ok(SignatureAlgorithm::Pkcs1(hash)),
        }
    }

    fn sign(&self, hash: Hash, message: &[u8]) -> Result<Vec<u8>, KeyError> {
        self.sign(hash, message)
    }
}

impl fmt::Debug for RsaKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RsaKey")
            .field("bits", &self.bits)
            .finish_non_exhaustive()
    }
}

/// The first block `PRIVATE KEY` of a PEM text, decoded.
fn pkcs8_of(text: &str) -> Result<Zeroizing<Vec<u8>>, KeyError> {
    if let Some(der) = pem::blocks(text, &["PRIVATE KEY"]).next() {
        return der.map_err(|_| KeyError::NoPem(" that can be decoded"));
    }
    Err(KeyError::NoPem(
        if text.contains("-----BEGIN ENCRYPTED PRIVATE KEY-----") {
            ": the key is encrypted"
        } else if text.contains("-----BEGIN RSA PRIVATE KEY-----") {
            ": the key is in the PKCS#1 form"
        } else if text.contains("-----BEGIN EC PRIVATE KEY-----") {
            ": the key is in the SEC 1 form"
        } else {
            ""
        },
    ))
}
