//! What was seen of each client since this process began, as far as it tells why a rotation waits for it. Nothing durable, and nothing that a gate counts.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Mutex, MutexGuard, PoisonError},
};

use convoy_fleet::{
    client::ClientNumber,
    reason::{CLOCKS_DIFFER, Obstacle, Sight},
};
use convoy_shared::{ack::Held, address::Address, id::InstanceId};
use jiff::{SignedDuration, Timestamp};
use roaring::RoaringBitmap;

/// So many agents of one client are remembered: two copies of it show by their addresses.
const AGENTS: usize = 2;

/// What was seen of the clients.
#[derive(Default)]
pub struct Sights(Mutex<HashMap<ClientNumber, Seen>>);

#[derive(Default)]
struct Seen {
    since: Option<Timestamp>,
    /// Each agent process and where it connects from, the newest first.
    agents: Vec<(InstanceId, IpAddr)>,
    clock_ahead: Option<SignedDuration>,
    /// What kept it from showing what this document asks for.
    obstacle: Option<(Held, Obstacle)>,
    /// Listed addresses over which it could not probe.
    unreachable: Vec<Address>,
}

impl Sights {
    /// A client opened a session. `clock_ahead`: by how much its clock is ahead of the controller's.
    pub fn connected(
        &self,
        client: ClientNumber,
        instance: InstanceId,
        address: IpAddr,
        clock_ahead: SignedDuration,
        now: Timestamp,
    ) {
        let mut seen = self.lock();
        let seen = seen.entry(client).or_default();
        seen.since = Some(now);
        seen.clock_ahead = Some(clock_ahead);
        seen.agents.retain(|(known, _)| *known != instance);
        seen.agents.insert(0, (instance, address.to_canonical()));
        seen.agents.truncate(AGENTS);
    }

    /// A client said what its wall clock reads.
    pub fn clock(&self, client: ClientNumber, ahead: SignedDuration) {
        self.lock().entry(client).or_default().clock_ahead = Some(ahead);
    }

    /// How far a client's wall clock is ahead, if by more than is tolerated. Negative: behind.
    #[must_use]
    pub fn clock_ahead(&self, client: ClientNumber) -> Option<SignedDuration> {
        let ahead = self.lock().get(&client)?.clock_ahead?;
        (ahead.abs() > CLOCKS_DIFFER).then_some(ahead)
    }

    /// Something keeps a client from showing what this document asks for.
    pub fn hindered(&self, client: ClientNumber, document: Held, obstacle: Obstacle) {
        self.lock().entry(client).or_default().obstacle = Some((document, obstacle));
    }

    /// A client could not probe over these of the controller's addresses, and could over the others.
    pub fn unreachable(&self, client: ClientNumber, addresses: Vec<Address>) {
        self.lock().entry(client).or_default().unreachable = addresses;
    }

    /// The clients that could not probe over an address when they were last asked to.
    #[must_use]
    pub fn unreachable_from(&self, address: &Address) -> RoaringBitmap {
        let seen = self.lock();
        let those = seen
            .iter()
            .filter(|(_, seen)| seen.unreachable.contains(address));
        those.map(|(client, _)| *client).collect()
    }

    /// It has shown what it was asked for.
    pub fn unhindered(&self, client: ClientNumber) {
        if let Some(seen) = self.lock().get_mut(&client) {
            seen.obstacle = None;
        }
    }

    /// What tells why it is missing. `wanted`: the document that it is to have in force.
    #[must_use]
    pub fn of(&self, client: ClientNumber, connected: bool, wanted: Held) -> Sight {
        let seen = self.lock();
        let Some(seen) = seen.get(&client) else {
            return Sight::default();
        };
        Sight {
            connected_since: seen.since.filter(|_| connected),
            last_seen: None,
            obstacle: seen
                .obstacle
                .as_ref()
                .filter(|(document, _)| *document == wanted)
                .map(|(_, obstacle)| obstacle.clone()),
            clock_ahead: seen.clock_ahead,
            addresses: seen
                .agents
                .iter()
                .map(|(_, address)| address.to_string())
                .collect(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<ClientNumber, Seen>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use convoy_shared::id::{Digest, Revision};

    use super::*;

    fn document(revision: u64) -> Held {
        Held {
            revision: Revision(revision),
            digest: Digest::of(b"document"),
        }
    }

    #[test]
    fn an_obstacle_is_about_the_document_that_it_was_met_with() {
        let sights = Sights::default();
        sights.hindered(1, document(3), Obstacle::NoReport);
        assert_eq!(
            sights.of(1, false, document(3)).obstacle,
            Some(Obstacle::NoReport)
        );
        assert_eq!(sights.of(1, false, document(4)).obstacle, None);
        sights.unhindered(1);
        assert_eq!(sights.of(1, false, document(3)).obstacle, None);
    }

    #[test]
    fn copies_show_by_their_addresses() {
        let sights = Sights::default();
        let come = |instance: u8, address: &str| {
            let instance = InstanceId::from_bytes(&[instance; 16]).expect("16 bytes");
            let address = address.parse().expect("an address");
            sights.connected(
                1,
                instance,
                address,
                SignedDuration::ZERO,
                Timestamp::UNIX_EPOCH,
            );
        };
        for (instance, address) in [(1, "192.0.2.1"), (2, "192.0.2.2"), (1, "192.0.2.3")] {
            come(instance, address);
        }
        let sight = sights.of(1, true, document(1));
        assert_eq!(sight.addresses, ["192.0.2.3", "192.0.2.2"]);
        assert_eq!(sight.connected_since, Some(Timestamp::UNIX_EPOCH));
        assert_eq!(sights.of(1, false, document(1)).connected_since, None);
    }
}
