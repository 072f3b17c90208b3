//! The extensions of a certificate or a request that SCEP asks about. Others are counted, and not looked at.

use std::{collections::BTreeSet, fmt, net::IpAddr, str::FromStr};

use der::asn1::ObjectIdentifier;
use thiserror::Error;

use super::BadCertificate;
use crate::ber::{Malformed, Reader, tag};

/// What the key may be used for (RFC 5280 section 4.2.1.3).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KeyUsage {
    /// Bit 0: signatures other than on certificates and revocation lists.
    pub digital_signature: bool,
    /// Bit 1: nonRepudiation, now called contentCommitment.
    pub non_repudiation: bool,
    /// Bit 2: key transport, what a SCEP message is encrypted by.
    pub key_encipherment: bool,
    /// Bit 3.
    pub data_encipherment: bool,
    /// Bit 4.
    pub key_agreement: bool,
    /// Bit 5: signatures on certificates.
    pub key_cert_sign: bool,
    /// Bit 6: signatures on revocation lists.
    pub crl_sign: bool,
    /// Bit 7.
    pub encipher_only: bool,
    /// Bit 8.
    pub decipher_only: bool,
}

impl KeyUsage {
    /// Reads the extension's value, a BIT STRING (DER).
    pub(crate) fn from_der(der: &[u8]) -> Result<Self, Malformed> {
        let mut outer = Reader::new(der);
        let content = outer.expect(tag::BIT_STRING)?.content;
        outer.finish()?;
        let (unused, octets) = content.split_first().ok_or(Malformed)?;
        if *unused > 7 || (*unused > 0 && octets.is_empty()) {
            return Err(Malformed);
        }
        let bit = |number: usize| {
            octets
                .get(number / 8)
                .is_some_and(|octet| octet & (0x80 >> (number % 8)) != 0)
        };
        Ok(Self {
            digital_signature: bit(0),
            non_repudiation: bit(1),
            key_encipherment: bit(2),
            data_encipherment: bit(3),
            key_agreement: bit(4),
            key_cert_sign: bit(5),
            crl_sign: bit(6),
            encipher_only: bit(7),
            decipher_only: bit(8),
        })
    }
}

/// A name in the subject alternative name extension (RFC 5280 section 4.2.1.6).
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum SubjectAltName {
    /// A DNS name, as it stands.
    Dns(String),
    /// An IPv4 or IPv6 address.
    Ip(IpAddr),
    /// A uniform resource identifier, as it stands.
    Uri(String),
}

/// `dns:…`, `ip:…` or `uri:…`.
impl fmt::Display for SubjectAltName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dns(dns) => write!(f, "dns:{dns}"),
            Self::Ip(ip) => write!(f, "ip:{ip}"),
            Self::Uri(uri) => write!(f, "uri:{uri}"),
        }
    }
}

/// A text that is no name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("a name is written dns:NAME, ip:ADDRESS or uri:URI")]
pub struct BadName;

impl FromStr for SubjectAltName {
    type Err = BadName;

    fn from_str(text: &str) -> Result<Self, BadName> {
        let (kind, value) = text.split_once(':').ok_or(BadName)?;
        match kind {
            "dns" => Ok(Self::Dns(value.to_owned())),
            "ip" => value.parse().map(Self::Ip).map_err(|_| BadName),
            "uri" => Ok(Self::Uri(value.to_owned())),
            _ => Err(BadName),
        }
    }
}

impl SubjectAltName {
    /// Reads the extension's value, GeneralNames (DER). Other kinds of names, and addresses of odd lengths, are left out.
    pub(crate) fn list_from_der(der: &[u8]) -> Result<Vec<Self>, Malformed> {
        let mut outer = Reader::new(der);
        let mut names = outer.expect(tag::SEQUENCE)?.reader();
        outer.finish()?;
        let mut found = Vec::new();
        while !names.is_empty() {
            let name = names.value()?;
            let text = || {
                str::from_utf8(name.content)
                    .ok()
                    .filter(|text| text.is_ascii())
                    .map(str::to_owned)
            };
            const DNS: u8 = tag::context_primitive(2);
            const URI: u8 = tag::context_primitive(6);
            const IP: u8 = tag::context_primitive(7);
            found.extend(match name.tag {
                DNS => text().map(Self::Dns),
                URI => text().map(Self::Uri),
                IP => address(name.content).map(Self::Ip),
                _ => None,
            });
        }
        Ok(found)
    }
}

fn address(octets: &[u8]) -> Option<IpAddr> {
    <[u8; 4]>::try_from(octets)
        .map(IpAddr::from)
        .or_else(|_| <[u8; 16]>::try_from(octets).map(IpAddr::from))
        .ok()
}

/// What the known extensions say.
#[derive(Default)]
pub(crate) struct Extensions {
    pub(crate) key_usage: Option<KeyUsage>,
    pub(crate) extended_key_usage: Vec<ObjectIdentifier>,
    pub(crate) is_ca: bool,
    pub(crate) sans: Vec<SubjectAltName>,
    pub(crate) subject_key_id: Option<Vec<u8>>,
}

const SUBJECT_KEY_ID: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.14");
const KEY_USAGE: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.15");
const SUBJECT_ALT_NAME: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.17");
const BASIC_CONSTRAINTS: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.19");
const EXTENDED_KEY_USAGE: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.37");

impl Extensions {
    /// Reads the SEQUENCE OF Extension (RFC 5280 section 4.2) that is all of `field`.
    pub(crate) fn parse(mut field: Reader<'_>) -> Result<Self, BadCertificate> {
        let part = |name| move |_: Malformed| BadCertificate::Malformed(name);
        let mut list = field
            .expect(tag::SEQUENCE)
            .map_err(part("extensions"))?
            .reader();
        field.finish().map_err(part("extensions"))?;
        let mut seen = BTreeSet::new();
        let mut found = Self::default();
        while !list.is_empty() {
            let (identifier, value) = extension(&mut list).map_err(part("extensions"))?;
            if !seen.insert(identifier) {
                return Err(BadCertificate::DuplicateExtension(identifier));
            }
            match identifier {
                SUBJECT_KEY_ID => {
                    let value = Reader::new(value).expect(tag::OCTET_STRING);
                    found.subject_key_id = Some(
                        value
                            .map_err(part("subject key identifier"))?
                            .content
                            .to_vec(),
                    );
                }
                KEY_USAGE => {
                    found.key_usage = Some(KeyUsage::from_der(value).map_err(part("key usage"))?)
                }
                SUBJECT_ALT_NAME => {
                    found.sans = SubjectAltName::list_from_der(value)
                        .map_err(part("subject alternative name"))?;
                }
                BASIC_CONSTRAINTS => {
                    found.is_ca = basic_constraints(value).map_err(part("basic constraints"))?
                }
                EXTENDED_KEY_USAGE => {
                    found.extended_key_usage =
                        purposes(value).map_err(part("extended key usage"))?;
                }
                _ => {}
            }
        }
        Ok(found)
    }
}

/// Identifier and value of the next extension.
fn extension<'a>(list: &mut Reader<'a>) -> Result<(ObjectIdentifier, &'a [u8]), Malformed> {
    let mut fields = list.expect(tag::SEQUENCE)?.reader();
    let identifier = fields.oid()?;
    fields.optional(tag::BOOLEAN)?;
    let value = fields.expect(tag::OCTET_STRING)?.content;
    fields.finish()?;
    Ok((identifier, value))
}

fn basic_constraints(der: &[u8]) -> Result<bool, Malformed> {
    let mut fields = Reader::new(der).expect(tag::SEQUENCE)?.reader();
    match fields.optional(tag::BOOLEAN)?.map(|value| value.content) {
        None | Some([0]) => Ok(false),
        Some([_]) => Ok(true),
        Some(_) => Err(Malformed),
    }
}

/// The purposes in an extended key usage extension's value (DER).
pub(crate) fn purposes(der: &[u8]) -> Result<Vec<ObjectIdentifier>, Malformed> {
    let mut list = Reader::new(der).expect(tag::SEQUENCE)?.reader();
    let mut found = Vec::new();
    while !list.is_empty() {
        found.push(list.oid()?);
    }
    Ok(found)
}
