//! The rustls verifier that asks `convoy_shared::trust::verdict` about a server's certificate. It holds no rule of its own.

use std::sync::{Arc, Mutex, PoisonError};

use convoy_shared::{
    id::Digest,
    root::Root,
    trust::{Accepted, Mode, Rejected, Trust, TrustDocument, verdict},
};
use jiff::Timestamp;
use rustls::{
    CertificateError, DigitallySignedStruct, Error, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::{WebPkiSupportedAlgorithms, verify_tls13_signature_with_raw_key},
};
use rustls_pki_types::{CertificateDer, ServerName, SubjectPublicKeyInfoDer, UnixTime};
use x509_parser::parse_x509_certificate;

use crate::clock::Clock;

/// What decides about a server's certificate.
#[derive(Clone, Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "one per kind of connection, and nearly always the large one"
)]
pub enum Policy {
    /// The trust document, in the mode in force.
    Trust(TrustSnapshot),
    /// Nothing: before joining, when the channel proof alone says who the peer is.
    AcceptAny,
}

/// A client's trust at one moment, kept. The mode in force is asked for at each handshake.
#[derive(Clone, Debug)]
pub struct TrustSnapshot {
    /// The document.
    pub document: TrustDocument,
    /// The root in force.
    pub root: Root,
    /// When the channel proof of a session last held.
    pub last_proof: Timestamp,
    /// What time it is.
    pub clock: Clock,
}

impl TrustSnapshot {
    fn judge(&self, chain: &[CertificateDer<'_>]) -> Result<Accepted, Rejected> {
        let trust = Trust {
            document: &self.document,
            root: &self.root,
            last_proof: self.clock.is_measured().then_some(self.last_proof),
        };
        verdict(&trust, chain, self.clock.now())
    }
}

impl Policy {
    /// The trust document's anchors, whatever its mode.
    #[must_use]
    pub fn force_verify(mut snapshot: TrustSnapshot) -> Self {
        snapshot.document.mode = Mode::Verify;
        Self::Trust(snapshot)
    }

    /// What it says of a chain, end entity first.
    ///
    /// # Errors
    /// If it refuses it.
    pub fn judge(&self, chain: &[CertificateDer<'_>]) -> Result<Accepted, Rejected> {
        match self {
            Self::Trust(snapshot) => snapshot.judge(chain),
            Self::AcceptAny => Ok(Accepted::Unverified),
        }
    }
}

/// What a verifier was shown last, and what it said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    /// SHA-256 of the end entity's certificate, DER.
    pub fingerprint: Digest,
    /// The verdict.
    pub verdict: Result<Accepted, Rejected>,
}

/// A verifier. TLS signatures are always checked.
#[derive(Debug)]
pub struct Verifier {
    policy: Mutex<Arc<Policy>>,
    seen: Mutex<Option<Seen>>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl Verifier {
    /// A verifier that follows this policy.
    #[must_use]
    pub fn new(policy: Policy, algorithms: WebPkiSupportedAlgorithms) -> Self {
        Self {
            policy: Mutex::new(Arc::new(policy)),
            seen: Mutex::new(None),
            algorithms,
        }
    }

    /// Follows another policy from the next handshake on, and forgets what it saw.
    pub fn follow(&self, policy: Policy) {
        *self.policy.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(policy);
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// What it was shown since it follows its policy. A resumed session shows nothing.
    #[must_use]
    pub fn seen(&self) -> Option<Seen> {
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Why it refused the certificate that it was shown, if it did.
    #[must_use]
    pub fn rejection(&self) -> Option<Rejected> {
        self.seen().and_then(|seen| seen.verdict.err())
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        // Whole seconds: too coarse for the end of a lease, which the label and the status know exactly.
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let policy = Arc::clone(&self.policy.lock().unwrap_or_else(PoisonError::into_inner));
        let chain: Vec<_> = std::iter::once(end_entity.clone())
            .chain(intermediates.iter().cloned())
            .collect();
        let verdict = policy.judge(&chain);
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner) = Some(Seen {
            fingerprint: Digest::of(end_entity),
            verdict,
        });
        match verdict {
            Ok(_) => Ok(ServerCertVerified::assertion()),
            // rustls sends the alert `unknown_ca`, which the controller counts; `ApplicationVerificationFailure` would be `access_denied`.
            Err(_) => Err(Error::InvalidCertificate(CertificateError::UnknownIssuer)),
        }
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(Error::General("an agent speaks TLS 1.3 only".to_owned()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        // By the bare key: a pinned certificate may be one that webpki would not read, such as X.509 version 1 or with a critical
        // extension that it does not know.
        let bad = || Error::InvalidCertificate(CertificateError::BadEncoding);
        let (_, parsed) = parse_x509_certificate(certificate).map_err(|_| bad())?;
        let key = SubjectPublicKeyInfoDer::from(parsed.public_key().raw);
        verify_tls13_signature_with_raw_key(message, &key, signature, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests;
