//! The engine's clock: the agent's, or one that tests set. What a time means is decided elsewhere.

use std::time::Duration;

use jiff::Timestamp;
#[cfg(test)]
use tokio::sync::watch;
use tokio::time::sleep;

use crate::clock;

/// Between two looks at a clock that may be set right meanwhile.
const LOOK_EVERY: Duration = Duration::from_secs(30);

/// A clock.
#[derive(Clone, Debug)]
pub(crate) enum Clock {
    /// The agent's.
    Agent(clock::Clock),
    /// A test's.
    #[cfg(test)]
    Test(watch::Receiver<Timestamp>),
}

impl Clock {
    pub(crate) fn now(&self) -> Timestamp {
        match self {
            Self::Agent(clock) => clock.now(),
            #[cfg(test)]
            Self::Test(now) => *now.borrow(),
        }
    }

    /// Resolves when this clock reads `time`, also when it is set right meanwhile.
    pub(crate) async fn sleep_until(&self, time: Timestamp) {
        match self {
            Self::Agent(_) => loop {
                let ahead = Duration::try_from(time.duration_since(self.now()));
                match ahead {
                    Ok(ahead) if !ahead.is_zero() => sleep(ahead.min(LOOK_EVERY)).await,
                    _ => return,
                }
            },
            #[cfg(test)]
            Self::Test(now) => {
                let mut now = now.clone();
                if now.wait_for(|now| *now >= time).await.is_err() {
                    std::future::pending::<()>().await;
                }
            }
        }
    }
}
