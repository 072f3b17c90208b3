//! Commands that are refused, each with a reason of its own, and repetitions, which are not.

use super::*;
use crate::client::ClientState;

fn start(world: &mut World, to: Generation) -> Command {
    world.start_command(Strategy::Overlap, to, RotationOptions::default())
}

#[test]
fn nothing_is_done_before_the_fleet_is_founded_nor_founded_twice() {
    let mut world = World::new();
    assert_eq!(
        decide(&Fleet::default(), world.advance(), world.now),
        Err(Refusal::NotFounded)
    );
    let founded = world.fleet.founded().expect("founded").clone();
    let again = Command::Found {
        fleet: founded.fleet,
        root: founded.roots[0].clone(),
        client_ca: vec![],
        certificate: world.certificate("other"),
        server_names: vec![],
        addresses: addresses(&["controller.example:7443"]),
    };
    assert_eq!(world.refuses(again), Refusal::AlreadyFounded);
}

#[test]
fn one_rotation_at_a_time() {
    for phase in [
        Phase::Planned,
        Phase::Preparing,
        Phase::Swapping,
        Phase::Enforcing,
    ] {
        let (mut world, _) = World::at(phase, Strategy::Overlap, 1);
        let other = world.import("other");
        let second = start(&mut world, other);
        let running = world.rotation().id;
        assert_eq!(
            world.refuses(second),
            Refusal::RotationRunning { running, phase }
        );
    }
}

#[test]
fn an_empty_roster_is_refused_unless_it_is_meant() {
    let mut world = World::new();
    let to = world.import("new");
    let command = start(&mut world, to);
    assert_eq!(world.refuses(command), Refusal::NobodyToWaitFor);
    let rotation = RotationId::new(world.uuid());
    world.does(Command::StartRotation {
        rotation,
        to,
        strategy: Strategy::Overlap,
        options: RotationOptions::default(),
        allow_empty: true,
    });
    world.settle();
    assert_eq!((world.phase(), world.serving()), (Phase::Completed, 2));
}

#[test]
fn what_is_served_is_nothing_to_rotate_to() {
    let (mut world, _) = World::at(Phase::Completed, Strategy::Overlap, 1);
    let command = start(&mut world, Generation(2));
    assert_eq!(
        world.refuses(command),
        Refusal::AlreadyServed(Generation(2))
    );
    let command = start(&mut world, Generation(9));
    assert_eq!(
        world.refuses(command),
        Refusal::NoSuchGeneration(Generation(9))
    );
}

#[test]
fn one_that_was_put_back_is_served_already() {
    let (mut world, mut hosts) = World::at(Phase::Completed, Strategy::Overlap, 1);
    let command = start(&mut world, Generation(1));
    world.does(command);
    world.drive(&mut hosts, Phase::Completed);
    assert_eq!(world.serving(), 1);
    let command = start(&mut world, Generation(1));
    assert_eq!(
        world.refuses(command),
        Refusal::AlreadyServed(Generation(1))
    );
}

#[test]
fn a_candidate_must_be_valid_now() {
    let mut world = World::new();
    world.hosts(1);
    let (not_before, not_after) = (world.now + HOUR, world.now + HOUR * 2);
    let brief = Certificate {
        not_before,
        not_after,
        ..world.certificate("brief")
    };
    world.does(Command::ImportCertificate(brief));
    let generation = Generation(2);
    let command = start(&mut world, generation);
    assert_eq!(
        world.refuses(command.clone()),
        Refusal::CertificateNotYetValid {
            generation,
            not_before
        }
    );
    world.pass(HOUR * 2);
    assert_eq!(
        world.refuses(command.clone()),
        Refusal::CertificateExpired {
            generation,
            not_after
        }
    );
    world.pass(-MINUTE);
    world.does(command);
}

#[test]
fn the_root_limits_off() {
    let mut world = World::with_root(true, DAY);
    world.hosts(1);
    let to = world.import("new");
    let toggle = |world: &mut World, off_lease| {
        let options = RotationOptions {
            off_lease,
            ..RotationOptions::default()
        };
        world.start_command(Strategy::Toggle, to, options)
    };
    let command = toggle(&mut world, DAY + MINUTE);
    assert_eq!(
        world.refuses(command),
        Refusal::LeaseTooLong {
            max_off_seconds: 86_400
        }
    );
    let command = toggle(&mut world, DAY);
    world.does(command);
}

#[test]
fn the_root_may_forbid_off() {
    let mut world = World::with_root(false, DAY * 30);
    world.hosts(1);
    let to = world.import("new");
    let command = world.start_command(Strategy::Toggle, to, RotationOptions::default());
    assert_eq!(world.refuses(command), Refusal::OffForbidden);
    let command = start(&mut world, to);
    world.does(command);
}

#[test]
fn each_way_in_which_a_token_fails_has_its_reason() {
    let mut world = World::new();
    let unknown = TokenId::new(world.uuid());
    let command = world.join(unknown, "a");
    assert_eq!(world.refuses(command), Refusal::UnknownToken(unknown));

    let token = world.token(1, HOUR);
    let command = world.join(token, "a");
    world.does(command);
    let command = world.join(token, "b");
    assert_eq!(world.refuses(command), Refusal::TokenUsedUp(1));

    let token = world.token(1, HOUR);
    let expires_at = world.now + HOUR;
    world.pass(HOUR);
    let command = world.join(token, "b");
    assert_eq!(world.refuses(command), Refusal::TokenExpired(expires_at));

    let token = world.token(1, HOUR);
    assert_eq!(world.does(Command::RevokeToken(token)).len(), 1);
    assert_eq!(world.does(Command::RevokeToken(token)), []);
    let command = world.join(token, "b");
    assert_eq!(world.refuses(command), Refusal::TokenRevoked);
    assert_eq!(
        world.refuses(Command::RevokeToken(unknown)),
        Refusal::UnknownToken(unknown)
    );
    assert_eq!(world.fleet.roster().len(), 1);
}

#[test]
fn a_token_that_cannot_be_is_not_created() {
    let mut world = World::new();
    let token = TokenId::new(world.uuid());
    let create = |group: &str, expires_at| Command::CreateToken {
        token,
        group: super::group(group),
        uses: 1,
        expires_at,
        public_key: PublicKey::from_bytes(&[2; 32]).expect("32 bytes"),
    };
    let (now, later) = (world.now, world.now + HOUR);
    assert_eq!(
        world.refuses(create("nowhere", later)),
        Refusal::NoSuchGroup(group("nowhere"))
    );
    assert_eq!(
        world.refuses(create("default", now)),
        Refusal::TokenBornExpired
    );
}

#[test]
fn the_same_key_joins_again_whatever_has_become_of_the_token() {
    let mut world = World::new();
    let token = world.token(1, HOUR);
    let command = world.join(token, "a");
    world.does(command.clone());
    // It is given a new certificate, and nothing else happens.
    let again = |events: &[Event]| matches!(events, [Event::IdentityIssued { client: 0, .. }]);
    assert!(again(&world.does(command.clone())), "used up");
    world.does(Command::RevokeToken(token));
    world.pass(HOUR * 2);
    assert!(again(&world.does(command.clone())), "revoked and expired");
    assert_eq!(world.fleet.token(token).map(|token| token.used), Some(1));
    assert_eq!(world.fleet.clients().count(), 1);
    // Who was removed stays removed.
    world.does(Command::Decommission(0));
    assert_eq!(world.refuses(command), Refusal::ClientDecommissioned);
    let other = world.token(1, HOUR);
    let command = world.join(other, "a");
    assert_eq!(world.refuses(command), Refusal::ClientDecommissioned);
}

#[test]
fn a_decommissioned_client_is_refused_everything() {
    let mut world = World::new();
    world.hosts(1);
    world.does(Command::Decommission(0));
    let expires_at = world.now + DAY;
    let issue = |client| Command::IssueIdentity { client, expires_at };
    assert_eq!(world.refuses(issue(0)), Refusal::ClientDecommissioned);
    assert_eq!(world.refuses(issue(1)), Refusal::NoSuchClient);
    assert_eq!(
        world.refuses(Command::Resolve(0)),
        Refusal::ClientDecommissioned
    );
    assert_eq!(
        world.refuses(Command::Decommission(1)),
        Refusal::NoSuchClient
    );
    let state = world.fleet.client(0).map(|client| client.state);
    assert_eq!(state, Some(ClientState::Decommissioned));
}

#[test]
fn a_certificate_in_use_is_not_retired() {
    let (mut world, mut hosts) = World::at(Phase::Preparing, Strategy::Overlap, 1);
    for generation in [Generation(1), Generation(2)] {
        assert_eq!(
            world.refuses(Command::RetireCertificate {
                generation,
                force: true
            }),
            Refusal::CertificateInUse(generation)
        );
    }
    world.drive(&mut hosts, Phase::Completed);
    world.does(Command::RetireCertificate {
        generation: Generation(1),
        force: true,
    });
    assert_eq!(
        world.does(Command::RetireCertificate {
            generation: Generation(1),
            force: true
        }),
        []
    );
    for (generation, refusal) in [
        (2, Refusal::CertificateInUse(Generation(2))),
        (9, Refusal::NoSuchGeneration(Generation(9))),
    ] {
        let retire = Command::RetireCertificate {
            generation: Generation(generation),
            force: true,
        };
        assert_eq!(world.refuses(retire), refusal);
    }
}

#[test]
fn commands_about_a_rotation_that_does_not_run() {
    let mut world = World::new();
    let unknown = RotationId::new(world.uuid());
    let about: [fn(Option<RotationId>) -> Command; 3] =
        [Command::Pause, Command::Resume, Command::Abort];
    for command in about {
        assert_eq!(world.refuses(command(None)), Refusal::NoRotationRunning);
        assert_eq!(
            world.refuses(command(Some(unknown))),
            Refusal::NoSuchRotation(unknown)
        );
    }
    let (mut world, _) = World::at(Phase::Completed, Strategy::Overlap, 1);
    let rotation = world.rotation().id;
    let phase = Phase::Completed;
    for command in about {
        assert_eq!(
            world.refuses(command(Some(rotation))),
            Refusal::RotationOver { rotation, phase }
        );
    }
}
