//! One session of one client: hello, proof, then whatever is owed until it ends. What is owed is decided in `duty`, and what counts in the fleet.

mod checks;
mod parting;
mod scep;
mod ways;

use std::{sync::Arc, time::Duration};

use convoy_fleet::{decide::Command, event::Actor, reason::Obstacle, statement::Statement};
use convoy_proto::{
    agent::read_trust_ack,
    v1::{self, SessionRequest, SessionResponse, session_request, session_response},
};
use convoy_shared::{
    ack::{AckOutcome, Held},
    address::Address,
    envelope::Envelope,
    id::RootVersion,
    trust::Position,
};
use jiff::SignedDuration;
use tokio::{
    sync::{mpsc, watch},
    time::{Instant, sleep_until, timeout},
};
use tonic::{Status, Streaming};

use super::{
    Agents,
    duty::{Owed, Stand, owed, owed_scep},
    hello::{Hello, hello},
    not_superseded,
};
use crate::{
    api::status,
    clock, documents,
    keeper::Heads,
    pace::Act,
    peer::{Identity, Peer},
    recovery::Shown,
    sessions::{Order, Session},
};
use checks::{AGAIN, Running};
use scep::Enrolling;
use ways::Trying;

/// How long a client may take to say hello, or to take a message.
pub(super) const PATIENCE: Duration = Duration::from_secs(15);
/// So many other messages may come before a client shows its trust document.
const EARLY: usize = 8;
/// The most of a client's own words in a line of the log, in characters.
const REASON: usize = 300;

pub(super) type Outbound = mpsc::Sender<Result<SessionResponse, Status>>;

/// Runs a session to its end.
pub(super) async fn run(
    agents: Arc<Agents>,
    peer: Arc<Peer>,
    identity: Identity,
    mut inbound: Streaming<SessionRequest>,
    outbound: Outbound,
) {
    let hello = match timeout(PATIENCE, hello(&mut inbound)).await {
        Ok(Ok(hello)) => hello,
        Ok(Err(refused)) => {
            drop(timeout(PATIENCE, outbound.send(Err(refused))).await);
            return;
        }
        Err(_) => return,
    };
    let client = identity.client;
    let (session, orders) = agents.sessions.open(client, peer.address);
    tracing::debug!(client = %identity.id, address = %peer.address, served = %peer.served, "client connected");
    let mut talk = Talk {
        session,
        heads: agents.keeper.heads(),
        agents,
        peer,
        identity,
        outbound,
        began_with: hello.held,
        held: hello.held,
        root: hello.root_version,
        sent: None,
        shown: None,
        check: None,
        again: AGAIN,
        not_before: None,
        part_at: None,
        stop_at: None,
        scep: Enrolling::new(&hello, orders),
        trying: Vec::new(),
        address: hello.address.clone(),
    };
    // A client that comes too often waits: a session may be an entry in the journal.
    tokio::select! {
        () = talk.agents.paces.wait(client, Act::Session) => {}
        () = talk.session.replaced() => return,
        () = talk.agents.stopping.asked() => return,
    }
    let ended = talk.run(hello, &mut inbound).await;
    talk.settle_scep(talk.scep.held);
    if let Err(End::Refused(refused)) = ended {
        // A client that does not read hears nothing.
        drop(timeout(PATIENCE, talk.outbound.send(Err(refused))).await);
    }
    drop(talk);
    tracing::debug!(client = %identity.id, "client disconnected");
}

/// The welcome that proves this channel, and the newest root version.
pub(super) fn prove(
    agents: &Agents,
    peer: &Peer,
    hello: &Hello,
    scep_attempt: u64,
) -> Result<(v1::Welcome, RootVersion), Status> {
    let fleet = agents.keeper.read();
    let founded = not_superseded(&fleet)?;
    let proof = documents::prove_channel(
        &agents.keys,
        founded.fleet,
        hello.nonce,
        peer.exporter,
        fleet.epoch(),
        clock::signed(),
    );
    let welcome = v1::Welcome {
        channel_proof: Some(proof.into()),
        roots: founded
            .roots
            .iter()
            .filter(|root| root.root.version > hello.root_version)
            .map(|root| root.envelope.clone().into())
            .collect(),
        scep_attempt,
    };
    Ok((welcome, fleet.position().root_version))
}

/// Waits for a client to show its trust document. What it says before is kept in order.
pub(super) async fn hear_shown(
    inbound: &mut Streaming<SessionRequest>,
    early: &mut Vec<SessionRequest>,
) -> Result<v1::TrustShown, Status> {
    loop {
        let request = inbound
            .message()
            .await?
            .ok_or_else(|| Status::cancelled("the client has gone"))?;
        match request.message {
            Some(session_request::Message::TrustShown(shown)) => return Ok(shown),
            _ if early.len() >= EARLY => {
                return Err(status::invalid(
                    "trust_shown",
                    &"the trust document that was asked for did not come",
                ));
            }
            message => early.push(SessionRequest { message }),
        }
    }
}

/// Why a session ends.
enum End {
    /// The client has gone, or was told to come back.
    Over,
    /// The client is told why.
    Refused(Status),
}

impl From<Status> for End {
    fn from(status: Status) -> Self {
        Self::Refused(status)
    }
}

struct Talk {
    agents: Arc<Agents>,
    peer: Arc<Peer>,
    identity: Identity,
    session: Session,
    heads: watch::Receiver<Heads>,
    outbound: Outbound,
    began_with: Held,
    held: Held,
    root: RootVersion,
    sent: Option<Held>,
    /// Where the document stands that the client has shown because the journal did not know it.
    shown: Option<Position>,
    check: Option<Running>,
    again: Duration,
    /// No check before this.
    not_before: Option<Instant>,
    /// When to part from a client that is to come back, as all are: drawn once, so that not all come at once.
    part_at: Option<Instant>,
    /// When to part because the controller stops, drawn likewise.
    stop_at: Option<Instant>,
    scep: Enrolling,
    trying: Vec<Trying>,
    /// The address that the client dialled.
    address: Address,
}

enum Woken {
    Said(Box<SessionRequest>),
    Ordered(Box<Order>),
    Changed,
    Stopping,
}

impl Talk {
    async fn run(
        &mut self,
        hello: Hello,
        inbound: &mut Streaming<SessionRequest>,
    ) -> Result<(), End> {
        self.welcome(&hello).await?;
        self.agents.sights.connected(
            self.identity.client,
            hello.instance,
            self.peer.address,
            hello.clock_ahead,
            clock::now(),
        );
        let mut early = Vec::new();
        let signed = self
            .ask_what_is_unknown(&hello, inbound, &mut early)
            .await?;
        self.state(Statement::Connected {
            incarnation: hello.incarnation,
            instance: hello.instance,
            held: hello.held,
            signed,
            mode: hello.mode,
            agent_version: hello.agent_version,
            served: self.peer.served,
        })
        .await?;
        self.note_way(&hello.address).await?;
        self.state_scep(self.scep.held).await?;
        for message in early {
            self.receive(message).await?;
        }
        loop {
            // Before the state is looked at: what changes from here on wakes the session.
            let seen = self.heads.borrow_and_update().structure;
            self.part_before_stop().await?;
            self.conclude().await?;
            self.give_what_is_owed().await?;
            match self.wake(inbound, seen).await? {
                Woken::Said(message) => self.receive(*message).await?,
                Woken::Ordered(order) => match *order {
                    Order::Scep { order, answer } => self.pass_on(*order, answer).await?,
                    Order::Try { address, answer } => self.try_address(address, answer).await?,
                },
                Woken::Changed => {}
                Woken::Stopping => self.stop_soon(),
            }
        }
    }

    async fn welcome(&self, hello: &Hello) -> Result<(), End> {
        let attempt = {
            let fleet = self.agents.keeper.read();
            fleet
                .enrolment()
                .requests(self.identity.client)
                .and_then(|requests| requests.records.back())
                .map_or(0, |record| record.attempt)
        };
        let (welcome, _) = prove(&self.agents, &self.peer, hello, attempt)?;
        self.send(session_response::Message::Welcome(welcome)).await
    }

    /// Has a client show its trust document where the journal does not know it. Returns whether the fleet's policy key has signed that.
    async fn ask_what_is_unknown(
        &mut self,
        hello: &Hello,
        inbound: &mut Streaming<SessionRequest>,
        early: &mut Vec<SessionRequest>,
    ) -> Result<bool, End> {
        let client = self.identity.client;
        let (group, root_version) = {
            let fleet = self.agents.keeper.read();
            let Some(record) = fleet.client(client) else {
                return Ok(false);
            };
            let root_version = fleet.position().root_version;
            let known =
                fleet.published(&record.group, hello.held.revision) == Some(hello.held.digest);
            if known && hello.root_version <= root_version {
                return Ok(true);
            }
            (record.group.clone(), root_version)
        };
        self.send(session_response::Message::ShowTrust(v1::ShowTrust {
            root_version: root_version.0,
        }))
        .await?;
        let wire = match timeout(PATIENCE, hear_shown(inbound, early)).await {
            Ok(Ok(wire)) => wire,
            Ok(Err(refused)) => return Err(refused.into()),
            // It says that it holds something, and does not show it.
            Err(_) => return Ok(false),
        };
        let shown = {
            let fleet = self.agents.keeper.read();
            let founded = not_superseded(&fleet)?;
            Shown::read(founded, hello.held, wire)
        };
        let shown = match shown {
            Ok(shown) if shown.document.audience == group => shown,
            Ok(_) => return Ok(false),
            Err(error) => {
                tracing::warn!(client = %self.identity.id, %error, "a client shows a trust document that is not this fleet's");
                return Ok(false);
            }
        };
        let position = shown.position();
        self.shown = Some(position);
        if position > self.agents.keeper.read().position() {
            let command = Command::NoteAhead(shown.ahead(client));
            self.agents
                .keeper
                .command(command, Actor::Clients, None)
                .await
                .map_err(|error| End::Refused(status::from_keeper(&error)))?;
        }
        not_superseded(&self.agents.keeper.read())?;
        Ok(true)
    }

    /// Waits for a message, or for something that may change what is owed.
    async fn wake(
        &mut self,
        inbound: &mut Streaming<SessionRequest>,
        seen: u64,
    ) -> Result<Woken, End> {
        let timer = [
            self.check.as_ref().map(|check| check.until),
            self.not_before,
            self.part_at,
            self.stop_at,
        ]
        .into_iter()
        .flatten()
        .min();
        let heads = &mut self.heads;
        let structure = async {
            while heads.borrow_and_update().structure == seen {
                if heads.changed().await.is_err() {
                    std::future::pending::<()>().await;
                }
            }
        };
        let check = self.check.as_ref();
        let sight = async {
            match check {
                Some(check) => check.open.changed().await,
                None => std::future::pending().await,
            }
        };
        let orders = &mut self.scep.orders;
        let (stops, stopping) = (self.agents.stopping.asked(), self.stop_at.is_some());
        let order = async {
            match orders.recv().await {
                Some(order) => order,
                // Another session has taken over.
                None => std::future::pending().await,
            }
        };
        let time = async {
            match timer {
                Some(timer) => sleep_until(timer).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            message = inbound.message() => match message {
                Ok(Some(message)) => Ok(Woken::Said(Box::new(message))),
                Ok(None) => Err(End::Over),
                // Too long, or not to be read. Where the connection is gone, nobody hears it.
                Err(status) => Err(status::invalid("message", &status.message()).into()),
            },
            () = self.session.replaced() => Err(self.replaced().await),
            () = stops, if !stopping => Ok(Woken::Stopping),
            order = order => Ok(Woken::Ordered(Box::new(order))),
            () = structure => Ok(Woken::Changed),
            () = sight => Ok(Woken::Changed),
            () = time => Ok(Woken::Changed),
        }
    }

    async fn receive(&mut self, request: SessionRequest) -> Result<(), End> {
        // Who says much is listened to slowly.
        self.agents
            .paces
            .wait(self.identity.client, Act::Message)
            .await;
        match request.message {
            Some(session_request::Message::TrustAck(ack)) => {
                let (held, outcome) =
                    read_trust_ack(ack).map_err(|bad| status::invalid("trust_ack", &bad))?;
                match outcome {
                    AckOutcome::Received => self.state(Statement::Received(held)).await,
                    AckOutcome::Applied => {
                        self.held = held;
                        // Whatever kept it from storing the document is over.
                        self.agents.sights.unhindered(self.identity.client);
                        self.state(Statement::Applied(held)).await
                    }
                    AckOutcome::Refused(reason) => {
                        let reason: String = reason.chars().take(REASON).collect();
                        tracing::warn!(client = %self.identity.id, revision = %held.revision, reason, "client refuses a trust document");
                        self.hindered(Obstacle::RefusesDocument(reason));
                        Ok(())
                    }
                    AckOutcome::DiskFull(what) => {
                        let what: String = what.chars().take(REASON).collect();
                        tracing::warn!(client = %self.identity.id, revision = %held.revision, what, "client cannot store a trust document: its disk is full");
                        self.hindered(Obstacle::DiskFull(what));
                        Ok(())
                    }
                }
            }
            Some(session_request::Message::CheckReport(report)) => self.take_report(&report),
            Some(session_request::Message::ScepReport(report)) => {
                self.take_scep_report(report).await
            }
            Some(session_request::Message::ScepOrderAnswer(answer)) => self.take_answer(answer),
            Some(session_request::Message::TrustShown(_)) => {
                tracing::debug!(client = %self.identity.id, "a trust document that nobody waits for any more");
                Ok(())
            }
            Some(session_request::Message::AddressTried(tried)) => {
                self.take_tried(tried);
                Ok(())
            }
            Some(session_request::Message::Hello(_)) => {
                Err(status::invalid("hello", &"a session has one hello, and it comes first").into())
            }
            None => {
                tracing::warn!(client = %self.identity.id,
                    "a message of a newer agent was ignored"
                );
                Ok(())
            }
        }
    }

    async fn give_what_is_owed(&mut self) -> Result<(), End> {
        let (owed, scep) = {
            let stand = Stand {
                client: self.identity.client,
                peer: &self.peer,
                expired: self.identity.expired,
                began_with: self.began_with,
                held: self.held,
                root: self.root,
                sent: self.sent,
                shown: self.shown,
            };
            let fleet = self.agents.keeper.read();
            not_superseded(&fleet)?;
            let owed = owed(&fleet, &stand);
            let scep = owed_scep(&fleet, &stand, &owed);
            (owed, scep)
        };
        if !matches!(owed, Owed::ReconnectAfterSwap | Owed::ReconnectForRoot) {
            self.part_at = None;
        }
        if !matches!(owed, Owed::Check(..)) {
            self.check = None;
            self.not_before = None;
        }
        self.give(owed).await?;
        match scep {
            Some(basis) => self.give_scep(basis).await,
            None => Ok(()),
        }
    }

    async fn give(&mut self, owed: Owed) -> Result<(), End> {
        match owed {
            Owed::Nothing => Ok(()),
            Owed::Farewell => {
                Err(status::refused(&convoy_fleet::refusal::Refusal::ClientDecommissioned).into())
            }
            Owed::Trust(held, envelope) => self.send_trust(held, envelope).await,
            Owed::ReconnectAfterSwap => {
                self.part_soon("the server certificate has changed", true)
                    .await
            }
            Owed::ReconnectForRoot => self.part_soon("the fleet has a new root", false).await,
            Owed::ReconnectInFull => {
                self.part(
                    "a full handshake is needed to confirm",
                    true,
                    SignedDuration::ZERO,
                )
                .await
            }
            Owed::Check(held, wanted) => self.order(held, wanted).await,
        }
    }

    async fn send_trust(&mut self, held: Held, envelope: Envelope) -> Result<(), End> {
        self.send(session_response::Message::Trust(envelope.into()))
            .await?;
        self.sent = Some(held);
        Ok(())
    }

    /// The client cannot show what it was last asked for: an operator will want to know why.
    fn hindered(&self, obstacle: Obstacle) {
        let document = self.sent.unwrap_or(self.held);
        self.agents
            .sights
            .hindered(self.identity.client, document, obstacle);
    }

    async fn state(&self, statement: Statement) -> Result<(), End> {
        self.agents
            .keeper
            .state(self.identity.client, statement)
            .await
            .map_err(|error| End::Refused(status::from_keeper(&error)))
    }

    async fn send(&self, message: session_response::Message) -> Result<(), End> {
        let response = SessionResponse {
            message: Some(message),
        };
        match timeout(PATIENCE, self.outbound.send(Ok(response))).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) | Err(_) => Err(End::Over),
        }
    }
}
