//! Certification requests, made (RFC 2986 section 4). None is read here.

use der::asn1::{Any, AnyRef, BitString, ObjectIdentifier};
use der::{Decode, Encode, Tag};
use x509_cert::ext::Extension;
use zeroize::Zeroizing;

use super::{
    ATTRIBUTES, CHALLENGE_PASSWORD, CertificationRequest, Challenge, EXTENSION_REQUEST, Request,
    RequestError, attribute,
};
use crate::algorithm::Hash;
use crate::certificate::{KeyUsage, SubjectAltName};
use crate::key::RsaKey;
use crate::{extension, name};

/// The parts of a subject that can be asked for (RFC 5280 appendix A.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SubjectPart {
    /// `CN`: a host name or an address.
    CommonName,
    /// `O`.
    Organization,
    /// `OU`.
    OrganizationalUnit,
    /// `C`: two letters.
    Country,
    /// `L`.
    Locality,
    /// `ST`.
    State,
    /// `serialNumber`: a device's, not a certificate's.
    SerialNumber,
}

impl SubjectPart {
    fn oid(self) -> ObjectIdentifier {
        match self {
            Self::CommonName => name::COMMON_NAME,
            Self::SerialNumber => ObjectIdentifier::new_unwrap("2.5.4.5"),
            Self::Country => ObjectIdentifier::new_unwrap("2.5.4.6"),
            Self::Locality => ObjectIdentifier::new_unwrap("2.5.4.7"),
            Self::State => ObjectIdentifier::new_unwrap("2.5.4.8"),
            Self::Organization => ObjectIdentifier::new_unwrap("2.5.4.10"),
            Self::OrganizationalUnit => ObjectIdentifier::new_unwrap("2.5.4.11"),
        }
    }

    /// The upper bound of RFC 5280 appendix A.1, in characters.
    fn longest(self) -> usize {
        match self {
            Self::Country => 2,
            Self::Locality | Self::State => 128,
            Self::CommonName
            | Self::Organization
            | Self::OrganizationalUnit
            | Self::SerialNumber => 64,
        }
    }

    fn tag(self, text: &str) -> Option<Tag> {
        let characters = text.chars().count();
        let tag = name::directory_tag(text);
        let fits =
            (1..=self.longest()).contains(&characters) && !text.chars().any(char::is_control);
        let exact = match self {
            Self::Country => characters == 2 && tag == Tag::PrintableString,
            Self::SerialNumber => tag == Tag::PrintableString,
            Self::CommonName
            | Self::Organization
            | Self::OrganizationalUnit
            | Self::Locality
            | Self::State => true,
        };
        (fits && exact).then_some(tag)
    }
}

/// What a request is to ask for.
#[derive(Clone, Debug)]
pub struct RequestBuilder {
    /// The subject, most general part first.
    pub subject: Vec<(SubjectPart, String)>,
    /// Names and addresses, where today's clients look for them.
    pub sans: Vec<SubjectAltName>,
    /// What the key is to be used for; `None` leaves it to the CA.
    pub key_usage: Option<KeyUsage>,
    /// What the certificate is to be used for; empty leaves it to the CA.
    pub extended_key_usage: Vec<ObjectIdentifier>,
    /// The CA's challenge password (RFC 2985 section 5.4.1), where it has one.
    pub challenge: Option<Challenge>,
    /// The hash of the request's own signature.
    pub hash: Hash,
}

impl RequestBuilder {
    /// A request for a common name, signed with SHA-256, and nothing else set.
    #[must_use]
    pub fn new(common_name: impl Into<String>) -> Self {
        Self {
            subject: vec![(SubjectPart::CommonName, common_name.into())],
            sans: Vec::new(),
            key_usage: None,
            extended_key_usage: Vec::new(),
            challenge: None,
            hash: Hash::Sha256,
        }
    }

    /// The request, signed by the key it is for.
    ///
    /// # Errors
    /// [`RequestError`] names the part that cannot be encoded.
    pub fn sign(&self, key: &RsaKey) -> Result<CertificationRequest, RequestError> {
        let mut parts = Vec::new();
        for (part, text) in &self.subject {
            let tag = part.tag(text).ok_or_else(|| RequestError::Subject {
                part: *part,
                text: text.clone(),
            })?;
            parts.push((part.oid(), tag, text.as_str()));
        }
        // The challenge is in it in the clear, as it is in the request.
        let info = Zeroizing::new(self.info(&parts, key).map_err(RequestError::Encode)?);
        let signature = key.sign(self.hash, &info)?;
        let algorithm = crate::issue::identifier(key, self.hash)?;
        let encoded = Request {
            info: AnyRef::from_der(&info).map_err(RequestError::Encode)?,
            algorithm: AnyRef::from_der(&algorithm).map_err(RequestError::Encode)?,
            signature: BitString::from_bytes(&signature).map_err(RequestError::Encode)?,
        };
        let encoded = Zeroizing::new(encoded.to_der().map_err(RequestError::Encode)?);
        CertificationRequest::from_der(&encoded)
    }

    fn info(
        &self,
        subject: &[(ObjectIdentifier, Tag, &str)],
        key: &RsaKey,
    ) -> Result<Vec<u8>, der::Error> {
        let mut attributes = Vec::new();
        if let Some(challenge) = &self.challenge {
            let text = challenge.expose();
            let value = Any::new(name::directory_tag(text), text.as_bytes())?.to_der()?;
            attributes.push(attribute(CHALLENGE_PASSWORD, value)?);
        }
        let extensions = self.extensions()?;
        if !extensions.is_empty() {
            attributes.push(attribute(EXTENSION_REQUEST, extensions.to_der()?)?);
        }
        attributes.sort();
        let content = [
            0u8.to_der()?,
            name::encode(subject)?,
            key.spki().to_vec(),
            Any::new(ATTRIBUTES, attributes.concat())?.to_der()?,
        ];
        Any::new(Tag::Sequence, content.concat())?.to_der()
    }

    fn extensions(&self) -> Result<Vec<Extension>, der::Error> {
        let mut extensions = Vec::new();
        if !self.sans.is_empty() {
            extensions.push(extension::subject_alt_names(
                &self.sans,
                self.subject.is_empty(),
            )?);
        }
        if let Some(usage) = self.key_usage {
            extensions.push(extension::key_usage(usage)?);
        }
        if !self.extended_key_usage.is_empty() {
            extensions.push(extension::extended_key_usage(&self.extended_key_usage)?);
        }
        Ok(extensions)
    }
}
