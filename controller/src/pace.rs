//! How often each client may do what causes an entry in the journal, a line in the log, or work: one limit for each kind of act, all of them here. What an
//! act does is no concern of it.

use std::{hash::Hash, num::NonZeroU32, time::Duration};

use convoy_fleet::client::ClientNumber;
use governor::{
    Quota, RateLimiter, clock::Clock, middleware::NoOpMiddleware, state::keyed::HashMapStateStore,
};
use tokio::time::Instant;
use tonic::Status;

use crate::api::status;

/// Keys that are remembered; beyond that, those that are not over their limit are forgotten.
const REMEMBERED: usize = 65_536;

/// What a client does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    /// It opens a session: an entry, if it states something new.
    Session,
    /// It says something in its session: an acknowledgment, a report, an answer. Each may be an entry or a line.
    Message,
    /// Its host joins again, and is given its identity again: an entry.
    Join,
    /// It renews its identity: an entry.
    Renewal,
    /// It asks for a challenge password.
    Challenge,
    /// It is given one with names that it has not asked for before: an entry.
    NewChallenge,
}

/// The limits of each client.
pub struct Paces {
    sessions: Pace<ClientNumber>,
    messages: Pace<ClientNumber>,
    joins: Pace<ClientNumber>,
    renewals: Pace<ClientNumber>,
    challenges: Pace<ClientNumber>,
    new_challenges: Pace<ClientNumber>,
}

impl Paces {
    /// For identities that are valid for so long: those that live for seconds are renewed within seconds.
    #[must_use]
    pub fn new(identity_validity: Duration) -> Self {
        let seconds = Duration::from_secs;
        Self {
            sessions: Pace::new(30, seconds(1)),
            messages: Pace::new(120, seconds(1)),
            joins: Pace::new(30, seconds(1)),
            renewals: Pace::new(3, seconds(60).min(identity_validity / 4)),
            challenges: Pace::new(60, seconds(1)),
            new_challenges: Pace::new(10, seconds(60)),
        }
    }

    /// Counts what a client is about to do.
    ///
    /// # Errors
    /// If it has done that too often, with the time after which it may again.
    pub fn admit(&self, client: ClientNumber, act: Act) -> Result<(), Status> {
        self.of(act)
            .take(&client)
            .map_err(|wait| status::too_often(words(act), wait))
    }

    /// Counts what a client is about to do, and returns when it may.
    pub async fn wait(&self, client: ClientNumber, act: Act) {
        while let Err(wait) = self.of(act).take(&client) {
            tokio::time::sleep(wait).await;
        }
    }

    const fn of(&self, act: Act) -> &Pace<ClientNumber> {
        match act {
            Act::Session => &self.sessions,
            Act::Message => &self.messages,
            Act::Join => &self.joins,
            Act::Renewal => &self.renewals,
            Act::Challenge => &self.challenges,
            Act::NewChallenge => &self.new_challenges,
        }
    }
}

const fn words(act: Act) -> &'static str {
    match act {
        Act::Session => "this client has opened many sessions in a moment; wait a moment",
        Act::Message => "this client has said much in a moment; wait a moment",
        Act::Join => "this host has joined many times in a moment; wait a moment",
        Act::Renewal => "an identity was issued a moment ago; wait a minute",
        Act::Challenge => {
            "challenge passwords were asked for many times in a moment; wait a moment"
        }
        Act::NewChallenge => {
            "this device has asked for challenge passwords with many names; wait some minutes"
        }
    }
}

/// So many at once, and then one in so long, for each key by itself.
pub(crate) struct Pace<K: Clone + Eq + Hash>(
    RateLimiter<K, HashMapStateStore<K>, Runtime, NoOpMiddleware<std::time::Instant>>,
);

impl<K: Clone + Eq + Hash> Pace<K> {
    pub(crate) fn new(burst: u32, every: Duration) -> Self {
        let burst = NonZeroU32::new(burst).unwrap_or(NonZeroU32::MIN);
        let quota = Quota::with_period(every.max(Duration::from_nanos(1)))
            .unwrap_or(Quota::per_second(burst))
            .allow_burst(burst);
        Self(RateLimiter::new(
            quota,
            HashMapStateStore::default(),
            Runtime,
        ))
    }

    /// Takes one. If there is none left: how long until there is.
    pub(crate) fn take(&self, key: &K) -> Result<(), Duration> {
        if self.0.len() >= REMEMBERED {
            self.0.retain_recent();
        }
        self.0
            .check_key(key)
            .map_err(|not_until| not_until.wait_time_from(Runtime.now()))
    }
}

/// The runtime's own clock, which tests can set.
#[derive(Clone, Debug, Default)]
struct Runtime;

impl Clock for Runtime {
    type Instant = std::time::Instant;

    fn now(&self) -> Self::Instant {
        Instant::now().into_std()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn who_asks_too_often_waits_and_others_do_not() {
        let pace = Pace::new(3, Duration::from_secs(10));
        for _ in 0..3 {
            assert_eq!(pace.take(&1), Ok(()));
        }
        assert_eq!(pace.take(&1), Err(Duration::from_secs(10)));
        assert_eq!(pace.take(&2), Ok(()));
        tokio::time::advance(Duration::from_secs(10)).await;
        assert_eq!(pace.take(&1), Ok(()));
        assert!(pace.take(&1).is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn each_kind_of_act_has_a_limit_of_its_own() {
        let paces = Paces::new(Duration::from_secs(3600));
        for _ in 0..3 {
            assert!(paces.admit(1, Act::Renewal).is_ok());
        }
        let refused = paces.admit(1, Act::Renewal).expect_err("too often");
        assert_eq!(refused.code(), tonic::Code::ResourceExhausted);
        for act in [
            Act::Session,
            Act::Message,
            Act::Join,
            Act::Challenge,
            Act::NewChallenge,
        ] {
            let admitted = (0..1000).filter(|_| paces.admit(1, act).is_ok()).count();
            assert!((10..=120).contains(&admitted), "{act:?}: {admitted}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_is_served_in_the_end() {
        let paces = Paces::new(Duration::from_secs(4));
        let began = Instant::now();
        for _ in 0..5 {
            paces.wait(1, Act::Renewal).await;
        }
        assert!((2..=3).contains(&began.elapsed().as_secs()));
    }
}
