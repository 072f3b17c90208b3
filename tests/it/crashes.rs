//! `kill -9` at every instant that matters: what was answered is still there, what was begun goes on, and nobody is orphaned.

use std::{fs, path::PathBuf};

use convoy_controller::journal::{Journal as _, redb::RedbJournal};
use redb::{Database, ReadableDatabase as _, ReadableTable as _, TableDefinition};

use crate::{
    curious::certificate_seen,
    fleet::{Fleet, Said},
};

const AGENTS: [&str; 3] = ["one", "two", "three"];

/// A rotation whose controller is killed at each of these steps in turn, as soon as it gets there.
fn survives(fleet: &mut Fleet, strategy: &str, steps: &[&str]) {
    // Given a fleet that is connected, to a controller that is about to be killed,
    let revisions = AGENTS.map(|name| trust_revision(fleet, name));
    let mut steps_left = steps.iter();
    let first = steps_left.next().expect("a step");
    fleet.kill_controller();
    fleet.start_controller_held_at(first);
    fleet.await_serving();
    for name in AGENTS {
        // Those that have just lost a controller wait longer and longer.
        fleet.kill(name);
        fleet.run(name);
    }
    fleet.await_connected(&AGENTS);
    let (generation, new) = fleet.import_new();

    // when a rotation starts and the controller is killed, again and again,
    let request = format!("{strategy} {generation}");
    let start = [
        ["rotation", "start", "--to"].as_slice(),
        &[&generation, "--strategy", strategy],
        &["--request-id", &request],
    ]
    .concat();
    let starting = fleet.spawn_convoy(&start);
    fleet.await_held();
    let answered = if first.ends_with(".Planned") {
        // The answer comes when the start has become the state: never.
        fleet.kill_controller();
        Said::of(starting).failed(1);
        None
    } else {
        let said = Said::of(starting);
        fleet.kill_controller();
        assert_eq!(said.code, 0, "{said:?}");
        Some(said.stdout.trim().to_owned())
    };
    for step in steps_left {
        fleet.start_controller_held_at(step);
        fleet.await_held();
        fleet.kill_controller();
    }
    fleet.start_controller();

    // then nobody is orphaned, not even for a moment;
    fleet.assert_no_orphans(&AGENTS);
    // what was answered is there, and what was not can be asked for again, with one effect;
    let id = fleet.ok(&start);
    assert!(answered.is_none_or(|answered| answered == id), "{steps:?}");
    let status = fleet.await_phase("Completed");
    // and it goes on to its end, with everyone.
    assert_eq!(status["id"], id, "{steps:?}");
    assert_eq!(status["strategy"], strategy, "{steps:?}");
    for count in ["clients", "applied", "proved", "confirmed"] {
        assert_eq!(status[count], 3, "{steps:?}: {count} in {status}");
    }
    assert_eq!(status["new_fingerprint"], new, "{steps:?}");
    assert_eq!(certificate_seen(fleet.agents_addr()), new, "{steps:?}");
    assert_eq!(certificate_seen(fleet.api_addr()), new, "{steps:?}");
    fleet.assert_no_orphans(&AGENTS);
    for (name, before) in AGENTS.iter().zip(revisions) {
        assert!(trust_revision(fleet, name) > before, "{steps:?}: {name}");
        let held = fleet.agent_status(name);
        assert_eq!(held["mode_in_force"], "verify", "{steps:?}: {held}");
        assert_eq!(held["anchors"].as_array().map(Vec::len), Some(1));
    }
    let rotations = fleet.json(&["rotation", "list"]);
    let same = rotations.as_array().expect("a list").iter();
    let same = same.filter(|rotation| rotation["new_fingerprint"] == new);
    assert_eq!(same.count(), 1, "{steps:?}: {rotations}");
}

fn trust_revision(fleet: &Fleet, name: &str) -> u64 {
    let held = fleet.agent_status(name);
    held["trust_revision"].as_u64().expect("a revision")
}

/// One rotation after the other, each with a controller that is killed at one of these steps.
fn survives_each(strategy: &str, steps: &[&str]) {
    let mut fleet = Fleet::with_agents(&AGENTS);
    for step in steps {
        survives(&mut fleet, strategy, &[step]);
    }
}

#[test]
fn overlap_survives_a_kill_as_it_begins() {
    survives_each(
        "overlap",
        &[
            "decided.Planned",
            "saved.Planned",
            "entered.Planned",
            "decided.PausingReplication",
            "saved.PausingReplication",
            "entered.PausingReplication",
        ],
    );
}

#[test]
fn overlap_survives_a_kill_as_it_prepares_and_swaps() {
    survives_each(
        "overlap",
        &[
            "decided.Preparing",
            "saved.Preparing",
            "entered.Preparing",
            "loaded",
            "decided.Swapping",
            "saved.Swapping",
            "entered.Swapping",
        ],
    );
}

#[test]
fn overlap_survives_a_kill_as_it_enforces_and_ends() {
    survives_each(
        "overlap",
        &[
            "decided.Enforcing",
            "saved.Enforcing",
            "entered.Enforcing",
            "decided.ResumingReplication",
            "saved.ResumingReplication",
            "entered.ResumingReplication",
            "decided.Completed",
            "saved.Completed",
            "entered.Completed",
        ],
    );
}

#[test]
fn toggle_survives_a_kill_in_each_phase() {
    survives_each(
        "toggle",
        &[
            "saved.Planned",
            "decided.Preparing",
            "saved.Preparing",
            "loaded",
            "decided.Swapping",
            "saved.Swapping",
            "decided.Enforcing",
            "saved.Enforcing",
            "saved.Completed",
        ],
    );
}

#[test]
fn a_controller_that_is_killed_again_and_again_still_gets_there() {
    let mut fleet = Fleet::with_agents(&AGENTS);
    for strategy in ["overlap", "toggle"] {
        survives(
            &mut fleet,
            strategy,
            &[
                "saved.Planned",
                "saved.Preparing",
                "loaded",
                "saved.Swapping",
                // The second time it is the certificate that is served from now on.
                "loaded",
                "decided.Enforcing",
                "saved.Enforcing",
                "saved.ResumingReplication",
                "decided.Completed",
            ],
        );
    }
}

#[test]
fn nothing_that_was_answered_is_lost() {
    // Given a controller,
    let mut fleet = Fleet::start();
    // when it is killed in the moment in which it has answered, then what it answered is still there.
    let token = fleet.ok(&["token", "create", "--uses", "2"]);
    fleet.restart_controller();
    let one = fleet.join("one", &token);
    fleet.restart_controller();
    assert_eq!(fleet.client("one")["id"], one);
    assert_eq!(fleet.json(&["token", "list"])[0]["used"], 1);
    fleet.join("two", &token);
    fleet.restart_controller();
    fleet.try_join("three", &token).failed(1);
    let (generation, fingerprint) = fleet.import_new();
    fleet.restart_controller();
    let kept = fleet.json(&["cert", "show", &generation]);
    assert_eq!(kept["fingerprint"], fingerprint);
    fleet.ok(&["groups", "create", "lab"]);
    fleet.restart_controller();
    assert_eq!(fleet.json(&["groups", "list"])[1]["name"], "lab");
    let id = fleet.ok(&["rotation", "start", "--to", &generation]);
    fleet.ok(&["rotation", "pause"]);
    fleet.restart_controller();
    let status = fleet.rotation();
    assert_eq!(status["id"], id);
    assert_eq!(status["paused"], true);
    fleet.ok(&["rotation", "resume"]);
    fleet.ok(&["rotation", "waive", "two", "--reason", "r", "--until", "1h"]);
    fleet.restart_controller();
    let status = fleet.rotation();
    assert_eq!(status["paused"], false);
    assert_eq!(status["waivers"][0]["client_name"], "two");
    fleet.ok(&["rotation", "abort"]);
    fleet.restart_controller();
    assert_eq!(fleet.phase(), "Aborted");
    fleet.ok(&["clients", "decommission", "two", "--yes"]);
    fleet.restart_controller();
    assert_eq!(fleet.client("two")["state"], "decommissioned");
    fleet.run("one");
    fleet.await_connected(&["one"]);
}

#[test]
fn last_seen_and_evidence_survive_a_restart() {
    // Given a rotation that waits for one client, and what the controller says of the two,
    let mut fleet = Fleet::with_agents(&["one", "two"]);
    fleet.switch_off("two");
    fleet.rotate(&[]);
    fleet.await_missing(&["two"]);
    fleet.switch_off("one");
    let before = [fleet.client("one"), fleet.client("two")];
    assert_eq!(before[0]["evidence"], "proved");
    let status = fleet.rotation();
    fleet.await_presence_saved();

    // when the controller is killed and started, then it says the same.
    fleet.restart_controller();
    assert_eq!([fleet.client("one"), fleet.client("two")], before);
    assert_eq!(fleet.rotation(), status);
    // What was shown need not be shown again: gate A opens for the one that was missing.
    fleet.run("two");
    fleet.await_phase("Enforcing");
    fleet.await_missing(&["one"]);
    fleet.run("one");
    fleet.await_phase("Completed");
    fleet.assert_no_orphans(&["one", "two"]);
}

const ENTRIES: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("entries");

/// What the journal of a controller that is not running holds, byte for byte.
pub(crate) fn entries(fleet: &Fleet) -> Vec<(u64, Vec<u8>)> {
    let database = Database::open(journal(fleet)).expect("a journal");
    let reading = database.begin_read().expect("a transaction");
    let table = reading.open_table(ENTRIES).expect("a table");
    let all = table.iter().expect("entries").map(|entry| {
        let (number, bytes) = entry.expect("an entry");
        (number.value(), bytes.value().to_vec())
    });
    all.collect()
}

pub(crate) fn journal(fleet: &Fleet) -> PathBuf {
    fleet.data_dir().join("journal.redb")
}

/// The controller does not start, each time that it is tried, and says why in one line.
pub(crate) fn refuses_to_start(fleet: &mut Fleet, why: &str) {
    for _ in 0..2 {
        fleet.start_controller_held_at("nowhere");
        assert_eq!(fleet.await_controller_end(), 1);
        let log = fleet.log("controller");
        let last = log.lines().last().expect("a line");
        assert!(last.starts_with("error: "), "{last}");
        assert!(last.contains(why), "{last}");
    }
}

#[test]
fn a_damaged_entry_is_named_and_left_alone() {
    // Given a journal with an entry in which one bit has turned, in a way that the storage engine does not notice,
    let mut fleet = Fleet::start();
    for name in ["a", "b", "c"] {
        fleet.ok(&["groups", "create", name]);
    }
    fleet.kill_controller();
    let whole = entries(&fleet);
    let (number, mut bytes) = whole[2].clone();
    assert!(whole.len() > 3, "it is not the newest");
    *bytes.last_mut().expect("a byte") ^= 1;
    put(&fleet, number, &bytes);
    let damaged = entries(&fleet);
    assert_ne!(damaged, whole);

    // when the controller starts, then it refuses, names the entry, and repairs nothing.
    refuses_to_start(
        &mut fleet,
        "the journal's entry 3 is damaged: its checksum does not match",
    );
    assert_eq!(entries(&fleet), damaged);

    // When the entry is as it was, then the controller starts, and has forgotten nothing.
    put(&fleet, number, &whole[2].1);
    fleet.start_controller();
    assert_eq!(fleet.json(&["groups", "list"])[3]["name"], "default");
}

fn put(fleet: &Fleet, number: u64, bytes: &[u8]) {
    let database = Database::open(journal(fleet)).expect("a journal");
    let writing = database.begin_write().expect("a transaction");
    let mut table = writing.open_table(ENTRIES).expect("a table");
    drop(table.insert(number, bytes).expect("written"));
    drop(table);
    writing.commit().expect("committed");
}

#[test]
fn an_entry_of_the_future_is_named_and_left_alone() {
    // Given a journal with a sound entry that this version does not understand,
    let mut fleet = Fleet::start();
    fleet.kill_controller();
    let number = {
        let runtime = tokio::runtime::Runtime::new().expect("a runtime");
        runtime.block_on(async {
            let journal = RedbJournal::open(journal(&fleet)).expect("a journal");
            let head = journal.head().await.expect("a head");
            journal
                .append(head, vec![0xff; 64])
                .await
                .expect("an entry")
        })
    };
    let before = entries(&fleet);

    // when the controller starts, then it refuses, says what can be done, and does nothing.
    refuses_to_start(
        &mut fleet,
        &format!(
            "journal entry {number} is not understood: nothing after it is read, and nothing is repaired"
        ),
    );
    assert_eq!(entries(&fleet), before);
}

#[test]
fn a_journal_whose_file_is_damaged_is_refused_and_left_alone() {
    // Given a journal of whose file one byte has changed, somewhere in an entry,
    let mut fleet = Fleet::start();
    fleet.ok(&["groups", "create", "a-name-to-look-for"]);
    fleet.kill_controller();
    let path = journal(&fleet);
    let mut bytes = fs::read(&path).expect("a journal");
    let name = b"a-name-to-look-for";
    let places: Vec<usize> = (0..bytes.len() - name.len())
        .filter(|at| bytes[*at..].starts_with(name))
        .collect();
    assert!(!places.is_empty(), "the name stands in the journal");
    for place in places {
        bytes[place] ^= 1;
    }
    fs::write(&path, &bytes).expect("written");

    // when the controller starts, then it refuses, and leaves the file as it is, to the last byte.
    refuses_to_start(&mut fleet, "the journal's file cannot be opened");
    let now = fs::read(&path).expect("a journal");
    assert!(now == bytes, "the file was changed");
}
