//! SignedData: round trips, and openssl's messages.

use super::*;

pub(super) const MESSAGE_TYPE: &str = "2.16.840.1.113733.1.9.2";

fn attribute(identifier: &str, text: &str) -> Attribute {
    Attribute {
        oid: oid_of(identifier),
        value_der: tlv(0x13, text.as_bytes()),
    }
}

pub(super) fn signed(hash: Hash) -> Vec<u8> {
    let (certificate, key) = leaf();
    let signer = Signer {
        certificate: &certificate,
        key,
        hash,
    };
    sign(CONTENT, &signer, vec![attribute(MESSAGE_TYPE, "19")], &[]).unwrap()
}

#[test]
fn messages_go_there_and_back_with_every_hash() {
    let (certificate, _) = leaf();
    for hash in [Hash::Sha256, Hash::Sha384, Hash::Sha512] {
        let bytes = signed(hash);
        assert_eq!(to_der(&bytes).as_ref(), Ok(&bytes), "strict DER");
        let message = SignedData::parse(&bytes).unwrap();
        assert_eq!(message.verify(&certificate, STRICT), Ok(()));
        assert_eq!((message.content(), message.hash()), (CONTENT, hash));
        assert_eq!(message.signer(), Some(&certificate));
        assert_eq!(message.certificates(), std::slice::from_ref(&certificate));
        let value = message.attribute(oid_of(MESSAGE_TYPE)).unwrap().unwrap();
        assert_eq!(value.value(), b"19");
        assert_eq!(message.attribute(oid_of("1.2.3")), Ok(None));
    }
}

#[test]
fn the_signature_algorithm_is_written_as_rsa_encryption() {
    // The signature of 256 octets follows.
    let algorithm = [
        sequence(&[&oid(RSA_ENCRYPTION), &null()]).as_slice(),
        &[tag::OCTET_STRING, 0x82, 1, 0],
    ]
    .concat();
    for hash in [Hash::Sha256, Hash::Sha512] {
        let bytes = signed(hash);
        assert_eq!(
            bytes
                .windows(algorithm.len())
                .filter(|window| *window == algorithm)
                .count(),
            1
        );
    }
}

#[test]
fn the_message_that_openssl_verified_is_the_one_that_is_made() {
    assert_eq!(signed(Hash::Sha256), fixture!("ours-signed.der"));
}

#[test]
fn certificates_keep_their_order_behind_the_signers() {
    let ((certificate, key), ca) = (leaf(), certificate(fixture!("ca.pem")));
    let signer = Signer {
        certificate: &certificate,
        key,
        hash: Hash::Sha256,
    };
    let bytes = sign(CONTENT, &signer, vec![], &[&ca, &certificate, &ca]).unwrap();
    assert_eq!(
        SignedData::parse(&bytes).unwrap().certificates(),
        [certificate, ca]
    );
}

#[test]
fn empty_content_is_signed_as_well() {
    let (certificate, key) = leaf();
    let signer = Signer {
        certificate: &certificate,
        key,
        hash: Hash::Sha256,
    };
    let message = SignedData::parse(&sign(b"", &signer, vec![], &[]).unwrap()).unwrap();
    assert_eq!(message.verify(&certificate, STRICT), Ok(()));
    assert!(message.content().is_empty());
}

#[test]
fn what_cannot_be_signed_is_refused() {
    let ((certificate, key), (_, other_key)) = (leaf(), other());
    let signer = Signer {
        certificate: &certificate,
        key,
        hash: Hash::Sha256,
    };
    let twice = vec![attribute(MESSAGE_TYPE, "19"), attribute(MESSAGE_TYPE, "3")];
    assert_eq!(
        sign(b"", &signer, twice, &[]),
        Err(CmsError::DuplicateAttribute(oid_of(MESSAGE_TYPE)))
    );
    let own = oid_of("1.2.840.113549.1.9.4");
    let attributes = vec![Attribute {
        oid: own,
        value_der: octet_string(&[]),
    }];
    assert_eq!(
        sign(b"", &signer, attributes, &[]),
        Err(CmsError::DuplicateAttribute(own))
    );
    let signer = Signer {
        key: other_key,
        ..signer
    };
    assert_eq!(sign(b"", &signer, vec![], &[]), Err(CmsError::SignerKey));
    let signer = Signer {
        key,
        hash: Hash::Sha1,
        ..signer
    };
    assert_eq!(
        sign(b"", &signer, vec![], &[]),
        Err(CmsError::Key(KeyError::Hash(Hash::Sha1)))
    );
    let signer = Signer {
        hash: Hash::Md5,
        ..signer
    };
    assert_eq!(
        sign(b"", &signer, vec![], &[]),
        Err(CmsError::Key(KeyError::Hash(Hash::Md5)))
    );
}

#[test]
fn openssls_messages_verify() {
    let (certificate, _) = leaf();
    for (bytes, hash) in [
        (fixture!("signed-sha1.der"), Hash::Sha1),
        (fixture!("signed-sha256.der"), Hash::Sha256),
        (fixture!("signed-sha384.der"), Hash::Sha384),
        (fixture!("signed-sha512.der"), Hash::Sha512),
        (fixture!("signed-pss-sha256.der"), Hash::Sha256),
        (fixture!("signed-pss-sha384.der"), Hash::Sha384),
        (fixture!("signed-pss-sha512.der"), Hash::Sha512),
        (fixture!("signed-keyid.der"), Hash::Sha256),
        (fixture!("signed-ber.der"), Hash::Sha256),
        (fixture!("signed-pkcs7.der"), Hash::Sha256),
    ] {
        let message = SignedData::parse(bytes).unwrap();
        assert_eq!(message.verify(&certificate, STRICT), Ok(()), "{hash}");
        assert_eq!(
            (message.content(), message.hash(), message.signer()),
            (CONTENT, hash, Some(&certificate))
        );
    }
    let bare = SignedData::parse(fixture!("signed-nocerts.der")).unwrap();
    assert_eq!(
        (bare.signer(), bare.verify(&certificate, STRICT)),
        (None, Ok(()))
    );
}

#[test]
fn openssls_messages_that_scep_does_not_permit_are_refused() {
    let (certificate, _) = leaf();
    let content_type = oid_of("1.2.840.113549.1.9.3");
    let bare = SignedData::parse(fixture!("signed-noattr.der")).unwrap();
    assert_eq!(
        bare.verify(&certificate, STRICT),
        Err(CmsError::MissingAttribute(content_type))
    );
    assert_eq!(
        SignedData::parse(fixture!("signed-two.der")).map(|_| ()),
        Err(CmsError::SeveralSigners)
    );
    for policy in [STRICT, Policy { allow_legacy: true }] {
        let md5 = SignedData::parse(fixture!("signed-md5.der")).unwrap();
        assert_eq!(
            md5.verify(&certificate, policy),
            Err(CmsError::RefusedHash(Hash::Md5))
        );
    }
}

#[test]
fn ber_is_read_as_der_is() {
    let (certificate, _) = leaf();
    for der in [signed(Hash::Sha256), fixture!("signed-sha256.der").to_vec()] {
        for ber in [
            indefinite(&der, 1),
            indefinite(&der, 1000),
            crate::ber::tests::long_lengths(&der),
        ] {
            let message = SignedData::parse(&ber).unwrap();
            assert_eq!(
                (message.verify(&certificate, STRICT), message.content()),
                (Ok(()), CONTENT)
            );
        }
    }
}
