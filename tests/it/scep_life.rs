//! What becomes of a certificate of the built-in SCEP server: revocation, renewal, and the CA that takes over from its own. Over the real port.

use convoy_proto::v1::{
    GetScepCrlRequest, RevokeIssuedCertificateRequest, RollOverScepAuthorityRequest,
};
use convoy_scep::{
    algorithm::SignatureAlgorithm,
    certificate::Certificate,
    client::{Failure, Query, Settings, next_ca_request, read_next_ca},
    message::{FailInfo, TransactionId},
};
use serde_json::json;
use tonic::Code;
use x509_parser::{prelude::FromDer as _, revocation_list::CertificateRevocationList};

use crate::{
    fleet::Fleet,
    scep_forged::{Forged, content, first, parts},
    scepper::{Desk, Device, Door, key, san, words},
};

#[test]
fn a_revoked_certificate_is_listed_and_not_renewed() {
    // Given two devices with certificates, and a list of revocations that is empty,
    let mut fleet = Fleet::serving_scep(&[]);
    let desk = Desk::of(&fleet);
    let challenge = desk.challenge_for(0);
    let door = Door::of(&fleet);
    let (good, bad) = (
        Device::new(door, "p1.example"),
        Device::new(door, "p2.example"),
    );
    let [kept, lost] =
        [&good, &bad].map(|device| device.enrol(&challenge).expect("a certificate").certificate);
    assert_eq!(revoked(door).1, []);
    let before = revoked(door).0;

    // when one is revoked,
    let asked = RevokeIssuedCertificateRequest {
        serial: lost.serial_hex(),
        reason: "keyCompromise".to_owned(),
        ..RevokeIssuedCertificateRequest::default()
    };
    desk.ask(async |mut api| api.revoke_issued_certificate(asked).await)
        .expect("revoked");

    // then it is in the list, with the reason, wherever that is fetched, also after a restart;
    for _ in 0..2 {
        let (number, listed) = revoked(door);
        assert_eq!(listed, [(lost.serial().to_vec(), 1)]);
        assert!(number > before);
        let by_api =
            Desk::of(&fleet).ask(async |mut api| api.get_scep_crl(GetScepCrlRequest {}).await);
        let by_http = door.at("/scep/crl").get("");
        assert_eq!(by_api.expect("a list").crl, by_http.body);
        assert!(by_http.head.contains("content-type: application/pkix-crl"));
        let (settings, ca) = (Settings::default(), door.known());
        let signer = (&kept, &good.key);
        let (mut query, request) = Query::crl(&settings, &ca, signer).expect("a query");
        let bag = query
            .receive(&door.send(&request).into_http())
            .expect("a list");
        assert_eq!(bag.crls, [by_http.body]);
        // certificates are found by their numbers, and only those that are there;
        let (mut query, request) =
            Query::certificate(&settings, &ca, signer, kept.serial()).expect("a query");
        let bag = query.receive(&door.send(&request).into_http()).expect("it");
        assert!(bag.certificates.contains(&kept));
        let (mut query, request) =
            Query::certificate(&settings, &ca, signer, &[7]).expect("a query");
        let none = query.receive(&door.send(&request).into_http());
        assert!(matches!(
            none,
            Err(Failure::FailInfo {
                info: Some(FailInfo::BadCertId),
                ..
            })
        ));
        fleet.restart_controller();
    }
    // it is neither renewed nor handed out again; the other one is.
    let why = words(bad.renew(&lost, &key()));
    assert_eq!(
        why,
        "the certificate that signed the renewal is revoked or unknown"
    );
    let why = words(bad.enrol(&challenge));
    assert_eq!(why, "the key was revoked as compromised: make another");
    good.renew(&kept, &key()).expect("a certificate");
}

/// The number of the CRL at its URL, which the CA must have signed, and its serials with their reasons.
fn revoked(door: Door) -> (u64, Vec<(Vec<u8>, u8)>) {
    let der = door.at("/scep/crl").get("").body;
    let [signed, algorithm, signature] = &parts(&der)[..] else {
        panic!("no list: {der:?}");
    };
    SignatureAlgorithm::from_der(algorithm)
        .expect("an algorithm")
        .verify(door.ca().spki(), signed, &content(signature)[1..])
        .expect("signed by the CA");
    let (_, list) = CertificateRevocationList::from_der(&der).expect("a list");
    let number = list.crl_number().expect("a number");
    let listed = list.iter_revoked_certificates().map(|entry| {
        let reason = entry.reason_code().expect("a reason").1;
        (entry.raw_serial().to_vec(), reason.0)
    });
    (number.try_into().expect("64 bits"), listed.collect())
}

#[test]
fn a_certificate_brings_the_next_one_and_no_more_names() {
    // Given a device whose one-time challenge is used up,
    let fleet = Fleet::serving_scep(&[]);
    let desk = Desk::of(&fleet);
    let names = ["dns:p1.example", "ip:192.0.2.7"];
    let mut device = Device::new(Door::of(&fleet), "p1.example").with(&names);
    let first_one = device
        .enrol(&desk.challenge_for(1))
        .expect("a certificate")
        .certificate;

    // when it renews with its old key, then it has a certificate of its new one, without a challenge; also if it keeps its key;
    let next = key();
    let renewed = device
        .renew(&first_one, &next)
        .expect("a certificate")
        .certificate;
    assert_eq!(
        (renewed.spki(), renewed.sans()),
        (next.spki(), first_one.sans())
    );
    let kept = device
        .renew(&first_one, &device.key)
        .expect("a certificate")
        .certificate;
    assert_eq!((kept.spki(), kept == first_one), (first_one.spki(), false));
    // as do older clients, which send a PKCSReq;
    let fresh = key();
    let (csr, _) = first(&device.request, &fresh);
    let message = Forged::by(&first_one, &device.key, "older").sealed(&device.door.ca(), &csr);
    let older = device.door.post(&message).granted(&first_one, &device.key);
    assert_eq!(older.spki(), fresh.spki());
    let count = desk.issued().len();

    // when it asks for names that it did not have, then it is refused,
    for sans in [
        &["dns:p2.example"][..],
        &["dns:p1.example", "dns:*.example"],
        &["uri:urn:x:y"],
    ] {
        device = device.with(sans);
        assert!(
            words(device.renew(&first_one, &key())).contains("for other names"),
            "{sans:?}"
        );
    }
    device = device.with(&names);
    device.request.subject[0].1 = "p2.example".to_owned();
    words(device.renew(&first_one, &key()));
    assert_eq!(desk.issued().len(), count);
    // and fewer are fine.
    device.request.subject[0].1 = "p1.example".to_owned();
    let fewer = device.with(&["dns:p1.example"]).renew(&first_one, &key());
    let fewer = fewer.expect("a certificate").certificate;
    assert_eq!(fewer.sans(), [san("dns:p1.example")]);

    // When the first one is revoked, then the operator learns which ones stay.
    let revoke = ["scep", "issued", "revoke", &first_one.serial_hex()];
    let said = fleet.convoy(&revoke);
    for stays in [&renewed, &kept, &older, &fewer] {
        let words = format!("scep issued revoke {}", stays.serial_hex());
        assert!(said.stderr.contains(&words), "{said:?}");
    }
    let shown = fleet.json(&["scep", "issued", "show", &fewer.serial_hex()]);
    assert_eq!(shown["renews"], first_one.serial_hex());
}

#[test]
fn the_next_ca_takes_over_and_old_certificates_are_renewed() {
    // Given devices with certificates,
    let mut fleet = Fleet::serving_scep(&[]);
    let challenge = Desk::of(&fleet).challenge_for(0);
    let door = Door::of(&fleet);
    let (knows, unknowing) = (
        Device::new(door, "p1.example"),
        Device::new(door, "p2.example"),
    );
    let [one, two] = [&knows, &unknowing]
        .map(|device| device.enrol(&challenge).expect("a certificate").certificate);
    let old = door.known();

    // when the next CA is made, then devices learn of it from the present one, which goes on;
    let made = roll_over(&fleet, false).expect("a CA");
    let settings = Settings::default();
    let reply = door.send(&next_ca_request(&settings));
    assert!(
        reply
            .head
            .contains("content-type: application/x-x509-next-ca-cert")
    );
    let next = read_next_ca(&settings, &old, &reply.into_http()).expect("signed by the present CA");
    assert_eq!((next.len(), next[0].to_der()), (1, &made[..]));
    let next = &next[0];
    assert!(next.is_self_signed() && next.spki() != old.authority().spki());
    assert_eq!(door.ca(), *old.authority());
    assert_eq!(roll_over(&fleet, false), Err(Code::FailedPrecondition));

    // when it is put in force, then certificates are its,
    assert_eq!(roll_over(&fleet, true).expect("a CA"), next.to_der());
    for _ in 0..2 {
        assert_eq!(door.ca(), *next);
        assert_eq!(door.send(&next_ca_request(&settings)).status, 404);
        let newcomer = Device::new(door, "p3.example").enrol(&challenge);
        assert!(
            newcomer
                .expect("a certificate")
                .certificate
                .is_issued_by(next)
        );
        // also those that renew one of the former CA, of a device that knows the new one,
        let renewed = knows
            .renew(&one, &key())
            .expect("a certificate")
            .certificate;
        assert!(renewed.is_issued_by(next));
        // and of a device that does not: it is answered by the CA that it knows;
        let fresh = key();
        let (csr, _) = first(&unknowing.request, &fresh);
        let transaction = TransactionId::of_key(fresh.spki());
        let mut renewal = Forged::by(&two, &unknowing.key, transaction.as_str());
        renewal.message_type = "17";
        let reply = door.post(&renewal.sealed(old.authority(), &csr));
        let message = reply.message();
        assert!(message.signed.is_signed_as(old.authority()));
        let renewed = reply.granted(&two, &unknowing.key);
        assert!(renewed.is_issued_by(next) && renewed.spki() == fresh.spki());
        // also after a restart.
        fleet.restart_controller();
    }
    assert_eq!(roll_over(&fleet, true), Err(Code::FailedPrecondition));
}

/// The CA that came of it.
fn roll_over(fleet: &Fleet, activate: bool) -> Result<Vec<u8>, Code> {
    let asked = RollOverScepAuthorityRequest {
        activate,
        ..RollOverScepAuthorityRequest::default()
    };
    let answer = Desk::of(fleet).ask(async |mut api| api.roll_over_scep_authority(asked).await);
    let ca = answer.map_err(|status| status.code())?.authority;
    Ok(ca.expect("a CA").certificate.to_vec())
}

#[test]
fn an_operator_runs_the_ca_from_the_command_line() {
    // Given an operator who approves, with a profile, and a challenge for one name,
    let fleet = Fleet::serving_scep(&[]);
    let door = Door::of(&fleet);
    let exported = Certificate::from_pem_chain(&fleet.ok(&["scep", "ca", "export"]));
    assert_eq!(exported.expect("PEM"), [door.ca()]);
    fleet.ok(&["scep", "profile", "set", "short", "--lifetime", "2h"]);
    fleet.ok(&["scep", "approval", "manual"]);
    let create = ["scep", "challenge", "create", "--profile", "short"];
    let bound = ["--common-name", "p1.example", "--san", "dns:p1.example"];
    let challenge = fleet.ok(&[&create[..], &bound].concat());
    assert_eq!(challenge.len(), 32, "the challenge alone");

    // when a device asks with it, then it is in the list of those that wait, and has its certificate once it is approved;
    let mut device = Device::new(door, "p1.example").with(&["dns:p1.example"]);
    device.settings.polls = 10;
    let mut applicant = device.begin(Some(&challenge));
    let waiting = fleet.json(&["scep", "requests", "list"]);
    let transaction = applicant.enrolment.transaction_id().to_string();
    assert_eq!(waiting[0]["transaction_id"], transaction);
    assert_eq!(waiting[0]["subject_alt_names"][0], "dns:p1.example");
    let approved = fleet.ok(&["scep", "requests", "approve", &transaction]);
    applicant.poll();
    let issued = applicant.end().expect("a certificate").certificate;
    assert_eq!(issued.serial_hex(), approved);
    let listed = fleet.json(&["scep", "issued", "list"]);
    assert_eq!(listed[0]["serial"], approved);
    assert_eq!(listed[0]["pem"], issued.to_pem());
    let challenges = fleet.json(&["scep", "challenge", "list"]);
    assert_eq!(
        (&challenges[0]["used"], &challenges[0]["bound"]),
        (&json!(1), &json!(true))
    );
    assert!(!challenges.to_string().contains(&challenge));

    // when it is revoked, then it is in the list of revocations; one that was denied is told why.
    let revoke = [
        "scep",
        "issued",
        "revoke",
        &approved,
        "--reason",
        "keyCompromise",
    ];
    fleet.ok(&revoke);
    assert_eq!(revoked(door).1, [(issued.serial().to_vec(), 1)]);
    assert!(
        fleet
            .ok(&["scep", "crl"])
            .starts_with("-----BEGIN X509 CRL-----\n")
    );
    let other = fleet.ok(&["scep", "challenge", "create", "--unlimited"]);
    let mut device = Device::new(door, "p2.example");
    device.settings.polls = 10;
    let mut applicant = device.begin(Some(&other));
    let transaction = applicant.enrolment.transaction_id().to_string();
    fleet.ok(&[
        "scep",
        "requests",
        "deny",
        &transaction,
        "--reason",
        "not ours",
    ]);
    applicant.poll();
    assert_eq!(words(applicant.end()), "the request was denied: not ours");

    // When the CA is rolled over, then devices see the next one.
    fleet.ok(&["scep", "ca", "rollover"]);
    let next = fleet.ok(&["scep", "ca", "export", "--next"]);
    fleet.ok(&["scep", "ca", "rollover", "--activate"]);
    assert_eq!(door.ca().to_pem().trim_end(), next);
    let states = fleet.json(&["scep", "ca", "show"])["authorities"].clone();
    assert_eq!(
        (&states[0]["state"], &states[1]["state"]),
        (&json!("former"), &json!("current"))
    );
}
