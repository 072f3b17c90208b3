//! Ways out and stops on the way: abort, pause, the return window and the rollback.

use super::{restart::RUNNING, *};
use crate::rotation::{TRUST_REFRESH, TRUST_VALIDITY};

#[test]
fn an_abort_before_anything_was_published_publishes_nothing() {
    for phase in [Phase::Planned, Phase::PausingReplication] {
        let (mut world, _) = World::at(phase, Strategy::Overlap, 1);
        world.does(Command::Abort(None));
        assert_eq!(world.phase(), Phase::Aborted);
        assert_eq!(world.fleet.revision(), Revision(1));
    }
}

#[test]
fn an_abort_before_the_swap_publishes_the_old_trust_at_a_higher_revision() {
    for strategy in [Strategy::Overlap, Strategy::Toggle] {
        let (mut world, mut hosts) = World::at(Phase::Preparing, strategy, 2);
        world.settle();
        world.visit(&mut hosts[0]);
        let rotation = world.rotation().id;
        world.does(Command::Abort(Some(rotation)));
        assert_eq!((world.phase(), world.serving()), (Phase::Aborted, 1));
        assert_eq!(world.published(), (Mode::Verify, vec![1]));
        assert_eq!(world.fleet.revision(), Revision(3));
        assert_eq!(world.does(Command::Abort(Some(rotation))), [], "said again");
        world.settle();
        for host in &mut hosts {
            world.visit(host);
            invariants::nobody_is_orphaned(&world.fleet, host);
        }
        assert_eq!(world.phase(), Phase::Aborted);
        // The candidate was never served: it is still to be had under its own number.
        let command = world.start_command(strategy, Generation(2), RotationOptions::default());
        world.does(command);
        world.drive(&mut hosts, Phase::Completed);
        assert_eq!(world.serving(), 2);
    }
}

#[test]
fn from_the_swap_on_there_is_no_abort() {
    for phase in [
        Phase::Swapping,
        Phase::Enforcing,
        Phase::ResumingReplication,
    ] {
        let (mut world, _) = World::at(phase, Strategy::Overlap, 1);
        let rotation = world.rotation().id;
        for id in [None, Some(rotation)] {
            assert_eq!(
                world.refuses(Command::Abort(id)),
                Refusal::TooLateToAbort {
                    rotation,
                    phase,
                    from: Generation(1)
                }
            );
        }
    }
}

#[test]
fn while_paused_no_phase_begins_and_evidence_counts() {
    for phase in [
        Phase::Planned,
        Phase::PausingReplication,
        Phase::Preparing,
        Phase::Swapping,
        Phase::Enforcing,
        Phase::ResumingReplication,
    ] {
        let (mut world, mut hosts) = World::at(phase, Strategy::Overlap, 2);
        world.does(Command::Pause(None));
        assert_eq!(world.does(Command::Pause(None)), [], "said again");
        world.settle();
        for _ in 0..3 {
            for host in &mut hosts {
                world.visit(host);
            }
            world.pass(DAY);
            world.settle();
            assert_eq!(world.does(world.advance()), []);
            assert_eq!(world.phase(), phase);
        }
        assert_eq!(world.missing(), Vec::<u32>::new(), "{phase}");
        world.does(Command::Resume(None));
        assert_eq!(world.does(Command::Resume(None)), []);
        assert_eq!(due(&world.fleet, world.now), Some(Duty::Advance), "{phase}");
        world.drive(&mut hosts, Phase::Completed);
    }
}

#[test]
fn a_paused_rotation_can_be_aborted() {
    let (mut world, _) = World::at(Phase::Preparing, Strategy::Overlap, 1);
    world.does(Command::Pause(None));
    world.does(Command::Abort(None));
    assert_eq!(world.phase(), Phase::Aborted);
    assert_eq!(due(&world.fleet, world.now), None);
}

/// The swap with so many hosts connected, and one more that was not.
fn swapping(connected: usize, max_missing: Option<u32>) -> (World, Vec<Host>) {
    let mut world = World::new();
    let mut hosts = world.hosts(connected + 1);
    let options = RotationOptions {
        max_missing,
        ..RotationOptions::default()
    };
    world.start_with(Strategy::Overlap, options);
    world.drive(&mut hosts, Phase::Preparing);
    world.settle();
    for host in &mut hosts {
        world.visit(host);
    }
    let last = hosts.last().expect("one").number;
    world.leaves(last);
    world.settle();
    assert_eq!(world.phase(), Phase::Swapping);
    (world, hosts)
}

#[test]
fn the_swap_waits_for_those_who_were_connected() {
    let (mut world, hosts) = swapping(3, None);
    assert_eq!(world.missing(), [0, 1, 2]);
    world.connect(&hosts[0]);
    world.connect(&hosts[1]);
    world.settle();
    assert_eq!((world.phase(), world.missing()), (Phase::Swapping, vec![2]));
    world.connect(&hosts[2]);
    world.settle();
    assert_eq!(world.phase(), Phase::Enforcing);
}

#[test]
fn a_session_on_the_old_certificate_is_not_back() {
    let (mut world, hosts) = swapping(1, None);
    let Statement::Connected {
        incarnation,
        instance,
        held,
        mode,
        agent_version,
        ..
    } = hosts[0].connected(&world.fleet)
    else {
        panic!("it connects");
    };
    let served = Generation(1);
    let old = Statement::Connected {
        incarnation,
        instance,
        held,
        signed: false,
        mode,
        agent_version,
        served,
    };
    world.state(0, old);
    assert_eq!(world.missing(), [0]);
    world.connect(&hosts[0]);
    assert_eq!(world.missing(), Vec::<u32>::new());
}

/// From the attested swap: first the old connections are closed, then their clients have the return window.
fn window_of(world: &World) -> SignedDuration {
    let closing = crate::rotation::closing_window(world.fleet.roster().len());
    RotationOptions::default().return_window + closing
}

#[test]
fn a_few_who_stay_away_do_not_stop_it() {
    let (mut world, hosts) = swapping(3, None);
    world.connect(&hosts[0]);
    world.connect(&hosts[1]);
    let window = window_of(&world);
    assert_eq!(
        crate::rotation::next_deadline(&world.fleet, world.now),
        Some(world.now + window)
    );
    world.pass(window - SignedDuration::from_secs(1));
    world.settle();
    assert_eq!(world.phase(), Phase::Swapping);
    world.pass(SignedDuration::from_secs(1));
    world.settle();
    assert_eq!(world.phase(), Phase::Enforcing);
}

#[test]
fn when_too_many_stay_away_the_old_certificate_is_served_again() {
    for (max_missing, back) in [(None, 1), (Some(0), 2), (Some(2), 0)] {
        let (mut world, mut hosts) = swapping(3, max_missing);
        for host in &hosts[..back] {
            world.connect(host);
        }
        assert_eq!(world.serving(), 2);
        world.pass(window_of(&world));
        world.settle();
        assert_eq!((world.phase(), world.serving()), (Phase::RolledBack, 1));
        assert_eq!(world.published(), (Mode::Verify, vec![1]));
        assert_eq!(world.fleet.revision(), Revision(3));
        assert!(world.rotation().reason.contains("did not come back"));
        // Who stayed away stays listed, also when it has come back, is waived or is gone.
        let stayed_away: Vec<_> = (back..3).map(|at| hosts[at].number).collect();
        let listed = |world: &World| world.rotation().stayed_away.iter().collect::<Vec<_>>();
        assert_eq!(listed(&world), stayed_away);
        for host in &mut hosts {
            invariants::nobody_is_orphaned(&world.fleet, host);
            world.visit(host);
            assert_eq!(world.client(host).suspicion, None);
        }
        assert_eq!(listed(&world), stayed_away);
        // It can be tried again.
        let command =
            world.start_command(Strategy::Overlap, Generation(2), RotationOptions::default());
        world.does(command);
        world.drive(&mut hosts, Phase::Completed);
        assert_eq!(world.serving(), 2);
    }
}

#[test]
fn a_toggle_that_is_rolled_back_verifies_again() {
    let (mut world, hosts) = World::at(Phase::Swapping, Strategy::Toggle, 3);
    world.settle();
    world.pass(HOUR);
    world.settle();
    assert_eq!(world.phase(), Phase::RolledBack);
    assert_eq!(world.published(), (Mode::Verify, vec![1]));
    for host in &hosts {
        invariants::nobody_is_orphaned(&world.fleet, host);
    }
}

#[test]
fn nobody_is_rolled_back_before_the_new_certificate_is_served() {
    let (mut world, hosts) = World::at(Phase::Swapping, Strategy::Overlap, 3);
    // The controller could not load it for an hour.
    world.pass(HOUR);
    assert_eq!(
        due(&world.fleet, world.now),
        Some(Duty::Swap(Generation(2)))
    );
    assert_eq!(world.does(world.advance()), []);
    world.settle();
    assert_eq!(
        world.phase(),
        Phase::Swapping,
        "the window begins with the swap"
    );
    for host in &hosts {
        world.connect(host);
    }
    world.settle();
    assert_eq!(world.phase(), Phase::Enforcing);
}

#[test]
fn a_swap_can_be_rolled_back_by_hand_and_nothing_else_can() {
    for phase in RUNNING {
        let (mut world, mut hosts) = World::at(phase, Strategy::Overlap, 2);
        if phase != Phase::Swapping {
            assert!(
                matches!(
                    world.refuses(Command::RollBack(None)),
                    Refusal::NotSwapping { .. }
                ),
                "{phase}"
            );
            continue;
        }
        // Also when the certificate cannot be loaded, so that the rotation could never go on.
        let revision = world.fleet.revision();
        world.does(Command::RollBack(None));
        assert_eq!(world.phase(), Phase::RolledBack);
        assert_eq!(world.serving(), 1);
        assert_eq!(world.published(), (Mode::Verify, vec![1]));
        assert!(world.fleet.revision() > revision);
        let id = world.rotation().id;
        assert_eq!(world.does(Command::RollBack(Some(id))), [], "said again");
        // And another rotation may begin.
        world.start(Strategy::Overlap);
        world.drive(&mut hosts, Phase::Completed);
    }
}

#[test]
fn trust_is_issued_again_before_it_expires_for_what_it_was_for() {
    // Given a completed rotation without a client that was waived,
    let (mut world, mut hosts) = World::at(Phase::Enforcing, Strategy::Overlap, 2);
    let away = hosts.pop().expect("two");
    let waiver = world.waive(away.number, DAY);
    world.does(waiver);
    world.drive(&mut hosts, Phase::Completed);
    let (revision, purpose) = (
        world.fleet.revision(),
        world.purpose(&GroupName::default_group()),
    );

    // when most of a year has passed, then the same trust is issued again,
    world.pass(TRUST_VALIDITY - TRUST_REFRESH);
    assert_eq!(due(&world.fleet, world.now), Some(Duty::RefreshTrust));
    world.settle();
    assert!(world.fleet.revision() > revision);
    assert_eq!(world.purpose(&GroupName::default_group()), purpose);
    assert_eq!(due(&world.fleet, world.now), None);

    // and the client that comes back can still be confirmed.
    let mut away = [away];
    for _ in 0..3 {
        world.visit(&mut away[0]);
    }
    assert_eq!(world.counts(), [2, 2, 2, 2]);
}
