//! `GroupService`: client groups.

use convoy_fleet::{decide::Command, refusal::Refusal};
use convoy_proto::v1::{
    CreateGroupRequest, CreateGroupResponse, ListGroupsRequest, ListGroupsResponse,
    group_service_server::GroupService,
};
use convoy_shared::id::GroupName;
use tonic::{Request, Response, Status, async_trait};

use super::{Api, actor, named, page::page, status, view};

#[async_trait]
impl GroupService for Api {
    async fn create_group(
        &self,
        request: Request<CreateGroupRequest>,
    ) -> Result<Response<CreateGroupResponse>, Status> {
        let actor = actor(&request)?;
        let asked = request.into_inner();
        let named = named("CreateGroup", &asked.request_id, &asked)?;
        let name: GroupName = asked
            .name
            .parse()
            .map_err(|bad| status::invalid("name", &bad))?;
        self.decide(Command::CreateGroup(name.clone()), actor, named)
            .await?;
        let fleet = self.keeper.read();
        let group = fleet
            .group(&name)
            .ok_or_else(|| status::refused(&Refusal::NoSuchGroup(name.clone())))?;
        Ok(Response::new(CreateGroupResponse {
            group: Some(view::group(&fleet, &name, group)),
        }))
    }

    async fn list_groups(
        &self,
        request: Request<ListGroupsRequest>,
    ) -> Result<Response<ListGroupsResponse>, Status> {
        actor(&request)?;
        let asked = request.into_inner();
        let fleet = self.keeper.read();
        let all = fleet
            .groups()
            .map(|(name, group)| (name.to_string(), (name, group)));
        let (groups, next_page_token) =
            page(all, asked.page_size, &asked.page_token, |(name, group)| {
                view::group(&fleet, name, group)
            })?;
        Ok(Response::new(ListGroupsResponse {
            groups,
            next_page_token,
        }))
    }
}
