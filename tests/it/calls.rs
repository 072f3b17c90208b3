//! gRPC calls to a controller's socket and ports, as programs make them that were not written with Convoy. What they prove stands in the tests.

use std::{net::SocketAddr, sync::Arc};

use convoy_proto::v1;
use hyper_util::rt::TokioIo;
use prost::Message;
use rustls::{
    ClientConfig, SupportedProtocolVersion,
    client::danger::ServerCertVerifier,
    crypto::aws_lc_rs,
    pki_types::ServerName,
    version::{TLS12, TLS13},
};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::{TlsConnector, client::TlsStream};
use tonic::{
    Code, Request, Status,
    client::Grpc,
    transport::{Channel, Endpoint, Uri},
};
use tonic_prost::ProstCodec;
use tonic_types::StatusExt as _;
use tower::service_fn;

use crate::{curious::Curious, fleet::Fleet};

/// The local socket.
pub(crate) async fn local(fleet: &Fleet) -> Channel {
    let path = fleet.data_dir().join("convoy.sock");
    Endpoint::from_static("http://localhost")
        .connect_with_connector(service_fn(move |_: Uri| {
            let path = path.clone();
            async move { UnixStream::connect(path).await.map(TokioIo::new) }
        }))
        .await
        .expect("a connection")
}

/// A port, over TLS, as somebody without credentials.
pub(crate) async fn port(address: SocketAddr) -> Channel {
    Endpoint::from_static("http://localhost")
        .connect_with_connector(service_fn(move |_: Uri| async move {
            stranger(address, &[&TLS13]).await.map(TokioIo::new)
        }))
        .await
        .expect("a connection")
}

/// A TLS connection of these versions that shows nothing and accepts everything.
pub(crate) async fn stranger(
    address: SocketAddr,
    versions: &[&'static SupportedProtocolVersion],
) -> std::io::Result<TlsStream<TcpStream>> {
    let verifier: Arc<dyn ServerCertVerifier> = Curious::new();
    let mut config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_protocol_versions(versions)
        .expect("versions")
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec()];
    let stream = TcpStream::connect(address).await?;
    let name = ServerName::from(address.ip());
    TlsConnector::from(Arc::new(config))
        .connect(name, stream)
        .await
}

/// Whether a port speaks this version of TLS.
pub(crate) async fn speaks_tls_1_2(address: SocketAddr) -> bool {
    stranger(address, &[&TLS12]).await.is_ok()
}

/// A method of the API.
#[derive(Clone, Debug)]
pub(crate) struct Method {
    pub(crate) service: String,
    pub(crate) name: String,
    /// Its request has no field, so that any bytes are one.
    pub(crate) takes_nothing: bool,
}

impl Method {
    pub(crate) fn named(service: &str, name: &str) -> Self {
        Self {
            service: service.to_owned(),
            name: name.to_owned(),
            takes_nothing: false,
        }
    }
}

/// Every method of every service, as the API's own descriptors list them.
pub(crate) fn methods() -> Vec<Method> {
    let descriptors = prost_types::FileDescriptorSet::decode(v1::DESCRIPTORS).expect("descriptors");
    let mut methods = Vec::new();
    for file in &descriptors.file {
        for service in &file.service {
            for method in &service.method {
                methods.push(Method {
                    service: format!("{}.{}", file.package(), service.name()),
                    name: method.name().to_owned(),
                    takes_nothing: file.message_type.iter().any(|message| {
                        let name = format!(".{}.{}", file.package(), message.name());
                        name == method.input_type() && message.field.is_empty()
                    }),
                });
            }
        }
    }
    assert!(methods.len() > 20, "{methods:?}");
    methods
}

/// Calls a method, and expects it to be refused. The answer is not read.
pub(crate) async fn refusal<M: Message + Default + 'static>(
    channel: &Channel,
    method: &Method,
    message: M,
) -> Status {
    let mut grpc = Grpc::new(channel.clone());
    grpc.ready().await.expect("a connection");
    let path = format!("/{}/{}", method.service, method.name);
    let path = path.parse().expect("a path");
    let codec = ProstCodec::<M, ()>::default();
    match grpc.unary(Request::new(message), path, codec).await {
        Ok(_) => panic!("{method:?} was not refused"),
        Err(status) => status,
    }
}

/// Asserts what every refusal must have: words, a reason and the domain. The reason.
#[track_caller]
pub(crate) fn explained(what: &str, status: &Status) -> String {
    assert!(
        !status.message().is_empty(),
        "{what}: no words in {status:?}"
    );
    let info = status.get_details_error_info();
    let info = info.unwrap_or_else(|| panic!("{what}: no ErrorInfo in {status:?}"));
    assert_eq!(info.domain, "convoy", "{what}: {status:?}");
    let capitals = |c: char| c.is_ascii_uppercase() || c == '_';
    assert!(
        !info.reason.is_empty() && info.reason.chars().all(capitals),
        "{what}: {status:?}"
    );
    info.reason
}

/// Asserts a refusal's code and reason.
#[track_caller]
pub(crate) fn assert_refused(what: &str, status: &Status, code: Code, reason: &str) {
    assert_eq!(status.code(), code, "{what}: {status:?}");
    assert_eq!(explained(what, status), reason, "{what}: {status:?}");
}
