//! TLS configurations: one per certificate and kind of connection. Which one a connection gets is decided in the listener.

use std::{
    collections::HashMap,
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use convoy_fleet::event::Certificate;
use convoy_shared::id::Generation;
use jiff::Timestamp;
use rustls::{
    DigitallySignedStruct, DistinguishedName, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::{
        CryptoProvider, WebPkiSupportedAlgorithms, aws_lc_rs, verify_tls12_signature,
        verify_tls13_signature, verify_tls13_signature_with_raw_key,
    },
    server::{
        NoServerSessionStorage, ServerConfig,
        danger::{ClientCertVerified, ClientCertVerifier},
    },
    version::TLS13,
};
use rustls_pki_types::{
    CertificateDer, PrivateKeyDer, ServerName, SubjectPublicKeyInfoDer, UnixTime,
};
use webpki::{EndEntityCert, KeyUsage, anchor_from_trusted_cert};
use x509_parser::parse_x509_certificate;

use crate::{authority, folder::Folder, keys};

/// The TLS configurations of the certificates that the controller holds.
pub struct TlsConfigs {
    folder: Arc<Folder>,
    provider: Arc<CryptoProvider>,
    verifier: Arc<dyn ClientCertVerifier>,
    configs: RwLock<HashMap<Generation, Loaded>>,
}

/// A certificate that was loaded, with the chain that it was loaded with.
struct Loaded {
    chain: Vec<Vec<u8>>,
    configs: Configs,
}

/// The configurations of one certificate.
#[derive(Clone)]
pub struct Configs {
    /// For sessions. Issues tickets under a key of its own, so that no session outlives its certificate.
    pub production: Arc<ServerConfig>,
    /// For the operators' port: the same certificate, without asking for a client's.
    pub operators: Arc<ServerConfig>,
    /// For probes. Issues no tickets.
    pub probe: Arc<ServerConfig>,
}

impl TlsConfigs {
    /// For a fleet whose clients' identities this CA (DER) issues.
    ///
    /// # Errors
    /// If it is no certificate.
    pub fn new(folder: Arc<Folder>, client_ca: &[u8]) -> Result<Self, TlsError> {
        let provider = Arc::new(provider());
        let verifier = Arc::new(ClientVerifier::new(client_ca, &provider)?);
        Ok(Self {
            folder,
            provider,
            verifier,
            configs: RwLock::default(),
        })
    }

    /// The configurations of a certificate, if it was loaded.
    #[must_use]
    pub fn of(&self, generation: Generation) -> Option<Configs> {
        self.configs
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .get(&generation)
            .map(|loaded| loaded.configs.clone())
    }

    /// Whether a certificate was loaded with another chain than it has now.
    #[must_use]
    pub fn is_stale(&self, generation: Generation, certificate: &Certificate) -> bool {
        self.configs
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .get(&generation)
            .is_some_and(|loaded| loaded.chain != certificate.chain)
    }

    /// Loads a certificate with its chain and its key. Again is no harm.
    ///
    /// # Errors
    /// If the key is missing or does not fit.
    pub fn load(&self, generation: Generation, certificate: &Certificate) -> Result<(), TlsError> {
        if self.of(generation).is_some() && !self.is_stale(generation, certificate) {
            return Ok(());
        }
        let chain: Vec<CertificateDer<'static>> = certificate
            .chain
            .iter()
            .map(|der| CertificateDer::from(der.clone()))
            .collect();
        let key = || keys::server_key(&self.folder, &certificate.spki);
        let mut production = self.config(chain.clone(), key()?, true)?;
        production.ticketer = aws_lc_rs::Ticketer::new()?;
        let mut operators = self.config(chain.clone(), key()?, false)?;
        operators.ticketer = aws_lc_rs::Ticketer::new()?;
        let configs = Configs {
            production: Arc::new(production),
            operators: Arc::new(operators),
            probe: Arc::new(without_tickets(self.config(chain, key()?, true)?)),
        };
        self.configs
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(
                generation,
                Loaded {
                    chain: certificate.chain.clone(),
                    configs,
                },
            );
        Ok(())
    }

    /// A configuration with a certificate that nobody has any reason to trust, made on the spot.
    ///
    /// # Errors
    /// If no certificate can be made.
    pub fn decoy(&self, names: &[String], now: Timestamp) -> Result<Arc<ServerConfig>, TlsError> {
        let made = authority::server_certificate(names, now)?;
        let config = self.config(vec![made.certificate], made.key, true)?;
        Ok(Arc::new(without_tickets(config)))
    }

    fn config(
        &self,
        chain: Vec<CertificateDer<'static>>,
        key: PrivateKeyDer<'static>,
        ask_for_client: bool,
    ) -> Result<ServerConfig, TlsError> {
        let builder = ServerConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_protocol_versions(&[&TLS13])?;
        let builder = if ask_for_client {
            builder.with_client_cert_verifier(Arc::clone(&self.verifier))
        } else {
            builder.with_no_client_auth()
        };
        let mut config = builder.with_single_cert(chain, key)?;
        config.alpn_protocols = vec![b"h2".to_vec()];
        config.max_early_data_size = 0;
        config.session_storage = Arc::new(NoServerSessionStorage {});
        Ok(config)
    }
}

fn without_tickets(mut config: ServerConfig) -> ServerConfig {
    config.send_tls13_tickets = 0;
    config
}

/// The one crypto provider, with the cheapest cipher suite first.
#[must_use]
pub fn provider() -> CryptoProvider {
    let mut provider = aws_lc_rs::default_provider();
    provider
        .cipher_suites
        .sort_by_key(|suite| suite.suite() != rustls::CipherSuite::TLS13_AES_128_GCM_SHA256);
    provider
}

/// Accepts client certificates that the fleet's client CA has issued, expired ones too: what an expired one may do is decided per request, so that a
/// client that was away for long can renew. Without a certificate a peer is a stranger.
#[derive(Debug)]
struct ClientVerifier {
    ca: CertificateDer<'static>,
    subjects: Vec<DistinguishedName>,
    provider: Arc<CryptoProvider>,
}

impl ClientVerifier {
    fn new(ca: &[u8], provider: &Arc<CryptoProvider>) -> Result<Self, TlsError> {
        let ca = CertificateDer::from(ca.to_vec());
        let subject = anchor_from_trusted_cert(&ca)
            .map_err(|_| TlsError::ClientCa)?
            .subject
            .to_vec();
        Ok(Self {
            subjects: vec![DistinguishedName::in_sequence(&subject)],
            ca,
            provider: Arc::clone(provider),
        })
    }
}

impl ClientCertVerifier for ClientVerifier {
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &self.subjects
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        let bad = |error| rustls::Error::InvalidCertificate(error);
        let not_after = convoy_shared::certificate::not_after(end_entity)
            .map_err(|_| bad(rustls::CertificateError::BadEncoding))?;
        let not_before = convoy_shared::certificate::not_before(end_entity)
            .map_err(|_| bad(rustls::CertificateError::BadEncoding))?;
        // Judged within its validity: an expired one may renew, and a clock that was set back must not lock fresh ones out.
        let at = |seconds| {
            UnixTime::since_unix_epoch(Duration::from_secs(u64::try_from(seconds).unwrap_or(0)))
        };
        let anchor = anchor_from_trusted_cert(&self.ca)
            .map_err(|_| bad(rustls::CertificateError::UnknownIssuer))?;
        EndEntityCert::try_from(end_entity)
            .map_err(|_| bad(rustls::CertificateError::BadEncoding))?
            .verify_for_usage(
                webpki::ALL_VERIFICATION_ALGS,
                &[anchor],
                intermediates,
                now.max(at(not_before)).min(at(not_after)),
                KeyUsage::client_auth(),
                None,
                None,
            )
            .map_err(|_| bad(rustls::CertificateError::UnknownIssuer))?;
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(
            message,
            certificate,
            signed,
            &self.provider.signature_verification_algorithms,
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(
            message,
            certificate,
            signed,
            &self.provider.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}

/// Accepts every server certificate whose key the peer holds, and reads no more of it than the key, as agents do: they pin keys.
#[derive(Debug)]
pub(crate) struct AnyServer(pub(crate) WebPkiSupportedAlgorithms);

impl ServerCertVerifier for AnyServer {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(rustls::Error::General(
            "the controller speaks TLS 1.3 only".to_owned(),
        ))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let bad = || rustls::Error::InvalidCertificate(rustls::CertificateError::BadEncoding);
        let (_, parsed) = parse_x509_certificate(certificate).map_err(|_| bad())?;
        let key = SubjectPublicKeyInfoDer::from(parsed.public_key().raw);
        verify_tls13_signature_with_raw_key(message, &key, signature, &self.0)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_schemes()
    }
}

/// How long a handshake may take.
pub const HANDSHAKE: Duration = Duration::from_secs(5);

/// A certificate that cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// Its key is missing.
    #[error(transparent)]
    Key(#[from] keys::KeyError),
    /// It does not fit its key, or TLS cannot use it.
    #[error("TLS cannot use the certificate with its key: {0}")]
    Rustls(#[from] rustls::Error),
    /// The fleet's client CA is no certificate.
    #[error("the fleet's client CA certificate is damaged")]
    ClientCa,
    /// No decoy could be made.
    #[error("no certificate can be made: {0}")]
    Decoy(#[from] rcgen::Error),
}
