//! What every engine must do, as one suite. It knows the contract only, and looks at no file.

use std::sync::Arc;

use tokio::task::JoinSet;

use super::{AppendError, Entries, Journal};

/// Runs the suite. `open` opens the same storage each time, which is empty at first and open at most once at a time.
pub(crate) async fn conforms<J: Journal>(open: impl Fn() -> J) {
    begins_empty(&open()).await;
    gives_back_what_was_appended(&open()).await;
    refuses_what_does_not_follow(&open()).await;
    lets_one_of_two_win(open()).await;
    shows_readers_a_growing_prefix(open()).await;
    survives_being_closed(&open).await;
}

async fn head(journal: &impl Journal) -> u64 {
    journal.head().await.expect("a head")
}

async fn all(journal: &impl Journal) -> Entries {
    let entries = journal.read(1, usize::MAX).await.expect("entries");
    let numbers: Vec<_> = entries.iter().map(|(number, _)| *number).collect();
    let expected: Vec<_> = (1..).take(entries.len()).collect();
    assert_eq!(numbers, expected, "a gap");
    entries
}

async fn begins_empty(journal: &impl Journal) {
    assert_eq!(head(journal).await, 0);
    assert!(all(journal).await.is_empty());
    assert!(journal.read(0, 1).await.is_err(), "there is no entry 0");
}

async fn gives_back_what_was_appended(journal: &impl Journal) {
    let payloads = [vec![], vec![0; 100_000], b"three".to_vec()];
    for (after, payload) in (0..).zip(payloads.clone()) {
        let number = journal.append(after, payload).await.expect("appended");
        assert_eq!(number, after + 1);
        assert_eq!(head(journal).await, number);
    }
    let entries: Vec<_> = (1..).zip(payloads).collect();
    assert_eq!(all(journal).await, entries);
    let some = |from, most| journal.read(from, most);
    assert_eq!(some(2, 1).await.expect("one"), entries[1..2]);
    assert_eq!(some(2, 9).await.expect("two"), entries[1..]);
    assert!(some(1, 0).await.expect("none").is_empty());
    assert!(some(4, 9).await.expect("none").is_empty());
    assert!(some(u64::MAX, 9).await.expect("none").is_empty());
}

async fn refuses_what_does_not_follow(journal: &impl Journal) {
    let before = all(journal).await;
    let newest = head(journal).await;
    for after in [0, newest - 1, newest + 1, u64::MAX] {
        match journal.append(after, b"no".to_vec()).await {
            Err(AppendError::Conflict { head }) => assert_eq!(head, newest),
            other => panic!("{other:?} after {after}"),
        }
    }
    let too_large = vec![0; super::record::MAX_PAYLOAD + 1];
    assert!(matches!(
        journal.append(newest, too_large).await,
        Err(AppendError::TooLarge { .. })
    ));
    assert_eq!(all(journal).await, before);
}

async fn lets_one_of_two_win(journal: impl Journal) {
    let journal = Arc::new(journal);
    for _ in 0..20 {
        let after = head(&*journal).await;
        let mut rivals = JoinSet::new();
        for rival in 0..2_u8 {
            let journal = Arc::clone(&journal);
            rivals.spawn(async move { (rival, journal.append(after, vec![rival]).await) });
        }
        let mut winner = None;
        for (rival, outcome) in rivals.join_all().await {
            match outcome {
                Ok(number) => {
                    assert_eq!(number, after + 1);
                    assert_eq!(winner.replace(rival), None, "both won");
                }
                Err(AppendError::Conflict { head }) => assert_eq!(head, after + 1),
                Err(other) => panic!("{other}"),
            }
        }
        let winner = winner.expect("one wins");
        assert_eq!(
            journal.read(after + 1, 9).await.expect("one"),
            [(after + 1, vec![winner])]
        );
    }
}

async fn shows_readers_a_growing_prefix(journal: impl Journal) {
    let journal = Arc::new(journal);
    let last = head(&*journal).await + 50;
    let mut readers = JoinSet::new();
    for _ in 0..8 {
        let journal = Arc::clone(&journal);
        readers.spawn(async move {
            let mut seen = Vec::new();
            loop {
                let known = head(&*journal).await;
                let now = all(&*journal).await;
                assert!(now.starts_with(&seen), "what was read has changed");
                assert!((1..).zip(&now).any(|(n, _)| n == known), "behind its head");
                seen = now;
                if (1..).zip(&seen).any(|(n, _)| n == last) {
                    return seen;
                }
                tokio::task::yield_now().await;
            }
        });
    }
    for after in last - 50..last {
        let payload = after.to_be_bytes().to_vec();
        journal.append(after, payload).await.expect("appended");
    }
    let entries = all(&*journal).await;
    for seen in readers.join_all().await {
        assert_eq!(seen, entries);
    }
}

async fn survives_being_closed<J: Journal>(open: &impl Fn() -> J) {
    let journal = open();
    let before = all(&journal).await;
    drop(journal);
    let journal = open();
    assert_eq!(all(&journal).await, before);
    let after = head(&journal).await;
    assert_eq!(Ok(after), u64::try_from(before.len()));
    let number = journal
        .append(after, b"on".to_vec())
        .await
        .expect("goes on");
    drop(journal);
    assert_eq!(head(&open()).await, number);
}
