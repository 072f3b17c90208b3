//! Failures in words, and their exit codes.

use std::{collections::HashMap, time::Duration};

use tonic_types::{ErrorDetails, StatusExt as _};

use super::*;

#[test]
fn a_status_is_shown_with_its_reason_and_details() {
    let mut details = ErrorDetails::with_error_info("GATE_SHUT", "convoy", HashMap::new());
    details.add_precondition_failure_violation("MISSING", "pc-1", "last seen 3 h ago");
    let status = Status::with_error_details(Code::FailedPrecondition, "the gate is shut", details);
    let failure = Failure::asking(status);
    assert_eq!(
        failure.to_string(),
        "the gate is shut [GATE_SHUT]\n  pc-1: last seen 3 h ago"
    );
    assert_eq!(failure.exit_code(), ERROR);
    assert!(!failure.may_pass());
}

#[test]
fn shedding_says_when_to_come_back() {
    let details = ErrorDetails::with_retry_info(Some(Duration::from_millis(1_200)));
    let status = Status::with_error_details(Code::Unavailable, "too busy", details);
    let failure = Failure::changing(status, "id-1");
    assert_eq!(failure.to_string(), "too busy\nTry again in 2 s");
    assert!(failure.may_pass());
}

#[test]
fn a_status_without_words_is_named() {
    let failure = Failure::asking(Status::new(Code::Unimplemented, ""));
    assert_eq!(
        failure.to_string(),
        "the controller refused: Operation is not implemented or not supported\nThis controller is older than this \
         `convoy`: use the one that came with it"
    );
}

#[test]
fn a_broken_connection_tells_how_to_do_it_exactly_once() {
    let status = Status::from_error(Box::new(io::Error::from(io::ErrorKind::ConnectionReset)));
    assert!(
        Failure::asking(status.clone())
            .to_string()
            .ends_with("look at the controller's log")
    );
    let failure = Failure::changing(status, "id-1");
    assert!(
        failure.to_string().ends_with("--request-id id-1"),
        "{failure}"
    );
    assert!(failure.may_pass());
}

#[test]
fn connection_failures_say_what_to_do() {
    let said = |kind: io::ErrorKind| {
        Unreachable {
            socket: "/d/convoy.sock".into(),
            cause: io::Error::from(kind).into(),
        }
        .to_string()
    };
    assert_eq!(
        said(io::ErrorKind::NotFound),
        "no controller is running here: there is no socket /d/convoy.sock. Start convoy-controller, or say where it \
         runs with --data-dir D or CONVOY_SOCKET"
    );
    assert!(said(io::ErrorKind::ConnectionRefused).contains("nobody listens at /d/convoy.sock"));
    assert!(said(io::ErrorKind::PermissionDenied).contains("root and the controller's own user"));
}

#[test]
fn exit_codes() {
    assert_eq!(Failure::Usage(String::new()).exit_code(), USAGE);
    assert_eq!(Failure::NotCompleted(String::new()).exit_code(), ERROR);
    assert!(Failure::Output(io::ErrorKind::BrokenPipe.into()).is_silent());
    assert!(!Failure::Output(io::ErrorKind::StorageFull.into()).is_silent());
}
