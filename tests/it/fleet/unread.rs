//! A pipe that is full, and that nobody reads until a test says so: the stderr of programs. What they do then stands in the tests.

use std::{
    io::{self, PipeReader, PipeWriter, Write as _},
    process::Stdio,
    thread,
};

use super::Fleet;

pub(super) struct Unread {
    pipe: PipeReader,
    end: PipeWriter,
}

impl Unread {
    fn new() -> Self {
        let (pipe, mut end) = io::pipe().expect("a pipe");
        let size = rustix::pipe::fcntl_getpipe_size(&end).expect("a size");
        end.write_all(&vec![b'\n'; size]).expect("filled");
        Self { pipe, end }
    }

    pub(super) fn end(&self) -> Stdio {
        self.end.try_clone().expect("another end").into()
    }
}

impl Fleet {
    /// From now on programs are started with a full pipe for stderr.
    pub(crate) fn leave_unread(&mut self) {
        self.unread = Some(Unread::new());
    }

    /// Reads the pipe from now on, into the log `unread`.
    pub(crate) fn read_on(&mut self) {
        let mut log = self.open_log("unread");
        let Unread { mut pipe, .. } = self.unread.take().expect("a pipe that nobody reads");
        thread::spawn(move || io::copy(&mut pipe, &mut log).expect("read"));
    }
}
