//! The keeper's own task: it takes message by message, and is the only one that appends and folds. What is asked of it comes from its handle.

mod batch;

use std::{
    collections::VecDeque,
    sync::{Arc, PoisonError, RwLock, RwLockReadGuard},
    time::Duration,
};

use convoy_fleet::{
    clock::{ClockCommand, ClockEvent},
    decide::{self, Command},
    enrolment::EnrolmentEvent,
    event::{Actor, Entry, Event, Request},
    issuance::IssuanceEvent,
    rotation::{self, Duty},
    state::{Fleet, Outcome},
};
use convoy_proto::journal::{decode_entry, encode_entry};
use convoy_shared::id::FleetId;
use jiff::Timestamp;
use tokio::{
    sync::{mpsc, watch},
    time::{Instant, sleep_until},
};

use super::{Busy, Heads, KeeperError, Message, log};
use crate::{
    clock::{self, Reading},
    disk, documents, failpoint,
    health::{Degraded, Health},
    journal::{AppendError, Cause, Journal},
    keys::FleetKeys,
    sessions::Sessions,
};

/// How many entries are read at a time.
const PAGE: usize = 1024;
/// Who writes: one controller writes a journal of its own.
const REPLICA: &str = "1";
/// Duties that come with the calendar are looked for so often.
const LOOK: Duration = Duration::from_secs(3600);
/// A duty that could not be done is tried again after so long.
const AGAIN: Duration = Duration::from_secs(1);

/// A keeper that has read its journal, and does nothing yet.
pub struct Unstarted(Worker);

impl Unstarted {
    #[expect(
        clippy::too_many_arguments,
        reason = "one caller hands over all that the worker owns"
    )]
    pub(super) async fn open(
        journal: Arc<dyn Journal>,
        keys: Arc<FleetKeys>,
        sessions: Arc<Sessions>,
        state: Arc<RwLock<Fleet>>,
        publish: watch::Sender<Heads>,
        inbox: mpsc::Receiver<Message>,
        health: Health,
        busy: Busy,
    ) -> Result<Self, KeeperError> {
        let mut worker = Worker {
            journal,
            keys,
            sessions,
            state,
            heads: Heads::default(),
            publish,
            inbox,
            health,
            busy,
            waiting: VecDeque::new(),
            owed: None,
            not_before: None,
            failed: false,
            looked_at: clock::now(),
            started: false,
            breaks: 0,
            stopped: false,
        };
        worker.catch_up().await?;
        Ok(Self(worker))
    }

    /// Begins with the duties that are due.
    pub fn start(self) {
        tokio::spawn(self.0.run());
    }
}

struct Worker {
    journal: Arc<dyn Journal>,
    keys: Arc<FleetKeys>,
    /// Who is connected: an entry that begins a swap says it.
    sessions: Arc<Sessions>,
    state: Arc<RwLock<Fleet>>,
    heads: Heads,
    publish: watch::Sender<Heads>,
    inbox: mpsc::Receiver<Message>,
    health: Health,
    busy: Busy,
    /// What came while a batch was gathered and does not belong to it, in the order in which it came.
    waiting: VecDeque<Message>,
    /// What this process has to write down before anything else.
    owed: Option<Command>,
    /// The journal could not be written: nothing is tried before this.
    not_before: Option<Instant>,
    /// A duty could not be done: it is tried again soon, also if nobody says anything.
    failed: bool,
    /// When duties were looked for last: a deadline after that is still to come.
    looked_at: Timestamp,
    /// The journal says that this process has begun: before that, what it holds in memory, and since when, is another process's.
    started: bool,
    /// How many breaks of the clock the state knows of.
    breaks: u64,
    /// The journal could not be written: nobody could come back.
    stopped: bool,
}

impl Worker {
    async fn run(mut self) {
        loop {
            self.works(true);
            if self.pay().await {
                self.do_duties().await;
            }
            let message = match self.waiting.pop_front() {
                Some(message) => message,
                None => {
                    self.works(false);
                    match self.next_message().await {
                        Next::Message(message) => message,
                        Next::Deadline => continue,
                        Next::Closed => return,
                    }
                }
            };
            self.works(true);
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
                } => self.statements(client, statement, reply).await,
                Message::Order { order, reply } => self.orders(order, reply).await,
                // Whatever is due is looked for before each message.
                Message::Look => {}
                Message::Begin { command, reply } => {
                    self.owed = Some(*command);
                    self.pay().await;
                    if reply.send(()).is_err() {
                        tracing::debug!("nobody waits for the start");
                    }
                }
                Message::Stop(reply) => {
                    let _ = reply.send(());
                    return;
                }
            }
        }
    }

    /// It begins with one thing, or waits for the next.
    fn works(&self, works: bool) {
        *self.busy.lock().unwrap_or_else(PoisonError::into_inner) = works.then(Instant::now);
    }

    fn read(&self) -> RwLockReadGuard<'_, Fleet> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    async fn next_message(&mut self) -> Next {
        let deadline = {
            let now = clock::now();
            let fleet = self.read();
            let look = if self.failed { AGAIN } else { LOOK };
            let wait = rotation::next_deadline(&fleet, self.looked_at)
                .map(|deadline| {
                    Duration::try_from(deadline.duration_since(now)).unwrap_or_default()
                })
                .unwrap_or(look)
                .min(look);
            Instant::now() + wait + Duration::from_millis(1)
        };
        tokio::select! {
            message = self.inbox.recv() => message.map_or(Next::Closed, Next::Message),
            () = sleep_until(deadline) => Next::Deadline,
        }
    }

    /// Writes down that this process has begun, before anything else is. False while that cannot be.
    async fn pay(&mut self) -> bool {
        let Some(mut command) = self.owed.take() else {
            return true;
        };
        // The age of the host's boot belongs to the entry's time, and the entry may come late.
        if let Command::StartReplica { mark, .. } = &mut command {
            *mark = clock::boot_mark();
        }
        match self.serve(&command, Actor::Controller, None).await {
            Ok(_) => true,
            Err(error) => {
                tracing::debug!(%error, "the controller's start cannot be written down yet");
                self.owed = Some(command);
                self.failed = true;
                false
            }
        }
    }

    /// Phases that may begin, begin.
    async fn do_duties(&mut self) {
        self.failed = false;
        if !self.started {
            return;
        }
        loop {
            if let Err(error) = self.note_clock().await {
                self.cannot(error);
                return;
            }
            self.looked_at = clock::now();
            let due = rotation::due(&self.read(), self.looked_at);
            let command = match due {
                Some(Duty::Advance) => Command::Advance {
                    connected: self.sessions.expected(),
                },
                Some(Duty::RefreshTrust) => Command::RefreshTrust,
                Some(Duty::HoldCandidate(_) | Duty::Swap(_)) | None => {
                    self.health.clear(Degraded::Duty);
                    return;
                }
            };
            if let Err(error) = self.serve(&command, Actor::Controller, None).await {
                self.cannot(error);
                return;
            }
        }
    }

    fn cannot(&mut self, error: KeeperError) {
        let error = anyhow::Error::from(error);
        self.health.say(
            Degraded::Duty,
            format!("what is due cannot be done, and is tried again: {error:#}"),
        );
        self.failed = true;
    }

    /// Writes down what the clock does: that it is doubted, that it is believed again, and that clients could not come back for a while.
    async fn note_clock(&mut self) -> Result<(), KeeperError> {
        let reading = clock::read();
        let commands = [
            match reading.doubt {
                Some(doubt) => ClockCommand::Doubt { wall: doubt.wall },
                None => ClockCommand::Believe {
                    mark: clock::boot_mark(),
                },
            },
            ClockCommand::Interrupt,
        ];
        let interrupted = self.stopped || reading.breaks != self.breaks;
        for command in commands {
            if command == ClockCommand::Interrupt && !interrupted {
                continue;
            }
            self.serve(&Command::Clock(command), Actor::Controller, None)
                .await?;
        }
        self.breaks = reading.breaks;
        self.stopped = false;
        Ok(())
    }

    /// Whether the state knows what the clock does. A gate opens on no other.
    fn knows(&self, reading: &Reading) -> bool {
        !self.stopped
            && reading.breaks == self.breaks
            && reading.doubt.is_some() == self.read().clock().is_doubted()
    }

    async fn serve(
        &mut self,
        command: &Command,
        actor: Actor,
        request: Option<Request>,
    ) -> Result<Option<Outcome>, KeeperError> {
        loop {
            let reading = clock::read();
            if matches!(command, Command::Advance { .. }) && !self.knows(&reading) {
                return Ok(None);
            }
            // An operator speaks of the wall clock, and of no other.
            let confirms = matches!(command, Command::Clock(ClockCommand::Confirm { .. }));
            let now = if confirms {
                clock::wall()
            } else {
                reading.time
            };
            let events = {
                let fleet = self.read();
                if let Some(request) = &request
                    && let Some(outcome) = fleet.repeated(request, now)?
                {
                    return Ok(outcome);
                }
                decide::decide(&fleet, command.clone(), now)?
            };
            let events = match (&request, events.as_slice()) {
                (Some(_), []) => vec![Event::AlreadySo],
                _ => events,
            };
            match self.save(events, now, actor.clone(), request.clone()).await {
                Ok(outcome) => return Ok(outcome),
                // Somebody else was faster: look again.
                Err(KeeperError::Append(AppendError::Conflict { .. })) => self.catch_up().await?,
                Err(error) => return Err(error),
            }
        }
    }

    /// Appends what was decided at `now`, folds, publishes.
    async fn save(
        &mut self,
        mut events: Vec<Event>,
        now: Timestamp,
        actor: Actor,
        request: Option<Request>,
    ) -> Result<Option<Outcome>, KeeperError> {
        if events.is_empty() {
            return Ok(None);
        }
        // After a failure each try may read the whole journal again.
        if self.owed.is_some() || self.not_before.is_some_and(|time| Instant::now() < time) {
            return Err(KeeperError::Unsaved);
        }
        if let Some(fleet) = self.fleet_id(&events) {
            documents::seal(&self.keys, fleet, &mut events);
        }
        let entry = Entry {
            time: now,
            actor,
            request,
            replica: REPLICA.to_owned(),
            events,
        };
        let phase = phase_entered(&entry);
        if let Some(phase) = phase {
            failpoint::hold(&format!("decided.{phase}")).await;
        }
        let appended = self
            .journal
            .append(self.heads.entry, encode_entry(&entry))
            .await;
        let number = match appended {
            Ok(number) => number,
            Err(AppendError::Storage(cause)) => {
                self.stopped = true;
                return self.find_out(&entry, cause).await;
            }
            Err(error) => return Err(error.into()),
        };
        self.not_before = None;
        disk::clear(&self.health);
        if let Some(phase) = phase {
            failpoint::hold(&format!("saved.{phase}")).await;
        }
        self.fold(number, &entry);
        if let Some(phase) = phase {
            failpoint::hold(&format!("entered.{phase}")).await;
        }
        Ok(outcome_of(&entry))
    }

    /// An append that failed may have happened all the same: nobody else writes, so that an entry that is there is the one.
    async fn find_out(
        &mut self,
        entry: &Entry,
        cause: Cause,
    ) -> Result<Option<Outcome>, KeeperError> {
        disk::say(&self.health, &cause);
        self.not_before = Some(Instant::now() + AGAIN);
        let before = self.heads.entry;
        match self.catch_up().await {
            Ok(()) if self.heads.entry > before => {
                self.not_before = None;
                disk::clear(&self.health);
                Ok(outcome_of(entry))
            }
            Ok(()) => Err(AppendError::Storage(cause).into()),
            Err(error) => {
                let why: Cause = Box::new(error);
                disk::say(&self.health, &why);
                Err(KeeperError::Unknown)
            }
        }
    }

    fn fleet_id(&self, events: &[Event]) -> Option<FleetId> {
        let founded = events.iter().find_map(|event| match event {
            Event::FleetFounded { fleet, .. } => Some(*fleet),
            _ => None,
        });
        let fleet = self.read();
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
        for event in &entry.events {
            match event {
                Event::ReplicaStarted | Event::FleetFounded { .. } => self.started = true,
                Event::Clock(ClockEvent::Believed {
                    confirmed: true, ..
                }) => clock::believe(entry.time),
                _ => {}
            }
        }
        self.publish.send_replace(self.heads);
        let fleet = self.read();
        for event in &entry.events {
            log::log(&fleet, event, entry);
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

fn outcome_of(entry: &Entry) -> Option<Outcome> {
    entry
        .events
        .iter()
        .rev()
        .find_map(convoy_fleet::state::outcome)
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
            | Event::ClientRejoined(_)
            | Event::AlreadySo
            | Event::IdentityIssued { .. }
            | Event::ClientConnected(_)
            | Event::EvidenceGiven { .. }
            | Event::RelaxationShown { .. }
            | Event::EvidenceCleared { .. }
            | Event::ClientSuspected { .. }
            | Event::TokenCreated { .. }
            | Event::TokenRevoked { .. }
            | Event::Enrolment(EnrolmentEvent::Reported { .. } | EnrolmentEvent::Stated { .. })
            | Event::Issuance(
                IssuanceEvent::AuthorityMade { .. }
                    | IssuanceEvent::ApprovalSet(_)
                    | IssuanceEvent::ProfileSet(_)
                    | IssuanceEvent::ChallengeCreated(_)
                    | IssuanceEvent::ChallengeRevoked { .. }
                    | IssuanceEvent::RequestReceived(_)
                    | IssuanceEvent::RequestDenied { .. }
                    | IssuanceEvent::CertificateIssued(_)
                    | IssuanceEvent::CertificateRevoked { .. }
            )
    )
}
