//! SCEP settings: what a device is told about when, where and how to request certificates. Who may change them, and how they travel, is not here.

mod check;
mod kinds;
#[cfg(test)]
mod tests;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

pub use check::{Facts, Unfilled, with_port};
pub use kinds::{
    BadSetting, CaPin, Capacity, ChallengeSource, KeyLength, KeyUse, Periodic, RequestStart,
    ScepServer, SignatureHash, Span,
};

use crate::id::{ClientId, FleetId, Revision, RootVersion};

/// Defines [`ScepSettings`] and [`ScepPatch`] from one list of fields.
macro_rules! settings {
    ($($(#[doc = $doc:literal])+ $field:ident: $kind:ty = $default:expr;)+) => {
        /// All settings of one device. There is a value for each.
        #[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
        #[serde(default, deny_unknown_fields)]
        pub struct ScepSettings {
            $($(#[doc = $doc])+ pub $field: $kind,)+
        }

        impl Default for ScepSettings {
            fn default() -> Self {
                Self { $($field: $default,)+ }
            }
        }

        /// Those settings that differ from others: of a client from its group's.
        #[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
        #[serde(default, deny_unknown_fields)]
        pub struct ScepPatch {
            $($(#[doc = $doc])+
            #[serde(skip_serializing_if = "Option::is_none")]
            pub $field: Option<$kind>,)+
        }

        impl ScepPatch {
            /// Whether nothing differs.
            #[must_use]
            pub fn is_empty(&self) -> bool {
                *self == Self::default()
            }

            /// The settings with these in place of theirs.
            #[must_use]
            pub fn over(&self, settings: &ScepSettings) -> ScepSettings {
                ScepSettings {
                    $($field: self.$field.clone().unwrap_or_else(|| settings.$field.clone()),)+
                }
            }

            /// These and the earlier ones that they do not replace.
            #[must_use]
            pub fn after(&self, earlier: &Self) -> Self {
                Self {
                    $($field: self.$field.clone().or_else(|| earlier.$field.clone()),)+
                }
            }

            /// Every setting.
            #[must_use]
            pub fn all(settings: &ScepSettings) -> Self {
                Self { $($field: Some(settings.$field.clone()),)+ }
            }

            /// What makes `to` of `from`.
            #[must_use]
            pub fn between(from: &ScepSettings, to: &ScepSettings) -> Self {
                Self {
                    $($field: (from.$field != to.$field).then(|| to.$field.clone()),)+
                }
            }

            /// The names of the fields that are set.
            #[must_use]
            pub fn fields(&self) -> Vec<&'static str> {
                let mut names = Vec::new();
                $(if self.$field.is_some() {
                    names.push(stringify!($field));
                })+
                names
            }
        }
    };
}

settings! {
    /// The SCEP server: "none", "built-in" or an `http://` URL.
    server: ScepServer = ScepServer::None;
    /// TCP port of the SCEP server. 0: the URL's.
    port: u16 = 0;
    /// Communication timeout: what is not answered in time is a communication error. 1 s to 10 min.
    timeout: Span = Span(SignedDuration::from_secs(30));
    /// CA identifier of GetCACaps and GetCACert (RFC 8894 section 4.1). Empty: left out.
    ca_identifier: String = String::new();
    /// SHA-256 of the CA certificate, given out of band: "none", "any" (whatever is shown), or 64 hex digits.
    ca_fingerprint: CaPin = CaPin::None;
    /// Whether answers in DES are accepted.
    allow_legacy: bool = false;
    /// Whether GET is used also where the server offers POST.
    get_only: bool = false;
    /// Where the challenge password comes from: "none", "built-in", "stored" (given to the controller) or "ndes" (fetched from NDES's page just before each request).
    challenge: ChallengeSource = ChallengeSource::None;
    /// URL of NDES's challenge page, for example `http://ndes.example/certsrv/mscep_admin/`. Empty: none.
    ndes_url: String = String::new();
    /// User name for NDES's challenge page. Its password lies with the controller alone.
    ndes_user: String = String::new();
    /// How many challenges NDES has outstanding at most: 1 to 10000. Its default is 5.
    ndes_cache: u32 = 5;
    /// The auto-request timer.
    timer: bool = false;
    /// `Request Start Date/Time`: "at-once" or an instant (RFC 3339).
    request_start: RequestStart = RequestStart::AtOnce;
    /// `Auto Adjust Issuance Request Time`: moves the request at random by 1 to 600 seconds. Without effect where a capacity gives slots.
    auto_adjust: bool = false;
    /// Number of polls after a communication error or a deferral: 0 to 1000.
    polls: u32 = 10;
    /// Time between polls. 1 s to 24 h.
    poll_interval: Span = Span(SignedDuration::from_mins(5));
    /// `Send Periodic Issuance Requests`: "off" or an interval, at least 1 min.
    periodic: Periodic = Periodic::Off;
    /// `Automatically Restart Device After Acquiring Certificate`.
    restart: bool = false;
    /// `Delete Old Key and Certificate`: those with the same key use location are overwritten. The default key never is.
    delete_old: bool = false;
    /// Requests per second that the SCEP server can take from this group: "off", or a number above 0. Gives each device a slot of its own.
    capacity: Capacity = Capacity::Off;
    /// The window for the slots, from `request_start`. 0: as long as they need.
    window: Span = Span(SignedDuration::ZERO);
    /// Key name, easy to find in the list. 1 to 64 printable characters. A template.
    key_name: String = "scep".to_owned();
    /// Hash of the signature: SHA-256, SHA-384 or SHA-512.
    signature_algorithm: SignatureHash = SignatureHash::Sha256;
    /// Length of the RSA key in bits: 2048, 3072 or 4096.
    key_length: KeyLength = KeyLength::Rsa2048;
    /// Organization (O) of the subject. At most 64 characters; empty: left out.
    organization: String = String::new();
    /// Common name (CN) of the subject: an IP address or FQDN. A template of `{hostname}`, `{fqdn}`, `{ip}` and `{serial}`.
    common_name: String = "{fqdn}".to_owned();
    /// Subject alternative names, templates with their kind: `dns:{fqdn}`, `ip:{ip}`, `uri:urn:printer:{serial}`. Those that a device cannot fill in are left out.
    subject_alt_names: Vec<String> = vec!["dns:{fqdn}".to_owned(), "ip:{ip}".to_owned()];
    /// Key use location: `None`, `TLS`, `IPSec` or `IEEE 802.1X`.
    key_use: KeyUse = KeyUse::None;
    /// With `IPSec`: the destination, from the device's list. Empty: its only one.
    ipsec_destination: String = String::new();
    /// Keys and certificates that the device holds at most: 1 to 100.
    max_keys: u32 = 3;
}

/// The settings of one device, signed like its trust: the payload of an envelope of type `application/vnd.convoy.scep.v1`. Contains no secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScepDocument {
    /// The fleet.
    pub fleet_id: FleetId,
    /// The device.
    pub client: ClientId,
    /// Version of the root in force when it was issued.
    pub root_version: RootVersion,
    /// Counts changes of SCEP settings, fleet-wide; only grows. It has nothing to do with trust documents'.
    pub revision: Revision,
    /// When it was issued.
    pub issued_at: Timestamp,
    /// The settings, with `server` as they were given.
    pub settings: ScepSettings,
    /// The server's URL, port included: the built-in server's too. `None`: no server is set.
    pub url: Option<String>,
    /// The device's slot: how long after `request_start` it sends its request. `None`: no capacity is given.
    pub slot: Option<SignedDuration>,
}
