//! The server's side, attacked: what holds is received, and everything else is refused with its reason.

use super::*;
use crate::certificate::SubjectAltName;
use crate::cms::{self, Signer};
use crate::fixture::{authority, days, identity, key, leaf, named_authority, now, request};
use crate::issue::Leaf;
use crate::key::RsaKey;
use crate::message::{Draft, Message, Nonce, PkiStatus};
use crate::request::{RequestBuilder, self_signed};

mod malformed;
mod renewal;

/// A message to the CA, right unless it is made otherwise.
struct Forger<'a> {
    ca: &'a Authority,
    message_type: MessageType,
    request: CertificationRequest,
    signer: Certificate,
    key: RsaKey,
    hash: Hash,
    cipher: Cipher,
}

impl<'a> Forger<'a> {
    /// A first request for key 1.
    fn first(ca: &'a Authority) -> Self {
        let request = request().sign(&key(1)).unwrap();
        let signer = self_signed(&request, &key(1), Hash::Sha256, now()).unwrap();
        Self {
            ca,
            message_type: MessageType::PkcsReq,
            request,
            signer,
            key: key(1),
            hash: Hash::Sha256,
            cipher: Cipher::Aes128,
        }
    }

    /// A renewal for key 1, signed with a certificate for key 2.
    fn renewal(ca: &'a Authority, signer: Certificate) -> Self {
        Self {
            message_type: MessageType::RenewalReq,
            signer,
            key: key(2),
            ..Self::first(ca)
        }
    }

    fn envelope(&self, content: &[u8]) -> Vec<u8> {
        cms::seal(content, &self.ca.certificate, self.cipher).unwrap()
    }

    fn message(&self) -> Vec<u8> {
        self.around(&self.envelope(self.request.to_der()))
    }

    fn around(&self, envelope: &[u8]) -> Vec<u8> {
        let draft = Draft {
            message_type: self.message_type,
            transaction_id: &"a transaction".parse().unwrap(),
            sender_nonce: Nonce::fresh().unwrap(),
            recipient_nonce: None,
            status: None,
            fail_info: None,
            fail_info_text: None,
            knows_ecdsa: false,
            content: envelope,
        };
        draft
            .sign(&Signer {
                certificate: &self.signer,
                key: &self.key,
                hash: self.hash,
            })
            .unwrap()
    }
}

fn old_certificate(ca: &Authority) -> Certificate {
    ca.issue(&leaf(&subject(), key(2).spki(), &[7])).unwrap()
}

fn subject() -> Vec<u8> {
    request().sign(&key(2)).unwrap().subject().to_vec()
}

fn accepted(bytes: &[u8], ca: &Authority) -> Incoming {
    match receive(bytes, &identity(ca), now()) {
        Received::Request(incoming) => *incoming,
        other => panic!("{other:?}"),
    }
}

/// The reason, and the failInfo of the answer.
fn rejected(bytes: &[u8], ca: &Authority) -> (Rejection, FailInfo) {
    match receive(bytes, &identity(ca), now()) {
        Received::Answer(answer, rejection) => {
            let answer = Message::parse(&answer).unwrap();
            answer
                .signed
                .verify(
                    &ca.certificate,
                    Policy {
                        allow_legacy: false,
                    },
                )
                .unwrap();
            assert_eq!(answer.message_type, MessageType::CertRep);
            assert_eq!(answer.status, Some(PkiStatus::Failure));
            assert_eq!(answer.transaction_id.as_str(), "a transaction");
            let asked = Message::parse(bytes).unwrap();
            assert_eq!(answer.recipient_nonce, asked.sender_nonce);
            assert!(answer.signed.content().is_empty());
            (rejection, answer.fail_info.unwrap())
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_first_request_and_a_renewal_are_told_apart() {
    let ca = authority();
    let first = accepted(&Forger::first(&ca).message(), &ca);
    assert!(matches!(&first.kind, Kind::Enrol { request } if request.spki() == key(1).spki()));

    let old = old_certificate(&ca);
    let renewal = accepted(&Forger::renewal(&ca, old.clone()).message(), &ca);
    assert!(matches!(&renewal.kind, Kind::Renew { signer, .. } if *signer == old));
    // What older clients send.
    let by_first = Forger {
        message_type: MessageType::PkcsReq,
        ..Forger::renewal(&ca, old)
    };
    assert!(matches!(
        accepted(&by_first.message(), &ca).kind,
        Kind::Renew { .. }
    ));
}

#[test]
fn an_unlisted_message_type_is_refused_before_anything_else() {
    let ca = authority();
    let message = Forger::first(&ca).message();
    // messageType's OID, then SET, length, PrintableString, length and the number.
    let oid = [0x2a, 0x86, 0x48, 0x01, 0x86, 0xf8, 0x45, 0x01, 0x09, 0x02];
    let oid = if message.windows(10).any(|window| window == oid) {
        oid
    } else {
        [0x60, 0x86, 0x48, 0x01, 0x86, 0xf8, 0x45, 0x01, 0x09, 0x02]
    };
    let at = message
        .windows(10)
        .position(|window| window == oid)
        .unwrap()
        + 10
        + 4;
    assert_eq!(&message[at..at + 2], b"19");
    for number in [b"18", b"00", b"1 ", b"-1", b"99"] {
        let mut unlisted = message.clone();
        unlisted[at..at + 2].copy_from_slice(number);
        // The signature is wrong too by now; the type is what is complained about.
        let received = receive(&unlisted, &identity(&ca), now());
        assert!(
            matches!(
                received,
                Received::Unanswerable(Rejection::Message(MessageError::UnlistedType(_)))
            ),
            "{received:?}"
        );
    }
    let answer = Forger {
        message_type: MessageType::CertRep,
        ..Forger::first(&ca)
    }
    .message();
    assert!(matches!(
        rejected(&answer, &ca),
        (
            Rejection::NoRequest(MessageType::CertRep),
            FailInfo::BadRequest
        )
    ));
}

#[test]
fn a_first_request_is_signed_with_its_own_key() {
    let ca = authority();
    let other = RequestBuilder::new("p1.example.org").sign(&key(2)).unwrap();
    let signer = self_signed(&other, &key(2), Hash::Sha256, now()).unwrap();
    let forged = Forger {
        signer,
        key: key(2),
        ..Forger::first(&ca)
    };
    assert!(matches!(
        rejected(&forged.message(), &ca),
        (Rejection::OtherKey, FailInfo::BadRequest)
    ));
}

#[test]
fn algorithms_that_are_refused_are_named_by_fail_info_0() {
    let ca = authority();
    let forger = Forger {
        cipher: Cipher::Des,
        ..Forger::first(&ca)
    };
    assert!(matches!(
        rejected(&forger.message(), &ca),
        (Rejection::Algorithm(_), FailInfo::BadAlg)
    ));
    let allowing = Identity::new(&ca, Policy { allow_legacy: true });
    assert!(matches!(
        receive(&forger.message(), &allowing, now()),
        Received::Request(_)
    ));
}

#[test]
fn short_keys_are_not_certified() {
    let ca = authority();
    let message = Forger::first(&ca).message();
    let strict = Identity {
        limits: Limits {
            key_bits: 3072,
            ..Limits::default()
        },
        ..identity(&ca)
    };
    let received = receive(&message, &strict, now());
    assert!(
        matches!(received, Received::Answer(_, Rejection::KeyBits(2048))),
        "{received:?}"
    );
}

#[test]
fn a_signing_time_far_away_is_refused() {
    let ca = authority();
    let forger = Forger::first(&ca);
    let signing_time = |at: &str| {
        let attribute = cms::Attribute {
            oid: der::asn1::ObjectIdentifier::new_unwrap("1.2.840.113549.1.9.5"),
            value_der: [&[0x17, 13], at.as_bytes()].concat(),
        };
        let plain = Message::parse(&forger.message()).unwrap();
        let copied = [
            "2.16.840.1.113733.1.9.2",
            "2.16.840.1.113733.1.9.5",
            "2.16.840.1.113733.1.9.7",
        ]
        .map(|oid| {
            let oid = der::asn1::ObjectIdentifier::new_unwrap(oid);
            let value_der =
                der::Encode::to_der(&plain.signed.attribute(oid).unwrap().unwrap()).unwrap();
            cms::Attribute { oid, value_der }
        });
        let signer = Signer {
            certificate: &forger.signer,
            key: &forger.key,
            hash: Hash::Sha256,
        };
        let attributes = copied.into_iter().chain([attribute]).collect();
        cms::sign(plain.signed.content(), &signer, attributes, &[]).unwrap()
    };
    for at in ["260301120000Z", "260301125959Z", "260301110001Z"] {
        accepted(&signing_time(at), &ca);
    }
    for at in ["260301130001Z", "260301105959Z", "700101000000Z"] {
        assert!(matches!(
            rejected(&signing_time(at), &ca),
            (Rejection::Time(_), FailInfo::BadTime)
        ));
    }
    let patient = Limits {
        signing_time: days(30_000),
        ..Limits::default()
    };
    let patient = Identity {
        limits: patient,
        ..identity(&ca)
    };
    assert!(matches!(
        receive(&signing_time("700101000000Z"), &patient, now()),
        Received::Request(_)
    ));
    assert!(matches!(
        receive(&signing_time("26030112000xZ"), &patient, now()),
        Received::Unanswerable(Rejection::Message(MessageError::Bad("signingTime")))
    ));
}

#[test]
fn another_cas_certificates_are_unknown_here() {
    let (ca, other) = (authority(), named_authority("Other CA", 3));
    let ask = |message_type, issuer: &[u8], rest: &[u8]| {
        let forger = Forger {
            message_type,
            ..Forger::first(&ca)
        };
        let content = der::Any::new(der::Tag::Sequence, [issuer, rest].concat()).unwrap();
        forger.around(&forger.envelope(&der::Encode::to_der(&content).unwrap()))
    };
    let (ours, theirs, subject) = (
        ca.certificate.subject(),
        other.certificate.subject(),
        subject(),
    );
    let number = [0x02, 0x02, 0x00, 0x80];
    let incoming = accepted(&ask(MessageType::CertPoll, ours, &subject), &ca);
    assert!(matches!(incoming.kind, Kind::Poll { subject: asked, .. } if asked == subject));
    let incoming = accepted(&ask(MessageType::GetCert, ours, &number), &ca);
    assert!(matches!(&incoming.kind, Kind::GetCert { serial, .. } if serial == &[0x80]));
    assert!(matches!(
        accepted(&ask(MessageType::GetCrl, ours, &number), &ca).kind,
        Kind::GetCrl { .. }
    ));
    for (message_type, rest) in [
        (MessageType::CertPoll, subject.as_slice()),
        (MessageType::GetCert, &number),
        (MessageType::GetCrl, &number),
    ] {
        assert!(matches!(
            rejected(&ask(message_type, theirs, rest), &ca),
            (Rejection::OtherCa, FailInfo::BadMessageCheck)
        ));
    }
}

#[test]
fn the_capabilities_are_read_back_as_what_they_mean() {
    let caps = crate::http::Capabilities::from_text(ca_caps());
    assert!(
        caps.aes
            && caps.sha256
            && caps.sha384
            && caps.sha512
            && caps.post
            && caps.renewal
            && caps.next_ca
    );
    assert!(caps.scep_standard && caps.des3 && caps.sha1);
    assert_eq!(caps.to_text(), ca_caps());
    let ca = authority();
    assert_eq!(
        ca_cert(&ca),
        (
            "application/x-x509-ca-cert",
            ca.certificate.to_der().to_vec()
        )
    );
}
