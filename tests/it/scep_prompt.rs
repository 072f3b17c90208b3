//! A challenge password that is typed at a terminal: asked for, not shown, used once, and kept nowhere. What comes from files is proven elsewhere.

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
use serde_json::json;

use crate::{
    fleet::{Fleet, PROGRAM},
    scep_peer::Peer,
};

const SECRET: &str = "typed-at-a-terminal";

/// `convoy` at a terminal of its own.
struct Terminal {
    /// The side of who types.
    human: File,
    /// The program's side, held so that nothing is lost of what it said last.
    program: OwnedFd,
    child: Child,
    /// All that was on the screen.
    screen: String,
}

impl Terminal {
    fn of(fleet: &Fleet, args: &[&str]) -> Self {
        let human = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).expect("a terminal");
        grantpt(&human).expect("granted");
        unlockpt(&human).expect("unlocked");
        let path = ptsname(&human, Vec::new()).expect("a name");
        let flags = OFlags::RDWR | OFlags::NOCTTY;
        let program = rustix::fs::open(path.as_c_str(), flags, Mode::empty()).expect("opened");
        let end = || Stdio::from(program.try_clone().expect("cloned"));
        let child = Command::new(PROGRAM)
            .args(["convoy", "--data-dir"])
            .arg(fleet.data_dir())
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
    fn await_words(&mut self, words: &str) {
        let mut buffer = [0; 1024];
        while !self.screen.contains(words) {
            let read = self.human.read(&mut buffer).expect("the terminal");
            self.screen
                .push_str(&String::from_utf8_lossy(&buffer[..read]));
        }
    }

    fn types(&mut self, keys: &str) {
        self.human.write_all(keys.as_bytes()).expect("typed");
    }

    fn echoes(&self) -> bool {
        let modes = tcgetattr(&self.program).expect("modes").local_modes;
        modes.contains(LocalModes::ECHO | LocalModes::ISIG)
    }

    fn end(&mut self) -> i32 {
        let status = self.child.wait().expect("it ends");
        status.code().expect("a code")
    }
}

#[test]
fn a_challenge_is_typed_and_not_shown() {
    // Given a SCEP server that wants a challenge password,
    let peer = Peer::start();
    peer.wants("desk", SECRET);
    let mut fleet = Fleet::with_agents(&["one"]);
    let pin = ["--ca-fingerprint", &peer.fingerprint()];
    fleet.scep_at(&peer.url("desk"), &pin);
    fleet.await_settings("one");
    let request = ["scep", "request", "one", "--wait", "--prompt"];

    // when the question is ended by Ctrl-C, then nothing is asked of anybody, and the terminal is as it was;
    let mut terminal = Terminal::of(&fleet, &request);
    assert!(terminal.echoes());
    terminal.await_words("Challenge password: ");
    assert!(!terminal.echoes());
    terminal.types("typed-at\u{3}");
    assert_eq!(terminal.end(), 1);
    terminal.await_words("nothing was asked of anybody");
    assert!(terminal.echoes());
    assert_eq!(fleet.device_requests("one"), json!([]));

    // when it is typed, then it reaches the server, and is seen nowhere.
    let mut terminal = Terminal::of(&fleet, &request);
    terminal.await_words("Challenge password: ");
    terminal.types(&format!("{SECRET}\n"));
    assert_eq!(terminal.end(), 0, "{}", terminal.screen);
    terminal.await_words("one is requesting a certificate");
    assert!(terminal.echoes());
    assert!(!terminal.screen.contains("typed-at"), "{}", terminal.screen);
    let seen = peer.seen("desk");
    assert_eq!(seen.len(), 1);
    assert_eq!(seen[0].challenge.as_deref(), Some(SECRET));
    assert_eq!(peer.issued("desk").len(), 1);
    assert_eq!(fleet.files_with(SECRET), Vec::<String>::new());
}
