//! Refusals and failures as gRPC statuses with `google.rpc.ErrorInfo`: the one place that maps them.

use std::{collections::HashMap, fmt::Display, time::Duration};

use axum::response::Response;
use convoy_fleet::refusal::Refusal;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt as _};

use crate::keeper::KeeperError;

/// The domain of every reason.
pub const DOMAIN: &str = "convoy";

/// A status with a reason and facts about it.
#[must_use]
pub fn with_metadata(
    code: Code,
    reason: &str,
    message: &str,
    metadata: HashMap<String, String>,
) -> Status {
    Status::with_error_details(
        code,
        message,
        ErrorDetails::with_error_info(reason, DOMAIN, metadata),
    )
}

/// A field that is not what it must be.
#[must_use]
pub fn invalid(field: &str, what: &dyn Display) -> Status {
    let message = what.to_string();
    let mut details =
        ErrorDetails::with_error_info("INVALID_ARGUMENT", DOMAIN, fact("field", field));
    details.add_bad_request_violation(field, &message);
    Status::with_error_details(
        Code::InvalidArgument,
        format!("{field}: {message}"),
        details,
    )
}

/// A field that is not what it must be, for a reason of its own.
#[must_use]
pub fn invalid_because(field: &str, reason: &str, what: &dyn Display) -> Status {
    let message = what.to_string();
    let mut details = ErrorDetails::with_error_info(reason, DOMAIN, fact("field", field));
    details.add_bad_request_violation(field, &message);
    Status::with_error_details(Code::InvalidArgument, message, details)
}

fn fact(key: &str, value: &str) -> HashMap<String, String> {
    HashMap::from([(key.to_owned(), value.to_owned())])
}

/// Something that cannot be done as things are.
#[must_use]
pub fn failed(reason: &str, message: &str) -> Status {
    with_metadata(Code::FailedPrecondition, reason, message, HashMap::new())
}

/// Something that was asked for a moment ago, and may be again after this wait.
#[must_use]
pub fn too_often(message: &str, wait: Duration) -> Status {
    later(Code::ResourceExhausted, "TOO_OFTEN", message, wait)
}

/// Something that may be asked for again after this wait (`google.rpc.RetryInfo`).
#[must_use]
pub fn later(code: Code, reason: &str, message: &str, wait: Duration) -> Status {
    let mut details = ErrorDetails::with_error_info(reason, DOMAIN, HashMap::new());
    details.set_retry_info(Some(wait));
    Status::with_error_details(code, message, details)
}

/// Something that must not happen.
#[must_use]
pub fn internal(message: &str) -> Status {
    with_metadata(Code::Internal, "INTERNAL", message, HashMap::new())
}

/// Something that was overtaken by something else.
#[must_use]
pub fn aborted(reason: &str, message: &str) -> Status {
    with_metadata(Code::Aborted, reason, message, HashMap::new())
}

/// Gives a reason to the errors that are not ours: unknown methods, messages that cannot be read.
pub async fn explained(response: Response) -> Response {
    match Status::from_header_map(response.headers()) {
        Some(status) if status.code() != Code::Ok && status.details().is_empty() => {
            let reason = format!("{:?}", status.code())
                .chars()
                .flat_map(|c| {
                    let word = c.is_uppercase().then_some('_');
                    word.into_iter().chain(c.to_uppercase())
                })
                .collect::<String>();
            let words = match status.message() {
                "" => status.code().description(),
                words => words,
            };
            with_metadata(
                status.code(),
                reason.trim_start_matches('_'),
                words,
                HashMap::new(),
            )
            .into_http()
        }
        Some(_) | None => response,
    }
}

/// Something that is not there.
#[must_use]
pub fn not_found(reason: &str, message: &str) -> Status {
    with_metadata(Code::NotFound, reason, message, HashMap::new())
}

/// Nobody knows who asks.
#[must_use]
pub fn unauthenticated(reason: &str, message: &str) -> Status {
    with_metadata(Code::Unauthenticated, reason, message, HashMap::new())
}

/// It is known who asks, and that he may not.
#[must_use]
pub fn denied(reason: &str, message: &str) -> Status {
    with_metadata(Code::PermissionDenied, reason, message, HashMap::new())
}

/// A refusal of the fleet.
#[must_use]
pub fn refused(refusal: &Refusal) -> Status {
    let code = match refusal {
        Refusal::NoSuchGroup(_)
        | Refusal::NoSuchClient
        | Refusal::NoSuchGeneration(_)
        | Refusal::NoSuchAddress(_)
        | Refusal::NoSuchRotation(_)
        | Refusal::NoSuchChallenge(_)
        | Refusal::NoSuchProfile(_)
        | Refusal::NoSuchScepRequest(_)
        | Refusal::NoSuchSerial(_)
        | Refusal::NoRotationYet => Code::NotFound,
        Refusal::GroupExists(_) | Refusal::RequestReused(_) | Refusal::ChallengeTaken(_) => {
            Code::AlreadyExists
        }
        Refusal::UnknownToken(_) => Code::Unauthenticated,
        Refusal::TokenExpired(_)
        | Refusal::TokenUsedUp(_)
        | Refusal::TokenRevoked
        | Refusal::NotRecorded
        | Refusal::ClientDecommissioned => Code::PermissionDenied,
        Refusal::BadSetting(_)
        | Refusal::TokenBornExpired
        | Refusal::WaiverBornExpired
        | Refusal::LeaseTooLong { .. } => Code::InvalidArgument,
        Refusal::NotFounded
        | Refusal::AlreadyFounded
        | Refusal::ClockSaysOtherwise { .. }
        | Refusal::NothingToResolve
        | Refusal::AlreadyServed(_)
        | Refusal::CertificateExpired { .. }
        | Refusal::CertificateNotYetValid { .. }
        | Refusal::CertificateInUse(_)
        | Refusal::CutsOff { .. }
        | Refusal::RotationRunning { .. }
        | Refusal::LastAddress(_)
        | Refusal::AddressNeeded { .. }
        | Refusal::NoRotationRunning
        | Refusal::RotationOver { .. }
        | Refusal::TooLateToAbort { .. }
        | Refusal::NotSwapping { .. }
        | Refusal::NobodyToWaitFor
        | Refusal::WaiverCap { .. }
        | Refusal::TimerOn { .. }
        | Refusal::NoScepAuthority
        | Refusal::Rollover(_)
        | Refusal::BadRoot(_)
        | Refusal::JournalOlder
        | Refusal::Superseded { .. }
        | Refusal::ConfirmClients { .. }
        | Refusal::KeyTaken(_)
        | Refusal::NothingToServe
        | Refusal::OffForbidden => Code::FailedPrecondition,
    };
    let metadata = match refusal {
        Refusal::RotationRunning { running, phase } => {
            vec![
                ("rotation", running.to_string()),
                ("phase", phase.to_string()),
            ]
        }
        Refusal::TooLateToAbort {
            rotation, phase, ..
        }
        | Refusal::NotSwapping {
            rotation, phase, ..
        }
        | Refusal::RotationOver { rotation, phase } => {
            vec![
                ("rotation", rotation.to_string()),
                ("phase", phase.to_string()),
            ]
        }
        _ => vec![],
    };
    let metadata = metadata
        .into_iter()
        .map(|(key, value)| (key.to_owned(), value))
        .collect();
    with_metadata(code, refusal.reason(), &refusal.to_string(), metadata)
}

/// What the keeper says.
#[must_use]
pub fn from_keeper(error: &KeeperError) -> Status {
    match error {
        KeeperError::Refused(refusal) => refused(refusal),
        KeeperError::Append(_)
        | KeeperError::Read(_)
        | KeeperError::Entry { .. }
        | KeeperError::Unsaved => {
            tracing::error!(error = format!("{error:#}"), "the journal fails");
            with_metadata(
                Code::Unavailable,
                "JOURNAL",
                "nothing has changed: the journal cannot be written, and the controller's log says why",
                HashMap::new(),
            )
        }
        KeeperError::Unknown => with_metadata(
            Code::Unavailable,
            "OUTCOME_UNKNOWN",
            "it may have happened: the journal fails, and the controller's log says why. Repeat it with the same request_id",
            HashMap::new(),
        ),
        KeeperError::Gone => with_metadata(
            Code::Unavailable,
            "STOPPING",
            "the controller is stopping",
            HashMap::new(),
        ),
    }
}
