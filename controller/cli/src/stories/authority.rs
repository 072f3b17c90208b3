//! `convoy scep` about the built-in server, command by command.

use super::fleet::{Fleet, PC_1, State, changes, convoy};

#[test]
fn the_built_in_server_is_shown_and_changed() {
    let fleet = Fleet::start(State::default());
    let said = convoy(&fleet, "scep ca show");
    assert!(
        said.out.contains("http://10.0.0.1:8082/scep"),
        "{}",
        said.out
    );
    assert!(
        said.out.contains("12 issued, 1 of them revoked"),
        "{}",
        said.out
    );
    assert!(said.out.contains(&"ab".repeat(32)), "{}", said.out);
    // SHA-256 of 30 00.
    let ra = "ecdsa-p256, with an RA: SHA-256 e4f60d0aa6d7f3d3";
    assert!(said.out.contains("rsa-2048\n"), "{}", said.out);
    assert!(said.out.contains(ra), "{}", said.out);
    let said = convoy(&fleet, "scep ca export");
    assert_eq!(
        said.out,
        "-----BEGIN CERTIFICATE-----\nMAIFAA==\n-----END CERTIFICATE-----\n"
    );
    let said = convoy(&fleet, "scep ca export --next");
    assert_eq!(said.code, 1);
    assert!(said.err.contains("convoy scep ca rollover"), "{}", said.err);
    assert_eq!(convoy(&fleet, "scep ca export --der").out.len(), 4);
    let said = convoy(&fleet, "scep crl");
    assert!(
        said.out.starts_with("-----BEGIN X509 CRL-----\n"),
        "{}",
        said.out
    );
    for line in [
        "scep ca rollover",
        "scep ca rollover --key ecdsa-p256",
        "scep ca rollover --activate -o json",
        "scep approval manual",
        "scep requests deny TX1 --reason why_not",
        "scep issued revoke 0a:0b --reason keyCompromise",
        "scep challenge revoke 00AA",
        "scep profile set default --lifetime 90d --san uri:urn:x --no-eku",
    ] {
        assert_eq!(convoy(&fleet, line).code, 0, "{line}");
    }
    let said = convoy(&fleet, "scep issued revoke 0a:0b --request-id again");
    assert!(
        said.err.contains("renewed into 0A0C, which stays valid"),
        "{}",
        said.err
    );
    let said = convoy(&fleet, "scep requests approve TX1");
    assert_eq!(said.out, "0A0B\n");
    assert_eq!(
        changes(&fleet),
        [
            "rollover false key 0",
            "rollover false key 2",
            "rollover true key 0",
            "approval 2",
            "deny TX1 \"why not\"",
            "revoke 0a:0b keyCompromise",
            "revoke challenge 00AA",
            "profile default 7776000 s [] [\"uri:urn:x\"]",
            "revoke 0a:0b unspecified",
            "approve TX1",
        ]
    );
    let listed = convoy(&fleet, "scep requests list --all").out;
    assert!(listed.contains("denied: unknown printer"), "{listed}");
    assert!(convoy(&fleet, "scep profile list").out.contains("2160h"));
    assert!(convoy(&fleet, "scep challenge list").out.contains("00AA"));
    assert!(
        convoy(&fleet, "scep issued list --client pc-1")
            .out
            .contains("0A0B")
    );
    assert!(
        convoy(&fleet, "scep issued show 0a:0b")
            .out
            .contains("CN=p1.example")
    );
    let pem = convoy(&fleet, "scep issued show A0B --pem").out;
    assert!(pem.starts_with("-----BEGIN CERTIFICATE-----"), "{pem}");
    let said = convoy(&fleet, "scep issued show FF");
    assert_eq!(said.code, 1);
    assert!(said.err.contains("convoy scep issued list"), "{}", said.err);
}

#[test]
fn a_challenge_is_alone_on_stdout_unless_it_was_the_operators_own() {
    let fleet = Fleet::start(State::default());
    let said = convoy(
        &fleet,
        "scep challenge create --client pc-1 --uses 2 --common-name p1 --san dns:p1 --expires 1d",
    );
    assert_eq!((said.out.as_str(), said.code), ("ABCDEFGH234567\n", 0));
    let own = fleet.file("own", "correct horse\n");
    let said = convoy(
        &fleet,
        &format!(
            "scep challenge create --unlimited --group default --expires never --static-file {}",
            own.display()
        ),
    );
    assert_eq!((said.out.as_str(), said.code), ("", 0), "{}", said.err);
    assert_eq!(
        changes(&fleet),
        [
            format!("challenge uses Some(2) cn \"p1\" [\"dns:p1\"] lifetime Some(86400) client \"{PC_1}\" group \"\" secret \"\""),
            "challenge uses Some(0) cn \"\" [] lifetime Some(0) client \"\" group \"default\" secret \"correct horse\"".to_owned(),
        ]
    );
    let json = convoy(&fleet, "scep challenge create -o json").out;
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["secret"], "ABCDEFGH234567");
}
