//! A TLS client that knows nothing of Convoy: it accepts every certificate, and says which one it was shown.

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    sync::{Arc, Mutex},
    time::Duration,
};

use convoy_shared::id::Digest;
use rustls::{
    ClientConfig, ClientConnection, DigitallySignedStruct, SignatureScheme, StreamOwned,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, ServerName, UnixTime},
};

use crate::fleet::PATIENCE;

/// SHA-256 (lower-case hex) of the certificate that a server shows to a TLS client that knows nothing of Convoy.
pub(crate) fn certificate_seen(address: SocketAddr) -> String {
    Held::open(address).fingerprint
}

/// The certificates, DER, that a server shows to it, its own first.
pub(crate) fn chain_seen(address: SocketAddr) -> Vec<CertificateDer<'static>> {
    Held::open(address).chain
}

/// A TLS connection that is kept open.
pub(crate) struct Held {
    /// SHA-256 (lower-case hex) of the certificate that it was shown.
    pub(crate) fingerprint: String,
    chain: Vec<CertificateDer<'static>>,
    stream: StreamOwned<ClientConnection, TcpStream>,
}

impl Held {
    pub(crate) fn open(address: SocketAddr) -> Self {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let seen = Curious::new();
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions")
            .dangerous()
            .with_custom_certificate_verifier(seen.clone())
            .with_no_client_auth();
        config.alpn_protocols = vec![b"h2".to_vec()];
        let name = ServerName::from(address.ip());
        let mut connection = ClientConnection::new(Arc::new(config), name).expect("a connection");
        let mut stream = TcpStream::connect(address).expect("connected");
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        while connection.is_handshaking() {
            connection.complete_io(&mut stream).expect("a handshake");
        }
        let chain = seen.chain.lock().expect("a lock").clone();
        Self {
            fingerprint: Digest::of(chain.first().expect("a certificate")).to_string(),
            chain,
            stream: StreamOwned::new(connection, stream),
        }
    }

    /// Begins to speak HTTP/2 (RFC 9113, section 3.4), and asks for nothing.
    pub(crate) fn speak(&mut self) {
        let empty_settings = [0, 0, 0, 4, 0, 0, 0, 0, 0];
        self.stream
            .write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
            .and_then(|()| self.stream.write_all(&empty_settings))
            .and_then(|()| self.stream.flush())
            .expect("sent");
    }

    /// The types of the frames that come until the server ends the connection, which it must within this time (RFC 9113, section 4.1).
    pub(crate) fn frames_until_the_end(mut self, patience: Duration) -> Vec<u8> {
        self.stream
            .sock
            .set_read_timeout(Some(patience))
            .expect("a timeout");
        let mut types = Vec::new();
        let mut head = [0; 9];
        while self.stream.read_exact(&mut head).is_ok() {
            types.push(head[3]);
            let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
            let mut payload = vec![0; usize::try_from(length).expect("a length")];
            self.stream.read_exact(&mut payload).expect("a payload");
            // The acknowledgment of a PING that asks whether anybody is left before the end.
            if head[3] == PING && head[4] == 0 {
                let answer = [&[0, 0, 8, PING, 1, 0, 0, 0, 0], payload.as_slice()].concat();
                self.stream.write_all(&answer).expect("sent");
            }
        }
        types
    }
}

/// Frame types of RFC 9113, section 6.
const PING: u8 = 6;
pub(crate) const GOAWAY: u8 = 7;

/// Accepts every certificate and remembers it.
#[derive(Debug)]
pub(crate) struct Curious {
    provider: Arc<CryptoProvider>,
    chain: Mutex<Vec<CertificateDer<'static>>>,
}

impl Curious {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            provider: Arc::new(aws_lc_rs::default_provider()),
            chain: Mutex::default(),
        })
    }
}

impl ServerCertVerifier for Curious {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        *self.chain.lock().expect("a lock") = std::iter::once(end_entity)
            .chain(intermediates)
            .map(|one| one.clone().into_owned())
            .collect();
        Ok(ServerCertVerified::assertion())
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
