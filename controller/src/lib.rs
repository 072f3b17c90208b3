//! The controller: sockets, clocks, disks and processes around the pure fleet. What may happen is decided in `convoy-fleet`, never here.

pub mod agents;
pub mod api;
pub mod args;
pub mod authority;
pub mod beside;
pub mod certificate;
pub mod checks;
pub mod clock;
pub mod disk;
pub mod documents;
pub mod expiring;
pub mod failpoint;
pub mod folder;
pub mod health;
pub mod journal;
pub mod keeper;
pub mod keys;
pub mod lines;
pub mod listener;
pub mod metrics;
pub mod ndes;
pub mod pace;
pub mod peer;
pub mod presence;
pub mod pulse;
pub mod reach;
pub mod readiness;
pub mod recovery;
pub mod refusals;
pub mod requests;
pub mod scep;
pub mod serve;
pub mod sessions;
pub mod sights;
pub mod stopping;
pub mod swap;
pub mod tls;
mod ways;

use std::{ffi::OsString, process::ExitCode};

use clap::Parser as _;
use convoy_host::stderr;

/// Runs a controller with these arguments, the program's name first, until it is told to stop.
pub fn main(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let args = match args::Args::try_parse_from(args) {
        Ok(args) => args,
        Err(usage) => {
            // Help and version go to stdout and are no failure.
            let code = if usage.use_stderr() { 2 } else { 0 };
            return match usage.print() {
                Ok(()) => ExitCode::from(code),
                Err(_) => ExitCode::FAILURE,
            };
        }
    };
    let _last_words = match stderr::start() {
        Ok(last_words) => last_words,
        Err(error) => {
            eprintln!("error: cannot begin a log: {error}");
            return ExitCode::FAILURE;
        }
    };
    serve::trace(args.verbose, &args.counting());
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build();
    let served = runtime
        .map_err(anyhow::Error::from)
        .and_then(|runtime| runtime.block_on(serve::run(args)));
    match served {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            stderr::say(&format!("error: {error:#}\n"));
            ExitCode::FAILURE
        }
    }
}
