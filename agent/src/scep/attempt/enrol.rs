//! The exchange of one request with the SCEP server, each step of the client mapped to what has to be done. Keys and names are there already.

use std::time::Duration;

use convoy_scep::{
    certificate::Certificate,
    client::{
        Enrolment, Failure, HttpReply, Issued, Pending, Purpose, Settings, Step, TransportError,
    },
    http::HttpRequest,
    key::RsaKey,
};
use convoy_shared::{
    enrolment::{ErrorDetail, Trigger},
    settings::{CaPin, ChallengeSource},
};

use super::{Bench, Ended, Job, Stop, patience};
use crate::{
    link::told,
    scep::{
        challenge::{Denied, Given},
        http::Server,
        ledger::Names,
        names, outcome,
        store::Part,
    },
};

impl Bench {
    /// Asks until there is a certificate, or there will be none.
    pub(super) async fn enrol(
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
                None => {
                    RsaKey::from_pkcs8(&key_der).map_err(|error| Ended::device(told(&error)))?
                }
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
                        let old: Vec<_> =
                            enrolment.legacy().iter().map(ToString::to_string).collect();
                        if !old.is_empty() {
                            let warning =
                                format!("the SCEP server uses old algorithms: {}", old.join(", "));
                            self.book.note(|ledger| ledger.warn(job.attempt, [warning]));
                        }
                        return Ok(issued);
                    }
                    Step::Failed(failure @ Failure::FailInfo { .. })
                        if job.renews.is_some() && job.transaction.is_none() =>
                    {
                        // The old certificate is not enough, or is no more: as if there were none.
                        let (detail, said) = outcome::failed(&failure);
                        tracing::info!(attempt = job.attempt, why = %detail, "the renewal is refused, and a first request made instead");
                        let warning = format!(
                            "the SCEP server refused the renewal ({detail}), and a first request was made instead"
                        );
                        self.book.note(|ledger| {
                            ledger.warn(job.attempt, said.into_iter().chain([warning]))
                        });
                        job.renews = None;
                        break;
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
        let request = names::request(scep, names);
        let settings = Settings {
            identifier: Some(scep.ca_identifier.clone()).filter(|text| !text.is_empty()),
            ca_fingerprint: match scep.ca_fingerprint {
                CaPin::Sha256(digest) => Some(*digest.as_bytes()),
                CaPin::None | CaPin::Any => None,
            },
            hash: Some(names::hash(scep.signature_algorithm)),
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
                && old.asked == names::asked(settings, names)
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
        request: HttpRequest,
        patience: Duration,
    ) -> Result<Result<HttpReply, TransportError>, Ended> {
        let mut stop = self.stop.clone();
        tokio::select! {
            reply = server.exchange(request, patience) => Ok(reply),
            _ = stop.wait_for(|stop| *stop == Stop::Leave) => Err(Ended::Left),
        }
    }
}
