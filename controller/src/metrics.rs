//! What a monitoring system reads: metrics, liveness, readiness, over plain HTTP. All of it is asked of the state when it is read, but for what the journal does not keep; nothing is
//! counted twice.

mod port;

use std::{fmt, sync::Arc};

use axum::{
    Router, extract::State, http::header::CONTENT_TYPE, response::IntoResponse, routing::get,
};
use convoy_fleet::{
    client::ClientState,
    expiry::{Identities, Subject, lives},
    gate,
    rotation::Phase,
    standing::Standing,
    state::Fleet,
};
use convoy_host::stderr;
use convoy_proto::{time::read_timestamp, v1::Expiry};
use convoy_shared::enrolment::RequestState;
use http::StatusCode;
use jiff::Timestamp;
use prometheus_client::{
    encoding::{EncodeLabelSet, text::encode},
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::Registry,
};
use serde_json::json;
use tokio::net::TcpListener;

use crate::{
    api::system::system,
    clock,
    expiring::spelled,
    health::{Degraded, Health},
    lines,
    readiness::{Readiness, Unready},
    refusals::Refusals,
    scep::{Counts, Scep, device::ByResult},
    sessions::Sessions,
};

const TEXT: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// What is asked.
#[derive(Clone)]
pub struct Source {
    /// The state, and whether agents can be served.
    pub readiness: Readiness,
    /// Who is connected just now.
    pub sessions: Arc<Sessions>,
    /// What was counted of SCEP.
    pub scep: Arc<Scep>,
    /// Handshakes in which the certificate was refused.
    pub refusals: Arc<Refusals>,
}

/// Serves for ever: `/metrics`, `/livez`, `/readyz`, `/statusz`.
pub async fn run(socket: TcpListener, source: Source) {
    let routes = Router::new()
        .route("/metrics", get(metrics))
        .route("/statusz", get(statusz))
        .route("/livez", get(livez))
        .route("/readyz", get(readyz))
        .with_state(source);
    port::serve(socket, routes).await;
}

/// Only what a restart helps against.
async fn livez(State(source): State<Source>) -> (StatusCode, String) {
    match source.readiness.unready() {
        Some(stopped @ Unready::KeeperStopped) => unavailable(stopped),
        Some(_) | None => (StatusCode::OK, "live\n".to_owned()),
    }
}

async fn readyz(State(source): State<Source>) -> (StatusCode, String) {
    match source.readiness.unready() {
        Some(unready) => unavailable(unready),
        None => (StatusCode::OK, "ready\n".to_owned()),
    }
}

fn unavailable(why: Unready) -> (StatusCode, String) {
    (StatusCode::SERVICE_UNAVAILABLE, format!("{why}\n"))
}

async fn metrics(State(source): State<Source>) -> impl IntoResponse {
    let mut text = String::new();
    let written = render(
        &source.readiness.keeper.read(),
        &source.sessions,
        &source.scep.devices.ended,
        &source.scep.counts,
        source.readiness.keeper.health(),
        &source.refusals,
        clock::now(),
        &mut text,
    );
    match written {
        Ok(()) => Ok(([(CONTENT_TYPE, TEXT)], text)),
        Err(error) => Err((StatusCode::INTERNAL_SERVER_ERROR, error.to_string())),
    }
}

/// How the controller does, with the names and spellings of `convoy status -o json`.
async fn statusz(State(source): State<Source>) -> impl IntoResponse {
    let status = system(&source.readiness, &source.sessions, &source.refusals);
    let phase = source
        .readiness
        .keeper
        .read()
        .rotations()
        .last()
        .map_or("none".to_owned(), |rotation| rotation.phase.to_string());
    let time = |wire| {
        read_timestamp(wire, "time")
            .ok()
            .map(|time| time.to_string())
    };
    let degraded: Vec<_> = status
        .degraded
        .into_iter()
        .map(|reason| {
            json!({
                "code": reason.code,
                "words": reason.words,
                "since": time(reason.since),
            })
        })
        .collect();
    let expiring: Vec<_> = status
        .expiring
        .into_iter()
        .map(|notice| {
            json!({
                "kind": notice.kind,
                "name": notice.name,
                "expiry": if Expiry::try_from(notice.expiry) == Ok(Expiry::Expired) { "expired" } else { "soon" },
                "expires_at": time(notice.expires_at),
                "message": notice.message,
            })
        })
        .collect();
    let text = json!({
        "ready": status.ready,
        "unready_reason": status.unready_reason,
        "degraded": degraded,
        "clients": status.clients,
        "connected": status.connected,
        "rotation_id": status.rotation_id,
        "rotation_phase": phase,
        "serving_generation": status.serving_generation,
        "serving_fingerprint": status.serving_fingerprint,
        "serving_not_after": time(status.serving_not_after),
        "time": time(status.time),
        "version": status.version,
        "expiring": expiring,
    });
    ([(CONTENT_TYPE, "application/json")], format!("{text}\n"))
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByState {
    state: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByPhase {
    phase: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByEvidence {
    evidence: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByGeneration {
    generation: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByKind {
    kind: &'static str,
    name: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByExpiry {
    expiry: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByStatus {
    status: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByReason {
    reason: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByLabelKind {
    label_kind: &'static str,
}

#[expect(
    clippy::too_many_arguments,
    reason = "each is another part of the controller that metrics are asked of"
)]
fn render(
    fleet: &Fleet,
    sessions: &Sessions,
    ended: &Family<ByResult, Counter>,
    counts: &Counts,
    health: &Health,
    refusals: &Refusals,
    now: Timestamp,
    text: &mut String,
) -> fmt::Result {
    let mut registry = Registry::with_prefix("convoy");
    let number = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);

    let clients = Family::<ByState, Gauge>::default();
    for state in [
        "active",
        "cut_off",
        "duplicated",
        "decommissioned",
        "suspected",
    ] {
        clients.get_or_create(&ByState { state }).set(0);
    }
    for (client_number, client) in fleet.clients() {
        let last_seen = sessions.last_seen(client_number);
        let state = match (client.state, client.suspicion) {
            (ClientState::Active, _)
                if fleet.standing(client, last_seen, now) == Standing::CutOff =>
            {
                "cut_off"
            }
            (ClientState::Active, Some(_)) => "suspected",
            (ClientState::Active, None) => "active",
            (ClientState::Duplicated, _) => "duplicated",
            (ClientState::Decommissioned, _) => "decommissioned",
        };
        clients.get_or_create(&ByState { state }).inc();
    }
    registry.register("clients", "Clients by their state", clients);

    let open: Gauge = Gauge::default();
    open.set(number(sessions.clients().len()));
    registry.register("sessions", "Clients that have a session just now", open);

    let phases = Family::<ByPhase, Gauge>::default();
    let evidence = Family::<ByEvidence, Gauge>::default();
    let missing: Gauge = Gauge::default();
    if let Some(rotation) = fleet.rotations().last() {
        for phase in PHASES {
            let label = ByPhase {
                phase: phase.to_string(),
            };
            phases
                .get_or_create(&label)
                .set(i64::from(phase == rotation.phase));
        }
        for (evidence_name, set) in [
            ("received", &rotation.received),
            ("applied", &rotation.applied),
            ("proved", &rotation.proved),
            ("confirmed", &rotation.confirmed),
        ] {
            let label = ByEvidence {
                evidence: evidence_name,
            };
            evidence
                .get_or_create(&label)
                .set(number(fleet.roster().intersection_len(set)));
        }
        missing.set(number(gate::missing(fleet, rotation, now).len()));
    }
    registry.register(
        "rotation_phase",
        "1 for the phase of the newest rotation",
        phases,
    );
    registry.register(
        "rotation_clients",
        "Clients that have shown at least that in the newest rotation",
        evidence,
    );
    registry.register(
        "gate_missing",
        "Clients that the newest rotation waits for",
        missing,
    );

    expiries(fleet, now, &mut registry);
    registry.register(
        "scep_devices",
        "Clients of the roster by the status of their newest certificate request",
        devices(fleet),
    );
    registry.register(
        "scep_requests",
        "Clients' certificate requests that have ended since the controller began, by how they did",
        ended.clone(),
    );
    let messages = Family::<ByResult, Counter>::default();
    for (result, count) in counts.all() {
        messages.get_or_create(&ByResult { result }).inc_by(count);
    }
    registry.register(
        "scep_messages",
        "Messages that the built-in SCEP server has answered since the controller began, by how",
        messages,
    );
    let lost: Counter = Counter::default();
    lost.inc_by(stderr::lost());
    registry.register(
        "log_lines_lost",
        "Lines of the log that were lost since the controller began, because nobody read them in time",
        lost,
    );
    let left_out: Counter = Counter::default();
    left_out.inc_by(lines::left_out());
    registry.register(
        "log_lines_left_out",
        "Lines of the log that were left out since the controller began, because too many were about one client or address",
        left_out,
    );
    let degraded = Family::<ByReason, Gauge>::default();
    for reason in Degraded::ALL {
        let label = ByReason {
            reason: reason.code(),
        };
        degraded
            .get_or_create(&label)
            .set(i64::from(health.is(reason)));
    }
    registry.register(
        "degraded",
        "1 for what is wrong with the controller now",
        degraded,
    );
    let refused = Family::<ByLabelKind, Counter>::default();
    for (label_kind, count) in refusals.by_kind() {
        refused
            .get_or_create(&ByLabelKind { label_kind })
            .inc_by(count);
    }
    registry.register(
        "refused_handshakes",
        "Handshakes in which the peer refused the certificate since the controller began, by the kind of their label. Anybody can forge them",
        refused,
    );
    encode(text, &registry)
}

/// What is valid for a time, and how much of it is left. Negative: it has expired.
fn expiries(fleet: &Fleet, now: Timestamp, registry: &mut Registry) {
    let certificates = Family::<ByGeneration, Gauge>::default();
    let others = Family::<ByKind, Gauge>::default();
    for life in lives(fleet) {
        let left = life.until.duration_since(now).as_secs();
        if let Subject::Certificate(generation) = life.subject {
            let label = ByGeneration {
                generation: generation.0,
            };
            certificates.get_or_create(&label).set(left);
        } else {
            let (kind, name) = spelled(&life.subject);
            others.get_or_create(&ByKind { kind, name }).set(left);
        }
    }
    registry.register(
        "certificate_expiry_seconds",
        "Seconds until a server certificate that is not retired expires",
        certificates,
    );
    registry.register(
        "expiry_seconds",
        "Seconds until the root, a group's trust document, the client CA or the SCEP CA expires",
        others,
    );
    let identities = Family::<ByExpiry, Gauge>::default();
    let found = Identities::of(fleet, now);
    for (expiry, clients) in [("overdue", found.overdue), ("expired", found.expired)] {
        identities
            .get_or_create(&ByExpiry { expiry })
            .set(i64::try_from(clients.len()).unwrap_or(i64::MAX));
    }
    registry.register(
        "identities",
        "Clients of the roster whose identity is overdue for renewal, or has expired",
        identities,
    );
}

/// Clients by the status of their newest request.
fn devices(fleet: &Fleet) -> Family<ByStatus, Gauge> {
    let devices = Family::<ByStatus, Gauge>::default();
    for status in [
        "none",
        "to_be_processed",
        "processing",
        "error",
        "successful",
    ] {
        devices.get_or_create(&ByStatus { status }).set(0);
    }
    for number in fleet.roster() {
        let newest = fleet.client(number).and_then(|client| {
            fleet
                .enrolment()
                .standing(number, &client.group)
                .next_back()
        });
        let status = match newest.map(|record| &record.state) {
            None => "none",
            Some(RequestState::ToBeProcessed) => "to_be_processed",
            Some(RequestState::Processing { .. }) => "processing",
            Some(RequestState::Error(_)) => "error",
            Some(RequestState::Successful(_)) => "successful",
        };
        devices.get_or_create(&ByStatus { status }).inc();
    }
    devices
}

const PHASES: [Phase; 9] = [
    Phase::Planned,
    Phase::PausingReplication,
    Phase::Preparing,
    Phase::Swapping,
    Phase::Enforcing,
    Phase::ResumingReplication,
    Phase::Completed,
    Phase::Aborted,
    Phase::RolledBack,
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scep::device::Devices;

    #[test]
    fn an_empty_fleet_has_metrics_too() {
        let mut text = String::new();
        let sessions = Arc::new(Sessions::default());
        let _open = [1, 2, 3].map(|client| sessions.open(client, [127, 0, 0, 1].into()));
        let ended = Devices::default().ended;
        let health = Health::default();
        health.say(Degraded::Duty, "a disk is full");
        render(
            &Fleet::default(),
            &sessions,
            &ended,
            &Counts::default(),
            &health,
            &Refusals::default(),
            Timestamp::UNIX_EPOCH,
            &mut text,
        )
        .expect("rendered");
        assert!(text.contains("convoy_sessions 3\n"), "{text}");
        assert!(
            text.contains("convoy_clients{state=\"active\"} 0\n"),
            "{text}"
        );
        assert!(text.contains("convoy_gate_missing 0\n"), "{text}");
        for line in [
            "convoy_degraded{reason=\"duty\"} 1\n",
            "convoy_degraded{reason=\"clock\"} 0\n",
            "convoy_refused_handshakes_total{label_kind=\"anchors\"} 0\n",
            "convoy_scep_requests_total{result=\"successful\"} 0\n",
            "convoy_scep_devices{status=\"none\"} 0\n",
            "convoy_scep_messages_total{result=\"issued\"} 0\n",
        ] {
            assert!(text.contains(line), "{text}");
        }
    }
}
