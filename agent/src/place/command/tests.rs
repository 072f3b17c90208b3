//! Commands, with small real programs.

use super::*;
use crate::place::tests::fifo::Fifo;

const LONG: Duration = Duration::from_secs(20);

fn sh(script: &str) -> Command {
    Command::of(&["sh", "-c", script])
}

#[tokio::test]
async fn what_it_says_is_had_without_a_shell() {
    let said = Command::of(&["echo", "$HOME", "a b"]).run(LONG).await;
    assert_eq!(said.expect("ran"), "$HOME a b\n");
    // Nobody types anything.
    assert_eq!(sh("cat").run(LONG).await.expect("ran"), "");
}

#[tokio::test]
async fn a_failure_says_what_it_said_last() {
    let error = sh("echo out; seq 1 5000 >&2; printf 'the \\033end\\n' >&2; exit 7")
        .run(LONG)
        .await
        .expect_err("failed")
        .to_string();
    assert!(
        error.contains("exit status: 7") && error.ends_with("4999 5000 the end"),
        "{error}"
    );
    assert!(error.chars().count() < 1200, "{}", error.len());
    let error = sh("echo only out; exit 1")
        .run(LONG)
        .await
        .expect_err("failed");
    assert!(error.to_string().ends_with("it said: only out"), "{error}");
    let error = sh("exit 1").run(LONG).await.expect_err("failed");
    assert!(error.to_string().ends_with("it said nothing"), "{error}");
}

#[tokio::test]
async fn what_does_not_exist_is_named() {
    for run in [
        Command::of(&["/no/such/program"]).run(LONG).await.map(drop),
        Command::of(&["no-such-program"]).detach().map(drop),
    ] {
        let error = run.expect_err("cannot run").to_string();
        assert!(
            error.contains("such") && error.contains("cannot run"),
            "{error}"
        );
    }
}

/// What does not end by itself: it and what it has started hold the FIFO, and say so.
fn endless(held: &Fifo) -> Command {
    sh(&format!("exec 3>{held}; sleep 600 & echo up >&3; wait"))
}

#[tokio::test]
async fn too_slow_is_killed_with_all_that_it_started() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut held = Fifo::new(folder.path(), "held");
    let mut running = endless(&held)
        .start(tokio::process::Command::new("sh"), true)
        .expect("started");
    // Its time begins when all of it is there.
    assert_eq!(held.line().await, "up");
    let error = running
        .ended(Duration::from_millis(1))
        .await
        .expect_err("late");
    assert!(matches!(error, CommandError::Late { killed: true, .. }));
    assert_eq!(held.rest().await, "");
}

#[tokio::test]
async fn one_that_nobody_waits_for_is_killed() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut held = Fifo::new(folder.path(), "held");
    let command = endless(&held);
    tokio::select! {
        ended = command.run(LONG) => panic!("{ended:?}"),
        up = held.line() => assert_eq!(up, "up"),
    }
    assert_eq!(held.rest().await, "");
}

#[tokio::test]
async fn what_it_leaves_behind_is_not_waited_for_and_lives_on() {
    let folder = tempfile::tempdir().expect("a folder");
    let go = Fifo::new(folder.path(), "go");
    let mut said = Fifo::new(folder.path(), "said");
    // It keeps the command's standard output and error.
    let left = format!("read -r _ <{go} && echo && echo >&2 && echo served >{said}");
    sh(&format!("({left}) &")).run(LONG).await.expect("ran");
    go.release();
    assert_eq!(said.line().await, "served");
}
