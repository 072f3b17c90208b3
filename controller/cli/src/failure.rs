//! What can go wrong in one command, in words that say what to do next, and the exit code of each. Nothing is tried again
//! here.

#[cfg(test)]
mod tests;

use std::{error::Error, fmt, io, path::PathBuf};

use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use crate::words::plain;

/// Exit code: done.
pub(crate) const DONE: u8 = 0;
/// Exit code: error.
pub(crate) const ERROR: u8 = 1;
/// Exit code: the command line was not right.
pub(crate) const USAGE: u8 = 2;
/// Exit code: the present state is not what the file says.
pub(crate) const DRIFT: u8 = 5;

/// Why a command did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// The command line cannot mean anything, though it is well formed.
    #[error("{0}")]
    Usage(String),
    /// The operator decided against it, or something that was handed in is not right.
    #[error("{0}")]
    Declined(String),
    /// A file that was named cannot be read.
    #[error("cannot read {path}: {source}. Check the path and that you may read it", path = path.display())]
    File { path: PathBuf, source: io::Error },
    /// No connection to the controller.
    #[error(transparent)]
    Unreachable(#[from] Unreachable),
    /// The controller answered with a status, or the connection broke.
    #[error(transparent)]
    Refused(Refused),
    /// The controller's answer makes no sense to this program.
    #[error(transparent)]
    Unreadable(#[from] Unreadable),
    #[error("the controller ended the stream too early. Watch again when the controller is back")]
    StreamEnded,
    /// What was compared differs; how was printed.
    #[error("there is a difference")]
    Drift,
    /// A watched rotation or request ended otherwise than hoped for, or not in time.
    #[error("{0}")]
    NotCompleted(String),
    #[error("cannot write the answer: {0}. Check where the output goes")]
    Output(#[source] io::Error),
    #[error(
        "cannot read what was typed: {0}. Give it as an option or a file, so that nobody is asked"
    )]
    Input(#[source] io::Error),
    #[error(
        "cannot start: {0}. The system is out of file descriptors or memory; try again when it is not"
    )]
    Runtime(#[source] io::Error),
}

impl Failure {
    /// A call that changes nothing failed.
    pub(crate) fn asking(status: Status) -> Self {
        Self::Refused(Refused {
            status,
            again: Again::Free,
        })
    }

    /// A call failed that may have started something and has no request id. `look` says how to find out.
    pub(crate) fn starting(status: Status, look: String) -> Self {
        Self::Refused(Refused {
            status,
            again: Again::Look(look),
        })
    }

    /// A call that may have changed something failed.
    pub(crate) fn changing(status: Status, request_id: &str) -> Self {
        Self::Refused(Refused {
            status,
            again: Again::Once(request_id.to_owned()),
        })
    }

    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            Self::Usage(_) => USAGE,
            Self::Drift => DRIFT,
            Self::Declined(_)
            | Self::File { .. }
            | Self::Unreachable(_)
            | Self::Refused(_)
            | Self::Unreadable(_)
            | Self::StreamEnded
            | Self::NotCompleted(_)
            | Self::Output(_)
            | Self::Input(_)
            | Self::Runtime(_) => ERROR,
        }
    }

    /// There is nothing to complain about: whoever read stdout has left, as `head` does, or everything was said.
    pub(crate) fn is_silent(&self) -> bool {
        match self {
            Self::Output(error) => error.kind() == io::ErrorKind::BrokenPipe,
            Self::Drift => true,
            _ => false,
        }
    }

    /// It may be gone when the controller is back.
    pub(crate) fn may_pass(&self) -> bool {
        match self {
            Self::Unreachable(_) | Self::StreamEnded => true,
            Self::Refused(refused) => refused.broke() || refused.status.code() == Code::Unavailable,
            Self::Usage(_)
            | Self::Declined(_)
            | Self::File { .. }
            | Self::Unreadable(_)
            | Self::Drift
            | Self::NotCompleted(_)
            | Self::Output(_)
            | Self::Input(_)
            | Self::Runtime(_) => false,
        }
    }
}

/// An answer that cannot be read: it came from another version of Convoy.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the controller's answer {0}. Use the `convoy` that came with this controller")]
pub(crate) struct Unreadable(String);

impl Unreadable {
    /// `problem` goes on after "the controller's answer".
    pub(crate) fn new(problem: String) -> Self {
        Self(problem)
    }
}

/// No connection to the controller's socket.
#[derive(Debug)]
pub(crate) struct Unreachable {
    pub(crate) socket: PathBuf,
    pub(crate) cause: Box<dyn Error + Send + Sync>,
}

impl Error for Unreachable {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(self.cause.as_ref())
    }
}

impl fmt::Display for Unreachable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let socket = self.socket.display();
        let elsewhere =
            "Start convoy-controller, or say where it runs with --data-dir D or CONVOY_SOCKET";
        let Some(cause) = io_cause(self.cause.as_ref()) else {
            return write!(
                f,
                "{socket} does not answer as a controller: {}. {elsewhere}",
                innermost(self.cause.as_ref())
            );
        };
        match cause.kind() {
            io::ErrorKind::NotFound => {
                write!(
                    f,
                    "no controller is running here: there is no socket {socket}. {elsewhere}"
                )
            }
            io::ErrorKind::ConnectionRefused => {
                write!(
                    f,
                    "no controller is running here: nobody listens at {socket}. {elsewhere}"
                )
            }
            io::ErrorKind::PermissionDenied => write!(
                f,
                "you may not use {socket}: it serves root and the controller's own user. Run this with sudo, or as that user"
            ),
            io::ErrorKind::InvalidInput => write!(
                f,
                "{socket} is too long for the path of a socket ({cause}). Use a data directory with a shorter path"
            ),
            _ => write!(
                f,
                "cannot connect to the controller at {socket}: {cause}. {elsewhere}"
            ),
        }
    }
}

/// A call that did not succeed.
#[derive(Debug)]
pub(crate) struct Refused {
    status: Status,
    again: Again,
}

/// What may be done when it is not known whether a call did its work.
#[derive(Debug)]
enum Again {
    /// Call again: it changes nothing.
    Free,
    /// Call again with this request id.
    Once(String),
    /// Look first, in this way.
    Look(String),
}

impl Refused {
    /// The connection failed under the call: what is said is not the controller's.
    fn broke(&self) -> bool {
        // A status from the wire has no source; one that is made up on this side has.
        self.status.source().is_some()
    }
}

impl Error for Refused {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&self.status)
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(cause) = self.status.source() {
            write!(f, "the controller did not answer: {}. ", innermost(cause))?;
            return match &self.again {
                Again::Free => write!(
                    f,
                    "Try again; if that does not help, look at the controller's log"
                ),
                Again::Look(look) => {
                    write!(f, "It may have done what was asked; look first: {look}")
                }
                Again::Once(id) => write!(
                    f,
                    "It may have done what was asked; to have it done exactly once, repeat the command with --request-id {id}"
                ),
            };
        }
        match self.status.message() {
            "" => write!(f, "the controller refused: {}", self.status.code())?,
            message => write!(f, "{}", plain(message))?,
        }
        if let Some(info) = self.status.get_details_error_info()
            && !info.reason.is_empty()
        {
            write!(f, " [{}]", plain(&info.reason))?;
        }
        if let Some(request) = self.status.get_details_bad_request() {
            for violation in request.field_violations {
                write!(
                    f,
                    "\n  {}: {}",
                    plain(&violation.field),
                    plain(&violation.description)
                )?;
            }
        }
        if let Some(precondition) = self.status.get_details_precondition_failure() {
            for violation in precondition.violations {
                write!(
                    f,
                    "\n  {}: {}",
                    plain(&violation.subject),
                    plain(&violation.description)
                )?;
            }
        }
        if let Some(delay) = self
            .status
            .get_details_retry_info()
            .and_then(|info| info.retry_delay)
        {
            // Rounded up, so that nobody is told to come too early.
            write!(f, "\nTry again in {} s", delay.as_millis().div_ceil(1_000))?;
        } else if let Some(next) = next_step(self.status.code()) {
            write!(f, "\n{next}")?;
        }
        Ok(())
    }
}

/// What to do about a status beyond what its message says.
fn next_step(code: Code) -> Option<&'static str> {
    match code {
        Code::Unimplemented => {
            Some("This controller is older than this `convoy`: use the one that came with it")
        }
        Code::PermissionDenied | Code::Unauthenticated => {
            Some("Run this with sudo, or as the user that the controller runs as")
        }
        Code::Unavailable | Code::ResourceExhausted => Some("Try again in a moment"),
        Code::Internal | Code::DataLoss | Code::Unknown => Some("The controller's log says more"),
        Code::Ok
        | Code::Cancelled
        | Code::InvalidArgument
        | Code::DeadlineExceeded
        | Code::NotFound
        | Code::AlreadyExists
        | Code::FailedPrecondition
        | Code::Aborted
        | Code::OutOfRange => None,
    }
}

fn io_cause<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a io::Error> {
    causes(error).find_map(|cause| cause.downcast_ref())
}

fn innermost(error: &(dyn Error + 'static)) -> String {
    plain(&causes(error).last().unwrap_or(error).to_string())
}

fn causes<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |&cause| cause.source())
}
