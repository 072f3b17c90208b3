//! What expires, and where an operator hears of it: the log, the lists, the status, the metrics. Agents pin keys, and stay.

use std::time::Duration;

use convoy_controller::clock;
use jiff::SignedDuration;
use rcgen::{CertificateParams, KeyPair, date_time_ymd};
use serde_json::Value;

use crate::{fleet::Fleet, metrics::get};

const DAY: i64 = 24 * 3600;

/// Imports a certificate that is valid from yesterday's midnight for so many days, and rotates to it.
fn rotate_to_one_of_days(fleet: &mut Fleet, days: i64) -> String {
    let at = |days: i64| {
        let midnight = clock::now().as_second().div_euclid(DAY) + days;
        date_time_ymd(1970, 1, 1)
            + Duration::from_secs(u64::try_from(midnight * DAY).expect("after 1970"))
    };
    let names = ["127.0.0.1", "localhost"].map(str::to_owned);
    let mut params = CertificateParams::new(names).expect("names");
    params.not_before = at(-1);
    params.not_after = at(days - 1);
    let key = KeyPair::generate().expect("a key");
    let certificate = params.self_signed(&key).expect("a certificate");
    let (certificate, key) = fleet.pem_files("brief", &certificate.pem(), &key.serialize_pem());
    let generation = fleet.import(&certificate, &key);
    fleet.ok(&["rotation", "start", "--to", &generation]);
    fleet.await_phase("Completed");
    generation
}

/// The controller is stopped, and comes back so many days from now, which an operator confirms.
fn come_back_in(fleet: &mut Fleet, days: i64) {
    fleet.kill_controller();
    fleet.set_clock("controller", days * DAY);
    fleet.start_controller();
    // Nothing else says that so much time has passed: this machine has not been off.
    let then = clock::now() + SignedDuration::from_hours(days * 24);
    fleet.ok(&["clock", "confirm", &then.to_string()]);
}

/// Kind, name and expiry of what is said to expire.
fn expiring(of: &Value) -> Vec<[String; 3]> {
    let notices = of["expiring"].as_array().expect("a list");
    notices
        .iter()
        .map(|notice| {
            ["kind", "name", "expiry"].map(|word| notice[word].as_str().expect("a word").to_owned())
        })
        .collect()
}

fn certificate(name: &str, expiry: &str) -> [String; 3] {
    ["certificate", name, expiry].map(str::to_owned)
}

fn codes(of: &Value) -> Vec<String> {
    let reasons = of["degraded"].as_array().expect("a list");
    let code = |reason: &Value| reason["code"].as_str().expect("a code").to_owned();
    reasons.iter().map(code).collect()
}

/// How often the controller's log has warned of this.
fn warned(fleet: &Fleet, words: &str) -> usize {
    let log = fleet.log("controller");
    let said = |line: &&str| line.contains("WARN") && line.contains(words);
    log.lines().filter(said).count()
}

#[test]
fn a_certificate_that_is_about_to_expire_or_has_is_said_wherever_an_operator_looks() {
    // Given a fleet that serves a certificate of 12 days,
    let mut fleet = Fleet::start_with(&["--metrics-addr", "127.0.0.1:0"]);
    fleet.join_and_run(&["one"]);
    let generation = rotate_to_one_of_days(&mut fleet, 12);
    assert_eq!(
        expiring(&fleet.json(&["status"])),
        Vec::<[String; 3]>::new()
    );
    let listed = |fleet: &Fleet| fleet.json(&["cert", "list"])[1]["expiry"].clone();
    assert_eq!(listed(&fleet), "fresh");

    // when less than a third of its life is left, then everything says so, and nothing is wrong yet;
    come_back_in(&mut fleet, 8);
    let soon = [certificate(&generation, "soon")];
    assert_eq!(expiring(&fleet.json(&["status"])), soon);
    assert_eq!(expiring(&fleet.rotation()), soon);
    assert_eq!(listed(&fleet), "soon");
    let statusz = get(&fleet, "/statusz");
    let (_, body) = statusz.split_once("\r\n\r\n").expect("a body");
    assert_eq!(expiring(&serde_json::from_str(body).expect("JSON")), soon);
    for args in [
        &["status"][..],
        &["rotation", "status"],
        &["cert", "list"],
        &["cert", "show"],
    ] {
        let spoken = fleet.ok(args);
        assert!(spoken.contains("soon"), "{args:?}: {spoken}");
    }
    let words = "certificate 2, which is served, expires at";
    fleet.eventually("the log says it", |fleet| {
        (warned(fleet, words) == 1).then_some(())
    });
    let metric = |fleet: &Fleet| {
        let text = get(fleet, "/metrics");
        let name = "convoy_certificate_expiry_seconds{generation=\"2\"} ";
        let line = text.lines().find_map(|line| line.strip_prefix(name));
        line.expect("a line").parse::<i64>().expect("a number")
    };
    assert!((0..4 * DAY).contains(&metric(&fleet)));
    assert_eq!(codes(&fleet.json(&["status"])), Vec::<String>::new());

    // when it has expired, then the controller is degraded and ready, and its agents stay;
    come_back_in(&mut fleet, 12);
    fleet.eventually("it is degraded", |fleet| {
        (codes(&fleet.json(&["status"])) == ["expired_certificate"]).then_some(())
    });
    assert_eq!(
        expiring(&fleet.rotation()),
        [certificate(&generation, "expired")]
    );
    assert_eq!(listed(&fleet), "expired");
    assert!(fleet.ok(&["cert", "list"]).contains("(expired)"));
    assert!(metric(&fleet) < 0);
    assert!(get(&fleet, "/readyz").starts_with("HTTP/1.1 200"));
    fleet.await_connected(&["one"]);
    fleet.assert_no_orphans(&["one"]);
    // it is said once,
    let expired = "certificate 2, which is served, expired at";
    assert!(warned(&fleet, expired) >= 1);
    let said = warned(&fleet, expired);
    // and when another is served, nothing is wrong any more, though the old one is still there.
    fleet.rotate(&[]);
    fleet.await_phase("Completed");
    fleet.eventually("nothing is wrong", |fleet| {
        codes(&fleet.json(&["status"])).is_empty().then_some(())
    });
    assert_eq!(warned(&fleet, expired), said);
    assert_eq!(
        expiring(&fleet.json(&["status"])),
        [certificate(&generation, "expired")]
    );
    fleet.ok(&["cert", "retire", &generation]);
    assert_eq!(
        expiring(&fleet.json(&["status"])),
        Vec::<[String; 3]>::new()
    );
}

#[test]
fn an_identity_that_is_not_renewed_in_time_is_said_by_name() {
    // Given a fleet of two, one of which has been off since it joined,
    let mut fleet = Fleet::start_with(&["--metrics-addr", "127.0.0.1:0"]);
    fleet.join_and_run(&["here", "away"]);
    fleet.switch_off("away");
    let identity = |fleet: &Fleet, name: &str| fleet.client(name)["identity_expiry"].clone();
    assert_eq!(identity(&fleet, "away"), "fresh");

    for (days, expiry, word) in [(21, "soon", "overdue"), (31, "expired", "expired")] {
        // when most of its identity's life has passed, or all of it,
        // (An agent learns the time as it comes: it is to come when the time is confirmed.)
        fleet.kill("here");
        come_back_in(&mut fleet, days);
        fleet.run("here");
        fleet.await_connected(&["here"]);
        // then the one that is there has renewed its own, and the other is named.
        fleet.eventually("who is there renews", |fleet| {
            (identity(fleet, "here") == "fresh").then_some(())
        });
        assert_eq!(identity(&fleet, "away"), expiry);
        let spoken = fleet.ok(&["clients", "list"]);
        let line = |name: &str| {
            let line = spoken.lines().find(|line| line.starts_with(name));
            line.expect("a line").to_owned()
        };
        assert!(line("away").ends_with(word), "{spoken}");
        assert!(line("here").ends_with("valid"), "{spoken}");
        assert!(fleet.ok(&["clients", "show", "away"]).contains(word));
        let status = fleet.json(&["status"]);
        let of_identities = [["identities", "", expiry].map(str::to_owned)];
        assert_eq!(expiring(&status), of_identities);
        assert_eq!(codes(&status), Vec::<String>::new());
        let words = status["expiring"][0]["message"].as_str().expect("words");
        assert!(
            words.starts_with("1 client ") && words.ends_with(": away"),
            "{words}"
        );
        assert!(
            get(&fleet, "/metrics").contains(&format!("convoy_identities{{expiry=\"{word}\"}} 1"))
        );
        fleet.eventually("the log says it", |fleet| {
            (warned(fleet, words) >= 1).then_some(())
        });
    }

    // When it comes back, then it renews, and nothing is said any more.
    fleet.run("away");
    fleet.await_connected(&["away"]);
    fleet.eventually("it has renewed", |fleet| {
        (identity(fleet, "away") == "fresh").then_some(())
    });
    assert_eq!(
        expiring(&fleet.json(&["status"])),
        Vec::<[String; 3]>::new()
    );
}
