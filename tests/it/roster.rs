//! Groups and clients as operators name them, and that no secret is ever logged.

use std::{collections::BTreeSet, fs, path::Path};

use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use serde_json::Value;

use crate::fleet::Fleet;

fn names(list: &Value) -> Vec<&str> {
    let list = list.as_array().expect("a list").iter();
    list.map(|one| one["name"].as_str().expect("a name"))
        .collect()
}

#[test]
fn groups_are_created_once_and_under_good_names() {
    let fleet = Fleet::start();
    let said = fleet.convoy(&["groups", "create", "lab.1_a-b"]);
    assert!(said.code == 0 && said.stdout.is_empty(), "{said:?}");
    let refused = fleet.convoy(&["groups", "create", "lab.1_a-b"]).failed(1);
    assert!(refused.contains("[GROUP_EXISTS]"), "{refused}");
    let refused = fleet.convoy(&["groups", "create", "default"]).failed(1);
    assert!(refused.contains("[GROUP_EXISTS]"), "{refused}");
    let long = "a".repeat(64);
    for bad in ["Lab", "a b", ".a", "_a", "ä", "a/b", "a\nb", &long] {
        let refused = fleet.convoy(&["groups", "create", bad]).failed(1);
        assert!(
            refused.contains("[INVALID_ARGUMENT]") && refused.contains("name"),
            "{bad}: {refused}"
        );
    }
    fleet.convoy(&["groups", "create", ""]).failed(2);
    fleet.ok(&["groups", "create", &long[1..]]);
    let listed = fleet.json(&["groups", "list"]);
    assert_eq!(names(&listed), [&long[1..], "default", "lab.1_a-b"]);
    let spoken = fleet.ok(&["groups", "list"]);
    assert_eq!(spoken.lines().count(), 4, "{spoken}");
}

#[test]
fn a_client_is_found_by_id_by_a_beginning_of_it_and_by_name() {
    // Given clients of two groups, two of them of the same name,
    let fleet = Fleet::start();
    fleet.ok(&["groups", "create", "lab"]);
    let default = fleet.ok(&["token", "create", "--uses", "3"]);
    let lab = fleet.ok(&["token", "create", "--group", "lab"]);
    let one = fleet.join("one", &default);
    let two = fleet.join("two", &lab);
    let twin = |folder: &str| {
        let state = fleet.state_dir(folder);
        let state = state.to_str().expect("UTF-8");
        let said = fleet.agent(&["join", &default, "--state-dir", state, "--name", "twin"]);
        assert_eq!(said.code, 0, "{said:?}");
        said.stdout.trim_end().to_owned()
    };
    let twins = [twin("three"), twin("four")];

    // then lists hold who is in the group,
    assert_eq!(
        names(&fleet.json(&["clients", "list"])),
        ["one", "two", "twin", "twin"]
    );
    assert_eq!(
        names(&fleet.json(&["clients", "list", "--group", "lab"])),
        ["two"]
    );
    let refused = fleet
        .convoy(&["clients", "list", "--group", "nowhere"])
        .failed(1);
    assert!(refused.contains("[GROUP_UNKNOWN]"), "{refused}");
    let spoken = fleet.ok(&["clients", "list"]);
    assert_eq!(spoken.lines().count(), 5, "{spoken}");

    // and each is found by all its names.
    for name in [&one[..], &one[..8], &one[..20], "one"] {
        assert_eq!(fleet.client(name)["id"], one.as_str(), "{name}");
    }
    assert_eq!(fleet.client("two")["id"], two.as_str());
    let spoken = fleet.ok(&["clients", "show", "two"]);
    assert!(spoken.contains(&two) && spoken.contains("lab"), "{spoken}");
    for nobody in [&one[..7], "on", "ONE"] {
        let refused = fleet.convoy(&["clients", "show", nobody]).failed(1);
        assert!(refused.contains("[CLIENT_UNKNOWN]"), "{nobody}: {refused}");
    }
    // A name of two is nobody's, and says whose it could be.
    for args in [
        &["clients", "show", "twin"][..],
        &["clients", "decommission", "twin", "--yes"],
    ] {
        let refused = fleet.convoy(args).failed(1);
        assert!(refused.contains("[CLIENT_AMBIGUOUS]"), "{refused}");
        for id in &twins {
            assert!(refused.contains(id.as_str()), "{refused}");
        }
    }
    for id in &twins {
        assert_eq!(fleet.client(id)["id"], id.as_str());
    }
    // Removing asks first, and needs --yes where nobody can be asked.
    fleet
        .convoy(&["clients", "decommission", &twins[0]])
        .failed(2);
    fleet.ok(&["clients", "decommission", &twins[0], "--yes"]);
    assert_eq!(
        names(&fleet.json(&["clients", "list"])),
        ["one", "two", "twin"]
    );
    assert_eq!(names(&fleet.json(&["clients", "list", "--all"])).len(), 4);
    assert_eq!(fleet.client(&twins[0])["state"], "decommissioned");
    fleet.ok(&["clients", "decommission", &twins[0], "--yes"]);
    // The other twin alone is in the roster under that name now.
    let said = fleet.convoy(&["clients", "show", "twin", "-o", "json"]);
    let shown: Value = serde_json::from_str(&said.stdout).unwrap_or_default();
    assert_eq!(
        (said.code, &shown["id"]),
        (0, &twins[1].as_str().into()),
        "{said:?}"
    );
}

#[test]
fn who_was_decommissioned_is_refused() {
    let mut fleet = Fleet::with_agents(&["stays", "goes"]);
    fleet.ok(&["clients", "decommission", "goes", "--yes"]);
    fleet.eventually("it is refused", |fleet| {
        fleet
            .log("goes")
            .contains("[CLIENT_DECOMMISSIONED]")
            .then_some(())
    });
    assert_eq!(fleet.client("goes")["connected"], false);
    // No rotation waits for it.
    fleet.rotate(&[]);
    let done = fleet.await_phase("Completed");
    assert_eq!(done["clients"], 1);
    fleet.assert_no_orphans(&["stays"]);
}

/// The ways in which a careless program would print secret bytes.
fn spellings(secret: &[u8]) -> Vec<String> {
    let list = format!("{secret:?}");
    vec![
        hex::encode(secret),
        hex::encode_upper(secret),
        STANDARD.encode(secret),
        URL_SAFE_NO_PAD.encode(secret),
        list[1..list.len() - 1].to_owned(),
    ]
}

/// What no log may hold of a key file.
fn secrets_in(path: &Path) -> Vec<String> {
    let content = fs::read(path).expect("a key");
    let Ok(text) = std::str::from_utf8(&content) else {
        return spellings(&content);
    };
    let lines: Vec<&str> = text
        .lines()
        .filter(|line| !line.starts_with("-----"))
        .collect();
    let der = STANDARD.decode(lines.concat()).expect("base64");
    let mut secrets = spellings(&der);
    // The first line of a key is the same for all of its kind.
    secrets.extend(lines.iter().skip(1).map(|line| (*line).to_owned()));
    secrets
}

#[test]
fn no_log_holds_a_secret() {
    // Given a fleet whose programs say everything they can,
    let mut fleet = Fleet::unstarted();
    fleet.set_filter("trace");
    fleet.start_controller();
    let token = fleet.ok(&["token", "create", "--uses", "2"]);
    let mut said = String::new();
    for name in ["one", "two"] {
        let state = fleet.state_dir(name);
        let state = state.to_str().expect("UTF-8");
        let joined = fleet.agent(&["-vv", "join", &token, "--state-dir", state, "--name", name]);
        assert_eq!(joined.code, 0, "{joined:?}");
        said += &joined.stderr;
        fleet.run(name);
    }
    fleet.await_connected(&["one", "two"]);

    // when it goes through its life: bad imports, a rotation, a restart,
    let (certificate, key) = fleet.new_certificate("mine", &["127.0.0.1", "localhost"]);
    let (other, _) = fleet.new_certificate("other", &["127.0.0.1", "localhost"]);
    let import = |certificate: &Path| {
        let path = |path: &Path| path.to_str().expect("UTF-8").to_owned();
        fleet.convoy(&[
            "cert",
            "import",
            "--cert",
            &path(certificate),
            "--key",
            &path(&key),
        ])
    };
    said += &import(&other).failed(1);
    let imported = import(&certificate);
    said += &imported.stderr;
    fleet.ok(&[
        "rotation",
        "start",
        "--to",
        imported.stdout.trim_end(),
        "--strategy",
        "toggle",
    ]);
    fleet.await_phase("Completed");
    fleet.restart_controller();
    fleet.await_connected(&["one", "two"]);

    // then no log holds a secret.
    let mut secrets: BTreeSet<String> = ["PRIVATE KEY".to_owned(), token.clone()].into();
    let encoded = token.strip_prefix("convoy1-").expect("a token");
    let bytes = URL_SAFE_NO_PAD.decode(encoded).expect("base64url");
    // After the checksum, the root's digest and the id.
    secrets.extend(spellings(&bytes[4 + 32 + 16..][..32]));
    secrets.extend(secrets_in(&key));
    let mut files = 0;
    for folder in ["keys", "keys/server"] {
        for entry in fs::read_dir(fleet.data_dir().join(folder)).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_file() {
                files += 1;
                secrets.extend(secrets_in(&path));
            }
        }
    }
    assert_eq!(files, 4 + 2);
    for name in ["one", "two"] {
        secrets.extend(secrets_in(&fleet.state_dir(name).join("identity.key")));
    }
    assert!(
        secrets.iter().all(|secret| secret.len() > 10),
        "{secrets:?}"
    );
    let logs = [
        ("controller", fleet.log("controller")),
        ("one", fleet.log("one")),
        ("two", fleet.log("two")),
        ("commands", said),
    ];
    for (name, log) in logs {
        assert!(
            log.contains("TRACE") && log.contains("DEBUG"),
            "{name} says little"
        );
        for secret in &secrets {
            assert!(!log.contains(secret), "the log of {name} holds {secret}");
        }
    }
}
