//! From what the SCEP client says to the words of the printers. Nothing is stored or retried here.

use convoy_scep::{
    client::{Failure, Waiting},
    message,
};
use convoy_shared::enrolment::{ErrorDetail, FailInfo};

use crate::link::told;

/// What is waited for.
pub(crate) const fn waiting(why: Waiting) -> ErrorDetail {
    match why {
        Waiting::Deferred => ErrorDetail::Deferred,
        Waiting::Transport(_) => ErrorDetail::TopError,
        Waiting::Http(status) => ErrorDetail::TopErrorHttp(status),
    }
}

/// Why there is no certificate, and what the server said in words.
pub(crate) fn failed(failure: &Failure) -> (ErrorDetail, Option<String>) {
    let detail = match failure {
        Failure::Transport(_) => ErrorDetail::TopError,
        Failure::Http(status) => ErrorDetail::TopErrorHttp(*status),
        Failure::FailInfo {
            info: Some(info),
            text,
        } => {
            let said = text.as_ref().map(|text| {
                let short: String = text.chars().filter(|c| !c.is_control()).take(200).collect();
                format!("the SCEP server says: {short}")
            });
            return (ErrorDetail::Scep(fail_info(*info)), said);
        }
        Failure::Deferred => ErrorDetail::Deferred,
        Failure::FailInfo { info: None, .. } | Failure::Faulty(_) | Failure::WrongCa { .. } => {
            ErrorDetail::FaultyResponse(told(failure))
        }
        Failure::Request(_) => ErrorDetail::Device(told(failure)),
    };
    (detail, None)
}

const fn fail_info(info: message::FailInfo) -> FailInfo {
    match info {
        message::FailInfo::BadAlg => FailInfo::BadAlg,
        message::FailInfo::BadMessageCheck => FailInfo::BadMessageCheck,
        message::FailInfo::BadRequest => FailInfo::BadRequest,
        message::FailInfo::BadTime => FailInfo::BadTime,
        message::FailInfo::BadCertId => FailInfo::BadCertId,
    }
}
