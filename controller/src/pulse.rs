//! Looks at the clock all the time, so that a jump or a standstill is noticed also when nobody asks what time it is. What follows from it is decided elsewhere.

use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval};

use crate::{clock, health::Degraded, keeper::Keeper};

const EVERY: Duration = Duration::from_millis(500);

/// Runs for ever.
pub async fn run(keeper: Keeper) {
    let mut ticks = interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut known = None;
    loop {
        ticks.tick().await;
        let reading = clock::read();
        match reading.doubt {
            Some(doubt) => keeper.health().say(Degraded::Clock, doubt.to_string()),
            None => keeper.health().clear(Degraded::Clock),
        }
        let seen = (reading.doubt.is_some(), reading.breaks);
        if known.replace(seen) != Some(seen) && keeper.look().await.is_err() {
            return;
        }
    }
}
