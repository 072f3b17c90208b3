//! A controller that is not the fleet's: it has keys of its own, speaks the agents' protocol well, and lies. It obeys no test but its list of lies.

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use convoy_agent::state::State;
use convoy_proto::{
    documents::{encode_channel_proof, encode_root, encode_trust},
    v1::{
        self, SessionRequest, SessionResponse, agent_service_server, session_request,
        session_response,
    },
};
use convoy_shared::{
    envelope::{Envelope, PayloadType, Role, SigningKey},
    id::Epoch,
    proof::{ChannelProof, EXPORTER_LABEL, Exporter},
    root::Root,
    trust::Mode,
};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    service::TowerToHyperService,
};
use jiff::SignedDuration;
use rustls::{ServerConfig, crypto::aws_lc_rs, pki_types::PrivatePkcs8KeyDer};
use tokio::{net::TcpListener, runtime::Runtime, sync::mpsc};
use tokio_rustls::TlsAcceptor;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming, async_trait};

use crate::road::{AnyClient, runtime};

/// A forged controller.
pub(crate) struct Forged {
    pub(crate) address: SocketAddr,
    forgery: Arc<Forgery>,
    _runtime: Runtime,
}

/// What it begins a session with. Each is followed by forged orders.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lie {
    /// A proof of this very channel, by a key of its own.
    OwnProof,
    /// The same, and a newer root that names its key.
    OwnRoot,
    /// The fleet's controller's welcome to an earlier session of this client.
    Replay,
    /// A welcome without a proof.
    NoProof,
    /// No welcome: orders at once.
    NoWelcome,
}

pub(crate) const LIES: [Lie; 5] = [
    Lie::OwnProof,
    Lie::OwnRoot,
    Lie::Replay,
    Lie::NoProof,
    Lie::NoWelcome,
];

/// What it was told in a session.
pub(crate) struct Told {
    pub(crate) lie: Lie,
    /// All messages, until the agent ended the session.
    pub(crate) messages: Vec<session_request::Message>,
}

struct Forgery {
    root: SigningKey,
    policy: SigningKey,
    victim: State,
    welcome: v1::Welcome,
    sessions: AtomicUsize,
    told: Mutex<Vec<Told>>,
}

impl Forged {
    /// Knows all that a client of the fleet knows, and a welcome that it once got.
    pub(crate) fn start(victim: State, welcome: v1::Welcome) -> Self {
        let runtime = runtime();
        let socket = runtime
            .block_on(TcpListener::bind("127.0.0.1:0"))
            .expect("a port");
        let address = socket.local_addr().expect("an address");
        let forgery = Arc::new(Forgery {
            root: SigningKey::from_seed(&[66; 32]).expect("a key"),
            policy: SigningKey::from_seed(&[67; 32]).expect("a key"),
            victim,
            welcome,
            sessions: AtomicUsize::new(0),
            told: Mutex::default(),
        });
        runtime.spawn(serve(socket, Arc::clone(&forgery)));
        Self {
            address,
            forgery,
            _runtime: runtime,
        }
    }

    /// Sessions that are over.
    pub(crate) fn told(&self) -> Vec<Told> {
        std::mem::take(&mut self.forgery.told.lock().expect("a lock"))
    }
}

async fn serve(socket: TcpListener, forgery: Arc<Forgery>) {
    let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).expect("made");
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
    let acceptor = TlsAcceptor::from(Arc::new(config));
    while let Ok((stream, _)) = socket.accept().await {
        let (acceptor, forgery) = (acceptor.clone(), Arc::clone(&forgery));
        tokio::spawn(async move {
            let Ok(stream) = acceptor.accept(stream).await else {
                return;
            };
            let exporter = stream
                .get_ref()
                .1
                .export_keying_material([0; 32], EXPORTER_LABEL, None)
                .expect("an exporter");
            let service =
                agent_service_server::AgentServiceServer::new(Channel { forgery, exporter });
            let connection = hyper::server::conn::http2::Builder::new(TokioExecutor::new())
                .serve_connection(TokioIo::new(stream), TowerToHyperService::new(service));
            drop(connection.await);
        });
    }
}

/// One connection.
#[derive(Clone)]
struct Channel {
    forgery: Arc<Forgery>,
    exporter: Exporter,
}

impl Channel {
    fn welcome(&self, lie: Lie, hello: &v1::Hello) -> Option<v1::Welcome> {
        let forgery = &self.forgery;
        let proof = || {
            let proof = ChannelProof {
                fleet_id: forgery.victim.fleet_id(),
                nonce: hello.nonce.as_ref().try_into().expect("32 bytes"),
                exporter: self.exporter,
                time: forgery.victim.clock().now(),
                epoch: Epoch::FIRST,
                doubted: false,
            };
            let payload = encode_channel_proof(&proof);
            Envelope::sign(PayloadType::Channel, payload, &[&forgery.policy]).into()
        };
        match lie {
            Lie::OwnProof => Some(v1::Welcome {
                channel_proof: Some(proof()),
                roots: vec![],
                scep_attempt: 0,
            }),
            Lie::OwnRoot => {
                let held = &forgery.victim.root.root;
                let root = Root {
                    version: held.version.next(),
                    root: Role::new(vec![forgery.root.public()], 1).expect("a role"),
                    policy: Role::new(vec![forgery.policy.public()], 1).expect("a role"),
                    ..held.clone()
                };
                let payload = encode_root(&root);
                let root = Envelope::sign(PayloadType::Root, payload, &[&forgery.root]);
                Some(v1::Welcome {
                    channel_proof: Some(proof()),
                    roots: vec![root.into()],
                    scep_attempt: 0,
                })
            }
            Lie::Replay => Some(forgery.welcome.clone()),
            Lie::NoProof => Some(v1::Welcome {
                channel_proof: None,
                roots: vec![],
                scep_attempt: 0,
            }),
            Lie::NoWelcome => None,
        }
    }

    /// A newer document that leaves verification off for long, a check, and "come back".
    fn orders(&self) -> Vec<session_response::Message> {
        let held = &self.forgery.victim.trust.document;
        let mut document = held.clone();
        document.revision = held.revision.next();
        document.mode = Mode::Off {
            lease: SignedDuration::from_hours(24),
        };
        let trust = Envelope::sign(
            PayloadType::Trust,
            encode_trust(&document),
            &[&self.forgery.policy],
        );
        vec![
            session_response::Message::Trust(trust.into()),
            session_response::Message::Check(v1::Check {
                token: vec![9; 16].into(),
                trust: Some(self.forgery.victim.held().into()),
                probe_generation: 1,
            }),
            session_response::Message::Reconnect(v1::Reconnect {
                reason: "because".to_owned(),
                full_handshake: false,
                not_before: None,
            }),
        ]
    }
}

#[async_trait]
impl agent_service_server::AgentService for Channel {
    async fn greet(
        &self,
        _request: Request<v1::GreetRequest>,
    ) -> Result<Response<v1::GreetResponse>, Status> {
        Err(Status::unimplemented("no"))
    }

    async fn join(
        &self,
        _request: Request<v1::JoinRequest>,
    ) -> Result<Response<v1::JoinResponse>, Status> {
        Err(Status::unimplemented("no"))
    }

    async fn renew_identity(
        &self,
        _request: Request<v1::RenewIdentityRequest>,
    ) -> Result<Response<v1::RenewIdentityResponse>, Status> {
        Err(Status::unimplemented("no"))
    }

    async fn confirm_identity(
        &self,
        _request: Request<v1::ConfirmIdentityRequest>,
    ) -> Result<Response<v1::ConfirmIdentityResponse>, Status> {
        Err(Status::unimplemented("no"))
    }

    async fn obtain_scep_challenge(
        &self,
        _request: Request<v1::ObtainScepChallengeRequest>,
    ) -> Result<Response<v1::ObtainScepChallengeResponse>, Status> {
        Err(Status::unimplemented("no"))
    }

    type SessionStream = ReceiverStream<Result<SessionResponse, Status>>;

    async fn session(
        &self,
        request: Request<Streaming<SessionRequest>>,
    ) -> Result<Response<Self::SessionStream>, Status> {
        let (outbound, stream) = mpsc::channel(8);
        let channel = self.clone();
        let mut inbound = request.into_inner();
        tokio::spawn(async move {
            let forgery = &channel.forgery;
            let number = forgery.sessions.fetch_add(1, Ordering::Relaxed);
            let lie = LIES[number % LIES.len()];
            let mut messages = Vec::new();
            while let Ok(Some(request)) = inbound.message().await {
                if let Some(session_request::Message::Hello(hello)) = &request.message {
                    let welcome = channel.welcome(lie, hello);
                    let welcome = welcome.map(session_response::Message::Welcome);
                    for message in welcome.into_iter().chain(channel.orders()) {
                        let message = Some(message);
                        drop(outbound.send(Ok(SessionResponse { message })).await);
                    }
                }
                messages.extend(request.message);
            }
            let told = Told { lie, messages };
            forgery.told.lock().expect("a lock").push(told);
        });
        Ok(Response::new(ReceiverStream::new(stream)))
    }
}
