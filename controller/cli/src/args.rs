//! The command line's grammar, as clap reads it. Nothing here talks to the controller.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum, builder::NonEmptyStringValueParser, value_parser};
use convoy_proto::v1;
use jiff::{SignedDuration, Timestamp};

use crate::{
    batch::args::{Apply, Export},
    durations::{self, Until},
    scep::args::ScepCommand,
};

const AFTER_HELP: &str = "\
Exit codes: 0 done, 1 error, 2 usage. `rotation status --watch`: 0 if the rotation completed, else 1.
`scep request --wait`: 0 if the certificate is in place, else 1. `apply --dry-run`: 5 if something would change.
What scripts use (a token, a generation, an id, JSON) is alone on stdout; everything else is on stderr.";

/// Operates a Convoy fleet: join tokens, clients, server certificates, the rotation from one to the next, and the certificates that clients obtain over SCEP.
#[derive(Debug, Parser)]
#[command(name = "convoy", version, after_help = AFTER_HELP)]
pub(crate) struct Arguments {
    #[command(flatten)]
    pub(crate) common: Common,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Args)]
pub(crate) struct Common {
    /// The controller's data directory; its socket is D/convoy.sock [default: /var/lib/convoy]
    #[arg(long, value_name = "D", global = true, conflicts_with = "socket")]
    pub(crate) data_dir: Option<PathBuf>,
    /// The controller's socket [env: CONVOY_SOCKET]
    #[arg(long, value_name = "PATH", global = true)]
    pub(crate) socket: Option<PathBuf>,
    /// How to print answers
    #[arg(short, long, value_enum, default_value_t = Output::Text, global = true)]
    pub(crate) output: Output,
    /// Repeats an earlier change at most once: the id it was sent with [default: a fresh UUID]
    #[arg(long, value_name = "ID", global = true, value_parser = request_id)]
    pub(crate) request_id: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Output {
    /// For people
    Text,
    /// One JSON document; with --watch one per line
    Json,
    /// A file of settings; only `scep settings show` and `export`
    Toml,
}

/// How answers are printed, where TOML is no choice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    Text,
    Json,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// How the controller does: whether it serves, what is wrong, who is connected
    Status,
    /// The clock of the controller's host, where it is not believed
    Clock {
        #[command(subcommand)]
        command: ClockCommand,
    },
    /// Join tokens: strings with which hosts become clients
    Token {
        #[command(subcommand)]
        command: TokenCommand,
    },
    /// Where clients reach the controller
    Addresses {
        #[command(subcommand)]
        command: AddressesCommand,
    },
    /// Client groups
    Groups {
        #[command(subcommand)]
        command: GroupsCommand,
    },
    /// The roster
    Clients {
        #[command(subcommand)]
        command: ClientsCommand,
    },
    /// Server certificates
    Cert {
        #[command(subcommand)]
        command: CertCommand,
    },
    /// The root of trust: says whose signatures the fleet obeys
    Root {
        #[command(subcommand)]
        command: RootCommand,
    },
    /// The procedure that changes the server certificate
    Rotation {
        #[command(subcommand)]
        command: RotationCommand,
    },
    /// Certificates that clients obtain over SCEP: settings, requests, load, and the built-in SCEP server
    Scep {
        #[command(subcommand)]
        command: Box<ScepCommand>,
    },
    /// What to do after an old copy of the controller's data folder was put back
    Recover {
        #[command(subcommand)]
        command: RecoverCommand,
    },
    /// What must never be forgotten, for a file that is kept apart from the journal
    Audit {
        #[command(subcommand)]
        command: AuditCommand,
    },
    /// Writes all settings into one TOML file, without secrets
    ///
    /// Groups, SCEP settings of groups and clients, and the built-in SCEP server's approval and profiles. What was not
    /// set is not in it, and neither is any secret.
    Export(Export),
    /// Makes all settings as a TOML file of `convoy export` says
    ///
    /// Prints what differs first. What is set now and not in the file is reset; groups and profiles that are not in the
    /// file are left alone. Auto-request timers that are in the way are off meanwhile. It stops at the first refusal, and
    /// says what was applied and what was not.
    Apply(Apply),
}

#[derive(Debug, Subcommand)]
pub(crate) enum RecoverCommand {
    /// Says whether the journal is older than the fleet, and what shows it
    Show,
    /// Goes on from an old copy of the journal
    ///
    /// Moves all numbers on beyond what clients have shown, begins a new epoch, voids all join tokens and challenges, ends a running rotation, and lets
    /// gates open again. Asks for the number of clients in the roster. May be run again when a client comes that is further ahead.
    FastForward(FastForward),
}

#[derive(Debug, Args)]
pub(crate) struct FastForward {
    /// Readmits a client that the journal does not know: its UUID, or its name if no other of them has it. May be repeated
    #[arg(long, value_name = "CLIENT", value_parser = NonEmptyStringValueParser::new())]
    pub(crate) readmit: Vec<String>,
    /// What came after the copy, as `convoy audit export` wrote it; `-` is standard input
    #[arg(long, value_name = "FILE")]
    pub(crate) audit: Option<PathBuf>,
    /// Also if another copy of this controller has gone on; that one stops then
    #[arg(long)]
    pub(crate) take_over: bool,
    /// The number of clients that the roster is to have, where nobody can be asked
    #[arg(long, value_name = "N")]
    pub(crate) confirm: Option<u64>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum AuditCommand {
    /// Writes decommissioned clients, retired certificates and revocations, one JSON object a line
    Export {
        /// Where to; replaced in one step [default: stdout]
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum ClockCommand {
    /// Says that the wall clock of the controller's host is right: gates open again, and leases are renewed
    Confirm {
        /// What time it is by your own watch, for example 2026-08-31T12:00:00Z; within 5 minutes of the host's clock
        #[arg(value_name = "TIME", value_parser = durations::time)]
        time: Timestamp,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum TokenCommand {
    /// Creates a token and prints it, alone, on stdout
    Create {
        /// The group that it admits to
        #[arg(long, value_name = "G", default_value = "default", value_parser = NonEmptyStringValueParser::new())]
        group: String,
        /// How many clients it admits
        #[arg(long, value_name = "N", default_value_t = 1, value_parser = value_parser!(u32).range(1..=1_000_000))]
        uses: u32,
        /// How long it lives, for example 90s, 30m, 1h, 1h30m, 7d
        #[arg(long, value_name = "DURATION", default_value = "1h", value_parser = durations::positive)]
        expires: SignedDuration,
    },
    /// Lists tokens, never their secrets
    List,
    /// Makes a token useless; clients that joined with it stay
    Revoke {
        /// The token's UUID
        #[arg(value_parser = NonEmptyStringValueParser::new())]
        id: String,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum RootCommand {
    /// Shows the root in force
    Show,
    /// Puts a new version with the same keys in force, and publishes the present trust again under it
    ///
    /// Agents take it when they next open a session, which those that are connected are asked to do. Do it before the root
    /// expires, and after the controller's clock was wrong for a while: an agent never believes a time before one that
    /// the controller has signed, until there is a new root. Refused while a rotation runs.
    Renew,
}

#[derive(Debug, Subcommand)]
pub(crate) enum AddressesCommand {
    /// Shows the addresses, and which clients have come by which
    Show,
    /// Sets the addresses, best first, in place of those so far; refused while a rotation runs
    ///
    /// The controller proves itself at each new address, and one connected client tries it, before the others are told.
    /// Clients keep what they knew until a session over one of these has held.
    Set {
        /// host:port, an IPv6 address in brackets; at most 8
        #[arg(value_name = "ADDRESS", required = true, num_args = 1..=8, value_parser = NonEmptyStringValueParser::new())]
        addresses: Vec<String>,
        /// The controller is not at the new ones yet: clients try them only after all others have failed
        #[arg(long)]
        ahead: bool,
        /// Also if a client of the roster has come by none that stays, or no client that was asked reaches the new ones
        #[arg(long)]
        force: bool,
    },
    /// Removes an address; refused while a rotation runs, and while a client of the roster has come by no other
    Remove {
        /// host:port
        #[arg(value_parser = NonEmptyStringValueParser::new())]
        address: String,
        /// Also if a client of the roster has come by no other
        #[arg(long)]
        force: bool,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum GroupsCommand {
    /// Lists groups by name
    List,
    /// Creates a group
    Create {
        /// 1 to 63 of a-z, 0-9, "-", "_", "."; begins with a letter or digit
        #[arg(value_parser = NonEmptyStringValueParser::new())]
        name: String,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum ClientsCommand {
    /// Lists clients in the order in which they joined
    List {
        /// Only of this group
        #[arg(long, value_name = "G", value_parser = NonEmptyStringValueParser::new())]
        group: Option<String>,
        /// Decommissioned ones too
        #[arg(long)]
        all: bool,
    },
    /// Shows one client
    Show {
        #[command(flatten)]
        which: WhichClient,
    },
    /// Counts a client again: after one of its copies was removed, or its host was looked at
    Resolve {
        #[command(flatten)]
        which: WhichClient,
    },
    /// Removes a client from the roster for good
    Decommission {
        #[command(flatten)]
        which: WhichClient,
        /// Do not ask
        #[arg(long)]
        yes: bool,
    },
}

#[derive(Debug, Args)]
pub(crate) struct WhichClient {
    /// Its UUID, the beginning of it (8 characters at least), or its name
    #[arg(value_parser = NonEmptyStringValueParser::new())]
    pub(crate) client: String,
}

#[derive(Debug, Subcommand)]
pub(crate) enum CertCommand {
    /// Imports a certificate and prints its generation, alone, on stdout; nothing is served differently yet
    Import {
        /// The certificate, and its chain after it, PEM
        #[arg(long, value_name = "F")]
        cert: PathBuf,
        /// Its private key, PEM: PKCS#8, PKCS#1 or SEC1, not encrypted
        #[arg(long, value_name = "F")]
        key: PathBuf,
    },
    /// Lists certificates by generation
    List,
    /// Shows one certificate
    Show {
        /// Its generation [default: the one that is served]
        #[arg(value_name = "GEN", value_parser = value_parser!(u64).range(1..))]
        generation: Option<u64>,
    },
    /// Stops serving an old certificate to clients that still trust only that one
    Retire {
        /// Its generation
        #[arg(value_name = "GEN", value_parser = value_parser!(u64).range(1..))]
        generation: u64,
        /// Also if clients of the roster trust nothing else that is served
        #[arg(long)]
        force: bool,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum RotationCommand {
    /// Starts a rotation and prints its id, alone, on stdout
    Start(Start),
    /// Shows where a rotation is, who is missing, and what to do next
    Status {
        /// The rotation's UUID [default: the newest]
        #[arg(value_parser = NonEmptyStringValueParser::new())]
        id: Option<String>,
        /// Follow it until it is over
        #[arg(long)]
        watch: bool,
    },
    /// Lets no phase begin and keeps the gates shut until resumed
    Pause {
        /// The rotation's UUID [default: the one that runs]
        #[arg(value_parser = NonEmptyStringValueParser::new())]
        id: Option<String>,
    },
    /// Ends a pause
    Resume {
        /// The rotation's UUID [default: the one that runs]
        #[arg(value_parser = NonEmptyStringValueParser::new())]
        id: Option<String>,
    },
    /// Publishes the old trust again; refused from Swapping on
    Abort {
        /// The rotation's UUID [default: the one that runs]
        #[arg(value_parser = NonEmptyStringValueParser::new())]
        id: Option<String>,
    },
    /// Serves the old certificate again; refused but in Swapping
    Rollback {
        /// The rotation's UUID [default: the one that runs]
        #[arg(value_parser = NonEmptyStringValueParser::new())]
        id: Option<String>,
    },
    /// Lets the gates open without a named client
    Waive(Waive),
    /// Lists rotations, newest first
    List,
}

#[derive(Debug, Args)]
pub(crate) struct Start {
    /// The generation to go to
    #[arg(long, value_name = "GEN", value_parser = value_parser!(u64).range(1..))]
    pub(crate) to: u64,
    /// How trust is moved from the old certificate to the new one
    #[arg(long, value_enum, default_value_t = Strategy::Overlap)]
    pub(crate) strategy: Strategy,
    /// How long after the swap to wait for those that were connected [default: 10m]
    #[arg(long, value_name = "DURATION", value_parser = durations::positive)]
    pub(crate) return_window: Option<SignedDuration>,
    /// How many of those may stay away [default: 2 %, at least 1]
    #[arg(long, value_name = "N")]
    pub(crate) max_missing: Option<u32>,
    /// With --strategy toggle: how long "off" lasts without a session [default: 14d]
    #[arg(long, value_name = "DURATION", value_parser = durations::positive)]
    pub(crate) off_lease: Option<SignedDuration>,
    /// Start although the roster is empty
    #[arg(long)]
    pub(crate) allow_empty: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Strategy {
    /// Trust the old and the new certificate together; verification is never off
    Overlap,
    /// Verification off, swap, verification on
    Toggle,
}

impl From<Strategy> for v1::Strategy {
    fn from(strategy: Strategy) -> Self {
        match strategy {
            Strategy::Overlap => Self::Overlap,
            Strategy::Toggle => Self::Toggle,
        }
    }
}

#[derive(Debug, Args)]
pub(crate) struct Waive {
    #[command(flatten)]
    pub(crate) which: WhichClient,
    /// Why, 1 to 500 characters
    #[arg(long, value_parser = NonEmptyStringValueParser::new())]
    pub(crate) reason: String,
    /// Until when: a time like 2026-08-31T12:00:00Z, or a duration from now like 7d
    #[arg(long, value_name = "TIME", value_parser = durations::until)]
    pub(crate) until: Until,
    /// The rotation's UUID [default: the one that runs]
    #[arg(long, value_name = "ID", value_parser = NonEmptyStringValueParser::new())]
    pub(crate) rotation: Option<String>,
}

fn request_id(given: &str) -> Result<String, String> {
    if (1..=64).contains(&given.chars().count()) {
        Ok(given.to_owned())
    } else {
        Err("a request id has 1 to 64 characters".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_grammar_is_sound() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn global_options_stand_anywhere() {
        for line in [
            "convoy -o json --data-dir /d clients list",
            "convoy clients list -o json --data-dir /d",
        ] {
            let read = Arguments::try_parse_from(line.split(' ')).unwrap();
            assert_eq!(read.common.output, Output::Json);
            assert_eq!(read.common.data_dir, Some(PathBuf::from("/d")));
        }
    }

    #[test]
    fn wrong_usage_is_refused() {
        for line in [
            "convoy",
            "convoy token create --uses 0",
            "convoy token create --expires 0s",
            "convoy token create --expires soon",
            "convoy rotation start",
            "convoy rotation start --to 0",
            "convoy rotation waive pc-1 --reason holiday",
            "convoy clients list --socket /a --data-dir /b",
            "convoy clients list -o yaml",
        ] {
            let refusal = Arguments::try_parse_from(line.split(' ')).unwrap_err();
            assert!(refusal.use_stderr(), "{line}");
            assert_eq!(refusal.exit_code(), 2, "{line}");
        }
    }
}
