//! The data folder: its lock, and files that survive a power cut. What the files mean is decided elsewhere.

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io::{self, Write as _},
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use zeroize::Zeroizing;

/// A locked data folder. The lock lasts as long as this value.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
    _lock: File,
}

impl Folder {
    /// Makes the folder if it is missing (mode 0700), and locks it.
    ///
    /// # Errors
    /// If others may look into it, or another controller holds it.
    pub fn lock(path: &Path) -> Result<Self, FolderError> {
        let failed = |source| FolderError::Io {
            path: path.to_owned(),
            source,
        };
        convoy_host::folder::make(path, 0o700).map_err(failed)?;
        let mode = fs::metadata(path).map_err(failed)?.mode() & 0o777;
        if mode & 0o077 != 0 {
            let path = path.to_owned();
            // Only what is a controller's is to be closed: others may need to look into another folder.
            let ours = path.join("journal.redb").exists()
                || fs::read_dir(&path).is_ok_and(|mut entries| entries.next().is_none());
            return Err(if ours {
                FolderError::Open { path, mode }
            } else {
                FolderError::Foreign { path, mode }
            });
        }
        let lock = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(path.join("lock"))
            .map_err(failed)?;
        match lock.try_lock() {
            Ok(()) => Ok(Self {
                path: path.to_owned(),
                _lock: lock,
            }),
            Err(TryLockError::WouldBlock) => Err(FolderError::Taken(path.to_owned())),
            Err(TryLockError::Error(source)) => Err(failed(source)),
        }
    }

    /// A path inside.
    #[must_use]
    pub fn join(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Makes a folder inside (mode 0700) if it is missing.
    ///
    /// # Errors
    /// As the operating system says.
    pub fn make(&self, name: &str) -> Result<(), FolderError> {
        let path = self.join(name);
        convoy_host::folder::make(&path, 0o700).map_err(|source| FolderError::Io { path, source })
    }

    /// Whether nothing is in a folder inside.
    ///
    /// # Errors
    /// As the operating system says.
    pub fn is_empty(&self, name: &str) -> Result<bool, FolderError> {
        let path = self.join(name);
        let mut entries = fs::read_dir(&path).map_err(|source| FolderError::Io { path, source })?;
        Ok(entries.next().is_none())
    }

    /// Writes a file of mode 0600 so that after a crash either the old or the new content is there, whole.
    ///
    /// # Errors
    /// As the operating system says; the old content is untouched then.
    pub fn write(&self, name: &str, content: &[u8]) -> Result<(), FolderError> {
        let path = self.join(name);
        let failed = |source| FolderError::Io {
            path: path.clone(),
            source,
        };
        let temporary = path.with_extension("new");
        let written = (|| {
            let mut file = OpenOptions::new()
                .create(true)
                .truncate(true)
                .write(true)
                .mode(0o600)
                .open(&temporary)?;
            file.write_all(content)?;
            file.sync_all()?;
            fs::rename(&temporary, &path)?;
            match path.parent() {
                Some(parent) => File::open(parent)?.sync_all(),
                None => Ok(()),
            }
        })();
        written.map_err(failed)
    }

    /// Reads a secret file, if it is there.
    ///
    /// # Errors
    /// If others may read it, or as the operating system says.
    pub fn read_secret(&self, name: &str) -> Result<Option<Zeroizing<Vec<u8>>>, FolderError> {
        let path = self.join(name);
        let mode = match fs::metadata(&path) {
            Ok(metadata) => metadata.mode() & 0o777,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(FolderError::Io { path, source }),
        };
        if mode & 0o077 != 0 {
            return Err(FolderError::Open { path, mode });
        }
        fs::read(&path)
            .map(|content| Some(Zeroizing::new(content)))
            .map_err(|source| FolderError::Io { path, source })
    }
}

/// Why the data folder cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum FolderError {
    /// Two controllers must not write one journal.
    #[error("another controller is running on {0}; stop it first, or give another --data-dir")]
    Taken(PathBuf),
    /// Secrets lie open.
    #[error("{path} has mode {mode:03o}: others may read keys there; run `chmod go= {path}`")]
    Open {
        /// What.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// Something else lives there.
    #[error("{path} has mode {mode:03o} and is no folder of a controller; give another --data-dir")]
    Foreign {
        /// What.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// As the operating system says.
    #[error("{path}")]
    Io {
        /// What.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_folder_is_locked_once_and_private() {
        let parent = tempfile::tempdir().expect("a folder");
        let path = parent.path().join("data");
        let folder = Folder::lock(&path).expect("first");
        assert!(matches!(Folder::lock(&path), Err(FolderError::Taken(_))));
        drop(folder);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("chmod");
        assert!(matches!(
            Folder::lock(&path),
            Err(FolderError::Foreign { mode: 0o755, .. })
        ));
        fs::write(path.join("journal.redb"), b"").expect("written");
        assert!(matches!(
            Folder::lock(&path),
            Err(FolderError::Open { mode: 0o755, .. })
        ));
    }

    #[test]
    fn a_secret_that_lies_open_is_refused() {
        let parent = tempfile::tempdir().expect("a folder");
        let folder = Folder::lock(&parent.path().join("data")).expect("a folder");
        assert!(folder.read_secret("key").expect("no file").is_none());
        folder.write("key", b"one").expect("written");
        folder.write("key", b"two").expect("written again");
        assert_eq!(
            folder
                .read_secret("key")
                .expect("read")
                .as_deref()
                .map(Vec::as_slice),
            Some(&b"two"[..])
        );
        fs::set_permissions(folder.join("key"), fs::Permissions::from_mode(0o640)).expect("chmod");
        assert!(matches!(
            folder.read_secret("key"),
            Err(FolderError::Open { .. })
        ));
    }
}
