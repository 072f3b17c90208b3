//! Signature algorithms of certificates, requests, revocation lists and SignerInfos: named, read and verified. Keys sign elsewhere.

use std::fmt;

use aws_lc_rs::signature::{self as provider, UnparsedPublicKey, VerificationAlgorithm};
use der::asn1::ObjectIdentifier;

use super::Hash;
use crate::ber::{Malformed, Reader, null, oid, sequence, tag};

/// A signature algorithm with its hash.
///
/// RSASSA-PSS (RFC 4055 section 3.1) is understood with SHA-256, SHA-384 or SHA-512, MGF1 over the same hash, a salt as
/// long as the hash, and the trailer field 1. Everything else is refused: SHA-1 and SHA-224, a second hash for the mask,
/// other salt lengths, absent parameters (they mean SHA-1), and keys below 2048 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SignatureAlgorithm {
    /// RSASSA-PKCS1-v1_5 (RFC 8017 section 8.2).
    Pkcs1(Hash),
    /// RSASSA-PSS (RFC 8017 section 8.1).
    Pss(Hash),
    /// ECDSA on P-256, P-384 or P-521 (RFC 5480).
    Ecdsa(Hash),
}

/// Why an AlgorithmIdentifier names no signature that can be verified here.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadAlgorithm {
    /// Not an AlgorithmIdentifier at all.
    #[error("the algorithm identifier is malformed")]
    Malformed,
    /// An algorithm this crate does not know.
    #[error("the signature algorithm {0} is not supported")]
    Unsupported(ObjectIdentifier),
    /// RSASSA-PSS with other parameters than the ones listed at [`SignatureAlgorithm`].
    #[error("these RSASSA-PSS parameters are not supported: {0}")]
    PssParameters(&'static str),
}

impl From<Malformed> for BadAlgorithm {
    fn from(_: Malformed) -> Self {
        Self::Malformed
    }
}

/// Why a signature was not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadSignature {
    /// The public key is of the wrong type, of an unsupported size or curve, or malformed.
    #[error("the public key does not fit the signature algorithm")]
    WrongKey,
    /// MD5, or a combination of curve and hash that the provider does not have.
    #[error("signatures with {0} are not accepted")]
    Refused(SignatureAlgorithm),
    /// The signature is not one over this message by this key.
    #[error("the signature does not verify")]
    Wrong,
}

const RSA_ENCRYPTION: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");
const RSASSA_PSS: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.10");
const MGF1: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.8");
const EC_PUBLIC_KEY: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");

const SIGNATURES: [(ObjectIdentifier, SignatureAlgorithm); 10] = {
    use SignatureAlgorithm::{Ecdsa, Pkcs1};
    [
        (
            ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.4"),
            Pkcs1(Hash::Md5),
        ),
        (
            ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.5"),
            Pkcs1(Hash::Sha1),
        ),
        // The OIW's name for the same, which old Microsoft tools write.
        (
            ObjectIdentifier::new_unwrap("1.3.14.3.2.29"),
            Pkcs1(Hash::Sha1),
        ),
        (
            ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.11"),
            Pkcs1(Hash::Sha256),
        ),
        (
            ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.12"),
            Pkcs1(Hash::Sha384),
        ),
        (
            ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.13"),
            Pkcs1(Hash::Sha512),
        ),
        (
            ObjectIdentifier::new_unwrap("1.2.840.10045.4.1"),
            Ecdsa(Hash::Sha1),
        ),
        (
            ObjectIdentifier::new_unwrap("1.2.840.10045.4.3.2"),
            Ecdsa(Hash::Sha256),
        ),
        (
            ObjectIdentifier::new_unwrap("1.2.840.10045.4.3.3"),
            Ecdsa(Hash::Sha384),
        ),
        (
            ObjectIdentifier::new_unwrap("1.2.840.10045.4.3.4"),
            Ecdsa(Hash::Sha512),
        ),
    ]
};

impl SignatureAlgorithm {
    /// Reads an AlgorithmIdentifier (DER, RFC 5280 section 4.1.1.2) that names a signature together with its hash.
    ///
    /// # Errors
    /// [`BadAlgorithm`] where it is malformed or not supported; plain `rsaEncryption` names no hash and is not supported.
    pub fn from_der(der: &[u8]) -> Result<Self, BadAlgorithm> {
        Self::read(der, None)
    }

    /// Reads the signatureAlgorithm of a SignerInfo (RFC 5652 section 5.3), where `rsaEncryption` takes its hash from the
    /// digestAlgorithm beside it.
    ///
    /// # Errors
    /// As [`Self::from_der`].
    pub fn from_signer_info(der: &[u8], digest: Hash) -> Result<Self, BadAlgorithm> {
        Self::read(der, Some(digest))
    }

    fn read(der: &[u8], digest: Option<Hash>) -> Result<Self, BadAlgorithm> {
        let mut outer = Reader::new(der);
        let mut fields = outer.expect(tag::SEQUENCE)?.reader();
        outer.finish()?;
        let algorithm = fields.oid()?;
        if let (RSA_ENCRYPTION, Some(digest)) = (algorithm, digest) {
            return Ok(Self::Pkcs1(digest));
        }
        if algorithm == RSASSA_PSS {
            return pss(&mut fields);
        }
        SIGNATURES
            .iter()
            .find(|(known, _)| *known == algorithm)
            .map(|(_, signature)| *signature)
            .ok_or(BadAlgorithm::Unsupported(algorithm))
    }

    /// The AlgorithmIdentifier of a certificate, request or list (DER): RFC 4055 section 5, with NULL, or RFC 5758 section 3.2, without parameters.
    /// `None` for RSASSA-PSS, with which nothing is signed here.
    pub(crate) fn identifier(self) -> Option<Vec<u8>> {
        let (oid_of, _) = SIGNATURES
            .iter()
            .find(|(_, algorithm)| *algorithm == self)?;
        let algorithm = oid(*oid_of);
        Some(match self {
            Self::Pss(_) => return None,
            Self::Pkcs1(_) => sequence(&[&algorithm, &null()]),
            Self::Ecdsa(_) => sequence(&[&algorithm]),
        })
    }

    /// The hash the message is signed under.
    #[must_use]
    pub const fn hash(self) -> Hash {
        match self {
            Self::Pkcs1(hash) | Self::Pss(hash) | Self::Ecdsa(hash) => hash,
        }
    }

    /// Verifies `signature` (the octets of the BIT STRING or OCTET STRING) over `message` with the key in `spki`, a
    /// SubjectPublicKeyInfo in DER.
    ///
    /// RSA keys of 1024 to 8192 bits are accepted, of 2048 to 8192 bits for RSASSA-PSS and SHA-384.
    ///
    /// # Errors
    /// [`BadSignature`]; a key that does not fit is told from a signature that does not verify.
    pub fn verify(self, spki: &[u8], message: &[u8], signature: &[u8]) -> Result<(), BadSignature> {
        let (key, algorithm): (&[u8], &'static dyn VerificationAlgorithm) = match self {
            Self::Pkcs1(hash) => {
                let algorithm: &'static dyn VerificationAlgorithm = match hash {
                    Hash::Md5 => return Err(BadSignature::Refused(self)),
                    Hash::Sha1 => &provider::RSA_PKCS1_1024_8192_SHA1_FOR_LEGACY_USE_ONLY,
                    Hash::Sha256 => &provider::RSA_PKCS1_1024_8192_SHA256_FOR_LEGACY_USE_ONLY,
                    Hash::Sha384 => &provider::RSA_PKCS1_2048_8192_SHA384,
                    Hash::Sha512 => &provider::RSA_PKCS1_1024_8192_SHA512_FOR_LEGACY_USE_ONLY,
                };
                (
                    rsa_public_key(spki).ok_or(BadSignature::WrongKey)?,
                    algorithm,
                )
            }
            Self::Pss(hash) => {
                let algorithm: &'static dyn VerificationAlgorithm = match hash {
                    Hash::Md5 | Hash::Sha1 => return Err(BadSignature::Refused(self)),
                    Hash::Sha256 => &provider::RSA_PSS_2048_8192_SHA256,
                    Hash::Sha384 => &provider::RSA_PSS_2048_8192_SHA384,
                    Hash::Sha512 => &provider::RSA_PSS_2048_8192_SHA512,
                };
                (
                    rsa_public_key(spki).ok_or(BadSignature::WrongKey)?,
                    algorithm,
                )
            }
            Self::Ecdsa(hash) => {
                let (curve, point) = ec_public_key(spki).ok_or(BadSignature::WrongKey)?;
                (
                    point,
                    ecdsa(curve, hash).ok_or(BadSignature::Refused(self))?,
                )
            }
        };
        UnparsedPublicKey::new(algorithm, key)
            .verify(message, signature)
            .map_err(|_| BadSignature::Wrong)
    }
}

impl fmt::Display for SignatureAlgorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pkcs1(hash) => write!(f, "RSA with {hash}"),
            Self::Pss(hash) => write!(f, "RSASSA-PSS with {hash}"),
            Self::Ecdsa(hash) => write!(f, "ECDSA with {hash}"),
        }
    }
}

/// The length in bits of the modulus of the RSA key in `spki` (SubjectPublicKeyInfo, DER); `None` where it holds none.
#[must_use]
pub fn rsa_bits(spki: &[u8]) -> Option<u32> {
    let mut outer = Reader::new(rsa_public_key(spki)?);
    let mut key = outer.expect(tag::SEQUENCE).ok()?.reader();
    let modulus = key.expect(tag::INTEGER).ok()?.content;
    let start = modulus.iter().position(|octet| *octet != 0)?;
    let significant = modulus.get(start..)?;
    let octets = u32::try_from(significant.len()).ok()?;
    octets
        .checked_mul(8)?
        .checked_sub(significant.first()?.leading_zeros())
}

/// The RSAPublicKey in a SubjectPublicKeyInfo. Keys restricted to RSASSA-PSS (RFC 4055 section 1.2) are taken as well;
/// their parameters are not looked at.
fn rsa_public_key(spki: &[u8]) -> Option<&[u8]> {
    let (algorithm, _, key) = public_key(spki)?;
    (algorithm == RSA_ENCRYPTION || algorithm == RSASSA_PSS).then_some(key)
}

#[derive(Clone, Copy)]
enum Curve {
    P256,
    P384,
    P521,
}

const CURVES: [(ObjectIdentifier, Curve); 3] = [
    (
        ObjectIdentifier::new_unwrap("1.2.840.10045.3.1.7"),
        Curve::P256,
    ),
    (ObjectIdentifier::new_unwrap("1.3.132.0.34"), Curve::P384),
    (ObjectIdentifier::new_unwrap("1.3.132.0.35"), Curve::P521),
];

fn ec_public_key(spki: &[u8]) -> Option<(Curve, &[u8])> {
    let (algorithm, mut parameters, point) = public_key(spki)?;
    if algorithm != EC_PUBLIC_KEY {
        return None;
    }
    let named = parameters.oid().ok()?;
    let (_, curve) = CURVES.iter().find(|(known, _)| *known == named)?;
    Some((*curve, point))
}

/// Algorithm, its parameters, and the octets of the key.
fn public_key(spki: &[u8]) -> Option<(ObjectIdentifier, Reader<'_>, &[u8])> {
    let mut outer = Reader::new(spki);
    let mut fields = outer.expect(tag::SEQUENCE).ok()?.reader();
    outer.finish().ok()?;
    let mut algorithm = fields.expect(tag::SEQUENCE).ok()?.reader();
    let identifier = algorithm.oid().ok()?;
    let key = fields.expect(tag::BIT_STRING).ok()?.bits().ok()?;
    fields.finish().ok()?;
    Some((identifier, algorithm, key))
}

fn ecdsa(curve: Curve, hash: Hash) -> Option<&'static dyn VerificationAlgorithm> {
    Some(match (curve, hash) {
        (_, Hash::Md5 | Hash::Sha1) => return None,
        (Curve::P256, Hash::Sha256) => &provider::ECDSA_P256_SHA256_ASN1,
        (Curve::P256, Hash::Sha384) => &provider::ECDSA_P256_SHA384_ASN1,
        (Curve::P256, Hash::Sha512) => &provider::ECDSA_P256_SHA512_ASN1,
        (Curve::P384, Hash::Sha256) => &provider::ECDSA_P384_SHA256_ASN1,
        (Curve::P384, Hash::Sha384) => &provider::ECDSA_P384_SHA384_ASN1,
        (Curve::P384, Hash::Sha512) => &provider::ECDSA_P384_SHA512_ASN1,
        (Curve::P521, Hash::Sha256) => &provider::ECDSA_P521_SHA256_ASN1,
        (Curve::P521, Hash::Sha384) => &provider::ECDSA_P521_SHA384_ASN1,
        (Curve::P521, Hash::Sha512) => &provider::ECDSA_P521_SHA512_ASN1,
    })
}

/// RSASSA-PSS-params (RFC 4055 section 3.1), all fields optional.
fn pss(fields: &mut Reader<'_>) -> Result<SignatureAlgorithm, BadAlgorithm> {
    const SHA1: BadAlgorithm = BadAlgorithm::PssParameters("the hash is SHA-1");
    let Some(parameters) = fields.optional(tag::SEQUENCE)? else {
        return Err(SHA1);
    };
    let mut parameters = parameters.reader();
    let hash = match parameters.optional(tag::context(0))? {
        None => return Err(SHA1),
        Some(field) => hash_algorithm(field.content)?,
    };
    let Some(mask) = parameters.optional(tag::context(1))? else {
        return Err(BadAlgorithm::PssParameters("the mask's hash is SHA-1"));
    };
    let mut mask = mask.reader().expect(tag::SEQUENCE)?.reader();
    if mask.oid()? != MGF1 {
        return Err(BadAlgorithm::PssParameters("the mask is not MGF1"));
    }
    if hash_algorithm(mask.rest())? != hash {
        return Err(BadAlgorithm::PssParameters(
            "the mask has a hash of its own",
        ));
    }
    let salt = match parameters.optional(tag::context(2))? {
        None => 20,
        Some(field) => field.reader().small_integer()?,
    };
    let expected = match hash {
        Hash::Md5 | Hash::Sha1 => return Err(SHA1),
        Hash::Sha256 => 32,
        Hash::Sha384 => 48,
        Hash::Sha512 => 64,
    };
    if salt != expected {
        return Err(BadAlgorithm::PssParameters(
            "the salt is not as long as the hash",
        ));
    }
    if let Some(trailer) = parameters.optional(tag::context(3))?
        && trailer.reader().small_integer()? != 1
    {
        return Err(BadAlgorithm::PssParameters("the trailer field is not 1"));
    }
    parameters.finish()?;
    Ok(SignatureAlgorithm::Pss(hash))
}

fn hash_algorithm(der: &[u8]) -> Result<Hash, BadAlgorithm> {
    let identifier = Reader::new(der).expect(tag::SEQUENCE)?.reader().oid()?;
    Hash::from_oid(identifier).ok_or(BadAlgorithm::PssParameters("the hash is unknown"))
}
