//! Hashes, ciphers and signature algorithms: names, object identifiers and what counts as legacy. No keys are kept here.

use std::{fmt, str::FromStr};

use aws_lc_rs::{cipher, digest};
use der::asn1::ObjectIdentifier;

pub use self::signature::{BadAlgorithm, BadSignature, SignatureAlgorithm, rsa_bits};

mod signature;
#[cfg(test)]
mod tests;

/// A hash function, as SCEP messages and certificates name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Hash {
    /// Recognised so that it can be refused by its name. It is never computed: the provider has no MD5.
    Md5,
    /// Accepted when verifying, and reported as legacy. Never used for signing: the provider refuses.
    Sha1,
    /// The mandatory hash of RFC 8894 section 2.9.
    Sha256,
    /// SHA-384 (FIPS 180-4).
    Sha384,
    /// SHA-512 (FIPS 180-4).
    Sha512,
}

const HASHES: [(Hash, &str, ObjectIdentifier); 5] = [
    (
        Hash::Md5,
        "MD5",
        ObjectIdentifier::new_unwrap("1.2.840.113549.2.5"),
    ),
    (
        Hash::Sha1,
        "SHA-1",
        ObjectIdentifier::new_unwrap("1.3.14.3.2.26"),
    ),
    (
        Hash::Sha256,
        "SHA-256",
        ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.2.1"),
    ),
    (
        Hash::Sha384,
        "SHA-384",
        ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.2.2"),
    ),
    (
        Hash::Sha512,
        "SHA-512",
        ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.2.3"),
    ),
];

impl Hash {
    /// The object identifier of the hash itself (RFC 8017 appendix B.1).
    #[must_use]
    pub const fn oid(self) -> ObjectIdentifier {
        match self {
            Self::Md5 => HASHES[0].2,
            Self::Sha1 => HASHES[1].2,
            Self::Sha256 => HASHES[2].2,
            Self::Sha384 => HASHES[3].2,
            Self::Sha512 => HASHES[4].2,
        }
    }

    /// The hash with this object identifier, if it is one of ours.
    #[must_use]
    pub fn from_oid(oid: ObjectIdentifier) -> Option<Self> {
        HASHES
            .iter()
            .find(|(_, _, known)| *known == oid)
            .map(|(hash, _, _)| *hash)
    }

    /// The digest of `bytes`, 20 to 64 octets; `None` for MD5, which is never computed.
    #[must_use]
    pub fn digest(self, bytes: &[u8]) -> Option<Vec<u8>> {
        let algorithm = match self {
            Self::Md5 => return None,
            Self::Sha1 => &digest::SHA1_FOR_LEGACY_USE_ONLY,
            Self::Sha256 => &digest::SHA256,
            Self::Sha384 => &digest::SHA384,
            Self::Sha512 => &digest::SHA512,
        };
        Some(digest::digest(algorithm, bytes).as_ref().to_vec())
    }

    /// Whether use of this hash is worth a warning: MD5 and SHA-1.
    #[must_use]
    pub const fn is_legacy(self) -> bool {
        matches!(self, Self::Md5 | Self::Sha1)
    }
}

impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Md5 => "MD5",
            Self::Sha1 => "SHA-1",
            Self::Sha256 => "SHA-256",
            Self::Sha384 => "SHA-384",
            Self::Sha512 => "SHA-512",
        })
    }
}

/// A word that names no algorithm of ours.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown algorithm {0:?}")]
pub struct UnknownAlgorithm(pub String);

impl FromStr for Hash {
    type Err = UnknownAlgorithm;

    /// The name exactly as `Display` writes it.
    fn from_str(name: &str) -> Result<Self, UnknownAlgorithm> {
        HASHES
            .iter()
            .find(|(_, known, _)| *known == name)
            .map(|(hash, _, _)| *hash)
            .ok_or_else(|| UnknownAlgorithm(name.to_owned()))
    }
}

/// A content encryption cipher, always in CBC mode with PKCS#7 padding (RFC 5652 section 6.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Cipher {
    /// Single DES: used only where [`Policy::allow_legacy`] is set.
    Des,
    /// Three-key triple DES: accepted, and reported as legacy.
    TripleDes,
    /// The mandatory cipher of RFC 8894 section 2.9.
    Aes128,
    /// AES with a key of 192 bits.
    Aes192,
    /// AES with a key of 256 bits.
    Aes256,
}

const CIPHERS: [(Cipher, &str, ObjectIdentifier); 5] = [
    (
        Cipher::Des,
        "DES-CBC",
        ObjectIdentifier::new_unwrap("1.3.14.3.2.7"),
    ),
    (
        Cipher::TripleDes,
        "DES-EDE3-CBC",
        ObjectIdentifier::new_unwrap("1.2.840.113549.3.7"),
    ),
    (
        Cipher::Aes128,
        "AES-128-CBC",
        ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.1.2"),
    ),
    (
        Cipher::Aes192,
        "AES-192-CBC",
        ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.1.22"),
    ),
    (
        Cipher::Aes256,
        "AES-256-CBC",
        ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.1.42"),
    ),
];

impl Cipher {
    /// The object identifier in a contentEncryptionAlgorithm (RFC 3565, RFC 3370 section 5).
    #[must_use]
    pub const fn oid(self) -> ObjectIdentifier {
        match self {
            Self::Des => CIPHERS[0].2,
            Self::TripleDes => CIPHERS[1].2,
            Self::Aes128 => CIPHERS[2].2,
            Self::Aes192 => CIPHERS[3].2,
            Self::Aes256 => CIPHERS[4].2,
        }
    }

    /// The cipher with this object identifier, if it is one of ours.
    #[must_use]
    pub fn from_oid(oid: ObjectIdentifier) -> Option<Self> {
        CIPHERS
            .iter()
            .find(|(_, _, known)| *known == oid)
            .map(|(cipher, _, _)| *cipher)
    }

    /// Length of the key in octets, parity bits of DES included.
    #[must_use]
    pub const fn key_len(self) -> usize {
        match self {
            Self::Des => 8,
            Self::TripleDes | Self::Aes192 => 24,
            Self::Aes128 => 16,
            Self::Aes256 => 32,
        }
    }

    /// Length of a block, and so of the initialisation vector, in octets.
    #[must_use]
    pub const fn block_len(self) -> usize {
        match self {
            Self::Des | Self::TripleDes => 8,
            Self::Aes128 | Self::Aes192 | Self::Aes256 => 16,
        }
    }

    /// Whether the cipher is refused unless [`Policy::allow_legacy`] is set: single DES.
    #[must_use]
    pub const fn needs_allow_legacy(self) -> bool {
        matches!(self, Self::Des)
    }

    /// Whether use of this cipher is worth a warning: DES and triple DES.
    #[must_use]
    pub const fn is_legacy(self) -> bool {
        matches!(self, Self::Des | Self::TripleDes)
    }

    /// The provider's algorithm.
    #[expect(
        deprecated,
        reason = "DES and triple DES are what some servers answer with"
    )]
    pub(crate) const fn provider(self) -> &'static cipher::Algorithm {
        match self {
            Self::Des => &cipher::DES_FOR_LEGACY_USE_ONLY,
            Self::TripleDes => &cipher::DES_EDE3_FOR_LEGACY_USE_ONLY,
            Self::Aes128 => &cipher::AES_128,
            Self::Aes192 => &cipher::AES_192,
            Self::Aes256 => &cipher::AES_256,
        }
    }
}

impl fmt::Display for Cipher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Des => "DES-CBC",
            Self::TripleDes => "DES-EDE3-CBC",
            Self::Aes128 => "AES-128-CBC",
            Self::Aes192 => "AES-192-CBC",
            Self::Aes256 => "AES-256-CBC",
        })
    }
}

impl FromStr for Cipher {
    type Err = UnknownAlgorithm;

    /// The name exactly as `Display` writes it.
    fn from_str(name: &str) -> Result<Self, UnknownAlgorithm> {
        CIPHERS
            .iter()
            .find(|(_, known, _)| *known == name)
            .map(|(cipher, _, _)| *cipher)
            .ok_or_else(|| UnknownAlgorithm(name.to_owned()))
    }
}

/// What is permitted beyond the algorithms of RFC 8894.
///
/// SHA-1 and triple DES are accepted and reported as legacy by [`Hash::is_legacy`] and [`Cipher::is_legacy`]. MD5 is
/// refused whatever the policy says, because the provider has none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    /// Accept single DES as well.
    pub allow_legacy: bool,
}
