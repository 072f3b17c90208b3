//! Who is connected, from where, and when each client was last seen. The newest takes the place of what was known before: none of it is history, no event
//! says it, and no gate counts it. What a gate needs of it is in the entry that needs it.

use core::net::IpAddr;
use std::collections::HashMap;

use jiff::Timestamp;
use roaring::RoaringBitmap;

use crate::client::ClientNumber;

/// What is known of every client's newest session.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Presence {
    seen: HashMap<ClientNumber, Seen>,
    open: RoaringBitmap,
    interrupted: RoaringBitmap,
    /// When those whose session is open were looked at last.
    looked_at: Option<Timestamp>,
}

/// A client's newest session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    /// What has become of it.
    pub session: SessionState,
    /// Since when.
    pub since: Timestamp,
    /// Where it came from.
    pub address: IpAddr,
}

/// What has become of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SessionState {
    /// It is open.
    Open,
    /// It was open when the controller stopped, and the client has not come back yet.
    Interrupted,
    /// It has ended.
    Ended,
}

impl Presence {
    /// What was known when the controller stopped: whose session was open then is not back yet. `looked_at` is when that was looked at last.
    #[must_use]
    pub fn after_restart(
        known: impl IntoIterator<Item = (ClientNumber, Seen)>,
        looked_at: Option<Timestamp>,
    ) -> Self {
        let mut presence = Self::default();
        for (client, mut seen) in known {
            if seen.session == SessionState::Open {
                seen.session = SessionState::Interrupted;
                seen.since = looked_at.map_or(seen.since, |looked_at| looked_at.max(seen.since));
            }
            presence.note(client, seen);
        }
        presence
    }

    /// A client has opened a session.
    pub fn connected(&mut self, client: ClientNumber, address: IpAddr, now: Timestamp) {
        self.note(
            client,
            Seen {
                session: SessionState::Open,
                since: now,
                address,
            },
        );
    }

    /// A client's newest session has ended.
    pub fn disconnected(&mut self, client: ClientNumber, now: Timestamp) {
        if let Some(seen) = self.of(client) {
            self.note(
                client,
                Seen {
                    session: SessionState::Ended,
                    since: now,
                    ..seen
                },
            );
        }
    }

    /// Whose session is open is there at this time.
    pub fn looked(&mut self, now: Timestamp) {
        self.looked_at = Some(now);
    }

    /// When those whose session is open were looked at last.
    #[must_use]
    pub const fn looked_at(&self) -> Option<Timestamp> {
        self.looked_at
    }

    /// A client's newest session. `None`: it has had none.
    #[must_use]
    pub fn of(&self, client: ClientNumber) -> Option<Seen> {
        self.seen.get(&client).copied()
    }

    /// When a client was last seen. `None`: it has had no session.
    #[must_use]
    pub fn last_seen(&self, client: ClientNumber) -> Option<Timestamp> {
        let seen = self.of(client)?;
        Some(match seen.session {
            SessionState::Open => self
                .looked_at
                .map_or(seen.since, |looked_at| looked_at.max(seen.since)),
            SessionState::Interrupted | SessionState::Ended => seen.since,
        })
    }

    /// Whose session is open.
    #[must_use]
    pub const fn open(&self) -> &RoaringBitmap {
        &self.open
    }

    /// Whose session ended by nothing that the client did: it is open, or was when the controller stopped. After a swap they are expected back.
    #[must_use]
    pub fn expected(&self) -> RoaringBitmap {
        &self.open | &self.interrupted
    }

    fn note(&mut self, client: ClientNumber, seen: Seen) {
        self.open.remove(client);
        self.interrupted.remove(client);
        match seen.session {
            SessionState::Open => self.open.insert(client),
            SessionState::Interrupted => self.interrupted.insert(client),
            SessionState::Ended => false,
        };
        self.seen.insert(client, seen);
    }
}

#[cfg(test)]
mod tests {
    use core::net::Ipv4Addr;

    use jiff::SignedDuration;

    use super::*;

    const START: Timestamp = Timestamp::constant(1_800_000_000, 0);
    const HERE: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));
    const THERE: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 2));

    fn at(seconds: i64) -> Timestamp {
        START + SignedDuration::from_secs(seconds)
    }

    #[test]
    fn the_newest_takes_the_place_of_what_was_before() {
        let mut presence = Presence::default();
        assert_eq!((presence.of(1), presence.last_seen(1)), (None, None));
        presence.connected(1, HERE, at(0));
        presence.looked(at(60));
        assert_eq!(presence.last_seen(1), Some(at(60)));
        presence.disconnected(1, at(70));
        presence.looked(at(120));
        assert_eq!(presence.last_seen(1), Some(at(70)));
        assert!(presence.expected().is_empty());
        presence.connected(1, THERE, at(130));
        presence.connected(1, THERE, at(140));
        let seen = presence.of(1).expect("known");
        assert_eq!((seen.address, seen.since), (THERE, at(140)));
        assert!(presence.open().contains(1));
    }

    #[test]
    fn who_was_connected_when_the_controller_stopped_is_expected_back_and_was_seen_until_then() {
        let mut before = Presence::default();
        for client in [1, 2, 3] {
            before.connected(client, HERE, at(0));
        }
        before.disconnected(2, at(10));
        before.looked(at(60));
        let known = [1, 2, 3].map(|client| (client, before.of(client).expect("known")));
        let mut after = Presence::after_restart(known, before.looked_at());
        after.looked(at(3600));
        assert!(after.open().is_empty());
        assert_eq!(after.expected(), [1, 3].into_iter().collect());
        assert_eq!(after.last_seen(1), Some(at(60)));
        assert_eq!(after.last_seen(2), Some(at(10)));
        after.connected(1, HERE, at(3700));
        after.disconnected(1, at(3800));
        assert_eq!(after.expected(), [3].into_iter().collect());
    }
}
