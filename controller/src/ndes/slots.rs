//! Which challenges are outstanding, for whom and until when. No waiting and no network; the time is an argument.

use std::{collections::BTreeMap, time::Duration};

use convoy_shared::id::ClientId;
use tokio::time::Instant;
use zeroize::Zeroizing;

/// Longer than any challenge is good: keeps the clock's arithmetic in range.
const LONGEST: Duration = Duration::from_secs(366 * 86_400);

/// The outstanding challenges of one NDES.
pub(super) struct Slots {
    cache: usize,
    next: u64,
    outstanding: BTreeMap<u64, Slot>,
}

struct Slot {
    client: ClientId,
    challenge: Zeroizing<String>,
    /// The last instant at which it is handed out: what comes later might be too late at NDES.
    fresh_until: Instant,
    /// When NDES has certainly forgotten it.
    gone_at: Instant,
}

impl Slots {
    pub(super) const fn new(cache: usize) -> Self {
        Self {
            cache,
            next: 1,
            outstanding: BTreeMap::new(),
        }
    }

    /// Frees the slots of those that NDES has forgotten.
    pub(super) fn expire(&mut self, now: Instant) {
        self.outstanding.retain(|_, slot| now < slot.gone_at);
    }

    /// The most that can be outstanding.
    pub(super) const fn cache(&self) -> usize {
        self.cache
    }

    pub(super) fn count(&self) -> usize {
        self.outstanding.len()
    }

    /// When the next slot becomes free by itself. `None`: one is.
    pub(super) fn free_at(&self) -> Option<Instant> {
        if self.outstanding.len() < self.cache {
            return None;
        }
        self.outstanding.values().map(|slot| slot.gone_at).min()
    }

    /// The client's challenge, if it has one that can still be handed out.
    pub(super) fn fresh(&self, client: ClientId, now: Instant) -> Option<(u64, Zeroizing<String>)> {
        self.outstanding
            .iter()
            .rev()
            .find(|(_, slot)| slot.client == client && now <= slot.fresh_until)
            .map(|(number, slot)| (*number, slot.challenge.clone()))
    }

    /// The client's slot; of several, the newest.
    pub(super) fn newest(&self, client: ClientId) -> Option<u64> {
        self.outstanding
            .iter()
            .rev()
            .find(|(_, slot)| slot.client == client)
            .map(|(number, _)| *number)
    }

    /// Notes a challenge that NDES made between the two instants. `None`: it is outstanding already, so it cannot be a new one.
    pub(super) fn put(
        &mut self,
        client: ClientId,
        challenge: &Zeroizing<String>,
        lifetime: Duration,
        asked_at: Instant,
        answered_at: Instant,
    ) -> Option<u64> {
        self.expire(answered_at);
        if self.outstanding.values().any(|s| s.challenge == *challenge) {
            return None;
        }
        let lifetime = lifetime.min(LONGEST);
        let number = self.next;
        self.next += 1;
        let slot = Slot {
            client,
            challenge: challenge.clone(),
            // The margin is for the device's request: 3 minutes of 60.
            fresh_until: asked_at + (lifetime - lifetime / 20),
            gone_at: answered_at + lifetime,
        };
        self.outstanding.insert(number, slot);
        Some(number)
    }

    /// Whether there was such a slot.
    pub(super) fn free(&mut self, number: u64) -> bool {
        self.outstanding.remove(&number).is_some()
    }
}
