//! The journal's contract: an append-only list with compare-and-append. What an entry means is never looked at here.

use std::error::Error;

use futures_util::future::BoxFuture;

#[cfg(test)]
pub(crate) mod conformance;
pub mod record;
pub mod redb;

/// An append-only list of entries with compare-and-append. Entries are numbered 1, 2, 3 … without gaps.
pub trait Journal: Send + Sync + 'static {
    /// "These bytes come after entry `after`, or not at all": `after` is the number of the newest entry that the caller knows, 0 for none. Gives
    /// the new entry's number, `after + 1`, once it is durable.
    ///
    /// # Errors
    /// [`AppendError::Conflict`] and [`AppendError::TooLarge`] have changed nothing. After [`AppendError::Storage`], and when the future is
    /// dropped before it is ready, the entry may or may not be there: read on from `after + 1` to learn which.
    fn append(&self, after: u64, payload: Vec<u8>) -> BoxFuture<'_, Result<u64, AppendError>>;

    /// Entries with their numbers from number `from` (at least 1), at most `most`, ascending and without gaps. Empty behind the newest.
    ///
    /// # Errors
    /// If an entry is damaged, missing or of a newer format: then none is given, also of those before it.
    fn read(&self, from: u64, most: usize) -> BoxFuture<'_, Result<Entries, ReadError>>;

    /// Number of the newest durable entry; 0 if there is none.
    ///
    /// # Errors
    /// If the storage fails.
    fn head(&self) -> BoxFuture<'_, Result<u64, ReadError>>;
}

/// Entries and their numbers.
pub type Entries = Vec<(u64, Vec<u8>)>;

/// What made a storage fail.
pub type Cause = Box<dyn Error + Send + Sync + 'static>;

/// Why an entry was not appended.
#[derive(Debug, thiserror::Error)]
pub enum AppendError {
    /// The newest entry is another one than the caller said. Nothing was changed.
    #[error("the journal's newest entry is {head}, not the one that this was to follow")]
    Conflict {
        /// The newest entry's number.
        head: u64,
    },
    /// The payload exceeds what an entry may hold. Nothing was changed.
    #[error("an entry of {length} bytes exceeds the journal's {most}")]
    TooLarge {
        /// The payload's length in bytes.
        length: usize,
        /// The most that is taken, in bytes.
        most: usize,
    },
    /// The storage failed: the entry may or may not be there.
    #[error("the journal's storage failed while an entry was appended")]
    Storage(#[source] Cause),
}

/// Why entries cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// An entry is not what was once written.
    #[error("the journal's entry {number} is damaged")]
    Damaged {
        /// Its number.
        number: u64,
        /// In what way.
        #[source]
        why: Damage,
    },
    /// An entry was written by a newer version.
    #[error(
        "the journal's entry {number} has the format {format}, which is newer than this version reads"
    )]
    NewerFormat {
        /// Its number.
        number: u64,
        /// Its format.
        format: u32,
    },
    /// An entry is not there, although later ones are or were. Number 0 never is.
    #[error("the journal's entry {number} is missing")]
    Missing {
        /// Its number.
        number: u64,
    },
    /// The storage failed.
    #[error("the journal's storage failed while it was read")]
    Storage(#[from] Cause),
}

/// In what way an entry is damaged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Damage {
    /// It is shorter than its own frame, or has no format.
    #[error("its frame is torn")]
    Frame,
    /// Its bytes do not have its hash.
    #[error("its checksum does not match")]
    Checksum,
    /// It does not name the hash of the entry before it.
    #[error("it does not follow the entry before it")]
    Chain,
}
