//! Chains with one oddity each, made on the spot. Nothing is served.

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, GeneralSubtree, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, NameConstraints,
};
use time::OffsetDateTime;

use super::*;

const DAY: i64 = 24 * 3600;

fn now() -> Timestamp {
    Timestamp::constant(1_800_000_000, 0)
}

/// Valid from this second to that, seen from now.
fn params(name: &str, from: i64, until: i64) -> CertificateParams {
    let at =
        |seconds| OffsetDateTime::from_unix_timestamp(now().as_second() + seconds).expect("a time");
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.not_before = at(from);
    params.not_after = at(until);
    params
}

fn ca(name: &str) -> CertificateParams {
    let mut params = params(name, -DAY, 1_000 * DAY);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    params
}

fn leaf() -> CertificateParams {
    let mut params = params("leaf", -DAY, 300 * DAY);
    params.subject_alt_names = vec![rcgen::SanType::DnsName(
        "a.example".try_into().expect("ASCII"),
    )];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params
}

/// Certificates from the end entity to the root, each signed by the one after it.
fn chain(of: Vec<CertificateParams>) -> Vec<Vec<u8>> {
    let mut made = Vec::new();
    let mut above: Option<(CertificateParams, KeyPair)> = None;
    for params in of.into_iter().rev() {
        let key = KeyPair::generate().expect("a key");
        let certificate = match &above {
            None => params.self_signed(&key),
            Some((issuer, issuer_key)) => {
                params.signed_by(&key, &Issuer::from_params(issuer, issuer_key))
            }
        };
        made.push(certificate.expect("made").der().to_vec());
        above = Some((params, key));
    }
    made.reverse();
    made
}

#[track_caller]
fn expect(chain: &[Vec<u8>], codes: &[&str]) -> Vec<Warning> {
    let found = warnings(chain, now());
    let found_codes: Vec<_> = found.iter().map(|one| one.code.as_str()).collect();
    assert_eq!(found_codes, codes, "{found:#?}");
    found
}

#[test]
fn a_good_chain_says_nothing_with_its_root_or_without() {
    let made = chain(vec![leaf(), ca("issuing"), ca("root")]);
    expect(&made, &[]);
    expect(&made[..2], &[]);
    expect(&chain(vec![leaf()]), &[]);
}

#[test]
fn what_is_missing_or_of_another_ca_is_said() {
    let made = chain(vec![leaf(), ca("issuing"), ca("root")]);
    let other = chain(vec![leaf(), ca("other"), ca("root")]);
    let again = chain(vec![leaf(), ca("issuing"), ca("root")]);
    let one = |list: &[Vec<u8>], at: usize| list[at].clone();
    let found = expect(&made[..1], &["ISSUER_MISSING"]);
    assert!(found[0].words.contains("CN=issuing"), "{found:?}");
    let found = expect(&[one(&made, 0), one(&other, 1)], &["CHAIN_OF_ANOTHER_CA"]);
    assert!(found[0].words.contains("CN=issuing") && found[0].words.contains("CN=other"));
    // The same name, and another key.
    expect(&[one(&made, 0), one(&again, 1)], &["CHAIN_OF_ANOTHER_CA"]);
    // Two of that name, of which one signed it.
    expect(
        &[one(&made, 0), one(&again, 1), one(&made, 1)],
        &["CHAIN_UNRELATED"],
    );
    // A bundle behind a good chain, and a chain upside down.
    expect(
        &[one(&made, 0), one(&made, 1), one(&other, 1)],
        &["CHAIN_UNRELATED"],
    );
    expect(
        &[one(&made, 0), one(&made, 2), one(&made, 1)],
        &["CHAIN_ORDER"],
    );
    // A self-signed one needs nothing behind it.
    expect(
        &[chain(vec![leaf()]).remove(0), one(&made, 1)],
        &["CHAIN_UNRELATED"],
    );
}

#[test]
fn dates_are_said_of_all_in_the_chain() {
    let dated = |from: i64, until: i64| {
        let mut params = ca("issuing");
        let dates = params_of_dates(from, until);
        (params.not_before, params.not_after) = dates;
        chain(vec![leaf(), params, ca("root")])
    };
    expect(&dated(-2 * DAY, -DAY), &["CHAIN_EXPIRED"]);
    expect(&dated(DAY, 1_000 * DAY), &["CHAIN_NOT_YET_VALID"]);
    expect(&dated(-DAY, 30 * DAY), &["CHAIN_EXPIRES_FIRST"]);
    let own = |from: i64, until: i64| {
        let mut params = leaf();
        (params.not_before, params.not_after) = params_of_dates(from, until);
        chain(vec![params])
    };
    expect(&own(-3 * DAY, -1), &["EXPIRED"]);
    expect(&own(3600, 300 * DAY), &["NOT_YET_VALID"]);
    // A third of its life, or hours.
    expect(&own(-300 * DAY, 100 * DAY), &["EXPIRES_SOON"]);
    expect(&own(-200 * DAY, 101 * DAY), &[]);
    let found = expect(&own(-1, 5 * 3600), &["EXPIRES_SOON"]);
    assert!(found[0].words.contains("in 5 hours"), "{found:?}");
    expect(&own(-1, 73 * 3600), &[]);
}

fn params_of_dates(from: i64, until: i64) -> (OffsetDateTime, OffsetDateTime) {
    let params = params("", from, until);
    (params.not_before, params.not_after)
}

#[test]
fn what_it_is_not_meant_for_is_said() {
    let mut client = leaf();
    client.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    let found = expect(&chain(vec![client.clone()]), &["NOT_FOR_SERVERS"]);
    assert!(found[0].words.contains("clientAuth"), "{found:?}");
    expect(&chain(vec![client, ca("root")]), &["NOT_FOR_SERVERS"]);
    let mut agreement = leaf();
    agreement.key_usages = vec![KeyUsagePurpose::KeyAgreement];
    expect(&chain(vec![agreement]), &["KEY_USAGE"]);
    let mut any = leaf();
    any.extended_key_usages.clear();
    any.key_usages.clear();
    expect(&chain(vec![any]), &[]);
}

#[test]
fn what_a_ca_may_not_issue_is_said() {
    let constrained = |permitted: &str| {
        let mut params = ca("issuing");
        params.name_constraints = Some(NameConstraints {
            permitted_subtrees: vec![GeneralSubtree::DnsName(permitted.to_owned())],
            excluded_subtrees: vec![],
        });
        chain(vec![leaf(), params, ca("root")])
    };
    expect(&constrained("example"), &[]);
    expect(&constrained("elsewhere"), &["NAME_CONSTRAINTS"]);
    // Also where the constrained one is the last in the file.
    expect(&constrained("elsewhere")[..2], &["NAME_CONSTRAINTS"]);
    let mut no_ca = params("issuing", -DAY, 1_000 * DAY);
    no_ca.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    expect(&chain(vec![leaf(), no_ca, ca("root")]), &["CHAIN_NOT_CA"]);
    let mut shallow = ca("upper");
    shallow.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    expect(
        &chain(vec![leaf(), ca("issuing"), shallow, ca("root")]),
        &["CHAIN_REFUSED"],
    );
}

#[test]
fn garbage_says_nothing() {
    expect(&[], &[]);
    expect(&[vec![1, 2, 3]], &[]);
}
