//! The demo: a controller, its agents and an operator as processes of one machine, one rotation, and a certificate for each agent.
//! Only wiring stands here; whatever the demo does, it does as a user would, and never through an internal API.

mod addresses;
mod args;
mod certificate;
mod machine;
mod operator;
mod patience;
mod process;
mod role;
mod rotation;
mod scep;
mod screen;
mod story;
mod summary;

use std::process::ExitCode;

use anyhow::Context as _;
use args::Args;
use machine::Machine;
use patience::{Halt, Patience};
use role::Role;
use screen::Screen;

/// What a shell reports for a process that Ctrl-C ended.
const INTERRUPTED: u8 = 130;

fn main() -> ExitCode {
    let mut given = std::env::args_os();
    if let Some(role) = given.nth(1).as_deref().and_then(Role::hidden_in) {
        return role.play(given);
    }
    let args = Args::parse();
    match run(&args) {
        Ok(code) => code,
        Err(error) => {
            screen::complain(&format!("error: {error:#}"));
            match error.downcast_ref::<Halt>() {
                Some(Halt::Interrupted) => ExitCode::from(INTERRUPTED),
                Some(Halt::OutOfTime(_)) | None => ExitCode::FAILURE,
            }
        }
    }
}

fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let patience = Patience::begin(args.limit()).context("cannot listen to signals")?;
    let mut screen = Screen::choose(args.json);
    let mut machine = Machine::start(!args.no_scep, &patience)?;
    let told = story::tell(args, &mut machine, &mut screen, &patience);
    screen.finish();
    let code = match told {
        Ok(summary) => {
            screen::say(&if args.json {
                serde_json::to_string(&summary)?
            } else {
                summary.to_string()
            })?;
            if summary.is_success() {
                ExitCode::SUCCESS
            } else {
                ExitCode::FAILURE
            }
        }
        Err(error) => {
            let interrupted = matches!(error.downcast_ref(), Some(Halt::Interrupted));
            if interrupted || !args.stay {
                return Err(if interrupted {
                    error
                } else {
                    anyhow::anyhow!(machine.autopsy(&error))
                });
            }
            screen::complain(&format!("error: {error:#}"));
            ExitCode::FAILURE
        }
    };
    if args.stay {
        stay(args, &mut machine, &patience)?;
    }
    Ok(code)
}

/// Keeps the fleet running until Ctrl-C.
fn stay(args: &Args, machine: &mut Machine, patience: &Patience) -> anyhow::Result<()> {
    let directions = machine.directions()?;
    if args.json {
        // The summary stays the last line on stdout.
        screen::complain(&directions);
    } else {
        screen::say(&directions)?;
    }
    while !patience.interrupted() {
        machine.controller_lives()?;
        patience.nap();
    }
    Ok(())
}
