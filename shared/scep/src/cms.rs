//! CMS (RFC 5652) as SCEP uses it: signed, enveloped and certificates-only data. The message attributes of SCEP are not known here.

use der::asn1::ObjectIdentifier;

pub use self::{
    certificates::{Bag, certs_only, read_certs_only},
    enveloped::{Opened, open, open_if, seal},
    signed::{Attribute, SignedData, Signer, sign},
};
use crate::{
    algorithm::{BadAlgorithm, BadSignature, Cipher, Hash},
    ber::{BerError, Malformed, Reader, Value, oid, sequence, tag, tlv},
    certificate::{BadCertificate, Certificate, magnitude, name},
    key::KeyError,
};

mod certificates;
mod enveloped;
mod signed;
#[cfg(test)]
mod tests;

/// id-data (RFC 5652 section 4).
pub(crate) const DATA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.7.1");
const SIGNED_DATA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.7.2");
const ENVELOPED_DATA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.7.3");
const RSA_ENCRYPTION: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");

/// Why a CMS message could not be read, verified, opened or made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CmsError {
    /// Not one BER value within the limits.
    #[error(transparent)]
    Ber(#[from] BerError),
    /// BER, but not the structure that was asked for.
    #[error("the CMS {0} is malformed")]
    Malformed(&'static str),
    /// Another content type than the one that was asked for.
    #[error("the CMS content type is {found}, not {expected}")]
    ContentType {
        /// What the message says it is.
        found: ObjectIdentifier,
        /// What it has to be.
        expected: ObjectIdentifier,
    },
    /// A certificate inside cannot be read.
    #[error(transparent)]
    Certificate(#[from] BadCertificate),
    /// No SignerInfo where there has to be one.
    #[error("nobody signed the message")]
    NoSigner,
    /// More than one SignerInfo.
    #[error("several signers signed the message")]
    SeveralSigners,
    /// The SignerInfo does not name this certificate.
    #[error("the message was signed by another certificate")]
    WrongSigner,
    /// A mandatory signed attribute is missing.
    #[error("the signed attribute {0} is missing")]
    MissingAttribute(ObjectIdentifier),
    /// A signed attribute occurs twice.
    #[error("the signed attribute {0} occurs twice")]
    DuplicateAttribute(ObjectIdentifier),
    /// A signed attribute has no value, or several.
    #[error("the signed attribute {0} has not exactly one value")]
    AttributeValues(ObjectIdentifier),
    /// The content-type attribute is not the type of the content (RFC 5652 section 11.1).
    #[error("the signed content type is not the type of the content")]
    SignedContentType,
    /// The message-digest attribute is not the digest of the content (RFC 5652 section 11.2).
    #[error("the content does not have the signed digest")]
    Digest,
    /// The digest algorithm of the signer is unknown.
    #[error("the digest algorithm {0} is not supported")]
    UnsupportedHash(ObjectIdentifier),
    /// The digest algorithm is known, and refused.
    #[error("{0} is not accepted")]
    RefusedHash(Hash),
    /// The signature algorithm is unknown, or of another hash than the digest algorithm.
    #[error("the signature algorithm of the message is not accepted")]
    SignatureAlgorithm(#[source] Option<BadAlgorithm>),
    /// The signature does not verify.
    #[error("the signature of the message was not accepted")]
    Signature(#[from] BadSignature),
    /// The envelope is for somebody else.
    #[error("the message is not encrypted for this certificate")]
    NotForUs,
    /// The content key is transported otherwise than by RSAES-PKCS1-v1_5.
    #[error("the key transport algorithm {0} is not supported")]
    UnsupportedKeyTransport(ObjectIdentifier),
    /// The content is encrypted with an unknown cipher.
    #[error("the cipher {0} is not supported")]
    UnsupportedCipher(ObjectIdentifier),
    /// The cipher is known, and refused by the policy.
    #[error("{0} is not accepted")]
    RefusedCipher(Cipher),
    /// The envelope could not be opened. Wrong key, wrong padding and wrong content look all the same.
    #[error("the message cannot be decrypted")]
    Undecryptable,
    /// The recipient's certificate has no RSA key of 2048 to 8192 bits.
    #[error("nothing can be encrypted to the key of this certificate")]
    RecipientKey,
    /// The signer's key and certificate do not belong together.
    #[error("the signer's key is not the one in its certificate")]
    SignerKey,
    /// The key could not sign.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// A value that was to be signed cannot be encoded.
    #[error("a signed attribute cannot be encoded")]
    Encoding(#[from] der::Error),
    /// The provider failed, which it does when it is out of memory or entropy.
    #[error("the cryptographic provider failed")]
    Provider,
}

/// For use with `map_err`: the named part is malformed.
fn part(name: &'static str) -> impl Fn(Malformed) -> CmsError {
    move |_| CmsError::Malformed(name)
}

/// The content of a ContentInfo (RFC 5652 section 3) of the type `expected`; `der` is DER.
fn content_info(der: &[u8], expected: ObjectIdentifier) -> Result<Reader<'_>, CmsError> {
    let mut outer = Reader::new(der);
    let mut info = outer
        .expect(tag::SEQUENCE)
        .map_err(part("ContentInfo"))?
        .reader();
    let found = info.oid().map_err(part("ContentInfo"))?;
    if found != expected {
        return Err(CmsError::ContentType { found, expected });
    }
    let mut content = info
        .expect(tag::context(0))
        .map_err(part("ContentInfo"))?
        .reader();
    let inner = content.expect(tag::SEQUENCE).map_err(part("ContentInfo"))?;
    content
        .finish()
        .and(info.finish())
        .map_err(part("ContentInfo"))?;
    Ok(inner.reader())
}

fn to_content_info(content_type: ObjectIdentifier, content: &[u8]) -> Vec<u8> {
    sequence(&[&oid(content_type), &tlv(tag::context(0), content)])
}

/// How a SignerInfo or a RecipientInfo names a certificate (RFC 5652 section 5.3 and 6.2.1).
#[derive(Clone)]
enum CertificateId {
    IssuerAndSerial {
        issuer: name::Wanted,
        serial: Vec<u8>,
    },
    SubjectKeyId(Vec<u8>),
}

impl CertificateId {
    fn parse(fields: &mut Reader<'_>) -> Result<Self, Malformed> {
        let value = fields.value()?;
        match value.tag {
            tag::SEQUENCE => {
                let mut fields = value.reader();
                let issuer = name::Wanted::new(fields.expect(tag::SEQUENCE)?.der);
                let serial = fields.expect(tag::INTEGER)?.content.to_vec();
                fields.finish()?;
                Ok(Self::IssuerAndSerial { issuer, serial })
            }
            _ => implicit_octets(&value, 0).map(Self::SubjectKeyId),
        }
    }

    /// IssuerAndSerialNumber (RFC 5652 section 10.2.4).
    fn encode(certificate: &Certificate) -> Vec<u8> {
        sequence(&[
            certificate.issuer(),
            &tlv(tag::INTEGER, certificate.serial_integer()),
        ])
    }

    fn names(&self, certificate: &Certificate) -> bool {
        match self {
            // Some peers write a serial number of theirs that is negative as a positive one, or the other way round.
            Self::IssuerAndSerial { issuer, serial } => {
                magnitude(serial) == certificate.serial() && issuer.is(certificate.issuer())
            }
            Self::SubjectKeyId(id) => certificate.subject_key_id() == Some(id),
        }
    }
}

/// The octets of a `[number] IMPLICIT OCTET STRING`, in one piece or in segments.
fn implicit_octets(value: &Value<'_>, number: u8) -> Result<Vec<u8>, Malformed> {
    if value.tag == tag::context_primitive(number) {
        return Ok(value.content.to_vec());
    }
    if value.tag != tag::context(number) {
        return Err(Malformed);
    }
    let mut segments = value.reader();
    let mut octets = Vec::with_capacity(value.content.len());
    while !segments.is_empty() {
        octets.extend_from_slice(segments.expect(tag::OCTET_STRING)?.content);
    }
    Ok(octets)
}
