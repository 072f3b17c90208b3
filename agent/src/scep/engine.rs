//! The engine's one task: documents, orders and the clock, to requests. One request at a time. How a request is made is not here.

use std::{sync::Arc, time::Duration};

use convoy_proto::{
    scep::{BadScep, read_settings},
    v1,
};
use convoy_scep::request::Challenge;
use convoy_shared::{
    enrolment::{ErrorDetail, RequestRecord, RequestState, Trigger},
    id::Revision,
    schedule::{self, LEAST_ADJUSTMENT, MOST_ADJUSTMENT},
    settings::{ScepPatch, ScepSettings},
};
use jiff::{SignedDuration, Timestamp};
use tokio::{
    sync::{mpsc, oneshot, watch},
    task::JoinHandle,
    time::timeout,
};

use super::{
    attempt::{Bench, Ended, Job, Stop},
    batch,
    challenge::Given,
    ledger::Terms,
    names,
    rules::{self, Believed, Rules},
};
use crate::{
    link::told,
    place,
    run::{Shutdown, asked},
};

/// For a certificate that is being put in place when the process is to end.
const FAREWELL: Duration = Duration::from_secs(5);

/// What the engine is told.
pub(crate) enum Command {
    /// A document from the controller.
    Document(v1::Envelope, Believed),
    /// The newest attempt of which the controller has a record.
    Attempt(u64),
    /// A manual request.
    Order(Order, oneshot::Sender<Result<Taken, String>>),
    /// A manual request by the device's administrator.
    Local(Wish, oneshot::Sender<Result<Taken, String>>),
    /// Settings were imported, and lie staged.
    Imported(oneshot::Sender<Result<(), String>>),
}

/// A manual request. Nothing of it is stored but its result.
pub(crate) struct Order {
    pub(crate) settings: ScepSettings,
    pub(crate) url: String,
    /// `None`: to be obtained as the settings say.
    pub(crate) challenge: Option<Challenge>,
    pub(crate) restart: bool,
}

/// A manual request by the device's administrator: what differs from the settings that are obeyed.
pub(crate) struct Wish {
    pub(crate) patch: ScepPatch,
    /// `None`: to be obtained as the settings say.
    pub(crate) challenge: Option<Challenge>,
    pub(crate) restart: bool,
}

impl Order {
    /// Reads an order.
    ///
    /// # Errors
    /// If the settings cannot be, for people.
    pub(crate) fn read(wire: v1::ScepOrder) -> Result<Self, String> {
        let settings = wire.settings.ok_or(BadScep::Missing("settings"));
        let settings = settings.and_then(read_settings).map_err(|error| told(&error))?;
        let challenge = Some(wire.challenge).filter(|text| !text.is_empty());
        Ok(Self {
            settings,
            url: wire.url,
            challenge: challenge
                .map(Challenge::new)
                .transpose()
                .map_err(|error| error.to_string())?,
            restart: wire.restart,
        })
    }
}

/// An order that has become a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Taken {
    pub(crate) attempt: u64,
    pub(crate) warnings: Vec<String>,
}

/// The engine.
pub(crate) struct Engine {
    bench: Bench,
    stop: watch::Sender<Stop>,
    commands: mpsc::Receiver<Command>,
    rules: Rules,
    /// Whether the timer counts. It does not for a command that runs for one order.
    timers: bool,
    running: Option<JoinHandle<()>>,
}

impl Engine {
    pub(crate) fn new(
        bench: Bench,
        stop: watch::Sender<Stop>,
        commands: mpsc::Receiver<Command>,
        rules: Rules,
        timers: bool,
    ) -> Self {
        Self {
            bench,
            stop,
            commands,
            rules,
            timers,
            running: None,
        }
    }

    /// Lives until the process is to end.
    pub(crate) async fn run(mut self, mut shutdown: Shutdown) {
        if self.timers {
            self.enable();
            self.recover().await;
        }
        loop {
            let due = self.due();
            let clock = self.bench.clock.clone();
            let (busy, running) = (self.running.is_some(), &mut self.running);
            tokio::select! {
                () = asked(&mut shutdown) => break,
                command = self.commands.recv() => match command {
                    Some(command) => self.obey(command),
                    None => break,
                },
                () = ended(running), if busy => self.running = None,
                () = until(&clock, due), if due.is_some() => self.begin_timed(due),
            }
        }
        self.stop.send_replace(Stop::Leave);
        if let Some(running) = &mut self.running
            && timeout(FAREWELL, &mut *running).await.is_err()
        {
            running.abort();
        }
    }

    /// Puts right what a crash left: what was being put in place first.
    async fn recover(&mut self) {
        if let Ok(configuration) = self.bench.configuration()
            && let Err(error) = place::recover(&self.bench.state, &configuration.places).await
        {
            tracing::error!(error = told(&error), "an installation that was cut off is not yet put right");
        }
        let now = self.bench.clock.now();
        let book = Arc::clone(&self.bench.book);
        let (finishing, underway) =
            book.read(|ledger| (ledger.finishing.clone(), ledger.underway.clone()));
        let alive = finishing
            .as_ref()
            .map(|finishing| finishing.holding.attempt)
            .or_else(|| underway.as_ref().map(|underway| underway.attempt));
        book.note(|ledger| {
            let lost: Vec<_> = ledger
                .records
                .iter()
                .filter(|record| !record.state.is_final() && Some(record.attempt) != alive)
                .map(|record| record.attempt)
                .collect();
            for attempt in lost {
                let why = ErrorDetail::Device("interrupted by a restart".to_owned());
                ledger.fail(attempt, why, now);
            }
        });
        if let Some(finishing) = finishing {
            let bench = self.bench.clone();
            self.running = Some(tokio::spawn(async move {
                let attempt = finishing.holding.attempt;
                if let Err(Ended::Failed(why)) = bench.put_in_place(finishing).await {
                    let now = bench.clock.now();
                    bench.book.note(|ledger| ledger.fail(attempt, why, now));
                    bench.book.sweep();
                }
            }));
        } else if let Some(underway) = underway {
            if self.rules.settings.timer {
                self.spawn(Job::again(underway));
            } else {
                let why = ErrorDetail::Device("interrupted by a restart".to_owned());
                book.note(|ledger| ledger.fail(underway.attempt, why, now));
                book.sweep();
            }
        } else {
            let bench = self.bench.clone();
            self.running = Some(tokio::spawn(async move { bench.restart().await }));
        }
    }

    /// When the timer is due, shown to everybody as the upcoming request.
    fn due(&self) -> Option<Timestamp> {
        if !self.timers || self.running.is_some() {
            return None;
        }
        let now = self.bench.clock.now();
        let rules = &self.rules;
        let due = self.bench.book.read(|ledger| {
            schedule::next(
                &rules.settings,
                rules.slot,
                ledger.adjustment.unwrap_or(LEAST_ADJUSTMENT),
                ledger.enabled.map(|(_, at)| at)?,
                ledger.done,
                ledger.not_after(),
                now,
            )
        });
        let same = |record: &RequestRecord| Some(record.requested_at) == due;
        let known = self.bench.book.read(|ledger| {
            ledger.upcoming.as_ref().map_or(due.is_none(), |record| {
                same(record)
                    && record.key_use == rules.settings.key_use
                    && record.key_name == rules.settings.key_name
            })
        });
        if !known {
            self.bench.book.note(|ledger| {
                ledger.upcoming = due.map(|due| RequestRecord {
                    attempt: ledger.last_attempt + 1,
                    trigger: Trigger::Timer,
                    requested_at: due,
                    key_name: rules.settings.key_name.clone(),
                    key_use: rules.settings.key_use,
                    state: RequestState::ToBeProcessed,
                    updated_at: now,
                    warnings: Vec::new(),
                });
            });
        }
        due
    }

    fn begin_timed(&mut self, due: Option<Timestamp>) {
        let Some(due) = due else { return };
        let terms = Terms {
            settings: self.rules.settings.clone(),
            url: self.rules.url.clone().unwrap_or_default(),
            revision: self.rules.revision,
        };
        let restart = terms.settings.restart;
        self.begin(terms, Trigger::Timer, None, restart, Some(due));
    }

    fn begin(
        &mut self,
        terms: Terms,
        trigger: Trigger,
        given: Option<Given>,
        restart: bool,
        due: Option<Timestamp>,
    ) -> u64 {
        let now = self.bench.clock.now();
        let attempt = self.bench.book.read(|ledger| ledger.last_attempt) + 1;
        let job = Job {
            attempt,
            trigger,
            terms,
            given,
            restart,
            names: None,
            renews: None,
            transaction: None,
            polls: 0,
            until: None,
            due,
        };
        let record = RequestRecord {
            attempt,
            trigger,
            requested_at: now,
            key_name: job.terms.settings.key_name.clone(),
            key_use: job.terms.settings.key_use,
            state: RequestState::Processing {
                polls: 0,
                waiting: None,
            },
            updated_at: now,
            warnings: Vec::new(),
        };
        tracing::info!(attempt, ?trigger, url = job.terms.url, "begins a certificate request");
        let underway = job.underway();
        let ((), stored) = self.bench.book.change(|ledger| ledger.begin(record, underway));
        match stored {
            Ok(()) => self.spawn(job),
            Err(error) => {
                // Its number might be used again: so nothing is sent.
                let why = ErrorDetail::Device(format!("the request cannot be stored: {}", told(&error)));
                self.bench.book.note(|ledger| ledger.fail(attempt, why, now));
            }
        }
        attempt
    }

    fn spawn(&mut self, job: Job) {
        self.stop.send_replace(Stop::No);
        self.running = Some(tokio::spawn(self.bench.clone().run(job)));
    }

    fn obey(&mut self, command: Command) {
        match command {
            Command::Document(envelope, believed) => {
                match self.rules.take(envelope, &believed, &self.bench.book.store) {
                    Ok(Some(rules)) => {
                        tracing::info!(revision = rules.revision.0, timer = rules.settings.timer, "obeys new SCEP settings");
                        self.adopt(rules);
                    }
                    Ok(None) => tracing::debug!("SCEP settings that are not newer are left out"),
                    Err(error) => tracing::error!(error = told(&error), "SCEP settings are not taken"),
                }
                self.bench.book.holds(self.rules.revision);
            }
            Command::Attempt(attempt) => self.bench.book.note(|ledger| {
                let begun_anew = ledger.last_attempt == 0 && ledger.upcoming.is_none();
                if attempt > ledger.last_attempt + 1 || begun_anew {
                    // The list was lost here, and not at the controller.
                    ledger.last_attempt = ledger.last_attempt.max(attempt);
                    ledger.upcoming = None;
                }
            }),
            Command::Local(wish, answer) => {
                let settings = wish.patch.over(&self.rules.settings);
                let order = Order {
                    url: rules::moved(&wish.patch, &settings, self.rules.url.as_deref()),
                    settings,
                    challenge: wish.challenge,
                    restart: wish.restart,
                };
                drop(answer.send(self.order(order)));
            }
            Command::Order(order, answer) => {
                // Whoever asked may be gone.
                drop(answer.send(self.order(order)));
            }
            Command::Imported(answer) => {
                let done = batch::finish(&self.bench.book.store)
                    .and_then(|_| Ok(self.rules.clone().again(&self.bench.book.store)?))
                    .map(|rules| self.adopt(rules))
                    .map_err(|error| told(error.as_ref()));
                drop(answer.send(done));
            }
        }
    }

    fn adopt(&mut self, rules: Rules) {
        let before = std::mem::replace(&mut self.rules, rules);
        if before.settings.challenge != self.rules.settings.challenge || before.url != self.rules.url {
            self.bench.challenges.forget();
        }
        if before.settings != self.rules.settings {
            // What is being waited for was asked for by settings that hold no more.
            let timed = self.bench.book.read(|ledger| ledger.underway.is_some());
            if timed && self.running.is_some() {
                self.stop.send_replace(Stop::Abandon);
            }
        }
        self.enable();
    }

    /// Remembers when the timer was first seen on with these settings.
    fn enable(&self) {
        let now = self.bench.clock.now();
        let (digest, timer) = (self.rules.digest(), self.rules.settings.timer);
        self.bench.book.note(|ledger| {
            if ledger.adjustment.is_none() {
                let seconds = rand::random_range(LEAST_ADJUSTMENT.as_secs()..=MOST_ADJUSTMENT.as_secs());
                ledger.adjustment = Some(SignedDuration::from_secs(seconds));
            }
            ledger.enabled = match ledger.enabled {
                _ if !timer => None,
                Some((known, at)) if known == digest => Some((known, at)),
                _ => Some((digest, now)),
            };
        });
    }

    fn order(&mut self, order: Order) -> Result<Taken, String> {
        if self.rules.settings.timer {
            return Err("the auto-request timer is on: turn it off first".to_owned());
        }
        let busy = self.bench.book.read(|ledger| {
            let mut records = ledger.records.iter();
            let open = records.find(|record| !record.state.is_final());
            open.map(|record| record.attempt)
        });
        if let Some(attempt) = busy {
            return Err(format!("request {attempt} is being processed: wait for its end"));
        }
        order.settings.check().map_err(|error| error.to_string())?;
        if order.url.is_empty() {
            return Err("no SCEP server is set".to_owned());
        }
        let configuration = self.bench.configuration().map_err(|ended| match ended {
            Ended::Failed(why) => why.cause(),
            Ended::Left => "the agent ends".to_owned(),
        })?;
        let (key_use, destination) = (order.settings.key_use, &order.settings.ipsec_destination);
        configuration
            .places
            .place(key_use, destination)
            .map_err(|error| told(&error))?;
        let mut warnings = Vec::new();
        warnings.extend(names::not_an_address(key_use, &order.settings.common_name));
        if order.restart && configuration.restart.is_none() {
            warnings.push("the device will not be restarted: how to is not configured on it".to_owned());
        }
        let terms = Terms {
            settings: order.settings,
            url: order.url,
            revision: Revision(self.rules.revision.0),
        };
        let given = order.challenge.map(|challenge| Given {
            challenge: Some(challenge),
            expires_at: None,
            storable: false,
        });
        let attempt = self.begin(terms, Trigger::Manual, given, order.restart, None);
        Ok(Taken { attempt, warnings })
    }
}

async fn ended(running: &mut Option<JoinHandle<()>>) {
    match running {
        Some(running) => {
            if let Err(error) = running.await {
                tracing::error!(%error, "a certificate request broke off");
            }
        }
        None => std::future::pending().await,
    }
}

async fn until(clock: &super::time::Clock, due: Option<Timestamp>) {
    match due {
        Some(due) => clock.sleep_until(due).await,
        None => std::future::pending().await,
    }
}
