//! Why a client is missing, case by case.

use super::*;
use crate::{
    client::Suspicion,
    event::Rejoined,
    reason::{Obstacle, Reason, Sight, reason},
};

/// A rotation that waits for its one client, and what is seen of that.
fn told(world: &World, sight: Sight) -> Reason {
    let rotation = world.rotation();
    reason(&world.fleet, rotation, 0, sight, world.now).expect("a client")
}

fn connected(world: &World, obstacle: Option<Obstacle>) -> Sight {
    Sight {
        connected_since: Some(world.now),
        obstacle,
        ..Sight::default()
    }
}

#[test]
fn off_is_said_of_nobody_who_is_connected() {
    let (world, _) = World::at(Phase::Preparing, Strategy::Overlap, 1);
    let off = told(&world, Sight::default());
    assert!(matches!(off, Reason::Off { .. }), "{off}");
    let silent = told(&world, connected(&world, None));
    assert_eq!(silent, Reason::Silent { since: world.now });
}

#[test]
fn cut_off_is_said_before_off_and_before_a_suspicion() {
    // Given a client that trusts one certificate alone, and is under suspicion,
    let (mut world, mut hosts) = World::at(Phase::Preparing, Strategy::Overlap, 2);
    let mut away = hosts.remove(0);
    assert_eq!(away.number, 0);
    let suspicion = Statement::Suspected(Suspicion::ContradictsSight);
    world.state(0, suspicion);
    world.leaves(0);
    let waiver = world.waive(0, DAY);
    world.does(waiver);
    world.drive(&mut hosts, Phase::Completed);
    // when that is retired, then the next rotation waits for a client that is cut off,
    world.does(Command::RetireCertificate {
        generation: Generation(1),
        force: true,
    });
    world.start(Strategy::Overlap);
    world.settle();
    let cut_off = Reason::CutOff { rejoined: None };
    assert_eq!(told(&world, Sight::default()), cut_off);
    // also after it has joined again, until it connects.
    let token = world.token(1, HOUR);
    world.pass(MINUTE);
    world.does(Command::Rejoin(Rejoined {
        client: 0,
        token,
        agent_version: "1".to_owned(),
        identity_expires_at: world.now + DAY,
    }));
    let rejoined = Some(world.now);
    assert_eq!(told(&world, Sight::default()), Reason::CutOff { rejoined });
    away.held = world.trust(&GroupName::default_group());
    world.connect(&away);
    let silent = told(&world, connected(&world, None));
    assert_eq!(silent, Reason::Suspect(Suspicion::ContradictsSight));
}

#[test]
fn an_obstacle_says_how_wrong_the_clock_is_if_it_is() {
    let (world, _) = World::at(Phase::Preparing, Strategy::Toggle, 1);
    let told = |seconds: Option<i64>| {
        let sight = Sight {
            clock_ahead: seconds.map(SignedDuration::from_secs),
            ..connected(&world, Some(Obstacle::OtherMode(ModeInForce::Verify)))
        };
        told(&world, sight).to_string()
    };
    let mode = "its verification is on, and it is to be off";
    assert_eq!(told(None), mode);
    assert_eq!(told(Some(300)), mode);
    assert_eq!(told(Some(7_200)), format!("{mode}; its clock is 2 h ahead"));
    assert_eq!(
        told(Some(-86_400)),
        format!("{mode}; its clock is 24 h behind")
    );
}

#[test]
fn an_expired_identity_is_named_before_its_consequences() {
    let (mut world, _) = World::at(Phase::Preparing, Strategy::Overlap, 1);
    let expires_at = world.fleet.client(0).expect("a client").identity_expires_at;
    world.now = expires_at + MINUTE;
    let why = told(&world, connected(&world, Some(Obstacle::NoReport)));
    assert!(
        matches!(
            why,
            Reason::Hindered {
                obstacle: Obstacle::IdentityExpired,
                ..
            }
        ),
        "{why}"
    );
}
