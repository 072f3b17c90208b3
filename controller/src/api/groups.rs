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
        let members = view::membership(&fleet).remove(&name).unwrap_or_default();
        Ok(Response::new(CreateGroupResponse {
            group: Some(view::group(&name, group, &members)),
        }))
    }

    async fn list_groups(
        &self,
        request: Request<ListGroupsRequest>,
    ) -> Result<Response<ListGroupsResponse>, Status> {
        actor(&request)?;
        let asked = request.into_inner();
        let fleet = self.keeper.read();
        let membership = view::membership(&fleet);
        let all = fleet.groups().filter_map(|(name, group)| {
            let members = membership.get(name)?;
            Some((name.to_string(), (name, group, members)))
        });
        let (groups, next_page_token) = page(
            all,
            asked.page_size,
            &asked.page_token,
            |(name, group, members)| view::group(name, group, members),
        )?;
        Ok(Response::new(ListGroupsResponse {
            groups,
            next_page_token,
        }))
    }
}
