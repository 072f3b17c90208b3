//! Why clients are missing, for people: reasons to the wire, and the advice that follows from them. The reasons themselves are the fleet's.

use std::collections::BTreeMap;

use convoy_fleet::{
    client::{ClientNumber, Suspicion},
    reason::{Obstacle, Reason, Sight, reason},
    rotation::Rotation,
    state::Fleet,
};
use convoy_proto::v1;
use jiff::Timestamp;

use super::Api;
use crate::{health::Health, sessions::Sessions, sights::Sights};

/// What was seen of the clients, beside the state.
#[derive(Clone, Copy)]
pub(super) struct Seen<'a> {
    pub(super) sessions: &'a Sessions,
    sights: &'a Sights,
    /// What is wrong with the controller itself.
    pub(super) health: &'a Health,
}

impl Api {
    pub(super) fn seen(&self) -> Seen<'_> {
        Seen {
            sessions: &self.sessions,
            sights: &self.sights,
            health: self.keeper.health(),
        }
    }
}

impl Seen<'_> {
    /// How far the client's wall clock is ahead, in seconds. 0: by no more than is tolerated.
    pub(super) fn clock_ahead_seconds(self, client: ClientNumber) -> i64 {
        self.sights
            .clock_ahead(client)
            .map_or(0, |ahead| ahead.as_secs())
    }

    /// Why a rotation waits for this client.
    pub(super) fn reason(
        self,
        fleet: &Fleet,
        rotation: &Rotation,
        client: ClientNumber,
        now: Timestamp,
    ) -> Option<Reason> {
        let trust = &fleet.group(&fleet.client(client)?.group)?.trust;
        let connected = self.sessions.contains(client);
        let sight = Sight {
            last_seen: self.sessions.last_seen(client),
            ..self.sights.of(client, connected, trust.held)
        };
        reason(fleet, rotation, client, sight, now)
    }
}

pub(super) fn write_reason(reason: &Reason) -> v1::Reason {
    v1::Reason {
        code: code(reason).into(),
        text: reason.to_string(),
    }
}

const fn code(reason: &Reason) -> v1::ReasonCode {
    match reason {
        Reason::Off { .. } => v1::ReasonCode::Off,
        Reason::Silent { .. } => v1::ReasonCode::Silent,
        Reason::CutOff { .. } => v1::ReasonCode::CutOff,
        Reason::OnOldCertificate { .. } => v1::ReasonCode::OnOldCertificate,
        Reason::Suspect(Suspicion::AcceptsDecoy) => v1::ReasonCode::AcceptsDecoy,
        Reason::Suspect(
            Suspicion::UnknownDocument | Suspicion::ContradictsSight | Suspicion::OffUnasked,
        ) => v1::ReasonCode::Suspect,
        Reason::Duplicated { .. } => v1::ReasonCode::Duplicated,
        Reason::Hindered { obstacle, .. } => match obstacle {
            Obstacle::RefusesDocument(_) => v1::ReasonCode::RefusesDocument,
            Obstacle::DiskFull(_) => v1::ReasonCode::DiskFull,
            Obstacle::RefusesCertificate => v1::ReasonCode::RefusesCertificate,
            Obstacle::CannotProbe(_) => v1::ReasonCode::CannotProbe,
            Obstacle::OtherMode(_) => v1::ReasonCode::OtherMode,
            Obstacle::OtherDocument => v1::ReasonCode::OtherDocument,
            Obstacle::NoReport => v1::ReasonCode::Silent,
            Obstacle::IdentityExpired => v1::ReasonCode::IdentityExpired,
        },
    }
}

/// What is said of clients that are missing for this reason, and what is to be done about them.
const fn remedy(code: v1::ReasonCode) -> (&'static str, &'static str) {
    match code {
        v1::ReasonCode::Off => (
            "off or out of reach",
            "Switch on those that are off. For one that will not come back in time: `convoy rotation waive CLIENT --reason … --until …`; for one that never will: `convoy clients decommission CLIENT`.",
        ),
        v1::ReasonCode::CutOff => (
            "cut off",
            "On the host of one that is cut off, stop its agent, run `convoy-agent join TOKEN` in its own state folder with a token of this fleet, and start it again: it keeps its identity. One token does for all.",
        ),
        v1::ReasonCode::Silent => (
            "connected and silent",
            "Look at the agents' logs on those that are silent, and restart an agent that hangs.",
        ),
        v1::ReasonCode::RefusesDocument => (
            "refusing the trust document",
            "Mend on its host what a client gives as its reason to refuse the trust document; it is offered again at its next session.",
        ),
        v1::ReasonCode::DiskFull => (
            "with a full disk",
            "Make room on the hosts whose disk is full: each agent then stores the trust document by itself.",
        ),
        v1::ReasonCode::RefusesCertificate => (
            "refusing the new certificate",
            "Look at the agents' logs on those that refuse the new certificate, or abort and rotate to another certificate.",
        ),
        v1::ReasonCode::CannotProbe => (
            "not able to probe",
            "Look for what stands between the controller and those that cannot probe: a firewall or a proxy that lets sessions pass and new connections not.",
        ),
        v1::ReasonCode::AcceptsDecoy => (
            "accepting any certificate",
            "Find out why a client accepts any certificate: another program answers for its agent, or something stands in between.",
        ),
        v1::ReasonCode::OtherMode => (
            "in another verification mode",
            "Set the clocks of those that are in another verification mode.",
        ),
        v1::ReasonCode::OtherDocument => (
            "changing their trust document",
            "Those that were changing their trust document are asked again by themselves.",
        ),
        v1::ReasonCode::Duplicated => (
            "duplicated",
            "Stop all copies but one of a duplicated client, then `convoy clients resolve CLIENT`.",
        ),
        v1::ReasonCode::Suspect => (
            "suspect",
            "Look into what a suspect says; when it is explained, `convoy clients resolve CLIENT`.",
        ),
        v1::ReasonCode::OnOldCertificate => (
            "on the old certificate",
            "Look at the agents' logs on those that stay on the old certificate.",
        ),
        v1::ReasonCode::IdentityExpired => (
            "holding an expired identity",
            "Look at the agents' logs on those with an expired identity: each renews it by itself when it can.",
        ),
        v1::ReasonCode::Unspecified => ("missing for another reason", ""),
    }
}

/// What a shut gate waits for, and what to do, by the reasons of the clients.
pub(super) fn waiting(missing: u64, roster: u64, reasons: impl Iterator<Item = Reason>) -> String {
    let mut counts: BTreeMap<v1::ReasonCode, u64> = BTreeMap::new();
    for reason in reasons {
        *counts.entry(code(&reason)).or_default() += 1;
    }
    let mut counts: Vec<_> = counts.into_iter().collect();
    counts.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    let kinds: Vec<String> = counts
        .iter()
        .map(|(code, count)| format!("{count} {}", remedy(*code).0))
        .collect();
    let remedies: Vec<&str> = counts
        .iter()
        .map(|(code, _)| remedy(*code).1)
        .filter(|remedy| !remedy.is_empty())
        .collect();
    format!(
        "Waiting for {missing} of {roster} clients: {}. {}",
        kinds.join(", "),
        remedies.join(" ")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn advice_speaks_of_the_reasons_at_hand_and_of_no_others() {
        let off = Reason::Off {
            since: Timestamp::UNIX_EPOCH,
        };
        let refuses = Reason::Hindered {
            obstacle: Obstacle::RefusesDocument("no".to_owned()),
            clock_ahead: None,
        };
        let one = waiting(1, 60, [refuses.clone()].into_iter());
        assert!(
            one.starts_with("Waiting for 1 of 60 clients: 1 refusing the trust document. Mend"),
            "{one}"
        );
        assert!(!one.contains("Switch on"), "{one}");
        let both = waiting(3, 60, [refuses, off.clone(), off].into_iter());
        assert!(
            both.starts_with(
                "Waiting for 3 of 60 clients: 2 off or out of reach, 1 refusing the trust document. Switch on"
            ),
            "{both}"
        );
    }
}
