//! What is odd about a certificate and its chain that can be served all the same: each oddity as a code, and in words that say what it means. Nothing is
//! refused here.

use std::{net::IpAddr, time::Duration};

use convoy_fleet::expiry::{Expiry, expiry};
use jiff::{SignedDuration, Timestamp};
use rustls_pki_types::{CertificateDer, UnixTime};
use webpki::{EndEntityCert, KeyUsage, anchor_from_trusted_cert};
use x509_parser::{certificate::X509Certificate, extensions::GeneralName, parse_x509_certificate};

use super::strength::weak_signature;

/// Less than this is not much for a rotation that waits for everyone.
const SHORT: SignedDuration = SignedDuration::from_hours(72);

/// Something that an operator should know of a certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning {
    /// What it is.
    pub code: Code,
    /// What it means, for people.
    pub words: String,
}

/// What there may be to say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Code {
    /// It has expired.
    Expired,
    /// It expires before long.
    ExpiresSoon,
    /// Its validity has not begun.
    NotYetValid,
    /// Its extended key usage is for other things than TLS servers.
    NotForServers,
    /// Its key usage does not allow what TLS does with it.
    KeyUsage,
    /// An IP address stands in it as a DNS name.
    AddressAsDnsName,
    /// Its issuer is not in the file.
    IssuerMissing,
    /// What stands behind it belongs to another CA.
    ChainOfAnotherCa,
    /// A certificate in the chain has expired.
    ChainExpired,
    /// A certificate in the chain is not valid yet.
    ChainNotYetValid,
    /// A certificate in the chain expires before the one that it vouches for.
    ChainExpiresFirst,
    /// A certificate in the chain is no CA's.
    ChainNotCa,
    /// A certificate in the chain is signed with something broken.
    ChainWeak,
    /// The file holds certificates that do not belong to the chain.
    ChainUnrelated,
    /// The chain is not in its order.
    ChainOrder,
    /// Its names are outside of what a CA of its chain may issue.
    NameConstraints,
    /// A client that verifies the chain refuses it for another reason.
    ChainRefused,
}

impl Code {
    /// As the API spells it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Expired => "EXPIRED",
            Self::ExpiresSoon => "EXPIRES_SOON",
            Self::NotYetValid => "NOT_YET_VALID",
            Self::NotForServers => "NOT_FOR_SERVERS",
            Self::KeyUsage => "KEY_USAGE",
            Self::AddressAsDnsName => "ADDRESS_AS_DNS_NAME",
            Self::IssuerMissing => "ISSUER_MISSING",
            Self::ChainOfAnotherCa => "CHAIN_OF_ANOTHER_CA",
            Self::ChainExpired => "CHAIN_EXPIRED",
            Self::ChainNotYetValid => "CHAIN_NOT_YET_VALID",
            Self::ChainExpiresFirst => "CHAIN_EXPIRES_FIRST",
            Self::ChainNotCa => "CHAIN_NOT_CA",
            Self::ChainWeak => "CHAIN_WEAK",
            Self::ChainUnrelated => "CHAIN_UNRELATED",
            Self::ChainOrder => "CHAIN_ORDER",
            Self::NameConstraints => "NAME_CONSTRAINTS",
            Self::ChainRefused => "CHAIN_REFUSED",
        }
    }
}

/// All that there is to say of a certificate with its chain, DER, end entity first. Nothing of one that cannot be read.
#[must_use]
pub fn warnings(chain: &[Vec<u8>], now: Timestamp) -> Vec<Warning> {
    let parsed: Option<Vec<_>> = chain
        .iter()
        .map(|der| parse_x509_certificate(der).ok().map(|(_, parsed)| parsed))
        .collect();
    let mut found = Vec::new();
    if let Some([end_entity, rest @ ..]) = parsed.as_deref() {
        of_dates(end_entity, now, &mut found);
        of_use(end_entity, &mut found);
        of_chain(end_entity, rest, now, &mut found);
    }
    found
}

/// DNS names of a certificate that are IP addresses. Clients compare addresses with entries of that kind alone (RFC 6125, section 1.7.2).
#[must_use]
pub(super) fn addresses_as_dns_names(parsed: &X509Certificate<'_>) -> Vec<String> {
    let Ok(Some(names)) = parsed.subject_alternative_name() else {
        return vec![];
    };
    let names = names.value.general_names.iter();
    names
        .filter_map(|name| match name {
            GeneralName::DNSName(name) if name.parse::<IpAddr>().is_ok() => {
                Some((*name).to_owned())
            }
            _ => None,
        })
        .collect()
}

fn say(found: &mut Vec<Warning>, code: Code, words: String) {
    found.push(Warning { code, words });
}

fn of_dates(end_entity: &X509Certificate<'_>, now: Timestamp, found: &mut Vec<Warning>) {
    let (from, until) = validity(end_entity);
    let left = until.duration_since(now);
    match expiry(from, until, now) {
        Expiry::Expired => say(
            found,
            Code::Expired,
            format!(
                "it expired at {until:.0}; agents pin its key and still connect, whoever verifies dates refuses it: import another, and rotate to it"
            ),
        ),
        Expiry::Fresh if from > now => say(
            found,
            Code::NotYetValid,
            format!("it is valid from {from:.0} on; until then no rotation to it can start"),
        ),
        Expiry::Soon => soon(found, until, left),
        Expiry::Fresh if left < SHORT => soon(found, until, left),
        Expiry::Fresh => {}
    }
}

fn soon(found: &mut Vec<Warning>, until: Timestamp, left: SignedDuration) {
    let words = format!(
        "it expires at {until:.0}, in {}; a rotation waits for every client, and whoever verifies dates refuses it from then on",
        roughly(left)
    );
    say(found, Code::ExpiresSoon, words);
}

/// A length in its largest whole unit.
fn roughly(length: SignedDuration) -> String {
    let minutes = length.as_mins();
    match minutes {
        ..120 => format!("{minutes} minutes"),
        120..2_880 => format!("{} hours", length.as_hours()),
        _ => format!("{} days", length.as_hours() / 24),
    }
}

fn of_use(end_entity: &X509Certificate<'_>, found: &mut Vec<Warning>) {
    if let Ok(Some(purposes)) = end_entity.extended_key_usage() {
        let purposes = purposes.value;
        if !purposes.any && !purposes.server_auth {
            let meant = if purposes.client_auth {
                "for TLS clients (clientAuth)"
            } else {
                "for other things"
            };
            say(
                found,
                Code::NotForServers,
                format!(
                    "its extended key usage is {meant} and not for TLS servers (serverAuth): agents pin its key and connect, browsers and other clients refuse it"
                ),
            );
        }
    }
    if let Ok(Some(usage)) = end_entity.key_usage()
        && !usage.value.digital_signature()
    {
        say(
            found,
            Code::KeyUsage,
            "its key usage is without digitalSignature, which TLS 1.3 needs: agents pin its key and connect, other clients may refuse it"
                .to_owned(),
        );
    }
    let addresses = addresses_as_dns_names(end_entity);
    if !addresses.is_empty() {
        say(
            found,
            Code::AddressAsDnsName,
            format!(
                "it names {} as a DNS name: no client takes that for an address, which must be an entry of the kind IP",
                addresses.join(", ")
            ),
        );
    }
}

fn of_chain<'a>(
    end_entity: &'a X509Certificate<'a>,
    rest: &'a [X509Certificate<'a>],
    now: Timestamp,
    found: &mut Vec<Warning>,
) {
    let before = found.len();
    let mut path: Vec<usize> = Vec::new();
    let mut current = end_entity;
    while !is_self_issued(current) {
        let of_that_name: Vec<usize> = (0..rest.len())
            .filter(|at| {
                !path.contains(at) && rest[*at].subject().as_raw() == current.issuer().as_raw()
            })
            .collect();
        let signer = of_that_name
            .iter()
            .copied()
            .find(|at| is_signed_by(current, &rest[*at]));
        match (signer, of_that_name.is_empty()) {
            (Some(at), _) => {
                of_issuer(&rest[at], current, now, found);
                path.push(at);
                current = &rest[at];
            }
            // Weak signatures are not verified.
            (None, false) if weak_signature(current).is_some() => return,
            (None, false) => {
                say(
                    found,
                    Code::ChainOfAnotherCa,
                    format!(
                        "the certificate of {} in the file has the issuer's name and another key than the one that signed {}: it belongs to another CA, or to an \
                         older or newer one; clients that need it refuse the chain",
                        current.issuer(),
                        current.subject()
                    ),
                );
                return;
            }
            (None, true) if !path.is_empty() => break,
            (None, true) if rest.is_empty() => {
                say(
                    found,
                    Code::IssuerMissing,
                    format!(
                        "its issuer {} is not in the file: that is right if it is a root that clients hold themselves; if it is an intermediate, put it \
                         behind the certificate, or clients that do not pin the key refuse it",
                        end_entity.issuer()
                    ),
                );
                return;
            }
            (None, true) => {
                say(
                    found,
                    Code::ChainOfAnotherCa,
                    format!(
                        "its issuer is {}, and behind it stands {}: that belongs to another CA; put its own intermediates there",
                        end_entity.issuer(),
                        subjects(rest.iter())
                    ),
                );
                return;
            }
        }
    }
    of_the_rest(rest, &path, found);
    if !path.is_empty() {
        let at = |at: &usize| &rest[*at];
        of_verification(
            end_entity,
            &path.iter().map(at).collect::<Vec<_>>(),
            found,
            before,
        );
    }
}

/// What is to be said of a certificate in the chain and the one that it signed.
fn of_issuer(
    issuer: &X509Certificate<'_>,
    signed: &X509Certificate<'_>,
    now: Timestamp,
    found: &mut Vec<Warning>,
) {
    let name = issuer.subject();
    let (from, until) = validity(issuer);
    let (_, signed_until) = validity(signed);
    if until <= now {
        say(
            found,
            Code::ChainExpired,
            format!(
                "the certificate of {name} in its chain expired at {until:.0}: clients that need it refuse the chain; get the newer one from the CA"
            ),
        );
    } else if from > now {
        say(
            found,
            Code::ChainNotYetValid,
            format!(
                "the certificate of {name} in its chain is valid from {from:.0} on: clients that need it refuse the chain until then"
            ),
        );
    } else if until < signed_until {
        say(
            found,
            Code::ChainExpiresFirst,
            format!(
                "the certificate of {name} in its chain expires at {until:.0}, before the one that it signed ({signed_until:.0}): clients that need it refuse \
                 the chain from then on"
            ),
        );
    }
    if !is_self_issued(issuer)
        && let Some(weak) = weak_signature(issuer)
    {
        say(
            found,
            Code::ChainWeak,
            format!(
                "the certificate of {name} in its chain is signed with {weak}: clients refuse the chain"
            ),
        );
    }
    let signs = issuer
        .key_usage()
        .is_ok_and(|usage| usage.is_none_or(|usage| usage.value.key_cert_sign()));
    if !issuer.is_ca() || !signs {
        say(
            found,
            Code::ChainNotCa,
            format!(
                "the certificate of {name} in its chain is not marked as a CA's (CA:TRUE, keyCertSign): clients refuse what it signed"
            ),
        );
    }
}

fn of_the_rest(rest: &[X509Certificate<'_>], path: &[usize], found: &mut Vec<Warning>) {
    let unrelated: Vec<_> = (0..rest.len())
        .filter(|at| !path.contains(at))
        .map(|at| &rest[at])
        .collect();
    if !unrelated.is_empty() {
        say(
            found,
            Code::ChainUnrelated,
            format!(
                "the file also holds what is no part of its chain: {}; leave it out, every handshake carries it",
                subjects(unrelated)
            ),
        );
    }
    if !path.is_sorted() {
        say(
            found,
            Code::ChainOrder,
            "its chain is not in order: each certificate should be followed by the one that signed it, or older clients refuse it".to_owned(),
        );
    }
}

/// What a client says that verifies the path up to its last certificate: names outside of what a CA may issue, and what nothing above has found.
fn of_verification(
    end_entity: &X509Certificate<'_>,
    path: &[&X509Certificate<'_>],
    found: &mut Vec<Warning>,
    before: usize,
) {
    let Some((top, between)) = path.split_last() else {
        return;
    };
    let all = || std::iter::once(end_entity).chain(path.iter().copied());
    // Dates are judged above: here is a moment at which all are valid.
    let from = all().map(|one| validity(one).0).max();
    let until = all().map(|one| validity(one).1).min();
    let (Some(from), Some(until)) = (from, until) else {
        return;
    };
    if from >= until {
        return;
    }
    let at = UnixTime::since_unix_epoch(Duration::from_secs(
        u64::try_from(from.as_second()).unwrap_or(0),
    ));
    let der = |one: &X509Certificate<'_>| CertificateDer::from(one.as_raw().to_vec());
    let (end_entity, top) = (der(end_entity), der(top));
    let between: Vec<_> = between.iter().map(|one| der(one)).collect();
    let refused = match (
        EndEntityCert::try_from(&end_entity),
        anchor_from_trusted_cert(&top),
    ) {
        (Ok(end_entity), Ok(anchor)) => end_entity
            .verify_for_usage(
                webpki::ALL_VERIFICATION_ALGS,
                &[anchor],
                &between,
                at,
                KeyUsage::server_auth(),
                None,
                None,
            )
            .err(),
        (Err(error), _) | (_, Err(error)) => Some(error),
    };
    match refused {
        None => {}
        Some(webpki::Error::NameConstraintViolation) => say(
            found,
            Code::NameConstraints,
            "its names are outside of what a CA in its chain may issue (name constraints): agents pin its key and connect, clients that verify the chain refuse it"
                .to_owned(),
        ),
        // Said above, by whatever name.
        Some(_) if found.len() > before || found.iter().any(|one| one.code == Code::NotForServers) => {}
        Some(error) => say(
            found,
            Code::ChainRefused,
            format!("a client that verifies its chain refuses it: {error}; agents pin its key and connect"),
        ),
    }
}

fn is_self_issued(certificate: &X509Certificate<'_>) -> bool {
    certificate.subject().as_raw() == certificate.issuer().as_raw()
}

fn is_signed_by(signed: &X509Certificate<'_>, issuer: &X509Certificate<'_>) -> bool {
    let key = &issuer.public_key().subject_public_key.data;
    webpki::ALL_VERIFICATION_ALGS.iter().any(|algorithm| {
        algorithm
            .verify_signature(
                key,
                signed.tbs_certificate.as_ref(),
                &signed.signature_value.data,
            )
            .is_ok()
    })
}

fn validity(certificate: &X509Certificate<'_>) -> (Timestamp, Timestamp) {
    let validity = certificate.validity();
    (
        Timestamp::from_second(validity.not_before.timestamp()).unwrap_or(Timestamp::MIN),
        Timestamp::from_second(validity.not_after.timestamp()).unwrap_or(Timestamp::MAX),
    )
}

fn subjects<'a>(certificates: impl IntoIterator<Item = &'a X509Certificate<'a>>) -> String {
    let names: Vec<String> = certificates
        .into_iter()
        .map(|one| one.subject().to_string())
        .collect();
    names.join("; ")
}

#[cfg(test)]
mod tests;
