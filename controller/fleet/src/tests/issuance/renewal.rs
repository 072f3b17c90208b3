//! Devices that renew their certificates.

use super::*;

fn renews(key: &str, old: &Issued) -> Asked {
    Asked {
        kind: Kind::Renewal(old.serial.clone()),
        ..asks(key, "")
    }
}

fn holder() -> (World, Host, Issued) {
    let mut world = World::with_ca();
    let host = world.host();
    world.challenges("s", |c| c.client = Some(host.number));
    let issued = world.enrols(&asks("k", "s"));
    (world, host, issued)
}

#[test]
fn a_certificate_renews_itself() {
    let (mut world, host, old) = holder();
    let new = world.enrols(&renews("k2", &old));
    assert_eq!(new.renews, Some(old.serial.clone()));
    assert_eq!(new.challenge, None);
    assert_eq!(new.client, Some(host.number));
    assert_eq!(new.sans, old.sans);
    assert_eq!(world.ca().of_client(host.number).count(), 2);
    // The answer is lost, and asked for again with the old certificate.
    assert_eq!(
        world.judge(&renews("k2", &old)),
        Ok(Judgement::Again(Box::new(new)))
    );
}

#[test]
fn a_device_may_keep_its_key_and_so_its_transaction() {
    let (mut world, _, old) = holder();
    let mut newest = old;
    for _ in 0..3 {
        world.pass(DAY);
        let asked = renews("k", &newest);
        let permit = world.permit(&asked);
        let twin = world.sign(&asked, permit);
        let new = world.enrols(&asked);
        assert_ne!(new.serial, newest.serial);
        let again = Judgement::Again(Box::new(new.clone()));
        assert_eq!(world.judge(&asked), Ok(again));
        assert_eq!(world.record(Order::Issue(twin)), Ok(vec![]));
        newest = new;
    }
    assert_eq!(world.ca().issued(), 4);
    // Another key under the same id is somebody else.
    let other = Asked {
        spki: Digest::of(b"other"),
        ..renews("k", &newest)
    };
    assert_eq!(world.judge(&other), Err(IssuanceRefusal::TransactionReused));
}

#[test]
fn what_is_revoked_or_unknown_renews_nothing() {
    let (mut world, _, old) = holder();
    let asked = renews("k2", &old);
    let permit = world.permit(&asked);
    let late = world.sign(&asked, permit);
    let unknown = Issued {
        serial: vec![9],
        ..old.clone()
    };
    let revoked = IssuanceRefusal::Revoked;
    assert_eq!(world.judge(&renews("k2", &unknown)), Err(revoked.clone()));
    world.ca_does(IssuanceCommand::Revoke {
        serial: old.serial.clone(),
        reason: CrlReason::Superseded,
    });
    assert_eq!(world.judge(&asked), Err(revoked.clone()));
    assert_eq!(world.judge(&renews("k", &old)), Err(revoked.clone()));
    assert_eq!(
        world.record(Order::Issue(late)),
        Err(revoked),
        "revoked while it was signed"
    );
}

#[test]
fn a_device_that_was_decommissioned_renews_nothing() {
    let (mut world, host, old) = holder();
    let asked = renews("k2", &old);
    let permit = world.permit(&asked);
    let late = world.sign(&asked, permit);
    world.does(Command::Decommission(host.number));
    let gone = IssuanceRefusal::Decommissioned;
    assert_eq!(world.judge(&asked), Err(gone.clone()));
    assert_eq!(world.record(Order::Issue(late)), Err(gone));
}

#[test]
fn a_renewal_gains_no_name() {
    let (world, _, old) = holder();
    let with = |sans: &[&str]| Asked {
        sans: words(sans),
        ..renews("k2", &old)
    };
    assert_eq!(
        world.permit(&with(&["dns:P1.EXAMPLE"])).sans,
        words(&["dns:P1.EXAMPLE"]),
        "fewer may be asked for"
    );
    for more in ["dns:p2.example", "ip:10.0.0.2", "uri:urn:p:1"] {
        assert_eq!(
            world.judge(&with(&["dns:p1.example", more])),
            Err(IssuanceRefusal::Binding(more.to_owned()))
        );
    }
}

#[test]
fn a_device_asks_each_time_for_names_that_its_profile_leaves_out() {
    let mut world = World::with_ca();
    let narrow = Profile {
        name: "narrow".to_owned(),
        san_kinds: vec![SanKind::Dns],
        ..Profile::default()
    };
    world.ca_does(IssuanceCommand::SetProfile(narrow.clone()));
    world.challenges("s", |c| c.profile = "narrow".to_owned());
    let old = world.enrols(&asks("k", "s"));
    assert_eq!(old.sans, words(&["dns:p1.example"]));
    let new = world.enrols(&renews("k2", &old));
    assert_eq!(new.sans, old.sans);
    // Nor does it gain them when the profile takes them later: that wants a challenge.
    world.ca_does(IssuanceCommand::SetProfile(Profile {
        san_kinds: vec![SanKind::Dns, SanKind::Ip],
        ..narrow
    }));
    assert_eq!(
        world.judge(&renews("k3", &new)),
        Err(IssuanceRefusal::Binding("ip:10.0.0.1".to_owned()))
    );
}

#[test]
fn a_renewal_follows_the_profile_as_it_is_now() {
    let (mut world, _, old) = holder();
    let short = Profile {
        lifetime: DAY,
        ..Profile::default()
    };
    world.ca_does(IssuanceCommand::SetProfile(short.clone()));
    assert_eq!(world.permit(&renews("k2", &old)).profile, short);
    let known = world.ca().certificate(&old.serial).expect("known");
    assert_eq!(known.issued.not_after, old.not_after);
}

#[test]
fn a_profile_that_is_not_there_is_not_replaced_by_another() {
    let (mut world, _, old) = holder();
    // Nothing deletes profiles; a journal that was tampered with might lack one.
    let odd = Issued {
        serial: vec![9, 9],
        transaction: "odd".to_owned(),
        profile: "gone".to_owned(),
        ..old
    };
    world.append(
        vec![Event::Issuance(
            crate::issuance::IssuanceEvent::CertificateIssued(odd.clone()),
        )],
        Actor::Stranger,
        None,
    );
    assert_eq!(
        world.judge(&renews("k2", &odd)),
        Err(IssuanceRefusal::Profile("gone".to_owned()))
    );
}

#[test]
fn a_certificate_of_the_former_ca_is_renewed_by_the_present_one() {
    let (mut world, _, old) = holder();
    let make = world.make_ca(false);
    world.ca_does(make);
    world.ca_does(IssuanceCommand::ActivateAuthority);
    let new = world.enrols(&renews("k2", &old));
    assert_eq!((old.authority, new.authority), (1, 2));
}

#[test]
fn what_a_certificate_was_renewed_into_is_known_while_it_is_valid() {
    let (mut world, _, old) = holder();
    let next = world.enrols(&renews("k2", &old));
    let last = world.enrols(&renews("k3", &next));
    let other = world.enrols(&renews("k4", &old));
    let serials = |world: &World, of: &Issued| {
        let renewals = world.ca().renewals(&of.serial, world.now);
        let serials = renewals.iter().map(|known| known.issued.serial.clone());
        serials.collect::<Vec<_>>()
    };
    assert_eq!(
        serials(&world, &old),
        [&next, &last, &other].map(|issued| issued.serial.clone())
    );
    assert_eq!(serials(&world, &next), std::slice::from_ref(&last.serial));
    assert!(serials(&world, &last).is_empty());
    // One that was revoked is passed over, and what it was renewed into is not.
    world.ca_does(IssuanceCommand::Revoke {
        serial: next.serial.clone(),
        reason: CrlReason::Superseded,
    });
    assert_eq!(
        serials(&world, &old),
        [last.serial.clone(), other.serial.clone()]
    );
    world.now = last.not_after + DAY;
    assert!(serials(&world, &old).is_empty());
}
