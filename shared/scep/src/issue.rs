//! What a CA makes: certificates and revocation lists (RFC 5280). Who gets one, and which serial numbers are free, is decided elsewhere.

use der::Encode;
use der::asn1::{ObjectIdentifier, OctetString, Uint};
use jiff::Timestamp;
use thiserror::Error;
use x509_cert::ext::Extension;
use x509_cert::ext::pkix::{AuthorityKeyIdentifier, BasicConstraints, SubjectKeyIdentifier};

use crate::algorithm::Hash;
use crate::certificate::{BadCertificate, Certificate, KeyUsage, SubjectAltName};
use crate::key::{KeyError, RsaKey};
use crate::{extension, name};

mod public_key;
mod revocation;
mod structure;

pub use revocation::{CrlReason, Revoked};
pub(crate) use structure::{Template, pkcs1_identifier};

/// The longest serial number, in bytes (RFC 5280 section 4.1.2.2).
pub const MAX_SERIAL: usize = 20;

/// Why a certificate or a revocation list was not made.
#[derive(Debug, Error)]
pub enum IssueError {
    /// A serial number is a positive integer of at most 20 bytes.
    #[error("the serial number is zero, negative or longer than {MAX_SERIAL} bytes")]
    Serial,
    /// The certificate would expire before it begins.
    #[error("the certificate would expire before it becomes valid")]
    Validity,
    /// A date is before 1970 or after 9999.
    #[error("{0} is no date that a certificate can have")]
    Date(Timestamp),
    /// The public key is of a kind or length that is not certified here.
    #[error(
        "the public key is neither RSA of 2048 to 4096 bits nor on the curve P-256, P-384 or P-521"
    )]
    PublicKey,
    /// A name is empty, or does not fit its field.
    #[error("the subject and the alternative names are empty")]
    Nameless,
    /// The authority's key is not the one in its certificate.
    #[error("the key is not the one of the CA's certificate")]
    OtherKey,
    /// The authority's certificate is no CA's.
    #[error("the certificate is not a CA's")]
    NoAuthority,
    /// A structure could not be encoded.
    #[error("the certificate or list cannot be encoded")]
    Encode(#[from] der::Error),
    /// The key could not sign.
    #[error("the certificate or list could not be signed")]
    Key(#[from] KeyError),
    /// MD5.
    #[error("{0} is not signed with")]
    Hash(Hash),
    /// What was made cannot be read back.
    #[error("the certificate that was made cannot be read")]
    Unreadable(#[from] BadCertificate),
}

/// A CA: its certificate and the key to it.
#[derive(Debug)]
pub struct Authority {
    /// The CA's certificate.
    pub certificate: Certificate,
    /// The key to it.
    pub key: RsaKey,
}

/// A certificate to be issued.
#[derive(Clone, Debug)]
pub struct Leaf<'a> {
    /// The subject, a Name in DER. It may be empty where there are alternative names.
    pub subject: &'a [u8],
    /// The public key, a SubjectPublicKeyInfo in DER.
    pub spki: &'a [u8],
    /// Names and addresses.
    pub sans: &'a [SubjectAltName],
    /// What the key is to be used for; [`Leaf::usual_key_usage`] fits TLS, IPsec and SCEP.
    pub key_usage: KeyUsage,
    /// What the certificate is to be used for; empty leaves the extension out.
    pub extended_key_usage: &'a [ObjectIdentifier],
    /// The serial number, big-endian, positive, at most 20 bytes.
    pub serial: &'a [u8],
    /// When it becomes valid.
    pub not_before: Timestamp,
    /// When it expires.
    pub not_after: Timestamp,
    /// Where the revocation list is, if somewhere.
    pub crl_url: Option<&'a str>,
}

impl Leaf<'_> {
    /// digitalSignature and keyEncipherment: what TLS, IPsec and the next renewal need of an RSA key.
    #[must_use]
    pub fn usual_key_usage() -> KeyUsage {
        KeyUsage {
            digital_signature: true,
            key_encipherment: true,
            ..KeyUsage::default()
        }
    }
}

impl Authority {
    /// An authority out of what was stored.
    ///
    /// # Errors
    /// The key is another one's, or the certificate is no CA's.
    pub fn new(certificate: Certificate, key: RsaKey) -> Result<Self, IssueError> {
        if certificate.spki() != key.spki() {
            return Err(IssueError::OtherKey);
        }
        if !certificate.is_ca() {
            return Err(IssueError::NoAuthority);
        }
        Ok(Self { certificate, key })
    }

    /// A new CA, signed by its own key: it may sign leaves and lists, sign and decrypt SCEP messages, and has no CA below it.
    ///
    /// # Errors
    /// [`IssueError`] names the argument that cannot be used.
    pub fn self_signed(
        common_name: &str,
        organization: Option<&str>,
        key: RsaKey,
        serial: &[u8],
        not_before: Timestamp,
        not_after: Timestamp,
    ) -> Result<Self, IssueError> {
        if common_name.is_empty() {
            return Err(IssueError::Nameless);
        }
        let organization =
            organization.map(|text| (name::ORGANIZATION, name::directory_tag(text), text));
        let parts: Vec<_> = organization
            .into_iter()
            .chain([(
                name::COMMON_NAME,
                name::directory_tag(common_name),
                common_name,
            )])
            .collect();
        let subject = name::encode(&parts)?;
        let usage = KeyUsage {
            key_cert_sign: true,
            crl_sign: true,
            ..Leaf::usual_key_usage()
        };
        let constraints = BasicConstraints {
            ca: true,
            path_len_constraint: Some(0),
        };
        let certificate = Template {
            serial,
            issuer: &subject,
            not_before,
            not_after,
            subject: &subject,
            spki: key.spki(),
            extensions: vec![
                extension::extension(extension::BASIC_CONSTRAINTS, true, constraints.to_der()?)?,
                extension::key_usage(usage)?,
                subject_key_id(key.spki())?,
            ],
        }
        .sign(&key, Hash::Sha256)?;
        Ok(Self { certificate, key })
    }

    /// A certificate by this CA, signed with SHA-256 and RSA, with key identifiers and `CA:FALSE`.
    ///
    /// # Errors
    /// [`IssueError`] names the part that cannot be used.
    pub fn issue(&self, leaf: &Leaf<'_>) -> Result<Certificate, IssueError> {
        if !public_key::is_certified(leaf.spki) {
            return Err(IssueError::PublicKey);
        }
        let nameless = leaf.subject == name::EMPTY;
        if nameless && leaf.sans.is_empty() {
            return Err(IssueError::Nameless);
        }
        let constraints = BasicConstraints {
            ca: false,
            path_len_constraint: None,
        };
        let mut extensions = vec![
            extension::extension(extension::BASIC_CONSTRAINTS, true, constraints.to_der()?)?,
            extension::key_usage(leaf.key_usage)?,
            subject_key_id(leaf.spki)?,
            self.authority_key_id()?,
        ];
        if !leaf.extended_key_usage.is_empty() {
            extensions.push(extension::extended_key_usage(leaf.extended_key_usage)?);
        }
        if !leaf.sans.is_empty() {
            extensions.push(extension::subject_alt_names(leaf.sans, nameless)?);
        }
        if let Some(url) = leaf.crl_url {
            extensions.push(extension::crl_distribution_point(url)?);
        }
        Template {
            serial: leaf.serial,
            issuer: self.certificate.subject(),
            not_before: leaf.not_before,
            not_after: leaf.not_after,
            subject: leaf.subject,
            spki: leaf.spki,
            extensions,
        }
        .sign(&self.key, Hash::Sha256)
    }

    /// A revocation list of version 2, in DER (RFC 5280 section 5).
    ///
    /// # Errors
    /// [`IssueError`] names the part that cannot be used.
    pub fn crl<'r>(
        &self,
        revoked: impl IntoIterator<Item = Revoked<'r>>,
        number: u64,
        this_update: Timestamp,
        next_update: Timestamp,
    ) -> Result<Vec<u8>, IssueError> {
        if next_update <= this_update {
            return Err(IssueError::Validity);
        }
        let number = Uint::new(&number.to_be_bytes())?.to_der()?;
        let extensions = vec![
            self.authority_key_id()?,
            extension::extension(extension::CRL_NUMBER, false, number)?,
        ];
        structure::List {
            issuer: self.certificate.subject(),
            this_update,
            next_update,
            revoked: revoked
                .into_iter()
                .map(|entry| entry.encode())
                .collect::<Result<_, _>>()?,
            extensions,
        }
        .sign(&self.key, Hash::Sha256)
    }

    /// The CA certificate's own key identifier, which another program may have chosen, or the one made here.
    fn authority_key_id(&self) -> Result<Extension, IssueError> {
        let stored = self.certificate.subject_key_id().map(<[u8]>::to_vec);
        let identifier =
            OctetString::new(stored.unwrap_or_else(|| key_id(self.certificate.spki())))?;
        let value = AuthorityKeyIdentifier {
            key_identifier: Some(identifier),
            ..AuthorityKeyIdentifier::default()
        };
        Ok(extension::extension(
            extension::AUTHORITY_KEY_ID,
            false,
            value.to_der()?,
        )?)
    }
}

fn subject_key_id(spki: &[u8]) -> Result<Extension, der::Error> {
    let value = SubjectKeyIdentifier(OctetString::new(key_id(spki))?).to_der()?;
    extension::extension(extension::SUBJECT_KEY_ID, false, value)
}

/// The key identifier of RFC 7093 section 2, method 4: SHA-256 of the SubjectPublicKeyInfo; its first 160 bits, as long as those of
/// RFC 5280 that every program has room for.
fn key_id(spki: &[u8]) -> Vec<u8> {
    Hash::Sha256
        .digest(spki)
        .unwrap_or_default()
        .into_iter()
        .take(20)
        .collect()
}

#[cfg(test)]
mod tests;
