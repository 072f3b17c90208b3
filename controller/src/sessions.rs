//! Which clients have a session just now, the newest one of each, and when the others had theirs. Nothing durable, and nothing that a gate counts: what is
//! to last over a restart is taken from here by `presence`.

use std::{
    collections::{HashMap, HashSet},
    mem,
    net::IpAddr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use convoy_fleet::{
    client::ClientNumber,
    presence::{Presence, Seen},
};
use convoy_proto::v1::{ScepOrder, ScepOrderAnswer};
use convoy_shared::address::Address;
use jiff::Timestamp;
use roaring::RoaringBitmap;
use tokio::sync::{Notify, mpsc, oneshot};

use crate::clock;

/// So many orders may wait for a session.
const ORDERS: usize = 4;

/// The open sessions.
#[derive(Default)]
pub struct Sessions {
    known: Mutex<Known>,
    next: AtomicU64,
    /// Wakes whoever writes down what has changed.
    changed: Notify,
}

/// Under one lock, so that what is known of a client is in the order in which it happened.
#[derive(Default)]
struct Known {
    open: HashMap<ClientNumber, Open>,
    presence: Presence,
    /// Whose presence is not written down yet.
    changed: HashSet<ClientNumber>,
    stopping: bool,
}

struct Open {
    number: u64,
    replaced: Arc<Notify>,
    orders: mpsc::Sender<Order>,
}

/// An order for a client, and where its answer goes. Dropped without one if the session ends before it.
pub enum Order {
    /// To request a certificate.
    Scep {
        /// What the client is told.
        order: Box<ScepOrder>,
        /// What it says.
        answer: oneshot::Sender<ScepOrderAnswer>,
    },
    /// To try an address.
    Try {
        /// Which.
        address: Address,
        /// Why it does not lead to the controller, if it does not.
        answer: oneshot::Sender<Result<(), String>>,
    },
}

/// Why a client cannot be ordered anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoSession {
    /// It has no session.
    #[error("the client is not connected: switch it on, then try again")]
    NotConnected,
    /// Its session has not taken earlier orders yet.
    #[error("earlier orders still wait for this client: try again in a minute")]
    Busy,
}

/// An open session; closed when dropped.
pub struct Session {
    sessions: Arc<Sessions>,
    client: ClientNumber,
    number: u64,
    replaced: Arc<Notify>,
}

impl Sessions {
    /// Opens a session in the place of an older one of the same client, which learns that it was replaced. The second of the pair receives its orders.
    #[must_use]
    pub fn open(
        self: &Arc<Self>,
        client: ClientNumber,
        address: IpAddr,
    ) -> (Session, mpsc::Receiver<Order>) {
        let (orders, inbox) = mpsc::channel(ORDERS);
        let replaced = Arc::new(Notify::new());
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let mut known = self.lock();
        let older = known.open.insert(
            client,
            Open {
                number,
                replaced: Arc::clone(&replaced),
                orders,
            },
        );
        known.presence.connected(client, address, clock::now());
        known.changed.insert(client);
        drop(known);
        self.changed.notify_one();
        if let Some(older) = older {
            older.replaced.notify_one();
        }
        let session = Session {
            sessions: Arc::clone(self),
            client,
            number,
            replaced,
        };
        (session, inbox)
    }

    /// Lays an order before a client's session. The receiver fails if that ends before the client has answered.
    ///
    /// # Errors
    /// If there is none, or it has too many orders.
    pub fn order(
        &self,
        client: ClientNumber,
        order: ScepOrder,
    ) -> Result<oneshot::Receiver<ScepOrderAnswer>, NoSession> {
        let (answer, answered) = oneshot::channel();
        self.lay(
            client,
            Order::Scep {
                order: Box::new(order),
                answer,
            },
        )?;
        Ok(answered)
    }

    /// Asks a client to try an address. The receiver fails if its session ends before it has answered.
    ///
    /// # Errors
    /// As for [`Sessions::order`].
    pub fn try_address(
        &self,
        client: ClientNumber,
        address: Address,
    ) -> Result<oneshot::Receiver<Result<(), String>>, NoSession> {
        let (answer, answered) = oneshot::channel();
        self.lay(client, Order::Try { address, answer })?;
        Ok(answered)
    }

    fn lay(&self, client: ClientNumber, order: Order) -> Result<(), NoSession> {
        let known = self.lock();
        let session = known.open.get(&client).ok_or(NoSession::NotConnected)?;
        match session.orders.try_send(order) {
            Ok(()) => Ok(()),
            Err(mpsc::error::TrySendError::Full(_)) => Err(NoSession::Busy),
            Err(mpsc::error::TrySendError::Closed(_)) => Err(NoSession::NotConnected),
        }
    }

    /// Whether a client has a session.
    #[must_use]
    pub fn contains(&self, client: ClientNumber) -> bool {
        self.lock().open.contains_key(&client)
    }

    /// All clients that have one.
    #[must_use]
    pub fn clients(&self) -> RoaringBitmap {
        self.lock().presence.open().clone()
    }

    /// A client's newest session, open or not. `None`: it has had none.
    #[must_use]
    pub fn seen(&self, client: ClientNumber) -> Option<Seen> {
        self.lock().presence.of(client)
    }

    /// When a client was last seen. `None`: it has had no session.
    #[must_use]
    pub fn last_seen(&self, client: ClientNumber) -> Option<Timestamp> {
        self.lock().presence.last_seen(client)
    }

    /// Whose session ended by nothing that the client did: it is open, or was when the controller stopped.
    #[must_use]
    pub fn expected(&self) -> RoaringBitmap {
        self.lock().presence.expected()
    }

    /// Begins with what was known when the controller stopped.
    pub fn recall(&self, presence: Presence) {
        self.lock().presence = presence;
    }

    /// Whose session is open is there now.
    pub fn look(&self) {
        self.lock().presence.looked(clock::now());
    }

    /// From now on sessions end because the controller does, and not their clients.
    pub fn stop(&self) {
        self.lock().stopping = true;
    }

    /// Returns when something has changed since [`changes`](Self::changes) was called.
    pub async fn changed(&self) {
        self.changed.notified().await;
    }

    /// What has changed since it was asked for last, and when those whose session is open were looked at.
    #[must_use]
    pub fn changes(&self) -> (Vec<(ClientNumber, Seen)>, Option<Timestamp>) {
        let mut known = self.lock();
        let changed = mem::take(&mut known.changed)
            .into_iter()
            .filter_map(|client| known.presence.of(client).map(|seen| (client, seen)))
            .collect();
        (changed, known.presence.looked_at())
    }

    /// Takes back changes that could not be written down.
    pub fn unchanged(&self, clients: impl IntoIterator<Item = ClientNumber>) {
        self.lock().changed.extend(clients);
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Session {
    /// Returns when a newer session of the same client was opened.
    pub async fn replaced(&self) {
        self.replaced.notified().await;
    }

    /// Whether it is the newest of its client.
    #[must_use]
    pub fn is_newest(&self) -> bool {
        self.sessions
            .lock()
            .open
            .get(&self.client)
            .is_some_and(|open| open.number == self.number)
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        let mut known = self.sessions.lock();
        let is_newest = known
            .open
            .get(&self.client)
            .is_some_and(|newest| newest.number == self.number);
        if is_newest {
            known.open.remove(&self.client);
            if !known.stopping {
                known.presence.disconnected(self.client, clock::now());
                known.changed.insert(self.client);
            }
            drop(known);
            self.sessions.changed.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

    #[test]
    fn the_newest_session_is_the_clients() {
        let sessions = Arc::new(Sessions::default());
        let (older, _) = sessions.open(1, HERE);
        let (newer, _) = sessions.open(1, HERE);
        assert!(!older.is_newest() && newer.is_newest());
        // Whenever the older one ends, the client is connected.
        drop(older);
        assert!(sessions.contains(1) && sessions.expected().contains(1));
        drop(newer);
        assert!(!sessions.contains(1) && !sessions.expected().contains(1));
    }

    #[test]
    fn what_has_changed_is_given_once_and_again_if_it_could_not_be_written_down() {
        let sessions = Arc::new(Sessions::default());
        let (session, _) = sessions.open(1, HERE);
        let (_other, _) = sessions.open(2, HERE);
        let clients = || {
            let (changed, _) = sessions.changes();
            let mut clients: Vec<_> = changed.into_iter().map(|(client, _)| client).collect();
            clients.sort_unstable();
            clients
        };
        assert_eq!(clients(), [1, 2]);
        assert_eq!(clients(), [0; 0]);
        sessions.unchanged([1]);
        assert_eq!(clients(), [1]);
        // What ends with the controller has not ended for the client.
        sessions.stop();
        drop(session);
        assert_eq!(clients(), [0; 0]);
        assert!(sessions.expected().contains(1));
    }

    #[tokio::test]
    async fn an_order_goes_to_the_newest_session() {
        let sessions = Arc::new(Sessions::default());
        let order = || sessions.order(1, ScepOrder::default());
        assert!(matches!(order(), Err(NoSession::NotConnected)));
        let (_older, mut of_older) = sessions.open(1, HERE);
        let (newer, mut of_newer) = sessions.open(1, HERE);
        let answered = order().expect("a session");
        assert!(of_older.recv().await.is_none());
        let taken = of_newer.recv().await.expect("an order");
        let said = ScepOrderAnswer {
            attempt: 7,
            ..ScepOrderAnswer::default()
        };
        let Order::Scep { answer, .. } = taken else {
            panic!("another order");
        };
        answer.send(said.clone()).expect("heard");
        assert_eq!(answered.await, Ok(said));
        let waiting: Vec<_> = (0..ORDERS).map(|_| order().expect("room")).collect();
        assert!(matches!(order(), Err(NoSession::Busy)));
        drop((newer, of_newer));
        for answered in waiting {
            assert!(answered.await.is_err());
        }
        assert!(matches!(order(), Err(NoSession::NotConnected)));
    }
}
