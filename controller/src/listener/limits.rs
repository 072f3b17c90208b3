//! How much of a port peers may take before anybody knows who they are, and how much a client may. What is done with a connection is decided elsewhere.

use std::{
    collections::{HashMap, VecDeque},
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use convoy_fleet::client::ClientNumber;
use tokio_util::sync::CancellationToken;

use super::{
    addresses::{Acquainted, Counting},
    places::{Places, Room},
};

/// Handshakes under way, from addresses from which no client has come yet.
const PENDING: Room = Room {
    most: 1024,
    per_address: 16,
    waiting: 4096,
};
/// The same for addresses from which one has come: a flood of others leaves them alone.
const ACQUAINTED: Room = Room {
    most: 512,
    ..PENDING
};
/// Connections of peers that nobody knows: hosts that join. Each takes some 40 KiB, whatever it does.
const STRANGERS: Room = Room {
    most: 512,
    per_address: 64,
    waiting: 512,
};
/// On the operators' port nobody is known, and little is served.
const OPERATORS: Room = Room {
    most: 128,
    ..STRANGERS
};
/// Connections of one client: its session, the one that takes over from it, and what may be left of a broken one.
const PER_CLIENT: usize = 4;

/// What peers may take of a port.
pub(super) struct Limits {
    pending: Arc<Places>,
    of_acquainted: Arc<Places>,
    acquainted: Acquainted,
    pub(super) strangers: Arc<Places>,
    pub(super) clients: Arc<Connections>,
}

impl Limits {
    pub(super) fn agents(addresses: &Arc<Counting>) -> Self {
        Self::new(STRANGERS, addresses)
    }

    pub(super) fn operators(addresses: &Arc<Counting>) -> Self {
        Self::new(OPERATORS, addresses)
    }

    fn new(strangers: Room, addresses: &Arc<Counting>) -> Self {
        let places = |room| Places::new(room, Arc::clone(addresses));
        Self {
            pending: places(PENDING),
            of_acquainted: places(ACQUAINTED),
            acquainted: Acquainted::default(),
            strangers: places(strangers),
            clients: Arc::default(),
        }
    }

    /// Where a handshake from this address takes its place.
    pub(super) fn pending(&self, address: IpAddr) -> &Arc<Places> {
        if self.acquainted.knows(address) {
            &self.of_acquainted
        } else {
            &self.pending
        }
    }

    /// A client has come from here.
    pub(super) fn met(&self, address: IpAddr) {
        self.acquainted.met(address);
    }
}

/// The connections of each client.
#[derive(Default)]
pub(super) struct Connections(Mutex<HashMap<ClientNumber, VecDeque<CancellationToken>>>);

impl Connections {
    /// One more. The oldest is closed if the client has too many.
    pub(super) fn open(self: &Arc<Self>, client: ClientNumber) -> Connection {
        let closed = CancellationToken::new();
        let mut all = self.lock();
        let own = all.entry(client).or_default();
        own.push_back(closed.clone());
        if own.len() > PER_CLIENT
            && let Some(oldest) = own.pop_front()
        {
            oldest.cancel();
        }
        drop(all);
        Connection {
            of: Arc::clone(self),
            client,
            closed,
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<ClientNumber, VecDeque<CancellationToken>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A client's connection; counted until it is dropped.
pub(super) struct Connection {
    of: Arc<Connections>,
    client: ClientNumber,
    closed: CancellationToken,
}

impl Connection {
    /// Returns when the client has opened too many others.
    pub(super) async fn is_one_too_many(&self) {
        self.closed.cancelled().await;
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        // What makes this token different from the others.
        self.closed.cancel();
        let mut all = self.of.lock();
        if let Some(own) = all.get_mut(&self.client) {
            own.retain(|other| !other.is_cancelled());
            if own.is_empty() {
                all.remove(&self.client);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_has_so_many_connections_and_the_oldest_goes() {
        let connections = Arc::new(Connections::default());
        let mut open: Vec<_> = (0..PER_CLIENT).map(|_| connections.open(1)).collect();
        let other = connections.open(2);
        assert!(open.iter().all(|one| !one.closed.is_cancelled()));
        open.push(connections.open(1));
        let closed: Vec<_> = open.iter().map(|one| one.closed.is_cancelled()).collect();
        assert_eq!(closed, [true, false, false, false, false]);
        assert!(!other.closed.is_cancelled());
        // One that ends makes room.
        drop(open.remove(2));
        open.push(connections.open(1));
        assert!(!open[1].closed.is_cancelled());
        drop((open, other));
        assert!(connections.lock().is_empty());
    }
}
