//! Certificates and lists, read back as others would.

use der::Decode;

use super::*;
use crate::certificate::SubjectAltName;
use crate::fixture::{authority, days, key, leaf, named_authority, now, request, two_keys};
use crate::key::EcdsaKey;

const EC_P256: &str = "3059301306072a8648ce3d020106082a8648ce3d03010703420004\
    6b17d1f2e12c4247f8bce6e563a440f277037d812deb33a0f4a13945d898c296\
    4fe342e2fe1a7f9b8ee7eb4a7c0f9e162bce33576b315ececbb6406837bf51f5";

fn subject() -> Vec<u8> {
    request().sign(&key(1)).unwrap().subject().to_vec()
}

#[test]
fn a_ca_signs_itself_and_its_leaves() {
    let ca = authority();
    assert!(ca.certificate.is_self_signed() && ca.certificate.is_ca());
    assert_eq!(ca.certificate.subject_text(), "CN=Test CA,O=Convoy");
    let usage = ca.certificate.key_usage().unwrap();
    assert!(
        usage.key_cert_sign && usage.crl_sign && usage.digital_signature && usage.key_encipherment
    );

    let subject = subject();
    let sans = [
        SubjectAltName::Dns("p1.example.org".to_owned()),
        SubjectAltName::Ip("2001:db8::1".parse().unwrap()),
        SubjectAltName::Uri("ipps://p1.example.org/".to_owned()),
    ];
    let server_auth = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.3.1");
    let issued = ca
        .issue(&Leaf {
            sans: &sans,
            extended_key_usage: &[server_auth],
            crl_url: Some("http://ca.example.org/crl"),
            spki: key(1).spki(),
            ..leaf(&subject, &[], &[0x80, 1])
        })
        .unwrap();
    assert!(issued.is_issued_by(&ca.certificate) && !issued.is_ca());
    assert!(!issued.is_issued_by(&named_authority("Test CA", 3).certificate));
    assert_eq!(issued.sans(), sans);
    assert_eq!(issued.extended_key_usage(), [server_auth]);
    assert_eq!(issued.serial_hex(), "8001");
    assert_eq!(
        (issued.not_before(), issued.not_after()),
        (now() - days(1), now() + days(90))
    );
    assert_eq!(issued.key_usage(), Some(Leaf::usual_key_usage()));
    let found = |needle: &[u8]| {
        issued
            .to_der()
            .windows(needle.len())
            .any(|window| window == needle)
    };
    assert!(found(b"http://ca.example.org/crl"));
    // The authority key identifier is the CA's own subject key identifier.
    assert!(found(ca.certificate.subject_key_id().unwrap()));
    x509_cert::Certificate::from_der(issued.to_der()).unwrap();
}

#[test]
fn years_from_2050_on_are_written_in_full() {
    let at = "2050-01-01T00:00:00Z".parse().unwrap();
    let last = "9999-12-30T00:00:00Z".parse().unwrap();
    let ca = Authority::self_signed("Late", None, key(0), &[1], at, last).unwrap();
    assert_eq!(
        (
            ca.certificate.not_before(),
            ca.certificate.subject_text().as_str()
        ),
        (at, "CN=Late")
    );
    assert!(
        ca.certificate
            .to_der()
            .windows(15)
            .any(|window| window == b"20500101000000Z")
    );
    let before = Authority::self_signed(
        "Early",
        None,
        key(0),
        &[1],
        "1969-12-31T23:59:59Z".parse().unwrap(),
        last,
    );
    assert!(matches!(before, Err(IssueError::Date(_))));
}

#[test]
fn what_cannot_be_certified_is_refused() {
    let ca = authority();
    let (subject, rsa) = (subject(), key(1).spki().to_vec());
    let ec = hex::decode(EC_P256).unwrap();
    assert!(ca.issue(&leaf(&subject, &ec, &[1])).is_ok());
    let mut wrong_curve = ec.clone();
    wrong_curve[22] ^= 1;
    for bad in [
        &[][..],
        &[0x30, 0x00],
        &ec[..ec.len() - 1],
        &wrong_curve,
        &rsa[..rsa.len() - 1],
    ] {
        assert!(matches!(
            ca.issue(&leaf(&subject, bad, &[1])),
            Err(IssueError::PublicKey)
        ));
    }
    for serial in [&[][..], &[0], &[0, 0], &[1; 21], &[0x80; 20]] {
        assert!(
            matches!(
                ca.issue(&leaf(&subject, &rsa, serial)),
                Err(IssueError::Serial)
            ),
            "{serial:?}"
        );
    }
    assert!(ca.issue(&leaf(&subject, &rsa, &[0x7f; 20])).is_ok());
    assert!(matches!(
        ca.issue(&leaf(name::EMPTY, &rsa, &[1])),
        Err(IssueError::Nameless)
    ));
    assert!(matches!(
        ca.issue(&leaf(b"no name", &rsa, &[1])),
        Err(IssueError::Encode(_) | IssueError::Unreadable(_))
    ));
    let never = Leaf {
        not_after: now() - days(1),
        ..leaf(&subject, &rsa, &[1])
    };
    assert!(matches!(ca.issue(&never), Err(IssueError::Validity)));
    let sans = [SubjectAltName::Dns("ü".to_owned())];
    assert!(matches!(
        ca.issue(&Leaf {
            sans: &sans,
            ..leaf(&subject, &rsa, &[1])
        }),
        Err(IssueError::Encode(_))
    ));
}

#[test]
fn stored_parts_have_to_belong_together() {
    let ca = authority();
    assert!(Authority::new(ca.certificate.clone(), key(0)).is_ok());
    assert!(matches!(
        Authority::new(ca.certificate.clone(), key(1)),
        Err(IssueError::OtherKey)
    ));
    let subject = subject();
    let issued = ca.issue(&leaf(&subject, key(1).spki(), &[1])).unwrap();
    assert!(matches!(
        Authority::new(issued, key(1)),
        Err(IssueError::NoAuthority)
    ));
}

#[test]
fn a_ca_that_signs_with_ecdsa_has_an_ra() {
    let ca = two_keys("Test CA");
    assert!(ca.certificate.is_self_signed() && ca.certificate.is_ca());
    let usage = ca.certificate.key_usage().unwrap();
    assert!(usage.key_cert_sign && usage.crl_sign && usage.digital_signature);
    assert!(!usage.key_encipherment);
    let recipient = ca.recipient();
    assert!(recipient.is_issued_by(&ca.certificate) && !recipient.is_ca());
    assert_eq!(recipient.subject_text(), "CN=Test CA RA,O=Convoy");
    assert_eq!(
        (recipient.not_before(), recipient.not_after()),
        (ca.certificate.not_before(), ca.certificate.not_after())
    );
    let usage = recipient.key_usage().unwrap();
    assert!(usage.key_encipherment && usage.digital_signature && !usage.key_cert_sign);
    assert_eq!(recipient.spki(), ca.message_key().spki());
    assert_eq!(ca.certificates(), [&ca.certificate, recipient]);

    let issued = ca.issue(&leaf(&subject(), key(1).spki(), &[7])).unwrap();
    assert!(issued.is_issued_by(&ca.certificate) && !issued.is_issued_by(recipient));
    let list = ca.crl([], 3, now(), now() + days(7)).unwrap();
    let list: x509_cert::crl::CertificateList = Decode::from_der(&list).unwrap();
    assert_eq!(
        list.signature_algorithm.oid.to_string(),
        "1.2.840.10045.4.3.2"
    );
}

#[test]
fn stored_parts_of_two_keys_have_to_belong_together() {
    let (ca, other) = (two_keys("Test CA"), two_keys("Test CA"));
    let put = |ca: &Authority, recipient: &Authority, decrypting| {
        let signing = EcdsaKey::from_pem(&ca.issuing_key().to_pem()).unwrap();
        let (own, recipient) = (ca.certificate.clone(), recipient.recipient().clone());
        Authority::with_ra(own, signing, recipient, decrypting)
    };
    assert!(put(&ca, &ca, key(0)).is_ok());
    for wrong in [put(&ca, &ca, key(1)), put(&ca, &other, key(0))] {
        assert!(matches!(wrong, Err(IssueError::OtherRa)));
    }
    let signing = EcdsaKey::generate().unwrap();
    let (own, recipient) = (ca.certificate.clone(), ca.recipient().clone());
    assert!(matches!(
        Authority::with_ra(own, signing, recipient, key(0)),
        Err(IssueError::OtherKey)
    ));
}

#[test]
fn a_list_has_its_number_and_its_reasons() {
    use x509_cert::crl::CertificateList;
    use x509_cert::ext::pkix::{CrlNumber, CrlReason as Reason};
    let ca = authority();
    let revoked = [
        Revoked {
            serial: &[0x42],
            at: now(),
            reason: CrlReason::KeyCompromise,
        },
        Revoked {
            serial: &[0x80],
            at: now(),
            reason: CrlReason::Unspecified,
        },
    ];
    let list = ca.crl(revoked, u64::MAX, now(), now() + days(7)).unwrap();
    let read: CertificateList = CertificateList::from_der(&list).unwrap();
    let entries = read.tbs_cert_list.revoked_certificates.unwrap();
    assert_eq!(entries.len(), 2);
    let reason = &entries[0].crl_entry_extensions.as_ref().unwrap()[0];
    assert_eq!(
        Reason::from_der(reason.extn_value.as_bytes()).unwrap(),
        Reason::KeyCompromise
    );
    assert!(entries[1].crl_entry_extensions.is_none());
    let number = &read.tbs_cert_list.crl_extensions.unwrap()[1];
    assert_eq!(
        CrlNumber::from_der(number.extn_value.as_bytes())
            .unwrap()
            .0
            .as_bytes(),
        u64::MAX.to_be_bytes()
    );

    let empty = ca.crl([], 0, now(), now() + days(7)).unwrap();
    let read: CertificateList = CertificateList::from_der(&empty).unwrap();
    assert!(read.tbs_cert_list.revoked_certificates.is_none());
    assert!(matches!(
        ca.crl([], 0, now(), now()),
        Err(IssueError::Validity)
    ));
    let bad = [Revoked {
        serial: &[],
        at: now(),
        reason: CrlReason::Superseded,
    }];
    assert!(matches!(
        ca.crl(bad, 1, now(), now() + days(7)),
        Err(IssueError::Serial)
    ));
}
