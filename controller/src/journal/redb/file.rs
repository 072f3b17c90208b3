//! A redb file of this machine, whatever is in it: opened with every check, written so that a commit is on the disk, and its panics made errors.

use std::{
    fs::{File, OpenOptions},
    io,
    os::unix::fs::OpenOptionsExt as _,
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
};

use ::redb::{
    Builder, Database, DatabaseError, Durability, WriteTransaction, backends::FileBackend,
};

use crate::journal::Cause;

/// What is read is read once, at the start; the tree's inner pages are all that is asked for again.
const CACHE_BYTES: usize = 16 * 1024 * 1024;

/// Opens a file, or makes it, with mode 0600.
pub(crate) fn open(path: &Path) -> Result<Database, Cause> {
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path)
        .map_err(storage)?;
    database(file).map_err(storage)
}

pub(crate) fn database(file: File) -> Result<Database, DatabaseError> {
    Builder::new()
        .set_cache_size(CACHE_BYTES)
        // Else a page that was changed from outside makes redb panic, and not fail.
        .set_check_integrity_on_open(true)
        .create_with_backend(FileBackend::new(file)?)
}

pub(crate) fn begin_write(database: &Database) -> Result<WriteTransaction, Cause> {
    let mut transaction = database.begin_write().map_err(storage)?;
    transaction
        .set_durability(Durability::Immediate)
        .map_err(storage)?;
    transaction.set_two_phase_commit(true);
    transaction.set_quick_repair(true);
    Ok(transaction)
}

/// Makes the folder that a file is in durable: that it has this file.
pub(crate) fn sync_folder_of(path: &Path) -> io::Result<()> {
    File::open(convoy_host::folder::above(path))?.sync_all()
}

/// Has what is read from now on come from the disk. After a failed fsync the system's cache may hold what never reached it, as if it had.
pub(crate) fn forget_cached(file: &File) -> io::Result<()> {
    // What is still to be written is kept in the cache: first it has to be on the disk.
    file.sync_all()?;
    rustix::fs::fadvise(file, 0, None, rustix::fs::Advice::DontNeed)?;
    Ok(())
}

/// What redb does not expect of a file makes it panic; here that is an error like any other.
pub(crate) fn calmly<T, E: From<Cause>>(work: impl FnOnce() -> Result<T, E>) -> Result<T, E> {
    catch_unwind(AssertUnwindSafe(work))
        .unwrap_or_else(|_panic| Err(Cause::from("the storage engine panicked").into()))
}

pub(crate) fn storage(error: impl Into<::redb::Error>) -> Cause {
    Box::new(error.into())
}

/// Whether the disk had no room for it: what is on it is whole then.
pub(crate) fn is_short_of_space(cause: &Cause) -> bool {
    let mut next: Option<&(dyn std::error::Error + 'static)> = Some(cause.as_ref());
    while let Some(error) = next {
        let io = match error.downcast_ref::<::redb::Error>() {
            Some(::redb::Error::Io(io)) => Some(io),
            _ => error.downcast_ref::<io::Error>(),
        };
        if io.is_some_and(|io| {
            matches!(
                io.kind(),
                io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
            )
        }) {
            return true;
        }
        next = error.source();
    }
    false
}
