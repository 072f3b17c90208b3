//! The one owner of the fleet's state: decide, append, fold, publish, answer, in this order. What may happen is decided in `convoy-fleet`.
//!
//! Statements of distinct clients are gathered for a few milliseconds and appended as one entry; everything else is an entry by itself.

use std::{
    collections::HashSet,
    sync::{Arc, PoisonError, RwLock, RwLockReadGuard},
    time::Duration,
};

use convoy_fleet::{
    client::ClientNumber,
    decide::{self, Command},
    event::{Actor, Entry, Event, Request},
    refusal::Refusal,
    rotation::{self, Duty},
    state::{Fleet, Outcome},
    statement::{self, Statement},
};
use convoy_proto::journal::{BadEntry, decode_entry, encode_entry};
use roaring::RoaringBitmap;
use tokio::{
    sync::{mpsc, oneshot, watch},
    time::{Instant, sleep_until, timeout_at},
};
use tracing::field;

use crate::{
    clock, documents, failpoint,
    journal::{AppendError, Journal, ReadError},
    keys::FleetKeys,
};

/// How long a batch of statements waits for more.
const LINGER: Duration = Duration::from_millis(5);
/// The most statements in a batch.
const BATCH: usize = 4096;
/// What may wait for the keeper.
const QUEUE: usize = 8192;
/// How many entries are read at a time.
const PAGE: usize = 1024;
/// Who writes: one controller writes a journal of its own.
const REPLICA: &str = "1";

/// A handle to the keeper. Cheap to clone.
#[derive(Clone)]
pub struct Keeper {
    messages: mpsc::Sender<Message>,
    state: Arc<RwLock<Fleet>>,
    heads: watch::Receiver<Heads>,
}

/// How far the journal has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Heads {
    /// The newest entry.
    pub entry: u64,
    /// The newest entry that holds more than what clients stated: what sessions and duties have to look at.
    pub structure: u64,
}

enum Message {
    Command {
        command: Box<Command>,
        actor: Actor,
        request: Option<Request>,
        reply: oneshot::Sender<Result<Option<Outcome>, KeeperError>>,
    },
    Statement {
        client: ClientNumber,
        statement: Statement,
        reply: oneshot::Sender<Result<(), KeeperError>>,
    },
    Seen(RoaringBitmap),
}

impl Keeper {
    /// Reads the journal from its beginning and starts the keeper.
    ///
    /// # Errors
    /// If the journal is damaged or was written by a newer version.
    pub async fn start(
        journal: Arc<dyn Journal>,
        keys: Arc<FleetKeys>,
    ) -> Result<Self, KeeperError> {
        let state = Arc::new(RwLock::new(Fleet::default()));
        let (publish, heads) = watch::channel(Heads::default());
        let (messages, inbox) = mpsc::channel(QUEUE);
        let mut worker = Worker {
            journal,
            keys,
            state: Arc::clone(&state),
            heads: Heads::default(),
            publish,
            inbox,
            waiting: None,
        };
        worker.catch_up().await?;
        tokio::spawn(worker.run());
        Ok(Self {
            messages,
            state,
            heads,
        })
    }

    /// The state, to be looked at and let go at once: the keeper waits for readers.
    pub fn read(&self) -> RwLockReadGuard<'_, Fleet> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes as the journal grows.
    #[must_use]
    pub fn heads(&self) -> watch::Receiver<Heads> {
        self.heads.clone()
    }

    /// Decides a command, and answers when its events are durable.
    ///
    /// # Errors
    /// If it is refused, or cannot be saved: nothing has changed then.
    pub async fn command(
        &self,
        command: Command,
        actor: Actor,
        request: Option<Request>,
    ) -> Result<Option<Outcome>, KeeperError> {
        let (reply, answer) = oneshot::channel();
        let message = Message::Command {
            command: Box::new(command),
            actor,
            request,
            reply,
        };
        self.messages
            .send(message)
            .await
            .map_err(|_| KeeperError::Gone)?;
        answer.await.map_err(|_| KeeperError::Gone)?
    }

    /// Takes in a client's statement, and answers when it is durable.
    ///
    /// # Errors
    /// If it cannot be saved.
    pub async fn state(
        &self,
        client: ClientNumber,
        statement: Statement,
    ) -> Result<(), KeeperError> {
        let (reply, answer) = oneshot::channel();
        let message = Message::Statement {
            client,
            statement,
            reply,
        };
        self.messages
            .send(message)
            .await
            .map_err(|_| KeeperError::Gone)?;
        answer.await.map_err(|_| KeeperError::Gone)?
    }

    /// Takes in that these clients have a session just now.
    ///
    /// # Errors
    /// If the keeper has stopped.
    pub async fn seen(&self, clients: RoaringBitmap) -> Result<(), KeeperError> {
        self.messages
            .send(Message::Seen(clients))
            .await
            .map_err(|_| KeeperError::Gone)
    }
}

struct Worker {
    journal: Arc<dyn Journal>,
    keys: Arc<FleetKeys>,
    state: Arc<RwLock<Fleet>>,
    heads: Heads,
    publish: watch::Sender<Heads>,
    inbox: mpsc::Receiver<Message>,
    waiting: Option<Message>,
}

type Answer = oneshot::Sender<Result<(), KeeperError>>;

impl Worker {
    async fn run(mut self) {
        loop {
            self.do_duties().await;
            let message = match self.waiting.take() {
                Some(message) => message,
                None => match self.next_message().await {
                    Next::Message(message) => message,
                    Next::Deadline => continue,
                    Next::Closed => return,
                },
            };
            match message {
                Message::Command {
                    command,
                    actor,
                    request,
                    reply,
                } => {
                    let decided = self.serve(&command, actor, request).await;
                    // A caller that has gone away still has its effect.
                    drop(reply.send(decided));
                }
                Message::Statement {
                    client,
                    statement,
                    reply,
                } => self.batch(client, statement, reply).await,
                Message::Seen(clients) => {
                    let events = vec![Event::ClientsSeen { clients }];
                    if let Err(error) = self.save(events, Actor::Clients, None).await {
                        tracing::warn!(%error, "cannot save who was seen");
                    }
                }
            }
        }
    }

    async fn next_message(&mut self) -> Next {
        let deadline = {
            let now = clock::now();
            let fleet = self.state.read().unwrap_or_else(PoisonError::into_inner);
            // At least once an hour, for duties that come with the calendar.
            let wait = rotation::next_deadline(&fleet, now)
                .and_then(|deadline| Duration::try_from(deadline.duration_since(now)).ok())
                .unwrap_or(Duration::from_secs(3600))
                .min(Duration::from_secs(3600));
            Instant::now() + wait + Duration::from_millis(1)
        };
        tokio::select! {
            message = self.inbox.recv() => message.map_or(Next::Closed, Next::Message),
            () = sleep_until(deadline) => Next::Deadline,
        }
    }

    /// Phases that may begin, begin.
    async fn do_duties(&mut self) {
        loop {
            let due = {
                let fleet = self.state.read().unwrap_or_else(PoisonError::into_inner);
                rotation::due(&fleet, clock::now())
            };
            let command = match due {
                Some(Duty::Advance) => Command::Advance,
                Some(Duty::RefreshTrust) => Command::RefreshTrust,
                Some(Duty::HoldCandidate(_) | Duty::Swap(_)) | None => return,
            };
            if let Err(error) = self.serve(&command, Actor::Controller, None).await {
                tracing::error!(%error, "a duty cannot be done; trying again");
                tokio::time::sleep(Duration::from_secs(1)).await;
                return;
            }
        }
    }

    async fn serve(
        &mut self,
        command: &Command,
        actor: Actor,
        request: Option<Request>,
    ) -> Result<Option<Outcome>, KeeperError> {
        loop {
            let now = clock::now();
            let events = {
                let fleet = self.state.read().unwrap_or_else(PoisonError::into_inner);
                if let Some(request) = &request
                    && let Some(outcome) = fleet.repeated(request, now)?
                {
                    return Ok(outcome);
                }
                decide::decide(&fleet, command.clone(), now)?
            };
            match self.save(events, actor.clone(), request.clone()).await {
                Ok(outcome) => return Ok(outcome),
                // Somebody else was faster: look again.
                Err(KeeperError::Append(AppendError::Conflict { .. })) => self.catch_up().await?,
                Err(error) => return Err(error),
            }
        }
    }

    async fn batch(&mut self, client: ClientNumber, statement: Statement, reply: Answer) {
        let mut clients = HashSet::from([client]);
        let mut statements = vec![(client, statement)];
        let mut replies = vec![reply];
        let end = Instant::now() + LINGER;
        while statements.len() < BATCH {
            match timeout_at(end, self.inbox.recv()).await {
                Ok(Some(Message::Statement {
                    client,
                    statement,
                    reply,
                })) if clients.insert(client) => {
                    statements.push((client, statement));
                    replies.push(reply);
                }
                Ok(Some(other)) => {
                    self.waiting = Some(other);
                    break;
                }
                Ok(None) | Err(_) => break,
            }
        }
        let saved = loop {
            let events: Vec<Event> = {
                let fleet = self.state.read().unwrap_or_else(PoisonError::into_inner);
                statements
                    .iter()
                    .flat_map(|(client, statement)| {
                        statement::decide(&fleet, *client, statement.clone())
                    })
                    .collect()
            };
            match self.save(events, Actor::Clients, None).await {
                Err(KeeperError::Append(AppendError::Conflict { .. })) => {
                    if let Err(error) = self.catch_up().await {
                        break Err(error);
                    }
                }
                saved => break saved,
            }
        };
        match saved {
            Ok(_) => {
                for reply in replies {
                    drop(reply.send(Ok(())));
                }
            }
            Err(error) => {
                tracing::error!(%error, "cannot save what clients stated");
                for reply in replies {
                    drop(reply.send(Err(KeeperError::Unsaved)));
                }
            }
        }
    }

    /// Appends, folds, publishes.
    async fn save(
        &mut self,
        mut events: Vec<Event>,
        actor: Actor,
        request: Option<Request>,
    ) -> Result<Option<Outcome>, KeeperError> {
        if events.is_empty() {
            return Ok(None);
        }
        if let Some(fleet) = self.fleet_id(&events) {
            documents::seal(&self.keys, fleet, &mut events);
        }
        let entry = Entry {
            time: clock::now(),
            actor,
            request,
            replica: REPLICA.to_owned(),
            events,
        };
        let phase = phase_entered(&entry);
        if let Some(phase) = phase {
            failpoint::hold(&format!("decided.{phase}")).await;
        }
        let number = self
            .journal
            .append(self.heads.entry, encode_entry(&entry))
            .await?;
        if let Some(phase) = phase {
            failpoint::hold(&format!("saved.{phase}")).await;
        }
        self.fold(number, &entry);
        if let Some(phase) = phase {
            failpoint::hold(&format!("entered.{phase}")).await;
        }
        Ok(entry
            .events
            .iter()
            .rev()
            .find_map(convoy_fleet::state::outcome))
    }

    fn fleet_id(&self, events: &[Event]) -> Option<convoy_shared::id::FleetId> {
        let founded = events.iter().find_map(|event| match event {
            Event::FleetFounded { fleet, .. } => Some(*fleet),
            _ => None,
        });
        let fleet = self.state.read().unwrap_or_else(PoisonError::into_inner);
        founded.or_else(|| fleet.founded().map(|founded| founded.fleet))
    }

    fn fold(&mut self, number: u64, entry: &Entry) {
        self.state
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .fold(entry);
        self.heads.entry = number;
        if entry.events.iter().any(is_structural) {
            self.heads.structure = number;
        }
        self.publish.send_replace(self.heads);
        let fleet = self.state.read().unwrap_or_else(PoisonError::into_inner);
        for event in &entry.events {
            log(&fleet, event, entry);
        }
    }

    /// Folds what the journal holds beyond the state.
    async fn catch_up(&mut self) -> Result<(), KeeperError> {
        loop {
            let entries = self
                .journal
                .read(self.heads.entry.saturating_add(1), PAGE)
                .await?;
            if entries.is_empty() {
                return Ok(());
            }
            // All are read before one is folded, so that an entry that is not understood leaves the state as it was.
            let entries = entries
                .into_iter()
                .map(|(number, bytes)| match decode_entry(&bytes) {
                    Ok(entry) => Ok((number, entry)),
                    Err(source) => Err(KeeperError::Entry { number, source }),
                })
                .collect::<Result<Vec<_>, _>>()?;
            {
                let mut fleet = self.state.write().unwrap_or_else(PoisonError::into_inner);
                for (number, entry) in entries {
                    fleet.fold(&entry);
                    self.heads.entry = number;
                }
            }
            self.heads.structure = self.heads.entry;
            self.publish.send_replace(self.heads);
        }
    }
}

enum Next {
    Message(Message),
    Deadline,
    Closed,
}

fn phase_entered(entry: &Entry) -> Option<rotation::Phase> {
    entry.events.iter().find_map(|event| match event {
        Event::PhaseEntered { phase, .. } => Some(*phase),
        Event::RotationStarted { .. } => Some(rotation::Phase::Planned),
        _ => None,
    })
}

/// Whether sessions and duties have to look at it: everything but what clients state.
const fn is_structural(event: &Event) -> bool {
    !matches!(
        event,
        Event::ClientJoined(_)
            | Event::IdentityIssued { .. }
            | Event::ClientConnected(_)
            | Event::ClientDisconnected { .. }
            | Event::ClientsSeen { .. }
            | Event::EvidenceGiven { .. }
            | Event::RelaxationShown { .. }
            | Event::EvidenceCleared { .. }
            | Event::ClientSuspected { .. }
            | Event::TokenCreated { .. }
            | Event::TokenRevoked { .. }
    )
}

/// One line per event that matters.
fn log(fleet: &Fleet, event: &Event, entry: &Entry) {
    let named = |number: &ClientNumber| {
        fleet
            .client(*number)
            .map(|client| field::display(client.id))
    };
    match event {
        Event::FleetFounded { fleet, .. } => tracing::info!(%fleet, "fleet founded"),
        Event::GroupCreated { group } => tracing::info!(%group, "group created"),
        Event::TokenCreated { token, group, .. } => {
            tracing::info!(%token, %group, actor = ?entry.actor, "join token created")
        }
        Event::TokenRevoked { token } => {
            tracing::info!(%token, actor = ?entry.actor, "join token revoked")
        }
        Event::ClientJoined(joined) => {
            tracing::info!(client = %joined.id, name = joined.name, group = %joined.group, "client joined")
        }
        Event::ClientSuspected { client, suspicion } => {
            tracing::warn!(client = named(client), %suspicion, "client reported: it does not count")
        }
        Event::ClientDuplicated { client } => tracing::warn!(
            client = named(client),
            "two live copies of one client: neither counts until `convoy clients resolve`"
        ),
        Event::ClientResolved { client } => {
            tracing::info!(client = named(client), actor = ?entry.actor, "client resolved")
        }
        Event::ClientDecommissioned { client } => {
            tracing::info!(client = named(client), actor = ?entry.actor, "client decommissioned")
        }
        Event::CertificateImported(imported) => {
            tracing::info!(generation = %imported.generation, fingerprint = %imported.certificate.fingerprint, "certificate imported")
        }
        Event::CertificateRetired { generation } => {
            tracing::info!(%generation, actor = ?entry.actor, "certificate retired")
        }
        Event::CertificateLoaded { generation } => {
            tracing::info!(%generation, "certificate loaded")
        }
        Event::TrustPublished(publication) => {
            tracing::info!(revision = %publication.revision, mode = ?publication.mode, anchors = ?publication.anchors.numbers().iter().map(|anchor| anchor.0).collect::<Vec<_>>(), "trust published")
        }
        Event::RotationStarted {
            rotation,
            from,
            to,
            strategy,
            ..
        } => {
            tracing::info!(%rotation, %from, %to, ?strategy, actor = ?entry.actor, "rotation started")
        }
        Event::PhaseEntered {
            rotation,
            phase,
            reason,
        } => tracing::info!(%rotation, %phase, reason, "phase entered"),
        Event::RotationPaused { rotation } => {
            tracing::info!(%rotation, actor = ?entry.actor, "rotation paused")
        }
        Event::RotationResumed { rotation } => {
            tracing::info!(%rotation, actor = ?entry.actor, "rotation resumed")
        }
        Event::ClientWaived {
            rotation,
            client,
            reason,
            until,
        } => {
            tracing::warn!(%rotation, client = named(client), reason, %until, actor = ?entry.actor, "client waived")
        }
        Event::EvidenceGiven {
            client,
            revision,
            evidence,
        } => tracing::debug!(client = named(client), %revision, ?evidence, "evidence"),
        Event::RelaxationShown { client, revision } => {
            tracing::debug!(client = named(client), %revision, "verification shown to be off")
        }
        Event::EvidenceCleared { client } => tracing::warn!(
            client = named(client),
            "evidence cleared: the client went back to an earlier state"
        ),
        Event::ClientConnected(connected) => {
            tracing::debug!(client = named(&connected.client), served = %connected.served, "client connected")
        }
        Event::ClientDisconnected { client } => {
            tracing::debug!(client = named(client), "client disconnected")
        }
        Event::ReplicaStarted
        | Event::ServerNamesSet { .. }
        | Event::IdentityIssued { .. }
        | Event::ClientsSeen { .. } => {}
    }
}

/// Why the keeper did not do what it was asked for.
#[derive(Debug, thiserror::Error)]
pub enum KeeperError {
    /// It may not be.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// It could not be saved.
    #[error("the journal cannot be written")]
    Append(#[from] AppendError),
    /// The journal cannot be read.
    #[error("the journal cannot be read")]
    Read(#[from] ReadError),
    /// An entry is not understood.
    #[error(
        "journal entry {number} is not understood: nothing after it is read, and nothing is repaired. Use the version of Convoy that wrote it, or a backup"
    )]
    Entry {
        /// Which.
        number: u64,
        /// Why.
        source: BadEntry,
    },
    /// It could not be saved; the reason is in the controller's log.
    #[error("the journal cannot be written; the controller's log says why")]
    Unsaved,
    /// The controller stops.
    #[error("the controller is stopping")]
    Gone,
}
