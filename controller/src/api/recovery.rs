//! `RecoveryService`: how old the journal is, and how the fleet goes on from an old copy. What follows is decided in the fleet.

mod marks;

use convoy_fleet::{
    client::{Client, ClientState},
    decide::Command,
    recovery::{self, Readmitted, Recover},
    state::Fleet,
};
use convoy_proto::{
    time::timestamp,
    v1::{
        AheadClient, ExportAuditRequest, ExportAuditResponse, FastForwardRequest,
        FastForwardResponse, GetRecoveryRequest, GetRecoveryResponse, Recovery, RosterClient,
        UnknownClient, recovery_service_server::RecoveryService,
    },
};
use convoy_shared::id::ClientId;
use jiff::Timestamp;
use tonic::{Request, Response, Status, async_trait};

use super::{Api, actor, named, status};
use crate::{beside, recovery::Hinted};

#[async_trait]
impl RecoveryService for Api {
    async fn get_recovery(
        &self,
        request: Request<GetRecoveryRequest>,
    ) -> Result<Response<GetRecoveryResponse>, Status> {
        actor(&request)?;
        Ok(Response::new(GetRecoveryResponse {
            recovery: Some(self.recovery()),
        }))
    }

    async fn fast_forward(
        &self,
        request: Request<FastForwardRequest>,
    ) -> Result<Response<FastForwardResponse>, Status> {
        let actor = actor(&request)?;
        let asked = request.into_inner();
        let named = named("FastForward", &asked.request_id, &asked)?;
        let (mut recover, mut plan) = self.plan(&asked)?;
        if asked.dry_run {
            return Ok(Response::new(plan));
        }
        recover.clients = asked.clients;
        self.decide(Command::FastForward(Box::new(recover)), actor, named)
            .await?;
        self.hints.forget();
        for (_, kept) in self.keeper.read().certificates() {
            if kept.retired {
                beside::forget(&self.folder, &kept.certificate.fingerprint);
            }
        }
        plan.recovery = Some(self.recovery());
        plan.serving = self.keeper.read().serving().map_or(0, |serving| serving.0);
        Ok(Response::new(plan))
    }

    async fn export_audit(
        &self,
        request: Request<ExportAuditRequest>,
    ) -> Result<Response<ExportAuditResponse>, Status> {
        actor(&request)?;
        Ok(Response::new(ExportAuditResponse {
            marks: marks::written(&self.keeper.read()),
        }))
    }
}

impl Api {
    fn recovery(&self) -> Recovery {
        let fleet = self.keeper.read();
        let Hinted { unknown, anchors } = self.hints.hinted(&fleet);
        let own = fleet.position();
        let older = fleet.recovery().older();
        let ahead = older.and_then(|older| older.ahead.as_ref()).map(|ahead| {
            let client = fleet.client(ahead.client);
            AheadClient {
                id: client.map_or_else(String::new, |client| client.id.to_string()),
                name: client.map_or_else(String::new, |client| client.name.clone()),
                root_version: ahead.position.root_version.0,
                epoch: ahead.position.epoch.0,
                revision: ahead.position.revision.0,
                roots: u32::try_from(ahead.roots.len()).unwrap_or(u32::MAX),
            }
        });
        Recovery {
            epoch: own.epoch.0,
            root_version: own.root_version.0,
            revision: own.revision.0,
            older: older.is_some(),
            since: older.map(|older| timestamp(older.since)),
            words: fleet.age().unwrap_or_default(),
            ahead,
            superseded_by: fleet.superseded_by().map_or(0, |epoch| epoch.0),
            unknown: unknown
                .into_values()
                .map(|client| UnknownClient {
                    id: client.identity.id.to_string(),
                    name: client.name,
                    group: client.group.to_string(),
                    epoch: client.position.epoch.0,
                    revision: client.position.revision.0,
                    agent_version: client.agent_version,
                    last_seen: Some(timestamp(client.last_seen)),
                })
                .collect(),
            unknown_anchors: anchors.into_iter().map(|anchor| anchor.0).collect(),
        }
    }

    /// What is asked for, and what it would do.
    fn plan(&self, asked: &FastForwardRequest) -> Result<(Recover, FastForwardResponse), Status> {
        let fleet = self.keeper.read();
        let hinted = self.hints.hinted(&fleet);
        self.holds_the_keys(&fleet)?;
        let mut recover = Recover {
            clients: 0,
            take_over: asked.take_over,
            readmit: asked
                .readmit
                .iter()
                .map(|text| readmitted(&fleet, &hinted, text))
                .collect::<Result<Vec<_>, _>>()?
                .into_iter()
                .flatten()
                .collect(),
            marks: marks::read(&fleet, &asked.marks)?,
        };
        recover.readmit.dedup_by_key(|client| client.id);
        let (stays, gone) = recovery::roster_after(&fleet, &recover);
        let known = |number| {
            let client = fleet.client(number)?;
            Some(roster_client(client, self.sessions.last_seen(number)))
        };
        let mut roster: Vec<RosterClient> = stays.iter().filter_map(known).collect();
        roster.extend(recover.readmit.iter().map(|client| {
            RosterClient {
                id: client.id.to_string(),
                name: client.name.clone(),
                group: client.group.to_string(),
                last_seen: hinted
                    .unknown
                    .get(&client.id)
                    .map(|unknown| timestamp(unknown.last_seen)),
                readmitted: true,
            }
        }));
        let plan = FastForwardResponse {
            roster,
            decommissioned: gone.iter().filter_map(known).collect(),
            recovery: None,
            serving: 0,
        };
        drop(fleet);
        Ok((
            recover,
            FastForwardResponse {
                recovery: Some(self.recovery()),
                ..plan
            },
        ))
    }

    /// Roots that clients have shown may name other keys than this folder holds.
    fn holds_the_keys(&self, fleet: &Fleet) -> Result<(), Status> {
        let newest = fleet
            .recovery()
            .older()
            .and_then(|older| older.ahead.as_ref())
            .and_then(|ahead| ahead.roots.last());
        let holds = newest.is_none_or(|newest| {
            newest
                .root
                .policy
                .keys()
                .contains(&self.keys.policy.public())
                && newest.root.root.keys().contains(&self.keys.root.public())
        });
        if holds {
            Ok(())
        } else {
            Err(status::failed(
                "KEYS_REPLACED",
                "the fleet has a newer root, and it names other keys than keys/root.seed and keys/policy.seed here; put the newer key files back first",
            ))
        }
    }
}

fn roster_client(client: &Client, last_seen: Option<Timestamp>) -> RosterClient {
    RosterClient {
        id: client.id.to_string(),
        name: client.name.clone(),
        group: client.group.to_string(),
        last_seen: last_seen.map(timestamp),
        readmitted: false,
    }
}

/// The unknown client that a person means. `None`: it is in the roster already.
fn readmitted(fleet: &Fleet, hinted: &Hinted, text: &str) -> Result<Option<Readmitted>, Status> {
    let id = text.parse::<ClientId>().ok();
    if let Some(known) = id
        .and_then(|id| fleet.client_by_id(id))
        .and_then(|number| fleet.client(number))
        && known.state != ClientState::Decommissioned
    {
        return Ok(None);
    }
    let mut matching = hinted
        .unknown
        .values()
        .filter(|client| id.map_or(client.name == text, |id| client.identity.id == id));
    let (Some(client), None) = (matching.next(), matching.next()) else {
        return Err(status::invalid(
            "readmit",
            &format!(
                "{text:?} names none, or more than one, of the unknown clients that came since the controller's start; `convoy recover show` lists them with their ids"
            ),
        ));
    };
    Ok(Some(Readmitted {
        id: client.identity.id,
        number: 0,
        name: client.name.clone(),
        group: client.group.clone(),
        key: client.identity.key,
        agent_version: client.agent_version.clone(),
        identity_expires_at: client.identity.expires_at,
    }))
}
