//! A parsed X.509 certificate: what SCEP asks of it, and whether another one issued it. Nothing is issued here.

use std::{fmt, sync::Arc};

use der::asn1::ObjectIdentifier;
use jiff::Timestamp;

use self::extensions::Extensions;
pub use self::extensions::{BadName, KeyUsage, SubjectAltName};
use crate::{
    algorithm::{Hash, SignatureAlgorithm},
    ber::{MAX_MESSAGE, Malformed, Reader, tag},
};

mod extensions;
pub(crate) mod name;
pub(crate) mod pem;
#[cfg(test)]
mod tests;
mod time;

/// An X.509 certificate (RFC 5280), kept as the DER it came in. Cloning is cheap.
///
/// What real authorities issue is accepted: serial numbers that are negative, zero or long, times in either encoding with or
/// without seconds, end dates beyond the calendar, names in any string type, extensions this crate has never heard of. The
/// signature is not verified on parsing.
#[derive(Clone)]
pub struct Certificate(Arc<Parts>);

struct Parts {
    der: Vec<u8>,
    tbs: Vec<u8>,
    v1: bool,
    /// Content of the INTEGER as it stands.
    serial: Vec<u8>,
    issuer: Vec<u8>,
    subject: Vec<u8>,
    not_before: Timestamp,
    not_after: Timestamp,
    spki: Vec<u8>,
    extensions: Extensions,
    /// The AlgorithmIdentifiers inside and outside the signed part are the same.
    algorithms_agree: bool,
    algorithm: Vec<u8>,
    signature: Vec<u8>,
}

/// Why an input is no certificate.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadCertificate {
    /// Longer than 1 MiB.
    #[error("the certificate is longer than 1 MiB")]
    TooLong,
    /// The named part is not DER of the expected shape.
    #[error("the certificate's {0} is malformed")]
    Malformed(&'static str),
    /// An extension occurs twice (RFC 5280 section 4.2).
    #[error("the certificate has the extension {0} twice")]
    DuplicateExtension(ObjectIdentifier),
    /// A PEM text without a block `CERTIFICATE`.
    #[error("no PEM block \"CERTIFICATE\"")]
    NoPem,
    /// A PEM block that is not closed, or not base64.
    #[error("a PEM block \"CERTIFICATE\" cannot be decoded")]
    BadPem,
}

/// Longest serial number that is accepted, in octets. RFC 5280 permits 20.
const MAX_SERIAL: usize = 64;

impl Certificate {
    /// Reads one certificate (DER) that is the whole input.
    ///
    /// # Errors
    /// [`BadCertificate`] names the part that is malformed.
    pub fn from_der(der: &[u8]) -> Result<Self, BadCertificate> {
        if der.len() > MAX_MESSAGE {
            return Err(BadCertificate::TooLong);
        }
        let part = |name| move |_: Malformed| BadCertificate::Malformed(name);
        let mut outer = Reader::new(der);
        let mut certificate = outer
            .expect(tag::SEQUENCE)
            .map_err(part("outer structure"))?
            .reader();
        outer.finish().map_err(part("end"))?;
        let tbs = certificate
            .expect(tag::SEQUENCE)
            .map_err(part("signed part"))?;
        let algorithm = certificate
            .expect(tag::SEQUENCE)
            .map_err(part("signature algorithm"))?
            .der;
        let signature = certificate
            .expect(tag::BIT_STRING)
            .and_then(|value| value.bits())
            .map_err(part("signature"))?;
        certificate.finish().map_err(part("end"))?;

        let mut fields = tbs.reader();
        let v1 = match fields.optional(tag::context(0)).map_err(part("version"))? {
            None => true,
            Some(version) => match version.reader().small_integer().map_err(part("version"))? {
                0 => true,
                1 | 2 => false,
                _ => return Err(BadCertificate::Malformed("version")),
            },
        };
        let serial = fields
            .expect(tag::INTEGER)
            .map_err(part("serial number"))?
            .content;
        if serial.is_empty() || serial.len() > MAX_SERIAL {
            return Err(BadCertificate::Malformed("serial number"));
        }
        let inner_algorithm = fields
            .expect(tag::SEQUENCE)
            .map_err(part("signature algorithm"))?
            .der;
        let issuer = fields.expect(tag::SEQUENCE).map_err(part("issuer"))?.der;
        let mut validity = fields
            .expect(tag::SEQUENCE)
            .map_err(part("validity"))?
            .reader();
        let not_before = time::read(&mut validity).map_err(part("start of validity"))?;
        let not_after = time::read(&mut validity).map_err(part("end of validity"))?;
        validity.finish().map_err(part("validity"))?;
        let subject = fields.expect(tag::SEQUENCE).map_err(part("subject"))?.der;
        let spki = fields
            .expect(tag::SEQUENCE)
            .map_err(part("public key"))?
            .der;
        for unique_id in [1, 2] {
            fields
                .optional(tag::context_primitive(unique_id))
                .map_err(part("unique identifier"))?;
        }
        let extensions = match fields
            .optional(tag::context(3))
            .map_err(part("extensions"))?
        {
            None => Extensions::default(),
            Some(field) => Extensions::parse(field.reader())?,
        };
        fields.finish().map_err(part("signed part"))?;
        name::check(issuer).map_err(part("issuer"))?;
        name::check(subject).map_err(part("subject"))?;
        Ok(Self(Arc::new(Parts {
            der: der.to_vec(),
            tbs: tbs.der.to_vec(),
            v1,
            serial: serial.to_vec(),
            issuer: issuer.to_vec(),
            subject: subject.to_vec(),
            not_before,
            not_after,
            spki: spki.to_vec(),
            extensions,
            algorithms_agree: inner_algorithm == algorithm,
            algorithm: algorithm.to_vec(),
            signature: signature.to_vec(),
        })))
    }

    /// Reads every block `CERTIFICATE` of a PEM text, at least one, in the order in which they stand. Text between blocks
    /// and blocks of other kinds are passed over.
    ///
    /// # Errors
    /// [`BadCertificate::NoPem`], [`BadCertificate::BadPem`], or as [`Self::from_der`].
    pub fn from_pem_chain(text: &str) -> Result<Vec<Self>, BadCertificate> {
        let chain = pem::blocks(text, &["CERTIFICATE", "X509 CERTIFICATE"])
            .map(|block| Self::from_der(&block.map_err(|_| BadCertificate::BadPem)?))
            .collect::<Result<Vec<_>, _>>()?;
        if chain.is_empty() {
            Err(BadCertificate::NoPem)
        } else {
            Ok(chain)
        }
    }

    /// The certificate as it came in (DER).
    #[must_use]
    pub fn to_der(&self) -> &[u8] {
        &self.0.der
    }

    /// The certificate as one PEM block `CERTIFICATE` (RFC 7468 section 5).
    #[must_use]
    pub fn to_pem(&self) -> String {
        pem::encode("CERTIFICATE", self.to_der()).to_string()
    }

    /// The subject, a Name (DER).
    #[must_use]
    pub fn subject(&self) -> &[u8] {
        &self.0.subject
    }

    /// The issuer, a Name (DER).
    #[must_use]
    pub fn issuer(&self) -> &[u8] {
        &self.0.issuer
    }

    /// The subject as text (RFC 4514), most specific part first. Control characters are escaped.
    #[must_use]
    pub fn subject_text(&self) -> String {
        name::text(self.subject())
    }

    /// The issuer as text (RFC 4514), most specific part first. Control characters are escaped.
    #[must_use]
    pub fn issuer_text(&self) -> String {
        name::text(self.issuer())
    }

    /// The serial number, big-endian, without leading zeros; zero is one octet. The two's complement of a negative one.
    #[must_use]
    pub fn serial(&self) -> &[u8] {
        magnitude(&self.0.serial)
    }

    /// [`Self::serial`] in upper-case hexadecimal, two digits an octet.
    #[must_use]
    pub fn serial_hex(&self) -> String {
        hex::encode_upper(self.serial())
    }

    /// The serial number as the content of the INTEGER in the certificate, sign octet included.
    #[must_use]
    pub fn serial_integer(&self) -> &[u8] {
        &self.0.serial
    }

    /// The SubjectPublicKeyInfo (DER).
    #[must_use]
    pub fn spki(&self) -> &[u8] {
        &self.0.spki
    }

    /// The first moment of validity.
    #[must_use]
    pub fn not_before(&self) -> Timestamp {
        self.0.not_before
    }

    /// The last moment of validity. Dates beyond the range of [`Timestamp`], like the customary end of the year 9999, are its
    /// maximum.
    #[must_use]
    pub fn not_after(&self) -> Timestamp {
        self.0.not_after
    }

    /// Whether `now` lies within the validity, both ends included.
    #[must_use]
    pub fn is_valid_at(&self, now: Timestamp) -> bool {
        (self.not_before()..=self.not_after()).contains(&now)
    }

    /// SHA-256 of the DER.
    #[must_use]
    pub fn fingerprint(&self) -> [u8; 32] {
        let digest = Hash::Sha256.digest(self.to_der()).unwrap_or_default();
        digest.try_into().unwrap_or_default()
    }

    /// The key usage extension (RFC 5280 section 4.2.1.3); `None` where there is none.
    #[must_use]
    pub fn key_usage(&self) -> Option<KeyUsage> {
        self.0.extensions.key_usage
    }

    /// The purposes in the extended key usage extension (RFC 5280 section 4.2.1.12); empty where there is none.
    #[must_use]
    pub fn extended_key_usage(&self) -> Vec<ObjectIdentifier> {
        self.0.extensions.extended_key_usage.clone()
    }

    /// Whether the basic constraints say `cA TRUE` (RFC 5280 section 4.2.1.9).
    #[must_use]
    pub fn is_ca(&self) -> bool {
        self.0.extensions.is_ca
    }

    /// DNS names, addresses and URIs of the subject alternative name extension (RFC 5280 section 4.2.1.6), in order. Names
    /// of other kinds are left out.
    #[must_use]
    pub fn sans(&self) -> Vec<SubjectAltName> {
        self.0.extensions.sans.clone()
    }

    /// The subject key identifier (RFC 5280 section 4.2.1.2); `None` where there is none.
    #[must_use]
    pub fn subject_key_id(&self) -> Option<&[u8]> {
        self.0.extensions.subject_key_id.as_deref()
    }

    /// Whether subject and issuer are the same and the certificate's own key verifies its signature.
    #[must_use]
    pub fn is_self_signed(&self) -> bool {
        name::same(self.subject(), self.issuer()) && self.is_signed_with(self.spki())
    }

    /// Whether `ca` issued this certificate: its name is the issuer, its key verifies the signature, and it may sign
    /// certificates, which means `cA TRUE`, or a version 1 certificate that is self-signed, and a key usage, if there is any,
    /// that has keyCertSign. Validity in time and revocation are not looked at.
    #[must_use]
    pub fn is_issued_by(&self, ca: &Self) -> bool {
        name::same(self.issuer(), ca.subject())
            && ca.key_usage().is_none_or(|usage| usage.key_cert_sign)
            && (ca.is_ca() || (ca.0.v1 && ca.is_self_signed()))
            && self.is_signed_with(ca.spki())
    }

    fn is_signed_with(&self, spki: &[u8]) -> bool {
        self.0.algorithms_agree
            && SignatureAlgorithm::from_der(&self.0.algorithm).is_ok_and(|algorithm| {
                algorithm
                    .verify(spki, &self.0.tbs, &self.0.signature)
                    .is_ok()
            })
    }
}

/// An INTEGER's content without leading zeros; zero is one octet.
pub(crate) fn magnitude(integer: &[u8]) -> &[u8] {
    let last = integer.len().saturating_sub(1);
    let start = integer.iter().position(|octet| *octet != 0).unwrap_or(last);
    integer.get(start..).unwrap_or_default()
}

impl PartialEq for Certificate {
    fn eq(&self, other: &Self) -> bool {
        self.0.der == other.0.der
    }
}

impl Eq for Certificate {}

impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Certificate")
            .field("subject", &self.subject_text())
            .field("issuer", &self.issuer_text())
            .field("serial", &self.serial_hex())
            .finish_non_exhaustive()
    }
}
