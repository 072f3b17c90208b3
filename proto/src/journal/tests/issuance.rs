//! One sample of every event about the built-in CA, and messages that are none.

use convoy_fleet::issuance::{
    Approval, Binding, Challenge, ChallengeId, CrlReason, IssuanceEvent, Issued, Profile, SanKind,
    Waiting,
};

use super::*;

/// A sample of the variant that follows this one's; `None` after the last.
fn following(event: &IssuanceEvent) -> Option<IssuanceEvent> {
    Some(match event {
        IssuanceEvent::AuthorityMade { .. } => IssuanceEvent::AuthorityActivated { number: 2 },
        IssuanceEvent::AuthorityActivated { .. } => IssuanceEvent::ApprovalSet(Approval::Manual),
        IssuanceEvent::ApprovalSet(_) => IssuanceEvent::ProfileSet(profile()),
        IssuanceEvent::ProfileSet(_) => IssuanceEvent::ChallengeCreated(challenge()),
        IssuanceEvent::ChallengeCreated(_) => IssuanceEvent::ChallengeRevoked { id: id() },
        IssuanceEvent::ChallengeRevoked { .. } => IssuanceEvent::RequestReceived(waiting()),
        IssuanceEvent::RequestReceived(_) => IssuanceEvent::RequestDenied {
            transaction: "A1".to_owned(),
            reason: "not ours".to_owned(),
        },
        IssuanceEvent::RequestDenied { .. } => IssuanceEvent::CertificateIssued(issued()),
        IssuanceEvent::CertificateIssued(_) => revoked(CrlReason::KeyCompromise),
        IssuanceEvent::CertificateRevoked { .. } => return None,
    })
}

pub(super) fn samples() -> Vec<Event> {
    let made = IssuanceEvent::AuthorityMade {
        number: 1,
        certificate: vec![1, 2, 3],
        spki: Digest::of(b"ca"),
        not_after: at(90),
        ra: None,
    };
    let others = [
        IssuanceEvent::AuthorityMade {
            number: 2,
            certificate: vec![1, 2, 3],
            spki: Digest::of(b"ca"),
            not_after: at(90),
            ra: Some(vec![4, 5]),
        },
        IssuanceEvent::ApprovalSet(Approval::Automatic),
        IssuanceEvent::ProfileSet(Profile::default()),
        IssuanceEvent::ChallengeCreated(Challenge {
            uses: None,
            binding: None,
            expires_at: None,
            client: None,
            group: None,
            is_static: false,
            ..challenge()
        }),
        IssuanceEvent::ChallengeCreated(Challenge {
            binding: Some(Binding::default()),
            ..challenge()
        }),
        IssuanceEvent::RequestReceived(Waiting {
            client: None,
            ..waiting()
        }),
        IssuanceEvent::CertificateIssued(Issued {
            challenge: None,
            renews: Some(vec![0x7f; 20]),
            client: None,
            sans: vec![],
            ..issued()
        }),
    ];
    std::iter::successors(Some(made), following)
        .chain(others)
        .chain(CrlReason::ALL.map(|(reason, _, _)| revoked(reason)))
        .map(Event::Issuance)
        .collect()
}

fn id() -> ChallengeId {
    ChallengeId([8, 7, 6, 5, 4, 3, 2, 1])
}

fn names() -> Vec<String> {
    ["dns:p1.example", "ip:10.0.0.1", "uri:urn:printer:1"]
        .map(str::to_owned)
        .to_vec()
}

fn profile() -> Profile {
    Profile {
        name: "printers".to_owned(),
        lifetime: SignedDuration::new(86_400, 5),
        extended_key_usages: vec!["1.3.6.1.5.5.7.3.17".to_owned()],
        san_kinds: vec![SanKind::Uri, SanKind::Dns, SanKind::Ip],
        sans: names(),
    }
}

fn challenge() -> Challenge {
    Challenge {
        id: id(),
        digest: Digest::of(b"secret"),
        uses: Some(1),
        binding: Some(Binding {
            common_name: "p1".to_owned(),
            sans: names(),
        }),
        not_before: at(1),
        expires_at: Some(at(60)),
        profile: "printers".to_owned(),
        client: Some(0),
        group: Some(group()),
        is_static: true,
    }
}

fn waiting() -> Waiting {
    Waiting {
        transaction: "A1".to_owned(),
        subject_der: vec![0x30, 0],
        subject: "CN=p1".to_owned(),
        spki_der: vec![3; 40],
        sans: names(),
        challenge: id(),
        profile: "printers".to_owned(),
        client: Some(0),
    }
}

fn issued() -> Issued {
    Issued {
        serial: vec![1],
        certificate: vec![9; 30],
        subject: "CN=p1".to_owned(),
        spki: Digest::of(b"key"),
        not_before: at(-1),
        not_after: at(99),
        authority: 1,
        transaction: "A1".to_owned(),
        challenge: Some(id()),
        renews: None,
        profile: "printers".to_owned(),
        client: Some(7),
        sans: names(),
    }
}

fn revoked(reason: CrlReason) -> IssuanceEvent {
    IssuanceEvent::CertificateRevoked {
        serial: vec![1, 0],
        reason,
    }
}

#[test]
fn nothing_about_the_ca_is_made_up() {
    use wire::issuance_event::Kind as Ca;
    let refused = |kind: Option<Ca>| {
        let mut entry = wire_entry();
        entry.events[0].kind = Some(Kind::Issuance(wire::IssuanceEvent { kind }));
        decode_entry(&entry.encode_to_vec()).expect_err("refused")
    };
    let missing = BadEntry::Missing;
    assert_eq!(refused(None), missing("issuance"));
    assert_eq!(
        refused(Some(Ca::ChallengeRevoked(vec![1; 7].into()))),
        missing("challenge")
    );

    let certificate = |change: fn(&mut wire::ScepCertificateIssued)| {
        let mut wire = wire::ScepCertificateIssued::from(&issued());
        change(&mut wire);
        refused(Some(Ca::CertificateIssued(wire)))
    };
    for serial in [&[][..], &[0, 1], &[1; 21]] {
        let wire = wire::ScepCertificateRevoked {
            serial: copied(serial),
            reason: 0,
        };
        assert_eq!(
            refused(Some(Ca::CertificateRevoked(wire))),
            missing("serial")
        );
    }
    assert_eq!(certificate(|c| c.serial.clear()), missing("serial"));
    assert_eq!(
        certificate(|c| c.renews = vec![0].into()),
        missing("renews")
    );
    assert_eq!(
        certificate(|c| c.challenge = vec![1; 9].into()),
        missing("challenge")
    );
    assert!(matches!(certificate(|c| c.spki.clear()), BadEntry::Id(_)));
    assert!(matches!(
        certificate(|c| c.not_after = None),
        BadEntry::Time(_)
    ));

    let mut bad = wire::ScepProfileSet::from(&profile());
    bad.lifetime = None;
    assert_eq!(refused(Some(Ca::ProfileSet(bad))), missing("lifetime"));
    let mut bad = wire::ScepRequestReceived::from(&waiting());
    bad.challenge.clear();
    assert_eq!(
        refused(Some(Ca::RequestReceived(bad))),
        missing("challenge")
    );
    let mut bad = wire::ScepChallengeCreated::from(&challenge());
    bad.group = "No Group".to_owned();
    assert!(matches!(
        refused(Some(Ca::ChallengeCreated(bad))),
        BadEntry::Id(_)
    ));
}

#[test]
fn words_of_a_newer_version_are_refused() {
    let refused = |kind| {
        let wire = wire::IssuanceEvent { kind: Some(kind) };
        crate::journal::issuance::read_issuance(wire).expect_err("refused")
    };
    use wire::issuance_event::Kind as Ca;
    // removeFromCRL.
    let wire = wire::ScepCertificateRevoked {
        serial: vec![1].into(),
        reason: 8,
    };
    assert_eq!(
        refused(Ca::CertificateRevoked(wire)),
        BadEntry::Missing("reason")
    );
    let mut wire = wire::ScepProfileSet::from(&profile());
    wire.san_kinds.push("email".to_owned());
    assert_eq!(
        refused(Ca::ProfileSet(wire)),
        BadEntry::Missing("san_kinds")
    );
}
