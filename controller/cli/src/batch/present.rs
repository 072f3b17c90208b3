//! Asks the controller for all settings that there are. Changes nothing.

use std::collections::BTreeMap;

use convoy_proto::v1::{
    self, client_service_client::ClientServiceClient, group_service_client::GroupServiceClient,
    scep_service_client::ScepServiceClient,
};
use convoy_shared::settings::ScepPatch;
use tonic::transport::Channel;

use super::file::{Batch, Member};
use crate::{
    answers,
    failure::{Failure, Unreadable},
    scep::{args::Approval, audience::Audience, authority, profiles, values},
};

/// What is set now, and who there is.
#[derive(Debug, Clone, Default)]
pub(super) struct Present {
    /// Of clients only those that differ from their groups.
    pub(super) batch: Batch,
    /// Clients by UUID.
    pub(super) roster: BTreeMap<String, Host>,
}

#[derive(Debug, Clone)]
pub(super) struct Host {
    pub(super) name: String,
    pub(super) group: String,
}

struct Named(String);

impl TryFrom<v1::Group> for Named {
    type Error = Unreadable;

    fn try_from(wire: v1::Group) -> Result<Self, Unreadable> {
        Ok(Self(wire.name))
    }
}

struct Identified(String, Host);

impl TryFrom<v1::Client> for Identified {
    type Error = Unreadable;

    fn try_from(wire: v1::Client) -> Result<Self, Unreadable> {
        let host = Host {
            name: wire.name,
            group: wire.group,
        };
        Ok(Self(wire.id, host))
    }
}

pub(super) async fn fetch(channel: &Channel) -> Result<Present, Failure> {
    let server = authority::fetch(channel).await?;
    let mut present = Present::default();
    present.batch.approval = Some(match server.approval.value() {
        v1::ScepApproval::Manual => Approval::Manual,
        v1::ScepApproval::Automatic | v1::ScepApproval::Unspecified => Approval::Automatic,
    });
    for profiles::Named { name, profile } in profiles::fetch(channel).await? {
        present.batch.profiles.insert(name, profile);
    }
    let mut service = GroupServiceClient::new(channel.clone());
    let groups: Vec<Named> = answers::every_page(async |page_token| {
        let request = v1::ListGroupsRequest {
            page_size: 1_000,
            page_token,
        };
        let answer = service.list_groups(request).await?.into_inner();
        Ok((answer.groups, answer.next_page_token))
    })
    .await?;
    for Named(group) in groups {
        let set = set(channel, &Audience::Group(group.clone())).await?;
        present.batch.groups.insert(group, set);
    }
    let mut service = ClientServiceClient::new(channel.clone());
    let clients: Vec<Identified> = answers::every_page(async |page_token| {
        let request = v1::ListClientsRequest {
            page_size: 1_000,
            page_token,
            group: String::new(),
            include_decommissioned: false,
        };
        let answer = service.list_clients(request).await?.into_inner();
        Ok((answer.clients, answer.next_page_token))
    })
    .await?;
    for Identified(id, host) in clients {
        let patch = set(channel, &Audience::Client(id.clone())).await?;
        if !patch.is_empty() {
            let name = host.name.clone();
            present
                .batch
                .clients
                .insert(id.clone(), Member { name, patch });
        }
        present.roster.insert(id, host);
    }
    Ok(present)
}

/// What is set of one.
async fn set(channel: &Channel, audience: &Audience) -> Result<ScepPatch, Failure> {
    let request = v1::GetScepSettingsRequest {
        audience: Some(audience.on_the_wire()),
    };
    let answer = ScepServiceClient::new(channel.clone())
        .get_scep_settings(request)
        .await
        .map_err(Failure::asking)?
        .into_inner();
    Ok(values::patch(answer.set)?)
}
