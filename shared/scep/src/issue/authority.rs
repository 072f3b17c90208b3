//! A CA with its keys: one RSA key for everything, or an ECDSA key that issues beside an RSA key for messages. What it issues is said elsewhere.

use der::Encode;
use der::asn1::ObjectIdentifier;
use jiff::Timestamp;
use x509_cert::ext::Extension;
use x509_cert::ext::pkix::BasicConstraints;

use super::structure::Template;
use super::{IssueError, Leaf, subject_key_id};
use crate::algorithm::Hash;
use crate::certificate::{Certificate, KeyUsage};
use crate::key::{EcdsaKey, RsaKey, SigningKey};
use crate::{extension, name};

/// id-kp-cmcRA (RFC 6402 section 2.10): the certificate is the RA's, which no device's is.
const CMC_RA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.3.28");

/// A CA: its certificate, the key to it, and the key for messages if that is another.
#[derive(Debug)]
pub struct Authority {
    /// The CA's certificate.
    pub certificate: Certificate,
    keys: Keys,
}

/// SCEP's content keys are transported by RSA (RFC 8894 section 3.1), and most clients verify messages by RSA only, so that there is an RSA key in
/// each.
#[derive(Debug)]
enum Keys {
    Rsa(RsaKey),
    Ecdsa {
        issuing: EcdsaKey,
        ra: Certificate,
        messages: RsaKey,
    },
}

impl Authority {
    /// An authority out of what was stored: its one key signs and decrypts.
    ///
    /// # Errors
    /// The key is another one's, or the certificate is no CA's.
    pub fn new(certificate: Certificate, key: RsaKey) -> Result<Self, IssueError> {
        certifies(&certificate, &key)?;
        let keys = Keys::Rsa(key);
        Ok(Self { certificate, keys })
    }

    /// An authority out of what was stored: `issuing` is the CA's key, and `messages` that of its RA.
    ///
    /// # Errors
    /// A key is another one's, the certificate is no CA's, or the RA's is by another one.
    pub fn with_ra(
        certificate: Certificate,
        issuing: EcdsaKey,
        ra: Certificate,
        messages: RsaKey,
    ) -> Result<Self, IssueError> {
        certifies(&certificate, &issuing)?;
        if ra.spki() != messages.spki() || !ra.is_issued_by(&certificate) {
            return Err(IssueError::OtherRa);
        }
        let keys = Keys::Ecdsa {
            issuing,
            ra,
            messages,
        };
        Ok(Self { certificate, keys })
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
        let subject = subject(common_name, organization)?;
        let usage = Leaf::usual_key_usage();
        let certificate = own(&subject, &key, usage, serial, not_before, not_after)?;
        let keys = Keys::Rsa(key);
        Ok(Self { certificate, keys })
    }

    /// A new CA whose ECDSA key signs leaves and lists, with an RA whose RSA key signs and decrypts SCEP messages. `serials` are those of the CA's
    /// certificate and of the RA's, which lasts as long.
    ///
    /// # Errors
    /// [`IssueError`] names the argument that cannot be used.
    pub fn self_signed_ecdsa(
        common_name: &str,
        organization: Option<&str>,
        (issuing, messages): (EcdsaKey, RsaKey),
        serials: [&[u8]; 2],
        not_before: Timestamp,
        not_after: Timestamp,
    ) -> Result<Self, IssueError> {
        let issuer = subject(common_name, organization)?;
        let [first, second] = serials;
        let usage = KeyUsage {
            digital_signature: true,
            ..KeyUsage::default()
        };
        let certificate = own(&issuer, &issuing, usage, first, not_before, not_after)?;
        let ra = Template {
            serial: second,
            issuer: &issuer,
            not_before,
            not_after,
            subject: &subject(&format!("{common_name} RA"), organization)?,
            spki: messages.spki(),
            extensions: vec![
                constraints(false)?,
                extension::key_usage(Leaf::usual_key_usage())?,
                extension::extended_key_usage(&[CMC_RA])?,
                subject_key_id(messages.spki())?,
                super::authority_key_id(&certificate)?,
            ],
        }
        .sign(&issuing, Hash::Sha256)?;
        Self::with_ra(certificate, issuing, ra, messages)
    }

    /// Any certificate with its key: whoever answers need not be a CA.
    #[cfg(test)]
    pub(crate) fn unchecked(certificate: Certificate, key: RsaKey) -> Self {
        let keys = Keys::Rsa(key);
        Self { certificate, keys }
    }

    /// The CA's own key, which signs certificates and lists.
    #[must_use]
    pub fn issuing_key(&self) -> &dyn SigningKey {
        match &self.keys {
            Keys::Rsa(key) => key,
            Keys::Ecdsa { issuing, .. } => issuing,
        }
    }

    /// The key that content keys are decrypted with, and that signs answers.
    #[must_use]
    pub fn message_key(&self) -> &RsaKey {
        match &self.keys {
            Keys::Rsa(key) | Keys::Ecdsa { messages: key, .. } => key,
        }
    }

    /// The certificate that clients encrypt to: the CA's own, or its RA's.
    #[must_use]
    pub fn recipient(&self) -> &Certificate {
        self.ra().unwrap_or(&self.certificate)
    }

    /// The RA's certificate, where the CA does not decrypt by itself.
    #[must_use]
    pub fn ra(&self) -> Option<&Certificate> {
        match &self.keys {
            Keys::Rsa(_) => None,
            Keys::Ecdsa { ra, .. } => Some(ra),
        }
    }

    /// All that clients are shown: the CA's own certificate, and the RA's.
    #[must_use]
    pub fn certificates(&self) -> Vec<&Certificate> {
        std::iter::once(&self.certificate)
            .chain(self.ra())
            .collect()
    }

    /// Who signs an answer: whoever decrypted the request, or the CA's ECDSA key, which is faster, for a client that verifies it.
    pub(crate) fn answering(&self, knows_ecdsa: bool) -> (&Certificate, &dyn SigningKey) {
        match &self.keys {
            Keys::Ecdsa { issuing, .. } if knows_ecdsa => (&self.certificate, issuing),
            Keys::Rsa(_) | Keys::Ecdsa { .. } => (self.recipient(), self.message_key()),
        }
    }
}

fn certifies(certificate: &Certificate, key: &dyn SigningKey) -> Result<(), IssueError> {
    if certificate.spki() != key.spki() {
        return Err(IssueError::OtherKey);
    }
    if !certificate.is_ca() {
        return Err(IssueError::NoAuthority);
    }
    Ok(())
}

fn own(
    subject: &[u8],
    key: &dyn SigningKey,
    usage: KeyUsage,
    serial: &[u8],
    not_before: Timestamp,
    not_after: Timestamp,
) -> Result<Certificate, IssueError> {
    let usage = KeyUsage {
        key_cert_sign: true,
        crl_sign: true,
        ..usage
    };
    Template {
        serial,
        issuer: subject,
        not_before,
        not_after,
        subject,
        spki: key.spki(),
        extensions: vec![
            constraints(true)?,
            extension::key_usage(usage)?,
            subject_key_id(key.spki())?,
        ],
    }
    .sign(key, Hash::Sha256)
}

/// No CA below a CA.
fn constraints(ca: bool) -> Result<Extension, der::Error> {
    let value = BasicConstraints {
        ca,
        path_len_constraint: ca.then_some(0),
    };
    extension::extension(extension::BASIC_CONSTRAINTS, true, value.to_der()?)
}

fn subject(common_name: &str, organization: Option<&str>) -> Result<Vec<u8>, IssueError> {
    if common_name.is_empty() {
        return Err(IssueError::Nameless);
    }
    let organization =
        organization.map(|text| (name::ORGANIZATION, name::directory_tag(text), text));
    let common_name = (
        name::COMMON_NAME,
        name::directory_tag(common_name),
        common_name,
    );
    let parts: Vec<_> = organization.into_iter().chain([common_name]).collect();
    Ok(name::encode(&parts)?)
}
