//! Names go there and back, and signatures by openssl verify.

use super::*;
use crate::{
    ber::{Reader, integer, null, oid, sequence, tag, tlv},
    certificate::Certificate,
};

macro_rules! fixture {
    ($name:literal) => {
        include_str!(concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/tests/fixtures/",
            $name
        ))
    };
}

fn certificate(pem: &str) -> Certificate {
    Certificate::from_pem_chain(pem).unwrap().remove(0)
}

#[test]
fn names_and_identifiers_go_there_and_back() {
    for hash in [
        Hash::Md5,
        Hash::Sha1,
        Hash::Sha256,
        Hash::Sha384,
        Hash::Sha512,
    ] {
        assert_eq!(hash.to_string().parse(), Ok(hash));
        assert_eq!(Hash::from_oid(hash.oid()), Some(hash));
        assert_eq!(hash.is_legacy(), hash < Hash::Sha256);
    }
    for cipher in [
        Cipher::Des,
        Cipher::TripleDes,
        Cipher::Aes128,
        Cipher::Aes192,
        Cipher::Aes256,
    ] {
        assert_eq!(cipher.to_string().parse(), Ok(cipher));
        assert_eq!(Cipher::from_oid(cipher.oid()), Some(cipher));
        assert_eq!(cipher.block_len(), cipher.provider().block_len());
        assert_eq!(cipher.is_legacy(), cipher < Cipher::Aes128);
        assert_eq!(cipher.needs_allow_legacy(), cipher == Cipher::Des);
    }
    assert_eq!(
        "sha256".parse::<Hash>(),
        Err(UnknownAlgorithm("sha256".to_owned()))
    );
    assert_eq!(Hash::from_oid(Cipher::Des.oid()), None);
}

#[test]
fn digests_are_those_of_the_standards() {
    let digest = |hash: Hash| {
        hash.digest(b"abc")
            .map(|digest| hex::encode(digest)[..16].to_owned())
    };
    assert_eq!(digest(Hash::Md5), None);
    assert_eq!(digest(Hash::Sha1).as_deref(), Some("a9993e364706816a"));
    assert_eq!(digest(Hash::Sha256).as_deref(), Some("ba7816bf8f01cfea"));
    assert_eq!(digest(Hash::Sha384).as_deref(), Some("cb00753f45a35e8b"));
    assert_eq!(digest(Hash::Sha512).as_deref(), Some("ddaf35a193617aba"));
}

#[test]
fn certificates_signed_by_openssl_verify() {
    let ca = certificate(fixture!("ca.pem"));
    for pem in [
        fixture!("leaf.pem"),
        fixture!("leaf-sha1.pem"),
        fixture!("leaf-sha384.pem"),
        fixture!("leaf-sha512.pem"),
        fixture!("leaf-pss-sha256.pem"),
        fixture!("leaf-pss-sha384.pem"),
        fixture!("leaf-pss-sha512.pem"),
    ] {
        assert!(certificate(pem).is_issued_by(&ca), "{pem}");
    }
    for pem in [
        fixture!("ec-256-ca.pem"),
        fixture!("ec-384-ca.pem"),
        fixture!("ec-521-ca.pem"),
        fixture!("pss-only-ca.pem"),
        fixture!("rsa-1024-ca.pem"),
    ] {
        assert!(certificate(pem).is_self_signed(), "{pem}");
    }
}

#[test]
fn weak_and_odd_signatures_are_refused() {
    let ca = certificate(fixture!("ca.pem"));
    for pem in [
        fixture!("leaf-md5.pem"),
        fixture!("leaf-pss-sha1.pem"),
        fixture!("leaf-pss-salt.pem"),
        fixture!("leaf-pss-mask.pem"),
    ] {
        assert!(!certificate(pem).is_issued_by(&ca), "{pem}");
    }
    let md5 = SignatureAlgorithm::Pkcs1(Hash::Md5);
    assert_eq!(
        md5.verify(ca.spki(), b"", &[0; 256]),
        Err(BadSignature::Refused(md5))
    );
    let sha1 = SignatureAlgorithm::Ecdsa(Hash::Sha1);
    let ec = certificate(fixture!("ec-256-ca.pem"));
    assert_eq!(
        sha1.verify(ec.spki(), b"", &[]),
        Err(BadSignature::Refused(sha1))
    );
}

#[test]
fn a_key_of_another_type_is_told_from_a_wrong_signature() {
    let rsa = certificate(fixture!("ca.pem"));
    let ec = certificate(fixture!("ec-256-ca.pem"));
    let pkcs1 = SignatureAlgorithm::Pkcs1(Hash::Sha256);
    assert_eq!(
        pkcs1.verify(ec.spki(), b"", &[0; 256]),
        Err(BadSignature::WrongKey)
    );
    assert_eq!(
        pkcs1.verify(rsa.spki(), b"", &[0; 256]),
        Err(BadSignature::Wrong)
    );
    assert_eq!(
        pkcs1.verify(b"no key", b"", &[0; 256]),
        Err(BadSignature::WrongKey)
    );
    let ecdsa = SignatureAlgorithm::Ecdsa(Hash::Sha256);
    assert_eq!(
        ecdsa.verify(rsa.spki(), b"", &[]),
        Err(BadSignature::WrongKey)
    );
    assert_eq!(ecdsa.verify(ec.spki(), b"", &[]), Err(BadSignature::Wrong));
}

fn pss(hash: Hash, mask: Hash, salt: u8, trailer: Option<u8>) -> Vec<u8> {
    let algorithm = |hash: Hash| sequence(&[&oid(hash.oid()), &null()]);
    let mgf1 = oid(ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.8"));
    sequence(&[
        &oid(ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.10")),
        &sequence(&[
            &tlv(tag::context(0), &algorithm(hash)),
            &tlv(tag::context(1), &sequence(&[&mgf1, &algorithm(mask)])),
            &tlv(tag::context(2), &integer(&[salt])),
            &trailer
                .map(|trailer| tlv(tag::context(3), &integer(&[trailer])))
                .unwrap_or_default(),
        ]),
    ])
}

#[test]
fn pss_parameters_are_read_or_refused_by_name() {
    use SignatureAlgorithm::Pss;
    let read = |der: &[u8]| SignatureAlgorithm::from_der(der);
    assert_eq!(
        read(&pss(Hash::Sha256, Hash::Sha256, 32, None)),
        Ok(Pss(Hash::Sha256))
    );
    assert_eq!(
        read(&pss(Hash::Sha512, Hash::Sha512, 64, Some(1))),
        Ok(Pss(Hash::Sha512))
    );
    for refused in [
        pss(Hash::Sha256, Hash::Sha256, 20, None),
        pss(Hash::Sha256, Hash::Sha512, 32, None),
        pss(Hash::Sha1, Hash::Sha1, 20, None),
        pss(Hash::Sha256, Hash::Sha256, 32, Some(2)),
        sequence(&[&oid(ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.10"))]),
    ] {
        assert!(matches!(
            read(&refused),
            Err(BadAlgorithm::PssParameters(_))
        ));
    }
}

#[test]
fn rsa_encryption_is_a_signature_only_beside_a_digest() {
    let rsa = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");
    let der = sequence(&[&oid(rsa), &null()]);
    assert_eq!(
        SignatureAlgorithm::from_der(&der),
        Err(BadAlgorithm::Unsupported(rsa))
    );
    assert_eq!(
        SignatureAlgorithm::from_signer_info(&der, Hash::Sha384),
        Ok(SignatureAlgorithm::Pkcs1(Hash::Sha384))
    );
    assert_eq!(
        SignatureAlgorithm::from_der(b"\x30\x00"),
        Err(BadAlgorithm::Malformed)
    );
}

#[test]
fn the_size_of_a_key_is_that_of_its_modulus() {
    assert_eq!(rsa_bits(certificate(fixture!("ca.pem")).spki()), Some(2048));
    assert_eq!(
        rsa_bits(certificate(fixture!("rsa-1024-ca.pem")).spki()),
        Some(1024)
    );
    assert_eq!(
        rsa_bits(certificate(fixture!("pss-only-ca.pem")).spki()),
        Some(2048)
    );
    assert_eq!(
        rsa_bits(certificate(fixture!("ec-256-ca.pem")).spki()),
        None
    );
    assert!(Reader::new(&[]).is_empty() && rsa_bits(&[]).is_none());
}
