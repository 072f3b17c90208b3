//! Clients that say what is not so: none of them counts, each is named, and an honest agent with the same identity is believed again.

use convoy_agent::{check::Ask, tls::Resume};
use convoy_proto::v1::{self, session_request, session_response};
use convoy_shared::{
    ack::{HandshakeOutcome, Held},
    id::{Digest, Revision},
    label::Label,
    trust::ModeInForce,
};
use rustls::HandshakeKind;
use serde_json::Value;

use crate::{fleet::Fleet, puppet::Puppet};

const UNKNOWN: &str = "a trust document that was never published to it";
const GULLIBLE: &str = "it accepts any certificate";
const CONTRADICTS: &str = "a handshake that the controller did not see";
const OFF: &str = "it says that verification is off";

/// A rotation whose gate A waits for the client `liar`, of whose identity a puppet makes use.
fn waited_for(more: &[&str]) -> (Fleet, Puppet) {
    let mut fleet = Fleet::start();
    let token = fleet.ok(&["token", "create", "--uses", "2"]);
    fleet.join("liar", &token);
    fleet.join("honest", &token);
    fleet.run("honest");
    fleet.await_connected(&["honest"]);
    fleet.rotate(more);
    fleet.await_missing(&["liar"]);
    let puppet = Puppet::of(&fleet, "liar");
    (fleet, puppet)
}

/// The controller names the liar, and gate A stays shut on it.
#[track_caller]
fn assert_caught(fleet: &mut Fleet, at: &str) {
    fleet.eventually(&format!("caught: {at}"), |fleet| {
        let suspicion = fleet.client("liar")["suspicion"].to_string();
        suspicion.contains(at).then_some(())
    });
    let rotation = fleet.rotation();
    let suspects = rotation["suspects"].as_array().expect("a list");
    assert_eq!(suspects.len(), 1, "{rotation}");
    assert_eq!(suspects[0]["name"], "liar");
    assert!(suspects[0]["suspicion"].to_string().contains(at));
    assert_eq!(rotation["phase"], "Preparing");
    assert_eq!(fleet.missing(), ["liar"]);
    assert_eq!(fleet.client("liar")["evidence"], "none");
}

/// An honest agent with the same identity is believed, and the rotation completes.
fn redeem(fleet: &mut Fleet) {
    fleet.run("liar");
    let rotation = fleet.await_phase("Completed");
    assert_eq!(rotation["suspects"].as_array().map(Vec::len), Some(0));
    let client = fleet.client("liar");
    assert_eq!(client["suspicion"], "");
    assert_eq!(client["evidence"], "confirmed");
    fleet.assert_no_orphans(&["liar", "honest"]);
}

#[test]
fn who_says_it_holds_what_was_never_published_is_caught() {
    let never = Held {
        revision: Revision(2),
        digest: Digest::of(b"never published"),
    };
    // Given a client that says in its hello that it holds the new revision, of another digest,
    let (mut fleet, puppet) = waited_for(&[]);
    let mut talk = puppet.open_saying(|hello| hello.trust = Some(never.into()));
    // then it is caught, and stays so although it acknowledges what it is sent then;
    assert_caught(&mut fleet, UNKNOWN);
    let trust = puppet.receive(&mut talk);
    assert_eq!(trust.document.revision, never.revision);
    talk.acknowledge(trust.held());
    talk.close();
    assert_caught(&mut fleet, UNKNOWN);

    // and if it says it of a revision that is far ahead, or in an acknowledgment, nothing gets better.
    for held in [
        Held {
            revision: Revision(u64::MAX),
            ..never
        },
        Held {
            revision: Revision(0),
            ..never
        },
    ] {
        let talk = puppet.open_saying(|hello| hello.trust = Some(held.into()));
        talk.acknowledge(never);
        talk.close();
        assert_caught(&mut fleet, UNKNOWN);
    }
    redeem(&mut fleet);
}

#[test]
fn who_reports_handshakes_that_nobody_saw_is_caught() {
    // Given a client that has applied the new trust, and counts as that,
    let (mut fleet, mut puppet) = waited_for(&[]);
    puppet.take_trust();
    let mut talk = puppet.open();
    let ask = talk.hear_check();
    assert_eq!(fleet.client("liar")["evidence"], "applied");

    // when it reports a good check without a single connection, then it is caught, and loses what it had.
    let accepted = HandshakeOutcome::Accepted;
    talk.say(puppet.report(&ask, accepted, HandshakeOutcome::Refused));
    assert_caught(&mut fleet, CONTRADICTS);

    // The same if it has probed, and leaves out the decoy.
    let ask = talk.hear_check();
    let probe = Label::Probe(ask.probe.expect("a probe"));
    assert_eq!(puppet.shake(&puppet.tls(), &probe), accepted);
    talk.say(puppet.report(&ask, accepted, HandshakeOutcome::Refused));
    let again = talk.hear_check();
    assert_ne!(again.token, ask.token);
    assert_caught(&mut fleet, CONTRADICTS);
    talk.close();
    redeem(&mut fleet);
}

#[test]
fn who_accepts_any_certificate_is_caught_whatever_it_says() {
    // Given a client that completes the decoy's handshake,
    let (mut fleet, mut puppet) = waited_for(&[]);
    puppet.take_trust();
    for said in [
        Some(HandshakeOutcome::Refused),
        Some(HandshakeOutcome::Accepted),
        None,
    ] {
        // when it denies it, or admits it, or says nothing, then it is caught each time.
        let mut talk = puppet.open();
        let ask = talk.hear_check();
        let probe = Label::Probe(ask.probe.expect("a probe"));
        assert_eq!(
            puppet.shake(&puppet.gullible(), &probe),
            HandshakeOutcome::Accepted
        );
        let decoy = puppet.shake(&puppet.gullible(), &Label::Decoy(ask.token));
        assert_eq!(decoy, HandshakeOutcome::Accepted);
        if let Some(said) = said {
            talk.say(puppet.report(&ask, HandshakeOutcome::Accepted, said));
        }
        assert_caught(&mut fleet, GULLIBLE);
        talk.close();
    }
    redeem(&mut fleet);
}

#[test]
fn who_says_off_although_it_is_to_verify_is_caught() {
    for more in [&[][..], &["--strategy", "toggle"]] {
        // Given a client that holds the trust of before the rotation, which orders verification,
        let (mut fleet, puppet) = waited_for(more);
        // when it says that verification is off, then it is caught.
        let off = v1::VerificationMode::from(ModeInForce::Off);
        let talk = puppet.open_saying(|hello| hello.mode = off.into());
        assert_caught(&mut fleet, OFF);
        talk.close();
        redeem(&mut fleet);
    }
}

#[test]
fn a_resumed_session_confirms_nothing() {
    // Given a client that came back after the swap by a full handshake, took the final trust, and left,
    let (mut fleet, mut puppet) = waited_for(&[]);
    puppet.take_trust();
    let mut talk = puppet.open();
    let ask = talk.hear_check();
    talk.say(puppet.answer(ask));
    fleet.await_phase("Swapping");
    talk.close();
    let tls = puppet.resuming(Resume::Allowed);
    let link = puppet.link(&tls);
    assert_eq!(link.handshake_kind, Some(HandshakeKind::Full));
    let mut talk = puppet.open_on(link, |_| {});
    fleet.await_phase("Enforcing");
    let trust = puppet.receive(&mut talk);
    puppet.keep(trust);
    talk.acknowledge(puppet.state.held());
    talk.close();

    // when it resumes that TLS session and states the final trust, so that nobody has asked its verifier under that trust,
    for _ in 0..2 {
        let link = puppet.link(&tls);
        assert_eq!(link.handshake_kind, Some(HandshakeKind::Resumed));
        let mut talk = puppet.open_on(link, |_| {});

        // then it is told to come back in full, is asked for no check, and is not confirmed;
        match talk.hear() {
            Some(session_response::Message::Reconnect(wire)) => assert!(wire.full_handshake),
            other => panic!("no reconnect but {other:?}"),
        }
        assert!(talk.hear().is_none());
        talk.close();
        fleet.await_missing(&["liar"]);
        assert_eq!(fleet.client("liar")["evidence"], "proved");
        assert_eq!(fleet.phase(), "Enforcing");
    }

    // and after a full handshake and a refused decoy it is.
    let mut talk = puppet.open();
    let ask = talk.hear_check();
    assert_eq!(ask.probe, None);
    assert_eq!(fleet.client("liar")["evidence"], "proved");
    talk.say(puppet.answer(ask));
    fleet.await_phase("Completed");
    assert_eq!(fleet.client("liar")["evidence"], "confirmed");
    talk.close();
    fleet.assert_no_orphans(&["liar", "honest"]);
}

#[test]
fn who_accepts_any_certificate_after_the_swap_is_not_confirmed() {
    // Given a client in Enforcing,
    let (mut fleet, mut puppet) = waited_for(&[]);
    puppet.take_trust();
    let mut talk = puppet.open();
    let ask = talk.hear_check();
    talk.say(puppet.answer(ask));
    fleet.await_phase("Swapping");
    talk.close();
    puppet.take_trust();
    fleet.await_phase("Enforcing");

    // when it completes the decoy and denies it, then it is caught, and gate B waits for it;
    let mut talk = puppet.open();
    let ask = talk.hear_check();
    puppet.shake(&puppet.gullible(), &Label::Decoy(ask.token));
    talk.say(puppet.report(&ask, HandshakeOutcome::NotRun, HandshakeOutcome::Refused));
    fleet.eventually("caught", |fleet| {
        let suspicion = fleet.client("liar")["suspicion"].to_string();
        suspicion.contains(GULLIBLE).then_some(())
    });
    fleet.await_missing(&["liar"]);
    assert_eq!(fleet.phase(), "Enforcing");
    talk.close();
    redeem(&mut fleet);
}

#[test]
fn stale_and_replayed_reports_change_nothing() {
    // Given a client that was proved, while gate A waits for another,
    let (mut fleet, mut puppet) = waited_for(&[]);
    fleet.join("late", &fleet.ok(&["token", "create"]));
    puppet.take_trust();
    let mut talk = puppet.open();
    let ask = talk.hear_check();
    let accepted = HandshakeOutcome::Accepted;
    let mut unknown = ask;
    unknown.token.0[0] ^= 1;
    // What it says of another check, while one is under way, is no word on this one.
    talk.say(puppet.report(&unknown, accepted, accepted));
    let report = puppet.answer(ask);
    talk.say(report.clone());
    fleet.await_missing(&["late"]);
    let before = facts(&fleet);
    assert_eq!(before.0, "proved");

    // when it says the same again, something else of the same check, or something of a check that never was,
    let lies = [
        report.clone(),
        puppet.report(&ask, accepted, accepted),
        puppet.report(&unknown, accepted, accepted),
        puppet.report(
            &unknown,
            HandshakeOutcome::Refused,
            HandshakeOutcome::Refused,
        ),
    ];
    for lie in &lies {
        talk.say(lie.clone());
    }
    // and completes a decoy with the token of the check that is over,
    let decoy = puppet.shake(&puppet.gullible(), &Label::Decoy(ask.token));
    assert_eq!(decoy, HandshakeOutcome::Unreachable);
    assert!(talk.is_silent());
    talk.close();

    // then nothing has changed; nor in a new session.
    assert_eq!(facts(&fleet), before);
    let talk = puppet.open();
    for lie in lies {
        talk.say(lie);
    }
    talk.acknowledge(puppet.state.held());
    talk.close();
    assert_eq!(facts(&fleet), before);

    fleet.run("liar");
    fleet.run("late");
    fleet.await_phase("Completed");
}

#[test]
fn nobody_else_can_frame_or_vouch_for_a_client_whose_decoy_token_it_has_read() {
    for strategy in ["overlap", "toggle"] {
        // Given a check under way, whose token stands in clear in the client's hello to TLS,
        let (mut fleet, mut puppet) = waited_for(&["--strategy", strategy]);
        fleet.join("other", &fleet.ok(&["token", "create"]));
        let other = Puppet::of(&fleet, "other");
        puppet.take_trust();
        let mut talk = puppet.open();
        let ask: Ask = talk.hear_check();

        // when a stranger and another client use it first, and accept the decoy, or refuse it,
        let anonymous = convoy_agent::tls::Tls::stranger(convoy_agent::verifier::Policy::AcceptAny);
        let anonymous = anonymous.expect("TLS");
        let decoy = Label::Decoy(ask.token);
        for tls in [&anonymous, &other.gullible(), &other.tls()] {
            other.shake(tls, &decoy);
        }
        if let Some(generation) = ask.probe {
            other.shake(&other.gullible(), &Label::Probe(generation));
        }
        // then the client is neither suspected nor counted for that,
        assert_eq!(fleet.client("liar")["suspicion"], "");
        assert_eq!(fleet.client("liar")["evidence"], "applied");
        // and is believed when it has done the check itself.
        let report = puppet.answer(ask);
        assert!(matches!(report, session_request::Message::CheckReport(_)));
        talk.say(report);
        fleet.eventually("believed, or suspected", |fleet| {
            let client = fleet.client("liar");
            assert_eq!(client["suspicion"], "", "{strategy}");
            (!fleet.missing().contains(&"liar".to_owned())).then_some(())
        });
        talk.close();
    }
}

/// What nothing may change. When the client was last seen is left out.
fn facts(fleet: &Fleet) -> (String, Value, Value) {
    let client = fleet.client("liar");
    let mut rotation = fleet.rotation();
    if let Some(missing) = rotation["missing"].as_array_mut() {
        for one in missing {
            one["last_seen"] = Value::Null;
        }
    }
    (
        client["evidence"].as_str().expect("a word").to_owned(),
        client["suspicion"].clone(),
        rotation,
    )
}
