//! Number and hash of the journal's newest entry, in a file beside it: written when the entry is durable and before anybody hears of it, so that a
//! journal that has lost its end is told from one that never had it. No entry is in it.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::{FileExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use convoy_shared::id::Digest;

const CONTEXT: &[u8] = b"convoy journal head v1";
/// Two places, written in turn: a write that a power cut tears leaves the other one whole.
const PLACES: usize = 2;
/// Each is in a disk's sector of its own.
const PLACE: usize = 512;
const NUMBER: usize = 8;
const HASH: usize = 32;

/// The newest durable entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) number: u64,
    pub(super) hash: Digest,
}

/// The file.
#[derive(Debug)]
pub(super) struct HeadFile(File);

/// Where the head of the journal in this file is kept.
pub(super) fn path_beside(journal: &Path) -> PathBuf {
    journal.with_extension("head")
}

impl HeadFile {
    /// Opens the file, and reads it. `None`: there is none.
    pub(super) fn open(path: &Path) -> io::Result<Option<(Self, Option<Head>)>> {
        let file = match OpenOptions::new().read(true).write(true).open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        super::file::forget_cached(&file)?;
        let mut bytes = [0; PLACES * PLACE];
        let head = match file.read_exact_at(&mut bytes, 0) {
            Ok(()) => bytes
                .chunks(PLACE)
                .filter_map(parse)
                .max_by_key(|head| head.number),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => None,
            Err(error) => return Err(error),
        };
        Ok(Some((Self(file), head)))
    }

    /// Makes the file, or puts a whole one in the place of a damaged one.
    pub(super) fn make(path: &Path, head: Head) -> io::Result<Self> {
        let unfinished = path.with_extension("head.new");
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&unfinished)?;
        file.write_all(&[0; PLACES * PLACE])?;
        let made = Self(file);
        made.write(head)?;
        made.0.sync_all()?;
        fs::rename(&unfinished, path)?;
        super::file::sync_folder_of(path)?;
        Ok(made)
    }

    /// Writes the head down, durably.
    pub(super) fn write(&self, head: Head) -> io::Result<()> {
        let place = if head.number.is_multiple_of(2) {
            0
        } else {
            PLACE
        };
        let at = u64::try_from(place).map_err(io::Error::other)?;
        self.0.write_all_at(&bytes_of(head), at)?;
        self.0.sync_data()
    }
}

fn bytes_of(head: Head) -> Vec<u8> {
    let mut bytes = head.number.to_be_bytes().to_vec();
    bytes.extend_from_slice(head.hash.as_bytes());
    let checksum = Digest::of(&[CONTEXT, &bytes].concat());
    bytes.extend_from_slice(checksum.as_bytes());
    bytes
}

fn parse(place: &[u8]) -> Option<Head> {
    let (number, rest) = place.split_first_chunk::<NUMBER>()?;
    let (hash, _) = rest.split_first_chunk::<HASH>()?;
    let head = Head {
        number: u64::from_be_bytes(*number),
        hash: Digest::new(*hash),
    };
    place.starts_with(&bytes_of(head)).then_some(head)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(number: u64) -> Head {
        Head {
            number,
            hash: Digest::of(&number.to_be_bytes()),
        }
    }

    fn read(path: &Path) -> Option<Head> {
        HeadFile::open(path).expect("opens").expect("is there").1
    }

    #[test]
    fn the_newest_is_read_and_a_torn_write_leaves_the_one_before() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("journal.head");
        assert!(HeadFile::open(&path).expect("looks").is_none());
        let file = HeadFile::make(&path, head(0)).expect("made");
        assert_eq!(read(&path), Some(head(0)));
        for number in 1..=5 {
            file.write(head(number)).expect("written");
            assert_eq!(read(&path), Some(head(number)));
        }
        let whole = fs::read(&path).expect("read");
        for at in PLACE..PLACE + NUMBER + 2 * HASH {
            let mut torn = whole.clone();
            torn[at] ^= 1;
            fs::write(&path, torn).expect("written");
            assert_eq!(read(&path), Some(head(4)), "byte {at}");
        }
        fs::write(&path, &whole[..PLACE]).expect("written");
        assert_eq!(read(&path), None);
    }
}
