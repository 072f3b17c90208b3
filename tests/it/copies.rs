//! Old copies of the controller's data folder that were put back: nobody is orphaned in silence, gates stay shut until an operator has gone on from
//! there, and then everybody is with the fleet again. Damaged journals are elsewhere.

use std::{fs, path::Path};

use convoy_agent::{disk::StateDir, state::State};
use serde_json::Value;

use crate::fleet::Fleet;

/// A whole copy of a folder, as an administrator makes one: files and folders with their modes.
fn copy(from: &Path, to: &Path) {
    fs::create_dir(to).expect("a folder");
    fs::set_permissions(to, fs::metadata(from).expect("metadata").permissions()).expect("chmod");
    for entry in fs::read_dir(from).expect("a folder") {
        let entry = entry.expect("an entry");
        let target = to.join(entry.file_name());
        let kind = entry.file_type().expect("a type");
        if kind.is_dir() {
            copy(&entry.path(), &target);
        } else if kind.is_file() {
            fs::copy(entry.path(), target).expect("copied");
        }
    }
}

impl Fleet {
    /// Copies the data folder while the controller is stopped, and starts it again.
    fn back_up(&mut self) {
        self.kill_controller();
        copy(&self.data_dir(), &self.path("copy"));
        self.start_controller();
    }

    /// Stops the controller, puts the copy in the place of its folder, and starts it. The folder that was there is kept as `lost`.
    fn put_copy_back(&mut self) {
        self.kill_controller();
        fs::rename(self.data_dir(), self.path("lost")).expect("moved");
        copy(&self.path("copy"), &self.data_dir());
        self.start_controller();
    }

    fn recovery(&self) -> Value {
        self.json(&["recover", "show"])
    }

    /// Waits until a client has shown what the journal does not know.
    fn await_older(&mut self) -> Value {
        self.eventually("the journal is known to be older", |fleet| {
            let recovery = fleet.recovery();
            (recovery["older"] == true).then_some(recovery)
        })
    }

    fn trust_of(&self, name: &str) -> (u64, u64) {
        let held = self.agent_status(name);
        let number = |field: &str| held[field].as_u64().expect("a number");
        (number("trust_epoch"), number("trust_revision"))
    }

    /// Starts agents again: those that have just lost a controller wait longer and longer.
    fn wake(&mut self, names: &[&str]) {
        for name in names {
            self.kill(name);
            self.run(name);
        }
    }
}

/// The codes of what is wrong with the controller.
fn degraded(fleet: &Fleet) -> Vec<String> {
    let status = fleet.json(&["status"]);
    let reasons = status["degraded"].as_array().expect("a list").iter();
    let code = |reason: &Value| reason["code"].as_str().expect("a code").to_owned();
    reasons.map(code).collect()
}

/// A fleet of which a copy was made when the next certificate was imported; since then that was put in service, a client joined and one was decommissioned.
fn with_history() -> (Fleet, String) {
    let mut fleet = Fleet::with_agents(&["one", "two", "gone"]);
    let spent = fleet.ok(&["token", "create", "--uses", "1"]);
    let (generation, _) = fleet.import_new();
    fleet.back_up();
    fleet.await_connected(&["one", "two", "gone"]);
    fleet.ok(&["rotation", "start", "--to", &generation]);
    fleet.await_phase("Completed");
    fleet.join("late", &spent);
    fleet.run("late");
    fleet.await_connected(&["late"]);
    fleet.ok(&["clients", "decommission", "gone", "--yes"]);
    (fleet, spent)
}

#[test]
fn an_old_copy_shuts_the_gates_and_blames_nobody() {
    let (mut fleet, spent) = with_history();
    let before = fleet.trust_of("one");

    // When the old copy is put back,
    fleet.put_copy_back();
    fleet.wake(&["one", "two", "late"]);

    // then those that trust only what came later are served it, and it is said that the journal is old;
    fleet.await_connected(&["one", "two"]);
    let recovery = fleet.await_older();
    assert_eq!(recovery["epoch"], 1);
    assert_eq!(recovery["ahead"]["revision"], before.1);
    let log = fleet.log("controller");
    let said = log.lines().filter(|line| {
        line.contains("ERROR") && line.contains("this journal is older than the fleet")
    });
    assert_eq!(said.count(), 1, "{log}");
    assert!(degraded(&fleet).contains(&"journal_older".to_owned()));
    for name in ["one", "two"] {
        let client = fleet.client(name);
        assert_eq!(client["suspicion"], "", "{client}");
        assert_eq!(client["served_generation"], 2, "{client}");
    }
    // who joined later is named, and not let in;
    let late = fleet.eventually("the late client is noted", |fleet| {
        let recovery = fleet.recovery();
        recovery["unknown"].get(0).cloned()
    });
    assert_eq!(late["name"], "late");
    assert_eq!(degraded(&fleet), ["journal_older", "journal_hints"]);
    fleet.convoy(&["clients", "show", "late"]).failed(1);
    // nothing is begun, nobody is let in, and nothing is published.
    let (certificate, key) = fleet.new_certificate("third", &["127.0.0.1", "localhost"]);
    let third = fleet.import(&certificate, &key);
    for refused in [
        &["rotation", "start", "--to", &third][..],
        &["token", "create"],
        &["groups", "create", "lab"],
    ] {
        let said = fleet.convoy(refused).failed(1);
        assert!(said.contains("[JOURNAL_OLDER]"), "{refused:?}: {said}");
    }
    let said = fleet.try_join("thief", &spent);
    assert_eq!(said.code, 1, "{said:?}");
    assert_eq!(fleet.trust_of("one"), before);
    // It is still so after another start.
    fleet.restart_controller();
    assert_eq!(fleet.recovery()["older"], true);
}

#[test]
fn a_whole_rotation_completes_with_everybody_after_a_recovery() {
    let (mut fleet, spent) = with_history();
    let unused = fleet.ok(&["token", "create", "--uses", "9"]);
    let kept = fleet.path("kept.jsonl");
    let kept = kept.to_str().expect("UTF-8").to_owned();
    fleet.ok(&["audit", "export", "--out", &kept]);
    fleet.put_copy_back();
    fleet.wake(&["one", "two", "late"]);
    fleet.await_older();
    fleet.eventually("the late client is noted", |fleet| {
        (fleet.recovery()["unknown"][0]["name"] == "late").then_some(())
    });

    // Given an operator who has to say how many clients there are,
    let args = [
        "recover",
        "fast-forward",
        "--readmit",
        "late",
        "--audit",
        &kept,
    ];
    let confirmed = |count| [&args[..], &["--confirm", count]].concat();
    let said = fleet.convoy(&args).failed(2);
    assert!(said.contains("--confirm"), "{said}");
    let said = fleet.convoy(&confirmed("4")).failed(1);
    assert!(
        said.contains("[CONFIRM_CLIENTS]") && said.contains("would have 3"),
        "{said}"
    );
    let said = fleet
        .convoy(&[
            "recover",
            "fast-forward",
            "--readmit",
            "stranger",
            "--confirm",
            "3",
        ])
        .failed(1);
    assert!(said.contains("readmit"), "{said}");
    assert_eq!(fleet.recovery()["older"], true);

    // when the right number is confirmed,
    let done = fleet.json(&confirmed("3"));
    let mut roster: Vec<_> = done["roster"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|client| client["name"].as_str().expect("a name"))
        .collect();
    roster.sort_unstable();
    assert_eq!(roster, ["late", "one", "two"]);
    assert_eq!(done["decommissioned"][0]["name"], "gone");
    assert_eq!(done["serving"], 2, "what the clients trust is served again");

    // then everybody comes into the new epoch, numbers go on far beyond what was seen,
    fleet.wake(&["late"]);
    fleet.await_connected(&["one", "two", "late"]);
    for name in ["one", "two", "late"] {
        fleet.eventually("the new epoch is on disk", |fleet| {
            (fleet.trust_of(name).0 == 2).then_some(())
        });
        assert!(fleet.trust_of(name).1 > 1 << 16, "{name}");
    }
    let recovery = fleet.recovery();
    assert_eq!(recovery["older"], false);
    assert_eq!(degraded(&fleet), [""; 0]);
    assert_eq!(recovery["epoch"], 2);
    assert_eq!(fleet.client("gone")["state"], "decommissioned");
    // no token is left that could have been spent,
    for token in [&spent, &unused] {
        assert_eq!(fleet.try_join("thief", token).code, 1);
    }
    let tokens = fleet.json(&["token", "list"]);
    let mut tokens = tokens.as_array().expect("a list").iter();
    assert!(tokens.all(|token| token["revoked"] == true));
    // and a rotation has everybody,
    let (generation, fingerprint) = fleet.import_new();
    assert!(generation.parse::<u64>().expect("a number") > 1 << 16);
    fleet.ok(&["rotation", "start", "--to", &generation]);
    let done = fleet.await_phase("Completed");
    assert_eq!(done["clients"], 3);
    assert_eq!(done["confirmed"], 3);
    assert_eq!(done["new_fingerprint"], fingerprint.as_str());
    fleet.assert_no_orphans(&["one", "two", "late"]);
    // with newcomers, and again after another recovery.
    fleet.join_and_run(&["new"]);
    let done = fleet.json(&["recover", "fast-forward", "--confirm", "4"]);
    assert_eq!(done["recovery"]["epoch"], 3);
    for name in ["one", "two", "late", "new"] {
        fleet.eventually("the next epoch is on disk", |fleet| {
            (fleet.trust_of(name).0 == 3).then_some(())
        });
    }
    fleet.rotate(&["--strategy", "toggle"]);
    assert_eq!(fleet.await_phase("Completed")["confirmed"], 4);
    fleet.assert_no_orphans(&["one", "two", "late", "new"]);
}

#[test]
fn an_old_journal_beside_newer_keys_serves_what_it_does_not_know() {
    // Given a copy of the journal alone, made before the next certificate came,
    let mut fleet = Fleet::with_agents(&["one", "two"]);
    fleet.kill_controller();
    let journal = fleet.data_dir().join("journal.redb");
    fs::copy(&journal, fleet.path("journal")).expect("copied");
    fleet.start_controller();
    fleet.await_connected(&["one", "two"]);
    fleet.rotate(&[]);
    fleet.await_phase("Completed");

    // when it is put back beside everything else,
    fleet.kill_controller();
    fs::copy(fleet.path("journal"), &journal).expect("copied");
    fleet.set_options(&["--accept-older-journal"]);
    fleet.start_controller();
    fleet.set_options(&[]);
    fleet.wake(&["one", "two"]);

    // then the certificate beside it is served to those that trust nothing else,
    fleet.await_connected(&["one", "two"]);
    assert_eq!(fleet.recovery()["older"], true);
    assert_eq!(fleet.client("one")["served_generation"], 2);
    // and to everybody once the fleet has gone on.
    fleet.await_older();
    fleet.ok(&["recover", "fast-forward", "--confirm", "2"]);
    for name in ["one", "two"] {
        fleet.eventually("the new epoch is on disk", |fleet| {
            (fleet.trust_of(name).0 == 2).then_some(())
        });
    }
    fleet.await_connected(&["one", "two"]);
    fleet.rotate(&[]);
    assert_eq!(fleet.await_phase("Completed")["confirmed"], 2);
    fleet.assert_no_orphans(&["one", "two"]);
}

#[test]
fn a_recovery_takes_newer_roots_and_never_makes_a_second_one() {
    // Given a copy that was made before the root was renewed; one client has not heard of that,
    let mut fleet = Fleet::with_agents(&["one", "two"]);
    fleet.back_up();
    fleet.await_connected(&["one", "two"]);
    fleet.switch_off("two");
    fleet.ok(&["root", "renew"]);
    let root = |fleet: &Fleet, name: &str| fleet.agent_status(name)["root_version"].as_u64();
    fleet.eventually("one has the new root", |fleet| {
        (root(fleet, "one") == Some(2)).then_some(())
    });

    // when it is put back, then the client that has the newer root shows it, and no other is made,
    fleet.put_copy_back();
    fleet.wake(&["one"]);
    let recovery = fleet.await_older();
    assert_eq!(recovery["root_version"], 1);
    assert_eq!(recovery["ahead"]["root_version"], 2);
    assert_eq!(recovery["ahead"]["roots"], 1);
    let said = fleet.convoy(&["root", "renew"]).failed(1);
    assert!(said.contains("[JOURNAL_OLDER]"), "{said}");

    // it is taken,
    let done = fleet.json(&["recover", "fast-forward", "--confirm", "2"]);
    assert_eq!(done["recovery"]["root_version"], 2);
    fleet.run("two");
    for name in ["one", "two"] {
        fleet.eventually("the new epoch is on disk", |fleet| {
            (fleet.trust_of(name).0 == 2 && root(fleet, name) == Some(2)).then_some(())
        });
    }
    // and the next one follows it, for newcomers too.
    fleet.ok(&["root", "renew"]);
    fleet.join_and_run(&["new"]);
    for name in ["one", "two", "new"] {
        fleet.eventually("the third root is on disk", |fleet| {
            (root(fleet, name) == Some(3)).then_some(())
        });
    }
    fleet.await_connected(&["one", "two", "new"]);
    fleet.rotate(&[]);
    assert_eq!(fleet.await_phase("Completed")["confirmed"], 3);
    fleet.assert_no_orphans(&["one", "two", "new"]);
}

#[test]
fn a_certificate_that_is_imported_again_is_found_by_those_that_trust_it() {
    // Given a copy of the whole folder from before two certificates came, of which clients trust the second alone,
    let mut fleet = Fleet::with_agents(&["one", "two"]);
    fleet.back_up();
    fleet.await_connected(&["one", "two"]);
    for _ in 0..2 {
        fleet.rotate(&[]);
        fleet.await_phase("Completed");
    }
    fleet.put_copy_back();
    fleet.wake(&["one", "two"]);
    fleet.eventually("the controller is warned", |fleet| {
        (fleet.recovery()["unknown_anchors"][0] == 3).then_some(())
    });
    assert_eq!(fleet.recovery()["older"], false);

    // when that one is imported again, under another number than it had,
    let generation = fleet.import(&fleet.path("new.crt"), &fleet.path("new.key"));
    assert_eq!(generation, "2");
    for name in ["one", "two"] {
        // then each client comes to it within a few attempts.
        fleet.wake(&[name]);
        fleet.await_connected(&[name]);
    }
    let recovery = fleet.await_older();
    assert_eq!(recovery["unknown_anchors"], Value::Array(vec![]));
    let done = fleet.json(&["recover", "fast-forward", "--confirm", "2"]);
    assert_eq!(done["serving"], 2);
    for name in ["one", "two"] {
        fleet.eventually("the new epoch is on disk", |fleet| {
            (fleet.trust_of(name).0 == 2).then_some(())
        });
    }
    fleet.await_connected(&["one", "two"]);
    fleet.rotate(&[]);
    assert_eq!(fleet.await_phase("Completed")["confirmed"], 2);
    fleet.assert_no_orphans(&["one", "two"]);
}

#[test]
fn the_lost_machine_stops_when_it_hears_of_its_successor() {
    let (mut fleet, _) = with_history();
    fleet.put_copy_back();
    fleet.wake(&["one", "two"]);
    fleet.await_older();
    let done = fleet.json(&["recover", "fast-forward", "--confirm", "3"]);
    let epoch = done["recovery"]["epoch"].as_u64();
    for name in ["one", "two"] {
        fleet.eventually("the new epoch is on disk", |fleet| {
            (Some(fleet.trust_of(name).0) == epoch).then_some(())
        });
    }

    // When the lost machine comes back in the place of its successor,
    fleet.kill_controller();
    fs::rename(fleet.data_dir(), fleet.path("successor")).expect("moved");
    copy(&fleet.path("lost"), &fleet.data_dir());
    let held = fleet.trust_of("one");
    fleet.start_controller();
    fleet.wake(&["one"]);

    // then a client refuses it and tells it, and it stops and says why.
    fleet.eventually("it hears of its successor", |fleet| {
        (fleet.recovery()["superseded_by"] == 2).then_some(())
    });
    fleet.eventually("a client says whom it met", |fleet| {
        let mut logs = ["one", "two"].into_iter().map(|name| fleet.log(name));
        logs.any(|log| log.contains("older copy of the fleet's controller"))
            .then_some(())
    });
    assert_eq!(fleet.trust_of("one"), held);
    assert_eq!(degraded(&fleet), ["superseded"]);
    let log = fleet.log("controller");
    assert!(
        log.contains("another copy of this controller has gone on"),
        "{log}"
    );
    let (generation, _) = fleet.import_new();
    for refused in [
        &["rotation", "start", "--to", &generation][..],
        &["token", "create"],
        &["recover", "fast-forward", "--confirm", "3"],
    ] {
        let said = fleet.convoy(refused).failed(1);
        assert!(said.contains("[SUPERSEDED]"), "{refused:?}: {said}");
    }
    let two = fleet.trust_of("two");
    fleet.wake(&["two"]);
    fleet.eventually("it is refused", |fleet| {
        fleet.log("two").contains("[SUPERSEDED]").then_some(())
    });
    assert_eq!(fleet.trust_of("two"), two);
    fleet.restart_controller();
    assert_eq!(fleet.recovery()["superseded_by"], 2);

    // With its successor back, everybody is there.
    fleet.kill_controller();
    fs::rename(fleet.data_dir(), fleet.path("lost-again")).expect("moved");
    fs::rename(fleet.path("successor"), fleet.data_dir()).expect("moved");
    fleet.start_controller();
    fleet.wake(&["one", "two"]);
    fleet.await_connected(&["one", "two"]);
    fleet.assert_no_orphans(&["one", "two"]);

    // If it is the successor that is lost, the operator says so.
    fleet.kill_controller();
    fs::remove_dir_all(fleet.data_dir()).expect("removed");
    fs::rename(fleet.path("lost-again"), fleet.data_dir()).expect("moved");
    fleet.start_controller();
    let done = fleet.json(&["recover", "fast-forward", "--take-over", "--confirm", "3"]);
    assert_eq!(done["recovery"]["epoch"], 3);
    fleet.wake(&["one", "two"]);
    for name in ["one", "two"] {
        fleet.eventually("the third epoch is on disk", |fleet| {
            (fleet.trust_of(name).0 == 3).then_some(())
        });
    }
}

#[test]
fn a_laboratorys_clone_cannot_shut_production() {
    // Given a clone of production in a laboratory, that goes on there, with a client of its own and later trust under the same certificate,
    let mut fleet = Fleet::with_agents(&["one", "two"]);
    fleet.back_up();
    fleet.await_connected(&["one", "two"]);
    let mut lab = Fleet::unstarted();
    copy(&fleet.path("copy"), &lab.data_dir());
    lab.start_controller();
    for name in ["one", "two"] {
        lab.ok(&["clients", "decommission", name, "--yes"]);
    }
    let own = lab.agents_addr().to_string();
    lab.ok(&["addresses", "set", &own, "--force"]);
    lab.join_and_run(&["guest"]);
    lab.switch_off("guest");
    lab.rotate(&[]);
    lab.await_phase("Preparing");
    lab.ok(&["rotation", "abort"]);
    lab.run("guest");
    lab.eventually("the guest has the laboratory's trust", |lab| {
        (lab.trust_of("guest").1 > fleet.trust_of("one").1).then_some(())
    });
    lab.await_connected(&["guest"]);
    lab.switch_off("guest");

    // when its client comes to production,
    send(&lab, "guest", &fleet);
    lab.run("guest");

    // then production names it, and goes on.
    fleet.eventually("production notes the guest", |fleet| {
        (fleet.recovery()["unknown"][0]["name"] == "guest").then_some(())
    });
    let recovery = fleet.recovery();
    assert!(recovery["unknown"][0]["revision"].as_u64() > recovery["revision"].as_u64());
    assert_eq!(recovery["older"], false);
    fleet.rotate(&[]);
    assert_eq!(fleet.await_phase("Completed")["confirmed"], 2);
    lab.kill("guest");

    // The same where the client trusts only what the laboratory made.
    send(&lab, "guest", &lab);
    lab.run("guest");
    lab.await_connected(&["guest"]);
    for _ in 0..2 {
        lab.rotate(&[]);
        lab.await_phase("Completed");
    }
    lab.switch_off("guest");
    send(&lab, "guest", &fleet);
    lab.run("guest");
    fleet.eventually("production is warned", |fleet| {
        let recovery = fleet.recovery();
        let hints = recovery["unknown_anchors"].as_array().expect("a list");
        (!hints.is_empty()).then_some(())
    });
    fleet.rotate(&[]);
    assert_eq!(fleet.await_phase("Completed")["confirmed"], 2);
    fleet.assert_no_orphans(&["one", "two"]);
    assert_eq!(fleet.recovery()["older"], false);
}

/// Has an agent that is off look for its controller at another fleet's.
fn send(of: &Fleet, name: &str, to: &Fleet) {
    let dir = StateDir::open(&of.state_dir(name)).expect("a folder");
    let mut state = State::load(&dir).expect("a state");
    state.addresses = vec![to.agents_addr().to_string().parse().expect("an address")];
    state.store(&dir).expect("stored");
}
