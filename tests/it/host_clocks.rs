//! The date on an agent's host may be any: "off" ends all the same, a rotation goes on, and a wrong time that was once believed is got rid of.

use convoy_agent::{disk::StateDir, state::State, tls::Tls, verifier::Policy};
use jiff::SignedDuration;
use serde_json::Value;

use crate::{
    fleet::Fleet,
    road::{Interceptor, Road, Rule},
};

const HOUR: i64 = 3600;
const DAY: i64 = 24 * HOUR;
/// Before any host was.
const CENTURY: i64 = 100 * 365 * DAY;

/// A toggle that waits for `late`, while `kept`, behind a road and with its clock so far ahead, has verification off.
fn switched_off(clock: i64, lease: &str) -> (Fleet, Road) {
    let mut fleet = Fleet::start();
    fleet.set_clock("kept", clock);
    let road = Road::to(fleet.agents_addr());
    fleet.set_addresses(&[road.address]);
    let token = fleet.ok(&["token", "create", "--uses", "2"]);
    fleet.join("kept", &token);
    fleet.join("late", &token);
    fleet.run("kept");
    fleet.await_connected(&["kept"]);
    fleet.rotate(&["--strategy", "toggle", "--off-lease", lease]);
    fleet.await_missing(&["late"]);
    (fleet, road)
}

/// The controller dies, and a stranger takes its place.
fn lead_to_a_stranger(fleet: &mut Fleet, road: &Road) {
    fleet.kill_controller();
    let stranger = Tls::stranger(Policy::AcceptAny).expect("TLS");
    let man = Interceptor::new(fleet.agents_addr(), stranger, b"");
    road.lead(Rule::Intercept(man));
}

#[test]
fn off_ends_with_its_lease_on_a_host_whose_clock_is_behind() {
    for behind in [DAY, CENTURY] {
        // Given a client in whose host's clock the lease would last for ever,
        let (mut fleet, road) = switched_off(-behind, "3s");

        // when only strangers are left, then it completes TLS with them until the lease is over, and not afterwards;
        lead_to_a_stranger(&mut fleet, &road);
        fleet.eventually("the lease has run out", |fleet| {
            let status = fleet.agent_status("kept");
            assert_eq!(status["mode"], "off");
            (status["mode_in_force"] == "verify").then_some(())
        });
        let accepted = road.intercepted().len();
        fleet.eventually("the stranger is refused", |_| {
            (road.refused().len() >= 2).then_some(())
        });
        assert!(road.intercepted().len() <= accepted + 1);

        // it still knows the old certificate, and the new one.
        road.lead(Rule::Pass(fleet.agents_addr()));
        fleet.start_controller();
        fleet.await_connected(&["kept"]);
        assert!(fleet.accepts("kept"), "the old certificate");
        fleet.run("late");
        fleet.await_phase("Completed");
        fleet.assert_no_orphans(&["kept", "late"]);
    }
}

#[test]
fn a_host_whose_clock_is_ahead_by_more_than_the_lease_takes_part_in_a_toggle() {
    // Given a host on which every lease of a minute is over long ago,
    let (mut fleet, _road) = switched_off(2 * HOUR, "60s");

    // when it is asked, then verification is off there as ordered, and it has shown so; gate A waits for the other alone;
    assert_eq!(fleet.missing(), ["late"]);
    assert_eq!(fleet.agent_status("kept")["mode_in_force"], "off");
    fleet.eventually("the controller knows", |fleet| {
        (fleet.client("kept")["verification_mode"] == "off").then_some(())
    });

    // how wrong its clock is, is told on both sides, and of nobody else;
    let near = |seconds: &Value| {
        seconds
            .as_i64()
            .is_some_and(|it| (it - 2 * HOUR).abs() < 120)
    };
    let client = fleet.client("kept");
    assert!(near(&client["clock_ahead_seconds"]), "{client}");
    let shown = fleet.ok(&["clients", "show", "kept"]);
    assert!(shown.contains("ahead of the controller's"), "{shown}");
    let status = fleet.agent_status("kept");
    assert!(near(&status["clock_ahead_seconds"]), "{status}");
    fleet.run("late");
    fleet.await_phase("Completed");
    assert_eq!(fleet.client("late")["clock_ahead_seconds"], 0);
    assert_eq!(
        fleet.agent_status("late")["clock_ahead_seconds"],
        Value::Null
    );
    fleet.assert_no_orphans(&["kept", "late"]);
}

#[test]
fn off_is_over_after_a_start_of_the_host_until_the_controller_is_heard() {
    // Given a client whose verification is off for long, when its host is started anew: nobody knows how long that took;
    let (mut fleet, road) = switched_off(0, "1h");
    fleet.kill("kept");
    assert_eq!(fleet.agent_status("kept")["mode_in_force"], "off");
    let dir = StateDir::open(&fleet.state_dir("kept")).expect("a state folder");
    let mut state = State::load(&dir).expect("a state");
    state.mark.boot = "another start".to_owned();
    state.store(&dir).expect("stored");
    assert_eq!(fleet.agent_status("kept")["mode_in_force"], "verify");

    // then it refuses a stranger,
    lead_to_a_stranger(&mut fleet, &road);
    fleet.run("kept");
    fleet.eventually("the stranger is refused", |_| {
        (road.refused().len() >= 2).then_some(())
    });
    assert_eq!(road.intercepted().len(), 0);

    // and verification is off again as soon as the controller has proved itself.
    road.lead(Rule::Pass(fleet.agents_addr()));
    fleet.start_controller();
    fleet.eventually("verification is off again", |fleet| {
        let stated = fleet.client("kept")["verification_mode"] == "off";
        (stated && fleet.agent_status("kept")["mode_in_force"] == "off").then_some(())
    });
    assert_eq!(fleet.missing(), ["late"]);
}

/// Has an agent that is off believe a time `ahead` of the true one, as if a controller had signed it.
fn poison(fleet: &Fleet, name: &str, ahead: SignedDuration) {
    let dir = StateDir::open(&fleet.state_dir(name)).expect("a state folder");
    let mut state = State::load(&dir).expect("a state");
    state.mark.time += ahead;
    state.last_proof = state.mark.time;
    state.store(&dir).expect("stored");
}

#[test]
fn a_new_root_takes_a_wrong_time_back_that_agents_believed() {
    // Given agents that were signed a time twenty years ahead, one of them before it was switched off,
    let mut fleet = Fleet::start();
    let token = fleet.ok(&["token", "create", "--uses", "4"]);
    let names = ["one", "two", "away"];
    for name in names {
        fleet.join(name, &token);
        poison(&fleet, name, SignedDuration::from_hours(20 * 365 * 24));
    }
    fleet.run("one");
    fleet.run("two");
    fleet.await_connected(&["one", "two"]);

    // when a toggle is started, then they do not switch verification off: by their time it has been off for too long already;
    let toggle = ["--strategy", "toggle", "--off-lease", "60s"];
    fleet.rotate(&toggle);
    fleet.eventually("they have the document", |fleet| {
        let ordered = |name: &&str| fleet.agent_status(name)["mode"] == "off";
        ["one", "two"].iter().all(ordered).then_some(())
    });
    assert_eq!(fleet.agent_status("one")["mode_in_force"], "verify");
    assert_eq!(fleet.missing().len(), 3);

    // a new root is refused meanwhile;
    let said = fleet.convoy(&["root", "renew"]).failed(1);
    assert!(said.contains("ROTATION_RUNNING"), "{said}");
    assert_eq!(fleet.json(&["root", "show"])["version"], 1);
    fleet.ok(&["rotation", "abort"]);

    // and when there is a new root, then those that are connected take it, and believe the true time again;
    let renewed = fleet.json(&["root", "renew"]);
    assert_eq!(renewed["version"], 2);
    let healed = |fleet: &Fleet, name: &str| {
        let status = fleet.agent_status(name);
        let proof = status["last_proof"].as_str().expect("a time").to_owned();
        let true_time = proof.as_str() < renewed["expires_at"].as_str().expect("a time");
        (status["root_version"] == 2 && true_time).then_some(())
    };
    for name in ["one", "two"] {
        fleet.eventually("the new root is taken", |fleet| healed(fleet, name));
    }
    assert_eq!(fleet.agent_status("away")["root_version"], 1);

    // a toggle completes, also after a restart, with the one that was away and one that joins under the new root.
    fleet.kill_controller();
    fleet.start_controller();
    fleet.join("new", &token);
    assert_eq!(fleet.agent_status("new")["root_version"], 2);
    fleet.run("new");
    fleet.rotate(&toggle);
    fleet.await_missing(&["away"]);
    fleet.run("away");
    fleet.await_phase("Completed");
    assert!(healed(&fleet, "away").is_some());
    fleet.assert_no_orphans(&["one", "two", "away", "new"]);
    assert_eq!(fleet.json(&["root", "show"])["version"], 2);
    assert!(fleet.log("controller").contains("root renewed"));
}
