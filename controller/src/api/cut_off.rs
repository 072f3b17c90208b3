//! Clients that are cut off, and what is said of them beside a rotation. Who is cut off follows from the state; whoever has a session is not.

use convoy_fleet::{event::Purpose, rotation::Rotation, state::Fleet};
use convoy_proto::{time::timestamp, v1};
use jiff::Timestamp;
use roaring::RoaringBitmap;

use super::{
    reason::Seen,
    view::{NAMED, last_seen},
};

/// The clients of the roster that are cut off. One that has a session is brought up to date over it.
pub(super) fn cut_off(fleet: &Fleet, seen: Seen<'_>, now: Timestamp) -> RoaringBitmap {
    fleet.cut_off(|client| seen.sessions.last_seen(client), now) - seen.sessions.clients()
}

pub(super) fn named(
    fleet: &Fleet,
    cut_off: &RoaringBitmap,
    seen: Seen<'_>,
) -> Vec<v1::CutOffClient> {
    cut_off
        .iter()
        .take(NAMED)
        .filter_map(|number| {
            let client = fleet.client(number)?;
            Some(v1::CutOffClient {
                id: client.id.to_string(),
                name: client.name.clone(),
                group: client.group.to_string(),
                last_seen: Some(timestamp(last_seen(client, number, seen.sessions))),
            })
        })
        .collect()
}

/// What a rotation that has completed leaves to do.
pub(super) fn left_to_do(fleet: &Fleet, rotation: &Rotation, cut_off: &RoaringBitmap) -> String {
    let behind: RoaringBitmap = fleet
        .clients()
        .filter(|(number, client)| {
            fleet.roster().contains(*number)
                && fleet
                    .group(&client.group)
                    .is_some_and(|group| group.trust.purpose == Purpose::Enforce(rotation.id))
                && !rotation.confirmed.contains(*number)
        })
        .map(|(number, _)| number)
        .collect();
    let bridged = (&behind - cut_off).len();
    let lost = cut_off.len();
    let mut told = Vec::new();
    if bridged > 0 {
        told.push(format!(
            "Not confirmed on the new certificate yet: {bridged}. The old certificate is still served to those that trust only that one, until `convoy cert retire {}`.",
            rotation.from
        ));
    }
    if lost > 0 {
        told.push(format!(
            "Cut off, and back only when they join again in place (`convoy-agent join TOKEN` in the client's own state folder): {lost}."
        ));
    }
    if told.is_empty() {
        told.push(format!(
            "Every client is confirmed on the new certificate. `convoy cert retire {}` ends the old one.",
            rotation.from
        ));
    }
    told.join(" ")
}
