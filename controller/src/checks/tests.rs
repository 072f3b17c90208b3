//! What a check shows, case by case.

use std::borrow::Borrow;

use convoy_shared::id::{Digest, Revision};

use super::*;

const CLIENT: ClientNumber = 7;
const PROOF: Wanted = Wanted::Proof(Generation(2));

fn held() -> Held {
    Held {
        revision: Revision(3),
        digest: Digest::of(b"document"),
    }
}

fn report(probe: HandshakeOutcome, decoy: HandshakeOutcome) -> Report {
    Report {
        held: held(),
        probe,
        decoy,
        mode: ModeInForce::Verify,
        failure: String::new(),
        others: BTreeMap::new(),
    }
}

/// A report of a client whose verification is off.
fn report_off(decoy: HandshakeOutcome) -> Report {
    Report {
        mode: ModeInForce::Off,
        ..report(NotRun, decoy)
    }
}

fn verdict(
    wanted: Wanted,
    probe_completed: bool,
    decoy: impl IntoIterator<Item = DecoySight>,
    report: impl Borrow<Option<Report>>,
    over: bool,
) -> Verdict {
    let mut sights = Sights {
        probe_completed,
        probed_over: BTreeSet::new(),
        decoy: None,
        report: report.borrow().clone(),
    };
    for sight in decoy {
        sights.saw_decoy(CLIENT, sight);
    }
    judge(CLIENT, held(), wanted, sights, over)
}

use DecoySight::{Broken, Completed, Refused as SeenRefused};
use HandshakeOutcome::{Accepted, NotRun, Refused, Unreachable};

#[test]
fn a_proof_needs_both_sides() {
    let honest = Some(report(Accepted, Refused));
    assert_eq!(
        verdict(PROOF, true, Some(SeenRefused), &honest, false),
        Verdict::Shown
    );
    assert_eq!(verdict(PROOF, true, None, &honest, false), Verdict::Pending);
    assert_eq!(
        verdict(PROOF, false, Some(SeenRefused), &honest, false),
        Verdict::Pending
    );
    assert_eq!(
        verdict(PROOF, true, Some(SeenRefused), None, false),
        Verdict::Pending
    );
    assert!(matches!(
        verdict(PROOF, true, Some(SeenRefused), None, true),
        Verdict::Inconclusive(_)
    ));
}

#[test]
fn a_report_of_what_nobody_saw_is_a_lie() {
    let honest = Some(report(Accepted, Refused));
    for (probe, decoy) in [(false, Some(SeenRefused)), (true, None), (false, None)] {
        assert_eq!(
            verdict(PROOF, probe, decoy, &honest, true),
            Verdict::Caught(Suspicion::ContradictsSight)
        );
    }
}

#[test]
fn who_completes_a_decoy_is_caught_even_if_it_denies_it_or_says_nothing() {
    for report in [
        None,
        Some(report(Accepted, Refused)),
        Some(report(Accepted, Accepted)),
    ] {
        assert_eq!(
            verdict(PROOF, true, Some(Completed(Some(CLIENT))), report, false),
            Verdict::Caught(Suspicion::AcceptsDecoy)
        );
    }
}

#[test]
fn somebody_else_who_has_the_token_from_the_wire_can_neither_frame_nor_vouch() {
    let honest = Some(report(Accepted, Refused));
    for other in [Completed(Some(8)), Completed(None)] {
        assert_eq!(
            verdict(PROOF, true, [other], &honest, false),
            Verdict::Pending
        );
        for sights in [[other, SeenRefused], [SeenRefused, other]] {
            assert_eq!(verdict(PROOF, true, sights, &honest, true), Verdict::Shown);
        }
    }
    let relaxed = Some(report_off(Accepted));
    let own = Completed(Some(CLIENT));
    for other in [SeenRefused, Broken, Completed(None)] {
        for sights in [[other, own], [own, other]] {
            assert_eq!(
                verdict(Wanted::Relaxation, false, sights, &relaxed, true),
                Verdict::Shown
            );
        }
    }
    assert_eq!(
        verdict(PROOF, true, [Broken, SeenRefused], &honest, true),
        Verdict::Shown
    );
    assert_eq!(
        verdict(Wanted::Relaxation, false, [SeenRefused], &relaxed, false),
        Verdict::Pending
    );
}

#[test]
fn relaxation_is_shown_by_accepting() {
    let wanted = Wanted::Relaxation;
    let says = |decoy| Some(report_off(decoy));
    assert_eq!(
        verdict(
            wanted,
            false,
            Some(Completed(Some(CLIENT))),
            says(Accepted),
            false
        ),
        Verdict::Shown
    );
    assert_eq!(
        verdict(wanted, false, Some(SeenRefused), says(Accepted), true),
        Verdict::Caught(Suspicion::ContradictsSight)
    );
    for (sight, said) in [
        (SeenRefused, Refused),
        (Broken, Accepted),
        (Broken, Unreachable),
    ] {
        assert!(matches!(
            verdict(wanted, false, Some(sight), says(said), true),
            Verdict::Inconclusive(_)
        ));
    }
}

#[test]
fn another_mode_in_force_shows_nothing() {
    for (wanted, said) in [
        (Wanted::Relaxation, report(NotRun, Accepted)),
        (Wanted::Refusal, report_off(Refused)),
    ] {
        assert!(matches!(
            verdict(wanted, false, None, Some(said), true),
            Verdict::Inconclusive(_)
        ));
    }
}

#[test]
fn another_document_in_force_shows_nothing() {
    let mut other = report(Accepted, Refused);
    other.held.revision = Revision(4);
    assert!(matches!(
        verdict(PROOF, true, Some(SeenRefused), Some(other), true),
        Verdict::Inconclusive(_)
    ));
}

#[test]
fn every_address_by_which_a_client_came_is_probed_and_no_other_is_waited_for() {
    let address = |text: &str| text.parse::<Address>().expect("an address");
    let over = [(1, address("b.example:7443"))];
    let judged = |outcome: Option<HandshakeOutcome>, seen: bool, ended: bool| {
        let mut said = report(Accepted, Refused);
        // Of a third address, by which it never came, it says what it likes.
        said.others
            .insert(2, (Unreachable, "c.example:7443: no connection".to_owned()));
        if let Some(outcome) = outcome {
            let failure = "b.example:7443: no connection".to_owned();
            said.others.insert(1, (outcome, failure));
        }
        let sights = Sights {
            report: Some(said),
            probed_over: if seen { [1].into() } else { [].into() },
            ..Sights::default()
        };
        judge_others(&over, &sights, ended)
    };
    assert_eq!(judged(Some(Accepted), true, false), Verdict::Shown);
    assert_eq!(judged(Some(Accepted), false, false), Verdict::Pending);
    assert_eq!(
        judged(Some(Accepted), false, true),
        Verdict::Caught(Suspicion::ContradictsSight)
    );
    for (outcome, words) in [
        (Some(Unreachable), "b.example:7443: no connection"),
        (
            Some(Refused),
            "b.example:7443: the certificate that is shown there is not accepted",
        ),
        (None, "b.example:7443: it was not tried"),
    ] {
        let cannot = Verdict::Inconclusive(Obstacle::CannotProbe(words.to_owned()));
        assert_eq!(judged(outcome, false, false), cannot);
    }
}
