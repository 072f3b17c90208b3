//! How much one address may ask of the SCEP server. What it asks is looked at elsewhere.

use std::{
    collections::HashMap,
    hash::Hash,
    net::IpAddr,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

use crate::listener::limits::network;

/// Refused requests from one address, at once,
const GUESSES: u32 = 60;
/// and then one in so long: a challenge cannot be found by trying.
const GUESS_EVERY: Duration = Duration::from_secs(2);
/// Addresses that are remembered.
const ADDRESSES: usize = 65_536;

/// A limit per address.
pub(super) struct Rate {
    requests: Option<Bucket<IpAddr>>,
    guesses: Bucket<IpAddr>,
}

impl Rate {
    pub(super) fn new(per_second: Option<u32>) -> Self {
        Self {
            // Ten seconds' worth at once.
            requests: per_second
                .filter(|rate| *rate > 0)
                .map(|rate| Bucket::new(Duration::from_secs(1) / rate, rate.saturating_mul(10))),
            guesses: Bucket::new(GUESS_EVERY, GUESSES),
        }
    }

    /// Takes one request.
    pub(super) fn admits(&self, address: IpAddr) -> bool {
        self.requests
            .as_ref()
            .is_none_or(|bucket| bucket.take(counted(address), Instant::now()))
    }

    /// Whether the address has not been refused too often.
    pub(super) fn admits_guess(&self, address: IpAddr) -> bool {
        self.guesses.has(counted(address), Instant::now())
    }

    /// Takes one refusal.
    pub(super) fn guessed(&self, address: IpAddr) {
        self.guesses.take(counted(address), Instant::now());
    }
}

/// What is counted as one address: an IPv6 host has a whole /64.
fn counted(address: IpAddr) -> IpAddr {
    network(address).unwrap_or(address)
}

/// So many at once, and then one at a time.
pub(super) struct Bucket<K> {
    every: Duration,
    burst: u32,
    /// Until when each has paid.
    paid: Mutex<HashMap<K, Instant>>,
}

impl<K: Eq + Hash> Bucket<K> {
    pub(super) fn new(every: Duration, burst: u32) -> Self {
        Self {
            every,
            burst,
            paid: Mutex::default(),
        }
    }

    /// Takes one, if there is one left.
    pub(super) fn take(&self, address: K, now: Instant) -> bool {
        let mut paid = self.paid.lock().unwrap_or_else(PoisonError::into_inner);
        if paid.len() >= ADDRESSES {
            paid.retain(|_, until| *until > now);
        }
        let until = paid.entry(address).or_insert(now);
        let next = (*until).max(now) + self.every;
        if next > now + self.every * self.burst {
            return false;
        }
        *until = next;
        true
    }

    fn has(&self, address: K, now: Instant) -> bool {
        let paid = self.paid.lock().unwrap_or_else(PoisonError::into_inner);
        paid.get(&address)
            .is_none_or(|until| *until + self.every <= now + self.every * self.burst)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn an_address_that_asks_too_much_waits_and_others_do_not() {
        let rate = Rate::new(Some(2));
        let (one, other) = (IpAddr::from([192, 0, 2, 1]), IpAddr::from([192, 0, 2, 2]));
        assert_eq!((0..30).filter(|_| rate.admits(one)).count(), 20);
        assert!(rate.admits(other));
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!((0..30).filter(|_| rate.admits(one)).count(), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn refusals_are_few_and_come_back_with_time() {
        let rate = Rate::new(None);
        let one = IpAddr::from([192, 0, 2, 1]);
        let tries = (0..1000)
            .filter(|_| {
                let admitted = rate.admits_guess(one);
                if admitted {
                    rate.guessed(one);
                }
                admitted
            })
            .count();
        assert_eq!(tries, 60);
        tokio::time::advance(GUESS_EVERY).await;
        assert!(rate.admits_guess(one));
        assert!(rate.admits(one));
    }
}
