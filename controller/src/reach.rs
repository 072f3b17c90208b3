//! Whether an address leads to this controller: dials it as a client would, and has the other end prove that it holds the fleet's keys. What follows
//! is decided elsewhere.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use crate::tls::AnyServer;
use convoy_host::dial::{NoAnswer, Road, Unresolved};
use convoy_proto::{
    documents::{BadDocument, open_channel_proof, required_envelope},
    v1::{GreetRequest, agent_service_client::AgentServiceClient},
};
use convoy_shared::{
    address::Address,
    proof::{EXPORTER_LABEL, Nonce},
    root::Root,
};
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::{
    ClientConfig, client::Resumption, crypto::aws_lc_rs::default_provider, version::TLS13,
};
use tokio::{net::TcpStream, time::timeout};
use tokio_rustls::TlsConnector;

/// For TLS and the proof on one connection.
const PATIENCE: Duration = Duration::from_secs(10);

/// Has the controller behind an address prove that it is the fleet's, whichever of the name's IP addresses leads there.
///
/// # Errors
/// If none does: why the last one does not.
pub async fn reach(address: &Address, root: &Root) -> Result<(), Unreached> {
    let mut road = Road::to(&address.host(), address.port(), None)
        .await
        .map_err(Unreached::Name)?;
    let mut failure = None;
    while let Some((peer, tcp)) = road.next().await {
        match timeout(PATIENCE, prove(address, tcp, root)).await {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(error)) => failure = Some(error),
            Err(_) => failure = Some(Unreached::Silent { peer }),
        }
    }
    Err(failure.unwrap_or_else(|| match road.failed().pop() {
        Some((peer, error)) => Unreached::NoAnswer(peer, error),
        None => Unreached::Name(Unresolved::Nothing),
    }))
}

async fn prove(address: &Address, tcp: TcpStream, root: &Root) -> Result<(), Unreached> {
    let connector = TlsConnector::from(Arc::new(config()?));
    let stream = connector
        .connect(address.server_name().clone(), tcp)
        .await
        .map_err(Unreached::Tls)?;
    let exporter = stream
        .get_ref()
        .1
        .export_keying_material([0; 32], EXPORTER_LABEL, None)
        .map_err(Unreached::Configuration)?;
    let (sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
        .await
        .map_err(Unreached::Http)?;
    let exchange = async {
        let origin = http::Uri::builder()
            .scheme("https")
            .authority(address.as_str())
            .path_and_query("/")
            .build()
            .map_err(Unreached::Origin)?;
        let service = tower::service_fn(move |request| sender.clone().send_request(request));
        let nonce: Nonce = rand::random();
        let answer = AgentServiceClient::with_origin(service, origin)
            .greet(GreetRequest {
                nonce: nonce.to_vec().into(),
            })
            .await
            .map_err(|status| Unreached::Refused(status.message().to_owned()))?
            .into_inner();
        let proof = required_envelope(answer.channel_proof);
        proof
            .and_then(|proof| open_channel_proof(&proof, root, &nonce, &exporter))
            .map(|_| ())
            .map_err(Unreached::NotProved)
    };
    let mut exchange = std::pin::pin!(exchange);
    // Driven here, so that the connection ends with the exchange.
    tokio::select! {
        done = &mut exchange => done,
        ended = connection => {
            ended.map_err(Unreached::Http)?;
            exchange.await
        }
    }
}

/// Any certificate will do: the proof says who is there.
fn config() -> Result<ClientConfig, Unreached> {
    let provider = default_provider();
    let verifier = Arc::new(AnyServer(provider.signature_verification_algorithms));
    let mut config = ClientConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(&[&TLS13])
        .map_err(Unreached::Configuration)?
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec()];
    config.resumption = Resumption::disabled();
    Ok(config)
}

/// Why an address does not lead to this controller.
#[derive(Debug, thiserror::Error)]
pub enum Unreached {
    /// No address for the name.
    #[error("{0}")]
    Name(#[source] Unresolved),
    /// No connection.
    #[error("{1} ({0})")]
    NoAnswer(SocketAddr, #[source] NoAnswer),
    /// A connection, and then nothing.
    #[error("no proof from {peer} within {} s", PATIENCE.as_secs())]
    Silent {
        /// Who is silent.
        peer: SocketAddr,
    },
    /// No TLS.
    #[error("the TLS handshake failed")]
    Tls(#[source] std::io::Error),
    /// TLS that cannot be set up.
    #[error("TLS cannot be set up")]
    Configuration(#[source] rustls::Error),
    /// No HTTP/2.
    #[error("what answers does not speak HTTP/2: is this the agents' port?")]
    Http(#[source] hyper::Error),
    /// The address is no authority of a URI.
    #[error("the address does not fit into a URI")]
    Origin(#[source] http::Error),
    /// It said no.
    #[error("what answers refuses to prove itself: {0}")]
    Refused(String),
    /// The proof does not hold.
    #[error("what answers is not this fleet's controller")]
    NotProved(#[source] BadDocument),
}

impl Unreached {
    /// With its causes, on one line.
    #[must_use]
    pub fn told(&self) -> String {
        let mut text = self.to_string();
        let mut cause = std::error::Error::source(self);
        while let Some(error) = cause {
            let next = error.to_string();
            if !text.contains(&next) {
                text = format!("{text}: {next}");
            }
            cause = error.source();
        }
        text
    }
}
