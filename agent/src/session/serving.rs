//! The second half of a session: act on what a proven controller says, and say what became of it. Nothing is acknowledged before it is durable.

use std::time::Duration;

use bytes::Bytes;
use convoy_proto::{agent::trust_ack, time::read_timestamp, v1};
use convoy_shared::{
    ack::{AckOutcome, Held},
    envelope::Envelope,
    id::{Digest, Revision, RootVersion},
    trust::{Mode, ModeInForce},
};
use tokio::{
    sync::mpsc::{self, error::TrySendError},
    task::{JoinError, JoinSet},
    time::{MissedTickBehavior, interval, timeout},
};
use tonic::Streaming;

use super::{Agent, End, SessionError};
use crate::{
    check::{self, Ask},
    clock::{ControllerClock, InSession},
    disk::DiskError,
    hello::trust_shown,
    link::{Link, told},
    reconcile::{Step, name_of, reconcile},
    renew::{self, RenewError},
    run::{Shutdown, asked},
    scep::{Line, Scep, Want},
    state::SignedTrust,
};

/// Between two looks at what the time makes due.
const LOOK_EVERY: Duration = Duration::from_secs(60);
/// Between two tries to store a trust document that could not be stored.
const STORE_AGAIN: Duration = Duration::from_secs(5);
/// For the controller to end its side after this agent has.
pub(super) const FAREWELL: Duration = Duration::from_secs(3);
/// Checks under way at the same time.
const MOST_CHECKS: usize = 4;
/// The longest that a `Reconnect` may keep this agent away.
const LONGEST_WAIT: Duration = Duration::from_secs(600);

/// A proven session.
pub(super) struct Session {
    link: Link,
    outbound: mpsc::Sender<v1::SessionRequest>,
    inbound: Streaming<v1::SessionResponse>,
    scep: Line,
    tasks: JoinSet<Task>,
    clock: ControllerClock,
    _in_session: InSession,
    /// As the hello and the label stated it.
    mode: ModeInForce,
    /// Whether the identity certificate had expired, by the controller's clock, when the connection was made.
    was_expired: bool,
    renewing: bool,
    /// A trust document that could not be stored yet.
    unstored: Option<SignedTrust>,
}

enum Task {
    Checked(v1::CheckReport),
    Renewed(Result<Vec<Bytes>, RenewError>),
    Asked,
    Ordered(v1::ScepOrderAnswer),
    Tried(v1::AddressTried),
}

impl Session {
    pub(super) fn new(
        link: Link,
        (outbound, inbound): (
            mpsc::Sender<v1::SessionRequest>,
            Streaming<v1::SessionResponse>,
        ),
        scep: Line,
        (clock, in_session): (ControllerClock, InSession),
        mode: ModeInForce,
        was_expired: bool,
    ) -> Self {
        Self {
            link,
            outbound,
            inbound,
            scep,
            tasks: JoinSet::new(),
            clock,
            _in_session: in_session,
            mode,
            was_expired,
            renewing: false,
            unstored: None,
        }
    }

    pub(super) fn lasted(&self) -> Duration {
        self.clock.age()
    }

    pub(super) async fn serve(
        &mut self,
        agent: &mut Agent,
        shutdown: &mut Shutdown,
    ) -> Result<End, SessionError> {
        let mut look = interval(look_every(agent));
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut again = interval(STORE_AGAIN);
        again.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let end = tokio::select! {
                () = asked(shutdown) => Some(End::Shutdown),
                message = self.inbound.message() => match message {
                    Ok(Some(response)) => self.act(agent, response)?,
                    Ok(None) => Some(End::Closed),
                    Err(status) => return Err(SessionError::Refused(status.into())),
                },
                Some(done) = self.tasks.join_next() => self.finish(agent, done)?,
                want = self.scep.next() => self.serve_scep(want)?,
                _ = look.tick() => self.look(agent),
                _ = again.tick(), if self.unstored.is_some() => self.store_again(agent)?,
            };
            if let Some(end) = end {
                return Ok(end);
            }
        }
    }

    /// Takes leave: what was sent is delivered, and the controller ends its side, or is slow.
    pub(super) async fn leave(self) {
        let Self {
            link,
            outbound,
            mut inbound,
            ..
        } = self;
        drop(outbound);
        let ended = timeout(FAREWELL, async {
            while let Ok(Some(_)) = inbound.message().await {}
        });
        if ended.await.is_err() {
            tracing::debug!("the controller was slow to end the session");
        }
        drop(inbound);
        link.close().await;
    }

    fn act(
        &mut self,
        agent: &mut Agent,
        response: v1::SessionResponse,
    ) -> Result<Option<End>, SessionError> {
        let client = agent.state.client_id;
        match response.message {
            Some(v1::session_response::Message::Trust(envelope)) => self.take(agent, envelope),
            Some(v1::session_response::Message::Check(wire)) => {
                match Ask::try_from(wire) {
                    Ok(ask) if self.tasks.len() < MOST_CHECKS => {
                        tracing::info!(
                            %client,
                            revision = ask.trust.revision.0,
                            generation = ask.probe.map(|generation| generation.0),
                            "showing the controller what this client accepts"
                        );
                        let (dir, address) = (agent.dir.clone(), self.link.address.clone());
                        let works = Some(self.link.peer);
                        let clock = agent.clock.clone();
                        self.tasks.spawn(async move {
                            Task::Checked(check::answer(&dir, &address, works, ask, &clock).await)
                        });
                    }
                    Ok(_) => tracing::warn!(%client, "too many checks at once: one is left out"),
                    Err(error) => tracing::warn!(%client, %error, "a malformed check is left out"),
                }
                Ok(None)
            }
            Some(v1::session_response::Message::Reconnect(wire)) => {
                Ok(Some(self.reconnect(agent, &wire)))
            }
            Some(v1::session_response::Message::Scep(envelope)) => {
                agent.scep.offer(envelope, &agent.state);
                Ok(None)
            }
            Some(v1::session_response::Message::ScepOrder(order)) => {
                self.tasks.spawn(ordered(agent.scep.clone(), order));
                Ok(None)
            }
            Some(v1::session_response::Message::ShowTrust(wire)) => {
                tracing::warn!(
                    %client,
                    revision = agent.state.trust.document.revision.0,
                    "the controller does not know this client's trust document, and is shown it"
                );
                let shown = trust_shown(&agent.state, RootVersion(wire.root_version));
                self.say(v1::session_request::Message::TrustShown(shown))?;
                Ok(None)
            }
            Some(v1::session_response::Message::TryAddress(order)) => {
                if self.tasks.len() < MOST_CHECKS {
                    let (dir, clock) = (agent.dir.clone(), agent.clock.clone());
                    self.tasks.spawn(async move {
                        Task::Tried(check::try_address(&dir, order, &clock).await)
                    });
                } else {
                    tracing::warn!(%client, "too much at once: an address is not tried");
                }
                Ok(None)
            }
            Some(v1::session_response::Message::Welcome(_)) => {
                tracing::warn!(%client, "a second welcome is left out");
                Ok(None)
            }
            None => {
                tracing::warn!(%client, "a message that this agent does not know is left out: the controller is newer");
                Ok(None)
            }
        }
    }

    /// Does for the SCEP engine what only a session can.
    fn serve_scep(&mut self, want: Want) -> Result<Option<End>, SessionError> {
        match want {
            Want::Report(report) => {
                self.say(v1::session_request::Message::ScepReport(report))?;
                self.scep.said();
            }
            Want::Ask(ask) => {
                let client = self.link.client.clone();
                self.tasks.spawn(async move {
                    ask.put(client).await;
                    Task::Asked
                });
            }
        }
        Ok(None)
    }

    fn reconnect(&self, agent: &mut Agent, wire: &v1::Reconnect) -> End {
        if wire.full_handshake {
            agent.tls.drop_tickets();
        }
        let wait = match &wire.not_before {
            // A time that cannot be is none.
            Some(_) => read_timestamp(wire.not_before, "not_before")
                .map_or(Duration::ZERO, |time| self.clock.until(time))
                .min(LONGEST_WAIT),
            None => Duration::ZERO,
        };
        tracing::info!(
            client = %agent.state.client_id,
            reason = wire.reason.chars().take(200).collect::<String>(),
            full_handshake = wire.full_handshake,
            wait_ms = wait.as_millis(),
            "asked to come back on a new connection"
        );
        End::Reconnect { wait }
    }

    fn take(&mut self, agent: &mut Agent, wire: v1::Envelope) -> Result<Option<End>, SessionError> {
        let client = agent.state.client_id;
        // The newest document is what counts.
        self.unstored = None;
        let digest = Digest::of(&wire.payload);
        let offered = match Envelope::try_from(wire) {
            Ok(offered) => offered,
            Err(error) => {
                let held = Held {
                    revision: Revision(0),
                    digest,
                };
                tracing::error!(%client, %error, "refused a malformed trust document");
                self.acknowledge(held, AckOutcome::Refused(error.to_string()))?;
                return Ok(None);
            }
        };
        let held = name_of(&offered);
        let revision = held.revision.0;
        match reconcile(offered, &agent.state, agent.clock.now()) {
            Step::Nothing => {
                self.acknowledge(agent.state.held(), AckOutcome::Applied)?;
                Ok(None)
            }
            Step::Refuse(why) => {
                tracing::error!(%client, revision, %why, "refused a trust document");
                self.acknowledge(held, AckOutcome::Refused(why.to_string()))?;
                Ok(None)
            }
            Step::Store { trust, .. } => {
                self.acknowledge(held, AckOutcome::Received)?;
                let Err(error) = store_trust(agent, &trust) else {
                    return self.applied(held);
                };
                tracing::error!(%client, revision, error = told(&error), "cannot store a trust document, and tries again");
                let what = told(&error);
                let outcome = if error.is_full() {
                    AckOutcome::DiskFull(what)
                } else {
                    AckOutcome::Refused(format!("cannot be stored: {what}"))
                };
                self.acknowledge(held, outcome)?;
                self.unstored = Some(trust);
                Ok(None)
            }
        }
    }

    /// What kept a trust document from the disk may be over.
    fn store_again(&mut self, agent: &mut Agent) -> Result<Option<End>, SessionError> {
        let Some(trust) = self.unstored.take() else {
            return Ok(None);
        };
        if let Err(error) = store_trust(agent, &trust) {
            tracing::debug!(client = %agent.state.client_id, error = told(&error), "still cannot store a trust document");
            self.unstored = Some(trust);
            return Ok(None);
        }
        self.applied(trust.held())
    }

    fn applied(&self, held: Held) -> Result<Option<End>, SessionError> {
        self.acknowledge(held, AckOutcome::Applied)?;
        Ok(Some(End::TrustChanged))
    }

    /// What the time makes due. The first look is at the session's start.
    fn look(&mut self, agent: &mut Agent) -> Option<End> {
        agent.catch_up();
        // By the clock of who issued it: on a host whose own is ahead every certificate would be due at once.
        let due = renew::is_due(agent.state.leaf(), self.clock.now()).unwrap_or(true);
        // A full disk has no room for another one: it is asked for when there is.
        if !self.renewing && due && !agent.full {
            match agent.key.certificate_request(&agent.state.name) {
                Ok(request) => {
                    self.renewing = true;
                    let client = self.link.client.clone();
                    self.tasks
                        .spawn(async move { Task::Renewed(renew::ask(client, request).await) });
                }
                Err(error) => tracing::error!(
                    client = %agent.state.client_id,
                    error = told(&error),
                    "cannot ask for a new identity certificate"
                ),
            }
        }
        let lease_is_half_over = match agent.state.trust.document.mode {
            Mode::Off { lease } => {
                self.mode == ModeInForce::Off
                    && Duration::try_from(lease).is_ok_and(|lease| self.clock.age() > lease / 2)
            }
            Mode::Verify => false,
        };
        // "Off" is renewed by a new proof, and what was said in the hello must stay true.
        (lease_is_half_over || agent.state.mode(&agent.clock) != self.mode).then_some(End::Refresh)
    }

    fn finish(
        &mut self,
        agent: &mut Agent,
        done: Result<Task, JoinError>,
    ) -> Result<Option<End>, SessionError> {
        let client = agent.state.client_id;
        match done {
            Ok(Task::Checked(report)) => {
                tracing::info!(%client, probe = ?report.probe(), decoy = ?report.decoy(), "reports what it accepts");
                self.say(v1::session_request::Message::CheckReport(report))?;
                Ok(None)
            }
            Ok(Task::Renewed(answer)) => {
                self.renewing = false;
                match answer {
                    Ok(certificates) => Ok(self.renewed(agent, certificates)),
                    Err(error) => {
                        tracing::error!(%client, error = told(&error), "no new identity certificate; will ask again");
                        Ok(None)
                    }
                }
            }
            Ok(Task::Asked) => Ok(None),
            Ok(Task::Tried(tried)) => {
                tracing::info!(%client, address = tried.address, failure = tried.failure, "tried an address for the controller");
                self.say(v1::session_request::Message::AddressTried(tried))?;
                Ok(None)
            }
            Ok(Task::Ordered(answer)) => {
                tracing::info!(%client, attempt = answer.attempt, reason = answer.reason, "answers a certificate request's order");
                self.say(v1::session_request::Message::ScepOrderAnswer(answer))?;
                Ok(None)
            }
            Err(error) => {
                tracing::error!(%client, %error, "a task of this session failed");
                self.renewing = false;
                Ok(None)
            }
        }
    }

    fn renewed(&self, agent: &mut Agent, certificates: Vec<Bytes>) -> Option<End> {
        let client = agent.state.client_id;
        let fleet = agent.state.fleet_id();
        let stored = renew::accept(certificates, &agent.key, fleet, client)
            .map_err(|error| told(&error))
            .and_then(|identity| {
                let mut next = agent.state.clone();
                next.identity = identity;
                agent.store(next).map_err(|error| told(&error))
            });
        match stored {
            Ok(()) => {
                tracing::info!(%client, "has a new identity certificate from the next connection on");
                // A session on an expired certificate may do little.
                self.was_expired.then_some(End::Refresh)
            }
            Err(error) => {
                tracing::error!(%client, error, "the new identity certificate is not taken");
                None
            }
        }
    }

    fn acknowledge(&self, held: Held, outcome: AckOutcome) -> Result<(), SessionError> {
        self.say(v1::session_request::Message::TrustAck(trust_ack(
            held, outcome,
        )))
    }

    fn say(&self, message: v1::session_request::Message) -> Result<(), SessionError> {
        // Never waits: a controller that does not read must not keep this agent from listening.
        let sent = self.outbound.try_send(v1::SessionRequest {
            message: Some(message),
        });
        match sent {
            Ok(()) => Ok(()),
            Err(TrySendError::Full(_)) => Err(SessionError::Stuck),
            // The controller has ended its side, and why comes next. What it said before counts all the same; the next hello says what
            // became of it.
            Err(TrySendError::Closed(_)) => Ok(()),
        }
    }
}

/// Stores a trust document. From then on it is in force.
fn store_trust(agent: &mut Agent, trust: &SignedTrust) -> Result<(), DiskError> {
    let mut next = agent.state.clone();
    next.take(trust.clone());
    agent.store(next)?;
    agent.tls.drop_tickets();
    tracing::info!(
        client = %agent.state.client_id,
        revision = trust.document.revision.0,
        digest = %trust.held().digest,
        mode = ?agent.state.mode(&agent.clock),
        stale = agent.clock.now() > trust.document.expires_at,
        "stored a trust document, and obeys it"
    );
    Ok(())
}

async fn ordered(scep: Scep, order: v1::ScepOrder) -> Task {
    Task::Ordered(scep.answer(order).await)
}

/// A quarter of what may run out, so that it does not run out unseen.
fn look_every(agent: &Agent) -> Duration {
    let lease = match agent.state.trust.document.mode {
        Mode::Off { lease } => Duration::try_from(lease).unwrap_or(LOOK_EVERY),
        Mode::Verify => LOOK_EVERY * 4,
    };
    let identity = renew::lifetime(agent.state.leaf()).unwrap_or(LOOK_EVERY * 4);
    (lease.min(identity) / 4).clamp(Duration::from_secs(1), LOOK_EVERY)
}
