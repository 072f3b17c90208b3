//! The folder of the SCEP engine: which files there are, each written at once or not at all, and durably. What stands in them is decided elsewhere.

use std::{
    fs::{File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
};

use zeroize::Zeroizing;

use crate::{
    disk::{DiskError, StateDir},
    link::told,
};

/// The folder, in the state folder.
pub(crate) const FOLDER: &str = "scep";

/// The kinds of files that an attempt leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    /// The private key, PKCS#8.
    Key,
    /// The certificate alone.
    Certificate,
    /// Its issuers.
    Chain,
    /// The SCEP server's CA.
    Ca,
}

impl Part {
    const ALL: [Self; 4] = [Self::Key, Self::Certificate, Self::Chain, Self::Ca];

    const fn word(self) -> &'static str {
        match self {
            Self::Key => "key",
            Self::Certificate => "certificate",
            Self::Chain => "chain",
            Self::Ca => "ca",
        }
    }

    pub(crate) fn file(self, attempt: u64) -> String {
        format!("{}-{attempt}.pem", self.word())
    }
}

/// The folder.
#[derive(Clone, Debug)]
pub(crate) struct Store {
    dir: StateDir,
    #[cfg(test)]
    pub(crate) fuse: Fuse,
}

impl Store {
    /// Opens it, and makes it if there is none. On a full disk it is made with the first file that there is room for.
    pub(crate) fn open(state: &StateDir) -> Result<Self, DiskError> {
        let path = state.file(FOLDER);
        let dir = match StateDir::create(&path) {
            Err(error) if error.is_full() => {
                tracing::error!(
                    error = told(&error),
                    "no folder for certificate requests: none is made until the disk has room"
                );
                StateDir::to_make(path)
            }
            made => made?,
        };
        Ok(Self {
            dir,
            #[cfg(test)]
            fuse: Fuse::default(),
        })
    }

    /// The folder of a state folder, if there is one.
    pub(crate) fn find(state: &StateDir) -> Result<Option<Self>, DiskError> {
        if state.file(FOLDER).exists() {
            Self::open(state).map(Some)
        } else {
            Ok(None)
        }
    }

    pub(crate) fn write(&self, name: &str, bytes: &[u8]) -> Result<(), DiskError> {
        #[cfg(test)]
        self.fuse.burn(&self.dir.file(name))?;
        StateDir::create(self.dir.path())?.write(name, bytes)
    }

    pub(crate) fn read(&self, name: &str) -> Result<Option<Vec<u8>>, DiskError> {
        self.dir.read(name)
    }

    pub(crate) fn read_secret(&self, name: &str) -> Result<Option<Zeroizing<Vec<u8>>>, DiskError> {
        self.dir.read_secret(name)
    }

    /// Takes a file away. It is no error if there is none.
    pub(crate) fn remove(&self, name: &str) -> Result<(), DiskError> {
        let path = self.dir.file(name);
        #[cfg(test)]
        self.fuse.burn(&path)?;
        let failed = |source| DiskError::Io {
            verb: "remove",
            path: path.clone(),
            source,
        };
        match std::fs::remove_file(&path) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(source) => return Err(failed(source)),
        }
        File::open(self.dir.path())
            .and_then(|folder| folder.sync_all())
            .map_err(failed)
    }

    /// Gives a file another name, so that it is out of the way and not lost.
    pub(crate) fn set_aside(&self, name: &str) -> Result<(), DiskError> {
        let path = self.dir.file(name);
        std::fs::rename(&path, self.dir.file(&format!("{name}.damaged"))).map_err(|source| {
            DiskError::Io {
                verb: "set aside",
                path,
                source,
            }
        })
    }

    /// Takes away the files of all attempts after `spared` but these.
    pub(crate) fn sweep(&self, keep: &[u64], spared: u64) -> Result<(), DiskError> {
        for (name, attempt) in self.attempts()? {
            if attempt > spared && !keep.contains(&attempt) {
                self.remove(&name)?;
            }
        }
        Ok(())
    }

    /// The newest attempt that has left a file. 0: none has.
    pub(crate) fn newest(&self) -> Result<u64, DiskError> {
        let attempts = self.attempts()?.into_iter();
        Ok(attempts.map(|(_, attempt)| attempt).max().unwrap_or(0))
    }

    fn attempts(&self) -> Result<Vec<(String, u64)>, DiskError> {
        let failed = |source| DiskError::Io {
            verb: "list",
            path: self.dir.path().to_owned(),
            source,
        };
        let mut found = Vec::new();
        let entries = match std::fs::read_dir(self.dir.path()) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(found),
            entries => entries.map_err(failed)?,
        };
        for entry in entries {
            let name = entry.map_err(failed)?.file_name();
            if let Some(name) = name.to_str()
                && let Some(attempt) = attempt_of(name)
            {
                found.push((name.to_owned(), attempt));
            }
        }
        Ok(found)
    }
}

/// The attempt that a file is of, whole or half written.
fn attempt_of(name: &str) -> Option<u64> {
    let name = name.strip_suffix(".tmp").unwrap_or(name);
    let (word, rest) = name.split_once('-')?;
    Part::ALL.iter().find(|part| part.word() == word)?;
    rest.strip_suffix(".pem")?.parse().ok()
}

/// Puts a file in place of an older one outside the state folder, at once or not at all, and durably. Only its owner may read it.
pub(crate) fn replace(path: &Path, bytes: &[u8]) -> Result<(), DiskError> {
    let failed = |source| DiskError::Io {
        verb: "write",
        path: path.to_owned(),
        source,
    };
    let mut name = path.as_os_str().to_owned();
    name.push(".tmp");
    match std::fs::remove_file(&name) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(source) => return Err(failed(source)),
    }
    let mut file = OpenOptions::new()
        .create_new(true)
        .write(true)
        .mode(0o600)
        .open(&name)
        .map_err(failed)?;
    file.write_all(bytes).map_err(failed)?;
    file.sync_all().map_err(failed)?;
    std::fs::rename(&name, path).map_err(failed)?;
    let folder = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    File::open(folder)
        .and_then(|folder| folder.sync_all())
        .map_err(failed)
}

/// For tests: after so many changes on disk there are no more, as when the disk is full or the process has died.
#[cfg(test)]
#[derive(Clone, Debug, Default)]
pub(crate) struct Fuse {
    left: std::sync::Arc<std::sync::Mutex<Option<usize>>>,
}

#[cfg(test)]
impl Fuse {
    pub(crate) fn set(&self, left: Option<usize>) {
        *self.left.lock().expect("not poisoned") = left;
    }

    /// Whether it has blown.
    pub(crate) fn is_blown(&self) -> bool {
        *self.left.lock().expect("not poisoned") == Some(0)
    }

    fn burn(&self, path: &Path) -> Result<(), DiskError> {
        let mut left = self.left.lock().expect("not poisoned");
        match left.as_mut() {
            None => Ok(()),
            Some(0) => Err(DiskError::Io {
                verb: "write",
                path: path.to_owned(),
                source: io::ErrorKind::StorageFull.into(),
            }),
            Some(left) => {
                *left -= 1;
                Ok(())
            }
        }
    }
}
