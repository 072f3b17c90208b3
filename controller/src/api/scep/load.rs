//! The load that SCEP servers are about to get, for people. It is planned in the fleet.

use convoy_fleet::{
    enrolment::{Audience, Load, plan},
    refusal::Refusal,
    state::Fleet,
};
use convoy_proto::{
    time::{duration, timestamp},
    v1::{PlanScepRequest, PlanScepResponse, ScepLoad},
};
use convoy_shared::{
    id::GroupName,
    settings::{Capacity, ScepPatch, ScepServer, ScepSettings},
};
use jiff::Timestamp;
use tonic::Status;

use super::{Api, group, patch, status};
use crate::clock;

impl Api {
    pub(super) fn plan_load(&self, asked: PlanScepRequest) -> Result<PlanScepResponse, Status> {
        let with = match asked.patch {
            None => None,
            wire => Some(patch(wire)?),
        };
        let fleet = self.keeper.read();
        let only = group(&fleet, &asked.group)?;
        match (&only, &with) {
            (None, Some(_)) => {
                return Err(status::invalid(
                    "group",
                    &"settings that are tried out need a group",
                ));
            }
            (Some(group), Some(with)) => {
                let set = fleet.enrolment().set(&Audience::Group(group.clone()));
                with.after(&set)
                    .over(&ScepSettings::default())
                    .check()
                    .map_err(|bad| status::refused(&Refusal::BadSetting(bad.to_string())))?;
            }
            (_, None) => {}
        }
        let planned = plan(&fleet, only.as_ref(), with.as_ref(), clock::now());
        Ok(PlanScepResponse {
            servers: planned
                .servers
                .iter()
                .map(|load| server(load, self.scep.url.as_deref()))
                .collect(),
            warnings: planned.warnings,
        })
    }
}

fn server(load: &Load, built_in: Option<&str>) -> ScepLoad {
    let url = match (load.server.parse(), built_in) {
        (Ok(ScepServer::BuiltIn), Some(url)) => url,
        _ => &load.server,
    };
    ScepLoad {
        url: url.to_owned(),
        devices: load.devices,
        first: Some(timestamp(load.first)),
        last: Some(timestamp(load.last)),
        peak_per_second: load.peak_per_second,
        capacity: load.capacity.clone(),
        step: Some(duration(load.step)),
        requests: load.steps.iter().map(|step| step.requests).collect(),
    }
}

/// What the plan says of a group's slots, as if its timer were on.
pub(super) fn warnings(
    fleet: &Fleet,
    group: &GroupName,
    settings: &ScepSettings,
    now: Timestamp,
) -> Vec<String> {
    if settings.capacity == Capacity::Off || settings.server == ScepServer::None {
        return vec![];
    }
    let with = ScepPatch {
        timer: Some(true),
        ..ScepPatch::all(settings)
    };
    plan(fleet, Some(group), Some(&with), now).warnings
}
