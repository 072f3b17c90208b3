//! How much one address may ask of the SCEP server. What it asks is looked at elsewhere.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

use crate::{listener::addresses::Counting, pace::Pace};

/// Refused requests from one address, at once,
const GUESSES: u32 = 60;
/// and then one in so long: a challenge cannot be found by trying.
const GUESS_EVERY: Duration = Duration::from_secs(2);
/// Counting that are remembered.
const ADDRESSES: usize = 65_536;

/// A limit per address.
pub(super) struct Rate {
    addresses: Arc<Counting>,
    requests: Option<Pace<IpAddr>>,
    guesses: Guesses,
}

impl Rate {
    pub(super) fn new(per_second: Option<u32>, addresses: Arc<Counting>) -> Self {
        Self {
            addresses,
            // Ten seconds' worth at once.
            requests: per_second
                .filter(|rate| *rate > 0)
                .map(|rate| Pace::new(rate.saturating_mul(10), Duration::from_secs(1) / rate)),
            guesses: Guesses::default(),
        }
    }

    /// Takes one request.
    pub(super) fn admits(&self, address: IpAddr) -> bool {
        let address = self.counted(address);
        self.requests
            .as_ref()
            .is_none_or(|requests| requests.take(&address).is_ok())
    }

    /// Whether the address has not been refused too often.
    pub(super) fn admits_guess(&self, address: IpAddr) -> bool {
        self.guesses.has(self.counted(address), Instant::now())
    }

    /// Takes one refusal.
    pub(super) fn guessed(&self, address: IpAddr) {
        self.guesses.take(self.counted(address), Instant::now());
    }

    /// Loopback is an address like another here.
    fn counted(&self, address: IpAddr) -> IpAddr {
        self.addresses.counted(address).unwrap_or(address)
    }
}

/// Until when each address has paid for its guesses. Whether one is left is asked before it is known whether there was a guess, which a pace cannot say.
#[derive(Default)]
struct Guesses(Mutex<HashMap<IpAddr, Instant>>);

impl Guesses {
    fn take(&self, address: IpAddr, now: Instant) {
        let mut paid = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if paid.len() >= ADDRESSES {
            paid.retain(|_, until| *until > now);
        }
        let until = paid.entry(address).or_insert(now);
        *until = ((*until).max(now) + GUESS_EVERY).min(now + GUESS_EVERY * GUESSES);
    }

    fn has(&self, address: IpAddr, now: Instant) -> bool {
        let paid = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        paid.get(&address)
            .is_none_or(|until| *until + GUESS_EVERY <= now + GUESS_EVERY * GUESSES)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn an_address_that_asks_too_much_waits_and_others_do_not() {
        let rate = Rate::new(Some(2), Arc::default());
        let (one, other) = (IpAddr::from([192, 0, 2, 1]), IpAddr::from([192, 0, 2, 2]));
        assert_eq!((0..30).filter(|_| rate.admits(one)).count(), 20);
        assert!(rate.admits(other));
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!((0..30).filter(|_| rate.admits(one)).count(), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn refusals_are_few_and_come_back_with_time() {
        let rate = Rate::new(None, Arc::default());
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
