//! Whether a client can still connect: what the newest document that it is known to hold accepts, beside what the controller holds. Who is
//! connected plays no part, and nothing is decided here.

use convoy_shared::{id::AnchorNumber, trust::Mode};
use jiff::{SignedDuration, Timestamp};
use roaring::RoaringBitmap;

use crate::{
    client::{Client, ClientNumber},
    state::Fleet,
};

/// What a client accepts of what the controller holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Standing {
    /// The certificate that is served.
    Sound,
    /// Not that one, but an older one: the bridge serves it, or its verification is still off.
    AtRisk,
    /// Nothing. It cannot connect until it joins again in place, and says nothing any more: this follows from the journal alone.
    CutOff,
}

impl Fleet {
    /// How a client stands at `now`, by the newest document that it is known to hold, and when it was last seen (`None`: not since it joined).
    #[must_use]
    pub fn standing(
        &self,
        client: &Client,
        last_seen: Option<Timestamp>,
        now: Timestamp,
    ) -> Standing {
        let served = |anchors: &[AnchorNumber]| {
            self.serving()
                .and_then(|serving| self.certificate(serving))
                .is_some_and(|serving| anchors.contains(&serving.anchor))
        };
        let stated = client.stated;
        if let Some(stated) = stated.filter(|stated| stated.revision.is_none()) {
            // What it holds is not known. What it accepted for its last session is.
            return if self.serving() == Some(stated.served) {
                Standing::Sound
            } else {
                Standing::AtRisk
            };
        }
        let anchors = self.anchors_of(client.revision());
        if served(anchors) {
            return Standing::Sound;
        }
        let vouched = self
            .certificates()
            .any(|(_, held)| !held.retired && anchors.contains(&held.anchor));
        if vouched || self.may_be_off(client, last_seen, now) {
            Standing::AtRisk
        } else {
            Standing::CutOff
        }
    }

    /// The clients of the roster that are cut off, by when each was last seen.
    #[must_use]
    pub fn cut_off(
        &self,
        last_seen: impl Fn(ClientNumber) -> Option<Timestamp>,
        now: Timestamp,
    ) -> RoaringBitmap {
        self.clients()
            .filter(|(number, client)| {
                self.roster().contains(*number)
                    && self.standing(client, last_seen(*number), now) == Standing::CutOff
            })
            .map(|(number, _)| number)
            .collect()
    }

    /// Whether a client may still accept any certificate: it was told to, and its lease began no later than it was last seen.
    fn may_be_off(&self, client: &Client, last_seen: Option<Timestamp>, now: Timestamp) -> bool {
        let Some(Mode::Off { lease }) = self.mode_of(client.revision()) else {
            return false;
        };
        let longest = self
            .root()
            .map_or(SignedDuration::ZERO, |root| root.max_off);
        last_seen
            .unwrap_or(client.joined_at)
            .checked_add(lease.min(longest))
            .is_ok_and(|end| now <= end)
    }
}
