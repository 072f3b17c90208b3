//! The process `convoy-agent`: one call into the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    convoy_agent::main(std::env::args_os())
}
