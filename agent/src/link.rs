//! One TLS connection and the HTTP/2 on it, owned by whoever opened it: it never reconnects. What is said on it lives elsewhere.

use std::{
    future::Future,
    net::SocketAddr,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use convoy_host::dial::{NoAnswer, Road, Unresolved};
use convoy_proto::v1::agent_service_client::AgentServiceClient;
use convoy_shared::{
    proof::{EXPORTER_LABEL, Exporter},
    trust::Rejected,
};
use hyper::{body::Incoming, client::conn::http2};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rustls::HandshakeKind;
use rustls_pki_types::CertificateDer;
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::TcpStream,
    task::JoinHandle,
    time::timeout,
};
use tokio_rustls::{TlsConnector, client::TlsStream};
use tonic::body::Body;
use tower_service::Service;

use crate::{
    address::Address,
    tls::{H2, Tls},
};

/// For TLS on a connection. The name, and TCP to each of its addresses, have limits of their own.
pub const TLS_TIMEOUT: Duration = Duration::from_secs(10);
/// Between two pings.
const PING_EVERY: Duration = Duration::from_secs(20);
/// For the answer to one.
const PING_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a peer may take to close its side after this one has.
const LINGER: Duration = Duration::from_secs(2);

/// A client of the agents' service on one connection.
pub type Client = AgentServiceClient<Http2>;

/// A connection.
#[derive(Debug)]
pub struct Link {
    /// Calls the service. Clones call on the same connection.
    pub client: Client,
    /// The TLS exporter (RFC 9266), 32 bytes.
    pub exporter: Exporter,
    /// Whether the handshake was full or resumed.
    pub handshake_kind: Option<HandshakeKind>,
    /// What the server showed, end entity first.
    pub peer_certificates: Vec<CertificateDer<'static>>,
    /// Where it goes.
    pub address: Address,
    /// The one of that name's IP addresses that answered.
    pub peer: SocketAddr,
    driver: Driver,
}

impl Link {
    /// Connects, and offers these ALPN protocols. The server must take `h2`. Tries each address of the name, until one answers so.
    ///
    /// # Errors
    /// If none does: what was most telling.
    pub async fn open(
        address: &Address,
        tls: &Tls,
        protocols: &[Vec<u8>],
    ) -> Result<Self, LinkError> {
        let mut road = road(address, None).await?;
        let mut told = None;
        while let Some(step) = road.next().await {
            match Self::open_on(address, step, tls, protocols).await {
                Ok(link) => return Ok(link),
                Err(error) => told = Some(error.or_more_telling(told)),
            }
        }
        Err(told.unwrap_or_else(|| LinkError::NoAnswer(road.failed())))
    }

    /// The same on one TCP connection.
    ///
    /// # Errors
    /// If the server is silent for [`TLS_TIMEOUT`], its certificate is refused, or it does not speak HTTP/2.
    pub async fn open_on(
        address: &Address,
        (peer, tcp): (SocketAddr, TcpStream),
        tls: &Tls,
        protocols: &[Vec<u8>],
    ) -> Result<Self, LinkError> {
        let stream = shake(address, tcp, tls, protocols).await?;
        let connection = stream.get_ref().1;
        if connection.alpn_protocol() != Some(H2) {
            return Err(LinkError::NoHttp2);
        }
        let exporter = connection
            // No context: RFC 9266, section 4.2.
            .export_keying_material([0; 32], EXPORTER_LABEL, None)
            .map_err(LinkError::Exporter)?;
        let handshake_kind = connection.handshake_kind();
        let peer_certificates = connection.peer_certificates().unwrap_or_default().to_vec();
        let (sender, connection) = http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .keep_alive_interval(PING_EVERY)
            .keep_alive_timeout(PING_TIMEOUT)
            .keep_alive_while_idle(true)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(LinkError::Http)?;
        let driver = Driver(tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "the connection broke");
            }
        }));
        let origin = http::Uri::builder()
            .scheme("https")
            .authority(address.to_string())
            .path_and_query("/")
            .build()
            .map_err(LinkError::Origin)?;
        Ok(Self {
            client: Client::with_origin(Http2(sender), origin),
            exporter,
            handshake_kind,
            peer_certificates,
            address: address.clone(),
            peer,
            driver,
        })
    }

    /// Closes it in order: waits a little for what is under way, then takes leave of HTTP/2 and TLS.
    pub async fn close(self) {
        let Self {
            client, mut driver, ..
        } = self;
        drop(client);
        if timeout(LINGER, &mut driver.0).await.is_err() {
            tracing::debug!("the connection was slow to close, and was cut");
        }
    }
}

/// The road to an address. `works`: which of its IP addresses led to the controller before.
///
/// # Errors
/// If the name has none.
pub(crate) async fn road(address: &Address, works: Option<SocketAddr>) -> Result<Road, LinkError> {
    Road::to(&address.host(), address.port(), works)
        .await
        .map_err(LinkError::Name)
}

/// Connects and shakes hands. If the certificate is refused, the alert has reached the server, or [`LINGER`] is over, when this returns.
pub(crate) async fn handshake(
    address: &Address,
    works: Option<SocketAddr>,
    tls: &Tls,
    protocols: &[Vec<u8>],
) -> Result<TlsStream<TcpStream>, LinkError> {
    let mut road = road(address, works).await?;
    let mut told = None;
    while let Some((_, tcp)) = road.next().await {
        match shake(address, tcp, tls, protocols).await {
            Ok(stream) => return Ok(stream),
            // An answer. Another address would give another.
            Err(error @ LinkError::Rejected(_)) => return Err(error),
            Err(error) => told = Some(error.or_more_telling(told)),
        }
    }
    Err(told.unwrap_or_else(|| LinkError::NoAnswer(road.failed())))
}

async fn shake(
    address: &Address,
    tcp: TcpStream,
    tls: &Tls,
    protocols: &[Vec<u8>],
) -> Result<TlsStream<TcpStream>, LinkError> {
    let connector = TlsConnector::from(tls.offering(protocols));
    let name = address.server_name().clone();
    let shaken = timeout(TLS_TIMEOUT, connector.connect(name, tcp).into_fallible()).await;
    match shaken {
        Ok(Ok(stream)) => Ok(stream),
        Ok(Err((error, tcp))) => match tls.verifier().rejection() {
            Some(rejected) => {
                take_leave(tcp).await;
                Err(LinkError::Rejected(rejected))
            }
            None => Err(LinkError::Tls(error)),
        },
        Err(_) => Err(LinkError::Silent),
    }
}

/// Closes this side, and reads on until the peer has closed its own. To close with bytes unread would make the kernel send a reset, which
/// can overtake the alert or the last handshake message.
pub(crate) async fn take_leave<S: AsyncRead + AsyncWrite + Unpin>(mut stream: S) {
    let left = timeout(LINGER, async {
        stream.shutdown().await?;
        let mut rest = [0; 1024];
        while stream.read(&mut rest).await? > 0 {}
        Ok::<_, std::io::Error>(())
    });
    match left.await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(%error, "the peer did not take leave"),
        Err(_) => tracing::debug!("the peer was slow to take leave"),
    }
}

/// Ends the connection's task with its owner.
#[derive(Debug)]
struct Driver(JoinHandle<()>);

impl Drop for Driver {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// HTTP/2 on one connection.
#[derive(Clone, Debug)]
pub struct Http2(http2::SendRequest<Body>);

impl Service<http::Request<Body>> for Http2 {
    type Response = http::Response<Incoming>;
    type Error = hyper::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), hyper::Error>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        Box::pin(self.0.send_request(request))
    }
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// No address for the name.
    #[error(transparent)]
    Name(Unresolved),
    /// No TCP connection to any address of the name.
    #[error("{}", told_each(.0))]
    NoAnswer(Vec<(SocketAddr, NoAnswer)>),
    /// A TCP connection, and then nothing.
    #[error("no answer to the TLS handshake within {} s", TLS_TIMEOUT.as_secs())]
    Silent,
    /// This client refused the server's certificate.
    #[error("the server's certificate is not accepted")]
    Rejected(#[source] Rejected),
    /// The handshake failed for another reason.
    #[error("the TLS handshake failed")]
    Tls(#[source] std::io::Error),
    /// It speaks something else.
    #[error("the server does not speak HTTP/2: is this the agents' port?")]
    NoHttp2,
    /// No exporter.
    #[error("TLS gives no channel binding")]
    Exporter(#[source] rustls::Error),
    /// HTTP/2 did not start.
    #[error("HTTP/2 did not start")]
    Http(#[source] hyper::Error),
    /// The address is no authority of a URI.
    #[error("the address does not fit into a URI")]
    Origin(#[source] http::Error),
}

impl LinkError {
    /// Of two errors at addresses of one name the one that says more: that a certificate was refused, before all.
    pub(crate) fn or_more_telling(self, other: Option<Self>) -> Self {
        match other {
            Some(other @ Self::Rejected(_)) => other,
            Some(_) | None => self,
        }
    }
}

fn told_each(failed: &[(SocketAddr, NoAnswer)]) -> String {
    match failed {
        [(_, error)] => told(error),
        all => told_all(all),
    }
}

/// An error and its causes, on one line.
pub(crate) fn told(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let next = error.to_string();
        if !text.ends_with(&next) {
            text = format!("{text}: {next}");
        }
        cause = error.source();
    }
    text
}

/// What happened at each address, on one line.
pub(crate) fn told_all<'a, A: std::fmt::Display + 'a, E: std::error::Error + 'a>(
    failures: impl IntoIterator<Item = &'a (A, E)>,
) -> String {
    let all: Vec<_> = failures
        .into_iter()
        .map(|(address, error)| format!("{address}: {}", told(error)))
        .collect();
    all.join("; ")
}
