//! Who is waited for, and may the gate open? Read-only: opening is an append.

use jiff::Timestamp;
use roaring::RoaringBitmap;

use crate::{
    rotation::{Phase, Rotation, Strategy},
    state::Fleet,
};

/// The clients that the rotation's present phase waits for: the roster less those that have shown what the gate asks for, less unexpired waivers.
/// In `Swapping`: those that were connected before and are not back. Empty in phases without a gate.
#[must_use]
pub fn missing(fleet: &Fleet, rotation: &Rotation, now: Timestamp) -> RoaringBitmap {
    let mut missing = match rotation.phase {
        Phase::Preparing => match rotation.strategy {
            Strategy::Overlap => fleet.roster() - &rotation.proved,
            Strategy::Toggle => fleet.roster() - &(&rotation.applied & &rotation.relaxed),
        },
        Phase::Swapping => (fleet.roster() & &rotation.expected) - &rotation.returned,
        Phase::Enforcing => fleet.roster() - &rotation.confirmed,
        Phase::Planned
        | Phase::PausingReplication
        | Phase::ResumingReplication
        | Phase::Completed
        | Phase::Aborted
        | Phase::RolledBack => RoaringBitmap::new(),
    };
    for (client, waiver) in &rotation.waivers {
        if waiver.until > now {
            missing.remove(*client);
        }
    }
    missing
}

/// Whether nobody is waited for.
#[must_use]
pub fn is_open(fleet: &Fleet, rotation: &Rotation, now: Timestamp) -> bool {
    missing(fleet, rotation, now).is_empty()
}

/// How many waivers there may be: 5 % of the roster, at least 1.
#[must_use]
pub fn waiver_cap(fleet: &Fleet) -> u64 {
    (fleet.roster().len() / 20).max(1)
}
