//! One option per SCEP setting, and the patch that they make. Whether the settings go together is the controller's to say.

use std::path::{Path, PathBuf};

use clap::{Args, builder::NonEmptyStringValueParser};
use convoy_shared::{
    id::Digest,
    settings::{
        CaPin, Capacity, ChallengeSource, KeyLength, KeyUse, Periodic, RequestStart, ScepPatch,
        ScepServer, SignatureHash, Span,
    },
};

use super::pem;
use crate::{failure::Failure, files};

/// Every setting but the timer itself.
#[derive(Debug, Default, Args)]
pub(crate) struct SettingsFlags {
    #[command(flatten, next_help_heading = "SCEP server")]
    server: ServerFlags,
    #[command(flatten, next_help_heading = "Challenge password")]
    challenge: ChallengeFlags,
    #[command(flatten, next_help_heading = "When")]
    when: WhenFlags,
    #[command(flatten, next_help_heading = "Key and certificate")]
    key: KeyFlags,
    #[command(flatten, next_help_heading = "On the device")]
    device: DeviceFlags,
}

#[derive(Debug, Default, Args)]
struct ServerFlags {
    /// none, built-in, or a URL like http://ca.example/scep
    #[arg(long, value_name = "URL")]
    server: Option<ScepServer>,
    /// TCP port of the SCEP server; 0: the URL's
    #[arg(long, value_name = "N")]
    port: Option<u16>,
    /// What is not answered within it is a communication error; 1s to 10m
    #[arg(long, value_name = "DURATION")]
    timeout: Option<Span>,
    /// CA identifier of GetCACaps and GetCACert; "": left out
    #[arg(long, value_name = "TEXT")]
    ca_identifier: Option<String>,
    /// SHA-256 of the CA certificate, 64 hex digits, or none
    #[arg(long, value_name = "SHA256")]
    ca_fingerprint: Option<CaPin>,
    /// The CA certificate, PEM or DER, from which the fingerprint is made
    #[arg(long, value_name = "F", conflicts_with = "ca_fingerprint")]
    ca_certificate: Option<PathBuf>,
    /// Accept answers in DES
    #[arg(long, value_name = "true|false", hide_possible_values = true)]
    allow_legacy: Option<bool>,
    /// Use GET also where the server offers POST
    #[arg(long, value_name = "true|false", hide_possible_values = true)]
    get_only: Option<bool>,
    /// Requests per second that the SCEP server can take from the group, like 2.5, or off; gives each device a slot of its own
    #[arg(long, value_name = "RATE")]
    capacity: Option<Capacity>,
    /// Window for the slots, from the start; 0s: as long as they need
    #[arg(long, value_name = "DURATION")]
    window: Option<Span>,
}

#[derive(Debug, Default, Args)]
struct ChallengeFlags {
    /// Where it comes from: none, built-in, stored (with --challenge-file) or ndes
    #[arg(long, value_name = "SOURCE")]
    challenge: Option<ChallengeSource>,
    /// URL of NDES's challenge page, like http://ndes.example/certsrv/mscep_admin/
    #[arg(long, value_name = "URL")]
    ndes_url: Option<String>,
    /// User name for NDES's challenge page
    #[arg(long, value_name = "NAME")]
    ndes_user: Option<String>,
    /// How many challenges NDES has outstanding at most; its default is 5
    #[arg(long, value_name = "N")]
    ndes_cache: Option<u32>,
}

#[derive(Debug, Default, Args)]
struct WhenFlags {
    /// Request Start Date/Time: at-once, or a time like 2027-01-31T02:00:00Z
    #[arg(long, value_name = "TIME")]
    request_start: Option<RequestStart>,
    /// Auto Adjust Issuance Request Time: move the request at random by 1 to 600 seconds
    #[arg(long, value_name = "true|false", hide_possible_values = true)]
    auto_adjust: Option<bool>,
    /// Polls after a communication error or a deferral; 0 to 1000
    #[arg(long, value_name = "N")]
    polls: Option<u32>,
    /// Time between polls; 1s to 24h
    #[arg(long, value_name = "DURATION")]
    poll_interval: Option<Span>,
    /// Send Periodic Issuance Requests: off, or an interval like 30d
    #[arg(long, value_name = "INTERVAL")]
    periodic: Option<Periodic>,
}

#[derive(Debug, Default, Args)]
struct DeviceFlags {
    /// Automatically Restart Device After Acquiring Certificate
    #[arg(long, value_name = "true|false", hide_possible_values = true)]
    restart: Option<bool>,
    /// Delete Old Key and Certificate of the same key use location; never the default key
    #[arg(long, value_name = "true|false", hide_possible_values = true)]
    delete_old: Option<bool>,
    /// Keys and certificates that the device holds at most; 1 to 100
    #[arg(long, value_name = "N")]
    max_keys: Option<u32>,
}

/// What a key and its certificate are to be. Texts may have {hostname}, {fqdn}, {ip} and {serial} in them.
#[derive(Debug, Default, Args)]
pub(crate) struct KeyFlags {
    /// Key name, easy to find in the list; 1 to 64 characters; {hostname}, {fqdn}, {ip} and {serial} are filled in, here and below
    #[arg(long, value_name = "NAME")]
    key_name: Option<String>,
    /// Hash of the signature: SHA-256, SHA-384 or SHA-512
    #[arg(long, value_name = "HASH")]
    signature_algorithm: Option<SignatureHash>,
    /// Bits of the RSA key: 2048, 3072 or 4096
    #[arg(long, value_name = "BITS")]
    key_length: Option<KeyLength>,
    /// Organization (O) of the subject; "": left out
    #[arg(long, value_name = "O")]
    organization: Option<String>,
    /// Common name (CN) of the subject: an IP address or FQDN; for IPPS printing from Windows the IP address
    #[arg(long, value_name = "CN")]
    common_name: Option<String>,
    /// Subject alternative name: dns:NAME, ip:ADDRESS or uri:URI; can be repeated, and replaces all that were set
    #[arg(long = "san", value_name = "SAN", value_parser = NonEmptyStringValueParser::new())]
    sans: Vec<String>,
    /// No subject alternative names
    #[arg(long, conflicts_with = "sans")]
    no_san: bool,
    /// Key use location: None, TLS, IPSec or "IEEE 802.1X"
    #[arg(long, value_name = "LOCATION")]
    key_use: Option<KeyUse>,
    /// With --key-use IPSec: the destination, from the device's list; "": its only one
    #[arg(long, value_name = "NAME")]
    ipsec_destination: Option<String>,
}

impl SettingsFlags {
    /// What is given. Reads the CA certificate, if one is named.
    pub(crate) fn patch(self) -> Result<ScepPatch, Failure> {
        let Self {
            server,
            challenge,
            when,
            key,
            device,
        } = self;
        let ca_fingerprint = match &server.ca_certificate {
            Some(path) => Some(fingerprint(path)?),
            None => server.ca_fingerprint,
        };
        let rest = ScepPatch {
            server: server.server,
            port: server.port,
            timeout: server.timeout,
            ca_identifier: server.ca_identifier,
            ca_fingerprint,
            allow_legacy: server.allow_legacy,
            get_only: server.get_only,
            challenge: challenge.challenge,
            ndes_url: challenge.ndes_url,
            ndes_user: challenge.ndes_user,
            ndes_cache: challenge.ndes_cache,
            request_start: when.request_start,
            auto_adjust: when.auto_adjust,
            polls: when.polls,
            poll_interval: when.poll_interval,
            periodic: when.periodic,
            restart: device.restart,
            delete_old: device.delete_old,
            capacity: server.capacity,
            window: server.window,
            max_keys: device.max_keys,
            ..ScepPatch::default()
        };
        Ok(key.patch().after(&rest))
    }
}

impl KeyFlags {
    /// What is given.
    pub(crate) fn patch(self) -> ScepPatch {
        ScepPatch {
            key_name: self.key_name,
            signature_algorithm: self.signature_algorithm,
            key_length: self.key_length,
            organization: self.organization,
            common_name: self.common_name,
            subject_alt_names: (self.no_san || !self.sans.is_empty()).then_some(self.sans),
            key_use: self.key_use,
            ipsec_destination: self.ipsec_destination,
            ..ScepPatch::default()
        }
    }
}

/// The fingerprint of the one certificate in a file.
fn fingerprint(path: &Path) -> Result<CaPin, Failure> {
    let bytes = files::bytes(path)?;
    let certificate = pem::certificate(&bytes)
        .map_err(|problem| Failure::Declined(format!("{} {problem}", path.display())))?;
    Ok(CaPin::Sha256(Digest::of(&certificate)))
}

#[cfg(test)]
mod tests {
    use clap::{FromArgMatches as _, builder::Command};

    use super::*;

    fn read(arguments: &[&str]) -> Result<SettingsFlags, clap::Error> {
        let command = SettingsFlags::augment_args(Command::new("x").no_binary_name(true));
        SettingsFlags::from_arg_matches(&command.try_get_matches_from(arguments)?)
    }

    #[test]
    fn there_is_an_option_for_every_setting_but_the_timer() {
        let command = SettingsFlags::augment_args(Command::new("x"));
        for field in ScepPatch::all(&Default::default()).fields() {
            let option = match field {
                "timer" => continue,
                "subject_alt_names" => "san".to_owned(),
                field => field.replace('_', "-"),
            };
            assert!(
                command
                    .get_arguments()
                    .any(|argument| argument.get_long() == Some(option.as_str())),
                "there is no --{option}"
            );
        }
    }

    #[test]
    fn what_is_given_is_set_and_nothing_else() {
        assert!(read(&[]).unwrap().patch().unwrap().is_empty());
        let patch = read(&[
            "--server",
            "built-in",
            "--get-only",
            "false",
            "--key-use",
            "ieee 802.1x",
            "--no-san",
            "--capacity",
            "2.5",
        ])
        .unwrap()
        .patch()
        .unwrap();
        assert_eq!(
            patch.fields(),
            [
                "server",
                "get_only",
                "capacity",
                "subject_alt_names",
                "key_use"
            ]
        );
        assert_eq!(patch.subject_alt_names, Some(vec![]));
        assert_eq!(patch.key_use, Some(KeyUse::Ieee8021X));
    }

    #[test]
    fn a_value_that_cannot_be_is_refused_with_what_would_be_right() {
        for (option, value, said) in [
            ("--server", "https://h/", "plain HTTP"),
            ("--key-length", "1024", "2048"),
            ("--key-use", "Mail", "IEEE 802.1X"),
            ("--periodic", "monthly", "30d"),
            ("--ca-fingerprint", "00", "64 hex digits"),
        ] {
            let refusal = read(&[option, value]).unwrap_err().to_string();
            assert!(refusal.contains(said), "{refusal}");
        }
        assert!(read(&["--san", "dns:a", "--no-san"]).is_err());
    }
}
