//! What Convoy reads from an X.509 certificate: its public key's digest and a client's identity. No chain is judged here.

use x509_parser::{certificate::X509Certificate, extensions::GeneralName, parse_x509_certificate};

use crate::id::{ClientId, Digest, FleetId};

/// SHA-256 of the SubjectPublicKeyInfo of a certificate, DER: what a pin compares (RFC 7469, section 2.4).
///
/// # Errors
/// If the bytes are no certificate.
pub fn spki_digest(certificate: &[u8]) -> Result<Digest, BadCertificate> {
    Ok(Digest::of(parse(certificate)?.public_key().raw))
}

/// The URI that stands for a client in its identity certificate's subject alternative name.
#[must_use]
pub fn client_uri(fleet: FleetId, client: ClientId) -> String {
    format!("convoy://{fleet}/client/{client}")
}

/// The client that an identity certificate speaks of. Whether it may is not judged here.
///
/// # Errors
/// If the bytes are no certificate, or it has not exactly one URI of this fleet's form.
pub fn client_of(certificate: &[u8], fleet: FleetId) -> Result<ClientId, BadCertificate> {
    let parsed = parse(certificate)?;
    let names = parsed
        .subject_alternative_name()
        .map_err(|_| BadCertificate::Malformed)?
        .ok_or(BadCertificate::NoIdentity)?;
    let prefix = format!("convoy://{fleet}/client/");
    let mut uris = names
        .value
        .general_names
        .iter()
        .filter_map(|name| match name {
            GeneralName::URI(uri) => Some(*uri),
            _ => None,
        });
    let (Some(uri), None) = (uris.next(), uris.next()) else {
        return Err(BadCertificate::NoIdentity);
    };
    uri.strip_prefix(&prefix)
        .and_then(|id| id.parse().ok())
        .ok_or(BadCertificate::NoIdentity)
}

/// The last second of a certificate's validity, as seconds since 1970.
///
/// # Errors
/// If the bytes are no certificate.
pub fn not_after(certificate: &[u8]) -> Result<i64, BadCertificate> {
    Ok(parse(certificate)?.validity().not_after.timestamp())
}

/// The first second of a certificate's validity, as seconds since 1970.
///
/// # Errors
/// If the bytes are no certificate.
pub fn not_before(certificate: &[u8]) -> Result<i64, BadCertificate> {
    Ok(parse(certificate)?.validity().not_before.timestamp())
}

fn parse(certificate: &[u8]) -> Result<X509Certificate<'_>, BadCertificate> {
    match parse_x509_certificate(certificate) {
        Ok(([], parsed)) => Ok(parsed),
        Ok(_) | Err(_) => Err(BadCertificate::Malformed),
    }
}

/// Why nothing can be read from a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadCertificate {
    /// It is not one DER certificate.
    #[error("not a DER certificate")]
    Malformed,
    /// It does not name one client of this fleet.
    #[error("the certificate names no client of this fleet")]
    NoIdentity,
}
