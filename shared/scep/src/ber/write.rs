//! DER out of parts that are in memory. Every function returns the encoding of one whole value.

use der::asn1::ObjectIdentifier;

use super::tag;

/// Tag, minimal length and content.
pub(crate) fn tlv(tag: u8, content: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(content.len() + 6);
    out.push(tag);
    length(content.len(), &mut out);
    out.extend_from_slice(content);
    out
}

/// A SEQUENCE of values that are encoded already.
pub(crate) fn sequence(values: &[&[u8]]) -> Vec<u8> {
    tlv(tag::SEQUENCE, &values.concat())
}

/// A SET OF under `tag`: its values are put in the order of X.690 section 11.6.
pub(crate) fn set_of(tag: u8, mut values: Vec<Vec<u8>>) -> Vec<u8> {
    // Comparing as if the shorter were padded with zeros is the same as comparing slices: no encoding is a prefix of
    // another one.
    values.sort_unstable();
    tlv(tag, &values.concat())
}

pub(crate) fn oid(identifier: ObjectIdentifier) -> Vec<u8> {
    tlv(tag::OID, identifier.as_bytes())
}

pub(crate) fn octet_string(octets: &[u8]) -> Vec<u8> {
    tlv(tag::OCTET_STRING, octets)
}

/// A non-negative INTEGER, from a big-endian magnitude with or without leading zeros.
pub(crate) fn integer(magnitude: &[u8]) -> Vec<u8> {
    let start = magnitude
        .iter()
        .position(|octet| *octet != 0)
        .unwrap_or(magnitude.len());
    let significant = magnitude.get(start..).unwrap_or_default();
    match significant.first() {
        Some(0..=0x7f) => tlv(tag::INTEGER, significant),
        _ => tlv(tag::INTEGER, &[&[0], significant].concat()),
    }
}

pub(crate) fn null() -> Vec<u8> {
    tlv(tag::NULL, &[])
}

/// A length, definite and minimal (X.690 section 10.1).
pub(super) fn length(len: usize, out: &mut Vec<u8>) {
    match u8::try_from(len) {
        Ok(short @ 0..=0x7f) => out.push(short),
        _ => {
            let octets = len.to_be_bytes();
            let significant = octets.iter().skip_while(|octet| **octet == 0);
            // At most eight octets.
            out.push(0x80 | u8::try_from(significant.clone().count()).unwrap_or_default());
            out.extend(significant);
        }
    }
}
