//! Crowds of peers that the fleet does not know, from many addresses of this machine. What they must not do is said in the tests.

use std::{
    convert::Infallible,
    net::{Ipv4Addr, SocketAddr},
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
    thread::JoinHandle,
    time::Duration,
};

use bytes::Bytes;
use convoy_agent::{
    tls::{Tls, unlabelled},
    verifier::Policy,
};
use convoy_proto::v1;
use http::Request;
use hyper::{
    body::{Body, Frame, Incoming},
    client::conn::http2,
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use prost::Message as _;
use rustls::{ClientConfig, pki_types::ServerName};
use tokio::{
    net::{TcpSocket, TcpStream},
    task::JoinSet,
    time::{sleep, timeout},
};
use tokio_rustls::{TlsConnector, client::TlsStream};

use crate::{fleet::PATIENCE, road::runtime};

/// The option that has the controller count loopback as any other address.
pub(crate) const COUNTED: &str = "--count-loopback";
/// So many of a crowd share an address.
const PER_ADDRESS: usize = 16;
/// Who was cut comes again after so long.
const AGAIN: Duration = Duration::from_millis(500);

/// The address from which the stranger of this number comes.
pub(crate) fn source(number: usize) -> SocketAddr {
    let place = u16::try_from(number / PER_ADDRESS + 256).expect("a small crowd");
    let [high, low] = place.to_be_bytes();
    SocketAddr::from((Ipv4Addr::new(127, 1, high, low), 0))
}

/// A TCP connection from an address of this machine.
pub(crate) async fn connect(from: SocketAddr, to: SocketAddr) -> std::io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    // A port of its own for each pair, and none that waits when it is over.
    socket.set_reuseaddr(true)?;
    socket.set_zero_linger()?;
    socket.bind(from)?;
    socket.connect(to).await
}

/// A stranger's configuration: any certificate is accepted, and no label offered.
pub(crate) fn config() -> Arc<ClientConfig> {
    Tls::stranger(Policy::AcceptAny)
        .expect("TLS")
        .offering(&unlabelled())
}

/// A TLS connection of a stranger.
pub(crate) async fn shake(
    config: &Arc<ClientConfig>,
    from: SocketAddr,
    to: SocketAddr,
) -> std::io::Result<TlsStream<TcpStream>> {
    let stream = connect(from, to).await?;
    let name = ServerName::from(to.ip());
    TlsConnector::from(Arc::clone(config))
        .connect(name, stream)
        .await
}

/// A request of a method with this body.
pub(crate) fn request<B>(method: &str, body: B) -> Request<B> {
    Request::post(format!("https://127.0.0.1{method}"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(body)
        .expect("a request")
}

/// A body that begins a message, says much of it, and never ends.
pub(crate) struct Unfinished {
    left: usize,
    begun: bool,
}

impl Unfinished {
    pub(crate) fn of(length: usize) -> Self {
        Self {
            left: length - 1,
            begun: false,
        }
    }
}

impl Body for Unfinished {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if !self.begun {
            self.begun = true;
            let length = u32::try_from(self.left + 1).expect("short");
            let mut header = vec![0];
            header.extend(length.to_be_bytes());
            return Poll::Ready(Some(Ok(Frame::data(header.into()))));
        }
        let now = self.left.min(8 * 1024);
        if now == 0 {
            return Poll::Pending;
        }
        self.left -= now;
        Poll::Ready(Some(Ok(Frame::data(vec![7; now].into()))))
    }
}

/// Strangers that are there until this is dropped.
pub(crate) struct Crowd {
    over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Crowd {
    /// So many at once, each of them doing this again as soon as it is over.
    pub(crate) fn of<F>(count: usize, act: impl Fn(usize) -> F + Send + 'static) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let over = Arc::new(AtomicBool::new(false));
        let until = Arc::clone(&over);
        let thread = std::thread::spawn(move || {
            runtime().block_on(async move {
                let mut acting = JoinSet::new();
                let begin = |number: usize| {
                    let acts = act(number);
                    async move {
                        acts.await;
                        number
                    }
                };
                for number in 0..count {
                    acting.spawn(begin(number));
                }
                while !until.load(Ordering::Relaxed) {
                    let ended = timeout(Duration::from_millis(50), acting.join_next()).await;
                    if let Ok(Some(ended)) = ended {
                        acting.spawn(begin(ended.expect("a stranger")));
                    }
                }
            });
        });
        Self {
            over,
            thread: Some(thread),
        }
    }
}

impl Drop for Crowd {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

/// Opens a TCP connection, says nothing, and waits until it is cut.
pub(crate) async fn half_open(number: usize, to: SocketAddr) {
    use tokio::io::AsyncReadExt as _;
    match connect(source(number), to).await {
        Ok(mut stream) => drop(stream.read_u8().await),
        Err(_) => sleep(AGAIN).await,
    }
}

/// Returns when a connection has been closed, whatever is said on it before.
pub(crate) async fn ended(mut stream: TlsStream<TcpStream>) {
    use tokio::io::AsyncReadExt as _;
    let mut heard = [0; 1024];
    while stream.read(&mut heard).await.is_ok_and(|read| read > 0) {}
}

/// Asks who the controller is, once.
pub(crate) async fn greets(stream: TlsStream<TcpStream>) -> std::io::Result<()> {
    use http_body_util::{BodyExt as _, Full};

    let question = v1::GreetRequest {
        nonce: vec![7; 32].into(),
    }
    .encode_to_vec();
    let mut message = vec![0];
    message.extend(
        u32::try_from(question.len())
            .map_err(std::io::Error::other)?
            .to_be_bytes(),
    );
    message.extend(question);
    let (mut sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
        .await
        .map_err(std::io::Error::other)?;
    let driver = tokio::spawn(connection);
    let asked = request(
        "/convoy.v1.AgentService/Greet",
        Full::new(Bytes::from(message)),
    );
    let answer = sender
        .send_request(asked)
        .await
        .map_err(std::io::Error::other)?;
    let answer = answer
        .into_body()
        .collect()
        .await
        .map_err(std::io::Error::other)?;
    driver.abort();
    if answer.to_bytes().is_empty() {
        return Err(std::io::Error::other("no answer"));
    }
    Ok(())
}

/// Shakes hands, and begins so many requests of a method that it never ends. Waits until it is cut.
pub(crate) async fn unfinished(
    config: Arc<ClientConfig>,
    number: usize,
    to: SocketAddr,
    method: &'static str,
    requests: usize,
) {
    let opened = async {
        let stream = shake(&config, source(number), to).await.ok()?;
        let io = TokioIo::new(stream);
        http2::handshake::<_, _, Unfinished>(TokioExecutor::new(), io)
            .await
            .ok()
    };
    let Ok(Some((mut sender, connection))) = timeout(PATIENCE, opened).await else {
        return sleep(AGAIN).await;
    };
    let mut asking = JoinSet::new();
    for _ in 0..requests {
        let answer = sender.send_request(request(method, Unfinished::of(60 * 1024)));
        asking.spawn(async move {
            if let Ok(answer) = answer.await {
                hold(answer.into_body()).await;
            }
        });
    }
    drop(connection.await);
    sleep(AGAIN).await;
}

/// Begins a plain HTTP request whose body it never ends. Waits until it is cut.
pub(crate) async fn unfinished_plain(number: usize, to: SocketAddr) {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let Ok(mut stream) = connect(source(number), to).await else {
        return sleep(AGAIN).await;
    };
    let mut text = b"POST /scep?operation=PKIOperation HTTP/1.1\r\nhost: x\r\n".to_vec();
    text.extend(b"content-length: 16000\r\n\r\n");
    text.extend(vec![7; 15_900]);
    drop(stream.write_all(&text).await);
    drop(stream.read_u8().await);
    sleep(AGAIN).await;
}

async fn hold(mut answer: Incoming) {
    use http_body_util::BodyExt as _;
    while let Some(Ok(_)) = answer.frame().await {}
}
