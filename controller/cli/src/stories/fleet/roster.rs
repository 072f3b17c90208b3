//! The groups and the one host of a story.

use convoy_proto::v1::{
    self, client_service_server::ClientService, group_service_server::GroupService,
};
use convoy_shared::settings::ScepPatch;
use tonic::{Request, Response, Status};

use super::{Answer, PC_1, Played};

#[tonic::async_trait]
impl GroupService for Played {
    async fn create_group(
        &self,
        request: Request<v1::CreateGroupRequest>,
    ) -> Answer<v1::CreateGroupResponse> {
        let request = request.into_inner();
        let mut state = self.0.lock().unwrap();
        state.change(format!("group {}", request.name), &request.request_id)?;
        state.groups.insert(request.name, ScepPatch::default());
        Ok(Response::new(v1::CreateGroupResponse::default()))
    }

    async fn list_groups(
        &self,
        _: Request<v1::ListGroupsRequest>,
    ) -> Answer<v1::ListGroupsResponse> {
        let state = self.0.lock().unwrap();
        let group = |name: &String| v1::Group {
            name: name.clone(),
            ..v1::Group::default()
        };
        Ok(Response::new(v1::ListGroupsResponse {
            groups: state.groups.keys().map(group).collect(),
            next_page_token: String::new(),
        }))
    }
}

fn pc_1() -> v1::Client {
    v1::Client {
        id: PC_1.to_owned(),
        name: "pc-1".to_owned(),
        group: "default".to_owned(),
        state: 1,
        identity_expiry: v1::Expiry::Fresh.into(),
        ..v1::Client::default()
    }
}

#[tonic::async_trait]
impl ClientService for Played {
    async fn list_clients(
        &self,
        _: Request<v1::ListClientsRequest>,
    ) -> Answer<v1::ListClientsResponse> {
        Ok(Response::new(v1::ListClientsResponse {
            clients: vec![pc_1()],
            next_page_token: String::new(),
        }))
    }

    async fn get_client(
        &self,
        request: Request<v1::GetClientRequest>,
    ) -> Answer<v1::GetClientResponse> {
        let name = request.into_inner().client;
        if name != "pc-1" && name != PC_1 {
            return Err(Status::not_found(format!("there is no client {name}")));
        }
        Ok(Response::new(v1::GetClientResponse {
            client: Some(pc_1()),
        }))
    }

    async fn resolve_client(
        &self,
        _: Request<v1::ResolveClientRequest>,
    ) -> Answer<v1::ResolveClientResponse> {
        Err(Status::unimplemented("not here"))
    }

    async fn decommission_client(
        &self,
        _: Request<v1::DecommissionClientRequest>,
    ) -> Answer<v1::DecommissionClientResponse> {
        Err(Status::unimplemented("not here"))
    }
}
