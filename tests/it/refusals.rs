//! Handshakes in which the certificate is refused: operators see them as hints, and nothing follows from them.

use convoy_shared::{
    ack::HandshakeOutcome,
    id::AnchorNumber,
    label::{CheckToken, Label},
};
use serde_json::Value;

use crate::{fleet::Fleet, metrics::get, puppet::Puppet, rejoining::with_one_cut_off};

fn hints(fleet: &Fleet) -> Vec<Value> {
    let status = fleet.json(&["status"]);
    status["refused_handshakes"]
        .as_array()
        .expect("a list")
        .clone()
}

fn metric(fleet: &Fleet, label_kind: &str) -> u64 {
    let name = format!("convoy_refused_handshakes_total{{label_kind=\"{label_kind}\"}} ");
    let text = get(fleet, "/metrics");
    let value = text.lines().find_map(|line| line.strip_prefix(&name));
    value.expect("a metric").parse().expect("a number")
}

#[test]
fn a_client_that_is_cut_off_shows_as_a_hint_while_its_agent_tries() {
    // Given a client whose only trusted certificate was retired, and whose agent is off,
    let mut fleet = with_one_cut_off(&["one"]);
    assert_eq!(hints(&fleet), Vec::<Value>::new());
    assert!(!fleet.ok(&["status"]).contains("Refused"));
    assert_eq!(fleet.rotation()["refused_handshakes_hint"], "");

    // when its agent tries,
    fleet.run("lost");

    // then the status counts its handshakes, with where from and what it trusts,
    let row = fleet.eventually("its handshakes are counted", |fleet| {
        let rows = hints(fleet);
        let row = rows.iter().find(|row| row["label"] == "convoy/t/1")?;
        (row["count"].as_u64() >= Some(2)).then(|| row.clone())
    });
    assert_eq!(row["address"], "127.0.0.1", "{row}");
    let said = "trusts anchors 1, for which no certificate is served";
    assert_eq!(row["words"], said);
    assert!(row["first_at"].as_str() <= row["last_at"].as_str(), "{row}");
    let text = fleet.ok(&["status"]);
    assert!(
        text.contains("anybody can forge") && text.contains(said),
        "{text}"
    );
    // the rotation says it in a line, which says that it proves nothing,
    let text = fleet.ok(&["rotation", "status"]);
    let line = text.lines().find(|line| line.starts_with("Hint: "));
    let line = line.expect("a line");
    assert!(
        line.contains(said) && line.contains("127.0.0.1") && line.contains("anybody can forge it"),
        "{line}"
    );
    // the log says it once for the address,
    let log = fleet.log("controller");
    assert_eq!(log.matches("a peer refused the certificate").count(), 1);

    // and it is a hint, and no more: nothing is degraded by it.
    assert_eq!(fleet.json(&["status"])["degraded"], Value::Array(vec![]));
}

#[test]
fn a_stranger_who_forges_labels_fills_a_few_rows_and_changes_nothing() {
    // Given a fleet with a rotation that waits for a client,
    let mut fleet = Fleet::start_with(&["--metrics-addr", "127.0.0.1:0"]);
    fleet.join_and_run(&["one", "two"]);
    fleet.switch_off("two");
    fleet.rotate(&[]);
    fleet.await_missing(&["two"]);
    let facts = |fleet: &Fleet| {
        let mut rotation = fleet.rotation();
        rotation["refused_handshakes_hint"] = Value::Null;
        let mut status = fleet.json(&["status"]);
        for changing in ["refused_handshakes", "refused_handshakes_hint", "time"] {
            status[changing] = Value::Null;
        }
        (rotation, status, fleet.client("two"))
    };
    let before = facts(&fleet);

    // when a stranger refuses the certificate under many labels,
    let puppet = Puppet::of(&fleet, "two");
    let other = Fleet::start();
    other.join("stranger", &other.ok(&["token", "create"]));
    let stranger = Puppet::of(&other, "stranger").tls();
    let refuse = |label: &Label| {
        let outcome = puppet.shake(&stranger, label);
        assert_eq!(outcome, HandshakeOutcome::Refused, "{label}");
    };
    // (of anchors that the journal knows, so that they are no hint at an old copy)
    let forged = |number: u8| {
        let bits = format!("{number:b}");
        let anchors = bits
            .bytes()
            .map(|bit| AnchorNumber(u64::from(bit - b'0') + 1));
        Label::Trusts(anchors.collect())
    };
    for number in 1..=100 {
        refuse(&forged(number));
    }
    refuse(&Label::TrustsAny);
    refuse(&forged(100));
    // and comes with a decoy that nobody asked for,
    puppet.shake(&stranger, &Label::Decoy(CheckToken([7; 16])));

    // then all are counted, and only the last are kept;
    fleet.eventually("all are counted", |fleet| {
        (metric(fleet, "anchors") == 101 && metric(fleet, "any") == 1).then_some(())
    });
    assert_eq!(metric(&fleet, "probe"), 0);
    let rows = hints(&fleet);
    assert_eq!(rows.len(), 16, "{rows:?}");
    assert_eq!(rows[0]["label"], "convoy/t/2.2.1.1.2.1.1");
    assert_eq!(rows[0]["count"], 2);
    assert_eq!(rows[1]["label"], "convoy/t/*");
    // nothing else has changed, and the fleet goes on.
    assert_eq!(facts(&fleet), before);
    fleet.run("two");
    fleet.await_phase("Completed");
}
