//! `SystemService`: how the controller does. It asks the state and the register of what is wrong, and decides nothing.

use convoy_fleet::{clock::ClockCommand, decide::Command};
use convoy_proto::{
    time::{read_timestamp, timestamp},
    v1::{
        ConfirmClockRequest, ConfirmClockResponse, DegradedReason, GetStatusRequest,
        GetStatusResponse, Phase, RefusedHandshakes, SystemStatus,
        system_service_server::SystemService,
    },
};
use tonic::{Request, Response, Status, async_trait};

use super::{Api, actor, named, status, view};
use crate::{
    clock,
    health::{Degraded, Health},
    readiness::Readiness,
    refusals::{Refusals, hint, words},
    sessions::Sessions,
};

#[async_trait]
impl SystemService for Api {
    async fn get_status(
        &self,
        request: Request<GetStatusRequest>,
    ) -> Result<Response<GetStatusResponse>, Status> {
        actor(&request)?;
        Ok(Response::new(GetStatusResponse {
            status: Some(system(&self.readiness, &self.sessions, &self.refusals)),
        }))
    }

    async fn confirm_clock(
        &self,
        request: Request<ConfirmClockRequest>,
    ) -> Result<Response<ConfirmClockResponse>, Status> {
        let actor = actor(&request)?;
        let asked = request.into_inner();
        let named = named("ConfirmClock", &asked.request_id, &asked)?;
        let time =
            read_timestamp(asked.time, "time").map_err(|bad| status::invalid("time", &bad))?;
        let confirm = ClockCommand::Confirm {
            time,
            mark: clock::boot_mark(),
        };
        self.decide(Command::Clock(confirm), actor, named).await?;
        self.keeper.health().clear(Degraded::Clock);
        Ok(Response::new(ConfirmClockResponse {
            status: Some(system(&self.readiness, &self.sessions, &self.refusals)),
        }))
    }
}

/// How the controller does.
#[must_use]
pub fn system(readiness: &Readiness, sessions: &Sessions, refusals: &Refusals) -> SystemStatus {
    let unready = readiness.unready();
    let keeper = &readiness.keeper;
    let now = clock::now();
    let fleet = keeper.read();
    let rotation = fleet.rotations().last();
    let serving = fleet
        .serving()
        .and_then(|generation| Some((generation, fleet.certificate(generation)?)));
    let refused = refusals.list(now);
    SystemStatus {
        ready: unready.is_none(),
        unready_reason: unready.map(|why| why.to_string()).unwrap_or_default(),
        degraded: degraded(keeper.health()),
        clients: view::count(fleet.roster().len()),
        connected: view::count(fleet.roster().intersection_len(&sessions.clients())),
        rotation_id: rotation
            .map(|rotation| rotation.id.to_string())
            .unwrap_or_default(),
        rotation_phase: rotation
            .map_or(Phase::Unspecified, |rotation| {
                view::write_phase(rotation.phase)
            })
            .into(),
        serving_generation: serving.map_or(0, |(generation, _)| generation.0),
        serving_fingerprint: serving
            .map(|(_, kept)| kept.certificate.fingerprint.to_string())
            .unwrap_or_default(),
        serving_not_after: serving.map(|(_, kept)| timestamp(kept.certificate.not_after)),
        time: Some(timestamp(now)),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        expiring: view::expiring(&fleet, now),
        refused_handshakes_hint: hint(&fleet, &refused),
        refused_handshakes: refused
            .into_iter()
            .map(|one| RefusedHandshakes {
                address: one.address.to_string(),
                words: words(&fleet, one.label.as_ref()),
                label: one.label.map(|label| label.to_string()).unwrap_or_default(),
                count: one.count,
                first_at: Some(timestamp(one.first)),
                last_at: Some(timestamp(one.last)),
            })
            .collect(),
    }
}

/// What is wrong now.
pub(super) fn degraded(health: &Health) -> Vec<DegradedReason> {
    health
        .reasons()
        .into_iter()
        .map(|(degraded, reason)| DegradedReason {
            code: degraded.code().to_owned(),
            words: reason.words,
            since: Some(timestamp(reason.since)),
        })
        .collect()
}
