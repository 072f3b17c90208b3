//! An enrolment from GetCACaps to the certificate: a state machine that is handed replies and the time, and never sends or waits itself.

use der::asn1::AnyRef;
use der::{Decode, Encode, Sequence};
use jiff::Timestamp;
use zeroize::Zeroizing;

use super::exchange::{self, Answer, Requester};
use super::{
    Ca, Failure, FaultyResponse, FetchCa, Fetched, HttpReply, Issued, Legacy, Pending, Purpose,
    Settings, Step, TransportError, Waiting,
};
use crate::certificate::Certificate;
use crate::cms;
use crate::key::RsaKey;
use crate::message::{MessageType, Nonce, TransactionId, signable};
use crate::request::{self, CertificationRequest, RequestBuilder, RequestError};

/// How many issuers of a certificate are looked for.
const MAX_CHAIN: usize = 8;

/// One enrolment. Its key is used for this request only, and is the caller's to keep once the certificate is there.
#[derive(Debug)]
pub struct Enrolment {
    settings: Settings,
    request: RequestBuilder,
    key: RsaKey,
    purpose: Purpose,
    transaction_id: TransactionId,
    polls_left: u32,
    stage: Stage,
    /// The CA has deferred the request at least once.
    deferred: bool,
    /// The server refused RenewalReq, so that PKCSReq is used.
    fell_back: bool,
    legacy: Vec<Legacy>,
}

#[derive(Debug)]
enum Stage {
    Fetching(FetchCa),
    Asking(Box<Asking>),
    Over,
}

/// What is known once the CA is.
#[derive(Debug)]
struct Asking {
    ca: Ca,
    request: CertificationRequest,
    /// The throw-away certificate of a first request.
    own: Option<Certificate>,
    /// The nonce of the message that is under way.
    nonce: Option<Nonce>,
}

impl Enrolment {
    /// Starts with GetCACaps. The key is the one to be certified, a fresh one.
    #[must_use]
    pub fn begin(
        settings: Settings,
        request: RequestBuilder,
        key: RsaKey,
        purpose: Purpose,
    ) -> (Self, Step) {
        let transaction_id = TransactionId::of_key(key.spki());
        let polls_left = settings.polls;
        Self::start(
            settings,
            request,
            key,
            purpose,
            Pending {
                transaction_id,
                polls_left,
            },
            false,
        )
    }

    /// Goes on after a restart while the CA deferred: asks for the CA's certificate again, then polls under the same transaction.
    #[must_use]
    pub fn resume(
        settings: Settings,
        request: RequestBuilder,
        key: RsaKey,
        purpose: Purpose,
        pending: Pending,
    ) -> (Self, Step) {
        Self::start(settings, request, key, purpose, pending, true)
    }

    fn start(
        settings: Settings,
        mut request: RequestBuilder,
        key: RsaKey,
        purpose: Purpose,
        pending: Pending,
        deferred: bool,
    ) -> (Self, Step) {
        let (Purpose::First { challenge } | Purpose::Renewal { challenge, .. }) = &purpose;
        if challenge.is_some() {
            request.challenge = challenge.clone();
        }
        let checked = settings.check();
        let (fetching, first) = FetchCa::begin(settings.clone());
        let mut enrolment = Self {
            settings,
            request,
            key,
            purpose,
            transaction_id: pending.transaction_id,
            polls_left: pending.polls_left,
            stage: Stage::Fetching(fetching),
            deferred,
            fell_back: false,
            legacy: Vec::new(),
        };
        let step = match checked {
            Ok(()) => Step::Send(first),
            Err(error) => enrolment.failed(error.into()),
        };
        (enrolment, step)
    }

    /// Takes the reply to what [`Step::Send`] sent.
    ///
    /// Another HTTP status than 200 is a communication error and asked about again; an answer that is faulty or a refusal is the end.
    #[must_use]
    pub fn receive(&mut self, reply: HttpReply, now: Timestamp) -> Step {
        let outcome = match &mut self.stage {
            Stage::Fetching(fetching) => match fetching.receive(&reply, now) {
                Ok(Fetched::Send(request)) => Ok(Step::Send(request)),
                Ok(Fetched::Ca(ca)) => self.asking(ca, now),
                Err(failure) => Err(failure),
            },
            Stage::Asking(_) if reply.status != 200 => Err(Failure::Http(reply.status)),
            Stage::Asking(_) => self.answered(&reply.body, now),
            Stage::Over => Err(FaultyResponse::Unexpected.into()),
        };
        match outcome {
            Ok(step) => step,
            Err(Failure::Http(status)) => self.again(Waiting::Http(status), now),
            Err(failure) => self.failed(failure),
        }
    }

    /// Takes that there was no reply.
    #[must_use]
    pub fn unreachable(&mut self, error: TransportError, now: Timestamp) -> Step {
        match self.stage {
            Stage::Over => self.failed(FaultyResponse::Unexpected.into()),
            Stage::Fetching(_) | Stage::Asking(_) => self.again(Waiting::Transport(error), now),
        }
    }

    /// Goes on after [`Step::Wait`].
    #[must_use]
    pub fn wake(&mut self, _now: Timestamp) -> Step {
        match &self.stage {
            Stage::Fetching(fetching) => Step::Send(fetching.request()),
            Stage::Asking(_) => self.ask().unwrap_or_else(|failure| self.failed(failure)),
            Stage::Over => self.failed(FaultyResponse::Unexpected.into()),
        }
    }

    /// What to store while the CA defers; `None` before and after.
    #[must_use]
    pub fn pending(&self) -> Option<Pending> {
        (self.deferred && !matches!(self.stage, Stage::Over)).then(|| Pending {
            transaction_id: self.transaction_id.clone(),
            polls_left: self.polls_left,
        })
    }

    /// The old algorithms that were used so far.
    #[must_use]
    pub fn legacy(&self) -> Vec<Legacy> {
        self.legacy.clone()
    }

    /// The key to be certified.
    #[must_use]
    pub fn key(&self) -> &RsaKey {
        &self.key
    }

    /// The transaction, for logs.
    #[must_use]
    pub fn transaction_id(&self) -> &TransactionId {
        &self.transaction_id
    }

    fn failed(&mut self, failure: Failure) -> Step {
        self.stage = Stage::Over;
        Step::Failed(failure)
    }

    fn again(&mut self, why: Waiting, now: Timestamp) -> Step {
        if self.polls_left == 0 {
            return self.failed(match why {
                Waiting::Deferred => Failure::Deferred,
                Waiting::Transport(error) => Failure::Transport(error),
                Waiting::Http(status) => Failure::Http(status),
            });
        }
        self.polls_left -= 1;
        let until = now
            .saturating_add(self.settings.poll_interval)
            .unwrap_or(now);
        Step::Wait { until, why }
    }

    fn asking(&mut self, ca: Ca, now: Timestamp) -> Result<Step, Failure> {
        let request = self.request.sign(&self.key)?;
        let own = match self.purpose {
            Purpose::Renewal { .. } => None,
            Purpose::First { .. } => {
                let hash = signable(self.settings.hash.unwrap_or_else(|| ca.caps.best_hash()));
                Some(request::self_signed(&request, &self.key, hash, now)?)
            }
        };
        self.stage = Stage::Asking(Box::new(Asking {
            ca,
            request,
            own,
            nonce: None,
        }));
        self.ask()
    }

    fn ask(&mut self) -> Result<Step, Failure> {
        let Stage::Asking(asking) = &mut self.stage else {
            return Err(FaultyResponse::Unexpected.into());
        };
        let requester = requester(&self.purpose, &self.key, asking.own.as_ref())?;
        let by_old_certificate = matches!(self.purpose, Purpose::Renewal { .. });
        let (message_type, content) = if self.deferred {
            (
                MessageType::CertPoll,
                Zeroizing::new(poll(&asking.ca, &asking.request)?),
            )
        } else if by_old_certificate && asking.ca.caps.renewal && !self.fell_back {
            (
                MessageType::RenewalReq,
                Zeroizing::new(asking.request.to_der().to_vec()),
            )
        } else {
            (
                MessageType::PkcsReq,
                Zeroizing::new(asking.request.to_der().to_vec()),
            )
        };
        let asked = exchange::ask(
            message_type,
            &self.transaction_id,
            &content,
            requester,
            &asking.ca,
            &self.settings,
        )?;
        if asked.cipher.is_legacy() {
            exchange::note(&mut self.legacy, Legacy::Cipher(asked.cipher));
        }
        asking.nonce = Some(asked.nonce);
        Ok(Step::Send(asked.request))
    }

    fn answered(&mut self, body: &[u8], now: Timestamp) -> Result<Step, Failure> {
        let Stage::Asking(asking) = &mut self.stage else {
            return Err(FaultyResponse::Unexpected.into());
        };
        let nonce = asking.nonce.take().ok_or(FaultyResponse::Unexpected)?;
        let requester = requester(&self.purpose, &self.key, asking.own.as_ref())?;
        let answer = exchange::read(
            body,
            &self.transaction_id,
            nonce,
            requester,
            &asking.ca,
            &self.settings,
            &mut self.legacy,
        )?;
        match answer {
            Answer::Granted(content) => {
                let old = match &self.purpose {
                    Purpose::First { .. } => None,
                    Purpose::Renewal { certificate, .. } => Some(certificate),
                };
                let issued = issued(&content, &self.key, old, &asking.ca, now)?;
                self.stage = Stage::Over;
                Ok(Step::Issued(issued))
            }
            Answer::Deferred => {
                self.deferred = true;
                Ok(self.again(Waiting::Deferred, now))
            }
            Answer::Refused { .. }
                if matches!(self.purpose, Purpose::Renewal { .. })
                    && asking.ca.caps.renewal
                    && !self.fell_back
                    && !self.deferred =>
            {
                self.fell_back = true;
                self.ask()
            }
            Answer::Refused { info, text } => Err(Failure::FailInfo { info, text }),
        }
    }
}

fn requester<'a>(
    purpose: &'a Purpose,
    key: &'a RsaKey,
    own: Option<&'a Certificate>,
) -> Result<Requester<'a>, Failure> {
    match (purpose, own) {
        (
            Purpose::Renewal {
                certificate, key, ..
            },
            _,
        ) => Ok(Requester { certificate, key }),
        (Purpose::First { .. }, Some(certificate)) => Ok(Requester { certificate, key }),
        (Purpose::First { .. }, None) => Err(FaultyResponse::Unexpected.into()),
    }
}

#[derive(Sequence)]
struct IssuerAndSubject<'a> {
    issuer: AnyRef<'a>,
    subject: AnyRef<'a>,
}

fn poll(ca: &Ca, request: &CertificationRequest) -> Result<Vec<u8>, Failure> {
    let issuer = ca.issuer()?;
    let encoded = || {
        let issuer = AnyRef::from_der(issuer)?;
        IssuerAndSubject {
            issuer,
            subject: AnyRef::from_der(request.subject())?,
        }
        .to_der()
    };
    Ok(encoded().map_err(RequestError::Encode)?)
}

/// The certificate for our key, wherever it stands, and its issuers.
fn issued(
    content: &[u8],
    key: &RsaKey,
    old: Option<&Certificate>,
    ca: &Ca,
    now: Timestamp,
) -> Result<Issued, FaultyResponse> {
    let bag = cms::read_certs_only(content).map_err(FaultyResponse::Envelope)?;
    // A renewal may keep the key, so that the newest is meant.
    let certificate = bag
        .certificates
        .iter()
        .filter(|certificate| certificate.spki() == key.spki() && Some(*certificate) != old)
        .max_by_key(|certificate| (certificate.not_before(), certificate.not_after()))
        .ok_or(FaultyResponse::OtherKey)?
        .clone();
    ca.check(&certificate, &bag.certificates, now)?;
    let mut chain: Vec<Certificate> = Vec::new();
    for _ in 0..MAX_CHAIN {
        let last = chain.last().unwrap_or(&certificate);
        let mut known = ca.certificates.iter().chain(&bag.certificates);
        let issuer = known
            .find(|issuer| *issuer != last && last.is_issued_by(issuer))
            .cloned();
        match issuer {
            Some(issuer) if !issuer.is_self_signed() && !chain.contains(&issuer) => {
                chain.push(issuer)
            }
            Some(_) | None => break,
        }
    }
    Ok(Issued {
        certificate,
        chain,
        ca: ca.anchors(),
    })
}
