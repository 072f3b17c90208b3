//! Server certificates that an operator brings: what is accepted, what is refused and in which words, and that a whole rotation follows.
//! The files are in `tests/data`, where a README says how each was made.

use std::{collections::BTreeSet, fs, path::PathBuf};

use crate::{
    curious::certificate_seen,
    fleet::{Fleet, Said},
};

fn data(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("data")
        .join(name)
}

fn import(fleet: &Fleet, certificate: &str, key: &str) -> Said {
    let path = |name: &str| {
        let made = fleet.path(name);
        let path = if made.exists() { made } else { data(name) };
        path.to_str().expect("UTF-8").to_owned()
    };
    fleet.convoy(&[
        "cert",
        "import",
        "--cert",
        &path(certificate),
        "--key",
        &path(key),
    ])
}

/// The names of the files with the keys of server certificates.
fn keys(fleet: &Fleet) -> BTreeSet<String> {
    fs::read_dir(fleet.data_dir().join("keys/server"))
        .expect("a folder")
        .map(|entry| {
            entry
                .expect("an entry")
                .file_name()
                .into_string()
                .expect("UTF-8")
        })
        .collect()
}

fn served(fleet: &Fleet) -> [String; 2] {
    [
        certificate_seen(fleet.agents_addr()),
        certificate_seen(fleet.api_addr()),
    ]
}

#[test]
fn good_certificates_of_every_kind_are_accepted() {
    let fleet = Fleet::start();
    for (number, certificate, key, algorithm) in [
        (2, "p256.crt", "p256.key", "ECDSA P-256"),
        (3, "p384.crt", "p384-sec1.key", "ECDSA P-384"),
        (4, "p521.crt", "p521.key", "ECDSA P-521"),
        (5, "rsa2048.crt", "rsa2048-pkcs1.key", "RSA 2048"),
        (6, "rsa4096.crt", "rsa4096.key", "RSA 4096"),
        (7, "pss-sha256.crt", "rsa2048.key", "RSA 2048"),
        (8, "chain.crt", "p256.key", "ECDSA P-256"),
    ] {
        // When an operator imports one, then its generation is alone on stdout;
        let said = import(&fleet, certificate, key);
        assert_eq!(said.code, 0, "{certificate}: {said:?}");
        assert_eq!(said.stdout, format!("{number}\n"), "{certificate}");
        assert!(said.stderr.contains("convoy rotation start"), "{said:?}");
        // and it is described as it is, available but not served;
        let shown = fleet.json(&["cert", "show", &number.to_string()]);
        assert_eq!(shown["key_algorithm"], algorithm, "{certificate}");
        assert_eq!(shown["state"], "available");
        assert_eq!(
            shown["names"],
            serde_json::json!(["127.0.0.1", "localhost"])
        );
        assert_eq!(shown["not_before"], "2024-01-01T00:00:00Z");
        assert_eq!(shown["not_after"], "2124-01-01T00:00:00Z");
        let pem = fs::read_to_string(data(certificate)).expect("a file");
        assert_eq!(
            shown["pem"].as_str().map(str::trim),
            Some(pem.trim()),
            "{certificate}"
        );
        assert_ne!(
            shown["fingerprint"].as_str(),
            Some(served(&fleet)[0].as_str())
        );

        // and importing it again gives the same generation, whatever the key's spelling.
        let again = import(&fleet, certificate, key);
        assert_eq!(
            again.stdout,
            format!("{number}\n"),
            "{certificate}: {again:?}"
        );
    }
    let again = import(&fleet, "rsa2048.crt", "rsa2048.key");
    assert_eq!(again.stdout, "5\n");

    // They are listed, once each, for scripts and for people.
    let listed = fleet.json(&["cert", "list"]);
    let listed = listed.as_array().expect("a list");
    let generations: Vec<_> = listed
        .iter()
        .map(|one| one["generation"].as_u64())
        .collect();
    assert_eq!(generations, (1..=8).map(Some).collect::<Vec<_>>());
    assert!(listed.iter().all(|one| one.get("pem").is_none()));
    assert_eq!(listed[0]["state"], "serving");
    let spoken = fleet.ok(&["cert", "list"]);
    assert_eq!(spoken.lines().count(), 9, "{spoken}");
    assert!(spoken.starts_with("GENERATION"), "{spoken}");
    for (line, one) in spoken.lines().skip(1).zip(listed) {
        for word in ["fingerprint", "key_algorithm", "state"] {
            assert!(
                line.contains(one[word].as_str().expect("a word")),
                "{word}: {line}"
            );
        }
    }
    let spoken = fleet.ok(&["cert", "show", "5"]);
    for words in [
        "RSA 2048",
        "127.0.0.1, localhost",
        "2124-01-01",
        "-----BEGIN CERTIFICATE-----",
    ] {
        assert!(spoken.contains(words), "{words}: {spoken}");
    }
    assert!(!spoken.contains("PRIVATE"));
    let refused = fleet.convoy(&["cert", "show", "9"]).failed(1);
    assert!(refused.contains("[GENERATION_UNKNOWN]"), "{refused}");
}

#[test]
fn what_cannot_be_served_is_refused_with_the_reason_and_leaves_nothing() {
    // Given a controller with its first certificate, and files of all kinds of garbage,
    let mut fleet = Fleet::start();
    let good = fs::read_to_string(data("p256.crt")).expect("a file");
    let key = fs::read_to_string(data("p256.key")).expect("a file");
    let half = |text: &str| text[..text.len() / 2].to_owned();
    let swapped = |text: &str| text.replacen("MI", "IM", 1);
    for (name, content) in [
        ("empty", Vec::new()),
        ("words", b"hello\n".to_vec()),
        ("binary", (0..=255).collect()),
        ("half.crt", half(&good).into_bytes()),
        ("half.key", half(&key).into_bytes()),
        ("torn.crt", swapped(&good).into_bytes()),
        ("torn.key", swapped(&key).into_bytes()),
        (
            "after.crt",
            format!("{good}{}", swapped(&good)).into_bytes(),
        ),
        ("large.crt", good.repeat(500).into_bytes()),
        (
            "large.key",
            [key.clone().into_bytes(), vec![b'x'; 300_000]].concat(),
        ),
        ("huge", vec![b'x'; 2 << 20]),
    ] {
        fs::write(fleet.path(name), content).expect("written");
    }
    let listed = fleet.ok(&["cert", "list"]);
    let kept = keys(&fleet);
    assert_eq!(kept.len(), 1);

    for (certificate, key, reason) in [
        ("p256.crt", "p384.key", "[KEY_DOES_NOT_FIT]"),
        ("p256.crt", "rsa2048.key", "[KEY_DOES_NOT_FIT]"),
        ("chain.crt", "p384.key", "[KEY_DOES_NOT_FIT]"),
        ("expired.crt", "p256.key", "[CERTIFICATE_EXPIRED]"),
        ("one-name.crt", "p256.key", "[CERTIFICATE_NAMES]"),
        ("rsa1024.crt", "rsa1024.key", "[KEY_WEAK]"),
        ("sha1.crt", "rsa2048.key", "[SIGNATURE_WEAK]"),
        ("ecdsa-sha1.crt", "p256.key", "[SIGNATURE_WEAK]"),
        ("md5.crt", "rsa2048.key", "[SIGNATURE_WEAK]"),
        ("pss-sha1.crt", "rsa2048.key", "[SIGNATURE_WEAK]"),
        ("secp256k1.crt", "secp256k1.key", "[KEY_ALGORITHM]"),
        ("ed25519.crt", "ed25519.key", "[KEY_ALGORITHM]"),
        ("critical.crt", "p256.key", "[CERTIFICATE_UNSERVABLE]"),
        ("p256.key", "p256.crt", "[CERTIFICATE_UNREADABLE]"),
        ("empty", "p256.key", "[CERTIFICATE_UNREADABLE]"),
        ("words", "p256.key", "[CERTIFICATE_UNREADABLE]"),
        ("binary", "p256.key", "[CERTIFICATE_UNREADABLE]"),
        ("half.crt", "p256.key", "[CERTIFICATE_UNREADABLE]"),
        ("torn.crt", "p256.key", "[CERTIFICATE_UNREADABLE]"),
        ("after.crt", "p256.key", "[CERTIFICATE_UNREADABLE]"),
        ("large.crt", "p256.key", "[CERTIFICATE_TOO_LARGE]"),
        ("huge", "p256.key", "[CERTIFICATE_TOO_LARGE]"),
        ("p256.crt", "p256.crt", "[KEY_UNREADABLE]"),
        ("p256.crt", "empty", "[KEY_UNREADABLE]"),
        ("p256.crt", "words", "[KEY_UNREADABLE]"),
        ("p256.crt", "binary", "[KEY_UNREADABLE]"),
        ("p256.crt", "half.key", "[KEY_UNREADABLE]"),
        ("p256.crt", "torn.key", "[KEY_"),
        ("p256.crt", "large.key", "[CERTIFICATE_TOO_LARGE]"),
        ("p256.crt", "huge", "[CERTIFICATE_TOO_LARGE]"),
        ("p256.crt", "encrypted.key", "[KEY_ENCRYPTED]"),
        ("rsa2048.crt", "encrypted-pkcs1.key", "[KEY_ENCRYPTED]"),
        ("missing", "p256.key", "cannot read"),
        ("p256.crt", "missing", "cannot read"),
        ("p256.crt", ".", "cannot read"),
    ] {
        // when an operator imports one,
        let said = import(&fleet, certificate, key);
        // then it is refused with the reason, nothing is on stdout,
        assert!(said.stdout.is_empty(), "{certificate} {key}: {said:?}");
        let refused = said.failed(1);
        assert!(refused.contains(reason), "{certificate} {key}: {refused}");
        // nothing that was handed in is repeated,
        assert!(!refused.contains("MIG"), "{certificate} {key}: {refused}");
        // and everything is as before.
        assert_eq!(fleet.ok(&["cert", "list"]), listed, "{certificate} {key}");
        assert_eq!(keys(&fleet), kept, "{certificate} {key}");
    }
    assert!(fleet.controller_lives());
    // Then the good one is still good,
    assert_eq!(import(&fleet, "p256.crt", "p256.key").stdout, "2\n");
    assert_eq!(keys(&fleet).len(), 2);
    // and the certificate and the key may stand in one file.
    fs::write(fleet.path("both"), format!("{key}{good}")).expect("written");
    assert_eq!(import(&fleet, "both", "both").stdout, "2\n");
}

#[test]
fn every_name_of_the_controller_must_be_covered() {
    let fleet = Fleet::start_with(&["--name", "convoy.corp.example"]);
    let refused = import(&fleet, "p256.crt", "p256.key").failed(1);
    assert!(
        refused.contains("[CERTIFICATE_NAMES]") && refused.contains("convoy.corp.example"),
        "{refused}"
    );
    // A wildcard covers one label and needs two behind it, as clients want it; letters' case does not count.
    for (names, good) in [
        (["127.0.0.1", "localhost", "*.example"], false),
        (["127.0.0.1", "localhost", "*.corp.example"], true),
        (["127.0.0.1", "localhost", "CONVOY.Corp.Example"], true),
        (["127.0.0.1", "localhost", "*.convoy.corp.example"], false),
        (["127.0.0.2", "localhost", "convoy.corp.example"], false),
    ] {
        let (certificate, key) = fleet.new_certificate("named", &names);
        let said = fleet.convoy(&[
            "cert",
            "import",
            "--cert",
            certificate.to_str().expect("UTF-8"),
            "--key",
            key.to_str().expect("UTF-8"),
        ]);
        assert_eq!(said.code, i32::from(!good), "{names:?}: {said:?}");
    }
}

#[test]
fn a_rotation_to_a_certificate_of_each_kind_completes_and_back_again() {
    // Given a fleet of two,
    let names = ["one", "two"];
    let mut fleet = Fleet::with_agents(&names);
    let first = served(&fleet)[0].clone();

    // when it rotates to certificates marked CA:TRUE of three kinds, and to one with a chain,
    for (generation, certificate, key) in [
        (2, "rsa2048.crt", "rsa2048-pkcs1.key"),
        (3, "p384.crt", "p384-sec1.key"),
        (4, "p256.crt", "p256.key"),
        (5, "p521.crt", "p521.key"),
    ] {
        let said = import(&fleet, certificate, key);
        assert_eq!(said.stdout, format!("{generation}\n"), "{said:?}");
        fleet.ok(&["rotation", "start", "--to", said.stdout.trim_end()]);
        // then each rotation completes, everyone sees the certificate, and no client is lost.
        let done = fleet.await_phase("Completed");
        assert_eq!(done["to_generation"], generation);
        assert_eq!(done["confirmed"], 2, "{certificate}");
        let shown = fleet.json(&["cert", "show"]);
        assert_eq!(shown["generation"], generation);
        let fingerprint = shown["fingerprint"].as_str().expect("hex");
        assert_eq!(served(&fleet), [fingerprint, fingerprint], "{certificate}");
        fleet.assert_no_orphans(&names);
    }

    // When the first one is put back, by its number,
    let refused = fleet.convoy(&["rotation", "start", "--to", "5"]).failed(1);
    assert!(refused.contains("[GENERATION_SERVED]"), "{refused}");
    fleet.ok(&["rotation", "start", "--to", "1"]);
    // then it is served again under that number.
    let done = fleet.await_phase("Completed");
    assert_eq!(done["to_generation"], 1);
    let shown = fleet.json(&["cert", "show"]);
    assert_eq!(shown["generation"], 1);
    assert_eq!(shown["anchor"], 1);
    assert_eq!(served(&fleet), [first.clone(), first]);
    fleet.assert_no_orphans(&names);

    // An old one that is imported again keeps its number too, and a rotation to it completes.
    assert_eq!(import(&fleet, "rsa2048.crt", "rsa2048.key").stdout, "2\n");
    fleet.ok(&["rotation", "start", "--to", "2", "--strategy", "toggle"]);
    fleet.await_phase("Completed");
    fleet.restart_controller();
    fleet.await_connected(&names);
    fleet.assert_no_orphans(&names);
}

#[test]
fn a_certificate_keeps_one_number_for_life() {
    // Given a fleet that serves its second certificate,
    let names = ["one", "two"];
    let mut fleet = Fleet::with_agents(&names);
    let first = served(&fleet)[0].clone();
    let (second, second_fingerprint) = fleet.import_new();
    assert_eq!(second, "2");
    fleet.ok(&["rotation", "start", "--to", "2"]);
    fleet.await_phase("Completed");
    let states = |fleet: &Fleet| {
        let listed = fleet.json(&["cert", "list"]);
        let listed = listed.as_array().expect("a list");
        listed
            .iter()
            .map(|one| {
                let word = |key: &str| one[key].as_str().expect("a word").to_owned();
                assert!(!one["in_service_since"].is_null(), "{one}");
                (
                    one["generation"].as_u64(),
                    word("state"),
                    word("fingerprint"),
                )
            })
            .collect::<Vec<_>>()
    };

    // when it goes back and forth between the two,
    for (to, from, strategy) in [
        ("1", 2, "overlap"),
        ("2", 1, "toggle"),
        ("1", 2, "overlap"),
        ("2", 1, "overlap"),
    ] {
        let said = fleet.convoy(&["rotation", "start", "--to", to, "--strategy", strategy]);
        assert_eq!(said.code, 0, "{said:?}");
        // then each rotation is told with the numbers that were asked for,
        assert!(
            said.stderr.contains(&format!("certificate {from} to {to}")),
            "{said:?}"
        );
        let done = fleet.await_phase("Completed");
        assert_eq!(done["from_generation"], from);
        assert_eq!(done["to_generation"].to_string(), to);
        assert_eq!(done["confirmed"], 2);
        // there are two certificates, of which one is served,
        let word = |serves: bool| if serves { "serving" } else { "bridge" }.to_owned();
        assert_eq!(
            states(&fleet),
            [
                (Some(1), word(to == "1"), first.clone()),
                (Some(2), word(to == "2"), second_fingerprint.clone()),
            ]
        );
        fleet.assert_no_orphans(&names);
    }

    // and what is retired is served to nobody until it is put in service again.
    let refused = fleet.convoy(&["cert", "retire", "2"]).failed(1);
    assert!(refused.contains("[CERTIFICATE_IN_USE]"), "{refused}");
    fleet.ok(&["cert", "retire", "1"]);
    assert_eq!(states(&fleet)[0].1, "retired");
    assert_eq!(
        fleet.import(&fleet.path("new.crt"), &fleet.path("new.key")),
        "2"
    );
    fleet.ok(&["rotation", "start", "--to", "1"]);
    fleet.await_phase("Completed");
    assert_eq!(states(&fleet)[0].1, "serving");
    let refused = fleet.convoy(&["cert", "retire", "1"]).failed(1);
    assert!(refused.contains("[CERTIFICATE_IN_USE]"), "{refused}");
    fleet.restart_controller();
    fleet.await_connected(&names);
    assert_eq!(states(&fleet)[0].1, "serving");
    fleet.assert_no_orphans(&names);
}

#[test]
fn a_rotation_to_a_leaf_of_a_ca_completes() {
    let names = ["one"];
    let mut fleet = Fleet::with_agents(&names);
    let generation = import(&fleet, "chain.crt", "p256.key").stdout;
    fleet.ok(&["rotation", "start", "--to", generation.trim_end()]);
    fleet.await_phase("Completed");
    fleet.assert_no_orphans(&names);
    // Another certificate for the same key has the same anchor: nobody needs new trust, and it is a rotation all the same.
    let generation = import(&fleet, "p256.crt", "p256.key").stdout;
    let anchor =
        |generation: &str| fleet.json(&["cert", "show", generation.trim_end()])["anchor"].clone();
    assert_eq!(anchor(&generation), anchor("2"));
    fleet.ok(&["rotation", "start", "--to", generation.trim_end()]);
    fleet.await_phase("Completed");
    fleet.assert_no_orphans(&names);
}
