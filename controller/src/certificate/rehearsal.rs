//! A TLS handshake of the controller with itself, before a certificate is taken: what no client would accept is found here, not at a gate. Nothing goes
//! over a network.

use std::{io, sync::Arc};

use rustls::{ClientConfig, ClientConnection, ServerConfig, ServerConnection, version::TLS13};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};

use super::BadCertificate;
use crate::tls::{self, AnyServer};

/// The largest `Certificate` message that every client takes, in bytes.
///
/// Java: 32,768 (`jdk.tls.maxHandshakeMessageSize`). Windows: 32,768 (SChannel, `MessageLimitClient`). rustls, and so agents: 65,535. OpenSSL: 102,400
/// (`SSL_CTX_set_max_cert_list`). Go: 262,144, and 65,536 before 1.20.
pub const MAX_MESSAGE: usize = 32_768;
/// The most certificates in it that every client takes, the server's own included.
///
/// Java: 10 (`jdk.tls.client.maxInboundCertificateChainLength`). rustls builds paths over 6 intermediates; OpenSSL over 100; the others count bytes only.
pub const MAX_CERTIFICATES: usize = 10;

/// Shows the chain to a client that is as strict as the strictest.
///
/// # Errors
/// If it refuses. Says why.
pub(super) fn rehearse(
    chain: &[CertificateDer<'static>],
    key: &PrivateKeyDer<'static>,
) -> Result<(), BadCertificate> {
    let size = message_size(chain);
    if chain.len() > MAX_CERTIFICATES || size > MAX_MESSAGE {
        return Err(BadCertificate::ChainTooLarge {
            certificates: chain.len(),
            bytes: size,
        });
    }
    handshake(chain, key).map_err(|error| BadCertificate::Unservable(error.to_string()))
}

/// Bytes of the TLS 1.3 `Certificate` message with this chain (RFC 8446, section 4.4.2).
fn message_size(chain: &[CertificateDer<'_>]) -> usize {
    // Message type and length, request context, length of the list; per certificate its length, and the length of its extensions.
    chain.iter().fold(4 + 1 + 3, |size, certificate| {
        size.saturating_add(3 + certificate.len() + 2)
    })
}

fn handshake(
    chain: &[CertificateDer<'static>],
    key: &PrivateKeyDer<'static>,
) -> Result<(), rustls::Error> {
    let provider = Arc::new(tls::provider());
    let server = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&[&TLS13])?
        .with_no_client_auth()
        .with_single_cert(chain.to_vec(), key.clone_key())?;
    let client = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&[&TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(AnyServer(
            provider.signature_verification_algorithms,
        )))
        .with_no_client_auth();
    let anybody = ServerName::try_from("localhost")
        .map_err(|_| rustls::Error::General("no name to rehearse with".to_owned()))?;
    let mut client = ClientConnection::new(Arc::new(client), anybody)?;
    let mut server = ServerConnection::new(Arc::new(server))?;
    let passed = |error: io::Error| rustls::Error::General(error.to_string());
    while client.is_handshaking() || server.is_handshaking() {
        let mut wire = Vec::new();
        while client.wants_write() {
            client.write_tls(&mut wire).map_err(passed)?;
        }
        hand_over(&wire, |bytes| server.read_tls(bytes)).map_err(passed)?;
        server.process_new_packets()?;
        let mut back = Vec::new();
        while server.wants_write() {
            server.write_tls(&mut back).map_err(passed)?;
        }
        if wire.is_empty() && back.is_empty() {
            return Err(rustls::Error::HandshakeNotComplete);
        }
        let mut unread = back.as_slice();
        while !unread.is_empty() {
            client.read_tls(&mut unread).map_err(passed)?;
            client.process_new_packets()?;
        }
    }
    Ok(())
}

fn hand_over(
    mut bytes: &[u8],
    mut read: impl FnMut(&mut dyn io::Read) -> io::Result<usize>,
) -> io::Result<()> {
    while !bytes.is_empty() {
        read(&mut bytes)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chain_that_the_strictest_client_takes_passes_and_one_more_does_not() {
        let names = ["localhost".to_owned()];
        let made = crate::authority::server_certificate(&names, crate::clock::now()).expect("made");
        let chain = |count| vec![made.certificate.clone(); count];
        assert_eq!(rehearse(&chain(1), &made.key), Ok(()));
        assert_eq!(rehearse(&chain(MAX_CERTIFICATES), &made.key), Ok(()));
        assert!(matches!(
            rehearse(&chain(MAX_CERTIFICATES + 1), &made.key),
            Err(BadCertificate::ChainTooLarge {
                certificates: 11,
                ..
            })
        ));
        // Few, and large.
        let large = CertificateDer::from(vec![0; MAX_MESSAGE - message_size(&chain(1)) - 5]);
        let mut pair = vec![made.certificate.clone(), large];
        assert_eq!(message_size(&pair), MAX_MESSAGE);
        assert_eq!(rehearse(&pair, &made.key), Ok(()));
        pair[1] = CertificateDer::from(vec![0; pair[1].len() + 1]);
        assert!(matches!(
            rehearse(&pair, &made.key),
            Err(BadCertificate::ChainTooLarge {
                certificates: 2,
                ..
            })
        ));
    }

    #[test]
    fn a_key_of_another_certificate_does_not_pass() {
        let names = ["localhost".to_owned()];
        let made = || crate::authority::server_certificate(&names, crate::clock::now());
        let (one, other) = (made().expect("made"), made().expect("made"));
        assert!(matches!(
            rehearse(&[one.certificate], &other.key),
            Err(BadCertificate::Unservable(_))
        ));
    }
}
