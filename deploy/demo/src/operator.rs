//! The operator: commands of `convoy`, and what they print. No other way leads to the controller.

use std::{ffi::OsStr, path::PathBuf, process::Command};

use anyhow::{Context as _, ensure};
use serde::{Deserialize, de::DeserializeOwned};

use crate::{
    patience::Patience,
    process::{self, Lines},
    role::Role,
    rotation::Rotation,
    scep::load::{Issued, Plan},
};

/// Whoever operates the fleet, on the controller's own machine.
#[derive(Debug)]
pub(crate) struct Operator {
    data_dir: PathBuf,
    patience: Patience,
}

/// A line of `convoy clients list -o json`.
#[derive(Debug, Deserialize)]
pub(crate) struct Client {
    pub(crate) name: String,
    pub(crate) connected: bool,
}

impl Operator {
    /// Of the controller with this data directory.
    pub(crate) fn of(data_dir: PathBuf, patience: &Patience) -> Self {
        Self {
            data_dir,
            patience: patience.clone(),
        }
    }

    /// Runs a command, and returns what it prints.
    pub(crate) fn convoy<A: AsRef<OsStr>>(&self, args: &[A]) -> anyhow::Result<String> {
        let answer = process::ask(self.command(args)?, "", &self.patience)?;
        ensure!(
            answer.status.success(),
            "`{}` failed ({}): {}",
            spelled(args),
            answer.status,
            answer.err.trim_end()
        );
        Ok(answer.out.trim_end().to_owned())
    }

    /// The rotation.
    pub(crate) fn rotation(&self, id: &str) -> anyhow::Result<Rotation> {
        self.json(&["rotation", "status", id])
    }

    /// The roster.
    pub(crate) fn clients(&self) -> anyhow::Result<Vec<Client>> {
        self.json(&["clients", "list"])
    }

    /// The load of a group's requests, as if it had these settings.
    pub(crate) fn plan(&self, group: &str, settings: &[&str]) -> anyhow::Result<Plan> {
        self.json(&[&["scep", "plan", "--group", group], settings].concat())
    }

    /// A group's requests, a line of JSON for each change.
    pub(crate) fn watch_scep(&self, group: &str) -> anyhow::Result<Lines> {
        let args = ["scep", "status", "--group", group, "--watch", "-o", "json"];
        Lines::of(self.command(&args)?)
    }

    /// What the built-in CA has issued.
    pub(crate) fn issued(&self) -> anyhow::Result<Vec<Issued>> {
        self.json(&["scep", "issued", "list"])
    }

    fn command<A: AsRef<OsStr>>(&self, args: &[A]) -> anyhow::Result<Command> {
        let mut command = Role::Convoy.command()?;
        command.arg("--data-dir").arg(&self.data_dir).args(args);
        Ok(command)
    }

    fn json<T: DeserializeOwned>(&self, args: &[&str]) -> anyhow::Result<T> {
        let args: Vec<&str> = args.iter().copied().chain(["-o", "json"]).collect();
        let said = self.convoy(&args)?;
        serde_json::from_str(&said)
            .with_context(|| format!("`{}` printed JSON of another shape", spelled(&args)))
    }
}

/// A command line as people type it.
fn spelled<A: AsRef<OsStr>>(args: &[A]) -> String {
    let mut line = Role::Convoy.program().to_owned();
    for arg in args {
        line.push(' ');
        line.push_str(&arg.as_ref().to_string_lossy());
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_spelled_as_people_type_it() {
        assert_eq!(spelled(&["cert", "list"]), "convoy cert list");
    }
}
