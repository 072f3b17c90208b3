//! SCEP in the controller: what its parts share. Which certificates may be issued is decided in the fleet, and how messages look in `convoy-scep`.

mod answer;
pub mod authority;
mod counts;
pub mod crl;
pub mod device;
mod message;
pub mod names;
mod rate;
mod replay;
pub mod secrets;
pub mod server;
mod sign;

pub use counts::{Counts, Ending};

use std::sync::Arc;

use convoy_fleet::{client::ClientNumber, state::Fleet};
use convoy_scep::algorithm::Policy;
use convoy_shared::{
    envelope::Envelope,
    id::Digest,
    settings::{CaPin, ScepDocument, ScepServer, ScepSettings, with_port},
};
use jiff::Timestamp;

use crate::{documents, folder::Folder, keeper::Keeper, keys::FleetKeys, pace::Paces};

/// What everybody who deals with SCEP needs.
pub struct Scep {
    /// The state.
    pub keeper: Keeper,
    /// For challenges, and to sign documents.
    pub keys: Arc<FleetKeys>,
    /// For secrets.
    pub folder: Arc<Folder>,
    /// Where devices reach the built-in server: `http://HOST:PORT/scep`. `None`: it is not served.
    pub url: Option<String>,
    /// Which old algorithms the built-in server accepts.
    pub policy: Policy,
    /// CAs that were loaded.
    pub authorities: authority::Authorities,
    /// The newest revocation list.
    pub lists: crl::Kept,
    /// How messages ended.
    pub counts: Counts,
    /// What is known of devices while the controller runs.
    pub devices: device::Devices,
    /// How often they may do what.
    pub paces: Arc<Paces>,
}

impl Scep {
    /// The URL that devices with these settings are given, port included.
    #[must_use]
    pub fn url(&self, settings: &ScepSettings) -> Option<String> {
        match &settings.server {
            ScepServer::None => None,
            ScepServer::BuiltIn => self.url.clone(),
            ScepServer::Url(url) => Some(with_port(url, settings.port)),
        }
    }

    /// A client's document as of now. `None`: nothing was ever set for it, or it is no client.
    #[must_use]
    pub fn document(
        &self,
        fleet: &Fleet,
        client: ClientNumber,
        now: Timestamp,
    ) -> Option<ScepDocument> {
        let founded = fleet.founded()?;
        let record = fleet.client(client)?;
        let enrolment = fleet.enrolment();
        let revision = enrolment.revision_of(client, &record.group);
        if revision.0 == 0 {
            return None;
        }
        let settings = pinned(fleet, enrolment.client(client, &record.group));
        Some(ScepDocument {
            fleet_id: founded.fleet,
            client: record.id,
            root_version: fleet.root()?.version,
            revision,
            issued_at: now,
            url: self.url(&settings),
            slot: enrolment.slot(client, &record.group),
            settings,
        })
    }

    /// A document, signed.
    #[must_use]
    pub fn sign(&self, document: &ScepDocument) -> Envelope {
        documents::sign_scep(&self.keys, document)
    }
}

/// The settings as a device is given them: it knows the built-in CA's certificate from its controller.
#[must_use]
pub fn pinned(fleet: &Fleet, mut settings: ScepSettings) -> ScepSettings {
    if settings.server == ScepServer::BuiltIn
        && !matches!(settings.ca_fingerprint, CaPin::Sha256(_))
        && let Some(ca) = fleet.issuance().current()
    {
        settings.ca_fingerprint = CaPin::Sha256(Digest::of(&ca.certificate));
    }
    settings
}
