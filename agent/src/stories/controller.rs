//! A controller that does what a story says. It decides nothing, and keeps nothing.

use std::{
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use convoy_proto::{
    agent::PROTOCOL_VERSION,
    documents::encode_channel_proof,
    v1::{
        self,
        agent_service_server::{AgentService, AgentServiceServer},
    },
};
use convoy_shared::{
    ack::Held,
    envelope::{Envelope, PayloadType, SigningKey},
    id::{Epoch, TokenId},
    label::Label,
    proof::{ChannelProof, EXPORTER_LABEL, Exporter, join_message},
    token::{JoinToken, TokenSecret},
    trust::Mode,
};
use hyper::server::conn::http2;
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    service::TowerToHyperService,
};
use rustls::{
    HandshakeKind, RootCertStore, ServerConfig,
    crypto::aws_lc_rs::{Ticketer, default_provider},
    server::WebPkiClientVerifier,
    version::TLS13,
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{Notify, mpsc},
    time::timeout,
};
use tokio_rustls::LazyConfigAcceptor;
use tonic::{Request, Response, Status, Streaming};
use zeroize::Zeroizing;

use super::visit::Visit;
use crate::{
    clock,
    samples::{Fleet, Server, client_id},
};

pub(super) const PATIENCE: Duration = Duration::from_secs(20);

pub(super) struct Controller {
    pub(super) fleet: Arc<Fleet>,
    shared: Arc<Shared>,
    address: String,
    visits: mpsc::UnboundedReceiver<Visit>,
}

struct Shared {
    fleet: Arc<Fleet>,
    candidate: Server,
    lies: AtomicBool,
    rotated: AtomicBool,
    joins: AtomicUsize,
    life: Mutex<(i64, i64)>,
    renewed: Notify,
    scep_attempt: AtomicU64,
    seen: Mutex<Vec<Seen>>,
    visits: mpsc::UnboundedSender<Visit>,
}

/// The end of a probe or decoy, seen by the controller.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) label: Label,
    pub(super) alert: Option<String>,
    pub(super) identity: bool,
}

impl Controller {
    pub(super) async fn start() -> Self {
        let fleet = Arc::new(Fleet::new());
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("bound");
        let address = listener.local_addr().expect("bound").to_string();
        let (sender, visits) = mpsc::unbounded_channel();
        let shared = Arc::new(Shared {
            fleet: Arc::clone(&fleet),
            candidate: Server::self_signed(false),
            lies: AtomicBool::new(false),
            rotated: AtomicBool::new(false),
            joins: AtomicUsize::new(0),
            life: Mutex::new((1, 29)),
            renewed: Notify::new(),
            scep_attempt: AtomicU64::new(0),
            seen: Mutex::new(Vec::new()),
            visits: sender,
        });
        let production = config(&fleet, &fleet.server, true);
        let accepting = Arc::clone(&shared);
        tokio::spawn(async move {
            loop {
                let (tcp, _) = listener.accept().await.expect("a connection");
                let (shared, production) = (Arc::clone(&accepting), Arc::clone(&production));
                tokio::spawn(async move { shared.serve(tcp, production).await });
            }
        });
        Self {
            fleet,
            shared,
            address,
            visits,
        }
    }

    pub(super) fn token(&self) -> JoinToken {
        JoinToken {
            addresses: vec!["127.0.0.1:1".to_owned(), self.address.clone()],
            root_digest: self.fleet.root().envelope.digest(),
            id: TokenId::from_bytes(&[5; 16]).expect("16 bytes"),
            secret: secret(),
        }
    }

    pub(super) async fn visit(&mut self) -> Visit {
        let visit = timeout(PATIENCE, self.visits.recv()).await;
        visit.expect("in time").expect("a visit")
    }

    /// The first visit of an agent that holds this.
    pub(super) async fn visit_with(&mut self, held: Held) -> Visit {
        for _ in 0..10 {
            let visit = self.visit().await;
            if visit.hello.trust == Some(held.into()) {
                return visit;
            }
        }
        panic!("nobody came who holds revision {}", held.revision);
    }

    pub(super) fn candidate(&self) -> &Server {
        &self.shared.candidate
    }

    pub(super) fn lie_about_the_channel(&self, lies: bool) {
        self.shared.lies.store(lies, Ordering::SeqCst);
    }

    pub(super) fn rotate_root(&self) {
        self.shared.rotated.store(true, Ordering::SeqCst);
    }

    /// From now on the controller has records up to this attempt.
    pub(super) fn knows_of(&self, attempt: u64) {
        self.shared.scep_attempt.store(attempt, Ordering::SeqCst);
    }

    pub(super) fn joins(&self) -> usize {
        self.shared.joins.load(Ordering::SeqCst)
    }

    pub(super) fn certify_for(&self, before: i64, after: i64) {
        *self.shared.life.lock().expect("unpoisoned") = (before, after);
    }

    pub(super) async fn renewed(&self) {
        let renewed = timeout(PATIENCE, self.shared.renewed.notified()).await;
        renewed.expect("in time");
    }

    pub(super) fn seen(&self) -> Vec<Seen> {
        std::mem::take(&mut *self.shared.seen.lock().expect("unpoisoned"))
    }
}

fn secret() -> TokenSecret {
    TokenSecret::new(Zeroizing::new([9; 32]))
}

fn config(fleet: &Fleet, server: &Server, tickets: bool) -> Arc<ServerConfig> {
    let provider = Arc::new(default_provider());
    let mut roots = RootCertStore::empty();
    roots.add(fleet.clients_ca()).expect("a CA");
    let clients = WebPkiClientVerifier::builder_with_provider(roots.into(), Arc::clone(&provider))
        .allow_unauthenticated()
        .build()
        .expect("a verifier");
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&TLS13])
        .expect("TLS 1.3")
        .with_client_cert_verifier(clients)
        .with_single_cert(server.chain.clone(), server.key())
        .expect("a certificate");
    config.alpn_protocols = vec![b"h2".to_vec()];
    if tickets {
        config.ticketer = Ticketer::new().expect("a ticketer");
    } else {
        config.send_tls13_tickets = 0;
    }
    Arc::new(config)
}

impl Shared {
    async fn serve(self: Arc<Self>, tcp: TcpStream, production: Arc<ServerConfig>) {
        let start = LazyConfigAcceptor::new(rustls::server::Acceptor::default(), tcp)
            .await
            .expect("a ClientHello");
        let hello = start.client_hello();
        let label = Label::find(hello.alpn().into_iter().flatten()).expect("a good label");
        let config = match &label {
            Some(Label::Probe(_) | Label::ProbeOver(..)) => {
                config(&self.fleet, &self.candidate, false)
            }
            Some(Label::Decoy(_)) => config(&self.fleet, &Server::self_signed(false), false),
            Some(Label::Trusts(_) | Label::TrustsAny) | None => production,
        };
        let checked = matches!(label, Some(Label::Probe(_) | Label::Decoy(_)));
        let shaken = start.into_stream(config).await;
        if let (true, Some(label)) = (checked, &label) {
            self.seen.lock().expect("unpoisoned").push(Seen {
                label: label.clone(),
                alert: shaken.as_ref().err().map(|error| {
                    let text = error.to_string();
                    text.rsplit(": ").next().unwrap_or_default().to_owned()
                }),
                identity: shaken
                    .as_ref()
                    .is_ok_and(|stream| stream.get_ref().1.peer_certificates().is_some()),
            });
            return;
        }
        let Ok(stream) = shaken else { return };
        let connection = stream.get_ref().1;
        let exporter = connection
            .export_keying_material([0; 32], EXPORTER_LABEL, None)
            .expect("an exporter");
        let service = AgentServiceServer::new(Service {
            exporter,
            label,
            kind: connection.handshake_kind().expect("shaken"),
            identified: connection.peer_certificates().is_some(),
            shared: self,
        });
        let served = http2::Builder::new(TokioExecutor::new())
            .serve_connection(TokioIo::new(stream), TowerToHyperService::new(service))
            .await;
        drop(served);
    }
}

struct Service {
    shared: Arc<Shared>,
    exporter: Exporter,
    label: Option<Label>,
    kind: HandshakeKind,
    identified: bool,
}

impl Service {
    fn proof(&self, nonce: &[u8]) -> Envelope {
        let root = self.shared.fleet.root().root;
        let mut exporter = self.exporter;
        exporter[0] ^= u8::from(self.shared.lies.load(Ordering::SeqCst));
        let proof = ChannelProof {
            fleet_id: root.fleet_id,
            nonce: nonce.try_into().expect("32 bytes"),
            exporter,
            time: clock::wall(),
            epoch: Epoch::FIRST,
            doubted: false,
        };
        let key = if self.shared.rotated.load(Ordering::SeqCst) {
            SigningKey::from_seed(&[102; 32]).expect("32 bytes")
        } else {
            self.shared.fleet.policy_key()
        };
        Envelope::sign(PayloadType::Channel, encode_channel_proof(&proof), &[&key])
    }

    fn certify(&self, request: &[u8]) -> Vec<bytes::Bytes> {
        let (before, after) = *self.shared.life.lock().expect("unpoisoned");
        let chain = self.shared.fleet.certify(request, before, after);
        chain.into_iter().map(|der| der.to_vec().into()).collect()
    }
}

#[tonic::async_trait]
impl AgentService for Service {
    async fn greet(
        &self,
        request: Request<v1::GreetRequest>,
    ) -> Result<Response<v1::GreetResponse>, Status> {
        Ok(Response::new(v1::GreetResponse {
            roots: vec![self.shared.fleet.root().envelope.into()],
            channel_proof: Some(self.proof(&request.into_inner().nonce).into()),
        }))
    }

    async fn join(
        &self,
        request: Request<v1::JoinRequest>,
    ) -> Result<Response<v1::JoinResponse>, Status> {
        self.shared.joins.fetch_add(1, Ordering::SeqCst);
        let request = request.into_inner();
        let fleet = self.shared.fleet.root().root.fleet_id;
        let token = TokenId::from_bytes(&request.token_id).expect("a token id");
        let message = join_message(fleet, token, &request.certificate_request, &self.exporter);
        let key = secret().signing_key().expect("a key").public();
        assert!(key.verify(&message, &request.token_signature));
        Ok(Response::new(v1::JoinResponse {
            client_id: client_id().as_bytes().to_vec().into(),
            certificates: self.certify(&request.certificate_request),
            trust: Some(self.shared.fleet.trust(5, Mode::Verify).envelope.into()),
            group: "default".to_owned(),
        }))
    }

    async fn renew_identity(
        &self,
        request: Request<v1::RenewIdentityRequest>,
    ) -> Result<Response<v1::RenewIdentityResponse>, Status> {
        let certificates = self.certify(&request.into_inner().certificate_request);
        self.shared.renewed.notify_one();
        Ok(Response::new(v1::RenewIdentityResponse { certificates }))
    }

    async fn confirm_identity(
        &self,
        _request: Request<v1::ConfirmIdentityRequest>,
    ) -> Result<Response<v1::ConfirmIdentityResponse>, Status> {
        assert!(self.identified, "a stranger asks whether it is wanted");
        Ok(Response::new(v1::ConfirmIdentityResponse::default()))
    }

    async fn obtain_scep_challenge(
        &self,
        request: Request<v1::ObtainScepChallengeRequest>,
    ) -> Result<Response<v1::ObtainScepChallengeResponse>, Status> {
        assert!(self.identified, "a stranger asks for a challenge");
        let asked = request.into_inner();
        Ok(Response::new(v1::ObtainScepChallengeResponse {
            challenge: format!("for {}", asked.common_name),
            expires_at: None,
            storable: false,
        }))
    }

    type SessionStream = Pin<
        Box<dyn tokio_stream::Stream<Item = Result<v1::SessionResponse, Status>> + Send + 'static>,
    >;

    async fn session(
        &self,
        request: Request<Streaming<v1::SessionRequest>>,
    ) -> Result<Response<Self::SessionStream>, Status> {
        assert!(self.identified, "a session without a client certificate");
        let mut inbound = request.into_inner();
        let first = inbound.message().await?.and_then(|first| first.message);
        let Some(v1::session_request::Message::Hello(hello)) = first else {
            panic!("no hello");
        };
        assert_eq!(hello.protocol_version, PROTOCOL_VERSION);
        let rotated = self.shared.rotated.load(Ordering::SeqCst);
        let (outbound, responses) = mpsc::unbounded_channel();
        let visit = Visit {
            label: self.label.clone(),
            kind: self.kind,
            inbound,
            outbound,
            hello,
        };
        let roots = if rotated && visit.hello.root_version == 1 {
            vec![self.shared.fleet.next_root().envelope.into()]
        } else {
            vec![]
        };
        visit.say(v1::session_response::Message::Welcome(v1::Welcome {
            channel_proof: Some(self.proof(&visit.hello.nonce).into()),
            roots,
            scep_attempt: self.shared.scep_attempt.load(Ordering::SeqCst),
        }));
        self.shared.visits.send(visit).expect("a story");
        Ok(Response::new(Box::pin(
            tokio_stream::wrappers::UnboundedReceiverStream::new(responses),
        )))
    }
}
