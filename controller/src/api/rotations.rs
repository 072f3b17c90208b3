//! `RotationService`: the procedure. It asks; gates open in the keeper.

use std::time::Duration;

use convoy_fleet::{
    decide::Command,
    refusal::Refusal,
    rotation::{self, RotationOptions},
    state::{Fleet, Outcome},
};
use convoy_proto::{
    time::{read_duration, read_timestamp},
    v1::{
        AbortRotationRequest, AbortRotationResponse, GetRotationRequest, GetRotationResponse,
        ListRotationsRequest, ListRotationsResponse, PauseRotationRequest, PauseRotationResponse,
        ResumeRotationRequest, ResumeRotationResponse, RollBackRotationRequest,
        RollBackRotationResponse, Rotation, StartRotationRequest, StartRotationResponse, Strategy,
        WaiveClientRequest, WaiveClientResponse, WatchRotationRequest, WatchRotationResponse,
        rotation_service_server::RotationService,
    },
};
use convoy_shared::id::{Generation, RotationId};
use jiff::SignedDuration;
use tokio::{sync::mpsc, time::sleep};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, async_trait};

use super::{
    Api, actor, find_client, named,
    page::{key, page},
    rotation_id, status, view,
};
use crate::{certificate::uncovered, clock, refusals};

/// A watcher hears of changes at most so often.
const WATCH: Duration = Duration::from_millis(100);
const LONGEST_WINDOW: SignedDuration = SignedDuration::from_hours(7 * 24);
const LONGEST_LEASE: SignedDuration = SignedDuration::from_hours(90 * 24);

#[async_trait]
impl RotationService for Api {
    async fn start_rotation(
        &self,
        request: Request<StartRotationRequest>,
    ) -> Result<Response<StartRotationResponse>, Status> {
        let actor = actor(&request)?;
        let asked = request.into_inner();
        let named = named("StartRotation", &asked.request_id, &asked)?;
        let id = RotationId::new(uuid::Uuid::new_v4());
        let command = Command::StartRotation {
            rotation: id,
            to: Generation(asked.to_generation),
            strategy: match Strategy::try_from(asked.strategy) {
                Ok(Strategy::Unspecified | Strategy::Overlap) => rotation::Strategy::Overlap,
                Ok(Strategy::Toggle) => rotation::Strategy::Toggle,
                Err(_) => return Err(status::invalid("strategy", &"overlap or toggle")),
            },
            options: options(&asked)?,
            allow_empty: asked.allow_empty,
        };
        self.carries_every_name(Generation(asked.to_generation))?;
        let id = match self.decide(command, actor, named).await? {
            Some(Outcome::Rotation(id)) => id,
            _ => id,
        };
        Ok(Response::new(StartRotationResponse {
            rotation: Some(self.rotation(Some(id))?),
        }))
    }

    async fn get_rotation(
        &self,
        request: Request<GetRotationRequest>,
    ) -> Result<Response<GetRotationResponse>, Status> {
        actor(&request)?;
        let id = rotation_id(&request.get_ref().id)?;
        Ok(Response::new(GetRotationResponse {
            rotation: Some(self.rotation(id)?),
        }))
    }

    async fn list_rotations(
        &self,
        request: Request<ListRotationsRequest>,
    ) -> Result<Response<ListRotationsResponse>, Status> {
        actor(&request)?;
        let asked = request.into_inner();
        let fleet = self.keeper.read();
        let now = clock::now();
        // Newest first, under keys that stay as more are added.
        let mut numbered: Vec<_> = (0u64..).zip(fleet.rotations()).collect();
        numbered.reverse();
        let all = numbered
            .into_iter()
            .map(|(number, rotation)| (key(u64::MAX - number), rotation));
        let (rotations, next_page_token) =
            page(all, asked.page_size, &asked.page_token, |rotation| {
                let mut seen = view::rotation(&fleet, rotation, self.seen(), now);
                seen.missing.clear();
                seen.stayed_away.clear();
                seen.expiring.clear();
                seen.cut_off.clear();
                seen
            })?;
        Ok(Response::new(ListRotationsResponse {
            rotations,
            next_page_token,
        }))
    }

    type WatchRotationStream = ReceiverStream<Result<WatchRotationResponse, Status>>;

    async fn watch_rotation(
        &self,
        request: Request<WatchRotationRequest>,
    ) -> Result<Response<Self::WatchRotationStream>, Status> {
        actor(&request)?;
        let id = rotation_id(&request.get_ref().id)?;
        let first = self.rotation(id)?;
        let id = rotation_id(&first.id)?;
        let (changes, stream) = mpsc::channel(1);
        let api = self.clone();
        tokio::spawn(async move { api.watch(id, first, changes).await });
        Ok(Response::new(ReceiverStream::new(stream)))
    }

    async fn pause_rotation(
        &self,
        request: Request<PauseRotationRequest>,
    ) -> Result<Response<PauseRotationResponse>, Status> {
        let actor = actor(&request)?;
        let asked = request.into_inner();
        let named = named("PauseRotation", &asked.request_id, &asked)?;
        let id = rotation_id(&asked.id)?;
        let outcome = self.decide(Command::Pause(id), actor, named).await?;
        Ok(Response::new(PauseRotationResponse {
            rotation: Some(self.rotation(about(outcome, id))?),
        }))
    }

    async fn resume_rotation(
        &self,
        request: Request<ResumeRotationRequest>,
    ) -> Result<Response<ResumeRotationResponse>, Status> {
        let actor = actor(&request)?;
        let asked = request.into_inner();
        let named = named("ResumeRotation", &asked.request_id, &asked)?;
        let id = rotation_id(&asked.id)?;
        let outcome = self.decide(Command::Resume(id), actor, named).await?;
        Ok(Response::new(ResumeRotationResponse {
            rotation: Some(self.rotation(about(outcome, id))?),
        }))
    }

    async fn abort_rotation(
        &self,
        request: Request<AbortRotationRequest>,
    ) -> Result<Response<AbortRotationResponse>, Status> {
        let actor = actor(&request)?;
        let asked = request.into_inner();
        let named = named("AbortRotation", &asked.request_id, &asked)?;
        let id = rotation_id(&asked.id)?;
        let outcome = self.decide(Command::Abort(id), actor, named).await?;
        Ok(Response::new(AbortRotationResponse {
            rotation: Some(self.rotation(about(outcome, id))?),
        }))
    }

    async fn roll_back_rotation(
        &self,
        request: Request<RollBackRotationRequest>,
    ) -> Result<Response<RollBackRotationResponse>, Status> {
        let actor = actor(&request)?;
        let asked = request.into_inner();
        let named = named("RollBackRotation", &asked.request_id, &asked)?;
        let id = rotation_id(&asked.id)?;
        let outcome = self.decide(Command::RollBack(id), actor, named).await?;
        Ok(Response::new(RollBackRotationResponse {
            rotation: Some(self.rotation(about(outcome, id))?),
        }))
    }

    async fn waive_client(
        &self,
        request: Request<WaiveClientRequest>,
    ) -> Result<Response<WaiveClientResponse>, Status> {
        let actor = actor(&request)?;
        let asked = request.into_inner();
        let named = named("WaiveClient", &asked.request_id, &asked)?;
        let id = rotation_id(&asked.id)?;
        let reason = asked.reason.trim();
        if reason.is_empty() || reason.chars().count() > 500 {
            return Err(status::invalid(
                "reason",
                &"say why, in 1 to 500 characters",
            ));
        }
        let until =
            read_timestamp(asked.until, "until").map_err(|bad| status::invalid("until", &bad))?;
        let client = find_client(&self.keeper.read(), &asked.client)?;
        let command = Command::Waive {
            rotation: id,
            client,
            reason: reason.to_owned(),
            until,
        };
        let outcome = self.decide(command, actor, named).await?;
        Ok(Response::new(WaiveClientResponse {
            rotation: Some(self.rotation(about(outcome, id))?),
        }))
    }
}

fn about(outcome: Option<Outcome>, asked: Option<RotationId>) -> Option<RotationId> {
    match outcome {
        Some(Outcome::Rotation(id)) => Some(id),
        _ => asked,
    }
}

fn options(asked: &StartRotationRequest) -> Result<RotationOptions, Status> {
    let default = RotationOptions::default();
    let length = |wire: Option<prost_types::Duration>, field, default, longest: SignedDuration| {
        if wire.is_none() {
            return Ok(default);
        }
        read_duration(wire, field)
            .ok()
            .filter(|length| *length >= SignedDuration::from_secs(1) && *length <= longest)
            .ok_or_else(|| {
                status::invalid(
                    field,
                    &format!("1 second to {} days", longest.as_hours() / 24),
                )
            })
    };
    Ok(RotationOptions {
        return_window: length(
            asked.return_window,
            "return_window",
            default.return_window,
            LONGEST_WINDOW,
        )?,
        max_missing: asked.max_missing,
        off_lease: length(
            asked.off_lease,
            "off_lease",
            default.off_lease,
            LONGEST_LEASE,
        )?,
    })
}

impl Api {
    /// Names and addresses may have been set since a certificate was imported.
    fn carries_every_name(&self, to: Generation) -> Result<(), Status> {
        let fleet = self.keeper.read();
        // Whether there is such a certificate is decided by the fleet.
        let missing = fleet
            .certificate(to)
            .and_then(|kept| kept.certificate.chain.first())
            .map(|certificate| uncovered(certificate, &fleet.names_to_carry()))
            .unwrap_or_default();
        if missing.is_empty() {
            return Ok(());
        }
        Err(status::failed(
            "CERTIFICATE_LACKS_NAMES",
            &format!(
                "certificate {to} does not carry {}, by which clients are to reach the controller (`--name`, `convoy addresses show`); import one that \
                 carries every name",
                missing.join(", ")
            ),
        ))
    }
    /// One rotation, or the newest.
    fn rotation(&self, id: Option<RotationId>) -> Result<Rotation, Status> {
        let fleet = self.keeper.read();
        let found = find(&fleet, id).map_err(|refusal| status::refused(&refusal))?;
        let now = clock::now();
        Ok(Rotation {
            refused_handshakes_hint: refusals::hint(&fleet, &self.refusals.list(now)),
            ..view::rotation(&fleet, found, self.seen(), now)
        })
    }

    async fn watch(
        &self,
        id: Option<RotationId>,
        first: Rotation,
        changes: mpsc::Sender<Result<WatchRotationResponse, Status>>,
    ) {
        let mut heads = self.keeper.heads();
        let mut health = self.keeper.health().changes();
        let mut last = first;
        let send = |rotation: &Rotation| {
            changes.send(Ok(WatchRotationResponse {
                rotation: Some(rotation.clone()),
            }))
        };
        if send(&last).await.is_err() {
            return;
        }
        while last.ended_at.is_none() {
            tokio::select! {
                changed = heads.changed() => if changed.is_err() { return },
                changed = health.changed() => if changed.is_err() { return },
                () = changes.closed() => return,
            }
            sleep(WATCH).await;
            heads.borrow_and_update();
            let Ok(present) = self.rotation(id) else {
                return;
            };
            if present != last {
                last = present;
                if send(&last).await.is_err() {
                    return;
                }
            }
        }
    }
}

fn find(fleet: &Fleet, id: Option<RotationId>) -> Result<&rotation::Rotation, Refusal> {
    match id {
        Some(id) => fleet.rotation(id).ok_or(Refusal::NoSuchRotation(id)),
        None => fleet.rotations().last().ok_or(Refusal::NoRotationYet),
    }
}
