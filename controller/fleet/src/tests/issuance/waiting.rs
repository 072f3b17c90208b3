//! Requests that wait for an operator.

use super::*;

impl World {
    fn with_operator() -> Self {
        let mut world = Self::with_ca();
        world.ca_does(IssuanceCommand::SetApproval(Approval::Manual));
        world.challenges("s", |_| ());
        world
    }

    fn waiting_permit(&self, asked: &Asked) -> Permit {
        match self.judge(asked) {
            Ok(Judgement::Wait(permit)) => permit,
            other => panic!("{asked:?}: {other:?}"),
        }
    }

    /// A request that waits.
    fn waits(&mut self, key: &str, secret: &str) -> Waiting {
        let asked = asks(key, secret);
        let permit = self.waiting_permit(&asked);
        let waiting = waiting(&asked, key, permit);
        let events = self.record(Order::Wait(waiting.clone())).expect("recorded");
        assert_eq!(events.len(), 1);
        waiting
    }

    /// The certificate for what waits.
    fn signed(&mut self, waiting: &Waiting) -> Issued {
        let asked = Asked {
            transaction: waiting.transaction.clone(),
            spki: Digest::of(&waiting.spki_der),
            ..asks("", "")
        };
        let permit = Permit {
            profile: self.ca().profile(&waiting.profile).expect("a profile"),
            sans: waiting.sans.clone(),
            challenge: Some(waiting.challenge),
            renews: None,
            client: waiting.client,
        };
        self.sign(&asked, permit)
    }

    fn deny(transaction: &str) -> IssuanceCommand {
        IssuanceCommand::Deny {
            transaction: transaction.to_owned(),
            reason: "not ours".to_owned(),
        }
    }
}

fn waiting(asked: &Asked, key: &str, permit: Permit) -> Waiting {
    Waiting {
        transaction: asked.transaction.clone(),
        subject_der: asked.subject.clone(),
        subject: asked.subject_text.clone(),
        spki_der: key.as_bytes().to_vec(),
        sans: permit.sans,
        challenge: permit.challenge.expect("a first request"),
        profile: permit.profile.name,
        client: permit.client,
    }
}

#[test]
fn a_request_waits_and_is_approved() {
    let mut world = World::with_operator();
    let waiting = world.waits("k", "s");
    assert_eq!(world.ca().waiting(), 1);
    assert_eq!(
        world.ca().transaction("T-k"),
        Some(&Transaction::Waiting(Box::new(waiting.clone()), world.now))
    );
    // It polls, and asks again as well.
    assert_eq!(world.judge(&asks("k", "s")), Ok(Judgement::StillWaiting));
    assert_eq!(world.record(Order::Wait(waiting.clone())), Ok(vec![]));
    world.pass(HOUR * 9);
    let issued = world.signed(&waiting);
    world.ca_does(IssuanceCommand::Approve(issued.clone()));
    assert_eq!(world.ca().waiting(), 0);
    assert_eq!(
        world.judge(&asks("k", "s")),
        Ok(Judgement::Again(Box::new(issued.clone())))
    );
    assert_eq!(world.ca_does(IssuanceCommand::Approve(issued)), []);
    assert_eq!(world.ca().issued(), 1);
    let challenge = world.ca().challenge(waiting.challenge).expect("known");
    assert_eq!(challenge.used, 1, "once, when it came");
}

#[test]
fn a_request_that_waits_has_used_its_challenge_up() {
    let mut world = World::with_operator();
    let twin = world.waiting_permit(&asks("k2", "s"));
    world.waits("k", "s");
    assert_eq!(
        world.judge(&asks("k2", "s")),
        Err(IssuanceRefusal::Challenge)
    );
    let twin = waiting(&asks("k2", "s"), "k2", twin);
    assert_eq!(
        world.record(Order::Wait(twin)),
        Err(IssuanceRefusal::Challenge)
    );
    assert_eq!(world.ca().waiting(), 1);
}

#[test]
fn a_denied_request_stays_denied() {
    let mut world = World::with_operator();
    let waiting = world.waits("k", "s");
    let issued = world.signed(&waiting);
    world.ca_does(World::deny("T-k"));
    assert_eq!(world.ca().waiting(), 0);
    let denied = IssuanceRefusal::Denied("not ours".to_owned());
    assert_eq!(world.judge(&asks("k", "s")), Err(denied.clone()));
    assert_eq!(world.record(Order::Wait(waiting)), Err(denied.clone()));
    assert_eq!(world.record(Order::Issue(issued.clone())), Err(denied));
    assert_eq!(world.ca_does(World::deny("T-k")), []);
    assert_eq!(
        world.ca_refuses(IssuanceCommand::Approve(issued)),
        Refusal::NoSuchScepRequest("T-k".to_owned())
    );
    let listed: Vec<_> = world.ca().transactions().map(|(id, _)| id).collect();
    assert_eq!(listed, ["T-k"]);
}

#[test]
fn only_what_waits_is_approved_or_denied() {
    let mut world = World::with_operator();
    let waiting = world.waits("k", "s");
    let issued = world.signed(&waiting);
    let no_such = |id: &str| Refusal::NoSuchScepRequest(id.to_owned());
    assert_eq!(world.ca_refuses(World::deny("T-x")), no_such("T-x"));
    let unknown = Issued {
        transaction: "T-x".to_owned(),
        ..issued.clone()
    };
    assert_eq!(
        world.ca_refuses(IssuanceCommand::Approve(unknown)),
        no_such("T-x")
    );
    let other_key = Issued {
        spki: Digest::of(b"other"),
        ..issued.clone()
    };
    assert_eq!(
        world.ca_refuses(IssuanceCommand::Approve(other_key.clone())),
        no_such("T-k")
    );
    let bad_serial = Issued {
        serial: vec![],
        ..issued.clone()
    };
    assert!(matches!(
        world.ca_refuses(IssuanceCommand::Approve(bad_serial)),
        Refusal::BadSetting(_)
    ));
    world.ca_does(IssuanceCommand::Approve(issued));
    assert_eq!(world.ca_refuses(World::deny("T-k")), no_such("T-k"));
    assert_eq!(
        world.ca_refuses(IssuanceCommand::Approve(other_key)),
        no_such("T-k")
    );
}

#[test]
fn another_key_does_not_take_over_what_waits() {
    let mut world = World::with_operator();
    let waiting = world.waits("k", "s");
    let other = Asked {
        transaction: "T-k".to_owned(),
        ..asks("other", "s")
    };
    let reused = IssuanceRefusal::TransactionReused;
    assert_eq!(world.judge(&other), Err(reused.clone()));
    let forged = Waiting {
        spki_der: b"other".to_vec(),
        ..waiting
    };
    assert_eq!(world.record(Order::Wait(forged)), Err(reused));
}

#[test]
fn a_device_that_is_decommissioned_while_it_waits_gets_nothing() {
    let mut world = World::with_operator();
    let host = world.host();
    world.challenges("its own", |c| c.client = Some(host.number));
    let waiting = world.waits("k", "its own");
    world.does(Command::Decommission(host.number));
    let issued = world.signed(&waiting);
    assert_eq!(
        world.ca_refuses(IssuanceCommand::Approve(issued)),
        Refusal::ClientDecommissioned
    );
}

#[test]
fn a_renewal_waits_for_nobody() {
    let mut world = World::with_operator();
    let waiting = world.waits("k", "s");
    let old = world.signed(&waiting);
    world.ca_does(IssuanceCommand::Approve(old.clone()));
    world.enrols(&Asked {
        kind: Kind::Renewal(old.serial),
        ..asks("k2", "")
    });
}

#[test]
fn a_device_that_comes_back_after_expiry_is_listed_once() {
    let mut world = World::with_operator();
    world.challenges("for ever", |c| {
        c.uses = None;
        c.expires_at = None;
    });
    for _ in 0..3 {
        let waiting = world.waits("k", "for ever");
        assert_eq!(world.ca().waiting(), 1);
        let issued = world.signed(&waiting);
        world.ca_does(IssuanceCommand::Approve(issued));
        assert_eq!(world.ca().waiting(), 0);
        assert_eq!(world.ca().transactions().count(), 1);
        world.pass(DAY * 366);
    }
    assert_eq!(world.ca().issued(), 3);
}
