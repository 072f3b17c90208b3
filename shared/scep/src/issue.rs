//! What a CA makes: certificates and revocation lists (RFC 5280). Who gets one, and which serial numbers are free, is decided elsewhere.

use der::Encode;
use der::asn1::{ObjectIdentifier, OctetString, Uint};
use jiff::Timestamp;
use thiserror::Error;
use x509_cert::ext::Extension;
use x509_cert::ext::pkix::{AuthorityKeyIdentifier, BasicConstraints, SubjectKeyIdentifier};

use crate::algorithm::Hash;
use crate::certificate::{BadCertificate, Certificate, KeyUsage, SubjectAltName};
use crate::key::KeyError;
use crate::{extension, name};

mod authority;
mod public_key;
mod revocation;
mod structure;

pub use authority::Authority;
pub use revocation::{CrlReason, Revoked};
pub(crate) use structure::{Template, identifier};

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
    /// The RA's certificate is not by this CA, or its key is not the one in it.
    #[error("the RA's certificate is not by this CA, or of another key")]
    OtherRa,
    /// The authority's certificate is no CA's.
    #[error("the certificate is not a CA's")]
    NoAuthority,
    /// A structure could not be encoded.
    #[error("the certificate or list cannot be encoded")]
    Encode(#[from] der::Error),
    /// The key could not sign.
    #[error("the certificate or list could not be signed")]
    Key(#[from] KeyError),
    /// What was made cannot be read back.
    #[error("the certificate that was made cannot be read")]
    Unreadable(#[from] BadCertificate),
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
    /// A certificate by this CA, signed with SHA-256, with key identifiers and `CA:FALSE`.
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
            authority_key_id(&self.certificate)?,
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
        .sign(self.issuing_key(), Hash::Sha256)
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
            authority_key_id(&self.certificate)?,
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
        .sign(self.issuing_key(), Hash::Sha256)
    }
}

/// The CA certificate's own key identifier, which another program may have chosen, or the one made here.
fn authority_key_id(ca: &Certificate) -> Result<Extension, IssueError> {
    let stored = ca.subject_key_id().map(<[u8]>::to_vec);
    let identifier = OctetString::new(stored.unwrap_or_else(|| key_id(ca.spki())))?;
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
