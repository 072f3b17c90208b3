//! Confirmation that a certificate is in use: a real TLS handshake that must show it. Whether anybody trusts it is not asked here.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use convoy_host::dial::connect;
use convoy_shared::id::Digest;
use rustls::{
    ClientConfig, DigitallySignedStruct, Error, SignatureScheme,
    client::{
        Resumption,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::{
        WebPkiSupportedAlgorithms, aws_lc_rs::default_provider, verify_tls12_signature,
        verify_tls13_signature_with_raw_key,
    },
};
use rustls_pki_types::{CertificateDer, ServerName, SubjectPublicKeyInfoDer, UnixTime};
use tokio::time::Instant;
use tokio_rustls::TlsConnector;
use x509_parser::parse_x509_certificate;

use crate::address::Address;

/// One handshake may take this long.
const ATTEMPT: Duration = Duration::from_secs(5);
/// Between two handshakes: a reload takes its time.
const PAUSE: Duration = Duration::from_millis(200);

/// Asks again and again, until a handshake shows the certificate.
///
/// # Errors
/// If none has within `timeout`.
pub(super) async fn confirm(
    at: &Address,
    certificate: &CertificateDer<'_>,
    timeout: Duration,
) -> Result<(), ConfirmError> {
    let deadline = Instant::now() + timeout;
    loop {
        let attempt = ATTEMPT.min(deadline.saturating_duration_since(Instant::now()));
        let problem = match tokio::time::timeout(attempt, shown(at)).await {
            Ok(Ok(shown)) if shown == *certificate => return Ok(()),
            Ok(Ok(shown)) => {
                let fingerprint = Digest::of(&shown);
                format!("it shows another certificate (SHA-256 {fingerprint})")
            }
            Ok(Err(problem)) => problem,
            Err(_) => "no answer".to_owned(),
        };
        if deadline.saturating_duration_since(Instant::now()) <= PAUSE {
            return Err(ConfirmError {
                at: at.to_string(),
                timeout,
                problem,
            });
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// The certificate whose key the peer proves to hold.
async fn shown(at: &Address) -> Result<CertificateDer<'static>, String> {
    let provider = default_provider();
    let witness = Arc::new(Witness {
        algorithms: provider.signature_verification_algorithms,
        proved: Mutex::new(None),
    });
    let verifier = Arc::clone(&witness);
    let verifier: Arc<dyn ServerCertVerifier> = verifier;
    let mut config = ClientConfig::builder_with_provider(Arc::new(provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_no_client_auth();
    config.resumption = Resumption::disabled();
    let (_, stream) = connect(&at.host(), at.port())
        .await
        .map_err(|error| error.to_string())?;
    let handshake = TlsConnector::from(Arc::new(config))
        .connect(at.server_name().clone(), stream)
        .await;
    let proved = witness
        .proved
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .take();
    // A server that wants a certificate from its clients ends the handshake, having shown its own.
    match (proved, handshake) {
        (Some(proved), _) => Ok(proved),
        (None, Err(error)) => Err(error.to_string()),
        (None, Ok(_)) => Err("the handshake showed no certificate".to_owned()),
    }
}

/// Takes any certificate, and notes the one that the peer has the key of.
#[derive(Debug)]
struct Witness {
    algorithms: WebPkiSupportedAlgorithms,
    proved: Mutex<Option<CertificateDer<'static>>>,
}

impl Witness {
    fn note(&self, certificate: &CertificateDer<'_>) {
        *self.proved.lock().unwrap_or_else(PoisonError::into_inner) =
            Some(certificate.clone().into_owned());
    }
}

impl ServerCertVerifier for Witness {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let valid = verify_tls12_signature(message, certificate, signature, &self.algorithms)?;
        self.note(certificate);
        Ok(valid)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        // By the bare key: webpki does not read every certificate that a SCEP server may issue.
        let bad = || Error::InvalidCertificate(rustls::CertificateError::BadEncoding);
        let (_, parsed) = parse_x509_certificate(certificate).map_err(|_| bad())?;
        let key = SubjectPublicKeyInfoDer::from(parsed.public_key().raw);
        let valid =
            verify_tls13_signature_with_raw_key(message, &key, signature, &self.algorithms)?;
        self.note(certificate);
        Ok(valid)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

/// The new certificate was not seen in use.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{at} did not show the new certificate within {timeout:?}: {problem}")]
pub struct ConfirmError {
    /// Where.
    pub at: String,
    /// How long it had.
    pub timeout: Duration,
    /// What the last handshake came to.
    pub problem: String,
}
