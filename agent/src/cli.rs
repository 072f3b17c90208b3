//! The command line `convoy-agent`: from arguments to an exit code. It wires, prints, and decides nothing.

mod device;
mod join;

use std::{ffi::OsString, io::Write as _, path::PathBuf, process::ExitCode};

use clap::{Args, Parser, Subcommand, ValueEnum};
use convoy_host::stderr;
use serde::Serialize;
use tracing_subscriber::EnvFilter;

use crate::{check, configuration, disk::StateDir, link::told, run, status};

const ERROR: u8 = 1;
const USAGE: u8 = 2;

/// The agent of a Convoy fleet
#[derive(Parser)]
#[command(name = "convoy-agent", version, max_term_width = 100)]
struct Arguments {
    /// Say more on stderr; twice: everything. `RUST_LOG` overrides it
    #[arg(short, long, action = clap::ArgAction::Count, global = true)]
    verbose: u8,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Make this host a client of a fleet. Prints the client's id
    ///
    /// In the folder of a client that can connect no more, because nothing that it trusts is served, it gives that client the present trust: same id, same key.
    /// Stop its agent first. In the folder of a client that can connect nothing is changed, so that it may be run on every host.
    Join(join::Arguments),
    /// Stay in session with the controller, until SIGTERM
    Run {
        #[command(flatten)]
        state: StateFolder,
        #[command(flatten)]
        configuration: ConfigurationFile,
    },
    /// Show what this client is and trusts, from its disk alone
    Status {
        #[command(flatten)]
        state: StateFolder,
        /// How to print it
        #[arg(short, long, default_value = "text")]
        output: Output,
    },
    /// Connect to the controller's production certificate with verification on, whatever the mode, and ask whether it wants this client. Exit code 1 if
    /// the certificate does not hold, or the controller does not want it
    Check {
        #[command(flatten)]
        state: StateFolder,
        /// How to print it
        #[arg(short, long, default_value = "text")]
        output: Output,
    },
    /// Certificates from a SCEP server
    #[command(subcommand)]
    Scep(device::ScepCommand),
    /// All settings of this device as one file
    #[command(subcommand)]
    Settings(device::SettingsCommand),
}

#[derive(Args)]
struct ConfigurationFile {
    /// This device's own configuration [default: agent.toml in the state folder]
    #[arg(long, value_name = "FILE", env = "CONVOY_AGENT_CONFIG")]
    config: Option<PathBuf>,
}

impl ConfigurationFile {
    fn path(&self, dir: &StateDir) -> PathBuf {
        let given = self.config.clone();
        given.unwrap_or_else(|| dir.file(configuration::FILE))
    }
}

#[derive(Args)]
struct StateFolder {
    /// The folder that holds this client's key and trust
    #[arg(long, value_name = "FOLDER", env = "CONVOY_AGENT_STATE_DIR")]
    state_dir: PathBuf,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Output {
    Text,
    Json,
}

/// Runs one command. The arguments begin with the program's name. Returns 0 (done), 1 (error) or 2 (usage).
pub fn main(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let arguments = match Arguments::try_parse_from(args) {
        Ok(arguments) => arguments,
        Err(answer) => {
            // Help that was asked for is an answer; wrong usage is not. If nobody listens there is nobody to tell.
            drop(answer.print());
            return ExitCode::from(if answer.use_stderr() { USAGE } else { 0 });
        }
    };
    let _last_words = match stderr::start() {
        Ok(last_words) => last_words,
        Err(error) => {
            note(&format!("error: cannot begin a log: {error}"));
            return ExitCode::from(ERROR);
        }
    };
    log_to_stderr(arguments.verbose);
    let done = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(anyhow::Error::from)
        .and_then(|runtime| {
            let done = runtime.block_on(dispatch(arguments.command));
            // A name that is being resolved keeps nobody waiting.
            runtime.shutdown_background();
            done
        });
    match done {
        Ok(code) => code,
        Err(error) => {
            note(&format!("error: {}", told(error.as_ref())));
            ExitCode::from(ERROR)
        }
    }
}

async fn dispatch(command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Join(arguments) => join::run(arguments).await,
        Command::Run {
            state,
            configuration,
        } => {
            let shutdown = run::signals()?;
            let dir = StateDir::open(&state.state_dir)?;
            let configuration = configuration.path(&dir);
            run::run_with(dir, configuration, shutdown).await?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Status { state, output } => {
            let status = status::status(&StateDir::open(&state.state_dir)?)?;
            match output {
                Output::Text => print(&status.to_string())?,
                Output::Json => print_json(&status)?,
            }
            Ok(ExitCode::SUCCESS)
        }
        Command::Check { state, output } => {
            let dir = StateDir::open(&state.state_dir)?;
            report(check::production(&dir).await, output)
        }
        Command::Scep(command) => device::scep(command).await,
        Command::Settings(command) => device::settings(command).await,
    }
}

fn print_as(output: Output, value: &(impl Serialize + std::fmt::Display)) -> anyhow::Result<()> {
    match output {
        Output::Text => print(&value.to_string()),
        Output::Json => print_json(value),
    }
}

#[derive(Serialize)]
struct CheckAnswer {
    ok: bool,
    reason: Option<String>,
    certificate_fingerprint: Option<String>,
    anchor: Option<u64>,
    /// What the controller says of this client; absent if it was not asked, or does not want it.
    client: Option<check::Standing>,
}

fn report(
    checked: Result<check::Sound, check::Unsound>,
    output: Output,
) -> anyhow::Result<ExitCode> {
    let answer = match &checked {
        Ok(sound) => CheckAnswer {
            ok: true,
            reason: None,
            certificate_fingerprint: Some(sound.fingerprint.to_string()),
            anchor: Some(sound.anchor.0),
            client: Some(sound.standing),
        },
        Err(unsound) => CheckAnswer {
            ok: false,
            reason: Some(told(&unsound.error)),
            certificate_fingerprint: unsound.fingerprint.map(|digest| digest.to_string()),
            anchor: None,
            client: None,
        },
    };
    match (output, checked) {
        (Output::Json, _) => print_json(&answer)?,
        (Output::Text, Ok(sound)) => print(&format!(
            "ok: anchor {} vouches for the production certificate {}, and the controller has proved itself; {}\n",
            sound.anchor, sound.fingerprint, sound.standing
        ))?,
        (Output::Text, Err(unsound)) => return Err(unsound.error.into()),
    }
    Ok(ExitCode::from(if answer.ok { 0 } else { ERROR }))
}

fn log_to_stderr(verbose: u8) {
    let default = match verbose {
        0 => "warn,convoy_agent=info,convoy_shared=info,convoy_proto=info",
        1 => "info,convoy_agent=debug,convoy_shared=debug,convoy_proto=debug",
        _ => "debug,convoy_agent=trace,convoy_shared=trace,convoy_proto=trace",
    };
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(default));
    let set = tracing_subscriber::fmt()
        .with_writer(stderr::writer)
        .with_ansi(false)
        .with_env_filter(filter)
        .try_init();
    // A process that runs several commands keeps its first log.
    drop(set);
}

fn print_json(value: &impl Serialize) -> anyhow::Result<()> {
    print(&format!("{}\n", serde_json::to_string_pretty(value)?))
}

fn print(text: &str) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()?;
    Ok(())
}

fn note(text: &str) {
    stderr::say(&format!("{text}\n"));
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_arguments_make_sense() {
        Arguments::command().debug_assert();
        for good in [
            &[
                "convoy-agent",
                "join",
                "-",
                "--state-dir",
                "s",
                "--name",
                "n",
            ][..],
            &[
                "convoy-agent",
                "join",
                "TOKEN",
                "--replace-fleet",
                "--state-dir",
                "s",
            ],
            &["convoy-agent", "run", "--state-dir", "s", "-vv"],
            &[
                "convoy-agent",
                "-v",
                "status",
                "--state-dir",
                "s",
                "-o",
                "json",
            ],
            &["convoy-agent", "check", "--state-dir", "s"],
            &["convoy-agent", "run", "--state-dir", "s", "--config", "f"],
            &[
                "convoy-agent",
                "scep",
                "status",
                "--state-dir",
                "s",
                "-o",
                "json",
            ],
            &["convoy-agent", "scep", "history", "--state-dir", "s"],
            &[
                "convoy-agent",
                "scep",
                "request",
                "--state-dir",
                "s",
                "--key-use",
                "ieee 802.1x",
                "--san",
                "dns:a",
                "--san",
                "ip:::1",
                "--restart",
            ],
            &["convoy-agent", "settings", "export", "--state-dir", "s"],
            &[
                "convoy-agent",
                "settings",
                "import",
                "f",
                "--dry-run",
                "--state-dir",
                "s",
            ],
        ] {
            assert!(Arguments::try_parse_from(good).is_ok(), "{good:?}");
        }
        assert!(Arguments::try_parse_from(["convoy-agent", "join"]).is_err());
    }
}
