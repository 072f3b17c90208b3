//! The road between agents and the controller: forwards their bytes, until a test has a man in the middle end TLS on it. What it saw is
//! judged in the tests.

use std::{
    io,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard},
};

use convoy_agent::tls::Tls;
use convoy_shared::token::JoinToken;
use rustls::{
    AlertDescription, DigitallySignedStruct, DistinguishedName, ServerConfig, SignatureScheme,
    client::danger::HandshakeSignatureValid,
    crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, PrivatePkcs8KeyDer, ServerName, UnixTime},
    server::{
        Acceptor,
        danger::{ClientCertVerified, ClientCertVerifier},
    },
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _, copy, copy_bidirectional, split},
    net::{TcpListener, TcpStream},
    runtime::Runtime,
    task::AbortHandle,
};
use tokio_rustls::{LazyConfigAcceptor, TlsConnector};

use crate::frames;

/// A port that leads somewhere.
pub(crate) struct Road {
    pub(crate) address: SocketAddr,
    travel: Arc<Travel>,
    _runtime: Runtime,
}

/// Where the road leads.
#[derive(Clone)]
pub(crate) enum Rule {
    /// To this address, byte for byte.
    Pass(SocketAddr),
    /// The same, but of what is said there only so many bytes come back; then it is still.
    Part(SocketAddr, u64),
    /// To a man in the middle.
    Intercept(Arc<Interceptor>),
}

/// A man in the middle: ends TLS with a certificate of his own, and relays what is said to the controller and back.
pub(crate) struct Interceptor {
    /// The controller.
    pub(crate) to: SocketAddr,
    /// How he connects there.
    pub(crate) tls: Tls,
    /// Holds back what the controller says until these bytes are among it.
    pub(crate) patience: &'static [u8],
    config: Arc<ServerConfig>,
}

/// A connection that he took part in, decrypted.
#[derive(Clone, Default)]
pub(crate) struct Intercepted {
    /// The label that the agent offered, or empty.
    pub(crate) label: String,
    /// The agent showed a certificate.
    pub(crate) identified: bool,
    from_agent: Vec<u8>,
    to_agent: Vec<u8>,
    /// Over, and the agent had closed first.
    pub(crate) closed_by_agent: bool,
}

impl Intercepted {
    /// The gRPC messages that the agent sent.
    pub(crate) fn said(&self) -> Vec<Vec<u8>> {
        frames::messages(&self.from_agent)
    }

    /// Those that it was sent.
    pub(crate) fn heard(&self) -> Vec<Vec<u8>> {
        frames::messages(&self.to_agent)
    }

    /// Whether these bytes were among what the agent sent.
    pub(crate) fn betrays(&self, secret: &[u8]) -> bool {
        contains(&self.from_agent, secret)
    }
}

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    part.is_empty() || bytes.windows(part.len()).any(|window| window == part)
}

#[derive(Default)]
struct Travel {
    rule: Mutex<Option<Rule>>,
    under_way: Mutex<Vec<AbortHandle>>,
    parted: Mutex<Vec<u64>>,
    intercepted: Mutex<Vec<Intercepted>>,
    refused: Mutex<Vec<AlertDescription>>,
}

impl Road {
    /// A road to this address.
    pub(crate) fn to(address: SocketAddr) -> Self {
        let runtime = runtime();
        let socket = runtime
            .block_on(TcpListener::bind("127.0.0.1:0"))
            .expect("a port");
        let own = socket.local_addr().expect("an address");
        let travel = Arc::new(Travel {
            rule: Mutex::new(Some(Rule::Pass(address))),
            ..Travel::default()
        });
        runtime.spawn(accept(socket, Arc::clone(&travel)));
        Self {
            address: own,
            travel,
            _runtime: runtime,
        }
    }

    /// Leads elsewhere from now on. Who is on the way is cut off.
    pub(crate) fn lead(&self, rule: Rule) {
        *lock(&self.travel.rule) = Some(rule);
        for travelling in lock(&self.travel.under_way).drain(..) {
            travelling.abort();
        }
    }

    /// How much came back on each connection that is still, or over, by the rule of a part.
    pub(crate) fn parted(&self) -> Vec<u64> {
        lock(&self.travel.parted).clone()
    }

    /// Handshakes that an agent completed with the man in the middle, in order.
    pub(crate) fn intercepted(&self) -> Vec<Intercepted> {
        lock(&self.travel.intercepted).clone()
    }

    /// The alerts with which agents refused his certificate.
    pub(crate) fn refused(&self) -> Vec<AlertDescription> {
        lock(&self.travel.refused).clone()
    }
}

impl Interceptor {
    /// One who connects to the controller with this.
    pub(crate) fn new(to: SocketAddr, tls: Tls, patience: &'static [u8]) -> Arc<Self> {
        let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()])
            .expect("a certificate of his own");
        let provider = Arc::new(aws_lc_rs::default_provider());
        let mut config = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_client_cert_verifier(Arc::new(AnyClient(provider)))
            .with_single_cert(
                vec![made.cert.der().clone()],
                PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()).into(),
            )
            .expect("a certificate with its key");
        config.alpn_protocols = vec![b"h2".to_vec()];
        Arc::new(Self {
            to,
            tls,
            patience,
            config: Arc::new(config),
        })
    }
}

/// The same token, with these as the controller's only addresses.
pub(crate) fn by_way_of(roads: &[SocketAddr], token: &str) -> String {
    let mut token: JoinToken = token.parse().expect("a token");
    token.addresses = roads.iter().map(SocketAddr::to_string).collect();
    token.to_secret_string().to_string()
}

/// Works beside the test.
pub(crate) fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .expect("a runtime")
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().expect("a lock")
}

async fn accept(socket: TcpListener, travel: Arc<Travel>) {
    while let Ok((stream, _)) = socket.accept().await {
        // Held until the connection can be cut off, so that none escapes a change of the rule.
        let rule = lock(&travel.rule);
        let task = match rule.clone() {
            Some(Rule::Pass(to)) => tokio::spawn(pass(stream, to)),
            Some(Rule::Part(to, bytes)) => {
                tokio::spawn(part(stream, to, bytes, Arc::clone(&travel)))
            }
            Some(Rule::Intercept(man)) => tokio::spawn(intercept(stream, man, Arc::clone(&travel))),
            None => continue,
        };
        lock(&travel.under_way).push(task.abort_handle());
        drop(rule);
    }
}

async fn pass(mut from: TcpStream, to: SocketAddr) {
    if let Ok(mut to) = TcpStream::connect(to).await {
        drop(to.set_nodelay(true));
        drop(from.set_nodelay(true));
        drop(copy_bidirectional(&mut from, &mut to).await);
    }
}

async fn part(from: TcpStream, to: SocketAddr, bytes: u64, travel: Arc<Travel>) {
    let Ok(to) = TcpStream::connect(to).await else {
        return;
    };
    let (mut from_agent, mut to_agent) = split(from);
    let (from_controller, mut to_controller) = split(to);
    let onward = async {
        drop(copy(&mut from_agent, &mut to_controller).await);
        drop(to_controller.shutdown().await);
    };
    let back = async {
        let carried = copy(&mut from_controller.take(bytes), &mut to_agent).await;
        lock(&travel.parted).extend(carried.ok());
    };
    tokio::join!(onward, back);
}

async fn intercept(stream: TcpStream, man: Arc<Interceptor>, travel: Arc<Travel>) {
    let Ok(start) = LazyConfigAcceptor::new(Acceptor::default(), stream).await else {
        return;
    };
    let protocols: Vec<Vec<u8>> = start
        .client_hello()
        .alpn()
        .into_iter()
        .flatten()
        .map(<[u8]>::to_vec)
        .collect();
    let agent = match start.into_stream(Arc::clone(&man.config)).await {
        Ok(agent) => agent,
        Err(error) => {
            if let Some(alert) = alert_of(&error) {
                lock(&travel.refused).push(alert);
            }
            return;
        }
    };
    let label = protocols
        .iter()
        .find(|protocol| protocol.starts_with(b"convoy/"))
        .map(|label| String::from_utf8_lossy(label).into_owned())
        .unwrap_or_default();
    let number = {
        let mut all = lock(&travel.intercepted);
        all.push(Intercepted {
            label,
            identified: agent.get_ref().1.peer_certificates().is_some(),
            ..Intercepted::default()
        });
        all.len() - 1
    };
    let note = |write: &dyn Fn(&mut Intercepted)| write(&mut lock(&travel.intercepted)[number]);
    let Ok(tcp) = TcpStream::connect(man.to).await else {
        return;
    };
    let connector = TlsConnector::from(man.tls.offering(&protocols));
    let name = ServerName::from(man.to.ip());
    let Ok(controller) = connector.connect(name, tcp).await else {
        return;
    };
    let (mut from_agent, mut to_agent) = split(agent);
    let (mut from_controller, mut to_controller) = split(controller);
    let onward = async {
        let mut buffer = vec![0; 16 * 1024];
        while let Ok(length @ 1..) = from_agent.read(&mut buffer).await {
            note(&|seen| seen.from_agent.extend_from_slice(&buffer[..length]));
            if to_controller.write_all(&buffer[..length]).await.is_err() {
                return;
            }
        }
        note(&|seen| seen.closed_by_agent = true);
    };
    let back = async {
        let mut buffer = vec![0; 16 * 1024];
        let mut held_back = Vec::new();
        while let Ok(length @ 1..) = from_controller.read(&mut buffer).await {
            held_back.extend_from_slice(&buffer[..length]);
            let mut all = lock(&travel.intercepted)[number].to_agent.clone();
            all.extend_from_slice(&held_back);
            if !contains(&all, man.patience) {
                continue;
            }
            note(&|seen| seen.to_agent.clone_from(&all));
            if to_agent.write_all(&held_back).await.is_err() {
                return;
            }
            held_back.clear();
        }
    };
    tokio::select! {
        () = onward => {}
        () = back => {}
    }
}

fn alert_of(error: &io::Error) -> Option<AlertDescription> {
    match error.get_ref()?.downcast_ref()? {
        rustls::Error::AlertReceived(alert) => Some(*alert),
        _ => None,
    }
}

/// Asks for a client's certificate, and accepts every one.
#[derive(Debug)]
pub(crate) struct AnyClient(pub(crate) Arc<CryptoProvider>);

impl ClientCertVerifier for AnyClient {
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signed, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
