//! What an agent is, for people and scripts, from what is on disk. Nobody is asked, and nothing is changed.

use std::fmt;

use convoy_shared::{
    certificate::not_after,
    trust::{Mode, ModeInForce},
};
use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

use crate::{
    clock::TOLERATED,
    disk::{DiskError, StateDir},
    scep::show,
    state::{State, StateError},
};

/// The status.
#[derive(Clone, Debug, Serialize)]
pub struct Status {
    /// UUID.
    pub client_id: String,
    /// UUID.
    pub fleet_id: String,
    /// What people call the host.
    pub name: String,
    /// The group.
    pub group: String,
    /// The controller's, best first.
    pub addresses: Vec<String>,
    /// Of the root in force.
    pub root_version: u64,
    /// Of the trust document.
    pub trust_revision: u64,
    /// The epoch of the trust document: the life of the journal in which it was issued.
    pub trust_epoch: u64,
    /// SHA-256 of the trust document, hex.
    pub trust_digest: String,
    /// As the document orders: `verify` or `off`.
    pub mode: &'static str,
    /// Just now: `verify` or `off`.
    pub mode_in_force: &'static str,
    /// When "off" ends, by the controller's time, if the controller is not heard before. `None` unless it is in force.
    pub off_until: Option<Timestamp>,
    /// How far this host's wall clock is ahead of the controller's time, in seconds; negative: behind. `None` if it differs by at most 5 minutes,
    /// or the controller has not been heard since the host was started.
    pub clock_ahead_seconds: Option<i64>,
    /// Numbers, ascending.
    pub anchors: Vec<u64>,
    /// The identity certificate's end; `None` if it cannot be read.
    pub identity_expires_at: Option<Timestamp>,
    /// The trust document's end.
    pub trust_expires_at: Timestamp,
    /// Whether the trust document or the root has expired.
    pub stale: bool,
    /// When the controller last proved itself, by its own time.
    pub last_proof: Timestamp,
    /// How often the agent has started.
    pub incarnation: u64,
    /// Revision of the SCEP document. 0: the controller has set nothing.
    pub scep_revision: u64,
    /// The newest certificate request that was made, in words; `None` if there was none, or the list cannot be read.
    pub scep_request: Option<String>,
    /// Whether another process holds the state folder.
    pub running: bool,
}

/// Reads the status of a folder.
///
/// # Errors
/// If this host has not joined, or its state cannot be read.
pub fn status(dir: &StateDir) -> Result<Status, StatusError> {
    let state = State::load(dir)?;
    let clock = state.clock();
    // Nothing of SCEP may hide the state of the trust.
    let requests = show::requests(dir).ok();
    Ok(Status {
        client_id: state.client_id.to_string(),
        fleet_id: state.fleet_id().to_string(),
        name: state.name.clone(),
        group: state.group.to_string(),
        addresses: state.addresses.iter().map(ToString::to_string).collect(),
        root_version: state.root.root.version.0,
        trust_revision: state.trust.document.revision.0,
        trust_epoch: state.trust.document.epoch.0,
        trust_digest: state.held().digest.to_string(),
        mode: match state.trust.document.mode {
            Mode::Verify => "verify",
            Mode::Off { .. } => "off",
        },
        mode_in_force: match state.mode(&clock) {
            ModeInForce::Verify => "verify",
            ModeInForce::Off => "off",
        },
        off_until: state
            .trust(&clock)
            .off_until()
            .filter(|until| clock.now() <= *until),
        clock_ahead_seconds: clock
            .ahead()
            .filter(|ahead| ahead.abs() > TOLERATED)
            .map(|ahead| ahead.as_secs()),
        anchors: state
            .trust
            .document
            .anchors
            .numbers()
            .into_iter()
            .map(|number| number.0)
            .collect(),
        identity_expires_at: not_after(state.leaf())
            .ok()
            .and_then(|seconds| Timestamp::from_second(seconds).ok()),
        trust_expires_at: state.trust.document.expires_at,
        stale: state.is_stale(clock.now()),
        last_proof: state.last_proof,
        incarnation: state.incarnation.0,
        scep_revision: requests.as_ref().map_or(0, |requests| requests.revision),
        scep_request: requests.as_ref().and_then(show::Requests::newest),
        running: dir.is_held(),
    })
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut line = |what: &str, value: &dyn fmt::Display| writeln!(f, "{what:<16}{value}");
        line("client", &self.client_id)?;
        line("name", &self.name)?;
        line("group", &self.group)?;
        line("fleet", &self.fleet_id)?;
        line("addresses", &self.addresses.join(", "))?;
        line("root version", &self.root_version)?;
        line("trust revision", &self.trust_revision)?;
        line("trust epoch", &self.trust_epoch)?;
        line("trust digest", &self.trust_digest)?;
        let stale = if self.stale { " (stale)" } else { "" };
        line(
            "trust until",
            &format_args!("{}{stale}", self.trust_expires_at),
        )?;
        let mode = if self.mode == self.mode_in_force {
            self.mode.to_owned()
        } else {
            format!("{} (ordered: {})", self.mode_in_force, self.mode)
        };
        match self.off_until {
            Some(until) => line("mode", &format_args!("{mode}, until {until}"))?,
            None => line("mode", &mode)?,
        }
        if let Some(ahead) = self.clock_ahead_seconds {
            let side = if ahead < 0 { "behind" } else { "ahead of" };
            let length = SignedDuration::from_secs(ahead).abs();
            line(
                "wall clock",
                &format_args!("{length:#} {side} the controller's"),
            )?;
        }
        let anchors: Vec<_> = self.anchors.iter().map(u64::to_string).collect();
        line("anchors", &anchors.join(", "))?;
        match self.identity_expires_at {
            Some(time) => line("identity until", &time)?,
            None => line("identity until", &"cannot be read")?,
        }
        line("last proof", &self.last_proof)?;
        line("starts", &self.incarnation)?;
        line("scep revision", &self.scep_revision)?;
        line(
            "scep request",
            &self.scep_request.as_deref().unwrap_or("none"),
        )?;
        line("running", &if self.running { "yes" } else { "no" })
    }
}

/// Why there is no status.
#[derive(Debug, thiserror::Error)]
pub enum StatusError {
    /// The folder.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// The state.
    #[error(transparent)]
    State(#[from] StateError),
}
