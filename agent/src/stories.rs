//! Whole lives of an agent against a controller of the tests' own, over real TLS on the loopback.

mod certificates;
mod controller;
mod visit;

use std::time::Duration;

use controller::{Controller, Seen};
use convoy_proto::v1;
use convoy_shared::{ack::Held, id::Generation, label::Label, trust::Mode};
use jiff::SignedDuration;
use rustls::HandshakeKind;
use tokio::{sync::watch, task::JoinHandle};

use crate::{
    check,
    disk::StateDir,
    join::{How, join},
    run::{RunError, run},
    samples::{Server, client_id},
    state::State,
    status::status,
};

const OFF: Mode = Mode::Off {
    lease: SignedDuration::from_hours(10),
};

struct Agent {
    dir: StateDir,
    stop: watch::Sender<bool>,
    task: JoinHandle<Result<(), RunError>>,
}

impl Agent {
    fn start(dir: &StateDir) -> Self {
        let (stop, asked) = watch::channel(false);
        Self {
            dir: dir.clone(),
            stop,
            task: tokio::spawn(run(dir.clone(), asked)),
        }
    }

    fn state(&self) -> State {
        State::load(&self.dir).expect("a state")
    }

    async fn stop(self) {
        self.stop.send_replace(true);
        let ended = tokio::time::timeout(Duration::from_secs(20), self.task).await;
        ended
            .expect("in time")
            .expect("no panic")
            .expect("in order");
    }
}

async fn joined(controller: &Controller) -> StateDir {
    let dir = controller.fleet.dir.clone();
    let joined = join(&dir, &controller.token(), "host", None)
        .await
        .expect("joined");
    assert_eq!(joined.how, How::New);
    assert_eq!(joined.state.client_id, client_id());
    dir
}

fn applied(held: Held) -> v1::session_request::Message {
    v1::session_request::Message::TrustAck(convoy_proto::agent::trust_ack(
        held,
        convoy_shared::ack::AckOutcome::Applied,
    ))
}

fn received(held: Held) -> v1::session_request::Message {
    v1::session_request::Message::TrustAck(convoy_proto::agent::trust_ack(
        held,
        convoy_shared::ack::AckOutcome::Received,
    ))
}

#[tokio::test]
async fn an_agent_joins_says_what_it_holds_and_ends_in_order() {
    let mut controller = Controller::start().await;
    let dir = joined(&controller).await;
    let again = join(&dir, &controller.token(), "host", None)
        .await
        .expect("there");
    assert_eq!(again.how, How::AlreadyThere);
    assert!(!status(&dir).expect("a status").running);

    let agent = Agent::start(&dir);
    let visit = controller.visit().await;
    let state = agent.state();
    assert_eq!(visit.hello.trust, Some(state.held().into()));
    assert_eq!(visit.hello.incarnation, 1);
    assert_eq!(visit.hello.mode(), v1::VerificationMode::Verify);
    assert_eq!(
        visit.label,
        Some(Label::Trusts(state.trust.document.anchors.numbers()))
    );
    assert_eq!(visit.kind, HandshakeKind::Full);
    assert!(status(&dir).expect("a status").running);
    assert!(matches!(
        run(dir.clone(), watch::channel(false).1).await,
        Err(RunError::Disk(crate::disk::DiskError::Held(_)))
    ));
    drop(visit);
    agent.stop().await;

    let agent = Agent::start(&dir);
    assert_eq!(controller.visit().await.hello.incarnation, 2);
    agent.stop().await;
}

#[tokio::test]
async fn a_token_of_another_fleet_leads_nowhere_and_leaves_nothing() {
    let controller = Controller::start().await;
    let mut token = controller.token();
    token.root_digest = convoy_shared::id::Digest::of(b"another root");
    let dir = &controller.fleet.dir;
    let refused = join(dir, &token, "host", None)
        .await
        .expect_err("refused")
        .to_string();
    assert!(refused.contains("does not contain the root"), "{refused}");
    assert!(State::load(dir).is_err());
}

#[tokio::test]
async fn an_impostor_is_shown_nothing_when_joining() {
    let controller = Controller::start().await;
    controller.lie_about_the_channel(true);
    let refused = join(&controller.fleet.dir, &controller.token(), "host", None).await;
    let refused = refused.expect_err("refused").to_string();
    assert!(refused.contains("another TLS channel"), "{refused}");
    assert_eq!(controller.joins(), 0);
}

#[tokio::test]
async fn a_newer_document_is_stored_acknowledged_and_shown_by_a_full_handshake() {
    let mut controller = Controller::start().await;
    let dir = joined(&controller).await;
    let agent = Agent::start(&dir);
    let mut visit = controller.visit().await;
    let spare = Server::self_signed(false);
    let anchors = vec![controller.fleet.server.pin(1), spare.pin(2)];
    let next = controller.fleet.trust_with(6, Mode::Verify, anchors);

    visit.publish(&next);
    assert_eq!(visit.next().await, Some(received(next.held())));
    assert_eq!(visit.next().await, Some(applied(next.held())));
    assert_eq!(agent.state().held(), next.held());
    assert_eq!(visit.next().await, None);
    drop(visit);

    let mut visit = controller.visit().await;
    assert_eq!(visit.hello.trust, Some(next.held().into()));
    assert_eq!(
        visit.label,
        Some(Label::Trusts(next.document.anchors.numbers()))
    );
    assert_eq!(visit.kind, HandshakeKind::Full);

    // Said again, it is said again. Said wrongly, it is refused.
    visit.publish(&next);
    assert_eq!(visit.next().await, Some(applied(next.held())));
    visit.publish(&controller.fleet.trust(4, Mode::Verify));
    let Some(v1::session_request::Message::TrustAck(ack)) = visit.next().await else {
        panic!("no acknowledgment");
    };
    assert_eq!(ack.outcome(), v1::AckOutcome::Refused);
    assert!(ack.reason.contains("never goes back"), "{}", ack.reason);
    assert_eq!(agent.state().held(), next.held());
    drop(visit);
    agent.stop().await;
}

#[tokio::test]
async fn a_check_shows_what_is_accepted_and_what_is_not() {
    let mut controller = Controller::start().await;
    let dir = joined(&controller).await;
    let agent = Agent::start(&dir);
    let mut visit = controller.visit().await;
    let held = agent.state().held();

    let report = visit.check([7; 16], held, 3).await;
    assert_eq!(report.token, vec![7; 16]);
    assert_eq!(report.trust, Some(held.into()));
    // The candidate is not among the anchors yet.
    assert_eq!(report.probe(), v1::HandshakeOutcome::Refused);
    assert_eq!(report.decoy(), v1::HandshakeOutcome::Refused);
    assert_eq!(report.mode(), v1::VerificationMode::Verify);
    assert_eq!(
        controller.seen(),
        [
            Seen {
                label: Label::Probe(Generation(3)),
                alert: Some("UnknownCA".to_owned()),
                identity: false
            },
            Seen {
                label: Label::Decoy(convoy_shared::label::CheckToken([7; 16])),
                alert: Some("UnknownCA".to_owned()),
                identity: false
            },
        ]
    );

    let anchors = vec![
        controller.fleet.server.pin(1),
        controller.candidate().pin(2),
    ];
    let next = controller.fleet.trust_with(6, Mode::Verify, anchors);
    visit.publish(&next);
    drop(visit);
    let mut visit = controller.visit_with(next.held()).await;
    // About a document that is gone.
    let report = visit.check([8; 16], held, 3).await;
    assert_eq!(report.trust, Some(next.held().into()));
    assert_eq!(report.decoy(), v1::HandshakeOutcome::Unreachable);
    let report = visit.check([9; 16], next.held(), 3).await;
    assert_eq!(report.probe(), v1::HandshakeOutcome::Accepted);
    assert_eq!(report.decoy(), v1::HandshakeOutcome::Refused);
    let seen = controller.seen();
    assert_eq!(
        seen[0],
        Seen {
            label: Label::Probe(Generation(3)),
            alert: None,
            identity: true
        }
    );
    // None asked for.
    let report = visit.check([10; 16], next.held(), 0).await;
    assert_eq!(report.probe(), v1::HandshakeOutcome::NotRun);
    drop(visit);
    agent.stop().await;
}

#[tokio::test]
async fn with_verification_off_the_decoy_is_accepted_and_the_proof_still_counts() {
    let mut controller = Controller::start().await;
    let dir = joined(&controller).await;
    let agent = Agent::start(&dir);
    let visit = controller.visit().await;
    let off = controller.fleet.trust(6, OFF);
    visit.publish(&off);
    drop(visit);

    let mut visit = controller.visit_with(off.held()).await;
    assert_eq!(visit.label, Some(Label::TrustsAny));
    assert_eq!(visit.hello.mode(), v1::VerificationMode::Off);
    let report = visit.check([7; 16], off.held(), 0).await;
    assert_eq!(report.decoy(), v1::HandshakeOutcome::Accepted);
    assert_eq!(report.mode(), v1::VerificationMode::Off);

    // Somebody who has no policy key gets a hello, and then nothing.
    controller.lie_about_the_channel(true);
    let proof = agent.state().last_proof;
    visit.reconnect(true);
    drop(visit);
    let mut visit = controller.visit().await;
    visit.publish(&controller.fleet.trust(7, Mode::Verify));
    assert_eq!(visit.next().await, None);
    assert_eq!(agent.state().held(), off.held());
    assert_eq!(agent.state().last_proof, proof);
    controller.lie_about_the_channel(false);
    drop(visit);
    agent.stop().await;
}

#[tokio::test]
async fn tickets_are_used_until_they_are_to_be_dropped() {
    let mut controller = Controller::start().await;
    let dir = joined(&controller).await;
    let agent = Agent::start(&dir);
    let visit = controller.visit().await;
    visit.reconnect(false);
    drop(visit);
    let visit = controller.visit().await;
    assert_eq!(visit.kind, HandshakeKind::Resumed);
    visit.reconnect(true);
    drop(visit);
    assert_eq!(controller.visit().await.kind, HandshakeKind::Full);
    agent.stop().await;
}

#[tokio::test]
async fn a_new_root_is_stored_before_anything_else_is_believed() {
    let mut controller = Controller::start().await;
    let dir = joined(&controller).await;
    controller.rotate_root();
    let agent = Agent::start(&dir);
    let visit = controller.visit().await;
    assert_eq!(visit.hello.root_version, 1);
    visit.reconnect(false);
    drop(visit);
    let visit = controller.visit().await;
    assert_eq!(visit.hello.root_version, 2);
    assert_eq!(agent.state().root.root.version.0, 2);
    drop(visit);
    agent.stop().await;
}

#[tokio::test]
async fn an_identity_is_renewed_at_half_life() {
    let mut controller = Controller::start().await;
    controller.certify_for(20, 10);
    let dir = joined(&controller).await;
    controller.certify_for(1, 29);
    let before = State::load(&dir).expect("a state").identity;
    let agent = Agent::start(&dir);
    let mut visit = controller.visit().await;
    controller.renewed().await;
    // An answer to a later message shows that the renewal's was dealt with, or will be before the end of the session.
    let held = agent.state().held();
    visit.check([1; 16], held, 0).await;
    visit.reconnect(false);
    drop(visit);
    let visit = controller.visit().await;
    assert_ne!(agent.state().identity, before);
    drop(visit);
    agent.stop().await;
}

#[tokio::test]
async fn the_production_certificate_is_checked_also_when_verification_is_off() {
    let controller = Controller::start().await;
    let dir = joined(&controller).await;
    let sound = check::production(&dir).await.expect("sound");
    assert_eq!(sound.anchor.0, 1);

    let mut state = State::load(&dir).expect("a state");
    let stranger = Server::self_signed(true);
    state.trust = controller.fleet.trust_with(6, OFF, vec![stranger.pin(2)]);
    state.store(&dir).expect("stored");
    let unsound = check::production(&dir).await.expect_err("unsound");
    assert_eq!(unsound.fingerprint, Some(sound.fingerprint));
    let why = unsound.error.to_string();
    assert!(why.contains("no anchor vouches"), "{why}");
}
