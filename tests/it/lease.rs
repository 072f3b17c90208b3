//! "Off" has a lease. What holds while it lasts, and who is accepted when it has run out.

use convoy_agent::{tls::Tls, verifier::Policy};
use convoy_proto::v1::{session_request, session_response};
use convoy_shared::{ack::HandshakeOutcome, label::Label};

use crate::{
    curious::certificate_seen,
    fleet::Fleet,
    puppet::Puppet,
    road::{Interceptor, Road, Rule},
};

const SHORT: [&str; 4] = ["--strategy", "toggle", "--off-lease", "2s"];

/// A fleet in whose toggle `kept` has verification off for two seconds at a time, and gate A waits for `late`.
fn switched_off() -> (Fleet, Road) {
    let mut fleet = Fleet::start();
    let road = Road::to(fleet.agents_addr());
    fleet.set_addresses(&[road.address]);
    let token = fleet.ok(&["token", "create", "--uses", "2"]);
    fleet.join("kept", &token);
    fleet.join("late", &token);
    fleet.run("kept");
    fleet.await_connected(&["kept"]);
    fleet.rotate(&SHORT);
    fleet.await_missing(&["late"]);
    (fleet, road)
}

fn await_run_out(fleet: &mut Fleet) {
    fleet.eventually("the lease has run out", |fleet| {
        let status = fleet.agent_status("kept");
        assert_eq!(status["mode"], "off");
        (status["mode_in_force"] == "verify").then_some(())
    });
}

#[test]
fn while_a_client_is_in_session_its_lease_is_renewed() {
    // Given a client with a short lease in session,
    let (mut fleet, _road) = switched_off();
    let proof = |fleet: &Fleet| {
        fleet.agent_status("kept")["last_proof"]
            .as_str()
            .expect("a time")
            .to_owned()
    };

    // when the controller has proved itself a few times more, then verification is off still.
    for _ in 0..3 {
        let last = proof(&fleet);
        fleet.eventually("a newer proof", |fleet| (proof(fleet) > last).then_some(()));
    }
    fleet.eventually("verification is off", |fleet| {
        let in_force = fleet.agent_status("kept")["mode_in_force"] == "off";
        let stated = fleet.client("kept")["verification_mode"] == "off";
        (in_force && stated).then_some(())
    });
    assert_eq!(fleet.missing(), ["late"]);
}

#[test]
fn when_the_lease_has_run_out_the_old_certificate_is_accepted_and_a_strangers_is_not() {
    // Given a client whose verification is off, when the controller dies and a stranger takes its place,
    let (mut fleet, road) = switched_off();
    fleet.kill_controller();
    let stranger = Tls::stranger(Policy::AcceptAny).expect("TLS");
    let man = Interceptor::new(fleet.agents_addr(), stranger, b"");
    road.lead(Rule::Intercept(man));

    // then the stranger's certificate is refused once the lease has run out;
    await_run_out(&mut fleet);
    let accepted = road.intercepted().len();
    fleet.eventually("the stranger is refused", |_| {
        (road.refused().len() >= 2).then_some(())
    });
    assert!(road.intercepted().len() <= accepted + 1);

    // and when the controller is back, its old certificate is accepted with verification on: another proof, another lease.
    road.lead(Rule::Pass(fleet.agents_addr()));
    let lines = fleet.log("kept").lines().count();
    fleet.start_controller();
    fleet.eventually("it connects, and verifies", |fleet| {
        let log = fleet.log("kept");
        let mut since = log.lines().skip(lines);
        since
            .any(|line| line.contains("in session") && line.contains("mode=Verify"))
            .then_some(())
    });
    fleet.eventually("verification is off again", |fleet| {
        (fleet.client("kept")["verification_mode"] == "off").then_some(())
    });
    assert_eq!(fleet.missing(), ["late"]);
    assert!(fleet.accepts("kept"));
    fleet.run("late");
    fleet.await_phase("Completed");
    fleet.assert_no_orphans(&["kept", "late"]);
}

#[test]
fn when_the_lease_has_run_out_the_new_certificate_is_accepted_too() {
    // Given a client that has shown that its verification is off, and that is away until its lease has run out,
    let (mut fleet, _road) = switched_off();
    let old = certificate_seen(fleet.agents_addr());
    fleet.switch_off("kept");
    await_run_out(&mut fleet);
    assert!(fleet.accepts("kept"), "the old certificate");

    // when the rotation goes on to the new certificate without it: what it has shown outlives the lease,
    assert_eq!(fleet.missing(), ["late"]);
    fleet.run("late");
    fleet.await_phase("Enforcing");
    fleet.await_missing(&["kept"]);
    assert_ne!(certificate_seen(fleet.agents_addr()), old);
    assert_eq!(fleet.agent_status("kept")["mode_in_force"], "verify");
    assert!(fleet.accepts("kept"), "the new certificate");

    // then it comes back with verification on, and the rotation completes.
    let lines = fleet.log("kept").lines().count();
    fleet.run("kept");
    fleet.await_phase("Completed");
    let log = fleet.log("kept");
    let back = log
        .lines()
        .skip(lines)
        .find(|line| line.contains("in session"));
    assert!(back.is_some_and(|line| line.contains("mode=Verify")));
    fleet.assert_no_orphans(&["kept", "late"]);
}

#[test]
fn a_client_that_still_verifies_holds_gate_a_until_it_does_not() {
    // Given a toggle, and a client that has stored its document, and yet refuses what no anchor vouches for,
    let mut fleet = Fleet::start();
    let token = fleet.ok(&["token", "create", "--uses", "2"]);
    fleet.join("holds", &token);
    fleet.join("one", &token);
    fleet.run("one");
    fleet.rotate(&["--strategy", "toggle"]);
    fleet.await_missing(&["holds"]);
    let mut puppet = Puppet::of(&fleet, "holds");
    puppet.take_trust();
    let snapshot = Policy::force_verify(puppet.state.snapshot(&puppet.state.clock()));
    let strict = puppet.tls_with(
        snapshot,
        &puppet.state.identity,
        convoy_agent::tls::Resume::Never,
    );

    // when it is asked to show that verification is off, and refuses the decoy as it says,
    let mut talk = puppet.open();
    let ask = talk.hear_check();
    let decoy = puppet.shake(&strict, &Label::Decoy(ask.token));
    assert_eq!(decoy, HandshakeOutcome::Refused);
    talk.say(puppet.report(&ask, HandshakeOutcome::NotRun, decoy));

    // then it is no liar, and is asked again; it does not count;
    let again = talk.hear();
    assert!(matches!(again, Some(session_response::Message::Check(_))));
    assert_eq!(fleet.client("holds")["suspicion"], "");
    assert_eq!(fleet.client("holds")["evidence"], "applied");
    assert_eq!(fleet.missing(), ["holds"]);
    assert_eq!(fleet.phase(), "Preparing");
    assert_eq!(fleet.agent_status("one")["mode_in_force"], "off");

    // nor does it when it says that it has accepted a decoy which it has refused, for which it is suspected;
    let Some(session_response::Message::Check(check)) = again else {
        unreachable!("matched above")
    };
    let ask = check.try_into().expect("a check");
    let session_request::Message::CheckReport(report) =
        puppet.report(&ask, HandshakeOutcome::NotRun, HandshakeOutcome::Accepted)
    else {
        unreachable!("a report")
    };
    puppet.shake(&strict, &Label::Decoy(ask.token));
    talk.say(session_request::Message::CheckReport(report));
    fleet.eventually("it is suspected", |fleet| {
        let suspicion = fleet.client("holds")["suspicion"].to_string();
        suspicion.contains("saw end otherwise").then_some(())
    });
    assert_eq!(fleet.missing(), ["holds"]);

    // and when an honest agent speaks for it, gate A opens.
    talk.close();
    fleet.run("holds");
    fleet.await_phase("Completed");
    assert_eq!(fleet.client("holds")["suspicion"], "");
}

#[test]
fn verification_cannot_be_off_for_longer_than_the_root_allows() {
    let fleet = Fleet::with_agents(&["one"]);
    let (generation, _) = fleet.import_new();
    let start = |more: &[&str]| {
        let to = ["rotation", "start", "--to", &generation];
        fleet.convoy(&[&to[..], more].concat())
    };
    let said = start(&["--strategy", "toggle", "--off-lease", "91d"]);
    assert_ne!(said.code, 0, "{said:?}");
    assert!(said.stderr.contains("90"), "{said:?}");
    let said = start(&["--strategy", "overlap", "--off-lease", "1d"]);
    assert_ne!(said.code, 0, "{said:?}");
    assert!(said.stderr.contains("never is with overlap"), "{said:?}");
    assert_eq!(fleet.client("one")["evidence"], "none");
    assert_eq!(
        start(&["--strategy", "toggle", "--off-lease", "90d"]).code,
        0
    );
}
