//! The journal in a file of this machine (redb). It is verified, never repaired here, and one process holds it at a time.

pub(crate) mod file;
mod head;

use std::{
    fs::{self, File, OpenOptions, Permissions},
    io,
    os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use ::redb::{Database, DatabaseError, ReadableDatabase as _, ReadableTable as _, TableDefinition};
use futures_util::future::BoxFuture;
use tokio::task::spawn_blocking;

use super::{
    AppendError, Cause, Damage, Entries, Journal, ReadError,
    record::{NO_ENTRY, Record},
};
use file::{begin_write, calmly, storage};
use head::{Head, HeadFile};

const ENTRIES: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("entries");

/// The journal in one file. An append returns when the entry is on the disk (two-phase commit). Each call runs on a thread of its own, so that
/// dropping a future does not stop what it began.
#[derive(Debug)]
pub struct RedbJournal(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    path: PathBuf,
    /// Held while an entry is appended, so that readers do not wait for the disk.
    appending: Mutex<()>,
    /// `None` after the storage has failed: what is on the disk is not known then, and the next call opens the file anew.
    opened: Mutex<Option<Opened>>,
}

#[derive(Clone, Debug)]
struct Opened {
    database: Arc<Database>,
    head: Head,
    kept: Arc<HeadFile>,
}

impl RedbJournal {
    /// Opens the journal in this file, or begins one, with mode 0600. Reads the whole file once, checks every page, and that the newest entry
    /// follows the one before. Blocks.
    ///
    /// # Errors
    /// If another process holds the file, it is damaged, it has lost entries that were written, or the storage fails.
    pub fn open(path: impl Into<PathBuf>) -> Result<Self, OpenError> {
        Self::open_as(path.into(), Older::Refuse)
    }

    /// The same for a journal that has lost its newest entries, because an operator says that no newer copy is left: it goes on from what it has.
    ///
    /// # Errors
    /// As for [`open`](Self::open).
    pub fn open_older(path: impl Into<PathBuf>) -> Result<Self, OpenError> {
        Self::open_as(path.into(), Older::Accept)
    }

    fn open_as(path: PathBuf, older: Older) -> Result<Self, OpenError> {
        if !path.try_exists().map_err(storage)? {
            begin(&path)?;
        }
        let opened = Opened::open(&path, older)?;
        Ok(Self(Arc::new(Shared {
            path,
            appending: Mutex::new(()),
            opened: Mutex::new(Some(opened)),
        })))
    }
}

impl Journal for RedbJournal {
    fn append(&self, after: u64, payload: Vec<u8>) -> BoxFuture<'_, Result<u64, AppendError>> {
        let shared = Arc::clone(&self.0);
        Box::pin(async move {
            spawn_blocking(move || shared.append(after, &payload))
                .await
                .map_err(|stopped| AppendError::Storage(stopped.into()))?
        })
    }

    fn read(&self, from: u64, most: usize) -> BoxFuture<'_, Result<Entries, ReadError>> {
        let shared = Arc::clone(&self.0);
        Box::pin(async move {
            spawn_blocking(move || calmly(|| shared.current()?.read(from, most)))
                .await
                .map_err(|stopped| ReadError::Storage(stopped.into()))?
        })
    }

    fn head(&self) -> BoxFuture<'_, Result<u64, ReadError>> {
        let shared = Arc::clone(&self.0);
        Box::pin(async move {
            spawn_blocking(move || Ok(shared.current()?.head.number))
                .await
                .map_err(|stopped| ReadError::Storage(stopped.into()))?
        })
    }
}

impl Shared {
    fn append(&self, after: u64, payload: &[u8]) -> Result<u64, AppendError> {
        let _appending = lock(&self.appending);
        let opened = self
            .current()
            .map_err(|error| AppendError::Storage(Box::new(error)))?;
        let head = opened.head;
        if after != head.number {
            return Err(AppendError::Conflict { head: head.number });
        }
        let record = Record::new(head.number.saturating_add(1), head.hash, payload)?;
        let head = Head {
            number: record.number,
            hash: record.hash,
        };
        let written = calmly(|| write(&opened.database, &record))
            .and_then(|()| opened.kept.write(head).map_err(storage));
        if let Err(error) = written {
            *lock(&self.opened) = None;
            return Err(AppendError::Storage(error));
        }
        *lock(&self.opened) = Some(Opened { head, ..opened });
        Ok(head.number)
    }

    fn current(&self) -> Result<Opened, OpenError> {
        let mut slot = lock(&self.opened);
        if let Some(opened) = &*slot {
            return Ok(opened.clone());
        }
        let opened = Opened::open(&self.path, Older::Refuse)?;
        *slot = Some(opened.clone());
        Ok(opened)
    }
}

/// What to do with a journal that has lost its newest entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Older {
    Refuse,
    Accept,
}

impl Opened {
    fn open(path: &Path, older: Older) -> Result<Self, OpenError> {
        let mut options = OpenOptions::new();
        let file = options.read(true).write(true).open(path).map_err(storage)?;
        file.set_permissions(Permissions::from_mode(0o600))
            .map_err(storage)?;
        if file.metadata().map_err(storage)?.len() == 0 {
            // redb would begin a new journal in it, and nobody would learn that the old one is gone.
            return Err(OpenError::Empty);
        }
        file::forget_cached(&file).map_err(storage)?;
        let database = calmly(|| open_database(file))?;
        let head = calmly(|| newest(&database))?;
        let beside = head::path_beside(path);
        let kept = match HeadFile::open(&beside).map_err(storage)? {
            Some((kept, Some(known))) => match check_head(&database, head, known) {
                Err(error) if older == Older::Refuse => return Err(error),
                Ok(()) if head == known => kept,
                // The entry was durable before its head was: what is ahead is nothing lost.
                Ok(()) => {
                    kept.write(head).map_err(storage)?;
                    kept
                }
                Err(error) => {
                    tracing::error!(%error, "the older journal is accepted; `convoy recover show` says what clients hold beyond it");
                    HeadFile::make(&beside, head).map_err(storage)?
                }
            },
            // A journal without an entry has no head yet.
            None | Some((_, None)) if head.number > 0 && older == Older::Refuse => {
                return Err(OpenError::NoHead(beside));
            }
            None | Some((_, None)) => HeadFile::make(&beside, head).map_err(storage)?,
        };
        Ok(Self {
            database: Arc::new(database),
            head,
            kept: Arc::new(kept),
        })
    }

    /// Entries as [`Journal::read`] gives them. Each is checked against the one before it, the first too.
    fn read(&self, from: u64, most: usize) -> Result<Entries, ReadError> {
        let Some(before) = from.checked_sub(1) else {
            return Err(ReadError::Missing { number: from });
        };
        if from > self.head.number || most == 0 {
            return Ok(Vec::new());
        }
        let transaction = self.database.begin_read().map_err(storage)?;
        let table = transaction.open_table(ENTRIES).map_err(storage)?;
        let mut link = match before {
            0 => NO_ENTRY,
            before => {
                let stored = table.get(before).map_err(storage)?;
                let stored = stored.ok_or(ReadError::Missing { number: before })?;
                Record::parse(before, stored.value())?.hash
            }
        };
        let mut entries = Vec::new();
        let mut stored = table.range(from..=self.head.number).map_err(storage)?;
        for expected in (from..=self.head.number).take(most) {
            let missing = ReadError::Missing { number: expected };
            let Some(found) = stored.next() else {
                return Err(missing);
            };
            let (number, bytes) = found.map_err(storage)?;
            if number.value() != expected {
                return Err(missing);
            }
            let record = Record::parse(expected, bytes.value())?;
            record.check_follows(&link)?;
            link = record.hash;
            entries.push((expected, record.payload.to_vec()));
        }
        Ok(entries)
    }
}

/// Makes an empty journal. It gets its name when it is whole, so that a crash on the way leaves no file that cannot be opened.
fn begin(path: &Path) -> Result<(), OpenError> {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".new.{}", std::process::id()));
    let unfinished = PathBuf::from(name);
    match fs::remove_file(&unfinished) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(storage(error).into()),
    }
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&unfinished)
        .map_err(storage)?;
    let database = open_database(file)?;
    let transaction = begin_write(&database)?;
    transaction.open_table(ENTRIES).map_err(storage)?;
    transaction.commit().map_err(storage)?;
    database.close().map_err(storage)?;
    // Unlike a rename, a link takes no other's place.
    let linked = fs::hard_link(&unfinished, path);
    fs::remove_file(&unfinished).map_err(storage)?;
    match linked {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        Err(error) => return Err(storage(error).into()),
    }
    file::sync_folder_of(path).map_err(storage)?;
    Ok(())
}

fn open_database(file: File) -> Result<Database, OpenError> {
    file::database(file).map_err(|error| match error {
        DatabaseError::DatabaseAlreadyOpen => OpenError::InUse,
        error => OpenError::Storage(storage(error)),
    })
}

/// The last entry, if it has its own hash and that of the one before.
fn newest(database: &Database) -> Result<Head, OpenError> {
    let transaction = database.begin_read().map_err(storage)?;
    let table = transaction.open_table(ENTRIES).map_err(storage)?;
    let Some((number, stored)) = table.last().map_err(storage)? else {
        return Ok(Head {
            number: 0,
            hash: NO_ENTRY,
        });
    };
    let number = number.value();
    let record = Record::parse(number, stored.value())?;
    match number.checked_sub(1) {
        None => {
            return Err(ReadError::Damaged {
                number,
                why: Damage::Chain,
            }
            .into());
        }
        Some(0) => record.check_follows(&NO_ENTRY)?,
        Some(before) => {
            let stored = table.get(before).map_err(storage)?;
            let stored = stored.ok_or(ReadError::Missing { number: before })?;
            record.check_follows(&Record::parse(before, stored.value())?.hash)?;
        }
    }
    Ok(Head {
        number,
        hash: record.hash,
    })
}

/// Whether the entry that is known to have been the newest is there.
fn check_head(database: &Database, head: Head, known: Head) -> Result<(), OpenError> {
    if known.number > head.number {
        return Err(OpenError::Older {
            newest: head.number,
            written: known.number,
        });
    }
    let hash = match known.number {
        0 => NO_ENTRY,
        number => {
            let transaction = database.begin_read().map_err(storage)?;
            let table = transaction.open_table(ENTRIES).map_err(storage)?;
            let stored = table.get(number).map_err(storage)?;
            let stored = stored.ok_or(ReadError::Missing { number })?;
            Record::parse(number, stored.value())?.hash
        }
    };
    if hash == known.hash {
        Ok(())
    } else {
        Err(OpenError::Other {
            number: known.number,
        })
    }
}

fn write(database: &Database, record: &Record<'_>) -> Result<(), Cause> {
    let transaction = begin_write(database)?;
    {
        let mut table = transaction.open_table(ENTRIES).map_err(storage)?;
        table
            .insert(record.number, record.to_bytes().as_slice())
            .map_err(storage)?;
    }
    transaction.commit().map_err(storage)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing is left half done under these locks.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Why a journal cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process holds it.
    #[error("another process holds the journal: is a controller already running?")]
    InUse,
    /// The file is there, and has no bytes.
    #[error(
        "the journal's file is empty: it was cut off from outside; put the data folder back from its newest copy"
    )]
    Empty,
    /// Entries that were written and spoken of are not there.
    #[error(
        "the journal ends with entry {newest}, and entry {written} was written: an older copy was put back, or the disk has lost what it had \
         written. Clients may hold trust that this journal does not know. Put the newest copy of the whole data folder back; if there is none, \
         start once with --accept-older-journal"
    )]
    Older {
        /// The newest that is there.
        newest: u64,
        /// The newest that was written.
        written: u64,
    },
    /// What was written under a number is not what is there.
    #[error(
        "the journal's entry {number} is not the one that this controller wrote: another copy was put back, which has since gone another way. \
         Put the newest copy of the whole data folder back; if there is none, start once with --accept-older-journal"
    )]
    Other {
        /// Its number.
        number: u64,
    },
    /// Nobody can say whether the newest entry is there.
    #[error(
        "{}, which says what the journal's newest entry is, is missing or damaged: nobody can say whether the journal has lost its end. Put the \
         newest copy of the whole data folder back; if there is none, start once with --accept-older-journal",
        .0.display()
    )]
    NoHead(PathBuf),
    /// Its newest entries cannot be read.
    #[error("the journal's end cannot be read")]
    Read(#[from] ReadError),
    /// The storage failed, or the file is damaged.
    #[error(
        "the journal's file cannot be opened; if it is damaged, put the data folder back from its newest copy"
    )]
    Storage(#[from] Cause),
}

impl From<OpenError> for ReadError {
    fn from(error: OpenError) -> Self {
        match error {
            OpenError::Read(error) => error,
            error @ (OpenError::InUse
            | OpenError::Empty
            | OpenError::Older { .. }
            | OpenError::Other { .. }
            | OpenError::NoHead(_)
            | OpenError::Storage(_)) => Self::Storage(Box::new(error)),
        }
    }
}

#[cfg(test)]
mod tests;
