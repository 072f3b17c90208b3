//! Which clients have a session just now: the newest one of each. Nothing durable, and nothing that a gate counts.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use convoy_fleet::client::ClientNumber;
use convoy_proto::v1::{ScepOrder, ScepOrderAnswer};
use roaring::RoaringBitmap;
use tokio::{
    sync::{Notify, mpsc, oneshot},
    time::Instant,
};

/// So many sessions a client may open at once,
const BURST: u32 = 30;
/// and then one in so long.
const EVERY: Duration = Duration::from_secs(1);
/// So many orders may wait for a session.
const ORDERS: usize = 4;

/// The open sessions.
#[derive(Default)]
pub struct Sessions {
    open: Mutex<HashMap<ClientNumber, Open>>,
    next: AtomicU64,
    /// Until when each client's past sessions are paid for.
    paid: Mutex<HashMap<ClientNumber, Instant>>,
}

struct Open {
    number: u64,
    replaced: Arc<Notify>,
    orders: mpsc::Sender<Order>,
}

/// An order for a client, and where its answer goes. Dropped without one if the session ends before it.
pub struct Order {
    /// What the client is told.
    pub order: ScepOrder,
    /// What it says.
    pub answer: oneshot::Sender<ScepOrderAnswer>,
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
    pub fn open(self: &Arc<Self>, client: ClientNumber) -> (Session, mpsc::Receiver<Order>) {
        let (orders, inbox) = mpsc::channel(ORDERS);
        let replaced = Arc::new(Notify::new());
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let older = self.lock().insert(
            client,
            Open {
                number,
                replaced: Arc::clone(&replaced),
                orders,
            },
        );
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
        let open = self.lock();
        let session = open.get(&client).ok_or(NoSession::NotConnected)?;
        match session.orders.try_send(Order { order, answer }) {
            Ok(()) => Ok(answered),
            Err(mpsc::error::TrySendError::Full(_)) => Err(NoSession::Busy),
            Err(mpsc::error::TrySendError::Closed(_)) => Err(NoSession::NotConnected),
        }
    }

    /// How long a client that opens a session now has to wait, because it has opened too many.
    #[must_use]
    pub fn too_soon(&self, client: ClientNumber) -> Duration {
        let now = Instant::now();
        let mut paid = self.paid.lock().unwrap_or_else(PoisonError::into_inner);
        let until = paid.entry(client).or_insert(now);
        // However often it has come, it waits no longer than for a burst to be paid for.
        *until = ((*until).max(now) + EVERY).min(now + EVERY * (BURST * 2));
        until.saturating_duration_since(now + EVERY * BURST)
    }

    /// Whether a client has a session.
    #[must_use]
    pub fn contains(&self, client: ClientNumber) -> bool {
        self.lock().contains_key(&client)
    }

    /// All clients that have one.
    #[must_use]
    pub fn clients(&self) -> RoaringBitmap {
        self.lock().keys().copied().collect()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<ClientNumber, Open>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
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
            .get(&self.client)
            .is_some_and(|open| open.number == self.number)
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        let mut open = self.sessions.lock();
        if open
            .get(&self.client)
            .is_some_and(|newest| newest.number == self.number)
        {
            open.remove(&self.client);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_that_comes_too_often_waits_and_others_do_not() {
        let sessions = Sessions::default();
        for _ in 0..BURST {
            assert_eq!(sessions.too_soon(1), Duration::ZERO);
        }
        assert!(sessions.too_soon(1) > Duration::ZERO);
        assert_eq!(sessions.too_soon(2), Duration::ZERO);
    }

    #[test]
    fn the_newest_session_is_the_clients() {
        let sessions = Arc::new(Sessions::default());
        let (older, _) = sessions.open(1);
        let (newer, _) = sessions.open(1);
        assert!(!older.is_newest() && newer.is_newest());
        drop(older);
        assert!(sessions.contains(1));
        drop(newer);
        assert!(!sessions.contains(1));
    }

    #[tokio::test]
    async fn an_order_goes_to_the_newest_session() {
        let sessions = Arc::new(Sessions::default());
        let order = || sessions.order(1, ScepOrder::default());
        assert!(matches!(order(), Err(NoSession::NotConnected)));
        let (_older, mut of_older) = sessions.open(1);
        let (newer, mut of_newer) = sessions.open(1);
        let answered = order().expect("a session");
        assert!(of_older.recv().await.is_none());
        let taken = of_newer.recv().await.expect("an order");
        let said = ScepOrderAnswer {
            attempt: 7,
            ..ScepOrderAnswer::default()
        };
        taken.answer.send(said.clone()).expect("heard");
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
