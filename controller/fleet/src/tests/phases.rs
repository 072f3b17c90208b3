//! A rotation from its start to its end: what is served, published and counted in each phase.

use super::*;

/// Mode, anchors, served generation.
type Look = (Mode, Vec<u64>, u64);

/// Lets everyone come by until the rotation is over, and notes what each phase looked like when it began.
fn looks(world: &mut World, hosts: &mut [Host]) -> Vec<(Phase, Look)> {
    let mut seen = vec![];
    for _ in 0..64 {
        let (mode, anchors) = world.published();
        let now = (world.phase(), (mode, anchors, world.serving()));
        if seen.last().map(|(phase, _)| *phase) != Some(now.0) {
            seen.push(now);
        }
        if world.phase().is_terminal() {
            return seen;
        }
        if !world.do_duty() {
            for host in &mut *hosts {
                world.visit(host);
                invariants::nobody_is_orphaned(&world.fleet, host);
            }
        }
    }
    panic!("the rotation does not end: {seen:?}");
}

#[test]
fn overlap_trusts_old_then_both_then_new() {
    let mut world = World::new();
    let mut hosts = world.hosts(3);
    assert_eq!(world.published(), (Mode::Verify, vec![1]));
    world.start(Strategy::Overlap);
    let looks = looks(&mut world, &mut hosts);
    let verify = |anchors: &[u64], served| (Mode::Verify, anchors.to_vec(), served);
    assert_eq!(
        looks,
        [
            (Phase::Planned, verify(&[1], 1)),
            (Phase::PausingReplication, verify(&[1], 1)),
            (Phase::Preparing, verify(&[1, 2], 1)),
            (Phase::Swapping, verify(&[1, 2], 2)),
            (Phase::Enforcing, verify(&[2], 2)),
            (Phase::ResumingReplication, verify(&[2], 2)),
            (Phase::Completed, verify(&[2], 2)),
        ]
    );
    assert_eq!(world.counts(), [3, 3, 3, 3]);
    assert_eq!(world.rotation().waited_for, 3);
    let passed: Vec<_> = looks.iter().map(|(phase, _)| *phase).collect();
    assert_eq!(world.rotation().passed, passed);
}

#[test]
fn toggle_switches_verification_off_around_the_swap_and_nowhere_else() {
    let mut world = World::new();
    let mut hosts = world.hosts(3);
    world.start(Strategy::Toggle);
    let looks = looks(&mut world, &mut hosts);
    let off = Mode::Off { lease: DAY * 14 };
    // When the lease runs out, old and new are both accepted.
    assert_eq!(
        looks,
        [
            (Phase::Planned, (Mode::Verify, vec![1], 1)),
            (Phase::PausingReplication, (Mode::Verify, vec![1], 1)),
            (Phase::Preparing, (off, vec![1, 2], 1)),
            (Phase::Swapping, (off, vec![1, 2], 2)),
            (Phase::Enforcing, (Mode::Verify, vec![2], 2)),
            (Phase::ResumingReplication, (Mode::Verify, vec![2], 2)),
            (Phase::Completed, (Mode::Verify, vec![2], 2)),
        ]
    );
    assert_eq!(world.counts(), [3, 3, 3, 3]);
}

#[test]
fn each_phase_that_publishes_does_so_once_and_one_revision_higher() {
    for strategy in [Strategy::Overlap, Strategy::Toggle] {
        let mut world = World::new();
        let mut hosts = world.hosts(2);
        world.start(strategy);
        looks(&mut world, &mut hosts);
        let revisions: Vec<_> = world
            .journal
            .iter()
            .flat_map(|entry| &entry.events)
            .filter_map(|event| match event {
                Event::TrustPublished(publication) => Some(publication.revision.0),
                _ => None,
            })
            .collect();
        assert_eq!(revisions, [1, 2, 3], "{strategy:?}");
        assert_eq!(world.rotation().revision, Some(Revision(3)));
    }
}

#[test]
fn what_clients_have_shown_is_counted_step_by_step() {
    let (mut world, mut hosts) = World::at(Phase::Preparing, Strategy::Overlap, 3);
    world.settle();
    let trust = world.trust(&GroupName::default_group());
    let to = world.rotation().to;
    assert_eq!(world.counts(), [0, 0, 0, 0]);
    world.state(0, Statement::Received(trust));
    assert_eq!(world.counts(), [1, 0, 0, 0]);
    world.state(0, Statement::Applied(trust));
    world.state(1, Statement::Received(trust));
    assert_eq!(world.counts(), [2, 1, 0, 0]);
    world.state(0, Statement::Proved(trust, to));
    assert_eq!(world.counts(), [2, 1, 1, 0]);
    assert_eq!(
        world.rotation().evidence(0),
        Some(convoy_shared::ack::Evidence::Proved)
    );
    // Said again, it changes nothing.
    for statement in [
        Statement::Received(trust),
        Statement::Applied(trust),
        Statement::Proved(trust, to),
    ] {
        assert_eq!(world.state(0, statement), []);
    }
    world.state(1, Statement::Received(trust));
    assert_eq!(world.counts(), [2, 1, 1, 0]);
    // Who reached more has reached what comes before.
    world.drive(&mut hosts, Phase::Completed);
    assert_eq!(world.counts(), [3, 3, 3, 3]);
}

#[test]
fn a_receipt_that_is_repeated_is_no_event() {
    let (mut world, hosts) = World::at(Phase::Preparing, Strategy::Overlap, 1);
    let trust = world.trust(&GroupName::default_group());
    assert_ne!(hosts[0].held, trust, "not stored yet");
    assert_eq!(world.state(0, Statement::Received(trust)).len(), 1);
    assert_eq!(world.state(0, Statement::Received(trust)), []);
}

#[test]
fn waited_for_is_the_most_that_were_ever_missing() {
    let (mut world, mut hosts) = World::at(Phase::Preparing, Strategy::Overlap, 2);
    world.settle();
    assert_eq!(world.rotation().waited_for, 2);
    for host in &mut hosts {
        world.visit(host);
    }
    // Two have proved it. Three join, and then one of the two is caught.
    hosts.extend(world.hosts(3));
    assert_eq!(world.rotation().waited_for, 3);
    world.state(
        0,
        Statement::Suspected(crate::client::Suspicion::AcceptsDecoy),
    );
    assert_eq!(world.missing(), [0, 2, 3, 4]);
    assert_eq!(world.rotation().waited_for, 4);
    world.drive(&mut hosts, Phase::Completed);
    assert_eq!(world.rotation().waited_for, 5, "all of them at gate B");
}

#[test]
fn a_waiver_that_ran_out_is_counted_in_waited_for() {
    let (mut world, mut hosts) = World::at(Phase::Planned, Strategy::Overlap, 2);
    let waive = world.waive(1, HOUR);
    world.does(waive);
    world.settle();
    assert_eq!(world.rotation().waited_for, 1);
    world.pass(HOUR);
    for host in &mut hosts {
        world.visit(host);
    }
    assert_eq!(world.rotation().waited_for, 2);
}

#[test]
fn a_renewed_certificate_with_the_same_key_keeps_its_anchor() {
    let mut world = World::new();
    let mut hosts = world.hosts(1);
    let renewed = Certificate {
        spki: world.certificate("first").spki,
        ..world.certificate("renewed")
    };
    world.does(Command::ImportCertificate(renewed));
    let command = world.start_command(Strategy::Overlap, Generation(2), RotationOptions::default());
    world.does(command);
    let anchors: Vec<_> = looks(&mut world, &mut hosts)
        .into_iter()
        .map(|(_, (_, anchors, _))| anchors)
        .collect();
    assert!(anchors.iter().all(|anchors| *anchors == [1]), "{anchors:?}");
    assert_eq!(world.serving(), 2);
}

#[test]
fn trust_is_issued_again_before_it_expires() {
    let mut world = World::new();
    let mut hosts = world.hosts(1);
    world.pass(DAY * 182);
    world.settle();
    assert_eq!(world.fleet.revision(), Revision(1));
    world.pass(DAY * 2);
    world.settle();
    assert_eq!(world.fleet.revision(), Revision(2));
    assert_eq!(world.published(), (Mode::Verify, vec![1]));
    world.visit(&mut hosts[0]);
    assert_eq!(world.client(&hosts[0]).suspicion, None);
}
