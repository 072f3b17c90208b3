//! Which public keys are certified. Whether a key is a good one beyond its kind and length is not looked at.

use der::asn1::{BitStringRef, ObjectIdentifier};
use der::{AnyRef, Decode, Sequence};

use crate::algorithm::rsa_bits;

const EC_PUBLIC_KEY: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");

/// The curves of RFC 5480 that are in use, with the length of an uncompressed point in bytes.
const CURVES: [(ObjectIdentifier, usize); 3] = [
    (ObjectIdentifier::new_unwrap("1.2.840.10045.3.1.7"), 65),
    (ObjectIdentifier::new_unwrap("1.3.132.0.34"), 97),
    (ObjectIdentifier::new_unwrap("1.3.132.0.35"), 133),
];

#[derive(Sequence)]
struct PublicKeyInfo<'a> {
    algorithm: Algorithm<'a>,
    key: BitStringRef<'a>,
}

#[derive(Sequence)]
struct Algorithm<'a> {
    oid: ObjectIdentifier,
    parameters: Option<AnyRef<'a>>,
}

/// RSA of 2048 to 4096 bits, or a point on one of three curves.
pub(super) fn is_certified(spki: &[u8]) -> bool {
    match rsa_bits(spki) {
        Some(bits) => (2048..=4096).contains(&bits),
        None => is_point(spki),
    }
}

fn is_point(spki: &[u8]) -> bool {
    let Ok(info) = PublicKeyInfo::from_der(spki) else {
        return false;
    };
    let curve = info
        .algorithm
        .parameters
        .and_then(|value| value.decode_as::<ObjectIdentifier>().ok());
    let (Some(curve), Some(point)) = (curve, info.key.as_bytes()) else {
        return false;
    };
    info.algorithm.oid == EC_PUBLIC_KEY
        && point.first() == Some(&4)
        && CURVES
            .iter()
            .any(|(oid, length)| *oid == curve && *length == point.len())
}
