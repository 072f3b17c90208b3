//! The client's side against a server that is played by hand.

use super::*;
use crate::cms;
use crate::fixture::{
    Server, authority, days, each_kind, grant, identity, key, leaf, named_authority, now, ok,
    request, settings, status, two_keys,
};
use crate::http::Method;
use crate::issue::{Authority, Leaf};
use crate::server::{Identity, Incoming, Kind};

mod ca;
mod certificates;
mod hostile;
mod polling;

fn granting(authority: &Authority) -> impl FnMut(&Incoming, &Identity<'_>) -> Vec<u8> {
    |incoming, identity| {
        incoming
            .success(
                identity,
                &[&grant(authority, incoming), &authority.certificate],
            )
            .unwrap()
    }
}

fn first(settings: Settings) -> (Enrolment, Step) {
    let challenge = Some(Challenge::new("s3cret").unwrap());
    Enrolment::begin(settings, request(), key(1), Purpose::First { challenge })
}

fn old_certificate(authority: &Authority) -> Certificate {
    let subject = request().sign(&key(2)).unwrap().subject().to_vec();
    authority
        .issue(&leaf(&subject, key(2).spki(), &[7]))
        .unwrap()
}

fn renewal(settings: Settings, authority: &Authority) -> (Enrolment, Step) {
    let purpose = Purpose::Renewal {
        certificate: old_certificate(authority),
        key: key(2),
        challenge: None,
    };
    Enrolment::begin(settings, request(), key(1), purpose)
}

fn issued(step: Step) -> Issued {
    let Step::Issued(issued) = step else {
        panic!("{step:?}")
    };
    issued
}

fn failure(step: Step) -> Failure {
    let Step::Failed(failure) = step else {
        panic!("{step:?}")
    };
    failure
}

#[test]
fn a_first_certificate_is_issued() {
    for ca in each_kind() {
        let mut server = Server::new(&ca);
        let (mut enrolment, step) = first(settings(&ca));
        let mut seen_challenge = None;
        let step = server.run(&mut enrolment, step, &mut |incoming, identity| {
            let Kind::Enrol { request } = &incoming.kind else {
                panic!("{incoming:?}")
            };
            seen_challenge = request
                .challenge()
                .map(|challenge| challenge.expose().to_owned());
            assert_eq!(incoming.requester.subject(), request.subject());
            assert!(incoming.requester.is_self_signed());
            granting(&ca)(incoming, identity)
        });
        let issued = issued(step);
        assert_eq!(seen_challenge.as_deref(), Some("s3cret"));
        assert_eq!(issued.certificate.spki(), key(1).spki());
        assert_eq!(issued.certificate.sans(), request().sans);
        assert!(issued.certificate.is_issued_by(&ca.certificate));
        assert_eq!(issued.ca, std::slice::from_ref(&ca.certificate));
        assert!(issued.chain.is_empty());
        assert_eq!(server.seen, [19]);
        assert!(enrolment.legacy().is_empty() && enrolment.pending().is_none());
    }
}

#[test]
fn every_hash_and_cipher_goes_both_ways() {
    let ca = authority();
    for hash in [Hash::Sha256, Hash::Sha384, Hash::Sha512] {
        for cipher in [
            Cipher::Aes128,
            Cipher::Aes192,
            Cipher::Aes256,
            Cipher::TripleDes,
        ] {
            let mut server = Server::new(&ca);
            let (mut enrolment, step) = first(Settings {
                hash: Some(hash),
                cipher: Some(cipher),
                ..settings(&ca)
            });
            let step = server.run(&mut enrolment, step, &mut |incoming, identity| {
                assert_eq!((incoming.hash(), incoming.cipher()), (hash, cipher));
                granting(&ca)(incoming, identity)
            });
            issued(step);
            assert_eq!(enrolment.legacy().is_empty(), cipher != Cipher::TripleDes);
        }
    }
}

#[test]
fn a_server_without_capabilities_gets_triple_des_by_get() {
    let ca = authority();
    let mut server = Server::new(&ca);
    server.caps = "";
    let (mut enrolment, mut step) = first(settings(&ca));
    while let Step::Send(request) = step {
        assert_eq!(request.method, Method::Get);
        step = enrolment.receive(server.reply(&request, &mut granting(&ca)), now());
    }
    issued(step);
    assert_eq!(enrolment.legacy(), [Legacy::Cipher(Cipher::TripleDes)]);
}

#[test]
fn a_server_that_does_not_know_get_ca_caps_is_a_legacy_one() {
    let ca = authority();
    let mut server = Server::new(&ca);
    let (mut enrolment, _) = first(settings(&ca));
    let step = enrolment.receive(status(404), now());
    let Step::Send(sent) = &step else {
        panic!("{step:?}")
    };
    assert_eq!(sent.query, "operation=GetCACert");
    issued(server.run(&mut enrolment, step, &mut granting(&ca)));
}

#[test]
fn get_only_and_the_identifier_are_kept_to() {
    let ca = authority();
    let mut server = Server::new(&ca);
    let (mut enrolment, mut step) = first(Settings {
        get_only: true,
        identifier: Some("ca 1".to_owned()),
        ..settings(&ca)
    });
    let mut queries = Vec::new();
    while let Step::Send(request) = step {
        assert_eq!((request.method, request.body.len()), (Method::Get, 0));
        queries.push(request.query.clone());
        step = enrolment.receive(server.reply(&request, &mut granting(&ca)), now());
    }
    issued(step);
    assert_eq!(
        queries[..2],
        [
            "operation=GetCACaps&message=ca%201",
            "operation=GetCACert&message=ca%201"
        ]
    );
}

#[test]
fn a_certificate_is_renewed_by_its_own_key() {
    let ca = authority();
    let mut server = Server::new(&ca);
    let (mut enrolment, step) = renewal(settings(&ca), &ca);
    let step = server.run(&mut enrolment, step, &mut |incoming, identity| {
        let Kind::Renew { request, signer } = &incoming.kind else {
            panic!("{incoming:?}")
        };
        assert_eq!(
            (signer, request.spki()),
            (&old_certificate(&ca), key(1).spki())
        );
        // The old certificate comes first, and is not what was asked for.
        incoming
            .success(identity, &[signer, &ca.certificate, &grant(&ca, incoming)])
            .unwrap()
    });
    assert_eq!(issued(step).certificate.spki(), key(1).spki());
    assert_eq!(server.seen, [17]);
}

#[test]
fn an_older_server_gets_the_renewal_as_a_first_request_by_the_old_key() {
    let ca = authority();
    let mut server = Server::new(&ca);
    server.caps = "AES\nSHA-256\nPOSTPKIOperation";
    let (mut enrolment, step) = renewal(settings(&ca), &ca);
    let step = server.run(&mut enrolment, step, &mut |incoming, identity| {
        assert!(matches!(incoming.kind, Kind::Renew { .. }));
        granting(&ca)(incoming, identity)
    });
    issued(step);
    assert_eq!(server.seen, [19]);
}

#[test]
fn a_refused_renewal_falls_back_once() {
    for ca in each_kind() {
        let mut server = Server::new(&ca);
        let (mut enrolment, step) = renewal(settings(&ca), &ca);
        let step = server.run(
            &mut enrolment,
            step,
            &mut |incoming, identity| match incoming.message_type {
                MessageType::RenewalReq => incoming
                    .failure(identity, FailInfo::BadRequest, None)
                    .unwrap(),
                _ => granting(&ca)(incoming, identity),
            },
        );
        issued(step);
        assert_eq!(server.seen, [17, 19]);

        let mut server = Server::new(&ca);
        let (mut enrolment, step) = renewal(settings(&ca), &ca);
        let step = server.run(&mut enrolment, step, &mut |incoming, identity| {
            incoming
                .failure(identity, FailInfo::BadRequest, Some("Nein, so nicht: ü"))
                .unwrap()
        });
        let failure = failure(step);
        assert_eq!(
            failure.to_string(),
            "the server refused: transaction not permitted or supported (Nein, so nicht: ü)"
        );
        assert!(matches!(
            failure,
            Failure::FailInfo {
                info: Some(FailInfo::BadRequest),
                ..
            }
        ));
        assert_eq!(server.seen, [17, 19]);
    }
}

/// An RA's certificates: keys 5 and 6.
fn registration_authority(
    ca: &Authority,
    purposes: &[der::asn1::ObjectIdentifier],
) -> (Authority, Authority) {
    use crate::certificate::KeyUsage;
    let subject = named_authority("RA", 5).certificate.subject().to_vec();
    let issue = |index, serial, key_usage| {
        let leaf = Leaf {
            key_usage,
            extended_key_usage: purposes,
            ..leaf(&subject, &[], serial)
        };
        let certificate = ca
            .issue(&Leaf {
                spki: key(index).spki(),
                ..leaf
            })
            .unwrap();
        Authority::unchecked(certificate, key(index))
    };
    (
        issue(
            5,
            &[0x51],
            KeyUsage {
                digital_signature: true,
                ..KeyUsage::default()
            },
        ),
        issue(
            6,
            &[0x52],
            KeyUsage {
                key_encipherment: true,
                ..KeyUsage::default()
            },
        ),
    )
}

#[test]
fn settings_that_could_never_work_fail_before_anything_is_sent() {
    let ca = authority();
    let (_, step) = first(Settings {
        cipher: Some(Cipher::Des),
        ..settings(&ca)
    });
    assert!(matches!(
        failure(step),
        Failure::Request(RequestError::Cipher(Cipher::Des))
    ));
    for hash in [Hash::Md5, Hash::Sha1] {
        let (_, step) = first(Settings {
            hash: Some(hash),
            ..settings(&ca)
        });
        assert!(matches!(
            failure(step),
            Failure::Request(RequestError::Key(_))
        ));
    }
    let (_, step) = first(Settings {
        cipher: Some(Cipher::Des),
        allow_legacy: true,
        ..settings(&ca)
    });
    assert!(matches!(step, Step::Send(_)));
}
