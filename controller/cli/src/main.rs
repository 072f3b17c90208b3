//! The binary `convoy`. Everything it does is in the library; nothing else ever stands here.

use std::process::ExitCode;

fn main() -> ExitCode {
    convoy_cli::main(std::env::args_os())
}
