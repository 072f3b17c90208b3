//! Old copies of the journal: what shows that it is one, and how its fleet goes on. Signatures are words here.

use convoy_shared::{id::Epoch, trust::Position};

use super::*;
use crate::{
    issuance::{Challenge, ChallengeId, CrlReason, IssuanceCommand},
    recovery::{Ahead, JUMP, KeptRevocation, Mark, Readmitted, Recover, RecoveryEvent},
};

impl World {
    /// A client has shown a document that is so many revisions beyond the journal.
    fn ahead(&self, client: ClientNumber, by: u64) -> Ahead {
        let own = self.fleet.position();
        Ahead {
            client,
            position: Position {
                revision: Revision(own.revision.0 + by),
                ..own
            },
            anchors: vec![],
            roots: vec![],
        }
    }

    /// The next root of the chain, as a client would show it.
    fn next_root(&self) -> SignedRoot {
        let mut next = self.fleet.founded().expect("a fleet").roots.clone();
        let mut next = next.pop().expect("a root");
        next.root.version = next.root.version.next();
        next.envelope = fake_envelope(&format!("root {}", next.root.version));
        next
    }

    fn recover(&self, change: impl FnOnce(&mut Recover)) -> Command {
        let mut recover = Recover {
            clients: self.fleet.roster().len(),
            take_over: false,
            readmit: vec![],
            marks: vec![],
        };
        change(&mut recover);
        Command::FastForward(Box::new(recover))
    }
}

fn stranger(name: &str) -> Readmitted {
    Readmitted {
        id: ClientId::new(Uuid::from_bytes([7; 16])),
        number: 0,
        name: name.to_owned(),
        group: group("lab"),
        key: Digest::of(name.as_bytes()),
        agent_version: "1".to_owned(),
        identity_expires_at: Timestamp::UNIX_EPOCH,
    }
}

#[test]
fn only_what_is_beyond_the_journal_shuts_the_gates() {
    let (mut world, _) = World::at(Phase::Preparing, Strategy::Overlap, 2);
    assert_eq!(world.does(Command::NoteAhead(world.ahead(0, 0))), []);
    assert!(world.fleet.recovery().older().is_none());
    world.does(Command::NoteAhead(world.ahead(0, 3)));
    assert!(world.fleet.recovery().older().is_some());
    // Nothing is news but what is further ahead.
    assert_eq!(world.does(Command::NoteAhead(world.ahead(1, 3))), []);
    assert_ne!(world.does(Command::NoteAhead(world.ahead(1, 4))), []);
    // Whatever the clients show, no phase begins, and nothing is published.
    let revision = world.fleet.revision();
    assert!(crate::rotation::next_phase(&world.fleet, world.rotation(), world.now).is_none());
    assert_eq!(world.refuses(Command::Abort(None)), Refusal::JournalOlder);
    assert_eq!(
        world.refuses(Command::CreateGroup(group("lab"))),
        Refusal::JournalOlder
    );
    world.pass(DAY * 1000);
    world.settle();
    assert_eq!(
        (world.phase(), world.fleet.revision()),
        (Phase::Preparing, revision)
    );
}

#[test]
fn numbers_go_on_beyond_what_was_seen_and_within_what_clients_accept() {
    let (mut world, _) = World::at(Phase::Swapping, Strategy::Overlap, 3);
    world.does(Command::NoteAhead(world.ahead(1, 5)));
    let seen = world.fleet.revision().0 + 5;
    world.does(world.recover(|_| {}));
    // The rotation of the copy is over, and what it served still is.
    assert_eq!((world.phase(), world.serving()), (Phase::Aborted, 2));
    assert_eq!(world.fleet.epoch(), Epoch(2));
    assert_eq!(world.fleet.revision(), Revision(seen + JUMP + 1));
    assert!(seen + JUMP < convoy_shared::trust::MAX_REVISION_JUMP);
    let generation = world.import("later");
    assert_eq!(generation, Generation(2 + JUMP + 1));
    let kept = world.fleet.certificate(generation).expect("imported");
    assert_eq!(kept.anchor.0, 2 + JUMP + 1);
    assert!(u64::from(world.fleet.next_client()) > JUMP);
    // Again, when somebody further ahead comes.
    world.does(Command::NoteAhead(world.ahead(0, 1)));
    world.does(world.recover(|_| {}));
    assert_eq!(world.fleet.epoch(), Epoch(3));
    assert!(world.fleet.revision() > Revision(seen + 2 * JUMP));
    world.restart();
}

#[test]
fn roots_are_taken_from_clients_and_never_made_twice() {
    let mut world = World::new();
    world.hosts(1);
    let root = world.next_root();
    let mut ahead = world.ahead(0, 1);
    ahead.position.root_version = root.root.version;
    ahead.roots = vec![root.clone()];
    world.does(Command::NoteAhead(ahead));
    // While that is not settled, no other root of that version is made.
    assert_eq!(
        world.refuses(Command::RenewRoot(root.clone())),
        Refusal::JournalOlder
    );
    world.does(world.recover(|_| {}));
    let roots = &world.fleet.founded().expect("a fleet").roots;
    assert_eq!(roots.last(), Some(&root));
    assert_eq!(roots.len(), 2);
    assert_eq!(world.fleet.position().root_version, root.root.version);
}

#[test]
fn what_may_have_been_spent_is_void() {
    let mut world = World::new();
    let token = world.token(5, DAY);
    let secret = Digest::of(b"secret");
    let id = ChallengeId([1; 8]);
    world.does(Command::Issuance(IssuanceCommand::CreateChallenge(
        Challenge {
            id,
            digest: secret,
            uses: None,
            binding: None,
            not_before: world.now,
            expires_at: None,
            profile: "default".to_owned(),
            client: None,
            group: None,
            is_static: true,
        },
    )));
    let crl = world.fleet.issuance().crl_number();
    world.does(world.recover(|_| {}));
    assert!(world.fleet.token(token).expect("known").revoked);
    assert!(world.fleet.issuance().challenge(id).expect("known").revoked);
    assert!(world.fleet.issuance().crl_number() > crl);
}

#[test]
fn only_those_that_are_named_are_readmitted() {
    let mut world = World::new();
    world.hosts(2);
    let one = stranger("one");
    let admit = |world: &World, clients: u64| {
        let one = one.clone();
        world.recover(|recover| {
            recover.clients = clients;
            recover.readmit = vec![one.clone(), one];
        })
    };
    assert_eq!(
        world.refuses(admit(&world, 2)),
        Refusal::ConfirmClients {
            given: 2,
            clients: 3
        }
    );
    world.does(admit(&world, 3));
    let number = world.fleet.client_by_id(one.id).expect("a client");
    assert!(world.fleet.roster().contains(number));
    assert!(u64::from(number) > JUMP);
    let client = world.fleet.client(number).expect("a client");
    assert_eq!((client.key, &client.group), (one.key, &one.group));
    assert!(world.fleet.group(&one.group).is_some(), "its group is made");
    // Who is there already stays one client.
    world.does(admit(&world, 3));
    // Who was removed stays so.
    world.does(Command::Decommission(number));
    assert_eq!(
        world.refuses(admit(&world, 3)),
        Refusal::ClientDecommissioned
    );
    world.restart();
}

#[test]
fn marks_of_what_came_later_are_taken() {
    let mut world = World::new();
    let hosts = world.hosts(2);
    world.import("spare");
    let gone = world.client(&hosts[0]).id;
    let served = world.fleet.certificate(Generation(1)).expect("served");
    let retired = served.certificate.fingerprint;
    let kept = KeptRevocation {
        serial: vec![1, 2, 3],
        authority: 1,
        spki: Digest::of(b"lost key"),
        not_after: world.now + DAY,
        at: world.now,
        reason: CrlReason::KeyCompromise,
    };
    world.does(world.recover(|recover| {
        recover.clients = 1;
        recover.marks = vec![
            Mark::Decommissioned(gone),
            Mark::Retired(retired),
            Mark::Revoked(kept.clone()),
            Mark::Revoked(kept.clone()),
        ];
    }));
    assert_eq!(world.fleet.roster().len(), 1);
    // What was served is retired, so that another one is.
    assert_eq!(world.serving(), 2);
    assert!(
        world
            .fleet
            .certificate(Generation(1))
            .expect("kept")
            .retired
    );
    let ca = world.fleet.issuance();
    assert!(ca.is_compromised(&kept.spki));
    let revoked: Vec<_> = ca.revocations_of(1, world.now).collect();
    assert_eq!(
        revoked,
        [(&[1, 2, 3][..], kept.at, CrlReason::KeyCompromise)]
    );
    assert_eq!(ca.revocations_of(1, world.now + DAY * 2).count(), 0);
    world.restart();
}

#[test]
fn another_copy_that_has_gone_on_ends_this_one() {
    let mut world = World::new();
    world.hosts(1);
    let mut ahead = world.ahead(0, 1);
    ahead.position.epoch = Epoch(2);
    world.does(Command::NoteAhead(ahead));
    let superseded = Refusal::Superseded {
        own: Epoch(1),
        epoch: Epoch(2),
    };
    assert_eq!(
        world.refuses(Command::CreateGroup(group("lab"))),
        superseded
    );
    assert_eq!(world.refuses(world.recover(|_| {})), superseded);
    world.does(world.recover(|recover| recover.take_over = true));
    assert_eq!(world.fleet.epoch(), Epoch(3));
    assert_eq!(world.fleet.superseded_by(), None);
}

#[test]
fn certificates_beside_the_journal_keep_their_numbers() {
    let (mut newer, _) = World::at(Phase::Completed, Strategy::Overlap, 1);
    newer.import("third");
    let mut older = World::new();
    let adopt = |generation| {
        let kept = newer
            .fleet
            .certificate(Generation(generation))
            .expect("kept");
        Command::AdoptCertificate(crate::event::Imported {
            generation: Generation(generation),
            anchor: kept.anchor,
            certificate: kept.certificate.clone(),
        })
    };
    let events = older.does(adopt(3));
    assert!(events.contains(&Event::Recovery(RecoveryEvent::PutBack)));
    assert!(older.fleet.recovery().older().is_some());
    let adopted = older.fleet.certificate(Generation(3)).expect("adopted");
    assert_eq!(adopted.anchor, AnchorNumber(3));
    assert_eq!(older.does(adopt(3)), [], "again");
    let choice = older.fleet.certificate_for(Some(&[AnchorNumber(3)]));
    assert_eq!(choice.map(|choice| choice.generation), Some(Generation(3)));
}
