//! The grammar of `convoy export` and `convoy apply`.

use std::path::PathBuf;

use clap::Args;

#[derive(Debug, Args)]
pub(crate) struct Export {
    /// The file to write; one that is there is overwritten [default: stdout]
    #[arg(value_name = "FILE")]
    pub(crate) file: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct Apply {
    /// The file, as from `convoy export`; "-" is standard input
    #[arg(short, long, value_name = "FILE")]
    pub(crate) file: PathBuf,
    /// Only show what differs; exit code 5 if anything does
    #[arg(long)]
    pub(crate) dry_run: bool,
}
