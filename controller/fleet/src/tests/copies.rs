//! Restarts, snapshots and copies of one identity: told apart by incarnation and instance.

use super::*;
use crate::client::ClientState;

fn proved() -> (World, Host) {
    let (mut world, mut hosts) = World::at(Phase::Preparing, Strategy::Overlap, 1);
    world.settle();
    let mut host = hosts.remove(0);
    world.visit(&mut host);
    assert_eq!(world.missing(), Vec::<u32>::new());
    (world, host)
}

/// A copy of its disk and its identity, running elsewhere.
fn copy(world: &mut World, host: &Host) -> Host {
    let mut copy = host.clone();
    world.reboot(&mut copy);
    copy
}

#[test]
fn a_restart_takes_nothing_away() {
    let (mut world, mut host) = proved();
    for _ in 0..8 {
        world.reboot(&mut host);
        world.connect(&host);
        world.connect(&host);
        assert_eq!(world.client(&host).state, ClientState::Active);
        assert_eq!(world.missing(), Vec::<u32>::new());
    }
}

#[test]
fn a_number_that_goes_backwards_clears_the_evidence_and_goes_on() {
    let (mut world, mut host) = proved();
    world.reboot(&mut host);
    world.connect(&host);
    let mut reverted = host.clone();
    for _ in 0..4 {
        // The same disk is put back each day.
        reverted.instance = InstanceId::new(world.uuid());
        world.connect(&reverted);
        assert_eq!(world.counts(), [1, 1, 0, 0], "what it holds it states");
        assert_eq!(world.client(&host).state, ClientState::Active);
        world.show(&reverted);
        assert_eq!(world.missing(), Vec::<u32>::new());
    }
}

#[test]
fn two_copies_that_alternate_are_duplicated_and_do_not_count() {
    let (mut world, mut host) = proved();
    let mut other = copy(&mut world, &host);
    for _ in 0..2 {
        world.connect(&other);
        world.connect(&host);
    }
    world.connect(&other);
    assert_eq!(world.client(&host).state, ClientState::Duplicated);
    assert!(
        world.fleet.roster().contains(host.number),
        "it is waited for"
    );
    for _ in 0..3 {
        world.visit(&mut host);
        world.visit(&mut other);
        world.settle();
        assert_eq!((world.counts(), world.missing()), ([0; 4], vec![0]));
    }
    // One of them is removed.
    world.does(Command::Resolve(0));
    assert_eq!(world.client(&host).state, ClientState::Active);
    assert_eq!(world.missing(), [0], "an operator's word is no evidence");
    world.visit(&mut host);
    world.drive(std::slice::from_mut(&mut host), Phase::Completed);
}

#[test]
fn a_copy_that_was_resolved_is_noticed_again() {
    let (mut world, host) = proved();
    let other = copy(&mut world, &host);
    for round in 0..2 {
        for _ in 0..3 {
            world.connect(&other);
            world.connect(&host);
        }
        assert_eq!(
            world.client(&host).state,
            ClientState::Duplicated,
            "{round}"
        );
        world.does(Command::Resolve(0));
    }
}

#[test]
fn a_message_that_was_overtaken_makes_no_copy() {
    let (mut world, host) = proved();
    let mut restarted = host.clone();
    world.reboot(&mut restarted);
    world.connect(&restarted);
    // Sent before the restart.
    world.connect(&host);
    world.connect(&restarted);
    world.connect(&restarted);
    assert_eq!(world.client(&host).state, ClientState::Active);
    world.reboot(&mut restarted);
    world.visit(&mut restarted);
    assert_eq!(world.client(&host).state, ClientState::Active);
}

#[test]
fn copies_with_growing_numbers_are_noticed_too() {
    let (mut world, host) = proved();
    let mut other = copy(&mut world, &host);
    other.incarnation = Incarnation(50);
    for _ in 0..3 {
        world.connect(&other);
        world.connect(&host);
    }
    assert_eq!(world.client(&host).state, ClientState::Duplicated);
}

#[test]
fn any_number_of_copies_is_found() {
    for copies in [2, 3, 5, 8] {
        // Given copies of one state, each started once,
        let mut world = World::new();
        let host = world.host();
        world.connect(&host);
        let hosts: Vec<Host> = (0..copies)
            .map(|_| {
                let mut copy = host.clone();
                world.reboot(&mut copy);
                copy
            })
            .collect();
        // when they speak in turn, then they are found within three turns and a bit.
        for _ in 0..4 {
            for copy in &hosts {
                world.connect(copy);
            }
        }
        assert_eq!(
            world.client(&host).state,
            ClientState::Duplicated,
            "{copies} copies"
        );
    }
}

#[test]
fn restarts_are_no_copies_however_many() {
    let mut world = World::new();
    let mut host = world.host();
    for _ in 0..50 {
        world.reboot(&mut host);
        world.connect(&host);
    }
    assert_eq!(world.client(&host).state, ClientState::Active);
}
