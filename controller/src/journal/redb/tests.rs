//! The conformance suite on a file, and files that were changed from outside.

use std::{fs, os::unix::fs::PermissionsExt as _, path::Path};

use convoy_shared::id::Digest;
use tempfile::TempDir;

use super::{
    super::{Damage, conformance::conforms},
    *,
};

/// Enough for a tree of more than one page.
const ENTRIES_WRITTEN: u64 = 40;

fn folder() -> TempDir {
    tempfile::tempdir().expect("a folder")
}

fn open(path: &Path) -> RedbJournal {
    RedbJournal::open(path).expect("opens")
}

fn written() -> Entries {
    (1..=ENTRIES_WRITTEN)
        .map(|number| (number, number.to_string().repeat(200).into_bytes()))
        .collect()
}

/// A closed journal of [`written`].
async fn journal(path: &Path) {
    let journal = open(path);
    for (number, payload) in written() {
        let appended = journal.append(number - 1, payload).await;
        assert_eq!(appended.expect("appended"), number);
    }
}

/// Changes the table behind the journal's back.
fn tamper(path: &Path, change: impl FnOnce(&mut ::redb::Table<'_, u64, &'static [u8]>)) {
    let database = Database::open(path).expect("opens");
    let transaction = begin_write(&database).expect("begins");
    change(&mut transaction.open_table(ENTRIES).expect("the table"));
    transaction.commit().expect("commits");
}

fn stored(table: &::redb::Table<'_, u64, &'static [u8]>, number: u64) -> Vec<u8> {
    let value = table.get(number).expect("reads").expect("is there");
    value.value().to_vec()
}

/// Opens and reads everything, in pieces, as a start does.
async fn everything(path: &Path) -> Result<Entries, ReadError> {
    let journal = RedbJournal::open(path)?;
    let head = journal.head().await?;
    let mut entries = Vec::new();
    for from in (1..=head).step_by(7) {
        entries.extend(journal.read(from, 7).await?);
    }
    Ok(entries)
}

#[tokio::test(flavor = "multi_thread")]
async fn it_conforms() {
    let folder = folder();
    let path = folder.path().join("journal");
    conforms(|| open(&path)).await;
}

#[tokio::test]
async fn the_file_is_its_owners_alone_and_held_by_one() {
    let folder = folder();
    let path = folder.path().join("journal");
    let _held = open(&path);
    let mode = fs::metadata(&path).expect("is there").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    assert!(matches!(RedbJournal::open(&path), Err(OpenError::InUse)));
    let files = fs::read_dir(folder.path()).expect("lists").count();
    assert_eq!(files, 2, "the journal and its head, and nothing unfinished");
}

#[tokio::test]
async fn a_file_that_was_cut_to_nothing_is_not_a_new_journal() {
    let folder = folder();
    let path = folder.path().join("journal");
    journal(&path).await;
    fs::write(&path, []).expect("written");
    assert!(matches!(RedbJournal::open(&path), Err(OpenError::Empty)));
}

#[tokio::test]
async fn a_changed_value_is_refused_by_its_number() {
    for number in [1, 20, ENTRIES_WRITTEN] {
        let folder = folder();
        let path = folder.path().join("journal");
        journal(&path).await;
        tamper(&path, |table| {
            let mut value = stored(table, number);
            *value.last_mut().expect("bytes") ^= 1;
            table.insert(number, value.as_slice()).expect("inserts");
        });
        match everything(&path).await {
            Err(ReadError::Damaged {
                number: found,
                why: Damage::Checksum,
            }) => assert_eq!(found, number),
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn a_missing_entry_is_refused_by_its_number() {
    for number in [1, 8, 20, ENTRIES_WRITTEN - 1] {
        let folder = folder();
        let path = folder.path().join("journal");
        journal(&path).await;
        tamper(&path, |table| {
            assert!(table.remove(number).expect("removes").is_some());
        });
        match everything(&path).await {
            Err(ReadError::Missing { number: found }) => assert_eq!(found, number),
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn entries_that_changed_places_are_refused() {
    let folder = folder();
    let path = folder.path().join("journal");
    journal(&path).await;
    tamper(&path, |table| {
        let (one, other) = (stored(table, 9), stored(table, 10));
        table.insert(9, other.as_slice()).expect("inserts");
        table.insert(10, one.as_slice()).expect("inserts");
    });
    assert!(matches!(
        everything(&path).await,
        Err(ReadError::Damaged { number: 9, .. })
    ));
}

#[tokio::test]
async fn an_entry_that_follows_another_past_is_refused() {
    for number in [1, 8, 9, ENTRIES_WRITTEN] {
        let folder = folder();
        let path = folder.path().join("journal");
        journal(&path).await;
        tamper(&path, |table| {
            let forged = Record::new(number, Digest::of(b"another past"), b"x").expect("short");
            let forged = forged.to_bytes();
            table.insert(number, forged.as_slice()).expect("inserts");
        });
        match everything(&path).await {
            Err(ReadError::Damaged {
                number: found,
                why: Damage::Chain,
            }) => assert_eq!(found, number),
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn a_newer_format_is_refused() {
    let folder = folder();
    let path = folder.path().join("journal");
    journal(&path).await;
    tamper(&path, |table| {
        let mut value = stored(table, 5);
        value[..4].copy_from_slice(&2_u32.to_be_bytes());
        table.insert(5, value.as_slice()).expect("inserts");
    });
    assert!(matches!(
        everything(&path).await,
        Err(ReadError::NewerFormat {
            number: 5,
            format: 2
        })
    ));
}

#[tokio::test]
async fn after_a_failure_the_file_is_opened_anew() {
    let folder = folder();
    let path = folder.path().join("journal");
    journal(&path).await;
    let journal = open(&path);
    // As a failed append leaves it, while the entry has reached the disk all the same.
    *lock(&journal.0.opened) = None;
    tamper(&path, |table| {
        let before = stored(table, ENTRIES_WRITTEN);
        let before = Record::parse(ENTRIES_WRITTEN, &before).expect("own").hash;
        let next = Record::new(ENTRIES_WRITTEN + 1, before, b"in doubt").expect("short");
        let next = next.to_bytes();
        table
            .insert(ENTRIES_WRITTEN + 1, next.as_slice())
            .expect("inserts");
    });
    assert!(matches!(
        journal.append(ENTRIES_WRITTEN, b"again".to_vec()).await,
        Err(AppendError::Conflict { head }) if head == ENTRIES_WRITTEN + 1
    ));
    let number = journal.append(ENTRIES_WRITTEN + 1, b"on".to_vec()).await;
    assert_eq!(number.expect("appended"), ENTRIES_WRITTEN + 2);
}

/// In a file that was not closed, this bit says which of two commits is the newer one, and nothing else in the file does: flipped, it takes the
/// last entry back as if its append had never ended.
const NEWER_COMMIT: (usize, u8) = (9, 1);

/// Puts these bytes, and the head that is known, in the place of a journal.
fn put(path: &Path, journal: &[u8], head: &[u8]) {
    fs::write(path, journal).expect("written");
    fs::write(head::path_beside(path), head).expect("written");
}

fn head_of(path: &Path) -> Vec<u8> {
    fs::read(head::path_beside(path)).expect("reads")
}

#[tokio::test]
async fn no_byte_of_the_file_changes_what_is_read_in_silence() {
    let folder = folder();
    let (whole, copy) = (folder.path().join("journal"), folder.path().join("copy"));
    journal(&whole).await;
    let closed = fs::read(&whole).expect("reads");
    let _held = open(&whole);
    let unclosed = fs::read(&whole).expect("reads");
    for bytes in [closed, unclosed] {
        // The head of the file, then a sample of the pages.
        let offsets = (0..330).chain((330..bytes.len()).step_by(bytes.len() / 100));
        let mut refused = 0;
        for at in offsets {
            let mut flipped = bytes.clone();
            flipped[at] ^= 1;
            put(&copy, &flipped, &head_of(&whole));
            match everything(&copy).await {
                Ok(entries) => assert!(entries == written(), "byte {at}"),
                Err(_) => refused += 1,
            }
        }
        assert!(refused > 0, "no sample met anything that matters");
    }
}

#[tokio::test]
async fn one_bit_that_takes_the_last_entry_back_is_refused() {
    let folder = folder();
    let (whole, copy) = (folder.path().join("journal"), folder.path().join("copy"));
    journal(&whole).await;
    let journal = open(&whole);
    let appended = journal.append(ENTRIES_WRITTEN, b"last".to_vec()).await;
    appended.expect("appended");
    let mut bytes = fs::read(&whole).expect("reads");
    bytes[NEWER_COMMIT.0] ^= NEWER_COMMIT.1;
    put(&copy, &bytes, &head_of(&whole));
    for _ in 0..2 {
        assert!(matches!(
            RedbJournal::open(&copy),
            Err(OpenError::Older {
                newest: ENTRIES_WRITTEN,
                written
            }) if written == ENTRIES_WRITTEN + 1
        ));
    }
    // An operator may go on from what is there.
    drop(RedbJournal::open_older(&copy).expect("accepted"));
    assert_eq!(everything(&copy).await.expect("reads"), written());
}

#[tokio::test]
async fn a_journal_that_is_ahead_of_its_head_is_whole() {
    let folder = folder();
    let path = folder.path().join("journal");
    journal(&path).await;
    let before = head_of(&path);
    let number = open(&path).append(ENTRIES_WRITTEN, b"on".to_vec()).await;
    assert_eq!(number.expect("appended"), ENTRIES_WRITTEN + 1);
    let after = head_of(&path);
    assert_ne!(before, after);
    // As a kill between the commit and its head leaves it.
    fs::write(head::path_beside(&path), before).expect("written");
    assert_eq!(
        open(&path).head().await.expect("a head"),
        ENTRIES_WRITTEN + 1
    );
    assert_eq!(head_of(&path), after, "it catches up");
}

#[tokio::test]
async fn a_head_that_is_gone_damaged_or_of_another_past_is_refused() {
    let folder = folder();
    let path = folder.path().join("journal");
    journal(&path).await;
    let beside = head::path_beside(&path);
    fs::remove_file(&beside).expect("removed");
    assert!(matches!(
        RedbJournal::open(&path),
        Err(OpenError::NoHead(_))
    ));
    fs::write(&beside, b"damaged").expect("written");
    assert!(matches!(
        RedbJournal::open(&path),
        Err(OpenError::NoHead(_))
    ));
    let other = Head {
        number: 7,
        hash: Digest::of(b"another past"),
    };
    HeadFile::make(&beside, other).expect("made");
    assert!(matches!(
        RedbJournal::open(&path),
        Err(OpenError::Other { number: 7 })
    ));
    drop(RedbJournal::open_older(&path).expect("accepted"));
    assert_eq!(everything(&path).await.expect("reads"), written());
}
