//! The accept loops: TLS, which certificate for whom, limits for strangers. What a request means is decided behind them.

pub mod addresses;
mod limits;
pub(crate) mod places;
mod serving;

use std::{
    collections::HashMap,
    io,
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use axum::Router;
use convoy_fleet::{client::ClientNumber, state::Choice};
use convoy_shared::{
    id::{AnchorNumber, Generation},
    label::{CheckToken, Label},
    proof::EXPORTER_LABEL,
};
use rustls::{AlertDescription, HandshakeKind, server::Acceptor};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::watch,
    time::{sleep, timeout},
};
use tokio_rustls::{LazyConfigAcceptor, StartHandshake, server::TlsStream};

use addresses::Counting;
use limits::Limits;
use places::Place;
pub use serving::accept_local;
use serving::{Encrypted, Task};

use crate::{
    checks::{Checks, DecoySight},
    clock,
    keeper::Keeper,
    peer::{Identity, Peer, identify, unknown},
    recovery::Hints,
    refusals::{Refusals, words},
    stopping::Stopping,
    tls::{HANDSHAKE, TlsConfigs},
};

/// A peer has so long to begin with TLS.
const CLIENT_HELLO: Duration = Duration::from_secs(2);
/// The turns of so many lists of unknown anchors are kept.
const MOST_TURNS: usize = 1024;
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
    /// Where handshakes are counted in which the certificate was refused.
    pub refusals: Arc<Refusals>,
    /// How many certificates were refused by those that name these anchors, of which the journal knows none.
    turns: Mutex<HashMap<Vec<AnchorNumber>, usize>>,
    stopping: Stopping,
    agents: Limits,
    operators: Limits,
    /// How many clients are out of the roster: changes when one is removed.
    removed: watch::Sender<u64>,
}

/// What is served on a port.
#[derive(Clone)]
pub struct Served {
    /// To clients of the fleet.
    pub clients: Router,
    /// To everybody else.
    pub strangers: Router,
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
        refusals: Arc<Refusals>,
        addresses: &Arc<Counting>,
        stopping: Stopping,
    ) -> Self {
        Self {
            keeper,
            configs,
            checks,
            hints,
            refusals,
            turns: Mutex::default(),
            stopping,
            agents: Limits::agents(addresses),
            operators: Limits::operators(addresses),
            removed: watch::Sender::new(0),
        }
    }

    const fn limits(&self, port: Port) -> &Limits {
        match port {
            Port::Agents => &self.agents,
            Port::Operators => &self.operators,
        }
    }

    /// Accepts until the controller stops.
    pub async fn accept(self: Arc<Self>, socket: TcpListener, port: Port, served: Served) {
        if port == Port::Agents {
            self.stopping
                .spawn_until_asked(Arc::clone(&self).note_removed());
        }
        loop {
            let accepted = tokio::select! {
                accepted = socket.accept() => accepted,
                () = self.stopping.asked() => return,
            };
            let (stream, address) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection");
                    sleep(ACCEPT_AGAIN).await;
                    continue;
                }
            };
            let listener = Arc::clone(&self);
            let served = served.clone();
            self.stopping.spawn(async move {
                listener.connection(stream, address, port, served).await;
            });
        }
    }

    async fn connection(&self, stream: TcpStream, address: SocketAddr, port: Port, served: Served) {
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%address, %error, "no TCP_NODELAY");
        }
        let shaken = tokio::select! {
            shaken = self.shake(stream, address, port) => shaken,
            () = self.stopping.asked() => return,
        };
        let (stream, peer) = match shaken {
            Ok(Some(accepted)) => accepted,
            Ok(None) => return,
            Err(error) => {
                tracing::debug!(%address, %error, "handshake failed");
                return;
            }
        };
        let limits = self.limits(port);
        let client = peer
            .identity
            .filter(|identity| port == Port::Agents && self.admits(*identity));
        if let Some(identity) = client {
            limits.met(address.ip());
            let connection = limits.clients.open(identity.client);
            let clients = served.clients;
            return self
                .serve_client(stream, peer, identity, clients, connection)
                .await;
        }
        let place = tokio::select! {
            place = limits.strangers.take(address.ip()) => place,
            () = self.stopping.asked() => None,
        };
        let Some(place) = place else {
            tracing::debug!(%address, "too many strangers at this address");
            return;
        };
        match port {
            Port::Agents => self.serve_stranger(stream, peer, served.strangers, place),
            Port::Operators => self.serve_operator(stream, peer, served.strangers, place),
        }
        .await;
    }

    /// A handshake, in a place of its own for as long as it lasts.
    fn shake(
        &self,
        stream: TcpStream,
        address: SocketAddr,
        port: Port,
    ) -> Task<'_, io::Result<Option<(Encrypted, Peer)>>> {
        Box::pin(async move {
            let pending = self.limits(port).pending(address.ip());
            let Some(place) = pending.take(address.ip()).await else {
                return Err(io::Error::other("too many others at this address"));
            };
            tokio::select! {
                shaken = timeout(HANDSHAKE, self.handshake(stream, address, port, &place)) => {
                    shaken.unwrap_or_else(|_| Err(io::Error::other("it took too long")))
                }
                () = place.put_out() => Err(io::Error::other("it has made room for newer ones")),
            }
        })
    }

    /// Ends in a connection to be served, or `None` if it was a probe or a decoy.
    async fn handshake(
        &self,
        stream: TcpStream,
        address: SocketAddr,
        port: Port,
        place: &Place,
    ) -> io::Result<Option<(Encrypted, Peer)>> {
        let hello = LazyConfigAcceptor::new(Acceptor::default(), stream);
        let start = timeout(CLIENT_HELLO, hello)
            .await
            .map_err(|_| io::Error::other("no ClientHello in time"))??;
        place.spoke();
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
        // A decoy that is refused is no error: it is there for that.
        let counted = (port == Port::Agents).then(|| label.clone());
        let shaken = self.shaken(start, label, address.ip(), port).await;
        if let (Err(error), Some(label)) = (&shaken, counted)
            && refuses_certificate(error)
        {
            self.note_refusal(address.ip(), label);
        }
        shaken
    }

    async fn shaken(
        &self,
        start: StartHandshake<TcpStream>,
        label: Option<Label>,
        address: IpAddr,
        port: Port,
    ) -> io::Result<Option<(Encrypted, Peer)>> {
        let anchors = match label {
            None | Some(Label::TrustsAny) => None,
            Some(Label::Trusts(anchors)) => Some(anchors),
            Some(Label::Probe(generation)) => {
                self.probe(start, generation, None).await?;
                return Ok(None);
            }
            Some(Label::ProbeOver(generation, over)) => {
                self.probe(start, generation, Some(over)).await?;
                return Ok(None);
            }
            Some(Label::Decoy(token)) => {
                self.decoy(start, token).await?;
                return Ok(None);
            }
        };
        self.session(start, anchors, address.to_canonical(), port)
            .await
            .map(Some)
    }

    /// A hint, and no more: whoever sends an alert has shown nothing of who it is.
    fn note_refusal(&self, address: IpAddr, label: Option<Label>) {
        let said = words(&self.keeper.read(), label.as_ref());
        if self.refusals.saw(address, label, clock::now()) {
            tracing::info!(
                %address,
                said,
                "a peer refused the certificate: it may be a client that is cut off, and anybody can forge it; `convoy status` counts them"
            );
        }
    }

    async fn session(
        &self,
        start: StartHandshake<TcpStream>,
        anchors: Option<Vec<AnchorNumber>>,
        address: IpAddr,
        port: Port,
    ) -> io::Result<(Encrypted, Peer)> {
        let choice = {
            let fleet = self.keeper.read();
            if let Some(anchors) = &anchors {
                self.hints.saw_anchors(&fleet, anchors);
            }
            let guesses = anchors
                .as_deref()
                .map_or_else(Vec::new, |anchors| fleet.guesses(anchors));
            self.in_turn(&guesses, anchors.as_deref())
                .or_else(|| fleet.certificate_for(anchors.as_deref()))
                .ok_or_else(|| io::Error::other("no certificate to serve"))?
        };
        let configs = self.configs(choice.generation)?;
        let config = match port {
            Port::Agents => configs.production,
            Port::Operators => configs.operators,
        };
        let stream = start.into_stream(config).await.inspect_err(|error| {
            if let Some(anchors) = &anchors
                && refuses_certificate(error)
            {
                self.refused(anchors);
            }
        })?;
        let (_, connection) = stream.get_ref();
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
        Ok((Box::new(stream), peer))
    }

    /// The certificate to try next on a client of whose anchors none is known.
    fn in_turn(&self, guesses: &[Choice], anchors: Option<&[AnchorNumber]>) -> Option<Choice> {
        let turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
        let turn = turns.get(anchors?).copied().unwrap_or(0);
        guesses
            .iter()
            .cycle()
            .nth(turn % guesses.len().max(1))
            .copied()
    }

    /// A client has refused what it was shown.
    fn refused(&self, anchors: &[AnchorNumber]) {
        if self.keeper.read().guesses(anchors).is_empty() {
            return;
        }
        let mut turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
        // Anybody can name any anchors.
        if turns.len() >= MOST_TURNS && !turns.contains_key(anchors) {
            turns.clear();
        }
        let turn = turns.entry(anchors.to_vec()).or_default();
        *turn = turn.wrapping_add(1);
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
