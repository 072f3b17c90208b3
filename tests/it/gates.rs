//! The gate never opens early: who keeps it shut, what opens it, and what becomes of those that come late.

use serde_json::{Value, json};

use crate::{curious::certificate_seen, fleet::Fleet};

/// The names in a list of clients.
fn names(list: &Value, key: &str) -> Vec<String> {
    let mut names: Vec<String> = list
        .as_array()
        .expect("a list")
        .iter()
        .map(|client| client[key].as_str().expect("a name").to_owned())
        .collect();
    names.sort();
    names
}

/// Asserts what every client shows after a rotation that completed, on the controller and on its own disk.
#[track_caller]
fn assert_all_confirmed(fleet: &Fleet, names: &[&str]) {
    let status = fleet.rotation();
    assert_eq!(status["clients"], names.len(), "{status}");
    assert_eq!(status["confirmed"], names.len(), "{status}");
    for name in names {
        let client = fleet.client(name);
        assert_eq!(client["evidence"], "confirmed", "{client}");
        assert_eq!(client["at_risk"], false, "{client}");
        assert_eq!(client["anchors"].as_array().map(Vec::len), Some(1));
        let held = fleet.agent_status(name);
        assert_eq!(held["mode_in_force"], "verify", "{held}");
        assert_eq!(held["anchors"], client["anchors"], "{held}");
    }
    fleet.assert_no_orphans(names);
}

fn waits_for_exactly_those_that_are_off(strategy: &str, counted: &str) {
    // Given five clients, of which two are off,
    let all = ["one", "two", "three", "four", "five"];
    let mut fleet = Fleet::with_agents(&all);
    fleet.switch_off("two");
    fleet.switch_off("four");
    let last_seen =
        |fleet: &Fleet| ["two", "four"].map(|name| fleet.client(name)["last_seen"].clone());
    let left_at = last_seen(&fleet);

    // when a rotation starts and the others have shown what they can,
    fleet.rotate(&["--strategy", strategy]);
    let status = fleet.eventually("the others are counted", |fleet| {
        let status = fleet.rotation();
        (status[counted] == 3 && status["missing_count"] == 2).then_some(status)
    });

    // then it waits for exactly the two, says since when they are away, and goes no further.
    assert_eq!(status["phase"], "Preparing");
    assert_eq!(status["clients"], 5);
    assert_eq!(names(&status["missing"], "name"), ["four", "two"]);
    for missing in status["missing"].as_array().expect("a list") {
        assert_eq!(missing["connected"], false, "{missing}");
        assert_eq!(missing["evidence"], "none", "{missing}");
        let at = if missing["name"] == "two" { 0 } else { 1 };
        assert_eq!(missing["last_seen"], left_at[at], "{missing}");
    }
    let text = fleet.ok(&["rotation", "status"]);
    assert!(text.contains("two") && text.contains("four"), "{text}");

    // When one of them comes back, then it waits for the other alone;
    fleet.run("two");
    fleet.await_missing(&["four"]);
    assert_eq!(fleet.phase(), "Preparing");
    assert_eq!(fleet.rotation()["confirmed"], 0);

    // and when that one does, it completes with everyone.
    fleet.run("four");
    let status = fleet.await_phase("Completed");
    assert!(
        status["waited_for"].as_u64().expect("a count") >= 2,
        "{status}"
    );
    assert_all_confirmed(&fleet, &all);
}

#[test]
fn overlap_waits_for_exactly_those_that_are_off() {
    waits_for_exactly_those_that_are_off("overlap", "proved");
}

#[test]
fn toggle_waits_for_exactly_those_that_are_off() {
    waits_for_exactly_those_that_are_off("toggle", "applied");
}

#[test]
fn a_waived_client_is_not_waited_for_and_comes_back_over_the_bridge() {
    // Given a rotation that waits for one client,
    let mut fleet = Fleet::with_agents(&["one", "two"]);
    fleet.switch_off("two");
    let old = fleet.agent_status("two");
    fleet.rotate(&[]);
    fleet.await_missing(&["two"]);

    // when an operator waives it, then the gates open and it stays listed, at risk;
    let waive = ["rotation", "waive", "two"];
    let reason = ["--reason", "on holiday", "--until", "1h"];
    fleet.ok(&[&waive[..], &reason].concat());
    let status = fleet.await_phase("Completed");
    assert_eq!(status["clients"], 2);
    assert_eq!(status["confirmed"], 1);
    let waiver = &status["waivers"][0];
    assert_eq!(waiver["client_name"], "two", "{status}");
    assert_eq!(waiver["reason"], "on holiday", "{status}");
    assert_eq!(waiver["expired"], false, "{status}");
    assert!(
        waiver["actor"]
            .as_str()
            .is_some_and(|who| who.starts_with("local user")),
        "{status}"
    );
    assert!(
        status["advice"]
            .as_str()
            .is_some_and(|advice| advice.contains("cert retire 1")),
        "{status}"
    );
    assert_eq!(fleet.client("two")["at_risk"], true);
    assert_eq!(fleet.json(&["cert", "show", "1"])["state"], "bridge");
    // it trusts only what is served to nobody else.
    assert!(!fleet.accepts("two"));
    assert_eq!(
        fleet.agent_status("two")["trust_digest"],
        old["trust_digest"]
    );

    // When it comes back, then it is let in over the bridge, brought up to date and confirmed.
    fleet.run("two");
    fleet.eventually("two is confirmed", |fleet| {
        (fleet.client("two")["evidence"] == "confirmed").then_some(())
    });
    assert_all_confirmed(&fleet, &["one", "two"]);
}

#[test]
fn an_expired_waiver_shuts_the_gate_again_and_waivers_are_capped() {
    // Given a rotation that waits for two clients,
    let all = ["one", "two", "three"];
    let mut fleet = Fleet::with_agents(&all);
    fleet.switch_off("two");
    fleet.switch_off("three");
    fleet.rotate(&[]);
    fleet.await_missing(&["two", "three"]);

    // when one is waived without a reason or until a time that is over, then nothing changes;
    let said = fleet.convoy(&["rotation", "waive", "two", "--until", "1h"]);
    assert!(said.failed(2).contains("--reason"));
    let said = fleet.convoy(&["rotation", "waive", "two", "--reason", "", "--until", "1h"]);
    said.failed(2);
    let past = ["--until", "2020-01-01T00:00:00Z"];
    let said = fleet.convoy(&[&["rotation", "waive", "two", "--reason", "x"][..], &past].concat());
    assert!(said.failed(1).contains("[WAIVER_LIFETIME]"));

    // when one is waived for a moment, then a second waiver is one too many,
    let status = fleet.json(&[
        "rotation", "waive", "two", "--reason", "r", "--until", "20s",
    ]);
    assert_eq!(names(&status["missing"], "name"), ["three"]);
    let said = fleet.convoy(&[
        "rotation", "waive", "three", "--reason", "r", "--until", "1h",
    ]);
    assert!(said.failed(1).contains("[WAIVER_CAP]"));
    // the same client's can be changed,
    fleet.ok(&["rotation", "waive", "two", "--reason", "r", "--until", "2s"]);
    // and when it is over, both are waited for again, also by a gate that would have been open without.
    fleet.await_missing(&["two", "three"]);
    assert_eq!(fleet.rotation()["waivers"][0]["expired"], true);
    fleet.run("three");
    fleet.await_missing(&["two"]);
    assert_eq!(fleet.phase(), "Preparing");

    fleet.run("two");
    fleet.await_phase("Completed");
    assert_all_confirmed(&fleet, &all);
}

#[test]
fn whoever_joins_while_a_rotation_runs_is_waited_for() {
    // Given a rotation that waits in Preparing,
    let mut fleet = Fleet::with_agents(&["one", "two"]);
    fleet.switch_off("two");
    fleet.rotate(&[]);
    fleet.await_missing(&["two"]);

    // when hosts join, one of them a group that is new too, then they are counted with the rest, and the gate stays shut;
    fleet.join_and_run(&["in-preparing"]);
    fleet.ok(&["groups", "create", "late"]);
    let token = fleet.ok(&["token", "create", "--group", "late"]);
    fleet.join("in-new-group", &token);
    fleet.await_missing(&["two", "in-new-group"]);
    fleet.run("in-new-group");
    fleet.await_missing(&["two"]);
    assert_eq!(fleet.rotation()["proved"], 3);
    assert_eq!(
        fleet.agent_status("in-new-group")["anchors"]
            .as_array()
            .map(Vec::len),
        Some(2)
    );

    // when one joins in Swapping, it does not end that phase;
    fleet.swap_without("two", |fleet| fleet.run("two"));
    fleet.join_and_run(&["in-swapping"]);
    assert_eq!(fleet.missing(), ["two"]);
    // while paused the last one comes back and goes away again, so that Enforcing waits for it;
    fleet.ok(&["rotation", "pause"]);
    fleet.run("two");
    fleet.await_connected(&["two"]);
    fleet.await_missing(&[]);
    fleet.switch_off("two");
    assert_eq!(fleet.phase(), "Swapping");
    fleet.ok(&["rotation", "resume"]);
    fleet.await_phase("Enforcing");
    fleet.await_missing(&["two"]);
    // when one joins in Enforcing, it is waited for until it is confirmed;
    let token = fleet.ok(&["token", "create"]);
    fleet.join("in-enforcing", &token);
    fleet.await_missing(&["two", "in-enforcing"]);
    fleet.run("in-enforcing");
    fleet.await_missing(&["two"]);

    // then all that joined are confirmed, the one after the end too.
    fleet.run("two");
    fleet.await_phase("Completed");
    fleet.join_and_run(&["in-completed"]);
    fleet.eventually("the last to join is confirmed", |fleet| {
        (fleet.client("in-completed")["evidence"] == "confirmed").then_some(())
    });
    assert_all_confirmed(
        &fleet,
        &[
            "one",
            "two",
            "in-preparing",
            "in-new-group",
            "in-swapping",
            "in-enforcing",
            "in-completed",
        ],
    );
}

#[test]
fn decommissioning_the_missing_client_opens_the_gate_and_it_is_refused_afterwards() {
    // Given a rotation that waits for one client,
    let mut fleet = Fleet::with_agents(&["one", "two"]);
    fleet.switch_off("two");
    fleet.rotate(&[]);
    fleet.await_missing(&["two"]);

    // when it is decommissioned, which nobody does by accident,
    let said = fleet.convoy(&["clients", "decommission", "two"]);
    assert!(said.failed(2).contains("--yes"));
    fleet.ok(&["clients", "decommission", "two", "--yes"]);

    // then the gates open without it, and it counts nowhere;
    let status = fleet.await_phase("Completed");
    assert_eq!(status["waivers"].as_array().map(Vec::len), Some(0));
    assert_all_confirmed(&fleet, &["one"]);
    assert_eq!(
        names(&fleet.json(&["clients", "list"]), "name"),
        ["one"],
        "without those that were removed"
    );
    assert_eq!(fleet.client("two")["state"], "decommissioned");
    let said = fleet.convoy(&["rotation", "waive", "two", "--reason", "r", "--until", "1h"]);
    said.failed(1);

    // and when it comes back it is told so, also over a rotation later.
    fleet.run("two");
    fleet.eventually("two is refused", |fleet| {
        let log = fleet.log("two");
        log.contains("the controller does not want this client")
            .then_some(())
    });
    assert_eq!(fleet.client("two")["connected"], false);
    fleet.rotate(&[]);
    let status = fleet.await_phase("Completed");
    assert_eq!(status["clients"], 1);
}

#[test]
fn too_few_come_back_after_the_swap_and_it_is_rolled_back() {
    // Given a fleet whose rotation may lose nobody,
    let all = ["one", "two", "three"];
    let mut fleet = Fleet::with_agents(&all);
    let old = fleet.json(&["cert", "show"])["fingerprint"].clone();
    let shown = |fleet: &Fleet| {
        [fleet.agents_addr(), fleet.api_addr()].map(|port| Value::from(certificate_seen(port)))
    };
    let before = all.map(|name| fleet.agent_status(name)["trust_revision"].as_u64());

    // when two agents do not survive the swap,
    fleet.kill_controller();
    fleet.start_controller_held_at("entered.Swapping");
    fleet.await_serving();
    fleet.await_connected(&all);
    fleet.rotate(&["--return-window", "2s", "--max-missing", "0"]);
    fleet.await_held();
    fleet.kill("one");
    fleet.kill("two");
    fleet.restart_controller();

    // then the old certificate is served again, and it says why;
    let status = fleet.await_phase("RolledBack");
    assert!(
        status["reason"]
            .as_str()
            .is_some_and(|why| why.contains("did not come back")),
        "{status}"
    );
    assert_eq!(shown(&fleet), [old.clone(), old.clone()]);
    // who stayed away is named, for scripts, for people and in the log,
    let stayed_away = |status: &Value| {
        let clients = status["stayed_away"].as_array().expect("a list");
        let name = |client: &Value| client["name"].as_str().expect("a name").to_owned();
        clients.iter().map(name).collect::<Vec<_>>()
    };
    assert_eq!(stayed_away(&status), ["one", "two"]);
    assert_eq!(status["stayed_away_count"], 2);
    assert_eq!(status["stayed_away"][0]["connected"], false);
    let spoken = fleet.ok(&["rotation", "status"]);
    assert!(
        spoken.contains("Had not come back on the new certificate: 2 clients"),
        "{spoken}"
    );
    fleet.eventually("the log names them", |fleet| {
        let log = fleet.log("controller");
        let mut lines = log.lines();
        let named = |line: &str| line.contains("WARN") && line.contains("stayed_away=\"one, two\"");
        lines.any(named).then_some(())
    });
    let said = fleet.convoy(&["rotation", "abort"]);
    assert!(said.failed(1).contains("[NO_ROTATION_RUNNING]"));
    // nobody is orphaned, those least of all that were away;
    fleet.assert_no_orphans(&all);
    fleet.run("one");
    fleet.run("two");
    for (name, before) in all.iter().zip(before) {
        fleet.eventually(&format!("{name} trusts the old one alone"), |fleet| {
            let held = fleet.agent_status(name);
            assert!(held["trust_revision"].as_u64() >= before);
            (held["anchors"] == json!([1]) && fleet.client(name)["connected"] == true).then_some(())
        });
    }
    fleet.assert_no_orphans(&all);

    // The list stays as it was, also over a restart, and when one of them is gone;
    fleet.ok(&["clients", "decommission", "two", "--yes"]);
    fleet.kill("two");
    fleet.restart_controller();
    fleet.await_connected(&["one", "three"]);
    let all = ["one", "three"];
    assert_eq!(stayed_away(&fleet.rotation()), ["one", "two"]);
    assert_eq!(fleet.rotation()["stayed_away"][0]["connected"], true);

    // and the same certificate can be tried again.
    let to = status["to_generation"].to_string();
    fleet.ok(&["rotation", "start", "--to", &to]);
    let done = fleet.await_phase("Completed");
    assert_eq!(done["new_fingerprint"], status["new_fingerprint"]);
    assert_eq!(
        shown(&fleet),
        [
            done["new_fingerprint"].clone(),
            done["new_fingerprint"].clone()
        ]
    );
    assert_all_confirmed(&fleet, &all);
}

#[test]
fn as_many_as_may_stay_away_do_not_stop_a_swap() {
    // Given a rotation that may lose one, and loses one,
    let mut fleet = Fleet::with_agents(&["one", "two"]);
    fleet.swap_without("two", |fleet| {
        fleet.rotate(&["--return-window", "8s", "--max-missing", "1"]);
    });

    // when the window is over, then it goes on, and the next gate waits for the one that is away;
    fleet.await_phase("Enforcing");
    fleet.await_missing(&["two"]);
    // which comes back over the bridge.
    fleet.run("two");
    fleet.await_phase("Completed");
    assert_all_confirmed(&fleet, &["one", "two"]);
}

#[test]
fn retiring_the_old_certificate_ends_the_bridge() {
    // Given a rotation with a client that is away,
    let mut fleet = Fleet::with_agents(&["one", "two"]);
    fleet.switch_off("two");
    fleet.rotate(&[]);
    fleet.await_missing(&["two"]);
    // whose certificates both are needed,
    for generation in ["1", "2"] {
        let said = fleet.convoy(&["cert", "retire", generation]);
        assert!(said.failed(1).contains("[CERTIFICATE_IN_USE]"));
    }
    fleet.ok(&["rotation", "waive", "two", "--reason", "r", "--until", "1h"]);
    fleet.await_phase("Completed");

    assert_eq!(fleet.client("two")["at_risk"], true);

    // when it is over and the old certificate is retired, which asks for force,
    let said = fleet.convoy(&["cert", "retire", "1"]);
    assert!(said.failed(1).contains("[CUTS_OFF_CLIENTS]"));
    fleet.ok(&["cert", "retire", "1", "--force"]);
    assert_eq!(fleet.json(&["cert", "show", "1"])["state"], "retired");
    let said = fleet.convoy(&["cert", "retire", "2"]);
    assert!(said.failed(1).contains("[CERTIFICATE_IN_USE]"));

    // then the client that trusts only that one finds nobody, also after the controller has started anew.
    fleet.restart_controller();
    fleet.run("two");
    fleet.eventually("two has tried more than once", |fleet| {
        let tries = fleet
            .log("two")
            .matches("refused the server's certificate")
            .count();
        (tries > 1).then_some(())
    });
    let client = fleet.client("two");
    assert_eq!(client["connected"], false, "{client}");
    assert_eq!(client["evidence"], "none", "{client}");
    fleet.assert_no_orphans(&["one"]);
}
