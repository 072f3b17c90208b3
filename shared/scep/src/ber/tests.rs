//! Hand-made BER comes out as the DER it was made from, and no input panics.

use proptest::prelude::*;

use super::*;

/// The same value with indefinite lengths everywhere, and octet strings in segments of `segment` octets.
pub(crate) fn indefinite(der: &[u8], segment: usize) -> Vec<u8> {
    let mut reader = Reader::new(der);
    let mut out = Vec::new();
    while !reader.is_empty() {
        let value = reader.value().unwrap();
        if value.tag & CONSTRUCTED != 0 {
            out.extend([value.tag, 0x80]);
            out.extend(indefinite(value.content, segment));
            out.extend([0, 0]);
        } else if value.tag == tag::OCTET_STRING {
            out.extend([tag::OCTET_STRING | CONSTRUCTED, 0x80]);
            for chunk in value.content.chunks(segment) {
                out.extend(tlv(tag::OCTET_STRING, chunk));
            }
            out.extend([0, 0]);
        } else {
            out.extend(value.der);
        }
    }
    out
}

/// The same value with every length in five octets.
pub(crate) fn long_lengths(der: &[u8]) -> Vec<u8> {
    let mut reader = Reader::new(der);
    let mut out = Vec::new();
    while !reader.is_empty() {
        let value = reader.value().unwrap();
        let content = if value.tag & CONSTRUCTED != 0 {
            long_lengths(value.content)
        } else {
            value.content.to_vec()
        };
        out.extend([value.tag, 0x84]);
        out.extend(u32::try_from(content.len()).unwrap().to_be_bytes());
        out.extend(content);
    }
    out
}

fn from_hex(text: &str) -> Vec<u8> {
    hex::decode(text.replace(' ', "")).unwrap()
}

fn normalised(text: &str) -> Result<String, BerError> {
    to_der(&from_hex(text)).map(hex::encode)
}

#[test]
fn indefinite_lengths_become_definite() {
    assert_eq!(
        normalised("30 80 02 01 05 a0 80 31 80 00 00 00 00 00 00").unwrap(),
        "3007020105a0023100"
    );
}

#[test]
fn lengths_become_minimal() {
    assert_eq!(
        normalised("30 84 00 00 00 04 02 81 01 05").unwrap(),
        "3003020105"
    );
    assert_eq!(
        normalised("04 88 00 00 00 00 00 00 00 01 ff").unwrap(),
        "0401ff"
    );
}

#[test]
fn constructed_strings_become_primitive() {
    assert_eq!(
        normalised("24 80 04 02 01 02 04 00 04 01 03 00 00").unwrap(),
        "0403010203"
    );
    assert_eq!(normalised("24 00").unwrap(), "0400");
    // In segments that are in segments themselves.
    assert_eq!(
        normalised("24 80 24 80 04 01 01 00 00 24 03 04 01 02 00 00").unwrap(),
        "04020102"
    );
    // A PrintableString in OCTET STRING segments, as X.690 wants it, and in its own.
    assert_eq!(normalised("33 06 04 01 41 04 01 42").unwrap(), "13024142");
    assert_eq!(normalised("33 06 13 01 41 13 01 42").unwrap(), "13024142");
    assert_eq!(
        normalised("23 09 03 02 00 01 03 03 04 02 f0").unwrap(),
        "03040401 02f0".replace(' ', "")
    );
    assert_eq!(normalised("23 00").unwrap(), "030100");
}

#[test]
fn context_tags_keep_their_segments() {
    assert_eq!(
        normalised("a0 80 04 01 01 24 80 04 01 02 00 00 00 00").unwrap(),
        "a006040101040102"
    );
}

#[test]
fn constructed_strings_of_other_things_are_refused() {
    for text in [
        "24 03 02 01 05",
        "24 03 13 01 41",
        "23 06 03 02 01 02 03 00",
        "23 08 03 02 01 02 03 02 00 01",
        "23 03 03 01 08",
        "23 02 03 00",
        "23 03 03 01 01",
    ] {
        assert_eq!(normalised(text), Err(BerError::Segment), "{text}");
    }
}

#[test]
fn what_is_no_value_is_refused_by_name() {
    for (text, error) in [
        ("", BerError::Truncated),
        ("30", BerError::Truncated),
        ("30 82 01", BerError::Truncated),
        ("30 05 02 01", BerError::Truncated),
        ("30 80 02 01 05", BerError::Truncated),
        ("30 80 02 01 05 00", BerError::Truncated),
        ("02 01 05 00", BerError::Trailing),
        ("30 00 0a", BerError::Trailing),
        ("30 02 02 05", BerError::Truncated),
        ("30 04 30 80 02 00", BerError::Truncated),
        ("30 03 02 02 01 00", BerError::Length),
        ("02 80 05 00 00", BerError::Length),
        ("30 89 00 00 00 00 00 00 00 00 00", BerError::Length),
        ("30 ff", BerError::Length),
        ("04 88 ff ff ff ff ff ff ff ff", BerError::Truncated),
        ("00 00", BerError::Tag),
        ("30 02 00 00", BerError::Tag),
        ("10 00", BerError::Tag),
        ("22 03 02 01 05", BerError::Tag),
        ("bf 80 01 00", BerError::Tag),
        ("bf ff ff ff ff 01 00", BerError::Tag),
    ] {
        assert_eq!(normalised(text), Err(error), "{text}");
    }
}

#[test]
fn depth_and_size_are_limited() {
    let nested = |levels: usize| {
        let mut bytes = [0x30, 0x80].repeat(levels - 1);
        bytes.extend([0x05, 0x00]);
        bytes.extend([0, 0].repeat(levels - 1));
        bytes
    };
    assert!(to_der(&nested(MAX_DEPTH)).is_ok());
    assert_eq!(to_der(&nested(MAX_DEPTH + 1)), Err(BerError::TooDeep));
    assert_eq!(
        to_der(&[0x30, 0x80].repeat(MAX_MESSAGE / 2)),
        Err(BerError::TooDeep)
    );
    let octets = |len: usize| octet_string(&vec![0; len]);
    assert!(to_der(&octets(MAX_MESSAGE - 5)).is_ok_and(|der| der == octets(MAX_MESSAGE - 5)));
    assert_eq!(to_der(&octets(MAX_MESSAGE)), Err(BerError::TooLong));
}

#[test]
fn the_longest_message_of_tiny_values_takes_linear_work() {
    let segments = [0x24, 0x80]
        .into_iter()
        .chain(
            [4, 1, 7]
                .into_iter()
                .cycle()
                .take((MAX_MESSAGE - 4) / 3 * 3),
        )
        .chain([0, 0])
        .collect::<Vec<_>>();
    let der = to_der(&segments).unwrap();
    assert_eq!(
        Reader::new(&der).value().unwrap().content.len(),
        (MAX_MESSAGE - 4) / 3
    );
}

#[test]
fn sets_keep_their_order() {
    assert_eq!(
        normalised("31 06 02 01 09 02 01 05").unwrap(),
        "3106020109020105"
    );
    assert_eq!(
        hex::encode(set_of(tag::SET, vec![integer(&[9]), integer(&[5]), null()])),
        "31080201050201090500"
    );
}

#[test]
fn integers_are_written_minimal_and_positive() {
    assert_eq!(hex::encode(integer(&[])), "020100");
    assert_eq!(hex::encode(integer(&[0, 0, 0x7f])), "02017f");
    assert_eq!(hex::encode(integer(&[0x80])), "02020080");
}

#[test]
fn the_reader_wants_der() {
    for text in [
        "30 80 00 00",
        "04 81 01 00",
        "04 82 00 80",
        "04 02 00",
        "1f 01",
        "1f 81 81 81 81 01 00",
    ] {
        assert!(Reader::new(&from_hex(text)).value().is_err(), "{text}");
    }
    let bytes = from_hex("bf 81 01 02 05 00 02 01 07");
    let mut reader = Reader::new(&bytes);
    assert_eq!(reader.value().unwrap().content, [5, 0]);
    assert_eq!(reader.small_integer(), Ok(7));
    assert_eq!(reader.finish(), Ok(()));
    for text in ["02 00", "02 01 80", "02 05 01 00 00 00 00", "04 01 05"] {
        assert!(
            Reader::new(&from_hex(text)).small_integer().is_err(),
            "{text}"
        );
    }
}

fn der() -> impl Strategy<Value = Vec<u8>> {
    let leaf = prop_oneof![
        proptest::collection::vec(any::<u8>(), 0..300).prop_map(|octets| octet_string(&octets)),
        proptest::collection::vec(any::<u8>(), 1..30)
            .prop_map(|octets| tlv(tag::BIT_STRING, &octets)),
        proptest::collection::vec(any::<u8>(), 0..20).prop_map(|octets| integer(&octets)),
        Just(null()),
        proptest::collection::vec(any::<u8>(), 0..9)
            .prop_map(|octets| tlv(tag::context_primitive(3), &octets)),
    ];
    leaf.prop_recursive(6, 60, 6, |inner| {
        (
            proptest::sample::select(vec![tag::SEQUENCE, tag::SET, 0xa0, 0xa1, 0x61]),
            proptest::collection::vec(inner, 0..6),
        )
            .prop_map(|(tag, values)| tlv(tag, &values.concat()))
    })
}

proptest! {
    #[test]
    fn der_comes_out_as_it_went_in(der in der()) {
        prop_assert_eq!(to_der(&der), Ok(der));
    }

    #[test]
    fn ber_comes_out_as_the_der_it_was_made_from(der in der(), segment in 1usize..100) {
        prop_assert_eq!(to_der(&indefinite(&der, segment)), Ok(der.clone()));
        prop_assert_eq!(to_der(&long_lengths(&der)), Ok(der));
    }

    #[test]
    fn what_comes_out_stays_as_it_is(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
        if let Ok(der) = to_der(&bytes) {
            prop_assert_eq!(to_der(&der), Ok(der.clone()));
            prop_assert!(Reader::new(&der).value().is_ok_and(|value| value.der.len() == der.len()));
        }
    }

    #[test]
    fn every_cut_is_an_error(der in der(), at in any::<prop::sample::Index>()) {
        let ber = indefinite(&der, 7);
        let at = at.index(ber.len());
        prop_assert!(to_der(&ber[..at]).is_err());
    }
}
