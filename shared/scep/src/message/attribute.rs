//! The signed attributes of a pkiMessage (RFC 8894 section 3.2.1): read leniently, written as the RFC has them. Their meaning is not judged here.

use der::asn1::{Any, GeneralizedTime, ObjectIdentifier, OctetString, UtcTime};
use der::{Encode, Tag, Tagged};
use jiff::{SignedDuration, Timestamp};

use super::{MessageError, PeerNonce};
use crate::algorithm::SignatureAlgorithm;
use crate::ber::{Reader, sequence, tag};
use crate::certificate::name;
use crate::cms::{Attribute, SignedData};

pub(super) const MESSAGE_TYPE: ObjectIdentifier =
    ObjectIdentifier::new_unwrap("2.16.840.1.113733.1.9.2");
pub(super) const PKI_STATUS: ObjectIdentifier =
    ObjectIdentifier::new_unwrap("2.16.840.1.113733.1.9.3");
pub(super) const FAIL_INFO: ObjectIdentifier =
    ObjectIdentifier::new_unwrap("2.16.840.1.113733.1.9.4");
pub(super) const SENDER_NONCE: ObjectIdentifier =
    ObjectIdentifier::new_unwrap("2.16.840.1.113733.1.9.5");
pub(super) const RECIPIENT_NONCE: ObjectIdentifier =
    ObjectIdentifier::new_unwrap("2.16.840.1.113733.1.9.6");
pub(super) const TRANSACTION_ID: ObjectIdentifier =
    ObjectIdentifier::new_unwrap("2.16.840.1.113733.1.9.7");
pub(super) const FAIL_INFO_TEXT: ObjectIdentifier =
    ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.24.1");
pub(super) const SIGNING_TIME: ObjectIdentifier =
    ObjectIdentifier::new_unwrap("1.2.840.113549.1.9.5");
/// RFC 8551 section 2.5.2.
const SMIME_CAPABILITIES: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.9.15");

/// The text of a string of any of ASN.1's types; `None` if it is no string, or none of its type.
pub(crate) fn text_of(value: &Any) -> Option<String> {
    name::string(*value.to_der().ok()?.first()?, value.value())
}

pub(super) fn text(
    signed: &SignedData,
    oid: ObjectIdentifier,
    name: &'static str,
) -> Result<Option<String>, MessageError> {
    single(signed, oid, name)?
        .map(|value| text_of(&value).ok_or(MessageError::Bad(name)))
        .transpose()
}

pub(super) fn nonce(
    signed: &SignedData,
    oid: ObjectIdentifier,
    name: &'static str,
) -> Result<Option<PeerNonce>, MessageError> {
    let Some(value) = single(signed, oid, name)? else {
        return Ok(None);
    };
    if value.tag() != Tag::OctetString {
        return Err(MessageError::Bad(name));
    }
    PeerNonce::parse(value.value())
        .map(Some)
        .ok_or(MessageError::Bad(name))
}

pub(super) fn signing_time(signed: &SignedData) -> Result<Option<Timestamp>, MessageError> {
    let name = "signingTime";
    let Some(value) = single(signed, SIGNING_TIME, name)? else {
        return Ok(None);
    };
    let since_epoch = match value.tag() {
        Tag::UtcTime => value
            .decode_as::<UtcTime>()
            .map(|time| time.to_unix_duration()),
        _ => value
            .decode_as::<GeneralizedTime>()
            .map(|time| time.to_unix_duration()),
    }
    .map_err(|_| MessageError::Bad(name))?;
    SignedDuration::try_from(since_epoch)
        .and_then(Timestamp::from_duration)
        .map(Some)
        .map_err(|_| MessageError::Bad(name))
}

/// Whether the sender says that it knows a signature algorithm. Whatever cannot be read says nothing.
pub(super) fn names(signed: &SignedData, algorithm: SignatureAlgorithm) -> bool {
    let capabilities = signed.attribute(SMIME_CAPABILITIES).ok().flatten();
    let (Some(capabilities), Some(known)) = (capabilities, algorithm.identifier()) else {
        return false;
    };
    let mut entries = Reader::new(capabilities.value());
    while let Ok(entry) = entries.expect(tag::SEQUENCE) {
        if entry.der == known {
            return true;
        }
    }
    false
}

/// SMIMECapabilities with this one entry.
pub(super) fn capability(algorithm: SignatureAlgorithm) -> Attribute {
    Attribute {
        oid: SMIME_CAPABILITIES,
        value_der: sequence(&[&algorithm.identifier().unwrap_or_default()]),
    }
}

pub(super) fn string(oid: ObjectIdentifier, tag: Tag, text: &str) -> Result<Attribute, der::Error> {
    Ok(Attribute {
        oid,
        value_der: Any::new(tag, text.as_bytes())?.to_der()?,
    })
}

pub(super) fn octets(oid: ObjectIdentifier, bytes: &[u8]) -> Result<Attribute, der::Error> {
    Ok(Attribute {
        oid,
        value_der: OctetString::new(bytes)?.to_der()?,
    })
}

fn single(
    signed: &SignedData,
    oid: ObjectIdentifier,
    name: &'static str,
) -> Result<Option<Any>, MessageError> {
    signed.attribute(oid).map_err(|_| MessageError::Bad(name))
}
