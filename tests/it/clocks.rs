//! Wrong wall clocks of the controller: what it signs then, what it does not do, and that the right clock is believed again.

use std::{process::Command, thread, time::Duration};

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use crate::{fleet::Fleet, metrics::get};

const DAY: i64 = 86_400;
const YEARS: i64 = 20 * 365 * DAY;

fn time(value: &Value) -> Timestamp {
    value
        .as_str()
        .and_then(|text| text.parse().ok())
        .expect("a time")
}

/// What the controller says that it is.
fn told(fleet: &Fleet) -> Timestamp {
    time(&fleet.json(&["status"])["time"])
}

fn is_doubted(fleet: &Fleet) -> bool {
    let status = fleet.json(&["status"]);
    let reasons = status["degraded"].as_array().expect("a list");
    reasons.iter().any(|reason| reason["code"] == "clock")
}

fn await_doubt(fleet: &mut Fleet, doubted: bool) {
    fleet.eventually("the clock is doubted or not", |fleet| {
        (is_doubted(fleet) == doubted).then_some(())
    });
}

/// The last time that the controller signed for an agent.
fn last_proof(fleet: &Fleet, name: &str) -> Timestamp {
    time(&fleet.agent_status(name)["last_proof"])
}

/// Sends a signal to the controller.
fn signal(fleet: &Fleet, signal: &str) {
    let sent = Command::new("kill")
        .args([signal, &fleet.controller_pid().to_string()])
        .status()
        .expect("kill");
    assert!(sent.success());
}

#[test]
fn a_clock_that_jumps_for_a_moment_poisons_no_agent() {
    // Given a controller whose clock jumps by twenty years while it runs,
    let mut fleet = Fleet::start_with(&["--metrics-addr", "127.0.0.1:0"]);
    fleet.join_and_run(&["one", "two"]);
    let before = told(&fleet);
    fleet.set_clock("controller", YEARS);

    // then it says so,
    await_doubt(&mut fleet, true);
    let words = fleet.ok(&["status"]);
    assert!(words.contains("convoy clock confirm TIME"), "{words}");
    assert!(get(&fleet, "/metrics").contains("convoy_degraded{reason=\"clock\"} 1"));
    assert!(get(&fleet, "/readyz").starts_with("HTTP/1.1 200"));

    // and agents that come back are served, and are told the time that it is,
    for name in ["one", "two"] {
        fleet.switch_off(name);
        fleet.run(name);
        fleet.await_connected(&[name]);
    }
    let hour = SignedDuration::from_hours(1);
    assert!(told(&fleet) < before + hour);
    assert!(last_proof(&fleet, "one") < before + hour);
    fleet.join_and_run(&["three"]);
    assert!(last_proof(&fleet, "three") < before + hour);

    // and so does the journal keep it: a start after it goes on from there.
    fleet.restart_controller();
    assert!(told(&fleet) < before + hour);
    await_doubt(&mut fleet, true);

    // When the clock is right again, it is believed without a word from anybody,
    fleet.set_clock("controller", 0);
    await_doubt(&mut fleet, false);
    assert!(get(&fleet, "/metrics").contains("convoy_degraded{reason=\"clock\"} 0"));

    // and a toggle passes.
    fleet.rotate(&["--strategy", "toggle"]);
    fleet.await_phase("Completed");
    fleet.assert_no_orphans(&["one", "two", "three"]);
}

#[test]
fn no_gate_opens_while_the_clock_is_doubted_and_an_operator_may_say_that_it_is_right() {
    // Given a rotation that waits for one client, and a clock that has jumped by a day,
    let mut fleet = Fleet::start();
    fleet.join_and_run(&["here", "late"]);
    fleet.switch_off("late");
    fleet.rotate(&[]);
    fleet.await_missing(&["late"]);
    fleet.set_clock("controller", DAY);
    await_doubt(&mut fleet, true);

    // when that client comes, then the gate stays shut, and the rotation says why;
    fleet.run("late");
    fleet.eventually("nobody is missing", |fleet| {
        fleet.missing().is_empty().then_some(())
    });
    let rotation = fleet.rotation();
    assert_eq!(rotation["phase"], "Preparing");
    assert_eq!(rotation["degraded"][0]["code"], "clock");
    let advice = rotation["advice"].as_str().expect("words");
    assert!(advice.contains("convoy clock confirm"), "{advice}");

    // an operator who says another time than the clock is refused,
    let now = told(&fleet);
    let said = fleet.convoy(&["clock", "confirm", &now.to_string()]);
    assert!(said.failed(1).contains("Set the host's clock"));
    assert!(is_doubted(&fleet));
    assert_eq!(fleet.phase(), "Preparing");

    // and one who says the same is believed: the rotation completes,
    let tomorrow = now + SignedDuration::from_secs(DAY);
    let status = fleet.json(&["clock", "confirm", &tomorrow.to_string()]);
    assert!(time(&status["time"]) >= tomorrow - SignedDuration::from_secs(1));
    fleet.await_phase("Completed");
    assert!(!is_doubted(&fleet));

    // also over a restart. Again is no harm.
    fleet.restart_controller();
    assert!(!is_doubted(&fleet) && told(&fleet) >= tomorrow);
    fleet.ok(&["clock", "confirm", &told(&fleet).to_string()]);

    // The way back is the same: the earlier time counts from then on.
    fleet.set_clock("controller", 0);
    await_doubt(&mut fleet, true);
    let today = told(&fleet) - SignedDuration::from_secs(DAY);
    fleet.ok(&["clock", "confirm", &today.to_string()]);
    fleet.restart_controller();
    assert!(!is_doubted(&fleet) && told(&fleet) < tomorrow);
}

#[test]
fn after_a_boot_in_1970_the_right_clock_is_believed() {
    // Given a fleet whose controller starts with a clock that has forgotten the date,
    let mut fleet = Fleet::with_agents(&["one"]);
    let before = told(&fleet);
    fleet.kill_controller();
    fleet.set_clock("controller", -before.as_second());
    fleet.start_controller();

    // then it goes on from its journal, and writes that down,
    await_doubt(&mut fleet, true);
    assert!(told(&fleet) >= before);
    fleet.ok(&["groups", "create", "later"]);
    let groups = fleet.json(&["groups", "list"]);
    let later = groups.as_array().expect("a list");
    let later = later.iter().find(|group| group["name"] == "later");
    assert!(time(&later.expect("the group")["created_at"]) >= before);
    fleet.restart_controller();
    assert!(is_doubted(&fleet) && told(&fleet) >= before);

    // and the right clock is believed, while it runs and at a start.
    fleet.set_clock("controller", 0);
    await_doubt(&mut fleet, false);
    fleet.restart_controller();
    await_doubt(&mut fleet, false);
    fleet.await_connected(&["one"]);
    assert!(last_proof(&fleet, "one") >= before);
}

#[test]
fn a_start_far_beyond_the_journal_serves_and_asks() {
    // Given a controller that starts a hundred days after its journal's end,
    let mut fleet = Fleet::with_agents(&["one"]);
    let before = told(&fleet);
    fleet.kill_controller();
    fleet.set_clock("controller", 100 * DAY);
    fleet.start_controller();

    // then it serves its clients, and doubts;
    await_doubt(&mut fleet, true);
    fleet.await_connected(&["one"]);
    assert!(last_proof(&fleet, "one") < before + SignedDuration::from_hours(1));

    // one that is started with a word for its clock does not, then and later.
    fleet.kill_controller();
    fleet.set_options(&["--accept-clock"]);
    fleet.start_controller();
    let later = before + SignedDuration::from_secs(99 * DAY);
    assert!(!is_doubted(&fleet) && told(&fleet) > later);
    fleet.kill_controller();
    fleet.set_options(&[]);
    fleet.start_controller();
    assert!(!is_doubted(&fleet) && told(&fleet) > later);
}

#[test]
fn a_lease_of_off_is_not_renewed_while_the_clock_is_doubted() {
    // Given a toggle in whose middle the controller's clock jumps,
    let mut fleet = Fleet::start();
    let token = fleet.ok(&["token", "create", "--uses", "2"]);
    fleet.join("kept", &token);
    fleet.join("late", &token);
    fleet.run("kept");
    fleet.await_connected(&["kept"]);
    fleet.rotate(&["--strategy", "toggle", "--off-lease", "4s"]);
    fleet.await_missing(&["late"]);
    fleet.eventually("verification is off", |fleet| {
        (fleet.agent_status("kept")["mode_in_force"] == "off").then_some(())
    });
    fleet.set_clock("controller", DAY);
    await_doubt(&mut fleet, true);

    // then the lease runs out, although the client is in session all the time;
    fleet.eventually("verification is on", |fleet| {
        (fleet.agent_status("kept")["mode_in_force"] == "verify").then_some(())
    });
    fleet.await_connected(&["kept"]);

    // and it is renewed when the clock is right.
    fleet.set_clock("controller", 0);
    await_doubt(&mut fleet, false);
    fleet.eventually("verification is off again", |fleet| {
        (fleet.agent_status("kept")["mode_in_force"] == "off").then_some(())
    });
    fleet.run("late");
    fleet.await_phase("Completed");
    fleet.assert_no_orphans(&["kept", "late"]);
}

const WINDOW: &str = "4s";

/// A rotation in Swapping, most of whose clients are off.
fn swapping() -> Fleet {
    let mut fleet = Fleet::start();
    fleet.join_and_run(&["one", "two", "three"]);
    fleet.switch_off("three");
    fleet.rotate(&["--return-window", WINDOW, "--max-missing", "0"]);
    fleet.await_missing(&["three"]);
    fleet.kill_controller();
    fleet.start_controller_held_at("entered.Swapping");
    fleet.await_serving();
    fleet.await_connected(&["one", "two"]);
    fleet.run("three");
    fleet.await_held();
    fleet
}

#[test]
fn who_could_not_come_back_while_the_controller_was_stopped_is_waited_for_anew() {
    // Given a rotation in Swapping, and a client that is off,
    let mut fleet = swapping();
    fleet.kill("one");
    fleet.restart_controller();
    fleet.await_missing(&["one"]);
    assert_eq!(fleet.phase(), "Swapping");

    // when the controller stands still for longer than the return window (that is the time that passes here),
    signal(&fleet, "-STOP");
    thread::sleep(Duration::from_secs(8));
    signal(&fleet, "-CONT");

    // then it is not rolled back: whoever comes now is in time.
    fleet.run("one");
    let rotation = fleet.eventually("it is over", |fleet| {
        let rotation = fleet.rotation();
        (!rotation["ended_at"].is_null()).then_some(rotation)
    });
    assert_eq!(rotation["phase"], "Completed", "{rotation}");
    assert!(
        fleet
            .log("controller")
            .contains("the return window begins anew")
    );
}

#[test]
fn who_could_not_come_back_while_the_controller_was_down_is_waited_for_anew() {
    // Given a rotation in Swapping, and a client that is off,
    let mut fleet = swapping();
    fleet.kill("one");
    fleet.restart_controller();
    fleet.await_missing(&["one"]);

    // when the controller is killed, and starts when the return window is over,
    fleet.kill_controller();
    thread::sleep(Duration::from_secs(8));
    fleet.start_controller();

    // then it is not rolled back: whoever comes now is in time.
    fleet.run("one");
    let rotation = fleet.eventually("it is over", |fleet| {
        let rotation = fleet.rotation();
        (!rotation["ended_at"].is_null()).then_some(rotation)
    });
    assert_eq!(rotation["phase"], "Completed", "{rotation}");
}
