//! When the devices will load their SCEP servers. An estimate for people: nothing is decided by it.

mod curve;
mod server;

use std::{
    borrow::Cow,
    collections::{BTreeMap, HashMap},
};

use convoy_shared::{
    enrolment::RequestState,
    id::GroupName,
    settings::{RequestStart, ScepPatch, ScepServer, ScepSettings, with_port},
};
use jiff::{SignedDuration, Timestamp};

use self::server::Server;
use super::{Audience, Enrolment, state::slot};
use crate::{client::ClientNumber, state::Fleet};

/// The load to come.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Plan {
    /// One per SCEP server.
    pub servers: Vec<Load>,
    /// What is not as it should be, for people.
    pub warnings: Vec<String>,
}

/// The load of one SCEP server.
#[derive(Clone, Debug, PartialEq)]
pub struct Load {
    /// As in the settings, with the port in its place: "built-in" or a URL.
    pub server: String,
    /// How many devices.
    pub devices: u32,
    /// The first request.
    pub first: Timestamp,
    /// The last one of the first round.
    pub last: Timestamp,
    /// The most in any one second; where chance decides, the expected number, rounded up.
    pub peak_per_second: u32,
    /// Capacities given, as text; "off" if none.
    pub capacity: String,
    /// Length of a step.
    pub step: SignedDuration,
    /// The curve, from `first` on. At most [`STEPS`].
    pub steps: Vec<Step>,
}

/// One step of the curve.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Step {
    /// Requests in it; expected numbers where chance decides.
    pub requests: f64,
}

/// The most steps of a curve.
pub const STEPS: u32 = 120;

/// The first round of the roster's requests, of one group or of all. `with`: as if this were set for the group besides what is.
#[must_use]
pub fn plan(
    fleet: &Fleet,
    only: Option<&GroupName>,
    with: Option<&ScepPatch>,
    now: Timestamp,
) -> Plan {
    let enrolment = fleet.enrolment();
    let mut groups = HashMap::<&GroupName, Group>::new();
    let mut servers = BTreeMap::<String, Server<'_>>::new();
    let (mut off, mut nowhere, mut late) = (0, 0, 0);
    // By joining order: a plan of the same fleet is the same.
    for (number, client) in fleet.clients() {
        if !fleet.roster().contains(number) || only.is_some_and(|only| client.group != *only) {
            continue;
        }
        let with = with.filter(|_| only.is_some());
        let group = groups
            .entry(&client.group)
            .or_insert_with(|| Group::new(enrolment, &client.group, with));
        let own;
        let (settings, server) = match enrolment.own(number) {
            Some(patch) => {
                own = patch.over(&group.settings);
                (&own, Cow::Owned(server_text(&own)))
            }
            None => (&group.settings, Cow::Borrowed(group.server.as_str())),
        };
        if !settings.timer {
            off += 1;
            continue;
        }
        if settings.server == ScepServer::None {
            nowhere += 1;
            continue;
        }
        let start = match settings.request_start {
            RequestStart::AtOnce => now,
            RequestStart::At(start) => start,
        };
        let place = enrolment.place(number).unwrap_or_default();
        let slot = slot(settings, place);
        let planned = start
            .checked_add(slot.unwrap_or_default())
            .unwrap_or(Timestamp::MAX);
        if planned < now && !has_asked(enrolment, number, planned) {
            late += 1;
        }
        if !servers.contains_key(&*server) {
            servers.insert(server.clone().into_owned(), Server::default());
        }
        let Some(server) = servers.get_mut(&*server) else {
            continue;
        };
        if slot.is_some() {
            server.slotted(&client.group, settings, place, planned);
        } else if settings.auto_adjust {
            server.adjusted(planned);
        } else {
            server.together(planned);
        }
    }
    let mut warnings = vec![];
    let servers = servers
        .into_iter()
        .filter_map(|(name, server)| server.load(&name, &mut warnings))
        .collect();
    tell(&mut warnings, off, |devices, one| {
        let its = if one { "its timer" } else { "their timer" };
        let are = if one { "is" } else { "are" };
        let have = if one { "has" } else { "have" };
        format!("{devices} {have} {its} off and {are} not in the plan")
    });
    tell(&mut warnings, nowhere, |devices, one| {
        let have = if one { "has its" } else { "have their" };
        format!("{devices} {have} timer on and no SCEP server: set server to built-in or a URL")
    });
    tell(&mut warnings, late, |devices, one| {
        let have = if one { "has" } else { "have" };
        format!(
            "{devices} {have} a start in the past and no request since: each comes when it can, and not as planned"
        )
    });
    Plan { servers, warnings }
}

fn tell(warnings: &mut Vec<String>, devices: u32, text: impl Fn(&str, bool) -> String) {
    if devices > 0 {
        warnings.push(text(&count(devices, "device"), devices == 1));
    }
}

/// "1 device", "2 devices".
fn count(number: u32, thing: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {thing}{plural}")
}

fn has_asked(enrolment: &Enrolment, client: ClientNumber, planned: Timestamp) -> bool {
    enrolment.requests(client).is_some_and(|requests| {
        requests.records.iter().any(|record| {
            record.requested_at >= planned && record.state != RequestState::ToBeProcessed
        })
    })
}

/// What a group's devices have in common.
struct Group {
    settings: ScepSettings,
    server: String,
}

impl Group {
    fn new(enrolment: &Enrolment, name: &GroupName, with: Option<&ScepPatch>) -> Self {
        let set = enrolment.set(&Audience::Group(name.clone()));
        let set = with.map_or_else(|| set.clone(), |with| with.after(&set));
        let settings = set.over(&ScepSettings::default());
        Self {
            server: server_text(&settings),
            settings,
        }
    }
}

/// The server's text, with the port in its URL. The built-in one has a port of its own.
fn server_text(settings: &ScepSettings) -> String {
    match &settings.server {
        ScepServer::Url(url) => with_port(url, settings.port),
        server => server.to_string(),
    }
}
