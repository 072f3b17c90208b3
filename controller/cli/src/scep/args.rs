//! The grammar of `convoy scep`, as clap reads it. Nothing here talks to the controller.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum, builder::NonEmptyStringValueParser, value_parser};
use convoy_proto::v1;
use convoy_shared::settings::{Periodic, RequestStart};
use jiff::SignedDuration;

use super::{
    audience::Whose,
    flags::{KeyFlags, SettingsFlags},
};
use crate::{
    args::WhichClient,
    durations::{self, Until},
};

#[derive(Debug, Subcommand)]
pub(crate) enum ScepCommand {
    /// What devices are told about when, where and how to request certificates
    Settings {
        #[command(subcommand)]
        command: Box<SettingsCommand>,
    },
    /// The auto-request timer; settings cannot be changed while it is on
    Timer {
        #[command(subcommand)]
        command: TimerCommand,
    },
    /// Asks a device to request a certificate now, and prints the request's number, alone, on stdout
    Request(Box<Request>),
    /// Shows each client's newest request
    Status {
        /// Only of this group
        #[arg(long, value_name = "G", value_parser = NonEmptyStringValueParser::new())]
        group: Option<String>,
        /// Follow it until interrupted: redrawn on a terminal, else a line per change
        #[arg(long)]
        watch: bool,
    },
    /// Lists a client's requests, newest first
    History {
        #[command(flatten)]
        which: WhichClient,
    },
    /// Shows when the devices will load their SCEP servers
    Plan(Box<Plan>),
    /// The CA of the built-in SCEP server
    Ca {
        #[command(subcommand)]
        command: CaCommand,
    },
    /// How the built-in server decides requests with a valid challenge
    Approval {
        /// How
        #[arg(value_enum)]
        approval: Approval,
    },
    /// Challenge passwords of the built-in server
    Challenge {
        #[command(subcommand)]
        command: Box<ChallengeCommand>,
    },
    /// What certificates of the built-in server are like
    Profile {
        #[command(subcommand)]
        command: ProfileCommand,
    },
    /// Requests at the built-in server that wait for approval
    Requests {
        #[command(subcommand)]
        command: RequestsCommand,
    },
    /// Certificates that the built-in server issued
    Issued {
        #[command(subcommand)]
        command: IssuedCommand,
    },
    /// Prints the built-in CA's certificate revocation list, PEM
    Crl {
        /// DER instead of PEM
        #[arg(long)]
        der: bool,
    },
}

impl ScepCommand {
    /// Whether `-o toml` means anything.
    pub(crate) fn writes_toml(&self) -> bool {
        matches!(self, Self::Settings { command } if matches!(**command, SettingsCommand::Show { .. }))
    }
}

#[derive(Debug, Subcommand)]
pub(crate) enum SettingsCommand {
    /// Shows all settings that hold, and which of them were set
    ///
    /// With -o toml: a file for `convoy scep settings diff`, in which what was not set stands behind a "#".
    Show {
        #[command(flatten)]
        whose: Whose,
    },
    /// Sets what is given, and leaves the rest
    ///
    /// Refused while the auto-request timer is on: turn it off first with `convoy scep timer off`.
    Set(Box<Set>),
    /// Shows what a TOML file of settings would change
    Diff {
        /// The file, as from `convoy scep settings show -o toml`; "-" is standard input
        file: PathBuf,
        #[command(flatten)]
        whose: Whose,
    },
}

#[derive(Debug, Args)]
pub(crate) struct Set {
    #[command(flatten)]
    pub(crate) whose: Whose,
    #[command(flatten)]
    pub(crate) flags: SettingsFlags,
    /// A file with the SCEP server's challenge password, for --challenge stored; "-" is standard input. It goes to the controller and is never shown again
    #[arg(long, value_name = "F", help_heading = "Secrets")]
    pub(crate) challenge_file: Option<PathBuf>,
    /// A file with the password of NDES's page; "-" is standard input
    #[arg(long, value_name = "F", help_heading = "Secrets")]
    pub(crate) ndes_password_file: Option<PathBuf>,
    /// Make the controller forget the challenge password
    #[arg(long, help_heading = "Secrets", conflicts_with = "challenge_file")]
    pub(crate) forget_challenge: bool,
    /// Make the controller forget the password of NDES's page
    #[arg(long, help_heading = "Secrets", conflicts_with = "ndes_password_file")]
    pub(crate) forget_ndes_password: bool,
    /// Forget everything that was set before
    #[arg(long)]
    pub(crate) reset: bool,
    /// Only say what would come of it
    #[arg(long)]
    pub(crate) dry_run: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum TimerCommand {
    /// Turns it on
    On {
        #[command(flatten)]
        whose: Whose,
        /// Request Start Date/Time: at-once, or a time like 2027-01-31T02:00:00Z [default: as set]
        #[arg(long, value_name = "TIME")]
        start: Option<RequestStart>,
        /// Send Periodic Issuance Requests: off, or an interval like 30d [default: as set]
        #[arg(long, value_name = "INTERVAL")]
        periodic: Option<Periodic>,
    },
    /// Turns it off
    Off {
        #[command(flatten)]
        whose: Whose,
    },
}

#[derive(Debug, Args)]
pub(crate) struct Request {
    #[command(flatten)]
    pub(crate) which: WhichClient,
    #[command(flatten)]
    pub(crate) key: KeyFlags,
    /// Restart the device, or the service that uses the key, after the certificate is in place
    #[arg(long)]
    pub(crate) restart: bool,
    /// A file with the challenge password; "-" is standard input [default: from where the settings say]
    #[arg(long, value_name = "F", conflicts_with = "prompt")]
    pub(crate) challenge_file: Option<PathBuf>,
    /// Ask for the challenge password at the terminal, which does not show it
    #[arg(long)]
    pub(crate) prompt: bool,
    /// Follow the request until it has succeeded or failed
    #[arg(long)]
    pub(crate) wait: bool,
    /// With --wait: for how long [default: 5m]
    #[arg(long, value_name = "DURATION", requires = "wait", value_parser = durations::positive)]
    pub(crate) timeout: Option<SignedDuration>,
}

#[derive(Debug, Args)]
pub(crate) struct Plan {
    /// Only of this group [default: all whose timer is on]
    #[arg(long, value_name = "G", value_parser = NonEmptyStringValueParser::new())]
    pub(crate) group: Option<String>,
    #[command(flatten)]
    pub(crate) flags: SettingsFlags,
}

#[derive(Debug, Subcommand)]
pub(crate) enum CaCommand {
    /// Shows where the server is, its CAs with their fingerprints, and what they have issued
    Show,
    /// Prints the CA's certificate, PEM
    Export {
        /// The next CA's
        #[arg(long)]
        next: bool,
        /// DER instead of PEM
        #[arg(long)]
        der: bool,
    },
    /// Makes the next CA, which devices can fetch beforehand; with --activate puts it in force
    Rollover {
        /// Put the next CA in force
        #[arg(long)]
        activate: bool,
        /// What the CA that is made signs with; as the CA in force unless given
        #[arg(long, value_enum, conflicts_with = "activate")]
        key: Option<CaKey>,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum CaKey {
    /// RSA with 2048 bits, for certificates and for messages: every device takes it
    #[value(name = "rsa-2048")]
    Rsa2048,
    /// ECDSA on P-256 for certificates, and an RA with an RSA key for messages: faster, for devices that know elliptic curves and RAs
    #[value(name = "ecdsa-p256")]
    EcdsaP256,
}

impl From<CaKey> for v1::ScepCaKey {
    fn from(key: CaKey) -> Self {
        match key {
            CaKey::Rsa2048 => Self::Rsa2048,
            CaKey::EcdsaP256 => Self::EcdsaP256,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Approval {
    /// At once
    Automatic,
    /// By an operator, with `convoy scep requests`; renewals are decided at once all the same
    Manual,
}

impl From<Approval> for v1::ScepApproval {
    fn from(approval: Approval) -> Self {
        match approval {
            Approval::Automatic => Self::Automatic,
            Approval::Manual => Self::Manual,
        }
    }
}

#[derive(Debug, Subcommand)]
pub(crate) enum ChallengeCommand {
    /// Creates a challenge password and prints it, alone, on stdout
    Create(CreateChallenge),
    /// Lists challenges, never their secrets
    List,
    /// Makes a challenge useless; certificates that it brought stay
    Revoke {
        /// The challenge's id
        #[arg(value_parser = NonEmptyStringValueParser::new())]
        id: String,
    },
}

#[derive(Debug, Args)]
pub(crate) struct CreateChallenge {
    /// How often it admits a request [default: once]
    #[arg(long, value_name = "N", value_parser = value_parser!(u32).range(1..))]
    pub(crate) uses: Option<u32>,
    /// It admits any number of requests
    #[arg(long, conflicts_with = "uses")]
    pub(crate) unlimited: bool,
    /// The common name that it is for [default: any; with --san one of those names]
    #[arg(long, value_name = "CN", value_parser = NonEmptyStringValueParser::new())]
    pub(crate) common_name: Option<String>,
    /// A subject alternative name that it is for: dns:NAME, ip:ADDRESS or uri:URI; can be repeated
    #[arg(long = "san", value_name = "SAN", value_parser = NonEmptyStringValueParser::new())]
    pub(crate) sans: Vec<String>,
    /// Made for this client, whose certificates it brings: UUID, the beginning of it, or name
    #[arg(long, value_name = "CLIENT", conflicts_with = "group", value_parser = NonEmptyStringValueParser::new())]
    pub(crate) client: Option<String>,
    /// Made for this group
    #[arg(long, value_name = "G", value_parser = NonEmptyStringValueParser::new())]
    pub(crate) group: Option<String>,
    /// How long it lives, for example 1h or 7d, or never [default: 1h]
    #[arg(long, value_name = "DURATION", value_parser = Expiry::read)]
    pub(crate) expires: Option<Expiry>,
    /// From when on it admits: a time like 2027-01-31T02:00:00Z, or a duration from now [default: now]
    #[arg(long, value_name = "TIME", value_parser = durations::until)]
    pub(crate) not_before: Option<Until>,
    /// The issuing profile [default: default]
    #[arg(long, value_name = "NAME", value_parser = NonEmptyStringValueParser::new())]
    pub(crate) profile: Option<String>,
    /// A file with a password of your own, 8 to 255 characters; "-" is standard input. It is not printed [default: generated]
    #[arg(long, value_name = "F")]
    pub(crate) static_file: Option<PathBuf>,
}

/// How long a challenge lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Expiry {
    After(SignedDuration),
    Never,
}

impl Expiry {
    fn read(given: &str) -> Result<Self, String> {
        match given.trim() {
            "never" => Ok(Self::Never),
            given => durations::positive(given)
                .map(Self::After)
                .map_err(|problem| format!("{problem}, or never")),
        }
    }

    /// As the API has it.
    pub(crate) fn lifetime(self) -> SignedDuration {
        match self {
            Self::After(lifetime) => lifetime,
            Self::Never => SignedDuration::ZERO,
        }
    }
}

#[derive(Debug, Subcommand)]
pub(crate) enum ProfileCommand {
    /// Lists profiles by name
    List,
    /// Creates a profile, or changes what is given
    Set(SetProfile),
}

#[derive(Debug, Args)]
pub(crate) struct SetProfile {
    /// 1 to 63 of a-z, 0-9, "-", "_", "."
    #[arg(value_parser = NonEmptyStringValueParser::new())]
    pub(crate) name: String,
    /// How long certificates are valid, for example 90d [default: as it is; new: as the profile default]
    #[arg(long, value_name = "DURATION", value_parser = durations::positive)]
    pub(crate) lifetime: Option<SignedDuration>,
    /// An extended key usage: serverAuth, clientAuth, ipsecIKE or an object identifier; can be repeated
    #[arg(long = "eku", value_name = "EKU", value_parser = NonEmptyStringValueParser::new())]
    pub(crate) ekus: Vec<String>,
    /// No extended key usage: to SCEP clients a device's certificate then looks like one that an RA may have
    #[arg(long, conflicts_with = "ekus")]
    pub(crate) no_eku: bool,
    /// A kind of subject alternative names that is taken from requests: dns, ip or uri; can be repeated
    #[arg(long = "san-kind", value_name = "KIND", value_parser = ["dns", "ip", "uri"])]
    pub(crate) san_kinds: Vec<String>,
    /// No subject alternative name is taken from requests
    #[arg(long, conflicts_with = "san_kinds")]
    pub(crate) no_san_kind: bool,
    /// A subject alternative name that every certificate gets: dns:NAME, ip:ADDRESS or uri:URI; can be repeated
    #[arg(long = "san", value_name = "SAN", value_parser = NonEmptyStringValueParser::new())]
    pub(crate) sans: Vec<String>,
    /// No subject alternative name besides those of the request
    #[arg(long, conflicts_with = "sans")]
    pub(crate) no_san: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum RequestsCommand {
    /// Lists requests that wait, oldest first
    List {
        /// Those that were decided too
        #[arg(long)]
        all: bool,
    },
    /// Issues what a request asks for, and prints the certificate's serial number, alone, on stdout
    Approve {
        /// The SCEP transaction
        #[arg(value_parser = NonEmptyStringValueParser::new())]
        transaction: String,
    },
    /// Refuses a request
    Deny {
        /// The SCEP transaction
        #[arg(value_parser = NonEmptyStringValueParser::new())]
        transaction: String,
        /// Why, at most 200 characters; the device is told
        #[arg(long, value_parser = NonEmptyStringValueParser::new())]
        reason: String,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum IssuedCommand {
    /// Lists certificates, newest first
    List {
        /// Only of this client: UUID, the beginning of it, or name
        #[arg(long, value_name = "CLIENT", value_parser = NonEmptyStringValueParser::new())]
        client: Option<String>,
    },
    /// Shows one certificate
    Show {
        /// Its serial number, hex
        #[arg(value_parser = NonEmptyStringValueParser::new())]
        serial: String,
        /// The certificate itself, PEM, alone
        #[arg(long)]
        pem: bool,
    },
    /// Revokes a certificate: the revocation list names it from then on
    Revoke {
        /// Its serial number, hex
        #[arg(value_parser = NonEmptyStringValueParser::new())]
        serial: String,
        /// Why, as RFC 5280 names it
        #[arg(long, default_value = "unspecified", value_parser = ["unspecified", "keyCompromise", "cACompromise", "affiliationChanged", "superseded", "cessationOfOperation"])]
        reason: String,
    },
}
