//! Challenge passwords from the page of Microsoft's Network Device Enrollment Service, one per request of a device. They never go to a log, an error or the journal.

mod error;
mod page;
mod request;
mod slots;
#[cfg(test)]
mod tests;

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use convoy_shared::id::ClientId;
use tokio::{
    sync::{Notify, OwnedMutexGuard, watch},
    time::{Instant, sleep, sleep_until, timeout},
};
use zeroize::Zeroizing;

pub use error::NdesError;

use page::Page;
use request::Target;
use slots::Slots;

/// The first wait after NDES has said that its cache is full, and the longest. Each is spread from half to one and a half of it.
const FIRST_WAIT: Duration = Duration::from_secs(1);
const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// Where NDES is, and what it holds.
pub struct Ndes {
    /// Its challenge page: `http://host/certsrv/mscep_admin/`.
    pub url: String,
    /// Who may read it, for example `DOMAIN\user`.
    pub user: String,
    /// The user's password.
    pub password: Zeroizing<String>,
    /// The most challenges that it has outstanding: its `PasswordMax`, 5 unless changed.
    pub cache: usize,
    /// How long a challenge is good where the page does not say: 60 minutes unless NDES is told otherwise.
    pub lifetime: Duration,
}

impl fmt::Debug for Ndes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ndes")
            .field("user", &self.user)
            .field("cache", &self.cache)
            .field("lifetime", &self.lifetime)
            .finish_non_exhaustive()
    }
}

/// The challenges of one page. Clones are the same source: there must be one per page, or NDES's cache is counted twice.
#[derive(Clone)]
pub struct ChallengeSource {
    inner: Arc<Inner>,
}

struct Inner {
    target: Target,
    lifetime: Duration,
    slots: Mutex<Slots>,
    /// Whose turn it is. Who holds it waits for a slot and asks NDES; the others stand in line, first come, first served.
    turn: Arc<tokio::sync::Mutex<()>>,
    /// Tells who has the turn that a slot was given back.
    freed: Notify,
    /// What who has the turn waits for.
    waits: watch::Sender<Waits>,
}

/// What a request waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Waits {
    /// NDES's answer.
    Answer,
    /// A slot: as many challenges are outstanding as NDES holds.
    Slot,
    /// NDES: its cache is full though ours is not, because others use it too.
    Cache,
}

/// A challenge in the hands of one device.
pub struct Lease {
    challenge: Zeroizing<String>,
    source: ChallengeSource,
    /// `None`: NDES is set up with one password for all, which takes no room.
    slot: Option<u64>,
}

impl Lease {
    /// The challenge password.
    #[must_use]
    pub fn challenge(&self) -> &str {
        &self.challenge
    }

    /// The device's request was answered: NDES has forgotten the challenge, and there is room for another. A lease that is merely
    /// dropped keeps its slot until it expires, for the device may still use it.
    pub fn used(self) {
        if let Some(slot) = self.slot {
            self.source.free(slot);
        }
    }
}

impl fmt::Debug for Lease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lease")
            .field("slot", &self.slot)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for ChallengeSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChallengeSource")
            .field("outstanding", &self.outstanding())
            .finish_non_exhaustive()
    }
}

impl ChallengeSource {
    /// A source without outstanding challenges. What an earlier process left outstanding shows when NDES says that its cache is full.
    ///
    /// # Errors
    /// [`NdesError::Settings`] alone.
    pub fn new(ndes: &Ndes) -> Result<Self, NdesError> {
        if ndes.cache == 0 {
            return Err(NdesError::Settings("its cache holds at least 1 challenge"));
        }
        Ok(Self {
            inner: Arc::new(Inner {
                target: Target::new(ndes)?,
                lifetime: ndes.lifetime,
                slots: Mutex::new(Slots::new(ndes.cache)),
                turn: Arc::default(),
                freed: Notify::new(),
                waits: watch::Sender::new(Waits::Answer),
            }),
        })
    }

    /// A challenge for this client: the one that it has, while that is outstanding and fresh, else a new one from NDES as soon as
    /// there is room. May be dropped at any time: what NDES answers then is kept for the client.
    ///
    /// # Errors
    /// If NDES cannot be asked or gives none, at once; if there is no room until `deadline`, counted from now, then.
    pub async fn fetch(&self, client: ClientId, deadline: Duration) -> Result<Lease, NdesError> {
        if let Some(lease) = self.held_by(client) {
            return Ok(lease);
        }
        match timeout(deadline, self.in_turn(client)).await {
            Ok(fetched) => fetched,
            Err(_) => Err(match *self.inner.waits.borrow() {
                Waits::Answer => NdesError::Late(deadline),
                Waits::Slot => NdesError::AllOutstanding {
                    count: self.slots().cache(),
                },
                Waits::Cache => NdesError::CacheFull,
            }),
        }
    }

    /// As [`Lease::used`], for who knows no more than the client: the challenge that it was given last.
    pub fn used(&self, client: ClientId) {
        let newest = self.slots().newest(client);
        if let Some(slot) = newest {
            self.free(slot);
        }
    }

    /// How many challenges are outstanding.
    #[must_use]
    pub fn outstanding(&self) -> usize {
        let mut slots = self.slots();
        slots.expire(Instant::now());
        slots.count()
    }

    async fn in_turn(&self, client: ClientId) -> Result<Lease, NdesError> {
        let mut turn = Arc::clone(&self.inner.turn).lock_owned().await;
        let mut wait = FIRST_WAIT;
        loop {
            if let Some(lease) = self.wait_for_slot(client).await {
                return Ok(lease);
            }
            self.inner.waits.send_replace(Waits::Answer);
            // A task of its own, with the turn: an answer is not lost when nobody waits for it any more.
            let asked = tokio::spawn(self.clone().ask(client, turn));
            let answer;
            (turn, answer) = asked.await.map_err(|_| NdesError::Stopped)?;
            if let Some(lease) = answer? {
                return Ok(lease);
            }
            let spread = wait.mul_f64(0.5 + rand::random::<f64>());
            tracing::info!(wait = ?spread, "NDES's password cache is full: trying again");
            self.inner.waits.send_replace(Waits::Cache);
            tokio::select! {
                () = sleep(spread) => {}
                () = self.inner.freed.notified() => {}
            }
            wait = LONGEST_WAIT.min(wait * 2);
        }
    }

    /// Until there is a free slot, or this client holds a challenge already.
    async fn wait_for_slot(&self, client: ClientId) -> Option<Lease> {
        loop {
            if let Some(lease) = self.held_by(client) {
                return Some(lease);
            }
            let free_at = {
                let mut slots = self.slots();
                slots.expire(Instant::now());
                slots.free_at()?
            };
            self.inner.waits.send_replace(Waits::Slot);
            tokio::select! {
                () = sleep_until(free_at) => {}
                () = self.inner.freed.notified() => {}
            }
        }
    }

    /// Asks NDES once. `Ok(None)`: its cache is full.
    async fn ask(
        self,
        client: ClientId,
        turn: OwnedMutexGuard<()>,
    ) -> (OwnedMutexGuard<()>, Result<Option<Lease>, NdesError>) {
        // NDES counts from some instant between these two. A challenge is handed out by the earlier and occupies its slot by the later.
        let asked_at = Instant::now();
        let page = request::get(&self.inner.target).await;
        let answered_at = Instant::now();
        let answer = page.and_then(|page| match page {
            Page::OneTime {
                challenge,
                lifetime,
            } => {
                let lifetime = lifetime.unwrap_or(self.inner.lifetime);
                let slot = self
                    .slots()
                    .put(client, &challenge, lifetime, asked_at, answered_at)
                    .ok_or(NdesError::Repeated)?;
                Ok(Some(self.lease(challenge, Some(slot))))
            }
            Page::Reusable { challenge } => Ok(Some(self.lease(challenge, None))),
            Page::Full => Ok(None),
            Page::NoPermission => Err(NdesError::NoPermission {
                user: self.inner.target.user().to_owned(),
            }),
            Page::Other => Err(NdesError::NotThePage),
        });
        (turn, answer)
    }

    fn held_by(&self, client: ClientId) -> Option<Lease> {
        let (slot, challenge) = self.slots().fresh(client, Instant::now())?;
        Some(self.lease(challenge, Some(slot)))
    }

    fn lease(&self, challenge: Zeroizing<String>, slot: Option<u64>) -> Lease {
        Lease {
            challenge,
            source: self.clone(),
            slot,
        }
    }

    fn free(&self, slot: u64) {
        if self.slots().free(slot) {
            self.inner.freed.notify_one();
        }
    }

    fn slots(&self) -> MutexGuard<'_, Slots> {
        // Whatever panicked, the slots are a list of facts.
        self.inner
            .slots
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}
