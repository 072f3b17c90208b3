//! What operators may ask for, twice, at once, too early or too late, and what they are told.

use std::{fs, path::Path, process::Child};

use serde_json::{Value, json};

use crate::{
    curious::certificate_seen,
    fleet::{Fleet, Said},
};

#[test]
fn of_two_that_start_at_once_exactly_one_wins() {
    // Given a controller that nobody has joined yet and two certificates,
    let fleet = Fleet::start();
    let generations = [fleet.import_new().0, fleet.import_new().0];
    fleet.join("one", &fleet.ok(&["token", "create"]));

    for round in 0..6 {
        // when two operators start a rotation at the same moment,
        let start = |to: &String| fleet.spawn_convoy(&["rotation", "start", "--to", to]);
        let children: Vec<Child> = generations.iter().map(start).collect();
        let said: Vec<Said> = children.into_iter().map(Said::of).collect();

        // then one of them has started one, and the other is told that it runs.
        let winners: Vec<&Said> = said.iter().filter(|said| said.code == 0).collect();
        let [winner] = winners[..] else {
            panic!("round {round}: {said:?}");
        };
        let loser = said.iter().find(|said| said.code != 0).expect("another");
        assert_eq!(loser.code, 1, "{loser:?}");
        assert!(loser.stderr.contains("[ROTATION_RUNNING]"), "{loser:?}");
        let id = winner.stdout.trim();
        assert!(loser.stderr.contains(id), "{loser:?} names {id}");
        assert_eq!(loser.stdout, "");
        let listed = fleet.json(&["rotation", "list"]);
        let listed = listed.as_array().expect("a list");
        assert_eq!(listed.len(), round + 1);
        assert_eq!(listed[0]["id"], id);
        fleet.ok(&["rotation", "abort"]);
    }
}

#[test]
fn the_same_request_has_one_effect_and_another_under_its_id_is_refused() {
    // Given a controller, and what is to be asked for twice,
    let mut fleet = Fleet::start();
    let (certificate, key) = fleet.new_certificate("a", &["127.0.0.1", "localhost"]);
    let (other, other_key) = fleet.new_certificate("b", &["127.0.0.1", "localhost"]);
    let [certificate, key, other, other_key] =
        [&certificate, &key, &other, &other_key].map(|path| path.to_str().expect("UTF-8"));
    fleet.join("one", &fleet.ok(&["token", "create"]));
    let requests: [(&str, Vec<&str>, Vec<&str>); 4] = [
        (
            "t",
            vec!["token", "create", "--uses", "3"],
            vec!["token", "create", "--uses", "4"],
        ),
        (
            "g",
            vec!["groups", "create", "lab"],
            vec!["groups", "create", "hall"],
        ),
        (
            "c",
            vec!["cert", "import", "--cert", certificate, "--key", key],
            vec!["cert", "import", "--cert", other, "--key", other_key],
        ),
        (
            "r",
            vec!["rotation", "start", "--to", "2"],
            vec!["rotation", "start", "--to", "2", "--strategy", "toggle"],
        ),
    ];
    let effects = |fleet: &Fleet| {
        [
            &["token", "list"][..],
            &["groups", "list"],
            &["cert", "list"],
            &["rotation", "list"],
        ]
        .map(|list| fleet.json(list).as_array().expect("a list").len())
    };

    // when each is asked for under an id of its own, and again, also of a controller that has started anew,
    let first: Vec<String> = requests
        .iter()
        .map(|(id, args, _)| fleet.ok(&[&args[..], &["--request-id", id]].concat()))
        .collect();
    let after_first = effects(&fleet);
    assert_eq!(after_first, [2, 2, 2, 1]);
    for _ in 0..2 {
        for ((id, args, another), first) in requests.iter().zip(&first) {
            // then the answer is the same, and there is one effect;
            let again = fleet.ok(&[&args[..], &["--request-id", id]].concat());
            assert_eq!(&again, first, "{args:?}");
            // something else under that id is refused, and has none.
            let said = fleet.convoy(&[&another[..], &["--request-id", id]].concat());
            let why = said.failed(1);
            assert!(why.contains("[REQUEST_ID_REUSED]"), "{another:?}: {why}");
        }
        assert_eq!(effects(&fleet), after_first);
        fleet.restart_controller();
    }
    // A token that was answered twice is one token: it admits three.
    for name in ["two", "three", "four"] {
        fleet.join(name, &first[0]);
    }
    let said = fleet.try_join("five", &first[0]);
    assert!(said.failed(1).contains("admitted all 3"));
}

#[test]
fn no_phase_begins_while_a_rotation_is_paused() {
    // Given a rotation that waits for one client,
    let mut fleet = Fleet::with_agents(&["one", "two"]);
    fleet.switch_off("two");
    fleet.rotate(&[]);
    fleet.await_missing(&["two"]);

    // when it is paused and all that the gate asks for is there,
    fleet.ok(&["rotation", "pause"]);
    fleet.run("two");
    fleet.await_missing(&[]);
    // then it stays where it is, over restarts of the controller too, and says why.
    fleet.restart_controller();
    fleet.await_connected(&["one", "two"]);
    let status = fleet.rotation();
    assert_eq!(status["phase"], "Preparing");
    assert_eq!(status["paused"], true);
    assert_eq!(status["proved"], 2);
    assert!(
        status["advice"]
            .as_str()
            .is_some_and(|advice| advice.contains("resume"))
    );
    // Pausing what is paused is no error.
    fleet.ok(&["rotation", "pause"]);

    // When it goes on, then it completes.
    fleet.ok(&["rotation", "resume"]);
    fleet.await_phase("Completed");
    let said = fleet.convoy(&["rotation", "pause"]);
    assert!(said.failed(1).contains("[NO_ROTATION_RUNNING]"));
    fleet.assert_no_orphans(&["one", "two"]);
}

fn is_aborted(strategy: &str, mode: &str) {
    // Given a rotation that waits for one client while the others have its trust,
    let mut fleet = Fleet::with_agents(&["one", "two", "three"]);
    fleet.switch_off("three");
    let id = fleet.rotate(&["--strategy", strategy]);
    fleet.await_missing(&["three"]);
    let held = fleet.agent_status("one");
    assert_eq!(held["anchors"], json!([1, 2]));
    assert_eq!(held["mode_in_force"], mode);

    // when it is aborted,
    fleet.ok(&["rotation", "abort"]);
    // then it waits for nobody, and the old trust is in force again at a higher revision;
    let status = fleet.rotation();
    assert_eq!(status["phase"], "Aborted");
    assert_eq!(status["missing_count"], 0);
    fleet.run("three");
    for name in ["one", "two", "three"] {
        let back = fleet.eventually("the old trust is back", |fleet| {
            let held = fleet.agent_status(name);
            (held["anchors"] == json!([1]) && fleet.client(name)["anchors"] == json!([1]))
                .then_some(held)
                .filter(|_| fleet.client(name)["connected"] == true)
        });
        assert_eq!(back["mode_in_force"], "verify");
        if name == "one" {
            assert!(back["trust_revision"].as_u64() > held["trust_revision"].as_u64());
        }
    }
    fleet.assert_no_orphans(&["one", "two", "three"]);
    assert_eq!(fleet.json(&["cert", "show"])["generation"], 1);
    // aborting it once more is no error, and it cannot be resumed;
    fleet.ok(&["rotation", "abort", &id]);
    let said = fleet.convoy(&["rotation", "resume", &id]);
    assert!(said.failed(1).contains("[ROTATION_OVER]"));
    // who watches is told by the exit code that it did not complete;
    fleet
        .convoy(&["rotation", "status", &id, "--watch"])
        .failed(1);

    // and the next one, to the same certificate, completes.
    fleet.ok(&["rotation", "start", "--to", "2", "--strategy", strategy]);
    let status = fleet.await_phase("Completed");
    assert_eq!(status["confirmed"], 3);
    fleet.assert_no_orphans(&["one", "two", "three"]);
}

#[test]
fn an_aborted_overlap_leaves_the_old_trust() {
    is_aborted("overlap", "verify");
}

#[test]
fn an_aborted_toggle_leaves_the_old_trust() {
    is_aborted("toggle", "off");
}

#[test]
fn from_the_swap_on_it_is_too_late_to_abort() {
    // Given a rotation in Swapping, then in Enforcing,
    let mut fleet = Fleet::with_agents(&["one", "two"]);
    fleet.swap_without("two", |fleet| drop(fleet.rotate(&[])));
    let refused = |fleet: &Fleet| {
        let said = fleet.convoy(&["rotation", "abort"]);
        let why = said.failed(1);
        assert!(why.contains("[TOO_LATE_TO_ABORT]"), "{why}");
        assert!(why.contains("rotation start --to 1"), "{why}");
    };
    // when it is aborted, then that is refused with what can be done instead,
    refused(&fleet);
    fleet.ok(&["rotation", "pause"]);
    fleet.run("two");
    fleet.await_missing(&[]);
    fleet.switch_off("two");
    fleet.ok(&["rotation", "resume"]);
    fleet.await_phase("Enforcing");
    refused(&fleet);

    // which works.
    fleet.run("two");
    fleet.await_phase("Completed");
    fleet.ok(&["rotation", "start", "--to", "1"]);
    fleet.await_phase("Completed");
    let shown = fleet.json(&["cert", "show"]);
    assert_eq!(shown["generation"], 1, "{shown}");
    fleet.assert_no_orphans(&["one", "two"]);
}

#[test]
fn a_swap_is_rolled_back_by_hand() {
    // Given a rotation that waits in Swapping for a client that is off,
    let mut fleet = Fleet::with_agents(&["one", "two"]);
    let old = certificate_seen(fleet.agents_addr());
    fleet.swap_without("two", |fleet| drop(fleet.rotate(&[])));
    assert_ne!(certificate_seen(fleet.agents_addr()), old);

    // when it is rolled back, then the old certificate is served again, and the one that was away comes back to it;
    fleet.ok(&["rotation", "rollback"]);
    assert_eq!(fleet.phase(), "RolledBack");
    assert_eq!(certificate_seen(fleet.agents_addr()), old);
    fleet.run("two");
    fleet.await_connected(&["one", "two"]);
    fleet.eventually("both trust the old certificate alone again", |fleet| {
        ["one", "two"]
            .iter()
            .all(|name| fleet.client(name)["anchors"] == json!([1]))
            .then_some(())
    });
    fleet.assert_no_orphans(&["one", "two"]);

    // and a rotation that is over is not rolled back.
    let said = fleet.convoy(&["rotation", "rollback"]);
    assert!(said.failed(1).contains("[NO_ROTATION_RUNNING]"));
}

#[test]
fn what_cannot_start_says_why() {
    // Given a controller without clients,
    let fleet = Fleet::start();
    let refused = |args: &[&str], reason: &str| {
        let why = fleet.convoy(args).failed(1);
        assert!(why.contains(reason), "{args:?}: {why}");
        assert!(why.starts_with("error: "), "{args:?}: {why}");
    };
    // when there was no rotation yet, then that is what one is told;
    refused(&["rotation", "status"], "[NO_ROTATION_YET]");
    refused(&["rotation", "status", "--watch"], "[NO_ROTATION_YET]");
    refused(&["rotation", "abort"], "[NO_ROTATION_RUNNING]");
    assert_eq!(fleet.json(&["rotation", "list"]), json!([]));
    let (generation, _) = fleet.import_new();
    let start = ["rotation", "start", "--to"];

    // nothing starts to a certificate that is not there or is served already, nor for nobody,
    refused(&[&start[..], &["7"]].concat(), "[GENERATION_UNKNOWN]");
    refused(&[&start[..], &["1"]].concat(), "[GENERATION_SERVED]");
    refused(&[&start[..], &["2"]].concat(), "[NOBODY_TO_WAIT_FOR]");
    fleet.convoy(&[&start[..], &["soon"]].concat()).failed(2);
    assert_eq!(fleet.json(&["rotation", "list"]), json!([]));

    // unless one says that this is meant: then it is over at once.
    let id = fleet.ok(&["rotation", "start", "--to", &generation, "--allow-empty"]);
    let said = fleet.convoy(&["rotation", "status", "--watch"]);
    assert_eq!(said.code, 0, "{said:?}");
    let status = fleet.rotation();
    assert_eq!(
        (&status["id"], &status["phase"]),
        (&json!(id), &json!("Completed"))
    );
    assert_eq!(fleet.json(&["cert", "show"])["generation"], 2);

    // The list has the newest first.
    fleet.rotate(&["--allow-empty"]);
    let list = fleet.json(&["rotation", "list"]);
    let to: Vec<&Value> = list
        .as_array()
        .expect("a list")
        .iter()
        .map(|rotation| &rotation["to_generation"])
        .collect();
    assert_eq!(to, [3, 2]);
    assert!(fleet.ok(&["rotation", "list"]).contains(&id));
    refused(
        &["rotation", "status", &uuid::Uuid::nil().to_string()],
        "[ROTATION_UNKNOWN]",
    );
}

#[test]
fn who_watches_sees_the_phases_in_their_order_and_the_end() {
    // Given a rotation that waits, and somebody who watches it,
    const ORDER: [&str; 7] = [
        "Planned",
        "PausingReplication",
        "Preparing",
        "Swapping",
        "Enforcing",
        "ResumingReplication",
        "Completed",
    ];
    let mut fleet = Fleet::with_agents(&["one", "two"]);
    fleet.switch_off("two");
    fleet.rotate(&[]);
    let watch = fleet.spawn_convoy(&["rotation", "status", "--watch", "-o", "json"]);
    fleet.await_missing(&["two"]);

    // when it goes on, also over a restart of the controller,
    fleet.restart_controller();
    fleet.run("two");

    // then who watches is told of every change in order, and of the end.
    let said = Said::of(watch);
    assert_eq!(said.code, 0, "{said:?}");
    let seen: Vec<Value> = said
        .stdout
        .lines()
        .map(|line| serde_json::from_str(line).expect("a line of JSON"))
        .collect();
    let phases: Vec<usize> = seen
        .iter()
        .map(|rotation| {
            let known = ORDER.iter().position(|phase| rotation["phase"] == *phase);
            known.unwrap_or_else(|| panic!("phase {}", rotation["phase"]))
        })
        .collect();
    assert!(phases.is_sorted(), "{phases:?}");
    assert!(phases.len() > 2, "{phases:?}");
    assert_eq!(phases.last(), Some(&6));
    assert_eq!(seen.last(), Some(&fleet.rotation()));
}

fn copy_folder(from: &Path, to: &Path) {
    fs::create_dir(to).expect("a folder");
    let permissions = fs::metadata(from).expect("a folder").permissions();
    fs::set_permissions(to, permissions).expect("permissions");
    for entry in fs::read_dir(from).expect("a folder") {
        let entry = entry.expect("an entry");
        let kind = entry.file_type().expect("a kind");
        if kind.is_dir() {
            copy_folder(&entry.path(), &to.join(entry.file_name()));
            continue;
        }
        // A running agent's socket stays where it is.
        if !kind.is_file() {
            continue;
        }
        fs::copy(entry.path(), to.join(entry.file_name())).expect("copied");
    }
}

#[test]
fn two_live_copies_of_a_client_are_noticed_and_neither_counts() {
    // Given a fleet and a copy of one of its hosts, as when a disk image is rolled out twice,
    let mut fleet = Fleet::with_agents(&["one", "two"]);
    fleet.kill("two");
    copy_folder(&fleet.state_dir("two"), &fleet.state_dir("copy"));

    // when both run, then that is noticed;
    fleet.run("two");
    fleet.run("copy");
    fleet.eventually("the copies are noticed", |fleet| {
        (fleet.client("two")["state"] == "duplicated").then_some(())
    });

    // neither counts in a rotation: the gate stays shut and says who it is and why;
    fleet.rotate(&[]);
    let status = fleet.eventually("the other is counted", |fleet| {
        let status = fleet.rotation();
        (status["proved"] == 1).then_some(status)
    });
    assert_eq!(status["phase"], "Preparing");
    assert_eq!(status["clients"], 2, "it stays in the roster: {status}");
    assert_eq!(status["missing"][0]["name"], "two", "{status}");
    assert_eq!(status["missing_count"], 1, "{status}");
    assert_eq!(status["suspects"][0]["name"], "two", "{status}");
    assert!(
        status["suspects"][0]["suspicion"]
            .as_str()
            .is_some_and(|why| why.contains("copies")),
        "{status}"
    );
    let reason = &status["missing"][0]["reason"];
    assert_eq!(reason["code"], "duplicated", "{status}");
    assert_eq!(
        reason["text"],
        "two live copies of it alternate; they connect from 127.0.0.1 and 127.0.0.1"
    );
    // one alone, without a word from an operator, does not count either;
    fleet.kill("copy");
    fleet.kill("two");
    fleet.run("two");
    fleet.await_connected(&["two"]);
    fleet.eventually("it has taken the trust", |fleet| {
        (fleet.agent_status("two")["anchors"] == json!([1, 2])
            && fleet.client("two")["connected"] == true)
            .then_some(())
    });
    assert_eq!(fleet.missing(), ["two"]);

    // when one is gone and the operator says so, then the other counts, and the rotation completes.
    fleet.ok(&["clients", "resolve", "two"]);
    let status = fleet.await_phase("Completed");
    assert_eq!(status["confirmed"], 2);
    assert_eq!(status["suspects"], json!([]));
    assert_eq!(fleet.client("two")["state"], "active");
    fleet.assert_no_orphans(&["one", "two"]);
    let said = fleet.convoy(&["clients", "resolve", "two"]);
    assert!(said.failed(1).contains("[NOTHING_TO_RESOLVE]"));
}
