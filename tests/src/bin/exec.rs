//! Becomes one of the shipped programs: the first argument says which. Nothing of them is written again here.

use std::{ffi::OsString, process::ExitCode};

fn main() -> ExitCode {
    let mut args = std::env::args_os().skip(1);
    let program = args.next().unwrap_or_default();
    let args = std::iter::once(program.clone())
        .chain(args)
        .collect::<Vec<OsString>>();
    match program.to_str() {
        Some("convoy-controller") => convoy_controller::main(args),
        Some("convoy-agent") => convoy_agent::main(args),
        Some("convoy") => convoy_cli::main(args),
        _ => {
            eprintln!("error: say convoy-controller, convoy-agent or convoy");
            ExitCode::from(2)
        }
    }
}
