//! The journal's enumerations, to the model and back. Zero is never written, and never read.

use convoy_fleet::{
    client::Suspicion,
    rotation::{Phase, Strategy},
};
use convoy_shared::{ack::Evidence, trust::ModeInForce};

use super::{BadEntry, wire};

macro_rules! words {
    ($model:ty, $wire:ty, $field:literal, $($word:ident)+) => {
        impl From<$model> for $wire {
            fn from(word: $model) -> Self {
                match word {
                    $(<$model>::$word => Self::$word,)+
                }
            }
        }

        impl TryFrom<$wire> for $model {
            type Error = BadEntry;

            fn try_from(wire: $wire) -> Result<Self, BadEntry> {
                match wire {
                    $(<$wire>::$word => Ok(Self::$word),)+
                    <$wire>::Unspecified => Err(BadEntry::Missing($field)),
                }
            }
        }
    };
}

words!(ModeInForce, wire::VerificationMode, "mode", Verify Off);
words!(Evidence, wire::Evidence, "evidence", Received Applied Proved Confirmed);
words!(
    Suspicion, wire::Suspicion, "suspicion",
    UnknownDocument AcceptsDecoy ContradictsSight OffUnasked
);
words!(Strategy, wire::Strategy, "strategy", Overlap Toggle);
words!(
    Phase, wire::Phase, "phase",
    Planned PausingReplication Preparing Swapping Enforcing ResumingReplication Completed Aborted RolledBack
);
