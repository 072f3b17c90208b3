//! A client's identity over its whole life, and the folder that holds it.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    time::{Duration, Instant},
};

use serde_json::Value;

use crate::{
    fleet::Fleet,
    joining::{roster, state_dir, state_file, used},
};

fn expiry(fleet: &Fleet, name: &str) -> jiff::Timestamp {
    let status = fleet.agent_status(name);
    let time = status["identity_expires_at"].as_str().expect("a time");
    time.parse().expect("a time")
}

#[test]
fn an_identity_is_renewed_in_time_and_after_its_time() {
    // Given identities that live for four seconds,
    let mut fleet = Fleet::start_with(&["--identity-validity", "4s"]);
    let token = fleet.ok(&["token", "create"]);
    let id = fleet.join("host", &token);
    let first = expiry(&fleet, "host");
    let began = Instant::now();
    fleet.run("host");
    fleet.await_connected(&["host"]);

    // when time goes by,
    // then the identity's end moves on again and again, and the client stays connected and the same.
    let mut last = first;
    for _ in 0..3 {
        last = fleet.eventually("the identity is renewed", |fleet| {
            let now = expiry(fleet, "host");
            (now > last).then_some(now)
        });
    }
    // Not at every look, but when half of its life is over.
    assert!(
        began.elapsed() > Duration::from_secs(3),
        "{:?}",
        began.elapsed()
    );
    let client = fleet.client("host");
    assert_eq!(client["id"], id.as_str());
    assert_eq!(client["connected"], true);
    assert_eq!(fleet.agent_status("host")["client_id"], id.as_str());

    // When the agent is stopped until its identity has expired (a token that lives longer than that tells),
    fleet.switch_off("host");
    let last = expiry(&fleet, "host");
    fleet.ok(&["token", "create", "--expires", "6s"]);
    fleet.eventually("the identity has expired", |fleet| {
        fleet
            .ok(&["token", "list"])
            .contains("expired")
            .then_some(())
    });
    assert_eq!(expiry(&fleet, "host"), last);
    // then it comes back as the same client all the same, and renews.
    fleet.run("host");
    fleet.await_connected(&["host"]);
    fleet.eventually("the identity is renewed", |fleet| {
        (expiry(fleet, "host") > last).then_some(())
    });
    fleet.await_connected(&["host"]);
    assert_eq!(fleet.client("host")["id"], id.as_str());
    assert_eq!(roster(&fleet).len(), 1);
    assert!(fleet.accepts("host"));
}

#[test]
fn a_state_folder_belongs_to_one_owner_one_process_and_one_client() {
    // Given a client whose agent runs,
    let mut fleet = Fleet::with_agents(&["host"]);
    let id = fleet.agent_status("host")["client_id"].clone();
    let dir = state_dir(&fleet, "host");
    let token = fleet.ok(&["token", "create"]);

    // when a second agent is started on its folder, or the host joins again, then that is refused;
    let refused = fleet.agent(&["run", "--state-dir", &dir]).failed(1);
    assert!(refused.contains("another convoy-agent holds"), "{refused}");
    fleet.try_join("host", &token).failed(1);
    fleet.kill("host");
    // where it runs no more, and can connect, nothing is changed;
    let again = fleet.try_join("host", &token);
    assert_eq!(again.code, 0, "{again:?}");
    assert!(again.stderr.contains("already joined as"), "{again:?}");
    assert_eq!(again.stdout.trim_end(), id.as_str().expect("an id"));
    assert_eq!(fleet.agent_status("host")["client_id"], id);
    assert_eq!(used(&fleet), [1, 0]);

    // when others may read the folder, or the key, then nobody goes in.
    for (path, open, private) in [
        (fleet.state_dir("host"), 0o755, 0o700),
        (fleet.state_dir("host"), 0o750, 0o700),
        (fleet.state_dir("host").join("identity.key"), 0o644, 0o600),
    ] {
        let chmod =
            |mode| fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("chmod");
        chmod(open);
        for command in ["run", "check"] {
            let refused = fleet.agent(&[command, "--state-dir", &dir]).failed(1);
            assert!(
                refused.contains(&format!("mode {open:04o}")) && refused.contains("chmod"),
                "{command}: {refused}"
            );
        }
        chmod(private);
    }
    let open = fleet.state_dir("open");
    fs::create_dir(&open).expect("made");
    fs::set_permissions(&open, fs::Permissions::from_mode(0o755)).expect("chmod");
    let refused = fleet.try_join("open", &token).failed(1);
    assert!(refused.contains("mode 0755"), "{refused}");
    // What an agent makes itself is private.
    let mode = |name: &str| {
        let metadata = fs::metadata(fleet.state_dir("host").join(name)).expect("there");
        metadata.permissions().mode() & 0o777
    };
    assert_eq!(mode("."), 0o700);
    for file in ["identity.key", "state"] {
        assert_eq!(mode(file), 0o600, "{file}");
    }
    fleet.run("host");
    fleet.await_connected(&["host"]);
}

#[test]
fn a_damaged_state_is_reported_and_never_taken_for_empty() {
    let fleet = Fleet::start();
    let token = fleet.ok(&["token", "create", "--uses", "9"]);
    fleet.join("host", &token);
    let dir = state_dir(&fleet, "host");
    let file = state_file(&fleet, "host");
    let good = fs::read(&file).expect("a state");
    let flipped = |at: usize| {
        let mut bytes = good.clone();
        bytes[at] ^= 1;
        bytes
    };
    let damages = [
        vec![],
        b"{}".to_vec(),
        good[..good.len() / 2].to_vec(),
        [&good[..], b"x"].concat(),
        flipped(0),
        flipped(good.len() / 3),
        flipped(good.len() - 1),
        vec![0; good.len()],
        vec![0xff; 1 << 20],
    ];
    for (number, damaged) in damages.iter().enumerate() {
        // When the state is damaged, then every command says so and leaves it alone.
        fs::write(&file, damaged).expect("written");
        for command in ["status", "check", "run"] {
            let refused = fleet.agent(&[command, "--state-dir", &dir]).failed(1);
            assert!(refused.contains("damaged"), "{number} {command}: {refused}");
        }
        let refused = fleet.try_join("host", &token).failed(1);
        assert!(refused.contains("damaged"), "{number}: {refused}");
        assert_eq!(&fs::read(&file).expect("there"), damaged, "{number}");
    }
    assert_eq!(used(&fleet), [1]);
    // The key counts too.
    fs::write(&file, &good).expect("written");
    let key = fleet.state_dir("host").join("identity.key");
    fs::write(&key, "garbage").expect("written");
    let refused = fleet.agent(&["run", "--state-dir", &dir]).failed(1);
    assert!(refused.contains("identity.key is damaged"), "{refused}");
    assert_eq!(fs::read(&key).expect("there"), b"garbage");
}

#[test]
fn an_agent_says_what_it_is_and_checks_what_is_served() {
    // Given a host that has not joined, then there is nothing to say;
    let mut fleet = Fleet::start();
    let dir = state_dir(&fleet, "host");
    for command in ["status", "check", "run"] {
        let refused = fleet.agent(&[command, "--state-dir", &dir]).failed(1);
        assert!(
            refused.contains("convoy-agent join"),
            "{command}: {refused}"
        );
    }
    // and given one that has, the status has this shape, whether it runs or not.
    fleet.join_and_run(&["host"]);
    let status = fleet.agent_status("host");
    let fields: Vec<&String> = status.as_object().expect("an object").keys().collect();
    let mut shape = [
        "client_id",
        "fleet_id",
        "name",
        "group",
        "addresses",
        "root_version",
        "trust_revision",
        "trust_digest",
        "mode",
        "mode_in_force",
        "off_until",
        "trust_epoch",
        "clock_ahead_seconds",
        "anchors",
        "identity_expires_at",
        "trust_expires_at",
        "stale",
        "last_proof",
        "incarnation",
        "running",
        "scep_request",
        "scep_revision",
    ];
    shape.sort_unstable();
    assert_eq!(fields, shape);
    let port = fleet.agents_addr().port();
    let client = fleet.client("host");
    for (field, value) in [
        ("client_id", client["id"].clone()),
        ("name", "host".into()),
        ("group", "default".into()),
        (
            "addresses",
            vec![format!("127.0.0.1:{port}"), format!("localhost:{port}")].into(),
        ),
        ("root_version", 1.into()),
        ("trust_revision", client["trust_revision"].clone()),
        (
            "trust_digest",
            fleet.json(&["groups", "list"])[0]["trust_digest"].clone(),
        ),
        ("mode", "verify".into()),
        ("mode_in_force", "verify".into()),
        ("anchors", vec![1].into()),
        ("stale", false.into()),
        ("incarnation", 1.into()),
        ("running", true.into()),
    ] {
        assert_eq!(status[field], value, "{field} in {status}");
    }
    fleet.switch_off("host");
    assert_eq!(fleet.agent_status("host")["running"], false);
    let spoken = fleet.agent(&["status", "--state-dir", &dir]);
    assert!(
        spoken
            .stdout
            .contains(client["id"].as_str().expect("an id")),
        "{spoken:?}"
    );

    // Its check says which anchor vouches for what is served, also when no agent runs;
    let check = |fleet: &Fleet| {
        let said = fleet.agent(&["check", "--state-dir", &dir, "-o", "json"]);
        let answer: Value = serde_json::from_str(&said.stdout).expect("JSON");
        (said.code, answer)
    };
    let (code, answer) = check(&fleet);
    assert_eq!(
        (code, &answer["ok"], &answer["anchor"]),
        (0, &true.into(), &1.into())
    );
    assert_eq!(
        answer["certificate_fingerprint"],
        fleet.json(&["cert", "show"])["fingerprint"]
    );
    assert_eq!(answer["reason"], Value::Null);
    let spoken = fleet.agent(&["check", "--state-dir", &dir]);
    assert!(
        spoken.code == 0 && spoken.stdout.starts_with("ok: anchor 1 "),
        "{spoken:?}"
    );
    // and fails, with the reason, when nobody answers.
    fleet.kill_controller();
    let (code, answer) = check(&fleet);
    assert_eq!((code, &answer["ok"]), (1, &false.into()));
    assert!(
        answer["reason"]
            .as_str()
            .is_some_and(|why| why.contains("127.0.0.1")),
        "{answer}"
    );
    let refused = fleet.agent(&["check", "--state-dir", &dir]).failed(1);
    assert!(refused.contains("127.0.0.1"), "{refused}");
}
