//! `convoy scep`, command by command: what is asked, what is printed where, and the exit code.

use convoy_proto::v1;
use convoy_shared::settings::ScepPatch;

use super::fleet::{Fleet, PC_1, State, changes, convoy};

fn at(seconds: i64) -> Option<prost_types::Timestamp> {
    Some(prost_types::Timestamp { seconds, nanos: 0 })
}

fn status(attempt: u64, state: v1::ScepState, details: &str, cause: &str) -> v1::ScepStatus {
    let certificate = (state == v1::ScepState::Successful).then(|| v1::ScepCertificate {
        issued_at: at(1_785_578_460),
        serial: "0A0B".to_owned(),
        subject: "CN=p1.example".to_owned(),
        not_after: at(1_800_000_000),
        ..v1::ScepCertificate::default()
    });
    let word = match state {
        v1::ScepState::Error => "Error",
        v1::ScepState::Successful => "Successful",
        _ => "Processing...",
    };
    v1::ScepStatus {
        client: PC_1.to_owned(),
        name: "pc-1".to_owned(),
        group: "default".to_owned(),
        status: word.to_owned(),
        details: details.to_owned(),
        cause: cause.to_owned(),
        record: Some(v1::ScepRecord {
            attempt,
            trigger: v1::ScepTrigger::Manual.into(),
            requested_at: at(1_785_578_400),
            updated_at: at(1_785_578_460),
            key_name: "scep".to_owned(),
            state: state.into(),
            certificate,
            ..v1::ScepRecord::default()
        }),
        ..v1::ScepStatus::default()
    }
}

fn failed(attempt: u64) -> v1::ScepStatus {
    status(
        attempt,
        v1::ScepState::Error,
        "Communication Error (TOP ERROR)",
        "no connection to the SCEP server, or no answer in time",
    )
}

#[test]
fn settings_are_set_as_given_and_shown_with_what_was_set() {
    let fleet = Fleet::start(State::default());
    let said = convoy(
        &fleet,
        "scep settings set --server http://ca.example/scep --polls 3 --san dns:a --san ip:10.0.0.1",
    );
    assert_eq!((said.out.as_str(), said.code), ("", 0), "{}", said.err);
    assert_eq!(
        said.err,
        "\
~ server = \"none\" -> \"http://ca.example/scep\"
~ polls = 10 -> 3
~ subject_alt_names = [\"dns:{fqdn}\", \"ip:{ip}\"] -> [\"dns:a\", \"ip:10.0.0.1\"]
The settings of group default are at revision 8
warning: no fingerprint is set
"
    );
    assert_eq!(
        changes(&fleet),
        ["default: server polls subject_alt_names timer None"]
    );
    assert_eq!(fleet.state.lock().unwrap().request_ids[0].len(), 36);

    let text = convoy(&fleet, "scep settings show").out;
    assert!(text.contains("\npolls                3"), "{text}");
    let marked: Vec<&str> = text
        .lines()
        .filter(|line| line.ends_with('*'))
        .filter_map(|line| line.split(' ').next())
        .collect();
    assert_eq!(marked, ["server", "polls", "subject_alt_names"]);

    let json = convoy(&fleet, "scep settings show -o json").out;
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["set"]["polls"], 3);
    assert_eq!(json["effective"]["key_length"], "2048");

    let toml = convoy(&fleet, "scep settings show -o toml").out;
    let read: ScepPatch = toml::from_str(&toml).unwrap();
    assert_eq!(read.fields(), ["server", "polls", "subject_alt_names"]);
    let file = fleet.file("s.toml", &toml.replace("polls = 3", "polls = 4"));
    let said = convoy(&fleet, &format!("scep settings diff {}", file.display()));
    assert_eq!((said.out.as_str(), said.code), ("~ polls = 3 -> 4\n", 0));
    let file = fleet.file("bad.toml", "pols = 1\nport = 70000");
    let said = convoy(&fleet, &format!("scep settings diff {}", file.display()));
    assert_eq!(said.code, 1);
    assert!(said.err.contains("polls may be meant"), "{}", said.err);
    assert!(said.err.contains("\n  port: "), "{}", said.err);
}

#[test]
fn a_dry_run_changes_nothing_and_secrets_are_stored_but_not_shown() {
    let fleet = Fleet::start(State::default());
    let secret = fleet.file("challenge", "s3cret\n");
    let line = format!(
        "scep settings set --client pc-1 --challenge stored --challenge-file {}",
        secret.display()
    );
    let said = convoy(&fleet, &format!("{line} --dry-run"));
    assert_eq!(said.code, 0, "{}", said.err);
    assert!(said.err.contains("would be stored"), "{}", said.err);
    assert!(changes(&fleet).is_empty());

    let said = convoy(&fleet, &line);
    assert_eq!(said.code, 0, "{}", said.err);
    assert!(!said.err.contains("s3cret") && !said.out.contains("s3cret"));
    assert_eq!(
        changes(&fleet),
        ["pc-1: challenge timer None", "secret \"s3cret\" ndes false"]
    );
    let said = convoy(&fleet, "scep settings set --forget-ndes-password");
    assert_eq!(said.code, 0, "{}", said.err);
    assert_eq!(changes(&fleet), ["secret \"\" ndes true"]);

    let said = convoy(&fleet, "scep settings set");
    assert_eq!(said.code, 2);
    assert!(said.err.contains("nothing is given"), "{}", said.err);
    let said = convoy(&fleet, "scep settings set --client nobody --polls 1");
    assert_eq!(said.code, 1);
    assert!(said.err.contains("no client nobody"), "{}", said.err);
    assert_eq!(convoy(&fleet, "clients list -o toml").code, 2);
}

#[test]
fn the_timer_keeps_settings_from_changing() {
    let fleet = Fleet::start(State::default());
    convoy(&fleet, "scep settings set --server built-in");
    let said = convoy(
        &fleet,
        "scep timer on --start 2027-01-31T02:00:00Z --periodic 30d",
    );
    assert_eq!((said.out.as_str(), said.code), ("", 0), "{}", said.err);
    let said = convoy(&fleet, "scep settings set --polls 3");
    assert_eq!(said.code, 1);
    assert!(said.err.contains("timer of default is on"), "{}", said.err);
    assert_eq!(convoy(&fleet, "scep timer off -o json").code, 0);
    assert_eq!(convoy(&fleet, "scep settings set --polls 3").code, 0);
    assert_eq!(
        changes(&fleet)[1..],
        [
            "default: timer request_start periodic timer Some(true)",
            "default: timer timer Some(false)",
            "default: polls timer None",
        ]
    );
}

#[test]
fn a_request_prints_its_number_alone_and_is_followed_to_its_end() {
    let fleet = Fleet::start(State {
        streams: vec![
            vec![
                failed(3),
                status(4, v1::ScepState::Processing, "Deferred", "it waits"),
                status(4, v1::ScepState::Successful, "", ""),
            ],
            vec![failed(4)],
            // A later request hides it.
            vec![status(5, v1::ScepState::Processing, "", "")],
        ],
        history: vec![status(5, v1::ScepState::Processing, "", ""), failed(4)],
        ..State::default()
    });
    let said = convoy(
        &fleet,
        "scep request pc-1 --key-name x --key-use TLS --restart --wait",
    );
    assert_eq!((said.out.as_str(), said.code), ("4\n", 0), "{}", said.err);
    assert!(
        said.err
            .contains("\nProcessing...: Deferred: it waits\ncertificate 0A0B of CN=p1.example"),
        "{}",
        said.err
    );
    let change = format!("request {PC_1} Some(\"key_name key_use\") \"\" restart true");
    assert_eq!(changes(&fleet), [change]);

    for _ in 0..2 {
        let said = convoy(&fleet, "scep request pc-1 --wait -o json");
        assert_eq!(said.code, 1);
        let json: serde_json::Value = serde_json::from_str(&said.out).unwrap();
        assert_eq!(json["result"]["record"]["state"], "Error");
        assert_eq!(
            said.err,
            "error: request 4 of pc-1 ended. Error: Communication Error (TOP ERROR): no connection to the SCEP server, or no answer in time\n"
        );
    }
    let said = convoy(&fleet, "scep request pc-1 --prompt");
    assert_eq!(said.code, 2);
    assert!(said.err.contains("--challenge-file"), "{}", said.err);
}

#[test]
fn status_and_history_have_the_printers_columns() {
    let fleet = Fleet::start(State {
        history: vec![failed(2), status(1, v1::ScepState::Successful, "", "")],
        streams: vec![vec![
            failed(2),
            failed(2),
            status(3, v1::ScepState::Processing, "", ""),
        ]],
        ..State::default()
    });
    let said = convoy(&fleet, "scep status");
    assert_eq!(
        said.out,
        "\
CLIENT  GROUP    REQUEST DATE/TIME        KEY NAME  STATUS      DETAILS
pc-1    default  2026-08-01 10:00:00 UTC  scep      Error       Communication Error (TOP ERROR)
pc-1    default  2026-08-01 10:00:00 UTC  scep      Successful  issued 2026-08-01 10:01:00 UTC
"
    );
    assert_eq!(
        said.err,
        "pc-1: Communication Error (TOP ERROR): no connection to the SCEP server, or no answer in time\n"
    );
    let said = convoy(&fleet, "scep history pc-1");
    assert!(
        said.out.starts_with("NUMBER  BY      REQUEST DATE/TIME"),
        "{}",
        said.out
    );
    let json = convoy(&fleet, "scep history pc-1 -o json").out;
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json[1]["record"]["certificate"]["serial"], "0A0B");

    // It ends when there is nothing left to watch; what did not change is not repeated.
    let said = convoy(&fleet, "scep status --watch");
    assert_eq!(said.code, 1);
    let lines: Vec<&str> = said
        .out
        .lines()
        .filter_map(|line| line.split_once(' '))
        .map(|(_, line)| line)
        .collect();
    assert_eq!(
        lines,
        [
            "pc-1 (default) request 2 Error: Communication Error (TOP ERROR): no connection to the SCEP server, or no answer in time",
            "pc-1 (default) request 3 Processing..."
        ]
    );
}

#[test]
fn a_plan_is_tried_on_a_group() {
    let fleet = Fleet::start(State {
        load: vec![v1::ScepLoad {
            url: "http://ca.example/scep".to_owned(),
            devices: 3,
            first: at(1_785_578_400),
            last: at(1_785_578_401),
            peak_per_second: 2,
            capacity: "2".to_owned(),
            step: Some(prost_types::Duration {
                seconds: 1,
                nanos: 0,
            }),
            requests: vec![2.0, 1.0],
        }],
        ..State::default()
    });
    let said = convoy(&fleet, "scep plan --group default --capacity 2");
    assert_eq!(said.code, 0, "{}", said.err);
    assert!(
        said.out.contains("capacity 2 per second\n\n  10:00:00 |##################################################"),
        "{}",
        said.out
    );
    assert!(said.err.starts_with("warning: 3 devices"), "{}", said.err);
    let json = convoy(&fleet, "scep plan -o json").out;
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["servers"][0]["step_seconds"], 1.0);
    assert_eq!(
        changes(&fleet),
        [
            "plan \"default\" Some(\"timer capacity\")",
            "plan \"\" None"
        ]
    );
    assert_eq!(convoy(&fleet, "scep plan --capacity 2").code, 2);
}
