//! The order of an installation, and how it is taken back. What each step is in one kind of location is not here.

use convoy_shared::settings::KeyUse;
use rustls_pki_types::{CertificateDer, pem::PemObject as _};
use tokio::sync::Mutex;

use super::{
    BadMaterial, Cause, Installed, Location, Material, Place, PlaceError, PutBack, Step,
    confirm::confirm,
    files::{Target, Write},
    journal::{Entry, Journal, Phase},
    preset::{Order, certificates},
    recover::take_back,
};
use crate::disk::StateDir;

/// The journal has room for one.
pub(super) static ONE_AT_A_TIME: Mutex<()> = Mutex::const_new(());

/// Moments between two changes on disk, at which a crash must do no harm.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Moment {
    Begun,
    Staged(usize),
    Replacing,
    Replaced(usize),
    Assigned,
    Checked,
    Activated,
    Confirmed,
    Done,
    Kept,
    Forgotten(usize),
}

/// For tests: ends an installation at a moment, as a crash does. Otherwise nothing.
#[derive(Default)]
pub(super) struct Watch {
    #[cfg(test)]
    pub(super) seen: std::sync::Mutex<Vec<Moment>>,
    #[cfg(test)]
    pub(super) stop: Option<(Moment, std::sync::Arc<tokio::sync::Notify>)>,
}

impl Watch {
    #[cfg(test)]
    async fn at(&self, moment: Moment) {
        self.seen.lock().expect("not poisoned").push(moment);
        if let Some((stop, reached)) = &self.stop
            && *stop == moment
        {
            reached.notify_one();
            std::future::pending::<()>().await;
        }
    }

    #[cfg(not(test))]
    fn at(&self, _moment: Moment) -> std::future::Ready<()> {
        std::future::ready(())
    }
}

pub(super) async fn install(
    place: &Place<'_>,
    state: &StateDir,
    material: &Material,
    watch: &Watch,
) -> Result<Installed, PlaceError> {
    let Some(location) = place.location else {
        // The agent's own store has it already.
        return Ok(Installed {
            warnings: Vec::new(),
            was_enabled: true,
        });
    };
    let _one = ONE_AT_A_TIME.lock().await;
    let unprepared = |cause| PlaceError::Prepare {
        place: place.to_string(),
        cause,
    };
    let journal = Journal::open(state).map_err(unprepared)?;
    if let Some((phase, entry)) = journal.read().map_err(PlaceError::Unfinished)? {
        // Cut off, in this process's life or before. Its own location may be another one.
        let own = (place.key_use == entry.key_use && place.destination == entry.destination)
            .then_some(location);
        take_back(&journal, phase, &entry, own).await?;
    }
    let certificate = CertificateDer::from_pem_slice(material.certificate_pem.as_bytes())
        .map_err(|_| PlaceError::Material(BadMaterial::Certificate))?;
    certificates(&material.chain_pem).map_err(PlaceError::Material)?;
    let writes = location
        .preset
        .files(material)
        .map_err(PlaceError::Material)?;
    let on = place.enabled().await.map_err(|cause| PlaceError::Enabled {
        place: place.to_string(),
        cause,
    })?;
    let installation = Installation {
        journal: &journal,
        location,
        certificate: &certificate,
        writes: &writes,
        on,
        watch,
    };
    let taken = writes
        .iter()
        .filter_map(|write| write.taken_from(&location.key_file));
    let mut warnings: Vec<String> = taken.collect();
    let entry = installation
        .prepare(place.key_use, &place.destination)
        .await
        .map_err(unprepared)?;
    if let Err((step, cause)) = installation.carry_out(&entry).await {
        let put_back = installation.put_back(&entry, step).await;
        return Err(PlaceError::Failed {
            place: place.to_string(),
            step,
            cause: Box::new(cause),
            put_back: Box::new(put_back),
        });
    }
    installation.forget(&entry).await;
    if !on {
        warnings.push(format!(
            "the function of the key use location {place} is switched off: the certificate is assigned to it, and the function was not switched on"
        ));
    }
    Ok(Installed {
        warnings,
        was_enabled: on,
    })
}

struct Installation<'a> {
    journal: &'a Journal,
    location: &'a Location,
    certificate: &'a CertificateDer<'a>,
    writes: &'a [Write],
    on: bool,
    watch: &'a Watch,
}

impl Installation<'_> {
    /// Makes everything ready. Whatever fails here, nothing was changed.
    async fn prepare(&self, key_use: KeyUse, destination: &str) -> Result<Entry, Cause> {
        let targets = self
            .writes
            .iter()
            .map(Target::find)
            .collect::<Result<Vec<_>, _>>()?;
        Target::all_different(&targets)?;
        let entry = Entry {
            key_use,
            destination: destination.to_owned(),
            targets,
            assigned: self.location.preset.assigned(self.location.timeout).await?,
        };
        self.journal.begin(&entry)?;
        let staged = self.stage(&entry).await;
        if let Err(cause) = staged {
            let cleaned = forget_all(&entry.targets)
                .and_then(|()| self.journal.former(&entry).clear())
                .and_then(|()| self.journal.end());
            if let Err(error) = cleaned {
                tracing::warn!(%error, "what was made ready is cleared away at the next start");
            }
            return Err(cause);
        }
        self.watch.at(Moment::Replacing).await;
        Ok(entry)
    }

    async fn stage(&self, entry: &Entry) -> Result<(), Cause> {
        self.watch.at(Moment::Begun).await;
        for (number, (target, write)) in entry.targets.iter().zip(self.writes).enumerate() {
            target.stage(write, &self.location.key_file)?;
            self.watch.at(Moment::Staged(number)).await;
        }
        self.journal.former(entry).stage(&entry.targets)?;
        self.journal.enter(Phase::Staging, Phase::Replacing)
    }

    async fn carry_out(&self, entry: &Entry) -> Result<(), (Step, Cause)> {
        let Location {
            preset, timeout, ..
        } = self.location;
        for (number, (target, write)) in entry.targets.iter().zip(self.writes).enumerate() {
            target
                .replace(write)
                .map_err(|error| (Step::Replace, error.into()))?;
            self.watch.at(Moment::Replaced(number)).await;
        }
        self.run(Step::Assign, preset.assign()).await?;
        self.watch.at(Moment::Assigned).await;
        self.run(Step::Check, preset.check()).await?;
        self.watch.at(Moment::Checked).await;
        if self.on {
            self.run(Step::Activate, preset.activate()).await?;
            self.watch.at(Moment::Activated).await;
            if let Some(at) = &self.location.confirm {
                confirm(at, self.certificate, *timeout)
                    .await
                    .map_err(|error| (Step::Confirm, error.into()))?;
            }
            self.watch.at(Moment::Confirmed).await;
        }
        self.journal
            .enter(Phase::Replacing, Phase::Done)
            .map_err(|cause| (Step::Record, cause))?;
        self.watch.at(Moment::Done).await;
        Ok(())
    }

    async fn run(
        &self,
        step: Step,
        orders: impl IntoIterator<Item = Order>,
    ) -> Result<(), (Step, Cause)> {
        for order in orders {
            order
                .run(self.location.timeout)
                .await
                .map_err(|error| (step, error.into()))?;
        }
        Ok(())
    }

    async fn put_back(&self, entry: &Entry, failed: Step) -> PutBack {
        if let Err(cause) = put_back_files(&entry.targets) {
            return PutBack::Failed(cause);
        }
        let mut orders = Vec::new();
        if failed != Step::Replace {
            orders.extend(self.location.preset.assign_back(&entry.assigned));
        }
        let taken = matches!(failed, Step::Activate | Step::Confirm | Step::Record) && self.on;
        if taken {
            orders.extend(self.location.preset.activate());
        }
        let active = run_all(orders, self.location).await;
        let ended = self.journal.former(entry).clear();
        if let Err(cause) = ended.and_then(|()| self.journal.end()) {
            return PutBack::Failed(cause);
        }
        match active {
            Ok(()) if taken => PutBack::Active,
            Ok(()) => PutBack::Files,
            Err(error) => PutBack::Inactive(error),
        }
    }

    async fn forget(&self, entry: &Entry) {
        if let Err(error) = self.journal.former(entry).keep() {
            tracing::warn!(%error, "what was there before is put away at the next start");
            return;
        }
        self.watch.at(Moment::Kept).await;
        for (number, target) in entry.targets.iter().enumerate() {
            if let Err(error) = target.forget() {
                tracing::warn!(%error, "what was replaced is removed at the next start");
                return;
            }
            self.watch.at(Moment::Forgotten(number)).await;
        }
        if let Err(error) = self.journal.end() {
            tracing::warn!(%error, "what was replaced is removed at the next start");
        }
    }
}

pub(super) async fn run_all(
    orders: Vec<Order>,
    location: &Location,
) -> Result<(), super::CommandError> {
    for order in orders {
        order.run(location.timeout).await?;
    }
    Ok(())
}

/// The last replaced first.
pub(super) fn put_back_files(targets: &[Target]) -> Result<(), Cause> {
    targets
        .iter()
        .rev()
        .try_for_each(Target::put_back)
        .map_err(Cause::from)
}

pub(super) fn forget_all(targets: &[Target]) -> Result<(), Cause> {
    targets
        .iter()
        .try_for_each(Target::forget)
        .map_err(Cause::from)
}
