//! Who the CA is (RFC 8894 section 4.2): which certificates are its own, which one to encrypt to, which may sign. Nothing is sent here.

use jiff::{SignedDuration, Timestamp};

use super::{Failure, FaultyResponse, Settings};
use crate::algorithm::rsa_bits;
use crate::certificate::Certificate;
use crate::cms::{self, SignedData};
use crate::http::Capabilities;

/// A CA as it shows itself, checked against the pinned fingerprint where there is one.
#[derive(Clone, Debug)]
pub struct Ca {
    /// What it supports.
    pub caps: Capabilities,
    /// All certificates it answered with, in its order.
    pub certificates: Vec<Certificate>,
    /// SHA-256 of the CA's own certificate.
    pub fingerprint: [u8; 32],
    authority: Certificate,
    /// It was known from elsewhere.
    pinned: bool,
    /// Those that may act for the CA: it, and its RA's.
    trusted: Vec<Certificate>,
}

/// How many issuers there may be between an RA's certificate and the pinned one. Small, as is the number of certificates, so that a hostile
/// answer does not cost many signature checks.
const MAX_PATH: usize = 2;

/// How far ahead of this host's a CA's clock may be.
const CLOCK_DIFFERENCE: SignedDuration = SignedDuration::from_hours(1);

/// How many certificates of an answer are looked at.
const MAX_CERTIFICATES: usize = 16;

impl Ca {
    pub(super) fn read(
        body: &[u8],
        caps: Capabilities,
        settings: &Settings,
        now: Timestamp,
    ) -> Result<Self, Failure> {
        let mut certificates = certificates(body);
        certificates.truncate(MAX_CERTIFICATES);
        let apparent = apparent_authority(&certificates).ok_or(FaultyResponse::NoCertificates)?;
        let authority = match settings.ca_fingerprint {
            None => apparent,
            Some(expected) => certificates
                .iter()
                .find(|certificate| certificate.fingerprint() == expected)
                .ok_or_else(|| Failure::WrongCa {
                    expected,
                    seen: apparent.fingerprint(),
                })?,
        };
        let trusted = match settings.ca_fingerprint {
            None => certificates.clone(),
            Some(_) => certificates
                .iter()
                .filter(|certificate| {
                    *certificate == authority
                        || (certificate.is_valid_at(now)
                            && (certificate.is_ca() || may_be_ra(certificate))
                            && leads_to(certificate, authority, &certificates, MAX_PATH))
                })
                .cloned()
                .collect(),
        };
        let (authority, fingerprint) = (authority.clone(), authority.fingerprint());
        Ok(Self {
            caps,
            certificates,
            fingerprint,
            authority,
            pinned: settings.ca_fingerprint.is_some(),
            trusted,
        })
    }

    /// The CA's own certificate: the pinned one, or the one that issued the others.
    #[must_use]
    pub fn authority(&self) -> &Certificate {
        &self.authority
    }

    /// The pinned certificate, or without a pin all CA certificates that came.
    pub(super) fn anchors(&self) -> Vec<Certificate> {
        let others = self
            .trusted
            .iter()
            .filter(|other| other.is_ca() && **other != self.authority);
        std::iter::once(&self.authority)
            .chain(others)
            .cloned()
            .collect()
    }

    /// The certificate that messages are encrypted to: the one for keyEncipherment, an RA's before the CA's.
    pub(super) fn recipient(&self) -> Result<&Certificate, FaultyResponse> {
        let able = self
            .trusted
            .iter()
            .filter(|certificate| rsa_bits(certificate.spki()).is_some());
        // Of a root and the CA below it, the lower one answers.
        let issues_a_ca = |ca: &Certificate| {
            self.trusted
                .iter()
                .any(|other| other.is_ca() && other != ca && other.is_issued_by(ca))
        };
        let rank = |certificate: &&Certificate| match certificate.key_usage() {
            Some(usage) if usage.key_encipherment => {
                (0, certificate.is_ca(), issues_a_ca(certificate))
            }
            None => (1, certificate.is_ca(), issues_a_ca(certificate)),
            // Nothing is marked for it: a server with one certificate marks it for signing others only.
            Some(_) => (2, !certificate.is_ca(), issues_a_ca(certificate)),
        };
        able.min_by_key(rank)
            .ok_or(FaultyResponse::NoEncryptionCertificate)
    }

    /// Whether a certificate that came in an answer can be used now; and, where the CA is pinned, whether it is of that CA, or of one that came along:
    /// a CA that has been rolled over meanwhile signs its answer as the former one, and shows the next one in it.
    pub(super) fn check(
        &self,
        issued: &Certificate,
        along: &[Certificate],
        now: Timestamp,
    ) -> Result<(), FaultyResponse> {
        let soon = now.saturating_add(CLOCK_DIFFERENCE).unwrap_or(now);
        if soon < issued.not_before() || issued.not_after() < now {
            return Err(FaultyResponse::NotValid {
                not_before: issued.not_before(),
                not_after: issued.not_after(),
            });
        }
        let own = self.trusted.iter();
        // A pin may also be an RA's.
        let above = self.certificates.iter();
        let above = above.filter(|ca| self.authority.is_issued_by(ca));
        let along = along.iter().take(MAX_CERTIFICATES);
        let mut issuers = own.chain(along).chain(above);
        if self.pinned && !issuers.any(|ca| ca != issued && issued.is_issued_by(ca)) {
            return Err(FaultyResponse::Issuer);
        }
        Ok(())
    }

    /// The name of the CA that issues: the one that is encrypted to, or the one that made it its RA.
    pub(super) fn issuer(&self) -> Result<&[u8], FaultyResponse> {
        let recipient = self.recipient()?;
        Ok(if recipient.is_ca() {
            recipient.subject()
        } else {
            recipient.issuer()
        })
    }

    /// Whether one of those that may sign answers has no RSA key: one for ECDSA, then, as far as answers can be verified.
    pub(super) fn signs_with_ecdsa(&self) -> bool {
        self.trusted.iter().any(|certificate| {
            rsa_bits(certificate.spki()).is_none()
                && certificate
                    .key_usage()
                    .is_some_and(|usage| usage.digital_signature)
        })
    }

    /// The certificate that signed an answer, if it is one of those that may.
    pub(super) fn signer(&self, signed: &SignedData) -> Result<&Certificate, FaultyResponse> {
        let marked = |certificate: &Certificate| {
            certificate
                .key_usage()
                .is_none_or(|usage| usage.digital_signature)
        };
        let any_marked = self.trusted.iter().any(marked);
        self.trusted
            .iter()
            .find(|certificate| {
                signed.is_signed_as(certificate) && (marked(certificate) || !any_marked)
            })
            .ok_or(FaultyResponse::Signer)
    }
}

/// One certificate or a certificates-only message: the body tells, since the media type of real servers does not.
pub(super) fn certificates(body: &[u8]) -> Vec<Certificate> {
    if let Ok(bag) = cms::read_certs_only(body) {
        return bag.certificates;
    }
    if let Ok(certificate) = Certificate::from_der(body) {
        return vec![certificate];
    }
    std::str::from_utf8(body)
        .ok()
        .and_then(|text| Certificate::from_pem_chain(text).ok())
        .unwrap_or_default()
}

/// The one that issued others, else the first CA, else the first.
fn apparent_authority(certificates: &[Certificate]) -> Option<&Certificate> {
    let issued_another = |ca: &&Certificate| {
        ca.is_ca()
            && certificates
                .iter()
                .any(|other| other != *ca && !other.is_ca() && other.is_issued_by(ca))
    };
    certificates
        .iter()
        .find(issued_another)
        .or_else(|| certificates.iter().find(|certificate| certificate.is_ca()))
        .or_else(|| certificates.first())
}

/// Whether a certificate could be an RA's. Every device's certificate leads to the CA, so one that says what it is for, and does not name this, is
/// a device's: else each device could pose as the server to the others.
fn may_be_ra(certificate: &Certificate) -> bool {
    const ANY: &str = "2.5.29.37.0";
    const CMC_CA: &str = "1.3.6.1.5.5.7.3.27";
    const CMC_RA: &str = "1.3.6.1.5.5.7.3.28";
    const MICROSOFT_REQUEST_AGENT: &str = "1.3.6.1.4.1.311.20.2.1";
    let purposes = certificate.extended_key_usage();
    purposes.is_empty()
        || purposes.iter().any(|purpose| {
            [ANY, CMC_CA, CMC_RA, MICROSOFT_REQUEST_AGENT].contains(&purpose.to_string().as_str())
        })
}

fn leads_to(
    certificate: &Certificate,
    authority: &Certificate,
    others: &[Certificate],
    left: usize,
) -> bool {
    if certificate.is_issued_by(authority) {
        return true;
    }
    left > 0
        && others.iter().any(|other| {
            other != certificate
                && other.is_ca()
                && certificate.issuer() == other.subject()
                && certificate.is_issued_by(other)
                && leads_to(other, authority, others, left - 1)
        })
}
