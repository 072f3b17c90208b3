//! What clients did, as the journal writes it. What follows from it is the fold's business.

use convoy_fleet::event::{Connected, Joined, Rejoined};
use convoy_shared::id::{ClientId, Digest, Generation, Incarnation, InstanceId, Revision, TokenId};

use super::{BadEntry, copied, wire};
use crate::time::{read_timestamp, timestamp};

impl From<&Joined> for wire::ClientJoined {
    fn from(joined: &Joined) -> Self {
        let Joined {
            id,
            number,
            name,
            group,
            key,
            token,
            agent_version,
            identity_expires_at,
        } = joined;
        Self {
            client_id: copied(id.as_bytes()),
            client: *number,
            name: name.clone(),
            group: group.to_string(),
            key_sha256: copied(key.as_bytes()),
            token_id: copied(token.as_bytes()),
            agent_version: agent_version.clone(),
            identity_expires_at: Some(timestamp(*identity_expires_at)),
        }
    }
}

impl TryFrom<wire::ClientJoined> for Joined {
    type Error = BadEntry;

    fn try_from(wire: wire::ClientJoined) -> Result<Self, BadEntry> {
        Ok(Self {
            id: ClientId::from_bytes(&wire.client_id)?,
            number: wire.client,
            name: wire.name,
            group: wire.group.parse()?,
            key: Digest::from_bytes(&wire.key_sha256)?,
            token: TokenId::from_bytes(&wire.token_id)?,
            agent_version: wire.agent_version,
            identity_expires_at: read_timestamp(wire.identity_expires_at, "identity_expires_at")?,
        })
    }
}

impl From<&Rejoined> for wire::ClientRejoined {
    fn from(rejoined: &Rejoined) -> Self {
        let Rejoined {
            client,
            token,
            agent_version,
            identity_expires_at,
        } = rejoined;
        Self {
            client: *client,
            token_id: copied(token.as_bytes()),
            agent_version: agent_version.clone(),
            identity_expires_at: Some(timestamp(*identity_expires_at)),
        }
    }
}

impl TryFrom<wire::ClientRejoined> for Rejoined {
    type Error = BadEntry;

    fn try_from(wire: wire::ClientRejoined) -> Result<Self, BadEntry> {
        Ok(Self {
            client: wire.client,
            token: TokenId::from_bytes(&wire.token_id)?,
            agent_version: wire.agent_version,
            identity_expires_at: read_timestamp(wire.identity_expires_at, "identity_expires_at")?,
        })
    }
}

impl From<&Connected> for wire::ClientConnected {
    fn from(connected: &Connected) -> Self {
        let Connected {
            client,
            incarnation,
            instance,
            held,
            mode,
            agent_version,
            served,
        } = connected;
        Self {
            client: *client,
            incarnation: incarnation.0,
            instance_id: copied(instance.as_bytes()),
            held: held.map(|revision| revision.0),
            mode: wire::VerificationMode::from(*mode).into(),
            agent_version: agent_version.clone(),
            served: served.0,
        }
    }
}

impl TryFrom<wire::ClientConnected> for Connected {
    type Error = BadEntry;

    fn try_from(wire: wire::ClientConnected) -> Result<Self, BadEntry> {
        Ok(Self {
            client: wire.client,
            incarnation: Incarnation(wire.incarnation),
            instance: InstanceId::from_bytes(&wire.instance_id)?,
            held: wire.held.map(Revision),
            mode: wire.mode().try_into()?,
            agent_version: wire.agent_version,
            served: Generation(wire.served),
        })
    }
}
