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
use roaring::RoaringBitmap;
use tokio::{sync::Notify, time::Instant};

/// So many sessions a client may open at once,
const BURST: u32 = 30;
/// and then one in so long.
const EVERY: Duration = Duration::from_secs(1);

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
}

/// An open session; closed when dropped.
pub struct Session {
    sessions: Arc<Sessions>,
    client: ClientNumber,
    number: u64,
    replaced: Arc<Notify>,
}

impl Sessions {
    /// Opens a session in the place of an older one of the same client, which learns that it was replaced.
    #[must_use]
    pub fn open(self: &Arc<Self>, client: ClientNumber) -> Session {
        let replaced = Arc::new(Notify::new());
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let older = self.lock().insert(
            client,
            Open {
                number,
                replaced: Arc::clone(&replaced),
            },
        );
        if let Some(older) = older {
            older.replaced.notify_one();
        }
        Session {
            sessions: Arc::clone(self),
            client,
            number,
            replaced,
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
        let older = sessions.open(1);
        let newer = sessions.open(1);
        assert!(!older.is_newest() && newer.is_newest());
        drop(older);
        assert!(sessions.contains(1));
        drop(newer);
        assert!(!sessions.contains(1));
    }
}
