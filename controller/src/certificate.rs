//! Reads a server certificate that an operator brings, and refuses what cannot be served, with the reason. Who may bring one is decided elsewhere.

mod rehearsal;
mod strength;
mod warnings;

use std::net::IpAddr;

use convoy_fleet::event::Certificate;
use convoy_shared::id::Digest;
use jiff::Timestamp;
use rustls::{InconsistentKeys, sign::CertifiedKey};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject as _};
use webpki::EndEntityCert;
use x509_parser::{certificate::X509Certificate, extensions::GeneralName, parse_x509_certificate};

use crate::tls;
use rehearsal::rehearse;
use strength::{algorithm, strong};
use warnings::addresses_as_dns_names;

pub use rehearsal::{MAX_CERTIFICATES, MAX_MESSAGE};
pub use warnings::{Warning, warnings};

/// The most that a PEM file may hold.
pub const MAX_PEM: usize = 256 * 1024;

/// A certificate and its key, fit to be served.
pub struct ServerCertificate {
    /// What the certificate says.
    pub certificate: Certificate,
    /// Its key.
    pub key: PrivateKeyDer<'static>,
}

impl ServerCertificate {
    /// Reads PEM. The certificate comes first, its chain after it.
    ///
    /// # Errors
    /// If it cannot be served; says why.
    pub fn read(
        certificate_pem: &[u8],
        key_pem: &[u8],
        names: &[String],
        now: Timestamp,
    ) -> Result<Self, BadCertificate> {
        if certificate_pem.len() > MAX_PEM || key_pem.len() > MAX_PEM {
            return Err(BadCertificate::TooLarge);
        }
        let chain = CertificateDer::pem_slice_iter(certificate_pem)
            .collect::<Result<Vec<_>, _>>()
            .map_err(|_| BadCertificate::NoCertificate)?;
        if chain.is_empty() {
            return Err(BadCertificate::NoCertificate);
        }
        let key = PrivateKeyDer::from_pem_slice(key_pem).map_err(|_| {
            if String::from_utf8_lossy(key_pem).contains("ENCRYPTED") {
                BadCertificate::EncryptedKey
            } else {
                BadCertificate::NoKey
            }
        })?;
        Self::check(chain, key, names, now)
    }

    /// Checks DER.
    ///
    /// # Errors
    /// As [`ServerCertificate::read`].
    pub fn check(
        chain: Vec<CertificateDer<'static>>,
        key: PrivateKeyDer<'static>,
        names: &[String],
        now: Timestamp,
    ) -> Result<Self, BadCertificate> {
        let certificate = describe(&chain)?;
        let end_entity = chain.first().ok_or(BadCertificate::NoCertificate)?;
        let (_, parsed) =
            parse_x509_certificate(end_entity).map_err(|_| BadCertificate::NoCertificate)?;
        // Before the key is loaded: what is weak is called weak, not unusable.
        strong(&parsed)?;
        fits(&chain, &key)?;
        if certificate.not_after <= now {
            return Err(BadCertificate::Expired(certificate.not_after));
        }
        let missing = uncovered(end_entity, names);
        if !missing.is_empty() {
            let mut found = certificate.names.join(", ");
            let mistaken = addresses_as_dns_names(&parsed);
            if !mistaken.is_empty() {
                found = format!(
                    "{found}; {} stands in it as a DNS name, and clients look for addresses only among the entries of the kind IP",
                    mistaken.join(", ")
                );
            }
            return Err(BadCertificate::Names {
                missing: missing.join(", "),
                found,
            });
        }
        // Last, and with all of it: what no client would take is found here, and not at a gate.
        rehearse(&chain, &key)?;
        Ok(Self { certificate, key })
    }
}

/// What a chain's end entity says.
///
/// # Errors
/// If it cannot be read.
fn describe(chain: &[CertificateDer<'_>]) -> Result<Certificate, BadCertificate> {
    let end_entity = chain.first().ok_or(BadCertificate::NoCertificate)?;
    let (_, parsed) =
        parse_x509_certificate(end_entity).map_err(|_| BadCertificate::NoCertificate)?;
    for other in chain {
        match parse_x509_certificate(other) {
            Ok(([], _)) => {}
            Ok(_) | Err(_) => return Err(BadCertificate::NoCertificate),
        }
    }
    let time = |seconds| Timestamp::from_second(seconds).map_err(|_| BadCertificate::NoCertificate);
    Ok(Certificate {
        chain: chain.iter().map(|der| der.to_vec()).collect(),
        fingerprint: Digest::of(end_entity),
        spki: Digest::of(parsed.public_key().raw),
        subject: parsed.subject().to_string(),
        issuer: parsed.issuer().to_string(),
        names: names_of(&parsed)?,
        not_before: time(parsed.validity().not_before.timestamp())?,
        not_after: time(parsed.validity().not_after.timestamp())?,
        key_algorithm: algorithm(&parsed),
    })
}

fn fits(
    chain: &[CertificateDer<'static>],
    key: &PrivateKeyDer<'static>,
) -> Result<(), BadCertificate> {
    let signing = tls::provider()
        .key_provider
        .load_private_key(key.clone_key())
        .map_err(|_| BadCertificate::UnusableKey)?;
    match CertifiedKey::new(chain.to_vec(), signing).keys_match() {
        Ok(()) | Err(rustls::Error::InconsistentKeys(InconsistentKeys::Unknown)) => Ok(()),
        Err(rustls::Error::InconsistentKeys(_)) => Err(BadCertificate::OtherKey),
        Err(error) => Err(BadCertificate::Unservable(error.to_string())),
    }
}

fn names_of(parsed: &X509Certificate<'_>) -> Result<Vec<String>, BadCertificate> {
    let names = parsed
        .subject_alternative_name()
        .map_err(|_| BadCertificate::NoCertificate)?;
    Ok(names
        .map(|names| {
            names
                .value
                .general_names
                .iter()
                .filter_map(|name| match name {
                    // An address that is written as a DNS name is neither.
                    GeneralName::DNSName(name) => name
                        .parse::<IpAddr>()
                        .is_err()
                        .then(|| name.to_ascii_lowercase()),
                    GeneralName::IPAddress(bytes) => address(bytes).map(|ip| ip.to_string()),
                    _ => None,
                })
                .collect()
        })
        .unwrap_or_default())
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    match bytes.len() {
        4 => <[u8; 4]>::try_from(bytes).ok().map(IpAddr::from),
        16 => <[u8; 16]>::try_from(bytes).ok().map(IpAddr::from),
        _ => None,
    }
}

/// Those of the wanted names that clients would not accept the certificate, DER, for: as rustls, and so as agents will.
#[must_use]
pub fn uncovered(end_entity: &[u8], wanted: &[String]) -> Vec<String> {
    let der = CertificateDer::from(end_entity);
    let parsed = EndEntityCert::try_from(&der);
    let covers = |wanted: &str| {
        parsed.as_ref().is_ok_and(|parsed| {
            ServerName::try_from(wanted)
                .is_ok_and(|name| parsed.verify_is_valid_for_subject_name(&name).is_ok())
        })
    };
    wanted
        .iter()
        .filter(|name| !covers(name))
        .cloned()
        .collect()
}

/// Why a certificate cannot be served.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadCertificate {
    /// More than any chain needs.
    #[error("the file holds more than {MAX_PEM} bytes: that is no certificate with its chain")]
    TooLarge,
    /// Nothing that can be read.
    #[error(
        "the certificate cannot be read: PEM with -----BEGIN CERTIFICATE----- is expected, the server's own certificate first"
    )]
    NoCertificate,
    /// Nothing that can be read.
    #[error(
        "the key cannot be read: PEM with -----BEGIN PRIVATE KEY----- (or RSA or EC PRIVATE KEY) is expected"
    )]
    NoKey,
    /// Behind a passphrase.
    #[error(
        "the key is encrypted; decrypt it first, for example with `openssl pkey -in KEY -out PLAIN`"
    )]
    EncryptedKey,
    /// TLS cannot sign with it.
    #[error(
        "the key cannot be used: RSA from 2048 bits or ECDSA on P-256, P-384 or P-521 is expected"
    )]
    UnusableKey,
    /// TLS cannot show it.
    #[error(
        "the certificate cannot be served: {0}. X.509 version 3 without unknown critical extensions is expected"
    )]
    Unservable(String),
    /// Clients cut such a message off.
    #[error(
        "the certificate and its chain are {certificates} certificates, {bytes} bytes in a handshake; not every client takes more than {MAX_CERTIFICATES} \
         certificates or {MAX_MESSAGE} bytes, and a rotation to it would wait for ever. Put the server's certificate and its intermediates into the file, \
         without roots and without a bundle of other CAs"
    )]
    ChainTooLarge {
        /// How many.
        certificates: usize,
        /// Bytes of the `Certificate` message.
        bytes: usize,
    },
    /// Of another certificate.
    #[error("the key does not fit the certificate: it belongs to another one")]
    OtherKey,
    /// Too late.
    #[error("the certificate expired at {0}")]
    Expired(Timestamp),
    /// Clients that check names would refuse it.
    #[error(
        "the certificate does not cover {missing} (it covers: {found}); every --name of the controller must be in its subject alternative name"
    )]
    Names {
        /// Not covered.
        missing: String,
        /// Covered.
        found: String,
    },
    /// Broken.
    #[error(
        "the certificate is signed with {0}, which nobody should trust; SHA-256, SHA-384 or SHA-512 is expected"
    )]
    WeakSignature(&'static str),
    /// Short.
    #[error("the certificate's RSA key has {0} bits; at least 2048 are expected")]
    WeakRsa(usize),
    /// Clients do not know it.
    #[error(
        "the certificate's key algorithm is {0}; RSA from 2048 bits or ECDSA on P-256, P-384 or P-521 is expected"
    )]
    KeyAlgorithm(String),
}

impl BadCertificate {
    /// The reason as `google.rpc.ErrorInfo` spells it.
    #[must_use]
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::TooLarge => "CERTIFICATE_TOO_LARGE",
            Self::NoCertificate => "CERTIFICATE_UNREADABLE",
            Self::NoKey => "KEY_UNREADABLE",
            Self::EncryptedKey => "KEY_ENCRYPTED",
            Self::UnusableKey => "KEY_UNUSABLE",
            Self::ChainTooLarge { .. } => "CERTIFICATE_CHAIN_TOO_LARGE",
            Self::Unservable(_) => "CERTIFICATE_UNSERVABLE",
            Self::OtherKey => "KEY_DOES_NOT_FIT",
            Self::Expired(_) => "CERTIFICATE_EXPIRED",
            Self::Names { .. } => "CERTIFICATE_NAMES",
            Self::WeakSignature(_) => "SIGNATURE_WEAK",
            Self::WeakRsa(_) => "KEY_WEAK",
            Self::KeyAlgorithm(_) => "KEY_ALGORITHM",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn names_are_compared_as_clients_do() {
        let now = crate::clock::now();
        let held = names(&[
            "*.example.com",
            "a.example.org",
            "*.single",
            "192.0.2.1",
            "2001:db8::1",
        ]);
        let made = crate::authority::server_certificate(&held, now).expect("made");
        let covers = |name: &str| uncovered(&made.certificate, &names(&[name])).is_empty();
        for yes in [
            "x.example.com",
            "A.example.ORG",
            "192.0.2.1",
            "2001:db8:0::1",
        ] {
            assert!(covers(yes), "{yes}");
        }
        for no in [
            "example.com",
            "x.y.example.com",
            "b.example.org",
            "192.0.2.2",
            // rustls, OpenSSL and browsers want two labels behind a wildcard.
            "x.single",
        ] {
            assert!(!covers(no), "{no}");
        }
    }

    #[test]
    fn an_address_that_is_written_as_a_dns_name_covers_nothing() {
        let now = crate::clock::now();
        let mut params = rcgen::CertificateParams::default();
        let dns = |name: &str| rcgen::SanType::DnsName(name.try_into().expect("ASCII"));
        params.subject_alt_names = ["127.0.0.1", "::1", "localhost"].map(dns).to_vec();
        let key = rcgen::KeyPair::generate().expect("a key");
        let made = params.self_signed(&key).expect("made");
        let check = |wanted: &[&str]| {
            let key = rustls_pki_types::PrivatePkcs8KeyDer::from(key.serialize_der());
            ServerCertificate::check(vec![made.der().clone()], key.into(), &names(wanted), now)
        };
        for wanted in ["127.0.0.1", "::1"] {
            let refused = check(&["localhost", wanted])
                .err()
                .expect("refused")
                .to_string();
            assert!(
                refused.starts_with(&format!("the certificate does not cover {wanted} (it covers: localhost; 127.0.0.1, ::1 stands")),
                "{refused}"
            );
        }
        let good = check(&["localhost"])
            .map_err(|e| e.to_string())
            .expect("accepted");
        assert_eq!(good.certificate.names, ["localhost"]);
        let found = warnings(&good.certificate.chain, now);
        assert_eq!(
            found
                .iter()
                .map(|one| one.code.as_str())
                .collect::<Vec<_>>(),
            ["ADDRESS_AS_DNS_NAME"]
        );
    }

    #[test]
    fn a_certificate_of_the_right_names_and_key_is_accepted() {
        let now = crate::clock::now();
        let wanted = names(&["localhost", "127.0.0.1"]);
        let made = crate::authority::server_certificate(&wanted, now).expect("made");
        let other = crate::authority::server_certificate(&wanted, now).expect("made");
        let checked = |key: &PrivateKeyDer<'static>, names: &[String]| {
            ServerCertificate::check(vec![made.certificate.clone()], key.clone_key(), names, now)
        };
        let good = checked(&made.key, &wanted)
            .map_err(|e| e.to_string())
            .expect("accepted");
        assert_eq!(good.certificate.names, wanted);
        assert_eq!(good.certificate.key_algorithm, "ECDSA P-256");
        assert_eq!(
            checked(&other.key, &wanted).err(),
            Some(BadCertificate::OtherKey)
        );
        assert!(matches!(
            checked(&made.key, &names(&["elsewhere"])).err(),
            Some(BadCertificate::Names { .. })
        ));
        let later = now
            .checked_add(jiff::SignedDuration::from_hours(24 * 365 * 20))
            .expect("in range");
        assert!(matches!(
            ServerCertificate::check(
                vec![made.certificate.clone()],
                made.key.clone_key(),
                &wanted,
                later
            )
            .err(),
            Some(BadCertificate::Expired(_))
        ));
    }

    #[test]
    fn garbage_is_named() {
        let now = crate::clock::now();
        assert_eq!(
            ServerCertificate::read(b"hello", b"hello", &[], now).err(),
            Some(BadCertificate::NoCertificate)
        );
        let made = crate::authority::server_certificate(&names(&["a"]), now).expect("made");
        let pem = format!(
            "-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n",
            base64(&made.certificate)
        );
        assert_eq!(
            ServerCertificate::read(pem.as_bytes(), b"hello", &[], now).err(),
            Some(BadCertificate::NoKey)
        );
    }

    fn base64(bytes: &[u8]) -> String {
        use base64::Engine as _;
        base64::engine::general_purpose::STANDARD.encode(bytes)
    }
}
