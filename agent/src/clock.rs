//! The only place of the agent that reads a clock. What a time means is decided elsewhere.

use std::time::{Duration, SystemTime};

use jiff::{SignedDuration, Timestamp};
use tokio::time::Instant;

/// No agent of this code can have lived before this instant: 2026-01-01T00:00:00Z.
pub const BUILD: Timestamp = Timestamp::constant(1_767_225_600, 0);

/// The effective time: never before [`BUILD`], nor before the last time that the controller signed.
#[must_use]
#[expect(
    clippy::disallowed_methods,
    reason = "the one place where this shell reads the clock"
)]
pub fn now(last_proof: Timestamp) -> Timestamp {
    // A clock that is set beyond what a timestamp can hold says as little as one that was never set.
    let system = Timestamp::try_from(SystemTime::now()).unwrap_or(BUILD);
    effective(system, last_proof)
}

/// The effective time of a clock that reads `system`.
#[must_use]
pub fn effective(system: Timestamp, last_proof: Timestamp) -> Timestamp {
    system.max(BUILD).max(last_proof)
}

/// The controller's time, carried on by the monotonic clock: right also where the host forgets the date.
#[derive(Clone, Copy, Debug)]
pub struct ControllerClock {
    signed: Timestamp,
    at: Instant,
}

impl ControllerClock {
    /// The controller says that it is `signed` now.
    #[must_use]
    pub fn set(signed: Timestamp) -> Self {
        Self {
            signed,
            at: Instant::now(),
        }
    }

    /// What the controller's clock reads now.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        SignedDuration::try_from(self.age())
            .ok()
            .and_then(|age| self.signed.checked_add(age).ok())
            .unwrap_or(self.signed)
    }

    /// How long ago it was set.
    #[must_use]
    pub fn age(&self) -> Duration {
        self.at.elapsed()
    }

    /// How long until the controller's clock reads `time`. Zero if it has passed.
    #[must_use]
    pub fn until(&self, time: Timestamp) -> Duration {
        remaining(self.signed, self.age(), time)
    }
}

/// From `age` after `signed` to `time`. Zero if it has passed.
fn remaining(signed: Timestamp, age: Duration, time: Timestamp) -> Duration {
    let Ok(age) = SignedDuration::try_from(age) else {
        return Duration::ZERO;
    };
    let ahead = time.duration_since(signed).saturating_sub(age);
    // Negative: it has passed.
    Duration::try_from(ahead).unwrap_or(Duration::ZERO)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_printer_that_forgot_the_date_lives_by_what_was_signed() {
        let signed = Timestamp::constant(1_900_000_000, 0);
        assert_eq!(effective(Timestamp::UNIX_EPOCH, signed), signed);
        assert_eq!(
            effective(Timestamp::UNIX_EPOCH, Timestamp::UNIX_EPOCH),
            BUILD
        );
        assert_eq!(effective(signed, BUILD), signed);
    }

    #[test]
    fn the_controllers_clock_runs_on() {
        let noon = Timestamp::constant(1_900_000_000, 0);
        let later = noon + SignedDuration::from_secs(30);
        let age = Duration::from_secs(10);
        assert_eq!(remaining(noon, age, later), Duration::from_secs(20));
        assert_eq!(remaining(noon, age, noon), Duration::ZERO);
        assert_eq!(remaining(noon, Duration::MAX, later), Duration::ZERO);
    }
}
