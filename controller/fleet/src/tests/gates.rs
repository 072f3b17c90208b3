//! The gates: shut until the last member of the roster has shown what is asked, whoever is connected.

use super::*;

#[test]
fn gate_a_opens_by_the_last_proof_and_not_before() {
    let (mut world, mut hosts) = World::at(Phase::Preparing, Strategy::Overlap, 3);
    world.settle();
    assert_eq!(world.missing(), [0, 1, 2]);
    world.visit(&mut hosts[1]);
    world.visit(&mut hosts[0]);
    world.settle();
    assert_eq!(
        (world.phase(), world.missing()),
        (Phase::Preparing, vec![2])
    );
    // Being away does not help.
    world.leaves(2);
    world.pass(DAY * 100);
    world.settle();
    assert_eq!(
        (world.phase(), world.missing()),
        (Phase::Preparing, vec![2])
    );
    assert_eq!(world.does(world.advance()), []);
    world.visit(&mut hosts[2]);
    assert_eq!(world.missing(), Vec::<u32>::new());
    world.settle();
    assert_eq!(world.phase(), Phase::Swapping);
}

#[test]
fn applied_is_not_enough_for_gate_a() {
    let (mut world, mut hosts) = World::at(Phase::Preparing, Strategy::Overlap, 1);
    world.settle();
    world.fetch(&mut hosts[0]);
    world.settle();
    assert_eq!(world.counts(), [1, 1, 0, 0]);
    assert_eq!(world.phase(), Phase::Preparing);
}

#[test]
fn with_toggle_a_client_must_show_that_it_is_off() {
    let (mut world, mut hosts) = World::at(Phase::Preparing, Strategy::Toggle, 2);
    world.settle();
    for host in &mut hosts {
        world.fetch(host);
    }
    world.settle();
    assert_eq!(
        (world.phase(), world.missing()),
        (Phase::Preparing, vec![0, 1])
    );
    // A proof is not what is asked.
    let to = world.rotation().to;
    assert_eq!(world.state(0, Statement::Proved(hosts[0].held, to)), []);
    world.state(0, Statement::Relaxed(hosts[0].held));
    world.settle();
    assert_eq!(
        (world.phase(), world.missing()),
        (Phase::Preparing, vec![1])
    );
    world.state(1, Statement::Relaxed(hosts[1].held));
    world.settle();
    assert_eq!(world.phase(), Phase::Swapping);
}

#[test]
fn gate_a_waits_for_the_candidate_to_be_held() {
    let (mut world, mut hosts) = World::at(Phase::Preparing, Strategy::Overlap, 1);
    world.fetch(&mut hosts[0]);
    let (held, to) = (hosts[0].held, world.rotation().to);
    world.state(0, Statement::Proved(held, to));
    assert_eq!(due(&world.fleet, world.now), Some(Duty::HoldCandidate(to)));
    assert_eq!(world.does(world.advance()), []);
    assert_eq!(world.does(Command::AttestLoaded(Generation(1))), []);
    world.settle();
    assert_eq!(world.phase(), Phase::Swapping);
}

#[test]
fn gate_b_opens_by_the_last_confirmation_and_not_before() {
    for strategy in [Strategy::Overlap, Strategy::Toggle] {
        let (mut world, mut hosts) = World::at(Phase::Enforcing, strategy, 3);
        assert_eq!(world.missing(), [0, 1, 2]);
        for host in &mut hosts {
            world.fetch(host);
        }
        world.settle();
        assert_eq!(world.phase(), Phase::Enforcing, "applied is not enough");
        world.visit(&mut hosts[0]);
        world.visit(&mut hosts[2]);
        world.settle();
        assert_eq!(
            (world.phase(), world.missing()),
            (Phase::Enforcing, vec![1])
        );
        world.visit(&mut hosts[1]);
        world.settle();
        assert_eq!(world.phase(), Phase::Completed);
    }
}

#[test]
fn a_waiver_opens_the_gate_and_shuts_it_when_it_runs_out() {
    let (mut world, mut hosts) = World::at(Phase::Preparing, Strategy::Overlap, 2);
    world.settle();
    world.does(Command::Pause(None));
    world.visit(&mut hosts[0]);
    let waive = world.waive(1, HOUR);
    world.does(waive.clone());
    assert_eq!(world.does(waive), [], "said again");
    assert_eq!(world.missing(), Vec::<u32>::new());
    // Nobody opened it in time.
    world.pass(HOUR);
    world.does(Command::Resume(None));
    world.settle();
    assert_eq!(
        (world.phase(), world.missing()),
        (Phase::Preparing, vec![1])
    );
    let waive = world.waive(1, HOUR);
    world.does(waive);
    world.settle();
    assert_eq!(world.phase(), Phase::Swapping);
}

#[test]
fn a_waived_client_is_waited_for_at_the_next_gate_when_its_waiver_has_run_out() {
    let (mut world, mut hosts) = World::at(Phase::Preparing, Strategy::Overlap, 2);
    world.settle();
    world.leaves(1);
    let waive = world.waive(1, HOUR);
    world.does(waive);
    world.drive(&mut hosts[..1], Phase::Enforcing);
    world.visit(&mut hosts[0]);
    assert_eq!(world.missing(), Vec::<u32>::new());
    world.pass(HOUR * 2);
    assert_eq!(world.missing(), [1]);
    world.settle();
    assert_eq!(world.phase(), Phase::Enforcing);
    // It has the old trust alone: the bridge lets it in, and it catches up.
    assert_eq!(hosts[1].served(&world.fleet), Generation(1));
    world.visit(&mut hosts[1]);
    world.settle();
    assert_eq!(world.phase(), Phase::Completed);
}

#[test]
fn when_a_waiver_runs_out_the_controller_looks_again() {
    let (mut world, _) = World::at(Phase::Preparing, Strategy::Overlap, 2);
    let waive = world.waive(1, HOUR);
    world.does(waive);
    let end = world.now + HOUR;
    assert_eq!(
        crate::rotation::next_deadline(&world.fleet, world.now),
        Some(end)
    );
    assert_eq!(crate::rotation::next_deadline(&world.fleet, end), None);
}

#[test]
fn waivers_are_for_the_few() {
    let (mut world, mut hosts) = World::at(Phase::Preparing, Strategy::Overlap, 2);
    let waive = world.waive(0, HOUR);
    world.does(waive);
    let waive = world.waive(1, HOUR);
    assert_eq!(
        world.refuses(waive),
        Refusal::WaiverCap { waived: 1, cap: 1 }
    );
    // The one that there is may last longer, and one that has run out does not count.
    let longer = world.waive(0, HOUR * 2);
    world.does(longer);
    world.pass(HOUR * 2);
    let waive = world.waive(1, HOUR);
    world.does(waive);
    // Two of forty are 5 %.
    hosts.extend(world.hosts(38));
    let waive = world.waive(2, HOUR);
    world.does(waive);
    let waive = world.waive(3, HOUR);
    assert_eq!(
        world.refuses(waive),
        Refusal::WaiverCap { waived: 2, cap: 2 }
    );
    // One who has left the roster takes no place.
    world.does(Command::Decommission(2));
    hosts.extend(world.hosts(1));
    let waive = world.waive(3, HOUR);
    world.does(waive);
}

#[test]
fn a_waiver_that_is_no_waiver_is_refused() {
    let (mut world, _) = World::at(Phase::Preparing, Strategy::Overlap, 2);
    let past = world.waive(0, SignedDuration::ZERO);
    assert_eq!(world.refuses(past), Refusal::WaiverBornExpired);
    let nobody = world.waive(9, HOUR);
    assert_eq!(world.refuses(nobody), Refusal::NoSuchClient);
    world.does(Command::Decommission(0));
    let gone = world.waive(0, HOUR);
    assert_eq!(world.refuses(gone), Refusal::ClientDecommissioned);
}

#[test]
fn a_client_that_joins_in_any_phase_is_waited_for_and_can_be_confirmed() {
    for strategy in [Strategy::Overlap, Strategy::Toggle] {
        for phase in [
            Phase::Planned,
            Phase::PausingReplication,
            Phase::Preparing,
            Phase::Swapping,
            Phase::Enforcing,
        ] {
            let (mut world, mut hosts) = World::at(phase, strategy, 2);
            let late = world.host();
            let waited_for = matches!(phase, Phase::Preparing | Phase::Enforcing);
            assert_eq!(
                world.missing().contains(&late.number),
                waited_for,
                "{phase}"
            );
            world.drive(&mut hosts, Phase::Enforcing.min(world.phase().max(phase)));
            // The others alone do not open the gate.
            for _ in 0..4 {
                for host in &mut hosts {
                    world.visit(host);
                }
                world.settle();
            }
            assert_eq!(world.missing(), [late.number], "{phase}");
            hosts.push(late);
            world.drive(&mut hosts, Phase::Completed);
            assert_eq!(world.counts(), [3, 3, 3, 3]);
        }
    }
}

#[test]
fn a_group_that_is_created_in_any_phase_is_born_with_its_trust() {
    for strategy in [Strategy::Overlap, Strategy::Toggle] {
        for phase in [
            Phase::Planned,
            Phase::PausingReplication,
            Phase::Preparing,
            Phase::Swapping,
            Phase::Enforcing,
            Phase::Completed,
        ] {
            let (mut world, mut hosts) = World::at(phase, strategy, 1);
            let printers = group("printers");
            world.does(Command::CreateGroup(printers.clone()));
            assert_eq!(
                world.refuses(Command::CreateGroup(printers.clone())),
                Refusal::GroupExists(printers.clone())
            );
            assert_eq!(
                world.purpose(&printers),
                world.purpose(&GroupName::default_group())
            );
            assert_ne!(
                world.trust(&printers),
                world.trust(&GroupName::default_group())
            );
            hosts.push(world.joins(&printers));
            world.drive(&mut hosts, Phase::Completed);
            let counted = world.rotation().confirmed.len();
            assert_eq!(
                counted,
                if phase == Phase::Completed { 1 } else { 2 },
                "{phase}"
            );
        }
    }
}

#[test]
fn a_client_that_leaves_is_not_waited_for() {
    let (mut world, mut hosts) = World::at(Phase::Preparing, Strategy::Overlap, 2);
    world.settle();
    world.visit(&mut hosts[0]);
    assert_eq!(world.missing(), [1]);
    world.does(Command::Decommission(1));
    assert_eq!(world.does(Command::Decommission(1)), []);
    world.settle();
    assert_eq!(world.phase(), Phase::Swapping);
    assert_eq!(world.connect(&hosts[1]), [], "it is heard no more");
}
