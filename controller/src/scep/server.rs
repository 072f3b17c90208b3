//! The built-in SCEP server's port: plain HTTP, as printers want it. What a message comes to is decided in `answer`.

use std::{convert::Infallible, net::SocketAddr, sync::Arc, time::Duration};

use bytes::Bytes;
use convoy_scep::{
    certificate::Certificate,
    http::{Method, Operation, media},
    server::{ca_caps, ca_cert, next_ca_cert},
};
use http::{
    HeaderValue, Request, Response, StatusCode,
    header::{CONTENT_TYPE, RETRY_AFTER},
};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::{body::Incoming as Body, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    net::{TcpListener, TcpStream},
    time::timeout,
};

use super::{Ending, Scep, answer::Answers, authority::AuthorityError, rate::Rate};
use crate::{
    clock,
    listener::{
        addresses::Counting,
        places::{Place, Places, Room},
    },
    stopping::Stopping,
};

/// The paths that are served: our own, the usual one of other servers, and NDES's, which printers expect.
pub const PATHS: [&str; 4] = [
    "/scep",
    "/cgi-bin/pkiclient.exe",
    "/certsrv/mscep/mscep.dll",
    "/certsrv/mscep/mscep.dll/pkiclient.exe",
];
/// Where the revocation list is.
pub const CRL_PATH: &str = "/scep/crl";

/// Connections at a time. Who overruns its address waits for a place; where all are taken, the oldest that has asked nothing goes.
const CONNECTIONS: Room = Room {
    most: 512,
    per_address: 64,
    waiting: 1024,
};
/// A connection that says nothing for so long is closed.
const HEADER_TIMEOUT: Duration = Duration::from_secs(15);
/// A body must come within it.
const BODY_TIMEOUT: Duration = Duration::from_secs(15);
/// A connection lasts no longer.
const CONNECTION: Duration = Duration::from_secs(120);
/// A connection that is asked to end has so long.
const GENTLY: Duration = Duration::from_secs(5);
/// The longest body: a message is a few kilobytes.
const MAX_BODY: usize = 16 * 1024;
/// A request line with a message in it, and headers.
const HEAD: usize = 32 * 1024;

/// The server.
pub struct Server {
    pub(super) scep: Arc<Scep>,
    pub(super) answers: Arc<Answers>,
    rate: Arc<Rate>,
    places: Arc<Places>,
    stopping: Stopping,
}

type Answer = Response<Full<Bytes>>;

impl Server {
    /// A server. `per_second`: requests from one address per second. `None`: as many as come.
    #[must_use]
    pub fn new(
        scep: Arc<Scep>,
        per_second: Option<u32>,
        addresses: &Arc<Counting>,
        stopping: Stopping,
    ) -> Self {
        Self {
            answers: Arc::new(Answers::new(Arc::clone(&scep))),
            scep,
            rate: Arc::new(Rate::new(per_second, Arc::clone(addresses))),
            places: Places::new(CONNECTIONS, Arc::clone(addresses)),
            stopping,
        }
    }

    /// Serves until the controller stops.
    pub async fn run(self, socket: TcpListener) {
        let server = Arc::new(self);
        loop {
            let accepted = tokio::select! {
                accepted = socket.accept() => accepted,
                () = server.stopping.asked() => return,
            };
            match accepted {
                Ok((stream, peer)) => {
                    let connection = Arc::clone(&server).connection(stream, peer);
                    server.stopping.spawn(connection);
                }
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a SCEP connection");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
    }

    async fn connection(self: Arc<Self>, stream: TcpStream, peer: SocketAddr) {
        let place = tokio::select! {
            place = self.places.take(peer.ip()) => place,
            () = self.stopping.asked() => return,
        };
        // A message that is worked on keeps it, also when who has sent it hangs up.
        let Some(place) = place.map(Arc::new) else {
            tracing::debug!(%peer, "too many SCEP connections from one address");
            return;
        };
        drop(stream.set_nodelay(true));
        let (server, own) = (Arc::clone(&self), Arc::clone(&place));
        let service = service_fn(move |request| {
            let (server, place) = (Arc::clone(&server), Arc::clone(&own));
            async move { Ok::<_, Infallible>(server.request(request, peer, place).await) }
        });
        let served = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEADER_TIMEOUT)
            .max_buf_size(HEAD)
            .serve_connection(TokioIo::new(stream), service);
        tokio::pin!(served);
        tokio::select! {
            ended = timeout(CONNECTION, served.as_mut()) => {
                match ended {
                    Ok(Ok(())) => {}
                    Ok(Err(error)) => tracing::debug!(%peer, %error, "a SCEP connection ended"),
                    Err(_) => tracing::debug!(%peer, "a SCEP connection has lasted too long"),
                }
                return;
            }
            () = place.put_out() => {
                tracing::debug!(%peer, "a SCEP connection has made room for others");
                return;
            }
            () = self.stopping.asked() => {}
        }
        served.as_mut().graceful_shutdown();
        drop(timeout(GENTLY, served).await);
    }

    async fn request(&self, request: Request<Body>, peer: SocketAddr, place: Arc<Place>) -> Answer {
        if !self.rate.admits(peer.ip()) {
            tracing::debug!(%peer, "too many SCEP requests from one address");
            return too_many();
        }
        let path = request.uri().path().trim_end_matches('/').to_owned();
        if let Some(which) = path.strip_prefix(CRL_PATH)
            && request.method() == http::Method::GET
        {
            return self.crl(which).await;
        }
        if !PATHS.iter().any(|known| path.eq_ignore_ascii_case(known)) {
            return told(StatusCode::NOT_FOUND, "SCEP is served at /scep\n");
        }
        let method = match *request.method() {
            http::Method::GET => Method::Get,
            http::Method::POST => Method::Post,
            _ => return told(StatusCode::METHOD_NOT_ALLOWED, "GET or POST\n"),
        };
        let query = request.uri().query().map(str::to_owned);
        let body = Limited::new(request.into_body(), MAX_BODY).collect();
        let body = match timeout(BODY_TIMEOUT, body).await {
            Ok(Ok(body)) => body.to_bytes(),
            Ok(Err(_)) => return told(StatusCode::PAYLOAD_TOO_LARGE, "the body is too long\n"),
            Err(_) => return told(StatusCode::REQUEST_TIMEOUT, "the body did not come\n"),
        };
        place.spoke();
        match Operation::parse(method, query.as_deref(), &body) {
            Ok(operation) => self.operation(operation, peer, place).await,
            Err(bad) => {
                tracing::debug!(%peer, %bad, "a SCEP request that is none");
                self.scep.counts.add(Ending::Malformed);
                told(StatusCode::BAD_REQUEST, &format!("{bad}\n"))
            }
        }
    }

    async fn operation(&self, operation: Operation, peer: SocketAddr, place: Arc<Place>) -> Answer {
        // One CA: whatever identifier a device was told to send.
        match operation {
            Operation::GetCaCaps { .. } => plain(media::CAPS, ca_caps().as_bytes().to_vec()),
            Operation::GetCaCert { .. } => match self.scep.current() {
                Ok((_, authority)) => {
                    let (kind, body) = ca_cert(&authority);
                    plain(kind, body)
                }
                Err(error) => failed(&error),
            },
            Operation::GetNextCaCert { .. } => self.next_ca(),
            Operation::PkiOperation(message) => {
                if !self.rate.admits_guess(peer.ip()) {
                    tracing::warn!(%peer, "too many refused SCEP requests from one address");
                    return too_many();
                }
                // In a task of its own: who hangs up is counted all the same, and his place stays taken.
                let (answers, rate) = (Arc::clone(&self.answers), Arc::clone(&self.rate));
                let answered = tokio::spawn(async move {
                    let answer = answers.answer(message, peer, clock::now()).await;
                    if answer.refused {
                        rate.guessed(peer.ip());
                    }
                    drop(place);
                    answer
                });
                let answer = match answered.await {
                    Ok(answer) => answer,
                    Err(error) => return failed(&error),
                };
                match answer.body {
                    Some(body) => plain(media::PKI_MESSAGE, body),
                    None => told(
                        answer.status,
                        "this is no SCEP message that can be answered\n",
                    ),
                }
            }
        }
    }

    /// The list of the CA in force, or of the one with this number.
    async fn crl(&self, which: &str) -> Answer {
        let list = match which.strip_prefix('/').map(str::parse) {
            None if which.is_empty() => self.scep.crl().await,
            Some(Ok(number)) => self.scep.crl_of(number).await,
            None | Some(Err(_)) => Err(AuthorityError::NoAuthority),
        };
        match list {
            Ok(list) => plain("application/pkix-crl", list),
            Err(AuthorityError::NoAuthority) => {
                told(StatusCode::NOT_FOUND, "there is no such CA\n")
            }
            Err(error) => failed(&error),
        }
    }

    fn next_ca(&self) -> Answer {
        let next = self.scep.keeper.read().issuance().next().cloned();
        let Some(next) = next else {
            return told(StatusCode::NOT_FOUND, "there is no next CA\n");
        };
        let signed = self.scep.current().and_then(|(_, authority)| {
            let all = std::iter::once(&next.certificate).chain(&next.ra);
            let all = all.map(|der| Certificate::from_der(der));
            let all = all.collect::<Result<Vec<_>, _>>()?;
            let all: Vec<&Certificate> = all.iter().collect();
            Ok(next_ca_cert(&self.answers.identity(&authority), &all))
        });
        match signed {
            Ok(Ok((kind, body))) => plain(kind, body),
            Ok(Err(error)) => failed(&error),
            Err(error) => failed(&error),
        }
    }
}

fn plain(kind: &'static str, body: Vec<u8>) -> Answer {
    let mut answer = Response::new(Full::new(Bytes::from(body)));
    answer
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    answer
}

fn told(status: StatusCode, text: &str) -> Answer {
    let mut answer = plain("text/plain; charset=utf-8", text.as_bytes().to_vec());
    *answer.status_mut() = status;
    answer
}

fn too_many() -> Answer {
    let mut answer = told(
        StatusCode::SERVICE_UNAVAILABLE,
        "too many requests from this address; come back later\n",
    );
    answer
        .headers_mut()
        .insert(RETRY_AFTER, HeaderValue::from_static("10"));
    answer
}

fn failed(error: &dyn std::error::Error) -> Answer {
    tracing::error!(%error, "the SCEP server cannot answer");
    told(
        StatusCode::INTERNAL_SERVER_ERROR,
        "the SCEP server cannot answer; its log says why\n",
    )
}
