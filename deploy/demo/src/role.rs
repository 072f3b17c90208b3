//! The shipped programs that this one becomes when it starts itself again. They are taken as they are, and nothing is done
//! in their place.

use std::{
    ffi::{OsStr, OsString},
    io, iter,
    os::unix::process::CommandExt as _,
    process::{Command, ExitCode, Stdio},
};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    Controller,
    Agent,
    Convoy,
}

impl Role {
    const ALL: [Self; 3] = [Self::Controller, Self::Agent, Self::Convoy];

    /// The role that a first argument names.
    pub(crate) fn hidden_in(argument: &OsStr) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|role| argument == role.argument())
    }

    /// The first argument that names this role.
    pub(crate) const fn argument(self) -> &'static str {
        match self {
            Self::Controller => "__controller",
            Self::Agent => "__agent",
            Self::Convoy => "__convoy",
        }
    }

    /// What people call the program.
    pub(crate) const fn program(self) -> &'static str {
        match self {
            Self::Controller => "convoy-controller",
            Self::Agent => "convoy-agent",
            Self::Convoy => "convoy",
        }
    }

    /// Becomes the program, with the arguments that follow the role's.
    pub(crate) fn play(self, args: impl Iterator<Item = OsString>) -> ExitCode {
        die_with_parent();
        let args = iter::once(self.program().into()).chain(args);
        match self {
            Self::Controller => convoy_controller::main(args),
            Self::Agent => convoy_agent::main(args),
            Self::Convoy => convoy_cli::main(args),
        }
    }

    /// A process that plays this role, still without arguments of its own.
    pub(crate) fn command(self) -> io::Result<Command> {
        let mut command = Command::new(std::env::current_exe()?);
        command
            .arg(self.argument())
            .env("NO_COLOR", "1")
            .stdin(Stdio::null())
            // Ctrl-C is for the demo, which then ends its processes in order.
            .process_group(0);
        Ok(command)
    }
}

/// No process is left behind, even if the demo is killed. It goes by the thread that started the process: threads that end
/// must not start what is to stay.
fn die_with_parent() {
    #[cfg(target_os = "linux")]
    {
        use rustix::process::{Signal, set_parent_process_death_signal};
        // Only the demo's own end is less tidy where it fails.
        let _ = set_parent_process_death_signal(Some(Signal::KILL));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_role_is_found_by_its_argument_alone() {
        for role in Role::ALL {
            assert_eq!(Role::hidden_in(OsStr::new(role.argument())), Some(role));
            assert_eq!(Role::hidden_in(OsStr::new(role.program())), None);
        }
        assert_eq!(Role::hidden_in(OsStr::new("--clients")), None);
    }
}
