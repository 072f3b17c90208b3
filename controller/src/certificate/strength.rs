//! How strong a certificate's signature and key are. What else it says is judged elsewhere.

use x509_parser::{
    certificate::X509Certificate,
    der_parser::{Oid, oid},
    oid_registry::{
        OID_EC_P256, OID_HASH_SHA1, OID_KEY_TYPE_EC_PUBLIC_KEY, OID_NIST_EC_P384, OID_NIST_EC_P521,
        OID_NIST_HASH_SHA256, OID_NIST_HASH_SHA384, OID_NIST_HASH_SHA512, OID_PKCS1_MD5WITHRSAENC,
        OID_PKCS1_RSAENCRYPTION, OID_PKCS1_SHA1WITHRSA, OID_PKCS1_SHA256WITHRSA,
        OID_PKCS1_SHA384WITHRSA, OID_PKCS1_SHA512WITHRSA, OID_SHA1_WITH_RSA,
        OID_SIG_ECDSA_WITH_SHA256, OID_SIG_ECDSA_WITH_SHA384, OID_SIG_ECDSA_WITH_SHA512,
        OID_SIG_ED25519,
    },
    public_key::PublicKey,
    signature_algorithm::SignatureAlgorithm,
};

use super::BadCertificate;

/// RFC 5758, section 3.2 names those with SHA-2; this is the one before (ANSI X9.62).
const ECDSA_WITH_SHA1: Oid<'static> = oid!(1.2.840.10045.4.1);

/// Whether signature and key are strong enough, and of a kind that clients know.
///
/// # Errors
/// Says which of them is not.
pub(super) fn strong(parsed: &X509Certificate<'_>) -> Result<(), BadCertificate> {
    if let Some(weak) = weak_signature(parsed) {
        return Err(BadCertificate::WeakSignature(weak));
    }
    let key = parsed.public_key();
    if key.algorithm.algorithm == OID_PKCS1_RSAENCRYPTION {
        return match rsa_bits(parsed) {
            Some(bits) if bits >= 2048 => Ok(()),
            bits => Err(BadCertificate::WeakRsa(bits.unwrap_or(0))),
        };
    }
    if key.algorithm.algorithm == OID_KEY_TYPE_EC_PUBLIC_KEY && curve(parsed).is_some() {
        return Ok(());
    }
    Err(BadCertificate::KeyAlgorithm(algorithm(parsed)))
}

/// What is weak about the signature: everything but SHA-2 (and Ed25519, which is built on it) is.
pub(super) fn weak_signature(parsed: &X509Certificate<'_>) -> Option<&'static str> {
    const STRONG: [Oid<'static>; 10] = [
        OID_PKCS1_SHA256WITHRSA,
        OID_PKCS1_SHA384WITHRSA,
        OID_PKCS1_SHA512WITHRSA,
        OID_SIG_ECDSA_WITH_SHA256,
        OID_SIG_ECDSA_WITH_SHA384,
        OID_SIG_ECDSA_WITH_SHA512,
        OID_SIG_ED25519,
        OID_NIST_HASH_SHA256,
        OID_NIST_HASH_SHA384,
        OID_NIST_HASH_SHA512,
    ];
    let named = |algorithm: &Oid<'_>| {
        if STRONG.contains(algorithm) {
            None
        } else if [
            OID_PKCS1_SHA1WITHRSA,
            OID_SHA1_WITH_RSA,
            ECDSA_WITH_SHA1,
            OID_HASH_SHA1,
        ]
        .contains(algorithm)
        {
            Some("SHA-1")
        } else if *algorithm == OID_PKCS1_MD5WITHRSAENC {
            Some("MD5")
        } else {
            Some("an outdated or unknown algorithm")
        }
    };
    let signature = &parsed.signature_algorithm;
    // RSASSA-PSS names its hash in its parameters; without one it is SHA-1 (RFC 4055, section 3.1).
    if let Ok(SignatureAlgorithm::RSASSA_PSS(parameters)) = SignatureAlgorithm::try_from(signature)
    {
        return match parameters.hash_algorithm() {
            Some(hash) => named(&hash.algorithm),
            None => Some("SHA-1"),
        };
    }
    named(&signature.algorithm)
}

fn rsa_bits(parsed: &X509Certificate<'_>) -> Option<usize> {
    match parsed.public_key().parsed() {
        Ok(PublicKey::RSA(key)) => Some(key.key_size()),
        Ok(_) | Err(_) => None,
    }
}

fn curve(parsed: &X509Certificate<'_>) -> Option<&'static str> {
    let oid = parsed
        .public_key()
        .algorithm
        .parameters
        .as_ref()?
        .as_oid()
        .ok()?;
    [
        (OID_EC_P256, "P-256"),
        (OID_NIST_EC_P384, "P-384"),
        (OID_NIST_EC_P521, "P-521"),
    ]
    .into_iter()
    .find_map(|(known, name)| (known == oid).then_some(name))
}

/// The key's algorithm, for people.
pub(super) fn algorithm(parsed: &X509Certificate<'_>) -> String {
    let key = parsed.public_key();
    if let Some(bits) = rsa_bits(parsed) {
        format!("RSA {bits}")
    } else if let Some(curve) = curve(parsed) {
        format!("ECDSA {curve}")
    } else {
        key.algorithm
            .parameters
            .as_ref()
            .and_then(|parameters| parameters.as_oid().ok())
            .map_or_else(
                || key.algorithm.algorithm.to_string(),
                |curve| format!("{} with {curve}", key.algorithm.algorithm),
            )
    }
}
