//! Certificates that the controller makes itself: its client CA, client identities, the default server certificate, decoys. It judges none.

use aws_lc_rs::rand::{SecureRandom as _, SystemRandom};
use convoy_shared::{
    certificate::client_uri,
    id::{ClientId, Digest, FleetId},
};
use jiff::{SignedDuration, Timestamp};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose, PublicKeyData as _, SanType,
    SerialNumber, string::Ia5String,
};
use rustls_pki_types::{
    CertificateDer, CertificateSigningRequestDer, PrivateKeyDer, PrivatePkcs8KeyDer,
};
use time::OffsetDateTime;

/// The client CA and the default server certificate live so long.
const LONG_VALIDITY: SignedDuration = SignedDuration::from_hours(10 * 365 * 24);
/// Certificates begin so much in the past, for hosts whose clocks are behind; short-lived ones a tenth of their life.
const BACKDATED: SignedDuration = SignedDuration::from_hours(1);

/// A certificate and its private key.
pub struct Made {
    /// DER.
    pub certificate: CertificateDer<'static>,
    /// PKCS#8 DER.
    pub key: PrivateKeyDer<'static>,
}

/// The certificate of the client CA for this key.
///
/// # Errors
/// If it cannot be signed.
pub fn client_ca(
    key: &KeyPair,
    fleet: FleetId,
    now: Timestamp,
) -> Result<CertificateDer<'static>, rcgen::Error> {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(
        DnType::CommonName,
        format!("Convoy clients of fleet {fleet}"),
    );
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    valid(&mut params, now, LONG_VALIDITY)?;
    Ok(params.self_signed(key)?.der().clone())
}

/// A checked PKCS#10 request: whoever made it holds the key.
pub struct IdentityRequest {
    params: CertificateSigningRequestParams,
}

impl IdentityRequest {
    /// Reads a request, DER, and checks its signature. Nothing but its key is used.
    ///
    /// # Errors
    /// If it is malformed, or not signed with its own key.
    pub fn read(der: &[u8]) -> Result<Self, rcgen::Error> {
        let der = CertificateSigningRequestDer::from(der);
        Ok(Self {
            params: CertificateSigningRequestParams::from_der(&der)?,
        })
    }

    /// SHA-256 of the key's SubjectPublicKeyInfo.
    #[must_use]
    pub fn key(&self) -> Digest {
        Digest::of(&self.params.public_key.subject_public_key_info())
    }

    /// The identity certificate of a client for this key.
    ///
    /// # Errors
    /// If it cannot be signed.
    pub fn issue(
        &self,
        ca: &CertificateDer<'_>,
        ca_key: &KeyPair,
        fleet: FleetId,
        client: ClientId,
        now: Timestamp,
        validity: SignedDuration,
    ) -> Result<CertificateDer<'static>, rcgen::Error> {
        let issuer = Issuer::from_ca_cert_der(ca, ca_key)?;
        let mut params = CertificateParams::default();
        params
            .distinguished_name
            .push(DnType::CommonName, client.to_string());
        params.subject_alt_names = vec![SanType::URI(Ia5String::try_from(client_uri(
            fleet, client,
        ))?)];
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        params.use_authority_key_identifier_extension = true;
        valid(&mut params, now, validity)?;
        Ok(params
            .signed_by(&self.params.public_key, &issuer)?
            .der()
            .clone())
    }
}

/// The default server certificate: self-signed, P-256, serverAuth.
///
/// # Errors
/// If a name is not usable in a certificate.
pub fn server_certificate(names: &[String], now: Timestamp) -> Result<Made, rcgen::Error> {
    let mut params = CertificateParams::new(names.to_vec())?;
    let common = names.first().map_or("convoy", String::as_str);
    params.distinguished_name.push(DnType::CommonName, common);
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    valid(&mut params, now, LONG_VALIDITY)?;
    let key = KeyPair::generate()?;
    Ok(Made {
        certificate: params.self_signed(&key)?.der().clone(),
        key: PrivatePkcs8KeyDer::from(key.serialize_der()).into(),
    })
}

fn valid(
    params: &mut CertificateParams,
    now: Timestamp,
    length: SignedDuration,
) -> Result<(), rcgen::Error> {
    let mut serial = [0; 16];
    SystemRandom::new()
        .fill(&mut serial)
        .map_err(|_| rcgen::Error::RingUnspecified)?;
    // Positive, as RFC 5280, section 4.1.2.2 asks for.
    serial[0] &= 0x7f;
    params.serial_number = Some(SerialNumber::from(serial.to_vec()));
    params.not_before = at(now.checked_sub(BACKDATED.min(length / 10)).unwrap_or(now))?;
    params.not_after = at(now.checked_add(length).unwrap_or(Timestamp::MAX))?;
    Ok(())
}

fn at(time: Timestamp) -> Result<OffsetDateTime, rcgen::Error> {
    OffsetDateTime::from_unix_timestamp(time.as_second()).map_err(|_| rcgen::Error::Time)
}
