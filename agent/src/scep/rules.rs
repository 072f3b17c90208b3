//! What the engine obeys: the controller's document, or what was imported on the device while there is none. Neither touches trust.

use convoy_proto::{
    documents::required_envelope,
    scep::{BadScep, open_scep},
    v1,
};
use convoy_shared::{
    envelope::Envelope,
    id::{ClientId, Digest, Revision, RootVersion},
    root::Root,
    settings::{ScepDocument, ScepPatch, ScepServer, ScepSettings},
    trust::MAX_REVISION_JUMP,
};
use jiff::{SignedDuration, Timestamp};
use prost::Message as _;

use super::store::Store;
use crate::{disk::DiskError, link::told, state::State};

/// The controller's document, as it was signed.
const DOCUMENT: &str = "document";
/// What was imported on the device.
pub(crate) const IMPORTED: &str = "settings.toml";

/// What the engine obeys.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Rules {
    /// Of the controller's document. 0: it has set nothing.
    pub(crate) revision: Revision,
    /// Of the controller's document.
    pub(crate) root_version: RootVersion,
    /// Of the controller's document.
    pub(crate) issued_at: Option<Timestamp>,
    pub(crate) settings: ScepSettings,
    pub(crate) url: Option<String>,
    pub(crate) slot: Option<SignedDuration>,
}

/// Who the device is, and whom it believes.
#[derive(Clone, Debug)]
pub(crate) struct Believed {
    pub(crate) client: ClientId,
    /// The root in force first.
    roots: Vec<Root>,
}

impl Believed {
    pub(crate) fn of(state: &State) -> Self {
        let earlier = state.earlier_roots.iter().rev();
        Self {
            client: state.client_id,
            roots: std::iter::once(&state.root)
                .chain(earlier)
                .map(|signed| signed.root.clone())
                .collect(),
        }
    }

    /// The document, if the root in force vouches for it.
    fn open(&self, envelope: &Envelope) -> Result<ScepDocument, BadScep> {
        let newest = self.roots.first().ok_or(BadScep::Foreign)?;
        open_scep(envelope, newest, self.client)
    }

    /// The document, if the root in force vouches for it, or one that was when it was issued: a new root may come before a new document.
    fn open_again(&self, envelope: &Envelope) -> Result<ScepDocument, BadScep> {
        self.open(envelope).or_else(|error| {
            self.roots
                .iter()
                .skip(1)
                .find_map(|root| {
                    let document = open_scep(envelope, root, self.client).ok()?;
                    (document.root_version <= root.version).then_some(document)
                })
                .ok_or(error)
        })
    }
}

impl Rules {
    /// What a folder says is to be obeyed. What cannot be believed is not obeyed.
    pub(crate) fn load(store: &Store, believed: &Believed) -> Result<Self, DiskError> {
        let document = store.read(DOCUMENT)?.map(|bytes| {
            let wire = v1::Envelope::decode(bytes.as_slice()).map_err(|_| BadScep::Malformed)?;
            let envelope = Envelope::try_from(wire).map_err(|_| BadScep::Malformed)?;
            believed.open_again(&envelope)
        });
        let rules = match document {
            None => Self::default(),
            Some(Ok(document)) => Self::from(document),
            Some(Err(error)) => {
                tracing::error!(
                    error = told(&error),
                    "the SCEP settings on disk are not believed, and wait for the controller's"
                );
                return Ok(Self::default());
            }
        };
        rules.or_imported(store)
    }

    /// The same after an import.
    pub(crate) fn again(self, store: &Store) -> Result<Self, DiskError> {
        if self.revision.0 > 0 {
            return Ok(self);
        }
        let rules = Self {
            root_version: self.root_version,
            issued_at: self.issued_at,
            ..Self::default()
        };
        rules.or_imported(store)
    }

    /// What was imported, where the controller has set nothing.
    fn or_imported(self, store: &Store) -> Result<Self, DiskError> {
        if self.revision.0 > 0 {
            return Ok(self);
        }
        let Some(bytes) = store.read(IMPORTED)? else {
            return Ok(self);
        };
        let settings = std::str::from_utf8(&bytes)
            .ok()
            .and_then(|text| toml::from_str::<ScepSettings>(text).ok());
        match settings {
            Some(settings) => Ok(Self {
                url: url_of(&settings),
                settings,
                slot: None,
                ..self
            }),
            None => {
                tracing::error!("the imported SCEP settings are damaged, and not obeyed");
                Ok(self)
            }
        }
    }

    /// Takes a document, if it is newer; `None` if it is not. Order is (root version, revision, time), so that revisions may begin anew under a new root.
    pub(crate) fn take(
        &self,
        wire: v1::Envelope,
        believed: &Believed,
        store: &Store,
    ) -> Result<Option<Self>, NotTaken> {
        let envelope = required_envelope(Some(wire)).map_err(|_| BadScep::Malformed)?;
        let document = believed.open(&envelope)?;
        let offered = (
            document.root_version,
            document.revision,
            Some(document.issued_at),
        );
        if offered <= (self.root_version, self.revision, self.issued_at) {
            return Ok(None);
        }
        let jump = document.revision.0.saturating_sub(self.revision.0);
        if self.issued_at.is_some() && jump > MAX_REVISION_JUMP {
            return Err(NotTaken::Jump);
        }
        store.write(DOCUMENT, &v1::Envelope::from(envelope).encode_to_vec())?;
        Ok(Some(Self::from(document).or_imported(store)?))
    }

    /// Tells what the timer goes by from others. Nothing else makes it begin anew: a CA that is rolled over brings another fingerprint to a whole fleet.
    pub(crate) fn digest(&self) -> Digest {
        let settings = &self.settings;
        let text = format!(
            "timer {}\nrequest_start {}\nauto_adjust {}\nperiodic {}\ncapacity {}\nwindow {}\nslot {:?}\n",
            settings.timer,
            settings.request_start,
            settings.auto_adjust,
            settings.periodic,
            settings.capacity,
            settings.window,
            self.slot.map(|slot| slot.as_nanos()),
        );
        Digest::of(text.as_bytes())
    }
}

impl From<ScepDocument> for Rules {
    fn from(document: ScepDocument) -> Self {
        Self {
            revision: document.revision,
            root_version: document.root_version,
            issued_at: Some(document.issued_at),
            settings: document.settings,
            url: document.url,
            slot: document.slot,
        }
    }
}

/// The SCEP server's URL, port included, as far as a device alone can tell.
pub(crate) fn url_of(settings: &ScepSettings) -> Option<String> {
    let ScepServer::Url(url) = &settings.server else {
        return None;
    };
    if settings.port == 0 {
        return Some(url.clone());
    }
    let rest = url.strip_prefix("http://")?;
    let (authority, path) = rest.find('/').map_or((rest, ""), |at| rest.split_at(at));
    let host = match authority.rsplit_once(':') {
        Some((host, _)) if !authority.ends_with(']') => host,
        _ => authority,
    };
    Some(format!("http://{host}:{}{path}", settings.port))
}

/// The URL for settings that differ from those obeyed by a patch.
pub(crate) fn moved(patch: &ScepPatch, settings: &ScepSettings, known: Option<&str>) -> String {
    let same = patch.server.is_none() && patch.port.is_none();
    match known {
        Some(known) if same => known.to_owned(),
        _ => url_of(settings).unwrap_or_default(),
    }
}

/// Why a document is not obeyed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NotTaken {
    /// It is not to be believed.
    #[error(transparent)]
    Bad(#[from] BadScep),
    /// Too far ahead.
    #[error("the revision of the SCEP settings jumps by more than {MAX_REVISION_JUMP}")]
    Jump,
    /// It cannot be stored.
    #[error(transparent)]
    Disk(#[from] DiskError),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_takes_the_place_of_the_urls() {
        let url = |server: &str, port| {
            url_of(&ScepSettings {
                server: server.parse().expect("a server"),
                port,
                ..ScepSettings::default()
            })
        };
        assert_eq!(url("none", 80), None);
        assert_eq!(url("http://ca/scep", 0).as_deref(), Some("http://ca/scep"));
        assert_eq!(
            url("http://ca/scep", 8080).as_deref(),
            Some("http://ca:8080/scep")
        );
        assert_eq!(
            url("http://ca:1/scep", 8080).as_deref(),
            Some("http://ca:8080/scep")
        );
        assert_eq!(
            url("http://[::1]", 8080).as_deref(),
            Some("http://[::1]:8080")
        );
        assert_eq!(
            url("http://[::1]:1/", 8080).as_deref(),
            Some("http://[::1]:8080/")
        );
    }
}
