//! What a state file must survive, and what it must not.

use convoy_shared::trust::Mode;
use jiff::SignedDuration;

use super::*;
use crate::samples::Fleet;

fn folder() -> (tempfile::TempDir, StateDir) {
    let parent = tempfile::tempdir().expect("a folder");
    let dir = StateDir::create(&parent.path().join("s")).expect("made");
    (parent, dir)
}

#[test]
fn a_state_is_read_as_it_was_written() {
    let (_parent, dir) = folder();
    assert!(matches!(State::load(&dir), Err(StateError::Absent)));
    let state = Fleet::new().state();
    state.store(&dir).expect("stored");
    assert_eq!(State::load(&dir).expect("loaded"), state);
}

#[test]
fn every_changed_byte_and_every_cut_is_noticed() {
    let bytes = Fleet::new().state().to_bytes();
    for at in 0..bytes.len() {
        let mut changed = bytes.clone();
        changed[at] ^= 1;
        assert!(State::from_bytes(&changed).is_err(), "changed at {at}");
    }
    for end in 0..bytes.len() {
        assert!(State::from_bytes(&bytes[..end]).is_err(), "cut at {end}");
    }
}

#[test]
fn damage_and_a_newer_format_are_never_an_empty_state() {
    let (_parent, dir) = folder();
    dir.write(FILE, b"").expect("written");
    assert!(matches!(
        State::load(&dir),
        Err(StateError::Damaged {
            why: Damage::NoState,
            ..
        })
    ));
    dir.write(FILE, b"convoy-agent state 2\nwhatever")
        .expect("written");
    assert!(matches!(
        State::load(&dir),
        Err(StateError::Damaged {
            why: Damage::OtherFormat(_),
            ..
        })
    ));
}

#[test]
fn a_state_with_a_right_checksum_and_a_wrong_signature_is_refused() {
    let mut state = Fleet::new().state();
    state.trust.envelope.signatures[0].signature[0] ^= 1;
    assert!(matches!(
        State::from_bytes(&state.to_bytes()),
        Err(Damage::Document(BadDocument::Signature(_)))
    ));
}

#[test]
fn a_document_outlives_the_policy_key_that_signed_it() {
    let fleet = Fleet::new();
    let mut state = fleet.state();
    state.prove(vec![fleet.next_root()], state.mark.clone(), true);
    assert_eq!(state.earlier_roots.len(), 1);
    assert_eq!(State::from_bytes(&state.to_bytes()).expect("valid"), state);
}

#[test]
fn off_ends_and_staleness_shows_by_the_time_given() {
    let fleet = Fleet::new();
    let mut state = fleet.state();
    let lease = SignedDuration::from_hours(2);
    state.trust = fleet.trust(9, Mode::Off { lease });
    let start = state.last_proof;
    let ago = |time: SignedDuration| {
        Clock::resume(Mark {
            time: start + time,
            ..Mark::first(start + time)
        })
    };
    assert_eq!(state.mode(&ago(SignedDuration::ZERO)), ModeInForce::Off);
    assert_eq!(state.mode(&ago(lease)), ModeInForce::Verify);
    // Of another start of the host.
    let unmeasured = Clock::resume(Mark {
        boot: "another".to_owned(),
        ..Mark::first(start)
    });
    assert_eq!(state.mode(&unmeasured), ModeInForce::Verify);
    assert!(!state.is_stale(start));
    assert!(state.is_stale(state.trust.document.expires_at + SignedDuration::from_secs(1)));
}
