//! Loads the certificates and chains that the state says are due, and attests them. That they are served, and to whom, follows from the state itself.

use std::{sync::Arc, time::Duration};

use convoy_fleet::{
    decide::Command,
    event::Actor,
    rotation::{self, Duty},
};
use convoy_shared::id::Generation;

use crate::{
    beside, clock, failpoint,
    folder::Folder,
    health::Degraded,
    keeper::Keeper,
    tls::{TlsConfigs, TlsError},
};

const RETRY: Duration = Duration::from_secs(5);

/// Loads every certificate that may be served now.
///
/// # Errors
/// If the one that is served to everyone cannot be loaded.
pub fn load_served(keeper: &Keeper, configs: &TlsConfigs, folder: &Folder) -> Result<(), TlsError> {
    let fleet = keeper.read();
    for (generation, kept) in fleet.certificates() {
        let serving = fleet.serving() == Some(generation);
        if !serving && !kept.is_bridged() {
            continue;
        }
        match configs.load(generation, &kept.certificate) {
            Ok(()) => {
                if let Err(error) = beside::keep(folder, generation, kept) {
                    tracing::warn!(%generation, %error, "cannot keep a certificate beside its key");
                }
            }
            Err(error) if serving => return Err(error),
            Err(error) => {
                let error = anyhow::Error::from(error);
                keeper.health().say(
                    Degraded::OldCertificate,
                    format!("old certificate {generation} cannot be loaded, and clients that trust only that one cannot connect: {error:#}"),
                );
            }
        }
    }
    Ok(())
}

/// Runs for ever.
pub async fn run(keeper: Keeper, configs: Arc<TlsConfigs>, folder: Arc<Folder>) {
    let mut heads = keeper.heads();
    loop {
        heads.borrow_and_update();
        take_chains(&keeper, &configs);
        let due = rotation::due(&keeper.read(), clock::now());
        if let Some(Duty::HoldCandidate(generation) | Duty::Swap(generation)) = due {
            let done = load(&keeper, &configs, &folder, generation).await;
            if let Err(error) = done {
                keeper.health().say(
                    Degraded::Certificate,
                    format!(
                        "certificate {generation} cannot be loaded, and is tried again: {error:#}"
                    ),
                );
                tokio::time::sleep(RETRY).await;
                continue;
            }
            keeper.health().clear(Degraded::Certificate);
        }
        if heads.changed().await.is_err() {
            return;
        }
    }
}

/// A certificate that has got another chain is shown with that one from now on. The one that is served is never without: until then it has its old one.
fn take_chains(keeper: &Keeper, configs: &TlsConfigs) {
    for (generation, kept) in keeper.read().certificates() {
        if configs.is_stale(generation, &kept.certificate)
            && let Err(error) = configs.load(generation, &kept.certificate)
        {
            tracing::error!(%generation, %error, "the certificate's new chain cannot be shown; the old one still is");
        }
    }
}

async fn load(
    keeper: &Keeper,
    configs: &TlsConfigs,
    folder: &Folder,
    generation: Generation,
) -> anyhow::Result<()> {
    let kept = keeper.read().certificate(generation).cloned();
    let Some(kept) = kept else {
        anyhow::bail!("generation {generation} is unknown");
    };
    configs.load(generation, &kept.certificate)?;
    beside::keep(folder, generation, &kept)?;
    failpoint::hold("loaded").await;
    keeper
        .command(Command::AttestLoaded(generation), Actor::Controller, None)
        .await?;
    Ok(())
}
