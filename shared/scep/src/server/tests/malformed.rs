//! Messages that were changed, or were never any.

use super::*;

#[test]
fn a_changed_message_is_no_longer_signed() {
    let ca = authority();
    let forger = Forger::first(&ca);
    let envelope = forger.envelope(forger.request.to_der());
    let mut message = forger.around(&envelope);
    let at = message
        .windows(envelope.len())
        .position(|window| window == envelope)
        .unwrap();
    message[at + envelope.len() - 1] ^= 1;
    assert!(matches!(
        rejected(&message, &ca),
        (Rejection::Signature(_), FailInfo::BadMessageCheck)
    ));
    let last = message.len() - 1;
    message[at + envelope.len() - 1] ^= 1;
    message[last] ^= 1;
    assert!(matches!(
        rejected(&message, &ca),
        (Rejection::Signature(_), FailInfo::BadMessageCheck)
    ));
}

#[test]
fn whatever_is_wrong_inside_the_envelope_gets_one_answer() {
    let ca = authority();
    let forger = Forger::first(&ca);
    let sealed = forger.envelope(forger.request.to_der());
    let for_another = cms::seal(
        forger.request.to_der(),
        &named_authority("Test CA", 3).certificate,
        Cipher::Aes128,
    )
    .unwrap();
    let mut bad_padding = sealed.clone();
    *bad_padding.last_mut().unwrap() ^= 1;
    let mut bad_signature = forger.request.to_der().to_vec();
    *bad_signature.last_mut().unwrap() ^= 1;
    let envelopes = [
        Vec::new(),
        b"no envelope".to_vec(),
        for_another,
        bad_padding,
        forger.envelope(b""),
        forger.envelope(&[0x30, 0x00]),
        forger.envelope(ca.certificate.to_der()),
        forger.envelope(&bad_signature),
    ];
    for envelope in envelopes {
        let (_, info) = rejected(&forger.around(&envelope), &ca);
        assert_eq!(info, FailInfo::BadMessageCheck);
    }
    for message_type in [
        MessageType::CertPoll,
        MessageType::GetCert,
        MessageType::GetCrl,
    ] {
        let forger = Forger {
            message_type,
            ..Forger::first(&ca)
        };
        let (reason, info) = rejected(&forger.message(), &ca);
        assert!(matches!(reason, Rejection::Content(_)) && info == FailInfo::BadMessageCheck);
    }
}

#[test]
fn what_is_no_message_gets_no_answer() {
    let ca = authority();
    let deep = [[0x30, 0x80].repeat(100_000), vec![0; 200_000]].concat();
    let long = [vec![0x30, 0x84, 0x00, 0x20, 0x00, 0x00], vec![0; 0x20_0000]].concat();
    let nested = (0..40).fold(vec![0x05, 0x00], |inner, _| {
        der::Encode::to_der(&der::Any::new(der::Tag::Sequence, inner).unwrap()).unwrap()
    });
    for bytes in [
        &b""[..],
        b"hello",
        &[0x30, 0x80],
        &deep,
        &long,
        &nested,
        ca.certificate.to_der(),
    ] {
        let received = receive(bytes, &identity(&ca), now());
        assert!(
            matches!(
                received,
                Received::Unanswerable(Rejection::Message(MessageError::Cms(_)))
            ),
            "{received:?}"
        );
    }
}

#[test]
fn several_signers_are_refused() {
    let ca = authority();
    let message = Forger::first(&ca).message();
    // The SignerInfo is the last element of SignedData: it is put in twice, and the lengths around it are made longer.
    let info = signer_info(&message);
    let twice = grow(&message, info);
    assert!(matches!(
        receive(&twice, &identity(&ca), now()),
        Received::Unanswerable(Rejection::Message(MessageError::Cms(
            CmsError::SeveralSigners
        )))
    ));
}

/// The offset of the one SignerInfo: version 1, and an issuerAndSerialNumber with the signer's subject.
fn signer_info(message: &[u8]) -> usize {
    let signer = Message::parse(message)
        .unwrap()
        .signed
        .signer()
        .unwrap()
        .clone();
    let serial = [&[0x02, 16], signer.serial()].concat();
    let serial = if signer.serial()[0] >= 0x80 {
        [&[0x02, 17, 0], signer.serial()].concat()
    } else {
        serial
    };
    let name = [signer.issuer(), &serial].concat();
    let at = message
        .windows(name.len())
        .rposition(|window| window == name)
        .unwrap();
    // Before the name: SEQUENCE header of the identifier, INTEGER 1, header of the SignerInfo (four bytes).
    (0..at)
        .rev()
        .find(|start| {
            message[*start..].starts_with(&[0x30, 0x82])
                && message[start + 4..].starts_with(&[2, 1, 1])
        })
        .unwrap()
}

/// Repeats all from `at` on, and adds its length to every four-byte header around it.
fn grow(message: &[u8], at: usize) -> Vec<u8> {
    let added = message.len() - at;
    let mut grown = [message, &message[at..]].concat();
    for start in 0..at {
        let header: &[u8] = &message[start..start + 4];
        let is_header = matches!(header, [0x30 | 0x31 | 0xa0, 0x82, ..]);
        let length = usize::from(u16::from_be_bytes([header[2], header[3]]));
        if is_header && start + 4 + length == message.len() {
            let longer = u16::try_from(length + added).unwrap().to_be_bytes();
            grown[start + 2..start + 4].copy_from_slice(&longer);
        }
    }
    grown
}
