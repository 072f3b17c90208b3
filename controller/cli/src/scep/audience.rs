//! Whose settings: a group's or a client's.

use clap::{Args, builder::NonEmptyStringValueParser};
use convoy_proto::v1::{self, scep_audience::Kind};
use serde::Serialize;
use tonic::transport::Channel;

use crate::{clients, failure::Failure, words::plain};

/// The group that every fleet has.
const DEFAULT_GROUP: &str = "default";

#[derive(Debug, Args)]
pub(crate) struct Whose {
    /// A group's settings [default: those of the group default]
    #[arg(long, value_name = "G", value_parser = NonEmptyStringValueParser::new())]
    group: Option<String>,
    /// A client's settings, where they differ from its group's: UUID, the beginning of it, or name
    #[arg(long, value_name = "CLIENT", conflicts_with = "group", value_parser = NonEmptyStringValueParser::new())]
    client: Option<String>,
}

/// A group or a client, as the controller knows it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Audience {
    /// By name.
    Group(String),
    /// By UUID.
    Client(String),
}

impl Whose {
    /// Asks for the client's id, if it is a client.
    pub(crate) async fn find(self, channel: &Channel) -> Result<Audience, Failure> {
        match self.client {
            Some(client) => {
                let found = clients::find(channel.clone(), client).await?;
                Ok(Audience::Client(found.id))
            }
            None => Ok(Audience::Group(
                self.group.unwrap_or_else(|| DEFAULT_GROUP.to_owned()),
            )),
        }
    }
}

impl Audience {
    pub(crate) fn on_the_wire(&self) -> v1::ScepAudience {
        let kind = match self {
            Self::Group(group) => Kind::Group(group.clone()),
            Self::Client(client) => Kind::Client(client.clone()),
        };
        v1::ScepAudience { kind: Some(kind) }
    }

    /// For people, as in "settings of …".
    pub(crate) fn name(&self) -> String {
        match self {
            Self::Group(group) => format!("group {}", plain(group)),
            Self::Client(client) => format!("client {}", plain(client)),
        }
    }
}
