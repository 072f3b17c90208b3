//! PKCS#10 (RFC 2986): certification requests, made and read. Whether one is granted is decided elsewhere.

use std::fmt;

use der::asn1::{Any, AnyRef, BitString, ObjectIdentifier};
use der::{Decode, Encode, Reader, Sequence, SliceReader, Tag, TagNumber, Tagged};
use jiff::{SignedDuration, Timestamp};
use thiserror::Error;
use x509_cert::ext::Extension;
use zeroize::Zeroizing;

use crate::algorithm::{BadAlgorithm, BadSignature, Cipher, Hash, SignatureAlgorithm, rsa_bits};
use crate::certificate::{Certificate, KeyUsage, SubjectAltName, name as names};
use crate::cms::CmsError;
use crate::issue::{IssueError, Template};
use crate::key::{KeyError, RsaKey};
use crate::message::{NoRandomness, text_of};
use crate::{extension, name};

mod builder;
mod challenge;

pub use builder::{RequestBuilder, SubjectPart};
pub use challenge::Challenge;

/// The longest request that is read, in bytes.
pub const MAX_REQUEST: usize = 16 * 1024;

const CHALLENGE_PASSWORD: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.9.7");
const EXTENSION_REQUEST: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.9.14");
/// Microsoft's name for the same, from before PKCS#9 had one.
const MICROSOFT_EXTENSIONS: ObjectIdentifier =
    ObjectIdentifier::new_unwrap("1.3.6.1.4.1.311.2.1.14");

const ATTRIBUTES: Tag = Tag::ContextSpecific {
    constructed: true,
    number: TagNumber(0),
};

/// Why a request could not be made or read.
#[derive(Debug, Error)]
pub enum RequestError {
    /// A part of the subject is empty, too long, or has characters that it must not have.
    #[error("the subject's {part:?} cannot be {text:?}")]
    Subject {
        /// Which part.
        part: SubjectPart,
        /// What it was to be.
        text: String,
    },
    /// A subject alternative name, a usage or the challenge cannot be encoded.
    #[error("the request's names or attributes cannot be encoded")]
    Encode(#[source] der::Error),
    /// The challenge is empty or longer than 255 characters.
    #[error("a challenge has 1 to 255 characters, none of them a control character")]
    Challenge,
    /// DES was asked for.
    #[error("{0} is not used unless allow_legacy is set")]
    Cipher(Cipher),
    /// The key could not sign.
    #[error("the request could not be signed")]
    Key(#[from] KeyError),
    /// The message around the request could not be signed or encrypted.
    #[error("the request could not be signed or encrypted")]
    Message(#[source] CmsError),
    /// There was no randomness for a nonce.
    #[error(transparent)]
    NoRandomness(#[from] NoRandomness),
    /// The throw-away certificate could not be made.
    #[error("the certificate that signs the request could not be made")]
    SelfSigned(#[source] Box<IssueError>),
    /// Longer than [`MAX_REQUEST`].
    #[error("the request is longer than {MAX_REQUEST} bytes")]
    TooLong,
    /// It is no PKCS#10 request.
    #[error("the certification request is malformed")]
    Malformed(#[source] der::Error),
    /// A name or an extension in it is malformed.
    #[error("a name or an extension of the certification request is malformed")]
    Structure,
    /// An attribute is there twice, or with other than one value.
    #[error("the certification request has an attribute twice")]
    Repeated,
    /// The signature's algorithm is unknown.
    #[error("the certification request's signature algorithm is not supported")]
    SignatureAlgorithm(#[from] BadAlgorithm),
    /// The signature is not by the request's own key.
    #[error("the certification request is not signed by its own key")]
    Signature(#[from] BadSignature),
}

/// A certification request whose signature by its own key has been verified.
#[derive(Clone)]
pub struct CertificationRequest {
    // The challenge is in it in the clear.
    der: Zeroizing<Vec<u8>>,
    subject: Vec<u8>,
    spki: Vec<u8>,
    challenge: Option<Challenge>,
    sans: Vec<SubjectAltName>,
    key_usage: Option<KeyUsage>,
    extended_key_usage: Vec<ObjectIdentifier>,
}

impl CertificationRequest {
    /// Reads a request and verifies its signature, RSASSA-PKCS1-v1_5, RSASSA-PSS or ECDSA.
    ///
    /// Extensions that are not known here are left out, and so never end up in a certificate.
    ///
    /// # Errors
    /// [`RequestError`] says what is malformed, or that the signature is not by the request's own key.
    pub fn from_der(der: &[u8]) -> Result<Self, RequestError> {
        if der.len() > MAX_REQUEST {
            return Err(RequestError::TooLong);
        }
        let malformed = RequestError::Malformed;
        let request = Request::from_der(der).map_err(malformed)?;
        let info = request.info.to_der().map_err(malformed)?;
        let fields = Info::from_der(&info).map_err(malformed)?;
        let spki = fields.spki.to_der().map_err(malformed)?;
        let algorithm =
            SignatureAlgorithm::from_der(&request.algorithm.to_der().map_err(malformed)?)?;
        algorithm.verify(&spki, &info, request.signature.raw_bytes())?;
        let subject = fields.subject.to_der().map_err(malformed)?;
        names::check(&subject).map_err(|_| RequestError::Structure)?;
        let mut read = Self {
            der: Zeroizing::new(der.to_vec()),
            subject,
            spki,
            challenge: None,
            sans: Vec::new(),
            key_usage: None,
            extended_key_usage: Vec::new(),
        };
        if let Some(attributes) = fields.attributes {
            read.read_attributes(attributes)?;
        }
        Ok(read)
    }

    /// The request in DER.
    #[must_use]
    pub fn to_der(&self) -> &[u8] {
        &self.der
    }

    /// The subject, a Name in DER; it may be empty.
    #[must_use]
    pub fn subject(&self) -> &[u8] {
        &self.subject
    }

    /// The subject as RFC 4514 writes it.
    #[must_use]
    pub fn subject_text(&self) -> String {
        names::text(&self.subject)
    }

    /// The subject's first common name.
    #[must_use]
    pub fn common_name(&self) -> Option<String> {
        names::common_name(&self.subject)
    }

    /// All of the subject's common names, in order; one that is no text is empty.
    #[must_use]
    pub fn common_names(&self) -> Vec<String> {
        names::common_names(&self.subject)
    }

    /// Whether the subject has attributes beside common name and organization.
    #[must_use]
    pub fn has_other_subject_parts(&self) -> bool {
        let known = [name::COMMON_NAME, name::ORGANIZATION];
        names::parts(&self.subject).is_ok_and(|relative| {
            let mut all = relative.iter().flatten();
            all.any(|part| !known.contains(&part.oid))
        })
    }

    /// The public key, a SubjectPublicKeyInfo in DER.
    #[must_use]
    pub fn spki(&self) -> &[u8] {
        &self.spki
    }

    /// The length of an RSA key, in bits; `None` for keys of other kinds.
    #[must_use]
    pub fn key_bits(&self) -> Option<u32> {
        rsa_bits(&self.spki)
    }

    /// Whether the key is an RSA key.
    #[must_use]
    pub fn is_rsa(&self) -> bool {
        self.key_bits().is_some()
    }

    /// The names and addresses asked for; kinds other than DNS, IP and URI are left out.
    #[must_use]
    pub fn sans(&self) -> &[SubjectAltName] {
        &self.sans
    }

    /// The challenge password, where there is one.
    #[must_use]
    pub fn challenge(&self) -> Option<&Challenge> {
        self.challenge.as_ref()
    }

    /// What the key is to be used for, where the request says so.
    #[must_use]
    pub fn key_usage(&self) -> Option<KeyUsage> {
        self.key_usage
    }

    /// What the certificate is to be used for, where the request says so.
    #[must_use]
    pub fn extended_key_usage(&self) -> &[ObjectIdentifier] {
        &self.extended_key_usage
    }

    fn read_attributes(&mut self, attributes: AnyRef<'_>) -> Result<(), RequestError> {
        attributes
            .tag()
            .assert_eq(ATTRIBUTES)
            .map_err(RequestError::Malformed)?;
        let malformed = RequestError::Malformed;
        let mut reader = SliceReader::new(attributes.value()).map_err(malformed)?;
        let (mut challenge, mut extensions) = (None, None);
        while !reader.is_finished() {
            let attribute = Attribute::decode(&mut reader).map_err(malformed)?;
            let slot = match attribute.oid {
                CHALLENGE_PASSWORD => &mut challenge,
                EXTENSION_REQUEST | MICROSOFT_EXTENSIONS => &mut extensions,
                _ => continue,
            };
            // Two answers to one question: which one counts would be up to whoever reads it.
            let Ok(value) = Any::from_der(attribute.values.value()) else {
                return Err(RequestError::Repeated);
            };
            if slot.replace(value).is_some() {
                return Err(RequestError::Repeated);
            }
        }
        if let Some(value) = challenge {
            let text = text_of(&value).ok_or(RequestError::Challenge)?;
            // An empty one is what clients send that have none.
            self.challenge = if text.is_empty() {
                None
            } else {
                Some(Challenge::new(text)?)
            };
        }
        if let Some(value) = extensions {
            let extensions = Vec::<Extension>::from_der(&value.to_der().map_err(malformed)?)
                .map_err(malformed)?;
            self.read_extensions(&extensions)?;
        }
        Ok(())
    }

    fn read_extensions(&mut self, extensions: &[Extension]) -> Result<(), RequestError> {
        for (index, extension) in extensions.iter().enumerate() {
            if extensions
                .iter()
                .skip(index + 1)
                .any(|other| other.extn_id == extension.extn_id)
            {
                return Err(RequestError::Repeated);
            }
            let value = extension.extn_value.as_bytes();
            match extension.extn_id {
                extension::SUBJECT_ALT_NAME => {
                    self.sans = SubjectAltName::list_from_der(value)
                        .map_err(|_| RequestError::Structure)?;
                }
                extension::KEY_USAGE => {
                    self.key_usage =
                        Some(KeyUsage::from_der(value).map_err(|_| RequestError::Structure)?);
                }
                extension::EXTENDED_KEY_USAGE => {
                    self.extended_key_usage = extension::read_extended_key_usage(value)
                        .map_err(RequestError::Malformed)?;
                }
                _ => {}
            }
        }
        Ok(())
    }
}

impl fmt::Debug for CertificationRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CertificationRequest")
            .field("subject", &self.subject_text())
            .field("sans", &self.sans)
            .field("challenge", &self.challenge)
            .finish_non_exhaustive()
    }
}

/// The throw-away certificate that signs a first request (RFC 8894 section 2.3): the request's subject and key, valid from a day
/// ago, for clocks that are slow, to 30 days from now.
///
/// Its serial number comes from the key, so that a client which starts again makes the same one. An empty subject becomes that number as common
/// name, because servers find the recipient of an answer by issuer and serial number.
///
/// # Errors
/// The key could not sign.
pub fn self_signed(
    request: &CertificationRequest,
    key: &RsaKey,
    hash: Hash,
    now: Timestamp,
) -> Result<Certificate, RequestError> {
    const DAY: SignedDuration = SignedDuration::from_hours(24);
    let serial: Vec<u8> = Hash::Sha256
        .digest(request.spki())
        .unwrap_or_default()
        .into_iter()
        .take(16)
        .collect();
    let made_up = hex::encode_upper(&serial);
    let subject = if request.subject() == name::EMPTY {
        name::encode(&[(name::COMMON_NAME, Tag::PrintableString, &made_up)])
            .map_err(RequestError::Encode)?
    } else {
        request.subject().to_vec()
    };
    Template {
        serial: &serial,
        issuer: &subject,
        not_before: now.saturating_sub(DAY).unwrap_or(now),
        not_after: now.saturating_add(DAY * 30).unwrap_or(now),
        subject: &subject,
        spki: request.spki(),
        extensions: Vec::new(),
    }
    .sign(key, hash)
    .map_err(|error| RequestError::SelfSigned(Box::new(error)))
}

#[derive(Sequence)]
struct Request<'a> {
    info: AnyRef<'a>,
    algorithm: AnyRef<'a>,
    signature: BitString,
}

#[derive(Sequence)]
struct Attribute<'a> {
    oid: ObjectIdentifier,
    values: AnyRef<'a>,
}

struct Info<'a> {
    subject: AnyRef<'a>,
    spki: AnyRef<'a>,
    attributes: Option<AnyRef<'a>>,
}

impl<'a> Info<'a> {
    // By hand, because the attributes are a SET OF that real clients do not sort.
    fn from_der(der: &'a [u8]) -> Result<Self, der::Error> {
        let mut reader = SliceReader::new(AnyRef::from_der(der)?.value())?;
        // Version 1 is 0; no other was ever defined.
        if u8::decode(&mut reader)? != 0 {
            return Err(Tag::Integer.value_error().into());
        }
        let subject = AnyRef::decode(&mut reader)?;
        let spki = AnyRef::decode(&mut reader)?;
        let attributes = if reader.is_finished() {
            None
        } else {
            Some(AnyRef::decode(&mut reader)?)
        };
        reader.finish()?;
        Ok(Self {
            subject,
            spki,
            attributes,
        })
    }
}

fn attribute(oid: ObjectIdentifier, value: Vec<u8>) -> Result<Vec<u8>, der::Error> {
    let values = Any::new(Tag::Set, value)?;
    Attribute {
        oid,
        values: AnyRef::from(&values),
    }
    .to_der()
}

#[cfg(test)]
mod tests;
