//! Commands, with small real programs.

use std::time::Instant;

use super::*;

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

#[tokio::test]
async fn too_slow_is_killed_with_all_that_it_started() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("late");
    let script = format!("(sleep 1; touch {}) & sleep 600", file.display());
    let began = Instant::now();
    let error = sh(&script)
        .run(Duration::from_millis(200))
        .await
        .expect_err("late");
    assert!(matches!(error, CommandError::Late { killed: true, .. }));
    assert!(began.elapsed() < Duration::from_secs(10));
    tokio::time::sleep(Duration::from_millis(1500)).await;
    assert!(!file.exists());
}

#[tokio::test]
async fn one_that_nobody_waits_for_is_killed() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("late");
    let command = sh(&format!("sleep 1; touch {}", file.display()));
    let given_up = tokio::time::timeout(Duration::from_millis(200), command.run(LONG)).await;
    assert!(given_up.is_err());
    tokio::time::sleep(Duration::from_millis(1500)).await;
    assert!(!file.exists());
}

#[tokio::test]
async fn what_it_leaves_behind_is_not_waited_for_and_lives_on() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("served");
    let began = Instant::now();
    // It keeps the command's standard output and error.
    sh(&format!("(sleep 1; echo; touch {}) &", file.display()))
        .run(LONG)
        .await
        .expect("ran");
    assert!(began.elapsed() < Duration::from_millis(900));
    tokio::time::sleep(Duration::from_millis(1500)).await;
    assert!(file.exists());
}
