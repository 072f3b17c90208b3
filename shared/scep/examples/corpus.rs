//! Writes the fuzz targets' keys and seed corpus. The files are committed; this is for when the messages themselves change.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "run by hand, by whoever changes the messages"
)]

use std::path::{Path, PathBuf};

use convoy_scep::algorithm::{Cipher, Policy};
use convoy_scep::certificate::{Certificate, SubjectAltName};
use convoy_scep::client::{Enrolment, HttpReply, Purpose, Settings, Step};
use convoy_scep::cms;
use convoy_scep::http::Operation;
use convoy_scep::issue::{Authority, Leaf};
use convoy_scep::key::RsaKey;
use convoy_scep::message::FailInfo;
use convoy_scep::request::{Challenge, RequestBuilder};
use convoy_scep::server::{self, Identity, Kind, Received};
use jiff::{SignedDuration, Timestamp};

fn fuzz() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz")
}

fn main() {
    let now: Timestamp = "2026-03-01T12:00:00Z".parse().unwrap();
    let keys = fuzz().join("keys");
    std::fs::create_dir_all(&keys).unwrap();
    let ca_key = RsaKey::generate(2048).unwrap();
    let client_key = RsaKey::generate(2048).unwrap();
    std::fs::write(keys.join("ca.pem"), ca_key.to_pem().as_bytes()).unwrap();
    std::fs::write(keys.join("client.pem"), client_key.to_pem().as_bytes()).unwrap();
    let years = SignedDuration::from_hours(24 * 3650);
    let ca =
        Authority::self_signed("Fuzz CA", Some("Convoy"), ca_key, &[1], now, now + years).unwrap();
    std::fs::write(keys.join("ca-certificate.pem"), ca.certificate.to_pem()).unwrap();

    let write = |target: &str, name: &str, bytes: &[u8]| {
        let directory = fuzz().join("corpus").join(target);
        std::fs::create_dir_all(&directory).unwrap();
        std::fs::write(directory.join(name), bytes).unwrap();
    };
    let mut asked = RequestBuilder::new("p1");
    asked.sans = vec![
        SubjectAltName::Dns("p1".to_owned()),
        SubjectAltName::Ip("192.0.2.7".parse().unwrap()),
    ];
    asked.challenge = Some(Challenge::new("s3cret").unwrap());
    let request = asked.sign(&client_key).unwrap();
    let leaf = certificate(&ca, &request, now);
    write("request", "full", request.to_der());
    write(
        "request",
        "plain",
        RequestBuilder::new("p1")
            .sign(&client_key)
            .unwrap()
            .to_der(),
    );
    write("ber", "certificate", leaf.to_der());
    write(
        "ber",
        "indefinite",
        &[
            0x30, 0x80, 0x24, 0x80, 4, 1, 1, 4, 1, 2, 0, 0, 0xa0, 0x80, 4, 0, 0, 0, 0, 0,
        ],
    );
    let bag = cms::certs_only(&[&leaf, &ca.certificate], &[]);
    write("cms_signed", "certs-only", &bag);
    write("client_receive", "certs-only", &bag);
    write("client_receive", "certificate", ca.certificate.to_der());
    write("client_receive", "caps", server::ca_caps().as_bytes());
    for (name, cipher) in [
        ("aes", Cipher::Aes128),
        ("des", Cipher::Des),
        ("3des", Cipher::TripleDes),
    ] {
        write(
            "cms_enveloped",
            name,
            &cms::seal(request.to_der(), &ca.certificate, cipher).unwrap(),
        );
    }

    let identity = Identity::new(
        &ca,
        Policy {
            allow_legacy: false,
        },
    );
    for (name, answer) in [("success", 0), ("failure", 2), ("pending", 3)] {
        let key = RsaKey::from_pkcs8(&client_key.to_pkcs8()).unwrap();
        let purpose = Purpose::First { challenge: None };
        let (mut enrolment, mut step) =
            Enrolment::begin(Settings::default(), asked.clone(), key, purpose);
        while let Step::Send(sent) = step {
            let body = match Operation::parse(sent.method, Some(&sent.query), &sent.body).unwrap() {
                Operation::GetCaCaps { .. } => server::ca_caps().into(),
                Operation::GetCaCert { .. } => server::ca_cert(&ca).1,
                Operation::GetNextCaCert { .. } => panic!(),
                Operation::PkiOperation(message) => {
                    write("server_receive", "pkcsreq", &message);
                    write("cms_signed", "pkcsreq", &message);
                    let by_get = Operation::PkiOperation(message.clone()).into_request(false);
                    write("http_operation", "message", by_get.query.as_bytes());
                    let Received::Request(incoming) = server::receive(&message, &identity, now)
                    else {
                        panic!()
                    };
                    assert!(matches!(incoming.kind, Kind::Enrol { .. }));
                    match answer {
                        0 => incoming.success(&identity, &[&leaf]).unwrap(),
                        2 => incoming
                            .failure(&identity, FailInfo::BadRequest, Some("no"))
                            .unwrap(),
                        _ => incoming.pending(&identity).unwrap(),
                    }
                }
            };
            write("client_receive", name, &body);
            write("cms_signed", name, &body);
            step = enrolment.receive(
                HttpReply {
                    status: 200,
                    content_type: None,
                    body,
                },
                now,
            );
        }
    }
    write(
        "http_operation",
        "caps",
        b"operation=GetCACaps&message=ca%201",
    );
    write(
        "http_operation",
        "post",
        b"operation=PKIOperation\n\x30\x00",
    );
    write(
        "http_operation",
        "spaces",
        b"operation=PKIOperation&message=++ +/w%0A==",
    );
}

fn certificate(
    ca: &Authority,
    request: &convoy_scep::request::CertificationRequest,
    now: Timestamp,
) -> Certificate {
    ca.issue(&Leaf {
        subject: request.subject(),
        spki: request.spki(),
        sans: request.sans(),
        key_usage: Leaf::usual_key_usage(),
        extended_key_usage: &[],
        serial: &[0x42],
        not_before: now,
        not_after: now + SignedDuration::from_hours(24),
        crl_url: Some("http://ca.example.org/crl"),
    })
    .unwrap()
}
