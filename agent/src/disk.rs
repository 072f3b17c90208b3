//! The state folder: who may enter, who holds it, and writes that survive a power cut. What is written is none of its business.

use std::{
    fs::{File, OpenOptions, TryLockError},
    io::{self, Read as _, Write as _},
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    time::Duration,
};

use zeroize::Zeroizing;

/// A folder that only its owner may enter.
#[derive(Clone, Debug)]
pub struct StateDir {
    path: PathBuf,
}

/// Holds a state folder for this process, until it is dropped.
#[derive(Debug)]
pub struct Lock {
    _held: Vec<File>,
}

const LOCK: &str = "lock";

impl StateDir {
    /// Opens the folder, and makes it (0700) if there is none.
    ///
    /// # Errors
    /// If it cannot be made, or others may enter it.
    pub fn create(path: &Path) -> Result<Self, DiskError> {
        match convoy_host::folder::make(path, 0o700) {
            Ok(()) => Self::open(path),
            Err(source) => Err(DiskError::io("make", path, source)),
        }
    }

    /// A folder that could not be made yet: it is empty until somebody makes it.
    pub(crate) const fn to_make(path: PathBuf) -> Self {
        Self { path }
    }

    /// Opens a folder that must be there.
    ///
    /// # Errors
    /// If it is not there, is no folder, or others may enter it.
    pub fn open(path: &Path) -> Result<Self, DiskError> {
        let metadata = match std::fs::metadata(path) {
            Ok(metadata) => metadata,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(DiskError::Absent(path.to_owned()));
            }
            Err(source) => return Err(DiskError::io("open", path, source)),
        };
        if !metadata.is_dir() {
            let source = io::Error::from(io::ErrorKind::NotADirectory);
            return Err(DiskError::io("open", path, source));
        }
        check_private(path, metadata.mode(), "0700")?;
        Ok(Self {
            path: path.to_owned(),
        })
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where a file of it is.
    #[must_use]
    pub fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Takes the folder for this process. Waits up to half a second, because `status` holds it for an instant.
    ///
    /// # Errors
    /// If another process holds it.
    pub fn lock(&self) -> Result<Lock, DiskError> {
        let path = self.file(LOCK);
        let opened = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(&path)
            .map_err(|source| DiskError::io("open", &path, source));
        let mut held = Vec::with_capacity(2);
        // The folder too, since a full disk has no room for the file. Not every file system locks folders.
        let folder = self.hold(&self.path, File::open(&self.path));
        match opened {
            Err(error) if error.is_full() => held.push(folder?),
            Err(error) => return Err(error),
            Ok(file) => {
                match folder {
                    Err(error @ DiskError::Held(_)) => return Err(error),
                    folder => held.extend(folder),
                }
                held.push(self.hold(&path, Ok(file))?);
            }
        }
        Ok(Lock { _held: held })
    }

    fn hold(&self, path: &Path, file: io::Result<File>) -> Result<File, DiskError> {
        let file = file.map_err(|source| DiskError::io("open", path, source))?;
        for _ in 0..5 {
            match file.try_lock() {
                Ok(()) => return Ok(file),
                Err(TryLockError::WouldBlock) => std::thread::sleep(Duration::from_millis(100)),
                Err(TryLockError::Error(source)) => {
                    return Err(DiskError::io("lock", path, source));
                }
            }
        }
        Err(DiskError::Held(self.path.clone()))
    }

    /// Whether another process holds it.
    #[must_use]
    pub fn is_held(&self) -> bool {
        [&self.path, &self.file(LOCK)].into_iter().any(|path| {
            File::open(path).is_ok_and(|file| {
                // Shared, so that two who ask do not take each other for the agent. Closing the file gives the lock back.
                matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock))
            })
        })
    }

    /// Reads a file; `None` if there is none.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn read(&self, name: &str) -> Result<Option<Vec<u8>>, DiskError> {
        let path = self.file(name);
        match std::fs::read(&path) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(DiskError::io("read", &path, source)),
        }
    }

    /// Reads a file that only its owner may read; `None` if there is none.
    ///
    /// # Errors
    /// If it cannot be read, or others may read it.
    pub fn read_secret(&self, name: &str) -> Result<Option<Zeroizing<Vec<u8>>>, DiskError> {
        let path = self.file(name);
        let failed = |source| DiskError::io("read", &path, source);
        let mut file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(failed(source)),
        };
        let metadata = file.metadata().map_err(failed)?;
        check_private(&path, metadata.mode(), "0600")?;
        // Of one piece from the start, so that growing leaves no copies behind.
        let length = usize::try_from(metadata.len()).unwrap_or(0);
        let mut bytes = Zeroizing::new(Vec::with_capacity(length.min(1 << 20) + 1));
        file.read_to_end(&mut bytes).map_err(failed)?;
        Ok(Some(bytes))
    }

    /// Puts a file (0600) in place of an older one of the name, at once or not at all, and durably.
    ///
    /// # Errors
    /// If any step fails. The older file is then still there, or, if the last step failed, perhaps the new one.
    pub fn write(&self, name: &str, bytes: &[u8]) -> Result<(), DiskError> {
        let path = self.file(name);
        let failed = |source| DiskError::io("write", &path, source);
        let temporary = self.file(&format!("{name}.tmp"));
        match std::fs::remove_file(&temporary) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(source) => return Err(failed(source)),
        }
        let written = OpenOptions::new()
            .create_new(true)
            .write(true)
            .mode(0o600)
            .open(&temporary)
            .and_then(|mut file| {
                file.write_all(bytes)?;
                file.sync_all()
            });
        if let Err(source) = written {
            // On a full disk a half of it is in everybody's way.
            drop(std::fs::remove_file(&temporary));
            return Err(failed(source));
        }
        std::fs::rename(&temporary, &path).map_err(failed)?;
        File::open(&self.path)
            .and_then(|folder| folder.sync_all())
            .map_err(failed)
    }
}

/// Whether there is no room.
pub(crate) fn is_full(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
    )
}

fn check_private(path: &Path, mode: u32, expected: &'static str) -> Result<(), DiskError> {
    if mode & 0o077 == 0 {
        Ok(())
    } else {
        Err(DiskError::TooOpen {
            path: path.to_owned(),
            mode: mode & 0o7777,
            expected,
        })
    }
}

/// What went wrong with the state folder.
#[derive(Debug, thiserror::Error)]
pub enum DiskError {
    /// There is none.
    #[error("there is no state folder {}: join a fleet first with `convoy-agent join`", .0.display())]
    Absent(PathBuf),
    /// Another process holds it.
    #[error(
        "another convoy-agent holds the state folder {}: stop it first, or use another --state-dir",
        .0.display()
    )]
    Held(PathBuf),
    /// Others may enter or read.
    #[error(
        "{} has mode {mode:04o}, so that others than its owner get at it: set it right with `chmod {expected} {}`",
        path.display(),
        path.display()
    )]
    TooOpen {
        /// What.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
        /// What they must be.
        expected: &'static str,
    },
    /// The system refused.
    #[error("cannot {verb} {}", path.display())]
    Io {
        /// What was to be done.
        verb: &'static str,
        /// To what.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
}

impl DiskError {
    /// Whether there is no room.
    #[must_use]
    pub fn is_full(&self) -> bool {
        matches!(self, Self::Io { source, .. } if is_full(source))
    }

    fn io(verb: &'static str, path: &Path, source: io::Error) -> Self {
        Self::Io {
            verb,
            path: path.to_owned(),
            source,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{fs::Permissions, os::unix::fs::PermissionsExt as _};

    use super::*;

    fn folder() -> (tempfile::TempDir, StateDir) {
        let parent = tempfile::tempdir().expect("a folder");
        let dir = StateDir::create(&parent.path().join("deep/state")).expect("made");
        (parent, dir)
    }

    fn mode(path: &Path) -> u32 {
        std::fs::metadata(path).expect("there").mode() & 0o777
    }

    #[test]
    fn what_is_written_is_read_and_is_private() {
        let (_parent, dir) = folder();
        assert_eq!(mode(dir.path()), 0o700);
        assert_eq!(dir.read("x").expect("read"), None);
        dir.write("x", b"one").expect("written");
        dir.write("x", b"two").expect("written");
        assert_eq!(dir.read("x").expect("read").as_deref(), Some(&b"two"[..]));
        assert_eq!(mode(&dir.file("x")), 0o600);
        assert!(!dir.file("x.tmp").exists());
    }

    #[test]
    fn what_a_crash_left_half_written_is_in_nobodys_way() {
        let (_parent, dir) = folder();
        std::fs::write(dir.file("x.tmp"), b"torn").expect("written");
        dir.write("x", b"whole").expect("written");
        assert_eq!(dir.read("x").expect("read").as_deref(), Some(&b"whole"[..]));
    }

    #[test]
    fn an_open_folder_or_key_is_refused() {
        let (_parent, dir) = folder();
        dir.write("key", b"secret").expect("written");
        std::fs::set_permissions(dir.file("key"), Permissions::from_mode(0o640)).expect("set");
        let refused = dir.read_secret("key").expect_err("refused").to_string();
        assert!(
            refused.contains("mode 0640") && refused.contains("chmod 0600"),
            "{refused}"
        );
        std::fs::set_permissions(dir.path(), Permissions::from_mode(0o755)).expect("set");
        for refused in [StateDir::open(dir.path()), StateDir::create(dir.path())] {
            let refused = refused.expect_err("refused").to_string();
            assert!(
                refused.contains("mode 0755") && refused.contains("chmod 0700"),
                "{refused}"
            );
        }
    }

    #[test]
    fn one_process_at_a_time() {
        let (_parent, dir) = folder();
        assert!(!dir.is_held());
        let lock = dir.lock().expect("free");
        assert!(dir.is_held());
        assert!(matches!(dir.lock(), Err(DiskError::Held(_))));
        drop(lock);
        assert!(!dir.is_held());
        drop(dir.lock().expect("free again"));
        // Also where there was no room for the file.
        std::fs::remove_file(dir.file(LOCK)).expect("removed");
        let folder = dir
            .hold(dir.path(), File::open(dir.path()))
            .expect("free again");
        assert!(dir.is_held());
        assert!(matches!(dir.lock(), Err(DiskError::Held(_))));
        drop(folder);
        dir.lock().expect("free again");
    }

    #[test]
    fn a_missing_folder_says_what_to_do() {
        let (parent, _dir) = folder();
        let error = StateDir::open(&parent.path().join("none")).expect_err("absent");
        assert!(error.to_string().contains("convoy-agent join"));
    }
}
