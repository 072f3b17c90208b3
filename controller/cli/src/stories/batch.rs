//! `convoy export` and `convoy apply`: what is in the file comes to be so, in an order that the timers allow.

use std::collections::BTreeMap;

use convoy_shared::settings::ScepPatch;

use super::fleet::{Fleet, PC_1, State, changes, convoy};

fn patch(text: &str) -> ScepPatch {
    toml::from_str(text).unwrap()
}

/// A group and a client of it with settings, both with their timers on.
fn busy() -> State {
    State {
        groups: BTreeMap::from([
            (
                "default".to_owned(),
                patch("server = \"built-in\"\ntimer = true\npolls = 3"),
            ),
            ("berlin.west".to_owned(), ScepPatch::default()),
        ]),
        clients: BTreeMap::from([(PC_1.to_owned(), patch("key_name = \"own\"\ntimer = true"))]),
        ..State::default()
    }
}

#[test]
fn what_was_exported_changes_nothing() {
    let fleet = Fleet::start(busy());
    let text = convoy(&fleet, "export").out;
    assert!(
        text.starts_with("# All settings of a Convoy fleet."),
        "{text}"
    );
    assert!(text.contains("# Secrets are never in this file"), "{text}");
    assert!(
        text.ends_with(
            "
[groups.\"berlin.west\"]

[groups.default.scep]
server = \"built-in\"
timer = true
polls = 3

[clients.8c5a3f52-0000-4000-8000-000000000001]
name = \"pc-1\"

[clients.8c5a3f52-0000-4000-8000-000000000001.scep]
timer = true
key_name = \"own\"
"
        ),
        "{text}"
    );
    let file = fleet.data_dir().join("all.toml");
    let said = convoy(&fleet, &format!("export {}", file.display()));
    assert_eq!((said.out.as_str(), said.code), ("", 0), "{}", said.err);
    for line in ["apply -f", "apply --dry-run -f"] {
        let said = convoy(&fleet, &format!("{line} {}", file.display()));
        assert_eq!(
            (said.out.as_str(), said.err.as_str(), said.code),
            ("", "Everything is as the file says\n", 0)
        );
    }
    assert!(changes(&fleet).is_empty());
    assert_eq!(convoy(&fleet, "export -o toml").out, text);
}

const WANTED: &str = "
[scep_server]
approval = \"manual\"
[scep_server.profiles.short]
lifetime = \"24h\"
extended_key_usages = []
subject_alt_name_kinds = [\"dns\"]
subject_alt_names = []
[groups.default.scep]
server = \"http://ca.example/scep\"
timer = true
[groups.new]
[clients.8c5a3f52-0000-4000-8000-000000000001.scep]
timer = true
organization = \"Own\"
";

#[test]
fn the_whole_difference_is_shown_and_applied_around_the_timers() {
    let fleet = Fleet::start(busy());
    let file = fleet.file("all.toml", WANTED);
    let line = format!("apply -f {}", file.display());
    let said = convoy(&fleet, &format!("{line} --dry-run"));
    let differences = "\
+ [groups.new]
~ [scep_server] approval = \"automatic\" -> \"manual\"
+ [scep_server.profiles.short] lifetime = \"24h\"
+ [scep_server.profiles.short] extended_key_usages = []
+ [scep_server.profiles.short] subject_alt_name_kinds = [\"dns\"]
+ [scep_server.profiles.short] subject_alt_names = []
~ [groups.default.scep] server = \"built-in\" -> \"http://ca.example/scep\"
- [groups.default.scep] polls = 3
- [clients.8c5a3f52-0000-4000-8000-000000000001.scep] (pc-1) key_name = \"own\"
+ [clients.8c5a3f52-0000-4000-8000-000000000001.scep] (pc-1) organization = \"Own\"
  [scep_server.profiles.default] left alone: it is not in the file
  [groups.\"berlin.west\"] left alone: it is not in the file
";
    assert_eq!(
        (said.out.as_str(), said.code),
        (differences, 5),
        "{}",
        said.err
    );
    assert_eq!(
        said.err,
        "10 would change; nothing was changed. Without --dry-run it is\n"
    );
    assert!(changes(&fleet).is_empty());

    let said = convoy(&fleet, &line);
    assert_eq!(
        (said.out.as_str(), said.code),
        (differences, 0),
        "{}",
        said.err
    );
    assert_eq!(
        changes(&fleet),
        [
            "group new",
            "profile short 86400 s [] []",
            "approval 2",
            "default: timer timer Some(false)",
            "pc-1: timer timer Some(false)",
            "default: reset server timer timer Some(false)",
            "pc-1: reset timer organization timer Some(false)",
            "default: timer timer Some(true)",
            "pc-1: timer timer Some(true)",
        ]
    );
    let ids = fleet.state.lock().unwrap().request_ids.clone();
    let distinct: std::collections::BTreeSet<&String> = ids.iter().collect();
    assert_eq!(distinct.len(), ids.len(), "{ids:?}");
    assert_eq!(convoy(&fleet, &format!("{line} --dry-run")).code, 0);
    let json = convoy(&fleet, &format!("{line} -o json")).out;
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["differences"][0]["kind"], "left_alone");
}

#[test]
fn a_client_that_is_not_in_the_file_is_reset_and_its_timer_gives_way() {
    let fleet = Fleet::start(busy());
    let file = fleet.file(
        "all.toml",
        "[groups.default.scep]\nserver = \"built-in\"\ntimer = true\npolls = 4\n",
    );
    let said = convoy(&fleet, &format!("apply -f {}", file.display()));
    assert_eq!(said.code, 0, "{}", said.err);
    let state = fleet.state.lock().unwrap();
    assert_eq!(state.clients[PC_1], ScepPatch::default());
    assert_eq!(state.groups["default"].polls, Some(4));
}

#[test]
fn a_client_that_stays_as_it_is_lets_its_group_change() {
    let fleet = Fleet::start(busy());
    let text = convoy(&fleet, "export")
        .out
        .replace("polls = 3", "polls = 4");
    let file = fleet.file("all.toml", &text);
    let said = convoy(&fleet, &format!("apply -f {}", file.display()));
    assert_eq!(said.code, 0, "{}", said.err);
    assert_eq!(convoy(&fleet, "export").out, text);
}

#[test]
fn own_settings_that_would_not_go_together_on_the_way_are_cleared_first() {
    let mut state = busy();
    state
        .groups
        .insert("default".to_owned(), patch("server = \"http://a/\""));
    let own = patch("server = \"built-in\"\nchallenge = \"built-in\"");
    state.clients.insert(PC_1.to_owned(), own);
    let fleet = Fleet::start(state);
    let file = fleet.file(
        "all.toml",
        &format!("[groups.default.scep]\nserver = \"built-in\"\nchallenge = \"built-in\"\n[clients.{PC_1}.scep]\nserver = \"http://b/\"\nchallenge = \"none\""),
    );
    let said = convoy(&fleet, &format!("apply -f {}", file.display()));
    assert_eq!(said.code, 0, "{}", said.err);
    // And back: the group's challenge does not go with the client's server.
    let file = fleet.file(
        "back.toml",
        &format!("[groups.default.scep]\nserver = \"http://a/\"\n[clients.{PC_1}.scep]\nserver = \"built-in\"\nchallenge = \"built-in\""),
    );
    let said = convoy(&fleet, &format!("apply -f {}", file.display()));
    assert_eq!(said.code, 0, "{}", said.err);
}

#[test]
fn the_first_refusal_ends_it_and_says_what_was_applied() {
    let fleet = Fleet::start(State {
        patience: Some(2),
        ..busy()
    });
    let file = fleet.file("all.toml", WANTED);
    let said = convoy(&fleet, &format!("apply -f {}", file.display()));
    assert_eq!(said.code, 1);
    assert!(
        said.err.starts_with("Applied:\n  create the group new\n  set the profile short\nNot applied:\n  set the approval to manual\n  turn the timer of group default off\n"),
        "{}",
        said.err
    );
    assert!(
        said.err.ends_with("error: that is enough\n"),
        "{}",
        said.err
    );
}

#[test]
fn everything_that_is_wrong_with_a_file_is_said_at_once() {
    let fleet = Fleet::start(busy());
    let file = fleet.file(
        "all.toml",
        "
[scep_serve]
[scep_server]
approval = \"perhaps\"
[scep_server.profiles.x]
lifetime = 3
[groups.default]
sceep = {}
[groups.default.scep]
key_lenght = \"2048\"
polls = \"many\"
[clients.pc-1]
",
    );
    let said = convoy(&fleet, &format!("apply -f {}", file.display()));
    assert_eq!((said.out.as_str(), said.code), ("", 1));
    for part in [
        "  scep_serve: there is no such key; scep_server may be meant",
        "  [scep_server] approval: \"perhaps\" is not \"automatic\" or \"manual\"",
        "  [scep_server.profiles.x] extended_key_usages: is missing",
        "  [groups.default] sceep: there is no such key; scep may be meant",
        "  [groups.default.scep] key_lenght: there is no such key; key_length may be meant",
        "  [groups.default.scep] polls: ",
        "  [clients] pc-1: this is no UUID",
    ] {
        assert!(said.err.contains(part), "{part}: {}", said.err);
    }
    let file = fleet.file(
        "all.toml",
        "[groups.default.scep]\ntimer = true\n[clients.00000000-0000-4000-8000-000000000009]\n",
    );
    let said = convoy(&fleet, &format!("apply -f {}", file.display()));
    assert!(
        said.err.contains("[groups.default.scep] server: "),
        "{}",
        said.err
    );
    assert!(said.err.contains("no client of the roster"), "{}", said.err);
    let file = fleet.file("all.toml", "[groups");
    let said = convoy(&fleet, &format!("apply -f {}", file.display()));
    assert!(said.err.contains("line 1"), "{}", said.err);
    assert!(changes(&fleet).is_empty());
}
