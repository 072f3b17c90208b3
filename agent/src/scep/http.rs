//! One HTTP exchange with a SCEP server, on a connection of its own. What is said, and what follows from it, is decided elsewhere.

use std::{net::SocketAddr, time::Duration};

use bytes::Bytes;
use convoy_host::dial::connect;
use convoy_scep::{
    client::{HttpReply, TransportError},
    http::{HttpRequest, MAX_BODY, Method},
};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::{net::lookup_host, time::timeout};

/// Where a SCEP server is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Server {
    authority: String,
    host: String,
    port: u16,
    path: String,
}

impl Server {
    /// Reads an `http://` URL; `None` if it is none.
    pub(crate) fn parse(url: &str) -> Option<Self> {
        let uri: http::Uri = url.parse().ok()?;
        if uri.scheme_str() != Some("http") {
            return None;
        }
        let host = uri.host()?;
        let bare = host
            .strip_prefix('[')
            .and_then(|host| host.strip_suffix(']'));
        Some(Self {
            authority: uri.authority()?.to_string(),
            host: bare.unwrap_or(host).to_owned(),
            port: uri.port_u16().unwrap_or(80),
            path: uri.path().to_owned(),
        })
    }

    /// Its first address.
    pub(crate) async fn address(&self, patience: Duration) -> Result<SocketAddr, TransportError> {
        match timeout(patience, lookup_host((self.host.as_str(), self.port))).await {
            Ok(Ok(mut addresses)) => addresses.next().ok_or(TransportError::NoConnection),
            Ok(Err(_)) => Err(TransportError::NoConnection),
            Err(_) => Err(TransportError::Timeout),
        }
    }

    /// Sends a request, and waits for the whole answer. Of one that is longer than [`MAX_BODY`] the beginning is handed back, which no message can be.
    pub(crate) async fn exchange(
        &self,
        request: HttpRequest,
        patience: Duration,
    ) -> Result<HttpReply, TransportError> {
        match timeout(patience, self.send(request)).await {
            Ok(Ok(reply)) => Ok(reply),
            Ok(Err(error)) => {
                tracing::debug!(
                    server = self.authority,
                    error = crate::link::told(error.as_ref()),
                    "no answer from the SCEP server"
                );
                Err(TransportError::NoConnection)
            }
            Err(_) => Err(TransportError::Timeout),
        }
    }

    async fn send(
        &self,
        request: HttpRequest,
    ) -> Result<HttpReply, Box<dyn std::error::Error + Send + Sync>> {
        let (_, tcp) = connect(&self.host, self.port).await?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(tcp)).await?;
        let method = match request.method {
            Method::Get => http::Method::GET,
            Method::Post => http::Method::POST,
        };
        let mut built = http::Request::builder()
            .method(method)
            .uri(format!("{}?{}", self.path, request.query))
            .header(http::header::HOST, &self.authority)
            .header(
                http::header::USER_AGENT,
                concat!("convoy-agent/", env!("CARGO_PKG_VERSION")),
            )
            .header(http::header::CONNECTION, "close");
        if let Some(media) = request.content_type {
            built = built.header(http::header::CONTENT_TYPE, media);
        }
        let built = built.body(Full::new(Bytes::from(request.body)))?;
        let answer = async {
            let response = sender.send_request(built).await?;
            let status = response.status().as_u16();
            let media = response.headers().get(http::header::CONTENT_TYPE);
            let content_type = media.and_then(|text| text.to_str().ok()).map(str::to_owned);
            let mut incoming = response.into_body();
            let mut body = Vec::new();
            while let Some(frame) = incoming.frame().await {
                if let Some(data) = frame?.data_ref() {
                    body.extend_from_slice(data);
                }
                if body.len() > MAX_BODY {
                    body.truncate(MAX_BODY + 1);
                    break;
                }
            }
            Ok(HttpReply {
                status,
                content_type,
                body,
            })
        };
        let mut answer = std::pin::pin!(answer);
        // Driven here, so that the connection ends with the exchange.
        tokio::select! {
            answer = &mut answer => answer,
            ended = connection => {
                ended?;
                answer.await
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_endless_answer_ends_all_the_same() {
        use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
            .await
            .expect("bound");
        let address = listener.local_addr().expect("bound");
        tokio::spawn(async move {
            let (mut tcp, _) = listener.accept().await.expect("a connection");
            let mut request = [0; 512];
            let read = tcp.read(&mut request).await.expect("a request");
            let text = String::from_utf8_lossy(&request[..read]).to_ascii_lowercase();
            assert!(
                text.starts_with("get /scep?operation=getcacaps http/1.1\r\n"),
                "{text}"
            );
            assert!(text.contains(&format!("host: {address}\r\n")), "{text}");
            tcp.write_all(b"HTTP/1.1 200 OK\r\nContent-Type: odd; x\r\n\r\n")
                .await
                .expect("sent");
            while tcp.write_all(&[b'x'; 4096]).await.is_ok() {}
        });
        let server = Server::parse(&format!("http://{address}/scep")).expect("a server");
        let request =
            convoy_scep::http::Operation::GetCaCaps { identifier: None }.into_request(true);
        let reply = server
            .exchange(request, Duration::from_secs(20))
            .await
            .expect("a reply");
        assert_eq!((reply.status, reply.body.len()), (200, MAX_BODY + 1));
    }

    #[test]
    fn a_url_says_where_the_server_is() {
        let server = |url: &str| Server::parse(url).map(|it| (it.host, it.port, it.path));
        let is = |host: &str, port, path: &str| Some((host.to_owned(), port, path.to_owned()));
        assert_eq!(server("http://ca.example"), is("ca.example", 80, "/"));
        assert_eq!(server("http://ca:8080/scep"), is("ca", 8080, "/scep"));
        assert_eq!(server("http://[::1]:1/a/b"), is("::1", 1, "/a/b"));
        assert_eq!(server("https://ca"), None);
        assert_eq!(server("ca"), None);
    }
}
