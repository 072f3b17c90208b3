//! Key use locations: what of the device uses a key and its certificate, and how both get there, at once or not at all. Which commands and paths that takes
//! comes from the agent's own configuration, and never from the controller.

pub(crate) mod command;
mod confirm;
mod error;
mod files;
mod folders;
mod former;
mod install;
mod journal;
mod preset;
mod recover;

use std::{collections::BTreeMap, fmt, path::PathBuf, time::Duration};

use convoy_shared::settings::KeyUse;
use zeroize::Zeroizing;

pub use command::{Command, CommandError};
pub use confirm::ConfirmError;
pub use error::{BadMaterial, Cause, PlaceError, PutBack, Step};
pub use files::{FileError, KeyFile, Owner};
pub use preset::{Cups, Files, NetworkManager, Nginx, Preset, StrongSwan, WpaSupplicant};
pub use recover::{Recovered, recover};

use crate::{address::Address, configuration::Configuration, disk::StateDir};

/// A key, its certificate, and those who issued it. All PEM.
pub struct Material {
    /// The private key, PKCS#8.
    pub key_pem: Zeroizing<String>,
    /// Its certificate alone.
    pub certificate_pem: String,
    /// The issuers, the certificate's own first. The certificate is not among them.
    pub chain_pem: String,
    /// The SCEP server's CA.
    pub ca_pem: String,
}

impl fmt::Debug for Material {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Material")
            .field("certificate_pem", &self.certificate_pem)
            .finish_non_exhaustive()
    }
}

/// A key and its certificate are where they are used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Installed {
    /// What the operator should know, in sentences.
    pub warnings: Vec<String>,
    /// Whether the location's function was switched on. If not, the certificate is assigned, and the function stays off.
    pub was_enabled: bool,
}

/// The key use locations of this device.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Places {
    /// The configuration file that they are from, for messages.
    pub file: PathBuf,
    /// `TLS`.
    pub tls: Option<Location>,
    /// `IPSec`, by destination.
    pub ipsec: BTreeMap<String, Location>,
    /// `IEEE 802.1X`.
    pub ieee8021x: Option<Location>,
}

/// One key use location, as it is configured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Location {
    /// Which files, and which commands.
    pub preset: Preset,
    /// Whether its function is switched on.
    pub enabled: Enabled,
    /// Where a TLS handshake must show the new certificate.
    pub confirm: Option<Address>,
    /// How long each command, and the confirmation, may take.
    pub timeout: Duration,
    /// Who may read the key's file.
    pub key_file: KeyFile,
}

/// How it is known whether a location's function is switched on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Enabled {
    /// It always is, or never.
    Fixed(bool),
    /// It is if this command ends with exit code 0.
    Ask(Command),
}

impl Places {
    /// The location for a key use; `destination` counts for `IPSec` only, where an empty one is the only one. `None` is always there.
    ///
    /// # Errors
    /// If there is none. Says what to write where.
    pub fn place(&self, key_use: KeyUse, destination: &str) -> Result<Place<'_>, PlaceError> {
        let missing = |table: &'static str| PlaceError::NotConfigured {
            key_use,
            table,
            file: self.file.clone(),
        };
        let named = |destination: &str, location| Place {
            key_use,
            destination: destination.to_owned(),
            location,
        };
        match key_use {
            KeyUse::None => Ok(named("", None)),
            KeyUse::Tls => match &self.tls {
                Some(location) => Ok(named("", Some(location))),
                None => Err(missing("[places.tls]")),
            },
            KeyUse::Ieee8021X => match &self.ieee8021x {
                Some(location) => Ok(named("", Some(location))),
                None => Err(missing("[places.ieee8021x]")),
            },
            KeyUse::IpSec => {
                let mut all = self.ipsec.iter();
                match (all.next(), all.next(), destination) {
                    (None, _, _) => Err(missing("[places.ipsec.<destination>]")),
                    (Some((only, location)), None, "") => Ok(named(only, Some(location))),
                    (_, _, destination) => self
                        .ipsec
                        .get(destination)
                        .map(|location| named(destination, Some(location)))
                        .ok_or_else(|| PlaceError::Destination {
                            destination: destination.to_owned(),
                            known: self.ipsec.keys().cloned().collect(),
                            file: self.file.clone(),
                        }),
                }
            }
        }
    }
}

/// Where a key and its certificate are used.
#[derive(Clone, Debug)]
pub struct Place<'a> {
    key_use: KeyUse,
    destination: String,
    /// `None`: the agent's own store alone.
    location: Option<&'a Location>,
}

impl fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.destination.is_empty() {
            write!(f, "{}", self.key_use)
        } else {
            write!(f, "{} ({})", self.key_use, self.destination)
        }
    }
}

impl Place<'_> {
    /// Whether its function is switched on. Where that cannot be found out, it is taken for off.
    pub async fn is_enabled(&self) -> bool {
        self.enabled().await.unwrap_or_else(|error| {
            tracing::warn!(place = %self, error = %error, "cannot tell whether the function is switched on");
            false
        })
    }

    async fn enabled(&self) -> Result<bool, CommandError> {
        let Some(location) = self.location else {
            return Ok(true);
        };
        match &location.enabled {
            Enabled::Fixed(fixed) => Ok(*fixed),
            Enabled::Ask(command) => match command.run(location.timeout).await {
                Ok(_) => Ok(true),
                Err(CommandError::Failed { .. }) => Ok(false),
                Err(error) => Err(error),
            },
        }
    }

    /// Puts a key and its certificate where they are used: writes the files, checks, activates and confirms; at any failure, what was there is put back and
    /// activated again. One at a time in this process. If it is dropped before it ends, or the process dies, [`recover`] or the next call puts back what
    /// was there.
    ///
    /// # Errors
    /// Says which step failed and why, and whether what was there is back.
    pub async fn install(
        &self,
        state: &StateDir,
        material: &Material,
    ) -> Result<Installed, PlaceError> {
        install::install(self, state, material, &install::Watch::default()).await
    }
}

/// Restarts the device, or the service that uses the key, by the command of `[restart]`, in a session of its own: it goes on when the agent ends, be it by this
/// very restart. Its result is logged, and returned to whoever still waits for it. A command that takes longer than its timeout is left to go on.
///
/// # Errors
/// If none is configured, it cannot be started, fails, or has not ended in time.
pub async fn restart(configuration: &Configuration) -> Result<(), PlaceError> {
    let Some(restart) = &configuration.restart else {
        return Err(PlaceError::NoRestart {
            file: configuration.places.file.clone(),
        });
    };
    let mut running = restart.command.detach().map_err(PlaceError::Restart)?;
    let (command, timeout) = (restart.command.clone(), restart.timeout);
    // A task of its own, so that the result is logged also when nobody waits.
    let ended = tokio::spawn(async move {
        let result = running.ended(timeout).await;
        match &result {
            Ok(()) => tracing::info!(%command, "restarted"),
            Err(error) => tracing::warn!(%command, error = %error, "the restart failed"),
        }
        result
    });
    match ended.await {
        Ok(result) => result.map_err(PlaceError::Restart),
        // The runtime is being shut down: by this restart, as likely as not.
        Err(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests;
