//! ECDSA keys on the curve P-256, which sign for a CA. They decrypt nothing: SCEP's content keys go to RSA keys.

use std::fmt;

use aws_lc_rs::{
    encoding::{AsDer, PublicKeyX509Der},
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair as _},
};
use zeroize::Zeroizing;

use super::{KeyError, SigningKey, pkcs8_of};
use crate::{
    algorithm::{Hash, SignatureAlgorithm},
    certificate::pem,
};

/// An ECDSA key pair on P-256 (RFC 5480), which signs with SHA-256 whatever hash is asked for.
///
/// The private key is kept as PKCS#8, which is wiped when the value is dropped, and inside the provider, which wipes its own copy.
pub struct EcdsaKey {
    pair: EcdsaKeyPair,
    pkcs8: Zeroizing<Vec<u8>>,
    spki: Vec<u8>,
}

impl EcdsaKey {
    /// A new key.
    ///
    /// # Errors
    /// [`KeyError::Provider`].
    pub fn generate() -> Result<Self, KeyError> {
        let document =
            EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &SystemRandom::new())
                .map_err(|_| KeyError::Provider)?;
        Self::from_pkcs8(document.as_ref())
    }

    /// Reads a PKCS#8 PrivateKeyInfo (RFC 5208, DER).
    ///
    /// # Errors
    /// [`KeyError::RejectedCurve`] where it is malformed, inconsistent, or not on P-256.
    pub fn from_pkcs8(der: &[u8]) -> Result<Self, KeyError> {
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, der)
            .map_err(|why| KeyError::RejectedCurve(why.to_string()))?;
        let spki = AsDer::<PublicKeyX509Der<'_>>::as_der(pair.public_key())
            .map_err(|_| KeyError::Provider)?;
        Ok(Self {
            spki: spki.as_ref().to_vec(),
            pkcs8: Zeroizing::new(der.to_vec()),
            pair,
        })
    }

    /// Reads the first block `PRIVATE KEY` of a PEM text; other blocks are passed over.
    ///
    /// # Errors
    /// [`KeyError::NoPem`], or as [`Self::from_pkcs8`].
    pub fn from_pem(text: &str) -> Result<Self, KeyError> {
        Self::from_pkcs8(&pkcs8_of(text)?)
    }
}

impl SigningKey for EcdsaKey {
    fn spki(&self) -> &[u8] {
        &self.spki
    }

    fn to_pem(&self) -> Zeroizing<String> {
        pem::encode("PRIVATE KEY", &self.pkcs8)
    }

    fn algorithm(&self, hash: Hash) -> Result<SignatureAlgorithm, KeyError> {
        match hash {
            Hash::Md5 | Hash::Sha1 => Err(KeyError::Hash(hash)),
            Hash::Sha256 | Hash::Sha384 | Hash::Sha512 => {
                Ok(SignatureAlgorithm::Ecdsa(Hash::Sha256))
            }
        }
    }

    /// The signature is an ECDSA-Sig-Value (RFC 3279 section 2.2.3), another one each time.
    fn sign(&self, hash: Hash, message: &[u8]) -> Result<Vec<u8>, KeyError> {
        self.algorithm(hash)?;
        let signature = self.pair.sign(&SystemRandom::new(), message);
        Ok(signature.map_err(|_| KeyError::Provider)?.as_ref().to_vec())
    }
}

impl fmt::Debug for EcdsaKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("EcdsaKey(P-256)")
    }
}
