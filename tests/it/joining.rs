//! Join tokens and joining, as operators and hosts see them.

use std::{
    collections::BTreeSet,
    fs,
    process::{Child, Command, Stdio},
    thread,
};

use convoy_shared::{
    id::TokenId,
    token::{JoinToken, TokenSecret},
};
use serde_json::Value;

use crate::{
    fleet::{Fleet, PROGRAM},
    road::{Road, Rule, by_way_of},
};

fn parsed(token: &str) -> JoinToken {
    token.parse().expect("a join token")
}

fn text(token: &JoinToken) -> String {
    token.to_secret_string().to_string()
}

/// How often each token was used, in the order of their creation.
pub(crate) fn used(fleet: &Fleet) -> Vec<Value> {
    fleet
        .json(&["token", "list"])
        .as_array()
        .expect("a list")
        .iter()
        .map(|token| token["used"].clone())
        .collect()
}

pub(crate) fn roster(fleet: &Fleet) -> Vec<Value> {
    let clients = fleet.json(&["clients", "list"]);
    clients.as_array().expect("a list").clone()
}

pub(crate) fn state_dir(fleet: &Fleet, name: &str) -> String {
    let path = fleet.state_dir(name);
    path.to_str().expect("UTF-8").to_owned()
}

pub(crate) fn state_file(fleet: &Fleet, name: &str) -> std::path::PathBuf {
    fleet.state_dir(name).join("state")
}

#[test]
fn a_token_is_alone_on_stdout_and_admits_to_its_group() {
    // Given a new fleet, whose group `default` exists from the start,
    let fleet = Fleet::start();
    let groups = fleet.json(&["groups", "list"]);
    assert_eq!(groups.as_array().map(Vec::len), Some(1), "{groups}");
    assert_eq!(groups[0]["name"], "default");
    fleet.ok(&["groups", "create", "printers"]);

    // when an operator creates tokens,
    let said = fleet.convoy(&[
        "token",
        "create",
        "--group",
        "printers",
        "--uses",
        "2",
        "--expires",
        "1h",
    ]);
    // then each is alone on stdout, and what is said beside it does not give it away;
    assert_eq!(said.code, 0, "{said:?}");
    let token = said.stdout.strip_suffix('\n').expect("one line");
    assert!(
        token.starts_with("convoy1-") && !token.contains(char::is_whitespace),
        "{token:?}"
    );
    assert!(!said.stderr.contains(token) && said.stderr.contains("printers"));
    let default = fleet.ok(&["token", "create"]);
    let listed = fleet.json(&["token", "list"]);
    assert_eq!(listed[0]["group"], "printers");
    assert_eq!(listed[0]["uses"], 2);
    assert_eq!(listed[1]["group"], "default");
    assert_eq!(listed[1]["uses"], 1);
    assert_eq!(listed[0]["id"], parsed(token).id.to_string());
    let seconds = |field: &str| -> i64 {
        let time: jiff::Timestamp = listed[0][field]
            .as_str()
            .expect("a time")
            .parse()
            .expect("a time");
        time.as_second()
    };
    let lifetime = seconds("expires_at") - seconds("created_at");
    assert!((3598..=3600).contains(&lifetime), "{lifetime}");
    assert!(!listed.to_string().contains("secret"));

    // and hosts that join with one are in its group.
    fleet.join("laser", token);
    fleet.join("desk", &default);
    assert_eq!(fleet.client("laser")["group"], "printers");
    assert_eq!(fleet.client("desk")["group"], "default");
    assert_eq!(used(&fleet), [1, 1]);
    assert_eq!(fleet.agent_status("laser")["group"], "printers");

    // A token for a group that is not there is refused.
    let refused = fleet
        .convoy(&["token", "create", "--group", "nowhere"])
        .failed(1);
    assert!(refused.contains("[GROUP_UNKNOWN]"), "{refused}");
}

#[test]
fn each_useless_token_is_refused_in_words_of_its_own() {
    // Given tokens that were mistyped, made up, guessed, used up, too old and revoked,
    let mut fleet = Fleet::start();
    let good = fleet.ok(&["token", "create"]);
    let old = fleet.ok(&["token", "create", "--expires", "1s"]);
    let revoked = fleet.ok(&["token", "create"]);
    fleet.ok(&["token", "revoke", &parsed(&revoked).id.to_string()]);
    fleet.eventually("a token expires", |fleet| {
        fleet
            .ok(&["token", "list"])
            .contains("expired")
            .then_some(())
    });
    let mut mistyped = good.clone().into_bytes();
    mistyped[40] = if mistyped[40] == b'A' { b'B' } else { b'A' };
    let mistyped = String::from_utf8(mistyped).expect("ASCII");
    let mut unknown = parsed(&good);
    unknown.id = TokenId::from_bytes(&[7; 16]).expect("16 bytes");
    let mut guessed = parsed(&good);
    guessed.secret = TokenSecret::new([7; 32].into());

    // when hosts try to join with them,
    let mut words = BTreeSet::new();
    for (name, token, reason) in [
        ("empty", "-".to_owned(), "not a join token"),
        ("nonsense", "hello".to_owned(), "not a join token"),
        (
            "cut",
            good[..good.len() - 2].to_owned(),
            "incomplete or was mistyped",
        ),
        ("mistyped", mistyped, "incomplete or was mistyped"),
        ("unknown", text(&unknown), "[TOKEN_UNKNOWN]"),
        ("guessed", text(&guessed), "[TOKEN_UNKNOWN]"),
        ("old", old, "[TOKEN_EXPIRED]"),
        ("revoked", revoked, "[TOKEN_REVOKED]"),
    ] {
        let said = fleet.try_join(name, &token);
        // then each is told what is wrong and where to get another, nothing is on stdout, and no state is left;
        assert!(said.stdout.is_empty(), "{name}: {said:?}");
        let refused = said.failed(1);
        assert!(refused.contains(reason), "{name}: {refused}");
        assert!(refused.contains("convoy token create"), "{name}: {refused}");
        assert!(!state_file(&fleet, name).exists(), "{name}");
        words.insert(refused);
    }
    assert_eq!(words.len(), 5, "{words:?}");
    assert!(roster(&fleet).is_empty());

    // and the good one is good for one host, and no other.
    fleet.join("first", &good);
    let refused = fleet.try_join("second", &good).failed(1);
    assert!(refused.contains("[TOKEN_USED_UP]"), "{refused}");
    assert!(refused.contains("--uses"), "{refused}");
    assert_eq!(roster(&fleet).len(), 1);
    assert_eq!(used(&fleet), [1, 0, 0]);
}

#[test]
fn a_token_of_another_fleet_fails_on_the_root_before_anything_is_sent() {
    // Given two fleets, and a token of one that leads to the controller of the other,
    let (one, other) = (Fleet::start(), Fleet::start_with(&["-vv"]));
    let token = one.ok(&["token", "create"]);
    let mut misled = parsed(&token);
    misled.addresses = parsed(&other.ok(&["token", "create"])).addresses;

    // when a host joins with it,
    let refused = one.try_join("host", &text(&misled)).failed(1);
    // then it says that this is another fleet's controller, and has asked it for nothing.
    assert!(
        refused.contains("not proved that it is the fleet's controller"),
        "{refused}"
    );
    assert!(!state_file(&one, "host").exists());
    assert!(roster(&other).is_empty() && roster(&one).is_empty());
    let log = other.log("controller");
    assert!(
        !log.contains(&misled.id.to_string()) && !log.contains("join with"),
        "{log}"
    );

    // The token is as good as before, and where it belongs the same host gets in.
    one.join("host", &token);
}

#[test]
fn the_same_key_gets_the_same_identity_again() {
    // Given a client that has joined with a token for one, and lost all but its key,
    let mut fleet = Fleet::start();
    let token = fleet.ok(&["token", "create"]);
    let id = fleet.join("host", &token);
    for _ in 0..2 {
        fs::remove_file(state_file(&fleet, "host")).expect("removed");
        // when it joins again with the same token,
        // then it is the same client, and the token has still admitted one.
        assert_eq!(fleet.join("host", &token), id);
        assert_eq!(roster(&fleet).len(), 1);
        assert_eq!(used(&fleet), [1]);
    }
    // That is so after a restart of the controller too,
    fs::remove_file(state_file(&fleet, "host")).expect("removed");
    fleet.restart_controller();
    assert_eq!(fleet.join("host", &token), id);
    fleet.run("host");
    fleet.await_connected(&["host"]);
    // but another key is another host.
    let refused = fleet.try_join("copy", &token).failed(1);
    assert!(refused.contains("[TOKEN_USED_UP]"), "{refused}");
    // And who was removed for good does not come back under its old key.
    fleet.kill("host");
    fleet.ok(&["clients", "decommission", "host", "--yes"]);
    fs::remove_file(state_file(&fleet, "host")).expect("removed");
    let refused = fleet.try_join("host", &token).failed(1);
    assert!(refused.contains("[CLIENT_DECOMMISSIONED]"), "{refused}");
}

fn begin_join(fleet: &Fleet, name: &str, token: &str) -> Child {
    Command::new(PROGRAM)
        .args(["convoy-agent", "join", token, "--name", name, "--state-dir"])
        .arg(fleet.state_dir(name))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("an agent")
}

#[test]
fn a_join_killed_at_any_moment_leaves_nothing_or_a_complete_identity() {
    // Given how much a controller says to one that joins,
    let mut fleet = Fleet::start();
    let road = Road::to(fleet.agents_addr());
    road.lead(Rule::Part(fleet.agents_addr(), u64::MAX));
    let token = fleet.ok(&["token", "create"]);
    fleet.join("whole", &by_way_of(&[road.address], &token));
    let whole = fleet.eventually("the join's connection is over", |_| {
        road.parted().first().copied()
    });

    // when joins are killed ever later: as they begin, when they have heard so much and no more, and as soon as they have stored something,
    let (mut nothing, mut complete) = (0, 0);
    let (kills, parts): (u32, u32) = (24, 20);
    let names: Vec<String> = (0..kills).map(|kill| format!("killed-{kill}")).collect();
    for (kill, name) in (0..kills).zip(&names) {
        let token = fleet.ok(&["token", "create"]);
        let heard = (kill <= parts).then(|| whole * u64::from(kill) / u64::from(parts));
        let before = road.parted().len();
        road.lead(Rule::Part(fleet.agents_addr(), heard.unwrap_or(u64::MAX)));
        let mut join = begin_join(&fleet, name, &by_way_of(&[road.address], &token));
        match heard {
            Some(0) => {}
            Some(_) => fleet.eventually("it has heard its part", |_| {
                (road.parted().len() > before).then_some(())
            }),
            None => fleet.eventually("it has stored what it is", |fleet| {
                state_file(fleet, name).exists().then_some(())
            }),
        }
        join.kill().expect("killed");
        join.wait().expect("reaped");
        // then there is nothing, or a complete identity;
        let dir = state_dir(&fleet, name);
        let status = fleet.agent(&["status", "--state-dir", &dir]);
        let again = fleet.try_join(name, &token);
        if status.code == 0 {
            complete += 1;
            // and joining again changes nothing.
            assert_eq!(again.code, 0, "{name}: {again:?}");
            assert!(again.stderr.contains("already joined"), "{again:?}");
        } else {
            nothing += 1;
            let absent = status.failed(1);
            assert!(
                absent.contains("join a fleet first") || absent.contains("has not joined"),
                "{absent}"
            );
            // and joining again succeeds.
            assert_eq!(again.code, 0, "{name}: {again:?}");
        }
    }
    assert!(
        nothing > 0 && complete > 0,
        "{nothing} left nothing, {complete} were complete"
    );

    // Each is one client, of one use of its token, and can work as such.
    let mut expected: Vec<String> = names.clone();
    expected.insert(0, "whole".to_owned());
    let found: Vec<Value> = roster(&fleet)
        .iter()
        .map(|client| client["name"].clone())
        .collect();
    assert_eq!(found, expected);
    assert!(used(&fleet).iter().all(|used| *used == 1));
    let some: Vec<&str> = names.iter().step_by(4).map(String::as_str).collect();
    for name in &some {
        fleet.run(name);
    }
    fleet.await_connected(&some);
    fleet.assert_no_orphans(&some);
}

#[test]
fn of_ten_joins_at_once_a_token_for_five_admits_five() {
    let fleet = Fleet::start();
    let token = fleet.ok(&["token", "create", "--uses", "5"]);
    let names: Vec<String> = (0..10).map(|number| format!("host-{number}")).collect();
    let said: Vec<_> = thread::scope(|scope| {
        let joins: Vec<_> = names
            .iter()
            .map(|name| scope.spawn(|| fleet.try_join(name, &token)))
            .collect();
        joins
            .into_iter()
            .map(|join| join.join().expect("no panic"))
            .collect()
    });
    let (admitted, refused): (Vec<_>, Vec<_>) = said.into_iter().partition(|said| said.code == 0);
    assert_eq!((admitted.len(), refused.len()), (5, 5));
    for said in refused {
        let why = said.failed(1);
        assert!(why.contains("[TOKEN_USED_UP]"), "{why}");
    }
    let mut said: Vec<String> = admitted
        .iter()
        .map(|said| said.stdout.trim_end().to_owned())
        .collect();
    let mut ids: Vec<String> = roster(&fleet)
        .iter()
        .map(|client| client["id"].as_str().expect("an id").to_owned())
        .collect();
    said.sort();
    ids.sort();
    assert_eq!(said, ids);
    assert_eq!(used(&fleet), [5]);
}
