//! What is decided about the controller's addresses. That the controller is at a new one was proved at the door.

use convoy_shared::address::{Address, Addresses, Listed};
use jiff::Timestamp;
use roaring::RoaringBitmap;

use super::rotations::everyone;
use crate::{
    event::{Event, Publication},
    refusal::Refusal,
    state::{Fleet, names_with},
};

/// So many clients are named in a refusal.
const NAMED: usize = 10;

pub(super) fn set(
    fleet: &Fleet,
    addresses: Addresses,
    force: bool,
    now: Timestamp,
) -> Result<Vec<Event>, Refusal> {
    let present = fleet.addresses().ok_or(Refusal::NotFounded)?;
    if *present == addresses {
        return Ok(vec![]);
    }
    // The gates ask for a probe over each: what they ask for does not change while they are shut.
    if let Some(running) = fleet.running() {
        return Err(Refusal::RotationRunning {
            running: running.id,
            phase: running.phase,
        });
    }
    let going: Vec<Address> = present
        .as_slice()
        .iter()
        .map(|listed| &listed.address)
        .filter(|address| !addresses.contains(address))
        .cloned()
        .collect();
    let needing = needing(fleet, &addresses);
    if !going.is_empty() && !needing.is_empty() && !force {
        return Err(Refusal::AddressNeeded {
            going,
            clients: names(fleet, &needing),
            more: needing
                .len()
                .saturating_sub(u64::try_from(NAMED).unwrap_or(u64::MAX)),
        });
    }
    let (mode, anchors, purpose) = fleet.template().ok_or(Refusal::NotFounded)?;
    let published = everyone(fleet, now, mode, anchors, purpose).map(|event| match event {
        Event::TrustPublished(publication) => Event::TrustPublished(Publication {
            server_names: names_with(fleet.server_names(), addresses.hosts()),
            addresses: addresses.clone(),
            ..publication
        }),
        other => other,
    });
    let mut events = vec![Event::AddressesSet { addresses }];
    events.extend(published);
    Ok(events)
}

pub(super) fn remove(
    fleet: &Fleet,
    address: &Address,
    force: bool,
    now: Timestamp,
) -> Result<Vec<Event>, Refusal> {
    let present = fleet.addresses().ok_or(Refusal::NotFounded)?;
    if !present.contains(address) {
        return Err(Refusal::NoSuchAddress(address.clone()));
    }
    let rest = present
        .as_slice()
        .iter()
        .filter(|listed| listed.address != *address)
        .map(|listed| Listed {
            address: listed.address.clone(),
            // Where a client has held a session, the controller is.
            ahead: listed.ahead
                && fleet
                    .came_by(&listed.address)
                    .is_none_or(RoaringBitmap::is_empty),
        })
        .collect();
    let rest = Addresses::new(rest).map_err(|_| Refusal::LastAddress(address.clone()))?;
    set(fleet, rest, force, now)
}

/// The clients of the roster that have held no session over any of these addresses that is listed already.
#[must_use]
pub fn needing(fleet: &Fleet, staying: &Addresses) -> RoaringBitmap {
    let mut needing = fleet.roster().clone();
    for listed in staying.as_slice() {
        if let Some(clients) = fleet.came_by(&listed.address) {
            needing -= clients;
        }
    }
    needing
}

fn names(fleet: &Fleet, clients: &RoaringBitmap) -> Vec<String> {
    clients
        .iter()
        .filter_map(|number| fleet.client(number))
        .take(NAMED)
        .map(|client| client.name.clone())
        .collect()
}
