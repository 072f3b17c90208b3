//! `ClientService`: the roster.

use convoy_fleet::{
    client::{ClientNumber, ClientState},
    decide::Command,
    refusal::Refusal,
};
use convoy_proto::v1::{
    Client, DecommissionClientRequest, DecommissionClientResponse, GetClientRequest,
    GetClientResponse, ListClientsRequest, ListClientsResponse, ResolveClientRequest,
    ResolveClientResponse, client_service_server::ClientService,
};
use convoy_shared::id::GroupName;
use tonic::{Request, Response, Status, async_trait};

use super::{
    Api, actor, find_client, named,
    page::{key, page},
    status, view,
};
use crate::clock;

#[async_trait]
impl ClientService for Api {
    async fn list_clients(
        &self,
        request: Request<ListClientsRequest>,
    ) -> Result<Response<ListClientsResponse>, Status> {
        actor(&request)?;
        let asked = request.into_inner();
        let now = clock::now();
        let fleet = self.keeper.read();
        let group = match asked.group.as_str() {
            "" => None,
            name => {
                let name: GroupName = name.parse().map_err(|bad| status::invalid("group", &bad))?;
                if fleet.group(&name).is_none() {
                    return Err(status::refused(&Refusal::NoSuchGroup(name)));
                }
                Some(name)
            }
        };
        let waited_for = view::waited_for(&fleet, now);
        let all = fleet
            .clients()
            .filter(|(_, client)| {
                (asked.include_decommissioned || client.state != ClientState::Decommissioned)
                    && group.as_ref().is_none_or(|group| client.group == *group)
            })
            .map(|(number, client)| (key(number), (number, client)));
        let (clients, next_page_token) = page(
            all,
            asked.page_size,
            &asked.page_token,
            |(number, client)| view::client(&fleet, number, client, self.seen(), &waited_for, now),
        )?;
        Ok(Response::new(ListClientsResponse {
            clients,
            next_page_token,
        }))
    }

    async fn get_client(
        &self,
        request: Request<GetClientRequest>,
    ) -> Result<Response<GetClientResponse>, Status> {
        actor(&request)?;
        let number = find_client(&self.keeper.read(), &request.get_ref().client)?;
        Ok(Response::new(GetClientResponse {
            client: Some(self.client(number)?),
        }))
    }

    async fn resolve_client(
        &self,
        request: Request<ResolveClientRequest>,
    ) -> Result<Response<ResolveClientResponse>, Status> {
        let actor = actor(&request)?;
        let asked = request.into_inner();
        let named = named("ResolveClient", &asked.request_id, &asked)?;
        let number = find_client(&self.keeper.read(), &asked.client)?;
        self.decide(Command::Resolve(number), actor, named).await?;
        Ok(Response::new(ResolveClientResponse {
            client: Some(self.client(number)?),
        }))
    }

    async fn decommission_client(
        &self,
        request: Request<DecommissionClientRequest>,
    ) -> Result<Response<DecommissionClientResponse>, Status> {
        let actor = actor(&request)?;
        let asked = request.into_inner();
        let named = named("DecommissionClient", &asked.request_id, &asked)?;
        let number = find_client(&self.keeper.read(), &asked.client)?;
        self.decide(Command::Decommission(number), actor, named)
            .await?;
        Ok(Response::new(DecommissionClientResponse {
            client: Some(self.client(number)?),
        }))
    }
}

impl Api {
    fn client(&self, number: ClientNumber) -> Result<Client, Status> {
        let now = clock::now();
        let fleet = self.keeper.read();
        let client = fleet
            .client(number)
            .ok_or_else(|| status::refused(&Refusal::NoSuchClient))?;
        Ok(view::client(
            &fleet,
            number,
            client,
            self.seen(),
            &view::waited_for(&fleet, now),
            now,
        ))
    }
}
