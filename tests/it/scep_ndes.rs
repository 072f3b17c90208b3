//! Where devices have their challenge passwords from: stored at the controller, from NDES's page, or from nowhere.

use std::collections::BTreeSet;

use convoy_controller::clock;

use crate::{
    fleet::Fleet,
    scep_ndes_page::{Ndes, PASSWORD, USER},
    scep_peer::Peer,
    scep_view::soon,
};

#[test]
fn a_stored_challenge_reaches_those_who_may_have_it() {
    // Given a SCEP server with a password for all, of which the controller was not told,
    let peer = Peer::start();
    let secret = "one-password-for-all";
    peer.wants("desk", secret);
    let mut fleet = Fleet::with_agents(&["one", "gone"]);
    let said = fleet.scep_at_said(&peer.url("desk"), &["--challenge", "stored"]);
    assert!(
        said.contains("was not given the challenge password"),
        "{said}"
    );
    let said = fleet
        .convoy(&["scep", "request", "one", "--wait"])
        .failed(1);
    assert!(said.contains("was not given the password"), "{said}");
    assert_eq!(peer.posts("desk"), 0);

    // when it is told, then nobody sees it again, and a request has it;
    let file = fleet.secret_file("challenge", secret);
    fleet.scep_set(&["--challenge-file", &file]);
    let shown = fleet.json(&["scep", "settings", "show"]);
    assert_eq!(shown["challenge_stored"], true, "{shown}");
    assert!(!shown.to_string().contains(secret));
    fleet.ok(&["scep", "request", "one", "--wait"]);
    let seen = peer.seen("desk");
    assert_eq!(seen[0].challenge.as_deref(), Some(secret));

    // and who is decommissioned gets none, though its timer is on.
    let start = soon(5);
    fleet.ok(&["scep", "timer", "on", "--start", &start.to_string()]);
    for name in ["one", "gone"] {
        fleet.await_settings(name);
    }
    fleet.ok(&["clients", "decommission", "gone", "--yes"]);
    fleet.eventually("the other's second certificate", |fleet| {
        (fleet.device_certificates("one").len() == 2).then_some(())
    });
    fleet.eventually("its request has failed", |fleet| {
        let requests = fleet.device_requests("gone");
        let made = requests
            .as_array()?
            .iter()
            .find(|row| row["attempt"] == 1)?;
        (made["status"] == "Error").then_some(())
    });
    assert!(clock::now() > start);
    assert_eq!(peer.seen("desk").len(), 2);
    assert_eq!(fleet.device_certificates("gone").len(), 0);
    assert!(!fleet.state_dir("gone").join("scep/challenge").exists());
}

#[test]
fn ndes_is_asked_just_before_each_request_and_never_overrun() {
    // Given NDES with room for two challenges, both of which somebody else has, and four devices,
    let ndes = Ndes::start(2);
    let peer = Peer::start();
    peer.wants_of("desk", &ndes.page);
    let names = ["one", "two", "three", "four"];
    let mut fleet = Fleet::with_agents(&names);
    let password = fleet.secret_file("ndes", PASSWORD);
    let page = [
        "--challenge",
        "ndes",
        "--ndes-url",
        &ndes.url,
        "--ndes-cache",
        "2",
    ];
    let user = ["--ndes-user", USER, "--ndes-password-file", &password];
    fleet.scep_at(&peer.url("desk"), &[&page[..], &user].concat());
    fleet.scep_set(&["--polls", "60"]);
    ndes.page.fill();
    assert_eq!(ndes.page.made(), 0);

    // when their timers are on, then they wait, and none sends anything;
    fleet.ok(&["scep", "timer", "on"]);
    fleet.eventually("NDES is full", |_| (ndes.page.refused() > 0).then_some(()));
    fleet.await_scep("one", "Processing...");
    assert_eq!((peer.posts("desk"), ndes.page.made()), (0, 0));

    // when there is room again, then each has a challenge of its own, and NDES is asked for no more than it has room for.
    ndes.page.empty();
    for name in names {
        fleet.await_scep(name, "Successful");
    }
    let used: BTreeSet<_> = peer
        .seen("desk")
        .into_iter()
        .map(|seen| seen.challenge)
        .collect();
    assert_eq!((used.len(), ndes.page.made()), (4, 4));
    assert!(!used.contains(&None));
    assert_eq!(ndes.page.refused(), 0);

    // And a wrong password is said as such, and nothing is sent.
    let posts = peer.posts("desk");
    fleet.ok(&["scep", "timer", "off"]);
    fleet.scep_set(&["--polls", "1"]);
    let wrong = fleet.secret_file("ndes", "not-the-password");
    fleet.scep_set(&["--ndes-password-file", &wrong]);
    let said = fleet
        .convoy(&["scep", "request", "one", "--wait"])
        .failed(1);
    assert!(said.contains("NDES refuses the user"), "{said}");
    assert!(!said.contains("not-the-password"), "{said}");
    assert_eq!(peer.posts("desk"), posts);
}
