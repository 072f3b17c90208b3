//! Pure: from the document that the controller wants, what is on disk and the time, to the step that is due. Nothing is stored here.

use convoy_proto::documents::{BadDocument, decode_trust, open_trust};
use convoy_shared::{
    ack::Held,
    envelope::Envelope,
    id::{GroupName, Revision},
    trust::{BadReplacement, Replacement, check_replacement},
};
use jiff::Timestamp;

use crate::state::{SignedTrust, State};

/// What is to be done about an offered document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// It is on disk and in force.
    Nothing,
    /// It is to be stored, and then in force.
    Store {
        /// What to store.
        trust: SignedTrust,
        /// Whether it has expired already. It is newer all the same.
        stale: bool,
    },
    /// It is not to be stored.
    Refuse(Refused),
}

/// The step due about `offered`. Repetition is no change.
#[must_use]
pub fn reconcile(offered: Envelope, held: &State, now: Timestamp) -> Step {
    // The same bytes were verified when they were stored.
    if offered.digest() == held.held().digest {
        return Step::Nothing;
    }
    match replace(&offered, held) {
        Ok(None) => Step::Nothing,
        Ok(Some(trust)) => Step::Store {
            stale: now > trust.document.expires_at,
            trust,
        },
        Err(refused) => Step::Refuse(refused),
    }
}

/// What to call an offered document in an acknowledgment. Revision 0 if it cannot be read.
#[must_use]
pub fn name_of(offered: &Envelope) -> Held {
    Held {
        revision: decode_trust(&offered.payload).map_or(Revision(0), |document| document.revision),
        digest: offered.digest(),
    }
}

fn replace(offered: &Envelope, held: &State) -> Result<Option<SignedTrust>, Refused> {
    let root = &held.root.root;
    let document = open_trust(offered, root)?;
    if document.audience != held.group {
        return Err(Refused::OtherGroup {
            own: held.group.clone(),
            offered: document.audience,
        });
    }
    let replacement = check_replacement(
        &held.trust.document,
        held.held().digest,
        &document,
        offered.digest(),
        root,
    )?;
    Ok(match replacement {
        Replacement::Same => None,
        Replacement::Newer => Some(SignedTrust {
            envelope: offered.clone(),
            document,
        }),
    })
}

/// Why a document is not stored.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// Not to be believed.
    #[error(transparent)]
    Document(#[from] BadDocument),
    /// May not replace the one on disk.
    #[error(transparent)]
    Replacement(#[from] BadReplacement),
    /// For others.
    #[error("the trust document is for the group {offered}, and this client is in {own}")]
    OtherGroup {
        /// Own.
        own: GroupName,
        /// The document's.
        offered: GroupName,
    },
}

#[cfg(test)]
mod tests {
    use convoy_shared::{
        id::RootVersion,
        trust::{MAX_REVISION_JUMP, Mode},
    };
    use jiff::SignedDuration;

    use super::*;
    use crate::samples::Fleet;

    const OFF: Mode = Mode::Off {
        lease: SignedDuration::from_hours(1),
    };

    fn refused(step: Step) -> String {
        match step {
            Step::Refuse(why) => why.to_string(),
            other => panic!("not refused: {other:?}"),
        }
    }

    #[test]
    fn what_is_held_already_needs_no_step() {
        let fleet = Fleet::new();
        let state = fleet.state();
        let same = state.trust.envelope.clone();
        assert_eq!(
            reconcile(same.clone(), &state, fleet.start()),
            Step::Nothing
        );
        // Also when a newer root has taken the key away from whoever signed it.
        let mut renewed = state;
        let mark = renewed.mark.clone();
        renewed.prove(vec![fleet.next_root()], mark, true);
        assert_eq!(reconcile(same, &renewed, fleet.start()), Step::Nothing);
    }

    #[test]
    fn a_newer_document_is_stored_also_when_it_has_expired() {
        let fleet = Fleet::new();
        let state = fleet.state();
        let next = fleet.trust(state.trust.document.revision.0 + 1, OFF);
        for (now, stale) in [
            (fleet.start(), false),
            (
                next.document.expires_at + SignedDuration::from_secs(1),
                true,
            ),
        ] {
            let step = reconcile(next.envelope.clone(), &state, now);
            assert_eq!(
                step,
                Step::Store {
                    trust: next.clone(),
                    stale
                }
            );
        }
    }

    #[test]
    fn nothing_goes_back_or_too_far_ahead() {
        let fleet = Fleet::new();
        let state = fleet.state();
        let held = state.trust.document.revision.0;
        for revision in [held - 1, held] {
            // Of the same revision, and yet another document.
            let offered = fleet.trust(revision, OFF).envelope;
            let why = refused(reconcile(offered, &state, fleet.start()));
            assert!(why.contains("never goes back"), "{why}");
        }
        let offered = fleet.trust(held + MAX_REVISION_JUMP + 1, OFF).envelope;
        assert!(refused(reconcile(offered, &state, fleet.start())).contains("jumps"));
    }

    #[test]
    fn strangers_and_other_groups_order_nothing() {
        let fleet = Fleet::new();
        let state = fleet.state();
        let mut forged = fleet.trust(50, OFF).envelope;
        forged.signatures[0].signature[0] ^= 1;
        assert!(refused(reconcile(forged, &state, fleet.start())).contains("signatures"));
        let mut document = fleet.trust(50, OFF).document;
        document.audience = "others".parse().expect("a name");
        let why = refused(reconcile(fleet.sign(&document), &state, fleet.start()));
        assert!(why.contains("group others"), "{why}");
    }

    #[test]
    fn an_unknown_root_and_a_forbidden_off_are_refused() {
        let fleet = Fleet::new();
        let mut state = fleet.state();
        let mut document = fleet.trust(50, Mode::Verify).document;
        document.root_version = RootVersion(2);
        let why = refused(reconcile(fleet.sign(&document), &state, fleet.start()));
        assert!(why.contains("root version 2"), "{why}");
        state.root.root.off_allowed = false;
        let offered = fleet.trust(50, OFF).envelope;
        assert!(refused(reconcile(offered, &state, fleet.start())).contains("forbids"));
    }

    #[test]
    fn a_document_has_a_name_also_when_it_cannot_be_read() {
        let fleet = Fleet::new();
        let mut envelope = fleet.trust(50, OFF).envelope;
        assert_eq!(name_of(&envelope).revision, Revision(50));
        envelope.payload = vec![0xff];
        assert_eq!(name_of(&envelope).revision, Revision(0));
    }
}
