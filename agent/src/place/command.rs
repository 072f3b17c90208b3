//! Commands of the agent's own configuration: run without a shell, in a process group of their own, for a bounded time. None is ever made of what a peer sent.

use std::{
    fmt,
    fs::File,
    io::{self, Seek as _},
    os::unix::fs::FileExt as _,
    process::{ExitStatus, Stdio},
    time::Duration,
};

use rustix::{
    fs::{MemfdFlags, SealFlags, fcntl_add_seals, ftruncate, memfd_create},
    process::{Pid, Signal, kill_process_group},
};
use tokio::process::Child;

/// A program and its arguments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Command {
    program: String,
    arguments: Vec<String>,
}

impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.program)?;
        self.arguments
            .iter()
            .try_for_each(|argument| write!(f, " {argument}"))
    }
}

/// What a command said and may still say: at most this much. Memory is taken only for what is written.
const ROOM: u64 = 1 << 22;
/// How much of it goes into an error: its end.
const QUOTED: usize = 1000;

impl Command {
    /// A program, looked up in `PATH` unless it is a path, and its arguments. `None` if there is no program.
    #[must_use]
    pub fn new(words: Vec<String>) -> Option<Self> {
        let mut words = words.into_iter();
        let program = words.next().filter(|program| !program.is_empty())?;
        Some(Self {
            program,
            arguments: words.collect(),
        })
    }

    pub(crate) fn of(words: &[&str]) -> Self {
        let (program, arguments) = words.split_first().unwrap_or((&"", &[]));
        Self {
            program: (*program).to_owned(),
            arguments: arguments.iter().map(|word| (*word).to_owned()).collect(),
        }
    }

    /// With more arguments.
    pub(crate) fn with(&self, more: &[&str]) -> Self {
        let mut command = self.clone();
        command
            .arguments
            .extend(more.iter().map(|word| (*word).to_owned()));
        command
    }

    /// Runs it and waits. Gives what it wrote to its standard output.
    ///
    /// # Errors
    /// If it cannot be started, fails, or takes longer than `timeout`: then it is killed, with all that it started in its process group.
    pub(crate) async fn run(&self, timeout: Duration) -> Result<String, CommandError> {
        let mut running = self.start(tokio::process::Command::new(&self.program), true)?;
        running.ended(timeout).await?;
        Ok(running.output.text())
    }

    /// Starts it in a session of its own, where it outlives this process.
    pub(crate) fn detach(&self) -> Result<Running, CommandError> {
        // `setsid` of util-linux or busybox replaces itself by the program. Where there is none, a process group of its own must do.
        let mut own_session = tokio::process::Command::new("setsid");
        own_session.arg(&self.program);
        let programs = std::env::var_os("PATH").unwrap_or_default();
        let found = |program: &str| {
            std::env::split_paths(&programs).any(|folder| folder.join(program).is_file())
        };
        // So that a program that is not there is said to be so.
        if found("setsid") && (self.program.contains('/') || found(&self.program)) {
            let mut running = self.start(own_session, false)?;
            running.killed_when_late = false;
            Ok(running)
        } else {
            let mut running = self.start(tokio::process::Command::new(&self.program), true)?;
            running.killed_when_late = false;
            Ok(running)
        }
    }

    fn start(
        &self,
        mut command: tokio::process::Command,
        own_group: bool,
    ) -> Result<Running, CommandError> {
        let failed = |source| CommandError::Start {
            command: self.to_string(),
            source,
        };
        let output = Said::room().map_err(failed)?;
        let errors = Said::room().map_err(failed)?;
        command
            .args(&self.arguments)
            .stdin(Stdio::null())
            .stdout(output.writer().map_err(failed)?)
            .stderr(errors.writer().map_err(failed)?);
        if own_group {
            command.process_group(0);
        }
        let child = command.spawn().map_err(failed)?;
        Ok(Running {
            command: self.clone(),
            child,
            output,
            errors,
            killed_when_late: true,
            over: false,
        })
    }
}

/// A command that was started. One that is not detached is killed when this is dropped.
#[derive(Debug)]
pub(crate) struct Running {
    command: Command,
    child: Child,
    output: Said,
    errors: Said,
    killed_when_late: bool,
    over: bool,
}

impl Running {
    /// Waits for its end, which is not that of what it left behind.
    pub(crate) async fn ended(&mut self, timeout: Duration) -> Result<(), CommandError> {
        let ended = tokio::time::timeout(timeout, self.child.wait()).await;
        let command = self.command.to_string();
        match ended {
            Ok(Ok(status)) => {
                self.over = true;
                if status.success() {
                    Ok(())
                } else {
                    Err(CommandError::Failed {
                        command,
                        status,
                        said: self.said(),
                    })
                }
            }
            Ok(Err(source)) => Err(CommandError::Start { command, source }),
            Err(_) => {
                if self.killed_when_late {
                    self.kill();
                    // Killed, it ends at once, unless the kernel holds it: then it is not waited for.
                    let _ended =
                        tokio::time::timeout(Duration::from_secs(1), self.child.wait()).await;
                }
                Err(CommandError::Late {
                    command,
                    timeout,
                    killed: self.killed_when_late,
                    said: self.said(),
                })
            }
        }
    }

    fn kill(&mut self) {
        self.over = true;
        // The group has its leader's number, and the leader has not been waited for: the number is still its own.
        let group = self
            .child
            .id()
            .and_then(|id| i32::try_from(id).ok())
            .and_then(Pid::from_raw);
        if let Some(group) = group
            && let Err(error) = kill_process_group(group, Signal::KILL)
        {
            tracing::warn!(command = %self.command, %error, "cannot kill the command");
        }
    }

    fn said(&self) -> Quoted {
        let errors = self.errors.text();
        Quoted::end_of(if errors.trim().is_empty() {
            self.output.text()
        } else {
            errors
        })
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if self.killed_when_late && !self.over {
            self.kill();
        }
    }
}

/// What a command writes. Not a pipe: nobody has to read it, and no reader is missed when this process is gone first.
#[derive(Debug)]
struct Said {
    file: File,
}

impl Said {
    fn room() -> io::Result<Self> {
        let file = memfd_create(
            "convoy-command",
            MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING,
        )?;
        ftruncate(&file, ROOM)?;
        fcntl_add_seals(&file, SealFlags::GROW)?;
        Ok(Self { file: file.into() })
    }

    fn writer(&self) -> io::Result<Stdio> {
        self.file.try_clone().map(Stdio::from)
    }

    fn text(&self) -> String {
        // Both ends share one position.
        let written = (&self.file).stream_position().unwrap_or(0).min(ROOM);
        let mut bytes = vec![0; usize::try_from(written).unwrap_or(0)];
        match self.file.read_exact_at(&mut bytes, 0) {
            Ok(()) => String::from_utf8_lossy(&bytes).into_owned(),
            Err(_) => String::new(),
        }
    }
}

/// The end of what a command said, on one line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quoted(String);

impl Quoted {
    fn end_of(text: impl AsRef<str>) -> Self {
        let words: Vec<&str> = text
            .as_ref()
            .split(|c: char| c.is_whitespace() || c.is_control())
            .filter(|word| !word.is_empty())
            .collect();
        let line = words.join(" ");
        let surplus = line.chars().count().saturating_sub(QUOTED);
        Self(if surplus == 0 {
            line
        } else {
            format!("…{}", line.chars().skip(surplus).collect::<String>())
        })
    }
}

impl fmt::Display for Quoted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            f.write_str("it said nothing")
        } else {
            write!(f, "it said: {}", self.0)
        }
    }
}

/// Why a command did not do what it is for.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// It did not run.
    #[error("cannot run `{command}`: {source}")]
    Start {
        /// Which.
        command: String,
        /// Why not.
        source: io::Error,
    },
    /// It says that it failed.
    #[error("`{command}` ended with {status}; {said}")]
    Failed {
        /// Which.
        command: String,
        /// How.
        status: ExitStatus,
        /// The end of what it wrote to its standard error, or else its standard output.
        said: Quoted,
    },
    /// It ended well, but says that it failed.
    #[error("`{command}` did not say {expected:?}; {said}")]
    Answer {
        /// Which.
        command: String,
        /// What it should have said.
        expected: &'static str,
        /// What it said.
        said: Quoted,
    },
    /// It takes too long.
    #[error(
        "`{command}` did not end within {timeout:?} and was {}; {said}",
        if *.killed { "killed" } else { "left to go on" }
    )]
    Late {
        /// Which.
        command: String,
        /// How long it had.
        timeout: Duration,
        /// Whether it was killed.
        killed: bool,
        /// What it had said by then.
        said: Quoted,
    },
}

impl CommandError {
    pub(super) fn answer(command: &Command, expected: &'static str, said: &str) -> Self {
        Self::Answer {
            command: command.to_string(),
            expected,
            said: Quoted::end_of(said),
        }
    }
}

#[cfg(test)]
mod tests;
