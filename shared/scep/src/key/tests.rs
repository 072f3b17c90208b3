//! Keys go there and back, sign and decrypt; what is no key says so.

use aws_lc_rs::rsa::{Pkcs1PublicEncryptingKey, PublicEncryptingKey};

use super::*;
use crate::algorithm::{BadSignature, SignatureAlgorithm, rsa_bits};

const LEAF: &str = include_str!(concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/tests/fixtures/leaf.key"
));
const ENCRYPTED: &str = include_str!(concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/tests/fixtures/leaf-encrypted.key"
));
const PKCS1: &str = include_str!(concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/tests/fixtures/leaf-pkcs1.key"
));

#[test]
fn a_new_key_survives_storing() {
    let key = RsaKey::generate(2048).unwrap();
    assert_eq!((key.bits(), rsa_bits(key.spki())), (2048, Some(2048)));
    let again = RsaKey::from_pkcs8(&key.to_pkcs8()).unwrap();
    assert_eq!(again.spki(), key.spki());
    let again = RsaKey::from_pem(&key.to_pem()).unwrap();
    assert_eq!(again.spki(), key.spki());
    assert_ne!(RsaKey::generate(2048).unwrap().spki(), key.spki());
}

#[test]
fn only_some_sizes_are_made() {
    for bits in [0, 1024, 2047, 8192] {
        assert_eq!(
            RsaKey::generate(bits).map(|_| ()),
            Err(KeyError::Size(bits))
        );
    }
    assert_eq!(RsaKey::generate(3072).unwrap().bits(), 3072);
}

#[test]
fn openssls_pem_is_read_and_ours_is_the_same() {
    let key = RsaKey::from_pem(LEAF).unwrap();
    assert_eq!(key.to_pem().as_str(), LEAF);
    let surrounded = format!(
        "Bag Attributes\r\n{ENCRYPTED}subject=x\n{}",
        LEAF.replace('\n', "\r\n")
    );
    assert_eq!(RsaKey::from_pem(&surrounded).unwrap().spki(), key.spki());
}

#[test]
fn what_is_no_key_says_so() {
    let error = |text: &str| RsaKey::from_pem(text).unwrap_err().to_string();
    assert_eq!(error(""), "no PEM block \"PRIVATE KEY\"");
    assert_eq!(
        error(ENCRYPTED),
        "no PEM block \"PRIVATE KEY\": the key is encrypted"
    );
    assert_eq!(
        error(PKCS1),
        "no PEM block \"PRIVATE KEY\": the key is in the PKCS#1 form"
    );
    assert_eq!(
        error("-----BEGIN PRIVATE KEY-----\nAAAA"),
        "no PEM block \"PRIVATE KEY\" that can be decoded"
    );
    assert!(matches!(
        RsaKey::from_pkcs8(b"\x30\x00"),
        Err(KeyError::Rejected(_))
    ));
}

#[test]
fn signatures_verify_and_are_made_with_sha_2_only() {
    let key = RsaKey::from_pem(LEAF).unwrap();
    for hash in [Hash::Sha256, Hash::Sha384, Hash::Sha512] {
        let signature = key.sign(hash, b"message").unwrap();
        let algorithm = SignatureAlgorithm::Pkcs1(hash);
        assert_eq!(algorithm.verify(key.spki(), b"message", &signature), Ok(()));
        assert_eq!(
            algorithm.verify(key.spki(), b"massage", &signature),
            Err(BadSignature::Wrong)
        );
    }
    for hash in [Hash::Md5, Hash::Sha1] {
        assert_eq!(key.sign(hash, b"message"), Err(KeyError::Hash(hash)));
    }
}

#[test]
fn a_content_key_is_decrypted_or_not() {
    let key = RsaKey::from_pem(LEAF).unwrap();
    let public =
        Pkcs1PublicEncryptingKey::new(PublicEncryptingKey::from_der(key.spki()).unwrap()).unwrap();
    let mut encrypted = vec![0; public.ciphertext_size()];
    public.encrypt(b"sixteen octets!!", &mut encrypted).unwrap();
    assert_eq!(
        key.decrypt_key(&encrypted).unwrap().as_slice(),
        b"sixteen octets!!"
    );
    encrypted[9] ^= 1;
    assert!(key.decrypt_key(&encrypted).is_none());
    assert!(key.decrypt_key(&[]).is_none());
    assert!(key.decrypt_key(&[0xff; 256]).is_none());
}

#[test]
fn debug_shows_nothing_of_the_key() {
    assert_eq!(
        format!("{:?}", RsaKey::from_pem(LEAF).unwrap()),
        "RsaKey { bits: 2048, .. }"
    );
}

#[test]
fn an_ecdsa_key_signs_with_sha_256_whatever_is_asked_for() {
    let key = EcdsaKey::generate().unwrap();
    assert_eq!(rsa_bits(key.spki()), None);
    for hash in [Hash::Sha256, Hash::Sha384, Hash::Sha512] {
        let algorithm = key.algorithm(hash).unwrap();
        assert_eq!(algorithm, SignatureAlgorithm::Ecdsa(Hash::Sha256));
        let signature = key.sign(hash, b"message").unwrap();
        assert_eq!(algorithm.verify(key.spki(), b"message", &signature), Ok(()));
        assert_eq!(
            algorithm.verify(key.spki(), b"massage", &signature),
            Err(BadSignature::Wrong)
        );
    }
    for hash in [Hash::Md5, Hash::Sha1] {
        assert_eq!(key.sign(hash, b"message"), Err(KeyError::Hash(hash)));
    }
    assert_eq!(format!("{key:?}"), "EcdsaKey(P-256)");
}

#[test]
fn an_ecdsa_key_survives_storing_and_is_no_rsa_key() {
    let (ecdsa, rsa) = (
        EcdsaKey::generate().unwrap(),
        RsaKey::generate(2048).unwrap(),
    );
    let again = EcdsaKey::from_pem(&ecdsa.to_pem()).unwrap();
    assert_eq!(again.spki(), ecdsa.spki());
    assert!(matches!(
        EcdsaKey::from_pem(&rsa.to_pem()),
        Err(KeyError::RejectedCurve(_))
    ));
    assert!(matches!(
        RsaKey::from_pem(&ecdsa.to_pem()),
        Err(KeyError::Rejected(_))
    ));
    let sec1 = "-----BEGIN EC PRIVATE KEY-----\nAAAA\n-----END EC PRIVATE KEY-----\n";
    assert_eq!(
        EcdsaKey::from_pem(sec1).unwrap_err(),
        KeyError::NoPem(": the key is in the SEC 1 form")
    );
}
