//! The verifier in real handshakes on the loopback.

use std::sync::Arc;

use convoy_shared::{
    ack::HandshakeOutcome,
    id::Generation,
    label::Label,
    trust::{Accepted, Mode},
};
use jiff::SignedDuration;
use rustls::{
    ServerConfig,
    crypto::aws_lc_rs::{default_provider, sign::any_supported_type},
    sign::{CertifiedKey, SingleCertAndKey},
    version::TLS13,
};
use tokio::{net::TcpListener, task::JoinHandle};
use tokio_rustls::TlsAcceptor;

use super::*;
use crate::{
    address::Address,
    check::handshake,
    samples::{Fleet, Server},
    state::State,
    tls::{Resume, Tls},
};

const LABEL: Label = Label::Probe(Generation(1));

/// Shows this chain, and signs with this key, whether they fit or not.
fn config(chain: &Server, key: &Server) -> Arc<ServerConfig> {
    let key = any_supported_type(&key.key()).expect("a key");
    let certified = CertifiedKey::new(chain.chain.clone(), key);
    let mut config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
        .with_protocol_versions(&[&TLS13])
        .expect("TLS 1.3")
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(SingleCertAndKey::from(certified)));
    config.alpn_protocols = vec![b"h2".to_vec()];
    Arc::new(config)
}

/// Takes one connection, and says how its handshake ended.
async fn listen(config: Arc<ServerConfig>) -> (Address, JoinHandle<Result<(), String>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("bound");
    let address = listener.local_addr().expect("bound").to_string();
    let task = tokio::spawn(async move {
        let (tcp, _) = listener.accept().await.expect("a connection");
        let shaken = TlsAcceptor::from(config).accept(tcp).await;
        shaken.map(|_| ()).map_err(|error| error.to_string())
    });
    (address.parse().expect("an address"), task)
}

fn tls(fleet: &Fleet, state: &State, policy: Policy) -> Tls {
    Tls::client(policy, &state.identity, fleet.key(), Resume::Never).expect("a configuration")
}

async fn meet(server: &Server, tls: &Tls) -> (HandshakeOutcome, Result<(), String>) {
    let (address, seen) = listen(config(server, server)).await;
    let outcome = handshake(&address, None, tls, &LABEL).await.outcome;
    (outcome, seen.await.expect("no panic"))
}

#[tokio::test]
async fn a_pinned_certificate_is_accepted_also_with_ca_true() {
    for server in [
        Server::self_signed(true),
        Server::self_signed(false),
        Server::odd(),
    ] {
        let mut fleet = Fleet::new();
        fleet.server = server;
        let state = fleet.state();
        let tls = tls(
            &fleet,
            &state,
            Policy::Trust(state.snapshot(&state.clock())),
        );
        let (outcome, seen) = meet(&fleet.server, &tls).await;
        assert_eq!((outcome, seen), (HandshakeOutcome::Accepted, Ok(())));
        let seen = tls.verifier().seen().expect("asked");
        assert_eq!(
            seen.verdict,
            Ok(Accepted::By(convoy_shared::id::AnchorNumber(1)))
        );
        assert_eq!(seen.fingerprint, Digest::of(&fleet.server.chain[0]));
    }
}

#[tokio::test]
async fn another_certificate_is_refused_and_the_server_is_told() {
    let fleet = Fleet::new();
    let state = fleet.state();
    let tls = tls(
        &fleet,
        &state,
        Policy::Trust(state.snapshot(&state.clock())),
    );
    let (outcome, seen) = meet(&Server::self_signed(true), &tls).await;
    assert_eq!(outcome, HandshakeOutcome::Refused);
    assert_eq!(seen, Err("received fatal alert: UnknownCA".to_owned()));
    assert!(matches!(
        tls.verifier().rejection(),
        Some(Rejected::NoAnchor { .. })
    ));
}

#[tokio::test]
async fn off_accepts_any_certificate_until_its_lease_is_over() {
    let fleet = Fleet::new();
    let mut state = fleet.state();
    let lease = SignedDuration::from_hours(1);
    state.trust = fleet.trust(6, Mode::Off { lease });
    let other = Server::self_signed(true);
    let within = tls(
        &fleet,
        &state,
        Policy::Trust(state.snapshot(&state.clock())),
    );
    assert_eq!(meet(&other, &within).await.0, HandshakeOutcome::Accepted);
    let forced = tls(
        &fleet,
        &state,
        Policy::force_verify(state.snapshot(&state.clock())),
    );
    assert_eq!(meet(&other, &forced).await.0, HandshakeOutcome::Refused);

    state.last_proof = fleet.start() - lease * 2;
    let after = tls(
        &fleet,
        &state,
        Policy::Trust(state.snapshot(&state.clock())),
    );
    assert_eq!(meet(&other, &after).await.0, HandshakeOutcome::Refused);
    assert_eq!(
        meet(&fleet.server, &after).await.0,
        HandshakeOutcome::Accepted
    );
}

#[tokio::test]
async fn a_lease_ends_within_a_second_too() {
    let fleet = Fleet::new();
    let mut state = fleet.state();
    let lease = SignedDuration::from_hours(1);
    state.trust = fleet.trust(6, Mode::Off { lease });
    state.last_proof = state.clock().now() - lease - SignedDuration::from_millis(1);
    let after = tls(
        &fleet,
        &state,
        Policy::Trust(state.snapshot(&state.clock())),
    );
    let other = Server::self_signed(true);
    assert_eq!(meet(&other, &after).await.0, HandshakeOutcome::Refused);
}

#[tokio::test]
async fn a_certificate_without_its_key_is_accepted_in_no_mode() {
    let fleet = Fleet::new();
    let impostor = Server::self_signed(true);
    let state = fleet.state();
    for policy in [
        Policy::AcceptAny,
        Policy::Trust(state.snapshot(&state.clock())),
    ] {
        let (address, seen) = listen(config(&fleet.server, &impostor)).await;
        let tls = tls(&fleet, &state, policy);
        assert_eq!(
            handshake(&address, None, &tls, &LABEL).await.outcome,
            HandshakeOutcome::Unreachable
        );
        assert_eq!(
            seen.await.expect("no panic"),
            Err("received fatal alert: DecryptError".to_owned())
        );
    }
}

#[tokio::test]
async fn nobody_there_is_no_refusal() {
    let fleet = Fleet::new();
    let state = fleet.state();
    let tls = tls(
        &fleet,
        &state,
        Policy::Trust(state.snapshot(&state.clock())),
    );
    let (address, seen) = listen(config(&fleet.server, &fleet.server)).await;
    seen.abort();
    drop(seen.await);
    let outcome = handshake(&address, None, &tls, &LABEL).await.outcome;
    assert_eq!(outcome, HandshakeOutcome::Unreachable);
}
