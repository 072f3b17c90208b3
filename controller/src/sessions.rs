//! Which clients have a session just now: the newest one of each. Nothing durable, and nothing that a gate counts.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use convoy_fleet::client::ClientNumber;
use roaring::RoaringBitmap;
use tokio::sync::Notify;

/// The open sessions.
#[derive(Default)]
pub struct Sessions {
    open: Mutex<HashMap<ClientNumber, Open>>,
    next: AtomicU64,
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
