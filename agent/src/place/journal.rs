//! What the agent was about to do to files of others, written down before it does: after a crash it can be taken back. No key is in it.

use std::{io, path::PathBuf};

use convoy_shared::settings::KeyUse;
use serde::{Deserialize, Serialize};

use super::{
    Cause, FileError,
    files::{Target, sync_folder},
    former::Former,
};
use crate::disk::StateDir;

/// In the state folder.
const FOLDER: &str = "scep";

/// What is being installed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Entry {
    /// Where.
    pub(super) key_use: KeyUse,
    /// Which one.
    pub(super) destination: String,
    /// Which files, in the order in which they are replaced.
    pub(super) targets: Vec<Target>,
    /// Which files the function was told to use before, as the preset understands it.
    pub(super) assigned: Vec<String>,
}

/// How far it is. It is the name of the entry's file: to go on takes a rename, and no room on a full disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// Nothing is replaced.
    Staging,
    /// Some is, or all.
    Replacing,
    /// All is well.
    Done,
}

impl Phase {
    const ALL: [Self; 3] = [Self::Staging, Self::Replacing, Self::Done];

    const fn file(self) -> &'static str {
        match self {
            Self::Staging => "installing.staging",
            Self::Replacing => "installing.replacing",
            Self::Done => "installing.done",
        }
    }
}

/// The journal. There is one entry, or none.
pub(super) struct Journal {
    dir: StateDir,
}

impl Journal {
    pub(super) fn open(state: &StateDir) -> Result<Self, Cause> {
        Ok(Self {
            dir: StateDir::create(&state.file(FOLDER))?,
        })
    }

    /// The journal of a state folder in which something may have been installed.
    pub(super) fn find(state: &StateDir) -> Result<Option<Self>, Cause> {
        if state.file(FOLDER).exists() {
            Self::open(state).map(Some)
        } else {
            Ok(None)
        }
    }

    pub(super) fn read(&self) -> Result<Option<(Phase, Entry)>, Cause> {
        for phase in Phase::ALL {
            if let Some(bytes) = self.dir.read(phase.file())? {
                let entry = serde_json::from_slice(&bytes)
                    .map_err(|error| self.damaged(phase, error.to_string()))?;
                return Ok(Some((phase, entry)));
            }
        }
        Ok(None)
    }

    /// Begins an entry, before anything is done.
    pub(super) fn begin(&self, entry: &Entry) -> Result<(), Cause> {
        let phase = Phase::Staging;
        let bytes =
            serde_json::to_vec(entry).map_err(|error| self.damaged(phase, error.to_string()))?;
        Ok(self.dir.write(phase.file(), &bytes)?)
    }

    /// The entry is in another phase.
    pub(super) fn enter(&self, from: Phase, to: Phase) -> Result<(), Cause> {
        let (from, to) = (self.dir.file(from.file()), self.dir.file(to.file()));
        std::fs::rename(&from, &to).map_err(|source| FileError::new("rename", &from, source))?;
        Ok(sync_folder(self.dir.path())?)
    }

    /// There is nothing to take back any more.
    pub(super) fn end(&self) -> Result<(), Cause> {
        for phase in Phase::ALL {
            let path = self.path(phase);
            match std::fs::remove_file(&path) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(source) => return Err(FileError::new("remove", &path, source).into()),
            }
        }
        Ok(sync_folder(self.dir.path())?)
    }

    /// What the entry's location had before the agent's first success there.
    pub(super) fn former(&self, entry: &Entry) -> Former {
        Former::of(&self.dir, entry.key_use, &entry.destination)
    }

    fn path(&self, phase: Phase) -> PathBuf {
        self.dir.file(phase.file())
    }

    fn damaged(&self, phase: Phase, why: String) -> Cause {
        let source = io::Error::new(io::ErrorKind::InvalidData, why);
        FileError::new("understand", &self.path(phase), source).into()
    }
}
