//! `RootService`: the root of trust. What a root may say is decided in the model.

use convoy_fleet::{decide::Command, event::SignedRoot, refusal::Refusal};
use convoy_proto::{
    time::timestamp,
    v1::{
        FleetRoot, GetRootRequest, GetRootResponse, RenewRootRequest, RenewRootResponse,
        root_service_server::RootService,
    },
};
use convoy_shared::envelope::{PublicKey, Role};
use tonic::{Request, Response, Status, async_trait};

use super::{Api, actor, named, status};
use crate::{clock, documents};

#[async_trait]
impl RootService for Api {
    async fn get_root(
        &self,
        request: Request<GetRootRequest>,
    ) -> Result<Response<GetRootResponse>, Status> {
        actor(&request)?;
        Ok(Response::new(GetRootResponse {
            root: Some(view(&self.root()?)),
        }))
    }

    async fn renew_root(
        &self,
        request: Request<RenewRootRequest>,
    ) -> Result<Response<RenewRootResponse>, Status> {
        let actor = actor(&request)?;
        let asked = request.into_inner();
        let named = named("RenewRoot", &asked.request_id, &asked)?;
        let next = documents::next_root(&self.keys, &self.root()?.root, clock::now());
        self.decide(Command::RenewRoot(next), actor, named).await?;
        Ok(Response::new(RenewRootResponse {
            root: Some(view(&self.root()?)),
        }))
    }
}

impl Api {
    fn root(&self) -> Result<SignedRoot, Status> {
        let fleet = self.keeper.read();
        let roots = fleet.founded().map(|founded| founded.roots.as_slice());
        roots
            .and_then(|roots| roots.last())
            .cloned()
            .ok_or_else(|| status::refused(&Refusal::NotFounded))
    }
}

fn view(signed: &SignedRoot) -> FleetRoot {
    let root = &signed.root;
    let keys = |role: &Role| {
        let ids = role.keys().iter().map(PublicKey::id);
        ids.map(|id| id.to_string()).collect()
    };
    FleetRoot {
        fleet_id: root.fleet_id.to_string(),
        version: root.version.0,
        digest: signed.envelope.digest().to_string(),
        issued_at: Some(timestamp(root.issued_at)),
        expires_at: Some(timestamp(root.expires_at)),
        root_keys: keys(&root.root),
        policy_keys: keys(&root.policy),
        off_allowed: root.off_allowed,
        max_off_seconds: root.max_off.as_secs(),
    }
}
