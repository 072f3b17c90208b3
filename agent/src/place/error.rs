//! What can go wrong with a key use location, in words that say what would be right. No secret is ever part of it.

use std::{fmt, path::PathBuf};

use convoy_shared::settings::KeyUse;

use super::{CommandError, ConfirmError, FileError};
use crate::disk::DiskError;

/// Why a key and its certificate are not where they are used.
#[derive(Debug, thiserror::Error)]
pub enum PlaceError {
    /// It is not configured.
    #[error(
        "the key use location {key_use} is not configured on this device: write a table {table} in {}",
        file.display()
    )]
    NotConfigured {
        /// Which.
        key_use: KeyUse,
        /// The table to write.
        table: &'static str,
        /// In which file.
        file: PathBuf,
    },
    /// There is no such destination, or it must be said which.
    #[error(
        "the key use location IPSec has no destination {destination:?}: {} has {}",
        file.display(),
        known.join(", ")
    )]
    Destination {
        /// As asked for.
        destination: String,
        /// Those there are.
        known: Vec<String>,
        /// In which file.
        file: PathBuf,
    },
    /// There is no command to restart.
    #[error(
        "how to restart is not configured on this device: write a table [restart] with command = [\"…\"] or unit = \"…\" in {}",
        file.display()
    )]
    NoRestart {
        /// In which file.
        file: PathBuf,
    },
    /// The key or a certificate cannot be used.
    #[error("the key and its certificate cannot be installed")]
    Material(#[source] BadMaterial),
    /// It cannot be told whether the function is on.
    #[error(
        "cannot tell whether the function of {place} is switched on, nothing was changed: {cause}"
    )]
    Enabled {
        /// Which.
        place: String,
        /// Why not.
        cause: CommandError,
    },
    /// Nothing was replaced.
    #[error("cannot install at {place}, nothing was changed: {cause}")]
    Prepare {
        /// Where.
        place: String,
        /// Why not.
        cause: Cause,
    },
    /// A step failed after files were replaced.
    #[error("installing at {place} failed when {step}: {cause}; {put_back}")]
    Failed {
        /// Where.
        place: String,
        /// Which step.
        step: Step,
        /// Why.
        cause: Box<Cause>,
        /// Whether all is as before.
        put_back: Box<PutBack>,
    },
    /// An installation that was cut off could not be taken back.
    #[error(
        "an earlier installation was cut off, and what was there before cannot be put back: {0}"
    )]
    Unfinished(#[source] Cause),
    /// The restart failed.
    #[error("the restart failed: {0}")]
    Restart(#[source] CommandError),
}

/// What cannot be installed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadMaterial {
    /// No certificate.
    #[error("the certificate is no PEM certificate")]
    Certificate,
    /// No issuers.
    #[error("an issuer's or the CA's certificate is no PEM certificate")]
    Issuers,
    /// The configuration wants what is not there.
    #[error("the configuration has a file for {0}, and the SCEP server sent none")]
    Lacks(&'static str),
}

/// Steps, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// New files take the place of old ones.
    Replace,
    /// The function is told which files are its.
    Assign,
    /// It looks at them.
    Check,
    /// It takes them.
    Activate,
    /// A handshake shows the new certificate.
    Confirm,
    /// All is well, and that is written down.
    Record,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Replace => "replacing the files",
            Self::Assign => "assigning the files",
            Self::Check => "checking the configuration",
            Self::Activate => "activating the new certificate",
            Self::Confirm => "confirming the new certificate",
            Self::Record => "recording that it is done",
        })
    }
}

/// Why a step failed.
#[derive(Debug, thiserror::Error)]
pub enum Cause {
    /// A file.
    #[error("{0}")]
    File(#[from] FileError),
    /// A command.
    #[error("{0}")]
    Command(#[from] CommandError),
    /// The handshake.
    #[error("{0}")]
    Confirm(#[from] ConfirmError),
    /// The agent's own folder.
    #[error("{0}: {reason}", reason = reason(.0))]
    State(#[from] DiskError),
}

fn reason(error: &DiskError) -> String {
    std::error::Error::source(error).map_or_else(String::new, ToString::to_string)
}

/// Whether all is as it was before.
#[derive(Debug)]
pub enum PutBack {
    /// The files are, and the function never took the new ones.
    Files,
    /// The files are, and the function has them again.
    Active,
    /// The files are, and the function does not have them.
    Inactive(CommandError),
    /// The files are not.
    Failed(Cause),
}

impl fmt::Display for PutBack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Files => f.write_str("what was there is back, and was in use all the time"),
            Self::Active => f.write_str("what was there is back and active again"),
            Self::Inactive(error) => write!(
                f,
                "what was there is back, but could not be activated again: {error}"
            ),
            Self::Failed(cause) => write!(
                f,
                "what was there could NOT be put back (the next start of the agent tries again): {cause}"
            ),
        }
    }
}
