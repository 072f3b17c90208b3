//! What operators do to the CA.

use super::*;
use crate::issuance::{AuthorityState, IssuanceEvent};

fn bad_profile(change: impl FnOnce(&mut Profile)) -> IssuanceCommand {
    let mut profile = Profile::default();
    change(&mut profile);
    IssuanceCommand::SetProfile(profile)
}

#[test]
fn the_first_ca_is_in_force_at_once_and_made_once() {
    let mut world = World::with_ca();
    let current = world.ca().current().expect("one").clone();
    assert_eq!(
        (current.number, current.state),
        (1, AuthorityState::Current)
    );
    let again = world.make_ca(true);
    assert_eq!(world.ca_does(again), []);
    assert_eq!(world.ca().authorities(), [current]);
}

#[test]
fn one_ca_follows_another() {
    let mut world = World::new();
    let early = world.make_ca(false);
    assert!(matches!(world.ca_refuses(early), Refusal::Rollover(_)));
    let first = world.make_ca(true);
    world.ca_does(first);
    assert!(matches!(
        world.ca_refuses(IssuanceCommand::ActivateAuthority),
        Refusal::Rollover(_)
    ));
    for number in 2..5 {
        let make = world.make_ca(false);
        world.ca_does(make);
        assert_eq!(world.ca().current().expect("one").number, number - 1);
        assert_eq!(world.ca().next().expect("one").number, number);
        let third = world.make_ca(false);
        assert!(matches!(world.ca_refuses(third), Refusal::Rollover(_)));
        world.ca_does(IssuanceCommand::ActivateAuthority);
        assert_eq!(world.ca().current().expect("one").number, number);
        assert_eq!(world.ca().next(), None);
        assert!(matches!(
            world.ca_refuses(IssuanceCommand::ActivateAuthority),
            Refusal::Rollover(_)
        ));
    }
    let former = world.ca().authorities().iter();
    assert_eq!(
        former
            .filter(|ca| ca.state == AuthorityState::Former)
            .count(),
        3
    );
}

#[test]
fn a_profile_that_cannot_be_is_refused() {
    let mut world = World::with_ca();
    let long = format!("1.2.{}", ["4294967295"; 8].join("."));
    let refused: Vec<(&str, IssuanceCommand)> = vec![
        ("name", bad_profile(|p| p.name = "A B".to_owned())),
        ("name", bad_profile(|p| p.name = String::new())),
        ("lifetime", bad_profile(|p| p.lifetime = MINUTE * 59)),
        ("lifetime", bad_profile(|p| p.lifetime = DAY * 3661)),
        ("san_kinds", bad_profile(|p| p.san_kinds.push(SanKind::Uri))),
    ];
    let usages = [
        "serverauth",
        "",
        "1",
        "1.3",
        "1.3.",
        "1.40.1",
        "3.1.1",
        "1.3.06",
        "1.3.+6",
        "1.3.4294967296",
        "clientAuth",
        // Certificates of servers have these.
        "2.5.29.37.0",
        "1.3.6.1.5.5.7.3.27",
        "1.3.6.1.5.5.7.3.28",
        "1.3.6.1.4.1.311.20.2.1",
        &long,
    ]
    .map(|usage| {
        let change = |p: &mut Profile| p.extended_key_usages.push(usage.to_owned());
        ("extended_key_usages", bad_profile(change))
    });
    let names = ["p1", "dns:", "ip:p1", "uri:p1", "email:a@b"].map(|name| {
        let change = |p: &mut Profile| p.sans.push(name.to_owned());
        ("sans", bad_profile(change))
    });
    for (field, command) in refused.into_iter().chain(usages).chain(names) {
        match world.ca_refuses(command.clone()) {
            Refusal::BadSetting(text) => assert!(text.starts_with(field), "{text}"),
            other => panic!("{command:?}: {other:?}"),
        }
    }
}

#[test]
fn a_profile_is_set_and_the_default_one_is_always_there() {
    let mut world = World::with_ca();
    assert_eq!(world.ca().profiles(), [Profile::default()]);
    assert_eq!(world.ca_does(bad_profile(|_| ())), []);
    let profile = Profile {
        name: "ipsec".to_owned(),
        lifetime: DAY * 3660,
        extended_key_usages: words(&["ipsecIKE", "1.3.6.1.5.5.8.2.2", "2.5.29.37.1"]),
        san_kinds: vec![],
        sans: words(&["dns:*.example", "ip:::1", "uri:urn:p"]),
    };
    world.ca_does(IssuanceCommand::SetProfile(profile.clone()));
    assert_eq!(
        world.ca_does(IssuanceCommand::SetProfile(profile.clone())),
        []
    );
    assert_eq!(world.ca().profiles(), [Profile::default(), profile]);
}

#[test]
fn a_challenge_that_cannot_be_is_refused() {
    let mut world = World::with_ca();
    let host = world.host();
    world.does(Command::Decommission(host.number));
    let taken = world.challenges("s", |_| ());
    let now = world.now;
    let refuses = |world: &mut World, change: &dyn Fn(&mut Challenge)| {
        let challenge = world.challenge("other", change);
        world.ca_refuses(IssuanceCommand::CreateChallenge(challenge))
    };
    assert_eq!(
        refuses(&mut world, &|c| c.digest = Digest::of(b"s")),
        Refusal::ChallengeTaken(taken)
    );
    assert_eq!(
        refuses(&mut world, &|c| c.profile = "x".to_owned()),
        Refusal::NoSuchProfile("x".to_owned())
    );
    assert_eq!(
        refuses(&mut world, &|c| c.group = Some(group("x"))),
        Refusal::NoSuchGroup(group("x"))
    );
    assert_eq!(
        refuses(&mut world, &|c| c.client = Some(99)),
        Refusal::NoSuchClient
    );
    assert_eq!(
        refuses(&mut world, &|c| c.client = Some(host.number)),
        Refusal::ClientDecommissioned
    );
    let bad: [&dyn Fn(&mut Challenge); 4] = [
        &|c| c.uses = Some(0),
        &|c| c.expires_at = Some(now),
        &|c| {
            c.not_before = now + HOUR * 2;
            c.expires_at = Some(now + HOUR * 2);
        },
        &|c| {
            c.binding = Some(Binding {
                common_name: "p1".to_owned(),
                sans: words(&["p1.example"]),
            });
        },
    ];
    for change in bad {
        assert!(matches!(
            refuses(&mut world, change),
            Refusal::BadSetting(_)
        ));
    }
    let unknown = ChallengeId([9; 8]);
    assert_eq!(
        world.ca_refuses(IssuanceCommand::RevokeChallenge(unknown)),
        Refusal::NoSuchChallenge(unknown)
    );
    assert_eq!(world.ca().challenges().count(), 1);
}

#[test]
fn a_revoked_certificate_is_listed_until_it_expires() {
    let mut world = World::with_ca();
    world.challenges("s", |c| {
        c.uses = None;
        c.expires_at = None;
    });
    let old = world.enrols(&asks("k1", "s"));
    let make = world.make_ca(false);
    world.ca_does(make);
    world.ca_does(IssuanceCommand::ActivateAuthority);
    world.pass(DAY);
    let new = world.enrols(&asks("k2", "s"));
    let valid = world.enrols(&asks("k3", "s"));
    let revoke = |serial: &[u8], reason| IssuanceCommand::Revoke {
        serial: serial.to_vec(),
        reason,
    };
    assert_eq!(
        world.ca_refuses(revoke(&[0xab, 1], CrlReason::Unspecified)),
        Refusal::NoSuchSerial("AB01".to_owned())
    );
    assert_eq!((world.ca().crl_number(), world.ca().revoked()), (0, 0));

    world.ca_does(revoke(&new.serial, CrlReason::KeyCompromise));
    let first = world.now;
    world.pass(HOUR);
    world.ca_does(revoke(&old.serial, CrlReason::Superseded));
    let second = world.now;
    world.pass(HOUR);
    // Again, for another reason: it stays what it was.
    assert_eq!(
        world.ca_does(revoke(&new.serial, CrlReason::CaCompromise)),
        []
    );

    assert_eq!((world.ca().crl_number(), world.ca().revoked()), (2, 2));
    let list = |world: &World, ca: u32| -> Vec<_> {
        world
            .ca()
            .revocations_of(ca, world.now)
            .map(|(serial, at, reason)| (serial.to_vec(), at, reason))
            .collect()
    };
    let of_old = (old.serial, second, CrlReason::Superseded);
    let of_new = (new.serial, first, CrlReason::KeyCompromise);
    assert_eq!(list(&world, 1), std::slice::from_ref(&of_old));
    assert_eq!(list(&world, 2), std::slice::from_ref(&of_new));
    assert!(world.ca().certificate(&valid.serial).is_some());
    world.now = old.not_after;
    assert_eq!(list(&world, 1), [of_old]);
    world.pass(MINUTE);
    assert_eq!(list(&world, 1), []);
    assert_eq!(list(&world, 2), [of_new]);
    assert_eq!(world.ca().revoked(), 2);
}

#[test]
fn what_was_issued_outlives_its_challenge() {
    let mut world = World::with_ca();
    let id = world.challenges("s", |_| ());
    let issued = world.enrols(&asks("k", "s"));
    world.ca_does(IssuanceCommand::RevokeChallenge(id));
    let known = world.ca().certificate(&issued.serial).expect("known");
    assert_eq!(known.revocation, None);
    assert_eq!(
        world.judge(&asks("k", "s")),
        Ok(Judgement::Again(Box::new(issued)))
    );
}

#[test]
fn a_command_that_is_repeated_changes_nothing() {
    let mut world = World::with_ca();
    world.challenges("s", |_| ());
    let issued = world.enrols(&asks("k", "s"));
    let challenge = world.challenge("other", |_| ());
    let commands = [
        world.make_ca(true),
        IssuanceCommand::SetApproval(Approval::Manual),
        bad_profile(|p| p.name = "other".to_owned()),
        IssuanceCommand::CreateChallenge(challenge.clone()),
        IssuanceCommand::RevokeChallenge(challenge.id),
        IssuanceCommand::Revoke {
            serial: issued.serial,
            reason: CrlReason::Unspecified,
        },
    ];
    for command in commands {
        world.ca_does(command.clone());
        let before = world.fleet.clone();
        assert_eq!(world.ca_does(command), []);
        assert_eq!(world.fleet, before);
    }
}

#[test]
fn a_journal_about_the_ca_that_is_read_again_gives_the_same_state() {
    let mut world = World::with_ca();
    let host = world.host();
    let make = world.make_ca(false);
    world.ca_does(make);
    world.challenges("s", |c| {
        c.uses = None;
        c.client = Some(host.number);
        c.group = Some(GroupName::default_group());
    });
    let old = world.enrols(&asks("k1", "s"));
    world.ca_does(IssuanceCommand::ActivateAuthority);
    world.ca_does(bad_profile(|p| p.lifetime = DAY));
    world.enrols(&Asked {
        kind: Kind::Renewal(old.serial.clone()),
        ..asks("k2", "")
    });
    world.ca_does(IssuanceCommand::Revoke {
        serial: old.serial,
        reason: CrlReason::Superseded,
    });
    world.restart();
    let mut again = Fleet::default();
    for entry in &world.journal {
        again.fold(entry);
    }
    assert_eq!(again, world.fleet);
    let made =
        |event: &&Event| matches!(event, Event::Issuance(IssuanceEvent::CertificateIssued(_)));
    let events = world.journal.iter().flat_map(|entry| &entry.events);
    assert_eq!(events.filter(made).count(), 2);
}
