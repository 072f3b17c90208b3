//! Places that peers take up: so many in all, so many per address. Who comes when all are taken puts out the one that has been there longest, and who
//! overruns its address waits for a place. What a place is for is decided elsewhere.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    net::IpAddr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Instant, timeout},
};
use tokio_util::sync::CancellationToken;

use super::addresses::Counting;

/// Who waits for a place does so no longer than that.
const PATIENCE: Duration = Duration::from_secs(10);
/// Who has said nothing for so long makes room for others of its own address.
const GRACE: Duration = Duration::from_secs(2);
/// Between two looks whether somebody has to.
const LOOK: Duration = Duration::from_millis(250);

/// How many places there are.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Room {
    /// In all.
    pub(crate) most: usize,
    /// For one address.
    pub(crate) per_address: usize,
    /// So many wait for a place of their address; others are cut.
    pub(crate) waiting: usize,
}

/// Places of one kind.
pub(crate) struct Places {
    room: Room,
    addresses: Arc<Counting>,
    waiting: AtomicUsize,
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    next: u64,
    /// In the order in which they go when others need their places.
    taken: BTreeMap<Key, Taken>,
    by_address: HashMap<IpAddr, Own>,
}

/// Who has said nothing goes before who has spoken, and the oldest goes first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    spoke: bool,
    number: u64,
}

struct Taken {
    out: CancellationToken,
    since: Instant,
    address: Option<IpAddr>,
}

/// An address's own.
struct Own {
    places: Arc<Semaphore>,
    keys: BTreeSet<Key>,
}

impl Places {
    pub(crate) fn new(room: Room, addresses: Arc<Counting>) -> Arc<Self> {
        Arc::new(Self {
            room,
            addresses,
            waiting: AtomicUsize::new(0),
            inner: Mutex::default(),
        })
    }

    /// A place for a peer at this address. It waits while the address has taken all of its own, and is `None` if that lasts too long.
    pub(crate) async fn take(self: &Arc<Self>, address: IpAddr) -> Option<Place> {
        let counted = self.addresses.counted(address);
        let share = match counted {
            Some(own) => Some(self.share(own, self.addresses.times(address)).await?),
            None => None,
        };
        let out = CancellationToken::new();
        let mut inner = self.lock();
        if inner.taken.len() >= self.room.most {
            inner.put_out_first();
        }
        let key = Key {
            spoke: false,
            number: inner.next,
        };
        inner.next += 1;
        inner.insert(
            key,
            Taken {
                out: out.clone(),
                since: Instant::now(),
                address: counted,
            },
        );
        drop(inner);
        Some(Place {
            of: Arc::clone(self),
            key: Mutex::new(key),
            out,
            address: counted,
            share,
        })
    }

    /// One of an address's own places.
    async fn share(&self, address: IpAddr, times: usize) -> Option<OwnedSemaphorePermit> {
        let places = {
            let mut inner = self.lock();
            let own = inner.by_address.entry(address).or_insert_with(|| Own {
                places: Arc::new(Semaphore::new(self.room.per_address.saturating_mul(times))),
                keys: BTreeSet::new(),
            });
            Arc::clone(&own.places)
        };
        if let Ok(share) = Arc::clone(&places).try_acquire_owned() {
            return Some(share);
        }
        let waits = Waits::begin(self)?;
        let began = Instant::now();
        let acquire = Arc::clone(&places).acquire_owned();
        tokio::pin!(acquire);
        let share = loop {
            self.lock().make_room_at(address);
            match timeout(LOOK, acquire.as_mut()).await {
                Ok(share) => break share.ok(),
                Err(_) if began.elapsed() >= PATIENCE => break None,
                Err(_) => {}
            }
        };
        drop(waits);
        share
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn insert(&mut self, key: Key, taken: Taken) {
        if let Some(own) = taken
            .address
            .and_then(|address| self.by_address.get_mut(&address))
        {
            own.keys.insert(key);
        }
        self.taken.insert(key, taken);
    }

    fn remove(&mut self, key: Key) -> Option<Taken> {
        let taken = self.taken.remove(&key)?;
        if let Some(own) = taken
            .address
            .and_then(|address| self.by_address.get_mut(&address))
        {
            own.keys.remove(&key);
        }
        Some(taken)
    }

    fn put_out_first(&mut self) {
        if let Some((key, _)) = self.taken.first_key_value() {
            let key = *key;
            self.put_out(key);
        }
    }

    /// The oldest of an address's peers that have said nothing goes, if it had its time.
    fn make_room_at(&mut self, address: IpAddr) {
        let first = self
            .by_address
            .get(&address)
            .and_then(|own| own.keys.first().copied());
        if let Some(key) = first
            && !key.spoke
            && self
                .taken
                .get(&key)
                .is_some_and(|taken| taken.since.elapsed() >= GRACE)
        {
            self.put_out(key);
        }
    }

    fn put_out(&mut self, key: Key) {
        if let Some(taken) = self.remove(key) {
            taken.out.cancel();
        }
    }
}

/// Counts itself among those who wait.
struct Waits<'a>(&'a AtomicUsize);

impl<'a> Waits<'a> {
    fn begin(places: &'a Places) -> Option<Self> {
        let waits = Self(&places.waiting);
        (waits.0.fetch_add(1, Ordering::Relaxed) < places.room.waiting).then_some(waits)
    }
}

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A place that is taken; given back when dropped.
pub(crate) struct Place {
    of: Arc<Places>,
    key: Mutex<Key>,
    out: CancellationToken,
    address: Option<IpAddr>,
    share: Option<OwnedSemaphorePermit>,
}

impl Place {
    /// The peer has said something: others go before it.
    pub(crate) fn spoke(&self) {
        let mut key = self.key.lock().unwrap_or_else(PoisonError::into_inner);
        if key.spoke {
            return;
        }
        let mut inner = self.of.lock();
        // Who was put out stays so.
        if let Some(taken) = inner.remove(*key) {
            key.spoke = true;
            inner.insert(*key, taken);
        }
    }

    /// Returns when the place is needed for another.
    pub(crate) async fn put_out(&self) {
        self.out.cancelled().await;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let key = *self.key.lock().unwrap_or_else(PoisonError::into_inner);
        let mut inner = self.of.lock();
        inner.remove(key);
        drop(self.share.take());
        if let Some(address) = self.address
            && let Some(own) = inner.by_address.get(&address)
            // Nobody of this address has a place, or waits for one.
            && Arc::strong_count(&own.places) == 1
        {
            inner.by_address.remove(&address);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places(most: usize, per_address: usize) -> Arc<Places> {
        let room = Room {
            most,
            per_address,
            waiting: 3,
        };
        Places::new(room, Arc::default())
    }

    fn ip(last: u8) -> IpAddr {
        IpAddr::from([192, 0, 2, last])
    }

    #[tokio::test(start_paused = true)]
    async fn the_oldest_that_has_said_nothing_makes_room() {
        let places = places(2, 9);
        let first = places.take(ip(1)).await.expect("a place");
        let second = places.take(ip(2)).await.expect("a place");
        first.spoke();
        let third = places.take(ip(3)).await.expect("a place");
        assert!(!first.out.is_cancelled() && second.out.is_cancelled());
        drop(second);
        third.spoke();
        // Where all have spoken, the oldest of them.
        let _fourth = places.take(ip(4)).await.expect("a place");
        assert!(first.out.is_cancelled() && !third.out.is_cancelled());
        first.spoke();
        drop(first);
        assert_eq!(places.lock().taken.len(), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn an_overrun_of_one_address_waits_and_hinders_no_other() {
        let places = places(9, 2);
        let one = places.take(ip(1)).await.expect("a place");
        let two = places.take(ip(1)).await.expect("a place");
        two.spoke();
        one.spoke();
        let waiting = {
            let places = Arc::clone(&places);
            tokio::spawn(async move { places.take(ip(1)).await.is_some() })
        };
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert!(!waiting.is_finished());
        assert!(places.take(ip(2)).await.is_some());
        drop(one);
        assert!(waiting.await.expect("joined"));
        // The second of them is taken away again, so that the address has one left.
        assert!(places.take(ip(1)).await.is_some());
        drop(two);
        assert!(places.lock().by_address.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_too_long_is_cut_and_so_is_who_would_make_too_many() {
        let places = places(9, 1);
        let one = places.take(ip(1)).await.expect("a place");
        one.spoke();
        let wait = || {
            let places = Arc::clone(&places);
            tokio::spawn(async move { places.take(ip(1)).await.is_some() })
        };
        let waiting = [wait(), wait(), wait()];
        tokio::task::yield_now().await;
        assert!(places.take(ip(1)).await.is_none());
        for waits in waiting {
            assert!(!waits.await.expect("joined"));
        }
        assert_eq!(places.waiting.load(Ordering::Relaxed), 0);
        drop(one);
        assert!(places.lock().by_address.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn who_says_nothing_makes_room_for_its_own_address() {
        let places = places(9, 1);
        let silent = places.take(ip(1)).await.expect("a place");
        let waiting = {
            let places = Arc::clone(&places);
            tokio::spawn(async move { places.take(ip(1)).await.is_some() })
        };
        silent.put_out().await;
        drop(silent);
        assert!(waiting.await.expect("joined"));
    }

    #[tokio::test(start_paused = true)]
    async fn an_address_that_stands_for_many_has_more() {
        let room = Room {
            most: 1000,
            per_address: 2,
            waiting: 3,
        };
        let shared = Counting {
            shared: vec![IpAddr::from([192, 0, 2, 1]).into()],
            ..Counting::default()
        };
        let places = Places::new(room, Arc::new(shared));
        let mut taken = Vec::new();
        for _ in 0..64 {
            taken.push(places.take(ip(1)).await.expect("a place"));
        }
        let began = Instant::now();
        assert!(places.take(IpAddr::from([127, 0, 0, 1])).await.is_some());
        assert_eq!(began.elapsed(), Duration::ZERO);
    }
}
