//! Messages go there and back, openssl's are read, BER is read as DER is, and every forgery is refused.

use std::sync::LazyLock;

use proptest::prelude::*;

use super::*;
use crate::{
    algorithm::Policy,
    ber::{integer, null, octet_string, set_of, tests::indefinite, to_der},
    key::RsaKey,
};

mod enveloped;
mod forged;
mod signed;

macro_rules! fixture {
    ($name:literal) => {
        include_bytes!(concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/tests/fixtures/",
            $name
        ))
        .as_slice()
    };
}
use fixture;

const STRICT: Policy = Policy {
    allow_legacy: false,
};

fn certificate(pem: &[u8]) -> Certificate {
    Certificate::from_pem_chain(str::from_utf8(pem).unwrap())
        .unwrap()
        .remove(0)
}

fn key(pem: &[u8]) -> RsaKey {
    RsaKey::from_pem(str::from_utf8(pem).unwrap()).unwrap()
}

fn leaf() -> (Certificate, &'static RsaKey) {
    // Checking a key on reading takes long, and some tests do this very often.
    static KEY: LazyLock<RsaKey> = LazyLock::new(|| key(fixture!("leaf.key")));
    (certificate(fixture!("leaf.pem")), &KEY)
}

fn other() -> (Certificate, &'static RsaKey) {
    static KEY: LazyLock<RsaKey> = LazyLock::new(|| key(fixture!("other.key")));
    (certificate(fixture!("other.pem")), &KEY)
}

/// What openssl signed and encrypted: a certification request, which is a SEQUENCE.
const CONTENT: &[u8] = fixture!("request.der");

fn oid_of(text: &str) -> ObjectIdentifier {
    text.parse().unwrap()
}

#[test]
fn certificates_and_revocation_lists_go_there_and_back() {
    let (leaf, ca) = (
        certificate(fixture!("leaf.pem")),
        certificate(fixture!("ca.pem")),
    );
    let crl = fixture!("crl.der");
    let bytes = certs_only(&[&leaf, &ca], &[crl]);
    assert_eq!(to_der(&bytes).as_ref(), Ok(&bytes));
    let bag = read_certs_only(&bytes).unwrap();
    assert_eq!(
        bag.certificates,
        [leaf.clone(), ca.clone()],
        "in the caller's order"
    );
    assert_eq!(bag.crls, [crl]);
    assert_eq!(read_certs_only(&indefinite(&bytes, 10)).unwrap(), bag);
    assert_eq!(
        read_certs_only(&certs_only(&[], &[])).unwrap(),
        Bag::default()
    );
    assert_eq!(
        SignedData::parse(&bytes).map(|_| ()),
        Err(CmsError::NoSigner)
    );
    let reversed = read_certs_only(&certs_only(&[&ca, &leaf], &[])).unwrap();
    assert_eq!(reversed.certificates, [ca, leaf]);
}

#[test]
fn openssls_certificates_and_revocation_lists_are_read() {
    let (leaf, ca) = (
        certificate(fixture!("leaf.pem")),
        certificate(fixture!("ca.pem")),
    );
    assert_eq!(
        read_certs_only(fixture!("certs-only.der")).unwrap(),
        Bag {
            certificates: vec![leaf.clone(), ca],
            crls: vec![]
        }
    );
    let both = read_certs_only(fixture!("certs-and-crl.der")).unwrap();
    assert_eq!(
        both,
        Bag {
            certificates: vec![leaf],
            crls: vec![fixture!("crl.der").to_vec()]
        }
    );
}

#[test]
fn certificates_come_out_of_ber_as_they_were_signed() {
    let (leaf, ca) = (
        certificate(fixture!("leaf.pem")),
        certificate(fixture!("ca.pem")),
    );
    let bag = read_certs_only(&indefinite(fixture!("certs-only.der"), 3)).unwrap();
    assert!(
        bag.certificates
            .iter()
            .all(|certificate| certificate.is_issued_by(&ca))
    );
    assert!(bag.certificates.contains(&leaf));
}

#[test]
fn certificates_of_other_kinds_are_passed_over() {
    let leaf = certificate(fixture!("leaf.pem"));
    let set = tlv(
        tag::context(0),
        &[tlv(tag::context(1), &null()), leaf.to_der().to_vec()].concat(),
    );
    let empty = set_of(tag::SET, Vec::new());
    let signed = sequence(&[
        &integer(&[1]),
        &empty,
        &sequence(&[&oid(DATA)]),
        &set,
        &empty,
    ]);
    let bag = read_certs_only(&to_content_info(SIGNED_DATA, &signed)).unwrap();
    assert_eq!(bag.certificates, [leaf]);
}

#[test]
fn another_content_type_is_refused_by_name() {
    let found = ENVELOPED_DATA;
    let error = CmsError::ContentType {
        found,
        expected: SIGNED_DATA,
    };
    assert_eq!(
        SignedData::parse(fixture!("enveloped-aes128.der")).map(|_| ()),
        Err(error.clone())
    );
    assert_eq!(
        read_certs_only(fixture!("enveloped-aes128.der")),
        Err(error)
    );
    assert_eq!(
        SignedData::parse(b"\x30\x00\x00").map(|_| ()),
        Err(CmsError::Ber(BerError::Trailing))
    );
    assert_eq!(
        SignedData::parse(b"\x30\x00").map(|_| ()),
        Err(CmsError::Malformed("ContentInfo"))
    );
}

proptest! {
    #[test]
    fn random_octets_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let (leaf, key) = leaf();
        prop_assert!(SignedData::parse(&bytes).is_err());
        prop_assert!(read_certs_only(&bytes).is_err());
        prop_assert!(open(&bytes, &leaf, key, STRICT).is_err());
    }
}
