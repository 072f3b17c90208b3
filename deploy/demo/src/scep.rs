//! The last act: every device obtains a certificate from the controller's built-in SCEP server, each in the slot that the controller gives it. What the
//! devices and the CA do is theirs; here it is asked for, followed and summed up.

pub(crate) mod load;
pub(crate) mod standing;

use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};

use crate::{machine::Machine, patience::Patience, screen::Screen, story::explained};
use load::{Load, peak};
use standing::{Counts, Standing, Unserved};

/// Between two looks at whether everybody lives, while nothing is heard.
const LOOK: Duration = Duration::from_millis(150);
/// The group of all clients.
const GROUP: &str = "default";
/// How long the requests of a fleet take, if the server may get so many per second.
const SPREAD_SECONDS: u16 = 5;
const MOST_PER_SECOND: u16 = 20;

/// What came of it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Enrolment {
    pub(crate) clients: u16,
    pub(crate) counts: Counts,
    /// Who has no certificate, and why.
    pub(crate) unserved: Vec<Unserved>,
    /// Certificates that the CA has recorded.
    pub(crate) issued: usize,
    /// As it was planned.
    pub(crate) planned: Load,
    /// The most certificates that the CA issued in one second.
    pub(crate) peak: usize,
    /// From the timer's start to the last device.
    pub(crate) took: Duration,
}

impl Enrolment {
    /// Devices that have a certificate that the CA knows of.
    pub(crate) fn successful(&self) -> usize {
        usize::from(self.clients).saturating_sub(self.failed())
    }

    pub(crate) fn failed(&self) -> usize {
        self.unserved.len()
    }
}

/// Has all devices enrolled. Who is not done within the limit has failed; nobody else is held up by that.
pub(crate) fn enrol(
    clients: u16,
    limit: Duration,
    machine: &mut Machine,
    screen: &mut Screen,
    patience: &Patience,
) -> anyhow::Result<Enrolment> {
    let capacity = capacity(clients).to_string();
    let settings = settings(&capacity);
    let plan = machine.operator.plan(GROUP, &settings)?;
    for warning in &plan.warnings {
        screen.note(&format!("warning: {warning}"));
    }
    let mut servers = plan.servers.into_iter();
    let planned = servers.next().context("no SCEP server is planned for")?;
    ensure!(
        planned.devices == u32::from(clients),
        "requests of {} of {clients} devices are planned",
        planned.devices
    );
    for line in planned.drawn() {
        screen.note(&line);
    }

    let mut told = machine.operator.watch_scep(GROUP)?;
    let set: Vec<&str> = ["scep", "settings", "set", "--group", GROUP]
        .into_iter()
        .chain(settings)
        .collect();
    machine.operator.convoy(&set)?;
    machine
        .operator
        .convoy(&["scep", "timer", "on", "--group", GROUP])?;
    screen.note("turned the auto-request timer on");

    let began = Instant::now();
    let mut standing = Standing::of(clients);
    while !standing.is_settled() && began.elapsed() < limit {
        machine.all_live()?;
        patience
            .pause(Duration::ZERO)
            .map_err(|halt| explained(halt, || standing.to_string()))?;
        let mut news = told.next(LOOK)?;
        while let Some(line) = news {
            let device = serde_json::from_str(&line)
                .context("`convoy scep status --watch` printed JSON of another shape")?;
            standing.hear(device);
            news = told.next(Duration::ZERO)?;
        }
        screen.enrolment(standing.counts(), &standing.waiting());
    }
    let took = began.elapsed();
    let issued = machine.operator.issued()?;
    Ok(Enrolment {
        clients,
        counts: standing.counts(),
        unserved: standing.unserved(&issued),
        issued: issued.len(),
        planned,
        peak: peak(&issued),
        took,
    })
}

/// Requests per second that the server is said to take: few enough for each device's slot to be seen, and no more than one machine can play.
fn capacity(clients: u16) -> u16 {
    clients.div_ceil(SPREAD_SECONDS).clamp(1, MOST_PER_SECOND)
}

/// What is set for the group.
fn settings(capacity: &str) -> [&str; 20] {
    [
        "--server",
        "built-in",
        "--challenge",
        "built-in",
        "--key-use",
        "None",
        "--common-name",
        "{fqdn}",
        "--organization",
        "Convoy demo",
        "--capacity",
        capacity,
        "--request-start",
        "at-once",
        // What fails is tried again soon: the demo does not last for ever.
        "--timeout",
        "10s",
        "--polls",
        "5",
        "--poll-interval",
        "2s",
    ]
}

#[cfg(test)]
pub(crate) mod examples {
    use super::*;

    /// All enrolled, but those.
    pub(crate) fn enrolment(clients: u16, unserved: Vec<Unserved>) -> Enrolment {
        let error = u16::try_from(unserved.len()).unwrap();
        Enrolment {
            clients,
            counts: Counts {
                of: clients,
                to_be_processed: 0,
                processing: 0,
                error,
                successful: clients - error,
            },
            unserved,
            issued: usize::from(clients - error),
            planned: load::examples::plan().servers.remove(0),
            peak: 3,
            took: Duration::from_millis(2_600),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fleet_is_spread_over_seconds_up_to_a_rate_that_one_machine_can_play() {
        for (clients, per_second) in [(1, 1), (5, 1), (6, 2), (25, 5), (100, 20), (500, 20)] {
            assert_eq!(capacity(clients), per_second, "{clients} clients");
        }
    }

    #[test]
    fn settings_are_pairs_of_an_option_and_its_value() {
        let settings = settings("5");
        for pair in settings.chunks(2) {
            assert!(pair[0].starts_with("--") && !pair[1].starts_with("--"));
        }
        assert!(settings.chunks(2).any(|pair| pair == ["--capacity", "5"]));
    }

    #[test]
    fn all_devices_are_either_served_or_not() {
        let unserved = vec![Unserved {
            name: "agent-001".to_owned(),
            why: "Error: Deferred".to_owned(),
        }];
        let enrolment = examples::enrolment(4, unserved);
        assert_eq!((enrolment.successful(), enrolment.failed()), (3, 1));
    }
}
