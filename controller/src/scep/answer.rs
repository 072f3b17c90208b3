//! What a SCEP message comes to: parsed, judged, signed, saved, and only then answered. The rules are the fleet's.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use convoy_fleet::issuance::{
    Asked, Judgement, Kind as AskedKind, Order, Permit, Transaction, Waiting,
};
use convoy_scep::{
    certificate::Certificate,
    issue::Authority,
    message::FailInfo,
    request::CertificationRequest,
    server::{Identity, Incoming, Kind, Received},
};
use convoy_shared::id::Digest;
use http::StatusCode;
use jiff::Timestamp;
use tokio::{sync::Semaphore, time::Instant};

use super::{
    Ending, Scep,
    message::{Outcome, Refused, open, write},
    rate::Bucket,
    replay::Replays,
    secrets,
};

/// A device, or a certificate that renews itself, brings so many certificates at once,
const PACE_BURST: u32 = 30;
/// and then one in so long.
const PACE: Duration = Duration::from_secs(60);

/// Answers messages.
pub(super) struct Answers {
    scep: Arc<Scep>,
    /// Nonces of requests for certificates.
    nonces: Mutex<Replays>,
    /// Encrypted content keys.
    keys: Arc<Mutex<Replays>>,
    /// How often a device, or a certificate, may bring another certificate.
    pace: Bucket<Digest>,
    /// As many at work as there are processors: more would only wait for each other.
    at_work: Semaphore,
}

/// What goes back.
pub(super) struct Answer {
    /// A CertRep. `None`: none can be made.
    pub(super) body: Option<Vec<u8>>,
    /// The status without a body.
    pub(super) status: StatusCode,
    /// It was refused: a guess, perhaps.
    pub(super) refused: bool,
}

impl Answers {
    pub(super) fn new(scep: Arc<Scep>) -> Self {
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        Self {
            scep,
            nonces: Mutex::default(),
            keys: Arc::default(),
            pace: Bucket::new(PACE, PACE_BURST),
            at_work: Semaphore::new(processors * 2),
        }
    }

    pub(super) fn identity<'a>(&self, authority: &'a Authority) -> Identity<'a> {
        Identity::new(authority, self.scep.policy)
    }

    /// The answer to a message.
    pub(super) async fn answer(
        &self,
        message: Vec<u8>,
        peer: SocketAddr,
        now: Timestamp,
    ) -> Answer {
        let (number, authority) = match self.scep.current() {
            Ok(current) => current,
            Err(error) => return self.broken(&error),
        };
        let digest = Digest::of(&message);
        let former = self.former();
        let policy = self.scep.policy;
        let received = self
            .work({
                let authority = Arc::clone(&authority);
                let keys = Arc::clone(&self.keys);
                move || {
                    let mut admits = |key: &[u8]| {
                        let mut keys = keys.lock().unwrap_or_else(PoisonError::into_inner);
                        !keys.is_reused(key, digest, now)
                    };
                    open(&message, &authority, &former, policy, now, &mut admits)
                }
            })
            .await;
        let (incoming, authority, number) = match received {
            None => return self.unanswered(StatusCode::INTERNAL_SERVER_ERROR, Ending::Failed),
            Some((Received::Unanswerable(rejection), ..)) => {
                tracing::info!(%peer, reason = said(&rejection), "no SCEP message");
                return self.unanswered(StatusCode::BAD_REQUEST, Ending::Malformed);
            }
            Some((Received::Answer(body, rejection), ..)) => {
                tracing::info!(%peer, reason = said(&rejection), "SCEP message refused");
                self.scep.counts.add(Ending::Refused);
                return Answer {
                    body: Some(body),
                    status: StatusCode::OK,
                    refused: true,
                };
            }
            Some((Received::Request(incoming), former)) => match former {
                Some((number, former)) => (incoming, former, number),
                None => (incoming, authority, number),
            },
        };
        let incoming = Arc::new(*incoming);
        let outcome = if self.is_replayed(&incoming, digest, now) {
            Err(Refused::of(
                FailInfo::BadRequest,
                "the senderNonce was used in another message",
            ))
        } else {
            self.decide(&incoming, number, now).await
        };
        self.reply(incoming, authority, outcome, peer).await
    }

    /// Former CAs: devices that have not learned of the one in force encrypt to these, and renew certificates of theirs.
    fn former(&self) -> Vec<(u32, Arc<Authority>)> {
        let former: Vec<_> = {
            let fleet = self.scep.keeper.read();
            let state = convoy_fleet::issuance::AuthorityState::Former;
            let all = fleet.issuance().authorities().iter();
            all.filter(|ca| ca.state == state).cloned().collect()
        };
        former
            .iter()
            .rev()
            .filter_map(|ca| Some((ca.number, self.scep.load(ca).ok()?)))
            .collect()
    }

    /// Some peers poll under the nonce of their request.
    fn is_replayed(&self, incoming: &Incoming, digest: Digest, now: Timestamp) -> bool {
        if !matches!(incoming.kind, Kind::Enrol { .. } | Kind::Renew { .. }) {
            return false;
        }
        let mut nonces = self.nonces.lock().unwrap_or_else(PoisonError::into_inner);
        nonces.is_reused(incoming.sender_nonce().as_bytes(), digest, now)
    }

    async fn work<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Option<T> {
        let place = self.at_work.acquire().await.ok()?;
        let done = tokio::task::spawn_blocking(work).await;
        drop(place);
        done.inspect_err(|error| tracing::error!(%error, "a SCEP message could not be worked on"))
            .ok()
    }

    async fn decide(
        &self,
        incoming: &Incoming,
        number: u32,
        now: Timestamp,
    ) -> Result<Outcome, Refused> {
        match &incoming.kind {
            Kind::Enrol { request } => {
                let challenge = request
                    .challenge()
                    .and_then(|challenge| secrets::digest(&self.scep.keys, challenge.expose()));
                let kind = AskedKind::First(challenge);
                self.enrol(incoming, kind, request, now).await
            }
            Kind::Renew { request, signer } => {
                let kind = AskedKind::Renewal(signer.serial().to_vec());
                self.enrol(incoming, kind, request, now).await
            }
            Kind::Poll { .. } => self.poll(incoming),
            Kind::GetCert { serial, .. } => {
                let fleet = self.scep.keeper.read();
                let known = fleet.issuance().certificate(serial);
                let known = known.filter(|known| known.issued.authority == number);
                match known {
                    Some(known) => Ok(Outcome::Again(known.issued.certificate.clone())),
                    None => Err(Refused::of(FailInfo::BadCertId, "no such certificate")),
                }
            }
            Kind::GetCrl { .. } => Ok(Outcome::Crl(number)),
        }
    }

    fn poll(&self, incoming: &Incoming) -> Result<Outcome, Refused> {
        let key = Digest::of(incoming.requester.spki());
        let no_such = || Refused::of(FailInfo::BadCertId, "no such request");
        let fleet = self.scep.keeper.read();
        let issuance = fleet.issuance();
        match issuance.transaction(incoming.transaction_id.as_str()) {
            Some(Transaction::Waiting(waiting, _)) if Digest::of(&waiting.spki_der) == key => {
                Ok(Outcome::Pending)
            }
            Some(Transaction::Denied(waiting, _, reason))
                if Digest::of(&waiting.spki_der) == key =>
            {
                let text = format!("the request was denied: {reason}");
                Err(Refused::of(FailInfo::BadRequest, &text))
            }
            Some(Transaction::Issued(serial)) => issuance
                .certificate(serial)
                .filter(|known| known.issued.spki == key && known.revocation.is_none())
                .map(|known| Outcome::Again(known.issued.certificate.clone()))
                .ok_or_else(no_such),
            // Somebody else's, too.
            Some(_) | None => Err(no_such()),
        }
    }

    async fn enrol(
        &self,
        incoming: &Incoming,
        kind: AskedKind,
        request: &CertificationRequest,
        now: Timestamp,
    ) -> Result<Outcome, Refused> {
        let asked = Asked {
            transaction: incoming.transaction_id.as_str().to_owned(),
            kind,
            subject: request.subject().to_vec(),
            subject_text: request.subject_text(),
            has_other_parts: request.has_other_subject_parts(),
            common_names: request.common_names(),
            sans: request.sans().iter().map(ToString::to_string).collect(),
            spki: Digest::of(request.spki()),
        };
        let judged = {
            let fleet = self.scep.keeper.read();
            let is_active = |client| fleet.roster().contains(client);
            fleet.issuance().judge(&asked, &is_active, now)
        };
        let judged =
            judged.map_err(|refusal| Refused::of(FailInfo::BadRequest, &refusal.to_string()))?;
        match judged {
            Judgement::Again(issued) => Ok(Outcome::Again(issued.certificate)),
            Judgement::StillWaiting => Ok(Outcome::Pending),
            Judgement::Wait(permit) => {
                self.not_too_often(&permit)?;
                let challenge = permit
                    .challenge
                    .ok_or_else(|| Refused::of(FailInfo::BadRequest, "no challenge"))?;
                let waiting = Waiting {
                    transaction: asked.transaction,
                    subject_der: asked.subject,
                    subject: request.subject_text(),
                    spki_der: request.spki().to_vec(),
                    sans: permit.sans,
                    challenge,
                    profile: permit.profile.name,
                    client: permit.client,
                };
                self.scep.keeper.order(Order::Wait(waiting)).await?;
                Ok(Outcome::Pending)
            }
            Judgement::Issue(permit) => {
                self.not_too_often(&permit)?;
                let scep = Arc::clone(&self.scep);
                let (spki, subject) = (request.spki().to_vec(), asked.subject);
                let issued = self
                    .work(move || {
                        scep.sign_certificate(&permit, asked.transaction, &subject, &spki, now)
                    })
                    .await
                    .ok_or(Refused::Broken)?;
                let issued = issued.map_err(|error| {
                    tracing::error!(error = said(&error), "cannot issue a certificate");
                    Refused::Broken
                })?;
                let transaction = issued.transaction.clone();
                self.scep.keeper.order(Order::Issue(issued)).await?;
                // What was recorded, which is another's if the same request came twice at once.
                let fleet = self.scep.keeper.read();
                match fleet.issuance().transaction(&transaction) {
                    Some(Transaction::Issued(serial)) => fleet.issuance().certificate(serial),
                    Some(_) | None => None,
                }
                .map(|known| Outcome::Issued(known.issued.certificate.clone()))
                .ok_or(Refused::Broken)
            }
        }
    }

    /// Each certificate is kept for good: who may have one may not have any number.
    fn not_too_often(&self, permit: &Permit) -> Result<(), Refused> {
        let whose = match (permit.client, &permit.renews) {
            (Some(client), _) => Digest::of(format!("client {client}").as_bytes()),
            (None, Some(serial)) => Digest::of(serial),
            // As many as the challenge admits.
            (None, None) => return Ok(()),
        };
        if self.pace.take(whose, Instant::now()) {
            Ok(())
        } else {
            Err(Refused::of(
                FailInfo::BadRequest,
                "too many certificates in a short time; come back later",
            ))
        }
    }

    async fn reply(
        &self,
        incoming: Arc<Incoming>,
        authority: Arc<Authority>,
        outcome: Result<Outcome, Refused>,
        peer: SocketAddr,
    ) -> Answer {
        let outcome = match outcome {
            Ok(outcome) => Ok(outcome),
            Err(Refused::Told(info, text)) => Err((info, text)),
            Err(Refused::Broken) => {
                return self.unanswered(StatusCode::INTERNAL_SERVER_ERROR, Ending::Failed);
            }
        };
        let ending = match &outcome {
            Ok(Outcome::Issued(_)) => Ending::Issued,
            Ok(Outcome::Again(_) | Outcome::Crl(_)) => Ending::Repeated,
            Ok(Outcome::Pending) => Ending::Pending,
            Err((info, text)) => {
                tracing::info!(%peer, transaction = %incoming.transaction_id, fail_info = info.number(), text, "SCEP request refused");
                Ending::Refused
            }
        };
        let crl = match &outcome {
            Ok(Outcome::Crl(number)) => match self.scep.crl_of(*number).await {
                Ok(crl) => crl,
                Err(error) => return self.broken(&error),
            },
            _ => Vec::new(),
        };
        let policy = self.scep.policy;
        let issuers: Vec<_> = {
            let fleet = self.scep.keeper.read();
            let all = fleet.issuance().authorities().iter();
            all.filter_map(|ca| Certificate::from_der(&ca.certificate).ok())
                .collect()
        };
        let body = self
            .work(move || {
                write(
                    &incoming,
                    &Identity::new(&authority, policy),
                    outcome,
                    &issuers,
                    &crl,
                )
            })
            .await;
        match body {
            Some(Ok(body)) => {
                self.scep.counts.add(ending);
                Answer {
                    body: Some(body),
                    status: StatusCode::OK,
                    refused: ending == Ending::Refused,
                }
            }
            Some(Err(error)) => self.broken(&error),
            None => self.unanswered(StatusCode::INTERNAL_SERVER_ERROR, Ending::Failed),
        }
    }

    fn broken(&self, error: &dyn std::error::Error) -> Answer {
        tracing::error!(error = said(error), "the SCEP server cannot answer");
        self.unanswered(StatusCode::INTERNAL_SERVER_ERROR, Ending::Failed)
    }

    fn unanswered(&self, status: StatusCode, ending: Ending) -> Answer {
        self.scep.counts.add(ending);
        Answer {
            body: None,
            status,
            refused: status == StatusCode::BAD_REQUEST,
        }
    }
}

/// An error and its causes in one line.
pub(super) fn said(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}
