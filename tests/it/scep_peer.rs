//! A SCEP server that does what a test says, over real HTTP in the test's own process: one desk for each path, one CA for all. Its CA is in memory.

use std::{
    collections::HashMap,
    io,
    net::SocketAddr,
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicU64, Ordering},
    },
};

use bytes::Bytes;
use convoy_controller::clock;
use convoy_scep::{
    algorithm::Policy,
    certificate::Certificate,
    http::{Method, Operation},
    issue::{Authority, Leaf},
    key::RsaKey,
    message::{FailInfo, MessageType},
    server::{self, Identity, Incoming, Kind, Received},
};
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::{body::Incoming as Body, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use jiff::{SignedDuration, Timestamp};
use tokio::{net::TcpListener, runtime::Runtime};

use crate::scep_ndes_page::Page;

/// What a desk does with messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mood {
    /// Certifies what is asked for.
    Grants,
    /// Says nothing, and keeps the connection.
    Silent,
    /// Says nothing, and closes it.
    Closes,
    /// Another HTTP status than 200.
    Http(u16),
    /// FAILURE.
    Refuses(FailInfo),
    /// PENDING so many times, and then it grants.
    Defers(u32),
    /// What is no message.
    Garbage,
    /// Certifies another key than the one that is asked for.
    OtherKey,
    /// Grants, but signed by somebody else's CA.
    Stranger,
    /// HTTP 503 to the first message, and then the answer to that one: of an old nonce.
    OldAnswer,
}

/// A message that holds.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) at: Timestamp,
    pub(crate) kind: MessageType,
    pub(crate) transaction: String,
    pub(crate) challenge: Option<String>,
    /// What it asks to be certified; empty in polls.
    pub(crate) common_name: String,
    /// The certificate that it is signed with.
    pub(crate) signer: Certificate,
}

/// The server. It ends with its value.
pub(crate) struct Peer {
    address: SocketAddr,
    floor: Arc<Floor>,
    _runtime: Runtime,
}

struct Floor {
    authority: Authority,
    stranger: Authority,
    serial: AtomicU64,
    desks: Mutex<HashMap<String, Desk>>,
}

struct Desk {
    mood: Mood,
    /// The password that first requests must have.
    challenge: Option<String>,
    /// Whose passwords first requests must have.
    page: Option<Page>,
    days: i64,
    posts: usize,
    seen: Vec<Seen>,
    issued: Vec<Certificate>,
    deferred: HashMap<String, Box<Incoming>>,
    old: Option<Box<Incoming>>,
}

impl Default for Desk {
    fn default() -> Self {
        Self {
            mood: Mood::Grants,
            challenge: None,
            page: None,
            days: 90,
            posts: 0,
            seen: Vec::new(),
            issued: Vec::new(),
            deferred: HashMap::new(),
            old: None,
        }
    }
}

enum Reply {
    Body(u16, Vec<u8>),
    Nothing,
    Close,
}

/// Serves HTTP on loopback in a runtime of its own.
pub(crate) fn serve<Answer>(
    answer: impl Fn(Request<Bytes>) -> Answer + Clone + Send + Sync + 'static,
) -> (SocketAddr, Runtime)
where
    Answer: Future<Output = io::Result<Response<Full<Bytes>>>> + Send + 'static,
{
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .expect("a runtime");
    let listener = runtime
        .block_on(TcpListener::bind("127.0.0.1:0"))
        .expect("bound");
    let address = listener.local_addr().expect("bound");
    runtime.spawn(async move {
        loop {
            let (tcp, _) = listener.accept().await.expect("a connection");
            let answer = answer.clone();
            tokio::spawn(async move {
                let service = service_fn(move |request: Request<Body>| {
                    let answer = answer.clone();
                    async move {
                        let (head, body) = request.into_parts();
                        let body = body.collect().await.map_err(io::Error::other)?;
                        answer(Request::from_parts(head, body.to_bytes())).await
                    }
                });
                // A client that goes away is a client's business.
                drop(
                    http1::Builder::new()
                        .serve_connection(TokioIo::new(tcp), service)
                        .await,
                );
            });
        }
    });
    (address, runtime)
}

fn ca(name: &str) -> Authority {
    let key = RsaKey::generate(2048).expect("a key");
    let begin = clock::now() - SignedDuration::from_hours(24);
    let end = begin + SignedDuration::from_hours(90_000);
    Authority::self_signed(name, Some("Convoy"), key, &[1], begin, end).expect("a CA")
}

impl Peer {
    pub(crate) fn start() -> Self {
        let floor = Arc::new(Floor {
            authority: ca("Scripted CA"),
            stranger: ca("Scripted CA"),
            serial: AtomicU64::new(0x4000_0000_0000_0000),
            desks: Mutex::default(),
        });
        let serving = Arc::clone(&floor);
        let (address, runtime) = serve(move |request| {
            let floor = Arc::clone(&serving);
            async move {
                match floor.hear(&request) {
                    Reply::Body(status, body) => {
                        let answer = Response::builder().status(status);
                        Ok(answer.body(Full::new(body.into())).expect("a response"))
                    }
                    Reply::Nothing => std::future::pending().await,
                    Reply::Close => Err(io::ErrorKind::ConnectionAborted.into()),
                }
            }
        });
        Self {
            address,
            floor,
            _runtime: runtime,
        }
    }

    /// Where a desk is.
    pub(crate) fn url(&self, desk: &str) -> String {
        format!("http://{}/{desk}", self.address)
    }

    /// The SHA-256 of its CA certificate.
    pub(crate) fn fingerprint(&self) -> String {
        hex::encode(self.floor.authority.certificate.fingerprint())
    }

    pub(crate) fn set(&self, desk: &str, mood: Mood) {
        self.floor.desk(desk, |desk| desk.mood = mood);
    }

    /// First requests must have this challenge password from now on.
    pub(crate) fn wants(&self, desk: &str, challenge: &str) {
        let challenge = challenge.to_owned();
        self.floor
            .desk(desk, |desk| desk.challenge = Some(challenge));
    }

    /// First requests must have one that this page has shown.
    pub(crate) fn wants_of(&self, desk: &str, page: &Page) {
        self.floor.desk(desk, |desk| desk.page = Some(page.clone()));
    }

    /// How many messages were sent to a desk, whatever became of them.
    pub(crate) fn posts(&self, desk: &str) -> usize {
        self.floor.desk(desk, |desk| desk.posts)
    }

    /// The messages that hold.
    pub(crate) fn seen(&self, desk: &str) -> Vec<Seen> {
        self.floor.desk(desk, |desk| desk.seen.clone())
    }

    pub(crate) fn kinds(&self, desk: &str) -> Vec<MessageType> {
        self.seen(desk).iter().map(|seen| seen.kind).collect()
    }

    /// What it has issued there.
    pub(crate) fn issued(&self, desk: &str) -> Vec<Certificate> {
        self.floor.desk(desk, |desk| desk.issued.clone())
    }
}

impl Floor {
    fn lock(&self) -> MutexGuard<'_, HashMap<String, Desk>> {
        self.desks.lock().expect("unpoisoned")
    }

    fn desk<T>(&self, name: &str, ask: impl FnOnce(&mut Desk) -> T) -> T {
        ask(self.lock().entry(name.to_owned()).or_default())
    }

    fn hear(&self, request: &Request<Bytes>) -> Reply {
        let method = if request.method() == http::Method::POST {
            Method::Post
        } else {
            Method::Get
        };
        let name = request.uri().path().trim_start_matches('/');
        match Operation::parse(method, request.uri().query(), request.body()) {
            Err(bad) => Reply::Body(400, bad.to_string().into()),
            Ok(Operation::GetCaCaps { .. }) => Reply::Body(200, server::ca_caps().into()),
            Ok(Operation::GetCaCert { .. }) => Reply::Body(200, server::ca_cert(&self.authority).1),
            Ok(Operation::GetNextCaCert { .. }) => Reply::Body(404, Vec::new()),
            Ok(Operation::PkiOperation(message)) => self.desk(name, |desk| {
                desk.posts += 1;
                self.operate(desk, &message)
            }),
        }
    }

    fn operate(&self, desk: &mut Desk, message: &[u8]) -> Reply {
        let policy = Policy {
            allow_legacy: false,
        };
        let identity = Identity::new(&self.authority, policy);
        let incoming = match server::receive(message, &identity, clock::now()) {
            Received::Request(incoming) => incoming,
            Received::Answer(bytes, _) => return Reply::Body(200, bytes),
            Received::Unanswerable(why) => return Reply::Body(400, why.to_string().into()),
        };
        let asked = match &incoming.kind {
            Kind::Enrol { request } | Kind::Renew { request, .. } => Some(request),
            Kind::Poll { .. } | Kind::GetCert { .. } | Kind::GetCrl { .. } => None,
        };
        let challenge = asked
            .and_then(|request| request.challenge())
            .map(|said| said.expose().to_owned());
        desk.seen.push(Seen {
            at: clock::now(),
            kind: incoming.message_type,
            transaction: incoming.transaction_id.to_string(),
            challenge: challenge.clone(),
            common_name: asked
                .and_then(|request| request.common_name())
                .unwrap_or_default(),
            signer: incoming.requester.clone(),
        });
        if matches!(incoming.kind, Kind::Enrol { .. }) {
            let wanted = desk.challenge.is_none() || desk.challenge == challenge;
            let shown = desk.page.as_ref().is_none_or(|page| {
                challenge
                    .as_deref()
                    .is_some_and(|challenge| page.enrol(challenge))
            });
            if !(wanted && shown) {
                return body(incoming.failure(&identity, FailInfo::BadRequest, None));
            }
        }
        match desk.mood {
            Mood::Silent => Reply::Nothing,
            Mood::Closes => Reply::Close,
            Mood::Http(status) => Reply::Body(status, b"<html>no</html>".to_vec()),
            Mood::Garbage => Reply::Body(200, b"<html>hello</html>".to_vec()),
            Mood::Refuses(info) => body(incoming.failure(&identity, info, Some("go away"))),
            Mood::Defers(0) | Mood::Grants => self.grant(desk, &identity, incoming),
            Mood::Defers(times) => {
                desk.mood = Mood::Defers(times - 1);
                let answer = body(incoming.pending(&identity));
                if asked.is_some() {
                    let transaction = incoming.transaction_id.to_string();
                    desk.deferred.insert(transaction, incoming);
                }
                answer
            }
            Mood::OtherKey => {
                let other = self.stranger.issuing_key().spki();
                let certificate = self.issue(&incoming, Some(other), desk.days);
                body(incoming.success(&identity, &[&certificate]))
            }
            Mood::Stranger => {
                let stranger = Identity::new(&self.stranger, policy);
                let certificate = self.issue(&incoming, None, desk.days);
                body(incoming.success(&stranger, &[&certificate]))
            }
            Mood::OldAnswer => match desk.old.take() {
                None => {
                    desk.old = Some(incoming);
                    Reply::Body(503, Vec::new())
                }
                Some(old) => self.grant(desk, &identity, old),
            },
        }
    }

    fn grant(&self, desk: &mut Desk, identity: &Identity<'_>, incoming: Box<Incoming>) -> Reply {
        let transaction = incoming.transaction_id.to_string();
        let certificate = match &incoming.kind {
            Kind::Enrol { .. } | Kind::Renew { .. } => self.issue(&incoming, None, desk.days),
            Kind::Poll { .. } => match desk.deferred.get(&transaction) {
                Some(deferred) => self.issue(deferred, None, desk.days),
                None => return body(incoming.failure(identity, FailInfo::BadCertId, None)),
            },
            Kind::GetCert { .. } | Kind::GetCrl { .. } => return Reply::Body(400, Vec::new()),
        };
        let answer = body(incoming.success(identity, &[&certificate]));
        desk.issued.push(certificate);
        answer
    }

    fn issue(&self, incoming: &Incoming, spki: Option<&[u8]>, days: i64) -> Certificate {
        let (Kind::Enrol { request } | Kind::Renew { request, .. }) = &incoming.kind else {
            panic!("{incoming:?}")
        };
        let now = clock::now();
        let leaf = Leaf {
            subject: request.subject(),
            spki: spki.unwrap_or_else(|| request.spki()),
            sans: request.sans(),
            key_usage: Leaf::usual_key_usage(),
            extended_key_usage: &[],
            serial: &self.serial.fetch_add(1, Ordering::Relaxed).to_be_bytes(),
            not_before: now - SignedDuration::from_hours(1),
            not_after: now + SignedDuration::from_hours(24 * days),
            crl_url: None,
        };
        self.authority.issue(&leaf).expect("issued")
    }
}

fn body(answer: Result<Vec<u8>, server::AnswerError>) -> Reply {
    Reply::Body(200, answer.expect("an answer"))
}
