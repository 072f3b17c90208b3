//! One request, from its key to the certificate: the order of what is made, stored, sent and waited for. When a request is made is decided elsewhere.

use std::{path::PathBuf, sync::Arc, time::Duration};

use convoy_scep::{
    certificate::Certificate,
    client::{Enrolment, Issued, Pending, Purpose, Settings, Step, TransportError},
    key::RsaKey,
    message::TransactionId,
};
use convoy_shared::{
    enrolment::{ErrorDetail, RequestState, Trigger},
    settings::{CaPin, ChallengeSource, KeyUse, ScepSettings},
};
use jiff::Timestamp;
use tokio::sync::watch;
use zeroize::Zeroizing;

use super::{
    book::Book,
    challenge::{Challenges, Denied, Given},
    http::Server,
    ledger::{Names, Terms, Underway},
    names, outcome,
    store::Part,
    time::Clock,
};
use crate::{
    configuration::{Configuration, facts},
    disk::StateDir,
    link::told,
};

/// What every attempt works with.
#[derive(Clone, Debug)]
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
            Err(Ended::Left) => tracing::info!(attempt, "the certificate request goes on at the next start"),
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
        if let Err(error) = configuration.places.place(settings.key_use, &settings.ipsec_destination) {
            return Err(Ended::Failed(ErrorDetail::KeyUseLocation(told(&error))));
        }
        if !self.book.read(|ledger| ledger.has_room(&job.terms.settings)) {
            return Err(Ended::Failed(ErrorDetail::KeyLimit));
        }
        let server = Server::parse(&job.terms.url)
            .ok_or_else(|| Ended::device(format!("the SCEP server's URL {:?} is none", job.terms.url)))?;
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
            && let Some(key) = std::str::from_utf8(&pem).ok().and_then(|pem| RsaKey::from_pem(pem).ok())
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
                .map_err(|error| Ended::device(format!("the key cannot be stored: {}", told(&error))))?;
        }
        Ok(key)
    }

    async fn enrol(
        &mut self,
        job: &mut Job,
        server: &Server,
        names: &Names,
        key: RsaKey,
    ) -> Result<Issued, Ended> {
        if job.transaction.is_none() {
            job.renews = self.renewable(job, names);
        }
        self.keep(job)?;
        let key_der = key.to_pkcs8();
        let mut key = Some(key);
        let patience = patience(&job.terms.settings);
        loop {
            let given = self.challenge(job, names).await?;
            let key = match key.take() {
                Some(key) => key,
                None => RsaKey::from_pkcs8(&key_der).map_err(|error| Ended::device(told(&error)))?,
            };
            let (mut enrolment, mut step) = self.begin(job, names, key, &given);
            loop {
                step = match step {
                    Step::Send(request) => {
                        let reply = self.exchange(server, request, patience).await?;
                        let now = self.clock.now();
                        match reply {
                            Ok(reply) => enrolment.receive(reply, now),
                            Err(error) => enrolment.unreachable(error, now),
                        }
                    }
                    Step::Wait { until, why } => {
                        job.transaction = enrolment.pending().map(|pending| pending.transaction_id);
                        self.wait(job, outcome::waiting(why), until).await?;
                        let now = self.clock.now();
                        if job.transaction.is_none() && !given.is_good_at(now) {
                            // A challenge that has expired costs no failure: another is asked for.
                            break;
                        }
                        enrolment.wake(now)
                    }
                    Step::Issued(issued) => {
                        let old: Vec<_> = enrolment.legacy().iter().map(ToString::to_string).collect();
                        if !old.is_empty() {
                            let warning = format!("the SCEP server uses old algorithms: {}", old.join(", "));
                            self.book.note(|ledger| ledger.warn(job.attempt, [warning]));
                        }
                        return Ok(issued);
                    }
                    Step::Failed(failure) => {
                        let (detail, said) = outcome::failed(&failure);
                        self.book.note(|ledger| ledger.warn(job.attempt, said));
                        return Err(Ended::Failed(detail));
                    }
                };
            }
        }
    }

    fn begin(&self, job: &mut Job, names: &Names, key: RsaKey, given: &Given) -> (Enrolment, Step) {
        let scep = &job.terms.settings;
        let (request, warning) = names::request(scep, names);
        self.book.note(|ledger| ledger.warn(job.attempt, warning));
        let settings = Settings {
            identifier: Some(scep.ca_identifier.clone()).filter(|text| !text.is_empty()),
            ca_fingerprint: match scep.ca_fingerprint {
                CaPin::None => None,
                CaPin::Sha256(digest) => Some(*digest.as_bytes()),
            },
            hash: Some(names::hash(scep.signature_algorithm).0),
            cipher: None,
            allow_legacy: scep.allow_legacy,
            get_only: scep.get_only,
            polls: scep.polls.saturating_sub(job.polls),
            poll_interval: scep.poll_interval.0,
        };
        let challenge = given.challenge.clone();
        let purpose = match job.renews.and_then(|attempt| self.pair(attempt)) {
            Some((certificate, key)) => Purpose::Renewal {
                certificate,
                key,
                challenge,
            },
            None => Purpose::First { challenge },
        };
        match job.transaction.clone() {
            None => Enrolment::begin(settings, request, key, purpose),
            Some(transaction_id) => {
                let polls_left = settings.polls;
                let pending = Pending {
                    transaction_id,
                    polls_left,
                };
                Enrolment::resume(settings, request, key, purpose, pending)
            }
        }
    }

    /// The attempt whose certificate can vouch for this one.
    fn renewable(&self, job: &Job, names: &Names) -> Option<u64> {
        if job.trigger != Trigger::Timer {
            return None;
        }
        let now = self.clock.now();
        let settings = &job.terms.settings;
        let attempt = self.book.read(|ledger| {
            let old = ledger.in_use(settings.key_use, &settings.ipsec_destination)?;
            let fits = old.url == job.terms.url
                && old.asked == names::subject(settings, names)
                && old.certificate.not_before <= now
                && now < old.certificate.not_after;
            fits.then_some(old.attempt)
        })?;
        self.pair(attempt).map(|_| attempt)
    }

    fn pair(&self, attempt: u64) -> Option<(Certificate, RsaKey)> {
        let store = &self.book.store;
        let key = store.read_secret(&Part::Key.file(attempt)).ok()??;
        let certificate = store.read(&Part::Certificate.file(attempt)).ok()??;
        let chain = Certificate::from_pem_chain(std::str::from_utf8(&certificate).ok()?).ok()?;
        let key = RsaKey::from_pem(std::str::from_utf8(&key).ok()?).ok()?;
        Some((chain.into_iter().next()?, key))
    }

    async fn challenge(&mut self, job: &mut Job, names: &Names) -> Result<Given, Ended> {
        // Polls carry none.
        if job.transaction.is_some() {
            return Ok(Given::none());
        }
        if let Some(given) = &job.given {
            return Ok(given.clone());
        }
        let source = job.terms.settings.challenge;
        if source == ChallengeSource::None {
            return Ok(Given::none());
        }
        loop {
            let (url, now) = (&job.terms.url, self.clock.now());
            let challenges = self.challenges.clone();
            match challenges.obtain(url, job.terms.revision, names, now).await {
                Ok(given) => return Ok(given),
                // To the built-in server the old certificate is enough.
                Err(_) if job.renews.is_some() && source == ChallengeSource::BuiltIn => {
                    return Ok(Given::none());
                }
                Err(Denied::Away) => self.poll(job, ErrorDetail::TopError).await?,
                Err(Denied::Refused(why)) => {
                    return Err(Ended::device(format!("no challenge password: {why}")));
                }
            }
        }
    }

    async fn exchange(
        &mut self,
        server: &Server,
        request: convoy_scep::http::HttpRequest,
        patience: Duration,
    ) -> Result<Result<convoy_scep::client::HttpReply, TransportError>, Ended> {
        let mut stop = self.stop.clone();
        tokio::select! {
            reply = server.exchange(request, patience) => Ok(reply),
            _ = stop.wait_for(|stop| *stop == Stop::Leave) => Err(Ended::Left),
        }
    }

    /// Waits for the next poll, if there is one left.
    async fn poll(&mut self, job: &mut Job, why: ErrorDetail) -> Result<(), Ended> {
        if job.polls >= job.terms.settings.polls {
            return Err(Ended::Failed(why));
        }
        let now = self.clock.now();
        let until = now.saturating_add(job.terms.settings.poll_interval.0).unwrap_or(now);
        self.wait(job, why, until).await
    }

    async fn wait(&mut self, job: &mut Job, why: ErrorDetail, until: Timestamp) -> Result<(), Ended> {
        job.polls += 1;
        job.until = Some(until);
        tracing::info!(attempt = job.attempt, %why, %until, polls = job.polls, "the certificate request waits for its next poll");
        let now = self.clock.now();
        let state = RequestState::Processing {
            polls: job.polls,
            waiting: Some(why),
        };
        self.book.note(|ledger| ledger.set_state(job.attempt, state, now));
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
                Ok(Stop::Abandon) => Err(Ended::Failed(self.waited_for(job))),
                _ => Err(Ended::Left),
            },
        }
    }

    fn waited_for(&self, job: &Job) -> ErrorDetail {
        let attempt = job.attempt;
        let state = self.book.read(|ledger| {
            let record = ledger.records.iter().find(|record| record.attempt == attempt);
            record.map(|record| record.state.clone())
        });
        match state {
            Some(RequestState::Processing { waiting: Some(why), .. }) => why,
            _ => ErrorDetail::Device("the settings have changed".to_owned()),
        }
    }

    /// Stores how far a request of the timer is. Nothing is kept of orders.
    fn keep(&self, job: &Job) -> Result<(), Ended> {
        let Some(underway) = job.underway() else {
            return Ok(());
        };
        let ((), stored) = self.book.change(|ledger| ledger.underway = Some(underway));
        stored.map_err(|error| Ended::device(format!("the request cannot be stored: {}", told(&error))))
    }
}

fn patience(settings: &ScepSettings) -> Duration {
    Duration::try_from(settings.timeout.0).unwrap_or(Duration::from_secs(30))
}

/// The destination by its name, where the settings leave it to the device.
pub(crate) fn destination(settings: &ScepSettings, configuration: &Configuration) -> String {
    let given = &settings.ipsec_destination;
    match (settings.key_use, configuration.places.ipsec.keys().next()) {
        (KeyUse::IpSec, Some(only)) if given.is_empty() && configuration.places.ipsec.len() == 1 => only.clone(),
        (KeyUse::IpSec, _) => given.clone(),
        _ => String::new(),
    }
}
