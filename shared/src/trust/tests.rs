//! The verdict, case by case.

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};

use super::*;
use crate::envelope::{Role, SigningKey};

const HOUR: SignedDuration = SignedDuration::from_hours(1);

fn at(hours: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + hours * 3600).expect("in range")
}

fn self_signed(name: &str) -> CertificateDer<'static> {
    rcgen::generate_simple_self_signed(vec![name.to_owned()])
        .expect("a certificate")
        .cert
        .into()
}

fn pin(number: u64, certificate: &CertificateDer<'_>) -> Anchor {
    Anchor {
        number: AnchorNumber(number),
        kind: AnchorKind::Pin(spki_digest(certificate).expect("a certificate")),
    }
}

fn document(mode: Mode, anchors: Vec<Anchor>) -> TrustDocument {
    TrustDocument {
        fleet_id: FleetId::from_bytes(&[1; 16]).expect("16 bytes"),
        audience: GroupName::default_group(),
        root_version: RootVersion(1),
        epoch: Epoch(2),
        revision: Revision(5),
        mode,
        anchors: Anchors::new(anchors).expect("anchors"),
        server_names: vec!["controller.example".to_owned()],
        addresses: Addresses::of(vec!["controller.example:7443".parse().expect("good")])
            .expect("good"),
        issued_at: at(0),
        expires_at: at(10_000),
    }
}

fn root(off_allowed: bool) -> Root {
    let key = SigningKey::from_seed(&[1; 32]).expect("32 bytes");
    let role = Role::new(vec![key.public()], 1).expect("a role");
    Root {
        fleet_id: FleetId::from_bytes(&[1; 16]).expect("16 bytes"),
        version: RootVersion(1),
        root: role.clone(),
        policy: role,
        issued_at: at(0),
        expires_at: at(10_000),
        off_allowed,
        max_off: HOUR * 100,
    }
}

#[test]
fn a_pinned_key_is_accepted_and_another_is_not() {
    let (good, bad) = (self_signed("a"), self_signed("a"));
    let document = document(Mode::Verify, vec![pin(3, &good)]);
    let root = root(true);
    let trust = Trust {
        document: &document,
        root: &root,
        last_proof: Some(at(0)),
    };
    // Also decades after the certificate's dates: under a pin they are advisory.
    for now in [at(0), at(900_000)] {
        assert_eq!(
            verdict(&trust, std::slice::from_ref(&good), now),
            Ok(Accepted::By(AnchorNumber(3)))
        );
        assert!(matches!(
            verdict(&trust, std::slice::from_ref(&bad), now),
            Err(Rejected::NoAnchor { .. })
        ));
    }
    assert_eq!(verdict(&trust, &[], at(0)), Err(Rejected::Empty));
    let garbage = [CertificateDer::from(vec![1, 2, 3])];
    assert!(matches!(
        verdict(&trust, &garbage, at(0)),
        Err(Rejected::Unreadable(_))
    ));
}

#[test]
fn off_ends_with_its_lease_and_leaves_old_and_new() {
    let (old, new, stranger) = (self_signed("a"), self_signed("b"), self_signed("c"));
    let document = document(
        Mode::Off { lease: HOUR * 10 },
        vec![pin(1, &old), pin(2, &new)],
    );
    let root = root(true);
    let trust = Trust {
        document: &document,
        root: &root,
        last_proof: Some(at(5)),
    };
    assert_eq!(
        verdict(&trust, std::slice::from_ref(&stranger), at(15)),
        Ok(Accepted::Unverified)
    );
    assert_eq!(trust.mode(at(16)), ModeInForce::Verify);
    assert!(verdict(&trust, std::slice::from_ref(&stranger), at(16)).is_err());
    for known in [&old, &new] {
        assert!(verdict(&trust, std::slice::from_ref(known), at(16)).is_ok());
    }
    // Nobody knows how much of it has passed: it is over.
    let unmeasured = Trust {
        last_proof: None,
        ..trust
    };
    assert_eq!(unmeasured.mode(at(5)), ModeInForce::Verify);
}

#[test]
fn off_ends_with_the_roots_limit_however_often_the_lease_is_renewed() {
    let old = self_signed("a");
    let document = document(Mode::Off { lease: HOUR * 10 }, vec![pin(1, &old)]);
    let (allows, forbids) = (root(true), root(false));
    let trust = |root, hours| Trust {
        document: &document,
        root,
        last_proof: Some(at(hours)),
    };
    assert_eq!(trust(&allows, 99).mode(at(100)), ModeInForce::Off);
    assert_eq!(trust(&allows, 101).mode(at(101)), ModeInForce::Verify);
    assert_eq!(trust(&forbids, 0).mode(at(0)), ModeInForce::Verify);
}

#[test]
fn a_ca_vouches_for_its_leaves_with_the_right_name() {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name.push(DnType::CommonName, "CA");
    let ca = CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key"))
        .expect("a certificate");
    let leaf = |name: &str| -> CertificateDer<'static> {
        CertificateParams::new(vec![name.to_owned()])
            .expect("a name")
            .signed_by(&KeyPair::generate().expect("a key"), &ca)
            .expect("a certificate")
            .der()
            .clone()
    };
    let anchor = Anchor {
        number: AnchorNumber(7),
        kind: AnchorKind::Ca(ca.der().to_vec()),
    };
    let document = document(Mode::Verify, vec![anchor]);
    let root = root(true);
    let trust = Trust {
        document: &document,
        root: &root,
        last_proof: Some(at(0)),
    };
    assert_eq!(
        verdict(&trust, &[leaf("controller.example")], at(0)),
        Ok(Accepted::By(AnchorNumber(7)))
    );
    assert!(verdict(&trust, &[leaf("other.example")], at(0)).is_err());
    assert!(verdict(&trust, &[self_signed("controller.example")], at(0)).is_err());
}

#[test]
fn a_document_never_goes_back() {
    let certificate = self_signed("a");
    let held = document(Mode::Verify, vec![pin(1, &certificate)]);
    let (held_digest, next_digest) = (Digest::of(b"held"), Digest::of(b"next"));
    let check = |next: &TrustDocument, root: &Root| {
        check_replacement(&held, held_digest, next, next_digest, root)
    };
    let mut next = held.clone();
    assert_eq!(
        check_replacement(&held, held_digest, &held, held_digest, &root(true)),
        Ok(Replacement::Same)
    );
    assert!(matches!(
        check(&next, &root(true)),
        Err(BadReplacement::Older { .. })
    ));
    next.revision = Revision(4);
    assert!(check(&next, &root(true)).is_err());
    next.revision = Revision(6);
    assert_eq!(check(&next, &root(true)), Ok(Replacement::Newer));
    next.mode = Mode::Off { lease: HOUR };
    assert_eq!(
        check(&next, &root(false)),
        Err(BadReplacement::OffForbidden)
    );
    next.revision = Revision(5 + MAX_REVISION_JUMP + 1);
    assert_eq!(check(&next, &root(true)), Err(BadReplacement::Jump));
    next.revision = Revision(6);
    next.root_version = RootVersion(2);
    assert!(matches!(
        check(&next, &root(true)),
        Err(BadReplacement::UnknownRoot(_))
    ));
}
