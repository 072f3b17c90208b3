//! One session on one connection: connect, prove, then act on what the controller says. When to come back is decided elsewhere.

mod opening;
mod serving;

use std::{collections::HashMap, net::SocketAddr, time::Duration};

use convoy_proto::documents::{BadDocument, SignedRoot};
use convoy_shared::{
    id::{ClientId, Epoch},
    proof::Proved,
};
use jiff::SignedDuration;

use tokio::time::Instant;

use crate::{
    address::Address,
    clock::Clock,
    disk::{DiskError, StateDir},
    greet::ANSWER_TIMEOUT,
    hello::Host,
    key::IdentityKey,
    link::{LinkError, told, told_all},
    refusal::Refusal,
    run::{Shutdown, asked},
    scep::Scep,
    state::State,
    tls::{SessionTls, TlsError},
};

/// Between two times that are stored though nothing else is.
const STORE_TIME_EVERY: SignedDuration = SignedDuration::from_hours(1);

/// What outlives a session.
pub(crate) struct Agent {
    pub(crate) dir: StateDir,
    pub(crate) key: IdentityKey,
    /// As on disk; while that is full, the number of starts may be ahead of it.
    pub(crate) state: State,
    /// The disk was full when it was last written to.
    pub(crate) full: bool,
    /// What time it is, for everything that this process does.
    pub(crate) clock: Clock,
    pub(crate) host: Host,
    pub(crate) tls: SessionTls,
    pub(crate) scep: Scep,
    /// Which IP address of each of the controller's addresses led to it last.
    pub(crate) works: HashMap<Address, SocketAddr>,
    /// Addresses that led nowhere, and when that was.
    pub(crate) failed: HashMap<Address, Instant>,
}

/// An address that has led nowhere is tried after the others for so long.
const SET_BACK: Duration = Duration::from_secs(300);

impl Agent {
    /// The controller's addresses, in the order in which they are to be tried. Those that led nowhere a moment ago come after the others, so that
    /// a dead one does not cost its time again and again; but those where the controller is not yet come last of all.
    fn to_try(&self) -> Vec<Address> {
        let set_back = |address: &Address| {
            self.failed
                .get(address)
                .is_some_and(|at| at.elapsed() < SET_BACK)
        };
        let listed = self.state.trust.document.addresses.as_slice().iter();
        let ahead: Vec<_> = listed
            .filter(|listed| listed.ahead)
            .map(|listed| &listed.address)
            .collect();
        let mut addresses = self.state.addresses.clone();
        addresses.sort_by_key(|address| (ahead.contains(&address), set_back(address)));
        addresses
    }

    /// Saves, then believes.
    pub(crate) fn store(&mut self, next: State) -> Result<(), DiskError> {
        let next = State {
            mark: self.clock.mark(),
            ..next
        };
        self.write(next)
    }

    /// After a proof over an address: the believed time moves to that of the proof, and with it what is stored.
    pub(crate) fn prove(
        &mut self,
        newer: Vec<SignedRoot>,
        proved: Proved,
        address: &Address,
    ) -> Result<(), DiskError> {
        let new_root = !newer.is_empty();
        let mark = self.clock.after(proved.time, new_root);
        let mut next = self.state.clone();
        next.prove(newer, mark.clone(), !proved.doubted);
        next.held_over(address);
        let written = self.write(next);
        // A new root that is not stored resets nothing.
        if written.is_ok() || !new_root {
            self.clock.set(mark);
        }
        written
    }

    /// Stores what a full disk had no room for, and now and then the believed time, which bounds what the next start of the host believes.
    pub(crate) fn catch_up(&mut self) {
        let stored = self.state.mark.time;
        let was_full = self.full;
        if !was_full && self.clock.mark().time.duration_since(stored) < STORE_TIME_EVERY {
            return;
        }
        if let Err(error) = self.store(self.state.clone())
            && !was_full
        {
            tracing::warn!(client = %self.state.client_id, error = told(&error), "cannot store the time");
        }
    }

    fn write(&mut self, next: State) -> Result<(), DiskError> {
        match next.store(&self.dir) {
            Ok(()) => {
                self.state = next;
                if self.full {
                    self.full = false;
                    tracing::info!(client = %self.state.client_id, "the disk of the state folder has room again");
                }
                Ok(())
            }
            Err(error) => {
                // The last step of a write may fail when the new state is in place already. What is on disk is what counts.
                if let Ok(state) = State::load(&self.dir) {
                    // But for a start that a full disk had no room for.
                    let incarnation = self.state.incarnation.max(state.incarnation);
                    self.state = State {
                        incarnation,
                        ..state
                    };
                }
                if error.is_full() && !self.full {
                    self.full = true;
                    say_full(self.state.client_id, &error);
                }
                Err(error)
            }
        }
    }
}

/// Says once what an agent cannot do on a full disk.
pub(crate) fn say_full(client: ClientId, error: &DiskError) {
    tracing::error!(
        %client,
        error = told(error),
        "the disk of the state folder is full: no trust document, identity certificate or time is stored until there is room; what is on disk stays in force, and this agent tries again by itself"
    );
}

/// How a session ended.
pub(crate) struct Outcome {
    /// How long it stood, proven; `None` if it never was.
    pub(crate) lasted: Option<Duration>,
    /// Why it ended.
    pub(crate) why: Result<End, SessionError>,
}

/// An orderly end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// This process is to stop.
    Shutdown,
    /// Another trust document is in force.
    TrustChanged,
    /// What this agent would say in a hello is not what it said.
    Refresh,
    /// The controller asks for a new connection, not before so long.
    Reconnect { wait: Duration },
    /// The controller ended the stream.
    Closed,
}

/// One session, from the first byte to the last.
pub(crate) async fn session(agent: &mut Agent, shutdown: &mut Shutdown) -> Outcome {
    let opened = tokio::select! {
        opened = opening::open(agent) => opened,
        () = asked(shutdown) => return Outcome { lasted: None, why: Ok(End::Shutdown) },
    };
    match opened {
        Ok(mut session) => {
            let why = session.serve(agent, shutdown).await;
            let lasted = Some(session.lasted());
            if why.is_ok() {
                session.leave().await;
            }
            Outcome { lasted, why }
        }
        Err(error) => Outcome {
            lasted: None,
            why: Err(error),
        },
    }
}

/// Why a session broke, or did not begin.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    /// No address answered as it must.
    #[error("no connection to the controller: {}", told_all(.0))]
    NoLink(Vec<(Address, LinkError)>),
    /// No configuration.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// No welcome.
    #[error("no welcome within {} s", ANSWER_TIMEOUT.as_secs())]
    Silent,
    /// The controller said no.
    #[error(transparent)]
    Refused(Refusal),
    /// The controller ended the stream before it had proved itself.
    #[error("the server ended the session before it had proved itself")]
    NoWelcome,
    /// Somebody stands in between.
    #[error(
        "the server has not proved that it is the fleet's controller: somebody stands between this host and it, and nothing was sent"
    )]
    NotProved(#[source] BadDocument),
    /// A copy of the controller that was superseded.
    #[error(
        "the server is an older copy of the fleet's controller: its journal is of epoch {offered}, and this client has a trust document of epoch {held}. Nothing of it is taken"
    )]
    OlderCopy {
        /// Of the trust document on disk.
        held: Epoch,
        /// Of the channel proof.
        offered: Epoch,
    },
    /// The controller does not read what this agent says.
    #[error("the controller takes no more messages")]
    Stuck,
    /// What must be durable is not.
    #[error(transparent)]
    Disk(#[from] DiskError),
}
