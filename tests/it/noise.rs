//! Clients that do not keep to the protocol: they end their own session, and nothing else.

use bytes::Bytes;
use convoy_agent::tls::unlabelled;
use convoy_proto::v1::{self, session_request};
use http::Request;
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::{TlsConnector, client::TlsStream};
use tonic::{Code, Status};

use crate::{
    fleet::{Fleet, PATIENCE},
    puppet::Puppet,
};

#[test]
fn noise_ends_its_own_connection_and_no_other() {
    // Given an honest client in session, and a client that does not keep to the protocol,
    let mut fleet = Fleet::with_agents(&["honest"]);
    let token = fleet.ok(&["token", "create"]);
    fleet.join("noisy", &token);
    let puppet = Puppet::of(&fleet, "noisy");
    let ack = || session_request::Message::TrustAck(v1::TrustAck::default());
    let long = || {
        session_request::Message::TrustAck(v1::TrustAck {
            reason: "x".repeat(65 * 1024),
            ..v1::TrustAck::default()
        })
    };

    // when it says no hello, a second one, too much, or what cannot be, then its session ends, and it is told why;
    let mut talk = puppet.begin(puppet.link(&puppet.tls()), ack());
    assert_eq!(talk.hear_end().code(), Code::InvalidArgument);
    let mut talk = puppet.begin(puppet.link(&puppet.tls()), long());
    assert_eq!(talk.hear_end().code(), Code::OutOfRange);
    for (message, code) in [
        (puppet.hello(), Some(Code::InvalidArgument)),
        (ack(), Some(Code::InvalidArgument)),
        (
            session_request::Message::CheckReport(v1::CheckReport::default()),
            Some(Code::InvalidArgument),
        ),
        (long(), None),
    ] {
        let mut talk = puppet.open();
        talk.say(message);
        assert!(talk.hear().is_none());
        let said = talk.ended.as_ref().map(Status::code);
        assert!(code.is_none() || said == code, "{said:?}");
    }
    // a hello that cannot be is no hello;
    let changes: [fn(&mut v1::Hello); 5] = [
        |hello| hello.protocol_version = 99,
        |hello| hello.nonce = vec![1; 31].into(),
        |hello| hello.instance = vec![].into(),
        |hello| hello.trust = None,
        |hello| hello.mode = 0,
    ];
    for change in changes {
        let first = puppet.hello_but(change);
        let mut talk = puppet.begin(puppet.link(&puppet.tls()), first);
        let code = talk.hear_end().code();
        assert!(matches!(
            code,
            Code::InvalidArgument | Code::FailedPrecondition
        ));
    }

    // when it sends bytes that are no HTTP/2, then its connection ends,
    for noise in [
        &b"GET / HTTP/1.1\r\n\r\n"[..],
        &[0xff; 4096],
        &preface_and_noise(),
    ] {
        assert!(ends(&puppet, noise), "still open after {noise:?}");
    }
    // and when it sends gRPC that is no protocol buffer, is compressed, or ends too early, then its call ends with an error;
    for noise in [
        &[0, 0, 0, 0, 4, 0xff, 0xff, 0xff, 0xff][..],
        &[1, 0, 0, 0, 1, 0],
        &[0, 0, 0, 0, 9, 1],
        &[],
    ] {
        let status = status_of(&puppet, noise);
        assert!(status.is_some_and(|status| status != "0"), "{noise:?}");
    }

    // and the controller lives, the honest client has noticed nothing, and the noisy one is welcome as soon as it behaves.
    assert!(fleet.controller_lives());
    assert_eq!(fleet.client("honest")["connected"], true);
    let sessions = fleet.log("honest").matches("in session").count();
    assert_eq!(sessions, 1, "the honest client was disturbed");
    fleet.run("noisy");
    fleet.await_connected(&["noisy"]);
}

/// An HTTP/2 preface, empty settings, and a frame of a length that no peer allows.
fn preface_and_noise() -> Vec<u8> {
    let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    bytes.extend([0, 0, 0, 4, 0, 0, 0, 0, 0]);
    bytes.extend([0xff, 0xff, 0xff, 1, 0xff, 0x7f, 0xff, 0xff, 0xff]);
    bytes.extend([0xff; 64]);
    bytes
}

/// The status that the controller gives to a session with these bytes as its body.
fn status_of(puppet: &Puppet, body: &'static [u8]) -> Option<String> {
    puppet.block_on(async {
        let io = TokioIo::new(shaken(puppet).await);
        let (mut sender, connection) = http2::handshake(TokioExecutor::new(), io)
            .await
            .expect("HTTP/2");
        let driver = tokio::spawn(connection);
        let request = Request::post("https://127.0.0.1/convoy.v1.AgentService/Session")
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .body(Full::new(Bytes::from_static(body)))
            .expect("a request");
        let answer = sender.send_request(request).await.expect("an answer");
        let early = answer.headers().get("grpc-status").cloned();
        let rest = answer.into_body().collect().await.expect("an end");
        driver.abort();
        let late = rest.trailers().and_then(|all| all.get("grpc-status"));
        let status = early.or_else(|| late.cloned())?;
        Some(status.to_str().expect("ASCII").to_owned())
    })
}

/// Whether the controller ends a connection on which this was sent.
fn ends(puppet: &Puppet, noise: &[u8]) -> bool {
    puppet.block_on(async {
        let mut stream = shaken(puppet).await;
        // It may end while this is written.
        drop(stream.write_all(noise).await);
        drop(stream.flush().await);
        let mut heard = Vec::new();
        timeout(PATIENCE, stream.read_to_end(&mut heard))
            .await
            .is_ok()
    })
}

async fn shaken(puppet: &Puppet) -> TlsStream<TcpStream> {
    let address = &puppet.state.addresses[0];
    let tcp = TcpStream::connect((address.host(), address.port())).await;
    TlsConnector::from(puppet.tls().offering(&unlabelled()))
        .connect(address.server_name().clone(), tcp.expect("connected"))
        .await
        .expect("a handshake")
}
