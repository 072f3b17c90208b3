//! Why a client that a rotation waits for is missing. A question to the state and to what was seen since the controller began; what to do about it is
//! said by whoever shows it.

use std::fmt;

use convoy_shared::trust::ModeInForce;
use jiff::{SignedDuration, Timestamp};

use crate::{
    client::{ClientNumber, ClientState, Suspicion},
    rotation::{Phase, Rotation},
    standing::Standing,
    state::Fleet,
};

/// Why a client is missing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reason {
    /// It is switched off, or cannot reach the controller.
    Off {
        /// When it was last seen.
        since: Timestamp,
    },
    /// It is connected, and has not shown yet what it is asked for.
    Silent {
        /// Since when it could have.
        since: Timestamp,
    },
    /// It is connected, and something keeps it from showing what it is asked for.
    Hindered {
        /// What.
        obstacle: Obstacle,
        /// How far its clock is ahead of the controller's. Negative: behind. `None`: not known, or by no more than [`CLOCKS_DIFFER`].
        clock_ahead: Option<SignedDuration>,
    },
    /// It is connected, and has not come back to the new certificate.
    OnOldCertificate {
        /// Since when it could have.
        since: Timestamp,
    },
    /// It trusts nothing that the controller holds, and cannot connect any more.
    CutOff {
        /// When it joined again in place, if it did: its agent has not connected since.
        rejoined: Option<Timestamp>,
    },
    /// It was caught saying what is not so, or accepts a decoy.
    Suspect(Suspicion),
    /// Two live copies of it alternate.
    Duplicated {
        /// Where they connect from, as far as was seen: the newest first.
        addresses: Vec<String>,
    },
}

/// What keeps a connected client from showing what it is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Obstacle {
    /// It does not store the trust document.
    RefusesDocument(String),
    /// It cannot store the trust document, because its disk is full.
    DiskFull(String),
    /// It stored the trust document, and refuses the new certificate all the same.
    RefusesCertificate,
    /// It could not make a handshake that it was asked for.
    CannotProbe(String),
    /// Another verification mode is in force than the one that was ordered.
    OtherMode(ModeInForce),
    /// Another trust document was in force during the check.
    OtherDocument,
    /// It was asked to show what it accepts, and did not report.
    NoReport,
    /// Its identity certificate has expired, and what it shows counts only after it has renewed it.
    IdentityExpired,
}

/// Clocks that differ by no more are taken for the same.
pub const CLOCKS_DIFFER: SignedDuration = SignedDuration::from_mins(5);

/// What was seen of a client, most of it since the controller began. None of it is in the journal.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sight {
    /// Since when it has a session. `None`: it has none.
    pub connected_since: Option<Timestamp>,
    /// When it was last seen. `None`: not since it joined.
    pub last_seen: Option<Timestamp>,
    /// What kept it from showing what it was last asked for.
    pub obstacle: Option<Obstacle>,
    /// How far its clock is ahead of the controller's, if it said so.
    pub clock_ahead: Option<SignedDuration>,
    /// Where its agents connected from, the newest first.
    pub addresses: Vec<String>,
}

/// Why a rotation waits for this client. `None`: there is no such client.
#[must_use]
pub fn reason(
    fleet: &Fleet,
    rotation: &Rotation,
    client: ClientNumber,
    sight: Sight,
    now: Timestamp,
) -> Option<Reason> {
    let record = fleet.client(client)?;
    if record.state == ClientState::Duplicated {
        return Some(Reason::Duplicated {
            addresses: sight.addresses,
        });
    }
    // One that is cut off cannot show that a suspicion is wrong.
    if sight.connected_since.is_none()
        && fleet.standing(record, sight.last_seen, now) == Standing::CutOff
    {
        return Some(Reason::CutOff {
            rejoined: record
                .rejoined
                .map(|(at, _)| at)
                .filter(|at| sight.last_seen.is_none_or(|seen| *at > seen)),
        });
    }
    if let Some(suspicion) = record.suspicion {
        return Some(Reason::Suspect(suspicion));
    }
    let Some(connected_since) = sight.connected_since else {
        return Some(Reason::Off {
            since: sight.last_seen.unwrap_or(record.joined_at),
        });
    };
    let hindered = |obstacle| Reason::Hindered {
        obstacle,
        clock_ahead: sight
            .clock_ahead
            .filter(|ahead| ahead.abs() > CLOCKS_DIFFER),
    };
    if record.identity_expires_at < now {
        return Some(hindered(Obstacle::IdentityExpired));
    }
    let since = connected_since.max(rotation.phase_since);
    if rotation.phase == Phase::Swapping {
        return Some(Reason::OnOldCertificate { since });
    }
    Some(sight.obstacle.map_or(Reason::Silent { since }, hindered))
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Off { since } => write!(f, "off or out of reach since {since:.0}"),
            Self::Silent { since } => write!(
                f,
                "connected, and has not shown what it is asked for since {since:.0}"
            ),
            Self::Hindered {
                obstacle,
                clock_ahead,
            } => {
                write!(f, "{obstacle}")?;
                match clock_ahead {
                    Some(ahead) if ahead.is_positive() => {
                        write!(f, "; its clock is {} ahead", Span(*ahead))
                    }
                    Some(behind) => write!(f, "; its clock is {} behind", Span(*behind)),
                    None => Ok(()),
                }
            }
            Self::OnOldCertificate { since } => write!(
                f,
                "connected on the old certificate, and has not come back to the new one since {since:.0}"
            ),
            Self::CutOff { rejoined } => {
                f.write_str(
                    "cut off: it trusts nothing that the controller holds, and cannot connect",
                )?;
                match rejoined {
                    Some(at) => write!(
                        f,
                        "; it joined again at {at:.0}, and its agent has not been started since"
                    ),
                    None => Ok(()),
                }
            }
            Self::Suspect(suspicion) => suspicion.fmt(f),
            Self::Duplicated { addresses } => {
                f.write_str("two live copies of it alternate")?;
                if !addresses.is_empty() {
                    write!(f, "; they connect from {}", addresses.join(" and "))?;
                }
                Ok(())
            }
        }
    }
}

impl fmt::Display for Obstacle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::RefusesDocument(why) => write!(f, "refuses the trust document: {why}"),
            Self::DiskFull(what) => write!(f, "its disk is full: {what}"),
            Self::RefusesCertificate => f.write_str("refuses the new certificate"),
            Self::CannotProbe(why) => write!(f, "could not probe: {why}"),
            Self::OtherMode(ModeInForce::Off) => {
                f.write_str("its verification is off, and it is to be on")
            }
            Self::OtherMode(ModeInForce::Verify) => {
                f.write_str("its verification is on, and it is to be off")
            }
            Self::OtherDocument => {
                f.write_str("another trust document was in force when it was checked")
            }
            Self::NoReport => f.write_str("was asked to show what it accepts, and did not report"),
            Self::IdentityExpired => {
                f.write_str("its identity certificate has expired, and it has not renewed it yet")
            }
        }
    }
}

/// A span of time in its largest fitting unit, cut off.
struct Span(SignedDuration);

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.as_secs().unsigned_abs() {
            seconds @ 0..120 => write!(f, "{seconds} s"),
            seconds @ 120..7_200 => write!(f, "{} min", seconds / 60),
            seconds @ 7_200..172_800 => write!(f, "{} h", seconds / 3_600),
            seconds => write!(f, "{} days", seconds / 86_400),
        }
    }
}
