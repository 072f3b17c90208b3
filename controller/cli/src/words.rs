//! How enumerations, times and foreign text are spelled for people and scripts. Nothing here is printed.

use std::fmt;

use convoy_proto::v1::{
    CertificateState, ClientState, Evidence, Expiry, ImportOutcome, Phase, ReasonCode, StepState,
    Strategy, VerificationMode,
};
use jiff::{SignedDuration, Timestamp};
use serde::{Serialize, Serializer};

use crate::failure::Unreadable;

/// What is said of a client that is cut off.
pub(crate) const CUT_OFF: &str = "nothing that the controller holds is vouched for by what it trusts, so that it cannot connect. On its host, stop its agent, \
    run `convoy-agent join TOKEN --state-dir FOLDER` with its folder and a token of this fleet, and start the agent again: it comes back as the same client";

/// An enumeration of the API with its spelling.
pub(crate) trait Spelled: Copy + PartialEq + TryFrom<i32> {
    /// What the enumeration says, for errors.
    const WHAT: &'static str;

    /// The spelling; none for what is never valid in an answer.
    fn spelling(self) -> Option<&'static str>;
}

/// A value of an enumeration of the API that this program can spell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Known<E> {
    value: E,
    spelling: &'static str,
}

impl<E: Spelled> Known<E> {
    pub(crate) fn read(number: i32) -> Result<Self, Unreadable> {
        E::try_from(number)
            .ok()
            .and_then(|value| {
                let spelling = value.spelling()?;
                Some(Self { value, spelling })
            })
            .ok_or_else(|| Unreadable::new(format!("has an unknown {} ({number})", E::WHAT)))
    }

    pub(crate) fn value(self) -> E {
        self.value
    }
}

impl<E> fmt::Display for Known<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.spelling)
    }
}

impl<E> Serialize for Known<E> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.spelling)
    }
}

impl Spelled for Phase {
    const WHAT: &'static str = "phase";

    fn spelling(self) -> Option<&'static str> {
        match self {
            Self::Unspecified => None,
            Self::Planned => Some("Planned"),
            Self::PausingReplication => Some("PausingReplication"),
            Self::Preparing => Some("Preparing"),
            Self::Swapping => Some("Swapping"),
            Self::Enforcing => Some("Enforcing"),
            Self::ResumingReplication => Some("ResumingReplication"),
            Self::Completed => Some("Completed"),
            Self::Aborted => Some("Aborted"),
            Self::RolledBack => Some("RolledBack"),
        }
    }
}

impl Spelled for Strategy {
    const WHAT: &'static str = "strategy";

    fn spelling(self) -> Option<&'static str> {
        match self {
            Self::Unspecified => None,
            Self::Overlap => Some("overlap"),
            Self::Toggle => Some("toggle"),
        }
    }
}

impl Spelled for Evidence {
    const WHAT: &'static str = "evidence";

    fn spelling(self) -> Option<&'static str> {
        Some(match self {
            Self::Unspecified => "none",
            Self::Received => "received",
            Self::Applied => "applied",
            Self::Proved => "proved",
            Self::Confirmed => "confirmed",
        })
    }
}

impl Spelled for VerificationMode {
    const WHAT: &'static str = "verification mode";

    fn spelling(self) -> Option<&'static str> {
        Some(match self {
            // The client has said nothing yet.
            Self::Unspecified => "unknown",
            Self::Verify => "verify",
            Self::Off => "off",
        })
    }
}

impl Spelled for ClientState {
    const WHAT: &'static str = "client state";

    fn spelling(self) -> Option<&'static str> {
        match self {
            Self::Unspecified => None,
            Self::Active => Some("active"),
            Self::Duplicated => Some("duplicated"),
            Self::Decommissioned => Some("decommissioned"),
            Self::CutOff => Some("cut off"),
        }
    }
}

impl Spelled for ReasonCode {
    const WHAT: &'static str = "reason";

    fn spelling(self) -> Option<&'static str> {
        match self {
            Self::Unspecified => None,
            Self::Off => Some("off"),
            Self::Silent => Some("silent"),
            Self::RefusesDocument => Some("refuses-document"),
            Self::DiskFull => Some("disk-full"),
            Self::RefusesCertificate => Some("refuses-certificate"),
            Self::CannotProbe => Some("cannot-probe"),
            Self::AcceptsDecoy => Some("accepts-decoy"),
            Self::OtherMode => Some("other-mode"),
            Self::OtherDocument => Some("other-document"),
            Self::Duplicated => Some("duplicated"),
            Self::Suspect => Some("suspect"),
            Self::OnOldCertificate => Some("on-old-certificate"),
            Self::IdentityExpired => Some("identity-expired"),
            Self::CutOff => Some("cut-off"),
        }
    }
}

impl Spelled for CertificateState {
    const WHAT: &'static str = "certificate state";

    fn spelling(self) -> Option<&'static str> {
        match self {
            Self::Unspecified => None,
            Self::Available => Some("available"),
            Self::Candidate => Some("candidate"),
            Self::Serving => Some("serving"),
            Self::Bridge => Some("bridge"),
            Self::Retired => Some("retired"),
        }
    }
}

impl Spelled for ImportOutcome {
    const WHAT: &'static str = "import outcome";

    fn spelling(self) -> Option<&'static str> {
        match self {
            Self::Unspecified => None,
            Self::Imported => Some("imported"),
            Self::ChainTaken => Some("chain taken"),
            Self::NothingNew => Some("nothing new"),
        }
    }
}

impl Spelled for Expiry {
    const WHAT: &'static str = "expiry";

    fn spelling(self) -> Option<&'static str> {
        match self {
            Self::Unspecified => None,
            Self::Fresh => Some("fresh"),
            Self::Soon => Some("soon"),
            Self::Expired => Some("expired"),
        }
    }
}

impl Spelled for StepState {
    const WHAT: &'static str = "step state";

    fn spelling(self) -> Option<&'static str> {
        match self {
            Self::Unspecified => None,
            Self::Pending => Some("pending"),
            Self::Active => Some("active"),
            Self::Done => Some("done"),
            Self::Skipped => Some("skipped"),
        }
    }
}

/// An instant as people read it, to the second, in UTC.
pub(crate) fn instant(instant: Option<Timestamp>) -> String {
    instant.map_or_else(
        || "-".to_owned(),
        |instant| instant.strftime("%Y-%m-%d %H:%M:%S UTC").to_string(),
    )
}

/// The end of a life, and whether it is near or over.
pub(crate) fn until(end: Option<Timestamp>, expiry: Known<Expiry>) -> String {
    let end = instant(end);
    match expiry.value() {
        Expiry::Unspecified | Expiry::Fresh => end,
        Expiry::Soon => format!("{end} (soon)"),
        Expiry::Expired => format!("{end} (expired)"),
    }
}

/// How long ago, or in how long, seen from `now`. Clocks that differ by seconds make no future out of the past.
pub(crate) fn relative(instant: Timestamp, now: Timestamp) -> String {
    let seconds = now.duration_since(instant).as_secs();
    match seconds {
        -9..=9 => "just now".to_owned(),
        10.. => format!("{} ago", span(SignedDuration::from_secs(seconds))),
        _ => format!("in {}", span(SignedDuration::from_secs(seconds))),
    }
}

/// When a client was last seen.
pub(crate) fn seen(connected: bool, last_seen: Option<Timestamp>, now: Timestamp) -> String {
    match (connected, last_seen) {
        (true, _) => "connected".to_owned(),
        (false, Some(instant)) => relative(instant, now),
        (false, None) => "never".to_owned(),
    }
}

/// The size of a span of time in its largest fitting unit, cut off.
pub(crate) fn span(duration: SignedDuration) -> String {
    let seconds = duration.as_secs().unsigned_abs();
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3_600 => format!("{} min", seconds / 60),
        3_600..172_800 => format!("{} h", seconds / 3_600),
        _ => format!("{} days", seconds / 86_400),
    }
}

/// `count` of what `noun` names: "1 client", "2 clients".
pub(crate) fn counted(count: u32, noun: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {noun}{plural}")
}

/// Text from elsewhere, so that no terminal takes it for commands: names come from hosts that nobody vouches for.
pub(crate) fn plain(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    for character in text.chars() {
        let reorders = matches!(character, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
        if character.is_control() || reorders {
            plain.extend(character.escape_default());
        } else {
            plain.push(character);
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_valid_value_has_its_spelling() {
        let phases: Vec<_> = (1..=9)
            .map(|number| Known::<Phase>::read(number).unwrap().to_string())
            .collect();
        assert_eq!(
            phases.join(" "),
            "Planned PausingReplication Preparing Swapping Enforcing ResumingReplication Completed Aborted RolledBack"
        );
        let evidence: Vec<_> = (0..=4)
            .map(|number| Known::<Evidence>::read(number).unwrap().to_string())
            .collect();
        assert_eq!(evidence.join(" "), "none received applied proved confirmed");
        let modes: Vec<_> = (0..=2)
            .map(|number| Known::<VerificationMode>::read(number).unwrap().to_string())
            .collect();
        assert_eq!(modes.join(" "), "unknown verify off");
    }

    #[test]
    fn what_is_never_valid_or_not_known_is_refused() {
        assert!(Known::<Phase>::read(0).is_err());
        let refusal = Known::<Phase>::read(77).unwrap_err().to_string();
        assert!(refusal.contains("unknown phase (77)"), "{refusal}");
    }

    #[test]
    fn times_are_told_as_people_tell_them() {
        let now: Timestamp = "2026-08-01T10:00:00Z".parse().unwrap();
        for (seconds, words) in [
            (0, "just now"),
            (-5, "just now"),
            (12, "12 s ago"),
            (119, "1 min ago"),
            (3 * 3_600 + 5, "3 h ago"),
            (47 * 3_600, "47 h ago"),
            (48 * 3_600, "2 days ago"),
            (-3_600, "in 1 h"),
        ] {
            assert_eq!(
                relative(now - SignedDuration::from_secs(seconds), now),
                words
            );
        }
        assert_eq!(seen(false, None, now), "never");
        assert_eq!(instant(Some(now)), "2026-08-01 10:00:00 UTC");
    }

    #[test]
    fn a_hostile_name_cannot_move_the_cursor() {
        assert_eq!(plain("pc\u{1b}[2J\n\u{202e}x"), "pc\\u{1b}[2J\\n\\u{202e}x");
        assert_eq!(plain("Büro-3 日本"), "Büro-3 日本");
    }
}
