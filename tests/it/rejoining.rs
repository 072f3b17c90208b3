//! A client that can connect no more comes back as who it is: with a token, in its own state folder. If its controller is lost for good, as a client of another fleet.

use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
    thread,
    time::Instant,
};

use convoy_agent::{
    greet::greet,
    link::Link,
    refusal::Refusal,
    tls::{Tls, unlabelled},
    verifier::Policy,
};
use convoy_proto::v1;
use convoy_shared::{proof::join_message, token::JoinToken};
use serde_json::Value;

use crate::{
    fleet::{Fleet, PATIENCE, PROGRAM},
    joining::{state_dir, state_file, used},
    puppet::Puppet,
    terminal::Terminal,
};

/// A fleet of these and `lost`, who slept through a rotation, after which the only certificate that it trusts was retired.
pub(crate) fn with_one_cut_off(others: &[&str]) -> Fleet {
    let mut fleet = Fleet::with_agents(&[others, &["lost"]].concat());
    fleet.switch_off("lost");
    fleet.rotate(&[]);
    fleet.await_missing(&["lost"]);
    let waive = [
        "rotation", "waive", "lost", "--reason", "r", "--until", "1h",
    ];
    fleet.ok(&waive);
    fleet.await_phase("Completed");
    let refused = fleet.convoy(&["cert", "retire", "1"]).failed(1);
    assert!(refused.contains("[CUTS_OFF_CLIENTS]"), "{refused}");
    fleet.ok(&["cert", "retire", "1", "--force"]);
    fleet
}

/// All that an agent's disk holds that says who it is and what it trusts.
fn disk(fleet: &Fleet, name: &str) -> [Vec<u8>; 2] {
    ["identity.key", "state"].map(|file| fs::read(fleet.state_dir(name).join(file)).expect("there"))
}

fn token_id(token: &str) -> String {
    let token: JoinToken = token.parse().expect("a token");
    token.id.to_string()
}

#[test]
fn a_client_that_is_cut_off_comes_back_as_who_it_was_and_counts() {
    // Given a client whose only trusted certificate was retired,
    let mut fleet = with_one_cut_off(&["one", "two"]);
    let before = fleet.client("lost");
    let key = disk(&fleet, "lost")[0].clone();

    // then it is called cut off wherever one looks, with what to do about it, and nowhere is the bridge said to serve it.
    assert_eq!(before["state"], "cut off", "{before}");
    assert_eq!(before["at_risk"], false, "{before}");
    let shown = fleet.ok(&["clients", "show", "lost"]);
    assert!(shown.contains("convoy-agent join TOKEN"), "{shown}");
    assert!(!shown.contains("bridge"), "{shown}");
    let listed = fleet.ok(&["clients", "list"]);
    assert_eq!(listed.matches("cut off").count(), 1, "{listed}");
    let rotation = fleet.rotation();
    assert_eq!(rotation["cut_off_count"], 1, "{rotation}");
    assert_eq!(rotation["cut_off"][0]["name"], "lost", "{rotation}");
    let advice = rotation["advice"].as_str().expect("words");
    assert!(advice.contains("Cut off"), "{advice}");
    assert!(!advice.contains("still served"), "{advice}");
    let told = fleet.ok(&["rotation", "status"]);
    assert!(told.contains("Cut off: they trust nothing"), "{told}");
    // Its agent says so too, and cannot connect.
    fleet.run("lost");
    fleet.eventually("the agent says what to do", |fleet| {
        let log = fleet.log("lost");
        log.contains("run `convoy-agent join TOKEN` in its state folder")
            .then_some(())
    });

    // When somebody joins again while the agent runs, then he is told to stop it first.
    fleet.ok(&["groups", "create", "others"]);
    let token = fleet.ok(&["token", "create", "--group", "others"]);
    let refused = fleet.try_join("lost", &token).failed(1);
    assert!(refused.contains("stop it first"), "{refused}");
    fleet.kill("lost");
    let held = fleet.agent_status("lost");

    // When it joins again, with a token that is used up and of another group,
    fleet.join("newcomer", &token);
    let said = fleet.try_join("lost", &token);
    // then it is the same client, with the same key, in its own group, and no use of the token was used;
    assert_eq!(said.code, 0, "{said:?}");
    assert_eq!(said.stdout.trim_end(), before["id"].as_str().expect("id"));
    assert!(said.stderr.contains("the same client"), "{said:?}");
    assert_eq!(disk(&fleet, "lost")[0], key);
    let now = fleet.agent_status("lost");
    assert_eq!(now["group"], "default");
    assert!(now["trust_revision"].as_u64() > held["trust_revision"].as_u64());
    assert_eq!(now["incarnation"], held["incarnation"]);
    assert_eq!(used(&fleet), [3, 1]);
    // the controller knows when, and with which token, and what it was given is not taken for what it holds.
    let client = fleet.client("lost");
    assert_eq!(client["rejoined_with"], token_id(&token).as_str());
    assert!(client["rejoined_at"].as_str() > before["last_seen"].as_str());
    assert_eq!(client["state"], "cut off", "{client}");
    let log = fleet.log("controller");
    assert!(log.contains("client joined again in place"), "{log}");

    // And it comes back with its history, and counts in the next rotation.
    fleet.run("lost");
    fleet.await_connected(&["lost"]);
    let client = fleet.client("lost");
    assert_eq!(client["state"], "active", "{client}");
    assert_eq!(client["at_risk"], false, "{client}");
    assert_eq!(client["joined_at"], before["joined_at"]);
    let shown = fleet.ok(&["clients", "show", "lost"]);
    assert!(shown.contains("Joined again"), "{shown}");
    fleet.ok(&["clients", "decommission", "newcomer", "--yes"]);
    fleet.rotate(&[]);
    let status = fleet.await_phase("Completed");
    assert_eq!(
        (&status["clients"], &status["confirmed"]),
        (&3.into(), &3.into())
    );
    assert_eq!(status["cut_off_count"], 0, "{status}");
    fleet.assert_no_orphans(&["one", "two", "lost"]);
}

#[test]
fn joining_again_is_for_those_who_cannot_connect_and_nobody_else() {
    // Given a client that has proved itself to a rotation that waits for another,
    let mut fleet = Fleet::with_agents(&["one", "two"]);
    fleet.switch_off("two");
    fleet.rotate(&[]);
    fleet.await_missing(&["two"]);
    fleet.switch_off("one");
    let token = fleet.ok(&["token", "create"]);
    let (client, before) = (fleet.client("one"), disk(&fleet, "one"));
    assert_eq!(client["evidence"], "proved");

    // when it joins again although it can connect, as often as one likes, then nothing is changed, here or there;
    for _ in 0..3 {
        let said = fleet.try_join("one", &token);
        assert_eq!(said.code, 0, "{said:?}");
        assert_eq!(
            said.stdout.trim_end(),
            client["id"].as_str().expect("an id")
        );
        assert!(said.stderr.contains("nothing was changed"), "{said:?}");
        assert!(said.stderr.contains("another --state-dir"), "{said:?}");
    }
    assert_eq!(disk(&fleet, "one"), before);
    assert_eq!(fleet.client("one"), client);
    assert_eq!(used(&fleet), [2, 0]);

    // when the token is another fleet's, then it is refused with both fleets named, and nothing is changed either.
    let other = Fleet::start();
    let theirs = other.ok(&["token", "create"]);
    let refused = fleet.try_join("one", &theirs).failed(1);
    let own = fleet.agent_status("one")["fleet_id"].clone();
    assert!(refused.contains(own.as_str().expect("an id")), "{refused}");
    assert!(refused.contains("--replace-fleet"), "{refused}");
    assert_eq!(disk(&fleet, "one"), before);
    assert_eq!(used(&other), [0]);
}

#[test]
fn what_was_taken_from_a_client_is_not_given_back_by_joining_again() {
    // Given a client that is cut off,
    let fleet = with_one_cut_off(&["one"]);
    let before = disk(&fleet, "lost");

    // when the token was revoked, then it is refused;
    let token = fleet.ok(&["token", "create"]);
    fleet.ok(&["token", "revoke", &token_id(&token)]);
    let refused = fleet.try_join("lost", &token).failed(1);
    assert!(refused.contains("[TOKEN_REVOKED]"), "{refused}");

    // and when it was decommissioned, then it stays so, whatever the token.
    let token = fleet.ok(&["token", "create"]);
    fleet.ok(&["clients", "decommission", "lost", "--yes"]);
    let refused = fleet.try_join("lost", &token).failed(1);
    assert!(refused.contains("[CLIENT_DECOMMISSIONED]"), "{refused}");
    assert_eq!(fleet.client("lost")["state"], "decommissioned");
    assert_eq!(disk(&fleet, "lost"), before);
}

#[test]
fn who_says_that_he_is_a_client_must_show_its_certificate_and_its_key() {
    // Given two clients, and somebody with a token,
    let fleet = Fleet::start();
    let token = fleet.ok(&["token", "create", "--uses", "3"]);
    for name in ["one", "two"] {
        fleet.join(name, &token);
    }
    let (one, two) = (Puppet::of(&fleet, "one"), Puppet::of(&fleet, "two"));
    let parsed: JoinToken = token.parse().expect("a token");
    let asks = |tls: &Tls, claims: &Puppet, key: &Puppet| {
        let mut link = one
            .block_on(Link::open(&one.state.addresses[0], tls, &unlabelled()))
            .expect("a connection");
        let greeted = one.block_on(greet(&mut link, parsed.root_digest));
        let fleet_id = greeted.expect("a controller").root.root.fleet_id;
        let request = key.key.certificate_request("x").expect("a request");
        let message = join_message(fleet_id, parsed.id, &request, &link.exporter);
        let signature = parsed.secret.signing_key().expect("a key").sign(&message);
        one.block_on(link.client.join(v1::JoinRequest {
            token_id: parsed.id.as_bytes().to_vec().into(),
            certificate_request: request.into(),
            token_signature: signature.into(),
            name: "x".to_owned(),
            client_id: claims.state.client_id.as_bytes().to_vec().into(),
            ..v1::JoinRequest::default()
        }))
    };

    // when he names one of them without its certificate, with the other's, or with a request for the other's key, then he is refused.
    let stranger = Tls::stranger(Policy::AcceptAny).expect("TLS");
    for (tls, claims, key) in [
        (&stranger, &one, &one),
        (&two.gullible(), &one, &one),
        (&two.gullible(), &one, &two),
        (&one.gullible(), &one, &two),
    ] {
        let refused = Refusal::from(asks(tls, claims, key).expect_err("refused"));
        assert_eq!(refused.reason(), Some("CLIENT_NOT_RECORDED"), "{refused}");
    }
    assert_eq!(fleet.client("one")["rejoined_at"], Value::Null);
    // The client itself is not.
    asks(&one.gullible(), &one, &one).expect("joined again");
    assert!(fleet.client("one")["rejoined_at"].is_string());
}

#[test]
fn a_controller_that_is_behind_takes_nobody_back_in_revision() {
    // Given a client that has come along in a rotation,
    let mut fleet = Fleet::with_agents(&["one"]);
    let copy = fleet.path("copy");
    fleet.kill_controller();
    copy_folder(&fleet.data_dir(), &copy);
    fleet.start_controller();
    fleet.await_connected(&["one"]);
    fleet.rotate(&[]);
    fleet.await_phase("Completed");
    fleet.kill("one");
    let before = disk(&fleet, "one");

    // when an old copy of the controller is put back, and it joins there again,
    fleet.kill_controller();
    fs::remove_dir_all(fleet.data_dir()).expect("removed");
    fs::rename(&copy, fleet.data_dir()).expect("put back");
    fleet.start_controller();
    let token = fleet.ok(&["token", "create"]);
    let refused = fleet.try_join("one", &token).failed(1);
    // then it keeps what it has.
    assert!(refused.contains("older copy"), "{refused}");
    assert!(refused.contains("never goes back"), "{refused}");
    assert_eq!(disk(&fleet, "one"), before);
}

fn copy_folder(from: &Path, to: &Path) {
    let said = Command::new("cp").arg("-a").arg(from).arg(to).status();
    assert!(said.expect("cp").success());
}

/// A loop over many hosts, as an administrator writes it.
const EVERY_HOST: &str = r#"
for folder in "$@"; do
    "$EXEC" convoy-agent join - --state-dir "$folder" <"$TOKEN_FILE" || echo "failed: $folder"
done
"#;

#[test]
fn a_whole_laboratory_comes_back_by_one_token() {
    // Given hosts whose disks are put back as they were before a rotation whose old certificate was retired, and one whose disk is not,
    let names = ["a", "b", "c", "d", "e"];
    let (sound, reverted) = names.split_first().expect("names");
    let mut fleet = Fleet::with_agents(&names);
    let ids = names.map(|name| fleet.client(name)["id"].clone());
    let saved: Vec<_> = reverted
        .iter()
        .map(|name| fs::read(state_file(&fleet, name)).expect("a state"))
        .collect();
    fleet.rotate(&[]);
    fleet.await_phase("Completed");
    fleet.ok(&["cert", "retire", "1"]);
    for name in names {
        fleet.kill(name);
    }
    for (name, state) in reverted.iter().zip(&saved) {
        fs::write(state_file(&fleet, name), state).expect("put back");
        assert!(!fleet.accepts(name), "{name}");
    }

    // when each joins again in a loop, with one token for one host,
    let token = fleet.ok(&["token", "create"]);
    let file = fleet.path("token");
    fs::write(&file, &token).expect("written");
    let output = Command::new("sh")
        .args(["-c", EVERY_HOST, "sh"])
        .args(names.map(|name| state_dir(&fleet, name)))
        .env("EXEC", PROGRAM)
        .env("TOKEN_FILE", &file)
        .stdin(Stdio::null())
        .output()
        .expect("sh");
    // then each is who it was, the one that needed nothing is as it was, and all come back and count.
    let printed = String::from_utf8(output.stdout).expect("UTF-8");
    let expected = ids.map(|id| format!("{}\n", id.as_str().expect("an id")));
    assert_eq!(printed, expected.concat());
    assert_eq!(used(&fleet), [5, 0]);
    for name in names {
        fleet.run(name);
    }
    fleet.await_connected(&names);
    for name in reverted {
        assert!(fleet.client(name)["rejoined_at"].is_string(), "{name}");
    }
    assert_eq!(fleet.client(sound)["rejoined_at"], Value::Null);
    fleet.rotate(&[]);
    assert_eq!(fleet.await_phase("Completed")["confirmed"], 5);
    fleet.assert_no_orphans(&names);
}

/// Kills what a program does to a state ever later; the state is then the old one, to the last byte, or a complete new one. How often it was which.
fn killed_ever_later(
    kills: u32,
    mut begin: impl FnMut() -> Box<dyn FnMut()>,
    mut judge: impl FnMut() -> bool,
    whole: std::time::Duration,
) -> (u32, u32) {
    let (mut old, mut new) = (0, 0);
    let mut later = whole * 3 / 2;
    let mut moments: Vec<_> = (0..kills).map(|kill| later * kill / kills).collect();
    moments.reverse();
    while let Some(moment) = moments.pop() {
        let began = Instant::now();
        let mut end = begin();
        // This moment is the point of the test: not an event, but any.
        while began.elapsed() < moment {
            thread::yield_now();
        }
        end();
        if judge() {
            new += 1;
        } else {
            old += 1;
        }
        // On a busy machine it takes longer than it took at first.
        if moments.is_empty() && new == 0 && later < PATIENCE {
            later *= 2;
            moments.push(later);
        }
    }
    (old, new)
}

#[test]
fn joining_again_killed_at_any_moment_leaves_the_old_state_or_the_new_one() {
    // Given a client that is cut off, and how long it takes to join again,
    let mut fleet = with_one_cut_off(&["one"]);
    let token = fleet.ok(&["token", "create"]);
    let file = state_file(&fleet, "lost");
    let old = disk(&fleet, "lost");
    let began = Instant::now();
    fleet.join("lost", &token);
    let whole = began.elapsed();
    assert_ne!(disk(&fleet, "lost"), old);
    let dir = state_dir(&fleet, "lost");
    let accepts = || {
        let check = ["check", "--state-dir", &dir];
        fleet.agent(&check).code == 0
    };

    // when that is killed ever later,
    let (kept, taken) = killed_ever_later(
        16,
        || {
            fs::write(&file, &old[1]).expect("put back");
            let mut child = Command::new(PROGRAM)
                .args(["convoy-agent", "join", &token, "--state-dir", &dir])
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .expect("an agent");
            Box::new(move || {
                child.kill().expect("killed");
                child.wait().expect("reaped");
            })
        },
        // then the state is what it was, or whole and right;
        || {
            let now = disk(&fleet, "lost");
            assert_eq!(now[0], old[0], "the key");
            let is_new = now[1] != old[1];
            assert_eq!(accepts(), is_new);
            is_new
        },
        whole,
    );
    assert!(kept > 0 && taken > 0, "{kept} kept, {taken} taken");
    // and in the end it comes back.
    let id = fleet.client("lost")["id"].clone();
    assert_eq!(fleet.join("lost", &token), id.as_str().expect("an id"));
    fleet.run("lost");
    fleet.await_connected(&["lost"]);
}

/// `convoy-agent join --replace-fleet` at a terminal.
fn replacing(fleet: &Fleet, name: &str, token: &str) -> Terminal {
    let dir = state_dir(fleet, name);
    let join = ["convoy-agent", "join", token, "--state-dir", &dir];
    Terminal::of(&[&join[..], &["--name", "renamed", "--replace-fleet"]].concat())
}

#[test]
fn a_client_of_a_lost_controller_becomes_a_client_of_another_when_somebody_says_so() {
    // Given a client of one fleet, and another fleet,
    let mut lost = Fleet::with_agents(&["host"]);
    lost.kill("host");
    let mut other = Fleet::start();
    let token = other.ok(&["token", "create", "--uses", "40"]);
    let old = disk(&lost, "host");
    let own = lost.agent_status("host");

    // when its own controller still answers, or the token is its own fleet's, then it stays where it is;
    let mut terminal = replacing(&lost, "host", &token);
    assert_eq!(terminal.end(), 1);
    terminal.await_words("it is not lost");
    let own_token = lost.ok(&["token", "create"]);
    let mut terminal = replacing(&lost, "host", &own_token);
    assert_eq!(terminal.end(), 1);
    terminal.await_words("leave --replace-fleet out");

    // when that is lost, but nobody is there to say so, or says something else, then it stays where it is too;
    lost.kill_controller();
    let dir = state_dir(&lost, "host");
    let join = ["join", &token, "--state-dir", &dir];
    let refused = lost.agent(&join).failed(1);
    assert!(refused.contains("--replace-fleet"), "{refused}");
    let refused = lost.agent(&[&join[..], &["--replace-fleet"]].concat());
    let refused = refused.failed(1);
    assert!(refused.contains("asks at a terminal"), "{refused}");
    let mut terminal = replacing(&lost, "host", &token);
    terminal.await_words("Type the client's name (host) to go on:");
    let own_fleet = own["fleet_id"].as_str().expect("an id");
    assert!(
        terminal.screen().contains(own_fleet),
        "{}",
        terminal.screen()
    );
    terminal.types("yes\n");
    assert_eq!(terminal.end(), 1);
    terminal.await_words("that is not its name");
    assert_eq!(disk(&lost, "host"), old);
    assert_eq!(used(&other), [0]);

    // when its name is typed, then it is a new client there, and what it was is kept aside.
    let began = Instant::now();
    let mut terminal = replacing(&lost, "host", &token);
    terminal.types("host\n");
    assert_eq!(terminal.end(), 0, "{}", terminal.screen());
    let whole = began.elapsed();
    terminal.await_words("as a new client");
    let aside = lost.state_dir("host").join(format!("state.{own_fleet}"));
    assert_eq!(fs::read(&aside).expect("kept"), old[1]);
    let now = lost.agent_status("host");
    assert_ne!(now["fleet_id"], own["fleet_id"]);
    assert_ne!(now["client_id"], own["client_id"]);
    assert_eq!(other.client("renamed")["id"], now["client_id"]);

    // Killed at any moment it leaves the old state or a complete new one, and the same client again when it is repeated.
    let file = state_file(&lost, "host");
    let (kept, taken) = killed_ever_later(
        12,
        || {
            fs::write(&file, &old[1]).expect("put back");
            let mut terminal = replacing(&lost, "host", &token);
            terminal.types("host\n");
            Box::new(move || terminal.kill())
        },
        || {
            let status = lost.agent_status("host");
            let is_new = status["fleet_id"] != own["fleet_id"];
            assert!(is_new || disk(&lost, "host") == old);
            assert!(!is_new || status["client_id"] == now["client_id"]);
            is_new
        },
        whole,
    );
    assert!(kept > 0 && taken > 0, "{kept} kept, {taken} taken");
    assert_eq!(used(&other), [1]);

    // And it works there.
    if lost.agent_status("host")["fleet_id"] == own["fleet_id"] {
        let mut terminal = replacing(&lost, "host", &token);
        terminal.types("host\n");
        assert_eq!(terminal.end(), 0, "{}", terminal.screen());
    }
    lost.run("host");
    other.await_connected(&["renamed"]);
    other.rotate(&[]);
    assert_eq!(other.await_phase("Completed")["confirmed"], 1);
}
