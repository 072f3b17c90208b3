//! What has expired and what is about to, as time passes. Nobody is told here.

use roaring::RoaringBitmap;

use super::*;
use crate::expiry::{Expiry, Identities, Subject, expiry, lives};

/// What is not fresh, at the world's time.
fn said(world: &World) -> Vec<(Subject, Expiry)> {
    lives(&world.fleet)
        .into_iter()
        .map(|life| (life.subject, expiry(life.from, life.until, world.now)))
        .filter(|(_, expiry)| *expiry != Expiry::Fresh)
        .collect()
}

#[test]
fn less_than_a_third_is_soon_and_the_end_is_the_end() {
    let from = Timestamp::UNIX_EPOCH;
    let until = from + DAY * 30;
    let second = SignedDuration::from_secs(1);
    for (at, expected) in [
        (from - DAY, Expiry::Fresh),
        (from, Expiry::Fresh),
        (until - DAY * 10, Expiry::Fresh),
        (until - DAY * 10 + second, Expiry::Soon),
        (until - second, Expiry::Soon),
        (until, Expiry::Expired),
    ] {
        assert_eq!(expiry(from, until, at), expected, "{at}");
    }
    // One that never was valid.
    assert_eq!(expiry(until, from, until), Expiry::Expired);
}

#[test]
fn documents_are_issued_again_before_they_are_called_old() {
    // Given a fleet without a rotation, then its documents stay fresh for years;
    let mut world = World::new();
    for _ in 0..60 {
        world.settle();
        assert_eq!(said(&world), []);
        world.pass(DAY * 30);
    }
    // and while a rotation runs they grow old, and that is said.
    world.settle();
    world.hosts(1);
    world.start(Strategy::Overlap);
    world.settle();
    let trust = Subject::Trust(GroupName::default_group());
    world.pass(DAY * 250);
    assert_eq!(said(&world), [(trust.clone(), Expiry::Soon)]);
    world.pass(DAY * 120);
    world.settle();
    assert_eq!(said(&world), [(trust, Expiry::Expired)]);
    world.does(Command::Abort(None));
    assert_eq!(said(&world), []);
}

#[test]
fn a_retired_certificate_is_not_spoken_of() {
    let (mut world, mut hosts) = World::at(Phase::Completed, Strategy::Overlap, 1);
    let brief = Certificate {
        not_after: world.now + DAY,
        ..world.certificate("brief")
    };
    world.does(Command::ImportCertificate(brief));
    world.pass(HOUR * 23);
    let of = |generation, expiry| [(Subject::Certificate(Generation(generation)), expiry)];
    assert_eq!(said(&world), of(3, Expiry::Soon));
    world.pass(HOUR);
    assert_eq!(said(&world), of(3, Expiry::Expired));
    world.does(Command::RetireCertificate {
        generation: Generation(3),
        force: false,
    });
    assert_eq!(said(&world), []);
    world.visit(&mut hosts[0]);
}

#[test]
fn who_does_not_renew_is_overdue_then_expired_and_of_the_roster_alone() {
    let mut world = World::new();
    let hosts = world.hosts(3);
    let numbers = |world: &World| {
        let found = Identities::of(&world.fleet, world.now);
        let list = |set: RoaringBitmap| set.iter().collect::<Vec<_>>();
        (list(found.overdue), list(found.expired))
    };
    // Identities of a year.
    world.pass(DAY * 243);
    assert_eq!(numbers(&world), (vec![], vec![]));
    world.does(Command::IssueIdentity {
        client: hosts[0].number,
        expires_at: world.now + DAY * 365,
    });
    world.does(Command::Decommission(hosts[1].number));
    world.pass(DAY);
    assert_eq!(numbers(&world), (vec![2], vec![]));
    world.pass(DAY * 121);
    assert_eq!(numbers(&world), (vec![], vec![2]));
}
