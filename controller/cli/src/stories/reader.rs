//! Who reads what is printed may leave.

use std::{ffi::OsString, io, io::Write};

use clap::Parser as _;

use super::controller::{Controller, Script};
use crate::{args::Arguments, output::Screen};

/// A reader that has left.
struct Gone;

impl Write for Gone {
    fn write(&mut self, _: &[u8]) -> io::Result<usize> {
        Err(io::ErrorKind::BrokenPipe.into())
    }

    fn flush(&mut self) -> io::Result<()> {
        Err(io::ErrorKind::BrokenPipe.into())
    }
}

#[test]
fn a_reader_that_leaves_is_no_reason_to_complain() {
    let controller = Controller::start(Script::default());
    let socket: OsString = controller.socket().into();
    let mut err = Vec::new();
    let arguments = Arguments::try_parse_from(["convoy", "clients", "list"]).unwrap();
    let code = crate::run(
        arguments,
        Some(socket),
        &mut Screen::of_scripts(&mut Gone, &mut err),
    );
    assert_eq!((code, err), (1, Vec::new()));
}
