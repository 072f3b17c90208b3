//! The command line `convoy`: from arguments to an exit code. It asks the controller's API, and never decides anything
//! or opens the controller's files itself.

mod addresses;
mod answers;
mod args;
mod batch;
mod certificates;
mod clients;
mod clock;
mod connect;
mod durations;
mod failure;
mod files;
mod groups;
mod output;
mod recovery;
mod roots;
mod rotations;
mod scep;
mod system;
mod tokens;
mod words;

#[cfg(test)]
mod stories;

use std::{ffi::OsString, process::ExitCode};

use args::{Arguments, Command, Format, Output};
use clap::Parser as _;
use connect::Session;
use failure::Failure;
use output::Screen;
use uuid::Uuid;

/// Runs one command. The arguments begin with the program's name. Prints to the process's stdout and stderr, and returns
/// 0 (done), 1 (error), 2 (usage) or 5 (`apply --dry-run` found a difference).
pub fn main(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let arguments = match Arguments::try_parse_from(args) {
        Ok(arguments) => arguments,
        Err(answer) => {
            // Help asked for is an answer; wrong usage is not. If nobody listens there is nobody to tell.
            drop(answer.print());
            return ExitCode::from(if answer.use_stderr() {
                failure::USAGE
            } else {
                failure::DONE
            });
        }
    };
    let (mut out, mut err) = (std::io::stdout().lock(), std::io::stderr().lock());
    let mut screen = Screen::of_process(&mut out, &mut err);
    ExitCode::from(run(
        arguments,
        std::env::var_os("CONVOY_SOCKET"),
        &mut screen,
    ))
}

/// Runs one command against `screen`, says on it what failed, and returns the exit code.
fn run(arguments: Arguments, socket_variable: Option<OsString>, screen: &mut Screen<'_>) -> u8 {
    let done = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(Failure::Runtime)
        .and_then(|runtime| runtime.block_on(dispatch(arguments, socket_variable, screen)));
    match done {
        Ok(()) => failure::DONE,
        Err(failure) => {
            if !failure.is_silent() {
                screen.note(&format!("error: {failure}"));
            }
            failure.exit_code()
        }
    }
}

async fn dispatch(
    arguments: Arguments,
    socket_variable: Option<OsString>,
    screen: &mut Screen<'_>,
) -> Result<(), Failure> {
    let Arguments { common, command } = arguments;
    let place = connect::Place::choose(common.socket, common.data_dir, socket_variable);
    let request_id = common
        .request_id
        .unwrap_or_else(|| Uuid::new_v4().to_string());
    let toml = common.output == Output::Toml;
    if toml && !writes_toml(&command) {
        return Err(Failure::Usage(
            "only `convoy scep settings show` and `convoy export` write TOML. Use -o text or -o json"
                .to_owned(),
        ));
    }
    let session = Session {
        place,
        request_id,
        format: match common.output {
            Output::Text | Output::Toml => Format::Text,
            Output::Json => Format::Json,
        },
        toml,
    };
    match command {
        Command::Status => system::status(&session, screen).await,
        Command::Clock { command } => system::clock(&session, screen, command).await,
        Command::Token { command } => tokens::run(&session, screen, command).await,
        Command::Addresses { command } => addresses::run(&session, screen, command).await,
        Command::Groups { command } => groups::run(&session, screen, command).await,
        Command::Clients { command } => clients::run(&session, screen, command).await,
        Command::Cert { command } => certificates::run(&session, screen, command).await,
        Command::Root { command } => roots::run(&session, screen, command).await,
        Command::Rotation { command } => rotations::run(&session, screen, command).await,
        Command::Scep { command } => scep::run(&session, screen, *command).await,
        Command::Recover { command } => recovery::run(&session, screen, command).await,
        Command::Audit { command } => recovery::audit(&session, screen, command).await,
        Command::Export(export) => batch::export(&session, screen, export).await,
        Command::Apply(apply) => batch::apply(&session, screen, apply).await,
    }
}

fn writes_toml(command: &Command) -> bool {
    match command {
        Command::Scep { command } => command.writes_toml(),
        Command::Export(_) => true,
        Command::Status
        | Command::Clock { .. }
        | Command::Token { .. }
        | Command::Addresses { .. }
        | Command::Groups { .. }
        | Command::Clients { .. }
        | Command::Cert { .. }
        | Command::Root { .. }
        | Command::Rotation { .. }
        | Command::Recover { .. }
        | Command::Audit { .. }
        | Command::Apply(_) => false,
    }
}
