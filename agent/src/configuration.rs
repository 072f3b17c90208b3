//! The agent's own configuration file: what only the device's owner may say, above all which commands are run and which files are replaced. Nothing in it ever comes
//! from the controller.

mod facts;
mod places;
mod section;

use std::{
    fs::File,
    io::{self, Read as _},
    net::IpAddr,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    time::Duration,
};

pub use facts::facts;
use section::Section;

use crate::place::{Command, Places};

/// The file's name in the state folder.
pub const FILE: &str = "agent.toml";

/// What a file says, or what holds without one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Configuration {
    /// `[device]`.
    pub device: DeviceFacts,
    /// `[restart]`.
    pub restart: Option<Restart>,
    /// `[places]`.
    pub places: Places,
}

/// What the device is told about itself. What is `None` is found out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeviceFacts {
    /// Its host name, without a domain.
    pub hostname: Option<String>,
    /// Its fully qualified domain name.
    pub fqdn: Option<String>,
    /// Its address.
    pub ip: Option<IpAddr>,
    /// Its serial number.
    pub serial: Option<String>,
}

/// `Automatically Restart Device After Acquiring Certificate`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Restart {
    /// What restarts the device, or the service that uses the key.
    pub command: Command,
    /// How long its result is waited for. It is not killed.
    pub timeout: Duration,
}

const TABLES: &[&str] = &["device", "restart", "places"];
const DEVICE: &[&str] = &["hostname", "fqdn", "ip", "serial"];
const RESTART: &[&str] = &["command", "unit", "timeout"];

impl Configuration {
    /// What this file says. Without the file, the default.
    ///
    /// # Errors
    /// If it belongs to another user than root or the agent's own, others may write it, or it says anything that is not understood. Names the file, the key, and what would be right.
    pub fn load(path: &Path) -> Result<Self, ConfigurationError> {
        let unread = |source| ConfigurationError::Unread {
            file: path.to_owned(),
            source,
        };
        let mut file = match File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let mut default = Self::default();
                path.clone_into(&mut default.places.file);
                return Ok(default);
            }
            Err(source) => return Err(unread(source)),
        };
        let metadata = file.metadata().map_err(unread)?;
        let (owner, mode) = (metadata.uid(), metadata.mode());
        let agent = rustix::process::geteuid().as_raw();
        if owner != 0 && owner != agent {
            return Err(ConfigurationError::Foreign {
                file: path.to_owned(),
                owner,
                agent,
            });
        }
        if mode & 0o022 != 0 {
            return Err(ConfigurationError::Open {
                file: path.to_owned(),
                mode: mode & 0o7777,
            });
        }
        let mut text = String::new();
        file.read_to_string(&mut text).map_err(unread)?;
        Self::parse(path, &text)
    }

    /// What a text says; `path` is for messages.
    ///
    /// # Errors
    /// As for [`Self::load`].
    pub fn parse(path: &Path, text: &str) -> Result<Self, ConfigurationError> {
        let mut whole = Section::whole(path, text)?;
        whole.knows(TABLES)?;
        let device = match whole.section("device")? {
            Some(mut section) => {
                section.knows(DEVICE)?;
                DeviceFacts {
                    hostname: section.name("hostname")?,
                    fqdn: section.name("fqdn")?,
                    ip: section.parsed("ip", "an IP address like \"192.0.2.17\"")?,
                    serial: section.name("serial")?,
                }
            }
            None => DeviceFacts::default(),
        };
        let restart = whole.section("restart")?.map(restart).transpose()?;
        let places = places::read(path, whole.section("places")?)?;
        Ok(Self {
            device,
            restart,
            places,
        })
    }
}

fn restart(mut section: Section) -> Result<Restart, ConfigurationError> {
    section.knows(RESTART)?;
    let timeout = section.timeout("timeout", Duration::from_secs(60))?;
    let command = section.command("command")?;
    let unit = section.name("unit")?;
    let command = match (command, unit) {
        (Some(command), None) => command,
        (None, Some(unit)) => Command::of(&["systemctl", "restart", "--", &unit]),
        (Some(_), Some(_)) => {
            return Err(section.problem("unit", "command says it already: only one of the two"));
        }
        (None, None) => {
            return Err(section.problem(
                "command",
                "is missing: a list of words like [\"systemctl\", \"restart\", \"cups\"], or else unit = \"cups.service\"",
            ));
        }
    };
    Ok(Restart { command, timeout })
}

/// What is wrong with a configuration file.
#[derive(Debug, thiserror::Error)]
pub enum ConfigurationError {
    /// It cannot be read.
    #[error("cannot read {}: {source}", file.display())]
    Unread {
        /// Which.
        file: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// It is somebody else's.
    #[error(
        "{} belongs to the user {owner}, who would decide which commands the agent runs: give it to root or to the agent's own user with `chown {agent} {}`",
        file.display(),
        file.display()
    )]
    Foreign {
        /// Which.
        file: PathBuf,
        /// Whose it is.
        owner: u32,
        /// The agent's own user.
        agent: u32,
    },
    /// Others may write it.
    #[error(
        "{} has mode {mode:04o}, so that others than its owner decide which commands the agent runs: set it right with `chmod go-w {}`",
        file.display(),
        file.display()
    )]
    Open {
        /// Which.
        file: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// It is no TOML.
    #[error("{} is no TOML: {problem}", file.display())]
    Syntax {
        /// Which.
        file: PathBuf,
        /// Where and why.
        problem: String,
    },
    /// One key is not right.
    #[error("{}: {key}: {problem}", file.display())]
    Key {
        /// In which file.
        file: PathBuf,
        /// Which, with its table.
        key: String,
        /// What is wrong, and what would be right.
        problem: String,
    },
}

#[cfg(test)]
mod tests;
