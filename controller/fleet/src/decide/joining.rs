//! What is decided about hosts that join, for the first time or again in place. That they hold the token and the key was checked at the door.

use jiff::Timestamp;

use super::active;
use crate::{
    event::{Event, Joined, Rejoined},
    refusal::Refusal,
    state::{Fleet, Token},
};

pub(super) fn join(
    fleet: &Fleet,
    mut joined: Joined,
    now: Timestamp,
) -> Result<Vec<Event>, Refusal> {
    let token = fleet
        .token(joined.token)
        .ok_or(Refusal::UnknownToken(joined.token))?;
    if let Some(number) = fleet.client_by_key(&joined.key)
        && let Some(known) = fleet.client(number)
    {
        // The same key asks again. One that has had a session has lost its state since, and joins in place.
        if known.stated.is_some() {
            let rejoined = Rejoined {
                client: number,
                token: joined.token,
                agent_version: joined.agent_version,
                identity_expires_at: joined.identity_expires_at,
            };
            return rejoin(fleet, rejoined, now);
        }
        active(fleet, number)?;
        // The answer to its first join was lost: it is who it was, whatever has become of the token.
        return Ok(vec![Event::IdentityIssued {
            client: number,
            expires_at: joined.identity_expires_at,
        }]);
    }
    good(token, now)?;
    if token.used >= token.uses {
        return Err(Refusal::TokenUsedUp(token.uses));
    }
    joined.group = token.group.clone();
    Ok(vec![Event::ClientJoined(joined)])
}

/// It is who it was: in its group, and duplicated if it was. It uses none of the token's uses: they say how many hosts may become clients, and this one is
/// one already. So one token serves a whole fleet of orphans, and a repetition after a lost answer costs nothing.
pub(super) fn rejoin(
    fleet: &Fleet,
    rejoined: Rejoined,
    now: Timestamp,
) -> Result<Vec<Event>, Refusal> {
    active(fleet, rejoined.client)?;
    let token = fleet
        .token(rejoined.token)
        .ok_or(Refusal::UnknownToken(rejoined.token))?;
    good(token, now)?;
    Ok(vec![Event::ClientRejoined(rejoined)])
}

fn good(token: &Token, now: Timestamp) -> Result<(), Refusal> {
    if token.revoked {
        Err(Refusal::TokenRevoked)
    } else if token.expires_at <= now {
        Err(Refusal::TokenExpired(token.expires_at))
    } else {
        Ok(())
    }
}
