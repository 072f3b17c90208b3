//! What a key use location had before the agent's first success there. It is kept for good, in a folder of the agent's own, and nothing there is ever written over.

use std::{
    io,
    path::{Path, PathBuf},
};

use convoy_shared::settings::KeyUse;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::{
    Cause, FileError,
    files::{Target, remove, sync_folder},
};
use crate::disk::StateDir;

/// Which files the agent has ever replaced at the location, and what is kept of each.
const INDEX: &str = "files.json";
const NEW: &str = ".new";

/// A file that the agent has replaced.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Kept {
    /// Where it was.
    path: PathBuf,
    /// What it is kept as. `None`: there was none.
    file: Option<String>,
}

/// The folder of one location. It need not be there.
pub(super) struct Former {
    path: PathBuf,
}

impl Former {
    /// In the folder of the journal.
    pub(super) fn of(folder: &StateDir, key_use: KeyUse, destination: &str) -> Self {
        let name = match key_use {
            KeyUse::None => "none",
            KeyUse::Tls => "tls",
            KeyUse::IpSec => "ipsec",
            KeyUse::Ieee8021X => "ieee8021x",
        };
        let gap = if destination.is_empty() { "" } else { "-" };
        Self {
            path: folder.file(&format!("default-{name}{gap}{destination}")),
        }
    }

    /// Makes copies of what is about to be replaced for the first time, so that [`Self::keep`] needs no room on the disk. The targets are staged already.
    pub(super) fn stage(&self, targets: &[Target]) -> Result<(), Cause> {
        self.clear()?;
        let mut all = self.index()?;
        let fresh: Vec<&Target> = targets
            .iter()
            .filter(|target| !all.iter().any(|kept| kept.path == target.path()))
            .collect();
        if fresh.is_empty() {
            return Ok(());
        }
        let dir = StateDir::create(&self.path)?;
        if let Some(parent) = self.path.parent() {
            sync_folder(parent)?;
        }
        for target in fresh {
            let file = match target.old() {
                Some(old) => {
                    let content = Zeroizing::new(
                        std::fs::read(&old)
                            .map_err(|source| FileError::new("keep a copy of", &old, source))?,
                    );
                    let file = free_name(&dir, all.len(), target.path());
                    dir.write(&format!("{file}{NEW}"), &content)?;
                    Some(file)
                }
                None => None,
            };
            all.push(Kept {
                path: target.path().to_owned(),
                file,
            });
        }
        let index = serde_json::to_vec_pretty(&all).map_err(|error| self.damaged(&error))?;
        Ok(dir.write(&format!("{INDEX}{NEW}"), &index)?)
    }

    /// What was staged is kept. May be repeated.
    pub(super) fn keep(&self) -> Result<(), Cause> {
        let index = self.path.join(format!("{INDEX}{NEW}"));
        if !index.exists() {
            return Ok(());
        }
        for path in self.staged()? {
            if path != index {
                accept(&path)?;
            }
        }
        // Until the index is there, all of this is done again.
        sync_folder(&self.path)?;
        accept(&index)?;
        Ok(sync_folder(&self.path)?)
    }

    /// What was staged is not kept: what was there is there again.
    pub(super) fn clear(&self) -> Result<(), Cause> {
        let staged = self.staged()?;
        for path in &staged {
            remove(path)?;
        }
        if !staged.is_empty() {
            sync_folder(&self.path)?;
        }
        // One that was made for nothing. With anything in it, it stays.
        let _stays = std::fs::remove_dir(&self.path);
        Ok(())
    }

    fn index(&self) -> Result<Vec<Kept>, Cause> {
        if !self.path.exists() {
            return Ok(Vec::new());
        }
        match StateDir::open(&self.path)?.read(INDEX)? {
            Some(bytes) => {
                serde_json::from_slice(&bytes).map_err(|error| self.damaged(&error).into())
            }
            None => Ok(Vec::new()),
        }
    }

    /// The files that are not yet kept, or only half written.
    fn staged(&self) -> Result<Vec<PathBuf>, FileError> {
        let failed = |source| FileError::new("list", &self.path, source);
        let entries = match std::fs::read_dir(&self.path) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(source) => return Err(failed(source)),
        };
        let mut found = Vec::new();
        for entry in entries {
            let path = entry.map_err(failed)?.path();
            let name = path.file_name().and_then(|name| name.to_str());
            if name.is_some_and(|name| name.ends_with(NEW) || name.ends_with(".new.tmp")) {
                found.push(path);
            }
        }
        Ok(found)
    }

    fn damaged(&self, error: &serde_json::Error) -> FileError {
        let source = io::Error::new(io::ErrorKind::InvalidData, error.to_string());
        FileError::new("understand", &self.path.join(INDEX), source)
    }
}

/// A name that nothing has, also where somebody took the index away.
fn free_name(dir: &StateDir, known: usize, path: &Path) -> String {
    let own = path.file_name().unwrap_or_default().to_string_lossy();
    // So that it is not taken for one that is staged.
    let own = own.trim_end_matches(".tmp").trim_end_matches(NEW);
    let mut number = known;
    loop {
        number += 1;
        let name = format!("{number}-{own}");
        if !dir.file(&name).exists() && !dir.file(&format!("{name}{NEW}")).exists() {
            return name;
        }
    }
}

/// Takes the end off the name that says that it is staged.
fn accept(path: &Path) -> Result<(), FileError> {
    std::fs::rename(path, path.with_extension(""))
        .map_err(|source| FileError::new("keep", path, source))
}
