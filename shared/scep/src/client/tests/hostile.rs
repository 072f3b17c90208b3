//! What a hostile, broken or old server does to a client.

use super::*;
use crate::cms::Signer;
use crate::http::{HttpRequest, Operation};
use crate::message::{Draft, Message, Nonce, PkiStatus};

/// Runs a first enrolment in which the message is answered by `forge`.
pub(super) fn answered_by(
    settings: Settings,
    ca: &Authority,
    forge: &mut dyn FnMut(&Incoming) -> Vec<u8>,
) -> (Enrolment, Step) {
    let mut server = Server::new(ca);
    let (mut enrolment, step) = first(settings);
    let step = server.run(&mut enrolment, step, &mut |incoming, _| forge(incoming));
    (enrolment, step)
}

pub(super) fn faulty(step: Step) -> FaultyResponse {
    match failure(step) {
        Failure::Faulty(faulty) => faulty,
        other => panic!("{other:?}"),
    }
}

/// A CertRep with everything right but what `change` makes wrong.
fn certrep(ca: &Authority, incoming: &Incoming, change: &dyn Fn(&mut Draft<'_>)) -> Vec<u8> {
    let sealed = cms::seal(
        &cms::certs_only(&[&grant(ca, incoming)], &[]),
        &incoming.requester,
        incoming.cipher(),
    )
    .unwrap();
    let mut draft = Draft {
        message_type: MessageType::CertRep,
        transaction_id: &incoming.transaction_id,
        sender_nonce: Nonce::fresh().unwrap(),
        recipient_nonce: Some(incoming.sender_nonce()),
        status: Some(PkiStatus::Success),
        fail_info: None,
        fail_info_text: None,
        knows_ecdsa: false,
        content: &sealed,
    };
    change(&mut draft);
    draft
        .sign(&Signer {
            certificate: &ca.certificate,
            key: ca.issuing_key(),
            hash: incoming.hash(),
        })
        .unwrap()
}

#[test]
fn the_forged_answers_are_right_but_for_what_is_forged() {
    let ca = authority();
    let (_, step) = answered_by(settings(&ca), &ca, &mut |incoming| {
        certrep(&ca, incoming, &|_| {})
    });
    issued(step);
}

#[test]
fn a_ca_with_another_fingerprint_gets_no_message() {
    let (ca, impostor) = (authority(), named_authority("Test CA", 3));
    let mut server = Server::new(&impostor);
    let (mut enrolment, mut step) = first(settings(&ca));
    let mut sent: Vec<HttpRequest> = Vec::new();
    while let Step::Send(request) = step {
        sent.push(request.clone());
        step = enrolment.receive(server.reply(&request, &mut granting(&impostor)), now());
    }
    let Failure::WrongCa { expected, seen } = failure(step) else {
        panic!()
    };
    assert_eq!(
        (expected, seen),
        (
            ca.certificate.fingerprint(),
            impostor.certificate.fingerprint()
        )
    );
    assert!(
        sent.iter()
            .all(|request| request.method == Method::Get && request.body.is_empty())
    );
    assert!(server.seen.is_empty());
}

#[test]
fn an_impostor_beside_the_right_ca_is_neither_encrypted_to_nor_believed() {
    let (ca, impostor) = (authority(), named_authority("Test CA", 3));
    let mut server = Server::new(&impostor);
    server.ca = cms::certs_only(&[&impostor.certificate, &ca.certificate], &[]);
    let (mut enrolment, step) = first(settings(&ca));
    // The impostor cannot open the message, and its answer, signed under the CA's name, is not believed.
    let step = server.run(&mut enrolment, step, &mut |_, _| {
        panic!("the impostor has read the request")
    });
    assert!(matches!(faulty(step), FaultyResponse::Signature(_)));
}

#[test]
fn a_device_with_a_certificate_of_the_ca_is_no_ra() {
    let ca = authority();
    let client_auth = der::asn1::ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.3.2");
    let (device, _) = registration_authority(&ca, &[client_auth]);
    let mut server = Server::new(&ca);
    server.ca = cms::certs_only(&[&device.certificate, &ca.certificate], &[]);
    let (mut enrolment, step) = first(settings(&ca));
    let step = server.run(&mut enrolment, step, &mut |incoming, identity| {
        incoming
            .success(
                &Identity::new(&device, identity.policy),
                &[&grant(&ca, incoming)],
            )
            .unwrap()
    });
    assert!(matches!(faulty(step), FaultyResponse::Signer));
}

#[test]
fn an_expired_ra_is_not_used() {
    let ca = authority();
    let (ra, _) = registration_authority(&ca, &[]);
    let mut server = Server::new(&ca);
    server.ca = cms::certs_only(&[&ra.certificate, &ca.certificate], &[]);
    let (mut enrolment, _) = first(settings(&ca));
    let later = now() + days(91);
    let step = enrolment.receive(ok(b"AES\nSHA-256\nPOSTPKIOperation".to_vec()), later);
    let Step::Send(sent) = step else {
        panic!("{step:?}")
    };
    let step = enrolment.receive(server.reply(&sent, &mut granting(&ca)), later);
    let Step::Send(sent) = step else {
        panic!("{step:?}")
    };
    let reply = server.reply(&sent, &mut |incoming, identity| {
        incoming
            .success(
                &Identity::new(&ra, identity.policy),
                &[&grant(&ca, incoming)],
            )
            .unwrap()
    });
    assert!(matches!(
        faulty(enrolment.receive(reply, later)),
        FaultyResponse::Signer
    ));
}

#[test]
fn a_reply_by_somebody_else_is_not_believed() {
    let (ca, other) = (authority(), named_authority("Other", 3));
    for unpinned in [false, true] {
        let mut settings = settings(&ca);
        settings.ca_fingerprint = settings.ca_fingerprint.filter(|_| !unpinned);
        let (_, step) = answered_by(settings, &ca, &mut |incoming| {
            incoming
                .success(&identity(&other), &[&grant(&ca, incoming)])
                .unwrap()
        });
        assert!(matches!(faulty(step), FaultyResponse::Signer));
    }
    // The right name and number, another key.
    let double = named_authority("Test CA", 3);
    let (_, step) = answered_by(settings(&ca), &ca, &mut |incoming| {
        incoming
            .success(&identity(&double), &[&grant(&ca, incoming)])
            .unwrap()
    });
    assert!(matches!(faulty(step), FaultyResponse::Signature(_)));
}

#[test]
fn a_reply_to_another_message_is_not_believed() {
    let ca = authority();
    let (_, step) = answered_by(settings(&ca), &ca, &mut |incoming| {
        let other = Nonce::fresh().unwrap().into();
        certrep(&ca, incoming, &|draft| {
            draft.recipient_nonce = Some(Box::leak(Box::new(Clone::clone(&other))))
        })
    });
    assert!(matches!(faulty(step), FaultyResponse::RecipientNonce));
    let (_, step) = answered_by(settings(&ca), &ca, &mut |incoming| {
        certrep(&ca, incoming, &|draft| draft.recipient_nonce = None)
    });
    assert!(matches!(faulty(step), FaultyResponse::RecipientNonce));
    let other: TransactionId = "another".parse().unwrap();
    let (_, step) = answered_by(settings(&ca), &ca, &mut |incoming| {
        certrep(&ca, incoming, &|draft| {
            draft.transaction_id = Box::leak(Box::new(other.clone()))
        })
    });
    assert!(matches!(faulty(step), FaultyResponse::TransactionId));
    let (_, step) = answered_by(settings(&ca), &ca, &mut |incoming| {
        certrep(&ca, incoming, &|draft| {
            draft.message_type = MessageType::PkcsReq
        })
    });
    assert!(matches!(
        faulty(step),
        FaultyResponse::MessageType(MessageType::PkcsReq)
    ));
    let (_, step) = answered_by(settings(&ca), &ca, &mut |incoming| {
        certrep(&ca, incoming, &|draft| draft.status = None)
    });
    assert!(matches!(faulty(step), FaultyResponse::NoStatus));
}

#[test]
fn a_reply_for_another_key_is_no_certificate_of_ours() {
    let ca = authority();
    let (_, step) = answered_by(settings(&ca), &ca, &mut |incoming| {
        let other = ca
            .issue(&leaf(incoming.requester.subject(), key(2).spki(), &[9]))
            .unwrap();
        incoming
            .success(&identity(&ca), &[&other, &ca.certificate])
            .unwrap()
    });
    assert!(matches!(faulty(step), FaultyResponse::OtherKey));
    let (_, step) = answered_by(settings(&ca), &ca, &mut |incoming| {
        incoming.success(&identity(&ca), &[]).unwrap()
    });
    assert!(matches!(faulty(step), FaultyResponse::OtherKey));
}

#[test]
fn an_envelope_for_somebody_else_does_not_open() {
    let ca = authority();
    let (_, step) = answered_by(settings(&ca), &ca, &mut |incoming| {
        let sealed = cms::seal(
            &cms::certs_only(&[&grant(&ca, incoming)], &[]),
            &ca.certificate,
            Cipher::Aes128,
        )
        .unwrap();
        certrep(&ca, incoming, &|draft| {
            draft.content = Box::leak(sealed.clone().into_boxed_slice())
        })
    });
    assert!(matches!(faulty(step), FaultyResponse::Envelope(_)));
    let (_, step) = answered_by(settings(&ca), &ca, &mut |incoming| {
        certrep(&ca, incoming, &|draft| draft.content = &[])
    });
    assert!(matches!(faulty(step), FaultyResponse::Envelope(_)));
}

#[test]
fn des_is_refused_by_name_unless_it_is_allowed() {
    let ca = authority();
    let in_des = |incoming: &Incoming| {
        let content = cms::certs_only(&[&grant(&ca, incoming)], &[]);
        let sealed = cms::seal(&content, &incoming.requester, Cipher::Des).unwrap();
        certrep(&ca, incoming, &|draft| {
            draft.content = Box::leak(sealed.clone().into_boxed_slice())
        })
    };
    let (_, step) = answered_by(settings(&ca), &ca, &mut |incoming| in_des(incoming));
    let faulty = faulty(step);
    assert!(matches!(
        faulty,
        FaultyResponse::NeedsAllowLegacy(Cipher::Des)
    ));
    assert_eq!(
        faulty.to_string(),
        "the answer uses DES-CBC; set allow_legacy to accept it"
    );

    let allowed = Settings {
        allow_legacy: true,
        ..settings(&ca)
    };
    let (enrolment, step) = answered_by(allowed, &ca, &mut |incoming| in_des(incoming));
    issued(step);
    assert_eq!(enrolment.legacy(), [Legacy::Cipher(Cipher::Des)]);
}

#[test]
fn failure_and_pending_may_have_an_envelope() {
    let ca = authority();
    let (_, step) = answered_by(settings(&ca), &ca, &mut |incoming| {
        certrep(&ca, incoming, &|draft| {
            draft.status = Some(PkiStatus::Failure);
            draft.fail_info = Some(FailInfo::BadTime);
        })
    });
    assert!(matches!(
        failure(step),
        Failure::FailInfo {
            info: Some(FailInfo::BadTime),
            text: None
        }
    ));
    let (_, step) = answered_by(settings(&ca), &ca, &mut |incoming| {
        certrep(&ca, incoming, &|draft| {
            draft.status = Some(PkiStatus::Pending)
        })
    });
    assert!(matches!(
        step,
        Step::Wait {
            why: Waiting::Deferred,
            ..
        }
    ));
}

#[test]
fn a_faulty_answer_is_an_error_at_once() {
    let ca = authority();
    for body in [
        &b""[..],
        b"<html>welcome to the captive portal</html>",
        &[0x30, 0x80],
        &[0x30, 0x82, 0xff, 0xff],
    ] {
        let (enrolment, step) = answered_by(settings(&ca), &ca, &mut |_| body.to_vec());
        assert!(matches!(faulty(step), FaultyResponse::Message(_)));
        assert!(enrolment.pending().is_none());
        let mut server = Server::new(&ca);
        server.ca = body.to_vec();
        let (mut enrolment, step) = first(settings(&ca));
        let step = server.run(&mut enrolment, step, &mut granting(&ca));
        assert!(matches!(faulty(step), FaultyResponse::NoCertificates));
    }
}

#[test]
fn a_second_reply_to_one_message_is_not_taken() {
    let ca = authority();
    let mut server = Server::new(&ca);
    let (mut enrolment, mut step) = first(settings(&ca));
    let mut last = status(200);
    while let Step::Send(request) = step {
        last = server.reply(&request, &mut |incoming, identity| {
            incoming.pending(identity).unwrap()
        });
        step = enrolment.receive(last.clone(), now());
    }
    assert!(matches!(step, Step::Wait { .. }));
    assert!(matches!(
        faulty(enrolment.receive(last, now())),
        FaultyResponse::Unexpected
    ));
}

#[test]
fn the_challenge_is_nowhere_in_clear() {
    let ca = authority();
    let mut server = Server::new(&ca);
    let (mut enrolment, mut step) = first(settings(&ca));
    assert!(!format!("{enrolment:?}").contains("s3cret"));
    while let Step::Send(request) = step {
        if let Operation::PkiOperation(message) =
            Operation::parse(request.method, Some(&request.query), &request.body).unwrap()
        {
            assert!(!message.windows(6).any(|window| window == b"s3cret"));
            let message = Message::parse(&message).unwrap();
            // The throw-away certificate is in the clear as well.
            assert_eq!(message.signed.certificates().len(), 1);
        }
        step = enrolment.receive(server.reply(&request, &mut granting(&ca)), now());
    }
    issued(step);
}
