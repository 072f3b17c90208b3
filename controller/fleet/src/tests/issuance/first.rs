//! Devices that ask with a challenge.

use super::*;

#[test]
fn a_challenge_brings_a_certificate() {
    let mut world = World::with_ca();
    let host = world.host();
    let id = world.challenges("s", |c| c.client = Some(host.number));
    let asked = asks("k", "s");
    let permit = world.permit(&asked);
    assert_eq!(permit.challenge, Some(id));
    assert_eq!(permit.client, Some(host.number));
    assert_eq!(permit.sans, asked.sans);
    assert_eq!(permit.profile, Profile::default());
    let issued = world.enrols(&asked);
    let known = world.ca().certificate(&issued.serial).expect("known");
    assert_eq!(known.issued, issued);
    assert_eq!(known.issued_at, world.now);
    assert_eq!(world.ca().of_client(host.number).count(), 1);
    assert_eq!(world.ca().issued(), 1);
    assert_eq!(world.ca().challenge(id).expect("known").used, 1);
}

#[test]
fn every_challenge_that_does_not_admit_is_refused_alike() {
    let mut world = World::with_ca();
    let later = world.now + MINUTE;
    world.challenges("revoked", |_| ());
    let revoked = world.challenge("revoked", |_| ()).id;
    world.ca_does(IssuanceCommand::RevokeChallenge(revoked));
    world.challenges("not yet", |c| c.not_before = later);
    world.challenges("no longer", |c| c.expires_at = Some(later));
    world.challenges("used up", |_| ());
    world.enrols(&asks("k0", "used up"));
    let refused = Err(IssuanceRefusal::Challenge);
    for secret in ["unknown", "revoked", "not yet", "used up"] {
        assert_eq!(world.judge(&asks("k", secret)), refused, "{secret}");
    }
    world.permit(&asks("k", "no longer"));
    world.pass(MINUTE);
    assert_eq!(world.judge(&asks("k", "no longer")), refused);
    world.permit(&asks("k", "not yet"));
    // Whether it needs one at all is no secret.
    let without = Asked {
        kind: Kind::First(None),
        ..asks("k", "")
    };
    assert_eq!(world.judge(&without), Err(IssuanceRefusal::NoChallenge));
}

#[test]
fn a_challenge_is_used_once_although_two_requests_were_permitted() {
    let mut world = World::with_ca();
    let id = world.challenges("s", |_| ());
    let [one, other] = [asks("k1", "s"), asks("k2", "s")];
    let [first, second] = [&one, &other].map(|asked| (asked.clone(), world.permit(asked)));
    let first = world.sign(&first.0, first.1);
    let second = world.sign(&second.0, second.1);
    assert_eq!(world.record(Order::Issue(first)).expect("one").len(), 1);
    assert_eq!(
        world.record(Order::Issue(second)),
        Err(IssuanceRefusal::Challenge)
    );
    assert_eq!(world.ca().challenge(id).expect("known").used, 1);
    assert_eq!(world.ca().issued(), 1);
}

#[test]
fn a_device_uses_its_challenge_again_until_its_window_ends() {
    let mut world = World::with_ca();
    let end = world.now + DAY;
    let id = world.challenges("s", |c| {
        c.uses = None;
        c.expires_at = Some(end);
    });
    for key in ["k1", "k2", "k3"] {
        world.enrols(&asks(key, "s"));
        world.pass(HOUR * 7);
    }
    let last = asks("k4", "s");
    let permit = world.permit(&last);
    let late = world.sign(&last, permit);
    world.pass(HOUR * 3);
    assert_eq!(world.judge(&last), Err(IssuanceRefusal::Challenge));
    assert_eq!(
        world.record(Order::Issue(late)),
        Err(IssuanceRefusal::Challenge),
        "its window ended while it was signed"
    );
    assert_eq!(world.ca().challenge(id).expect("known").used, 3);
}

#[test]
fn a_bound_challenge_is_for_its_names_alone() {
    let mut world = World::with_ca();
    world.challenges("s", |c| {
        c.binding = Some(Binding {
            common_name: "P1".to_owned(),
            sans: words(&["dns:P1.example", "ip:2001:db8:0:0::7", "uri:urn:p:1"]),
        });
    });
    let with = |common_name: &str, sans: &[&str]| Asked {
        common_names: words(&[common_name]),
        sans: words(sans),
        ..asks("k", "s")
    };
    for good in [
        &["dns:p1.EXAMPLE", "ip:2001:db8::7", "uri:urn:p:1"][..],
        &["uri:urn:p:1"],
        &[],
    ] {
        let permit = world.permit(&with("p1", good));
        assert_eq!(permit.sans, words(good), "fewer may be asked for");
    }
    for bad in [
        "dns:p2.example",
        "dns:p1.example.org",
        "ip:2001:db8::8",
        "uri:urn:P:1",
        "email:p1@example",
    ] {
        let refused = Err(IssuanceRefusal::Binding(bad.to_owned()));
        assert_eq!(world.judge(&with("p1", &["uri:urn:p:1", bad])), refused);
    }
    for bad in ["p2", "p1 ", ""] {
        let refused = Err(IssuanceRefusal::Binding(format!("CN={bad}")));
        assert_eq!(world.judge(&with(bad, &[])), refused);
    }
    for several in [&[][..], &["p1", "p2"], &["p2", "p1"], &["p1", ""]] {
        let refused = Err(IssuanceRefusal::Binding(format!(
            "CN={}",
            several.join(",CN=")
        )));
        let asked = Asked {
            common_names: words(several),
            ..with("p1", &[])
        };
        assert_eq!(world.judge(&asked), refused);
    }
}

#[test]
fn a_profile_says_which_names_are_taken() {
    let mut world = World::with_ca();
    let profile = Profile {
        name: "printers".to_owned(),
        san_kinds: vec![SanKind::Dns],
        sans: words(&["dns:print.example", "uri:urn:fleet"]),
        ..Profile::default()
    };
    world.ca_does(IssuanceCommand::SetProfile(profile.clone()));
    world.challenges("s", |c| c.profile = "printers".to_owned());
    let asked = Asked {
        sans: words(&[
            "dns:P1.example",
            "ip:10.0.0.1",
            "dns:p1.example",
            "dns:PRINT.example",
            "dns:no name",
            "email:p1@example",
        ]),
        ..asks("k", "s")
    };
    let permit = world.permit(&asked);
    assert_eq!(permit.profile, profile);
    assert_eq!(
        permit.sans,
        words(&["dns:P1.example", "dns:PRINT.example", "uri:urn:fleet"])
    );
    // What was issued stays as it is when the profile changes.
    let issued = world.enrols(&asked);
    world.ca_does(IssuanceCommand::SetProfile(Profile {
        sans: vec![],
        ..profile
    }));
    let known = world.ca().certificate(&issued.serial).expect("known");
    assert_eq!(known.issued.sans, permit.sans);
}

#[test]
fn the_same_request_again_has_the_same_answer() {
    let mut world = World::with_ca();
    world.challenges("s", |_| ());
    let asked = asks("k", "s");
    let permit = world.permit(&asked);
    let twin = world.sign(&asked, permit);
    let issued = world.enrols(&asked);
    // Its challenge is used up, and so it would be refused if it were another.
    let again = Judgement::Again(Box::new(issued));
    assert_eq!(world.judge(&asked), Ok(again));
    assert_eq!(world.record(Order::Issue(twin)), Ok(vec![]));
    assert_eq!(world.ca().issued(), 1);
}

#[test]
fn a_transaction_belongs_to_its_key() {
    let mut world = World::with_ca();
    world.challenges("s", |c| c.uses = None);
    let issued = world.enrols(&asks("k", "s"));
    let other = Asked {
        transaction: "T-k".to_owned(),
        ..asks("other", "s")
    };
    let reused = IssuanceRefusal::TransactionReused;
    assert_eq!(world.judge(&other), Err(reused.clone()));
    let forged = Issued {
        serial: vec![1, 1],
        spki: other.spki,
        ..issued.clone()
    };
    assert_eq!(world.record(Order::Issue(forged)), Err(reused.clone()));
}

#[test]
fn a_compromised_key_is_certified_no_more() {
    // Given certificates of two keys, one revoked because it is not needed any more, and one as compromised,
    let mut world = World::with_ca();
    world.challenges("s", |c| c.uses = None);
    for (key, reason) in [
        ("old", CrlReason::CessationOfOperation),
        ("stolen", CrlReason::KeyCompromise),
    ] {
        let serial = world.enrols(&asks(key, "s")).serial;
        world.ca_does(IssuanceCommand::Revoke { serial, reason });
    }

    // then the one may have another certificate, and the other not, under whatever transaction.
    assert!(matches!(
        world.judge(&asks("old", "s")),
        Ok(Judgement::Issue(_))
    ));
    let elsewhere = Asked {
        transaction: "T-new".to_owned(),
        ..asks("stolen", "s")
    };
    for asked in [asks("stolen", "s"), elsewhere] {
        assert_eq!(world.judge(&asked), Err(IssuanceRefusal::CompromisedKey));
    }
}

#[test]
fn a_device_that_keeps_its_key_gets_another_name_by_a_new_challenge() {
    // Given a device whose transaction's id is its key's, with a certificate,
    let mut world = World::with_ca();
    world.challenges("one", |_| ());
    world.challenges("two", |_| ());
    let issued = world.enrols(&asks("k", "one"));

    // when it asks for another name, then neither the used challenge nor a wrong one brings anything,
    let renamed = |secret: &str| Asked {
        subject_text: "CN=p2".to_owned(),
        common_names: words(&["p2"]),
        sans: words(&["dns:p2.example"]),
        ..asks("k", secret)
    };
    for secret in ["one", "wrong"] {
        assert_eq!(
            world.judge(&renamed(secret)),
            Err(IssuanceRefusal::Challenge)
        );
    }
    assert_eq!(
        world.judge(&asks("k", "wrong")),
        Err(IssuanceRefusal::Challenge)
    );

    // and a new one a new certificate.
    let new = world.enrols(&renamed("two"));
    assert_ne!(new.serial, issued.serial);
    assert_eq!(new.sans, words(&["dns:p2.example"]));
}

#[test]
fn a_device_that_keeps_its_key_begins_anew_when_its_certificate_has_expired() {
    let mut world = World::with_ca();
    world.challenges("s", |c| {
        c.uses = None;
        c.expires_at = None;
    });
    let asked = asks("k", "s");
    let old = world.enrols(&asked);
    world.pass(DAY * 365);
    let again = Judgement::Again(Box::new(old.clone()));
    assert_eq!(world.judge(&asked), Ok(again), "the last instant counts");
    world.pass(MINUTE);
    let new = world.enrols(&asked);
    assert_ne!(new.serial, old.serial);
    assert_eq!(
        world.ca().transaction("T-k"),
        Some(&Transaction::Issued(new.serial))
    );
}

#[test]
fn a_device_that_was_decommissioned_gets_nothing() {
    let mut world = World::with_ca();
    let host = world.host();
    world.challenges("s", |c| c.client = Some(host.number));
    let asked = asks("k", "s");
    let permit = world.permit(&asked);
    let issued = world.sign(&asked, permit);
    world.does(Command::Decommission(host.number));
    let gone = IssuanceRefusal::Decommissioned;
    assert_eq!(world.judge(&asked), Err(gone.clone()));
    assert_eq!(world.record(Order::Issue(issued)), Err(gone));
}

#[test]
fn a_challenge_that_is_revoked_meanwhile_admits_no_more() {
    let mut world = World::with_ca();
    let id = world.challenges("s", |_| ());
    let asked = asks("k", "s");
    let permit = world.permit(&asked);
    let issued = world.sign(&asked, permit);
    world.ca_does(IssuanceCommand::RevokeChallenge(id));
    assert_eq!(
        world.record(Order::Issue(issued)),
        Err(IssuanceRefusal::Challenge)
    );
}

#[test]
fn a_serial_number_is_one_and_is_used_once() {
    let mut world = World::with_ca();
    world.challenges("s", |c| c.uses = None);
    let taken = world.enrols(&asks("k1", "s")).serial;
    let asked = asks("k2", "s");
    let permit = world.permit(&asked);
    let issued = world.sign(&asked, permit);
    for serial in [taken, vec![], vec![0, 1], vec![1; 21]] {
        let forged = Issued {
            serial,
            ..issued.clone()
        };
        assert_eq!(
            world.record(Order::Issue(forged)),
            Err(IssuanceRefusal::Serial)
        );
    }
    let nameless = Issued {
        challenge: None,
        ..issued.clone()
    };
    assert_eq!(
        world.record(Order::Issue(nameless)),
        Err(IssuanceRefusal::NoChallenge)
    );
    let profile = Issued {
        profile: "gone".to_owned(),
        ..issued.clone()
    };
    assert_eq!(
        world.record(Order::Issue(profile)),
        Err(IssuanceRefusal::Profile("gone".to_owned()))
    );
    assert!(world.record(Order::Issue(issued)).is_ok());
}

#[test]
fn a_bound_challenge_is_for_no_other_part_of_the_subject() {
    let mut world = World::with_ca();
    world.challenges("bound", |c| {
        c.binding = Some(Binding {
            common_name: "p1".to_owned(),
            sans: words(&["dns:p1.example", "ip:10.0.0.1"]),
        });
    });
    world.challenges("names", |c| {
        c.binding = Some(Binding {
            common_name: String::new(),
            sans: words(&["dns:p1.example", "ip:10.0.0.1"]),
        });
    });
    world.challenges("free", |_| ());
    let more = |secret: &str| Asked {
        subject_text: "CN=p1,OU=Domain Admins".to_owned(),
        has_other_parts: true,
        ..asks("k", secret)
    };
    assert!(world.judge(&asks("k", "bound")).is_ok());
    assert!(world.judge(&more("free")).is_ok());
    assert!(matches!(
        world.judge(&more("bound")),
        Err(IssuanceRefusal::Binding(_))
    ));
    // One that is for alternative names alone is for no other common name, not even one that is no text.
    for (name, admitted) in [("P1.example", true), ("", false), ("p1", false)] {
        let named = Asked {
            common_names: words(&[name]),
            ..asks("k", "names")
        };
        assert_eq!(world.judge(&named).is_ok(), admitted, "{name}");
    }
    let endless = Asked {
        subject: vec![0; 3000],
        ..asks("k", "free")
    };
    assert_eq!(world.judge(&endless), Err(IssuanceRefusal::Subject));
}
