//! The story of a device that enrols by every kind of challenge password; none of them ever stands on a disk in clear, and no key but where it belongs.

use convoy_agent::{disk::StateDir, key::IdentityKey};
use convoy_shared::secret;

use crate::{
    fleet::Fleet,
    scep_ndes_page::{Ndes, PASSWORD, USER},
    scep_peer::Peer,
    scep_places::Place,
};

/// Who said what, of all programs that a story has run.
struct Told(String);

impl Told {
    #[track_caller]
    fn ok(&mut self, fleet: &Fleet, args: &[&str]) {
        let said = fleet.convoy(args);
        assert_eq!(said.code, 0, "{args:?}: {said:?}");
        self.0.push_str(&said.stdout);
        self.0.push_str(&said.stderr);
    }
}

/// The challenge password that a device has kept, which its own key opens.
fn kept_by(fleet: &Fleet, name: &str) -> String {
    let folder = fleet.state_dir(name);
    let key = StateDir::open(&folder).expect("a state folder");
    let key = IdentityKey::load(&key).expect("a key").sealing();
    let sealed = std::fs::read(folder.join("scep/challenge")).expect("a challenge that is kept");
    let text = secret::open(key.expect("a key").as_ref(), "challenge", &sealed);
    let text = String::from_utf8(text.expect("sealed").to_vec()).expect("UTF-8");
    text.lines().last().unwrap_or_default().to_owned()
}

#[test]
fn secrets_stand_only_where_they_belong() {
    // Given a controller with everything, that logs all it can, and a device,
    let ndes = Ndes::start(3);
    let peer = Peer::start();
    peer.wants_of("ndes", &ndes.page);
    let mut fleet = Fleet::unstarted();
    fleet.set_filter("trace");
    fleet.set_options(&["--scep-addr", "127.0.0.1:0"]);
    fleet.start_controller();
    fleet.join_and_run(&["one"]);
    let place = Place::new(&fleet, "tls");
    fleet.configure("one", &place.table(""));
    let mut told = Told(String::new());
    let manual = "by-hand-3141592653";
    let stored = "stored-2718281828";
    for (desk, secret) in [("manual", manual), ("stored", stored)] {
        peer.wants(desk, secret);
    }

    // when it requests with a challenge that the controller made for it, unseen,
    fleet.scep_at(&peer.url("manual"), &["--max-keys", "20"]);
    told.ok(
        &fleet,
        &[
            "scep",
            "settings",
            "set",
            "--server",
            "built-in",
            "--challenge",
            "built-in",
            "--key-use",
            "TLS",
        ],
    );
    fleet.ok(&["scep", "timer", "on"]);
    let shown = fleet.await_scep("one", "Successful");
    let issued = fleet.json(&["scep", "issued", "list"]);
    assert_eq!(
        issued[0]["serial"], shown["record"]["certificate"]["serial"],
        "{issued}"
    );
    assert_eq!(
        hex::encode_upper(place.pair().fingerprint()),
        shown["record"]["certificate"]["fingerprint"]
            .as_str()
            .expect("hex")
            .to_uppercase()
    );
    fleet.ok(&["scep", "timer", "off"]);
    // The device keeps it for when the controller is away, and not in clear.
    let handed = kept_by(&fleet, "one");
    assert_eq!(handed.len(), 32);
    assert_eq!(fleet.files_with(&handed), Vec::<String>::new());

    // with one that an operator was given,
    let given = fleet.ok(&["scep", "challenge", "create"]);
    let file = fleet.secret_file("secret", &given);
    told.ok(
        &fleet,
        &[
            "scep",
            "request",
            "one",
            "--wait",
            "--challenge-file",
            &file,
        ],
    );
    told.ok(&fleet, &["scep", "challenge", "list", "-o", "json"]);
    // by hand, at the controller and at the device,
    let url = peer.url("manual");
    told.ok(
        &fleet,
        &[
            "scep",
            "settings",
            "set",
            "--server",
            &url,
            "--challenge",
            "none",
        ],
    );
    fleet.await_settings("one");
    let file = fleet.secret_file("secret", manual);
    told.ok(
        &fleet,
        &[
            "scep",
            "request",
            "one",
            "--wait",
            "--challenge-file",
            &file,
        ],
    );
    let said = fleet.at_device("one", &["scep", "request", "--challenge-file", &file]);
    assert_eq!(said.code, 0, "{said:?}");
    told.0.push_str(&format!("{said:?}"));
    // with one that the controller keeps,
    let file = fleet.secret_file("secret", stored);
    let url = peer.url("stored");
    told.ok(
        &fleet,
        &[
            "scep",
            "settings",
            "set",
            "--server",
            &url,
            "--challenge",
            "stored",
            "--challenge-file",
            &file,
        ],
    );
    told.ok(&fleet, &["scep", "request", "one", "--wait"]);
    // and with one of NDES,
    let file = fleet.secret_file("secret", PASSWORD);
    let url = peer.url("ndes");
    told.ok(
        &fleet,
        &[
            "scep",
            "settings",
            "set",
            "--server",
            &url,
            "--challenge",
            "ndes",
            "--ndes-url",
            &ndes.url,
        ],
    );
    told.ok(
        &fleet,
        &[
            "scep",
            "settings",
            "set",
            "--ndes-user",
            USER,
            "--ndes-password-file",
            &file,
        ],
    );
    told.ok(&fleet, &["scep", "request", "one", "--wait"]);
    let shown = peer
        .seen("ndes")
        .pop()
        .and_then(|seen| seen.challenge)
        .expect("a challenge");
    for args in [
        ["scep", "status"],
        ["scep", "history"],
        ["settings", "export"],
    ] {
        told.0
            .push_str(&format!("{:?}", fleet.at_device("one", &args)));
    }
    told.ok(&fleet, &["scep", "status", "-o", "json"]);
    told.ok(&fleet, &["scep", "history", "one", "-o", "json"]);
    told.ok(&fleet, &["export"]);
    std::fs::remove_file(&file).expect("removed");

    // then none of them stands anywhere in clear, and none was said,
    for secret in [manual, &given, &shown, &handed, stored, PASSWORD] {
        assert_eq!(fleet.files_with(secret), Vec::<String>::new(), "{secret}");
        assert!(!told.0.contains(secret), "{secret} was said");
    }
    // and keys are in key files alone.
    assert!(!told.0.contains("PRIVATE KEY"));
    for file in fleet.files_with("PRIVATE KEY") {
        let meant = [
            "d/keys/",
            "a-one/identity.key",
            "a-one/scep/key-",
            "tls/tls.key",
        ];
        assert!(
            meant.iter().any(|place| file.starts_with(place)),
            "a private key in {file}"
        );
    }
}
