//! Files of others, replaced at once or not at all: new ones are made ready beside the old ones, then renamed over them; the old ones stay at hand until all is
//! well. Which files, and why, is not known here.

use std::{
    fs::{DirBuilder, File, OpenOptions, Permissions},
    io::{self, Write as _},
    os::unix::fs::{
        DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _, fchown,
    },
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::folders;

/// Made in the folder of each file that is replaced, for as long as that takes: what is in it is on the same file system.
const WORK: &str = ".convoy-installing";

/// One file that shall be.
pub(super) struct Write {
    /// Where.
    pub(super) path: PathBuf,
    /// With what in it. `None`: it shall not be.
    pub(super) content: Option<Zeroizing<Vec<u8>>>,
    /// Whether it is a private key.
    pub(super) secret: bool,
}

impl Write {
    /// A warning if this key's file belonged to somebody who will not be able to read it any more.
    pub(super) fn taken_from(&self, key_file: &KeyFile) -> Option<String> {
        if !self.secret || key_file.owner.user.is_some() {
            return None;
        }
        let owner = std::fs::metadata(&self.path).ok()?.uid();
        let agent = rustix::process::geteuid().as_raw();
        (owner != agent).then(|| {
            format!(
                "{} belonged to the user {owner}, and belongs to the agent's user {agent} now: where {owner} has to read it, set key_owner = \"{owner}\"",
                self.path.display()
            )
        })
    }
}

/// Who may read a key's file, where the configuration says so. Without it: its owner alone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KeyFile {
    /// Its permission bits.
    pub mode: Option<u32>,
    /// Whose it is.
    pub owner: Owner,
}

/// A user and a group, by number. `None`: the agent's own; for the group, as it was if a mode is given.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Owner {
    /// The user.
    pub user: Option<u32>,
    /// The group.
    pub group: Option<u32>,
}

/// A file that is being replaced.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Target {
    /// Where it is: no link, so that links stay links.
    path: PathBuf,
    /// Whether there was one before.
    existed: bool,
}

impl Target {
    /// # Errors
    /// If it cannot be a regular file, in a folder that is there and that nobody else may write; or if it is a key, and a link.
    pub(super) fn find(write: &Write) -> Result<Self, FileError> {
        let path = write.path.as_path();
        let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else {
            let source = io::Error::from(io::ErrorKind::InvalidFilename);
            return Err(FileError::new("write", path, source));
        };
        let real = folder
            .canonicalize()
            .map_err(|source| FileError::new("find the folder", folder, source))?;
        // As it is written, too: who can turn a link on the way decides where the file goes.
        folders::check(folder)?;
        folders::check(&real)?;
        let link = match std::fs::symlink_metadata(path) {
            Ok(metadata) => metadata.is_symlink(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Ok(Self {
                    path: real.join(name),
                    existed: false,
                });
            }
            Err(source) => return Err(FileError::new("look at", path, source)),
        };
        if link && write.secret {
            let source = io::Error::other(
                "it is a link, which a key is not written through: configure the path of the file itself, or remove the link",
            );
            return Err(FileError::new("replace", path, source));
        }
        let path = path
            .canonicalize()
            .map_err(|source| FileError::new("follow", path, source))?;
        let target = Self {
            path,
            existed: true,
        };
        if link {
            folders::check(target.folder())?;
        }
        let metadata = std::fs::metadata(&target.path)
            .map_err(|source| FileError::new("look at", &target.path, source))?;
        if !metadata.is_file() {
            let source = io::Error::other("it is no regular file");
            return Err(FileError::new("replace", &target.path, source));
        }
        Ok(target)
    }

    /// Where it is.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// What was there before, once it is staged.
    pub(super) fn old(&self) -> Option<PathBuf> {
        self.existed.then(|| self.beside(".old"))
    }

    /// # Errors
    /// If two are one file, also by way of links: one would be lost.
    pub(super) fn all_different(targets: &[Self]) -> Result<(), FileError> {
        for (number, target) in targets.iter().enumerate() {
            if targets
                .iter()
                .take(number)
                .any(|other| other.path == target.path)
            {
                let source = io::Error::other(
                    "two different things are to be written to it: give each a file of its own",
                );
                return Err(FileError::new("write", &target.path, source));
            }
        }
        Ok(())
    }

    fn folder(&self) -> &Path {
        self.path.parent().unwrap_or(Path::new("/"))
    }

    fn work(&self) -> PathBuf {
        self.folder().join(WORK)
    }

    /// A file of this target's in the work folder.
    fn beside(&self, suffix: &str) -> PathBuf {
        let mut name = self.path.file_name().unwrap_or_default().to_owned();
        name.push(suffix);
        self.work().join(name)
    }

    /// Makes the new file ready, and keeps a hold of the old one. Changes nothing that anybody uses.
    pub(super) fn stage(&self, write: &Write, key_file: &KeyFile) -> Result<(), FileError> {
        self.open_work()?;
        if self.existed {
            self.keep_old()?;
        }
        if let Some(content) = &write.content {
            self.make_new(content, write.secret, key_file)?;
        }
        sync_folder(&self.work())
    }

    fn open_work(&self) -> Result<(), FileError> {
        let work = self.work();
        let failed = |source| FileError::new("make the folder", &work, source);
        match DirBuilder::new().mode(0o700).create(&work) {
            Ok(()) => sync_folder(self.folder()),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                let metadata = std::fs::symlink_metadata(&work).map_err(failed)?;
                let own = metadata.is_dir()
                    && metadata.uid() == rustix::process::geteuid().as_raw()
                    && metadata.mode() & 0o022 == 0;
                if own {
                    Ok(())
                } else {
                    Err(failed(io::Error::other(
                        "something that is not the agent's own is in its place",
                    )))
                }
            }
            Err(source) => Err(failed(source)),
        }
    }

    /// Keeps the very file, by a second name: its owner, mode and all else stay as they are, and it takes no room.
    fn keep_old(&self) -> Result<(), FileError> {
        let old = self.beside(".old");
        remove(&old)?;
        if std::fs::hard_link(&self.path, &old).is_ok() {
            return Ok(());
        }
        // Not every file system has links, and not every user may make them.
        let copy = self.beside(".copy");
        let failed = |source| FileError::new("keep a copy of", &self.path, source);
        let content = Zeroizing::new(std::fs::read(&self.path).map_err(failed)?);
        let metadata = std::fs::metadata(&self.path).map_err(failed)?;
        let attributes = Attributes {
            user: metadata.uid(),
            group: metadata.gid(),
            mode: metadata.mode() & 0o7777,
        };
        write_new(&copy, &content, &attributes)?;
        std::fs::rename(&copy, &old).map_err(failed)
    }

    fn make_new(&self, content: &[u8], secret: bool, key_file: &KeyFile) -> Result<(), FileError> {
        let new = self.beside(".new");
        let before = if self.existed {
            let metadata = std::fs::metadata(&self.path)
                .map_err(|source| FileError::new("look at", &self.path, source))?;
            Some(Attributes {
                user: metadata.uid(),
                group: metadata.gid(),
                mode: metadata.mode() & 0o777,
            })
        } else {
            None
        };
        let mut attributes = before.unwrap_or_else(|| Attributes {
            user: rustix::process::geteuid().as_raw(),
            group: rustix::process::getegid().as_raw(),
            mode: if secret { 0o600 } else { 0o644 },
        });
        if secret {
            let agent = rustix::process::geteuid().as_raw();
            attributes.user = key_file.owner.user.unwrap_or(agent);
            attributes.group = match (key_file.owner.group, key_file.mode) {
                (Some(group), _) => group,
                // Whoever had the configuration let a group read it meant the group that it was for.
                (None, Some(_)) => attributes.group,
                (None, None) => rustix::process::getegid().as_raw(),
            };
            attributes.mode = key_file.mode.unwrap_or(match attributes.mode & 0o600 {
                0o400 => 0o400,
                _ => 0o600,
            });
        }
        write_new(&new, content, &attributes)
    }

    /// The new file takes the old one's place.
    pub(super) fn replace(&self, write: &Write) -> Result<(), FileError> {
        if write.content.is_some() {
            std::fs::rename(self.beside(".new"), &self.path)
                .map_err(|source| FileError::new("replace", &self.path, source))?;
        } else {
            remove(&self.path)?;
        }
        sync_folder(self.folder())
    }

    /// The old file takes its place again, wherever the replacement stopped. May be repeated.
    pub(super) fn put_back(&self) -> Result<(), FileError> {
        if self.existed {
            let old = self.beside(".old");
            match std::fs::rename(&old, &self.path) {
                Ok(()) => {}
                // It is back already.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(source) => return Err(FileError::new("put back", &self.path, source)),
            }
            // Renaming one name of a file to its other does nothing (rename(2)).
            remove(&old)?;
        } else if !self.beside(".new").exists() {
            remove(&self.path)?;
        }
        // The new file's absence tells that it took its place: that is undone durably before anything else goes.
        sync_folder(self.folder())?;
        self.forget()
    }

    /// Removes what was made ready or kept.
    pub(super) fn forget(&self) -> Result<(), FileError> {
        for suffix in [".new", ".copy", ".old"] {
            remove(&self.beside(suffix))?;
        }
        match std::fs::remove_dir(self.work()) {
            Ok(()) => sync_folder(self.folder()),
            Err(error)
                if matches!(
                    error.kind(),
                    // Another target's files are still in it; or it was never made.
                    io::ErrorKind::DirectoryNotEmpty
                        | io::ErrorKind::NotFound
                        | io::ErrorKind::NotADirectory
                ) =>
            {
                Ok(())
            }
            Err(source) => Err(FileError::new("remove", &self.work(), source)),
        }
    }
}

struct Attributes {
    user: u32,
    group: u32,
    mode: u32,
}

fn write_new(path: &Path, content: &[u8], attributes: &Attributes) -> Result<(), FileError> {
    let failed = |source| FileError::new("write", path, source);
    remove(path)?;
    let mut file = OpenOptions::new()
        .create_new(true)
        .write(true)
        .mode(0o600)
        .open(path)
        .map_err(failed)?;
    file.write_all(content).map_err(failed)?;
    let made = file.metadata().map_err(failed)?;
    if (made.uid(), made.gid()) != (attributes.user, attributes.group) {
        fchown(&file, Some(attributes.user), Some(attributes.group))
            .map_err(|source| FileError::new("give its owner to", path, source))?;
    }
    file.set_permissions(Permissions::from_mode(attributes.mode))
        .map_err(failed)?;
    file.sync_all().map_err(failed)
}

pub(super) fn remove(path: &Path) -> Result<(), FileError> {
    match std::fs::remove_file(path) {
        Ok(()) => Ok(()),
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
            ) =>
        {
            Ok(())
        }
        Err(source) => Err(FileError::new("remove", path, source)),
    }
}

pub(super) fn sync_folder(path: &Path) -> Result<(), FileError> {
    File::open(path)
        .and_then(|folder| folder.sync_all())
        .map_err(|source| FileError::new("write", path, source))
}

/// What the system refused.
#[derive(Debug, thiserror::Error)]
#[error("cannot {verb} {}: {source}", path.display())]
pub struct FileError {
    verb: &'static str,
    path: PathBuf,
    source: io::Error,
}

impl FileError {
    pub(super) fn new(verb: &'static str, path: &Path, source: io::Error) -> Self {
        Self {
            verb,
            path: path.to_owned(),
            source,
        }
    }
}
