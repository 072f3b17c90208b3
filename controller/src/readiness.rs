//! Whether agents can be served: the keeper runs, and the certificate that is due is held. Whatever else is wrong is in `health`: an orchestrator that takes the
//! controller away for it would cut off the fleet.

use std::{fmt, sync::Arc, time::Duration};

use convoy_shared::id::Generation;

use crate::{keeper::Keeper, tls::TlsConfigs};

/// The keeper may work on one entry for so long. No session can be opened meanwhile.
const BUSY: Duration = Duration::from_secs(10);

/// What is asked. Cheap to clone.
#[derive(Clone)]
pub struct Readiness {
    /// The state.
    pub keeper: Keeper,
    /// Certificates.
    pub configs: Arc<TlsConfigs>,
}

/// Why agents cannot be served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unready {
    /// Nothing is decided any more: only a restart helps.
    KeeperStopped,
    /// Nothing is decided just now.
    KeeperBusy(Duration),
    /// There is no certificate to serve.
    NoCertificate,
    /// The certificate is not held with its key.
    NotHeld(Generation),
}

impl fmt::Display for Unready {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::KeeperStopped => f.write_str("the keeper has stopped: start the controller anew"),
            Self::KeeperBusy(since) => write!(
                f,
                "the keeper has worked on one journal entry for {} s: look at the disk",
                since.as_secs()
            ),
            Self::NoCertificate => f.write_str("there is no certificate to serve"),
            Self::NotHeld(generation) => {
                write!(
                    f,
                    "certificate {generation} is to be served, and cannot be loaded"
                )
            }
        }
    }
}

impl Readiness {
    /// Why agents cannot be served. `None`: they can.
    #[must_use]
    pub fn unready(&self) -> Option<Unready> {
        if self.keeper.has_stopped() {
            return Some(Unready::KeeperStopped);
        }
        if let Some(since) = self.keeper.busy().filter(|since| *since >= BUSY) {
            return Some(Unready::KeeperBusy(since));
        }
        let Some(serving) = self.keeper.read().serving() else {
            return Some(Unready::NoCertificate);
        };
        let held = self.configs.of(serving).is_some();
        (!held).then_some(Unready::NotHeld(serving))
    }
}
