//! All settings in one file: of the fleet by `convoy export` and `apply`, of a device by `convoy-agent settings`.

use std::fs;

use crate::{fleet::Fleet, scep_peer::Peer};

/// What `apply --dry-run` ends with if something would change.
const DIFFERS: i32 = 5;

#[test]
fn a_fleets_settings_go_out_and_in() {
    // Given a fleet with settings of every kind, timers on, and secrets,
    let peer = Peer::start();
    let mut fleet = Fleet::serving_scep(&[]);
    fleet.join_and_run(&["one"]);
    fleet.ok(&["groups", "create", "lobby"]);
    let secret = "not-in-any-export";
    let file = fleet.secret_file("challenge", secret);
    let stored = ["--challenge", "stored", "--challenge-file", &file];
    fleet.scep_at(&peer.url("desk"), &stored);
    fleet.scep_set(&["--client", "one", "--key-name", "mine"]);
    fleet.scep_set(&[
        "--group",
        "lobby",
        "--server",
        "built-in",
        "--challenge",
        "built-in",
    ]);
    fleet.ok(&["scep", "profile", "set", "short", "--lifetime", "2d"]);
    fleet.ok(&["scep", "approval", "manual"]);
    let far = "2099-01-01T00:00:00Z";
    fleet.ok(&["scep", "timer", "on", "--start", far]);
    let shown = |fleet: &Fleet| {
        let settings = |whose: &[&str]| {
            let shown = fleet.json(&[&["scep", "settings", "show"], whose].concat());
            shown["effective"].clone()
        };
        [
            settings(&[]),
            settings(&["--group", "lobby"]),
            settings(&["--client", "one"]),
        ]
    };
    let before = shown(&fleet);

    // when they are exported, then no secret is among them, and there is nothing to apply;
    let path = fleet.path("fleet.toml");
    let path = path.to_str().expect("UTF-8").to_owned();
    fleet.ok(&["export", &path]);
    let text = fs::read_to_string(&path).expect("a file");
    assert!(!text.contains(secret), "{text}");
    let dry = ["apply", "-f", &path, "--dry-run"];
    let said = fleet.convoy(&dry);
    assert_eq!(said.code, 0, "{said:?}");

    // when settings change, then it shows what differs, and changes nothing;
    fleet.ok(&["scep", "timer", "off"]);
    fleet.scep_set(&["--polls", "7"]);
    fleet.scep_set(&["--client", "one", "--key-name", "another"]);
    fleet.ok(&["scep", "profile", "set", "short", "--lifetime", "3d"]);
    fleet.ok(&["scep", "approval", "automatic"]);
    fleet.ok(&["scep", "timer", "on"]);
    let changed = shown(&fleet);
    assert_ne!(changed, before);
    let said = fleet.convoy(&dry);
    assert_eq!(said.code, DIFFERS, "{said:?}");
    for part in ["polls = 7 -> 2", "another", "manual"] {
        assert!(said.stdout.contains(part), "{part}: {said:?}");
    }
    assert_eq!(shown(&fleet), changed);

    // and when it is applied, then all is as it was, the timer is on, and the device is told.
    fleet.ok(&["apply", "-f", &path]);
    assert_eq!(shown(&fleet), before);
    let said = fleet.convoy(&dry);
    assert_eq!(said.code, 0, "{said:?}");
    fleet.await_settings("one");
    let own = fleet.at_device("one", &["settings", "export"]).stdout;
    assert!(
        own.contains("key_name = \"mine\"") && own.contains("timer = true"),
        "{own}"
    );
    let again = fleet.ok(&["export"]);
    assert_eq!(again, text.trim_end());
    fs::remove_file(&file).expect("removed");

    // And a file that is not right changes nothing.
    fs::write(&path, text.replace("polls = 2", "polls = 2000")).expect("written");
    let said = fleet.convoy(&["apply", "-f", &path]).failed(1);
    assert!(said.contains("polls"), "{said}");
    assert_eq!(shown(&fleet), before);
}

#[test]
fn a_devices_settings_go_out_and_in_as_a_whole() {
    // Given a device with settings of the controller, and a configuration of its own,
    let peer = Peer::start();
    let mut fleet = Fleet::with_agents(&["one"]);
    fleet.scep_at(&peer.url("desk"), &["--key-name", "lobby"]);
    fleet.await_settings("one");
    let own = "# of the workshop\n[device]\nserial = \"A1\"\n";
    fleet.configure("one", own);
    let state = fleet.state_dir("one");
    let state = state.to_str().expect("UTF-8");
    let file = fleet.path("device.toml");
    let file = file.to_str().expect("UTF-8").to_owned();
    let settings = |fleet: &Fleet, args: &[&str]| {
        fleet.agent(&[&["settings"], args, &["--state-dir", state]].concat())
    };
    assert_eq!(settings(&fleet, &["export", &file]).code, 0);
    let text = fs::read_to_string(&file).expect("a file");
    assert!(
        text.starts_with(own) && text.contains("key_name = \"lobby\""),
        "{text}"
    );
    let configured = |fleet: &Fleet| {
        fs::read_to_string(fleet.state_dir("one").join("agent.toml")).expect("a configuration")
    };

    // when its configuration changes, then the file says so, and puts it back;
    fleet.configure("one", "[device]\nserial = \"B2\"\n");
    let said = settings(&fleet, &["import", &file, "--dry-run"]);
    assert_eq!(said.code, 0, "{said:?}");
    assert!(said.stderr.contains("agent.toml: changes"), "{said:?}");
    assert!(configured(&fleet).contains("B2"));
    let said = settings(&fleet, &["import", &file]);
    assert_eq!(said.code, 0, "{said:?}");
    assert_eq!(configured(&fleet), own);
    assert_eq!(settings(&fleet, &["export"]).stdout, text);

    // and what is the controller's, or not right, changes nothing at all.
    for (from, to, words) in [
        (
            "key_name = \"lobby\"",
            "key_name = \"cellar\"",
            "the controller's to set",
        ),
        (
            "serial = \"A1\"",
            "serial = \"C3\"\nseriel = \"D4\"",
            "seriel",
        ),
        ("polls = 2", "polls = 2000", "polls"),
    ] {
        let other = text.replace(from, to).replace("A1", "C3");
        assert_ne!(other, text);
        fs::write(&file, other).expect("written");
        let said = settings(&fleet, &["import", &file]);
        assert_ne!(said.code, 0, "{said:?}");
        assert!(said.stderr.contains(words), "{said:?}");
        assert_eq!(configured(&fleet), own, "{to}");
    }
}
