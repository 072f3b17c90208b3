//! The accept loops: TLS, which certificate for whom, limits for strangers. What a request means is decided behind them.

pub(crate) mod limits;

use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use axum::extract::Request as HttpRequest;
use convoy_fleet::{client::ClientNumber, rotation::closing_window};
use convoy_shared::{
    id::{AnchorNumber, Generation},
    label::{CheckToken, Label},
    proof::EXPORTER_LABEL,
};
use hyper::server::conn::http2;
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use rustls::{AlertDescription, HandshakeKind, server::Acceptor};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream, UnixListener},
    sync::{OwnedSemaphorePermit, Semaphore, watch},
    time::{sleep, timeout},
};
use tokio_rustls::{LazyConfigAcceptor, StartHandshake, server::TlsStream};
use tower::{ServiceExt as _, util::MapRequestLayer};

use limits::{Limits, Place};

use crate::{
    api::status,
    checks::{Checks, DecoySight},
    clock,
    keeper::Keeper,
    peer::{Identity, LocalPeer, Peer, identify, unknown},
    recovery::Hints,
    tls::{HANDSHAKE, TlsConfigs},
};

/// A stranger's connection to the agents' port lasts so long at the most: enough to join. On the operators' port it has so long for its first request.
const STRANGER: Duration = Duration::from_secs(30);
/// A connection to the operators' port is asked to end after so long.
const OPERATOR: Duration = Duration::from_secs(3600);
/// A connection that is asked to end gently is ended after so long.
const GENTLY: Duration = Duration::from_secs(10);
/// Another user of this machine has so long on the local socket to hear that he is refused,
const REFUSED: Duration = Duration::from_secs(5);
/// and so many are told at a time; the others hear nothing.
const REFUSED_AT_ONCE: usize = 16;
/// After a failed `accept`, for example for want of file descriptors.
const ACCEPT_AGAIN: Duration = Duration::from_millis(100);

/// What the accept loops share.
pub struct Listener {
    /// The state, for what to serve.
    pub keeper: Keeper,
    /// Certificates.
    pub configs: Arc<TlsConfigs>,
    /// Where probes and decoys are reported.
    pub checks: Arc<Checks>,
    /// What hints that the journal is an old copy.
    pub hints: Arc<Hints>,
    agents: Limits,
    operators: Limits,
    /// How many clients are out of the roster: changes when one is removed.
    removed: watch::Sender<u64>,
}

/// Who connects to a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Port {
    /// Agents: labels are read, client certificates are asked for.
    Agents,
    /// Operators: the certificate of the phase, and no more.
    Operators,
}

impl Listener {
    /// A listener that has accepted nothing yet.
    #[must_use]
    pub fn new(
        keeper: Keeper,
        configs: Arc<TlsConfigs>,
        checks: Arc<Checks>,
        hints: Arc<Hints>,
    ) -> Self {
        Self {
            keeper,
            configs,
            checks,
            hints,
            agents: Limits::default(),
            operators: Limits::default(),
            removed: watch::Sender::new(0),
        }
    }

    const fn limits(&self, port: Port) -> &Limits {
        match port {
            Port::Agents => &self.agents,
            Port::Operators => &self.operators,
        }
    }

    /// Accepts for ever.
    pub async fn accept(self: Arc<Self>, socket: TcpListener, port: Port, routes: axum::Router) {
        if port == Port::Agents {
            tokio::spawn(Arc::clone(&self).note_removed());
        }
        loop {
            // At the limit, new connections wait in the kernel's queue.
            let Ok(permit) = Arc::clone(&self.limits(port).pending).acquire_owned().await else {
                return;
            };
            let (stream, address) = match socket.accept().await {
                Ok(accepted) => accepted,
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection");
                    sleep(ACCEPT_AGAIN).await;
                    continue;
                }
            };
            let Some(place) = self.limits(port).pending_by_address.place(address.ip()) else {
                tracing::debug!(%address, "too many handshakes from one address");
                continue;
            };
            let listener = Arc::clone(&self);
            let routes = routes.clone();
            tokio::spawn(async move {
                listener
                    .connection(stream, address, port, routes, (permit, place))
                    .await;
            });
        }
    }

    async fn connection(
        &self,
        stream: TcpStream,
        address: SocketAddr,
        port: Port,
        routes: axum::Router,
        pending: (OwnedSemaphorePermit, Place),
    ) {
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%address, %error, "no TCP_NODELAY");
        }
        let handshake = timeout(HANDSHAKE, self.handshake(stream, port)).await;
        drop(pending);
        let (stream, peer) = match handshake {
            Ok(Ok(Some(accepted))) => accepted,
            Ok(Ok(None)) => return,
            Ok(Err(error)) => {
                tracing::debug!(%address, %error, "handshake failed");
                return;
            }
            Err(_) => {
                tracing::debug!(%address, "handshake took too long");
                return;
            }
        };
        let known = peer
            .identity
            .filter(|identity| port == Port::Agents && self.admits(*identity));
        if let Some(identity) = known {
            // Sessions are told to reconnect by their own stream.
            let routes = routes.layer(axum::Extension(Arc::new(peer)));
            return serve_until(routes, stream, self.removed(identity)).await;
        }
        let limits = self.limits(port);
        let (Ok(_permit), Some(_place)) = (
            Arc::clone(&limits.strangers).try_acquire_owned(),
            limits.strangers_by_address.place(address.ip()),
        ) else {
            tracing::debug!(%address, "too many strangers");
            return;
        };
        match port {
            Port::Agents => serve_stranger(stream, peer, routes).await,
            Port::Operators => self.serve_operator(stream, peer, routes).await,
        }
    }

    /// Ends in a connection to be served, or `None` if it was a probe or a decoy.
    async fn handshake(
        &self,
        stream: TcpStream,
        port: Port,
    ) -> io::Result<Option<(TlsStream<TcpStream>, Peer)>> {
        let start = LazyConfigAcceptor::new(Acceptor::default(), stream).await?;
        let label = match port {
            Port::Operators => None,
            Port::Agents => {
                let hello = start.client_hello();
                match hello.alpn().map(Label::find) {
                    None => None,
                    Some(Ok(label)) => label,
                    Some(Err(bad)) => return Err(io::Error::other(bad)),
                }
            }
        };
        match label {
            None => self.session(start, None, port).await.map(Some),
            Some(Label::TrustsAny) => self.session(start, None, port).await.map(Some),
            Some(Label::Trusts(anchors)) => {
                self.session(start, Some(anchors), port).await.map(Some)
            }
            Some(Label::Probe(generation)) => {
                self.probe(start, generation, None).await?;
                Ok(None)
            }
            Some(Label::ProbeOver(generation, place)) => {
                self.probe(start, generation, Some(place)).await?;
                Ok(None)
            }
            Some(Label::Decoy(token)) => {
                self.decoy(start, token).await?;
                Ok(None)
            }
        }
    }

    async fn session(
        &self,
        start: StartHandshake<TcpStream>,
        anchors: Option<Vec<AnchorNumber>>,
        port: Port,
    ) -> io::Result<(TlsStream<TcpStream>, Peer)> {
        let choice = {
            let fleet = self.keeper.read();
            if let Some(anchors) = &anchors {
                self.hints.saw_anchors(&fleet, anchors);
            }
            fleet
                .certificate_for(anchors.as_deref())
                .ok_or_else(|| io::Error::other("no certificate to serve"))?
        };
        let configs = self.configs(choice.generation)?;
        let config = match port {
            Port::Agents => configs.production,
            Port::Operators => configs.operators,
        };
        let stream = start.into_stream(config).await?;
        let (socket, connection) = stream.get_ref();
        let address = socket.peer_addr()?.ip().to_canonical();
        let mut exporter = [0; 32];
        connection
            .export_keying_material(&mut exporter, EXPORTER_LABEL, None)
            .map_err(io::Error::other)?;
        let shown = connection
            .peer_certificates()
            .and_then(|chain| chain.first());
        let (identity, unknown) = {
            let fleet = self.keeper.read();
            (
                shown.and_then(|certificate| identify(&fleet, certificate, clock::now())),
                shown.and_then(|certificate| unknown(&fleet, certificate)),
            )
        };
        let peer = Peer {
            identity,
            address,
            unknown,
            exporter,
            served: choice.generation,
            bridged: choice.bridged,
            full: connection.handshake_kind() != Some(HandshakeKind::Resumed),
            anchors,
        };
        Ok((stream, peer))
    }

    async fn probe(
        &self,
        start: StartHandshake<TcpStream>,
        generation: Generation,
        over: Option<u8>,
    ) -> io::Result<()> {
        if self.keeper.read().candidate() != Some(generation) {
            return Err(io::Error::other(
                "a probe of a certificate that is no candidate",
            ));
        }
        let stream = start.into_stream(self.configs(generation)?.probe).await?;
        // Completed: the client has checked the certificate and proved its own identity.
        if let Some(client) = self.client_of(&stream) {
            tracing::debug!(client, %generation, "probe seen");
            self.checks.saw_probe(client, generation, over);
        }
        Ok(())
    }

    async fn decoy(&self, start: StartHandshake<TcpStream>, token: CheckToken) -> io::Result<()> {
        if !self.checks.wants_decoy(token) {
            return Err(io::Error::other("a decoy that nobody asked for"));
        }
        let names = self.keeper.read().names_to_carry();
        let config = self
            .configs
            .decoy(&names, clock::now())
            .map_err(io::Error::other)?;
        let sight = match start.into_stream(config).await {
            Ok(stream) => DecoySight::Completed(self.client_of(&stream)),
            Err(error) if refuses_certificate(&error) => DecoySight::Refused,
            Err(_) => DecoySight::Broken,
        };
        tracing::debug!(?sight, "decoy seen");
        self.checks.saw_decoy(token, sight);
        Ok(())
    }

    fn configs(&self, generation: Generation) -> io::Result<crate::tls::Configs> {
        if let Some(configs) = self.configs.of(generation) {
            return Ok(configs);
        }
        let certificate = self
            .keeper
            .read()
            .certificate(generation)
            .map(|kept| kept.certificate.clone())
            .ok_or_else(|| io::Error::other("unknown generation"))?;
        self.configs
            .load(generation, &certificate)
            .map_err(io::Error::other)?;
        self.configs
            .of(generation)
            .ok_or_else(|| io::Error::other("unknown generation"))
    }

    fn client_of(&self, stream: &TlsStream<TcpStream>) -> Option<ClientNumber> {
        let (_, connection) = stream.get_ref();
        let certificate = connection.peer_certificates()?.first()?;
        let identity = identify(&self.keeper.read(), certificate, clock::now())?;
        (self.admits(identity) && !identity.expired).then_some(identity.client)
    }

    fn admits(&self, identity: Identity) -> bool {
        identity.admitted(&self.keeper.read()).is_ok()
    }

    /// Returns when the client may not act as one any more.
    async fn removed(&self, identity: Identity) {
        let mut removed = self.removed.subscribe();
        while self.admits(identity) {
            if removed.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }

    /// Tells the clients' connections that somebody was removed: they do not all look at every entry.
    async fn note_removed(self: Arc<Self>) {
        let mut heads = self.keeper.heads();
        let mut seen = None;
        loop {
            let structure = heads.borrow_and_update().structure;
            if seen != Some(structure) {
                seen = Some(structure);
                let clients = self.keeper.read().next_client();
                let left = self.keeper.read().roster().len();
                self.removed.send_if_modified(|removed| {
                    let now = u64::from(clients).saturating_sub(left);
                    std::mem::replace(removed, now) != now
                });
            }
            if heads.changed().await.is_err() {
                return;
            }
        }
    }

    async fn serve_operator(&self, stream: TlsStream<TcpStream>, peer: Peer, routes: axum::Router) {
        let spoke = Arc::new(AtomicBool::new(false));
        let speaks = Arc::clone(&spoke);
        let routes = routes.layer(MapRequestLayer::new(move |request: HttpRequest| {
            speaks.store(true, Ordering::Relaxed);
            request
        }));
        let silent = async {
            sleep(STRANGER).await;
            if spoke.load(Ordering::Relaxed) {
                sleep(OPERATOR).await;
            }
        };
        let until = async {
            tokio::select! {
                () = self.swapped(peer.served) => {}
                () = silent => {}
            }
        };
        serve_until(routes, stream, until).await;
    }

    /// Returns when another certificate than this is served, a moment later.
    async fn swapped(&self, served: Generation) {
        let mut heads = self.keeper.heads();
        loop {
            heads.borrow_and_update();
            if self.keeper.read().serving() != Some(served) {
                break;
            }
            if heads.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
        sleep(closing_window(0).unsigned_abs().mul_f64(rand::random())).await;
    }

    /// Accepts on the local socket for ever. Only root and the controller's own user get further.
    pub async fn accept_local(socket: UnixListener, own_uid: u32, routes: axum::Router) {
        let refused = Arc::new(Semaphore::new(REFUSED_AT_ONCE));
        loop {
            let stream = match socket.accept().await {
                Ok((stream, _)) => stream,
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a local connection");
                    sleep(ACCEPT_AGAIN).await;
                    continue;
                }
            };
            let uid = match stream.peer_cred() {
                Ok(peer) if peer.uid() == 0 || peer.uid() == own_uid => peer.uid(),
                Ok(peer) => {
                    tracing::warn!(uid = peer.uid(), "refused on the local socket");
                    let Ok(place) = Arc::clone(&refused).try_acquire_owned() else {
                        continue;
                    };
                    let refusing = axum::Router::new().fallback(async || {
                        status::denied(
                            "OPERATOR_REQUIRED",
                            "only root and the controller's own user are served",
                        )
                        .into_http::<axum::body::Body>()
                    });
                    tokio::spawn(async move {
                        drop(timeout(REFUSED, http(refusing, stream)).await);
                        drop(place);
                    });
                    continue;
                }
                Err(error) => {
                    tracing::warn!(%error, "a local peer of unknown user");
                    continue;
                }
            };
            let service = routes.clone().layer(axum::Extension(LocalPeer { uid }));
            tokio::spawn(http(service, stream));
        }
    }
}

async fn http(routes: axum::Router, stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) {
    serve_until(routes, stream, std::future::pending()).await;
}

/// Serves a connection until this comes, and then ends it gently.
async fn serve_until(
    routes: axum::Router,
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    until: impl Future<Output = ()>,
) {
    let service =
        TowerToHyperService::new(routes.into_service::<hyper::body::Incoming>().boxed_clone());
    let builder = http_builder();
    let connection = builder.serve_connection(TokioIo::new(stream), service);
    tokio::pin!(connection);
    tokio::select! {
        ended = connection.as_mut() => {
            if let Err(error) = ended {
                tracing::debug!(%error, "a connection ended");
            }
            return;
        }
        () = until => {}
    }
    connection.as_mut().graceful_shutdown();
    if timeout(GENTLY, connection).await.is_err() {
        tracing::debug!("a connection was cut");
    }
}

fn http_builder() -> http2::Builder<TokioExecutor> {
    let mut builder = http2::Builder::new(TokioExecutor::new());
    builder
        .timer(TokioTimer::new())
        .keep_alive_interval(Duration::from_secs(20))
        .keep_alive_timeout(Duration::from_secs(20))
        .max_concurrent_streams(16)
        .max_header_list_size(8 * 1024)
        .max_pending_accept_reset_streams(20);
    builder
}

/// Whether a handshake ended with a fatal alert about the certificate (RFC 8446, section 6.2). Which one depends on what the peer's verifier missed.
fn refuses_certificate(error: &io::Error) -> bool {
    let alert = error
        .get_ref()
        .and_then(|error| error.downcast_ref::<rustls::Error>());
    matches!(
        alert,
        Some(rustls::Error::AlertReceived(
            AlertDescription::BadCertificate
                | AlertDescription::UnsupportedCertificate
                | AlertDescription::CertificateRevoked
                | AlertDescription::CertificateExpired
                | AlertDescription::CertificateUnknown
                | AlertDescription::UnknownCA
                | AlertDescription::AccessDenied
        ))
    )
}

async fn serve_stranger(stream: TlsStream<TcpStream>, peer: Peer, routes: axum::Router) {
    let service = routes.layer(axum::Extension(Arc::new(peer)));
    if timeout(STRANGER, http(service, stream)).await.is_err() {
        tracing::debug!("a stranger's connection was cut");
    }
}
