//! The one owner of the fleet's state: decide, append, fold, publish, answer, in this order. What may happen is decided in `convoy-fleet`.
//!
//! Statements of distinct clients, and certificate orders, are gathered for a few milliseconds and appended as one entry; everything else is an entry by itself.

mod log;
mod worker;

use std::{
    sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard},
    time::Duration,
};

use convoy_fleet::{
    client::ClientNumber,
    decide::Command,
    event::{Actor, Request},
    issuance::{IssuanceRefusal, Order},
    refusal::Refusal,
    state::{Fleet, Outcome},
    statement::Statement,
};
use convoy_proto::journal::BadEntry;
use tokio::{
    sync::{mpsc, oneshot, watch},
    time::Instant,
};

use crate::{
    health::Health,
    journal::{AppendError, Journal, ReadError},
    keys::FleetKeys,
    sessions::Sessions,
};

pub(crate) use log::names;
pub use worker::Unstarted;

/// What may wait for the keeper.
const QUEUE: usize = 8192;

/// A handle to the keeper. Cheap to clone.
#[derive(Clone)]
pub struct Keeper {
    messages: mpsc::Sender<Message>,
    state: Arc<RwLock<Fleet>>,
    heads: watch::Receiver<Heads>,
    health: Health,
    busy: Busy,
}

/// Since when the keeper works on one thing. `None`: it waits.
type Busy = Arc<Mutex<Option<Instant>>>;

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
    Begin {
        command: Box<Command>,
        reply: oneshot::Sender<()>,
    },
    Order {
        order: Box<Order>,
        reply: oneshot::Sender<Result<(), OrderError>>,
    },
    Look,
    Stop(oneshot::Sender<()>),
}

impl Keeper {
    /// Reads the journal from its beginning. Nothing is decided or appended before the second of the pair is started.
    ///
    /// # Errors
    /// If the journal is damaged or was written by a newer version.
    pub async fn open(
        journal: Arc<dyn Journal>,
        keys: Arc<FleetKeys>,
        sessions: Arc<Sessions>,
        health: Health,
    ) -> Result<(Self, Unstarted), KeeperError> {
        let state = Arc::new(RwLock::new(Fleet::default()));
        let (publish, heads) = watch::channel(Heads::default());
        let (messages, inbox) = mpsc::channel(QUEUE);
        let busy = Busy::default();
        let unstarted = Unstarted::open(
            journal,
            keys,
            sessions,
            Arc::clone(&state),
            publish,
            inbox,
            health.clone(),
            Arc::clone(&busy),
        )
        .await?;
        let keeper = Self {
            messages,
            state,
            heads,
            health,
            busy,
        };
        Ok((keeper, unstarted))
    }

    /// The state, to be looked at and let go at once: the keeper waits for readers.
    pub fn read(&self) -> RwLockReadGuard<'_, Fleet> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is wrong now.
    #[must_use]
    pub const fn health(&self) -> &Health {
        &self.health
    }

    /// Whether nothing is decided any more.
    #[must_use]
    pub fn has_stopped(&self) -> bool {
        self.messages.is_closed()
    }

    /// How long the keeper has worked on one thing. `None`: it waits.
    #[must_use]
    pub fn busy(&self) -> Option<Duration> {
        let since = *self.busy.lock().unwrap_or_else(PoisonError::into_inner);
        since.map(|since| since.elapsed())
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

    /// Has it written down that this process has begun, before anything else is. While the journal cannot be written, nothing else is decided, and it
    /// is tried again.
    ///
    /// # Errors
    /// If the keeper has stopped.
    pub async fn begin(&self, start: Command) -> Result<(), KeeperError> {
        let (reply, answer) = oneshot::channel();
        let message = Message::Begin {
            command: Box::new(start),
            reply,
        };
        self.messages
            .send(message)
            .await
            .map_err(|_| KeeperError::Gone)?;
        answer.await.map_err(|_| KeeperError::Gone)
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

    /// Records what a device's certificate request came to, and answers when it is durable: only then may it be handed out.
    ///
    /// # Errors
    /// If it is refused on the state on which it would be recorded, or cannot be saved.
    pub async fn order(&self, order: Order) -> Result<(), OrderError> {
        let (reply, answer) = oneshot::channel();
        self.messages
            .send(Message::Order {
                order: Box::new(order),
                reply,
            })
            .await
            .map_err(|_| OrderError::Gone)?;
        answer.await.map_err(|_| OrderError::Gone)?
    }

    /// Has the keeper look at the clock, and for what is due.
    ///
    /// # Errors
    /// If the keeper has stopped.
    pub async fn look(&self) -> Result<(), KeeperError> {
        self.messages
            .send(Message::Look)
            .await
            .map_err(|_| KeeperError::Gone)
    }

    /// Has the keeper end when all that it was asked before is done. What is asked later is answered with [`KeeperError::Gone`].
    pub async fn stop(&self) {
        let (reply, stopped) = oneshot::channel();
        if self.messages.send(Message::Stop(reply)).await.is_ok() {
            drop(stopped.await);
        }
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
    /// Nobody can say whether it was saved.
    #[error("it may have happened: the journal failed, and cannot be read")]
    Unknown,
    /// It could not be saved; the reason is in the controller's log.
    #[error("the journal cannot be written; the controller's log says why")]
    Unsaved,
    /// The controller stops.
    #[error("the controller is stopping")]
    Gone,
}

/// Why an order was not recorded.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OrderError {
    /// It may not be.
    #[error(transparent)]
    Refused(#[from] IssuanceRefusal),
    /// It could not be saved; the reason is in the controller's log.
    #[error("the journal cannot be written; the controller's log says why")]
    Unsaved,
    /// The controller stops.
    #[error("the controller is stopping")]
    Gone,
}
