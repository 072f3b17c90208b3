//! Certification requests, made and read back, and those that must not be read.

use super::*;
use crate::algorithm::SignatureAlgorithm;
use crate::fixture::{days, key, now, request};

#[test]
fn a_request_is_read_back_as_it_was_asked_for() {
    let server_auth = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.3.1");
    let asked = RequestBuilder {
        subject: vec![
            (SubjectPart::Country, "CH".to_owned()),
            (SubjectPart::Organization, "Zürich & Söhne".to_owned()),
            (SubjectPart::CommonName, "p1.example.org".to_owned()),
        ],
        key_usage: Some(KeyUsage {
            digital_signature: true,
            ..KeyUsage::default()
        }),
        extended_key_usage: vec![server_auth],
        challenge: Some(Challenge::new("pässword_1").unwrap()),
        ..request()
    };
    for hash in [Hash::Sha256, Hash::Sha384, Hash::Sha512] {
        let read = RequestBuilder {
            hash,
            ..asked.clone()
        }
        .sign(&key(1))
        .unwrap();
        let read = CertificationRequest::from_der(read.to_der()).unwrap();
        assert_eq!(
            read.subject_text(),
            "CN=p1.example.org,O=Zürich & Söhne,C=CH"
        );
        assert_eq!(read.common_name().as_deref(), Some("p1.example.org"));
        assert_eq!(
            (read.spki(), read.key_bits(), read.is_rsa()),
            (key(1).spki(), Some(2048), true)
        );
        assert_eq!(read.sans(), asked.sans);
        assert_eq!(read.key_usage(), asked.key_usage);
        assert_eq!(read.extended_key_usage(), [server_auth]);
        assert_eq!(read.challenge().map(Challenge::expose), Some("pässword_1"));
        x509_cert::request::CertReq::from_der(read.to_der()).unwrap();
    }
    assert!(matches!(
        RequestBuilder {
            hash: Hash::Md5,
            ..asked
        }
        .sign(&key(1)),
        Err(RequestError::Key(_))
    ));
}

#[test]
fn a_plain_request_has_nothing_but_its_name() {
    let read = RequestBuilder::new("192.0.2.7").sign(&key(1)).unwrap();
    assert!(read.challenge().is_none() && read.sans().is_empty() && read.key_usage().is_none());
    // PrintableString, since the text fits.
    assert!(read.subject().windows(2).any(|window| window == [0x13, 9]));
}

#[test]
fn subjects_that_do_not_fit_are_refused() {
    for (part, text) in [
        (SubjectPart::CommonName, String::new()),
        (SubjectPart::CommonName, "a".repeat(65)),
        (SubjectPart::CommonName, "a\nb".to_owned()),
        (SubjectPart::Country, "CHE".to_owned()),
        (SubjectPart::Country, "ü!".to_owned()),
        (SubjectPart::SerialNumber, "ü".to_owned()),
        (SubjectPart::Locality, "a".repeat(129)),
    ] {
        let asked = RequestBuilder {
            subject: vec![(part, text.clone())],
            ..request()
        };
        assert!(
            matches!(asked.sign(&key(1)), Err(RequestError::Subject { part: seen, .. }) if seen == part),
            "{text}"
        );
    }
}

#[test]
fn a_request_signed_by_another_key_is_refused() {
    let mut der = request().sign(&key(1)).unwrap().to_der().to_vec();
    // The last byte of the common name in the signed part.
    let at = der
        .windows(14)
        .position(|window| window == b"p1.example.org")
        .unwrap();
    der[at + 1] = b'2';
    assert!(matches!(
        CertificationRequest::from_der(&der),
        Err(RequestError::Signature(_))
    ));
    let own = request().sign(&key(1)).unwrap();
    let other = request().sign(&key(2)).unwrap();
    let mut mixed = own.to_der().to_vec();
    let at = mixed.len() - 256;
    mixed[at..].copy_from_slice(&other.to_der()[other.to_der().len() - 256..]);
    assert!(matches!(
        CertificationRequest::from_der(&mixed),
        Err(RequestError::Signature(_))
    ));
}

/// A request with that content of its attributes, signed by key 1.
fn with_attributes(attributes: &[u8]) -> Vec<u8> {
    let tagged = |tag, content: Vec<u8>| Any::new(tag, content).unwrap().to_der().unwrap();
    let mut content = [
        0u8.to_der().unwrap(),
        name::EMPTY.to_vec(),
        key(1).spki().to_vec(),
    ]
    .concat();
    content.extend(tagged(ATTRIBUTES, attributes.to_vec()));
    let info = tagged(Tag::Sequence, content);
    let signature = key(1).sign(Hash::Sha256, &info).unwrap();
    let signature = BitString::from_bytes(&signature).unwrap().to_der().unwrap();
    let algorithm = SignatureAlgorithm::Pkcs1(Hash::Sha256)
        .identifier()
        .unwrap();
    tagged(Tag::Sequence, [info, algorithm, signature].concat())
}

fn challenge_of(tag: u8, content: &[u8]) -> Result<Option<String>, RequestError> {
    let length = u8::try_from(content.len()).unwrap();
    let value = [&[tag, length], content].concat();
    let read = CertificationRequest::from_der(&with_attributes(
        &attribute(CHALLENGE_PASSWORD, value).unwrap(),
    ))?;
    Ok(read
        .challenge()
        .map(|challenge| challenge.expose().to_owned()))
}

#[test]
fn a_challenge_may_be_any_string() {
    for (tag, content) in [
        (0x13, &b"abc"[..]),
        (0x0c, b"abc"),
        (0x16, b"abc"),
        (0x14, b"abc"),
        (0x1e, &[0, b'a', 0, b'b', 0, b'c']),
    ] {
        assert_eq!(
            challenge_of(tag, content).unwrap().as_deref(),
            Some("abc"),
            "{tag:#x}"
        );
    }
    assert_eq!(challenge_of(0x13, b"").unwrap(), None);
    assert!(matches!(
        challenge_of(0x02, &[1]),
        Err(RequestError::Challenge)
    ));
    assert!(matches!(
        challenge_of(0x0c, &[0xff]),
        Err(RequestError::Challenge)
    ));
}

#[test]
fn an_attribute_that_is_there_twice_is_refused() {
    let one = attribute(CHALLENGE_PASSWORD, vec![0x13, 1, b'a']).unwrap();
    let other = attribute(CHALLENGE_PASSWORD, vec![0x13, 1, b'b']).unwrap();
    let refused = CertificationRequest::from_der(&with_attributes(&[one.clone(), other].concat()));
    assert!(matches!(refused, Err(RequestError::Repeated)));
    let two_values = attribute(CHALLENGE_PASSWORD, vec![0x13, 1, b'a', 0x13, 1, b'b']).unwrap();
    assert!(matches!(
        CertificationRequest::from_der(&with_attributes(&two_values)),
        Err(RequestError::Repeated)
    ));
    let sans = vec![
        extension::subject_alt_names(&[SubjectAltName::Dns("a".to_owned())], false)
            .unwrap();
        2
    ];
    let extensions = attribute(EXTENSION_REQUEST, sans.to_der().unwrap()).unwrap();
    assert!(matches!(
        CertificationRequest::from_der(&with_attributes(&extensions)),
        Err(RequestError::Repeated)
    ));
    // In any order, with unknown ones between.
    let unknown = attribute(ObjectIdentifier::new_unwrap("2.5.4.3"), vec![0x05, 0]).unwrap();
    assert!(CertificationRequest::from_der(&with_attributes(&[unknown, one].concat())).is_ok());
}

#[test]
fn microsofts_extension_request_is_read_too() {
    let sans =
        vec![extension::subject_alt_names(&[SubjectAltName::Dns("a".to_owned())], false).unwrap()];
    let extensions = attribute(MICROSOFT_EXTENSIONS, sans.to_der().unwrap()).unwrap();
    let read = CertificationRequest::from_der(&with_attributes(&extensions)).unwrap();
    assert_eq!(read.sans(), [SubjectAltName::Dns("a".to_owned())]);
}

#[test]
fn what_is_no_request_is_refused() {
    let der = request().sign(&key(1)).unwrap().to_der().to_vec();
    let longer = [der.as_slice(), &[0]].concat();
    for bytes in [&[][..], &[0x30, 0], &der[..der.len() - 1], &longer] {
        assert!(matches!(
            CertificationRequest::from_der(bytes),
            Err(RequestError::Malformed(_))
        ));
    }
    assert!(matches!(
        CertificationRequest::from_der(&vec![0; MAX_REQUEST + 1]),
        Err(RequestError::TooLong)
    ));
}

#[test]
fn the_throw_away_certificate_is_the_same_after_a_restart() {
    let read = request().sign(&key(1)).unwrap();
    let made = self_signed(&read, &key(1), Hash::Sha256, now()).unwrap();
    assert_eq!(
        made,
        self_signed(&read, &key(1), Hash::Sha256, now()).unwrap()
    );
    assert!(made.is_self_signed());
    assert_eq!((made.subject(), made.spki()), (read.subject(), read.spki()));
    assert_eq!(
        (made.not_before(), made.not_after()),
        (now() - days(1), now() + days(30))
    );

    let nameless = RequestBuilder {
        subject: Vec::new(),
        ..request()
    }
    .sign(&key(1))
    .unwrap();
    let made = self_signed(&nameless, &key(1), Hash::Sha256, now()).unwrap();
    assert_eq!(made.subject_text(), format!("CN={}", made.serial_hex()));
}

#[test]
fn a_challenge_is_not_shown() {
    let challenge = Challenge::new("s3cret").unwrap();
    assert_eq!(format!("{challenge:?}"), "Challenge(hidden)");
    let asked = RequestBuilder {
        challenge: Some(challenge.clone()),
        ..request()
    };
    let shown = format!("{:?}", asked.sign(&key(1)).unwrap());
    assert!(
        !shown.contains("s3cret") && !shown.contains("115, 51, 99"),
        "{shown}"
    );
    assert!(challenge.matches("s3cret") && !challenge.matches("s3cre") && !challenge.matches(""));
    for bad in ["", "a\0b", &"a".repeat(256)] {
        assert!(matches!(Challenge::new(bad), Err(RequestError::Challenge)));
    }
}
