//! One request, from its key to the certificate: the order of what is made, stored, sent and waited for. When a request is made is decided elsewhere.

mod enrol;

use std::{path::PathBuf, sync::Arc, time::Duration};

use convoy_scep::{client::Issued, key::RsaKey, message::TransactionId};
use convoy_shared::{
    enrolment::{ErrorDetail, RequestState, Trigger},
    settings::{KeyUse, ScepSettings},
};
use jiff::Timestamp;
use tokio::sync::watch;
use zeroize::Zeroizing;

use super::{
    book::Book,
    challenge::{Challenges, Given},
    http::Server,
    ledger::{Names, Terms, Underway},
    names,
    store::Part,
    time::Clock,
};
use crate::{
    configuration::{Configuration, facts},
    disk::StateDir,
    link::told,
};

/// What every attempt works with.
#[derive(Clone)]
pub(crate) struct Bench {
    pub(crate) state: StateDir,
    pub(crate) configuration: PathBuf,
    pub(crate) book: Arc<Book>,
    pub(crate) challenges: Challenges,
    pub(crate) clock: Clock,
    /// The newest news of which the controller has been told.
    pub(crate) told: watch::Receiver<u64>,
    pub(crate) stop: watch::Receiver<Stop>,
}

/// Whether an attempt is to go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stop {
    /// It is.
    No,
    /// The process ends: what is stored is for the next one.
    Leave,
    /// It is not wanted any more, unless its certificate is there already.
    Abandon,
}

/// A request.
#[derive(Debug)]
pub(crate) struct Job {
    pub(crate) attempt: u64,
    pub(crate) trigger: Trigger,
    pub(crate) terms: Terms,
    /// Given with an order.
    pub(crate) given: Option<Given>,
    pub(crate) restart: bool,
    pub(crate) names: Option<Names>,
    pub(crate) renews: Option<u64>,
    pub(crate) transaction: Option<TransactionId>,
    pub(crate) polls: u32,
    pub(crate) until: Option<Timestamp>,
    /// When it was due, if the timer made it.
    pub(crate) due: Option<Timestamp>,
}

impl Job {
    /// Goes on with what is on disk.
    pub(crate) fn again(underway: Underway) -> Self {
        Self {
            attempt: underway.attempt,
            trigger: Trigger::Timer,
            restart: underway.terms.settings.restart,
            terms: underway.terms,
            given: None,
            names: underway.names,
            renews: underway.renews,
            transaction: underway.transaction.and_then(|text| text.parse().ok()),
            polls: underway.polls,
            until: underway.until,
            due: Some(underway.due),
        }
    }

    pub(crate) fn underway(&self) -> Option<Underway> {
        Some(Underway {
            attempt: self.attempt,
            due: self.due?,
            terms: self.terms.clone(),
            names: self.names.clone(),
            renews: self.renews,
            transaction: self.transaction.as_ref().map(ToString::to_string),
            polls: self.polls,
            until: self.until,
        })
    }
}

/// How an attempt ends without a certificate.
#[derive(Debug)]
pub(crate) enum Ended {
    /// For the reason that stands in the record.
    Failed(ErrorDetail),
    /// It is not wanted any more; what it waited for stands in the record.
    Abandoned(ErrorDetail),
    /// It goes on in the next process.
    Left,
}

impl Ended {
    pub(crate) fn device(why: impl Into<String>) -> Self {
        Self::Failed(ErrorDetail::Device(why.into()))
    }
}

/// What an attempt brought.
pub(crate) struct Brought {
    pub(crate) issued: Issued,
    pub(crate) key_pem: Zeroizing<String>,
    pub(crate) names: Names,
}

impl Bench {
    /// Makes the request, and sees it through.
    pub(crate) async fn run(mut self, mut job: Job) {
        let attempt = job.attempt;
        let ended = match self.certificate(&mut job).await {
            Ok(brought) => self.finish(&job, brought).await,
            Err(ended) => Err(ended),
        };
        match ended {
            Ok(()) => {}
            Err(Ended::Left) => {
                tracing::info!(attempt, "the certificate request goes on at the next start")
            }
            Err(Ended::Abandoned(why)) => {
                tracing::info!(attempt, %why, "the certificate request is given up: its settings hold no more");
                let now = self.clock.now();
                self.book.note(|ledger| ledger.abandon(attempt, why, now));
                self.book.sweep();
            }
            Err(Ended::Failed(why)) => {
                tracing::warn!(attempt, %why, cause = why.cause(), "the certificate request has failed");
                let now = self.clock.now();
                self.book.note(|ledger| ledger.fail(attempt, why, now));
                self.book.sweep();
            }
        }
    }

    async fn certificate(&mut self, job: &mut Job) -> Result<Brought, Ended> {
        if let Some(until) = job.until {
            self.sleep(until, job).await?;
        }
        let configuration = self.configuration()?;
        let settings = &mut job.terms.settings;
        settings.ipsec_destination = destination(settings, &configuration);
        if let Err(error) = configuration
            .places
            .place(settings.key_use, &settings.ipsec_destination)
        {
            return Err(Ended::Failed(ErrorDetail::KeyUseLocation(told(&error))));
        }
        if !self
            .book
            .read(|ledger| ledger.has_room(&job.terms.settings))
        {
            return Err(Ended::Failed(ErrorDetail::KeyLimit));
        }
        if job.terms.url.is_empty() {
            return Err(Ended::device(
                "no SCEP server is set, or its URL is not known",
            ));
        }
        let server = Server::parse(&job.terms.url).ok_or_else(|| {
            Ended::device(format!("the SCEP server's URL {:?} is none", job.terms.url))
        })?;
        let names = self.names(job, &configuration, &server).await?;
        let key = self.key(job).await?;
        let key_pem = key.to_pem();
        let issued = self.enrol(job, &server, &names, key).await?;
        Ok(Brought {
            issued,
            key_pem,
            names,
        })
    }

    pub(crate) fn configuration(&self) -> Result<Configuration, Ended> {
        Configuration::load(&self.configuration).map_err(|error| Ended::device(told(&error)))
    }

    async fn names(
        &mut self,
        job: &mut Job,
        configuration: &Configuration,
        server: &Server,
    ) -> Result<Names, Ended> {
        if let Some(names) = &job.names {
            return Ok(names.clone());
        }
        let address = loop {
            match server.address(patience(&job.terms.settings)).await {
                Ok(address) => break address,
                Err(_) => self.poll(job, ErrorDetail::TopError).await?,
            }
        };
        let facts = facts(configuration, Some(address));
        let (names, warnings) = names::fill(&job.terms.settings, &facts)
            .map_err(|unfilled| Ended::device(unfilled.to_string()))?;
        let key_name = names::key_name(&job.terms.settings, &facts);
        self.book.note(|ledger| {
            if let Some(record) = ledger.record(job.attempt) {
                record.key_name = key_name;
            }
            ledger.warn(job.attempt, warnings);
        });
        job.names = Some(names.clone());
        Ok(names)
    }

    /// The key of this request: of the timer, on disk before anything is sent.
    async fn key(&self, job: &mut Job) -> Result<RsaKey, Ended> {
        let file = Part::Key.file(job.attempt);
        if job.trigger == Trigger::Timer
            && let Ok(Some(pem)) = self.book.store.read_secret(&file)
            && let Some(key) = std::str::from_utf8(&pem)
                .ok()
                .and_then(|pem| RsaKey::from_pem(pem).ok())
        {
            return Ok(key);
        }
        // A transaction is of its key.
        job.transaction = None;
        let bits = job.terms.settings.key_length.bits();
        let made = tokio::task::spawn_blocking(move || RsaKey::generate(bits)).await;
        let key = made
            .map_err(|error| Ended::device(format!("no key could be made: {error}")))?
            .map_err(|error| Ended::device(format!("no key could be made: {error}")))?;
        if job.trigger == Trigger::Timer {
            self.book
                .store
                .write(&file, key.to_pem().as_bytes())
                .map_err(|error| {
                    Ended::device(format!("the key cannot be stored: {}", told(&error)))
                })?;
        }
        Ok(key)
    }

    /// Waits for the next poll, if there is one left.
    async fn poll(&mut self, job: &mut Job, why: ErrorDetail) -> Result<(), Ended> {
        if job.polls >= job.terms.settings.polls {
            return Err(Ended::Failed(why));
        }
        let now = self.clock.now();
        let until = now
            .saturating_add(job.terms.settings.poll_interval.0)
            .unwrap_or(now);
        self.wait(job, why, until).await
    }

    async fn wait(
        &mut self,
        job: &mut Job,
        why: ErrorDetail,
        until: Timestamp,
    ) -> Result<(), Ended> {
        job.polls += 1;
        job.until = Some(until);
        tracing::info!(attempt = job.attempt, %why, %until, polls = job.polls, "the certificate request waits for its next poll");
        let now = self.clock.now();
        let state = RequestState::Processing {
            polls: job.polls,
            waiting: Some(why),
        };
        self.book
            .note(|ledger| ledger.set_state(job.attempt, state, now));
        self.keep(job)?;
        self.sleep(until, job).await?;
        job.until = None;
        Ok(())
    }

    async fn sleep(&mut self, until: Timestamp, job: &Job) -> Result<(), Ended> {
        let mut stop = self.stop.clone();
        tokio::select! {
            () = self.clock.sleep_until(until) => Ok(()),
            stop = stop.wait_for(|stop| *stop != Stop::No) => match stop.map(|stop| *stop) {
                Ok(Stop::Abandon) => Err(Ended::Abandoned(self.waited_for(job))),
                _ => Err(Ended::Left),
            },
        }
    }

    fn waited_for(&self, job: &Job) -> ErrorDetail {
        let attempt = job.attempt;
        let state = self.book.read(|ledger| {
            let record = ledger
                .records
                .iter()
                .find(|record| record.attempt == attempt);
            record.map(|record| record.state.clone())
        });
        match state {
            Some(RequestState::Processing {
                waiting: Some(why), ..
            }) => why,
            _ => ErrorDetail::Device("the settings have changed".to_owned()),
        }
    }

    /// Stores how far a request of the timer is. Nothing is kept of orders.
    fn keep(&self, job: &Job) -> Result<(), Ended> {
        let Some(underway) = job.underway() else {
            return Ok(());
        };
        let ((), stored) = self.book.change(|ledger| ledger.underway = Some(underway));
        stored.map_err(|error| {
            Ended::device(format!("the request cannot be stored: {}", told(&error)))
        })
    }
}

fn patience(settings: &ScepSettings) -> Duration {
    Duration::try_from(settings.timeout.0).unwrap_or(Duration::from_secs(30))
}

/// The destination by its name, where the settings leave it to the device.
pub(crate) fn destination(settings: &ScepSettings, configuration: &Configuration) -> String {
    let given = &settings.ipsec_destination;
    match (settings.key_use, configuration.places.ipsec.keys().next()) {
        (KeyUse::IpSec, Some(only))
            if given.is_empty() && configuration.places.ipsec.len() == 1 =>
        {
            only.clone()
        }
        (KeyUse::IpSec, _) => given.clone(),
        _ => String::new(),
    }
}
