//! Keys, a CA and a server in memory for the tests. Never part of the crate.

use std::sync::OnceLock;

use jiff::{SignedDuration, Timestamp};

use crate::algorithm::Policy;
use crate::certificate::{Certificate, SubjectAltName};
use crate::client::{HttpReply, Settings, Step};
use crate::http::{HttpRequest, Operation, media};
use crate::issue::{Authority, Leaf};
use crate::key::{EcdsaKey, RsaKey};
use crate::request::RequestBuilder;
use crate::server::{self, Identity, Incoming, Kind, Received};

/// One of eight keys, each made once per run.
pub(crate) fn key(index: usize) -> RsaKey {
    static KEYS: [OnceLock<Vec<u8>>; 8] = [const { OnceLock::new() }; 8];
    let pkcs8 = KEYS[index].get_or_init(|| RsaKey::generate(2048).unwrap().to_pkcs8().to_vec());
    RsaKey::from_pkcs8(pkcs8).unwrap()
}

pub(crate) fn now() -> Timestamp {
    "2026-03-01T12:00:00Z".parse().unwrap()
}

pub(crate) fn days(days: i64) -> SignedDuration {
    SignedDuration::from_hours(24 * days)
}

/// The CA: key 0.
pub(crate) fn authority() -> Authority {
    named_authority("Test CA", 0)
}

pub(crate) fn named_authority(name: &str, index: usize) -> Authority {
    Authority::self_signed(
        name,
        Some("Convoy"),
        key(index),
        &[1],
        now() - days(10),
        now() + days(3650),
    )
    .unwrap()
}

/// The same, which signs with ECDSA: key 0 is its RA's.
pub(crate) fn two_keys(name: &str) -> Authority {
    Authority::self_signed_ecdsa(
        name,
        Some("Convoy"),
        (EcdsaKey::generate().unwrap(), key(0)),
        [&[1], &[2]],
        now() - days(10),
        now() + days(3650),
    )
    .unwrap()
}

/// A CA of each kind.
pub(crate) fn each_kind() -> [Authority; 2] {
    [authority(), two_keys("Test CA")]
}

pub(crate) fn identity(authority: &Authority) -> Identity<'_> {
    Identity::new(
        authority,
        Policy {
            allow_legacy: false,
        },
    )
}

pub(crate) fn request() -> RequestBuilder {
    let mut request = RequestBuilder::new("p1.example.org");
    request.sans = vec![
        SubjectAltName::Dns("p1.example.org".to_owned()),
        SubjectAltName::Ip("192.0.2.7".parse().unwrap()),
    ];
    request
}

pub(crate) fn settings(authority: &Authority) -> Settings {
    Settings {
        ca_fingerprint: Some(authority.certificate.fingerprint()),
        polls: 3,
        ..Settings::default()
    }
}

pub(crate) fn leaf<'a>(subject: &'a [u8], spki: &'a [u8], serial: &'a [u8]) -> Leaf<'a> {
    Leaf {
        subject,
        spki,
        sans: &[],
        key_usage: Leaf::usual_key_usage(),
        extended_key_usage: &[],
        serial,
        not_before: now() - days(1),
        not_after: now() + days(90),
        crl_url: None,
    }
}

/// Issues what is asked for.
pub(crate) fn grant(authority: &Authority, incoming: &Incoming) -> Certificate {
    let (Kind::Enrol { request } | Kind::Renew { request, .. }) = &incoming.kind else {
        panic!("{incoming:?}")
    };
    let leaf = Leaf {
        sans: request.sans(),
        ..leaf(request.subject(), request.spki(), &[0x42])
    };
    authority.issue(&leaf).unwrap()
}

/// A server as the shell would have it: `decide` answers each message that holds.
pub(crate) struct Server<'a> {
    pub(crate) identity: Identity<'a>,
    pub(crate) caps: &'static str,
    pub(crate) ca: Vec<u8>,
    /// Every message type that came, in order.
    pub(crate) seen: Vec<u8>,
}

impl<'a> Server<'a> {
    pub(crate) fn new(authority: &'a Authority) -> Self {
        Self {
            identity: identity(authority),
            caps: server::ca_caps(),
            ca: server::ca_cert(authority).1,
            seen: Vec::new(),
        }
    }

    pub(crate) fn reply(
        &mut self,
        request: &HttpRequest,
        decide: &mut dyn FnMut(&Incoming, &Identity<'_>) -> Vec<u8>,
    ) -> HttpReply {
        let operation =
            Operation::parse(request.method, Some(&request.query), &request.body).unwrap();
        match operation {
            Operation::GetCaCaps { .. } => ok(self.caps.into()),
            Operation::GetCaCert { .. } => ok(self.ca.clone()),
            Operation::GetNextCaCert { .. } => status(404),
            Operation::PkiOperation(message) => {
                match server::receive(&message, &self.identity, now()) {
                    Received::Request(incoming) => {
                        self.seen.push(incoming.message_type.number());
                        ok(decide(&incoming, &self.identity))
                    }
                    Received::Answer(bytes, _) => ok(bytes),
                    Received::Unanswerable(_) => status(400),
                }
            }
        }
    }

    /// Replies until something else than sending is due.
    pub(crate) fn run(
        &mut self,
        enrolment: &mut crate::client::Enrolment,
        mut step: Step,
        decide: &mut dyn FnMut(&Incoming, &Identity<'_>) -> Vec<u8>,
    ) -> Step {
        while let Step::Send(request) = step {
            step = enrolment.receive(self.reply(&request, decide), now());
        }
        step
    }
}

pub(crate) fn ok(body: Vec<u8>) -> HttpReply {
    HttpReply {
        status: 200,
        content_type: Some(media::PKI_MESSAGE.to_owned()),
        body,
    }
}

pub(crate) fn status(status: u16) -> HttpReply {
    HttpReply {
        status,
        content_type: None,
        body: Vec::new(),
    }
}
