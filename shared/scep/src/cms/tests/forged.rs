//! Forged SignedData: signed with the right key, and wrong in one thing each.

use super::{
    signed::{MESSAGE_TYPE, signed},
    *,
};

/// A message signed with the leaf's key of which one part or another may be wrong.
struct Forgery {
    content: Vec<u8>,
    content_type: ObjectIdentifier,
    attributes: Vec<Vec<u8>>,
    /// Sign over the attributes in this order, and not in that of DER.
    as_they_stand: bool,
    digest: ObjectIdentifier,
    algorithm: Vec<u8>,
    signers: usize,
    explicit: Option<Vec<u8>>,
}

fn encoded(identifier: &str, values: &[Vec<u8>]) -> Vec<u8> {
    sequence(&[&oid(oid_of(identifier)), &tlv(tag::SET, &values.concat())])
}

const CONTENT_TYPE: &str = "1.2.840.113549.1.9.3";
const MESSAGE_DIGEST: &str = "1.2.840.113549.1.9.4";

fn content_type() -> Vec<u8> {
    encoded(CONTENT_TYPE, &[oid(DATA)])
}

fn message_digest(content: &[u8]) -> Vec<u8> {
    encoded(
        MESSAGE_DIGEST,
        &[octet_string(&Hash::Sha256.digest(content).unwrap())],
    )
}

impl Default for Forgery {
    fn default() -> Self {
        Self {
            content: CONTENT.to_vec(),
            content_type: DATA,
            attributes: vec![content_type(), message_digest(CONTENT)],
            as_they_stand: false,
            digest: Hash::Sha256.oid(),
            algorithm: sequence(&[&oid(RSA_ENCRYPTION), &null()]),
            signers: 1,
            explicit: None,
        }
    }
}

impl Forgery {
    fn bytes(self) -> Vec<u8> {
        let (certificate, key) = leaf();
        let sorted = set_of(tag::SET, self.attributes.clone());
        let standing = tlv(tag::SET, &self.attributes.concat());
        let signature = key
            .sign(
                Hash::Sha256,
                if self.as_they_stand {
                    &standing
                } else {
                    &sorted
                },
            )
            .unwrap();
        let signer_info = sequence(&[
            &integer(&[1]),
            &CertificateId::encode(&certificate),
            &sequence(&[&oid(self.digest), &null()]),
            &tlv(tag::context(0), &self.attributes.concat()),
            &self.algorithm,
            &octet_string(&signature),
        ]);
        let explicit = self.explicit.unwrap_or_else(|| octet_string(&self.content));
        let signed = sequence(&[
            &integer(&[1]),
            &tlv(tag::SET, &sequence(&[&oid(self.digest), &null()])),
            &sequence(&[&oid(self.content_type), &tlv(tag::context(0), &explicit)]),
            &tlv(tag::context(0), certificate.to_der()),
            &tlv(tag::SET, &signer_info.repeat(self.signers)),
        ]);
        to_content_info(SIGNED_DATA, &signed)
    }

    fn verify(self) -> Result<(), CmsError> {
        SignedData::parse(&self.bytes())?.verify(&leaf().0, STRICT)
    }
}

#[test]
fn what_the_forger_makes_honestly_verifies() {
    assert_eq!(Forgery::default().verify(), Ok(()));
}

#[test]
fn attributes_may_be_signed_in_the_senders_order_or_sorted() {
    // Which of the two orders is that of DER does not matter: both are tried, and one of them is not sorted.
    for attributes in [
        [content_type(), message_digest(CONTENT)],
        [message_digest(CONTENT), content_type()],
    ] {
        for as_they_stand in [true, false] {
            let forgery = Forgery {
                attributes: attributes.to_vec(),
                as_they_stand,
                ..Forgery::default()
            };
            assert_eq!(forgery.verify(), Ok(()));
        }
    }
}

#[test]
fn changed_content_is_refused() {
    let content = [CONTENT, b"!"].concat();
    assert_eq!(
        Forgery {
            content,
            ..Forgery::default()
        }
        .verify(),
        Err(CmsError::Digest)
    );
}

#[test]
fn a_changed_attribute_is_refused() {
    let mut bytes = signed(Hash::Sha256);
    let position = bytes
        .windows(4)
        .position(|window| window == b"\x13\x0219")
        .unwrap();
    bytes[position + 3] = b'7';
    let message = SignedData::parse(&bytes).unwrap();
    assert_eq!(
        message
            .attribute(oid_of(MESSAGE_TYPE))
            .unwrap()
            .unwrap()
            .value(),
        b"17"
    );
    assert_eq!(
        message.verify(&leaf().0, STRICT),
        Err(CmsError::Signature(BadSignature::Wrong))
    );
}

#[test]
fn missing_attributes_are_refused() {
    let missing = |identifier| Err(CmsError::MissingAttribute(oid_of(identifier)));
    let attributes = vec![content_type()];
    assert_eq!(
        Forgery {
            attributes,
            ..Forgery::default()
        }
        .verify(),
        missing(MESSAGE_DIGEST)
    );
    let attributes = vec![message_digest(CONTENT)];
    assert_eq!(
        Forgery {
            attributes,
            ..Forgery::default()
        }
        .verify(),
        missing(CONTENT_TYPE)
    );
}

#[test]
fn attributes_that_do_not_fit_the_content_are_refused() {
    let attributes = vec![
        encoded(CONTENT_TYPE, &[oid(SIGNED_DATA)]),
        message_digest(CONTENT),
    ];
    assert_eq!(
        Forgery {
            attributes,
            ..Forgery::default()
        }
        .verify(),
        Err(CmsError::SignedContentType)
    );
    assert_eq!(
        Forgery {
            content_type: SIGNED_DATA,
            ..Forgery::default()
        }
        .verify(),
        Err(CmsError::SignedContentType)
    );
    let attributes = vec![
        content_type(),
        encoded(MESSAGE_DIGEST, &[octet_string(&[])]),
    ];
    assert_eq!(
        Forgery {
            attributes,
            ..Forgery::default()
        }
        .verify(),
        Err(CmsError::Digest)
    );
}

#[test]
fn duplicate_attributes_are_refused() {
    for (identifier, twice) in [
        (CONTENT_TYPE, content_type()),
        (MESSAGE_DIGEST, message_digest(b"another")),
    ] {
        let attributes = vec![content_type(), message_digest(CONTENT), twice];
        let refused = Err(CmsError::DuplicateAttribute(oid_of(identifier)));
        assert_eq!(
            Forgery {
                attributes,
                ..Forgery::default()
            }
            .verify(),
            refused
        );
    }
    let value = octet_string(&Hash::Sha256.digest(CONTENT).unwrap());
    for values in [vec![], vec![value.clone(), value]] {
        let attributes = vec![content_type(), encoded(MESSAGE_DIGEST, &values)];
        let refused = Err(CmsError::AttributeValues(oid_of(MESSAGE_DIGEST)));
        assert_eq!(
            Forgery {
                attributes,
                ..Forgery::default()
            }
            .verify(),
            refused
        );
    }
    let attributes = vec![
        content_type(),
        message_digest(CONTENT),
        encoded("1.2.3", &[]),
    ];
    let message = SignedData::parse(
        &Forgery {
            attributes,
            ..Forgery::default()
        }
        .bytes(),
    )
    .unwrap();
    assert_eq!(
        message.attribute(oid_of("1.2.3")),
        Err(CmsError::AttributeValues(oid_of("1.2.3")))
    );
}

#[test]
fn several_signers_are_refused() {
    assert_eq!(
        Forgery {
            signers: 2,
            ..Forgery::default()
        }
        .verify(),
        Err(CmsError::SeveralSigners)
    );
    assert_eq!(
        Forgery {
            signers: 0,
            ..Forgery::default()
        }
        .verify(),
        Err(CmsError::NoSigner)
    );
}

#[test]
fn another_signer_is_refused() {
    let message = SignedData::parse(&signed(Hash::Sha256)).unwrap();
    assert_eq!(
        message.verify(&other().0, STRICT),
        Err(CmsError::WrongSigner)
    );
    // The leaf's issuer and serial number over somebody else's key.
    let impostor = certificate(fixture!("impostor.pem"));
    assert_eq!(
        message.verify(&impostor, STRICT),
        Err(CmsError::Signature(BadSignature::Wrong))
    );
}

#[test]
fn algorithms_that_do_not_fit_are_refused() {
    let digest = oid_of("2.16.840.1.101.3.4.2.4");
    assert_eq!(
        Forgery {
            digest,
            ..Forgery::default()
        }
        .verify(),
        Err(CmsError::UnsupportedHash(digest))
    );
    let with = |identifier| sequence(&[&oid(oid_of(identifier)), &null()]);
    let algorithm = with("1.2.840.113549.1.1.11");
    assert_eq!(
        Forgery {
            algorithm,
            ..Forgery::default()
        }
        .verify(),
        Ok(()),
        "sha256WithRSAEncryption"
    );
    for (identifier, error) in [
        ("1.2.840.113549.1.1.13", CmsError::SignatureAlgorithm(None)),
        (
            "1.2.840.10045.4.3.2",
            CmsError::Signature(BadSignature::WrongKey),
        ),
    ] {
        let refused = Err(error);
        assert_eq!(
            Forgery {
                algorithm: with(identifier),
                ..Forgery::default()
            }
            .verify(),
            refused
        );
    }
    let unknown = Err(CmsError::SignatureAlgorithm(Some(
        BadAlgorithm::Unsupported(DATA),
    )));
    let algorithm = sequence(&[&oid(DATA)]);
    assert_eq!(
        Forgery {
            algorithm,
            ..Forgery::default()
        }
        .verify(),
        unknown
    );
}

#[test]
fn absent_content_is_empty_content() {
    let forgery = Forgery {
        attributes: vec![content_type(), message_digest(b"")],
        content: Vec::new(),
        ..Forgery::default()
    };
    let bytes = forgery.bytes();
    let present = sequence(&[&oid(DATA), &tlv(tag::context(0), &octet_string(b""))]);
    let absent = sequence(&[&oid(DATA)]);
    let mut fields = content_info(&bytes, SIGNED_DATA).unwrap();
    let mut values = Vec::new();
    while !fields.is_empty() {
        let value = fields.value().unwrap().der.to_vec();
        values.push(if value == present {
            absent.clone()
        } else {
            value
        });
    }
    let bytes = to_content_info(SIGNED_DATA, &tlv(tag::SEQUENCE, &values.concat()));
    let message = SignedData::parse(&bytes).unwrap();
    assert_eq!(
        (message.verify(&leaf().0, STRICT), message.content()),
        (Ok(()), [].as_slice())
    );
}

#[test]
fn content_that_is_no_octet_string_is_refused() {
    let explicit = Some(CONTENT.to_vec());
    assert_eq!(
        Forgery {
            explicit,
            ..Forgery::default()
        }
        .verify(),
        Err(CmsError::Malformed("encapsulated content"))
    );
    let explicit = Some(octet_string(CONTENT).repeat(2));
    assert_eq!(
        Forgery {
            explicit,
            ..Forgery::default()
        }
        .verify(),
        Err(CmsError::Malformed("encapsulated content"))
    );
}

#[test]
fn a_message_of_very_many_attributes_is_refused_in_time() {
    let attributes = (0..20_000u32)
        .map(|number| encoded(&format!("1.2.{number}"), &[null()]))
        .chain([encoded("1.2.0", &[null()])])
        .collect();
    let refused = Err(CmsError::DuplicateAttribute(oid_of("1.2.0")));
    assert_eq!(
        Forgery {
            attributes,
            ..Forgery::default()
        }
        .verify(),
        refused
    );
}

proptest! {
    #[test]
    fn a_mutated_message_never_panics_and_says_nothing_else(at in any::<prop::sample::Index>(), bit in 0u8..8, cut in any::<prop::sample::Index>()) {
        let original = signed(Hash::Sha256);
        let mut bytes = original.clone();
        let at = at.index(bytes.len());
        bytes[at] ^= 1 << bit;
        if let Ok(message) = SignedData::parse(&bytes) && message.verify(&leaf().0, STRICT).is_ok() {
            prop_assert_eq!(message.content(), CONTENT);
            let value = message.attribute(oid_of(MESSAGE_TYPE)).unwrap().unwrap();
            prop_assert_eq!(value.value(), b"19");
        }
        prop_assert!(SignedData::parse(&original[..cut.index(original.len())]).is_err());
        drop(SignedData::parse(&indefinite(&original, 50)[..cut.index(original.len())]));
    }
}
