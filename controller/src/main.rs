//! The `convoy-controller` program: one call into its library.

use std::process::ExitCode;

fn main() -> ExitCode {
    convoy_controller::main(std::env::args_os())
}
