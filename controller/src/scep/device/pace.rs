//! How often each client may do something: a burst, and then once in so long. What it does is no concern of it.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use convoy_fleet::client::ClientNumber;
use tokio::time::Instant;

/// A limit for each client by itself.
pub struct Pace {
    burst: u32,
    every: Duration,
    /// Until when each client's past is paid for.
    paid: Mutex<HashMap<ClientNumber, Instant>>,
}

impl Pace {
    /// So often at once, and then once in so long.
    #[must_use]
    pub fn new(burst: u32, every: Duration) -> Self {
        Self {
            burst,
            every,
            paid: Mutex::default(),
        }
    }

    /// Whether a client may once more. If so, that counts.
    #[must_use]
    pub fn admits(&self, client: ClientNumber) -> bool {
        let now = Instant::now();
        let mut paid = self.paid.lock().unwrap_or_else(PoisonError::into_inner);
        let until = paid.entry(client).or_insert(now);
        let next = (*until).max(now) + self.every;
        let may = next <= now + self.every * self.burst;
        if may {
            *until = next;
        }
        may
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn who_asks_too_often_waits_and_others_do_not() {
        let pace = Pace::new(3, Duration::from_secs(10));
        for _ in 0..3 {
            assert!(pace.admits(1));
        }
        assert!(!pace.admits(1));
        assert!(pace.admits(2));
        tokio::time::advance(Duration::from_secs(10)).await;
        assert!(pace.admits(1));
        assert!(!pace.admits(1));
    }
}
