//! Programs of a fleet and what they say: `convoy` on the local socket, and those that run to their end. What is asked of them stands elsewhere.

use std::{
    fs::{self, File},
    path::PathBuf,
    process::{Child, Command, Stdio},
};

use serde_json::Value;

use super::{Fleet, PROGRAM};

/// How a program ended, and what it said.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Said {
    /// What a program says that was started beside the test.
    pub(crate) fn of(child: Child) -> Self {
        let output = child.wait_with_output().expect("the program ends");
        Self {
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8(output.stdout).expect("UTF-8"),
            stderr: String::from_utf8(output.stderr).expect("UTF-8"),
        }
    }

    /// What it said, if it failed with this code.
    #[track_caller]
    pub(crate) fn failed(self, code: i32) -> String {
        assert_eq!(self.code, code, "{self:?}");
        self.stderr
    }
}

impl Fleet {
    pub(super) fn program(&self, program: &str, log_name: &str) -> Command {
        let log: Stdio = match &self.unread {
            Some(unread) => unread.end(),
            None => self.open_log(log_name).into(),
        };
        let mut command = Command::new(PROGRAM);
        command
            .arg(program)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .env("CONVOY_CLOCK_FILE", self.clock_file(log_name))
            .env_remove("RUST_LOG")
            .env_remove("CONVOY_SOCKET");
        if let Some(filter) = self.filter {
            command.env("RUST_LOG", filter);
        }
        command
    }

    pub(super) fn open_log(&self, name: &str) -> File {
        File::options()
            .create(true)
            .append(true)
            .open(self.path(&format!("{name}.log")))
            .expect("a log")
    }

    /// Moves the wall clock of a running program, `controller` or an agent's name, so many seconds away from the machine's. It lasts over restarts.
    pub(crate) fn set_clock(&self, program: &str, seconds: i64) {
        // A reader must never see half a number.
        let new = self.path("clock.new");
        fs::write(&new, seconds.to_string()).expect("written");
        fs::rename(new, self.clock_file(program)).expect("renamed");
    }

    fn clock_file(&self, program: &str) -> PathBuf {
        self.path(&format!("{program}.clock"))
    }

    /// Runs a program to its end.
    pub(crate) fn run_program(&self, program: &str, args: &[&str]) -> Said {
        self.run_on("", program, args)
    }

    /// Runs `convoy-agent` by the clock of this host.
    pub(crate) fn agent_on(&self, host: &str, args: &[&str]) -> Said {
        self.run_on(host, "convoy-agent", args)
    }

    fn run_on(&self, host: &str, program: &str, args: &[&str]) -> Said {
        let mut command = Command::new(PROGRAM);
        command
            .arg(program)
            .args(args)
            .stdin(Stdio::null())
            .env("CONVOY_CLOCK_FILE", self.clock_file(host))
            .env_remove("RUST_LOG")
            .env_remove("CONVOY_SOCKET");
        if let Some(filter) = self.filter {
            command.env("RUST_LOG", filter);
        }
        let output = command.output().expect("the program runs");
        Said {
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8(output.stdout).expect("UTF-8"),
            stderr: String::from_utf8(output.stderr).expect("UTF-8"),
        }
    }

    /// Runs `convoy` on the local socket.
    pub(crate) fn convoy(&self, args: &[&str]) -> Said {
        let data_dir = self.data_dir();
        let mut all = vec!["--data-dir", data_dir.to_str().expect("UTF-8")];
        all.extend(args);
        self.run_program("convoy", &all)
    }

    /// Starts `convoy` beside the test; [`Said::of`] waits for it.
    pub(crate) fn spawn_convoy(&self, args: &[&str]) -> Child {
        Command::new(PROGRAM)
            .args(["convoy", "--data-dir"])
            .arg(self.data_dir())
            .args(args)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .env_remove("RUST_LOG")
            .env_remove("CONVOY_SOCKET")
            .spawn()
            .expect("the program runs")
    }

    /// Runs `convoy`, which must succeed; what it says on stdout, trimmed.
    #[track_caller]
    pub(crate) fn ok(&self, args: &[&str]) -> String {
        let said = self.convoy(args);
        assert_eq!(said.code, 0, "convoy {args:?}: {said:?}");
        said.stdout.trim_end().to_owned()
    }

    /// Runs `convoy … -o json`, which must succeed.
    #[track_caller]
    pub(crate) fn json(&self, args: &[&str]) -> Value {
        let mut args = args.to_vec();
        args.extend(["-o", "json"]);
        serde_json::from_str(&self.ok(&args)).expect("JSON")
    }

    /// Runs `convoy-agent`.
    pub(crate) fn agent(&self, args: &[&str]) -> Said {
        self.run_program("convoy-agent", args)
    }
}
