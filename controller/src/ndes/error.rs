//! Why there is no challenge, and what to do about it. No password or challenge is ever part of it.

use std::{error::Error, io, time::Duration};

/// Why NDES gave no challenge.
#[derive(Debug, thiserror::Error)]
pub enum NdesError {
    /// The settings cannot be.
    #[error("the settings for NDES cannot be: {0}")]
    Settings(&'static str),
    /// No connection.
    #[error(
        "no connection to NDES at {authority}: check ndes_url, the name's address, and that IIS runs there"
    )]
    Unreachable {
        /// Host and port.
        authority: String,
        /// Why.
        source: io::Error,
    },
    /// The connection ended early, or what came was not HTTP.
    #[error("the connection to NDES broke off before its answer was complete")]
    Interrupted(#[source] Box<dyn Error + Send + Sync>),
    /// NDES takes too long.
    #[error("NDES did not answer within {0:?}: check that its application pool runs")]
    Silent(Duration),
    /// Longer than NDES's page can be.
    #[error(
        "the answer is longer than {limit} bytes: ndes_url must be NDES's challenge page, http://host/certsrv/mscep_admin/"
    )]
    TooLong {
        /// The limit.
        limit: usize,
    },
    /// Wrong user or password.
    #[error(
        "NDES refuses the user {user:?} or the password: check ndes_user (DOMAIN\\user) and set the password again"
    )]
    Unauthorized {
        /// As configured.
        user: String,
    },
    /// NTLM or Negotiate, but not Basic.
    #[error(
        "NDES wants {offered} authentication, which is not supported: enable Basic Authentication for CertSrv/mscep_admin in IIS Manager (role service Web-Basic-Auth)"
    )]
    NoBasic {
        /// What it offers.
        offered: String,
    },
    /// The user may not have challenges.
    #[error(
        "NDES says that {user:?} has no permission to enroll with SCEP: give this user the permission Enroll on the certificate templates that NDES uses"
    )]
    NoPermission {
        /// As configured.
        user: String,
    },
    /// Any other HTTP status than 200.
    #[error("NDES's challenge page answers with HTTP status {status}: {}", advice(*.status))]
    Status {
        /// The status.
        status: u16,
    },
    /// Neither a challenge nor a known reason.
    #[error(
        "the page at ndes_url shows neither a challenge password nor why there is none: it must be NDES's challenge page, http://host/certsrv/mscep_admin/, in English"
    )]
    NotThePage,
    /// The same one-time challenge again.
    #[error(
        "NDES's page shows a challenge password that is outstanding already: a proxy between here and NDES keeps the page, and must not"
    )]
    Repeated,
    /// As many are outstanding as NDES holds, by our count.
    #[error(
        "all {count} challenges of NDES are outstanding: one becomes free when a device has used it or when it expires; if this is common, raise PasswordMax at NDES, and ndes_cache with it"
    )]
    AllOutstanding {
        /// How many.
        count: usize,
    },
    /// As many are outstanding as NDES holds, by its own count.
    #[error(
        "NDES's password cache stayed full, though not with challenges of this fleet alone: wait until they expire, or raise PasswordMax at NDES"
    )]
    CacheFull,
    /// The deadline passed while NDES, or who stands in line before, took its time.
    #[error("no challenge from NDES within {0:?}: it is slow, or many devices want one at once")]
    Late(Duration),
    /// The controller stops.
    #[error("the controller stops")]
    Stopped,
}

impl NdesError {
    /// Whether it lasts until somebody changes settings, here or there: to ask again later does not help.
    #[must_use]
    pub const fn needs_somebody(&self) -> bool {
        match self {
            Self::Settings(_)
            | Self::TooLong { .. }
            | Self::Unauthorized { .. }
            | Self::NoBasic { .. }
            | Self::NoPermission { .. }
            | Self::NotThePage
            | Self::Repeated => true,
            Self::Status { status } => *status < 500,
            Self::Unreachable { .. }
            | Self::Interrupted(_)
            | Self::Silent(_)
            | Self::AllOutstanding { .. }
            | Self::CacheFull
            | Self::Late(_)
            | Self::Stopped => false,
        }
    }
}

const fn advice(status: u16) -> &'static str {
    match status {
        301 | 302 | 303 | 307 | 308 => {
            "ndes_url must be the page itself, by plain HTTP and with the slash at its end"
        }
        403 => "IIS refuses access: the page must be reachable by plain HTTP and from here",
        404 => "ndes_url must be NDES's challenge page, http://host/certsrv/mscep_admin/",
        500..=599 => "see the event log of NDES, and that its application pool runs",
        _ => "see the log of IIS",
    }
}
