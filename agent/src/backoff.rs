//! How long to wait before the next connection. Nobody waits here, and no dice are thrown.

use std::time::Duration;

/// Before the second attempt, at most.
pub const BASE: Duration = Duration::from_millis(200);
/// Before any attempt, at most.
pub const CAP: Duration = Duration::from_secs(30);
/// After an orderly end, at most.
pub const PROMPT: Duration = Duration::from_millis(100);
/// After the controller has said that it does not want this client, at most; at least half of it.
pub const UNWANTED: Duration = Duration::from_secs(60);
/// A session that lasted so long shows that all is well.
pub const SOUND: Duration = Duration::from_secs(10);
/// Orderly ends of short sessions in a row, before they are taken for a fault.
const PATIENCE: u32 = 20;

/// How a connection, or an attempt at one, ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// In order: asked for by either side.
    Orderly,
    /// By a fault.
    Fault,
    /// The controller does not want this client.
    Unwanted,
}

/// Exponential, with full jitter.
#[derive(Clone, Debug, Default)]
pub struct Backoff {
    faults: u32,
    prompts: u32,
}

impl Backoff {
    /// How long to wait now. `lasted` is how long a proven session stood, if there was one; `fraction` is random, in 0..1.
    pub fn next(&mut self, ended: Ended, lasted: Option<Duration>, fraction: f64) -> Duration {
        match lasted {
            Some(lasted) if lasted >= SOUND => *self = Self::default(),
            // A short session is a good sign, but a controller that breaks each one must not be stormed.
            Some(_) => self.faults = self.faults.min(3),
            None => self.prompts = 0,
        }
        match ended {
            Ended::Unwanted => UNWANTED / 2 + (UNWANTED / 2).mul_f64(fraction),
            Ended::Orderly if self.prompts < PATIENCE => {
                self.prompts += 1;
                PROMPT.mul_f64(fraction)
            }
            Ended::Orderly | Ended::Fault => {
                let ceiling = BASE.saturating_mul(1 << self.faults.min(10)).min(CAP);
                self.faults = self.faults.saturating_add(1);
                ceiling.mul_f64(fraction)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_double_the_wait_up_to_the_cap() {
        let mut backoff = Backoff::default();
        let waits: Vec<_> = (0..10)
            .map(|_| backoff.next(Ended::Fault, None, 1.0))
            .collect();
        assert_eq!(waits[0], BASE);
        assert_eq!(waits[1], BASE * 2);
        assert_eq!(waits[9], CAP);
        assert_eq!(backoff.next(Ended::Fault, Some(SOUND), 1.0), BASE);
        assert_eq!(
            Backoff::default().next(Ended::Fault, None, 0.0),
            Duration::ZERO
        );
    }

    #[test]
    fn an_orderly_end_brings_the_agent_back_at_once_but_not_for_ever() {
        let mut backoff = Backoff::default();
        let short = Some(Duration::ZERO);
        for _ in 0..PATIENCE {
            assert!(backoff.next(Ended::Orderly, short, 1.0) <= PROMPT);
        }
        assert_eq!(backoff.next(Ended::Orderly, short, 1.0), BASE);
        assert_eq!(backoff.next(Ended::Orderly, short, 1.0), BASE * 2);
        assert!(backoff.next(Ended::Orderly, Some(SOUND), 1.0) <= PROMPT);
    }

    #[test]
    fn an_unwanted_client_asks_seldom() {
        let mut backoff = Backoff::default();
        assert_eq!(backoff.next(Ended::Unwanted, None, 0.0), UNWANTED / 2);
        assert_eq!(backoff.next(Ended::Unwanted, None, 1.0), UNWANTED);
    }
}
