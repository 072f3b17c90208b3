//! The agent's life: session after session, however long the controller is away. What happens in one is decided elsewhere.

use std::{collections::HashMap, path::PathBuf};

use convoy_shared::trust::ModeInForce;
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::watch,
    time::sleep,
};

use crate::{
    backoff::{Backoff, Ended},
    configuration,
    disk::{DiskError, StateDir},
    hello::Host,
    key::{IdentityKey, KeyError},
    link::told,
    scep::{self, Scep},
    session::{Agent, End, Outcome, SessionError, say_full, session},
    state::{State, StateError},
    tls::SessionTls,
};

/// Becomes true when the process is to stop.
pub type Shutdown = watch::Receiver<bool>;

/// Resolves when the process is to stop.
pub(crate) async fn asked(shutdown: &mut Shutdown) {
    if shutdown.wait_for(|asked| *asked).await.is_err() {
        // Nobody is left who could ask.
        std::future::pending::<()>().await;
    }
}

/// SIGTERM and SIGINT.
///
/// # Errors
/// If the system does not let this process listen.
pub fn signals() -> Result<Shutdown, RunError> {
    let mut terminate = signal(SignalKind::terminate()).map_err(RunError::Signals)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(RunError::Signals)?;
    let (ask, shutdown) = watch::channel(false);
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        ask.send_replace(true);
    });
    Ok(shutdown)
}

/// Lives until it is asked to stop.
///
/// # Errors
/// If another process holds the folder, this host has not joined, or what is on disk cannot be read or written at the start. A full disk is
/// waited out, and so is later trouble: it is logged.
pub async fn run(dir: StateDir, shutdown: Shutdown) -> Result<(), RunError> {
    let configuration = dir.file(configuration::FILE);
    run_with(dir, configuration, shutdown).await
}

/// Lives until it is asked to stop, with this configuration file.
///
/// # Errors
/// As for [`run`].
pub async fn run_with(
    dir: StateDir,
    configuration: PathBuf,
    mut shutdown: Shutdown,
) -> Result<(), RunError> {
    let _lock = dir.lock()?;
    let key = IdentityKey::load(&dir)?;
    let mut state = State::load(&dir)?;
    let clock = state.clock();
    state.mark = clock.mark();
    state.incarnation = state.incarnation.next();
    let full = match state.store(&dir) {
        Ok(()) => false,
        // The number counts all the same, and is stored with the first that is. Who starts again before that says it twice, as a snapshot that
        // was put back does: the controller then has it shown again what it trusts, and takes nobody for a copy.
        Err(error) if error.is_full() => {
            say_full(state.client_id, &error);
            true
        }
        Err(error) => return Err(error.into()),
    };
    tracing::info!(
        client = %state.client_id,
        name = state.name,
        group = %state.group,
        revision = state.trust.document.revision.0,
        incarnation = state.incarnation.0,
        "begins"
    );
    let start = scep::Start {
        dir: &dir,
        state: &state,
        key: &key,
        clock: &clock,
        configuration: &configuration,
        timers: true,
    };
    let (scep, engine) = Scep::start(&start, shutdown.clone())?;
    let socket = scep::socket::listen(&dir, &scep);
    let mut agent = Agent {
        dir,
        key,
        state,
        full,
        clock,
        host: Host::of_process(),
        tls: SessionTls::default(),
        scep,
        works: HashMap::new(),
        failed: HashMap::new(),
    };
    let ended = live(&mut agent, &mut shutdown).await;
    drop(socket);
    if let Err(error) = engine.await {
        tracing::error!(%error, "the SCEP engine broke off");
    }
    tracing::info!(client = %agent.state.client_id, "ends");
    ended
}

async fn live(agent: &mut Agent, shutdown: &mut Shutdown) -> Result<(), RunError> {
    let mut backoff = Backoff::default();
    loop {
        let outcome = session(agent, shutdown).await;
        let Some((ended, at_least)) = weigh(agent, &outcome) else {
            return Ok(());
        };
        let wait = at_least + backoff.next(ended, outcome.lasted, rand::random());
        tracing::debug!(client = %agent.state.client_id, wait_ms = wait.as_millis(), "waits");
        tokio::select! {
            () = sleep(wait) => {}
            () = asked(shutdown) => return Ok(()),
        }
    }
}

/// How a session ended, and how long to stay away at least; `None` if for ever.
fn weigh(agent: &Agent, outcome: &Outcome) -> Option<(Ended, std::time::Duration)> {
    let client = agent.state.client_id;
    let zero = std::time::Duration::ZERO;
    match &outcome.why {
        Ok(End::Shutdown) => None,
        Ok(End::Reconnect { wait }) => Some((Ended::Orderly, *wait)),
        Ok(End::TrustChanged | End::Refresh) => Some((Ended::Orderly, zero)),
        Ok(End::Closed) => {
            tracing::info!(%client, "the controller ended the session");
            Some((Ended::Orderly, zero))
        }
        // Believed only from a peer whose certificate was verified: while verification is off, anybody could send a client away.
        Err(SessionError::Refused(refusal))
            if refusal.is_unwanted() && agent.state.mode(&agent.clock) == ModeInForce::Verify =>
        {
            tracing::error!(%client, %refusal, "the controller does not want this client; will ask again seldom");
            Some((Ended::Unwanted, zero))
        }
        Err(error @ SessionError::NotProved(_)) => {
            tracing::error!(%client, error = told(error), "somebody stands between this host and the controller");
            Some((Ended::Fault, zero))
        }
        Err(error) => {
            let what = if outcome.lasted.is_some() {
                "the session broke"
            } else {
                "no session"
            };
            tracing::warn!(%client, error = told(error), "{what}");
            Some((Ended::Fault, zero))
        }
    }
}

/// Why an agent does not begin.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The folder.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// The state.
    #[error(transparent)]
    State(#[from] StateError),
    /// The key.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// No signals.
    #[error("cannot listen to signals")]
    Signals(#[source] std::io::Error),
}
