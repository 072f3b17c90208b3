//! The commands of the device's own administrator: certificate requests, and all settings as one file.

use std::{
    io::Read as _,
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::Subcommand;

use super::{ConfigurationFile, ERROR, Output, StateFolder, note, print, print_as};
use crate::{
    disk::StateDir,
    scep::{batch, request, show},
};

/// The longest file of settings that is read, in bytes.
const LONGEST: u64 = 1 << 20;

#[derive(Subcommand)]
pub(super) enum ScepCommand {
    /// Show the certificate issuance requests and when the next one is, from the disk alone
    Status {
        #[command(flatten)]
        state: StateFolder,
        /// How to print it
        #[arg(short, long, default_value = "text")]
        output: Output,
    },
    /// Show the last 20 certificates, from the disk alone
    History {
        #[command(flatten)]
        state: StateFolder,
        /// How to print it
        #[arg(short, long, default_value = "text")]
        output: Output,
    },
    /// Request a certificate now. Exit code 1 if there is none in the end. Refused while the auto-request timer is on
    Request {
        #[command(flatten)]
        state: StateFolder,
        #[command(flatten)]
        configuration: ConfigurationFile,
        #[command(flatten)]
        flags: Box<request::Flags>,
    },
}

#[derive(Subcommand)]
pub(super) enum SettingsCommand {
    /// Write all settings into one file
    Export {
        #[command(flatten)]
        state: StateFolder,
        #[command(flatten)]
        configuration: ConfigurationFile,
        /// Where to [default: standard output]
        file: Option<PathBuf>,
    },
    /// Take all settings from one file: all or nothing
    Import {
        #[command(flatten)]
        state: StateFolder,
        #[command(flatten)]
        configuration: ConfigurationFile,
        /// What `export` wrote; `-` reads standard input
        file: PathBuf,
        /// Only say what would change
        #[arg(long)]
        dry_run: bool,
    },
}

pub(super) async fn scep(command: ScepCommand) -> anyhow::Result<ExitCode> {
    match command {
        ScepCommand::Status { state, output } => {
            let requests = show::requests(&StateDir::open(&state.state_dir)?)?;
            print_as(output, &requests)?;
        }
        ScepCommand::History { state, output } => {
            let history = show::history(&StateDir::open(&state.state_dir)?)?;
            print_as(output, &history)?;
        }
        ScepCommand::Request {
            state,
            configuration,
            flags,
        } => {
            let dir = StateDir::open(&state.state_dir)?;
            let configuration = configuration.path(&dir);
            let say = |line: &str| {
                // If nobody listens there is nobody to tell.
                drop(print(&format!("{line}\n")));
            };
            if !request::request(&dir, &configuration, *flags, say).await? {
                return Ok(ExitCode::from(ERROR));
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

pub(super) async fn settings(command: SettingsCommand) -> anyhow::Result<ExitCode> {
    match command {
        SettingsCommand::Export {
            state,
            configuration,
            file,
        } => {
            let dir = StateDir::open(&state.state_dir)?;
            let text = batch::export(&dir, &configuration.path(&dir))?;
            match file {
                None => print(&text)?,
                Some(file) => batch::write(&file, &text)?,
            }
        }
        SettingsCommand::Import {
            state,
            configuration,
            file,
            dry_run,
        } => {
            let dir = StateDir::open(&state.state_dir)?;
            let mut text = String::new();
            if file == Path::new("-") {
                std::io::stdin().take(LONGEST).read_to_string(&mut text)?;
            } else {
                std::fs::File::open(&file)?
                    .take(LONGEST)
                    .read_to_string(&mut text)?;
            }
            let import = batch::read(&dir, &configuration.path(&dir), &text)?;
            for line in &import.summary {
                note(line);
            }
            if !dry_run {
                batch::apply(&dir, &import).await?;
                note("imported");
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}
