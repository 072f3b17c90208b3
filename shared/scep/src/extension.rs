//! The X.509 extensions (RFC 5280 section 4.2) that requests ask for and certificates carry: one encoding for both. No policy.

use core::net::IpAddr;

use der::asn1::{Any, Ia5StringRef, ObjectIdentifier, OctetString};
use der::flagset::FlagSet;
use der::{Decode, Encode, Tag, TagNumber};
use x509_cert::ext::Extension;
use x509_cert::ext::pkix::{ExtendedKeyUsage, KeyUsage as Bits, KeyUsages};

use crate::certificate::{KeyUsage, SubjectAltName};

pub(crate) const SUBJECT_KEY_ID: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.14");
pub(crate) const KEY_USAGE: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.15");
pub(crate) const SUBJECT_ALT_NAME: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.17");
pub(crate) const BASIC_CONSTRAINTS: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.19");
pub(crate) const CRL_NUMBER: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.20");
pub(crate) const REASON_CODE: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.21");
pub(crate) const CRL_DISTRIBUTION_POINTS: ObjectIdentifier =
    ObjectIdentifier::new_unwrap("2.5.29.31");
pub(crate) const AUTHORITY_KEY_ID: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.35");
pub(crate) const EXTENDED_KEY_USAGE: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.37");

const DNS_NAME: u32 = 2;
const URI: u32 = 6;
const IP_ADDRESS: u32 = 7;

/// An extension of that value.
pub(crate) fn extension(
    oid: ObjectIdentifier,
    critical: bool,
    value: Vec<u8>,
) -> Result<Extension, der::Error> {
    Ok(Extension {
        extn_id: oid,
        critical,
        extn_value: OctetString::new(value)?,
    })
}

/// subjectAltName; critical where the subject is empty (RFC 5280 section 4.2.1.6).
pub(crate) fn subject_alt_names(
    names: &[SubjectAltName],
    critical: bool,
) -> Result<Extension, der::Error> {
    let mut content = Vec::new();
    for name in names {
        content.extend(general_name(name)?);
    }
    extension(
        SUBJECT_ALT_NAME,
        critical,
        Any::new(Tag::Sequence, content)?.to_der()?,
    )
}

/// keyUsage, critical.
pub(crate) fn key_usage(usage: KeyUsage) -> Result<Extension, der::Error> {
    let bits = [
        (usage.digital_signature, KeyUsages::DigitalSignature),
        (usage.non_repudiation, KeyUsages::NonRepudiation),
        (usage.key_encipherment, KeyUsages::KeyEncipherment),
        (usage.data_encipherment, KeyUsages::DataEncipherment),
        (usage.key_agreement, KeyUsages::KeyAgreement),
        (usage.key_cert_sign, KeyUsages::KeyCertSign),
        (usage.crl_sign, KeyUsages::CRLSign),
        (usage.encipher_only, KeyUsages::EncipherOnly),
        (usage.decipher_only, KeyUsages::DecipherOnly),
    ];
    let set = bits.into_iter().filter(|(set, _)| *set).fold(
        FlagSet::<KeyUsages>::default(),
        |mut all, (_, bit)| {
            all |= bit;
            all
        },
    );
    extension(KEY_USAGE, true, Bits(set).to_der()?)
}

/// extKeyUsage, not critical.
pub(crate) fn extended_key_usage(purposes: &[ObjectIdentifier]) -> Result<Extension, der::Error> {
    extension(
        EXTENDED_KEY_USAGE,
        false,
        ExtendedKeyUsage(purposes.to_vec()).to_der()?,
    )
}

/// cRLDistributionPoints with one URL.
pub(crate) fn crl_distribution_point(url: &str) -> Result<Extension, der::Error> {
    let names = general_name(&SubjectAltName::Uri(url.to_owned()))?;
    let full_name = Any::new(context(0, true), names)?.to_der()?;
    let point_name = Any::new(context(0, true), full_name)?.to_der()?;
    let point = Any::new(Tag::Sequence, point_name)?.to_der()?;
    extension(
        CRL_DISTRIBUTION_POINTS,
        false,
        Any::new(Tag::Sequence, point)?.to_der()?,
    )
}

/// The purposes that a request asks for.
pub(crate) fn read_extended_key_usage(value: &[u8]) -> Result<Vec<ObjectIdentifier>, der::Error> {
    Ok(ExtendedKeyUsage::from_der(value)?.0)
}

fn general_name(name: &SubjectAltName) -> Result<Vec<u8>, der::Error> {
    let (number, bytes) = match name {
        SubjectAltName::Dns(text) => (
            DNS_NAME,
            Ia5StringRef::new(text)?.as_str().as_bytes().to_vec(),
        ),
        SubjectAltName::Uri(text) => (URI, Ia5StringRef::new(text)?.as_str().as_bytes().to_vec()),
        SubjectAltName::Ip(IpAddr::V4(address)) => (IP_ADDRESS, address.octets().to_vec()),
        SubjectAltName::Ip(IpAddr::V6(address)) => (IP_ADDRESS, address.octets().to_vec()),
    };
    Any::new(context(number, false), bytes)?.to_der()
}

fn context(number: u32, constructed: bool) -> Tag {
    Tag::ContextSpecific {
        constructed,
        number: TagNumber(number),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_come_back_as_they_went_in() {
        let names = [
            SubjectAltName::Dns("p1.example.org".to_owned()),
            SubjectAltName::Ip("192.0.2.7".parse().unwrap()),
            SubjectAltName::Ip("2001:db8::7".parse().unwrap()),
            SubjectAltName::Uri("ipps://p1.example.org/".to_owned()),
        ];
        let encoded = subject_alt_names(&names, true).unwrap();
        assert!(encoded.critical);
        assert_eq!(
            SubjectAltName::list_from_der(encoded.extn_value.as_bytes()).unwrap(),
            names
        );
    }

    #[test]
    fn a_name_that_is_no_ascii_is_refused() {
        assert!(subject_alt_names(&[SubjectAltName::Dns("zürich".to_owned())], false).is_err());
        assert!(crl_distribution_point("http://zürich/").is_err());
    }

    #[test]
    fn usages_come_back_as_they_went_in() {
        let usage = KeyUsage {
            digital_signature: true,
            key_cert_sign: true,
            ..KeyUsage::default()
        };
        let encoded = key_usage(usage).unwrap();
        assert_eq!(
            KeyUsage::from_der(encoded.extn_value.as_bytes()).unwrap(),
            usage
        );
        let purposes = [ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.3.1")];
        let encoded = extended_key_usage(&purposes).unwrap();
        assert_eq!(
            read_extended_key_usage(encoded.extn_value.as_bytes()).unwrap(),
            purposes
        );
    }
}
