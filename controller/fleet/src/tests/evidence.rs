//! What counts as evidence, and what does not: another document, another certificate, somebody who was caught.

use super::*;
use crate::client::Suspicion;

fn preparing(strategy: Strategy) -> (World, Host) {
    let (mut world, mut hosts) = World::at(Phase::Preparing, strategy, 1);
    world.settle();
    (world, hosts.remove(0))
}

/// Whether this client's proof opens gate A now.
fn proves(world: &mut World, host: &mut Host) -> bool {
    world.visit(host);
    world.missing().is_empty()
}

#[test]
fn an_old_revision_counts_for_nothing() {
    let (mut world, host) = preparing(Strategy::Overlap);
    let to = world.rotation().to;
    for statement in [
        Statement::Received(host.held),
        Statement::Applied(host.held),
        Statement::Proved(host.held, to),
        Statement::Relaxed(host.held),
        Statement::Confirmed(host.held, to),
    ] {
        world.state(0, statement);
        assert_eq!(world.counts(), [0; 4]);
    }
    assert_eq!(
        world.client(&host).suspicion,
        None,
        "it is late, and no liar"
    );
}

#[test]
fn another_digest_counts_for_nothing() {
    for strategy in [Strategy::Overlap, Strategy::Toggle] {
        for phase in [Phase::Preparing, Phase::Enforcing] {
            let (mut world, mut hosts) = World::at(phase, strategy, 1);
            world.settle();
            world.fetch(&mut hosts[0]);
            let (held, to) = (forged(hosts[0].held), world.rotation().to);
            for statement in [
                Statement::Proved(held, to),
                Statement::Relaxed(held),
                Statement::Confirmed(held, to),
            ] {
                assert_eq!(world.state(0, statement), []);
            }
            assert_eq!(world.missing(), [0]);
            world.state(0, Statement::Received(held));
            assert_eq!(
                world.client(&hosts[0]).suspicion,
                Some(Suspicion::UnknownDocument)
            );
        }
    }
}

#[test]
fn another_certificate_counts_for_nothing() {
    let (mut world, mut host) = preparing(Strategy::Overlap);
    world.fetch(&mut host);
    for generation in [Generation(1), Generation(3)] {
        assert_eq!(world.state(0, Statement::Proved(host.held, generation)), []);
    }
    world.visit(&mut host);
    world.settle();
    world.visit(&mut host);
    world.drive(std::slice::from_mut(&mut host), Phase::Enforcing);
    world.fetch(&mut host);
    assert_eq!(
        world.state(0, Statement::Confirmed(host.held, Generation(1))),
        []
    );
    assert_eq!(world.missing(), [0]);
}

#[test]
fn evidence_of_another_kind_counts_for_nothing() {
    let (mut world, mut host) = preparing(Strategy::Overlap);
    world.fetch(&mut host);
    let to = world.rotation().to;
    assert_eq!(world.state(0, Statement::Confirmed(host.held, to)), []);
    assert_eq!(world.state(0, Statement::Relaxed(host.held)), []);
    assert_eq!(world.missing(), [0]);
}

#[test]
fn another_groups_document_is_suspicious() {
    let (mut world, mut host) = preparing(Strategy::Overlap);
    let printers = group("printers");
    world.does(Command::CreateGroup(printers.clone()));
    let theirs = world.trust(&printers);
    let to = world.rotation().to;
    assert_eq!(world.state(0, Statement::Proved(theirs, to)), []);
    assert_eq!(world.counts(), [0; 4]);
    world.state(0, Statement::Applied(theirs));
    assert_eq!(world.counts(), [0; 4]);
    assert_eq!(
        world.client(&host).suspicion,
        Some(Suspicion::UnknownDocument)
    );
    assert!(proves(&mut world, &mut host));
}

#[test]
fn a_document_that_was_never_published_is_suspicious_until_an_honest_proof() {
    let (mut world, mut host) = preparing(Strategy::Overlap);
    let honest = host.clone();
    let trust = world.trust(&host.group);
    for unknown in [forged(trust), at_revision(9, trust), at_revision(1, trust)] {
        host.held = unknown;
        world.connect(&host);
        assert_eq!(
            world.client(&host).suspicion,
            Some(Suspicion::UnknownDocument)
        );
        assert_eq!(world.client(&host).stated.map(|s| s.revision), Some(None));
        assert_eq!(
            world.state(0, Statement::Applied(unknown)),
            [],
            "said already"
        );
        assert_eq!((world.counts(), world.missing()), ([0; 4], vec![0]));
    }
    host = honest;
    world.connect(&host);
    world.fetch(&mut host);
    assert_eq!(
        world.counts(),
        [0; 4],
        "its word alone does not count any more"
    );
    world.show(&host);
    assert_eq!(world.client(&host).suspicion, None);
    assert_eq!(world.missing(), Vec::<u32>::new());
}

#[test]
fn a_client_that_accepts_a_decoy_has_shown_nothing() {
    let (mut world, mut host) = preparing(Strategy::Overlap);
    assert!(proves(&mut world, &mut host));
    world.state(0, Statement::Suspected(Suspicion::AcceptsDecoy));
    assert_eq!(
        world.state(0, Statement::Suspected(Suspicion::AcceptsDecoy)),
        []
    );
    world.settle();
    assert_eq!((world.counts(), world.missing()), ([0; 4], vec![0]));
    world.connect(&host);
    world.state(0, Statement::Applied(host.held));
    assert_eq!(world.counts(), [0; 4]);
    assert!(proves(&mut world, &mut host), "it verifies again");
}

#[test]
fn a_suspect_is_cleared_by_what_the_phase_asks_for() {
    for (strategy, phase) in [
        (Strategy::Overlap, Phase::Preparing),
        (Strategy::Toggle, Phase::Preparing),
        (Strategy::Overlap, Phase::Enforcing),
        (Strategy::Toggle, Phase::Enforcing),
    ] {
        let (mut world, mut hosts) = World::at(phase, strategy, 1);
        world.settle();
        world.does(Command::Pause(None));
        world.visit(&mut hosts[0]);
        world.state(0, Statement::Suspected(Suspicion::ContradictsSight));
        assert_eq!(world.missing(), [0], "{strategy:?} {phase}");
        world.does(Command::Resume(None));
        world.drive(&mut hosts, Phase::Completed);
        assert_eq!(world.client(&hosts[0]).suspicion, None);
    }
}

#[test]
fn an_operator_may_resolve_a_suspicion_but_gives_no_evidence() {
    let (mut world, mut host) = preparing(Strategy::Overlap);
    assert!(proves(&mut world, &mut host));
    world.state(0, Statement::Suspected(Suspicion::AcceptsDecoy));
    world.does(Command::Resolve(0));
    assert_eq!(world.client(&host).suspicion, None);
    assert_eq!(world.missing(), [0]);
    assert_eq!(
        world.refuses(Command::Resolve(0)),
        Refusal::NothingToResolve
    );
}

#[test]
fn being_off_without_an_order_is_suspicious() {
    let (mut world, mut host) = preparing(Strategy::Overlap);
    assert!(proves(&mut world, &mut host));
    host.off = true;
    world.connect(&host);
    assert_eq!(world.client(&host).suspicion, Some(Suspicion::OffUnasked));
    assert_eq!(world.missing(), [0]);
}

#[test]
fn a_lease_that_ran_out_takes_no_evidence_away() {
    let (mut world, mut host) = preparing(Strategy::Toggle);
    assert!(proves(&mut world, &mut host));
    host.off = false;
    world.connect(&host);
    assert_eq!(world.client(&host).suspicion, None);
    assert_eq!(world.missing(), Vec::<u32>::new());
}

#[test]
fn the_latest_statement_wins() {
    for strategy in [Strategy::Overlap, Strategy::Toggle] {
        let (mut world, mut host) = preparing(strategy);
        let snapshot = host.clone();
        assert!(proves(&mut world, &mut host));
        // The same process comes back with what it had before.
        world.connect(&snapshot);
        world.settle();
        assert_eq!((world.counts(), world.missing()), ([0; 4], vec![0]));
        assert_eq!(
            world.client(&host).stated.and_then(|s| s.revision),
            Some(Revision(1))
        );
        assert!(proves(&mut world, &mut host));
    }
}

#[test]
fn a_confirmed_client_that_goes_back_is_not_confirmed() {
    let (mut world, mut hosts) = World::at(Phase::Enforcing, Strategy::Overlap, 2);
    let prepared = hosts[0].clone();
    world.visit(&mut hosts[0]);
    assert_eq!(world.missing(), [1]);
    world.connect(&prepared);
    assert_eq!(world.missing(), [0, 1]);
    assert_eq!(
        world.counts(),
        [2, 2, 2, 0],
        "what it still holds still counts"
    );
    world.drive(&mut hosts, Phase::Completed);
    // What was shown in a rotation that is over stays as it was.
    world.connect(&prepared);
    assert_eq!(world.counts(), [2, 2, 2, 2]);
}

#[test]
fn a_stale_ack_takes_nothing_away() {
    let (mut world, mut host) = preparing(Strategy::Overlap);
    let old = host.held;
    assert!(proves(&mut world, &mut host));
    assert_eq!(world.state(0, Statement::Applied(old)), []);
    assert_eq!(world.missing(), Vec::<u32>::new());
}

#[test]
fn evidence_of_a_rotation_is_none_in_the_next() {
    let (mut world, mut hosts) = World::at(Phase::Completed, Strategy::Overlap, 2);
    let held = hosts[0].held;
    world.start(Strategy::Overlap);
    world.drive(&mut hosts, Phase::Preparing);
    world.settle();
    let to = world.rotation().to;
    world.state(0, Statement::Proved(held, to));
    world.state(0, Statement::Confirmed(held, Generation(2)));
    assert_eq!((world.counts(), world.missing()), ([0; 4], vec![0, 1]));
    world.drive(&mut hosts, Phase::Completed);
}

#[test]
fn a_suspect_can_show_otherwise_while_no_rotation_runs() {
    let mut world = World::new();
    let host = world.host();
    world.connect(&host);
    world.state(host.number, Statement::Suspected(Suspicion::AcceptsDecoy));
    assert!(world.client(&host).suspicion.is_some());
    // About another document it shows nothing.
    let mut other = host.held;
    other.revision = other.revision.next();
    let generation = Generation(1);
    world.state(host.number, Statement::Confirmed(other, generation));
    assert!(world.client(&host).suspicion.is_some());
    world.state(host.number, Statement::Confirmed(host.held, generation));
    assert!(world.client(&host).suspicion.is_none());
    assert_eq!(
        world.state(host.number, Statement::Confirmed(host.held, generation)),
        [],
        "said again"
    );
}
