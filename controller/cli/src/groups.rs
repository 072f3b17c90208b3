//! `convoy groups`. What a group's documents say is never decided here.

use convoy_proto::v1::{self, group_service_client::GroupServiceClient};
use jiff::Timestamp;
use serde::Serialize;

use crate::{
    answers,
    args::{Format, GroupsCommand},
    connect::Session,
    failure::{Failure, Unreadable},
    output::{self, Screen},
    words,
};

/// A client group.
#[derive(Debug, Serialize)]
struct Group {
    name: String,
    clients: u32,
    created_at: Option<Timestamp>,
    trust_revision: u64,
    trust_digest: String,
}

impl TryFrom<v1::Group> for Group {
    type Error = Unreadable;

    fn try_from(wire: v1::Group) -> Result<Self, Unreadable> {
        Ok(Self {
            name: wire.name,
            clients: wire.clients,
            created_at: answers::instant(wire.created_at, "created_at")?,
            trust_revision: wire.trust_revision,
            trust_digest: wire.trust_digest,
        })
    }
}

pub(crate) async fn run(
    session: &Session,
    screen: &mut Screen<'_>,
    command: GroupsCommand,
) -> Result<(), Failure> {
    let mut service = GroupServiceClient::new(session.channel().await?);
    match command {
        GroupsCommand::List => {
            let groups: Vec<Group> = answers::every_page(async |page_token| {
                let request = v1::ListGroupsRequest {
                    page_size: 1_000,
                    page_token,
                };
                let answer = service.list_groups(request).await?.into_inner();
                Ok((answer.groups, answer.next_page_token))
            })
            .await?;
            match session.format {
                Format::Json => screen.json(&groups),
                Format::Text => screen.line(&listed(groups)),
            }
        }
        GroupsCommand::Create { name } => {
            let request = v1::CreateGroupRequest {
                request_id: session.request_id.clone(),
                name,
            };
            let answer = service
                .create_group(request)
                .await
                .map_err(|status| session.changing(status))?
                .into_inner();
            let group = Group::try_from(answers::required(answer.group, "group")?)?;
            match session.format {
                Format::Json => screen.json(&group),
                Format::Text => {
                    let name = words::plain(&group.name);
                    screen.note(&format!(
                        "Group {name} is there. Hosts join it with a token from: convoy token create --group {name}"
                    ));
                    Ok(())
                }
            }
        }
    }
}

fn listed(groups: Vec<Group>) -> String {
    output::table(
        ["NAME", "CLIENTS", "REVISION", "CREATED"],
        groups.into_iter().map(|group| {
            [
                group.name,
                group.clients.to_string(),
                group.trust_revision.to_string(),
                words::instant(group.created_at),
            ]
        }),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_names_groups_with_their_size_and_revision() {
        let group = Group {
            name: "berlin".to_owned(),
            clients: 12,
            created_at: Some("2026-08-01T10:00:00Z".parse().unwrap()),
            trust_revision: 4,
            trust_digest: "00".to_owned(),
        };
        assert_eq!(
            serde_json::to_string(&group).unwrap(),
            r#"{"name":"berlin","clients":12,"created_at":"2026-08-01T10:00:00Z","trust_revision":4,"trust_digest":"00"}"#
        );
        assert_eq!(
            listed(vec![group]),
            "NAME    CLIENTS  REVISION  CREATED\nberlin  12       4         2026-08-01 10:00:00 UTC"
        );
    }
}
