//! A SCEP server over HTTP on the loopback, that does what a test says. Its CA is in memory.

use std::{
    convert::Infallible,
    sync::{Arc, Mutex},
};

use bytes::Bytes;
use convoy_scep::{
    algorithm::Policy,
    certificate::Certificate,
    http::{Method, Operation},
    issue::{Authority, Leaf},
    key::RsaKey,
    message::{FailInfo, MessageType, PeerNonce},
    server::{self, Identity, Incoming, Kind, Received},
};
use http_body_util::{BodyExt as _, Full};
use hyper::{body::Incoming as Body, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use jiff::{SignedDuration, Timestamp};
use tokio::{net::TcpListener, sync::watch, task::JoinHandle};

/// What the server does with a request for a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mood {
    Grants,
    Defers,
    Refuses(FailInfo),
    /// Whatever an old certificate vouches for.
    RefusesRenewals,
    Answers(u16),
    TalksNonsense,
    SaysNothing,
}

pub(crate) struct Server {
    pub(crate) url: String,
    pub(crate) desk: Arc<Desk>,
    task: JoinHandle<()>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

pub(crate) struct Desk {
    authority: Authority,
    now: watch::Receiver<Timestamp>,
    state: Mutex<State>,
}

struct State {
    mood: Mood,
    challenge: Option<String>,
    days: i64,
    seen: Vec<MessageType>,
    transactions: Vec<String>,
    challenges: Vec<Option<String>>,
    deferred: Option<Box<Incoming>>,
    nonces: Vec<PeerNonce>,
    serial: u8,
}

impl Server {
    pub(crate) async fn start(now: watch::Receiver<Timestamp>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("bound");
        let url = format!("http://{}/scep", listener.local_addr().expect("bound"));
        let begin = *now.borrow() - SignedDuration::from_hours(240);
        let key = RsaKey::generate(2048).expect("a key");
        let end = begin + SignedDuration::from_hours(90_000);
        let desk = Arc::new(Desk {
            authority: Authority::self_signed("Test CA", Some("Convoy"), key, &[1], begin, end)
                .expect("a CA"),
            now,
            state: Mutex::new(State {
                mood: Mood::Grants,
                challenge: None,
                days: 90,
                seen: Vec::new(),
                transactions: Vec::new(),
                challenges: Vec::new(),
                deferred: None,
                nonces: Vec::new(),
                serial: 0x40,
            }),
        });
        let serving = Arc::clone(&desk);
        let task = tokio::spawn(async move {
            loop {
                let (tcp, _) = listener.accept().await.expect("a connection");
                let desk = Arc::clone(&serving);
                tokio::spawn(async move {
                    let service = service_fn(move |request| answer(Arc::clone(&desk), request));
                    // A client that goes away is a client's business.
                    drop(
                        http1::Builder::new()
                            .serve_connection(TokioIo::new(tcp), service)
                            .await,
                    );
                });
            }
        });
        Self { url, desk, task }
    }
}

impl Desk {
    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().expect("unpoisoned")
    }

    pub(crate) fn set(&self, mood: Mood) {
        self.state().mood = mood;
    }

    pub(crate) fn wants(&self, challenge: &str) {
        self.state().challenge = Some(challenge.to_owned());
    }

    pub(crate) fn issues_for(&self, days: i64) {
        self.state().days = days;
    }

    pub(crate) fn fingerprint(&self) -> [u8; 32] {
        self.authority.certificate.fingerprint()
    }

    pub(crate) fn seen(&self) -> Vec<MessageType> {
        std::mem::take(&mut self.state().seen)
    }

    pub(crate) fn transactions(&self) -> Vec<String> {
        self.state().transactions.clone()
    }

    pub(crate) fn challenges(&self) -> Vec<Option<String>> {
        self.state().challenges.clone()
    }

    fn issue(&self, incoming: &Incoming, days: i64, serial: u8) -> Certificate {
        let (Kind::Enrol { request } | Kind::Renew { request, .. }) = &incoming.kind else {
            panic!("{incoming:?}")
        };
        let now = *self.now.borrow();
        let leaf = Leaf {
            subject: request.subject(),
            spki: request.spki(),
            sans: request.sans(),
            key_usage: Leaf::usual_key_usage(),
            extended_key_usage: &[],
            serial: &[serial],
            not_before: now - SignedDuration::from_hours(1),
            not_after: now + SignedDuration::from_hours(24 * days),
            crl_url: None,
        };
        self.authority.issue(&leaf).expect("issued")
    }

    /// The status and the body of an answer.
    fn operate(&self, message: &[u8]) -> (u16, Vec<u8>) {
        let identity = Identity::new(
            &self.authority,
            Policy {
                allow_legacy: false,
            },
        );
        let incoming = match server::receive(message, &identity, *self.now.borrow()) {
            Received::Request(incoming) => incoming,
            Received::Answer(bytes, _) => return (200, bytes),
            Received::Unanswerable(why) => panic!("{why}"),
        };
        let mut state = self.state();
        assert!(
            !state.nonces.contains(incoming.sender_nonce()),
            "a nonce was used twice"
        );
        state.nonces.push(incoming.sender_nonce().clone());
        state.seen.push(incoming.message_type);
        state.transactions.push(incoming.transaction_id.to_string());
        let body = match (&incoming.kind, state.mood) {
            (_, Mood::Refuses(info)) => incoming.failure(&identity, info, Some("go away")),
            (Kind::Renew { .. }, Mood::RefusesRenewals) => {
                incoming.failure(&identity, FailInfo::BadRequest, None)
            }
            (Kind::Poll { .. }, Mood::Grants) => {
                let deferred = state.deferred.take().expect("something is deferred");
                assert_eq!(deferred.transaction_id, incoming.transaction_id);
                state.serial += 1;
                let certificate = self.issue(&deferred, state.days, state.serial);
                incoming.success(&identity, &[&certificate])
            }
            (Kind::Poll { .. }, _) => incoming.pending(&identity),
            (Kind::Enrol { request } | Kind::Renew { request, .. }, mood) => {
                let said = request.challenge().map(|said| said.expose().to_owned());
                let right = matches!(incoming.kind, Kind::Renew { .. })
                    || state.challenge.is_none()
                    || said == state.challenge;
                state.challenges.push(said);
                if !right {
                    incoming.failure(&identity, FailInfo::BadRequest, None)
                } else if mood == Mood::Defers {
                    let answer = incoming.pending(&identity);
                    state.deferred = Some(incoming);
                    answer
                } else {
                    state.serial += 1;
                    let certificate = self.issue(&incoming, state.days, state.serial);
                    incoming.success(&identity, &[&certificate])
                }
            }
            (other, _) => panic!("{other:?}"),
        };
        (200, body.expect("an answer"))
    }
}

async fn answer(
    desk: Arc<Desk>,
    request: http::Request<Body>,
) -> Result<http::Response<Full<Bytes>>, Infallible> {
    let mood = desk.state().mood;
    let method = if request.method() == http::Method::POST {
        Method::Post
    } else {
        Method::Get
    };
    assert_eq!(request.uri().path(), "/scep");
    let query = request.uri().query().map(str::to_owned);
    let body = request
        .into_body()
        .collect()
        .await
        .expect("a body")
        .to_bytes();
    let operation = Operation::parse(method, query.as_deref(), &body).expect("an operation");
    let (status, body) = match (operation, mood) {
        (_, Mood::SaysNothing) => std::future::pending().await,
        (_, Mood::Answers(status)) => (status, b"<html>".to_vec()),
        (Operation::GetCaCaps { .. }, _) => (200, server::ca_caps().into()),
        (Operation::GetCaCert { .. }, _) => (200, server::ca_cert(&desk.authority).1),
        (Operation::PkiOperation(_), Mood::TalksNonsense) => (200, b"<html>hello</html>".to_vec()),
        (Operation::PkiOperation(message), _) => desk.operate(&message),
        (other, _) => panic!("{other:?}"),
    };
    let response = http::Response::builder()
        .status(status)
        .header("content-type", "text/plain");
    Ok(response.body(Full::new(body.into())).expect("a response"))
}
