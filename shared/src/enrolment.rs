//! The state of a device's certificate requests, in the words of the printers. How a request is made is not here.

#[cfg(test)]
mod tests;

use std::fmt;

use jiff::Timestamp;

use crate::{id::Digest, settings::KeyUse};

/// The history that a device keeps of certificates and requests.
pub const HISTORY: usize = 20;

/// One certificate issuance request of a device: a line of `Certificate Issuance Request Status`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestRecord {
    /// Counts the device's requests, from 1; never reused.
    pub attempt: u64,
    /// What caused it.
    pub trigger: Trigger,
    /// `Request Date/Time`: when it is or was sent.
    pub requested_at: Timestamp,
    /// `Key Name`.
    pub key_name: String,
    /// The key use location.
    pub key_use: KeyUse,
    /// `Status` and `Details`.
    pub state: RequestState,
    /// When it became so.
    pub updated_at: Timestamp,
    /// What went well but not as one might expect, for people: the function of the key use location is off, the common name is no IP address.
    pub warnings: Vec<String>,
}

/// What caused a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Trigger {
    /// The auto-request timer.
    Timer,
    /// Somebody.
    Manual,
}

/// `Status`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RequestState {
    /// The request is due at `requested_at`.
    ToBeProcessed,
    /// It is being sent, or polled for.
    Processing {
        /// Polls so far.
        polls: u32,
        /// Why it is polled for. `None`: it is being sent.
        waiting: Option<ErrorDetail>,
    },
    /// It has failed.
    Error(ErrorDetail),
    /// The certificate is in place.
    Successful(IssuedCertificate),
}

/// A certificate that was issued.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IssuedCertificate {
    /// When it was obtained.
    pub issued_at: Timestamp,
    /// Upper-case hex.
    pub serial: String,
    /// Distinguished name (RFC 4514).
    pub subject: String,
    /// SHA-256 of its DER.
    pub fingerprint: Digest,
    /// First instant of its validity.
    pub not_before: Timestamp,
    /// Last instant of its validity.
    pub not_after: Timestamp,
}

/// `Details` of an error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ErrorDetail {
    /// The request is deferred.
    Deferred,
    /// The device holds as many keys and certificates as it can.
    KeyLimit,
    /// No connection, or no answer in time.
    TopError,
    /// An HTTP status other than 200.
    TopErrorHttp(u16),
    /// The server's failInfo.
    Scep(FailInfo),
    /// The server's answer cannot be right; how, for people.
    FaultyResponse(String),
    /// The key use location did not take the certificate, and has what it had; why, for people.
    KeyUseLocation(String),
    /// The request could not be made; why, for people.
    Device(String),
}

/// failInfo (RFC 8894 section 3.2.1.4.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FailInfo {
    /// 0: unrecognized or unsupported algorithm.
    BadAlg,
    /// 1: integrity check (CMS signature) failed.
    BadMessageCheck,
    /// 2: operation not permitted or supported.
    BadRequest,
    /// 3: signingTime not close enough to the system time.
    BadTime,
    /// 4: no certificate matches the criteria.
    BadCertId,
}

impl FailInfo {
    /// As on the wire: 0 to 4.
    #[must_use]
    pub const fn number(self) -> u8 {
        match self {
            Self::BadAlg => 0,
            Self::BadMessageCheck => 1,
            Self::BadRequest => 2,
            Self::BadTime => 3,
            Self::BadCertId => 4,
        }
    }

    /// From the wire.
    #[must_use]
    pub const fn from_number(number: u8) -> Option<Self> {
        Some(match number {
            0 => Self::BadAlg,
            1 => Self::BadMessageCheck,
            2 => Self::BadRequest,
            3 => Self::BadTime,
            4 => Self::BadCertId,
            _ => return None,
        })
    }
}

impl ErrorDetail {
    /// The cause in words.
    #[must_use]
    pub fn cause(&self) -> String {
        match self {
            Self::Deferred => "the request is deferred: it waits for approval at the SCEP server".to_owned(),
            Self::KeyLimit => "the device holds as many keys and certificates as it can: turn on Delete Old Key and Certificate (delete_old), or raise max_keys".to_owned(),
            Self::TopError => "no connection to the SCEP server, or no answer in time".to_owned(),
            Self::TopErrorHttp(status) => format!("the SCEP server answered with HTTP status {status}"),
            Self::Scep(FailInfo::BadAlg) => "unrecognized or unsupported algorithm".to_owned(),
            Self::Scep(FailInfo::BadMessageCheck) => "integrity check (CMS signature) failed".to_owned(),
            Self::Scep(FailInfo::BadRequest) => "operation not permitted or supported: a wrong or used challenge password, or names that it is not for".to_owned(),
            Self::Scep(FailInfo::BadTime) => "signingTime not close enough to the system time: set the device's clock".to_owned(),
            Self::Scep(FailInfo::BadCertId) => "no certificate matches the criteria".to_owned(),
            Self::FaultyResponse(how) | Self::KeyUseLocation(how) | Self::Device(how) => how.clone(),
        }
    }
}

/// The words that stand in the column `Details`.
impl fmt::Display for ErrorDetail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Deferred => f.write_str("Deferred"),
            Self::KeyLimit => f.write_str("Key and Certificate Registration Limit Error"),
            Self::TopError => f.write_str("Communication Error (TOP ERROR)"),
            Self::TopErrorHttp(status) => write!(f, "Communication Error (TOP ERROR {status})"),
            Self::Scep(info) => write!(
                f,
                "Communication Error (SCEP ERROR Fail Info {})",
                info.number()
            ),
            Self::FaultyResponse(_) => f.write_str("Response Data Error"),
            Self::KeyUseLocation(_) => f.write_str("Key Use Location Error"),
            Self::Device(_) => f.write_str("Device Error"),
        }
    }
}

impl RequestState {
    /// The words that stand in the column `Status`.
    #[must_use]
    pub const fn word(&self) -> &'static str {
        match self {
            Self::ToBeProcessed => "To Be Processed",
            Self::Processing { .. } => "Processing...",
            Self::Error(_) => "Error",
            Self::Successful(_) => "Successful",
        }
    }

    /// Whether nothing more becomes of it.
    #[must_use]
    pub const fn is_final(&self) -> bool {
        matches!(self, Self::Error(_) | Self::Successful(_))
    }
}
