//! What the controller says when it says no: gRPC statuses, for people. Nothing is retried here.

use std::fmt;

use tonic::{Code, Status};
use tonic_types::StatusExt as _;

/// A status, with the reason of its `google.rpc.ErrorInfo`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    code: Code,
    message: String,
    reason: Option<String>,
}

impl Refusal {
    /// The reason, in capitals, for example `TOKEN_EXPIRED`.
    #[must_use]
    pub fn reason(&self) -> Option<&str> {
        self.reason.as_deref()
    }

    /// Whether the controller knows what it was asked, and does not want this caller.
    #[must_use]
    pub const fn is_unwanted(&self) -> bool {
        matches!(self.code, Code::Unauthenticated | Code::PermissionDenied)
    }
}

impl From<Status> for Refusal {
    fn from(status: Status) -> Self {
        let reason = status.get_details_error_info().map(|info| info.reason);
        // Of a connection that broke, tonic's own words say less than their cause.
        let mut message = status.message().to_owned();
        if reason.is_none() {
            let mut cause = std::error::Error::source(&status);
            while let Some(error) = cause {
                let text = error.to_string();
                if !message.contains(&text) {
                    message = format!("{message}: {text}");
                }
                cause = error.source();
            }
        }
        Self {
            code: status.code(),
            message,
            reason,
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.reason {
            Some(reason) => write!(f, "{} [{reason}]", self.message),
            None => write!(f, "{} [{:?}]", self.message, self.code),
        }
    }
}

impl std::error::Error for Refusal {}

#[cfg(test)]
mod tests {
    use tonic_types::ErrorDetails;

    use super::*;

    #[test]
    fn a_refusal_says_its_reason() {
        let details = ErrorDetails::with_error_info("TOKEN_EXPIRED", "convoy", []);
        let status = Status::with_error_details(
            Code::FailedPrecondition,
            "the join token has expired; create another with `convoy token create`",
            details,
        );
        let refusal = Refusal::from(status);
        assert_eq!(
            refusal.to_string(),
            "the join token has expired; create another with `convoy token create` [TOKEN_EXPIRED]"
        );
        assert!(!refusal.is_unwanted());
        let bare = Refusal::from(Status::unauthenticated("who are you?"));
        assert_eq!(bare.to_string(), "who are you? [Unauthenticated]");
        assert!(bare.is_unwanted());
    }
}
