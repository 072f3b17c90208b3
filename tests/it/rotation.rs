//! A rotation from beginning to end, as an operator sees it.

use std::time::Duration;

use crate::{
    curious::{GOAWAY, Held, certificate_seen},
    fleet::Fleet,
};

/// What every completed rotation must show.
fn completes(strategy: &str) {
    // Given a fleet of three, whose controller shows its first certificate on both ports,
    let names = ["one", "two", "three"];
    let mut fleet = Fleet::with_agents(&names);
    let old = fleet.json(&["cert", "show"])["fingerprint"]
        .as_str()
        .expect("hex")
        .to_owned();
    let (generation, new) = fleet.import_new();
    let shown = |fleet: &Fleet| {
        [
            certificate_seen(fleet.agents_addr()),
            certificate_seen(fleet.api_addr()),
        ]
    };
    assert_eq!(shown(&fleet), [old.clone(), old.clone()]);

    // when a rotation starts while one client is away,
    fleet.switch_off("three");
    let id = fleet.ok(&[
        "rotation",
        "start",
        "--to",
        &generation,
        "--strategy",
        strategy,
    ]);
    fleet.await_missing(&["three"]);
    // then gate A is shut, and the old certificate is shown;
    let status = fleet.rotation();
    assert_eq!(status["id"], id.as_str());
    assert_eq!(status["phase"], "Preparing");
    assert_eq!(shown(&fleet), [old.clone(), old.clone()]);
    // nobody but a probe sees the new one.

    // When it comes back and goes away as soon as it is counted, then gate A opens and gate B waits for it;
    fleet.run("three");
    fleet.eventually("gate A is open", |fleet| {
        let phase = fleet.phase();
        (phase != "Preparing").then_some(())
    });
    assert_eq!(shown(&fleet), [new.clone(), new.clone()]);

    let status = fleet.await_phase("Completed");
    assert_eq!(shown(&fleet), [new.clone(), new.clone()]);
    for count in ["clients", "applied", "proved", "confirmed"] {
        assert_eq!(status[count], 3, "{count} in {status}");
    }
    assert_eq!(status["strategy"], strategy);
    assert_eq!(status["old_fingerprint"], old.as_str());
    assert_eq!(status["new_fingerprint"], new.as_str());
    assert_eq!(status["missing"].as_array().map(Vec::len), Some(0));
    for name in names {
        let client = fleet.client(name);
        assert_eq!(client["evidence"], "confirmed");
        assert_eq!(client["verification_mode"], "verify");
        assert_eq!(client["anchors"].as_array().map(Vec::len), Some(1));
    }
    fleet.assert_no_orphans(&names);
}

#[test]
fn overlap_completes_and_shows_the_certificate_of_the_phase() {
    completes("overlap");
}

#[test]
fn toggle_completes_and_shows_the_certificate_of_the_phase() {
    completes("toggle");
}

#[test]
fn a_swap_ends_an_operators_connection_gently() {
    // Given a connection to the operators' port under the old certificate, which asks for nothing,
    let mut fleet = Fleet::with_agents(&["one"]);
    let (generation, new) = fleet.import_new();
    let mut held = Held::open(fleet.api_addr());
    held.speak();
    assert_ne!(held.fingerprint, new);

    // when the certificate changes,
    fleet.ok(&["rotation", "start", "--to", &generation]);
    fleet.await_phase("Completed");

    // then it is told to go, and ended, long before a silent stranger would be cut off.
    let frames = held.frames_until_the_end(Duration::from_secs(15));
    assert!(frames.contains(&GOAWAY), "{frames:?}");
    assert_eq!(certificate_seen(fleet.api_addr()), new);
}
