//! EnvelopedData: round trips, openssl's envelopes, and failures that look all the same.

use aws_lc_rs::rsa::{Pkcs1PublicEncryptingKey, PublicEncryptingKey};

use super::*;

const CIPHERS: [Cipher; 5] = [
    Cipher::Des,
    Cipher::TripleDes,
    Cipher::Aes128,
    Cipher::Aes192,
    Cipher::Aes256,
];
const LEGACY: Policy = Policy { allow_legacy: true };

fn opened(bytes: &[u8], policy: Policy) -> Result<(Vec<u8>, Cipher), CmsError> {
    let (certificate, key) = leaf();
    open(bytes, &certificate, key, policy).map(|opened| (opened.content.to_vec(), opened.cipher))
}

#[test]
fn envelopes_go_there_and_back_with_every_cipher() {
    for cipher in CIPHERS {
        for content in [
            CONTENT,
            b"\x30\x00",
            &sequence(&[&octet_string(&[7; 10])]),
            &sequence(&[&octet_string(&[7; 100_000])]),
        ] {
            let bytes = seal(content, &leaf().0, cipher).unwrap();
            assert_eq!(to_der(&bytes).as_ref(), Ok(&bytes), "strict DER");
            assert_eq!(opened(&bytes, LEGACY), Ok((content.to_vec(), cipher)));
        }
    }
}

#[test]
fn every_envelope_has_a_key_and_a_vector_of_its_own() {
    let seal = || seal(CONTENT, &leaf().0, Cipher::Aes128).unwrap();
    assert_ne!(seal(), seal());
}

#[test]
fn openssls_envelopes_open() {
    for (bytes, cipher) in [
        (fixture!("enveloped-des.der"), Cipher::Des),
        (fixture!("enveloped-des3.der"), Cipher::TripleDes),
        (fixture!("enveloped-aes128.der"), Cipher::Aes128),
        (fixture!("enveloped-aes192.der"), Cipher::Aes192),
        (fixture!("enveloped-aes256.der"), Cipher::Aes256),
        (fixture!("enveloped-ber.der"), Cipher::Aes128),
        (fixture!("enveloped-keyid.der"), Cipher::Aes128),
        (fixture!("enveloped-two.der"), Cipher::Aes128),
    ] {
        assert_eq!(opened(bytes, LEGACY), Ok((CONTENT.to_vec(), cipher)));
    }
}

#[test]
fn what_can_be_read_without_a_key_is_refused_by_name() {
    assert_eq!(
        opened(fixture!("enveloped-des.der"), STRICT),
        Err(CmsError::RefusedCipher(Cipher::Des))
    );
    assert_eq!(
        opened(fixture!("enveloped-des3.der"), STRICT).map(|(_, cipher)| cipher),
        Ok(Cipher::TripleDes)
    );
    assert_eq!(
        opened(fixture!("enveloped-other.der"), LEGACY),
        Err(CmsError::NotForUs)
    );
    let rc2 = oid_of("1.2.840.113549.3.2");
    assert_eq!(
        opened(fixture!("enveloped-rc2.der"), LEGACY),
        Err(CmsError::UnsupportedCipher(rc2))
    );
    let oaep = oid_of("1.2.840.113549.1.1.7");
    assert_eq!(
        opened(fixture!("enveloped-oaep.der"), LEGACY),
        Err(CmsError::UnsupportedKeyTransport(oaep))
    );
    let ec = certificate(fixture!("ec-256-ca.pem"));
    assert_eq!(
        seal(CONTENT, &ec, Cipher::Aes128),
        Err(CmsError::RecipientKey)
    );
    let small = certificate(fixture!("rsa-1024-ca.pem"));
    assert_eq!(
        seal(CONTENT, &small, Cipher::Aes128),
        Err(CmsError::RecipientKey)
    );
}

/// An envelope for the leaf of which one part or another may be wrong.
struct Envelope {
    transported: Vec<u8>,
    cipher: Cipher,
    iv: Vec<u8>,
    encrypted: Vec<u8>,
    segment: Option<usize>,
}

impl Envelope {
    /// Takes apart what `seal` made.
    fn of(content: &[u8], cipher: Cipher) -> Self {
        let bytes = seal(content, &leaf().0, cipher).unwrap();
        let mut fields = content_info(&bytes, ENVELOPED_DATA).unwrap();
        fields.small_integer().unwrap();
        let mut info = fields.value().unwrap().reader().value().unwrap().reader();
        let transported = (0..4).map(|_| info.value().unwrap()).last().unwrap();
        let mut content = fields.value().unwrap().reader();
        content.oid().unwrap();
        let iv = content.value().unwrap().content[cipher.oid().as_bytes().len() + 4..].to_vec();
        let encrypted = content.value().unwrap().content.to_vec();
        Self {
            transported: transported.content.to_vec(),
            cipher,
            iv,
            encrypted,
            segment: None,
        }
    }

    fn bytes(&self) -> Vec<u8> {
        let encrypted = match self.segment {
            None => tlv(tag::context_primitive(0), &self.encrypted),
            Some(len) => {
                let segments = self
                    .encrypted
                    .chunks(len)
                    .map(octet_string)
                    .collect::<Vec<_>>()
                    .concat();
                tlv(tag::context(0), &segments)
            }
        };
        let algorithm = sequence(&[&oid(RSA_ENCRYPTION), &null()]);
        let id = CertificateId::encode(&leaf().0);
        let info = sequence(&[
            &integer(&[0]),
            &id,
            &algorithm,
            &octet_string(&self.transported),
        ]);
        let cipher = sequence(&[&oid(self.cipher.oid()), &octet_string(&self.iv)]);
        let content = sequence(&[&oid(DATA), &cipher, &encrypted]);
        to_content_info(
            ENVELOPED_DATA,
            &sequence(&[&integer(&[0]), &tlv(tag::SET, &info), &content]),
        )
    }

    fn open(&self) -> Result<Vec<u8>, CmsError> {
        opened(&self.bytes(), LEGACY).map(|(content, _)| content)
    }
}

fn transport(key: &[u8]) -> Vec<u8> {
    let public = PublicEncryptingKey::from_der(leaf().0.spki()).unwrap();
    let public = Pkcs1PublicEncryptingKey::new(public).unwrap();
    let mut out = vec![0; public.ciphertext_size()];
    public.encrypt(key, &mut out).unwrap();
    out
}

#[test]
fn ber_is_read_as_der_is() {
    for segment in [1, 16, 1000] {
        let envelope = Envelope {
            segment: Some(segment),
            ..Envelope::of(CONTENT, Cipher::Aes256)
        };
        assert_eq!(envelope.open(), Ok(CONTENT.to_vec()));
        assert_eq!(
            opened(&indefinite(&envelope.bytes(), segment), STRICT),
            Ok((CONTENT.to_vec(), Cipher::Aes256))
        );
    }
}

/// Everything that goes wrong after a key has been used, named for the test only.
fn failures(cipher: Cipher) -> Vec<(&'static str, Envelope)> {
    let right = || Envelope::of(CONTENT, cipher);
    let changed = |change: fn(&mut Envelope)| {
        let mut envelope = right();
        change(&mut envelope);
        envelope
    };
    vec![
        (
            "another content key",
            Envelope {
                transported: transport(&vec![0x31; cipher.key_len()]),
                ..right()
            },
        ),
        (
            "a content key that is too short",
            Envelope {
                transported: transport(&[1; 7]),
                ..right()
            },
        ),
        (
            "a content key that is too long",
            Envelope {
                transported: transport(&[1; 33]),
                ..right()
            },
        ),
        (
            "an empty content key",
            Envelope {
                transported: transport(&[]),
                ..right()
            },
        ),
        (
            "a key block with bad padding",
            changed(|envelope| envelope.transported[5] ^= 1),
        ),
        (
            "a key block of another length",
            changed(|envelope| envelope.transported.truncate(100)),
        ),
        (
            "a key block beyond the modulus",
            changed(|envelope| envelope.transported.fill(0xff)),
        ),
        (
            "no key block",
            changed(|envelope| envelope.transported.clear()),
        ),
        (
            "content without padding",
            changed(|envelope| envelope.encrypted.truncate(64)),
        ),
        (
            "content with bad padding",
            changed(|envelope| *envelope.encrypted.last_mut().unwrap() ^= 1),
        ),
        (
            "content that is cut",
            changed(|envelope| envelope.encrypted.truncate(100 - 3)),
        ),
        ("no content", changed(|envelope| envelope.encrypted.clear())),
        (
            "content that begins otherwise",
            changed(|envelope| envelope.iv[0] ^= 1),
        ),
        ("content that is empty", Envelope::of(b"", cipher)),
        (
            "content that is no SEQUENCE",
            Envelope::of(b"not a sequence", cipher),
        ),
        (
            "content that has more behind it",
            Envelope::of(&[CONTENT, CONTENT].concat(), cipher),
        ),
    ]
}

#[test]
fn every_failure_to_decrypt_looks_the_same() {
    for cipher in CIPHERS {
        for (name, envelope) in failures(cipher) {
            assert_eq!(
                envelope.open(),
                Err(CmsError::Undecryptable),
                "{cipher}: {name}"
            );
        }
    }
    assert_eq!(
        opened(fixture!("enveloped-text.der"), STRICT),
        Err(CmsError::Undecryptable)
    );
    let ((certificate, _), (_, wrong_key)) = (leaf(), other());
    let result = open(
        fixture!("enveloped-aes128.der"),
        &certificate,
        wrong_key,
        STRICT,
    );
    assert_eq!(
        result.map(|opened| opened.cipher),
        Err(CmsError::Undecryptable)
    );
}

#[test]
fn weak_des_keys_fail_like_any_other() {
    let envelope = Envelope {
        transported: transport(&[1; 8]),
        ..Envelope::of(CONTENT, Cipher::Des)
    };
    assert_eq!(envelope.open(), Err(CmsError::Undecryptable));
    let envelope = Envelope {
        transported: transport(&[0x31; 24]),
        ..Envelope::of(CONTENT, Cipher::TripleDes)
    };
    assert_eq!(envelope.open(), Err(CmsError::Undecryptable));
}

#[test]
fn a_vector_of_another_length_is_malformed() {
    let mut envelope = Envelope::of(CONTENT, Cipher::Aes128);
    envelope.iv.truncate(8);
    assert_eq!(
        envelope.open(),
        Err(CmsError::Malformed("initialisation vector"))
    );
}

#[test]
fn debug_shows_nothing_of_the_content() {
    let (certificate, key) = leaf();
    let opened = open(fixture!("enveloped-aes128.der"), &certificate, key, STRICT).unwrap();
    assert_eq!(format!("{opened:?}"), "Opened { cipher: Aes128, .. }");
}

proptest! {
    #[test]
    fn a_mutated_envelope_never_panics(at in any::<prop::sample::Index>(), bit in 0u8..8, cut in any::<prop::sample::Index>()) {
        let original = fixture!("enveloped-aes128.der");
        let mut bytes = original.to_vec();
        let at = at.index(bytes.len());
        bytes[at] ^= 1 << bit;
        drop(opened(&bytes, LEGACY));
        prop_assert!(opened(&original[..cut.index(original.len())], LEGACY).is_err());
    }
}
