//! A rotation: its phases, and what is due in each. Who is waited for is the gate's question.

use std::{collections::BTreeMap, fmt};

use convoy_shared::{
    ack::Evidence,
    id::{Generation, Revision, RotationId},
};
use jiff::{SignedDuration, Timestamp};
use roaring::RoaringBitmap;

use crate::{client::ClientNumber, gate, state::Fleet};

/// How trust is moved from the old certificate to the new one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Strategy {
    /// Trust old and new together; verification is never off.
    Overlap,
    /// Verification off, swap, verification on.
    Toggle,
}

/// Where a rotation is. In order: a rotation only moves on, or to one of the last two.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Phase {
    /// Nothing has changed.
    Planned,
    /// Links to other sites are being paused.
    PausingReplication,
    /// Clients take the trust that covers the swap.
    Preparing,
    /// The certificate changes.
    Swapping,
    /// Clients take the trust in the new certificate alone.
    Enforcing,
    /// Links to other sites are being resumed.
    ResumingReplication,
    /// Over.
    Completed,
    /// Over: stopped before the swap.
    Aborted,
    /// Over: too few came back after the swap.
    RolledBack,
}

impl Phase {
    /// Whether it is over.
    #[must_use]
    pub const fn is_terminal(self) -> bool {
        matches!(self, Self::Completed | Self::Aborted | Self::RolledBack)
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Planned => "Planned",
            Self::PausingReplication => "PausingReplication",
            Self::Preparing => "Preparing",
            Self::Swapping => "Swapping",
            Self::Enforcing => "Enforcing",
            Self::ResumingReplication => "ResumingReplication",
            Self::Completed => "Completed",
            Self::Aborted => "Aborted",
            Self::RolledBack => "RolledBack",
        })
    }
}

/// What an operator may choose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RotationOptions {
    /// How long after the swap to wait for those that were connected.
    pub return_window: SignedDuration,
    /// How many of them may stay away. `None`: 2 %, at least 1.
    pub max_missing: Option<u32>,
    /// With `Toggle`: how long "off" lasts without a session.
    pub off_lease: SignedDuration,
}

impl Default for RotationOptions {
    fn default() -> Self {
        Self {
            return_window: SignedDuration::from_mins(10),
            max_missing: None,
            off_lease: SignedDuration::from_hours(14 * 24),
        }
    }
}

/// A rotation and what its clients have shown. A bitmap holds the clients that have reached at least that.
#[derive(Clone, Debug, PartialEq)]
pub struct Rotation {
    /// Its id.
    pub id: RotationId,
    /// The generation that was served before.
    pub from: Generation,
    /// The generation that is to be served.
    pub to: Generation,
    /// How.
    pub strategy: Strategy,
    /// As asked for.
    pub options: RotationOptions,
    /// Where it is.
    pub phase: Phase,
    /// Since when.
    pub phase_since: Timestamp,
    /// When it began.
    pub started_at: Timestamp,
    /// No phase begins while it is paused.
    pub paused: bool,
    /// Why it ended early. Empty otherwise.
    pub reason: String,
    /// The phases that it has been in.
    pub passed: Vec<Phase>,
    /// Revision of the newest trust that was published for it.
    pub revision: Option<Revision>,
    /// Has the rotation's trust.
    pub received: RoaringBitmap,
    /// Has it in force.
    pub applied: RoaringBitmap,
    /// `Toggle`: has shown that verification is off.
    pub relaxed: RoaringBitmap,
    /// Has accepted the new certificate and refused a decoy.
    pub proved: RoaringBitmap,
    /// Has come back under the final trust.
    pub confirmed: RoaringBitmap,
    /// Was connected when the swap began.
    pub expected: RoaringBitmap,
    /// Of those, is back on the new certificate.
    pub returned: RoaringBitmap,
    /// Of those, had not come back when it was rolled back. Empty unless it was.
    pub stayed_away: RoaringBitmap,
    /// The certificate to swap to is held, with its key, by the controller.
    pub candidate_held: bool,
    /// The controller serves the new certificate.
    pub swapped: bool,
    /// Since when, without a restart of the controller: the return window begins here. Means nothing before the swap.
    pub swapped_since: Timestamp,
    /// Clients that are not waited for.
    pub waivers: BTreeMap<ClientNumber, Waiver>,
    /// The most clients ever missing at a shut gate.
    pub waited_for: u64,
}

/// A client that is not waited for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Waiver {
    /// Why.
    pub reason: String,
    /// Until when.
    pub until: Timestamp,
    /// Who said so, for people.
    pub actor: String,
}

impl Rotation {
    /// What a client has shown so far.
    #[must_use]
    pub fn evidence(&self, client: ClientNumber) -> Option<Evidence> {
        [
            (&self.confirmed, Evidence::Confirmed),
            (&self.proved, Evidence::Proved),
            (&self.applied, Evidence::Applied),
            (&self.received, Evidence::Received),
        ]
        .into_iter()
        .find_map(|(set, evidence)| set.contains(client).then_some(evidence))
    }

    /// How many of those that the swap disconnected may stay away.
    #[must_use]
    pub fn max_missing(&self) -> u64 {
        self.options
            .max_missing
            .map_or_else(|| (self.expected.len() / 50).max(1), u64::from)
    }

    pub(crate) fn give(&mut self, client: ClientNumber, evidence: Evidence) {
        self.received.insert(client);
        if evidence >= Evidence::Applied {
            self.applied.insert(client);
        }
        if evidence >= Evidence::Proved {
            self.proved.insert(client);
        }
        if evidence >= Evidence::Confirmed {
            self.confirmed.insert(client);
        }
    }

    pub(crate) fn clear(&mut self, client: ClientNumber) {
        for set in [
            &mut self.received,
            &mut self.applied,
            &mut self.relaxed,
            &mut self.proved,
            &mut self.confirmed,
        ] {
            set.remove(client);
        }
    }
}

/// What is to be done. Derived from state alone, so that it shows again after any crash; doing it twice changes nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Duty {
    /// Load this certificate with its key, so that probes can see it, and attest it.
    HoldCandidate(Generation),
    /// Serve this certificate, close what was opened under another one gently, and attest it.
    Swap(Generation),
    /// Decide [`Command::Advance`](crate::decide::Command::Advance).
    Advance,
    /// Decide [`Command::RefreshTrust`](crate::decide::Command::RefreshTrust).
    RefreshTrust,
}

/// How long after a swap connections under the old certificate are closed, at the latest: 2 ms per client, at least 200 ms and at most 10 s.
#[must_use]
pub fn closing_window(clients: u64) -> SignedDuration {
    let milliseconds = clients.saturating_mul(2).clamp(200, 10_000);
    SignedDuration::from_millis(i64::try_from(milliseconds).unwrap_or(10_000))
}

/// Trust documents are issued for so long.
pub const TRUST_VALIDITY: SignedDuration = SignedDuration::from_hours(365 * 24);
/// And are issued again at half of that, when no rotation runs.
pub const TRUST_REFRESH: SignedDuration = SignedDuration::from_hours(365 * 12);

/// What is to be done now.
#[must_use]
pub fn due(fleet: &Fleet, now: Timestamp) -> Option<Duty> {
    let Some(rotation) = fleet.running() else {
        return refresh_due(fleet, now).then_some(Duty::RefreshTrust);
    };
    match rotation.phase {
        Phase::Preparing if !rotation.candidate_held => Some(Duty::HoldCandidate(rotation.to)),
        Phase::Swapping if !rotation.swapped => Some(Duty::Swap(rotation.to)),
        Phase::Planned
        | Phase::PausingReplication
        | Phase::Preparing
        | Phase::Swapping
        | Phase::Enforcing
        | Phase::ResumingReplication => {
            (next_phase(fleet, rotation, now).is_some()).then_some(Duty::Advance)
        }
        Phase::Completed | Phase::Aborted | Phase::RolledBack => None,
    }
}

/// When [`due`] may change by the passing of time alone.
#[must_use]
pub fn next_deadline(fleet: &Fleet, now: Timestamp) -> Option<Timestamp> {
    let rotation = fleet.running()?;
    let window = (rotation.phase == Phase::Swapping && rotation.swapped)
        .then(|| back_by(fleet, rotation))
        .flatten();
    rotation
        .waivers
        .values()
        .map(|waiver| waiver.until)
        .chain(window)
        .filter(|deadline| *deadline > now)
        .min()
}

/// The phase that may begin now, if one may.
#[must_use]
pub fn next_phase(fleet: &Fleet, rotation: &Rotation, now: Timestamp) -> Option<Phase> {
    // An older journal does not know what clients have shown since.
    if rotation.paused || fleet.recovery().older().is_some() {
        return None;
    }
    let next = after(fleet, rotation, now)?;
    // A gate is opened by a controller that knows what time it is. Going back needs no more than to know how much has passed.
    let opens_a_gate = rotation.phase >= Phase::Preparing && next != Phase::RolledBack;
    (!opens_a_gate || !fleet.clock().is_doubted()).then_some(next)
}

fn after(fleet: &Fleet, rotation: &Rotation, now: Timestamp) -> Option<Phase> {
    match rotation.phase {
        Phase::Planned => Some(Phase::PausingReplication),
        // There are no links to other sites.
        Phase::PausingReplication => Some(Phase::Preparing),
        Phase::Preparing => (rotation.candidate_held && gate::is_open(fleet, rotation, now))
            .then_some(Phase::Swapping),
        Phase::Swapping => after_swap(fleet, rotation, now),
        Phase::Enforcing => {
            gate::is_open(fleet, rotation, now).then_some(Phase::ResumingReplication)
        }
        Phase::ResumingReplication => Some(Phase::Completed),
        Phase::Completed | Phase::Aborted | Phase::RolledBack => None,
    }
}

fn after_swap(fleet: &Fleet, rotation: &Rotation, now: Timestamp) -> Option<Phase> {
    if !rotation.swapped {
        return None;
    }
    let missing = gate::missing(fleet, rotation, now).len();
    if missing == 0 {
        return Some(Phase::Enforcing);
    }
    let over = back_by(fleet, rotation).is_some_and(|end| now >= end);
    match (over, missing <= rotation.max_missing()) {
        (false, _) => None,
        (true, true) => Some(Phase::Enforcing),
        (true, false) => Some(Phase::RolledBack),
    }
}

/// The end of the return window. It begins when the last connection under the old certificate was to be closed.
fn back_by(fleet: &Fleet, rotation: &Rotation) -> Option<Timestamp> {
    rotation
        .swapped_since
        .checked_add(closing_window(fleet.roster().len()))
        .and_then(|closed| closed.checked_add(rotation.options.return_window))
        .ok()
}

fn refresh_due(fleet: &Fleet, now: Timestamp) -> bool {
    fleet.recovery().older().is_none()
        && fleet.founded().is_some_and(|_| {
            fleet.groups().any(|(_, group)| {
                now.checked_add(TRUST_REFRESH)
                    .is_ok_and(|soon| soon >= group.trust.expires_at)
            })
        })
}
