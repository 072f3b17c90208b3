//! The entry points that bytes from outside reach, each as a function of these bytes. Shared by the fuzz targets and by the test that runs the corpus.

#![allow(
    clippy::expect_used,
    dead_code,
    reason = "what is here is for tests, and each of them uses one function"
)]

use std::sync::{LazyLock, Mutex, OnceLock};

use convoy_scep::algorithm::Policy;
use convoy_scep::certificate::Certificate;
use convoy_scep::client::{Enrolment, FetchCa, Fetched, HttpReply, Purpose, Query, Settings, Step};
use convoy_scep::cms::{self, SignedData};
use convoy_scep::http::{Capabilities, Method, Operation};
use convoy_scep::issue::Authority;
use convoy_scep::key::RsaKey;
use convoy_scep::message::Message;
use convoy_scep::request::{CertificationRequest, RequestBuilder};
use convoy_scep::server::{self, Identity, Limits};
use jiff::{SignedDuration, Timestamp};

/// The keys of the corpus are written out: what is in it was encrypted to them.
const CA_KEY: &str = include_str!("keys/ca.pem");
const CA_CERTIFICATE: &str = include_str!("keys/ca-certificate.pem");
const CLIENT_KEY: &str = include_str!("keys/client.pem");
const ALL: Policy = Policy { allow_legacy: true };

fn ca() -> &'static Authority {
    static CA: OnceLock<Authority> = OnceLock::new();
    CA.get_or_init(|| {
        let certificate = Certificate::from_pem_chain(CA_CERTIFICATE)
            .expect("a certificate")
            .remove(0);
        let key = RsaKey::from_pem(CA_KEY).expect("a key");
        Authority::new(certificate, key).expect("a CA")
    })
}

fn now() -> Timestamp {
    "2026-03-01T12:00:00Z".parse().expect("a time")
}

pub(crate) fn ber(bytes: &[u8]) {
    if let Ok(der) = convoy_scep::ber::to_der(bytes) {
        assert_eq!(
            convoy_scep::ber::to_der(&der).as_ref(),
            Ok(&der),
            "DER is left as it is"
        );
    }
    if let Ok(certificate) = Certificate::from_der(bytes) {
        let _unused = (
            certificate.subject_text(),
            certificate.serial_hex(),
            certificate.is_self_signed(),
        );
    }
}

pub(crate) fn cms_signed(bytes: &[u8]) {
    if let Ok(signed) = SignedData::parse(bytes) {
        for certificate in signed.certificates() {
            let _unused = signed.verify(certificate, ALL);
        }
        let _unused = signed.verify(&ca().certificate, ALL);
    }
    let _unused = (
        Message::parse(bytes).is_ok(),
        cms::read_certs_only(bytes).is_ok(),
    );
}

pub(crate) fn cms_enveloped(bytes: &[u8]) {
    let _unused = cms::open(bytes, &ca().certificate, ca().message_key(), ALL).is_ok();
}

pub(crate) fn request(bytes: &[u8]) {
    if let Ok(request) = CertificationRequest::from_der(bytes) {
        let _unused = (
            request.subject_text(),
            request.common_name(),
            request.key_bits(),
        );
    }
}

pub(crate) fn server_receive(bytes: &[u8]) {
    let limits = Limits {
        signing_time: SignedDuration::from_hours(1),
        key_bits: 2048,
    };
    let identity = Identity {
        limits,
        ..Identity::new(ca(), ALL)
    };
    drop(server::receive(bytes, &identity, now()));
}

/// The bytes are what a server answers: to GetCACaps, to GetCACert, and to a message.
pub(crate) fn client_receive(bytes: &[u8]) {
    let settings = Settings {
        allow_legacy: true,
        ..Settings::default()
    };
    let (mut fetching, _) = FetchCa::begin(settings);
    drop(fetching.receive(&reply(bytes), now()));
    drop(fetching.receive(&reply(bytes), now()));

    // One message for all runs: to make one costs more than to read an answer.
    static QUERY: LazyLock<Mutex<Query<'static>>> = LazyLock::new(|| {
        let settings: &Settings = Box::leak(Box::new(Settings {
            allow_legacy: true,
            ..Settings::default()
        }));
        let (mut fetching, _) = FetchCa::begin(settings.clone());
        drop(fetching.receive(&reply(b"SCEPStandard"), now()));
        let certificate = ca().certificate.to_der();
        let Ok(Fetched::Ca(seen)) = fetching.receive(&reply(certificate), now()) else {
            panic!("the CA is not taken")
        };
        let signer = (&ca().certificate, ca().message_key());
        let query = Query::certificate(settings, Box::leak(Box::new(seen)), signer, &[1]);
        Mutex::new(query.expect("a message").0)
    });
    drop(
        QUERY
            .lock()
            .expect("no panic before")
            .receive(&reply(bytes)),
    );
}

/// The same through a whole enrolment, which is slow.
pub(crate) fn client_enrolment(bytes: &[u8]) {
    let begin = || {
        let key = RsaKey::from_pem(CLIENT_KEY).expect("a key");
        let purpose = Purpose::First { challenge: None };
        Enrolment::begin(Settings::default(), RequestBuilder::new("p1"), key, purpose).0
    };
    let mut enrolment = begin();
    drop(enrolment.receive(reply(bytes), now()));
    drop(enrolment.receive(reply(bytes), now()));

    let mut enrolment = begin();
    drop(enrolment.receive(reply(b"SCEPStandard"), now()));
    let step = enrolment.receive(reply(ca().certificate.to_der()), now());
    assert!(matches!(step, Step::Send(_)), "the CA is taken: {step:?}");
    drop(enrolment.receive(reply(bytes), now()));
}

fn reply(body: &[u8]) -> HttpReply {
    HttpReply {
        status: 200,
        content_type: None,
        body: body.to_vec(),
    }
}

/// A first line that is the query, then the body.
pub(crate) fn http_operation(bytes: &[u8]) {
    let (query, body) = match bytes.iter().position(|byte| *byte == b'\n') {
        Some(at) => bytes.split_at(at),
        None => (bytes, &[][..]),
    };
    let query = String::from_utf8_lossy(query);
    for method in [Method::Get, Method::Post] {
        if let Ok(operation) = Operation::parse(method, Some(&query), body) {
            let sent = operation.clone().into_request(method == Method::Post);
            let read = Operation::parse(sent.method, Some(&sent.query), &sent.body);
            // A message by GET that just fits may not fit any more once it is escaped in full.
            assert!(
                read.is_err() || read == Ok(operation),
                "what is sent is read back"
            );
        }
    }
    let caps = Capabilities::from_text(&query);
    assert_eq!(Capabilities::from_text(&caps.to_text()), caps);
}
