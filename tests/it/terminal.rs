//! A program at a terminal, and whoever types there. What is proved by it stands elsewhere.

use std::{
    fs::File,
    io::{Read as _, Write as _},
    os::fd::OwnedFd,
    process::{Child, Command, Stdio},
};

use rustix::{
    fs::{Mode, OFlags},
    pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt},
    termios::{LocalModes, tcgetattr},
};

use crate::fleet::{Fleet, PROGRAM};

/// A program at a terminal of its own.
pub(crate) struct Terminal {
    /// The side of who types.
    human: File,
    /// The program's side, held so that nothing is lost of what it said last.
    program: OwnedFd,
    child: Child,
    /// All that was on the screen.
    screen: String,
}

impl Terminal {
    /// `convoy`, on the local socket of a fleet.
    pub(crate) fn convoy(fleet: &Fleet, args: &[&str]) -> Self {
        let data_dir = fleet.data_dir();
        let data_dir = data_dir.to_str().expect("UTF-8");
        Self::of(&[&["convoy", "--data-dir", data_dir], args].concat())
    }

    /// One of the shipped programs, by its name and arguments.
    pub(crate) fn of(args: &[&str]) -> Self {
        let human = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).expect("a terminal");
        grantpt(&human).expect("granted");
        unlockpt(&human).expect("unlocked");
        let path = ptsname(&human, Vec::new()).expect("a name");
        let flags = OFlags::RDWR | OFlags::NOCTTY;
        let program = rustix::fs::open(path.as_c_str(), flags, Mode::empty()).expect("opened");
        let end = || Stdio::from(program.try_clone().expect("cloned"));
        let child = Command::new(PROGRAM)
            .args(args)
            .stdin(end())
            .stdout(Stdio::null())
            .stderr(end())
            .env_remove("RUST_LOG")
            .env_remove("CONVOY_SOCKET")
            .spawn()
            .expect("the program runs");
        Self {
            human: File::from(human),
            program,
            child,
            screen: String::new(),
        }
    }

    /// Reads until these words are on the screen.
    pub(crate) fn await_words(&mut self, words: &str) {
        let mut buffer = [0; 1024];
        while !self.screen.contains(words) {
            let read = self.human.read(&mut buffer).expect("the terminal");
            self.screen
                .push_str(&String::from_utf8_lossy(&buffer[..read]));
        }
    }

    pub(crate) fn types(&mut self, keys: &str) {
        self.human.write_all(keys.as_bytes()).expect("typed");
    }

    pub(crate) fn echoes(&self) -> bool {
        let modes = tcgetattr(&self.program).expect("modes").local_modes;
        modes.contains(LocalModes::ECHO | LocalModes::ISIG)
    }

    /// All that was on the screen.
    pub(crate) fn screen(&self) -> &str {
        &self.screen
    }

    /// `kill -9`.
    pub(crate) fn kill(&mut self) {
        self.child.kill().expect("killed");
        self.child.wait().expect("reaped");
    }

    pub(crate) fn end(&mut self) -> i32 {
        let status = self.child.wait().expect("it ends");
        status.code().expect("a code")
    }
}
