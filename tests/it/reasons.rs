//! Why a rotation waits for a client reaches the operator: as a code and in words, in the rotation, with the client, and in the advice.

use convoy_agent::check::Ask;
use convoy_proto::{agent::trust_ack, v1::session_request};
use convoy_shared::ack::{AckOutcome, HandshakeOutcome};
use serde_json::Value;

use crate::{fleet::Fleet, puppet::Puppet};

/// What `convoy rotation status` advises about a client that is off.
const SWITCH_ON: &str = "Switch on";

/// A rotation whose gate A waits for the client `late`, of whose identity a puppet makes use.
fn waiting(more: &[&str]) -> (Fleet, Puppet) {
    let mut fleet = Fleet::start();
    let token = fleet.ok(&["token", "create", "--uses", "2"]);
    fleet.join("late", &token);
    fleet.join("honest", &token);
    fleet.run("honest");
    fleet.await_connected(&["honest"]);
    fleet.rotate(more);
    fleet.await_missing(&["late"]);
    let puppet = Puppet::of(&fleet, "late");
    (fleet, puppet)
}

/// The one missing client of the newest rotation is missing for this reason; the rotation then.
#[track_caller]
fn await_reason(fleet: &mut Fleet, code: &str, words: &str) -> Value {
    let rotation = fleet.eventually(&format!("missing because {code}: {words}"), |fleet| {
        let rotation = fleet.rotation();
        let reason = &rotation["missing"][0]["reason"];
        let text = reason["text"].as_str().expect("words");
        (reason["code"] == code && text.contains(words)).then_some(rotation)
    });
    // The same is said of the client itself, and on the screen.
    let client = fleet.client("late");
    assert_eq!(client["missing_reason"]["code"], code, "{client}");
    let shown = fleet.ok(&["clients", "show", "late"]);
    assert!(shown.contains(&format!("{code}: ")), "{shown}");
    rotation
}

fn advice(rotation: &Value) -> &str {
    rotation["advice"].as_str().expect("advice")
}

#[test]
fn a_client_that_is_off_is_to_be_switched_on_and_one_that_is_connected_is_not() {
    let (mut fleet, puppet) = waiting(&[]);
    let rotation = await_reason(&mut fleet, "off", "off or out of reach since 20");
    assert!(advice(&rotation).contains(SWITCH_ON), "{rotation}");

    // When it is connected and says nothing, then nobody is sent to switch it on.
    let talk = puppet.open();
    let rotation = await_reason(&mut fleet, "silent", "has not shown what it is asked for");
    assert!(!advice(&rotation).contains(SWITCH_ON), "{rotation}");
    assert!(
        advice(&rotation).contains("1 connected and silent"),
        "{rotation}"
    );
    let text = fleet.ok(&["rotation", "status"]);
    assert!(
        text.contains("connected, and has not shown what it is asked for since"),
        "{text}"
    );
    talk.close();

    // And whoever is not waited for is missing for no reason.
    assert_eq!(fleet.client("honest")["missing_reason"], Value::Null);
    fleet.run("late");
    fleet.await_phase("Completed");
    assert_eq!(fleet.client("late")["missing_reason"], Value::Null);
}

#[test]
fn why_a_client_refuses_the_trust_document_is_told() {
    let (mut fleet, puppet) = waiting(&[]);
    let mut talk = puppet.open();
    let trust = puppet.receive(&mut talk);
    let refused = AckOutcome::Refused("the folder is read-only\u{1b}[2J".to_owned());
    talk.say(session_request::Message::TrustAck(trust_ack(
        trust.held(),
        refused,
    )));
    let rotation = await_reason(
        &mut fleet,
        "refuses-document",
        "refuses the trust document: the folder is read-only[2J",
    );
    assert!(!advice(&rotation).contains(SWITCH_ON), "{rotation}");

    // Once it obeys, it is no reason any more.
    talk.acknowledge(trust.held());
    talk.close();
    fleet.run("late");
    fleet.await_phase("Completed");
}

#[test]
fn a_client_whose_disk_is_full_is_told_from_one_that_refuses() {
    let (mut fleet, puppet) = waiting(&[]);
    let mut talk = puppet.open();
    let trust = puppet.receive(&mut talk);
    let full = AckOutcome::DiskFull("cannot write /s/state: No space left".to_owned());
    talk.say(session_request::Message::TrustAck(trust_ack(
        trust.held(),
        full,
    )));
    let rotation = await_reason(
        &mut fleet,
        "disk-full",
        "its disk is full: cannot write /s/state: No space left",
    );
    assert!(advice(&rotation).contains("Make room"), "{rotation}");

    // When there was room, in the same session, it is no reason any more.
    talk.acknowledge(trust.held());
    fleet.eventually("the reason is gone", |fleet| {
        let code = fleet.rotation()["missing"][0]["reason"]["code"].clone();
        (code != "disk-full").then_some(())
    });
    talk.close();
    fleet.run("late");
    fleet.await_phase("Completed");
}

#[test]
fn what_failed_in_a_check_is_told() {
    let (mut fleet, mut puppet) = waiting(&[]);
    puppet.take_trust();
    let mut talk = puppet.open();
    let with_failure = |puppet: &Puppet, ask: &Ask| {
        let unreachable = HandshakeOutcome::Unreachable;
        let report = puppet.report(ask, unreachable, unreachable);
        let session_request::Message::CheckReport(mut report) = report else {
            panic!("no report but {report:?}");
        };
        report.failure = "192.0.2.7:7443: connection refused".to_owned();
        session_request::Message::CheckReport(report)
    };
    let ask = talk.hear_check();
    talk.say(with_failure(&puppet, &ask));
    await_reason(
        &mut fleet,
        "cannot-probe",
        "could not probe: 192.0.2.7:7443: connection refused",
    );

    // The newest reason counts.
    let ask = talk.hear_check();
    let (refused, not_run) = (HandshakeOutcome::Refused, HandshakeOutcome::NotRun);
    talk.say(puppet.report(&ask, refused, not_run));
    await_reason(
        &mut fleet,
        "refuses-certificate",
        "refuses the new certificate",
    );

    // Shown at last: no reason is left.
    let ask = talk.hear_check();
    talk.say(puppet.answer(ask));
    fleet.eventually("gate A opens", |fleet| {
        (fleet.phase() != "Preparing").then_some(())
    });
    talk.close();
    fleet.run("late");
    fleet.await_phase("Completed");
}

#[test]
fn a_probe_that_an_agent_cannot_make_is_told_with_what_failed() {
    // Given a client that is asked to show what it accepts,
    let (mut fleet, mut puppet) = waiting(&[]);
    puppet.take_trust();
    let mut talk = puppet.open();
    let ask = talk.hear_check();
    // when the agent's own code does the check on an address where nobody listens,
    let nobody = "127.0.0.1:1".parse().expect("an address");
    let report = puppet.block_on(convoy_agent::check::answer(
        &puppet.dir,
        &nobody,
        None,
        ask,
        &puppet.state.clock(),
    ));
    talk.say(session_request::Message::CheckReport(report));
    // then the operator reads the address and the cause.
    await_reason(&mut fleet, "cannot-probe", "127.0.0.1:1: ");
}

#[test]
fn another_mode_than_the_ordered_one_is_told() {
    let (mut fleet, mut puppet) = waiting(&["--strategy", "toggle"]);
    puppet.take_trust();
    let mut talk = puppet.open();
    let ask = talk.hear_check();
    let refused = HandshakeOutcome::Refused;
    let report = puppet.report(&ask, HandshakeOutcome::NotRun, refused);
    let session_request::Message::CheckReport(mut report) = report else {
        panic!("no report but {report:?}");
    };
    report.mode = convoy_proto::v1::VerificationMode::Verify.into();
    talk.say(session_request::Message::CheckReport(report));
    let rotation = await_reason(
        &mut fleet,
        "other-mode",
        "its verification is on, and it is to be off",
    );
    assert!(advice(&rotation).contains("clocks"), "{rotation}");
}
