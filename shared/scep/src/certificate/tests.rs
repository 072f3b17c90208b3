//! What openssl and odd authorities issue is read, and the rest is refused by name.

use std::sync::LazyLock;

use proptest::prelude::*;

use super::*;
use crate::{
    ber::{integer, null, octet_string, oid, sequence, set_of, tlv},
    key::RsaKey,
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

fn ca() -> Certificate {
    certificate(fixture!("ca.pem"))
}

fn leaf() -> Certificate {
    certificate(fixture!("leaf.pem"))
}

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

#[test]
fn a_leaf_tells_everything_about_itself() {
    let leaf = leaf();
    assert_eq!(
        leaf.subject_text(),
        r"serialNumber=A\,1,OU=Print+CN=printer-1,O=Example"
    );
    assert_eq!(leaf.issuer_text(), "CN=Test CA,O=Example");
    assert_eq!(
        name::common_name(leaf.subject()).as_deref(),
        Some("printer-1")
    );
    assert_eq!(leaf.serial_hex(), "A1B2C3D4E5F60708");
    assert_eq!(leaf.serial_integer().first(), Some(&0));
    let usage = KeyUsage {
        digital_signature: true,
        key_encipherment: true,
        ..KeyUsage::default()
    };
    assert_eq!(leaf.key_usage(), Some(usage));
    let purposes = leaf
        .extended_key_usage()
        .iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>();
    assert_eq!(purposes, ["1.3.6.1.5.5.7.3.2", "1.3.6.1.5.5.7.3.1"]);
    assert_eq!(
        leaf.sans(),
        [
            SubjectAltName::Dns("printer-1.example.org".to_owned()),
            SubjectAltName::Ip("192.0.2.7".parse().unwrap()),
            SubjectAltName::Ip("2001:db8::7".parse().unwrap()),
            SubjectAltName::Uri("ipps://printer-1.example.org/ipp/print".to_owned()),
        ]
    );
    assert!(!leaf.is_ca() && ca().is_ca());
    assert_eq!(leaf.subject_key_id().map(<[u8]>::len), Some(20));
    assert!(format!("{leaf:?}").contains("printer-1"));
}

#[test]
fn der_and_pem_come_out_as_they_went_in() {
    let leaf = leaf();
    assert_eq!(Certificate::from_der(leaf.to_der()), Ok(leaf.clone()));
    assert_eq!(leaf.to_pem(), fixture!("leaf.pem"));
    assert_eq!(
        leaf.fingerprint().to_vec(),
        Hash::Sha256.digest(leaf.to_der()).unwrap()
    );
}

#[test]
fn a_chain_is_read_from_pem_with_other_things_between() {
    let text = format!(
        "subject=x\r\n{}\r\n{}{}",
        leaf().to_pem().replace('\n', "\r\n"),
        fixture!("leaf.key"),
        ca().to_pem()
    );
    assert_eq!(Certificate::from_pem_chain(&text).unwrap(), [leaf(), ca()]);
    assert_eq!(
        Certificate::from_pem_chain(fixture!("leaf.key")),
        Err(BadCertificate::NoPem)
    );
    let cut = leaf().to_pem().replace("-----END", "----END");
    assert_eq!(
        Certificate::from_pem_chain(&cut),
        Err(BadCertificate::BadPem)
    );
    let mixed = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END PRIVATE KEY-----\n";
    assert_eq!(
        Certificate::from_pem_chain(mixed),
        Err(BadCertificate::BadPem)
    );
}

#[test]
fn validity_includes_both_ends() {
    let leaf = leaf();
    let second = jiff::SignedDuration::from_secs(1);
    assert!(leaf.is_valid_at(leaf.not_before()) && leaf.is_valid_at(leaf.not_after()));
    assert!(
        !leaf.is_valid_at(leaf.not_before() - second)
            && !leaf.is_valid_at(leaf.not_after() + second)
    );
}

#[test]
fn an_issuer_has_the_name_the_key_and_the_right() {
    let impostor = certificate(fixture!("impostor.pem"));
    let other_ca = certificate(fixture!("other-ca.pem"));
    assert!(
        leaf().is_issued_by(&ca()) && ca().is_issued_by(&ca()) && impostor.is_issued_by(&other_ca)
    );
    assert!(
        !leaf().is_issued_by(&other_ca),
        "the same name with another key"
    );
    assert!(!leaf().is_issued_by(&leaf()) && !ca().is_issued_by(&leaf()));
    // Version 1 has no basic constraints: a root of that version may sign, its self-signature says so.
    let v1 = certificate(fixture!("v1-root.pem"));
    assert!(!v1.is_ca() && v1.is_self_signed() && v1.is_issued_by(&v1));
    assert!(ca().is_self_signed() && !leaf().is_self_signed());
}

#[test]
fn a_changed_certificate_is_not_issued() {
    let mut der = leaf().to_der().to_vec();
    let position = der
        .windows(9)
        .position(|window| window == b"printer-1")
        .unwrap();
    der[position] = b'P';
    assert!(!Certificate::from_der(&der).unwrap().is_issued_by(&ca()));
}

#[test]
fn the_algorithm_outside_is_the_one_that_was_signed() {
    let leaf = leaf();
    let mut outer = Reader::new(leaf.to_der()).value().unwrap().reader();
    let tbs = outer.value().unwrap().der;
    let algorithm = outer.value().unwrap();
    let signature = outer.value().unwrap().der;
    assert_eq!(sequence(&[tbs, algorithm.der, signature]), leaf.to_der());
    // The same algorithm without its NULL.
    let other = sequence(&[&algorithm.content[..algorithm.content.len() - 2]]);
    let changed = Certificate::from_der(&sequence(&[tbs, &other, signature])).unwrap();
    assert!(leaf.is_issued_by(&ca()) && !changed.is_issued_by(&ca()));
}

#[test]
fn odd_serial_numbers_are_read() {
    assert_eq!(
        certificate(fixture!("negative-serial.pem")).serial_hex(),
        "FB"
    );
    assert_eq!(certificate(fixture!("zero-serial.pem")).serial_hex(), "00");
    let long = certificate(fixture!("long-serial.pem"));
    assert_eq!(
        long.serial_hex(),
        "FF0102030405060708090A0B0C0D0E0F101112131415161718"
    );
    assert!(long.is_self_signed());
}

#[test]
fn odd_names_are_read() {
    assert_eq!(
        certificate(fixture!("bmp-name.pem")).subject_text(),
        "CN=Zoë"
    );
    assert_eq!(
        certificate(fixture!("teletex-name.pem")).subject_text(),
        "CN=Zoë"
    );
}

fn made_name(parts: &[(&str, u8, &[u8])]) -> Vec<u8> {
    let relative = parts.iter().map(|(identifier, tag, value)| {
        set_of(
            tag::SET,
            vec![sequence(&[
                &oid(identifier.parse().unwrap()),
                &tlv(*tag, value),
            ])],
        )
    });
    tlv(tag::SEQUENCE, &relative.collect::<Vec<_>>().concat())
}

#[test]
fn names_are_escaped() {
    let name = made_name(&[
        ("2.5.4.10", 0x0c, b"#a b#"),
        ("2.5.4.3", 0x13, b" x,+\"\\<>;=y\n "),
        ("1.2.3", 0x13, b"a"),
        ("2.5.4.11", 0x04, b"a"),
    ]);
    assert_eq!(
        name::text(&name),
        r#"OU=#040161,1.2.3=#130161,CN=\ x\,\+\"\\\<\>\;=y\0A\ ,O=\#a b#"#
    );
    assert_eq!(name::text(b"\x30\x01"), "#3001");
    assert_eq!(name::text(b"\x30\x00"), "");
}

#[test]
fn names_are_the_same_whatever_their_string_types() {
    let one = made_name(&[("2.5.4.3", 0x13, b"Test  CA ")]);
    assert!(name::same(
        &one,
        &made_name(&[("2.5.4.3", 0x0c, b"test ca")])
    ));
    assert!(!name::same(
        &one,
        &made_name(&[("2.5.4.10", 0x13, b"Test CA")])
    ));
    assert!(!name::same(
        &one,
        &made_name(&[("2.5.4.3", 0x13, b"TestCA")])
    ));
    assert!(!name::same(&one, &made_name(&[])) && !name::same(b"\x30\x01", b"\x30\x02"));
}

#[test]
fn a_wanted_name_is_put_in_canonical_form_once() {
    let wanted = name::Wanted::new(&made_name(&[("2.5.4.3", 0x13, b"Test  CA ")]));
    let other = made_name(&[("2.5.4.3", 0x0c, b"test ca")]);
    assert!(wanted.is(&other));
    let first: *const _ = wanted.canonical().unwrap();
    assert!(wanted.is(&other) && !wanted.is(&made_name(&[])));
    assert!(std::ptr::eq(first, wanted.canonical().unwrap()));
    assert!(!name::Wanted::new(b"\x30\x01").is(b"\x30\x02"));
}

fn time(tag: u8, text: &str) -> Result<Timestamp, Malformed> {
    time::read(&mut Reader::new(&tlv(tag, text.as_bytes())))
}

#[test]
fn times_are_read_in_every_encoding() {
    let utc = |text| time(tag::UTC_TIME, text);
    let general = |text| time(tag::GENERALIZED_TIME, text);
    assert_eq!(utc("500101000000Z"), Ok(at("1950-01-01T00:00:00Z")));
    assert_eq!(utc("491231235959Z"), Ok(at("2049-12-31T23:59:59Z")));
    assert_eq!(utc("2001020304Z"), Ok(at("2020-01-02T03:04:00Z")));
    assert_eq!(utc("200102030405+0130"), Ok(at("2020-01-02T01:34:05Z")));
    assert_eq!(general("20200102030405Z"), Ok(at("2020-01-02T03:04:05Z")));
    assert_eq!(
        general("20200102030405.25-0100"),
        Ok(at("2020-01-02T04:04:05Z"))
    );
    assert_eq!(general("20161231235960Z"), Ok(at("2016-12-31T23:59:59Z")));
    assert_eq!(general("99991231235959Z"), Ok(Timestamp::MAX));
    for text in [
        "",
        "20200102030405",
        "2020010203Z",
        "20200230000000Z",
        "20200102240000Z",
        "20200102030461Z",
        "2020010203040éZ",
        "20200102030405Zx",
        "20200102030405+2400",
        "-0200102030405Z",
    ] {
        assert_eq!(general(text), Err(Malformed), "{text}");
    }
    assert_eq!(time(tag::INTEGER, "20200102030405Z"), Err(Malformed));
    let forever = certificate(fixture!("forever.pem"));
    assert_eq!(
        (forever.not_before(), forever.not_after()),
        (Timestamp::UNIX_EPOCH, Timestamp::MAX)
    );
}

/// The key that signs all certificates that are made here, and is in all of them.
fn key() -> &'static RsaKey {
    static KEY: LazyLock<RsaKey> =
        LazyLock::new(|| RsaKey::from_pem(fixture!("other.key")).unwrap());
    &KEY
}

/// A certificate with these names; of version 1 where there are no extensions.
fn made_for(subject: &[u8], issuer: &[u8], extensions: Option<&[u8]>) -> Vec<u8> {
    let algorithm = sequence(&[&oid("1.2.840.113549.1.1.11".parse().unwrap()), &null()]);
    let time = tlv(tag::UTC_TIME, b"200101000000Z");
    let version = tlv(tag::context(0), &integer(&[2]));
    let extensions = extensions.map(|list| tlv(tag::context(3), &tlv(tag::SEQUENCE, list)));
    let tbs = sequence(&[
        extensions.as_ref().map_or(&[], |_| &version),
        &integer(&[1]),
        &algorithm,
        issuer,
        &sequence(&[&time, &time]),
        subject,
        key().spki(),
        &extensions.unwrap_or_default(),
    ]);
    let signature = key().sign(Hash::Sha256, &tbs).unwrap();
    let signature = tlv(tag::BIT_STRING, &[&[0], signature.as_slice()].concat());
    sequence(&[&tbs, &algorithm, &signature])
}

fn made(extensions: &[u8]) -> Vec<u8> {
    made_for(&made_name(&[]), &made_name(&[]), Some(extensions))
}

fn extension(identifier: &str, value: &[u8]) -> Vec<u8> {
    sequence(&[&oid(identifier.parse().unwrap()), &octet_string(value)])
}

#[test]
fn a_malformed_part_is_named() {
    let error = |der: &[u8]| Certificate::from_der(der).unwrap_err().to_string();
    assert_eq!(error(b""), "the certificate's outer structure is malformed");
    assert_eq!(
        error(&[leaf().to_der(), b"\0"].concat()),
        "the certificate's end is malformed"
    );
    assert_eq!(
        error(&vec![0; MAX_MESSAGE + 1]),
        "the certificate is longer than 1 MiB"
    );
    for (identifier, part) in [
        ("2.5.29.14", "subject key identifier"),
        ("2.5.29.15", "key usage"),
        ("2.5.29.17", "subject alternative name"),
        ("2.5.29.19", "basic constraints"),
        ("2.5.29.37", "extended key usage"),
    ] {
        let der = made(&extension(identifier, &null()));
        assert_eq!(
            error(&der),
            format!("the certificate's {part} is malformed")
        );
    }
    let unknown = extension("1.2.3", b"anything");
    assert!(Certificate::from_der(&made(&unknown)).is_ok());
    let twice = made(&[unknown.clone(), unknown].concat());
    assert_eq!(
        error(&twice),
        "the certificate has the extension 1.2.3 twice"
    );
}

#[test]
fn who_must_not_sign_certificates_issues_nothing() {
    let (root, leaf) = (
        made_name(&[("2.5.4.3", 0x0c, b"root")]),
        made_name(&[("2.5.4.3", 0x0c, b"leaf")]),
    );
    let certificate = |subject: &[u8], issuer: &[u8], extensions: Option<&[u8]>| {
        Certificate::from_der(&made_for(subject, issuer, extensions)).unwrap()
    };
    let child = certificate(&leaf, &root, None);
    let issues = |subject: &[u8], issuer: &[u8], extensions: Option<&[u8]>| {
        child.is_issued_by(&certificate(subject, issuer, extensions))
    };
    let ca = extension("2.5.29.19", b"\x30\x03\x01\x01\xff");
    let usage = |bits: u8| extension("2.5.29.15", &[3, 2, 0, bits]);
    assert!(issues(&root, &root, Some(&ca)));
    assert!(
        issues(&root, &leaf, Some(&[usage(0x04), ca.clone()].concat())),
        "keyCertSign"
    );
    assert!(issues(&root, &root, None), "version 1, self-signed");
    assert!(
        !issues(&root, &root, Some(&[usage(0x80), ca.clone()].concat())),
        "digitalSignature only"
    );
    assert!(!issues(&root, &root, Some(&[])), "no basic constraints");
    assert!(
        !issues(&root, &root, Some(&extension("2.5.29.19", b"\x30\x00"))),
        "cA FALSE"
    );
    assert!(!issues(&root, &leaf, None), "version 1, not self-signed");
    assert!(
        !issues(&leaf, &leaf, Some(&ca)),
        "the right key under another name"
    );
}

proptest! {
    #[test]
    fn a_mutated_certificate_never_panics_and_is_never_issued(at in any::<prop::sample::Index>(), bit in 0u8..8, cut in any::<prop::sample::Index>()) {
        let mut der = leaf().to_der().to_vec();
        let at = at.index(der.len());
        der[at] ^= 1 << bit;
        if let Ok(certificate) = Certificate::from_der(&der) {
            prop_assert!(!certificate.is_issued_by(&ca()));
            drop((certificate.subject_text(), certificate.sans(), certificate.is_self_signed()));
        }
        prop_assert!(Certificate::from_der(&der[..cut.index(der.len())]).is_err());
    }

    #[test]
    fn random_octets_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        drop(Certificate::from_der(&bytes));
        drop(name::text(&bytes));
        drop(name::string(0x1c, &bytes).or(name::string(0x1e, &bytes)));
        let text = String::from_utf8_lossy(&bytes);
        drop(Certificate::from_pem_chain(&text));
        let _ = (time(tag::UTC_TIME, &text), time(tag::GENERALIZED_TIME, &text));
    }

    #[test]
    fn random_times_never_panic(text in "[0-9]{10,16}[.,0-9]{0,3}[Z+-]?[0-9]{0,4}") {
        let _ = (time(tag::UTC_TIME, &text), time(tag::GENERALIZED_TIME, &text));
    }

    #[test]
    fn pem_comes_out_as_it_went_in(octets in proptest::collection::vec(any::<u8>(), 0..300)) {
        let text = pem::encode("THING", &octets);
        let mut blocks = pem::blocks(&text, &["THING"]);
        prop_assert_eq!(blocks.next().unwrap().unwrap().to_vec(), octets);
        prop_assert!(blocks.next().is_none());
    }
}

#[test]
fn names_keep_their_text() {
    for text in [
        "dns:a.example",
        "ip:192.0.2.1",
        "ip:2001:db8::1",
        "uri:urn:a:b",
    ] {
        assert_eq!(text.parse::<SubjectAltName>().unwrap().to_string(), text);
    }
    for bad in ["a.example", "ip:x", "email:a@b"] {
        assert!(bad.parse::<SubjectAltName>().is_err(), "{bad}");
    }
}
