//! The metrics port's accept loop: strangers reach it where it is not on loopback, and cannot hold it. What is answered is decided elsewhere.

use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use axum::{Router, extract::Request};
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use tokio::{
    net::{TcpListener, TcpStream},
    task::AbortHandle,
    time::{sleep, timeout},
};
use tower::util::MapRequestLayer;

/// So many connections at a time. One more ends the oldest that has not asked for anything yet.
const OPEN: usize = 64;
/// A request's head must be there after so long,
const HEAD: Duration = Duration::from_secs(5);
/// and the answer taken: a connection has one request.
const WHOLE: Duration = Duration::from_secs(10);
/// A request's head has so many bytes at most: the least that hyper allows.
const HEAD_BYTES: usize = 8 * 1024;
/// After a failed `accept`, for example for want of file descriptors.
const ACCEPT_AGAIN: Duration = Duration::from_millis(100);

struct Open {
    task: AbortHandle,
    asked: Arc<AtomicBool>,
}

/// Serves for ever.
pub(super) async fn serve(socket: TcpListener, routes: Router) {
    let mut open: VecDeque<Open> = VecDeque::new();
    loop {
        let stream = match socket.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection for metrics");
                sleep(ACCEPT_AGAIN).await;
                continue;
            }
        };
        open.retain(|connection| !connection.task.is_finished());
        if open.len() >= OPEN {
            let silent = open
                .iter()
                .position(|connection| !connection.asked.load(Ordering::Relaxed));
            if let Some(oldest) = open.remove(silent.unwrap_or(0)) {
                oldest.task.abort();
            }
        }
        let asked = Arc::new(AtomicBool::new(false));
        let asks = Arc::clone(&asked);
        let routes = routes
            .clone()
            .layer(MapRequestLayer::new(move |request: Request| {
                asks.store(true, Ordering::Relaxed);
                request
            }));
        let task = tokio::spawn(connection(stream, routes)).abort_handle();
        open.push_back(Open { task, asked });
    }
}

async fn connection(stream: TcpStream, routes: Router) {
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD)
        .max_buf_size(HEAD_BYTES)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(routes));
    match timeout(WHOLE, connection).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(%error, "a connection for metrics ended"),
        Err(_) => tracing::debug!("a connection for metrics was cut"),
    }
}
