//! What the journal says of settings and requests, and its fold. Nothing is decided here.

use std::collections::{BTreeMap, HashMap, VecDeque};

use convoy_shared::{
    enrolment::{RequestRecord, RequestState},
    id::{GroupName, Revision},
    settings::{Capacity, ScepPatch, ScepSettings},
};
use jiff::SignedDuration;

use super::{Audience, EnrolmentEvent, HISTORY};
use crate::{client::ClientNumber, recovery::JUMP};

/// Settings and requests.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Enrolment {
    revision: Revision,
    groups: BTreeMap<GroupName, Set>,
    clients: BTreeMap<ClientNumber, Set>,
    requests: HashMap<ClientNumber, Requests>,
    /// Each client's place among all that ever joined its group.
    places: HashMap<ClientNumber, u32>,
    joined: HashMap<GroupName, u32>,
}

#[derive(Clone, Debug, Default, PartialEq)]
struct Set {
    patch: ScepPatch,
    revision: Revision,
    challenge_stored: bool,
    ndes_stored: bool,
}

/// What is known of a client's requests.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Requests {
    /// Oldest first, at most [`HISTORY`].
    pub records: VecDeque<RequestRecord>,
    /// Revision of the SCEP document on its disk. 0: none.
    pub held: Revision,
    /// What it supports of SCEP.
    pub supports: Vec<String>,
}

impl Enrolment {
    /// The newest change of settings. 0: none.
    #[must_use]
    pub const fn revision(&self) -> Revision {
        self.revision
    }

    /// What is set for a group or a client.
    #[must_use]
    pub fn set(&self, audience: &Audience) -> ScepPatch {
        self.of(audience)
            .map(|set| set.patch.clone())
            .unwrap_or_default()
    }

    /// A group's settings that hold.
    #[must_use]
    pub fn group(&self, group: &GroupName) -> ScepSettings {
        let patch = self.groups.get(group).map(|set| &set.patch);
        patch.map_or_else(ScepSettings::default, |patch| {
            patch.over(&ScepSettings::default())
        })
    }

    /// A client's settings that hold.
    #[must_use]
    pub fn client(&self, client: ClientNumber, group: &GroupName) -> ScepSettings {
        let settings = self.group(group);
        match self.clients.get(&client) {
            Some(set) => set.patch.over(&settings),
            None => settings,
        }
    }

    /// Clients whose settings differ from their group's.
    pub fn differing(&self) -> impl Iterator<Item = (ClientNumber, &ScepPatch)> {
        self.clients
            .iter()
            .filter(|(_, set)| !set.patch.is_empty())
            .map(|(client, set)| (*client, &set.patch))
    }

    /// The newest change that concerns a client.
    #[must_use]
    pub fn revision_of(&self, client: ClientNumber, group: &GroupName) -> Revision {
        let of = |set: Option<&Set>| set.map_or(Revision(0), |set| set.revision);
        of(self.groups.get(group)).max(of(self.clients.get(&client)))
    }

    /// The newest change of a group's settings.
    #[must_use]
    pub fn revision_of_group(&self, group: &GroupName) -> Revision {
        self.groups
            .get(group)
            .map_or(Revision(0), |set| set.revision)
    }

    /// Whether the controller was given a secret with these settings: of NDES's page, or else a challenge.
    #[must_use]
    pub fn is_stored(&self, audience: &Audience, ndes: bool) -> bool {
        self.of(audience).is_some_and(|set| {
            if ndes {
                set.ndes_stored
            } else {
                set.challenge_stored
            }
        })
    }

    /// Whose secret a client uses: its own, else its group's, if there is one.
    #[must_use]
    pub fn secret_for(
        &self,
        client: ClientNumber,
        group: &GroupName,
        ndes: bool,
    ) -> Option<Audience> {
        [Audience::Client(client), Audience::Group(group.clone())]
            .into_iter()
            .find(|audience| self.is_stored(audience, ndes))
    }

    /// What is known of a client's requests.
    #[must_use]
    pub fn requests(&self, client: ClientNumber) -> Option<&Requests> {
        self.requests.get(&client)
    }

    /// A client's requests, oldest first: what its timer announced counts while the timer is on.
    pub fn standing(
        &self,
        client: ClientNumber,
        group: &GroupName,
    ) -> impl DoubleEndedIterator<Item = &RequestRecord> {
        let records = self
            .requests(client)
            .map(|requests| requests.records.iter());
        let timer = records.is_some() && self.client(client, group).timer;
        records
            .into_iter()
            .flatten()
            .filter(move |record| timer || record.state != RequestState::ToBeProcessed)
    }

    /// A client's slot: its place in its group, at the group's capacity, within the window. `None`: no capacity is given.
    #[must_use]
    pub fn slot(&self, client: ClientNumber, group: &GroupName) -> Option<SignedDuration> {
        slot(&self.client(client, group), self.place(client)?)
    }

    /// A client's place among all that ever joined its group, from 0.
    pub(super) fn place(&self, client: ClientNumber) -> Option<u32> {
        self.places.get(&client).copied()
    }

    /// What is set for one client, if anything.
    pub(super) fn own(&self, client: ClientNumber) -> Option<&ScepPatch> {
        self.clients
            .get(&client)
            .map(|set| &set.patch)
            .filter(|patch| !patch.is_empty())
    }

    fn of(&self, audience: &Audience) -> Option<&Set> {
        match audience {
            Audience::Group(group) => self.groups.get(group),
            Audience::Client(client) => self.clients.get(client),
        }
    }

    fn of_mut(&mut self, audience: &Audience) -> &mut Set {
        match audience {
            Audience::Group(group) => self.groups.entry(group.clone()).or_default(),
            Audience::Client(client) => self.clients.entry(*client).or_default(),
        }
    }

    pub(crate) fn fold(&mut self, event: &EnrolmentEvent) {
        match event {
            EnrolmentEvent::SettingsSet {
                audience,
                revision,
                patch,
            } => {
                self.revision = self.revision.max(*revision);
                let set = self.of_mut(audience);
                set.patch = (**patch).clone();
                set.revision = *revision;
            }
            EnrolmentEvent::SecretStored {
                audience,
                ndes,
                present,
            } => {
                let set = self.of_mut(audience);
                if *ndes {
                    set.ndes_stored = *present;
                } else {
                    set.challenge_stored = *present;
                }
            }
            EnrolmentEvent::Reported { client, record } => {
                let records = &mut self.requests.entry(*client).or_default().records;
                match records
                    .iter_mut()
                    .find(|known| known.attempt == record.attempt)
                {
                    Some(known) => *known = record.clone(),
                    None => records.push_back(record.clone()),
                }
                while records.len() > HISTORY {
                    records.pop_front();
                }
            }
            EnrolmentEvent::Stated {
                client,
                held,
                supports,
            } => {
                let requests = self.requests.entry(*client).or_default();
                requests.held = *held;
                requests.supports.clone_from(supports);
            }
        }
    }

    /// A client has joined.
    pub(crate) fn joined(&mut self, client: ClientNumber, group: &GroupName) {
        let next = self.joined.entry(group.clone()).or_default();
        self.places.insert(client, *next);
        *next = next.saturating_add(1);
    }

    /// The journal was older than the fleet: devices may hold later documents, and must take what is known here in their place.
    pub(crate) fn recovered(&mut self) {
        let sets = self.groups.values_mut().chain(self.clients.values_mut());
        for set in sets.filter(|set| set.revision > Revision(0)) {
            set.revision.0 = set.revision.0.saturating_add(JUMP);
        }
        self.revision.0 = self.revision.0.saturating_add(JUMP);
    }
}

/// The slot of a place: requests are evenly spaced, and begin anew where the window ends.
pub(super) fn slot(settings: &ScepSettings, place: u32) -> Option<SignedDuration> {
    let rate = rate(settings)?;
    let within = match slots(settings) {
        Some(slots) => u64::from(place) % slots,
        None => u64::from(place),
    };
    let nanos = u128::from(within) * SPACING / u128::from(rate);
    let (seconds, nanos) = (nanos / 1_000_000_000, nanos % 1_000_000_000);
    // 2³² places, 1000 seconds each, are far from the largest length of time.
    Some(SignedDuration::new(
        i64::try_from(seconds).unwrap_or(i64::MAX),
        i32::try_from(nanos).unwrap_or_default(),
    ))
}

/// How many slots the window has, at least one. `None`: as many as it takes.
pub(super) fn slots(settings: &ScepSettings) -> Option<u64> {
    let rate = rate(settings)?;
    let window = u128::try_from(settings.window.0.as_nanos()).ok()?;
    let slots = window.saturating_mul(u128::from(rate)) / SPACING;
    (window > 0).then(|| u64::try_from(slots).unwrap_or(u64::MAX).max(1))
}

/// Nanoseconds between two requests, times the rate per 1000 seconds.
pub(super) const SPACING: u128 = 1_000_000_000_000;

/// Requests per 1000 seconds. Never 0.
fn rate(settings: &ScepSettings) -> Option<u32> {
    match settings.capacity {
        Capacity::Off => None,
        Capacity::PerThousandSeconds(rate) => Some(rate.max(1)),
    }
}
