//! `Details`: each of the printers' lines by the situation that it names, as the device and the controller show it; and which of them are polled for.

use std::net::TcpListener;

use convoy_scep::message::{FailInfo, MessageType};

use crate::{
    fleet::Fleet,
    scep_peer::{Mood, Peer},
};

/// A device, what becomes of its request, its details, a part of the cause, and how often it sends its request or polls.
type Case = (&'static str, Mood, &'static str, &'static str, usize);

const FAULTY: &str = "Response Data Error";
/// With two polls.
const CASES: [Case; 16] = [
    (
        "silent",
        Mood::Silent,
        "Communication Error (TOP ERROR)",
        "no answer in time",
        3,
    ),
    (
        "closes",
        Mood::Closes,
        "Communication Error (TOP ERROR)",
        "no connection",
        3,
    ),
    (
        "h404",
        Mood::Http(404),
        "Communication Error (TOP ERROR 404)",
        "HTTP status 404",
        3,
    ),
    (
        "h500",
        Mood::Http(500),
        "Communication Error (TOP ERROR 500)",
        "HTTP status 500",
        3,
    ),
    (
        "h503",
        Mood::Http(503),
        "Communication Error (TOP ERROR 503)",
        "HTTP status 503",
        3,
    ),
    (
        "f0",
        Mood::Refuses(FailInfo::BadAlg),
        "Communication Error (SCEP ERROR Fail Info 0)",
        "unrecognized or unsupported algorithm",
        1,
    ),
    (
        "f1",
        Mood::Refuses(FailInfo::BadMessageCheck),
        "Communication Error (SCEP ERROR Fail Info 1)",
        "integrity check (CMS signature) failed",
        1,
    ),
    (
        "f2",
        Mood::Refuses(FailInfo::BadRequest),
        "Communication Error (SCEP ERROR Fail Info 2)",
        "operation not permitted or supported",
        1,
    ),
    (
        "f3",
        Mood::Refuses(FailInfo::BadTime),
        "Communication Error (SCEP ERROR Fail Info 3)",
        "signingTime not close enough to the system time",
        1,
    ),
    (
        "f4",
        Mood::Refuses(FailInfo::BadCertId),
        "Communication Error (SCEP ERROR Fail Info 4)",
        "no certificate matches the criteria",
        1,
    ),
    ("garbage", Mood::Garbage, FAULTY, "", 1),
    ("otherkey", Mood::OtherKey, FAULTY, "", 1),
    ("stranger", Mood::Stranger, FAULTY, "", 1),
    // A communication error first: what comes after it is not polled for.
    ("nonce", Mood::OldAnswer, FAULTY, "", 2),
    // Its settings pin another CA.
    ("otherca", Mood::Grants, FAULTY, "", 0),
    (
        "deferred",
        Mood::Defers(u32::MAX),
        "Deferred",
        "waits for approval",
        3,
    ),
];

#[test]
fn every_error_has_its_words_and_is_polled_for_or_not() {
    // Given devices whose SCEP servers fail, each in its own way, and one whose server is not there,
    let peer = Peer::start();
    let mut names: Vec<&str> = CASES.iter().map(|case| case.0).collect();
    names.push("nobody");
    let mut fleet = Fleet::with_agents(&names);
    fleet.scep_at(
        &peer.url("unused"),
        &["--ca-fingerprint", &peer.fingerprint()],
    );
    for (name, mood, ..) in CASES {
        peer.set(name, mood);
        fleet.scep_set(&["--client", name, "--server", &peer.url(name)]);
    }
    fleet.scep_set(&["--client", "silent", "--timeout", "1s"]);
    let other = "ab".repeat(32);
    fleet.scep_set(&["--client", "otherca", "--ca-fingerprint", &other]);
    let closed = TcpListener::bind("127.0.0.1:0").expect("bound");
    let nobody = format!("http://{}/scep", closed.local_addr().expect("bound"));
    drop(closed);
    fleet.scep_set(&["--client", "nobody", "--server", &nobody]);

    // when all request at their set time,
    fleet.ok(&["scep", "timer", "on"]);

    // then each says what went wrong, in the same words at the device and at the controller,
    let top = ("nobody", "Communication Error (TOP ERROR)", "no connection");
    let cases = CASES.map(|(name, _, details, cause, _)| (name, details, cause));
    for (name, details, cause) in cases.into_iter().chain([top]) {
        let shown = fleet.await_scep(name, "Error");
        assert_eq!(shown["details"], details, "{name}: {shown}");
        let words = shown["cause"].as_str().expect("a cause");
        assert!(
            words.contains(cause) && !words.is_empty(),
            "{name}: {shown}"
        );
        assert_eq!(fleet.scep(name)["details"], details);
        let own = &fleet.device_requests(name)[0];
        assert_eq!(own["status"], "Error", "{name}: {own}");
        assert_eq!(own["details"], details, "{name}: {own}");
        assert_eq!(own["cause"], shown["cause"], "{name}: {own}");
    }
    // and has asked again only where that can help.
    for (name, .., posts) in CASES {
        assert_eq!(peer.posts(name), posts, "{name}");
    }
    let polled = [
        MessageType::PkcsReq,
        MessageType::CertPoll,
        MessageType::CertPoll,
    ];
    assert_eq!(peer.kinds("deferred"), polled);
    for text in [
        fleet.ok(&["scep", "status"]),
        fleet.at_device("h503", &["scep", "status"]).stdout,
    ] {
        assert!(
            text.contains("Communication Error (TOP ERROR 503)"),
            "{text}"
        );
    }
}

#[test]
fn a_deferral_is_processing_until_it_is_approved() {
    // Given a SCEP server where somebody approves,
    let peer = Peer::start();
    peer.set("desk", Mood::Defers(u32::MAX));
    let mut fleet = Fleet::with_agents(&["one"]);
    fleet.scep_at(&peer.url("desk"), &[]);
    fleet.scep_set(&["--polls", "1000"]);

    // when a device requests,
    let attempt = fleet.ok(&["scep", "request", "one", "--key-name", "web"]);

    // then it is being processed, which both show,
    let shown = fleet.eventually("a poll", |fleet| {
        let shown = fleet.scep("one");
        (shown["record"]["polls"].as_u64()? > 0).then_some(shown)
    });
    assert_eq!(shown["status"], "Processing...", "{shown}");
    assert_eq!(shown["record"]["attempt"].to_string(), attempt);
    assert_eq!(shown["record"]["key_name"], "web");
    let own = &fleet.device_requests("one")[0];
    assert_eq!(own["status"], "Processing...", "{own}");
    let words = own["details"].as_str().expect("words");
    assert!(words.contains("Deferred"), "{own}");

    // and when it is approved, then it has its certificate, and it was one transaction.
    peer.set("desk", Mood::Grants);
    let shown = fleet.await_scep("one", "Successful");
    let issued = peer.issued("desk");
    assert_eq!(issued.len(), 1);
    assert_eq!(
        shown["record"]["certificate"]["serial"],
        issued[0].serial_hex(),
        "{shown}"
    );
    let seen = peer.seen("desk");
    assert_eq!(seen[0].kind, MessageType::PkcsReq);
    assert!(seen.len() > 1);
    for poll in &seen[1..] {
        assert_eq!(poll.kind, MessageType::CertPoll);
        assert_eq!(poll.transaction, seen[0].transaction);
    }
}

#[test]
fn a_device_that_is_full_sends_nothing_and_makes_room_where_it_may() {
    // Given a device with as many keys as it may hold,
    let peer = Peer::start();
    let mut fleet = Fleet::with_agents(&["one"]);
    fleet.scep_at(&peer.url("desk"), &["--max-keys", "1"]);
    fleet.ok(&["scep", "request", "one", "--key-name", "first", "--wait"]);
    let first = fleet.device_certificates("one");
    assert_eq!(peer.posts("desk"), 1);

    // when it is to request another, then that fails at once, and nothing is sent:
    let limit = "Key and Certificate Registration Limit Error";
    let said = fleet
        .convoy(&["scep", "request", "one", "--key-name", "second", "--wait"])
        .failed(1);
    assert!(said.contains(limit), "{said}");
    assert_eq!(fleet.device_requests("one")[0]["details"], limit);
    // so it is by the timer, without polling;
    fleet.ok(&["scep", "timer", "on"]);
    let shown = fleet.eventually("the timer's request", |fleet| {
        let shown = fleet.scep("one");
        (shown["record"]["attempt"] == 3 && shown["status"] == "Error").then_some(shown)
    });
    assert_eq!(shown["details"], limit);
    let cause = shown["cause"].as_str().expect("words");
    assert!(cause.contains("Delete Old Key and Certificate"), "{shown}");
    assert_eq!(peer.posts("desk"), 1);
    assert_eq!(fleet.device_certificates("one"), first);
    fleet.ok(&["scep", "timer", "off"]);

    // and when the old one may be deleted, then there is room, and the old key is gone.
    let key = |attempt: u32| {
        let file = format!("scep/key-{attempt}.pem");
        fleet.state_dir("one").join(file)
    };
    let (old, new) = (key(1), key(4));
    assert!(old.exists());
    fleet.scep_set(&["--delete-old", "true"]);
    fleet.ok(&["scep", "request", "one", "--key-name", "third", "--wait"]);
    let held = fleet.device_certificates("one");
    assert_eq!(held.len(), 2);
    assert_eq!(
        (&held[0]["held"], &held[0]["in_use"]),
        (&true.into(), &true.into())
    );
    assert_eq!(
        (&held[1]["held"], &held[1]["in_use"]),
        (&false.into(), &false.into())
    );
    assert!(!old.exists() && new.exists());
}
