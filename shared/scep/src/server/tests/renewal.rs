//! Who may renew what.

use super::*;

#[test]
fn a_renewal_needs_a_certificate_of_this_ca() {
    let ca = authority();
    // Another CA of the same name: the signature counts, not the name.
    for (name, index) in [("Test CA", 3), ("Other CA", 3)] {
        let other = named_authority(name, index);
        let forged = Forger::renewal(&ca, old_certificate(&other));
        assert!(matches!(
            rejected(&forged.message(), &ca),
            (Rejection::OtherIssuer, FailInfo::BadRequest)
        ));
        let forged = Forger {
            message_type: MessageType::PkcsReq,
            ..forged
        };
        assert!(matches!(
            rejected(&forged.message(), &ca),
            (Rejection::OtherKey, FailInfo::BadRequest)
        ));
    }
    // A certificate that somebody signed himself.
    let request = request().sign(&key(2)).unwrap();
    let forged = Forger::renewal(
        &ca,
        self_signed(&request, &key(2), Hash::Sha256, now()).unwrap(),
    );
    assert!(matches!(
        rejected(&forged.message(), &ca),
        (Rejection::OtherIssuer, _)
    ));
    // A RenewalReq by the requested key itself is none, however well it is signed.
    let forged = Forger {
        message_type: MessageType::RenewalReq,
        ..Forger::first(&ca)
    };
    assert!(matches!(
        rejected(&forged.message(), &ca),
        (Rejection::OtherIssuer, _)
    ));
}

#[test]
fn the_cas_own_certificate_renews_nothing() {
    let ca = authority();
    let request = RequestBuilder {
        subject: vec![
            (
                crate::request::SubjectPart::Organization,
                "Convoy".to_owned(),
            ),
            (
                crate::request::SubjectPart::CommonName,
                "Test CA".to_owned(),
            ),
        ],
        ..RequestBuilder::new("")
    };
    let request = request.sign(&key(1)).unwrap();
    assert_eq!(request.subject(), ca.certificate.subject());
    let forged = Forger {
        request,
        signer: ca.certificate.clone(),
        key: key(0),
        ..Forger::renewal(&ca, old_certificate(&ca))
    };
    assert!(matches!(
        rejected(&forged.message(), &ca),
        (Rejection::OtherIssuer, _)
    ));
}

#[test]
fn a_renewal_needs_a_certificate_that_is_valid_now() {
    let ca = authority();
    for (from, to) in [(-20, -1), (1, 20)] {
        let subject = subject();
        let leaf = Leaf {
            not_before: now() + days(from),
            not_after: now() + days(to),
            ..leaf(&subject, &[], &[7])
        };
        let old = ca
            .issue(&Leaf {
                spki: key(2).spki(),
                ..leaf
            })
            .unwrap();
        for message_type in [MessageType::RenewalReq, MessageType::PkcsReq] {
            let forged = Forger {
                message_type,
                ..Forger::renewal(&ca, old.clone())
            };
            assert!(matches!(
                rejected(&forged.message(), &ca),
                (Rejection::Expired { .. }, FailInfo::BadRequest)
            ));
        }
    }
}

#[test]
fn a_renewal_is_for_the_same_subject() {
    let ca = authority();
    for message_type in [MessageType::RenewalReq, MessageType::PkcsReq] {
        let request = RequestBuilder::new("p2.example.org").sign(&key(1)).unwrap();
        let forged = Forger {
            request,
            message_type,
            ..Forger::renewal(&ca, old_certificate(&ca))
        };
        assert!(matches!(
            rejected(&forged.message(), &ca),
            (Rejection::OtherSubject, FailInfo::BadRequest)
        ));
    }
}

#[test]
fn without_a_subject_a_name_has_to_be_the_same() {
    let ca = authority();
    let named = |dns: &str| RequestBuilder {
        subject: Vec::new(),
        sans: vec![SubjectAltName::Dns(dns.to_owned())],
        ..RequestBuilder::new("")
    };
    let request = named("p1").sign(&key(1)).unwrap();
    let old = Leaf {
        sans: request.sans(),
        ..leaf(request.subject(), &[], &[7])
    };
    let old = ca
        .issue(&Leaf {
            spki: key(2).spki(),
            ..old
        })
        .unwrap();
    let renewal = Forger {
        request,
        ..Forger::renewal(&ca, old.clone())
    };
    assert!(matches!(
        accepted(&renewal.message(), &ca).kind,
        Kind::Renew { .. }
    ));
    let forged = Forger {
        request: named("p2").sign(&key(1)).unwrap(),
        ..Forger::renewal(&ca, old)
    };
    assert!(matches!(
        rejected(&forged.message(), &ca),
        (Rejection::OtherSubject, _)
    ));
}

#[test]
fn a_certificate_of_a_former_ca_is_renewed_by_the_one_in_force() {
    // Given a CA that has followed another, which the device still has its certificate from,
    let former = named_authority("Former CA", 3);
    let ca = authority();
    let message = Forger::renewal(&ca, old_certificate(&former)).message();

    // when the former one is not known, it is a stranger's; when it is, it is renewed.
    assert!(matches!(
        rejected(&message, &ca),
        (Rejection::OtherIssuer, _)
    ));
    let known = [former.certificate.clone()];
    let rolled = Identity {
        former: &known,
        ..identity(&ca)
    };
    let received = receive(&message, &rolled, now());
    assert!(
        matches!(&received, Received::Request(incoming) if matches!(incoming.kind, Kind::Renew { .. })),
        "{received:?}"
    );
}
