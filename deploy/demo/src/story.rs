//! What happens, in its order: hosts join, some are switched off, the certificate is rotated, orphans are counted, and certificates
//! are obtained over SCEP. How each thing is done stands in the machine.

use std::{
    collections::BTreeSet,
    ffi::OsStr,
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail, ensure};

use crate::{
    args::{Args, Strategy},
    certificate,
    machine::{Machine, NAMES},
    patience::{Halt, Patience},
    rotation::{Rotation, named},
    scep,
    screen::Screen,
    summary::{Gate, Orphan, Summary},
};

/// Between two looks.
const LOOK: Duration = Duration::from_millis(150);
/// A gate is seen shut when it was, without a break, for that long.
const SHUT: Duration = Duration::from_secs(1);

/// Plays the whole story.
pub(crate) fn tell(
    args: &Args,
    machine: &mut Machine,
    screen: &mut Screen,
    patience: &Patience,
) -> anyhow::Result<Summary> {
    let Args {
        clients, strategy, ..
    } = *args;
    join(clients, machine, screen)?;
    machine.switch_on()?;
    await_connected(clients, clients, machine, screen, patience)?;
    let absent = machine.last(args.offline);
    if !absent.is_empty() {
        machine.switch_off(&absent);
        screen.note(&format!(
            "switched off: {}",
            named(absent.iter().map(String::as_str))
        ));
        await_connected(clients - args.offline, clients, machine, screen, patience)?;
    }

    let generation = import(machine)?;
    screen.note(&format!(
        "imported a new certificate as generation {generation}"
    ));
    let id = machine.operator.convoy(&[
        "rotation",
        "start",
        "--to",
        &generation,
        "--strategy",
        &strategy.to_string(),
    ])?;
    screen.note(&format!("started rotation {id} ({strategy})"));

    let mut watch = Watch {
        id: &id,
        strategy,
        machine,
        screen,
        patience,
    };
    let gate = match absent.is_empty() {
        true => None,
        false => {
            let gate = watch.shut_gate(absent)?;
            watch.machine.switch_on()?;
            watch.screen.note(&format!(
                "the gate waited for exactly them; switched on again: {}",
                named(gate.absent.iter().map(String::as_str))
            ));
            Some(gate)
        }
    };
    let rotation = watch.until_over()?;
    ensure!(
        rotation.clients == u32::from(clients),
        "the rotation covered {} of {clients} clients",
        rotation.clients
    );
    let orphans = orphans(&rotation, clients, machine, screen)?;
    // A rotation that went wrong is enough to look at.
    let enrolment = match !args.no_scep && rotation.is_completed() {
        true => Some(
            scep::enrol(clients, args.scep_limit(), machine, screen, patience)
                .context("cannot have certificates obtained over SCEP")?,
        ),
        false => None,
    };
    Ok(Summary::new(
        rotation,
        strategy,
        gate,
        orphans,
        enrolment,
        patience.elapsed(),
    ))
}

fn join(clients: u16, machine: &mut Machine, screen: &mut Screen) -> anyhow::Result<()> {
    let uses = clients.to_string();
    let token = machine
        .operator
        .convoy(&["token", "create", "--uses", &uses])?;
    screen.count("joined", 0, clients);
    machine.join(clients, &token, |done| {
        screen.count("joined", done, clients)
    })
}

/// Waits until exactly so many are connected.
fn await_connected(
    wanted: u16,
    clients: u16,
    machine: &mut Machine,
    screen: &mut Screen,
    patience: &Patience,
) -> anyhow::Result<()> {
    loop {
        machine.all_live()?;
        let roster = machine.operator.clients()?;
        let connected = roster.iter().filter(|client| client.connected).count();
        let connected = u16::try_from(connected).unwrap_or(u16::MAX);
        if wanted == clients {
            screen.count("connected", connected, clients);
        }
        if connected == wanted {
            return Ok(());
        }
        if let Err(halt) = patience.pause(LOOK) {
            let away = roster.iter().filter(|client| !client.connected);
            let away = named(away.map(|client| client.name.as_str()));
            return Err(explained(halt, || {
                format!(
                    "{connected} clients are connected instead of {wanted}; not connected: {away}"
                )
            }));
        }
    }
}

/// Imports a certificate from elsewhere, and returns its generation.
fn import(machine: &Machine) -> anyhow::Result<String> {
    let brought = certificate::bring(machine.folder(), &NAMES)?;
    let args: [&OsStr; 6] = [
        "cert".as_ref(),
        "import".as_ref(),
        "--cert".as_ref(),
        brought.certificate.as_ref(),
        "--key".as_ref(),
        brought.key.as_ref(),
    ];
    machine.operator.convoy(&args)
}

/// Follows one rotation.
struct Watch<'a> {
    id: &'a str,
    strategy: Strategy,
    machine: &'a mut Machine,
    screen: &'a mut Screen,
    patience: &'a Patience,
}

impl Watch<'_> {
    fn look(&mut self) -> anyhow::Result<Rotation> {
        self.machine.all_live()?;
        let rotation = self.machine.operator.rotation(self.id)?;
        self.screen.rotation(&rotation, self.strategy);
        Ok(rotation)
    }

    fn pause(&self, rotation: &Rotation) -> anyhow::Result<()> {
        self.patience
            .pause(LOOK)
            .map_err(|halt| explained(halt, || rotation.standing()))
    }

    /// Sees the first gate shut, and waiting for exactly these.
    fn shut_gate(&mut self, absent: Vec<String>) -> anyhow::Result<Gate> {
        let names: BTreeSet<&str> = absent.iter().map(String::as_str).collect();
        let mut since: Option<(Instant, u32)> = None;
        loop {
            let rotation = self.look()?;
            if !matches!(
                rotation.phase.as_str(),
                "Planned" | "PausingReplication" | "Preparing"
            ) {
                bail!(
                    "the gate did not wait for {}: {}",
                    named(names.iter().copied()),
                    rotation.standing()
                );
            }
            since = rotation
                .waits_for_exactly(&names, self.strategy)
                .then(|| match since {
                    Some((first, looks)) => (first, looks + 1),
                    None => (Instant::now(), 1),
                });
            if let Some((first, looks)) = since
                && first.elapsed() >= SHUT
            {
                return Ok(Gate {
                    watched: first.elapsed(),
                    looks,
                    absent,
                });
            }
            self.pause(&rotation)?;
        }
    }

    fn until_over(&mut self) -> anyhow::Result<Rotation> {
        loop {
            let rotation = self.look()?;
            if rotation.is_over() {
                return Ok(rotation);
            }
            self.pause(&rotation)?;
        }
    }
}

/// Says where things stood when time ran out. A signal needs no explanation.
pub(crate) fn explained(halt: Halt, standing: impl FnOnce() -> String) -> anyhow::Error {
    match halt {
        Halt::Interrupted => halt.into(),
        Halt::OutOfTime(_) => anyhow::Error::from(halt).context(standing()),
    }
}

/// Measures who cannot connect to what is served now.
fn orphans(
    rotation: &Rotation,
    clients: u16,
    machine: &Machine,
    screen: &mut Screen,
) -> anyhow::Result<Vec<Orphan>> {
    let served = if rotation.is_completed() {
        &rotation.new_fingerprint
    } else {
        &rotation.old_fingerprint
    };
    let (mut orphans, mut done) = (Vec::new(), 0);
    machine
        .check(|name, check| {
            done += 1;
            screen.count("checked", done, clients);
            let met = check.certificate_fingerprint.as_ref() == Some(served);
            let why = match (check.ok, met) {
                (true, true) => return,
                (true, false) => {
                    "it met another certificate than the one that is served".to_owned()
                }
                (false, _) => check.reason.unwrap_or_default(),
            };
            orphans.push(Orphan {
                name: name.to_owned(),
                why,
            });
        })
        .context("cannot measure who is orphaned")?;
    Ok(orphans)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rotation::examples;

    #[test]
    fn when_time_runs_out_the_phase_and_the_missing_are_named() {
        let standing = || examples::preparing().standing();
        let error = explained(Halt::OutOfTime(Duration::from_secs(308)), standing);
        assert_eq!(
            format!("{error:#}"),
            "the rotation is in Preparing, waiting for agent-003, agent-004: not done after 308 s"
        );
        let error = explained(Halt::Interrupted, standing);
        assert_eq!(format!("{error:#}"), "interrupted");
    }
}
