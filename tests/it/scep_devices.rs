//! When devices request certificates, and by which settings: the timer, requests by hand, slots, the schedule without a controller, the history.

use std::collections::BTreeMap;

use convoy_scep::message::MessageType;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use crate::{
    fleet::Fleet,
    scep_peer::Peer,
    scep_view::{soon, time},
};

const FAR: &str = "2099-01-01T00:00:00Z";

#[test]
fn settings_reach_devices_and_stand_still_while_the_timer_is_on() {
    // Given settings for a group, and others for one of its devices,
    let peer = Peer::start();
    let mut fleet = Fleet::with_agents(&["one", "two"]);
    fleet.scep_at(
        &peer.url("desk"),
        &["--key-name", "lobby", "--organization", "Example"],
    );
    fleet.scep_set(&["--client", "two", "--key-name", "cellar", "--port", "8443"]);

    // then each device has its own, and shows them;
    for (name, key_name, port) in [("one", "lobby", "0"), ("two", "cellar", "8443")] {
        fleet.await_settings(name);
        let exported = fleet.at_device(name, &["settings", "export"]).stdout;
        for line in [
            format!("key_name = \"{key_name}\""),
            format!("port = {port}"),
            "organization = \"Example\"".to_owned(),
        ] {
            assert!(exported.contains(&line), "{line} in {exported}");
        }
        let shown = fleet.json(&["scep", "settings", "show", "--client", name]);
        assert_eq!(shown["effective"]["key_name"], key_name, "{shown}");
        // What it supports, it reports.
        let supports = fleet.scep(name)["supports"].to_string();
        for word in ["RSA-2048", "RSA-4096", "SHA-256", "SHA-512"] {
            assert!(supports.contains(word), "{supports}");
        }
    }

    // and when the timer is on, then both show when the request is due, that cannot be changed, and nobody requests by hand,
    fleet.ok(&["scep", "timer", "on", "--start", FAR]);
    for name in ["one", "two"] {
        let shown = fleet.eventually("it is announced", |fleet| {
            let shown = fleet.scep(name);
            (shown["status"] == "To Be Processed").then_some(shown)
        });
        assert_eq!(shown["next_request"], FAR, "{shown}");
        let text = fleet.at_device(name, &["scep", "status"]).stdout;
        assert!(
            text.contains(&format!("Next Request Date/Time: {FAR}")),
            "{text}"
        );
    }
    let before = fleet.json(&["scep", "settings", "show"]);
    for change in [
        ["--timeout", "9s"].as_slice(),
        &["--server", "none"],
        &["--client", "two", "--port", "1"],
    ] {
        let said = fleet
            .convoy(&[&["scep", "settings", "set"], change].concat())
            .failed(1);
        for words in ["auto-request timer", "is on", "convoy scep timer off"] {
            assert!(said.contains(words), "{change:?}: {said}");
        }
    }
    assert_eq!(fleet.json(&["scep", "settings", "show"]), before);
    let said = fleet.convoy(&["scep", "request", "one"]).failed(1);
    assert!(
        said.contains("the auto-request timer of one is on"),
        "{said}"
    );
    let said = fleet.at_device("one", &["scep", "request"]).failed(1);
    assert!(said.contains("the auto-request timer is on"), "{said}");

    // until it is off again: nothing is announced any more.
    fleet.ok(&["scep", "timer", "off"]);
    for name in ["one", "two"] {
        let shown = fleet.scep(name);
        assert_eq!(
            (&shown["status"], &shown["next_request"]),
            (&json!(""), &Value::Null),
            "{shown}"
        );
        assert_eq!(fleet.json(&["scep", "history", name]), json!([]));
    }
    fleet.scep_set(&["--timeout", "9s"]);
    fleet.await_settings("one");
    fleet.eventually("nothing is due", |fleet| {
        let text = fleet.at_device("one", &["scep", "status"]).stdout;
        text.contains("Next Request Date/Time: -").then_some(())
    });
    assert_eq!(peer.posts("desk"), 0);
}

#[test]
fn of_a_request_by_hand_nothing_stays_but_its_result() {
    // Given a SCEP server that wants a challenge password, and settings that say nothing of it,
    let peer = Peer::start();
    let secret = "only-for-this-one-request";
    peer.wants("desk", secret);
    let mut fleet = Fleet::with_agents(&["one"]);
    fleet.scep_at(
        &peer.url("desk"),
        &["--ca-fingerprint", &peer.fingerprint()],
    );
    fleet.await_settings("one");
    let settings = |fleet: &Fleet| {
        let own = fleet.at_device("one", &["settings", "export"]).stdout;
        let export = fleet.ok(&["export"]);
        (fleet.json(&["scep", "settings", "show"]), own, export)
    };
    let before = settings(&fleet);

    // when a certificate is requested by hand, by a name that is no address,
    let file = fleet.secret_file("challenge", secret);
    let by_hand = [
        [
            "scep",
            "request",
            "one",
            "--wait",
            "--challenge-file",
            &file,
        ]
        .as_slice(),
        &["--key-name", "web-of-2026", "--organization", "Elsewhere"],
        &[
            "--common-name",
            "printer.example",
            "--signature-algorithm",
            "SHA-512",
        ],
    ]
    .concat();
    let said = fleet.convoy(&by_hand);
    assert_eq!(said.code, 0, "{said:?}");

    // then there is a warning for Windows, and the certificate is there;
    assert!(
        said.stderr.contains("for IPPS printing from Windows"),
        "{said:?}"
    );
    let seen = peer.seen("desk");
    assert_eq!(seen.len(), 1);
    assert_eq!(seen[0].challenge.as_deref(), Some(secret));
    assert_eq!(seen[0].common_name, "printer.example");
    let held = fleet.device_certificates("one");
    assert_eq!(held[0]["key_name"], "web-of-2026");
    assert_eq!(held[0]["serial"], peer.issued("desk")[0].serial_hex());
    // the settings are what they were, the challenge is nowhere, and the key's name stands only where results are kept.
    assert_eq!(settings(&fleet), before);
    std::fs::remove_file(&file).expect("removed");
    assert_eq!(fleet.files_with(secret), Vec::<String>::new());
    fleet.await_scep("one", "Successful");
    assert_eq!(
        fleet.files_with("web-of-2026"),
        ["a-one/scep/ledger", "d/journal.redb"]
    );

    // And at the device itself it is the same: with its address there is no warning, and with a wrong challenge no certificate.
    let file = fleet.secret_file("challenge", secret);
    let here = [
        "scep",
        "request",
        "--common-name",
        "127.0.0.1",
        "--challenge-file",
    ];
    let said = fleet.at_device("one", &[&here[..], &[&file]].concat());
    assert_eq!(said.code, 0, "{said:?}");
    assert!(!format!("{said:?}").contains("IPPS"), "{said:?}");
    assert_eq!(fleet.device_certificates("one").len(), 2);
    let file = fleet.secret_file("challenge", "not-the-right-one");
    let said = fleet.at_device("one", &[&here[..], &[&file]].concat());
    assert_eq!(said.code, 1, "{said:?}");
    assert!(said.stdout.contains("SCEP ERROR Fail Info 2"), "{said:?}");
    assert_eq!(settings(&fleet), before);
}

#[test]
fn the_timer_requests_at_its_time_and_then_periodically() {
    // Given a timer with a start and a period, and a device whose request is adjusted,
    let peer = Peer::start();
    let mut fleet = Fleet::with_agents(&["one", "two"]);
    fleet.scep_at(&peer.url("desk"), &[]);
    fleet.scep_set(&[
        "--client",
        "two",
        "--auto-adjust",
        "true",
        "--request-start",
        FAR,
    ]);
    let start = soon(5);
    fleet.ok(&[
        "scep",
        "timer",
        "on",
        "--start",
        &start.to_string(),
        "--periodic",
        "1m",
    ]);

    // then the adjusted one comes 1 to 600 seconds later,
    let far: Timestamp = FAR.parse().expect("a time");
    let shown = fleet.eventually("two is announced", |fleet| {
        let shown = fleet.scep("two");
        (!shown["next_request"].is_null()).then_some(shown)
    });
    let adjusted = time(&shown["next_request"]).duration_since(far).as_secs();
    assert!((1..=600).contains(&adjusted), "{shown}");

    // and the other not before its time; then the next one is shown, an interval after it was due.
    let shown = fleet.await_scep("one", "Successful");
    assert!(time(&shown["record"]["requested_at"]) >= start, "{shown}");
    assert!(peer.seen("desk")[0].at >= start);
    let next = fleet.eventually("the next one is shown", |fleet| {
        let next = &fleet.scep("one")["next_request"];
        let next = next.as_str()?.parse::<Timestamp>().ok()?;
        (next > start).then_some(next)
    });
    assert_eq!(next, start + SignedDuration::from_mins(1));
    let text = fleet.at_device("one", &["scep", "status"]).stdout;
    assert!(
        text.contains(&format!("Next Request Date/Time: {next}")),
        "{text}"
    );
}

#[test]
fn devices_follow_their_schedule_while_the_controller_is_dead() {
    // Given a schedule that a device has, a controller that has died, and an agent that has begun anew since,
    let peer = Peer::start();
    let mut fleet = Fleet::with_agents(&["one"]);
    fleet.scep_at(&peer.url("desk"), &[]);
    let start = soon(8).to_string();
    fleet.ok(&["scep", "timer", "on", "--start", &start]);
    fleet.await_settings("one");
    fleet.kill_controller();
    fleet.kill("one");
    fleet.run("one");
    assert_eq!(peer.posts("desk"), 0);

    // when the time has come, then it requests, and has its certificate;
    fleet.eventually("a certificate", |fleet| {
        (!fleet.device_certificates("one").is_empty()).then_some(())
    });
    let serial = peer.issued("desk")[0].serial_hex();
    assert_eq!(fleet.device_certificates("one")[0]["serial"], serial);

    // and when the controller is back, then it is told.
    fleet.start_controller();
    let shown = fleet.await_scep("one", "Successful");
    assert_eq!(shown["record"]["certificate"]["serial"], serial, "{shown}");
    assert_eq!(shown["record"]["trigger"], "timer");
}

#[test]
fn a_renewal_is_signed_with_the_key_before() {
    // Given a device that has a certificate by the timer,
    let peer = Peer::start();
    let mut fleet = Fleet::with_agents(&["one"]);
    fleet.scep_at(&peer.url("desk"), &["--delete-old", "true"]);
    fleet.ok(&["scep", "timer", "on"]);
    fleet.await_scep("one", "Successful");
    let first = peer.issued("desk").remove(0);

    // when the timer brings the next one,
    fleet.ok(&["scep", "timer", "off"]);
    fleet.ok(&["scep", "timer", "on", "--start", &soon(0).to_string()]);

    // then the request is a renewal, signed with the first certificate; and the key is another.
    fleet.eventually("the second", |fleet| {
        let held = fleet.device_certificates("one");
        (held.len() == 2 && held[0]["in_use"] == true).then_some(())
    });
    let seen = peer.seen("desk");
    assert_eq!(
        peer.kinds("desk"),
        [MessageType::PkcsReq, MessageType::RenewalReq]
    );
    assert_eq!(seen[1].signer.fingerprint(), first.fingerprint());
    assert_ne!(peer.issued("desk")[1].spki(), first.spki());
}

#[test]
fn each_device_has_a_slot_of_its_own_as_planned() {
    // Given ten devices, a server that can take five requests a second, and what is planned for that,
    let peer = Peer::start();
    let names = ["p0", "p1", "p2", "p3", "p4", "p5", "p6", "p7", "p8", "p9"];
    let mut fleet = Fleet::with_agents(&names);
    for name in names {
        fleet.configure(name, &format!("[device]\nserial = \"{name}\"\n"));
    }
    fleet.scep_at(&peer.url("desk"), &[]);
    fleet.scep_set(&["--common-name", "{serial}"]);
    let start = soon(8);
    let text = start.to_string();
    let slots = ["--capacity", "5", "--request-start", &text];
    let plan = fleet.json(&[&["scep", "plan", "--group", "default"], &slots[..]].concat());
    let load = &plan["servers"][0];
    assert_eq!(
        (&load["devices"], &load["peak_per_second"]),
        (&10.into(), &5.into()),
        "{plan}"
    );
    assert_eq!(load["url"], peer.url("desk"));
    let requests = load["requests"].as_array().expect("a curve").iter();
    assert_eq!(requests.filter_map(Value::as_f64).sum::<f64>(), 10.0);

    // when it becomes so,
    fleet.scep_set(&slots);
    fleet.ok(&["scep", "timer", "on"]);

    // then each device is announced for an instant of its own, and no second has more than five,
    let mut due = BTreeMap::new();
    for name in names {
        let shown = fleet.eventually("it is announced", |fleet| {
            let shown = fleet.scep(name);
            (!shown["next_request"].is_null()).then_some(shown)
        });
        due.insert(name, time(&shown["next_request"]));
    }
    let mut instants: Vec<Timestamp> = due.values().copied().collect();
    instants.sort();
    assert!(instants[0] >= start, "{instants:?}");
    for (one, sixth) in instants.iter().zip(&instants[5..]) {
        assert!(
            sixth.duration_since(*one) >= SignedDuration::from_secs(1),
            "{instants:?}"
        );
    }
    assert_eq!(time(&load["first"]), instants[0], "{plan}");
    assert_eq!(time(&load["last"]), instants[9], "{plan}");

    // and none comes before its time.
    for name in names {
        fleet.await_scep(name, "Successful");
    }
    let seen = peer.seen("desk");
    assert_eq!(seen.len(), names.len());
    for request in seen {
        assert!(
            request.at >= due[request.common_name.as_str()],
            "{request:?}"
        );
    }
}

#[test]
fn a_device_keeps_twenty_certificates_and_the_controller_more() {
    let peer = Peer::start();
    let fleet = Fleet::with_agents(&["one"]);
    fleet.scep_at(&peer.url("desk"), &["--delete-old", "true"]);
    for number in 1..=22 {
        let name = format!("key-{number}");
        fleet.ok(&["scep", "request", "one", "--key-name", &name, "--wait"]);
    }
    let held = fleet.device_certificates("one");
    assert_eq!(held.len(), 20);
    assert_eq!(
        (&held[0]["key_name"], &held[19]["key_name"]),
        (&"key-22".into(), &"key-3".into())
    );
    assert_eq!(
        fleet.device_requests("one").as_array().map(Vec::len),
        Some(20)
    );
    let history = fleet.json(&["scep", "history", "one"]);
    let attempts: Vec<_> = history.as_array().expect("a list").iter().collect();
    assert_eq!(attempts.len(), 22);
    assert_eq!(attempts[21]["record"]["key_name"], "key-1");
}
