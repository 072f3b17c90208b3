//! The requests of one SCEP server, and what is not as it should be with them. Which devices send them is decided in [`super::plan`].

use std::collections::{BTreeMap, BTreeSet, HashMap};

use convoy_shared::{
    id::GroupName,
    settings::{Capacity, ScepSettings, Span},
};
use jiff::{SignedDuration, Timestamp};

use super::{Load, count, curve::Requests};
use crate::enrolment::state::{SPACING, slots};

/// More devices than these at one instant are worth a word.
const CROWD: u32 = 10;
/// The longest window that settings can have.
const LONGEST: SignedDuration = SignedDuration::from_hours(366 * 24);

/// What goes to one server.
#[derive(Default)]
pub(super) struct Server<'a> {
    devices: u32,
    pools: Vec<Pool<'a>>,
    known: HashMap<(&'a GroupName, Capacity, Span), usize>,
    adjusted: BTreeMap<Timestamp, u32>,
    together: BTreeMap<Timestamp, u32>,
}

/// Devices of one group that share a capacity and a window.
struct Pool<'a> {
    group: &'a GroupName,
    settings: ScepSettings,
    places: Vec<u32>,
    times: Vec<Timestamp>,
}

impl<'a> Server<'a> {
    /// A device with a slot.
    pub(super) fn slotted(
        &mut self,
        group: &'a GroupName,
        settings: &ScepSettings,
        place: u32,
        planned: Timestamp,
    ) {
        self.devices += 1;
        let next = self.pools.len();
        let key = (group, settings.capacity, settings.window);
        let index = *self.known.entry(key).or_insert(next);
        if index == next {
            self.pools.push(Pool {
                group,
                settings: settings.clone(),
                places: vec![],
                times: vec![],
            });
        }
        if let Some(pool) = self.pools.get_mut(index) {
            pool.places.push(place);
            pool.times.push(planned);
        }
    }

    /// A device that chance moves by 1 to 600 seconds from this start.
    pub(super) fn adjusted(&mut self, start: Timestamp) {
        self.devices += 1;
        *self.adjusted.entry(start).or_default() += 1;
    }

    /// A device without either.
    pub(super) fn together(&mut self, start: Timestamp) {
        self.devices += 1;
        *self.together.entry(start).or_default() += 1;
    }

    /// Its load; `None` if nobody asks it.
    pub(super) fn load(mut self, name: &str, warnings: &mut Vec<String>) -> Option<Load> {
        for pool in &mut self.pools {
            warnings.extend(pool.crowded());
        }
        warnings.extend(self.contended(name));
        for (start, devices) in &self.together {
            if *devices > CROWD {
                warnings.push(format!(
                    "{devices} devices ask {name} at the same instant, {start}: set a capacity, so that each has a slot, or auto_adjust"
                ));
            }
        }
        let slots = self.pools.iter().flat_map(|pool| &pool.times);
        let requests = Requests {
            certain: slots
                .map(|time| (*time, 1))
                .chain(self.together.iter().map(|(time, number)| (*time, *number)))
                .collect(),
            adjusted: self.adjusted.into_iter().collect(),
        };
        let (first, last) = requests.bounds()?;
        let (step, steps) = requests.curve(first, last);
        Some(Load {
            server: name.to_owned(),
            devices: self.devices,
            first,
            last,
            peak_per_second: requests.peak(),
            capacity: capacities(&self.pools),
            step,
            steps,
        })
    }

    /// Whether several groups, each within its capacity, meet in some second.
    fn contended(&self, name: &str) -> Option<String> {
        if self.pools.len() < 2 {
            return None;
        }
        let mut seconds: Vec<(i64, usize)> = self
            .pools
            .iter()
            .enumerate()
            .flat_map(|(index, pool)| pool.times.iter().map(move |t| (second(*t), index)))
            .collect();
        seconds.sort_unstable();
        let (number, pools) = seconds
            .chunk_by(|(one, _), (other, _)| one == other)
            .filter_map(|requests| {
                let pools: BTreeSet<usize> = requests.iter().map(|(_, pool)| *pool).collect();
                let most = pools.iter().filter_map(|pool| self.pools.get(*pool));
                let most = most.map(|pool| per_second(&pool.settings)).max()?;
                let number = u32::try_from(requests.len()).unwrap_or(u32::MAX);
                (pools.len() > 1 && number > most).then_some((number, pools))
            })
            .max_by_key(|(number, _)| *number)?;
        let pools: Vec<&Pool<'_>> = pools
            .iter()
            .filter_map(|pool| self.pools.get(*pool))
            .collect();
        let groups: BTreeSet<String> = pools.iter().map(|pool| pool.group.to_string()).collect();
        let groups: Vec<String> = groups.into_iter().collect();
        let capacities = capacities(pools.iter().copied());
        Some(format!(
            "{name} gets up to {number} requests in one second from {} together, more than any capacity given (requests per second: {capacities}): let them start one after the other, or share the capacity out",
            groups.join(", ")
        ))
    }
}

impl Pool<'_> {
    /// Whether several of its devices have the same slot, because the window begins anew.
    fn crowded(&mut self) -> Option<String> {
        let slots = slots(&self.settings)?;
        let needed = u64::from(self.places.iter().max()?.checked_add(1)?);
        if needed <= slots {
            return None;
        }
        let mut taken: Vec<u64> = self.places.iter().map(|p| u64::from(*p) % slots).collect();
        taken.sort_unstable();
        let most = taken.chunk_by(|a, b| a == b).map(<[u64]>::len).max()?;
        if most < 2 {
            return None;
        }
        let Capacity::PerThousandSeconds(rate) = self.settings.capacity else {
            return None;
        };
        let window = self.settings.window;
        // Whole seconds, rounded up.
        let seconds = (u128::from(needed) * SPACING)
            .div_ceil(u128::from(rate.max(1)))
            .div_ceil(1_000_000_000);
        let longer = i64::try_from(seconds)
            .ok()
            .map(SignedDuration::from_secs)
            .filter(|window| *window <= LONGEST)
            .map(|longer| format!("a window of {}", Span(longer)));
        let faster = u128::try_from(window.0.as_nanos())
            .ok()
            .filter(|window| *window > 0)
            .and_then(|window| u32::try_from((u128::from(needed) * SPACING).div_ceil(window)).ok())
            .map(|rate| format!("a capacity of {}", Capacity::PerThousandSeconds(rate)));
        let remedies: Vec<String> = longer.into_iter().chain(faster).collect();
        let devices = u32::try_from(self.places.len()).unwrap_or(u32::MAX);
        Some(format!(
            "group {}: the window of {window} has {slots} slots at a capacity of {}, and {} need {needed} (decommissioned ones keep theirs): up to {most} ask at one instant; {} would do",
            self.group,
            self.settings.capacity,
            count(devices, "device"),
            remedies.join(" or "),
        ))
    }
}

/// The most slots in one second.
fn per_second(settings: &ScepSettings) -> u32 {
    match settings.capacity {
        Capacity::Off => 0,
        Capacity::PerThousandSeconds(rate) => rate.div_ceil(1000).max(1),
    }
}

/// The capacities given, each once, the smallest first.
fn capacities<'p, 'a: 'p>(pools: impl IntoIterator<Item = &'p Pool<'a>>) -> String {
    let rates: BTreeSet<u32> = pools
        .into_iter()
        .filter_map(|pool| match pool.settings.capacity {
            Capacity::Off => None,
            Capacity::PerThousandSeconds(rate) => Some(rate),
        })
        .collect();
    let texts: Vec<String> = rates
        .into_iter()
        .map(|rate| Capacity::PerThousandSeconds(rate).to_string())
        .collect();
    if texts.is_empty() {
        Capacity::Off.to_string()
    } else {
        texts.join(", ")
    }
}

/// The second that an instant lies in.
pub(super) fn second(time: Timestamp) -> i64 {
    let whole = time.as_second();
    if time.subsec_nanosecond() < 0 {
        whole - 1
    } else {
        whole
    }
}
