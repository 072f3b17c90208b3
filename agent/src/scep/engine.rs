//! The engine's one task: documents, orders and the clock, to requests. One request at a time. How a request is made is not here.

mod order;
mod recover;

use std::time::Duration;

use convoy_proto::v1;
use convoy_shared::{
    enrolment::{ErrorDetail, RequestRecord, RequestState, Trigger},
    schedule::{self, LEAST_ADJUSTMENT, MOST_ADJUSTMENT},
    settings::ScepSettings,
};
use jiff::{SignedDuration, Timestamp};
use tokio::{
    sync::{mpsc, oneshot, watch},
    task::JoinHandle,
    time::timeout,
};

pub(crate) use order::{Order, Taken, Wish};

use super::{
    attempt::{Bench, Job, Stop},
    batch,
    challenge::Given,
    ledger::Terms,
    names,
    rules::{self, Believed, Rules},
};
use crate::{
    configuration::facts,
    link::told,
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

/// The engine.
pub(crate) struct Engine {
    bench: Bench,
    stop: watch::Sender<Stop>,
    commands: mpsc::Receiver<Command>,
    rules: Rules,
    /// Whether the timer counts. It does not for a command that runs for one order.
    timers: bool,
    running: Option<JoinHandle<()>>,
    /// Filled in as far as can be without a network.
    key_name: String,
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
            key_name: key_name(&bench, &rules.settings),
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
        }
        if !self.recover(&mut shutdown).await {
            return;
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
                ledger.not_after(&rules.settings),
                now,
            )
        });
        let same = |record: &RequestRecord| Some(record.requested_at) == due;
        let known = self.bench.book.read(|ledger| {
            ledger.upcoming.as_ref().map_or(due.is_none(), |record| {
                same(record)
                    && record.key_use == rules.settings.key_use
                    && record.key_name == self.key_name
            })
        });
        if !known {
            self.bench.book.note(|ledger| {
                ledger.upcoming = due.map(|due| RequestRecord {
                    attempt: ledger.last_attempt + 1,
                    trigger: Trigger::Timer,
                    requested_at: due,
                    key_name: self.key_name.clone(),
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
            key_name: key_name(&self.bench, &job.terms.settings),
            key_use: job.terms.settings.key_use,
            state: RequestState::Processing {
                polls: 0,
                waiting: None,
            },
            updated_at: now,
            warnings: Vec::new(),
        };
        tracing::info!(
            attempt,
            ?trigger,
            url = job.terms.url,
            "begins a certificate request"
        );
        let underway = job.underway();
        let ((), stored) = self
            .bench
            .book
            .change(|ledger| ledger.begin(record, underway));
        match stored {
            Ok(()) => self.spawn(job),
            Err(error) => {
                // Its number might be used again: so nothing is sent.
                let why =
                    ErrorDetail::Device(format!("the request cannot be stored: {}", told(&error)));
                self.bench
                    .book
                    .note(|ledger| ledger.fail(attempt, why, now));
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
                        tracing::info!(
                            revision = rules.revision.0,
                            timer = rules.settings.timer,
                            "obeys new SCEP settings"
                        );
                        self.adopt(rules);
                    }
                    Ok(None) => tracing::debug!("SCEP settings that are not newer are left out"),
                    Err(error) => {
                        tracing::error!(error = told(&error), "SCEP settings are not taken")
                    }
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
        self.key_name = key_name(&self.bench, &self.rules.settings);
        if before.settings.challenge != self.rules.settings.challenge
            || before.url != self.rules.url
        {
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
                let seconds =
                    rand::random_range(LEAST_ADJUSTMENT.as_secs()..=MOST_ADJUSTMENT.as_secs());
                ledger.adjustment = Some(SignedDuration::from_secs(seconds));
            }
            ledger.enabled = match ledger.enabled {
                _ if !timer => None,
                Some((known, at)) if known == digest => Some((known, at)),
                _ => Some((digest, now)),
            };
        });
    }
}

/// The key's name, filled in as far as can be without a network.
fn key_name(bench: &Bench, settings: &ScepSettings) -> String {
    let configuration = bench.configuration().unwrap_or_default();
    names::key_name(settings, &facts(&configuration, None))
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
