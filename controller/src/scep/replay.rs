//! The nonces that were seen lately: two messages with one senderNonce are a forgery. The same message again is a lost answer.

use std::collections::{HashMap, VecDeque};

use convoy_shared::id::Digest;
use jiff::{SignedDuration, Timestamp};

/// A nonce is remembered for so long,
const MEMORY: SignedDuration = SignedDuration::from_hours(1);
/// and no more than so many.
const MOST: usize = 100_000;

/// Nonces and the messages that carried them.
#[derive(Default)]
pub(super) struct Replays {
    seen: HashMap<Digest, Digest>,
    order: VecDeque<(Timestamp, Digest)>,
}

impl Replays {
    /// Takes in a nonce. Whether another message carried it before.
    pub(super) fn is_reused(&mut self, nonce: &[u8], message: Digest, now: Timestamp) -> bool {
        while self.order.len() >= MOST
            || self
                .order
                .front()
                .is_some_and(|(at, _)| now.duration_since(*at) > MEMORY)
        {
            if let Some((_, oldest)) = self.order.pop_front() {
                self.seen.remove(&oldest);
            }
        }
        let nonce = Digest::of(nonce);
        match self.seen.get(&nonce) {
            Some(known) => *known != message,
            None => {
                self.seen.insert(nonce, message);
                self.order.push_back((now, nonce));
                false
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_nonce_belongs_to_one_message() {
        let mut replays = Replays::default();
        let now = Timestamp::constant(1_800_000_000, 0);
        let (one, other) = (Digest::of(b"one"), Digest::of(b"other"));
        assert!(!replays.is_reused(b"n", one, now));
        assert!(!replays.is_reused(b"n", one, now));
        assert!(replays.is_reused(b"n", other, now));
        assert!(!replays.is_reused(b"m", other, now));
        let later = now + MEMORY + SignedDuration::from_secs(1);
        assert!(!replays.is_reused(b"n", other, later));
    }
}
