//! Attributes of pkiMessages: what must be there, once, and of its type.

use super::*;
use crate::fixture::{authority, key};
use crate::issue::Authority;

fn draft<'a>(transaction_id: &'a TransactionId, text: Option<&'a str>) -> Draft<'a> {
    Draft {
        message_type: MessageType::CertRep,
        transaction_id,
        sender_nonce: Nonce::fresh().unwrap(),
        recipient_nonce: None,
        status: Some(PkiStatus::Failure),
        fail_info: Some(FailInfo::BadTime),
        fail_info_text: text,
        knows_ecdsa: false,
        content: &[],
    }
}

fn signer(ca: &Authority, hash: Hash) -> Signer<'_> {
    Signer {
        certificate: &ca.certificate,
        key: ca.issuing_key(),
        hash,
    }
}

#[test]
fn what_is_written_is_read_back() {
    let ca = authority();
    let signer = signer(&ca, Hash::Sha256);
    let id = TransactionId::of_key(key(1).spki());
    let nonce = PeerNonce(vec![7; 5]);
    let draft = Draft {
        recipient_nonce: Some(&nonce),
        ..draft(&id, Some("so nicht: ü"))
    };
    let read = Message::parse(&draft.sign(&signer).unwrap()).unwrap();
    assert_eq!(
        (read.message_type, &read.transaction_id),
        (MessageType::CertRep, &id)
    );
    assert_eq!(
        (read.status, read.fail_info),
        (Some(PkiStatus::Failure), Some(FailInfo::BadTime))
    );
    assert_eq!(read.fail_info_text.as_deref(), Some("so nicht: ü"));
    assert_eq!(read.sender_nonce, Some(draft.sender_nonce.into()));
    assert_eq!(read.recipient_nonce, Some(nonce));
    assert_eq!(read.signing_time, None);
}

#[test]
fn words_of_a_failure_do_not_break_a_log() {
    let ca = authority();
    let signer = signer(&ca, Hash::Sha256);
    let id = "a".parse().unwrap();
    let words = format!("a\nb\u{1b}[31m{}", "c".repeat(300));
    let read = Message::parse(&draft(&id, Some(&words)).sign(&signer).unwrap()).unwrap();
    let text = read.fail_info_text.unwrap();
    assert!(text.starts_with("ab[31mccc") && text.len() == MAX_FAIL_INFO_TEXT);
}

#[test]
fn sha_1_and_md5_are_answered_in_sha_256() {
    let ca = authority();
    let id = "a".parse().unwrap();
    for hash in [Hash::Sha1, Hash::Md5] {
        let signer = signer(&ca, hash);
        let read = Message::parse(&draft(&id, None).sign(&signer).unwrap()).unwrap();
        assert_eq!(read.signed.hash(), Hash::Sha256);
    }
}

#[test]
fn a_peers_transaction_is_opaque_but_printable() {
    for good in ["a", "a b", "AbC_+/=*", &"x".repeat(255)] {
        assert_eq!(good.parse::<TransactionId>().unwrap().as_str(), good);
    }
    for bad in ["", "a\0", "ü", "a\n", &"x".repeat(256)] {
        assert_eq!(bad.parse::<TransactionId>(), Err(BadTransactionId));
    }
    let ours = TransactionId::of_key(b"key");
    assert!(
        ours.as_str().len() == 64
            && ours
                .as_str()
                .bytes()
                .all(|byte| b"0123456789ABCDEF".contains(&byte))
    );
}

#[test]
fn a_nonce_is_fresh_and_a_peers_has_a_length() {
    assert_ne!(Nonce::fresh().unwrap(), Nonce::fresh().unwrap());
    assert!(PeerNonce::parse(&[]).is_none() && PeerNonce::parse(&[0; 65]).is_none());
    assert!(PeerNonce::parse(&[0]).is_some() && PeerNonce::parse(&[0; 64]).is_some());
}

#[test]
fn numbers_are_those_of_the_rfc() {
    for (number, info) in (0..5).zip([
        FailInfo::BadAlg,
        FailInfo::BadMessageCheck,
        FailInfo::BadRequest,
        FailInfo::BadTime,
        FailInfo::BadCertId,
    ]) {
        assert_eq!(
            (info.number(), FailInfo::from_number(number)),
            (number, Some(info))
        );
    }
    assert_eq!(FailInfo::from_number(5), None);
    for unlisted in ["", "0", "4", "18", "19 ", "019", "+19", "-3"] {
        assert_eq!(MessageType::parse(unlisted), None, "{unlisted}");
    }
}

#[test]
fn what_a_sender_knows_beside_rsa_is_read_among_other_capabilities() {
    use crate::ber::{oid, sequence};
    use crate::cms::{Attribute, sign};
    use der::asn1::ObjectIdentifier;
    let ca = authority();
    let signer = signer(&ca, Hash::Sha256);
    let id = "a".parse().unwrap();
    let says = Draft {
        knows_ecdsa: true,
        ..draft(&id, None)
    };
    assert!(
        Message::parse(&says.sign(&signer).unwrap())
            .unwrap()
            .knows_ecdsa
    );

    let entry = |identifier| sequence(&[&oid(ObjectIdentifier::new_unwrap(identifier))]);
    let (aes, ecdsa) = (
        entry("2.16.840.1.101.3.4.1.42"),
        entry("1.2.840.10045.4.3.2"),
    );
    let sha512 = entry("1.2.840.10045.4.3.4");
    for (value_der, known) in [
        (sequence(&[&aes, &ecdsa]), true),
        (sequence(&[&ecdsa, &aes]), true),
        (sequence(&[&aes, &sha512]), false),
        (sequence(&[]), false),
        // What cannot be read says nothing, and is no error.
        (sequence(&[&[5, 0], &ecdsa]), false),
        (vec![5, 0], false),
    ] {
        let text = |oid, text| attribute::string(oid, Tag::PrintableString, text).unwrap();
        let attributes = vec![
            text(attribute::MESSAGE_TYPE, "19"),
            text(attribute::TRANSACTION_ID, "a"),
            Attribute {
                oid: ObjectIdentifier::new_unwrap("1.2.840.113549.1.9.15"),
                value_der: value_der.clone(),
            },
        ];
        let bytes = sign(b"", &signer, attributes, &[]).unwrap();
        let read = Message::parse(&bytes).unwrap();
        assert_eq!(read.knows_ecdsa, known, "{value_der:?}");
    }
}
