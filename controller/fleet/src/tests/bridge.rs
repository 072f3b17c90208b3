//! The bridge: whoever trusts only an old certificate is shown that one, as long as it is kept.

use super::*;
use crate::state::Choice;

/// Generation, and whether it is bridged.
fn shown(world: &World, anchors: &[u64]) -> (u64, bool) {
    let anchors: Vec<_> = anchors.iter().copied().map(AnchorNumber).collect();
    let choice = world.fleet.certificate_for(Some(&anchors));
    let Choice {
        generation,
        bridged,
    } = choice.expect("one is served");
    (generation.0, bridged)
}

#[test]
fn each_phase_shows_what_the_client_trusts() {
    for (phase, old, new) in [
        // Nobody trusts the new one alone yet, unless the journal is an old copy.
        (Phase::Planned, (1, false), (2, true)),
        (Phase::Preparing, (1, false), (2, true)),
        (Phase::Swapping, (1, true), (2, false)),
        (Phase::Enforcing, (1, true), (2, false)),
        (Phase::Completed, (1, true), (2, false)),
    ] {
        let (world, _) = World::at(phase, Strategy::Overlap, 1);
        assert_eq!(shown(&world, &[1]), old, "{phase}: the old anchor alone");
        assert_eq!(shown(&world, &[2]), new, "{phase}: the new anchor alone");
        let serving = (world.serving(), false);
        assert_eq!(shown(&world, &[1, 2]), serving, "{phase}: both");
        assert_eq!(shown(&world, &[9]), serving, "{phase}: neither");
        let choice = world.fleet.certificate_for(None).expect("one is served");
        assert_eq!(
            (choice.generation.0, choice.bridged),
            serving,
            "{phase}: off"
        );
    }
}

#[test]
fn after_a_rollback_the_old_certificate_serves_everyone() {
    let (mut world, _) = World::at(Phase::Swapping, Strategy::Overlap, 3);
    world.settle();
    world.pass(HOUR);
    world.settle();
    assert_eq!(world.phase(), Phase::RolledBack);
    assert_eq!(shown(&world, &[1]), (1, false));
    assert_eq!(shown(&world, &[1, 2]), (1, false));
}

#[test]
fn who_slept_through_two_rotations_is_let_in_and_catches_up() {
    let (mut world, mut hosts) = World::at(Phase::Preparing, Strategy::Overlap, 2);
    let mut sleeper = hosts.pop().expect("two");
    world.leaves(sleeper.number);
    for _ in 0..2 {
        if world.phase().is_terminal() {
            world.start(Strategy::Overlap);
        }
        let waive = world.waive(sleeper.number, DAY);
        world.does(waive);
        world.drive(&mut hosts, Phase::Completed);
    }
    assert_eq!(shown(&world, &[1]), (1, true));
    assert_eq!(
        shown(&world, &[1, 2]),
        (2, true),
        "the newest that it trusts"
    );
    assert!(!world.rotation().confirmed.contains(sleeper.number));
    world.visit(&mut sleeper);
    assert_eq!(sleeper.served(&world.fleet), Generation(3));
    assert!(
        world.rotation().confirmed.contains(sleeper.number),
        "no longer at risk"
    );
}

#[test]
fn a_retired_certificate_is_not_bridged() {
    let (mut world, mut hosts) = World::at(Phase::Completed, Strategy::Overlap, 1);
    world.start(Strategy::Overlap);
    world.drive(&mut hosts, Phase::Completed);
    world.does(Command::RetireCertificate {
        generation: Generation(1),
        force: true,
    });
    assert_eq!(shown(&world, &[1]), (3, false));
    assert_eq!(shown(&world, &[1, 2]), (2, true));
}

#[test]
fn a_certificate_that_this_journal_never_served_goes_to_who_trusts_nothing_else() {
    let (mut world, _) = World::at(Phase::Preparing, Strategy::Overlap, 1);
    world.does(Command::Abort(None));
    assert_eq!(shown(&world, &[2]), (2, true));
    assert_eq!(shown(&world, &[1, 2]), (1, false));
    world.does(Command::RetireCertificate {
        generation: Generation(2),
        force: true,
    });
    assert_eq!(shown(&world, &[2]), (1, false));
}

#[test]
fn an_old_certificate_comes_back_under_its_own_number() {
    let (mut world, mut hosts) = World::at(Phase::Completed, Strategy::Overlap, 2);
    let back = |world: &mut World, to| {
        let to = Generation(to);
        let command = world.start_command(Strategy::Overlap, to, RotationOptions::default());
        world.does(command)
    };
    assert!(matches!(
        back(&mut world, 1)[..],
        [Event::RotationStarted {
            from: Generation(2),
            to: Generation(1),
            ..
        }]
    ));
    assert_eq!(shown(&world, &[1]), (1, true), "not before the swap");
    world.drive(&mut hosts, Phase::Preparing);
    assert_eq!(world.published(), (Mode::Verify, vec![1, 2]));
    world.drive(&mut hosts, Phase::Completed);
    assert_eq!(world.published(), (Mode::Verify, vec![1]));
    assert_eq!(shown(&world, &[1]), (1, false));
    assert_eq!(shown(&world, &[2]), (2, true));
    // To and fro as often as one likes: there are two certificates.
    for to in [2, 1, 2] {
        back(&mut world, to);
        world.drive(&mut hosts, Phase::Completed);
        assert_eq!(shown(&world, &[1, 2]), (to, false));
    }
    assert_eq!(world.fleet.certificates().count(), 2);
    // A number is not used again.
    assert_eq!(world.import("another"), Generation(3));
    assert_eq!(
        world.fleet.anchor(Generation(3)).map(|a| a.number),
        Some(AnchorNumber(3))
    );
}

#[test]
fn what_was_last_in_service_is_bridged_first_whatever_its_number() {
    // Given three certificates that were put in service as 1, 2, 1, 3,
    let (mut world, mut hosts) = World::at(Phase::Completed, Strategy::Overlap, 1);
    let command = world.start_command(Strategy::Overlap, Generation(1), RotationOptions::default());
    world.does(command);
    world.drive(&mut hosts, Phase::Completed);
    world.start(Strategy::Overlap);
    world.drive(&mut hosts, Phase::Completed);
    assert_eq!(world.serving(), 3);
    // then a client that trusts both old ones is shown 1, also when the clock had gone back meanwhile.
    assert_eq!(shown(&world, &[1, 2]), (1, true));
    world.now -= DAY;
    let command = world.start_command(Strategy::Overlap, Generation(2), RotationOptions::default());
    world.does(command);
    world.drive(&mut hosts, Phase::Completed);
    assert_eq!(shown(&world, &[1, 3]), (3, true));
}

#[test]
fn a_retired_certificate_comes_out_of_retirement_when_it_is_put_in_service() {
    // Given a retired certificate,
    let (mut world, mut hosts) = World::at(Phase::Completed, Strategy::Overlap, 2);
    let retire = |generation| Command::RetireCertificate {
        generation: Generation(generation),
        force: false,
    };
    let retired = |world: &World| {
        world
            .fleet
            .certificate(Generation(1))
            .map(|one| one.retired)
    };
    world.does(retire(1));
    let back = |world: &mut World| {
        let command =
            world.start_command(Strategy::Overlap, Generation(1), RotationOptions::default());
        world.does(command);
    };
    // when a rotation to it is aborted, then it is still retired, and bridged to nobody;
    back(&mut world);
    world.drive(&mut hosts, Phase::Preparing);
    assert_eq!(shown(&world, &[1]), (2, false));
    assert!(matches!(
        world.refuses(retire(1)),
        Refusal::CertificateInUse(_)
    ));
    world.does(Command::Abort(None));
    assert_eq!(retired(&world), Some(true));
    // when it is served again, then it is no longer retired, cannot be retired, and is bridged afterwards.
    for host in &mut hosts {
        world.visit(host);
    }
    back(&mut world);
    world.drive(&mut hosts, Phase::Completed);
    assert_eq!(retired(&world), Some(false));
    assert!(matches!(
        world.refuses(retire(1)),
        Refusal::CertificateInUse(_)
    ));
    world.start(Strategy::Overlap);
    world.drive(&mut hosts, Phase::Completed);
    assert_eq!(shown(&world, &[1]), (1, true));
    assert_eq!(world.does(retire(1)).len(), 1);
    assert_eq!(world.does(retire(1)), [], "said again");
}

#[test]
fn an_import_that_is_repeated_makes_no_generation() {
    let (mut world, mut hosts) = World::at(Phase::Completed, Strategy::Overlap, 1);
    let certificate = world.certificate("third");
    let import = |certificate: &Certificate| Command::ImportCertificate(certificate.clone());
    assert_eq!(world.does(import(&certificate)).len(), 1);
    assert_eq!(world.does(import(&certificate)), []);
    let command = world.start_command(Strategy::Overlap, Generation(3), RotationOptions::default());
    world.does(command);
    world.drive(&mut hosts, Phase::Completed);
    assert_eq!(world.does(import(&certificate)), [], "it is served");
    let first = world.fleet.certificate(Generation(1)).expect("kept");
    let first = first.certificate.clone();
    assert_eq!(world.does(import(&first)), [], "it was served");
    world.does(Command::RetireCertificate {
        generation: Generation(1),
        force: false,
    });
    assert_eq!(world.does(import(&first)), [], "it is retired");
    assert_eq!(world.fleet.certificates().count(), 3);
}

#[test]
fn a_certificate_is_not_retired_while_clients_need_it() {
    // Given a client that was waived, and trusts the old certificate alone,
    let (mut world, mut hosts) = World::at(Phase::Preparing, Strategy::Overlap, 2);
    let away = hosts.pop().expect("two");
    world.leaves(away.number);
    let waiver = world.waive(away.number, DAY);
    world.does(waiver);
    world.drive(&mut hosts, Phase::Completed);
    assert_eq!(world.standing(&away), Standing::AtRisk);
    assert!(world.cut_off().is_empty());

    // then the old certificate is retired by force only, and that cuts it off.
    let retire = |force| Command::RetireCertificate {
        generation: Generation(1),
        force,
    };
    assert!(matches!(
        world.refuses(retire(false)),
        Refusal::CutsOff { clients: 1, .. }
    ));
    world.does(retire(true));
    assert_eq!(world.does(retire(false)), [], "said again");
    assert_eq!(world.standing(&away), Standing::CutOff);
    assert_eq!(world.standing(&hosts[0]), Standing::Sound);
    let cut_off: Vec<_> = world.cut_off().iter().collect();
    assert_eq!(cut_off, [away.number]);
    // Nobody waits for one that is removed.
    world.does(Command::Decommission(away.number));
    assert!(world.cut_off().is_empty());
}

#[test]
fn a_client_that_has_joined_and_never_spoken_counts_by_what_it_was_given() {
    let mut world = World::new();
    let mut hosts = world.hosts(1);
    // It has joined, and has not run yet.
    let silent = world.joins(&GroupName::default_group());
    world.start(Strategy::Overlap);
    let waiver = world.waive(silent.number, DAY);
    world.does(waiver);
    world.drive(&mut hosts, Phase::Completed);
    assert_eq!(world.standing(&silent), Standing::AtRisk);
    let retire = Command::RetireCertificate {
        generation: Generation(1),
        force: false,
    };
    assert!(matches!(
        world.refuses(retire),
        Refusal::CutsOff { clients: 1, .. }
    ));
}

#[test]
fn a_client_whose_verification_is_off_is_cut_off_when_its_lease_is_over() {
    // Given a client that was told to switch verification off, and sleeps through that rotation and the next,
    let (mut world, mut hosts) = World::at(Phase::Preparing, Strategy::Toggle, 2);
    world.visit(&mut hosts[1]);
    let away = hosts.pop().expect("two");
    world.leaves(away.number);
    let waiver = world.waive(away.number, DAY);
    world.does(waiver);
    world.drive(&mut hosts, Phase::Completed);
    world.start(Strategy::Overlap);
    let waiver = world.waive(away.number, DAY);
    world.does(waiver);
    world.drive(&mut hosts, Phase::Completed);
    assert_eq!(world.standing(&away), Standing::AtRisk, "it trusts 1 and 2");

    // when both certificates that it trusts are retired, then it still accepts any until its lease is over, and nothing afterwards.
    for generation in [1, 2] {
        world.does(Command::RetireCertificate {
            generation: Generation(generation),
            force: true,
        });
    }
    assert_eq!(world.standing(&away), Standing::AtRisk);
    world.pass(RotationOptions::default().off_lease + HOUR);
    assert_eq!(world.standing(&away), Standing::CutOff);
}
