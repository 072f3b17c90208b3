//! What is done about an installation that was cut off. The order of one that is not cut off is not here.

use convoy_shared::settings::KeyUse;

use super::{
    Location, Place, PlaceError, Places, PutBack,
    install::{ONE_AT_A_TIME, forget_all, put_back_files, run_all},
    journal::{Entry, Journal, Phase},
};
use crate::disk::StateDir;

/// What was done about an installation that was cut off.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Recovered {
    /// There was none.
    Nothing,
    /// Nothing had been replaced yet, or all was well already: what was kept is gone.
    Forgotten {
        /// Where.
        key_use: KeyUse,
        /// Which one.
        destination: String,
        /// Whether the new certificate is in use.
        installed: bool,
    },
    /// What was there before is back.
    PutBack {
        /// Where.
        key_use: KeyUse,
        /// Which one.
        destination: String,
        /// What the operator should know, in sentences.
        warnings: Vec<String>,
    },
}

/// Puts an installation right that was cut off by a crash: takes it back, or forgets it if all was well. For the start of the agent, before anything else is
/// installed; its own state folder must be held.
///
/// # Errors
/// If the files cannot be put back. It can be tried again.
pub async fn recover(state: &StateDir, places: &Places) -> Result<Recovered, PlaceError> {
    let _one = ONE_AT_A_TIME.lock().await;
    let Some(journal) = Journal::find(state).map_err(PlaceError::Unfinished)? else {
        return Ok(Recovered::Nothing);
    };
    let Some((phase, entry)) = journal.read().map_err(PlaceError::Unfinished)? else {
        return Ok(Recovered::Nothing);
    };
    // The configuration may have changed in between: then the files go back, and nobody is told.
    let place = places.place(entry.key_use, &entry.destination).ok();
    let location = place.as_ref().and_then(|place| place.location);
    let warnings = take_back(&journal, phase, &entry, location).await?;
    let Entry {
        key_use,
        destination,
        ..
    } = entry;
    Ok(match phase {
        Phase::Replacing => Recovered::PutBack {
            key_use,
            destination,
            warnings,
        },
        Phase::Staging | Phase::Done => Recovered::Forgotten {
            key_use,
            destination,
            installed: phase == Phase::Done,
        },
    })
}

pub(super) async fn take_back(
    journal: &Journal,
    phase: Phase,
    entry: &Entry,
    location: Option<&Location>,
) -> Result<Vec<String>, PlaceError> {
    let mut warnings = Vec::new();
    match phase {
        Phase::Staging => {
            forget_all(&entry.targets)
                .and_then(|()| journal.former(entry).clear())
                .map_err(PlaceError::Unfinished)?;
        }
        Phase::Done => {
            let kept = journal.former(entry).keep();
            kept.and_then(|()| forget_all(&entry.targets))
                .map_err(PlaceError::Unfinished)?;
        }
        Phase::Replacing => {
            put_back_files(&entry.targets)
                .and_then(|()| journal.former(entry).clear())
                .map_err(PlaceError::Unfinished)?;
            match location {
                Some(location) => {
                    // How far it had come is not known: to take again what is in use already does no harm.
                    let mut orders = location.preset.assign_back(&entry.assigned);
                    let place = Place {
                        key_use: entry.key_use,
                        destination: entry.destination.clone(),
                        location: Some(location),
                    };
                    if place.is_enabled().await {
                        orders.extend(location.preset.activate());
                    }
                    if let Err(error) = run_all(orders, location).await {
                        warnings.push(PutBack::Inactive(error).to_string());
                    }
                }
                None => warnings.push(
                    "what was there is back; its key use location is not configured any more, so that nobody was told"
                        .to_owned(),
                ),
            }
            for warning in &warnings {
                tracing::warn!(key_use = %entry.key_use, destination = entry.destination, "{warning}");
            }
        }
    }
    journal.end().map_err(PlaceError::Unfinished)?;
    Ok(warnings)
}
