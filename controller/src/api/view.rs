//! What people see of the fleet: state to wire, one way. Nothing is decided or changed here.

use std::collections::BTreeMap;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use convoy_fleet::{
    client::{Client, ClientNumber, ClientState},
    expiry::{Expiry, expiry, identity},
    gate,
    rotation::{Phase, Rotation, Strategy},
    standing::Standing,
    state::{Fleet, Group, KeptCertificate, Token},
};
use convoy_proto::{time::timestamp, v1};
use convoy_shared::{
    ack::Evidence,
    id::{Generation, GroupName, Revision, TokenId},
    trust::ModeInForce,
};
use jiff::Timestamp;
use roaring::RoaringBitmap;

use super::{
    cut_off::{cut_off, left_to_do, named},
    reason::{Seen, waiting, write_reason},
};
use crate::{certificate::warnings, expiring::notices, sessions::Sessions};

/// The most clients that are named in a list of missing ones.
pub(super) const NAMED: usize = 1000;

pub(super) fn token(id: TokenId, token: &Token) -> v1::Token {
    v1::Token {
        id: id.to_string(),
        group: token.group.to_string(),
        uses: token.uses,
        used: token.used,
        created_at: Some(timestamp(token.created_at)),
        expires_at: Some(timestamp(token.expires_at)),
        revoked: token.revoked,
    }
}

pub(super) fn group(name: &GroupName, group: &Group, members: &RoaringBitmap) -> v1::Group {
    v1::Group {
        name: name.to_string(),
        clients: count(members.len()),
        created_at: Some(timestamp(group.created_at)),
        trust_revision: group.trust.held.revision.0,
        trust_digest: group.trust.held.digest.to_string(),
    }
}

/// The names of clients, the first of them.
pub(super) fn names(fleet: &Fleet, clients: &RoaringBitmap) -> Vec<String> {
    clients
        .iter()
        .filter_map(|number| fleet.client(number))
        .take(NAMED)
        .map(|client| client.name.clone())
        .collect()
}

/// Whom the rotation that runs waits for just now.
pub(super) fn waited_for(fleet: &Fleet, now: Timestamp) -> RoaringBitmap {
    fleet.running().map_or_else(RoaringBitmap::new, |rotation| {
        gate::missing(fleet, rotation, now)
    })
}

pub(super) fn client(
    fleet: &Fleet,
    number: ClientNumber,
    client: &Client,
    seen: Seen<'_>,
    waited_for: &RoaringBitmap,
    now: Timestamp,
) -> v1::Client {
    let connected = seen.sessions.contains(number);
    let standing = fleet.standing(client, seen.sessions.last_seen(number), now);
    // Whoever has a session is brought up to date over it.
    let cut_off = !connected && standing == Standing::CutOff;
    let missing_reason = fleet
        .running()
        .filter(|_| waited_for.contains(number))
        .and_then(|rotation| seen.reason(fleet, rotation, number, now));
    let revision = client
        .stated
        .and_then(|stated| stated.revision)
        .unwrap_or(Revision(0));
    let anchors = fleet.anchors_of(revision);
    let evidence = fleet
        .rotations()
        .last()
        .and_then(|rotation| rotation.evidence(number));
    v1::Client {
        id: client.id.to_string(),
        name: client.name.clone(),
        group: client.group.to_string(),
        state: match client.state {
            ClientState::Decommissioned => v1::ClientState::Decommissioned,
            ClientState::Duplicated => v1::ClientState::Duplicated,
            ClientState::Active if cut_off => v1::ClientState::CutOff,
            ClientState::Active => v1::ClientState::Active,
        }
        .into(),
        joined_at: Some(timestamp(client.joined_at)),
        last_seen: Some(timestamp(last_seen(client, number, seen.sessions))),
        connected,
        trust_revision: revision.0,
        verification_mode: client
            .stated
            .map_or(v1::VerificationMode::Unspecified, |stated| {
                match stated.mode {
                    ModeInForce::Verify => v1::VerificationMode::Verify,
                    ModeInForce::Off => v1::VerificationMode::Off,
                }
            })
            .into(),
        evidence: write_evidence(evidence).into(),
        agent_version: client.agent_version.clone(),
        anchors: anchors.iter().map(|anchor| anchor.0).collect(),
        identity_expires_at: Some(timestamp(client.identity_expires_at)),
        identity_expiry: write_expiry(identity(client, now)).into(),
        suspicion: client
            .suspicion
            .map(|suspicion| suspicion.to_string())
            .unwrap_or_default(),
        at_risk: standing == Standing::AtRisk,
        served_generation: client.stated.map_or(0, |stated| stated.served.0),
        address: seen
            .sessions
            .seen(number)
            .map(|seen| seen.address.to_string())
            .unwrap_or_default(),
        missing_reason: missing_reason.as_ref().map(write_reason),
        clock_ahead_seconds: seen.clock_ahead_seconds(number),
        rejoined_at: client.rejoined.map(|(at, _)| timestamp(at)),
        rejoined_with: client
            .rejoined
            .map(|(_, token)| token.to_string())
            .unwrap_or_default(),
    }
}

/// When a client was last seen: when it joined, if it has not come since.
pub(super) fn last_seen(client: &Client, number: ClientNumber, sessions: &Sessions) -> Timestamp {
    sessions
        .last_seen(number)
        .map_or(client.joined_at, |seen| seen.max(client.joined_at))
}

pub(super) fn certificate(
    fleet: &Fleet,
    generation: Generation,
    kept: &KeptCertificate,
    now: Timestamp,
) -> v1::Certificate {
    let said = &kept.certificate;
    let state = if fleet.serving() == Some(generation) {
        v1::CertificateState::Serving
    } else if fleet.candidate() == Some(generation) {
        v1::CertificateState::Candidate
    } else if kept.retired {
        v1::CertificateState::Retired
    } else if kept.is_bridged() {
        v1::CertificateState::Bridge
    } else {
        v1::CertificateState::Available
    };
    v1::Certificate {
        generation: generation.0,
        fingerprint: said.fingerprint.to_string(),
        spki_sha256: said.spki.to_string(),
        subject: said.subject.clone(),
        issuer: said.issuer.clone(),
        names: said.names.clone(),
        not_before: Some(timestamp(said.not_before)),
        not_after: Some(timestamp(said.not_after)),
        key_algorithm: said.key_algorithm.clone(),
        state: state.into(),
        anchor: kept.anchor.0,
        imported_at: Some(timestamp(kept.imported_at)),
        warnings: warnings(&said.chain, now)
            .into_iter()
            .map(|warning| v1::CertificateWarning {
                code: warning.code.as_str().to_owned(),
                message: warning.words,
            })
            .collect(),
        expiry: write_expiry(expiry(said.not_before, said.not_after, now)).into(),
        in_service_since: kept.in_service.map(|service| timestamp(service.since)),
        pem: String::new(),
    }
}

pub(super) const fn write_expiry(expiry: Expiry) -> v1::Expiry {
    match expiry {
        Expiry::Fresh => v1::Expiry::Fresh,
        Expiry::Soon => v1::Expiry::Soon,
        Expiry::Expired => v1::Expiry::Expired,
    }
}

pub(super) fn pem(chain: &[Vec<u8>]) -> String {
    chain
        .iter()
        .map(|der| {
            let text = STANDARD.encode(der);
            let lines: Vec<&str> = text
                .as_bytes()
                .chunks(64)
                .filter_map(|line| std::str::from_utf8(line).ok())
                .collect();
            format!(
                "-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n",
                lines.join("\n")
            )
        })
        .collect()
}

pub(super) fn rotation(
    fleet: &Fleet,
    rotation: &Rotation,
    seen: Seen<'_>,
    now: Timestamp,
) -> v1::Rotation {
    let roster = fleet.roster();
    let of_roster = |set: &RoaringBitmap| count(roster.intersection_len(set));
    let missing = gate::missing(fleet, rotation, now);
    let cut_off = cut_off(fleet, seen, now);
    let fingerprint = |generation| {
        fleet
            .certificate(generation)
            .map(|kept| kept.certificate.fingerprint.to_string())
            .unwrap_or_default()
    };
    v1::Rotation {
        id: rotation.id.to_string(),
        phase: write_phase(rotation.phase).into(),
        strategy: match rotation.strategy {
            Strategy::Overlap => v1::Strategy::Overlap,
            Strategy::Toggle => v1::Strategy::Toggle,
        }
        .into(),
        paused: rotation.paused,
        clients: count(roster.len()),
        received: of_roster(&rotation.received),
        applied: of_roster(&rotation.applied),
        proved: of_roster(&rotation.proved),
        confirmed: of_roster(&rotation.confirmed),
        waited_for: count(rotation.waited_for),
        missing: missing
            .iter()
            .take(NAMED)
            .filter_map(|number| missing_client(fleet, rotation, number, seen, now))
            .collect(),
        missing_count: count(missing.len()),
        waivers: rotation
            .waivers
            .iter()
            .filter_map(|(number, waiver)| {
                let client = fleet.client(*number)?;
                Some(v1::Waiver {
                    client_id: client.id.to_string(),
                    client_name: client.name.clone(),
                    reason: waiver.reason.clone(),
                    until: Some(timestamp(waiver.until)),
                    actor: waiver.actor.clone(),
                    expired: waiver.until <= now,
                })
            })
            .collect(),
        from_generation: rotation.from.0,
        to_generation: rotation.to.0,
        old_fingerprint: fingerprint(rotation.from),
        new_fingerprint: fingerprint(rotation.to),
        started_at: Some(timestamp(rotation.started_at)),
        phase_since: Some(timestamp(rotation.phase_since)),
        ended_at: rotation
            .phase
            .is_terminal()
            .then(|| timestamp(rotation.phase_since)),
        steps: steps(rotation),
        suspects: fleet
            .clients()
            .filter_map(|(number, client)| {
                let suspicion = match (client.suspicion, client.state) {
                    (Some(suspicion), _) => suspicion.to_string(),
                    (None, ClientState::Duplicated) => {
                        "two live copies of it alternate; remove one, then `convoy clients resolve` it".to_owned()
                    }
                    (None, ClientState::Active | ClientState::Decommissioned) => return None,
                };
                roster.contains(number).then(|| v1::Suspect {
                    id: client.id.to_string(),
                    name: client.name.clone(),
                    suspicion,
                })
            })
            .take(NAMED)
            .collect(),
        reason: rotation.reason.clone(),
        trust_revision: rotation.revision.map_or(0, |revision| revision.0),
        returned: count(rotation.expected.intersection_len(&rotation.returned)),
        expected_back: count(rotation.expected.len()),
        groups: membership(fleet)
            .into_iter()
            .map(|(name, clients)| {
                let among = |set: &RoaringBitmap| count(clients.intersection_len(set));
                v1::GroupProgress {
                    group: name.to_string(),
                    clients: count(clients.len()),
                    applied: among(&rotation.applied),
                    proved: among(&rotation.proved),
                    confirmed: among(&rotation.confirmed),
                }
            })
            .collect(),
        advice: advice(fleet, rotation, &missing, &cut_off, seen, now),
        cut_off: named(fleet, &cut_off, seen),
        cut_off_count: count(cut_off.len()),
        degraded: super::system::degraded(seen.health),
        expiring: expiring(fleet, now),
        stayed_away: rotation
            .stayed_away
            .iter()
            .take(NAMED)
            .filter_map(|number| stayed_away(fleet, number, seen))
            .collect(),
        stayed_away_count: count(rotation.stayed_away.len()),
        // Of one rotation that is asked for; a list leaves it out.
        refused_handshakes_hint: String::new(),
    }
}

fn missing_client(
    fleet: &Fleet,
    rotation: &Rotation,
    number: ClientNumber,
    seen: Seen<'_>,
    now: Timestamp,
) -> Option<v1::MissingClient> {
    let client = fleet.client(number)?;
    let reason = seen.reason(fleet, rotation, number, now)?;
    Some(v1::MissingClient {
        id: client.id.to_string(),
        name: client.name.clone(),
        group: client.group.to_string(),
        last_seen: Some(timestamp(last_seen(client, number, seen.sessions))),
        connected: seen.sessions.contains(number),
        evidence: write_evidence(rotation.evidence(number)).into(),
        reason: Some(write_reason(&reason)),
    })
}

fn stayed_away(fleet: &Fleet, number: ClientNumber, seen: Seen<'_>) -> Option<v1::StayedAway> {
    let client = fleet.client(number)?;
    Some(v1::StayedAway {
        id: client.id.to_string(),
        name: client.name.clone(),
        group: client.group.to_string(),
        last_seen: Some(timestamp(last_seen(client, number, seen.sessions))),
        connected: seen.sessions.contains(number),
    })
}

/// What has expired, or is about to.
pub(super) fn expiring(fleet: &Fleet, now: Timestamp) -> Vec<v1::ExpiryNotice> {
    notices(fleet, now)
        .into_iter()
        .map(|notice| v1::ExpiryNotice {
            kind: notice.kind.to_owned(),
            name: notice.name,
            expiry: write_expiry(notice.expiry).into(),
            expires_at: notice.until.map(timestamp),
            message: notice.words,
        })
        .collect()
}

/// The roster by group, in one pass over it.
pub(super) fn membership(fleet: &Fleet) -> BTreeMap<&GroupName, RoaringBitmap> {
    let mut groups: BTreeMap<_, _> = fleet
        .groups()
        .map(|(name, _)| (name, RoaringBitmap::new()))
        .collect();
    for number in fleet.roster() {
        if let Some(client) = fleet.client(number)
            && let Some(members) = groups.get_mut(&client.group)
        {
            members.insert(number);
        }
    }
    groups
}

pub(super) fn count(number: u64) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

const fn write_evidence(evidence: Option<Evidence>) -> v1::Evidence {
    match evidence {
        None => v1::Evidence::Unspecified,
        Some(Evidence::Received) => v1::Evidence::Received,
        Some(Evidence::Applied) => v1::Evidence::Applied,
        Some(Evidence::Proved) => v1::Evidence::Proved,
        Some(Evidence::Confirmed) => v1::Evidence::Confirmed,
    }
}

pub(super) const fn write_phase(phase: Phase) -> v1::Phase {
    match phase {
        Phase::Planned => v1::Phase::Planned,
        Phase::PausingReplication => v1::Phase::PausingReplication,
        Phase::Preparing => v1::Phase::Preparing,
        Phase::Swapping => v1::Phase::Swapping,
        Phase::Enforcing => v1::Phase::Enforcing,
        Phase::ResumingReplication => v1::Phase::ResumingReplication,
        Phase::Completed => v1::Phase::Completed,
        Phase::Aborted => v1::Phase::Aborted,
        Phase::RolledBack => v1::Phase::RolledBack,
    }
}

/// The seven steps as people know them, and where each is.
fn steps(rotation: &Rotation) -> Vec<v1::Step> {
    let overlap = rotation.strategy == Strategy::Overlap;
    let titles = [
        (
            "Break the replication relationship",
            Phase::PausingReplication,
        ),
        (
            if overlap {
                "Trust the old and the new certificate together (verification stays on)"
            } else {
                "Disable server certificate verification"
            },
            Phase::Preparing,
        ),
        (
            "Wait for all clients to receive the updated policy",
            Phase::Preparing,
        ),
        ("Update the server certificate", Phase::Swapping),
        (
            if overlap {
                "Trust the new certificate alone (verification stays on)"
            } else {
                "Enable server certificate verification again"
            },
            Phase::Enforcing,
        ),
        (
            "Wait for all clients to receive the updated policy",
            Phase::Enforcing,
        ),
        (
            "Restore the replication relationship",
            Phase::ResumingReplication,
        ),
    ];
    (1..)
        .zip(titles)
        .map(|(number, (title, phase))| {
            // A policy is published at once when its phase begins; what lasts is the wait.
            let at_once = matches!(number, 2 | 5);
            // There are no partners: nothing to break, nothing to restore.
            let no_partners = matches!(number, 1 | 7);
            let entered = rotation.passed.contains(&phase);
            let state = if !entered {
                if rotation.phase.is_terminal() {
                    v1::StepState::Skipped
                } else {
                    v1::StepState::Pending
                }
            } else if no_partners {
                v1::StepState::Skipped
            } else if rotation.phase == phase && !at_once {
                v1::StepState::Active
            } else if rotation.phase.is_terminal()
                && rotation.phase != Phase::Completed
                && !at_once
                && last_before_end(rotation) == Some(phase)
            {
                v1::StepState::Skipped
            } else {
                v1::StepState::Done
            };
            v1::Step {
                number,
                title: title.to_owned(),
                state: state.into(),
            }
        })
        .collect()
}

fn last_before_end(rotation: &Rotation) -> Option<Phase> {
    rotation.passed.iter().rev().nth(1).copied()
}

fn advice(
    fleet: &Fleet,
    rotation: &Rotation,
    waited_for: &RoaringBitmap,
    cut_off: &RoaringBitmap,
    seen: Seen<'_>,
    now: Timestamp,
) -> String {
    let missing = waited_for.len();
    if rotation.paused && !rotation.phase.is_terminal() {
        return "Paused: no phase begins until `convoy rotation resume`.".to_owned();
    }
    if fleet.clock().is_doubted() && !rotation.phase.is_terminal() {
        return "The wall clock of the controller's host is not believed, and no gate opens: set it right, or say that it is: `convoy clock confirm TIME`.".to_owned();
    }
    match rotation.phase {
        Phase::Preparing | Phase::Enforcing if missing > 0 => {
            let reasons = waited_for
                .iter()
                .filter_map(|number| seen.reason(fleet, rotation, number, now));
            waiting(missing, fleet.roster().len(), reasons)
        }
        Phase::Swapping if missing > 0 => format!(
            "Waiting for {missing} clients to come back on the new certificate; the old one is put back if more than {} stay away for {:#}, or by `convoy rotation rollback`.",
            rotation.max_missing(),
            rotation.options.return_window
        ),
        Phase::Completed => left_to_do(fleet, rotation, cut_off),
        Phase::RolledBack => "The old certificate is served again. Find out why clients did not come back, then start again.".to_owned(),
        Phase::Aborted => "The old certificate is still served, and every client trusts it.".to_owned(),
        Phase::Planned
        | Phase::PausingReplication
        | Phase::Preparing
        | Phase::Swapping
        | Phase::Enforcing
        | Phase::ResumingReplication => String::new(),
    }
}
