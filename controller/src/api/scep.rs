//! `ScepService`: settings, secrets, manual requests, states and load of devices. What may be set is decided in the fleet, and how a request is made by
//! the device.

mod load;
mod request;
mod settings;
mod states;
#[cfg(test)]
mod tests;
mod warn;
mod watch;

use convoy_fleet::{enrolment::Audience, refusal::Refusal, state::Fleet};
use convoy_proto::{
    scep::{BadScep, read_patch},
    v1::{
        GetScepSettingsRequest, GetScepSettingsResponse, ListScepHistoryRequest,
        ListScepHistoryResponse, ListScepStatusRequest, ListScepStatusResponse, PlanScepRequest,
        PlanScepResponse, RequestScepCertificateRequest, RequestScepCertificateResponse,
        ScepAudience, ScepSettings, SetScepSettingsRequest, SetScepSettingsResponse,
        StoreScepChallengeRequest, StoreScepChallengeResponse, WatchScepStatusRequest,
        WatchScepStatusResponse, scep_audience, scep_service_server::ScepService,
    },
};
use convoy_shared::{id::GroupName, settings::ScepPatch};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, async_trait};

use super::{Api, actor, find_client, named, status};

#[async_trait]
impl ScepService for Api {
    async fn get_scep_settings(
        &self,
        request: Request<GetScepSettingsRequest>,
    ) -> Result<Response<GetScepSettingsResponse>, Status> {
        actor(&request)?;
        let fleet = self.keeper.read();
        let audience = audience(&fleet, request.into_inner().audience)?;
        self.scep_settings(&fleet, &audience).map(Response::new)
    }

    async fn set_scep_settings(
        &self,
        request: Request<SetScepSettingsRequest>,
    ) -> Result<Response<SetScepSettingsResponse>, Status> {
        let actor = actor(&request)?;
        let asked = request.into_inner();
        let named = named("SetScepSettings", &asked.request_id, &asked)?;
        self.set_settings(asked, actor, named)
            .await
            .map(Response::new)
    }

    async fn store_scep_challenge(
        &self,
        request: Request<StoreScepChallengeRequest>,
    ) -> Result<Response<StoreScepChallengeResponse>, Status> {
        let actor = actor(&request)?;
        self.store_secret(request.into_inner(), actor).await?;
        Ok(Response::new(StoreScepChallengeResponse {}))
    }

    async fn request_scep_certificate(
        &self,
        request: Request<RequestScepCertificateRequest>,
    ) -> Result<Response<RequestScepCertificateResponse>, Status> {
        let actor = actor(&request)?;
        self.request_certificate(request.into_inner(), &actor)
            .await
            .map(Response::new)
    }

    async fn list_scep_status(
        &self,
        request: Request<ListScepStatusRequest>,
    ) -> Result<Response<ListScepStatusResponse>, Status> {
        actor(&request)?;
        self.scep_states(&request.into_inner()).map(Response::new)
    }

    type WatchScepStatusStream = ReceiverStream<Result<WatchScepStatusResponse, Status>>;

    async fn watch_scep_status(
        &self,
        request: Request<WatchScepStatusRequest>,
    ) -> Result<Response<Self::WatchScepStatusStream>, Status> {
        actor(&request)?;
        let group = group(&self.keeper.read(), &request.get_ref().group)?;
        let (changes, stream) = mpsc::channel(1);
        let api = self.clone();
        tokio::spawn(async move { api.watch_scep(group, changes).await });
        Ok(Response::new(ReceiverStream::new(stream)))
    }

    async fn list_scep_history(
        &self,
        request: Request<ListScepHistoryRequest>,
    ) -> Result<Response<ListScepHistoryResponse>, Status> {
        actor(&request)?;
        self.scep_history(&request.into_inner()).map(Response::new)
    }

    async fn plan_scep(
        &self,
        request: Request<PlanScepRequest>,
    ) -> Result<Response<PlanScepResponse>, Status> {
        actor(&request)?;
        self.plan_load(request.into_inner()).map(Response::new)
    }
}

/// Whose settings are meant.
fn audience(fleet: &Fleet, wire: Option<ScepAudience>) -> Result<Audience, Status> {
    match wire.and_then(|audience| audience.kind) {
        Some(scep_audience::Kind::Group(name)) => known_group(fleet, &name).map(Audience::Group),
        Some(scep_audience::Kind::Client(text)) => find_client(fleet, &text).map(Audience::Client),
        None => Err(status::invalid(
            "audience",
            &"a group or a client is required",
        )),
    }
}

fn known_group(fleet: &Fleet, name: &str) -> Result<GroupName, Status> {
    let name: GroupName = name.parse().map_err(|bad| status::invalid("group", &bad))?;
    if fleet.group(&name).is_some() {
        Ok(name)
    } else {
        Err(status::refused(&Refusal::NoSuchGroup(name)))
    }
}

/// The group that is meant; `None`: all.
fn group(fleet: &Fleet, name: &str) -> Result<Option<GroupName>, Status> {
    match name {
        "" => Ok(None),
        name => known_group(fleet, name).map(Some),
    }
}

fn patch(wire: Option<ScepSettings>) -> Result<ScepPatch, Status> {
    read_patch(wire.unwrap_or_default()).map_err(|bad| match bad {
        BadScep::Setting(setting) => status::refused(&Refusal::BadSetting(setting.to_string())),
        bad => status::invalid("patch", &bad),
    })
}

/// A password as an operator gives it.
fn secret(field: &str, text: &str) -> Result<(), Status> {
    if text.chars().count() <= 255 && !text.chars().any(char::is_control) {
        Ok(())
    } else {
        Err(status::invalid(
            field,
            &"at most 255 characters, and no control characters",
        ))
    }
}
