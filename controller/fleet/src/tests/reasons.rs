//! Why a client is missing, case by case.

use super::*;
use crate::reason::{Obstacle, Reason, Sight, reason};

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
