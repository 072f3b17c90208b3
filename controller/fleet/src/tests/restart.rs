//! A controller that begins again, in every phase: nothing is lost, and what was due shows again.

use super::*;

pub(super) const RUNNING: [Phase; 6] = [
    Phase::Planned,
    Phase::PausingReplication,
    Phase::Preparing,
    Phase::Swapping,
    Phase::Enforcing,
    Phase::ResumingReplication,
];

#[test]
fn a_restart_in_any_phase_loses_nothing() {
    for strategy in [Strategy::Overlap, Strategy::Toggle] {
        for phase in RUNNING {
            let (mut world, mut hosts) = World::at(phase, strategy, 2);
            let half = &mut hosts[..1];
            world.does(Command::Pause(None));
            world.settle();
            world.visit(&mut half[0]);
            let before = (
                world.counts(),
                world.published(),
                world.serving(),
                world.missing(),
            );
            world.restart();
            let after = (
                world.counts(),
                world.published(),
                world.serving(),
                world.missing(),
            );
            assert_eq!(before, after, "{phase}");
            assert_eq!(world.phase(), phase);
            assert!(
                !world.presence.expected().is_empty(),
                "who was connected is expected back"
            );
            world.does(Command::Resume(None));
            world.drive(&mut hosts, Phase::Completed);
            assert_eq!(world.counts(), [2, 2, 2, 2]);
        }
    }
}

#[test]
fn duties_show_again_after_a_restart() {
    let to = Generation(2);
    for (phase, duty) in [
        (Phase::Preparing, Duty::HoldCandidate(to)),
        (Phase::Swapping, Duty::Swap(to)),
    ] {
        let (mut world, mut hosts) = World::at(phase, Strategy::Overlap, 2);
        assert_eq!(due(&world.fleet, world.now), Some(duty));
        world.settle();
        assert_eq!(due(&world.fleet, world.now), None);
        world.restart();
        assert_eq!(due(&world.fleet, world.now), Some(duty));
        world.does(Command::AttestLoaded(to));
        assert_eq!(world.does(Command::AttestLoaded(to)), [], "said again");
        world.drive(&mut hosts, Phase::Completed);
    }
}

#[test]
fn a_restart_between_the_last_proof_and_the_swap_does_not_open_the_gate_without_the_certificate() {
    let (mut world, mut hosts) = World::at(Phase::Preparing, Strategy::Overlap, 2);
    world.settle();
    for host in &mut hosts {
        world.visit(host);
    }
    world.restart();
    assert_eq!(world.does(world.advance()), []);
    world.drive(&mut hosts, Phase::Completed);
}

#[test]
fn a_controller_that_was_down_in_the_swap_waits_the_whole_window_again() {
    let (mut world, hosts) = World::at(Phase::Swapping, Strategy::Overlap, 3);
    world.settle();
    // Everyone has been cut off, not by the new certificate.
    world.pass(HOUR);
    world.restart();
    world.settle();
    assert_eq!(world.phase(), Phase::Swapping);
    for host in &hosts {
        world.connect(host);
    }
    world.settle();
    assert_eq!(world.phase(), Phase::Enforcing);
}

#[test]
fn a_restart_takes_new_server_names() {
    let mut world = World::new();
    let server_names = vec!["other.example".to_owned()];
    world.does(Command::StartReplica {
        server_names,
        mark: None,
    });
    assert_eq!(world.fleet.server_names(), ["other.example"]);
}
