//! Writes down once a minute who has a session, so that "last seen" survives a crash to the minute. Connects and disconnects are written elsewhere.

use std::{sync::Arc, time::Duration};

use tokio::time::{MissedTickBehavior, interval};

use crate::{keeper::Keeper, sessions::Sessions};

const EVERY: Duration = Duration::from_secs(60);

/// Runs for ever.
pub async fn run(keeper: Keeper, sessions: Arc<Sessions>) {
    let mut ticks = interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    // The first tick comes at once.
    ticks.tick().await;
    loop {
        ticks.tick().await;
        let clients = sessions.clients();
        if !clients.is_empty() && keeper.seen(clients).await.is_err() {
            return;
        }
    }
}
