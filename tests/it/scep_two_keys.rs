//! A built-in CA that signs with ECDSA, with an RA for messages: devices, agents, restarts, and rollovers there and back.

use std::{fs, os::unix::fs::PermissionsExt as _};

use convoy_scep::{
    certificate::Certificate,
    client::{Query, Settings, next_ca_request, read_next_ca},
    cms,
};
use serde_json::json;

use crate::{
    fleet::Fleet,
    scepper::{Desk, Device, Door, key},
};

const ECDSA: [&str; 2] = ["--scep-ca-key", "ecdsa-p256"];

#[test]
fn devices_are_served_by_a_ca_that_signs_with_ecdsa() {
    // Given a controller that makes such a CA at its first start,
    let mut fleet = Fleet::serving_scep(&ECDSA);
    let door = Door::of(&fleet);
    let challenge = Desk::of(&fleet).challenge_for(0);
    let reply = door.get("operation=GetCACert");
    let kind = "content-type: application/x-x509-ca-ra-cert\r\n";
    assert!(reply.head.contains(kind), "{}", reply.head);
    let shown = cms::read_certs_only(&reply.body).expect("certificates");
    let [ca, ra] = shown.certificates.as_slice() else {
        panic!("{shown:?}")
    };
    assert!(ca.is_self_signed() && ca.is_ca());
    assert!(ra.is_issued_by(ca) && !ra.is_ca());

    // then its keys are its own to read,
    let keys: Vec<_> = fs::read_dir(fleet.data_dir().join("keys/scep"))
        .expect("a folder")
        .map(|entry| entry.expect("a file").path())
        .filter(|path| path.extension().is_some_and(|kind| kind == "pem"))
        .collect();
    assert_eq!(keys.len(), 2, "{keys:?}");
    for path in &keys {
        let mode = fs::metadata(path).expect("a file").permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{}", path.display());
    }
    // operators see what it is,
    let told = fleet.json(&["scep", "ca", "show"])["authorities"][0].clone();
    assert_eq!(told["key"], "ecdsa-p256");
    assert_eq!(told["fingerprint"], hex::encode(ca.fingerprint()));
    assert_eq!(told["ra_fingerprint"], hex::encode(ra.fingerprint()));
    assert_eq!(fleet.ok(&["scep", "ca", "export"]), ca.to_pem().trim_end());

    // and devices that know nothing but its fingerprint enrol, by POST and by GET, renew, and fetch the list; also after a restart.
    for _ in 0..2 {
        for get_only in [false, true] {
            let mut device = Device::new(door, "p1.example");
            device.settings.get_only = get_only;
            let issued = device.enrol(&challenge).expect("a certificate");
            assert!(issued.certificate.is_issued_by(ca));
            assert_eq!(issued.ca, std::slice::from_ref(ca));
            let fresh = key();
            let renewed = device.renew(&issued.certificate, &fresh);
            let renewed = renewed.expect("a certificate").certificate;
            assert!(renewed.is_issued_by(ca) && renewed.spki() == fresh.spki());

            let (settings, known) = (Settings::default(), door.known());
            let signer = (&renewed, &fresh);
            let (mut query, request) = Query::crl(&settings, &known, signer).expect("a query");
            let bag = query.receive(&door.send(&request).into_http());
            assert_eq!(
                bag.expect("a list").crls,
                [door.at("/scep/crl").get("").body]
            );
        }
        fleet.restart_controller();
    }

    // The option is for the first CA only.
    fleet.set_options(&["--scep-addr", &fleet.scep_addr().to_string()]);
    fleet.restart_controller();
    assert_eq!(door.ca(), *ca);
}

#[test]
fn a_request_waits_at_a_ca_that_signs_with_ecdsa() {
    let fleet = Fleet::serving_scep(&ECDSA);
    let door = Door::of(&fleet);
    fleet.ok(&["scep", "approval", "manual"]);
    let mut device = Device::new(door, "p1.example");
    device.settings.polls = 10;
    let mut applicant = device.begin(Some(&Desk::of(&fleet).challenge_for(1)));
    let transaction = applicant.enrolment.transaction_id().to_string();
    applicant.poll();
    fleet.ok(&["scep", "requests", "approve", &transaction]);
    applicant.poll();
    let issued = applicant.end().expect("a certificate").certificate;
    assert!(issued.is_issued_by(&door.ca()));
}

#[test]
fn agents_enrol_at_a_ca_that_signs_with_ecdsa() {
    let mut fleet = Fleet::serving_scep(&ECDSA);
    fleet.join_and_run(&["one"]);
    fleet.scep_set(&["--server", "built-in", "--challenge", "built-in"]);
    fleet.await_settings("one");
    fleet.ok(&["scep", "timer", "on"]);
    let shown = fleet.await_scep("one", "Successful");
    let issued = fleet.json(&["scep", "issued", "list"]);
    assert_eq!(
        (&issued[0]["client"], &issued[0]["serial"]),
        (&shown["client"], &shown["record"]["certificate"]["serial"])
    );
}

#[test]
fn a_ca_is_rolled_over_to_another_kind_of_key_and_back() {
    // Given a device with a certificate of an RSA key's CA,
    let fleet = Fleet::serving_scep(&[]);
    let door = Door::of(&fleet);
    let challenge = Desk::of(&fleet).challenge_for(0);
    let mut device = Device::new(door, "p1.example");
    let mut held = device.enrol(&challenge).expect("a certificate").certificate;

    let mut made = vec!["rsa-2048"];
    // when the next CA has another kind of key, or one like that of the CA in force, which is the default,
    for (asked, kind) in [
        (Some("ecdsa-p256"), "ecdsa-p256"),
        (None, "ecdsa-p256"),
        (Some("rsa-2048"), "rsa-2048"),
        (None, "rsa-2048"),
    ] {
        let old = door.known();
        let key_option = asked.map(|key| ["--key", key]);
        let options = key_option.as_ref().map_or(&[][..], |option| option);
        fleet.ok(&[&["scep", "ca", "rollover"], options].concat());
        // then the present one shows it, with what is to be encrypted to,
        let settings = Settings::default();
        let reply = door.send(&next_ca_request(&settings)).into_http();
        let next = read_next_ca(&settings, &old, &reply).expect("signed by the present CA");
        let count = if kind == "rsa-2048" { 1 } else { 2 };
        assert_eq!(next.len(), count);
        assert_eq!(door.ca(), *old.authority());

        // and once it is in force, it renews what the former one issued.
        fleet.ok(&["scep", "ca", "rollover", "--activate"]);
        assert_eq!(door.ca(), next[0]);
        let fresh = key();
        held = device
            .renew(&held, &fresh)
            .expect("a certificate")
            .certificate;
        assert!(held.is_issued_by(&next[0]));
        device.key = fresh;
        made.push(kind);
        let authorities = fleet.json(&["scep", "ca", "show"])["authorities"].clone();
        let kinds: Vec<_> = (0..made.len())
            .map(|index| authorities[index]["key"].clone())
            .collect();
        assert_eq!(json!(kinds), json!(made));
        let list = door.at("/scep/crl").get("").body;
        assert!(!list.is_empty());
    }

    // A kind that there is not, and a kind for a CA that exists, are refused.
    let said = fleet
        .convoy(&["scep", "ca", "rollover", "--key", "dsa"])
        .failed(2);
    assert!(
        said.contains("rsa-2048") && said.contains("ecdsa-p256"),
        "{said}"
    );
    let activate = ["scep", "ca", "rollover", "--activate", "--key", "rsa-2048"];
    let said = fleet.convoy(&activate).failed(2);
    assert!(said.contains("cannot be used with"), "{said}");
}

#[test]
fn a_ca_without_its_decrypting_key_says_so() {
    // Given a CA whose second key is gone,
    let mut fleet = Fleet::serving_scep(&ECDSA);
    let folder = fleet.data_dir().join("keys/scep");
    let named = |path: &std::path::Path| {
        path.file_name()
            .is_some_and(|name| name.to_string_lossy().starts_with("ra-"))
    };
    let lost = fs::read_dir(folder)
        .expect("a folder")
        .map(|entry| entry.expect("a file").path())
        .find(|path| named(path))
        .expect("a second key");
    let kept = lost.with_extension("kept");
    fs::rename(&lost, &kept).expect("moved");
    fleet.restart_controller();
    let door = Door::of(&fleet);

    // then nothing is served that cannot be decrypted, and nothing is made in its place;
    assert_eq!(door.get("operation=GetCACert").status, 500);
    let log = fleet.log("controller");
    assert!(
        log.contains("is missing; put it back from a backup"),
        "{log}"
    );
    fleet.ok(&["scep", "ca", "rollover"]);
    let folder = lost.parent().expect("a folder");
    let count = || fs::read_dir(folder).expect("a folder").count();
    let keys = count();
    let again = fleet.convoy(&["scep", "ca", "rollover"]).failed(1);
    assert!(again.contains("there is a next SCEP CA already"), "{again}");
    let authorities = fleet.json(&["scep", "ca", "show"])["authorities"].clone();
    assert_eq!(authorities[1]["key"], "ecdsa-p256");
    // A refused one leaves no key behind.
    assert_eq!(count(), keys);

    // when it is back, then all is well.
    fs::rename(&kept, &lost).expect("moved");
    let challenge = Desk::of(&fleet).challenge_for(1);
    let issued: Certificate = Device::new(door, "p1.example")
        .enrol(&challenge)
        .expect("a certificate")
        .certificate;
    assert!(issued.is_issued_by(&door.ca()));
}
