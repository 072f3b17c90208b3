//! The grammar of `convoy export` and `convoy apply`.

use std::path::PathBuf;

use clap::Args;

/// Groups, SCEP settings of groups and clients, and the built-in SCEP server's approval and profiles. What was not set is
/// not in it, and neither is any secret.
#[derive(Debug, Args)]
pub(crate) struct Export {
    /// The file to write; one that is there is overwritten [default: stdout]
    #[arg(value_name = "FILE")]
    pub(crate) file: Option<PathBuf>,
}

/// Prints what differs and makes it as the file says: what is set now and not in the file is reset. Groups and profiles
/// that are not in the file are left alone. Auto-request timers that are in the way are off meanwhile. Stops at the first
/// refusal, and says what was applied.
#[derive(Debug, Args)]
pub(crate) struct Apply {
    /// The file, as from `convoy export`; "-" is standard input
    #[arg(short, long, value_name = "FILE")]
    pub(crate) file: PathBuf,
    /// Only show what differs; exit code 5 if anything does
    #[arg(long)]
    pub(crate) dry_run: bool,
}
