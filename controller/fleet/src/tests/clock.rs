//! What a doubted clock holds up, and which times count.

use super::*;
use crate::{
    clock::{BootMark, ClockCommand},
    rotation::{Phase, Strategy},
};

const MINUTE: SignedDuration = SignedDuration::from_mins(1);

fn doubt(world: &mut World) {
    let wall = Timestamp::UNIX_EPOCH;
    world.does(Command::Clock(ClockCommand::Doubt { wall }));
}

fn mark() -> Option<BootMark> {
    Some(BootMark {
        boot: "this one".to_owned(),
        age: MINUTE,
    })
}

#[test]
fn no_gate_opens_while_the_clock_is_doubted() {
    for strategy in [Strategy::Overlap, Strategy::Toggle] {
        for phase in [Phase::Preparing, Phase::Enforcing] {
            let (mut world, mut hosts) = World::at(phase, strategy, 2);
            doubt(&mut world);
            for _ in 0..3 {
                for host in &mut hosts {
                    world.visit(host);
                }
                world.settle();
            }
            assert_eq!(world.missing(), []);
            assert_eq!(world.phase(), phase);
            world.does(Command::Clock(ClockCommand::Believe { mark: None }));
            world.drive(&mut hosts, Phase::Completed);
        }
    }
}

#[test]
fn a_rollback_needs_no_more_than_to_know_how_much_time_has_passed() {
    let (mut world, _) = World::at(Phase::Swapping, Strategy::Overlap, 3);
    world.settle();
    doubt(&mut world);
    world.pass(DAY);
    world.settle();
    assert_eq!(world.phase(), Phase::RolledBack);
}

#[test]
fn an_interruption_begins_the_return_window_anew() {
    let (mut world, hosts) = World::at(Phase::Swapping, Strategy::Overlap, 3);
    world.settle();
    world.pass(DAY);
    world.does(Command::Clock(ClockCommand::Interrupt));
    world.settle();
    assert_eq!(world.phase(), Phase::Swapping);
    for host in &hosts {
        world.connect(host);
    }
    world.settle();
    assert_eq!(world.phase(), Phase::Enforcing);
    // Elsewhere there is nothing to write down.
    assert_eq!(world.does(Command::Clock(ClockCommand::Interrupt)), []);
}

#[test]
fn the_greatest_time_counts_until_an_operator_says_another() {
    let mut world = World::new();
    let noon = world.now;
    world.pass(DAY * 10);
    world.does(Command::CreateGroup("a".parse().expect("a name")));
    world.now = noon;
    world.does(Command::CreateGroup("b".parse().expect("a name")));
    let newest = |world: &World| world.fleet.clock().newest().expect("an entry");
    assert_eq!(newest(&world), noon + DAY * 10);

    doubt(&mut world);
    let confirm = |time| Command::Clock(ClockCommand::Confirm { time, mark: mark() });
    let refusal = world.refuses(confirm(noon + MINUTE * 6));
    assert_eq!(refusal.reason(), "CLOCK_SAYS_OTHERWISE");
    assert_eq!(world.does(confirm(noon + MINUTE * 4)).len(), 1);
    assert_eq!(newest(&world), noon);
    assert_eq!(world.fleet.clock().mark().map(|(time, _)| time), Some(noon));
    assert!(!world.fleet.clock().is_doubted());
    assert_eq!(world.does(confirm(noon)), [], "said again");
}
