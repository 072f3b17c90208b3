//! What is wrong with the controller, wherever an operator or a monitoring system looks. It never takes the controller out of service.

use std::fs;

use serde_json::Value;

use crate::{fleet::Fleet, metrics::get};

fn codes(of: &Value) -> Vec<String> {
    let reasons = of["degraded"].as_array().expect("a list");
    let code = |reason: &Value| reason["code"].as_str().expect("a code").to_owned();
    reasons.iter().map(code).collect()
}

#[test]
fn what_is_wrong_is_said_everywhere_and_agents_are_served_all_the_same() {
    // Given a certificate whose key has gone,
    let mut fleet = Fleet::start_with(&["--metrics-addr", "127.0.0.1:0"]);
    fleet.join_and_run(&["one"]);
    assert!(codes(&fleet.json(&["status"])).is_empty());
    let (generation, _) = fleet.import_new();
    let spki = fleet.json(&["cert", "show", &generation])["spki_sha256"].clone();
    let spki = spki.as_str().expect("hex");
    let key = fleet
        .data_dir()
        .join("keys/server")
        .join(format!("{spki}.der"));
    let away = fleet.path("away.der");
    fs::rename(&key, &away).expect("moved");

    // when a rotation is to go there, then the status says so, in words and in JSON,
    let rotation = fleet.ok(&["rotation", "start", "--to", &generation]);
    // (The agent comes back anew when it has taken a document.)
    let status = fleet.eventually("it is degraded", |fleet| {
        let status = fleet.json(&["status"]);
        (codes(&status) == ["certificate"] && status["connected"] == 1).then_some(status)
    });
    assert_eq!(status["ready"], true);
    assert_eq!(status["clients"], 1);
    assert_eq!(status["rotation_id"], rotation);
    assert_eq!(status["rotation_phase"], "Preparing");
    assert_eq!(status["serving_generation"], 1);
    let words = status["degraded"][0]["words"].as_str().expect("words");
    assert!(words.contains("certificate 2"), "{words}");
    let text = fleet.ok(&["status"]);
    assert!(
        text.contains("serving, degraded") && text.contains(words),
        "{text}"
    );

    // and so do the rotation that waits for it, the log and the metrics,
    assert_eq!(codes(&fleet.rotation()), ["certificate"]);
    assert!(fleet.ok(&["rotation", "status"]).contains(words));
    fleet.eventually("the log says it, once", |fleet| {
        let log = fleet.log("controller");
        let said = |text: &&str| text.contains("ERROR") && text.contains(words);
        (log.lines().filter(said).count() == 1).then_some(())
    });
    let metric = |value| format!("convoy_degraded{{reason=\"certificate\"}} {value}");
    assert!(get(&fleet, "/metrics").contains(&metric(1)));
    let statusz = get(&fleet, "/statusz");
    let (_, body) = statusz.split_once("\r\n\r\n").expect("a body");
    let statusz: Value = serde_json::from_str(body).expect("JSON");
    assert_eq!(statusz["degraded"], status["degraded"]);
    assert_eq!(statusz["rotation_phase"], status["rotation_phase"]);

    // while it is ready, and serves;
    assert!(get(&fleet, "/readyz").starts_with("HTTP/1.1 200"));
    assert!(fleet.accepts("one"));

    // and when the key is back, nothing is wrong any more.
    fs::rename(&away, &key).expect("moved back");
    fleet.await_phase("Completed");
    assert!(codes(&fleet.json(&["status"])).is_empty());
    assert!(get(&fleet, "/metrics").contains(&metric(0)));
    let log = fleet.log("controller");
    let mut cleared = log
        .lines()
        .filter(|text| text.contains("no longer degraded"));
    assert!(cleared.any(|text| text.contains("INFO") && text.contains("certificate")));
}

#[test]
fn the_status_tells_the_time_that_the_controller_goes_by() {
    // Given a controller whose clock is two minutes ahead of this machine's,
    let fleet = Fleet::start();
    let time = |fleet: &Fleet| {
        let status = fleet.json(&["status"]);
        let time = status["time"].as_str().expect("a time");
        time.parse::<jiff::Timestamp>().expect("a time")
    };
    let before = time(&fleet);
    fleet.set_clock("controller", 120);

    // then its status says so, and nothing is wrong with that.
    let ahead = time(&fleet).duration_since(before);
    assert!(ahead.as_secs() >= 120, "{ahead}");
    assert!(codes(&fleet.json(&["status"])).is_empty());
}
