//! Against a page that answers as NDES does, in a clock that the tests move.

mod answers;
mod mock;

use tokio::{task::JoinHandle, time::advance};

use super::*;
use mock::{HOUR, Mock, NEVER, Setup, freeze};

const MINUTE: Duration = Duration::from_secs(60);

fn client(number: u8) -> ClientId {
    ClientId::from_bytes(&[number; 16]).expect("16 bytes")
}

type Fetching = JoinHandle<Result<Lease, NdesError>>;

fn spawn_fetch(source: &ChallengeSource, number: u8, deadline: Duration) -> Fetching {
    let source = source.clone();
    tokio::spawn(async move { source.fetch(client(number), deadline).await })
}

async fn fetch(source: &ChallengeSource, number: u8) -> Lease {
    source
        .fetch(client(number), MINUTE)
        .await
        .expect("a challenge")
}

async fn done(fetching: Fetching) -> Result<Lease, NdesError> {
    let done = timeout(NEVER, fetching).await;
    done.expect("in time").expect("no panic")
}

/// Until who has the turn waits for this.
async fn until(source: &ChallengeSource, what: Waits) {
    let mut waits = source.inner.waits.subscribe();
    let reached = timeout(NEVER, waits.wait_for(|now| *now == what)).await;
    reached.expect("in time").expect("a source");
}

/// Time passes, and who waited for just that has gone on.
async fn pass(time: Duration) {
    let over = sleep(time);
    advance(time).await;
    over.await;
    tokio::task::yield_now().await;
}

#[tokio::test(start_paused = true)]
async fn never_more_is_outstanding_than_the_cache_holds() {
    let _frozen = freeze();
    let mock = Mock::start(Setup::Normal).await;
    let source = mock.source();
    // Given five devices that have challenges of their own,
    let mut leases = Vec::new();
    for number in 1..=5 {
        leases.push(fetch(&source, number).await);
    }
    let mut challenges: Vec<&str> = leases.iter().map(Lease::challenge).collect();
    challenges.dedup();
    assert_eq!(challenges.len(), 5);
    assert_eq!(source.outstanding(), 5);
    // when a sixth wants one, it waits without bothering NDES,
    let sixth = spawn_fetch(&source, 6, HOUR);
    until(&source, Waits::Slot).await;
    assert_eq!(mock.requests(), 5);
    // until one of the five has used its own.
    let third = leases.remove(2);
    assert!(mock.enroll(third.challenge()));
    third.used();
    let sixth = done(sixth).await.expect("a challenge");
    assert!(mock.enroll(sixth.challenge()));
    assert_eq!(mock.requests(), 6);
}

#[tokio::test(start_paused = true)]
async fn who_comes_first_is_served_first() {
    let _frozen = freeze();
    let mock = Mock::start(Setup::Normal).await;
    let source = mock.source();
    let mut leases = Vec::new();
    for number in 1..=5 {
        leases.push(fetch(&source, number).await);
    }
    let mut line = Vec::new();
    for number in 6..=8 {
        line.push(spawn_fetch(&source, number, HOUR));
        tokio::task::yield_now().await;
    }
    let mut challenges = Vec::new();
    for waiting in line {
        until(&source, Waits::Slot).await;
        let lease = leases.remove(0);
        assert!(mock.enroll(lease.challenge()));
        lease.used();
        challenges.push(done(waiting).await.expect("in turn").challenge().to_owned());
    }
    assert!(challenges.is_sorted(), "{challenges:?}");
}

#[tokio::test(start_paused = true)]
async fn at_the_deadline_it_says_that_all_are_outstanding() {
    let _frozen = freeze();
    let mock = Mock::start(Setup::Normal).await;
    let source = mock.source();
    for number in 1..=5 {
        fetch(&source, number).await;
    }
    let first = spawn_fetch(&source, 6, MINUTE);
    let in_line = spawn_fetch(&source, 7, MINUTE);
    until(&source, Waits::Slot).await;
    advance(MINUTE).await;
    for late in [first, in_line] {
        let error = done(late).await.expect_err("no room");
        assert!(matches!(error, NdesError::AllOutstanding { count: 5 }));
        let words = error.to_string();
        assert!(
            words.starts_with("all 5 challenges of NDES are outstanding"),
            "{words}"
        );
    }
    assert_eq!(mock.requests(), 5);
}

#[tokio::test(start_paused = true)]
async fn a_full_ndes_is_asked_again_at_growing_intervals() {
    let _frozen = freeze();
    let mock = Mock::start(Setup::Normal).await;
    let source = mock.source();
    // Given others that have taken the whole cache,
    mock.fill();
    let fetching = spawn_fetch(&source, 1, HOUR);
    let mut wait = FIRST_WAIT;
    for asked in 1..=8 {
        mock.asked(asked).await;
        until(&source, Waits::Cache).await;
        if asked == 8 {
            // when there is room again
            assert!(mock.enroll("OTHER2"));
        }
        // It is tried again after half to one and a half of the wait,
        pass(wait / 2 - Duration::from_millis(1)).await;
        let waits = *source.inner.waits.borrow();
        assert_eq!(waits, Waits::Cache, "not before its time");
        assert_eq!(mock.requests(), asked);
        pass(wait + Duration::from_millis(1)).await;
        let waits = *source.inner.waits.borrow();
        assert_eq!(waits, Waits::Answer, "and no later");
        // and the wait doubles, up to a minute.
        wait = LONGEST_WAIT.min(wait * 2);
    }
    // then it gets a challenge.
    let lease = done(fetching).await.expect("a challenge");
    assert!(mock.enroll(lease.challenge()));
    assert_eq!(mock.requests(), 9);
}

#[tokio::test(start_paused = true)]
async fn a_full_ndes_is_asked_again_at_once_when_a_device_has_used_its_challenge() {
    let _frozen = freeze();
    let mock = Mock::start(Setup::Normal).await;
    let source = mock.source();
    let lease = fetch(&source, 1).await;
    mock.fill();
    let fetching = spawn_fetch(&source, 2, HOUR);
    until(&source, Waits::Cache).await;
    assert!(mock.enroll(lease.challenge()));
    source.used(client(1));
    done(fetching).await.expect("a challenge");
    assert_eq!(mock.requests(), 3);
}

#[tokio::test(start_paused = true)]
async fn at_the_deadline_it_says_that_ndes_is_full() {
    let _frozen = freeze();
    let mock = Mock::start(Setup::Normal).await;
    let source = mock.source();
    mock.fill();
    let fetching = spawn_fetch(&source, 1, FIRST_WAIT / 4);
    until(&source, Waits::Cache).await;
    advance(FIRST_WAIT / 4).await;
    let error = done(fetching).await.expect_err("no room");
    assert!(matches!(error, NdesError::CacheFull), "{error}");
    assert_eq!(source.outstanding(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_asks_again_gets_the_same() {
    let _frozen = freeze();
    let mock = Mock::start(Setup::Normal).await;
    let source = mock.source();
    let first = fetch(&source, 1).await;
    let again = fetch(&source, 1).await;
    assert_eq!(first.challenge(), again.challenge());
    assert_eq!((mock.requests(), source.outstanding()), (1, 1));
    // It is used once, whichever lease says so.
    assert!(mock.enroll(first.challenge()));
    first.used();
    assert_eq!(source.outstanding(), 0);
    let next = fetch(&source, 1).await;
    again.used();
    assert_eq!(source.outstanding(), 1, "an old lease frees no new slot");
    assert!(mock.enroll(next.challenge()));
    source.used(client(1));
    assert_eq!(source.outstanding(), 0);
    source.used(client(1));
}

#[tokio::test(start_paused = true)]
async fn two_requests_of_one_client_at_once_take_one_slot() {
    let _frozen = freeze();
    let mock = Mock::start(Setup::Normal).await;
    let source = mock.source();
    let both = [
        spawn_fetch(&source, 1, MINUTE),
        spawn_fetch(&source, 1, MINUTE),
    ];
    let [one, other] = both.map(done);
    let (one, other) = (one.await.expect("one"), other.await.expect("other"));
    assert_eq!(one.challenge(), other.challenge());
    assert_eq!((mock.requests(), source.outstanding()), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_nobody_waits_for_any_more_is_kept_for_the_client() {
    let _frozen = freeze();
    let mock = Mock::start(Setup::Normal).await;
    let source = mock.source();
    // Given a device whose connection ends, and one whose deadline passes, while NDES answers,
    mock.hold();
    let gone = spawn_fetch(&source, 1, MINUTE);
    mock.asked(1).await;
    gone.abort();
    assert!(gone.await.expect_err("aborted").is_cancelled());
    // when they ask again,
    let again = spawn_fetch(&source, 1, MINUTE);
    mock.let_go();
    let lease = done(again).await.expect("a challenge");
    // then NDES has made one challenge, not two.
    assert_eq!((mock.requests(), source.outstanding()), (1, 1));
    assert!(mock.enroll(lease.challenge()));
}

#[tokio::test(start_paused = true)]
async fn a_slow_ndes_is_told_from_a_full_one() {
    let _frozen = freeze();
    let mock = Mock::start(Setup::Normal).await;
    let source = mock.source();
    mock.hold();
    let fetching = spawn_fetch(&source, 1, Duration::from_secs(5));
    mock.asked(1).await;
    advance(Duration::from_secs(5)).await;
    let error = done(fetching).await.expect_err("late");
    assert!(matches!(error, NdesError::Late(_)), "{error}");
    assert!(error.to_string().contains("5s"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_challenge_that_expires_soon_is_not_handed_out() {
    let _frozen = freeze();
    let mock = Mock::start(Setup::Normal).await;
    let source = mock.source();
    let first = fetch(&source, 1).await;
    // It is good for 60 minutes, and handed out for 57.
    advance(57 * MINUTE).await;
    assert_eq!(fetch(&source, 1).await.challenge(), first.challenge());
    advance(Duration::from_secs(1)).await;
    let second = fetch(&source, 1).await;
    assert_ne!(second.challenge(), first.challenge());
    assert_eq!(source.outstanding(), 2, "NDES still knows the first one");
    assert_eq!(fetch(&source, 1).await.challenge(), second.challenge());
    advance(3 * MINUTE).await;
    assert_eq!(source.outstanding(), 1);
    assert!(mock.enroll(second.challenge()));
}

#[tokio::test(start_paused = true)]
async fn a_slot_becomes_free_when_its_challenge_expires() {
    let _frozen = freeze();
    let mock = Mock::start(Setup::Normal).await;
    let source = mock.source();
    // Given five devices that never used theirs, the first a minute before the others,
    fetch(&source, 1).await;
    advance(MINUTE).await;
    for number in 2..=5 {
        fetch(&source, number).await;
    }
    let waiting = spawn_fetch(&source, 6, 2 * HOUR);
    until(&source, Waits::Slot).await;
    // when the first one's expires, there is room for one.
    advance(59 * MINUTE).await;
    let lease = done(waiting).await.expect("a challenge");
    assert_eq!(source.outstanding(), 5);
    assert!(mock.enroll(lease.challenge()));
    assert_eq!(mock.requests(), 6, "NDES was never full");
}

#[tokio::test(start_paused = true)]
async fn one_password_for_all_takes_no_room() {
    let _frozen = freeze();
    let mock = Mock::start(Setup::SinglePassword).await;
    let source = mock.source();
    for number in 1..=20 {
        let lease = fetch(&source, number).await;
        assert_eq!(lease.challenge(), "5A5A5A5A5A5A5A5A");
        lease.used();
    }
    assert_eq!(source.outstanding(), 0);
}
