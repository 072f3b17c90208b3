//! Finds the controller's socket and opens the gRPC channel over it. Knows no service.

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
    time::Duration,
};

use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;
use tonic::transport::{Channel, Endpoint, Uri};
use tower::service_fn;

use crate::{
    args::Format,
    failure::{Failure, Unreachable},
};

const DEFAULT_DATA_DIR: &str = "/var/lib/convoy";
const SOCKET: &str = "convoy.sock";

/// How long a call may take until its answer begins. No call of the API waits for clients.
const PATIENCE: Duration = Duration::from_secs(60);

/// The controller's socket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Place(PathBuf);

impl Place {
    /// What stands on the command line goes before the environment, and that before the default.
    pub(crate) fn choose(
        socket: Option<PathBuf>,
        data_dir: Option<PathBuf>,
        variable: Option<OsString>,
    ) -> Self {
        let variable = variable.filter(|value| !value.is_empty());
        Self(match (socket, data_dir, variable) {
            (Some(socket), _, _) => socket,
            (None, Some(data_dir), _) => data_dir.join(SOCKET),
            (None, None, Some(variable)) => variable.into(),
            (None, None, None) => Path::new(DEFAULT_DATA_DIR).join(SOCKET),
        })
    }

    /// A new connection.
    pub(crate) async fn connect(&self) -> Result<Channel, Unreachable> {
        let unreachable = |cause| Unreachable {
            socket: self.0.clone(),
            cause,
        };
        // The authority is never resolved: the connector goes to the socket whatever it says.
        let endpoint = Endpoint::try_from("http://localhost")
            .map_err(|error| unreachable(error.into()))?
            .timeout(PATIENCE);
        let socket = self.0.clone();
        endpoint
            .connect_with_connector(service_fn(move |_: Uri| {
                let socket = socket.clone();
                async move { UnixStream::connect(socket).await.map(TokioIo::new) }
            }))
            .await
            .map_err(|error| unreachable(error.into()))
    }
}

/// What all commands share: where to ask, under which request id, and how to answer.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) place: Place,
    pub(crate) request_id: String,
    pub(crate) format: Format,
    /// A file of settings is wanted, where there is one.
    pub(crate) toml: bool,
}

impl Session {
    /// A connection for this command's calls.
    pub(crate) async fn channel(&self) -> Result<Channel, Failure> {
        Ok(self.place.connect().await?)
    }

    /// The failure of a call that may have changed something.
    pub(crate) fn changing(&self, status: tonic::Status) -> Failure {
        Failure::changing(status, &self.request_id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_goes_before_the_environment() {
        let chosen = |socket: Option<&str>, data_dir: Option<&str>, variable: Option<&str>| {
            Place::choose(
                socket.map(Into::into),
                data_dir.map(Into::into),
                variable.map(Into::into),
            )
            .0
        };
        assert_eq!(chosen(Some("/s"), None, Some("/v")), Path::new("/s"));
        assert_eq!(
            chosen(None, Some("/d"), Some("/v")),
            Path::new("/d/convoy.sock")
        );
        assert_eq!(chosen(None, None, Some("/v")), Path::new("/v"));
        assert_eq!(
            chosen(None, None, Some("")),
            Path::new("/var/lib/convoy/convoy.sock")
        );
        assert_eq!(
            chosen(None, None, None),
            Path::new("/var/lib/convoy/convoy.sock")
        );
    }
}
