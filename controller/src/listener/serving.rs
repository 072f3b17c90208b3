//! HTTP/2 on accepted connections: how much of it each kind of peer has, how long, and how it ends. Who the peer is was found out before.

use std::{
    convert::Infallible,
    future::{Future, pending},
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use axum::{Extension, Router, extract::Request as HttpRequest, response::Response};
use convoy_fleet::rotation::closing_window;
use convoy_shared::id::Generation;
use hyper::{body::Incoming, server::conn::http2};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, join, split},
    net::{TcpStream, UnixListener},
    sync::Semaphore,
    time::{sleep, timeout},
};
use tokio_rustls::server::TlsStream;
use tower::{Service, ServiceBuilder};

use super::{Listener, limits::Connection, places::Place};
use crate::{
    api::status,
    peer::{Identity, LocalPeer, Peer},
    stopping::Stopping,
};

/// A stranger's connection to the agents' port lasts so long at the most: enough to join. On the operators' port it has so long for its first request.
const STRANGER: Duration = Duration::from_secs(30);
/// On the agents' port it may say so many bytes, HTTP/2's own included. Who joins says less than a fifth of it.
const STRANGER_SAYS: u64 = 32 * 1024;
/// A client that the journal does not know shows its trust document.
const UNKNOWN_SAYS: u64 = 512 * 1024;
/// A connection to the operators' port is asked to end after so long.
const OPERATOR: Duration = Duration::from_secs(3600);
/// A connection that is asked to end gently is ended after so long.
const GENTLY: Duration = Duration::from_secs(8);
/// Another user of this machine has so long on the local socket to hear that he is refused,
const REFUSED: Duration = Duration::from_secs(5);
/// and so many are told at a time; the others hear nothing.
const REFUSED_AT_ONCE: usize = 16;
/// After a failed `accept`, for example for want of file descriptors.
const ACCEPT_AGAIN: Duration = Duration::from_millis(100);

/// How much of HTTP/2 a peer has. What it sends before anybody reads it is kept in memory.
#[derive(Clone, Copy)]
struct Share {
    /// Bytes of one request.
    stream: u32,
    /// Bytes of all requests of a connection.
    connection: u32,
    /// Requests at a time.
    streams: u32,
}

/// A message of 64 KiB, and another beside it.
const CLIENTS: Share = Share {
    stream: 64 * 1024,
    connection: 128 * 1024,
    streams: 16,
};
/// What a stranger may ask is short, a request to join is the longest, and one thing comes after the other.
const STRANGERS: Share = Share {
    stream: 8 * 1024,
    // HTTP/2 has no smaller one (RFC 9113, section 6.9.2); the streams' own are what counts.
    connection: 64 * 1024 - 1,
    streams: 1,
};
/// Clients of the reflection service keep it open while they ask.
const OPERATORS: Share = Share {
    streams: 2,
    ..STRANGERS
};
/// Administrators on this machine.
const LOCAL: Share = Share {
    stream: 1024 * 1024,
    connection: 1024 * 1024,
    streams: 16,
};

/// An accepted connection.
pub(super) type Encrypted = Box<TlsStream<TcpStream>>;
/// In a box of its own, so that a connection takes no more memory than what it does at the time.
pub(super) type Task<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

impl Listener {
    /// A client of the fleet: its session is told to end by its own stream.
    pub(super) fn serve_client(
        &self,
        stream: Encrypted,
        peer: Peer,
        identity: Identity,
        routes: Router,
        connection: Connection,
    ) -> Task<'_, ()> {
        Box::pin(async move {
            let service = ServiceBuilder::new()
                .layer(Extension(Arc::new(peer)))
                .service(routes);
            let end = async {
                tokio::select! {
                    () = self.removed(identity) => {}
                    () = self.stopping.asked() => {}
                }
            };
            tokio::select! {
                () = serve(service, stream, CLIENTS, end) => {}
                () = connection.is_one_too_many() => {
                    tracing::debug!("a client has opened too many connections: its oldest is closed");
                }
            }
        })
    }

    /// A peer that nobody knows, on the agents' port.
    pub(super) fn serve_stranger(
        &self,
        stream: Encrypted,
        peer: Peer,
        routes: Router,
        place: Place,
    ) -> Task<'_, ()> {
        Box::pin(async move {
            let (says, share) = match peer.unknown {
                None => (STRANGER_SAYS, STRANGERS),
                Some(_) => (UNKNOWN_SAYS, CLIENTS),
            };
            let (read, write) = split(stream);
            let stream = join(read.take(says), write);
            let place = Arc::new(place);
            let answered = Arc::clone(&place);
            let service = ServiceBuilder::new()
                .layer(Extension(Arc::new(peer)))
                .map_response(move |response: Response| {
                    answered.spoke();
                    response
                })
                .service(routes);
            tokio::select! {
                served = timeout(STRANGER, serve(service, stream, share, self.stopping.asked())) => {
                    if served.is_err() {
                        tracing::debug!("a stranger's connection was cut");
                    }
                }
                () = place.put_out() => tracing::debug!("a stranger has made room for others"),
            }
        })
    }

    /// Somebody on the operators' port.
    pub(super) fn serve_operator(
        &self,
        stream: Encrypted,
        peer: Peer,
        routes: Router,
        place: Place,
    ) -> Task<'_, ()> {
        Box::pin(async move {
            let place = Arc::new(place);
            let answered = Arc::clone(&place);
            let spoke = Arc::new(AtomicBool::new(false));
            let speaks = Arc::clone(&spoke);
            let service = ServiceBuilder::new()
                .map_request(move |request: HttpRequest<Incoming>| {
                    speaks.store(true, Ordering::Relaxed);
                    request
                })
                .map_response(move |response: Response| {
                    answered.spoke();
                    response
                })
                .service(routes);
            let silent = async {
                sleep(STRANGER).await;
                if spoke.load(Ordering::Relaxed) {
                    sleep(OPERATOR).await;
                }
            };
            let end = async {
                tokio::select! {
                    () = self.swapped(peer.served) => {}
                    () = silent => {}
                    () = self.stopping.asked() => {}
                }
            };
            tokio::select! {
                () = serve(service, stream, OPERATORS, end) => {}
                () = place.put_out() => tracing::debug!("a stranger has made room for others"),
            }
        })
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
                pending::<()>().await;
            }
        }
        sleep(closing_window(0).unsigned_abs().mul_f64(rand::random())).await;
    }
}

/// Accepts on the local socket until the controller stops. Only root and the controller's own user get further.
pub async fn accept_local(socket: UnixListener, own_uid: u32, routes: Router, stopping: Stopping) {
    let refused = Arc::new(Semaphore::new(REFUSED_AT_ONCE));
    loop {
        let accepted = tokio::select! {
            accepted = socket.accept() => accepted,
            () = stopping.asked() => return,
        };
        let stream = match accepted {
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
                let refusing = Router::new().fallback(async || {
                    status::denied(
                        "OPERATOR_REQUIRED",
                        "only root and the controller's own user are served",
                    )
                    .into_http::<axum::body::Body>()
                });
                stopping.spawn_until_asked(async move {
                    drop(timeout(REFUSED, serve(refusing, stream, STRANGERS, pending())).await);
                    drop(place);
                });
                continue;
            }
            Err(error) => {
                tracing::warn!(%error, "a local peer of unknown user");
                continue;
            }
        };
        let service = ServiceBuilder::new()
            .layer(Extension(LocalPeer { uid }))
            .service(routes.clone());
        let stops = stopping.clone();
        stopping.spawn(async move {
            serve(service, stream, LOCAL, stops.asked()).await;
        });
    }
}

/// Serves HTTP/2 until the peer has gone. At the end it is told to go, and what it has asked for is still answered.
async fn serve<S>(
    service: S,
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    share: Share,
    end: impl Future<Output = ()>,
) where
    S: Service<HttpRequest<Incoming>, Response = Response, Error = Infallible>
        + Clone
        + Send
        + 'static,
    S::Future: Send + 'static,
{
    let builder = http_builder(share);
    let connection =
        builder.serve_connection(TokioIo::new(stream), TowerToHyperService::new(service));
    tokio::pin!(connection);
    tokio::select! {
        ended = connection.as_mut() => {
            if let Err(error) = ended {
                tracing::debug!(%error, "a connection ended");
            }
            return;
        }
        () = end => {}
    }
    connection.as_mut().graceful_shutdown();
    if timeout(GENTLY, connection).await.is_err() {
        tracing::debug!("a connection was slow to end, and was cut");
    }
}

fn http_builder(share: Share) -> http2::Builder<TokioExecutor> {
    let mut builder = http2::Builder::new(TokioExecutor::new());
    builder
        .timer(TokioTimer::new())
        .keep_alive_interval(Duration::from_secs(20))
        .keep_alive_timeout(Duration::from_secs(20))
        .initial_stream_window_size(share.stream)
        .initial_connection_window_size(share.connection)
        .max_concurrent_streams(share.streams)
        .max_header_list_size(8 * 1024)
        .max_pending_accept_reset_streams(20);
    builder
}
