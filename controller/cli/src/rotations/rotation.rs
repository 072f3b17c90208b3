//! A rotation as read from the API, and its JSON: the names of the API's fields, and the spellings that people know. How it
//! looks as text stands elsewhere.

use convoy_proto::v1::{self, Phase};
use jiff::Timestamp;
use serde::Serialize;

use crate::{
    answers,
    clients::Reason,
    failure::Unreadable,
    system::{Degraded, Expiring},
    words::Known,
};

/// A rotation and what its clients have shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Rotation {
    pub(super) id: String,
    pub(super) phase: Known<Phase>,
    pub(super) strategy: Known<v1::Strategy>,
    pub(super) paused: bool,
    pub(super) clients: u32,
    pub(super) received: u32,
    pub(super) applied: u32,
    pub(super) proved: u32,
    pub(super) confirmed: u32,
    pub(super) waited_for: u32,
    pub(super) missing: Vec<Missing>,
    pub(super) missing_count: u32,
    pub(super) waivers: Vec<Waiver>,
    pub(super) from_generation: u64,
    pub(super) to_generation: u64,
    pub(super) old_fingerprint: String,
    pub(super) new_fingerprint: String,
    pub(super) started_at: Option<Timestamp>,
    pub(super) phase_since: Option<Timestamp>,
    pub(super) ended_at: Option<Timestamp>,
    pub(super) steps: Vec<Step>,
    pub(super) suspects: Vec<Suspect>,
    pub(super) reason: String,
    pub(super) trust_revision: u64,
    pub(super) returned: u32,
    pub(super) expected_back: u32,
    pub(super) groups: Vec<GroupProgress>,
    pub(super) advice: String,
    pub(super) degraded: Vec<Degraded>,
    pub(super) expiring: Vec<Expiring>,
    pub(super) stayed_away: Vec<StayedAway>,
    pub(super) stayed_away_count: u32,
    pub(super) cut_off: Vec<CutOff>,
    pub(super) cut_off_count: u32,
    pub(super) refused_handshakes_hint: String,
}

/// A client that is cut off.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct CutOff {
    pub(super) id: String,
    pub(super) name: String,
    pub(super) group: String,
    pub(super) last_seen: Option<Timestamp>,
}

/// A client that had not come back when the rotation was rolled back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct StayedAway {
    pub(super) id: String,
    pub(super) name: String,
    pub(super) group: String,
    pub(super) last_seen: Option<Timestamp>,
    pub(super) connected: bool,
}

/// A client that is waited for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Missing {
    pub(super) id: String,
    pub(super) name: String,
    pub(super) group: String,
    pub(super) last_seen: Option<Timestamp>,
    pub(super) connected: bool,
    pub(super) evidence: Known<v1::Evidence>,
    pub(super) reason: Reason,
}

/// A client that is not waited for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Waiver {
    pub(super) client_id: String,
    pub(super) client_name: String,
    pub(super) reason: String,
    pub(super) until: Option<Timestamp>,
    pub(super) actor: String,
    pub(super) expired: bool,
}

/// One of the procedure's seven steps.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Step {
    pub(super) number: u32,
    pub(super) title: String,
    pub(super) state: Known<v1::StepState>,
}

/// A client that is reported.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Suspect {
    pub(super) id: String,
    pub(super) name: String,
    pub(super) suspicion: String,
}

/// What a group's clients have shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct GroupProgress {
    pub(super) group: String,
    pub(super) clients: u32,
    pub(super) applied: u32,
    pub(super) proved: u32,
    pub(super) confirmed: u32,
}

impl Rotation {
    /// No phase follows.
    pub(super) fn is_over(&self) -> bool {
        match self.phase.value() {
            Phase::Completed | Phase::Aborted | Phase::RolledBack => true,
            Phase::Unspecified
            | Phase::Planned
            | Phase::PausingReplication
            | Phase::Preparing
            | Phase::Swapping
            | Phase::Enforcing
            | Phase::ResumingReplication => false,
        }
    }

    /// The new certificate is served, and everyone has come along.
    pub(super) fn is_completed(&self) -> bool {
        self.phase.value() == Phase::Completed
    }

    /// The step that is under way.
    pub(super) fn active_step(&self) -> Option<&Step> {
        self.steps
            .iter()
            .find(|step| step.state.value() == v1::StepState::Active)
    }
}

impl TryFrom<v1::Rotation> for Rotation {
    type Error = Unreadable;

    fn try_from(wire: v1::Rotation) -> Result<Self, Unreadable> {
        Ok(Self {
            id: wire.id,
            phase: Known::read(wire.phase)?,
            strategy: Known::read(wire.strategy)?,
            paused: wire.paused,
            clients: wire.clients,
            received: wire.received,
            applied: wire.applied,
            proved: wire.proved,
            confirmed: wire.confirmed,
            waited_for: wire.waited_for,
            missing: answers::all(wire.missing)?,
            missing_count: wire.missing_count,
            waivers: answers::all(wire.waivers)?,
            from_generation: wire.from_generation,
            to_generation: wire.to_generation,
            old_fingerprint: wire.old_fingerprint,
            new_fingerprint: wire.new_fingerprint,
            started_at: answers::instant(wire.started_at, "started_at")?,
            phase_since: answers::instant(wire.phase_since, "phase_since")?,
            ended_at: answers::instant(wire.ended_at, "ended_at")?,
            steps: answers::all(wire.steps)?,
            suspects: wire.suspects.into_iter().map(Suspect::from).collect(),
            reason: wire.reason,
            trust_revision: wire.trust_revision,
            returned: wire.returned,
            expected_back: wire.expected_back,
            groups: wire.groups.into_iter().map(GroupProgress::from).collect(),
            advice: wire.advice,
            degraded: answers::all(wire.degraded)?,
            expiring: answers::all(wire.expiring)?,
            stayed_away: answers::all(wire.stayed_away)?,
            stayed_away_count: wire.stayed_away_count,
            cut_off: answers::all(wire.cut_off)?,
            cut_off_count: wire.cut_off_count,
            refused_handshakes_hint: wire.refused_handshakes_hint,
        })
    }
}

impl TryFrom<v1::StayedAway> for StayedAway {
    type Error = Unreadable;

    fn try_from(wire: v1::StayedAway) -> Result<Self, Unreadable> {
        Ok(Self {
            id: wire.id,
            name: wire.name,
            group: wire.group,
            last_seen: answers::instant(wire.last_seen, "last_seen")?,
            connected: wire.connected,
        })
    }
}

impl TryFrom<v1::MissingClient> for Missing {
    type Error = Unreadable;

    fn try_from(wire: v1::MissingClient) -> Result<Self, Unreadable> {
        Ok(Self {
            id: wire.id,
            name: wire.name,
            group: wire.group,
            last_seen: answers::instant(wire.last_seen, "last_seen")?,
            connected: wire.connected,
            evidence: Known::read(wire.evidence)?,
            reason: answers::required(wire.reason, "reason")?.try_into()?,
        })
    }
}

impl TryFrom<v1::CutOffClient> for CutOff {
    type Error = Unreadable;

    fn try_from(wire: v1::CutOffClient) -> Result<Self, Unreadable> {
        Ok(Self {
            id: wire.id,
            name: wire.name,
            group: wire.group,
            last_seen: answers::instant(wire.last_seen, "last_seen")?,
        })
    }
}

impl TryFrom<v1::Waiver> for Waiver {
    type Error = Unreadable;

    fn try_from(wire: v1::Waiver) -> Result<Self, Unreadable> {
        Ok(Self {
            client_id: wire.client_id,
            client_name: wire.client_name,
            reason: wire.reason,
            until: answers::instant(wire.until, "until")?,
            actor: wire.actor,
            expired: wire.expired,
        })
    }
}

impl TryFrom<v1::Step> for Step {
    type Error = Unreadable;

    fn try_from(wire: v1::Step) -> Result<Self, Unreadable> {
        Ok(Self {
            number: wire.number,
            title: wire.title,
            state: Known::read(wire.state)?,
        })
    }
}

impl From<v1::Suspect> for Suspect {
    fn from(wire: v1::Suspect) -> Self {
        Self {
            id: wire.id,
            name: wire.name,
            suspicion: wire.suspicion,
        }
    }
}

impl From<v1::GroupProgress> for GroupProgress {
    fn from(wire: v1::GroupProgress) -> Self {
        Self {
            group: wire.group,
            clients: wire.clients,
            applied: wire.applied,
            proved: wire.proved,
            confirmed: wire.confirmed,
        }
    }
}

#[cfg(test)]
pub(crate) mod examples {
    //! A rotation as the controller tells it.

    use convoy_proto::v1;

    fn at(seconds: i64) -> Option<prost_types::Timestamp> {
        Some(prost_types::Timestamp { seconds, nanos: 0 })
    }

    /// 2026-08-01T10:00:00Z, in seconds since 1970.
    pub(crate) const START: i64 = 1_785_578_400;

    /// Three of four clients have proved, one more is waived, and one is reported.
    pub(crate) fn preparing() -> v1::Rotation {
        let titles = [
            "Break the replication relationship",
            "Disable server certificate verification",
            "Wait for all clients to receive the updated policy",
            "Update the server certificate",
            "Enable server certificate verification again",
            "Wait for all clients to receive the updated policy",
            "Restore the replication relationship",
        ];
        v1::Rotation {
            id: "0198c2f0-0000-7000-8000-000000000001".to_owned(),
            phase: 3,
            strategy: 1,
            paused: false,
            clients: 5,
            received: 4,
            applied: 4,
            proved: 3,
            confirmed: 0,
            waited_for: 4,
            missing: vec![v1::MissingClient {
                id: "8c5a3f52-0000-4000-8000-000000000002".to_owned(),
                name: "pc-2".to_owned(),
                group: "default".to_owned(),
                last_seen: at(START),
                connected: false,
                evidence: 2,
                reason: Some(v1::Reason {
                    code: 1,
                    text: "off or out of reach since 2026-08-01T10:00:00Z".to_owned(),
                }),
            }],
            missing_count: 1,
            waivers: vec![v1::Waiver {
                client_id: "8c5a3f52-0000-4000-8000-000000000003".to_owned(),
                client_name: "pc-3".to_owned(),
                reason: "on holiday".to_owned(),
                until: at(START + 7 * 86_400),
                actor: "root".to_owned(),
                expired: false,
            }],
            from_generation: 1,
            to_generation: 2,
            old_fingerprint: "aa".repeat(32),
            new_fingerprint: "bb".repeat(32),
            started_at: at(START),
            phase_since: at(START + 60),
            ended_at: None,
            steps: (1..)
                .zip(titles)
                .map(|(number, title)| v1::Step {
                    number,
                    title: title.to_owned(),
                    state: match number {
                        1 => 4,
                        2 => 3,
                        3 => 2,
                        _ => 1,
                    },
                })
                .collect(),
            suspects: vec![v1::Suspect {
                id: "8c5a3f52-0000-4000-8000-000000000002".to_owned(),
                name: "pc-2".to_owned(),
                suspicion: "accepted a decoy".to_owned(),
            }],
            reason: String::new(),
            trust_revision: 5,
            returned: 0,
            expected_back: 0,
            groups: vec![
                v1::GroupProgress {
                    group: "berlin".to_owned(),
                    clients: 2,
                    applied: 2,
                    proved: 2,
                    confirmed: 0,
                },
                v1::GroupProgress {
                    group: "default".to_owned(),
                    clients: 3,
                    applied: 2,
                    proved: 1,
                    confirmed: 0,
                },
            ],
            advice: "Look at pc-2: it does not verify the controller's certificate.".to_owned(),
            degraded: vec![v1::DegradedReason {
                code: "duty".to_owned(),
                words: "the disk is full".to_owned(),
                since: at(START),
            }],
            expiring: vec![v1::ExpiryNotice {
                kind: "certificate".to_owned(),
                name: "1".to_owned(),
                expiry: v1::Expiry::Soon.into(),
                expires_at: at(START),
                message: "certificate 1 expires".to_owned(),
            }],
            stayed_away: vec![],
            stayed_away_count: 0,
            cut_off: vec![v1::CutOffClient {
                id: "8c5a3f52-0000-4000-8000-000000000004".to_owned(),
                name: "pc-4".to_owned(),
                group: "berlin".to_owned(),
                last_seen: at(START),
            }],
            cut_off_count: 1,
            refused_handshakes_hint: "1 refused".to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_has_the_names_of_the_api() {
        let rotation = Rotation::try_from(examples::preparing()).unwrap();
        let json = serde_json::to_string_pretty(&rotation).unwrap();
        assert_eq!(json, include_str!("preparing.json").trim_end());
    }

    #[test]
    fn an_answer_is_read_whole_or_not_at_all() {
        let mut wire = examples::preparing();
        wire.missing[0].evidence = 9;
        let refusal = Rotation::try_from(wire).unwrap_err().to_string();
        assert!(
            refusal.starts_with("the controller's answer has an unknown evidence (9). Use"),
            "{refusal}"
        );
    }

    #[test]
    fn three_phases_are_the_end() {
        for (phase, over) in [(1, false), (6, false), (7, true), (8, true), (9, true)] {
            let rotation = Rotation::try_from(v1::Rotation {
                phase,
                ..examples::preparing()
            })
            .unwrap();
            assert_eq!(rotation.is_over(), over);
            assert_eq!(rotation.is_completed(), phase == 7);
        }
    }
}
